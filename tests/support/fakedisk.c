/* fakedisk.c - two images of every file and of the directory: as written, and as the disk would have it.
 * A write changes the first and marks sectors dirty; a sync copies them; a crash copies a random part of them. */
#include "tests/support/fakedisk.h"
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 64
#define NAMES_MAX 4096

struct inode {
    struct inode *next;
    unsigned handles;
    bool marked;
    uint8_t *now, *kept; /* Both `capacity` bytes. */
    uint8_t *dirty;      /* One byte for each sector. */
    size_t now_len, kept_len, capacity;
    size_t cut_at; /* Cut off here since it was last synced, and perhaps written again; SIZE_MAX: was not. */
};

struct entry {
    char name[NAME_BYTES];
    struct inode *inode;
};

struct directory {
    struct entry list[NAMES_MAX];
    size_t n;
};

enum change_kind { CHANGE_LINK, CHANGE_RENAME, CHANGE_UNLINK };

struct change {
    enum change_kind kind;
    char from[NAME_BYTES], to[NAME_BYTES];
    struct inode *inode;
};

struct queue {
    struct io_job *head, **tail;
};

struct fakedisk {
    struct io io;
    uint64_t random_state, now_us, timer_at;
    struct inode *inodes;
    struct directory now, kept;
    struct change changes[NAMES_MAX];
    size_t n_changes;
    struct queue lanes[IO_LANES], finished;
    uint64_t calls, fail_at, room;
    enum fakedisk_fault fault;
    bool powered;
};

struct io_file {
    struct fakedisk *d;
    struct inode *inode;
    bool writable;
};

#define fakedisk_of(i) ((struct fakedisk *)((char *)(i)-offsetof(struct fakedisk, io)))

/* splitmix64 */
static uint64_t roll(struct fakedisk *d)
{
    uint64_t z = d->random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool coin(struct fakedisk *d)
{
    return (roll(d) >> 32 & 1) != 0;
}

static int failed(struct fakedisk *d, int rc, const char *what)
{
    const char *words = rc == IO_ENOENT   ? "no such file"
                        : rc == IO_ENOSPC ? "no space left on the disk"
                        : rc == IO_EEXIST ? "the file exists"
                                          : "input/output error";
    snprintf(d->io.error, sizeof d->io.error, "%.100s: %s", what, words);
    return rc;
}

/* ---- Inodes ---- */

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static struct inode *inode_new(struct fakedisk *d)
{
    struct inode *i = must(calloc(1, sizeof *i));
    i->cut_at = SIZE_MAX;
    i->next = d->inodes;
    d->inodes = i;
    return i;
}

static void inode_free(struct inode *i)
{
    free(i->now);
    free(i->kept);
    free(i->dirty);
    free(i);
}

static void inode_reserve(struct inode *i, size_t len)
{
    if (len <= i->capacity)
        return;
    size_t capacity = i->capacity == 0 ? 8 * FAKEDISK_SECTOR : i->capacity;
    while (capacity < len)
        capacity *= 2;
    i->now = must(realloc(i->now, capacity));
    i->kept = must(realloc(i->kept, capacity));
    i->dirty = must(realloc(i->dirty, capacity / FAKEDISK_SECTOR));
    memset(i->now + i->capacity, 0, capacity - i->capacity);
    memset(i->kept + i->capacity, 0, capacity - i->capacity);
    memset(i->dirty + i->capacity / FAKEDISK_SECTOR, 0, (capacity - i->capacity) / FAKEDISK_SECTOR);
    i->capacity = capacity;
}

/* What becomes of the dirty sectors. */
enum settle { SETTLE_KEEP, SETTLE_LOSE, SETTLE_CHANCE };

/* File systems cut a file off at once or not at all. */
static void inode_settle_cut(struct fakedisk *d, struct inode *i, enum settle how)
{
    size_t at = i->cut_at;
    i->cut_at = SIZE_MAX;
    if (at >= i->capacity || how == SETTLE_LOSE || (how == SETTLE_CHANCE && !coin(d)))
        return;
    memset(i->kept + at, 0, i->capacity - at);
    if (i->kept_len > at)
        i->kept_len = at;
}

/* The first dirty sector from *s on. */
static bool next_dirty(const struct inode *i, size_t *s)
{
    size_t n = i->capacity / FAKEDISK_SECTOR;
    const uint8_t *at = *s < n ? memchr(i->dirty + *s, 1, n - *s) : NULL;
    if (at == NULL)
        return false;
    *s = (size_t)(at - i->dirty);
    return true;
}

static void inode_settle(struct fakedisk *d, struct inode *i, enum settle how)
{
    inode_settle_cut(d, i, how);
    size_t s = 0;
    while (next_dirty(i, &s)) {
        i->dirty[s] = 0;
        if (how == SETTLE_KEEP || (how == SETTLE_CHANCE && coin(d)))
            memcpy(i->kept + s * FAKEDISK_SECTOR, i->now + s * FAKEDISK_SECTOR, FAKEDISK_SECTOR);
    }
    if (how == SETTLE_KEEP || (how == SETTLE_CHANCE && coin(d)))
        i->kept_len = i->now_len;
}

/* After a crash: what the disk kept is what there is. */
static void inode_restart(struct inode *i)
{
    if (i->capacity > 0) {
        memset(i->kept + i->kept_len, 0, i->capacity - i->kept_len);
        memcpy(i->now, i->kept, i->capacity);
        memset(i->dirty, 0, i->capacity / FAKEDISK_SECTOR);
    }
    i->cut_at = SIZE_MAX;
    i->now_len = i->kept_len;
}

static void mark(const struct directory *dir)
{
    for (size_t i = 0; i < dir->n; i++)
        dir->list[i].inode->marked = true;
}

/* Free the inodes nothing leads to any more. */
static void sweep(struct fakedisk *d)
{
    mark(&d->now);
    mark(&d->kept);
    for (size_t i = 0; i < d->n_changes; i++)
        d->changes[i].inode->marked = true;
    for (struct inode **at = &d->inodes; *at != NULL;) {
        struct inode *i = *at;
        if (!i->marked && i->handles == 0) {
            *at = i->next;
            inode_free(i);
            continue;
        }
        i->marked = false;
        at = &i->next;
    }
}

/* ---- The directory ---- */

static struct entry *find(struct directory *dir, const char *name)
{
    for (size_t i = 0; i < dir->n; i++)
        if (strcmp(dir->list[i].name, name) == 0)
            return &dir->list[i];
    return NULL;
}

static void unlink_in(struct directory *dir, const char *name, const struct inode *inode)
{
    struct entry *e = find(dir, name);
    if (e != NULL && e->inode == inode)
        *e = dir->list[--dir->n];
}

static void link_in(struct directory *dir, const char *name, struct inode *inode)
{
    struct entry *e = find(dir, name);
    if (e == NULL) {
        assert(dir->n < NAMES_MAX);
        e = &dir->list[dir->n++];
        snprintf(e->name, sizeof e->name, "%s", name);
    }
    e->inode = inode;
}

static void apply(struct directory *dir, const struct change *c)
{
    if (c->kind == CHANGE_LINK) {
        link_in(dir, c->to, c->inode);
        return;
    }
    unlink_in(dir, c->from, c->inode);
    if (c->kind == CHANGE_RENAME)
        link_in(dir, c->to, c->inode);
}

static void change(struct fakedisk *d, enum change_kind kind, const char *from, const char *to, struct inode *inode)
{
    assert(d->n_changes < NAMES_MAX);
    struct change *c = &d->changes[d->n_changes++];
    *c = (struct change){.kind = kind, .inode = inode};
    snprintf(c->from, sizeof c->from, "%s", from);
    snprintf(c->to, sizeof c->to, "%s", to);
    apply(&d->now, c);
}

static void directory_settle(struct fakedisk *d, enum settle how)
{
    for (size_t i = 0; i < d->n_changes; i++)
        if (how == SETTLE_KEEP || (how == SETTLE_CHANCE && coin(d)))
            apply(&d->kept, &d->changes[i]);
    d->n_changes = 0;
}

/* ---- Faults ---- */

enum gate { GATE_OPEN, GATE_POWER /* carry it out, then fail */, GATE_FAILED };

/* Count a call that changes something, and see whether it is to fail; *ret is then the error. */
static enum gate gate(struct fakedisk *d, bool needs_space, const char *what, int *ret)
{
    *ret = 0;
    if (!d->powered) {
        *ret = failed(d, IO_EIO, what);
        return GATE_FAILED;
    }
    if (d->calls++ != d->fail_at)
        return GATE_OPEN;
    if (d->fault == FAKEDISK_FULL && !needs_space)
        return GATE_OPEN;
    *ret = failed(d, d->fault == FAKEDISK_FULL ? IO_ENOSPC : IO_EIO, what);
    if (d->fault != FAKEDISK_POWER)
        return GATE_FAILED;
    d->powered = false;
    return GATE_POWER;
}

uint64_t fakedisk_used(const struct fakedisk *d)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->now.n; i++)
        bytes += d->now.list[i].inode->now_len;
    return bytes;
}

static bool has_room(const struct fakedisk *d, const struct inode *i, uint64_t end)
{
    return end <= i->now_len || fakedisk_used(d) + (end - i->now_len) <= d->room;
}

/* ---- The calls of struct io_ops ---- */

static int disk_create(struct fakedisk *d, const char *name, struct inode **ret)
{
    int rc;
    if (find(&d->now, name) != NULL)
        return failed(d, IO_EEXIST, name);
    if (gate(d, true, name, &rc) == GATE_FAILED)
        return rc;
    *ret = inode_new(d);
    change(d, CHANGE_LINK, "", name, *ret);
    return rc;
}

static int disk_open(struct io *io, const char *name, int flags, struct io_file **ret)
{
    struct fakedisk *d = fakedisk_of(io);
    assert(strlen(name) < NAME_BYTES && strchr(name, '/') == NULL);
    struct entry *e = find(&d->now, name);
    struct inode *inode = e != NULL ? e->inode : NULL;
    if (!d->powered)
        return failed(d, IO_EIO, name);
    int rc = (flags & IO_CREATE) != 0 ? disk_create(d, name, &inode) : inode == NULL ? failed(d, IO_ENOENT, name) : 0;
    if (rc != 0)
        return rc;
    struct io_file *f = must(malloc(sizeof *f));
    *f = (struct io_file){.d = d, .inode = inode, .writable = (flags & IO_WRITE) != 0};
    inode->handles++;
    *ret = f;
    return 0;
}

static void disk_close(struct io_file *f)
{
    assert(f->inode->handles > 0);
    f->inode->handles--;
    free(f);
}

static long disk_pread(struct io_file *f, void *buf, size_t len, uint64_t offset)
{
    if (!f->d->powered)
        return failed(f->d, IO_EIO, "read");
    if (offset >= f->inode->now_len)
        return 0;
    if (len > f->inode->now_len - offset)
        len = (size_t)(f->inode->now_len - offset);
    memcpy(buf, f->inode->now + offset, len);
    return (long)len;
}

static void inode_write(struct inode *i, const struct iovec *iov, int n, uint64_t offset)
{
    for (int k = 0; k < n; k++) {
        size_t end = (size_t)offset + iov[k].iov_len;
        if (iov[k].iov_len == 0)
            continue;
        inode_reserve(i, end);
        memcpy(i->now + offset, iov[k].iov_base, iov[k].iov_len);
        memset(i->dirty + offset / FAKEDISK_SECTOR, 1, (end - 1) / FAKEDISK_SECTOR - offset / FAKEDISK_SECTOR + 1);
        if (end > i->now_len)
            i->now_len = end;
        offset = end;
    }
}

static uint64_t total(const struct iovec *iov, int n)
{
    uint64_t bytes = 0;
    for (int k = 0; k < n; k++)
        bytes += iov[k].iov_len;
    return bytes;
}

static int disk_pwritev(struct io_file *f, const struct iovec *iov, int n, uint64_t offset)
{
    int rc;
    assert(f->writable);
    enum gate g = gate(f->d, offset + total(iov, n) > f->inode->now_len, "write", &rc);
    if (g == GATE_FAILED) {
        if (f->d->powered)
            inode_write(f->inode, iov, n / 2, offset); /* Half done. */
        return rc;
    }
    if (!has_room(f->d, f->inode, offset + total(iov, n)))
        return failed(f->d, IO_ENOSPC, "write");
    inode_write(f->inode, iov, n, offset);
    return rc;
}

static int disk_sync(struct io_file *f)
{
    int rc;
    enum gate g = gate(f->d, false, "sync", &rc);
    if (g == GATE_OPEN)
        inode_settle(f->d, f->inode, SETTLE_KEEP);
    else if (g == GATE_FAILED && f->d->powered)
        inode_settle(f->d, f->inode, SETTLE_LOSE); /* As Linux does: the pages count as clean afterwards. */
    return rc;
}

static int disk_size(struct io_file *f, uint64_t *ret)
{
    *ret = f->inode->now_len;
    return f->d->powered ? 0 : failed(f->d, IO_EIO, "size");
}

static int disk_allocate(struct io_file *f, uint64_t len)
{
    int rc;
    if (gate(f->d, true, "allocate", &rc) == GATE_FAILED)
        return rc;
    if (!has_room(f->d, f->inode, len))
        return failed(f->d, IO_ENOSPC, "allocate");
    inode_reserve(f->inode, (size_t)len);
    if (len > f->inode->now_len)
        f->inode->now_len = (size_t)len;
    return rc;
}

int fakedisk_truncate(struct fakedisk *d, struct io_file *f, uint64_t len)
{
    struct inode *i = f->inode;
    int rc;
    if (gate(d, false, "truncate", &rc) == GATE_FAILED)
        return rc;
    if (len >= i->now_len)
        return rc;
    size_t gone = ((size_t)len + FAKEDISK_SECTOR - 1) / FAKEDISK_SECTOR;
    memset(i->now + len, 0, i->now_len - (size_t)len);
    memset(i->dirty + gone, 0, i->capacity / FAKEDISK_SECTOR - gone); /* What was written there never arrives. */
    i->now_len = (size_t)len;
    if (len < i->cut_at)
        i->cut_at = (size_t)len;
    return rc;
}

static int disk_rename(struct io *io, const char *from, const char *to)
{
    struct fakedisk *d = fakedisk_of(io);
    int rc;
    if (gate(d, false, from, &rc) == GATE_FAILED)
        return rc;
    struct entry *e = find(&d->now, from);
    if (e == NULL)
        return failed(d, IO_ENOENT, from);
    change(d, CHANGE_RENAME, from, to, e->inode);
    return rc;
}

static int disk_unlink(struct io *io, const char *name)
{
    struct fakedisk *d = fakedisk_of(io);
    struct entry *e = find(&d->now, name);
    int rc;
    if (e == NULL)
        return failed(d, d->powered ? IO_ENOENT : IO_EIO, name);
    if (gate(d, false, name, &rc) == GATE_FAILED)
        return rc;
    change(d, CHANGE_UNLINK, name, "", e->inode);
    return rc;
}

static int disk_list(struct io *io, void (*each)(void *ctx, const char *name), void *ctx)
{
    struct fakedisk *d = fakedisk_of(io);
    if (!d->powered)
        return failed(d, IO_EIO, "list");
    for (size_t i = 0; i < d->now.n; i++)
        each(ctx, d->now.list[i].name);
    return 0;
}

static int disk_sync_dir(struct io *io)
{
    struct fakedisk *d = fakedisk_of(io);
    int rc;
    enum gate g = gate(d, false, "sync of the directory", &rc);
    if (g == GATE_OPEN)
        directory_settle(d, SETTLE_KEEP);
    sweep(d);
    return rc;
}

static void disk_submit(struct io *io, enum io_lane lane, struct io_job *job)
{
    struct queue *q = &fakedisk_of(io)->lanes[lane];
    job->next = NULL;
    *q->tail = job;
    q->tail = &job->next;
}

static uint64_t disk_now_us(struct io *io)
{
    return fakedisk_of(io)->now_us;
}

static uint64_t disk_now_ms(struct io *io)
{
    return fakedisk_of(io)->now_us / 1000;
}

static uint64_t disk_random(struct io *io)
{
    return roll(fakedisk_of(io));
}

static void disk_timer(struct io *io, uint64_t at_ms)
{
    fakedisk_of(io)->timer_at = at_ms;
}

static void no_send(struct io *io, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                    const struct io_slice *slices, size_t n)
{
    (void)io, (void)peer, (void)kind, (void)head, (void)head_len, (void)slices, (void)n;
}

static void no_peer(struct io *io, uint64_t peer, const char *address)
{
    (void)io, (void)peer, (void)address;
}

static size_t no_backlog(struct io *io, uint64_t peer)
{
    (void)io, (void)peer;
    return SIZE_MAX;
}

static const struct io_ops fakedisk_ops = {
    .open = disk_open,
    .close = disk_close,
    .pread = disk_pread,
    .pwritev = disk_pwritev,
    .sync = disk_sync,
    .size = disk_size,
    .allocate = disk_allocate,
    .rename = disk_rename,
    .unlink = disk_unlink,
    .list = disk_list,
    .sync_dir = disk_sync_dir,
    .submit = disk_submit,
    .now_ms = disk_now_ms,
    .now_us = disk_now_us,
    .random = disk_random,
    .timer = disk_timer,
    .send = no_send,
    .peer = no_peer,
    .backlog = no_backlog,
};

/* ---- For the test ---- */

static void queue_init(struct queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

struct fakedisk *fakedisk_new(uint64_t seed)
{
    struct fakedisk *d = must(calloc(1, sizeof *d));
    d->io.ops = &fakedisk_ops;
    d->random_state = seed;
    d->now_us = 1000000;
    d->timer_at = d->fail_at = d->room = UINT64_MAX;
    d->powered = true;
    for (int i = 0; i < IO_LANES; i++)
        queue_init(&d->lanes[i]);
    queue_init(&d->finished);
    return d;
}

void fakedisk_free(struct fakedisk *d)
{
    if (d == NULL)
        return;
    while (d->inodes != NULL) {
        struct inode *i = d->inodes;
        d->inodes = i->next;
        assert(i->handles == 0); /* Somebody forgot to close a file. */
        inode_free(i);
    }
    free(d);
}

struct io *fakedisk_io(struct fakedisk *d)
{
    return &d->io;
}

void fakedisk_advance(struct fakedisk *d, uint64_t ms)
{
    d->now_us += ms * 1000;
}

static struct io_job *take(struct queue *q)
{
    struct io_job *job = q->head;
    if (job == NULL)
        return NULL;
    q->head = job->next;
    if (q->head == NULL)
        q->tail = &q->head;
    return job;
}

bool fakedisk_work_one(struct fakedisk *d, enum io_lane lane)
{
    struct io_job *job = take(&d->lanes[lane]);
    if (job == NULL)
        return false;
    job->run(job);
    job->next = NULL;
    *d->finished.tail = job;
    d->finished.tail = &job->next;
    return true;
}

void fakedisk_deliver(struct fakedisk *d)
{
    struct io_job *job;
    while ((job = take(&d->finished)) != NULL)
        job->done(job);
}

bool fakedisk_run_one(struct fakedisk *d, enum io_lane lane)
{
    bool ran = fakedisk_work_one(d, lane);
    fakedisk_deliver(d);
    return ran;
}

void fakedisk_run_all(struct fakedisk *d)
{
    fakedisk_deliver(d);
    while (fakedisk_run_one(d, IO_LANE_LOG) || fakedisk_run_one(d, IO_LANE_SPARE))
        continue;
}

bool fakedisk_idle(const struct fakedisk *d, enum io_lane lane)
{
    return d->lanes[lane].head == NULL;
}

uint64_t fakedisk_timer_at(const struct fakedisk *d)
{
    return d->timer_at;
}

uint64_t fakedisk_calls(const struct fakedisk *d)
{
    return d->calls;
}

void fakedisk_fail_at(struct fakedisk *d, uint64_t call, enum fakedisk_fault fault)
{
    d->fail_at = call;
    d->fault = fault;
}

void fakedisk_room(struct fakedisk *d, uint64_t bytes)
{
    d->room = bytes;
}

bool fakedisk_powered(const struct fakedisk *d)
{
    return d->powered;
}

void fakedisk_power_off(struct fakedisk *d)
{
    d->powered = false;
}

/* Jobs of a process that is gone: their owners get their memory back. */
static void drop_jobs(struct fakedisk *d)
{
    d->powered = false; /* Whatever done() wants to write comes too late. */
    fakedisk_deliver(d);
    for (int lane = 0; lane < IO_LANES; lane++) {
        struct io_job *job;
        while ((job = take(&d->lanes[lane])) != NULL)
            job->done(job);
    }
}

static void restart(struct fakedisk *d, enum settle how)
{
    drop_jobs(d);
    for (struct inode *i = d->inodes; i != NULL; i = i->next) {
        inode_settle(d, i, how);
        inode_restart(i);
    }
    directory_settle(d, how);
    d->now = d->kept;
    sweep(d);
    d->fail_at = UINT64_MAX;
    d->timer_at = UINT64_MAX;
    d->powered = true;
}

void fakedisk_crash(struct fakedisk *d)
{
    restart(d, SETTLE_CHANCE);
}

void fakedisk_kill(struct fakedisk *d)
{
    drop_jobs(d);
    d->fail_at = UINT64_MAX;
    d->timer_at = UINT64_MAX;
    d->powered = true;
}

uint8_t *fakedisk_bytes(struct fakedisk *d, const char *name, size_t *ret_len)
{
    struct entry *e = find(&d->now, name);
    if (e == NULL)
        return NULL;
    *ret_len = e->inode->now_len;
    return e->inode->now;
}

bool fakedisk_exists(struct fakedisk *d, const char *name, size_t *ret_len)
{
    const struct entry *e = find(&d->now, name);
    if (e != NULL)
        *ret_len = e->inode->now_len;
    return e != NULL;
}

struct fakedisk *fakedisk_clone(struct fakedisk *d)
{
    struct fakedisk *copy = fakedisk_new(roll(d));
    copy->now_us = d->now_us;
    for (size_t i = 0; i < d->now.n; i++) {
        struct inode *from = d->now.list[i].inode, *to = inode_new(copy);
        inode_reserve(to, from->now_len);
        if (from->now_len > 0)
            memcpy(to->kept, from->now, from->now_len);
        to->kept_len = from->now_len;
        inode_restart(to);
        link_in(&copy->kept, d->now.list[i].name, to);
    }
    copy->now = copy->kept;
    return copy;
}

void fakedisk_remove(struct fakedisk *d, const char *name)
{
    struct entry *e = find(&d->now, name);
    if (e != NULL)
        change(d, CHANGE_UNLINK, name, "", e->inode);
    directory_settle(d, SETTLE_KEEP);
    sweep(d);
}

void fakedisk_names(struct fakedisk *d, void (*each)(void *ctx, const char *name), void *ctx)
{
    for (size_t i = 0; i < d->now.n; i++)
        each(ctx, d->now.list[i].name);
}
