/* work_lock.c - locks, a semaphore and a read/write lock, held by sessions and used for something outside of the
 * cluster. A client trusts its hold until it asks for the release, or until its session or its lease could be over by
 * the fastest of clocks, counted from when it asked for the last renewal.
 *   - while a client trusts its hold, nobody else is told that he has one that does not go with it;
 *   - tokens grow, and what is outside and takes no token older than the newest never refuses one who trusts his hold;
 *   - GUARD does not refuse such a one either, and refuses who has been told that the lock is another's by now;
 *   - a lock that nobody has had for long, in a calm cluster, is granted to whoever asks;
 *   - when all sessions are over, no session, no hold and no waiter is left on any node.
 * Clients hang up while they wait, and go on with their session; they close sessions, leave them to end by themselves,
 * and sleep through their time with a hold. */
#include "tests/sim/clients.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include "tests/sim/words.h"
#include <stdio.h>
#include <string.h>

#define LOCKS 4
#define PERMITS 3
#define WAIT_MS_MAX 700
#define UNUSED_US 1000000 /* So long nobody may have a lock that others wait for in vain. */

enum { OPEN, CLOSE, KEEPALIVE, ACQUIRE, RELEASE, GUARD, KINDS };

static const struct {
    const char *name;
    bool permits, shares;
} locks[LOCKS] = {{"l-plain", false, false}, {"l-other", false, false}, {"l-sem", true, false}, {"l-rw", false, true}};

static struct lock_seen {
    uint64_t newest;      /* The highest token told to anybody. */
    uint64_t outside;     /* The highest one with which somebody who trusted his hold has written outside. */
    uint64_t unsure_us;   /* Until then somebody may have it whom nobody knows. */
    uint64_t least, most; /* Writes under GUARD. */
} seen[LOCKS];

static struct worker {
    uint64_t session; /* 0: none. */
    uint64_t ttl_ms, renewed_us;
    bool closing;
    unsigned shunned;        /* Locks whose queue it left without a word: bits. */
    bool shunned_in_trouble; /* Before the cluster was calm: its node may have died with it. */
    uint64_t sleeps_until_us;

    /* Its hold, or its request under ONCE that is to be repeated. */
    bool pending, perhaps_done, held, releasing, release_unsure;
    unsigned lock;
    uint64_t serial, token, asked_us, wait_ms, lease_ms, permits;
    bool shared;
    uint64_t trusts_until_us;
} workers[CLIENTS];
static uint64_t grants, waits_over, sessions_over, stale_guards;

static void begin(void)
{
    memset(workers, 0, sizeof workers);
    memset(seen, 0, sizeof seen);
    grants = waits_over = sessions_over = stale_guards = 0;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- What clients believe ---- */

static uint64_t session_soonest_us(const struct worker *w)
{
    return w->renewed_us + w->ttl_ms * 1000 * 1000 / profile.clock_fastest - 2000;
}

static void renewed(struct worker *w, uint64_t asked_us)
{
    w->renewed_us = later(w->renewed_us, asked_us);
    if (!w->held)
        return;
    w->trusts_until_us = session_soonest_us(w);
    if (w->lease_ms > 0)
        w->trusts_until_us =
            sooner(w->trusts_until_us, w->asked_us + w->lease_ms * 1000 * 1000 / profile.clock_fastest - 2000);
}

static bool trusts(const struct worker *w)
{
    return w->held && !w->releasing && !w->closing && world.now_us < w->trusts_until_us;
}

/* May both have their hold at the same time? */
static bool go_together(const struct worker *a, const struct worker *b)
{
    return a->lock != b->lock || (a->shared && b->shared);
}

static void check_alone(int k)
{
    uint64_t permits = 0;
    for (int i = 0; i < CLIENTS; i++) {
        const struct worker *other = &workers[i];
        if (i == k || !trusts(other))
            continue;
        permits += other->lock == workers[k].lock ? other->permits : 0;
        if (!locks[workers[k].lock].permits && !go_together(other, &workers[k]))
            fail("client %d is told that it has %s, token %llu, while client %d has it, token %llu", k,
                 locks[workers[k].lock].name, (unsigned long long)workers[k].token, i,
                 (unsigned long long)other->token);
    }
    if (locks[workers[k].lock].permits && permits + workers[k].permits > PERMITS)
        fail("client %d is told that it has %llu permits of %d, of which others have %llu", k,
             (unsigned long long)workers[k].permits, PERMITS, (unsigned long long)permits);
}

/* One who trusts his hold writes outside. */
static void write_outside(int k)
{
    const struct worker *w = &workers[k];
    struct lock_seen *l = &seen[w->lock];
    if (!trusts(w) || locks[w->lock].permits || locks[w->lock].shares)
        return;
    if (w->token < l->outside)
        fail("client %d has %s, and its token %llu is older than %llu, which was used before", k, locks[w->lock].name,
             (unsigned long long)w->token, (unsigned long long)l->outside);
    l->outside = w->token;
}

/* Its session goes on without it, at the latest until its time is over by the slowest of clocks. */
static void abandon(struct worker *w)
{
    uint64_t over_us = world.now_us + w->ttl_ms * 1000 * 1000 / profile.clock_slowest + 1000000;
    for (unsigned i = 0; i < LOCKS; i++)
        if ((w->shunned >> i & 1) != 0 || ((w->held || w->pending) && w->lock == i))
            seen[i].unsure_us = later(seen[i].unsure_us, over_us);
    *w = (struct worker){0};
}

/* Its end was told. */
static void session_ended(struct worker *w, bool closed)
{
    if (!closed && !w->closing && world.now_us < session_soonest_us(w))
        fail("session %llu was to live for %llu ms from %.3f on, and is gone", (unsigned long long)w->session,
             (unsigned long long)w->ttl_ms, (double)w->renewed_us / 1e3);
    for (unsigned i = 0; i < LOCKS; i++)
        if ((w->shunned >> i & 1) != 0 || ((w->held || w->pending) && w->lock == i))
            seen[i].unsure_us = later(seen[i].unsure_us, world.now_us);
    sessions_over += !closed;
    *w = (struct worker){0};
}

/* ---- Asking ---- */

static void choose_acquire(struct op *op, struct worker *w)
{
    do
        w->lock = percent(CHANCE_CLIENTS, 40) ? 0 : (unsigned)below(CHANCE_CLIENTS, LOCKS);
    while ((w->shunned >> w->lock & 1) != 0);
    w->pending = percent(CHANCE_CLIENTS, 50);
    w->serial += w->pending;
    w->perhaps_done = false;
    w->asked_us = world.now_us; /* A repeat tells of the same hold, whose lease does not begin anew. */
    w->lease_ms = percent(CHANCE_CLIENTS, 30) ? between(CHANCE_CLIENTS, 50, 600) : 0;
    w->permits = locks[w->lock].permits ? between(CHANCE_CLIENTS, 1, PERMITS) : 0;
    w->shared = locks[w->lock].shares && percent(CHANCE_CLIENTS, 60);
    op->value = percent(CHANCE_CLIENTS, 85) ? between(CHANCE_CLIENTS, 1, WAIT_MS_MAX) : 0;
    w->wait_ms = op->value;
    op->floor = seen[w->lock].newest;
    if (percent(CHANCE_CLIENTS, 40))
        op->patience_us = 1000 + below(CHANCE_CLIENTS, 200000);
}

/* The same once more: it may be the first that arrives. Its token may be as old as the first asking. */
static void repeat_acquire(struct op *op, const struct worker *w)
{
    op->value = w->wait_ms;
    op->floor = 0;
}

static int choose_with_hold(struct worker *w)
{
    unsigned at = (unsigned)below(CHANCE_CLIENTS, 100);
    if (w->releasing || at < 30)
        return RELEASE;
    if (w->shunned != 0)
        return at < 60 ? GUARD : KEEPALIVE; /* Its session must live, for a hold that it should not have to last. */
    if (at >= 94)
        w->sleeps_until_us = world.now_us + below(CHANCE_CLIENTS, 2000 * w->ttl_ms);
    return at < 75 ? GUARD : at < 90 ? KEEPALIVE : at < 94 ? CLOSE : GUARD;
}

static int choose_kind(struct worker *w)
{
    bool stranded = w->shunned_in_trouble && clients_are_calm(world.now_us);
    if (w->session == 0)
        return OPEN;
    if (w->closing || stranded || w->shunned == (1u << LOCKS) - 1)
        return CLOSE;
    if (w->pending && !w->held)
        return ACQUIRE;
    if (world.now_us < w->sleeps_until_us)
        return KINDS;
    if (w->held)
        return choose_with_hold(w);
    return percent(CHANCE_CLIENTS, 90) ? ACQUIRE : KEEPALIVE;
}

static void choose(struct op *op)
{
    struct worker *w = &workers[op->client];
    op->kind = choose_kind(w);
    op->is_write = op->kind != KINDS; /* While it sleeps, it reads something that says nothing. */
    op->key = w->session;
    if (op->kind == OPEN)
        op->value = between(CHANCE_CLIENTS, 300, 1200);
    else if (op->kind == ACQUIRE && !w->pending)
        choose_acquire(op, w);
    else if (op->kind == ACQUIRE)
        repeat_acquire(op, w);
    else if (op->kind == GUARD)
        op->floor = seen[w->lock].newest;
    w->closing = w->closing || op->kind == CLOSE;
    w->releasing = w->releasing || op->kind == RELEASE;
    op->wait_ms = op->kind == ACQUIRE ? WAIT_MS_MAX : 0;
}

static void put_acquire(const struct op *op, const struct worker *w, const char *words[], size_t *n)
{
    words[(*n)++] = "LOCK";
    words[(*n)++] = "ACQUIRE";
    words[(*n)++] = locks[w->lock].name;
    words[(*n)++] = w->pending ? "-" : digits(w->session);
    words[(*n)++] = "WAIT";
    words[(*n)++] = digits(op->value);
    if (w->lease_ms > 0) {
        words[(*n)++] = "TTL";
        words[(*n)++] = digits(w->lease_ms);
    }
    if (w->shared)
        words[(*n)++] = "SHARED";
    if (!locks[w->lock].permits)
        return;
    words[(*n)++] = "PERMITS";
    words[(*n)++] = digits(w->permits);
    words[(*n)++] = "OF";
    words[(*n)++] = digits(PERMITS);
}

static long encode_acquire(const struct op *op, const struct worker *w, struct command_buf *buf)
{
    const char *words[20] = {"ONCE", digits(w->session), digits(w->serial)};
    size_t n = w->pending ? 3 : 0;
    put_acquire(op, w, words, &n);
    return words_encode(buf, n, words);
}

static long encode(const struct op *op, struct command_buf *buf)
{
    const struct worker *w = &workers[op->client];
    const char *session = digits(w->session), *name = locks[w->lock].name;
    char key[32];
    snprintf(key, sizeof key, "g.%s", name);
    switch (op->kind) {
    case OPEN:
        return words_encode(buf, WORDS("SESSION", "OPEN", "TTL", digits(op->value)));
    case CLOSE:
        return words_encode(buf, WORDS("SESSION", "CLOSE", session));
    case KEEPALIVE:
        return words_encode(buf, WORDS("SESSION", "KEEPALIVE", session));
    case ACQUIRE:
        return encode_acquire(op, w, buf);
    case RELEASE:
        return words_encode(buf, WORDS("LOCK", "RELEASE", name, session, "TOKEN", digits(w->token)));
    case GUARD:
        return words_encode(buf, WORDS("GUARD", name, digits(w->token), "INCRBY", key, "1"));
    default:
        return words_encode(buf, WORDS("LOCK", "INFO", name));
    }
}

/* ---- Answers ---- */

static void take_grant(const struct op *op, uint64_t token)
{
    struct worker *w = &workers[op->client];
    struct lock_seen *l = &seen[w->lock];
    if (token <= op->floor)
        fail("client %d is given the token %llu for %s, where %llu was told before it asked", op->client,
             (unsigned long long)token, locks[w->lock].name, (unsigned long long)op->floor);
    w->held = true;
    w->pending = w->releasing = w->release_unsure = false;
    w->token = token;
    renewed(w, op->began_us);
    l->newest = later(l->newest, token);
    grants++;
    if (!trusts(w))
        return;
    check_alone(op->client);
    write_outside(op->client);
}

/* It has waited in vain. */
static void take_nothing(const struct op *op)
{
    struct worker *w = &workers[op->client];
    const struct lock_seen *l = &seen[w->lock];
    bool unused =
        clients_are_calm(world.now_us - UNUSED_US) && op->value >= 300 && l->unsure_us + UNUSED_US < world.now_us;
    for (int i = 0; i < CLIENTS && unused; i++) {
        const struct worker *other = &workers[i];
        bool may_have = (other->held || other->pending) && other->lock == w->lock;
        unused = !may_have && !(other->shunned_in_trouble && (other->shunned >> w->lock & 1) != 0);
    }
    w->pending = false;
    renewed(w, op->began_us);
    waits_over++;
    if (w->lease_ms == 0 && world.now_us + 2000 < w->asked_us + w->wait_ms * 1000 * 1000 / profile.clock_fastest)
        fail("client %d was to wait %llu ms for %s, and is told after %.3f ms that it was in vain", op->client,
             (unsigned long long)w->wait_ms, locks[w->lock].name, (double)(world.now_us - w->asked_us) / 1e3);
    if (unused)
        fail("nobody has had %s for %d ms, and yet client %d waited for it in vain", locks[w->lock].name,
             UNUSED_US / 1000, op->client);
}

static void let_go(struct worker *w)
{
    seen[w->lock].unsure_us = later(seen[w->lock].unsure_us, world.now_us);
    w->held = w->releasing = w->release_unsure = false;
}

static void take_release(const struct op *op, int64_t n)
{
    struct worker *w = &workers[op->client];
    if (n == 0 && !w->release_unsure && world.now_us < w->trusts_until_us)
        fail("client %d, which has %s, token %llu, has nothing to release", op->client, locks[w->lock].name,
             (unsigned long long)w->token);
    renewed(w, op->began_us);
    let_go(w);
}

static void take_guard(const struct op *op, const struct outcome *o)
{
    struct worker *w = &workers[op->client];
    struct lock_seen *l = &seen[w->lock];
    bool refused = o->tag == OUTCOME_REFUSAL && o->n == REFUSAL_STALE_TOKEN, alone = w->lock < 2;
    if (!refused && o->tag != OUTCOME_INT)
        fail("a GUARD was answered with '%c' %lld", (int)o->tag, (long long)o->n);
    l->least += !refused;
    l->most += !refused;
    if (refused && trusts(w))
        fail("client %d has %s, token %llu, and is refused as stale", op->client, locks[w->lock].name,
             (unsigned long long)w->token);
    if (!refused && alone && op->floor > w->token)
        fail("the token %llu of client %d for %s passes, though %llu was told before", (unsigned long long)w->token,
             op->client, locks[w->lock].name, (unsigned long long)op->floor);
    stale_guards += refused;
    write_outside(op->client);
    if (refused)
        let_go(w);
}

static void take(const struct op *op, const struct outcome *o)
{
    struct worker *w = &workers[op->client];
    if (op->kind == OPEN && o->tag == OUTCOME_INT)
        *w = (struct worker){.session = (uint64_t)o->n, .ttl_ms = op->value, .renewed_us = op->began_us};
    else if (op->kind == CLOSE && o->tag == OUTCOME_OK)
        session_ended(w, true);
    else if (op->kind == KEEPALIVE && o->tag == OUTCOME_OK)
        renewed(w, op->began_us);
    else if (op->kind == ACQUIRE && o->tag == OUTCOME_INT)
        take_grant(op, (uint64_t)o->n);
    else if (op->kind == ACQUIRE && o->tag == OUTCOME_NIL)
        take_nothing(op);
    else if (op->kind == RELEASE && o->tag == OUTCOME_INT)
        take_release(op, o->n);
    else if (op->kind == GUARD)
        take_guard(op, o);
    else if (op->kind != KINDS)
        fail("client %d, locks: a request of kind %d was answered with '%c' %lld", op->client, op->kind, (int)o->tag,
             (long long)o->n);
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    outcome_next(outcome, len, &o);
    if (o.tag == OUTCOME_REFUSAL && o.n == REFUSAL_SESSION_EXPIRED && op->kind != OPEN)
        session_ended(&workers[op->client], false);
    else
        take(op, &o);
}

/* ---- No answer ---- */

static void ended_acquire(struct op *op, struct worker *w, enum op_end how)
{
    if (w->pending) {
        w->perhaps_done = w->perhaps_done || how == OP_UNKNOWN;
        w->pending = w->perhaps_done; /* Else it may ask for another lock, with the next serial. */
    } else if (how == OP_UNKNOWN && op->left_queue) {
        w->shunned |= 1u << w->lock;
        w->shunned_in_trouble = w->shunned_in_trouble || !clients_are_calm(op->began_us);
        seen[w->lock].unsure_us = later(seen[w->lock].unsure_us, world.now_us + 400000);
    } else if (how == OP_UNKNOWN && percent(CHANCE_CLIENTS, 50)) {
        w->pending = w->closing = true; /* Whether it has the lock is not known: its session is to end. */
    } else if (how == OP_UNKNOWN) {
        w->pending = true;
        abandon(w);
    }
}

static void ended(struct op *op, enum op_end how)
{
    struct worker *w = &workers[op->client];
    if (op->kind == ACQUIRE)
        ended_acquire(op, w, how);
    else if (op->kind == GUARD && how == OP_UNKNOWN)
        seen[w->lock].most++;
    else if (op->kind == RELEASE && how == OP_UNKNOWN)
        w->release_unsure = true;
}

/* ---- The end ---- */

static void finish(void)
{
    for (int i = 0; i < n_nodes; i++) {
        if (state_words(i, WORDS("LOCK", "LIST")).n != 0)
            fail("all sessions are over, and n%d has locks that are held", i + 1);
        if (state_words(i, WORDS("SESSION", "LIST")).n != 0)
            fail("nobody has renewed a session for long, and n%d still has some", i + 1);
        for (int l = 0; l < LOCKS; l++) {
            char key[32];
            snprintf(key, sizeof key, "g.%s", locks[l].name);
            struct outcome o = state_answer(i, OP_GET, key);
            uint64_t n = 0;
            for (size_t at = 0; o.tag == OUTCOME_BULK && at < o.len; at++)
                n = n * 10 + (uint64_t)(o.bytes[at] - '0');
            if (n < seen[l].least || n > seen[l].most)
                fail("n%d has %llu writes under %s, which were %llu to %llu", i + 1, (unsigned long long)n,
                     locks[l].name, (unsigned long long)seen[l].least, (unsigned long long)seen[l].most);
        }
    }
}

static void describe(char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu grants, %llu in vain, %llu sessions over, %llu stale tokens refused",
             (unsigned long long)grants, (unsigned long long)waits_over, (unsigned long long)sessions_over,
             (unsigned long long)stale_guards);
}

const struct workload work_lock = {"lock", 1, begin, choose, encode, answered, ended, finish, describe};
