/* keys.c - commands about keys, whatever their values.
 * Walks see rows in the order of their keys' hashes, which is the same on all nodes and does not change when rows come
 * and go: so a SCAN cursor is a hash, good on any node, and what was there throughout is met. */
#include "store/families.h"
#include "store/due.h"
#include "store/glob.h"
#include "store/number.h"
#include "store/parts.h"
#include "store/wait.h"
#include <string.h>
#include <xxhash.h>

#define KEYS_EMBSTR_BYTES_MAX 44 /* Up to which Redis calls a string "embstr". */
#define KEYS_ROW_BYTES 112       /* A row in memory beside its key and value: header, table place, allocator. */
#define KEYS_SCAN_DUE_FACTOR 10  /* A SCAN passes at most so many times COUNT rows, due ones included. */
#define KEYS_RANDOM_STEPS_MAX 64 /* RANDOMKEY goes up to so many rows on from a random place. */
#define KEYS_HASH_MAX (UINT64_MAX >> 1)

void keys_del(struct family *f, const struct command *c)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < c->n_args; i++) {
        const struct row *row = family_live_for_write(f, c->args[i]);
        if (row == NULL)
            continue;
        family_delete(f, c->args[i], row);
        n++;
    }
    outcome_int(f->out, n);
}

/* Puts a row like that of `from`, which is live, at `to`, whose old parts go. */
static void keys_put_like(struct family *f, struct bytes from, struct bytes to, const struct row *to_row)
{
    struct parts gone = parts_of(to_row);
    if (to_row != NULL && to_row->expire_ms != ROW_NO_EXPIRY)
        due_forget(f->due, SPACE_KEYS, to.base, to.len); /* Here, since the next look-up ends this row's loan. */
    const struct row *row = family_live(f, from);
    if (row != NULL) /* NULL only when reading failed, which the store looks at after the batch. */
        family_put(f, to, NULL, (enum value_type)row->type, family_value(row), family_expiry_of(row));
    parts_discard(f, &gone);
}

/* The copy gets parts of its own. */
static void keys_copy_parts(struct family *f, struct bytes key)
{
    struct parts parts = parts_of(family_live(f, key));
    if (parts.id == 0)
        return;
    uint64_t id = parts_copy(f, &parts);
    const struct row *row = family_live(f, key);
    uint8_t *value = row == NULL ? NULL : family_kept(f, KEEP_VALUE, row->value_len);
    if (value == NULL)
        return;
    memcpy(value, row->value, row->value_len);
    parts_set_id(value, id);
    struct feed *feed = f->feed;
    f->feed = NULL; /* It has been told. */
    family_put_in(f, SPACE_KEYS, key, row, (enum value_type)row->type,
                  (struct bytes){.base = value, .len = row->value_len}, family_expiry_of(row));
    f->feed = feed;
}

void keys_rename(struct family *f, const struct command *c)
{
    struct bytes from = c->args[0], to = c->args[1];
    bool only_new = (c->flags & CMD_NX) != 0;
    if (family_live_for_write(f, from) == NULL) {
        family_refuse(f, REFUSAL_NO_SUCH_KEY);
        return;
    }
    const struct row *to_row = family_live_for_write(f, to);
    bool renamed = !only_new || to_row == NULL;
    if (renamed && !family_bytes_equal(from, to)) {
        keys_put_like(f, from, to, to_row);
        family_delete_moved(f, from, family_live(f, from));
        wait_note(f, to);
    }
    if (only_new)
        outcome_int(f->out, renamed);
    else
        outcome_ok(f->out);
}

void keys_copy(struct family *f, const struct command *c)
{
    struct bytes from = c->args[0], to = c->args[1];
    bool replace = (c->flags & CMD_XX) != 0;
    if (family_bytes_equal(from, to) || family_live(f, from) == NULL) {
        outcome_int(f->out, 0);
        return;
    }
    const struct row *to_row = family_live_for_write(f, to);
    bool copied = to_row == NULL || replace;
    if (copied) {
        keys_put_like(f, from, to, to_row);
        keys_copy_parts(f, to);
        wait_note(f, to);
    }
    outcome_int(f->out, copied);
}

/* One change, however many rows there were. */
void keys_flushall(struct family *f, const struct command *c)
{
    (void)c;
    if (rows_count(f->rows) > 0) {
        ++*f->revision;
        rows_clear(f->rows);
        rows_clear_in(f->rows, SPACE_PARTS);
        rows_clear_in(f->rows, SPACE_TRASH);
        due_clear(f->due, SPACE_TRASH);
        due_clear(f->due, SPACE_KEYS);
        notify_cleared(f);
    }
    outcome_ok(f->out);
}

void keys_exists(struct family *f, const struct command *c)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < c->n_args; i++)
        n += family_live(f, c->args[i]) != NULL;
    outcome_int(f->out, n);
}

void keys_type(struct family *f, const struct command *c)
{
    const struct row *row = family_live(f, c->args[0]);
    outcome_simple(f->out, value_kind_name(row == NULL ? KIND_OTHER : value_kind(row->type)));
}

/* Rounded to the nearest second, without the overflow of adding 500 first. */
static int64_t keys_seconds(int64_t ms)
{
    return ms / 1000 + (ms % 1000 >= 500);
}

void keys_ttl(struct family *f, const struct command *c)
{
    const struct row *row = family_live(f, c->args[0]);
    if (row == NULL || row->expire_ms == ROW_NO_EXPIRY) {
        outcome_int(f->out, row == NULL ? -2 : -1);
        return;
    }
    bool told_back = c->nums[0] >= 2; /* EXPIRETIME and PEXPIRETIME. */
    bool in_ms = c->nums[0] % 2 != 0; /* PTTL and PEXPIRETIME. */
    int64_t ms = told_back ? row->wall_ms : family_left_ms(f, row);
    outcome_int(f->out, in_ms ? ms : keys_seconds(ms));
}

/* An empty pattern and a lone star match all, without looking. */
static bool keys_match(struct bytes glob, const struct row *row)
{
    if (glob.len == 0 || (glob.len == 1 && glob.base[0] == '*'))
        return true;
    return glob_match(glob.base, glob.len, row->key, row->key_len);
}

struct keys_walk {
    struct family *f;
    struct bytes glob;
    uint32_t n; /* Keys answered. */
};

static bool keys_keys_each(void *ctx, const struct row *row)
{
    struct keys_walk *w = ctx;
    if (family_row_due(w->f, row) || !glob_match(w->glob.base, w->glob.len, row->key, row->key_len))
        return true;
    outcome_bulk(w->f->out, row->key, row->key_len);
    w->n++;
    return !w->f->out->failed && !w->f->out->full;
}

void keys_keys(struct family *f, const struct command *c)
{
    struct keys_walk w = {.f = f, .glob = c->args[0]};
    size_t at = f->out->len;
    outcome_array(f->out, 0);
    rows_walk(f->rows, 0, keys_keys_each, &w);
    outcome_array_recount(f->out, at, w.n);
}

struct keys_scan {
    struct family *f;
    struct bytes glob;
    int64_t kind; /* enum value_kind; -1: any. */
    uint64_t live_left, rows_left;
    uint64_t last_hash; /* Of the last row seen: rows of one hash stay together. */
    uint64_t next;      /* The cursor; 0 until a row is left for the next call. */
    struct outcome_buf keys;
    uint32_t n;
};

static bool keys_scan_each(void *ctx, const struct row *row)
{
    struct keys_scan *s = ctx;
    if ((s->live_left == 0 || s->rows_left == 0) && row->key_hash != s->last_hash) {
        s->next = row->key_hash;
        return false;
    }
    s->last_hash = row->key_hash;
    s->rows_left -= s->rows_left > 0;
    if (family_row_due(s->f, row))
        return true;
    s->live_left -= s->live_left > 0;
    if ((s->kind >= 0 && s->kind != (int64_t)value_kind(row->type)) || !keys_match(s->glob, row))
        return true;
    outcome_bulk(&s->keys, row->key, row->key_len);
    s->n++;
    return !s->keys.failed && !s->keys.full;
}

static void keys_scan_answer(struct family *f, const struct keys_scan *s)
{
    char cursor[NUMBER_INT_BYTES_MAX];
    outcome_array(f->out, 2);
    outcome_bulk(f->out, cursor, number_write_int(cursor, (int64_t)s->next));
    outcome_array(f->out, s->n);
    outcome_append(f->out, s->keys.base, s->keys.len);
    f->out->failed = f->out->failed || s->keys.failed;
    f->out->full = f->out->full || s->keys.full;
}

void keys_scan(struct family *f, const struct command *c)
{
    uint64_t from = (uint64_t)c->nums[0]; /* Clients may send any 64 bits; past the last hash there is nothing. */
    uint64_t count = c->nums[1] > 0 ? (uint64_t)c->nums[1] : 1;
    struct keys_scan s = {.f = f, .glob = c->args[0], .kind = c->nums[2], .live_left = count, .last_hash = from};
    s.keys.bound = FAMILY_REPLY_BYTES_MAX;
    s.rows_left = count > UINT64_MAX / KEYS_SCAN_DUE_FACTOR ? UINT64_MAX : count * KEYS_SCAN_DUE_FACTOR;
    if (from <= KEYS_HASH_MAX)
        rows_walk(f->rows, from, keys_scan_each, &s);
    keys_scan_answer(f, &s);
    outcome_buf_release(&s.keys);
}

struct keys_random {
    struct family *f;
    uint64_t steps; /* Live rows to pass before the one taken. */
    bool any_live, taken;
};

static bool keys_random_each(void *ctx, const struct row *row)
{
    struct keys_random *r = ctx;
    if (family_row_due(r->f, row))
        return true;
    r->any_live = true;
    if (r->steps-- > 0)
        return true;
    outcome_bulk(r->f->out, row->key, row->key_len);
    r->taken = true;
    return false;
}

/* From a random place a few rows on, round and round: hashes leave gaps of all sizes, and the first row behind a wide
 * one would come too often. In a small state the steps alone make all rows equally likely. */
void keys_randomkey(struct family *f, const struct command *c)
{
    uint64_t seed[3] = {f->clock_ms, *f->revision, c->n_nums > 0 ? (uint64_t)c->nums[0] : f->now_ms};
    uint64_t place = XXH3_64bits_withSeed(seed, sizeof seed, 0) & KEYS_HASH_MAX;
    uint64_t steps = XXH3_64bits_withSeed(seed, sizeof seed, 1);
    uint64_t n = rows_count(f->rows);
    struct keys_random r = {.f = f};
    if (n > 0) {
        r.steps = steps % (n < KEYS_RANDOM_STEPS_MAX ? n : KEYS_RANDOM_STEPS_MAX);
        rows_walk(f->rows, place, keys_random_each, &r);
    }
    bool again = n > 0 && !r.taken;
    while (again) {
        r.any_live = false;
        rows_walk(f->rows, 0, keys_random_each, &r);
        again = r.any_live && !r.taken;
    }
    if (!r.taken)
        outcome_nil(f->out);
}

void keys_dbsize(struct family *f, const struct command *c)
{
    (void)c;
    outcome_int(f->out, (int64_t)rows_count(f->rows));
}

/* The word Redis would have for such a value: it does not try integers on the results of INCRBYFLOAT. */
static const char *keys_encoding(const struct row *row)
{
    int64_t n;
    if (value_has_parts(row->type))
        return parts_encoding(row);
    if (value_kind(row->type) != KIND_STRING)
        return "raw";
    if (row->type != VALUE_FLOAT && number_read_int(row->value, row->value_len, &n))
        return "int";
    return row->value_len <= KEYS_EMBSTR_BYTES_MAX ? "embstr" : "raw";
}

void keys_object(struct family *f, const struct command *c)
{
    enum { ENCODING = 0, REFCOUNT = 1 };
    const struct row *row = family_live(f, c->args[0]);
    if (row == NULL)
        outcome_nil(f->out);
    else if (c->nums[0] == ENCODING)
        outcome_bulk(f->out, keys_encoding(row), strlen(keys_encoding(row)));
    else
        outcome_int(f->out, c->nums[0] == REFCOUNT);
}

void keys_memory_usage(struct family *f, const struct command *c)
{
    const struct row *row = family_live(f, c->args[0]);
    if (row == NULL)
        outcome_nil(f->out);
    else
        outcome_int(f->out, (int64_t)(KEYS_ROW_BYTES + row->key_len + row->value_len + parts_bytes(row)));
}

/* There are only strings so far, and those have no parts to sort. */
void keys_sort(struct family *f, const struct command *c)
{
    if (family_live(f, c->args[0]) == NULL)
        outcome_array(f->out, 0);
    else
        family_refuse(f, REFUSAL_WRONGTYPE);
}
