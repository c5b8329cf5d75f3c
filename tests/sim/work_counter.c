/* work_counter.c - a few counters that everybody increments and reads.
 *   - an increment's number is its own, and greater than all that were answered before it began;
 *   - a read is no older than what was answered before it began, and no newer than what was begun when it ended;
 *   - at the end a counter is at least what was acknowledged, and at most what was begun. */
#include "tests/sim/clients.h"
#include "tests/sim/nodes.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTERS 3

enum { INCREMENT, READ };

static struct counter {
    uint64_t highest;      /* Answered to anybody. */
    uint64_t begun, acked; /* Increments: certainly refused ones do not count. */
    uint8_t *given;        /* By number. */
    size_t given_n;
} counters[COUNTERS];

static void name_of(uint64_t key, char name[16])
{
    snprintf(name, 16, "c%llu", (unsigned long long)key);
}

static void begin(void)
{
    for (int i = 0; i < COUNTERS; i++) {
        free(counters[i].given);
        counters[i] = (struct counter){0};
    }
}

static void choose(struct op *op)
{
    op->kind = percent(CHANCE_CLIENTS, 55) ? INCREMENT : READ;
    op->is_write = op->kind == INCREMENT;
    op->key = below(CHANCE_CLIENTS, COUNTERS);
    op->floor = counters[op->key].highest;
    counters[op->key].begun += op->is_write;
}

static long encode(const struct op *op, struct command_buf *buf)
{
    char name[16];
    int64_t one = 1;
    name_of(op->key, name);
    struct bytes arg = text_of(name);
    return op->kind == INCREMENT ? command_add(buf, OP_INCRBY, 0, &one, 1, &arg, 1)
                                 : command_add(buf, OP_GET, 0, NULL, 0, &arg, 1);
}

static void give(struct counter *c, uint64_t key, uint64_t v)
{
    if (v >= c->given_n) {
        size_t n = v * 2 + 64;
        c->given = must(realloc(c->given, n));
        memset(c->given + c->given_n, 0, n - c->given_n);
        c->given_n = n;
    }
    if (c->given[v]++)
        fail("counter %llu: %llu was given twice", (unsigned long long)key, (unsigned long long)v);
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct counter *c = &counters[op->key];
    struct outcome o;
    outcome_next(outcome, len, &o);
    bool increment = op->kind == INCREMENT;
    if (increment && o.tag != OUTCOME_INT)
        fail("an increment was answered with '%c'", (int)o.tag);
    uint64_t v = increment ? (uint64_t)o.n : number_in(op, outcome, len);
    if (v > c->begun)
        fail("counter %llu: %llu after only %llu increments were begun", (unsigned long long)op->key,
             (unsigned long long)v, (unsigned long long)c->begun);
    if (v < op->floor + increment)
        fail("counter %llu: %s gave %llu, but %llu had been answered before it began", (unsigned long long)op->key,
             increment ? "an increment" : "a read", (unsigned long long)v, (unsigned long long)op->floor);
    if (increment)
        give(c, op->key, v);
    c->acked += increment;
    if (v > c->highest)
        c->highest = v;
}

static void ended(struct op *op, enum op_end how)
{
    counters[op->key].begun -= op->kind == INCREMENT && how == OP_REFUSED;
}

static void finish(void)
{
    char name[16];
    for (uint64_t key = 0; key < COUNTERS; key++) {
        name_of(key, name);
        for (int i = 0; i < n_nodes; i++) {
            struct outcome o = state_answer(i, OP_GET, name);
            char text[32] = "";
            memcpy(text, o.bytes, o.tag == OUTCOME_BULK && o.len < sizeof text ? o.len : 0);
            uint64_t v = strtoull(text, NULL, 10);
            if (v < counters[key].acked || v < counters[key].highest || v > counters[key].begun)
                fail("n%d has %llu for counter %llu: %llu were acknowledged, up to %llu; %llu were begun", i + 1,
                     (unsigned long long)v, (unsigned long long)key, (unsigned long long)counters[key].acked,
                     (unsigned long long)counters[key].highest, (unsigned long long)counters[key].begun);
        }
    }
}

static void describe(char *text, size_t bytes)
{
    uint64_t acked = 0;
    for (int i = 0; i < COUNTERS; i++)
        acked += counters[i].acked;
    snprintf(text, bytes, "%llu increments acknowledged", (unsigned long long)acked);
}

const struct workload work_counter = {"counter", 1, begin, choose, encode, answered, ended, finish, describe};
