/* fakecluster.h - real replicas over disks in memory, joined by a network in virtual time.
 *
 * The owner of each replica is a machine that hashes what is applied, with a file "state" that is written now and then
 * and thus lags. What must never happen is watched all the time (two leaders of a term, two entries at an index, an
 * entry applied twice or out of order, a stale read, a replica that fails though its disk works) and ends in
 * fakecluster_trouble(). Everything follows from the seed. One cluster at a time, single thread. */
#pragma once
#include "raft/frames.h"
#include "raft/replica.h"
#include "tests/support/fakedisk.h"

#define FAKECLUSTER_NODES_MAX 7
#define FAKECLUSTER_STATE "state" /* The machine's file. */

struct fakecluster;

struct fakecluster_options {
    size_t n;        /* Nodes 1 to n. */
    size_t founders; /* The first set of members is nodes 1 to this, the others join; 0: all. */
    uint64_t seed;
    uint64_t keep_entries, keep_bytes; /* 0: 1000 and 1 MiB. */
    size_t log_memory_bytes;           /* 0: 64 KiB. */
    size_t state_bytes;                /* Size of the machine's file, hence of a snapshot. */
    unsigned checkpoint_ms;            /* How often "state" is written; 0: only when told. */
};

/* May be changed at any time. */
struct fakecluster_weather {
    unsigned delay_us, delay_spread_us; /* Of a frame, one way. */
    unsigned loss_ppm, twice_ppm;       /* Of a million frames; those sent twice come late the second time. */
    unsigned disk_us, disk_spread_us;   /* Of a worker's job. */
};

struct fakecluster_counts {
    uint64_t proposed, acked;
    uint64_t reads, reads_answered, reads_refused;
    uint64_t frames, crashes, snapshots_made, snapshots_installed, damaged;
    uint64_t applied; /* Highest index applied anywhere. */
};

struct fakecluster *fakecluster_new(const struct fakecluster_options *options);
void fakecluster_free(struct fakecluster *c);
struct fakecluster_weather *fakecluster_weather(struct fakecluster *c);
const struct fakecluster_counts *fakecluster_counts(const struct fakecluster *c);
/* The first promise that was broken, in words; NULL: none was. */
const char *fakecluster_trouble(const struct fakecluster *c);
uint64_t fakecluster_random(struct fakecluster *c, uint64_t below);
uint64_t fakecluster_now_ms(const struct fakecluster *c);

/* ---- Processes ---- */
/* replica_open()'s code and words (error: 256 bytes, or NULL). */
int fakecluster_start(struct fakecluster *c, uint64_t id, char *error);
void fakecluster_start_all(struct fakecluster *c);          /* Those that do not run; refusal is trouble. */
void fakecluster_crash(struct fakecluster *c, uint64_t id); /* The power is gone: what was not synced may be lost. */
void fakecluster_kill(struct fakecluster *c, uint64_t id);  /* The process is gone: links end at once. */
bool fakecluster_runs(const struct fakecluster *c, uint64_t id);
struct replica *fakecluster_replica(struct fakecluster *c, uint64_t id); /* NULL: does not run. */
struct fakedisk *fakecluster_disk(struct fakecluster *c, uint64_t id);
uint64_t fakecluster_applied(const struct fakecluster *c, uint64_t id); /* By its machine. */
/* Its worker takes that much longer for each job. */
void fakecluster_slow(struct fakecluster *c, uint64_t id, unsigned us);
/* Let the replica fail without that being trouble; it is crashed then. */
void fakecluster_may_fail(struct fakecluster *c, uint64_t id, bool may);
/* Its cluster would not have it any more, and it ended; it is not started again by start_all. */
bool fakecluster_expelled(const struct fakecluster *c, uint64_t id);
const char *fakecluster_failed_why(const struct fakecluster *c, uint64_t id);

/* ---- Links ---- */
/* Frames from one to the other vanish; after a while the sender notices. */
void fakecluster_cut(struct fakecluster *c, uint64_t from, uint64_t to, bool cut);
void fakecluster_isolate(struct fakecluster *c, uint64_t id, bool cut); /* Both ways, from all. */
void fakecluster_heal(struct fakecluster *c);
/* No trouble any more: links healed, weather and disks as at the beginning, no crash or damage to come, all started. */
void fakecluster_calm(struct fakecluster *c);
/* The connection from one to the other breaks, and is made again. */
void fakecluster_break(struct fakecluster *c, uint64_t from, uint64_t to);
/* Sees each frame when it arrives; false: it gets lost. */
typedef bool (*fakecluster_tap)(void *ctx, uint64_t from, uint64_t to, uint8_t kind, const uint8_t *bytes, size_t len);
void fakecluster_set_tap(struct fakecluster *c, fakecluster_tap tap, void *ctx);

/* ---- What users do ---- */
uint64_t fakecluster_leader(struct fakecluster *c); /* Ready, and of the highest term; 0: none. */
/* One entry of len bytes (at least 16) to that node; replica_propose()'s code. It counts as acknowledged when that
 * node, not restarted since, has applied it. */
int fakecluster_propose(struct fakecluster *c, uint64_t id, size_t len);
/* A read at that node: must see all that any node had applied when it began. */
int fakecluster_read(struct fakecluster *c, uint64_t id);
/* Write the machine's file and tell the replica. */
void fakecluster_checkpoint(struct fakecluster *c, uint64_t id);
/* The next n snapshots to arrive at that node are damaged. */
void fakecluster_damage(struct fakecluster *c, uint64_t id, unsigned n);
/* The power goes when that node has put the next snapshot in place, before its log has begun anew. */
void fakecluster_crash_installing(struct fakecluster *c, uint64_t id);

/* ---- Time ---- */
void fakecluster_run(struct fakecluster *c, uint64_t ms);
/* Until cond() or trouble; false: not within ms. */
bool fakecluster_until(struct fakecluster *c, bool (*cond)(struct fakecluster *c, void *ctx), void *ctx, uint64_t ms);
/* All run, one leads, and all have applied everything. */
bool fakecluster_agrees(struct fakecluster *c, void *ctx);
/* There is a leader (to be used with until). */
bool fakecluster_has_leader(struct fakecluster *c, void *ctx);
