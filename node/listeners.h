/* listeners.h - all who want to hear at this node what entries do: subscribers, those who wait for a key, and
 * the history. Between
 * listeners_begin() and listeners_end() the store applies an entry. Loop thread. */
#pragma once
#include "node/history.h"
#include "node/keywaits.h"
#include "node/pubsub.h"

struct listeners {
    struct store *store;
    struct feed feed;
    struct pubsub pubsub;
    struct keywaits keywaits;
    struct history history;
};

void listeners_init(struct listeners *l, struct store *store);
/* Keep so many bytes of changes for HISTORY, from now on; none at first. */
void listeners_keep(struct listeners *l, size_t bytes);
/* No connection is left. */
void listeners_release(struct listeners *l);
void listeners_begin(struct listeners *l);
void listeners_end(struct listeners *l);
/* The state has jumped ahead. */
void listeners_recheck(struct listeners *l);
