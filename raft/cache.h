/* cache.h - the newest entries of the log in memory: a ring, by index. Holds one reference of each entry's blob. */
#pragma once
#include "raft/log.h"

struct cache {
    struct log_entry *slots; /* Entry `index` is in slots[index & (capacity - 1)]. */
    size_t capacity;         /* A power of two. */
    uint64_t first, next;    /* Held: first to next - 1. */
    size_t bytes;            /* Payloads and slots. */
};

/* Empty; the next entry pushed has index `next`. */
void cache_init(struct cache *c, uint64_t next);
void cache_release(struct cache *c);
/* Make room for n more entries, so that cache_push cannot fail. 0 or LOG_ENOMEM. */
int cache_reserve(struct cache *c, size_t n);
/* Add the entry at index `next`; takes its own reference. */
void cache_push(struct cache *c, const struct log_entry *e);
/* Drop the entries from index on; `next` becomes index when it was higher. */
void cache_truncate(struct cache *c, uint64_t index);
/* Drop the entries below index. */
void cache_drop_below(struct cache *c, uint64_t index);
/* Drop everything; the next entry pushed has index `next`. */
void cache_reset(struct cache *c, uint64_t next);
/* NULL when not held; borrowed until the next change. */
const struct log_entry *cache_get(const struct cache *c, uint64_t index);
