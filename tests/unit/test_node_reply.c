/* test_node_reply.c - outcomes as RESP2 and RESP3, malformed ones, refusals, and the table of commands itself. */
#include "node/commands.h"
#include "node/reply.h"
#include "store/outcome.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void expect_reply(const struct outcome_buf *o, int proto, const char *want)
{
    struct resp_buf b = {0};
    reply_outcome(&b, proto, o->base, o->len);
    assert_false(b.failed);
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.base, want, b.len);
    resp_buf_release(&b);
}

static void every_tag_has_its_form(void **state)
{
    (void)state;
    struct outcome_buf o = {0};
    outcome_array(&o, 7);
    outcome_nil(&o);
    outcome_ok(&o);
    outcome_int(&o, -5);
    outcome_bulk(&o, "a\0b", 3);
    outcome_simple(&o, "string");
    outcome_map(&o, 1);
    outcome_bulk(&o, "k", 1);
    outcome_array(&o, 0);
    outcome_refusal(&o, REFUSAL_WRONGTYPE, NULL, 0);
    assert_false(o.failed);
    static const char two[] = "*7\r\n$-1\r\n+OK\r\n:-5\r\n$3\r\na\0b\r\n+string\r\n*2\r\n$1\r\nk\r\n*0\r\n"
                              "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    static const char three[] = "*7\r\n_\r\n+OK\r\n:-5\r\n$3\r\na\0b\r\n+string\r\n%1\r\n$1\r\nk\r\n*0\r\n"
                                "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    struct resp_buf b = {0};
    reply_outcome(&b, 2, o.base, o.len);
    assert_int_equal(b.len, sizeof two - 1);
    assert_memory_equal(b.base, two, b.len);
    b.len = 0;
    reply_outcome(&b, 3, o.base, o.len);
    assert_int_equal(b.len, sizeof three - 1);
    assert_memory_equal(b.base, three, b.len);
    resp_buf_release(&b);
    outcome_buf_release(&o);
}

static void each_refusal_has_words(void **state)
{
    static const struct {
        enum refusal code;
        const char *want;
    } rows[] = {
        {REFUSAL_NOT_INTEGER, "-ERR value is not an integer or out of range\r\n"},
        {REFUSAL_NOT_FLOAT, "-ERR value is not a valid float\r\n"},
        {REFUSAL_OVERFLOW, "-ERR increment or decrement would overflow\r\n"},
        {REFUSAL_NAN_OR_INFINITY, "-ERR increment would produce NaN or Infinity\r\n"},
        {REFUSAL_NO_SUCH_KEY, "-ERR no such key\r\n"},
        {REFUSAL_VALUE_TOO_LONG, "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"},
        {REFUSAL_INVALID_CURSOR, "-ERR invalid cursor\r\n"},
        {REFUSAL_REPLY_TOO_LARGE, "-TOOLARGE reply of more than because bytes; ask for less at a time\r\n"},
        {REFUSAL_BATCH_TOO_LARGE, "-OVERLOADED the replies to the commands before it are too large; nothing was done, "
                                  "try again later\r\n"},
        {(enum refusal)999, "-ERR refused (999): because\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct outcome_buf o = {0};
        outcome_refusal(&o, rows[i].code, "because", 7);
        expect_reply(&o, 2, rows[i].want);
        outcome_buf_release(&o);
    }
}

/* Cut anywhere, or with any byte changed, an outcome gives one whole reply. */
static void malformed_outcomes_are_answered(void **state)
{
    (void)state;
    struct outcome_buf o = {0};
    outcome_array(&o, 2);
    outcome_bulk(&o, "abc", 3);
    outcome_int(&o, 1);
    for (size_t cut = 0; cut < o.len; cut++) {
        struct resp_buf b = {0};
        reply_outcome(&b, 2, o.base, cut);
        assert_true(b.len > 9);
        assert_memory_equal(b.base, "-UNKNOWN ", 9);
        resp_buf_release(&b);
    }
    for (size_t at = 0; at < o.len; at++) {
        struct resp_buf b = {0};
        uint8_t *bytes = test_malloc(o.len);
        memcpy(bytes, o.base, o.len);
        bytes[at] ^= 0x55;
        reply_outcome(&b, 2, bytes, o.len);
        assert_false(b.failed);
        assert_true(b.len > 0);
        resp_buf_release(&b);
        test_free(bytes);
    }
    outcome_buf_release(&o);
}

static void the_table_is_consistent(void **state)
{
    size_t n;
    (void)state;
    commands_init();
    const struct command_row *rows = commands_table(&n);
    for (size_t i = 0; i < n; i++) {
        const struct command_row *row = &rows[i];
        bool is_container = (row->flags & ROW_CONTAINER) != 0;
        assert_ptr_equal(commands_find(row->name, strlen(row->name)), row);
        assert_true(is_container ? row->encode == NULL : (row->encode == NULL) != (row->run == NULL));
        assert_true(row->arity != 0);
        assert_true((row->first_key == 0) == (row->key_use == KEYS_NONE));
        assert_false((row->flags & ROW_WRITE) != 0 && (row->flags & ROW_READONLY) != 0);
        if (command_row_is_sub(row)) {
            const char *bar = strchr(row->name, '|');
            const struct command_row *container = commands_find(row->name, (size_t)(bar - row->name));
            assert_non_null(container);
            assert_ptr_equal(commands_find_sub(container, bar + 1, strlen(bar + 1)), row);
        }
    }
    assert_ptr_equal(commands_find("GeT", 3), commands_find("get", 3));
    assert_null(commands_find("ge", 2));
    assert_null(commands_find("gett", 4));
    assert_null(commands_find("get\0", 4));
    assert_null(commands_find("", 0));
}

/* Whatever arguments a command is given, preparing it reads nothing outside them (the sanitizers watch). */
static void any_arguments_are_prepared(void **state)
{
    static const char *const words[] = {
        "",    "0",       "-1",    "1",       "9223372036854775807",  "ex",    "PXAT",  "nx",   "XX",
        "get", "keepttl", "ifeq",  "k",       "18446744073709551615", "count", "match", "type", "types",
        "int", "db",      "limit", "\xff\x00"};
    enum { WORDS = sizeof words / sizeof *words };
    struct config config;
    char error[CONFIG_ERROR_MAX];
    enum config_action action;
    size_t n_rows;
    (void)state;
    assert_int_equal(config_load(0, NULL, NULL, &config, &action, error), 0);
    commands_init();
    const struct command_row *rows = commands_table(&n_rows);
    uint64_t seed = 1;
    for (size_t i = 0; i < 200000; i++) {
        struct resp_arg args[8];
        struct encoding e = {.who = ""};
        const struct command_row *row = &rows[i % n_rows], *found;
        char *copies[8];
        size_t n = 1 + i / n_rows % 7;
        for (size_t a = 0; a < n; a++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const char *word = a == 0 ? row->name : words[(seed >> 33) % WORDS];
            size_t len = strlen(word);
            copies[a] = test_malloc(len > 0 ? len : 1); /* So that one byte too far is seen. */
            memcpy(copies[a], word, len);
            args[a] = (struct resp_arg){copies[a], len};
        }
        enum prepared prepared = commands_prepare(&config, args, n, &e, &found);
        if (prepared == PREPARED_DATA) {
            struct command_buf b = {0};
            assert_true(e.n_nums <= COMMAND_NUMS_MAX);
            assert_int_equal(command_add(&b, e.op, e.flags, e.nums, e.n_nums, e.args, e.n_args), 0);
            assert_int_equal(command_span(b.base, b.len), b.len);
            command_buf_release(&b);
        } else if (prepared == PREPARED_REFUSED) {
            assert_true(strlen(e.error) > 0 && strlen(e.error) < sizeof e.error);
        }
        for (size_t a = 0; a < n; a++)
            test_free(copies[a]);
    }
}

static void unknown_commands_are_told_in_redis_words(void **state)
{
    char text[ENCODING_ERROR_MAX], many[400];
    (void)state;
    memset(many, 'x', sizeof many);
    struct resp_arg args[] = {{many, sizeof many}, {"ab", 2}, {many, sizeof many}, {"c", 1}};
    reply_unknown_command(text, sizeof text, args, 4);
    assert_int_equal(strlen(text),
                     strlen("ERR unknown command '', with args beginning with: 'ab' '' ") + 128 + 128 - 5);
    reply_unknown_command(text, 40, args, 4);
    assert_int_equal(strlen(text), 39);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tag_has_its_form),          cmocka_unit_test(each_refusal_has_words),
        cmocka_unit_test(malformed_outcomes_are_answered), cmocka_unit_test(the_table_is_consistent),
        cmocka_unit_test(any_arguments_are_prepared),      cmocka_unit_test(unknown_commands_are_told_in_redis_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
