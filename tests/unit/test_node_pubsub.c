/* test_node_pubsub.c - what subscribers hear, and that nothing of those who have gone is left behind. */
#include "tests/support/nodeharness.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES 60000

static int setup(void **state)
{
    struct harness *h = harness_new();
    h->config.max_output_bytes = 1 << 20;
    harness_start(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    harness_free(*state);
    return 0;
}

static void talk(struct client *c, const char *say, const char *want)
{
    client_send_text(c, say);
    client_expect(c, want);
}

static void messages_and_changes_are_heard_once(void **state)
{
    struct client *listener = client_new(*state), *other = client_new(*state);
    talk(listener, "SUBSCRIBE news __keyspace@0__:k\r\n",
         "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$16\r\n__keyspace@0__:k\r\n:2\r\n");
    talk(other, "PUBLISH news hello\r\n", ":1\r\n");
    client_expect(listener, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    talk(other, "SET other 1\r\nSET k 1\r\nDEL k\r\n", "+OK\r\n+OK\r\n:1\r\n");
    client_expect(listener, "*3\r\n$7\r\nmessage\r\n$16\r\n__keyspace@0__:k\r\n$3\r\nset\r\n"
                            "*3\r\n$7\r\nmessage\r\n$16\r\n__keyspace@0__:k\r\n$3\r\ndel\r\n");
    talk(listener, "UNSUBSCRIBE news\r\n", "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    talk(other, "PUBLISH news again\r\n", ":0\r\n");
    client_expect_silence(listener);
    client_free(listener);
    client_free(other);
}

/* It is cut off while it is told something, and its channel and pattern must go all the same. */
static void who_reads_too_slowly_leaves_nothing(void **state)
{
    struct harness *h = *state;
    struct client *deaf = client_new(h), *other = client_new(h);
    char *message = calloc(1, MESSAGE_BYTES + 1);
    assert_non_null(message);
    memset(message, 'm', MESSAGE_BYTES);
    talk(deaf, "SUBSCRIBE news\r\n", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    talk(deaf, "PSUBSCRIBE n*\r\n", "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n");
    const char *const args[] = {"PUBLISH", "news", message};
    const size_t lens[] = {7, 4, MESSAGE_BYTES};
    for (int i = 0; i < 500 && server_stats(h->server)->output_cut_off == 0; i++) {
        client_send_args(other, 3, args, lens);
        assert_true(client_need(other, 4));
        client_consume(other, 4);
    }
    assert_int_equal(server_stats(h->server)->output_cut_off, 1);
    talk(other, "PUBSUB CHANNELS\r\nPUBSUB NUMPAT\r\nPUBLISH news x\r\n", "*0\r\n:0\r\n:0\r\n");
    free(message);
    client_free(deaf);
    client_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_and_changes_are_heard_once, setup, teardown),
        cmocka_unit_test_setup_teardown(who_reads_too_slowly_leaves_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
