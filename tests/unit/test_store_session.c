/* test_store_session.c - sessions live as long as they are named, and what is done once stays done once. */
#include "tests/support/store_coord.h"
#include "store/session.h"
#include <sqlite3.h>

#define EXPIRED "!10" /* REFUSAL_SESSION_EXPIRED */

static void ids_grow_and_names_are_told(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "first", 5000), b = coord_open(f, "", 5000);
    char want[256];
    assert_true(b > a && a > 0);
    f->clock_ms += 40;
    snprintf(want, sizeof want,
             "{id: %" PRIu64 ", name: 'first', ttl: 5000, left: 4960, age: 40, acknowledged: 0, last-serial: 0, "
             "answers: 0, locks: []}",
             a);
    assert_string_equal(coord_session(f, OP_SESSION_INFO, a), want);
    assert_string_equal(coord_session(f, OP_SESSION_INFO, b + 1), EXPIRED);
    assert_int_equal(store_keys(f->store), 0); /* They are no keys. */
}

static void a_session_ends_when_nothing_names_it(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 1000), b = coord_open(f, "b", 1000);
    for (int i = 0; i < 5; i++) {
        coord_pass(f, 900);
        assert_string_equal(coord_session(f, OP_SESSION_KEEPALIVE, b), "OK");
    }
    assert_string_equal(coord_session(f, OP_SESSION_KEEPALIVE, a), EXPIRED);
    coord_pass(f, 999);
    assert_string_equal(coord_session(f, OP_SESSION_KEEPALIVE, b), "OK");
    coord_pass(f, 1000);
    assert_string_equal(coord_session(f, OP_SESSION_KEEPALIVE, b), EXPIRED);
    assert_string_equal(coord_session(f, OP_SESSION_CLOSE, b), EXPIRED);
}

/* The leader has named it, and before that entry a renewal gets into the log. */
static void a_renewal_that_is_in_the_log_first_wins(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 1000);
    struct command_buf due = {0};
    f->clock_ms += 1000;
    assert_int_equal(store_due(f->store, f->clock_ms, 10, &due), 1);
    assert_int_equal(due.base[0], OP_SESSION_EXPIRED);
    assert_string_equal(coord_session(f, OP_SESSION_KEEPALIVE, a), "OK");
    f->clock_ms += 5000; /* By its clock the entry finds the session due again, but of another version. */
    coord_apply(f, &due, 1);
    assert_string_equal(coord_text(f), "0");
    assert_string_equal(coord_session(f, OP_SESSION_KEEPALIVE, a), "OK");
    command_buf_release(&due);
    coord_pass(f, 1000);
    assert_string_equal(coord_session(f, OP_SESSION_KEEPALIVE, a), EXPIRED);
}

static void a_naming_that_was_lost_is_repeated(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 1000);
    struct command_buf due = {0};
    f->clock_ms += 1000;
    assert_int_equal(store_due(f->store, f->clock_ms, 10, &due), 1); /* Never gets into the log. */
    command_buf_release(&due);
    coord_pass(f, 3000);
    assert_string_equal(coord_session(f, OP_SESSION_INFO, a), EXPIRED);
}

static void once_is_once(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 1000);
    const struct coord_command incr = coord_incr("n", 5),
                               set = {.op = OP_SET, .args = {text("s"), text("v")}, .n_args = 2};
    assert_string_equal(coord_once(f, a, 1, 0, &incr), "5");
    assert_string_equal(coord_once(f, a, 1, 0, &incr), "5");
    assert_string_equal(coord_once(f, a, 2, 0, &set), "OK");
    assert_string_equal(coord_once(f, a, 1, 0, &incr), "5");
    assert_string_equal(coord_once(f, a, 3, 2, &incr), "10"); /* Acknowledges 1 and 2. */
    assert_string_equal(coord_once(f, a, 3, 2, &incr), "10");
    assert_string_equal(coord_once(f, a, 2, 0, &set), "!11 2");
    assert_string_equal(coord_get(f, "n"), "'10'");
    /* A refusal is an answer, too. */
    const struct coord_command bad = coord_incr("s", 1);
    assert_string_equal(coord_once(f, a, 4, 3, &bad), "!2");
    const struct coord_command good = coord_incr("fresh", 1);
    assert_string_equal(coord_once(f, a, 4, 3, &good), "!2");
    assert_string_equal(coord_get(f, "fresh"), "nil");
    coord_reopen(f);
    assert_string_equal(coord_once(f, a, 4, 3, &good), "!2");
    assert_string_equal(coord_once(f, a, 3, 2, &incr), "!11 3");
}

static void serials_may_come_out_of_order(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 1000);
    const struct coord_command incr = coord_incr("n", 1);
    assert_string_equal(coord_once(f, a, 9, 0, &incr), "1");
    assert_string_equal(coord_once(f, a, 7, 0, &incr), "2");
    assert_string_equal(coord_once(f, a, 8, 6, &incr), "3");
    assert_string_equal(coord_once(f, a, 9, 6, &incr), "1");
    assert_string_equal(coord_once(f, a, 7, 6, &incr), "2");
    assert_string_equal(coord_once(f, a, 6, 0, &incr), "!11 6");
}

static void every_once_renews(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 1000);
    const struct coord_command incr = coord_incr("n", 1);
    for (int64_t i = 1; i < 5; i++) {
        coord_pass(f, 900);
        coord_once(f, a, i, 0, &incr);
        coord_pass(f, 900);
        coord_once(f, a, i, 0, &incr); /* A repeat does, too. */
    }
    assert_string_equal(coord_get(f, "n"), "'4'");
    coord_pass(f, 1000);
    assert_string_equal(coord_once(f, a, 5, 0, &incr), EXPIRED);
    assert_string_equal(coord_get(f, "n"), "'4'"); /* Nothing was run. */
}

/* However many answers there are, a bounded number is kept, and those let go are refused, never run again. */
static void memory_is_bounded(void **state)
{
    struct coord *f = *state;
    static char big[SESSION_ANSWERS_BYTES_MAX / 4];
    uint64_t a = coord_open(f, "a", 1000);
    const struct coord_command incr = coord_incr("n", 1);
    const int64_t n = SESSION_ANSWERS_MAX + 10;
    for (int64_t i = 1; i <= n; i++)
        coord_once(f, a, i, 0, &incr);
    assert_string_equal(coord_once(f, a, 10, 0, &incr), "!11 10");
    assert_string_equal(coord_once(f, a, 11, 0, &incr), "11");
    memset(big, 'x', sizeof big - 1);
    const struct coord_command set = {.op = OP_SET, .args = {text("big"), text(big)}, .n_args = 2};
    const struct coord_command getset = {.op = OP_SET, .flags = CMD_GET, .args = {text("big"), text(big)}, .n_args = 2};
    coord_run(f, &set);
    for (int64_t i = 1; i <= 10; i++)
        coord_once(f, a, n + i, 0, &getset);
    char past[32];
    snprintf(past, sizeof past, "!11 %" PRId64, n + 7); /* Three of a quarter each and their heads fit. */
    assert_string_equal(coord_once(f, a, n + 7, 0, &incr), past);
    coord_once(f, a, n + 8, 0, &incr);
    assert_int_equal(f->out.base[0], OUTCOME_BULK);
}

static void an_answer_too_large_is_not_kept(void **state)
{
    struct coord *f = *state;
    size_t len = SESSION_ANSWERS_BYTES_MAX;
    char *huge = malloc(len + 1);
    memset(huge, 'x', len);
    huge[len] = '\0';
    uint64_t a = coord_open(f, "a", 1000);
    const struct coord_command set = {.op = OP_SET, .args = {text("big"), text(huge)}, .n_args = 2};
    const struct coord_command getdel = {.op = OP_GETDEL, .args = {text("big")}, .n_args = 1};
    coord_run(f, &set);
    coord_once(f, a, 1, 0, &getdel);
    assert_true(f->out.len > len);
    assert_string_equal(coord_once(f, a, 1, 0, &getdel), "!12");
    free(huge);
}

static void what_may_not_be_nested_is_refused(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 1000);
    const struct coord_command close = {OP_SESSION_CLOSE, .n_nums = 1, .nums = {(int64_t)a}};
    const struct coord_command tick = {OP_TICK};
    assert_string_equal(coord_once(f, a, 1, 0, &close), "!9");
    assert_string_equal(coord_once(f, a, 1, 0, &tick), "!9");
    const struct coord_command junk = {OP_ONCE, .n_nums = 3, .nums = {(int64_t)a, 1, 0}, .args = {text("no command")},
                                       .n_args = 1};
    assert_string_equal(coord_run(f, &junk), "!9");
    const struct coord_command incr = coord_incr("n", 1);
    assert_string_equal(coord_once(f, a, 1, 0, &incr), "1"); /* The serial is still free. */
}

static void flushall_leaves_sessions(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 1000);
    const struct coord_command incr = coord_incr("n", 1), flush = {OP_FLUSHALL};
    assert_string_equal(coord_once(f, a, 1, 0, &incr), "1");
    assert_string_equal(coord_once(f, a, 2, 0, &flush), "OK");
    assert_string_equal(coord_once(f, a, 1, 0, &incr), "1");
    assert_string_equal(coord_get(f, "n"), "nil");
    coord_pass(f, 1000);
    assert_string_equal(coord_session(f, OP_SESSION_INFO, a), EXPIRED);
}

/* Far more than fit the cache, each renewed a few times: none ends early, and all end. */
static void many_sessions(void **state)
{
    struct coord *f = *state;
    enum { N = 20000 };
    uint64_t first = coord_open(f, "worker", 60000), last = first;
    struct command_buf b = {0};
    for (int i = 1; i < N; i++)
        last = coord_open(f, "worker", 60000);
    assert_int_equal(last - first, N - 1);
    for (int round = 0; round < 4; round++) {
        b.len = 0;
        for (uint64_t id = first; id <= last; id++) {
            int64_t num = (int64_t)id;
            command_add(&b, OP_SESSION_KEEPALIVE, 0, &num, 1, NULL, 0);
        }
        coord_pass(f, 40000);
        coord_apply(f, &b, N);
        for (size_t i = 0; i < f->out.len; i++)
            assert_int_equal(f->out.base[i], OUTCOME_OK);
        assert_int_equal(store_flush_now(f->store), 0);
    }
    command_buf_release(&b);
    for (int i = 0; i < 40; i++)
        assert_int_equal(store_poll(f->store, 0), 0);
    assert_true(store_cache_bytes(f->store) < 2 << 20);
    coord_pass(f, 60000);
    const struct coord_command list = {OP_SESSION_LIST};
    assert_string_equal(coord_read(f, &list), "[]");
    assert_file_whole(f->dir);
}

/* A shell's view of a copy. */
static void the_view_shows_sessions(void **state)
{
    struct coord *f = *state;
    char path[FIXTURE_PATH], row[256] = "";
    const struct coord_command incr = coord_incr("n", 1);
    uint64_t a = coord_open(f, "the name", 700);
    coord_once(f, a, 300, 299, &incr);
    assert_int_equal(store_flush_now(f->store), 0);
    fixture_path(path, f->dir, STORE_FILE);
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT id || '|' || name || '|' || ttl_ms || '|' || expire_ms || '|' || opened_ms "
                           "|| '|' || acknowledged || '|' || last_serial || '|' || answers FROM sessions",
                           -1, &stmt, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    snprintf(row, sizeof row, "%" PRIu64 "|the name|700|1000700|1000000|299|300|1", a);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), row);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ids_grow_and_names_are_told, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_session_ends_when_nothing_names_it, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_renewal_that_is_in_the_log_first_wins, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_naming_that_was_lost_is_repeated, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(once_is_once, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(serials_may_come_out_of_order, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(every_once_renews, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(memory_is_bounded, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(an_answer_too_large_is_not_kept, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(what_may_not_be_nested_is_refused, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(flushall_leaves_sessions, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(many_sessions, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(the_view_shows_sessions, coord_setup, coord_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
