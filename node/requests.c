/* requests.c - gathering commands into batches, and what becomes of each request.
 *
 *     gather --> unsent --> flying (writes) or in a round / with the leader (reads) --> answered
 *        `--------`-----------`--> failed at its deadline
 *
 * A write batch gets its number when it is first sent and keeps it until it is known to be applied: it is sent again,
 * in order, whenever the road to the leader changes, and the state applies each number once. A request whose deadline
 * passed while its batch was in flight is told UNKNOWN, and is blanked out of the batch before that is sent again, so
 * that it is not executed long after its client gave up. Reads have no effect, so they are simply asked again. */
#include "node/queue.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- Lists ---- */

static void list_init(struct batch_list *l)
{
    l->first = NULL;
    l->last = &l->first;
    l->n = 0;
}

void batch_list_push(struct batch_list *l, struct batch *b)
{
    b->next = NULL;
    *l->last = b;
    l->last = &b->next;
    l->n++;
}

struct batch *batch_list_pop(struct batch_list *l)
{
    struct batch *b = l->first;
    if (b == NULL)
        return NULL;
    l->first = b->next;
    if (l->first == NULL)
        l->last = &l->first;
    l->n--;
    return b;
}

/* Move all of `front` before what is in l. */
void batch_list_prepend(struct batch_list *l, struct batch_list *front)
{
    if (front->first == NULL)
        return;
    if (l->first == NULL)
        l->last = front->last;
    *front->last = l->first;
    l->first = front->first;
    l->n += front->n;
    list_init(front);
}

/* ---- Batches ---- */

static struct batch *batch_new(struct requests *q)
{
    struct batch *b = q->spare;
    if (b == NULL)
        return calloc(1, sizeof *b);
    q->spare = NULL;
    struct command_buf commands = b->commands;
    struct waiter *waiters = b->waiters;
    uint32_t cap = b->cap;
    commands.len = 0;
    *b = (struct batch){.commands = commands, .waiters = waiters, .cap = cap};
    return b;
}

static size_t batch_bytes(const struct batch *b)
{
    return b->blob != NULL ? b->blob->len : b->commands.len;
}

void batch_free(struct requests *q, struct batch *b)
{
    q->bytes -= batch_bytes(b);
    q->waiting_own -= b->n_own;
    blob_unref(b->blob);
    b->blob = NULL;
    if (q->spare == NULL && b->commands.cap <= 2 * QUEUE_BATCH_BYTES) {
        q->spare = b;
        return;
    }
    command_buf_release(&b->commands);
    free(b->waiters);
    free(b);
}

static uint64_t *waiting(struct requests *q, bool writes)
{
    return writes ? &q->waiting_writes : &q->waiting_reads;
}

static void waiter_fail(struct requests *q, struct batch *b, struct waiter *w, bool writes, enum request_failure why)
{
    struct conn *conn = w->conn;
    if (conn == NULL)
        return;
    w->conn = NULL;
    b->n_dead++;
    --*waiting(q, writes);
    conn_fail(conn, why);
    conn_unref(conn);
}

void batch_fail(struct requests *q, struct batch *b, bool writes, enum request_failure why)
{
    for (uint32_t i = 0; i < b->n; i++)
        waiter_fail(q, b, &b->waiters[i], writes, why);
}

static bool outcomes_fit(uint32_t n, const uint8_t *outcomes, size_t len)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t span = outcome_span(outcomes + at, len - at);
        if (span == 0)
            return false;
        at += span;
    }
    return at == len;
}

static void waiter_answer(struct requests *q, struct batch *b, struct waiter *w, bool writes, const uint8_t *outcome,
                          size_t len)
{
    struct conn *conn = w->conn;
    struct outcome o;
    w->conn = NULL;
    if (conn != NULL) {
        b->n_dead++;
        --*waiting(q, writes);
    }
    if (writes && outcome[0] == OUTCOME_LATER && outcome_next(outcome, len, &o) > 0) {
        waiters_add(&q->waiters, conn, &o, w->deadline_ms);
    } else if (conn != NULL && outcome[0] == OUTCOME_LATER && outcome_next(outcome, len, &o) > 0) {
        keywaits_add(&q->listeners->keywaits, conn, &o, q->now_ms(q->ctx));
    } else if (conn != NULL) {
        conn_answer(conn, outcome, len);
        conn_unref(conn);
    }
}

bool batch_answer(struct requests *q, struct batch *b, bool writes, uint32_t n, const uint8_t *outcomes, size_t len)
{
    if (n > b->n - b->n_answered || !outcomes_fit(n, outcomes, len))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        size_t span = outcome_span(outcomes, len);
        waiter_answer(q, b, &b->waiters[b->n_answered++], writes, outcomes, span);
        outcomes += span;
        len -= span;
    }
    return true;
}

/* ---- Taking in ---- */

static struct command_buf *gather_buf(struct requests *q, struct batch **gather, bool writes)
{
    static struct command_buf none;
    if (*gather == NULL && (*gather = batch_new(q)) == NULL) {
        none = (struct command_buf){.failed = 1};
        return &none; /* command_add() fails on it, and the caller answers. */
    }
    struct command_buf *buf = &(*gather)->commands;
    buf->failed = 0;
    if (writes && buf->len == 0) {
        batch_begin(buf, q->self, q->start, 0);
        q->bytes += buf->len;
    }
    return buf;
}

struct command_buf *requests_write_buf(struct node *n)
{
    struct requests *q = node_requests(n);
    return gather_buf(q, &q->gather_writes, true);
}

struct command_buf *requests_read_buf(struct node *n)
{
    struct requests *q = node_requests(n);
    return gather_buf(q, &q->gather_reads, false);
}

/* c NULL: a command of the node's own. */
static int add_waiter(struct batch *b, struct conn *c, long at, uint64_t deadline_ms)
{
    if (b->n == b->cap) {
        uint32_t cap = b->cap == 0 ? 64 : b->cap * 2;
        struct waiter *grown = realloc(b->waiters, cap * sizeof *grown);
        if (grown == NULL)
            return REQUESTS_ENOMEM;
        b->waiters = grown;
        b->cap = cap;
    }
    b->waiters[b->n] = (struct waiter){
        .conn = c == NULL ? NULL : conn_ref(c), .own = c == NULL, .deadline_ms = deadline_ms, .at = (uint32_t)at};
    if (b->n == 0 || deadline_ms < b->deadline_ms)
        b->deadline_ms = deadline_ms;
    b->n++;
    return 0;
}

static void close_gather(struct requests *q, struct batch **gather, struct batch_list *unsent)
{
    (void)q;
    if (*gather == NULL || (*gather)->n == 0)
        return;
    batch_list_push(unsent, *gather);
    *gather = NULL;
}

static int take_in(struct requests *q, struct batch **gather, bool writes, struct conn *c, long at,
                   uint64_t deadline_ms)
{
    struct batch *b = *gather;
    assert(b != NULL && at >= 0 && (size_t)at < b->commands.len);
    size_t added = b->commands.len - (size_t)at;
    int rc = 0;
    if (q->stopping)
        rc = REQUESTS_ESTOPPING;
    else if (q->bytes + added > q->bytes_max || (writes && store_dirty_bytes(q->store) > q->dirty_bytes_max))
        rc = REQUESTS_EOVERLOADED;
    else
        rc = add_waiter(b, c, at, deadline_ms);
    if (rc != 0) {
        b->commands.len = (size_t)at;
        return rc;
    }
    q->bytes += added;
    ++*waiting(q, writes);
    b->n_rebuilds += command_rebuilds_value(b->commands.base[at]) ? 1 : 0;
    if (b->commands.len >= QUEUE_BATCH_BYTES || b->n >= QUEUE_BATCH_COMMANDS || b->n_rebuilds >= QUEUE_BATCH_REBUILDS)
        close_gather(q, gather, writes ? &q->unsent_writes : &q->unsent_reads);
    return 0;
}

static bool op_frees_space(uint8_t op)
{
    return !command_is_write(op) || op == OP_NOP || op == OP_DEL || op == OP_GETDEL || op == OP_DELIF ||
           op == OP_FLUSHALL || op == OP_SESSION_KEEPALIVE || op == OP_SESSION_CLOSE || op == OP_LOCK_RELEASE ||
           op == OP_LOCK_LEAVE || op == OP_POP || op == OP_LREM || op == OP_LTRIM || op == OP_LMPOP ||
           op == OP_WAIT_TAKE || op == OP_WAIT_LEAVE || op == OP_HDEL;
}

/* What stands in a frame (ONCE, GUARD, or one in the other) decides. */
bool request_frees_space(const uint8_t *command, size_t len)
{
    for (int depth = 0; command != NULL && len > 0; depth++) {
        if (command[0] != OP_ONCE && command[0] != OP_GUARD)
            return op_frees_space(command[0]);
        if (depth == 2)
            return false;
        command = command_first_arg(command, len, &len);
    }
    return false;
}

int requests_write(struct node *n, struct conn *c, long at, uint64_t deadline_ms)
{
    struct requests *q = node_requests(n);
    struct command_buf *buf = &q->gather_writes->commands;
    if (!replica_has_reserve(q->replica) && replica_ready(q->replica) &&
        !request_frees_space(buf->base + at, buf->len - (size_t)at)) {
        buf->len = (size_t)at;
        return REQUESTS_ENOSPC;
    }
    return take_in(q, &q->gather_writes, true, c, at, deadline_ms);
}

void requests_post(struct requests *q, enum command_op op, const int64_t *nums, uint8_t n_nums, struct bytes arg)
{
    struct command_buf *buf = gather_buf(q, &q->gather_writes, true);
    long at = command_add(buf, op, 0, nums, n_nums, &arg, 1);
    if (at < 0)
        return;
    if (add_waiter(q->gather_writes, NULL, at, UINT64_MAX) != 0) {
        buf->len = (size_t)at;
        return;
    }
    q->bytes += buf->len - (size_t)at;
    q->gather_writes->n_own++;
    q->waiting_own++;
}

int requests_read(struct node *n, struct conn *c, long at, uint64_t deadline_ms)
{
    struct requests *q = node_requests(n);
    return take_in(q, &q->gather_reads, false, c, at, deadline_ms);
}

int requests_read_local(struct node *n, struct conn *c, long at)
{
    struct requests *q = node_requests(n);
    struct command_buf *buf = &q->gather_reads->commands;
    struct outcome_buf *out = &q->local_outcomes;
    size_t used = 0, len = buf->len - (size_t)at;
    out->len = 0;
    out->failed = false;
    int rc = store_read(q->store, buf->base + at, len, q->clock_ms(q->ctx), out, &used);
    buf->len = (size_t)at;
    if (rc != 0)
        q->store_failed(q->ctx, rc);
    if (rc != 0 || out->failed)
        return REQUESTS_ENOMEM;
    struct outcome o;
    if (outcome_next(out->base, out->len, &o) > 0 && o.tag == OUTCOME_LATER)
        keywaits_add(&q->listeners->keywaits, conn_ref(c), &o, q->now_ms(q->ctx));
    else
        conn_answer(c, out->base, out->len);
    return 0;
}

/* ---- Answers and deadlines ---- */

void requests_answered(struct requests *q, uint64_t seq, const uint8_t *outcomes, size_t len)
{
    struct batch *b = q->flying_writes.first;
    if (b == NULL || b->seq != seq)
        return; /* Answered before, or out of turn: our own application of the entry answers it in turn. */
    if (!batch_answer(q, b, true, b->n, outcomes, len)) {
        q->log(q->ctx, 0, "answers from the leader do not fit the batch they are for; waiting for our own");
        return;
    }
    histogram_record(&q->commit_times, q->now_us(q->ctx) - b->sent_us);
    batch_list_pop(&q->flying_writes);
    batch_free(q, b);
}

void requests_skipped(struct requests *q, uint64_t seq)
{
    while (q->flying_writes.first != NULL && q->flying_writes.first->seq <= seq) {
        struct batch *b = batch_list_pop(&q->flying_writes);
        batch_fail(q, b, true, REQUEST_UNKNOWN);
        batch_free(q, b);
    }
}

static void expire_batch(struct requests *q, struct batch *b, bool writes, enum request_failure why, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;
    if (b->deadline_ms > now_ms)
        return;
    for (uint32_t i = 0; i < b->n; i++) {
        struct waiter *w = &b->waiters[i];
        if (w->conn == NULL)
            continue;
        if (w->deadline_ms > now_ms) {
            next = w->deadline_ms < next ? w->deadline_ms : next;
            continue;
        }
        if (b->blob == NULL)
            command_cancel(b->commands.base + w->at);
        waiter_fail(q, b, w, writes, why);
    }
    b->deadline_ms = next;
}

/* What was not sent and has nobody left who waits for it is forgotten. */
static void drop_dead(struct requests *q, struct batch_list *unsent)
{
    struct batch_list keep;
    list_init(&keep);
    for (struct batch *b; (b = batch_list_pop(unsent)) != NULL;) {
        if (b->n_dead == b->n)
            batch_free(q, b);
        else
            batch_list_push(&keep, b);
    }
    batch_list_prepend(unsent, &keep);
}

static enum request_failure unsent_failure(const struct requests *q)
{
    uint64_t leader = replica_leader(q->replica);
    if (q->stopping)
        return REQUEST_STOPPING;
    if (leader == 0)
        return REQUEST_NO_LEADER;
    if (leader != q->self && !replica_link_up(q->replica, leader))
        return REQUEST_NO_LINK;
    return REQUEST_NO_QUORUM;
}

static void expire_gather(struct requests *q, struct batch **gather, bool writes, uint64_t now_ms)
{
    if (*gather == NULL || (*gather)->n == 0)
        return;
    expire_batch(q, *gather, writes, unsent_failure(q), now_ms);
    if ((*gather)->n_dead != (*gather)->n)
        return;
    batch_free(q, *gather);
    *gather = NULL;
}

void requests_expire(struct requests *q, uint64_t now_ms)
{
    for (struct batch *b = q->flying_writes.first; b != NULL; b = b->next)
        expire_batch(q, b, true, b->maybe ? REQUEST_UNKNOWN : unsent_failure(q), now_ms);
    for (struct batch *b = q->unsent_writes.first; b != NULL; b = b->next)
        expire_batch(q, b, true, unsent_failure(q), now_ms);
    expire_gather(q, &q->gather_writes, true, now_ms);
    drop_dead(q, &q->unsent_writes);

    struct batch_list *reads[] = {&q->round_reads, &q->remote_reads, &q->unsent_reads};
    for (size_t i = 0; i < 3; i++)
        for (struct batch *b = reads[i]->first; b != NULL; b = b->next)
            expire_batch(q, b, false, i < 2 ? REQUEST_NO_QUORUM : unsent_failure(q), now_ms);
    expire_gather(q, &q->gather_reads, false, now_ms);
    if (q->remote_reads.first != NULL && q->remote_reads.first->n_dead == q->remote_reads.first->n)
        batch_list_prepend(&q->unsent_reads, &q->remote_reads); /* No answer came: ask for those behind it again. */
    drop_dead(q, &q->unsent_reads);
}

void requests_stop(struct requests *q)
{
    q->stopping = true;
    close_gather(q, &q->gather_writes, &q->unsent_writes);
    close_gather(q, &q->gather_reads, &q->unsent_reads);
    for (struct batch *b = q->unsent_writes.first; b != NULL; b = b->next)
        batch_fail(q, b, true, REQUEST_STOPPING);
    for (struct batch *b = q->unsent_reads.first; b != NULL; b = b->next)
        batch_fail(q, b, false, REQUEST_STOPPING);
    drop_dead(q, &q->unsent_writes);
    drop_dead(q, &q->unsent_reads);
    waiters_end(&q->waiters); /* What they leave behind is still sent. */
    keywaits_end(&q->listeners->keywaits);
}

void requests_gone(struct node *n, struct conn *c)
{
    waiters_gone(&node_requests(n)->waiters, c);
    keywaits_gone(&node_requests(n)->listeners->keywaits, c);
}

bool requests_unblock(struct node *n, struct conn *c, bool with_error)
{
    struct requests *q = node_requests(n);
    return waiters_unblock(&q->waiters, c, with_error) || keywaits_unblock(&q->listeners->keywaits, c, with_error);
}

size_t requests_n_waiting(const struct node *n)
{
    return node_requests(n)->waiters.n + node_requests(n)->listeners->keywaits.n;
}

bool requests_idle(const struct requests *q)
{
    return q->waiting_writes + q->waiting_reads + q->waiting_own == 0;
}

static void leave_queue(void *ctx, struct bytes name, uint64_t session, uint64_t token)
{
    const int64_t nums[] = {(int64_t)session, (int64_t)token};
    if (name.len == 0)
        requests_post(ctx, OP_WAIT_LEAVE, nums + 1, 1, name);
    else
        requests_post(ctx, OP_LOCK_LEAVE, nums, 2, name);
}

/* Where it cannot be taken in, nobody takes the offer, and it goes back. */
static void take_offer(void *ctx, struct conn *conn, uint64_t token)
{
    struct requests *q = ctx;
    const int64_t num = (int64_t)token;
    long at = command_add(gather_buf(q, &q->gather_writes, true), OP_WAIT_TAKE, 0, &num, 1, NULL, 0);
    if (at < 0 || take_in(q, &q->gather_writes, true, conn, at, q->now_ms(q->ctx) + WAITERS_TAKE_MS) != 0) {
        leave_queue(q, (struct bytes){.len = 0}, 0, token);
        conn_fail(conn, REQUEST_UNBLOCKED);
    }
    conn_unref(conn);
}

void requests_init(struct requests *q, struct replica *replica, struct store *store, uint64_t self, uint64_t start)
{
    q->replica = replica;
    q->store = store;
    q->self = self;
    q->start = start;
    q->next_seq = 1;
    q->next_read_id = (start << 32) + 1; /* A leader may answer what an earlier start of this node asked. */
    q->foreign_last = &q->foreign;
    waiters_init(&q->waiters, store, leave_queue, take_offer, q);
    struct batch_list *all[] = {&q->unsent_writes, &q->flying_writes, &q->unsent_reads, &q->round_reads,
                                &q->remote_reads};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        list_init(all[i]);
}

static void release_list(struct requests *q, struct batch_list *l, bool writes)
{
    for (struct batch *b; (b = batch_list_pop(l)) != NULL; batch_free(q, b))
        batch_fail(q, b, writes, b->maybe ? REQUEST_UNKNOWN : REQUEST_STOPPING);
}

void requests_release(struct requests *q)
{
    if (q->foreign_last == NULL)
        return; /* Never initialised. */
    q->stopping = true;
    waiters_release(&q->waiters);
    close_gather(q, &q->gather_writes, &q->unsent_writes);
    close_gather(q, &q->gather_reads, &q->unsent_reads);
    release_list(q, &q->flying_writes, true);
    release_list(q, &q->unsent_writes, true);
    release_list(q, &q->round_reads, false);
    release_list(q, &q->remote_reads, false);
    release_list(q, &q->unsent_reads, false);
    struct batch *left[] = {q->gather_writes, q->gather_reads, q->spare};
    for (size_t i = 0; i < 3; i++) {
        if (left[i] == NULL)
            continue;
        command_buf_release(&left[i]->commands);
        free(left[i]->waiters);
        free(left[i]);
    }
    for (struct foreign_reads *f = q->foreign, *next; f != NULL; f = next) {
        next = f->next;
        free(f);
    }
    outcome_buf_release(&q->outcomes);
    outcome_buf_release(&q->local_outcomes);
}
