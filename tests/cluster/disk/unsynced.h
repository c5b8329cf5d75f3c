/* unsynced.h - what a disk may still forget: for every file the pages as they were when it was last synced, and the
 * changes of names since their folder was. A power cut puts any part of that back, as chance has it.
 *
 * Strict where POSIX is: a synced file whose folder was not synced may lose its name. Names are lost from the last
 * change backwards, as journals do; pages in any order, and some in part (by sectors). The owner tells of each change
 * before it makes it. Not thread-safe: the owner holds a lock. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct unsynced;

struct unsynced_lost {
    uint64_t pages, torn, sizes, names;
};

/* folder: what the disk is made of. attic: a folder on the same file system, for what loses its name. Both are the
 * caller's and stay open. NULL: no memory. */
struct unsynced *unsynced_open(int folder, int attic);
void unsynced_close(struct unsynced *u);

/* Before bytes [offset, offset + len) of the file are written, or its size becomes `size`. Negative errno. */
int unsynced_before_write(struct unsynced *u, int fd, off_t offset, size_t len);
int unsynced_before_resize(struct unsynced *u, int fd, off_t size);
/* The file was synced: it will not forget. Pages whose sync has failed stay in doubt until they are written again. */
void unsynced_synced(struct unsynced *u, int fd);
void unsynced_sync_failed(struct unsynced *u, int fd);

/* Changes of names, paths relative to the folder. `made` is told after it has happened, the others do it themselves. */
int unsynced_made(struct unsynced *u, const char *path);
int unsynced_unlink(struct unsynced *u, const char *path);
int unsynced_rename(struct unsynced *u, const char *from, const char *to);
void unsynced_folder_synced(struct unsynced *u);

/* The power goes. Everything that is left is synced. */
int unsynced_cut(struct unsynced *u, uint64_t seed, struct unsynced_lost *ret);
