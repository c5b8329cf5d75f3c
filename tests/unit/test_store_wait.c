/* test_store_wait.c - who waits for a list is offered what comes, in the order of arrival, and takes it or leaves it:
 * whatever becomes of the waiter, its node or its session, no element is lost and none is given twice. */
#include "tests/support/store_coord.h"
#include "store/wait.h"

#define NODE 7

/* As coord_apply(), from a start of a node. */
static const char *run_at(struct coord *f, uint64_t start, const struct coord_command *c)
{
    struct command_buf batch = {0};
    enum store_applied applied;
    uint64_t known, seq, last;
    store_origin(f->store, NODE, &known, &last);
    seq = known == start ? last + 1 : 1;
    batch_begin(&batch, NODE, start, seq);
    coord_encode(&batch, c);
    batch_set_count(batch.base, 1);
    batch_stamp(batch.base, f->clock_ms);
    f->out.len = 0;
    assert_int_equal(store_apply(f->store, store_applied(f->store) + 1, 1, batch.base, batch.len, &f->out, &applied),
                     0);
    assert_int_equal(applied, STORE_APPLIED);
    command_buf_release(&batch);
    return coord_text(f);
}

static uint64_t token_in(const char *answer)
{
    bool later = strncmp(answer, "later ", 6) == 0, kept = strncmp(answer, "kept ", 5) == 0;
    assert_true(later || kept);
    return strtoull(strchr(answer, ' '), NULL, 10);
}

static struct coord_command bpop_command(const char *key, const char *other, int64_t timeout_ms)
{
    return (struct coord_command){OP_BPOP, .n_nums = 3, .nums = {LIST_HEAD, timeout_ms, -1},
                                  .args = {text(key), text(other)}, .n_args = *other != '\0' ? 2 : 1};
}

static uint64_t bpop(struct coord *f, const char *key, int64_t timeout_ms)
{
    const struct coord_command c = bpop_command(key, "", timeout_ms);
    return token_in(run_at(f, 1, &c));
}

static const char *push(struct coord *f, const char *key, const char *element)
{
    const struct coord_command c = {OP_PUSH, .n_nums = 1, .nums = {LIST_TAIL}, .args = {text(key), text(element)},
                                    .n_args = 2};
    return coord_run(f, &c);
}

static const char *one_number_at(struct coord *f, uint64_t start, enum command_op op, uint64_t token)
{
    const struct coord_command c = {op, .n_nums = 1, .nums = {(int64_t)token}};
    return run_at(f, start, &c);
}

static const char *one_number(struct coord *f, enum command_op op, uint64_t token)
{
    return one_number_at(f, 1, op, token);
}

static const char *take(struct coord *f, uint64_t token)
{
    return one_number(f, OP_WAIT_TAKE, token);
}

static const char *leave(struct coord *f, uint64_t token)
{
    return one_number(f, OP_WAIT_LEAVE, token);
}

static const char *range(struct coord *f, const char *key)
{
    const struct coord_command c = {OP_LRANGE, .n_nums = 2, .nums = {0, -1}, .args = {text(key)}, .n_args = 1};
    return coord_read(f, &c);
}

static void assert_events(struct coord *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void assert_events(struct coord *f, const char *format, ...)
{
    char want[256];
    va_list args;
    va_start(args, format);
    vsnprintf(want, sizeof want, format, args);
    va_end(args);
    assert_string_equal(f->events, want);
    f->events[0] = '\0';
}

#define OFFERED "offered %" PRIu64 ";"
#define ENDED "wait-ended %" PRIu64 ";"

static void offers_go_in_order_and_are_taken(void **state)
{
    struct coord *f = *state;
    uint64_t a = bpop(f, "l", 0), b = bpop(f, "l", 0), c = bpop(f, "l", 0);
    coord_reopen(f);
    const struct coord_command two = {OP_PUSH, .n_nums = 1, .nums = {LIST_TAIL},
                                      .args = {text("l"), text("1"), text("2")}, .n_args = 3};
    assert_string_equal(coord_run(f, &two), "2");
    assert_events(f, OFFERED OFFERED, a, b);
    assert_string_equal(range(f, "l"), "[]");
    coord_reopen(f);
    assert_string_equal(take(f, b), "['l' '2']");
    assert_string_equal(take(f, a), "['l' '1']");
    assert_string_equal(take(f, a), "!65"); /* Once. */
    assert_string_equal(take(f, c), "!65"); /* Nothing was offered. */
    push(f, "l", "3");
    assert_events(f, OFFERED, c);
    assert_string_equal(take(f, c), "['l' '3']");
    push(f, "l", "4");
    assert_events(f, "%s", "");
    assert_string_equal(range(f, "l"), "['4']");
}

/* One that has gone away gives back to whoever is next, or to the list, in the old order. */
static void who_leaves_gives_back(void **state)
{
    struct coord *f = *state;
    uint64_t a = bpop(f, "l", 0), b = bpop(f, "l", 0);
    push(f, "l", "1");
    assert_events(f, OFFERED, a);
    assert_string_equal(leave(f, a), "1");
    assert_events(f, OFFERED, b);
    push(f, "l", "2");
    assert_string_equal(leave(f, b), "1");
    assert_string_equal(range(f, "l"), "['1' '2']");
    assert_string_equal(leave(f, b), "0");
    assert_string_equal(take(f, b), "!65");
}

static void a_wait_for_many_keys_ends_in_all(void **state)
{
    struct coord *f = *state;
    const struct coord_command both = bpop_command("x", "y", 0);
    uint64_t a = token_in(run_at(f, 1, &both)), b = bpop(f, "y", 0);
    push(f, "x", "1");
    assert_events(f, OFFERED, a);
    push(f, "y", "2");
    assert_events(f, OFFERED, b);
    assert_string_equal(take(f, a), "['x' '1']");
    assert_string_equal(take(f, b), "['y' '2']");
    uint64_t c = token_in(run_at(f, 1, &both));
    assert_string_equal(leave(f, c), "1");
    push(f, "x", "3");
    push(f, "y", "4");
    assert_events(f, "%s", "");
}

static void a_wait_ends_in_time(void **state)
{
    struct coord *f = *state;
    uint64_t a = bpop(f, "l", 500), b = bpop(f, "l", 0);
    coord_pass(f, 499);
    assert_events(f, "%s", "");
    coord_reopen(f);
    coord_pass(f, 1);
    assert_events(f, "wait-over %" PRIu64 ";", a);
    push(f, "l", "1");
    assert_events(f, OFFERED, b);
    assert_string_equal(take(f, b), "['l' '1']");
    coord_pass(f, 10 * WAIT_OFFER_MS);
    assert_events(f, "%s", "");
}

/* A node that does not take what is offered counts as gone, with all who wait there. Another one's waiters stay. */
static void a_silent_node_is_dropped(void **state)
{
    struct coord *f = *state;
    uint64_t a = bpop(f, "l", 0), b = bpop(f, "other", 0);
    const struct coord_command elsewhere = bpop_command("l", "", 0);
    uint64_t c = token_in(coord_run(f, &elsewhere)); /* Node 0. */
    push(f, "l", "1");
    push(f, "l", "2");
    assert_events(f, OFFERED OFFERED, a, c);
    assert_string_equal(take(f, c), "['l' '2']");
    coord_pass(f, WAIT_OFFER_MS - 1);
    assert_events(f, "%s", "");
    coord_pass(f, 1);
    assert_events(f, ENDED ENDED, b, a);
    assert_string_equal(range(f, "l"), "['1']");
    push(f, "other", "3");
    assert_events(f, "%s", "");
}

static void a_node_that_starts_again_does_not_wait(void **state)
{
    struct coord *f = *state;
    uint64_t a = bpop(f, "l", 0), b = bpop(f, "l", 0);
    push(f, "l", "1");
    push(f, "l", "2");
    assert_events(f, OFFERED OFFERED, a, b);
    uint64_t c = bpop(f, "l", 0);
    const struct coord_command again = bpop_command("m", "", 0);
    uint64_t d = token_in(run_at(f, 2, &again));
    assert_events(f, ENDED ENDED ENDED, c, b, a);
    assert_string_equal(range(f, "l"), "['1' '2']");
    push(f, "m", "3");
    assert_events(f, OFFERED, d);
}

static const char *once(struct coord *f, uint64_t start, uint64_t session, int64_t serial)
{
    struct command_buf b = {0};
    const struct coord_command nested = bpop_command("l", "", 0);
    coord_encode(&b, &nested);
    const struct coord_command c = {OP_ONCE, .n_nums = 3, .nums = {(int64_t)session, serial, 0},
                                    .args = {{b.base, b.len}}, .n_args = 1};
    run_at(f, start, &c);
    command_buf_release(&b);
    return f->text;
}

/* It belongs to the session: it outlives the node, the answer is remembered, and it ends with the session. */
static void a_wait_with_once_is_the_sessions(void **state)
{
    struct coord *f = *state;
    uint64_t session = coord_open(f, "s", 600000);
    uint64_t a = token_in(once(f, 1, session, 1));
    assert_int_equal(token_in(once(f, 2, session, 1)), a);
    push(f, "l", "1");
    assert_events(f, OFFERED, a);
    coord_pass(f, 10 * WAIT_OFFER_MS);
    assert_string_equal(one_number_at(f, 2, OP_WAIT_TAKE, a), "['l' '1']");
    coord_reopen(f);
    assert_string_equal(once(f, 2, session, 1), "['l' '1']");
    uint64_t b = token_in(once(f, 2, session, 2)), c = token_in(once(f, 2, session, 3));
    push(f, "l", "2");
    assert_events(f, OFFERED, b);
    assert_string_equal(coord_session(f, OP_SESSION_CLOSE, session), "OK");
    assert_events(f, ENDED ENDED, c, b);
    assert_string_equal(range(f, "l"), "['2']");
}

/* Between the offer and the taking its list may have become something else, or moved. */
static void what_is_offered_is_in_no_list(void **state)
{
    struct coord *f = *state;
    uint64_t a = bpop(f, "l", 0);
    push(f, "l", "1");
    const struct coord_command set = {OP_SET, .args = {text("l"), text("v")}, .n_args = 2};
    assert_string_equal(coord_run(f, &set), "OK");
    assert_string_equal(take(f, a), "['l' '1']");
    const struct coord_command move = {OP_BMOVE, .n_nums = 3, .nums = {LIST_HEAD, LIST_TAIL, 0},
                                       .args = {text("from"), text("l")}, .n_args = 2};
    uint64_t b = token_in(run_at(f, 1, &move));
    push(f, "from", "2");
    assert_string_equal(take(f, b), "!1"); /* No list to move to. */
    assert_string_equal(range(f, "from"), "['2']");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(offers_go_in_order_and_are_taken, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(who_leaves_gives_back, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_wait_for_many_keys_ends_in_all, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_wait_ends_in_time, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_silent_node_is_dropped, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_node_that_starts_again_does_not_wait, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_wait_with_once_is_the_sessions, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(what_is_offered_is_in_no_list, coord_setup, coord_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
