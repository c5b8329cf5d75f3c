/* start.c - from what the disk holds to a core that runs.
 *
 * The state file is the snapshot: it stands at some applied index A, which is committed for ever, and the log holds
 * what came after (and, for slow followers, some of what came before). Three cases:
 *   - the log reaches A with the same term there: the usual one. The core starts from snapshot A and the entries after
 * it;
 *   - the log ends before A, or has another term at A: entries that committed on other disks were applied here before
 * our own log was synced, or a snapshot was installed and the crash came before the log was reset. What the log holds
 * is a prefix of the state, or was never committed: it starts anew behind A;
 *   - the log begins after A + 1: the state file is older than the log allows, or was taken away. Nothing may be
 * guessed: refused. */
#include "raft/replica_internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_TERM 1 /* Of the first configuration, the same on every founding member. */

static int encode_members(const struct replica_options *o, struct raft_buffer *ret)
{
    struct raft_configuration conf;
    raft_configuration_init(&conf);
    int rv = 0;
    for (size_t i = 0; i < o->n_members && rv == 0; i++)
        rv = raft_configuration_add(&conf, o->members[i].id, o->members[i].address,
                                    o->members[i].voter ? RAFT_VOTER : RAFT_STANDBY);
    if (rv == 0)
        rv = raft_configuration_encode(&conf, ret);
    raft_configuration_close(&conf);
    return rv;
}

/* Every founding member writes the very same first entry. It is repeated when a crash took it before it was synced:
 * nothing can stand in the log behind it then. */
static int bootstrap(struct replica *r, const struct replica_options *o, char error[256])
{
    struct raft_buffer buf;
    int rv = encode_members(o, &buf);
    if (rv != 0) {
        snprintf(error, 256, "the members cannot form a cluster: %s", raft_strerror(rv));
        return rv == RAFT_NOMEM ? REPLICA_ENOMEM : REPLICA_EINVAL;
    }
    struct blob *blob = blob_copy(buf.base, buf.len);
    raft_free(buf.base);
    if (blob == NULL)
        return REPLICA_ENOMEM;
    struct log_entry entry = {.term = START_TERM, .type = LOG_CHANGE, .blob = blob, .offset = 0, .len = blob->len};
    int rc = log_append(r->log, 1, &entry, 1);
    blob_unref(blob);
    if (rc != 0)
        return REPLICA_ENOMEM;
    if (log_term(r->log) >= START_TERM)
        return 0;
    if (log_set_vote(r->log, START_TERM, 0) == 0)
        return 0;
    snprintf(error, 256, "cannot store the first term: %s", r->io->error);
    return REPLICA_EIO;
}

static int fit_log(struct replica *r, const struct replica_options *o, char error[256])
{
    if (log_first(r->log) > o->applied + 1) {
        snprintf(error, 256,
                 "the log begins at index %llu, but the state file stands at %llu: entries between are missing. Was "
                 "the state "
                 "file replaced by an older one? Put the right one back, or remove this node and add it anew",
                 (unsigned long long)log_first(r->log), (unsigned long long)o->applied);
        return REPLICA_ECORRUPT;
    }
    if (log_last(r->log) >= o->applied && log_term_at(r->log, o->applied) == o->applied_term)
        return 0;
    if (log_reset(r->log, o->applied, o->applied_term) != 0)
        return REPLICA_ENOMEM;
    return 0;
}

/* Entries the core is to know: those behind the snapshot in full, those before it (kept for slow followers) by term
 * only, since their configuration is the snapshot's. */
static int read_entry(struct replica *r, uint64_t index, struct raft_entry *ret, struct log_entry *ret_log,
                      char error[256])
{
    if (index <= r->applied) {
        *ret = (struct raft_entry){.term = log_term_at(r->log, index), .type = RAFT_COMMAND};
        return 0;
    }
    int rc = log_read(r->log, index, ret_log);
    if (rc != 0) {
        snprintf(error, 256, "entry %llu cannot be read back from the log: %s", (unsigned long long)index,
                 r->io->error);
        return REPLICA_ECORRUPT;
    }
    *ret = (struct raft_entry){.term = ret_log->term, .type = (enum raft_entry_type)ret_log->type};
    if (ret_log->type != LOG_CHANGE)
        return 0;
    ret->buf = (struct raft_buffer){ret_log->blob->bytes + ret_log->offset, ret_log->len};
    if (configuration_check(ret->buf.base, ret->buf.len) == 0)
        return 0;
    snprintf(error, 256, "the configuration at log index %llu is damaged", (unsigned long long)index);
    return REPLICA_ECORRUPT;
}

static int decode_snapshot(const struct replica_options *o, struct raft_snapshot_metadata *ret, char error[256])
{
    struct raft_buffer buf = {(void *)o->conf, o->conf_len};
    if (o->conf_len == 0 || configuration_check(o->conf, o->conf_len) != 0) {
        snprintf(error, 256, "the state file stands at index %llu but has no valid list of members",
                 (unsigned long long)o->applied);
        return REPLICA_ECORRUPT;
    }
    ret->index = o->applied;
    ret->term = o->applied_term;
    ret->configuration_index = o->conf_index;
    return raft_configuration_decode(&buf, &ret->configuration) == 0 ? 0 : REPLICA_ENOMEM;
}

/* Takes the array of entries. A START that fails may have freed it (it does in most cases), and is let have it. */
static int feed_start(struct replica *r, const struct replica_options *o, struct raft_entry *entries, size_t n,
                      char error[256])
{
    struct raft_event event = {.type = RAFT_START};
    struct raft_snapshot_metadata metadata;
    event.start.term = log_term(r->log);
    event.start.voted_for = log_vote(r->log);
    event.start.start_index = log_first(r->log);
    event.start.entries = entries;
    event.start.n_entries = (unsigned)n;
    if (o->applied > 0) {
        int rc = decode_snapshot(o, &metadata, error);
        if (rc != 0) {
            raft_free(entries);
            return rc;
        }
        membership_start(r, &metadata.configuration);
        event.start.metadata = &metadata; /* Its configuration is the core's from here on. */
    }
    r->snapshot_given = o->applied;
    int rv = replica_step(r, &event, NULL);
    if (rv != 0) {
        snprintf(error, 256, "libraft would not start from this log: %s", raft_strerror(rv));
        return rv == RAFT_NOMEM ? REPLICA_ENOMEM : REPLICA_ECORRUPT;
    }
    raft_free(entries);
    if (r->out_of_memory)
        snprintf(error, 256, "out of memory");
    return r->out_of_memory ? REPLICA_ENOMEM : r->failed ? REPLICA_ECORRUPT : 0;
}

int start_core(struct replica *r, const struct replica_options *o, char error[256])
{
    int rc = o->applied > 0 ? fit_log(r, o, error) : 0;
    if (rc == 0 && !o->joins && o->applied == 0 && log_last(r->log) < log_first(r->log) && log_first(r->log) == 1)
        rc = bootstrap(r, o, error);
    if (rc != 0)
        return rc;
    if (log_first(r->log) > o->applied + 1)
        return fit_log(r, o, error);
    size_t n = (size_t)(log_last(r->log) + 1 - log_first(r->log)), done = 0;
    struct raft_entry *entries = raft_calloc(n + 1, sizeof *entries);
    struct log_entry *held = calloc(n + 1, sizeof *held);
    rc = entries != NULL && held != NULL ? 0 : REPLICA_ENOMEM;
    for (; rc == 0 && done < n; done++)
        rc = read_entry(r, log_first(r->log) + done, &entries[done], &held[done], error);
    if (rc == 0)
        rc = feed_start(r, o, entries, n, error);
    else
        raft_free(entries);
    for (size_t i = 0; held != NULL && i < n; i++)
        blob_unref(held[i].blob);
    free(held);
    return rc;
}
