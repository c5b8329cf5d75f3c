/* terms.c - runs in index order; runs[0] always exists and starts at the base. */
#include "raft/terms.h"
#include "raft/log.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int terms_init(struct terms *t, uint64_t base, uint64_t base_term)
{
    *t = (struct terms){0};
    int rc = terms_reserve(t, 1);
    if (rc == 0)
        terms_reset(t, base, base_term);
    return rc;
}

void terms_release(struct terms *t)
{
    free(t->runs);
    *t = (struct terms){0};
}

int terms_reserve(struct terms *t, size_t n)
{
    if (t->capacity - t->n >= n)
        return 0;
    size_t capacity = (t->n + n) * 2;
    struct terms_run *runs = realloc(t->runs, capacity * sizeof *runs);
    if (runs == NULL)
        return LOG_ENOMEM;
    t->runs = runs;
    t->capacity = capacity;
    return 0;
}

void terms_push(struct terms *t, uint64_t term)
{
    t->last++;
    if (t->runs[t->n - 1].term == term)
        return;
    assert(t->n < t->capacity);
    t->runs[t->n++] = (struct terms_run){t->last, term};
}

void terms_truncate(struct terms *t, uint64_t index)
{
    assert(index > t->runs[0].first);
    while (t->runs[t->n - 1].first >= index)
        t->n--;
    if (t->last >= index)
        t->last = index - 1;
}

void terms_cut(struct terms *t, uint64_t base)
{
    assert(base >= t->runs[0].first && base <= t->last);
    size_t drop = 0;
    while (drop + 1 < t->n && t->runs[drop + 1].first <= base)
        drop++;
    t->n -= drop;
    memmove(t->runs, t->runs + drop, t->n * sizeof *t->runs);
    t->runs[0].first = base;
}

void terms_reset(struct terms *t, uint64_t base, uint64_t base_term)
{
    t->runs[0] = (struct terms_run){base, base_term};
    t->n = 1;
    t->last = base;
}

uint64_t terms_at(const struct terms *t, uint64_t index)
{
    if (index < t->runs[0].first || index > t->last)
        return 0;
    size_t low = 0, high = t->n; /* runs[low].first <= index < runs[high].first */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (t->runs[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    return t->runs[low].term;
}
