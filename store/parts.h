/* parts.h - what large lists and hashes consist of.
 *
 * Each is one row of the space of keys, whose value begins with a head (struct parts_head); a small one is in that row
 * altogether. A large one has an id, and its content is in rows of their own, its parts: named by the id, not by the
 * key, so that a rename touches none of them, and so that deleting the key takes it away at once and the parts little
 * by little. A list's parts are chained, a hash's are numbered from 0 without all of them being there. */
#pragma once
#include "store/family.h"

#define PARTS_HEAD_BYTES 56
#define PARTS_CHAIN_BYTES 20  /* A list's part begins with: u64 next, u64 previous (0: none), u32 elements. */
#define PARTS_AT_ONCE 64      /* So many go with a deleted key ... */
#define PARTS_A_TURN 512      /* ... so many with each later turn, which the leader proposes ... */
#define PARTS_TURNS_MAX 4     /* ... and so many turns in one entry. */
#define PARTS_LIST_BYTES 4096 /* A list's part holds so much, unless one element alone is larger. */
#define PARTS_HASH_BYTES 2048 /* What a hash's part holds on average, if the values are not longer. */

/* The head of a list's or a hash's value. */
struct parts_head {
    uint64_t id;    /* 0: everything is in this row, behind the head. */
    uint64_t n;     /* Elements, or fields. */
    uint64_t bytes; /* Of elements, or of fields and values. */
    uint64_t first; /* List: the number of its first part. */
    uint64_t end;   /* List: of its last part. Hash: how many parts it is spread over. */
    uint64_t next;  /* List: the number of the next part made. Hash: the seed of its fields' places. */
    uint64_t flags; /* enum parts_flag */
};
enum parts_flag { PARTS_LARGE = 1 }; /* Hash: Redis would have turned it into a hash table by now. */

struct parts_head parts_head_read(const uint8_t *value);
void parts_head_write(uint8_t *value, const struct parts_head *h);
/* In an encoded head. */
uint64_t parts_id(struct bytes value);
void parts_set_id(uint8_t *value, uint64_t id);

/* The parts of one value, as a walk over them. */
struct parts {
    uint64_t id;      /* 0: it has none. */
    uint64_t at, end; /* The next to be looked at; where they end, when they are not chained. */
    bool chained;
};
/* row NULL, or a string's: none. */
struct parts parts_of(const struct row *row);
/* The next part that is there, or NULL; its number goes to ret_number. */
const struct row *parts_next(struct family *f, struct parts *p, uint64_t *ret_number);
/* They belong to nobody any more. */
void parts_discard(struct family *f, const struct parts *p);
/* Copy them all under a new id, which is returned. */
uint64_t parts_copy(struct family *f, const struct parts *p);

uint64_t parts_new_id(struct family *f);
const struct row *parts_get(struct family *f, uint64_t id, uint64_t number);
void parts_put(struct family *f, uint64_t id, uint64_t number, struct bytes value);
void parts_delete(struct family *f, uint64_t id, uint64_t number);

/* The word Redis has for how such a value is kept. */
const char *parts_encoding(const struct row *row);
/* About what they take in memory. */
size_t parts_bytes(const struct row *row);
