/* flush.c - how a generation of rows becomes durable.
 *
 * One transaction: rows in the order of their hash (which is the order of the table), meta, origins. Committed to
 * SQLite's WAL it survives the end of the process, but only a synced WAL survives a power loss. So when the WAL has
 * grown enough, or when told, a checkpoint follows, which syncs the WAL, copies its pages into the file and syncs that.
 * A reader with an old view (a snapshot being made) can keep a checkpoint from finishing; then the WAL alone is synced,
 * which is as good, and grows for a while.
 *
 * Invariants: one flush at most is under way, and memory handed to flusher_discard() is freed only between flushes, as
 * it may hold rows of the one under way. Everything but `mutex` and what it guards belongs to the thread between start
 * and take. Without a thread a flush is done when flusher_start() returns.
 * Failure: the transaction is rolled back and the flush says why; nothing is tried again. */
#include "store/flush.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FLUSH_CACHE_KIB "8192" /* SQLite pages the writing connection keeps. */
#define FLUSH_WAL_FRAME_BYTES (4096 + 24)
#define FLUSH_WAL_OVERGROWN 4 /* Times checkpoint_bytes at which readers are waited for. */
#define FLUSH_WAIT_READERS_MS 200
#define FLUSH_BUSY_MS 10000
#define FLUSH_FULL_WAIT_MS 200
#define FLUSH_UNUSED_PAGES 256
#define FLUSH_GIVE_BACK_PAGES "1024"
#define FLUSH_GIVE_BACK_ROUNDS 256

enum flusher_state { FLUSHER_IDLE, FLUSHER_UNDER_WAY, FLUSHER_FINISHED };

struct flusher {
    sqlite3 *db;
    sqlite3_stmt *put[SPACE_N], *remove[SPACE_N];
    char *path, *wal_path;
    size_t checkpoint_bytes;
    size_t wal_frames; /* As of the last commit. */
    void (*notify)(void *ctx);
    void *ctx;
    pthread_t thread;
    bool running; /* The thread exists. Set once, before the first flush. */

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum flusher_state state; /* From here on guarded by mutex. */
    struct flush *flush;      /* Unless idle. */
    struct trash trash;
    bool closing, awaited; /* awaited: somebody stands still until the flush is done. */
};

/* ---- rows due in a window ---- */

struct due_head {
    int64_t ms;
    uint32_t space, len;
};

static bool due_list_add(struct due_list *list, const struct due_head *head, const void *key)
{
    size_t need = list->len + sizeof *head + head->len;
    if (need > list->cap) {
        size_t cap = need + need / 2 + 256;
        uint8_t *grown = realloc(list->base, cap);
        if (grown == NULL)
            return false;
        list->base = grown;
        list->cap = cap;
    }
    memcpy(list->base + list->len, head, sizeof *head);
    if (head->len != 0)
        memcpy(list->base + list->len + sizeof *head, key, head->len);
    list->len = need;
    return true;
}

bool due_list_next(const struct due_list *list, size_t *at, struct due_row *ret)
{
    struct due_head head;
    if (*at == list->len)
        return false;
    memcpy(&head, list->base + *at, sizeof head);
    *ret = (struct due_row){
        .space = (enum space)head.space, .key = list->base + *at + sizeof head, .len = head.len, .ms = head.ms};
    *at += sizeof head + head.len;
    return true;
}

static int due_list_read_space(sqlite3 *db, enum space space, int64_t from, int64_t to, struct due_list *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = schema_prepare_in(db, "SELECT expire_ms, key FROM", space,
                               "WHERE expire_ms > ? AND expire_ms <= ? ORDER BY expire_ms", &stmt);
    int step = SQLITE_DONE;
    if (rc == 0) {
        sqlite3_bind_int64(stmt, 1, from);
        sqlite3_bind_int64(stmt, 2, to);
    }
    while (rc == 0 && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        const void *key = sqlite3_column_blob(stmt, 1);
        struct due_head head = {sqlite3_column_int64(stmt, 0), space, (uint32_t)sqlite3_column_bytes(stmt, 1)};
        if (!due_list_add(ret, &head, key))
            rc = STORE_ENOMEM;
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = schema_err(step);
    sqlite3_finalize(stmt);
    return rc;
}

int due_list_read(sqlite3 *db, int64_t from, int64_t to, struct due_list *ret)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SPACE_N; i++)
        rc = due_list_read_space(db, (enum space)i, from, to, ret);
    return rc;
}

/* ---- one transaction ---- */

struct place {
    uint64_t hash;
    const struct change *change;
};

static int place_order(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    return left->hash < right->hash ? -1 : left->hash > right->hash;
}

/* The changes in the order of the table, so that each page is met once. NULL: out of memory. */
static struct place *in_order(const struct changes *rows)
{
    struct place *places = malloc((rows->n + 1) * sizeof *places);
    if (places == NULL)
        return NULL;
    size_t n = 0;
    for (const struct change *c = rows->first; c != NULL; c = c->next)
        places[n++] = (struct place){.hash = c->row.key_hash, .change = c};
    assert(n == rows->n);
    qsort(places, n, sizeof places[0], place_order);
    return places;
}

static int write_change(struct flusher *f, const struct change *c)
{
    sqlite3_stmt *stmt = c->deleted ? f->remove[c->row.space] : f->put[c->row.space];
    int rc;
    if (c->deleted) {
        rc = schema_err(sqlite3_bind_int64(stmt, 1, (int64_t)c->row.key_hash));
        if (rc == 0)
            rc = schema_bind_bytes(stmt, 2, c->row.key, c->row.key_len);
    } else {
        rc = schema_row_bind(stmt, &c->row, c->digest);
    }
    if (rc != 0)
        return rc;
    int step = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    return step == SQLITE_DONE ? 0 : schema_err(step);
}

/* A statement without conditions empties a table without a walk. */
static int wipe(struct flusher *f, enum space space)
{
    sqlite3_stmt *stmt = NULL;
    int rc = schema_prepare_in(f->db, "DELETE FROM", space, "", &stmt);
    int step = rc == 0 ? sqlite3_step(stmt) : SQLITE_DONE;
    sqlite3_finalize(stmt);
    return rc == 0 && step != SQLITE_DONE ? schema_err(step) : rc;
}

static int write_rows(struct flusher *f, enum space space, const struct changes *rows)
{
    int rc = rows->wipe ? wipe(f, space) : 0;
    if (rc != 0 || rows->n == 0)
        return rc;
    struct place *places = in_order(rows);
    if (places == NULL)
        return STORE_ENOMEM;
    for (size_t i = 0; rc == 0 && i < rows->n; i++)
        rc = write_change(f, places[i].change);
    free(places);
    return rc;
}

static int write_all(struct flusher *f, const struct flush *flush)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SPACE_N; i++)
        rc = write_rows(f, (enum space)i, &flush->rows.spaces[i]);
    if (rc == 0)
        rc = schema_meta_save(f->db, &flush->meta);
    if (rc == 0)
        rc = schema_origins_save(f->db, flush->origins, flush->n_origins);
    return rc == 0 ? schema_run(f->db, "COMMIT") : rc;
}

static bool disk_is_full(const struct flusher *f)
{
    return sqlite3_errcode(f->db) == SQLITE_FULL || sqlite3_system_errno(f->db) == ENOSPC;
}

static int transact(struct flusher *f, struct flush *flush, bool *ret_full)
{
    int rc = schema_run(f->db, "BEGIN IMMEDIATE");
    if (rc == 0)
        rc = write_all(f, flush);
    if (rc == 0)
        return 0;
    schema_explain(f->db, rc, "writing the state file", flush->error);
    *ret_full = disk_is_full(f);
    if (sqlite3_get_autocommit(f->db) == 0)
        schema_run(f->db, "ROLLBACK");
    return rc;
}

/* ---- checkpoints ---- */

static int wal_grew(void *ctx, sqlite3 *db, const char *name, int frames)
{
    struct flusher *f = ctx;
    (void)db;
    (void)name;
    f->wal_frames = (size_t)frames;
    return SQLITE_OK;
}

static size_t wal_bytes(const struct flusher *f)
{
    return f->wal_frames * FLUSH_WAL_FRAME_BYTES;
}

/* SQLite keeps no lock on this file that closing it would drop. */
static int wal_sync(const struct flusher *f)
{
    int fd = open(f->wal_path, O_RDWR | O_CLOEXEC);
    if (fd == -1)
        return STORE_EIO;
    int rc = fdatasync(fd) == 0 ? 0 : STORE_EIO;
    close(fd);
    return rc;
}

/* Checkpoint, and give the WAL's space back; false when a reader with an old view does not let it. */
static bool empty_wal(struct flusher *f)
{
    sqlite3_busy_timeout(f->db, FLUSH_WAIT_READERS_MS);
    int rc = sqlite3_wal_checkpoint_v2(f->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(f->db, FLUSH_BUSY_MS);
    return rc == SQLITE_OK;
}

/* A checkpoint that returns OK with every frame copied has synced both files. One that readers keep from finishing may
 * have synced nothing: then the WAL is synced here. */
static int checkpoint(struct flusher *f)
{
    int frames = 0, copied = 0;
    int rc = sqlite3_wal_checkpoint_v2(f->db, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
    if (rc == SQLITE_OK && frames == copied && frames >= 0) {
        f->wal_frames = 0;
        return 0;
    }
    if (rc != SQLITE_OK && rc != SQLITE_BUSY)
        return schema_err(rc);
    if (wal_bytes(f) > FLUSH_WAL_OVERGROWN * f->checkpoint_bytes)
        empty_wal(f);
    return wal_sync(f);
}

static uint64_t bytes_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static bool much_unused(struct flusher *f)
{
    int64_t unused = 0, pages = 0;
    return schema_number(f->db, "PRAGMA freelist_count", &unused) == 0 && unused >= FLUSH_UNUSED_PAGES &&
           schema_number(f->db, "PRAGMA page_count", &pages) == 0 && unused >= pages / 4;
}

/* Pages that deleted rows left are given back to the file system once they are a good part of the file: on a full disk
 * that is what lets writes go on. Piece by piece, as the journal needs space itself. Failing costs nothing but the
 * space. */
static void give_back(struct flusher *f)
{
    for (int i = 0; i < FLUSH_GIVE_BACK_ROUNDS && much_unused(f); i++)
        if (schema_run(f->db, "PRAGMA incremental_vacuum(" FLUSH_GIVE_BACK_PAGES ")") != 0 || !empty_wal(f))
            return;
}

/* A full disk is waited for, with everything kept in memory: writes are refused long before, so that it can be told
 * apart from a broken one. False: somebody stands still for this flush, the end has come, or there is no thread that
 * could wait. */
static bool wait_for_space(struct flusher *f)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += FLUSH_FULL_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&f->mutex);
    bool go_on = f->running && !f->closing && !f->awaited;
    if (go_on)
        pthread_cond_clockwait(&f->changed, &f->mutex, CLOCK_MONOTONIC, &until);
    go_on = go_on && !f->closing && !f->awaited;
    pthread_mutex_unlock(&f->mutex);
    return go_on;
}

/* The whole flush. The rows are SQLite's once the transaction is in: what fails after it is told, but does not undo it.
 */
static void run(struct flusher *f, struct flush *flush)
{
    bool full;
    do {
        full = false;
        flush->rc = transact(f, flush, &full);
        if (full) /* The journal takes the most, and most of it stands in the file already. */
            empty_wal(f);
    } while (full && wait_for_space(f));
    if (flush->rc != 0)
        return;
    give_back(f);
    if (flush->due_from != flush->due_to) {
        flush->rc = due_list_read(f->db, flush->due_from, flush->due_to, &flush->due);
        if (flush->rc != 0)
            schema_explain(f->db, flush->rc, "reading what is due next", flush->error);
    }
    if (flush->rc == 0 && (flush->checkpoint || wal_bytes(f) >= f->checkpoint_bytes)) {
        flush->rc = checkpoint(f);
        flush->synced = flush->rc == 0;
        if (flush->rc != 0 && disk_is_full(f))
            flush->rc = 0; /* Only the log stays longer. */
        if (flush->rc != 0)
            schema_explain(f->db, flush->rc, "syncing the state file", flush->error);
    }
    flush->file_bytes = bytes_of(f->path) + bytes_of(f->wal_path);
}

/* A reader that does not go away (a snapshot being made) leaves a WAL behind, synced. */
int flusher_settle(struct flusher *f, char error[SCHEMA_ERROR_BYTES])
{
    int frames = 0;
    assert(f->state != FLUSHER_UNDER_WAY);
    sqlite3_busy_timeout(f->db, FLUSH_WAIT_READERS_MS);
    int rc = sqlite3_wal_checkpoint_v2(f->db, "main", SQLITE_CHECKPOINT_TRUNCATE, &frames, NULL);
    sqlite3_busy_timeout(f->db, FLUSH_BUSY_MS);
    if (rc == SQLITE_BUSY && wal_sync(f) == 0)
        return 0;
    if (rc != SQLITE_OK || frames < 0) /* Below 0: the file is not in WAL mode. */
        return schema_explain(f->db, rc == SQLITE_OK ? STORE_EIO : schema_err(rc), "syncing the state file", error);
    f->wal_frames = 0;
    return 0;
}

/* ---- the thread ---- */

static bool has_trash(const struct flusher *f)
{
    return f->trash.items != NULL || f->trash.tables != NULL;
}

static void empty_trash(struct flusher *f)
{
    struct trash trash = f->trash;
    f->trash = (struct trash){0};
    pthread_mutex_unlock(&f->mutex);
    trash_free(&trash);
    pthread_mutex_lock(&f->mutex);
}

static void run_unlocked(struct flusher *f)
{
    struct flush *flush = f->flush;
    pthread_mutex_unlock(&f->mutex);
    run(f, flush);
    pthread_mutex_lock(&f->mutex);
    f->state = FLUSHER_FINISHED;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    if (f->notify != NULL)
        f->notify(f->ctx);
    pthread_mutex_lock(&f->mutex);
}

static void *flusher_main(void *arg)
{
    struct flusher *f = arg;
    pthread_mutex_lock(&f->mutex);
    for (;;) {
        if (f->state == FLUSHER_UNDER_WAY)
            run_unlocked(f);
        else if (has_trash(f))
            empty_trash(f);
        else if (f->closing)
            break;
        else
            pthread_cond_wait(&f->changed, &f->mutex);
    }
    pthread_mutex_unlock(&f->mutex);
    return NULL;
}

/* Signals are for the main thread. */
static bool start_thread(struct flusher *f)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    f->running = pthread_create(&f->thread, NULL, flusher_main, f) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return f->running;
}

void flusher_start(struct flusher *f, struct flush *flush)
{
    if (!f->running)
        run(f, flush);
    pthread_mutex_lock(&f->mutex);
    assert(f->state == FLUSHER_IDLE);
    f->state = f->running ? FLUSHER_UNDER_WAY : FLUSHER_FINISHED;
    f->flush = flush;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

struct flush *flusher_take(struct flusher *f, bool wait)
{
    struct flush *flush = NULL;
    pthread_mutex_lock(&f->mutex);
    f->awaited = wait;
    pthread_cond_broadcast(&f->changed);
    while (wait && f->state == FLUSHER_UNDER_WAY)
        pthread_cond_wait(&f->changed, &f->mutex);
    f->awaited = false;
    if (f->state == FLUSHER_FINISHED) {
        flush = f->flush;
        f->flush = NULL;
        f->state = FLUSHER_IDLE;
    }
    pthread_mutex_unlock(&f->mutex);
    return flush;
}

void flusher_discard(struct flusher *f, struct trash trash)
{
    if (!f->running) {
        trash_free(&trash);
        return;
    }
    pthread_mutex_lock(&f->mutex);
    trash_join(&f->trash, &trash);
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

/* ---- opening and closing ---- */

static int set_up(struct flusher *f, char error[SCHEMA_ERROR_BYTES])
{
    int rc = schema_open(f->path, SCHEMA_WRITE, NULL, error, &f->db);
    if (rc != 0)
        return rc;
    sqlite3_wal_hook(f->db, wal_grew, f);
    rc = schema_run(f->db, "PRAGMA cache_size = -" FLUSH_CACHE_KIB);
    for (size_t i = 0; rc == 0 && i < SPACE_N; i++) {
        rc = schema_prepare_in(f->db, "INSERT OR REPLACE INTO", (enum space)i,
                               "(" SCHEMA_ROW ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)", &f->put[i]);
        if (rc == 0)
            rc = schema_prepare_in(f->db, "DELETE FROM", (enum space)i, "WHERE hash = ? AND key = ?", &f->remove[i]);
    }
    return rc == 0 ? 0 : schema_explain(f->db, rc, "preparing to write the state file", error);
}

static bool set_paths(struct flusher *f, const char *path)
{
    f->path = strdup(path);
    if (f->path == NULL || asprintf(&f->wal_path, "%s-wal", path) == -1)
        return false;
    return true;
}

int flusher_open(const char *path, size_t checkpoint_bytes, bool threaded, void (*notify)(void *ctx), void *ctx,
                 char error[SCHEMA_ERROR_BYTES], struct flusher **ret)
{
    struct flusher *f = calloc(1, sizeof *f);
    if (f == NULL)
        return schema_explain(NULL, STORE_ENOMEM, "starting the flusher", error);
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->checkpoint_bytes = checkpoint_bytes;
    f->notify = notify;
    f->ctx = ctx;
    int rc = set_paths(f, path) ? set_up(f, error) : schema_explain(NULL, STORE_ENOMEM, "starting the flusher", error);
    if (rc == 0 && threaded && !start_thread(f))
        rc = schema_explain(NULL, STORE_ENOMEM, "starting the flusher's thread", error);
    if (rc != 0) {
        flusher_close(f);
        return rc;
    }
    *ret = f;
    return 0;
}

static void stop_thread(struct flusher *f)
{
    pthread_mutex_lock(&f->mutex);
    f->closing = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    pthread_join(f->thread, NULL);
}

void flusher_close(struct flusher *f)
{
    if (f == NULL)
        return;
    if (f->running)
        stop_thread(f);
    for (size_t i = 0; i < SPACE_N; i++) {
        sqlite3_finalize(f->put[i]);
        sqlite3_finalize(f->remove[i]);
    }
    sqlite3_close(f->db);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
    free(f->path);
    free(f->wal_path);
    free(f);
}

void flush_release(struct flush *f)
{
    free(f->meta.conf);
    free(f->origins);
    free(f->due.base);
    *f = (struct flush){0};
}
