/* list.c - how the elements of a list lie in rows.
 *
 *     the list's row: its head (parts.h), and while it has one short part, the elements of it
 *     a part:         u64 next, u64 previous, u32 n, then n elements, each u32 length and bytes
 *
 * A part holds PARTS_LIST_BYTES, or one element that alone is longer. A push or pop at an end changes one part and the
 * list's row, whatever the length; what is in the middle is found by going from part to part from the nearer end. The
 * part at hand is in memory of the store's, and is written when another one is needed or the list is closed, so many
 * elements pushed at once cost one writing for each part.
 * Invariants: no part of a list that has an id is empty; the part at hand, when it is open, is the truth about itself,
 * while of all others the rows are. Failure: once memory has run out (out->failed) nothing is written any more. */
#include "store/list.h"
#include "store/little.h"
#include <assert.h>

#define ELEMENT_HEAD_BYTES 4
#define AT_NEXT 0
#define AT_PREVIOUS 8
#define AT_N 16

static bool ok(const struct list *l)
{
    return !l->f->out->failed;
}

static uint8_t *elements(const struct list_part *p)
{
    return p->room + PARTS_HEAD_BYTES; /* Room for the longer one of the two heads. */
}

/* ---- The part at hand ---- */

/* Room for `more` bytes of elements; false: out of memory. */
static bool part_room(struct list *l, size_t more)
{
    size_t used = l->part.room == NULL ? 0 : PARTS_HEAD_BYTES + l->part.len;
    uint8_t *room = family_kept_more(l->f, KEEP_CHUNK, used, PARTS_HEAD_BYTES + l->part.len + more);
    if (room != NULL)
        l->part.room = room;
    return room != NULL;
}

/* Take in a part's elements. */
static void part_fill(struct list *l, const uint8_t *bytes, size_t len, uint32_t n)
{
    l->part.room = NULL;
    l->part.len = 0;
    if (!part_room(l, len))
        return;
    if (len > 0)
        memcpy(elements(&l->part), bytes, len);
    l->part.len = len;
    l->part.n = n;
    l->part.open = true;
}

static void part_write(struct list *l)
{
    struct list_part *p = &l->part;
    if (p->open && p->changed && p->number != 0 && ok(l)) {
        uint8_t *value = elements(p) - PARTS_CHAIN_BYTES;
        little_put_u64(value + AT_NEXT, p->next);
        little_put_u64(value + AT_PREVIOUS, p->previous);
        little_put_u32(value + AT_N, p->n);
        parts_put(l->f, l->head.id, p->number, (struct bytes){.base = value, .len = PARTS_CHAIN_BYTES + p->len});
        p->changed = false;
    }
}

/* The part with that number; at: the index of its first element. */
static void part_open(struct list *l, uint64_t number, uint64_t at)
{
    if (l->part.open && l->part.number == number)
        return;
    part_write(l);
    l->part = (struct list_part){.number = number, .at = at};
    const struct row *row = parts_get(l->f, l->head.id, number);
    if (row == NULL) { /* Only when reading failed. */
        l->f->out->failed = true;
        return;
    }
    l->part.next = little_u64(row->value + AT_NEXT);
    l->part.previous = little_u64(row->value + AT_PREVIOUS);
    part_fill(l, row->value + PARTS_CHAIN_BYTES, row->value_len - PARTS_CHAIN_BYTES, little_u32(row->value + AT_N));
}

/* A link in the row of a part that is not at hand. */
static void part_link(struct list *l, uint64_t number, size_t at, uint64_t to)
{
    const struct row *row = ok(l) ? parts_get(l->f, l->head.id, number) : NULL;
    if (row == NULL)
        return;
    struct bytes value = family_value(row);
    uint8_t *copy = family_kept(l->f, KEEP_VALUE, value.len);
    if (copy == NULL)
        return;
    memcpy(copy, value.base, value.len);
    little_put_u64(copy + at, to);
    parts_put(l->f, l->head.id, number, (struct bytes){.base = copy, .len = value.len});
}

/* What comes before a part has this one behind it, and the other way round; 0: the list's end. */
static void link_next(struct list *l, uint64_t number, uint64_t to)
{
    if (number == 0)
        l->head.first = to;
    else
        part_link(l, number, AT_NEXT, to);
}

static void link_previous(struct list *l, uint64_t number, uint64_t to)
{
    if (number == 0)
        l->head.end = to;
    else
        part_link(l, number, AT_PREVIOUS, to);
}

/* From now on the list has rows for its parts. */
static void promote(struct list *l)
{
    if (l->head.id != 0)
        return;
    l->head.id = parts_new_id(l->f);
    l->head.next = 2;
    l->part.number = l->head.first = l->head.end = 1;
    l->part.changed = true;
}

/* An empty part beside the one at hand, which it replaces there. */
static void part_add(struct list *l, enum list_where where)
{
    promote(l);
    uint64_t number = l->head.next++, here = l->part.number;
    uint64_t previous = where == LIST_TAIL ? here : l->part.previous;
    uint64_t next = where == LIST_TAIL ? l->part.next : here;
    uint64_t at = l->part.at + (where == LIST_TAIL ? l->part.n : 0);
    if (where == LIST_TAIL)
        l->part.next = number;
    else
        l->part.previous = number;
    l->part.changed = true;
    part_write(l);
    if (where == LIST_TAIL)
        link_previous(l, next, number);
    else
        link_next(l, previous, number);
    l->part = (struct list_part){.number = number, .previous = previous, .next = next, .at = at, .changed = true};
    part_fill(l, NULL, 0, 0);
}

/* The part at hand, which is empty, goes. With the last one the list begins anew in its own row. */
static void part_drop(struct list *l)
{
    struct list_part gone = l->part;
    if (gone.number == 0)
        return;
    l->part = (struct list_part){.open = false};
    parts_delete(l->f, l->head.id, gone.number);
    link_next(l, gone.previous, gone.next);
    link_previous(l, gone.next, gone.previous);
    if (l->head.first != 0)
        return;
    l->head.id = 0;
    part_fill(l, NULL, 0, 0);
}

/* ---- Finding ---- */

/* The number of elements of a part that is not changed at hand, and its links. */
static uint32_t peek(struct list *l, uint64_t number, uint64_t *ret_previous, uint64_t *ret_next)
{
    const struct row *row = parts_get(l->f, l->head.id, number);
    if (row == NULL) {
        l->f->out->failed = true;
        return 0;
    }
    *ret_next = little_u64(row->value + AT_NEXT);
    *ret_previous = little_u64(row->value + AT_PREVIOUS);
    return little_u32(row->value + AT_N);
}

/* From the part with that number, whose first element has index `at`, towards the tail. */
static void seek_forward(struct list *l, uint64_t number, uint64_t at, uint64_t index)
{
    uint64_t previous, next = 0;
    for (uint32_t n; n = peek(l, number, &previous, &next), ok(l) && at + n <= index; number = next)
        at += n;
    if (ok(l))
        part_open(l, number, at);
}

/* From the part with that number, behind whose last element is index `end`, towards the head. */
static void seek_backward(struct list *l, uint64_t number, uint64_t end, uint64_t index)
{
    uint64_t previous = 0, next;
    for (;; number = previous) {
        end -= peek(l, number, &previous, &next);
        if (!ok(l) || end <= index)
            break;
    }
    if (ok(l))
        part_open(l, number, end);
}

/* From where it is nearest: the head, the tail, or the part at hand, so that a walk goes from part to part. */
static void seek_part(struct list *l, uint64_t index)
{
    const struct list_part p = l->part;
    part_write(l);
    if (p.open && index < p.at && p.at - index < index)
        seek_backward(l, p.previous, p.at, index);
    else if (p.open && index >= p.at && index - p.at < l->head.n - index)
        seek_forward(l, p.next, p.at + p.n, index);
    else if (index < l->head.n / 2)
        seek_forward(l, l->head.first, 0, index);
    else
        seek_backward(l, l->head.end, l->head.n, index);
}

/* The part with the element at index < n is at hand. False: out of memory. */
static bool seek(struct list *l, uint64_t index)
{
    const struct list_part *p = &l->part;
    if (!p->open || index < p->at || index - p->at >= p->n)
        seek_part(l, index);
    return ok(l);
}

static bool list_offsets(struct list *l)
{
    struct list_part *p = &l->part;
    if (p->listed)
        return true;
    l->offsets = family_kept(l->f, KEEP_OFFSETS, ((size_t)p->n + 1) * sizeof *l->offsets);
    if (l->offsets == NULL)
        return false;
    size_t at = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        l->offsets[i] = (uint32_t)at;
        at += ELEMENT_HEAD_BYTES + little_u32(elements(p) + at);
    }
    assert(at == p->len);
    l->offsets[p->n] = (uint32_t)at;
    p->listed = true;
    return true;
}

static struct bytes element_at(const struct list_part *p, size_t offset)
{
    const uint8_t *at = elements(p) + offset;
    return (struct bytes){.base = at + ELEMENT_HEAD_BYTES, .len = little_u32(at)};
}

uint64_t list_n(const struct list *l)
{
    return l->head.n;
}

struct bytes list_at(struct list *l, uint64_t index)
{
    if (!seek(l, index))
        return (struct bytes){.len = 0};
    uint64_t i = index - l->part.at;
    if (i == 0)
        return element_at(&l->part, 0);
    return list_offsets(l) ? element_at(&l->part, l->offsets[i]) : (struct bytes){.len = 0};
}

/* ---- Changing the part at hand ---- */

static void part_changed(struct list *l)
{
    l->part.changed = l->changed = true;
    l->part.listed = false;
}

static bool fits(const struct list_part *p, struct bytes element)
{
    return p->n == 0 || p->len + ELEMENT_HEAD_BYTES + element.len <= PARTS_LIST_BYTES;
}

static void part_insert(struct list *l, size_t offset, struct bytes element)
{
    size_t more = ELEMENT_HEAD_BYTES + element.len;
    if (!part_room(l, more))
        return;
    uint8_t *at = elements(&l->part) + offset;
    memmove(at + more, at, l->part.len - offset);
    little_put_u32(at, (uint32_t)element.len);
    if (element.len > 0)
        memcpy(at + ELEMENT_HEAD_BYTES, element.base, element.len);
    l->part.len += more;
    l->part.n++;
    l->head.n++;
    l->head.bytes += element.len;
    part_changed(l);
}

/* Take away the n elements that lie from offset to end. */
static void part_cut(struct list *l, size_t offset, size_t end, uint32_t n)
{
    uint8_t *bytes = elements(&l->part);
    memmove(bytes + offset, bytes + end, l->part.len - end);
    l->part.len -= end - offset;
    l->part.n -= n;
    l->head.n -= n;
    l->head.bytes -= end - offset - (size_t)n * ELEMENT_HEAD_BYTES;
    part_changed(l);
    if (l->part.n == 0)
        part_drop(l);
}

/* The part at hand keeps its first i elements; the others go to a new one behind it. */
static void part_split(struct list *l, uint64_t i)
{
    struct list_part whole = l->part;
    size_t len = l->offsets[i];
    struct bytes rest = {.base = elements(&whole) + len, .len = whole.len - len};
    rest = family_kept_copy(l->f, KEEP_ELEMENT, rest);
    if (!ok(l))
        return;
    l->part.n = (uint32_t)i;
    l->part.len = len;
    part_add(l, LIST_TAIL);
    uint64_t first = l->part.previous;
    if (!ok(l) || !part_room(l, rest.len))
        return;
    memcpy(elements(&l->part), rest.base, rest.len);
    l->part.len = rest.len;
    l->part.n = whole.n - (uint32_t)i;
    part_open(l, first, whole.at);
}

/* ---- The calls ---- */

void list_open(struct family *f, struct bytes key, const struct row *row, struct list *ret)
{
    *ret = (struct list){.f = f, .key = key, .expiry = EXPIRY_NEVER, .exists = row != NULL};
    if (row == NULL) {
        part_fill(ret, NULL, 0, 0);
        return;
    }
    ret->expiry = family_expiry_of(row);
    ret->head = parts_head_read(row->value);
    if (ret->head.id == 0)
        part_fill(ret, row->value + PARTS_HEAD_BYTES, row->value_len - PARTS_HEAD_BYTES, (uint32_t)ret->head.n);
}

void list_close(struct list *l)
{
    uint8_t head[PARTS_HEAD_BYTES];
    struct bytes value = {.base = head, .len = sizeof head};
    part_write(l);
    if (!l->changed || !ok(l))
        return;
    const struct row *old = l->exists ? rows_get(l->f->rows, l->key.base, l->key.len) : NULL;
    if (l->head.n == 0) {
        if (old != NULL)
            family_delete(l->f, l->key, old);
        return;
    }
    if (l->head.id == 0)
        value = (struct bytes){.base = l->part.room, .len = PARTS_HEAD_BYTES + l->part.len};
    parts_head_write((uint8_t *)value.base, &l->head);
    family_put(l->f, l->key, old, VALUE_LIST, value, l->expiry);
}

void list_push(struct list *l, enum list_where where, struct bytes element)
{
    if (l->head.id != 0)
        part_open(l, where == LIST_TAIL ? l->head.end : l->head.first, 0);
    if (where == LIST_TAIL)
        l->part.at = l->head.n - l->part.n;
    if (ok(l) && !fits(&l->part, element))
        part_add(l, where);
    if (ok(l))
        part_insert(l, where == LIST_TAIL ? l->part.len : 0, element);
}

void list_insert(struct list *l, uint64_t index, struct bytes element)
{
    if (index == 0 || index == l->head.n) {
        list_push(l, index == 0 ? LIST_HEAD : LIST_TAIL, element);
        return;
    }
    if (!seek(l, index) || !list_offsets(l))
        return;
    uint64_t i = index - l->part.at;
    if (!fits(&l->part, element)) {
        enum list_where side = i == 0 ? LIST_HEAD : LIST_TAIL;
        if (i > 0)
            part_split(l, i);
        if (ok(l) && !fits(&l->part, element))
            part_add(l, side);
        if (ok(l))
            part_insert(l, l->part.len, element);
        return;
    }
    part_insert(l, l->offsets[i], element);
}

void list_replace(struct list *l, uint64_t index, struct bytes element)
{
    if (!seek(l, index) || !list_offsets(l))
        return;
    uint64_t i = index - l->part.at;
    size_t offset = l->offsets[i], end = l->offsets[i + 1];
    if (l->part.n > 1 && l->part.len - (end - offset) + ELEMENT_HEAD_BYTES + element.len > PARTS_LIST_BYTES &&
        element.len > end - offset) {
        part_cut(l, offset, end, 1); /* It may need a part of its own. */
        list_insert(l, index, element);
        return;
    }
    if (!part_room(l, element.len))
        return;
    uint8_t *at = elements(&l->part) + offset;
    memmove(at + ELEMENT_HEAD_BYTES + element.len, elements(&l->part) + end, l->part.len - end);
    little_put_u32(at, (uint32_t)element.len);
    if (element.len > 0)
        memcpy(at + ELEMENT_HEAD_BYTES, element.base, element.len);
    l->part.len += ELEMENT_HEAD_BYTES + element.len - (end - offset);
    l->head.bytes += ELEMENT_HEAD_BYTES + element.len - (end - offset);
    part_changed(l);
}

/* Up to n elements of the part at that end. */
static uint64_t cut_some(struct list *l, enum list_where where, uint64_t n)
{
    if (!seek(l, where == LIST_HEAD ? 0 : l->head.n - 1))
        return n;
    struct list_part *p = &l->part;
    uint32_t cut = n < p->n ? (uint32_t)n : p->n;
    size_t offset = 0, end = p->len;
    if (cut < p->n && cut == 1 && where == LIST_HEAD) {
        end = ELEMENT_HEAD_BYTES + little_u32(elements(p)); /* The queue's way: nothing is counted. */
    } else if (cut < p->n) {
        if (!list_offsets(l))
            return n;
        offset = where == LIST_HEAD ? 0 : l->offsets[p->n - cut];
        end = where == LIST_HEAD ? l->offsets[cut] : p->len;
    }
    part_cut(l, offset, end, cut);
    return cut;
}

void list_cut(struct list *l, enum list_where where, uint64_t n)
{
    while (n > 0 && ok(l))
        n -= cut_some(l, where, n);
}

uint64_t list_pop(struct list *l, enum list_where where, uint64_t max, struct outcome_buf *out)
{
    size_t at = out->len;
    uint64_t n = 0;
    while (n < max && n < list_n(l)) {
        struct bytes e = list_at(l, where == LIST_HEAD ? n : list_n(l) - 1 - n);
        if (n > 0 && out->len - at + e.len > LIST_POP_BYTES_MAX)
            break;
        outcome_bulk(out, e.base, e.len);
        n++;
    }
    list_cut(l, where, n);
    return n;
}

/* ---- Removing what is equal ---- */

static uint32_t count_equal(const struct list_part *p, struct bytes element)
{
    uint32_t n = 0;
    for (size_t at = 0; at < p->len; at += ELEMENT_HEAD_BYTES + little_u32(elements(p) + at))
        n += family_bytes_equal(element_at(p, at), element);
    return n;
}

/* Close the gaps that `take` equal elements leave, after the first `skip` of them. */
static void part_sift(struct list *l, struct bytes element, uint32_t skip, uint32_t take)
{
    struct list_part *p = &l->part;
    size_t to = 0, next;
    uint32_t seen = 0, taken = 0;
    for (size_t at = 0; at < p->len; at = next) {
        next = at + ELEMENT_HEAD_BYTES + little_u32(elements(p) + at);
        bool equal = taken < take && family_bytes_equal(element_at(p, at), element);
        if (equal && seen++ >= skip) {
            taken++;
            continue;
        }
        memmove(elements(p) + to, elements(p) + at, next - at);
        to += next - at;
    }
    part_cut(l, to, p->len, take);
}

uint64_t list_remove(struct list *l, enum list_where from, uint64_t max, struct bytes element)
{
    uint64_t removed = 0, n = l->head.n, number = from == LIST_HEAD ? l->head.first : l->head.end;
    while (n > 0 && removed < max && ok(l)) {
        if (l->head.id != 0)
            part_open(l, number, 0);
        if (!ok(l))
            break;
        uint64_t following = from == LIST_HEAD ? l->part.next : l->part.previous;
        uint32_t equal = count_equal(&l->part, element);
        uint32_t take = equal < max - removed ? equal : (uint32_t)(max - removed);
        n -= l->part.n;
        if (take > 0)
            part_sift(l, element, from == LIST_HEAD ? 0 : equal - take, take);
        removed += take;
        number = following;
    }
    l->part.at = 0; /* Nobody knows what it is now: the list is to be closed. */
    return removed;
}
