/* parts.c - the rows of parts, whose key is the id and the number (u64 each), and the trash.
 * A row of trash_rows: its key is the id, its value u64 the next part, u64 the end, u64 1 when they are chained. It is
 * due at once, so the leader names it, and each naming takes away some parts, until none is left and the row goes too.
 * So deleting a list of any length holds up nobody. Only ids that no key has any more are there. */
#include "store/parts.h"
#include "store/families.h"
#include "store/little.h"

#define KEY_BYTES 16
#define TRASH_BYTES 24
#define PARTS_ROW_BYTES 176          /* A part in memory beside its value. */
#define LISTPACK_LIST_BYTES_MAX 8192 /* As Redis has it by default. */
#define LISTPACK_ENTRY_BYTES 2       /* What it spends on a short element. */

struct parts_head parts_head_read(const uint8_t *value)
{
    return (struct parts_head){.id = little_u64(value),
                               .n = little_u64(value + 8),
                               .bytes = little_u64(value + 16),
                               .first = little_u64(value + 24),
                               .end = little_u64(value + 32),
                               .next = little_u64(value + 40),
                               .flags = little_u64(value + 48)};
}

void parts_head_write(uint8_t *value, const struct parts_head *h)
{
    little_put_u64(value, h->id);
    little_put_u64(value + 8, h->n);
    little_put_u64(value + 16, h->bytes);
    little_put_u64(value + 24, h->first);
    little_put_u64(value + 32, h->end);
    little_put_u64(value + 40, h->next);
    little_put_u64(value + 48, h->flags);
}

uint64_t parts_id(struct bytes value)
{
    return little_u64(value.base);
}

void parts_set_id(uint8_t *value, uint64_t id)
{
    little_put_u64(value, id);
}

struct parts parts_of(const struct row *row)
{
    if (row == NULL || !value_has_parts(row->type))
        return (struct parts){.id = 0};
    struct parts_head h = parts_head_read(row->value);
    bool chained = row->type == VALUE_LIST;
    return (struct parts){.id = h.id, .at = chained ? h.first : 0, .end = h.end, .chained = chained};
}

/* ---- Rows ---- */

static struct bytes key_of(uint64_t id, uint64_t number, uint8_t key[KEY_BYTES])
{
    little_put_u64(key, id);
    little_put_u64(key + 8, number);
    return (struct bytes){.base = key, .len = KEY_BYTES};
}

uint64_t parts_new_id(struct family *f)
{
    return ++*f->revision;
}

const struct row *parts_get(struct family *f, uint64_t id, uint64_t number)
{
    uint8_t key[KEY_BYTES];
    struct bytes k = key_of(id, number, key);
    return rows_get_in(f->rows, SPACE_PARTS, k.base, k.len);
}

void parts_put(struct family *f, uint64_t id, uint64_t number, struct bytes value)
{
    uint8_t key[KEY_BYTES];
    family_put_in(f, SPACE_PARTS, key_of(id, number, key), NULL, VALUE_RAW, value, EXPIRY_NEVER);
}

void parts_delete(struct family *f, uint64_t id, uint64_t number)
{
    uint8_t key[KEY_BYTES];
    family_delete_in(f, SPACE_PARTS, key_of(id, number, key), NULL);
}

const struct row *parts_next(struct family *f, struct parts *p, uint64_t *ret_number)
{
    const struct row *row = NULL;
    if (p->chained && p->at != 0) {
        *ret_number = p->at;
        row = parts_get(f, p->id, p->at);
        p->at = row == NULL ? 0 : little_u64(row->value);
    }
    while (!p->chained && row == NULL && p->at < p->end) {
        *ret_number = p->at;
        row = parts_get(f, p->id, p->at++);
    }
    return row;
}

uint64_t parts_copy(struct family *f, const struct parts *p)
{
    struct parts walk = *p;
    uint64_t id = parts_new_id(f), number;
    for (const struct row *row; (row = parts_next(f, &walk, &number)) != NULL;)
        parts_put(f, id, number, family_value(row));
    return id;
}

/* ---- Trash ---- */

/* Take away up to max of them. True when none is left. */
static bool discard_some(struct family *f, struct parts *p, size_t max)
{
    uint64_t number;
    for (; max > 0; max--) {
        if (parts_next(f, p, &number) == NULL)
            return true;
        parts_delete(f, p->id, number);
    }
    return p->chained ? p->at == 0 : p->at >= p->end;
}

static void trash_put(struct family *f, struct bytes key, const struct parts *p)
{
    uint8_t value[TRASH_BYTES];
    little_put_u64(value, p->at);
    little_put_u64(value + 8, p->end);
    little_put_u64(value + 16, p->chained);
    family_put_in(f, SPACE_TRASH, key, NULL, VALUE_RAW, (struct bytes){.base = value, .len = sizeof value},
                  family_expiry(f, 1, 0));
}

void parts_discard(struct family *f, const struct parts *p)
{
    uint8_t key[8];
    struct parts rest = *p;
    if (p->id == 0 || discard_some(f, &rest, PARTS_AT_ONCE))
        return;
    little_put_u64(key, p->id);
    trash_put(f, (struct bytes){.base = key, .len = sizeof key}, &rest);
}

static bool trash_one(struct family *f, struct bytes key)
{
    const struct row *row = key.len == 8 ? rows_get_in(f->rows, SPACE_TRASH, key.base, key.len) : NULL;
    if (row == NULL)
        return false;
    struct parts p = {.id = little_u64(key.base),
                      .at = little_u64(row->value),
                      .end = little_u64(row->value + 8),
                      .chained = row->value[16] != 0};
    if (discard_some(f, &p, PARTS_A_TURN))
        family_delete_in(f, SPACE_TRASH, key, rows_get_in(f->rows, SPACE_TRASH, key.base, key.len));
    else
        trash_put(f, key, &p);
    return true;
}

/* The leader may name many at once: the first few get their turn, the others are due still. */
void parts_trash_due(struct family *f, const struct command *c)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < c->n_args; i++) {
        const struct row *row = rows_get_in(f->rows, SPACE_TRASH, c->args[i].base, c->args[i].len);
        if (n < PARTS_TURNS_MAX)
            n += trash_one(f, c->args[i]);
        else if (row != NULL)
            family_note_in(f, SPACE_TRASH, c->args[i], row->expire_ms);
    }
    outcome_int(f->out, n);
}

/* ---- Telling ---- */

const char *parts_encoding(const struct row *row)
{
    struct parts_head h = parts_head_read(row->value);
    if (row->type == VALUE_HASH)
        return (h.flags & PARTS_LARGE) != 0 ? "hashtable" : "listpack";
    return h.bytes + LISTPACK_ENTRY_BYTES * h.n <= LISTPACK_LIST_BYTES_MAX ? "listpack" : "quicklist";
}

size_t parts_bytes(const struct row *row)
{
    if (!value_has_parts(row->type))
        return 0;
    struct parts_head h = parts_head_read(row->value);
    if (h.id == 0)
        return 0;
    bool list = row->type == VALUE_LIST;
    size_t head = list ? 4 : 8, part = list ? PARTS_LIST_BYTES : PARTS_HASH_BYTES;
    size_t bytes = h.bytes + head * h.n;
    return bytes + PARTS_ROW_BYTES * (bytes / part + 1);
}
