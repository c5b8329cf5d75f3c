/* sweep_store.c - the state when memory or its disk fails at any call: it says so, or it answers as ever; what was
 * durable is there afterwards; and the log brings the rest, to the same state. */
#include "tests/sweep/sweep.h"
#include "tests/support/store_fixture.h"

#define ENTRIES 12
#define FLUSH_EVERY 3
#define SEED 7

/* What each entry and each read comes to when nothing fails. */
static struct {
    struct outcome_buf entries[ENTRIES + 1], read;
    uint64_t hash[ENTRIES + 1];
} want;

static char dir[FIXTURE_PATH], incoming[FIXTURE_PATH];

static struct store_options options(void)
{
    struct store_options o = fixture_options(dir);
    o.cache_bytes = 1; /* Rows are read back again and again. */
    o.flush_rows = 1000;
    return o;
}

/* Memory and disks may fail; that is no reason to call the data damaged or foreign. (When SQLite, looking at every
 * page, finds one that cannot be read, it counts that as found, and says so.) words: NULL when there need not be any.
 */
static void assert_honest(int rc, const char *words)
{
    if (rc == STORE_ECORRUPT && words != NULL && strstr(words, "in database main") != NULL)
        return;
    if (sweep_plan.kind == FAILING_SHORT_READ)
        return; /* A file that ends too early is damaged. */
    if (rc != 0 && rc != STORE_ENOMEM && rc != STORE_EIO)
        fail_msg("call %" PRIu64 " failed, and the answer is %d: %s", sweep_plan.nth, rc, words == NULL ? "" : words);
    if (rc != 0 && words != NULL)
        assert_string_not_equal(words, "");
}

static int apply(struct store *s, uint64_t i, struct outcome_buf *out)
{
    struct command_buf b = {0};
    enum store_applied became = STORE_APPLIED;
    failing_pause();
    entry_make(&b, SEED, i);
    failing_resume();
    int rc = store_apply(s, i, 1, b.base, b.len, out, &became);
    if (rc == 0)
        assert_int_equal(became, STORE_APPLIED);
    command_buf_release(&b);
    return rc;
}

static int read_keys(struct store *s, struct outcome_buf *out)
{
    struct command_buf b = {0};
    const struct bytes all = text("*");
    size_t used;
    failing_pause();
    command_add(&b, OP_KEYS, 0, NULL, 0, &all, 1);
    failing_resume();
    int rc = store_read(s, b.base, b.len, store_clock_ms(s), out, &used);
    command_buf_release(&b);
    return rc;
}

static void assert_same(const struct outcome_buf *got, const struct outcome_buf *wanted)
{
    assert_int_equal(got->len, wanted->len);
    assert_memory_equal(got->base, wanted->base, wanted->len);
}

/* ---- The scenarios' parts; 0, or how it failed ---- */

static int apply_entry(struct store *s, uint64_t i)
{
    struct outcome_buf out = {0};
    int rc = apply(s, i, &out);
    if (rc == 0)
        assert_same(&out, &want.entries[i]);
    outcome_buf_release(&out);
    if (rc == 0 && i % FLUSH_EVERY == 0)
        rc = store_flush_now(s);
    if (rc != 0)
        assert_honest(rc, store_error(s));
    return rc;
}

static int read_all(struct store *s)
{
    struct outcome_buf out = {0};
    int rc = read_keys(s, &out);
    if (rc == 0)
        assert_same(&out, &want.read);
    else
        assert_honest(rc, NULL); /* A read that found no memory is no reason to stop. */
    outcome_buf_release(&out);
    return rc;
}

static int apply_all(struct store *s)
{
    int rc = 0;
    for (uint64_t i = store_applied(s) + 1; i <= ENTRIES && rc == 0; i++)
        rc = apply_entry(s, i);
    return rc == 0 ? read_all(s) : rc;
}

/* Nothing fails any more: the file opens, has what was durable, and comes to the same state. */
static void assert_recovers(uint64_t durable)
{
    struct store_options o = options();
    struct store *s = fixture_open(&o);
    assert_true(store_applied(s) >= durable && store_applied(s) <= ENTRIES);
    assert_true(store_hash(s) == want.hash[store_applied(s)]);
    assert_int_equal(apply_all(s), 0);
    assert_true(store_hash(s) == want.hash[ENTRIES]);
    assert_int_equal(store_flush_now(s), 0);
    assert_file_whole(dir);
    store_close(s);
}

static void learn(void)
{
    struct store_options o = options();
    struct store *s = fixture_open(&o);
    want.hash[0] = store_hash(s);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        assert_int_equal(apply(s, i, &want.entries[i]), 0);
        want.hash[i] = store_hash(s);
    }
    assert_int_equal(read_keys(s, &want.read), 0);
    store_abandon(s);
    fixture_empty_dir(dir);
}

/* ---- Open, apply, flush, read, close ---- */

static void scenario_life(void)
{
    struct store_options o = options();
    struct store *s = NULL;
    char error[256] = "";
    uint64_t durable = 0;
    fixture_empty_dir(dir);
    sweep_arm();
    int rc = store_open(&o, error, &s);
    assert_honest(rc, error);
    if (rc == 0) {
        rc = apply_all(s);
        durable = store_durable(s);
        if (rc == 0)
            store_close(s);
        else
            store_abandon(s);
    }
    sweep_disarm();
    assert_recovers(durable);
}

/* A file that is there, with a WAL that was left behind by a crash. */
static void scenario_reopen(void)
{
    struct store_options o = options();
    char error[256] = "";
    fixture_empty_dir(dir);
    struct store *s = fixture_open(&o);
    assert_int_equal(apply_all(s), 0);
    uint64_t durable = store_durable(s);
    store_abandon(s);
    sweep_arm();
    int rc = store_open(&o, error, &s);
    assert_honest(rc, error);
    if (rc == 0) {
        rc = read_all(s);
        store_abandon(s);
    }
    sweep_disarm();
    assert_recovers(durable);
}

/* ---- Snapshots ---- */

static void begin_snapshot(struct store **ret)
{
    struct store_options o = options();
    fixture_empty_dir(dir);
    *ret = fixture_open(&o);
    assert_int_equal(apply_all(*ret), 0);
    assert_int_equal(store_flush_now(*ret), 0);
}

static void scenario_snapshot(void)
{
    struct store *s;
    struct snapshot_info info = {0};
    char error[256] = "";
    begin_snapshot(&s);
    sweep_arm();
    int rc = snapshot_make(dir, incoming, error, &info);
    assert_honest(rc, error);
    if (rc == 0) {
        rc = snapshot_check(incoming, fixture_cluster, error, &info);
        assert_honest(rc, error);
    }
    sweep_disarm();
    if (rc == 0)
        assert_true(info.hash == want.hash[ENTRIES] && info.applied == ENTRIES);
    if (access(incoming, F_OK) == 0) /* What has its name is whole. */
        assert_int_equal(snapshot_check(incoming, fixture_cluster, error, &info), 0);
    unlink(incoming);
    store_abandon(s);
    assert_recovers(ENTRIES);
}

/* A state that is behind gets one that is ahead. */
static void scenario_install(void)
{
    struct store_options o = options();
    struct snapshot_info info;
    struct store *s;
    char error[256];
    begin_snapshot(&s);
    assert_int_equal(snapshot_make(dir, incoming, error, &info), 0);
    store_abandon(s);
    struct content snapshot = content_read(incoming);
    fixture_empty_dir(dir);
    content_write(incoming, snapshot.base, snapshot.len);
    free(snapshot.base);
    s = fixture_open(&o);
    assert_int_equal(apply_entry(s, 1), 0);
    sweep_arm();
    int rc = store_install(s);
    if (rc == 0) {
        assert_true(store_hash(s) == want.hash[ENTRIES] && store_applied(s) == ENTRIES);
        rc = read_all(s);
    } else {
        assert_honest(rc, store_error(s));
    }
    store_abandon(s);
    sweep_disarm();
    assert_recovers(0);
}

#define TEST(scenario, kind, step)                                                                                     \
    static void scenario##_##kind(void **state)                                                                        \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        sweep(FAILING_##kind, step, scenario_##scenario);                                                              \
    }
TEST(life, MEMORY, 83)
TEST(life, FILES, 1)
TEST(life, FULL, 1)
TEST(life, SHORT_READ, 1)
TEST(reopen, MEMORY, 47)
TEST(reopen, FILES, 1)
TEST(reopen, SHORT_READ, 1)
TEST(snapshot, MEMORY, 83)
TEST(snapshot, FILES, 1)
TEST(snapshot, FULL, 1)
TEST(snapshot, SHORT_READ, 1)
TEST(install, MEMORY, 47)
TEST(install, FILES, 1)
TEST(install, FULL, 1)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_MEMORY),     cmocka_unit_test(life_FILES),        cmocka_unit_test(life_FULL),
        cmocka_unit_test(life_SHORT_READ), cmocka_unit_test(reopen_SHORT_READ), cmocka_unit_test(snapshot_SHORT_READ),
        cmocka_unit_test(reopen_MEMORY),   cmocka_unit_test(reopen_FILES),      cmocka_unit_test(snapshot_MEMORY),
        cmocka_unit_test(snapshot_FILES),  cmocka_unit_test(snapshot_FULL),     cmocka_unit_test(install_MEMORY),
        cmocka_unit_test(install_FILES),   cmocka_unit_test(install_FULL),
    };
    failing_init();
    strcpy(dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/holdfast_sweep_XXXXXX" : "/tmp/holdfast_sweep_XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(incoming, sizeof incoming, "%.400s/" STORE_INCOMING, dir);
    learn();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i <= ENTRIES; i++)
        outcome_buf_release(&want.entries[i]);
    outcome_buf_release(&want.read);
    fixture_remove_dir(dir);
    return failed;
}
