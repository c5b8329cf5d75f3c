/* test_store_list.c - a list against an array that is told the same, through flushes and a store opened anew; what lies
 * in parts is gone when the key is; and deleting a long list takes turns. HOLDFAST_SEED replays a run. */
#include "tests/support/store_coord.h"
#include "store/list.h"
#include <sqlite3.h>

#define MODEL_MAX 4000
#define STEPS 3000

struct model {
    struct bytes items[MODEL_MAX];
    size_t n;
    struct chance chance;
    uint8_t filler[3 * PARTS_LIST_BYTES];
};

static uint64_t below(struct model *m, uint64_t n)
{
    return chance_below(&m->chance, n);
}

/* Most are short and few different ones, some fill a part alone. */
static struct bytes some_element(struct model *m)
{
    size_t len = below(m, 40) == 0 ? below(m, sizeof m->filler) : below(m, 60);
    return (struct bytes){.base = m->filler + below(m, 3), .len = len > 2 ? len - 2 : 0};
}

static const char *run(struct coord *f, enum command_op op, uint16_t flags, const int64_t *nums, uint8_t n_nums,
                       const struct bytes *args, uint32_t n_args)
{
    struct command_buf b = {0};
    assert_true(command_add(&b, op, flags, nums, n_nums, args, n_args) >= 0);
    coord_apply(f, &b, 1);
    command_buf_release(&b);
    return n_args > 0 && op == OP_LRANGE ? NULL : coord_text(f);
}

#define KEY text("l")
#define NUMS(...) ((const int64_t[]){__VA_ARGS__})
#define ARGS(...) ((const struct bytes[]){__VA_ARGS__})

static void model_insert(struct model *m, size_t at, struct bytes element)
{
    memmove(&m->items[at + 1], &m->items[at], (m->n - at) * sizeof *m->items);
    m->items[at] = element;
    m->n++;
}

static void model_remove(struct model *m, size_t at, size_t n)
{
    memmove(&m->items[at], &m->items[at + n], (m->n - at - n) * sizeof *m->items);
    m->n -= n;
}

static bool same(struct bytes a, struct bytes b)
{
    return a.len == b.len && memcmp(a.base, b.base, a.len) == 0;
}

static void assert_number(const char *text, int64_t n)
{
    assert_int_equal(strtoll(text, NULL, 10), n);
}

static void step_push(struct coord *f, struct model *m)
{
    bool tail = below(m, 2) != 0;
    struct bytes e[9] = {KEY};
    uint32_t n = 1 + (uint32_t)below(m, 8);
    for (uint32_t i = 0; i < n; i++) {
        e[1 + i] = some_element(m);
        model_insert(m, tail ? m->n : 0, e[1 + i]);
    }
    assert_number(run(f, OP_PUSH, 0, NUMS(tail), 1, e, n + 1), (int64_t)m->n);
}

static void step_pop(struct coord *f, struct model *m)
{
    bool tail = below(m, 2) != 0;
    size_t n = below(m, 60) == 0 ? below(m, 200) : 1;
    run(f, OP_POP, 0, NUMS(tail, (int64_t)n), 2, ARGS(KEY), 1);
    n = n < m->n ? n : m->n;
    model_remove(m, tail ? m->n - n : 0, n);
}

static void step_insert(struct coord *f, struct model *m)
{
    struct bytes pivot = some_element(m), e = some_element(m);
    bool after = below(m, 2) != 0;
    size_t at = 0;
    while (at < m->n && !same(m->items[at], pivot))
        at++;
    bool found = at < m->n;
    if (found)
        model_insert(m, after ? at + 1 : at, e);
    const char *answer = run(f, OP_LINSERT, 0, NUMS(after), 1, ARGS(KEY, pivot, e), 3);
    assert_number(answer, found ? (int64_t)m->n : m->n == 0 ? 0 : -1);
}

static void step_set(struct coord *f, struct model *m)
{
    struct bytes e = some_element(m);
    if (m->n == 0)
        return;
    size_t at = below(m, m->n);
    m->items[at] = e;
    assert_string_equal(run(f, OP_LSET, 0, NUMS((int64_t)at), 1, ARGS(KEY, e), 2), "OK");
}

static void step_remove(struct coord *f, struct model *m)
{
    struct bytes e = some_element(m);
    int64_t count = (int64_t)below(m, 9) - 4, removed = 0;
    int64_t max = count == 0 ? INT64_MAX : count < 0 ? -count : count;
    for (size_t i = 0; i < m->n && removed < max;) {
        size_t at = count < 0 ? m->n - 1 - i : i;
        if (same(m->items[at], e)) {
            model_remove(m, at, 1);
            removed++;
        } else {
            i++;
        }
    }
    assert_number(run(f, OP_LREM, 0, NUMS(count), 1, ARGS(KEY, e), 2), removed);
}

static void step_trim(struct coord *f, struct model *m)
{
    size_t head = below(m, 4), tail = below(m, 4);
    if (m->n <= head + tail || below(m, 20) != 0)
        return;
    run(f, OP_LTRIM, 0, NUMS((int64_t)head, -1 - (int64_t)tail), 2, ARGS(KEY), 1);
    model_remove(m, m->n - tail, tail);
    model_remove(m, 0, head);
}

static void step_rotate(struct coord *f, struct model *m)
{
    bool from = below(m, 2) != 0, to = below(m, 2) != 0;
    run(f, OP_LMOVE, 0, NUMS(from, to), 2, ARGS(KEY, KEY), 2);
    if (m->n == 0)
        return;
    struct bytes e = m->items[from ? m->n - 1 : 0];
    model_remove(m, from ? m->n - 1 : 0, 1);
    model_insert(m, to ? m->n : 0, e);
}

/* Element by element, and by index from wherever. */
static void assert_same(struct coord *f, struct model *m)
{
    struct outcome o;
    run(f, OP_LRANGE, 0, NUMS(0, -1), 2, ARGS(KEY), 1);
    size_t at = outcome_next(f->out.base, f->out.len, &o);
    assert_int_equal(o.n, m->n);
    for (size_t i = 0; i < m->n; i++) {
        at += outcome_next(f->out.base + at, f->out.len - at, &o);
        assert_true(same((struct bytes){(const uint8_t *)o.bytes, o.len}, m->items[i]));
    }
    if (m->n == 0)
        return;
    size_t i = below(m, m->n);
    struct command_buf b = {0};
    command_add(&b, OP_LINDEX, 0, NUMS((int64_t)i - (below(m, 2) != 0 ? (int64_t)m->n : 0)), 1, ARGS(KEY), 1);
    coord_apply(f, &b, 1);
    command_buf_release(&b);
    assert_true(outcome_next(f->out.base, f->out.len, &o) > 0);
    assert_true(same((struct bytes){(const uint8_t *)o.bytes, o.len}, m->items[i]));
}

/* Rows of parts and of trash in the file. */
static int64_t parts_left(struct coord *f)
{
    char path[FIXTURE_PATH];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(store_flush_now(f->store), 0);
    fixture_path(path, f->dir, STORE_FILE);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    static const char sql[] = "SELECT (SELECT count(*) FROM part_rows) + (SELECT count(*) FROM trash_rows)";
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static void a_list_is_an_array(void **state)
{
    static void (*const steps[])(struct coord * f, struct model * m) = {
        step_push, step_push, step_push,   step_push,   step_pop,  step_pop,
        step_set,  step_set,  step_insert, step_remove, step_trim, step_rotate};
    static struct model m;
    struct coord *f = *state;
    size_t most = 0;
    m = (struct model){.chance = {fixture_seed()}};
    for (size_t i = 0; i < sizeof m.filler; i++)
        m.filler[i] = (uint8_t)('a' + i % 3);
    for (int i = 0; i < STEPS; i++) {
        steps[m.n > MODEL_MAX - 10 ? 4 : below(&m, sizeof steps / sizeof *steps)](f, &m);
        most = m.n > most ? m.n : most;
        if (i % 50 == 0)
            assert_same(f, &m);
        if (i % 500 == 0)
            coord_reopen(f);
    }
    assert_same(f, &m);
    assert_true(most > 300);
    while (m.n > 0)
        step_pop(f, &m);
    assert_string_equal(run(f, OP_EXISTS, 0, NULL, 0, ARGS(KEY), 1), "0");
    assert_int_equal(parts_left(f), 0);
}

static void push_many(struct coord *f, const char *key, size_t n)
{
    static uint8_t element[1000];
    for (; n > 0; n--)
        run(f, OP_PUSH, 0, NUMS(1), 1, ARGS(text(key), {element, sizeof element}), 2);
}

/* A rename moves no part, a copy has its own, and each way of losing a key loses its parts. */
static void parts_go_with_their_key(void **state)
{
    struct coord *f = *state;
    push_many(f, "a", 100);
    int64_t one = parts_left(f);
    assert_true(one > 10);
    assert_string_equal(run(f, OP_RENAME, 0, NULL, 0, ARGS(text("a"), text("b")), 2), "OK");
    assert_int_equal(parts_left(f), one);
    assert_string_equal(run(f, OP_COPY, 0, NULL, 0, ARGS(text("b"), text("c")), 2), "1");
    assert_int_equal(parts_left(f), 2 * one);
    run(f, OP_POP, 0, NUMS(0, 50), 2, ARGS(text("c")), 1);
    assert_string_equal(run(f, OP_LLEN, 0, NULL, 0, ARGS(text("b")), 1), "100");
    assert_string_equal(run(f, OP_SET, 0, NULL, 0, ARGS(text("c"), text("v")), 2), "OK");
    assert_int_equal(parts_left(f), one);
    push_many(f, "d", 100);
    assert_string_equal(run(f, OP_RENAME, 0, NULL, 0, ARGS(text("d"), text("b")), 2), "OK");
    assert_int_equal(parts_left(f), one);
    assert_string_equal(run(f, OP_EXPIRE, 0, NUMS(100, 1), 2, ARGS(text("b")), 1), "1");
    coord_pass(f, 101);
    assert_int_equal(parts_left(f), 0);
    push_many(f, "e", 100);
    assert_string_equal(run(f, OP_FLUSHALL, 0, NULL, 0, NULL, 0), "OK");
    assert_int_equal(parts_left(f), 0);
}

static void a_long_list_is_deleted_in_turns(void **state)
{
    struct coord *f = *state;
    push_many(f, "l", 4 * (PARTS_AT_ONCE + PARTS_A_TURN + 100));
    int64_t all = parts_left(f);
    assert_true(all > PARTS_AT_ONCE + PARTS_A_TURN);
    assert_string_equal(run(f, OP_DEL, 0, NULL, 0, ARGS(KEY), 1), "1");
    assert_int_equal(parts_left(f), all - PARTS_AT_ONCE + 1); /* One row for the trash. */
    coord_reopen(f);
    coord_pass(f, 1);
    assert_int_equal(parts_left(f), all - PARTS_AT_ONCE - PARTS_A_TURN + 1);
    coord_pass(f, 1);
    assert_int_equal(parts_left(f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_list_is_an_array, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(parts_go_with_their_key, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_long_list_is_deleted_in_turns, coord_setup, coord_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
