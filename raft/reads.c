/* reads.c - linearizable reads without log writes (Raft thesis 6.4).
 *
 * A read that arrives while round R is under way waits for round R + 1; otherwise it starts a round at once. A round is
 * one PROBE{term, round} to every voter, answered at once by any that is still in that term. A majority of answers, our
 * own included, proves that no later leader had committed anything before the round began, for a node's term never goes
 * back once a message of that term has left it. Since entries are applied the moment they commit, the state then has
 * all that was committed when the read arrived. One round serves every read that waits: a busy leader asks once, not
 * once a read. */
#include "raft/replica_internal.h"
#include <assert.h>

#define READS_RESEND_MS 50 /* Probes may be lost; a round that takes longer is asked again under the same number. */

static void probe(struct replica *r)
{
    struct frame_probe p = {.term = raft_current_term(&r->raft), .round = r->reads.round};
    uint8_t buf[FRAME_PROBE_BYTES];
    size_t len = frame_probe_encode(&p, buf);
    r->reads.sent_ms = replica_now(r);
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].role == RAFT_VOTER && c->servers[i].id != r->id)
            r->io->ops->send(r->io, c->servers[i].id, FRAME_PROBE, buf, len, NULL, 0);
}

static void start_round(struct replica *r);

static bool has_majority(const struct replica *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    size_t voters = 0, yes = 0;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].role != RAFT_VOTER)
            continue;
        voters++;
        bool acked = c->servers[i].id == r->id;
        for (size_t k = 0; k < r->reads.n_acked; k++)
            acked = acked || r->reads.acked[k] == c->servers[i].id;
        yes += acked;
    }
    return yes > voters / 2;
}

static void check_round(struct replica *r)
{
    struct reads *q = &r->reads;
    if (!q->running || !has_majority(r))
        return;
    q->running = false;
    q->confirmed = q->round;
    r->read_rounds++;
    r->owner.read_ready(r->owner.ctx, q->confirmed, true);
    if (!q->running && q->wanted > q->round && replica_ready(r))
        start_round(r);
}

static void start_round(struct replica *r)
{
    struct reads *q = &r->reads;
    q->round++;
    q->term = raft_current_term(&r->raft);
    q->n_acked = 0;
    q->running = true;
    probe(r);
    check_round(r); /* A lone voter is its own majority. */
}

int replica_read(struct replica *r, uint64_t *ret_ticket)
{
    struct reads *q = &r->reads;
    if (!replica_ready(r))
        return REPLICA_ENOTLEADER;
    q->wanted = q->round + 1;
    *ret_ticket = q->wanted;
    if (!q->running)
        reads_ready(r);
    return 0;
}

/* Started from the timer rather than from inside replica_read(), so that read_ready() never comes before the caller
 * knows its ticket, and all reads of one turn of the loop share the round. */
void reads_ready(struct replica *r)
{
    if (r->reads.wanted <= r->reads.confirmed || r->reads.running)
        return;
    r->reads.due = true;
}

void replica_reads_flush(struct replica *r)
{
    if (!r->reads.due || r->failed)
        return;
    r->reads.due = false;
    if (replica_ready(r) && !r->reads.running)
        start_round(r);
}

void reads_lost(struct replica *r)
{
    struct reads *q = &r->reads;
    q->running = q->due = false;
    if (q->wanted <= q->confirmed)
        return;
    q->round = q->confirmed = q->wanted;
    r->owner.read_ready(r->owner.ctx, q->wanted, false);
}

void reads_probe(struct replica *r, uint64_t from, const struct frame_probe *p)
{
    uint8_t buf[FRAME_PROBE_BYTES];
    if (raft_current_term(&r->raft) != p->term || raft_state(&r->raft) == RAFT_LEADER)
        return;
    size_t len = frame_probe_encode(p, buf);
    r->io->ops->send(r->io, from, FRAME_PROBE_ACK, buf, len, NULL, 0);
}

void reads_ack(struct replica *r, uint64_t from, const struct frame_probe *p)
{
    struct reads *q = &r->reads;
    if (!q->running || p->round != q->round || p->term != q->term || p->term != raft_current_term(&r->raft))
        return;
    for (size_t k = 0; k < q->n_acked; k++)
        if (q->acked[k] == from)
            return;
    if (!replica_is_voter(r, from) || q->n_acked == REPLICA_MEMBERS_MAX)
        return;
    q->acked[q->n_acked++] = from;
    check_round(r);
}

uint64_t reads_timer(struct replica *r)
{
    if (!r->reads.running)
        return UINT64_MAX;
    if (replica_now(r) >= r->reads.sent_ms + READS_RESEND_MS)
        probe(r);
    return r->reads.sent_ms + READS_RESEND_MS;
}
