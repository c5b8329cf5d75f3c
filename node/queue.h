/* queue.h - inside of requests.h: the batches on their way, for requests.c (gathering, deadlines, answers), route.c
 * (who leads, and getting batches there) and node.c (which joins them to raft and store). Free of libuv, so that a
 * simulated node runs the same code. */
#pragma once
#include "node/listeners.h"
#include "node/waiters.h"
#include "raft/histogram.h"
#include "raft/replica.h"
#include "store/store.h"

/* Frames between daemons. Numbers are for ever. All numbers little-endian. */
enum peer_kind {
    PEER_FORWARD = 32, /* a batch, as in store/command.h: origin's start and seq are in its header */
    PEER_REFUSED = 33, /* u64 start, u64 seq, u64 enum peer_refusal: the batch was certainly not appended this time */
    PEER_ANSWER = 34,  /* u64 start, u64 seq, then one outcome a command */
    PEER_READS = 35,   /* u64 id, u64 n, then n commands */
    PEER_READ_ANSWERS = 36,  /* u64 id, u64 how many of the first are answered (0: refused), one outcome for each */
    PEER_EVENTS = 37,        /* (u64 enum store_event_kind, u64 token) ...: what an entry decided for those who wait */
    PEER_CHANGE = 38,        /* a change of membership, to the leader (changes.h) */
    PEER_CHANGE_ANSWER = 39, /* and what came of it */
};
enum peer_refusal { PEER_NOT_LEADER = 1, PEER_NO_SPACE = 2 };

#define QUEUE_BATCH_BYTES (1u << 20) /* A gathering batch past this is closed and the next begun. */
#define QUEUE_BATCH_COMMANDS 65536
#define QUEUE_BATCH_REBUILDS 16 /* Commands that copy a value; an entry with many would hold up every node's loop. */
#define QUEUE_WRITES_IN_FLIGHT 4
#define QUEUE_READS_IN_FLIGHT 4
/* With little space on the disk, changes that SQLite has not taken yet are kept few: its journal holds each once more.
 */
#define QUEUE_LOW_SPACE_DIRTY (1u << 20)
#define QUEUE_RETRY_MS 10             /* Before what a node refused is offered again. */
#define QUEUE_FOREIGN_MAX 10000       /* Read batches of other nodes waiting here. */
#define QUEUE_ANSWER_BYTES (4u << 20) /* Reads are answered in pieces of this size, and what the last of them adds. */

struct waiter {
    struct conn *conn; /* NULL: it has had its answer (the deadline passed), or the command is the node's own. */
    bool own;          /* The node's own: nobody is answered. */
    uint64_t deadline_ms;
    uint32_t at; /* Offset of its command in the batch. */
};

/* A batch of writes or of reads, from gathering to its last answer. */
struct batch {
    struct batch *next;
    struct command_buf commands; /* Writes: begins with a batch header. Empty once it has become `blob`. */
    struct blob *blob;
    struct waiter *waiters;
    uint32_t n, cap, n_dead, n_own, n_rebuilds;
    uint32_t n_answered;  /* Reads: of the first ones. The others are asked (again). */
    uint64_t deadline_ms; /* The earliest of its waiters'. */
    uint64_t seq;         /* Writes: 0 until first sent. Reads: id of the frame, or ticket of the round. */
    uint64_t epoch;       /* Of the route over which it was last sent. */
    uint64_t sent_us;     /* Writes: when it was first sent. */
    bool maybe;           /* It may stand in a log somewhere. */
    bool again;           /* It was sent more than once: a refusal is about one of those times only. */
};

struct batch_list {
    struct batch *first, **last;
    size_t n;
};

/* Reads of another node, waiting for a round here. */
struct foreign_reads {
    struct foreign_reads *next;
    uint64_t from, id, n, ticket;
    size_t len;
    uint8_t commands[];
};

enum route { ROUTE_NONE, ROUTE_SELF, ROUTE_PEER };

struct requests {
    struct replica *replica;
    struct store *store;
    uint64_t self, start;
    size_t bytes, bytes_max; /* Of commands waiting or in flight. */
    size_t dirty_bytes_max;
    uint64_t value_bytes_max;               /* Goes with every batch. */
    uint64_t waiting_writes, waiting_reads; /* Requests without an answer. */
    uint64_t waiting_own;                   /* The node's own commands on their way. */
    struct waiters waiters;                 /* Requests that are done and have no answer yet. */
    struct listeners *listeners;            /* The owner's. */
    uint64_t (*now_ms)(void *ctx);
    uint64_t (*now_us)(void *ctx);   /* Finer, for measuring. */
    uint64_t (*clock_ms)(void *ctx); /* Best guess of the replicated clock. */
    void (*log)(void *ctx, int level, const char *text);
    void (*store_failed)(void *ctx, int rc); /* A store_err: this node cannot go on. */
    void *ctx;

    /* Writes: closed and gathering batches that were never sent, then those in flight, oldest first. */
    struct batch_list unsent_writes, flying_writes;
    struct batch *gather_writes;
    uint64_t next_seq;
    /* Reads likewise; those that wait for a round here, or for an answer from the leader. */
    struct batch_list unsent_reads, round_reads, remote_reads;
    struct batch *gather_reads;
    uint64_t next_read_id;
    bool large_answers; /* The leader's last one was: one batch at a time is asked. */
    struct foreign_reads *foreign, **foreign_last;
    size_t n_foreign;

    uint64_t epoch; /* Grows whenever what was sent may have been lost. */
    enum route route;
    uint64_t leader;   /* With ROUTE_PEER: whom to send to. */
    uint64_t term;     /* Of that route. */
    uint64_t retry_ms; /* Nothing is sent before. */
    bool stopping;
    struct batch *spare;               /* One batch kept for reuse. */
    struct outcome_buf outcomes;       /* Scratch for reads that went through a round. */
    struct outcome_buf local_outcomes; /* And for stale ones, which may be asked while those are handed out. */
    uint64_t proposed, forwarded, resent, duplicates;
    struct histogram commit_times; /* Of write batches, from when they were sent until their answers were known. */
};

struct requests *node_requests(const struct node *n);

/* requests.c */
void requests_init(struct requests *q, struct replica *replica, struct store *store, uint64_t self, uint64_t start);
void requests_release(struct requests *q);
/* Put a command of the node's own into the gathering batch of writes. Without memory it is dropped. */
void requests_post(struct requests *q, enum command_op op, const int64_t *nums, uint8_t n_nums, struct bytes arg);
/* Fail what has passed its deadline. */
void requests_expire(struct requests *q, uint64_t now_ms);
/* Our own batch `seq` was applied with these outcomes (or they came from the leader): answer it. */
void requests_answered(struct requests *q, uint64_t seq, const uint8_t *outcomes, size_t len);
/* The state jumped ahead by a snapshot that contains our batches up to seq: their answers are lost. */
void requests_skipped(struct requests *q, uint64_t seq);
/* Everything that was not sent is failed, and nothing new will be. */
void requests_stop(struct requests *q);
bool requests_idle(const struct requests *q);
/* May this command go when the disk is full? */
bool request_frees_space(const uint8_t *command, size_t len);
struct batch *batch_list_pop(struct batch_list *l);
void batch_list_push(struct batch_list *l, struct batch *b);
void batch_list_prepend(struct batch_list *l, struct batch_list *front);
void batch_fail(struct requests *q, struct batch *b, bool writes, enum request_failure why);
void batch_free(struct requests *q, struct batch *b);
/* Give the next n waiters of a read or write batch their outcomes. False when the outcomes do not fit; nobody was
 * answered then. */
bool batch_answer(struct requests *q, struct batch *b, bool writes, uint32_t n, const uint8_t *outcomes, size_t len);

/* route.c */
/* Send what can be sent: called once each turn of the loop. */
void route_flush(struct requests *q);
/* Leadership, readiness or a link changed: what is in flight is sent again. */
void route_changed(struct requests *q);
/* Our batch met a gap (an earlier one is missing): send all again. */
void route_gap(struct requests *q);
void route_message(struct requests *q, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len);
void route_read_ready(struct requests *q, uint64_t ticket, bool ok);
/* Leader: tell the others what has been decided for those who wait at them; they would find out with the next entry. */
void route_events(struct requests *q, const uint8_t *events, size_t len);
/* Leader: tell the origin what its batch came to. */
void route_answer(struct requests *q, const struct batch_header *h, const struct outcome_buf *outcomes);
