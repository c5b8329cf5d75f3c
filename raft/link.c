/* link.c - how links are made, kept and mended.
 *
 * A conn is one TCP connection, dialled or accepted; a peer is what is known of another node: where to dial it, its
 * dialled conn and its accepted one. Time runs down the page:
 *
 *   dialled:  RESOLVING -> CONNECTING -> GREETING (HELLO sent) -> UP (frames leave) -> CLOSING
 *   accepted:                            GREETING (HELLO awaited) -> UP (frames come) -> CLOSING
 *
 * Every way out goes through conn_close(): it takes the conn away from its peer at once, says why once, and sets the
 * timer for the next dial; the conn itself is freed when its handles and its name lookup are done with. So a conn that
 * is CLOSING may still get callbacks of libuv, and each begins by looking at the state.
 *
 * Invariants: peer->dialled and peer->accepted are never CLOSING; strangers counts accepted conns in GREETING;
 * everything that libuv may still call back about holds one of l->holds, and struct links is freed with the last. */
#include "raft/link.h"
#include "raft/inbox.h"
#include "raft/outbox.h"
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTEN_BACKLOG 128
#define FLUSH_BYTES (256u << 10) /* Gathered this much: let it leave before the round of the loop ends. */
#define KEEPALIVE_S 5
#define NOISE_INTERVAL_MS 1000 /* Lines about strangers: one in this time. */
#define WHY_MAX 192
#define LOG_LINE_MAX 640

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_GREETING, CONN_REFUSING, CONN_UP, CONN_CLOSING };

struct peer;

struct conn {
    struct links *l;
    struct peer *peer; /* NULL: a stranger, or CLOSING. */
    uint64_t id;       /* Of the peer, once known. */
    uint64_t start;    /* Start number of the peer's process, once UP. */
    enum conn_state state;
    bool dialled;
    bool was_up;               /* on_up was called, on_down not yet. */
    bool writing;              /* `write` is under way. */
    unsigned holds;            /* Handles and lookups that still point here. */
    struct conn *next, **link; /* In l->conns until CLOSING. */
    uv_tcp_t tcp;
    uv_timer_t deadline; /* Of resolving and connecting, then of the greeting. */
    uv_getaddrinfo_t lookup;
    bool looking_up;
    uv_connect_t connect;
    uv_write_t greet;
    uint8_t greeting[FRAME_GREETING_BYTES_MAX];
    uv_write_t write;
    struct outbox outbox; /* Dialled. */
    struct inbox inbox;
    uint8_t odd_kinds[32]; /* A bit for each unknown kind already spoken of. */
    char why[WHY_MAX];
};

struct peer {
    struct links *l;
    uint64_t id;
    bool wanted; /* links_peer() gave an address. */
    char address[LINKS_ADDRESS_MAX];
    struct conn *dialled, *accepted;
    uv_timer_t retry;
    unsigned backoff_ms; /* Of the last failed dial; 0 after a success. */
    unsigned turn;       /* Which of the name's addresses is next. */
    bool more_addresses; /* The dial under way was not to the last of them. */
    char said[WHY_MAX];  /* The trouble last logged: the same is not logged again. */
    char client_address[FRAME_GREETING_TEXT_MAX + 1];
    uint64_t heard_ms;
};

struct links {
    struct links_options o;
    char client_address[FRAME_GREETING_TEXT_MAX + 1];
    bool closing;
    bool dirty; /* Some outbox has filled since the last flush. */
    unsigned holds;
    uv_tcp_t listener;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    struct conn *conns;
    unsigned strangers;
    struct peer *peers[LINKS_PEERS_MAX];
    unsigned n_peers;
    uint64_t chance; /* State of the random numbers for jitter. */
    uint64_t noise_ms;
    unsigned noise_held; /* Lines about strangers not written. */
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

static void peer_dial(struct peer *p);
static void conn_close(struct conn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- Small things ---- */

static void links_log(struct links *l, enum link_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void links_log(struct links *l, enum link_level level, const char *format, ...)
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

/* About someone we do not know: anyone can cause these lines, so only one a second is written. */
static void links_noise(struct links *l, const char *who, const char *why)
{
    uint64_t now = uv_now(l->o.loop);
    if (l->noise_ms != 0 && now - l->noise_ms < NOISE_INTERVAL_MS) {
        l->noise_held++;
        return;
    }
    if (l->noise_held > 0)
        links_log(l, LINK_WARNING, "connection from %s closed: %s (%u more were closed before)", who, why,
                  l->noise_held);
    else
        links_log(l, LINK_WARNING, "connection from %s closed: %s", who, why);
    l->noise_ms = now;
    l->noise_held = 0;
}

static void links_drop(struct links *l)
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

static uint64_t links_random(struct links *l)
{
    l->chance ^= l->chance << 13;
    l->chance ^= l->chance >> 7;
    l->chance ^= l->chance << 17;
    return l->chance;
}

/* "host:port" or "[v6]:port" in two. Returns false when it is neither. */
static bool address_split(const char *address, char host[LINKS_ADDRESS_MAX], char port[8])
{
    const char *colon = strrchr(address, ':');
    size_t host_len = colon != NULL ? (size_t)(colon - address) : 0;
    if (colon == NULL || host_len >= LINKS_ADDRESS_MAX || strlen(colon + 1) == 0 || strlen(colon + 1) > 5)
        return false;
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535)
        return false;
    bool bracketed = host_len >= 2 && address[0] == '[' && colon[-1] == ']';
    if (bracketed)
        address++, host_len -= 2;
    memcpy(host, address, host_len);
    host[host_len] = '\0';
    strcpy(port, colon + 1);
    return bracketed || strchr(host, ':') == NULL;
}

/* An address that needs no lookup. */
static bool address_numeric(const char *host, int port, struct sockaddr_storage *ret)
{
    return uv_ip4_addr(host, port, (struct sockaddr_in *)ret) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)ret) == 0;
}

/* The other end of an accepted connection, for people. */
static void conn_name(const struct conn *c, char name[64])
{
    struct sockaddr_storage a;
    int len = sizeof a;
    char ip[INET6_ADDRSTRLEN] = "?";
    int port = 0;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&a, &len) == 0) {
        if (a.ss_family == AF_INET6)
            uv_ip6_name((struct sockaddr_in6 *)&a, ip, sizeof ip);
        else
            uv_ip4_name((struct sockaddr_in *)&a, ip, sizeof ip);
        port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                             : ((struct sockaddr_in *)&a)->sin_port);
    }
    snprintf(name, 64, strchr(ip, ':') != NULL ? "[%s]:%d" : "%s:%d", ip, port);
}

/* ---- Peers ---- */

static struct peer *peer_find(const struct links *l, uint64_t id)
{
    for (unsigned i = 0; i < l->n_peers; i++)
        if (l->peers[i]->id == id)
            return l->peers[i];
    return NULL;
}

/* NULL when there are too many, or no memory. */
static struct peer *peer_need(struct links *l, uint64_t id)
{
    struct peer *p = peer_find(l, id);
    if (p != NULL || l->n_peers == LINKS_PEERS_MAX || (p = calloc(1, sizeof *p)) == NULL)
        return p;
    p->l = l;
    p->id = id;
    uv_timer_init(l->o.loop, &p->retry);
    l->holds++;
    l->peers[l->n_peers++] = p;
    return p;
}

static void peer_closed(uv_handle_t *handle)
{
    struct peer *p = container_of(handle, struct peer, retry);
    struct links *l = p->l;
    free(p);
    links_drop(l);
}

/* Forget a peer nobody asks for and that is not connected. */
static void peer_settle(struct peer *p)
{
    struct links *l = p->l;
    if (p->wanted || p->dialled != NULL || p->accepted != NULL)
        return;
    unsigned i = 0;
    while (l->peers[i] != p)
        i++;
    l->peers[i] = l->peers[--l->n_peers];
    uv_close((uv_handle_t *)&p->retry, peer_closed);
}

static void retry_due(uv_timer_t *timer)
{
    struct peer *p = container_of(timer, struct peer, retry);
    if (p->wanted && p->dialled == NULL)
        peer_dial(p);
}

/* Dial again: at once while the name has other addresses, else after twice the last wait, less a bit of chance. */
static void peer_retry(struct peer *p)
{
    const struct links_options *o = &p->l->o;
    unsigned wait_ms = 0;
    if (!p->more_addresses) {
        unsigned twice = p->backoff_ms * 2;
        p->backoff_ms = twice < o->backoff_min_ms ? o->backoff_min_ms : twice;
        if (p->backoff_ms > o->backoff_max_ms)
            p->backoff_ms = o->backoff_max_ms;
        wait_ms = p->backoff_ms - (unsigned)(links_random(p->l) % (p->backoff_ms / 2 + 1));
    }
    p->more_addresses = false;
    uv_timer_start(&p->retry, retry_due, wait_ms, 0);
}

/* Say what is wrong with the link to a peer, unless it is what was said last. */
static void peer_trouble(struct peer *p, const char *why)
{
    if (strcmp(p->said, why) == 0)
        return;
    snprintf(p->said, sizeof p->said, "%s", why);
    links_log(p->l, LINK_WARNING, "link to node %llu at %s: %s", (unsigned long long)p->id, p->address, why);
}

/* ---- The end of a connection ---- */

static void conn_drop(struct conn *c)
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
    conn_drop(container_of(handle, struct conn, deadline));
}

static void conn_tcp_closed(uv_handle_t *handle)
{
    struct conn *c = container_of(handle, struct conn, tcp);
    struct links *l = c->l;
    if (c->was_up && !l->closing)
        l->o.on_down(l->o.ctx, c->id, c->why);
    conn_drop(c);
}

/* Take it off its peer, or off the strangers. */
static void conn_detach(struct conn *c, enum conn_state before)
{
    struct peer *p = c->peer;
    c->peer = NULL;
    if (!c->dialled && (before == CONN_GREETING || before == CONN_REFUSING))
        c->l->strangers--;
    if (p == NULL)
        return;
    if (p->dialled == c) {
        p->dialled = NULL;
        if (p->wanted) {
            peer_trouble(p, c->why);
            peer_retry(p);
        }
    } else if (p->accepted == c) {
        p->accepted = NULL;
    }
    peer_settle(p);
}

static void conn_close(struct conn *c, const char *format, ...)
{
    if (c->state == CONN_CLOSING)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(c->why, sizeof c->why, format, args);
    va_end(args);
    enum conn_state before = c->state;
    c->state = CONN_CLOSING;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    if (c->looking_up)
        uv_cancel((uv_req_t *)&c->lookup);
    uv_close((uv_handle_t *)&c->tcp, conn_tcp_closed);
    uv_close((uv_handle_t *)&c->deadline, conn_timer_closed);
    conn_detach(c, before);
}

/* An accepted connection that ends for a reason worth a line. */
static void conn_cut(struct conn *c, const char *why)
{
    char name[64];
    conn_name(c, name);
    if (c->peer == NULL)
        links_noise(c->l, name, why);
    else
        links_log(c->l, LINK_WARNING, "link from node %llu at %s closed: %s", (unsigned long long)c->id, name, why);
    conn_close(c, "%s", why);
}

static struct conn *conn_new(struct links *l)
{
    struct conn *c = calloc(1, sizeof *c);
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
    struct conn *c = container_of(timer, struct conn, deadline);
    if (c->state == CONN_CLOSING)
        return;
    if (!c->dialled)
        conn_cut(c, "it did not say who it is in time");
    else if (c->state == CONN_GREETING)
        conn_close(c, "no answer to the greeting in time");
    else
        conn_close(c, c->state == CONN_RESOLVING ? "the name was not resolved in time" : "connecting timed out");
}

/* Small frames leave at once, a dead peer is noticed. Failures are harmless. */
static void conn_tune(struct conn *c)
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

/* ---- Sending ---- */

static void conn_flush(struct conn *c);

static void conn_written(uv_write_t *write, int status)
{
    struct conn *c = container_of(write, struct conn, write);
    c->writing = false;
    outbox_left(&c->outbox);
    if (status != 0)
        conn_close(c, "writing: %s", uv_strerror(status));
    else
        conn_flush(c);
}

/* Write as much as goes without waiting; libuv waits for the rest. */
static void conn_flush(struct conn *c)
{
    if (c->state != CONN_UP || c->writing || outbox_filling(&c->outbox) == 0)
        return;
    uv_buf_t *bufs;
    long n = outbox_take(&c->outbox, &bufs);
    if (n < 0) {
        conn_close(c, "out of memory");
        return;
    }
    int rc = uv_try_write((uv_stream_t *)&c->tcp, bufs, (unsigned)n);
    size_t left = outbox_advance(&c->outbox, rc > 0 ? (size_t)rc : 0, &bufs);
    if (left == 0) {
        outbox_left(&c->outbox);
        return;
    }
    c->writing = true;
    rc = rc < 0 && rc != UV_EAGAIN ? rc
                                   : uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs, (unsigned)left, conn_written);
    if (rc == 0)
        return;
    c->writing = false;
    outbox_left(&c->outbox);
    conn_close(c, "writing: %s", uv_strerror(rc));
}

static void links_flush(struct links *l)
{
    if (!l->dirty)
        return;
    l->dirty = false;
    for (unsigned i = 0; i < l->n_peers; i++)
        if (l->peers[i]->dialled != NULL)
            conn_flush(l->peers[i]->dialled);
}

static void before_poll(uv_prepare_t *handle)
{
    links_flush(container_of(handle, struct links, before_poll));
}

static void after_poll(uv_check_t *handle)
{
    links_flush(container_of(handle, struct links, after_poll));
}

static size_t conn_backlog(const struct conn *c)
{
    return outbox_filling(&c->outbox) + (c->writing ? uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) : 0);
}

static bool frame_fits(const struct conn *c, uint8_t kind, size_t head_len, const struct io_slice *slices, size_t n)
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
    struct peer *p = peer_find(l, peer);
    struct conn *c = p != NULL ? p->dialled : NULL;
    if (c == NULL || c->state != CONN_UP || !frame_fits(c, kind, head_len, slices, n))
        return;
    size_t waiting = conn_backlog(c);
    if (waiting > l->o.queue_bytes_max) {
        conn_close(c, "cut, because %zu bytes wait to be sent (the limit is %zu)", waiting, l->o.queue_bytes_max);
        return;
    }
    if (outbox_add(&c->outbox, kind, head, head_len, slices, n) != 0) {
        conn_close(c, "out of memory");
        return;
    }
    l->dirty = true;
    if (outbox_filling(&c->outbox) >= FLUSH_BYTES)
        conn_flush(c);
}

size_t links_backlog(const struct links *l, uint64_t peer)
{
    struct peer *p = peer_find(l, peer);
    if (p == NULL || p->dialled == NULL || p->dialled->state != CONN_UP)
        return SIZE_MAX;
    return conn_backlog(p->dialled);
}

/* ---- Greetings ---- */

static void greeting_written(uv_write_t *write, int status)
{
    struct conn *c = container_of(write, struct conn, greet);
    if (status != 0)
        conn_close(c, "writing the greeting: %s", uv_strerror(status));
    else if (c->state == CONN_REFUSING)
        conn_close(c, "refused");
}

static void conn_greet(struct conn *c, struct frame_greeting *g)
{
    memcpy(g->cluster_id, c->l->o.cluster_id, sizeof g->cluster_id);
    g->from = c->l->o.node_id;
    g->start = c->l->o.start;
    size_t len = frame_greeting_encode(g, c->greeting);
    uv_buf_t buf = {.base = (char *)c->greeting, .len = len};
    int rc = uv_write(&c->greet, (uv_stream_t *)&c->tcp, &buf, 1, greeting_written);
    if (rc != 0)
        conn_close(c, "writing the greeting: %s", uv_strerror(rc));
}

static void conn_hello(struct conn *c)
{
    struct frame_greeting g = {
        .kind = FRAME_HELLO, .version_min = FRAME_VERSION_MIN, .version_max = FRAME_VERSION_MAX, .to = c->id};
    memcpy(g.text, c->l->client_address, sizeof g.text);
    conn_greet(c, &g);
}

static void conn_welcome(struct conn *c, uint16_t version)
{
    struct frame_greeting g = {.kind = FRAME_WELCOME, .version_min = version, .version_max = version, .to = c->id};
    memcpy(g.text, c->l->client_address, sizeof g.text);
    conn_greet(c, &g);
}

/* Answer and close. The dialler logs the reason; here it is noise. */
static void conn_refuse(struct conn *c, const struct frame_greeting *hello, enum frame_refusal code, const char *why)
{
    struct frame_greeting g = {.kind = FRAME_REFUSED,
                               .version_min = FRAME_VERSION_MIN,
                               .version_max = FRAME_VERSION_MAX,
                               .code = (uint16_t)code,
                               .to = hello->from};
    snprintf(g.text, sizeof g.text, "%s", why);
    char name[64], line[FRAME_GREETING_TEXT_MAX + 64];
    conn_name(c, name);
    snprintf(line, sizeof line, "node %llu was refused: %s", (unsigned long long)hello->from, why);
    c->state = CONN_REFUSING; /* Before greeting_written can be called. */
    links_noise(c->l, name, line);
    conn_greet(c, &g);
}

/* What is wrong with this HELLO? 0: nothing. The sentence is for the one who dialled. */
static int hello_check(struct links *l, const struct frame_greeting *g, char why[FRAME_GREETING_TEXT_MAX])
{
    const unsigned long long self = l->o.node_id, from = g->from;
    const size_t size = FRAME_GREETING_TEXT_MAX;
    if (g->version_min > FRAME_VERSION_MAX || g->version_max < FRAME_VERSION_MIN) {
        snprintf(why, size, "no wire version in common: node %llu speaks %u to %u, node %llu speaks %u to %u", self,
                 FRAME_VERSION_MIN, FRAME_VERSION_MAX, from, g->version_min, g->version_max);
        return FRAME_REFUSED_VERSION;
    }
    if (memcmp(g->cluster_id, l->o.cluster_id, sizeof g->cluster_id) != 0) {
        snprintf(why, size, "this is node %llu of another cluster", self);
        return FRAME_REFUSED_CLUSTER;
    }
    if (g->to != self) {
        snprintf(why, size, "this is node %llu, not node %llu", self, (unsigned long long)g->to);
        return FRAME_REFUSED_TO;
    }
    if (from == self) {
        snprintf(why, size, "this node has the id %llu itself", self);
        return FRAME_REFUSED_SELF;
    }
    if (l->o.admit != NULL && !l->o.admit(l->o.ctx, g->from)) {
        snprintf(why, size, "node %llu is not a member of this cluster", from);
        return FRAME_REFUSED_MEMBER;
    }
    return 0;
}

static void peer_heard(struct peer *p, const struct frame_greeting *g)
{
    p->heard_ms = uv_now(p->l->o.loop);
    memcpy(p->client_address, g->text, sizeof p->client_address);
}

/* The peer dialled us, so it is alive: what we have with an older process of it is worthless, and now is the time to
 * dial. */
static void peer_dial_again(struct peer *p, uint64_t start)
{
    if (p->dialled != NULL && p->dialled->state == CONN_UP && p->dialled->start != start)
        conn_close(p->dialled, "the peer's process was restarted");
    else if (p->dialled != NULL && p->dialled->state == CONN_CONNECTING)
        conn_close(p->dialled, "connecting again, as the peer is alive");
    if (!p->wanted || p->dialled != NULL)
        return;
    p->backoff_ms = 0;
    peer_dial(p);
}

/* An accepted connection has a name now, and replaces the one before. */
static void peer_accept(struct peer *p, struct conn *c, const struct frame_greeting *g)
{
    struct links *l = p->l;
    struct conn *older = p->accepted;
    bool lost = older != NULL && older->start != g->start;
    p->accepted = c;
    c->peer = p;
    c->start = g->start;
    c->state = CONN_UP;
    l->strangers--;
    uv_timer_stop(&c->deadline);
    if (older != NULL)
        conn_close(older, "replaced by a newer connection");
    peer_heard(p, g);
    peer_dial_again(p, g->start);
    if (lost)
        l->o.on_lost(l->o.ctx, p->id);
}

/* The first bytes of an accepted connection. */
static void hello_received(struct conn *c, const struct frame_greeting *g)
{
    struct links *l = c->l;
    char why[FRAME_GREETING_TEXT_MAX];
    if (g->kind != FRAME_HELLO || g->from == 0 || g->version_min > g->version_max) {
        conn_cut(c, "its greeting makes no sense");
        return;
    }
    int code = hello_check(l, g, why);
    if (c->state == CONN_CLOSING) /* admit() closed us. */
        return;
    struct peer *p = code == 0 ? peer_need(l, g->from) : NULL;
    if (p == NULL) {
        conn_refuse(c, g, code != 0 ? (enum frame_refusal)code : FRAME_REFUSED_LIMIT,
                    code != 0 ? why : "this node has no room for another peer");
        return;
    }
    c->id = g->from;
    conn_welcome(c, g->version_max < FRAME_VERSION_MAX ? g->version_max : FRAME_VERSION_MAX);
    if (c->state != CONN_CLOSING)
        peer_accept(p, c, g);
    else
        peer_settle(p);
}

static void refusal_received(struct conn *c, const struct frame_greeting *g)
{
    struct links *l = c->l;
    uint64_t id = c->id;
    c->peer->backoff_ms = l->o.backoff_max_ms; /* It will take someone to change something. */
    conn_close(c, "refused: %s", g->text);
    if (l->o.on_refused != NULL && !l->closing)
        l->o.on_refused(l->o.ctx, id, g->code, g->text);
}

/* Is this the answer of the node we meant to dial? */
static bool welcome_is_sound(const struct conn *c, const struct frame_greeting *g)
{
    return g->kind == FRAME_WELCOME && g->from == c->id && g->to == c->l->o.node_id &&
           g->version_min >= FRAME_VERSION_MIN && g->version_min <= FRAME_VERSION_MAX &&
           memcmp(g->cluster_id, c->l->o.cluster_id, sizeof g->cluster_id) == 0;
}

/* The answer to our HELLO. */
static void answer_received(struct conn *c, const struct frame_greeting *g)
{
    struct links *l = c->l;
    struct peer *p = c->peer;
    if (g->kind == FRAME_REFUSED) {
        refusal_received(c, g);
        return;
    }
    if (!welcome_is_sound(c, g)) {
        conn_close(c, "the answer to the greeting makes no sense");
        return;
    }
    uv_timer_stop(&c->deadline);
    c->state = CONN_UP;
    c->was_up = true;
    p->backoff_ms = 0;
    p->more_addresses = false;
    p->said[0] = '\0';
    c->start = g->start;
    peer_heard(p, g);
    bool lost = p->accepted != NULL && p->accepted->start != g->start;
    if (lost)
        conn_close(p->accepted, "the peer's process was restarted");
    links_log(l, LINK_INFO, "link to node %llu at %s is up", (unsigned long long)c->id, p->address);
    l->o.on_up(l->o.ctx, c->id);
    if (lost && !l->closing)
        l->o.on_lost(l->o.ctx, c->id);
}

/* ---- Receiving ---- */

static void greeting_step(struct conn *c)
{
    struct frame_greeting g;
    size_t len;
    const uint8_t *bytes = inbox_peek(&c->inbox, &len);
    long used = frame_greeting_decode(bytes, len, &g);
    if (used == 0)
        return;
    if (used < 0) {
        if (c->dialled)
            conn_close(c, "what answers there is not a holdfast peer");
        else
            conn_cut(c, "it does not speak the peer protocol");
        return;
    }
    inbox_consume(&c->inbox, (size_t)used);
    if (c->dialled)
        answer_received(c, &g);
    else
        hello_received(c, &g);
}

static void kind_unknown(struct conn *c, uint8_t kind)
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

static void frames_step(struct conn *c)
{
    struct links *l = c->l;
    struct frame_header h;
    const uint8_t *payload;
    int rc;
    c->peer->heard_ms = uv_now(l->o.loop);
    while (c->state == CONN_UP && (rc = inbox_next(&c->inbox, &h, &payload)) != 0) {
        if (rc < 0)
            conn_cut(c, inbox_trouble(rc));
        else if (!frame_kind_known(h.kind))
            kind_unknown(c, h.kind);
        else
            l->o.on_frame(l->o.ctx, c->id, h.kind, payload, h.len);
    }
}

/* The other end is gone, or the connection is. Only an end that its kernel told us of means that the process is gone.
 */
static void read_ended(struct conn *c, int status)
{
    struct links *l = c->l;
    bool gone = status == UV_EOF || status == UV_ECONNRESET || status == UV_EPIPE;
    bool lost = gone && !c->dialled && c->state == CONN_UP;
    uint64_t id = c->id;
    if (c->dialled)
        conn_close(c, "%s", status == UV_EOF ? "closed by the peer" : uv_strerror(status));
    else if (c->state == CONN_GREETING && !gone)
        conn_cut(c, uv_strerror(status));
    else
        conn_close(c, "%s", uv_strerror(status));
    if (lost && !l->closing)
        l->o.on_lost(l->o.ctx, id);
}

static void read_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct conn *c = container_of(handle, struct conn, tcp);
    size_t len;
    ret->base = (char *)inbox_room(&c->inbox, &len);
    ret->len = len;
}

static void read_done(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct conn *c = container_of(stream, struct conn, tcp);
    if (c->state == CONN_CLOSING || n == 0)
        return;
    if (n < 0) {
        read_ended(c, (int)n);
        return;
    }
    inbox_received(&c->inbox, (size_t)n);
    if (c->state == CONN_GREETING)
        greeting_step(c);
    if (c->state != CONN_UP)
        return;
    size_t left;
    inbox_peek(&c->inbox, &left);
    if (!c->dialled)
        frames_step(c);
    else if (left > 0)
        conn_close(c, "the peer sent something where nothing is expected");
}

/* ---- Dialling ---- */

static void connected(uv_connect_t *connect, int status)
{
    struct conn *c = container_of(connect, struct conn, connect);
    if (c->state == CONN_CLOSING)
        return;
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&c->tcp, read_room, read_done);
    if (status != 0) {
        conn_close(c, "%s", uv_strerror(status));
        return;
    }
    conn_tune(c);
    c->state = CONN_GREETING;
    uv_timer_start(&c->deadline, deadline_passed, c->l->o.handshake_timeout_ms, 0);
    conn_hello(c);
}

static void conn_connect(struct conn *c, const struct sockaddr *address)
{
    c->state = CONN_CONNECTING;
    int rc = uv_tcp_connect(&c->connect, &c->tcp, address, connected);
    if (rc != 0)
        conn_close(c, "%s", uv_strerror(rc));
}

/* The addresses of a name take turns, one a dial. */
static void looked_up(uv_getaddrinfo_t *lookup, int status, struct addrinfo *list)
{
    struct conn *c = container_of(lookup, struct conn, lookup);
    c->looking_up = false;
    if (c->state == CONN_CLOSING) {
        /* Too late. */
    } else if (status != 0 || list == NULL) {
        conn_close(c, "the name cannot be resolved: %s", uv_strerror(status != 0 ? status : UV_EAI_NODATA));
    } else {
        unsigned n = 0;
        for (struct addrinfo *a = list; a != NULL; a = a->ai_next)
            n++;
        unsigned turn = c->peer->turn++ % n;
        c->peer->more_addresses = turn + 1 < n;
        struct addrinfo *a = list;
        while (turn-- > 0)
            a = a->ai_next;
        conn_connect(c, a->ai_addr);
    }
    uv_freeaddrinfo(list);
    conn_drop(c);
}

static void conn_look_up(struct conn *c, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = uv_getaddrinfo(c->l->o.loop, &c->lookup, looked_up, host, port, &hints);
    if (rc != 0) {
        conn_close(c, "the name cannot be resolved: %s", uv_strerror(rc));
        return;
    }
    c->looking_up = true;
    c->holds++;
}

static void peer_dial(struct peer *p)
{
    assert(p->wanted && p->dialled == NULL && !p->l->closing);
    uv_timer_stop(&p->retry);
    p->more_addresses = false;
    struct conn *c = conn_new(p->l);
    if (c == NULL) {
        peer_trouble(p, "out of memory");
        peer_retry(p);
        return;
    }
    c->dialled = true;
    c->peer = p;
    c->id = p->id;
    c->state = CONN_RESOLVING;
    p->dialled = c;
    char host[LINKS_ADDRESS_MAX], port[8];
    struct sockaddr_storage address;
    uv_timer_start(&c->deadline, deadline_passed, p->l->o.connect_timeout_ms, 0);
    if (!address_split(p->address, host, port) || host[0] == '\0' || atoi(port) == 0)
        conn_close(c, "the address is not host:port");
    else if (address_numeric(host, atoi(port), &address))
        conn_connect(c, (struct sockaddr *)&address);
    else
        conn_look_up(c, host, port);
}

static void peer_forget(struct peer *p)
{
    struct conn *dialled = p->dialled, *accepted = p->accepted;
    p->wanted = false;
    uv_timer_stop(&p->retry);
    if (dialled == NULL && accepted == NULL) {
        peer_settle(p);
        return;
    }
    /* The last of these takes the peer with it. */
    if (dialled != NULL)
        conn_close(dialled, "the peer is no longer wanted");
    if (accepted != NULL)
        conn_close(accepted, "the peer is no longer wanted");
}

void links_peer(struct links *l, uint64_t peer, const char *address)
{
    if (peer == 0 || peer == l->o.node_id || l->closing)
        return;
    struct peer *p = address != NULL ? peer_need(l, peer) : peer_find(l, peer);
    if (address == NULL) {
        if (p != NULL)
            peer_forget(p);
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
        conn_close(p->dialled, "the peer's address changed");
    snprintf(p->address, sizeof p->address, "%s", address);
    p->backoff_ms = 0;
    p->turn = 0;
    p->said[0] = '\0';
    peer_dial(p);
}

/* ---- Listening ---- */

static void accept_one(uv_stream_t *listener, int status)
{
    struct links *l = listener->data;
    if (l->closing)
        return;
    struct conn *c = status == 0 ? conn_new(l) : NULL;
    if (c == NULL) {
        links_noise(l, "a peer", status != 0 ? uv_strerror(status) : "out of memory");
        return;
    }
    c->state = CONN_GREETING;
    l->strangers++;
    int rc = uv_accept(listener, (uv_stream_t *)&c->tcp);
    if (rc == 0 && l->strangers > LINKS_STRANGERS_MAX)
        conn_cut(c, "too many connections have not yet said who they are");
    else if (rc == 0)
        rc = uv_read_start((uv_stream_t *)&c->tcp, read_room, read_done);
    if (rc != 0)
        conn_close(c, "%s", uv_strerror(rc));
    if (c->state == CONN_CLOSING)
        return;
    conn_tune(c);
    uv_timer_start(&c->deadline, deadline_passed, l->o.handshake_timeout_ms, 0);
}

/* Where to listen, looked up now. Returns 0 or a libuv error. */
static int listen_address(struct links *l, struct sockaddr_storage *ret)
{
    char host[LINKS_ADDRESS_MAX], port[8];
    if (!address_split(l->o.listen, host, port))
        return UV_EINVAL;
    if (host[0] == '\0')
        return uv_ip6_addr("::", atoi(port), (struct sockaddr_in6 *)ret);
    if (address_numeric(host, atoi(port), ret))
        return 0;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t lookup;
    int rc = uv_getaddrinfo(l->o.loop, &lookup, NULL, host, port, &hints);
    if (rc != 0)
        return rc;
    memcpy(ret, lookup.addrinfo->ai_addr, lookup.addrinfo->ai_addrlen);
    uv_freeaddrinfo(lookup.addrinfo);
    return 0;
}

static int listen_start(struct links *l)
{
    struct sockaddr_storage address;
    int rc = listen_address(l, &address);
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
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
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
        peer_forget(l->peers[0]);
    while (l->conns != NULL)
        conn_close(l->conns, "closing");
    uv_close((uv_handle_t *)&l->listener, handle_closed);
    uv_close((uv_handle_t *)&l->before_poll, handle_closed);
    uv_close((uv_handle_t *)&l->after_poll, handle_closed);
}

/* ---- Looking ---- */

bool links_linked(const struct links *l, uint64_t peer)
{
    const struct peer *p = peer_find(l, peer);
    return p != NULL && p->accepted != NULL && p->dialled != NULL && p->dialled->state == CONN_UP;
}

const char *links_peer_client_address(const struct links *l, uint64_t peer)
{
    const struct peer *p = peer_find(l, peer);
    return p != NULL ? p->client_address : "";
}

uint64_t links_last_heard_ms(const struct links *l, uint64_t peer)
{
    const struct peer *p = peer_find(l, peer);
    return p != NULL ? p->heard_ms : 0;
}
