/* channel.h - one connection to one node: bytes out, replies in, each step within a deadline. Blocking.
 * Deadlines are points on channel_now_ms()'s clock. */
#pragma once
#include "node/client/address.h"
#include "node/resp/resp.h"

enum channel_err {
    CHANNEL_ENOMEM = -1,
    CHANNEL_ECONNECT = -2,  /* Never connected; why says more. */
    CHANNEL_EDEADLINE = -3, /* The deadline passed. */
    CHANNEL_ECLOSED = -4,   /* The connection is lost. */
    CHANNEL_EPROTOCOL = -5, /* What came is not RESP. */
};

struct channel {
    int fd;             /* -1: closed */
    struct resp_buf in; /* Received; the first `taken` bytes are replies already given out. */
    size_t taken;
    struct resp_scan scan; /* Of the reply under way. */
    char why[128];         /* The last failure, for people. */
};

/* Never set by anybody, and counts the time that a machine sleeps: leases go on meanwhile. */
int64_t channel_now_ms(void);

void channel_init(struct channel *ch);
/* Closes without sending anything; the why stays readable. */
void channel_close(struct channel *ch);
bool channel_is_open(const struct channel *ch);

/* On failure the channel is closed. */
int channel_connect(struct channel *ch, const struct address *to, int64_t deadline_ms);
/* False when the node hung up, or sent what nobody asked for, since the last reply: close it. */
bool channel_is_quiet(struct channel *ch);
/* 0: all of it is in the kernel's hands. Else the node cannot have got all of it. Replies that arrive meanwhile are
 * kept, so that a long pipeline and its answers cannot wait for each other. */
int channel_send(struct channel *ch, const void *bytes, size_t len, int64_t deadline_ms);
/* The next reply, to be freed by the caller. */
int channel_receive(struct channel *ch, int64_t deadline_ms, struct resp_value **ret);
