/* receive.c - frames from peers, checked and guarded, as events for the core. */
#include "raft/replica_internal.h"
#include "raft/guard.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool guarded(struct replica *r, const struct raft_message *m)
{
    unsigned long long from = m->server_id;
    const char *what = NULL;
    if (guard_stray_vote(&r->raft, m))
        return true; /* Late, and quite usual. */
    if (guard_second_leader(&r->raft, m))
        what = "claims to lead in our own term: does another machine run with its id or ours?";
    else if (guard_lost_log(&r->raft, m))
        what = "has lost entries that it had acknowledged, and is left out: give it its old data directory back";
    else if (guard_stranger(&r->raft, m) && !membership_knows(r, m->server_id))
        what = "is not a member";
    if (what == NULL)
        return false;
    if (r->guarded++ % 100 == 0)
        replica_say(r, 1, "dropped a message: node %llu %s", from, what);
    return true;
}

static void feed(struct replica *r, struct raft_message *m, struct batch *given)
{
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = m;
    int role = 0;
    if (m->type == RAFT_APPEND_ENTRIES)
        guard_commit(&r->raft, &m->append_entries);
    struct raft_server *self = guard_voter_begin(&r->raft, m, &role);
    replica_step(r, &event, given);
    guard_voter_end(self, role);
}

static void receive_small(struct replica *r, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len)
{
    struct raft_message m;
    char address[REPLICA_ADDRESS_MAX];
    uint64_t round;
    memset(&m, 0, sizeof m);
    if (frame_small_decode(kind, payload, len, &m, &round) != 0) {
        replica_say(r, 1, "dropped a malformed frame of kind %u from node %llu", kind, (unsigned long long)from);
        return;
    }
    m.server_id = from;
    m.server_address = address;
    replica_address_of(r, from, address);
    if (!guarded(r, &m))
        feed(r, &m, NULL);
}

/* One piece of a message: entries[first .. end) of the frame. The core frees `batch` of the entries when it took none
 * of them, and leaves it to us when it took some: a token of one byte stands for memory that is really the blob's. */
static void feed_piece(struct replica *r, const struct raft_message *whole, size_t first, size_t end)
{
    struct raft_message m = *whole;
    struct raft_append_entries *a = &m.append_entries;
    void *token = NULL;
    if (end > first && (token = raft_malloc(1)) == NULL) {
        replica_fail(r, "out of memory");
        return;
    }
    for (size_t i = first; i < end; i++)
        r->entries[i].batch = token;
    a->prev_log_index += first;
    if (first > 0)
        a->prev_log_term = r->entries[first - 1].term;
    a->entries = end > first ? r->entries + first : NULL;
    a->n_entries = (unsigned)(end - first);
    struct batch given = {r->entries, r->log_entries, end, false};
    feed(r, &m, &given);
    if (given.taken)
        raft_free(token);
}

/* Changes of membership are decoded by the core, which does not check lengths. */
static bool changes_are_sound(const struct replica *r, const uint8_t *payload, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (r->table[i].type == LOG_CHANGE && configuration_check(payload + r->table[i].offset, r->table[i].len) != 0)
            return false;
    return true;
}

static void receive_append(struct replica *r, uint64_t from, const uint8_t *payload, size_t len)
{
    struct raft_message m;
    char address[REPLICA_ADDRESS_MAX];
    uint64_t round;
    memset(&m, 0, sizeof m);
    m.type = RAFT_APPEND_ENTRIES;
    if (frame_append_decode(payload, len, &m.append_entries, &round, r->table) != 0 ||
        !changes_are_sound(r, payload, m.append_entries.n_entries)) {
        replica_say(r, 1, "dropped malformed entries from node %llu", (unsigned long long)from);
        return;
    }
    m.server_id = from;
    m.server_address = address;
    replica_address_of(r, from, address);
    if (guarded(r, &m))
        return;
    const struct frame_entry *table = r->table + guard_behind_snapshot(&r->raft, &m.append_entries);
    size_t n = m.append_entries.n_entries;
    if (n == 0) {
        feed(r, &m, NULL);
        return;
    }
    size_t base = table[0].offset;
    struct blob *blob = blob_copy(payload + base, len - base);
    if (blob == NULL) {
        replica_fail(r, "out of memory");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct frame_entry *e = &table[i];
        r->log_entries[i] = (struct log_entry){e->term, e->type, blob, e->offset - base, e->len};
        r->entries[i] = (struct raft_entry){.term = e->term, .type = (enum raft_entry_type)e->type};
        r->entries[i].buf = (struct raft_buffer){blob->bytes + e->offset - base, e->len};
    }
    for (size_t i = 0; i < n && !r->failed;) {
        size_t end = guard_change_split(r->entries, n, i);
        feed_piece(r, &m, i, end);
        i = end;
    }
    blob_unref(blob);
}

void replica_receive(struct replica *r, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len)
{
    struct frame_probe probe;
    struct frame_install install;
    struct frame_chunk chunk;
    struct frame_chunk_ack ack;
    if (r->failed || !r->opened)
        return;
    switch (kind) {
    case FRAME_APPEND:
        receive_append(r, from, payload, len);
        break;
    case FRAME_APPEND_RESULT:
    case FRAME_VOTE:
    case FRAME_VOTE_RESULT:
    case FRAME_TIMEOUT_NOW:
        receive_small(r, from, kind, payload, len);
        break;
    case FRAME_PROBE:
        if (frame_probe_decode(payload, len, &probe) == 0)
            reads_probe(r, from, &probe);
        break;
    case FRAME_PROBE_ACK:
        if (frame_probe_decode(payload, len, &probe) == 0)
            reads_ack(r, from, &probe);
        break;
    case FRAME_INSTALL:
        if (frame_install_decode(payload, len, &install) == 0)
            install_head(r, from, &install);
        break;
    case FRAME_SNAPSHOT_CHUNK:
        if (frame_chunk_decode(payload, len, &chunk) == 0)
            install_chunk(r, from, &chunk);
        break;
    case FRAME_SNAPSHOT_ACK:
        if (frame_chunk_ack_decode(payload, len, &ack) == 0)
            offer_ack(r, from, &ack);
        break;
    default:
        if (kind >= FRAME_OWNER)
            r->owner.message(r->owner.ctx, from, kind, payload, len);
    }
    if (r->handing_over && !r->failed)
        transfer_continue(r);
}
