/* failing.c - one counter a thread, asked by every function that stands in for another. */
#include "tests/support/failing.h"
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static _Thread_local struct {
    bool armed, on, hit;
    unsigned paused;
    enum failing_kind kind;
    uint64_t calls, nth;
} plan;

void failing_arm(enum failing_kind kind, uint64_t nth, bool on)
{
    plan.armed = true;
    plan.kind = kind;
    plan.nth = nth;
    plan.on = on;
    plan.calls = 0;
    plan.hit = false;
}

bool failing_disarm(void)
{
    plan.armed = false;
    return plan.hit;
}

void failing_pause(void)
{
    plan.paused++;
}

void failing_resume(void)
{
    plan.paused--;
}

/* Is it this call's turn? */
static bool fails(enum failing_kind kind)
{
    if (!plan.armed || plan.paused > 0 || plan.kind != kind)
        return false;
    uint64_t call = plan.calls++;
    bool now = call == plan.nth || (plan.on && call > plan.nth);
    plan.hit = plan.hit || now;
    if (now && kind == FAILING_MEMORY)
        errno = ENOMEM;
    return now;
}

/* ---- Memory ---- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
char *__real_strdup(const char *text);
int __real_vasprintf(char **ret, const char *format, va_list args);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
char *__wrap_strdup(const char *text);
int __wrap_vasprintf(char **ret, const char *format, va_list args);
int __wrap_asprintf(char **ret, const char *format, ...);

void *__wrap_malloc(size_t bytes)
{
    return fails(FAILING_MEMORY) ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return fails(FAILING_MEMORY) ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return fails(FAILING_MEMORY) ? NULL : __real_realloc(p, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails(FAILING_MEMORY) ? NULL : __real_strdup(text);
}

int __wrap_vasprintf(char **ret, const char *format, va_list args)
{
    return fails(FAILING_MEMORY) ? -1 : __real_vasprintf(ret, format, args);
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = __wrap_vasprintf(ret, format, args);
    va_end(args);
    return len;
}

static sqlite3_mem_methods sqlite_memory;

static void *sqlite_malloc(int bytes)
{
    return fails(FAILING_MEMORY) ? NULL : sqlite_memory.xMalloc(bytes);
}

static void *sqlite_realloc(void *p, int bytes)
{
    return fails(FAILING_MEMORY) ? NULL : sqlite_memory.xRealloc(p, bytes);
}

/* ---- The files of store/ ---- */

int __real_open(const char *path, int flags, ...);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_stat(const char *path, struct stat *ret);
int __wrap_open(const char *path, int flags, ...);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_stat(const char *path, struct stat *ret);

/* Any call at all; one that needs space fails for want of it, too. */
static bool call_fails(bool needs_space)
{
    if (fails(FAILING_FILES))
        errno = EIO;
    else if (needs_space && fails(FAILING_FULL))
        errno = ENOSPC;
    else
        return false;
    return true;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = (flags & O_CREAT) != 0 ? va_arg(args, int) : 0;
    va_end(args);
    return call_fails(false) ? -1 : __real_open(path, flags, mode);
}

int __wrap_fsync(int fd)
{
    return call_fails(true) ? -1 : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    return call_fails(true) ? -1 : __real_fdatasync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    return call_fails(true) ? -1 : __real_rename(from, to);
}

int __wrap_unlink(const char *path)
{
    return call_fails(false) ? -1 : __real_unlink(path);
}

int __wrap_stat(const char *path, struct stat *ret)
{
    return call_fails(false) ? -1 : __real_stat(path, ret);
}

/* ---- SQLite's files: each call is the system's, or fails ---- */

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* Behind this struct, in the same memory. */
};

static sqlite3_vfs *system_vfs;
#define REAL(base) (((struct file *)(base))->real)
#define CALL(base, method, ...) REAL(base)->pMethods->method(REAL(base), __VA_ARGS__)

static int file_close(sqlite3_file *base)
{
    return REAL(base)->pMethods->xClose(REAL(base));
}

static int file_read(sqlite3_file *base, void *buf, int len, sqlite3_int64 at)
{
    if (fails(FAILING_FILES))
        return SQLITE_IOERR_READ;
    if (!fails(FAILING_SHORT_READ))
        return CALL(base, xRead, buf, len, at);
    memset(buf, 0, (size_t)len);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *buf, int len, sqlite3_int64 at)
{
    if (fails(FAILING_FILES)) {
        CALL(base, xWrite, buf, len / 2, at); /* Half of it got there. */
        return SQLITE_IOERR_WRITE;
    }
    return fails(FAILING_FULL) ? SQLITE_FULL : CALL(base, xWrite, buf, len, at);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 len)
{
    return fails(FAILING_FILES) ? SQLITE_IOERR_TRUNCATE : CALL(base, xTruncate, len);
}

static int file_sync(sqlite3_file *base, int flags)
{
    if (fails(FAILING_FILES))
        return SQLITE_IOERR_FSYNC;
    return fails(FAILING_FULL) ? SQLITE_FULL : CALL(base, xSync, flags);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    return fails(FAILING_FILES) ? SQLITE_IOERR_FSTAT : CALL(base, xFileSize, ret);
}

static int file_lock(sqlite3_file *base, int level)
{
    return fails(FAILING_FILES) ? SQLITE_IOERR_LOCK : CALL(base, xLock, level);
}

static int file_unlock(sqlite3_file *base, int level)
{
    return CALL(base, xUnlock, level);
}

static int file_check_reserved(sqlite3_file *base, int *ret)
{
    return CALL(base, xCheckReservedLock, ret);
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
    return CALL(base, xFileControl, op, arg);
}

static int file_sector(sqlite3_file *base)
{
    return REAL(base)->pMethods->xSectorSize(REAL(base));
}

static int file_characteristics(sqlite3_file *base)
{
    return REAL(base)->pMethods->xDeviceCharacteristics(REAL(base));
}

static int file_shm_map(sqlite3_file *base, int region, int bytes, int extend, void volatile **ret)
{
    return fails(FAILING_FILES) ? SQLITE_IOERR_SHMMAP : CALL(base, xShmMap, region, bytes, extend, ret);
}

static int file_shm_lock(sqlite3_file *base, int from, int n, int flags)
{
    if ((flags & SQLITE_SHM_UNLOCK) == 0 && fails(FAILING_FILES))
        return SQLITE_IOERR_SHMLOCK;
    return CALL(base, xShmLock, from, n, flags);
}

static void file_shm_barrier(sqlite3_file *base)
{
    REAL(base)->pMethods->xShmBarrier(REAL(base));
}

static int file_shm_unmap(sqlite3_file *base, int delete)
{
    return CALL(base, xShmUnmap, delete);
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 2, /* Without memory mapped files. */
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *ret_flags)
{
    struct file *f = (struct file *)base;
    (void)vfs;
    memset(f, 0, sizeof *f);
    if (fails(FAILING_FILES))
        return SQLITE_CANTOPEN;
    f->real = (sqlite3_file *)(f + 1);
    int rc = system_vfs->xOpen(system_vfs, path, f->real, flags, ret_flags);
    if (f->real->pMethods != NULL)
        f->base.pMethods = &file_methods; /* To be closed, even after an error. */
    return rc;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
    (void)vfs;
    return fails(FAILING_FILES) ? SQLITE_IOERR_DELETE : system_vfs->xDelete(system_vfs, path, sync_directory);
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *ret)
{
    (void)vfs;
    return fails(FAILING_FILES) ? SQLITE_IOERR_ACCESS : system_vfs->xAccess(system_vfs, path, flags, ret);
}

/* ---- Setting up ---- */

static void must_be_ok(int rc)
{
    if (rc == SQLITE_OK)
        return;
    fprintf(stderr, "SQLite cannot be set up: %s\n", sqlite3_errstr(rc));
    abort();
}

static void wrap_vfs(void)
{
    static sqlite3_vfs vfs;
    system_vfs = sqlite3_vfs_find(NULL);
    vfs = *system_vfs;
    vfs.szOsFile += (int)sizeof(struct file);
    vfs.zName = "holdfast-failing";
    vfs.xOpen = vfs_open;
    vfs.xDelete = vfs_delete;
    vfs.xAccess = vfs_access;
    must_be_ok(sqlite3_vfs_register(&vfs, 1));
}

void failing_init(void)
{
    must_be_ok(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory));
    sqlite3_mem_methods failing_memory = sqlite_memory;
    failing_memory.xMalloc = sqlite_malloc;
    failing_memory.xRealloc = sqlite_realloc;
    must_be_ok(sqlite3_config(SQLITE_CONFIG_MALLOC, &failing_memory));
    must_be_ok(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0)); /* Or most of SQLite's memory never asks. */
    wrap_vfs();
}
