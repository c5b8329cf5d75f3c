/* cmd_pubsub.c - SUBSCRIBE and its kin, PUBSUB, PUBLISH, WAITFOR.
 * What SUBSCRIBE answers are messages themselves, one for each name. A message goes through the log, so that the
 * subscribers of all nodes hear it, in one order. Source: https://redis.io/docs/latest/develop/pubsub/ */
#include "node/commands.h"
#include "node/listeners.h"
#include "node/node.h"
#include "node/reply.h"
#include "store/glob.h"
#include <stdlib.h>
#include <string.h>

static struct pubsub *pubsub_of(const struct call *call)
{
    return &node_listeners(call->node)->pubsub;
}

static struct bytes arg_bytes(const struct resp_arg *arg)
{
    return (struct bytes){.base = (const uint8_t *)arg->base, .len = arg->len};
}

/* name NULL: there was none. */
static void put_subscribed(struct call *call, const char *kind, const struct bytes *name)
{
    const struct subscriptions *s = conn_subscriptions(call->conn);
    resp_push(call->out, call->proto, 3);
    resp_text(call->out, kind);
    if (name != NULL)
        resp_bulk(call->out, name->base, name->len);
    else
        resp_nil(call->out, call->proto);
    resp_int(call->out, (int64_t)(s->n_channels + s->n_patterns));
}

static void subscribe(struct call *call, bool pattern)
{
    for (size_t i = 1; i < call->n; i++) {
        struct bytes name = arg_bytes(&call->args[i]);
        if (pubsub_subscribe(pubsub_of(call), conn_subscriptions(call->conn), call->conn, pattern, name) != 0)
            resp_error(call->out, REPLY_NO_MEMORY);
        else
            put_subscribed(call, pattern ? "psubscribe" : "subscribe", &name);
    }
}

void run_subscribe(struct call *call)
{
    subscribe(call, false);
}

void run_psubscribe(struct call *call)
{
    subscribe(call, true);
}

/* The name is told before it is taken out: it may be the table's own. */
static void unsubscribe_one(struct call *call, bool pattern, struct bytes name)
{
    struct subscriptions *s = conn_subscriptions(call->conn);
    uint8_t copy[256], *kept = name.len <= sizeof copy ? copy : malloc(name.len);
    if (kept == NULL) {
        resp_error(call->out, REPLY_NO_MEMORY);
        return;
    }
    if (name.len > 0)
        memcpy(kept, name.base, name.len);
    name.base = kept;
    pubsub_unsubscribe(pubsub_of(call), s, pattern, name);
    put_subscribed(call, pattern ? "punsubscribe" : "unsubscribe", &name);
    if (kept != copy)
        free(kept);
}

static void unsubscribe(struct call *call, bool pattern)
{
    struct bytes name;
    for (size_t i = 1; i < call->n; i++)
        unsubscribe_one(call, pattern, arg_bytes(&call->args[i]));
    if (call->n > 1)
        return;
    if (!pubsub_any(conn_subscriptions(call->conn), pattern, &name)) {
        put_subscribed(call, pattern ? "punsubscribe" : "unsubscribe", NULL);
        return;
    }
    do {
        size_t before = call->out->len;
        unsubscribe_one(call, pattern, name);
        if (call->out->failed || call->out->len == before)
            return;
    } while (pubsub_any(conn_subscriptions(call->conn), pattern, &name));
}

void run_unsubscribe(struct call *call)
{
    unsubscribe(call, false);
}

void run_punsubscribe(struct call *call)
{
    unsubscribe(call, true);
}

/* ---- PUBSUB: what is known at this node ---- */

struct listing {
    const struct resp_arg *glob; /* NULL: all */
    struct resp_buf *out;        /* NULL: count only */
    size_t n;
};

static void list_channel(void *ctx, struct bytes channel)
{
    struct listing *l = ctx;
    if (l->glob != NULL && !glob_match((const uint8_t *)l->glob->base, l->glob->len, channel.base, channel.len))
        return;
    l->n++;
    if (l->out != NULL)
        resp_bulk(l->out, channel.base, channel.len);
}

void run_pubsub_channels(struct call *call)
{
    struct listing count = {.glob = call->n > 2 ? &call->args[2] : NULL}, list = count;
    if (call->n > 3) {
        resp_errorf(call->out, REPLY_ARITY, call->row->name);
        return;
    }
    list.out = call->out;
    pubsub_each(pubsub_of(call), list_channel, &count);
    resp_array(call->out, count.n);
    pubsub_each(pubsub_of(call), list_channel, &list);
}

void run_pubsub_numsub(struct call *call)
{
    resp_map(call->out, 2, call->n - 2);
    for (size_t i = 2; i < call->n; i++) {
        resp_bulk(call->out, call->args[i].base, call->args[i].len);
        resp_int(call->out, pubsub_n_listeners(pubsub_of(call), arg_bytes(&call->args[i])));
    }
}

void run_pubsub_numpat(struct call *call)
{
    resp_int(call->out, (int64_t)pubsub_n_patterns(pubsub_of(call)));
}

void run_pubsub_help(struct call *call)
{
    static const char *const lines[] = {
        "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHANNELS [<pattern>]",
        "    The channels that clients of this node are subscribed to.",
        "NUMPAT",
        "    How many patterns clients of this node are subscribed to.",
        "NUMSUB [<channel> ...]",
        "    How many clients of this node are subscribed to each channel.",
        "HELP",
        "    Print this help.",
    };
    resp_array(call->out, sizeof lines / sizeof *lines);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        resp_simple(call->out, lines[i]);
}

/* ---- PUBLISH channel message ---- */

int encode_publish(struct encoding *e)
{
    e->op = OP_PUBLISH;
    e->args = (const struct bytes *)(const void *)(e->argv + 1);
    e->n_args = 2;
    return 0;
}

/* ---- WAITFOR key [VERSION n | EQ value | ABSENT | EXISTS] TIMEOUT ms ---- */

#define WAITFOR_MS_MAX ((int64_t)1 << 40)

struct waitfor {
    int64_t mode, version, timeout_ms; /* mode -1: not given yet. */
    const struct resp_arg *value;
};

static int set_mode(struct encoding *e, struct waitfor *w, enum await_mode mode)
{
    if (w->mode >= 0)
        return encode_refuse(e, "ERR syntax error: WAITFOR waits for one of VERSION, EQ, ABSENT and EXISTS");
    w->mode = mode;
    return 0;
}

static int take_number(struct encoding *e, size_t i, int64_t max, const char *what, int64_t *ret)
{
    if (i >= e->argc || !arg_int(&e->argv[i], ret) || *ret < 0 || *ret > max)
        return encode_refuse(e, "ERR %s must be an integer from 0 to %lld", what, (long long)max);
    return 0;
}

/* One option at *i, which is moved to its last argument. */
static int take_option(struct encoding *e, struct waitfor *w, size_t *i)
{
    const struct resp_arg *arg = &e->argv[*i];
    if (arg_is(arg, "ABSENT"))
        return set_mode(e, w, AWAIT_ABSENT);
    if (arg_is(arg, "EXISTS"))
        return set_mode(e, w, AWAIT_EXISTS);
    if (++*i >= e->argc)
        return encode_refuse(e, "ERR syntax error");
    if (arg_is(arg, "TIMEOUT"))
        return take_number(e, *i, WAITFOR_MS_MAX, "TIMEOUT (ms)", &w->timeout_ms);
    if (arg_is(arg, "EQ")) {
        w->value = &e->argv[*i];
        return set_mode(e, w, AWAIT_EQ);
    }
    if (arg_is(arg, "VERSION"))
        return set_mode(e, w, AWAIT_VERSION) != 0 ? -1 : take_number(e, *i, INT64_MAX, "VERSION", &w->version);
    return encode_refuse(e, "ERR syntax error");
}

int encode_waitfor(struct encoding *e)
{
    struct waitfor w = {.mode = -1, .timeout_ms = -1};
    for (size_t i = 2; i < e->argc; i++)
        if (take_option(e, &w, &i) != 0)
            return -1;
    if (w.timeout_ms < 0)
        return encode_refuse(e, "ERR syntax error: WAITFOR needs a TIMEOUT in ms");
    e->op = OP_AWAIT;
    e->nums[0] = w.mode < 0 ? AWAIT_EXISTS : w.mode;
    e->nums[1] = w.version;
    e->nums[2] = w.timeout_ms;
    e->n_nums = 3;
    e->few[0] = arg_bytes(&e->argv[1]);
    if (w.value != NULL)
        e->few[1] = arg_bytes(w.value);
    e->args = e->few;
    e->n_args = w.value != NULL ? 2 : 1;
    e->blocks = w.timeout_ms > 0;
    return 0;
}
