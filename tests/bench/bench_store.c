/* bench_store.c - what one command costs in store_apply(), flushes going on beside it.
 * usage: bench_store [commands] [keys] [cache MiB] ; prints one line a workload. */
#include "store/store.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

struct bench {
    struct store *store;
    struct command_buf batch;
    struct outcome_buf out;
    uint64_t index, stall_ns;
    size_t keys;
    unsigned rng;
};

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %d\n", what, rc);
    exit(1);
}

static void add_set(struct bench *b, const char *key)
{
    static const char value[] = "0123456789abcdef0123456789abcdef";
    struct bytes args[2] = {{(const uint8_t *)key, strlen(key)}, {(const uint8_t *)value, sizeof value - 1}};
    command_add(&b->batch, OP_SET, 0, NULL, 0, args, 2);
}

static void add_incr(struct bench *b, const char *key)
{
    int64_t one = 1;
    struct bytes arg = {(const uint8_t *)key, strlen(key)};
    command_add(&b->batch, OP_INCRBY, 0, &one, 1, &arg, 1);
}

/* Returns nanoseconds spent in apply and poll; encoding is not counted. */
static uint64_t run(struct bench *b, const char *name, size_t n, void (*add)(struct bench *b, const char *key), int hot)
{
    uint64_t spent = 0, longest = 0, cpu = 0;
    enum store_applied applied;
    for (size_t i = 0; i < n; i += BATCH) {
        b->batch.len = b->out.len = 0;
        batch_begin(&b->batch, 0, 0, 0);
        for (int c = 0; c < BATCH; c++) {
            char key[32];
            snprintf(key, sizeof key, "key:%08zu", hot ? 0 : (size_t)rand_r(&b->rng) % b->keys);
            add(b, key);
        }
        batch_set_count(b->batch.base, BATCH);
        uint64_t began = now_ns(), cpu_began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        b->index++;
        must(store_apply(b->store, b->index, 1, b->batch.base, b->batch.len, &b->out, &applied), "apply");
        must(store_poll(b->store, began / 1000000), "poll");
        uint64_t took = now_ns() - began;
        spent += took;
        cpu += clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_began;
        longest = took > longest ? took : longest;
    }
    printf("%-28s %8.1f ns/command (%.1f of CPU)  longest batch %8.1f us  keys %" PRIu64 "  cache %zu MiB\n", name,
           (double)spent / (double)n, (double)cpu / (double)n, (double)longest / 1000, store_keys(b->store),
           store_cache_bytes(b->store) >> 20);
    return spent;
}

int main(int argc, char **argv)
{
    static const uint8_t cluster[STORE_CLUSTER_ID_BYTES] = "bench";
    char dir[] = "/tmp/bench_store_XXXXXX", error[256] = "", command[300];
    size_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 4000000;
    struct bench b = {.keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000, .rng = 1};
    struct store_options o = {.dir = mkdtemp(dir),
                              .cluster_id = cluster,
                              .cache_bytes = (argc > 3 ? strtoull(argv[3], NULL, 10) : 256) << 20,
                              .flush_interval_ms = 200,
                              .flush_rows = 100000,
                              .checkpoint_bytes = 16 << 20};
    must(store_open(&o, error, &b.store), error);
    run(&b, "SET random keys, cold", n, add_set, 0);
    run(&b, "SET random keys, warm", n, add_set, 0);
    run(&b, "INCR one key", n, add_incr, 1);
    uint64_t began = now_ns();
    must(store_flush_now(b.store), "flush");
    printf("%-28s %8.1f ms  file %" PRIu64 " MiB\n", "last flush", (double)(now_ns() - began) / 1e6,
           store_file_bytes(b.store) >> 20);
    store_close(b.store);
    began = now_ns();
    must(store_open(&o, error, &b.store), error);
    printf("%-28s %8.1f ms  keys %" PRIu64 "\n", "open again", (double)(now_ns() - began) / 1e6, store_keys(b.store));
    store_close(b.store);
    command_buf_release(&b.batch);
    outcome_buf_release(&b.out);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) == 0 ? 0 : 1;
}
