/* facade.h - the cluster in the terms of clients that know Redis Cluster or Sentinel: one master, which is the leader,
 * and its replicas. Every node serves every command, so nobody is ever sent away; this only tells where the way is
 * shortest. Loop thread. */
#pragma once
#include "node/node.h"

#define FACADE_SLOTS 16384
#define FACADE_ID_MAX 64
#define FACADE_HOST_MAX 256
#define FACADE_SWITCH_MAX 1024
#define FACADE_SWITCH_CHANNEL "+switch-master"

/* A member whose client address this node knows. */
struct facade_place {
    const struct node_member *member; /* Of the view's status. */
    char id[FACADE_ID_MAX];           /* 40 hexadecimal digits: the cluster's id, then the node's. */
    char host[FACADE_HOST_MAX];
    unsigned port;
    bool is_master, is_self;
};

struct facade_view {
    struct node_status status;
    struct facade_place places[NODE_MEMBERS_MAX]; /* The master is the first. */
    size_t n;
    bool has_master;
};

void facade_look(const struct node *n, struct facade_view *ret);
/* The name that facade_place.id has for a node of this cluster. */
void facade_id(const struct node_status *s, uint64_t id, char ret[FACADE_ID_MAX]);

/* What this node saw of leaders; zero-initialise. */
struct facade_watch {
    uint64_t leader, lost_ms; /* lost_ms: when there was none any more, while leader is 0 */
    uint64_t told;            /* The leader last told of, and its address. */
    char address[FACADE_HOST_MAX];
};

/* Take in who leads (0: nobody) and at what client address ("": not known yet). True: subscribers of
 * FACADE_SWITCH_CHANNEL are to hear ret, "name old-host old-port new-host new-port". */
bool facade_follow(struct facade_watch *w, uint64_t leader, const char *address, uint64_t now_ms, const char *name,
                   char ret[FACADE_SWITCH_MAX]);
