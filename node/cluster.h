/* cluster.h - one member's share of the cluster: its replica, its state, and the requests between them. Where raft
 * meets store. Free of libuv: time, randomness and disks come through struct io and the owner's functions, so that a
 * simulated node runs this very code. Loop thread. */
#pragma once
#include "node/changes.h"
#include "node/exit.h"
#include "node/promotion.h"
#include "node/queue.h"

/* What the owner (node.c, or a simulator) provides. */
struct cluster_owner {
    void *ctx;
    uint64_t (*now_ms)(void *ctx); /* monotonic */
    void (*log)(void *ctx, int level, const char *text);
    /* The node must stop at once: nothing that was acknowledged is lost by it. Does not return, or calls nothing here
     * again. */
    void (*die)(void *ctx, enum node_exit status, const char *why);
    /* Off the loop: snapshot_make() into REPLICA_SNAPSHOT_FILE, then cluster_snapshot_made(). 0, or it could not be
     * begun. */
    int (*make_snapshot)(void *ctx);
    /* Off the loop: snapshot_check() of STORE_INCOMING, then cluster_snapshot_checked(). 0, or it could not be begun.
     */
    int (*check_snapshot)(void *ctx);
};

struct cluster_options {
    struct io *io;
    struct store_options store;     /* Its notify is the owner's. */
    struct replica_options replica; /* io, place of the state and owner are filled in. */
    bool wants_vote;                /* A learner by now, this node asks to be promoted once it has caught up, */
    uint64_t replaces;              /* and for this one to go (0: nobody). */
    size_t value_bytes_max, queue_bytes_max, dirty_bytes_max;
    size_t history_bytes; /* listeners_keep() */
    struct cluster_owner owner;
};

struct cluster {
    struct cluster_owner owner;
    struct io *io;
    struct store *store;
    struct replica *replica;
    struct requests requests;
    struct listeners listeners;
    struct changes changes;
    struct promotion promotion;
    uint64_t id, start;

    /* The replicated clock as this node counts it on: the stamp its state stood at, and its own time since. */
    uint64_t clock_base_ms, clock_since_ms;
    bool was_ready;
    uint64_t expiry_index;        /* The last expiry entry proposed: the next waits until it is applied. */
    uint64_t checkpointed;        /* Last durable index told to the replica. */
    struct histogram apply_times; /* Of entries with commands. */
    struct outcome_buf outcomes;
    uint8_t *events; /* Of the entry being applied, as PEER_EVENTS has them. */
    size_t events_len, events_cap;
};

/* Open state and log and start the replica. Failure: an enum node_exit and a sentence; cluster_close() is safe then,
 * too. */
int cluster_open(struct cluster *c, const struct cluster_options *options, char error[256]);
/* As replica_stop(), replica_busy(): stop, let the loop run until not busy, then close. */
void cluster_close(struct cluster *c);
/* Once a turn of the loop: what has gathered leaves. */
void cluster_flush(struct cluster *c);
/* Every 100 ms or so, and when the store asks: flushes, checkpoints, the log's cut, expiry. */
void cluster_housekeep(struct cluster *c);
/* Take in what the store's flusher has done. */
void cluster_poll_store(struct cluster *c);
/* Leader: name keys that are due now. */
void cluster_expire(struct cluster *c);
/* When cluster_expire() next has something to do, as time from now; UINT64_MAX: not before housekeeping comes by. */
uint64_t cluster_next_expiry_in_ms(const struct cluster *c);
/* Best guess of the replicated clock now. */
uint64_t cluster_clock_ms(const struct cluster *c);

void cluster_snapshot_made(struct cluster *c, bool ok, const struct snapshot_info *made);
void cluster_snapshot_checked(struct cluster *c, bool ok);
