/* test_store_store.c - entries become state exactly once; files that are not ours are left alone; what is due is named
 * until it is gone. */
#include "tests/support/store_fixture.h"
#include "store/little.h"
#include <sqlite3.h>

struct fixture {
    char dir[FIXTURE_PATH], path[FIXTURE_PATH];
    struct store_options options;
    struct store *store;
    struct command_buf batch;
    struct outcome_buf out;
    uint64_t clock_ms, now_ms;
    int notes;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    fixture_dir(f->dir);
    fixture_path(f->path, f->dir, STORE_FILE);
    f->options = fixture_options(f->dir);
    f->store = fixture_open(&f->options);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    command_buf_release(&f->batch);
    outcome_buf_release(&f->out);
    fixture_remove_dir(f->dir);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    store_close(f->store);
    f->store = fixture_open(&f->options);
}

/* ---- one batch ---- */

static void begin(struct fixture *f, uint64_t node, uint64_t start, uint64_t seq)
{
    f->batch.len = 0;
    f->out.len = 0;
    batch_begin(&f->batch, node, start, seq);
}

static void add_set(struct fixture *f, const char *key, const char *value, int64_t left_ms)
{
    struct bytes args[2] = {text(key), text(value)};
    int64_t nums[2] = {left_ms, 0};
    command_add(&f->batch, OP_SET, left_ms > 0 ? CMD_EXPIRE : 0, nums, left_ms > 0 ? 2 : 0, args, 2);
}

static enum store_applied apply(struct fixture *f, uint32_t n)
{
    enum store_applied applied;
    batch_set_count(f->batch.base, n);
    batch_stamp(f->batch.base, f->clock_ms);
    int rc = store_apply(f->store, store_applied(f->store) + 1, 7, f->batch.base, f->batch.len, &f->out, &applied);
    if (rc != 0)
        fail_msg("store_apply: %d: %s", rc, store_error(f->store));
    return applied;
}

static void set_for(struct fixture *f, const char *key, const char *value, int64_t left_ms)
{
    begin(f, 0, 0, 0);
    add_set(f, key, value, left_ms);
    assert_int_equal(apply(f, 1), STORE_APPLIED);
}

static void set(struct fixture *f, const char *key, const char *value)
{
    set_for(f, key, value, 0);
}

static enum store_applied incr_from(struct fixture *f, uint64_t node, uint64_t start, uint64_t seq)
{
    struct bytes key = text("n");
    int64_t one = 1;
    begin(f, node, start, seq);
    command_add(&f->batch, OP_INCRBY, 0, &one, 1, &key, 1);
    return apply(f, 1);
}

/* The value as GET answers it; NULL for none. Lives until the next call. */
static const char *get(struct fixture *f, const char *key)
{
    static char value[4096];
    struct command_buf b = {0};
    struct bytes arg = text(key);
    struct outcome answer;
    size_t used;
    command_add(&b, OP_GET, 0, NULL, 0, &arg, 1);
    f->out.len = 0;
    assert_int_equal(store_read(f->store, b.base, b.len, store_clock_ms(f->store), &f->out, &used), 0);
    assert_int_equal(used, b.len);
    assert_true(outcome_next(f->out.base, f->out.len, &answer) > 0);
    command_buf_release(&b);
    if (answer.tag != OUTCOME_BULK)
        return NULL;
    snprintf(value, sizeof value, "%.*s", (int)answer.len, answer.bytes);
    return value;
}

static void assert_get(struct fixture *f, const char *key, const char *want)
{
    const char *value = get(f, key);
    assert_non_null(value);
    assert_string_equal(value, want);
}

static void poll_until_idle(struct fixture *f)
{
    f->now_ms += 1000;
    assert_int_equal(store_poll(f->store, f->now_ms), 0);
}

/* ---- what stays ---- */

static void everything_is_there_after_reopening(void **state)
{
    struct fixture *f = *state;
    uint64_t start, seq, index;
    size_t len;
    f->clock_ms = 12345;
    set(f, "a", "1");
    incr_from(f, 3, 2, 1);
    incr_from(f, 3, 2, 2);
    assert_int_equal(store_configure(f->store, 4, 8, (const uint8_t *)"members", 7), 0);
    store_skip(f->store, 5, 9);
    uint64_t hash = store_hash(f->store), revision = store_revision(f->store);
    reopen(f);
    assert_int_equal(store_applied(f->store), 5);
    assert_int_equal(store_applied_term(f->store), 9);
    assert_int_equal(store_durable(f->store), 5);
    assert_int_equal(store_durable_term(f->store), 9);
    assert_int_equal(store_clock_ms(f->store), 12345);
    assert_int_equal(store_revision(f->store), revision);
    assert_true(store_hash(f->store) == hash);
    assert_int_equal(store_keys(f->store), 2);
    store_origin(f->store, 3, &start, &seq);
    assert_int_equal(start, 2);
    assert_int_equal(seq, 2);
    assert_memory_equal(store_configuration(f->store, &len, &index), "members", 7);
    assert_int_equal(len, 7);
    assert_int_equal(index, 4);
    assert_get(f, "a", "1");
    assert_get(f, "n", "2");
    assert_int_equal(assert_file_whole(f->dir), 5);
}

/* A new configuration is saved by the next flush only, and an unchanged one is not lost by those after it. */
static void a_configuration_outlives_later_flushes(void **state)
{
    struct fixture *f = *state;
    size_t len;
    uint64_t index;
    assert_int_equal(store_configure(f->store, 1, 1, (const uint8_t *)"", 0), 0);
    assert_int_equal(store_configure(f->store, 2, 1, (const uint8_t *)"two", 3), 0);
    assert_int_equal(store_flush_now(f->store), 0);
    set(f, "a", "1");
    assert_int_equal(store_flush_now(f->store), 0);
    store_abandon(f->store);
    f->store = fixture_open(&f->options);
    assert_memory_equal(store_configuration(f->store, &len, &index), "two", 3);
    assert_int_equal(index, 2);
}

static void a_flushall_stays_done(void **state)
{
    struct fixture *f = *state;
    set(f, "a", "1");
    assert_int_equal(store_flush_now(f->store), 0);
    begin(f, 0, 0, 0);
    command_add(&f->batch, OP_FLUSHALL, 0, NULL, 0, NULL, 0);
    assert_int_equal(apply(f, 1), STORE_APPLIED);
    set(f, "b", "2");
    reopen(f);
    assert_null(get(f, "a"));
    assert_get(f, "b", "2");
    assert_int_equal(store_keys(f->store), 1);
    assert_file_whole(f->dir);
}

static void data_may_exceed_the_cache(void **state)
{
    struct fixture *f = *state;
    char key[32], value[600];
    store_close(f->store);
    f->options.cache_bytes = 256 << 10;
    f->options.flush_interval_ms = 1;
    f->options.flush_rows = 500;
    f->store = fixture_open(&f->options);
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "big-%d", i);
        snprintf(value, 20, "%019d", i);
        value[19] = 'x';
        set(f, key, value);
        if (i % 50 == 0)
            poll_until_idle(f);
    }
    assert_int_equal(store_flush_now(f->store), 0);
    for (int i = 0; i < 20000; i += 7) {
        snprintf(key, sizeof key, "big-%d", i);
        const char *got = get(f, key);
        assert_non_null(got);
        assert_int_equal(strtol(got, NULL, 10), i);
        assert_int_equal(store_poll(f->store, ++f->now_ms), 0);
    }
    assert_true(store_cache_bytes(f->store) < 1 << 20);
    assert_int_equal(store_keys(f->store), 20000);
    assert_int_equal(assert_file_whole(f->dir), 20000);
}

/* ---- exactly once ---- */

static void batches_are_judged_by_origin(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t node, start, seq;
        enum store_applied want;
    } cases[] = {
        {1, 5, 2, STORE_OUT_OF_ORDER}, /* A start begins with 1. */
        {1, 5, 1, STORE_APPLIED},      {1, 5, 1, STORE_DUPLICATE}, {1, 5, 3, STORE_OUT_OF_ORDER},
        {1, 5, 2, STORE_APPLIED},      {1, 5, 1, STORE_DUPLICATE}, {2, 1, 1, STORE_APPLIED},
        {1, 4, 3, STORE_OUT_OF_ORDER}, /* A start that has ended. */
        {1, 6, 2, STORE_OUT_OF_ORDER}, {1, 5, 3, STORE_APPLIED},   {1, 6, 1, STORE_APPLIED},
        {1, 5, 4, STORE_OUT_OF_ORDER}, {1, 6, 1, STORE_DUPLICATE}, {2, 1, 2, STORE_APPLIED},
        {0, 0, 0, STORE_APPLIED},      {0, 0, 0, STORE_APPLIED},
    };
    int64_t applied = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[20];
        assert_int_equal(incr_from(f, cases[i].node, cases[i].start, cases[i].seq), cases[i].want);
        assert_int_equal(f->out.len > 0, cases[i].want == STORE_APPLIED);
        applied += cases[i].want == STORE_APPLIED;
        snprintf(want, sizeof want, "%d", (int)applied);
        if (applied > 0)
            assert_get(f, "n", want);
        if (i % 4 == 3)
            reopen(f);
    }
    assert_int_equal(store_applied(f->store), sizeof cases / sizeof cases[0]);
}

static void the_clock_never_goes_back(void **state)
{
    struct fixture *f = *state;
    f->clock_ms = 1000;
    incr_from(f, 1, 1, 1);
    f->clock_ms = 900;
    incr_from(f, 1, 1, 2);
    assert_int_equal(store_clock_ms(f->store), 1000);
    f->clock_ms = 2000;
    assert_int_equal(incr_from(f, 1, 1, 2), STORE_DUPLICATE);
    assert_int_equal(store_clock_ms(f->store), 2000);
}

/* However a batch is damaged, it is applied whole or not at all, and a refused one stops the store. */
static void a_damaged_batch_changes_nothing(void **state)
{
    struct fixture *f = *state;
    enum store_applied applied;
    struct outcome_buf out = {0};
    set(f, "a", "1");
    uint64_t hash = store_hash(f->store);
    begin(f, 1, 1, 1);
    add_set(f, "a", "2", 0);
    add_set(f, "b", "3", 0);
    batch_set_count(f->batch.base, 2);
    for (size_t len = 0; len < f->batch.len; len++) {
        assert_int_equal(store_apply(f->store, 2, 1, f->batch.base, len, &out, &applied), STORE_ECORRUPT);
        assert_int_equal(store_applied(f->store), 1);
        assert_true(store_hash(f->store) == hash);
        assert_int_equal(out.len, 0);
        assert_non_null(strstr(store_error(f->store), "log entry 2"));
        assert_int_equal(store_poll(f->store, 1), STORE_ECORRUPT);
        store_abandon(f->store);
        f->store = fixture_open(&f->options);
        begin(f, 0, 0, 0);
        add_set(f, "a", "1", 0);
        assert_int_equal(apply(f, 1), STORE_APPLIED);
        begin(f, 1, 1, 1);
        add_set(f, "a", "2", 0);
        add_set(f, "b", "3", 0);
        batch_set_count(f->batch.base, 2);
    }
    f->batch.base[0] = BATCH_VERSION + 1;
    assert_int_equal(store_apply(f->store, 2, 1, f->batch.base, f->batch.len, &out, &applied), STORE_EVERSION);
    outcome_buf_release(&out);
}

static void reading_cannot_write(void **state)
{
    struct fixture *f = *state;
    struct outcome answer;
    size_t used;
    set(f, "a", "1");
    begin(f, 0, 0, 0);
    size_t at = f->batch.len;
    add_set(f, "a", "2", 0);
    assert_int_equal(store_read(f->store, f->batch.base + at, f->batch.len - at, 0, &f->out, &used), 0);
    assert_true(outcome_next(f->out.base, f->out.len, &answer) > 0);
    assert_int_equal(answer.tag, OUTCOME_REFUSAL);
    assert_int_equal(answer.n, REFUSAL_UNKNOWN_COMMAND);
    assert_int_equal(store_read(f->store, f->batch.base + at, 5, 0, &f->out, &used), STORE_ECORRUPT);
    assert_get(f, "a", "1");
}

/* ---- files that are not ours ---- */

static void assert_refused(struct fixture *f, const struct store_options *o, int want)
{
    struct store *s;
    char error[256] = "";
    struct content before = content_read(f->path);
    assert_int_equal(store_open(o, error, &s), want);
    assert_true(strlen(error) > 10);
    struct content after = content_read(f->path);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.base, after.base, before.len);
    free(before.base);
    free(after.base);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void other_files_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint8_t other[STORE_CLUSTER_ID_BYTES] = "another-cluster";
    struct store_options o = f->options;
    set(f, "a", "1");
    store_close(f->store);
    f->store = NULL;
    o.cluster_id = other;
    assert_refused(f, &o, STORE_EFOREIGN);
    run_sql(f->path, "PRAGMA user_version = 99");
    assert_refused(f, &f->options, STORE_EVERSION);
    run_sql(f->path, "PRAGMA user_version = 1; UPDATE meta SET value = value + 1 WHERE name = 'applied'");
    assert_refused(f, &f->options, STORE_ECORRUPT);
    fixture_empty_dir(f->dir);
    run_sql(f->path, "CREATE TABLE things (a, b)");
    assert_refused(f, &f->options, STORE_EFOREIGN);
    fixture_empty_dir(f->dir);
    content_write(f->path,
                  "this is not a database, and it is long enough not to be taken for the beginning of one.......", 90);
    assert_refused(f, &f->options, STORE_ECORRUPT);
    content_write(f->path, "", 0); /* Made by a start that was cut off: nothing in it to lose. */
    f->store = fixture_open(&f->options);
}

static void a_missing_folder_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct store_options o = f->options;
    struct store *s;
    char error[256] = "";
    o.dir = "/nonexistent/folder";
    assert_int_equal(store_open(&o, error, &s), STORE_EIO);
    assert_true(strlen(error) > 10);
}

/* ---- flushes ---- */

static void a_failed_flush_stops_the_store(void **state)
{
    struct fixture *f = *state;
    enum store_applied applied;
    set(f, "a", "1");
    assert_int_equal(store_flush_now(f->store), 0);
    run_sql(f->path, "DROP TABLE origins");
    incr_from(f, 1, 1, 1);
    assert_int_equal(store_flush_now(f->store), STORE_EIO);
    assert_non_null(strstr(store_error(f->store), "origins"));
    assert_int_equal(store_poll(f->store, 1), STORE_EIO);
    assert_int_equal(store_apply(f->store, 3, 1, f->batch.base, f->batch.len, &f->out, &applied), STORE_EIO);
    assert_int_equal(store_durable(f->store), 1);
    assert_int_equal(store_next_due_ms(f->store), UINT64_MAX);
}

static void notified(void *ctx)
{
    __atomic_add_fetch((int *)ctx, 1, __ATOMIC_SEQ_CST);
}

/* Left to itself the store flushes, and in the end syncs, all that changed; and then it rests. */
static void polling_makes_everything_durable(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    f->options.flush_interval_ms = 100;
    f->options.notify = notified;
    f->options.notify_ctx = &f->notes;
    f->store = fixture_open(&f->options);
    assert_int_equal(store_poll(f->store, 1000000), 0);
    set(f, "a", "1");
    uint64_t now_ms = 1000000;
    while (store_durable(f->store) < 1) {
        now_ms += 50;
        assert_int_equal(store_poll(f->store, now_ms), 0);
    }
    assert_true(now_ms >= 1000000 + 10000); /* Nobody was in a hurry. */
    assert_true(__atomic_load_n(&f->notes, __ATOMIC_SEQ_CST) >= 1);
    int before = __atomic_load_n(&f->notes, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(store_poll(f->store, now_ms += 1000), 0);
    assert_true(__atomic_load_n(&f->notes, __ATOMIC_SEQ_CST) <= before + 1); /* The last one may not have told yet. */
    assert_int_equal(store_dirty_bytes(f->store), 0);
}

static void told_to_checkpoint_it_does(void **state)
{
    struct fixture *f = *state;
    set(f, "a", "1");
    poll_until_idle(f);
    assert_int_equal(store_durable(f->store), 0); /* Without an interval only when told. */
    assert_true(store_dirty_bytes(f->store) > 0);
    store_checkpoint_soon(f->store);
    poll_until_idle(f);
    assert_int_equal(store_durable(f->store), 1);
    assert_int_equal(store_durable_term(f->store), 7);
    assert_int_equal(store_dirty_bytes(f->store), 0);
    assert_true(store_file_bytes(f->store) > 0);
}

/* ---- keys that are due ---- */

/* Propose what is due at the store's next due time, and apply it when `commit`. Returns how many were named. */
static size_t propose(struct fixture *f, uint64_t clock_ms, size_t max, bool commit)
{
    begin(f, 0, 0, 0);
    uint32_t commands = store_due(f->store, clock_ms, max, &f->batch);
    size_t n = commands == 0 ? 0 : little_u32(f->batch.base + BATCH_HEADER_BYTES + 4); /* Arguments of the only one. */
    assert_int_equal(f->batch.len > BATCH_HEADER_BYTES, n > 0);
    assert_int_equal(commands, n > 0);
    assert_true(n <= max);
    if (n == 0 || !commit)
        return n;
    f->clock_ms = clock_ms;
    assert_int_equal(apply(f, 1), STORE_APPLIED);
    return n;
}

static void due_keys_are_named_in_pieces(void **state)
{
    struct fixture *f = *state;
    char key[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "due-%d", i);
        set_for(f, key, "v", 500 + i % 10);
    }
    set_for(f, "later", "v", 5000);
    set(f, "never", "v");
    assert_int_equal(store_next_due_ms(f->store), 500);
    assert_int_equal(propose(f, 499, 100, true), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(propose(f, 600, 100, true), 100);
    assert_int_equal(propose(f, 600, 100, true), 0);
    assert_int_equal(store_keys(f->store), 2);
    assert_int_equal(store_expired_total(f->store), 1000);
    assert_get(f, "later", "v");
    assert_true(store_next_due_ms(f->store) <= 5000 && store_next_due_ms(f->store) > 600);
}

static void a_lost_proposal_is_made_again(void **state)
{
    struct fixture *f = *state;
    set_for(f, "k", "v", 500);
    set_for(f, "renewed", "v", 500);
    assert_int_equal(propose(f, 500, 10, false), 2);
    assert_int_equal(propose(f, 501, 10, false), 0); /* Not at once: it may still commit. */
    set_for(f, "renewed", "v", 50000);
    uint64_t again_ms = store_next_due_ms(f->store);
    assert_true(again_ms > 501 && again_ms < 10000);
    assert_int_equal(propose(f, again_ms, 10, false), 1);
    assert_int_equal(propose(f, again_ms + 60000, 10, true), 2);
    assert_int_equal(store_keys(f->store), 0);
}

/* A leader without any traffic still finds keys that expire long after the horizon, also those that were only in the
 * file. */
static void far_keys_are_found_without_traffic(void **state)
{
    struct fixture *f = *state;
    set_for(f, "soon", "v", 1000);
    set_for(f, "far", "v", 300000);
    set_for(f, "very far", "v", 86400000);
    reopen(f);
    uint64_t clock_ms = 0, asked = 0;
    while (store_keys(f->store) > 0) {
        uint64_t next_ms = store_next_due_ms(f->store);
        assert_true(next_ms != UINT64_MAX);
        assert_true(next_ms >= clock_ms); /* Never asks again for a time at which it was asked. */
        clock_ms = next_ms + 1;
        uint64_t keys = store_keys(f->store);
        propose(f, clock_ms, 10, true);
        if (store_keys(f->store) < keys)
            assert_true(clock_ms - (keys == 3 ? 1000 : keys == 2 ? 300000 : 86400000) <= 2);
        poll_until_idle(f);
        assert_true(++asked < 4000);
    }
    propose(f, store_next_due_ms(f->store), 10, true); /* The last one named is looked after once more. */
    assert_int_equal(store_next_due_ms(f->store), UINT64_MAX);
}

/* As above, with keys written and the clock moved by traffic, and flushes on their thread. */
static void windows_miss_no_key(void **state)
{
    struct fixture *f = *state;
    struct chance c = {fixture_seed()};
    char key[32];
    store_close(f->store);
    f->options.flush_interval_ms = 1;
    f->store = fixture_open(&f->options);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "k-%d", i);
        f->clock_ms += chance_below(&c, 200);
        set_for(f, key, "v", 1 + (int64_t)chance_below(&c, 400000));
        poll_until_idle(f);
        if (i % 3 == 0)
            propose(f, f->clock_ms, 100, true);
        if (i % 700 == 0)
            reopen(f);
    }
    f->clock_ms += 400000;
    for (int i = 0; store_keys(f->store) > 0; i++) {
        assert_true(i < 1000000);
        propose(f, f->clock_ms, 100, true);
        poll_until_idle(f);
    }
    assert_int_equal(store_keys_with_ttl(f->store), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(everything_is_there_after_reopening),
        TEST(a_configuration_outlives_later_flushes),
        TEST(a_flushall_stays_done),
        TEST(data_may_exceed_the_cache),
        TEST(batches_are_judged_by_origin),
        TEST(the_clock_never_goes_back),
        TEST(a_damaged_batch_changes_nothing),
        TEST(reading_cannot_write),
        TEST(other_files_are_refused),
        TEST(a_missing_folder_is_an_error),
        TEST(a_failed_flush_stops_the_store),
        TEST(polling_makes_everything_durable),
        TEST(told_to_checkpoint_it_does),
        TEST(due_keys_are_named_in_pieces),
        TEST(a_lost_proposal_is_made_again),
        TEST(far_keys_are_found_without_traffic),
        TEST(windows_miss_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
