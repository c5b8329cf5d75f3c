/* test_store_recovery.c - whenever the process or the power goes, the file is some whole earlier state, and the log
 * replays the rest. SQLite's writes are watched through its own hook for system calls, its syncs by standing in front
 * of fdatasync(). */
#include "tests/support/store_fixture.h"
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ENTRIES 600
#define KILLS 60
#define POWER_LOSSES 30
#define FAILURES 80
#define BLOCK 512 /* What a disk writes whole. */

static const char *const parts[] = {STORE_FILE, STORE_FILE "-wal"};
#define PARTS (sizeof parts / sizeof parts[0])

/* ---- watching writes and syncs ---- */

typedef ssize_t (*write_fn)(int fd, const void *base, size_t len, off_t at);

static struct {
    write_fn write;
    void (*on_write)(int fd, const void *base, size_t len, off_t at); /* NULL: nobody looks. */
    void (*on_sync)(int fd);
    long writes_left;
    long fails_in; /* This write or sync and all after it fail; 0: none. */
} watch;

static bool disk_fails(void)
{
    if (watch.fails_in == 0)
        return false;
    if (__atomic_load_n(&watch.fails_in, __ATOMIC_SEQ_CST) > 1)
        return __atomic_sub_fetch(&watch.fails_in, 1, __ATOMIC_SEQ_CST) == 1;
    return true;
}

static ssize_t watched_write(int fd, const void *base, size_t len, off_t at)
{
    if (watch.on_write != NULL)
        watch.on_write(fd, base, len, at);
    if (disk_fails()) {
        errno = ENOSPC;
        return -1;
    }
    return watch.write(fd, base, len, at);
}

int fdatasync(int fd)
{
    if (disk_fails()) {
        errno = EIO;
        return -1;
    }
    int rc = (int)syscall(SYS_fdatasync, fd);
    if (rc == 0 && watch.on_sync != NULL)
        watch.on_sync(fd);
    return rc;
}

int fsync(int fd)
{
    if (disk_fails()) {
        errno = EIO;
        return -1;
    }
    int rc = (int)syscall(SYS_fsync, fd);
    if (rc == 0 && watch.on_sync != NULL)
        watch.on_sync(fd);
    return rc;
}

static int watch_writes(void **state)
{
    (void)state;
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    const char *name = vfs->xGetSystemCall(vfs, "pwrite64") != NULL ? "pwrite64" : "pwrite";
    watch.write = (write_fn)vfs->xGetSystemCall(vfs, name);
    return vfs->xSetSystemCall(vfs, name, (sqlite3_syscall_ptr)watched_write) == SQLITE_OK ? 0 : -1;
}

/* ---- kill -9 ---- */

/* Half of the write reaches the file, then the process is gone. */
static void die_in_a_write(int fd, const void *base, size_t len, off_t at)
{
    if (__atomic_sub_fetch(&watch.writes_left, 1, __ATOMIC_SEQ_CST) != 0)
        return;
    (void)!watch.write(fd, base, len / 2, at);
    raise(SIGKILL);
}

/* Apply the log with flushes going on until this process is killed, or the log ends. */
static void live(const struct store_options *o, uint64_t seed, long writes)
{
    char error[256];
    struct store *s;
    watch.writes_left = writes;
    watch.on_write = die_in_a_write;
    if (store_open(o, error, &s) != 0)
        _exit(2);
    for (uint64_t i = store_applied(s) + 1; i <= ENTRIES; i++) {
        entries_apply(s, seed, i);
        if (i % 16 == 0)
            store_checkpoint_soon(s);
        if (store_poll(s, i) != 0)
            _exit(3);
    }
    store_close(s);
    _exit(0);
}

static bool live_once(const struct store_options *o, uint64_t seed, long writes)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        live(o, seed, writes);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return !WIFSIGNALED(status);
}

static void a_killed_process_leaves_a_whole_state(void **state)
{
    (void)state;
    struct chance c = {fixture_seed()};
    uint64_t seed = chance_next(&c), furthest = 0;
    char dir[FIXTURE_PATH];
    struct history h = history_make(seed, ENTRIES);
    fixture_dir(dir);
    struct store_options o = fixture_options(dir);
    o.cache_bytes = 32 << 10;
    o.flush_interval_ms = 1;
    o.checkpoint_bytes = 100 << 10;
    for (int i = 0; i < KILLS; i++) {
        bool done = live_once(&o, seed, 1 + (long)chance_below(&c, i % 3 == 0 ? 20 : 400));
        struct store *s = fixture_open(&o);
        assert_in_history(&h, s);
        assert_true(store_applied(s) >= furthest); /* What was committed stays, the power being on. */
        furthest = store_applied(s);
        store_abandon(s);
        assert_int_equal(assert_file_whole(dir), furthest);
        if (done)
            fixture_empty_dir(dir);
        furthest = done ? 0 : furthest;
    }
    struct store *s = fixture_open(&o);
    entries_apply(s, seed, ENTRIES);
    assert_in_history(&h, s);
    store_close(s);
    history_release(&h);
    fixture_remove_dir(dir);
}

/* ---- power loss ---- */

/* What the disk has for certain, and what had been written when the power went. */
static struct {
    char dir[FIXTURE_PATH];
    struct content synced[PARTS], written[PARTS];
    bool gone;
} disk;

static void content_replace(struct content *c, const char *path)
{
    free(c->base);
    *c = content_read(path);
}

static int part_of(int fd)
{
    char link[64], path[FIXTURE_PATH], part[FIXTURE_PATH];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    assert_true(n > 0);
    path[n] = '\0';
    for (size_t i = 0; i < PARTS; i++) {
        fixture_path(part, disk.dir, parts[i]);
        if (strcmp(path, part) == 0)
            return (int)i;
    }
    return -1;
}

static void note_sync(int fd)
{
    char path[FIXTURE_PATH];
    int i = part_of(fd);
    if (i < 0 || disk.gone)
        return;
    fixture_path(path, disk.dir, parts[i]);
    content_replace(&disk.synced[i], path);
}

static void lose_power_now(void)
{
    char path[FIXTURE_PATH];
    for (size_t i = 0; i < PARTS; i++) {
        fixture_path(path, disk.dir, parts[i]);
        content_replace(&disk.written[i], path);
    }
    disk.gone = true;
}

static void lose_power(int fd, const void *base, size_t len, off_t at)
{
    (void)base;
    (void)len;
    (void)at;
    if (!disk.gone && part_of(fd) >= 0 && --watch.writes_left == 0)
        lose_power_now();
}

enum loss {
    LOSS_ALL,    /* Nothing that was not synced is there. */
    LOSS_NONE,   /* Everything is there. */
    LOSS_BLOCKS, /* Any blocks of what was not synced are there. */
    LOSS_TAIL,   /* The WAL is cut somewhere behind its synced part. */
    LOSS_N
};

/* A part as the disk has it after the loss. */
static struct content survives(size_t part, enum loss loss, struct chance *c)
{
    const struct content *synced = &disk.synced[part], *written = &disk.written[part];
    const struct content *whole = loss == LOSS_ALL ? synced : written;
    struct content left = {.base = malloc(whole->len + 1), .len = whole->len};
    assert_non_null(left.base);
    if (whole->len > 0)
        memcpy(left.base, whole->base, whole->len);
    if (loss == LOSS_TAIL && part == 1 && whole->len > synced->len)
        left.len = synced->len + chance_below(c, whole->len - synced->len);
    for (size_t at = 0; loss == LOSS_BLOCKS && at < left.len; at += BLOCK) {
        size_t n = left.len - at < BLOCK ? left.len - at : BLOCK;
        if (chance_below(c, 2) == 0)
            continue;
        if (at + n <= synced->len)
            memcpy(left.base + at, synced->base + at, n);
        else
            memset(left.base + at, 0, n);
    }
    return left;
}

/* Open what survives a loss: some whole state, and none that is older than was promised. */
static void assert_survives(const struct history *h, enum loss loss, struct chance *c, uint64_t durable)
{
    char dir[FIXTURE_PATH], path[FIXTURE_PATH];
    fixture_dir(dir);
    for (size_t i = 0; i < PARTS; i++) {
        struct content left = survives(i, loss, c);
        fixture_path(path, dir, parts[i]);
        content_write(path, left.base, left.len);
        free(left.base);
    }
    struct store_options o = fixture_options(dir);
    struct store *s = fixture_open(&o);
    assert_in_history(h, s);
    assert_true(store_applied(s) >= durable);
    assert_int_equal(store_durable(s), store_applied(s));
    entries_apply(s, h->seed, h->n);
    assert_in_history(h, s);
    store_close(s);
    assert_int_equal(assert_file_whole(dir), h->n);
    fixture_remove_dir(dir);
}

/* Run until the power goes in the middle of some write. Returns what had been promised durable by then. */
static uint64_t run_until_loss(const struct history *h, const struct store_options *o, struct chance *c)
{
    struct store *s = fixture_open(o);
    uint64_t durable = 0;
    watch.writes_left = 1 + (long)chance_below(c, 500);
    watch.on_write = lose_power;
    while (!disk.gone && store_applied(s) < h->n) {
        uint64_t next = store_applied(s) + 1 + chance_below(c, 30);
        entries_apply(s, h->seed, next < h->n ? next : h->n);
        durable = store_durable(s);
        if (chance_below(c, 3) == 0)
            store_checkpoint_soon(s);
        assert_int_equal(store_poll(s, store_applied(s) * 100), 0);
        assert_int_equal(store_flush_now(s), 0);
    }
    watch.on_write = NULL;
    if (!disk.gone) /* The log ended first. */
        lose_power_now();
    store_abandon(s);
    return durable;
}

static void forget_disk(void)
{
    for (size_t i = 0; i < PARTS; i++) {
        free(disk.synced[i].base);
        free(disk.written[i].base);
        disk.synced[i] = disk.written[i] = (struct content){0};
    }
    disk.gone = false;
}

static void a_power_loss_leaves_a_whole_state(void **state)
{
    (void)state;
    struct chance c = {fixture_seed()};
    uint64_t promised = 0;
    struct history h = history_make(chance_next(&c), ENTRIES);
    for (int i = 0; i < POWER_LOSSES; i++) {
        fixture_dir(disk.dir);
        watch.on_sync = note_sync;
        struct store_options o = fixture_options(disk.dir);
        o.checkpoint_bytes = 200 << 10;
        uint64_t durable = run_until_loss(&h, &o, &c);
        watch.on_sync = NULL;
        for (int loss = 0; loss < LOSS_N; loss++)
            assert_survives(&h, (enum loss)loss, &c, durable);
        promised += durable;
        forget_disk();
        fixture_remove_dir(disk.dir);
    }
    assert_true(promised > 0); /* Else this test has tested nothing. */
    history_release(&h);
}

/* A WAL that was cut or damaged anywhere gives an earlier whole state. */
static void any_part_of_the_wal_is_a_whole_state(void **state)
{
    (void)state;
    struct chance c = {fixture_seed()};
    struct history h = history_make(chance_next(&c), 200);
    char dir[FIXTURE_PATH], path[FIXTURE_PATH];
    fixture_dir(dir);
    struct store_options o = fixture_options(dir);
    o.checkpoint_bytes = 64 << 20;
    o.flush_interval_ms = 1;
    struct store *s = fixture_open(&o);
    for (uint64_t i = 1; i <= 200; i++) {
        entries_apply(s, h.seed, i);
        assert_int_equal(store_poll(s, i), 0);
    }
    store_abandon(s);
    fixture_path(path, dir, parts[0]);
    struct content db = content_read(path);
    fixture_path(path, dir, parts[1]);
    struct content wal = content_read(path);
    assert_true(wal.len > 0);
    for (int i = 0; i < 100; i++) {
        bool cut = i % 2 == 0;
        size_t at = chance_below(&c, wal.len);
        fixture_empty_dir(dir);
        wal.base[at] ^= cut ? 0 : 0x20;
        content_write(path, wal.base, cut ? at : wal.len);
        wal.base[at] ^= cut ? 0 : 0x20;
        fixture_path(path, dir, parts[0]);
        content_write(path, db.base, db.len);
        s = fixture_open(&o);
        assert_in_history(&h, s);
        store_abandon(s);
        assert_file_whole(dir);
        fixture_path(path, dir, parts[1]);
    }
    free(db.base);
    free(wal.base);
    history_release(&h);
    fixture_remove_dir(dir);
}

/* A checkpoint that a reader keeps from finishing is durable all the same. */
static void a_reader_does_not_keep_the_log_from_being_cut(void **state)
{
    (void)state;
    struct chance c = {fixture_seed()};
    struct history h = history_make(chance_next(&c), 300);
    sqlite3 *reader;
    char path[FIXTURE_PATH];
    fixture_dir(disk.dir);
    watch.on_sync = note_sync;
    struct store_options o = fixture_options(disk.dir);
    o.checkpoint_bytes = 20 << 10;
    struct store *s = fixture_open(&o);
    entries_apply(s, h.seed, 100);
    assert_int_equal(store_flush_now(s), 0);
    fixture_path(path, disk.dir, parts[0]);
    assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM keys", NULL, NULL, NULL), SQLITE_OK);
    for (uint64_t i = 110; i <= 300; i += 10) {
        entries_apply(s, h.seed, i);
        assert_int_equal(store_flush_now(s), 0);
        assert_int_equal(store_durable(s), i);
    }
    lose_power_now();
    for (int loss = 0; loss < LOSS_N; loss++)
        assert_survives(&h, (enum loss)loss, &c, 300);
    watch.on_sync = NULL;
    sqlite3_close(reader);
    store_close(s);
    forget_disk();
    history_release(&h);
    fixture_remove_dir(disk.dir);
}

/* Flush now and then until the disk fails; what was promised durable before. */
static uint64_t run_until_failure(struct store *s, uint64_t seed)
{
    uint64_t durable = store_durable(s);
    for (uint64_t i = 20; i <= ENTRIES; i += 20) {
        entries_apply(s, seed, i);
        int rc = store_flush_now(s);
        if (rc != 0) {
            assert_int_equal(rc, STORE_EIO);
            assert_true(strlen(store_error(s)) > 10);
            assert_int_equal(store_durable(s), durable);
            assert_int_equal(store_poll(s, i), STORE_EIO); /* It does not try again. */
            break;
        }
        if (store_durable(s) == durable)
            break; /* No space for a checkpoint: only the log has to stay longer. */
        durable = store_durable(s);
        assert_int_equal(durable, i);
    }
    return durable;
}

/* Whichever write or sync is the first to fail, the store says so and stops, and the file keeps a whole state. */
static void a_failing_disk_stops_the_store(void **state)
{
    (void)state;
    struct chance c = {fixture_seed()};
    struct history h = history_make(chance_next(&c), ENTRIES);
    char dir[FIXTURE_PATH], error[256];
    fixture_dir(dir);
    struct store_options o = fixture_options(dir);
    for (int i = 0; i < FAILURES; i++) {
        struct store *s = NULL;
        uint64_t durable = 0;
        watch.fails_in = i < FAILURES / 2 ? 2 + i : 2 + (long)chance_below(&c, 1500);
        if (store_open(&o, error, &s) == 0)
            durable = run_until_failure(s, h.seed);
        store_close(s);
        watch.fails_in = 0;
        s = fixture_open(&o);
        assert_in_history(&h, s);
        assert_true(store_applied(s) >= durable);
        store_abandon(s);
        assert_file_whole(dir);
        fixture_empty_dir(dir);
    }
    history_release(&h);
    fixture_remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_process_leaves_a_whole_state),
        cmocka_unit_test(a_power_loss_leaves_a_whole_state),
        cmocka_unit_test(any_part_of_the_wal_is_a_whole_state),
        cmocka_unit_test(a_failing_disk_stops_the_store),
        cmocka_unit_test(a_reader_does_not_keep_the_log_from_being_cut),
    };
    return cmocka_run_group_tests(tests, watch_writes, NULL);
}
