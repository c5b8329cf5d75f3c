/* rows.c - how rows are kept in memory, and when they may be changed in place or thrown out.
 *
 * Every row in memory is an item: one allocation with its key and, when it is short, its value; a long value is a blob
 * that several items may share, so that a new expiry never copies it. Items hang in buckets by the high bits of their
 * key's hash. The table doubles a few buckets at a time: bucket i of the older table becomes 2i and 2i+1 of the newer
 * one, in order.
 *
 * An item knows the generation that last changed it, 0 when it is as SQLite had it:
 *     current    dirty: on the list of changes; changed in place
 *     frozen     being written by the flusher, which reads it without a lock; a change makes a new item in its place
 *     any other  clean: SQLite has the same; may be evicted
 * so starting and finishing a flush touch no item. A deleted row stays as a tombstone until SQLite has forgotten it
 * too.
 *
 * Each space has an area of its own: table, totals, list of changes. What bounds memory and what freezes is common to
 * all.
 *
 * Invariants: a row that differs from SQLite is in memory. So whatever state of SQLite a read meets, before a flush or
 * after it, memory overrules it where it matters. And when there are as many live rows of a space in memory as it has
 * rows at all, a miss needs no SQLite: this holds for a store that fits its cache, and after FLUSHALL until the wipe is
 * committed. Failure: the first error is kept for rows_error(); totals then no longer mean anything and the store must
 * stop. */
#include "store/rows_internal.h"
#include "store/journal.h"
#include "store/schema.h"
#include "store/store.h"
#include <assert.h>
#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROWS_TABLE_BITS_MIN 10
#define ROWS_TABLE_BITS_MAX 40
#define ROWS_HASH_BITS 63
#define ROWS_INLINE_MAX 512  /* Longer values are blobs. */
#define ROWS_INLINE_MIN 24   /* Room for a counter to grow in place. */
#define ROWS_MIGRATE_STEP 4  /* Buckets moved to the larger table with each insertion. */
#define ROWS_EVICT_STEP 8    /* Buckets the clock hand passes with each insertion over the bound. */
#define ROWS_TRIM_STEP 1024  /* The same for rows_trim(). */
#define ROWS_MALLOC_BYTES 16 /* What an allocation costs beside its size. */

struct blob {
    atomic_uint refs; /* Above 1: shared with a frozen item, not to be changed. */
    uint64_t hash;
    size_t cap;
    uint8_t bytes[];
};

struct item {
    struct change change; /* First: the flusher's list leads here. Untouched while frozen. */
    struct item *next;    /* In its bucket, or among the superseded. */
    struct blob *blob;    /* NULL: the value is in bytes, behind the key. */
    uint64_t generation;
    uint32_t inline_cap;
    bool referenced; /* Looked up since the clock hand passed. */
    uint8_t bytes[];
};

struct table {
    struct table *next; /* In the trash. */
    unsigned bits;
    struct item *buckets[];
};

/* The rows of one space. */
struct area {
    sqlite3_stmt *get, *walk;
    enum space space;
    struct table *table;
    struct table *older; /* While growing: its buckets from `migrated` on are still in use. */
    size_t migrated;
    size_t items;      /* In memory, tombstones included. */
    uint64_t resident; /* In memory and alive. */
    struct rows_total total;
    struct changes dirty;
    size_t bytes, dirty_bytes;
    uint64_t hand; /* The clock hand of eviction: a key hash. */
};

struct rows {
    struct area areas[SPACE_N];
    uint64_t generation; /* The current one, from 1. */
    uint64_t frozen;     /* The one being flushed; 0: none. */
    size_t frozen_bytes, bytes_max;
    size_t hand; /* The area under the clock hand. */
    struct trash trash;
    struct journal *journal; /* Borrowed; NULL: nobody wants to take changes back. */
    int error;
};

uint64_t rows_hash_in(enum space space, const void *key, size_t len)
{
    return XXH3_64bits_withSeed(key, len, (uint64_t)space) >> 1; /* Seed 0 is no seed. */
}

static uint64_t digest_with(const struct row *row, uint64_t value_hash)
{
    uint64_t parts[6] = {htole64(row->key_hash),
                         htole64(value_hash),
                         htole64(row->type),
                         htole64(row->version),
                         htole64((uint64_t)row->expire_ms),
                         htole64((uint64_t)row->wall_ms)};
    return XXH3_64bits(parts, sizeof parts);
}

uint64_t row_digest(const struct row *row)
{
    return digest_with(row, XXH3_64bits(row->value, row->value_len));
}

/* ---- tables and buckets ---- */

static struct table *table_new(unsigned bits)
{
    struct table *t = calloc(1, sizeof *t + (sizeof t->buckets[0] << bits));
    if (t != NULL)
        t->bits = bits;
    return t;
}

static size_t table_bucket(const struct table *t, uint64_t hash)
{
    return (size_t)(hash >> (ROWS_HASH_BITS - t->bits));
}

/* The table that holds this hash now. */
static struct table *table_of(const struct area *a, uint64_t hash)
{
    if (a->older != NULL && table_bucket(a->older, hash) >= a->migrated)
        return a->older;
    return a->table;
}

static struct item **bucket_of(const struct area *a, uint64_t hash)
{
    struct table *t = table_of(a, hash);
    return &t->buckets[table_bucket(t, hash)];
}

static void table_discard(struct rows *r, struct table *t)
{
    t->next = r->trash.tables;
    r->trash.tables = t;
}

static void bucket_migrate(struct area *a, size_t i)
{
    struct item *next;
    for (struct item *it = a->older->buckets[i]; it != NULL; it = next) {
        next = it->next;
        struct item **to = &a->table->buckets[table_bucket(a->table, it->change.row.key_hash)];
        it->next = *to;
        *to = it;
    }
    a->older->buckets[i] = NULL;
}

static void table_migrate(struct rows *r, struct area *a)
{
    size_t end = (size_t)1 << a->older->bits;
    for (int i = 0; i < ROWS_MIGRATE_STEP && a->migrated < end; i++)
        bucket_migrate(a, a->migrated++);
    if (a->migrated < end)
        return;
    table_discard(r, a->older);
    a->older = NULL;
}

/* Without memory for a larger table the chains just get longer. */
static void table_grow(struct area *a)
{
    if (a->items >> a->table->bits == 0 || a->table->bits == ROWS_TABLE_BITS_MAX)
        return;
    struct table *larger = table_new(a->table->bits + 1);
    if (larger == NULL)
        return;
    a->older = a->table;
    a->table = larger;
    a->migrated = 0;
}

static void table_free(struct table *t)
{
    for (size_t i = 0; i < (size_t)1 << t->bits; i++) {
        struct trash items = {.items = t->buckets[i]};
        trash_free(&items);
    }
    free(t);
}

/* ---- items and blobs ---- */

static struct blob *blob_new(const void *value, size_t len, size_t cap)
{
    struct blob *b = malloc(sizeof *b + cap);
    if (b == NULL)
        return NULL;
    atomic_init(&b->refs, 1);
    b->cap = cap;
    b->hash = XXH3_64bits(value, len);
    memcpy(b->bytes, value, len);
    return b;
}

static void blob_unref(struct blob *b)
{
    if (b != NULL && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        free(b);
}

static void item_free(struct item *it)
{
    blob_unref(it->blob);
    free(it);
}

static uint8_t *item_inline(struct item *it)
{
    return it->bytes + it->change.row.key_len;
}

static size_t item_bytes(const struct item *it)
{
    size_t bytes = sizeof *it + it->change.row.key_len + it->inline_cap + ROWS_MALLOC_BYTES;
    return it->blob == NULL ? bytes : bytes + sizeof *it->blob + it->blob->cap + ROWS_MALLOC_BYTES;
}

static struct area *area_of(struct rows *r, const struct item *it)
{
    return &r->areas[it->change.row.space];
}

static void charge(struct rows *r, const struct item *it)
{
    area_of(r, it)->bytes += item_bytes(it);
    if (it->generation == r->generation)
        area_of(r, it)->dirty_bytes += item_bytes(it);
}

static void uncharge(struct rows *r, const struct item *it)
{
    area_of(r, it)->bytes -= item_bytes(it);
    if (it->generation == r->generation)
        area_of(r, it)->dirty_bytes -= item_bytes(it);
}

/* Which row it is about, before there is one. */
struct place {
    enum space space;
    const void *key;
    size_t len;
    uint64_t hash;
};

static struct place place_of(enum space space, const void *key, size_t len)
{
    return (struct place){.space = space, .key = key, .len = len, .hash = rows_hash_in(space, key, len)};
}

/* An item for a key with inline_cap bytes for its value; its row is empty and deleted yet. */
static struct item *item_new(const struct place *at, size_t inline_cap)
{
    struct item *it = malloc(sizeof *it + at->len + inline_cap);
    if (it == NULL)
        return NULL;
    memset(it, 0, sizeof *it);
    memcpy(it->bytes, at->key, at->len);
    it->inline_cap = (uint32_t)inline_cap;
    it->change.row = (struct row){
        .space = at->space, .key = it->bytes, .key_len = at->len, .key_hash = at->hash, .expire_ms = ROW_NO_EXPIRY};
    it->change.row.value = item_inline(it);
    it->change.deleted = true;
    return it;
}

static size_t inline_cap_for(size_t value_len)
{
    if (value_len > ROWS_INLINE_MAX)
        return 0;
    return value_len < ROWS_INLINE_MIN ? ROWS_INLINE_MIN : (value_len + 7) & ~(size_t)7;
}

/* A new item with a copy of this value. */
static struct item *item_with(const struct place *at, const void *value, size_t value_len)
{
    struct item *it = item_new(at, inline_cap_for(value_len));
    if (it == NULL)
        return NULL;
    if (value_len <= it->inline_cap) {
        memcpy(item_inline(it), value, value_len);
    } else {
        it->blob = blob_new(value, value_len, value_len);
        if (it->blob == NULL) {
            free(it);
            return NULL;
        }
        it->change.row.value = it->blob->bytes;
    }
    it->change.row.value_len = value_len;
    return it;
}

/* Put the value into the blob in place when nobody shares it and it fits, else into a new one with room to grow. */
static bool item_blob(struct item *it, const void *value, size_t len)
{
    struct blob *old = it->blob;
    if (old != NULL && old->cap >= len && atomic_load_explicit(&old->refs, memory_order_acquire) == 1) {
        memmove(old->bytes, value, len);
        old->hash = XXH3_64bits(old->bytes, len);
        return true;
    }
    struct blob *b = blob_new(value, len, old == NULL ? len : len + len / 8);
    if (b == NULL)
        return false;
    it->blob = b;
    blob_unref(old);
    return true;
}

/* Replace the value of an item that nobody else reads. `value` may lie in the item's present value. */
static bool item_assign(struct item *it, const void *value, size_t len)
{
    if (len <= it->inline_cap) {
        memmove(item_inline(it), value, len);
        blob_unref(it->blob);
        it->blob = NULL;
        it->change.row.value = item_inline(it);
    } else {
        if (!item_blob(it, value, len))
            return false;
        it->change.row.value = it->blob->bytes;
    }
    it->change.row.value_len = len;
    return true;
}

static void item_digest(struct item *it)
{
    struct row *row = &it->change.row;
    uint64_t value_hash = it->blob != NULL ? it->blob->hash : XXH3_64bits(row->value, row->value_len);
    it->change.digest = digest_with(row, value_hash);
}

/* ---- the table's content ---- */

static bool item_clean(const struct rows *r, const struct item *it)
{
    return it->generation != r->generation && (r->frozen == 0 || it->generation != r->frozen);
}

static bool item_frozen(const struct rows *r, const struct item *it)
{
    return r->frozen != 0 && it->generation == r->frozen;
}

static bool all_resident(const struct area *a)
{
    return a->resident == a->total.count;
}

static void link_item(struct rows *r, struct item *it)
{
    struct area *a = area_of(r, it);
    if (a->older == NULL)
        table_grow(a);
    if (a->older != NULL)
        table_migrate(r, a);
    struct item **bucket = bucket_of(a, it->change.row.key_hash);
    it->next = *bucket;
    *bucket = it;
    it->referenced = true;
    a->items++;
    charge(r, it);
}

static struct item *find(const struct rows *r, const struct place *at)
{
    for (struct item *it = *bucket_of(&r->areas[at->space], at->hash); it != NULL; it = it->next) {
        const struct row *row = &it->change.row;
        if (row->key_hash == at->hash && row->key_len == at->len && memcmp(row->key, at->key, at->len) == 0)
            return it;
    }
    return NULL;
}

/* Put `it` where `old` is. A frozen item is still read by the flusher: it frees it afterwards. */
static void replace_item(struct rows *r, struct item *old, struct item *it)
{
    struct item **at = bucket_of(area_of(r, old), old->change.row.key_hash);
    while (*at != old)
        at = &(*at)->next;
    it->next = old->next;
    *at = it;
    it->referenced = true;
    uncharge(r, old);
    charge(r, it);
    if (item_frozen(r, old)) {
        struct trash one = {.items = old, .items_last = old};
        old->next = NULL;
        trash_join(&r->trash, &one);
    } else {
        item_free(old);
    }
}

static void mark_dirty(struct rows *r, struct item *it)
{
    if (it->generation == r->generation)
        return;
    struct area *a = area_of(r, it);
    it->generation = r->generation;
    it->change.next = a->dirty.first;
    a->dirty.first = &it->change;
    a->dirty.n++;
    a->dirty_bytes += item_bytes(it);
}

/* Take a row out of the totals before a change, and back in after it. */
static void total_out(struct rows *r, const struct item *it)
{
    if (it == NULL || it->change.deleted)
        return;
    struct area *a = area_of(r, it);
    a->resident--;
    a->total.count--;
    a->total.expiring -= it->change.row.expire_ms != ROW_NO_EXPIRY;
    a->total.hash -= it->change.digest;
}

static void total_in(struct rows *r, const struct item *it)
{
    struct area *a = area_of(r, it);
    a->resident++;
    a->total.count++;
    a->total.expiring += it->change.row.expire_ms != ROW_NO_EXPIRY;
    a->total.hash += it->change.digest;
}

static void fail(struct rows *r, int rc)
{
    if (r->error == 0)
        r->error = rc;
}

/* ---- reading SQLite ---- */

/* Keep a row of SQLite, or (row NULL) the knowledge that there is none. */
static struct item *keep_read(struct rows *r, const struct row *row, const struct place *at)
{
    struct item *it = row == NULL ? item_new(at, ROWS_INLINE_MIN) : item_with(at, row->value, row->value_len);
    if (it == NULL)
        return NULL;
    if (row != NULL) {
        it->change.row.type = row->type;
        it->change.row.version = row->version;
        it->change.row.expire_ms = row->expire_ms;
        it->change.row.wall_ms = row->wall_ms;
        it->change.deleted = false;
        item_digest(it);
        r->areas[at->space].resident++;
    }
    link_item(r, it);
    return it;
}

static struct item *read_file(struct rows *r, const struct place *at)
{
    struct row row;
    struct item *it = NULL;
    sqlite3_stmt *get = r->areas[at->space].get;
    sqlite3_bind_int64(get, 1, (int64_t)at->hash);
    schema_bind_bytes(get, 2, at->key, at->len);
    int rc = sqlite3_step(get);
    if (rc == SQLITE_ROW) {
        rc = schema_row_read(get, at->space, &row);
        if (rc == 0 && (it = keep_read(r, &row, at)) == NULL)
            rc = STORE_ENOMEM;
    } else if (rc == SQLITE_DONE) {
        it = keep_read(r, NULL, at);
        rc = 0; /* Without memory for a tombstone the next lookup reads again. */
    } else {
        rc = schema_err(rc);
    }
    sqlite3_reset(get);
    sqlite3_clear_bindings(get); /* The key was bound without a copy. */
    if (rc != 0)
        fail(r, rc);
    return it;
}

/* The item of a key, perhaps a tombstone; NULL when there is none, or on failure. Evicts nothing: the caller may hold
 * borrowed rows. */
static struct item *lookup(struct rows *r, const struct place *at)
{
    struct item *it = find(r, at);
    if (it != NULL)
        it->referenced = true;
    else if (!all_resident(&r->areas[at->space]))
        it = read_file(r, at);
    return it;
}

/* ---- eviction ---- */

static void evict_item(struct rows *r, struct item **at)
{
    struct item *it = *at;
    struct area *a = area_of(r, it);
    *at = it->next;
    a->items--;
    a->resident -= !it->change.deleted;
    uncharge(r, it);
    item_free(it);
}

/* The clock hand passes one bucket: what is clean and was not looked up since the last round goes. */
static void evict_bucket(struct rows *r, struct area *a, const struct item *keep)
{
    struct table *t = table_of(a, a->hand);
    struct item **at = &t->buckets[table_bucket(t, a->hand)];
    while (*at != NULL) {
        struct item *it = *at;
        if (it != keep && item_clean(r, it) && !it->referenced) {
            evict_item(r, at);
            continue;
        }
        it->referenced = false;
        at = &it->next;
    }
    uint64_t width = (uint64_t)1 << (ROWS_HASH_BITS - t->bits);
    a->hand = ((a->hand & ~(width - 1)) + width) & (((uint64_t)1 << ROWS_HASH_BITS) - 1);
}

static size_t cached_bytes(const struct rows *r)
{
    size_t bytes = 0;
    for (size_t i = 0; i < SPACE_N; i++)
        bytes += r->areas[i].bytes;
    return bytes;
}

/* The hand goes round one area after the other. */
static void evict(struct rows *r, const struct item *keep, int buckets)
{
    while (cached_bytes(r) > r->bytes_max && buckets-- > 0) {
        struct area *a = &r->areas[r->hand];
        if (a->items > 0)
            evict_bucket(r, a, keep);
        if (a->items == 0 || a->hand == 0)
            r->hand = (r->hand + 1) % SPACE_N;
    }
}

void rows_trim(struct rows *r)
{
    evict(r, NULL, ROWS_TRIM_STEP);
}

/* ---- the calls of rows.h ---- */

const struct row *rows_get_in(struct rows *r, enum space space, const void *key, size_t len)
{
    const struct place at = place_of(space, key, len);
    size_t items = r->areas[space].items;
    struct item *it = lookup(r, &at);
    if (r->areas[space].items != items)
        evict(r, it, ROWS_EVICT_STEP);
    return it == NULL || it->change.deleted ? NULL : &it->change.row;
}

/* An item in the table, ready to be changed, with a copy of the value. NULL: out of memory, nothing has changed. */
static struct item *item_to_write(struct rows *r, struct item *old, const struct place *at, const void *value,
                                  size_t value_len)
{
    bool in_place = old != NULL && !item_frozen(r, old);
    if (in_place && (old->generation == r->generation || value_len <= old->inline_cap)) {
        uncharge(r, old);
        bool done = item_assign(old, value, value_len);
        charge(r, old);
        return done ? old : NULL;
    }
    struct item *it = item_with(at, value, value_len);
    if (it != NULL && old != NULL)
        replace_item(r, old, it);
    else if (it != NULL)
        link_item(r, it);
    return it;
}

/* Finish a change of an item that total_out() no longer counts. */
static void settle(struct rows *r, struct item *it, uint64_t version, int64_t expire_ms, int64_t wall_ms)
{
    struct row *row = &it->change.row;
    row->version = version;
    row->expire_ms = expire_ms;
    row->wall_ms = expire_ms == ROW_NO_EXPIRY ? 0 : wall_ms;
    it->change.deleted = false;
    item_digest(it);
    mark_dirty(r, it);
    total_in(r, it);
}

void rows_set_journal(struct rows *r, struct journal *j)
{
    r->journal = j;
}

static void note_change(struct rows *r, const struct place *at, const struct item *old)
{
    bool lives = old != NULL && !old->change.deleted;
    if (r->journal != NULL)
        journal_note(r->journal, at->space, at->key, at->len, lives ? &old->change.row : NULL);
}

void rows_put_in(struct rows *r, enum space space, const void *key, size_t len, uint8_t type, const void *value,
                 size_t value_len, uint64_t version, int64_t expire_ms, int64_t wall_ms)
{
    const struct place at = place_of(space, key, len);
    struct item *old = lookup(r, &at);
    if (r->error != 0)
        return; /* Nobody knows what the row was: the totals would go wrong. */
    note_change(r, &at, old);
    total_out(r, old);
    struct item *it = item_to_write(r, old, &at, value, value_len);
    if (it == NULL) {
        fail(r, STORE_ENOMEM);
        return;
    }
    it->change.row.type = type;
    settle(r, it, version, expire_ms, wall_ms);
    evict(r, NULL, ROWS_EVICT_STEP);
}

/* A copy of a frozen item to be changed in its place; a blob is shared. */
static struct item *item_thawed(struct rows *r, struct item *old)
{
    const struct row *row = &old->change.row;
    const struct place at = {row->space, row->key, row->key_len, row->key_hash};
    bool shared = old->blob != NULL;
    struct item *it = shared ? item_new(&at, 0) : item_with(&at, row->value, row->value_len);
    if (it == NULL)
        return NULL;
    if (shared) {
        atomic_fetch_add_explicit(&old->blob->refs, 1, memory_order_relaxed);
        it->blob = old->blob;
        it->change.row.value = row->value;
        it->change.row.value_len = row->value_len;
    }
    it->change.row.type = row->type;
    replace_item(r, old, it);
    return it;
}

void rows_set_expiry_in(struct rows *r, enum space space, const void *key, size_t len, uint64_t version,
                        int64_t expire_ms, int64_t wall_ms)
{
    const struct place at = place_of(space, key, len);
    struct item *it = lookup(r, &at);
    if (r->error != 0 || it == NULL || it->change.deleted)
        return;
    note_change(r, &at, it);
    total_out(r, it);
    if (item_frozen(r, it))
        it = item_thawed(r, it);
    if (it == NULL) {
        fail(r, STORE_ENOMEM);
        return;
    }
    settle(r, it, version, expire_ms, wall_ms);
    evict(r, NULL, ROWS_EVICT_STEP);
}

bool rows_delete_in(struct rows *r, enum space space, const void *key, size_t len)
{
    const struct place at = place_of(space, key, len);
    struct item *it = lookup(r, &at);
    if (r->error != 0 || it == NULL || it->change.deleted)
        return false;
    note_change(r, &at, it);
    total_out(r, it);
    it = item_to_write(r, it, &at, "", 0);
    if (it == NULL) {
        fail(r, STORE_ENOMEM);
        return true;
    }
    it->change.deleted = true;
    mark_dirty(r, it);
    evict(r, NULL, ROWS_EVICT_STEP);
    return true;
}

void rows_clear_in(struct rows *r, enum space space)
{
    struct area *a = &r->areas[space];
    struct table *fresh = table_new(ROWS_TABLE_BITS_MIN);
    if (fresh == NULL) {
        fail(r, STORE_ENOMEM);
        return;
    }
    table_discard(r, a->table);
    if (a->older != NULL)
        table_discard(r, a->older);
    a->table = fresh;
    a->older = NULL;
    a->items = 0;
    a->resident = 0;
    a->total = (struct rows_total){0};
    a->bytes = a->dirty_bytes = 0;
    a->dirty = (struct changes){.wipe = true};
    a->hand = 0;
}

int rows_error(struct rows *r)
{
    int error = r->error;
    r->error = 0;
    return error;
}

struct rows_total rows_total(const struct rows *r, enum space space)
{
    return r->areas[space].total;
}

uint64_t rows_state_hash(const struct rows *r)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < SPACE_N; i++)
        hash += r->areas[i].total.hash;
    return hash;
}

uint64_t rows_all_expiring(const struct rows *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < SPACE_N; i++)
        n += r->areas[i].total.expiring;
    return n;
}

/* ---- walking: two ordered streams merged, memory's and SQLite's ---- */

struct walk {
    const struct area *area;
    uint64_t from;
    uint64_t next;              /* Where the next bucket begins; past 63 bits: memory is at its end. */
    const struct item **bucket; /* The items of the bucket under the walk, in order. */
    size_t i, n, cap;
    struct row file;
    bool file_left; /* `file` is the row SQLite stands at. */
    int error;
};

/* As SQLite orders (hash, key). */
static int row_order(const struct row *a, const struct row *b)
{
    if (a->key_hash != b->key_hash)
        return a->key_hash < b->key_hash ? -1 : 1;
    size_t len = a->key_len < b->key_len ? a->key_len : b->key_len;
    int order = memcmp(a->key, b->key, len);
    if (order != 0)
        return order;
    return a->key_len < b->key_len ? -1 : a->key_len > b->key_len;
}

static int item_order(const void *a, const void *b)
{
    const struct item *const *left = a, *const *right = b;
    return row_order(&(*left)->change.row, &(*right)->change.row);
}

static bool walk_collect(struct walk *w, const struct item *it)
{
    if (w->n == w->cap) {
        size_t cap = w->cap == 0 ? 16 : w->cap * 2;
        const struct item **grown = realloc(w->bucket, cap * sizeof *grown);
        if (grown == NULL)
            return false;
        w->bucket = grown;
        w->cap = cap;
    }
    w->bucket[w->n++] = it;
    return true;
}

static void walk_bucket(struct walk *w)
{
    struct table *t = table_of(w->area, w->next);
    uint64_t width = (uint64_t)1 << (ROWS_HASH_BITS - t->bits);
    w->i = w->n = 0;
    for (const struct item *it = t->buckets[table_bucket(t, w->next)]; it != NULL; it = it->next)
        if (it->change.row.key_hash >= w->from && !walk_collect(w, it))
            w->error = STORE_ENOMEM;
    if (w->n > 1)
        qsort(w->bucket, w->n, sizeof w->bucket[0], item_order);
    w->next = (w->next & ~(width - 1)) + width;
}

/* The item memory stands at, or NULL at its end. */
static const struct item *walk_memory(struct walk *w)
{
    while (w->i == w->n && w->next >> ROWS_HASH_BITS == 0 && w->error == 0)
        walk_bucket(w);
    return w->i < w->n ? w->bucket[w->i] : NULL;
}

static void walk_file(struct walk *w)
{
    int rc = sqlite3_step(w->area->walk);
    w->file_left = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW)
        w->error = schema_row_read(w->area->walk, w->area->space, &w->file);
    else if (rc != SQLITE_DONE)
        w->error = schema_err(rc);
}

/* Show the next row and step past it; false at the end, or when the caller has seen enough. */
static bool walk_step(struct walk *w, bool (*each)(void *ctx, const struct row *row), void *ctx)
{
    const struct item *it = walk_memory(w);
    if (w->error != 0 || (it == NULL && !w->file_left))
        return false;
    int order = it == NULL ? 1 : !w->file_left ? -1 : row_order(&it->change.row, &w->file);
    bool go_on = true;
    if (order > 0)
        go_on = each(ctx, &w->file);
    else if (!it->change.deleted)
        go_on = each(ctx, &it->change.row);
    if (!go_on)
        return false;
    w->i += order <= 0;
    if (order >= 0)
        walk_file(w);
    return w->error == 0;
}

void rows_walk_in(struct rows *r, enum space space, uint64_t from, bool (*each)(void *ctx, const struct row *row),
                  void *ctx)
{
    const struct area *a = &r->areas[space];
    if (from >> ROWS_HASH_BITS != 0)
        return;
    struct walk w = {.area = a, .from = from, .next = from};
    bool file = !all_resident(a);
    if (file) {
        sqlite3_bind_int64(a->walk, 1, (int64_t)from);
        walk_file(&w);
    }
    while (w.error == 0 && walk_step(&w, each, ctx))
        ;
    if (file)
        sqlite3_reset(a->walk);
    free(w.bucket);
    if (w.error != 0)
        fail(r, w.error);
}

/* ---- the keepers' side ---- */

static int area_open(struct area *a, sqlite3 *db, enum space space, const struct rows_total *total)
{
    a->space = space;
    a->total = *total;
    a->table = table_new(ROWS_TABLE_BITS_MIN);
    int rc = a->table == NULL ? STORE_ENOMEM : 0;
    if (rc == 0)
        rc = schema_prepare_in(db, "SELECT " SCHEMA_ROW " FROM", space, "WHERE hash = ? AND key = ?", &a->get);
    if (rc == 0)
        rc = schema_prepare_in(db, "SELECT " SCHEMA_ROW " FROM", space, "WHERE hash >= ? ORDER BY hash, key", &a->walk);
    return rc;
}

int rows_open(sqlite3 *db, size_t cache_bytes, const struct rows_total totals[SPACE_N], struct rows **ret)
{
    struct rows *r = calloc(1, sizeof *r);
    if (r == NULL)
        return STORE_ENOMEM;
    r->generation = 1;
    r->bytes_max = cache_bytes;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SPACE_N; i++)
        rc = area_open(&r->areas[i], db, (enum space)i, &totals[i]);
    if (rc != 0) {
        rows_close(r);
        return rc;
    }
    *ret = r;
    return 0;
}

static void area_close(struct rows *r, struct area *a)
{
    sqlite3_finalize(a->get);
    sqlite3_finalize(a->walk);
    if (a->table != NULL)
        table_discard(r, a->table);
    if (a->older != NULL)
        table_discard(r, a->older);
}

void rows_close(struct rows *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < SPACE_N; i++)
        area_close(r, &r->areas[i]);
    trash_free(&r->trash);
    free(r);
}

void rows_freeze(struct rows *r, struct generation *ret)
{
    assert(r->frozen == 0);
    r->frozen = r->generation++;
    r->frozen_bytes = 0;
    for (size_t i = 0; i < SPACE_N; i++) {
        struct area *a = &r->areas[i];
        ret->spaces[i] = a->dirty;
        r->frozen_bytes += a->dirty_bytes;
        a->dirty = (struct changes){0};
        a->dirty_bytes = 0;
    }
}

void rows_thaw(struct rows *r)
{
    assert(r->frozen != 0);
    r->frozen = 0;
    r->frozen_bytes = 0;
}

struct trash rows_take_trash(struct rows *r)
{
    struct trash t = r->trash;
    r->trash = (struct trash){0};
    return t;
}

void trash_join(struct trash *to, struct trash *from)
{
    if (from->items != NULL) {
        from->items_last->next = to->items;
        if (to->items == NULL)
            to->items_last = from->items_last;
        to->items = from->items;
    }
    while (from->tables != NULL) {
        struct table *t = from->tables;
        from->tables = t->next;
        t->next = to->tables;
        to->tables = t;
    }
    *from = (struct trash){0};
}

void trash_free(struct trash *t)
{
    while (t->items != NULL) {
        struct item *it = t->items;
        t->items = it->next;
        item_free(it);
    }
    while (t->tables != NULL) {
        struct table *table = t->tables;
        t->tables = table->next;
        table_free(table);
    }
}

size_t rows_cache_bytes(const struct rows *r)
{
    size_t bytes = cached_bytes(r);
    for (size_t i = 0; i < SPACE_N; i++) {
        const struct area *a = &r->areas[i];
        size_t buckets = (size_t)1 << a->table->bits;
        if (a->older != NULL)
            buckets += (size_t)1 << a->older->bits;
        bytes += buckets * sizeof a->table->buckets[0];
    }
    return bytes;
}

size_t rows_dirty_bytes(const struct rows *r)
{
    size_t bytes = r->frozen_bytes;
    for (size_t i = 0; i < SPACE_N; i++)
        bytes += r->areas[i].dirty_bytes;
    return bytes;
}

size_t rows_dirty(const struct rows *r)
{
    size_t n = 0;
    for (size_t i = 0; i < SPACE_N; i++)
        n += r->areas[i].dirty.n;
    return n;
}
