/* vfs.c - SQLite's files on the fake disks. WAL mode's shared index is memory of the process, as in production, and
 * goes with the last connection. Locks are kept honestly, though one thread seldom contends with itself. Files without
 * a name (SQLite's scratch) are memory. */
#include "tests/sim/disks.h"
#include "tests/sim/world.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VFS_REGIONS 64
#define LOOKASIDE_BYTES 128
#define LOOKASIDE_N 1000
#define VFS_LOCK_SLOTS SQLITE_SHM_NLOCK

/* What the connections to one file share. */
struct shared {
    struct shared *next;
    struct fakedisk *disk;
    char name[64];
    unsigned refs;
    int readers;                       /* Connections with a lock of SHARED or higher. */
    struct file *reserved, *exclusive; /* Who holds RESERVED; who PENDING or EXCLUSIVE. */
    void *regions[VFS_REGIONS];
    int slot_readers[VFS_LOCK_SLOTS];
    struct file *slot_writer[VFS_LOCK_SLOTS];
};
static struct shared *all_shared;

struct file {
    sqlite3_file base;
    struct fakedisk *disk;
    struct io_file *file; /* NULL: scratch. */
    struct shared *shared;
    int lock;
    unsigned slots_shared; /* Bits. */
    bool delete_on_close;
    char name[64];
    uint8_t *scratch;
    size_t scratch_len;
};

static const struct io_ops *ops_of(const struct file *f)
{
    return fakedisk_io(f->disk)->ops;
}

static int from_io(int rc, int what)
{
    return rc == 0 ? SQLITE_OK : rc == IO_ENOSPC ? SQLITE_FULL : what;
}

/* ---- What connections share ---- */

static struct shared *share(struct fakedisk *disk, const char *name)
{
    for (struct shared *s = all_shared; s != NULL; s = s->next) {
        if (s->disk != disk || strcmp(s->name, name) != 0)
            continue;
        s->refs++;
        return s;
    }
    struct shared *s = must(calloc(1, sizeof *s));
    s->disk = disk;
    snprintf(s->name, sizeof s->name, "%s", name);
    s->refs = 1;
    s->next = all_shared;
    all_shared = s;
    return s;
}

static void forget_regions(struct shared *s)
{
    for (int i = 0; i < VFS_REGIONS; i++) {
        free(s->regions[i]);
        s->regions[i] = NULL;
    }
}

static void unshare(struct shared *s)
{
    if (--s->refs > 0)
        return;
    struct shared **at = &all_shared;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    forget_regions(s);
    free(s);
}

/* ---- Files ---- */

static int vfs_unlock(sqlite3_file *base, int level)
{
    struct file *f = (struct file *)base;
    struct shared *s = f->shared;
    if (s == NULL || level >= f->lock)
        return SQLITE_OK;
    if (s->exclusive == f)
        s->exclusive = NULL;
    if (s->reserved == f)
        s->reserved = NULL;
    if (level == SQLITE_LOCK_NONE)
        s->readers--;
    f->lock = level;
    return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *base, int level)
{
    struct file *f = (struct file *)base;
    struct shared *s = f->shared;
    if (s == NULL || level <= f->lock)
        return SQLITE_OK;
    if (s->exclusive != NULL && s->exclusive != f)
        return SQLITE_BUSY;
    if (level == SQLITE_LOCK_SHARED)
        s->readers++;
    if (level == SQLITE_LOCK_RESERVED) {
        if (s->reserved != NULL)
            return SQLITE_BUSY;
        s->reserved = f;
    }
    if (level == SQLITE_LOCK_EXCLUSIVE) {
        s->exclusive = f; /* PENDING, while others still read. */
        if (s->readers > 1)
            return SQLITE_BUSY;
    }
    f->lock = level;
    return SQLITE_OK;
}

static int vfs_check_reserved(sqlite3_file *base, int *ret)
{
    struct shared *s = ((struct file *)base)->shared;
    *ret = s != NULL && (s->reserved != NULL || s->exclusive != NULL);
    return SQLITE_OK;
}

static int vfs_close(sqlite3_file *base)
{
    struct file *f = (struct file *)base;
    vfs_unlock(base, SQLITE_LOCK_NONE);
    if (f->shared != NULL)
        unshare(f->shared);
    if (f->file != NULL) {
        ops_of(f)->close(f->file);
        if (f->delete_on_close)
            ops_of(f)->unlink(fakedisk_io(f->disk), f->name);
    }
    free(f->scratch);
    return SQLITE_OK;
}

static long scratch_read(const struct file *f, void *buf, size_t len, size_t at)
{
    size_t there = at < f->scratch_len ? f->scratch_len - at : 0;
    len = len < there ? len : there;
    if (len > 0)
        memcpy(buf, f->scratch + at, len);
    return (long)len;
}

static int vfs_read(sqlite3_file *base, void *buf, int len, sqlite3_int64 at)
{
    struct file *f = (struct file *)base;
    long got = f->file != NULL ? ops_of(f)->pread(f->file, buf, (size_t)len, (uint64_t)at)
                               : scratch_read(f, buf, (size_t)len, (size_t)at);
    if (got == len)
        return SQLITE_OK;
    if (got < 0)
        return SQLITE_IOERR_READ;
    memset((uint8_t *)buf + got, 0, (size_t)(len - got));
    return SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *base, const void *buf, int len, sqlite3_int64 at)
{
    struct file *f = (struct file *)base;
    if (f->file != NULL) {
        struct iovec iov = {(void *)buf, (size_t)len};
        return from_io(ops_of(f)->pwritev(f->file, &iov, 1, (uint64_t)at), SQLITE_IOERR_WRITE);
    }
    size_t end = (size_t)at + (size_t)len;
    if (end > f->scratch_len) {
        f->scratch = must(realloc(f->scratch, end));
        memset(f->scratch + f->scratch_len, 0, end - f->scratch_len);
        f->scratch_len = end;
    }
    memcpy(f->scratch + at, buf, (size_t)len);
    return SQLITE_OK;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 len)
{
    struct file *f = (struct file *)base;
    if (f->file != NULL)
        return from_io(fakedisk_truncate(f->disk, f->file, (uint64_t)len), SQLITE_IOERR_TRUNCATE);
    if ((size_t)len < f->scratch_len)
        f->scratch_len = (size_t)len;
    return SQLITE_OK;
}

static int vfs_sync(sqlite3_file *base, int flags)
{
    struct file *f = (struct file *)base;
    (void)flags;
    return f->file != NULL ? from_io(ops_of(f)->sync(f->file), SQLITE_IOERR_FSYNC) : SQLITE_OK;
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    struct file *f = (struct file *)base;
    uint64_t len = f->scratch_len;
    if (f->file != NULL && ops_of(f)->size(f->file, &len) != 0)
        return SQLITE_IOERR_FSTAT;
    *ret = (sqlite3_int64)len;
    return SQLITE_OK;
}

static int vfs_control(sqlite3_file *base, int op, void *arg)
{
    (void)base, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int vfs_sector(sqlite3_file *base)
{
    (void)base;
    return FAKEDISK_SECTOR;
}

static int vfs_characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* As SQLite takes every disk to be. */
}

/* ---- The WAL's index ---- */

static int vfs_shm_map(sqlite3_file *base, int region, int bytes, int extend, void volatile **ret)
{
    struct shared *s = ((struct file *)base)->shared;
    if (region >= VFS_REGIONS)
        return SQLITE_IOERR_SHMSIZE;
    if (s->regions[region] == NULL && extend)
        s->regions[region] = must(calloc(1, (size_t)bytes));
    *ret = s->regions[region];
    return SQLITE_OK;
}

static int shm_unlock(struct file *f, int from, int n)
{
    for (int i = from; i < from + n; i++) {
        if (f->shared->slot_writer[i] == f)
            f->shared->slot_writer[i] = NULL;
        if ((f->slots_shared & 1u << i) != 0)
            f->shared->slot_readers[i]--;
        f->slots_shared &= ~(1u << i);
    }
    return SQLITE_OK;
}

static int vfs_shm_lock(sqlite3_file *base, int from, int n, int flags)
{
    struct file *f = (struct file *)base;
    struct shared *s = f->shared;
    if ((flags & SQLITE_SHM_UNLOCK) != 0)
        return shm_unlock(f, from, n);
    bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    for (int i = from; i < from + n; i++) {
        int others = s->slot_readers[i] - ((f->slots_shared & 1u << i) != 0);
        if ((s->slot_writer[i] != NULL && s->slot_writer[i] != f) || (exclusive && others > 0))
            return SQLITE_BUSY;
    }
    for (int i = from; i < from + n; i++) {
        if (exclusive) {
            s->slot_writer[i] = f;
        } else if ((f->slots_shared & 1u << i) == 0) {
            s->slot_readers[i]++;
            f->slots_shared |= 1u << i;
        }
    }
    return SQLITE_OK;
}

static void vfs_shm_barrier(sqlite3_file *base)
{
    (void)base;
}

static int vfs_shm_unmap(sqlite3_file *base, int delete)
{
    struct file *f = (struct file *)base;
    shm_unlock(f, 0, VFS_LOCK_SLOTS);
    if (delete)
        forget_regions(f->shared);
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_unlock,
    .xCheckReservedLock = vfs_check_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector,
    .xDeviceCharacteristics = vfs_characteristics,
    .xShmMap = vfs_shm_map,
    .xShmLock = vfs_shm_lock,
    .xShmBarrier = vfs_shm_barrier,
    .xShmUnmap = vfs_shm_unmap,
};

/* ---- The VFS ---- */

static int open_named(struct file *f, const char *path, int flags)
{
    const char *name;
    f->disk = disks_find(path, &name);
    if (f->disk == NULL)
        return SQLITE_CANTOPEN;
    snprintf(f->name, sizeof f->name, "%s", name);
    f->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    struct io *io = fakedisk_io(f->disk);
    int rc = ops_of(f)->open(io, name, IO_READ | IO_WRITE, &f->file);
    if (rc == IO_ENOENT && (flags & SQLITE_OPEN_CREATE) != 0)
        rc = ops_of(f)->open(io, name, IO_READ | IO_WRITE | IO_CREATE, &f->file);
    if (rc != 0)
        return from_io(rc, SQLITE_CANTOPEN);
    if ((flags & SQLITE_OPEN_MAIN_DB) != 0)
        f->shared = share(f->disk, name);
    return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *ret_flags)
{
    struct file *f = (struct file *)base;
    (void)vfs;
    memset(f, 0, sizeof *f);
    int rc = path != NULL ? open_named(f, path, flags) : SQLITE_OK;
    if (rc != SQLITE_OK)
        return rc;
    f->base.pMethods = &methods;
    if (ret_flags != NULL)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
    const char *name;
    struct fakedisk *d = disks_find(path, &name);
    (void)vfs;
    if (d == NULL)
        return SQLITE_IOERR_DELETE;
    struct io *io = fakedisk_io(d);
    int rc = io->ops->unlink(io, name);
    if (rc == IO_ENOENT)
        return SQLITE_IOERR_DELETE_NOENT;
    if (rc == 0 && sync_directory)
        rc = io->ops->sync_dir(io);
    return from_io(rc, SQLITE_IOERR_DELETE);
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *ret)
{
    const char *name;
    size_t len;
    struct fakedisk *d = disks_find(path, &name);
    (void)vfs, (void)flags;
    *ret = d != NULL && fakedisk_exists(d, name, &len);
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int bytes, char *ret)
{
    (void)vfs;
    return snprintf(ret, (size_t)bytes, "%s", path) < bytes ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_random(sqlite3_vfs *vfs, int bytes, char *ret)
{
    (void)vfs;
    for (int i = 0; i < bytes; i++)
        ret[i] = (char)below(CHANCE_DISKS, 256);
    return bytes;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *ret)
{
    (void)vfs;
    *ret = 2460000.5;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int bytes, char *ret)
{
    (void)vfs;
    if (bytes > 0)
        ret[0] = '\0';
    return 0;
}

void disks_init(void)
{
    static sqlite3_vfs vfs = {
        .iVersion = 1,
        .szOsFile = sizeof(struct file),
        .mxPathname = 128,
        .zName = "holdfast-sim",
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_random,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
    };
    /* One thread, nobody who asks for statistics, and small things to be allocated while it reads the schema. */
    if (sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, LOOKASIDE_BYTES, LOOKASIDE_N) != SQLITE_OK)
        fail("SQLite cannot be configured");
    if (sqlite3_vfs_register(&vfs, 1) != SQLITE_OK)
        fail("the VFS cannot be registered");
}
