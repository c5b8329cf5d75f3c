/* test_store_parts.c - two stores are told the same, one of which keeps little in memory, writes often and is opened
 * anew now and then: lists, hashes and those who wait must come to the same state, whatever commands come, sound or
 * not. HOLDFAST_SEED replays a run. */
#include "tests/support/store_coord.h"
#include "store/parts.h"
#include <sqlite3.h>

#define STEPS 8000
#define SMALL_CACHE_BYTES 65536

/* What most often makes sense: how many args, and of which kind the keys are: lists, hashes, any. */
static const struct {
    uint8_t op, n_args;
    char kind;
} ops[] = {{OP_PUSH, 5, 'l'},         {OP_PUSH, 5, 'l'},       {OP_PUSH, 5, 'l'},       {OP_PUSH, 5, 'l'},
           {OP_PUSH, 5, 'l'},         {OP_PUSH, 5, 'l'},       {OP_PUSH, 5, 'l'},       {OP_PUSH, 5, 'l'},
           {OP_POP, 1, 'l'},          {OP_POP, 1, 'l'},        {OP_LSET, 2, 'l'},       {OP_LREM, 2, 'l'},
           {OP_LTRIM, 1, 'l'},        {OP_LINSERT, 3, 'l'},    {OP_LINSERT, 3, 'l'},    {OP_LMOVE, 2, 'l'},
           {OP_LMPOP, 2, 'l'},        {OP_BPOP, 2, 'l'},       {OP_BPOP, 2, 'l'},       {OP_BMOVE, 2, 'l'},
           {OP_LLEN, 1, 'l'},         {OP_LRANGE, 1, 'l'},     {OP_LINDEX, 1, 'l'},     {OP_LPOS, 2, 'l'},
           {OP_HSET, 5, 'h'},         {OP_HSET, 5, 'h'},       {OP_HSET, 5, 'h'},       {OP_HSET, 5, 'h'},
           {OP_HSET, 5, 'h'},         {OP_HSET, 5, 'h'},       {OP_HSET, 5, 'h'},       {OP_HSET, 5, 'h'},
           {OP_HSET, 3, 'h'},         {OP_HDEL, 2, 'h'},       {OP_HINCRBY, 2, 'h'},    {OP_HINCRBYFLOAT, 3, 'h'},
           {OP_HGET, 2, 'h'},         {OP_HMGET, 3, 'h'},      {OP_HGETALL, 1, 'h'},    {OP_HEXISTS, 2, 'h'},
           {OP_HSTRLEN, 2, 'h'},      {OP_HSCAN, 2, 'h'},      {OP_HRANDFIELD, 1, 'h'}, {OP_WAIT_TAKE, 0, 'a'},
           {OP_WAIT_TAKE, 0, 'a'},    {OP_WAIT_LEAVE, 0, 'a'}, {OP_WAIT_DUE, 1, 'a'},   {OP_TRASH_DUE, 1, 'a'},
           {OP_DEL, 1, 'a'},          {OP_RENAME, 2, 'a'},     {OP_COPY, 2, 'a'},       {OP_EXPIRE, 1, 'a'},
           {OP_SET, 2, 'a'},          {OP_APPEND, 2, 'a'},     {OP_TYPE, 1, 'a'},       {OP_OBJECT, 1, 'a'},
           {OP_MEMORY_USAGE, 1, 'a'}, {OP_SCAN, 1, 'a'},       {OP_FLUSHALL, 0, 'a'}};

struct pair {
    struct coord *large, *small;
    struct chance chance;
    uint64_t last_later; /* The token of the last one that waits. */
    uint8_t filler[6000];
};

static int64_t some_number(struct pair *p, bool waits)
{
    static const int64_t odd[] = {INT64_MIN, INT64_MAX, -1, 0, 1, 2, 100000};
    switch (waits ? 1 : chance_below(&p->chance, 40)) {
    case 0:
        return odd[chance_below(&p->chance, sizeof odd / sizeof *odd)];
    case 1:
        return (int64_t)p->last_later - (int64_t)chance_below(&p->chance, 3);
    default:
        return (int64_t)chance_below(&p->chance, 7) - 2;
    }
}

static struct bytes some_key(struct pair *p, char kind)
{
    static const char *const keys[] = {"list-a", "list-b", "mixed", "hash-a", "hash-b"};
    bool any = kind == 'a' || chance_below(&p->chance, 20) == 0;
    size_t at = any ? chance_below(&p->chance, 5) : chance_below(&p->chance, 2) + (kind == 'h' ? 3 : 0);
    return text(keys[at]);
}

/* A short element or field, or a long one. */
static struct bytes some_bytes(struct pair *p)
{
    size_t len = chance_below(&p->chance, 5) == 0 ? chance_below(&p->chance, 5000) : chance_below(&p->chance, 12);
    return (struct bytes){.base = p->filler + chance_below(&p->chance, 900), .len = len};
}

static void apply_at(struct coord *f, const struct command_buf *commands, uint64_t clock_ms)
{
    f->clock_ms = clock_ms;
    coord_apply(f, commands, 1);
}

static void note_later(struct pair *p, const struct outcome_buf *out)
{
    struct outcome o;
    if (outcome_next(out->base, out->len, &o) > 0 && o.tag == OUTCOME_LATER)
        p->last_later = (uint64_t)o.n;
}

static void step(struct pair *p)
{
    struct command_buf b = {0};
    struct bytes args[5];
    int64_t nums[4];
    size_t which = chance_below(&p->chance, sizeof ops / sizeof *ops);
    bool sound = chance_below(&p->chance, 20) != 0;
    uint8_t op = ops[which].op;
    if ((op == OP_FLUSHALL || op == OP_DEL || op == OP_SET || op == OP_LTRIM || op == OP_RENAME || op == OP_EXPIRE) &&
        chance_below(&p->chance, 20) != 0)
        return;
    uint32_t n_args = sound ? ops[which].n_args : (uint32_t)chance_below(&p->chance, 6);
    bool two_keys =
        op == OP_LMOVE || op == OP_BMOVE || op == OP_RENAME || op == OP_COPY || op == OP_BPOP || op == OP_LMPOP;
    for (uint32_t i = 0; i < n_args; i++)
        args[i] = i == 0 || two_keys ? some_key(p, ops[which].kind) : some_bytes(p);
    for (int i = 0; i < 4; i++)
        nums[i] = some_number(p, op >= OP_WAIT_TAKE && op <= OP_WAIT_LEAVE);
    uint16_t flags = !sound ? (uint16_t)chance_below(&p->chance, 8) : 0;
    command_add(&b, (enum command_op)op, flags, nums, (uint8_t)chance_below(&p->chance, 2) + 3, args, n_args);
    uint64_t clock_ms = p->large->clock_ms + chance_below(&p->chance, 20);
    apply_at(p->large, &b, clock_ms);
    apply_at(p->small, &b, clock_ms);
    note_later(p, &p->large->out);
    assert_int_equal(p->large->out.len, p->small->out.len);
    assert_memory_equal(p->large->out.base, p->small->out.base, p->large->out.len);
    command_buf_release(&b);
}

/* What the leader, the one with the large cache, names as due goes into both logs. */
static void name_due(struct pair *p)
{
    struct command_buf due = {0};
    uint32_t n = store_due(p->large->store, p->large->clock_ms, 100, &due);
    if (n > 0) {
        coord_apply(p->large, &due, n);
        coord_apply(p->small, &due, n);
    }
    command_buf_release(&due);
}

/* Rows of parts in the file. */
static int64_t parts_in_file(const struct coord *f)
{
    char path[FIXTURE_PATH];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    fixture_path(path, f->dir, STORE_FILE);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM part_rows", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static void two_stores_agree(void **state)
{
    static struct pair p;
    void *other = NULL;
    coord_setup(&other);
    p = (struct pair){.large = *state, .small = other, .chance = {fixture_seed()}};
    for (size_t i = 0; i < sizeof p.filler; i++)
        p.filler[i] = (uint8_t)('0' + i % 10);
    p.small->options.cache_bytes = SMALL_CACHE_BYTES;
    uint64_t before = 0;
    int changes = 0;
    int64_t parts = 0;
    for (int i = 0; i < STEPS; i++) {
        step(&p);
        changes += store_hash(p.large->store) != before;
        before = store_hash(p.large->store);
        if (i % 20 == 0)
            name_due(&p);
        if (i % 40 == 0)
            assert_int_equal(store_flush_now(p.small->store), 0);
        if (i % 500 == 0) {
            coord_reopen(p.small);
            int64_t n = parts_in_file(p.small);
            parts = n > parts ? n : parts;
        }
        assert_true(store_hash(p.large->store) == store_hash(p.small->store));
        assert_int_equal(store_revision(p.large->store), store_revision(p.small->store));
        p.large->events[0] = p.small->events[0] = '\0';
    }
    print_message("%d changes, %d parts\n", changes, (int)parts);
    assert_true(changes > STEPS / 16 && parts > 10);
    coord_reopen(p.large);
    coord_teardown(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_stores_agree, coord_setup, coord_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
