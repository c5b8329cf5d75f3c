/* test_node_tx.c - a connection's transactions: what is queued, what is asked of the cluster and when, and that no
 * answer overtakes another. */
#include "node/conn.h"
#include "node/log.h"
#include "tests/support/nodeharness.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    *state = harness_new();
    return 0;
}

static int teardown(void **state)
{
    harness_free(*state);
    return 0;
}

static struct client *start_one(struct harness *h)
{
    harness_start(h);
    return client_new(h);
}

static void hold(struct harness *h, bool writes, bool reads)
{
    localnode_knobs(h->node)->hold_writes = writes;
    localnode_knobs(h->node)->hold_reads = reads;
}

static void expect_waiting(struct harness *h, size_t writes, size_t reads)
{
    harness_settle(h);
    assert_int_equal(localnode_n_writes(h->node), writes);
    assert_int_equal(localnode_n_reads(h->node), reads);
}

static void talk(struct client *c, const char *say, const char *want)
{
    client_send_text(c, say);
    client_expect(c, want);
}

#define ABORTED "-EXECABORT Transaction discarded because of previous errors.\r\n"

static void one_entry_for_all(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "MULTI\r\nSET a 1\r\nGET a\r\nINCR a\r\nEXEC\r\n");
    client_expect(c, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    expect_waiting(h, 1, 0);
    client_expect_silence(c);
    localnode_answer(h->node, true);
    client_expect(c, "*3\r\n+OK\r\n$1\r\n1\r\n:2\r\n");
    client_free(c);
}

static void reads_are_one_read(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "MULTI\r\nGET a\r\nSTRLEN a\r\nEXEC\r\n");
    client_expect(c, "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    expect_waiting(h, 0, 1);
    localnode_answer(h->node, false);
    client_expect(c, "*2\r\n$-1\r\n:0\r\n");
    client_free(c);
}

/* MULTI waits for what is unanswered, and what follows EXEC and WATCH waits for them. */
static void nothing_overtakes(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "SET a 1\r\nWATCH a\r\nMULTI\r\nINCR a\r\nPING\r\nEXEC\r\nGET a\r\nPING\r\nMULTI\r\n");
    expect_waiting(h, 1, 0);
    localnode_answer(h->node, true);
    client_expect(c, "+OK\r\n");
    expect_waiting(h, 0, 1);
    client_expect_silence(c);
    localnode_answer(h->node, false);
    client_expect(c, "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    expect_waiting(h, 1, 0);
    client_expect_silence(c);
    localnode_answer(h->node, true);
    client_expect(c, "*2\r\n:2\r\n+PONG\r\n");
    expect_waiting(h, 0, 1);
    client_expect_silence(c);
    localnode_answer(h->node, false);
    client_expect(c, "$1\r\n2\r\n+PONG\r\n+OK\r\n");
    client_free(c);
}

static void local_commands_stand_between(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    client_send_text(
        c, "MULTI\r\nECHO x\r\nSET a 1\r\nCLIENT SETNAME me\r\nGET a\r\nCLIENT GETNAME\r\nWAIT 5 0\r\nEXEC\r\n");
    client_expect(c, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
                     "*6\r\n$1\r\nx\r\n+OK\r\n+OK\r\n$1\r\n1\r\n$2\r\nme\r\n:0\r\n");
    client_free(c);
}

/* A part that is about the protocol holds for the parts behind it, and for the null of a conflict. */
static void protocol_changes_in_the_middle(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h), *other = client_new(h);
    client_send_text(c, "MULTI\r\nGET none\r\nHELLO 3\r\nGET none\r\nEXEC\r\n");
    client_expect(c, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n%7\r\n");
    assert_true(client_need(c, 100));
    harness_settle(h);
    while (client_more(c) && c->in_len < 120)
        ;
    assert_memory_equal(c->in + c->in_len - 3, "_\r\n", 3);
    client_consume(c, c->in_len);
    talk(c, "WATCH k\r\n", "+OK\r\n");
    talk(other, "SET k 1\r\n", "+OK\r\n");
    talk(c, "MULTI\r\nPING\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n_\r\n");
    client_free(other);
    client_free(c);
}

static void what_is_refused_aborts(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    talk(c, "MULTI\r\nSET a 1\r\nNOSUCH\r\nEXEC\r\n",
         "+OK\r\n+QUEUED\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n" ABORTED);
    talk(c, "MULTI\r\nSAVE\r\nEXEC\r\n", "+OK\r\n-ERR Command not allowed inside a transaction\r\n" ABORTED);
    talk(c, "MULTI\r\nMULTI\r\nWATCH a\r\nSET a 2\r\nEXEC\r\nGET a\r\n",
         "+OK\r\n-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not "
         "allowed\r\n+QUEUED\r\n*1\r\n+OK\r\n"
         "$1\r\n2\r\n");
    client_free(c);
}

/* What only the encoder sees keeps its place in EXEC. */
static void syntax_is_judged_at_exec(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    talk(c, "MULTI\r\nSET a 1\r\nSET a 2 BAD\r\nEXPIRE a x\r\nGET a\r\nEXEC\r\n",
         "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
         "*4\r\n+OK\r\n-ERR syntax error\r\n-ERR value is not an integer or out of range\r\n$1\r\n1\r\n");
    client_free(c);
}

static void watched_and_changed(void **state)
{
    struct harness *h = *state;
    struct client *a = start_one(h), *b = client_new(h);
    talk(a, "WATCH k other k\r\n", "+OK\r\n");
    talk(b, "SET other 1\r\n", "+OK\r\n");
    talk(a, "MULTI\r\nSET k 1\r\nEXEC\r\nGET k\r\n", "+OK\r\n+QUEUED\r\n*-1\r\n$-1\r\n");
    talk(a, "MULTI\r\nSET k 1\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"); /* Not watched any more. */
    talk(a, "WATCH k\r\nSET k 2\r\nMULTI\r\nEXEC\r\n", "+OK\r\n+OK\r\n+OK\r\n*-1\r\n");
    talk(a, "WATCH k\r\n", "+OK\r\n");
    talk(b, "SET k 3\r\n", "+OK\r\n");
    talk(a, "UNWATCH\r\nMULTI\r\nUNWATCH\r\nGET k\r\nEXEC\r\n",
         "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\n3\r\n");
    client_free(a);
    client_free(b);
}

static void discard_and_reset_forget(void **state)
{
    struct harness *h = *state;
    struct client *a = start_one(h), *b = client_new(h);
    talk(a, "WATCH k\r\nMULTI\r\nSET k 1\r\nDISCARD\r\nGET k\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n+OK\r\n$-1\r\n");
    talk(a, "WATCH k\r\nMULTI\r\nSET k 1\r\nRESET\r\nGET k\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n+RESET\r\n$-1\r\n");
    talk(b, "SET k 9\r\n", "+OK\r\n");
    talk(a, "MULTI\r\nGET k\r\nEXEC\r\nEXEC\r\nDISCARD\r\n",
         "+OK\r\n+QUEUED\r\n*1\r\n$1\r\n9\r\n-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n");
    talk(a, "MULTI\r\nQUIT\r\n", "+OK\r\n+OK\r\n");
    client_expect_eof(a);
    client_free(a);
    client_free(b);
}

/* A WATCH that failed guards nothing: what is already on its way behind it must not run. */
static void failed_watch_spoils_what_follows(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, false, true);
    client_send_text(c, "WATCH k\r\nMULTI\r\nSET k 1\r\nEXEC\r\nMULTI\r\nSET k 2\r\nEXEC\r\n");
    expect_waiting(h, 0, 1);
    localnode_fail(h->node, false, REQUEST_NO_QUORUM);
    client_expect(c, "-CLUSTERDOWN no quorum: no leader could confirm that it still leads; nothing was done\r\n"
                     "+OK\r\n+QUEUED\r\n" ABORTED "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    localnode_knobs(h->node)->refuse_reads = REQUESTS_EOVERLOADED;
    talk(c, "WATCH k\r\n",
         "-OVERLOADED this node's queue of waiting requests is full; nothing was done, try again later\r\n");
    talk(c, "MULTI\r\nEXEC\r\nMULTI\r\nEXEC\r\n", "+OK\r\n" ABORTED "+OK\r\n*0\r\n");
    client_free(c);
}

static void exec_without_an_outcome(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, false);
    client_send_text(c, "MULTI\r\nSET k 1\r\nPING\r\nEXEC\r\nPING\r\n");
    expect_waiting(h, 1, 0);
    localnode_fail(h->node, true, REQUEST_UNKNOWN);
    client_expect(
        c, "+OK\r\n+QUEUED\r\n+QUEUED\r\n"
           "-UNKNOWN outcome not known: the command was proposed and may or may not have been done\r\n+PONG\r\n");
    localnode_knobs(h->node)->refuse_writes = REQUESTS_ENOSPC;
    client_send_text(c, "MULTI\r\nSET k 1\r\nEXEC\r\n");
    client_expect(c, "+OK\r\n+QUEUED\r\n-MISCONF no space");
    client_free(c);
}

static void closing_drops_all(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h), *d = client_new(h);
    hold(h, true, true);
    client_send_text(c, "MULTI\r\nSET k 1\r\nEXEC\r\n");
    client_send_text(d, "WATCH k\r\n");
    expect_waiting(h, 1, 1);
    client_free(c);
    client_free(d);
    harness_settle(h);
    localnode_answer(h->node, true);
    localnode_answer(h->node, false);
    struct client *e = client_new(h);
    hold(h, false, false);
    talk(e, "GET k\r\nMULTI\r\nSET a", "$1\r\n1\r\n+OK\r\n"); /* Ends in the middle of all. */
    client_free(e);
    harness_settle(h);
}

static void readonly_reads_are_this_nodes(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    talk(c, "READONLY\r\nMULTI\r\nGET k\r\nEXEC\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
    client_send_text(c, "WATCH k\r\n");
    expect_waiting(h, 0, 1); /* What guards a write is never stale. */
    client_free(c);
}

static void transactions_are_bounded(void **state)
{
    struct harness *h = *state;
    h->config.max_request_bytes = 65536;
    h->config.max_value_bytes = 32768;
    h->config.max_key_bytes = 1024;
    struct client *c = start_one(h);
    char *set = malloc(40000);
    int len = snprintf(set, 40000, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$30000\r\n%030000d\r\n", 1);
    talk(c, "MULTI\r\n", "+OK\r\n");
    client_send(c, set, (size_t)len);
    client_send(c, set, (size_t)len);
    client_send(c, set, (size_t)len);
    client_expect(c, "+QUEUED\r\n+QUEUED\r\n-TOOLARGE a transaction of more than 65536 bytes (max_request_bytes)\r\n");
    talk(c, "EXEC\r\n", ABORTED);
    h->config.max_request_bytes = 16u << 20;
    free(set);
    client_free(c);
}

static void commands_are_counted(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    talk(c, "MULTI\r\n", "+OK\r\n");
    for (int i = 0; i < EXEC_COMMANDS_MAX; i++) {
        client_send_text(c, "INCR n\r\n");
        if (i % 100 == 99)
            for (int j = 0; j < 100; j++)
                client_expect(c, "+QUEUED\r\n");
    }
    client_send_text(c, "CLIENT INFO\r\n");
    client_expect(c, "-TOOLARGE a transaction of more than 10000 commands\r\n");
    talk(c, "EXEC\r\n", ABORTED);
    client_free(c);
}

static void paused_writes_hold_exec(void **state)
{
    struct harness *h = *state;
    struct client *a = start_one(h), *b = client_new(h);
    talk(a, "CLIENT PAUSE 100000 WRITE\r\n", "+OK\r\n");
    talk(b, "MULTI\r\nGET k\r\nEXEC\r\nMULTI\r\nSET k 1\r\n", "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n+OK\r\n+QUEUED\r\n");
    client_send_text(b, "EXEC\r\n");
    client_expect_silence(b);
    talk(a, "CLIENT UNPAUSE\r\n", "+OK\r\n");
    client_expect(b, "*1\r\n+OK\r\n");
    client_free(a);
    client_free(b);
}

/* A script is one command of a transaction; one that only reads leaves it a read. */
static void scripts_stand_in_transactions(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    talk(c,
         "MULTI\r\nEVAL \"return redis.call('incr',KEYS[1])\" 1 n\r\nEVAL \"return {1,{2,{err='MY words'}}}\" 0\r\n"
         "EVAL \"return 1\" 2 n\r\nEXEC\r\n",
         "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n*2\r\n:1\r\n*2\r\n:2\r\n-MY words\r\n"
         "-ERR Number of keys can't be greater than number of args\r\n");
    hold(h, true, true);
    talk(c, "MULTI\r\nEVAL_RO \"return redis.call('get',KEYS[1])\" 1 n\r\n", "+OK\r\n+QUEUED\r\n");
    client_send_text(c, "EXEC\r\n");
    expect_waiting(h, 0, 1);
    localnode_answer(h->node, false);
    client_expect(c, "*1\r\n$1\r\n1\r\n");
    client_free(c);
}

/* Absolute times in a script count from the wall clock of the entry, and no other is looked at. */
static void scripts_know_one_time(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    talk(c,
         "EVAL \"local t = redis.call('time') redis.call('set','k','v','exat',t[1]+100) local left = "
         "redis.call('pttl','k') "
         "return {left == 100000 - t[2] / 1000, redis.call('expiretime','k') - t[1], redis.call('time')[1] == t[1]}\" "
         "0\r\n",
         "*3\r\n:1\r\n:100\r\n:1\r\n");
    client_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_entry_for_all),
        TEST(reads_are_one_read),
        TEST(nothing_overtakes),
        TEST(local_commands_stand_between),
        TEST(protocol_changes_in_the_middle),
        TEST(what_is_refused_aborts),
        TEST(syntax_is_judged_at_exec),
        TEST(watched_and_changed),
        TEST(discard_and_reset_forget),
        TEST(failed_watch_spoils_what_follows),
        TEST(exec_without_an_outcome),
        TEST(closing_drops_all),
        TEST(readonly_reads_are_this_nodes),
        TEST(transactions_are_bounded),
        TEST(commands_are_counted),
        TEST(paused_writes_hold_exec),
        TEST(scripts_stand_in_transactions),
        TEST(scripts_know_one_time),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
