/* link_greet.c - the handshake: who is at the other end, and may we talk?
 *
 * The dialler says HELLO, the other answers WELCOME or REFUSED with a sentence. The one who was refused tells its
 * operator; the one who refuses cannot know whether the other is a neighbour or a stranger, and keeps quiet about
 * repetitions. */
#include "raft/link_internal.h"
#include <stdio.h>
#include <string.h>

static void greeting_written(uv_write_t *write, int status)
{
    struct link_conn *c = container_of(write, struct link_conn, greet);
    if (status != 0)
        link_conn_close(c, "writing the greeting: %s", uv_strerror(status));
    else if (c->state == LINK_REFUSING)
        link_conn_close(c, "refused");
}

static void conn_greet(struct link_conn *c, struct frame_greeting *g)
{
    memcpy(g->cluster_id, c->l->o.cluster_id, sizeof g->cluster_id);
    g->from = c->l->o.node_id;
    g->start = c->l->o.start;
    if (c->l->o.introduce != NULL)
        c->l->o.introduce(c->l->o.ctx, g);
    size_t len = frame_greeting_encode(g, c->greeting);
    uv_buf_t buf = {.base = (char *)c->greeting, .len = len};
    int rc = uv_write(&c->greet, (uv_stream_t *)&c->tcp, &buf, 1, greeting_written);
    if (rc != 0)
        link_conn_close(c, "writing the greeting: %s", uv_strerror(rc));
}

void link_greet_hello(struct link_conn *c)
{
    struct frame_greeting g = {
        .kind = FRAME_HELLO, .version_min = FRAME_VERSION_MIN, .version_max = FRAME_VERSION_MAX, .to = c->id};
    memcpy(g.text, c->l->client_address, sizeof g.text);
    conn_greet(c, &g);
}

static void conn_welcome(struct link_conn *c, uint16_t version)
{
    struct frame_greeting g = {.kind = FRAME_WELCOME, .version_min = version, .version_max = version, .to = c->id};
    memcpy(g.text, c->l->client_address, sizeof g.text);
    conn_greet(c, &g);
}

/* Answer and close. The dialler logs the reason; here it is noise. */
static void conn_refuse(struct link_conn *c, const struct frame_greeting *hello, enum frame_refusal code,
                        const char *why)
{
    struct frame_greeting g = {.kind = FRAME_REFUSED,
                               .version_min = FRAME_VERSION_MIN,
                               .version_max = FRAME_VERSION_MAX,
                               .code = (uint16_t)code,
                               .to = hello->from};
    snprintf(g.text, sizeof g.text, "%s", why);
    char name[LINK_NAME_MAX], line[FRAME_GREETING_TEXT_MAX + 64];
    link_conn_name(c, name);
    snprintf(line, sizeof line, "node %llu was refused: %s", (unsigned long long)hello->from, why);
    c->state = LINK_REFUSING; /* Before greeting_written can be called. */
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
    return l->o.judge != NULL ? (int)l->o.judge(l->o.ctx, g, why) : 0;
}

static void peer_heard(struct link_peer *p, const struct frame_greeting *g)
{
    p->heard_ms = uv_now(p->l->o.loop);
    memcpy(p->client_address, g->text, sizeof p->client_address);
}

/* The peer dialled us, so it lives: what we have with an older process of it is worthless, and now is the time to dial.
 */
static void peer_dial_again(struct link_peer *p, uint64_t start)
{
    if (p->dialled != NULL && p->dialled->state == LINK_UP && p->dialled->start != start)
        link_conn_close(p->dialled, "the peer's process was restarted");
    else if (p->dialled != NULL && p->dialled->state == LINK_CONNECTING)
        link_conn_close(p->dialled, "connecting again, as the peer is alive");
    if (!p->wanted || p->dialled != NULL)
        return;
    p->backoff_ms = 0;
    link_peer_dial(p);
}

/* An accepted connection has a name now, and replaces the one before. */
static void peer_accept(struct link_peer *p, struct link_conn *c, const struct frame_greeting *g)
{
    struct links *l = p->l;
    struct link_conn *older = p->accepted;
    bool lost = older != NULL && older->start != g->start;
    p->accepted = c;
    c->peer = p;
    c->start = g->start;
    c->state = LINK_UP;
    l->strangers--;
    uv_timer_stop(&c->deadline);
    if (older != NULL)
        link_conn_close(older, "replaced by a newer connection");
    peer_heard(p, g);
    peer_dial_again(p, g->start);
    if (lost)
        l->o.on_lost(l->o.ctx, p->id);
}

/* The first bytes of an accepted connection. */
static void hello_received(struct link_conn *c, const struct frame_greeting *g)
{
    struct links *l = c->l;
    char why[FRAME_GREETING_TEXT_MAX];
    if (g->kind != FRAME_HELLO || g->from == 0 || g->version_min > g->version_max) {
        link_conn_cut(c, "its greeting makes no sense");
        return;
    }
    int code = hello_check(l, g, why);
    if (c->state == LINK_CLOSING) /* admit() closed us. */
        return;
    struct link_peer *p = code == 0 ? link_peer_need(l, g->from) : NULL;
    if (p == NULL) {
        conn_refuse(c, g, code != 0 ? (enum frame_refusal)code : FRAME_REFUSED_LIMIT,
                    code != 0 ? why : "this node has no room for another peer");
        return;
    }
    c->id = g->from;
    conn_welcome(c, g->version_max < FRAME_VERSION_MAX ? g->version_max : FRAME_VERSION_MAX);
    if (c->state != LINK_CLOSING)
        peer_accept(p, c, g);
    else
        link_peer_settle(p);
}

static void refusal_received(struct link_conn *c, const struct frame_greeting *g)
{
    struct links *l = c->l;
    uint64_t id = c->id;
    c->peer->backoff_ms = l->o.backoff_max_ms; /* It will take someone to change something. */
    link_conn_close(c, "refused: %s", g->text);
    if (l->o.on_refused != NULL && !l->closing)
        l->o.on_refused(l->o.ctx, id, g);
}

/* Is this the answer of the node we meant to dial? */
static bool welcome_is_sound(const struct link_conn *c, const struct frame_greeting *g)
{
    return g->kind == FRAME_WELCOME && g->from == c->id && g->to == c->l->o.node_id &&
           g->version_min >= FRAME_VERSION_MIN && g->version_min <= FRAME_VERSION_MAX &&
           memcmp(g->cluster_id, c->l->o.cluster_id, sizeof g->cluster_id) == 0;
}

/* The answer to our HELLO. */
static void answer_received(struct link_conn *c, const struct frame_greeting *g)
{
    struct links *l = c->l;
    struct link_peer *p = c->peer;
    if (g->kind == FRAME_REFUSED) {
        refusal_received(c, g);
        return;
    }
    if (!welcome_is_sound(c, g)) {
        link_conn_close(c, "the answer to the greeting makes no sense");
        return;
    }
    char why[FRAME_GREETING_TEXT_MAX];
    if (l->o.judge != NULL && l->o.judge(l->o.ctx, g, why) != 0) {
        p->backoff_ms = l->o.backoff_max_ms; /* As if it had refused us. */
        link_conn_close(c, "%s", why);
        return;
    }
    uv_timer_stop(&c->deadline);
    c->state = LINK_UP;
    c->was_up = true;
    p->backoff_ms = 0;
    p->more_addresses = false;
    p->said[0] = '\0';
    c->start = g->start;
    peer_heard(p, g);
    bool lost = p->accepted != NULL && p->accepted->start != g->start;
    if (lost)
        link_conn_close(p->accepted, "the peer's process was restarted");
    links_log(l, LINK_INFO, "link to node %llu at %s is up", (unsigned long long)c->id, p->address);
    l->o.on_up(l->o.ctx, c->id);
    if (lost && !l->closing)
        l->o.on_lost(l->o.ctx, c->id);
}

void link_greet_received(struct link_conn *c)
{
    struct frame_greeting g;
    size_t len;
    const uint8_t *bytes = inbox_peek(&c->inbox, &len);
    long used = frame_greeting_decode(bytes, len, &g);
    if (used == 0)
        return;
    if (used < 0) {
        if (c->dialled)
            link_conn_close(c, "what answers there is not a holdfast peer");
        else
            link_conn_cut(c, "it does not speak the peer protocol");
        return;
    }
    inbox_consume(&c->inbox, (size_t)used);
    if (c->dialled)
        answer_received(c, &g);
    else
        hello_received(c, &g);
}
