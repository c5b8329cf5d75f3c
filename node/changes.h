/* changes.h - changes of membership that somebody asked this node for, carried to whoever leads and back.
 *
 * A request is kept here until it is answered or its deadline has passed, and sent again when leadership moves: all it
 * asks for can be asked twice. The leader does its steps one after another, each when the one before is committed.
 * Free of libuv. Loop thread. */
#pragma once
#include "node/queue.h"

#define CHANGES_ASKED_MAX 16  /* Requests of this node's clients under way. */
#define CHANGES_SERVED_MAX 32 /* Requests under way at a leader. */
#define CHANGES_STEPS_MAX 2
#define CHANGES_TEXT_MAX 512

enum change_request_kind {
    REQUEST_ADD = 1,
    REQUEST_PROMOTE = 2,
    REQUEST_DEMOTE = 3,
    REQUEST_REMOVE = 4,
    REQUEST_REPLACE = 5, /* Put `id`, a learner, in the place of `other`. */
    REQUEST_ADDRESS = 6,
    REQUEST_TRANSFER = 7, /* Lead shall id; 0: whoever is furthest along. */
    REQUEST_JOIN = 8,     /* ADD by the node itself; `other`, or a learner that never came, at its address goes. */
};

/* Numbers are for ever: they go between nodes. */
enum change_code {
    ANSWER_DONE = 0,
    ANSWER_AGAIN = 1, /* Never to a client: leadership moved, send it again. */
    ANSWER_BUSY = 2,
    ANSWER_REFUSED = 3,
    ANSWER_NO_LEADER = 4, /* Nothing was done. */
    ANSWER_UNKNOWN = 5,   /* It may have been done. */
};

struct change_request {
    enum change_request_kind kind;
    uint64_t id, other;
    char address[REPLICA_ADDRESS_MAX];
    bool force, dry_run;
    bool again; /* It was sent before, and may be done. Set here. */
};

struct change_answer {
    enum change_code code;
    uint64_t id, index; /* Whom it was about; where in the log (0: nothing had to be written). */
    char text[CHANGES_TEXT_MAX];
};

struct asked {
    uint64_t ticket; /* 0: a free place. */
    struct change_request request;
    uint64_t deadline_ms, sent_ms, sent_term;
    bool was_sent, is_answered;
    struct change_answer answer;
};

struct served {
    uint64_t from, ticket; /* ticket 0: a free place. */
    struct change_request request;
    struct replica_change steps[CHANGES_STEPS_MAX];
    size_t n_steps, step;
    uint64_t began_ms, term, index;
    bool is_waiting; /* The step was begun: for index to be applied, or for another to lead. */
    uint64_t id;
};

struct changes {
    struct replica *replica;
    uint64_t self, next_ticket;
    uint64_t (*now_ms)(void *ctx);
    void *ctx;
    struct asked asked[CHANGES_ASKED_MAX];
    struct served served[CHANGES_SERVED_MAX];
    size_t n_asked, n_served;
};

void changes_init(struct changes *x, struct replica *replica, uint64_t self, uint64_t start);
/* A ticket for the answer, which comes before deadline_ms. 0: too many are under way. */
uint64_t changes_ask(struct changes *x, const struct change_request *request, uint64_t deadline_ms);
/* NULL: not yet. This node has applied the change then, too. Borrowed until changes_forget(). */
const struct change_answer *changes_answer(const struct changes *x, uint64_t ticket);
/* Its asker has the answer, or has gone. */
void changes_forget(struct changes *x, uint64_t ticket);
/* Once a turn of the loop. */
void changes_flush(struct changes *x);
/* PEER_CHANGE and PEER_CHANGE_ANSWER. */
void changes_message(struct changes *x, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len);
