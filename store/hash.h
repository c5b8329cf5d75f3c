/* hash.h - one hash at work: opened from its row, changed field by field, closed again.
 * One hash is open for writing at a time. Its key lives until it is closed. What is read is good until the next look-up
 * or change of any row. */
#pragma once
#include "store/parts.h"

#define HASH_PACKED_FIELDS_MAX 128     /* As Redis has it by default: past these it has a hash table, */
#define HASH_PACKED_FIELD_BYTES_MAX 64 /* and past this length of any field or value. */
#define HASH_PACKED_BYTES_MAX 17408    /* A hash whose records take more has parts. */

/* The part at hand, a copy: all records in the hash's own row, or those of one part. */
struct hash_part {
    uint64_t number;
    uint8_t *room; /* Kept memory: space for a head, then the records, each u32 and u32 lengths, field and value. */
    size_t len;    /* Of the records. */
    bool open, changed;
};

struct hash {
    struct family *f;
    struct bytes key;
    struct expiry expiry;
    struct parts_head head;
    struct hash_part part;
    bool exists, changed;
};

/* row: the live row of key, a hash, or NULL: an empty one, which comes to be when it is closed with something in it. */
void hash_open(struct family *f, struct bytes key, const struct row *row, struct hash *ret);
/* Write what has changed; an empty hash is no more. */
void hash_close(struct hash *h);
uint64_t hash_n(const struct hash *h);
/* The field's value in the open hash. False: there is none. */
bool hash_get(struct hash *h, struct bytes field, struct bytes *ret);
/* True when the field is new. The value may not point into the hash. */
bool hash_set(struct hash *h, struct bytes field, struct bytes value);
bool hash_delete(struct hash *h, struct bytes field);

/* Reading alone, without a copy. row: a live hash. */
bool hash_find(struct family *f, const struct row *row, struct bytes field, struct bytes *ret);

/* Records one after another. */
struct hash_record {
    struct bytes field, value;
};
bool hash_next(struct bytes records, size_t *at, struct hash_record *ret);

/* The whole of a hash, a stretch of records at a time, in an order that does not change while fields come and go: what
 * is there throughout is met, from whatever place it is taken up again. */
struct hash_walk {
    struct family *f;
    struct bytes key;
    struct parts_head head;
    uint64_t place; /* Where the next stretch begins; begin with 0. */
};
/* row: the live row of key. False: there is nothing at or behind that place. */
void hash_walk_begin(struct family *f, struct bytes key, const struct row *row, uint64_t place, struct hash_walk *ret);
/* The next stretch, which may be empty; false at the end. */
bool hash_walk_next(struct hash_walk *w, struct bytes *ret_records);
/* A stretch chosen by chance, all being equally likely, of the live hash at key. */
struct bytes hash_stretch(struct family *f, struct bytes key, uint64_t chance);
