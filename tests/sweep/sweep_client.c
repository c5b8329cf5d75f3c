/* sweep_client.c - a client that finds no memory at any one call: what it answers is right, or it says so. */
#include "node/client/client.h"
#include "tests/sweep/served.h"
#include "tests/sweep/sweep.h"

static const char *address;
static char big[70000];

static void assert_honest(struct client *c, int rc)
{
    if (rc != 0 && rc != CLIENT_ENOMEM)
        fail_msg("call %" PRIu64 " failed, and the client says %d: %s", sweep_plan.nth, rc, client_message(c));
}

/* True when the call succeeded; the reply is freed. */
static bool call(struct client *c, bool is_write, const char *want, int argc, const char *const *argv)
{
    struct resp_value *reply = NULL;
    int rc = client_call(c, is_write, argc, argv, NULL, &reply);
    assert_honest(c, rc);
    if (rc != 0)
        return false;
    assert_string_equal(reply->bytes, want);
    resp_value_free(reply);
    return true;
}

static bool read_many(struct client *c)
{
    static const char *const get[] = {"GET", "k"};
    struct client_request requests[8];
    struct resp_value *replies[8];
    for (size_t i = 0; i < 8; i++)
        requests[i] = (struct client_request){2, get, NULL};
    int rc = client_read_many(c, 8, requests, replies);
    assert_honest(c, rc);
    for (size_t i = 0; rc == 0 && i < 8; i++) {
        assert_string_equal(replies[i]->bytes, "v");
        resp_value_free(replies[i]);
    }
    return rc == 0;
}

static bool visit(struct client *c)
{
    static const char *const ping[] = {"PING"};
    struct resp_value *reply = NULL;
    int rc = client_call_node(c, 0, 1, ping, NULL, &reply);
    assert_honest(c, rc);
    if (rc != 0)
        return false;
    assert_string_equal(reply->bytes, "PONG");
    resp_value_free(reply);
    return true;
}

static bool live(struct client *c)
{
    static const char *const set[] = {"SET", "k", "v"}, *const get[] = {"GET", "k"};
    const char *const set_big[] = {"SET", "big", big}, *const get_big[] = {"GET", "big"};
    return call(c, true, "OK", 3, set) && call(c, false, "v", 2, get) && call(c, true, "OK", 3, set_big) &&
           call(c, false, big, 2, get_big) && read_many(c) && visit(c);
}

static void scenario(void)
{
    struct client_options o = {.nodes = address, .timeout_ms = 3000, .user = "default", .password = NULL};
    struct client *c = NULL;
    sweep_arm();
    int rc = client_open(&o, &c);
    bool well = rc == 0 && live(c);
    bool hit = sweep_disarm();
    if (rc != 0)
        assert_int_equal(rc, CLIENT_ENOMEM);
    else /* The same client works as soon as there is memory. */
        assert_true(live(c));
    assert_true(well || hit);
    client_close(c);
}

static void memory(void **state)
{
    (void)state;
    sweep(FAILING_MEMORY, 1, scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory)};
    memset(big, 'b', sizeof big - 1);
    address = served_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    served_stop();
    return failed;
}
