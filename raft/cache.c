/* cache.c - the ring grows by doubling and never shrinks: in steady state nothing here allocates. */
#include "raft/cache.h"
#include <assert.h>
#include <stdlib.h>

#define CACHE_SLOTS_MIN 256

static struct log_entry *slot(const struct cache *c, uint64_t index)
{
    return &c->slots[index & (c->capacity - 1)];
}

static size_t cost(const struct log_entry *e)
{
    return e->len + sizeof *e;
}

void cache_init(struct cache *c, uint64_t next)
{
    *c = (struct cache){.first = next, .next = next};
}

void cache_release(struct cache *c)
{
    cache_reset(c, c->next);
    free(c->slots);
    *c = (struct cache){0};
}

int cache_reserve(struct cache *c, size_t n)
{
    size_t held = (size_t)(c->next - c->first);
    if (c->capacity - held >= n)
        return 0;
    struct cache bigger = *c;
    if (bigger.capacity == 0)
        bigger.capacity = CACHE_SLOTS_MIN;
    while (bigger.capacity - held < n)
        bigger.capacity *= 2;
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (bigger.slots == NULL)
        return LOG_ENOMEM;
    for (uint64_t i = c->first; i < c->next; i++)
        *slot(&bigger, i) = *slot(c, i);
    free(c->slots);
    *c = bigger;
    return 0;
}

void cache_push(struct cache *c, const struct log_entry *e)
{
    assert(c->next - c->first < c->capacity);
    if (e->blob != NULL) /* An entry without payload needs none. */
        blob_ref(e->blob);
    *slot(c, c->next++) = *e;
    c->bytes += cost(e);
}

static void drop(struct cache *c, uint64_t index)
{
    struct log_entry *e = slot(c, index);
    c->bytes -= cost(e);
    blob_unref(e->blob);
    e->blob = NULL;
}

void cache_truncate(struct cache *c, uint64_t index)
{
    while (c->next > index && c->next > c->first)
        drop(c, --c->next);
    if (c->next > index)
        c->first = c->next = index;
}

void cache_drop_below(struct cache *c, uint64_t index)
{
    while (c->first < index && c->first < c->next)
        drop(c, c->first++);
}

void cache_reset(struct cache *c, uint64_t next)
{
    cache_drop_below(c, c->next);
    c->first = c->next = next;
}

const struct log_entry *cache_get(const struct cache *c, uint64_t index)
{
    return index >= c->first && index < c->next ? slot(c, index) : NULL;
}
