/* rows_internal.h - the row cache as its keepers see it: store.c, which owns it, and the flusher, which carries its
 * changes to SQLite. The families of commands see rows.h only. */
#pragma once
#include "store/rows.h"
#include <sqlite3.h>

/* One changed row on its way to SQLite. Frozen from rows_freeze() on: the flusher thread reads it without a lock. */
struct change {
    struct row row;
    uint64_t digest; /* row_digest(&row) */
    struct change *next;
    bool deleted; /* The row is to be removed; only its key and hash mean anything. */
};

/* What changed in one space between two freezes. */
struct changes {
    struct change *first; /* In no order. */
    size_t n;
    bool wipe; /* Every row of SQLite goes first (FLUSHALL); the changes come on top. */
};

/* All that changed between two freezes. */
struct generation {
    struct changes spaces[SPACE_N];
};

/* db: the loop thread's connection, borrowed, its schema checked. */
int rows_open(sqlite3 *db, size_t cache_bytes, const struct rows_total totals[SPACE_N], struct rows **ret);
/* No generation may be frozen by then (its changes would still be read). NULL is fine. */
void rows_close(struct rows *r);

/* Begin to flush: hand out what changed since the last call, in O(1). At most one generation is frozen at a time. */
void rows_freeze(struct rows *r, struct generation *ret);
/* The frozen generation has been committed. Loop thread, O(1). */
void rows_thaw(struct rows *r);

/* Memory that is no longer needed but may hold frozen rows, or takes long to free: the flusher frees it between
 * flushes. */
struct item;
struct table;
struct trash {
    struct item *items, *items_last;
    struct table *tables;
};
struct trash rows_take_trash(struct rows *r);
/* Move what is in `from` into `to`. */
void trash_join(struct trash *to, struct trash *from);
/* Any thread, after the generation that was frozen when it was taken has been committed or given up. */
void trash_free(struct trash *t);

/* Evict clean rows while the cache is over its bound: a bounded bit of work. */
void rows_trim(struct rows *r);
size_t rows_cache_bytes(const struct rows *r);
size_t rows_dirty_bytes(const struct rows *r); /* The frozen ones included. */
size_t rows_dirty(const struct rows *r);       /* Changed since the last freeze. */

/* A row's share of the state hash: xxh3 over its numbers and the xxh3 of its key and value. */
uint64_t row_digest(const struct row *row);
