/* net.c - see net.h. A connection has a number; whatever was sent on an older one is dropped on arrival, unless this
 * run has stragglers. */
#include "tests/sim/net.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include "tests/sim/world.h"
#include "raft/frames.h"
#include <stdlib.h>
#include <string.h>

#define NET_REDIAL_US 50000
/* Frames of a connection that may come a second time after it broke. Raft's only: TCP does not repeat, and that a batch
 * was refused is certain because of it. */
#define NET_LAST 4

struct link {
    bool up;      /* As its sender was told. */
    bool stalled; /* Something was swallowed: nothing passes until the next connection. */
    bool cut;
    uint64_t slow_us; /* So much longer everything takes. */
    uint64_t number;  /* Of the connection. */
    uint64_t free_us; /* When the last frame under way arrives. */
    struct frame {
        uint8_t kind;
        size_t len;
        uint8_t *bytes;
    } last[NET_LAST];
    size_t n_sent;
};
static struct link links[NODES_MAX][NODES_MAX];

static void forget_last(struct link *l)
{
    for (size_t i = 0; i < NET_LAST; i++)
        free(l->last[i].bytes);
    memset(l->last, 0, sizeof l->last);
    l->n_sent = 0;
}

void net_begin(void)
{
    memset(links, 0, sizeof links);
}

void net_end(void)
{
    for (int i = 0; i < NODES_MAX; i++)
        for (int k = 0; k < NODES_MAX; k++)
            forget_last(&links[i][k]);
}

/* ---- Frames ---- */

static void arrive(struct event *e)
{
    int from = (int)(e->a >> 8), to = e->node;
    struct link *l = &links[from][to];
    if (l->cut) {
        l->stalled = true;
        return;
    }
    if (l->number != e->b && !profile.stragglers)
        return;
    replica_receive(nodes[to].cluster.replica, (uint64_t)from + 1, (uint8_t)e->a, e->bytes, e->len);
    node_wants_turn(to);
}

static void deliver(int from, int to, uint64_t in_us, uint64_t number, uint8_t kind, uint8_t *bytes, size_t len)
{
    struct event *e = world_in(in_us, to, arrive);
    e->a = (uint64_t)from << 8 | kind;
    e->b = number;
    e->bytes = bytes;
    e->len = len;
}

static uint8_t *copy_of(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = must(malloc(len + 1));
    memcpy(copy, bytes, len);
    return copy;
}

static void remember(struct link *l, uint8_t kind, const uint8_t *bytes, size_t len)
{
    struct frame *f = &l->last[l->n_sent++ % NET_LAST];
    free(f->bytes);
    *f = (struct frame){kind, len, copy_of(bytes, len)};
}

static uint64_t travel_us(void)
{
    uint64_t us = profile.delay_us + below(CHANCE_NET, profile.jitter_us);
    return us + (percent(CHANCE_NET, profile.late_percent) ? below(CHANCE_NET, profile.late_us) : 0);
}

void net_send(int from, uint64_t peer, uint8_t kind, const void *head, size_t head_len, const struct io_slice *slices,
              size_t n)
{
    int to = (int)peer - 1;
    struct link *l = &links[from][to];
    l->stalled = l->stalled || l->cut;
    if (!l->up || l->stalled)
        return;
    size_t len = head_len, put = head_len;
    for (size_t k = 0; k < n; k++)
        len += slices[k].len;
    uint8_t *bytes = must(malloc(len + 1));
    if (head_len > 0)
        memcpy(bytes, head, head_len);
    for (size_t k = 0; k < n; put += slices[k++].len)
        memcpy(bytes + put, slices[k].blob->bytes + slices[k].offset, slices[k].len);
    uint64_t when = world.now_us + travel_us() + l->slow_us;
    if (when < l->free_us)
        when = l->free_us;
    l->free_us = when;
    if (profile.stragglers && kind < FRAME_OWNER)
        remember(l, kind, bytes, len);
    deliver(from, to, when - world.now_us, l->number, kind, bytes, len);
}

/* ---- Connections ---- */

/* What a broken connection may still bring. */
static void send_again(int i, int k)
{
    struct link *l = &links[i][k];
    for (size_t f = 0; f < NET_LAST && nodes[k].up; f++)
        if (l->last[f].bytes != NULL && percent(CHANCE_NET, 50))
            deliver(i, k, below(CHANCE_NET, 100000), l->number, l->last[f].kind,
                    copy_of(l->last[f].bytes, l->last[f].len), l->last[f].len);
    forget_last(l);
}

static void go_down(int i, int k)
{
    struct link *l = &links[i][k];
    if (!l->up)
        return;
    l->up = false;
    replica_link(nodes[i].cluster.replica, (uint64_t)k + 1, false);
}

static void dial(struct event *e)
{
    int i = e->node, k = (int)e->a;
    struct link *l = &links[i][k];
    if (!nodes[k].up)
        return; /* Its start makes the links. */
    if (l->cut || links[k][i].cut) {
        world_in(NET_REDIAL_US, i, dial)->a = (uint64_t)k;
        return;
    }
    go_down(i, k);
    send_again(i, k);
    say("n%d links to n%d", i + 1, k + 1);
    l->number++;
    l->free_us = world.now_us;
    l->stalled = false;
    l->up = true;
    replica_link(nodes[i].cluster.replica, (uint64_t)k + 1, true);
    node_wants_turn(i);
}

static void dial_in(int i, int k, uint64_t in_us)
{
    world_in(in_us, i, dial)->a = (uint64_t)k;
}

void net_reset(int i, int k, uint64_t in_us)
{
    if (nodes[i].up)
        dial_in(i, k, in_us);
    if (nodes[k].up)
        dial_in(k, i, in_us);
}

void net_node_started(int i)
{
    for (int k = 0; k < n_nodes; k++)
        if (k != i && nodes[k].up)
            net_reset(i, k, 1000 + below(CHANCE_NET, 5000));
}

static void ended(struct event *e)
{
    int i = e->node, k = (int)e->a;
    go_down(i, k);
    replica_lost(nodes[i].cluster.replica, (uint64_t)k + 1);
    dial_in(i, k, 1000 + below(CHANCE_NET, 50000));
    node_wants_turn(i);
}

void net_node_ended(int i)
{
    for (int k = 0; k < n_nodes; k++) {
        struct link *l = &links[i][k];
        l->up = false;
        if (k == i || !nodes[k].up)
            continue;
        uint64_t last = l->free_us > world.now_us ? l->free_us - world.now_us : 0;
        world_in(last + 100 + below(CHANCE_NET, 1000), k, ended)->a = (uint64_t)i;
    }
}

/* ---- Cuts ---- */

/* A sender that hears nothing for long gives the connection up. */
static void give_up(struct event *e)
{
    int i = e->node, k = (int)e->a;
    struct link *l = &links[i][k];
    if (!l->up || !l->stalled || !l->cut || l->number != e->b)
        return;
    say("n%d gives up its link to n%d", i + 1, k + 1);
    go_down(i, k);
    dial_in(i, k, NET_REDIAL_US);
    node_wants_turn(i);
}

void net_cut(int i, int k)
{
    struct link *l = &links[i][k];
    if (l->cut)
        return;
    l->cut = true;
    if (!nodes[i].up)
        return;
    struct event *e = world_in(1000000 + below(CHANCE_NET, 2000000), i, give_up);
    e->a = (uint64_t)k;
    e->b = l->number;
}

void net_slow(int i, int k, uint64_t us)
{
    links[i][k].slow_us = us;
}

bool net_is_cut(int i, int k)
{
    return links[i][k].cut;
}

void net_heal(void)
{
    for (int i = 0; i < n_nodes; i++) {
        for (int k = 0; k < i; k++) {
            links[i][k].slow_us = links[k][i].slow_us = 0;
            bool was = links[i][k].cut || links[k][i].cut;
            links[i][k].cut = links[k][i].cut = false;
            if (was)
                net_reset(i, k, 1000 + below(CHANCE_NET, 20000));
        }
    }
}
