/* node.c - a cluster's member on libuv: the loop's handles, the links, snapshots on libuv's threads, and the end of it
 * all.
 *
 * A turn of the loop: events come in (clients, peers, finished disk writes), then `check` sends what has gathered;
 * `prepare` does so again for what timers made, before the loop sleeps. The links' own prepare handle runs after ours,
 * so that nothing waits for the next turn. */
#include "node/node.h"
#include "node/cluster.h"
#include "node/diskwatch.h"
#include "node/facade.h"
#include "node/join.h"
#include "node/log.h"
#include "node/tokens.h"
#include "node/scripts.h"
#include "raft/io_uv.h"
#include "raft/link.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE_TICK_MS 10 /* While requests wait: deadlines and retries. */
#define NODE_HOUSEKEEPING_MS 100
#define NODE_FLUSH_ROWS 50000
#define NODE_CHECK_FIRST_MS 5000     /* All of the state file is looked at so long after the start, */
#define NODE_CHECK_EVERY_MS 86400000 /* and again so often. */
#define NODE_DIRTY_CACHES 4 /* Writes are refused when what SQLite has yet to take is this many times the cache. */
#define NODE_PATH_BYTES (4096 + 64)

enum node_work { WORK_NONE, WORK_MAKING, WORK_CHECKING };

struct node {
    uv_loop_t *loop;
    struct config config;
    struct io *io;
    struct links *links;
    struct cluster cluster;
    uint8_t cluster_id[STORE_CLUSTER_ID_BYTES];
    bool joined; /* Not one of the first members: `join` says who it is. */
    struct join join;
    struct tokens tokens;

    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t tick, housekeeping, due;
    uv_async_t store_ready;
    unsigned open_handles; /* Of the six above. */
    struct facade_watch watch;
    bool closing, links_closed;

    struct diskwatch *diskwatch; /* NULL: none was asked for. */
    uv_work_t work;
    enum node_work working;
    struct snapshot_info made;
    char work_error[256];
    int work_rc;

    uv_work_t check_state;
    bool checking_state;
    atomic_bool check_stop;
    uint64_t check_at_ms, check_installs; /* installs: snapshots put in place when it began */
    char check_error[256];
    int check_rc;

    bool draining, drained;
    uint64_t drain_until_ms;
    void (*on_drained)(void *ctx);
    void *drain_ctx;
};

struct requests *node_requests(const struct node *n)
{
    return (struct requests *)&n->cluster.requests;
}

/* ---- What the cluster asks ---- */

/* A thread that waits for a dead disk keeps the process from going, and with it its connections: end these at least. */
static void hang_up(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        shutdown(atoi(e->d_name), SHUT_RDWR); /* Only sockets take it. */
    closedir(dir);
}

static void on_die(void *ctx, enum node_exit status, const char *why)
{
    (void)ctx;
    log_error("stopping at once: %s", why);
    log_end();
    hang_up();
    _exit((int)status);
}

/* What it would cost to wait: memory for everything the others go on committing, and clients who take this node for a
 * live one. On the watch's thread. */
static void on_silent_disk(void *ctx, const char *why)
{
    on_die(ctx, NODE_EXIT_DISK, why);
}

static void on_log(void *ctx, int level, const char *text)
{
    (void)ctx;
    log_write((enum log_level)level, "%s", text);
}

static uint64_t on_now(void *ctx)
{
    return node_now_ms(ctx);
}

static void path_in(const struct node *n, const char *name, char path[NODE_PATH_BYTES])
{
    snprintf(path, NODE_PATH_BYTES, "%s/%s", n->config.data_dir, name);
}

static void make_work(uv_work_t *work)
{
    struct node *n = work->data;
    char path[NODE_PATH_BYTES];
    path_in(n, REPLICA_SNAPSHOT_FILE, path);
    n->work_rc = snapshot_make(n->config.data_dir, path, n->work_error, &n->made);
}

static void check_work(uv_work_t *work)
{
    struct node *n = work->data;
    char path[NODE_PATH_BYTES];
    path_in(n, STORE_INCOMING, path);
    n->work_rc = snapshot_check(path, n->cluster_id, n->work_error, &n->made);
}

static void work_done(uv_work_t *work, int status)
{
    struct node *n = work->data;
    enum node_work was = n->working;
    bool ok = status == 0 && n->work_rc == 0;
    n->working = WORK_NONE;
    if (n->closing)
        return;
    if (!ok)
        log_error("a snapshot could not be %s: %s", was == WORK_MAKING ? "made" : "accepted", n->work_error);
    if (was == WORK_MAKING)
        cluster_snapshot_made(&n->cluster, ok, &n->made);
    else
        cluster_snapshot_checked(&n->cluster, ok);
}

static int begin_work(struct node *n, enum node_work what)
{
    if (n->working != WORK_NONE)
        return -1;
    n->work.data = n;
    if (uv_queue_work(n->loop, &n->work, what == WORK_MAKING ? make_work : check_work, work_done) != 0)
        return -1;
    n->working = what;
    return 0;
}

static int on_make_snapshot(void *ctx)
{
    return begin_work(ctx, WORK_MAKING);
}

static int on_check_snapshot(void *ctx)
{
    return begin_work(ctx, WORK_CHECKING);
}

/* ---- The state file, looked at as a whole: disks forget in silence ---- */

static uint64_t installs(const struct node *n)
{
    struct replica_status s;
    replica_status(n->cluster.replica, &s);
    return s.snapshots_installed;
}

static void check_state_work(uv_work_t *work)
{
    struct node *n = work->data;
    n->check_rc = snapshot_check_state(n->config.data_dir, n->cluster_id, &n->check_stop, n->check_error);
}

/* A file that was replaced meanwhile may have been met half way. */
static void check_state_done(uv_work_t *work, int status)
{
    struct node *n = work->data;
    n->checking_state = false;
    if (n->closing || status != 0 || n->check_rc == 0 || n->check_installs != installs(n))
        return;
    if (n->check_rc == STORE_ECORRUPT)
        on_die(n, NODE_EXIT_DATA_DIR, n->check_error);
    else
        log_warning("the state file could not be checked: %s", n->check_error);
}

static void check_state_when_due(struct node *n)
{
    uint64_t now = uv_now(n->loop);
    if (n->checking_state || now < n->check_at_ms)
        return;
    n->check_at_ms = now + NODE_CHECK_EVERY_MS;
    n->check_state.data = n;
    n->check_installs = installs(n);
    n->checking_state = uv_queue_work(n->loop, &n->check_state, check_state_work, check_state_done) == 0;
}

static void store_notify(void *ctx) /* On the flusher's thread. */
{
    struct node *n = ctx;
    uv_async_send(&n->store_ready);
}

/* ---- Turns of the loop ---- */

static void on_due(uv_timer_t *h)
{
    struct node *n = h->data;
    cluster_expire(&n->cluster);
    keywaits_expire(&n->cluster.listeners.keywaits, node_now_ms(n));
}

/* Until the next wait for a key is over. */
static uint64_t next_wait_in_ms(const struct node *n)
{
    uint64_t at = keywaits_next_ms(&n->cluster.listeners.keywaits), now = node_now_ms(n);
    return at == UINT64_MAX ? UINT64_MAX : at > now ? at - now : 0;
}

/* Expiries to the millisecond; those further away are seen by housekeeping first. */
static void arm_due(struct node *n)
{
    uint64_t wait = cluster_next_expiry_in_ms(&n->cluster), other = next_wait_in_ms(n);
    wait = other < wait ? other : wait;
    if (wait > NODE_HOUSEKEEPING_MS)
        return;
    if (!uv_is_active((uv_handle_t *)&n->due) || wait < uv_timer_get_due_in(&n->due))
        uv_timer_start(&n->due, on_due, wait, 0);
}

static bool requests_wait(const struct node *n)
{
    const struct requests *q = &n->cluster.requests;
    return !requests_idle(q) || q->flying_writes.n > 0;
}

static void tell_switch(struct node *n, const char *message)
{
    struct bytes channel = {(const uint8_t *)FACADE_SWITCH_CHANNEL, strlen(FACADE_SWITCH_CHANNEL)};
    struct bytes text = {(const uint8_t *)message, strlen(message)};
    pubsub_message(&n->cluster.listeners.pubsub, channel, text);
}

/* Takes note of who leads, for clients that look for the leader. */
static void watch_leader(struct node *n)
{
    uint64_t leader = replica_leader(n->cluster.replica);
    char message[FACADE_SWITCH_MAX];
    if (leader == n->watch.leader && (leader == 0 || leader == n->watch.told))
        return;
    const char *address = leader == n->config.node_id ? n->config.advertise
                          : leader != 0               ? links_peer_client_address(n->links, leader)
                                                      : "";
    if (facade_follow(&n->watch, leader, address, uv_now(n->loop), n->config.sentinel_name, message))
        tell_switch(n, message);
}

static void flush(struct node *n)
{
    watch_leader(n);
    cluster_flush(&n->cluster);
    arm_due(n);
    if (requests_wait(n) && !uv_is_active((uv_handle_t *)&n->tick))
        uv_timer_again(&n->tick);
}

static void on_prepare(uv_prepare_t *h)
{
    flush(h->data);
}

static void on_check(uv_check_t *h)
{
    flush(h->data);
}

static void on_tick(uv_timer_t *h)
{
    struct node *n = h->data;
    requests_expire(&n->cluster.requests, uv_now(n->loop));
    if (!requests_wait(n))
        uv_timer_stop(&n->tick);
}

static void on_store_ready(uv_async_t *h)
{
    struct node *n = h->data;
    if (!n->closing)
        cluster_poll_store(&n->cluster);
}

static void drain_continue(struct node *n);

/* It has its vote: whatever is made of it from now on, it does not ask for it again. */
static void note_promotion(struct node *n)
{
    char error[256];
    n->cluster.promotion.done = false;
    n->join.wants_vote = false;
    n->join.replaces = 0;
    if (join_store(n->config.data_dir, &n->join, error) != 0)
        log_warning("%s", error);
}

static void on_housekeeping(uv_timer_t *h)
{
    struct node *n = h->data;
    cluster_housekeep(&n->cluster);
    check_state_when_due(n);
    if (n->cluster.promotion.done)
        note_promotion(n);
    if (n->draining)
        drain_continue(n);
}

/* ---- What the links report ---- */

static void on_frame(void *ctx, uint64_t peer, uint8_t kind, const uint8_t *payload, size_t len)
{
    struct node *n = ctx;
    replica_receive(n->cluster.replica, peer, kind, payload, len);
}

static void on_up(void *ctx, uint64_t peer)
{
    struct node *n = ctx;
    log_info("link to node %llu is up", (unsigned long long)peer);
    replica_link(n->cluster.replica, peer, true);
}

static void on_down(void *ctx, uint64_t peer, const char *why)
{
    struct node *n = ctx;
    log_warning("link to node %llu is down: %s", (unsigned long long)peer, why);
    replica_link(n->cluster.replica, peer, false);
}

static void on_lost(void *ctx, uint64_t peer)
{
    struct node *n = ctx;
    replica_lost(n->cluster.replica, peer);
}

static void introduce(void *ctx, struct frame_greeting *g)
{
    struct node *n = ctx;
    replica_introduce(n->cluster.replica, g);
}

static unsigned judge(void *ctx, const struct frame_greeting *g, char why[FRAME_GREETING_TEXT_MAX])
{
    struct node *n = ctx;
    return replica_judge(n->cluster.replica, g, why);
}

static void on_refused(void *ctx, uint64_t peer, const struct frame_greeting *g)
{
    struct node *n = ctx;
    replica_refused(n->cluster.replica, peer, g);
}

static void on_link_log(void *ctx, enum link_level level, const char *text)
{
    on_log(ctx, (int)level, text);
}

/* ---- Opening ---- */

static int compare_members(const void *a, const void *b)
{
    const struct config_member *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Founding members must agree without having talked: the id is a digest of the cluster's name and its first members. */
static int make_cluster_id(struct node *n)
{
    struct config_member members[CONFIG_MEMBERS_MAX];
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    memcpy(members, n->config.members, sizeof members);
    qsort(members, n->config.n_members, sizeof *members, compare_members);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    ok = ok && EVP_DigestUpdate(ctx, n->config.cluster_name, strlen(n->config.cluster_name) + 1) == 1;
    for (size_t i = 0; ok && i < n->config.n_members; i++) {
        char line[300];
        int k = snprintf(line, sizeof line, "%llu=%s", (unsigned long long)members[i].id, members[i].address);
        ok = EVP_DigestUpdate(ctx, line, (size_t)k + 1) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(ctx, digest, &len) == 1 && len >= sizeof n->cluster_id;
    EVP_MD_CTX_free(ctx);
    if (ok)
        memcpy(n->cluster_id, digest, sizeof n->cluster_id);
    return ok ? 0 : NODE_EXIT_INTERNAL;
}

/* A directory that holds a node, but not one that joined. */
static bool holds_founder(const struct node *n)
{
    char path[NODE_PATH_BYTES];
    path_in(n, "meta", path);
    return access(path, F_OK) == 0;
}

static int become_member(struct node *n, char error[256])
{
    log_info("asking %s to be taken in as a member", n->config.join);
    if (join_ask(&n->config, &n->join, error) != 0)
        return NODE_EXIT_USAGE;
    if (join_store(n->config.data_dir, &n->join, error) != 0)
        return NODE_EXIT_DATA_DIR;
    log_info("taken in as node %llu of cluster %s, a learner%s", (unsigned long long)n->join.node_id,
             n->join.cluster_id, n->join.wants_vote ? " until it has caught up" : "");
    n->joined = true;
    return 0;
}

static void take_identity(struct node *n)
{
    n->config.node_id = n->join.node_id;
    for (size_t i = 0; i < sizeof n->cluster_id; i++) {
        unsigned byte = 0;
        sscanf(n->join.cluster_id + 2 * i, "%2x", &byte);
        n->cluster_id[i] = (uint8_t)byte;
    }
}

/* Whose directory is this, and of which cluster? */
static int find_identity(struct node *n, char error[256])
{
    int rc = join_load(n->config.data_dir, &n->join, error);
    if (rc < 0)
        return NODE_EXIT_DATA_DIR;
    n->joined = rc == 1;
    if (!n->joined && n->config.join[0] != '\0' && holds_founder(n)) {
        if (n->config.n_members == 0 || n->config.node_id == 0) {
            snprintf(error, 256,
                     "the directory is not empty: it holds a node that did not join. Start that with its "
                     "node_id and members, or give an empty directory to one that is to join");
            return NODE_EXIT_DATA_DIR;
        }
        log_info("join is ignored: the directory holds a member already");
    } else if (!n->joined && n->config.join[0] != '\0') {
        rc = become_member(n, error);
        if (rc != 0)
            return rc;
    }
    if (!n->joined)
        return make_cluster_id(n);
    take_identity(n);
    return 0;
}

static int open_io(struct node *n, char error[256])
{
    struct io_uv_options o = {.directory = n->config.data_dir, .loop = n->loop, .on_timer = replica_timer};
    if (io_uv_open(&o, error, &n->io) != 0)
        return NODE_EXIT_DATA_DIR;
    unsigned ms = n->config.disk_timeout_ms;
    if (ms != 0 && diskwatch_start(n->io, ms, on_silent_disk, n, &n->diskwatch) != 0)
        return NODE_EXIT_INTERNAL;
    return 0;
}

/* The first members, or those whom a joining node may ask. */
static size_t list_members(const struct node *n, struct replica_member *members)
{
    const struct config_member *from = n->joined ? n->join.members : n->config.members;
    size_t count = n->joined ? n->join.n_members : n->config.n_members;
    for (size_t i = 0; i < count; i++) {
        members[i].id = from[i].id;
        members[i].voter = true;
        snprintf(members[i].address, sizeof members[i].address, "%s", from[i].address);
    }
    return count;
}

static int open_cluster(struct node *n, char error[256])
{
    struct replica_member members[CONFIG_MEMBERS_MAX];
    size_t n_members = list_members(n, members);
    struct cluster_options o = {
        .io = n->io,
        .store = {.dir = n->config.data_dir,
                  .cluster_id = n->cluster_id,
                  .cache_bytes = n->config.cache_bytes,
                  .flush_interval_ms = n->config.flush_interval_ms,
                  .flush_rows = NODE_FLUSH_ROWS,
                  .checkpoint_bytes = n->config.checkpoint_bytes,
                  .notify = store_notify,
                  .notify_ctx = n,
                  .script_host = &scripts_host},
        .replica = {.id = n->config.node_id,
                    .members = members,
                    .n_members = n_members,
                    .joins = n->joined,
                    .election_timeout_ms = n->config.election_timeout_ms,
                    .heartbeat_ms = n->config.heartbeat_ms,
                    .segment_bytes = n->config.segment_bytes,
                    .log_memory_bytes = n->config.log_memory_bytes,
                    .reserve_bytes = n->config.disk_reserve_bytes,
                    .keep_entries = n->config.log_keep_entries,
                    .keep_bytes = n->config.log_keep_bytes},
        .wants_vote = n->joined && n->join.wants_vote,
        .replaces = n->joined ? n->join.replaces : 0,
        .value_bytes_max = n->config.max_value_bytes,
        .queue_bytes_max = n->config.max_queue_bytes,
        .history_bytes = n->config.history_bytes,
        .dirty_bytes_max = NODE_DIRTY_CACHES * n->config.cache_bytes,
        .owner = {n, on_now, on_log, on_die, on_make_snapshot, on_check_snapshot},
    };
    memcpy(o.replica.cluster_id, n->cluster_id, sizeof o.replica.cluster_id);
    return cluster_open(&n->cluster, &o, error);
}

static int open_links(struct node *n, char error[256])
{
    struct links_options o = {.loop = n->loop,
                              .listen = n->config.peer_listen,
                              .node_id = n->config.node_id,
                              .start = n->cluster.start,
                              .client_address = n->config.advertise,
                              .ctx = n,
                              .introduce = introduce,
                              .judge = judge,
                              .on_refused = on_refused,
                              .on_frame = on_frame,
                              .on_up = on_up,
                              .on_down = on_down,
                              .on_lost = on_lost,
                              .on_log = on_link_log};
    memcpy(o.cluster_id, n->cluster_id, sizeof o.cluster_id);
    return links_open(&o, error, &n->links) == 0 ? 0 : NODE_EXIT_LISTEN;
}

static void init_handles(struct node *n)
{
    uv_prepare_init(n->loop, &n->prepare);
    uv_check_init(n->loop, &n->check);
    uv_timer_init(n->loop, &n->tick);
    uv_timer_init(n->loop, &n->housekeeping);
    uv_timer_init(n->loop, &n->due);
    uv_async_init(n->loop, &n->store_ready, on_store_ready);
    n->open_handles = 6;
    n->prepare.data = n->check.data = n->tick.data = n->housekeeping.data = n->due.data = n->store_ready.data = n;
}

static void start_handles(struct node *n)
{
    uv_prepare_start(&n->prepare, on_prepare); /* Last started, first run: before the links' own. */
    uv_check_start(&n->check, on_check);
    n->watch.lost_ms = uv_now(n->loop);
    n->check_at_ms = uv_now(n->loop) + NODE_CHECK_FIRST_MS;
    uv_timer_start(&n->tick, on_tick, NODE_TICK_MS, NODE_TICK_MS);
    uv_timer_start(&n->housekeeping, on_housekeeping, NODE_HOUSEKEEPING_MS, NODE_HOUSEKEEPING_MS);
}

int node_open(uv_loop_t *loop, const struct config *config, char error[256], struct node **ret)
{
    struct node *n = calloc(1, sizeof *n);
    snprintf(error, 256, "out of memory");
    if (n == NULL)
        return NODE_EXIT_INTERNAL;
    n->loop = loop;
    n->config = *config;
    init_handles(n);
    int rc = find_identity(n, error);
    if (rc == 0)
        rc = open_io(n, error);
    if (rc == 0)
        rc = open_cluster(n, error);
    if (rc == 0)
        rc = open_links(n, error);
    if (rc != 0) {
        node_close(n);
        return rc;
    }
    io_uv_set_links(n->io, n->links);
    start_handles(n);
    *ret = n;
    return 0;
}

/* ---- Closing ---- */

static void on_handle_closed(uv_handle_t *h)
{
    struct node *n = h->data;
    n->open_handles--;
}

static void on_links_closed(void *ctx)
{
    struct node *n = ctx;
    n->links_closed = true;
}

static void close_handles(struct node *n)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&n->prepare, (uv_handle_t *)&n->check,
                              (uv_handle_t *)&n->tick,    (uv_handle_t *)&n->housekeeping,
                              (uv_handle_t *)&n->due,     (uv_handle_t *)&n->store_ready};
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
        uv_close(handles[i], on_handle_closed);
    while (n->open_handles > 0)
        uv_run(n->loop, UV_RUN_ONCE);
}

static void stop_handles(struct node *n)
{
    uv_prepare_stop(&n->prepare);
    uv_check_stop(&n->check);
    uv_timer_stop(&n->tick);
    uv_timer_stop(&n->housekeeping);
    uv_timer_stop(&n->due);
}

/* Runs the loop until what this node has there is gone; the rest of the daemon has closed its own by now. */
void node_close(struct node *n)
{
    if (n == NULL)
        return;
    struct replica *replica = n->cluster.replica;
    n->closing = true;
    atomic_store(&n->check_stop, true);
    n->links_closed = n->links == NULL;
    if (n->io != NULL)
        io_uv_set_links(n->io, NULL);
    if (replica != NULL)
        replica_stop(replica);
    links_close(n->links, on_links_closed, n);
    stop_handles(n);
    while (!n->links_closed || n->working != WORK_NONE || n->checking_state ||
           (replica != NULL && replica_busy(replica)))
        uv_run(n->loop, UV_RUN_ONCE);
    cluster_close(&n->cluster); /* Joins the flusher, which may call store_notify() until then. */
    diskwatch_stop(n->diskwatch);
    io_uv_close(n->io);
    close_handles(n);
    free(n);
}

static void drain_continue(struct node *n)
{
    if (n->drained)
        return;
    struct requests *q = &n->cluster.requests;
    bool late = uv_now(n->loop) >= n->drain_until_ms;
    struct replica_status s;
    replica_status(n->cluster.replica, &s);
    if (s.role == REPLICA_LEADER && !late && replica_transfer(n->cluster.replica, 0) != REPLICA_EINVAL)
        return; /* Under way. With EINVAL there is nobody to hand over to. */
    if (!q->stopping)
        requests_stop(q);
    if (!requests_idle(q) && !late)
        return;
    n->drained = true;
    n->on_drained(n->drain_ctx);
}

void node_drain(struct node *n, void (*on_drained)(void *ctx), void *ctx)
{
    if (n->draining)
        return;
    n->draining = true;
    n->on_drained = on_drained;
    n->drain_ctx = ctx;
    n->drain_until_ms = uv_now(n->loop) + n->config.request_timeout_ms;
    waiters_end(&n->cluster.requests.waiters); /* While their leaving can still be proposed. */
    log_info("draining: handing over leadership, finishing what is in flight");
    uv_timer_start(&n->housekeeping, on_housekeeping, 0, NODE_TICK_MS); /* Look often from now on. */
}

/* ---- Asking ---- */

uv_loop_t *node_loop(const struct node *n)
{
    return n->loop;
}

const struct config *node_config(const struct node *n)
{
    return &n->config;
}

struct listeners *node_listeners(struct node *n)
{
    return &n->cluster.listeners;
}

struct changes *node_changes(const struct node *n)
{
    return (struct changes *)&n->cluster.changes;
}

struct tokens *node_tokens(const struct node *n)
{
    return (struct tokens *)&n->tokens;
}

uint64_t node_now_ms(const struct node *n)
{
    return uv_now(n->loop);
}

uint64_t node_clock_ms(const struct node *n)
{
    return cluster_clock_ms(&n->cluster);
}

static void member_status(const struct node *n, const struct replica_status *s, size_t i, struct node_member *ret)
{
    uint64_t id = s->members[i].member.id;
    bool self = id == s->id;
    uint64_t heard = self ? 0 : links_last_heard_ms(n->links, id);
    ret->id = id;
    ret->voter = s->members[i].member.voter;
    ret->linked = self || links_linked(n->links, id);
    ret->match_index = s->members[i].match;
    ret->last_heard_ms = self ? 0 : heard == 0 ? UINT64_MAX : uv_now(n->loop) - heard;
    snprintf(ret->peer_address, sizeof ret->peer_address, "%s", s->members[i].member.address);
    snprintf(ret->client_address, sizeof ret->client_address, "%s",
             self ? n->config.advertise : links_peer_client_address(n->links, id));
}

static void fill_from_store(const struct node *n, struct node_status *ret)
{
    const struct store *store = n->cluster.store;
    ret->revision = store_revision(store);
    ret->clock_ms = node_clock_ms(n);
    ret->state_hash = store_hash(store);
    ret->keys = store_keys(store);
    ret->keys_with_ttl = store_keys_with_ttl(store);
    ret->sessions = store_sessions(store);
    ret->locks = store_locks(store);
    ret->expired_total = store_expired_total(store);
    ret->cache_bytes = store_cache_bytes(store);
    ret->dirty_bytes = store_dirty_bytes(store);
    ret->file_bytes = store_file_bytes(store);
    ret->checkpoint_index = store_durable(store);
}

static void fill_from_requests(const struct requests *q, struct node_status *ret)
{
    ret->batches_proposed = q->proposed;
    ret->batches_forwarded = q->forwarded;
    ret->batches_resent = q->resent;
    ret->batches_duplicate = q->duplicates;
    ret->writes_waiting = q->waiting_writes;
    ret->reads_waiting = q->waiting_reads;
}

static void fill_from_replica(const struct replica_status *s, struct node_status *ret)
{
    static const char *const roles[] = {"follower", "candidate", "leader"};
    ret->id = s->id;
    ret->start = s->start;
    ret->term = s->term;
    ret->leader = s->leader;
    ret->role = roles[s->role];
    ret->ready = s->ready;
    ret->commit_index = s->commit;
    ret->applied_index = s->applied;
    ret->last_index = s->last;
    ret->first_index = s->first;
    ret->durable_index = s->durable;
    ret->log_bytes = s->log_bytes;
    ret->syncs = s->syncs;
    ret->sync_us_median = s->sync_us_median;
    ret->reads_rounds = s->read_rounds;
    ret->snapshots_sent = s->snapshots_sent;
    ret->snapshots_installed = s->snapshots_installed;
    ret->elections = s->elections;
    ret->has_disk_reserve = s->has_reserve;
}

void node_times(const struct node *n, struct node_times *ret)
{
    ret->sync = replica_sync_times(n->cluster.replica);
    ret->commit = &n->cluster.requests.commit_times;
    ret->apply = &n->cluster.apply_times;
}

bool node_is_draining(const struct node *n)
{
    return n->draining;
}

void node_status(const struct node *n, struct node_status *ret)
{
    struct replica_status s;
    replica_status(n->cluster.replica, &s);
    memset(ret, 0, sizeof *ret);
    fill_from_replica(&s, ret);
    ret->leaderless_ms = s.leader == 0 ? uv_now(n->loop) - n->watch.lost_ms : 0;
    fill_from_store(n, ret);
    fill_from_requests(&n->cluster.requests, ret);
    for (size_t i = 0; i < sizeof n->cluster_id; i++)
        snprintf(ret->cluster_id + 2 * i, 3, "%02x", n->cluster_id[i]);
    for (; ret->n_members < s.n_members && ret->n_members < NODE_MEMBERS_MAX; ret->n_members++)
        member_status(n, &s, ret->n_members, &ret->members[ret->n_members]);
}

unsigned node_replicas_at(const struct node *n, uint64_t index)
{
    struct replica_status s;
    unsigned voters = 0, holders = 0;
    replica_status(n->cluster.replica, &s);
    for (size_t i = 0; i < s.n_members; i++) {
        voters += s.members[i].member.voter;
        holders += s.members[i].member.id != s.leader && s.members[i].match >= index;
    }
    unsigned least = voters / 2; /* A majority, the leader not counted. */
    return s.role == REPLICA_LEADER && holders > least ? holders : least;
}
