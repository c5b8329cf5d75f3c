/* test_node_conn.c - one connection's promises: order, whatever the cluster side answers when; limits; endings. */
#include "node/conn.h"
#include "node/log.h"
#include "tests/support/nodeharness.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* ---- Order ---- */

static void read_behind_a_write_rides_with_it(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "SET a 1\r\nGET a\r\nSET a 2\r\nGET a\r\n");
    expect_waiting(h, 4, 0);
    client_expect_silence(c);
    static const char *const want[] = {"+OK\r\n", "$1\r\n1\r\n", "+OK\r\n", "$1\r\n2\r\n"};
    for (size_t i = 0; i < 4; i++) {
        localnode_answer(h->node, true);
        client_expect(c, want[i]);
    }
    client_free(c);
}

static void write_behind_a_read_waits(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "GET a\r\nGET a\r\nSET a 1\r\nGET a\r\n");
    expect_waiting(h, 0, 2);
    localnode_answer(h->node, false);
    client_expect(c, "$-1\r\n");
    expect_waiting(h, 0, 1);
    localnode_answer(h->node, false);
    client_expect(c, "$-1\r\n");
    expect_waiting(h, 2, 0);
    hold(h, false, false);
    client_expect(c, "+OK\r\n$1\r\n1\r\n");
    client_free(c);
}

static void local_command_waits_for_what_is_unanswered(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "SET a 1\r\nPING\r\nECHO x\r\nGET a\r\nPING\r\n");
    expect_waiting(h, 1, 0);
    client_expect_silence(c);
    localnode_answer(h->node, true);
    client_expect(c, "+OK\r\n+PONG\r\n$1\r\nx\r\n");
    expect_waiting(h, 0, 1);
    localnode_answer(h->node, false);
    client_expect(c, "$1\r\n1\r\n+PONG\r\n");
    client_free(c);
}

static void refused_syntax_keeps_its_place(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, false);
    client_send_text(c, "SET a 1\r\nSET a\r\nNOSUCH\r\nSET a 2 FOO\r\nINCR a\r\n");
    expect_waiting(h, 1, 0);
    client_expect_silence(c);
    hold(h, false, false);
    client_expect(c, "+OK\r\n-ERR wrong number of arguments for 'set' command\r\n"
                     "-ERR unknown command 'NOSUCH', with args beginning with: \r\n-ERR syntax error\r\n:2\r\n");
    client_free(c);
}

static void connections_do_not_wait_for_each_other(void **state)
{
    struct harness *h = *state;
    struct client *a = start_one(h), *b = client_new(h);
    hold(h, false, true);
    client_send_text(a, "GET x\r\n");
    expect_waiting(h, 0, 1);
    client_send_text(b, "SET x 1\r\nPING\r\n");
    client_expect(b, "+OK\r\n+PONG\r\n");
    hold(h, false, false);
    client_expect(a, "$1\r\n1\r\n");
    client_free(a);
    client_free(b);
}

/* ---- Random pipelines ---- */

struct chance {
    uint64_t state;
};

static uint64_t chance_below(struct chance *r, uint64_t n)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

static uint64_t chance_seed(void)
{
    const char *given = getenv("HOLDFAST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("HOLDFAST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#define RANDOM_BYTES 65536

struct script {
    char in[RANDOM_BYTES], want[RANDOM_BYTES];
    size_t in_len, want_len;
};

/* A request whose answer is known from those before it. */
static void script_add(struct script *s, struct chance *r, unsigned *counter, unsigned i)
{
    char request[64], reply[64], number[16];
    int digits = snprintf(number, sizeof number, "%u", *counter);
    switch (chance_below(r, 5)) {
    case 0:
    case 1:
        snprintf(request, sizeof request, "*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n");
        snprintf(reply, sizeof reply, ":%u\r\n", ++*counter);
        break;
    case 2:
        snprintf(request, sizeof request, "get k\r\n");
        if (*counter > 0)
            snprintf(reply, sizeof reply, "$%d\r\n%s\r\n", digits, number);
        else
            snprintf(reply, sizeof reply, "$-1\r\n");
        break;
    case 3:
        snprintf(request, sizeof request, "ECHO %04u\r\n", i % 10000);
        snprintf(reply, sizeof reply, "$4\r\n%04u\r\n", i % 10000);
        break;
    default:
        snprintf(request, sizeof request, "INCRBY k abc\r\n");
        snprintf(reply, sizeof reply, "-ERR value is not an integer or out of range\r\n");
        break;
    }
    memcpy(s->in + s->in_len, request, strlen(request));
    memcpy(s->want + s->want_len, reply, strlen(reply));
    s->in_len += strlen(request);
    s->want_len += strlen(reply);
}

/* Answer some of what waits, in an order that only each queue's own order restrains. */
static void answer_some(struct harness *h, struct chance *r)
{
    harness_step(h);
    for (uint64_t n = chance_below(r, 8); n > 0; n--) {
        bool writes = chance_below(r, 2) == 0;
        if ((writes ? localnode_n_writes(h->node) : localnode_n_reads(h->node)) > 0)
            localnode_answer(h->node, writes);
    }
}

static bool has_all(struct client *c, size_t len)
{
    harness_step(c->harness);
    return c->in_len >= len;
}

static void random_pipelines_are_answered_in_order(void **state)
{
    struct harness *h = *state;
    struct chance r = {chance_seed()};
    struct script *s = test_calloc(1, sizeof *s);
    unsigned counter = 0;
    h->config.max_pipeline = 1 + chance_below(&r, 50);
    struct client *c = start_one(h);
    hold(h, true, true);
    for (unsigned i = 0; i < 1000; i++)
        script_add(s, &r, &counter, i);
    for (size_t sent = 0; sent < s->in_len;) {
        size_t piece = 1 + chance_below(&r, 300);
        piece = piece < s->in_len - sent ? piece : s->in_len - sent;
        client_send(c, s->in + sent, piece);
        sent += piece;
        answer_some(h, &r);
    }
    while (localnode_n_writes(h->node) + localnode_n_reads(h->node) > 0 || !has_all(c, s->want_len)) {
        answer_some(h, &r);
        client_need(c, c->in_len); /* Takes in what is there, without waiting. */
        if (c->in_len < s->want_len && localnode_n_writes(h->node) + localnode_n_reads(h->node) == 0) {
            harness_settle(h);
            if (localnode_n_writes(h->node) + localnode_n_reads(h->node) == 0)
                assert_true(client_need(c, s->want_len));
        }
    }
    assert_int_equal(c->in_len, s->want_len);
    assert_memory_equal(c->in, s->want, s->want_len);
    client_free(c);
    test_free(s);
}

/* ---- Endings ---- */

static void half_closed_connection_is_answered_then_closed(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "SET a 1\r\nGET a\r\nPING\r\n");
    client_end(c);
    expect_waiting(h, 2, 0);
    client_expect_silence(c);
    hold(h, false, false);
    client_expect(c, "+OK\r\n$1\r\n1\r\n+PONG\r\n");
    client_expect_eof(c);
    client_free(c);
}

static void half_closed_in_the_middle_of_a_request_is_closed(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    client_send_text(c, "PING\r\n*2\r\n$3\r\nGET\r\n$1");
    client_end(c);
    client_expect(c, "+PONG\r\n");
    client_expect_eof(c);
    client_free(c);
}

static void answers_of_a_closed_connection_are_dropped(void **state)
{
    struct harness *h = *state;
    struct client *a = start_one(h), *b = client_new(h);
    hold(h, true, true);
    client_send_text(a, "SET a 1\r\nSET a 2\r\nPING\r\n");
    expect_waiting(h, 2, 0);
    client_send_text(b, "CLIENT KILL TYPE normal SKIPME yes\r\n");
    client_expect(b, ":1\r\n");
    client_expect_eof(a);
    localnode_answer(h->node, true);
    localnode_fail(h->node, true, REQUEST_UNKNOWN);
    harness_settle(h);
    assert_int_equal(server_n_clients(h->server), 1);
    hold(h, false, false);
    client_send_text(b, "GET a\r\n");
    client_expect(b, "$1\r\n1\r\n");
    client_free(a);
    client_free(b);
}

static void quit_waits_its_turn_and_ends_the_stream(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "SET a 1\r\nQUIT\r\nSET a 2\r\n");
    expect_waiting(h, 1, 0);
    localnode_answer(h->node, true);
    client_expect(c, "+OK\r\n+OK\r\n");
    client_expect_eof(c);
    expect_waiting(h, 0, 0);
    client_free(c);
}

static void protocol_error_comes_after_what_was_before_it(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "SET a 1\r\n*1\r\n:4\r\nSET a 2\r\n");
    expect_waiting(h, 1, 0);
    client_expect_silence(c);
    localnode_answer(h->node, true);
    client_expect(c, "+OK\r\n-ERR Protocol error: expected '$', got ':'\r\n");
    client_expect_eof(c);
    client_free(c);
}

static void http_is_hung_up_on(void **state)
{
    struct client *c = start_one(*state);
    client_send_text(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client_expect_eof(c);
    client_free(c);
}

static void too_many_clients_are_told(void **state)
{
    struct harness *h = *state;
    h->config.max_clients = 1;
    struct client *a = start_one(h);
    client_send_text(a, "PING\r\n");
    client_expect(a, "+PONG\r\n");
    struct client *b = client_new(h);
    client_expect(b, "-ERR max number of clients reached\r\n");
    client_expect_eof(b);
    client_free(b);
    client_send_text(a, "PING\r\n");
    client_expect(a, "+PONG\r\n");
    client_free(a);
}

/* ---- Bytes cut anywhere ---- */

static void any_cut_gives_the_same_answers(void **state)
{
    static const char in[] =
        "\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n*2\r\n$3\r\nget\r\n$1\r\nk\r\n"
        "set k \"x\\x41 y\"\r\n*2\r\n$6\r\nSTRLEN\r\n$1\r\nk\r\n*0\r\nECHO a\r\n*1\r\n$abc\r\nPING\r\n";
    static const char want[] = "+PONG\r\n+OK\r\n$4\r\na\r\nb\r\n+OK\r\n:4\r\n$1\r\na\r\n"
                               "-ERR Protocol error: invalid bulk length\r\n";
    struct harness *h = *state;
    harness_start(h);
    for (size_t cut = 0; cut < sizeof in - 1; cut++) {
        struct client *c = client_new(h);
        client_send(c, in, cut);
        harness_step(h);
        harness_step(h);
        client_send(c, in + cut, sizeof in - 1 - cut);
        client_expect(c, want);
        client_expect_eof(c);
        client_free(c);
    }
}

static void garbage_ends_only_its_connection(void **state)
{
    struct harness *h = *state;
    struct chance r = {chance_seed()};
    struct client *good = start_one(h);
    for (int i = 0; i < 200; i++) {
        char garbage[256];
        size_t len = 1 + chance_below(&r, sizeof garbage);
        for (size_t at = 0; at < len; at++)
            garbage[at] = (char)chance_below(&r, 256);
        if (chance_below(&r, 2) == 0)
            garbage[0] = '*';
        struct client *c = client_new(h);
        client_send(c, garbage, len);
        client_end(c);
        while (client_more(c))
            client_consume(c, c->in_len);
        assert_true(c->eof);
        client_free(c);
    }
    client_send_text(good, "PING\r\n");
    client_expect(good, "+PONG\r\n");
    client_free(good);
}

/* ---- Limits ---- */

static void send_set(struct client *c, size_t key_len, size_t value_len)
{
    char *bytes = test_malloc(key_len > value_len ? key_len : value_len);
    memset(bytes, 'x', key_len > value_len ? key_len : value_len);
    const char *const args[] = {"SET", bytes, bytes};
    client_send_args(c, 3, args, (size_t[]){3, key_len, value_len});
    test_free(bytes);
}

static void key_and_value_limits_leave_the_connection_open(void **state)
{
    struct harness *h = *state;
    h->config.max_key_bytes = 100;
    h->config.max_value_bytes = 1000;
    struct client *c = start_one(h);
    send_set(c, 101, 1);
    client_expect(c, "-TOOLARGE key of 101 bytes; the limit is 100 (max_key_bytes)\r\n");
    send_set(c, 1, 1001);
    client_expect(c, "-TOOLARGE value of 1001 bytes; the limit is 1000 (max_value_bytes)\r\n");
    send_set(c, 100, 1000);
    client_expect(c, "+OK\r\n");
    client_send_text(c, "SETRANGE k 990 12345678901\r\nAPPEND k2 12345\r\nSETRANGE k2 998 ab\r\nAPPEND k2 c\r\n");
    client_expect(c, "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n:5\r\n:1000\r\n"
                     "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    client_free(c);
}

static void oversized_request_is_told_why_before_the_end(void **state)
{
    struct harness *h = *state;
    h->config.max_value_bytes = 1000;
    h->config.max_request_bytes = 128 * 1024;
    struct client *c = start_one(h);
    send_set(c, 1, 3 << 20);
    assert_true(client_need(c, 10));
    assert_memory_equal(c->in, "-TOOLARGE ", 10);
    client_consume(c, c->in_len);
    client_expect_eof(c);
    client_free(c);
}

static void pipeline_is_bounded(void **state)
{
    struct harness *h = *state;
    h->config.max_pipeline = 10;
    struct client *c = start_one(h);
    hold(h, true, true);
    for (int i = 0; i < 25; i++)
        client_send_text(c, "INCR n\r\n");
    expect_waiting(h, 10, 0);
    localnode_answer(h->node, true);
    expect_waiting(h, 10, 0);
    hold(h, false, false);
    for (int i = 1; i <= 25; i++) {
        char want[16];
        snprintf(want, sizeof want, ":%d\r\n", i);
        client_expect(c, want);
    }
    client_free(c);
}

static void set_big(struct client *c, size_t len)
{
    char *value = test_malloc(len);
    memset(value, 'v', len);
    const char *const args[] = {"SET", "big", value};
    client_send_args(c, 3, args, (size_t[]){3, 3, len});
    client_expect(c, "+OK\r\n");
    test_free(value);
}

static void slow_reader_is_cut_off_at_the_output_limit(void **state)
{
    struct harness *h = *state;
    h->config.max_output_bytes = 4u << 20;
    struct client *slow = start_one(h), *other = client_new(h);
    set_big(slow, 6u << 20);
    hold(h, false, true);
    for (int i = 0; i < 8; i++)
        client_send_text(slow, "GET big\r\n");
    expect_waiting(h, 0, 8);
    hold(h, false, false);
    harness_settle(h);
    assert_int_equal(server_stats(h->server)->output_cut_off, 1);
    assert_int_equal(server_n_clients(h->server), 1);
    client_send_text(other, "PING\r\n");
    client_expect(other, "+PONG\r\n");
    client_free(slow);
    client_free(other);
}

/* Without requests piled up beforehand the connection is simply not read from, and nothing is lost. */
static void slow_reader_is_waited_for(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    enum { VALUE = 100000, N = 400 };
    h->config.max_pipeline = 5;
    set_big(c, VALUE);
    server_config(h->server)->max_pipeline = 5;
    for (int i = 0; i < N; i++)
        client_send_text(c, "GET big\r\n");
    harness_settle(h);
    assert_true(conn_output_bytes(server_first_conn(h->server)) < 2u << 20);
    for (int i = 0; i < N; i++) {
        client_expect(c, "$100000\r\n");
        assert_true(client_need(c, VALUE + 2));
        client_consume(c, VALUE + 2);
    }
    client_expect_silence(c);
    client_free(c);
}

/* However many are asked for at once: they are answered in portions, and a client that reads gets them all. */
static void large_values_come_in_portions(void **state)
{
    struct harness *h = *state;
    enum { VALUE = 1 << 20, N = 60 };
    h->config.max_output_bytes = 16u << 20;
    struct client *c = start_one(h);
    set_big(c, VALUE);
    for (int i = 0; i < N; i++)
        client_send_text(c, i % 2 == 0 ? "GET big\r\n" : "GETEX big\r\n");
    for (int i = 0; i < N; i++) {
        client_expect(c, "$1048576\r\n");
        assert_true(client_need(c, VALUE + 2));
        client_consume(c, VALUE + 2);
    }
    assert_int_equal(server_stats(h->server)->output_cut_off, 0);
    hold(h, false, true);
    client_send_text(c, "GET big\r\nGET big\r\nGET big\r\n");
    expect_waiting(h, 0, 1); /* Replies are known to be long by now. */
    client_free(c);
}

/* ---- Refusals and failures ---- */

static void refusal_waits_its_turn(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    client_send_text(c, "SET a 1\r\n");
    expect_waiting(h, 1, 0);
    localnode_knobs(h->node)->refuse_writes = REQUESTS_EOVERLOADED;
    client_send_text(c, "SET a 2\r\nPING\r\n");
    expect_waiting(h, 1, 0);
    client_expect_silence(c);
    localnode_answer(h->node, true);
    client_expect(c, "+OK\r\n-OVERLOADED ");
    client_need(c, 1);
    char *end = memchr(c->in, '\n', c->in_len);
    assert_non_null(end);
    client_consume(c, (size_t)(end - c->in) + 1);
    client_expect(c, "+PONG\r\n");
    client_free(c);
}

static void each_failure_has_its_word(void **state)
{
    static const struct {
        enum request_failure why;
        const char *word;
    } rows[] = {
        {REQUEST_NO_LEADER, "-CLUSTERDOWN no leader"},
        {REQUEST_NO_QUORUM, "-CLUSTERDOWN no quorum"},
        {REQUEST_NO_LINK, "-TRYAGAIN "},
        {REQUEST_UNKNOWN, "-UNKNOWN "},
        {REQUEST_NO_SPACE, "-MISCONF no space"},
        {REQUEST_STOPPING, "-CLUSTERDOWN "},
    };
    struct harness *h = *state;
    struct client *c = start_one(h);
    hold(h, true, true);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        client_send_text(c, "SET a 1\r\n");
        expect_waiting(h, 1, 0);
        localnode_fail(h->node, true, rows[i].why);
        client_expect(c, rows[i].word);
        client_need(c, 1);
        client_consume(c, c->in_len);
    }
    client_free(c);
}

/* ---- Modes ---- */

static void reply_modes_drop_the_right_replies(void **state)
{
    struct client *c = start_one(*state);
    client_send_text(c, "CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\n");
    client_expect(c, "$1\r\n1\r\n");
    client_send_text(
        c, "CLIENT REPLY OFF\r\nSET a 2\r\nGET a\r\nPING\r\nCLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY ON\r\nGET a\r\n");
    client_expect(c, "+OK\r\n$1\r\n2\r\n");
    client_free(c);
}

static void readonly_reads_are_answered_here(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    client_send_text(c, "SET a 1\r\nREADONLY\r\n");
    client_expect(c, "+OK\r\n+OK\r\n");
    hold(h, true, true);
    client_send_text(c, "GET a\r\nMGET a b\r\n");
    client_expect(c, "$1\r\n1\r\n*2\r\n$1\r\n1\r\n$-1\r\n");
    client_send_text(c, "SET a 2\r\nGET a\r\n");
    expect_waiting(h, 1, 0);
    hold(h, false, true);
    client_expect(c, "+OK\r\n$1\r\n2\r\n");
    client_send_text(c, "READWRITE\r\nGET a\r\n");
    client_expect(c, "+OK\r\n");
    expect_waiting(h, 0, 1);
    client_free(c);
}

static void pause_holds_back_and_lets_go(void **state)
{
    struct harness *h = *state;
    struct client *a = start_one(h), *b = client_new(h);
    client_send_text(a, "CLIENT PAUSE 100000 WRITE\r\n");
    client_expect(a, "+OK\r\n");
    client_send_text(b, "GET k\r\nSET k 1\r\nGET k\r\n");
    client_expect(b, "$-1\r\n");
    client_expect_silence(b);
    client_send_text(a, "CLIENT UNPAUSE\r\n");
    client_expect(a, "+OK\r\n");
    client_expect(b, "+OK\r\n$1\r\n1\r\n");
    client_send_text(a, "CLIENT PAUSE 20\r\n");
    client_expect(a, "+OK\r\n");
    client_send_text(b, "PING\r\n");
    client_expect(b, "+PONG\r\n"); /* When the pause has run out. */
    client_free(a);
    client_free(b);
}

static void wait_counts_replicas(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    localnode_knobs(h->node)->replicas = 1;
    client_send_text(c, "SET a 1\r\nWAIT 1 0\r\nWAIT 2 10\r\n");
    client_expect(c, "+OK\r\n:1\r\n:1\r\n");
    client_send_text(c, "WAIT 2 0\r\nPING\r\n");
    client_expect_silence(c);
    assert_int_equal(server_n_blocked(h->server), 1);
    localnode_knobs(h->node)->replicas = 2;
    client_expect(c, ":2\r\n+PONG\r\n");
    client_free(c);
}

static void wait_can_be_ended_by_another_client(void **state)
{
    struct harness *h = *state;
    struct client *a = start_one(h), *b = client_new(h);
    client_send_text(a, "CLIENT ID\r\n");
    client_expect(a, ":1\r\n");
    client_send_text(a, "WAIT 2 0\r\n");
    client_expect_silence(a);
    client_send_text(b, "CLIENT UNBLOCK 1 ERROR\r\nCLIENT UNBLOCK 1\r\n");
    client_expect(b, ":1\r\n:0\r\n");
    client_expect(a, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    client_free(b);
    client_send_text(a, "WAIT 2 0\r\n");
    client_expect_silence(a);
    client_free(a); /* Hangs up while it waits. */
    harness_settle(h);
    assert_int_equal(server_n_clients(h->server), 0);
    assert_int_equal(server_n_blocked(h->server), 0);
}

/* ---- Waiting for a lock ---- */

/* The integer that is answered next. */
static long read_number(struct client *c)
{
    size_t len = 3;
    while (client_need(c, len) && memcmp(c->in + len - 2, "\r\n", 2) != 0)
        len++;
    assert_true(c->in_len >= len && c->in[0] == ':');
    long n = strtol(c->in + 1, NULL, 10);
    client_consume(c, len);
    return n;
}

static void send_number(struct client *c, const char *before, long n, const char *after)
{
    char text[128];
    snprintf(text, sizeof text, "%s %ld %s\r\n", before, n, after);
    client_send_text(c, text);
}

/* A session of its own, and a connection. */
struct holder {
    struct client *c;
    long session;
};

static struct holder holder_new(struct harness *h)
{
    struct holder x = {.c = client_new(h)};
    client_send_text(x.c, "SESSION OPEN TTL 3600000\r\n");
    x.session = read_number(x.c);
    return x;
}

static void who_waits_is_answered_when_it_is_granted(void **state)
{
    struct harness *h = *state;
    harness_start(h);
    struct holder a = holder_new(h), b = holder_new(h);
    send_number(a.c, "LOCK ACQUIRE l", a.session, "");
    long token = read_number(a.c);
    send_number(b.c, "LOCK ACQUIRE l", b.session, "WAIT 100000\r\nPING\r\nSET k v");
    client_expect_silence(b.c); /* What stands behind it waits, too. */
    assert_int_equal(requests_n_waiting(h->node), 1);
    send_number(a.c, "LOCK RELEASE l", a.session, "");
    client_expect(a.c, ":1\r\n");
    assert_true(read_number(b.c) > token);
    client_expect(b.c, "+PONG\r\n+OK\r\n");
    assert_int_equal(requests_n_waiting(h->node), 0);
    client_free(a.c);
    client_free(b.c);
}

static void a_wait_that_is_over_answers_nil(void **state)
{
    struct harness *h = *state;
    harness_start(h);
    struct holder a = holder_new(h), b = holder_new(h);
    send_number(a.c, "LOCK ACQUIRE l", a.session, "");
    read_number(a.c);
    send_number(b.c, "LOCK ACQUIRE l", b.session, "WAIT 1000");
    client_expect_silence(b.c);
    localnode_advance_ms(h->node, 1000);
    client_send_text(a.c, "SET k v\r\n"); /* The clock moves with it. */
    client_expect(a.c, "+OK\r\n");
    client_expect(b.c, "$-1\r\n");
    send_number(b.c, "LOCK ACQUIRE l", b.session, "WAIT 1000");
    client_expect_silence(b.c);
    send_number(a.c, "SESSION CLOSE", b.session, "");
    client_expect(a.c, "+OK\r\n");
    client_expect(b.c, "-SESSIONEXPIRED there is no such session, or it has ended; nothing was done\r\n");
    client_free(a.c);
    client_free(b.c);
}

/* A plain request leaves the queue with its connection; one that its session remembers stays. */
static void who_hangs_up_leaves_the_queue(void **state)
{
    struct harness *h = *state;
    harness_start(h);
    struct holder a = holder_new(h), b = holder_new(h), c = holder_new(h);
    send_number(a.c, "LOCK ACQUIRE l", a.session, "");
    read_number(a.c);
    send_number(b.c, "LOCK ACQUIRE l", b.session, "WAIT 100000");
    client_expect_silence(b.c);
    send_number(c.c, "ONCE", c.session, "1 LOCK ACQUIRE l - WAIT 100000");
    client_expect_silence(c.c);
    assert_int_equal(requests_n_waiting(h->node), 2);
    client_free(b.c);
    client_free(c.c);
    harness_settle(h);
    assert_int_equal(requests_n_waiting(h->node), 0);
    send_number(a.c, "LOCK RELEASE l", a.session, "");
    client_expect(a.c, ":1\r\n");
    send_number(a.c, "LOCK ACQUIRE l", a.session, ""); /* c has it, though it is not there. */
    client_expect(a.c, "$-1\r\n");
    send_number(a.c, "ONCE", c.session, "1 LOCK ACQUIRE l - WAIT 100000");
    long token = read_number(a.c);
    send_number(a.c, "GUARD l", token, "SET k v");
    client_expect(a.c, "+OK\r\n");
    send_number(a.c, "GUARD l", token + 1, "SET k v");
    char want[64];
    snprintf(want, sizeof want, "-STALETOKEN l %ld\r\n", token);
    client_expect(a.c, want);
    client_free(a.c);
}

static void a_wait_can_be_ended_by_another_client(void **state)
{
    struct harness *h = *state;
    harness_start(h);
    struct holder a = holder_new(h), b = holder_new(h);
    client_send_text(b.c, "CLIENT ID\r\n");
    long id = read_number(b.c);
    send_number(a.c, "LOCK ACQUIRE l", a.session, "");
    read_number(a.c);
    send_number(b.c, "LOCK ACQUIRE l", b.session, "WAIT 100000");
    client_expect_silence(b.c);
    send_number(a.c, "CLIENT UNBLOCK", id, "ERROR");
    client_expect(a.c, ":1\r\n");
    client_expect(b.c, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    send_number(b.c, "LOCK ACQUIRE l", b.session, "WAIT 100000");
    client_expect_silence(b.c);
    send_number(a.c, "CLIENT UNBLOCK", id, "TIMEOUT");
    client_expect(a.c, ":1\r\n");
    client_expect(b.c, "$-1\r\n");
    send_number(a.c, "CLIENT UNBLOCK", id, "");
    client_expect(a.c, ":0\r\n");
    client_free(a.c);
    client_free(b.c);
}

/* The connection closes while its request is on its way: what it comes to has nobody. */
static void who_hangs_up_early_does_not_wait(void **state)
{
    struct harness *h = *state;
    harness_start(h);
    struct holder a = holder_new(h), b = holder_new(h);
    send_number(a.c, "LOCK ACQUIRE l", a.session, "");
    read_number(a.c);
    hold(h, true, false);
    send_number(b.c, "LOCK ACQUIRE l", b.session, "WAIT 100000");
    expect_waiting(h, 1, 0);
    client_free(b.c);
    harness_settle(h);
    hold(h, false, false);
    harness_settle(h);
    assert_int_equal(requests_n_waiting(h->node), 0);
    client_send_text(a.c, "LOCK LIST MATCH *\r\n");
    char want[128];
    client_expect(a.c, "*1\r\n*10\r\n$4\r\nname\r\n$1\r\nl\r\n$7\r\nsession\r\n");
    assert_int_equal(read_number(a.c), a.session);
    client_expect(a.c, "$5\r\ntoken\r\n");
    assert_true(read_number(a.c) > 0);
    snprintf(want, sizeof want, "$7\r\nholders\r\n:1\r\n$7\r\nwaiters\r\n:0\r\n");
    client_expect(a.c, want);
    client_free(a.c);
}

static void malformed_lock_commands_are_refused(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    client_send_text(c, "LOCK ACQUIRE l 0\r\nLOCK ACQUIRE l -\r\nLOCK ACQUIRE l 1 WAIT\r\nLOCK ACQUIRE l 1 WAIT x\r\n");
    client_expect(c, "-ERR a session is a positive integer\r\n-ERR a session is a positive integer\r\n"
                     "-ERR syntax error\r\n-ERR value is not an integer or out of range\r\n");
    client_send_text(c, "LOCK ACQUIRE l 1 PERMITS 2 OF 1\r\nLOCK ACQUIRE l 1 SHARED PERMITS 1 OF 2\r\n");
    client_expect(c, "-ERR permits: 1 to m of m, which is up to 1000000\r\n-ERR syntax error\r\n");
    client_send_text(c, "LOCK RELEASE l 1 TOKEN 0\r\nLOCK BREAK l REASON\r\nGUARD l 0 SET k v\r\nGUARD l 1 PING\r\n");
    client_expect(c, "-ERR a token is a positive integer\r\n-ERR syntax error\r\n-ERR a token is a positive integer\r\n"
                     "-ERR 'ping' cannot be used inside 'guard'\r\n");
    client_send_text(c, "GUARD l 1 GUARD l 1 SET k v\r\nONCE 1 1 ONCE 1 2 SET k v\r\nGUARD l 1 ONCE 1 2 SET k v\r\n");
    client_expect(c, "-ERR 'guard' cannot be used inside 'guard'\r\n-ERR 'once' cannot be used inside 'once'\r\n"
                     "-ERR 'once' cannot be used inside 'guard'\r\n");
    client_send_text(c, "ONCE 1 0 SET k v\r\nONCE 1 1 ACK 1 SET k v\r\nONCE 1 1 GET k\r\nONCE 1 1 SET k\r\n");
    client_expect(c, "-ERR a serial is a positive integer, and the acknowledged one is lower\r\n"
                     "-ERR a serial is a positive integer, and the acknowledged one is lower\r\n"
                     "-ERR 'a command that writes nothing, or is about sessions,' cannot be used inside 'once'\r\n"
                     "-ERR wrong number of arguments for 'set' command\r\n");
    client_send_text(c, "ONCE 99 1 GUARD l 1 SET k v\r\n");
    client_expect(c, "-SESSIONEXPIRED there is no such session, or it has ended; nothing was done\r\n");
    client_free(c);
}

static void limits_and_breakers_name_what_is_wrong(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    client_send_text(c, "LIMIT l ALGO gcra RATE 2 PER 1000000 COST 2\r\nlimit k algo GCRA per 1000000 rate 2\r\n");
    client_expect(c, "*4\r\n:1\r\n:0\r\n:0\r\n:1000000\r\n");
    client_expect(c, "*4\r\n:1\r\n:1\r\n:0\r\n:500000\r\n");
    client_send_text(c, "LIMIT l ALGO drip RATE 2 PER 1000\r\nLIMIT l ALGO gcra RATE 0 PER 1000\r\n"
                        "LIMIT l ALGO gcra RATE 2 COST 1\r\nLIMIT w ALGO window RATE 2 PER 1000 BURST 3\r\n");
    client_expect(c, "-ERR ALGO gcra or ALGO window expected after the key\r\n"
                     "-ERR RATE: a number from 1 to 1000000 expected\r\n-ERR RATE and PER are needed\r\n"
                     "-ERR RATE and PER are needed, and BURST is for gcra only\r\n");
    client_send_text(c,
                     "LIMIT w ALGO gcra RATE 2 PER 1000 COST 3\r\nLIMIT w ALGO gcra RATE 1 PER 31622400000 BURST 11\r\n"
                     "LIMIT w ALGO gcra RATE 2 PER 1000 COST\r\nLIMIT l ALGO window RATE 2 PER 1000\r\n");
    client_expect(c, "-ERR COST is more than is ever allowed at once\r\n"
                     "-ERR BURST would take more than 10 years at that rate\r\n-ERR syntax error\r\n"
                     "-ERR the key is a limit of the other ALGO\r\n");
    client_send_text(c, "BREAKER b FAILURE FAILURES 1 COOLDOWN 1000000\r\nBREAKER b TRY\r\nBREAKER b STATE PROBES 0\r\n"
                        "BREAKER b STATE PROBES\r\nBREAKER b STATE COLOUR 1\r\nTYPE b\r\nOBJECT ENCODING b\r\n");
    client_expect(c, "*4\r\n$4\r\nopen\r\n$8\r\nfailures\r\n:0\r\n:1000000\r\n"
                     "-ERR ALLOW, SUCCESS, FAILURE, STATE or RESET expected after the name\r\n"
                     "-ERR PROBES: a number from 1 to 100 expected\r\n-ERR syntax error\r\n-ERR syntax error\r\n"
                     "+breaker\r\n$3\r\nraw\r\n");
    client_send_text(c, "MULTI\r\nLIMIT m ALGO gcra RATE 1 PER 1000\r\nBREAKER n ALLOW\r\nEXEC\r\n");
    client_expect(c, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n*4\r\n:1\r\n:0\r\n:0\r\n:1000\r\n"
                     "*4\r\n$6\r\nclosed\r\n$2\r\nok\r\n:1\r\n:0\r\n");
    client_free(c);
}

static void note_shutdown(void *ctx)
{
    ++*(int *)ctx;
}

static void shutdown_is_passed_on(void **state)
{
    struct harness *h = *state;
    int asked = 0;
    struct client *c = start_one(h);
    server_on_shutdown(h->server, note_shutdown, &asked);
    client_send_text(c, "SHUTDOWN FOO\r\nSHUTDOWN ABORT\r\n");
    client_expect(c, "-ERR syntax error\r\n-ERR No shutdown in progress.\r\n");
    client_send_text(c, "SHUTDOWN NOSAVE\r\n");
    client_expect_silence(c);
    assert_int_equal(asked, 1);
    client_free(c);
}

static void big_values_pass_whole(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    enum { LEN = 5 << 20 };
    set_big(c, LEN);
    client_send_text(c, "GET big\r\n");
    client_expect(c, "$5242880\r\n");
    assert_true(client_need(c, LEN + 2));
    for (size_t i = 0; i < LEN; i++)
        assert_true(c->in[i] == 'v');
    client_consume(c, LEN + 2);
    client_expect_silence(c);
    client_free(c);
}

static void role_follows_the_leader(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h);
    client_send_text(c, "ROLE\r\n");
    client_expect(c, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    localnode_knobs(h->node)->is_leader = false;
    localnode_knobs(h->node)->leader = 3;
    client_send_text(c, "ROLE\r\n");
    client_expect(c, "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.3\r\n:7401\r\n$9\r\nconnected\r\n:0\r\n");
    localnode_knobs(h->node)->leader = 0;
    client_send_text(c, "ROLE\r\n");
    client_expect(c, "*5\r\n$5\r\nslave\r\n$0\r\n\r\n:0\r\n$7\r\nconnect\r\n:0\r\n");
    client_free(c);
}

static void typed_commands_reach_the_state(void **state)
{
    struct client *c = start_one(*state);
    client_send_text(
        c, "VSET k 1.5 TYPE float\r\nVGET k\r\nVSET k x IFVER 7\r\nVSET k x TYPE nosuch\r\nVSET k x IFVER 1 NX\r\n");
    client_expect(c, ":1\r\n*4\r\n$3\r\n1.5\r\n+float\r\n:1\r\n:-1\r\n$-1\r\n-ERR unknown value type 'nosuch'\r\n-ERR "
                     "syntax error\r\n");
    client_send_text(
        c, "CAS k 1.5 2 TYPES float int\r\nCAS k 1.5 2 TYPES float int\r\nCAS k 2 x TYPES int nil\r\nEXISTS k\r\n");
    client_expect(c, ":1\r\n:0\r\n:1\r\n:0\r\n");
    client_send_text(c, "VINCR n 2 int\r\nVINCR n 0.5 TYPE float\r\nVINCR n 1 str\r\nVAPPEND l a ,\r\nVAPPEND l b "
                        ",\r\nVAPPEND l c\r\nGET l\r\n");
    client_expect(c, "*2\r\n$1\r\n2\r\n+int\r\n*2\r\n$3\r\n2.5\r\n+float\r\n-ERR unknown value type "
                     "'str'\r\n:1\r\n:3\r\n:4\r\n$4\r\na,bc\r\n");
    client_send_text(c, "SET d 1\r\nDELIFEQ d 2\r\nDELIFEQ d 1\r\nSET d 1\r\nDELEX d IFNE 1\r\nDELEX d IFNE 2\r\nDELEX "
                        "d\r\nVMGET d l\r\n");
    client_expect(c, "+OK\r\n:0\r\n:1\r\n+OK\r\n:0\r\n:1\r\n:0\r\n*2\r\n$-1\r\n*4\r\n$4\r\na,bc\r\n+str\r\n");
    client_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(read_behind_a_write_rides_with_it),
        TEST(write_behind_a_read_waits),
        TEST(local_command_waits_for_what_is_unanswered),
        TEST(refused_syntax_keeps_its_place),
        TEST(connections_do_not_wait_for_each_other),
        TEST(random_pipelines_are_answered_in_order),
        TEST(half_closed_connection_is_answered_then_closed),
        TEST(half_closed_in_the_middle_of_a_request_is_closed),
        TEST(answers_of_a_closed_connection_are_dropped),
        TEST(quit_waits_its_turn_and_ends_the_stream),
        TEST(protocol_error_comes_after_what_was_before_it),
        TEST(http_is_hung_up_on),
        TEST(too_many_clients_are_told),
        TEST(any_cut_gives_the_same_answers),
        TEST(garbage_ends_only_its_connection),
        TEST(key_and_value_limits_leave_the_connection_open),
        TEST(oversized_request_is_told_why_before_the_end),
        TEST(pipeline_is_bounded),
        TEST(slow_reader_is_cut_off_at_the_output_limit),
        TEST(slow_reader_is_waited_for),
        TEST(large_values_come_in_portions),
        TEST(refusal_waits_its_turn),
        TEST(each_failure_has_its_word),
        TEST(reply_modes_drop_the_right_replies),
        TEST(readonly_reads_are_answered_here),
        TEST(pause_holds_back_and_lets_go),
        TEST(wait_counts_replicas),
        TEST(wait_can_be_ended_by_another_client),
        TEST(who_waits_is_answered_when_it_is_granted),
        TEST(a_wait_that_is_over_answers_nil),
        TEST(who_hangs_up_leaves_the_queue),
        TEST(a_wait_can_be_ended_by_another_client),
        TEST(who_hangs_up_early_does_not_wait),
        TEST(malformed_lock_commands_are_refused),
        TEST(limits_and_breakers_name_what_is_wrong),
        TEST(shutdown_is_passed_on),
        TEST(big_values_pass_whole),
        TEST(role_follows_the_leader),
        TEST(typed_commands_reach_the_state),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
