/* test_resp_write.c - each reply call writes exactly these bytes, in both protocols. */
#include "node/resp/resp.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void expect(struct resp_buf *b, const char *want)
{
    assert_false(b->failed);
    assert_int_equal(b->len, strlen(want));
    assert_memory_equal(b->base, want, b->len);
    resp_buf_release(b);
}

static void lines(void **state)
{
    (void)state;
    struct resp_buf b = {0};
    resp_ok(&b);
    resp_simple(&b, "PONG");
    resp_error(&b, "ERR one\r\ntwo\nthree\r\n");
    resp_errorf(&b, "ERR unknown command '%.*s' %d", 3, "foobar", 7);
    resp_error(&b, "");
    expect(&b, "+OK\r\n+PONG\r\n-ERR one  two three\r\n-ERR unknown command 'foo' 7\r\n-\r\n");
}

static void integers(void **state)
{
    (void)state;
    struct resp_buf b = {0};
    resp_int(&b, 0);
    resp_int(&b, -1);
    resp_int(&b, INT64_MAX);
    resp_int(&b, INT64_MIN);
    expect(&b, ":0\r\n:-1\r\n:9223372036854775807\r\n:-9223372036854775808\r\n");
}

static void bulks(void **state)
{
    (void)state;
    struct resp_buf b = {0};
    resp_bulk(&b, NULL, 0);
    resp_bulk(&b, "a\r\nb", 4);
    resp_text(&b, "text");
    resp_verbatim(&b, 2, "hi", 2);
    resp_verbatim(&b, 3, "hi", 2);
    expect(&b, "$0\r\n\r\n$4\r\na\r\nb\r\n$4\r\ntext\r\n$2\r\nhi\r\n=6\r\ntxt:hi\r\n");
}

static void nils_and_booleans(void **state)
{
    (void)state;
    struct resp_buf b = {0};
    resp_nil(&b, 2);
    resp_nil(&b, 3);
    resp_nil_array(&b, 2);
    resp_nil_array(&b, 3);
    resp_bool(&b, 2, true);
    resp_bool(&b, 2, false);
    resp_bool(&b, 3, true);
    resp_bool(&b, 3, false);
    expect(&b, "$-1\r\n_\r\n*-1\r\n_\r\n:1\r\n:0\r\n#t\r\n#f\r\n");
}

static void aggregates(void **state)
{
    (void)state;
    struct resp_buf b = {0};
    resp_array(&b, 3);
    resp_map(&b, 2, 3);
    resp_map(&b, 3, 3);
    resp_set(&b, 2, 3);
    resp_set(&b, 3, 3);
    resp_push(&b, 2, 3);
    resp_push(&b, 3, 3);
    expect(&b, "*3\r\n*6\r\n%3\r\n*3\r\n~3\r\n*3\r\n>3\r\n");
}

static void doubles(void **state)
{
    (void)state;
    struct resp_buf b = {0};
    resp_double(&b, 2, 0.1);
    resp_double(&b, 3, 0.1);
    resp_double(&b, 3, 1.0 / 3);
    resp_double(&b, 3, 3);
    resp_double(&b, 3, INFINITY);
    resp_double(&b, 3, -INFINITY);
    resp_double(&b, 3, NAN);
    expect(&b, "$3\r\n0.1\r\n,0.1\r\n,0.3333333333333333\r\n,3\r\n,inf\r\n,-inf\r\n,nan\r\n");
}

static void growth_keeps_what_was_there(void **state)
{
    (void)state;
    struct resp_buf b = {0};
    for (int i = 0; i < 100000; i++)
        resp_raw(&b, &(char){(char)i}, 1);
    assert_int_equal(b.len, 100000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(b.base[i], (char)i);
    resp_buf_release(&b);
    assert_null(b.base);
}

/* After one reply is lost no later one is written, and none is half written. */
static void failure_sticks(void **state)
{
    (void)state;
    struct resp_buf b = {0};
    resp_ok(&b);
    assert_false(resp_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    resp_ok(&b);
    resp_bulk(&b, "x", 1);
    assert_int_equal(b.len, 5);
    assert_memory_equal(b.base, "+OK\r\n", 5);
    resp_buf_release(&b);
    assert_false(b.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(integers),
        cmocka_unit_test(bulks),
        cmocka_unit_test(nils_and_booleans),
        cmocka_unit_test(aggregates),
        cmocka_unit_test(doubles),
        cmocka_unit_test(growth_keeps_what_was_there),
        cmocka_unit_test(failure_sticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
