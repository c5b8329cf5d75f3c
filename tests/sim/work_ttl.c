/* work_ttl.c - keys with a time to live. Clocks run fast or slow, so times are stretched by that.
 *   - a key is there for as long as was promised, counted from when its last setting was asked;
 *   - once the cluster is calm, a key is gone soon after its time;
 *   - at the end nothing that has a time to live is left on any node, read or not. */
#include "tests/sim/clients.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include <stdio.h>
#include <string.h>

#define LATE_US 1000000 /* Past its time, in a calm cluster. */

enum { SET, EXTEND, GET, PERSIST };

/* Each client has one key at a time, and takes another one when an outcome is unknown. */
static struct lease {
    unsigned generation;
    bool known, persists;
    uint64_t asked_us, answered_us; /* Of the last change of its time. */
    uint64_t left_ms;
} leases[CLIENTS];
static uint64_t settings, expiries;

static void begin(void)
{
    memset(leases, 0, sizeof leases);
    settings = expiries = 0;
}

static void choose(struct op *op)
{
    struct lease *l = &leases[op->client];
    unsigned at = (unsigned)below(CHANCE_CLIENTS, 100);
    op->kind = !l->known ? SET : at < 20 ? SET : at < 35 ? EXTEND : at < 40 ? PERSIST : GET;
    op->is_write = op->kind != GET;
    op->key = l->generation;
    op->value = percent(CHANCE_CLIENTS, 90) ? between(CHANCE_CLIENTS, 5, 600) : between(CHANCE_CLIENTS, 600, 1500);
}

static long encode(const struct op *op, struct command_buf *buf)
{
    char name[32];
    int64_t left[2] = {(int64_t)op->value, 0};
    snprintf(name, sizeof name, "t%d.%llu", op->client, (unsigned long long)op->key);
    struct bytes args[2] = {text_of(name), text_of("1")};
    switch (op->kind) {
    case SET:
        return command_add(buf, OP_SET, CMD_EXPIRE, left, 2, args, 2);
    case EXTEND:
        return command_add(buf, OP_EXPIRE, 0, left, 2, args, 1);
    case PERSIST:
        return command_add(buf, OP_PERSIST, 0, NULL, 0, args, 1);
    default:
        return command_add(buf, OP_GET, 0, NULL, 0, args, 1);
    }
}

/* The soonest and the latest that the key may go, as time since the change was asked or answered. */
static uint64_t soonest_us(const struct lease *l)
{
    return l->asked_us + l->left_ms * 1000 * 1000 / profile.clock_fastest - 2000;
}

static uint64_t latest_us(const struct lease *l)
{
    return l->answered_us + l->left_ms * 1000 * 1000 / profile.clock_slowest + LATE_US;
}

static void check_presence(struct op *op, bool there)
{
    struct lease *l = &leases[op->client];
    if (!l->known)
        return;
    if (!there && (l->persists || world.now_us < soonest_us(l)))
        fail("the key of client %d was to live for %llu ms from %.3f on, and is gone", op->client,
             (unsigned long long)l->left_ms, (double)l->asked_us / 1e3);
    if (there && !l->persists && clients_are_calm(l->answered_us) && op->began_us > latest_us(l))
        fail("the key of client %d was to live for %llu ms from %.3f on, and is still there", op->client,
             (unsigned long long)l->left_ms, (double)l->answered_us / 1e3);
    expiries += !there;
    l->known = there;
}

static void take_change(struct op *op)
{
    struct lease *l = &leases[op->client];
    l->known = true;
    l->persists = op->kind == PERSIST;
    l->asked_us = op->began_us;
    l->answered_us = world.now_us;
    l->left_ms = op->value;
    settings++;
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    outcome_next(outcome, len, &o);
    if (op->kind == GET)
        check_presence(op, o.tag == OUTCOME_BULK);
    else if (op->kind == SET)
        take_change(op);
    else if (o.tag == OUTCOME_INT && o.n == 1)
        take_change(op);
    else if (op->kind == EXTEND)
        check_presence(op, false);
    else if (!leases[op->client].persists)
        check_presence(op, false); /* PERSIST says 0 for what has no time, too. */
}

static void ended(struct op *op, enum op_end how)
{
    struct lease *l = &leases[op->client];
    if (!op->is_write || how == OP_REFUSED)
        return;
    l->generation++;
    l->known = l->persists = false;
}

static void finish(void)
{
    for (int i = 0; i < n_nodes; i++)
        if (store_keys_with_ttl(nodes[i].cluster.store) > 0)
            fail("n%d still has %llu keys whose time was over long ago", i + 1,
                 (unsigned long long)store_keys_with_ttl(nodes[i].cluster.store));
}

static void describe(char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu times to live set, %llu keys seen gone", (unsigned long long)settings,
             (unsigned long long)expiries);
}

const struct workload work_ttl = {"ttl", 1, begin, choose, encode, answered, ended, finish, describe};
