/* nodeharness.h - a server over a localnode in this process, and clients that speak to it through real sockets. One
 * thread: whoever waits for something runs the loop meanwhile, so nothing sleeps and nothing races. */
#pragma once
#include "node/server.h"
#include "tests/support/localnode.h"

#define HARNESS_PATIENCE_MS 5000 /* After so long, what was waited for counts as missing. */

struct harness {
    uv_loop_t loop;
    struct config config; /* Change it before harness_start(). */
    struct node *node;
    struct server *server;
    char dir[64];
};

struct client {
    struct harness *harness;
    int fd;
    char *in; /* Read and not consumed. */
    size_t in_len, in_cap;
    bool eof;
};

/* Settings at their defaults, with a folder of its own. */
struct harness *harness_new(void);
void harness_start(struct harness *h);
void harness_free(struct harness *h);
/* One loop iteration that does not wait. */
void harness_step(struct harness *h);
/* Run the loop until done(ctx); false when HARNESS_PATIENCE_MS went by. */
bool harness_until(struct harness *h, bool (*done)(void *ctx), void *ctx);
/* Run the loop so often that whatever can happen without new input has happened. */
void harness_settle(struct harness *h);

struct client *client_new(struct harness *h);
void client_free(struct client *c);
/* Send all bytes, running the loop while the socket is full. */
void client_send(struct client *c, const void *bytes, size_t len);
void client_send_text(struct client *c, const char *text);
/* A request of n arguments. */
void client_send_args(struct client *c, size_t n, const char *const *args, const size_t *lens);
/* Half close. */
void client_end(struct client *c);
/* Read until at least len bytes are there (true) or the server has closed or patience ends (false). */
bool client_need(struct client *c, size_t len);
/* Like client_need() for whatever more there is beyond what has been read. */
bool client_more(struct client *c);
void client_consume(struct client *c, size_t len);
/* The next len bytes must be these. */
void client_expect(struct client *c, const char *text);
/* The server must close, after nothing but what has been consumed. */
void client_expect_eof(struct client *c);
/* Nothing may be readable once the loop has settled. */
void client_expect_silence(struct client *c);
