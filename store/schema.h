/* schema.h - the tables of the state file, and what every connection to it is set to.
 * The one file that knows SQLite's settings, the columns, and how SQLite's errors are told. */
#pragma once
#include "store/rows.h"
#include "store/store.h"
#include <sqlite3.h>

#define SCHEMA_ERROR_BYTES 256
/* The columns that schema_row_read() reads, in its order. */
#define SCHEMA_ROW "hash, key, type, value, version, expire_ms, wall_ms, digest"

/* What the state is besides its rows; one transaction changes both. */
struct meta {
    uint64_t applied, applied_term;
    uint64_t clock_ms, revision;
    struct rows_total totals[SPACE_N];
    uint64_t hash; /* The sum of theirs. */
    uint64_t conf_index;
    uint8_t *conf; /* Owned by whoever holds the struct; NULL: none (loading), or unchanged (saving). */
    size_t conf_len;
};

/* The last batch applied of one start of a node. */
struct origin {
    uint64_t node, start, seq;
    bool changed; /* Since the last flush began. */
};

/* The one translation of SQLite's result codes; 0 for SQLITE_OK. */
int schema_err(int sqlite_rc);
/* Words for the operator: "what: SQLite's message". Returns rc. */
int schema_explain(sqlite3 *db, int rc, const char *what, char error[SCHEMA_ERROR_BYTES]);

enum schema_open {
    SCHEMA_CREATE,   /* Read and write; a file that is new or empty becomes a state file of this cluster, one of an
                        earlier version one of this version. */
    SCHEMA_WRITE,    /* Read and write; must be one of this version already. */
    SCHEMA_READ,     /* Read only, beside others that write. */
    SCHEMA_SNAPSHOT, /* Read only a file that nobody writes; no file is created beside it. It may be of an earlier
                        version. */
};

/* Open a connection and check that the file is ours: application id, version, cluster. cluster_id NULL: of any cluster.
 * Anything found wrong leaves the file as it was. */
int schema_open(const char *path, enum schema_open how, const uint8_t *cluster_id, char error[SCHEMA_ERROR_BYTES],
                sqlite3 **ret);

int schema_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret);
/* "BEFORE table-of-that-space AFTER". */
int schema_prepare_in(sqlite3 *db, const char *before, enum space space, const char *after, sqlite3_stmt **ret);
/* Has this file a table for that space? One of an earlier version may not. */
int schema_has(sqlite3 *db, enum space space, bool *ret);
/* Run one statement that answers no rows. */
int schema_run(sqlite3 *db, const char *sql);
/* The first column of the first row as a number; -1 when there is no row. */
int schema_number(sqlite3 *db, const char *sql, int64_t *ret);
/* Bind a blob without copying it; an empty one is empty, not NULL. */
int schema_bind_bytes(sqlite3_stmt *stmt, int at, const void *bytes, size_t len);

/* The row a SELECT of SCHEMA_ROW stands at, borrowed until its next step. STORE_ECORRUPT when its digest is wrong. */
int schema_row_read(sqlite3_stmt *stmt, enum space space, struct row *ret);
/* Bind ?1.. of an INSERT of SCHEMA_ROW. */
int schema_row_bind(sqlite3_stmt *stmt, const struct row *row, uint64_t digest);

/* ret->conf is malloc'ed. STORE_ECORRUPT when a name is missing or the digest is wrong. */
int schema_meta_load(sqlite3 *db, struct meta *ret);
int schema_meta_save(sqlite3 *db, const struct meta *m);
/* *ret is malloc'ed, NULL when there are none. */
int schema_origins_load(sqlite3 *db, struct origin **ret, size_t *ret_n);
int schema_origins_save(sqlite3 *db, const struct origin *origins, size_t n);
