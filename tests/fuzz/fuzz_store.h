/* fuzz_store.h - a store of its own for each input, in memory as far as the kernel allows, and what must be true of it
 * whatever was applied. */
#pragma once
#include "store/store.h"
#include "tests/fuzz/fuzz.h"
#include <unistd.h>

static const uint8_t fuzz_cluster[STORE_CLUSTER_ID_BYTES] = "fuzz";

/* One folder for the life of the process, in memory where there is /dev/shm; removed at its end. */
static inline char *fuzz_dir_path(void)
{
    static char path[64];
    return path;
}

static inline void fuzz_dir_empty(void)
{
    static const char *const names[] = {STORE_FILE, STORE_FILE "-wal", STORE_FILE "-shm", STORE_INCOMING, "made.db"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", fuzz_dir_path(), names[i]);
        unlink(path);
    }
}

static inline void fuzz_dir_remove(void)
{
    fuzz_dir_empty();
    rmdir(fuzz_dir_path());
}

static inline const char *fuzz_dir(void)
{
    char *path = fuzz_dir_path();
    if (*path == '\0') {
        snprintf(path, 64, "%s/holdfast_fuzz_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        fuzz_must(mkdtemp(path) != NULL, "a folder can be made");
        atexit(fuzz_dir_remove);
    }
    return path;
}

static inline const char *fuzz_file(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name);
    return path;
}

/* host: NULL, or what scripts are told. */
static inline struct store *fuzz_store_open(size_t cache_bytes, const struct script_host *host)
{
    struct store_options o = {.dir = fuzz_dir(),
                              .cluster_id = fuzz_cluster,
                              .cache_bytes = cache_bytes,
                              .flush_rows = 1000,
                              .script_host = host,
                              .checkpoint_bytes = 1 << 20};
    struct store *s = NULL;
    char error[256];
    int rc = store_open(&o, error, &s);
    if (rc != 0)
        fprintf(stderr, "%d: %s\n", rc, error);
    fuzz_must(rc == 0, "a store opens");
    return s;
}

/* What is on disk after a flush adds up, row by row, to what was counted on the way. */
static inline void fuzz_store_check(struct store *s)
{
    struct snapshot_info info;
    char error[256] = "";
    fuzz_must(store_flush_now(s) == 0, "a flush succeeds");
    int rc = snapshot_check(fuzz_file(STORE_FILE), fuzz_cluster, error, &info);
    if (rc != 0)
        fprintf(stderr, "%d: %s\n", rc, error);
    fuzz_must(rc == 0, "the file adds up to its state hash");
    fuzz_must(info.applied == store_applied(s) && info.hash == store_hash(s) && info.revision == store_revision(s),
              "and is the state in memory");
}

/* Exactly so many whole outcomes. */
static inline void fuzz_outcomes_check(const struct outcome_buf *b, uint32_t n)
{
    size_t at = 0;
    fuzz_must(!b->failed, "memory suffices");
    for (uint32_t i = 0; i < n; i++) {
        size_t span = outcome_span(b->base + at, b->len - at);
        fuzz_must(span > 0, "each command answers one whole value");
        at += span;
    }
    fuzz_must(at == b->len, "and nothing else");
}
