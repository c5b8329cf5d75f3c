/* seat.h - which node a client sits at: it takes a seat at any node that opens, asks there for the leader and moves
 * to it. Every node serves everything, so a seat elsewhere is slower, never wrong. */
#pragma once
#include "node/client/channel.h"

#define SEAT_MESSAGE_MAX 512

struct seat {
    struct address nodes[CLIENT_NODES_MAX];
    int n_nodes;
    char *user, *password;             /* Owned; NULL: none. */
    struct channel channel;            /* To nodes[at], authenticated whenever it is open. */
    int at;                            /* The node we sit at, or shall try next. */
    int64_t check_ms;                  /* When to ask again who leads. */
    int64_t shun_ms[CLIENT_NODES_MAX]; /* A node that just failed is not followed as a leader before this. */
    char message[SEAT_MESSAGE_MAX];    /* Why the last call failed. */
};

/* Sit at a node and, now and then, at the leader. Errors are enum client_err; CLIENT_EUNAVAILABLE is about this one
 * node: seat_leave() and try again. Takes a share of the time left only, so that other nodes get theirs. */
int seat_take(struct seat *s, int64_t deadline_ms);
/* Get up; the next seat is at the next node. failed: this one is not to be followed for a while. */
void seat_leave(struct seat *s, bool failed);
/* A connection of one's own to one node, authenticated. On failure *ret is closed. */
int seat_visit(struct seat *s, int node, int64_t deadline_ms, struct channel *ret);
void seat_release(struct seat *s);
/* A seat of one's own with the same nodes and credentials, not taken yet. False: out of memory, release it. */
bool seat_init_like(struct seat *ret, const struct seat *like);

/* A channel's error as a client's, and as a sentence in s->message. */
int seat_from_channel(struct seat *s, int node, const struct channel *ch, int rc);

/* The request as bytes, appended; lens NULL: C strings. */
void seat_encode(struct resp_buf *to, int argc, const char *const *argv, const size_t *lens);
/* An error reply starting with this code word? */
bool seat_reply_is(const struct resp_value *reply, const char *word);
