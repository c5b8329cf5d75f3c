/* sweep_conn.c - a client's session with a server that finds no memory at any one call: each request is answered as
 * ever, or refused with nothing done, or the connection ends. The state behind it, and the clients, never lack memory.
 */
#include "node/resp/value.h"
#include "tests/support/nodeharness.h"
#include "tests/sweep/sweep.h"

struct request {
    const char *bytes;
    bool varies; /* The answer is not the same each time. */
    char *want;  /* Learned from a session in which nothing fails. */
    size_t want_len;
};

static char big_set[100000];
static struct request script[] = {
    {"SET a 1\r\n"},
    {"GET a\r\n"},
    {"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$5\r\nhello\r\n"},
    {"MSET c 3 d 4 \"e e\" 'five'\r\n"},
    {"MGET a b c d \"e e\" none\r\n"},
    {"INCR a\r\n"},
    {"INCRBY a 5\r\n"},
    {big_set},
    {"GET big\r\n"},
    {"SET a\r\n"},
    {"NOSUCH thing\r\n"},
    {"KEYS *\r\n"},
    {"CLIENT SETNAME somebody\r\n"},
    {"CLIENT GETNAME\r\n"},
    {"COMMAND COUNT\r\n"},
    {"COMMAND INFO get set\r\n"},
    {"CONFIG GET max*\r\n"},
    {"CONFIG SET client_idle_s 100\r\n"},
    {"INFO\r\n", true},
    {"CLIENT LIST\r\n", true},
    {"COMMAND DOCS\r\n"},
    {"HELLO 3\r\n", true},
    {"GET none\r\n"},
};
#define SCRIPT_N (sizeof script / sizeof *script)

/* ---- What localnode does is not under test ---- */

#include "store/store.h"

void __real_batch_begin(struct command_buf *b, uint64_t node, uint64_t start, uint64_t seq);
int __real_store_apply(struct store *s, uint64_t index, uint64_t term, const uint8_t *batch, size_t len,
                       struct outcome_buf *ret_outcomes, enum store_applied *ret);
int __real_store_read(struct store *s, const uint8_t *command, size_t len, uint64_t now_ms, struct outcome_buf *ret,
                      size_t *ret_used);
void __wrap_batch_begin(struct command_buf *b, uint64_t node, uint64_t start, uint64_t seq);
int __wrap_store_apply(struct store *s, uint64_t index, uint64_t term, const uint8_t *batch, size_t len,
                       struct outcome_buf *ret_outcomes, enum store_applied *ret);
int __wrap_store_read(struct store *s, const uint8_t *command, size_t len, uint64_t now_ms, struct outcome_buf *ret,
                      size_t *ret_used);

void __wrap_batch_begin(struct command_buf *b, uint64_t node, uint64_t start, uint64_t seq)
{
    failing_pause();
    __real_batch_begin(b, node, start, seq);
    failing_resume();
}

int __wrap_store_apply(struct store *s, uint64_t index, uint64_t term, const uint8_t *batch, size_t len,
                       struct outcome_buf *ret_outcomes, enum store_applied *ret)
{
    failing_pause();
    int rc = __real_store_apply(s, index, term, batch, len, ret_outcomes, ret);
    failing_resume();
    return rc;
}

int __wrap_store_read(struct store *s, const uint8_t *command, size_t len, uint64_t now_ms, struct outcome_buf *ret,
                      size_t *ret_used)
{
    failing_pause();
    int rc = __real_store_read(s, command, len, now_ms, ret, ret_used);
    failing_resume();
    return rc;
}

/* ---- Talking ---- */

/* The length of the first whole reply; 0: the connection ended before. */
static size_t reply_len(struct client *c)
{
    struct resp_scan scan = {0};
    for (;;) {
        enum resp_value_status status = resp_value_scan(&scan, c->in, c->in_len);
        assert_int_not_equal(status, RESP_VALUE_BROKEN);
        if (status == RESP_VALUE_DONE)
            return scan.pos;
        if (!client_more(c)) {
            if (!c->eof)
                fail_msg("call %" PRIu64 " failed, and a request is neither answered nor cut off", sweep_plan.nth);
            return 0;
        }
    }
}

static bool is_no_memory(const struct client *c, size_t len)
{
    static const char word[] = "-OVERLOADED ";
    return len > sizeof word && memcmp(c->in, word, sizeof word - 1) == 0;
}

static void assert_answer(const struct client *c, const struct request *r, size_t len)
{
    bool right = r->varies ? c->in[0] != '-' : len == r->want_len && memcmp(c->in, r->want, len) == 0;
    if (!right)
        fail_msg("call %" PRIu64 " failed, and %.40s is answered by %.*s", sweep_plan.nth, r->bytes,
                 (int)(len < 200 ? len : 200), c->in);
}

/* False: the connection ended. */
static bool ask(struct client *c, const struct request *r)
{
    client_send_text(c, r->bytes);
    size_t len = reply_len(c);
    if (len == 0)
        return false;
    if (!is_no_memory(c, len)) {
        assert_answer(c, r, len);
        client_consume(c, len);
        return true;
    }
    client_consume(c, len); /* Refused, so nothing was done: now it is done for the first time. */
    failing_pause();
    client_send_text(c, r->bytes);
    len = reply_len(c);
    failing_resume();
    if (len == 0)
        return false;
    assert_answer(c, r, len);
    client_consume(c, len);
    return true;
}

static void learn(void)
{
    struct harness *h = harness_new();
    harness_start(h);
    struct client *c = client_new(h);
    for (size_t i = 0; i < SCRIPT_N; i++) {
        client_send_text(c, script[i].bytes);
        script[i].want_len = reply_len(c);
        assert_true(script[i].want_len > 0);
        script[i].want = malloc(script[i].want_len);
        assert_non_null(script[i].want);
        memcpy(script[i].want, c->in, script[i].want_len);
        client_consume(c, script[i].want_len);
    }
    client_free(c);
    harness_free(h);
}

static void session(struct harness *h)
{
    struct client *c = client_new(h);
    bool open = true;
    for (size_t i = 0; i < SCRIPT_N && open; i++)
        open = ask(c, &script[i]);
    client_free(c);
    harness_settle(h);
}

/* All at once: the answers that come are those wanted, or refusals, in order. */
static void pipeline(struct harness *h)
{
    struct client *c = client_new(h);
    for (int i = 0; i < 200; i++)
        client_send_text(c, "ECHO 12345678901234567890\r\n");
    for (int i = 0; i < 200; i++) {
        size_t len = reply_len(c);
        if (len == 0)
            break;
        if (!is_no_memory(c, len))
            assert_memory_equal(c->in, "$20\r\n12345678901234567890\r\n", len);
        client_consume(c, len);
    }
    client_free(c);
    harness_settle(h);
}

static void assert_serves(struct harness *h)
{
    struct client *c = client_new(h);
    client_send_text(c, "SET after 1\r\nGET after\r\n");
    client_expect(c, "+OK\r\n$1\r\n1\r\n");
    client_free(c);
}

static void scenario(void)
{
    struct harness *h = harness_new();
    harness_start(h);
    sweep_arm();
    session(h);
    pipeline(h);
    sweep_disarm();
    assert_serves(h);
    harness_free(h);
}

static void memory(void **state)
{
    (void)state;
    sweep(FAILING_MEMORY, 1, scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory)};
    strcpy(big_set, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$90000\r\n");
    memset(big_set + strlen(big_set), 'x', 90000);
    strcat(big_set, "\r\n");
    learn();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < SCRIPT_N; i++)
        free(script[i].want);
    return failed;
}
