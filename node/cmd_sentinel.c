/* cmd_sentinel.c - SENTINEL, so that clients which ask one for the master are led to the leader. Every node is a
 * Sentinel that watches one master, by the name in the setting sentinel_name, and the others are its fellows. */
#include "node/commands.h"
#include "node/facade.h"
#include "node/reply.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PLACE_FIELDS 11
#define MASTER_FIELDS (PLACE_FIELDS + 9)
#define REPLICA_FIELDS (PLACE_FIELDS + 10)
#define SENTINEL_FIELDS (PLACE_FIELDS + 3)

static bool names_master(const struct call *call)
{
    const char *name = node_config(call->node)->sentinel_name;
    const struct resp_arg *arg = &call->args[2];
    return arg->len == strlen(name) && memcmp(arg->base, name, arg->len) == 0;
}

/* False: there is no such master, or nobody leads, and that is answered. */
static bool look(struct call *call, struct facade_view *ret)
{
    if (!names_master(call)) {
        resp_error(call->out, REPLY_NO_MASTER);
        return false;
    }
    facade_look(call->node, ret);
    if (!ret->has_master)
        resp_error(call->out, REPLY_NO_LEADER);
    return ret->has_master;
}

static void put(struct call *call, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void put(struct call *call, const char *name, const char *format, ...)
{
    char text[FACADE_HOST_MAX + 32];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    resp_text(call->out, name);
    resp_text(call->out, text);
}

static uint64_t heard_ms(const struct facade_place *p)
{
    return p->member->last_heard_ms == UINT64_MAX ? 0 : p->member->last_heard_ms;
}

/* The fields that everything has which a Sentinel knows. */
static void put_place(struct call *call, const struct facade_place *p, const char *name, const char *kind)
{
    put(call, "name", "%s", name);
    put(call, "ip", "%s", p->host);
    put(call, "port", "%u", p->port);
    put(call, "runid", "%s", p->id);
    put(call, "flags", "%s%s", kind, p->member->linked ? "" : ",s_down,disconnected");
    put(call, "link-pending-commands", "0");
    put(call, "link-refcount", "1");
    put(call, "last-ping-sent", "0");
    put(call, "last-ok-ping-reply", "%" PRIu64, heard_ms(p));
    put(call, "last-ping-reply", "%" PRIu64, heard_ms(p));
    put(call, "down-after-milliseconds", "%u", node_config(call->node)->election_timeout_ms);
}

static void put_master(struct call *call, const struct facade_view *v)
{
    const struct facade_place *p = &v->places[0];
    size_t voters = 0;
    for (size_t i = 0; i < v->status.n_members; i++)
        voters += v->status.members[i].voter;
    resp_map(call->out, call->proto, MASTER_FIELDS);
    put_place(call, p, node_config(call->node)->sentinel_name, "master");
    put(call, "info-refresh", "%" PRIu64, heard_ms(p));
    put(call, "role-reported", "master");
    put(call, "role-reported-time", "0");
    put(call, "config-epoch", "%" PRIu64, v->status.term);
    put(call, "num-slaves", "%zu", v->n - 1);
    put(call, "num-other-sentinels", "%zu", v->n - 1);
    put(call, "quorum", "%zu", voters / 2 + 1);
    put(call, "failover-timeout", "%u", node_config(call->node)->election_timeout_ms);
    put(call, "parallel-syncs", "%zu", v->n - 1);
}

static void put_replica(struct call *call, const struct facade_view *v, const struct facade_place *p)
{
    char name[FACADE_HOST_MAX + 16];
    snprintf(name, sizeof name, "%s:%u", p->host, p->port);
    resp_map(call->out, call->proto, REPLICA_FIELDS);
    put_place(call, p, name, "slave");
    put(call, "info-refresh", "%" PRIu64, heard_ms(p));
    put(call, "role-reported", "slave");
    put(call, "role-reported-time", "0");
    put(call, "master-link-down-time", "0");
    put(call, "master-link-status", "%s", p->member->linked ? "ok" : "err");
    put(call, "master-host", "%s", v->places[0].host);
    put(call, "master-port", "%u", v->places[0].port);
    put(call, "slave-priority", "100");
    put(call, "slave-repl-offset", "%" PRIu64, p->is_self ? v->status.applied_index : p->member->match_index);
    put(call, "replica-announced", "1");
}

static void put_sentinel(struct call *call, const struct facade_view *v, const struct facade_place *p)
{
    resp_map(call->out, call->proto, SENTINEL_FIELDS);
    put_place(call, p, p->id, "sentinel");
    put(call, "last-hello-message", "%" PRIu64, heard_ms(p));
    put(call, "voted-leader", "?");
    put(call, "voted-leader-epoch", "%" PRIu64, v->status.term);
}

void run_sentinel_get_master_addr(struct call *call)
{
    struct facade_view v;
    facade_look(call->node, &v);
    if (!names_master(call) || !v.has_master) {
        resp_nil_array(call->out, call->proto);
        return;
    }
    char port[16];
    snprintf(port, sizeof port, "%u", v.places[0].port);
    resp_array(call->out, 2);
    resp_text(call->out, v.places[0].host);
    resp_text(call->out, port);
}

void run_sentinel_master(struct call *call)
{
    struct facade_view v;
    if (look(call, &v))
        put_master(call, &v);
}

void run_sentinel_masters(struct call *call)
{
    struct facade_view v;
    facade_look(call->node, &v);
    resp_array(call->out, v.has_master ? 1 : 0);
    if (v.has_master)
        put_master(call, &v);
}

void run_sentinel_replicas(struct call *call)
{
    struct facade_view v;
    if (!look(call, &v))
        return;
    resp_array(call->out, v.n - 1);
    for (size_t i = 1; i < v.n; i++)
        put_replica(call, &v, &v.places[i]);
}

void run_sentinel_sentinels(struct call *call)
{
    struct facade_view v;
    size_t others = 0;
    if (!look(call, &v))
        return;
    for (size_t i = 0; i < v.n; i++)
        others += !v.places[i].is_self;
    resp_array(call->out, others);
    for (size_t i = 0; i < v.n; i++)
        if (!v.places[i].is_self)
            put_sentinel(call, &v, &v.places[i]);
}

void run_sentinel_ckquorum(struct call *call)
{
    struct facade_view v;
    char text[128];
    size_t reached = 0, voters = 0;
    if (!look(call, &v))
        return;
    for (size_t i = 0; i < v.status.n_members; i++) {
        voters += v.status.members[i].voter;
        reached += v.status.members[i].voter && v.status.members[i].linked;
    }
    if (2 * reached <= voters) {
        resp_errorf(call->out, REPLY_NO_SENTINELS, reached);
        return;
    }
    snprintf(text, sizeof text, "OK %zu usable Sentinels. Quorum and failover authorization can be reached", reached);
    resp_simple(call->out, text);
}

void run_sentinel_help(struct call *call)
{
    static const char *const lines[] = {
        "CKQUORUM <name>",
        "    Does this node reach a majority of the voters?",
        "GET-MASTER-ADDR-BY-NAME <name>",
        "    The client address of the leader.",
        "MASTER <name>",
        "    What this node knows of the leader.",
        "MASTERS",
        "    The same, as a list of one.",
        "MYID",
        "    This node's name.",
        "REPLICAS <name>",
        "    The nodes that do not lead.",
        "SENTINELS <name>",
        "    The other nodes.",
        NULL,
    };
    reply_help(call->out, "SENTINEL", lines);
}
