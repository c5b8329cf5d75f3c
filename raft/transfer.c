/* transfer.c - handing leadership over. The core sends TimeoutNow to a target that may still lag, once, and then gives
 * up: so nothing new is proposed, the target is waited for (no longer than an election would take), and only then is
 * the core told. */
#include "raft/replica_internal.h"
#include "raft/guard.h"

static uint64_t best_target(struct replica *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    uint64_t best = 0, best_match = 0;
    for (unsigned i = 0; i < c->n; i++) {
        uint64_t id = c->servers[i].id, match = replica_match(r, id);
        if (id == r->id || c->servers[i].role != RAFT_VOTER || !replica_link_up(r, id))
            continue;
        if (best == 0 || match > best_match) {
            best = id;
            best_match = match;
        }
    }
    return best;
}

int replica_transfer(struct replica *r, uint64_t to)
{
    if (r->failed || raft_state(&r->raft) != RAFT_LEADER)
        return REPLICA_ENOTLEADER;
    if (r->handing_over)
        return REPLICA_EBUSY;
    r->transfer_to = to == 0 ? best_target(r) : to;
    if (r->transfer_to == 0 || r->transfer_to == r->id || !replica_is_voter(r, r->transfer_to) ||
        !replica_link_up(r, r->transfer_to))
        return REPLICA_EINVAL;
    r->handing_over = true;
    r->transfer_began_ms = replica_now(r);
    r->transfer_asked_ms = 0;
    r->ready = false;
    replica_say(r, 2, "handing leadership to node %llu", (unsigned long long)r->transfer_to);
    transfer_continue(r);
    r->owner.changed(r->owner.ctx);
    return 0;
}

void transfer_continue(struct replica *r)
{
    if (raft_state(&r->raft) != RAFT_LEADER) {
        r->handing_over = false;
        return;
    }
    if (r->transfer_asked_ms != 0) {
        if (raft_transferee(&r->raft) == 0)
            r->handing_over = false; /* The core gave up; the owner may ask again. */
        return;
    }
    if (replica_match(r, r->transfer_to) != raft_last_index(&r->raft)) {
        if (replica_now(r) < r->transfer_began_ms + r->election_timeout_ms)
            return;
        replica_say(r, 1, "node %llu does not catch up: not handing over", (unsigned long long)r->transfer_to);
        r->handing_over = false;
        return;
    }
    r->transfer_asked_ms = replica_now(r);
    struct raft_event event = {.type = RAFT_TRANSFER};
    event.transfer.server_id = r->transfer_to;
    if (replica_step(r, &event, NULL) != 0)
        r->handing_over = false;
}
