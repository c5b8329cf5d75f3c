/* test_store_limit.c - limits let as much through as they say, never more, and forget by themselves. */
#include "tests/support/store_coord.h"
#include "store/limit.h"

struct take {
    const char *key;
    enum limit_algo algo;
    int64_t rate, per, burst, cost;
};

static struct coord_command take_command(const struct take *t)
{
    return (struct coord_command){.op = OP_LIMIT,
                                  .n_nums = 5,
                                  .nums = {t->algo, t->rate, t->per, t->burst > 0 ? t->burst : t->rate, t->cost},
                                  .args = {text(t->key)},
                                  .n_args = 1};
}

static const char *take(struct coord *f, const struct take *t)
{
    const struct coord_command c = take_command(t);
    return coord_run(f, &c);
}

#define TAKE(f, ...) take(f, &(const struct take){__VA_ARGS__})

static const char *ask_key(struct coord *f, enum command_op op, const char *key)
{
    return coord_read(f, &(const struct coord_command){op, .args = {text(key)}, .n_args = 1});
}

static void gcra_lets_a_burst_through_and_then_the_rate(void **state)
{
    struct coord *f = *state;
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 10, 1000, 3, 1), "[1 2 0 100]");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 10, 1000, 3, 2), "[1 0 0 300]");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 10, 1000, 3, 1), "[0 0 100 300]");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 10, 1000, 3, 2), "[0 0 200 300]");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 10, 1000, 3, 0), "[1 0 0 300]"); /* Asks only. */
    f->clock_ms += 99;
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 10, 1000, 3, 1), "[0 0 1 201]");
    f->clock_ms += 1;
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 10, 1000, 3, 1), "[1 0 0 300]");
    coord_reopen(f);
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 10, 1000, 3, 1), "[0 0 100 300]");
}

static void rates_that_do_not_divide_are_not_exceeded(void **state)
{
    struct coord *f = *state;
    int allowed = 0;
    for (int ms = 0; ms < 3000; ms++, f->clock_ms++)
        allowed += TAKE(f, "l", LIMIT_GCRA, 7, 1000, 1, 1)[1] == '1';
    assert_int_equal(allowed, 21);
}

static void a_window_counts_what_is_in_it(void **state)
{
    struct coord *f = *state;
    f->clock_ms = 1000000 / 32 * 32; /* Where a piece begins. */
    assert_string_equal(TAKE(f, "w", LIMIT_WINDOW, 3, 32, 0, 2), "[1 1 0 32]");
    f->clock_ms += 10;
    assert_string_equal(TAKE(f, "w", LIMIT_WINDOW, 3, 32, 0, 1), "[1 0 0 32]");
    assert_string_equal(TAKE(f, "w", LIMIT_WINDOW, 3, 32, 0, 1), "[0 0 22 32]");
    assert_string_equal(TAKE(f, "w", LIMIT_WINDOW, 3, 32, 0, 3), "[0 0 32 32]");
    assert_string_equal(TAKE(f, "w", LIMIT_WINDOW, 3, 32, 0, 0), "[1 0 0 32]");
    f->clock_ms += 21;
    assert_string_equal(TAKE(f, "w", LIMIT_WINDOW, 3, 32, 0, 1), "[0 0 1 11]");
    f->clock_ms += 1;
    assert_string_equal(TAKE(f, "w", LIMIT_WINDOW, 3, 32, 0, 2), "[1 0 0 32]");
}

/* Against a list of all calls: never more than the rate in any stretch, and no more than one piece too careful. */
static void windows_are_never_exceeded(void **state)
{
    struct coord *f = *state;
    struct chance chance = {fixture_seed()};
    for (int round = 0; round < 20; round++) {
        uint64_t log[600];
        size_t n = 0;
        const int64_t per = 1 + (int64_t)chance_below(&chance, 2000), rate = 1 + (int64_t)chance_below(&chance, 20);
        const int64_t piece = (per + LIMIT_WINDOW_PIECES - 1) / LIMIT_WINDOW_PIECES;
        char key[16];
        snprintf(key, sizeof key, "w%d", round);
        for (int i = 0; i < 400; i++) {
            int64_t exact = 0, careful = 0;
            f->clock_ms += chance_below(&chance, (uint64_t)(per / rate + 2));
            for (size_t j = 0; j < n; j++) {
                exact += (int64_t)(f->clock_ms - log[j]) < per;
                careful += (int64_t)(f->clock_ms - log[j]) < per + piece;
            }
            bool allowed = TAKE(f, key, LIMIT_WINDOW, rate, per, 0, 1)[1] == '1';
            assert_true(!allowed || exact < rate);
            assert_true(allowed || careful >= rate);
            if (allowed)
                log[n++] = f->clock_ms;
        }
    }
}

static void other_pieces_take_over_what_was_counted(void **state)
{
    struct coord *f = *state;
    assert_string_equal(TAKE(f, "w", LIMIT_WINDOW, 5, 10, 0, 4), "[1 1 0 10]");
    f->clock_ms += 5;
    assert_int_equal(strncmp(TAKE(f, "w", LIMIT_WINDOW, 5, 1000000, 0, 2), "[0 1 ", 5), 0);
    assert_int_equal(strncmp(TAKE(f, "w", LIMIT_WINDOW, 5, 1000000, 0, 1), "[1 0 0 ", 7), 0);
    assert_int_equal(strncmp(TAKE(f, "w", LIMIT_WINDOW, 3, 1000000, 0, 1), "[0 0 ", 5), 0); /* A lower rate at once. */
    f->clock_ms += 11;
    assert_int_equal(strncmp(TAKE(f, "w", LIMIT_WINDOW, 5, 1000000, 0, 1), "[0 0 ", 5), 0);
}

static void a_limit_is_a_key_that_ends_by_itself(void **state)
{
    struct coord *f = *state;
    TAKE(f, "g", LIMIT_GCRA, 10, 1000, 0, 2);
    TAKE(f, "w", LIMIT_WINDOW, 10, 1000, 0, 2);
    assert_string_equal(ask_key(f, OP_TYPE, "g"), "+limit");
    assert_int_equal(strncmp(coord_get(f, "w"), "!1", 2), 0); /* WRONGTYPE */
    assert_string_equal(TAKE(f, "g", LIMIT_WINDOW, 10, 1000, 0, 2), "!90");
    assert_string_equal(TAKE(f, "w", LIMIT_GCRA, 10, 1000, 0, 2), "!90");
    coord_pass(f, 199);
    assert_string_equal(ask_key(f, OP_EXISTS, "g"), "1");
    coord_pass(f, 1);
    assert_string_equal(ask_key(f, OP_EXISTS, "g"), "0");
    coord_pass(f, 1000);
    assert_string_equal(ask_key(f, OP_EXISTS, "w"), "0");
    coord_run(f, &(const struct coord_command){OP_SET, .args = {text("s"), text("v")}, .n_args = 2});
    assert_string_equal(TAKE(f, "s", LIMIT_GCRA, 10, 1000, 0, 1), "!1");
    TAKE(f, "d", LIMIT_GCRA, 1, 1000, 0, 1);
    assert_string_equal(coord_run(f, &(const struct coord_command){OP_DEL, .args = {text("d")}, .n_args = 1}), "1");
    assert_string_equal(TAKE(f, "d", LIMIT_GCRA, 1, 1000, 0, 1), "[1 0 0 1000]");
}

static void once_takes_once(void **state)
{
    struct coord *f = *state;
    uint64_t id = coord_open(f, "a", 60000);
    const struct coord_command c = take_command(&(const struct take){"l", LIMIT_GCRA, 3, 3000, 0, 1});
    assert_string_equal(coord_once(f, id, 1, 0, &c), "[1 2 0 1000]");
    assert_string_equal(coord_once(f, id, 1, 0, &c), "[1 2 0 1000]");
    assert_string_equal(coord_once(f, id, 2, 0, &c), "[1 1 0 2000]");
}

static void what_no_encoder_writes_is_refused(void **state)
{
    struct coord *f = *state;
    assert_string_equal(TAKE(f, "l", 2, 1, 1000, 0, 1), "!9");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, LIMIT_RATE_MAX + 1, 1000, 1, 1), "!9");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 1, 0, 1, 1), "!9");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 1, LIMIT_PER_MS_MAX, LIMIT_RATE_MAX, 1), "!9");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 1, 1000, 1, 2), "!9");
    assert_string_equal(TAKE(f, "l", LIMIT_GCRA, 1, 1000, 1, -1), "!9");
    f->clock_ms = UINT64_MAX / 2; /* The end of time is not undefined behaviour. */
    assert_int_equal(strncmp(TAKE(f, "l", LIMIT_GCRA, 1, LIMIT_PER_MS_MAX, 1, 1), "[1 0 0 ", 7), 0);
    assert_int_equal(strncmp(TAKE(f, "w", LIMIT_WINDOW, 1, LIMIT_PER_MS_MAX, 1, 1), "[1 0 0 ", 7), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, coord_setup, coord_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gcra_lets_a_burst_through_and_then_the_rate),
        TEST(rates_that_do_not_divide_are_not_exceeded),
        TEST(a_window_counts_what_is_in_it),
        TEST(windows_are_never_exceeded),
        TEST(other_pieces_take_over_what_was_counted),
        TEST(a_limit_is_a_key_that_ends_by_itself),
        TEST(once_takes_once),
        TEST(what_no_encoder_writes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
