/* clients.h - clients with connections to nodes, issuing the operations that workloads make. A connection may have
 * several requests unanswered, in the order rules of node/conn.c: a read behind writes rides with them, a write behind
 * reads waits. A workload says what to ask, and judges what is answered. */
#pragma once
#include "store/command.h"
#include "store/outcome.h"
#include "tests/sim/world.h"

#define CLIENTS 12

enum op_end {
    OP_REFUSED, /* Certainly not done. */
    OP_UNKNOWN, /* Perhaps, perhaps later. */
};

struct op {
    struct op *next;
    const struct workload *work;
    int client, node;
    bool is_write, held;
    bool left_queue;                /* It waited for a lock when its client hung up. */
    uint64_t began_us, deadline_ms; /* The latter on its node's clock. */
    uint64_t ask_order;             /* When it began, in an order of all askings and answers. */
    uint64_t wait_ms;               /* How much later than its deadline the answer may come: it waits for a lock. */
    uint64_t patience_us;           /* The client hangs up that long after asking; 0: it does not. */
    /* The workload's own: */
    int kind;
    uint64_t key, value, floor;
    void *more;
};

struct workload {
    const char *name;
    unsigned burst_max; /* Operations asked at once, without waiting for answers. */
    void (*begin)(void);
    /* Say what to ask next: kind, key, ..., is_write. */
    void (*choose)(struct op *op);
    /* Put it into buf; what command_add() returns. */
    long (*encode)(const struct op *op, struct command_buf *buf);
    /* It was answered with this outcome, which has a first value at least. */
    void (*answered)(struct op *op, const uint8_t *outcome, size_t len);
    void (*ended)(struct op *op, enum op_end how);
    /* Faults have ceased, clients are silent, and all nodes are up: judge the whole. */
    void (*finish)(void);
    /* For the reader: one line about what happened. May be NULL. */
    void (*describe)(char *text, size_t bytes);
};
extern const struct workload work_counter, work_register, work_set, work_pair, work_ttl, work_pipeline, work_once,
    work_lock, work_bank;
extern const struct workload *const workloads[];
/* Does it take part in this run? */
bool workload_runs(const struct workload *w);

void clients_begin(void);
void clients_end(void);
void clients_quiet(void);                 /* Ask nothing new. */
void clients_calm(void);                  /* Faults have ceased for good and the cluster has had time to heal. */
bool clients_are_calm(uint64_t since_us); /* And have been since then? */
void clients_finish(void);                /* Every workload's finish(); no request may be unanswered. */
void clients_node_ended(int i);
/* No request of this node is unanswered long after its deadline. */
void clients_check_deadlines(int i);
uint64_t clients_answers(void);
uint64_t clients_order(void); /* The next number in the order of askings and answers. */

/* For workloads: answers read, values made. */
struct bytes text_of(const char *text);
/* The number that a bulk begins with; nil: 0. Fails on anything else. */
uint64_t number_in(const struct op *op, const uint8_t *outcome, size_t len);
/* "NUMBER" or "NUMBER xxxxx", padded by chance as the profile has it. Lives until the next call. */
struct bytes padded(uint64_t number);
/* What a node has for one read command, asked of its state directly. */
struct outcome state_answer(int node, enum command_op op, const char *key);
struct outcome state_words(int node, size_t n, const char *const *words);
