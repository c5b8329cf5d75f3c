/* store_fixture.h - what the store's tests share: a folder of their own, a seed, and entries made from a seed, so that
 * entry i of a seed is the same bytes in every run and every process. */
#pragma once
#include "store/store.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIXTURE_KEYS 400
#define FIXTURE_PATH 512

static const uint8_t fixture_cluster[STORE_CLUSTER_ID_BYTES] = "fixture-cluster";

/* ---- chance ---- */

struct chance {
    uint64_t state;
};

static inline uint64_t chance_next(struct chance *c)
{
    uint64_t z = (c->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t chance_below(struct chance *c, uint64_t n)
{
    return chance_next(c) % n;
}

/* The seed of this run, printed so that it can be given again. */
static inline uint64_t fixture_seed(void)
{
    const char *given = getenv("HOLDFAST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
    print_message("HOLDFAST_SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* ---- folders ---- */

static inline void fixture_dir(char path[FIXTURE_PATH])
{
    snprintf(path, FIXTURE_PATH, "/tmp/holdfast_store_XXXXXX");
    assert_non_null(mkdtemp(path));
}

static inline void fixture_path(char path[FIXTURE_PATH], const char *dir, const char *name)
{
    assert_true(snprintf(path, FIXTURE_PATH, "%s/%s", dir, name) < FIXTURE_PATH);
}

static inline void fixture_empty_dir(const char *dir)
{
    char path[FIXTURE_PATH];
    DIR *d = opendir(dir);
    struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        fixture_path(path, dir, e->d_name);
        unlink(path);
    }
    closedir(d);
}

static inline void fixture_remove_dir(const char *dir)
{
    fixture_empty_dir(dir);
    rmdir(dir);
}

struct content {
    uint8_t *base;
    size_t len;
};

/* The bytes of a file; none when there is no such file. */
static inline struct content content_read(const char *path)
{
    struct content c = {0};
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return c;
    assert_int_equal(fstat(fileno(f), &st), 0);
    c.base = malloc((size_t)st.st_size + 1);
    assert_non_null(c.base);
    c.len = fread(c.base, 1, (size_t)st.st_size, f);
    fclose(f);
    return c;
}

static inline void content_write(const char *path, const void *base, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(base, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* ---- stores and entries ---- */

static inline struct store_options fixture_options(const char *dir)
{
    return (struct store_options){
        .dir = dir, .cluster_id = fixture_cluster, .cache_bytes = 1 << 20, .checkpoint_bytes = 1 << 20};
}

static inline struct store *fixture_open(const struct store_options *o)
{
    struct store *s = NULL;
    char error[256] = "";
    int rc = store_open(o, error, &s);
    if (rc != 0)
        fail_msg("store_open: %d: %s", rc, error);
    return s;
}

static inline struct bytes text(const char *t)
{
    return (struct bytes){.base = (const uint8_t *)t, .len = strlen(t)};
}

static inline void entry_key(struct chance *c, char key[32])
{
    snprintf(key, 32, "key-%u", (unsigned)chance_below(c, FIXTURE_KEYS));
}

static inline void entry_set(struct command_buf *b, struct chance *c, const char *key)
{
    uint8_t value[3000];
    size_t len = chance_below(c, 12) == 0 ? chance_below(c, sizeof value) : chance_below(c, 60);
    int64_t nums[2] = {(int64_t)chance_below(c, 90000), 1700000000000};
    bool expires = chance_below(c, 4) == 0;
    for (size_t i = 0; i < len; i++)
        value[i] = (uint8_t)chance_next(c);
    struct bytes args[2] = {text(key), {value, len}};
    command_add(b, OP_SET, expires ? CMD_EXPIRE : 0, nums, expires ? 2 : 0, args, 2);
}

static inline void entry_command(struct command_buf *b, struct chance *c)
{
    char key[32];
    int64_t one = 1, nums[2] = {(int64_t)chance_below(c, 90000), 1700000000000};
    entry_key(c, key);
    struct bytes arg = text(key), two[2] = {text(key), text("tail")};
    switch (chance_below(c, 16)) {
    case 0:
        command_add(b, OP_DEL, 0, NULL, 0, &arg, 1);
        break;
    case 1:
        command_add(b, OP_EXPIRE, 0, nums, 2, &arg, 1);
        break;
    case 2:
        command_add(b, OP_PERSIST, 0, NULL, 0, &arg, 1);
        break;
    case 3:
        command_add(b, OP_APPEND, 0, NULL, 0, two, 2);
        break;
    case 4:
    case 5:
        command_add(b, OP_INCRBY, 0, &one, 1, &arg, 1);
        break;
    case 6:
        if (chance_below(c, 40) == 0)
            command_add(b, OP_FLUSHALL, 0, NULL, 0, NULL, 0);
        else
            command_add(b, OP_GET, 0, NULL, 0, &arg, 1);
        break;
    default:
        entry_set(b, c, key);
        break;
    }
}

/* Entry `index` (from 1) of the log of this seed: the batch of an origin that never fails. */
static inline void entry_make(struct command_buf *b, uint64_t seed, uint64_t index)
{
    struct chance c = {seed ^ (index * 0x2545f4914f6cdd1du)};
    uint32_t n = 1 + (uint32_t)chance_below(&c, 8);
    b->len = 0;
    batch_begin(b, 1, 1, index);
    for (uint32_t i = 0; i < n; i++)
        entry_command(b, &c);
    batch_set_count(b->base, n);
    batch_stamp(b->base, index * 20);
    assert_false(b->failed);
}

/* Apply entries applied + 1 .. last of the log of this seed. */
static inline void entries_apply(struct store *s, uint64_t seed, uint64_t last)
{
    struct command_buf b = {0};
    struct outcome_buf out = {0};
    enum store_applied applied;
    while (store_applied(s) < last) {
        uint64_t index = store_applied(s) + 1;
        entry_make(&b, seed, index);
        out.len = 0;
        assert_int_equal(store_apply(s, index, 1, b.base, b.len, &out, &applied), 0);
        assert_int_equal(applied, STORE_APPLIED);
    }
    command_buf_release(&b);
    outcome_buf_release(&out);
}

/* What the state is after each entry of the log of a seed, as an undisturbed store has it. */
struct history {
    uint64_t seed, n;
    struct {
        uint64_t hash, revision, keys, with_ttl;
    } * at; /* at[0]: before the first entry. */
};

static inline void history_note(struct history *h, const struct store *s)
{
    uint64_t i = store_applied(s);
    h->at[i].hash = store_hash(s);
    h->at[i].revision = store_revision(s);
    h->at[i].keys = store_keys(s);
    h->at[i].with_ttl = store_keys_with_ttl(s);
}

static inline struct history history_make(uint64_t seed, uint64_t n)
{
    char dir[FIXTURE_PATH];
    struct history h = {.seed = seed, .n = n, .at = calloc(n + 1, sizeof *h.at)};
    assert_non_null(h.at);
    fixture_dir(dir);
    struct store_options o = fixture_options(dir);
    o.cache_bytes = 64 << 20;
    struct store *s = fixture_open(&o);
    history_note(&h, s);
    for (uint64_t i = 1; i <= n; i++) {
        entries_apply(s, seed, i);
        history_note(&h, s);
    }
    store_abandon(s);
    fixture_remove_dir(dir);
    return h;
}

static inline void history_release(struct history *h)
{
    free(h->at);
}

/* The store stands exactly where the history stood after the entry it has applied last. */
static inline void assert_in_history(const struct history *h, const struct store *s)
{
    uint64_t i = store_applied(s);
    assert_true(i <= h->n);
    assert_int_equal(store_revision(s), h->at[i].revision);
    assert_int_equal(store_keys(s), h->at[i].keys);
    assert_int_equal(store_keys_with_ttl(s), h->at[i].with_ttl);
    assert_true(store_hash(s) == h->at[i].hash);
}

/* The rows in the file of dir add up to what its meta says; returns the applied index of the file. */
static inline uint64_t assert_file_whole(const char *dir)
{
    char dest[FIXTURE_PATH], error[256] = "";
    struct snapshot_info made, checked;
    fixture_path(dest, dir, "whole.db");
    int rc = snapshot_make(dir, dest, error, &made);
    if (rc == 0)
        rc = snapshot_check(dest, fixture_cluster, error, &checked);
    if (rc != 0)
        fail_msg("the file is not whole: %d: %s", rc, error);
    assert_int_equal(made.applied, checked.applied);
    unlink(dest);
    return checked.applied;
}
