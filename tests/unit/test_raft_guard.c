/* test_raft_guard.c - each guard beside a run of the bare libraft core that shows what it is against: once without the
 * guard, where the fault must appear, and once with it, where it must not. The day a new libraft makes a fault go away,
 * its test fails and the guard can be looked at again.
 * The core is driven through its public header; disks and links are arrays. */
#include "raft/guard.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define CORES 5
#define LOG_MAX 64
#define OUT_MAX 256
#define ELECTION_MS 1000
#define HEARTBEAT_MS 100
#define SETTLE_ROUNDS 1000

struct item {
    raft_term term;
    enum raft_entry_type type;
    void *data;
    size_t len;
};

/* One core with its disk and what it wants sent. Index 0 of the log is not used. */
struct core {
    struct raft raft;
    char address[8];
    bool runs;
    struct item log[LOG_MAX];
    raft_index last, applied;
    struct raft_message out[OUT_MAX];
    size_t n_out;
    bool cut;    /* Nothing reaches it, nothing leaves it. */
    bool asleep; /* Its disk does not answer. */
    unsigned flags;
    struct raft_snapshot_metadata metadata; /* Of its last UPDATE_SNAPSHOT. */
};

/* All of it, and which guards stand in front of the cores. */
struct bench {
    struct core cores[CORES + 1];
    raft_time now;
    bool second_leader, split, prevote, stray, lost, stranger, voter, behind;
    unsigned dropped; /* By a guard. */
};

static struct bench b;

static struct core *core(raft_id id)
{
    assert_true(id >= 1 && id <= CORES);
    return &b.cores[id];
}

/* ---- Steps ---- */

static int core_step(struct core *c, struct raft_event *e);

static void put(struct core *c, raft_index index, raft_term term, enum raft_entry_type type, const void *data,
                size_t len)
{
    assert_true(index >= 1 && index < LOG_MAX);
    struct item *i = &c->log[index];
    free(i->data);
    *i = (struct item){term, type, malloc(len + 1), len};
    assert_non_null(i->data);
    if (len > 0)
        memcpy(i->data, data, len);
}

static void store(struct core *c, const struct raft_update *u)
{
    for (unsigned k = 0; k < u->entries.n; k++) {
        const struct raft_entry *e = &u->entries.batch[k];
        put(c, u->entries.index + k, e->term, e->type, e->buf.base, e->buf.len);
    }
    c->last = u->entries.index + u->entries.n - 1;
    if (u->entries.batch == &c->raft.barrier)
        raft_free(u->entries.batch[0].batch);
}

static void post(struct core *c, const struct raft_update *u)
{
    for (unsigned k = 0; k < u->messages.n && c->n_out < OUT_MAX; k++) {
        c->out[c->n_out] = u->messages.batch[k];
        if (b.prevote)
            guard_prevote_refusal(&c->raft, &c->out[c->n_out]);
        c->n_out++;
    }
}

static void apply(struct core *c)
{
    while (c->applied < raft_commit_index(&c->raft) && c->applied < c->last) {
        const struct item *i = &c->log[++c->applied];
        if (i->type != RAFT_CHANGE)
            continue;
        struct raft_event e = {.type = RAFT_CONFIGURATION};
        struct raft_buffer buf = {i->data, i->len};
        e.configuration.index = c->applied;
        assert_int_equal(raft_configuration_decode(&buf, &e.configuration.conf), 0);
        assert_int_equal(core_step(c, &e), 0);
    }
}

static void persist(struct core *c, raft_index index)
{
    struct raft_event e = {.type = RAFT_PERSISTED_ENTRIES};
    e.persisted_entries.index = index;
    assert_int_equal(core_step(c, &e), 0);
}

static int core_step(struct core *c, struct raft_event *e)
{
    struct raft_update u;
    e->time = b.now;
    e->capacity = 0;
    int rv = raft_step(&c->raft, e, &u);
    if (rv != 0)
        return rv;
    c->flags = u.flags;
    if (u.flags & (RAFT_UPDATE_ENTRIES))
        store(c, &u);
    if (u.flags & (RAFT_UPDATE_SNAPSHOT))
        c->metadata = u.snapshot.metadata;
    if (u.flags & (RAFT_UPDATE_MESSAGES))
        post(c, &u);
    if (u.flags & (RAFT_UPDATE_COMMIT_INDEX))
        apply(c);
    if (!c->asleep && c->last > c->raft.last_stored && !c->raft.snapshot.installing)
        persist(c, c->last);
    return 0;
}

/* ---- Messages ---- */

static bool guarded(const struct core *to, const struct raft_message *m)
{
    bool drop = (b.second_leader && guard_second_leader(&to->raft, m)) || (b.stray && guard_stray_vote(&to->raft, m)) ||
                (b.lost && guard_lost_log(&to->raft, m)) || (b.stranger && guard_stranger(&to->raft, m));
    b.dropped += drop;
    return drop;
}

static int feed(struct core *to, struct raft_message *m)
{
    struct raft_event e = {.type = RAFT_RECEIVE};
    int role = 0;
    if (guarded(to, m))
        return 0;
    e.receive.message = m;
    struct raft_server *self = b.voter ? guard_voter_begin(&to->raft, m, &role) : NULL;
    int rv = core_step(to, &e);
    guard_voter_end(self, role);
    return rv;
}

/* One AppendEntries with these entries; a byte stands for their memory, see RAFT's rules of ownership. */
static int feed_entries(struct core *to, struct raft_message m, struct raft_entry *entries, unsigned n)
{
    void *token = raft_malloc(1);
    assert_non_null(token);
    for (unsigned k = 0; k < n; k++)
        entries[k].batch = token;
    m.append_entries.entries = entries;
    m.append_entries.n_entries = n;
    unsigned dropped = b.dropped;
    to->flags = 0;
    raft_index last = raft_last_index(&to->raft);
    int rv = feed(to, &m);
    if (b.dropped != dropped || (rv == 0 && raft_last_index(&to->raft) != last))
        raft_free(token);
    return rv;
}

static int feed_append(struct core *to, const struct core *from, struct raft_message m)
{
    struct raft_entry entries[LOG_MAX];
    unsigned n = m.append_entries.n_entries;
    raft_index prev = m.append_entries.prev_log_index;
    for (unsigned k = 0; k < n; k++) {
        const struct item *i = &from->log[prev + 1 + k];
        entries[k] = (struct raft_entry){.term = i->term, .type = i->type, .buf = {i->data, i->len}};
    }
    int rv = 0;
    for (unsigned at = 0; at < n && rv == 0;) {
        unsigned end = b.split ? (unsigned)guard_change_split(entries, n, at) : n;
        m.append_entries.prev_log_index = prev + at;
        if (at > 0)
            m.append_entries.prev_log_term = entries[at - 1].term;
        rv = feed_entries(to, m, entries + at, end - at);
        at = end;
    }
    return rv;
}

static int deliver(struct core *from, struct raft_message m)
{
    struct core *to = core(m.server_id);
    if (!to->runs || to->cut || from->cut || m.type == RAFT_INSTALL_SNAPSHOT)
        return 0;
    m.server_id = from->raft.id;
    m.server_address = from->address;
    if (b.behind && m.type == RAFT_APPEND_ENTRIES)
        guard_behind_snapshot(&to->raft, &m.append_entries);
    if (m.type == RAFT_APPEND_ENTRIES && m.append_entries.n_entries > 0)
        return feed_append(to, from, m);
    return feed(to, &m);
}

static bool deliver_first(struct core *c)
{
    if (c->n_out == 0)
        return false;
    struct raft_message m = c->out[0];
    memmove(c->out, c->out + 1, --c->n_out * sizeof m);
    assert_int_equal(deliver(c, m), 0);
    return true;
}

/* Until nobody has anything to say. */
static void settle(void)
{
    bool any = true;
    for (int round = 0; any && round < SETTLE_ROUNDS; round++) {
        any = false;
        for (raft_id id = 1; id <= CORES; id++)
            any |= deliver_first(core(id));
    }
    assert_false(any);
}

static void forget_messages(void)
{
    for (raft_id id = 1; id <= CORES; id++)
        core(id)->n_out = 0;
}

/* ---- What a test does ---- */

static void core_start(raft_id id, raft_term term, raft_id vote)
{
    struct core *c = core(id);
    struct raft_entry entries[LOG_MAX];
    snprintf(c->address, sizeof c->address, "n%u", (unsigned)id);
    assert_int_equal(raft_init(&c->raft, NULL, NULL, id, c->address), 0);
    c->raft.tracer = NULL;
    raft_seed(&c->raft, (unsigned)id * 7919);
    raft_set_election_timeout(&c->raft, ELECTION_MS);
    raft_set_heartbeat_timeout(&c->raft, HEARTBEAT_MS);
    for (raft_index k = 1; k <= c->last; k++)
        entries[k - 1] = (struct raft_entry){c->log[k].term, c->log[k].type, {c->log[k].data, c->log[k].len}, NULL};
    struct raft_event e = {.type = RAFT_START};
    e.start.term = term;
    e.start.voted_for = vote;
    e.start.start_index = 1;
    e.start.entries = entries;
    e.start.n_entries = (unsigned)c->last;
    c->runs = true;
    assert_int_equal(core_step(c, &e), 0);
}

static void core_wipe(raft_id id)
{
    struct core *c = core(id);
    if (c->runs)
        raft_close(&c->raft, NULL);
    for (size_t k = 0; k < LOG_MAX; k++)
        free(c->log[k].data);
    memset(c, 0, sizeof *c);
}

static void members(struct raft_configuration *conf, const int *roles, size_t n)
{
    char address[8];
    raft_configuration_init(conf);
    for (size_t k = 0; k < n; k++) {
        snprintf(address, sizeof address, "n%zu", k + 1);
        if (roles[k] >= 0)
            assert_int_equal(raft_configuration_add(conf, k + 1, address, roles[k]), 0);
    }
}

/* Cores 1 to n with one first entry: their roles, -1 for none (such a core starts with an empty disk). */
static void boot(const int *roles, size_t n)
{
    struct raft_configuration conf;
    struct raft_buffer buf;
    b.now = 10000;
    members(&conf, roles, n);
    assert_int_equal(raft_configuration_encode(&conf, &buf), 0);
    raft_configuration_close(&conf);
    for (size_t k = 0; k < n; k++) {
        struct core *c = core(k + 1);
        if (roles[k] >= 0) {
            put(c, 1, 1, RAFT_CHANGE, buf.base, buf.len);
            c->last = 1;
        }
        core_start(k + 1, roles[k] >= 0 ? 1 : 0, 0);
    }
    raft_free(buf.base);
}

static const int three_voters[] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER};
static const int three_and_one[] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, -1};

static void time_out(raft_id id)
{
    struct core *c = core(id);
    struct raft_event e = {.type = RAFT_TIMEOUT};
    if (raft_timeout(&c->raft) > b.now)
        b.now = raft_timeout(&c->raft);
    assert_int_equal(core_step(c, &e), 0);
}

static void tick(raft_id id, unsigned ms)
{
    struct raft_event e = {.type = RAFT_TIMEOUT};
    b.now += ms;
    assert_int_equal(core_step(core(id), &e), 0);
}

static void heartbeats(raft_id leader, int n)
{
    for (int k = 0; k < n; k++) {
        tick(leader, HEARTBEAT_MS + 10);
        settle();
    }
}

/* Make `id` the leader of those that are not cut off; they have not heard of another for long. */
static void elect(raft_id id)
{
    for (raft_id k = 1; k <= CORES; k++)
        if (core(k)->runs && !core(k)->cut && raft_state(&core(k)->raft) == RAFT_FOLLOWER)
            core(k)->raft.follower_state.current_leader.id = 0;
    b.now += 3 * ELECTION_MS;
    time_out(id);
    settle();
}

/* A leader that is cut off finds out. */
static void step_down(raft_id id)
{
    for (int k = 0; k < 100 && raft_state(&core(id)->raft) == RAFT_LEADER; k++) {
        tick(id, HEARTBEAT_MS);
        core(id)->n_out = 0;
    }
    assert_int_not_equal(raft_state(&core(id)->raft), RAFT_LEADER);
}

static int submit(raft_id id, enum raft_entry_type type, void *data, size_t len)
{
    struct core *c = core(id);
    struct raft_entry entry = {raft_current_term(&c->raft), type, {data, len}, data};
    struct raft_event e = {.type = RAFT_SUBMIT};
    e.submit.entries = &entry;
    e.submit.n = 1;
    return core_step(c, &e);
}

static int command(raft_id id)
{
    char payload[8] = "command";
    return submit(id, RAFT_COMMAND, payload, sizeof payload);
}

static int change(raft_id id, const int *roles, size_t n)
{
    struct raft_configuration conf;
    struct raft_buffer buf;
    members(&conf, roles, n);
    assert_int_equal(raft_configuration_encode(&conf, &buf), 0);
    raft_configuration_close(&conf);
    int rv = submit(id, RAFT_CHANGE, buf.base, buf.len);
    raft_free(buf.base);
    return rv;
}

static struct raft_message from_node(raft_id id, enum raft_message_type type)
{
    struct raft_message m;
    memset(&m, 0, sizeof m);
    m.type = type;
    m.server_id = id;
    m.server_address = id <= CORES && core(id)->runs ? core(id)->address : "n9";
    return m;
}

static int clean(void **state)
{
    (void)state;
    for (raft_id id = 1; id <= CORES; id++)
        core_wipe(id);
    memset(&b, 0, sizeof b);
    return 0;
}

/* Run in a child, since it may die of it. 0: all was well; anything else: the fault showed, or a signal. */
static int in_child(int (*run)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fclose(stderr); /* A sanitizer's report of what is meant to happen helps nobody. */
        _exit(run());
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- The library ---- */

static void library_is_the_one(void **state)
{
    (void)state;
    assert_int_equal(guard_library(), 0);
}

/* Another library cannot be loaded here; that the check can fail, and harms nothing, is seen by starving it. What a
 * failed START leaves behind is not known: the blocks still there are freed by the test. */
#define BLOCKS 256
static long allowed;
static void *blocks[BLOCKS];

static void *block_keep(void *p)
{
    size_t k = 0;
    while (k < BLOCKS && blocks[k] != NULL)
        k++;
    assert_true(k < BLOCKS);
    blocks[k] = p;
    return p;
}

static void block_forget(const void *p)
{
    size_t k = 0;
    while (k < BLOCKS && blocks[k] != p)
        k++;
    assert_true(k < BLOCKS); /* Else it is freed twice, or was never given out. */
    blocks[k] = NULL;
}

static void *starved_malloc(void *data, size_t size)
{
    (void)data;
    return allowed-- > 0 ? block_keep(malloc(size)) : NULL;
}

static void *starved_calloc(void *data, size_t n, size_t size)
{
    (void)data;
    return allowed-- > 0 ? block_keep(calloc(n, size)) : NULL;
}

static void *starved_realloc(void *data, void *p, size_t size)
{
    (void)data;
    if (allowed-- <= 0)
        return NULL;
    if (p != NULL)
        block_forget(p);
    return block_keep(realloc(p, size));
}

static void starved_free(void *data, void *p)
{
    (void)data;
    if (p != NULL)
        block_forget(p);
    free(p);
}

static void library_check_fails_cleanly(void **state)
{
    (void)state;
    struct raft_heap heap = {
        .malloc = starved_malloc, .calloc = starved_calloc, .realloc = starved_realloc, .free = starved_free};
    raft_heap_set(&heap);
    int rv = -1;
    long n = 0;
    for (; rv != 0 && n < 1000; n++) {
        allowed = n;
        rv = guard_library();
    }
    raft_heap_set_default();
    for (size_t k = 0; k < BLOCKS; k++)
        free(blocks[k]);
    assert_int_equal(rv, 0);
    assert_true(n > 2); /* It did fail before it had enough. */
}

/* ---- G1: a second leader of one's own term ---- */

static struct raft_message second_leader(enum raft_message_type type)
{
    struct raft_message m = from_node(2, type);
    if (type == RAFT_APPEND_ENTRIES) {
        m.append_entries.term = raft_current_term(&core(1)->raft);
        m.append_entries.prev_log_index = 1;
        m.append_entries.prev_log_term = 1;
        return m;
    }
    m.install_snapshot.term = raft_current_term(&core(1)->raft);
    m.install_snapshot.last_index = 20;
    m.install_snapshot.last_term = 1;
    m.install_snapshot.conf_index = 1;
    if (!b.second_leader) /* Goes to the core. */
        members(&m.install_snapshot.conf, three_voters, 3);
    return m;
}

/* 0: the leader's own bookkeeping is as before, and it goes on leading. */
static int meet_second_leader(enum raft_message_type type)
{
    boot(three_voters, 3);
    elect(1);
    struct core *c = core(1);
    struct raft_message m = second_leader(type);
    unsigned char before[sizeof c->raft.leader_state];
    memcpy(before, &c->raft.leader_state, sizeof before);
    if (feed(c, &m) != 0 || memcmp(before, &c->raft.leader_state, sizeof before) != 0)
        return 1;
    heartbeats(1, 20);
    return raft_state(&c->raft) == RAFT_LEADER && command(1) == 0 ? 0 : 2;
}

static int meet_append(void)
{
    return meet_second_leader(RAFT_APPEND_ENTRIES);
}

static int meet_snapshot(void)
{
    return meet_second_leader(RAFT_INSTALL_SNAPSHOT);
}

static void g1_without_the_leader_is_overwritten(void **state)
{
    (void)state;
    assert_int_not_equal(in_child(meet_append), 0);
    assert_int_not_equal(in_child(meet_snapshot), 0);
}

static void g1_with_the_message_is_dropped(void **state)
{
    (void)state;
    b.second_leader = true;
    assert_int_equal(meet_append(), 0);
    assert_int_equal(b.dropped, 1);
    clean(NULL);
    b.second_leader = true;
    assert_int_equal(meet_snapshot(), 0);
    assert_int_equal(b.dropped, 1);
}

static void g1_lets_the_rest_through(void **state)
{
    (void)state;
    boot(three_voters, 3);
    elect(1);
    struct raft_message m = second_leader(RAFT_APPEND_ENTRIES);
    assert_false(guard_second_leader(&core(3)->raft, &m)); /* A follower of that term. */
    m.append_entries.term++;                               /* A newer leader. */
    assert_false(guard_second_leader(&core(1)->raft, &m));
    struct raft_message vote = from_node(2, RAFT_REQUEST_VOTE);
    assert_false(guard_second_leader(&core(1)->raft, &vote));
}

/* ---- G2: a change in the middle of a message ---- */

#define G2_CHANGE 7 /* Its index. */

/* Two followers miss five commands, a change and a command, and get them in one message. */
static void change_in_the_middle(void)
{
    static const int with_spare[] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, RAFT_SPARE};
    boot(three_and_one, 4);
    elect(1);
    core(2)->cut = core(3)->cut = true;
    for (int k = 0; k < 5; k++)
        assert_int_equal(command(1), 0);
    assert_int_equal(change(1, with_spare, 4), 0);
    assert_int_equal(core(1)->last, G2_CHANGE);
    assert_int_equal(command(1), 0);
    settle();
    core(2)->cut = core(3)->cut = false;
    heartbeats(1, 6);
    assert_int_equal(raft_last_index(&core(2)->raft), G2_CHANGE + 1);
}

static void g2_without_the_follower_notes_another_index(void **state)
{
    (void)state;
    change_in_the_middle();
    assert_int_equal(core(1)->raft.configuration_committed_index, G2_CHANGE);
    assert_int_equal(core(1)->raft.configuration_uncommitted_index, 0);
    /* It takes the change for one that was never committed: as leader it would refuse every other. */
    assert_int_not_equal(core(2)->raft.configuration_uncommitted_index, 0);
    assert_int_not_equal(core(2)->raft.configuration_uncommitted_index, G2_CHANGE);
    core(1)->cut = true;
    elect(2);
    assert_int_equal(command(2), 0);
    settle();
    assert_int_equal(change(2, three_voters, 3), RAFT_CANTCHANGE);
}

static void g2_with_the_index_is_right(void **state)
{
    (void)state;
    b.split = true;
    change_in_the_middle();
    assert_int_equal(core(2)->raft.configuration_committed_index, G2_CHANGE);
    assert_int_equal(core(2)->raft.configuration_uncommitted_index, 0);
    core(1)->cut = true;
    elect(2);
    assert_int_equal(command(2), 0);
    settle();
    assert_int_equal(change(2, three_voters, 3), 0);
}

static void g2_cuts_in_front_of_each_change(void **state)
{
    (void)state;
    struct raft_entry e[6];
    memset(e, 0, sizeof e);
    for (int k = 0; k < 6; k++)
        e[k].type = k == 0 || k == 2 || k == 3 ? RAFT_CHANGE : RAFT_COMMAND;
    assert_int_equal(guard_change_split(e, 6, 0), 2);
    assert_int_equal(guard_change_split(e, 6, 2), 3);
    assert_int_equal(guard_change_split(e, 6, 3), 6);
    assert_int_equal(guard_change_split(e, 6, 5), 6);
    assert_int_equal(guard_change_split(e, 6, 6), 6);
    assert_int_equal(guard_change_split(e, 0, 0), 0);
}

/* ---- G3: refused pre-votes ---- */

static void pre_votes(void)
{
    for (raft_id id = 1; id <= 3; id++)
        raft_set_pre_vote(&core(id)->raft, true);
}

/* Node 3 is down; node 1 has the longer log, node 2 the higher term. */
static void longer_log_against_higher_term(void)
{
    boot(three_voters, 3);
    pre_votes();
    elect(1);
    assert_int_equal(command(1), 0);
    settle();
    heartbeats(1, 2);
    core(2)->cut = core(3)->cut = true;
    assert_int_equal(command(1), 0);
    settle();
    core(2)->cut = core(3)->cut = false;
    core(1)->cut = true;
    for (int k = 0; k < 2; k++) { /* Two terms in which nothing is appended. */
        elect(2);
        heartbeats(2, 1);
        core(2)->cut = true;
        step_down(2);
        core(2)->cut = false;
    }
    step_down(1);
    forget_messages();
    core(1)->cut = false;
    core(3)->cut = true;
    assert_true(raft_last_index(&core(1)->raft) > raft_last_index(&core(2)->raft));
    assert_true(raft_current_term(&core(1)->raft) < raft_current_term(&core(2)->raft));
}

static bool somebody_is_elected(void)
{
    for (int k = 0; k < 400; k++) {
        time_out(1 + (raft_id)k % 2);
        settle();
        if (raft_state(&core(1)->raft) == RAFT_LEADER || raft_state(&core(2)->raft) == RAFT_LEADER)
            return true;
    }
    return false;
}

static void g3_without_two_of_three_never_elect(void **state)
{
    (void)state;
    longer_log_against_higher_term();
    assert_false(somebody_is_elected());
}

static void g3_with_they_do(void **state)
{
    (void)state;
    b.prevote = true;
    longer_log_against_higher_term();
    assert_true(somebody_is_elected());
    assert_int_equal(raft_state(&core(1)->raft), RAFT_LEADER);
}

static void g3_touches_refused_pre_votes_only(void **state)
{
    (void)state;
    boot(three_voters, 3);
    elect(1); /* Term 2. */
    struct raft_message m = from_node(2, RAFT_REQUEST_VOTE_RESULT);
    m.request_vote_result.term = 1;
    m.request_vote_result.pre_vote = true;
    m.request_vote_result.vote_granted = true;
    guard_prevote_refusal(&core(1)->raft, &m);
    assert_int_equal(m.request_vote_result.term, 1);
    m.request_vote_result.pre_vote = m.request_vote_result.vote_granted = false;
    guard_prevote_refusal(&core(1)->raft, &m);
    assert_int_equal(m.request_vote_result.term, 1);
    m.request_vote_result.pre_vote = true;
    guard_prevote_refusal(&core(1)->raft, &m);
    assert_int_equal(m.request_vote_result.term, 2);
    m.request_vote_result.term = 9;
    guard_prevote_refusal(&core(1)->raft, &m);
    assert_int_equal(m.request_vote_result.term, 9);
}

/* ---- G4: a vote result nobody waits for ---- */

static raft_term after_stray_vote(raft_id id)
{
    struct raft_message m = from_node(id == 2 ? 3 : 2, RAFT_REQUEST_VOTE_RESULT);
    m.request_vote_result.version = 2;
    m.request_vote_result.term = 9;
    assert_int_equal(feed(core(id), &m), 0);
    return raft_current_term(&core(id)->raft);
}

/* Two followers and one message: whether each takes over the newer term hangs on bytes of a pointer (the address of the
 * leader it knows), read as the candidate's flag. Node 3 knows no leader, so the bytes are zero. */
static void two_followers(void)
{
    boot(three_voters, 3);
    core(3)->cut = true;
    elect(1);
    core(3)->cut = false;
    assert_int_equal(raft_state(&core(2)->raft), RAFT_FOLLOWER);
    assert_int_equal(raft_state(&core(3)->raft), RAFT_FOLLOWER);
    assert_false(core(3)->raft.candidate_state.in_pre_vote);
}

/* One pointer in 256 has zeros there too: it is bent for the step, which does not follow it. */
static void g4_run(raft_term *ret2, raft_term *ret3)
{
    two_followers();
    char *address = core(2)->raft.follower_state.current_leader.address;
    ((unsigned char *)&core(2)->raft.candidate_state.in_pre_vote)[0] |= 1;
    *ret2 = after_stray_vote(2);
    *ret3 = after_stray_vote(3);
    core(2)->raft.follower_state.current_leader.address = address;
}

static void g4_without_the_outcome_hangs_on_a_pointer(void **state)
{
    (void)state;
    raft_term term2 = 0, term3 = 0;
    g4_run(&term2, &term3);
    assert_int_equal(term2, 2);
    assert_int_equal(term3, 9);
}

static void g4_with_nothing_happens(void **state)
{
    (void)state;
    raft_term term2 = 0, term3 = 0;
    b.stray = true;
    g4_run(&term2, &term3);
    assert_int_equal(b.dropped, 2);
    assert_int_equal(term2, 2);
    assert_int_equal(term3, 1);
}

static void g4_lets_a_candidate_count(void **state)
{
    (void)state;
    boot(three_voters, 3);
    time_out(1);
    struct raft_message m = from_node(2, RAFT_REQUEST_VOTE_RESULT);
    assert_false(guard_stray_vote(&core(1)->raft, &m));
    assert_true(guard_stray_vote(&core(2)->raft, &m));
}

/* ---- G5: a follower that lost its disk ---- */

static void lose_disk(void)
{
    boot(three_voters, 3);
    elect(1);
    for (int k = 0; k < 5; k++)
        assert_int_equal(command(1), 0);
    settle();
    core_wipe(3);
    core_start(3, 0, 0);
    heartbeats(1, 20);
    for (int k = 0; k < 3; k++)
        assert_int_equal(command(1), 0);
    settle();
    heartbeats(1, 20);
}

static void g5_without_replication_ends_in_silence(void **state)
{
    (void)state;
    lose_disk();
    raft_index match = 0;
    assert_int_equal(raft_match_index(&core(1)->raft, 3, &match), 0);
    assert_true(match >= 6); /* So the leader believes. */
    assert_int_equal(raft_last_index(&core(3)->raft), 0);
}

/* Nothing can mend it under the same id; what the guard adds is that somebody is told. */
static void g5_with_it_is_noticed(void **state)
{
    (void)state;
    b.lost = true;
    lose_disk();
    assert_true(b.dropped > 0);
}

static void g5_is_silent_about_a_follower_that_lags(void **state)
{
    (void)state;
    b.lost = true;
    boot(three_voters, 3);
    elect(1);
    core(3)->cut = true;
    for (int k = 0; k < 5; k++)
        assert_int_equal(command(1), 0);
    settle();
    core(1)->cut = true;
    core(3)->cut = false;
    elect(2);
    heartbeats(2, 5);
    core(1)->cut = false;
    heartbeats(2, 5);
    assert_int_equal(raft_last_index(&core(3)->raft), raft_last_index(&core(2)->raft));
    assert_int_equal(raft_last_index(&core(1)->raft), raft_last_index(&core(2)->raft));
    assert_int_equal(b.dropped, 0);
}

/* ---- G7: strangers ---- */

static void stranger_speaks(void)
{
    boot(three_voters, 3);
    elect(1);
    struct raft_message m = from_node(9, RAFT_APPEND_ENTRIES);
    m.append_entries.term = 50;
    m.append_entries.prev_log_index = 1;
    m.append_entries.prev_log_term = 1;
    assert_int_equal(feed(core(1), &m), 0);
}

static void g7_without_a_stranger_is_followed(void **state)
{
    (void)state;
    stranger_speaks();
    assert_int_equal(raft_state(&core(1)->raft), RAFT_FOLLOWER);
    assert_int_equal(raft_current_term(&core(1)->raft), 50);
}

static void g7_with_it_is_not_heard(void **state)
{
    (void)state;
    b.stranger = true;
    stranger_speaks();
    assert_int_equal(raft_state(&core(1)->raft), RAFT_LEADER);
    assert_int_equal(raft_current_term(&core(1)->raft), 2);
    assert_int_equal(b.dropped, 1);
}

static void g7_one_that_joins_learns_who_leads(void **state)
{
    (void)state;
    static const int with_standby[] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, RAFT_STANDBY};
    b.stranger = true;
    boot(three_and_one, 4);
    elect(1);
    struct raft_message vote = from_node(1, RAFT_REQUEST_VOTE);
    assert_true(guard_stranger(&core(4)->raft, &vote));
    assert_int_equal(change(1, with_standby, 4), 0);
    settle();
    heartbeats(1, 3);
    assert_int_equal(raft_last_index(&core(4)->raft), core(1)->last);
    assert_int_equal(b.dropped, 0);
    assert_false(guard_stranger(&core(4)->raft, &vote));
}

/* ---- G8: a voter that does not know it yet ---- */

/* Of nodes 1 and 2 and the standby 3, the promotion of 3 is committed by 1 and 2; then 1 is gone. Two of three voters
 * are up. */
static void promotion_under_way(void)
{
    static const int before[] = {RAFT_VOTER, RAFT_VOTER, RAFT_STANDBY};
    boot(before, 3);
    elect(1);
    heartbeats(1, 2);
    core(3)->cut = true;
    assert_int_equal(change(1, three_voters, 3), 0);
    settle();
    heartbeats(1, 2);
    assert_int_equal(raft_commit_index(&core(2)->raft), core(1)->last);
    core(1)->cut = true;
    core(3)->cut = false;
    for (int k = 0; k < 20 && raft_state(&core(2)->raft) != RAFT_LEADER; k++)
        elect(2);
}

static void g8_without_the_new_voter_refuses(void **state)
{
    (void)state;
    promotion_under_way();
    assert_int_not_equal(raft_state(&core(2)->raft), RAFT_LEADER);
}

static void g8_with_it_votes(void **state)
{
    (void)state;
    b.voter = true;
    promotion_under_way();
    assert_int_equal(raft_state(&core(2)->raft), RAFT_LEADER);
    heartbeats(2, 3);
    assert_int_equal(raft_last_index(&core(3)->raft), core(2)->last);
}

static void g8_puts_the_role_back(void **state)
{
    (void)state;
    static const int roles[] = {RAFT_VOTER, RAFT_VOTER, RAFT_SPARE};
    int role = 0;
    boot(roles, 3);
    struct raft_message vote = from_node(1, RAFT_REQUEST_VOTE);
    struct raft_server *self = guard_voter_begin(&core(3)->raft, &vote, &role);
    assert_non_null(self);
    assert_int_equal(self->role, RAFT_VOTER);
    guard_voter_end(self, role);
    assert_int_equal(raft_role(&core(3)->raft), RAFT_SPARE);
    assert_null(guard_voter_begin(&core(2)->raft, &vote, &role));
    struct raft_message append = from_node(1, RAFT_APPEND_ENTRIES);
    assert_null(guard_voter_begin(&core(3)->raft, &append, &role));
    guard_voter_end(NULL, 0);
}

/* ---- G9: news of the disk that are no news ---- */

static void leader_with_five(void)
{
    boot(three_voters, 3);
    elect(1);
    for (int k = 0; k < 5; k++)
        assert_int_equal(command(1), 0);
    settle();
    assert_int_equal(core(1)->raft.last_stored, 6);
    core(1)->asleep = true;
}

static void g9_without_stored_entries_become_unstored(void **state)
{
    (void)state;
    leader_with_five();
    persist(core(1), 3);
    assert_int_equal(core(1)->raft.last_stored, 3);
}

static void g9_without_what_is_not_there_counts_as_stored(void **state)
{
    (void)state;
    leader_with_five();
    persist(core(2), 40);
    assert_true(core(2)->raft.last_stored > raft_last_index(&core(2)->raft));
}

static void g9_with_they_are_told_apart(void **state)
{
    (void)state;
    leader_with_five();
    assert_true(guard_stale_persist(&core(1)->raft, 3));
    assert_true(guard_stale_persist(&core(1)->raft, 6));
    assert_true(guard_stale_persist(&core(1)->raft, 7));
    assert_int_equal(command(1), 0);
    assert_false(guard_stale_persist(&core(1)->raft, 7));
    persist(core(1), 7);
    assert_int_equal(core(1)->raft.last_stored, 7);
}

#define G9_WRITTEN 25  /* Last entry whose write is under way; */
#define G9_SNAPSHOT 20 /* what arrives instead of it. */

static void install_begins(struct core *c)
{
    struct raft_message m = from_node(1, RAFT_INSTALL_SNAPSHOT);
    m.install_snapshot.term = raft_current_term(&core(1)->raft);
    m.install_snapshot.last_index = G9_SNAPSHOT;
    m.install_snapshot.last_term = 9; /* Not that of the entry it has there. */
    m.install_snapshot.conf_index = 1;
    members(&m.install_snapshot.conf, three_voters, 3);
    assert_int_equal(feed(c, &m), 0);
    assert_true(c->raft.snapshot.installing);
}

static void install_ends(struct core *c)
{
    struct raft_event e = {.type = RAFT_PERSISTED_SNAPSHOT};
    e.persisted_snapshot.metadata = c->metadata;
    e.persisted_snapshot.last = true;
    c->last = c->applied = c->metadata.index;
    assert_int_equal(core_step(c, &e), 0);
}

static void install_while_writing(void)
{
    boot(three_voters, 3);
    elect(1);
    core(3)->asleep = true;
    while (core(1)->last < G9_WRITTEN)
        assert_int_equal(command(1), 0);
    settle();
    heartbeats(1, 3);
    assert_int_equal(core(3)->last, G9_WRITTEN);
    install_begins(core(3));
}

/* A write of the old log completes after the core has thrown that log away for a snapshot. No fault can be shown: this
 * core ignores such news, whatever its index. The guard keeps to the contract, which forbids the event. */
static void g9_without_an_install_goes_on(void **state)
{
    (void)state;
    install_while_writing();
    raft_index before = core(3)->raft.last_stored;
    persist(core(3), G9_SNAPSHOT - 1);
    persist(core(3), G9_WRITTEN);
    assert_int_equal(core(3)->raft.last_stored, before);
    install_ends(core(3));
}

static void g9_with_an_install_is_left_alone(void **state)
{
    (void)state;
    install_while_writing();
    for (raft_index index = 1; index <= G9_WRITTEN; index++)
        assert_true(guard_stale_persist(&core(3)->raft, index));
    install_ends(core(3));
    assert_int_equal(core(3)->raft.last_stored, G9_SNAPSHOT);
}

/* ---- G10: a timeout in the past ---- */

static void leader_with_a_spare(void)
{
    static const int standby[] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, RAFT_STANDBY};
    static const int spare[] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, RAFT_SPARE};
    boot(three_and_one, 4);
    elect(1);
    assert_int_equal(command(1), 0);
    settle();
    assert_int_equal(change(1, standby, 4), 0);
    settle();
    b.now += 60;
    assert_int_equal(change(1, spare, 4), 0);
    settle();
    heartbeats(1, 3);
}

static void g10_without_the_timer_is_always_due(void **state)
{
    (void)state;
    leader_with_a_spare();
    for (int k = 0; k < 20; k++) {
        tick(1, HEARTBEAT_MS);
        settle();
        assert_true(raft_timeout(&core(1)->raft) <= b.now); /* Armed at that, it would fire at once, for ever. */
    }
}

static void g10_with_it_is_not(void **state)
{
    (void)state;
    leader_with_a_spare();
    for (int k = 0; k < 20; k++) {
        tick(1, HEARTBEAT_MS);
        settle();
        assert_true(guard_timeout(&core(1)->raft, b.now) > b.now);
        assert_true(guard_timeout(&core(1)->raft, b.now) <= b.now + HEARTBEAT_MS);
    }
    assert_int_equal(guard_timeout(&core(2)->raft, b.now), raft_timeout(&core(2)->raft)); /* Ahead: untouched. */
}

/* ---- G11: entries that begin before a snapshot ---- */

#define G11_SNAPSHOT 8

/* As after a restart with a state that was ahead of the log: the log begins anew behind it. */
static void restart_behind_state(raft_id id, raft_index index)
{
    struct raft_snapshot_metadata metadata = {
        .index = index, .term = core(1)->log[index].term, .configuration_index = 1};
    raft_term term = raft_current_term(&core(id)->raft);
    struct core *c = core(id);
    core_wipe(id);
    members(&metadata.configuration, three_voters, 3);
    snprintf(c->address, sizeof c->address, "n%u", (unsigned)id);
    assert_int_equal(raft_init(&c->raft, NULL, NULL, id, c->address), 0);
    c->raft.tracer = NULL;
    struct raft_event e = {.type = RAFT_START};
    e.start.term = term;
    e.start.metadata = &metadata;
    e.start.start_index = index + 1;
    c->runs = true;
    c->last = c->applied = index;
    assert_int_equal(core_step(c, &e), 0);
}

/* Follower 3 applies what the others' disks have, while its own does not answer; so the leader counts it at 1. */
static void state_ahead_of_log(void)
{
    boot(three_voters, 3);
    elect(1);
    heartbeats(1, 2);
    core(3)->asleep = true;
    while (core(1)->last < G11_SNAPSHOT)
        assert_int_equal(command(1), 0);
    settle();
    heartbeats(1, 2);
    raft_index match = 0;
    assert_int_equal(raft_match_index(&core(1)->raft, 3, &match), 0);
    assert_true(match < G11_SNAPSHOT);
    assert_int_equal(raft_commit_index(&core(3)->raft), G11_SNAPSHOT);
    core(3)->cut = true; /* While it is away the leader goes back to what it is sure of. */
    heartbeats(1, 3);
    restart_behind_state(3, G11_SNAPSHOT);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(command(1), 0);
        settle();
        heartbeats(1, 5);
    }
}

static void g11_without_replication_stalls(void **state)
{
    (void)state;
    state_ahead_of_log();
    assert_int_equal(raft_last_index(&core(3)->raft), G11_SNAPSHOT);
}

static void g11_with_it_goes_on(void **state)
{
    (void)state;
    b.behind = b.lost = true;
    state_ahead_of_log();
    raft_index match = 0;
    assert_int_equal(raft_last_index(&core(3)->raft), core(1)->last);
    assert_int_equal(raft_match_index(&core(1)->raft, 3, &match), 0);
    assert_int_equal(match, core(1)->last);
    assert_int_equal(b.dropped, 0);
}

static void g11_begins_at_the_snapshot(void **state)
{
    (void)state;
    boot(three_voters, 3);
    elect(1);
    while (core(1)->last < G11_SNAPSHOT)
        assert_int_equal(command(1), 0);
    struct raft_append_entries a = {.prev_log_index = 3, .prev_log_term = 2, .n_entries = 7};
    assert_int_equal(guard_behind_snapshot(&core(3)->raft, &a), 0); /* It has no snapshot. */
    restart_behind_state(3, G11_SNAPSHOT);
    assert_int_equal(guard_behind_snapshot(&core(3)->raft, &a), 5);
    assert_int_equal(a.prev_log_index, G11_SNAPSHOT);
    assert_int_equal(a.prev_log_term, 2);
    assert_int_equal(a.n_entries, 2);
    a = (struct raft_append_entries){.prev_log_index = 0, .n_entries = 3};
    assert_int_equal(guard_behind_snapshot(&core(3)->raft, &a), 3);
    assert_int_equal(a.prev_log_index, G11_SNAPSHOT);
    assert_int_equal(a.n_entries, 0);
    assert_int_equal(guard_behind_snapshot(&core(3)->raft, &a), 0);
    a = (struct raft_append_entries){.prev_log_index = 9, .prev_log_term = 2, .n_entries = 1};
    assert_int_equal(guard_behind_snapshot(&core(3)->raft, &a), 0);
    assert_int_equal(a.prev_log_index, 9);
}

/* ---- G12: a commit index that goes back ---- */

/* Node 2 has all and knows that 6 are committed; then a message comes late that ends at 3. */
static struct raft_message late_message(void)
{
    boot(three_voters, 3);
    elect(1);
    for (int k = 0; k < 5; k++)
        assert_int_equal(command(1), 0);
    settle();
    heartbeats(1, 2);
    assert_int_equal(raft_commit_index(&core(2)->raft), 6);
    struct raft_message m = from_node(1, RAFT_APPEND_ENTRIES);
    m.append_entries.term = raft_current_term(&core(1)->raft);
    m.append_entries.prev_log_index = 3;
    m.append_entries.prev_log_term = core(1)->log[3].term;
    m.append_entries.leader_commit = 7;
    return m;
}

static void g12_without_the_commit_index_goes_back(void **state)
{
    (void)state;
    struct raft_message m = late_message();
    assert_int_equal(feed(core(2), &m), 0);
    assert_int_equal(raft_commit_index(&core(2)->raft), 3);
}

static void g12_with_it_stays(void **state)
{
    (void)state;
    struct raft_message m = late_message();
    guard_commit(&core(2)->raft, &m.append_entries);
    assert_int_equal(feed(core(2), &m), 0);
    assert_int_equal(raft_commit_index(&core(2)->raft), 6);
}

static void g12_lets_it_grow(void **state)
{
    (void)state;
    struct raft_message m = late_message();
    m.append_entries.prev_log_index = 6;
    guard_commit(&core(2)->raft, &m.append_entries);
    assert_int_equal(m.append_entries.leader_commit, 7);
}

/* ---- The own-term rule (replica.c: begin_to_lead) ---- */

/* Two changes of membership, each by a leader that has not committed anything of its own term. True when both
 * commit, at one index with two contents. */
static bool two_leaders_commit(bool own_term)
{
    static const int four[] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, -1};
    static const int five[] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, RAFT_VOTER, RAFT_VOTER};
    static const int without_first[] = {-1, RAFT_VOTER, RAFT_VOTER, RAFT_VOTER};
    boot(four, 5);
    elect(1);
    assert_int_equal(command(1), 0);
    settle();
    heartbeats(1, 1);
    core(2)->cut = core(3)->cut = core(4)->cut = true;
    assert_int_equal(change(1, five, 5), 0); /* Adds 5; only 1 and 5 get it. */
    settle();
    for (int k = 0; k < 4; k++) {
        tick(1, HEARTBEAT_MS);
        settle();
    }
    for (raft_id id = 1; id <= 5; id++)
        core(id)->cut = id == 1 || id == 5;
    elect(2);
    if (own_term) {
        char zeros[8] = {0};
        assert_int_equal(submit(2, RAFT_BARRIER, zeros, sizeof zeros), 0);
        settle();
    }
    assert_int_equal(change(2, without_first, 4), 0); /* Removes 1; 3 gets it. */
    core(4)->cut = true;
    settle();
    raft_index at = core(2)->last;
    assert_true(raft_commit_index(&core(2)->raft) >= at);

    step_down(1);
    forget_messages();
    for (raft_id id = 1; id <= 5; id++)
        core(id)->cut = id == 2 || id == 3;
    for (int k = 0; k < 4 && raft_state(&core(1)->raft) != RAFT_LEADER; k++)
        elect(1);
    if (raft_state(&core(1)->raft) != RAFT_LEADER)
        return false;
    heartbeats(1, 10);
    return raft_commit_index(&core(1)->raft) >= at && core(1)->log[at].term != core(2)->log[at].term;
}

static void own_term_without_two_leaders_commit(void **state)
{
    (void)state;
    assert_true(two_leaders_commit(false));
}

static void own_term_with_only_one_does(void **state)
{
    (void)state;
    assert_false(two_leaders_commit(true));
    assert_int_not_equal(raft_state(&core(1)->raft), RAFT_LEADER);
}

/* ---- A log that ends before the snapshot (start.c) ---- */

/* State at index 10, log of 1 to 5. Returns 0 when the core knows that its last index is 10. */
static int start_behind_snapshot(bool drop_log)
{
    struct core *c = core(1);
    struct raft_entry entries[5];
    struct raft_snapshot_metadata metadata = {.index = 10, .term = 3, .configuration_index = 1};
    b.now = 10000;
    members(&metadata.configuration, three_voters, 3);
    memset(entries, 0, sizeof entries);
    for (int k = 0; k < 5; k++)
        entries[k] = (struct raft_entry){.term = 2, .type = RAFT_COMMAND};
    snprintf(c->address, sizeof c->address, "n1");
    assert_int_equal(raft_init(&c->raft, NULL, NULL, 1, c->address), 0);
    c->raft.tracer = NULL;
    struct raft_event e = {.type = RAFT_START};
    e.start.term = 3;
    e.start.metadata = &metadata;
    e.start.start_index = drop_log ? 11 : 1;
    e.start.entries = drop_log ? NULL : entries;
    e.start.n_entries = drop_log ? 0 : 5;
    c->runs = true;
    c->last = c->applied = 10;
    if (core_step(c, &e) != 0)
        return 1;
    return raft_last_index(&c->raft) == 10 && c->raft.last_stored == 10 ? 0 : 2;
}

static int start_with_short_log(void)
{
    return start_behind_snapshot(false);
}

static int start_without_log(void)
{
    return start_behind_snapshot(true);
}

static void short_log_without_the_core_forgets_what_is_committed(void **state)
{
    (void)state;
    assert_int_not_equal(in_child(start_with_short_log), 0);
}

static void short_log_with_it_is_dropped(void **state)
{
    (void)state;
    assert_int_equal(start_without_log(), 0);
    assert_int_equal(raft_commit_index(&core(1)->raft), 10);
}

#define GUARD_TEST(f) cmocka_unit_test_setup_teardown(f, clean, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUARD_TEST(library_is_the_one),
        GUARD_TEST(library_check_fails_cleanly),
        GUARD_TEST(g1_without_the_leader_is_overwritten),
        GUARD_TEST(g1_with_the_message_is_dropped),
        GUARD_TEST(g1_lets_the_rest_through),
        GUARD_TEST(g2_without_the_follower_notes_another_index),
        GUARD_TEST(g2_with_the_index_is_right),
        GUARD_TEST(g2_cuts_in_front_of_each_change),
        GUARD_TEST(g3_without_two_of_three_never_elect),
        GUARD_TEST(g3_with_they_do),
        GUARD_TEST(g3_touches_refused_pre_votes_only),
        GUARD_TEST(g4_without_the_outcome_hangs_on_a_pointer),
        GUARD_TEST(g4_with_nothing_happens),
        GUARD_TEST(g4_lets_a_candidate_count),
        GUARD_TEST(g5_without_replication_ends_in_silence),
        GUARD_TEST(g5_with_it_is_noticed),
        GUARD_TEST(g5_is_silent_about_a_follower_that_lags),
        GUARD_TEST(g7_without_a_stranger_is_followed),
        GUARD_TEST(g7_with_it_is_not_heard),
        GUARD_TEST(g7_one_that_joins_learns_who_leads),
        GUARD_TEST(g8_without_the_new_voter_refuses),
        GUARD_TEST(g8_with_it_votes),
        GUARD_TEST(g8_puts_the_role_back),
        GUARD_TEST(g9_without_stored_entries_become_unstored),
        GUARD_TEST(g9_without_what_is_not_there_counts_as_stored),
        GUARD_TEST(g9_with_they_are_told_apart),
        GUARD_TEST(g9_without_an_install_goes_on),
        GUARD_TEST(g9_with_an_install_is_left_alone),
        GUARD_TEST(g10_without_the_timer_is_always_due),
        GUARD_TEST(g10_with_it_is_not),
        GUARD_TEST(g11_without_replication_stalls),
        GUARD_TEST(g11_with_it_goes_on),
        GUARD_TEST(g11_begins_at_the_snapshot),
        GUARD_TEST(g12_without_the_commit_index_goes_back),
        GUARD_TEST(g12_with_it_stays),
        GUARD_TEST(g12_lets_it_grow),
        GUARD_TEST(own_term_without_two_leaders_commit),
        GUARD_TEST(own_term_with_only_one_does),
        GUARD_TEST(short_log_without_the_core_forgets_what_is_committed),
        GUARD_TEST(short_log_with_it_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
