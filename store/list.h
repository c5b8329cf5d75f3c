/* list.h - one list at work: opened from its row, changed element by element, closed again.
 * One list is open at a time. What is read of it is good until the next call. Its key lives until it is closed. */
#pragma once
#include "store/parts.h"

#define LIST_POP_BYTES_MAX ((size_t)16 << 20) /* What one command pops at most, but one element always. */

enum list_where { LIST_HEAD = 0, LIST_TAIL = 1 };

/* The part at hand. */
struct list_part {
    uint64_t number, previous, next; /* number 0: the part is in the list's own row. */
    uint32_t n;
    uint8_t *room; /* Kept memory: space for a head, then the elements, each u32 length and bytes. */
    size_t len;    /* Of the elements. */
    uint64_t at;   /* The index of its first element. */
    bool open, changed;
    bool listed; /* list.offsets are those of its elements. */
};

struct list {
    struct family *f;
    struct bytes key;
    struct expiry expiry;
    struct parts_head head;
    struct list_part part;
    uint32_t *offsets; /* Kept memory: where each element of the part begins, and where the last one ends. */
    bool exists, changed;
};

/* row: the live row of key, a list, or NULL: an empty one, which comes to be when it is closed with something in it. */
void list_open(struct family *f, struct bytes key, const struct row *row, struct list *ret);
/* Write what has changed; an empty list is no more. */
void list_close(struct list *l);

uint64_t list_n(const struct list *l);
/* index < n. Empty when memory ran out. */
struct bytes list_at(struct list *l, uint64_t index);
/* In front of the element at index <= n. */
void list_insert(struct list *l, uint64_t index, struct bytes element);
void list_push(struct list *l, enum list_where where, struct bytes element);
void list_replace(struct list *l, uint64_t index, struct bytes element);
/* Take away n elements from one end; n <= list_n(). */
void list_cut(struct list *l, enum list_where where, uint64_t n);
/* Take up to max elements from one end, and append them as outcomes, in the order in which they go. How many. */
uint64_t list_pop(struct list *l, enum list_where where, uint64_t max, struct outcome_buf *out);
/* Take away up to max elements that are equal to this one, the nearest to that end first. How many it were. */
uint64_t list_remove(struct list *l, enum list_where from, uint64_t max, struct bytes element);
