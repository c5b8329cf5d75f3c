/* test_store_schema.c - files of earlier versions, and what a shell sees in one of this version. */
#include "tests/support/store_fixture.h"
#include "store/little.h"
#include "store/schema.h"
#include <xxhash.h>

#define ENTRIES 300

static uint64_t number(sqlite3 *db, const char *sql)
{
    int64_t n = 0;
    assert_int_equal(schema_number(db, sql, &n), 0);
    return (uint64_t)n;
}

static uint64_t state_hash(sqlite3 *db)
{
    sqlite3_stmt *stmt;
    uint64_t hash = 0;
    assert_int_equal(schema_prepare(db, "SELECT value FROM meta WHERE name = 'state_hash'", &stmt), 0);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sscanf((const char *)sqlite3_column_text(stmt, 0), "%" SCNx64, &hash), 1);
    sqlite3_finalize(stmt);
    return hash;
}

/* As the first version wrote it: no tables but keys, and a digest over seven numbers and the hash. */
static void make_version_1(const char *path)
{
    static const char *const names[] = {"applied", "applied_term",  "clock_ms",           "revision",
                                        "keys",    "keys_with_ttl", "configuration_index"};
    uint8_t parts[8 * 8];
    char sql[256];
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (size_t i = 0; i < 7; i++) {
        snprintf(sql, sizeof sql, "SELECT value FROM meta WHERE name = '%s'", names[i]);
        little_put_u64(parts + 8 * i, number(db, sql));
    }
    little_put_u64(parts + 56, state_hash(db));
    snprintf(sql, sizeof sql, "UPDATE meta SET value = '%016" PRIx64 "' WHERE name = 'meta_digest'",
             (uint64_t)XXH3_64bits(parts, sizeof parts));
    assert_int_equal(schema_run(db, sql), 0);
    assert_int_equal(
        schema_run(db, "DROP VIEW sessions; DROP VIEW locks; DROP VIEW digits;"
                       "DROP TABLE session_rows; DROP TABLE lock_rows; DROP TABLE scripts;"
                       "DROP TABLE part_rows; DROP TABLE trash_rows; DROP TABLE wait_rows;"
                       "DELETE FROM meta WHERE name GLOB 'sessions*' OR name GLOB 'locks*' OR name GLOB 'scripts*'"
                       " OR name GLOB 'parts*' OR name GLOB 'trash*' OR name GLOB 'waits*';"
                       "PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE)"),
        0);
    sqlite3_close(db);
}

struct fixture {
    char dir[FIXTURE_PATH], path[FIXTURE_PATH];
    struct store_options options;
    uint64_t hash, keys;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    fixture_dir(f->dir);
    fixture_path(f->path, f->dir, STORE_FILE);
    f->options = fixture_options(f->dir);
    struct store *s = fixture_open(&f->options);
    entries_apply(s, 1, ENTRIES);
    f->hash = store_hash(s);
    f->keys = store_keys(s);
    store_close(s);
    make_version_1(f->path);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fixture_remove_dir(f->dir);
    free(f);
    return 0;
}

/* It opens as the same state, goes on as if nothing had been, and is of this version from then on. */
static void a_file_of_version_1_is_upgraded(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(&f->options);
    assert_int_equal(store_applied(s), ENTRIES);
    assert_int_equal(store_keys(s), f->keys);
    assert_true(store_hash(s) == f->hash);
    entries_apply(s, 1, 2 * ENTRIES);
    uint64_t hash = store_hash(s);
    store_close(s);
    assert_int_equal(assert_file_whole(f->dir), 2 * ENTRIES);
    s = fixture_open(&f->options);
    assert_true(store_hash(s) == hash);
    store_close(s);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(number(db, "PRAGMA user_version"), 3);
    assert_int_equal(number(db, "SELECT count(*) FROM sessions"), 0);
    assert_int_equal(number(db, "SELECT count(*) FROM locks"), 0);
    sqlite3_close(db);
}

/* A snapshot from a node that is not upgraded yet. */
static void a_snapshot_of_version_1_is_installed(void **state)
{
    struct fixture *f = *state;
    char dir[FIXTURE_PATH], incoming[FIXTURE_PATH], error[256] = "";
    struct snapshot_info info;
    fixture_dir(dir);
    fixture_path(incoming, dir, STORE_INCOMING);
    struct store_options options = fixture_options(dir);
    struct store *s = fixture_open(&options);
    struct content c = content_read(f->path);
    content_write(incoming, c.base, c.len);
    free(c.base);
    if (snapshot_check(incoming, fixture_cluster, error, &info) != 0)
        fail_msg("snapshot_check: %s", error);
    assert_true(info.hash == f->hash);
    assert_int_equal(store_install(s), 0);
    assert_int_equal(store_applied(s), ENTRIES);
    assert_true(store_hash(s) == f->hash);
    entries_apply(s, 1, ENTRIES + 10);
    store_close(s);
    fixture_remove_dir(dir);
}

static void damage_to_an_earlier_file_is_found(void **state)
{
    struct fixture *f = *state;
    char error[256] = "";
    struct store *s = NULL;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(schema_run(db, "UPDATE meta SET value = value + 1 WHERE name = 'applied'"), 0);
    sqlite3_close(db);
    assert_int_equal(store_open(&f->options, error, &s), STORE_ECORRUPT);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(number(db, "PRAGMA user_version"), 1); /* Nothing was changed. */
    assert_int_equal(number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'lock_rows'"), 0);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_of_version_1_is_upgraded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_of_version_1_is_installed, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_to_an_earlier_file_is_found, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
