/* localnode.c - two queues of encoded commands; each command becomes a batch of its own when its turn comes. */
#include "tests/support/localnode.h"
#include "node/changes.h"
#include "node/tokens.h"
#include "node/listeners.h"
#include "node/waiters.h"
#include "node/scripts.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCALNODE_LATE_MS 60000
#define LOCALNODE_HISTORY_BYTES (1u << 20)

struct pending {
    struct conn *conn;
    uint8_t *command;
    size_t len;
    struct pending *next;
};

struct queue {
    struct pending *first, **last;
    size_t n;
    struct command_buf gather;
};

struct node {
    uv_loop_t *loop;
    const struct config *config;
    struct store *store;
    struct localnode_knobs knobs;
    struct queue writes, reads;
    struct waiters waiters;
    struct listeners listeners;
    uint64_t clock_ms, index, seq;
    uv_idle_t work; /* Active while there is something to answer. */
    bool drained;
};

static void queue_init(struct queue *q)
{
    q->last = &q->first;
}

static struct pending *queue_pop(struct queue *q)
{
    struct pending *p = q->first;
    assert(p != NULL);
    q->first = p->next;
    if (q->first == NULL)
        q->last = &q->first;
    q->n--;
    return p;
}

static void pending_free(struct pending *p)
{
    conn_unref(p->conn);
    free(p->command);
    free(p);
}

/* ---- Applying ---- */

static void apply(struct node *n, uint64_t origin, const uint8_t *commands, size_t len, uint32_t count,
                  struct outcome_buf *out)
{
    struct command_buf batch = {0};
    enum store_applied applied;
    batch_begin(&batch, origin, 1, origin != 0 ? ++n->seq : 0);
    batch.base = realloc(batch.base, batch.len + len);
    assert(batch.base != NULL);
    memcpy(batch.base + batch.len, commands, len);
    batch.len += len;
    batch_set_count(batch.base, count);
    batch_set_value_max(batch.base, n->config->max_value_bytes);
    batch_stamp(batch.base, n->clock_ms);
    listeners_begin(&n->listeners);
    int rc = store_apply(n->store, ++n->index, 1, batch.base, batch.len, out, &applied);
    listeners_end(&n->listeners);
    assert(rc == 0 && applied == STORE_APPLIED);
    command_buf_release(&batch);
}

/* What a leader does in time: name what is due. */
static void expire(struct node *n)
{
    while (store_next_due_ms(n->store) <= n->clock_ms) {
        struct command_buf due = {0};
        struct outcome_buf out = {0};
        uint32_t count = store_due(n->store, n->clock_ms, 1000, &due);
        if (count == 0) {
            command_buf_release(&due);
            return;
        }
        apply(n, 0, due.base, due.len, count, &out);
        command_buf_release(&due);
        outcome_buf_release(&out);
    }
}

static void read_one(struct node *n, const uint8_t *command, size_t len, struct outcome_buf *out)
{
    size_t used;
    int rc = store_read(n->store, command, len, n->clock_ms, out, &used);
    assert(rc == 0 && used == len);
}

void localnode_answer(struct node *n, bool writes)
{
    struct pending *p = queue_pop(writes ? &n->writes : &n->reads);
    struct outcome_buf out = {0};
    n->clock_ms += n->knobs.step_ms;
    expire(n);
    if (writes)
        apply(n, n->config->node_id, p->command, p->len, 1, &out);
    else
        read_one(n, p->command, p->len, &out);
    struct outcome o;
    bool waits = outcome_next(out.base, out.len, &o) > 0 && o.tag == OUTCOME_LATER;
    if (waits && !writes)
        keywaits_add(&n->listeners.keywaits, conn_ref(p->conn), &o, uv_now(n->loop));
    else if (waits)
        waiters_add(&n->waiters, conn_ref(p->conn), &o, uv_now(n->loop) + LOCALNODE_LATE_MS);
    else
        conn_answer(p->conn, out.base, out.len);
    outcome_buf_release(&out);
    pending_free(p);
}

void localnode_fail(struct node *n, bool writes, enum request_failure why)
{
    struct pending *p = queue_pop(writes ? &n->writes : &n->reads);
    conn_fail(p->conn, why);
    pending_free(p);
}

static void on_work(uv_idle_t *handle)
{
    struct node *n = handle->data;
    while (n->writes.n > 0 && !n->knobs.hold_writes)
        localnode_answer(n, true);
    while (n->reads.n > 0 && !n->knobs.hold_reads)
        localnode_answer(n, false);
    uv_idle_stop(&n->work);
}

/* ---- Who waits for a lock ---- */

static void on_event(void *ctx, const struct store_event *event)
{
    struct node *n = ctx;
    waiters_changed(&n->waiters, event);
}

static void leave(void *ctx, struct bytes name, uint64_t session, uint64_t token)
{
    struct node *n = ctx;
    struct command_buf command = {0};
    struct outcome_buf out = {0};
    const int64_t nums[] = {(int64_t)session, (int64_t)token};
    if (name.len == 0)
        command_add(&command, OP_WAIT_LEAVE, 0, nums + 1, 1, NULL, 0);
    else
        command_add(&command, OP_LOCK_LEAVE, 0, nums, 2, &name, 1);
    apply(n, 0, command.base, command.len, 1, &out);
    command_buf_release(&command);
    outcome_buf_release(&out);
}

void requests_gone(struct node *n, struct conn *c)
{
    waiters_gone(&n->waiters, c);
    keywaits_gone(&n->listeners.keywaits, c);
}

bool requests_unblock(struct node *n, struct conn *c, bool with_error)
{
    return waiters_unblock(&n->waiters, c, with_error) || keywaits_unblock(&n->listeners.keywaits, c, with_error);
}

size_t requests_n_waiting(const struct node *n)
{
    return n->waiters.n + n->listeners.keywaits.n;
}

/* ---- requests.h ---- */

struct command_buf *requests_write_buf(struct node *n)
{
    n->writes.gather.failed = 0; /* As in requests.c: the next command may find memory. */
    return &n->writes.gather;
}

struct command_buf *requests_read_buf(struct node *n)
{
    n->reads.gather.failed = 0;
    return &n->reads.gather;
}

static int take_in(struct node *n, struct queue *q, struct conn *c, long at, int refusal)
{
    struct pending *p = calloc(1, sizeof *p);
    assert(at == 0 && p != NULL && !q->gather.failed);
    if (refusal != 0) {
        q->gather.len = 0;
        free(p);
        return refusal;
    }
    p->conn = conn_ref(c);
    p->len = q->gather.len;
    p->command = malloc(p->len);
    assert(p->command != NULL);
    memcpy(p->command, q->gather.base, p->len);
    q->gather.len = 0;
    *q->last = p;
    q->last = &p->next;
    q->n++;
    uv_idle_start(&n->work, on_work);
    return 0;
}

static void take(void *ctx, struct conn *conn, uint64_t token)
{
    struct node *n = ctx;
    const int64_t num = (int64_t)token;
    long at = command_add(requests_write_buf(n), OP_WAIT_TAKE, 0, &num, 1, NULL, 0);
    int rc = take_in(n, &n->writes, conn, at, 0);
    assert(rc == 0);
    conn_unref(conn);
}

int requests_write(struct node *n, struct conn *c, long at, uint64_t deadline_ms)
{
    (void)deadline_ms;
    return take_in(n, &n->writes, c, at, n->knobs.refuse_writes);
}

int requests_read(struct node *n, struct conn *c, long at, uint64_t deadline_ms)
{
    (void)deadline_ms;
    assert(!command_is_write(n->reads.gather.base[at]));
    return take_in(n, &n->reads, c, at, n->knobs.refuse_reads);
}

int requests_read_local(struct node *n, struct conn *c, long at)
{
    struct outcome_buf out = {0};
    assert(at == 0);
    read_one(n, n->reads.gather.base, n->reads.gather.len, &out);
    n->reads.gather.len = 0;
    struct outcome o;
    if (outcome_next(out.base, out.len, &o) > 0 && o.tag == OUTCOME_LATER)
        keywaits_add(&n->listeners.keywaits, conn_ref(c), &o, uv_now(n->loop));
    else
        conn_answer(c, out.base, out.len);
    outcome_buf_release(&out);
    return 0;
}

/* ---- node.h ---- */

struct node *localnode_open(uv_loop_t *loop, const struct config *config, const char *dir)
{
    static const uint8_t cluster_id[STORE_CLUSTER_ID_BYTES] = "localnode";
    char error[256];
    struct node *n = calloc(1, sizeof *n);
    assert(n != NULL);
    struct store_options options = {
        .dir = dir,
        .script_host = &scripts_host,
        .cluster_id = cluster_id,
        .cache_bytes = 64u << 20,
        .flush_rows = 1u << 20,
        .checkpoint_bytes = 64u << 20,
    };
    int rc = store_open(&options, error, &n->store);
    if (rc != 0)
        fprintf(stderr, "localnode: %s\n", error);
    assert(rc == 0);
    n->loop = loop;
    n->config = config;
    n->index = store_applied(n->store);
    n->clock_ms = store_clock_ms(n->store);
    listeners_init(&n->listeners, n->store);
    listeners_keep(&n->listeners, LOCALNODE_HISTORY_BYTES);
    waiters_init(&n->waiters, n->store, leave, take, n);
    store_on_event(n->store, on_event, n);
    n->knobs = (struct localnode_knobs){.step_ms = 2, .is_leader = true, .leader = config->node_id};
    queue_init(&n->writes);
    queue_init(&n->reads);
    uv_idle_init(loop, &n->work);
    n->work.data = n;
    return n;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void localnode_close(struct node *n)
{
    while (n->writes.n > 0)
        localnode_fail(n, true, REQUEST_STOPPING);
    while (n->reads.n > 0)
        localnode_fail(n, false, REQUEST_STOPPING);
    waiters_release(&n->waiters);
    listeners_release(&n->listeners);
    command_buf_release(&n->writes.gather);
    command_buf_release(&n->reads.gather);
    store_abandon(n->store);
    uv_close((uv_handle_t *)&n->work, on_closed);
}

struct localnode_knobs *localnode_knobs(struct node *n)
{
    uv_idle_start(&n->work, on_work); /* What is held may be let go now. */
    return &n->knobs;
}

size_t localnode_n_writes(const struct node *n)
{
    return n->writes.n;
}

size_t localnode_n_reads(const struct node *n)
{
    return n->reads.n;
}

void localnode_advance_ms(struct node *n, uint64_t ms)
{
    n->clock_ms += ms;
    expire(n);
}

void node_drain(struct node *n, void (*on_drained)(void *ctx), void *ctx)
{
    n->drained = true;
    on_drained(ctx);
}

uv_loop_t *node_loop(const struct node *n)
{
    return n->loop;
}

const struct config *node_config(const struct node *n)
{
    return n->config;
}

uint64_t node_now_ms(const struct node *n)
{
    return uv_now(n->loop);
}

static void put_member(struct node_status *s, uint64_t id, uint64_t match)
{
    struct node_member *m = &s->members[s->n_members++];
    m->id = id;
    snprintf(m->peer_address, sizeof m->peer_address, "10.0.0.%u:7501", (unsigned)id);
    snprintf(m->client_address, sizeof m->client_address, "10.0.0.%u:7401", (unsigned)id);
    m->voter = m->linked = true;
    m->match_index = match;
}

void node_times(const struct node *n, struct node_times *ret)
{
    static const struct histogram none;
    (void)n;
    *ret = (struct node_times){.sync = &none, .commit = &none, .apply = &none};
}

bool node_is_draining(const struct node *n)
{
    return n->drained;
}

void node_status(const struct node *n, struct node_status *ret)
{
    *ret = (struct node_status){
        .id = n->config->node_id,
        .start = 1,
        .term = 1,
        .leader = n->knobs.leader,
        .leaderless_ms = n->knobs.leaderless_ms,
        .role = n->knobs.is_leader ? "leader" : "follower",
        .ready = n->knobs.is_leader,
        .commit_index = n->index,
        .applied_index = n->index,
        .last_index = n->index,
        .first_index = 1,
        .durable_index = n->index,
        .revision = store_revision(n->store),
        .clock_ms = n->clock_ms,
        .state_hash = store_hash(n->store),
        .keys = store_keys(n->store),
        .keys_with_ttl = store_keys_with_ttl(n->store),
        .expired_total = store_expired_total(n->store),
        .has_disk_reserve = true,
        .cluster_id = "6c6f63616c6e6f646500000000000000",
    };
    put_member(ret, n->config->node_id, n->index);
    if (n->knobs.leader != 0 && n->knobs.leader != n->config->node_id)
        put_member(ret, n->knobs.leader, 0);
}

unsigned node_replicas_at(const struct node *n, uint64_t index)
{
    (void)index;
    return n->knobs.replicas;
}

struct listeners *node_listeners(struct node *n)
{
    return &n->listeners;
}

struct changes *node_changes(const struct node *n)
{
    (void)n;
    static struct changes none; /* Its replica is NULL: no test here changes members. */
    return &none;
}

struct tokens *node_tokens(const struct node *n)
{
    (void)n;
    static struct tokens none;
    return &none;
}

uint64_t node_clock_ms(const struct node *n)
{
    return n->clock_ms;
}
