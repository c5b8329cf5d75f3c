/* io_uv.h - struct io for production: files in one directory, a thread for each lane of jobs, libuv's timer, the
 * kernel's clock and chance, and links to peers by link.h.
 *
 * A directory has one user: it holds an exclusive flock() on the file "lock" in it, which ends with the process. */
#pragma once
#include "raft/io.h"
#include "raft/link.h"
#include <uv.h>

struct io_uv_options {
    const char *directory; /* Made (mode 0700) if it does not exist; its parent must. */
    uv_loop_t *loop;
    struct links *links;                       /* NULL: no peers, sends are dropped. Must outlive the io. */
    void (*on_timer)(struct replica *replica); /* Called with io->replica. */
};

enum io_uv_err { IO_UV_ENOMEM = -1, IO_UV_EBUSY = -2 /* another process has the directory */, IO_UV_EIO = -3 };

/* Errors come with a sentence in error. */
int io_uv_open(const struct io_uv_options *options, char error[256], struct io **ret);
/* The links to use from now on; NULL: none. (They need the start number, which the log gives only once io is there.) */
void io_uv_set_links(struct io *io, struct links *links);
/* How many writes and syncs have begun, and how many of them have ended, so or so. Any thread. */
void io_uv_calls(const struct io *io, uint64_t *ret_begun, uint64_t *ret_ended);
/* Run the jobs that are still queued, call their done(), then close the libuv handles; the memory is freed by
 * the loop, which must run once more. Close whatever uses io before. NULL is fine. */
void io_uv_close(struct io *io);
