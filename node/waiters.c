/* waiters.c - a hash table by token, for events, with a second one by connection, for those that hang up.
 * Invariants: each waiting is in one chain of each table and holds a reference to its connection; a connection waits
 * once at most. Whoever takes a waiting out answers or fails its connection, or knows that it is closed. A request that
 * a session remembers (ONCE) does not leave the queue when its connection is lost: its client may ask again through
 * another node, and if not, its session ends. */
#include "node/waiters.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define WAITERS_FIRST_CHAINS 64 /* A power of two, as every size after it. */

struct waiting {
    struct waiting *next_by_token, *next_by_conn;
    struct conn *conn;
    uint64_t token, session, deadline_ms;
    bool kept;
    size_t name_len;
    uint8_t name[];
};

/* The name of a lock is not empty. */
static bool waits_for_list(size_t name_len)
{
    return name_len == 0;
}

static struct bytes name_of(const struct waiting *x)
{
    return (struct bytes){.base = x->name, .len = x->name_len};
}

/* ---- The tables ---- */

static size_t chain_of(const struct waiters *w, uint64_t number)
{
    return (size_t)(number * 0x9e3779b97f4a7c15u >> 32) & (w->cap - 1);
}

static struct waiting **token_chain(const struct waiters *w, uint64_t token)
{
    return &w->by_token[chain_of(w, token)];
}

static struct waiting **conn_chain(const struct waiters *w, const struct conn *conn)
{
    return &w->by_conn[chain_of(w, (uint64_t)(uintptr_t)conn)];
}

static void link_in(struct waiters *w, struct waiting *x)
{
    struct waiting **token = token_chain(w, x->token), **conn = conn_chain(w, x->conn);
    x->next_by_token = *token;
    x->next_by_conn = *conn;
    *token = *conn = x;
}

static bool grow(struct waiters *w)
{
    size_t cap = w->cap == 0 ? WAITERS_FIRST_CHAINS : 2 * w->cap, old_cap = w->cap;
    struct waiting **by_token = calloc(cap, sizeof *by_token), **by_conn = calloc(cap, sizeof *by_conn);
    if (by_token == NULL || by_conn == NULL) {
        free(by_token);
        free(by_conn);
        return false;
    }
    struct waiting **old = w->by_token;
    free(w->by_conn);
    w->by_token = by_token;
    w->by_conn = by_conn;
    w->cap = cap;
    for (size_t i = 0; i < old_cap; i++)
        for (struct waiting *x = old[i], *next; x != NULL; x = next) {
            next = x->next_by_token;
            link_in(w, x);
        }
    free(old);
    return true;
}

static struct waiting *find_token(const struct waiters *w, uint64_t token)
{
    struct waiting *x = w->n == 0 ? NULL : *token_chain(w, token);
    while (x != NULL && x->token != token)
        x = x->next_by_token;
    return x;
}

static struct waiting *find_conn(const struct waiters *w, const struct conn *conn)
{
    struct waiting *x = w->n == 0 ? NULL : *conn_chain(w, conn);
    while (x != NULL && x->conn != conn)
        x = x->next_by_conn;
    return x;
}

static void unlink_waiting(struct waiters *w, struct waiting *x)
{
    struct waiting **at = token_chain(w, x->token);
    while (*at != x)
        at = &(*at)->next_by_token;
    *at = x->next_by_token;
    at = conn_chain(w, x->conn);
    while (*at != x)
        at = &(*at)->next_by_conn;
    *at = x->next_by_conn;
    w->n--;
}

/* ---- How a wait ends ---- */

static void answer(struct conn *conn, const struct outcome_buf *out)
{
    if (out->failed)
        conn_fail(conn, REQUEST_UNKNOWN);
    else
        conn_answer(conn, out->base, out->len);
    conn_unref(conn);
}

static void answer_number(struct conn *conn, uint64_t token)
{
    uint8_t bytes[16];
    struct outcome_buf out = {.base = bytes, .cap = sizeof bytes};
    outcome_int(&out, (int64_t)token);
    answer(conn, &out);
}

/* Redis tells those who waited for a list with a null array. */
static void answer_nothing(struct conn *conn, size_t name_len)
{
    uint8_t bytes[16];
    struct outcome_buf out = {.base = bytes, .cap = sizeof bytes};
    if (waits_for_list(name_len))
        outcome_nil_array(&out);
    else
        outcome_nil(&out);
    answer(conn, &out);
}

static void answer_refusal(struct conn *conn, enum refusal code)
{
    uint8_t bytes[16];
    struct outcome_buf out = {.base = bytes, .cap = sizeof bytes};
    outcome_refusal(&out, code, NULL, 0);
    answer(conn, &out);
}

static void fail(struct conn *conn, enum request_failure why)
{
    conn_fail(conn, why);
    conn_unref(conn);
}

static void leave(struct waiters *w, const struct waiting *x)
{
    if (!x->kept)
        w->leave(w->ctx, name_of(x), x->session, x->token);
}

static void end_wait(struct waiters *w, const struct waiting *x, enum store_event_kind why)
{
    switch (why) {
    case STORE_LOCK_GRANTED:
        answer_number(x->conn, x->token);
        return;
    case STORE_WAIT_OFFERED:
        w->take(w->ctx, x->conn, x->token);
        return;
    case STORE_LOCK_ORPHANED:
        answer_refusal(x->conn, REFUSAL_SESSION_EXPIRED);
        return;
    case STORE_WAIT_ENDED:
        fail(x->conn, REQUEST_UNBLOCKED);
        return;
    case STORE_LOCK_TIMED_OUT:
    case STORE_LOCK_WITHDRAWN:
    case STORE_LOCK_BROKEN:
    case STORE_WAIT_TIMED_OUT:
        answer_nothing(x->conn, x->name_len);
        return;
    }
}

/* More than one waits only where a client has asked again, through ONCE, for what it still waits for. */
void waiters_changed(struct waiters *w, const struct store_event *event)
{
    struct waiting *x;
    while (event->kind != STORE_LOCK_BROKEN && (x = find_token(w, event->token)) != NULL) {
        unlink_waiting(w, x);
        end_wait(w, x, event->kind);
        free(x);
    }
}

void waiters_gone(struct waiters *w, struct conn *conn)
{
    struct waiting *x = find_conn(w, conn);
    if (x == NULL)
        return;
    unlink_waiting(w, x);
    leave(w, x);
    fail(conn, REQUEST_UNBLOCKED); /* Nobody hears it, but the connection counts its answers. */
    free(x);
}

bool waiters_unblock(struct waiters *w, struct conn *conn, bool with_error)
{
    struct waiting *x = find_conn(w, conn);
    if (x == NULL)
        return false;
    unlink_waiting(w, x);
    leave(w, x);
    if (with_error)
        fail(conn, REQUEST_UNBLOCKED_BY_CLIENT);
    else
        answer_nothing(conn, x->name_len);
    free(x);
    return true;
}

/* ---- Beginning ---- */

static bool wait_on(struct waiters *w, struct conn *conn, const struct outcome *later, uint64_t deadline_ms)
{
    if (w->n == w->cap && !grow(w))
        return false;
    struct waiting *x = malloc(sizeof *x + later->len);
    if (x == NULL)
        return false;
    *x = (struct waiting){.conn = conn,
                          .token = (uint64_t)later->n,
                          .session = later->session,
                          .deadline_ms = deadline_ms,
                          .kept = later->kept,
                          .name_len = later->len};
    if (later->len > 0)
        memcpy(x->name, later->bytes, later->len);
    link_in(w, x);
    w->n++;
    if (deadline_ms < w->next_deadline_ms)
        w->next_deadline_ms = deadline_ms;
    return true;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static void leave_later(struct waiters *w, const struct outcome *later)
{
    struct bytes name = {.base = (const uint8_t *)later->bytes, .len = later->len};
    if (!later->kept)
        w->leave(w->ctx, name, later->session, (uint64_t)later->n);
}

static int standing_now(const struct waiters *w, const void *name, size_t len, uint64_t token, enum store_standing *ret,
                        uint64_t *ret_left_ms)
{
    if (waits_for_list(len))
        return store_wait_standing(w->store, token, ret, ret_left_ms);
    return store_lock_standing(w->store, name, len, token, ret, ret_left_ms);
}

/* It holds the lock, or there is something to be taken. */
static void end_held(struct waiters *w, struct conn *conn, size_t name_len, uint64_t token)
{
    if (waits_for_list(name_len))
        w->take(w->ctx, conn, token);
    else
        answer_number(conn, token);
}

void waiters_add(struct waiters *w, struct conn *conn, const struct outcome *later, uint64_t deadline_ms)
{
    enum store_standing standing = STORE_GONE;
    uint64_t left_ms = 0;
    if (conn == NULL) {
        leave_later(w, later);
        return;
    }
    int rc = standing_now(w, later->bytes, later->len, (uint64_t)later->n, &standing, &left_ms);
    if (rc == 0 && standing == STORE_HELD) {
        end_held(w, conn, later->len, (uint64_t)later->n);
    } else if (rc == 0 && standing == STORE_GONE) {
        answer_nothing(conn, later->len);
    } else if (w->ended) {
        leave_later(w, later);
        fail(conn, REQUEST_UNBLOCKED);
    } else if (rc != 0 || !conn_waits(conn) || !wait_on(w, conn, later, plus(deadline_ms, left_ms))) {
        leave_later(w, later);
        fail(conn, REQUEST_UNKNOWN);
    }
}

/* ---- All of them ---- */

/* Take out the first waiting that `is_over` says; NULL when there is none any more. `chain` remembers where it was. */
static struct waiting *take_first(struct waiters *w, size_t *chain,
                                  bool (*is_over)(const struct waiters *w, const struct waiting *x, uint64_t now_ms),
                                  uint64_t now_ms)
{
    for (; *chain < w->cap; ++*chain)
        for (struct waiting *x = w->by_token[*chain]; x != NULL; x = x->next_by_token)
            if (is_over(w, x, now_ms)) {
                unlink_waiting(w, x);
                return x;
            }
    return NULL;
}

static bool is_late(const struct waiters *w, const struct waiting *x, uint64_t now_ms)
{
    (void)w;
    return x->deadline_ms <= now_ms;
}

static bool is_any(const struct waiters *w, const struct waiting *x, uint64_t now_ms)
{
    (void)w;
    (void)x;
    (void)now_ms;
    return true;
}

static enum store_standing standing_of(const struct waiters *w, const struct waiting *x)
{
    enum store_standing standing = STORE_WAITING;
    uint64_t left_ms;
    standing_now(w, x->name, x->name_len, x->token, &standing, &left_ms);
    return standing;
}

static bool is_decided(const struct waiters *w, const struct waiting *x, uint64_t now_ms)
{
    (void)now_ms;
    return standing_of(w, x) != STORE_WAITING;
}

void waiters_recheck(struct waiters *w)
{
    size_t chain = 0;
    for (struct waiting *x; (x = take_first(w, &chain, is_decided, 0)) != NULL; free(x)) {
        if (standing_of(w, x) == STORE_HELD)
            end_held(w, x->conn, x->name_len, x->token);
        else
            answer_nothing(x->conn, x->name_len);
    }
}

void waiters_expire(struct waiters *w, uint64_t now_ms)
{
    size_t chain = 0;
    if (now_ms < w->next_deadline_ms)
        return;
    for (struct waiting *x; (x = take_first(w, &chain, is_late, now_ms)) != NULL; free(x)) {
        leave(w, x);
        fail(x->conn, REQUEST_UNKNOWN);
    }
    w->next_deadline_ms = UINT64_MAX;
    for (size_t i = 0; i < w->cap; i++)
        for (const struct waiting *x = w->by_token[i]; x != NULL; x = x->next_by_token)
            if (x->deadline_ms < w->next_deadline_ms)
                w->next_deadline_ms = x->deadline_ms;
}

void waiters_end(struct waiters *w)
{
    size_t chain = 0;
    w->ended = true;
    for (struct waiting *x; (x = take_first(w, &chain, is_any, 0)) != NULL; free(x)) {
        leave(w, x);
        fail(x->conn, REQUEST_UNBLOCKED);
    }
}

void waiters_init(struct waiters *w, struct store *store,
                  void (*leave_queue)(void *ctx, struct bytes name, uint64_t session, uint64_t token),
                  void (*take)(void *ctx, struct conn *conn, uint64_t token), void *ctx)
{
    *w = (struct waiters){
        .store = store, .leave = leave_queue, .take = take, .ctx = ctx, .next_deadline_ms = UINT64_MAX};
}

void waiters_release(struct waiters *w)
{
    waiters_end(w);
    free(w->by_token);
    free(w->by_conn);
    *w = (struct waiters){0};
}
