/* replica.h - one member of the cluster: libraft's core driven by our disk, links and clock.
 * Knows entries as opaque payloads; what they mean is the owner's business (node/). Loop thread only. */
#pragma once
#include "raft/io.h"
#include "raft/log.h"

struct replica;

enum replica_err {
    REPLICA_ENOMEM = -1,
    REPLICA_ENOTLEADER = -2, /* Not the leader, or not yet ready to lead, or handing over. */
    REPLICA_EIO = -3,
    REPLICA_ECORRUPT = -4,
    REPLICA_EVERSION = -5,   /* The libraft loaded is not the one this was built for. */
    REPLICA_EINVAL = -6,
    REPLICA_EFOREIGN = -7,
    REPLICA_ENOSPC = -8,
    REPLICA_EBUSY = -9,
};

enum replica_role { REPLICA_FOLLOWER, REPLICA_CANDIDATE, REPLICA_LEADER };

#define REPLICA_MEMBERS_MAX 16
#define REPLICA_ADDRESS_MAX 256

struct replica_member {
    uint64_t id;
    char address[REPLICA_ADDRESS_MAX]; /* Of its peer listener, host:port. */
    bool voter;
};

/* What the owner provides. All are called on the loop thread; none may close the replica. */
struct replica_owner {
    void *ctx;
    /* Leader: put the clock into a batch that is about to be appended. */
    void (*stamp)(void *ctx, uint8_t *payload, size_t len);
    /* A committed entry, in order, once per start (entries at or below `applied` of replica_options are skipped). */
    void (*apply)(void *ctx, uint64_t index, uint64_t term, enum log_type type, const uint8_t *payload, size_t len);
    /* Role, term, leader or readiness changed: look at replica_status(). */
    void (*changed)(void *ctx);
    /* A peer's message of the owner's own (frame kind FRAME_OWNER and above), payload borrowed. */
    void (*message)(void *ctx, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len);
    /* Link up or down (an EOF or a failed connect). */
    void (*link)(void *ctx, uint64_t peer, bool up);
    /* A read round confirmed leadership: every read registered with this ticket or an earlier one may be answered
     * once index read_index is applied (it is, when this is called). ok false: leadership was lost. */
    void (*read_ready)(void *ctx, uint64_t ticket, bool ok);
    /* Snapshots: make a copy for a peer (any thread's work; call replica_snapshot_made when it is there). */
    void (*snapshot_make)(void *ctx);
    /* A complete file arrived as STORE_INCOMING in the directory: check it (worker), then replica_snapshot_checked. */
    void (*snapshot_check)(void *ctx);
    /* The core accepted it: put it in place now, blocking. 0, or the node stops. */
    int (*snapshot_install)(void *ctx);
    /* The replica cannot go on (a disk or memory failure): the process must exit. */
    void (*failed)(void *ctx, const char *why);
    /* Something an operator should see: level 0 error, 1 warning, 2 info. */
    void (*log)(void *ctx, int level, const char *text);
};
