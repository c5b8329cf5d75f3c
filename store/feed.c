/* feed.c - items one behind the other: a head, the key, the message. */
#include "store/feed.h"
#include <stdlib.h>
#include <string.h>

#define FEED_FIRST_BYTES 4096

void feed_release(struct feed *f)
{
    free(f->base);
    f->base = NULL;
    f->len = f->cap = 0;
}

void feed_clear(struct feed *f)
{
    f->len = 0;
    f->failed = false;
}

static bool reserve(struct feed *f, size_t more)
{
    size_t cap = f->cap == 0 ? FEED_FIRST_BYTES : f->cap;
    while (cap - f->len < more)
        cap *= 2;
    if (cap == f->cap)
        return true;
    uint8_t *grown = realloc(f->base, cap);
    if (grown == NULL) {
        f->failed = true;
        return false;
    }
    f->base = grown;
    f->cap = cap;
    return true;
}

static void put_bytes(struct feed *f, struct bytes b)
{
    if (b.len > 0)
        memcpy(f->base + f->len, b.base, b.len);
    f->len += b.len;
}

void feed_put(struct feed *f, const struct feed_item *item)
{
    if (!reserve(f, sizeof *item + item->key.len + item->message.len))
        return;
    memcpy(f->base + f->len, item, sizeof *item);
    f->len += sizeof *item;
    put_bytes(f, item->key);
    put_bytes(f, item->message);
}

bool feed_next(const struct feed *f, size_t *at, struct feed_item *ret)
{
    if (*at >= f->len)
        return false;
    memcpy(ret, f->base + *at, sizeof *ret);
    ret->key.base = f->base + *at + sizeof *ret;
    ret->message.base = ret->key.base + ret->key.len;
    *at += sizeof *ret + ret->key.len + ret->message.len;
    return true;
}
