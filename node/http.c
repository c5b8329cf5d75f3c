/* http.c - libmicrohttpd, driven by our loop: its epoll descriptor is one of ours, its next timeout one of our timers.
 *
 * Not in a thread of its own: every answer is made from the loop's state, which then would need locks or copies, and
 * takes well under a millisecond. The library's sockets do not block, so a scraper that reads slowly keeps its answer
 * in memory and nobody waiting. What strangers can take is bounded: connections, memory for a request's head, and the
 * time for which one may be silent; a body is not read. */
#include "node/http.h"
#include "node/config.h"
#include "node/exit.h"
#include "node/metrics.h"
#include "node/node.h"
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HTTP_CONNECTIONS_MAX 32u
#define HTTP_PER_HOST_MAX 16u
#define HTTP_REQUEST_BYTES ((size_t)16 << 10)
#define HTTP_SILENT_S 10u
#define HTTP_BACKLOG 32

struct http {
    struct node *node;
    struct server *server; /* NULL: not there yet. */
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
};

/* ---- Answers ---- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, const char *text, size_t len)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (r == NULL)
        return MHD_NO; /* Closes the connection. */
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result answer_line(struct MHD_Connection *c, unsigned status, const char *sentence)
{
    char line[METRICS_WHY_MAX + 1];
    int len = snprintf(line, sizeof line, "%s\n", sentence);
    return answer(c, status, "text/plain; charset=utf-8", line, (size_t)len);
}

static enum MHD_Result answer_metrics(struct http *h, struct MHD_Connection *c)
{
    struct resp_buf text = {0};
    if (h->server == NULL)
        return answer_line(c, MHD_HTTP_SERVICE_UNAVAILABLE, "starting");
    metrics_write(h->server, &text);
    enum MHD_Result rc = text.failed ? MHD_NO : answer(c, MHD_HTTP_OK, METRICS_TYPE, text.base, text.len);
    resp_buf_release(&text);
    return rc;
}

static enum MHD_Result answer_ready(struct http *h, struct MHD_Connection *c)
{
    struct node_status status;
    char why[METRICS_WHY_MAX];
    if (h->server == NULL)
        return answer_line(c, MHD_HTTP_SERVICE_UNAVAILABLE, "not ready: starting");
    node_status(h->node, &status);
    bool ready = metrics_ready(&status, node_is_draining(h->node), why);
    return answer_line(c, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, why);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_len, void **request)
{
    struct http *h = ctx;
    (void)version, (void)upload, (void)upload_len, (void)request;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_line(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
    if (strcmp(url, "/metrics") == 0)
        return answer_metrics(h, c);
    if (strcmp(url, "/readyz") == 0)
        return answer_ready(h, c);
    if (strcmp(url, "/livez") == 0)
        return answer_line(c, MHD_HTTP_OK, "alive"); /* The loop turns, or nobody would say so. */
    return answer_line(c, MHD_HTTP_NOT_FOUND, "there are /metrics, /livez and /readyz");
}

/* ---- In the loop ---- */

static void turn(struct http *h);

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    turn(poll->data);
}

static void turn(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    MHD_run(h->daemon);
    if (MHD_get_timeout(h->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&h->timer, on_timer, wait_ms, 0);
    else
        uv_timer_stop(&h->timer);
}

/* ---- Opening and closing ---- */

static int listen_at(const struct addrinfo *where)
{
    int yes = 1, fd = socket(where->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, where->ai_addr, where->ai_addrlen) == 0 && listen(fd, HTTP_BACKLOG) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

/* The listening socket, or -1 and a sentence. */
static int open_socket(const char *address, char error[256])
{
    char host[256], port[16];
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    config_split_address(address, host, sizeof host, port, sizeof port);
    int rc = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (rc != 0) {
        snprintf(error, 256, "metrics_listen: cannot find the address of %.100s: %s", address, gai_strerror(rc));
        return -1;
    }
    int fd = listen_at(found);
    freeaddrinfo(found);
    if (fd >= 0)
        return fd;
    snprintf(error, 256, "metrics_listen: cannot listen on %.100s: %s", address, strerror(-fd));
    return -1;
}

static struct MHD_Daemon *start_daemon(struct http *h, int fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
                            MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                            HTTP_PER_HOST_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_REQUEST_BYTES,
                            MHD_OPTION_CONNECTION_TIMEOUT, HTTP_SILENT_S, MHD_OPTION_END);
}

static void join_loop(struct http *h, uv_loop_t *loop)
{
    uv_poll_init(loop, &h->poll, MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd);
    uv_timer_init(loop, &h->timer);
    h->poll.data = h->timer.data = h;
    h->open_handles = 2;
    uv_poll_start(&h->poll, UV_READABLE, on_poll);
}

int http_open(uv_loop_t *loop, struct node *node, const char *address, char error[256], struct http **ret)
{
    if (*address == '\0')
        return 0;
    int fd = open_socket(address, error);
    if (fd < 0)
        return NODE_EXIT_LISTEN;
    struct http *h = calloc(1, sizeof *h);
    if (h != NULL)
        h->daemon = start_daemon(h, fd);
    if (h == NULL || h->daemon == NULL) {
        snprintf(error, 256, "metrics_listen: the HTTP server does not start");
        close(fd);
        free(h);
        return NODE_EXIT_INTERNAL;
    }
    h->node = node;
    join_loop(h, loop);
    *ret = h;
    return 0;
}

void http_serve(struct http *h, struct server *server)
{
    if (h != NULL)
        h->server = server;
}

static void on_closed(uv_handle_t *handle)
{
    struct http *h = handle->data;
    if (--h->open_handles == 0)
        free(h);
}

void http_close(struct http *h)
{
    if (h == NULL)
        return;
    uv_poll_stop(&h->poll); /* Before the descriptor goes. */
    MHD_stop_daemon(h->daemon);
    uv_close((uv_handle_t *)&h->poll, on_closed);
    uv_close((uv_handle_t *)&h->timer, on_closed);
}
