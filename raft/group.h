/* group.h - one write of the log: up to GROUP_ENTRIES_MAX entries into one segment file, with one sync, and before
 * that, if need be, the turn to a new file. The loop thread fills it in, a worker runs it, the loop thread takes
 * the result. Only one is ever under way. */
#pragma once
#include "raft/segment.h"

#define GROUP_ENTRIES_MAX 500
#define GROUP_BYTES_MAX (4u << 20) /* A single larger entry is a group of its own. */

struct group {
    struct io *io;
    struct io_job job;

    /* The file written to; the worker replaces it at a turn. */
    struct io_file *file;
    uint64_t number, offset; /* Where the next record goes. */
    uint32_t seed, chain;    /* The header's crc; the last record's crc. */

    bool turn; /* Begin a new file with this header first: */
    struct segment_header header;
    char spare[SEGMENT_NAME_BYTES]; /* out of this spare, or "" */
    uint64_t allocate_bytes;        /* without a spare: reserve so much if the disk has it; 0: nothing */

    uint64_t first_index;
    size_t n;
    struct log_entry entries[GROUP_ENTRIES_MAX]; /* Each holds a reference to its blob. */

    bool ran;
    int rc; /* 0, LOG_EIO or LOG_ENOSPC */
    char why[256];
    uint64_t sync_us;

    uint8_t heads[GROUP_ENTRIES_MAX][RECORD_ALIGN + RECORD_HEADER_BYTES];
    struct iovec iov[2 * GROUP_ENTRIES_MAX + 1];
};

/* Add an entry (takes a reference), for a group that is not under way. */
void group_add(struct group *g, const struct log_entry *e);
/* Drop the entries' references. Loop thread. */
void group_clear(struct group *g);
/* Do it all, on the worker (or blocking, when the log is opened). */
void group_run(struct group *g);
/* Write a mark at the end and sync; blocking, when nothing is under way. 0 or LOG_EIO, LOG_ENOSPC. */
int group_mark(struct group *g, uint64_t last_index);
