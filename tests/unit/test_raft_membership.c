/* test_raft_membership.c - the members change while entries are written and nodes die. What must never happen is
 * watched by the fake cluster all the time. HOLDFAST_SEED=n runs those that try many seeds with n alone;
 * HOLDFAST_VERBOSE=1 tells all. */
#include "tests/support/fakecluster.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define WAIT_MS 20000
#define INSTALLED_MS 60000
#define ENTRY_BYTES 200
#define STORM_STEPS 60

static struct fakecluster *c;
static uint64_t seed;
static char why[CHANGE_WHY_MAX];
static uint64_t changed_id, changed_index;

static int clean(void **state)
{
    (void)state;
    fakecluster_free(c);
    c = NULL;
    return 0;
}

static void check_at(const char *file, int line, bool ok, const char *what)
{
    const char *trouble = fakecluster_trouble(c);
    if (ok && trouble == NULL)
        return;
    print_error("%s:%d: %s (HOLDFAST_SEED=%llu): %s; last refusal: %s\n", file, line, ok ? "trouble" : what,
                (unsigned long long)seed, trouble != NULL ? trouble : "", why);
    fail();
}

#define check(x) check_at(__FILE__, __LINE__, x, #x)

static void begin(struct fakecluster_options o)
{
    char error[256];
    seed = o.seed;
    why[0] = '\0';
    c = fakecluster_new(&o);
    for (uint64_t id = 1; id <= o.founders; id++)
        assert_int_equal(fakecluster_start(c, id, error), 0);
    check(fakecluster_until(c, fakecluster_has_leader, NULL, WAIT_MS));
}

static uint64_t leader(void)
{
    check(fakecluster_until(c, fakecluster_has_leader, NULL, WAIT_MS));
    return fakecluster_leader(c);
}

static struct replica_status status(uint64_t id)
{
    struct replica_status s;
    replica_status(fakecluster_replica(c, id), &s);
    return s;
}

static int change_at(uint64_t id, struct replica_change change)
{
    if (change.kind == CHANGE_ADD && change.address[0] == '\0')
        snprintf(change.address, sizeof change.address, "node%llu:7000", (unsigned long long)change.id);
    return replica_change(fakecluster_replica(c, id), &change, &changed_id, &changed_index, why);
}

static int change(enum change_kind kind, uint64_t id)
{
    return change_at(leader(), (struct replica_change){.kind = kind, .id = id});
}

/* Asked again while another change is under way, the learner is behind, or leadership moves. */
static bool change_is_taken(struct fakecluster *cluster, void *ctx)
{
    const struct replica_change *wanted = ctx;
    uint64_t at = fakecluster_leader(cluster);
    if (at == 0)
        return false;
    int rc = change_at(at, *wanted);
    if (rc == CHANGE_EHANDOVER)
        replica_transfer(fakecluster_replica(cluster, at), 0);
    return rc == 0 || rc == CHANGE_EALREADY || rc == CHANGE_EEXISTS || rc == CHANGE_ENOENT;
}

static void do_change(enum change_kind kind, uint64_t id)
{
    struct replica_change wanted = {.kind = kind, .id = id};
    check(fakecluster_until(c, change_is_taken, &wanted, INSTALLED_MS));
}

static void propose(size_t n)
{
    for (size_t k = 0; k < n; k++) {
        fakecluster_propose(c, leader(), ENTRY_BYTES);
        fakecluster_run(c, 1);
    }
}

/* Every member runs, follows the leader, has applied all and knows the same members. */
static bool members_agree(struct fakecluster *cluster, void *ctx)
{
    (void)ctx;
    uint64_t at = fakecluster_leader(cluster);
    if (at == 0)
        return false;
    struct replica_status s = status(at);
    for (size_t i = 0; i < s.n_members; i++) {
        struct replica *r = fakecluster_replica(cluster, s.members[i].member.id);
        struct replica_status other;
        if (r == NULL || replica_leader(r) != at)
            return false;
        replica_status(r, &other);
        if (other.applied != s.last || other.n_members != s.n_members)
            return false;
    }
    return s.applied == s.last;
}

static size_t voters(void)
{
    struct replica_status s = status(leader());
    size_t n = 0;
    for (size_t i = 0; i < s.n_members; i++)
        n += s.members[i].member.voter;
    return n;
}

static void join(uint64_t id)
{
    char error[256];
    do_change(CHANGE_ADD, id);
    assert_int_equal(fakecluster_start(c, id, error), 0);
}

static void three_five_three(uint64_t with_seed)
{
    begin((struct fakecluster_options){.n = 5, .founders = 3, .seed = with_seed, .state_bytes = 5000});
    propose(20);
    for (uint64_t id = 4; id <= 5; id++) {
        join(id);
        propose(20);
        do_change(CHANGE_PROMOTE, id);
    }
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
    check(voters() == 5);
    for (uint64_t id = 1; id <= 2; id++) {
        propose(20);
        do_change(CHANGE_REMOVE, id); /* The leader, too: it hands over. */
    }
    propose(20);
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
    check(voters() == 3 && status(leader()).n_members == 3);
    fakecluster_run(c, 2000);
    check(fakecluster_expelled(c, 1) && fakecluster_expelled(c, 2));
    check(strstr(fakecluster_failed_why(c, 1), "removed") != NULL);
}

static void for_seeds(uint64_t n, void (*scenario)(uint64_t with_seed))
{
    const char *only = getenv("HOLDFAST_SEED");
    uint64_t from = only != NULL ? strtoull(only, NULL, 10) : 1;
    for (uint64_t k = from; k < from + (only != NULL ? 1 : n); k++) {
        scenario(k);
        clean(NULL);
    }
}

static void three_become_five_and_three_again(void **state)
{
    (void)state;
    for_seeds(10, three_five_three);
}

static bool is_refused(enum change_kind kind, uint64_t id, int code)
{
    why[0] = '\0';
    return change(kind, id) == code && why[0] != '\0';
}

static void what_makes_no_sense_is_refused_with_a_reason(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 5, .founders = 3, .seed = 3});
    uint64_t at = leader(), other = at % 3 + 1;
    check(is_refused(CHANGE_ADD, 2, CHANGE_EEXISTS));
    check(is_refused(CHANGE_REMOVE, 4, CHANGE_ENOENT));
    check(is_refused(CHANGE_PROMOTE, other, CHANGE_EALREADY));
    check(is_refused(CHANGE_REMOVE, at, CHANGE_EHANDOVER));
    check(is_refused(CHANGE_DEMOTE, at, CHANGE_EHANDOVER));
    struct replica_change taken = {.kind = CHANGE_ADD, .id = 4, .address = "node2:7000"};
    check(change_at(at, taken) == CHANGE_EEXISTS && strstr(why, "node 2") != NULL);
    taken = (struct replica_change){.kind = CHANGE_ADDRESS, .id = 1, .address = "node2:7000"};
    check(change_at(at, taken) == CHANGE_EEXISTS);
    check(change_at(other, taken) == CHANGE_ENOTLEADER);
    struct replica_change dry = {.kind = CHANGE_ADD, .id = 0, .address = "elsewhere:1", .dry_run = true};
    check(change_at(at, dry) == 0 && changed_id == 4 && changed_index == 0 && status(at).n_members == 3);
}

static void one_change_at_a_time(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 5, .founders = 3, .seed = 3});
    check(change(CHANGE_ADD, 4) == 0);
    check(is_refused(CHANGE_ADD, 5, CHANGE_EBUSY));
    assert_non_null(strstr(why, "add node 4"));
    do_change(CHANGE_ADD, 5);
    check(status(leader()).n_members == 5);
}

static void a_learner_that_is_behind_is_not_promoted(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 4, .founders = 3, .seed = 5});
    do_change(CHANGE_ADD, 4);
    fakecluster_run(c, 1000);
    check(is_refused(CHANGE_PROMOTE, 4, CHANGE_EBEHIND));
    check(fakecluster_start(c, 4, NULL) == 0);
    do_change(CHANGE_PROMOTE, 4);
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
    check(voters() == 4);
}

static void ids_are_never_given_twice(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 5, .founders = 3, .seed = 5});
    do_change(CHANGE_ADD, 4);
    do_change(CHANGE_REMOVE, 4);
    fakecluster_run(c, 1000);
    check(is_refused(CHANGE_ADD, 4, CHANGE_EEXISTS));
    uint64_t before = leader();
    check(replica_transfer(fakecluster_replica(c, before), 0) == 0);
    fakecluster_run(c, 2000); /* Another leader, who saw it only in the log. */
    check(leader() != before);
    struct replica_change any = {.kind = CHANGE_ADD, .address = "elsewhere:1"};
    check(change_at(leader(), any) == 0);
    assert_int_equal(changed_id, 5);
}

static void a_change_that_would_lose_the_quorum_is_refused(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 3, .founders = 3, .seed = 6});
    uint64_t at = leader(), down = at % 3 + 1, up = 6 - at - down;
    fakecluster_kill(c, down);
    fakecluster_run(c, 500);
    check(is_refused(CHANGE_REMOVE, up, CHANGE_EQUORUM));
    check(is_refused(CHANGE_DEMOTE, up, CHANGE_EQUORUM));
    do_change(CHANGE_REMOVE, down); /* Two of two are left. */
    check(voters() == 2);
    fakecluster_run(c, 500);
    check(fakecluster_start(c, down, NULL) == 0);
    fakecluster_run(c, 2000);
    check(fakecluster_expelled(c, down)); /* It was removed while it was down. */
}

static void the_last_voter_stays(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 2, .founders = 1, .seed = 6});
    check(is_refused(CHANGE_REMOVE, 1, CHANGE_ELAST));
    join(2);
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
    check(is_refused(CHANGE_REMOVE, 1, CHANGE_ELAST)); /* A learner is no voter. */
    do_change(CHANGE_PROMOTE, 2);
    do_change(CHANGE_REMOVE, 1);
    check(leader() == 2 && voters() == 1);
    propose(5);
}

/* A leader that is cut off changes the members for nobody. */
static void rolled_back(uint64_t with_seed)
{
    begin((struct fakecluster_options){.n = 5, .founders = 3, .seed = with_seed});
    uint64_t old = leader();
    fakecluster_isolate(c, old, true);
    check(change_at(old, (struct replica_change){.kind = CHANGE_ADD, .id = 4}) == 0);
    check(status(old).n_members == 4);
    fakecluster_run(c, 5000);
    check(leader() != old);
    propose(3);
    fakecluster_heal(c);
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
    check(status(old).n_members == 3);
    join(5);
    do_change(CHANGE_PROMOTE, 5);
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
}

static void an_uncommitted_change_is_undone(void **state)
{
    (void)state;
    for_seeds(10, rolled_back);
}

static void by_snapshot(uint64_t with_seed)
{
    begin((struct fakecluster_options){.n = 4,
                                       .founders = 3,
                                       .seed = with_seed,
                                       .state_bytes = 300000,
                                       .keep_entries = 20,
                                       .keep_bytes = 10000,
                                       .checkpoint_ms = 50});
    propose(500);
    join(4);
    fakecluster_run(c, fakecluster_random(c, 1000));
    fakecluster_crash(c, 4);
    check(fakecluster_start(c, 4, NULL) == 0);
    propose(50);
    do_change(CHANGE_PROMOTE, 4);
    check(fakecluster_until(c, members_agree, NULL, INSTALLED_MS));
    check(status(4).snapshots_installed > 0 || status(4).first > 1);
    check(voters() == 4);
}

static void a_node_joins_by_a_snapshot(void **state)
{
    (void)state;
    for_seeds(5, by_snapshot);
}

/* Its state was never written: the log is applied anew, and begins with lists that do not name it yet. */
static void a_node_that_joined_starts_again_from_its_log(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 4, .founders = 3, .seed = 4});
    join(4);
    do_change(CHANGE_PROMOTE, 4);
    do_change(CHANGE_DEMOTE, 4);
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
    fakecluster_kill(c, 4);
    check(fakecluster_start(c, 4, NULL) == 0);
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
    check(!fakecluster_expelled(c, 4));
}

static bool four_leads(struct fakecluster *cluster, void *ctx)
{
    (void)ctx;
    uint64_t at = fakecluster_leader(cluster);
    if (at != 0 && at != 4)
        replica_transfer(fakecluster_replica(cluster, at), 4);
    return at == 4;
}

/* A voter was away while another node joined, which leads now: its list does not name it, but it must follow. */
static void behind_a_stranger(uint64_t with_seed)
{
    begin((struct fakecluster_options){.n = 4,
                                       .founders = 3,
                                       .seed = with_seed,
                                       .state_bytes = 5000,
                                       .keep_entries = with_seed % 2 == 0 ? 5 : 0,
                                       .checkpoint_ms = 50});
    uint64_t away = leader() % 3 + 1, gone = away % 3 + 1;
    fakecluster_isolate(c, away, true);
    join(4);
    do_change(CHANGE_PROMOTE, 4);
    propose(50);
    check(fakecluster_until(c, four_leads, NULL, WAIT_MS));
    fakecluster_crash(c, gone);
    fakecluster_heal(c);
    check(fakecluster_until(c, fakecluster_has_leader, NULL, WAIT_MS));
    propose(5); /* Three of four are needed: it must take them. */
    check(fakecluster_start(c, gone, NULL) == 0);
    check(fakecluster_until(c, members_agree, NULL, INSTALLED_MS));
}

static void who_lags_follows_a_leader_it_never_heard_of(void **state)
{
    (void)state;
    for_seeds(6, behind_a_stranger);
}

static void an_address_changes(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 3, .founders = 3, .seed = 9});
    uint64_t at = leader();
    struct replica_change move = {.kind = CHANGE_ADDRESS, .id = at, .address = "elsewhere:1"};
    check(change_at(at, move) == 0);
    check(fakecluster_until(c, members_agree, NULL, WAIT_MS));
    struct replica_status s = status(at % 3 + 1);
    for (size_t i = 0; i < s.n_members; i++)
        if (s.members[i].member.id == at)
            assert_string_equal(s.members[i].member.address, "elsewhere:1");
    check(change_at(at, move) == CHANGE_EALREADY);
}

static void storm_step(void)
{
    uint64_t id = 1 + fakecluster_random(c, 7), at = fakecluster_leader(c);
    switch (fakecluster_random(c, 6)) {
    case 0:
        if (fakecluster_runs(c, id))
            fakecluster_crash(c, id);
        break;
    case 1:
        if (!fakecluster_runs(c, id) && !fakecluster_expelled(c, id))
            fakecluster_start(c, id, NULL);
        break;
    case 2:
        fakecluster_isolate(c, id, fakecluster_random(c, 2) == 0);
        break;
    default:
        if (at != 0) {
            struct replica_change any = {.kind = (enum change_kind)fakecluster_random(c, 4), .id = id};
            if (change_at(at, any) == CHANGE_EHANDOVER)
                replica_transfer(fakecluster_replica(c, at), 0);
        }
    }
    for (int k = 0; k < 5; k++) {
        if (fakecluster_leader(c) != 0)
            fakecluster_propose(c, fakecluster_leader(c), ENTRY_BYTES);
        fakecluster_run(c, fakecluster_random(c, 200));
    }
}

/* Whatever happens to members and nodes, nothing that was acknowledged is lost, and when it is quiet they go on. */
static void storm(uint64_t with_seed)
{
    begin((struct fakecluster_options){
        .n = 7, .founders = 3, .seed = with_seed, .state_bytes = 20000, .keep_entries = 50, .checkpoint_ms = 100});
    for (int k = 0; k < STORM_STEPS; k++) {
        storm_step();
        check(true);
    }
    fakecluster_calm(c);
    propose(5);
    check(fakecluster_until(c, members_agree, NULL, INSTALLED_MS));
    struct replica_status s = status(leader());
    for (size_t i = 0; i < s.n_members; i++)
        check(!fakecluster_expelled(c, s.members[i].member.id));
}

static void storms_break_no_promise(void **state)
{
    (void)state;
    for_seeds(60, storm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, clean)
    const struct CMUnitTest tests[] = {
        TEST(three_become_five_and_three_again),
        TEST(what_makes_no_sense_is_refused_with_a_reason),
        TEST(one_change_at_a_time),
        TEST(a_learner_that_is_behind_is_not_promoted),
        TEST(ids_are_never_given_twice),
        TEST(a_change_that_would_lose_the_quorum_is_refused),
        TEST(the_last_voter_stays),
        TEST(an_uncommitted_change_is_undone),
        TEST(a_node_joins_by_a_snapshot),
        TEST(a_node_that_joined_starts_again_from_its_log),
        TEST(who_lags_follows_a_leader_it_never_heard_of),
        TEST(an_address_changes),
        TEST(storms_break_no_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
