/* test_store_snapshot.c - the whole state as one file: made while the store works, judged before it is believed, put in
 * its place whole. */
#include "tests/support/store_fixture.h"
#include <pthread.h>
#include <sqlite3.h>

#define ENTRIES 400

struct fixture {
    char dir[FIXTURE_PATH], copy[FIXTURE_PATH];
    struct store_options options;
    struct store *store;
    struct history history;
    struct chance chance;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->chance.state = fixture_seed();
    f->history = history_make(chance_next(&f->chance), ENTRIES);
    fixture_dir(f->dir);
    fixture_path(f->copy, f->dir, "copy.db");
    f->options = fixture_options(f->dir);
    f->store = fixture_open(&f->options);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    history_release(&f->history);
    fixture_remove_dir(f->dir);
    free(f);
    return 0;
}

static void advance(struct fixture *f, uint64_t to)
{
    entries_apply(f->store, f->history.seed, to);
}

static int check(struct fixture *f, const char *path, struct snapshot_info *ret)
{
    char error[256] = "";
    (void)f;
    int rc = snapshot_check(path, fixture_cluster, error, ret);
    assert_true((rc == 0) == (error[0] == '\0'));
    return rc;
}

static struct snapshot_info make(struct fixture *f)
{
    char error[256] = "";
    struct snapshot_info made, checked;
    int rc = snapshot_make(f->dir, f->copy, error, &made);
    if (rc != 0)
        fail_msg("snapshot_make: %d: %s", rc, error);
    assert_int_equal(check(f, f->copy, &checked), 0);
    assert_memory_equal(&made, &checked, sizeof made);
    return made;
}

static void assert_info(const struct fixture *f, const struct snapshot_info *info)
{
    assert_true(info->applied <= ENTRIES);
    assert_true(info->hash == f->history.at[info->applied].hash);
    assert_int_equal(info->revision, f->history.at[info->applied].revision);
    assert_true(info->bytes >= 4096);
}

static void a_snapshot_is_the_state_of_the_last_flush(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info = make(f);
    assert_int_equal(info.applied, 0);
    advance(f, 150);
    assert_int_equal(store_flush_now(f->store), 0);
    advance(f, 160);
    info = make(f); /* Over the first one. */
    assert_int_equal(info.applied, 150);
    assert_int_equal(info.applied_term, 1);
    assert_info(f, &info);
    store_close(f->store);
    f->store = NULL;
    info = make(f); /* Of a store that nobody has open. */
    assert_int_equal(info.applied, 160);
    assert_info(f, &info);
}

struct maker {
    struct fixture *f;
    pthread_t thread;
    int made;
    bool stop;
};

static void *make_on(void *arg)
{
    struct maker *m = arg;
    while (!__atomic_load_n(&m->stop, __ATOMIC_SEQ_CST)) {
        struct snapshot_info info = make(m->f);
        assert_info(m->f, &info);
        __atomic_add_fetch(&m->made, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* Snapshots made on another thread while entries are applied, flushed and checkpointed are each one whole state. */
static void snapshots_are_whole_while_the_store_works(void **state)
{
    struct fixture *f = *state;
    struct maker m = {.f = f};
    store_close(f->store);
    f->options.flush_interval_ms = 1;
    f->options.cache_bytes = 64 << 10;
    f->options.checkpoint_bytes = 64 << 10;
    f->store = fixture_open(&f->options);
    assert_int_equal(pthread_create(&m.thread, NULL, make_on, &m), 0);
    uint64_t polls = 0;
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        advance(f, i);
        assert_int_equal(store_poll(f->store, ++polls), 0);
    }
    while (__atomic_load_n(&m.made, __ATOMIC_SEQ_CST) < 5 || store_durable(f->store) < ENTRIES) {
        if (polls % 100 == 0)
            store_checkpoint_soon(f->store);
        assert_int_equal(store_poll(f->store, ++polls), 0);
    }
    __atomic_store_n(&m.stop, true, __ATOMIC_SEQ_CST);
    pthread_join(m.thread, NULL);
}

static void what_is_no_snapshot_is_refused(void **state)
{
    struct fixture *f = *state;
    static const uint8_t other[STORE_CLUSTER_ID_BYTES] = "another-cluster";
    struct snapshot_info info;
    char error[256] = "", missing[FIXTURE_PATH];
    fixture_path(missing, f->dir, "missing.db");
    assert_int_equal(check(f, missing, &info), STORE_EMISSING);
    assert_int_equal(snapshot_make(missing, f->copy, error, &info), STORE_EMISSING);
    assert_int_equal(access(f->copy, F_OK), -1);
    make(f);
    assert_int_equal(snapshot_check(f->copy, other, error, &info), STORE_EFOREIGN);
    content_write(f->copy, "", 0);
    assert_int_equal(check(f, f->copy, &info), STORE_ECORRUPT);
    content_write(f->copy,
                  "SQLite format 3 is not what this is, however long the file may become in the end, dear reader", 90);
    assert_int_equal(check(f, f->copy, &info), STORE_ECORRUPT);
    assert_int_equal(snapshot_make(f->dir, "/nonexistent/folder/copy.db", error, &info), STORE_EIO);
}

static void assert_same_or_refused(struct fixture *f, const struct snapshot_info *whole)
{
    struct snapshot_info info;
    int rc = check(f, f->copy, &info);
    if (rc != 0) {
        assert_true(rc == STORE_ECORRUPT || rc == STORE_EVERSION || rc == STORE_EFOREIGN || rc == STORE_EIO);
        return;
    }
    /* A byte that means nothing was hit, such as one of an empty part of a page. */
    assert_true(info.hash == whole->hash && info.applied == whole->applied && info.revision == whole->revision);
}

/* Wherever a bit flips or the file ends early, the snapshot is refused or means the same. */
static void damage_is_found(void **state)
{
    struct fixture *f = *state;
    int found = 0;
    advance(f, 200);
    assert_int_equal(store_flush_now(f->store), 0);
    struct snapshot_info whole = make(f), info;
    struct content c = content_read(f->copy);
    for (int i = 0; i < 400; i++) {
        size_t at = i < 100 ? (size_t)i : chance_below(&f->chance, c.len);
        uint8_t bit = (uint8_t)(1u << chance_below(&f->chance, 8));
        c.base[at] ^= bit;
        content_write(f->copy, c.base, c.len);
        assert_same_or_refused(f, &whole);
        found += check(f, f->copy, &info) != 0;
        c.base[at] ^= bit;
    }
    assert_true(found > 20);
    for (int i = 0; i < 100; i++) {
        content_write(f->copy, c.base, chance_below(&f->chance, c.len));
        assert_int_not_equal(check(f, f->copy, &info), 0);
    }
    free(c.base);
}

/* A damaged key looks missing to whoever asks for it, but not to one who looks at all rows. */
static void damage_of_the_state_is_found(void **state)
{
    struct fixture *f = *state;
    atomic_bool stop = false;
    char error[256] = "", path[FIXTURE_PATH];
    static const uint8_t key[] = "the-key-that-is-hit";
    struct command_buf b = {0};
    struct outcome_buf out = {0};
    enum store_applied what;
    advance(f, 200);
    batch_begin(&b, 0, 0, 0);
    batch_set_count(b.base, 1);
    command_add(&b, OP_SET, 0, NULL, 0, (struct bytes[]){{key, sizeof key - 1}, {key, 3}}, 2);
    assert_int_equal(store_apply(f->store, 201, 1, b.base, b.len, &out, &what), 0);
    assert_int_equal(store_flush_now(f->store), 0);
    assert_int_equal(snapshot_check_state(f->dir, fixture_cluster, &stop, error), 0);
    store_close(f->store);
    fixture_path(path, f->dir, STORE_FILE);
    struct content c = content_read(path);
    uint8_t *at = memmem(c.base, c.len, key, sizeof key - 1);
    assert_non_null(at);
    at[4] ^= 1;
    content_write(path, c.base, c.len);
    f->store = fixture_open(&f->options);
    assert_int_equal(snapshot_check_state(f->dir, fixture_cluster, &stop, error), STORE_ECORRUPT);
    assert_non_null(strstr(error, "the state file is damaged"));
    stop = true;
    assert_int_not_equal(snapshot_check_state(f->dir, fixture_cluster, &stop, error), 0);
    command_buf_release(&b);
    outcome_buf_release(&out);
    free(c.base);
}

/* ---- installing ---- */

/* A store of its own that has applied the log up to `to`, its snapshot put where f's store receives one. */
static void receive_snapshot(struct fixture *f, uint64_t to)
{
    char dir[FIXTURE_PATH], incoming[FIXTURE_PATH], error[256] = "";
    struct snapshot_info info;
    fixture_dir(dir);
    fixture_path(incoming, f->dir, STORE_INCOMING);
    struct store_options o = fixture_options(dir);
    struct store *s = fixture_open(&o);
    entries_apply(s, f->history.seed, to);
    assert_int_equal(store_configure(s, to + 1, 3, (const uint8_t *)"conf", 4), 0);
    store_close(s);
    assert_int_equal(snapshot_make(dir, incoming, error, &info), 0);
    assert_int_equal(info.conf_index, to + 1);
    fixture_remove_dir(dir);
}

static void assert_installed(struct fixture *f, uint64_t to)
{
    size_t len;
    uint64_t index, start, seq;
    assert_int_equal(store_applied(f->store), to + 1);
    assert_int_equal(store_durable(f->store), to + 1);
    assert_int_equal(store_applied_term(f->store), 3);
    assert_true(store_hash(f->store) == f->history.at[to].hash);
    assert_int_equal(store_keys(f->store), f->history.at[to].keys);
    assert_memory_equal(store_configuration(f->store, &len, &index), "conf", 4);
    store_origin(f->store, 1, &start, &seq);
    assert_int_equal(seq, to);
    assert_int_equal(assert_file_whole(f->dir), to + 1);
}

static void installing_replaces_all(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    f->options.flush_interval_ms = 1;
    f->store = fixture_open(&f->options);
    advance(f, 50);
    assert_int_equal(store_flush_now(f->store), 0);
    advance(f, 60);
    assert_int_equal(store_poll(f->store, 10), 0); /* A flush may be under way. */
    receive_snapshot(f, 300);
    assert_int_equal(store_install(f->store), 0);
    assert_installed(f, 300);
    store_skip(f->store, 302, 3);
    assert_int_equal(store_flush_now(f->store), 0);
    store_abandon(f->store);
    f->store = fixture_open(&f->options);
    assert_int_equal(store_applied(f->store), 302);
    assert_true(store_hash(f->store) == f->history.at[300].hash);
}

/* Also over a file that is beyond repair, which is what heals a node. */
static void installing_heals_a_damaged_file(void **state)
{
    struct fixture *f = *state;
    char path[FIXTURE_PATH];
    sqlite3 *db;
    advance(f, 50);
    assert_int_equal(store_flush_now(f->store), 0);
    fixture_path(path, f->dir, STORE_FILE);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE keys", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    advance(f, 60);
    assert_int_not_equal(store_flush_now(f->store), 0);
    receive_snapshot(f, 200);
    assert_int_equal(store_install(f->store), 0);
    assert_installed(f, 200);
    assert_int_equal(store_flush_now(f->store), 0);
}

/* A crash right after the snapshot was accepted: the old state and its WAL are still there, and opening finishes the
 * work. */
static void an_accepted_snapshot_is_installed_on_opening(void **state)
{
    struct fixture *f = *state;
    char incoming[FIXTURE_PATH], accepted[FIXTURE_PATH];
    advance(f, 50);
    assert_int_equal(store_flush_now(f->store), 0);
    store_abandon(f->store);
    receive_snapshot(f, 100);
    fixture_path(incoming, f->dir, STORE_INCOMING);
    fixture_path(accepted, f->dir, "install.db");
    assert_int_equal(rename(incoming, accepted), 0);
    f->store = fixture_open(&f->options);
    assert_installed(f, 100);
    receive_snapshot(f, 120); /* One that was received, but never accepted, is nothing to opening. */
    store_close(f->store);
    f->store = fixture_open(&f->options);
    assert_installed(f, 100);
}

static void without_a_snapshot_there_is_nothing_to_install(void **state)
{
    struct fixture *f = *state;
    advance(f, 50);
    assert_int_equal(store_install(f->store), STORE_EIO);
    assert_true(strlen(store_error(f->store)) > 10);
    assert_int_equal(store_poll(f->store, 1), STORE_EIO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_snapshot_is_the_state_of_the_last_flush),
        TEST(snapshots_are_whole_while_the_store_works),
        TEST(what_is_no_snapshot_is_refused),
        TEST(damage_is_found),
        TEST(damage_of_the_state_is_found),
        TEST(installing_replaces_all),
        TEST(installing_heals_a_damaged_file),
        TEST(an_accepted_snapshot_is_installed_on_opening),
        TEST(without_a_snapshot_there_is_nothing_to_install),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
