/* nodes.c - see nodes.h */
#include "tests/sim/nodes.h"
#include "tests/sim/clients.h"
#include "tests/sim/disks.h"
#include "tests/sim/net.h"
#include "tests/sim/profile.h"
#include "tests/sim/world.h"
#include "node/scripts.h"
#include "raft/frames.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_CLOCK_RATE 100  /* In thousandths. */
#define NODE_RETRY_US 500000 /* Between starts, while the disk does not let it start. */

struct sim_node nodes[NODES_MAX];
int n_nodes;
static const uint8_t cluster_id[16] = "sim";

static struct sim_node *node_of_io(struct io *io)
{
    for (int i = 0; i < n_nodes; i++)
        if (fakedisk_io(nodes[i].disk) == io)
            return &nodes[i];
    abort();
}

bool node_counts(const struct sim_node *n)
{
    return n->up && !n->dying && !n->stopping && fakedisk_powered(n->disk);
}

/* ---- Clocks and turns ---- */

uint64_t node_now_us(const struct sim_node *n)
{
    return n->clock_us + (world.now_us - n->clock_since_us) * n->clock_rate / 1000;
}

static void turn(struct event *e)
{
    struct sim_node *n = &nodes[e->node];
    n->turn_due = false;
    cluster_flush(&n->cluster);
}

void node_wants_turn(int i)
{
    if (nodes[i].turn_due || !nodes[i].up)
        return;
    nodes[i].turn_due = true;
    world_in(0, i, turn);
}

/* ---- struct io: the disk's, with time, chance and links put in ---- */

static uint64_t io_now_ms(struct io *io)
{
    return node_now_us(node_of_io(io)) / 1000;
}

static uint64_t io_now_us(struct io *io)
{
    return node_now_us(node_of_io(io));
}

static uint64_t io_random(struct io *io)
{
    (void)io;
    return chance(CHANCE_NODES);
}

static void timer_rings(struct event *e)
{
    struct sim_node *n = &nodes[e->node];
    if (n->timer_ms != e->a)
        return; /* It was set anew. */
    n->timer_ms = 0;
    replica_timer(n->cluster.replica);
    node_wants_turn(e->node);
}

static void io_timer(struct io *io, uint64_t at_ms)
{
    struct sim_node *n = node_of_io(io);
    uint64_t now = node_now_us(n), left = at_ms * 1000 > now ? at_ms * 1000 - now : 0;
    n->timer_ms = at_ms;
    world_in((left * 1000 + n->clock_rate - 1) / n->clock_rate, n->index, timer_rings)->a = at_ms;
}

static void disk_works(struct event *e)
{
    fakedisk_run_one(nodes[e->node].disk, (enum io_lane)e->a);
    node_wants_turn(e->node);
}

static void io_submit(struct io *io, enum io_lane lane, struct io_job *job)
{
    struct sim_node *n = node_of_io(io);
    n->disk_ops->submit(io, lane, job);
    uint64_t us = 50 + below(CHANCE_DISKS, profile.disk_us);
    if (percent(CHANCE_DISKS, profile.disk_slow_percent))
        us += below(CHANCE_DISKS, 60000);
    if (n->slow_until_us > world.now_us)
        us += below(CHANCE_DISKS, 400000);
    if (!n->stopping)
        world_in(us, n->index, disk_works)->a = (uint64_t)lane;
}

/* Just voted, and back before the election is over. */
static void lose_power(struct event *e)
{
    node_stop(e->node, NODE_LOST_POWER, 1000 + below(CHANCE_NODES, 5000));
}

static void io_send(struct io *io, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                    const struct io_slice *slices, size_t n)
{
    struct sim_node *from = node_of_io(io);
    if (!node_counts(from))
        return;
    net_send(from->index, peer, kind, head, head_len, slices, n);
    if (kind == FRAME_VOTE_RESULT && from->vote_kills_until_us > world.now_us)
        world_in(below(CHANCE_NODES, 2000), from->index, lose_power);
}

static void io_peer(struct io *io, uint64_t peer, const char *address)
{
    (void)io, (void)peer, (void)address;
}

static size_t io_backlog(struct io *io, uint64_t peer)
{
    (void)io, (void)peer;
    return 0;
}

static void take_disk(struct sim_node *n, struct fakedisk *disk)
{
    struct io *io = fakedisk_io(disk);
    n->disk = disk;
    n->disk_ops = io->ops;
    n->ops = *io->ops;
    n->ops.now_ms = io_now_ms;
    n->ops.now_us = io_now_us;
    n->ops.random = io_random;
    n->ops.timer = io_timer;
    n->ops.submit = io_submit;
    n->ops.send = io_send;
    n->ops.peer = io_peer;
    n->ops.backlog = io_backlog;
    io->ops = &n->ops;
    disks_mount(n->index + 1, disk);
}

/* ---- What the cluster asks of its owner ---- */

static uint64_t owner_now(void *ctx)
{
    return node_now_us(ctx) / 1000;
}

static void owner_log(void *ctx, int level, const char *text)
{
    static const char *const levels[] = {"error: ", "warning: ", "", ""};
    say("n%d %s%s", ((struct sim_node *)ctx)->index + 1, levels[level & 3], text);
}

static void owner_die(void *ctx, enum node_exit status, const char *why)
{
    struct sim_node *n = ctx;
    if (n->dying || n->stopping || !fakedisk_powered(n->disk))
        return;
    say("n%d stops with status %d: %s", n->index + 1, (int)status, why);
    if (status != NODE_EXIT_DISK || !n->wounded)
        fail("n%d stops with status %d: %s", n->index + 1, (int)status, why);
    n->dying = true;
}

static void snapshot_made(struct event *e)
{
    struct sim_node *n = &nodes[e->node];
    char path[64], error[256] = "";
    struct snapshot_info info;
    snprintf(path, sizeof path, "%s/%s", n->dir, REPLICA_SNAPSHOT_FILE);
    int rc = snapshot_make(n->dir, path, error, &info);
    if (rc != 0 && !n->wounded && fakedisk_powered(n->disk))
        fail("n%d cannot make a snapshot: %s", n->index + 1, error);
    cluster_snapshot_made(&n->cluster, rc == 0, &info);
    node_wants_turn(e->node);
}

static int owner_make(void *ctx)
{
    world_in(1000 + below(CHANCE_DISKS, 100000), ((struct sim_node *)ctx)->index, snapshot_made);
    return 0;
}

static void snapshot_checked(struct event *e)
{
    struct sim_node *n = &nodes[e->node];
    char path[64], error[256] = "";
    struct snapshot_info info;
    snprintf(path, sizeof path, "%s/%s", n->dir, STORE_INCOMING);
    int rc = snapshot_check(path, cluster_id, error, &info);
    if (rc != 0 && !n->wounded && fakedisk_powered(n->disk))
        fail("a snapshot came to n%d damaged: %s", n->index + 1, error);
    cluster_snapshot_checked(&n->cluster, rc == 0);
    node_wants_turn(e->node);
}

static int owner_check(void *ctx)
{
    world_in(1000 + below(CHANCE_DISKS, 50000), ((struct sim_node *)ctx)->index, snapshot_checked);
    return 0;
}

/* ---- Housekeeping, as node.c's timers do ---- */

static void expire_keys(struct event *e)
{
    struct cluster *c = &nodes[e->node].cluster;
    cluster_expire(c);
    node_wants_turn(e->node);
}

static void keep_house(struct event *e)
{
    struct sim_node *n = &nodes[e->node];
    struct cluster *c = &n->cluster;
    clients_check_deadlines(e->node);
    requests_expire(&c->requests, node_now_us(n) / 1000);
    if (percent(CHANCE_DISKS, profile.flush_percent))
        store_checkpoint_soon(c->store);
    cluster_housekeep(c);
    uint64_t due_ms = cluster_next_expiry_in_ms(c);
    if (due_ms <= 20)
        world_in(due_ms * 1000, e->node, expire_keys);
    world_in(10000 + below(CHANCE_NODES, 10000), e->node, keep_house);
    node_wants_turn(e->node);
}

/* ---- Starting ---- */

static void fill_members(struct replica_member members[NODES_MAX])
{
    for (int k = 0; k < n_nodes; k++) {
        members[k].id = (uint64_t)k + 1;
        members[k].voter = true;
        snprintf(members[k].address, sizeof members[k].address, "n%d", k + 1);
    }
}

static int open_cluster(struct sim_node *n, char error[256])
{
    static struct replica_member members[NODES_MAX];
    fill_members(members);
    struct cluster_options o = {
        .io = fakedisk_io(n->disk),
        .store = {.dir = n->dir,
                  .cluster_id = cluster_id,
                  .cache_bytes = profile.cache_bytes,
                  .flush_rows = 1000,
                  .checkpoint_bytes = profile.checkpoint_bytes,
                  .script_host = &scripts_host},
        .replica = {.id = (uint64_t)n->index + 1,
                    .members = members,
                    .n_members = (size_t)n_nodes,
                    .election_timeout_ms = 300,
                    .heartbeat_ms = 30,
                    .segment_bytes = profile.segment_bytes,
                    .log_memory_bytes = profile.log_memory_bytes,
                    .keep_entries = profile.keep_entries,
                    .keep_bytes = profile.keep_bytes},
        .value_bytes_max = 1 << 20,
        .queue_bytes_max = 1 << 20,
        .dirty_bytes_max = 1 << 24,
        .owner = {n, owner_now, owner_log, owner_die, owner_make, owner_check},
    };
    memcpy(o.replica.cluster_id, cluster_id, sizeof cluster_id);
    return cluster_open(&n->cluster, &o, error);
}

static void new_clock(struct sim_node *n)
{
    n->clock_us = below(CHANCE_NODES, 1000000000); /* A monotonic clock begins anywhere. */
    n->clock_since_us = world.now_us;
    n->clock_rate = between(CHANCE_NODES, profile.clock_slowest, profile.clock_fastest);
}

/* The process that could not start ends. */
static void give_back(struct sim_node *n)
{
    n->stopping = true;
    fakedisk_power_off(n->disk);
    cluster_close(&n->cluster);
    fakedisk_kill(n->disk);
    n->stopping = false;
}

static void start_again(struct event *e)
{
    if (!nodes[e->a].up && !nodes[e->a].stays_down)
        node_start((int)e->a);
}

void node_start(int i)
{
    struct sim_node *n = &nodes[i];
    char error[256] = "";
    n->life++;
    n->dying = n->turn_due = false;
    n->timer_ms = 0;
    n->paused_until_us = 0;
    n->wounded = n->full || n->failing;
    new_clock(n);
    int rc = open_cluster(n, error);
    if (rc != 0 || n->dying || !fakedisk_powered(n->disk)) {
        if (!n->wounded && fakedisk_powered(n->disk))
            fail("n%d does not start: %s", i + 1, error);
        say("n%d does not start: %s", i + 1, error);
        give_back(n);
        n->failing = false; /* It has had its error. */
        world_in(NODE_RETRY_US, -1, start_again)->a = (uint64_t)i;
        return;
    }
    n->up = true;
    say("n%d starts: applied %llu", i + 1, (unsigned long long)store_applied(n->cluster.store));
    world_in(1000, i, keep_house);
    net_node_started(i);
}

/* ---- Ending ---- */

/* The power may go in the middle of a write. */
static void cut_power(struct sim_node *n)
{
    if (percent(CHANCE_DISKS, 60)) {
        fakedisk_fail_at(n->disk, fakedisk_calls(n->disk) + below(CHANCE_DISKS, 4), FAKEDISK_POWER);
        fakedisk_work_one(n->disk, percent(CHANCE_DISKS, 80) ? IO_LANE_LOG : IO_LANE_SPARE);
    }
    fakedisk_power_off(n->disk);
}

static void tear_down(struct sim_node *n)
{
    replica_stop(n->cluster.replica);
    while (replica_busy(n->cluster.replica) && fakedisk_run_one(n->disk, IO_LANE_SPARE))
        continue;
    requests_release(&n->cluster.requests);
    replica_close(n->cluster.replica);
    store_abandon(n->cluster.store);
    outcome_buf_release(&n->cluster.outcomes);
    free(n->cluster.events);
    memset(&n->cluster, 0, sizeof n->cluster);
}

void node_stop(int i, enum node_end how, uint64_t restart_us)
{
    static const char *const words[] = {"is killed", "loses power", "has stopped"};
    struct sim_node *n = &nodes[i];
    if (!n->up)
        return;
    say("n%d %s", i + 1, words[how]);
    clients_node_ended(i);
    n->stopping = true;
    if (how == NODE_LOST_POWER)
        cut_power(n);
    fakedisk_power_off(n->disk); /* A process that is dead writes nothing more. */
    tear_down(n);
    if (how == NODE_LOST_POWER)
        fakedisk_crash(n->disk);
    else
        fakedisk_kill(n->disk);
    n->up = n->dying = n->stopping = n->failing = false;
    n->life++;
    net_node_ended(i);
    world_in(restart_us, -1, start_again)->a = (uint64_t)i;
}

void node_lose_disk(int i)
{
    struct sim_node *n = &nodes[i];
    node_stop(i, NODE_LOST_POWER, 10000 + below(CHANCE_NODES, 2000000));
    say("n%d loses its disk", i + 1);
    fakedisk_free(n->disk);
    take_disk(n, fakedisk_new(chance(CHANCE_DISKS)));
    n->full = n->failing = false;
}

void node_pause(int i, uint64_t us)
{
    if (!nodes[i].up)
        return;
    if (nodes[i].paused_until_us < world.now_us + us)
        nodes[i].paused_until_us = world.now_us + us;
    say("n%d pauses for %llu ms", i + 1, (unsigned long long)us / 1000);
}

static void set_rate(struct sim_node *n, uint64_t rate)
{
    n->clock_us = node_now_us(n);
    n->clock_since_us = world.now_us;
    n->clock_rate = rate;
}

static void clock_recovers(struct event *e)
{
    set_rate(&nodes[e->node], e->a);
}

void node_slow_clock(int i, uint64_t us)
{
    struct sim_node *n = &nodes[i];
    if (n->clock_rate < profile.clock_slowest)
        return; /* It is slow already. */
    world_in(us, i, clock_recovers)->a = n->clock_rate;
    set_rate(n, SLOW_CLOCK_RATE);
}

/* ---- Around each event ---- */

enum gate nodes_gate(const struct event *e, uint64_t *ret_until)
{
    if (e->node < 0)
        return GATE_RUN;
    const struct sim_node *n = &nodes[e->node];
    if (!n->up || n->life != e->life)
        return GATE_VOID;
    if (n->paused_until_us <= world.now_us)
        return GATE_RUN;
    *ret_until = n->paused_until_us;
    /* A process that wakes up in poll() meets what has come in before it looks at the time. */
    if (e->run == timer_rings || e->run == keep_house)
        *ret_until += below(CHANCE_NODES, 3000);
    return GATE_LATER;
}

void nodes_after(const struct event *e)
{
    (void)e;
    for (int i = 0; i < n_nodes; i++) {
        if (!nodes[i].up)
            continue;
        if (!fakedisk_powered(nodes[i].disk))
            node_stop(i, NODE_LOST_POWER, 10000 + below(CHANCE_NODES, 2000000));
        else if (nodes[i].dying)
            node_stop(i, NODE_DIED, 10000 + below(CHANCE_NODES, 500000));
    }
}

int nodes_leader(void)
{
    int leader = -1;
    for (int i = 0; i < n_nodes; i++)
        if (nodes[i].up && replica_ready(nodes[i].cluster.replica) &&
            (leader < 0 || replica_term(nodes[i].cluster.replica) > replica_term(nodes[leader].cluster.replica)))
            leader = i;
    return leader;
}

/* ---- A run ---- */

void nodes_begin(void)
{
    memset(nodes, 0, sizeof nodes);
    n_nodes = profile.n_nodes;
    for (int i = 0; i < n_nodes; i++) {
        struct sim_node *n = &nodes[i];
        n->index = i;
        snprintf(n->dir, sizeof n->dir, DISKS_PREFIX "%d", i + 1);
        take_disk(n, fakedisk_new(chance(CHANCE_DISKS)));
    }
    for (int i = 0; i < n_nodes; i++)
        node_start(i);
}

void nodes_end(void)
{
    for (int i = 0; i < n_nodes; i++) {
        node_stop(i, NODE_KILLED, 0);
        fakedisk_free(nodes[i].disk);
        disks_mount(i + 1, NULL);
    }
}
