/* faults.c - a run draws from some of the kinds only, at a rate of its own: a cluster that is killed twice a second and
 * nothing else shows other things than one that meets everything now and then. */
#include "tests/sim/faults.h"
#include "tests/sim/net.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include "tests/sim/world.h"
#include <stdio.h>
#include <string.h>

#define OLD_NEWS_US 400000   /* Or twice, or three times so much later. */
#define FULL_ROOM_BYTES 3000 /* What a full disk still has. */

enum fault_kind {
    FAULT_KILL,
    FAULT_POWER,
    FAULT_POWER_SOON, /* In the middle of one of the next calls to the disk. */
    FAULT_POWER_ALL,
    FAULT_POWER_AT_VOTES,
    FAULT_SPLIT,
    FAULT_SPLIT_ONE_WAY,
    FAULT_ISOLATE,
    FAULT_STALE_LEADER, /* Cut off, and so slow that it goes on believing in itself. */
    FAULT_OLD_NEWS,     /* Likewise slow, while what it hears and says is late, or nothing. */
    FAULT_COMPANION,    /* Likewise, but cut off together with one other. */
    FAULT_BRIDGE,       /* Two halves that only one node connects. */
    FAULT_RESET,
    FAULT_FLAP,
    FAULT_PAUSE,
    FAULT_TRANSFER,
    FAULT_SLOW_DISK,
    FAULT_FULL_DISK,
    FAULT_DISK_ERROR,
    FAULT_LOSE_DISK, /* Last: only when asked for. */
    FAULT_KINDS
};

/* Some runs have leaders that do not know that they are none any more, and nothing else. */
#define OUSTED_PERCENT 12
#define OUSTED_KINDS (1ull << FAULT_STALE_LEADER | 1ull << FAULT_OLD_NEWS | 1ull << FAULT_COMPANION)

struct fault {
    uint64_t at_us, for_us;
    enum fault_kind kind;
    uint64_t whom; /* Resolved when it happens: often the leader. */
    uint64_t what;
};
static struct fault schedule[FAULTS_MAX];
static size_t n_faults;
static uint64_t began_us;
static bool ceased;

static const struct {
    const char *words;
    unsigned weight;
    uint64_t for_ms; /* At most. */
} kinds[FAULT_KINDS] = {
    [FAULT_KILL] = {"kill", 15, 2000},
    [FAULT_POWER] = {"power failure", 12, 2000},
    [FAULT_POWER_SOON] = {"power failure in a write", 12, 2000},
    [FAULT_POWER_ALL] = {"power failure of all", 8, 1000},
    [FAULT_POWER_AT_VOTES] = {"power failures after votes", 6, 3000},
    [FAULT_SPLIT] = {"partition", 15, 3000},
    [FAULT_SPLIT_ONE_WAY] = {"one-way partition", 10, 3000},
    [FAULT_ISOLATE] = {"isolation", 12, 3000},
    [FAULT_STALE_LEADER] = {"isolation of a slowed leader", 8, 2500},
    [FAULT_OLD_NEWS] = {"old news for a slowed leader", 8, 2500},
    [FAULT_COMPANION] = {"isolation of a slowed leader and one other", 6, 2500},
    [FAULT_BRIDGE] = {"partition but for a bridge", 6, 3000},
    [FAULT_RESET] = {"reset", 8, 0},
    [FAULT_FLAP] = {"flapping link", 5, 1500},
    [FAULT_PAUSE] = {"pause", 15, 2000},
    [FAULT_TRANSFER] = {"transfer of leadership", 8, 0},
    [FAULT_SLOW_DISK] = {"slow disk", 8, 2000},
    [FAULT_FULL_DISK] = {"full disk", 6, 2000},
    [FAULT_DISK_ERROR] = {"disk error", 8, 0},
    [FAULT_LOSE_DISK] = {"lost disk", 6, 0},
};

/* ---- What each does ---- */

static int whom(const struct fault *f)
{
    int leader = nodes_leader();
    bool slowed = f->kind == FAULT_STALE_LEADER || f->kind == FAULT_OLD_NEWS || f->kind == FAULT_COMPANION;
    bool rather = f->whom % 100 < 45 || slowed;
    return leader >= 0 && rather ? leader : (int)(f->whom / 100 % (uint64_t)n_nodes);
}

static void heal(struct event *e)
{
    (void)e;
    net_heal();
}

static void split(const struct fault *f, bool one_way)
{
    uint64_t side = f->what;
    for (int i = 0; i < n_nodes; i++)
        for (int k = 0; k < n_nodes; k++)
            if ((side >> i & 1) != (side >> k & 1) && (!one_way || (side >> i & 1) != 0))
                net_cut(i, k);
    world_in(f->for_us, -1, heal);
}

static void isolate(const struct fault *f, int node)
{
    for (int k = 0; k < n_nodes; k++) {
        if (k == node)
            continue;
        if (f->what % 3 != 0)
            net_cut(node, k);
        if (f->what % 3 != 1)
            net_cut(k, node);
    }
    world_in(f->for_us, -1, heal);
}

/* Each link to and from it is cut or slow, as the bits of `what` have it. */
static void old_news(const struct fault *f, int node)
{
    uint64_t bits = f->what;
    for (int k = 0; k < n_nodes; k++, bits >>= 8) {
        if (k == node)
            continue;
        if ((bits & 3) == 0)
            net_cut(node, k);
        if ((bits >> 2 & 3) == 0)
            net_cut(k, node);
        net_slow(node, k, (bits >> 4 & 3) * OLD_NEWS_US);
        net_slow(k, node, (bits >> 6 & 3) * OLD_NEWS_US);
    }
    world_in(f->for_us, -1, heal);
}

static void split_with_companion(const struct fault *f, int node)
{
    int companion = (node + 1 + (int)(f->what % (uint64_t)(n_nodes - 1))) % n_nodes;
    for (int k = 0; k < n_nodes; k++) {
        if (k == node || k == companion)
            continue;
        net_cut(node, k);
        net_cut(k, node);
        net_cut(companion, k);
        net_cut(k, companion);
    }
    world_in(f->for_us, -1, heal);
}

static void bridge(const struct fault *f, int node)
{
    for (int i = 0; i < n_nodes; i++)
        for (int k = 0; k < n_nodes; k++)
            if (i != node && k != node && i != k && (f->what >> i & 1) != (f->what >> k & 1))
                net_cut(i, k);
    world_in(f->for_us, -1, heal);
}

static void flap(const struct fault *f, int node)
{
    for (uint64_t at = 0; at < f->for_us; at += 40000)
        net_reset(node, (int)((uint64_t)node + 1 + f->what % (uint64_t)(n_nodes - 1)) % n_nodes, at);
}

static void find_room(struct event *e)
{
    struct sim_node *n = &nodes[e->a];
    n->full = false;
    fakedisk_room(n->disk, UINT64_MAX);
    say("n%d has room on its disk again", n->index + 1);
}

static void fill_disk(const struct fault *f, struct sim_node *n)
{
    n->full = n->wounded = true;
    fakedisk_room(n->disk, fakedisk_used(n->disk) + f->what % FULL_ROOM_BYTES);
    world_in(f->for_us, -1, find_room)->a = (uint64_t)n->index;
}

static void break_disk(const struct fault *f, struct sim_node *n, enum fakedisk_fault how)
{
    n->failing = how == FAKEDISK_ERROR;
    n->wounded = n->wounded || n->failing;
    fakedisk_fail_at(n->disk, fakedisk_calls(n->disk) + f->what % 30, how);
}

/* The leader goes, and whoever votes for the next one loses power. */
static void kill_voters(const struct fault *f, int node)
{
    for (int i = 0; i < n_nodes; i++)
        nodes[i].vote_kills_until_us = world.now_us + f->for_us;
    node_stop(node, NODE_KILLED, 20000);
}

static void happen_to(const struct fault *f, struct sim_node *n)
{
    switch (f->kind) {
    case FAULT_KILL:
        node_stop(n->index, NODE_KILLED, f->for_us);
        break;
    case FAULT_POWER:
        node_stop(n->index, NODE_LOST_POWER, f->for_us);
        break;
    case FAULT_POWER_SOON:
        break_disk(f, n, FAKEDISK_POWER);
        break;
    case FAULT_POWER_AT_VOTES:
        kill_voters(f, n->index);
        break;
    case FAULT_ISOLATE:
        isolate(f, n->index);
        break;
    case FAULT_STALE_LEADER:
        node_slow_clock(n->index, f->for_us);
        isolate(f, n->index);
        break;
    case FAULT_OLD_NEWS:
        node_slow_clock(n->index, f->for_us);
        old_news(f, n->index);
        break;
    case FAULT_COMPANION:
        node_slow_clock(n->index, f->for_us);
        split_with_companion(f, n->index);
        break;
    case FAULT_BRIDGE:
        bridge(f, n->index);
        break;
    case FAULT_RESET:
        net_reset(n->index, (n->index + 1) % n_nodes, 0);
        break;
    case FAULT_FLAP:
        flap(f, n->index);
        break;
    case FAULT_PAUSE:
        node_pause(n->index, f->for_us);
        break;
    case FAULT_TRANSFER:
        replica_transfer(n->cluster.replica, 0);
        break;
    case FAULT_SLOW_DISK:
        n->slow_until_us = world.now_us + f->for_us;
        break;
    case FAULT_FULL_DISK:
        fill_disk(f, n);
        break;
    case FAULT_DISK_ERROR:
        break_disk(f, n, FAKEDISK_ERROR);
        break;
    default:
        node_lose_disk(n->index);
    }
}

static void happen(struct event *e)
{
    const struct fault *f = &schedule[e->a];
    if (ceased)
        return;
    if (f->kind == FAULT_POWER_ALL) {
        say("fault %llu: %s", (unsigned long long)e->a, kinds[f->kind].words);
        for (int i = 0; i < n_nodes; i++)
            node_stop(i, NODE_LOST_POWER, f->for_us + 1000 * (uint64_t)i);
        return;
    }
    if (f->kind == FAULT_SPLIT || f->kind == FAULT_SPLIT_ONE_WAY) {
        say("fault %llu: %s, side %llx", (unsigned long long)e->a, kinds[f->kind].words,
            (unsigned long long)f->what & ((1u << n_nodes) - 1));
        split(f, f->kind == FAULT_SPLIT_ONE_WAY);
        return;
    }
    int node = whom(f);
    if (!nodes[node].up)
        return;
    say("fault %llu: %s, n%d", (unsigned long long)e->a, kinds[f->kind].words, node + 1);
    happen_to(f, &nodes[node]);
}

/* ---- The schedule ---- */

/* Which kinds this run has: bits. */
static uint64_t draw_kinds(const struct fault_options *o)
{
    uint64_t some = 0;
    if (!o->lose_disks && percent(CHANCE_FAULTS, OUSTED_PERCENT))
        return OUSTED_KINDS;
    bool everything = percent(CHANCE_FAULTS, 30);
    for (int k = 0; k < FAULT_LOSE_DISK; k++)
        if (everything || percent(CHANCE_FAULTS, 35))
            some |= 1u << k;
    if (o->lose_disks)
        some |= 1u << FAULT_LOSE_DISK;
    return some;
}

static enum fault_kind draw_kind(uint64_t some)
{
    unsigned total = 0;
    int k = 0;
    for (k = 0; k < FAULT_KINDS; k++)
        total += (some >> k & 1) != 0 ? kinds[k].weight : 0;
    uint64_t at = below(CHANCE_FAULTS, total);
    for (k = 0; (some >> k & 1) == 0 || at >= kinds[k].weight; k++)
        at -= (some >> k & 1) != 0 ? kinds[k].weight : 0;
    return (enum fault_kind)k;
}

static void draw_up(const struct fault_options *o, uint64_t some)
{
    uint64_t gap_us = between(CHANCE_FAULTS, 100000, 2000000), at = 500000;
    if (some == OUSTED_KINDS)
        gap_us = 4000000; /* Each has its time: what comes next heals it. */
    for (n_faults = 0; n_faults < FAULTS_MAX && at < o->until_us; n_faults++) {
        struct fault *f = &schedule[n_faults];
        f->at_us = at;
        f->kind = draw_kind(some);
        f->for_us = 20000 + below(CHANCE_FAULTS, kinds[f->kind].for_ms * 1000 + 1);
        f->whom = chance(CHANCE_FAULTS) >> 16;
        f->what = chance(CHANCE_FAULTS) >> 16;
        at += 20000 + below(CHANCE_FAULTS, gap_us);
    }
}

void faults_begin(const struct fault_options *o)
{
    uint64_t some = draw_kinds(o);
    began_us = world.now_us;
    ceased = false;
    n_faults = 0;
    if (some != 0)
        draw_up(o, some);
    for (size_t i = 0; i < n_faults; i++)
        if (o->skip == NULL || !o->skip[i])
            world_in(schedule[i].at_us, -1, happen)->a = i;
}

size_t faults_n(void)
{
    return n_faults;
}

void faults_print(const bool *skip)
{
    for (size_t i = 0; i < n_faults; i++)
        if (skip == NULL || !skip[i])
            printf("  fault %zu: %s at %.0f ms, for %.0f ms\n", i, kinds[schedule[i].kind].words,
                   (double)(began_us + schedule[i].at_us) / 1e3, (double)schedule[i].for_us / 1e3);
}

void faults_cease(void)
{
    ceased = true;
    profile.late_percent = profile.disk_slow_percent = 0; /* So that nobody loses his office without a cause. */
    net_heal();
    for (int i = 0; i < n_nodes; i++) {
        struct sim_node *n = &nodes[i];
        n->full = n->failing = false;
        n->slow_until_us = n->vote_kills_until_us = 0;
        fakedisk_room(n->disk, UINT64_MAX);
        fakedisk_fail_at(n->disk, UINT64_MAX, FAKEDISK_ERROR);
        n->stays_down = profile.minority_stays_down && i < (n_nodes - 1) / 2;
        if (n->stays_down)
            node_stop(i, NODE_KILLED, 0);
        else if (!n->up)
            node_start(i);
    }
}

void faults_start_rest(void)
{
    for (int i = 0; i < n_nodes; i++) {
        nodes[i].stays_down = false;
        if (!nodes[i].up)
            node_start(i);
    }
}
