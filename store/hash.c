/* hash.c - how the fields of a hash lie in rows.
 *
 *     the hash's row: its head (parts.h), and while it is small, all records in the order in which they came to be
 *     a part:         the records of the fields that belong there
 *
 * A record is u32 length of the field, u32 length of the value, field, value. Where a field belongs, its place tells:
 * 63 bits of the xxh3 of the field, seeded by the hash. With 2^k + s parts, s < 2^k, it is the low k bits, and one bit
 * more where those are below s; the hash grows by one part at a time, which takes half of part s. So one more field
 * never costs more than a few parts, and a place read backwards, the low bit first, orders all places in such a way
 * that each part is one range of it, which is halved when the part is: a walk in that order misses nothing (HSCAN).
 * Invariant: a part without records has no row. Failure: once memory has run out nothing is written any more. */
#include "store/hash.h"
#include "store/little.h"
#include <assert.h>
#include <xxhash.h>

#define RECORD_HEAD_BYTES 8
#define PLACE_BITS 63
#define FIELDS_A_PART 32 /* On average, at most. */
#define SPLITS_AT_ONCE 4 /* So many parts are halved for one new field at most. */

static bool ok(const struct hash *h)
{
    return !h->f->out->failed;
}

static uint8_t *records(const struct hash_part *p)
{
    return p->room + PARTS_HEAD_BYTES;
}

static struct bytes part_records(const struct hash_part *p)
{
    return (struct bytes){.base = records(p), .len = p->len};
}

/* ---- Places ---- */

static uint64_t place_of(const struct parts_head *head, struct bytes field)
{
    return XXH3_64bits_withSeed(field.base, field.len, head->next) >> 1;
}

/* The k of 2^k + s parts. */
static unsigned bits_of(uint64_t parts)
{
    return 63 - (unsigned)__builtin_clzll(parts);
}

/* How many low bits of the place tell its part. */
static unsigned depth_of(uint64_t parts, uint64_t place)
{
    unsigned bits = bits_of(parts);
    uint64_t low = place & (((uint64_t)1 << bits) - 1);
    return bits + (low < parts - ((uint64_t)1 << bits));
}

static uint64_t part_of(uint64_t parts, uint64_t place)
{
    return place & (((uint64_t)1 << depth_of(parts, place)) - 1);
}

/* The 63 bits of a place, the other way round. */
static uint64_t backwards(uint64_t place)
{
    uint64_t r = 0;
    for (int i = 0; i < PLACE_BITS; i++, place >>= 1)
        r = r << 1 | (place & 1);
    return r;
}

/* ---- Records ---- */

bool hash_next(struct bytes all, size_t *at, struct hash_record *ret)
{
    if (*at == all.len)
        return false;
    const uint8_t *r = all.base + *at;
    ret->field = (struct bytes){.base = r + RECORD_HEAD_BYTES, .len = little_u32(r)};
    ret->value = (struct bytes){.base = ret->field.base + ret->field.len, .len = little_u32(r + 4)};
    *at += RECORD_HEAD_BYTES + ret->field.len + ret->value.len;
    assert(*at <= all.len);
    return true;
}

/* Where the field's record begins and ends; false when there is none. */
static bool find(struct bytes all, struct bytes field, size_t *ret_at, struct hash_record *ret)
{
    for (size_t at = 0, next = 0; hash_next(all, &next, ret); at = next) {
        if (!family_bytes_equal(ret->field, field))
            continue;
        *ret_at = at;
        return true;
    }
    return false;
}

static size_t record_bytes(struct bytes field, struct bytes value)
{
    return RECORD_HEAD_BYTES + field.len + value.len;
}

static void put_bytes(uint8_t *to, struct bytes bytes)
{
    if (bytes.len > 0)
        memcpy(to, bytes.base, bytes.len);
}

static void record_write(uint8_t *at, struct bytes field, struct bytes value)
{
    little_put_u32(at, (uint32_t)field.len);
    little_put_u32(at + 4, (uint32_t)value.len);
    put_bytes(at + RECORD_HEAD_BYTES, field);
    put_bytes(at + RECORD_HEAD_BYTES + field.len, value);
}

/* ---- The part at hand ---- */

static bool part_room(struct hash *h, size_t more)
{
    size_t used = h->part.room == NULL ? 0 : PARTS_HEAD_BYTES + h->part.len;
    uint8_t *room = family_kept_more(h->f, KEEP_CHUNK, used, PARTS_HEAD_BYTES + h->part.len + more);
    if (room != NULL)
        h->part.room = room;
    return room != NULL;
}

static void part_fill(struct hash *h, uint64_t number, struct bytes from)
{
    h->part = (struct hash_part){.number = number};
    if (!part_room(h, from.len))
        return;
    put_bytes(records(&h->part), from);
    h->part.len = from.len;
    h->part.open = true;
}

static void part_put(struct hash *h, uint64_t number, struct bytes value)
{
    if (value.len > 0)
        parts_put(h->f, h->head.id, number, value);
    else if (parts_get(h->f, h->head.id, number) != NULL)
        parts_delete(h->f, h->head.id, number);
}

static void part_write(struct hash *h)
{
    if (h->part.open && h->part.changed && h->head.id != 0 && ok(h))
        part_put(h, h->part.number, part_records(&h->part));
    h->part.changed = false;
}

static struct bytes part_value(struct family *f, const struct parts_head *head, uint64_t number)
{
    const struct row *row = parts_get(f, head->id, number);
    return row == NULL ? (struct bytes){.len = 0} : family_value(row);
}

static void part_open(struct hash *h, uint64_t number)
{
    if (h->part.open && h->part.number == number)
        return;
    part_write(h);
    part_fill(h, number, part_value(h->f, &h->head, number));
}

/* The part of this field is at hand; false: out of memory. */
static bool seek(struct hash *h, struct bytes field)
{
    if (h->head.id != 0)
        part_open(h, part_of(h->head.end, place_of(&h->head, field)));
    return ok(h);
}

/* ---- Growing ---- */

static bool crowded(const struct hash *h)
{
    uint64_t n = h->head.n, parts = h->head.end, bytes = h->head.bytes + RECORD_HEAD_BYTES * n;
    return n > FIELDS_A_PART * parts || (bytes > PARTS_HASH_BYTES * parts && parts < 2 * n);
}

/* One part more: it takes those of part `from` whose place has the next bit set. */
static void split(struct hash *h)
{
    unsigned bits = bits_of(h->head.end);
    uint64_t from = h->head.end - ((uint64_t)1 << bits), to = h->head.end;
    part_open(h, from);
    uint8_t *moved = ok(h) ? family_kept(h->f, KEEP_VALUE, h->part.len) : NULL;
    if (moved == NULL)
        return;
    struct bytes all = part_records(&h->part);
    struct hash_record r;
    size_t stay = 0, go = 0;
    for (size_t at = 0, next = 0; hash_next(all, &next, &r); at = next) {
        bool goes = (place_of(&h->head, r.field) >> bits & 1) != 0;
        memmove(goes ? moved + go : records(&h->part) + stay, all.base + at, next - at);
        go += goes ? next - at : 0;
        stay += goes ? 0 : next - at;
    }
    h->part.changed = h->part.changed || go > 0;
    h->part.len = stay;
    h->head.end++;
    if (go > 0)
        part_put(h, to, (struct bytes){.base = moved, .len = go});
}

/* From now on it has parts. */
static void promote(struct hash *h)
{
    h->head.id = parts_new_id(h->f);
    h->head.next = h->head.id;
    h->head.end = 1;
    h->head.flags |= PARTS_LARGE;
    h->part.number = 0;
    h->part.changed = true;
}

static void grow(struct hash *h, struct bytes field, struct bytes value)
{
    bool long_one = field.len > HASH_PACKED_FIELD_BYTES_MAX || value.len > HASH_PACKED_FIELD_BYTES_MAX;
    if (long_one || h->head.n > HASH_PACKED_FIELDS_MAX)
        h->head.flags |= PARTS_LARGE;
    if (h->head.id == 0 && (h->head.n > HASH_PACKED_FIELDS_MAX || h->part.len > HASH_PACKED_BYTES_MAX))
        promote(h);
    for (int i = 0; i < SPLITS_AT_ONCE && h->head.id != 0 && crowded(h) && ok(h); i++)
        split(h);
}

/* ---- The calls ---- */

void hash_open(struct family *f, struct bytes key, const struct row *row, struct hash *ret)
{
    *ret = (struct hash){.f = f, .key = key, .expiry = EXPIRY_NEVER, .exists = row != NULL};
    struct bytes packed = {.len = 0};
    if (row != NULL) {
        ret->expiry = family_expiry_of(row);
        ret->head = parts_head_read(row->value);
        packed = (struct bytes){.base = row->value + PARTS_HEAD_BYTES, .len = row->value_len - PARTS_HEAD_BYTES};
    }
    if (ret->head.id == 0)
        part_fill(ret, 0, packed);
}

void hash_close(struct hash *h)
{
    uint8_t head[PARTS_HEAD_BYTES];
    struct bytes value = {.base = head, .len = sizeof head};
    part_write(h);
    if (!h->changed || !ok(h))
        return;
    const struct row *old = h->exists ? rows_get(h->f->rows, h->key.base, h->key.len) : NULL;
    if (h->head.n == 0) {
        if (old != NULL)
            family_delete(h->f, h->key, old);
        return;
    }
    if (h->head.id == 0)
        value = (struct bytes){.base = h->part.room, .len = PARTS_HEAD_BYTES + h->part.len};
    parts_head_write((uint8_t *)value.base, &h->head);
    family_put(h->f, h->key, old, VALUE_HASH, value, h->expiry);
}

uint64_t hash_n(const struct hash *h)
{
    return h->head.n;
}

bool hash_get(struct hash *h, struct bytes field, struct bytes *ret)
{
    size_t at;
    struct hash_record r;
    if (!seek(h, field) || !find(part_records(&h->part), field, &at, &r))
        return false;
    *ret = r.value;
    return true;
}

/* The `old` bytes at `at` give way to a record. */
static bool part_replace(struct hash *h, size_t at, size_t old, struct bytes field, struct bytes value)
{
    size_t len = record_bytes(field, value);
    if (!part_room(h, len))
        return false;
    uint8_t *place = records(&h->part) + at;
    memmove(place + len, place + old, h->part.len - at - old);
    record_write(place, field, value);
    h->part.len += len - old;
    h->head.bytes += len - old;
    h->part.changed = h->changed = true;
    return true;
}

bool hash_set(struct hash *h, struct bytes field, struct bytes value)
{
    size_t at = 0, old = 0;
    struct hash_record r;
    if (!seek(h, field))
        return false;
    bool there = find(part_records(&h->part), field, &at, &r);
    if (there)
        old = record_bytes(r.field, r.value);
    if (!part_replace(h, there ? at : h->part.len, old, field, value))
        return false;
    if (!there) {
        h->head.n++;
        h->head.bytes -= RECORD_HEAD_BYTES;
    }
    grow(h, field, value);
    return !there;
}

bool hash_delete(struct hash *h, struct bytes field)
{
    size_t at;
    struct hash_record r;
    if (!seek(h, field) || !find(part_records(&h->part), field, &at, &r))
        return false;
    size_t len = record_bytes(r.field, r.value);
    uint8_t *place = records(&h->part) + at;
    memmove(place, place + len, h->part.len - at - len);
    h->part.len -= len;
    h->head.bytes -= len - RECORD_HEAD_BYTES;
    h->head.n--;
    h->part.changed = h->changed = true;
    return true;
}

/* ---- Reading ---- */

/* What stands behind the head of a hash without parts. */
static struct bytes packed_records(const struct row *row)
{
    return (struct bytes){.base = row->value + PARTS_HEAD_BYTES, .len = row->value_len - PARTS_HEAD_BYTES};
}

bool hash_find(struct family *f, const struct row *row, struct bytes field, struct bytes *ret)
{
    size_t at;
    struct hash_record r;
    struct parts_head head = parts_head_read(row->value);
    struct bytes all =
        head.id == 0 ? packed_records(row) : part_value(f, &head, part_of(head.end, place_of(&head, field)));
    if (!find(all, field, &at, &r))
        return false;
    *ret = r.value;
    return true;
}

void hash_walk_begin(struct family *f, struct bytes key, const struct row *row, uint64_t place, struct hash_walk *ret)
{
    *ret = (struct hash_walk){.f = f, .key = key, .head = parts_head_read(row->value), .place = place};
}

bool hash_walk_next(struct hash_walk *w, struct bytes *ret_records)
{
    const uint64_t end = (uint64_t)1 << PLACE_BITS;
    if (w->place >= end)
        return false;
    if (w->head.id == 0) {
        const struct row *row = family_live(w->f, w->key);
        *ret_records = row == NULL ? (struct bytes){.len = 0} : packed_records(row);
        w->place = end;
        return true;
    }
    uint64_t place = backwards(w->place);
    uint64_t width = (uint64_t)1 << (PLACE_BITS - depth_of(w->head.end, place));
    *ret_records = part_value(w->f, &w->head, part_of(w->head.end, place));
    w->place = (w->place & ~(width - 1)) + width;
    return true;
}

struct bytes hash_stretch(struct family *f, struct bytes key, uint64_t chance)
{
    const struct row *row = family_live(f, key);
    if (row == NULL)
        return (struct bytes){.len = 0};
    struct parts_head head = parts_head_read(row->value);
    return head.id == 0 ? packed_records(row) : part_value(f, &head, chance % head.end);
}
