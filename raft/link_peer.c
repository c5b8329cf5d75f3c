/* link_peer.c - what is known of another node, and dialling it until it answers. */
#include "raft/link_internal.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct link_peer *link_peer_find(const struct links *l, uint64_t id)
{
    for (unsigned i = 0; i < l->n_peers; i++)
        if (l->peers[i]->id == id)
            return l->peers[i];
    return NULL;
}

struct link_peer *link_peer_need(struct links *l, uint64_t id)
{
    struct link_peer *p = link_peer_find(l, id);
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
    struct link_peer *p = container_of(handle, struct link_peer, retry);
    struct links *l = p->l;
    free(p);
    links_drop(l);
}

void link_peer_settle(struct link_peer *p)
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
    struct link_peer *p = container_of(timer, struct link_peer, retry);
    if (p->wanted && p->dialled == NULL)
        link_peer_dial(p);
}

/* Dial again: at once while the name has other addresses, else after twice the last wait, less a bit of chance. */
void link_peer_retry(struct link_peer *p)
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
void link_peer_trouble(struct link_peer *p, const char *why)
{
    if (strcmp(p->said, why) == 0)
        return;
    snprintf(p->said, sizeof p->said, "%s", why);
    links_log(p->l, LINK_WARNING, "link to node %llu at %s: %s", (unsigned long long)p->id, p->address, why);
}

/* ---- Dialling ---- */

static void connected(uv_connect_t *connect, int status)
{
    struct link_conn *c = container_of(connect, struct link_conn, connect);
    if (c->state == LINK_CLOSING)
        return;
    if (status != 0)
        link_conn_close(c, "%s", uv_strerror(status));
    else
        link_conn_start(c);
    if (c->state == LINK_GREETING)
        link_greet_hello(c);
}

static void conn_connect(struct link_conn *c, const struct sockaddr *address)
{
    c->state = LINK_CONNECTING;
    int rc = uv_tcp_connect(&c->connect, &c->tcp, address, connected);
    if (rc != 0)
        link_conn_close(c, "%s", uv_strerror(rc));
}

/* The addresses of a name take turns, one a dial. */
static void looked_up(uv_getaddrinfo_t *lookup, int status, struct addrinfo *list)
{
    struct link_conn *c = container_of(lookup, struct link_conn, lookup);
    c->looking_up = false;
    if (c->state == LINK_CLOSING) {
        /* Too late. */
    } else if (status != 0 || list == NULL) {
        link_conn_close(c, "the name cannot be resolved: %s", uv_strerror(status != 0 ? status : UV_EAI_NODATA));
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
    link_conn_drop(c);
}

static void conn_look_up(struct link_conn *c, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = uv_getaddrinfo(c->l->o.loop, &c->lookup, looked_up, host, port, &hints);
    if (rc != 0) {
        link_conn_close(c, "the name cannot be resolved: %s", uv_strerror(rc));
        return;
    }
    c->looking_up = true;
    c->holds++;
}

void link_peer_dial(struct link_peer *p)
{
    assert(p->wanted && p->dialled == NULL && !p->l->closing);
    uv_timer_stop(&p->retry);
    p->more_addresses = false;
    struct link_conn *c = link_conn_new(p->l);
    if (c == NULL) {
        link_peer_trouble(p, "out of memory");
        link_peer_retry(p);
        return;
    }
    c->dialled = true;
    c->peer = p;
    c->id = p->id;
    c->state = LINK_RESOLVING;
    p->dialled = c;
    char host[LINKS_ADDRESS_MAX], port[8];
    struct sockaddr_storage address;
    link_conn_deadline(c, p->l->o.connect_timeout_ms);
    if (!link_address_split(p->address, host, port) || host[0] == '\0' || atoi(port) == 0)
        link_conn_close(c, "the address is not host:port");
    else if (link_address_numeric(host, atoi(port), &address))
        conn_connect(c, (struct sockaddr *)&address);
    else
        conn_look_up(c, host, port);
}

void link_peer_forget(struct link_peer *p)
{
    struct link_conn *dialled = p->dialled, *accepted = p->accepted;
    p->wanted = false;
    uv_timer_stop(&p->retry);
    if (dialled == NULL && accepted == NULL) {
        link_peer_settle(p);
        return;
    }
    /* The last of these takes the peer with it. */
    if (dialled != NULL)
        link_conn_close(dialled, "the peer is no longer wanted");
    if (accepted != NULL)
        link_conn_close(accepted, "the peer is no longer wanted");
}
