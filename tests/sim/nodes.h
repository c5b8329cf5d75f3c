/* nodes.h - the cluster's members: each is node/cluster.c as the daemon runs it, on a disk of its own, with a clock of
 * its own, that starts, dies, loses power and pauses. */
#pragma once
#include "node/cluster.h"
#include "tests/sim/world.h"
#include "tests/support/fakedisk.h"

#define NODES_MAX 5

struct sim_node {
    bool up;
    bool dying;    /* It has said that it must stop: nothing it does counts any more. */
    bool stopping; /* Its process is being torn down: what that would write or answer is not real. */
    unsigned life;
    int index;
    struct cluster cluster;
    char dir[24]; /* disks.h */
    struct fakedisk *disk;
    struct io_ops ops;
    const struct io_ops *disk_ops;

    uint64_t clock_us, clock_since_us; /* The monotonic clock since this start, and when that was. */
    uint64_t clock_rate;               /* In thousandths of true time. */
    uint64_t timer_ms;
    uint64_t paused_until_us;
    bool turn_due;

    uint64_t slow_until_us;       /* Its disk. */
    uint64_t vote_kills_until_us; /* Until then it loses power whenever it has voted. */
    bool stays_down;              /* It is not started again by itself. */
    bool full, failing;           /* Its disk is full; one of its next calls fails. */
    bool wounded;                 /* It has failed or been full in this life: that may end the node. */
};
extern struct sim_node nodes[NODES_MAX];
extern int n_nodes;

enum node_end { NODE_KILLED, NODE_LOST_POWER, NODE_DIED };

void nodes_begin(void);
void nodes_end(void);
/* Start the process; it may fail to where its disk is in trouble, and is tried again then. */
void node_start(int i);
/* The process ends, at once; it is started again in restart_us. */
void node_stop(int i, enum node_end how, uint64_t restart_us);
void node_pause(int i, uint64_t us);
/* For so long its clock hardly moves, as on a machine whose host gives it no time. */
void node_slow_clock(int i, uint64_t us);
/* A lost disk: the node stops and comes back with nothing. */
void node_lose_disk(int i);
uint64_t node_now_us(const struct sim_node *n);
/* Let what has gathered leave at the end of this moment. */
void node_wants_turn(int i);
/* Who leads, as the newest leader sees it; -1: nobody. */
int nodes_leader(void);
/* May this event run? And what is to be done after one: nodes that died, or whose power failed, are stopped. */
enum gate nodes_gate(const struct event *e, uint64_t *ret_until);
void nodes_after(const struct event *e);
/* Is what this node does real? */
bool node_counts(const struct sim_node *n);
