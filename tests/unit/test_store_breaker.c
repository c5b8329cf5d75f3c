/* test_store_breaker.c - a breaker opens, lets few try, and closes, for all who use it. */
#include "tests/support/store_coord.h"
#include "store/breaker.h"

#define FAILURES 3
#define WINDOW_MS 1000
#define COOLDOWN_MS 500
#define PROBES 2

static const char *run(struct coord *f, enum breaker_verb verb)
{
    const struct coord_command c = {.op = OP_BREAKER,
                                    .n_nums = 5,
                                    .nums = {verb, FAILURES, WINDOW_MS, COOLDOWN_MS, PROBES},
                                    .args = {text("b")},
                                    .n_args = 1};
    return coord_run(f, &c);
}

static bool exists(struct coord *f)
{
    return coord_read(f, &(const struct coord_command){OP_EXISTS, .args = {text("b")}, .n_args = 1})[0] == '1';
}

static void open_it(struct coord *f)
{
    for (int i = 0; i < FAILURES; i++)
        run(f, BREAKER_FAILURE);
    assert_string_equal(run(f, BREAKER_STATE), "['open' 'cooldown' 0 500]");
}

static void half_open_it(struct coord *f)
{
    open_it(f);
    coord_pass(f, COOLDOWN_MS);
    assert_string_equal(run(f, BREAKER_STATE), "['half-open' 'probe' 1 0]");
}

static void failures_within_the_window_open_it(void **state)
{
    struct coord *f = *state;
    assert_string_equal(run(f, BREAKER_ALLOW), "['closed' 'ok' 1 0]");
    assert_false(exists(f));
    run(f, BREAKER_FAILURE);
    run(f, BREAKER_FAILURE);
    assert_string_equal(run(f, BREAKER_SUCCESS), "['closed' 'ok' 1 0]"); /* Forgives nothing. */
    coord_pass(f, WINDOW_MS - 1);
    assert_string_equal(run(f, BREAKER_FAILURE), "['open' 'failures' 0 500]");
    assert_string_equal(run(f, BREAKER_ALLOW), "['open' 'cooldown' 0 500]");
    coord_pass(f, 1);
    assert_string_equal(run(f, BREAKER_FAILURE), "['open' 'cooldown' 0 499]"); /* Of a call that began before. */
    assert_string_equal(run(f, BREAKER_SUCCESS), "['open' 'cooldown' 0 499]");
}

static void failures_leave_the_window_and_the_row_with_them(void **state)
{
    struct coord *f = *state;
    run(f, BREAKER_FAILURE);
    coord_pass(f, 500);
    run(f, BREAKER_FAILURE);
    coord_pass(f, 500); /* The first is out of it. */
    assert_string_equal(run(f, BREAKER_FAILURE), "['closed' 'ok' 1 0]");
    assert_true(exists(f));
    coord_pass(f, WINDOW_MS);
    assert_false(exists(f));
}

static void few_try_when_it_is_half_open(void **state)
{
    struct coord *f = *state;
    half_open_it(f);
    assert_string_equal(run(f, BREAKER_SUCCESS), "['half-open' 'probe' 1 0]"); /* No probe is out: not heard. */
    assert_string_equal(run(f, BREAKER_FAILURE), "['half-open' 'probe' 1 0]");
    assert_string_equal(run(f, BREAKER_ALLOW), "['half-open' 'probe' 1 0]");
    coord_pass(f, 100);
    coord_reopen(f);
    assert_string_equal(run(f, BREAKER_ALLOW), "['half-open' 'probe' 1 0]");
    assert_string_equal(run(f, BREAKER_ALLOW), "['half-open' 'probes out' 0 400]");
    assert_string_equal(run(f, BREAKER_SUCCESS), "['closed' 'probe succeeded' 1 0]");
    assert_false(exists(f));
}

static void a_probe_that_fails_opens_it_again(void **state)
{
    struct coord *f = *state;
    half_open_it(f);
    run(f, BREAKER_ALLOW);
    assert_string_equal(run(f, BREAKER_FAILURE), "['open' 'probe failed' 0 500]");
    coord_pass(f, COOLDOWN_MS);
    assert_string_equal(run(f, BREAKER_ALLOW), "['half-open' 'probe' 1 0]");
}

static void a_probe_that_never_reports_is_given_back(void **state)
{
    struct coord *f = *state;
    half_open_it(f);
    for (int i = 0; i < PROBES; i++)
        run(f, BREAKER_ALLOW);
    coord_pass(f, COOLDOWN_MS - 1);
    assert_string_equal(run(f, BREAKER_ALLOW), "['half-open' 'probes out' 0 1]");
    coord_pass(f, 1);
    for (int i = 0; i < PROBES; i++)
        assert_string_equal(run(f, BREAKER_ALLOW), "['half-open' 'probe' 1 0]");
    assert_string_equal(run(f, BREAKER_ALLOW), "['half-open' 'probes out' 0 500]");
}

static void it_is_reset_and_forgotten(void **state)
{
    struct coord *f = *state;
    open_it(f);
    assert_string_equal(run(f, BREAKER_RESET), "['closed' 'reset' 1 0]");
    assert_false(exists(f));
    assert_string_equal(run(f, BREAKER_RESET), "['closed' 'reset' 1 0]");
    open_it(f);
    coord_pass(f, 2 * COOLDOWN_MS + WINDOW_MS - 1);
    assert_true(exists(f));
    coord_pass(f, 1);
    assert_false(exists(f));
}

static void what_no_encoder_writes_is_refused(void **state)
{
    struct coord *f = *state;
    static const int64_t bad[][5] = {
        {BREAKER_VERB_N, 1, 1, 1, 1},           {-1, 1, 1, 1, 1}, {0, 0, 1, 1, 1},
        {0, BREAKER_FAILURES_MAX + 1, 1, 1, 1}, {0, 1, 0, 1, 1},  {0, 1, 1, BREAKER_MS_MAX + 1, 1},
        {0, 1, 1, 1, BREAKER_PROBES_MAX + 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct coord_command c = {.op = OP_BREAKER, .n_nums = 5, .args = {text("b")}, .n_args = 1};
        memcpy(c.nums, bad[i], sizeof bad[i]);
        assert_string_equal(coord_run(f, &c), "!9");
    }
    coord_run(f, &(const struct coord_command){OP_SET, .args = {text("b"), text("v")}, .n_args = 2});
    assert_string_equal(run(f, BREAKER_ALLOW), "!1"); /* WRONGTYPE */
}

/* The most failures there may be, and settings that change under way. */
static void many_failures_are_kept(void **state)
{
    struct coord *f = *state;
    struct coord_command c = {.op = OP_BREAKER,
                              .n_nums = 5,
                              .nums = {BREAKER_FAILURE, BREAKER_FAILURES_MAX, WINDOW_MS, COOLDOWN_MS, PROBES},
                              .args = {text("b")},
                              .n_args = 1};
    for (int i = 1; i < BREAKER_FAILURES_MAX; i++)
        assert_string_equal(coord_run(f, &c), "['closed' 'ok' 1 0]");
    c.nums[0] = BREAKER_STATE;
    c.nums[1] = 1;
    assert_string_equal(coord_run(f, &c), "['closed' 'ok' 1 0]"); /* It opens with a failure, not by asking. */
    c.nums[0] = BREAKER_FAILURE;
    assert_string_equal(coord_run(f, &c), "['open' 'failures' 0 500]");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, coord_setup, coord_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failures_within_the_window_open_it),
        TEST(failures_leave_the_window_and_the_row_with_them),
        TEST(few_try_when_it_is_half_open),
        TEST(a_probe_that_fails_opens_it_again),
        TEST(a_probe_that_never_reports_is_given_back),
        TEST(it_is_reset_and_forgotten),
        TEST(what_no_encoder_writes_is_refused),
        TEST(many_failures_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
