/* pubsub.c - two hash tables of topics (channels, patterns), each with a list of its subscriptions; a connection has a
 * list of its own ones. Invariants: a connection is in a topic's list once; a topic without listeners is gone, but for
 * the time in which a message is handed out, when a listener that reads too slowly may be cut off and take its
 * subscriptions with it. */
#include "node/pubsub.h"
#include "node/hash.h"
#include "node/requests.h"
#include "store/glob.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TOPICS_FIRST_CHAINS 64 /* A power of two, as every size after it. */
#define KEYSPACE "__keyspace@0__:"
#define KEYEVENT "__keyevent@0__:"

struct topic {
    struct topic *next;
    struct subscription *first;
    bool pattern;
    size_t len;
    uint8_t name[];
};

struct subscription {
    struct subscription *next_of_topic, *prev_of_topic, *next_of_conn, *prev_of_conn;
    struct topic *topic;
    struct conn *conn;
};

/* ---- Topics ---- */

static struct topic **chain_of(const struct topics *t, struct bytes name)
{
    return &t->chains[hash_of(name) & (t->cap - 1)];
}

static struct bytes name_of(const struct topic *x)
{
    return (struct bytes){.base = x->name, .len = x->len};
}

static struct topic *find(const struct topics *t, struct bytes name)
{
    struct topic *x = t->n == 0 ? NULL : *chain_of(t, name);
    while (x != NULL && (x->len != name.len || (name.len > 0 && memcmp(x->name, name.base, name.len) != 0)))
        x = x->next;
    return x;
}

static void link_topic(struct topics *t, struct topic *x)
{
    struct topic **chain = chain_of(t, name_of(x));
    x->next = *chain;
    *chain = x;
}

static bool grow(struct topics *t)
{
    struct topics old = *t;
    size_t cap = old.cap == 0 ? TOPICS_FIRST_CHAINS : 2 * old.cap;
    struct topic **chains = calloc(cap, sizeof *chains);
    if (chains == NULL)
        return false;
    t->chains = chains;
    t->cap = cap;
    for (size_t i = 0; i < old.cap; i++)
        for (struct topic *x = old.chains[i], *next; x != NULL; x = next) {
            next = x->next;
            link_topic(t, x);
        }
    free(old.chains);
    return true;
}

static struct topic *topic_new(struct topics *t, bool pattern, struct bytes name)
{
    if (t->n == t->cap && !grow(t))
        return NULL;
    struct topic *x = malloc(sizeof *x + name.len);
    if (x == NULL)
        return NULL;
    *x = (struct topic){.pattern = pattern, .len = name.len};
    if (name.len > 0)
        memcpy(x->name, name.base, name.len);
    link_topic(t, x);
    t->n++;
    return x;
}

static void topic_free(struct topics *t, struct topic *x)
{
    struct topic **at = chain_of(t, name_of(x));
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    t->n--;
    free(x);
}

static struct topics *table_of(struct pubsub *p, bool pattern)
{
    return pattern ? &p->patterns : &p->channels;
}

static void sweep(struct topics *t)
{
    for (size_t i = 0; i < t->cap; i++)
        for (struct topic *x = t->chains[i], *next; x != NULL; x = next) {
            next = x->next;
            if (x->first == NULL)
                topic_free(t, x);
        }
}

/* ---- Subscriptions ---- */

static bool begins_with(struct bytes name, const char *with)
{
    size_t len = strlen(with);
    return name.len >= len && memcmp(name.base, with, len) == 0;
}

static bool is_key_channel(const struct topic *x)
{
    return !x->pattern && (begins_with(name_of(x), KEYSPACE) || begins_with(name_of(x), KEYEVENT));
}

static struct subscription *find_own(const struct subscriptions *of, const struct topic *topic)
{
    struct subscription *s = of->first;
    while (s != NULL && s->topic != topic)
        s = s->next_of_conn;
    return s;
}

static void link_subscription(struct subscriptions *of, struct topic *topic, struct subscription *s)
{
    s->next_of_topic = topic->first;
    s->next_of_conn = of->first;
    if (topic->first != NULL)
        topic->first->prev_of_topic = s;
    if (of->first != NULL)
        of->first->prev_of_conn = s;
    topic->first = of->first = s;
}

static size_t *count_of(struct subscriptions *of, const struct topic *topic)
{
    return topic->pattern ? &of->n_patterns : &of->n_channels;
}

static void end_subscription(struct pubsub *p, struct subscriptions *of, struct subscription *s)
{
    struct topic *topic = s->topic;
    *(s->prev_of_topic != NULL ? &s->prev_of_topic->next_of_topic : &topic->first) = s->next_of_topic;
    *(s->prev_of_conn != NULL ? &s->prev_of_conn->next_of_conn : &of->first) = s->next_of_conn;
    if (s->next_of_topic != NULL)
        s->next_of_topic->prev_of_topic = s->prev_of_topic;
    if (s->next_of_conn != NULL)
        s->next_of_conn->prev_of_conn = s->prev_of_conn;
    --*count_of(of, topic);
    p->n_key_channels -= is_key_channel(topic);
    free(s);
    if (topic->first != NULL)
        return;
    if (p->is_telling)
        p->has_empty = true;
    else
        topic_free(table_of(p, topic->pattern), topic);
}

int pubsub_subscribe(struct pubsub *p, struct subscriptions *of, struct conn *c, bool pattern, struct bytes name)
{
    struct topics *t = table_of(p, pattern);
    struct topic *topic = find(t, name);
    if (topic != NULL && find_own(of, topic) != NULL)
        return 0;
    struct subscription *s = calloc(1, sizeof *s);
    if (topic == NULL && s != NULL)
        topic = topic_new(t, pattern, name);
    if (topic == NULL || s == NULL) {
        free(s);
        return -1;
    }
    s->topic = topic;
    s->conn = c;
    link_subscription(of, topic, s);
    ++*count_of(of, topic);
    p->n_key_channels += is_key_channel(topic);
    return 0;
}

void pubsub_unsubscribe(struct pubsub *p, struct subscriptions *of, bool pattern, struct bytes name)
{
    struct topic *topic = find(table_of(p, pattern), name);
    struct subscription *s = topic == NULL ? NULL : find_own(of, topic);
    if (s != NULL)
        end_subscription(p, of, s);
}

bool pubsub_any(const struct subscriptions *of, bool pattern, struct bytes *ret)
{
    const struct subscription *s = of->first;
    while (s != NULL && s->topic->pattern != pattern)
        s = s->next_of_conn;
    if (s == NULL)
        return false;
    *ret = name_of(s->topic);
    return true;
}

void pubsub_drop(struct pubsub *p, struct subscriptions *of)
{
    for (struct subscription *s = of->first, *next; s != NULL; s = next) {
        next = s->next_of_conn;
        end_subscription(p, of, s);
    }
}

void pubsub_release(struct pubsub *p)
{
    sweep(&p->channels);
    sweep(&p->patterns);
    assert(p->channels.n == 0 && p->patterns.n == 0);
    free(p->channels.chains);
    free(p->patterns.chains);
    *p = (struct pubsub){0};
}

/* ---- Who listens ---- */

bool pubsub_listens(const struct pubsub *p)
{
    return p->channels.n > 0 || p->patterns.n > 0;
}

size_t pubsub_n_patterns(const struct pubsub *p)
{
    return p->patterns.n;
}

static uint32_t listeners_of(const struct topic *x)
{
    uint32_t n = 0;
    for (const struct subscription *s = x == NULL ? NULL : x->first; s != NULL; s = s->next_of_topic)
        n++;
    return n;
}

uint32_t pubsub_n_listeners(const struct pubsub *p, struct bytes channel)
{
    return listeners_of(find(&p->channels, channel));
}

static bool matches(const struct topic *pattern, struct bytes channel)
{
    return glob_match(pattern->name, pattern->len, channel.base, channel.len);
}

uint32_t pubsub_receivers(const struct pubsub *p, struct bytes channel)
{
    uint32_t n = pubsub_n_listeners(p, channel);
    for (size_t i = 0; i < p->patterns.cap; i++)
        for (const struct topic *x = p->patterns.chains[i]; x != NULL; x = x->next)
            n += matches(x, channel) ? listeners_of(x) : 0;
    return n;
}

void pubsub_each(const struct pubsub *p, void (*each)(void *ctx, struct bytes channel), void *ctx)
{
    for (size_t i = 0; i < p->channels.cap; i++)
        for (const struct topic *x = p->channels.chains[i]; x != NULL; x = x->next)
            each(ctx, name_of(x));
}

/* ---- Telling ---- */

/* A listener that is cut off meanwhile takes only subscriptions of its own out of the list. */
static void tell(const struct topic *x, struct bytes channel, struct bytes message)
{
    const struct bytes pattern = name_of(x);
    for (const struct subscription *s = x->first, *next; s != NULL; s = next) {
        next = s->next_of_topic;
        conn_message(s->conn, x->pattern ? &pattern : NULL, channel, message);
    }
}

void pubsub_message(struct pubsub *p, struct bytes channel, struct bytes message)
{
    const struct topic *topic = find(&p->channels, channel);
    p->is_telling = true;
    if (topic != NULL)
        tell(topic, channel, message);
    for (size_t i = 0; i < p->patterns.cap; i++)
        for (const struct topic *x = p->patterns.chains[i]; x != NULL; x = x->next)
            if (matches(x, channel))
                tell(x, channel, message);
    p->is_telling = false;
    if (p->has_empty) {
        sweep(&p->channels);
        sweep(&p->patterns);
        p->has_empty = false;
    }
}

static void tell_about(struct pubsub *p, const char *prefix, struct bytes about, struct bytes what)
{
    size_t prefix_len = strlen(prefix);
    uint8_t *channel = malloc(prefix_len + about.len);
    if (channel == NULL)
        return; /* Notifications are told at most once. */
    memcpy(channel, prefix, prefix_len);
    if (about.len > 0)
        memcpy(channel + prefix_len, about.base, about.len);
    pubsub_message(p, (struct bytes){.base = channel, .len = prefix_len + about.len}, what);
    free(channel);
}

void pubsub_change(struct pubsub *p, const struct feed_item *item)
{
    const struct bytes event = {.base = (const uint8_t *)item->event, .len = strlen(item->event)};
    if (p->n_key_channels == 0 && p->patterns.n == 0)
        return;
    tell_about(p, KEYSPACE, item->key, event);
    tell_about(p, KEYEVENT, event, item->key);
}
