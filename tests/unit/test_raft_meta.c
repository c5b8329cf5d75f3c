/* test_raft_meta.c - term, vote and identity in their two slots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "raft/crc32c.h"
#include "raft/le.h"
#include "raft/meta.h"
#include "tests/support/fakedisk.h"
#include <string.h>

static const struct meta_state some = {
    .cluster_id = "some cluster id", .node_id = 7, .start = 3, .term = 12, .vote = 2, .segment = 5};

static int setup(void **state)
{
    *state = fakedisk_new(1);
    return 0;
}

static int teardown(void **state)
{
    fakedisk_free(*state);
    return 0;
}

static void assert_same(const struct meta_state *a, const struct meta_state *b)
{
    assert_memory_equal(a->cluster_id, b->cluster_id, sizeof a->cluster_id);
    assert_int_equal(a->node_id, b->node_id);
    assert_int_equal(a->start, b->start);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->vote, b->vote);
    assert_int_equal(a->segment, b->segment);
}

static void create(struct fakedisk *d)
{
    struct meta m;
    char error[256];
    assert_int_equal(meta_create(&m, fakedisk_io(d), &some, error), 0);
    meta_close(&m);
}

static void stored_and_read(void **state)
{
    struct fakedisk *d = *state;
    struct meta m;
    char error[256];
    assert_int_equal(meta_open(&m, fakedisk_io(d), error), LOG_ENOENT);
    create(d);
    fakedisk_power_off(d);
    fakedisk_crash(d);
    assert_int_equal(meta_open(&m, fakedisk_io(d), error), 0);
    assert_same(&m.state, &some);
    struct meta_state next = some;
    for (next.term = 13; next.term < 20; next.term++) {
        assert_int_equal(meta_store(&m, &next), 0);
        meta_close(&m);
        fakedisk_power_off(d);
        fakedisk_crash(d);
        assert_int_equal(meta_open(&m, fakedisk_io(d), error), 0);
        assert_same(&m.state, &next);
    }
    meta_close(&m);
}

/* Power lost at any call of a store: the state before or after, and after it once the store returned. */
static void store_is_atomic(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++)
        for (uint64_t call = 0; call < 5; call++) {
            struct fakedisk *d = fakedisk_new(seed);
            struct meta m;
            char error[256];
            create(d);
            assert_int_equal(meta_open(&m, fakedisk_io(d), error), 0);
            fakedisk_fail_at(d, fakedisk_calls(d) + call, FAKEDISK_POWER);
            struct meta_state next = some;
            next.term = 13;
            next.vote = 1;
            int rc = meta_store(&m, &next);
            assert_int_equal(rc == 0, call >= 4);
            meta_close(&m);
            fakedisk_power_off(d);
            fakedisk_crash(d);
            assert_int_equal(meta_open(&m, fakedisk_io(d), error), 0);
            assert_same(&m.state, rc == 0 || m.state.term == 13 ? &next : &some);
            meta_close(&m);
            fakedisk_free(d);
        }
}

static void create_is_atomic(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++)
        for (uint64_t call = 0; call < 8; call++) {
            struct fakedisk *d = fakedisk_new(seed);
            struct meta m;
            char error[256];
            fakedisk_fail_at(d, call, FAKEDISK_POWER);
            int rc = meta_create(&m, fakedisk_io(d), &some, error);
            if (rc == 0)
                meta_close(&m);
            fakedisk_power_off(d);
            fakedisk_crash(d);
            int found = meta_open(&m, fakedisk_io(d), error);
            assert_true(found == 0 || (rc != 0 && found == LOG_ENOENT));
            if (found != 0) /* What the crash left does not hinder the next attempt. */
                assert_int_equal(meta_create(&m, fakedisk_io(d), &some, error), 0);
            assert_same(&m.state, &some);
            meta_close(&m);
            fakedisk_free(d);
        }
}

/* Any damage to one slot does no harm; to both, it is said. */
static void damage(void **state)
{
    struct fakedisk *d = *state;
    struct meta m;
    char error[256];
    size_t len = 0;
    create(d);
    for (size_t at = 0; at < 2 * META_SLOT_BYTES; at++) {
        fakedisk_bytes(d, META_NAME, &len)[at] ^= 0x10;
        assert_int_equal(meta_open(&m, fakedisk_io(d), error), 0);
        assert_same(&m.state, &some);
        meta_close(&m);
        fakedisk_bytes(d, META_NAME, &len)[at] ^= 0x10;
    }
    uint8_t *bytes = fakedisk_bytes(d, META_NAME, &len);
    assert_int_equal(len, 2 * META_SLOT_BYTES);
    bytes[50] ^= 1;
    bytes[META_SLOT_BYTES + 60] ^= 1;
    assert_int_equal(meta_open(&m, fakedisk_io(d), error), LOG_ECORRUPT);
    assert_non_null(strstr(error, "both copies"));
}

static void unknown_version(void **state)
{
    struct fakedisk *d = *state;
    struct meta m;
    char error[256];
    size_t len = 0;
    create(d);
    uint8_t *bytes = fakedisk_bytes(d, META_NAME, &len);
    for (size_t i = 0; i < 2; i++) {
        uint8_t *slot = bytes + i * META_SLOT_BYTES;
        le32_put(slot + 4, META_VERSION + 1);
        le32_put(slot, crc32c(0, slot + 4, META_SLOT_BYTES - 4));
    }
    assert_int_equal(meta_open(&m, fakedisk_io(d), error), LOG_EVERSION);
    assert_non_null(strstr(error, "format version 2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stored_and_read, setup, teardown),
        cmocka_unit_test(store_is_atomic),
        cmocka_unit_test(create_is_atomic),
        cmocka_unit_test_setup_teardown(damage, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_version, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
