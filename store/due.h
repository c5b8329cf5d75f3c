/* due.h - which rows are due when, on the replicated clock: keys that expire, sessions that end, locks with deadlines.
 * Memory holds only the near future: every row whose expiry is at or before the horizon. Later ones wait in SQLite's
 * index on expiry; as the clock nears the horizon the flusher, right after a flush, reads the next window.
 * There is one entry a row, at the earliest time noted for it since it was last taken or forgotten: a row whose expiry
 * is put off again and again costs one entry. So an entry is a hint, never later than the truth: whoever takes one
 * compares with the row, and when the row expires later, notes that time again. */
#pragma once
#include "store/rows.h"
#include <stddef.h>
#include <stdint.h>

struct due;
int due_open(struct due **ret);
void due_close(struct due *d);
/* A row now expires at ms: remembered if it is at or before the horizon. The key is copied. 0 or STORE_ENOMEM. */
int due_note(struct due *d, enum space space, const void *key, size_t len, int64_t ms);
/* The row is gone, or has no expiry any more. */
void due_forget(struct due *d, enum space space, const void *key, size_t len);
/* Begins at 0: until it is moved nothing is remembered. */
int64_t due_horizon_ms(const struct due *d);
/* Move the horizon (only forward); the caller then notes what SQLite has up to it. */
void due_set_horizon(struct due *d, int64_t ms);
/* Earliest time noted; INT64_MAX when none. */
int64_t due_first_ms(const struct due *d);
/* Take out the earliest entry, those of one time by space and then in byte order; its key is copied into *ret_key
 * (malloc'ed, the caller frees). 1 when there was one, 0 when there is none at or before ms. */
int due_take(struct due *d, int64_t ms, enum space *ret_space, void **ret_key, size_t *ret_len, int64_t *ret_ms);
/* Forget all entries of a space; the horizon stays. */
void due_clear(struct due *d, enum space space);
