/* test_node_stall.c - only a disk that is waited for, and does nothing, is silent. */
#include "node/stall.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define LOOK_MS 100
#define LOOKS 50

/* The last of LOOKS looks. */
static uint64_t looks(struct stall *s, uint64_t *now_ms, bool waiting, bool moving)
{
    uint64_t ms = 0;
    for (unsigned i = 0; i < LOOKS; i++)
        ms = stall_look(s, *now_ms += LOOK_MS, waiting, s->progress + moving);
    return ms;
}

static void silence_adds_up(void **state)
{
    (void)state;
    struct stall s = {0};
    uint64_t now_ms = 5000;
    assert_int_equal(looks(&s, &now_ms, false, false), 0);
    assert_int_equal(looks(&s, &now_ms, true, false), LOOKS * LOOK_MS);
    assert_int_equal(looks(&s, &now_ms, true, false), 2 * LOOKS * LOOK_MS);
}

static void progress_ends_it(void **state)
{
    (void)state;
    struct stall s = {0};
    uint64_t now_ms = 5000;
    looks(&s, &now_ms, true, false);
    assert_int_equal(stall_look(&s, now_ms += LOOK_MS, true, s.progress + 1), 0);
    assert_int_equal(looks(&s, &now_ms, true, true), 0);
}

static void nothing_asked_is_no_silence(void **state)
{
    (void)state;
    struct stall s = {0};
    uint64_t now_ms = 5000;
    looks(&s, &now_ms, true, false);
    assert_int_equal(stall_look(&s, now_ms += LOOK_MS, false, s.progress), 0);
    assert_int_equal(stall_look(&s, now_ms += LOOK_MS, true, s.progress), LOOK_MS);
}

/* Whoever was stopped for an hour has not waited for an hour. */
static void own_sleep_does_not_count(void **state)
{
    (void)state;
    struct stall s = {0};
    uint64_t now_ms = 5000;
    stall_look(&s, now_ms, true, 7);
    stall_look(&s, now_ms += LOOK_MS, true, 7);
    assert_int_equal(stall_look(&s, now_ms += 3600000, true, 7), LOOK_MS + STALL_LOOK_MS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_adds_up),
        cmocka_unit_test(progress_ends_it),
        cmocka_unit_test(nothing_asked_is_no_silence),
        cmocka_unit_test(own_sleep_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
