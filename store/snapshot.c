/* snapshot.c - the whole state as one file: made beside a running store, and judged before it is believed.
 * Making reads one view of the file on a connection of its own, so flushes go on meanwhile; so does the check of the
 * state file itself, which is damaged unseen while nobody reads what was hit. The copy is compact,
 * written under another name, synced, and renamed, so that dest is never half a snapshot. Checking believes nothing:
 * every page is looked at, every row's digest computed, and their sum compared with the state hash. */
#include "store/rows_internal.h"
#include "store/schema.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int explain_errno(const char *what, const char *path, char error[SCHEMA_ERROR_BYTES])
{
    int rc = errno == ENOENT ? STORE_EMISSING : STORE_EIO;
    snprintf(error, SCHEMA_ERROR_BYTES, "%s %s: %s", what, path, strerror(errno));
    return rc;
}

static int sync_path(const char *path, char error[SCHEMA_ERROR_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return explain_errno("opening", path, error);
    int rc = fsync(fd) == 0 ? 0 : explain_errno("syncing", path, error);
    close(fd);
    return rc;
}

static int sync_parent(const char *path, char error[SCHEMA_ERROR_BYTES])
{
    char *copy = strdup(path); /* dirname() may write into it. */
    if (copy == NULL)
        return schema_explain(NULL, STORE_ENOMEM, "making a snapshot", error);
    int rc = sync_path(dirname(copy), error);
    free(copy);
    return rc;
}

/* ---- making ---- */

static int vacuum_into(sqlite3 *db, const char *dest, char error[SCHEMA_ERROR_BYTES])
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "VACUUM INTO ?", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 1, dest, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : schema_explain(db, schema_err(rc), "making a snapshot", error);
}

static int fill_info(sqlite3 *db, const char *path, char error[SCHEMA_ERROR_BYTES], struct meta *ret_meta,
                     struct snapshot_info *ret)
{
    struct stat st;
    int rc = schema_meta_load(db, ret_meta);
    if (rc != 0)
        return schema_explain(db, rc, "reading where a snapshot stands (table meta)", error);
    free(ret_meta->conf);
    ret_meta->conf = NULL;
    if (stat(path, &st) == -1)
        return explain_errno("reading", path, error);
    *ret = (struct snapshot_info){.applied = ret_meta->applied,
                                  .applied_term = ret_meta->applied_term,
                                  .conf_index = ret_meta->conf_index,
                                  .bytes = (uint64_t)st.st_size,
                                  .revision = ret_meta->revision,
                                  .hash = ret_meta->hash};
    return 0;
}

static int read_info(const char *path, char error[SCHEMA_ERROR_BYTES], struct snapshot_info *ret)
{
    struct meta m;
    sqlite3 *db;
    int rc = schema_open(path, SCHEMA_SNAPSHOT, NULL, error, &db);
    if (rc != 0)
        return rc;
    rc = fill_info(db, path, error, &m, ret);
    sqlite3_close(db);
    return rc;
}

static int copy_state(const char *state, const char *dest, char error[SCHEMA_ERROR_BYTES])
{
    sqlite3 *db;
    int rc = schema_open(state, SCHEMA_READ, NULL, error, &db);
    if (rc != 0)
        return rc;
    rc = vacuum_into(db, dest, error);
    sqlite3_close(db);
    return rc;
}

/* Make the copy under the name `part`, then give it its own. */
static int make(const char *state, const char *part, const char *dest, char error[SCHEMA_ERROR_BYTES],
                struct snapshot_info *ret)
{
    struct snapshot_info info;
    if (unlink(part) == -1 && errno != ENOENT)
        return explain_errno("removing", part, error);
    int rc = copy_state(state, part, error);
    if (rc == 0)
        rc = sync_path(part, error);
    if (rc == 0)
        rc = read_info(part, error, &info);
    if (rc == 0 && rename(part, dest) == -1)
        rc = explain_errno("renaming", part, error);
    if (rc == 0)
        rc = sync_parent(dest, error);
    if (rc != 0) {
        unlink(part);
        return rc;
    }
    *ret = info;
    return 0;
}

int snapshot_make(const char *db_dir, const char *dest, char error[256], struct snapshot_info *ret)
{
    char *state = NULL, *part = NULL;
    int rc = STORE_ENOMEM;
    if (asprintf(&state, "%s/%s", db_dir, STORE_FILE) == -1)
        state = NULL;
    if (asprintf(&part, "%s.part", dest) == -1)
        part = NULL;
    if (state == NULL || part == NULL)
        schema_explain(NULL, rc, "making a snapshot", error);
    else if (access(state, F_OK) == -1)
        rc = explain_errno("opening", state, error);
    else
        rc = make(state, part, dest, error, ret);
    free(state);
    free(part);
    return rc;
}

/* ---- checking ---- */

/* SQLite's own look at every page, and whether each index leads to each row (a quick check would not ask that, and a
 * key missing in an index reads as nil); what it finds is told. */
static int check_pages(sqlite3 *db, const char *subject, char error[SCHEMA_ERROR_BYTES])
{
    sqlite3_stmt *stmt = NULL;
    bool whole = false;
    int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        const char *found = (const char *)sqlite3_column_text(stmt, 0);
        whole = found != NULL && strcmp(found, "ok") == 0;
        if (!whole)
            snprintf(error, SCHEMA_ERROR_BYTES, "%s is damaged: %s", subject, found == NULL ? "out of memory" : found);
    }
    sqlite3_finalize(stmt);
    if (rc != SQLITE_ROW)
        return schema_explain(db, schema_err(rc), "checking a snapshot", error);
    return whole ? 0 : STORE_ECORRUPT;
}

/* SQLite reads what is missing at the end of a file as zeros. */
static int check_length(sqlite3 *db, uint64_t bytes, char error[SCHEMA_ERROR_BYTES])
{
    int64_t pages = 0, page_bytes = 0;
    int rc = schema_number(db, "PRAGMA page_count", &pages);
    if (rc == 0)
        rc = schema_number(db, "PRAGMA page_size", &page_bytes);
    if (rc != 0)
        return schema_explain(db, rc, "checking a snapshot", error);
    if ((uint64_t)pages * (uint64_t)page_bytes == bytes)
        return 0;
    snprintf(error, SCHEMA_ERROR_BYTES, "the snapshot is damaged: %" PRIu64 " bytes, but %" PRId64 " pages of %" PRId64,
             bytes, pages, page_bytes);
    return STORE_ECORRUPT;
}

static int sum_rows(sqlite3 *db, enum space space, struct rows_total *ret)
{
    sqlite3_stmt *stmt = NULL;
    struct row row;
    bool there = false;
    int rc = schema_has(db, space, &there);
    if (rc != 0 || !there)
        return rc;
    rc = schema_prepare_in(db, "SELECT " SCHEMA_ROW " FROM", space, "", &stmt);
    int step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        rc = schema_row_read(stmt, space, &row);
        if (rc != 0)
            break;
        ret->count++;
        ret->expiring += row.expire_ms != ROW_NO_EXPIRY;
        ret->hash += row_digest(&row);
    }
    if (rc == 0)
        rc = step == SQLITE_DONE ? 0 : schema_err(step);
    sqlite3_finalize(stmt);
    return rc;
}

static int check_space(sqlite3 *db, const struct meta *m, enum space space, const char *subject,
                       char error[SCHEMA_ERROR_BYTES])
{
    struct rows_total sum = {0}, want = m->totals[space];
    int rc = sum_rows(db, space, &sum);
    if (rc == STORE_ECORRUPT)
        snprintf(error, SCHEMA_ERROR_BYTES, "%s is damaged: row %" PRIu64 " does not have its digest", subject,
                 sum.count + 1);
    else if (rc != 0)
        schema_explain(db, rc, "checking a snapshot", error);
    if (rc != 0)
        return rc;
    if (sum.hash == want.hash && sum.count == want.count && sum.expiring == want.expiring)
        return 0;
    snprintf(error, SCHEMA_ERROR_BYTES,
             "%s is damaged: its rows (%" PRIu64 ", hash %016" PRIx64 ") are not those it stands for (%" PRIu64
             ", hash %016" PRIx64 ")",
             subject, sum.count, sum.hash, want.count, want.hash);
    return STORE_ECORRUPT;
}

static int check_rows(sqlite3 *db, const struct meta *m, const char *subject, char error[SCHEMA_ERROR_BYTES])
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SPACE_N; i++)
        rc = check_space(db, m, (enum space)i, subject, error);
    return rc;
}

/* A file whose origins cannot be read would be accepted and then never open. */
static int check_origins(sqlite3 *db, char error[SCHEMA_ERROR_BYTES])
{
    struct origin *origins = NULL;
    size_t n = 0;
    int rc = schema_origins_load(db, &origins, &n);
    free(origins);
    return rc == 0 ? 0 : schema_explain(db, rc, "checking the origins of a snapshot", error);
}

static int check(sqlite3 *db, const char *path, char error[SCHEMA_ERROR_BYTES], struct snapshot_info *ret)
{
    struct snapshot_info info = {0};
    struct meta m = {0};
    int rc = check_pages(db, "the snapshot", error);
    if (rc == 0)
        rc = fill_info(db, path, error, &m, &info);
    if (rc == 0)
        rc = check_length(db, info.bytes, error);
    if (rc == 0)
        rc = check_rows(db, &m, "the snapshot", error);
    if (rc == 0)
        rc = check_origins(db, error);
    if (rc == 0)
        *ret = info;
    return rc;
}

int snapshot_check(const char *path, const uint8_t *cluster_id, char error[256], struct snapshot_info *ret)
{
    sqlite3 *db;
    if (access(path, R_OK) == -1)
        return explain_errno("opening", path, error);
    int rc = schema_open(path, SCHEMA_SNAPSHOT, cluster_id, error, &db);
    if (rc != 0)
        return rc;
    rc = check(db, path, error, ret);
    sqlite3_close(db);
    return rc;
}

/* ---- the state file itself ---- */

#define CHECK_STOP_STEPS 10000 /* Of SQLite's machine, between two looks at whether to stop. */

static int is_stopped(void *ctx)
{
    const atomic_bool *stop = ctx;
    return atomic_load(stop);
}

/* All of it in one view: what is flushed meanwhile does not show. */
static int check_view(sqlite3 *db, const char *path, char error[SCHEMA_ERROR_BYTES])
{
    struct snapshot_info info;
    struct meta m = {0};
    int rc = schema_run(db, "BEGIN");
    if (rc != 0)
        return schema_explain(db, rc, "checking the state file", error);
    rc = fill_info(db, path, error, &m, &info);
    if (rc == 0)
        rc = check_pages(db, "the state file", error);
    if (rc == 0)
        rc = check_rows(db, &m, "the state file", error);
    return rc;
}

int snapshot_check_state(const char *db_dir, const uint8_t *cluster_id, const atomic_bool *stop, char error[256])
{
    char *path;
    sqlite3 *db;
    if (asprintf(&path, "%s/%s", db_dir, STORE_FILE) == -1)
        return schema_explain(NULL, STORE_ENOMEM, "checking the state file", error);
    int rc = schema_open(path, SCHEMA_READ, cluster_id, error, &db);
    if (rc == 0) {
        sqlite3_progress_handler(db, CHECK_STOP_STEPS, is_stopped, (void *)(uintptr_t)stop);
        rc = check_view(db, path, error);
        sqlite3_close(db);
    }
    free(path);
    return rc;
}
