/* segments.h - which files the log consists of, and where in them an entry is. Memory only. */
#pragma once
#include "raft/segment.h"

#define SEGMENTS_POINT_EVERY 64 /* entries between two remembered places */

struct segment {
    uint64_t number, base_index, base_term;
    uint64_t end; /* Of its records. */
    bool prepared;
};

struct segments_point {
    uint64_t index, segment, offset; /* The record of this index is there. */
};

struct segments {
    struct segment *list; /* By number; the last one is written to. */
    size_t n, capacity;
    struct segments_point *points; /* By index; from each one to the next, records follow each other by index. */
    size_t points_head, n_points, points_capacity; /* In use: points[points_head .. +n_points]. */
};

void segments_release(struct segments *s);
int segments_add(struct segments *s, const struct segment *segment); /* 0 or LOG_ENOMEM */
struct segment *segments_last(struct segments *s);
const struct segment *segments_find(const struct segments *s, uint64_t number); /* NULL when there is none. */
uint64_t segments_bytes(const struct segments *s);

/* The record of this index is there; `jump`: it does not follow the record of index - 1 in the same file. */
int segments_note(struct segments *s, uint64_t index, uint64_t segment, uint64_t offset, bool jump);
/* Entries from index on are no longer where they were. */
void segments_truncate(struct segments *s, uint64_t index);
/* The last remembered place at or before index, or NULL. */
const struct segments_point *segments_point(const struct segments *s, uint64_t index);
/* How many files from the first on hold nothing above index; 0 <= result < n. */
size_t segments_below(const struct segments *s, uint64_t index);
/* Forget the first n files. */
void segments_drop(struct segments *s, size_t n);

static inline bool segment_is_empty(const struct segment *s)
{
    return s->end == SEGMENT_HEADER_BYTES;
}
