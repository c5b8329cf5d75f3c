/* faultdisk FOLDER MOUNTPOINT - a file system for tests: FOLDER, shown at MOUNTPOINT, as a disk that can fail. Stays in
 * the foreground until SIGTERM. FOLDER.attic is its own.
 *
 * MOUNTPOINT/.faultdisk takes commands, one a write, and reads as counters:
 *   cut SEED                  the power goes: what is not synced is lost, whole or in part, as SEED has it
 *   delay CALL MS [P]         calls (sync, write or read) take so long; P: only on files whose name begins with P
 *   fail CALL ERROR [P]       calls fail with EIO or ENOSPC. A failed sync loses what it was to save, unless that is
 *                             written again; with ENOSPC only what takes space fails
 *   lie sync yes [P]          syncs succeed and save nothing
 *   heal                      no more of these; who waits goes on
 * Pages go through the kernel's cache, so shared maps work. Syncs cost nothing: the power is ours. */
#define FUSE_USE_VERSION 31
#include "tests/cluster/disk/unsynced.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define CONTROL "/.faultdisk"
#define CONTROL_BYTES 512
#define PREFIX_BYTES 64

enum call { CALL_SYNC, CALL_WRITE, CALL_READ, N_CALLS };
static const char *const call_names[] = {"sync", "write", "read"};

struct fault {
    unsigned delay_ms;
    int error;
    bool lies;
    char delay_prefix[PREFIX_BYTES], error_prefix[PREFIX_BYTES]; /* The latter of lies, too. */
};

/* One open file: fi->fh. The control file has none. Calls on open files get no path: it may be gone. */
struct handle {
    int fd;
    char name[]; /* Without folders: what prefixes are compared with. */
};

static struct disk {
    int folder;
    pthread_mutex_t lock; /* Guards all that follows. */
    pthread_cond_t healed;
    struct unsynced *unsynced;
    struct fault faults[N_CALLS];
    uint64_t n_calls[N_CALLS], n_failed, n_cuts;
    struct unsynced_lost lost;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .healed = PTHREAD_COND_INITIALIZER};

/* Paths come as "/name", and go to *at calls as "name". */
static const char *rel(const char *path)
{
    return path[1] == 0 ? "." : path + 1;
}

static const char *base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static bool is_control(const char *path)
{
    return path != NULL && strcmp(path, CONTROL) == 0;
}

static int result(int rc)
{
    return rc < 0 ? -errno : rc;
}

static struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool waits(const struct fault *f, const char *name, const struct timespec *end)
{
    return f->delay_ms != 0 && begins(name, f->delay_prefix) &&
           pthread_cond_timedwait(&disk.healed, &disk.lock, end) != ETIMEDOUT;
}

/* Take the lock and the time that a call takes now; the error it is to have. */
static int call_begin(enum call call, const char *name)
{
    struct timespec end;
    pthread_mutex_lock(&disk.lock);
    disk.n_calls[call]++;
    const struct fault *f = &disk.faults[call];
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += f->delay_ms / 1000;
    end.tv_nsec += (long)(f->delay_ms % 1000) * 1000000;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    while (waits(f, name, &end))
        ;
    return f->error != 0 && begins(name, f->error_prefix) ? f->error : 0;
}

/* Under the lock. */
static bool sync_lies(const char *name)
{
    const struct fault *f = &disk.faults[CALL_SYNC];
    return f->lies && begins(name, f->error_prefix);
}

static int call_end(int rc)
{
    pthread_mutex_unlock(&disk.lock);
    return rc;
}

static int failed(int error)
{
    disk.n_failed++;
    return -error;
}

/* ---- commands ---- */

static int command_cut(uint64_t seed)
{
    struct unsynced_lost lost;
    int rc = unsynced_cut(disk.unsynced, seed, &lost);
    disk.n_cuts++;
    disk.lost.pages += lost.pages;
    disk.lost.torn += lost.torn;
    disk.lost.sizes += lost.sizes;
    disk.lost.names += lost.names;
    return rc;
}

static int command_fault(const char *verb, const char *call, const char *how, const char *prefix)
{
    unsigned which = 0;
    while (which < N_CALLS && strcmp(call, call_names[which]) != 0)
        which++;
    if (which == N_CALLS)
        return -EINVAL;
    struct fault *f = &disk.faults[which];
    if (strcmp(verb, "delay") == 0) {
        f->delay_ms = (unsigned)strtoul(how, NULL, 10);
        snprintf(f->delay_prefix, sizeof f->delay_prefix, "%s", prefix);
        return 0;
    }
    if (strcmp(verb, "lie") == 0)
        f->lies = true;
    else if (strcmp(verb, "fail") == 0)
        f->error = strcmp(how, "ENOSPC") == 0 ? ENOSPC : EIO;
    else
        return -EINVAL;
    snprintf(f->error_prefix, sizeof f->error_prefix, "%s", prefix);
    return 0;
}

static int command_run(const char *text)
{
    char verb[16] = "", call[32] = "", how[16] = "", prefix[PREFIX_BYTES] = "";
    int n = sscanf(text, "%15s %31s %15s %63s", verb, call, how, prefix);
    if (n == 1 && strcmp(verb, "heal") == 0) {
        memset(disk.faults, 0, sizeof disk.faults);
        pthread_cond_broadcast(&disk.healed);
        return 0;
    }
    if (n == 2 && strcmp(verb, "cut") == 0)
        return command_cut(strtoull(call, NULL, 10));
    return n >= 3 ? command_fault(verb, call, how, prefix) : -EINVAL;
}

static int control_write(const char *data, size_t len)
{
    char text[CONTROL_BYTES];
    if (len >= sizeof text)
        return -EINVAL;
    memcpy(text, data, len);
    text[len] = 0;
    pthread_mutex_lock(&disk.lock);
    int rc = command_run(text);
    pthread_mutex_unlock(&disk.lock);
    return rc == 0 ? (int)len : rc;
}

static int control_read(char *buf, size_t size, off_t offset)
{
    char text[CONTROL_BYTES];
    pthread_mutex_lock(&disk.lock);
    int n =
        snprintf(text, sizeof text, "syncs %ju writes %ju failed %ju cuts %ju pages %ju torn %ju sizes %ju names %ju\n",
                 (uintmax_t)disk.n_calls[CALL_SYNC], (uintmax_t)disk.n_calls[CALL_WRITE], (uintmax_t)disk.n_failed,
                 (uintmax_t)disk.n_cuts, (uintmax_t)disk.lost.pages, (uintmax_t)disk.lost.torn,
                 (uintmax_t)disk.lost.sizes, (uintmax_t)disk.lost.names);
    pthread_mutex_unlock(&disk.lock);
    if (offset >= n)
        return 0;
    size_t len = (size_t)(n - offset) < size ? (size_t)(n - offset) : size;
    memcpy(buf, text + offset, len);
    return (int)len;
}

/* ---- the file system ---- */

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    if (fi == NULL ? is_control(path) : fi->fh == 0) {
        memset(st, 0, sizeof *st);
        st->st_mode = S_IFREG | 0600;
        st->st_nlink = 1;
        return 0;
    }
    if (fi != NULL)
        return result(fstat(handle_of(fi)->fd, st));
    return result(fstatat(disk.folder, rel(path), st, AT_SYMLINK_NOFOLLOW));
}

static int handle_open(const char *path, int flags, mode_t mode, struct fuse_file_info *fi)
{
    struct handle *h = calloc(1, sizeof *h + strlen(base(path)) + 1);
    if (h == NULL)
        return -ENOMEM;
    strcpy(h->name, base(path));
    h->fd = openat(disk.folder, rel(path), flags | O_CLOEXEC, mode);
    if (h->fd < 0) {
        free(h);
        return -errno;
    }
    fi->fh = (uint64_t)(uintptr_t)h;
    return 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi)
{
    if (is_control(path)) {
        fi->direct_io = 1;
        return 0;
    }
    return handle_open(path, fi->flags & ~(O_APPEND | O_CREAT | O_EXCL | O_TRUNC), 0, fi);
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int error = call_begin(CALL_WRITE, base(path));
    if (error != 0)
        return call_end(failed(error));
    int rc = handle_open(path, (fi->flags & ~O_APPEND) | O_CREAT, mode, fi);
    return call_end(rc == 0 ? unsynced_made(disk.unsynced, rel(path)) : rc);
}

static int fs_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    struct handle *h = handle_of(fi);
    if (h != NULL) { /* Not the control file. */
        close(h->fd);
        free(h);
    }
    return 0;
}

static int fs_read(const char *path, char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)path;
    if (fi->fh == 0)
        return control_read(buf, size, offset);
    struct handle *h = handle_of(fi);
    int error = call_begin(CALL_READ, h->name);
    /* SQLite maps this one: a failure would be a signal, which no program answers. */
    bool mapped = strlen(h->name) > 4 && strcmp(h->name + strlen(h->name) - 4, "-shm") == 0;
    return call_end(error != 0 && !mapped ? failed(error) : result((int)pread(h->fd, buf, size, offset)));
}

static bool takes_space(int fd, off_t end)
{
    struct stat st;
    return fstat(fd, &st) != 0 || end > st.st_size;
}

static int write_locked(struct handle *h, const char *data, size_t len, off_t offset, int error)
{
    if (error != 0 && (error != ENOSPC || takes_space(h->fd, offset + (off_t)len)))
        return failed(error);
    int rc = unsynced_before_write(disk.unsynced, h->fd, offset, len);
    return rc == 0 ? result((int)pwrite(h->fd, data, len, offset)) : rc;
}

static int fs_write(const char *path, const char *data, size_t len, off_t offset, struct fuse_file_info *fi)
{
    (void)path;
    if (fi->fh == 0)
        return control_write(data, len);
    struct handle *h = handle_of(fi);
    int error = call_begin(CALL_WRITE, h->name);
    return call_end(write_locked(h, data, len, offset, error));
}

static int resize_locked(int fd, off_t size)
{
    int rc = unsynced_before_resize(disk.unsynced, fd, size);
    return rc == 0 ? result(ftruncate(fd, size)) : rc;
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    if (fi == NULL ? is_control(path) : fi->fh == 0)
        return 0;
    int fd = fi != NULL ? dup(handle_of(fi)->fd) : openat(disk.folder, rel(path), O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = call_begin(CALL_WRITE, fi != NULL ? handle_of(fi)->name : base(path));
    int rc = error == EIO ? failed(error) : resize_locked(fd, size);
    close(fd);
    return call_end(rc);
}

static int allocate_locked(int fd, off_t end)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    return end > st.st_size ? resize_locked(fd, end) : 0;
}

/* Space is not what is tested here: only the size counts. */
static int fs_fallocate(const char *path, int mode, off_t offset, off_t len, struct fuse_file_info *fi)
{
    (void)path;
    if (mode != 0)
        return -EOPNOTSUPP;
    struct handle *h = handle_of(fi);
    int error = call_begin(CALL_WRITE, h->name);
    return call_end(error != 0 ? failed(error) : allocate_locked(h->fd, offset + len));
}

static int fs_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)path, (void)datasync;
    if (fi->fh == 0)
        return 0;
    struct handle *h = handle_of(fi);
    int error = call_begin(CALL_SYNC, h->name);
    if (error == 0) {
        if (!sync_lies(h->name))
            unsynced_synced(disk.unsynced, h->fd);
        return call_end(0);
    }
    unsynced_sync_failed(disk.unsynced, h->fd);
    return call_end(failed(error));
}

/* Only one folder holds files that matter: its root. */
static int fs_fsyncdir(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)path, (void)datasync, (void)fi;
    int error = call_begin(CALL_SYNC, "");
    if (error != 0)
        return call_end(failed(error));
    if (!sync_lies(""))
        unsynced_folder_synced(disk.unsynced);
    return call_end(0);
}

static int fs_unlink(const char *path)
{
    int error = call_begin(CALL_WRITE, base(path));
    return call_end(error == EIO ? failed(error) : unsynced_unlink(disk.unsynced, rel(path)));
}

static int fs_rename(const char *from, const char *to, unsigned flags)
{
    if (flags != 0)
        return -EINVAL;
    int error = call_begin(CALL_WRITE, base(to));
    return call_end(error == EIO ? failed(error) : unsynced_rename(disk.unsynced, rel(from), rel(to)));
}

static int fs_opendir(const char *path, struct fuse_file_info *fi)
{
    return handle_open(path, O_RDONLY | O_DIRECTORY, 0, fi);
}

static int fs_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *fi,
                      enum fuse_readdir_flags flags)
{
    (void)path, (void)offset, (void)flags;
    int fd = openat(handle_of(fi)->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL)
        return -errno;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        fill(buf, e->d_name, NULL, 0, 0);
    closedir(dir);
    return 0;
}

static int fs_statfs(const char *path, struct statvfs *st)
{
    (void)path;
    int rc = result(fstatvfs(disk.folder, st));
    pthread_mutex_lock(&disk.lock);
    if (disk.faults[CALL_WRITE].error == ENOSPC)
        st->f_bfree = st->f_bavail = 0;
    pthread_mutex_unlock(&disk.lock);
    return rc;
}

static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    (void)fi;
    return result(fchmodat(disk.folder, rel(path), mode, 0));
}

static int fs_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
    (void)fi;
    return result(utimensat(disk.folder, rel(path), times, AT_SYMLINK_NOFOLLOW));
}

static void *fs_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    /* Inode numbers are the folder's, unlinked files stay what they are, and nothing is remembered across a cut. */
    config->use_ino = 1;
    config->hard_remove = 1;
    config->nullpath_ok = 1;
    config->attr_timeout = config->entry_timeout = config->negative_timeout = 0;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = fs_init,
    .getattr = fs_getattr,
    .open = fs_open,
    .create = fs_create,
    .release = fs_release,
    .read = fs_read,
    .write = fs_write,
    .truncate = fs_truncate,
    .fallocate = fs_fallocate,
    .fsync = fs_fsync,
    .fsyncdir = fs_fsyncdir,
    .unlink = fs_unlink,
    .rename = fs_rename,
    .opendir = fs_opendir,
    .readdir = fs_readdir,
    .releasedir = fs_release,
    .statfs = fs_statfs,
    .chmod = fs_chmod,
    .utimens = fs_utimens,
};

static int folder_open(const char *path)
{
    int fd = mkdir(path, 0700) == 0 || errno == EEXIST ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0) {
        fprintf(stderr, "faultdisk: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: faultdisk FOLDER MOUNTPOINT\n");
        return 2;
    }
    char attic[4096];
    snprintf(attic, sizeof attic, "%s.attic", argv[1]);
    disk.folder = folder_open(argv[1]);
    disk.unsynced = unsynced_open(disk.folder, folder_open(attic));
    if (disk.unsynced == NULL)
        return 1;
    char *args[] = {argv[0], "-f", "-o", "fsname=faultdisk", argv[2], NULL};
    int rc = fuse_main(5, args, &operations, NULL);
    unsynced_close(disk.unsynced);
    return rc;
}
