/* flush.h - the flusher: a thread with its own connection that carries what changed to SQLite, one transaction at a
 * time. Between flushes it frees memory that would stall the loop thread. */
#pragma once
#include "store/rows_internal.h"
#include "store/schema.h"

struct flusher;

/* Rows that are due in a window of time, packed: i64 expire_ms, u32 space, u32 len, key; native byte order. */
struct due_list {
    uint8_t *base;
    size_t len, cap;
};
struct due_row {
    enum space space;
    const void *key; /* In the list. */
    size_t len;
    int64_t ms;
};
/* Read the row at *at and step past it; false at the end. */
bool due_list_next(const struct due_list *list, size_t *at, struct due_row *ret);
/* Append the rows of db with from < expire_ms <= to, the earliest of each space first. Errors: STORE_ENOMEM, STORE_EIO,
 * STORE_ECORRUPT. */
int due_list_read(sqlite3 *db, int64_t from, int64_t to, struct due_list *ret);

/* One flush, from freeze to result. The maker fills the first part and keeps its hands off until flusher_take(). */
struct flush {
    struct generation rows;
    struct meta meta;       /* meta.conf: NULL when it did not change. Owned. */
    struct origin *origins; /* Those that changed. Owned. */
    size_t n_origins;
    bool checkpoint;          /* Checkpoint afterwards even if SQLite's WAL is short. */
    int64_t due_from, due_to; /* Read the rows due in this window afterwards; equal: none. */

    /* The result. */
    int rc; /* Not 0: the store must stop. SQLite has all of this flush or nothing. */
    char error[SCHEMA_ERROR_BYTES];
    bool synced;         /* Everything up to meta.applied survives a power loss. */
    uint64_t file_bytes; /* state.db and its WAL afterwards. */
    struct due_list due;
};
void flush_release(struct flush *f);

/* path: the state file, which has its schema. notify is called on the flusher's thread after each flush; it may be
 * NULL. Not threaded: flushes run inside flusher_start(), and nobody is notified. */
int flusher_open(const char *path, size_t checkpoint_bytes, bool threaded, void (*notify)(void *ctx), void *ctx,
                 char error[SCHEMA_ERROR_BYTES], struct flusher **ret);
/* Waits for the flush under way. Nothing is checkpointed. NULL is fine. */
void flusher_close(struct flusher *f);
/* Start the flush. None may be under way or waiting to be taken. */
void flusher_start(struct flusher *f, struct flush *flush);
/* The finished flush, once; NULL when there is none. wait: sleep until the one under way has finished. */
struct flush *flusher_take(struct flusher *f, bool wait);
/* Free it when no flush is under way. */
void flusher_discard(struct flusher *f, struct trash trash);
/* Empty SQLite's WAL into the file and sync it, on the calling thread. No flush may be under way.
 * When a reader stands in the way the WAL stays, synced. */
int flusher_settle(struct flusher *f, char error[SCHEMA_ERROR_BYTES]);
