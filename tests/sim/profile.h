/* profile.h - what a run is like, decided by chance before it begins. Each run is made of a few extremes rather than of
 * a little of everything: that is where the seldom met meets. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct profile {
    int n_nodes;
    uint64_t delay_us, jitter_us; /* Of a frame. */
    unsigned late_percent;        /* Frames held up for late_us at most. */
    uint64_t late_us;
    bool stragglers;  /* After a reset, frames of the old connection still come, some of them twice. */
    uint64_t disk_us; /* Longest normal disk job. */
    unsigned disk_slow_percent;
    uint64_t segment_bytes, log_memory_bytes, keep_entries, keep_bytes;
    size_t cache_bytes, checkpoint_bytes;
    unsigned flush_percent;                /* Of the times housekeeping comes by. */
    uint64_t think_us;                     /* Longest pause of a client between requests. */
    size_t value_bytes;                    /* Values are padded to at most so many. */
    uint64_t clock_slowest, clock_fastest; /* Rates of the nodes' clocks, in thousandths. */
    bool minority_stays_down;              /* Through healing and calm: a majority alone must get on. */
};
extern struct profile profile;
void profile_begin(void);
