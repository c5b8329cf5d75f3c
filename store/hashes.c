/* hashes.c - commands about hashes. A key whose hash has no field left is gone. */
#include "store/families.h"
#include "store/glob.h"
#include "store/hash.h"
#include "store/number.h"
#include <math.h>
#include <xxhash.h>

#define HASHES_SLOTS 64          /* Of a part, for drawing lots; longer ones are drawn from whole. */
#define HASHES_LOTS_MAX 1000     /* Drawn for one field at most, before all are walked over. */
#define HASHES_RANDOM_MAX 262144 /* Fields of one HRANDFIELD that may come again. */

/* ---- Writing ---- */

void hashes_set(struct family *f, const struct command *c)
{
    struct hash h;
    struct bytes ignored;
    int64_t n = 0;
    if (c->n_args % 2 == 0) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    hash_open(f, c->args[0], family_live_for_write(f, c->args[0]), &h);
    for (uint32_t i = 1; i < c->n_args; i += 2)
        if ((c->flags & CMD_NX) == 0 || !hash_get(&h, c->args[i], &ignored))
            n += hash_set(&h, c->args[i], c->args[i + 1]);
    hash_close(&h);
    if (c->nums[0] != 0)
        outcome_ok(f->out);
    else
        outcome_int(f->out, n);
}

void hashes_del(struct family *f, const struct command *c)
{
    struct hash h;
    int64_t n = 0;
    hash_open(f, c->args[0], family_live_for_write(f, c->args[0]), &h);
    for (uint32_t i = 1; i < c->n_args && hash_n(&h) > 0; i++)
        n += hash_delete(&h, c->args[i]);
    hash_close(&h);
    outcome_int(f->out, n);
}

void hashes_incrby(struct family *f, const struct command *c)
{
    struct hash h;
    struct bytes old;
    int64_t n = 0;
    char text[NUMBER_INT_BYTES_MAX];
    hash_open(f, c->args[0], family_live_for_write(f, c->args[0]), &h);
    if (hash_get(&h, c->args[1], &old) && !number_read_int(old.base, old.len, &n)) {
        family_refuse(f, REFUSAL_HASH_NOT_INTEGER);
        return;
    }
    if (__builtin_add_overflow(n, c->nums[0], &n)) {
        family_refuse(f, REFUSAL_OVERFLOW);
        return;
    }
    hash_set(&h, c->args[1], (struct bytes){.base = (const uint8_t *)text, .len = number_write_int(text, n)});
    hash_close(&h);
    outcome_int(f->out, n);
}

void hashes_incrbyfloat(struct family *f, const struct command *c)
{
    struct hash h;
    struct bytes old, delta_text = c->args[2];
    long double n = 0, delta;
    char text[NUMBER_LONG_DOUBLE_BYTES_MAX];
    if (!number_read_long_double(delta_text.base, delta_text.len, &delta)) {
        family_refuse(f, REFUSAL_NOT_FLOAT);
        return;
    }
    if (!isfinite(delta)) {
        family_refuse(f, REFUSAL_VALUE_NAN_OR_INFINITY);
        return;
    }
    hash_open(f, c->args[0], family_live_for_write(f, c->args[0]), &h);
    if (hash_get(&h, c->args[1], &old) && !number_read_long_double(old.base, old.len, &n)) {
        family_refuse(f, REFUSAL_HASH_NOT_FLOAT);
        return;
    }
    n += delta;
    if (!isfinite(n)) {
        family_refuse(f, REFUSAL_NAN_OR_INFINITY);
        return;
    }
    struct bytes value = {.base = (const uint8_t *)text, .len = number_write_long_double(text, n)};
    hash_set(&h, c->args[1], value);
    hash_close(&h);
    outcome_bulk(f->out, value.base, value.len);
}

/* ---- Reading ---- */

static void answer_field(struct family *f, const struct row *row, struct bytes field)
{
    struct bytes value;
    if (row != NULL && hash_find(f, row, field, &value))
        outcome_bulk(f->out, value.base, value.len);
    else
        outcome_nil(f->out);
}

void hashes_get(struct family *f, const struct command *c)
{
    answer_field(f, family_live(f, c->args[0]), c->args[1]);
}

void hashes_mget(struct family *f, const struct command *c)
{
    outcome_array(f->out, c->n_args - 1);
    for (uint32_t i = 1; i < c->n_args; i++)
        answer_field(f, family_live(f, c->args[0]), c->args[i]);
}

void hashes_exists(struct family *f, const struct command *c)
{
    struct bytes value;
    const struct row *row = family_live(f, c->args[0]);
    outcome_int(f->out, row != NULL && hash_find(f, row, c->args[1], &value));
}

void hashes_strlen(struct family *f, const struct command *c)
{
    struct bytes value = {.len = 0};
    const struct row *row = family_live(f, c->args[0]);
    bool found = row != NULL && hash_find(f, row, c->args[1], &value);
    outcome_int(f->out, found ? (int64_t)value.len : 0);
}

void hashes_len(struct family *f, const struct command *c)
{
    const struct row *row = family_live(f, c->args[0]);
    outcome_int(f->out, row == NULL ? 0 : (int64_t)parts_head_read(row->value).n);
}

/* What of a record is answered. */
enum { BOTH = 0, FIELDS = 1, VALUES = 2 };

static void answer_record(struct outcome_buf *out, const struct hash_record *r, int64_t what)
{
    if (what != VALUES)
        outcome_bulk(out, r->field.base, r->field.len);
    if (what != FIELDS)
        outcome_bulk(out, r->value.base, r->value.len);
}

void hashes_getall(struct family *f, const struct command *c)
{
    struct hash_walk w;
    struct hash_record r;
    struct bytes records;
    const struct row *row = family_live(f, c->args[0]);
    uint32_t n = row == NULL ? 0 : (uint32_t)parts_head_read(row->value).n;
    if (c->nums[0] == BOTH)
        outcome_map(f->out, n);
    else
        outcome_array(f->out, n);
    if (row == NULL)
        return;
    hash_walk_begin(f, c->args[0], row, 0, &w);
    while (!f->out->full && !f->out->failed && hash_walk_next(&w, &records))
        for (size_t at = 0; hash_next(records, &at, &r);)
            answer_record(f->out, &r, c->nums[0]);
}

/* ---- HSCAN ---- */

static bool matches(struct bytes glob, struct bytes field)
{
    return glob.len == 0 || glob_match(glob.base, glob.len, field.base, field.len);
}

static uint32_t scan_records(struct family *f, struct bytes records, struct bytes glob, struct outcome_buf *out)
{
    struct hash_record r;
    uint32_t n = 0;
    for (size_t at = 0; hash_next(records, &at, &r) && !f->out->failed;) {
        if (!matches(glob, r.field))
            continue;
        answer_record(out, &r, BOTH);
        n += 2;
    }
    return n;
}

/* Whole stretches until COUNT fields have been looked at. The cursor is where the next one begins. */
static uint64_t scan(struct family *f, const struct command *c, struct outcome_buf *out, uint32_t *ret_n)
{
    struct hash_walk w;
    struct bytes records;
    struct hash_record r;
    uint64_t seen = 0, place = (uint64_t)c->nums[0], count = c->nums[1] > 0 ? (uint64_t)c->nums[1] : 1;
    const struct row *row = family_live(f, c->args[0]);
    if (row == NULL)
        return 0;
    hash_walk_begin(f, c->args[0], row, place, &w);
    bool more = true;
    while (seen < count && !out->full && (more = hash_walk_next(&w, &records))) {
        *ret_n += scan_records(f, records, c->args[1], out);
        seen += records.len == 0; /* Empty stretches count too, so that a call has an end. */
        for (size_t at = 0; hash_next(records, &at, &r);)
            seen++;
    }
    return more && w.place >> 63 == 0 ? w.place : 0;
}

void hashes_scan(struct family *f, const struct command *c)
{
    struct outcome_buf found = {.bound = FAMILY_REPLY_BYTES_MAX};
    char cursor[NUMBER_INT_BYTES_MAX];
    uint32_t n = 0;
    uint64_t next = scan(f, c, &found, &n);
    outcome_array(f->out, 2);
    outcome_bulk(f->out, cursor, number_write_int(cursor, (int64_t)next));
    outcome_array(f->out, n);
    outcome_append(f->out, found.base, found.len);
    f->out->failed = f->out->failed || found.failed;
    f->out->full = f->out->full || found.full;
    outcome_buf_release(&found);
}

/* ---- HRANDFIELD ---- */

struct chance {
    uint64_t seed, drawn;
};

static uint64_t draw(struct chance *c)
{
    uint64_t n[2] = {c->seed, c->drawn++};
    return XXH3_64bits(n, sizeof n);
}

static uint64_t count_records(struct bytes records)
{
    struct hash_record r;
    uint64_t n = 0;
    for (size_t at = 0; hash_next(records, &at, &r);)
        n++;
    return n;
}

/* The nth field there is. */
static struct hash_record nth_record(struct family *f, struct bytes key, uint64_t nth)
{
    struct hash_walk w;
    struct hash_record r = {.field = {.len = 0}, .value = {.len = 0}};
    struct bytes records;
    hash_walk_begin(f, key, family_live(f, key), 0, &w);
    while (hash_walk_next(&w, &records))
        for (size_t at = 0; hash_next(records, &at, &r); nth--)
            if (nth == 0)
                return r;
    return r;
}

/* A part and a slot in it, until there is a field in that slot: so all fields are equally likely. Where few are left of
 * many, hardly any slot has one. */
static struct hash_record pick(struct family *f, struct bytes key, bool packed, struct chance *c)
{
    struct bytes records;
    struct hash_record r = {.field = {.len = 0}, .value = {.len = 0}};
    for (int lots = 0; lots < HASHES_LOTS_MAX; lots++) {
        records = hash_stretch(f, key, draw(c));
        uint64_t n = count_records(records);
        if (packed && n == 0)
            return r; /* It could not be read, which the store looks at. */
        uint64_t slot = draw(c) % (packed || n > HASHES_SLOTS ? n : HASHES_SLOTS);
        for (size_t at = 0; slot < n && hash_next(records, &at, &r); slot--)
            if (slot == 0)
                return r;
    }
    const struct row *row = family_live(f, key);
    return row == NULL ? r : nth_record(f, key, draw(c) % parts_head_read(row->value).n);
}

/* how: one field, fields, fields and values one after another, pairs of them. */
enum { ONE = 0, WITHOUT_VALUES = 1, WITH_VALUES = 2, PAIRS = 3 };

static void answer_random(struct family *f, const struct hash_record *r, int64_t how)
{
    if (how == PAIRS)
        outcome_array(f->out, 2);
    answer_record(f->out, r, how >= WITH_VALUES ? BOTH : FIELDS);
}

/* Any, one as often as it comes. */
static void random_any(struct family *f, const struct command *c, bool packed, uint64_t count, struct chance *chance)
{
    outcome_array(f->out, (uint32_t)(c->nums[0] == WITH_VALUES ? 2 * count : count));
    for (uint64_t i = 0; i < count && !f->out->full && !f->out->failed; i++) {
        struct hash_record r = pick(f, c->args[0], packed, chance);
        answer_random(f, &r, c->nums[0]);
    }
}

/* No field twice: each is taken with the chance that those still wanted have among those still to come. */
static void random_distinct(struct family *f, const struct command *c, const struct row *row, uint64_t count,
                            struct chance *chance)
{
    struct hash_walk w;
    struct hash_record r;
    struct bytes records;
    uint64_t left = parts_head_read(row->value).n, wanted = count < left ? count : left;
    outcome_array(f->out, (uint32_t)(c->nums[0] == WITH_VALUES ? 2 * wanted : wanted));
    hash_walk_begin(f, c->args[0], row, 0, &w);
    while (wanted > 0 && !f->out->full && !f->out->failed && hash_walk_next(&w, &records))
        for (size_t at = 0; wanted > 0 && hash_next(records, &at, &r); left--)
            if (draw(chance) % left < wanted) {
                answer_random(f, &r, c->nums[0]);
                wanted--;
            }
}

static void refuse_so_many(struct family *f)
{
    char detail[NUMBER_INT_BYTES_MAX];
    outcome_refusal(f->out, REFUSAL_REPLY_TOO_LARGE, detail, number_write_int(detail, (int64_t)FAMILY_REPLY_BYTES_MAX));
}

void hashes_randfield(struct family *f, const struct command *c)
{
    struct chance chance = {.seed = (uint64_t)c->nums[2]};
    const struct row *row = family_live(f, c->args[0]);
    uint64_t count = c->nums[1] < 0 ? (uint64_t)0 - (uint64_t)c->nums[1] : (uint64_t)c->nums[1];
    if (row == NULL) {
        if (c->nums[0] == ONE)
            outcome_nil(f->out);
        else
            outcome_array(f->out, 0);
        return;
    }
    bool packed = parts_head_read(row->value).id == 0;
    if (c->nums[0] == ONE) {
        struct hash_record r = pick(f, c->args[0], packed, &chance);
        answer_random(f, &r, WITHOUT_VALUES);
    } else if (c->nums[1] >= 0) {
        random_distinct(f, c, row, count, &chance);
    } else if (count > HASHES_RANDOM_MAX) {
        refuse_so_many(f);
    } else {
        random_any(f, c, packed, count, &chance);
    }
}
