/* test_raft_log_recovery.c - the log after power failures, killed processes and damage.
 * After a crash at any call everything reported durable is there, term and vote too; damage is refused with words or
 * does no harm, and is never taken for an entry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "raft/segment.h"
#include "tests/support/logmodel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT (8u << 10)

static uint64_t seed;

static struct logmodel *model(uint64_t s, unsigned spares)
{
    struct logmodel *m = calloc(1, sizeof *m);
    assert_non_null(m);
    logmodel_init(m, s, SEGMENT, spares, s % 2 == 0 ? 0 : 4096);
    return m;
}

static void model_free(struct logmodel *m)
{
    logmodel_release(m);
    free(m);
}

/* ---- Crashes ---- */

/* The same life as often as there are calls in it, with the power going at a later call each time. */
static bool life_with_crash(uint64_t s, uint64_t call, bool kill)
{
    struct logmodel *m = model(s, (unsigned)(s % 3));
    fakedisk_fail_at(m->d, call, FAKEDISK_POWER);
    bool opened = logmodel_open(m) == 0;
    for (int i = 0; opened && fakedisk_powered(m->d) && i < 120; i++)
        logmodel_act(m);
    bool more = !fakedisk_powered(m->d);
    if (opened && kill)
        logmodel_kill(m);
    else if (opened)
        logmodel_crash(m);
    else
        fakedisk_crash(m->d);
    int rc = logmodel_open(m);
    if (rc != 0)
        print_error("seed %llu call %llu: %s\n", (unsigned long long)s, (unsigned long long)call, m->error);
    assert_int_equal(rc, 0);
    for (int i = 0; i < 40; i++)
        logmodel_act(m);
    assert_int_equal(m->failures, 0);
    logmodel_close(m);
    assert_int_equal(logmodel_open(m), 0);
    model_free(m);
    return more;
}

static void power_lost_at_every_call(void **state)
{
    (void)state;
    for (uint64_t s = seed; s < seed + 12; s++)
        for (uint64_t call = 0; life_with_crash(s, call, false); call++)
            continue;
}

static void killed_at_every_call(void **state)
{
    (void)state;
    for (uint64_t s = seed; s < seed + 6; s++)
        for (uint64_t call = 0; life_with_crash(s, call, true); call++)
            continue;
}

/* A long life of crashes, some of them while recovering from the last one. */
static void crash_after_crash(void **state)
{
    (void)state;
    struct logmodel *m = model(seed, 2);
    for (int life = 0; life < 400; life++) {
        if (logmodel_roll(m, 3) == 0)
            fakedisk_fail_at(m->d, fakedisk_calls(m->d) + logmodel_roll(m, 12), FAKEDISK_POWER);
        if (logmodel_open(m) != 0) {
            assert_false(fakedisk_powered(m->d));
            fakedisk_crash(m->d);
            continue;
        }
        fakedisk_fail_at(m->d, fakedisk_calls(m->d) + logmodel_roll(m, 60), FAKEDISK_POWER);
        for (int i = 0; fakedisk_powered(m->d) && i < 60; i++)
            logmodel_act(m);
        if (logmodel_roll(m, 4) == 0)
            logmodel_kill(m);
        else
            logmodel_crash(m);
    }
    assert_int_equal(logmodel_open(m), 0);
    model_free(m);
}

/* A sync fails, and the process with it. The next one finds the records in the system's memory, from where no sync
 * brings them to the disk, since they count as written there. What it then promises must survive a power failure all
 * the same. */
static void failed_sync_is_made_up_for(void **state)
{
    (void)state;
    for (uint64_t s = seed; s < seed + 50; s++) {
        struct logmodel *m = model(s, 0);
        m->options.segment_bytes = 32 << 10;
        assert_int_equal(logmodel_open(m), 0);
        logmodel_append(m, 5);
        fakedisk_run_all(m->d);
        fakedisk_fail_at(m->d, fakedisk_calls(m->d) + 1, FAKEDISK_ERROR); /* The sync of the next group. */
        logmodel_append(m, 20);
        fakedisk_run_all(m->d);
        assert_int_equal(m->failures, 1);
        logmodel_kill(m);
        assert_int_equal(logmodel_open(m), 0);
        uint64_t last = log_last(m->l);
        assert_int_equal(log_durable(m->l), last);
        logmodel_crash(m);
        int rc = logmodel_open(m);
        if (rc != 0)
            print_error("seed %llu: %s\n", (unsigned long long)s, m->error);
        assert_int_equal(rc, 0);
        assert_int_equal(log_last(m->l), last);
        model_free(m);
    }
}

/* ---- Torn tails ---- */

/* A group of which any sectors may be missing is cut where the first one is, and the log goes on. */
static void torn_group(void **state)
{
    (void)state;
    for (uint64_t s = seed; s < seed + 200; s++) {
        struct logmodel *m = model(s, 0);
        m->options.segment_bytes = 32 << 10;
        assert_int_equal(logmodel_open(m), 0);
        logmodel_append(m, 5);
        fakedisk_run_all(m->d);
        fakedisk_fail_at(m->d, fakedisk_calls(m->d) + 1, FAKEDISK_POWER); /* The sync of the next group. */
        logmodel_append(m, 20);
        fakedisk_run_all(m->d);
        logmodel_crash(m);
        assert_int_equal(logmodel_open(m), 0);
        assert_in_range(log_last(m->l), 5, 25);
        logmodel_append(m, 5);
        logmodel_close(m);
        assert_int_equal(logmodel_open(m), 0);
        model_free(m);
    }
}

/* ---- Damage ---- */

/* A log of several files, closed, with its marks; everything in it was acknowledged. */
static struct logmodel *sound_log(uint64_t s)
{
    struct logmodel *m = model(s, 0);
    assert_int_equal(logmodel_open(m), 0);
    for (int i = 0; i < 6; i++) {
        logmodel_append(m, 5);
        fakedisk_run_all(m->d);
        if (i == 2)
            logmodel_replace(m, 12, 2);
    }
    assert_int_equal(logmodel_vote(m, 70, 2), 0);
    logmodel_close(m);
    return m;
}

/* Open a copy of the disk. Same content as the model, or refused with words. 0 or the refusal. */
static int open_copy(struct logmodel *m, struct fakedisk *copy, char error[256])
{
    struct log *l = NULL;
    error[0] = '\0';
    int rc = log_open(fakedisk_io(copy), &m->options, error, &l);
    if (rc != 0) {
        assert_true(rc == LOG_ECORRUPT || rc == LOG_EVERSION || rc == LOG_EFOREIGN);
        assert_true(strlen(error) > 20);
        return rc;
    }
    assert_int_equal(log_last(l), m->state.last);
    for (uint64_t i = log_first(l); i <= m->state.last; i++) {
        struct log_entry e;
        size_t len = 0;
        assert_int_equal(log_read(l, i, &e), 0);
        assert_int_equal(e.term, m->state.terms[i]);
        const uint8_t *want = logmodel_payload(m, i, e.term, &len);
        assert_int_equal(e.len, len);
        if (len > 0)
            assert_memory_equal(e.blob->bytes + e.offset, want, len);
        blob_unref(e.blob);
    }
    assert_int_equal(log_term(l), m->term);
    assert_int_equal(log_vote(l), m->vote);
    fakedisk_power_off(copy);
    log_close(l);
    fakedisk_crash(copy);
    return 0;
}

struct names {
    char list[64][64];
    size_t n;
};

static void note_name(void *ctx, const char *name)
{
    struct names *names = ctx;
    assert_true(names->n < 64);
    snprintf(names->list[names->n++], 64, "%s", name);
}

static int open_flipped(struct logmodel *m, const char *name, size_t at, uint8_t bit, char error[256])
{
    struct fakedisk *copy = fakedisk_clone(m->d);
    size_t len = 0;
    fakedisk_bytes(copy, name, &len)[at] ^= bit;
    int rc = open_copy(m, copy, error);
    fakedisk_free(copy);
    return rc;
}

/* The mark at the end is the last thing in the last file: itself it may be lost. */
static size_t records_end(struct logmodel *m, const char *name)
{
    size_t len = 0;
    uint8_t *bytes = fakedisk_bytes(m->d, name, &len);
    while (len > SEGMENT_HEADER_BYTES && bytes[len - 1] == 0)
        len--;
    return (len + 7) / 8 * 8;
}

static void every_byte_flipped(void **state)
{
    (void)state;
    struct logmodel *m = sound_log(seed | 1);
    struct names names = {.n = 0};
    fakedisk_names(m->d, note_name, &names);
    size_t refused = 0, harmless = 0;
    char error[256];
    for (size_t k = 0; k < names.n; k++) {
        const char *name = names.list[k];
        bool is_log = strncmp(name, "log-", 4) == 0;
        size_t end = is_log ? records_end(m, name) : 2 * 4096;
        for (size_t at = 0; at < end; at += at >= 128 && at < SEGMENT_HEADER_BYTES ? 37 : 1) {
            uint8_t bit = (uint8_t)(1u << logmodel_roll(m, 8));
            int rc = open_flipped(m, name, at, bit, error);
            refused += rc != 0;
            harmless += rc == 0;
            if (is_log && rc != 0)
                assert_non_null(strstr(error, "log-"));
            if (!is_log)
                assert_int_equal(rc, 0); /* The other copy tells. */
        }
    }
    print_message("%zu refused, %zu did no harm\n", refused, harmless);
    assert_true(refused > 1000);
    model_free(m);
}

/* In a file that was not the last, and in the last before what later records vouch for, damage is named with its place.
 */
static void damage_is_named(void **state)
{
    (void)state;
    struct logmodel *m = sound_log(seed | 1);
    char error[256];
    assert_int_equal(open_flipped(m, "log-0000000000000001", SEGMENT_HEADER_BYTES + 30, 1, error), LOG_ECORRUPT);
    assert_non_null(strstr(error, "log-0000000000000001: damaged at offset 4096, after index 0: found"));
    model_free(m);
}

/* Without the closing mark, damage to the very last group looks like a torn tail; whatever is then held is right. */
static void last_group_without_mark(void **state)
{
    (void)state;
    struct logmodel *m = model(seed | 1, 0);
    m->options.segment_bytes = 64 << 10;
    assert_int_equal(logmodel_open(m), 0);
    logmodel_append(m, 8);
    fakedisk_run_all(m->d);
    size_t synced = (size_t)log_disk_bytes(m->l);
    logmodel_append(m, 8);
    fakedisk_run_all(m->d);
    size_t end = (size_t)log_disk_bytes(m->l);
    logmodel_kill(m);
    char error[256];
    for (size_t at = SEGMENT_HEADER_BYTES; at < synced; at += 5)
        assert_int_equal(open_flipped(m, "log-0000000000000001", at, 4, error), LOG_ECORRUPT);
    for (size_t at = synced; at < end; at += 5) {
        struct fakedisk *copy = fakedisk_clone(m->d);
        size_t len = 0;
        fakedisk_bytes(copy, "log-0000000000000001", &len)[at] ^= 4;
        struct log *l = NULL;
        assert_int_equal(log_open(fakedisk_io(copy), &m->options, error, &l), 0);
        assert_in_range(log_last(l), 8, 15);
        log_close(l);
        fakedisk_free(copy);
    }
    model_free(m);
}

static void file_missing(void **state)
{
    (void)state;
    struct logmodel *m = sound_log(seed | 1);
    struct names names = {.n = 0};
    char error[256];
    fakedisk_names(m->d, note_name, &names);
    size_t logs = 0;
    for (size_t k = 0; k < names.n; k++)
        logs += strncmp(names.list[k], "log-", 4) == 0;
    assert_true(logs >= 2);
    for (size_t n = 2; n <= logs; n++) { /* Without the first one, the log begins later: for the owner to judge. */
        char name[64];
        struct fakedisk *copy = fakedisk_clone(m->d);
        snprintf(name, sizeof name, "log-%016zx", n);
        fakedisk_remove(copy, name);
        assert_int_equal(open_copy(m, copy, error), LOG_ECORRUPT);
        assert_non_null(strstr(error, "missing"));
        assert_non_null(strstr(error, name));
        fakedisk_free(copy);
    }
    model_free(m);
}

static void meta_or_all_logs_missing(void **state)
{
    (void)state;
    struct logmodel *m = sound_log(seed | 1);
    char error[256];
    struct fakedisk *copy = fakedisk_clone(m->d);
    fakedisk_remove(copy, "meta");
    assert_int_equal(open_copy(m, copy, error), LOG_ECORRUPT);
    assert_non_null(strstr(error, "meta"));
    fakedisk_free(copy);
    copy = fakedisk_clone(m->d);
    struct names names = {.n = 0};
    fakedisk_names(copy, note_name, &names);
    for (size_t k = 0; k < names.n; k++)
        if (strncmp(names.list[k], "log-", 4) == 0)
            fakedisk_remove(copy, names.list[k]);
    assert_int_equal(open_copy(m, copy, error), LOG_ECORRUPT);
    assert_non_null(strstr(error, "missing"));
    fakedisk_free(copy);
    model_free(m);
}

static void foreign_directory(void **state)
{
    (void)state;
    struct logmodel *m = sound_log(seed | 1);
    struct log *l = NULL;
    char error[256];
    struct log_options other = m->options;
    other.node_id = 4;
    assert_int_equal(log_open(fakedisk_io(m->d), &other, error, &l), LOG_EFOREIGN);
    assert_non_null(strstr(error, "node 3 of cluster "));
    assert_non_null(strstr(error, "node 4 of cluster "));
    other = m->options;
    other.cluster_id[0] ^= 1;
    assert_int_equal(log_open(fakedisk_io(m->d), &other, error, &l), LOG_EFOREIGN);
    model_free(m);
}

/* Bytes that look like a record but are a client's: nobody outside knows the seed of the CRC. */
static void payload_that_looks_like_a_record(void **state)
{
    (void)state;
    struct logmodel *m = model(seed | 1, 0);
    m->options.segment_bytes = 64 << 10;
    assert_int_equal(logmodel_open(m), 0);
    uint8_t fake[RECORD_HEADER_BYTES * 4];
    memset(fake, 0, sizeof fake);
    for (size_t i = 0; i < sizeof fake / RECORD_HEADER_BYTES; i++) {
        struct record r = {.type = LOG_COMMAND, .segment = 1, .index = 9, .term = 9, .synced = UINT32_MAX};
        record_encode(fake + i * RECORD_HEADER_BYTES, &r, 0, NULL);
    }
    struct log_entry e = {.term = 1, .type = LOG_COMMAND, .blob = blob_copy(fake, sizeof fake), .len = sizeof fake};
    m->state.last = 1; /* Behind the model's back: it knows other payloads. */
    m->state.terms[1] = 1;
    assert_int_equal(log_append(m->l, 1, &e, 1), 0);
    blob_unref(e.blob);
    fakedisk_run_all(m->d);
    logmodel_kill(m);
    size_t len = 0;
    fakedisk_bytes(m->d, "log-0000000000000001", &len)[SEGMENT_HEADER_BYTES] ^= 1; /* Torn. */
    struct log *l = NULL;
    char error[256];
    assert_int_equal(log_open(fakedisk_io(m->d), &m->options, error, &l), 0);
    assert_int_equal(log_last(l), 0);
    log_close(l);
    model_free(m);
}

int main(void)
{
    seed = logmodel_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_lost_at_every_call),
        cmocka_unit_test(killed_at_every_call),
        cmocka_unit_test(crash_after_crash),
        cmocka_unit_test(failed_sync_is_made_up_for),
        cmocka_unit_test(torn_group),
        cmocka_unit_test(every_byte_flipped),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(last_group_without_mark),
        cmocka_unit_test(file_missing),
        cmocka_unit_test(meta_or_all_logs_missing),
        cmocka_unit_test(foreign_directory),
        cmocka_unit_test(payload_that_looks_like_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
