/* identity.c - who is at the other end of a link: is it the member it says it is, with the disk it always had? And what
 * the others think of us: a node that its cluster has removed, or whose disk is not the one they know, ends.
 *
 * A refusal is believed only with its evidence. "Not a member" comes with the index of the list of members that the
 * other one has committed: one that is newer than ours and does not name us is final, one that is older only lags. */
#include "raft/replica_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void replica_introduce(const struct replica *r, struct frame_greeting *g)
{
    g->incarnation = log_incarnation(r->log);
    g->last = log_last(r->log);
    g->configuration = r->raft.configuration_committed_index;
    replica_address_of(r, r->id, g->peer);
}

unsigned replica_judge(struct replica *r, const struct frame_greeting *g, char *why)
{
    unsigned long long id = g->from;
    if (!membership_admits(r, g)) {
        snprintf(why, FRAME_GREETING_TEXT_MAX, "node %llu is not a member of this cluster", id);
        return FRAME_REFUSED_MEMBER;
    }
    switch (known_meet(&r->known, g->from, g->incarnation, g->start, g->last)) {
    case 0:
        return 0;
    case KNOWN_EOTHER:
        snprintf(why, FRAME_GREETING_TEXT_MAX, "its data directory is not the one that node %llu had", id);
        return FRAME_REFUSED_LOST;
    case KNOWN_EOLDER:
        snprintf(why, FRAME_GREETING_TEXT_MAX, "its data directory is an older copy of the one that node %llu had", id);
        return FRAME_REFUSED_LOST;
    default:
        snprintf(why, FRAME_GREETING_TEXT_MAX, "node %llu cannot remember it: %.150s", (unsigned long long)r->id,
                 r->io->error);
        return FRAME_REFUSED_LIMIT;
    }
}

void replica_expel(struct replica *r, const char *format, ...)
{
    char why[600];
    va_list args;
    if (r->failed)
        return;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    r->failed = true; /* Not a vote, not an acknowledgement from now on. */
    r->owner.expelled(r->owner.ctx, why);
}

void replica_refused(struct replica *r, uint64_t by, const struct frame_greeting *g)
{
    unsigned long long self = r->id, other = by;
    if (g->code == FRAME_REFUSED_LOST)
        replica_expel(
            r,
            "node %llu refuses this node %llu: %s. A node whose disk was lost may not take part under its old id: "
            "bring "
            "the right data directory back, or start a new node in its place, with an empty directory and --join "
            "ADDRESS --replace %llu",
            other, self, g->text, self);
    else if (g->code == FRAME_REFUSED_MEMBER && (r->is_member || !r->joins) &&
             g->configuration > r->raft.configuration_committed_index)
        replica_expel(r, "node %llu was removed from its cluster, says node %llu", self, other);
}

void identity_note(struct replica *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    uint64_t commit = raft_commit_index(&r->raft);
    if (raft_state(&r->raft) != RAFT_LEADER)
        return;
    for (unsigned i = 0; i < c->n; i++) {
        uint64_t match = replica_match(r, c->servers[i].id);
        known_holds(&r->known, c->servers[i].id, match < commit ? match : commit);
    }
}
