/* schema.c - how the state lies in the file.
 *
 *     keys          one row a key, in the order of its 63-bit hash: that is also SCAN's order. digest is xxh3 over all
 *                   other columns, so that a damaged row is found when it is read; the state hash in meta is the sum of
 *                   all digests
 *     session_rows  the same for the other spaces, whose values are packed; the views sessions and locks show what is
 *     lock_rows     in them to whoever looks with a shell
 *     part_rows     the same for what large lists and hashes consist of (parts.c); trash_rows for deleted ones of which
 *     trash_rows    some parts are left, wait_rows for who waits for a list (wait.c)
 *     wait_rows
 *     origins       what each node's last applied batch was
 *     meta          names and values: how far the log is applied, the replicated clock, the revision, totals;
 *                   meta_digest is over the numbers, for the same reason
 *
 * Opening first reads and judges, and only then changes anything, settings of the file included. A file of an earlier
 * version is brought to this one in one transaction. */
#include "store/schema.h"
#include "store/rows_internal.h"
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SCHEMA_APPLICATION_ID 0x48466473 /* "HFds" */
#define SCHEMA_VERSION 3
#define SCHEMA_VERSION_OLDEST 1 /* That can still be read. */
#define SCHEMA_PATH_MAX 4096
#define SCHEMA_SQL_MAX 1024
#define SCHEMA_BUSY_MS 10000
#define SCHEMA_HEX_BYTES (2 * STORE_CLUSTER_ID_BYTES + 1)
#define TEXT_OF(number) TEXT_OF_(number)
#define TEXT_OF_(number) #number

/* The tables of rows, by space. */
static const struct {
    const char *table;
    int since; /* Schema version. */
} schema_spaces[SPACE_N] = {
    [SPACE_KEYS] = {"keys", 1},       [SPACE_SESSIONS] = {"session_rows", 2}, [SPACE_LOCKS] = {"lock_rows", 2},
    [SPACE_SCRIPTS] = {"scripts", 2}, [SPACE_PARTS] = {"part_rows", 3},       [SPACE_TRASH] = {"trash_rows", 3},
    [SPACE_WAITS] = {"wait_rows", 3},
};

/* Columns: hash: xxh3 of the space and the key, upper 63 bits. type: 0 raw 1 int 2 float 3 bool 4 json 5 str 7 list 8
 * hash 9 limit 10 breaker; 0 in other tables than keys. expire_ms: on the replicated clock (meta: clock_ms); NULL:
 * never. */
#define SCHEMA_ROW_TABLE                                                                                               \
    "CREATE TABLE %s ("                                                                                                \
    " hash INTEGER NOT NULL,"                                                                                          \
    " key BLOB NOT NULL,"                                                                                              \
    " type INTEGER NOT NULL,"                                                                                          \
    " value BLOB NOT NULL,"                                                                                            \
    " version INTEGER NOT NULL,"                                                                                       \
    " expire_ms INTEGER,"                                                                                              \
    " wall_ms INTEGER NOT NULL,"                                                                                       \
    " digest INTEGER NOT NULL,"                                                                                        \
    " PRIMARY KEY (hash, key));"                                                                                       \
    "CREATE INDEX %s_by_expiry ON %s (expire_ms) WHERE expire_ms IS NOT NULL;"

static const char schema_tables[] =
    "CREATE TABLE origins (node INTEGER PRIMARY KEY, start INTEGER NOT NULL, seq INTEGER NOT NULL);"
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "PRAGMA application_id = " TEXT_OF(SCHEMA_APPLICATION_ID) ";";
static const char schema_version[] = "PRAGMA user_version = " TEXT_OF(SCHEMA_VERSION) ";";

/* Little-endian numbers of so many bytes at a (1-based) place of value, in SQL. Short, as SQLite reads the views anew
 * for every connection. */
#define SQL_NUMBER(at, bytes)                                                                                          \
    "(SELECT sum(instr('123456789ABCDEF', substr(hex(substr(value, " #at ", " #bytes ")), i + 1, 1))"                  \
    " << 4 * (i + 1 - i % 2 * 2)) FROM digits WHERE i < 2 * " #bytes ")"

/* The places are those of store/session.c and store/lock.c. */
#define SQL_NAME_BYTES SQL_NUMBER(33, 1)
#define SQL_OPENED_MS SQL_NUMBER(17, 8)
#define SQL_ACKNOWLEDGED SQL_NUMBER(1, 8)
#define SQL_LAST_SERIAL SQL_NUMBER(9, 8)
#define SQL_ANSWERS SQL_NUMBER(25, 4)
#define SQL_LOCKS SQL_NUMBER(29, 4)
#define SQL_HOLDERS SQL_NUMBER(1, 4)
#define SQL_WAITERS SQL_NUMBER(5, 4)
#define SQL_PERMITS SQL_NUMBER(9, 4)
#define SQL_HOLDER_SESSION SQL_NUMBER(17, 8)
#define SQL_TOKEN SQL_NUMBER(25, 8)
static const char schema_views[] =
    "DROP VIEW IF EXISTS sessions; DROP VIEW IF EXISTS locks; DROP VIEW IF EXISTS digits;"
    "CREATE VIEW digits (i) AS"
    " VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15);"
    "CREATE VIEW sessions AS SELECT CAST(key AS TEXT) AS id,"
    " CAST(substr(value, 34, " SQL_NAME_BYTES ") AS TEXT) AS name, wall_ms AS ttl_ms, expire_ms, version,"
    " " SQL_OPENED_MS " AS opened_ms, " SQL_ACKNOWLEDGED " AS acknowledged, " SQL_LAST_SERIAL " AS last_serial,"
    " " SQL_ANSWERS " AS answers, " SQL_LOCKS " AS locks FROM session_rows;"
    "CREATE VIEW locks AS SELECT CAST(key AS TEXT) AS name,"
    " " SQL_HOLDERS " AS holders, " SQL_WAITERS " AS waiters, " SQL_PERMITS " AS permits,"
    " iif(" SQL_HOLDERS " > 0, " SQL_HOLDER_SESSION ", NULL) AS holder_session,"
    " iif(" SQL_HOLDERS " > 0, " SQL_TOKEN ", NULL) AS token, expire_ms AS next_due_ms, version FROM lock_rows;";

int schema_err(int sqlite_rc)
{
    switch (sqlite_rc & 0xff) {
    case SQLITE_OK:
        return 0;
    case SQLITE_NOMEM:
        return STORE_ENOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_MISMATCH:
        return STORE_ECORRUPT;
    default:
        return STORE_EIO;
    }
}

int schema_explain(sqlite3 *db, int rc, const char *what, char error[SCHEMA_ERROR_BYTES])
{
    snprintf(error, SCHEMA_ERROR_BYTES, "%s: %s", what, db == NULL ? "out of memory" : sqlite3_errmsg(db));
    return rc;
}

int schema_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret)
{
    return schema_err(sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL));
}

int schema_prepare_in(sqlite3 *db, const char *before, enum space space, const char *after, sqlite3_stmt **ret)
{
    char sql[SCHEMA_SQL_MAX];
    snprintf(sql, sizeof sql, "%s %s %s", before, schema_spaces[space].table, after);
    return schema_prepare(db, sql, ret);
}

int schema_run(sqlite3 *db, const char *sql)
{
    return schema_err(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

int schema_bind_bytes(sqlite3_stmt *stmt, int at, const void *bytes, size_t len)
{
    return schema_err(sqlite3_bind_blob64(stmt, at, len == 0 ? "" : bytes, len, SQLITE_STATIC));
}

/* ---- opening ---- */

int schema_number(sqlite3 *db, const char *sql, int64_t *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(stmt, 0);
    else if (rc == SQLITE_DONE)
        *ret = -1;
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : schema_err(rc);
}

static void hex_from_id(const uint8_t *id, char hex[SCHEMA_HEX_BYTES])
{
    for (size_t i = 0; i < STORE_CLUSTER_ID_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
}

static int bind_name(sqlite3_stmt *stmt, const char *name)
{
    return schema_err(sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC));
}

/* Is meta.cluster_id this one? */
static int check_cluster(sqlite3 *db, const uint8_t *cluster_id, char error[SCHEMA_ERROR_BYTES])
{
    char hex[SCHEMA_HEX_BYTES], found[SCHEMA_HEX_BYTES] = "";
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE name = 'cluster_id'", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    snprintf(found, sizeof found, "%s", text == NULL ? "" : text);
    sqlite3_finalize(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return schema_explain(db, schema_err(rc), "reading the cluster id", error);
    hex_from_id(cluster_id, hex);
    if (strcmp(hex, found) == 0)
        return 0;
    snprintf(error, SCHEMA_ERROR_BYTES,
             "the state is of cluster %s; cluster_name and members of these settings are those of cluster %s", found,
             hex);
    return STORE_EFOREIGN;
}

enum file_kind { FILE_EMPTY, FILE_OURS, FILE_EARLIER };

/* What kind of file is it? Reads only. */
static int judge(sqlite3 *db, char error[SCHEMA_ERROR_BYTES], enum file_kind *ret)
{
    int64_t app = 0, version = 0, tables = 0;
    int rc = schema_number(db, "SELECT count(*) FROM sqlite_master", &tables);
    if (rc == 0)
        rc = schema_number(db, "PRAGMA application_id", &app);
    if (rc == 0)
        rc = schema_number(db, "PRAGMA user_version", &version);
    if (rc != 0)
        return schema_explain(db, rc, "reading the state file", error);
    if (app == 0 && version == 0 && tables == 0) {
        *ret = FILE_EMPTY;
        return 0;
    }
    if (app != SCHEMA_APPLICATION_ID) {
        snprintf(error, SCHEMA_ERROR_BYTES,
                 "an SQLite file, but not a Holdfast state file (application id %" PRId64 ")", app);
        return STORE_EFOREIGN;
    }
    if (version < SCHEMA_VERSION_OLDEST || version > SCHEMA_VERSION) {
        snprintf(error, SCHEMA_ERROR_BYTES,
                 "the state file has format version %" PRId64 ", this program reads versions %d to %d", version,
                 SCHEMA_VERSION_OLDEST, SCHEMA_VERSION);
        return STORE_EVERSION;
    }
    *ret = version == SCHEMA_VERSION ? FILE_OURS : FILE_EARLIER;
    return 0;
}

static int settle_cluster_id(sqlite3 *db, const uint8_t *cluster_id)
{
    char hex[SCHEMA_HEX_BYTES];
    sqlite3_stmt *stmt = NULL;
    hex_from_id(cluster_id, hex);
    int rc = sqlite3_prepare_v2(db, "INSERT INTO meta VALUES ('cluster_id', ?)", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 1, hex, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : schema_err(rc);
}

/* The tables of rows that came after this version, and the views. */
static int create_spaces(sqlite3 *db, int64_t version)
{
    char sql[SCHEMA_SQL_MAX];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SPACE_N; i++) {
        const char *table = schema_spaces[i].table;
        snprintf(sql, sizeof sql, SCHEMA_ROW_TABLE, table, table, table);
        if (schema_spaces[i].since > version)
            rc = schema_run(db, sql);
    }
    return rc == 0 ? schema_run(db, schema_views) : rc;
}

static int create(sqlite3 *db, const uint8_t *cluster_id)
{
    struct meta none = {0};
    int rc = schema_run(db, schema_tables);
    if (rc == 0)
        rc = create_spaces(db, 0);
    if (rc == 0)
        rc = settle_cluster_id(db, cluster_id);
    return rc == 0 ? schema_meta_save(db, &none) : rc;
}

/* The numbers that an earlier version did not have are 0. */
static int upgrade(sqlite3 *db)
{
    struct meta m;
    int64_t version = 0;
    int rc = schema_number(db, "PRAGMA user_version", &version);
    if (rc == 0)
        rc = schema_meta_load(db, &m);
    if (rc != 0)
        return rc;
    rc = create_spaces(db, version);
    if (rc == 0)
        rc = schema_meta_save(db, &m);
    free(m.conf);
    return rc;
}

/* Make an empty file or one of an earlier version ours, in one transaction. */
static int make_ours(sqlite3 *db, enum file_kind kind, const uint8_t *cluster_id)
{
    int rc = schema_run(db, "BEGIN IMMEDIATE");
    if (rc != 0)
        return rc;
    rc = kind == FILE_EMPTY ? create(db, cluster_id) : upgrade(db);
    if (rc == 0)
        rc = schema_run(db, schema_version);
    if (rc == 0)
        rc = schema_run(db, "COMMIT");
    if (rc != 0)
        schema_run(db, "ROLLBACK");
    return rc;
}

/* A power loss may cost the last transactions, never the file: so NORMAL, with checkpoints of our own, which sync. */
static int set_up_writing(sqlite3 *db)
{
    return schema_run(db, "PRAGMA page_size = 4096;"
                          "PRAGMA journal_mode = WAL;"
                          "PRAGMA synchronous = NORMAL;"
                          "PRAGMA wal_autocheckpoint = 0;");
}

static int open_flags(enum schema_open how)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI;
    if (how == SCHEMA_CREATE)
        return flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    return flags | (how == SCHEMA_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
}

/* A path as SQLite's URI: only these characters mean themselves in any path. */
static bool uri_from_path(const char *path, bool immutable, char uri[SCHEMA_PATH_MAX])
{
    size_t n = (size_t)snprintf(uri, SCHEMA_PATH_MAX, "file:");
    for (const char *c = path; *c != '\0'; c++) {
        if (n + sizeof "%00?immutable=1" > SCHEMA_PATH_MAX)
            return false;
        bool plain = strchr("/._-", *c) != NULL || (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                     (*c >= 'A' && *c <= 'Z');
        n += (size_t)snprintf(uri + n, SCHEMA_PATH_MAX - n, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    snprintf(uri + n, SCHEMA_PATH_MAX - n, "%s", immutable ? "?immutable=1" : "");
    return true;
}

static int check_and_set_up(sqlite3 *db, enum schema_open how, const uint8_t *cluster_id,
                            char error[SCHEMA_ERROR_BYTES])
{
    enum file_kind kind = FILE_EMPTY;
    int rc = judge(db, error, &kind);
    if (rc != 0)
        return rc;
    if (kind == FILE_EMPTY && how != SCHEMA_CREATE) {
        snprintf(error, SCHEMA_ERROR_BYTES, "the state file is empty");
        return STORE_ECORRUPT;
    }
    if (kind == FILE_EARLIER && how == SCHEMA_WRITE) {
        snprintf(error, SCHEMA_ERROR_BYTES, "the state file is of an earlier version");
        return STORE_EVERSION;
    }
    if (kind != FILE_EMPTY && cluster_id != NULL && (rc = check_cluster(db, cluster_id, error)) != 0)
        return rc;
    if (kind == FILE_EMPTY && (rc = schema_run(db, "PRAGMA auto_vacuum = INCREMENTAL")) != 0)
        return schema_explain(db, rc, "creating the state file", error);
    if ((how == SCHEMA_CREATE || how == SCHEMA_WRITE) && (rc = set_up_writing(db)) != 0)
        return schema_explain(db, rc, "setting up the state file", error);
    if (how == SCHEMA_CREATE && kind != FILE_OURS && (rc = make_ours(db, kind, cluster_id)) != 0)
        return schema_explain(db, rc, kind == FILE_EMPTY ? "creating the state file" : "upgrading the state file",
                              error);
    return 0;
}

int schema_open(const char *path, enum schema_open how, const uint8_t *cluster_id, char error[SCHEMA_ERROR_BYTES],
                sqlite3 **ret)
{
    char uri[SCHEMA_PATH_MAX];
    sqlite3 *db = NULL;
    if (!uri_from_path(path, how == SCHEMA_SNAPSHOT, uri)) {
        snprintf(error, SCHEMA_ERROR_BYTES, "the path of the state file is too long");
        return STORE_EIO;
    }
    int rc = schema_err(sqlite3_open_v2(uri, &db, open_flags(how), NULL));
    if (rc != 0) {
        schema_explain(db, rc, "opening the state file", error);
    } else {
        sqlite3_busy_timeout(db, SCHEMA_BUSY_MS);
        /* Closing must not checkpoint by itself: when to, and what a crash leaves, is decided by the flusher. */
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        rc = check_and_set_up(db, how, cluster_id, error);
    }
    if (rc != 0) {
        sqlite3_close(db);
        return rc;
    }
    *ret = db;
    return 0;
}

int schema_has(sqlite3 *db, enum space space, bool *ret)
{
    int64_t version = 0;
    int rc = schema_number(db, "PRAGMA user_version", &version);
    if (rc == 0)
        *ret = schema_spaces[space].since <= version;
    return rc;
}

/* ---- rows ---- */

static const void *column_bytes(sqlite3_stmt *stmt, int at, size_t *ret_len)
{
    const void *bytes = sqlite3_column_blob(stmt, at);
    *ret_len = (size_t)sqlite3_column_bytes(stmt, at);
    return bytes == NULL ? "" : bytes;
}

int schema_row_read(sqlite3_stmt *stmt, enum space space, struct row *ret)
{
    int64_t type = sqlite3_column_int64(stmt, 2);
    ret->space = (uint8_t)space;
    ret->key_hash = (uint64_t)sqlite3_column_int64(stmt, 0);
    ret->key = column_bytes(stmt, 1, &ret->key_len);
    ret->type = (uint8_t)type;
    ret->value = column_bytes(stmt, 3, &ret->value_len);
    ret->version = (uint64_t)sqlite3_column_int64(stmt, 4);
    bool expires = sqlite3_column_type(stmt, 5) != SQLITE_NULL;
    ret->expire_ms = expires ? sqlite3_column_int64(stmt, 5) : ROW_NO_EXPIRY;
    ret->wall_ms = sqlite3_column_int64(stmt, 6);
    bool whole = type >= 0 && type <= UINT8_MAX && ret->key_hash == rows_hash_in(space, ret->key, ret->key_len) &&
                 (uint64_t)sqlite3_column_int64(stmt, 7) == row_digest(ret);
    if (whole)
        return 0;
    /* A column that could not be read for want of memory looks damaged too. */
    return sqlite3_errcode(sqlite3_db_handle(stmt)) == SQLITE_NOMEM ? STORE_ENOMEM : STORE_ECORRUPT;
}

int schema_row_bind(sqlite3_stmt *stmt, const struct row *row, uint64_t digest)
{
    int rc = schema_err(sqlite3_bind_int64(stmt, 1, (int64_t)row->key_hash));
    if (rc == 0)
        rc = schema_bind_bytes(stmt, 2, row->key, row->key_len);
    if (rc == 0)
        rc = schema_err(sqlite3_bind_int64(stmt, 3, row->type));
    if (rc == 0)
        rc = schema_bind_bytes(stmt, 4, row->value, row->value_len);
    if (rc == 0)
        rc = schema_err(sqlite3_bind_int64(stmt, 5, (int64_t)row->version));
    if (rc == 0)
        rc = schema_err(row->expire_ms == ROW_NO_EXPIRY ? sqlite3_bind_null(stmt, 6)
                                                        : sqlite3_bind_int64(stmt, 6, row->expire_ms));
    if (rc == 0)
        rc = schema_err(sqlite3_bind_int64(stmt, 7, row->wall_ms));
    if (rc == 0)
        rc = schema_err(sqlite3_bind_int64(stmt, 8, (int64_t)digest));
    return rc;
}

/* ---- meta ---- */

/* In the order of the versions that had them first. What a space of keys adds to the hash is what the others do not. */
static const struct meta_number {
    const char *name;
    size_t offset;
} meta_numbers[] = {
    {"applied", offsetof(struct meta, applied)},
    {"applied_term", offsetof(struct meta, applied_term)},
    {"clock_ms", offsetof(struct meta, clock_ms)},
    {"revision", offsetof(struct meta, revision)},
    {"keys", offsetof(struct meta, totals[SPACE_KEYS].count)},
    {"keys_with_ttl", offsetof(struct meta, totals[SPACE_KEYS].expiring)},
    {"configuration_index", offsetof(struct meta, conf_index)},
    {"sessions", offsetof(struct meta, totals[SPACE_SESSIONS].count)},
    {"sessions_with_ttl", offsetof(struct meta, totals[SPACE_SESSIONS].expiring)},
    {"sessions_hash", offsetof(struct meta, totals[SPACE_SESSIONS].hash)},
    {"locks", offsetof(struct meta, totals[SPACE_LOCKS].count)},
    {"locks_with_ttl", offsetof(struct meta, totals[SPACE_LOCKS].expiring)},
    {"locks_hash", offsetof(struct meta, totals[SPACE_LOCKS].hash)},
    {"scripts", offsetof(struct meta, totals[SPACE_SCRIPTS].count)},
    {"scripts_hash", offsetof(struct meta, totals[SPACE_SCRIPTS].hash)},
    {"parts", offsetof(struct meta, totals[SPACE_PARTS].count)},
    {"parts_hash", offsetof(struct meta, totals[SPACE_PARTS].hash)},
    {"trash", offsetof(struct meta, totals[SPACE_TRASH].count)},
    {"trash_with_ttl", offsetof(struct meta, totals[SPACE_TRASH].expiring)},
    {"trash_hash", offsetof(struct meta, totals[SPACE_TRASH].hash)},
    {"waits", offsetof(struct meta, totals[SPACE_WAITS].count)},
    {"waits_with_ttl", offsetof(struct meta, totals[SPACE_WAITS].expiring)},
    {"waits_hash", offsetof(struct meta, totals[SPACE_WAITS].hash)},
};
#define META_NUMBERS (sizeof meta_numbers / sizeof meta_numbers[0])
static const size_t meta_numbers_by_version[SCHEMA_VERSION + 1] = {0, 7, 15, META_NUMBERS};

static uint64_t *meta_number_at(struct meta *m, size_t i)
{
    return (uint64_t *)(void *)((char *)m + meta_numbers[i].offset);
}

/* Over all numbers and the state hash: a damaged `applied` would replay entries or skip them. */
static uint64_t meta_digest(struct meta *m, size_t n)
{
    uint64_t parts[META_NUMBERS + 1];
    for (size_t i = 0; i < n; i++)
        parts[i] = htole64(*meta_number_at(m, i));
    parts[n] = htole64(m->hash);
    return XXH3_64bits(parts, (n + 1) * sizeof parts[0]);
}

static bool load_hex(sqlite3_stmt *stmt, uint64_t *ret)
{
    const char *hex = (const char *)sqlite3_column_text(stmt, 1);
    return hex != NULL && sscanf(hex, "%" SCNx64, ret) == 1;
}

static int load_bytes(sqlite3_stmt *stmt, struct meta *ret)
{
    size_t len;
    const void *bytes = column_bytes(stmt, 1, &len);
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL)
        return STORE_ENOMEM;
    memcpy(copy, bytes, len);
    free(ret->conf);
    ret->conf = copy;
    ret->conf_len = len;
    return 0;
}

/* Take in one name and value; *found counts those every state file has. Other names are of no concern here. */
static int load_name(sqlite3_stmt *stmt, struct meta *ret, uint64_t *digest, size_t *found)
{
    const char *name = (const char *)sqlite3_column_text(stmt, 0);
    if (name == NULL)
        return STORE_ECORRUPT;
    if (strcmp(name, "configuration") == 0)
        return load_bytes(stmt, ret);
    if (strcmp(name, "state_hash") == 0)
        *found += load_hex(stmt, &ret->hash);
    if (strcmp(name, "meta_digest") == 0)
        *found += load_hex(stmt, digest);
    for (size_t i = 0; i < META_NUMBERS; i++) {
        if (strcmp(name, meta_numbers[i].name) != 0)
            continue;
        *meta_number_at(ret, i) = (uint64_t)sqlite3_column_int64(stmt, 1);
        *found += sqlite3_column_type(stmt, 1) == SQLITE_INTEGER;
    }
    return 0;
}

int schema_meta_load(sqlite3 *db, struct meta *ret)
{
    struct meta m = {0};
    sqlite3_stmt *stmt = NULL;
    uint64_t digest = 0;
    size_t found = 0, n;
    int64_t version = 0;
    int rc = schema_number(db, "PRAGMA user_version", &version);
    if (rc == 0)
        rc = schema_err(sqlite3_prepare_v2(db, "SELECT name, value FROM meta", -1, &stmt, NULL));
    int step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(stmt)) == SQLITE_ROW)
        rc = load_name(stmt, &m, &digest, &found);
    if (rc == 0 && step != SQLITE_DONE)
        rc = schema_err(step);
    sqlite3_finalize(stmt);
    n = meta_numbers_by_version[version >= 0 && version <= SCHEMA_VERSION ? version : 0];
    if (rc == 0 && (n == 0 || found != n + 2 || digest != meta_digest(&m, n)))
        rc = STORE_ECORRUPT;
    if (rc != 0) {
        free(m.conf);
        return rc;
    }
    m.totals[SPACE_KEYS].hash = m.hash;
    for (size_t i = SPACE_KEYS + 1; i < SPACE_N; i++)
        m.totals[SPACE_KEYS].hash -= m.totals[i].hash;
    *ret = m;
    return 0;
}

/* Run an INSERT whose name and value are bound, and make it ready for the next. */
static int save_bound(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? 0 : schema_err(rc);
}

static int save_number(sqlite3_stmt *stmt, const char *name, uint64_t number)
{
    int rc = bind_name(stmt, name);
    if (rc == 0)
        rc = schema_err(sqlite3_bind_int64(stmt, 2, (int64_t)number));
    return rc != 0 ? rc : save_bound(stmt);
}

static int save_hex(sqlite3_stmt *stmt, const char *name, uint64_t number)
{
    char hex[17];
    snprintf(hex, sizeof hex, "%016" PRIx64, number);
    int rc = bind_name(stmt, name);
    if (rc == 0)
        rc = schema_err(sqlite3_bind_text(stmt, 2, hex, -1, SQLITE_TRANSIENT));
    return rc != 0 ? rc : save_bound(stmt);
}

static int save_conf(sqlite3_stmt *stmt, const struct meta *m)
{
    int rc = bind_name(stmt, "configuration");
    if (rc == 0)
        rc = schema_bind_bytes(stmt, 2, m->conf, m->conf_len);
    return rc != 0 ? rc : save_bound(stmt);
}

int schema_meta_save(sqlite3 *db, const struct meta *m)
{
    struct meta copy = *m;
    sqlite3_stmt *stmt = NULL;
    int rc = schema_err(sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO meta VALUES (?, ?)", -1, &stmt, NULL));
    for (size_t i = 0; rc == 0 && i < META_NUMBERS; i++)
        rc = save_number(stmt, meta_numbers[i].name, *meta_number_at(&copy, i));
    if (rc == 0)
        rc = save_hex(stmt, "state_hash", m->hash);
    if (rc == 0)
        rc = save_hex(stmt, "meta_digest", meta_digest(&copy, META_NUMBERS));
    if (rc == 0 && m->conf != NULL)
        rc = save_conf(stmt, m);
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- origins ---- */

static int load_origin(sqlite3_stmt *stmt, struct origin **list, size_t *n, size_t *cap)
{
    if (*n == *cap) {
        size_t more = *cap == 0 ? 8 : *cap * 2;
        struct origin *grown = realloc(*list, more * sizeof *grown);
        if (grown == NULL)
            return STORE_ENOMEM;
        *list = grown;
        *cap = more;
    }
    (*list)[(*n)++] = (struct origin){.node = (uint64_t)sqlite3_column_int64(stmt, 0),
                                      .start = (uint64_t)sqlite3_column_int64(stmt, 1),
                                      .seq = (uint64_t)sqlite3_column_int64(stmt, 2)};
    return 0;
}

int schema_origins_load(sqlite3 *db, struct origin **ret, size_t *ret_n)
{
    struct origin *list = NULL;
    size_t n = 0, cap = 0;
    sqlite3_stmt *stmt = NULL;
    int rc = schema_err(sqlite3_prepare_v2(db, "SELECT node, start, seq FROM origins", -1, &stmt, NULL));
    int step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(stmt)) == SQLITE_ROW)
        rc = load_origin(stmt, &list, &n, &cap);
    if (rc == 0 && step != SQLITE_DONE)
        rc = schema_err(step);
    sqlite3_finalize(stmt);
    if (rc != 0) {
        free(list);
        return rc;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int schema_origins_save(sqlite3 *db, const struct origin *origins, size_t n)
{
    sqlite3_stmt *stmt = NULL;
    int rc = schema_err(sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO origins VALUES (?, ?, ?)", -1, &stmt, NULL));
    for (size_t i = 0; rc == 0 && i < n; i++) {
        sqlite3_bind_int64(stmt, 1, (int64_t)origins[i].node);
        sqlite3_bind_int64(stmt, 2, (int64_t)origins[i].start);
        sqlite3_bind_int64(stmt, 3, (int64_t)origins[i].seq);
        rc = save_bound(stmt);
    }
    sqlite3_finalize(stmt);
    return rc;
}
