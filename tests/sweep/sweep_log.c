/* sweep_log.c - the log when memory or its disk fails at any call: it says so and writes no more, or it works; what it
 * said was durable is there after the crash that follows, and so are term and vote. */
#include "raft/log.h"
#include "tests/support/fakedisk.h"
#include "tests/sweep/sweep.h"

#define SEGMENT_BYTES 16384
#define PAYLOAD_BYTES 900

/* A log, and what it promised. */
struct life {
    struct fakedisk *disk;
    struct log *log;
    bool failed;
    uint64_t durable, base, term, vote;
};

static void on_durable(void *ctx, uint64_t index, uint64_t term)
{
    struct life *l = ctx;
    assert_true(term > 0);
    l->durable = index;
}

static void on_failed(void *ctx, const char *why)
{
    struct life *l = ctx;
    assert_string_not_equal(why, "");
    l->failed = true;
}

static int life_open(struct life *l)
{
    char error[256] = "";
    struct log_options o = {.cluster_id = "sweep",
                            .node_id = 1,
                            .segment_bytes = SEGMENT_BYTES,
                            .memory_bytes = 2000,
                            .spares = 2,
                            .on_durable = on_durable,
                            .on_failed = on_failed,
                            .ctx = l};
    int rc = log_open(fakedisk_io(l->disk), &o, error, &l->log);
    if (rc == 0)
        return 0;
    l->log = NULL;
    if (rc != LOG_ENOMEM && rc != LOG_EIO && rc != LOG_ENOSPC)
        fail_msg("call %" PRIu64 " failed, and the log says %d: %s", sweep_plan.nth, rc, error);
    assert_string_not_equal(error, "");
    return rc;
}

/* An entry's bytes follow from its index and term. */
static int append(struct life *l, uint64_t index, uint64_t term)
{
    uint8_t payload[PAYLOAD_BYTES];
    memset(payload, (int)(index * 7 + term), sizeof payload);
    failing_pause();
    struct log_entry e = {
        .term = term, .type = LOG_COMMAND, .blob = blob_copy(payload, sizeof payload), .len = sizeof payload};
    failing_resume();
    if (index <= l->durable)
        l->durable = index - 1; /* Replaced. */
    int rc = log_append(l->log, index, &e, 1);
    blob_unref(e.blob);
    return rc;
}

static int append_many(struct life *l, uint64_t first, uint64_t n, uint64_t term)
{
    for (uint64_t i = first; i < first + n; i++) {
        int rc = append(l, i, term);
        if (rc != 0)
            return rc;
        if (i % 4 == 0)
            fakedisk_run_all(l->disk);
    }
    fakedisk_run_all(l->disk);
    return l->failed ? LOG_EIO : 0;
}

static void assert_entry(const struct log_entry *e, uint64_t index)
{
    assert_int_equal(e->len, PAYLOAD_BYTES);
    for (size_t i = 0; i < e->len; i++)
        assert_int_equal(e->blob->bytes[e->offset + i], (uint8_t)(index * 7 + e->term));
}

/* Each entry, from memory or disk, is the one that was written, or its reading fails and says so. */
static int read_all(struct life *l)
{
    for (uint64_t i = log_first(l->log); i <= log_last(l->log); i++) {
        struct log_entry e;
        int rc = log_read(l->log, i, &e);
        if (rc == LOG_ENOMEM || rc == LOG_EIO)
            return rc;
        assert_int_equal(rc, 0);
        assert_entry(&e, i);
        blob_unref(e.blob);
    }
    return 0;
}

static int vote(struct life *l, uint64_t term)
{
    int rc = log_set_vote(l->log, term, 3);
    if (rc != 0)
        return rc;
    l->term = term;
    l->vote = 3;
    return 0;
}

/* 0, or how it failed. */
static int live(struct life *l)
{
    int rc = vote(l, 1);
    if (rc == 0)
        rc = append_many(l, log_last(l->log) + 1, 30, 1);
    if (rc == 0)
        rc = vote(l, 2);
    if (rc == 0)
        rc = append_many(l, log_last(l->log) - 5, 20, 2);
    if (rc != 0)
        return rc;
    log_applied(l->log, log_last(l->log)); /* Most of it leaves memory. */
    rc = read_all(l);
    if (rc != 0)
        return rc;
    log_cut(l->log, log_last(l->log) - 10);
    fakedisk_run_all(l->disk);
    rc = log_reset(l->log, log_last(l->log) + 100, 2);
    if (rc != 0)
        return rc;
    l->base = log_last(l->log);
    fakedisk_run_all(l->disk);
    return l->failed ? LOG_EIO : append_many(l, l->base + 1, 5, 2);
}

static void life_end(struct life *l)
{
    log_close(l->log);
    l->log = NULL;
    fakedisk_run_all(l->disk);
}

/* After the crash nothing fails any more. */
static void assert_recovers(struct life *l)
{
    uint64_t durable = l->durable;
    fakedisk_crash(l->disk);
    l->failed = false;
    assert_int_equal(life_open(l), 0);
    assert_true(log_term(l->log) >= l->term);
    if (log_term(l->log) == l->term)
        assert_int_equal(log_vote(l->log), l->vote);
    assert_true(log_last(l->log) >= durable);
    assert_int_equal(read_all(l), 0);
    assert_int_equal(append_many(l, log_last(l->log) + 1, 3, 9), 0);
    assert_int_equal(l->durable, log_last(l->log));
    life_end(l);
}

/* ---- Scenarios ---- */

/* With nothing failing it all must work, or the sweep ends before it has begun. */
static void sweep_life(struct life *l)
{
    sweep_arm();
    int rc = life_open(l);
    if (rc == 0)
        rc = live(l);
    life_end(l);
    if (!sweep_disarm())
        assert_int_equal(rc, 0);
    assert_recovers(l);
    fakedisk_free(l->disk);
}

static void scenario_life(void)
{
    struct life l = {.disk = fakedisk_new(5)};
    sweep_life(&l);
}

static void scenario_reopen(void)
{
    struct life l = {.disk = fakedisk_new(6)};
    assert_int_equal(life_open(&l), 0);
    assert_int_equal(vote(&l, 1), 0);
    assert_int_equal(append_many(&l, 1, 40, 1), 0);
    life_end(&l);
    sweep_life(&l);
}

static void life_memory(void **state)
{
    (void)state;
    sweep(FAILING_MEMORY, 1, scenario_life);
}

static void reopen_memory(void **state)
{
    (void)state;
    sweep(FAILING_MEMORY, 1, scenario_reopen);
}

/* The disk has faults of its own: the call alone, or, when it is full, all after it until there is room. */
static void sweep_disk(enum fakedisk_fault fault, bool reopened)
{
    uint64_t n = 0;
    for (bool more = true; more; n++) {
        struct life l = {.disk = fakedisk_new(n)};
        if (reopened) {
            assert_int_equal(life_open(&l), 0);
            assert_int_equal(append_many(&l, 1, 40, 1), 0);
            life_end(&l);
        }
        uint64_t at = fakedisk_calls(l.disk) + n;
        fakedisk_fail_at(l.disk, at, fault);
        sweep_plan.nth = n;
        int rc = life_open(&l);
        if (rc == 0)
            rc = live(&l);
        life_end(&l);
        more = fakedisk_calls(l.disk) > at;
        if (!more)
            assert_int_equal(rc, 0);
        fakedisk_room(l.disk, UINT64_MAX);
        assert_recovers(&l);
        fakedisk_free(l.disk);
    }
    print_message("%" PRIu64 " runs\n", n);
}

static void disk_fails(void **state)
{
    (void)state;
    sweep_disk(FAKEDISK_ERROR, false);
    sweep_disk(FAKEDISK_ERROR, true);
}

static void disk_is_full(void **state)
{
    (void)state;
    sweep_disk(FAKEDISK_FULL, false);
    sweep_disk(FAKEDISK_FULL, true);
}

static void power_goes(void **state)
{
    (void)state;
    sweep_disk(FAKEDISK_POWER, false);
    sweep_disk(FAKEDISK_POWER, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_memory),  cmocka_unit_test(reopen_memory), cmocka_unit_test(disk_fails),
        cmocka_unit_test(disk_is_full), cmocka_unit_test(power_goes),
    };
    failing_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
