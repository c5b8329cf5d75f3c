/* membership.c - changing who the members are, one server at a time (Raft thesis 4.1): the whole new list is one entry
 * of the log, in force from the moment it is appended and undone by the core when it is truncated.
 *
 * The core checks next to nothing, so the rules stand here:
 *   - an entry of the leader's own term is committed (replica_ready(); without it two leaders can commit different
 *     lists), and the list before is: one change at a time;
 *   - every voter that can be reached has taken in the last list, so that no two of them act on lists further apart;
 *   - a voter has caught up before it counts, and enough of the new voters can be reached to commit anything at all;
 *   - the leader itself is neither removed nor demoted: it hands over first;
 *   - ids are never given twice: what is remembered of an id stays true for ever (known.h).
 *
 * Who lags may not know who leads by now: whoever greets us with a newer list than ours is a guest, listened to and
 * answered as a member, until that list has come here and decides. */
#include "raft/replica_internal.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int refuse(char why[CHANGE_WHY_MAX], int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int refuse(char why[CHANGE_WHY_MAX], int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, CHANGE_WHY_MAX, format, args);
    va_end(args);
    return code;
}

static const struct raft_server *server_of(const struct replica *r, uint64_t id)
{
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        if (r->raft.configuration.servers[i].id == id)
            return &r->raft.configuration.servers[i];
    return NULL;
}

static bool is_reachable(const struct replica *r, uint64_t id)
{
    return id == r->id || replica_link_up(r, id);
}

static uint64_t next_id(const struct replica *r)
{
    uint64_t highest = known_highest(&r->known);
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        if (r->raft.configuration.servers[i].id > highest)
            highest = r->raft.configuration.servers[i].id;
    return highest + 1;
}

/* ---- May it be done? ---- */

static int check_turn(const struct replica *r, char why[CHANGE_WHY_MAX])
{
    const struct raft_configuration *c = &r->raft.configuration;
    unsigned long long index = r->raft.configuration_uncommitted_index;
    if (!replica_ready(r))
        return refuse(why, CHANGE_ENOTLEADER, "this node does not lead, or is not ready to");
    if (index != 0)
        return refuse(why, CHANGE_EBUSY, "another change is under way: %s, at index %llu of the log", r->change_words,
                      index);
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].role == RAFT_VOTER && c->servers[i].id != r->id && replica_link_up(r, c->servers[i].id) &&
            replica_match(r, c->servers[i].id) < r->raft.configuration_committed_index)
            return refuse(why, CHANGE_EBUSY, "node %llu has yet to take in the last change",
                          (unsigned long long)c->servers[i].id);
    return 0;
}

static int check_address(const struct replica *r, const struct replica_change *change, char why[CHANGE_WHY_MAX])
{
    size_t len = strnlen(change->address, REPLICA_ADDRESS_MAX);
    if (len == 0 || len > FRAME_ADDRESS_MAX)
        return refuse(why, CHANGE_EINVAL, "an address has 1 to %d bytes", FRAME_ADDRESS_MAX);
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        if (r->raft.configuration.servers[i].id != change->id &&
            strcmp(r->raft.configuration.servers[i].address, change->address) == 0)
            return refuse(why, CHANGE_EEXISTS, "%s is the address of node %llu", change->address,
                          (unsigned long long)r->raft.configuration.servers[i].id);
    return 0;
}

static int check_add(const struct replica *r, const struct replica_change *change, char why[CHANGE_WHY_MAX])
{
    if (server_of(r, change->id) != NULL)
        return refuse(why, CHANGE_EEXISTS, "node %llu is a member already", (unsigned long long)change->id);
    if (change->id < next_id(r))
        return refuse(why, CHANGE_EEXISTS, "the id %llu was in use before, and ids are never given twice: %llu is free",
                      (unsigned long long)change->id, (unsigned long long)next_id(r));
    if (r->raft.configuration.n >= REPLICA_MEMBERS_MAX)
        return refuse(why, CHANGE_ELIMIT, "there are %d members, as many as there may be", REPLICA_MEMBERS_MAX);
    return check_address(r, change, why);
}

static int check_promote(const struct replica *r, const struct replica_change *change, char why[CHANGE_WHY_MAX])
{
    const struct raft_server *s = server_of(r, change->id);
    unsigned long long id = change->id, match = replica_match(r, change->id),
                       last = raft_last_index((struct raft *)&r->raft);
    if (s->role == RAFT_VOTER)
        return refuse(why, CHANGE_EALREADY, "node %llu is a voter already", id);
    if (!change->force && !is_reachable(r, id))
        return refuse(why, CHANGE_EBEHIND, "node %llu cannot be reached", id);
    if (!change->force && (match == 0 || match + REPLICA_CAUGHT_UP_ENTRIES < last))
        return refuse(why, CHANGE_EBEHIND, "node %llu is behind: it has the log up to %llu of %llu", id, match, last);
    return 0;
}

static int check_leave(const struct replica *r, const struct replica_change *change, char why[CHANGE_WHY_MAX])
{
    const struct raft_server *s = server_of(r, change->id);
    unsigned voters = 0;
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        voters += r->raft.configuration.servers[i].role == RAFT_VOTER;
    if (s->role != RAFT_VOTER && change->kind == CHANGE_DEMOTE)
        return refuse(why, CHANGE_EALREADY, "node %llu is a learner already", (unsigned long long)change->id);
    if (s->role == RAFT_VOTER && voters == 1)
        return refuse(why, CHANGE_ELAST, "node %llu is the last voter: without it there is no cluster",
                      (unsigned long long)change->id);
    if (change->id == r->id)
        return refuse(why, CHANGE_EHANDOVER, "node %llu leads, and must hand over first", (unsigned long long)r->id);
    return 0;
}

static int check_move(const struct replica *r, const struct replica_change *change, char why[CHANGE_WHY_MAX])
{
    if (strcmp(server_of(r, change->id)->address, change->address) == 0)
        return refuse(why, CHANGE_EALREADY, "node %llu has that address already", (unsigned long long)change->id);
    return check_address(r, change, why);
}

static int check_kind(const struct replica *r, const struct replica_change *change, char why[CHANGE_WHY_MAX])
{
    if (change->kind == CHANGE_ADD)
        return check_add(r, change, why);
    if (server_of(r, change->id) == NULL)
        return refuse(why, CHANGE_ENOENT, "node %llu is not a member", (unsigned long long)change->id);
    if (change->kind == CHANGE_PROMOTE)
        return check_promote(r, change, why);
    return change->kind == CHANGE_ADDRESS ? check_move(r, change, why) : check_leave(r, change, why);
}

/* Could the new voters commit anything, as far as can be seen from here? */
static int check_quorum(const struct replica *r, const struct raft_configuration *next, bool force,
                        char why[CHANGE_WHY_MAX])
{
    unsigned voters = 0, reachable = 0;
    for (unsigned i = 0; i < next->n; i++) {
        voters += next->servers[i].role == RAFT_VOTER;
        reachable += next->servers[i].role == RAFT_VOTER && is_reachable(r, next->servers[i].id);
    }
    if (force || reachable > voters / 2)
        return 0;
    return refuse(why, CHANGE_EQUORUM,
                  "the cluster would lose its quorum: of %u voters then, %u can be reached and %u are needed", voters,
                  reachable, voters / 2 + 1);
}

/* ---- Doing it ---- */

static int role_after(const struct raft_server *s, const struct replica_change *change)
{
    if (s->id != change->id)
        return s->role;
    return change->kind == CHANGE_PROMOTE ? RAFT_VOTER : change->kind == CHANGE_DEMOTE ? RAFT_STANDBY : s->role;
}

static int make_next(const struct replica *r, const struct replica_change *change, struct raft_configuration *ret)
{
    const struct raft_configuration *c = &r->raft.configuration;
    int rv = 0;
    raft_configuration_init(ret);
    for (unsigned i = 0; i < c->n && rv == 0; i++) {
        const struct raft_server *s = &c->servers[i];
        bool moved = s->id == change->id && change->kind == CHANGE_ADDRESS;
        if (s->id == change->id && change->kind == CHANGE_REMOVE)
            continue;
        rv = raft_configuration_add(ret, s->id, moved ? change->address : s->address, role_after(s, change));
    }
    if (rv == 0 && change->kind == CHANGE_ADD)
        rv = raft_configuration_add(ret, change->id, change->address, RAFT_STANDBY);
    return rv;
}

static int submit(struct replica *r, const struct raft_configuration *next)
{
    struct raft_buffer buf;
    if (raft_configuration_encode(next, &buf) != 0)
        return CHANGE_ENOMEM;
    assert(configuration_check(buf.base, buf.len) == 0);
    struct blob *blob = blob_copy(buf.base, buf.len);
    raft_free(buf.base);
    if (blob == NULL)
        return CHANGE_ENOMEM;
    struct raft_entry entry = {raft_current_term(&r->raft), RAFT_CHANGE, {blob->bytes, blob->len}, blob->bytes};
    struct log_entry in_log = {entry.term, LOG_CHANGE, blob, 0, blob->len};
    struct batch given = {&entry, &in_log, 1, false};
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = &entry;
    event.submit.n = 1;
    int rv = replica_step(r, &event, &given);
    blob_unref(blob);
    return rv == 0 ? 0 : rv == RAFT_NOMEM ? CHANGE_ENOMEM : CHANGE_ENOTLEADER;
}

static void put_into_words(struct replica *r, const struct replica_change *change)
{
    static const char *const verbs[] = {"add node", "promote node", "demote node", "remove node",
                                        "change the address of node"};
    snprintf(r->change_words, sizeof r->change_words, "%s %llu", verbs[change->kind], (unsigned long long)change->id);
}

/* The change is in force here from the moment it is in the log, and may even be committed when this returns. */
static int carry_through(struct replica *r, const struct replica_change *change, const struct raft_configuration *next,
                         uint64_t *ret_index, char why[CHANGE_WHY_MAX])
{
    put_into_words(r, change);
    uint64_t index = raft_last_index(&r->raft) + 1;
    int rc = submit(r, next);
    if (rc != 0)
        return refuse(why, rc, "%s", rc == CHANGE_ENOMEM ? "out of memory" : "this node leads no longer");
    *ret_index = index;
    if (!r->failed)
        replica_follow_members(r);
    return 0;
}

int replica_change(struct replica *r, const struct replica_change *wanted, uint64_t *ret_id, uint64_t *ret_index,
                   char why[CHANGE_WHY_MAX])
{
    struct replica_change change = *wanted;
    struct raft_configuration next;
    int rc = check_turn(r, why);
    if (rc != 0)
        return rc;
    if (change.kind == CHANGE_ADD && change.id == 0)
        change.id = next_id(r);
    rc = check_kind(r, &change, why);
    if (rc != 0)
        return rc;
    if (make_next(r, &change, &next) != 0) {
        raft_configuration_close(&next);
        return refuse(why, CHANGE_ENOMEM, "out of memory");
    }
    rc = check_quorum(r, &next, change.force, why);
    if (rc == 0) {
        *ret_id = change.id;
        *ret_index = 0;
    }
    if (rc == 0 && !change.dry_run)
        rc = carry_through(r, &change, &next, ret_index, why);
    raft_configuration_close(&next);
    return rc;
}

/* ---- What follows from the lists ---- */

static bool is_named(const struct raft_configuration *c, uint64_t id)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id == id)
            return true;
    return false;
}

static bool is_guest(const struct replica *r, uint64_t id)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        if (r->guests[i].id == id && r->guests[i].configuration > r->raft.configuration_committed_index)
            return true;
    return false;
}

/* The place of this guest, or one that is free; without any, the one with the oldest list gives way. */
static struct guest *guest_place(struct replica *r, uint64_t id)
{
    struct guest *best = &r->guests[0];
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        struct guest *g = &r->guests[i];
        if (g->id == id)
            return g;
        if (g->configuration < best->configuration)
            best = g;
    }
    return best;
}

bool membership_knows(const struct replica *r, uint64_t id)
{
    return is_named(&r->raft.configuration, id) || is_named(&r->raft.configuration_committed, id) || is_guest(r, id);
}

/* A joining node knows nobody but those it was told of; the first list from the leader takes their place. */
static bool is_wanted(const struct replica *r, uint64_t id)
{
    return r->raft.configuration.n == 0 || membership_knows(r, id);
}

static void forget_peers(struct replica *r)
{
    for (size_t k = r->n_peers; k-- > 0;) {
        uint64_t id = r->peers[k];
        if (is_wanted(r, id))
            continue;
        r->n_peers--;
        r->peers[k] = r->peers[r->n_peers];
        r->up[k] = r->up[r->n_peers];
        offer_stop(r, id);
        install_peer_down(r, id);
        r->io->ops->peer(r->io, id, NULL);
    }
}

static void remember_peer(struct replica *r, uint64_t id)
{
    size_t k = 0;
    while (k < r->n_peers && r->peers[k] != id)
        k++;
    if (k < r->n_peers || k == REPLICA_PEERS_MAX)
        return;
    r->up[k] = false;
    r->peers[r->n_peers++] = id;
}

static void remember_list(struct replica *r, const struct raft_configuration *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id != r->id)
            remember_peer(r, c->servers[i].id);
}

void membership_remember_peers(struct replica *r)
{
    remember_list(r, &r->raft.configuration);
    remember_list(r, &r->raft.configuration_committed);
    for (size_t i = 0; r->raft.configuration.n == 0 && i < r->n_contacts; i++)
        if (r->contacts[i].id != r->id)
            remember_peer(r, r->contacts[i].id);
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        if (r->guests[i].id != 0 && is_guest(r, r->guests[i].id))
            remember_peer(r, r->guests[i].id);
}

static void dial(struct replica *r, uint64_t id, const char *address)
{
    if (id != r->id && address[0] != '\0')
        r->io->ops->peer(r->io, id, address);
}

/* By the list in force; then those whom only the committed one names, since the other may be undone; then guests. */
void replica_follow_members(struct replica *r)
{
    const struct raft_configuration *now = &r->raft.configuration, *before = &r->raft.configuration_committed;
    forget_peers(r);
    membership_remember_peers(r);
    for (unsigned i = 0; i < now->n; i++)
        dial(r, now->servers[i].id, now->servers[i].address);
    for (unsigned i = 0; i < before->n; i++)
        if (!is_named(now, before->servers[i].id))
            dial(r, before->servers[i].id, before->servers[i].address);
    for (size_t i = 0; now->n == 0 && i < r->n_contacts; i++)
        dial(r, r->contacts[i].id, r->contacts[i].address);
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        const struct guest *g = &r->guests[i];
        if (g->id != 0 && !is_named(now, g->id) && !is_named(before, g->id) && is_guest(r, g->id))
            dial(r, g->id, g->address);
    }
}

/* Not what the core says: of the lists that are in the log it takes the last but one for committed before they are
 * applied again one by one, the oldest first. */
void membership_start(struct replica *r, const struct raft_configuration *applied)
{
    r->is_member = applied != NULL && is_named(applied, r->id);
}

void membership_committed(struct replica *r, const struct raft_configuration *c)
{
    uint64_t ids[REPLICA_MEMBERS_MAX];
    size_t n = 0;
    bool was_member = r->is_member;
    for (unsigned i = 0; i < c->n && n < REPLICA_MEMBERS_MAX; i++)
        ids[n++] = c->servers[i].id;
    known_name(&r->known, ids, n);
    r->is_member = is_named(c, r->id);
    if (was_member && !r->is_member)
        replica_expel(r, "node %llu was removed from its cluster", (unsigned long long)r->id);
}

bool membership_admits(struct replica *r, const struct frame_greeting *g)
{
    bool named = is_named(&r->raft.configuration, g->from) || is_named(&r->raft.configuration_committed, g->from);
    if (named || (g->configuration <= r->raft.configuration_committed_index && r->raft.configuration.n > 0))
        return named;
    struct guest *guest = guest_place(r, g->from);
    guest->id = g->from;
    guest->configuration = g->configuration;
    snprintf(guest->address, sizeof guest->address, "%s", g->peer);
    if (r->opened)
        replica_follow_members(r); /* Our answers need a way back. */
    return true;
}
