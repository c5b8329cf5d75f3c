/* disks.c - the calls of store/ that are not SQLite's. Paths elsewhere go to the real ones. */
#include "tests/sim/disks.h"
#include "tests/sim/world.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISKS_MAX 16
#define DISKS_FILES 64
#define DISKS_FD_FIRST (1 << 20) /* No real descriptor is as high. */

static struct fakedisk *mounted[DISKS_MAX];

static struct open_file {
    struct fakedisk *disk;
    struct io_file *file; /* NULL: the directory. */
} files[DISKS_FILES];

int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_access(const char *path, int mode);
int __real_stat(const char *path, struct stat *st);
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_access(const char *path, int mode);
int __wrap_stat(const char *path, struct stat *st);

void disks_mount(int number, struct fakedisk *disk)
{
    mounted[number] = disk;
}

struct fakedisk *disks_find(const char *path, const char **ret_name)
{
    size_t prefix = sizeof DISKS_PREFIX - 1;
    if (path == NULL || strncmp(path, DISKS_PREFIX, prefix) != 0)
        return NULL;
    char *end;
    unsigned long number = strtoul(path + prefix, &end, 10);
    if (number >= DISKS_MAX || mounted[number] == NULL)
        fail("a path leads nowhere: %s", path);
    *ret_name = *end == '/' ? end + 1 : "";
    return mounted[number];
}

static int answer(int rc)
{
    if (rc >= 0)
        return 0;
    errno = rc == IO_ENOENT ? ENOENT : rc == IO_ENOSPC ? ENOSPC : rc == IO_EEXIST ? EEXIST : EIO;
    return -1;
}

static struct open_file *file_of(int fd)
{
    return fd >= DISKS_FD_FIRST && fd < DISKS_FD_FIRST + DISKS_FILES ? &files[fd - DISKS_FD_FIRST] : NULL;
}

int __wrap_open(const char *path, int flags, ...)
{
    const char *name;
    struct fakedisk *d = disks_find(path, &name);
    if (d == NULL) {
        va_list args;
        va_start(args, flags);
        int mode = (flags & O_CREAT) != 0 ? va_arg(args, int) : 0;
        va_end(args);
        return __real_open(path, flags, mode);
    }
    int i = 0;
    while (i < DISKS_FILES && files[i].disk != NULL)
        i++;
    if (i == DISKS_FILES)
        fail("store/ has %d files open", i);
    struct io *io = fakedisk_io(d);
    int rc = name[0] == '\0' ? 0 : io->ops->open(io, name, IO_READ | IO_WRITE, &files[i].file);
    if (answer(rc) != 0)
        return -1;
    files[i].disk = d;
    return DISKS_FD_FIRST + i;
}

int __wrap_close(int fd)
{
    struct open_file *f = file_of(fd);
    if (f == NULL)
        return __real_close(fd);
    if (f->file != NULL)
        fakedisk_io(f->disk)->ops->close(f->file);
    *f = (struct open_file){0};
    return 0;
}

static int sync_file(struct open_file *f)
{
    struct io *io = fakedisk_io(f->disk);
    return answer(f->file != NULL ? io->ops->sync(f->file) : io->ops->sync_dir(io));
}

int __wrap_fsync(int fd)
{
    struct open_file *f = file_of(fd);
    return f != NULL ? sync_file(f) : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    struct open_file *f = file_of(fd);
    return f != NULL ? sync_file(f) : __real_fdatasync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    const char *name, *new_name;
    struct fakedisk *d = disks_find(from, &name);
    if (d == NULL)
        return __real_rename(from, to);
    if (disks_find(to, &new_name) != d)
        fail("%s is renamed to %s", from, to);
    return answer(fakedisk_io(d)->ops->rename(fakedisk_io(d), name, new_name));
}

int __wrap_unlink(const char *path)
{
    const char *name;
    struct fakedisk *d = disks_find(path, &name);
    return d == NULL ? __real_unlink(path) : answer(fakedisk_io(d)->ops->unlink(fakedisk_io(d), name));
}

int __wrap_access(const char *path, int mode)
{
    const char *name;
    size_t len;
    struct fakedisk *d = disks_find(path, &name);
    if (d == NULL)
        return __real_access(path, mode);
    return answer(fakedisk_exists(d, name, &len) ? 0 : IO_ENOENT);
}

int __wrap_stat(const char *path, struct stat *st)
{
    const char *name;
    size_t len;
    struct fakedisk *d = disks_find(path, &name);
    if (d == NULL)
        return __real_stat(path, st);
    if (!fakedisk_exists(d, name, &len))
        return answer(IO_ENOENT);
    *st = (struct stat){.st_mode = S_IFREG | 0600, .st_size = (off_t)len};
    return 0;
}
