/* replica.c - the step loop: each event goes into the core, and what the core asks for is carried out in the order that
 * makes it safe:
 *
 *     term and vote durable -> entries into the log -> messages out -> apply what is committed -> timer
 *
 * A vote leaves only after it is on disk; entries are written while their copies are already under way to followers,
 * and the core counts our own copy only when on_durable says so. Events that follow from an update (a committed
 * configuration, a new leader's barrier) are fed when the update has been used up, since the next raft_step()
 * invalidates it.
 * Failure: a step that fails half-way leaves the core undefined, and a log that failed to write must not be written
 * again. Both end in replica_fail(): from then on nothing is stepped, sent or applied, and the owner exits. */
#include "raft/replica_internal.h"
#include "raft/guard.h"
#include "raft/heap.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLICA_SEGMENT_SPARES 2
#define REPLICA_INFLIGHT_ENTRIES 64
/* A follower that takes longer to swallow a snapshot is offered it again; one that is still at it ignores that. Short,
 * as the core may wait for a later one than the one under way, when the log has been cut meanwhile. */
#define REPLICA_INSTALL_RETRY_MS 1000
/* Elections started because the leader's process died: the voters go one after another, so that two seldom divide the
 * votes and then wait for a whole timeout. */
#define REPLICA_KICK_STEP_MS 10
#define REPLICA_KICK_SPREAD_MS 5

void replica_say(struct replica *r, int level, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->owner.log(r->owner.ctx, level, text);
}

void replica_fail(struct replica *r, const char *format, ...)
{
    if (r->failed)
        return;
    char why[400];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    r->failed = true;
    r->owner.failed(r->owner.ctx, why);
}

uint64_t replica_now(const struct replica *r)
{
    return r->io->ops->now_ms(r->io);
}

/* ---- Carrying out an update ---- */

static void store_vote(struct replica *r)
{
    int rc = log_set_vote(r->log, raft_current_term(&r->raft), raft_voted_for(&r->raft));
    if (rc != 0)
        replica_fail(r, "cannot store term and vote: %s", r->io->error);
}

/* The core's own barrier of a new leader: eight bytes that are ours from now on. */
static void append_barrier(struct replica *r, uint64_t index, const struct raft_entry *e)
{
    struct blob *blob = blob_copy(e->buf.base, e->buf.len);
    raft_free(e->batch);
    if (blob == NULL) {
        replica_fail(r, "out of memory");
        return;
    }
    struct log_entry entry = {.term = e->term, .type = LOG_BARRIER, .blob = blob, .offset = 0, .len = e->buf.len};
    if (log_append(r->log, index, &entry, 1) != 0)
        replica_fail(r, "out of memory");
    blob_unref(blob);
}

static void append_entries(struct replica *r, const struct raft_update *u, struct batch *given)
{
    const struct raft_entry *b = u->entries.batch;
    if (b == &r->raft.barrier) {
        assert(u->entries.n == 1);
        append_barrier(r, u->entries.index, b);
        return;
    }
    assert(given != NULL);
    size_t at = (size_t)(b - given->entries);
    assert(at + u->entries.n <= given->n);
    if (log_append(r->log, u->entries.index, given->log + at, u->entries.n) != 0)
        replica_fail(r, "out of memory");
}

static void send_messages(struct replica *r, const struct raft_update *u)
{
    for (unsigned i = 0; i < u->messages.n && !r->failed; i++) {
        struct raft_message m = u->messages.batch[i];
        guard_prevote_refusal(&r->raft, &m);
        send_message(r, &m);
    }
}

static void configuration_committed(struct replica *r, uint64_t index, const struct log_entry *e)
{
    struct raft_buffer buf = {e->blob->bytes + e->offset, e->len};
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    event.configuration.index = index;
    if (raft_configuration_decode(&buf, &event.configuration.conf) != 0) {
        replica_fail(r, "configuration at index %llu cannot be read", (unsigned long long)index);
        return;
    }
    membership_committed(r, &event.configuration.conf);
    if (r->failed)
        raft_configuration_close(&event.configuration.conf);
    else
        replica_step(r, &event, NULL);
    if (!r->failed)
        replica_follow_members(r);
}

static void apply_entry(struct replica *r, uint64_t index)
{
    struct log_entry e;
    if (log_read(r->log, index, &e) != 0) {
        replica_fail(r, "committed entry %llu cannot be read back from the log: %s", (unsigned long long)index,
                     r->io->error);
        return;
    }
    r->applied = index;
    r->owner.apply(r->owner.ctx, index, e.term, (enum log_type)e.type, e.blob->bytes + e.offset, e.len);
    if (e.type == LOG_CHANGE && !r->failed)
        configuration_committed(r, index, &e);
    blob_unref(e.blob);
}

/* While a snapshot is being installed the commit index may already name entries that are only in it. */
static void apply_committed(struct replica *r)
{
    if (r->applying || !r->opened)
        return;
    r->applying = true;
    while (!r->failed && !r->raft.snapshot.installing && r->applied < raft_commit_index(&r->raft) &&
           r->applied < log_last(r->log))
        apply_entry(r, r->applied + 1);
    r->applying = false;
    if (!r->failed)
        log_applied(r->log, r->applied);
}

static void arm(struct replica *r)
{
    uint64_t at = guard_timeout(&r->raft, replica_now(r));
    uint64_t reads_at = reads_timer(r);
    if (reads_at < at)
        at = reads_at;
    if (r->armed_ms != 0 && r->armed_ms <= at)
        return;
    r->armed_ms = at;
    r->io->ops->timer(r->io, at);
}

static enum replica_role role_now(struct replica *r)
{
    int state = raft_state(&r->raft);
    return state == RAFT_LEADER ? REPLICA_LEADER : state == RAFT_CANDIDATE ? REPLICA_CANDIDATE : REPLICA_FOLLOWER;
}

static uint64_t leader_now(struct replica *r)
{
    raft_id id = 0;
    const char *address = NULL;
    raft_leader(&r->raft, &id, &address);
    return id;
}

/* The own-term rule: a leader proposes nothing, reads nothing and changes no membership before it has committed an
 * entry of its own term. The core appends a barrier only if it has uncommitted entries; otherwise it is ours to add. */
static void begin_to_lead(struct replica *r, bool has_barrier)
{
    r->elections++;
    r->handing_over = false;
    r->own_index = raft_last_index(&r->raft);
    if (has_barrier)
        return;
    static const uint8_t zeros[8];
    struct blob *blob = blob_copy(zeros, sizeof zeros);
    if (blob == NULL) {
        replica_fail(r, "out of memory");
        return;
    }
    struct raft_entry entry = {raft_current_term(&r->raft), RAFT_BARRIER, {blob->bytes, blob->len}, blob->bytes};
    struct log_entry in_log = {entry.term, LOG_BARRIER, blob, 0, blob->len};
    struct batch given = {&entry, &in_log, 1, false};
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = &entry;
    event.submit.n = 1;
    r->own_index = raft_last_index(&r->raft) + 1;
    if (replica_step(r, &event, &given) != 0)
        replica_fail(r, "the core refused the barrier of a new leader");
    blob_unref(blob);
}

static void tell_owner(struct replica *r)
{
    if (!r->opened || r->failed)
        return;
    enum replica_role role = role_now(r);
    bool ready = role == REPLICA_LEADER && r->applied >= r->own_index && !r->handing_over;
    uint64_t term = raft_current_term(&r->raft), leader = leader_now(r);
    if (role == r->role && ready == r->ready && term == r->term && leader == r->leader)
        return;
    bool was_leader = r->role == REPLICA_LEADER && (role != REPLICA_LEADER || term != r->term);
    bool now_ready = ready && !r->ready;
    r->role = role;
    r->ready = ready;
    r->term = term;
    r->leader = leader;
    if (was_leader) {
        reads_lost(r);
        offer_stop(r, 0);
    }
    if (now_ready)
        reads_ready(r);
    replica_follow_members(r); /* With an old leader a list that was not committed may have gone. */
    r->owner.changed(r->owner.ctx);
}

static void carry_out(struct replica *r, const struct raft_update *u, struct batch *given)
{
    if ((u->flags & (RAFT_UPDATE_ENTRIES)) && given != NULL && u->entries.batch != &r->raft.barrier)
        given->taken = true; /* Also when something below fails: the core frees only what it did not take. */
    if ((u->flags & (RAFT_UPDATE_CURRENT_TERM)) || (u->flags & (RAFT_UPDATE_VOTED_FOR)))
        store_vote(r);
    if (!r->failed && (u->flags & (RAFT_UPDATE_ENTRIES)))
        append_entries(r, u, given);
    if (!r->failed && (u->flags & (RAFT_UPDATE_MESSAGES)))
        send_messages(r, u);
}

static int step(struct replica *r, struct raft_event *event, struct batch *given)
{
    if (r->failed)
        return RAFT_SHUTDOWN;
    struct raft_update u;
    bool led = raft_state(&r->raft) == RAFT_LEADER;
    event->time = replica_now(r);
    event->capacity = 0;
    int rv = raft_step(&r->raft, event, &u);
    if (rv != 0) {
        if (event->type == RAFT_SUBMIT || event->type == RAFT_TRANSFER)
            return rv;
        r->core_broken = rv == RAFT_NOMEM;
        replica_fail(r, "libraft failed on an event of type %d: %s", event->type, raft_strerror(rv));
        return rv;
    }
    carry_out(r, &u, given);
    bool leads = raft_state(&r->raft) == RAFT_LEADER, has_entries = (u.flags & (RAFT_UPDATE_ENTRIES)) != 0;
    bool snapshot = (u.flags & (RAFT_UPDATE_SNAPSHOT)) != 0;
    struct raft_snapshot_metadata metadata = u.snapshot.metadata; /* Ours to give back with PERSISTED_SNAPSHOT. */
    bool commit = (u.flags & (RAFT_UPDATE_COMMIT_INDEX)) != 0;
    if (r->failed)
        return 0;
    if (leads && !led)
        begin_to_lead(r, has_entries);
    if (snapshot)
        install_update(r, &metadata);
    if (commit)
        apply_committed(r);
    if (r->failed)
        return 0;
    tell_owner(r);
    arm(r);
    return 0;
}

int replica_step(struct replica *r, struct raft_event *event, struct batch *given)
{
    int rv = step(r, event, given);
    if (heap_was_short()) { /* What the event brought is whole; the next one may not be. */
        r->out_of_memory = true;
        replica_fail(r, "out of memory");
    }
    return rv;
}

/* ---- What the log reports ---- */

static void log_is_durable(void *ctx, uint64_t index, uint64_t term)
{
    struct replica *r = ctx;
    if (r->failed || !r->opened || guard_stale_persist(&r->raft, index) || log_term_at(r->log, index) != term)
        return;
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
    event.persisted_entries.index = index;
    replica_step(r, &event, NULL);
    if (r->handing_over)
        transfer_continue(r);
}

static void log_has_failed(void *ctx, const char *why)
{
    replica_fail(ctx, "the log cannot be written any more: %s", why);
}

/* ---- Life ---- */

static int take_scratch(struct replica *r)
{
    r->slices = calloc(FRAME_ENTRIES_MAX, sizeof *r->slices);
    r->table = calloc(FRAME_ENTRIES_MAX, sizeof *r->table);
    r->head = malloc(FRAME_HEAD_MAX);
    r->entries = calloc(FRAME_ENTRIES_MAX, sizeof *r->entries);
    r->log_entries = calloc(FRAME_ENTRIES_MAX, sizeof *r->log_entries);
    return r->slices && r->table && r->head && r->entries && r->log_entries ? 0 : REPLICA_ENOMEM;
}

static int replica_from_log(int rc)
{
    switch (rc) {
    case LOG_ENOMEM:
        return REPLICA_ENOMEM;
    case LOG_ECORRUPT:
        return REPLICA_ECORRUPT;
    case LOG_EVERSION:
    case LOG_EFOREIGN:
        return REPLICA_EFOREIGN;
    case LOG_ENOSPC:
        return REPLICA_ENOSPC;
    default:
        return REPLICA_EIO;
    }
}

static int open_log(struct replica *r, const struct replica_options *o, char error[256])
{
    struct log_options options = {.node_id = o->id,
                                  .segment_bytes = o->segment_bytes,
                                  .memory_bytes = o->log_memory_bytes,
                                  .reserve_bytes = o->reserve_bytes,
                                  .spares = REPLICA_SEGMENT_SPARES,
                                  .on_durable = log_is_durable,
                                  .on_failed = log_has_failed,
                                  .ctx = r};
    memcpy(options.cluster_id, o->cluster_id, sizeof options.cluster_id);
    int rc = log_open(o->io, &options, error, &r->log);
    return rc == 0 ? 0 : replica_from_log(rc);
}

static int replica_from_known(int rc)
{
    return rc == 0 ? 0 : rc == KNOWN_ECORRUPT ? REPLICA_ECORRUPT : REPLICA_EIO;
}

static void configure_core(struct replica *r, const struct replica_options *o)
{
    r->raft.tracer = NULL; /* The default one formats a string for every message. */
    raft_seed(&r->raft, (unsigned)o->io->ops->random(o->io));
    raft_set_election_timeout(&r->raft, o->election_timeout_ms);
    raft_set_heartbeat_timeout(&r->raft, o->heartbeat_ms);
    raft_set_pre_vote(&r->raft, true);
    raft_set_max_inflight_entries(&r->raft, REPLICA_INFLIGHT_ENTRIES);
    raft_set_install_snapshot_timeout(&r->raft, REPLICA_INSTALL_RETRY_MS);
}

static void take_contacts(struct replica *r, const struct replica_options *o)
{
    r->n_contacts = o->n_members < REPLICA_MEMBERS_MAX ? o->n_members : REPLICA_MEMBERS_MAX;
    memcpy(r->contacts, o->members, r->n_contacts * sizeof *o->members);
    snprintf(r->address, sizeof r->address, "joining"); /* Its true address comes with the list that names it. */
}

static int own_address(struct replica *r, const struct replica_options *o, char error[256])
{
    r->joins = o->joins;
    if (o->joins) {
        take_contacts(r, o);
        return 0;
    }
    for (size_t i = 0; i < o->n_members; i++) {
        if (o->members[i].id != o->id)
            continue;
        memcpy(r->address, o->members[i].address, sizeof r->address);
        return 0;
    }
    snprintf(error, 256, "node %llu is not among the members it was started with", (unsigned long long)o->id);
    return REPLICA_EINVAL;
}

int replica_open(const struct replica_options *o, char error[256], struct replica **ret)
{
    heap_use();
    if (guard_library() != 0) {
        snprintf(error, 256,
                 "the libraft that was loaded does not behave as 0.22.1 does, which this version needs, or there is no "
                 "memory to try it");
        return REPLICA_EVERSION;
    }
    snprintf(error, 256, "out of memory");
    struct replica *r = calloc(1, sizeof *r);
    if (r == NULL)
        return REPLICA_ENOMEM;
    r->io = o->io;
    r->owner = o->owner;
    r->id = o->id;
    r->keep_entries = o->keep_entries;
    r->keep_bytes = o->keep_bytes;
    r->election_timeout_ms = o->election_timeout_ms;
    r->heartbeat_ms = o->heartbeat_ms;
    r->applied = o->applied;
    int rc = own_address(r, o, error);
    if (rc == 0)
        rc = take_scratch(r);
    if (rc == 0)
        rc = open_log(r, o, error);
    if (rc == 0)
        rc = replica_from_known(known_open(&r->known, o->io, error));
    if (rc == 0 && raft_init(&r->raft, NULL, NULL, o->id, r->address) != 0)
        rc = REPLICA_ENOMEM;
    if (rc != 0)
        goto fail;
    configure_core(r, o);
    o->io->replica = r;
    rc = start_core(r, o, error);
    if (rc != 0)
        goto fail;
    membership_remember_peers(r); /* A link may come up before the first timer. */
    r->armed_ms = replica_now(r);
    o->io->ops->timer(o->io, r->armed_ms);
    *ret = r;
    return 0;
fail:
    replica_close(r);
    return rc;
}

void replica_stop(struct replica *r)
{
    r->failed = true; /* Nothing that still completes may step the core. */
}

bool replica_busy(const struct replica *r)
{
    return r->install.writing || r->offer.reading;
}

void replica_close(struct replica *r)
{
    if (r == NULL)
        return;
    assert(!replica_busy(r));
    replica_stop(r);
    install_release(r);
    offer_release(r);
    log_close(r->log);
    if (r->raft.address != NULL && !r->core_broken)
        raft_close(&r->raft, NULL);
    r->io->replica = NULL;
    free(r->slices);
    free(r->table);
    free(r->head);
    free(r->entries);
    free(r->log_entries);
    free(r);
}

static void first_timer(struct replica *r)
{
    r->opened = true;
    replica_follow_members(r);
    log_is_durable(r, log_durable(r->log), log_term_at(r->log, log_durable(r->log)));
    apply_committed(r);
    tell_owner(r);
}

void replica_timer(struct replica *r)
{
    if (r->failed)
        return;
    r->armed_ms = 0;
    if (!r->opened)
        first_timer(r);
    if (!r->failed && raft_timeout(&r->raft) <= replica_now(r)) {
        struct raft_event event = {.type = RAFT_TIMEOUT};
        replica_step(r, &event, NULL);
    }
    if (r->failed)
        return;
    if (r->handing_over)
        transfer_continue(r);
    offer_check(r);
    identity_note(r);
    arm(r);
}

/* ---- The owner's calls ---- */

bool replica_ready(const struct replica *r)
{
    return r->ready && !r->failed && !r->handing_over && raft_state((struct raft *)&r->raft) == RAFT_LEADER;
}

uint64_t replica_uncommitted(const struct replica *r)
{
    return raft_last_index((struct raft *)&r->raft) - raft_commit_index(&r->raft);
}

int replica_propose(struct replica *r, struct blob *batch)
{
    if (!replica_ready(r))
        return REPLICA_ENOTLEADER;
    r->owner.stamp(r->owner.ctx, batch->bytes, batch->len);
    struct raft_entry entry = {raft_current_term(&r->raft), RAFT_COMMAND, {batch->bytes, batch->len}, batch->bytes};
    struct log_entry in_log = {entry.term, LOG_COMMAND, batch, 0, batch->len};
    struct batch given = {&entry, &in_log, 1, false};
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = &entry;
    event.submit.n = 1;
    int rv = replica_step(r, &event, &given);
    return rv == 0 ? 0 : rv == RAFT_NOMEM ? REPLICA_ENOMEM : REPLICA_ENOTLEADER;
}

static size_t peer_place(const struct replica *r, uint64_t peer)
{
    size_t k = 0;
    while (k < r->n_peers && r->peers[k] != peer)
        k++;
    return k;
}

void replica_link(struct replica *r, uint64_t peer, bool up)
{
    size_t k = peer_place(r, peer);
    if (k == r->n_peers || r->failed)
        return;
    r->up[k] = up;
    if (!up) {
        install_peer_down(r, peer);
        offer_stop(r, peer);
    }
    if (r->opened)
        r->owner.link(r->owner.ctx, peer, up);
}

bool replica_link_up(const struct replica *r, uint64_t peer)
{
    size_t k = peer_place(r, peer);
    return k < r->n_peers && r->up[k];
}

/* How many voters with smaller ids there are, without the one that is gone. */
static unsigned place_among_voters(const struct replica *r, uint64_t gone)
{
    const struct raft_configuration *c = &r->raft.configuration;
    unsigned place = 0;
    for (unsigned i = 0; i < c->n; i++)
        place += c->servers[i].role == RAFT_VOTER && c->servers[i].id < r->id && c->servers[i].id != gone;
    return place;
}

/* Liveness only: pre-vote makes a wrong guess harmless, since voters that still hear the leader refuse. */
void replica_lost(struct replica *r, uint64_t peer)
{
    install_peer_down(r, peer);
    if (r->failed || !r->opened || raft_state(&r->raft) != RAFT_FOLLOWER || leader_now(r) != peer)
        return;
    unsigned timeout = r->raft.follower_state.randomized_election_timeout;
    uint64_t delay = r->io->ops->random(r->io) % REPLICA_KICK_SPREAD_MS, now = replica_now(r);
    delay += (uint64_t)place_among_voters(r, peer) * REPLICA_KICK_STEP_MS;
    if (now + delay < timeout)
        return;
    r->raft.follower_state.current_leader.id = 0;
    r->raft.election_timer_start = now + delay - timeout;
    replica_say(r, 2, "the leader's connection ended: electing another now");
    tell_owner(r);
    arm(r);
}

void replica_send(struct replica *r, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                  const struct io_slice *slices, size_t n)
{
    assert(kind >= FRAME_OWNER);
    if (!r->failed)
        r->io->ops->send(r->io, peer, kind, head, head_len, slices, n);
}

bool replica_is_voter(const struct replica *r, uint64_t id)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id == id)
            return c->servers[i].role == RAFT_VOTER;
    return false;
}

void replica_address_of(const struct replica *r, uint64_t id, char ret[REPLICA_ADDRESS_MAX])
{
    const struct raft_configuration *c = &r->raft.configuration;
    ret[0] = '\0';
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id == id)
            snprintf(ret, REPLICA_ADDRESS_MAX, "%s", c->servers[i].address);
}

uint64_t replica_start(const struct replica *r)
{
    return log_start(r->log);
}

uint64_t replica_leader(const struct replica *r)
{
    return r->leader;
}

void replica_set_claim(struct replica *r, uint64_t bytes)
{
    log_set_claim(r->log, bytes);
}

bool replica_has_reserve(const struct replica *r)
{
    return log_has_reserve(r->log);
}

uint64_t replica_term(const struct replica *r)
{
    return r->term;
}

uint64_t replica_match(const struct replica *r, uint64_t peer)
{
    raft_index match = 0;
    if (raft_state((struct raft *)&r->raft) != RAFT_LEADER || raft_match_index(&r->raft, peer, &match) != 0)
        return 0;
    return match;
}

const struct histogram *replica_sync_times(const struct replica *r)
{
    return log_sync_times(r->log);
}

void replica_status(const struct replica *r, struct replica_status *ret)
{
    *ret = (struct replica_status){.role = r->role,
                                   .ready = r->ready,
                                   .installing = r->install.state != INSTALL_IDLE,
                                   .id = r->id,
                                   .term = raft_current_term(&r->raft),
                                   .leader = r->leader,
                                   .start = log_start(r->log),
                                   .commit = raft_commit_index(&r->raft),
                                   .applied = r->applied,
                                   .last = log_last(r->log),
                                   .first = log_first(r->log),
                                   .durable = log_durable(r->log),
                                   .log_bytes = log_disk_bytes(r->log),
                                   .syncs = log_sync_count(r->log),
                                   .sync_us_median = log_sync_us_median(r->log),
                                   .elections = r->elections,
                                   .read_rounds = r->read_rounds,
                                   .snapshots_sent = r->snapshots_sent,
                                   .snapshots_installed = r->snapshots_installed,
                                   .guarded = r->guarded,
                                   .has_reserve = log_has_reserve(r->log)};
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n && i < REPLICA_MEMBERS_MAX; i++) {
        ret->members[i].member.id = c->servers[i].id;
        ret->members[i].member.voter = c->servers[i].role == RAFT_VOTER;
        snprintf(ret->members[i].member.address, REPLICA_ADDRESS_MAX, "%s", c->servers[i].address);
        ret->members[i].match = c->servers[i].id == r->id ? log_durable(r->log) : replica_match(r, c->servers[i].id);
        ret->members[i].link_up = c->servers[i].id == r->id || replica_link_up(r, c->servers[i].id);
        ret->n_members++;
    }
}
