/* due.h - which keys are due when, on the replicated clock.
 * Memory holds only the near future: every key whose expiry is at or before the horizon. Later ones wait in SQLite's
 * index on expiry; as the clock nears the horizon the flusher, right after a flush, reads the next window. An entry is
 * a hint: whoever uses it compares with the row, so stale and double entries do no harm. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct due;
int due_open(struct due **ret);
void due_close(struct due *d);
/* A row now expires at ms: remembered if it is at or before the horizon. 0 or STORE_ENOMEM. */
int due_note(struct due *d, const void *key, size_t len, int64_t ms);
int64_t due_horizon_ms(const struct due *d);
/* Move the horizon (only forward); the caller then notes what SQLite has up to it. */
void due_set_horizon(struct due *d, int64_t ms);
/* Earliest time noted; INT64_MAX when none. */
int64_t due_first_ms(const struct due *d);
/* Take out the earliest entry; its key is copied into *ret_key (malloc'ed, the caller frees). False when there is none at or before ms. */
int due_take(struct due *d, int64_t ms, void **ret_key, size_t *ret_len, int64_t *ret_ms);
void due_clear(struct due *d);
