/* test_store_hash.c - a hash against an array that is told the same, through flushes and a store opened anew, small and
 * with thousands of fields; HSCAN misses nothing that was there throughout; HRANDFIELD gives every field its chance.
 * HOLDFAST_SEED replays a run. */
#include "tests/support/store_coord.h"
#include "store/hash.h"

#define FIELDS 3000
#define STEPS 12000

struct model {
    struct chance chance;
    bool has[FIELDS];
    uint32_t value[FIELDS]; /* Length and content follow from it. */
    size_t n;
    char filler[5000];
};

#define KEY text("h")
#define NUMS(...) ((const int64_t[]){__VA_ARGS__})
#define ARGS(...) ((const struct bytes[]){__VA_ARGS__})

static struct bytes field_of(unsigned i)
{
    static char names[2][32];
    static int turn;
    char *name = names[turn ^= 1];
    return (struct bytes){.base = (uint8_t *)name, .len = (size_t)snprintf(name, 32, "field-%u", i)};
}

static struct bytes value_of(struct model *m, uint32_t v)
{
    return (struct bytes){.base = (uint8_t *)m->filler + v % 26, .len = v % 50 == 0 ? v % 4000 : v % 40};
}

static void apply(struct coord *f, enum command_op op, const int64_t *nums, uint8_t n_nums, const struct bytes *args,
                  uint32_t n_args)
{
    struct command_buf b = {0};
    assert_true(command_add(&b, op, 0, nums, n_nums, args, n_args) >= 0);
    coord_apply(f, &b, 1);
    command_buf_release(&b);
}

static int64_t number(struct coord *f)
{
    struct outcome o;
    assert_true(outcome_next(f->out.base, f->out.len, &o) > 0);
    assert_int_equal(o.tag, OUTCOME_INT);
    return o.n;
}

static void step_set(struct coord *f, struct model *m, unsigned fields)
{
    unsigned i = (unsigned)chance_below(&m->chance, fields);
    m->value[i] = (uint32_t)chance_below(&m->chance, 1000000);
    apply(f, OP_HSET, NUMS(0), 1, ARGS(KEY, field_of(i), value_of(m, m->value[i])), 3);
    assert_int_equal(number(f), !m->has[i]);
    m->n += !m->has[i];
    m->has[i] = true;
}

static void step_delete(struct coord *f, struct model *m, unsigned fields)
{
    unsigned i = (unsigned)chance_below(&m->chance, fields), k = (unsigned)chance_below(&m->chance, fields);
    apply(f, OP_HDEL, NULL, 0, ARGS(KEY, field_of(i), field_of(k)), 3);
    assert_int_equal(number(f), m->has[i] + (m->has[k] && i != k));
    m->n -= m->has[i] + (m->has[k] && i != k);
    m->has[i] = m->has[k] = false;
}

static bool same(const struct outcome *o, struct bytes b)
{
    return o->len == b.len && memcmp(o->bytes, b.base, b.len) == 0;
}

static unsigned field_number(const struct outcome *o)
{
    assert_true(o->tag == OUTCOME_BULK && o->len > 6 && o->len < 20);
    char digits[20] = "";
    memcpy(digits, o->bytes + 6, o->len - 6);
    return (unsigned)strtoul(digits, NULL, 10);
}

/* All of it, and one field alone. */
static void assert_same(struct coord *f, struct model *m)
{
    struct outcome o;
    apply(f, OP_HGETALL, NUMS(0), 1, ARGS(KEY), 1);
    size_t at = outcome_next(f->out.base, f->out.len, &o), seen = 0;
    assert_int_equal(o.n, m->n);
    for (; at < f->out.len; seen++) {
        at += outcome_next(f->out.base + at, f->out.len - at, &o);
        unsigned i = field_number(&o);
        assert_true(i < FIELDS && m->has[i]);
        at += outcome_next(f->out.base + at, f->out.len - at, &o);
        assert_true(same(&o, value_of(m, m->value[i])));
    }
    assert_int_equal(seen, m->n);
    unsigned i = (unsigned)chance_below(&m->chance, FIELDS);
    apply(f, OP_HGET, NULL, 0, ARGS(KEY, field_of(i)), 2);
    assert_true(outcome_next(f->out.base, f->out.len, &o) > 0);
    assert_int_equal(o.tag, m->has[i] ? OUTCOME_BULK : OUTCOME_NIL);
    assert_true(!m->has[i] || same(&o, value_of(m, m->value[i])));
    apply(f, OP_HLEN, NULL, 0, ARGS(KEY), 1);
    assert_int_equal(number(f), m->n);
}

static struct model *model_new(void)
{
    static struct model m;
    m = (struct model){.chance = {fixture_seed()}};
    for (size_t i = 0; i < sizeof m.filler; i++)
        m.filler[i] = (char)('a' + i % 26);
    return &m;
}

static void a_hash_is_a_map(void **state)
{
    struct coord *f = *state;
    struct model *m = model_new();
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned fields = i < STEPS / 4 ? 60 : FIELDS;
        if (chance_below(&m->chance, 4) == 0)
            step_delete(f, m, fields);
        else
            step_set(f, m, fields);
        if (i % 100 == 0)
            assert_same(f, m);
        if (i % 1000 == 0)
            coord_reopen(f);
    }
    assert_true(m->n > 500);
    while (m->n > 0)
        step_delete(f, m, FIELDS);
    apply(f, OP_EXISTS, NULL, 0, ARGS(KEY), 1);
    assert_int_equal(number(f), 0);
}

/* Read a page of HSCAN: the next cursor; marks what it shows. */
static int64_t scan_page(struct coord *f, int64_t cursor, int64_t count, bool seen[FIELDS])
{
    struct outcome o;
    apply(f, OP_HSCAN, NUMS(cursor, count), 2, ARGS(KEY, text("")), 2);
    size_t at = outcome_next(f->out.base, f->out.len, &o);
    at += outcome_next(f->out.base + at, f->out.len - at, &o);
    int64_t next = strtoll(o.bytes, NULL, 10);
    at += outcome_next(f->out.base + at, f->out.len - at, &o);
    while (at < f->out.len) {
        at += outcome_next(f->out.base + at, f->out.len - at, &o);
        seen[field_number(&o)] = true;
        at += outcome_next(f->out.base + at, f->out.len - at, &o);
    }
    return next;
}

/* Fields come and go, and parts are halved, while it walks. */
static void a_scan_meets_what_was_there_throughout(void **state)
{
    struct coord *f = *state;
    struct model *m = model_new();
    bool throughout[FIELDS], seen[FIELDS] = {false};
    for (int i = 0; i < 600; i++)
        step_set(f, m, FIELDS / 4);
    memcpy(throughout, m->has, sizeof throughout);
    int64_t cursor = 0;
    int pages = 0;
    do {
        cursor = scan_page(f, cursor, 10, seen);
        for (int i = 0; i < 40; i++) {
            if (i % 3 == 0)
                step_delete(f, m, FIELDS);
            else
                step_set(f, m, FIELDS);
        }
        for (unsigned i = 0; i < FIELDS; i++)
            throughout[i] = throughout[i] && m->has[i];
        assert_true(++pages < 1000);
    } while (cursor != 0);
    assert_true(pages > 5);
    size_t n = 0;
    for (unsigned i = 0; i < FIELDS; i++) {
        n += throughout[i];
        assert_true(!throughout[i] || seen[i]);
    }
    assert_true(n > 50);
}

static void count_fields(struct coord *f, int64_t count, uint64_t seed, unsigned hits[FIELDS])
{
    struct outcome o;
    apply(f, OP_HRANDFIELD, NUMS(1, count, (int64_t)seed), 3, ARGS(KEY), 1);
    size_t at = outcome_next(f->out.base, f->out.len, &o);
    while (at < f->out.len) {
        at += outcome_next(f->out.base + at, f->out.len - at, &o);
        hits[field_number(&o)]++;
    }
}

/* Some hundreds of fields in parts of uneven length, each drawn a hundred times on average. */
static void every_field_has_its_chance(void **state)
{
    struct coord *f = *state;
    struct model *m = model_new();
    unsigned hits[FIELDS] = {0}, drawn[FIELDS] = {0};
    while (m->n < 300)
        step_set(f, m, FIELDS / 4);
    count_fields(f, -30000, chance_next(&m->chance), hits);
    for (unsigned i = 0; i < FIELDS; i++)
        assert_true(m->has[i] ? hits[i] > 20 && hits[i] < 300 : hits[i] == 0);
    count_fields(f, 250, chance_next(&m->chance), drawn);
    unsigned n = 0;
    for (unsigned i = 0; i < FIELDS; i++) {
        assert_true(drawn[i] <= m->has[i]);
        n += drawn[i];
    }
    assert_int_equal(n, 250);
    count_fields(f, 100000, 1, drawn);
    for (unsigned i = 0; i < FIELDS; i++)
        assert_true(drawn[i] >= m->has[i]);
}

#define MANY 30000
#define AT_ONCE 500

/* args: the key, and then AT_ONCE fields from `first` on, each with itself as its value if so wanted. */
static uint32_t many_args(struct bytes *args, char names[][16], int first, bool values)
{
    uint32_t n = 0;
    args[n++] = KEY;
    for (int i = 0; i < AT_ONCE; i++) {
        int len = snprintf(names[i], 16, "field-%d", first + i);
        for (int twice = values ? 2 : 1; twice > 0; twice--)
            args[n++] = (struct bytes){(const uint8_t *)names[i], (size_t)len};
    }
    return n;
}

/* Of many fields one is left, in one of many slots of many parts. */
static void the_last_of_many_is_found_by_chance(void **state)
{
    struct coord *f = *state;
    struct bytes args[2 * AT_ONCE + 1];
    char names[AT_ONCE][16];
    struct outcome o;
    for (int i = 0; i < MANY; i += AT_ONCE)
        apply(f, OP_HSET, NUMS(0), 1, args, many_args(args, names, i, true));
    for (int i = 0; i < MANY - AT_ONCE; i += AT_ONCE)
        apply(f, OP_HDEL, NULL, 0, args, many_args(args, names, i, false));
    apply(f, OP_HDEL, NULL, 0, args, many_args(args, names, MANY - AT_ONCE, false) - 1);
    for (int seed = 0; seed < 20; seed++) {
        apply(f, OP_HRANDFIELD, NUMS(0, 1, seed), 3, ARGS(KEY), 1);
        assert_true(outcome_next(f->out.base, f->out.len, &o) > 0);
        assert_int_equal(o.len, strlen(names[AT_ONCE - 1]));
        assert_memory_equal(o.bytes, names[AT_ONCE - 1], o.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_hash_is_a_map, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_scan_meets_what_was_there_throughout, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(every_field_has_its_chance, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(the_last_of_many_is_found_by_chance, coord_setup, coord_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
