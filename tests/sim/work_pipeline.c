/* work_pipeline.c - connections with many requests unanswered, on a key of their client alone: so every answer is known
 * beforehand, reads included, unless a request before it failed. */
#include "tests/sim/clients.h"
#include "tests/sim/profile.h"
#include <stdio.h>
#include <string.h>

enum { INCREMENT, READ, REPLACE };

/* What the client's key will hold when everything asked so far has been done. */
static struct belief {
    unsigned generation;
    uint64_t number;
} beliefs[CLIENTS];
static uint64_t checked;

static void begin(void)
{
    memset(beliefs, 0, sizeof beliefs);
    checked = 0;
}

static void choose(struct op *op)
{
    struct belief *b = &beliefs[op->client];
    unsigned at = (unsigned)below(CHANCE_CLIENTS, 100);
    op->kind = at < 45 ? INCREMENT : at < 90 ? READ : REPLACE;
    op->is_write = op->kind != READ;
    if (op->kind == INCREMENT)
        b->number++;
    else if (op->kind == REPLACE)
        b->number = below(CHANCE_CLIENTS, 1000);
    op->key = b->generation;
    op->value = b->number;
}

static long encode(const struct op *op, struct command_buf *buf)
{
    char name[32], text[24];
    int64_t one = 1;
    snprintf(name, sizeof name, "q%d.%llu", op->client, (unsigned long long)op->key);
    snprintf(text, sizeof text, "%llu", (unsigned long long)op->value);
    struct bytes args[2] = {text_of(name), text_of(text)};
    switch (op->kind) {
    case INCREMENT:
        return command_add(buf, OP_INCRBY, 0, &one, 1, args, 1);
    case REPLACE:
        return command_add(buf, OP_SET, 0, NULL, 0, args, 2);
    default:
        return command_add(buf, OP_GET, 0, NULL, 0, args, 1);
    }
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct belief *b = &beliefs[op->client];
    struct outcome o;
    outcome_next(outcome, len, &o);
    if (op->key != b->generation)
        return;
    uint64_t v = op->value;
    if (op->kind == INCREMENT)
        v = o.tag == OUTCOME_INT ? (uint64_t)o.n : UINT64_MAX;
    else if (op->kind == READ)
        v = number_in(op, outcome, len);
    else if (o.tag != OUTCOME_OK)
        fail("a SET was answered with '%c'", (int)o.tag);
    if (v != op->value)
        fail("client %d, alone on its key, got %llu for %llu", op->client, (unsigned long long)v,
             (unsigned long long)op->value);
    checked++;
}

static void ended(struct op *op, enum op_end how)
{
    struct belief *b = &beliefs[op->client];
    if (op->key != b->generation || (how == OP_REFUSED && !op->is_write))
        return;
    b->generation++;
    b->number = 0;
}

static void finish(void)
{
}

static void describe(char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu pipelined answers as expected", (unsigned long long)checked);
}

const struct workload work_pipeline = {"pipeline", 8, begin, choose, encode, answered, ended, finish, describe};
