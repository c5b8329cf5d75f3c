/* compact.c - forgetting the log behind a checkpoint. The owner's state file is the snapshot: once it is durable at an
 * index, entries up to there are needed only by followers that lag. Some are kept for those, by count and by size; a
 * follower behind even these gets the file. */
#include "raft/replica_internal.h"
#include <assert.h>

/* The index up to which the log may go: what is kept behind the checkpoint is the smaller of keep_entries and
 * keep_bytes, the latter judged by the log's mean entry size. */
static uint64_t cut_index(const struct replica *r, uint64_t index)
{
    uint64_t n = log_last(r->log) + 1 - log_first(r->log), keep = r->keep_entries;
    uint64_t mean = n > 0 ? log_disk_bytes(r->log) / n : 0;
    if (mean > 0 && r->keep_bytes / mean < keep)
        keep = r->keep_bytes / mean;
    uint64_t cut = index > keep ? index - keep : 0;
    uint64_t held = offer_holds(r);
    return cut < held ? cut : held;
}

void replica_checkpoint(struct replica *r, uint64_t index, uint64_t term)
{
    if (r->failed || !r->opened || r->raft.snapshot.installing)
        return;
    if (index <= r->snapshot_given || index > r->applied || index > raft_last_index(&r->raft))
        return;
    if (r->raft.configuration_committed_index > index || log_term_at(r->log, index) != term)
        return;
    uint64_t cut = cut_index(r, index);
    if (cut < log_first(r->log))
        return; /* Nothing would become free. */
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    struct raft_snapshot_metadata *m = &event.snapshot.metadata;
    struct raft_buffer buf;
    if (raft_configuration_encode(&r->raft.configuration_committed, &buf) != 0) {
        replica_fail(r, "out of memory");
        return;
    }
    int rv = raft_configuration_decode(&buf, &m->configuration);
    raft_free(buf.base);
    if (rv != 0) {
        replica_fail(r, "out of memory");
        return;
    }
    m->index = index;
    m->term = term;
    m->configuration_index = r->raft.configuration_committed_index;
    event.snapshot.trailing = (unsigned)(index - cut);
    r->snapshot_given = index;
    replica_step(r, &event, NULL);
    if (!r->failed)
        log_cut(r->log, cut);
}

bool replica_wants_checkpoint(const struct replica *r)
{
    uint64_t behind = r->applied > r->snapshot_given ? r->applied - r->snapshot_given : 0;
    uint64_t n = log_last(r->log) + 1 - log_first(r->log);
    return behind > r->keep_entries / 2 || (behind * 2 > n && log_disk_bytes(r->log) > 2 * r->keep_bytes);
}
