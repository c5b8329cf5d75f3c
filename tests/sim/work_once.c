/* work_once.c - ONCE: each client counts on a key of its own through a session, one serial for each step, and asks
 * again for a step, through any node, until it is told. So serial n answers n, however often it is asked.
 *   - a step is done once, and a repeat gets the first answer, until the client has acknowledged it;
 *   - what has been acknowledged is refused;
 *   - a session does not end before its time to live is over;
 *   - at the end each key holds the steps that were told, and at most the one that was not, on every node. */
#include "tests/sim/clients.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include "tests/sim/words.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEAT_MAX 50 /* Far fewer than a session remembers. */

enum { OPEN, STEP, REPEAT };

static struct counter {
    uint64_t session; /* 0: none. */
    uint64_t ttl_ms, renewed_us;
    uint64_t told;       /* Serials up to here have been answered. */
    uint64_t acked;      /* The highest acknowledgement that was asked for, */
    uint64_t acked_told; /* and that was answered. */
    bool pending;        /* told + 1 has been asked. */
} counters[CLIENTS];

/* What a key holds when its session is over. */
static struct result {
    int client;
    uint64_t session, least, most;
} * results;
static size_t n_results, cap;
static uint64_t steps, repeats, ended_sessions;

static void begin(void)
{
    memset(counters, 0, sizeof counters);
    n_results = 0;
    steps = repeats = ended_sessions = 0;
}

static void put_result(int client)
{
    const struct counter *c = &counters[client];
    if (n_results == cap) {
        cap = cap == 0 ? 256 : cap * 2;
        results = must(realloc(results, cap * sizeof *results));
    }
    results[n_results++] = (struct result){client, c->session, c->told, c->told + c->pending};
}

static void choose_step(struct op *op, struct counter *c)
{
    op->kind = STEP;
    op->key = c->told + 1;
    if (!c->pending && percent(CHANCE_CLIENTS, 30)) /* What a repeat says beside its serial is not looked at. */
        c->acked = c->told;
    op->value = c->acked;
    c->pending = true;
}

static void choose(struct op *op)
{
    struct counter *c = &counters[op->client];
    op->is_write = true;
    if (c->session == 0) {
        op->kind = OPEN;
        op->value = between(CHANCE_CLIENTS, 300, 1200);
    } else if (c->told == 0 || percent(CHANCE_CLIENTS, 75)) {
        choose_step(op, c);
    } else {
        uint64_t first = c->told > REPEAT_MAX ? c->told - REPEAT_MAX : 1;
        op->kind = REPEAT;
        op->key = between(CHANCE_CLIENTS, first, c->told);
        op->floor = c->acked_told; /* Serials up to here are to be refused. */
    }
}

static long encode(const struct op *op, struct command_buf *buf)
{
    const struct counter *c = &counters[op->client];
    char key[48];
    snprintf(key, sizeof key, "o%d.%llu", op->client, (unsigned long long)c->session);
    if (op->kind == OPEN)
        return words_encode(buf, WORDS("SESSION", "OPEN", "TTL", digits(op->value)));
    const char *session = digits(c->session), *serial = digits(op->key);
    if (op->kind == REPEAT)
        return words_encode(buf, WORDS("ONCE", session, serial, "INCRBY", key, "1"));
    return words_encode(buf, WORDS("ONCE", session, serial, "ACK", digits(op->value), "INCRBY", key, "1"));
}

static void session_over(const struct op *op)
{
    struct counter *c = &counters[op->client];
    if (world.now_us < c->renewed_us + c->ttl_ms * 1000 * 1000 / profile.clock_fastest - 2000)
        fail("session %llu was to live for %llu ms from %.3f on, and is gone", (unsigned long long)c->session,
             (unsigned long long)c->ttl_ms, (double)c->renewed_us / 1e3);
    put_result(op->client);
    ended_sessions++;
    *c = (struct counter){0};
}

static void take_number(const struct op *op, struct counter *c, int64_t n)
{
    if (n != (int64_t)op->key)
        fail("serial %llu of session %llu was done %s: its answer is %lld", (unsigned long long)op->key,
             (unsigned long long)c->session, n > (int64_t)op->key ? "more than once" : "in vain", (long long)n);
    if (op->kind == REPEAT && op->key <= op->floor)
        fail("serial %llu of session %llu was acknowledged, and is answered", (unsigned long long)op->key,
             (unsigned long long)c->session);
    c->renewed_us = op->began_us;
    repeats += op->kind == REPEAT;
    if (op->kind == REPEAT)
        return;
    steps++;
    c->told = op->key;
    c->acked_told = op->value;
    c->pending = false;
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct counter *c = &counters[op->client];
    struct outcome o;
    outcome_next(outcome, len, &o);
    bool refused = o.tag == OUTCOME_REFUSAL;
    if (op->kind == OPEN && o.tag == OUTCOME_INT)
        *c = (struct counter){.session = (uint64_t)o.n, .ttl_ms = op->value, .renewed_us = op->began_us};
    else if (refused && o.n == REFUSAL_SESSION_EXPIRED)
        session_over(op);
    else if (op->kind == REPEAT && refused && o.n == REFUSAL_SERIAL_PAST && op->key <= c->acked)
        c->renewed_us = op->began_us;
    else if (op->kind != OPEN && o.tag == OUTCOME_INT)
        take_number(op, c, o.n);
    else
        fail("serial %llu of session %llu was answered with '%c' %lld", (unsigned long long)op->key,
             (unsigned long long)c->session, (int)o.tag, (long long)o.n);
}

static void ended(struct op *op, enum op_end how)
{
    (void)op, (void)how; /* It asks again. */
}

static void finish(void)
{
    for (int k = 0; k < CLIENTS; k++)
        if (counters[k].session != 0)
            put_result(k);
    for (size_t i = 0; i < n_results * (size_t)n_nodes; i++) {
        const struct result *r = &results[i / (size_t)n_nodes];
        int node = (int)(i % (size_t)n_nodes);
        char key[48];
        snprintf(key, sizeof key, "o%d.%llu", r->client, (unsigned long long)r->session);
        struct outcome o = state_answer(node, OP_GET, key);
        uint64_t n = 0;
        for (size_t at = 0; o.tag == OUTCOME_BULK && at < o.len; at++)
            n = n * 10 + (uint64_t)(o.bytes[at] - '0');
        if (n < r->least || n > r->most)
            fail("n%d has %llu steps of session %llu, which were %llu to %llu", node + 1, (unsigned long long)n,
                 (unsigned long long)r->session, (unsigned long long)r->least, (unsigned long long)r->most);
    }
}

static void describe(char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu steps, %llu repeats, %llu sessions ended", (unsigned long long)steps,
             (unsigned long long)repeats, (unsigned long long)ended_sessions);
}

const struct workload work_once = {"once", 1, begin, choose, encode, answered, ended, finish, describe};
