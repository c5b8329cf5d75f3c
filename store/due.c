/* due.c - a binary heap by (time, space, key), with a hash table over it so that a key is found again.
 * Invariants: each entry is in the heap at heap[entry->place] and in the chain of its hash, once; a row has one entry
 * at most. Failure: a note that finds no memory leaves everything as it was. */
#include "store/due.h"
#include "store/store.h"
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define DUE_FIRST_ENTRIES 64 /* A power of two, as every size after it. */

struct due_entry {
    int64_t ms;
    size_t place; /* In the heap. */
    uint64_t hash;
    struct due_entry *next; /* In the chain. */
    uint32_t len;
    uint8_t space;
    uint8_t key[];
};

struct due {
    int64_t horizon_ms;
    size_t n, cap; /* cap counts heap places and chains alike. */
    struct due_entry **heap;
    struct due_entry **chains;
};

int due_open(struct due **ret)
{
    struct due *d = calloc(1, sizeof *d);
    if (d == NULL)
        return STORE_ENOMEM;
    *ret = d;
    return 0;
}

static void due_release(struct due *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->heap[i]);
    free(d->heap);
    free(d->chains);
}

void due_close(struct due *d)
{
    if (d == NULL)
        return;
    due_release(d);
    free(d);
}

static bool due_before(const struct due_entry *a, const struct due_entry *b)
{
    if (a->ms != b->ms)
        return a->ms < b->ms;
    if (a->space != b->space)
        return a->space < b->space;
    int order = memcmp(a->key, b->key, a->len < b->len ? a->len : b->len);
    return order != 0 ? order < 0 : a->len < b->len;
}

static void due_place(struct due *d, struct due_entry *e, size_t place)
{
    d->heap[place] = e;
    e->place = place;
}

static void due_rise(struct due *d, struct due_entry *e)
{
    size_t place = e->place;
    while (place > 0 && due_before(e, d->heap[(place - 1) / 2])) {
        due_place(d, d->heap[(place - 1) / 2], place);
        place = (place - 1) / 2;
    }
    due_place(d, e, place);
}

static void due_sink(struct due *d, struct due_entry *e)
{
    size_t place = e->place;
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < d->n && due_before(d->heap[child + 1], d->heap[child]))
            child++;
        if (child >= d->n || !due_before(d->heap[child], e))
            break;
        due_place(d, d->heap[child], place);
        place = child;
    }
    due_place(d, e, place);
}

static struct due_entry **due_chain(const struct due *d, uint64_t hash)
{
    return &d->chains[hash & (d->cap - 1)];
}

static struct due_entry *due_find(const struct due *d, enum space space, uint64_t hash, const void *key, size_t len)
{
    if (d->n == 0) /* There may be no chains yet. */
        return NULL;
    for (struct due_entry *e = *due_chain(d, hash); e != NULL; e = e->next)
        if (e->hash == hash && e->space == space && e->len == len && memcmp(e->key, key, len) == 0)
            return e;
    return NULL;
}

static void due_chain_all(struct due *d)
{
    for (size_t i = 0; i < d->n; i++) {
        struct due_entry **chain = due_chain(d, d->heap[i]->hash);
        d->heap[i]->next = *chain;
        *chain = d->heap[i];
    }
}

/* Doubles both tables, or neither. */
static int due_grow(struct due *d)
{
    size_t cap = d->cap == 0 ? DUE_FIRST_ENTRIES : 2 * d->cap;
    struct due_entry **chains = calloc(cap, sizeof *chains);
    struct due_entry **heap = chains == NULL ? NULL : realloc(d->heap, cap * sizeof *heap);
    if (heap == NULL) {
        free(chains);
        return STORE_ENOMEM;
    }
    free(d->chains);
    d->chains = chains;
    d->heap = heap;
    d->cap = cap;
    due_chain_all(d);
    return 0;
}

static int due_add(struct due *d, enum space space, uint64_t hash, const void *key, size_t len, int64_t ms)
{
    if (d->n == d->cap && due_grow(d) != 0)
        return STORE_ENOMEM;
    struct due_entry *e = malloc(sizeof *e + len);
    if (e == NULL)
        return STORE_ENOMEM;
    struct due_entry **chain = due_chain(d, hash);
    *e = (struct due_entry){
        .ms = ms, .place = d->n, .hash = hash, .next = *chain, .len = (uint32_t)len, .space = (uint8_t)space};
    if (len > 0)
        memcpy(e->key, key, len);
    *chain = e;
    d->n++;
    due_rise(d, e);
    return 0;
}

int due_note(struct due *d, enum space space, const void *key, size_t len, int64_t ms)
{
    if (ms > d->horizon_ms)
        return 0;
    uint64_t hash = XXH3_64bits(key, len);
    struct due_entry *e = due_find(d, space, hash, key, len);
    if (e == NULL)
        return due_add(d, space, hash, key, len, ms);
    if (ms < e->ms) {
        e->ms = ms;
        due_rise(d, e);
    }
    return 0;
}

/* Out of the heap and the chain; the caller frees it. */
static void due_remove(struct due *d, struct due_entry *e)
{
    struct due_entry **link = due_chain(d, e->hash);
    while (*link != e)
        link = &(*link)->next;
    *link = e->next;
    assert(d->heap[e->place] == e);
    struct due_entry *last = d->heap[--d->n];
    if (last == e)
        return;
    due_place(d, last, e->place);
    due_rise(d, last);
    due_sink(d, last);
}

void due_forget(struct due *d, enum space space, const void *key, size_t len)
{
    struct due_entry *e = d->n == 0 ? NULL : due_find(d, space, XXH3_64bits(key, len), key, len);
    if (e == NULL)
        return;
    due_remove(d, e);
    free(e);
}

int64_t due_horizon_ms(const struct due *d)
{
    return d->horizon_ms;
}

void due_set_horizon(struct due *d, int64_t ms)
{
    if (ms > d->horizon_ms)
        d->horizon_ms = ms;
}

int64_t due_first_ms(const struct due *d)
{
    return d->n == 0 ? INT64_MAX : d->heap[0]->ms;
}

int due_take(struct due *d, int64_t ms, enum space *ret_space, void **ret_key, size_t *ret_len, int64_t *ret_ms)
{
    if (d->n == 0 || d->heap[0]->ms > ms)
        return 0;
    struct due_entry *e = d->heap[0];
    due_remove(d, e);
    *ret_space = (enum space)e->space;
    *ret_len = e->len;
    *ret_ms = e->ms;
    memmove(e, e->key, e->len); /* The entry's own memory becomes the key: taking cannot fail. */
    *ret_key = e;
    return 1;
}

/* What is left is a heap again when each entry with something below it has sunk, the last first. */
static void due_rebuild(struct due *d)
{
    memset(d->chains, 0, d->cap * sizeof d->chains[0]);
    due_chain_all(d);
    for (size_t i = d->n / 2; i-- > 0;)
        due_sink(d, d->heap[i]);
}

void due_clear(struct due *d, enum space space)
{
    size_t kept = 0;
    if (d->n == 0)
        return;
    for (size_t i = 0; i < d->n; i++) {
        if (d->heap[i]->space == space)
            free(d->heap[i]);
        else
            due_place(d, d->heap[i], kept++);
    }
    d->n = kept;
    due_rebuild(d);
}
