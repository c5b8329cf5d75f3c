/* bench_log.c - how fast the log becomes durable on this disk.
 * bench_log DIRECTORY [SECONDS]: one entry at a time, then 64 at a time, then as many as memory allows. */
#include "raft/io_uv.h"
#include "raft/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_BYTES 150
#define LATENCIES_MAX (1u << 20)

struct bench {
    uv_loop_t loop;
    struct io *io;
    struct log *log;
    struct blob *payload;
    uint64_t term;
    uint64_t groups, durable;
    uint64_t appended_us; /* When the oldest entry not yet durable came. */
    uint32_t latencies_us[LATENCIES_MAX];
    size_t n_latencies;
};

static struct bench bench;

static void on_durable(void *ctx, uint64_t index, uint64_t term)
{
    (void)ctx, (void)term;
    bench.durable = index;
    bench.groups++;
    if (bench.n_latencies < LATENCIES_MAX)
        bench.latencies_us[bench.n_latencies++] = (uint32_t)(bench.io->ops->now_us(bench.io) - bench.appended_us);
}

static void on_failed(void *ctx, const char *why)
{
    (void)ctx;
    fprintf(stderr, "bench_log: %s\n", why);
    exit(1);
}

static void on_timer(struct replica *replica)
{
    (void)replica;
}

static void append(size_t n)
{
    struct log_entry e = {.term = 1, .type = LOG_COMMAND, .blob = bench.payload, .len = PAYLOAD_BYTES};
    for (size_t i = 0; i < n; i++)
        if (log_append(bench.log, log_last(bench.log) + 1, &e, 1) != 0)
            on_failed(NULL, "out of memory");
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, uint64_t entries, uint64_t us)
{
    qsort(bench.latencies_us, bench.n_latencies, sizeof *bench.latencies_us, by_size);
    size_t n = bench.n_latencies;
    printf("%-22s %8.0f entries/s %7.0f groups/s, durable after us p50 %u p99 %u max %u, sync p50 %" PRIu64 " us\n",
           what, (double)entries * 1e6 / (double)us, (double)bench.groups * 1e6 / (double)us, bench.latencies_us[n / 2],
           bench.latencies_us[n * 99 / 100], bench.latencies_us[n - 1], log_sync_us_median(bench.log));
}

/* Keep `window` entries under way for so long. */
static void run(const char *what, size_t window, double seconds)
{
    uint64_t start = bench.io->ops->now_us(bench.io), first = log_last(bench.log), us = 0;
    bench.groups = bench.n_latencies = 0;
    while (us < (uint64_t)(seconds * 1e6)) {
        bench.appended_us = bench.io->ops->now_us(bench.io);
        append(window - (size_t)(log_last(bench.log) - bench.durable));
        uint64_t groups = bench.groups;
        while (bench.groups == groups)
            uv_run(&bench.loop, UV_RUN_ONCE);
        log_applied(bench.log, bench.durable);
        log_cut(bench.log, bench.durable > 100000 ? bench.durable - 100000 : 0);
        us = bench.io->ops->now_us(bench.io) - start;
    }
    report(what, bench.durable - first, us);
}

int main(int argc, char **argv)
{
    char error[256], payload[PAYLOAD_BYTES];
    if (argc < 2) {
        fprintf(stderr, "usage: bench_log DIRECTORY [SECONDS]\n");
        return 2;
    }
    double seconds = argc > 2 ? atof(argv[2]) : 3;
    struct io_uv_options io_options = {.directory = argv[1], .loop = &bench.loop, .on_timer = on_timer};
    struct log_options options = {.cluster_id = "bench",
                                  .node_id = 1,
                                  .segment_bytes = 64 << 20,
                                  .memory_bytes = 16 << 20,
                                  .spares = 2,
                                  .on_durable = on_durable,
                                  .on_failed = on_failed};
    memset(payload, 'x', sizeof payload);
    uv_loop_init(&bench.loop);
    bench.payload = blob_copy(payload, sizeof payload);
    if (io_uv_open(&io_options, error, &bench.io) != 0 || log_open(bench.io, &options, error, &bench.log) != 0) {
        fprintf(stderr, "bench_log: %s\n", error);
        return 1;
    }
    bench.durable = log_last(bench.log);
    run("one at a time, new", 1, seconds);
    run("one at a time", 1, seconds);
    run("64 at a time", 64, seconds);
    run("20000 at a time", 20000, seconds);
    log_close(bench.log);
    io_uv_close(bench.io);
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    uv_loop_close(&bench.loop);
    blob_unref(bench.payload);
    return 0;
}
