/* keywaits.c - a hash table by key, for changes, and one by connection, for those that hang up. The question is kept as
 * the encoded read it came as.
 * Right because: the leader's look was linearizable and told its revision. Only a state after that one is asked again,
 * so no answer is older than the question. */
#include "node/keywaits.h"
#include "node/hash.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define KEYWAITS_FIRST_CHAINS 64 /* A power of two, as every size after it. */

struct keywait {
    struct keywait *next_by_key, *next_by_conn;
    struct conn *conn;
    uint64_t since; /* The revision of the last look. */
    uint64_t deadline_ms;
    struct bytes key; /* Inside `question`. */
    size_t len;
    uint8_t question[];
};

/* ---- The tables ---- */

static size_t chain_of_key(const struct keywaits *k, struct bytes key)
{
    return (size_t)hash_of(key) & (k->cap - 1);
}

static size_t chain_of_conn(const struct keywaits *k, const struct conn *conn)
{
    return (size_t)((uint64_t)(uintptr_t)conn * 0x9e3779b97f4a7c15u >> 32) & (k->cap - 1);
}

static void link_in(struct keywaits *k, struct keywait *x)
{
    struct keywait **by_key = &k->by_key[chain_of_key(k, x->key)];
    struct keywait **by_conn = &k->by_conn[chain_of_conn(k, x->conn)];
    x->next_by_key = *by_key;
    x->next_by_conn = *by_conn;
    *by_key = *by_conn = x;
}

static bool grow(struct keywaits *k)
{
    size_t cap = k->cap == 0 ? KEYWAITS_FIRST_CHAINS : 2 * k->cap, old_cap = k->cap;
    struct keywait **by_key = calloc(cap, sizeof *by_key), **by_conn = calloc(cap, sizeof *by_conn), **old = k->by_key;
    if (by_key == NULL || by_conn == NULL) {
        free(by_key);
        free(by_conn);
        return false;
    }
    free(k->by_conn);
    k->by_key = by_key;
    k->by_conn = by_conn;
    k->cap = cap;
    for (size_t i = 0; i < old_cap; i++)
        for (struct keywait *x = old[i], *next; x != NULL; x = next) {
            next = x->next_by_key;
            link_in(k, x);
        }
    free(old);
    return true;
}

static void unlink_wait(struct keywaits *k, struct keywait *x)
{
    struct keywait **at = &k->by_key[chain_of_key(k, x->key)];
    while (*at != x)
        at = &(*at)->next_by_key;
    *at = x->next_by_key;
    at = &k->by_conn[chain_of_conn(k, x->conn)];
    while (*at != x)
        at = &(*at)->next_by_conn;
    *at = x->next_by_conn;
    k->n--;
}

static struct keywait *find_conn(const struct keywaits *k, const struct conn *conn)
{
    struct keywait *x = k->n == 0 ? NULL : k->by_conn[chain_of_conn(k, conn)];
    while (x != NULL && x->conn != conn)
        x = x->next_by_conn;
    return x;
}

/* ---- How a wait ends ---- */

static void fail(struct keywaits *k, struct keywait *x, enum request_failure why)
{
    unlink_wait(k, x);
    conn_fail(x->conn, why);
    conn_unref(x->conn);
    free(x);
}

static void answer(struct keywaits *k, struct keywait *x)
{
    unlink_wait(k, x);
    conn_answer(x->conn, k->out.base, k->out.len);
    conn_unref(x->conn);
    free(x);
}

static void answer_nil(struct keywaits *k, struct keywait *x)
{
    k->out.len = 0;
    outcome_nil(&k->out);
    if (k->out.failed)
        fail(k, x, REQUEST_UNKNOWN);
    else
        answer(k, x);
}

/* Ask our own state; an answer that is not LATER is the answer. */
static void look(struct keywaits *k, struct keywait *x)
{
    struct outcome o;
    size_t used;
    k->out.len = 0;
    k->out.failed = false;
    int rc = store_read(k->store, x->question, x->len, store_clock_ms(k->store), &k->out, &used);
    if (rc != 0 || k->out.failed || outcome_next(k->out.base, k->out.len, &o) == 0)
        fail(k, x, REQUEST_UNKNOWN);
    else if (o.tag == OUTCOME_LATER)
        x->since = (uint64_t)o.n;
    else
        answer(k, x);
}

static bool concerns(const struct keywait *x, const struct feed_item *item)
{
    return x->since < item->revision && x->key.len == item->key.len &&
           (item->key.len == 0 || memcmp(x->key.base, item->key.base, item->key.len) == 0);
}

void keywaits_changed(struct keywaits *k, const struct feed_item *item)
{
    if (k->n == 0)
        return;
    if (item->kind == FEED_CLEARED) {
        keywaits_recheck(k);
        return;
    }
    for (struct keywait *x = k->by_key[chain_of_key(k, item->key)], *next; x != NULL; x = next) {
        next = x->next_by_key;
        if (concerns(x, item))
            look(k, x);
    }
}

static void each(struct keywaits *k, void (*visit)(struct keywaits *k, struct keywait *x))
{
    for (size_t i = 0; i < k->cap; i++)
        for (struct keywait *x = k->by_key[i], *next; x != NULL; x = next) {
            next = x->next_by_key;
            visit(k, x);
        }
}

static void look_if_newer(struct keywaits *k, struct keywait *x)
{
    if (store_revision(k->store) > x->since)
        look(k, x);
}

void keywaits_recheck(struct keywaits *k)
{
    each(k, look_if_newer);
}

/* ---- Beginning ---- */

/* The key stands first among the arguments of the encoded question. */
static bool find_key(struct keywait *x)
{
    struct command c = {0};
    size_t used;
    bool found = command_decode(x->question, x->len, &c, &used) == 0 && c.op == OP_AWAIT && c.n_args > 0;
    if (found)
        x->key = c.args[0];
    command_release(&c);
    return found;
}

static struct keywait *wait_new(struct keywaits *k, struct conn *conn, const struct outcome *later, uint64_t now_ms)
{
    if (k->n == k->cap && !grow(k))
        return NULL;
    struct keywait *x = malloc(sizeof *x + later->len);
    if (x == NULL)
        return NULL;
    uint64_t left_ms = later->session;
    *x = (struct keywait){.conn = conn,
                          .since = (uint64_t)later->n,
                          .deadline_ms = left_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + left_ms,
                          .len = later->len};
    memcpy(x->question, later->bytes, later->len);
    if (find_key(x))
        return x;
    free(x);
    return NULL;
}

void keywaits_add(struct keywaits *k, struct conn *conn, const struct outcome *later, uint64_t now_ms)
{
    struct keywait *x = k->ended || !conn_waits(conn) ? NULL : wait_new(k, conn, later, now_ms);
    if (x == NULL) {
        conn_fail(conn, k->ended ? REQUEST_UNBLOCKED : REQUEST_UNKNOWN);
        conn_unref(conn);
        return;
    }
    link_in(k, x);
    k->n++;
    if (x->deadline_ms < k->next_deadline_ms)
        k->next_deadline_ms = x->deadline_ms;
    look_if_newer(k, x); /* The key may have changed here between the leader's look and now. */
}

/* ---- The others ---- */

uint64_t keywaits_next_ms(const struct keywaits *k)
{
    return k->n == 0 ? UINT64_MAX : k->next_deadline_ms;
}

void keywaits_expire(struct keywaits *k, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    if (now_ms < k->next_deadline_ms)
        return;
    for (size_t i = 0; i < k->cap; i++)
        for (struct keywait *x = k->by_key[i], *next; x != NULL; x = next) {
            next = x->next_by_key;
            if (x->deadline_ms <= now_ms)
                answer_nil(k, x);
            else if (x->deadline_ms < next_ms)
                next_ms = x->deadline_ms;
        }
    k->next_deadline_ms = next_ms;
}

void keywaits_gone(struct keywaits *k, struct conn *conn)
{
    struct keywait *x = find_conn(k, conn);
    if (x != NULL)
        fail(k, x, REQUEST_UNBLOCKED); /* Nobody hears it, but the connection counts its answers. */
}

bool keywaits_unblock(struct keywaits *k, struct conn *conn, bool with_error)
{
    struct keywait *x = find_conn(k, conn);
    if (x != NULL && with_error)
        fail(k, x, REQUEST_UNBLOCKED_BY_CLIENT);
    else if (x != NULL)
        answer_nil(k, x);
    return x != NULL;
}

static void end(struct keywaits *k, struct keywait *x)
{
    fail(k, x, REQUEST_UNBLOCKED);
}

void keywaits_end(struct keywaits *k)
{
    k->ended = true;
    each(k, end);
}

void keywaits_init(struct keywaits *k, struct store *store)
{
    *k = (struct keywaits){.store = store, .next_deadline_ms = UINT64_MAX};
}

void keywaits_release(struct keywaits *k)
{
    keywaits_end(k);
    free(k->by_key);
    free(k->by_conn);
    outcome_buf_release(&k->out);
    *k = (struct keywaits){0};
}
