/* unsynced.c - the folder always holds what was written last; beside it, in memory, stands what a cut may bring back.
 * A page is copied when it is first changed after a sync. A name that goes is kept as a link in the attic. */
#include "tests/cluster/disk/unsynced.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define SECTOR_BYTES 512
#define NAME_BYTES 256
#define TORN_PERCENT 10

struct page {
    uint64_t number;
    bool doomed;   /* A sync of it has failed: later ones do not reach it. */
    uint8_t old[]; /* As last synced; nothing when it lies behind the synced size. */
};

struct file {
    struct file *next;
    ino_t ino;
    int fd; /* Our own, so that the file can be put back whatever becomes of its name. */
    off_t synced_size;
    bool size_doomed;
    void *pages; /* tsearch, by number. */
};

enum change_kind { CHANGE_MADE, CHANGE_UNLINKED, CHANGE_RENAMED };

struct change {
    struct change *before;
    enum change_kind kind;
    char path[NAME_BYTES];  /* The name that went, or was made. */
    char other[NAME_BYTES]; /* Of a rename: the new name. */
    uint64_t kept;          /* In the attic: what had the name that is gone; 0: nothing. */
};

struct unsynced {
    int folder, attic;
    struct file *files;
    struct change *last;
    uint64_t n_changes;
    uint64_t next_kept;
    uint64_t chance;
    struct unsynced_lost lost;
};

struct unsynced *unsynced_open(int folder, int attic)
{
    struct unsynced *u = calloc(1, sizeof *u);
    if (u == NULL)
        return NULL;
    u->folder = folder;
    u->attic = attic;
    return u;
}

/* splitmix64 */
static uint64_t chance_next(struct unsynced *u)
{
    uint64_t z = u->chance += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool chance_percent(struct unsynced *u, unsigned percent)
{
    return chance_next(u) % 100 < percent;
}

static int page_compare(const void *a, const void *b)
{
    uint64_t x = ((const struct page *)a)->number, y = ((const struct page *)b)->number;
    return (x > y) - (x < y);
}

static void file_free(struct file *f)
{
    tdestroy(f->pages, free);
    close(f->fd);
    free(f);
}

/* A descriptor of our own for the same file, whatever mode the owner's has. */
static int reopen(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

static struct file **file_find(struct unsynced *u, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return NULL;
    for (struct file **f = &u->files; *f != NULL; f = &(*f)->next)
        if ((*f)->ino == st.st_ino)
            return f;
    return NULL;
}

/* The file's record, made when there is none: what it is now is what was synced. */
static int file_know(struct unsynced *u, int fd, struct file **ret)
{
    struct file **found = file_find(u, fd);
    if (found != NULL) {
        *ret = *found;
        return 0;
    }
    struct stat st;
    struct file *f = calloc(1, sizeof *f);
    if (f == NULL || fstat(fd, &st) != 0 || (f->fd = reopen(fd)) < 0) {
        free(f);
        return -EIO;
    }
    f->ino = st.st_ino;
    f->synced_size = st.st_size;
    f->next = u->files;
    u->files = f;
    *ret = f;
    return 0;
}

static int page_keep(struct file *f, uint64_t number)
{
    struct page key = {.number = number};
    struct page **found = tfind(&key, &f->pages, page_compare);
    if (found != NULL) {
        (*found)->doomed = false;
        return 0;
    }
    bool behind = (off_t)(number * PAGE_BYTES) >= f->synced_size;
    struct page *p = calloc(1, sizeof *p + (behind ? 0 : PAGE_BYTES));
    if (p == NULL)
        return -ENOMEM;
    p->number = number;
    if (!behind && pread(f->fd, p->old, PAGE_BYTES, (off_t)(number * PAGE_BYTES)) < 0) {
        free(p);
        return -EIO;
    }
    if (tsearch(p, &f->pages, page_compare) == NULL) {
        free(p);
        return -ENOMEM;
    }
    return 0;
}

static int pages_keep(struct file *f, off_t start, off_t end)
{
    int rc = 0;
    for (off_t at = start - start % PAGE_BYTES; at < end && rc == 0; at += PAGE_BYTES)
        rc = page_keep(f, (uint64_t)at / PAGE_BYTES);
    return rc;
}

int unsynced_before_write(struct unsynced *u, int fd, off_t offset, size_t len)
{
    struct file *f;
    int rc = file_know(u, fd, &f);
    return rc == 0 ? pages_keep(f, offset, offset + (off_t)len) : rc;
}

int unsynced_before_resize(struct unsynced *u, int fd, off_t size)
{
    struct file *f;
    int rc = file_know(u, fd, &f);
    if (rc == 0)
        f->size_doomed = false;
    return rc == 0 ? pages_keep(f, size, f->synced_size) : rc;
}

/* twalk_r: collects the pages that a sync does not reach. */
static void page_collect_doomed(const void *node, VISIT visit, void *ctx)
{
    struct page *p = *(struct page *const *)node;
    void **kept = ctx;
    if ((visit == postorder || visit == leaf) && p->doomed && tsearch(p, kept, page_compare) == NULL)
        abort();
}

static void page_free_unless_doomed(void *page)
{
    if (!((struct page *)page)->doomed)
        free(page);
}

void unsynced_synced(struct unsynced *u, int fd)
{
    struct file **at = file_find(u, fd);
    if (at == NULL)
        return;
    struct file *f = *at;
    void *doomed = NULL;
    twalk_r(f->pages, page_collect_doomed, &doomed);
    tdestroy(f->pages, page_free_unless_doomed);
    f->pages = doomed;
    struct stat st;
    if (!f->size_doomed && fstat(f->fd, &st) == 0)
        f->synced_size = st.st_size;
    if (f->pages == NULL && !f->size_doomed) {
        *at = f->next;
        file_free(f);
    }
}

static void page_doom(const void *node, VISIT visit, void *ctx)
{
    (void)ctx;
    if (visit == postorder || visit == leaf)
        (*(struct page *const *)node)->doomed = true;
}

void unsynced_sync_failed(struct unsynced *u, int fd)
{
    struct file **at = file_find(u, fd);
    if (at == NULL)
        return;
    struct stat st;
    (*at)->size_doomed = fstat((*at)->fd, &st) == 0 && st.st_size != (*at)->synced_size;
    twalk_r((*at)->pages, page_doom, NULL);
}

static struct change *change_new(enum change_kind kind, const char *path, const char *other)
{
    struct change *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->kind = kind;
    snprintf(c->path, sizeof c->path, "%s", path);
    snprintf(c->other, sizeof c->other, "%s", other);
    return c;
}

static void change_push(struct unsynced *u, struct change *c)
{
    c->before = u->last;
    u->last = c;
    u->n_changes++;
}

static const char *attic_name(uint64_t kept, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%llu", (unsigned long long)kept);
    return name;
}

/* A second name in the attic for what `path` names, if it names anything. */
static int attic_keep(struct unsynced *u, const char *path, uint64_t *ret)
{
    char name[NAME_BYTES];
    if (linkat(u->folder, path, u->attic, attic_name(u->next_kept + 1, name), 0) != 0)
        return errno == ENOENT ? 0 : -errno;
    *ret = ++u->next_kept;
    return 0;
}

static void attic_drop(struct unsynced *u, uint64_t kept)
{
    char name[NAME_BYTES];
    if (kept != 0)
        unlinkat(u->attic, attic_name(kept, name), 0);
}

static int attic_restore(struct unsynced *u, uint64_t kept, const char *path)
{
    char name[NAME_BYTES];
    if (kept == 0)
        return 0;
    return renameat(u->attic, attic_name(kept, name), u->folder, path) == 0 ? 0 : -errno;
}

int unsynced_made(struct unsynced *u, const char *path)
{
    struct change *c = change_new(CHANGE_MADE, path, "");
    if (c == NULL)
        return -ENOMEM;
    change_push(u, c);
    return 0;
}

static int change_done(struct unsynced *u, struct change *c, int rc)
{
    if (rc == 0) {
        change_push(u, c);
        return 0;
    }
    rc = -errno;
    attic_drop(u, c->kept);
    free(c);
    return rc;
}

int unsynced_unlink(struct unsynced *u, const char *path)
{
    struct change *c = change_new(CHANGE_UNLINKED, path, "");
    int rc = c == NULL ? -ENOMEM : attic_keep(u, path, &c->kept);
    if (rc != 0) {
        free(c);
        return rc;
    }
    return change_done(u, c, unlinkat(u->folder, path, 0));
}

int unsynced_rename(struct unsynced *u, const char *from, const char *to)
{
    struct change *c = change_new(CHANGE_RENAMED, from, to);
    int rc = c == NULL ? -ENOMEM : attic_keep(u, to, &c->kept);
    if (rc != 0) {
        free(c);
        return rc;
    }
    return change_done(u, c, renameat(u->folder, from, u->folder, to));
}

void unsynced_folder_synced(struct unsynced *u)
{
    while (u->last != NULL) {
        struct change *c = u->last;
        u->last = c->before;
        attic_drop(u, c->kept);
        free(c);
    }
    u->n_changes = 0;
}

static int change_undo(struct unsynced *u, const struct change *c)
{
    switch (c->kind) {
    case CHANGE_MADE:
        return unlinkat(u->folder, c->path, 0) == 0 ? 0 : -errno;
    case CHANGE_UNLINKED:
        return attic_restore(u, c->kept, c->path);
    case CHANGE_RENAMED:
        if (renameat(u->folder, c->other, u->folder, c->path) != 0)
            return -errno;
        return attic_restore(u, c->kept, c->other);
    }
    return -EINVAL;
}

/* None, all, or a part of the changes of names is lost, the last ones first. */
static int names_cut(struct unsynced *u)
{
    static const unsigned all_percent = 30, none_percent = 30;
    uint64_t n = chance_next(u) % (u->n_changes + 1);
    if (chance_percent(u, all_percent))
        n = u->n_changes;
    else if (chance_percent(u, none_percent))
        n = 0;
    for (; n > 0; n--) {
        struct change *c = u->last;
        int rc = change_undo(u, c);
        if (rc != 0)
            return rc;
        u->last = c->before;
        u->lost.names++;
        free(c);
    }
    unsynced_folder_synced(u);
    return 0;
}

struct cut {
    struct unsynced *u;
    struct file *f;
    unsigned lost_percent;
    off_t live_size; /* Before the cut. */
    int rc;
};

static void sector_restore(struct cut *cut, const struct page *p, size_t at, size_t len)
{
    static const uint8_t zeros[PAGE_BYTES];
    off_t offset = (off_t)(p->number * PAGE_BYTES);
    const uint8_t *old = offset >= cut->f->synced_size ? zeros : p->old;
    if (pwrite(cut->f->fd, old + at, len, offset + (off_t)at) != (ssize_t)len)
        cut->rc = -EIO;
}

/* twalk_r: this page as it was, as it is, or some of both. */
static void page_cut(const void *node, VISIT visit, void *ctx)
{
    if (visit != postorder && visit != leaf)
        return;
    const struct page *p = *(struct page *const *)node;
    struct cut *cut = ctx;
    bool gone = (off_t)(p->number * PAGE_BYTES) >= cut->live_size; /* By a truncation: there is only the old one. */
    if (gone || p->doomed || chance_percent(cut->u, cut->lost_percent)) {
        sector_restore(cut, p, 0, PAGE_BYTES);
        cut->u->lost.pages++;
    } else if (chance_percent(cut->u, TORN_PERCENT)) {
        for (size_t at = 0; at < PAGE_BYTES; at += SECTOR_BYTES)
            if (chance_percent(cut->u, 50))
                sector_restore(cut, p, at, SECTOR_BYTES);
        cut->u->lost.torn++;
    }
}

static int file_cut(struct unsynced *u, struct file *f)
{
    static const unsigned lost_percents[] = {0, 10, 50, 90, 100};
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return -errno;
    struct cut cut = {.u = u, .f = f, .live_size = st.st_size};
    cut.lost_percent = lost_percents[chance_next(u) % 5];
    off_t size = st.st_size;
    if (st.st_size != f->synced_size && (f->size_doomed || chance_percent(u, 50))) {
        size = f->synced_size;
        u->lost.sizes++;
    }
    twalk_r(f->pages, page_cut, &cut);
    /* Pages may have been put back behind the end. */
    if (cut.rc == 0 && ftruncate(f->fd, size) != 0)
        cut.rc = -errno;
    return cut.rc;
}

int unsynced_cut(struct unsynced *u, uint64_t seed, struct unsynced_lost *ret)
{
    u->chance = seed;
    u->lost = (struct unsynced_lost){0};
    int rc = 0;
    while (u->files != NULL) {
        struct file *f = u->files;
        u->files = f->next;
        int failed = file_cut(u, f);
        rc = rc == 0 ? failed : rc;
        file_free(f);
    }
    int failed = names_cut(u);
    *ret = u->lost;
    return rc == 0 ? failed : rc;
}

void unsynced_close(struct unsynced *u)
{
    if (u == NULL)
        return;
    unsynced_folder_synced(u);
    while (u->files != NULL) {
        struct file *f = u->files;
        u->files = f->next;
        file_free(f);
    }
    free(u);
}
