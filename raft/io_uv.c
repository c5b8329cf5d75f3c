/* io_uv.c - how production does what io.h promises.
 *
 *   submit --> lane's queue --> lane's thread: run() --> finished queue --> uv_async --> loop: done()
 *
 * One mutex guards every queue: a job costs two short visits to it, next to a disk write of its own.
 * Failure: a file call that fails says so in io->error and returns; nothing here retries or decides. */
#include "raft/io_uv.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOCK_NAME "lock"
#define PWRITEV_MAX 1024 /* IOV_MAX of Linux. */

struct queue {
    struct io_job *head, **tail;
};

struct lane {
    struct io_uv *io;
    struct queue queue;
    pthread_cond_t wake;
    pthread_t thread;
    bool running;
};

struct io_uv {
    struct io io;
    uv_loop_t *loop;
    struct links *links;
    void (*on_timer)(struct replica *replica);
    int directory, lock;                            /* File descriptors, or -1. */
    atomic_uint_least64_t calls_begun, calls_ended; /* Writes and syncs. */

    pthread_mutex_t mutex; /* Guards the queues and stopping. */
    struct lane lanes[IO_LANES];
    struct queue finished;
    bool stopping;

    uv_async_t async;
    uv_timer_t timer;
    int handles; /* Not yet closed. */
};

struct io_file {
    struct io_uv *io;
    int fd;
    char name[64];
};

#define io_uv_of(i) ((struct io_uv *)((char *)(i)-offsetof(struct io_uv, io)))

/* ---- Errors ---- */

static int io_from_errno(int e)
{
    switch (e) {
    case ENOMEM:
        return IO_ENOMEM;
    case ENOENT:
        return IO_ENOENT;
    case ENOSPC:
    case EDQUOT:
        return IO_ENOSPC;
    case EEXIST:
        return IO_EEXIST;
    default:
        return IO_EIO;
    }
}

/* Note errno's words about a name, and translate it. */
static int failed(struct io *io, const char *what, const char *name)
{
    int e = errno;
    char words[80];
    snprintf(io->error, sizeof io->error, "%s %.60s: %s", what, name, strerror_r(e, words, sizeof words));
    return io_from_errno(e);
}

/* ---- Files ---- */

static int file_open(struct io *io, const char *name, int flags, struct io_file **ret)
{
    assert(strchr(name, '/') == NULL);
    int how = O_CLOEXEC | O_NOFOLLOW | ((flags & IO_WRITE) != 0 ? O_RDWR : O_RDONLY);
    how |= (flags & IO_CREATE) != 0 ? O_CREAT | O_EXCL : 0;
    how |= (flags & IO_TRUNCATE) != 0 ? O_TRUNC : 0;
    struct io_file *f = malloc(sizeof *f);
    if (f == NULL) {
        errno = ENOMEM;
        return failed(io, "open", name);
    }
    f->io = io_uv_of(io);
    snprintf(f->name, sizeof f->name, "%s", name);
    f->fd = openat(f->io->directory, name, how, 0600);
    if (f->fd < 0) {
        free(f);
        return failed(io, "open", name);
    }
    *ret = f;
    return 0;
}

static void file_close(struct io_file *f)
{
    close(f->fd);
    free(f);
}

static long file_pread(struct io_file *f, void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(f->fd, (char *)buf + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(&f->io->io, "read", f->name);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (long)done;
}

/* After a partial write: drop what is written from the front; `first` is a changed copy of the vector in front. */
static void advance(const struct iovec **iov, int *n, struct iovec *first, size_t written)
{
    while (*n > 0 && written >= first->iov_len) {
        written -= first->iov_len;
        (*iov)++;
        if (--*n > 0)
            *first = **iov;
    }
    first->iov_base = (char *)first->iov_base + written;
    first->iov_len -= written;
}

/* Write the rest of one vector that was cut by a partial write. */
static int write_rest(struct io_file *f, struct iovec rest, uint64_t *offset)
{
    while (rest.iov_len > 0) {
        ssize_t n = pwrite(f->fd, rest.iov_base, rest.iov_len, (off_t)*offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -1 : (errno = EIO, -1);
        rest.iov_base = (char *)rest.iov_base + n;
        rest.iov_len -= (size_t)n;
        *offset += (uint64_t)n;
    }
    return 0;
}

static int write_all(struct io_file *f, const struct iovec *iov, int n, uint64_t offset)
{
    while (n > 0) {
        ssize_t written = pwritev(f->fd, iov, n < PWRITEV_MAX ? n : PWRITEV_MAX, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return failed(&f->io->io, "write", f->name);
        struct iovec first = *iov;
        offset += (uint64_t)written;
        advance(&iov, &n, &first, (size_t)written);
        if (n > 0 && first.iov_len < iov->iov_len) {
            if (write_rest(f, first, &offset) != 0)
                return failed(&f->io->io, "write", f->name);
            iov++;
            n--;
        }
    }
    return 0;
}

static int file_pwritev(struct io_file *f, const struct iovec *iov, int n, uint64_t offset)
{
    atomic_fetch_add(&f->io->calls_begun, 1);
    int rc = write_all(f, iov, n, offset);
    atomic_fetch_add(&f->io->calls_ended, 1);
    return rc;
}

static int file_sync(struct io_file *f)
{
    atomic_fetch_add(&f->io->calls_begun, 1);
    int rc = fdatasync(f->fd);
    atomic_fetch_add(&f->io->calls_ended, 1);
    return rc == 0 ? 0 : failed(&f->io->io, "sync", f->name);
}

void io_uv_calls(const struct io *io, uint64_t *ret_begun, uint64_t *ret_ended)
{
    const struct io_uv *u = io_uv_of(io);
    *ret_ended = atomic_load(&u->calls_ended); /* First: it is never more than what has begun. */
    *ret_begun = atomic_load(&u->calls_begun);
}

static int file_size(struct io_file *f, uint64_t *ret)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return failed(&f->io->io, "stat", f->name);
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int file_allocate(struct io_file *f, uint64_t len)
{
    int rc;
    do {
        rc = posix_fallocate(f->fd, 0, (off_t)len);
    } while (rc == EINTR);
    errno = rc;
    return rc == 0 ? 0 : failed(&f->io->io, "reserve space for", f->name);
}

static int dir_rename(struct io *io, const char *from, const char *to)
{
    int d = io_uv_of(io)->directory;
    return renameat(d, from, d, to) == 0 ? 0 : failed(io, "rename", from);
}

static int dir_unlink(struct io *io, const char *name)
{
    return unlinkat(io_uv_of(io)->directory, name, 0) == 0 ? 0 : failed(io, "remove", name);
}

static int dir_list(struct io *io, void (*each)(void *ctx, const char *name), void *ctx)
{
    int fd = openat(io_uv_of(io)->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int rc = failed(io, "list", "the directory");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    errno = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL; errno = 0)
        each(ctx, e->d_name);
    int rc = errno != 0 ? failed(io, "list", "the directory") : 0;
    closedir(dir);
    return rc;
}

static int dir_sync(struct io *io)
{
    return fsync(io_uv_of(io)->directory) == 0 ? 0 : failed(io, "sync", "the directory");
}

static int dir_space(struct io *io, uint64_t *ret_free)
{
    struct statvfs fs;
    if (fstatvfs(io_uv_of(io)->directory, &fs) != 0)
        return failed(io, "ask for the free space of", "the directory");
    *ret_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}

/* ---- Lanes ---- */

static void queue_init(struct queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

static void queue_push(struct queue *q, struct io_job *job)
{
    job->next = NULL;
    *q->tail = job;
    q->tail = &job->next;
}

static struct io_job *queue_pop(struct queue *q)
{
    struct io_job *job = q->head;
    if (job != NULL)
        q->head = job->next;
    if (q->head == NULL)
        q->tail = &q->head;
    return job;
}

/* The next job, or NULL when the lane is to end and none is left. */
static struct io_job *lane_wait(struct lane *lane)
{
    struct io_uv *io = lane->io;
    pthread_mutex_lock(&io->mutex);
    struct io_job *job;
    while ((job = queue_pop(&lane->queue)) == NULL && !io->stopping)
        pthread_cond_wait(&lane->wake, &io->mutex);
    pthread_mutex_unlock(&io->mutex);
    return job;
}

static void *lane_work(void *arg)
{
    struct lane *lane = arg;
    struct io_job *job;
    while ((job = lane_wait(lane)) != NULL) {
        job->run(job);
        pthread_mutex_lock(&lane->io->mutex);
        queue_push(&lane->io->finished, job);
        pthread_mutex_unlock(&lane->io->mutex);
        uv_async_send(&lane->io->async);
    }
    return NULL;
}

static void lane_submit(struct io *io, enum io_lane which, struct io_job *job)
{
    struct io_uv *u = io_uv_of(io);
    struct lane *lane = &u->lanes[which];
    pthread_mutex_lock(&u->mutex);
    assert(!u->stopping);
    queue_push(&lane->queue, job);
    pthread_cond_signal(&lane->wake);
    pthread_mutex_unlock(&u->mutex);
}

/* Call done() of what is finished now; what they submit comes another time. */
static void deliver(struct io_uv *u)
{
    pthread_mutex_lock(&u->mutex);
    struct io_job *job = u->finished.head;
    queue_init(&u->finished);
    pthread_mutex_unlock(&u->mutex);
    while (job != NULL) {
        struct io_job *next = job->next; /* done() may free it. */
        job->done(job);
        job = next;
    }
}

static void on_async(uv_async_t *async)
{
    deliver(async->data);
}

/* ---- Clock, chance, timer ---- */

static uint64_t clock_now_us(struct io *io)
{
    (void)io;
    return uv_hrtime() / 1000;
}

static uint64_t clock_now_ms(struct io *io)
{
    (void)io;
    return uv_hrtime() / 1000000;
}

static uint64_t chance(struct io *io)
{
    (void)io;
    uint64_t v = 0;
    while (getrandom(&v, sizeof v, 0) != (ssize_t)sizeof v) /* Fails only when interrupted before the pool is ready. */
        continue;
    return v;
}

static void on_timeout(uv_timer_t *timer)
{
    struct io_uv *u = timer->data;
    u->on_timer(u->io.replica);
}

static void timer_set(struct io *io, uint64_t at_ms)
{
    struct io_uv *u = io_uv_of(io);
    uint64_t now_ms = uv_now(u->loop); /* What libuv counts from. */
    uv_timer_start(&u->timer, on_timeout, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

/* ---- Links ---- */

static void link_send(struct io *io, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                      const struct io_slice *slices, size_t n)
{
    if (io_uv_of(io)->links != NULL)
        links_send(io_uv_of(io)->links, peer, kind, head, head_len, slices, n);
}

static void link_peer(struct io *io, uint64_t peer, const char *address)
{
    if (io_uv_of(io)->links != NULL)
        links_peer(io_uv_of(io)->links, peer, address);
}

static size_t link_backlog(struct io *io, uint64_t peer)
{
    return io_uv_of(io)->links != NULL ? links_backlog(io_uv_of(io)->links, peer) : SIZE_MAX;
}

static const struct io_ops io_uv_ops = {
    .open = file_open,
    .close = file_close,
    .pread = file_pread,
    .pwritev = file_pwritev,
    .sync = file_sync,
    .size = file_size,
    .allocate = file_allocate,
    .rename = dir_rename,
    .unlink = dir_unlink,
    .list = dir_list,
    .sync_dir = dir_sync,
    .space = dir_space,
    .submit = lane_submit,
    .now_ms = clock_now_ms,
    .now_us = clock_now_us,
    .random = chance,
    .timer = timer_set,
    .send = link_send,
    .peer = link_peer,
    .backlog = link_backlog,
};

/* ---- Opening and closing ---- */

static int refuse(int rc, char error[256], const char *what, const char *directory)
{
    char words[80];
    snprintf(error, 256, "%s %s: %s", what, directory, strerror_r(errno, words, sizeof words));
    return rc;
}

static int open_directory(struct io_uv *u, const char *directory, char error[256])
{
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return refuse(IO_UV_EIO, error, "cannot make the directory", directory);
    u->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->directory < 0)
        return refuse(IO_UV_EIO, error, "cannot open the directory", directory);
    u->lock = openat(u->directory, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (u->lock < 0)
        return refuse(IO_UV_EIO, error, "cannot open the file " LOCK_NAME " in", directory);
    if (flock(u->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return refuse(IO_UV_EIO, error, "cannot lock the directory", directory);
    snprintf(error, 256, "another process uses the directory %s", directory);
    return IO_UV_EBUSY;
}

static int start_lanes(struct io_uv *u, char error[256])
{
    for (int i = 0; i < IO_LANES; i++) {
        errno = pthread_create(&u->lanes[i].thread, NULL, lane_work, &u->lanes[i]);
        if (errno != 0)
            return refuse(IO_UV_EIO, error, "cannot start a thread for", "the log");
        u->lanes[i].running = true;
    }
    return 0;
}

/* Let the lanes run what they have, and wait for them. */
static void stop_lanes(struct io_uv *u)
{
    pthread_mutex_lock(&u->mutex);
    u->stopping = true;
    for (int i = 0; i < IO_LANES; i++)
        pthread_cond_signal(&u->lanes[i].wake);
    pthread_mutex_unlock(&u->mutex);
    for (int i = 0; i < IO_LANES; i++)
        if (u->lanes[i].running)
            pthread_join(u->lanes[i].thread, NULL);
}

static void destroy(struct io_uv *u)
{
    for (int i = 0; i < IO_LANES; i++)
        pthread_cond_destroy(&u->lanes[i].wake);
    pthread_mutex_destroy(&u->mutex);
    if (u->lock >= 0)
        close(u->lock);
    if (u->directory >= 0)
        close(u->directory);
    free(u);
}

static void handle_closed(uv_handle_t *handle)
{
    struct io_uv *u = handle->data;
    if (--u->handles == 0)
        destroy(u);
}

static void close_handles(struct io_uv *u)
{
    uv_close((uv_handle_t *)&u->async, handle_closed);
    uv_close((uv_handle_t *)&u->timer, handle_closed);
}

static struct io_uv *new_io_uv(const struct io_uv_options *options)
{
    struct io_uv *u = calloc(1, sizeof *u);
    if (u == NULL)
        return NULL;
    u->io.ops = &io_uv_ops;
    u->loop = options->loop;
    u->links = options->links;
    u->on_timer = options->on_timer;
    u->directory = u->lock = -1;
    pthread_mutex_init(&u->mutex, NULL);
    queue_init(&u->finished);
    for (int i = 0; i < IO_LANES; i++) {
        u->lanes[i].io = u;
        queue_init(&u->lanes[i].queue);
        pthread_cond_init(&u->lanes[i].wake, NULL);
    }
    return u;
}

int io_uv_open(const struct io_uv_options *options, char error[256], struct io **ret)
{
    struct io_uv *u = new_io_uv(options);
    if (u == NULL) {
        snprintf(error, 256, "out of memory");
        return IO_UV_ENOMEM;
    }
    int rc = open_directory(u, options->directory, error);
    if (rc == 0 && uv_async_init(u->loop, &u->async, on_async) != 0)
        rc = refuse(IO_UV_EIO, error, "cannot make a wake-up for", "the log");
    if (rc != 0) {
        destroy(u);
        return rc;
    }
    uv_timer_init(u->loop, &u->timer); /* Never fails. */
    u->async.data = u->timer.data = u;
    u->handles = 2;
    rc = start_lanes(u, error);
    if (rc != 0) {
        stop_lanes(u);
        close_handles(u);
        return rc;
    }
    *ret = &u->io;
    return 0;
}

void io_uv_set_links(struct io *io, struct links *links)
{
    io_uv_of(io)->links = links;
}

void io_uv_close(struct io *io)
{
    if (io == NULL)
        return;
    struct io_uv *u = io_uv_of(io);
    stop_lanes(u);
    deliver(u);
    uv_timer_stop(&u->timer);
    close(u->lock); /* Now, not when the loop gets to it: the directory is free again. */
    u->lock = -1;
    close_handles(u);
}
