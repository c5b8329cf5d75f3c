/* world.c - a heap of events ordered by time, then by the order in which they were made. */
#include "tests/sim/world.h"
#include "tests/sim/nodes.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_BEGINS_US 1000000

struct world world;
static uint64_t streams[CHANCE_STREAMS];
static struct event **heap;
static size_t heap_n, heap_cap;
static uint64_t next_order;
static const struct world_hooks *hooks_now;

void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

/* ---- Chance: splitmix64 ---- */

uint64_t chance(enum stream s)
{
    uint64_t z = streams[s] += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t below(enum stream s, uint64_t n)
{
    return (chance(s) >> 16) % n;
}

uint64_t between(enum stream s, uint64_t from, uint64_t to)
{
    return from + below(s, to - from + 1);
}

bool percent(enum stream s, unsigned p)
{
    return below(s, 100) < p;
}

/* ---- Telling ---- */

void say(const char *format, ...)
{
    if (!world.verbose)
        return;
    va_list args;
    va_start(args, format);
    printf("%11.3f  ", (double)world.now_us / 1e3);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

void trace(uint64_t what)
{
    world.digest = (world.digest ^ what) * 0x100000001b3u;
    world.digest ^= world.digest >> 29;
}

void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (hooks_now != NULL)
        hooks_now->describe();
    printf("FAILED at %.3f ms, seed %llu: ", (double)world.now_us / 1e3, (unsigned long long)world.seed);
    vprintf(format, args);
    printf("\nreplay: sim %llu 1 -v%s\n", (unsigned long long)world.seed, world.options);
    va_end(args);
    fflush(stdout);
    _Exit(1);
}

/* ---- Events ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

static void push(struct event *e)
{
    if (heap_n == heap_cap) {
        heap_cap = heap_cap > 0 ? heap_cap * 2 : 1024;
        heap = must(realloc(heap, heap_cap * sizeof(struct event *)));
    }
    size_t i = heap_n++;
    for (; i > 0 && before(e, heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = e;
}

static struct event *pop(void)
{
    struct event *top = heap[0], *last = heap[--heap_n];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < heap_n; i = k) {
        if (k + 1 < heap_n && before(heap[k + 1], heap[k]))
            k++;
        if (!before(heap[k], last))
            break;
        heap[i] = heap[k];
    }
    if (heap_n > 0)
        heap[i] = last;
    return top;
}

static void event_free(struct event *e)
{
    free(e->bytes);
    free(e);
}

struct event *world_in(uint64_t in_us, int node, void (*run)(struct event *e))
{
    struct event *e = must(calloc(1, sizeof *e));
    e->at_us = world.now_us + in_us;
    e->order = next_order++;
    e->run = run;
    e->node = node;
    e->life = node >= 0 ? nodes[node].life : 0;
    push(e);
    return e;
}

static void meet(struct event *e, const struct world_hooks *hooks)
{
    uint64_t until = 0;
    enum gate gate = hooks->gate(e, &until);
    if (gate == GATE_LATER) {
        e->at_us = until;
        push(e);
        return;
    }
    if (gate == GATE_RUN) {
        trace(world.now_us * 8 + (uint64_t)(e->node + 1));
        trace(e->a ^ e->b << 20 ^ e->len << 40);
        world.events++;
        e->run(e);
        hooks->after(e);
    }
    event_free(e);
}

void world_run(uint64_t end_us, const struct world_hooks *hooks)
{
    hooks_now = hooks;
    while (heap_n > 0 && heap[0]->at_us < end_us) {
        struct event *e = pop();
        if (e->at_us > world.now_us)
            world.now_us = e->at_us;
        meet(e, hooks);
    }
    world.now_us = end_us;
}

void world_begin(uint64_t seed)
{
    bool verbose = world.verbose;
    const char *options = world.options;
    world = (struct world){.now_us = WORLD_BEGINS_US, .seed = seed, .verbose = verbose, .options = options};
    for (int s = 0; s < CHANCE_STREAMS; s++)
        streams[s] = seed * 0xd1342543de82ef95u + (uint64_t)s * 0x2545f4914f6cdd1du;
    next_order = 0;
}

void world_end(void)
{
    while (heap_n > 0)
        event_free(pop());
    hooks_now = NULL;
}
