/* requests.h - commands on their way: gathered, sent to the leader, answered in the order they came.
 * The border between connections and the cluster. A connection encodes a command into the gathering
 * batch and gets, later and exactly once for each, requests' call of conn_answer() or conn_fail(). Loop thread.
 *
 * Order. Writes of all connections form one queue, reads another; each is answered in its own order. A
 * connection keeps its own requests in order like this (conn.c): while it has unanswered writes, a read
 * is put into the write queue (it rides in the log); while it has unanswered reads, a write waits; local
 * commands wait until nothing is unanswered. */
#pragma once
#include "store/command.h"
#include <stdbool.h>
#include <stdint.h>

struct node;
struct conn;

/* Why a request has no outcome. reply.c has the words (COMMANDS: errors for cluster states). */
enum request_failure {
    REQUEST_NO_LEADER,           /* CLUSTERDOWN no leader: nothing was proposed within the deadline. */
    REQUEST_NO_QUORUM,           /* CLUSTERDOWN no quorum: a leader could not confirm that it still leads (reads). */
    REQUEST_NO_LINK,             /* TRYAGAIN: a leader is known, but there is no link to it; nothing was sent. */
    REQUEST_UNKNOWN,             /* UNKNOWN: proposed, and not known committed by the deadline. */
    REQUEST_NO_SPACE,            /* MISCONF: the leader's disk reserve is used up; nothing was appended. */
    REQUEST_STOPPING,            /* CLUSTERDOWN: this node is shutting down; nothing was sent. */
    REQUEST_UNBLOCKED,           /* UNBLOCKED: it waited for a lock, and this node can do so no longer. */
    REQUEST_UNBLOCKED_BY_CLIENT, /* UNBLOCKED: the same, and another client asked for it. */
};

enum requests_err {
    REQUESTS_EOVERLOADED = -1, /* The queue's bound is reached: -OVERLOADED, nothing queued. */
    REQUESTS_ENOSPC = -2,      /* Disk reserve used up: -MISCONF no space; reads and deletes still go. */
    REQUESTS_ENOMEM = -3,
    REQUESTS_ESTOPPING = -4, /* This node is shutting down. */
};

/* The buffer into which the next write (or read) is to be encoded, with one command_add() and nothing else.
 * Then requests_write/read takes it in; if it refuses, it takes the command out again. */
struct command_buf *requests_write_buf(struct node *n);
struct command_buf *requests_read_buf(struct node *n);
/* at: what command_add() returned. deadline_ms: on node_now_ms()'s clock. conn is kept referenced until answered. */
int requests_write(struct node *n, struct conn *c, long at, uint64_t deadline_ms);
int requests_read(struct node *n, struct conn *c, long at, uint64_t deadline_ms);
/* A read from this node's own, possibly stale state (READONLY), answered by conn_answer() before it returns, unless it
 * waits for a key. */
int requests_read_local(struct node *n, struct conn *c, long at);

/* A request that waits (waiters.h) for a connection that has closed; for CLIENT UNBLOCK; how many do. */
void requests_gone(struct node *n, struct conn *c);
bool requests_unblock(struct node *n, struct conn *c, bool with_error);
size_t requests_n_waiting(const struct node *n);

/* Provided by conn.c. One whole outcome value (checked), borrowed for the call. */
void conn_answer(struct conn *c, const uint8_t *outcome, size_t len);
void conn_fail(struct conn *c, enum request_failure why);
/* What the connection is subscribed to says something; pattern: the one by which it hears it, or NULL. */
void conn_message(struct conn *c, const struct bytes *pattern, struct bytes channel, struct bytes message);
/* The answer to its last request comes later. False: there is nobody any more who would read it. */
bool conn_waits(struct conn *c);
struct conn *conn_ref(struct conn *c);
void conn_unref(struct conn *c);
