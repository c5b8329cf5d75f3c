/* disks.h - the nodes' data directories, /sim/n1 and so on, on their fake disks: for SQLite through a VFS, for the few
 * calls that store/ makes itself by the linker's --wrap. So the state file is subject to the same power failures,
 * errors and full disks as the log, and store/ runs as it is. */
#pragma once
#include "tests/support/fakedisk.h"

#define DISKS_PREFIX "/sim/n"

/* Register the VFS, once. */
void disks_init(void);
/* What is now at /sim/nNUMBER. NULL: nothing. */
void disks_mount(int number, struct fakedisk *disk);
/* The disk a path leads to and the name on it ("" for the directory); NULL: not ours. */
struct fakedisk *disks_find(const char *path, const char **ret_name);
