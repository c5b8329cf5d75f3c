/* test_resp_value.c - replies as a client reads them: one test per row of cases[], then limits and noise. */
#include "node/resp/resp.h"
#include "node/resp/value.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static const struct given {
    const char *in;
    const char *want; /* As show() writes it; NULL: broken; "": more. */
} cases[] = {
    {"+OK\r\n", "+OK"},
    {"+\r\n", "+"},
    {"-ERR no\r\n", "-ERR no"},
    {":42\r\n", ":42"},
    {":+42\r\n", ":42"},
    {":-9223372036854775808\r\n", ":-9223372036854775808"},
    {"$0\r\n\r\n", "$"},
    {"$4\r\na\r\nb\r\n", "$a\r\nb"},
    {"$-1\r\n", "_"},
    {"*-1\r\n", "_"},
    {"_\r\n", "_"},
    {"*0\r\n", "*()"},
    {"*3\r\n:1\r\n$1\r\nx\r\n*2\r\n+a\r\n$-1\r\n", "*(:1 $x *(+a _ ) ) "},
    {"*2\r\n*0\r\n*1\r\n*0\r\n", "*(*() *(*() ) ) "},
    {"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", "%(+a :1 +b *(:2 ) ) "},
    {"~1\r\n#t\r\n", "~(#1 ) "},
    {">1\r\n#f\r\n", ">(#0 ) "},
    {",1.5\r\n", ",1.5"},
    {",-inf\r\n", ",-inf"},
    {"(123456789012345678901234567890\r\n", "(123456789012345678901234567890"},
    {"=6\r\ntxt:hi\r\n", "=hi"},
    {"!5\r\nERR x\r\n", "-ERR x"},
    {"HTTP/1.1 400 Bad Request\r\n", NULL},
    {":12a\r\n", NULL},
    {":\r\n", NULL},
    {":+-1\r\n", NULL},
    {"+OK\n", NULL},
    {"$3\r\nabcde", NULL},
    {"$-2\r\n", NULL},
    {"=-1\r\n", NULL},
    {"=3\r\nabc\r\n", NULL},
    {"*-2\r\n", NULL},
    {"%-1\r\n", NULL},
    {"$67108865\r\n", NULL},
    {"*9999999999\r\n", NULL},
    {"*9223372036854775807\r\n", NULL},
    {"%9223372036854775807\r\n", NULL},
    {"*1\r\n?\r\n", NULL},
    {"#x\r\n", NULL},
    {",\r\n", NULL},
    {", 1\r\n", NULL},
    {",1x\r\n", NULL},
    {"_x\r\n", NULL},
    {"|1\r\n+a\r\n+b\r\n+c\r\n", NULL},
    {"*22000000\r\n", ""},
    {"$67108864\r\nx", ""},
    {"", ""},
};

static const char *open_sign(enum resp_type type)
{
    return type == RESP_ARRAY ? "*(" : type == RESP_MAP ? "%(" : type == RESP_SET ? "~(" : ">(";
}

static void show(const struct resp_value *v, struct resp_buf *out);

static void show_parts(const struct resp_value *v, struct resp_buf *out)
{
    int64_t n = v->type == RESP_MAP ? v->n * 2 : v->n;
    resp_raw(out, open_sign(v->type), 2);
    for (int64_t i = 0; i < n; i++) {
        show(&v->parts[i], out);
        if (out->base[out->len - 1] != ' ')
            resp_raw(out, " ", 1);
    }
    resp_raw(out, n == 0 ? ")" : ") ", n == 0 ? 1 : 2);
}

static void show_text(const struct resp_value *v, char sign, struct resp_buf *out)
{
    assert_int_equal(v->bytes[v->len], '\0');
    resp_raw(out, &sign, 1);
    resp_raw(out, v->bytes, v->len);
}

static void show_number(const char *format, struct resp_buf *out, double d, int64_t n)
{
    char text[64];
    int len =
        format[0] == ',' ? snprintf(text, sizeof text, ",%g", d) : snprintf(text, sizeof text, "%s%" PRId64, format, n);
    resp_raw(out, text, (size_t)len);
}

static void show(const struct resp_value *v, struct resp_buf *out)
{
    switch (v->type) {
    case RESP_NIL:
        resp_raw(out, "_", 1);
        break;
    case RESP_SIMPLE:
        show_text(v, '+', out);
        break;
    case RESP_ERROR:
        show_text(v, '-', out);
        break;
    case RESP_BULK:
        show_text(v, '$', out);
        break;
    case RESP_BIGNUM:
        show_text(v, '(', out);
        break;
    case RESP_VERBATIM:
        show_text(v, '=', out);
        break;
    case RESP_INT:
        show_number(":", out, 0, v->n);
        break;
    case RESP_BOOL:
        show_number("#", out, 0, v->n);
        break;
    case RESP_DOUBLE:
        show_number(",", out, v->d, 0);
        break;
    default:
        show_parts(v, out);
    }
}

/* The bytes in a block of exactly their size, so that reading past them is seen. */
static char *exact_copy(const char *bytes, size_t len)
{
    char *copy = malloc(len == 0 ? 1 : len);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    return copy;
}

static enum resp_value_status scan_piece(struct resp_scan *scan, const char *in, size_t len)
{
    char *copy = exact_copy(in, len);
    enum resp_value_status status = resp_value_scan(scan, copy, len);
    free(copy);
    return status;
}

static void check_value(const struct resp_scan *scan, const char *in, const char *want)
{
    struct resp_value *v = NULL;
    assert_int_equal(scan->pos, strlen(in));
    char *copy = exact_copy(in, scan->pos);
    assert_int_equal(resp_value_build(scan, copy, &v), RESP_VALUE_DONE);
    free(copy); /* The value keeps nothing of it. */
    struct resp_buf out = {0};
    show(v, &out);
    assert_int_equal(out.len, strlen(want));
    assert_memory_equal(out.base, want, out.len);
    resp_buf_release(&out);
    resp_value_free(v);
}

static void check_status(const struct given *given, enum resp_value_status status, const struct resp_scan *scan)
{
    if (given->want == NULL) {
        assert_int_equal(status, RESP_VALUE_BROKEN);
    } else if (given->want[0] == '\0') {
        assert_int_equal(status, RESP_VALUE_MORE);
    } else {
        assert_int_equal(status, RESP_VALUE_DONE);
        check_value(scan, given->in, given->want);
    }
}

static void survives_every_cut(void **state)
{
    const struct given *given = *state;
    size_t len = strlen(given->in);
    for (size_t cut = 0; cut <= len; cut++) {
        struct resp_scan scan = {0};
        enum resp_value_status status = scan_piece(&scan, given->in, cut);
        if (status == RESP_VALUE_MORE)
            status = scan_piece(&scan, given->in, len);
        check_status(given, status, &scan);
    }
}

static void survives_single_bytes(void **state)
{
    const struct given *given = *state;
    struct resp_scan scan = {0};
    enum resp_value_status status = RESP_VALUE_MORE;
    for (size_t len = 0; status == RESP_VALUE_MORE && len <= strlen(given->in); len++)
        status = scan_piece(&scan, given->in, len);
    check_status(given, status, &scan);
}

static void parse_takes_one_of_many(void **state)
{
    (void)state;
    const char *in = "+one\r\n:2\r\n";
    struct resp_value *v = NULL;
    size_t used = 0;
    assert_int_equal(resp_value_parse(in, strlen(in), &used, &v), RESP_VALUE_DONE);
    assert_int_equal(used, 6);
    assert_string_equal(v->bytes, "one");
    resp_value_free(v);
}

static enum resp_value_status parse_nested(int depth)
{
    struct resp_buf b = {0};
    for (int i = 0; i < depth; i++)
        resp_array(&b, 1);
    resp_int(&b, 1);
    struct resp_value *v = NULL;
    size_t used;
    enum resp_value_status status = resp_value_parse(b.base, b.len, &used, &v);
    resp_value_free(v);
    resp_buf_release(&b);
    return status;
}

static void depth_is_limited(void **state)
{
    (void)state;
    assert_int_equal(parse_nested(RESP_VALUE_DEPTH_MAX), RESP_VALUE_DONE);
    assert_int_equal(parse_nested(RESP_VALUE_DEPTH_MAX + 1), RESP_VALUE_BROKEN);
    assert_int_equal(parse_nested(100000), RESP_VALUE_BROKEN);
}

static void lines_are_limited(void **state)
{
    (void)state;
    size_t used, len = RESP_VALUE_LINE_MAX;
    struct resp_value *v;
    char *line = malloc(len);
    memset(line, '+', len);
    assert_int_equal(resp_value_parse(line, len - 1, &used, &v), RESP_VALUE_MORE);
    assert_int_equal(resp_value_parse(line, len, &used, &v), RESP_VALUE_BROKEN);
    free(line);
}

/* 100,000 parts arriving in pieces of 64 bytes are looked at once. */
static void large_array_in_pieces(void **state)
{
    (void)state;
    const int n = 100000;
    struct resp_buf b = {0};
    resp_array(&b, (size_t)n);
    for (int i = 0; i < n; i++)
        resp_int(&b, i);
    struct resp_scan scan = {0};
    for (size_t len = 0; len < b.len; len += 64)
        assert_int_equal(resp_value_scan(&scan, b.base, len), RESP_VALUE_MORE);
    assert_int_equal(resp_value_scan(&scan, b.base, b.len), RESP_VALUE_DONE);
    struct resp_value *v;
    assert_int_equal(resp_value_build(&scan, b.base, &v), RESP_VALUE_DONE);
    assert_int_equal(v->n, n);
    assert_int_equal(v->parts[n - 1].n, n - 1);
    resp_value_free(v);
    resp_buf_release(&b);
}

#define NOISE_LEN 64
#define NOISE_ROUNDS 50000

static void noise_never_crashes(void **state)
{
    (void)state;
    static const char likely[] = "+-:$*%~>_#,(=!\r\n\r\n\r\n\r\n01234tf";
    const char *text = getenv("HOLDFAST_SEED");
    unsigned seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    print_message("HOLDFAST_SEED=%u\n", seed);
    srandom(seed);
    for (int round = 0; round < NOISE_ROUNDS; round++) {
        char noise[NOISE_LEN];
        size_t used = 0, len = (size_t)random() % NOISE_LEN;
        for (size_t i = 0; i < len; i++)
            noise[i] = random() % 16 == 0 ? (char)random() : likely[(size_t)random() % (sizeof likely - 1)];
        char *copy = exact_copy(noise, len);
        struct resp_value *v = NULL;
        if (resp_value_parse(copy, len, &used, &v) == RESP_VALUE_DONE)
            assert_in_range(used, 1, len);
        resp_value_free(v);
        free(copy);
    }
}

#define N_CASES (sizeof cases / sizeof *cases)

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(parse_takes_one_of_many), cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(lines_are_limited),       cmocka_unit_test(large_array_in_pieces),
        cmocka_unit_test(noise_never_crashes),
    };
    static struct CMUnitTest tests[2 * N_CASES + sizeof others / sizeof *others];
    for (size_t i = 0; i < N_CASES; i++) {
        tests[2 * i] = (struct CMUnitTest){cases[i].in, survives_every_cut, NULL, NULL, (void *)&cases[i]};
        tests[2 * i + 1] = (struct CMUnitTest){cases[i].in, survives_single_bytes, NULL, NULL, (void *)&cases[i]};
    }
    memcpy(tests + 2 * N_CASES, others, sizeof others);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
