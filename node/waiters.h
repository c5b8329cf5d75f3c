/* waiters.h - connections whose request is done, but whose answer comes later: they wait in the queue of a lock, or for
 * a list to have something. What is offered to one of these is taken by a command of its own, whose answer is the
 * answer. They are woken by the events of the store, never by looking again; ten thousand of them cost memory. A wait
 * that has nobody to hear its end is told to the cluster, so that it leaves the queue. Loop thread. */
#pragma once
#include "node/requests.h"
#include "store/store.h"

#define WAITERS_TAKE_MS 5000 /* How long taking an offer may take: as long as it stands. */

struct waiting;

struct waiters {
    struct store *store;
    /* Propose that a request leaves the queue of a lock; with an empty name, that it waits for a list no more. name
     * lives for the call. */
    void (*leave)(void *ctx, struct bytes name, uint64_t session, uint64_t token);
    /* Propose to take what is offered, for a connection: takes over the reference, and answers it. */
    void (*take)(void *ctx, struct conn *conn, uint64_t token);
    void *ctx;
    struct waiting **by_token, **by_conn; /* cap chains each; NULL before the first. */
    size_t n, cap;
    uint64_t next_deadline_ms; /* None of them ends before. */
    bool ended;                /* Nobody waits any more. */
};

void waiters_init(struct waiters *w, struct store *store,
                  void (*leave)(void *ctx, struct bytes name, uint64_t session, uint64_t token),
                  void (*take)(void *ctx, struct conn *conn, uint64_t token), void *ctx);
/* Those that are left end. */
void waiters_release(struct waiters *w);

/* The request of conn was applied just now and came to this OUTCOME_LATER: answer it at once if it has been decided
 * meanwhile, else when it is. Takes over the caller's reference. conn NULL: its client was told something else already.
 * deadline_ms: when it fails if the cluster does not decide it in its own time, which is added. */
void waiters_add(struct waiters *w, struct conn *conn, const struct outcome *later, uint64_t deadline_ms);
/* While an entry is applied. */
void waiters_changed(struct waiters *w, const struct store_event *event);
/* The state has jumped ahead, and events were missed. */
void waiters_recheck(struct waiters *w);
void waiters_expire(struct waiters *w, uint64_t now_ms);
/* The connection is closed. */
void waiters_gone(struct waiters *w, struct conn *conn);
/* Answer its wait now, as if its time were over or with a failure. False when it does not wait. */
bool waiters_unblock(struct waiters *w, struct conn *conn, bool with_error);
/* The node stops: all waits end with REQUEST_UNBLOCKED, those that would begin from now on, too. */
void waiters_end(struct waiters *w);
