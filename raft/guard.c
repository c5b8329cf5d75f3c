/* guard.c - see guard.h. Each function is tested beside a run of the bare core that shows the fault. */
#include "raft/guard.h"
#include <string.h>

#if RAFT_VERSION_NUMBER != 2201
#error "Holdfast drives libraft 0.22.1; the rules for who owns an entry's memory differ in other versions"
#endif

#define GUARD_RETRY_MS 10 /* How far ahead a timer is armed when the core's own time lies in the past. */

/* Give it the configuration of one voter, which then leads. A START that fails may have freed the array of entries (it
 * does in most cases): it is let go of then. */
static int library_start(struct raft *r, struct raft_update *update)
{
    struct raft_event start = {.type = RAFT_START, .time = 1};
    struct raft_configuration conf;
    raft_configuration_init(&conf);
    struct raft_buffer buf = {NULL, 0};
    int rv = raft_configuration_add(&conf, 1, "1", RAFT_VOTER);
    if (rv == 0)
        rv = raft_configuration_encode(&conf, &buf);
    raft_configuration_close(&conf);
    if (rv != 0)
        return -1;
    struct raft_entry *first = raft_calloc(1, sizeof *first);
    if (first != NULL) {
        *first = (struct raft_entry){.term = 1, .type = RAFT_CHANGE, .buf = buf};
        start.start.term = 1;
        start.start.start_index = 1;
        start.start.entries = first;
        start.start.n_entries = 1;
        rv = raft_step(r, &start, update);
        if (rv == 0)
            raft_free(first);
    }
    raft_free(buf.base);
    return first != NULL && rv == 0 && raft_state(r) == RAFT_LEADER ? 0 : -1;
}

static int library_keeps_entries(struct raft *r)
{
    struct raft_update update;
    if (library_start(r, &update) != 0)
        return -1;
    uint64_t payload = 0;
    struct raft_entry entry = {.term = raft_current_term(r), .type = RAFT_COMMAND, .buf = {&payload, sizeof payload}};
    entry.batch = &payload;
    struct raft_event submit = {.type = RAFT_SUBMIT, .time = 2};
    submit.submit.entries = &entry;
    submit.submit.n = 1;
    int rv = raft_step(r, &submit, &update);
    return rv == 0 && (update.flags & RAFT_UPDATE_ENTRIES) && update.entries.batch == &entry ? 0 : -1;
}

int guard_library(void)
{
    struct raft r;
    if (raft_init(&r, NULL, NULL, 1, "1") != 0)
        return -1;
    r.tracer = NULL;
    int rv = library_keeps_entries(&r);
    raft_close(&r, NULL);
    return rv;
}

bool guard_second_leader(const struct raft *r, const struct raft_message *m)
{
    if (raft_state((struct raft *)r) != RAFT_LEADER)
        return false;
    if (m->type == RAFT_APPEND_ENTRIES)
        return m->append_entries.term == raft_current_term(r);
    return m->type == RAFT_INSTALL_SNAPSHOT && m->install_snapshot.term == raft_current_term(r);
}

size_t guard_change_split(const struct raft_entry *entries, size_t n, size_t from)
{
    size_t end = from < n ? from + 1 : n;
    while (end < n && entries[end].type != RAFT_CHANGE)
        end++;
    return end;
}

void guard_prevote_refusal(const struct raft *r, struct raft_message *m)
{
    if (m->type != RAFT_REQUEST_VOTE_RESULT)
        return;
    struct raft_request_vote_result *v = &m->request_vote_result;
    if (v->pre_vote && !v->vote_granted && raft_current_term(r) > v->term)
        v->term = raft_current_term(r);
}

bool guard_stray_vote(const struct raft *r, const struct raft_message *m)
{
    return m->type == RAFT_REQUEST_VOTE_RESULT && raft_state((struct raft *)r) != RAFT_CANDIDATE;
}

bool guard_lost_log(const struct raft *r, const struct raft_message *m)
{
    if (m->type != RAFT_APPEND_ENTRIES_RESULT || m->append_entries_result.rejected == 0)
        return false;
    if (raft_state((struct raft *)r) != RAFT_LEADER || m->append_entries_result.term != raft_current_term(r))
        return false;
    raft_index match = 0;
    return raft_match_index(r, m->server_id, &match) == 0 && m->append_entries_result.rejected <= match;
}

bool guard_stranger(const struct raft *r, const struct raft_message *m)
{
    for (unsigned i = 0; i < r->configuration.n; i++)
        if (r->configuration.servers[i].id == m->server_id)
            return false;
    bool from_leader = m->type == RAFT_APPEND_ENTRIES || m->type == RAFT_INSTALL_SNAPSHOT;
    return !(r->configuration.n == 0 && from_leader);
}

struct raft_server *guard_voter_begin(struct raft *r, const struct raft_message *m, int *ret_role)
{
    if (m->type != RAFT_REQUEST_VOTE)
        return NULL;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        struct raft_server *s = &r->configuration.servers[i];
        if (s->id != r->id || s->role == RAFT_VOTER)
            continue;
        *ret_role = s->role;
        s->role = RAFT_VOTER;
        return s;
    }
    return NULL;
}

void guard_voter_end(struct raft_server *self, int role)
{
    if (self != NULL)
        self->role = role;
}

bool guard_stale_persist(const struct raft *r, uint64_t index)
{
    return index <= r->last_stored || index > raft_last_index((struct raft *)r) || r->snapshot.installing;
}

uint64_t guard_timeout(const struct raft *r, uint64_t now_ms)
{
    uint64_t at = raft_timeout(r);
    return at > now_ms ? at : now_ms + GUARD_RETRY_MS;
}

size_t guard_behind_snapshot(const struct raft *r, struct raft_append_entries *a)
{
    uint64_t covered = r->trail.snapshot.index;
    if (a->prev_log_index > r->trail.offset || a->prev_log_index >= covered)
        return 0;
    uint64_t gone = covered - a->prev_log_index;
    if (gone > a->n_entries)
        gone = a->n_entries;
    a->prev_log_index = covered;
    a->prev_log_term = r->trail.snapshot.term;
    a->n_entries -= (unsigned)gone;
    return (size_t)gone;
}

void guard_commit(const struct raft *r, struct raft_append_entries *a)
{
    raft_index commit = raft_commit_index(r);
    if (a->prev_log_index + a->n_entries < commit && a->leader_commit > commit)
        a->leader_commit = commit;
}
