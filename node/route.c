/* route.c - getting batches to the leader, whoever that is, and answers back.
 *
 * The route is this node (when it leads and may propose), a peer (the leader we know, over a link that is up), or none.
 * Every change of it begins a new epoch; whatever was sent in an earlier one is sent again in order, since a frame may
 * have been lost on the way and an entry may be lost with its leader. Twice in the log does no harm: the state applies
 * (origin, start, seq) once, and only in turn. */
#include "node/queue.h"
#include "store/little.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void find_route(struct requests *q)
{
    uint64_t leader = replica_leader(q->replica);
    q->leader = 0;
    q->term = replica_term(q->replica);
    q->route = ROUTE_NONE;
    if (replica_ready(q->replica)) {
        q->route = ROUTE_SELF;
    } else if (leader != 0 && leader != q->self && replica_link_up(q->replica, leader)) {
        q->route = ROUTE_PEER;
        q->leader = leader;
    }
}

void route_changed(struct requests *q)
{
    enum route before = q->route;
    uint64_t leader = q->leader, term = q->term;
    find_route(q);
    if (q->route == before && q->leader == leader && q->term == term)
        return;
    q->epoch++;
    q->retry_ms = 0;
    batch_list_prepend(&q->unsent_reads, &q->remote_reads);
}

/* What was sent over this very route is to be sent again. */
static void begin_epoch(struct requests *q, uint64_t retry_in_ms)
{
    q->epoch++;
    q->retry_ms = retry_in_ms > 0 ? q->now_ms(q->ctx) + retry_in_ms : 0;
    batch_list_prepend(&q->unsent_reads, &q->remote_reads);
}

void route_gap(struct requests *q)
{
    begin_epoch(q, QUEUE_RETRY_MS);
}

/* ---- Writes out ---- */

/* Bytes that may be stamped and sent: a copy when a log may hold the old ones, and without the commands whose clients
 * have been told already. */
static int refresh(const struct requests *q, struct batch *b)
{
    if (b->blob == NULL) {
        b->blob = blob_own(b->commands.base, b->commands.len);
        if (b->blob == NULL)
            return -1;
        b->commands = (struct command_buf){0};
    } else if (b->blob->refs > 1) {
        struct blob *copy = blob_copy(b->blob->bytes, b->blob->len);
        if (copy == NULL)
            return -1;
        blob_unref(b->blob);
        b->blob = copy;
    }
    for (uint32_t i = 0; b->n_dead > 0 && i < b->n; i++)
        if (b->waiters[i].conn == NULL && !b->waiters[i].own)
            command_cancel(b->blob->bytes + b->waiters[i].at);
    batch_set_seq(b->blob->bytes, b->seq);
    batch_set_count(b->blob->bytes, b->n);
    batch_set_value_max(b->blob->bytes, q->value_bytes_max);
    return 0;
}

static bool send_write(struct requests *q, struct batch *b)
{
    if (refresh(q, b) != 0)
        return false;
    if (q->route == ROUTE_SELF) {
        if (replica_propose(q->replica, b->blob) != 0)
            return false;
        q->proposed++;
    } else {
        struct io_slice slice = {b->blob, 0, b->blob->len};
        replica_send(q->replica, q->leader, PEER_FORWARD, NULL, 0, &slice, 1);
        q->forwarded++;
    }
    if (!b->maybe)
        b->sent_us = q->now_us(q->ctx);
    q->resent += b->maybe;
    b->again = b->maybe;
    b->maybe = true;
    b->epoch = q->epoch;
    return true;
}

static bool must_go_slowly(const struct requests *q)
{
    return !replica_has_reserve(q->replica) && store_dirty_bytes(q->store) > QUEUE_LOW_SPACE_DIRTY;
}

static void flush_writes(struct requests *q)
{
    if (q->route == ROUTE_SELF && must_go_slowly(q))
        return; /* Looked at again every turn. */
    for (struct batch *b = q->flying_writes.first; b != NULL; b = b->next)
        if (b->epoch != q->epoch && !send_write(q, b))
            goto retry;
    while (q->flying_writes.n < QUEUE_WRITES_IN_FLIGHT) {
        struct batch *b = batch_list_pop(&q->unsent_writes);
        if (b == NULL && q->gather_writes != NULL && q->gather_writes->n > 0) {
            b = q->gather_writes;
            q->gather_writes = NULL;
        }
        if (b == NULL)
            return;
        b->seq = q->next_seq++;
        batch_list_push(&q->flying_writes, b);
        if (!send_write(q, b))
            goto retry;
    }
    return;
retry:
    begin_epoch(q, QUEUE_RETRY_MS);
}

/* ---- Reads out ---- */

static bool send_read(struct requests *q, struct batch *b)
{
    if (q->route == ROUTE_SELF) {
        if (replica_read(q->replica, &b->seq) != 0)
            return false;
        batch_list_push(&q->round_reads, b);
        return true;
    }
    size_t at = b->waiters[b->n_answered].at;
    struct blob *blob = blob_copy(b->commands.base + at, b->commands.len - at);
    if (blob == NULL)
        return false;
    uint8_t head[16];
    b->seq = q->next_read_id++;
    little_put_u64(head, b->seq);
    little_put_u64(head + 8, b->n - b->n_answered);
    struct io_slice slice = {blob, 0, blob->len};
    replica_send(q->replica, q->leader, PEER_READS, head, sizeof head, &slice, 1);
    blob_unref(blob);
    batch_list_push(&q->remote_reads, b);
    return true;
}

static void flush_reads(struct requests *q)
{
    size_t in_flight = q->large_answers ? 1 : QUEUE_READS_IN_FLIGHT;
    while (q->route == ROUTE_SELF || q->remote_reads.n < in_flight) {
        struct batch *b = batch_list_pop(&q->unsent_reads);
        if (b == NULL && q->gather_reads != NULL && q->gather_reads->n > 0) {
            b = q->gather_reads;
            q->gather_reads = NULL;
        }
        if (b == NULL)
            return;
        if (send_read(q, b))
            continue;
        struct batch_list one = {NULL, &one.first, 0};
        batch_list_push(&one, b);
        batch_list_prepend(&q->unsent_reads, &one);
        begin_epoch(q, QUEUE_RETRY_MS);
        return;
    }
}

void route_flush(struct requests *q)
{
    route_changed(q);
    if (q->retry_ms != 0 && q->now_ms(q->ctx) < q->retry_ms)
        return;
    q->retry_ms = 0;
    if (q->route == ROUTE_NONE)
        return;
    flush_writes(q);
    if (q->retry_ms == 0)
        flush_reads(q);
}

/* ---- Answers to reads ---- */

/* Run as many of n reads (n > 0) as answer QUEUE_ANSWER_BYTES, one at least. Returns how many; 0: they cannot be run. A
 * few bytes can ask for a large value many times over: hence never all at once. */
static uint32_t run_reads(struct requests *q, const uint8_t *commands, size_t len, uint32_t n)
{
    uint32_t done = 0;
    q->outcomes.len = 0;
    q->outcomes.failed = false;
    while (done < n && q->outcomes.len < QUEUE_ANSWER_BYTES) {
        size_t used = 0;
        int rc = store_read(q->store, commands, len, q->clock_ms(q->ctx), &q->outcomes, &used);
        if (rc != 0) {
            q->store_failed(q->ctx, rc);
            return 0;
        }
        commands += used;
        len -= used;
        done++;
    }
    return q->outcomes.failed ? 0 : done;
}

/* Memory for a large answer is not kept. */
static void trim_outcomes(struct requests *q)
{
    if (q->outcomes.cap > 2 * QUEUE_ANSWER_BYTES)
        outcome_buf_release(&q->outcomes);
}

static void answer_foreign(struct requests *q, const struct foreign_reads *f, bool ok)
{
    uint8_t head[16];
    uint32_t done = ok ? run_reads(q, f->commands, f->len, f->n) : 0;
    little_put_u64(head, f->id);
    little_put_u64(head + 8, done);
    if (done == 0) {
        replica_send(q->replica, f->from, PEER_READ_ANSWERS, head, sizeof head, NULL, 0);
        return;
    }
    struct blob *blob = blob_copy(q->outcomes.base, q->outcomes.len);
    trim_outcomes(q);
    if (blob == NULL)
        return; /* The origin asks again, or tells its clients. */
    struct io_slice slice = {blob, 0, blob->len};
    replica_send(q->replica, f->from, PEER_READ_ANSWERS, head, sizeof head, &slice, 1);
    blob_unref(blob);
}

static void foreign_ready(struct requests *q, uint64_t ticket, bool ok)
{
    while (q->foreign != NULL && q->foreign->ticket <= ticket) {
        struct foreign_reads *f = q->foreign;
        q->foreign = f->next;
        if (q->foreign == NULL)
            q->foreign_last = &q->foreign;
        q->n_foreign--;
        answer_foreign(q, f, ok);
        free(f);
    }
}

/* Pieces of one batch are read one after another: each is as fresh as the round promises. */
static bool answer_own(struct requests *q, struct batch *b)
{
    while (b->n_answered < b->n) {
        size_t at = b->waiters[b->n_answered].at;
        uint32_t done = run_reads(q, b->commands.base + at, b->commands.len - at, b->n - b->n_answered);
        if (done == 0 || !batch_answer(q, b, false, done, q->outcomes.base, q->outcomes.len))
            return false;
    }
    return true;
}

void route_read_ready(struct requests *q, uint64_t ticket, bool ok)
{
    foreign_ready(q, ticket, ok);
    if (!ok) {
        batch_list_prepend(&q->unsent_reads, &q->round_reads);
        return;
    }
    while (q->round_reads.first != NULL && q->round_reads.first->seq <= ticket) {
        struct batch *b = batch_list_pop(&q->round_reads);
        if (!answer_own(q, b))
            batch_fail(q, b, false, REQUEST_NO_QUORUM);
        batch_free(q, b);
    }
    trim_outcomes(q);
}

/* ---- Frames from peers ---- */

static void refuse(struct requests *q, uint64_t to, const struct batch_header *h, enum peer_refusal why)
{
    uint8_t head[24];
    little_put_u64(head, h->start);
    little_put_u64(head + 8, h->seq);
    little_put_u64(head + 16, why);
    replica_send(q->replica, to, PEER_REFUSED, head, sizeof head, NULL, 0);
}

/* Every command whole, none left over; and whether all of them go when the disk is full. */
static bool batch_sound(const uint8_t *batch, size_t len, uint32_t n, bool *ret_frees)
{
    size_t at = BATCH_HEADER_BYTES;
    *ret_frees = true;
    for (uint32_t i = 0; i < n; i++) {
        size_t span = at < len ? command_span(batch + at, len - at) : 0;
        if (span == 0)
            return false;
        *ret_frees = *ret_frees && request_frees_space(batch + at, span);
        at += span;
    }
    return at == len;
}

static void forwarded(struct requests *q, uint64_t from, const uint8_t *payload, size_t len)
{
    struct batch_header h;
    bool frees;
    if (batch_header_decode(payload, len, &h) != 0 || h.node != from || h.seq == 0 ||
        !batch_sound(payload, len, h.n, &frees)) {
        q->log(q->ctx, 1, "dropped a malformed batch from a peer");
        return;
    }
    if (!replica_ready(q->replica) || must_go_slowly(q)) {
        refuse(q, from, &h, PEER_NOT_LEADER);
        return;
    }
    if (!replica_has_reserve(q->replica) && !frees) {
        refuse(q, from, &h, PEER_NO_SPACE);
        return;
    }
    struct blob *blob = blob_copy(payload, len);
    if (blob == NULL || replica_propose(q->replica, blob) != 0)
        refuse(q, from, &h, PEER_NOT_LEADER);
    blob_unref(blob);
}

/* Refused by a leader with a full disk: the clients are told so, and the batch goes again with its commands blanked
 * out, since those behind it need its number. One that was sent before may yet stand in a log: nobody can tell. */
static void refused(struct requests *q, uint64_t from, const uint8_t *payload, size_t len)
{
    if (len != 24 || little_u64(payload) != q->start || from != q->leader)
        return;
    uint64_t seq = little_u64(payload + 8);
    if (little_u64(payload + 16) == PEER_NO_SPACE)
        for (struct batch *b = q->flying_writes.first; b != NULL; b = b->next)
            if (b->seq == seq)
                batch_fail(q, b, true, b->again ? REQUEST_UNKNOWN : REQUEST_NO_SPACE);
    begin_epoch(q, QUEUE_RETRY_MS);
}

static void reads_asked(struct requests *q, uint64_t from, const uint8_t *payload, size_t len)
{
    if (len < 16)
        return;
    size_t bytes = len - 16, at = 0;
    uint64_t n = little_u64(payload + 8);
    if (n == 0 || n > QUEUE_BATCH_COMMANDS) {
        q->log(q->ctx, 1, "dropped malformed reads from a peer");
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        size_t span = at < bytes ? command_span(payload + 16 + at, bytes - at) : 0;
        if (span == 0) {
            q->log(q->ctx, 1, "dropped malformed reads from a peer");
            return;
        }
        at += span;
    }
    struct foreign_reads *f = malloc(sizeof *f + bytes);
    if (f == NULL)
        return;
    *f = (struct foreign_reads){.from = from, .id = little_u64(payload), .n = n, .len = bytes};
    memcpy(f->commands, payload + 16, bytes);
    if (q->n_foreign >= QUEUE_FOREIGN_MAX || replica_read(q->replica, &f->ticket) != 0) {
        answer_foreign(q, f, false);
        free(f);
        return;
    }
    *q->foreign_last = f;
    q->foreign_last = &f->next;
    q->n_foreign++;
}

static void reads_answered(struct requests *q, uint64_t from, const uint8_t *payload, size_t len)
{
    struct batch *b = q->remote_reads.first;
    if (len < 16 || b == NULL || b->seq != little_u64(payload) || from != q->leader)
        return; /* Of an earlier asking. */
    uint64_t n = little_u64(payload + 8);
    if (n == 0) {
        begin_epoch(q, QUEUE_RETRY_MS);
        return;
    }
    if (n > b->n || !batch_answer(q, b, false, (uint32_t)n, payload + 16, len - 16)) {
        q->log(q->ctx, 0, "answers to reads from the leader do not fit what was asked");
        begin_epoch(q, QUEUE_RETRY_MS);
        return;
    }
    q->large_answers = len >= QUEUE_ANSWER_BYTES / QUEUE_READS_IN_FLIGHT;
    if (b->n_answered < b->n) { /* The rest is asked next, before what was asked after it. */
        batch_list_prepend(&q->unsent_reads, &q->remote_reads);
        return;
    }
    batch_list_pop(&q->remote_reads);
    batch_free(q, b);
}

static void events_told(struct requests *q, const uint8_t *payload, size_t len)
{
    for (; len >= 16; payload += 16, len -= 16) {
        const struct store_event e = {.kind = (enum store_event_kind)little_u64(payload),
                                      .token = little_u64(payload + 8)};
        if (e.kind != STORE_LOCK_BROKEN && e.kind <= STORE_WAIT_ENDED)
            waiters_changed(&q->waiters, &e);
    }
}

void route_events(struct requests *q, const uint8_t *events, size_t len)
{
    struct replica_status s;
    struct blob *blob = blob_copy(events, len);
    if (blob == NULL)
        return;
    replica_status(q->replica, &s);
    for (size_t i = 0; i < s.n_members; i++) {
        uint64_t to = s.members[i].member.id;
        struct io_slice slice = {blob, 0, blob->len};
        if (to != q->self && replica_link_up(q->replica, to))
            replica_send(q->replica, to, PEER_EVENTS, NULL, 0, &slice, 1);
    }
    blob_unref(blob);
}

/* Who begins to wait is judged by our own state, which has to be as far as the leader's: so such answers are left to
 * our own application of the entry. */
static bool any_waits(const uint8_t *outcomes, size_t len)
{
    size_t span;
    for (; len > 0 && (span = outcome_span(outcomes, len)) > 0; outcomes += span, len -= span)
        if (outcomes[0] == OUTCOME_LATER)
            return true;
    return false;
}

void route_message(struct requests *q, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len)
{
    switch (kind) {
    case PEER_FORWARD:
        forwarded(q, from, payload, len);
        break;
    case PEER_REFUSED:
        refused(q, from, payload, len);
        break;
    case PEER_ANSWER:
        if (len >= 16 && little_u64(payload) == q->start && !any_waits(payload + 16, len - 16))
            requests_answered(q, little_u64(payload + 8), payload + 16, len - 16);
        break;
    case PEER_READS:
        reads_asked(q, from, payload, len);
        break;
    case PEER_READ_ANSWERS:
        reads_answered(q, from, payload, len);
        break;
    case PEER_EVENTS:
        events_told(q, payload, len);
        break;
    default:
        break; /* A newer peer's. */
    }
}

void route_answer(struct requests *q, const struct batch_header *h, const struct outcome_buf *outcomes)
{
    uint8_t head[16];
    if (!replica_link_up(q->replica, h->node))
        return;
    little_put_u64(head, h->start);
    little_put_u64(head + 8, h->seq);
    struct blob *blob = blob_copy(outcomes->base, outcomes->len);
    if (blob == NULL)
        return; /* The origin computes the same answers itself. */
    struct io_slice slice = {blob, 0, blob->len};
    replica_send(q->replica, h->node, PEER_ANSWER, head, sizeof head, &slice, 1);
    blob_unref(blob);
}
