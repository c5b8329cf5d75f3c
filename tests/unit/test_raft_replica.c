/* test_raft_replica.c - replicas with their logs, on disks that lose what was not synced and links that lose frames.
 * What must never happen is watched by the fake cluster all the time; a test says what must happen, and by when.
 * HOLDFAST_SEED=n runs those that try many seeds with n alone; HOLDFAST_VERBOSE=1 tells all. */
#include "tests/support/fakecluster.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ELECTED_MS 3000    /* The first leader is there. */
#define KICKED_MS 200      /* The next one, when the last one's process died. */
#define AGREED_MS 5000     /* All have applied all. */
#define INSTALLED_MS 60000 /* The same when a snapshot must be made, and made again. */
#define ENTRY_BYTES 200

static struct fakecluster *c;
static uint64_t seed;

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
    print_error("%s:%d: %s (HOLDFAST_SEED=%llu): %s\n", file, line, ok ? "trouble" : what, (unsigned long long)seed,
                trouble != NULL ? trouble : "");
    fail();
}

#define check(x) check_at(__FILE__, __LINE__, x, #x)

static void begin(struct fakecluster_options o)
{
    seed = o.seed;
    c = fakecluster_new(&o);
    fakecluster_start_all(c);
    check(true);
}

static uint64_t begin_three(uint64_t with_seed)
{
    begin((struct fakecluster_options){.n = 3, .seed = with_seed, .state_bytes = 5000});
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
    return fakecluster_leader(c);
}

static void agree(uint64_t ms)
{
    check(fakecluster_until(c, fakecluster_agrees, NULL, ms));
}

/* n entries at whoever leads, one after another. */
static void propose(size_t n, size_t len)
{
    for (size_t k = 0; k < n; k++) {
        check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
        fakecluster_propose(c, fakecluster_leader(c), len);
        fakecluster_run(c, 1);
    }
}

static const struct fakecluster_counts *counts(void)
{
    return fakecluster_counts(c);
}

static struct replica_status status(uint64_t id)
{
    struct replica_status s;
    replica_status(fakecluster_replica(c, id), &s);
    return s;
}

static uint64_t other_than(uint64_t a, uint64_t b)
{
    uint64_t id = 1;
    while (id == a || id == b)
        id++;
    return id;
}

/* Run one scenario with many seeds, or with the one that is asked for. */
static void for_seeds(uint64_t n, void (*scenario)(uint64_t with_seed))
{
    const char *only = getenv("HOLDFAST_SEED");
    if (only != NULL) {
        scenario(strtoull(only, NULL, 10));
        clean(NULL);
        return;
    }
    for (uint64_t k = 1; k <= n; k++) {
        scenario(k);
        clean(NULL);
    }
}

/* ---- Leaders ---- */

static void first_leader_commits(void **state)
{
    (void)state;
    uint64_t leader = begin_three(1);
    assert_int_equal(fakecluster_propose(c, leader, ENTRY_BYTES), 0);
    agree(AGREED_MS);
    assert_int_equal(counts()->acked, 1);
    assert_int_equal(status(leader).n_members, 3);
    assert_true(status(leader).ready);
}

static void lone_node_commits(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 1, .seed = 1});
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
    propose(10, ENTRY_BYTES);
    assert_int_equal(fakecluster_read(c, 1), 0);
    agree(AGREED_MS);
    assert_int_equal(counts()->acked, 10);
    assert_int_equal(counts()->reads_answered, 1);
    fakecluster_crash(c, 1);
    fakecluster_start_all(c);
    agree(AGREED_MS);
}

static void leader_dies(uint64_t with_seed)
{
    uint64_t leader = begin_three(with_seed);
    propose(20, ENTRY_BYTES);
    for (int k = 0; k < 5; k++)
        fakecluster_propose(c, leader, ENTRY_BYTES); /* Under way. */
    fakecluster_run(c, fakecluster_random(c, 3));
    uint64_t acked = counts()->acked;
    fakecluster_crash(c, leader);
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
    check(fakecluster_leader(c) != leader);
    propose(5, ENTRY_BYTES);
    fakecluster_start_all(c);
    agree(AGREED_MS);
    check(counts()->acked >= acked);
}

static void leader_crash_loses_nothing(void **state)
{
    (void)state;
    for_seeds(20, leader_dies);
}

static void leader_is_killed(uint64_t with_seed)
{
    uint64_t leader = begin_three(with_seed);
    propose(3, ENTRY_BYTES);
    fakecluster_run(c, fakecluster_random(c, 100));
    fakecluster_kill(c, leader);
    check(fakecluster_until(c, fakecluster_has_leader, NULL, KICKED_MS));
}

static void killed_leader_is_replaced_at_once(void **state)
{
    (void)state;
    for_seeds(20, leader_is_killed);
}

static bool somebody_leads_unready(struct fakecluster *cluster, void *ctx)
{
    uint64_t *ret = ctx;
    for (uint64_t id = 1; id <= 3; id++)
        if (replica_leader(fakecluster_replica(cluster, id)) == id && !replica_ready(fakecluster_replica(cluster, id)))
            *ret = id;
    return *ret != 0;
}

/* With slow disks there is time between winning and committing an entry of one's own term. */
static void proposals_wait_for_the_own_term(void **state)
{
    (void)state;
    uint64_t unready = 0, ticket = 77;
    begin((struct fakecluster_options){.n = 3, .seed = 4});
    fakecluster_weather(c)->disk_us = 20000;
    check(fakecluster_until(c, somebody_leads_unready, &unready, ELECTED_MS));
    assert_int_equal(status(unready).role, REPLICA_LEADER);
    assert_int_equal(fakecluster_propose(c, unready, ENTRY_BYTES), REPLICA_ENOTLEADER);
    struct blob *blob = blob_copy("0123456789abcdef", 16);
    assert_int_equal(replica_propose(fakecluster_replica(c, unready), blob), REPLICA_ENOTLEADER);
    blob_unref(blob);
    assert_int_equal(replica_read(fakecluster_replica(c, unready), &ticket), REPLICA_ENOTLEADER);
    assert_int_equal(ticket, 77);
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
    assert_int_equal(fakecluster_propose(c, unready, ENTRY_BYTES), 0);
    agree(AGREED_MS);
    assert_int_equal(fakecluster_propose(c, other_than(unready, 0), ENTRY_BYTES), REPLICA_ENOTLEADER);
}

static bool somebody_else_leads(struct fakecluster *cluster, void *ctx)
{
    const uint64_t *not_this = ctx;
    uint64_t leader = fakecluster_leader(cluster);
    return leader != 0 && leader != *not_this;
}

static void leadership_is_handed_over(uint64_t with_seed)
{
    uint64_t leader = begin_three(with_seed);
    propose(10, ENTRY_BYTES);
    fakecluster_propose(c, leader, ENTRY_BYTES);
    check(replica_transfer(fakecluster_replica(c, leader), 0) == 0);
    check(replica_transfer(fakecluster_replica(c, leader), 0) == REPLICA_EBUSY);
    check(!replica_ready(fakecluster_replica(c, leader)));
    check(fakecluster_propose(c, leader, ENTRY_BYTES) == REPLICA_ENOTLEADER);
    check(fakecluster_until(c, somebody_else_leads, &leader, 100));
    propose(3, ENTRY_BYTES);
    agree(AGREED_MS);
    check(replica_transfer(fakecluster_replica(c, leader), 0) == REPLICA_ENOTLEADER);
}

static void leadership_is_transferred(void **state)
{
    (void)state;
    for_seeds(10, leadership_is_handed_over);
}

/* Whom it wants to hand over to goes away before it has caught up. */
static void target_goes_away(uint64_t with_seed)
{
    uint64_t leader = begin_three(with_seed);
    fakecluster_propose(c, leader, ENTRY_BYTES);
    check(replica_transfer(fakecluster_replica(c, leader), 0) == 0);
    fakecluster_crash(c, other_than(leader, 0)); /* Both lag; it takes the first. */
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
    propose(3, ENTRY_BYTES);
    fakecluster_start_all(c);
    agree(AGREED_MS);
}

static void transfer_ends_when_its_target_is_gone(void **state)
{
    (void)state;
    for_seeds(10, target_goes_away);
}

static void transfer_needs_somebody(void **state)
{
    (void)state;
    begin((struct fakecluster_options){.n = 1, .seed = 1});
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
    assert_int_equal(replica_transfer(fakecluster_replica(c, 1), 0), REPLICA_EINVAL);
    assert_true(replica_ready(fakecluster_replica(c, 1)));
}

/* Elections come to nothing, but each makes the term grow. */
static bool no_votes_tap(void *ctx, uint64_t from, uint64_t to, uint8_t kind, const uint8_t *bytes, size_t len)
{
    struct raft_message m;
    uint64_t round;
    (void)ctx, (void)from, (void)to;
    return kind != FRAME_VOTE || frame_small_decode(kind, bytes, len, &m, &round) != 0 || m.request_vote.pre_vote;
}

/* One of the two has the longer log, the other the higher term: the one must learn the term from a refused pre-vote. */
static void longer_log_against_higher_term(uint64_t with_seed)
{
    uint64_t longer = begin_three(with_seed), higher = other_than(longer, 0), gone = other_than(longer, higher);
    agree(AGREED_MS);
    fakecluster_isolate(c, longer, true);
    check(fakecluster_propose(c, longer, ENTRY_BYTES) == 0);
    fakecluster_set_tap(c, no_votes_tap, NULL);
    fakecluster_run(c, 10000);
    fakecluster_set_tap(c, NULL, NULL);
    check(status(higher).term >= status(longer).term + 2 && status(higher).last < status(longer).last);
    fakecluster_crash(c, gone);
    fakecluster_kill(c, higher); /* A candidate goes on without asking first; one that has just started asks. */
    fakecluster_heal(c);
    check(fakecluster_start(c, higher, NULL) == 0);
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
    check(fakecluster_leader(c) == longer);
    fakecluster_start_all(c);
    agree(AGREED_MS);
}

static void two_of_three_always_elect(void **state)
{
    (void)state;
    for_seeds(5, longer_log_against_higher_term);
}

/* ---- Power loss ---- */

static void all_lose_power(uint64_t with_seed)
{
    begin((struct fakecluster_options){
        .n = 3, .seed = with_seed, .state_bytes = 3000, .checkpoint_ms = 40, .keep_entries = 50});
    for (int round = 0; round < 4; round++) {
        check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
        propose(60, 16 + fakecluster_random(c, 2000));
        for (uint64_t id = 1; id <= 3; id++) {
            fakecluster_crash(c, id);
            fakecluster_run(c, fakecluster_random(c, 3));
        }
        fakecluster_start_all(c);
        agree(INSTALLED_MS);
    }
}

static void power_loss_loses_nothing(void **state)
{
    (void)state;
    for_seeds(30, all_lose_power);
}

/* A follower applies what committed on the others' disks, writes its state, and loses its log's tail. */
static void state_is_ahead(uint64_t with_seed)
{
    uint64_t leader = begin_three(with_seed), slow = other_than(leader, 0);
    propose(5, ENTRY_BYTES);
    fakecluster_slow(c, slow, 2000000);
    propose(20, ENTRY_BYTES);
    fakecluster_run(c, 100);
    uint64_t applied = fakecluster_applied(c, slow);
    check(applied > status(slow).durable);
    fakecluster_checkpoint(c, slow);
    fakecluster_crash(c, slow);
    fakecluster_slow(c, slow, 0);
    check(fakecluster_start(c, slow, NULL) == 0);
    check(status(slow).applied == applied && status(slow).last >= applied);
    propose(5, ENTRY_BYTES);
    agree(AGREED_MS);
    fakecluster_crash(c, slow); /* Once more, with the log that began anew. */
    fakecluster_start_all(c);
    agree(AGREED_MS);
}

static void state_may_be_ahead_of_the_log(void **state)
{
    (void)state;
    for_seeds(10, state_is_ahead);
}

static void begin_with_short_logs(size_t state_bytes, uint64_t with_seed)
{
    begin((struct fakecluster_options){
        .n = 3, .seed = with_seed, .state_bytes = state_bytes, .checkpoint_ms = 50, .keep_entries = 10});
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
}

static void log_behind_the_state_is_refused(void **state)
{
    (void)state;
    char error[256];
    begin_with_short_logs(2000, 1);
    propose(400, 1000);
    agree(AGREED_MS);
    fakecluster_run(c, 200);
    assert_true(status(1).first > 1);
    fakecluster_kill(c, 1);
    fakedisk_remove(fakecluster_disk(c, 1), FAKECLUSTER_STATE);
    assert_int_equal(fakecluster_start(c, 1, error), REPLICA_ECORRUPT);
    assert_non_null(strstr(error, "entries between are missing"));
    assert_int_equal(fakecluster_start(c, 1, error), REPLICA_ECORRUPT); /* And again: nothing was made up. */
}

/* ---- Snapshots ---- */

#define CHUNKS 4
#define CHUNK_BYTES (256u << 10)

/* A node that was away for longer than the others' logs reach back. Returns it. */
static uint64_t left_behind(uint64_t with_seed)
{
    begin_with_short_logs((CHUNKS - 1) * CHUNK_BYTES + 1000, with_seed);
    uint64_t away = other_than(fakecluster_leader(c), 0);
    propose(5, ENTRY_BYTES);
    fakecluster_crash(c, away);
    propose(300, 1000);
    fakecluster_run(c, 300);
    check(status(fakecluster_leader(c)).first > 10);
    return away;
}

static void gets_a_snapshot(uint64_t with_seed)
{
    left_behind(with_seed);
    fakecluster_start_all(c);
    agree(AGREED_MS);
    check(counts()->snapshots_installed == 1);
    propose(10, ENTRY_BYTES);
    agree(AGREED_MS);
    fakecluster_run(c, 500);
    for (uint64_t id = 1; id <= 3; id++) { /* Nothing is left lying about. */
        size_t len;
        check(fakedisk_bytes(fakecluster_disk(c, id), REPLICA_SNAPSHOT_FILE, &len) == NULL);
        check(fakedisk_bytes(fakecluster_disk(c, id), REPLICA_INCOMING_FILE, &len) == NULL);
    }
}

static void snapshot_brings_a_follower_up(void **state)
{
    (void)state;
    for_seeds(5, gets_a_snapshot);
}

/* Something happens when chunk number `at` arrives, `times` times. */
struct mishap {
    unsigned at, times, seen;
    void (*happens)(uint64_t from, uint64_t to);
};

static bool mishap_tap(void *ctx, uint64_t from, uint64_t to, uint8_t kind, const uint8_t *bytes, size_t len)
{
    struct mishap *m = ctx;
    (void)bytes, (void)len;
    if (kind != FRAME_SNAPSHOT_CHUNK || m->times == 0 || ++m->seen % CHUNKS != m->at)
        return true;
    m->times--;
    m->happens(from, to);
    return false;
}

static void nothing_but_loss(uint64_t from, uint64_t to)
{
    (void)from, (void)to;
}

static void breaks_there(uint64_t from, uint64_t to)
{
    fakecluster_break(c, from, to);
}

static void breaks_back(uint64_t from, uint64_t to)
{
    fakecluster_break(c, to, from);
}

static void breaks_both(uint64_t from, uint64_t to)
{
    fakecluster_break(c, from, to);
    fakecluster_break(c, to, from);
}

static void with_mishap(uint64_t with_seed, void (*happens)(uint64_t, uint64_t), unsigned times)
{
    left_behind(with_seed);
    struct mishap m = {.at = 1 + (unsigned)(with_seed % (CHUNKS - 1)), .times = times, .happens = happens};
    fakecluster_set_tap(c, mishap_tap, &m);
    fakecluster_start_all(c);
    agree(INSTALLED_MS);
    check(counts()->snapshots_installed >= 1 && m.times < times);
}

static void chunk_is_lost(uint64_t with_seed)
{
    with_mishap(with_seed, nothing_but_loss, 1);
}

static void link_breaks_there(uint64_t with_seed)
{
    with_mishap(with_seed, breaks_there, 2);
}

static void link_breaks_back(uint64_t with_seed)
{
    with_mishap(with_seed, breaks_back, 2);
}

static void link_breaks_both(uint64_t with_seed)
{
    with_mishap(with_seed, breaks_both, 2);
}

static void snapshot_survives_lost_chunks(void **state)
{
    (void)state;
    for_seeds(4, chunk_is_lost);
}

static void snapshot_survives_broken_links(void **state)
{
    (void)state;
    for_seeds(4, link_breaks_there);
    for_seeds(4, link_breaks_back);
    for_seeds(4, link_breaks_both);
}

static void leader_changes_meanwhile(uint64_t with_seed)
{
    uint64_t away = left_behind(with_seed), leader = fakecluster_leader(c);
    struct mishap m = {.at = 2, .times = 1, .happens = nothing_but_loss};
    fakecluster_set_tap(c, mishap_tap, &m);
    check(fakecluster_start(c, away, NULL) == 0);
    while (m.times > 0 && fakecluster_trouble(c) == NULL)
        fakecluster_run(c, 1);
    check(replica_transfer(fakecluster_replica(c, leader), 0) == 0);
    check(fakecluster_until(c, somebody_else_leads, &leader, ELECTED_MS));
    agree(INSTALLED_MS);
}

/* The one that sent the first half still lives, its links are up, but it leads no more. */
static void snapshot_survives_a_change_of_leader(void **state)
{
    (void)state;
    for_seeds(4, leader_changes_meanwhile);
}

static void damaged_snapshot_is_not_installed(void **state)
{
    (void)state;
    uint64_t away = left_behind(3);
    fakecluster_damage(c, away, 2);
    fakecluster_start_all(c);
    agree(INSTALLED_MS);
    assert_int_equal(counts()->damaged, 2);
    assert_int_equal(counts()->snapshots_installed, 1);
}

static void crashes_while_installing(uint64_t with_seed)
{
    uint64_t away = left_behind(with_seed);
    fakecluster_crash_installing(c, away);
    check(fakecluster_start(c, away, NULL) == 0);
    for (int k = 0; k < 10000 && fakecluster_runs(c, away); k++)
        fakecluster_run(c, 1);
    check(!fakecluster_runs(c, away));
    propose(5, ENTRY_BYTES);
    fakecluster_start_all(c);
    check(fakecluster_applied(c, away) > 10); /* The state came from the snapshot. */
    agree(INSTALLED_MS);
}

static void crash_between_install_and_new_log(void **state)
{
    (void)state;
    for_seeds(10, crashes_while_installing);
}

static void crashes_while_receiving(uint64_t with_seed)
{
    uint64_t away = left_behind(with_seed);
    struct mishap m = {.at = 2, .times = 1, .happens = nothing_but_loss};
    fakecluster_set_tap(c, mishap_tap, &m);
    check(fakecluster_start(c, away, NULL) == 0);
    while (m.times > 0 && fakecluster_trouble(c) == NULL)
        fakecluster_run(c, 1);
    if (with_seed % 2 == 0)
        fakecluster_kill(c, away); /* The half file is there. */
    else
        fakecluster_crash(c, away);
    fakecluster_start_all(c);
    agree(INSTALLED_MS);
    check(counts()->snapshots_installed == 1);
}

static void crash_in_the_middle_of_a_snapshot(void **state)
{
    (void)state;
    for_seeds(6, crashes_while_receiving);
}

static void two_of_five_need_one(void **state)
{
    (void)state;
    begin((struct fakecluster_options){
        .n = 5, .seed = 1, .state_bytes = (CHUNKS - 1) * CHUNK_BYTES + 1000, .checkpoint_ms = 50, .keep_entries = 10});
    check(fakecluster_until(c, fakecluster_has_leader, NULL, ELECTED_MS));
    uint64_t a = other_than(fakecluster_leader(c), 0), b = other_than(fakecluster_leader(c), a);
    fakecluster_crash(c, a);
    fakecluster_crash(c, b);
    propose(300, 1000);
    fakecluster_run(c, 300);
    fakecluster_start_all(c);
    agree(INSTALLED_MS);
    assert_int_equal(counts()->snapshots_installed, 2);
}

/* ---- Reads ---- */

static void reads_share_rounds(void **state)
{
    (void)state;
    uint64_t leader = begin_three(1);
    for (int k = 0; k < 20; k++) {
        fakecluster_propose(c, leader, ENTRY_BYTES);
        for (int i = 0; i < 5; i++)
            assert_int_equal(fakecluster_read(c, leader), 0);
        fakecluster_run(c, 3);
    }
    agree(AGREED_MS);
    assert_int_equal(counts()->reads_answered, 100);
    assert_true(status(leader).read_rounds < 100);
    assert_int_equal(fakecluster_read(c, other_than(leader, 0)), REPLICA_ENOTLEADER);
}

static void reads_survive_lost_probes(void **state)
{
    (void)state;
    uint64_t leader = begin_three(2);
    fakecluster_weather(c)->loss_ppm = 300000;
    for (int k = 0; k < 10 && fakecluster_leader(c) == leader; k++) {
        fakecluster_read(c, leader);
        fakecluster_run(c, 50);
    }
    fakecluster_weather(c)->loss_ppm = 0;
    agree(AGREED_MS);
    assert_true(counts()->reads_answered > 0);
    assert_int_equal(counts()->reads_answered + counts()->reads_refused, counts()->reads);
}

static void minority_reads(uint64_t with_seed)
{
    uint64_t leader = begin_three(with_seed);
    propose(3, ENTRY_BYTES);
    fakecluster_isolate(c, leader, true);
    fakecluster_run(c, fakecluster_random(c, 100));
    check(fakecluster_read(c, leader) == 0);
    check(fakecluster_until(c, somebody_else_leads, &leader, ELECTED_MS));
    fakecluster_propose(c, fakecluster_leader(c), ENTRY_BYTES);
    fakecluster_run(c, 1000);
    check(counts()->reads_answered == 0 && counts()->reads_refused == 1);
    fakecluster_heal(c);
    agree(AGREED_MS);
}

static void minority_confirms_no_read(void **state)
{
    (void)state;
    for_seeds(10, minority_reads);
}

struct catch
{
    uint8_t kind;
    uint64_t from;
    size_t len;
    uint8_t bytes[64];
};

static bool catch_tap(void *ctx, uint64_t from, uint64_t to, uint8_t kind, const uint8_t *bytes, size_t len)
{
    struct catch *k = ctx;
    (void)to;
    if (kind == k->kind && len <= sizeof k->bytes) {
        k->from = from;
        k->len = len;
        memcpy(k->bytes, bytes, len);
    }
    return true;
}

/* An answer to an earlier round reaches a leader that is cut off and has asked anew. */
static void answers_to_earlier_rounds_do_not_count(void **state)
{
    (void)state;
    uint64_t leader = begin_three(1);
    struct catch old = {.kind = FRAME_PROBE_ACK};
    fakecluster_set_tap(c, catch_tap, &old);
    assert_int_equal(fakecluster_read(c, leader), 0);
    fakecluster_run(c, 20);
    assert_int_equal(counts()->reads_answered, 1);
    assert_true(old.len > 0);
    fakecluster_isolate(c, leader, true);
    assert_int_equal(fakecluster_read(c, leader), 0);
    replica_receive(fakecluster_replica(c, leader), old.from, old.kind, old.bytes, old.len);
    replica_receive(fakecluster_replica(c, leader), other_than(leader, old.from), old.kind, old.bytes, old.len);
    fakecluster_run(c, 20);
    assert_int_equal(counts()->reads_answered, 1);
    fakecluster_heal(c);
    agree(AGREED_MS);
    check(true);
}

struct count {
    uint8_t kind;
    unsigned n;
};

static bool count_tap(void *ctx, uint64_t from, uint64_t to, uint8_t kind, const uint8_t *bytes, size_t len)
{
    struct count *k = ctx;
    (void)from, (void)to, (void)bytes, (void)len;
    k->n += kind == k->kind;
    return true;
}

/* Whoever asks: the answer would be a vote for a leader that may have been replaced. */
static unsigned answers_to_probe(uint64_t voter, uint64_t from, uint64_t term)
{
    struct count acks = {.kind = FRAME_PROBE_ACK};
    struct frame_probe p = {.term = term, .round = 1000000};
    uint8_t buf[FRAME_PROBE_BYTES];
    size_t len = frame_probe_encode(&p, buf);
    fakecluster_set_tap(c, count_tap, &acks);
    replica_receive(fakecluster_replica(c, voter), from, FRAME_PROBE, buf, len);
    fakecluster_run(c, 10);
    fakecluster_set_tap(c, NULL, NULL);
    return acks.n;
}

static void probes_of_another_term_are_not_answered(void **state)
{
    (void)state;
    uint64_t leader = begin_three(1), voter = other_than(leader, 0), term = status(leader).term;
    agree(AGREED_MS);
    assert_int_equal(answers_to_probe(voter, leader, term), 1);
    assert_int_equal(answers_to_probe(voter, leader, term - 1), 0);
    assert_int_equal(answers_to_probe(voter, leader, term + 1), 0);
    assert_int_equal(answers_to_probe(leader, voter, term), 0);
    check(true);
}

/* ---- Bad frames ---- */

#define FRAMES_KEPT 40

struct sample {
    uint8_t kind;
    uint8_t *bytes;
    size_t len;
};

struct samples {
    struct sample list[FRAMES_KEPT];
    size_t n;
    unsigned of_kind[FRAME_OWNER];
};

static bool sample_tap(void *ctx, uint64_t from, uint64_t to, uint8_t kind, const uint8_t *bytes, size_t len)
{
    struct samples *s = ctx;
    (void)from, (void)to;
    if (s->n == FRAMES_KEPT || s->of_kind[kind] == 4 || len > 4096)
        return true;
    s->of_kind[kind]++;
    uint8_t *copy = malloc(len);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    s->list[s->n++] = (struct sample){kind, copy, len};
    return true;
}

/* Feed every beginning of a frame, in memory that ends where it does. */
static void feed_cuts(struct replica *r, uint64_t from, const struct sample *s)
{
    for (size_t len = 0; len < s->len; len++) {
        uint8_t *part = malloc(len > 0 ? len : 1);
        assert_non_null(part);
        memcpy(part, s->bytes, len);
        replica_receive(r, from, s->kind, part, len);
        free(part);
    }
}

static void cut_frames_change_nothing(void **state)
{
    (void)state;
    struct samples samples = {.n = 0};
    uint64_t away = left_behind(1);
    fakecluster_set_tap(c, sample_tap, &samples);
    fakecluster_start_all(c);
    agree(AGREED_MS);
    fakecluster_read(c, fakecluster_leader(c));
    propose(5, ENTRY_BYTES);
    fakecluster_set_tap(c, NULL, NULL);
    for (uint8_t kind = FRAME_APPEND; kind <= FRAME_SNAPSHOT_ACK; kind++)
        assert_true(kind == FRAME_TIMEOUT_NOW || kind == FRAME_SNAPSHOT_CHUNK || kind == FRAME_VOTE ||
                    kind == FRAME_VOTE_RESULT || samples.of_kind[kind] > 0);
    for (uint64_t id = 1; id <= 3; id++) {
        struct replica_status before = status(id);
        for (size_t k = 0; k < samples.n; k++)
            feed_cuts(fakecluster_replica(c, id), id == away ? fakecluster_leader(c) : away, &samples.list[k]);
        struct replica_status after = status(id);
        check(before.last == after.last && before.term == after.term && before.commit == after.commit &&
              before.role == after.role && before.first == after.first && !after.installing);
    }
    propose(5, ENTRY_BYTES);
    agree(AGREED_MS);
    for (size_t k = 0; k < samples.n; k++)
        free(samples.list[k].bytes);
}

/* Now and then a bit is wrong in a frame. The links' checksums are meant to see that: here the point is that nothing
 * worse comes of it than a replica that gives up, or entries that differ. */
static bool flip_tap(void *ctx, uint64_t from, uint64_t to, uint8_t kind, const uint8_t *bytes, size_t len)
{
    (void)ctx;
    if (len == 0 || fakecluster_random(c, 30) > 0)
        return true;
    uint8_t *bent = malloc(len);
    assert_non_null(bent);
    memcpy(bent, bytes, len);
    size_t head = len < 80 ? len : 80; /* Where the numbers are. */
    bent[fakecluster_random(c, fakecluster_random(c, 4) > 0 ? head : len)] ^= (uint8_t)(1u << fakecluster_random(c, 8));
    replica_receive(fakecluster_replica(c, to), from, kind, bent, len);
    free(bent);
    return false;
}

static void bits_flip(uint64_t with_seed)
{
    begin((struct fakecluster_options){
        .n = 3, .seed = with_seed, .state_bytes = 3000, .checkpoint_ms = 30, .keep_entries = 10});
    fakecluster_set_tap(c, flip_tap, NULL);
    for (uint64_t id = 1; id <= 3; id++)
        fakecluster_may_fail(c, id, true);
    for (int k = 0; k < 150 && fakecluster_trouble(c) == NULL; k++) {
        uint64_t leader = fakecluster_leader(c);
        if (leader != 0)
            fakecluster_propose(c, leader, ENTRY_BYTES);
        fakecluster_run(c, 10);
        if (k % 20 != 19)
            continue;
        uint64_t id = 1 + fakecluster_random(c, 3);
        fakecluster_kill(c, id);
        fakecluster_start(c, id, NULL);
    }
}

static void flipped_bits_crash_nobody(void **state)
{
    (void)state;
    for_seeds(60, bits_flip);
}

/* ---- Everything at once ---- */

#define STORM_ACTIONS 120
#define STORM_ELECTED_MS 10000 /* Logs and terms differ by then: some rounds may be needed. */

static void storm_weather(void)
{
    struct fakecluster_weather *w = fakecluster_weather(c);
    w->delay_us = 20 + (unsigned)fakecluster_random(c, 300);
    w->delay_spread_us = (unsigned)fakecluster_random(c, fakecluster_random(c, 4) == 0 ? 20000 : 1000);
    w->loss_ppm = fakecluster_random(c, 2) == 0 ? 0 : (unsigned)fakecluster_random(c, 60000);
    w->twice_ppm = fakecluster_random(c, 2) == 0 ? 0 : (unsigned)fakecluster_random(c, 30000);
    w->disk_us = 20 + (unsigned)fakecluster_random(c, 500);
    w->disk_spread_us = (unsigned)fakecluster_random(c, fakecluster_random(c, 4) == 0 ? 30000 : 500);
}

static void storm_trouble(size_t n)
{
    uint64_t id = 1 + fakecluster_random(c, n), other = 1 + fakecluster_random(c, n);
    switch (fakecluster_random(c, 14)) {
    case 0:
        fakecluster_crash(c, id);
        break;
    case 1:
        fakecluster_kill(c, id);
        break;
    case 2:
        if (fakecluster_runs(c, id)) /* At some call to come. */
            fakedisk_fail_at(fakecluster_disk(c, id),
                             fakedisk_calls(fakecluster_disk(c, id)) + fakecluster_random(c, 60), FAKEDISK_POWER);
        break;
    case 3:
        fakecluster_isolate(c, id, true);
        break;
    case 4:
        fakecluster_cut(c, id, other, true);
        break;
    case 5:
        if (id != other)
            fakecluster_break(c, id, other);
        break;
    case 6:
        fakecluster_slow(c, id, (unsigned)fakecluster_random(c, 200000));
        break;
    case 7:
        fakecluster_damage(c, id, 1);
        break;
    case 8:
        if (fakecluster_runs(c, id))
            replica_transfer(fakecluster_replica(c, id), 0);
        break;
    case 9:
        fakecluster_crash_installing(c, id);
        break;
    case 10:
        storm_weather();
        break;
    default:
        fakecluster_heal(c);
        fakecluster_slow(c, id, 0);
        fakecluster_start_all(c);
    }
}

static void storm_users(size_t n)
{
    for (uint64_t k = fakecluster_random(c, 30); k > 0; k--) {
        uint64_t id = 1 + fakecluster_random(c, n);
        if (fakecluster_random(c, 3) > 0 && fakecluster_leader(c) != 0)
            id = fakecluster_leader(c);
        if (fakecluster_random(c, 4) == 0)
            fakecluster_read(c, id);
        else
            fakecluster_propose(c, id, 16 + fakecluster_random(c, 3000));
        fakecluster_run(c, fakecluster_random(c, 12));
    }
}

static void storm(uint64_t with_seed)
{
    size_t n = with_seed % 3 == 0 ? 5 : 3;
    begin((struct fakecluster_options){.n = n,
                                       .seed = with_seed,
                                       .state_bytes = with_seed % 4 == 0 ? 600000 : 3000,
                                       .checkpoint_ms = 100,
                                       .keep_entries = 1 + with_seed % 40,
                                       .log_memory_bytes = with_seed % 2 == 0 ? 2000 : 200000});
    for (int k = 0; k < STORM_ACTIONS; k++) {
        storm_trouble(n);
        storm_users(n);
        check(true);
    }
    fakecluster_calm(c);
    fakecluster_kill(c, 1 + fakecluster_random(c, n)); /* The others are enough. */
    check(fakecluster_until(c, fakecluster_has_leader, NULL, STORM_ELECTED_MS));
    fakecluster_start_all(c);
    agree(INSTALLED_MS);
    uint64_t acked = counts()->acked;
    propose(20, ENTRY_BYTES);
    agree(INSTALLED_MS);
    check(counts()->acked > acked); /* It goes on. */
}

static void storms_break_no_promise(void **state)
{
    (void)state;
    const char *n = getenv("HOLDFAST_STORMS"); /* For longer campaigns. */
    for_seeds(n != NULL ? strtoull(n, NULL, 10) : 60, storm);
}

#define REPLICA_TEST(f) cmocka_unit_test_teardown(f, clean)

/* Alone, when the first argument is a pattern of its name. */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        REPLICA_TEST(first_leader_commits),
        REPLICA_TEST(lone_node_commits),
        REPLICA_TEST(leader_crash_loses_nothing),
        REPLICA_TEST(killed_leader_is_replaced_at_once),
        REPLICA_TEST(proposals_wait_for_the_own_term),
        REPLICA_TEST(two_of_three_always_elect),
        REPLICA_TEST(leadership_is_transferred),
        REPLICA_TEST(transfer_ends_when_its_target_is_gone),
        REPLICA_TEST(transfer_needs_somebody),
        REPLICA_TEST(power_loss_loses_nothing),
        REPLICA_TEST(state_may_be_ahead_of_the_log),
        REPLICA_TEST(log_behind_the_state_is_refused),
        REPLICA_TEST(snapshot_brings_a_follower_up),
        REPLICA_TEST(snapshot_survives_lost_chunks),
        REPLICA_TEST(snapshot_survives_broken_links),
        REPLICA_TEST(snapshot_survives_a_change_of_leader),
        REPLICA_TEST(damaged_snapshot_is_not_installed),
        REPLICA_TEST(crash_between_install_and_new_log),
        REPLICA_TEST(crash_in_the_middle_of_a_snapshot),
        REPLICA_TEST(two_of_five_need_one),
        REPLICA_TEST(reads_share_rounds),
        REPLICA_TEST(reads_survive_lost_probes),
        REPLICA_TEST(minority_confirms_no_read),
        REPLICA_TEST(answers_to_earlier_rounds_do_not_count),
        REPLICA_TEST(probes_of_another_term_are_not_answered),
        REPLICA_TEST(cut_frames_change_nothing),
        REPLICA_TEST(flipped_bits_crash_nobody),
        REPLICA_TEST(storms_break_no_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
