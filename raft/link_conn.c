/* link_conn.c - one connection: its handles, its bytes out and in, its end.
 *
 * Frames that were gathered leave by uv_try_write(), which costs no allocation; only what the socket does not take is
 * left to libuv, and until that is written the outbox's other batch gathers. Failure: whatever goes wrong closes the
 * connection; on_down is called when libuv has let go of the socket, never from inside a call of link.h. */
#include "raft/link_internal.h"
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEPALIVE_S 5

/* ---- Beginning and end ---- */

void link_conn_drop(struct link_conn *c)
{
    assert(c->holds > 0);
    if (--c->holds > 0)
        return;
    struct links *l = c->l;
    outbox_release(&c->outbox);
    inbox_release(&c->inbox);
    free(c);
    links_drop(l);
}

static void conn_timer_closed(uv_handle_t *handle)
{
    link_conn_drop(container_of(handle, struct link_conn, deadline));
}

static void conn_tcp_closed(uv_handle_t *handle)
{
    struct link_conn *c = container_of(handle, struct link_conn, tcp);
    struct links *l = c->l;
    if (c->was_up && !l->closing)
        l->o.on_down(l->o.ctx, c->id, c->why);
    link_conn_drop(c);
}

/* Take it off its peer, or off the strangers. */
static void conn_detach(struct link_conn *c, enum link_state before)
{
    struct link_peer *p = c->peer;
    c->peer = NULL;
    if (!c->dialled && (before == LINK_GREETING || before == LINK_REFUSING))
        c->l->strangers--;
    if (p == NULL)
        return;
    if (p->dialled == c) {
        p->dialled = NULL;
        if (p->wanted) {
            link_peer_trouble(p, c->why);
            link_peer_retry(p);
        }
    } else if (p->accepted == c) {
        p->accepted = NULL;
    }
    link_peer_settle(p);
}

void link_conn_close(struct link_conn *c, const char *format, ...)
{
    if (c->state == LINK_CLOSING)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(c->why, sizeof c->why, format, args);
    va_end(args);
    enum link_state before = c->state;
    c->state = LINK_CLOSING;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    if (c->looking_up)
        uv_cancel((uv_req_t *)&c->lookup);
    uv_close((uv_handle_t *)&c->tcp, conn_tcp_closed);
    uv_close((uv_handle_t *)&c->deadline, conn_timer_closed);
    conn_detach(c, before);
}

void link_conn_cut(struct link_conn *c, const char *why)
{
    char name[LINK_NAME_MAX];
    link_conn_name(c, name);
    if (c->peer == NULL)
        links_noise(c->l, name, why);
    else
        links_log(c->l, LINK_WARNING, "link from node %llu at %s closed: %s", (unsigned long long)c->id, name, why);
    link_conn_close(c, "%s", why);
}

struct link_conn *link_conn_new(struct links *l)
{
    struct link_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    if (uv_tcp_init(l->o.loop, &c->tcp) != 0) {
        free(c);
        return NULL;
    }
    uv_timer_init(l->o.loop, &c->deadline);
    c->l = l;
    c->holds = 2;
    c->next = l->conns;
    c->link = &l->conns;
    if (c->next != NULL)
        c->next->link = &c->next;
    l->conns = c;
    l->holds++;
    return c;
}

static void deadline_passed(uv_timer_t *timer)
{
    struct link_conn *c = container_of(timer, struct link_conn, deadline);
    if (c->state == LINK_CLOSING)
        return;
    if (!c->dialled)
        link_conn_cut(c, "it did not say who it is in time");
    else if (c->state == LINK_GREETING)
        link_conn_close(c, "no answer to the greeting in time");
    else
        link_conn_close(c, c->state == LINK_RESOLVING ? "the name was not resolved in time" : "connecting timed out");
}

void link_conn_deadline(struct link_conn *c, unsigned ms)
{
    uv_timer_start(&c->deadline, deadline_passed, ms, 0);
}

/* Small frames leave at once, a dead peer is noticed. Failures are harmless. */
static void conn_tune(struct link_conn *c)
{
    uv_os_fd_t fd;
    unsigned timeout_ms = c->l->o.user_timeout_ms;
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

void link_conn_name(const struct link_conn *c, char name[LINK_NAME_MAX])
{
    struct sockaddr_storage a;
    int len = sizeof a;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&a, &len) == 0)
        link_address_name(&a, name);
    else
        snprintf(name, LINK_NAME_MAX, "?");
}

/* ---- Sending ---- */

static void conn_written(uv_write_t *write, int status)
{
    struct link_conn *c = container_of(write, struct link_conn, write);
    c->writing = false;
    outbox_left(&c->outbox);
    if (status != 0)
        link_conn_close(c, "writing: %s", uv_strerror(status));
    else
        link_conn_flush(c);
}

void link_conn_flush(struct link_conn *c)
{
    if (c->state != LINK_UP || c->writing || outbox_filling(&c->outbox) == 0)
        return;
    uv_buf_t *bufs;
    long n = outbox_take(&c->outbox, &bufs);
    if (n < 0) {
        link_conn_close(c, "out of memory");
        return;
    }
    int rc = uv_try_write((uv_stream_t *)&c->tcp, bufs, (unsigned)n);
    size_t left = outbox_advance(&c->outbox, rc > 0 ? (size_t)rc : 0, &bufs);
    if (left == 0) {
        outbox_left(&c->outbox);
        return;
    }
    if (rc >= 0 || rc == UV_EAGAIN) {
        rc = uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs, (unsigned)left, conn_written);
        c->writing = rc == 0;
    }
    if (c->writing)
        return;
    outbox_left(&c->outbox);
    link_conn_close(c, "writing: %s", uv_strerror(rc));
}

size_t link_conn_backlog(const struct link_conn *c)
{
    return outbox_filling(&c->outbox) + (c->writing ? uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) : 0);
}

/* ---- Receiving ---- */

static void kind_unknown(struct link_conn *c, uint8_t kind)
{
    uint8_t bit = (uint8_t)(1u << (kind % 8));
    if (c->odd_kinds[kind / 8] & bit)
        return;
    c->odd_kinds[kind / 8] |= bit;
    links_log(c->l, LINK_WARNING, "frames of kind %u from node %llu are skipped: this version does not know them", kind,
              (unsigned long long)c->id);
}

static const char *inbox_trouble(int rc)
{
    switch (rc) {
    case INBOX_ETOOBIG:
        return "a frame is too large";
    case INBOX_ECRC:
        return "a frame's checksum is wrong";
    default:
        return "a frame's header is damaged";
    }
}

static void frames_step(struct link_conn *c)
{
    struct links *l = c->l;
    struct frame_header h;
    const uint8_t *payload;
    int rc;
    c->peer->heard_ms = uv_now(l->o.loop);
    while (c->state == LINK_UP && (rc = inbox_next(&c->inbox, &h, &payload)) != 0) {
        if (rc < 0)
            link_conn_cut(c, inbox_trouble(rc));
        else if (!frame_kind_known(h.kind))
            kind_unknown(c, h.kind);
        else
            l->o.on_frame(l->o.ctx, c->id, h.kind, payload, h.len);
    }
}

/* The other end is gone, or only the connection: the process is known to be gone when its kernel says so. */
static void read_ended(struct link_conn *c, int status)
{
    struct links *l = c->l;
    bool gone = status == UV_EOF || status == UV_ECONNRESET || status == UV_EPIPE;
    bool lost = gone && !c->dialled && c->state == LINK_UP;
    uint64_t id = c->id;
    if (c->dialled)
        link_conn_close(c, "%s", status == UV_EOF ? "closed by the peer" : uv_strerror(status));
    else if (c->state == LINK_GREETING && !gone)
        link_conn_cut(c, uv_strerror(status));
    else
        link_conn_close(c, "%s", uv_strerror(status));
    if (lost && !l->closing)
        l->o.on_lost(l->o.ctx, id);
}

static void read_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct link_conn *c = container_of(handle, struct link_conn, tcp);
    size_t len;
    ret->base = (char *)inbox_room(&c->inbox, &len);
    ret->len = len;
}

static void read_done(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct link_conn *c = container_of(stream, struct link_conn, tcp);
    if (c->state == LINK_CLOSING || n == 0)
        return;
    if (n < 0) {
        read_ended(c, (int)n);
        return;
    }
    inbox_received(&c->inbox, (size_t)n);
    if (c->state == LINK_GREETING)
        link_greet_received(c);
    if (c->state != LINK_UP)
        return;
    size_t left;
    inbox_peek(&c->inbox, &left);
    if (!c->dialled)
        frames_step(c);
    else if (left > 0)
        link_conn_close(c, "the peer sent something where nothing is expected");
}

void link_conn_start(struct link_conn *c)
{
    int rc = uv_read_start((uv_stream_t *)&c->tcp, read_room, read_done);
    if (rc != 0) {
        link_conn_close(c, "%s", uv_strerror(rc));
        return;
    }
    conn_tune(c);
    c->state = LINK_GREETING;
    link_conn_deadline(c, c->l->o.handshake_timeout_ms);
}
