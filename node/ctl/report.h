/* report.h - what all nodes say of themselves, put together: who leads, who is missing, what is wrong. */
#pragma once
#include "node/client/client.h"

struct report_node {
    const char *address; /* As in the node list, or as the cluster lists it. */
    char name[24];       /* "n2", or the address while nobody knows its id. */
    bool up;             /* It answered as a Holdfast node. */
    char why[160];       /* Otherwise what it does instead: "does not answer: ...". */
    char role[16], cluster_id[40], state_hash[20];
    int64_t id, term, leader_id, commit_index, applied_index, lag, uptime_s; /* lag: behind the newest commit here */
    int64_t process_id; /* Tells two processes that claim one id from one that is listed under two names. */
    bool ready, short_of_disk;
};

/* A member as the cluster itself lists it. */
struct report_member {
    int64_t id;
    char client_address[64];
    bool voter, linked;
};

#define REPORT_PROBLEMS_MAX 64
struct report {
    struct report_node nodes[CLIENT_NODES_MAX];
    int n_nodes, n_up;
    int leader;                         /* Index in nodes, -1: none that answers. */
    int64_t followed_id, followed_term; /* Then the leader that the others follow; 0: none. */
    struct report_member members[CLIENT_NODES_MAX];
    int n_members, n_voters, n_reachable; /* Voters the leader, or without one this command, can reach. */
    bool serves;                          /* A ready leader has a majority, or a node follows one we cannot ask. */
    char problems[REPORT_PROBLEMS_MAX][256];
    int n_problems;
};

/* Asks every node of the client's list in turn, and then those that the cluster has besides; the client's list grows by
 * them. 0, or CLIENT_ENOMEM. */
int report_gather(struct client *client, struct report *ret);
