/* journal.c - notes one behind the other in a buffer, each followed by its length, which is how they are read
 * backwards. */
#include "store/journal.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct note {
    struct row row; /* key and value are not pointers to be followed here: their bytes stand behind. */
    bool existed;
};

void journal_begin(struct journal *j, uint64_t revision)
{
    *j = (struct journal){.since = revision};
}

void journal_release(struct journal *j)
{
    free(j->base);
    *j = (struct journal){0};
}

static uint8_t *take(struct journal *j, size_t bytes)
{
    size_t cap = j->cap == 0 ? 1024 : j->cap;
    while (cap - j->len < bytes)
        cap *= 2;
    if (cap != j->cap) {
        uint8_t *grown = realloc(j->base, cap);
        if (grown == NULL) {
            j->failed = true;
            return NULL;
        }
        j->base = grown;
        j->cap = cap;
    }
    uint8_t *at = j->base + j->len;
    j->len += bytes;
    return at;
}

void journal_note(struct journal *j, enum space space, const void *key, size_t len, const struct row *old)
{
    struct note n = {.row = {.space = (uint8_t)space, .key_len = len}, .existed = old != NULL};
    if (old != NULL && old->version > j->since)
        return;
    if (old != NULL)
        n.row = *old;
    size_t value_len = old != NULL ? old->value_len : 0;
    size_t bytes = sizeof n + len + value_len;
    uint8_t *at = take(j, bytes + sizeof bytes);
    if (at == NULL)
        return;
    memcpy(at, &n, sizeof n);
    if (len > 0)
        memcpy(at + sizeof n, key, len);
    if (value_len > 0)
        memcpy(at + sizeof n + len, old->value, value_len);
    memcpy(at + bytes, &bytes, sizeof bytes);
}

/* A row that has an expiry again must be in `due`; a stale hint there is harmless. */
static int put_back(struct rows *r, struct due *d, const uint8_t *at)
{
    struct note n;
    memcpy(&n, at, sizeof n);
    const struct row *row = &n.row;
    const uint8_t *key = at + sizeof n, *value = key + row->key_len;
    enum space space = (enum space)row->space;
    if (!n.existed) {
        rows_delete_in(r, space, key, row->key_len);
        return 0;
    }
    rows_put_in(r, space, key, row->key_len, row->type, value, row->value_len, row->version, row->expire_ms,
                row->wall_ms);
    return row->expire_ms == ROW_NO_EXPIRY ? 0 : due_note(d, space, key, row->key_len, row->expire_ms);
}

int journal_undo(const struct journal *j, struct rows *r, struct due *d)
{
    int rc = 0;
    assert(!j->failed);
    for (size_t end = j->len; end > 0 && rc == 0;) {
        size_t bytes;
        memcpy(&bytes, j->base + end - sizeof bytes, sizeof bytes);
        end -= bytes + sizeof bytes;
        rc = put_back(r, d, j->base + end);
    }
    return rc;
}
