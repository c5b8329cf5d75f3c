/* listeners.c - the feed of an entry, filled only while somebody listens, and handed out in its order. */
#include "node/listeners.h"

static uint32_t receivers(void *ctx, struct bytes channel)
{
    struct listeners *l = ctx;
    return pubsub_receivers(&l->pubsub, channel);
}

void listeners_init(struct listeners *l, struct store *store)
{
    *l = (struct listeners){.store = store, .feed = {.receivers = receivers, .ctx = l}};
    keywaits_init(&l->keywaits, store);
}

void listeners_keep(struct listeners *l, size_t bytes)
{
    history_init(&l->history, bytes, store_revision(l->store));
}

void listeners_release(struct listeners *l)
{
    history_release(&l->history);
    keywaits_release(&l->keywaits);
    pubsub_release(&l->pubsub);
    feed_release(&l->feed);
}

void listeners_begin(struct listeners *l)
{
    bool listens = pubsub_listens(&l->pubsub) || l->keywaits.n > 0 || history_on(&l->history);
    feed_clear(&l->feed);
    store_feed(l->store, listens ? &l->feed : NULL);
}

static void hand_out(struct listeners *l, const struct feed_item *item)
{
    if (item->kind == FEED_MESSAGE)
        pubsub_message(&l->pubsub, item->key, item->message);
    else if (item->kind == FEED_CHANGE)
        pubsub_change(&l->pubsub, item);
    if (item->kind == FEED_MESSAGE)
        return;
    keywaits_changed(&l->keywaits, item);
    if (history_on(&l->history))
        history_add(&l->history, item);
}

void listeners_recheck(struct listeners *l)
{
    history_reset(&l->history, store_revision(l->store));
    keywaits_recheck(&l->keywaits);
}

void listeners_end(struct listeners *l)
{
    struct feed_item item;
    size_t at = 0;
    while (feed_next(&l->feed, &at, &item))
        hand_out(l, &item);
    if (l->feed.failed) /* Something is missing: messages are told at most once, waits must not be forgotten. */
        listeners_recheck(l);
    history_told(&l->history, store_revision(l->store));
}
