/* conn.h - one client connection: bytes in, requests in order, replies in order, bytes out.
 * Also implements the half of requests.h that is "provided by conn.c". Loop thread. */
#pragma once
#include "node/requests.h"
#include "node/resp/resp.h"
#include "node/server.h"
#include <uv.h>

struct command_row;
struct encoding;

#define CONN_NAME_MAX 256

enum conn_reply_mode { CONN_REPLY_ON, CONN_REPLY_OFF, CONN_REPLY_SKIP };

/* What a client has set up or may ask about its connection. */
struct conn_facts {
    uint64_t id;
    char address[64], local_address[64]; /* host:port */
    char name[CONN_NAME_MAX], lib_name[CONN_NAME_MAX], lib_version[CONN_NAME_MAX];
    int proto;     /* 2 or 3 */
    bool readonly; /* READONLY: reads from this node's own state. */
    bool no_evict, no_touch, capa_redirect;
    enum conn_reply_mode reply_mode;
    unsigned deadline_ms;         /* CLIENT DEADLINE; 0: the setting. */
    uint64_t created_ms, last_ms; /* loop clock */
    uint64_t commands;
    const struct command_row *last_row; /* NULL before the first command. */
};

/* Take the next connection off the listener. UV_ENOMEM: it is still there. */
int conn_accept(struct server *s, uv_stream_t *listener);
struct conn_facts *conn_facts(struct conn *c);
struct server_link *conn_link(struct conn *c);
struct server *conn_server(const struct conn *c);
int conn_fd(const struct conn *c);
size_t conn_input_bytes(const struct conn *c);
size_t conn_input_cap(const struct conn *c);
size_t conn_output_bytes(const struct conn *c);
size_t conn_output_cap(const struct conn *c);
bool conn_is_closing(const struct conn *c);
/* Commands queued since MULTI and the bytes they take; -1 outside of MULTI. */
long conn_multi_commands(const struct conn *c);
size_t conn_multi_bytes(const struct conn *c);
/* For transactions: ask the cluster something whose answer goes to tx_answered(), perhaps before this returns. Nothing
 * may be unanswered. may_be_stale: READONLY may answer it from this node's own state. Errors: enum requests_err. */
int conn_ask(struct conn *c, const struct encoding *e, bool may_be_stale);

struct subscriptions *conn_subscriptions(struct conn *c);
/* Is it a RESP2 connection with a subscription, which may do little else? */
bool conn_only_listens(const struct conn *c);

/* Close at once, dropping output. Requests under way stay so; their answers are dropped. Idempotent. */
void conn_close(struct conn *c);
/* Take no further requests; close when what is in the output buffer has been sent. */
void conn_close_after_output(struct conn *c);

/* WAIT: the connection takes no requests until at least n replicas hold what is applied now, or timeout_ms have passed
 * (0: never), and then answers how many do. */
void conn_wait_replicas(struct conn *c, unsigned n, uint64_t timeout_ms);
/* A change of membership (changes.h): the connection takes no requests until its answer is there, which reply() puts
 * into words. */
struct change_answer;
typedef void (*conn_change_reply)(struct resp_buf *out, int proto, struct node *node, const struct change_answer *a);
void conn_wait_change(struct conn *c, uint64_t ticket, uint64_t deadline_ms, conn_change_reply reply);
/* Anything else: the connection takes no requests until answer() has put its answer into words and said so; it is asked
 * each turn of the loop, with now set when timeout_ms have passed (0: never). ctx comes from malloc() and becomes the
 * connection's. */
typedef bool (*conn_wait_answer)(void *ctx, struct resp_buf *out, int proto, struct node *node, bool now);
void conn_wait_for(struct conn *c, uint64_t timeout_ms, conn_wait_answer answer, void *ctx);
bool conn_is_waiting(const struct conn *c);        /* Or for a lock. */
uint64_t conn_wait_until_ms(const struct conn *c); /* UINT64_MAX: for ever */
/* CLIENT UNBLOCK: answer a WAIT, or a wait for a lock, now, with an error or as if it timed out. False when it was not
 * waiting. */
bool conn_unblock(struct conn *c, bool with_error);

/* ---- For server.c ---- */

/* End of a loop iteration: take up held-back requests, write what there is. True when it took up requests. */
bool conn_tick(struct conn *c);
void conn_check_blocked(struct conn *c, uint64_t now_ms);
/* Once a second: give back the memory of an idle connection, close one that is idle or lingers for too long. */
void conn_cron(struct conn *c, uint64_t now_ms);
/* The server ends: send what is there without waiting, then close. */
void conn_finish(struct conn *c);
