/* outbox.h - frames waiting to leave on one connection, gathered into as few writes as possible.
 *
 * Two batches: one fills while the other leaves. Heads and short payloads are copied into the batch's own memory, long
 * payloads stay in their blobs, which are referenced until sent. Memory is reused from batch to batch: no allocation
 * a frame. Loop thread only. */
#pragma once
#include "raft/io.h"
#include <uv.h>

struct outbox_piece {
    struct blob *blob; /* NULL: in the batch's own bytes. */
    size_t offset, len;
};

struct outbox_batch {
    uint8_t *own;
    size_t own_len, own_cap;
    struct outbox_piece *pieces;
    size_t n, cap;
    size_t bytes;
};

struct outbox {
    struct outbox_batch filling, leaving;
    uv_buf_t *bufs; /* Of the batch that leaves; [bufs_at, bufs_n) are not yet written. */
    size_t bufs_at, bufs_n, bufs_cap;
};

enum outbox_err { OUTBOX_ENOMEM = -1 };

/* A zeroed outbox is an empty one. */
void outbox_release(struct outbox *o);
/* Add one frame. After OUTBOX_ENOMEM the last frame may be there in part: nothing may be sent any more. */
int outbox_add(struct outbox *o, uint8_t kind, const void *head, size_t head_len, const struct io_slice *slices,
               size_t n);
/* Bytes of the batch that fills. */
size_t outbox_filling(const struct outbox *o);

/* Let what was gathered leave: *ret_bufs is valid until the next call but outbox_add. Nothing may be leaving. Returns
 * the number of buffers (0: nothing to send), or OUTBOX_ENOMEM. */
long outbox_take(struct outbox *o, uv_buf_t **ret_bufs);
/* The first `bytes` of what leaves are written. Returns the number of buffers left, now at *ret_bufs. */
size_t outbox_advance(struct outbox *o, size_t bytes, uv_buf_t **ret_bufs);
/* All of what was leaving is written, or given up. */
void outbox_left(struct outbox *o);
