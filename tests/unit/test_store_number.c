/* test_store_number.c - which texts are numbers, and how numbers are written. */
#include "store/number.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const integers[] = {
    "0", "1", "-1", "9", "10", "-10", "1234567890", "9223372036854775807", "-9223372036854775808",
};
static const char *const not_integers[] = {
    "",
    "-",
    "+",
    "+5",
    " 11",
    "11 ",
    "007",
    "-0",
    "-01",
    "00",
    "1.5",
    "abc",
    "1a",
    "0x10",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "99999999999999999999",
    "100000000000000000000000",
};

static void integers_are_read_strictly_and_written_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        int64_t n;
        char out[NUMBER_INT_BYTES_MAX];
        assert_true(number_read_int(integers[i], strlen(integers[i]), &n));
        assert_true(n == strtoll(integers[i], NULL, 10));
        assert_int_equal(number_write_int(out, n), strlen(integers[i]));
        assert_memory_equal(out, integers[i], strlen(integers[i]));
    }
    for (size_t i = 0; i < sizeof not_integers / sizeof *not_integers; i++) {
        int64_t n = 42;
        assert_false(number_read_int(not_integers[i], strlen(not_integers[i]), &n));
        assert_int_equal(n, 42);
    }
    int64_t n;
    assert_false(number_read_int("1\0", 2, &n));
}

/* What Redis 7.0.15 answered to INCRBYFLOAT. */
static const struct {
    const char *a, *b, *sum;
} sums[] = {
    {"10.50", "0.1", "10.6"},
    {"10.6", "-5", "5.6"},
    {"5.0e3", "2.0e2", "5200"},
    {"3.0", "1.000000000000000005", "4.00000000000000001"},
    {"1", "0.1", "1.1"},
    {"1.1", "0.2", "1.3"},
    {"17179869184", "1.5", "17179869185.5"},
    {"1e17", "1", "100000000000000001"},
    {"0", "-0.0", "0"},
    {"-0.0", "-0.0", "0"},
    {"0", "1e-18", "0"},
    {"0", "-1e-18", "0"},
    {"100", "1", "101"},
    {"0", "-0.5", "-0.5"},
};

static void long_doubles_are_redis_s(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        long double a, b;
        char out[NUMBER_LONG_DOUBLE_BYTES_MAX];
        assert_true(number_read_long_double(sums[i].a, strlen(sums[i].a), &a));
        assert_true(number_read_long_double(sums[i].b, strlen(sums[i].b), &b));
        out[number_write_long_double(out, a + b)] = '\0';
        assert_string_equal(out, sums[i].sum);
    }
}

static void long_doubles_never_have_an_exponent(void **state)
{
    (void)state;
    char out[NUMBER_LONG_DOUBLE_BYTES_MAX];
    long double n;
    assert_true(number_read_long_double("1e400", 5, &n));
    assert_int_equal(number_write_long_double(out, n), 401);
    assert_memory_equal(out, "10000000000000000000281880683947586514", 38);
    assert_true(number_read_long_double("-1.18e4932", 10, &n));
    assert_int_equal(number_write_long_double(out, n), 4934);
    assert_null(memchr(out, 'e', 4934));
}

static const char *const not_floats[] = {"",     " 1",    "1 ", "\t1",    "abc",     "nan",
                                         "-nan", "1.2.3", "1e", "1e5000", "-1e5000", "1e-5000"};

static void what_is_no_float(void **state)
{
    (void)state;
    long double n = 42;
    double d = 42;
    for (size_t i = 0; i < sizeof not_floats / sizeof *not_floats; i++) {
        assert_false(number_read_long_double(not_floats[i], strlen(not_floats[i]), &n));
        assert_false(number_read_double(not_floats[i], strlen(not_floats[i]), &d));
    }
    assert_false(number_read_long_double("1\0002", 3, &n)); /* A zero byte does not end it. */
    assert_true(n == 42 && d == 42);
    assert_true(number_read_long_double("inf", 3, &n) && isinf(n));
    assert_false(number_read_double("1e400", 5, &d)); /* Fits a long double only. */

    char *long_text = malloc(NUMBER_LONG_DOUBLE_BYTES_MAX);
    memset(long_text, '1', NUMBER_LONG_DOUBLE_BYTES_MAX);
    assert_false(number_read_long_double(long_text, NUMBER_LONG_DOUBLE_BYTES_MAX, &n));
    free(long_text);
}

static const struct {
    double d;
    const char *text;
} doubles[] = {
    {0.1, "0.1"},
    {0.1 + 0.2, "0.30000000000000004"},
    {1.0 / 3, "0.3333333333333333"},
    {5, "5"},
    {-0.0, "-0"},
    {1e15, "1e+15"},
    {123456789012345, "123456789012345"},
    {1e300, "1e+300"},
    {5e-324, "4.94065645841247e-324"},
    {9007199254740993.0, "9007199254740992"},
};

static void doubles_are_written_short(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        char out[NUMBER_DOUBLE_BYTES_MAX];
        out[number_write_double(out, doubles[i].d)] = '\0';
        assert_string_equal(out, doubles[i].text);
    }
}

static void every_double_reads_back_equal(void **state)
{
    (void)state;
    const char *given = getenv("HOLDFAST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    print_message("HOLDFAST_SEED=%u\n", seed);
    srandom(seed);
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = (uint64_t)random() << 62 ^ (uint64_t)random() << 31 ^ (uint64_t)random();
        double d, back;
        memcpy(&d, &bits, sizeof d);
        if (!isfinite(d))
            continue;
        char out[NUMBER_DOUBLE_BYTES_MAX];
        size_t len = number_write_double(out, d);
        /* Denormals are reported as out of range by some C libraries, yet are not refused. */
        assert_true(number_read_double(out, len, &back));
        assert_true(back == d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_read_strictly_and_written_back),
        cmocka_unit_test(long_doubles_are_redis_s),
        cmocka_unit_test(long_doubles_never_have_an_exponent),
        cmocka_unit_test(what_is_no_float),
        cmocka_unit_test(doubles_are_written_short),
        cmocka_unit_test(every_double_reads_back_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
