/* history.c - changes one behind the other in chunks, each of one or more whole changes; the oldest chunk goes when a
 * new one would be too many. A chunk that goes takes the floor with it to its last revision: another change of that
 * revision may stand in the next chunk, and is then not read any more, for its revision is not whole. */
#include "node/history.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (256u << 10)

struct record {
    uint64_t revision;
    const char *event; /* NULL: all keys are gone. */
    uint32_t key_len;  /* Bytes that follow. */
};

struct history_chunk {
    struct history_chunk *next;
    uint64_t last_revision;
    size_t len, cap;
    uint8_t bytes[];
};

void history_init(struct history *h, size_t bytes_max, uint64_t revision)
{
    *h = (struct history){.bytes_max = bytes_max, .floor = revision, .revision = revision};
}

void history_release(struct history *h)
{
    for (struct history_chunk *c = h->first, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    h->first = h->last = NULL;
    h->bytes = 0;
}

bool history_on(const struct history *h)
{
    return h->bytes_max > 0;
}

void history_reset(struct history *h, uint64_t revision)
{
    history_release(h);
    h->floor = h->revision = revision;
}

static void drop_first(struct history *h)
{
    struct history_chunk *c = h->first;
    h->floor = c->last_revision;
    h->first = c->next;
    h->bytes -= c->cap;
    if (h->first == NULL)
        h->last = NULL;
    free(c);
}

static bool grow(struct history *h, size_t need)
{
    size_t cap = need > CHUNK_BYTES ? need : CHUNK_BYTES;
    while (h->first != NULL && h->bytes + cap > h->bytes_max)
        drop_first(h);
    struct history_chunk *c = malloc(sizeof *c + cap);
    if (c == NULL)
        return false;
    *c = (struct history_chunk){.cap = cap};
    if (h->last != NULL)
        h->last->next = c;
    else
        h->first = c;
    h->last = c;
    h->bytes += cap;
    return true;
}

void history_add(struct history *h, const struct feed_item *item)
{
    assert(item->kind != FEED_MESSAGE);
    struct record r = {.revision = item->revision,
                       .event = item->kind == FEED_CLEARED ? NULL : item->event,
                       .key_len = (uint32_t)item->key.len};
    size_t need = sizeof r + r.key_len;
    if ((h->last == NULL || h->last->cap - h->last->len < need) && !grow(h, need)) {
        history_reset(h, item->revision);
        return;
    }
    struct history_chunk *c = h->last;
    memcpy(c->bytes + c->len, &r, sizeof r);
    if (r.key_len > 0)
        memcpy(c->bytes + c->len + sizeof r, item->key.base, r.key_len);
    c->len += need;
    c->last_revision = r.revision;
}

void history_told(struct history *h, uint64_t revision)
{
    h->revision = revision;
}

/* ---- Reading ---- */

static bool next_of_any(struct history_cursor *c, struct feed_item *ret)
{
    struct record r;
    while (c->chunk != NULL && c->at == c->chunk->len)
        *c = (struct history_cursor){.chunk = c->chunk->next};
    if (c->chunk == NULL)
        return false;
    memcpy(&r, c->chunk->bytes + c->at, sizeof r);
    *ret = (struct feed_item){.kind = r.event == NULL ? FEED_CLEARED : FEED_CHANGE,
                              .revision = r.revision,
                              .event = r.event,
                              .key = {.base = c->chunk->bytes + c->at + sizeof r, .len = r.key_len}};
    c->at += sizeof r + r.key_len;
    return true;
}

static bool belongs(const struct feed_item *item, struct bytes prefix)
{
    return item->kind == FEED_CLEARED ||
           (item->key.len >= prefix.len && (prefix.len == 0 || memcmp(item->key.base, prefix.base, prefix.len) == 0));
}

bool history_next(struct history_cursor *c, struct bytes prefix, struct feed_item *ret)
{
    while (next_of_any(c, ret))
        if (belongs(ret, prefix))
            return true;
    return false;
}

static struct history_cursor seek(const struct history *h, uint64_t from)
{
    struct history_cursor c = {.chunk = h->first}, at;
    struct feed_item item;
    while (c.chunk != NULL && c.chunk->last_revision < from)
        c.chunk = c.chunk->next;
    do
        at = c;
    while (next_of_any(&c, &item) && item.revision < from);
    return at;
}

int history_read(const struct history *h, struct bytes prefix, uint64_t from, size_t count, struct history_page *ret)
{
    if (from <= h->floor)
        return HISTORY_ECOMPACTED;
    struct history_page page = {.start = seek(h, from), .next = from > h->revision ? from : h->revision + 1};
    struct history_cursor c = page.start;
    struct feed_item item;
    uint64_t last = 0;
    size_t bytes = 0, scanned = 0;
    while (next_of_any(&c, &item)) {
        if (item.revision != last && (page.n >= count || bytes >= HISTORY_PAGE_BYTES || scanned >= HISTORY_SCAN_MAX)) {
            page.next = item.revision;
            break;
        }
        last = item.revision;
        scanned++;
        if (belongs(&item, prefix)) {
            page.n++;
            bytes += item.key.len;
        }
    }
    *ret = page;
    return 0;
}
