/* test_store_outcome.c - answers survive their encoding, and bytes that are none are told apart from them. */
#include "store/outcome.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* One value with every kind of part in it. */
static void fill(struct outcome_buf *b)
{
    outcome_array(b, 7);
    outcome_nil(b);
    outcome_ok(b);
    outcome_int(b, INT64_MIN);
    outcome_bulk(b, "by\0tes", 6);
    outcome_simple(b, "string");
    outcome_map(b, 1);
    outcome_bulk(b, "", 0);
    outcome_array(b, 0);
    outcome_refusal(b, REFUSAL_VALUE_TOO_LONG, "8388608", 7);
}

static struct outcome next(const struct outcome_buf *b, size_t *at)
{
    struct outcome o;
    size_t used = outcome_next(b->base + *at, b->len - *at, &o);
    assert_true(used > 0);
    *at += used;
    return o;
}

static void reads_back_what_was_written(void **state)
{
    (void)state;
    struct outcome_buf b = {0};
    fill(&b);
    assert_false(b.failed);
    size_t at = 0;
    struct outcome o = next(&b, &at);
    assert_int_equal(o.tag, OUTCOME_ARRAY);
    assert_int_equal(o.n, 7);
    assert_int_equal(next(&b, &at).tag, OUTCOME_NIL);
    assert_int_equal(next(&b, &at).tag, OUTCOME_OK);
    o = next(&b, &at);
    assert_int_equal(o.tag, OUTCOME_INT);
    assert_true(o.n == INT64_MIN);
    o = next(&b, &at);
    assert_int_equal(o.tag, OUTCOME_BULK);
    assert_int_equal(o.len, 6);
    assert_memory_equal(o.bytes, "by\0tes", 6);
    o = next(&b, &at);
    assert_int_equal(o.tag, OUTCOME_SIMPLE);
    assert_memory_equal(o.bytes, "string", o.len);
    o = next(&b, &at);
    assert_int_equal(o.tag, OUTCOME_MAP);
    assert_int_equal(o.n, 1);
    assert_int_equal(next(&b, &at).len, 0);
    assert_int_equal(next(&b, &at).n, 0);
    o = next(&b, &at);
    assert_int_equal(o.tag, OUTCOME_REFUSAL);
    assert_int_equal(o.n, REFUSAL_VALUE_TOO_LONG);
    assert_memory_equal(o.bytes, "8388608", o.len);
    assert_int_equal(at, b.len);
    outcome_buf_release(&b);
}

static void span_is_the_whole_value_or_nothing(void **state)
{
    (void)state;
    struct outcome_buf b = {0};
    fill(&b);
    size_t whole = b.len;
    outcome_ok(&b); /* A second value is not part of the first. */
    assert_int_equal(outcome_span(b.base, b.len), whole);
    for (size_t cut = 0; cut < whole; cut++) {
        uint8_t *exact = malloc(cut + 1); /* Its own memory, so that a sanitizer sees a read past the cut. */
        memcpy(exact, b.base, cut);
        exact = realloc(exact, cut > 0 ? cut : 1);
        assert_int_equal(outcome_span(exact, cut), 0);
        free(exact);
    }
    outcome_buf_release(&b);
}

static void flipped_bytes_are_read_within_bounds(void **state)
{
    (void)state;
    struct outcome_buf b = {0};
    fill(&b);
    uint8_t *copy = malloc(b.len);
    for (size_t at = 0; at < b.len; at++)
        for (int byte = 0; byte < 256; byte++) {
            memcpy(copy, b.base, b.len);
            copy[at] = (uint8_t)byte;
            assert_true(outcome_span(copy, b.len) <= b.len);
        }
    free(copy);
    outcome_buf_release(&b);
}

static size_t span_of_nested(int depth)
{
    struct outcome_buf b = {0};
    for (int i = 0; i < depth; i++)
        outcome_array(&b, 1);
    outcome_nil(&b);
    size_t span = outcome_span(b.base, b.len);
    outcome_buf_release(&b);
    return span;
}

static void nesting_has_a_limit(void **state)
{
    (void)state;
    assert_int_equal(span_of_nested(32), 32 * 5 + 1);
    assert_int_equal(span_of_nested(33), 0);
}

static void malformed_heads_are_refused_and_leave_ret_alone(void **state)
{
    (void)state;
    struct outcome o = {.tag = OUTCOME_OK, .n = 42};
    assert_int_equal(outcome_next((const uint8_t *)"", 0, &o), 0);
    assert_int_equal(outcome_next((const uint8_t *)"x1234567", 8, &o), 0);
    assert_int_equal(outcome_next((const uint8_t *)"b\xff\xff\xff\xff", 5, &o), 0);
    assert_int_equal(outcome_span((const uint8_t *)"m\xff\xff\xff\xffnn", 7), 0);
    assert_int_equal(o.tag, OUTCOME_OK);
    assert_int_equal(o.n, 42);
}

static void an_array_is_counted_after_its_parts(void **state)
{
    (void)state;
    struct outcome_buf b = {0}, parts = {0};
    outcome_ok(&b);
    size_t at = b.len;
    outcome_array(&b, 0);
    outcome_int(&parts, 1);
    outcome_int(&parts, 2);
    outcome_append(&b, parts.base, parts.len);
    outcome_array_recount(&b, at, 2);
    assert_int_equal(outcome_span(b.base + at, b.len - at), b.len - at);
    outcome_buf_release(&parts);
    outcome_buf_release(&b);
}

static void a_later_answer_reads_back_at_every_cut(void **state)
{
    (void)state;
    struct outcome_buf b = {0};
    struct outcome o;
    outcome_ok(&b);
    outcome_later(&b, 1ull << 40, 77, "name", 4);
    outcome_later_keep(&b, 0); /* Not one: left alone. */
    assert_int_equal(b.base[0], OUTCOME_OK);
    assert_int_equal(outcome_next(b.base + 1, b.len - 1, &o), b.len - 1);
    assert_true(o.tag == OUTCOME_LATER && o.n == 1ll << 40 && o.session == 77 && !o.kept);
    assert_int_equal(o.len, 4);
    assert_memory_equal(o.bytes, "name", 4);
    outcome_later_keep(&b, 1);
    assert_int_equal(outcome_span(b.base + 1, b.len - 1), b.len - 1);
    assert_int_equal(outcome_next(b.base + 1, b.len - 1, &o), b.len - 1);
    assert_true(o.kept);
    for (size_t len = 0; len < b.len - 1; len++)
        assert_int_equal(outcome_next(b.base + 1, len, &o), 0);
    outcome_buf_release(&b);
}

/* A buffer as large as memory can never be grown: nothing is written to it, and that is remembered. */
static void failed_growth_is_remembered(void **state)
{
    (void)state;
    struct outcome_buf b = {.base = NULL, .len = SIZE_MAX / 2 + 1, .cap = SIZE_MAX / 2 + 1};
    outcome_bulk(&b, "v", 1);
    assert_true(b.failed);
    outcome_array_recount(&b, 0, 3);
    outcome_ok(&b);
    assert_int_equal(b.len, SIZE_MAX / 2 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(span_is_the_whole_value_or_nothing),
        cmocka_unit_test(flipped_bytes_are_read_within_bounds),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(malformed_heads_are_refused_and_leave_ret_alone),
        cmocka_unit_test(an_array_is_counted_after_its_parts),
        cmocka_unit_test(a_later_answer_reads_back_at_every_cut),
        cmocka_unit_test(failed_growth_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
