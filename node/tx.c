/* tx.c - a transaction's memory. Queued arguments are copies, since the buffers they came in are gone by EXEC. They
 * are turned into the log's language only then: a time to live counts from there.
 * The bytes of all copies together are bounded by what one request may have, for that is what EXEC sends on. */
#include "node/tx.h"
#include "node/commands.h"
#include "store/little.h"
#include "store/outcome.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TX_WATCHES_FIRST 4

void tx_unwatch(struct tx *t)
{
    for (size_t i = 0; i < t->n_watches; i++) {
        t->bytes -= sizeof t->watches[i] + t->watches[i].len;
        free(t->watches[i].key);
    }
    free(t->watches);
    t->watches = NULL;
    t->n_watches = t->n_seen = t->watches_cap = 0;
    t->watch_failed = false;
}

void tx_reset(struct tx *t)
{
    struct tx_command *next;
    for (struct tx_command *c = t->first; c != NULL; c = next) {
        next = c->next;
        free(c->error);
        free(c);
    }
    tx_unwatch(t);
    command_buf_release(&t->encoded);
    *t = (struct tx){0};
}

static size_t copy_bytes(const struct resp_arg *args, size_t n)
{
    size_t bytes = sizeof(struct tx_command) + n * sizeof *args;
    for (size_t i = 0; i < n; i++)
        bytes += args[i].len;
    return bytes;
}

static void copy_args(struct tx_command *c, const struct resp_arg *args, size_t n)
{
    char *to = (char *)(c->args + n);
    for (size_t i = 0; i < n; i++) {
        if (args[i].len > 0)
            memcpy(to, args[i].base, args[i].len);
        c->args[i] = (struct resp_arg){.base = to, .len = args[i].len};
        to += args[i].len;
    }
    c->n = n;
}

int tx_queue(struct tx *t, const struct command_row *row, const struct resp_arg *args, size_t n, size_t bytes_max)
{
    size_t bytes = copy_bytes(args, n);
    assert(t->queueing && t->step == TX_IDLE);
    if (t->n_commands == EXEC_COMMANDS_MAX)
        return TX_ECOMMANDS;
    if (bytes > bytes_max || t->bytes > bytes_max - bytes)
        return TX_EBYTES;
    struct tx_command *c = malloc(bytes);
    if (c == NULL)
        return TX_ENOMEM;
    *c = (struct tx_command){.row = row};
    copy_args(c, args, n);
    if (t->last != NULL)
        t->last->next = c;
    else
        t->first = c;
    t->last = c;
    t->n_commands++;
    t->bytes += bytes;
    t->may_write |= (row->flags & ROW_READONLY) == 0 && row->encode != NULL;
    return 0;
}

static bool is_watched(const struct tx *t, const struct resp_arg *key)
{
    for (size_t i = 0; i < t->n_watches; i++)
        if (t->watches[i].len == key->len && memcmp(t->watches[i].key, key->base, key->len) == 0)
            return true;
    return false;
}

static bool reserve_watch(struct tx *t)
{
    if (t->n_watches < t->watches_cap)
        return true;
    size_t cap = t->watches_cap == 0 ? TX_WATCHES_FIRST : 2 * t->watches_cap;
    struct tx_watch *grown = realloc(t->watches, cap * sizeof *grown);
    if (grown == NULL)
        return false;
    t->watches = grown;
    t->watches_cap = cap;
    return true;
}

int tx_watch(struct tx *t, const struct resp_arg *key, size_t bytes_max)
{
    size_t bytes = sizeof *t->watches + key->len;
    if (is_watched(t, key))
        return 0;
    if (t->n_watches == EXEC_COMMANDS_MAX)
        return TX_ECOMMANDS;
    if (bytes > bytes_max || t->bytes > bytes_max - bytes)
        return TX_EBYTES;
    uint8_t *copy = malloc(key->len + 1);
    if (copy == NULL || !reserve_watch(t)) {
        free(copy);
        return TX_ENOMEM;
    }
    memcpy(copy, key->base, key->len);
    t->watches[t->n_watches++] = (struct tx_watch){.key = copy, .len = key->len};
    t->bytes += bytes;
    return 0;
}

void tx_drop_unseen(struct tx *t)
{
    while (t->n_watches > t->n_seen) {
        struct tx_watch *w = &t->watches[--t->n_watches];
        t->bytes -= sizeof *w + w->len;
        free(w->key);
    }
}

bool tx_take_versions(struct tx *t, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    size_t at = outcome_next(outcome, len, &o);
    if (at == 0 || o.tag != OUTCOME_ARRAY || (size_t)o.n != t->n_watches - t->n_seen)
        return false;
    for (size_t i = t->n_seen; i < t->n_watches; i++) {
        size_t took = outcome_next(outcome + at, len - at, &o);
        if (took == 0 || o.tag != OUTCOME_INT)
            return false;
        little_put_u64(t->watches[i].version, (uint64_t)o.n);
        at += took;
    }
    t->n_seen = t->n_watches;
    return true;
}

static struct bytes watch_key(const struct tx_watch *w)
{
    return (struct bytes){.base = w->key, .len = w->len};
}

struct bytes *tx_unseen_keys(const struct tx *t)
{
    size_t n = t->n_watches - t->n_seen;
    struct bytes *keys = malloc((n + 1) * sizeof *keys);
    for (size_t i = 0; keys != NULL && i < n; i++)
        keys[i] = watch_key(&t->watches[t->n_seen + i]);
    return keys;
}

struct bytes *tx_exec_args(const struct tx *t, size_t *ret_n)
{
    struct bytes *args = malloc((t->n_data + 2 * t->n_watches + 1) * sizeof *args);
    size_t n = 0;
    if (args == NULL)
        return NULL;
    for (const struct tx_command *c = t->first; c != NULL; c = c->next)
        if (c->kind == TX_DATA)
            args[n++] = (struct bytes){.base = t->encoded.base + c->at, .len = c->len};
    assert(n == t->n_data);
    for (size_t i = 0; i < t->n_watches; i++) {
        args[n++] = watch_key(&t->watches[i]);
        args[n++] = (struct bytes){.base = t->watches[i].version, .len = EXEC_VERSION_BYTES};
    }
    *ret_n = n;
    return args;
}
