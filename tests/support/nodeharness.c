/* nodeharness.c - sockets of the clients are non-blocking; waiting means running the loop and looking again. */
#include "tests/support/nodeharness.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTLE_STEPS 50

struct harness *harness_new(void)
{
    static char *const argv[] = {"holdfastd", NULL};
    char error[CONFIG_ERROR_MAX];
    enum config_action action;
    struct harness *h = calloc(1, sizeof *h);
    assert_non_null(h);
    assert_int_equal(config_load(1, argv, NULL, &h->config, &action, error), 0);
    strcpy(h->config.listen, "127.0.0.1:0");
    strcpy(h->dir, "/tmp/holdfast_node_XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    assert_int_equal(uv_loop_init(&h->loop), 0);
    return h;
}

void harness_start(struct harness *h)
{
    char error[256];
    h->node = localnode_open(&h->loop, &h->config, h->dir);
    int rc = server_open(&h->loop, h->node, &h->config, error, &h->server);
    if (rc != 0)
        print_error("%s\n", error);
    assert_int_equal(rc, 0);
}

static void on_server_closed(void *ctx)
{
    ((struct harness *)ctx)->server = NULL;
}

static bool is_server_closed(void *ctx)
{
    return ((struct harness *)ctx)->server == NULL;
}

static void remove_dir(const char *dir)
{
    char path[128];
    static const char *const files[] = {"state.db", "state.db-wal", "state.db-shm", "incoming.db"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

void harness_free(struct harness *h)
{
    if (h->server != NULL) {
        server_close(h->server, on_server_closed, h);
        assert_true(harness_until(h, is_server_closed, h));
    }
    localnode_close(h->node);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    remove_dir(h->dir);
    free(h);
}

void harness_step(struct harness *h)
{
    uv_run(&h->loop, UV_RUN_NOWAIT);
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

bool harness_until(struct harness *h, bool (*done)(void *ctx), void *ctx)
{
    uint64_t end = now_ms() + HARNESS_PATIENCE_MS;
    while (!done(ctx)) {
        if (now_ms() > end)
            return false;
        harness_step(h);
    }
    return true;
}

void harness_settle(struct harness *h)
{
    for (int i = 0; i < SETTLE_STEPS; i++)
        harness_step(h);
}

/* ---- Clients ---- */

struct client *client_new(struct harness *h)
{
    struct client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->harness = h;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(c->fd >= 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server_port(h->server))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* The kernel completes the connection; the server accepts it when the loop next runs. */
    assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
    int now = 1; /* Small pieces are to arrive as they are sent. */
    assert_int_equal(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now), 0);
    return c;
}

void client_free(struct client *c)
{
    close(c->fd);
    free(c->in);
    free(c);
}

void client_send(struct client *c, const void *bytes, size_t len)
{
    uint64_t end = now_ms() + HARNESS_PATIENCE_MS;
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(c->fd, (const char *)bytes + sent, len - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else if (errno != EAGAIN)
            return; /* The server has closed; the test sees it when it reads. */
        assert_true(now_ms() < end);
        if (n <= 0)
            harness_step(c->harness);
    }
}

void client_send_text(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

void client_send_args(struct client *c, size_t n, const char *const *args, const size_t *lens)
{
    char head[64];
    client_send(c, head, (size_t)snprintf(head, sizeof head, "*%zu\r\n", n));
    for (size_t i = 0; i < n; i++) {
        client_send(c, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", lens[i]));
        client_send(c, args[i], lens[i]);
        client_send(c, "\r\n", 2);
    }
}

void client_end(struct client *c)
{
    shutdown(c->fd, SHUT_WR);
}

/* Read what is there now. True when something came, or the end. */
static bool client_poll(struct client *c)
{
    if (c->in_cap - c->in_len < 65536) {
        c->in_cap = c->in_cap * 2 + 65536;
        c->in = realloc(c->in, c->in_cap);
        assert_non_null(c->in);
    }
    ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
    if (n > 0)
        c->in_len += (size_t)n;
    else if (n == 0 || errno != EAGAIN)
        c->eof = true;
    return n >= 0 || c->eof;
}

bool client_need(struct client *c, size_t len)
{
    uint64_t end = now_ms() + HARNESS_PATIENCE_MS;
    while (c->in_len < len && !c->eof) {
        if (client_poll(c))
            continue;
        if (now_ms() > end)
            return false;
        harness_step(c->harness);
    }
    return c->in_len >= len;
}

bool client_more(struct client *c)
{
    return client_need(c, c->in_len + 1);
}

void client_consume(struct client *c, size_t len)
{
    assert_true(len <= c->in_len);
    c->in_len -= len;
    memmove(c->in, c->in + len, c->in_len);
}

void client_expect(struct client *c, const char *text)
{
    size_t len = strlen(text);
    bool there = client_need(c, len);
    if (!there || memcmp(c->in, text, len) != 0)
        print_error("expected: %s\ngot:      %.*s\n", text, (int)c->in_len, c->in);
    assert_true(there);
    assert_memory_equal(c->in, text, len);
    client_consume(c, len);
}

void client_expect_eof(struct client *c)
{
    bool more = client_more(c);
    if (more)
        print_error("instead of the end: %.*s\n", (int)c->in_len, c->in);
    assert_false(more);
    assert_true(c->eof);
}

void client_expect_silence(struct client *c)
{
    harness_settle(c->harness);
    client_poll(c);
    assert_int_equal(c->in_len, 0);
    assert_false(c->eof);
}
