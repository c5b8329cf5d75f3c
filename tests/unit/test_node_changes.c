/* test_node_changes.c - requests for changes on their way to the leader and back, with a replica that does as told. */
#include "node/changes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SELF 1
#define SENT_MAX 8

/* ---- The replica, as told ---- */

static struct {
    uint64_t leader, term, applied, last, now_ms;
    bool ready, link_up;
    int refuse_kind, refusal; /* Refuse changes of this kind so. */
    enum change_kind done[8];
    size_t n_done, n_transfers;
    struct replica_member members[4];
    size_t n_members;
    struct {
        uint64_t to;
        uint8_t kind, bytes[600];
        size_t len;
    } sent[SENT_MAX];
    size_t n_sent;
} it;

uint64_t replica_leader(const struct replica *r)
{
    (void)r;
    return it.leader;
}

uint64_t replica_term(const struct replica *r)
{
    (void)r;
    return it.term;
}

bool replica_ready(const struct replica *r)
{
    (void)r;
    return it.ready;
}

bool replica_link_up(const struct replica *r, uint64_t peer)
{
    (void)r;
    (void)peer;
    return it.link_up;
}

void replica_send(struct replica *r, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                  const struct io_slice *slices, size_t n)
{
    (void)r;
    assert_null(slices);
    assert_int_equal(n, 0);
    assert_true(it.n_sent < SENT_MAX && head_len <= sizeof it.sent[0].bytes);
    it.sent[it.n_sent].to = peer;
    it.sent[it.n_sent].kind = kind;
    it.sent[it.n_sent].len = head_len;
    memcpy(it.sent[it.n_sent++].bytes, head, head_len);
}

int replica_change(struct replica *r, const struct replica_change *change, uint64_t *ret_id, uint64_t *ret_index,
                   char why[CHANGE_WHY_MAX])
{
    (void)r;
    if ((int)change->kind == it.refuse_kind) {
        snprintf(why, CHANGE_WHY_MAX, "because");
        return it.refusal;
    }
    *ret_id = change->kind == CHANGE_ADD ? 4 : change->id;
    *ret_index = change->dry_run ? 0 : ++it.last;
    if (!change->dry_run)
        it.done[it.n_done++] = change->kind;
    return 0;
}

int replica_transfer(struct replica *r, uint64_t to)
{
    (void)r;
    (void)to;
    it.n_transfers++;
    it.ready = false;
    return 0;
}

void replica_status(const struct replica *r, struct replica_status *ret)
{
    (void)r;
    *ret = (struct replica_status){.role = it.leader == SELF ? REPLICA_LEADER : REPLICA_FOLLOWER,
                                   .term = it.term,
                                   .applied = it.applied,
                                   .n_members = it.n_members};
    for (size_t i = 0; i < it.n_members; i++)
        ret->members[i].member = it.members[i];
}

/* ---- */

static uint64_t now(void *ctx)
{
    (void)ctx;
    return it.now_ms;
}

static int setup(void **state)
{
    struct changes *x = test_calloc(1, sizeof *x);
    memset(&it, 0, sizeof it);
    it.leader = SELF;
    it.term = it.last = it.applied = 7;
    it.now_ms = 1000;
    it.ready = it.link_up = true;
    it.refuse_kind = -1;
    x->now_ms = now;
    changes_init(x, NULL, SELF, 1);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    test_free(*state);
    return 0;
}

static uint64_t ask(struct changes *x, struct change_request q)
{
    uint64_t ticket = changes_ask(x, &q, it.now_ms + 5000);
    assert_true(ticket != 0);
    return ticket;
}

/* What was proposed is committed and applied, step by step. */
static const struct change_answer *settle(struct changes *x, uint64_t ticket)
{
    for (int i = 0; i < 10; i++) {
        it.applied = it.last;
        changes_flush(x);
    }
    return changes_answer(x, ticket);
}

static void an_answer_waits_for_the_commit(void **state)
{
    struct changes *x = *state;
    uint64_t ticket = ask(x, (struct change_request){.kind = REQUEST_ADD, .address = "a:1"});
    changes_flush(x);
    assert_null(changes_answer(x, ticket));
    const struct change_answer *a = settle(x, ticket);
    assert_non_null(a);
    assert_int_equal(a->code, ANSWER_DONE);
    assert_int_equal(a->id, 4);
    assert_int_equal(a->index, 8);
    changes_forget(x, ticket);
    assert_null(changes_answer(x, ticket));
    assert_int_equal(x->n_asked + x->n_served, 0);
}

static void a_leader_that_falls_is_followed_by_the_next(void **state)
{
    struct changes *x = *state;
    uint64_t ticket = ask(x, (struct change_request){.kind = REQUEST_REMOVE, .id = 3});
    it.leader = 2; /* Before it was committed. */
    it.term++;
    it.ready = false;
    changes_flush(x);
    changes_flush(x);
    assert_int_equal(it.n_sent, 1);
    assert_int_equal(it.sent[0].to, 2);
    assert_int_equal(it.sent[0].kind, PEER_CHANGE);
    it.leader = 0;
    it.now_ms += 5000;
    changes_flush(x);
    assert_int_equal(changes_answer(x, ticket)->code, ANSWER_UNKNOWN);
}

static void without_a_leader_nothing_was_done(void **state)
{
    struct changes *x = *state;
    it.leader = 0;
    it.ready = false;
    uint64_t ticket = ask(x, (struct change_request){.kind = REQUEST_REMOVE, .id = 3});
    it.now_ms += 5000;
    changes_flush(x);
    assert_int_equal(changes_answer(x, ticket)->code, ANSWER_NO_LEADER);
    assert_int_equal(it.n_sent, 0);
}

/* One node's frames, fed to another: done once however often it is sent, and the answer finds back. */
static void a_request_travels(void **state)
{
    struct changes *x = *state, far = {.now_ms = now};
    changes_init(&far, NULL, 2, 1);
    it.leader = 9;
    it.ready = false;
    uint64_t ticket = ask(x, (struct change_request){.kind = REQUEST_PROMOTE, .id = 3});
    assert_int_equal(it.n_sent, 1);
    it.leader = SELF;
    it.ready = true;
    for (int k = 0; k < 2; k++)
        changes_message(&far, SELF, PEER_CHANGE, it.sent[0].bytes, it.sent[0].len);
    assert_int_equal(it.n_done, 1);
    it.applied = it.last;
    changes_flush(&far);
    assert_int_equal(it.n_sent, 2);
    assert_int_equal(it.sent[1].kind, PEER_CHANGE_ANSWER);
    changes_message(x, 9, PEER_CHANGE_ANSWER, it.sent[1].bytes, it.sent[1].len);
    assert_int_equal(changes_answer(x, ticket)->code, ANSWER_DONE);
}

static void frames_that_make_no_sense_are_dropped(void **state)
{
    struct changes *x = *state;
    it.leader = 9;
    it.ready = false;
    uint64_t ticket = ask(x, (struct change_request){.kind = REQUEST_ADD, .address = "host:7501"});
    it.leader = SELF;
    it.ready = true;
    uint8_t *bytes = it.sent[0].bytes;
    size_t len = it.sent[0].len;
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *exact = test_malloc(cut + 1);
        memcpy(exact, bytes, cut);
        changes_message(x, 3, PEER_CHANGE, exact, cut);
        changes_message(x, 3, PEER_CHANGE_ANSWER, exact, cut);
        test_free(exact);
    }
    bytes[8] = 99; /* The kind. */
    changes_message(x, 3, PEER_CHANGE, bytes, len);
    bytes[8] = 1;
    bytes[32] = 255; /* The length of the address. */
    changes_message(x, 3, PEER_CHANGE, bytes, len);
    assert_int_equal(it.n_done, 0);
    assert_int_equal(x->n_served, 0);
    assert_null(changes_answer(x, ticket));
}

static void a_refusal_has_its_reason(void **state)
{
    struct changes *x = *state;
    it.refuse_kind = CHANGE_REMOVE;
    it.refusal = CHANGE_EQUORUM;
    uint64_t ticket = ask(x, (struct change_request){.kind = REQUEST_REMOVE, .id = 3});
    assert_int_equal(changes_answer(x, ticket)->code, ANSWER_REFUSED);
    assert_string_equal(changes_answer(x, ticket)->text, "because");
    it.refusal = CHANGE_EBUSY;
    ticket = ask(x, (struct change_request){.kind = REQUEST_REMOVE, .id = 3});
    assert_int_equal(changes_answer(x, ticket)->code, ANSWER_BUSY);
    it.refusal = CHANGE_EHANDOVER;
    ticket = ask(x, (struct change_request){.kind = REQUEST_REMOVE, .id = SELF});
    assert_int_equal(it.n_transfers, 1);
    assert_null(changes_answer(x, ticket)); /* The next leader will be asked. */
}

static void the_dead_go_first_and_the_living_last(void **state)
{
    struct changes *x = *state;
    struct change_request q = {.kind = REQUEST_REPLACE, .id = 4, .other = 3};
    uint64_t ticket = ask(x, q);
    assert_int_equal(settle(x, ticket)->code, ANSWER_DONE);
    it.link_up = false;
    ticket = ask(x, q);
    assert_int_equal(settle(x, ticket)->code, ANSWER_DONE);
    static const enum change_kind want[] = {CHANGE_PROMOTE, CHANGE_REMOVE, CHANGE_REMOVE, CHANGE_PROMOTE};
    assert_int_equal(it.n_done, 4);
    assert_memory_equal(it.done, want, sizeof want);
    it.refuse_kind = CHANGE_PROMOTE;
    it.refusal = CHANGE_EBEHIND;
    ticket = ask(x, q);
    assert_int_equal(settle(x, ticket)->code, ANSWER_REFUSED);
    assert_int_equal(it.n_done, 4); /* Nobody was removed for one that is not ready. */
}

static void who_joins_at_the_address_of_a_learner_takes_its_place(void **state)
{
    struct changes *x = *state;
    it.n_members = 2;
    it.members[0] = (struct replica_member){.id = 2, .address = "b:1", .voter = true};
    it.members[1] = (struct replica_member){.id = 3, .address = "c:1"};
    uint64_t ticket = ask(x, (struct change_request){.kind = REQUEST_JOIN, .address = "c:1"});
    assert_int_equal(settle(x, ticket)->code, ANSWER_DONE);
    assert_int_equal(it.n_done, 2);
    assert_int_equal(it.done[0], CHANGE_REMOVE);
    ticket =
        ask(x, (struct change_request){.kind = REQUEST_JOIN, .address = "b:1"}); /* A voter's place is not taken, */
    assert_int_equal(settle(x, ticket)->code, ANSWER_DONE);
    assert_int_equal(it.n_done, 3);
    ticket =
        ask(x, (struct change_request){.kind = REQUEST_JOIN, .address = "b:1", .other = 2}); /* unless it says so. */
    assert_int_equal(settle(x, ticket)->code, ANSWER_DONE);
    assert_int_equal(it.n_done, 5);
}

static void there_is_room_for_so_many(void **state)
{
    struct changes *x = *state;
    struct change_request q = {.kind = REQUEST_REMOVE, .id = 3};
    it.leader = 0;
    it.ready = false;
    for (int i = 0; i < CHANGES_ASKED_MAX; i++)
        ask(x, q);
    assert_int_equal(changes_ask(x, &q, it.now_ms + 100), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_answer_waits_for_the_commit),
        TEST(a_leader_that_falls_is_followed_by_the_next),
        TEST(without_a_leader_nothing_was_done),
        TEST(a_request_travels),
        TEST(frames_that_make_no_sense_are_dropped),
        TEST(a_refusal_has_its_reason),
        TEST(the_dead_go_first_and_the_living_last),
        TEST(who_joins_at_the_address_of_a_learner_takes_its_place),
        TEST(there_is_room_for_so_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
