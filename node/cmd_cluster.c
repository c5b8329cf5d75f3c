/* cmd_cluster.c - CLUSTER. With cluster_facade this is a Redis Cluster of one shard, whose master is the leader.
 * Without it clients that probe for one are told no, and only what is true of any cluster (is it up, how many nodes,
 * which am I, which slot would that key have) is answered. */
#include "node/commands.h"
#include "node/facade.h"
#include "node/node.h"
#include "node/reply.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SLOTS FACADE_SLOTS
#define NODES_TEXT_MAX (NODE_MEMBERS_MAX * 1024)

/* CRC-16/XMODEM, the hash of Redis Cluster's specification. */
static uint16_t crc16(const char *bytes, size_t len)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)(crc ^ ((uint16_t)(unsigned char)bytes[i] << 8));
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc;
}

/* Only what stands between the first '{' and the next '}' counts, when there is anything. */
static unsigned key_slot(const struct resp_arg *key)
{
    const char *end = key->base + key->len;
    const char *open = memchr(key->base, '{', key->len);
    const char *close = open != NULL ? memchr(open, '}', (size_t)(end - open)) : NULL;
    if (close != NULL && close > open + 1)
        return crc16(open + 1, (size_t)(close - open - 1)) % SLOTS;
    return crc16(key->base, key->len) % SLOTS;
}

void run_cluster_keyslot(struct call *call)
{
    resp_int(call->out, key_slot(&call->args[2]));
}

void run_cluster_myid(struct call *call)
{
    struct node_status status;
    char id[FACADE_ID_MAX];
    node_status(call->node, &status);
    facade_id(&status, status.id, id);
    resp_text(call->out, id);
}

void run_cluster_info(struct call *call)
{
    struct node_status s;
    char text[512];
    node_status(call->node, &s);
    unsigned voters = 0;
    for (size_t i = 0; i < s.n_members; i++)
        voters += s.members[i].voter;
    int len = snprintf(text, sizeof text,
                       "cluster_enabled:%d\r\ncluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\n"
                       "cluster_slots_pfail:0\r\ncluster_slots_fail:%d\r\ncluster_known_nodes:%zu\r\ncluster_size:1\r\n"
                       "cluster_current_epoch:%llu\r\ncluster_my_epoch:%llu\r\nholdfast_voters:%u\r\n"
                       "holdfast_leader:%llu\r\n",
                       node_config(call->node)->cluster_facade, s.leader != 0 ? "ok" : "fail", SLOTS,
                       s.leader != 0 ? SLOTS : 0, s.leader != 0 ? 0 : SLOTS, s.n_members, (unsigned long long)s.term,
                       (unsigned long long)s.term, voters, (unsigned long long)s.leader);
    resp_verbatim(call->out, call->proto, text, (size_t)len);
}

void run_cluster_disabled(struct call *call)
{
    resp_error(call->out, REPLY_NO_CLUSTER);
}

/* ---- The facade ---- */

/* False: it is off, and that is answered. */
static bool look(struct call *call, struct facade_view *ret)
{
    if (!node_config(call->node)->cluster_facade) {
        resp_error(call->out, REPLY_NO_CLUSTER);
        return false;
    }
    facade_look(call->node, ret);
    return true;
}

static bool is_up(const struct facade_place *p)
{
    return p->member->linked;
}

/* As Redis has it, only nodes that can be reached. The master stands first, though it may just have fallen. */
void run_cluster_slots(struct call *call)
{
    struct facade_view v;
    size_t shown = 0;
    if (!look(call, &v))
        return;
    for (size_t i = 0; i < v.n; i++)
        shown += is_up(&v.places[i]) || v.places[i].is_master;
    resp_array(call->out, v.has_master ? 1 : 0);
    if (!v.has_master)
        return;
    resp_array(call->out, 2 + shown);
    resp_int(call->out, 0);
    resp_int(call->out, SLOTS - 1);
    for (size_t i = 0; i < v.n; i++) {
        const struct facade_place *p = &v.places[i];
        if (!is_up(p) && !p->is_master)
            continue;
        resp_array(call->out, 4);
        resp_text(call->out, p->host);
        resp_int(call->out, p->port);
        resp_text(call->out, p->id);
        resp_array(call->out, 0); /* Other names of the host. */
    }
}

static void put_shard_node(struct call *call, const struct facade_view *v, const struct facade_place *p)
{
    uint64_t offset = p->is_self ? v->status.applied_index : p->member->match_index;
    resp_map(call->out, call->proto, 7);
    resp_text(call->out, "id");
    resp_text(call->out, p->id);
    resp_text(call->out, "port");
    resp_int(call->out, p->port);
    resp_text(call->out, "ip");
    resp_text(call->out, p->host);
    resp_text(call->out, "endpoint");
    resp_text(call->out, p->host);
    resp_text(call->out, "role");
    resp_text(call->out, p->is_master ? "master" : "replica");
    resp_text(call->out, "replication-offset");
    resp_int(call->out, (int64_t)offset);
    resp_text(call->out, "health");
    resp_text(call->out, is_up(p) ? "online" : "fail");
}

void run_cluster_shards(struct call *call)
{
    struct facade_view v;
    if (!look(call, &v))
        return;
    resp_array(call->out, 1);
    resp_map(call->out, call->proto, 2);
    resp_text(call->out, "slots");
    resp_array(call->out, v.has_master ? 2 : 0);
    if (v.has_master) {
        resp_int(call->out, 0);
        resp_int(call->out, SLOTS - 1);
    }
    resp_text(call->out, "nodes");
    resp_array(call->out, v.n);
    for (size_t i = 0; i < v.n; i++)
        put_shard_node(call, &v, &v.places[i]);
}

/* Redis's line: id, address with the bus port, flags, master, ping, pong, epoch, link, slots. Returns its length. */
static size_t format_node(const struct facade_view *v, const struct facade_place *p, char *text, size_t cap)
{
    char host[FACADE_HOST_MAX], bus[16] = "0", slots[16] = "";
    config_split_address(p->member->peer_address, host, sizeof host, bus, sizeof bus);
    if (p->is_master)
        snprintf(slots, sizeof slots, " 0-%d", SLOTS - 1);
    int len = snprintf(text, cap, "%s %s:%u@%s %s%s%s %s 0 0 %" PRIu64 " %s%s", p->id, p->host, p->port, bus,
                       p->is_self ? "myself," : "", p->is_master ? "master" : "slave", is_up(p) ? "" : ",fail",
                       p->is_master || !v->has_master ? "-" : v->places[0].id, v->status.term,
                       is_up(p) ? "connected" : "disconnected", slots);
    return len < 0 ? 0 : (size_t)len < cap ? (size_t)len : cap - 1;
}

void run_cluster_nodes(struct call *call)
{
    struct facade_view v;
    char text[NODES_TEXT_MAX];
    size_t len = 0;
    if (!look(call, &v))
        return;
    for (size_t i = 0; i < v.n; i++) {
        len += format_node(&v, &v.places[i], text + len, sizeof text - len - 1);
        text[len++] = '\n';
    }
    resp_verbatim(call->out, call->proto, text, len);
}

void run_cluster_replicas(struct call *call)
{
    struct facade_view v;
    const struct resp_arg *of = &call->args[2];
    char line[NODES_TEXT_MAX / NODE_MEMBERS_MAX];
    if (!look(call, &v))
        return;
    size_t i = 0;
    while (i < v.n && (of->len != strlen(v.places[i].id) || memcmp(of->base, v.places[i].id, of->len) != 0))
        i++;
    if (i == v.n) {
        resp_errorf(call->out, REPLY_NO_NODE, (int)(of->len < 128 ? of->len : 128), of->base);
        return;
    }
    if (!v.places[i].is_master) {
        resp_error(call->out, REPLY_NOT_A_MASTER);
        return;
    }
    resp_array(call->out, v.n - 1);
    for (i = 1; i < v.n; i++)
        resp_bulk(call->out, line, format_node(&v, &v.places[i], line, sizeof line));
}

void run_cluster_help(struct call *call)
{
    static const char *const lines[] = {
        "INFO",
        "    Does the cluster have a leader, and how many nodes?",
        "KEYSLOT <key>",
        "    The hash slot of a key.",
        "MYID",
        "    This node's name.",
        "NODES",
        "    The nodes, a line each (with cluster_facade, as what follows).",
        "REPLICAS <id>",
        "    The nodes that do not lead, a line each.",
        "SHARDS",
        "    The one shard and its nodes.",
        "SLOTS",
        "    All slots and their nodes.",
        NULL,
    };
    reply_help(call->out, "CLUSTER", lines);
}
