/* test_raft_known.c - what is remembered of the others' directories, through restarts, crashes and damage. */
#include "raft/known.h"
#include "tests/support/fakedisk.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct fakedisk *disk;
    struct known known;
    char error[256];
};

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    f->disk = fakedisk_new(7);
    *state = f;
    return known_open(&f->known, fakedisk_io(f->disk), f->error);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fakedisk_free(f->disk);
    test_free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    assert_int_equal(known_open(&f->known, fakedisk_io(f->disk), f->error), 0);
}

static void the_first_directory_met_is_the_one(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(known_meet(&f->known, 3, 77, 1, 0), 0);
    assert_int_equal(known_meet(&f->known, 3, 77, 1, 0), 0);
    assert_int_equal(known_meet(&f->known, 3, 78, 1, 0), KNOWN_EOTHER);
    assert_int_equal(known_meet(&f->known, 2, 78, 1, 0), 0);
    assert_int_equal(known_highest(&f->known), 3);
}

static void it_is_remembered_through_a_loss_of_power(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(known_meet(&f->known, 3, 77, 5, 0), 0);
    fakedisk_crash(f->disk);
    reopen(f);
    assert_int_equal(known_meet(&f->known, 3, 78, 6, 0), KNOWN_EOTHER);
    assert_int_equal(known_meet(&f->known, 3, 77, 5, 0), 0);
}

static void a_start_that_was_before_is_an_older_copy(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(known_meet(&f->known, 3, 77, 5, 0), 0);
    assert_int_equal(known_meet(&f->known, 3, 77, 7, 0), 0);
    reopen(f);
    assert_int_equal(known_meet(&f->known, 3, 77, 6, 0), KNOWN_EOLDER);
    assert_int_equal(known_meet(&f->known, 3, 77, 8, 0), 0);
}

static void a_log_that_lost_what_it_held_is_an_older_copy(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(known_meet(&f->known, 3, 77, 5, 10), 0);
    known_holds(&f->known, 3, 100);
    known_holds(&f->known, 3, 90); /* A new leader counts from below. */
    assert_int_equal(known_meet(&f->known, 3, 77, 6, 99), KNOWN_EOLDER);
    assert_int_equal(known_meet(&f->known, 3, 77, 6, 100), 0);
}

static void a_directory_that_cannot_be_stored_is_not_met(void **state)
{
    struct fixture *f = *state;
    for (int nth = 0; nth < 20; nth++) {
        fakedisk_fail_at(f->disk, fakedisk_calls(f->disk) + (uint64_t)nth, FAKEDISK_ERROR);
        int rc = known_meet(&f->known, 3, 77, 1, 0);
        if (rc == 0) {
            assert_true(nth > 4); /* Unlink, open, write, sync, rename, sync of the directory. */
            return;
        }
        assert_int_equal(rc, KNOWN_EIO);
        assert_int_equal(known_highest(&f->known), 0);
    }
    fail_msg("it never became possible");
}

static void damage_is_noticed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(known_meet(&f->known, 3, 77, 5, 0), 0);
    assert_int_equal(known_meet(&f->known, 4, 79, 5, 0), 0);
    for (size_t at = 0; at < 24 + 2 * 24; at++) {
        size_t len;
        fakedisk_bytes(f->disk, KNOWN_NAME, &len)[at] ^= 1;
        assert_int_equal(known_open(&f->known, fakedisk_io(f->disk), f->error), KNOWN_ECORRUPT);
        assert_non_null(strstr(f->error, "known"));
        fakedisk_bytes(f->disk, KNOWN_NAME, &len)[at] ^= 1;
    }
    reopen(f);
    assert_int_equal(known_highest(&f->known), 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_first_directory_met_is_the_one),           TEST(it_is_remembered_through_a_loss_of_power),
        TEST(a_start_that_was_before_is_an_older_copy),     TEST(a_log_that_lost_what_it_held_is_an_older_copy),
        TEST(a_directory_that_cannot_be_stored_is_not_met), TEST(damage_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
