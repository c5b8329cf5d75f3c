/* keywaits.h - WAITFOR's waits at this node: each has asked the leader once, in vain, and asks this node's own state
 * again whenever an entry after that changes its key. They are woken, and never look by themselves; ten thousand cost
 * memory. Loop thread. */
#pragma once
#include "node/requests.h"
#include "store/feed.h"
#include "store/store.h"

struct keywait;

struct keywaits {
    struct store *store;
    struct keywait **by_key, **by_conn; /* cap chains each; NULL before the first. */
    size_t n, cap;
    uint64_t next_deadline_ms; /* None of them ends before. */
    bool ended;
    struct outcome_buf out; /* Scratch. */
};

void keywaits_init(struct keywaits *k, struct store *store);
/* Those that are left end. */
void keywaits_release(struct keywaits *k);
/* The look of conn came to this OUTCOME_LATER. Takes over the caller's reference. */
void keywaits_add(struct keywaits *k, struct conn *conn, const struct outcome *later, uint64_t now_ms);
/* An entry has changed this key; cleared: all keys. */
void keywaits_changed(struct keywaits *k, const struct feed_item *item);
/* The state has jumped ahead. */
void keywaits_recheck(struct keywaits *k);
void keywaits_expire(struct keywaits *k, uint64_t now_ms);
/* When the next of them is over; UINT64_MAX: none is. */
uint64_t keywaits_next_ms(const struct keywaits *k);
void keywaits_gone(struct keywaits *k, struct conn *conn);
/* As waiters_unblock(). */
bool keywaits_unblock(struct keywaits *k, struct conn *conn, bool with_error);
/* The node stops. */
void keywaits_end(struct keywaits *k);
