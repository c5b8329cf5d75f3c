/* inbox.h - bytes received on one connection, cut into frames where they lie.
 *
 * The buffer starts small, grows to hold a frame that is larger, and shrinks again; a frame is never copied, only what
 * has come of an unfinished one is moved to the front now and then. Loop thread only. */
#pragma once
#include "raft/frames.h"

struct inbox {
    uint8_t *bytes;
    size_t start, end, cap; /* [start, end) came and is not yet consumed; start is a multiple of 8. */
    size_t want;            /* Bytes from start that the frame under way needs; 0: not known yet. */
    unsigned quiet;         /* Times emptied since a frame needed more than the smallest buffer. */
};

enum inbox_err {
    INBOX_EHEADER = -1, /* Damaged, or out of step. */
    INBOX_ETOOBIG = -2,
    INBOX_ECRC = -3, /* The payload is damaged. */
};

/* A zeroed inbox is an empty one. */
void inbox_release(struct inbox *b);
/* Where the next bytes go; *ret_len is 0 when out of memory. Whatever inbox_next() returned is invalid after this. */
uint8_t *inbox_room(struct inbox *b, size_t *ret_len);
void inbox_received(struct inbox *b, size_t len);
/* What came and is not consumed; and consume some of it (a multiple of 8). */
const uint8_t *inbox_peek(const struct inbox *b, size_t *ret_len);
void inbox_consume(struct inbox *b, size_t len);
/* The next whole frame, consumed by this call: its payload is valid until inbox_room(). 1, 0 when more bytes are
 * needed, or an inbox_err after which the connection is of no use. */
int inbox_next(struct inbox *b, struct frame_header *ret, const uint8_t **ret_payload);
