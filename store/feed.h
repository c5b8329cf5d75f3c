/* feed.h - what an entry has changed and said, in order, for those who listen at this node: subscribers and who waits
 * for a key. Nothing of it is kept: it is filled while an entry is applied and read when that is done. A node where
 * nobody listens fills none. Names of events are those of Redis's keyspace notifications
 * (https://redis.io/docs/latest/develop/use/keyspace-notifications/). */
#pragma once
#include "store/command.h"
#include <stdbool.h>

enum feed_kind {
    FEED_CHANGE,  /* key: what happened to it (event). */
    FEED_MESSAGE, /* key: the channel; message. */
    FEED_CLEARED, /* All keys are gone. */
};

struct feed_item {
    enum feed_kind kind;
    uint64_t revision;
    const char *event; /* CHANGE; lives for ever. */
    struct bytes key, message;
};

/* Zero-initialise; release with feed_release(). */
struct feed {
    uint8_t *base;
    size_t len, cap;
    bool failed; /* Memory ran out: some of it is missing. */
    /* How many would hear a message here now; NULL: nobody does. */
    uint32_t (*receivers)(void *ctx, struct bytes channel);
    void *ctx;
};

void feed_release(struct feed *f);
/* Empty it, for the next entry. */
void feed_clear(struct feed *f);
void feed_put(struct feed *f, const struct feed_item *item);
/* The item at *at, which is moved on; false at the end. What it points to lives until the next feed_put(). */
bool feed_next(const struct feed *f, size_t *at, struct feed_item *ret);
