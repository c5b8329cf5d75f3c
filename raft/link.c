/* link.c - all links of a node: listening, sending, keeping peers. link_internal.h has the picture.
 *
 * Frames gather in the outbox of the peer's dialled connection and leave right before and right after the loop waits
 * for events, so whatever one round of the loop produces leaves in one write a peer. */
#include "raft/link_internal.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTEN_BACKLOG 128
#define FLUSH_BYTES (256u << 10)     /* Gathered this much: let it leave before the round of the loop ends. */
#define NOISE_INTERVAL_MS 1000       /* Lines about strangers: one in this time, */
#define NOISE_REPEAT_MS (60u * 1000) /* and the same as the one before one in this. */
#define LOG_LINE_MAX 640

void links_log(struct links *l, enum link_level level, const char *format, ...)
{
    if (l->closing)
        return;
    char line[LOG_LINE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    l->o.on_log(l->o.ctx, level, line);
}

void links_noise(struct links *l, const char *who, const char *why)
{
    uint64_t now = uv_now(l->o.loop);
    bool same = strncmp(l->noise, why, sizeof l->noise - 1) == 0;
    uint64_t quiet_ms = same ? NOISE_REPEAT_MS : NOISE_INTERVAL_MS;
    if (l->noise_ms != 0 && now - l->noise_ms < quiet_ms) {
        l->noise_held++;
        return;
    }
    if (l->noise_held > 0)
        links_log(l, LINK_WARNING, "connection from %s closed: %s (%u lines like this were left out)", who, why,
                  l->noise_held);
    else
        links_log(l, LINK_WARNING, "connection from %s closed: %s", who, why);
    snprintf(l->noise, sizeof l->noise, "%s", why);
    l->noise_ms = now;
    l->noise_held = 0;
}

void links_drop(struct links *l)
{
    assert(l->holds > 0);
    if (--l->holds > 0)
        return;
    assert(l->closing && l->conns == NULL && l->n_peers == 0);
    void (*on_closed)(void *) = l->on_closed;
    void *ctx = l->closed_ctx;
    free(l);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void handle_closed(uv_handle_t *handle)
{
    links_drop(handle->data);
}

uint64_t links_random(struct links *l)
{
    l->chance ^= l->chance << 13;
    l->chance ^= l->chance >> 7;
    l->chance ^= l->chance << 17;
    return l->chance;
}

/* ---- Sending ---- */

static void links_flush(struct links *l)
{
    if (!l->dirty)
        return;
    l->dirty = false;
    for (unsigned i = 0; i < l->n_peers; i++)
        if (l->peers[i]->dialled != NULL)
            link_conn_flush(l->peers[i]->dialled);
}

static void before_poll(uv_prepare_t *handle)
{
    links_flush(container_of(handle, struct links, before_poll));
}

static void after_poll(uv_check_t *handle)
{
    links_flush(container_of(handle, struct links, after_poll));
}

static bool frame_fits(const struct link_conn *c, uint8_t kind, size_t head_len, const struct io_slice *slices,
                       size_t n)
{
    size_t len = head_len;
    for (size_t i = 0; i < n && len <= FRAME_BYTES_MAX; i++)
        len += slices[i].len;
    if (len > FRAME_BYTES_MAX)
        links_log(c->l, LINK_ERROR, "a frame of kind %u to node %llu was dropped: it is larger than %u bytes", kind,
                  (unsigned long long)c->id, FRAME_BYTES_MAX);
    return len <= FRAME_BYTES_MAX;
}

void links_send(struct links *l, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                const struct io_slice *slices, size_t n)
{
    assert(kind != 0);
    struct link_peer *p = link_peer_find(l, peer);
    struct link_conn *c = p != NULL ? p->dialled : NULL;
    if (c == NULL || c->state != LINK_UP || !frame_fits(c, kind, head_len, slices, n))
        return;
    size_t waiting = link_conn_backlog(c);
    if (waiting > l->o.queue_bytes_max) {
        link_conn_close(c, "cut, because %zu bytes wait to be sent (the limit is %zu)", waiting, l->o.queue_bytes_max);
        return;
    }
    if (outbox_add(&c->outbox, kind, head, head_len, slices, n) != 0) {
        link_conn_close(c, "out of memory");
        return;
    }
    l->dirty = true;
    if (outbox_filling(&c->outbox) >= FLUSH_BYTES)
        link_conn_flush(c);
}

size_t links_backlog(const struct links *l, uint64_t peer)
{
    struct link_peer *p = link_peer_find(l, peer);
    if (p == NULL || p->dialled == NULL || p->dialled->state != LINK_UP)
        return SIZE_MAX;
    return link_conn_backlog(p->dialled);
}

/* ---- Peers ---- */

void links_peer(struct links *l, uint64_t peer, const char *address)
{
    if (peer == 0 || peer == l->o.node_id || l->closing)
        return;
    struct link_peer *p = address != NULL ? link_peer_need(l, peer) : link_peer_find(l, peer);
    if (address == NULL) {
        if (p != NULL)
            link_peer_forget(p);
        return;
    }
    if (p == NULL) {
        links_log(l, LINK_ERROR, "node %llu cannot be linked: too many peers", (unsigned long long)peer);
        return;
    }
    if (p->wanted && strcmp(p->address, address) == 0)
        return;
    p->wanted = true;
    if (p->dialled != NULL)
        link_conn_close(p->dialled, "the peer's address changed");
    snprintf(p->address, sizeof p->address, "%s", address);
    p->backoff_ms = 0;
    p->turn = 0;
    p->said[0] = '\0';
    link_peer_dial(p);
}

/* ---- Listening ---- */

static void accept_one(uv_stream_t *listener, int status);

static void turned_closed(uv_handle_t *handle)
{
    struct links *l = handle->data;
    bool again = l->turn_again && !l->closing;
    l->is_turning = l->turn_again = false;
    if (again)
        accept_one((uv_stream_t *)&l->listener, 0);
    links_drop(l);
}

/* libuv listens no more before what it brought has been accepted: so it is, and hung up on. */
static void turn_away(struct links *l)
{
    l->turn_again = l->is_turning;
    if (l->is_turning)
        return;
    uv_tcp_init(l->o.loop, &l->turned);
    l->turned.data = l;
    l->is_turning = true;
    l->holds++;
    uv_accept((uv_stream_t *)&l->listener, (uv_stream_t *)&l->turned);
    uv_close((uv_handle_t *)&l->turned, turned_closed);
}

static void accept_one(uv_stream_t *listener, int status)
{
    struct links *l = listener->data;
    if (l->closing)
        return;
    struct link_conn *c = status == 0 ? link_conn_new(l) : NULL;
    if (c == NULL) {
        links_noise(l, "a peer", status != 0 ? uv_strerror(status) : "out of memory");
        if (status == 0)
            turn_away(l);
        return;
    }
    c->state = LINK_GREETING;
    l->strangers++;
    int rc = uv_accept(listener, (uv_stream_t *)&c->tcp);
    if (rc == 0 && l->strangers > LINKS_STRANGERS_MAX)
        link_conn_cut(c, "too many connections have not yet said who they are");
    else if (rc == 0)
        link_conn_start(c);
    else
        link_conn_close(c, "%s", uv_strerror(rc));
}

static int listen_start(struct links *l)
{
    struct sockaddr_storage address;
    int rc = link_address_listen(l->o.loop, l->o.listen, &address);
    if (rc != 0)
        return rc;
    rc = uv_tcp_bind(&l->listener, (struct sockaddr *)&address, 0);
    if (rc == UV_EAFNOSUPPORT && l->o.listen[0] == ':') { /* A machine without IPv6. */
        uv_ip4_addr("0.0.0.0", atoi(l->o.listen + 1), (struct sockaddr_in *)&address);
        rc = uv_tcp_bind(&l->listener, (struct sockaddr *)&address, 0);
    }
    return rc != 0 ? rc : uv_listen((uv_stream_t *)&l->listener, LISTEN_BACKLOG, accept_one);
}

int links_port(const struct links *l)
{
    struct sockaddr_storage a;
    int len = sizeof a;
    if (uv_tcp_getsockname(&l->listener, (struct sockaddr *)&a, &len) != 0)
        return 0;
    return link_address_port(&a);
}

/* ---- Open and close ---- */

static void or_default(unsigned *value, unsigned standard)
{
    if (*value == 0)
        *value = standard;
}

static void options_settle(struct links *l, const struct links_options *options)
{
    l->o = *options;
    if (l->o.queue_bytes_max == 0)
        l->o.queue_bytes_max = FRAME_BYTES_MAX;
    or_default(&l->o.backoff_min_ms, 50);
    or_default(&l->o.backoff_max_ms, 1000);
    or_default(&l->o.connect_timeout_ms, 2000);
    or_default(&l->o.handshake_timeout_ms, 2000);
    or_default(&l->o.user_timeout_ms, 5000);
    if (options->client_address != NULL)
        snprintf(l->client_address, sizeof l->client_address, "%s", options->client_address);
    l->o.client_address = l->client_address;
    if (uv_random(NULL, NULL, &l->chance, sizeof l->chance, 0, NULL) != 0 || l->chance == 0)
        l->chance = uv_hrtime() | 1;
}

/* The handles that live as long as the links do. */
static int handles_init(struct links *l)
{
    uv_loop_t *loop = l->o.loop;
    int rc = uv_tcp_init(loop, &l->listener);
    if (rc != 0)
        return rc;
    l->listener.data = l->before_poll.data = l->after_poll.data = l;
    uv_prepare_init(loop, &l->before_poll);
    uv_check_init(loop, &l->after_poll);
    l->holds = 3;
    uv_prepare_start(&l->before_poll, before_poll);
    uv_check_start(&l->after_poll, after_poll);
    uv_unref((uv_handle_t *)&l->before_poll); /* Alone they are no reason for the loop to go on. */
    uv_unref((uv_handle_t *)&l->after_poll);
    return 0;
}

int links_open(const struct links_options *options, char error[256], struct links **ret)
{
    assert(options->node_id != 0 && options->on_frame != NULL && options->on_up != NULL);
    assert(options->on_down != NULL && options->on_lost != NULL && options->on_log != NULL);
    struct links *l = calloc(1, sizeof *l);
    if (l == NULL) {
        snprintf(error, 256, "out of memory");
        return -1;
    }
    options_settle(l, options);
    int rc = handles_init(l);
    if (rc != 0) {
        snprintf(error, 256, "the peer listener cannot be made: %s", uv_strerror(rc));
        free(l);
        return -1;
    }
    rc = listen_start(l);
    if (rc != 0) {
        snprintf(error, 256, "cannot listen for peers on %s: %s", l->o.listen, uv_strerror(rc));
        links_close(l, NULL, NULL);
        return -1;
    }
    l->o.listen = NULL; /* The caller's; no longer needed. */
    *ret = l;
    return 0;
}

void links_close(struct links *l, void (*on_closed)(void *ctx), void *ctx)
{
    if (l == NULL || l->closing)
        return;
    l->dirty = true;
    links_flush(l);
    l->closing = true;
    l->on_closed = on_closed;
    l->closed_ctx = ctx;
    while (l->n_peers > 0)
        link_peer_forget(l->peers[0]);
    while (l->conns != NULL)
        link_conn_close(l->conns, "closing");
    uv_close((uv_handle_t *)&l->listener, handle_closed);
    uv_close((uv_handle_t *)&l->before_poll, handle_closed);
    uv_close((uv_handle_t *)&l->after_poll, handle_closed);
}

/* ---- Looking ---- */

bool links_linked(const struct links *l, uint64_t peer)
{
    const struct link_peer *p = link_peer_find(l, peer);
    return p != NULL && p->accepted != NULL && p->dialled != NULL && p->dialled->state == LINK_UP;
}

const char *links_peer_client_address(const struct links *l, uint64_t peer)
{
    const struct link_peer *p = link_peer_find(l, peer);
    return p != NULL ? p->client_address : "";
}

uint64_t links_last_heard_ms(const struct links *l, uint64_t peer)
{
    const struct link_peer *p = link_peer_find(l, peer);
    return p != NULL ? p->heard_ms : 0;
}
