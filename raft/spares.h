/* spares.h - segment files made ready before they are needed, and files no longer needed.
 *
 * A spare "spare-%016x" is a whole file of segment_bytes whose space was written with zeros (or with old records) and
 * synced, so that a write to it changes no file size and no block map. It is made as "spare.new". The spares
 * kept are also the reserve of disk space: while none can be made, the log says so (log_has_reserve).
 * Removed log files become spares while some are missing, else they are deleted: lowest number first, each one durably
 * before the next, so that a crash leaves no hole in the numbers. All of it happens on IO_LANE_SPARE. */
#pragma once
#include "raft/segment.h"
#include <stdatomic.h>

#define SPARES_MAX 8
#define SPARES_NAME_NEW "spare.new"

struct spares_removal {
    uint64_t number;
    bool recyclable; /* A prepared file of segment_bytes. */
};

enum spares_state { SPARES_IDLE, SPARES_MAKING, SPARES_REMOVING };

struct spares {
    struct io *io;
    uint64_t segment_bytes;
    unsigned keep;                     /* How many to have ready. */
    void (*changed)(struct spares *s); /* After each job, on the loop thread. */

    uint64_t ready[SPARES_MAX];
    unsigned n_ready;
    uint64_t next_number;
    struct spares_removal *removals; /* To do, in order. */
    size_t n_removals, removals_capacity;
    bool failed; /* The last attempt to make one failed; */
    uint64_t retry_at_ms;

    enum spares_state state;
    atomic_bool closing; /* The worker gives up at the next piece. */
    struct io_job job;   /* Its parameters and result: */
    struct spares_removal removal;
    bool recycle;
    uint64_t number;
    int rc;
};

void spare_name(char name[SEGMENT_NAME_BYTES], uint64_t number);
/* keep is cut to SPARES_MAX. */
void spares_init(struct spares *s, struct io *io, uint64_t segment_bytes, unsigned keep,
                 void (*changed)(struct spares *s));
/* A spare found in the directory: kept if it has the right size and is needed, else deleted. Before the loop runs. */
void spares_adopt(struct spares *s, uint64_t number);
/* Hand out a ready one. */
bool spares_take(struct spares *s, uint64_t *ret_number);
bool spares_full(const struct spares *s);
/* Make room to queue n removals. 0 or LOG_ENOMEM. */
int spares_reserve(struct spares *s, size_t n);
/* Queue a log file for removal; there must be room. */
void spares_remove(struct spares *s, uint64_t number, bool recyclable);
/* Start what there is to do, if nothing is under way; an attempt that failed is repeated after SPARES_RETRY_MS. */
#define SPARES_RETRY_MS 1000
void spares_pump(struct spares *s);
/* No new jobs; true when none is under way. */
bool spares_close(struct spares *s);
void spares_release(struct spares *s);
