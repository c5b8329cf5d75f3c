/* link.h - the links between this node and its peers: one TCP connection each way, frames in order, lost when a link
 * breaks. A node dials every peer it was told of and sends on that connection only; it receives on those it accepted. A
 * broken link is dialled again, faster when the peer shows signs of life.
 *
 * All calls and callbacks on the loop thread. No callback but on_log is made from inside a call of this header.
 * Callbacks may call anything here, links_close() too; on_log may call nothing. What comes from outside is checked,
 * answered and cut off, never asserted. The program must ignore SIGPIPE. */
#pragma once
#include "raft/frames.h"
#include "raft/io.h"
#include <uv.h>

struct links;

enum link_level { LINK_ERROR = 0, LINK_WARNING = 1, LINK_INFO = 2 }; /* As the log callback of replica.h. */

#define LINKS_PEERS_MAX 64     /* Peers known at once, told or admitted. */
#define LINKS_STRANGERS_MAX 64 /* Accepted connections that have not yet said who they are. */
#define LINKS_ADDRESS_MAX 256

struct links_options {
    uv_loop_t *loop;
    const char *listen; /* "host:port", "[v6]:port" or ":port" for all; port 0: any (links_port tells). */
    uint8_t cluster_id[FRAME_CLUSTER_ID_BYTES];
    uint64_t node_id, start;    /* start: this process's start number. */
    const char *client_address; /* Told to peers; NULL or "": none. */
    /* 0 means the number in brackets. */
    size_t queue_bytes_max;        /* Waiting for one peer before its link is cut [72 MiB]; at most one frame more. */
    unsigned backoff_min_ms;       /* [50] */
    unsigned backoff_max_ms;       /* [1000] */
    unsigned connect_timeout_ms;   /* [2000] name and connection */
    unsigned handshake_timeout_ms; /* [2000] */
    unsigned user_timeout_ms;      /* [5000] unacknowledged bytes or keepalives that long: the link is dead */

    void *ctx;
    /* May this node send to us? NULL: any of the same cluster. A peer set by links_peer() is asked about like others.
     */
    bool (*admit)(void *ctx, uint64_t peer);
    /* Both may be NULL. Put what a peer is to know of us beyond the names into a greeting that leaves; and judge one
     * that came, from a member of this cluster, before a frame goes either way: 0, or why not (enum frame_refusal) in
     * words. */
    void (*introduce)(void *ctx, struct frame_greeting *g);
    unsigned (*judge)(void *ctx, const struct frame_greeting *g, char why[FRAME_GREETING_TEXT_MAX]);
    /* A frame of a kind that frame_kind_known(). payload: aligned to 8, borrowed for this call. */
    void (*on_frame)(void *ctx, uint64_t peer, uint8_t kind, const uint8_t *payload, size_t len);
    /* The outgoing link is up, or no more (only after on_up). */
    void (*on_up)(void *ctx, uint64_t peer);
    void (*on_down)(void *ctx, uint64_t peer, const char *why);
    /* The connection from a peer ended by EOF or reset, or the peer is back with a new start number: the process at
     * the other end is gone. Not called for time-outs, nor for connections we closed. */
    void (*on_lost)(void *ctx, uint64_t peer);
    /* The peer refused us: code is an enum frame_refusal, text its words. May be NULL. Called for every attempt. */
    void (*on_refused)(void *ctx, uint64_t peer, const struct frame_greeting *g);
    void (*on_log)(void *ctx, enum link_level level, const char *text);
};

/* Listen, and be ready for links_peer(). Everything in options but ctx, loop and the functions is copied. On failure -1
 * and a sentence in error; the loop may have to run once to finish closing handles, nothing else is left behind. */
int links_open(const struct links_options *options, char error[256], struct links **ret);
/* Close everything. What is queued gets one last try. No callback of the options is made from now on; on_closed (or
 * NULL) is called from the loop once all is closed and freed. NULL is fine: on_closed is then not called. */
void links_close(struct links *l, void (*on_closed)(void *ctx), void *ctx);
/* The port listened on. */
int links_port(const struct links *l);

/* Keep a link to this peer, at this address from now on. NULL: cut both directions and do not dial any more; the peer
 * may come back only if admit() lets it. More than LINKS_PEERS_MAX: logged and ignored. */
void links_peer(struct links *l, uint64_t peer, const char *address);
/* Queue one frame: head is copied, blobs are referenced until written. Leaves with all others of this round of the loop
 * (before it waits for events again). Dropped without a word when the link is down, as io.h says. */
void links_send(struct links *l, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                const struct io_slice *slices, size_t n);
/* Bytes waiting to leave; SIZE_MAX when the link to the peer is down. */
size_t links_backlog(const struct links *l, uint64_t peer);

/* Are both directions up? */
bool links_linked(const struct links *l, uint64_t peer);
/* Where the peer serves clients, as it said last; "" when not known. Borrowed until the loop runs again. */
const char *links_peer_client_address(const struct links *l, uint64_t peer);
/* uv_now() when the peer's last bytes came; 0 when none ever did. */
uint64_t links_last_heard_ms(const struct links *l, uint64_t peer);
