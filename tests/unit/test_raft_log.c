/* test_raft_log.c - the log against a model: append, replace, read, cut, reset, reopen; spares; failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/logmodel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT (16u << 10)

static uint64_t seed;

static int setup(void **state)
{
    struct logmodel *m = calloc(1, sizeof *m);
    logmodel_init(m, seed, SEGMENT, 2, 4096);
    *state = m;
    return m == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    struct logmodel *m = *state;
    logmodel_release(m);
    free(m);
    return 0;
}

static size_t count_names(struct fakedisk *d, const char *prefix);

/* ---- Plain behaviour ---- */

static void new_directory(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    assert_true(log_is_new(m->l));
    assert_int_equal(log_start(m->l), 1);
    assert_int_equal(log_first(m->l), 1);
    assert_int_equal(log_last(m->l), 0);
    assert_int_equal(log_durable(m->l), 0);
    logmodel_close(m);
    assert_int_equal(logmodel_open(m), 0);
    assert_true(log_is_new(m->l)); /* Nothing was stored but the start. */
    assert_int_equal(log_start(m->l), 2);
    assert_int_equal(logmodel_vote(m, 1, 3), 0);
    logmodel_close(m);
    assert_int_equal(logmodel_open(m), 0);
    assert_false(log_is_new(m->l));
}

/* What comes while a write is under way makes one group, with one sync and one report. */
static void appends_share_a_sync(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    fakedisk_run_all(m->d);
    for (int i = 0; i < 50; i++)
        logmodel_append(m, 2);
    assert_int_equal(log_last(m->l), 100);
    assert_int_equal(log_durable(m->l), 0);
    fakedisk_run_all(m->d);
    assert_int_equal(log_durable(m->l), 100);
    assert_true(log_sync_count(m->l) <= 6); /* One for the first, the rest by what fits a segment. */
    assert_int_equal(m->reports, log_sync_count(m->l));
    logmodel_check(m);
}

/* A truncation while the write is under way: only what is still in the log is reported. */
static void truncated_under_way(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    logmodel_append(m, 10);
    assert_true(fakedisk_work_one(m->d, IO_LANE_LOG));
    logmodel_replace(m, 6, 3);
    fakedisk_deliver(m->d);
    assert_int_equal(log_durable(m->l), 5);
    assert_true(fakedisk_work_one(m->d, IO_LANE_LOG));
    logmodel_replace(m, 6, 1);
    fakedisk_deliver(m->d);
    assert_int_equal(m->reports, 1); /* Nothing of that group is left. */
    fakedisk_run_all(m->d);
    assert_int_equal(log_durable(m->l), 6);
    logmodel_check(m);
    logmodel_close(m);
    assert_int_equal(logmodel_open(m), 0);
    assert_int_equal(log_last(m->l), 6);
}

static void reset_while_writing(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    logmodel_append(m, 10);
    logmodel_reset(m, 50);
    assert_int_equal(log_first(m->l), 51);
    assert_int_equal(log_last(m->l), 50);
    logmodel_append(m, 3);
    fakedisk_run_one(m->d, IO_LANE_LOG);
    assert_int_equal(m->reports, 0);
    fakedisk_run_one(m->d, IO_LANE_LOG);
    assert_int_equal(m->reports, 1); /* The reset by itself, */
    assert_int_equal(log_durable(m->l), 50);
    fakedisk_run_all(m->d); /* then the rest. */
    assert_int_equal(log_durable(m->l), 53);
    assert_int_equal(count_names(m->d, "log-"), 1);
    logmodel_close(m);
    assert_int_equal(logmodel_open(m), 0);
    assert_int_equal(log_first(m->l), 51);
    assert_int_equal(log_last(m->l), 53);
}

/* A second reset before the first one is reported: only the second counts. */
static void reset_twice(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    logmodel_append(m, 10);
    fakedisk_run_all(m->d);
    logmodel_reset(m, 40);
    assert_true(fakedisk_work_one(m->d, IO_LANE_LOG));
    logmodel_reset(m, 60);
    unsigned reports = m->reports;
    fakedisk_deliver(m->d);
    assert_int_equal(m->reports, reports);
    fakedisk_run_all(m->d);
    assert_int_equal(log_durable(m->l), 60);
    logmodel_close(m);
    assert_int_equal(logmodel_open(m), 0);
    assert_int_equal(log_first(m->l), 61);
    assert_int_equal(count_names(m->d, "log-"), 1);
}

/* Only what is durable and applied leaves memory, and it can still be read. */
static void memory_is_bounded(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    for (int i = 0; i < 30; i++)
        logmodel_append(m, 10);
    assert_non_null(log_get(m->l, 1));
    fakedisk_run_all(m->d);
    assert_non_null(log_get(m->l, 1)); /* Not applied yet. */
    logmodel_apply(m, 200);
    assert_null(log_get(m->l, 200));
    assert_non_null(log_get(m->l, 201));
    logmodel_apply(m, 300);
    assert_null(log_get(m->l, 201));
    assert_non_null(log_get(m->l, 300));
    logmodel_check(m);
}

/* ---- Spares ---- */

struct counting {
    const char *prefix;
    size_t n;
};

static void count_name(void *ctx, const char *name)
{
    struct counting *c = ctx;
    c->n += strncmp(name, c->prefix, strlen(c->prefix)) == 0;
}

static size_t count_names(struct fakedisk *d, const char *prefix)
{
    struct counting c = {prefix, 0};
    fakedisk_names(d, count_name, &c);
    return c.n;
}

/* In the long run files go round: no more of them than are needed. */
static void files_are_recycled(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    for (int i = 0; i < 600; i++) {
        logmodel_append(m, 5);
        fakedisk_run_all(m->d);
        logmodel_apply(m, log_last(m->l));
        logmodel_cut(m, log_last(m->l) > 50 ? log_last(m->l) - 50 : 0);
        fakedisk_run_all(m->d);
        assert_true(count_names(m->d, "log-") <= 6);
        assert_int_equal(count_names(m->d, "spare-"), 2);
    }
    logmodel_check(m);
    assert_true(log_first(m->l) > 2500);
    assert_true(log_disk_bytes(m->l) < 8 * SEGMENT);
}

/* A full disk: said at once, lived with as long as it goes, and over when there is room again. */
static void full_disk(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    fakedisk_run_all(m->d);
    assert_true(log_has_reserve(m->l));
    logmodel_append(m, 20); /* Moves to one spare; ... */
    fakedisk_room(m->d, 3 * SEGMENT);
    fakedisk_run_all(m->d);
    assert_false(log_has_reserve(m->l)); /* ... another one cannot be made. */
    assert_int_equal(m->failures, 0);
    for (int i = 0; i < 10; i++)
        logmodel_append(m, 5); /* Into the reserve. */
    fakedisk_run_all(m->d);
    assert_int_equal(m->failures, 0);
    assert_int_equal(log_durable(m->l), log_last(m->l));
    fakedisk_room(m->d, UINT64_MAX);
    fakedisk_advance(m->d, 1001);
    log_has_reserve(m->l); /* Asking tries again. */
    fakedisk_run_all(m->d);
    assert_true(log_has_reserve(m->l));
    fakedisk_room(m->d, 0);
    for (int i = 0; i < 300; i++)
        logmodel_append(m, 10);
    fakedisk_run_all(m->d);
    assert_int_equal(m->failures, 1);
    assert_non_null(strstr(m->error, "no space left"));
    logmodel_kill(m);
    fakedisk_room(m->d, UINT64_MAX);
    assert_int_equal(logmodel_open(m), 0); /* Everything promised is there. */
}

/* ---- Failing calls ---- */

/* Whatever call of a write fails: said once, nothing is written or reported after that, and what was promised is there
 * after a restart. */
static void one_failing_call(uint64_t call, enum fakedisk_fault fault, bool *ret_more)
{
    struct logmodel *m = calloc(1, sizeof *m);
    logmodel_init(m, seed, SEGMENT, 0, 0);
    assert_int_equal(logmodel_open(m), 0);
    uint64_t fail_at = fakedisk_calls(m->d) + call;
    fakedisk_fail_at(m->d, fail_at, fault);
    for (int i = 0; i < 40; i++) {
        logmodel_append(m, 4);
        fakedisk_run_one(m->d, IO_LANE_LOG);
    }
    fakedisk_run_all(m->d);
    *ret_more = fakedisk_calls(m->d) > fail_at;
    if (m->failures > 0) {
        uint64_t calls = fakedisk_calls(m->d);
        unsigned reports = m->reports;
        assert_int_equal(m->failures, 1);
        logmodel_append(m, 4);
        assert_int_equal(logmodel_vote(m, 9, 9), LOG_EIO);
        fakedisk_run_all(m->d);
        assert_int_equal(m->failures, 1);
        assert_int_equal(m->reports, reports);
        assert_int_equal(fakedisk_calls(m->d), calls);
    } else {
        assert_int_equal(m->state.promised, m->state.last); /* Reserving space may fail. */
    }
    logmodel_crash(m);
    assert_int_equal(logmodel_open(m), 0);
    logmodel_release(m);
    free(m);
}

static void failing_calls(void **state)
{
    (void)state;
    bool more = true;
    for (uint64_t call = 0; more; call++)
        one_failing_call(call, FAKEDISK_ERROR, &more);
    more = true;
    for (uint64_t call = 0; more; call++)
        one_failing_call(call, FAKEDISK_FULL, &more);
}

static void failing_vote(void **state)
{
    struct logmodel *m = *state;
    assert_int_equal(logmodel_open(m), 0);
    fakedisk_run_all(m->d);
    assert_int_equal(logmodel_vote(m, 5, 2), 0);
    fakedisk_fail_at(m->d, fakedisk_calls(m->d) + 1, FAKEDISK_ERROR); /* The first of two syncs. */
    assert_int_equal(logmodel_vote(m, 6, 1), LOG_EIO);
    uint64_t calls = fakedisk_calls(m->d);
    logmodel_append(m, 3); /* The node must stop; until it does, nothing is written. */
    fakedisk_run_all(m->d);
    assert_int_equal(fakedisk_calls(m->d), calls);
    logmodel_crash(m);
    assert_int_equal(logmodel_open(m), 0);
    assert_int_equal(log_term(m->l), 5);
}

/* ---- At random ---- */

static void random_life(uint64_t s, unsigned spares, size_t memory_bytes)
{
    struct logmodel *m = calloc(1, sizeof *m);
    logmodel_init(m, s, SEGMENT, spares, memory_bytes);
    assert_int_equal(logmodel_open(m), 0);
    for (int i = 0; i < 1500; i++) {
        logmodel_act(m);
        assert_int_equal(m->failures, 0);
        if (logmodel_roll(m, 100) == 0)
            logmodel_check(m);
        if (logmodel_roll(m, 150) == 0) {
            logmodel_close(m);
            assert_int_equal(m->state.promised, m->state.last);
            uint64_t last = m->state.last;
            assert_int_equal(logmodel_open(m), 0);
            assert_int_equal(log_last(m->l), last);
        }
    }
    logmodel_release(m);
    free(m);
}

static void random_lives(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20; i++)
        random_life(seed + i, (unsigned)(i % 3), i % 2 == 0 ? 0 : 8192);
}

int main(void)
{
    seed = logmodel_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(new_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(appends_share_a_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(truncated_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_while_writing, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_recycled, setup, teardown),
        cmocka_unit_test_setup_teardown(full_disk, setup, teardown),
        cmocka_unit_test(failing_calls),
        cmocka_unit_test_setup_teardown(failing_vote, setup, teardown),
        cmocka_unit_test(random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
