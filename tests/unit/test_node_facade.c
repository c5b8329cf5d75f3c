/* test_node_facade.c - the cluster as clients of Redis Cluster and Sentinel see it: who is named the master, what is
 * said of the others, and when subscribers are told that it is another. */
#include "node/facade.h"
#include "node/resp/value.h"
#include "tests/support/nodeharness.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define OWN_ID "6c6f63616c6e6f64650000000000000000000001"
#define LEADER_ID "6c6f63616c6e6f64650000000000000000000002"

static int setup(void **state)
{
    struct harness *h = harness_new();
    h->config.node_id = 1;
    h->config.cluster_facade = true;
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    harness_free(*state);
    return 0;
}

static struct client *start_one(struct harness *h, uint64_t leader)
{
    harness_start(h);
    localnode_knobs(h->node)->leader = leader;
    return client_new(h);
}

static void ask(struct client *c, const char *line, const char *want)
{
    client_send_text(c, line);
    client_expect(c, want);
}

static void leader_has_all_slots(void **state)
{
    struct client *c = start_one(*state, 2);
    ask(c, "CLUSTER SLOTS\r\n",
        "*1\r\n*4\r\n:0\r\n:16383\r\n"
        "*4\r\n$8\r\n10.0.0.2\r\n:7401\r\n$40\r\n" LEADER_ID "\r\n*0\r\n"
        "*4\r\n$8\r\n10.0.0.1\r\n:7401\r\n$40\r\n" OWN_ID "\r\n*0\r\n");
    ask(c, "CLUSTER REPLICAS " LEADER_ID "\r\n",
        "*1\r\n$129\r\n" OWN_ID " 10.0.0.1:7401@7501 myself,slave " LEADER_ID " 0 0 1 connected\r\n");
    ask(c, "CLUSTER REPLICAS " OWN_ID "\r\n", "-ERR The specified node is not a master\r\n");
    ask(c, "CLUSTER REPLICAS 12\r\n", "-ERR Unknown node 12\r\n");
    ask(c, "ASKING\r\n", "+OK\r\n");
    client_free(c);
}

static void nodes_have_a_line_each(void **state)
{
    struct client *c = start_one(*state, 2);
    static const char text[] = LEADER_ID " 10.0.0.2:7401@7501 master - 0 0 1 connected 0-16383\n" OWN_ID
                                         " 10.0.0.1:7401@7501 myself,slave " LEADER_ID " 0 0 1 connected\n";
    char want[512];
    snprintf(want, sizeof want, "$%zu\r\n%s\r\n", strlen(text), text);
    ask(c, "CLUSTER NODES\r\n", want);
    client_free(c);
}

static void shards_are_one(void **state)
{
    struct client *c = start_one(*state, 1);
    ask(c, "CLUSTER SHARDS\r\n",
        "*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n*14\r\n"
        "$2\r\nid\r\n$40\r\n" OWN_ID "\r\n$4\r\nport\r\n:7401\r\n$2\r\nip\r\n$8\r\n10.0.0.1\r\n"
        "$8\r\nendpoint\r\n$8\r\n10.0.0.1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
        "$18\r\nreplication-offset\r\n:");
    client_free(c);
}

/* Whoever asks in an election is served by the node it asks. */
static void node_without_leader_names_itself(void **state)
{
    struct client *c = start_one(*state, 0);
    ask(c, "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster\r\n", "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n7401\r\n");
    client_free(c);
}

/* But not for longer than it would keep a command. */
static void node_long_without_leader_names_nobody(void **state)
{
    struct harness *h = *state;
    struct client *c = start_one(h, 0);
    localnode_knobs(h->node)->leaderless_ms = h->config.request_timeout_ms;
    ask(c, "CLUSTER SLOTS\r\n", "*0\r\n");
    ask(c, "CLUSTER SHARDS\r\n", "*1\r\n*4\r\n$5\r\nslots\r\n*0\r\n$5\r\nnodes\r\n*1\r\n");
    client_free(c);
    c = client_new(h);
    ask(c, "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster\r\n", "*-1\r\n");
    ask(c, "SENTINEL MASTERS\r\n", "*0\r\n");
    ask(c, "SENTINEL REPLICAS mymaster\r\n", "-CLUSTERDOWN no leader within the deadline; nothing was done\r\n");
    client_free(c);
}

static void sentinel_names_the_leader(void **state)
{
    struct client *c = start_one(*state, 2);
    ask(c, "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster\r\n", "*2\r\n$8\r\n10.0.0.2\r\n$4\r\n7401\r\n");
    ask(c, "SENTINEL GET-MASTER-ADDR-BY-NAME other\r\n", "*-1\r\n");
    ask(c, "SENTINEL MASTER other\r\n", "-ERR No such master with that name\r\n");
    ask(c, "SENTINEL CKQUORUM mymaster\r\n",
        "+OK 2 usable Sentinels. Quorum and failover authorization can be reached\r\n");
    ask(c, "SENTINEL MASTERS\r\n",
        "*1\r\n*40\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$2\r\nip\r\n$8\r\n10.0.0.2\r\n$4\r\nport\r\n$4\r\n7401\r\n"
        "$5\r\nrunid\r\n$40\r\n" LEADER_ID "\r\n$5\r\nflags\r\n$6\r\nmaster\r\n");
    client_free(c);
}

static void sentinel_answers_are_whole(void **state)
{
    struct client *c = start_one(*state, 2);
    client_send_text(
        c, "SENTINEL MASTER mymaster\r\nSENTINEL REPLICAS mymaster\r\nSENTINEL SENTINELS mymaster\r\nPING\r\n");
    for (int i = 0; i < 4; i++) {
        struct resp_scan scan = {0};
        enum resp_value_status status = RESP_VALUE_MORE;
        size_t had = 0;
        while (status == RESP_VALUE_MORE) {
            assert_true(client_need(c, had + 1));
            had = c->in_len;
            status = resp_value_scan(&scan, c->in, had);
        }
        assert_int_equal(status, RESP_VALUE_DONE);
        struct resp_value *v;
        assert_int_equal(resp_value_build(&scan, c->in, &v), RESP_VALUE_DONE);
        assert_int_equal(v->type, i == 3 ? RESP_SIMPLE : RESP_ARRAY); /* PING's: no field too many or too few before. */
        resp_value_free(v);
        client_consume(c, scan.pos);
    }
    client_free(c);
}

static void without_the_facade_there_is_no_cluster(void **state)
{
    struct harness *h = *state;
    h->config.cluster_facade = false;
    struct client *c = start_one(h, 2);
    static const char *const lines[] = {"CLUSTER SLOTS\r\n", "CLUSTER SHARDS\r\n", "CLUSTER NODES\r\n",
                                        "CLUSTER REPLICAS " LEADER_ID "\r\n", "ASKING\r\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ask(c, lines[i], "-ERR This instance has cluster support disabled\r\n");
    ask(c, "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster\r\n", "*2\r\n$8\r\n10.0.0.2\r\n$4\r\n7401\r\n");
    client_free(c);
}

/* ---- Telling of a new leader ---- */

static void only_another_leader_is_told_of(void **state)
{
    struct facade_watch w = {0};
    char said[FACADE_SWITCH_MAX] = "";
    (void)state;
    assert_false(facade_follow(&w, 1, "10.0.0.1:7401", 10, "m", said)); /* The first that is seen. */
    assert_false(facade_follow(&w, 0, "", 20, "m", said));
    assert_int_equal(w.lost_ms, 20);
    assert_false(facade_follow(&w, 0, "", 30, "m", said));
    assert_int_equal(w.lost_ms, 20);
    assert_false(facade_follow(&w, 1, "10.0.0.1:7401", 40, "m", said)); /* The same again. */
    assert_false(facade_follow(&w, 2, "", 50, "m", said));              /* Where is it? */
    assert_true(facade_follow(&w, 2, "[fd00::2]:7402", 60, "m", said));
    assert_string_equal(said, "m 10.0.0.1 7401 fd00::2 7402");
    assert_false(facade_follow(&w, 2, "[fd00::2]:7402", 70, "m", said));
}

#define WITH_NODE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_NODE(leader_has_all_slots),
        WITH_NODE(nodes_have_a_line_each),
        WITH_NODE(shards_are_one),
        WITH_NODE(node_without_leader_names_itself),
        WITH_NODE(node_long_without_leader_names_nobody),
        WITH_NODE(sentinel_names_the_leader),
        WITH_NODE(sentinel_answers_are_whole),
        WITH_NODE(without_the_facade_there_is_no_cluster),
        cmocka_unit_test(only_another_leader_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
