/* inbox.c - the read buffer.
 *
 * Invariants: start <= end <= cap; start is a multiple of 8, as every frame's length on the wire is, and malloc's
 * memory is aligned: so is every payload. A frame's length is believed only after its header's checksum. */
#include "raft/inbox.h"
#include "raft/crc32c.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define INBOX_BYTES_MIN (64u << 10)
#define INBOX_ROOM_MIN (16u << 10)  /* Less room than this at the end: move what is unfinished to the front. */
#define INBOX_KEEP_BYTES (2u << 20) /* A larger buffer is given back as soon as it is empty, */
#define INBOX_QUIET_MAX 64          /* a smaller one after this many times it was not needed. */

void inbox_release(struct inbox *b)
{
    free(b->bytes);
    *b = (struct inbox){0};
}

static void inbox_emptied(struct inbox *b)
{
    b->start = b->end = 0;
    if (b->cap > INBOX_KEEP_BYTES || (b->cap > INBOX_BYTES_MIN && ++b->quiet > INBOX_QUIET_MAX)) {
        free(b->bytes);
        b->bytes = NULL;
        b->cap = 0;
        b->quiet = 0;
    }
}

/* Move the unfinished frame into a larger buffer. */
static void inbox_grow(struct inbox *b, size_t cap)
{
    uint8_t *bytes = malloc(cap);
    if (bytes == NULL)
        return;
    if (b->end > b->start)
        memcpy(bytes, b->bytes + b->start, b->end - b->start);
    free(b->bytes);
    b->bytes = bytes;
    b->cap = cap;
    b->end -= b->start;
    b->start = 0;
}

uint8_t *inbox_room(struct inbox *b, size_t *ret_len)
{
    if (b->start == b->end)
        inbox_emptied(b);
    size_t need = b->want > INBOX_BYTES_MIN ? b->want : INBOX_BYTES_MIN;
    if (b->want > INBOX_BYTES_MIN)
        b->quiet = 0;
    if (b->cap < need) {
        inbox_grow(b, need);
    } else if (b->start > 0 && (b->cap - b->start < b->want || b->cap - b->end < INBOX_ROOM_MIN)) {
        memmove(b->bytes, b->bytes + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    *ret_len = b->cap - b->end;
    return b->bytes != NULL ? b->bytes + b->end : NULL;
}

void inbox_received(struct inbox *b, size_t len)
{
    assert(len <= b->cap - b->end);
    b->end += len;
}

const uint8_t *inbox_peek(const struct inbox *b, size_t *ret_len)
{
    *ret_len = b->end - b->start;
    return b->bytes + b->start;
}

void inbox_consume(struct inbox *b, size_t len)
{
    assert(len <= b->end - b->start && len % 8 == 0);
    b->start += len;
    b->want = 0;
}

int inbox_next(struct inbox *b, struct frame_header *ret, const uint8_t **ret_payload)
{
    size_t len = b->end - b->start;
    if (len < FRAME_HEADER_BYTES || len < b->want)
        return 0;
    const uint8_t *bytes = b->bytes + b->start;
    struct frame_header h;
    int rc = frame_header_decode(bytes, &h);
    if (rc != 0)
        return rc == FRAME_ETOOBIG ? INBOX_ETOOBIG : INBOX_EHEADER;
    b->want = FRAME_HEADER_BYTES + (size_t)h.len + frame_pad(h.len);
    if (len < b->want)
        return 0;
    if (crc32c(0, bytes + FRAME_HEADER_BYTES, h.len) != h.crc)
        return INBOX_ECRC;
    inbox_consume(b, b->want);
    *ret = h;
    *ret_payload = bytes + FRAME_HEADER_BYTES;
    return 1;
}
