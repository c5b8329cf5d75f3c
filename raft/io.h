/* io.h - everything in raft/ that is not a function of its inputs: disk, links, clock and chance.
 * Production (io_uv.c) does it with files, libuv and threads; the simulator does it in virtual time. One struct io
 * serves one replica. Calls are made on the loop thread, except where a comment names the worker. */
#pragma once
#include "raft/blob.h"
#include <stdbool.h>
#include <sys/uio.h>

struct io;
struct io_file;
struct io_slice;
struct replica;

enum io_err {
    IO_ENOMEM = -1,
    IO_ENOENT = -2,
    IO_ENOSPC = -3,
    IO_EIO = -4, /* Anything else; io->error has errno's words. */
    IO_EEXIST = -5,
};

enum io_open { IO_READ = 1, IO_WRITE = 2, IO_CREATE = 4 /* must not exist */, IO_TRUNCATE = 8 };

/* A job for a worker thread: run() on the worker, then done() on the loop thread. Jobs of one lane run one
 * after another in the order given; lanes are independent. Embed it and use container_of. */
struct io_job {
    void (*run)(struct io_job *);
    void (*done)(struct io_job *);
    struct io_job *next; /* Owned by io while queued. */
};
enum io_lane { IO_LANE_LOG, IO_LANE_SPARE, IO_LANES };

/* Files: names are relative to the replica's directory and have no '/'. These are synchronous and may be called from
 * the loop thread (start, term and vote) and from a worker (everything else). Short reads at the end of the
 * file are reported by the returned count; other errors are io_err. */
struct io_ops {
    int (*open)(struct io *io, const char *name, int flags, struct io_file **ret);
    void (*close)(struct io_file *f);
    long (*pread)(struct io_file *f, void *buf, size_t len, uint64_t offset);
    int (*pwritev)(struct io_file *f, const struct iovec *iov, int n, uint64_t offset); /* all or an error */
    int (*sync)(struct io_file *f);                                                     /* fdatasync */
    int (*size)(struct io_file *f, uint64_t *ret);
    int (*allocate)(struct io_file *f, uint64_t len);               /* reserve blocks and set the size */
    int (*rename)(struct io *io, const char *from, const char *to); /* durable only after sync_dir */
    int (*unlink)(struct io *io, const char *name);
    int (*list)(struct io *io, void (*each)(void *ctx, const char *name), void *ctx);
    int (*sync_dir)(struct io *io);
    /* Bytes that can still be written to the directory's file system. NULL, or non-zero: not known. */
    int (*space)(struct io *io, uint64_t *ret_free);

    void (*submit)(struct io *io, enum io_lane lane, struct io_job *job);

    uint64_t (*now_ms)(struct io *io); /* monotonic */
    uint64_t (*now_us)(struct io *io); /* the same clock, finer; also on a worker */
    uint64_t (*random)(struct io *io);
    /* Call replica_timer() at or soon after at_ms; replaces the earlier request. */
    void (*timer)(struct io *io, uint64_t at_ms);

    /* Links. Send one frame of a kind (frames.h) to a peer: head (copied) and n slices of blobs (referenced until
     * sent). Lost without a word when the link is down; a link whose queue is full is closed. */
    void (*send)(struct io *io, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                 const struct io_slice *slices, size_t n);
    /* Start (or with address NULL stop) keeping a link to a peer. */
    void (*peer)(struct io *io, uint64_t peer, const char *address);
    /* Bytes waiting to be sent to a peer; SIZE_MAX when the link is down. */
    size_t (*backlog)(struct io *io, uint64_t peer);
};

struct io_slice {
    struct blob *blob;
    size_t offset, len;
};

struct io {
    const struct io_ops *ops;
    struct replica *replica; /* Set by replica_open(): whom to call. */
    char error[160];         /* The last failed file call, in words (loop thread or its worker). */
};
