/* test_store_rows.c - the row cache against a plain array, with the flusher at work beside it. */
#include "tests/support/store_fixture.h"
#include "store/flush.h"
#include "store/rows_internal.h"
#include "store/schema.h"

#define MODEL_KEYS 2000
#define MODEL_STEPS 60000

struct model_row {
    bool there;
    uint8_t type, fill;
    size_t value_len;
    uint64_t version;
    int64_t expire_ms, wall_ms;
};

struct fixture {
    char dir[FIXTURE_PATH], path[FIXTURE_PATH];
    sqlite3 *db;
    struct rows *rows;
    struct flusher *flusher;
    struct flush flush;
    bool flushing;
    struct chance chance;
    uint64_t version;
    struct model_row model[MODEL_KEYS];
};

static void open_rows(struct fixture *f, size_t cache_bytes, const struct rows_total *totals)
{
    char error[256] = "";
    fixture_path(f->path, f->dir, STORE_FILE);
    assert_int_equal(schema_open(f->path, SCHEMA_CREATE, fixture_cluster, error, &f->db), 0);
    assert_int_equal(flusher_open(f->path, 1 << 20, true, NULL, NULL, error, &f->flusher), 0);
    assert_int_equal(rows_open(f->db, cache_bytes, totals, &f->rows), 0);
}

static void close_rows(struct fixture *f)
{
    flusher_close(f->flusher);
    flush_release(&f->flush);
    f->flushing = false;
    rows_close(f->rows);
    sqlite3_close(f->db);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const struct rows_total none[SPACE_N] = {0};
    fixture_dir(f->dir);
    open_rows(f, 64 << 10, none);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_rows(f);
    fixture_remove_dir(f->dir);
    free(f);
    return 0;
}

static void start_flush(struct fixture *f)
{
    flush_release(&f->flush);
    rows_freeze(f->rows, &f->flush.rows);
    f->flush.checkpoint = chance_below(&f->chance, 4) == 0;
    for (size_t i = 0; i < SPACE_N; i++)
        f->flush.meta.totals[i] = rows_total(f->rows, (enum space)i);
    f->flush.meta.hash = rows_state_hash(f->rows);
    f->flushing = true;
    flusher_start(f->flusher, &f->flush);
}

static void take_flush(struct fixture *f, bool wait)
{
    struct flush *done = f->flushing ? flusher_take(f->flusher, wait) : NULL;
    flusher_discard(f->flusher, rows_take_trash(f->rows));
    if (done == NULL)
        return;
    if (done->rc != 0)
        fail_msg("flush: %d: %s", done->rc, done->error);
    rows_thaw(f->rows);
    f->flushing = false;
}

static void flush_all(struct fixture *f)
{
    take_flush(f, true);
    start_flush(f);
    take_flush(f, true);
}

static void put(struct fixture *f, const char *key, const char *value)
{
    rows_put(f->rows, key, strlen(key), VALUE_RAW, value, strlen(value), ++f->version, ROW_NO_EXPIRY, 0);
    assert_int_equal(rows_error(f->rows), 0);
}

static const struct row *get(struct fixture *f, const char *key)
{
    const struct row *row = rows_get(f->rows, key, strlen(key));
    assert_int_equal(rows_error(f->rows), 0);
    return row;
}

static void assert_value(struct fixture *f, const char *key, const char *value)
{
    const struct row *row = get(f, key);
    assert_non_null(row);
    assert_int_equal(row->value_len, strlen(value));
    assert_memory_equal(row->value, value, row->value_len);
}

/* Bring in so many other rows that everything clean is thrown out. */
static void push_out(struct fixture *f)
{
    char key[32];
    for (int i = 0; i < 4000; i++) {
        snprintf(key, sizeof key, "filler-%d", i);
        put(f, key, "fills the cache up to its bound and beyond");
        if (i % 500 == 0)
            flush_all(f);
    }
    flush_all(f);
    for (int i = 0; i < 8; i++)
        rows_trim(f->rows);
}

/* ---- the model ---- */

static size_t model_key(size_t i, char key[64])
{
    /* Some are long, one is empty, and their order is not that of their numbers. */
    return i == 0 ? 0 : (size_t)snprintf(key, 64, i % 7 == 0 ? "%zu:a-rather-long-key-with-a-tail" : "%zu", i * 7919);
}

static void model_value(const struct model_row *m, uint8_t *value)
{
    memset(value, m->fill, m->value_len);
}

static uint64_t model_digest(size_t i, const struct model_row *m)
{
    static uint8_t value[1 << 16];
    char key[64];
    size_t len = model_key(i, key);
    model_value(m, value);
    struct row row = {.key = (const uint8_t *)key,
                      .key_len = len,
                      .key_hash = rows_hash(key, len),
                      .type = m->type,
                      .value = value,
                      .value_len = m->value_len,
                      .version = m->version,
                      .expire_ms = m->expire_ms,
                      .wall_ms = m->wall_ms};
    return row_digest(&row);
}

static void assert_row(const struct model_row *m, const struct row *row)
{
    static uint8_t value[1 << 16];
    assert_int_equal(row != NULL, m->there);
    if (row == NULL)
        return;
    model_value(m, value);
    assert_int_equal(row->type, m->type);
    assert_int_equal(row->version, m->version);
    assert_int_equal(row->expire_ms, m->expire_ms);
    assert_int_equal(row->wall_ms, m->wall_ms);
    assert_int_equal(row->value_len, m->value_len);
    assert_memory_equal(row->value, value, m->value_len);
}

static void assert_totals(struct fixture *f)
{
    uint64_t count = 0, expiring = 0, hash = 0;
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        if (!f->model[i].there)
            continue;
        count++;
        expiring += f->model[i].expire_ms != ROW_NO_EXPIRY;
        hash += model_digest(i, &f->model[i]);
    }
    assert_int_equal(rows_count(f->rows), count);
    assert_int_equal(rows_expiring(f->rows), expiring);
    assert_true(rows_state_hash(f->rows) == hash);
}

static size_t random_len(struct chance *c)
{
    static const size_t upto[] = {10, 30, 100, 600, 3000};
    return chance_below(c, upto[chance_below(c, 5)]);
}

static void step_put(struct fixture *f, size_t i)
{
    static uint8_t value[1 << 16];
    char key[64];
    struct model_row *m = &f->model[i];
    bool expires = chance_below(&f->chance, 3) == 0;
    *m = (struct model_row){.there = true,
                            .type = (uint8_t)chance_below(&f->chance, 6),
                            .fill = (uint8_t)chance_next(&f->chance),
                            .value_len = random_len(&f->chance),
                            .version = ++f->version,
                            .expire_ms = expires ? (int64_t)chance_below(&f->chance, 1 << 30) : ROW_NO_EXPIRY,
                            .wall_ms = expires ? 12345 : 0};
    model_value(m, value);
    rows_put(f->rows, key, model_key(i, key), m->type, value, m->value_len, m->version, m->expire_ms, 12345);
}

static void step_expiry(struct fixture *f, size_t i)
{
    char key[64];
    struct model_row *m = &f->model[i];
    int64_t ms = chance_below(&f->chance, 2) == 0 ? ROW_NO_EXPIRY : (int64_t)chance_below(&f->chance, 1 << 30);
    rows_set_expiry(f->rows, key, model_key(i, key), ++f->version, ms, 777);
    if (!m->there)
        return;
    m->version = f->version;
    m->expire_ms = ms;
    m->wall_ms = ms == ROW_NO_EXPIRY ? 0 : 777;
}

static void step_delete(struct fixture *f, size_t i)
{
    char key[64];
    assert_int_equal(rows_delete(f->rows, key, model_key(i, key)), f->model[i].there);
    f->model[i].there = false;
}

static void step_get(struct fixture *f, size_t i)
{
    char key[64];
    assert_row(&f->model[i], rows_get(f->rows, key, model_key(i, key)));
}

static void step_clear(struct fixture *f)
{
    rows_clear(f->rows);
    memset(f->model, 0, sizeof f->model);
}

struct walker {
    struct fixture *f;
    uint64_t last;
    size_t n, stop_at;
    bool seen[MODEL_KEYS];
};

static size_t model_index(const struct row *row)
{
    size_t number = 0;
    for (size_t i = 0; i < row->key_len && row->key[i] >= '0' && row->key[i] <= '9'; i++)
        number = number * 10 + (size_t)(row->key[i] - '0');
    return number / 7919;
}

static bool see(void *ctx, const struct row *row)
{
    struct walker *w = ctx;
    size_t i = model_index(row);
    assert_true(row->key_hash >= w->last);
    assert_true(i < MODEL_KEYS && !w->seen[i]);
    assert_row(&w->f->model[i], row);
    w->seen[i] = true;
    w->last = row->key_hash;
    return ++w->n != w->stop_at;
}

/* Everything is seen once, in order, in pieces that each go on where the last one ended. */
static void step_walk(struct fixture *f)
{
    struct walker w = {.f = f, .stop_at = 1 + chance_below(&f->chance, 700)};
    size_t want = 0, total = 0;
    uint64_t from = 0;
    do {
        w.n = 0;
        rows_walk(f->rows, from, see, &w);
        assert_int_equal(rows_error(f->rows), 0);
        total += w.n;
        from = w.last + 1;
    } while (w.n == w.stop_at);
    for (size_t i = 0; i < MODEL_KEYS; i++)
        want += f->model[i].there;
    assert_int_equal(total, want);
}

static void step(struct fixture *f)
{
    size_t i = chance_below(&f->chance, MODEL_KEYS);
    uint64_t what = chance_below(&f->chance, 10000);
    if (what < 4500)
        step_put(f, i);
    else if (what < 5500)
        step_delete(f, i);
    else if (what < 6500)
        step_expiry(f, i);
    else if (what < 9950)
        step_get(f, i);
    else if (what < 9990)
        step_walk(f);
    else if (what < 9997)
        assert_totals(f);
    else
        step_clear(f);
    assert_int_equal(rows_error(f->rows), 0);
    take_flush(f, false);
    if (!f->flushing && chance_below(&f->chance, 300) == 0)
        start_flush(f);
    if (chance_below(&f->chance, 500) == 0)
        rows_trim(f->rows);
}

/* However flushes, evictions and clearings fall, the cache answers as the array does, and so does SQLite in the end. */
static void changes_match_the_model(void **state)
{
    struct fixture *f = *state;
    f->chance.state = fixture_seed();
    for (int i = 0; i < MODEL_STEPS; i++)
        step(f);
    flush_all(f);
    assert_totals(f);
    struct rows_total totals[SPACE_N];
    for (size_t i = 0; i < SPACE_N; i++)
        totals[i] = rows_total(f->rows, (enum space)i);
    close_rows(f);
    open_rows(f, 64 << 10, totals);
    for (size_t i = 0; i < MODEL_KEYS; i++)
        step_get(f, i);
    step_walk(f);
    assert_true(rows_cache_bytes(f->rows) < 256 << 10);
    assert_file_whole(f->dir);
}

/* ---- one promise each ---- */

static void values_may_come_from_borrowed_rows(void **state)
{
    struct fixture *f = *state;
    char from[32], to[32];
    for (int i = 0; i < 300; i++) {
        snprintf(from, sizeof from, "from-%d", i);
        put(f, from, "a value that is to be copied from row to row");
    }
    flush_all(f);
    push_out(f);
    for (int i = 0; i < 300; i++) { /* Each lookup reads SQLite and may evict, but not what is borrowed. */
        snprintf(from, sizeof from, "from-%d", i);
        snprintf(to, sizeof to, "to-%d", i);
        const struct row *row = get(f, from);
        rows_put(f->rows, to, strlen(to), row->type, row->value, row->value_len, ++f->version, ROW_NO_EXPIRY, 0);
        assert_value(f, to, "a value that is to be copied from row to row");
    }
    const struct row *row = get(f, "to-1");
    rows_put(f->rows, row->key, row->key_len, VALUE_STR, row->value + 2, row->value_len - 2, 1, ROW_NO_EXPIRY, 0);
    assert_value(f, "to-1", "value that is to be copied from row to row");
}

static void what_was_evicted_is_read_again(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    push_out(f);
    assert_true(rows_cache_bytes(f->rows) < 200 << 10);
    assert_value(f, "a", "1");
    assert_null(get(f, "b"));
    put(f, "b", "2"); /* Over the tombstone of the miss. */
    push_out(f);
    assert_value(f, "b", "2");
    assert_int_equal(rows_count(f->rows), 4002);
}

static void rows_under_way_are_not_touched(void **state)
{
    struct fixture *f = *state;
    struct generation g;
    put(f, "changed", "before");
    put(f, "deleted", "before");
    put(f, "kept", "before");
    rows_freeze(f->rows, &g);
    assert_int_equal(g.spaces[SPACE_KEYS].n, 3);
    put(f, "changed", "after");
    rows_delete(f->rows, "deleted", 7);
    rows_set_expiry(f->rows, "kept", 4, ++f->version, 5, 6);
    for (const struct change *c = g.spaces[SPACE_KEYS].first; c != NULL; c = c->next) {
        assert_memory_equal(c->row.value, "before", 6);
        assert_false(c->deleted);
        assert_int_equal(c->row.expire_ms, ROW_NO_EXPIRY);
        assert_true(c->digest == row_digest(&c->row));
    }
    assert_value(f, "changed", "after");
    assert_null(get(f, "deleted"));
    assert_int_equal(get(f, "kept")->expire_ms, 5);
    assert_int_equal(rows_dirty(f->rows), 3);
    rows_thaw(f->rows);
}

static void a_new_expiry_copies_no_long_value(void **state)
{
    struct fixture *f = *state;
    struct generation g;
    static char value[1 << 20];
    memset(value, 'v', sizeof value);
    rows_put(f->rows, "k", 1, VALUE_RAW, value, sizeof value, 1, ROW_NO_EXPIRY, 0);
    const uint8_t *before = get(f, "k")->value;
    rows_freeze(f->rows, &g);
    rows_set_expiry(f->rows, "k", 1, 2, 5, 6);
    assert_ptr_equal(get(f, "k")->value, before);
    rows_put(f->rows, "k", 1, VALUE_RAW, "x", 1, 3, ROW_NO_EXPIRY, 0);
    assert_memory_equal(g.spaces[SPACE_KEYS].first->row.value, value, sizeof value); /* Shared bytes are left alone. */
    rows_thaw(f->rows);
}

static void clearing_hides_the_file_at_once(void **state)
{
    struct fixture *f = *state;
    put(f, "old", "1");
    flush_all(f);
    put(f, "under way", "2");
    start_flush(f);
    rows_clear(f->rows);
    assert_int_equal(rows_count(f->rows), 0);
    assert_true(rows_state_hash(f->rows) == 0);
    assert_null(get(f, "old"));
    assert_null(get(f, "under way"));
    put(f, "new", "3");
    take_flush(f, true);
    assert_null(get(f, "old"));
    start_flush(f); /* The one that wipes. */
    assert_null(get(f, "old"));
    take_flush(f, true);
    assert_null(get(f, "under way"));
    assert_value(f, "new", "3");
    push_out(f);
    assert_null(get(f, "old"));
    assert_value(f, "new", "3");
}

static void a_damaged_row_is_an_error(void **state)
{
    struct fixture *f = *state;
    put(f, "k", "value");
    flush_all(f);
    push_out(f);
    assert_int_equal(schema_run(f->db, "UPDATE keys SET value = 'Value' WHERE key = x'6b'"), 0);
    assert_null(rows_get(f->rows, "k", 1));
    assert_int_equal(rows_error(f->rows), STORE_ECORRUPT);
    assert_int_equal(rows_error(f->rows), 0);
}

static void growing_moves_every_row(void **state)
{
    struct fixture *f = *state;
    char key[32];
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof key, "grow-%d", i);
        put(f, key, "v");
        if (i % 997 == 0)
            assert_value(f, "grow-0", "v");
    }
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof key, "grow-%d", i);
        assert_value(f, key, "v");
    }
    assert_int_equal(rows_count(f->rows), 50000);
}

static void put_in(struct fixture *f, enum space space, const char *key, const char *value, int64_t expire_ms)
{
    rows_put_in(f->rows, space, key, strlen(key), 0, value, strlen(value), ++f->version, expire_ms, 0);
    assert_int_equal(rows_error(f->rows), 0);
}

static void assert_value_in(struct fixture *f, enum space space, const char *key, const char *value)
{
    const struct row *row = rows_get_in(f->rows, space, key, strlen(key));
    assert_int_equal(rows_error(f->rows), 0);
    assert_non_null(row);
    assert_int_equal(row->space, space);
    assert_int_equal(row->value_len, strlen(value));
    assert_memory_equal(row->value, value, row->value_len);
}

static bool count_row(void *ctx, const struct row *row)
{
    (void)row;
    ++*(size_t *)ctx;
    return true;
}

static size_t walk_count(struct fixture *f, enum space space)
{
    size_t n = 0;
    rows_walk_in(f->rows, space, 0, count_row, &n);
    return n;
}

/* One name in all spaces: each has its own row, in memory and in the file, and clearing one leaves the others. */
static void spaces_do_not_see_each_other(void **state)
{
    struct fixture *f = *state;
    put_in(f, SPACE_KEYS, "name", "key", ROW_NO_EXPIRY);
    put_in(f, SPACE_SESSIONS, "name", "session", 5);
    put_in(f, SPACE_LOCKS, "name", "lock", 6);
    put_in(f, SPACE_LOCKS, "other", "lock", ROW_NO_EXPIRY);
    uint64_t key_hash = rows_total(f->rows, SPACE_KEYS).hash;
    flush_all(f);
    push_out(f);
    assert_value_in(f, SPACE_KEYS, "name", "key");
    assert_value_in(f, SPACE_SESSIONS, "name", "session");
    assert_value_in(f, SPACE_LOCKS, "name", "lock");
    assert_int_equal(walk_count(f, SPACE_SESSIONS), 1);
    assert_int_equal(walk_count(f, SPACE_LOCKS), 2);
    assert_int_equal(rows_count(f->rows), 4001);
    assert_int_equal(rows_expiring(f->rows), 0);
    assert_int_equal(rows_all_expiring(f->rows), 2);
    uint64_t others = rows_total(f->rows, SPACE_SESSIONS).hash + rows_total(f->rows, SPACE_LOCKS).hash;
    put_in(f, SPACE_LOCKS, "dirty", "lock", ROW_NO_EXPIRY);
    uint64_t dirty_hash = rows_state_hash(f->rows) - rows_total(f->rows, SPACE_KEYS).hash - others;
    rows_clear(f->rows);
    assert_int_equal(rows_count(f->rows), 0);
    assert_true(rows_state_hash(f->rows) == others + dirty_hash);
    assert_true(key_hash != 0);
    flush_all(f);
    push_out(f);
    assert_null(get(f, "name"));
    assert_value_in(f, SPACE_SESSIONS, "name", "session");
    assert_value_in(f, SPACE_LOCKS, "dirty", "lock");
    assert_true(rows_delete_in(f->rows, SPACE_LOCKS, "name", 4));
    assert_value_in(f, SPACE_SESSIONS, "name", "session");
    flush_all(f);
    assert_file_whole(f->dir);
}

/* A name's hash depends on its space: else a row could be carried from one table to another unnoticed. */
static void a_row_belongs_to_its_space(void **state)
{
    struct fixture *f = *state;
    put_in(f, SPACE_SESSIONS, "k", "value", 5);
    flush_all(f);
    push_out(f);
    assert_true(rows_hash_in(SPACE_SESSIONS, "k", 1) != rows_hash_in(SPACE_LOCKS, "k", 1));
    assert_int_equal(schema_run(f->db, "UPDATE session_rows SET value = 'Value'"), 0);
    assert_null(rows_get_in(f->rows, SPACE_SESSIONS, "k", 1));
    assert_int_equal(rows_error(f->rows), STORE_ECORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_match_the_model, setup, teardown),
        cmocka_unit_test_setup_teardown(values_may_come_from_borrowed_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_evicted_is_read_again, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_under_way_are_not_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_expiry_copies_no_long_value, setup, teardown),
        cmocka_unit_test_setup_teardown(clearing_hides_the_file_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_row_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(growing_moves_every_row, setup, teardown),
        cmocka_unit_test_setup_teardown(spaces_do_not_see_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_belongs_to_its_space, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
