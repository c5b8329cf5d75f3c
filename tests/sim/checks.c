/* checks.c - looks into the replicas from outside:
 *   - one leader a term, and a new leader's log holds all that was committed in earlier terms;
 *   - entries of the same index and term are the same, and so is the term before them (hence all that is before);
 *   - commit and applied only grow in one life, and applied stays behind commit;
 *   - at one applied index all states have the same hash, clock and revision, reached by an entry of the same term. */
#include "tests/sim/checks.h"
#include "tests/sim/nodes.h"
#include "tests/sim/peek.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CHECKS_INDEX_MAX (1u << 20)
#define CHECKS_TERMS_MAX (1u << 16)

struct point { /* What the state is after an index. */
    uint64_t hash, term, clock_ms, revision;
};

struct entry_seen {
    uint64_t index, term, digest; /* index 0: none. */
};

static struct {
    struct point *points; /* CHECKS_INDEX_MAX */
    uint8_t *leaders;     /* CHECKS_TERMS_MAX: node + 1 */
    struct entry_seen *entries;
    size_t n_entries, cap;
    uint64_t highest, touched;                    /* Index and term used, so that a run clears only those. */
    uint64_t commit, commit_term, commit_seen_in; /* The highest known, its entry's term, and its reporter's. */
    uint64_t applied_before;
} all;

static struct {
    unsigned life;
    uint64_t commit, applied, last, last_term;
    bool led;
    uint64_t led_term;
    uint64_t *verified; /* The term with which each index was compared; CHECKS_INDEX_MAX. */
    uint64_t verified_to;
} each[NODES_MAX];

static struct replica *replica_at(int i)
{
    return nodes[i].cluster.replica;
}

/* ---- Entries ---- */

static struct entry_seen *find_entry(uint64_t index, uint64_t term)
{
    size_t at = (size_t)((index * 0x9e3779b97f4a7c15u ^ term * 0xd1342543de82ef95u) >> 20) & (all.cap - 1);
    while (all.entries[at].index != 0 && (all.entries[at].index != index || all.entries[at].term != term))
        at = (at + 1) & (all.cap - 1);
    return &all.entries[at];
}

static void grow_entries(void)
{
    struct entry_seen *old = all.entries;
    size_t old_cap = all.cap;
    all.cap = old_cap == 0 ? 1 << 14 : old_cap * 2;
    all.entries = must(calloc(all.cap, sizeof *all.entries));
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].index != 0)
            *find_entry(old[i].index, old[i].term) = old[i];
    free(old);
}

static void compare_entry(int i, uint64_t index, const struct log_entry *e, uint64_t term_before)
{
    uint64_t digest = XXH3_64bits_withSeed(e->blob->bytes + e->offset, e->len, term_before * 4 + e->type);
    if (2 * all.n_entries >= all.cap)
        grow_entries();
    struct entry_seen *seen = find_entry(index, e->term);
    if (seen->index != 0 && seen->digest != digest)
        fail("n%d has another entry than others at index %llu of term %llu", i + 1, (unsigned long long)index,
             (unsigned long long)e->term);
    all.n_entries += seen->index == 0;
    *seen = (struct entry_seen){index, e->term, digest};
}

static void check_log(int i)
{
    struct log *log = peek_log(replica_at(i));
    uint64_t last = log_last(log), last_term = log_term_at(log, last);
    if (last == each[i].last && last_term == each[i].last_term)
        return;
    each[i].last = last;
    each[i].last_term = last_term;
    if (last >= CHECKS_INDEX_MAX)
        fail("the run is too long: index %llu", (unsigned long long)last);
    for (uint64_t index = last; index >= log_first(log); index--) {
        const struct log_entry *e = log_get(log, index);
        if (e == NULL || each[i].verified[index] == e->term)
            break;
        compare_entry(i, index, e, log_term_at(log, index - 1));
        each[i].verified[index] = e->term;
    }
    if (last > each[i].verified_to)
        each[i].verified_to = last;
}

/* ---- Leaders ---- */

static void check_leader(int i)
{
    struct replica *r = replica_at(i);
    const struct log *log = peek_log(r);
    uint64_t term = peek_term(r);
    bool leads = peek_leads(r);
    if (leads == each[i].led && term == each[i].led_term)
        return;
    each[i].led = leads;
    each[i].led_term = term;
    if (!leads || term >= CHECKS_TERMS_MAX)
        return;
    if (term > all.touched)
        all.touched = term;
    if (all.leaders[term] != 0 && all.leaders[term] != i + 1)
        fail("n%d and n%d both lead in term %llu", all.leaders[term], i + 1, (unsigned long long)term);
    all.leaders[term] = (uint8_t)(i + 1);
    bool has =
        all.commit <= log_last(log) && (all.commit < log_first(log) || log_term_at(log, all.commit) == all.commit_term);
    if (all.commit_seen_in < term && !has)
        fail("n%d leads in term %llu without the entry at index %llu, which was committed before", i + 1,
             (unsigned long long)term, (unsigned long long)all.commit);
}

/* ---- Commit, applied, state ---- */

static void check_commit(int i)
{
    struct replica *r = replica_at(i);
    const struct log *log = peek_log(r);
    uint64_t commit = peek_commit(r);
    if (commit < each[i].commit)
        fail("the commit index of n%d goes back from %llu to %llu", i + 1, (unsigned long long)each[i].commit,
             (unsigned long long)commit);
    if (peek_applied(r) > commit)
        fail("n%d has applied up to %llu, but committed up to %llu only", i + 1, (unsigned long long)peek_applied(r),
             (unsigned long long)commit);
    each[i].commit = commit;
    if (commit <= all.commit || commit > log_last(log) || commit < log_first(log))
        return;
    all.commit = commit;
    all.commit_term = log_term_at(log, commit);
    all.commit_seen_in = peek_term(r);
}

static void check_state(int i)
{
    const struct store *s = nodes[i].cluster.store;
    uint64_t applied = store_applied(s);
    if (applied == each[i].applied)
        return;
    if (applied < each[i].applied)
        fail("the state of n%d goes back from index %llu to %llu", i + 1, (unsigned long long)each[i].applied,
             (unsigned long long)applied);
    if (applied >= CHECKS_INDEX_MAX)
        fail("the run is too long: index %llu", (unsigned long long)applied);
    each[i].applied = applied;
    if (applied > all.highest)
        all.highest = applied;
    struct point *p = &all.points[applied],
                 here = {store_hash(s), store_applied_term(s), store_clock_ms(s), store_revision(s)};
    trace(here.hash);
    if (p->term != 0 && p->term != here.term)
        fail("n%d applied an entry of term %llu at index %llu, another node one of term %llu", i + 1,
             (unsigned long long)here.term, (unsigned long long)applied, (unsigned long long)p->term);
    if (p->term != 0 && p->hash != here.hash)
        fail("the state of n%d differs from another node's at index %llu", i + 1, (unsigned long long)applied);
    if (p->term != 0 && (p->clock_ms != here.clock_ms || p->revision != here.revision))
        fail("at index %llu n%d stands at %llu ms and revision %llu, another node at %llu and %llu",
             (unsigned long long)applied, i + 1, (unsigned long long)here.clock_ms, (unsigned long long)here.revision,
             (unsigned long long)p->clock_ms, (unsigned long long)p->revision);
    *p = here;
}

static void forget(int i)
{
    memset(each[i].verified, 0, (each[i].verified_to + 1) * sizeof *each[i].verified);
    each[i].life = nodes[i].life;
    each[i].commit = each[i].applied = each[i].last = each[i].last_term = each[i].led_term = each[i].verified_to = 0;
    each[i].led = false;
}

void checks_node(int i)
{
    if (!node_counts(&nodes[i]))
        return;
    if (each[i].life != nodes[i].life)
        forget(i);
    check_log(i);
    check_leader(i);
    check_commit(i);
    check_state(i);
}

/* ---- The end ---- */

void checks_remember_applied(void)
{
    all.applied_before = all.highest;
}

void checks_all_caught_up(void)
{
    for (int i = 0; i < n_nodes; i++)
        if (store_applied(nodes[i].cluster.store) < all.applied_before)
            fail("n%d has applied up to %llu only; long ago others were at %llu", i + 1,
                 (unsigned long long)store_applied(nodes[i].cluster.store), (unsigned long long)all.applied_before);
}

void checks_describe(void)
{
    static const char *const roles[] = {"follower", "candidate", "leader"};
    for (int i = 0; i < n_nodes && world.verbose; i++) {
        struct replica_status s;
        printf("n%d ", i + 1);
        if (!nodes[i].up) {
            printf("down\n");
            continue;
        }
        replica_status(replica_at(i), &s);
        printf("%s in term %llu, leader %llu, log %llu..%llu, durable %llu, commit %llu, applied %llu%s%s; matches:",
               roles[s.role], (unsigned long long)s.term, (unsigned long long)s.leader, (unsigned long long)s.first,
               (unsigned long long)s.last, (unsigned long long)s.durable, (unsigned long long)s.commit,
               (unsigned long long)s.applied, s.installing ? ", installing" : "",
               nodes[i].paused_until_us > world.now_us ? ", paused" : "");
        for (size_t k = 0; k < s.n_members; k++)
            printf(" n%llu %llu%s", (unsigned long long)s.members[k].member.id, (unsigned long long)s.members[k].match,
                   s.members[k].link_up ? "" : " (no link)");
        printf("\n");
    }
}

/* ---- A run ---- */

void checks_begin(void)
{
    if (all.points == NULL) {
        all.points = must(calloc(CHECKS_INDEX_MAX, sizeof *all.points));
        all.leaders = must(calloc(CHECKS_TERMS_MAX, 1));
        for (int i = 0; i < NODES_MAX; i++)
            each[i].verified = must(calloc(CHECKS_INDEX_MAX, sizeof *each[i].verified));
        grow_entries();
    }
}

void checks_end(void)
{
    memset(all.points, 0, (all.highest + 1) * sizeof *all.points);
    memset(all.leaders, 0, all.touched + 1);
    memset(all.entries, 0, all.cap * sizeof *all.entries);
    all.n_entries = 0;
    all.highest = all.touched = all.commit = all.commit_term = all.commit_seen_in = all.applied_before = 0;
    for (int i = 0; i < NODES_MAX; i++)
        forget(i);
}
