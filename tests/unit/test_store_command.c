/* test_store_command.c - commands and batches survive their encoding; damaged ones are refused without a step outside.
 */
#include "store/command.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(text) ((struct bytes){.base = (const uint8_t *)(text), .len = sizeof(text) - 1})

static long add_sample(struct command_buf *b)
{
    const int64_t nums[] = {-1, INT64_MAX, INT64_MIN, 7};
    const struct bytes args[] = {BYTES("key"), BYTES(""), BYTES("va\0lue")};
    return command_add(b, OP_VSET, CMD_EXPIRE | CMD_GET, nums, 4, args, 3);
}

static void commands_read_back(void **state)
{
    (void)state;
    struct command_buf b = {0};
    assert_int_equal(command_add(&b, OP_TICK, 0, NULL, 0, NULL, 0), 0);
    long at = add_sample(&b);
    assert_int_equal(at, 12);
    struct command c = {0};
    size_t used;
    assert_int_equal(command_decode(b.base, b.len, &c, &used), 0);
    assert_int_equal(used, 12);
    assert_int_equal(c.op, OP_TICK);
    assert_int_equal(c.n_args, 0);
    assert_int_equal(command_decode(b.base + at, b.len - (size_t)at, &c, &used), 0);
    assert_int_equal(used, b.len - (size_t)at);
    assert_int_equal(used, command_span(b.base + at, b.len - (size_t)at));
    assert_int_equal(c.op, OP_VSET);
    assert_int_equal(c.flags, CMD_EXPIRE | CMD_GET);
    assert_int_equal(c.n_nums, 4);
    assert_true(c.nums[0] == -1 && c.nums[1] == INT64_MAX && c.nums[2] == INT64_MIN && c.nums[3] == 7);
    assert_int_equal(c.n_args, 3);
    assert_int_equal(c.args[1].len, 0);
    assert_int_equal(c.args[2].len, 6);
    assert_memory_equal(c.args[2].base, "va\0lue", 6);
    command_release(&c);
    command_buf_release(&b);
}

static void cancelled_command_keeps_its_length(void **state)
{
    (void)state;
    struct command_buf b = {0};
    add_sample(&b);
    size_t span = command_span(b.base, b.len);
    command_cancel(b.base);
    struct command c = {0};
    size_t used;
    assert_int_equal(command_decode(b.base, b.len, &c, &used), 0);
    assert_int_equal(c.op, OP_NOP);
    assert_int_equal(used, span);
    command_release(&c);
    command_buf_release(&b);
}

static void batch_headers_read_back(void **state)
{
    (void)state;
    struct command_buf b = {0};
    batch_begin(&b, 3, 9, 1);
    batch_set_count(b.base, 70000);
    batch_set_seq(b.base, UINT64_MAX);
    batch_stamp(b.base, 123456789012345);
    batch_set_value_max(b.base, 77);
    struct batch_header h;
    assert_int_equal(b.len, BATCH_HEADER_BYTES);
    assert_int_equal(batch_header_decode(b.base, b.len, &h), 0);
    assert_true(h.node == 3 && h.start == 9 && h.seq == UINT64_MAX && h.clock_ms == 123456789012345 && h.n == 70000);
    assert_true(h.value_bytes_max == 77);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(batch_header_decode(b.base, cut, &h), COMMAND_EMALFORMED);
    b.base[0] = BATCH_VERSION + 1;
    assert_int_equal(batch_header_decode(b.base, b.len, &h), COMMAND_EVERSION);
    b.base[0] = BATCH_VERSION;
    b.base[3] = 1;
    assert_int_equal(batch_header_decode(b.base, b.len, &h), COMMAND_EMALFORMED);
    command_buf_release(&b);
}

/* Whatever decodes lies within the bytes given, down to its last arg. */
static void decode_within(struct command *c, const uint8_t *bytes, size_t len)
{
    size_t used = 0;
    if (command_decode(bytes, len, c, &used) != 0)
        return;
    assert_true(used <= len);
    for (uint32_t i = 0; i < c->n_args; i++)
        assert_true(c->args[i].base >= bytes && c->args[i].base + c->args[i].len <= bytes + used);
}

static void every_cut_is_malformed(void **state)
{
    (void)state;
    struct command_buf b = {0};
    struct command c = {0};
    size_t used;
    add_sample(&b);
    for (size_t cut = 0; cut < b.len; cut++) {
        uint8_t *exact = malloc(cut > 0 ? cut : 1); /* So that a sanitizer sees a read past the cut. */
        memcpy(exact, b.base, cut);
        assert_int_equal(command_span(exact, cut), 0);
        assert_int_equal(command_decode(exact, cut, &c, &used), COMMAND_EMALFORMED);
        free(exact);
    }
    command_release(&c);
    command_buf_release(&b);
}

static void every_byte_flipped_stays_within(void **state)
{
    (void)state;
    struct command_buf b = {0};
    struct command c = {0};
    add_sample(&b);
    uint8_t *copy = malloc(b.len);
    for (size_t at = 0; at < b.len; at++)
        for (int byte = 0; byte < 256; byte++) {
            memcpy(copy, b.base, b.len);
            copy[at] = (uint8_t)byte;
            decode_within(&c, copy, b.len);
        }
    free(copy);
    command_release(&c);
    command_buf_release(&b);
}

static void args_fill_the_body_exactly(void **state)
{
    (void)state;
    struct command_buf b = {0};
    struct command c = {0};
    size_t used;
    const struct bytes args[] = {BYTES("key"), BYTES("value")};
    command_add(&b, OP_SET, 0, NULL, 0, args, 2);
    b.base[12] = 2; /* The first arg becomes one byte shorter: the rest no longer adds up. */
    assert_int_equal(command_decode(b.base, b.len, &c, &used), COMMAND_EMALFORMED);
    command_release(&c);
    command_buf_release(&b);
}

static void the_first_argument_is_found_without_decoding(void **state)
{
    (void)state;
    struct command_buf b = {0};
    const int64_t nums[2] = {1, 2};
    const struct bytes args[2] = {{(const uint8_t *)"first", 5}, {(const uint8_t *)"second", 6}};
    size_t len = 0;
    long at = command_add(&b, OP_ONCE, 0, nums, 2, args, 2);
    assert_int_equal(at, 0);
    const uint8_t *first = command_first_arg(b.base, b.len, &len);
    assert_non_null(first);
    assert_int_equal(len, 5);
    assert_memory_equal(first, "first", 5);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_null(command_first_arg(b.base, cut, &len));
    b.base[12 + 16] = 0xff; /* Its length: more than there is. */
    assert_null(command_first_arg(b.base, b.len, &len));
    b.len = 0;
    command_add(&b, OP_TICK, 0, NULL, 0, NULL, 0);
    assert_null(command_first_arg(b.base, b.len, &len));
    command_buf_release(&b);
}

static void commands_too_large_are_not_added(void **state)
{
    (void)state;
    struct command_buf b = {0};
    add_sample(&b);
    size_t len = b.len;
    const struct bytes huge[] = {{.base = b.base, .len = UINT32_MAX}};
    assert_int_equal(command_add(&b, OP_GET, 0, NULL, 0, huge, 1), -1);
    assert_true(b.failed);
    assert_int_equal(b.len, len);
    assert_int_equal(command_span(b.base, b.len), len);
    command_buf_release(&b);
}

static void failed_growth_changes_nothing(void **state)
{
    (void)state;
    struct command_buf b = {.base = NULL, .len = SIZE_MAX / 2 + 1, .cap = SIZE_MAX / 2 + 1};
    batch_begin(&b, 1, 1, 1);
    assert_true(b.failed);
    assert_int_equal(add_sample(&b), -1);
    assert_int_equal(b.len, SIZE_MAX / 2 + 1);
}

static void type_names_go_both_ways(void **state)
{
    (void)state;
    for (int type = VALUE_RAW; type <= VALUE_NIL; type++)
        assert_int_equal(value_type_from_name(value_type_name(type), strlen(value_type_name(type))), type);
    assert_int_equal(value_type_from_name("JSON", 4), VALUE_JSON);
    assert_int_equal(value_type_from_name("in", 2), -1);
    assert_int_equal(value_type_from_name("ints", 4), -1);
    assert_int_equal(value_type_from_name("", 0), -1);
    assert_null(value_type_name(-1));
    assert_null(value_type_name(7));
}

static void reads_are_told_from_writes(void **state)
{
    (void)state;
    assert_true(command_is_write(OP_NOP));
    assert_true(command_is_write(OP_VAPPEND));
    assert_true(command_is_write(127)); /* Unknown: the careful answer. */
    assert_false(command_is_write(OP_GET));
    assert_false(command_is_write(OP_LCS));
    assert_true(command_is_write(255));
    assert_true(command_answers_values(OP_GET, 0));
    assert_true(command_answers_values(OP_SET, CMD_GET));
    assert_true(command_answers_values(OP_GETDEL, 0));
    assert_false(command_answers_values(OP_SET, 0));
    assert_true(command_rebuilds_value(OP_APPEND));
    assert_false(command_rebuilds_value(OP_SET)); /* As long as the command. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_read_back),
        cmocka_unit_test(cancelled_command_keeps_its_length),
        cmocka_unit_test(batch_headers_read_back),
        cmocka_unit_test(every_cut_is_malformed),
        cmocka_unit_test(every_byte_flipped_stays_within),
        cmocka_unit_test(args_fill_the_body_exactly),
        cmocka_unit_test(the_first_argument_is_found_without_decoding),
        cmocka_unit_test(commands_too_large_are_not_added),
        cmocka_unit_test(failed_growth_changes_nothing),
        cmocka_unit_test(type_names_go_both_ways),
        cmocka_unit_test(reads_are_told_from_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
