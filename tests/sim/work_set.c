/* work_set.c - a set of unique members, each a key that is added once and perhaps removed once.
 *   - a listing has everything whose adding was answered before it was asked, and nothing whose removing was, nothing
 *     that was certainly refused, nothing that was never begun;
 *   - at the end every node has all that was acknowledged, and nothing that was refused or removed. */
#include "tests/sim/clients.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTING_GAP_US 100000 /* A listing reads all there is: ten a second are enough. */

enum { ADD, REMOVE, LIST };
enum fate { ASKED, ADDED, REFUSED, UNSURE, LEAVING, REMOVED, MAYBE_REMOVED };

static struct member {
    enum fate fate;
    uint64_t since; /* In the order of askings and answers. */
} * members;
static size_t n_members, cap;
static uint64_t listings, next_listing_us;
static uint64_t leaving; /* All before this one have been removed, or are left for good. */

static void begin(void)
{
    n_members = 0;
    listings = leaving = next_listing_us = 0;
}

static void become(uint64_t i, enum fate fate)
{
    members[i].fate = fate;
    members[i].since = clients_order();
}

static uint64_t new_member(void)
{
    if (n_members == cap) {
        cap = cap == 0 ? 1024 : cap * 2;
        members = must(realloc(members, cap * sizeof *members));
    }
    become(n_members, ASKED);
    return n_members++;
}

/* Somebody to remove: mostly the oldest, so that the set stays small; SIZE_MAX: nobody. */
static uint64_t choose_member(void)
{
    while (leaving < n_members && members[leaving].fate != ASKED && members[leaving].fate != ADDED)
        leaving++;
    uint64_t any = n_members - leaving, at = leaving;
    if (any > 0 && percent(CHANCE_CLIENTS, 30))
        at += below(CHANCE_CLIENTS, any);
    return any > 0 && members[at].fate == ADDED ? at : UINT64_MAX;
}

static int choose_kind(struct op *op)
{
    unsigned at = (unsigned)below(CHANCE_CLIENTS, 100);
    if (at >= 96 && world.now_us >= next_listing_us) {
        next_listing_us = world.now_us + LISTING_GAP_US;
        return LIST;
    }
    op->key = at >= 55 ? choose_member() : UINT64_MAX;
    return op->key != UINT64_MAX ? REMOVE : ADD;
}

static void choose(struct op *op)
{
    op->kind = choose_kind(op);
    op->is_write = op->kind != LIST;
    if (op->kind == REMOVE)
        become(op->key, LEAVING);
    if (op->kind == ADD)
        op->key = new_member();
}

static long encode(const struct op *op, struct command_buf *buf)
{
    char name[24];
    snprintf(name, sizeof name, "s%llu", (unsigned long long)op->key);
    struct bytes args[2] = {text_of(name), {0}}, glob = text_of("s*");
    switch (op->kind) {
    case ADD:
        args[1] = padded(op->key);
        return command_add(buf, OP_SET, CMD_NX, NULL, 0, args, 2);
    case REMOVE:
        return command_add(buf, OP_DEL, 0, NULL, 0, args, 1);
    default:
        return command_add(buf, OP_KEYS, 0, NULL, 0, &glob, 1);
    }
}

static bool must_be_there(const struct member *m, uint64_t asked)
{
    return m->fate == ADDED && m->since < asked;
}

static bool must_not_be_there(const struct member *m, uint64_t asked)
{
    return (m->fate == REFUSED || m->fate == REMOVED) && m->since < asked;
}

static void check_listing(const struct op *op, const uint8_t *outcome, size_t len)
{
    uint8_t *listed = must(calloc(n_members + 1, 1));
    struct outcome o;
    size_t at = outcome_next(outcome, len, &o);
    if (o.tag != OUTCOME_ARRAY)
        fail("a KEYS was answered with '%c'", (int)o.tag);
    for (int64_t left = o.n; left > 0; left--) {
        char text[24] = "";
        at += outcome_next(outcome + at, len - at, &o);
        memcpy(text, o.bytes, o.len < sizeof text - 1 ? o.len : sizeof text - 1);
        uint64_t i = strtoull(text + 1, NULL, 10);
        if (i >= n_members || listed[i]++)
            fail("a listing has %s, which is a stranger or there twice", text);
    }
    for (size_t i = 0; i < n_members; i++) {
        if (!listed[i] && must_be_there(&members[i], op->ask_order))
            fail("member %zu was acknowledged before a listing was asked, which does not have it", i);
        if (listed[i] && must_not_be_there(&members[i], op->ask_order))
            fail("member %zu was %s before a listing was asked, which has it", i,
                 members[i].fate == REFUSED ? "refused" : "removed");
    }
    free(listed);
    listings++;
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    outcome_next(outcome, len, &o);
    if (op->kind == LIST) {
        check_listing(op, outcome, len);
    } else if (op->kind == ADD) {
        if (o.tag != OUTCOME_OK)
            fail("member %llu was added once, yet was there already", (unsigned long long)op->key);
        become(op->key, ADDED);
    } else {
        if (o.tag != OUTCOME_INT || o.n != 1)
            fail("member %llu was acknowledged, but was not there to be removed", (unsigned long long)op->key);
        become(op->key, REMOVED);
    }
}

static void ended(struct op *op, enum op_end how)
{
    if (op->kind == ADD)
        become(op->key, how == OP_REFUSED ? REFUSED : UNSURE);
    else if (op->kind == REMOVE)
        become(op->key, how == OP_REFUSED ? ADDED : MAYBE_REMOVED);
}

static void finish(void)
{
    char name[24];
    for (size_t k = 0; k < n_members; k++) {
        snprintf(name, sizeof name, "s%zu", k);
        for (int i = 0; i < n_nodes; i++) {
            bool there = state_answer(i, OP_EXISTS, name).n != 0;
            if (!there && must_be_there(&members[k], UINT64_MAX))
                fail("member %zu was acknowledged, and n%d does not have it", k, i + 1);
            if (there && must_not_be_there(&members[k], UINT64_MAX))
                fail("member %zu was %s, and n%d has it", k, members[k].fate == REFUSED ? "refused" : "removed", i + 1);
        }
    }
}

static void describe(char *text, size_t bytes)
{
    snprintf(text, bytes, "%zu members, %llu listings", n_members, (unsigned long long)listings);
}

const struct workload work_set = {"set", 2, begin, choose, encode, answered, ended, finish, describe};
