/* node.h - the daemon: where raft meets store, and what the rest of node/ may ask about both. Loop thread. */
#pragma once
#include "node/config.h"
#include "node/requests.h"
#include <uv.h>

struct node;

/* Start everything of the cluster side: open the store and the log, start the replica and the peer listener.
 * The RESP server is started by main.c after it. Failure: an error sentence, and an exit code (see main.c). */
int node_open(uv_loop_t *loop, const struct config *config, char error[256], struct node **ret);
/* Hand leadership over if this node leads, finish what is in flight (at most the request deadline), then call
 * on_drained once. New writes and reads are refused with REQUEST_STOPPING meanwhile. */
void node_drain(struct node *n, void (*on_drained)(void *ctx), void *ctx);
/* After on_drained and after the server is closed: flush the store, close everything. NULL is fine. */
void node_close(struct node *n);

uv_loop_t *node_loop(const struct node *n);
const struct config *node_config(const struct node *n);
/* The loop's monotonic clock, as of this iteration. */
uint64_t node_now_ms(const struct node *n);

#define NODE_MEMBERS_MAX 16
struct node_member {
    uint64_t id;
    char peer_address[256];   /* host:port of the peer listener */
    char client_address[256]; /* host:port told at the handshake, or "" when never heard */
    bool voter, linked;       /* linked: both directions are up (self: true) */
    uint64_t match_index;     /* leader only, else 0 */
    uint64_t last_heard_ms;   /* since anything came from it; UINT64_MAX never; self: 0 */
};

/* How long things took since the start. */
struct node_times {
    const struct histogram *sync;   /* of the log to the disk */
    const struct histogram *commit; /* batches of writes gathered here: sent until answered */
    const struct histogram *apply;  /* entries to the state */
};
void node_times(const struct node *n, struct node_times *ret);
/* node_drain() was called. */
bool node_is_draining(const struct node *n);

struct node_status {
    uint64_t id, start, term, leader; /* leader 0: none known, */
    uint64_t leaderless_ms;           /* for so long; else 0 */
    const char *role;                 /* "leader", "follower", "candidate" */
    bool ready;                       /* leader: has committed and applied an entry of its own term */
    uint64_t commit_index, applied_index, last_index, first_index, durable_index;
    uint64_t revision, clock_ms, state_hash, keys, keys_with_ttl, expired_total, sessions, locks;
    uint64_t cache_bytes, dirty_bytes, file_bytes, log_bytes, checkpoint_index;
    uint64_t syncs, sync_us_median;
    uint64_t batches_proposed, batches_forwarded, batches_resent, batches_duplicate, reads_rounds, snapshots_sent,
        snapshots_installed, elections;
    uint64_t writes_waiting, reads_waiting; /* requests queued or in flight */
    char cluster_id[33];                    /* hex */
    bool has_disk_reserve;
    size_t n_members;
    struct node_member members[NODE_MEMBERS_MAX];
};
void node_status(const struct node *n, struct node_status *ret);
/* How many members besides the leader are known to hold log index `index`; a follower's answer counts itself if it
 * applied it, and the rest of the majority that committed it. For WAIT. */
unsigned node_replicas_at(const struct node *n, uint64_t index);
/* Changes of membership asked for at this node; the join tokens it has made. */
struct changes *node_changes(const struct node *n);
/* listeners.h */
struct listeners;
struct listeners *node_listeners(struct node *n);
struct tokens *node_tokens(const struct node *n);
/* Best guess of the replicated clock now. */
uint64_t node_clock_ms(const struct node *n);
