/* sim.c - a whole cluster in one process, on virtual time, from one seed.
 *
 * Each node is node/cluster.c as the daemon runs it: replica, log, state and requests, on a disk in memory that loses what was
 * not synced (tests/support/fakedisk), with a network that delays, cuts and resets, and processes that die, lose power and
 * pause. Clients increment and read counters through every node. Checked:
 *   - every increment that was answered got a number of its own, and one greater than all that were answered before it began;
 *   - a read is never older than what was answered before it began, nor newer than what was begun before it ended;
 *   - in the end each counter is at least what was acknowledged and at most that plus the unknown ones;
 *   - equal applied index, equal state hash, on all nodes at all times; one leader a term;
 *   - keys never expire early;
 *   - once faults stop, the cluster goes on.
 *   - every request has an answer by its deadline or so;
 * usage: sim [SEED [COUNT]]; a failing seed replays exactly with `sim SEED 1 -v`. */
#include "node/cluster.h"
#include "tests/support/fakedisk.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODES_MAX 5
#define CLIENTS 8
#define KEYS 3
#define RUN_MS 20000
#define HEAL_MS 15000
#define TERMS_MAX 100000
#define HASHES 400000

enum event_kind { EV_FRAME, EV_DISK, EV_TIMER, EV_TURN, EV_HOUSEKEEP, EV_CLIENT, EV_LINK, EV_LOST, EV_RESTART, EV_FAULT, EV_HEAL, EV_SNAPSHOT_MADE, EV_SNAPSHOT_CHECK };

struct event {
    uint64_t at_us, order;
    enum event_kind kind;
    int node, peer;
    unsigned epoch;  /* Of the node: events of an earlier life are void. */
    uint64_t value;
    uint8_t frame_kind;
    size_t len;
    uint8_t *bytes;
};

struct conn { /* What node/ knows of a client: one request at a time. */
    unsigned refs;
    int client; /* -1: its client has given up. */
};

enum op { OP_CLIENT_INCR, OP_CLIENT_GET, OP_CLIENT_TTL_SET, OP_CLIENT_TTL_GET };

struct client {
    int node;
    enum op op;
    int key;
    bool busy;
    uint64_t floor;      /* Highest value answered for its key when it began. */
    uint64_t began_us;
    struct conn *conn;
    /* A key of its own with a time to live; another one whenever the outcome of setting it is unknown. */
    unsigned ttl_key;
    uint64_t ttl_ms, ttl_set_us; /* When the set that was answered last began; 0: none. */
};

struct sim_node {
    bool up;
    unsigned epoch;
    struct fakedisk *disk;
    struct io_ops ops;
    const struct io_ops *disk_ops;
    struct cluster cluster;
    char dir[128];
    uint64_t paused_until_us, timer_ms;
    bool linked[NODES_MAX];  /* As it was told: its sending link to each. */
    bool turn_due;
};

static struct sim_node nodes[NODES_MAX];
static int n_nodes;
static struct event **heap;
static size_t heap_n, heap_cap;
static uint64_t now_us, event_order, chance_state, seed;
static bool cut[NODES_MAX][NODES_MAX], verbose, ending, quiet;
static uint64_t link_free_us[NODES_MAX][NODES_MAX];
static struct client clients[CLIENTS];
static uint64_t acked_max[KEYS], begun[KEYS], acked[KEYS], unknown[KEYS], answered_ops;
static uint8_t *seen[KEYS];
static int leader_of_term[TERMS_MAX];
static uint64_t hash_at[HASHES];
static char base_dir[64];

/* ---- Chance, time, events ---- */

static uint64_t chance(void)
{
    chance_state ^= chance_state << 13;
    chance_state ^= chance_state >> 7;
    chance_state ^= chance_state << 17;
    return chance_state;
}

static uint64_t below(uint64_t n)
{
    return chance() % n;
}

static bool percent(unsigned p)
{
    return below(100) < p;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    if (!verbose)
        return;
    va_list args;
    va_start(args, format);
    printf("%10.3f  ", (double)now_us / 1e3);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

static void describe(void);
static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    describe();
    printf("FAILED at %.3f ms, seed %llu: ", (double)now_us / 1e3, (unsigned long long)seed);
    vprintf(format, args);
    printf("\nreplay: sim %llu 1 -v\n", (unsigned long long)seed);
    va_end(args);
    exit(1);
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

static void heap_push(struct event *e)
{
    if (heap_n == heap_cap) {
        heap_cap = heap_cap ? heap_cap * 2 : 1024;
        heap = realloc(heap, heap_cap * sizeof *heap);
    }
    size_t i = heap_n++;
    for (; i > 0 && before(e, heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = e;
}

static struct event *heap_pop(void)
{
    struct event *top = heap[0], *last = heap[--heap_n];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < heap_n; i = k) {
        if (k + 1 < heap_n && before(heap[k + 1], heap[k]))
            k++;
        if (!before(heap[k], last))
            break;
        heap[i] = heap[k];
    }
    if (heap_n > 0)
        heap[i] = last;
    return top;
}

static struct event *at(uint64_t when_us, enum event_kind kind, int node)
{
    struct event *e = calloc(1, sizeof *e);
    e->at_us = when_us;
    e->order = event_order++;
    e->kind = kind;
    e->node = node;
    e->epoch = node >= 0 ? nodes[node].epoch : 0;
    heap_push(e);
    return e;
}

static void want_turn(int i)
{
    if (nodes[i].turn_due)
        return;
    nodes[i].turn_due = true;
    at(now_us, EV_TURN, i);
}

/* ---- io of a node ---- */

static int node_of_io(struct io *io)
{
    for (int i = 0; i < n_nodes; i++)
        if (nodes[i].disk != NULL && fakedisk_io(nodes[i].disk) == io)
            return i;
    abort();
}

static uint64_t io_now(struct io *io)
{
    (void)io;
    return now_us / 1000;
}

static uint64_t io_random(struct io *io)
{
    (void)io;
    return chance();
}

static void io_timer(struct io *io, uint64_t at_ms)
{
    int i = node_of_io(io);
    uint64_t when = at_ms * 1000 > now_us ? at_ms * 1000 : now_us;
    nodes[i].timer_ms = at_ms;
    at(when, EV_TIMER, i)->value = at_ms;
}

static void io_submit(struct io *io, enum io_lane lane, struct io_job *job)
{
    int i = node_of_io(io);
    nodes[i].disk_ops->submit(io, lane, job);
    uint64_t slow = percent(2) ? below(60000) : 0;
    at(now_us + 50 + below(2000) + slow, EV_DISK, i)->value = (uint64_t)lane;
}

static void io_send(struct io *io, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                    const struct io_slice *slices, size_t n)
{
    int from = node_of_io(io), to = (int)peer - 1;
    if (!nodes[from].linked[to] || cut[from][to])
        return;
    size_t len = head_len, put = head_len;
    for (size_t k = 0; k < n; k++)
        len += slices[k].len;
    uint64_t when = now_us + 30 + below(400) + (percent(2) ? below(30000) : 0);
    if (when < link_free_us[from][to])
        when = link_free_us[from][to]; /* A connection keeps its order. */
    link_free_us[from][to] = when;
    struct event *e = at(when, EV_FRAME, to);
    e->peer = from;
    e->value = nodes[from].epoch;
    e->frame_kind = kind;
    e->len = len;
    e->bytes = malloc(len + 1);
    if (head_len > 0)
        memcpy(e->bytes, head, head_len);
    for (size_t k = 0; k < n; k++) {
        memcpy(e->bytes + put, slices[k].blob->bytes + slices[k].offset, slices[k].len);
        put += slices[k].len;
    }
}

static void io_peer(struct io *io, uint64_t peer, const char *address)
{
    (void)io;
    (void)peer;
    (void)address;
}

static size_t io_backlog(struct io *io, uint64_t peer)
{
    (void)io;
    (void)peer;
    return 0;
}

/* ---- Clients: the half of requests.h that conn.c provides ---- */

struct conn *conn_ref(struct conn *c)
{
    c->refs++;
    return c;
}

void conn_unref(struct conn *c)
{
    if (--c->refs == 0)
        free(c);
}

bool conn_waits(struct conn *c)
{
    return c->client >= 0;
}

struct requests *node_requests(const struct node *n)
{
    return &((struct sim_node *)(uintptr_t)n)->cluster.requests;
}

static void client_next(int k, uint64_t in_us)
{
    at(now_us + in_us, EV_CLIENT, -1)->value = (uint64_t)k;
}

static void client_done(struct client *c, int k)
{
    c->busy = false;
    c->conn->client = -1;
    conn_unref(c->conn);
    c->conn = NULL;
    client_next(k, 100 + below(20000));
}

static void check_incr(struct client *c, const struct outcome *o)
{
    if (o->tag != OUTCOME_INT)
        fail("an increment was answered with '%c'", o->tag);
    uint64_t v = (uint64_t)o->n;
    if (v <= c->floor)
        fail("counter %d: an increment got %llu, but %llu had been answered before it began", c->key, (unsigned long long)v,
             (unsigned long long)c->floor);
    if (v > begun[c->key])
        fail("counter %d: %llu after only %llu increments were begun", c->key, (unsigned long long)v,
             (unsigned long long)begun[c->key]);
    if (seen[c->key][v]++)
        fail("counter %d: %llu was given twice", c->key, (unsigned long long)v);
    acked[c->key]++;
    if (v > acked_max[c->key])
        acked_max[c->key] = v;
}

static void check_get(struct client *c, const struct outcome *o)
{
    char text[32] = "0";
    if (o->tag == OUTCOME_BULK && o->len < sizeof text) {
        memcpy(text, o->bytes, o->len);
        text[o->len] = '\0';
    } else if (o->tag != OUTCOME_NIL) {
        fail("a read was answered with '%c'", o->tag);
    }
    uint64_t v = strtoull(text, NULL, 10);
    if (v < c->floor)
        fail("counter %d: stale read of %llu; %llu had been answered before it began", c->key, (unsigned long long)v,
             (unsigned long long)c->floor);
    if (v > begun[c->key])
        fail("counter %d: read of %llu after only %llu increments were begun", c->key, (unsigned long long)v,
             (unsigned long long)begun[c->key]);
    if (v > acked_max[c->key])
        acked_max[c->key] = v;
}

void conn_answer(struct conn *conn, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    if (conn->client < 0)
        return;
    struct client *c = &clients[conn->client];
    if (outcome_next(outcome, len, &o) == 0)
        fail("an outcome that cannot be read");
    answered_ops++;
    if (c->op == OP_CLIENT_INCR)
        check_incr(c, &o);
    else if (c->op == OP_CLIENT_GET)
        check_get(c, &o);
    else if (c->op == OP_CLIENT_TTL_SET)
        c->ttl_set_us = c->began_us;
    else if (o.tag == OUTCOME_NIL && c->ttl_set_us != 0 && now_us < c->ttl_set_us + c->ttl_ms * 1000)
        fail("a key of client %d expired early", conn->client);
    client_done(c, conn->client);
}

void conn_fail(struct conn *conn, enum request_failure why)
{
    if (conn->client < 0)
        return;
    struct client *c = &clients[conn->client];
    if (c->op == OP_CLIENT_INCR && why == REQUEST_UNKNOWN)
        unknown[c->key]++;
    else if (c->op == OP_CLIENT_INCR)
        begun[c->key]--; /* Certainly not done. */
    else if (c->op == OP_CLIENT_TTL_SET)
        c->ttl_key++;
    if (c->op == OP_CLIENT_GET && why == REQUEST_UNKNOWN)
        fail("a read with an unknown outcome");
    client_done(c, conn->client);
}

static void client_lost(int k)
{
    struct client *c = &clients[k];
    if (c->op == OP_CLIENT_INCR)
        unknown[c->key]++;
    if (c->op == OP_CLIENT_TTL_SET)
        c->ttl_key++;
    client_done(c, k);
}

static int encode(struct client *c, struct command_buf *writes, struct command_buf *reads, long *ret_at)
{
    char key[16];
    int64_t one = 1, ttl[2] = {(int64_t)c->ttl_ms, 0};
    if (c->op <= OP_CLIENT_GET)
        snprintf(key, sizeof key, "c%d", c->key);
    else
        snprintf(key, sizeof key, "t%d.%u", (int)(c - clients), c->ttl_key);
    struct bytes args[2] = {{(uint8_t *)key, strlen(key)}, {(const uint8_t *)"v", 1}};
    switch (c->op) {
    case OP_CLIENT_INCR:
        *ret_at = command_add(writes, OP_INCRBY, 0, &one, 1, args, 1);
        return 1;
    case OP_CLIENT_TTL_SET:
        *ret_at = command_add(writes, OP_SET, CMD_EXPIRE, ttl, 2, args, 2);
        return 1;
    default:
        *ret_at = command_add(reads, OP_GET, 0, NULL, 0, args, 1);
        return 0;
    }
}

static void client_begin(int k)
{
    struct client *c = &clients[k];
    if (c->busy || quiet)
        return;
    c->node = (int)below((uint64_t)n_nodes);
    if (!nodes[c->node].up || nodes[c->node].paused_until_us > now_us) {
        client_next(k, 5000);
        return;
    }
    c->op = percent(50) ? OP_CLIENT_INCR : percent(80) ? OP_CLIENT_GET : percent(40) ? OP_CLIENT_TTL_SET : OP_CLIENT_TTL_GET;
    c->key = (int)below(KEYS);
    if (c->op == OP_CLIENT_TTL_SET) {
        c->ttl_set_us = 0;
        c->ttl_ms = 50 + below(500);
    }
    c->floor = acked_max[c->key];
    c->began_us = now_us;
    c->busy = true;
    c->conn = calloc(1, sizeof *c->conn);
    c->conn->refs = 1;
    c->conn->client = k;
    if (c->op == OP_CLIENT_INCR)
        begun[c->key]++;
    struct node *n = (struct node *)(void *)&nodes[c->node];
    long where = -1;
    int is_write = encode(c, requests_write_buf(n), requests_read_buf(n), &where);
    uint64_t deadline = now_us / 1000 + 1500;
    int rc = is_write ? requests_write(n, c->conn, where, deadline) : requests_read(n, c->conn, where, deadline);
    if (rc != 0)
        conn_fail(c->conn, REQUEST_STOPPING);
    want_turn(c->node);
}

/* ---- Nodes ---- */

static uint64_t owner_now(void *ctx)
{
    (void)ctx;
    return now_us / 1000;
}

static void owner_log(void *ctx, int level, const char *text)
{
    say("n%d %d %s", (int)((struct sim_node *)ctx - nodes) + 1, level, text);
}

static void owner_die(void *ctx, enum node_exit status, const char *why)
{
    fail("n%d stops with %d: %s", (int)((struct sim_node *)ctx - nodes) + 1, status, why);
}

static int owner_make(void *ctx)
{
    at(now_us + 1000 + below(100000), EV_SNAPSHOT_MADE, (int)((struct sim_node *)ctx - nodes));
    return 0;
}

static int owner_check(void *ctx)
{
    at(now_us + 1000 + below(50000), EV_SNAPSHOT_CHECK, (int)((struct sim_node *)ctx - nodes));
    return 0;
}

static void path_of(const struct sim_node *n, const char *name, char path[256])
{
    snprintf(path, 256, "%s/%s", n->dir, name);
}

/* The state's files are real ones, the log's are the fake disk's: carry a snapshot across. */
static void to_disk(struct sim_node *n, const char *name)
{
    char path[256];
    path_of(n, name, path);
    FILE *f = fopen(path, "rb");
    struct io *io = fakedisk_io(n->disk);
    struct io_file *file;
    static uint8_t buf[1 << 16];
    uint64_t offset = 0;
    n->disk_ops->unlink(io, name);
    if (f == NULL || n->disk_ops->open(io, name, IO_READ | IO_WRITE | IO_CREATE, &file) != 0)
        fail("cannot carry %s to the disk", name);
    for (size_t got; (got = fread(buf, 1, sizeof buf, f)) > 0; offset += got) {
        struct iovec iov = {buf, got};
        n->disk_ops->pwritev(file, &iov, 1, offset);
    }
    n->disk_ops->close(file);
    fclose(f);
}

static void from_disk(struct sim_node *n, const char *name)
{
    char path[256];
    size_t len = 0;
    path_of(n, name, path);
    const uint8_t *bytes = fakedisk_bytes(n->disk, name, &len);
    FILE *f = fopen(path, "wb");
    if (bytes == NULL || f == NULL || fwrite(bytes, 1, len, f) != len)
        fail("cannot carry %s from the disk", name);
    fclose(f);
}

static void snapshot_made(struct sim_node *n)
{
    char path[256], error[256];
    struct snapshot_info info;
    path_of(n, REPLICA_SNAPSHOT_FILE, path);
    if (store_flush_now(n->cluster.store) != 0 || snapshot_make(n->dir, path, error, &info) != 0)
        fail("no snapshot: %s", error);
    to_disk(n, REPLICA_SNAPSHOT_FILE);
    cluster_snapshot_made(&n->cluster, true, &info);
}

static const uint8_t cluster_id[16] = "sim";

static void snapshot_check_arrived(struct sim_node *n)
{
    char path[256], error[256] = "";
    struct snapshot_info info;
    from_disk(n, STORE_INCOMING);
    path_of(n, STORE_INCOMING, path);
    int rc = snapshot_check(path, cluster_id, error, &info);
    if (rc != 0)
        fail("a snapshot arrived damaged: %s", error);
    cluster_snapshot_checked(&n->cluster, true);
}

static void link_both(int i, int k, uint64_t in_us)
{
    at(now_us + in_us, EV_LINK, i)->peer = k;
    at(now_us + in_us, EV_LINK, k)->peer = i;
}

static void start_node(int i)
{
    struct sim_node *n = &nodes[i];
    struct io *io = fakedisk_io(n->disk);
    struct replica_member members[NODES_MAX];
    char error[256] = "";
    n->epoch++;
    n->disk_ops = n->ops.open != NULL ? n->disk_ops : io->ops;
    n->ops = *n->disk_ops;
    n->ops.now_ms = io_now;
    n->ops.random = io_random;
    n->ops.timer = io_timer;
    n->ops.submit = io_submit;
    n->ops.send = io_send;
    n->ops.peer = io_peer;
    n->ops.backlog = io_backlog;
    io->ops = &n->ops;
    for (int k = 0; k < n_nodes; k++) {
        members[k].id = (uint64_t)k + 1;
        members[k].voter = true;
        snprintf(members[k].address, sizeof members[k].address, "n%d", k + 1);
    }
    struct cluster_options o = {
        .io = io,
        .store = {.dir = n->dir, .cluster_id = cluster_id, .cache_bytes = 1 << 20, .flush_rows = 1000, .checkpoint_bytes = 1 << 16},
        .replica = {.id = (uint64_t)i + 1, .members = members, .n_members = (size_t)n_nodes, .election_timeout_ms = 300,
                    .heartbeat_ms = 30, .segment_bytes = 1 << 14, .log_memory_bytes = 1 << 14, .keep_entries = 30,
                    .keep_bytes = 1 << 16},
        .value_bytes_max = 1 << 20,
        .queue_bytes_max = 1 << 20,
        .dirty_bytes_max = 1 << 24,
        .owner = {n, owner_now, owner_log, owner_die, owner_make, owner_check},
    };
    memcpy(o.replica.cluster_id, cluster_id, sizeof cluster_id);
    int rc = cluster_open(&n->cluster, &o, error);
    if (rc != 0)
        fail("n%d does not start: %s", i + 1, error);
    n->up = true;
    n->turn_due = false;
    say("n%d starts: applied %llu", i + 1, (unsigned long long)store_applied(n->cluster.store));
    at(now_us + 1000, EV_HOUSEKEEP, i);
    for (int k = 0; k < n_nodes; k++)
        if (k != i && nodes[k].up)
            link_both(i, k, 1000 + below(5000));
}

static void stop_node(int i, bool power)
{
    struct sim_node *n = &nodes[i];
    if (!n->up)
        return;
    say("n%d %s", i + 1, power ? "loses power" : "is killed");
    n->up = false;
    n->epoch++;
    for (int k = 0; k < CLIENTS; k++)
        if (clients[k].busy && clients[k].node == i)
            client_lost(k);
    replica_stop(n->cluster.replica);
    while (replica_busy(n->cluster.replica) && fakedisk_run_one(n->disk, IO_LANE_SPARE))
        ;
    requests_release(&n->cluster.requests);
    replica_close(n->cluster.replica);
    store_abandon(n->cluster.store);
    outcome_buf_release(&n->cluster.outcomes);
    if (power)
        fakedisk_crash(n->disk);
    else
        fakedisk_kill(n->disk);
    for (int k = 0; k < n_nodes; k++) {
        n->linked[k] = false;
        if (k == i || !nodes[k].up)
            continue;
        at(now_us + 100 + below(1000), EV_LOST, k)->peer = i;
    }
    at(now_us + 10000 + below(2000000), EV_RESTART, -1)->value = (uint64_t)i;
}

static void relink(int i, int k)
{
    struct sim_node *n = &nodes[i];
    if (!nodes[k].up)
        return; /* Its start makes the links. */
    if (cut[i][k] || cut[k][i]) {
        at(now_us + 50000, EV_LINK, i)->peer = k;
        return;
    }
    if (n->linked[k])
        replica_link(n->cluster.replica, (uint64_t)k + 1, false);
    say("n%d links to n%d", i + 1, k + 1);
    n->linked[k] = true;
    replica_link(n->cluster.replica, (uint64_t)k + 1, true);
}

static void lost(int i, int k)
{
    struct sim_node *n = &nodes[i];
    if (n->linked[k]) {
        n->linked[k] = false;
        replica_link(n->cluster.replica, (uint64_t)k + 1, false);
    }
    replica_lost(n->cluster.replica, (uint64_t)k + 1);
    at(now_us + 1000 + below(50000), EV_LINK, i)->peer = k; /* Dialled again. */
}

/* ---- Faults ---- */

static void heal(void)
{
    bool was[NODES_MAX][NODES_MAX];
    memcpy(was, cut, sizeof was);
    memset(cut, 0, sizeof cut);
    for (int i = 0; i < n_nodes; i++)
        for (int k = 0; k < i; k++)
            if (was[i][k] || was[k][i])
                link_both(i, k, 1000 + below(20000)); /* The connections stalled; now they are reset and made anew. */
}

static void partition(void)
{
    unsigned side = (unsigned)below(1u << n_nodes);
    bool one_way = percent(25);
    for (int i = 0; i < n_nodes; i++)
        for (int k = 0; k < n_nodes; k++)
            cut[i][k] = cut[i][k] || ((side >> i & 1) != (side >> k & 1) && (!one_way || i < k));
    say("partition %x%s", side, one_way ? " one way" : "");
    at(now_us + 100000 + below(3000000), EV_HEAL, -1);
}

static void fault(void)
{
    if (ending)
        return;
    int i = (int)below((uint64_t)n_nodes), leader = -1;
    for (int k = 0; k < n_nodes; k++)
        if (nodes[k].up && replica_ready(nodes[k].cluster.replica))
            leader = k;
    if (leader >= 0 && percent(40))
        i = leader;
    unsigned what = (unsigned)below(100);
    if (what < 35) {
        stop_node(i, percent(60));
    } else if (what < 60) {
        partition();
    } else if (what < 75 && nodes[i].up) {
        nodes[i].paused_until_us = now_us + 100000 + below(2000000);
        say("n%d pauses", i + 1);
    } else if (what < 85 && leader >= 0) {
        replica_transfer(nodes[leader].cluster.replica);
    } else if (what < 92) {
        for (int k = 0; k < n_nodes; k++)
            stop_node(k, true);
    } else if (nodes[i].up) {
        link_both(i, (i + 1) % n_nodes, 1);
    }
    at(now_us + 50000 + below(1500000), EV_FAULT, -1);
}

/* ---- Checks at every step ---- */

static void check_node(int i)
{
    struct sim_node *n = &nodes[i];
    struct replica_status s;
    replica_status(n->cluster.replica, &s);
    uint64_t applied = store_applied(n->cluster.store), hash = store_hash(n->cluster.store) | 1;
    if (s.role == REPLICA_LEADER && s.term < TERMS_MAX) {
        if (leader_of_term[s.term] != 0 && leader_of_term[s.term] != i + 1)
            fail("n%d and n%d both lead in term %llu", leader_of_term[s.term], i + 1, (unsigned long long)s.term);
        leader_of_term[s.term] = i + 1;
    }
    if (applied >= HASHES)
        return;
    if (hash_at[applied] != 0 && hash_at[applied] != hash)
        fail("n%d differs from another node at index %llu", i + 1, (unsigned long long)applied);
    hash_at[applied] = hash;
}

/* ---- The loop ---- */

static void run_event(struct event *e)
{
    struct sim_node *n = e->node >= 0 ? &nodes[e->node] : NULL;
    if (n != NULL && (!n->up || n->epoch != e->epoch))
        return;
    switch (e->kind) {
    case EV_FRAME:
        if (!cut[e->peer][e->node] && nodes[e->peer].epoch == e->value)
            replica_receive(n->cluster.replica, (uint64_t)e->peer + 1, e->frame_kind, e->bytes, e->len);
        break;
    case EV_DISK:
        fakedisk_run_one(n->disk, (enum io_lane)e->value);
        break;
    case EV_TIMER:
        if (n->timer_ms == e->value) {
            n->timer_ms = 0;
            replica_timer(n->cluster.replica);
        }
        break;
    case EV_TURN:
        n->turn_due = false;
        cluster_flush(&n->cluster);
        return;
    case EV_HOUSEKEEP:
        requests_expire(&n->cluster.requests, now_us / 1000);
        cluster_housekeep(&n->cluster);
        if (percent(10) || replica_wants_checkpoint(n->cluster.replica)) {
            if (store_flush_now(n->cluster.store) != 0)
                fail("n%d cannot flush", e->node + 1);
            cluster_poll_store(&n->cluster);
        }
        at(now_us + 10000 + below(10000), EV_HOUSEKEEP, e->node);
        break;
    case EV_LINK:
        relink(e->node, e->peer);
        break;
    case EV_LOST:
        lost(e->node, e->peer);
        break;
    case EV_SNAPSHOT_MADE:
        snapshot_made(n);
        break;
    case EV_SNAPSHOT_CHECK:
        snapshot_check_arrived(n);
        break;
    case EV_CLIENT:
        client_begin((int)e->value);
        return;
    case EV_RESTART:
        if (!nodes[e->value].up)
            start_node((int)e->value);
        return;
    case EV_FAULT:
        fault();
        return;
    case EV_HEAL:
        heal();
        return;
    }
    want_turn(e->node);
}

static void run_until(uint64_t end_us)
{
    while (heap_n > 0 && heap[0]->at_us < end_us) {
        struct event *e = heap_pop();
        if (e->at_us > now_us)
            now_us = e->at_us;
        if (e->node >= 0 && e->epoch == nodes[e->node].epoch && nodes[e->node].paused_until_us > now_us) {
            e->at_us = nodes[e->node].paused_until_us;
            heap_push(e);
            continue;
        }
        run_event(e);
        if (e->node >= 0 && nodes[e->node].up)
            check_node(e->node);
        free(e->bytes);
        free(e);
    }
    now_us = end_us;
}

/* For the reader of a failing seed. */
static void describe(void)
{
    for (int i = 0; i < n_nodes && verbose; i++) {
        struct replica_status s;
        if (!nodes[i].up)
            continue;
        replica_status(nodes[i].cluster.replica, &s);
        printf("n%d role %d term %llu leader %llu first %llu last %llu durable %llu commit %llu applied %llu installing %d guarded %llu",
               i + 1, s.role, (unsigned long long)s.term, (unsigned long long)s.leader, (unsigned long long)s.first,
               (unsigned long long)s.last, (unsigned long long)s.durable, (unsigned long long)s.commit, (unsigned long long)s.applied,
               s.installing, (unsigned long long)s.guarded);
        for (size_t k = 0; k < s.n_members; k++)
            printf(" %llu:%llu%s", (unsigned long long)s.members[k].member.id, (unsigned long long)s.members[k].match,
                   s.members[k].link_up ? "" : "(down)");
        printf("\n");
    }
}

static void finish(void)
{
    ending = true;
    heal();
    for (int i = 0; i < n_nodes; i++) {
        nodes[i].paused_until_us = 0;
        if (!nodes[i].up)
            start_node(i);
    }
    run_until(now_us + (HEAL_MS - 5000) * 1000ull);
    uint64_t before_ops = answered_ops;
    run_until(now_us + 5000 * 1000ull);
    if (answered_ops < before_ops + 50)
        fail("no progress after healing: %llu answers in the last 5 s", (unsigned long long)(answered_ops - before_ops));
    quiet = true;
    run_until(now_us + 5000 * 1000ull);
}

static void check_end(void)
{
    for (int k = 0; k < CLIENTS; k++)
        if (clients[k].busy)
            fail("client %d never had an answer", k);
    for (int i = 0; i < n_nodes; i++) {
        for (int key = 0; key < KEYS; key++) {
            char name[16];
            struct command_buf buf = {0};
            struct outcome_buf out = {0};
            struct outcome o;
            size_t used;
            snprintf(name, sizeof name, "c%d", key);
            struct bytes arg = {(uint8_t *)name, strlen(name)};
            command_add(&buf, OP_GET, 0, NULL, 0, &arg, 1);
            store_read(nodes[i].cluster.store, buf.base, buf.len, 0, &out, &used);
            outcome_next(out.base, out.len, &o);
            uint64_t v = o.tag == OUTCOME_BULK ? strtoull(strndupa(o.bytes, o.len), NULL, 10) : 0;
            if (v < acked[key])
                fail("n%d has %llu for counter %d, of which %llu were acknowledged", i + 1, (unsigned long long)v, key,
                     (unsigned long long)acked[key]);
            if (v > begun[key])
                fail("n%d has %llu for counter %d, of which only %llu were begun", i + 1, (unsigned long long)v, key,
                     (unsigned long long)begun[key]);
            command_buf_release(&buf);
            outcome_buf_release(&out);
        }
    }
}

static void stop_all(void)
{
    for (int i = 0; i < n_nodes; i++)
        stop_node(i, false);
    while (heap_n > 0) {
        struct event *e = heap_pop();
        free(e->bytes);
        free(e);
    }
    char command[400];
    for (int i = 0; i < n_nodes; i++) {
        fakedisk_free(nodes[i].disk);
        snprintf(command, sizeof command, "rm -rf '%s'", nodes[i].dir);
        if (system(command) != 0)
            fail("cannot remove %s", nodes[i].dir);
    }
}

static void run(uint64_t s)
{
    seed = s;
    chance_state = s * 0x9E3779B97F4A7C15ull + 0x1234567;
    for (int i = 0; i < 8; i++)
        chance();
    now_us = 1000000;
    ending = quiet = false;
    event_order = answered_ops = 0;
    memset(nodes, 0, sizeof nodes);
    memset(cut, 0, sizeof cut);
    memset(link_free_us, 0, sizeof link_free_us);
    memset(clients, 0, sizeof clients);
    memset(acked_max, 0, sizeof acked_max);
    memset(begun, 0, sizeof begun);
    memset(acked, 0, sizeof acked);
    memset(unknown, 0, sizeof unknown);
    memset(leader_of_term, 0, sizeof leader_of_term);
    memset(hash_at, 0, sizeof hash_at);
    for (int k = 0; k < KEYS; k++) {
        free(seen[k]);
        seen[k] = calloc(1, 1 << 20);
    }
    n_nodes = percent(80) ? 3 : 5;
    for (int i = 0; i < n_nodes; i++) {
        snprintf(nodes[i].dir, sizeof nodes[i].dir, "%s/n%d", base_dir, i + 1);
        mkdir(nodes[i].dir, 0700);
        nodes[i].disk = fakedisk_new(chance());
        start_node(i);
    }
    for (int k = 0; k < CLIENTS; k++)
        client_next(k, 1000 * below(100));
    at(now_us + 1000000, EV_FAULT, -1);
    run_until(now_us + RUN_MS * 1000ull);
    finish();
    check_end();
    uint64_t total = 0, unsure = 0;
    for (int k = 0; k < KEYS; k++) {
        total += acked[k];
        unsure += unknown[k];
    }
    if (verbose)
        printf("seed %llu: %d nodes, %llu answers, %llu increments acknowledged, %llu unknown\n", (unsigned long long)s, n_nodes,
               (unsigned long long)answered_ops, (unsigned long long)total, (unsigned long long)unsure);
    stop_all();
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 10) : 10;
    verbose = argc > 3 && strcmp(argv[3], "-v") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(base_dir, sizeof base_dir, "%s/holdfast-sim-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(base_dir) == NULL) {
        perror(base_dir);
        return 1;
    }
    for (uint64_t s = first; s < first + count; s++)
        run(s);
    rmdir(base_dir);
    printf("%llu passed, 0 failed\n", (unsigned long long)count);
    return 0;
}
