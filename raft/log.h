/* log.h - the replicated log of one node on its own disk: segment files, term and vote.
 *
 * Memory holds every entry that may still be asked for in a hurry (log_get); what was pushed out of memory is read
 * back from the segment files (log_read). Appends go to memory at once and to disk in groups: one write
 * and one fdatasync at a time on the log lane, everything that came meanwhile in the next one.
 * A failed write or sync is never retried: on_failed is called and nothing more is written. */
#pragma once
#include "raft/histogram.h"
#include "raft/io.h"

struct log;

enum log_err {
    LOG_ENOMEM = -1,
    LOG_EIO = -2,      /* error text has the file and errno's words */
    LOG_ECORRUPT = -3, /* damage in the middle, a gap, or segments without their meta file */
    LOG_EVERSION = -4,
    LOG_EFOREIGN = -5, /* another cluster's or another node's directory */
    LOG_ENOSPC = -6,
    LOG_ENOENT = -7, /* the entry is not (or no longer) in the log */
};

enum log_type { LOG_COMMAND = 1, LOG_BARRIER = 2, LOG_CHANGE = 3 }; /* as in libraft's raft_entry_type */

struct log_entry {
    uint64_t term;
    uint8_t type;
    struct blob *blob;  /* May be shared by several entries. */
    size_t offset, len; /* The payload inside the blob. */
};

#define LOG_CLUSTER_ID_BYTES 16
#define LOG_ENTRY_BYTES_MAX (64u << 20)

struct log_options {
    uint8_t cluster_id[LOG_CLUSTER_ID_BYTES];
    uint64_t node_id;
    uint64_t segment_bytes; /* e.g. 64 MiB; a larger entry gets a larger segment */
    size_t memory_bytes;    /* entries kept in memory beyond those not yet durable or applied */
    uint64_t reserve_bytes; /* free space below which log_has_reserve() says no; yes again from a quarter more on */
    unsigned spares;        /* prepared segments kept ready: the disk reserve (2) */
    /* Everything up to `index` is on disk and was written with `term`. Called once per group, on the loop thread. */
    void (*on_durable)(void *ctx, uint64_t index, uint64_t term);
    /* Nothing will be written any more: the node must stop. */
    void (*on_failed)(void *ctx, const char *why);
    void *ctx;
};

/* Open or create the log in io's directory: read meta, scan the segments, cut a torn tail, bump the start number.
 * Errors come with a sentence in error. Blocking; before the loop runs. */
int log_open(struct io *io, const struct log_options *options, char error[256], struct log **ret);
/* Close. Does not write what is still queued. Memory is freed at once if nothing is under way, else when io calls
 * done() of the last job, which it may do without having called run(); no callback is made from now on. NULL is fine.
 */
void log_close(struct log *l);

/* Had nothing been stored before log_open()? Then term, vote, first and last are 0, 0, 1, 0. */
bool log_is_new(const struct log *l);
/* Start number of this process: 1 for the first log_open() of a directory, one more for each; durable before open
 * returns. */
uint64_t log_start(const struct log *l);
/* Which directory this is: drawn by chance when it was made, never 0. */
uint64_t log_incarnation(const struct log *l);
uint64_t log_term(const struct log *l);
uint64_t log_vote(const struct log *l);
/* Make term and vote durable before returning (two slots, CRC, fdatasync; blocking, loop thread). On error the node
 * must stop. */
int log_set_vote(struct log *l, uint64_t term, uint64_t vote);

uint64_t log_first(const struct log *l);   /* First index held (memory or disk); last + 1 when empty. */
uint64_t log_last(const struct log *l);    /* Last index appended, durable or not; first - 1 when empty. */
uint64_t log_durable(const struct log *l); /* Highest index known to be on disk. */
/* Term of an entry; also of first - 1 (the base), when known. 0 when not known. */
uint64_t log_term_at(const struct log *l, uint64_t index);
uint64_t log_disk_bytes(const struct log *l); /* Of the records held, not of the spares. */
uint64_t log_sync_count(const struct log *l);
uint64_t log_sync_us_median(const struct log *l); /* over the last 64 syncs */
const struct histogram *log_sync_times(const struct log *l);
/* False: no spare could be made (disk full): refuse client writes. Asking tries again, once a second at most. */
bool log_has_reserve(struct log *l);
/* Bytes of the same disk that the owner has promised to others (its state file): wanted on top of reserve_bytes. */
void log_set_claim(struct log *l, uint64_t bytes);

/* Append n entries at `index`, truncating everything from `index` on first (index <= last + 1, index >= first;
 * asserted). References each entry's blob. Memory now, disk in the next group.
 * Errors: LOG_ENOMEM (the node must stop). */
int log_append(struct log *l, uint64_t index, const struct log_entry *entries, size_t n);
/* The entry at index if it is in memory, else NULL. Borrowed until the next call that changes the log. */
const struct log_entry *log_get(const struct log *l, uint64_t index);
/* The entry at index, from memory or disk (blocking read of one segment; rare: far-behind followers and start).
 * The caller unrefs ret->blob. Errors: LOG_ENOENT; LOG_EIO, LOG_ECORRUPT (io->error has the words), LOG_ENOMEM. */
int log_read(struct log *l, uint64_t index, struct log_entry *ret);
/* Entries up to index have been applied: they may leave memory when memory_bytes is exceeded. */
void log_applied(struct log *l, uint64_t index);
/* Forget entries up to and including index (a checkpoint holds them): free or recycle whole segments. The node keeps
 * some for slow followers by passing a smaller index. */
void log_cut(struct log *l, uint64_t index);
/* Throw the whole log away and start again after a snapshot at index with term: first = index + 1, last = index. Goes
 * through the write queue in order, and calls on_durable(index, term) when it is on disk. */
int log_reset(struct log *l, uint64_t index, uint64_t term);
