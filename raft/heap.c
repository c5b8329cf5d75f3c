/* heap.c - the system's memory and, behind it, a reserve given out from its start to its end. Blocks of the reserve are
 * not used again one by one; once all of them have been freed it begins anew. What is larger than the reserve (the
 * core's table of a long log) fails as ever, which it does survive. */
#include "raft/heap.h"
#include <malloc.h>
#include <raft.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HEAP_RESERVE_BYTES (256u << 10) /* Many times what one event takes; its pages cost nothing until then. */
#define HEAP_ALIGN 16

static _Alignas(HEAP_ALIGN) uint8_t reserve[HEAP_RESERVE_BYTES];
static size_t reserve_used, reserve_blocks;
static bool was_short;

static bool is_reserve(const void *p)
{
    return (uintptr_t)p >= (uintptr_t)reserve && (uintptr_t)p < (uintptr_t)reserve + sizeof reserve;
}

/* Zeros: calloc() needs them. */
static void *reserve_take(size_t bytes)
{
    if (bytes > sizeof reserve - reserve_used)
        return NULL;
    void *p = reserve + reserve_used;
    size_t whole = (bytes + HEAP_ALIGN) / HEAP_ALIGN * HEAP_ALIGN; /* Never empty: each block has its own place. */
    reserve_used = whole < sizeof reserve - reserve_used ? reserve_used + whole : sizeof reserve;
    reserve_blocks++;
    was_short = true;
    return memset(p, 0, bytes);
}

static void heap_free(void *data, void *p)
{
    (void)data;
    if (!is_reserve(p)) {
        free(p);
        return;
    }
    if (--reserve_blocks == 0)
        reserve_used = 0;
}

static void *heap_malloc(void *data, size_t bytes)
{
    (void)data;
    void *p = malloc(bytes);
    return p != NULL ? p : reserve_take(bytes);
}

static void *heap_calloc(void *data, size_t n, size_t bytes)
{
    (void)data;
    void *p = calloc(n, bytes);
    return p != NULL || (bytes > 0 && n > SIZE_MAX / bytes) ? p : reserve_take(n * bytes);
}

/* A block of the reserve is followed by others: at most what is behind it is taken along. */
static size_t held_bytes(void *p)
{
    return is_reserve(p) ? (size_t)(reserve + reserve_used - (uint8_t *)p) : malloc_usable_size(p);
}

static void *heap_realloc(void *data, void *p, size_t bytes)
{
    if (p == NULL)
        return heap_malloc(data, bytes);
    void *grown = is_reserve(p) ? NULL : realloc(p, bytes);
    if (grown != NULL)
        return grown;
    size_t held = held_bytes(p);
    grown = reserve_take(bytes);
    if (grown == NULL)
        return NULL;
    memmove(grown, p, held < bytes ? held : bytes);
    heap_free(data, p);
    return grown;
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t bytes)
{
    (void)data;
    return aligned_alloc(alignment, bytes);
}

static void heap_aligned_free(void *data, size_t alignment, void *p)
{
    (void)alignment;
    heap_free(data, p);
}

void heap_use(void)
{
    static struct raft_heap heap = {.malloc = heap_malloc,
                                    .free = heap_free,
                                    .calloc = heap_calloc,
                                    .realloc = heap_realloc,
                                    .aligned_alloc = heap_aligned_alloc,
                                    .aligned_free = heap_aligned_free};
    raft_heap_set(&heap);
    was_short = false;
}

bool heap_was_short(void)
{
    bool yes = was_short;
    was_short = false;
    return yes;
}
