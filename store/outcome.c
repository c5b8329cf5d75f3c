/* outcome.c - answers as flat tagged values.
 * Writing: once a growth has failed, or the bound is met, nothing more is appended, so that a buffer never has a hole
 * in it; its owner sees `failed` or `full` and throws the whole run away. Reading trusts nothing: each length is
 * compared with what is left. */
#include "store/outcome.h"
#include "store/little.h"
#include <stdlib.h>
#include <string.h>

#define OUTCOME_FIRST_BYTES 256
#define OUTCOME_NESTING_MAX 32 /* A script's reply inside a transaction's, and some. */
#define OUTCOME_LATER_HEAD 22

void outcome_buf_release(struct outcome_buf *b)
{
    free(b->base);
    *b = (struct outcome_buf){0};
}

static bool outcome_grow(struct outcome_buf *b, size_t more)
{
    size_t cap = b->cap == 0 ? OUTCOME_FIRST_BYTES : b->cap;
    while (cap - b->len < more) {
        if (cap > SIZE_MAX / 2)
            return false;
        cap *= 2;
    }
    uint8_t *base = realloc(b->base, cap);
    if (base == NULL)
        return false;
    b->base = base;
    b->cap = cap;
    return true;
}

static bool outcome_passes_bound(const struct outcome_buf *b, size_t more)
{
    return b->bound != 0 && (b->len > b->bound || more > b->bound - b->len);
}

/* Room for `more` bytes, taken already; NULL once the buffer has failed or is full. */
static uint8_t *outcome_take(struct outcome_buf *b, size_t more)
{
    b->full = b->full || outcome_passes_bound(b, more);
    if (b->failed || b->full)
        return NULL;
    if (b->cap - b->len < more && !outcome_grow(b, more)) {
        b->failed = true;
        return NULL;
    }
    uint8_t *at = b->base + b->len;
    b->len += more;
    return at;
}

static void outcome_put_tag(struct outcome_buf *b, enum outcome_tag tag)
{
    uint8_t *at = outcome_take(b, 1);
    if (at != NULL)
        at[0] = (uint8_t)tag;
}

static void outcome_put_counted(struct outcome_buf *b, enum outcome_tag tag, uint32_t n)
{
    uint8_t *at = outcome_take(b, 5);
    if (at == NULL)
        return;
    at[0] = (uint8_t)tag;
    little_put_u32(at + 1, n);
}

static void outcome_put_bytes(struct outcome_buf *b, enum outcome_tag tag, const void *bytes, size_t len)
{
    if (len > UINT32_MAX - 16) { /* No value may be so long; the count has 32 bits. */
        b->failed = true;
        return;
    }
    uint8_t *at = outcome_take(b, 5 + len);
    if (at == NULL)
        return;
    at[0] = (uint8_t)tag;
    little_put_u32(at + 1, (uint32_t)len);
    if (len > 0)
        memcpy(at + 5, bytes, len);
}

void outcome_nil(struct outcome_buf *b)
{
    outcome_put_tag(b, OUTCOME_NIL);
}

void outcome_nil_array(struct outcome_buf *b)
{
    outcome_put_tag(b, OUTCOME_NIL_ARRAY);
}

void outcome_ok(struct outcome_buf *b)
{
    outcome_put_tag(b, OUTCOME_OK);
}

void outcome_int(struct outcome_buf *b, int64_t n)
{
    uint8_t *at = outcome_take(b, 9);
    if (at == NULL)
        return;
    at[0] = OUTCOME_INT;
    little_put_u64(at + 1, (uint64_t)n);
}

void outcome_bulk(struct outcome_buf *b, const void *bytes, size_t len)
{
    outcome_put_bytes(b, OUTCOME_BULK, bytes, len);
}

void outcome_simple(struct outcome_buf *b, const char *word)
{
    outcome_put_bytes(b, OUTCOME_SIMPLE, word, strlen(word));
}

void outcome_array(struct outcome_buf *b, uint32_t n)
{
    outcome_put_counted(b, OUTCOME_ARRAY, n);
}

void outcome_array_recount(struct outcome_buf *b, size_t at, uint32_t n)
{
    if (!b->failed && !b->full)
        little_put_u32(b->base + at + 1, n);
}

void outcome_append(struct outcome_buf *b, const uint8_t *values, size_t len)
{
    uint8_t *at = outcome_take(b, len);
    if (at != NULL && len > 0)
        memcpy(at, values, len);
}

void outcome_map(struct outcome_buf *b, uint32_t n)
{
    outcome_put_counted(b, OUTCOME_MAP, n);
}

void outcome_set(struct outcome_buf *b, uint32_t n)
{
    outcome_put_counted(b, OUTCOME_SET, n);
}

void outcome_bool(struct outcome_buf *b, bool yes)
{
    uint8_t *at = outcome_take(b, 2);
    if (at == NULL)
        return;
    at[0] = OUTCOME_BOOL;
    at[1] = yes;
}

void outcome_double(struct outcome_buf *b, const void *text, size_t len)
{
    outcome_put_bytes(b, OUTCOME_DOUBLE, text, len);
}

void outcome_big_number(struct outcome_buf *b, const void *text, size_t len)
{
    outcome_put_bytes(b, OUTCOME_BIG_NUMBER, text, len);
}

void outcome_refusal(struct outcome_buf *b, enum refusal code, const void *detail, size_t len)
{
    uint8_t *at = outcome_take(b, 7 + len);
    if (at == NULL)
        return;
    at[0] = OUTCOME_REFUSAL;
    little_put_u16(at + 1, (uint16_t)code);
    little_put_u32(at + 3, (uint32_t)len);
    if (len > 0)
        memcpy(at + 7, detail, len);
}

void outcome_later(struct outcome_buf *b, uint64_t token, uint64_t session, const void *name, size_t len)
{
    uint8_t *at = outcome_take(b, OUTCOME_LATER_HEAD + len);
    if (at == NULL)
        return;
    at[0] = OUTCOME_LATER;
    at[1] = 0;
    little_put_u64(at + 2, token);
    little_put_u64(at + 10, session);
    little_put_u32(at + 18, (uint32_t)len);
    if (len > 0)
        memcpy(at + OUTCOME_LATER_HEAD, name, len);
}

void outcome_later_keep(struct outcome_buf *b, size_t at)
{
    if (!b->failed && b->base[at] == OUTCOME_LATER)
        b->base[at + 1] = 1;
}

/* The counted bytes of a head of head_len bytes, whose last four are the count. */
static size_t outcome_next_bytes(const uint8_t *at, size_t len, size_t head_len, struct outcome *o)
{
    if (len < head_len)
        return 0;
    o->len = little_u32(at + head_len - 4);
    if (o->len > len - head_len)
        return 0;
    o->bytes = (const char *)at + head_len;
    return head_len + o->len;
}

/* Returns the bytes taken; *o is filled as far as the tag needs. */
static size_t outcome_parse(const uint8_t *at, size_t len, struct outcome *o)
{
    if (len == 0)
        return 0;
    o->tag = (enum outcome_tag)at[0];
    switch (at[0]) {
    case OUTCOME_NIL:
    case OUTCOME_NIL_ARRAY:
    case OUTCOME_OK:
        return 1;
    case OUTCOME_INT:
        if (len < 9)
            return 0;
        o->n = (int64_t)little_u64(at + 1);
        return 9;
    case OUTCOME_BOOL:
        if (len < 2 || at[1] > 1)
            return 0;
        o->n = at[1];
        return 2;
    case OUTCOME_ARRAY:
    case OUTCOME_SET:
    case OUTCOME_MAP:
        if (len < 5)
            return 0;
        o->n = little_u32(at + 1);
        return 5;
    case OUTCOME_BULK:
    case OUTCOME_DOUBLE:
    case OUTCOME_BIG_NUMBER:
    case OUTCOME_SIMPLE:
        return outcome_next_bytes(at, len, 5, o);
    case OUTCOME_REFUSAL:
        if (len < 7)
            return 0;
        o->n = little_u16(at + 1);
        return outcome_next_bytes(at, len, 7, o);
    case OUTCOME_LATER:
        if (len < OUTCOME_LATER_HEAD)
            return 0;
        o->kept = at[1] != 0;
        o->n = (int64_t)little_u64(at + 2);
        o->session = little_u64(at + 10);
        return outcome_next_bytes(at, len, OUTCOME_LATER_HEAD, o);
    default:
        return 0;
    }
}

size_t outcome_next(const uint8_t *at, size_t len, struct outcome *ret)
{
    struct outcome o = {0};
    size_t used = outcome_parse(at, len, &o);
    if (used > 0)
        *ret = o;
    return used;
}

static size_t outcome_span_nested(const uint8_t *at, size_t len, int depth)
{
    struct outcome o;
    size_t used = outcome_next(at, len, &o);
    if (used == 0 || (o.tag != OUTCOME_ARRAY && o.tag != OUTCOME_SET && o.tag != OUTCOME_MAP))
        return used;
    if (depth == OUTCOME_NESTING_MAX)
        return 0;
    uint64_t parts = o.tag == OUTCOME_MAP ? 2 * (uint64_t)o.n : (uint64_t)o.n;
    for (uint64_t i = 0; i < parts; i++) { /* Ends early: each part takes at least one byte. */
        size_t part = outcome_span_nested(at + used, len - used, depth + 1);
        if (part == 0)
            return 0;
        used += part;
    }
    return used;
}

size_t outcome_span(const uint8_t *at, size_t len)
{
    return outcome_span_nested(at, len, 0);
}
