/* peek.c - see peek.h. On its own, as other rooms have a struct batch, too. */
#include "tests/sim/peek.h"
#include "raft/replica_internal.h"

struct log *peek_log(const struct replica *r)
{
    return r->log;
}

bool peek_leads(const struct replica *r)
{
    return raft_state((struct raft *)&r->raft) == RAFT_LEADER;
}

uint64_t peek_term(const struct replica *r)
{
    return raft_current_term(&r->raft);
}

uint64_t peek_commit(const struct replica *r)
{
    return raft_commit_index(&r->raft);
}

uint64_t peek_applied(const struct replica *r)
{
    return r->applied;
}
