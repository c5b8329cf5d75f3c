/* node.c - the one place where raft meets store.
 *
 * Down: route.c proposes batches to the replica. Up: each committed entry is applied to the store, and what it came to
 * goes to the connections that asked (through requests.c) or, when another node gathered the batch, to that node. All
 * of it on the loop thread; snapshots are made and checked on libuv's threads.
 *
 * The replicated clock. A new leader starts from the stamp its state stands at when it becomes ready, and adds its own
 * monotonic time since: never back, and never ahead of the time that really passed. Followers guess in the same way,
 * for showing only.
 *
 * Failure: an entry that cannot be applied, or a disk that fails, ends the process at once with a status of its own.
 * The log has everything that was acknowledged; going on could only tell two stories. */
#include "node/node.h"
#include "node/exit.h"
#include "node/log.h"
#include "node/queue.h"
#include "raft/io_uv.h"
#include "raft/link.h"
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE_TICK_MS 10 /* While requests wait: deadlines and retries. */
#define NODE_HOUSEKEEPING_MS 100
#define NODE_CLOCK_TICK_MS 10000 /* Without traffic the clock still moves, so that far expiries come into view. */
#define NODE_DUE_BATCH 1000      /* Keys named by one expiry entry: more would hold up the commands behind it. */
#define NODE_FLUSH_ROWS 50000
#define NODE_LOG_BYTES_MAX 4096

enum snapshot_work { SNAPSHOT_NONE, SNAPSHOT_MAKING, SNAPSHOT_CHECKING };

struct node {
    uv_loop_t *loop;
    struct config config;
    struct store *store;
    struct io *io;
    struct links *links;
    struct replica *replica;
    struct requests requests;
    uint64_t start;
    uint8_t cluster_id[STORE_CLUSTER_ID_BYTES];

    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t tick, housekeeping, due;
    uv_async_t store_ready;
    unsigned open_handles; /* Of the six above. */
    bool closing, links_closed;

    /* The replicated clock as this node counts it on: stamp + (now - since). */
    uint64_t clock_base_ms, clock_since_ms, clock_last_ms;
    bool was_ready;
    uint64_t expiry_seq;   /* store_applied() must pass it before the next expiry entry. */
    uint64_t checkpointed; /* Last durable index told to the replica. */

    struct outcome_buf outcomes;
    uv_work_t work;
    enum snapshot_work working;
    struct snapshot_info made;
    char work_error[256];
    int work_rc;

    bool draining, drained;
    uint64_t drain_until_ms;
    void (*on_drained)(void *ctx);
    void *drain_ctx;
};

struct requests *node_requests(struct node *n)
{
    return &n->requests;
}

static void die(enum node_exit status, const char *why)
{
    log_error("stopping at once: %s", why);
    log_end();
    _exit((int)status);
}

static void die_of_store(struct node *n, int rc)
{
    const char *words = store_error(n->store);
    die(rc == STORE_EIO      ? NODE_EXIT_DISK
        : rc == STORE_ENOMEM ? NODE_EXIT_INTERNAL
                             : NODE_EXIT_DATA_DIR,
        words != NULL && *words != '\0' ? words : "the state cannot be changed any more");
}

/* ---- Clock ---- */

uint64_t node_now_ms(const struct node *n)
{
    return uv_now(n->loop);
}

uint64_t node_clock_ms(const struct node *n)
{
    uint64_t counted = n->clock_base_ms + (uv_now(n->loop) - n->clock_since_ms), applied = store_clock_ms(n->store);
    return counted > applied ? counted : applied;
}

static void clock_restart(struct node *n)
{
    n->clock_base_ms = store_clock_ms(n->store);
    n->clock_since_ms = uv_now(n->loop);
    n->clock_last_ms = n->clock_base_ms;
}

static void on_stamp(void *ctx, uint8_t *payload, size_t len)
{
    struct node *n = ctx;
    assert(len >= BATCH_HEADER_BYTES);
    uint64_t now = n->clock_base_ms + (uv_now(n->loop) - n->clock_since_ms);
    if (now < n->clock_last_ms)
        now = n->clock_last_ms;
    n->clock_last_ms = now;
    batch_stamp(payload, now);
}

/* ---- Applying ---- */

static void apply_batch(struct node *n, uint64_t index, uint64_t term, const uint8_t *payload, size_t len)
{
    struct batch_header h;
    enum store_applied became;
    n->outcomes.len = 0;
    n->outcomes.failed = false;
    if (batch_header_decode(payload, len, &h) != 0)
        die(NODE_EXIT_DATA_DIR, "a committed entry is not a batch of commands, or one of a newer version");
    int rc = store_apply(n->store, index, term, payload, len, &n->outcomes, &became);
    if (rc != 0)
        die_of_store(n, rc);
    if (n->outcomes.failed)
        die(NODE_EXIT_INTERNAL, "out of memory");
    bool ours = h.node == n->config.node_id && h.start == n->start;
    if (ours && became == STORE_APPLIED)
        requests_answered(&n->requests, h.seq, n->outcomes.base, n->outcomes.len);
    else if (ours && became == STORE_OUT_OF_ORDER)
        route_gap(&n->requests);
    else if (h.node != 0 && became == STORE_APPLIED && n->requests.route == ROUTE_SELF)
        route_answer(&n->requests, &h, &n->outcomes);
    n->requests.duplicates += became == STORE_DUPLICATE;
}

static void on_apply(void *ctx, uint64_t index, uint64_t term, enum log_type type, const uint8_t *payload, size_t len)
{
    struct node *n = ctx;
    if (type == LOG_COMMAND)
        apply_batch(n, index, term, payload, len);
    else if (type == LOG_CHANGE && store_configure(n->store, index, term, payload, len) != 0)
        die(NODE_EXIT_INTERNAL, "out of memory");
    else if (type == LOG_BARRIER)
        store_skip(n->store, index, term);
    if (!n->was_ready) {
        n->clock_base_ms = store_clock_ms(n->store);
        n->clock_since_ms = uv_now(n->loop);
    }
}

/* ---- Expiry: the leader names what is due; the state decides ---- */

static void propose_own(struct node *n, struct command_buf *buf, uint32_t count)
{
    batch_set_count(buf->base, count);
    struct blob *blob = blob_own(buf->base, buf->len);
    if (blob == NULL)
        return; /* Tried again at the next turn. */
    *buf = (struct command_buf){0};
    struct replica_status status;
    if (replica_propose(n->replica, blob) == 0) {
        replica_status(n->replica, &status);
        n->expiry_seq = status.last;
    }
    blob_unref(blob);
}

static void propose_due(struct node *n)
{
    struct command_buf buf = {0};
    uint64_t clock = node_clock_ms(n);
    if (!replica_ready(n->replica) || store_applied(n->store) < n->expiry_seq)
        return;
    bool due = store_next_due_ms(n->store) <= clock;
    if (!due && (store_keys_with_ttl(n->store) == 0 || clock < store_clock_ms(n->store) + NODE_CLOCK_TICK_MS))
        return;
    batch_begin(&buf, 0, 0, 0);
    if (!due || store_due(n->store, clock, NODE_DUE_BATCH, &buf) == 0)
        command_add(&buf, OP_TICK, 0, NULL, 0, NULL, 0);
    if (!buf.failed)
        propose_own(n, &buf, 1);
    command_buf_release(&buf);
}

static void on_due(uv_timer_t *timer)
{
    propose_due(timer->data);
}

/* One timer at the next expiry; with an expiry entry under way it is armed again when that has been applied. */
static void arm_due(struct node *n)
{
    if (!replica_ready(n->replica) || store_applied(n->store) < n->expiry_seq)
        return;
    uint64_t at = store_next_due_ms(n->store), clock = node_clock_ms(n);
    if (at == UINT64_MAX)
        return;
    uint64_t wait = at > clock ? at - clock : 0;
    if (wait > NODE_HOUSEKEEPING_MS)
        return; /* Housekeeping comes by before then. */
    if (!uv_is_active((uv_handle_t *)&n->due) || wait < uv_timer_get_due_in(&n->due))
        uv_timer_start(&n->due, on_due, wait, 0);
}

/* ---- What the replica asks ---- */

static void on_changed(void *ctx)
{
    struct node *n = ctx;
    bool ready = replica_ready(n->replica);
    if (ready && !n->was_ready) {
        clock_restart(n);
        n->expiry_seq = 0;
    }
    n->was_ready = ready;
    struct replica_status s;
    replica_status(n->replica, &s);
    log_info("%s in term %llu, leader %llu%s",
             s.role == REPLICA_LEADER      ? "leader"
             : s.role == REPLICA_CANDIDATE ? "candidate"
                                           : "follower",
             (unsigned long long)s.term, (unsigned long long)s.leader, s.ready ? ", ready" : "");
    route_changed(&n->requests);
}

static void on_message(void *ctx, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len)
{
    struct node *n = ctx;
    route_message(&n->requests, from, kind, payload, len);
}

static void on_replica_link(void *ctx, uint64_t peer, bool up)
{
    struct node *n = ctx;
    log_info("link to node %llu is %s", (unsigned long long)peer, up ? "up" : "down");
    route_changed(&n->requests);
}

static void on_read_ready(void *ctx, uint64_t ticket, bool ok)
{
    struct node *n = ctx;
    route_read_ready(&n->requests, ticket, ok);
}

static void on_failed(void *ctx, const char *why)
{
    (void)ctx;
    die(NODE_EXIT_DISK, why);
}

static void on_replica_log(void *ctx, int level, const char *text)
{
    (void)ctx;
    log_write((enum log_level)level, "%s", text);
}

/* ---- Snapshots ---- */

static void path_in(const struct node *n, const char *name, char path[NODE_LOG_BYTES_MAX + 64])
{
    snprintf(path, NODE_LOG_BYTES_MAX + 64, "%s/%s", n->config.data_dir, name);
}

static void make_work(uv_work_t *work)
{
    struct node *n = work->data;
    char path[NODE_LOG_BYTES_MAX + 64];
    path_in(n, REPLICA_SNAPSHOT_FILE, path);
    n->work_rc = snapshot_make(n->config.data_dir, path, n->work_error, &n->made);
}

static void make_done(uv_work_t *work, int status)
{
    struct node *n = work->data;
    size_t conf_len = 0;
    uint64_t conf_index = 0;
    const uint8_t *conf = store_configuration(n->store, &conf_len, &conf_index);
    n->working = SNAPSHOT_NONE;
    if (status != 0 || n->closing)
        return;
    if (n->work_rc != 0)
        log_error("cannot make a snapshot: %s", n->work_error);
    struct replica_snapshot s = {n->made.applied, n->made.applied_term, n->made.conf_index, n->made.bytes, conf,
                                 conf_len};
    /* A membership change between the copy and now: the next attempt has both alike. */
    bool usable = n->work_rc == 0 && n->made.conf_index == conf_index;
    replica_snapshot_made(n->replica, usable ? &s : NULL);
}

static void on_snapshot_make(void *ctx)
{
    struct node *n = ctx;
    if (n->working != SNAPSHOT_NONE || uv_queue_work(n->loop, &n->work, make_work, make_done) != 0) {
        replica_snapshot_made(n->replica, NULL);
        return;
    }
    n->working = SNAPSHOT_MAKING;
}

static void check_work(uv_work_t *work)
{
    struct node *n = work->data;
    char path[NODE_LOG_BYTES_MAX + 64];
    path_in(n, STORE_INCOMING, path);
    n->work_rc = snapshot_check(path, n->cluster_id, n->work_error, &n->made);
}

static void check_done(uv_work_t *work, int status)
{
    struct node *n = work->data;
    n->working = SNAPSHOT_NONE;
    if (status != 0 || n->closing)
        return;
    if (n->work_rc != 0)
        log_error("the snapshot that was received is not usable: %s", n->work_error);
    replica_snapshot_checked(n->replica, n->work_rc == 0);
}

static void on_snapshot_check(void *ctx)
{
    struct node *n = ctx;
    if (n->working != SNAPSHOT_NONE || uv_queue_work(n->loop, &n->work, check_work, check_done) != 0) {
        replica_snapshot_checked(n->replica, false);
        return;
    }
    n->working = SNAPSHOT_CHECKING;
}

static int on_snapshot_install(void *ctx)
{
    struct node *n = ctx;
    int rc = store_install(n->store);
    if (rc != 0) {
        log_error("cannot put the snapshot in place: %s", store_error(n->store));
        return rc;
    }
    uint64_t start = 0, seq = 0;
    store_origin(n->store, n->config.node_id, &start, &seq);
    if (start == n->start)
        requests_skipped(&n->requests, seq);
    n->checkpointed = 0;
    return 0;
}

/* ---- Turns of the loop ---- */

static void flush(struct node *n)
{
    route_flush(&n->requests);
    replica_reads_flush(n->replica);
    arm_due(n);
    bool waits = !requests_idle(&n->requests) || n->requests.flying_writes.n > 0;
    if (waits && !uv_is_active((uv_handle_t *)&n->tick))
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
    requests_expire(&n->requests, uv_now(n->loop));
    if (requests_idle(&n->requests) && n->requests.flying_writes.n == 0)
        uv_timer_stop(&n->tick);
}

static void poll_store(struct node *n)
{
    int rc = store_poll(n->store, uv_now(n->loop));
    if (rc != 0)
        die_of_store(n, rc);
    uint64_t durable = store_durable(n->store);
    if (durable > n->checkpointed) {
        n->checkpointed = durable;
        replica_checkpoint(n->replica, durable, store_durable_term(n->store));
    }
}

static void on_store_ready(uv_async_t *h)
{
    struct node *n = h->data;
    if (n->closing)
        return;
    poll_store(n);
}

static void store_notify(void *ctx)
{
    struct node *n = ctx;
    uv_async_send(&n->store_ready);
}

static void drain_continue(struct node *n);

static void on_housekeeping(uv_timer_t *h)
{
    struct node *n = h->data;
    poll_store(n);
    if (replica_wants_checkpoint(n->replica))
        store_checkpoint_soon(n->store);
    propose_due(n);
    if (n->draining)
        drain_continue(n);
}

/* ---- What the links report ---- */

static void on_frame(void *ctx, uint64_t peer, uint8_t kind, const uint8_t *payload, size_t len)
{
    struct node *n = ctx;
    replica_receive(n->replica, peer, kind, payload, len);
}

static void on_up(void *ctx, uint64_t peer)
{
    struct node *n = ctx;
    replica_link(n->replica, peer, true);
}

static void on_down(void *ctx, uint64_t peer, const char *why)
{
    struct node *n = ctx;
    (void)why;
    replica_link(n->replica, peer, false);
}

static void on_lost(void *ctx, uint64_t peer)
{
    struct node *n = ctx;
    replica_lost(n->replica, peer);
}

static bool admit(void *ctx, uint64_t peer)
{
    struct node *n = ctx;
    for (size_t i = 0; i < n->config.n_members; i++)
        if (n->config.members[i].id == peer)
            return true;
    return replica_knows(n->replica, peer);
}

static void on_link_log(void *ctx, enum link_level level, const char *text)
{
    (void)ctx;
    log_write((enum log_level)level, "%s", text);
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
    return ok ? 0 : -1;
}

static int make_data_dir(const struct node *n, char error[256])
{
    struct stat st;
    if (mkdir(n->config.data_dir, 0700) != 0 && errno != EEXIST) {
        snprintf(error, 256, "cannot make the data directory %.150s: %s", n->config.data_dir, strerror(errno));
        return -1;
    }
    if (stat(n->config.data_dir, &st) == 0 && S_ISDIR(st.st_mode) &&
        access(n->config.data_dir, R_OK | W_OK | X_OK) == 0)
        return 0;
    snprintf(error, 256, "the data directory %.150s is not a directory that can be written: %s", n->config.data_dir,
             strerror(errno != 0 && errno != EEXIST ? errno : ENOTDIR));
    return -1;
}

static int open_store(struct node *n, char error[256])
{
    struct store_options o = {.dir = n->config.data_dir,
                              .cluster_id = n->cluster_id,
                              .cache_bytes = n->config.cache_bytes,
                              .flush_interval_ms = n->config.flush_interval_ms,
                              .flush_rows = NODE_FLUSH_ROWS,
                              .checkpoint_bytes = n->config.checkpoint_bytes,
                              .value_bytes_max = n->config.max_value_bytes,
                              .notify = store_notify,
                              .notify_ctx = n};
    int rc = store_open(&o, error, &n->store);
    if (rc == 0)
        return 0;
    return rc == STORE_ENOMEM ? NODE_EXIT_INTERNAL : NODE_EXIT_DATA_DIR;
}

static int open_replica(struct node *n, char error[256])
{
    struct replica_member members[CONFIG_MEMBERS_MAX];
    for (size_t i = 0; i < n->config.n_members; i++) {
        members[i].id = n->config.members[i].id;
        members[i].voter = true;
        snprintf(members[i].address, sizeof members[i].address, "%s", n->config.members[i].address);
    }
    struct replica_options o = {.io = n->io,
                                .id = n->config.node_id,
                                .members = members,
                                .n_members = n->config.n_members,
                                .election_timeout_ms = n->config.election_timeout_ms,
                                .heartbeat_ms = n->config.heartbeat_ms,
                                .segment_bytes = n->config.segment_bytes,
                                .log_memory_bytes = n->config.log_memory_bytes,
                                .keep_entries = n->config.log_keep_entries,
                                .keep_bytes = n->config.log_keep_bytes,
                                .applied = store_applied(n->store),
                                .applied_term = store_applied_term(n->store),
                                .owner = {n, on_stamp, on_apply, on_changed, on_message, on_replica_link, on_read_ready,
                                          on_snapshot_make, on_snapshot_check, on_snapshot_install, on_failed,
                                          on_replica_log}};
    memcpy(o.cluster_id, n->cluster_id, sizeof o.cluster_id);
    o.conf = store_configuration(n->store, &o.conf_len, &o.conf_index);
    int rc = replica_open(&o, error, &n->replica);
    if (rc == 0)
        return 0;
    return rc == REPLICA_ENOMEM || rc == REPLICA_EVERSION ? NODE_EXIT_INTERNAL
           : rc == REPLICA_EINVAL                         ? NODE_EXIT_USAGE
                                                          : NODE_EXIT_DATA_DIR;
}

static int open_links(struct node *n, char error[256])
{
    struct links_options o = {.loop = n->loop,
                              .listen = n->config.peer_listen,
                              .node_id = n->config.node_id,
                              .start = n->start,
                              .client_address = n->config.advertise,
                              .ctx = n,
                              .admit = admit,
                              .on_frame = on_frame,
                              .on_up = on_up,
                              .on_down = on_down,
                              .on_lost = on_lost,
                              .on_log = on_link_log};
    memcpy(o.cluster_id, n->cluster_id, sizeof o.cluster_id);
    return links_open(&o, error, &n->links) == 0 ? 0 : NODE_EXIT_LISTEN;
}

static int open_io(struct node *n, char error[256])
{
    struct io_uv_options o = {.loop = n->loop, .directory = n->config.data_dir, .on_timer = replica_timer};
    return io_uv_open(&o, error, &n->io) == 0 ? 0 : NODE_EXIT_DATA_DIR;
}

static void start_handles(struct node *n)
{
    uv_prepare_init(n->loop, &n->prepare);
    uv_check_init(n->loop, &n->check);
    uv_timer_init(n->loop, &n->tick);
    uv_timer_init(n->loop, &n->housekeeping);
    uv_timer_init(n->loop, &n->due);
    uv_async_init(n->loop, &n->store_ready, on_store_ready);
    n->open_handles = 6;
    n->prepare.data = n->check.data = n->tick.data = n->housekeeping.data = n->due.data = n->store_ready.data = n;
    n->work.data = n;
}

/* After the links, whose own prepare handle then runs later in a turn and takes along what this one sends. */
static void run_handles(struct node *n)
{
    uv_prepare_start(&n->prepare, on_prepare);
    uv_check_start(&n->check, on_check);
    uv_timer_start(&n->tick, on_tick, NODE_TICK_MS, NODE_TICK_MS);
    uv_timer_start(&n->housekeeping, on_housekeeping, NODE_HOUSEKEEPING_MS, NODE_HOUSEKEEPING_MS);
}

static uint64_t requests_now(void *ctx)
{
    return node_now_ms(ctx);
}

static uint64_t requests_clock(void *ctx)
{
    return node_clock_ms(ctx);
}

static void open_requests(struct node *n)
{
    struct requests *q = &n->requests;
    q->bytes_max = n->config.max_queue_bytes;
    q->dirty_bytes_max = 4 * n->config.cache_bytes;
    q->now_ms = requests_now;
    q->clock_ms = requests_clock;
    q->log = on_replica_log;
    q->ctx = n;
    requests_init(q, n->replica, n->store, n->config.node_id, n->start);
}

int node_open(uv_loop_t *loop, const struct config *config, char error[256], struct node **ret)
{
    struct node *n = calloc(1, sizeof *n);
    snprintf(error, 256, "out of memory");
    if (n == NULL)
        return NODE_EXIT_INTERNAL;
    n->loop = loop;
    n->config = *config;
    start_handles(n);
    int rc = make_cluster_id(n) == 0 ? 0 : NODE_EXIT_INTERNAL;
    if (rc == 0)
        rc = make_data_dir(n, error) == 0 ? 0 : NODE_EXIT_DATA_DIR;
    if (rc == 0)
        rc = open_io(n, error);
    if (rc == 0)
        rc = open_store(n, error);
    if (rc == 0)
        rc = open_replica(n, error);
    if (rc == 0) {
        n->start = replica_start(n->replica);
        open_requests(n);
        clock_restart(n);
        rc = open_links(n, error);
    }
    if (rc != 0) {
        node_close(n);
        return rc;
    }
    io_uv_set_links(n->io, n->links);
    run_handles(n);
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
}

/* Runs the loop until what this node has there is gone; the rest of the daemon has closed its own by now. */
void node_close(struct node *n)
{
    if (n == NULL)
        return;
    n->closing = true;
    n->links_closed = n->links == NULL;
    if (n->io != NULL)
        io_uv_set_links(n->io, NULL);
    if (n->replica != NULL)
        replica_stop(n->replica);
    links_close(n->links, on_links_closed, n);
    uv_prepare_stop(&n->prepare);
    uv_check_stop(&n->check);
    uv_timer_stop(&n->tick);
    uv_timer_stop(&n->housekeeping);
    uv_timer_stop(&n->due);
    while (!n->links_closed || n->working != SNAPSHOT_NONE || (n->replica != NULL && replica_busy(n->replica)))
        uv_run(n->loop, UV_RUN_ONCE);
    requests_release(&n->requests);
    replica_close(n->replica);
    io_uv_close(n->io);
    store_close(n->store); /* Joins the flusher, which may call store_notify() until then. */
    close_handles(n);
    while (n->open_handles > 0)
        uv_run(n->loop, UV_RUN_ONCE);
    outcome_buf_release(&n->outcomes);
    free(n);
}

static void drain_continue(struct node *n)
{
    if (n->drained)
        return;
    uint64_t now = uv_now(n->loop);
    bool late = now >= n->drain_until_ms;
    struct replica_status s;
    replica_status(n->replica, &s);
    if (s.role == REPLICA_LEADER && !late) {
        replica_transfer(n->replica); /* Refused while one is under way; alone, there is nobody to hand over to. */
        return;
    }
    if (!n->requests.stopping)
        requests_stop(&n->requests);
    if (!requests_idle(&n->requests) && !late)
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
    log_info("draining: handing over what this node leads, finishing what is in flight");
    drain_continue(n);
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

static void store_status(const struct node *n, struct node_status *ret)
{
    ret->revision = store_revision(n->store);
    ret->clock_ms = node_clock_ms(n);
    ret->state_hash = store_hash(n->store);
    ret->keys = store_keys(n->store);
    ret->keys_with_ttl = store_keys_with_ttl(n->store);
    ret->expired_total = store_expired_total(n->store);
    ret->cache_bytes = store_cache_bytes(n->store);
    ret->dirty_bytes = store_dirty_bytes(n->store);
    ret->file_bytes = store_file_bytes(n->store);
    ret->checkpoint_index = store_durable(n->store);
}

void node_status(const struct node *n, struct node_status *ret)
{
    static const char *const roles[] = {"follower", "candidate", "leader"};
    const struct requests *q = &n->requests;
    struct replica_status s;
    replica_status(n->replica, &s);
    *ret = (struct node_status){.id = s.id,
                                .start = s.start,
                                .term = s.term,
                                .leader = s.leader,
                                .role = roles[s.role],
                                .ready = s.ready,
                                .commit_index = s.commit,
                                .applied_index = s.applied,
                                .last_index = s.last,
                                .first_index = s.first,
                                .durable_index = s.durable,
                                .log_bytes = s.log_bytes,
                                .syncs = s.syncs,
                                .sync_us_median = s.sync_us_median,
                                .batches_proposed = q->proposed,
                                .batches_forwarded = q->forwarded,
                                .batches_resent = q->resent,
                                .batches_duplicate = q->duplicates,
                                .reads_rounds = s.read_rounds,
                                .snapshots_sent = s.snapshots_sent,
                                .snapshots_installed = s.snapshots_installed,
                                .elections = s.elections,
                                .writes_waiting = q->waiting_writes,
                                .reads_waiting = q->waiting_reads,
                                .has_disk_reserve = s.has_reserve};
    store_status(n, ret);
    for (size_t i = 0; i < sizeof n->cluster_id; i++)
        snprintf(ret->cluster_id + 2 * i, 3, "%02x", n->cluster_id[i]);
    for (; ret->n_members < s.n_members && ret->n_members < NODE_MEMBERS_MAX; ret->n_members++)
        member_status(n, &s, ret->n_members, &ret->members[ret->n_members]);
}

unsigned node_replicas_at(const struct node *n, uint64_t index)
{
    struct replica_status s;
    unsigned voters = 0, holders = 0;
    replica_status(n->replica, &s);
    for (size_t i = 0; i < s.n_members; i++) {
        voters += s.members[i].member.voter;
        holders += s.members[i].member.id != s.leader && s.members[i].match >= index;
    }
    unsigned least = voters / 2; /* A majority, the leader not counted. */
    return s.role == REPLICA_LEADER && holders > least ? holders : least;
}
