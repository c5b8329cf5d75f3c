/* wait.h - who waits for a list to have something: in what order, and what becomes of it.
 *
 * A request that finds nothing joins the queue of each of its keys, in the order of the log. The command that makes a
 * list non-empty offers its elements, before the next command is run, to those who wait, the first first: an element
 * offered is in no list any more. It is given only when the node of that waiter takes it, which it does as a command of
 * its own; so one whose client, or node, has gone away takes nothing, and what it was offered goes back to where it
 * was, or to the next in the queue. An offer that is not taken in time is void, and since a node takes at once, the
 * node counts as gone with all who wait there. One that began with ONCE belongs to its session, not to a node. */
#pragma once
#include "store/list.h"
#include "store/outcome.h"

#define WAIT_QUEUE_MAX 20000 /* Waiters for one key. */
#define WAIT_KEYS_MAX 1024   /* Of one waiter. */
#define WAIT_OFFER_MS 5000   /* An offer stands so long. */
#define WAIT_MS_MAX (100ll * 365 * 86400 * 1000)

/* What a waiter wants. */
struct wait {
    bool moves; /* To another list; else it pops. */
    enum list_where where, to_where;
    int64_t count;            /* Popping: how many at most; -1: one, answered alone. */
    const struct bytes *keys; /* Whose lists it waits for. */
    uint32_t n_keys;
    struct bytes to; /* Moving: where to. */
};
/* Join the queues, and answer LATER, or a refusal. timeout_ms 0: for ever. */
void wait_begin(struct family *f, const struct wait *want, int64_t timeout_ms);

/* Keys that have got elements in a command, noted until it is done. */
struct wait_ready {
    uint8_t *base; /* u32 length and bytes of each. */
    size_t len, cap;
};
void wait_ready_release(struct wait_ready *r);
/* A list has got elements. */
void wait_note(struct family *f, struct bytes key);
/* The command is done: offer what was noted. */
void wait_serve(struct family *f);

/* Those end who wait at an earlier start of that node than `start`. */
void wait_drop_node(struct family *f, uint64_t node, uint64_t start);
/* The session has ended. */
void wait_drop_session(struct family *f, uint64_t session);

enum wait_standing { WAIT_GONE, WAIT_QUEUED, WAIT_OFFERED };
/* ret_until_ms: until when on the replicated clock, ROW_NO_EXPIRY for ever; untouched when it is gone. */
enum wait_standing wait_standing(struct rows *rows, uint64_t token, int64_t *ret_until_ms);
