/* work_pair.c - pairs of keys that are only ever written together, by one MSET: whoever reads both finds them equal, at
 * any time and on any node. Transactions over several keys belong here, too. */
#include "tests/sim/clients.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include <stdio.h>
#include <string.h>

#define PAIRS 2

enum { WRITE, READ };

static uint64_t next_value, reads;

static void begin(void)
{
    next_value = reads = 0;
}

static void choose(struct op *op)
{
    op->kind = percent(CHANCE_CLIENTS, 50) ? WRITE : READ;
    op->is_write = op->kind == WRITE;
    op->key = below(CHANCE_CLIENTS, PAIRS);
    op->value = op->is_write ? ++next_value : 0;
}

static void names_of(uint64_t pair, char a[16], char b[16])
{
    snprintf(a, 16, "p%llu.left", (unsigned long long)pair);
    snprintf(b, 16, "p%llu.right", (unsigned long long)pair);
}

static long encode(const struct op *op, struct command_buf *buf)
{
    char a[16], b[16];
    names_of(op->key, a, b);
    if (op->kind == READ)
        return command_add(buf, OP_MGET, 0, NULL, 0, (struct bytes[]){text_of(a), text_of(b)}, 2);
    struct bytes value = padded(op->value);
    return command_add(buf, OP_MSET, 0, NULL, 0, (struct bytes[]){text_of(a), value, text_of(b), value}, 4);
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    size_t at = outcome_next(outcome, len, &o);
    if (op->kind == WRITE)
        return;
    if (o.tag != OUTCOME_ARRAY || o.n != 2)
        fail("an MGET was answered with '%c'", (int)o.tag);
    uint64_t left = number_in(op, outcome + at, len - at);
    at += outcome_next(outcome + at, len - at, &o);
    uint64_t right = number_in(op, outcome + at, len - at);
    if (left != right)
        fail("pair %llu was read as %llu and %llu", (unsigned long long)op->key, (unsigned long long)left,
             (unsigned long long)right);
    reads++;
}

static void ended(struct op *op, enum op_end how)
{
    (void)op, (void)how;
}

static void finish(void)
{
    for (uint64_t pair = 0; pair < PAIRS; pair++) {
        char a[16], b[16];
        names_of(pair, a, b);
        for (int i = 0; i < n_nodes; i++) {
            char left[4096];
            struct outcome o = state_answer(i, OP_GET, a);
            size_t len = o.len;
            enum outcome_tag tag = o.tag;
            if (len > 0)
                memcpy(left, o.bytes, len);
            o = state_answer(i, OP_GET, b);
            if (o.tag != tag || o.len != len || (len > 0 && memcmp(left, o.bytes, len) != 0))
                fail("n%d has two different halves of pair %llu", i + 1, (unsigned long long)pair);
        }
    }
}

static void describe(char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu pairs written, %llu read", (unsigned long long)next_value, (unsigned long long)reads);
}

const struct workload work_pair = {"pair", 3, begin, choose, encode, answered, ended, finish, describe};
