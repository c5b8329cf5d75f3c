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
    REPLICA_EVERSION = -5, /* The libraft loaded is not the one this was built for. */
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
    /* A committed entry, in order and without gaps, from the index after replica_options.applied on. */
    void (*apply)(void *ctx, uint64_t index, uint64_t term, enum log_type type, const uint8_t *payload, size_t len);
    /* Role, term, leader or readiness changed: look at replica_status(). */
    void (*changed)(void *ctx);
    /* A peer's frame of the owner's own kind (FRAME_OWNER and above), payload borrowed. */
    void (*message)(void *ctx, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len);
    /* The link on which we send to a peer came up or went down. */
    void (*link)(void *ctx, uint64_t peer, bool up);
    /* Reads with this ticket or an earlier one may be answered from the state as applied now; or, with ok false,
     * leadership was lost before it could be confirmed. */
    void (*read_ready)(void *ctx, uint64_t ticket, bool ok);
    /* A follower needs a snapshot: make REPLICA_SNAPSHOT_FILE off the loop, then call replica_snapshot_made(). */
    void (*snapshot_make)(void *ctx);
    /* REPLICA_INCOMING_FILE has arrived whole: check it off the loop, then call replica_snapshot_checked(). */
    void (*snapshot_check)(void *ctx);
    /* Put the checked file in the place of the state, blocking. 0, or the node must stop. */
    int (*snapshot_install)(void *ctx);
    /* The replica cannot go on (disk, memory, or a broken promise of the library): the process must exit. */
    void (*failed)(void *ctx, const char *why);
    /* The cluster has removed this node, or does not take its disk for the one it knew: the process must exit. */
    void (*expelled)(void *ctx, const char *why);
    /* For the operator: level 0 error, 1 warning, 2 info, 3 debug. */
    void (*log)(void *ctx, int level, const char *text);
};

#define REPLICA_SNAPSHOT_FILE "snapshot.db"
#define REPLICA_INCOMING_FILE "incoming.db"

struct replica_options {
    struct io *io;
    uint64_t id;
    uint8_t cluster_id[LOG_CLUSTER_ID_BYTES];
    /* The first, fixed set, which contains id. With `joins`: members of a cluster that has taken id in, to be asked for
     * the log; what it says replaces them. */
    const struct replica_member *members;
    size_t n_members;
    bool joins;
    unsigned election_timeout_ms, heartbeat_ms;
    uint64_t segment_bytes;
    size_t log_memory_bytes;
    uint64_t reserve_bytes;            /* Free disk space below which replica_has_reserve() says no. */
    uint64_t keep_entries, keep_bytes; /* Log kept behind a checkpoint for slow followers: whichever is less. */
    /* Where the owner's state stands: 0 and NULL when it is empty. The configuration is what apply() was given last. */
    uint64_t applied, applied_term, conf_index;
    const uint8_t *conf;
    size_t conf_len;
    struct replica_owner owner;
};

/* Open the log, recover, and take part. Callbacks begin with the first replica_timer(), which is asked for at once.
 * Errors come with a sentence. Everything in options is copied but io, which must outlive the replica. */
int replica_open(const struct replica_options *options, char error[256], struct replica **ret);
/* Take no further part: nothing is sent, stepped or called back from now on. Before replica_close() the loop must run
 * until replica_busy() is false, since a worker may still have a file of ours. */
void replica_stop(struct replica *r);
bool replica_busy(const struct replica *r);
void replica_close(struct replica *r); /* NULL is fine. */

/* What io and the links report. */
void replica_timer(struct replica *r);
void replica_receive(struct replica *r, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len);
void replica_link(struct replica *r, uint64_t peer, bool up);
/* The peer's process is gone (its connection ended): when it led, the election starts now. */
void replica_lost(struct replica *r, uint64_t peer);

/* What the links ask at a greeting (link.h: introduce, judge, on_refused). why: FRAME_GREETING_TEXT_MAX bytes. */
struct frame_greeting;
void replica_introduce(const struct replica *r, struct frame_greeting *g);
unsigned replica_judge(struct replica *r, const struct frame_greeting *g, char *why);
void replica_refused(struct replica *r, uint64_t by, const struct frame_greeting *g);

/* Append a batch to the log; only while replica_ready(). The blob is stamped, then shared: its bytes must not change
 * any more. Referenced on success. Errors: REPLICA_ENOTLEADER, REPLICA_ENOMEM; nothing was appended. */
int replica_propose(struct replica *r, struct blob *batch);
/* Leads, has applied an entry of its own term, and is not handing over. */
bool replica_ready(const struct replica *r);
/* Entries proposed and not yet committed. */
uint64_t replica_uncommitted(const struct replica *r);
/* Ask for a read round: read_ready() will be called with *ret_ticket or a later one. REPLICA_ENOTLEADER. */
int replica_read(struct replica *r, uint64_t *ret_ticket);
/* Start the round that reads registered since the last call wait for, if none is under way. Once each turn of the loop.
 */
void replica_reads_flush(struct replica *r);
/* Send a frame of the owner's to a peer; lost without a word when the link is down. */
void replica_send(struct replica *r, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                  const struct io_slice *slices, size_t n);
bool replica_link_up(const struct replica *r, uint64_t peer);
/* The owner's state is durable up to index (of term): the log behind it may go. */
void replica_checkpoint(struct replica *r, uint64_t index, uint64_t term);
/* Does the log want a checkpoint, because it has grown well past what is kept? */
bool replica_wants_checkpoint(const struct replica *r);
/* Hand leadership to a voter; 0: to the one that is furthest along. REPLICA_ENOTLEADER, REPLICA_EBUSY, REPLICA_EINVAL
 * (nobody there, or not a voter that can be reached). */
int replica_transfer(struct replica *r, uint64_t to);

/* ---- Changing the members (membership.c); the leader does it ---- */
enum change_kind { CHANGE_ADD, CHANGE_PROMOTE, CHANGE_DEMOTE, CHANGE_REMOVE, CHANGE_ADDRESS };
enum change_err {
    CHANGE_ENOMEM = -1,
    CHANGE_ENOTLEADER = -2, /* Ask the leader, or ask again soon. */
    CHANGE_EBUSY = -3,      /* Another change is under way. */
    CHANGE_ENOENT = -4,
    CHANGE_EEXISTS = -5, /* The id or the address is in use, or the id was. */
    CHANGE_EALREADY = -6,
    CHANGE_EBEHIND = -7,    /* Not caught up or not reachable; not with force. */
    CHANGE_EQUORUM = -8,    /* Too few of the voters then can be reached; not with force. */
    CHANGE_ELAST = -9,      /* The last voter. */
    CHANGE_EHANDOVER = -10, /* It leads itself: replica_transfer() first. */
    CHANGE_ELIMIT = -11,
    CHANGE_EINVAL = -12,
};
#define CHANGE_WHY_MAX 400
/* A learner whose log is so close to the leader's has caught up. */
#define REPLICA_CAUGHT_UP_ENTRIES 64

struct replica_change {
    enum change_kind kind;
    uint64_t id;                       /* ADD: 0, the next free one. */
    char address[REPLICA_ADDRESS_MAX]; /* ADD (a learner), ADDRESS */
    bool force, dry_run;
};
/* Append the change to the log. It is done when an entry of *ret_index has been applied with this term still current,
 * and undone when another leader truncates it. dry_run: only say whether it would be. Errors: a sentence in why. */
int replica_change(struct replica *r, const struct replica_change *change, uint64_t *ret_id, uint64_t *ret_index,
                   char why[CHANGE_WHY_MAX]);

/* Answers to snapshot_make and snapshot_check. */
struct replica_snapshot {
    uint64_t index, term, conf_index, bytes;
    const uint8_t *conf;
    size_t conf_len;
};
void replica_snapshot_made(struct replica *r, const struct replica_snapshot *s); /* NULL: it failed. */
void replica_snapshot_checked(struct replica *r, bool ok);

struct replica_status {
    enum replica_role role;
    bool ready, installing;
    uint64_t id, term, leader, start;
    uint64_t commit, applied, last, first, durable;
    uint64_t log_bytes, syncs, sync_us_median;
    uint64_t elections, read_rounds, snapshots_sent, snapshots_installed,
        guarded; /* guarded: messages that guards dropped */
    bool has_reserve;
    size_t n_members;
    struct {
        struct replica_member member;
        uint64_t match; /* Leader only. */
        bool link_up;
    } members[REPLICA_MEMBERS_MAX];
};
void replica_status(const struct replica *r, struct replica_status *ret);
uint64_t replica_start(const struct replica *r);                     /* This process's start number. */
const struct histogram *replica_sync_times(const struct replica *r); /* Of the log, since the start. */
uint64_t replica_leader(const struct replica *r);                    /* 0 when none is known. */
uint64_t replica_term(const struct replica *r);
void replica_set_claim(struct replica *r, uint64_t bytes); /* log_set_claim() */
bool replica_has_reserve(const struct replica *r); /* False: the disk is nearly full, refuse what takes space. */
uint64_t replica_match(const struct replica *r, uint64_t peer);
