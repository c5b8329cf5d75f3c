/* outbox.c - gathering frames.
 *
 * Bytes added one after another to a batch's own memory become one piece, so a thousand small frames are one buffer.
 * Own memory may move while it grows; therefore pieces hold offsets, and addresses are made in outbox_take(), after
 * which that batch does not grow. */
#include "raft/outbox.h"
#include "raft/crc32c.h"
#include "raft/frames.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define OUTBOX_COPY_MAX 512          /* Payloads up to here are copied: cheaper than a buffer of their own. */
#define OUTBOX_KEEP_BYTES (1u << 20) /* More own memory than this is given back after use. */
#define OUTBOX_KEEP_PIECES 4096

/* Room for one more than n elements of `size` bytes; doubles. */
static void *grow(void *array, size_t need, size_t *cap, size_t size)
{
    if (need <= *cap)
        return array;
    size_t want = *cap > 0 ? *cap : 64;
    while (want < need)
        want *= 2;
    void *grown = realloc(array, want * size);
    if (grown != NULL)
        *cap = want;
    return grown;
}

static int batch_piece(struct outbox_batch *b, struct blob *blob, size_t offset, size_t len)
{
    struct outbox_piece *pieces = grow(b->pieces, b->n + 1, &b->cap, sizeof *pieces);
    if (pieces == NULL)
        return OUTBOX_ENOMEM;
    b->pieces = pieces;
    b->pieces[b->n++] = (struct outbox_piece){.blob = blob, .offset = offset, .len = len};
    b->bytes += len;
    return 0;
}

/* Copies; the bytes join the piece before them if that is the batch's own. */
static int batch_copy(struct outbox_batch *b, const void *bytes, size_t len)
{
    uint8_t *own = grow(b->own, b->own_len + len, &b->own_cap, 1);
    if (own == NULL)
        return OUTBOX_ENOMEM;
    b->own = own;
    memcpy(b->own + b->own_len, bytes, len);
    b->own_len += len;
    if (b->n == 0 || b->pieces[b->n - 1].blob != NULL)
        return batch_piece(b, NULL, b->own_len - len, len);
    b->pieces[b->n - 1].len += len;
    b->bytes += len;
    return 0;
}

static int batch_slice(struct outbox_batch *b, const struct io_slice *s)
{
    assert(s->offset <= s->blob->len && s->len <= s->blob->len - s->offset);
    if (s->len <= OUTBOX_COPY_MAX)
        return s->len == 0 ? 0 : batch_copy(b, s->blob->bytes + s->offset, s->len);
    int rc = batch_piece(b, s->blob, s->offset, s->len);
    if (rc == 0)
        blob_ref(s->blob);
    return rc;
}

/* Empty again, its memory kept unless it had to grow a lot. */
static void batch_clear(struct outbox_batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        blob_unref(b->pieces[i].blob);
    if (b->own_cap > OUTBOX_KEEP_BYTES) {
        free(b->own);
        b->own = NULL;
        b->own_cap = 0;
    }
    if (b->cap > OUTBOX_KEEP_PIECES) {
        free(b->pieces);
        b->pieces = NULL;
        b->cap = 0;
    }
    b->own_len = b->n = b->bytes = 0;
}

static void batch_release(struct outbox_batch *b)
{
    batch_clear(b);
    free(b->own);
    free(b->pieces);
    *b = (struct outbox_batch){0};
}

void outbox_release(struct outbox *o)
{
    batch_release(&o->filling);
    batch_release(&o->leaving);
    free(o->bufs);
    *o = (struct outbox){0};
}

static struct frame_header header_of(uint8_t kind, const void *head, size_t head_len, const struct io_slice *slices,
                                     size_t n)
{
    size_t len = head_len;
    uint32_t crc = crc32c(0, head, head_len);
    for (size_t i = 0; i < n; i++) {
        crc = crc32c(crc, slices[i].blob->bytes + slices[i].offset, slices[i].len);
        len += slices[i].len;
    }
    assert(len <= FRAME_BYTES_MAX);
    return (struct frame_header){.len = (uint32_t)len, .kind = kind, .crc = crc};
}

int outbox_add(struct outbox *o, uint8_t kind, const void *head, size_t head_len, const struct io_slice *slices,
               size_t n)
{
    static const uint8_t zeros[8];
    struct outbox_batch *b = &o->filling;
    struct frame_header h = header_of(kind, head, head_len, slices, n);
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_header_encode(&h, bytes);
    int rc = batch_copy(b, bytes, sizeof bytes);
    if (rc == 0 && head_len > 0)
        rc = batch_copy(b, head, head_len);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = batch_slice(b, &slices[i]);
    if (rc == 0 && frame_pad(h.len) > 0)
        rc = batch_copy(b, zeros, frame_pad(h.len));
    return rc;
}

size_t outbox_filling(const struct outbox *o)
{
    return o->filling.bytes;
}

long outbox_take(struct outbox *o, uv_buf_t **ret_bufs)
{
    assert(o->leaving.n == 0);
    if (o->filling.n == 0)
        return 0;
    uv_buf_t *bufs = grow(o->bufs, o->filling.n, &o->bufs_cap, sizeof *bufs);
    if (bufs == NULL)
        return OUTBOX_ENOMEM;
    o->bufs = bufs;
    struct outbox_batch empty = o->leaving;
    o->leaving = o->filling;
    o->filling = empty;
    for (size_t i = 0; i < o->leaving.n; i++) {
        const struct outbox_piece *p = &o->leaving.pieces[i];
        uint8_t *base = p->blob != NULL ? p->blob->bytes : o->leaving.own;
        bufs[i] = (uv_buf_t){.base = (char *)base + p->offset, .len = p->len};
    }
    o->bufs_at = 0;
    o->bufs_n = o->leaving.n;
    *ret_bufs = bufs;
    return (long)o->bufs_n;
}

size_t outbox_advance(struct outbox *o, size_t bytes, uv_buf_t **ret_bufs)
{
    while (o->bufs_at < o->bufs_n && bytes >= o->bufs[o->bufs_at].len)
        bytes -= o->bufs[o->bufs_at++].len;
    if (o->bufs_at < o->bufs_n) {
        o->bufs[o->bufs_at].base += bytes;
        o->bufs[o->bufs_at].len -= bytes;
    } else {
        assert(bytes == 0);
    }
    *ret_bufs = o->bufs + o->bufs_at;
    return o->bufs_n - o->bufs_at;
}

void outbox_left(struct outbox *o)
{
    batch_clear(&o->leaving);
    o->bufs_at = o->bufs_n = 0;
    if (o->bufs_cap > OUTBOX_KEEP_PIECES) {
        free(o->bufs);
        o->bufs = NULL;
        o->bufs_cap = 0;
    }
}
