/* cluster.c - down: batches are proposed to the replica. Up: each committed entry is applied to the store, and what it
 * came to goes to the connections that asked (requests.c) or, when another node gathered the batch, to that node.
 *
 * The replicated clock. A follower counts on from every stamp it applies, by its own monotonic time since; a leader
 * goes on with the count it had when it became ready, and stamps what it says. Stamps therefore form one chain in which
 * no step is longer than the time that really passed: nothing ends early, and a new leader starts none of it again.
 * (Taking the greater of two counts would break that: a key set under a leader whose count lags would end early under
 * one whose does not.)
 *
 * Failure: an entry that cannot be applied, or a disk that fails, ends the node at once. The log has everything that
 * was acknowledged; going on could only tell two stories. */
#include "node/cluster.h"
#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_BYTES 16
#define CLUSTER_TICK_MS 10000  /* Without traffic the clock still moves, so that far expiries come into view. */
#define CLUSTER_DUE_BATCH 1000 /* Rows named by one expiry entry: more would hold up the commands behind it. */

static void die_of_store(struct cluster *c, int rc)
{
    const char *words = store_error(c->store);
    c->owner.die(c->owner.ctx,
                 rc == STORE_EIO      ? NODE_EXIT_DISK
                 : rc == STORE_ENOMEM ? NODE_EXIT_INTERNAL
                                      : NODE_EXIT_DATA_DIR,
                 words != NULL && *words != '\0' ? words : "the state cannot be changed any more");
}

/* ---- Clock ---- */

static uint64_t now_ms(const struct cluster *c)
{
    return c->owner.now_ms(c->owner.ctx);
}

/* For measuring only: nothing is decided by it. */
static uint64_t now_us(void *ctx)
{
    struct cluster *c = ctx;
    return c->io->ops->now_us(c->io);
}

uint64_t cluster_clock_ms(const struct cluster *c)
{
    return c->clock_base_ms + (now_ms(c) - c->clock_since_ms);
}

/* Count on from the stamp that the state stands at. */
static void clock_set(struct cluster *c)
{
    c->clock_base_ms = store_clock_ms(c->store);
    c->clock_since_ms = now_ms(c);
}

static void on_stamp(void *ctx, uint8_t *payload, size_t len)
{
    struct cluster *c = ctx;
    assert(len >= BATCH_HEADER_BYTES);
    batch_stamp(payload, cluster_clock_ms(c));
}

/* ---- Events: those who wait here are told at once, and those who wait elsewhere by a frame ---- */

/* Without memory the others find out with their next entry. */
static void note_event(struct cluster *c, const struct store_event *e)
{
    if (replica_leader(c->replica) != c->id)
        return;
    if (c->events_cap - c->events_len < EVENT_BYTES) {
        size_t cap = c->events_cap == 0 ? 16 * EVENT_BYTES : 2 * c->events_cap;
        uint8_t *grown = realloc(c->events, cap);
        if (grown == NULL)
            return;
        c->events = grown;
        c->events_cap = cap;
    }
    uint64_t event[2] = {htole64((uint64_t)e->kind), htole64(e->token)};
    memcpy(c->events + c->events_len, event, sizeof event);
    c->events_len += sizeof event;
}

static void on_event(void *ctx, const struct store_event *e)
{
    struct cluster *c = ctx;
    char text[512];
    if (e->kind != STORE_LOCK_BROKEN) {
        waiters_changed(&c->requests.waiters, e);
        note_event(c, e);
        return;
    }
    snprintf(text, sizeof text, "lock %.*s was broken by %.*s%s%.*s", (int)(e->name.len < 128 ? e->name.len : 128),
             (const char *)e->name.base, (int)(e->who.len < 128 ? e->who.len : 128), (const char *)e->who.base,
             e->reason.len > 0 ? ": " : "", (int)(e->reason.len < 200 ? e->reason.len : 200),
             (const char *)e->reason.base);
    c->owner.log(c->owner.ctx, 1, text);
}

/* ---- Applying ---- */

static void apply_batch(struct cluster *c, uint64_t index, uint64_t term, const uint8_t *payload, size_t len)
{
    struct batch_header h;
    enum store_applied became = STORE_APPLIED;
    c->outcomes.len = 0;
    c->outcomes.failed = false;
    c->events_len = 0;
    if (batch_header_decode(payload, len, &h) != 0) {
        c->owner.die(c->owner.ctx, NODE_EXIT_DATA_DIR, "a committed entry is not a batch that this version can read");
        return;
    }
    listeners_begin(&c->listeners);
    uint64_t begun_us = now_us(c);
    int rc = store_apply(c->store, index, term, payload, len, &c->outcomes, &became);
    histogram_record(&c->apply_times, now_us(c) - begun_us);
    if (rc != 0 || c->outcomes.failed) {
        die_of_store(c, rc != 0 ? rc : STORE_ENOMEM);
        return;
    }
    bool ours = h.node == c->id && h.start == c->start;
    if (ours && became == STORE_APPLIED)
        requests_answered(&c->requests, h.seq, c->outcomes.base, c->outcomes.len);
    else if (ours && became == STORE_OUT_OF_ORDER)
        route_gap(&c->requests);
    else if (h.node != 0 && became == STORE_APPLIED && replica_leader(c->replica) == c->id)
        route_answer(&c->requests, &h, &c->outcomes);
    if (c->events_len > 0)
        route_events(&c->requests, c->events, c->events_len);
    listeners_end(&c->listeners);
    c->requests.duplicates += became == STORE_DUPLICATE;
}

static void on_apply(void *ctx, uint64_t index, uint64_t term, enum log_type type, const uint8_t *payload, size_t len)
{
    struct cluster *c = ctx;
    if (type == LOG_COMMAND)
        apply_batch(c, index, term, payload, len);
    else if (type == LOG_BARRIER)
        store_skip(c->store, index, term);
    else if (store_configure(c->store, index, term, payload, len) != 0)
        die_of_store(c, STORE_ENOMEM);
    if (type == LOG_COMMAND && !c->was_ready)
        clock_set(c);
}

/* ---- Deadlines: the leader names what is due; the state decides ---- */

static void propose_own(struct cluster *c, struct command_buf *buf, uint32_t n)
{
    batch_set_count(buf->base, n);
    struct blob *blob = blob_own(buf->base, buf->len);
    if (blob == NULL)
        return; /* Tried again at the next turn. */
    *buf = (struct command_buf){0};
    struct replica_status status;
    if (replica_propose(c->replica, blob) == 0) {
        replica_status(c->replica, &status);
        c->expiry_index = status.last;
    }
    blob_unref(blob);
}

static bool may_expire(const struct cluster *c)
{
    return replica_ready(c->replica) && store_applied(c->store) >= c->expiry_index;
}

void cluster_expire(struct cluster *c)
{
    uint64_t clock = cluster_clock_ms(c);
    if (!may_expire(c))
        return;
    bool due = store_next_due_ms(c->store) <= clock;
    if (!due && (!store_has_deadlines(c->store) || clock < store_clock_ms(c->store) + CLUSTER_TICK_MS))
        return;
    struct command_buf buf = {0};
    batch_begin(&buf, 0, 0, 0);
    uint32_t n = due ? store_due(c->store, clock, CLUSTER_DUE_BATCH, &buf) : 1;
    if (!due)
        command_add(&buf, OP_TICK, 0, NULL, 0, NULL, 0);
    if (n > 0 && !buf.failed)
        propose_own(c, &buf, n); /* Otherwise the state has only moved its view of the future; ask again. */
    command_buf_release(&buf);
}

uint64_t cluster_next_expiry_in_ms(const struct cluster *c)
{
    if (!may_expire(c))
        return UINT64_MAX;
    uint64_t at = store_next_due_ms(c->store), clock = cluster_clock_ms(c);
    return at == UINT64_MAX ? UINT64_MAX : at > clock ? at - clock : 0;
}

/* ---- What the replica asks ---- */

static void on_changed(void *ctx)
{
    static const char *const roles[] = {"follower", "candidate", "leader"};
    struct cluster *c = ctx;
    bool ready = replica_ready(c->replica);
    struct replica_status s;
    char text[160], leader[40] = "no leader";
    if (ready && !c->was_ready)
        c->expiry_index = 0;
    c->was_ready = ready;
    replica_status(c->replica, &s);
    if (s.leader != 0)
        snprintf(leader, sizeof leader, "leader: node %llu", (unsigned long long)s.leader);
    snprintf(text, sizeof text, "%s in term %llu; %s%s", roles[s.role], (unsigned long long)s.term, leader,
             s.ready ? ", ready" : "");
    c->owner.log(c->owner.ctx, 2, text);
    route_changed(&c->requests);
}

static void on_message(void *ctx, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len)
{
    struct cluster *c = ctx;
    if (kind == PEER_CHANGE || kind == PEER_CHANGE_ANSWER)
        changes_message(&c->changes, from, kind, payload, len);
    else
        route_message(&c->requests, from, kind, payload, len);
}

static void on_link(void *ctx, uint64_t peer, bool up)
{
    struct cluster *c = ctx;
    (void)peer;
    (void)up;
    route_changed(&c->requests);
}

static void on_read_ready(void *ctx, uint64_t ticket, bool ok)
{
    struct cluster *c = ctx;
    route_read_ready(&c->requests, ticket, ok);
}

static void on_failed(void *ctx, const char *why)
{
    struct cluster *c = ctx;
    c->owner.die(c->owner.ctx, NODE_EXIT_DISK, why);
}

static void on_expelled(void *ctx, const char *why)
{
    struct cluster *c = ctx;
    c->owner.die(c->owner.ctx, NODE_EXIT_EXPELLED, why);
}

static void on_log(void *ctx, int level, const char *text)
{
    struct cluster *c = ctx;
    c->owner.log(c->owner.ctx, level, text);
}

/* ---- Snapshots ---- */

static void on_snapshot_make(void *ctx)
{
    struct cluster *c = ctx;
    if (c->owner.make_snapshot(c->owner.ctx) != 0)
        replica_snapshot_made(c->replica, NULL);
}

void cluster_snapshot_made(struct cluster *c, bool ok, const struct snapshot_info *made)
{
    size_t conf_len = 0;
    uint64_t conf_index = 0;
    const uint8_t *conf = store_configuration(c->store, &conf_len, &conf_index);
    /* After a membership change between the copy and now, the next attempt has both alike. */
    if (!ok || made->conf_index != conf_index) {
        replica_snapshot_made(c->replica, NULL);
        return;
    }
    struct replica_snapshot s = {made->applied, made->applied_term, conf_index, made->bytes, conf, conf_len};
    replica_snapshot_made(c->replica, &s);
}

static void on_snapshot_check(void *ctx)
{
    struct cluster *c = ctx;
    if (c->owner.check_snapshot(c->owner.ctx) != 0)
        replica_snapshot_checked(c->replica, false);
}

void cluster_snapshot_checked(struct cluster *c, bool ok)
{
    replica_snapshot_checked(c->replica, ok);
}

static int on_snapshot_install(void *ctx)
{
    struct cluster *c = ctx;
    int rc = store_install(c->store);
    if (rc != 0) {
        on_log(c, 0, store_error(c->store));
        return rc;
    }
    uint64_t start = 0, seq = 0;
    store_origin(c->store, c->id, &start, &seq);
    if (start == c->start)
        requests_skipped(&c->requests, seq);
    waiters_recheck(&c->requests.waiters);
    listeners_recheck(&c->listeners);
    c->checkpointed = 0;
    clock_set(c);
    return 0;
}

/* ---- Turns ---- */

void cluster_flush(struct cluster *c)
{
    replica_set_claim(c->replica, store_space_wanted(c->store));
    changes_flush(&c->changes);
    route_flush(&c->requests);
    replica_reads_flush(c->replica);
}

void cluster_poll_store(struct cluster *c)
{
    int rc = store_poll(c->store, now_ms(c));
    if (rc != 0) {
        die_of_store(c, rc);
        return;
    }
    uint64_t durable = store_durable(c->store);
    if (durable <= c->checkpointed)
        return;
    c->checkpointed = durable;
    replica_checkpoint(c->replica, durable, store_durable_term(c->store));
}

void cluster_housekeep(struct cluster *c)
{
    cluster_poll_store(c);
    if (replica_wants_checkpoint(c->replica))
        store_checkpoint_soon(c->store);
    cluster_expire(c);
    promotion_tick(&c->promotion, &c->changes);
    waiters_expire(&c->requests.waiters, now_ms(c));
    keywaits_expire(&c->listeners.keywaits, now_ms(c));
}

/* ---- Life ---- */

static uint64_t requests_now(void *ctx)
{
    return now_ms(ctx);
}

static uint64_t requests_clock(void *ctx)
{
    return cluster_clock_ms(ctx);
}

static void on_store_failed(void *ctx, int rc)
{
    die_of_store(ctx, rc);
}

static void open_requests(struct cluster *c, const struct cluster_options *o)
{
    struct requests *q = &c->requests;
    q->value_bytes_max = o->value_bytes_max;
    q->bytes_max = o->queue_bytes_max;
    q->dirty_bytes_max = o->dirty_bytes_max;
    q->now_ms = requests_now;
    q->now_us = now_us;
    q->clock_ms = requests_clock;
    q->log = on_log;
    q->store_failed = on_store_failed;
    q->ctx = c;
    listeners_init(&c->listeners, c->store);
    listeners_keep(&c->listeners, o->history_bytes);
    q->listeners = &c->listeners;
    requests_init(q, c->replica, c->store, c->id, c->start);
}

static void open_changes(struct cluster *c, const struct cluster_options *o)
{
    c->changes.now_ms = requests_now;
    c->changes.ctx = c;
    changes_init(&c->changes, c->replica, c->id, c->start);
    c->promotion = (struct promotion){.wanted = o->wants_vote, .replaces = o->replaces, .log = on_log, .ctx = c};
}

static int exit_from_store(int rc)
{
    return rc == STORE_ENOMEM ? NODE_EXIT_INTERNAL : NODE_EXIT_DATA_DIR;
}

static int exit_from_replica(int rc)
{
    if (rc == REPLICA_ENOMEM || rc == REPLICA_EVERSION)
        return NODE_EXIT_INTERNAL;
    return rc == REPLICA_EINVAL ? NODE_EXIT_USAGE : NODE_EXIT_DATA_DIR;
}

int cluster_open(struct cluster *c, const struct cluster_options *o, char error[256])
{
    memset(c, 0, sizeof *c);
    c->owner = o->owner;
    c->id = o->replica.id;
    int rc = store_open(&o->store, error, &c->store);
    if (rc != 0)
        return exit_from_store(rc);
    c->io = o->io;
    struct replica_options r = o->replica;
    r.io = o->io;
    r.applied = store_applied(c->store);
    r.applied_term = store_applied_term(c->store);
    r.conf = store_configuration(c->store, &r.conf_len, &r.conf_index);
    r.owner = (struct replica_owner){c,
                                     on_stamp,
                                     on_apply,
                                     on_changed,
                                     on_message,
                                     on_link,
                                     on_read_ready,
                                     on_snapshot_make,
                                     on_snapshot_check,
                                     on_snapshot_install,
                                     on_failed,
                                     on_expelled,
                                     on_log};
    rc = replica_open(&r, error, &c->replica);
    if (rc != 0)
        return exit_from_replica(rc);
    c->start = replica_start(c->replica);
    open_requests(c, o);
    open_changes(c, o);
    store_on_event(c->store, on_event, c);
    clock_set(c);
    return 0;
}

void cluster_close(struct cluster *c)
{
    requests_release(&c->requests);
    listeners_release(&c->listeners);
    replica_close(c->replica);
    store_close(c->store);
    outcome_buf_release(&c->outcomes);
    free(c->events);
    memset(c, 0, sizeof *c);
}
