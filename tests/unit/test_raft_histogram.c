/* test_raft_histogram.c - every time lands in the bucket whose end it does not exceed. */
#include "raft/histogram.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

static struct histogram *fresh(void)
{
    struct histogram *h = test_calloc(1, sizeof *h);
    assert_non_null(h);
    return h;
}

/* Around each power of two, counts are exact. */
static void powers_of_two_are_ends(void **state)
{
    (void)state;
    for (unsigned power = 2; power < HISTOGRAM_DOUBLINGS; power++) {
        struct histogram *h = fresh();
        histogram_record(h, (1ull << power) - 1);
        histogram_record(h, 1ull << power);
        histogram_record(h, (1ull << power) + 1);
        assert_int_equal(histogram_at_most(h, power), 2);
        assert_int_equal(histogram_at_most(h, power + 1), 3);
        test_free(h);
    }
}

/* One time alone is its own quantile; among others it is told a quarter too long at most, never too short. */
static void quantiles_are_close(void **state)
{
    (void)state;
    for (uint64_t us = 0; us < 100000; us += 1 + us / 7) {
        struct histogram *h = fresh();
        histogram_record(h, us);
        assert_int_equal(histogram_quantile_us(h, 0.5), us);
        histogram_record(h, 10000000);
        uint64_t told = histogram_quantile_us(h, 0.5);
        assert_true(told >= us && told <= us + us / 4 + 1);
        test_free(h);
    }
}

static void shares_are_counted(void **state)
{
    (void)state;
    struct histogram *h = fresh();
    for (uint64_t us = 1; us <= 1000; us++)
        histogram_record(h, us);
    assert_in_range(histogram_quantile_us(h, 0.5), 500, 640);
    assert_in_range(histogram_quantile_us(h, 0.99), 990, 1000);
    assert_int_equal(histogram_quantile_us(h, 1), 1000);
    assert_int_equal(h->sum_us, 500500);
    test_free(h);
}

static void none_and_longest(void **state)
{
    (void)state;
    struct histogram *h = fresh();
    assert_int_equal(histogram_quantile_us(h, 0.99), 0);
    histogram_record(h, UINT64_MAX);
    assert_int_equal(histogram_at_most(h, HISTOGRAM_DOUBLINGS), 1);
    assert_true(histogram_quantile_us(h, 1) >= 1ull << 35);
    test_free(h);
}

static void sums_of_two(void **state)
{
    (void)state;
    struct histogram *a = fresh(), *b = fresh();
    histogram_record(a, 10);
    histogram_record(b, 1000);
    histogram_add(a, b);
    assert_int_equal(a->n, 2);
    assert_int_equal(a->sum_us, 1010);
    assert_int_equal(a->max_us, 1000);
    assert_int_equal(histogram_at_most(a, 4), 1);
    assert_int_equal(histogram_at_most(a, 10), 2);
    test_free(a);
    test_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(powers_of_two_are_ends),
        cmocka_unit_test(quantiles_are_close),
        cmocka_unit_test(shares_are_counted),
        cmocka_unit_test(none_and_longest),
        cmocka_unit_test(sums_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
