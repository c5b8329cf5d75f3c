/* rows.h - the row cache: the rows of the state that are in memory, over the SQLite file.
 *
 * Lookups and changes work in memory; a miss reads SQLite on the loop thread's own connection. Changed rows are dirty:
 * they belong to the current generation and stay pinned until the flusher has committed that generation. While a
 * generation is being flushed its rows are frozen: a change to one makes a new row (copy on write), so that the
 * flusher reads without locks. Clean rows may be evicted whenever the cache is past its bound.
 * Rows are in buckets by the high bits of their key's hash, so that a walk by buckets is a walk in hash order (SCAN).
 * Everything replicated is a row; what kind of thing it is, its space tells. The calls without _in are about user keys.
 */
#pragma once
#include "store/command.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rows;

/* A space has names, a table and a walk of its own. The numbers count in the state hash: append only. */
enum space {
    SPACE_KEYS = 0,
    SPACE_SESSIONS = 1,
    SPACE_LOCKS = 2,
    SPACE_SCRIPTS = 3,
    SPACE_PARTS = 4, /* What large lists and hashes consist of. */
    SPACE_TRASH = 5, /* Large ones that were deleted, and still have parts. */
    SPACE_WAITS = 6, /* Who waits for a list. */
    SPACE_N
};

#define ROW_NO_EXPIRY INT64_MAX

/* A row as its readers see it; borrowed until the next change or lookup of any row. */
struct row {
    uint8_t space; /* enum space */
    const uint8_t *key;
    size_t key_len;
    uint64_t key_hash; /* rows_hash_in(), 63 bits: the order of SCAN */
    uint8_t type;      /* enum value_type; 0 in other spaces than that of keys */
    const uint8_t *value;
    size_t value_len;
    uint64_t version;  /* Revision of the last change. */
    int64_t expire_ms; /* On the replicated clock; ROW_NO_EXPIRY: none. */
    int64_t wall_ms;   /* Keys: the unix time asked for, told back by EXPIRETIME; meaningless without expiry. */
};

/* 63-bit xxh3 of a key, seeded with its space: stable across versions and machines. */
uint64_t rows_hash_in(enum space space, const void *key, size_t len);

/* The row, whatever its expiry (the caller compares expire_ms with the clock), or NULL when there is none. On a failed
 * read of SQLite NULL too, and rows_error() is set: check it once per batch, before answers leave. */
const struct row *rows_get_in(struct rows *r, enum space space, const void *key, size_t len);
/* Insert or replace. The bytes are copied; value may point into a borrowed row. Sets rows_error() when out of memory.
 */
void rows_put_in(struct rows *r, enum space space, const void *key, size_t len, uint8_t type, const void *value,
                 size_t value_len, uint64_t version, int64_t expire_ms, int64_t wall_ms);
/* Change expiry and version only, value kept (no copy of the value). */
void rows_set_expiry_in(struct rows *r, enum space space, const void *key, size_t len, uint64_t version,
                        int64_t expire_ms, int64_t wall_ms);
/* Delete; false when there was none. */
bool rows_delete_in(struct rows *r, enum space space, const void *key, size_t len);
/* All rows of a space at once, without walking them (FLUSHALL). */
void rows_clear_in(struct rows *r, enum space space);
/* Note rows in the journal before they change, until it is set to NULL. Clearing a space is not noted. */
struct journal;
void rows_set_journal(struct rows *r, struct journal *j);
/* 0 or a store_err since the last call of this function. */
int rows_error(struct rows *r);

/* Walk a space in key_hash order from the first row with key_hash >= from: calls each until it returns false or the
 * end. Merges memory and SQLite. each must neither change rows nor look any up. Rows of one key_hash come together. */
void rows_walk_in(struct rows *r, enum space space, uint64_t from, bool (*each)(void *ctx, const struct row *row),
                  void *ctx);

/* What a space holds, in memory or not. */
struct rows_total {
    uint64_t count;
    uint64_t expiring; /* of them with an expiry */
    uint64_t hash;     /* sum of row_digest() */
};
struct rows_total rows_total(const struct rows *r, enum space space);
uint64_t rows_state_hash(const struct rows *r);   /* of all spaces */
uint64_t rows_all_expiring(const struct rows *r); /* in all spaces */

/* ---- User keys ---- */

static inline uint64_t rows_hash(const void *key, size_t len)
{
    return rows_hash_in(SPACE_KEYS, key, len);
}

static inline const struct row *rows_get(struct rows *r, const void *key, size_t len)
{
    return rows_get_in(r, SPACE_KEYS, key, len);
}

static inline void rows_put(struct rows *r, const void *key, size_t len, uint8_t type, const void *value,
                            size_t value_len, uint64_t version, int64_t expire_ms, int64_t wall_ms)
{
    rows_put_in(r, SPACE_KEYS, key, len, type, value, value_len, version, expire_ms, wall_ms);
}

static inline void rows_set_expiry(struct rows *r, const void *key, size_t len, uint64_t version, int64_t expire_ms,
                                   int64_t wall_ms)
{
    rows_set_expiry_in(r, SPACE_KEYS, key, len, version, expire_ms, wall_ms);
}

static inline bool rows_delete(struct rows *r, const void *key, size_t len)
{
    return rows_delete_in(r, SPACE_KEYS, key, len);
}

static inline void rows_clear(struct rows *r)
{
    rows_clear_in(r, SPACE_KEYS);
}

static inline void rows_walk(struct rows *r, uint64_t from, bool (*each)(void *ctx, const struct row *row), void *ctx)
{
    rows_walk_in(r, SPACE_KEYS, from, each, ctx);
}

static inline uint64_t rows_count(const struct rows *r)
{
    return rows_total(r, SPACE_KEYS).count;
}

static inline uint64_t rows_expiring(const struct rows *r)
{
    return rows_total(r, SPACE_KEYS).expiring;
}
