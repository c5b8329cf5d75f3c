/* test_raft_io_uv.c - real files, real threads, and the log on top of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "raft/io_uv.h"
#include "raft/log.h"
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    uv_loop_t loop;
    char directory[64];
    struct io *io;
    unsigned timeouts;
};

static struct fixture *timer_fixture;

static void on_timer(struct replica *replica)
{
    (void)replica;
    timer_fixture->timeouts++;
    uv_stop(&timer_fixture->loop);
}

static int open_io(struct fixture *f, struct io **ret, char error[256])
{
    struct io_uv_options options = {.directory = f->directory, .loop = &f->loop, .on_timer = on_timer};
    return io_uv_open(&options, error, ret);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char error[256];
    snprintf(f->directory, sizeof f->directory, "/tmp/test_raft_io_uv.XXXXXX");
    if (mkdtemp(f->directory) == NULL || uv_loop_init(&f->loop) != 0 || open_io(f, &f->io, error) != 0)
        return -1;
    timer_fixture = f;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    io_uv_close(f->io);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    int busy = uv_loop_close(&f->loop);
    DIR *dir = opendir(f->directory);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(f->directory);
    free(f);
    return busy;
}

/* ---- Files ---- */

static void files(void **state)
{
    struct fixture *f = *state;
    const struct io_ops *ops = f->io->ops;
    struct io_file *file;
    char buf[32] = {0};
    uint64_t size = 0;
    assert_int_equal(ops->open(f->io, "a", IO_READ, &file), IO_ENOENT);
    assert_non_null(strstr(f->io->error, "open a: No such file"));
    assert_int_equal(ops->open(f->io, "a", IO_READ | IO_WRITE | IO_CREATE, &file), 0);
    struct iovec iov[3] = {{"hello", 5}, {NULL, 0}, {" world", 6}};
    assert_int_equal(ops->pwritev(file, iov, 3, 4), 0);
    assert_int_equal(ops->sync(file), 0);
    assert_int_equal(ops->size(file, &size), 0);
    assert_int_equal(size, 15);
    assert_int_equal(ops->pread(file, buf, sizeof buf, 4), 11); /* Short, at the end of the file. */
    assert_string_equal(buf, "hello world");
    assert_int_equal(ops->pread(file, buf, sizeof buf, 100), 0);
    assert_int_equal(ops->allocate(file, 9000), 0);
    assert_int_equal(ops->size(file, &size), 0);
    assert_int_equal(size, 9000);
    ops->close(file);
    assert_int_equal(ops->open(f->io, "a", IO_WRITE | IO_CREATE, &file), IO_EEXIST);
    assert_int_equal(ops->rename(f->io, "a", "b"), 0);
    assert_int_equal(ops->rename(f->io, "a", "b"), IO_ENOENT);
    assert_int_equal(ops->sync_dir(f->io), 0);
    assert_int_equal(ops->open(f->io, "b", IO_READ | IO_WRITE | IO_TRUNCATE, &file), 0);
    assert_int_equal(ops->size(file, &size), 0);
    assert_int_equal(size, 0);
    ops->close(file);
    assert_int_equal(ops->unlink(f->io, "b"), 0);
    assert_int_equal(ops->unlink(f->io, "b"), IO_ENOENT);
}

/* More pieces than one system call takes. */
static void many_pieces(void **state)
{
    struct fixture *f = *state;
    struct io_file *file;
    enum { PIECES = 3000, PIECE = 7 };
    char bytes[PIECES * PIECE], back[sizeof bytes];
    struct iovec iov[PIECES];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31);
    for (size_t i = 0; i < PIECES; i++)
        iov[i] = (struct iovec){bytes + i * PIECE, PIECE};
    assert_int_equal(f->io->ops->open(f->io, "many", IO_READ | IO_WRITE | IO_CREATE, &file), 0);
    assert_int_equal(f->io->ops->pwritev(file, iov, PIECES, 10), 0);
    assert_int_equal(f->io->ops->pread(file, back, sizeof back, 10), sizeof back);
    assert_memory_equal(bytes, back, sizeof back);
    f->io->ops->close(file);
}

/* The kernel takes a part and then refuses: an error, whose beginning is written. */
static void short_write(void **state)
{
    struct fixture *f = *state;
    struct io_file *file;
    struct rlimit before, limit;
    char bytes[4000], back[4000];
    memset(bytes, 'x', sizeof bytes);
    struct iovec iov[4] = {{bytes, 1000}, {bytes, 1000}, {bytes, 1000}, {bytes, 1000}};
    assert_int_equal(f->io->ops->open(f->io, "short", IO_READ | IO_WRITE | IO_CREATE, &file), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){2500, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int rc = f->io->ops->pwritev(file, iov, 4, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, IO_EIO);
    assert_non_null(strstr(f->io->error, "write short: File too large"));
    assert_int_equal(f->io->ops->pread(file, back, sizeof back, 0), 2500);
    f->io->ops->close(file);
}

static void names(void *ctx, const char *name)
{
    unsigned *seen = ctx;
    *seen |= strcmp(name, "one") == 0 ? 1 : strcmp(name, "two") == 0 ? 2 : 0;
}

static void listing(void **state)
{
    struct fixture *f = *state;
    struct io_file *file;
    assert_int_equal(f->io->ops->open(f->io, "one", IO_WRITE | IO_CREATE, &file), 0);
    f->io->ops->close(file);
    assert_int_equal(f->io->ops->open(f->io, "two", IO_WRITE | IO_CREATE, &file), 0);
    f->io->ops->close(file);
    for (int again = 0; again < 2; again++) {
        unsigned seen = 0;
        assert_int_equal(f->io->ops->list(f->io, names, &seen), 0);
        assert_int_equal(seen, 3);
    }
}

/* ---- The directory belongs to one ---- */

static void one_user(void **state)
{
    struct fixture *f = *state;
    struct io *second = NULL;
    char error[256];
    assert_int_equal(open_io(f, &second, error), IO_UV_EBUSY);
    assert_non_null(strstr(error, "another process uses the directory /tmp/"));
    io_uv_close(f->io);
    assert_int_equal(open_io(f, &f->io, error), 0);
}

static void no_directory(void **state)
{
    struct fixture *f = *state;
    struct io_uv_options options = {.directory = "/nowhere/at/all", .loop = &f->loop, .on_timer = on_timer};
    struct io *none = NULL;
    char error[256];
    assert_int_equal(io_uv_open(&options, error, &none), IO_UV_EIO);
    assert_non_null(strstr(error, "/nowhere/at/all: No such file"));
    assert_null(none);
}

/* ---- Jobs, clock, timer ---- */

#define JOBS 1000

struct counted_job {
    struct io_job job;
    unsigned ran, order;
    pthread_t thread;
    bool done;
};

static struct counted_job jobs[IO_LANES][JOBS];
static unsigned next_order[IO_LANES], n_done;

static void job_run(struct io_job *job)
{
    struct counted_job *c = (struct counted_job *)job;
    unsigned lane = c < jobs[1] ? 0 : 1;
    c->thread = pthread_self();
    c->ran++;
    c->order = next_order[lane]++; /* One thread a lane. */
}

static void job_done(struct io_job *job)
{
    struct counted_job *c = (struct counted_job *)job;
    c->done = true;
    n_done++;
}

static void jobs_run_in_order(void **state)
{
    struct fixture *f = *state;
    memset(jobs, 0, sizeof jobs);
    n_done = 0;
    for (unsigned i = 0; i < JOBS; i++)
        for (int lane = 0; lane < IO_LANES; lane++) {
            jobs[lane][i].job = (struct io_job){.run = job_run, .done = job_done};
            f->io->ops->submit(f->io, (enum io_lane)lane, &jobs[lane][i].job);
        }
    while (n_done < IO_LANES * JOBS)
        uv_run(&f->loop, UV_RUN_ONCE);
    for (int lane = 0; lane < IO_LANES; lane++)
        for (unsigned i = 0; i < JOBS; i++) {
            assert_int_equal(jobs[lane][i].ran, 1);
            assert_int_equal(jobs[lane][i].order, i);
            assert_true(pthread_equal(jobs[lane][i].thread, jobs[lane][0].thread));
            assert_false(pthread_equal(jobs[lane][i].thread, pthread_self()));
        }
}

/* Closing runs and returns what is queued. */
static void close_returns_jobs(void **state)
{
    struct fixture *f = *state;
    char error[256];
    memset(jobs, 0, sizeof jobs);
    memset(next_order, 0, sizeof next_order);
    n_done = 0;
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[0][i].job = (struct io_job){.run = job_run, .done = job_done};
        f->io->ops->submit(f->io, IO_LANE_LOG, &jobs[0][i].job);
    }
    io_uv_close(f->io);
    assert_int_equal(n_done, JOBS);
    assert_int_equal(open_io(f, &f->io, error), 0);
}

static void clock_and_timer(void **state)
{
    struct fixture *f = *state;
    const struct io_ops *ops = f->io->ops;
    uint64_t start = ops->now_ms(f->io), us = ops->now_us(f->io);
    assert_true(us / 1000 >= start && us / 1000 < start + 1000);
    assert_true(ops->random(f->io) != ops->random(f->io));
    uv_update_time(&f->loop);
    ops->timer(f->io, start + 100000);
    ops->timer(f->io, start + 20); /* Replaces the first. */
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->timeouts, 1);
    assert_in_range(ops->now_ms(f->io), start + 19, start + 50000);
    ops->timer(f->io, 0); /* In the past: at once. */
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->timeouts, 2);
    assert_int_equal(ops->backlog(f->io, 1), SIZE_MAX); /* No links. */
    ops->send(f->io, 1, 1, "x", 1, NULL, 0);
    ops->peer(f->io, 1, "nowhere:1");
}

/* ---- The log on it ---- */

static void durable(void *ctx, uint64_t index, uint64_t term)
{
    (void)term;
    *(uint64_t *)ctx = index;
}

static void failed(void *ctx, const char *why)
{
    (void)ctx;
    fail_msg("%s", why);
}

static struct log *open_log(struct fixture *f, uint64_t *ret_durable)
{
    struct log_options options = {.cluster_id = "cluster",
                                  .node_id = 1,
                                  .segment_bytes = 256 << 10,
                                  .spares = 2,
                                  .on_durable = durable,
                                  .on_failed = failed,
                                  .ctx = ret_durable};
    struct log *l = NULL;
    char error[256] = "";
    int rc = log_open(f->io, &options, error, &l);
    assert_string_equal(error, "");
    assert_int_equal(rc, 0);
    return l;
}

static void append(struct log *l, size_t n)
{
    char payload[200];
    for (size_t i = 0; i < n; i++) {
        uint64_t index = log_last(l) + 1;
        memset(payload, (int)(index % 251), sizeof payload);
        struct blob *b = blob_copy(payload, sizeof payload);
        struct log_entry e = {.term = 1, .type = LOG_COMMAND, .blob = b, .len = b->len};
        assert_int_equal(log_append(l, index, &e, 1), 0);
        blob_unref(b);
    }
}

static void check_log(struct log *l)
{
    for (uint64_t i = log_first(l); i <= log_last(l); i++) {
        struct log_entry e;
        assert_int_equal(log_read(l, i, &e), 0);
        assert_int_equal(e.len, 200);
        assert_int_equal(e.blob->bytes[e.offset + 199], i % 251);
        blob_unref(e.blob);
    }
}

static void log_lives(void **state)
{
    struct fixture *f = *state;
    char error[256];
    uint64_t last = 0;
    for (unsigned life = 1; life <= 4; life++) {
        uint64_t reported = 0;
        struct log *l = open_log(f, &reported);
        assert_int_equal(log_start(l), life);
        assert_int_equal(log_last(l), last);
        check_log(l);
        for (int round = 0; round < 40; round++) {
            append(l, 100);
            while (reported < log_last(l))
                uv_run(&f->loop, UV_RUN_ONCE);
            log_applied(l, log_last(l));
            log_cut(l, log_last(l) > 3000 ? log_last(l) - 3000 : 0);
        }
        assert_int_equal(log_set_vote(l, life, 1), 0);
        check_log(l);
        last = log_last(l);
        append(l, life == 2 ? 50 : 0); /* Under way when it is closed: these may or may not be there. */
        log_close(l);
        io_uv_close(f->io);
        assert_int_equal(open_io(f, &f->io, error), 0);
        if (life == 2) {
            l = open_log(f, &reported);
            assert_in_range(log_last(l), last, last + 50);
            assert_int_equal(log_term(l), 2);
            last = log_last(l);
            log_close(l);
            io_uv_close(f->io);
            assert_int_equal(open_io(f, &f->io, error), 0);
            life++;
        }
    }
}

/* Killed while writing: what was reported is there. */
static void log_survives_kill(void **state)
{
    struct fixture *f = *state;
    char error[256];
    int told[2];
    io_uv_close(f->io);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(pipe(told), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uint64_t reported = 0, said = 0;
        uv_loop_fork(&f->loop);
        if (open_io(f, &f->io, error) != 0)
            _exit(1);
        struct log *l = open_log(f, &reported);
        for (;;) {
            append(l, 3);
            uv_run(&f->loop, UV_RUN_ONCE);
            if (reported > said && write(told[1], &reported, sizeof reported) == (ssize_t)sizeof reported)
                said = reported;
        }
    }
    close(told[1]);
    uint64_t promised = 0;
    while (promised < 2000)
        assert_int_equal(read(told[0], &promised, sizeof promised), sizeof promised);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    while (read(told[0], &promised, sizeof promised) == (ssize_t)sizeof promised)
        continue;
    close(told[0]);
    assert_int_equal(open_io(f, &f->io, error), 0);
    uint64_t reported = 0;
    struct log *l = open_log(f, &reported);
    assert_true(log_last(l) >= promised);
    assert_int_equal(log_start(l), 2);
    check_log(l);
    log_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files, setup, teardown),
        cmocka_unit_test_setup_teardown(many_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(short_write, setup, teardown),
        cmocka_unit_test_setup_teardown(listing, setup, teardown),
        cmocka_unit_test_setup_teardown(one_user, setup, teardown),
        cmocka_unit_test_setup_teardown(no_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(jobs_run_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(close_returns_jobs, setup, teardown),
        cmocka_unit_test_setup_teardown(clock_and_timer, setup, teardown),
        cmocka_unit_test_setup_teardown(log_lives, setup, teardown),
        cmocka_unit_test_setup_teardown(log_survives_kill, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
