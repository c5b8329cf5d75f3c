/* store.h - the replicated state: keys and values in one SQLite file, changed only by log entries.
 * Knows nothing of raft, sockets or the time of day. All calls are made on one thread (the loop
 * thread) unless a comment says otherwise; a flusher thread of its own does what waits for a disk. */
#pragma once
#include "store/command.h"
#include "store/event.h"
#include "store/outcome.h"
#include <stdatomic.h>

struct store;
struct script_host; /* script.h */

enum store_err {
    STORE_ENOMEM = -1,
    STORE_EIO = -2,      /* The disk failed or is full; store_error() has the words. */
    STORE_ECORRUPT = -3, /* The file, or an entry, is damaged. */
    STORE_EVERSION = -4, /* Written by a version of Holdfast that this one cannot read. */
    STORE_EFOREIGN = -5, /* An SQLite file, but not ours, or of another cluster. */
    STORE_EMISSING = -6, /* No such snapshot file. */
};

#define STORE_FILE "state.db"
#define STORE_INCOMING "incoming.db" /* A snapshot being received; see store_install(). */
#define STORE_CLUSTER_ID_BYTES 16

struct store_options {
    const char *dir;            /* Existing directory; borrowed for the call. */
    const uint8_t *cluster_id;  /* STORE_CLUSTER_ID_BYTES; written into a new file, compared in an old one. */
    size_t cache_bytes;         /* Row cache bound; dirty rows may exceed it for a while. */
    unsigned flush_interval_ms; /* How long changes may stay out of SQLite; 0: only when told, without a thread. */
    size_t flush_rows;          /* ... or once so many rows are dirty. */
    size_t checkpoint_bytes;    /* Checkpoint when SQLite's WAL has grown so far. */
    void (*notify)(void *ctx);  /* Called on the flusher thread when store_poll() has something to do. */
    void *notify_ctx;
    const struct script_host *script_host; /* Borrowed for good; NULL: EVAL is a command there is none of. */
};

/* Open or create. Failure leaves the file as it was. ret_error gets a sentence for the operator
 * (borrowed, static or in the caller's buffer of 256 bytes). */
int store_open(const struct store_options *options, char error[256], struct store **ret);
/* Flush everything, checkpoint, join the flusher, close. NULL is fine. */
void store_close(struct store *s);
/* Drop everything in memory as a crash would, without flushing (tests, and after a fatal error). */
void store_abandon(struct store *s);
const char *store_error(const struct store *s);

/* Where the state stands. */
uint64_t store_applied(const struct store *s);
uint64_t store_applied_term(const struct store *s);
uint64_t store_revision(const struct store *s);      /* Grows by one for each change of a row. */
uint64_t store_clock_ms(const struct store *s);      /* The replicated clock: the last stamp applied. */
uint64_t store_hash(const struct store *s);          /* Order-independent hash of all rows. */
uint64_t store_keys(const struct store *s);          /* Rows, those due but not yet removed included. */
uint64_t store_expired_total(const struct store *s); /* Keys removed by expiry since start. */
uint64_t store_keys_with_ttl(const struct store *s);
uint64_t store_sessions(const struct store *s);
uint64_t store_locks(const struct store *s);     /* Held or waited for. */
bool store_has_deadlines(const struct store *s); /* Is there anything, of any kind, that will be due? */
size_t store_cache_bytes(const struct store *s);
size_t store_dirty_bytes(const struct store *s); /* The daemon stops taking writes when this runs away. */
/* Disk space that taking the dirty rows into the file may need, its journal included: an estimate, rather too high. */
uint64_t store_space_wanted(const struct store *s);
uint64_t store_file_bytes(const struct store *s); /* state.db and its WAL, as of the last flush. */
/* Highest index whose effects are in the SQLite file AND synced there: the log may be cut up to it. */
uint64_t store_durable(const struct store *s);
uint64_t store_durable_term(const struct store *s);
/* Last start and seq applied for an origin node; 0, 0 when it never wrote. */
void store_origin(const struct store *s, uint64_t node, uint64_t *ret_start, uint64_t *ret_seq);

/* What became of a batch. */
enum store_applied {
    STORE_APPLIED,      /* Now; ret_outcomes has one value for each command. */
    STORE_DUPLICATE,    /* Its (origin, start, seq) was applied before; nothing done. */
    STORE_OUT_OF_ORDER, /* A batch of this origin is missing before it, or its start has ended; nothing done,
                           the origin sends it again if it still lives. */
};

/* Apply the committed batch at `index` (must be store_applied() + 1; asserted).
 * Deterministic: no clock, chance or local setting sways it. A refusal is a result, not an error.
 * The clock becomes max(clock, the batch's stamp) first, also for duplicates. A key whose expiry time is
 * <= the clock counts as absent, and is removed (with its own revision) by the write that touches it.
 * Outcomes are appended to ret_outcomes, one value a command.
 * Errors: STORE_ENOMEM, STORE_EIO, STORE_ECORRUPT, STORE_EVERSION: this node must stop. */
int store_apply(struct store *s, uint64_t index, uint64_t term, const uint8_t *batch, size_t len,
                struct outcome_buf *ret_outcomes, enum store_applied *ret);
/* Whom to tell, while an entry is applied, what happened in it that others may wait for. The event is borrowed for the
 * call, which must not call back into the store. */
void store_on_event(struct store *s, void (*changed)(void *ctx, const struct store_event *event), void *ctx);
/* What applied entries change and say is put into feed from now on, behind what is in it; NULL: nobody listens. */
struct feed;
void store_feed(struct store *s, struct feed *feed);
/* An entry without commands (barrier). */
void store_skip(struct store *s, uint64_t index, uint64_t term);
/* A committed membership configuration: opaque bytes, kept for snapshots. Borrowed, copied. */
int store_configure(struct store *s, uint64_t index, uint64_t term, const uint8_t *conf, size_t len);
/* The last configuration applied; *ret_len 0 when none. Lives until the next store_configure(). */
const uint8_t *store_configuration(const struct store *s, size_t *ret_len, uint64_t *ret_index);

/* Answer one encoded read against the present state. Only opcodes for which command_is_write() is
 * false; anything else is REFUSAL_UNKNOWN_COMMAND. now_ms is the caller's best guess of the replicated
 * clock now (>= store_clock_ms), used only to say how much of a TTL is left.
 * Returns the bytes the command took in ret_used. Errors as store_apply(). */
int store_read(struct store *s, const uint8_t *command, size_t len, uint64_t now_ms, struct outcome_buf *ret,
               size_t *ret_used);

/* Where the request for a lock with this token stands now. left_ms: what is left of its hold or of its wait on the
 * replicated clock, UINT64_MAX when it is not bounded. Errors as store_apply(). */
enum store_standing { STORE_GONE, STORE_WAITING, STORE_HELD };
int store_lock_standing(struct store *s, const void *name, size_t len, uint64_t token, enum store_standing *ret,
                        uint64_t *ret_left_ms);

/* The same of one who waits for a list; held: something is offered. */
int store_wait_standing(struct store *s, uint64_t token, enum store_standing *ret, uint64_t *ret_left_ms);

/* Deadlines, for the leader. The earliest clock at which something is due, UINT64_MAX when nothing is known to be. */
uint64_t store_next_due_ms(const struct store *s);
/* Append commands naming up to max things due at clock_ms: one OP_EXPIRED, OP_SESSION_EXPIRED and OP_LOCK_DUE at most.
 * Returns how many commands. */
uint32_t store_due(struct store *s, uint64_t clock_ms, size_t max, struct command_buf *ret);

/* The flusher. store_poll() takes in finished flushes and starts the next when it is time: call it after
 * notify() and at least every flush interval. now_ms: any monotonic clock.
 * Errors: STORE_EIO: SQLite failed; the node must stop (the log has everything). */
int store_poll(struct store *s, uint64_t now_ms);
/* Start a flush with a checkpoint as soon as possible (the log wants to be cut, or a snapshot made). */
void store_checkpoint_soon(struct store *s);
/* Flush all, checkpoint, and wait for it. For shutdown, snapshots in tests, and the simulator. */
int store_flush_now(struct store *s);

/* Snapshots. */
struct snapshot_info {
    uint64_t applied, applied_term, conf_index, bytes, revision, hash;
};
/* Write a consistent copy of the state file at db_dir/state.db to dest (replaced if it exists), synced.
 * Any thread: it opens its own connection. The copy is at some applied index >= the last finished flush. */
int snapshot_make(const char *db_dir, const char *dest, char error[256], struct snapshot_info *ret);
/* Open a snapshot file and check that it is whole, ours and of this cluster. Any thread. */
int snapshot_check(const char *path, const uint8_t *cluster_id, char error[256], struct snapshot_info *ret);
/* Look at all of the state file beside a running store: every page, every row, and whether they add up to the state
 * hash. A damaged key would otherwise only look missing. Any thread; ends early, with some error, once *stop is true.
 */
int snapshot_check_state(const char *db_dir, const uint8_t *cluster_id, const atomic_bool *stop, char error[256]);
/* Replace the state by dir/incoming.db, which snapshot_check() accepted: rename, sync, reopen, forget all
 * rows in memory. On failure the store is unusable and the node must stop. */
int store_install(struct store *s);
