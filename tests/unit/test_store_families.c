/* test_store_families.c - what each command does to rows, through store_apply() and store_read().
 * Outcomes are compared as text: nil, OK, 5, 'bulk', +word, [parts], !WORD detail. Each read is also sent through the
 * log, where it must answer the same and change nothing; a refusal must change nothing either. */
#include "store/store.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VALUE_BYTES_MAX 1000
#define CLOCK_START_MS 1000000
#define TEXT_MAX 8192

struct fixture {
    char dir[32];
    struct store *store;
    uint64_t clock_ms; /* Stamped on the next batch. */
    uint64_t ahead_ms; /* How much later reads believe it is. */
    struct outcome_buf out;
    char text[TEXT_MAX];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->clock_ms = CLOCK_START_MS;
    strcpy(f->dir, "/tmp/holdfast-families-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    static const uint8_t cluster[STORE_CLUSTER_ID_BYTES] = {1};
    const struct store_options options = {.dir = f->dir,
                                          .cluster_id = cluster,
                                          .cache_bytes = 1 << 20,
                                          .flush_rows = 1000000,
                                          .checkpoint_bytes = 1 << 20};
    char error[256] = "";
    if (store_open(&options, error, &f->store) != 0)
        fail_msg("%s", error);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    outcome_buf_release(&f->out);
    static const char *const files[] = {STORE_FILE, STORE_FILE "-wal", STORE_FILE "-shm"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", f->dir, files[i]);
        unlink(path);
    }
    rmdir(f->dir);
    free(f);
    return 0;
}

static const char *const refusal_words[] = {
    "",
    "WRONGTYPE",
    "NOT_INTEGER",
    "NOT_FLOAT",
    "OVERFLOW",
    "NAN_INF",
    "NO_SUCH_KEY",
    "TOO_LONG",
    "INVALID_CURSOR",
    "UNKNOWN",
    [REFUSAL_REPLY_TOO_LARGE] = "REPLY",
    [REFUSAL_BATCH_TOO_LARGE] = "BATCH",
};

static void add(struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct fixture *f, const char *format, ...)
{
    size_t len = strlen(f->text);
    va_list args;
    va_start(args, format);
    vsnprintf(f->text + len, TEXT_MAX - len, format, args);
    va_end(args);
}

/* Bytes that are no text show as \xNN. */
static void add_bytes(struct fixture *f, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= ' ' && c < 127)
            add(f, "%c", c);
        else
            add(f, "\\x%02x", c);
    }
}

static size_t add_outcome(struct fixture *f, size_t at)
{
    struct outcome o;
    size_t used = outcome_next(f->out.base + at, f->out.len - at, &o);
    assert_true(used > 0);
    at += used;
    switch (o.tag) {
    case OUTCOME_NIL:
        add(f, "nil");
        break;
    case OUTCOME_OK:
        add(f, "OK");
        break;
    case OUTCOME_INT:
        add(f, "%" PRId64, o.n);
        break;
    case OUTCOME_BULK:
        add(f, "'");
        add_bytes(f, o.bytes, o.len);
        add(f, "'");
        break;
    case OUTCOME_SIMPLE:
        add(f, "+");
        add_bytes(f, o.bytes, o.len);
        break;
    case OUTCOME_REFUSAL:
        add(f, "!%s%s%.*s", refusal_words[o.n], o.len > 0 ? " " : "", (int)o.len, o.bytes);
        break;
    default:
        assert_int_equal(o.tag, OUTCOME_ARRAY);
        add(f, "[");
        for (int64_t i = 0; i < o.n; i++) {
            add(f, "%s", i > 0 ? " " : "");
            at = add_outcome(f, at);
        }
        add(f, "]");
    }
    return at;
}

/* The only outcome as text, which lives in the fixture until the next. */
static const char *outcome_text(struct fixture *f)
{
    f->text[0] = '\0';
    assert_false(f->out.failed);
    assert_int_equal(add_outcome(f, 0), f->out.len); /* Exactly one. */
    return f->text;
}

struct nums {
    size_t n;
    int64_t at[COMMAND_NUMS_MAX];
};
#define N(...) ((struct nums){.n = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), .at = {__VA_ARGS__}})
struct args {
    size_t n;
    struct bytes at[8];
};

static struct args args_from(size_t n, const char *const *texts)
{
    struct args a = {.n = n};
    for (size_t i = 0; i < n; i++)
        a.at[i] = (struct bytes){.base = (const uint8_t *)texts[i], .len = strlen(texts[i])};
    return a;
}
#define A(...) args_from(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static const char *applied(struct fixture *f, enum command_op op, int flags, struct nums nums, struct args args)
{
    struct command_buf b = {0};
    batch_begin(&b, 0, 0, 0);
    batch_set_count(b.base, 1);
    batch_set_value_max(b.base, VALUE_BYTES_MAX);
    batch_stamp(b.base, f->clock_ms);
    assert_true(command_add(&b, op, (uint16_t)flags, nums.at, (uint8_t)nums.n, args.at, (uint32_t)args.n) > 0);
    enum store_applied what;
    f->out.len = 0;
    assert_int_equal(store_apply(f->store, store_applied(f->store) + 1, 1, b.base, b.len, &f->out, &what), 0);
    assert_int_equal(what, STORE_APPLIED);
    command_buf_release(&b);
    return outcome_text(f);
}

static const char *answer(struct fixture *f, enum command_op op, struct nums nums, struct args args)
{
    struct command_buf b = {0};
    command_add(&b, op, 0, nums.at, (uint8_t)nums.n, args.at, (uint32_t)args.n);
    size_t used;
    f->out.len = 0;
    uint64_t now_ms = f->clock_ms + f->ahead_ms;
    assert_int_equal(store_read(f->store, b.base, b.len, now_ms, &f->out, &used), 0);
    assert_int_equal(used, b.len);
    command_buf_release(&b);
    return outcome_text(f);
}

static void check(struct fixture *f, int line, const char *want, enum command_op op, int flags, struct nums nums,
                  struct args args)
{
    uint64_t revision = store_revision(f->store), hash = store_hash(f->store);
    if (!command_is_write(op)) {
        const char *got = answer(f, op, nums, args);
        if (strcmp(got, want) != 0)
            fail_msg("line %d, read: got %s, not %s", line, got, want);
    }
    if (f->ahead_ms > 0)
        return;
    const char *got = applied(f, op, flags, nums, args);
    if (strcmp(got, want) != 0)
        fail_msg("line %d: got %s, not %s", line, got, want);
    if (!command_is_write(op) || got[0] == '!') {
        assert_int_equal(store_revision(f->store), revision);
        assert_true(store_hash(f->store) == hash);
    }
}
#define CHECK(want, op, flags, nums, args) check(f, __LINE__, want, op, flags, nums, args)
/* The commonest checks. */
#define SET(key, value) CHECK("OK", OP_SET, 0, N(), A(key, value))
#define SET_PX(key, value, left) CHECK("OK", OP_SET, CMD_EXPIRE, N(left, 1), A(key, value))
#define GET(key, want) CHECK(want, OP_GET, 0, N(), A(key))
#define PTTL(key, want) CHECK(want, OP_TTL, 0, N(1), A(key))

static void set_conditions(void **state)
{
    struct fixture *f = *state;
    SET("k", "v");
    CHECK("nil", OP_SET, CMD_NX, N(), A("k", "x"));
    CHECK("OK", OP_SET, CMD_XX, N(), A("k", "v"));
    CHECK("nil", OP_SET, CMD_XX, N(), A("none", "v"));
    CHECK("'v'", OP_SET, CMD_NX | CMD_GET, N(), A("k", "x"));
    CHECK("nil", OP_SET, CMD_NX | CMD_GET, N(), A("none2", "v"));
    GET("none2", "'v'");
    CHECK("'v'", OP_SET, CMD_GET, N(), A("k", "v2"));
    CHECK("'v2'", OP_SET, CMD_XX | CMD_GET, N(), A("k", "v3"));
    CHECK("nil", OP_SET, CMD_XX | CMD_GET, N(), A("none", "v"));
    CHECK("nil", OP_SET, CMD_IFEQ, N(), A("k", "v4", "no"));
    CHECK("nil", OP_SET, CMD_IFEQ, N(), A("none", "v4", "no"));
    CHECK("'v3'", OP_SET, CMD_IFEQ | CMD_GET, N(), A("k", "v4", "no"));
    GET("k", "'v3'");
    CHECK("'v3'", OP_SET, CMD_IFEQ | CMD_GET, N(), A("k", "v4", "v3"));
    CHECK("OK", OP_SET, CMD_IFEQ, N(), A("k", "v5", "v4"));
    GET("k", "'v5'");
    SET("", "empty key");
    GET("", "'empty key'");
}

static void set_expiry(void **state)
{
    struct fixture *f = *state;
    SET_PX("k", "v", 100000);
    CHECK("OK", OP_SET, CMD_KEEPTTL, N(), A("k", "v2"));
    PTTL("k", "100000");
    SET("k", "v3");
    PTTL("k", "-1");
    SET_PX("k", "v", 0);
    GET("k", "nil");
    SET_PX("k", "v", -5); /* Not there, and stays so. */
    assert_int_equal(store_keys(f->store), 0);
    SET("k", "v");
    CHECK("'v'", OP_SET, CMD_EXPIRE | CMD_GET, N(-1, 1), A("k", "w"));
    assert_int_equal(store_keys(f->store), 0);
}

static void mset(void **state)
{
    struct fixture *f = *state;
    SET_PX("a", "0", 100);
    CHECK("OK", OP_MSET, 0, N(), A("a", "1", "b", "2"));
    PTTL("a", "-1");
    CHECK("0", OP_MSET, CMD_NX, N(), A("c", "2", "a", "9"));
    CHECK("0", OP_EXISTS, 0, N(), A("c"));
    CHECK("1", OP_MSET, CMD_NX, N(), A("x", "1", "x", "2"));
    GET("x", "'2'");
    CHECK("['1' '2' nil]", OP_MGET, 0, N(), A("a", "b", "c"));
    CHECK("!UNKNOWN", OP_MSET, 0, N(), A("a", "1", "b"));
}

static void getdel_getex_delif(void **state)
{
    struct fixture *f = *state;
    SET("k", "v");
    CHECK("'v'", OP_GETDEL, 0, N(), A("k"));
    CHECK("nil", OP_GETDEL, 0, N(), A("k"));
    SET("k", "v");
    CHECK("'v'", OP_GETEX, CMD_EXPIRE, N(5000, 1), A("k"));
    CHECK("'v'", OP_GETEX, 0, N(), A("k"));
    PTTL("k", "5000");
    CHECK("'v'", OP_GETEX, CMD_PERSIST, N(), A("k"));
    PTTL("k", "-1");
    CHECK("'v'", OP_GETEX, CMD_EXPIRE, N(0, 1), A("k"));
    CHECK("nil", OP_GETEX, CMD_EXPIRE, N(5000, 1), A("k"));
    SET("k", "v");
    CHECK("0", OP_DELIF, CMD_IFEQ, N(), A("k", "x"));
    CHECK("0", OP_DELIF, CMD_IFNE, N(), A("k", "v"));
    CHECK("1", OP_DELIF, CMD_IFNE, N(), A("k", "x"));
    CHECK("0", OP_DELIF, CMD_IFNE, N(), A("k", "x"));
    SET("k", "v");
    CHECK("1", OP_DELIF, CMD_IFEQ, N(), A("k", "v"));
}

static void append_and_ranges(void **state)
{
    struct fixture *f = *state;
    CHECK("0", OP_APPEND, 0, N(), A("s", ""));
    CHECK("1", OP_EXISTS, 0, N(), A("s"));
    CHECK("3", OP_APPEND, 0, N(), A("s", "abc"));
    CHECK("1", OP_EXPIRE, 0, N(9000, 1), A("s"));
    CHECK("6", OP_APPEND, 0, N(), A("s", "def"));
    PTTL("s", "9000");
    CHECK("0", OP_SETRANGE, 0, N(0), A("none", ""));
    CHECK("0", OP_EXISTS, 0, N(), A("none"));
    CHECK("6", OP_SETRANGE, 0, N(5), A("none", "x"));
    GET("none", "'\\x00\\x00\\x00\\x00\\x00x'");
    CHECK("6", OP_SETRANGE, 0, N(536870912), A("s", ""));
    CHECK("!TOO_LONG 1000", OP_SETRANGE, 0, N(INT64_MAX), A("s", "x"));
    CHECK("!TOO_LONG 1000", OP_SETRANGE, 0, N(999), A("s", "xx"));
    CHECK("!UNKNOWN", OP_SETRANGE, 0, N(-1), A("s", "x"));
    CHECK("6", OP_SETRANGE, 0, N(1), A("s", "XY"));
    GET("s", "'aXYdef'");
    PTTL("s", "9000");
    CHECK("'aXYdef'", OP_GETRANGE, 0, N(0, -1), A("s"));
    CHECK("'def'", OP_GETRANGE, 0, N(-3, -1), A("s"));
    CHECK("''", OP_GETRANGE, 0, N(5, 2), A("s"));
    CHECK("''", OP_GETRANGE, 0, N(-1, -3), A("s"));
    CHECK("'aXYdef'", OP_GETRANGE, 0, N(0, 100000), A("s"));
    CHECK("'aXY'", OP_GETRANGE, 0, N(-100, 2), A("s"));
    CHECK("'a'", OP_GETRANGE, 0, N(0, -100), A("s")); /* Redis's clamp. */
    CHECK("'aXYdef'", OP_GETRANGE, 0, N(INT64_MIN, INT64_MAX), A("s"));
    CHECK("''", OP_GETRANGE, 0, N(7, 9), A("s"));
    CHECK("''", OP_GETRANGE, 0, N(0, -1), A("missing"));
    CHECK("6", OP_STRLEN, 0, N(), A("s"));
    CHECK("0", OP_STRLEN, 0, N(), A("missing"));
}

#define LARGE ((size_t)8 << 20)

static void add_large(struct command_buf *b, enum command_op op, int flags, struct bytes key, struct bytes value,
                      uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        assert_true(command_add(b, op, (uint16_t)flags, NULL, 0, (struct bytes[]){key, value}, value.base ? 2 : 1) > 0);
}

/* A request of a few bytes cannot ask for any amount of memory. */
static void one_reply_has_a_limit(void **state)
{
    struct fixture *f = *state;
    struct bytes value = {.base = calloc(1, LARGE), .len = LARGE}, keys[7];
    struct command_buf b = {0};
    enum store_applied what;
    size_t used;
    assert_non_null(value.base);
    for (size_t i = 0; i < 7; i++)
        keys[i] = (struct bytes){.base = (const uint8_t *)"k", .len = 1};
    batch_begin(&b, 0, 0, 0);
    batch_set_count(b.base, 1);
    add_large(&b, OP_SET, 0, keys[0], value, 1);
    assert_int_equal(store_apply(f->store, 1, 1, b.base, b.len, &f->out, &what), 0);
    for (uint32_t n = 5; n <= 7; n++) {
        b.len = f->out.len = 0;
        command_add(&b, OP_MGET, 0, NULL, 0, keys, n);
        assert_int_equal(store_read(f->store, b.base, b.len, 0, &f->out, &used), 0);
        if (n == 5)
            assert_int_equal(f->out.len, 5 + n * (5 + LARGE));
        else
            assert_string_equal(outcome_text(f), "!REPLY 50331648");
    }
    GET("none", "nil"); /* The limit is gone with the command. */
    command_buf_release(&b);
    free((void *)value.base);
}

/* What stands in the log is run by every node at every start: the answers of a batch have a limit, past which only
 * commands go on that answer little. */
static void one_batch_has_a_limit(void **state)
{
    struct fixture *f = *state;
    struct bytes value = {.base = calloc(1, LARGE), .len = LARGE}, key = {(const uint8_t *)"k", 1}, none = {0};
    struct command_buf b = {0};
    enum store_applied what;
    assert_non_null(value.base);
    batch_begin(&b, 0, 0, 0);
    batch_set_count(b.base, 17);
    add_large(&b, OP_SET, 0, key, value, 1);
    add_large(&b, OP_GET, 0, key, none, 6);
    add_large(&b, OP_GETEX, 0, key, none, 6);
    add_large(&b, OP_SET, CMD_GET, key, key, 1);
    add_large(&b, OP_STRLEN, 0, key, none, 1);
    add_large(&b, OP_DEL, 0, key, none, 2);
    assert_int_equal(store_apply(f->store, 1, 1, b.base, b.len, &f->out, &what), 0);
    size_t values = 8 * (5 + LARGE) + 1; /* OK, and as many as it took to pass the limit. */
    assert_int_equal(f->out.base[values], OUTCOME_REFUSAL);
    f->out.len -= values;
    memmove(f->out.base, f->out.base + values, f->out.len);
    f->text[0] = '\0';
    for (size_t at = 0; at < f->out.len;)
        at = add_outcome(f, at);
    assert_string_equal(f->text, "!BATCH!BATCH!BATCH!BATCH!BATCH!BATCH10");
    command_buf_release(&b);
    free((void *)value.base);
}

static void values_do_not_outgrow_the_limit(void **state)
{
    struct fixture *f = *state;
    CHECK("1000", OP_SETRANGE, 0, N(999), A("s", "x"));
    CHECK("!TOO_LONG 1000", OP_APPEND, 0, N(), A("s", "y"));
    CHECK("1000", OP_APPEND, 0, N(), A("s", ""));
    CHECK("!TOO_LONG 1000", OP_VAPPEND, 0, N(), A("s", "", ","));
    SET("f", "1");
    CHECK("!TOO_LONG 1000", OP_INCRBYFLOAT, 0, N(), A("f", "1e1001"));
    GET("f", "'1'");
}

static void lcs(void **state)
{
    struct fixture *f = *state;
    CHECK("''", OP_LCS, 0, N(0), A("a", "b"));
    SET("a", "ohmytext");
    SET("b", "mynewtext");
    CHECK("'mytext'", OP_LCS, 0, N(0), A("a", "b"));
    CHECK("6", OP_LCS, 0, N(1), A("a", "b"));
    CHECK("'ohmytext'", OP_LCS, 0, N(0), A("a", "a"));
    SET("c", "ab");
    SET("d", "ba");
    CHECK("'b'", OP_LCS, 0, N(0), A("c", "d")); /* Of two as long, the one Redis finds. */
    CHECK("0", OP_LCS, 0, N(1), A("a", "missing"));
}

static void incrby(void **state)
{
    struct fixture *f = *state;
    static const char *const no_integers[] = {" 11", "11 ", "+5", "007", "", "-0", "9223372036854775808", "1.5", "abc"};
    SET("n", "9223372036854775807");
    CHECK("!OVERFLOW", OP_INCRBY, 0, N(1), A("n"));
    SET("n", "-9223372036854775808");
    CHECK("!OVERFLOW", OP_INCRBY, 0, N(-1), A("n"));
    CHECK("!OVERFLOW", OP_INCRBY, 0, N(INT64_MIN), A("n"));
    for (size_t i = 0; i < sizeof no_integers / sizeof *no_integers; i++) {
        SET("n", no_integers[i]);
        CHECK("!NOT_INTEGER", OP_INCRBY, 0, N(1), A("n"));
    }
    CHECK("1", OP_DEL, 0, N(), A("n"));
    CHECK("5", OP_INCRBY, 0, N(5), A("n"));
    CHECK("['5' +int 13 -1]", OP_VGET, 0, N(), A("n"));
    SET_PX("n", "10", 100000);
    CHECK("11", OP_INCRBY, 0, N(1), A("n"));
    PTTL("n", "100000");
    CHECK("'3000'", OP_INCRBYFLOAT, 0, N(), A("f", "3.0e3"));
    CHECK("3001", OP_INCRBY, 0, N(1), A("f"));
}

static void incrbyfloat(void **state)
{
    struct fixture *f = *state;
    SET("f", "10.50");
    CHECK("'10.6'", OP_INCRBYFLOAT, 0, N(), A("f", "0.1"));
    CHECK("'5.6'", OP_INCRBYFLOAT, 0, N(), A("f", "-5"));
    SET("f", "3.0");
    CHECK("'4.00000000000000001'", OP_INCRBYFLOAT, 0, N(), A("f", "1.000000000000000005"));
    CHECK("!NAN_INF", OP_INCRBYFLOAT, 0, N(), A("f", "inf"));
    CHECK("!NOT_FLOAT", OP_INCRBYFLOAT, 0, N(), A("f", "nan"));
    CHECK("!NOT_FLOAT", OP_INCRBYFLOAT, 0, N(), A("f", "abc"));
    SET("f", " 1");
    CHECK("!NOT_FLOAT", OP_INCRBYFLOAT, 0, N(), A("f", "1"));
    SET_PX("f", "100", 50000);
    CHECK("'101'", OP_INCRBYFLOAT, 0, N(), A("f", "1"));
    PTTL("f", "50000");
    CHECK("'0'", OP_INCRBYFLOAT, 0, N(), A("g", "-0.0"));
    CHECK("'embstr'", OP_OBJECT, 0, N(0), A("g"));
}

static void vincr(void **state)
{
    struct fixture *f = *state;
    CHECK("['1' +int]", OP_VINCR, 0, N(VALUE_INT), A("n", "1"));
    CHECK("['3' +int]", OP_VINCR, 0, N(VALUE_INT), A("n", "2"));
    CHECK("['3.5' +float]", OP_VINCR, 0, N(VALUE_FLOAT), A("n", "0.5"));
    CHECK("['4' +float]", OP_VINCR, 0, N(VALUE_FLOAT), A("n", "0.5"));
    CHECK("['5' +float]", OP_VINCR, 0, N(VALUE_INT), A("n", "1")); /* A float once, a float for good. */
    CHECK("['0.1' +float]", OP_VINCR, 0, N(VALUE_FLOAT), A("d", "0.1"));
    CHECK("['0.30000000000000004' +float]", OP_VINCR, 0, N(VALUE_FLOAT), A("d", "0.2"));
    SET_PX("s", "10", 700);
    CHECK("['11' +int]", OP_VINCR, 0, N(VALUE_INT), A("s", "1"));
    PTTL("s", "700");
    SET("s", "1.50");
    CHECK("['2.5' +float]", OP_VINCR, 0, N(VALUE_INT), A("s", "1"));
    SET("s", "9223372036854775807");
    CHECK("!OVERFLOW", OP_VINCR, 0, N(VALUE_INT), A("s", "1"));
    CHECK("['9.223372036854776e+18' +float]", OP_VINCR, 0, N(VALUE_FLOAT), A("s", "1"));
    SET("s", "1e308");
    CHECK("!NAN_INF", OP_VINCR, 0, N(VALUE_FLOAT), A("s", "1e308"));
    CHECK("!NOT_INTEGER", OP_VINCR, 0, N(VALUE_INT), A("s", "1.5"));
    CHECK("!NOT_FLOAT", OP_VINCR, 0, N(VALUE_FLOAT), A("s", "x"));
    CHECK("!UNKNOWN", OP_VINCR, 0, N(VALUE_STR), A("s", "1"));
    static const char *const no_numbers[] = {"abc", "", "inf", "0x10", "nan", " 1"};
    for (size_t i = 0; i < sizeof no_numbers / sizeof *no_numbers; i++) {
        SET("s", no_numbers[i]);
        CHECK("!NOT_FLOAT", OP_VINCR, 0, N(VALUE_INT), A("s", "1"));
    }
    CHECK("21", OP_VSET, 0, N(VALUE_BOOL, 0, 0, 0), A("b", "true"));
    CHECK("!NOT_FLOAT", OP_VINCR, 0, N(VALUE_INT), A("b", "1"));
}

static void vset_and_vget(void **state)
{
    struct fixture *f = *state;
    CHECK("1", OP_VSET, 0, N(VALUE_JSON, 0, 0, 0), A("k", "{}"));
    CHECK("['{}' +json 1 -1]", OP_VGET, 0, N(), A("k"));
    CHECK("nil", OP_VSET, CMD_IFVER, N(VALUE_STR, 0, 0, 0), A("k", "x"));
    CHECK("nil", OP_VSET, CMD_IFVER, N(VALUE_STR, 0, 0, 7), A("k", "x"));
    CHECK("2", OP_VSET, CMD_IFVER | CMD_EXPIRE, N(VALUE_STR, 800, 9, 1), A("k", "x"));
    CHECK("['x' +str 2 800]", OP_VGET, 0, N(), A("k"));
    CHECK("3", OP_VSET, CMD_KEEPTTL, N(VALUE_STR, 0, 0, 0), A("k", "y"));
    CHECK("['y' +str 3 800]", OP_VGET, 0, N(), A("k"));
    CHECK("4", OP_VSET, 0, N(VALUE_INT, 0, 0, 0), A("k", "5"));
    CHECK("['5' +int 4 -1]", OP_VGET, 0, N(), A("k"));
    CHECK("[5 ['5' +int 4 -1]]", OP_VSET, CMD_GET, N(VALUE_INT, 0, 0, 0), A("k", "6"));
    CHECK("[nil ['6' +int 5 -1]]", OP_VSET, CMD_GET | CMD_NX, N(VALUE_INT, 0, 0, 0), A("k", "7"));
    CHECK("[6 nil]", OP_VSET, CMD_GET | CMD_NX, N(VALUE_RAW, 0, 0, 0), A("new", "7"));
    CHECK("nil", OP_VSET, CMD_XX, N(VALUE_RAW, 0, 0, 0), A("none", "7"));
    CHECK("nil", OP_VSET, CMD_IFEQ, N(VALUE_RAW, 0, 0, 0), A("new", "8", "6"));
    CHECK("7", OP_VSET, CMD_IFEQ, N(VALUE_RAW, 0, 0, 0), A("new", "8", "7"));
    CHECK("8", OP_VSET, CMD_EXPIRE, N(VALUE_RAW, 0, 0, 0), A("new", "9"));
    CHECK("8", OP_VSET, CMD_EXPIRE, N(VALUE_RAW, -1, 0, 0), A("new", "9"));
    CHECK("[nil ['6' +int 5 -1]]", OP_VMGET, 0, N(), A("new", "k"));
    CHECK("9", OP_VSET, CMD_IFVER, N(VALUE_BOOL, 0, 0, 0), A("b", "false"));
    CHECK("!UNKNOWN", OP_VSET, 0, N(VALUE_NIL, 0, 0, 0), A("k", "7"));
    CHECK("!UNKNOWN", OP_VSET, CMD_IFEQ, N(VALUE_RAW, 0, 0, 0), A("k", "7"));
}

#define CAS(want, told, old, tnew, new) CHECK(want, OP_CAS, 0, N(told, tnew, 0, 0), A("k", old, new))

static void cas(void **state)
{
    struct fixture *f = *state;
    CAS("0", VALUE_STR, "x", VALUE_STR, "y");
    CAS("1", VALUE_NIL, "", VALUE_INT, "1");
    CAS("0", VALUE_NIL, "", VALUE_INT, "2");
    CAS("0", VALUE_STR, "1", VALUE_INT, "2");
    CAS("0", VALUE_FLOAT, "1", VALUE_INT, "2");
    CAS("1", VALUE_INT, "1", VALUE_FLOAT, "2.5");
    CAS("1", VALUE_FLOAT, "2.50", VALUE_STR, "s");
    CHECK("1", OP_CAS, CMD_EXPIRE, N(VALUE_STR, VALUE_STR, 400, 1), A("k", "s", "t"));
    CAS("1", VALUE_STR, "t", VALUE_STR, "u");
    PTTL("k", "400");
    CAS("1", VALUE_STR, "u", VALUE_NIL, "");
    CAS("1", VALUE_NIL, "", VALUE_NIL, "");
    assert_int_equal(store_keys(f->store), 0);
    CHECK("1", OP_CAS, CMD_EXPIRE, N(VALUE_NIL, VALUE_STR, 0, 1), A("k", "", "t"));
    assert_int_equal(store_keys(f->store), 0);
    CHECK("!UNKNOWN", OP_CAS, 0, N(VALUE_NIL, 7, 0, 0), A("k", "", "t"));
    CHECK("!UNKNOWN", OP_CAS, CMD_EXPIRE, N(VALUE_NIL, VALUE_STR), A("k", "", "t"));
}

/* A plain SET's value is what Lua would read it as. */
static void cas_on_raw(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *stored;
        int type;
        const char *old, *want;
    } cases[] = {
        {"5", VALUE_INT, "5", "1"},      {"5", VALUE_STR, "5", "0"},        {"5", VALUE_FLOAT, "5", "0"},
        {"5", VALUE_RAW, "5", "1"},      {"1.5", VALUE_FLOAT, "1.5", "1"},  {"1.5", VALUE_FLOAT, "1.50", "1"},
        {"1.5", VALUE_STR, "1.5", "0"},  {"1.50", VALUE_STR, "1.50", "1"},  {"1.50", VALUE_FLOAT, "1.5", "0"},
        {"007", VALUE_STR, "007", "1"},  {"abc", VALUE_STR, "abc", "1"},    {"abc", VALUE_RAW, "abc", "1"},
        {"abc", VALUE_JSON, "abc", "0"}, {"true", VALUE_BOOL, "true", "0"}, {"", VALUE_STR, "", "1"},
        {"inf", VALUE_STR, "inf", "1"},  {"0x10", VALUE_STR, "0x10", "1"},  {"1e+20", VALUE_FLOAT, "1e20", "1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        SET("k", cases[i].stored);
        CAS(cases[i].want, cases[i].type, cases[i].old, VALUE_STR, "new");
    }
    applied(f, OP_VSET, 0, N(VALUE_STR, 0, 0, 0), A("k", "abc"));
    CAS("1", VALUE_RAW, "abc", VALUE_STR, "5");
    CAS("0", VALUE_RAW, "5", VALUE_STR, "x");
    CAS("1", VALUE_STR, "5", VALUE_INT, "5");
    CAS("1", VALUE_RAW, "5", VALUE_STR, "x");
}

static void vappend(void **state)
{
    struct fixture *f = *state;
    CHECK("1", OP_VAPPEND, 0, N(), A("k", "a", ", "));
    CHECK("4", OP_VAPPEND, 0, N(), A("k", "b", ", "));
    CHECK("['a, b' +str 2 -1]", OP_VGET, 0, N(), A("k"));
    SET_PX("k", "x", 300);
    CHECK("2", OP_VAPPEND, 0, N(), A("k", "y", ""));
    CHECK("['xy' +str 4 300]", OP_VGET, 0, N(), A("k"));
}

static void expire(void **state)
{
    struct fixture *f = *state;
    SET("k", "v");
    CHECK("1", OP_EXPIRE, 0, N(100, 1), A("k"));
    CHECK("0", OP_EXPIRE, CMD_NX, N(100, 1), A("k"));
    CHECK("1", OP_EXPIRE, CMD_LT, N(50, 1), A("k"));
    CHECK("0", OP_EXPIRE, CMD_LT, N(100, 1), A("k"));
    CHECK("1", OP_EXPIRE, CMD_GT, N(200, 1), A("k"));
    CHECK("0", OP_EXPIRE, CMD_GT, N(100, 1), A("k"));
    PTTL("k", "200");
    CHECK("1", OP_EXPIRE, CMD_XX, N(100, 1), A("k"));
    CHECK("1", OP_PERSIST, 0, N(), A("k"));
    CHECK("0", OP_PERSIST, 0, N(), A("k"));
    CHECK("0", OP_EXPIRE, CMD_XX, N(100, 1), A("k"));
    CHECK("0", OP_EXPIRE, CMD_GT, N(100, 1), A("k"));
    CHECK("1", OP_EXPIRE, CMD_LT, N(100, 1), A("k"));
    CHECK("1", OP_PERSIST, 0, N(), A("k"));
    CHECK("0", OP_EXPIRE, CMD_XX | CMD_GT, N(100, 1), A("k"));
    CHECK("0", OP_EXPIRE, 0, N(10, 1), A("none"));
    CHECK("0", OP_EXPIRE, CMD_GT, N(-1, 1), A("k"));
    CHECK("1", OP_EXISTS, 0, N(), A("k"));
    CHECK("1", OP_EXPIRE, 0, N(0, 1), A("k"));
    CHECK("0", OP_EXISTS, 0, N(), A("k"));
    SET("k", "v");
    CHECK("1", OP_EXPIRE, CMD_LT, N(INT64_MIN, 1), A("k"));
    CHECK("0", OP_EXISTS, 0, N(), A("k"));
}

static void ttl_is_rounded_and_wall_time_told_back(void **state)
{
    struct fixture *f = *state;
    CHECK("-2", OP_TTL, 0, N(0), A("k"));
    CHECK("-2", OP_TTL, 0, N(3), A("k"));
    SET("k", "v");
    CHECK("-1", OP_TTL, 0, N(0), A("k"));
    CHECK("-1", OP_TTL, 0, N(2), A("k"));
    SET_PX("k", "v", 1400);
    CHECK("1", OP_TTL, 0, N(0), A("k"));
    SET_PX("k", "v", 1600);
    CHECK("2", OP_TTL, 0, N(0), A("k"));
    SET_PX("k", "v", 400);
    CHECK("0", OP_TTL, 0, N(0), A("k"));
    CHECK("1", OP_EXPIRE, 0, N(INT64_MAX - 1000, INT64_MAX), A("k"));
    CHECK("9223372036854776", OP_TTL, 0, N(2), A("k"));
    CHECK("9223372036854775807", OP_TTL, 0, N(3), A("k"));
    CHECK("9223372036853775806", OP_TTL, 0, N(1), A("k")); /* The last ms there is, not never. */
    CHECK("1", OP_EXPIRE, 0, N(5000, 33177117420000), A("k"));
    CHECK("33177117420000", OP_TTL, 0, N(3), A("k"));
    CHECK("33177117420", OP_TTL, 0, N(2), A("k"));
}

/* A read's guess of the time shortens what is left, and never ends a key. */
static void reads_see_a_key_until_the_log_says_otherwise(void **state)
{
    struct fixture *f = *state;
    SET_PX("k", "v", 1000);
    f->ahead_ms = 400;
    PTTL("k", "600");
    f->ahead_ms = 5000;
    PTTL("k", "0");
    GET("k", "'v'");
    CHECK("['v' +raw 1 0]", OP_VGET, 0, N(), A("k"));
}

static void a_due_key_is_absent_and_removed_by_writes(void **state)
{
    struct fixture *f = *state;
    SET_PX("k", "7", 1000);
    SET_PX("from", "x", 1000);
    SET("stays", "y");
    f->clock_ms += 1000;
    CHECK("OK", OP_TICK, 0, N(), A());
    GET("k", "nil");
    CHECK("0", OP_EXISTS, 0, N(), A("k", "from"));
    CHECK("['stays']", OP_KEYS, 0, N(), A("*"));
    CHECK("['0' ['stays']]", OP_SCAN, 0, N(0, 10, -1), A(""));
    CHECK("'stays'", OP_RANDOMKEY, 0, N(3), A());
    assert_int_equal(store_keys(f->store), 3); /* Reads remove nothing. */
    assert_int_equal(store_expired_total(f->store), 0);
    CHECK("1", OP_INCRBY, 0, N(1), A("k"));
    assert_int_equal(store_expired_total(f->store), 1);
    assert_int_equal(store_revision(f->store), 5); /* Its removal had one of its own. */
    PTTL("k", "-1");
    assert_string_equal(applied(f, OP_RENAME, 0, N(), A("from", "to")), "!NO_SUCH_KEY");
    assert_int_equal(store_keys(f->store), 2);
    assert_int_equal(store_expired_total(f->store), 2);
}

static void expired_removes_only_what_is_due(void **state)
{
    struct fixture *f = *state;
    SET_PX("due", "v", 1000);
    SET_PX("put off", "v", 1000);
    SET("never", "v");
    CHECK("1", OP_EXPIRE, 0, N(2000, 1), A("put off"));
    f->clock_ms += 1000;
    CHECK("1", OP_EXPIRED, 0, N(), A("due", "put off", "never", "none", "due"));
    assert_int_equal(store_keys(f->store), 2);
    assert_int_equal(store_expired_total(f->store), 1);
    PTTL("put off", "1000");
    f->clock_ms += 1000;
    CHECK("1", OP_EXPIRED, 0, N(), A("put off"));
    GET("never", "'v'");
}

static void the_clock_never_goes_back(void **state)
{
    struct fixture *f = *state;
    SET_PX("k", "v", 1000);
    f->clock_ms -= 500;
    SET("other", "v");
    f->clock_ms += 500;
    PTTL("k", "1000");
}

static void rename_and_copy(void **state)
{
    struct fixture *f = *state;
    SET_PX("a", "1", 100);
    CHECK("OK", OP_RENAME, 0, N(), A("a", "b"));
    CHECK("0", OP_EXISTS, 0, N(), A("a"));
    PTTL("b", "100");
    CHECK("1", OP_COPY, 0, N(), A("b", "c"));
    PTTL("c", "100");
    CHECK("0", OP_COPY, 0, N(), A("b", "c"));
    CHECK("1", OP_COPY, CMD_XX, N(), A("b", "c"));
    CHECK("0", OP_COPY, CMD_XX, N(), A("none", "c"));
    CHECK("0", OP_COPY, CMD_XX, N(), A("b", "b"));
    CHECK("!NO_SUCH_KEY", OP_RENAME, 0, N(), A("none", "x"));
    CHECK("0", OP_RENAME, CMD_NX, N(), A("b", "c"));
    CHECK("OK", OP_RENAME, 0, N(), A("b", "b"));
    CHECK("0", OP_RENAME, CMD_NX, N(), A("b", "b"));
    CHECK("1", OP_RENAME, CMD_NX, N(), A("b", "d"));
    applied(f, OP_VSET, 0, N(VALUE_JSON, 0, 0, 0), A("j", "[]"));
    CHECK("OK", OP_RENAME, 0, N(), A("j", "d")); /* Its type goes along, and the other's expiry is gone. */
    CHECK("['[]' +json 9 -1]", OP_VGET, 0, N(), A("d"));
    CHECK("2", OP_DEL, 0, N(), A("d", "c", "none", "d"));
    CHECK("0", OP_DBSIZE, 0, N(), A());
}

static void flushall_is_one_change(void **state)
{
    struct fixture *f = *state;
    CHECK("OK", OP_FLUSHALL, 0, N(), A());
    assert_int_equal(store_revision(f->store), 0);
    SET_PX("a", "1", 100);
    SET("b", "2");
    CHECK("OK", OP_FLUSHALL, 0, N(), A());
    assert_int_equal(store_revision(f->store), 3);
    CHECK("0", OP_DBSIZE, 0, N(), A());
    assert_true(store_hash(f->store) == 0);
    assert_true(store_next_due_ms(f->store) == UINT64_MAX);
}

static void what_is_due_is_known(void **state)
{
    struct fixture *f = *state;
    CHECK("OK", OP_TICK, 0, N(), A());
    assert_int_equal(store_poll(f->store, 0), 0); /* Moves the horizon to this clock. */
    assert_true(store_next_due_ms(f->store) == UINT64_MAX);
    SET_PX("a", "1", 200);
    SET_PX("b", "1", 100);
    assert_int_equal(store_next_due_ms(f->store), CLOCK_START_MS + 100);
    SET("b", "1");
    assert_int_equal(store_next_due_ms(f->store), CLOCK_START_MS + 200);
    CHECK("1", OP_COPY, 0, N(), A("a", "c"));
    CHECK("1", OP_DEL, 0, N(), A("a"));
    assert_int_equal(store_next_due_ms(f->store), CLOCK_START_MS + 200);
    CHECK("1", OP_COPY, CMD_XX, N(), A("b", "c"));
    assert_true(store_next_due_ms(f->store) == UINT64_MAX);
    CHECK("1", OP_EXPIRE, 0, N(50, 1), A("c"));
    assert_int_equal(store_next_due_ms(f->store), CLOCK_START_MS + 50);
    CHECK("1", OP_PERSIST, 0, N(), A("c"));
    assert_true(store_next_due_ms(f->store) == UINT64_MAX);
}

static void about_keys(void **state)
{
    struct fixture *f = *state;
    CHECK("[]", OP_KEYS, 0, N(), A("*"));
    CHECK("nil", OP_RANDOMKEY, 0, N(), A());
    CHECK("['0' []]", OP_SCAN, 0, N(0, 10, -1), A(""));
    CHECK("nil", OP_OBJECT, 0, N(0), A("k"));
    CHECK("nil", OP_OBJECT, 0, N(3), A("k"));
    CHECK("nil", OP_MEMORY_USAGE, 0, N(), A("k"));
    CHECK("+none", OP_TYPE, 0, N(), A("k"));
    CHECK("[]", OP_SORT, 0, N(), A("k"));
    SET("k", "12");
    CHECK("'int'", OP_OBJECT, 0, N(0), A("k"));
    SET("k", "012");
    CHECK("'embstr'", OP_OBJECT, 0, N(0), A("k"));
    SET("k", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    CHECK("'embstr'", OP_OBJECT, 0, N(0), A("k"));
    SET("k", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    CHECK("'raw'", OP_OBJECT, 0, N(0), A("k"));
    CHECK("1", OP_OBJECT, 0, N(1), A("k"));
    CHECK("0", OP_OBJECT, 0, N(2), A("k"));
    CHECK("+string", OP_TYPE, 0, N(), A("k"));
    CHECK("!WRONGTYPE", OP_SORT, 0, N(), A("k"));
    CHECK("2", OP_EXISTS, 0, N(), A("k", "k", "none"));
    CHECK("['k']", OP_KEYS, 0, N(), A("[a-k]"));
    CHECK("[]", OP_KEYS, 0, N(), A("kk*"));
    CHECK("['0' []]", OP_SCAN, 0, N(0, 10, -1), A("x*"));
    CHECK("['0' []]", OP_SCAN, 0, N(0, 10, 1), A(""));
    CHECK("['0' ['k']]", OP_SCAN, 0, N(0, 10, 0), A(""));
    CHECK("['0' []]", OP_SCAN, 0, N(-1, 10, -1), A("")); /* A cursor of 64 ones. */
    CHECK("['0' ['k']]", OP_SCAN, 0, N(0, INT64_MAX, -1), A(""));
}

#define SCAN_KEYS 500

/* The number behind the first `skip` bytes of a bulk, which nothing ends. */
static uint64_t number_in(const struct outcome *o, size_t skip)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)(o->len - skip), o->bytes + skip);
    return strtoull(text, NULL, 10);
}

/* One SCAN from *cursor; marks the keys it answered, and returns how many. */
static int64_t scan_step(struct fixture *f, uint64_t *cursor, int64_t count, int *seen)
{
    answer(f, OP_SCAN, N((int64_t)*cursor, count, -1), A("key:*"));
    struct outcome o;
    size_t at = outcome_next(f->out.base, f->out.len, &o);
    at += outcome_next(f->out.base + at, f->out.len - at, &o);
    *cursor = number_in(&o, 0);
    at += outcome_next(f->out.base + at, f->out.len - at, &o);
    int64_t n = o.n;
    for (int64_t i = 0; i < n; i++) {
        at += outcome_next(f->out.base + at, f->out.len - at, &o);
        seen[number_in(&o, strlen("key:"))]++;
    }
    return n;
}

/* Half of the keys go, and others come, while the scan is under way: those that stay are met, each once. */
static void scan_meets_what_stays(void **state)
{
    struct fixture *f = *state;
    char key[32];
    for (int i = 0; i < SCAN_KEYS; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        SET(key, "v");
    }
    int seen[2 * SCAN_KEYS] = {0};
    uint64_t cursor = 0;
    int calls = 0;
    do {
        assert_true(scan_step(f, &cursor, 10, seen) <= 10);
        snprintf(key, sizeof key, "key:%d", 2 * calls + 1);
        applied(f, OP_DEL, 0, N(), A(key));
        snprintf(key, sizeof key, "key:%d", SCAN_KEYS + calls);
        SET(key, "v");
        assert_true(++calls <= SCAN_KEYS);
    } while (cursor != 0);
    for (int i = 0; i < SCAN_KEYS; i += 2)
        assert_int_equal(seen[i], 1);
    for (int i = 0; i < 2 * SCAN_KEYS; i++)
        assert_true(seen[i] <= 1);
}

/* Keys that are due cost a call something, but not everything. */
static void scan_passes_due_keys_in_bounded_steps(void **state)
{
    struct fixture *f = *state;
    char key[32];
    for (int i = 0; i < SCAN_KEYS; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        SET_PX(key, "v", 100);
    }
    f->clock_ms += 100;
    CHECK("OK", OP_TICK, 0, N(), A());
    int seen[2 * SCAN_KEYS] = {0}, calls = 0;
    uint64_t cursor = 0;
    do {
        assert_int_equal(scan_step(f, &cursor, 10, seen), 0);
        calls++;
    } while (cursor != 0);
    assert_int_equal(calls, SCAN_KEYS / 100);
}

static void randomkey_reaches_all_of_few(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++)
        SET(keys[i], "v");
    int seen[5] = {0};
    for (int64_t salt = 0; salt < 500; salt++) {
        const char *got = answer(f, OP_RANDOMKEY, N(salt), A());
        seen[got[1] - 'a']++;
    }
    for (int i = 0; i < 5; i++)
        assert_true(seen[i] > 40);
}

static void broken_commands_are_refused(void **state)
{
    struct fixture *f = *state;
    SET("k", "v");
    for (int op = 0; op < 256; op++) {
        if (op == OP_NOP || op == OP_EXPIRED || op == OP_TICK || op == OP_FLUSHALL || op == OP_RANDOMKEY ||
            op == OP_DBSIZE || op == OP_SESSION_LIST || op == OP_SCRIPT_FLUSH)
            continue;
        const char *got = applied(f, (enum command_op)op, 0, N(), A());
        if (strcmp(got, "!UNKNOWN") != 0)
            fail_msg("op %d without args: %s", op, got);
    }
    CHECK("!UNKNOWN", OP_GET, 0, N(), A("k", "k"));
    CHECK("!UNKNOWN", OP_SET, CMD_EXPIRE, N(1), A("k", "v"));
    CHECK("!UNKNOWN", OP_SET, CMD_IFEQ, N(), A("k", "v"));
    CHECK("!UNKNOWN", OP_GETEX, CMD_EXPIRE, N(), A("k"));
    CHECK("!UNKNOWN", OP_INCRBY, 0, N(), A("k"));
    CHECK("nil", OP_NOP, CMD_NX, N(1, 2), A("k", "v"));
    GET("k", "'v'");
}

/* Whatever a log entry holds, each command gives one outcome and the same state on two stores. */
static void any_command_runs_alike_on_two_stores(void **state)
{
    struct fixture *f = *state;
    void *other_state;
    setup(&other_state);
    struct fixture *other = other_state;
    const char *given = getenv("HOLDFAST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    print_message("HOLDFAST_SEED=%u\n", seed);
    srandom(seed);
    static const char *const words[] = {"a", "b", "c", "1", "-7", "1.5", "1e300", "*", "", "long long long text"};
    static const int64_t numbers[] = {0, 1, -1, 2, 5, 100, 999, INT64_MAX, INT64_MIN, 1000001};
    for (int i = 0; i < 20000; i++) {
        struct args args = {.n = (size_t)random() % 5};
        struct nums nums = {.n = (size_t)random() % 5};
        const char *texts[5];
        for (size_t j = 0; j < args.n; j++)
            texts[j] = words[(size_t)random() % (j == 0 ? 3 : 10)];
        for (size_t j = 0; j < nums.n; j++)
            nums.at[j] = numbers[random() % 10];
        args = args_from(args.n, texts);
        int op = random() % 2 == 0 ? (int)(random() % 22) : OP_GET + (int)(random() % 17);
        int flags = random() % 3 == 0 ? (int)(random() & 0x7ff) : 0;
        applied(f, (enum command_op)op, flags, nums, args);
        assert_string_equal(applied(other, (enum command_op)op, flags, nums, args), f->text);
        assert_true(store_hash(f->store) == store_hash(other->store));
        f->clock_ms += (uint64_t)random() % 3;
        other->clock_ms = f->clock_ms;
    }
    teardown(&other_state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(set_conditions),
        TEST(set_expiry),
        TEST(mset),
        TEST(getdel_getex_delif),
        TEST(append_and_ranges),
        TEST(values_do_not_outgrow_the_limit),
        TEST(lcs),
        TEST(incrby),
        TEST(incrbyfloat),
        TEST(vincr),
        TEST(vset_and_vget),
        TEST(cas),
        TEST(cas_on_raw),
        TEST(vappend),
        TEST(expire),
        TEST(ttl_is_rounded_and_wall_time_told_back),
        TEST(reads_see_a_key_until_the_log_says_otherwise),
        TEST(a_due_key_is_absent_and_removed_by_writes),
        TEST(expired_removes_only_what_is_due),
        TEST(the_clock_never_goes_back),
        TEST(rename_and_copy),
        TEST(flushall_is_one_change),
        TEST(what_is_due_is_known),
        TEST(about_keys),
        TEST(scan_meets_what_stays),
        TEST(scan_passes_due_keys_in_bounded_steps),
        TEST(one_reply_has_a_limit),
        TEST(one_batch_has_a_limit),
        TEST(randomkey_reaches_all_of_few),
        TEST(broken_commands_are_refused),
        TEST(any_command_runs_alike_on_two_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
