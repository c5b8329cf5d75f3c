/* test_store_due.c - the heap of due keys, by hand and against a plain list. */
#include "store/due.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int open_due(void **state)
{
    struct due *d = NULL;
    int rc = due_open(&d);
    *state = d;
    return rc;
}

static int close_due(void **state)
{
    due_close(*state);
    return 0;
}

static void note(struct due *d, const char *key, int64_t ms)
{
    assert_int_equal(due_note(d, SPACE_KEYS, key, strlen(key), ms), 0);
}

static void assert_takes(struct due *d, int64_t upto_ms, const char *want_key, int64_t want_ms)
{
    enum space space;
    void *key;
    size_t len;
    int64_t ms;
    assert_int_equal(due_take(d, upto_ms, &space, &key, &len, &ms), 1);
    assert_int_equal(len, strlen(want_key));
    assert_memory_equal(key, want_key, len);
    assert_int_equal(ms, want_ms);
    free(key);
}

static void assert_takes_nothing(struct due *d, int64_t upto_ms)
{
    enum space space;
    void *key;
    size_t len;
    int64_t ms;
    assert_int_equal(due_take(d, upto_ms, &space, &key, &len, &ms), 0);
}

static void comes_out_by_time_then_key(void **state)
{
    struct due *d = *state;
    due_set_horizon(d, 1000);
    note(d, "b", 20);
    note(d, "ab", 10);
    note(d, "a", 10);
    note(d, "", 10);
    note(d, "late", 30);
    assert_int_equal(due_first_ms(d), 10);
    assert_takes(d, 20, "", 10);
    assert_takes(d, 20, "a", 10);
    assert_takes(d, 20, "ab", 10);
    assert_takes(d, 20, "b", 20);
    assert_takes_nothing(d, 20);
    assert_int_equal(due_first_ms(d), 30);
    assert_takes(d, 30, "late", 30);
    assert_int_equal(due_first_ms(d), INT64_MAX);
}

static void only_up_to_the_horizon(void **state)
{
    struct due *d = *state;
    note(d, "k", 1);
    assert_int_equal(due_first_ms(d), INT64_MAX);
    due_set_horizon(d, 100);
    due_set_horizon(d, 50); /* Never back. */
    assert_int_equal(due_horizon_ms(d), 100);
    note(d, "beyond", 101);
    note(d, "k", 100);
    assert_takes(d, INT64_MAX, "k", 100);
    assert_takes_nothing(d, INT64_MAX);
    due_clear(d, SPACE_KEYS);
    assert_int_equal(due_horizon_ms(d), 100);
}

static void one_entry_a_key_at_its_earliest(void **state)
{
    struct due *d = *state;
    due_set_horizon(d, INT64_MAX - 1);
    for (int64_t ms = 50; ms < 100000; ms++)
        note(d, "hot", ms);
    note(d, "hot", 40);
    assert_takes(d, INT64_MAX, "hot", 40);
    assert_takes_nothing(d, INT64_MAX);
}

static void forgotten_keys_do_not_come(void **state)
{
    struct due *d = *state;
    due_forget(d, SPACE_KEYS, "none", 4);
    due_set_horizon(d, 1000);
    note(d, "a", 1);
    note(d, "b", 2);
    due_forget(d, SPACE_KEYS, "a", 1);
    due_forget(d, SPACE_KEYS, "a", 1);
    assert_takes(d, 1000, "b", 2);
    note(d, "c", 3);
    due_clear(d, SPACE_KEYS);
    assert_takes_nothing(d, 1000);
    note(d, "d", 4);
    assert_takes(d, 1000, "d", 4);
}

#define MODEL_KEYS 200

/* model[k] is the time key k is noted at, INT64_MAX for none. */
static int model_first(const int64_t *model)
{
    int first = 0;
    for (int k = 1; k < MODEL_KEYS; k++)
        if (model[k] < model[first])
            first = k;
    return first;
}

static void step(struct due *d, int64_t *model)
{
    char key[16];
    int k = (int)(random() % MODEL_KEYS);
    snprintf(key, sizeof key, "key%03d", k);
    int64_t ms = random() % 1000;
    switch (random() % 4) {
    case 0:
    case 1:
        note(d, key, ms);
        if (ms < model[k])
            model[k] = ms;
        break;
    case 2:
        due_forget(d, SPACE_KEYS, key, strlen(key));
        model[k] = INT64_MAX;
        break;
    default:
        k = model_first(model);
        snprintf(key, sizeof key, "key%03d", k);
        if (model[k] <= ms)
            assert_takes(d, ms, key, model[k]);
        else
            assert_takes_nothing(d, ms);
        if (model[k] <= ms)
            model[k] = INT64_MAX;
    }
    assert_int_equal(due_first_ms(d), model[model_first(model)]);
}

static void agrees_with_a_list(void **state)
{
    const char *given = getenv("HOLDFAST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    print_message("HOLDFAST_SEED=%u\n", seed);
    srandom(seed);
    struct due *d = *state;
    int64_t model[MODEL_KEYS];
    for (int k = 0; k < MODEL_KEYS; k++)
        model[k] = INT64_MAX;
    due_set_horizon(d, 1000);
    for (int i = 0; i < 50000; i++)
        step(d, model);
}

/* One name in two spaces is two entries, and forgetting all of a space leaves a heap of the others. */
static void spaces_are_apart(void **state)
{
    struct due *d = *state;
    enum space space;
    size_t len;
    int64_t ms, last = 0;
    void *key;
    char name[16];
    due_set_horizon(d, 1000);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(due_note(d, (enum space)(i % 3), name, strlen(name), i * 7919 % 1000), 0);
        assert_int_equal(due_note(d, (enum space)((i + 1) % 3), name, strlen(name), i * 7907 % 1000), 0);
    }
    due_clear(d, SPACE_KEYS);
    due_forget(d, SPACE_SESSIONS, "1", 1);
    for (int i = 0; i < 399; i++) {
        assert_int_equal(due_take(d, 1000, &space, &key, &len, &ms), 1);
        assert_true(space != SPACE_KEYS && ms >= last);
        last = ms;
        free(key);
    }
    assert_takes_nothing(d, 1000);
    assert_int_equal(due_note(d, SPACE_KEYS, "again", 5, 3), 0);
    assert_takes(d, 3, "again", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(comes_out_by_time_then_key, open_due, close_due),
        cmocka_unit_test_setup_teardown(only_up_to_the_horizon, open_due, close_due),
        cmocka_unit_test_setup_teardown(one_entry_a_key_at_its_earliest, open_due, close_due),
        cmocka_unit_test_setup_teardown(forgotten_keys_do_not_come, open_due, close_due),
        cmocka_unit_test_setup_teardown(agrees_with_a_list, open_due, close_due),
        cmocka_unit_test_setup_teardown(spaces_are_apart, open_due, close_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
