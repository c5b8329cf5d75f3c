/* cmd_cluster.c - CLUSTER, as a server answers that is none of Redis Cluster's: clients that probe for it are told no,
 * and what is true of any cluster (is it up, how many nodes, which am I, which slot would that key have) is answered.
 */
#include "node/commands.h"
#include "node/node.h"
#include "node/reply.h"
#include <stdio.h>
#include <string.h>

#define SLOTS 16384

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

/* Forty hexadecimal digits, as Redis has them: the cluster's id, then the node's. */
void run_cluster_myid(struct call *call)
{
    struct node_status status;
    char id[64];
    node_status(call->node, &status);
    snprintf(id, sizeof id, "%.32s%08x", status.cluster_id, (unsigned)status.id);
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
                       "cluster_enabled:0\r\ncluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\n"
                       "cluster_slots_pfail:0\r\ncluster_slots_fail:%d\r\ncluster_known_nodes:%zu\r\ncluster_size:1\r\n"
                       "cluster_current_epoch:%llu\r\ncluster_my_epoch:%llu\r\nholdfast_voters:%u\r\n"
                       "holdfast_leader:%llu\r\n",
                       s.leader != 0 ? "ok" : "fail", SLOTS, s.leader != 0 ? SLOTS : 0, s.leader != 0 ? 0 : SLOTS,
                       s.n_members, (unsigned long long)s.term, (unsigned long long)s.term, voters,
                       (unsigned long long)s.leader);
    resp_verbatim(call->out, call->proto, text, (size_t)len);
}

void run_cluster_disabled(struct call *call)
{
    resp_error(call->out, REPLY_NO_CLUSTER);
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
        NULL,
    };
    reply_help(call->out, "CLUSTER", lines);
}
