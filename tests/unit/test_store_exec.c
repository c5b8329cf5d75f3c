/* test_store_exec.c - transactions inside the state: watches by version, refusals in their place, nothing in between,
 * and nothing at all of what is not well-formed. */
#include "tests/support/store_fixture.h"
#include "store/little.h"

struct fixture {
    char dir[FIXTURE_PATH];
    struct store *store;
    struct outcome_buf out;
    uint64_t clock_ms;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char error[256];
    fixture_dir(f->dir);
    struct store_options options = fixture_options(f->dir);
    assert_int_equal(store_open(&options, error, &f->store), 0);
    f->clock_ms = 1000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_abandon(f->store);
    outcome_buf_release(&f->out);
    fixture_remove_dir(f->dir);
    free(f);
    return 0;
}

/* ---- Making and running commands ---- */

static struct bytes literal(const char *s)
{
    return (struct bytes){.base = (const uint8_t *)s, .len = strlen(s)};
}

/* A transaction being put together. */
struct tx {
    struct command_buf commands[8];
    size_t n;
    const char *keys[4];
    uint8_t versions[4][EXEC_VERSION_BYTES];
    size_t n_watches;
};

static void add(struct tx *t, enum command_op op, const char *a, const char *b)
{
    struct bytes args[2] = {literal(a), literal(b != NULL ? b : "")};
    int64_t one = 1;
    command_add(&t->commands[t->n++], op, 0, &one, op == OP_INCRBY, args, b != NULL ? 2 : 1);
}

static void watch(struct tx *t, const char *key, uint64_t version)
{
    t->keys[t->n_watches] = key;
    little_put_u64(t->versions[t->n_watches++], version);
}

static void encode(struct tx *t, enum command_op op, struct command_buf *ret)
{
    struct bytes args[16];
    int64_t n = (int64_t)t->n;
    uint32_t n_args = 0;
    for (size_t i = 0; i < t->n; i++)
        args[n_args++] = (struct bytes){t->commands[i].base, t->commands[i].len};
    for (size_t i = 0; i < t->n_watches; i++) {
        args[n_args++] = literal(t->keys[i]);
        args[n_args++] = (struct bytes){t->versions[i], EXEC_VERSION_BYTES};
    }
    assert_true(command_add(ret, op, 0, &n, 1, args, n_args) >= 0);
    for (size_t i = 0; i < t->n; i++)
        command_buf_release(&t->commands[i]);
}

static void apply_encoded(struct fixture *f, const uint8_t *command, size_t len)
{
    struct command_buf b = {0};
    enum store_applied what;
    batch_begin(&b, 0, 0, 0);
    b.base = realloc(b.base, b.len + len);
    memcpy(b.base + b.len, command, len);
    batch_set_count(b.base, 1);
    batch_stamp(b.base, f->clock_ms);
    f->out.len = 0;
    assert_int_equal(store_apply(f->store, store_applied(f->store) + 1, 1, b.base, b.len + len, &f->out, &what), 0);
    assert_int_equal(what, STORE_APPLIED);
    command_buf_release(&b);
    assert_int_equal(outcome_span(f->out.base, f->out.len), f->out.len);
}

static void apply(struct fixture *f, struct tx *t)
{
    struct command_buf b = {0};
    encode(t, OP_EXEC, &b);
    apply_encoded(f, b.base, b.len);
    command_buf_release(&b);
}

static void read_encoded(struct fixture *f, const struct command_buf *b)
{
    size_t used;
    f->out.len = 0;
    assert_int_equal(store_read(f->store, b->base, b->len, f->clock_ms, &f->out, &used), 0);
    assert_int_equal(used, b->len);
}

static void apply_one(struct fixture *f, enum command_op op, const char *a, const char *b)
{
    struct tx t = {0};
    add(&t, op, a, b);
    apply_encoded(f, t.commands[0].base, t.commands[0].len);
    command_buf_release(&t.commands[0]);
}

static uint64_t version_of(struct fixture *f, const char *key)
{
    struct command_buf b = {0};
    struct bytes arg = literal(key);
    struct outcome o;
    command_add(&b, OP_VERSIONS, 0, NULL, 0, &arg, 1);
    read_encoded(f, &b);
    command_buf_release(&b);
    size_t head = outcome_next(f->out.base, f->out.len, &o);
    assert_true(o.tag == OUTCOME_ARRAY && o.n == 1);
    assert_true(outcome_next(f->out.base + head, f->out.len - head, &o) > 0 && o.tag == OUTCOME_INT);
    return (uint64_t)o.n;
}

/* The outcomes as a string of their tags. */
static void expect_tags(struct fixture *f, const char *want)
{
    char tags[32] = "";
    struct outcome o;
    for (size_t at = 0, n = 0; at < f->out.len && n < sizeof tags - 1; n++) {
        at += outcome_next(f->out.base + at, f->out.len - at, &o);
        tags[n] = (char)o.tag;
    }
    assert_string_equal(tags, want);
}

/* ---- Tests ---- */

static void refusals_keep_their_place(void **state)
{
    struct fixture *f = *state;
    struct tx t = {0};
    add(&t, OP_SET, "s", "abc");
    add(&t, OP_INCRBY, "s", NULL);
    add(&t, OP_GET, "s", NULL);
    add(&t, OP_INCRBY, "n", NULL);
    apply(f, &t);
    expect_tags(f, "akrbi");
    assert_int_equal(store_revision(f->store), 2);
}

static void nothing_queued_is_an_empty_array(void **state)
{
    struct fixture *f = *state;
    struct tx t = {0};
    apply(f, &t);
    expect_tags(f, "a");
}

static void watches_hold_by_version(void **state)
{
    struct fixture *f = *state;
    apply_one(f, OP_SET, "k", "1");
    uint64_t seen = version_of(f, "k");
    struct tx hold = {0}, fail = {0}, recreated = {0};
    watch(&hold, "k", seen);
    watch(&hold, "none", 0);
    add(&hold, OP_INCRBY, "k", NULL);
    apply(f, &hold);
    expect_tags(f, "ai");
    uint64_t revision = store_revision(f->store), hash = store_hash(f->store);
    watch(&fail, "k", seen);
    add(&fail, OP_INCRBY, "k", NULL);
    apply(f, &fail);
    expect_tags(f, "z");
    assert_int_equal(store_revision(f->store), revision);
    assert_true(store_hash(f->store) == hash);
    seen = version_of(f, "k");
    apply_one(f, OP_DEL, "k", NULL);
    apply_one(f, OP_SET, "k", "2");
    watch(&recreated, "k", seen);
    apply(f, &recreated);
    expect_tags(f, "z");
}

static void expiry_is_a_change(void **state)
{
    struct fixture *f = *state;
    struct command_buf b = {0};
    struct bytes args[] = {literal("k"), literal("v")};
    int64_t left[] = {50, 1};
    command_add(&b, OP_SET, CMD_EXPIRE, left, 2, args, 2);
    apply_encoded(f, b.base, b.len);
    command_buf_release(&b);
    uint64_t seen = version_of(f, "k");
    assert_true(seen > 0);
    f->clock_ms += 50;
    struct tx t = {0}, gone = {0};
    watch(&t, "k", seen);
    apply(f, &t);
    expect_tags(f, "z");
    assert_int_equal(version_of(f, "k"), 0); /* Due, though its row is still there. */
    watch(&gone, "k", 0);
    apply(f, &gone);
    expect_tags(f, "a");
}

static void reads_need_no_entry(void **state)
{
    struct fixture *f = *state;
    apply_one(f, OP_SET, "k", "v");
    struct tx t = {0}, writes = {0};
    struct command_buf b = {0};
    add(&t, OP_GET, "k", NULL);
    add(&t, OP_STRLEN, "k", NULL);
    watch(&t, "k", version_of(f, "k"));
    encode(&t, OP_EXEC_READ, &b);
    read_encoded(f, &b);
    expect_tags(f, "abi");
    command_buf_release(&b);
    uint64_t revision = store_revision(f->store);
    add(&writes, OP_GET, "k", NULL);
    add(&writes, OP_INCRBY, "n", NULL);
    encode(&writes, OP_EXEC_READ, &b);
    read_encoded(f, &b);
    expect_tags(f, "r");
    assert_int_equal(store_revision(f->store), revision);
    command_buf_release(&b);
}

static void transactions_do_not_nest(void **state)
{
    struct fixture *f = *state;
    struct tx inner = {0};
    struct command_buf b = {0}, outer = {0};
    int64_t one = 1;
    add(&inner, OP_SET, "k", "v");
    encode(&inner, OP_EXEC, &b);
    struct bytes arg = {b.base, b.len};
    command_add(&outer, OP_EXEC, 0, &one, 1, &arg, 1);
    apply_encoded(f, outer.base, outer.len);
    expect_tags(f, "r");
    assert_int_equal(store_keys(f->store), 0);
    command_buf_release(&b);
    command_buf_release(&outer);
}

/* Counts that lie, parts that are cut: one refusal, and no change. */
static void malformed_does_nothing(void **state)
{
    struct fixture *f = *state;
    struct tx t = {0};
    add(&t, OP_SET, "k", "v");
    struct bytes command = {t.commands[0].base, t.commands[0].len};
    static const int64_t counts[] = {-1, 2, 3, EXEC_COMMANDS_MAX + 1, INT64_MAX, INT64_MIN, (int64_t)1 << 32};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct command_buf b = {0};
        command_add(&b, OP_EXEC, 0, &counts[i], 1, &command, 1);
        apply_encoded(f, b.base, b.len);
        expect_tags(f, "r");
        command_buf_release(&b);
    }
    for (size_t len = 0; len < command.len; len++) {
        struct command_buf b = {0};
        int64_t two = 2;
        struct bytes args[] = {command, {command.base, len}};
        command_add(&b, OP_EXEC, 0, &two, 1, args, 2);
        apply_encoded(f, b.base, b.len);
        expect_tags(f, "r");
        command_buf_release(&b);
    }
    struct bytes short_version[] = {literal("k"), literal("1234567")};
    struct command_buf b = {0};
    int64_t none = 0;
    command_add(&b, OP_EXEC, 0, &none, 1, short_version, 2);
    apply_encoded(f, b.base, b.len);
    expect_tags(f, "r");
    command_buf_release(&b);
    command_buf_release(&t.commands[0]);
    assert_int_equal(store_keys(f->store), 0);
}

/* What was cancelled before a re-send does nothing and still has one outcome. */
static void cancelled_is_nothing(void **state)
{
    struct fixture *f = *state;
    struct tx t = {0};
    struct command_buf b = {0};
    add(&t, OP_SET, "k", "v");
    encode(&t, OP_EXEC, &b);
    command_cancel(b.base);
    apply_encoded(f, b.base, b.len);
    expect_tags(f, "n");
    assert_int_equal(store_keys(f->store), 0);
    command_buf_release(&b);
}

static void answers_are_bounded(void **state)
{
    struct fixture *f = *state;
    size_t len = 8u << 20;
    char *value = malloc(len + 1);
    memset(value, 'x', len);
    value[len] = '\0';
    apply_one(f, OP_SET, "big", value);
    free(value);
    struct tx t = {0};
    for (int i = 0; i < 6; i++)
        add(&t, OP_GET, "big", NULL);
    add(&t, OP_INCRBY, "n", NULL);
    apply(f, &t);
    expect_tags(f, "abbbrrri"); /* The last is short enough again. */
    assert_int_equal(store_keys(f->store), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refusals_keep_their_place), TEST(nothing_queued_is_an_empty_array),
        TEST(watches_hold_by_version),   TEST(expiry_is_a_change),
        TEST(reads_need_no_entry),       TEST(transactions_do_not_nest),
        TEST(malformed_does_nothing),    TEST(cancelled_is_nothing),
        TEST(answers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
