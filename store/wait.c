/* wait.c - two kinds of rows in the space of waits:
 *
 *     'k' and a key        the queue of that key: u64 tokens, in the order of their arrival
 *     't' and u64 token    one waiter; its expiry is when it has waited long enough, or until when its offer stands:
 *         u8 moves, u8 where, u8 to where, u8 offered, u32 keys, i64 count, u64 node, u64 start, u64 session, u64
 * serial then each key it waits for, and the one it moves to: u32 length and bytes and when it was offered something:
 * u32 place of the key, u32 elements, the elements as outcomes
 *
 * Invariants: a token stands in the queue of each of its keys while it is not offered anything, and in none afterwards;
 * after each command a list is empty or has no queue. Failure: memory that runs out stops the store (out->failed). */
#include "store/wait.h"
#include "store/families.h"
#include "store/little.h"
#include "store/session.h"
#include <stdlib.h>

#define WAITER_KEY_BYTES 9
#define HEAD_BYTES 48
#define LENGTH_BYTES 4
#define TOKEN_BYTES 8

enum {
    AT_MOVES = 0,
    AT_WHERE = 1,
    AT_TO_WHERE = 2,
    AT_OFFERED = 3,
    AT_N_KEYS = 4,
    AT_COUNT = 8,
    AT_NODE = 16,
    AT_START = 24,
    AT_SESSION = 32,
    AT_SERIAL = 40
};

/* A waiter's row taken apart; its bytes are a copy that lives until another waiter is loaded. */
struct waiter {
    uint64_t token;
    struct bytes value;
    bool moves, offered;
    enum list_where where, to_where;
    uint32_t n_keys; /* Without the one it moves to. */
    int64_t count;
    uint64_t node, start, session, serial;
    int64_t until_ms;
    size_t offer_at; /* Where the offer begins, behind the keys. */
};

/* ---- Rows ---- */

static struct bytes waiter_key(uint64_t token, uint8_t key[WAITER_KEY_BYTES])
{
    key[0] = 't';
    little_put_u64(key + 1, token);
    return (struct bytes){.base = key, .len = WAITER_KEY_BYTES};
}

static const struct row *waiter_row(struct rows *rows, uint64_t token)
{
    uint8_t key[WAITER_KEY_BYTES];
    struct bytes k = waiter_key(token, key);
    return rows_get_in(rows, SPACE_WAITS, k.base, k.len);
}

static struct bytes key_at(struct bytes value, size_t *at)
{
    struct bytes key = {.base = value.base + *at + LENGTH_BYTES, .len = little_u32(value.base + *at)};
    *at += LENGTH_BYTES + key.len;
    return key;
}

/* The i-th key; that which it moves to is behind the others. */
static struct bytes waiter_nth(const struct waiter *w, uint32_t i)
{
    size_t at = HEAD_BYTES;
    struct bytes key = key_at(w->value, &at);
    while (i-- > 0)
        key = key_at(w->value, &at);
    return key;
}

static void waiter_parse(struct bytes value, uint64_t token, struct waiter *ret)
{
    const uint8_t *v = value.base;
    *ret = (struct waiter){.token = token,
                           .value = value,
                           .moves = v[AT_MOVES] != 0,
                           .offered = v[AT_OFFERED] != 0,
                           .where = v[AT_WHERE] == LIST_HEAD ? LIST_HEAD : LIST_TAIL,
                           .to_where = v[AT_TO_WHERE] == LIST_HEAD ? LIST_HEAD : LIST_TAIL,
                           .n_keys = little_u32(v + AT_N_KEYS),
                           .count = (int64_t)little_u64(v + AT_COUNT),
                           .node = little_u64(v + AT_NODE),
                           .start = little_u64(v + AT_START),
                           .session = little_u64(v + AT_SESSION),
                           .serial = little_u64(v + AT_SERIAL)};
    ret->offer_at = HEAD_BYTES;
    for (uint32_t i = 0; i < ret->n_keys + ret->moves; i++)
        key_at(value, &ret->offer_at);
}

/* False: there is none (any more). */
static bool waiter_load(struct family *f, uint64_t token, struct waiter *ret)
{
    const struct row *row = waiter_row(f->rows, token);
    if (row == NULL)
        return false;
    int64_t until_ms = row->expire_ms;
    struct bytes value = family_kept_copy(f, KEEP_WAITER, family_value(row));
    if (f->out->failed)
        return false;
    waiter_parse(value, token, ret);
    ret->until_ms = until_ms;
    return true;
}

static void waiter_put(struct family *f, uint64_t token, struct bytes value, int64_t until_ms)
{
    uint8_t key[WAITER_KEY_BYTES];
    const struct row *old = waiter_row(f->rows, token);
    family_put_in(f, SPACE_WAITS, waiter_key(token, key), old, VALUE_RAW, value, (struct expiry){.ms = until_ms});
}

static void waiter_delete(struct family *f, uint64_t token)
{
    uint8_t key[WAITER_KEY_BYTES];
    const struct row *old = waiter_row(f->rows, token);
    if (old != NULL)
        family_delete_in(f, SPACE_WAITS, waiter_key(token, key), old);
}

static void tell(struct family *f, enum store_event_kind kind, uint64_t token)
{
    const struct store_event e = {.kind = kind, .token = token};
    family_tell(f, &e);
}

/* ---- Queues ---- */

/* The name of a key's queue, in kept memory. */
static struct bytes queue_name(struct family *f, struct bytes key)
{
    uint8_t *name = family_kept(f, KEEP_QUEUE_NAME, key.len + 1);
    if (name == NULL)
        return (struct bytes){.len = 0};
    name[0] = 'k';
    if (key.len > 0)
        memcpy(name + 1, key.base, key.len);
    return (struct bytes){.base = name, .len = key.len + 1};
}

static const struct row *queue_row(struct family *f, struct bytes key)
{
    struct bytes name = queue_name(f, key);
    return name.len == 0 ? NULL : rows_get_in(f->rows, SPACE_WAITS, name.base, name.len);
}

static void queue_put(struct family *f, struct bytes key, struct bytes tokens)
{
    struct bytes name = queue_name(f, key);
    const struct row *old = name.len == 0 ? NULL : rows_get_in(f->rows, SPACE_WAITS, name.base, name.len);
    if (f->out->failed)
        return;
    if (tokens.len > 0)
        family_put_in(f, SPACE_WAITS, name, old, VALUE_RAW, tokens, EXPIRY_NEVER);
    else if (old != NULL)
        family_delete_in(f, SPACE_WAITS, name, old);
}

static bool queue_full(struct family *f, struct bytes key)
{
    const struct row *row = queue_row(f, key);
    return row != NULL && row->value_len / TOKEN_BYTES >= WAIT_QUEUE_MAX;
}

/* At the end, once. */
static void queue_join(struct family *f, struct bytes key, uint64_t token)
{
    const struct row *row = queue_row(f, key);
    size_t len = row == NULL ? 0 : row->value_len;
    if (len > 0 && little_u64(row->value + len - TOKEN_BYTES) == token)
        return; /* The key was named twice. */
    uint8_t *tokens = family_kept(f, KEEP_VALUE, len + TOKEN_BYTES);
    if (tokens == NULL)
        return;
    if (len > 0)
        memcpy(tokens, row->value, len);
    little_put_u64(tokens + len, token);
    queue_put(f, key, (struct bytes){.base = tokens, .len = len + TOKEN_BYTES});
}

static void queue_leave(struct family *f, struct bytes key, uint64_t token)
{
    const struct row *row = queue_row(f, key);
    size_t at = 0, len = row == NULL ? 0 : row->value_len;
    while (at < len && little_u64(row->value + at) != token)
        at += TOKEN_BYTES;
    if (at >= len)
        return;
    struct bytes tokens = family_kept_copy(f, KEEP_VALUE, family_value(row));
    if (f->out->failed)
        return;
    memmove((uint8_t *)tokens.base + at, tokens.base + at + TOKEN_BYTES, len - at - TOKEN_BYTES);
    tokens.len -= TOKEN_BYTES;
    queue_put(f, key, tokens);
}

/* ---- Beginning to wait ---- */

static size_t put_key(uint8_t *at, struct bytes key)
{
    little_put_u32(at, (uint32_t)key.len);
    if (key.len > 0)
        memcpy(at + LENGTH_BYTES, key.base, key.len);
    return LENGTH_BYTES + key.len;
}

static struct bytes waiter_build(struct family *f, const struct wait *want)
{
    size_t len = HEAD_BYTES + (want->moves ? LENGTH_BYTES + want->to.len : 0);
    for (uint32_t i = 0; i < want->n_keys; i++)
        len += LENGTH_BYTES + want->keys[i].len;
    uint8_t *v = family_kept(f, KEEP_WAITER, len);
    if (v == NULL)
        return (struct bytes){.len = 0};
    v[AT_MOVES] = want->moves;
    v[AT_WHERE] = (uint8_t)want->where;
    v[AT_TO_WHERE] = (uint8_t)want->to_where;
    v[AT_OFFERED] = 0;
    little_put_u32(v + AT_N_KEYS, want->n_keys);
    little_put_u64(v + AT_COUNT, (uint64_t)want->count);
    little_put_u64(v + AT_NODE, f->node);
    little_put_u64(v + AT_START, f->start);
    little_put_u64(v + AT_SESSION, f->once_session);
    little_put_u64(v + AT_SERIAL, f->once_serial);
    uint8_t *at = v + HEAD_BYTES;
    for (uint32_t i = 0; i < want->n_keys; i++)
        at += put_key(at, want->keys[i]);
    if (want->moves)
        put_key(at, want->to);
    return (struct bytes){.base = v, .len = len};
}

static int64_t after_ms(const struct family *f, int64_t ms)
{
    if (ms <= 0)
        return ROW_NO_EXPIRY;
    return family_expiry(f, ms < WAIT_MS_MAX ? ms : WAIT_MS_MAX, 0).ms;
}

void wait_begin(struct family *f, const struct wait *want, int64_t timeout_ms)
{
    bool full = want->n_keys > WAIT_KEYS_MAX;
    for (uint32_t i = 0; i < want->n_keys && !full; i++)
        full = queue_full(f, want->keys[i]);
    if (full) {
        family_refuse(f, REFUSAL_QUEUE_FULL);
        return;
    }
    uint64_t token = ++*f->revision;
    struct bytes value = waiter_build(f, want);
    if (f->out->failed)
        return;
    waiter_put(f, token, value, after_ms(f, timeout_ms));
    for (uint32_t i = 0; i < want->n_keys; i++)
        queue_join(f, want->keys[i], token);
    outcome_later(f->out, token, f->once_session, "", 0);
}

/* ---- Offering ---- */

void wait_ready_release(struct wait_ready *r)
{
    free(r->base);
    *r = (struct wait_ready){0};
}

void wait_note(struct family *f, struct bytes key)
{
    struct wait_ready *r = f->ready;
    if (rows_total(f->rows, SPACE_WAITS).count == 0 || queue_row(f, key) == NULL)
        return;
    size_t more = LENGTH_BYTES + key.len;
    if (r->cap - r->len < more) {
        uint8_t *base = realloc(r->base, r->cap + 2 * more);
        f->out->failed = f->out->failed || base == NULL;
        if (base == NULL)
            return;
        r->base = base;
        r->cap += 2 * more;
    }
    r->len += put_key(r->base + r->len, key);
}

/* The waiter's row with what is offered behind its keys. */
static void offer(struct family *f, const struct waiter *w, uint32_t place, uint32_t n,
                  const struct outcome_buf *popped)
{
    size_t len = w->offer_at + 2 * LENGTH_BYTES + popped->len;
    uint8_t *value = family_kept(f, KEEP_VALUE, len);
    if (value == NULL || popped->failed)
        return;
    memcpy(value, w->value.base, w->offer_at);
    value[AT_OFFERED] = 1;
    little_put_u32(value + w->offer_at, place);
    little_put_u32(value + w->offer_at + LENGTH_BYTES, n);
    memcpy(value + w->offer_at + 2 * LENGTH_BYTES, popped->base, popped->len);
    waiter_put(f, w->token, (struct bytes){.base = value, .len = len},
               w->session != 0 ? ROW_NO_EXPIRY : after_ms(f, WAIT_OFFER_MS));
    tell(f, STORE_WAIT_OFFERED, w->token);
}

/* Pop for this waiter from the list of this key, and let it leave its other queues. */
static void serve_waiter(struct family *f, const struct waiter *w, struct bytes key, const struct row *row)
{
    struct list l;
    struct outcome_buf popped = {0};
    uint32_t place = 0;
    list_open(f, key, row, &l);
    uint32_t n = (uint32_t)list_pop(&l, w->where, w->count < 1 ? 1 : (uint64_t)w->count, &popped);
    list_close(&l);
    for (uint32_t i = 0; i < w->n_keys; i++) {
        struct bytes other = waiter_nth(w, i);
        if (family_bytes_equal(other, key))
            place = i;
        else
            queue_leave(f, other, w->token);
    }
    offer(f, w, place, n, &popped);
    f->out->failed = f->out->failed || popped.failed;
    outcome_buf_release(&popped);
}

static const struct row *list_row(struct family *f, struct bytes key)
{
    const struct row *row = family_live_for_write(f, key);
    return row == NULL || row->type != VALUE_LIST ? NULL : row;
}

/* The queue is taken in once, however many of it are served. */
static void serve_key(struct family *f, struct bytes key)
{
    struct waiter w;
    const struct row *row = queue_row(f, key);
    if (row == NULL)
        return;
    struct bytes queue = family_kept_copy(f, KEEP_RECORDS, family_value(row));
    size_t at = 0;
    while (!f->out->failed && at < queue.len && list_row(f, key) != NULL) {
        uint64_t token = little_u64(queue.base + at);
        at += TOKEN_BYTES;
        if (waiter_load(f, token, &w))
            serve_waiter(f, &w, key, list_row(f, key));
    }
    if (at > 0 && !f->out->failed)
        queue_put(f, key, (struct bytes){.base = queue.base + at, .len = queue.len - at});
}

void wait_serve(struct family *f)
{
    struct wait_ready *r = f->ready;
    struct bytes all = {.base = r->base, .len = r->len};
    for (size_t at = 0; at < all.len && !f->out->failed;)
        serve_key(f, key_at(all, &at));
    r->len = 0;
}

/* ---- Taking ---- */

static struct bytes offer_elements(const struct waiter *w, struct bytes *ret_key, uint32_t *ret_n)
{
    const uint8_t *at = w->value.base + w->offer_at;
    *ret_key = waiter_nth(w, little_u32(at));
    *ret_n = little_u32(at + LENGTH_BYTES);
    size_t head = w->offer_at + 2 * LENGTH_BYTES;
    return (struct bytes){.base = w->value.base + head, .len = w->value.len - head};
}

/* Back to the end it came from, in the order it had. A key that holds something else by now has no place for it. */
static void give_back(struct family *f, const struct waiter *w)
{
    struct list l;
    struct bytes key;
    uint32_t n;
    struct bytes all = offer_elements(w, &key, &n);
    struct outcome *elements = family_scratch(f, n * sizeof *elements);
    const struct row *row = family_live_for_write(f, key);
    if (elements != NULL && (row == NULL || row->type == VALUE_LIST)) {
        size_t at = 0;
        for (uint32_t i = 0; i < n; i++)
            at += outcome_next(all.base + at, all.len - at, &elements[i]);
        list_open(f, key, row, &l);
        while (n-- > 0)
            list_push(&l, w->where, (struct bytes){.base = (const uint8_t *)elements[n].bytes, .len = elements[n].len});
        list_close(&l);
        wait_note(f, key);
    }
    free(elements);
}

static void take_popped(struct family *f, const struct waiter *w)
{
    struct bytes key;
    uint32_t n;
    struct bytes all = offer_elements(w, &key, &n);
    outcome_array(f->out, 2);
    outcome_bulk(f->out, key.base, key.len);
    if (w->count >= 0)
        outcome_array(f->out, n);
    outcome_append(f->out, all.base, all.len);
}

static void take_moved(struct family *f, const struct waiter *w)
{
    struct list l;
    struct outcome o;
    struct bytes from, to = waiter_nth(w, w->n_keys);
    uint32_t n;
    struct bytes all = offer_elements(w, &from, &n);
    const struct row *row;
    if (!family_of_kind(f, to, KIND_LIST, &row)) {
        give_back(f, w);
        return;
    }
    outcome_next(all.base, all.len, &o);
    list_open(f, to, family_live_for_write(f, to), &l);
    list_push(&l, w->to_where, (struct bytes){.base = (const uint8_t *)o.bytes, .len = o.len});
    list_close(&l);
    wait_note(f, to);
    outcome_append(f->out, all.base, all.len);
}

void wait_take(struct family *f, const struct command *c)
{
    struct waiter w;
    uint64_t token = (uint64_t)c->nums[0];
    if (!waiter_load(f, token, &w) || !w.offered) {
        family_refuse(f, REFUSAL_UNBLOCKED);
        return;
    }
    size_t mark = f->out->len;
    waiter_delete(f, token);
    if (w.moves)
        take_moved(f, &w);
    else
        take_popped(f, &w);
    if (w.session != 0 && !f->out->failed)
        session_settle(f, w.session, w.serial, (struct bytes){.base = f->out->base + mark, .len = f->out->len - mark});
}

/* ---- Leaving ---- */

static void leave(struct family *f, const struct waiter *w)
{
    for (uint32_t i = 0; i < w->n_keys && !w->offered; i++)
        queue_leave(f, waiter_nth(w, i), w->token);
    waiter_delete(f, w->token);
    if (w->offered)
        give_back(f, w);
}

void wait_leave(struct family *f, const struct command *c)
{
    struct waiter w;
    bool found = waiter_load(f, (uint64_t)c->nums[0], &w);
    if (found)
        leave(f, &w);
    outcome_int(f->out, found);
}

/* Whom to drop. */
struct dropping {
    uint64_t node, start, session; /* Earlier starts of a node, or all of a session. */
    uint64_t *tokens;
    size_t n, cap;
    bool failed;
};

static bool drop_look(void *ctx, const struct row *row)
{
    struct dropping *d = ctx;
    struct waiter w;
    if (row->key_len != WAITER_KEY_BYTES || row->key[0] != 't')
        return true;
    waiter_parse(family_value(row), little_u64(row->key + 1), &w);
    bool gone = d->session != 0 ? w.session == d->session : w.session == 0 && w.node == d->node && w.start < d->start;
    if (!gone)
        return true;
    if (d->n == d->cap) {
        size_t cap = d->cap == 0 ? 64 : 2 * d->cap;
        uint64_t *grown = realloc(d->tokens, cap * sizeof *grown);
        d->failed = grown == NULL;
        if (d->failed)
            return false;
        d->tokens = grown;
        d->cap = cap;
    }
    d->tokens[d->n++] = w.token;
    return true;
}

static int latest_first(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x < y) - (x > y);
}

/* The latest first, so that what goes back lies in its old order. */
static void drop(struct family *f, struct dropping *d)
{
    struct waiter w;
    if (rows_total(f->rows, SPACE_WAITS).count == 0)
        return;
    rows_walk_in(f->rows, SPACE_WAITS, 0, drop_look, d);
    f->out->failed = f->out->failed || d->failed;
    if (d->n > 0)
        qsort(d->tokens, d->n, sizeof *d->tokens, latest_first);
    for (size_t i = 0; i < d->n && !f->out->failed; i++) {
        if (!waiter_load(f, d->tokens[i], &w))
            continue;
        leave(f, &w);
        tell(f, STORE_WAIT_ENDED, w.token);
    }
    free(d->tokens);
}

void wait_drop_node(struct family *f, uint64_t node, uint64_t start)
{
    drop(f, &(struct dropping){.node = node, .start = start});
}

void wait_drop_session(struct family *f, uint64_t session)
{
    drop(f, &(struct dropping){.session = session});
}

/* An offer that nobody took: the node is gone, or so slow that its clients must ask again. */
static void void_offer(struct family *f, const struct waiter *w)
{
    uint64_t node = w->node, start = w->start;
    wait_drop_node(f, node, start + 1);
}

static bool due_one(struct family *f, struct bytes key)
{
    struct waiter w;
    const struct row *row = rows_get_in(f->rows, SPACE_WAITS, key.base, key.len);
    if (row == NULL || key.len != WAITER_KEY_BYTES)
        return false;
    if (!family_row_due(f, row)) {
        family_note_in(f, SPACE_WAITS, key, row->expire_ms);
        return false;
    }
    if (!waiter_load(f, little_u64(key.base + 1), &w))
        return false;
    if (w.offered) {
        void_offer(f, &w);
    } else {
        leave(f, &w);
        tell(f, STORE_WAIT_TIMED_OUT, w.token);
    }
    return true;
}

void wait_due(struct family *f, const struct command *c)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < c->n_args; i++)
        n += due_one(f, c->args[i]);
    outcome_int(f->out, n);
}

enum wait_standing wait_standing(struct rows *rows, uint64_t token, int64_t *ret_until_ms)
{
    const struct row *row = waiter_row(rows, token);
    if (row == NULL)
        return WAIT_GONE;
    *ret_until_ms = row->expire_ms;
    return row->value[AT_OFFERED] != 0 ? WAIT_OFFERED : WAIT_QUEUED;
}
