/* listeners.h - all who want to hear at this node what entries do: subscribers and those who wait for a key. Between
 * listeners_begin() and listeners_end() the store applies an entry. Loop thread. */
#pragma once
#include "node/keywaits.h"
#include "node/pubsub.h"

struct listeners {
    struct store *store;
    struct feed feed;
    struct pubsub pubsub;
    struct keywaits keywaits;
};

void listeners_init(struct listeners *l, struct store *store);
/* No connection is left. */
void listeners_release(struct listeners *l);
void listeners_begin(struct listeners *l);
void listeners_end(struct listeners *l);
