/* test_resp_request.c - the request parser: one test per row of cases[], then limits and noise.
 * Each look at the stream is a fresh copy of exactly the bytes there are, so that a pointer kept across calls or a
 * read past the end is seen by the sanitizer. */
#include "node/resp/resp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static const struct resp_limits wide = {64 << 10, 65536, 8 << 20, 16 << 20, false};
static const struct resp_limits narrow = {32, 4, 10, 20, false};
static const struct resp_limits stranger = {64 << 10, 10, 16384, 1 << 20, true};

static const struct given {
    const char *name;
    const struct resp_limits *limits;
    const char *in;
    size_t len;       /* 0: strlen(in) */
    const char *want; /* Requests as [a|b], the end as a word or, when broken, the error. */
} cases[] = {
    {"multibulk", &wide, "*2\r\n$3\r\nGET\r\n$1\r\nx\r\n", 0, "[GET|x]more"},
    {"pipelined", &wide, "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\nPING\r\n", 0, "[PING][ECHO|][PING]more"},
    {"binary", &wide, "*2\r\n$3\r\nSET\r\n$4\r\n\r\n\0*\r\n", 24, "[SET|\r\n\\0*]more"},
    {"empty lines", &wide, "\r\n\n*0\r\n*-1\r\n*-7\r\nPING\r\n", 0, "[][][][][][PING]more"},
    {"inline", &wide, "  set\tx   1 \r\nPING\n", 0, "[set|x|1][PING]more"},
    {"inline CR inside", &wide, "a\rb\r\n", 0, "[a|b]more"},
    {"inline double quotes", &wide, "set x \"a b\\x41\\n\\r\\t\\b\\a\\\"\\q\\xzz\"\r\n", 0,
     "[set|x|a bA\n\r\t\b\a\"qxzz]more"},
    {"inline single quotes", &wide, "set x 'a \\'b\\n\"' ''\r\n", 0, "[set|x|a 'b\\n\"|]more"},
    {"inline quote in a word", &wide, "foo\"b ar\" 'z'\r\n", 0, "[foob ar|z]more"},
    {"inline unbalanced", &wide, "get \"unbalanced\r\n", 0, "Protocol error: unbalanced quotes in request"},
    {"inline unbalanced single", &wide, "get 'x\r\n", 0, "Protocol error: unbalanced quotes in request"},
    {"inline after quote", &wide, "get \"x\"y\r\n", 0, "Protocol error: unbalanced quotes in request"},
    {"inline escape at the end", &wide, "get \"x\\\r\n", 0, "Protocol error: unbalanced quotes in request"},
    {"inline short hex", &wide, "get \"\\x4\"\r\n", 0, "[get|x4]more"},
    {"no dollar", &wide, "*1\r\n:4\r\n", 0, "Protocol error: expected '$', got ':'"},
    {"bulk negative", &wide, "*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$-1\r\n", 0, "Protocol error: invalid bulk length"},
    {"bulk past 512 MiB", &wide, "*1\r\n$536870913\r\n", 0, "Protocol error: invalid bulk length"},
    {"bulk no number", &wide, "*1\r\n$abc\r\n", 0, "Protocol error: invalid bulk length"},
    {"bulk leading zero", &wide, "*1\r\n$04\r\nPING\r\n", 0, "Protocol error: invalid bulk length"},
    {"bulk no length", &wide, "*1\r\n$\r\nPING\r\n", 0, "Protocol error: invalid bulk length"},
    {"bulk past int64", &wide, "*1\r\n$9223372036854775808\r\n", 0, "Protocol error: invalid bulk length"},
    {"count no number", &wide, "*abc\r\n", 0, "Protocol error: invalid multibulk length"},
    {"count none", &wide, "*\r\n", 0, "Protocol error: invalid multibulk length"},
    {"count plus", &wide, "*+1\r\n", 0, "Protocol error: invalid multibulk length"},
    {"count past int", &wide, "*2147483648\r\n", 0, "Protocol error: invalid multibulk length"},
    {"count over args_max", &wide, "*1048577\r\n", 0, "too many arguments in one request, the limit is 65536"},
    {"bulk end unchecked", &wide, "*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", 0, "[PING][PING]more"},
    {"http get", &wide, "GET / HTTP/1.0\r\nHost: x\r\n\r\n", 0, "hangup"},
    {"http post", &wide, "POST / HTTP/1.0\r\n", 0, "hangup"},
    {"http host", &wide, "PING\r\nhost: x\r\n", 0, "[PING]hangup"},
    {"http post as bulk", &wide, "*1\r\n$4\r\npost\r\n", 0, "hangup"},
    {"http word as value", &wide, "SET x HTTP/1.0\r\n", 0, "[SET|x|HTTP/1.0]more"},
    {"narrow line", &narrow, "PING aaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 0, "[PING|aaaaaaaaaaaaaaaaaaaaaaaaaa]more"},
    {"narrow long line", &narrow, "PING aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 0, "Protocol error: too big inline request"},
    {"narrow long count", &narrow, "*0000000000000000000000000000000000\r\n", 0,
     "Protocol error: too big mbulk count string"},
    {"narrow long bulk count", &narrow, "*1\r\n$000000000000000000000000000000000\r\n", 0,
     "Protocol error: too big bulk count string"},
    {"narrow NUL first", &narrow, "\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 37,
     "Protocol error: too big inline request"},
    {"narrow inline args", &narrow, "a b c d e\r\n", 0, "too many arguments in one request, the limit is 4"},
    {"narrow args", &narrow, "*5\r\n", 0, "too many arguments in one request, the limit is 4"},
    {"narrow bulk", &narrow, "*1\r\n$11\r\n", 0, "one argument is too long, the limit is 10"},
    {"narrow request", &narrow, "*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$1\r\n", 0,
     "the request is too long, the limit is 20"},
    {"narrow full", &narrow, "*2\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n", 0, "[0123456789|0123456789]more"},
    {"stranger args", &stranger, "*11\r\n", 0, "Protocol error: unauthenticated multibulk length"},
    {"stranger bulk", &stranger, "*1\r\n$16385\r\n", 0, "Protocol error: unauthenticated bulk length"},
    {"stranger fits", &stranger, "*1\r\n$4\r\nPING\r\n", 0, "[PING]more"},
};

struct fixture {
    const struct given *given;
    struct resp_parser parser;
    char log[512];
    size_t log_len;
    size_t start; /* Of the request under way. */
    bool over;
};

static size_t given_len(const struct given *given)
{
    return given->len != 0 ? given->len : strlen(given->in);
}

static void log_bytes(struct fixture *f, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char *text = bytes[i] == '\0' ? "\\0" : (char[]){bytes[i], '\0'};
        f->log_len += (size_t)snprintf(f->log + f->log_len, sizeof f->log - f->log_len, "%s", text);
    }
}

static void log_text(struct fixture *f, const char *text)
{
    log_bytes(f, text, strlen(text));
}

static void log_request(struct fixture *f)
{
    log_text(f, "[");
    for (size_t i = 0; i < f->parser.n_args; i++) {
        if (i > 0)
            log_text(f, "|");
        log_bytes(f, f->parser.args[i].base, f->parser.args[i].len);
    }
    log_text(f, "]");
}

/* One look at what has arrived; false when there is nothing more to be had from it. */
static bool fixture_look(struct fixture *f, const char *in, size_t arrived)
{
    size_t len = arrived - f->start, used = 0;
    char *copy = malloc(len == 0 ? 1 : len);
    assert_non_null(copy);
    memcpy(copy, in + f->start, len);
    enum resp_parse status = resp_parse(&f->parser, copy, len, &used);
    if (status == RESP_REQUEST) {
        assert_in_range(used, 1, len);
        log_request(f);
        f->start += used;
    } else if (status != RESP_MORE) {
        log_text(f, status == RESP_HANGUP ? "hangup" : f->parser.error);
        f->over = true;
    }
    free(copy);
    return status == RESP_REQUEST;
}

static void fixture_arrive(struct fixture *f, size_t arrived)
{
    while (!f->over && fixture_look(f, f->given->in, arrived))
        ;
}

static void fixture_begin(struct fixture *f)
{
    resp_parser_release(&f->parser);
    resp_parser_init(&f->parser, f->given->limits);
    f->log_len = f->start = 0;
    f->log[0] = '\0';
    f->over = false;
}

static void fixture_end(struct fixture *f)
{
    if (!f->over)
        log_text(f, "more");
    assert_string_equal(f->log, f->given->want);
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    f->given = *state;
    resp_parser_init(&f->parser, &wide);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    resp_parser_release(&f->parser);
    test_free(f);
    return 0;
}

static void survives_every_cut(void **state)
{
    struct fixture *f = *state;
    size_t len = given_len(f->given);
    for (size_t first = 0; first <= len; first++) {
        for (size_t second = first; second <= len; second++) {
            fixture_begin(f);
            fixture_arrive(f, first);
            fixture_arrive(f, second);
            fixture_arrive(f, len);
            fixture_end(f);
        }
    }
}

static void survives_single_bytes(void **state)
{
    struct fixture *f = *state;
    fixture_begin(f);
    for (size_t arrived = 0; arrived <= given_len(f->given); arrived++)
        fixture_arrive(f, arrived);
    fixture_end(f);
}

/* Redis's limit counts the line without its LF. */
static void inline_limit_is_exact(void **state)
{
    struct fixture *f = *state;
    size_t max = wide.inline_bytes_max, used = 0;
    char *line = malloc(max + 2);
    memset(line, 'a', max + 2);
    line[max] = '\n';
    assert_int_equal(resp_parse(&f->parser, line, max, &used), RESP_MORE);
    assert_int_equal(resp_parse(&f->parser, line, max + 1, &used), RESP_REQUEST);
    assert_int_equal(used, max + 1);
    line[max] = 'a';
    assert_int_equal(resp_parse(&f->parser, line, max, &used), RESP_MORE);
    assert_int_equal(resp_parse(&f->parser, line, max + 1, &used), RESP_BROKEN);
    free(line);
}

static void many_args_are_given_back(void **state)
{
    struct fixture *f = *state;
    struct resp_buf b = {0};
    resp_array(&b, wide.args_max);
    for (size_t i = 0; i < wide.args_max; i++)
        resp_bulk(&b, NULL, 0);
    size_t used = 0;
    assert_int_equal(resp_parse(&f->parser, b.base, b.len, &used), RESP_REQUEST);
    assert_int_equal(used, b.len);
    assert_int_equal(f->parser.n_args, wide.args_max);
    assert_int_equal(resp_parse(&f->parser, "PING\r\n", 6, &used), RESP_REQUEST);
    assert_true(f->parser.args_cap < 64);
    resp_buf_release(&b);
}

/* An announced count or length reserves nothing. */
static void promises_cost_nothing(void **state)
{
    struct fixture *f = *state;
    size_t used = 0;
    assert_int_equal(resp_parse(&f->parser, "*65536\r\n$8388608\r\nx", 19, &used), RESP_MORE);
    assert_int_equal(f->parser.args_cap, 0);
}

/* A value of 8 MiB in pieces of 4 KiB: the body is never searched, so this ends in no time. */
static void large_value_in_pieces(void **state)
{
    struct fixture *f = *state;
    size_t body = 8 << 20, used = 0;
    struct resp_buf b = {0};
    resp_array(&b, 2);
    resp_text(&b, "ECHO");
    char *value = calloc(1, body);
    resp_bulk(&b, value, body);
    free(value);
    for (size_t len = 4096; len < b.len; len += 4096)
        assert_int_equal(resp_parse(&f->parser, b.base, len, &used), RESP_MORE);
    assert_int_equal(resp_parse(&f->parser, b.base, b.len, &used), RESP_REQUEST);
    assert_int_equal(f->parser.args[1].len, body);
    resp_buf_release(&b);
}

static unsigned seed_from_environment(void)
{
    const char *text = getenv("HOLDFAST_SEED");
    unsigned seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    print_message("HOLDFAST_SEED=%u\n", seed);
    return seed;
}

#define NOISE_LEN 96
#define NOISE_ROUNDS 20000

static size_t noise_make(char *noise)
{
    static const char likely[] = "*$\r\n\r\n\r\n0123-\"'\\x a\0:";
    size_t len = (size_t)random() % NOISE_LEN;
    for (size_t i = 0; i < len; i++)
        noise[i] = random() % 8 == 0 ? (char)random() : likely[(size_t)random() % (sizeof likely - 1)];
    return len;
}

/* Noise whole and noise in random pieces give the same; neither crashes. */
static void noise_is_cut_alike(void **state)
{
    struct fixture *f = *state;
    char noise[NOISE_LEN], whole[sizeof f->log];
    srandom(seed_from_environment());
    for (int round = 0; round < NOISE_ROUNDS; round++) {
        struct given given = {.limits = round % 2 ? &wide : &narrow, .in = noise, .len = noise_make(noise)};
        f->given = &given;
        fixture_begin(f);
        fixture_arrive(f, given.len);
        memcpy(whole, f->log, sizeof whole);
        fixture_begin(f);
        for (size_t arrived = 0; arrived < given.len; arrived += 1 + (size_t)random() % 16)
            fixture_arrive(f, arrived);
        fixture_arrive(f, given.len);
        assert_string_equal(f->log, whole);
    }
}

#define N_CASES (sizeof cases / sizeof *cases)

static void add_cases(struct CMUnitTest *tests, size_t *n, CMUnitTestFunction run)
{
    for (size_t i = 0; i < N_CASES; i++)
        tests[(*n)++] = (struct CMUnitTest){cases[i].name, run, setup, teardown, (void *)&cases[i]};
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test_setup_teardown(inline_limit_is_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(many_args_are_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(promises_cost_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(large_value_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(noise_is_cut_alike, setup, teardown),
    };
    static struct CMUnitTest tests[2 * N_CASES + sizeof others / sizeof *others];
    size_t n = 0;
    add_cases(tests, &n, survives_every_cut);
    add_cases(tests, &n, survives_single_bytes);
    memcpy(tests + n, others, sizeof others);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
