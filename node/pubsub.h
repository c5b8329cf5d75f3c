/* pubsub.h - who listens to which channels and patterns at this node, and handing them what applied entries say: the
 * messages of PUBLISH, and Redis's keyspace notifications. Loop thread. */
#pragma once
#include "store/feed.h"
#include <stddef.h>

struct conn;
struct topic;
struct subscription;

/* One table of the two. */
struct topics {
    struct topic **chains; /* cap of them, by name; NULL before the first. */
    size_t n, cap;
};

struct pubsub {
    struct topics channels, patterns;
    size_t n_key_channels;      /* Channels that may name keyspace notifications. */
    bool is_telling, has_empty; /* Topics without listeners stay until the telling is over. */
};

/* A connection's side; zero-initialise. */
struct subscriptions {
    struct subscription *first;
    size_t n_channels, n_patterns;
};

void pubsub_release(struct pubsub *p); /* No connection may be subscribed any more. */
/* 0 (also when it was subscribed already), or -1 without memory. */
int pubsub_subscribe(struct pubsub *p, struct subscriptions *of, struct conn *c, bool pattern, struct bytes name);
void pubsub_unsubscribe(struct pubsub *p, struct subscriptions *of, bool pattern, struct bytes name);
/* Any name it is subscribed to, valid until it is not; false when there is none of that kind. */
bool pubsub_any(const struct subscriptions *of, bool pattern, struct bytes *ret);
void pubsub_drop(struct pubsub *p, struct subscriptions *of);
/* Does anybody listen to anything? */
bool pubsub_listens(const struct pubsub *p);
uint32_t pubsub_receivers(const struct pubsub *p, struct bytes channel);
size_t pubsub_n_patterns(const struct pubsub *p);
/* Each channel somebody listens to, for PUBSUB CHANNELS. */
void pubsub_each(const struct pubsub *p, void (*each)(void *ctx, struct bytes channel), void *ctx);
uint32_t pubsub_n_listeners(const struct pubsub *p, struct bytes channel);
/* Hand out a message. */
void pubsub_message(struct pubsub *p, struct bytes channel, struct bytes message);
/* The notifications of one change. */
void pubsub_change(struct pubsub *p, const struct feed_item *item);
