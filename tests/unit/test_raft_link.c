/* test_raft_link.c - links between nodes of one loop on 127.0.0.1, and between a node and sockets that misbehave. */
#include "raft/link.h"
#include "raft/crc32c.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_MS 20000 /* A condition that is not met by then has failed. */
#define NODES 4
#define TEXT_BYTES 8192

static uv_loop_t *loop;
static uint64_t chance;

/* One node: its links, and what they told it. */
struct node {
    struct links *links;
    struct links_options options;
    uint64_t id, start;
    int port; /* Kept when it is opened again. */
    char listen[32];
    bool closed;
    bool refuse_all;
    bool growing; /* Numbers of a sender must grow. */
    unsigned ups, downs, losts, refusals, lines;
    unsigned code;
    char why[256];
    char text[TEXT_BYTES]; /* All log lines. */
    uint64_t frames, bytes;
    uint64_t next; /* Number expected in the next numbered frame; 0: any. */
    uint64_t last[NODES + 1];
    uint8_t kind;
    enum { STAY, CLOSE_ON_FRAME, CLOSE_ON_UP, CLOSE_ON_DOWN, FORGET_ON_FRAME } mood;
};

static struct node nodes[NODES + 1];

static uint64_t next_random(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}

static void node_closed(void *ctx)
{
    struct node *n = ctx;
    n->links = NULL;
    n->closed = true;
}

static bool node_admit(void *ctx, uint64_t peer)
{
    struct node *n = ctx;
    (void)peer;
    return !n->refuse_all;
}

/* Numbered frames carry {u64 number, bytes that follow from it}. */
static void node_frame(void *ctx, uint64_t peer, uint8_t kind, const uint8_t *payload, size_t len)
{
    struct node *n = ctx;
    assert_int_equal((uintptr_t)payload % 8, 0);
    n->frames++;
    n->bytes += len;
    n->kind = kind;
    if (kind == FRAME_OWNER && len >= 8) {
        uint64_t number;
        memcpy(&number, payload, 8);
        if (n->next != 0)
            assert_int_equal(number, n->next++);
        assert_true(n->next != 0 || !n->growing || number > n->last[peer]);
        n->last[peer] = number;
        for (size_t i = 8; i < len; i++)
            if (payload[i] != (uint8_t)number)
                fail_msg("frame %llu differs at %zu", (unsigned long long)number, i);
    }
    if (n->mood == CLOSE_ON_FRAME)
        links_close(n->links, node_closed, n);
    if (n->mood == FORGET_ON_FRAME)
        links_peer(n->links, peer, NULL);
}

static void node_up(void *ctx, uint64_t peer)
{
    struct node *n = ctx;
    n->ups++;
    assert_int_not_equal(links_backlog(n->links, peer), SIZE_MAX);
    if (n->mood == CLOSE_ON_UP)
        links_close(n->links, node_closed, n);
}

static void node_down(void *ctx, uint64_t peer, const char *why)
{
    struct node *n = ctx;
    n->downs++;
    assert_int_equal(links_backlog(n->links, peer), SIZE_MAX);
    snprintf(n->why, sizeof n->why, "%s", why);
    if (n->mood == CLOSE_ON_DOWN)
        links_close(n->links, node_closed, n);
}

static void node_lost(void *ctx, uint64_t peer)
{
    struct node *n = ctx;
    (void)peer;
    n->losts++;
}

static void node_refused(void *ctx, uint64_t peer, const struct frame_greeting *g)
{
    struct node *n = ctx;
    (void)peer;
    n->refusals++;
    n->code = g->code;
    snprintf(n->why, sizeof n->why, "%s", g->text);
}

static void node_log(void *ctx, enum link_level level, const char *text)
{
    struct node *n = ctx;
    size_t len = strlen(n->text);
    n->lines++;
    snprintf(n->text + len, sizeof n->text - len, "%d %s\n", (int)level, text);
}

static int node_try(struct node *n, char error[256])
{
    snprintf(n->listen, sizeof n->listen, "127.0.0.1:%d", n->port);
    n->options.loop = loop;
    n->options.listen = n->listen;
    n->options.node_id = n->id;
    n->options.start = ++n->start;
    n->options.ctx = n;
    n->options.admit = node_admit;
    n->options.on_frame = node_frame;
    n->options.on_up = node_up;
    n->options.on_down = node_down;
    n->options.on_lost = node_lost;
    n->options.on_refused = node_refused;
    n->options.on_log = node_log;
    n->closed = false;
    return links_open(&n->options, error, &n->links);
}

static void node_open(struct node *n)
{
    char error[256] = "";
    if (node_try(n, error) != 0)
        fail_msg("%s", error);
    n->port = links_port(n->links);
}

/* A node with short waits; tests change n->options before node_open(). */
static struct node *node_make(uint64_t id)
{
    struct node *n = &nodes[id];
    memset(n, 0, sizeof *n);
    n->id = id;
    n->options.backoff_min_ms = 2;
    n->options.backoff_max_ms = 20;
    memcpy(n->options.cluster_id, "cluster-of-tests", FRAME_CLUSTER_ID_BYTES);
    return n;
}

static void node_peer(struct node *n, struct node *to)
{
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", to->port);
    links_peer(n->links, to->id, address);
}

static void node_send(struct node *n, uint64_t to, uint64_t number, size_t len)
{
    uint8_t *bytes = malloc(len + 1);
    memset(bytes, (int)(uint8_t)number, len);
    struct blob *b = blob_own(bytes, len);
    struct io_slice slice = {.blob = b, .offset = 0, .len = len};
    links_send(n->links, to, FRAME_OWNER, &number, sizeof number, &slice, 1);
    blob_unref(b);
}

static void patience_ended(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Run the loop until the condition holds. */
#define WAIT(condition)                                                                                                \
    for (struct wait w_ = wait_start(#condition, __LINE__); !wait_over(&w_, condition);)                               \
        uv_run(loop, UV_RUN_ONCE);

struct wait {
    const char *what;
    int line;
    bool *ended;
    uv_timer_t *timer;
};

static struct wait wait_start(const char *what, int line)
{
    struct wait w = {
        .what = what, .line = line, .ended = calloc(1, sizeof(bool)), .timer = calloc(1, sizeof(uv_timer_t))};
    uv_timer_init(loop, w.timer);
    w.timer->data = w.ended;
    uv_timer_start(w.timer, patience_ended, PATIENCE_MS, 0);
    return w;
}

static void timer_free(uv_handle_t *handle)
{
    free(handle->data);
    free(handle);
}

static bool wait_over(struct wait *w, bool met)
{
    if (!met && !*w->ended)
        return false;
    uv_close((uv_handle_t *)w->timer, timer_free);
    if (!met) {
        for (int i = 1; i <= NODES; i++)
            print_error("node %d: %s", i, nodes[i].text);
        fail_msg("line %d: not so after %d ms: %s", w->line, PATIENCE_MS, w->what);
    }
    return true;
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

/* For conditions on raw sockets, which the loop does not know: keep it turning. */
static uv_timer_t ticker;

static int setup(void **state)
{
    (void)state;
    memset(nodes, 0, sizeof nodes);
    loop = uv_default_loop();
    uv_timer_init(loop, &ticker);
    uv_timer_start(&ticker, nothing, 1, 1);
    return 0;
}

static void node_close(struct node *n)
{
    if (n->links == NULL)
        return;
    links_close(n->links, node_closed, n);
    WAIT(n->closed);
}

/* Everything is closed, and the loop has nothing left: no handle leaked. */
static int teardown(void **state)
{
    (void)state;
    for (int i = 1; i <= NODES; i++)
        node_close(&nodes[i]);
    uv_close((uv_handle_t *)&ticker, NULL);
    while (uv_run(loop, UV_RUN_DEFAULT) != 0)
        ;
    assert_int_equal(uv_loop_close(loop), 0);
    return 0;
}

static void pair_open(struct node **ret_a, struct node **ret_b)
{
    struct node *a = *ret_a = node_make(1), *b = *ret_b = node_make(2);
    node_open(a);
    node_open(b);
    node_peer(a, b);
    node_peer(b, a);
    WAIT(links_linked(a->links, 2) && links_linked(b->links, 1));
}

/* ---- Sockets by hand ---- */

static int raw_connect(const struct node *n)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)n->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void raw_send(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

static struct frame_greeting raw_hello(const struct node *to, uint64_t from, uint64_t start)
{
    struct frame_greeting g = {
        .kind = FRAME_HELLO, .version_min = 1, .version_max = 1, .from = from, .to = to->id, .start = start};
    memcpy(g.cluster_id, to->options.cluster_id, sizeof g.cluster_id);
    return g;
}

static void raw_greet(int fd, const struct frame_greeting *g)
{
    uint8_t buf[FRAME_GREETING_BYTES_MAX];
    raw_send(fd, buf, frame_greeting_encode(g, buf));
}

/* Has the other end closed? What it sent before is thrown away. */
static bool raw_ended(int fd)
{
    uint8_t buf[4096];
    ssize_t n;
    while ((n = recv(fd, buf, sizeof buf, 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

static bool raw_greeted(int fd, struct frame_greeting *ret)
{
    uint8_t buf[FRAME_GREETING_BYTES_MAX];
    ssize_t n = recv(fd, buf, sizeof buf, MSG_PEEK);
    if (n <= 0)
        return false;
    long used = frame_greeting_decode(buf, (size_t)n, ret);
    assert_true(used >= 0);
    return used > 0 && recv(fd, buf, (size_t)used, 0) == used;
}

/* A connection that has passed the handshake as node `from`. */
static int raw_link(const struct node *n, uint64_t from, uint64_t start)
{
    int fd = raw_connect(n);
    struct frame_greeting g = raw_hello(n, from, start), answer;
    raw_greet(fd, &g);
    WAIT(raw_greeted(fd, &answer));
    assert_int_equal(answer.kind, FRAME_WELCOME);
    return fd;
}

static void raw_frame(int fd, uint8_t kind, const char *payload)
{
    size_t len = strlen(payload);
    uint8_t buf[256] = {0};
    struct frame_header h = {.len = (uint32_t)len, .kind = kind, .crc = crc32c(0, payload, len)};
    frame_header_encode(&h, buf);
    memcpy(buf + FRAME_HEADER_BYTES, payload, len);
    raw_send(fd, buf, FRAME_HEADER_BYTES + len + frame_pad(len));
}

/* A listener that stands in for a peer. */
static int raw_listen(int *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static int raw_accept(int listener)
{
    int fd;
    WAIT((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    return fd;
}

static void peer_at_port(struct node *n, uint64_t id, int port)
{
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    links_peer(n->links, id, address);
}

/* ---- Links that work ---- */

static void two_nodes_link(void **state)
{
    (void)state;
    struct node *a = node_make(1), *b = node_make(2);
    a->options.client_address = "10.0.0.1:6379";
    node_open(a);
    node_open(b);
    node_peer(a, b);
    WAIT(a->ups == 1);
    assert_false(links_linked(a->links, 2)); /* Only one way yet. */
    node_peer(b, a);
    WAIT(links_linked(a->links, 2) && links_linked(b->links, 1));
    assert_string_equal(links_peer_client_address(b->links, 1), "10.0.0.1:6379");
    assert_string_equal(links_peer_client_address(a->links, 2), "");
    assert_string_equal(links_peer_client_address(a->links, 3), "");
    assert_int_equal(links_backlog(a->links, 3), SIZE_MAX);
    assert_int_equal(links_last_heard_ms(a->links, 3), 0);
    a->next = b->next = 1;
    for (uint64_t i = 1; i <= 10; i++) {
        node_send(a, 2, i, i);
        node_send(b, 1, i, i * 1000);
    }
    WAIT(a->frames == 10 && b->frames == 10);
    assert_true(links_last_heard_ms(a->links, 2) != 0);
    assert_int_equal(a->kind, FRAME_OWNER);
    assert_int_equal(a->downs + b->downs + a->losts + b->losts, 0);
}

static void three_nodes_link(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 3; i++)
        node_open(node_make(i));
    for (uint64_t i = 1; i <= 3; i++)
        for (uint64_t j = 1; j <= 3; j++)
            node_peer(&nodes[i], &nodes[j]); /* Itself too: ignored. */
    for (uint64_t i = 1; i <= 3; i++) {
        WAIT(nodes[i].ups == 2);
        WAIT(links_linked(nodes[i].links, i % 3 + 1));
    }
}

static void frames_of_all_sizes_arrive_in_order(void **state)
{
    (void)state;
    struct node *a, *b;
    pair_open(&a, &b);
    b->next = 1;
    uint64_t number = 0;
    for (size_t len = 0; len < 5000; len += 7)
        node_send(a, 2, ++number, len);
    for (size_t len = 1; len <= 16u << 20; len = len * 3 + 1)
        node_send(a, 2, ++number, len);
    links_send(a->links, 2, FRAME_PROBE, NULL, 0, NULL, 0);
    WAIT(b->frames == number + 1);
    assert_int_equal(b->kind, FRAME_PROBE);
}

static void the_largest_frame_arrives(void **state)
{
    (void)state;
    struct node *a, *b;
    pair_open(&a, &b);
    node_send(a, 2, 1, FRAME_BYTES_MAX - 8);
    node_send(a, 2, 2, 100); /* Behind it, and yet within the limit of the queue. */
    WAIT(b->frames == 2);
    assert_int_equal(b->bytes, FRAME_BYTES_MAX + 108);
    assert_int_equal(links_backlog(a->links, 2), 0);
    node_send(a, 2, 3, FRAME_BYTES_MAX - 7); /* Too large: dropped, with a line. */
    node_send(a, 2, 4, 1);
    WAIT(b->frames == 3);
    assert_non_null(strstr(a->text, "larger than"));
    assert_int_equal(a->downs, 0);
}

/* Far more than socket buffers hold, of frames that each fit in a packet. */
static void a_flood_arrives_in_order(void **state)
{
    (void)state;
    enum { FLOOD = 300000 };
    struct node *a, *b;
    pair_open(&a, &b);
    b->next = 1;
    uint64_t started = uv_hrtime();
    for (uint64_t i = 1; i <= FLOOD; i++)
        node_send(a, 2, i, i % 64);
    WAIT(b->frames == FLOOD);
    print_message("%d frames in %llu ms\n", FLOOD, (unsigned long long)((uv_hrtime() - started) / 1000000));
    assert_int_equal(links_backlog(a->links, 2), 0);
}

/* More buffers than one system call takes. */
static void frames_of_many_slices_arrive(void **state)
{
    (void)state;
    enum { SLICES = 1000, FRAMES = 5, LEN = 1000 };
    struct node *a, *b;
    pair_open(&a, &b);
    struct io_slice slices[SLICES];
    uint8_t *bytes = malloc(LEN);
    memset(bytes, 1, LEN);
    struct blob *blob = blob_own(bytes, LEN);
    for (int i = 0; i < SLICES; i++)
        slices[i] = (struct io_slice){.blob = blob, .offset = (size_t)i % 8, .len = LEN - (size_t)i % 8};
    for (int i = 0; i < FRAMES; i++)
        links_send(a->links, 2, FRAME_OWNER, &(uint64_t){1}, 8, slices, SLICES);
    blob_unref(blob);
    WAIT(b->frames == FRAMES);
    assert_int_equal(b->bytes, FRAMES * (8 + SLICES * LEN - SLICES / 8 * 28));
}

static void unknown_kinds_are_skipped(void **state)
{
    (void)state;
    struct node *a, *b;
    pair_open(&a, &b);
    unsigned lines = b->lines;
    for (int i = 0; i < 5; i++)
        links_send(a->links, 2, FRAME_OWNER - 1, "newer", 5, NULL, 0);
    node_send(a, 2, 1, 1);
    WAIT(b->frames == 1);
    assert_int_equal(b->lines, lines + 1);
    assert_non_null(strstr(b->text, "kind 31 from node 1"));
}

static void names_are_looked_up(void **state)
{
    (void)state;
    struct node *a = node_make(1), *b = node_make(2);
    char address[64];
    node_open(a);
    node_open(b);
    snprintf(address, sizeof address, "localhost:%d", b->port); /* May be ::1 first, where nobody listens. */
    links_peer(a->links, 2, address);
    WAIT(a->ups == 1);
}

static void bad_addresses_are_told(void **state)
{
    (void)state;
    static const char *const bad[] = {"",           "host",     "host:", ":7001", "host:port",
                                      "host:70000", "::1:7001", "[::1]", "h:0"};
    struct node *a = node_make(1);
    node_open(a);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        a->text[0] = '\0';
        links_peer(a->links, 2, bad[i]);
        if (strstr(a->text, "not host:port") == NULL)
            fail_msg("'%s': %s", bad[i], a->text);
    }
}

/* ---- Links that break ---- */

static void a_peer_that_comes_back_is_linked_again(void **state)
{
    (void)state;
    struct node *a, *b;
    pair_open(&a, &b);
    for (unsigned i = 1; i <= 5; i++) {
        node_close(b);
        WAIT(a->downs == i && a->losts == i);
        assert_false(links_linked(a->links, 2));
        node_send(a, 2, 1, 1); /* Lost without a word. */
        node_open(b);
        node_peer(b, a);
        WAIT(links_linked(a->links, 2) && links_linked(b->links, 1));
        uint64_t frames = b->frames;
        node_send(a, 2, 1, 1);
        WAIT(b->frames == frames + 1);
    }
}

/* The wait of a minute is cut short by the peer's own dial. */
static void signs_of_life_end_the_backoff(void **state)
{
    (void)state;
    struct node *a = node_make(1), *b = node_make(2);
    a->options.backoff_min_ms = a->options.backoff_max_ms = 60000;
    node_open(a);
    node_open(b);
    node_close(b); /* Now its port is known and nobody listens. */
    node_peer(a, b);
    WAIT(strstr(a->text, "refused") != NULL);
    node_open(b);
    node_peer(b, a);
    WAIT(links_linked(a->links, 2) && links_linked(b->links, 1));
}

static void trouble_is_logged_once(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    int port, listener = raw_listen(&port);
    node_open(a);
    peer_at_port(a, 2, port);
    for (int i = 0; i < 10; i++) {
        struct frame_greeting g;
        int fd = raw_accept(listener);
        WAIT(raw_greeted(fd, &g));
        close(fd);
    }
    int last = raw_accept(listener);
    assert_int_equal(a->lines, 1);
    assert_non_null(strstr(a->text, "link to node 2 at 127.0.0.1:"));
    assert_non_null(strstr(a->text, "closed by the peer"));
    close(last);
    close(listener);
}

static void a_reset_means_lost_too(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    node_open(a);
    int fd = raw_link(a, 2, 1);
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    WAIT(a->losts == 1);
}

static void a_newer_connection_replaces_the_older(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    node_open(a);
    int first = raw_link(a, 2, 7);
    raw_frame(first, FRAME_OWNER, "1");
    WAIT(a->frames == 1);
    int second = raw_link(a, 2, 7);
    WAIT(raw_ended(first));
    assert_int_equal(a->losts, 0); /* The same process dialled twice. */
    raw_frame(second, FRAME_OWNER, "2");
    WAIT(a->frames == 2);
    int third = raw_link(a, 2, 8); /* Another process: the one before is gone. */
    WAIT(raw_ended(second));
    assert_int_equal(a->losts, 1);
    close(first);
    close(second);
    close(third);
    WAIT(a->losts == 2);
}

/* The machine lost its power: no EOF came, and the new process dials us. */
static void a_reborn_peer_is_dialled_again(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    int port, listener = raw_listen(&port);
    node_open(a);
    peer_at_port(a, 2, port);
    int old = raw_accept(listener);
    struct frame_greeting g;
    WAIT(raw_greeted(old, &g));
    struct frame_greeting welcome = raw_hello(a, 2, 7);
    welcome.kind = FRAME_WELCOME;
    raw_greet(old, &welcome);
    WAIT(a->ups == 1);
    int reborn = raw_link(a, 2, 8);
    WAIT(a->downs == 1);
    int again = raw_accept(listener);
    assert_int_equal(a->losts, 0); /* Nothing had come from the old one. */
    close(old);
    close(reborn);
    close(again);
    close(listener);
}

/* The other way round: our dial reaches the new process before it dials us. */
static void an_answer_of_a_reborn_peer_means_lost(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    int port, listener = raw_listen(&port);
    node_open(a);
    int old = raw_link(a, 2, 7);
    peer_at_port(a, 2, port);
    int fd = raw_accept(listener);
    struct frame_greeting g;
    WAIT(raw_greeted(fd, &g));
    struct frame_greeting welcome = raw_hello(a, 2, 8);
    welcome.kind = FRAME_WELCOME;
    raw_greet(fd, &welcome);
    WAIT(raw_ended(old));
    assert_int_equal(a->ups, 1);
    assert_int_equal(a->losts, 1);
    close(old);
    close(fd);
    close(listener);
}

static void a_forgotten_peer_is_cut_off(void **state)
{
    (void)state;
    struct node *a, *b;
    pair_open(&a, &b);
    a->refuse_all = true;
    links_peer(a->links, 2, NULL);
    assert_int_equal(links_backlog(a->links, 2), SIZE_MAX);
    WAIT(a->downs == 1 && b->downs == 1 && b->losts == 1);
    WAIT(b->refusals >= 3);
    assert_int_equal(b->code, FRAME_REFUSED_MEMBER);
    links_peer(a->links, 2, NULL); /* Again: nothing. */
    a->refuse_all = false;
    node_peer(a, b);
    WAIT(links_linked(a->links, 2) && links_linked(b->links, 1));
}

static void a_peer_can_move(void **state)
{
    (void)state;
    struct node *a, *b;
    pair_open(&a, &b);
    struct node *c = node_make(3);
    c->options.node_id = 0;
    c->id = 2; /* The same node on another port. */
    node_open(c);
    node_peer(a, c);
    node_peer(a, c); /* The same: nothing. */
    WAIT(a->downs == 1 && a->ups == 2);
    node_send(a, 2, 1, 1);
    WAIT(c->frames == 1);
    assert_int_equal(b->frames, 0);
}

static void a_silent_reader_overflows_its_queue(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    a->options.queue_bytes_max = 1u << 20;
    int port, listener = raw_listen(&port);
    node_open(a);
    peer_at_port(a, 2, port);
    int fd = raw_accept(listener);
    struct frame_greeting g;
    WAIT(raw_greeted(fd, &g));
    struct frame_greeting welcome = raw_hello(a, 2, 7);
    welcome.kind = FRAME_WELCOME;
    raw_greet(fd, &welcome);
    WAIT(a->ups == 1);
    while (links_backlog(a->links, 2) != SIZE_MAX) { /* Socket buffers first, then the queue. */
        node_send(a, 2, 1, 50000);
        uv_run(loop, UV_RUN_NOWAIT);
        size_t backlog = links_backlog(a->links, 2);
        assert_true(backlog == SIZE_MAX || backlog <= (1u << 20) + 51000);
    }
    WAIT(a->downs == 1);
    assert_non_null(strstr(a->why, "wait to be sent"));
    close(fd);
    close(listener);
}

static void a_damaged_frame_cuts_the_link_only(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    node_open(a);
    for (unsigned i = 0; i < 3; i++) {
        int fd = raw_link(a, 2, 1);
        uint8_t buf[FRAME_HEADER_BYTES + 8] = {0};
        struct frame_header h = {.len = i == 0 ? FRAME_BYTES_MAX + 1 : 8, .kind = FRAME_OWNER, .crc = 1};
        raw_frame(fd, FRAME_OWNER, "sound");
        frame_header_encode(&h, buf);
        if (i == 1)
            buf[0] ^= 1;
        raw_send(fd, buf, sizeof buf);
        WAIT(raw_ended(fd));
        assert_int_equal(a->frames, i + 1);
        close(fd);
    }
    assert_non_null(strstr(a->text, "too large"));
    assert_non_null(strstr(a->text, "header is damaged"));
    assert_non_null(strstr(a->text, "checksum is wrong"));
    assert_int_equal(a->losts, 0);
}

/* ---- Handshakes that fail ---- */

static void another_cluster_is_refused(void **state)
{
    (void)state;
    struct node *a = node_make(1), *b = node_make(2);
    memcpy(b->options.cluster_id, "another cluster!", FRAME_CLUSTER_ID_BYTES);
    node_open(a);
    node_open(b);
    node_peer(a, b);
    WAIT(a->refusals >= 5);
    assert_int_equal(a->code, FRAME_REFUSED_CLUSTER);
    assert_string_equal(a->why, "this is node 2 of another cluster");
    assert_int_equal(a->lines, 1); /* However often it was tried. */
    assert_int_equal(a->ups + b->ups, 0);
}

static void another_node_is_refused(void **state)
{
    (void)state;
    struct node *a = node_make(1), *b = node_make(2);
    node_open(a);
    node_open(b);
    peer_at_port(a, 3, b->port);
    WAIT(a->refusals == 1);
    assert_int_equal(a->code, FRAME_REFUSED_TO);
    assert_string_equal(a->why, "this is node 2, not node 3");
}

static void a_twin_is_refused(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    node_open(a);
    int fd = raw_connect(a);
    struct frame_greeting g = raw_hello(a, 1, 9), answer;
    raw_greet(fd, &g);
    WAIT(raw_greeted(fd, &answer));
    assert_int_equal(answer.kind, FRAME_REFUSED);
    assert_int_equal(answer.code, FRAME_REFUSED_SELF);
    WAIT(raw_ended(fd));
    close(fd);
}

static void a_newer_wire_is_refused_or_met(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    node_open(a);
    struct frame_greeting g = raw_hello(a, 2, 1), answer;
    g.version_min = FRAME_VERSION_MAX + 1;
    g.version_max = FRAME_VERSION_MAX + 2;
    int fd = raw_connect(a);
    raw_greet(fd, &g);
    WAIT(raw_greeted(fd, &answer));
    assert_int_equal(answer.kind, FRAME_REFUSED);
    assert_int_equal(answer.code, FRAME_REFUSED_VERSION);
    assert_non_null(strstr(answer.text, "no wire version in common"));
    WAIT(raw_ended(fd));
    close(fd);
    g.version_min = FRAME_VERSION_MIN;
    fd = raw_connect(a);
    raw_greet(fd, &g);
    WAIT(raw_greeted(fd, &answer));
    assert_int_equal(answer.kind, FRAME_WELCOME);
    assert_int_equal(answer.version_max, FRAME_VERSION_MAX);
    close(fd);
}

static void garbage_is_cut_off(void **state)
{
    (void)state;
    static const char garbage[] = "GET / HTTP/1.1\r\n\r\n";
    struct node *a = node_make(1);
    node_open(a);
    int one_byte = raw_connect(a), line = raw_connect(a), damaged = raw_connect(a), answer = raw_connect(a);
    raw_send(one_byte, "G", 1);
    raw_send(line, garbage, sizeof garbage);
    struct frame_greeting g = raw_hello(a, 2, 1);
    uint8_t buf[FRAME_GREETING_BYTES_MAX];
    size_t len = frame_greeting_encode(&g, buf);
    buf[33] ^= 4;
    raw_send(damaged, buf, len);
    g.kind = FRAME_WELCOME;
    raw_greet(answer, &g);
    WAIT(raw_ended(one_byte));
    WAIT(raw_ended(line));
    WAIT(raw_ended(damaged));
    WAIT(raw_ended(answer));
    assert_int_equal(a->lines, 1); /* Strangers cannot fill the log. */
    close(one_byte);
    close(line);
    close(damaged);
    close(answer);
}

static void a_silent_stranger_is_cut_off(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    a->options.handshake_timeout_ms = 50;
    node_open(a);
    int silent = raw_connect(a), half = raw_connect(a);
    raw_send(half, "HFPEER", 6);
    WAIT(raw_ended(silent));
    WAIT(raw_ended(half));
    assert_non_null(strstr(a->text, "in time"));
    close(silent);
    close(half);
}

/* A greeting that comes byte by byte is one all the same. */
static void a_slow_greeting_is_understood(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    node_open(a);
    struct frame_greeting g = raw_hello(a, 2, 1), answer;
    uint8_t buf[FRAME_GREETING_BYTES_MAX];
    size_t len = frame_greeting_encode(&g, buf);
    int fd = raw_connect(a);
    for (size_t i = 0; i < len; i++) {
        raw_send(fd, buf + i, 1);
        uv_run(loop, UV_RUN_ONCE);
    }
    WAIT(raw_greeted(fd, &answer));
    assert_int_equal(answer.kind, FRAME_WELCOME);
    close(fd);
}

static void strangers_are_limited(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    int fds[LINKS_STRANGERS_MAX + 1];
    node_open(a);
    for (int i = 0; i <= LINKS_STRANGERS_MAX; i++)
        fds[i] = raw_connect(a);
    WAIT(raw_ended(fds[LINKS_STRANGERS_MAX]));
    assert_false(raw_ended(fds[0]));
    close(fds[0]);
    close(fds[LINKS_STRANGERS_MAX]);
    WAIT(strstr(a->text, "too many connections") != NULL);
    uv_run(loop, UV_RUN_ONCE);
    int fd = raw_link(a, 2, 1); /* There is room again. */
    raw_frame(fd, FRAME_OWNER, "x");
    WAIT(a->frames == 1);
    close(fd);
    for (int i = 1; i < LINKS_STRANGERS_MAX; i++)
        close(fds[i]);
}

static void bad_answers_end_the_dial(void **state)
{
    (void)state;
    struct node *a = node_make(1);
    a->options.handshake_timeout_ms = 50;
    int port, listener = raw_listen(&port);
    node_open(a);
    peer_at_port(a, 2, port);
    int fd = raw_accept(listener);
    WAIT(strstr(a->text, "no answer to the greeting") != NULL);
    close(fd);
    fd = raw_accept(listener);
    raw_send(fd, "-ERR what?\r\n", 12);
    WAIT(strstr(a->text, "not a holdfast peer") != NULL);
    close(fd);
    fd = raw_accept(listener);
    struct frame_greeting welcome = raw_hello(a, 3, 1); /* Who is that? */
    welcome.kind = FRAME_WELCOME;
    raw_greet(fd, &welcome);
    WAIT(strstr(a->text, "the answer to the greeting makes no sense") != NULL);
    close(fd);
    fd = raw_accept(listener);
    welcome.from = 2;
    raw_greet(fd, &welcome);
    WAIT(a->ups == 1);
    raw_send(fd, "more", 4);
    WAIT(strstr(a->text, "where nothing is expected") != NULL);
    close(fd);
    close(listener);
}

/* ---- Opening and closing ---- */

static void an_address_in_use_is_told(void **state)
{
    (void)state;
    struct node *a = node_make(1), *b = node_make(2);
    char error[256];
    node_open(a);
    b->port = a->port;
    assert_int_equal(node_try(b, error), -1);
    assert_non_null(strstr(error, "cannot listen for peers on 127.0.0.1:"));
    assert_non_null(strstr(error, "address already in use"));
    assert_null(b->links);
    struct links_options bad = a->options;
    struct links *l;
    bad.listen = "nonsense";
    assert_int_equal(links_open(&bad, error, &l), -1);
    assert_non_null(strstr(error, "nonsense"));
}

static void any_address_is_listened_on(void **state)
{
    (void)state;
    struct node *a = node_make(1), *b = node_make(2);
    char error[256];
    node_open(a);
    b->options = a->options;
    b->options.ctx = b;
    b->options.node_id = 2;
    b->options.listen = ":0";
    assert_int_equal(links_open(&b->options, error, &b->links), 0);
    b->port = links_port(b->links);
    node_peer(a, b);
    WAIT(a->ups == 1);
}

static void callbacks_may_close(void **state)
{
    (void)state;
    struct node *a, *b;
    pair_open(&a, &b);
    b->mood = CLOSE_ON_FRAME;
    for (uint64_t i = 1; i <= 3; i++)
        node_send(a, 2, i, 10); /* The first one ends it. */
    WAIT(b->closed && a->downs == 1);
    assert_int_equal(b->frames, 1);
    b->mood = CLOSE_ON_UP;
    node_open(b);
    node_peer(b, a);
    WAIT(b->closed);
    b->mood = STAY;
    node_open(b);
    node_peer(b, a);
    WAIT(links_linked(a->links, 2) && links_linked(b->links, 1));
    a->mood = CLOSE_ON_DOWN;
    node_close(b);
    WAIT(a->closed);
    node_open(a);
    node_open(b);
    node_peer(a, b);
    node_peer(b, a);
    WAIT(links_linked(a->links, 2) && links_linked(b->links, 1));
    a->mood = STAY;
    b->mood = FORGET_ON_FRAME;
    uint64_t frames = b->frames;
    for (uint64_t i = 1; i <= 3; i++)
        node_send(a, 2, i, 10);
    WAIT(b->frames == frames + 1 && a->losts > 0);
}

/* What was queued before closing gets its try. */
static void the_last_words_are_sent(void **state)
{
    (void)state;
    struct node *a, *b;
    pair_open(&a, &b);
    node_send(a, 2, 1, 100);
    node_close(a);
    WAIT(b->losts == 1);
    assert_int_equal(b->frames, 1);
}

/* ---- Chance ---- */

/* Numbers only grow, whatever happens to the connections in between. */
static void chaos_frame(struct node *n, struct node *to)
{
    static uint64_t number;
    if (n->links == NULL)
        return;
    uint64_t r = next_random();
    node_send(n, to->id, ++number, r % 50 == 0 ? r / 50 % 400000 : r / 50 % 300);
}

static void chaos_step(void)
{
    struct node *n = &nodes[1 + next_random() % 3], *to = &nodes[1 + next_random() % 3];
    switch (next_random() % 400) { /* Mostly frames. */
    case 0:
        node_close(n);
        break;
    case 1:
        if (n->links != NULL)
            links_peer(n->links, to->id, NULL);
        break;
    case 2:
        n->refuse_all = next_random() % 4 == 0;
        break;
    case 3 ... 19:
        if (n->links == NULL)
            node_open(n);
        node_peer(n, to);
        break;
    default:
        chaos_frame(n, to);
    }
    if (next_random() % 4 == 0)
        uv_run(loop, next_random() % 2 == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
}

static void chaos_ends_well(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 3; i++) {
        struct node *n = node_make(i);
        n->options.queue_bytes_max = 300000;
        n->growing = true;
        node_open(n);
    }
    for (int i = 0; i < 30000; i++)
        chaos_step();
    for (uint64_t i = 1; i <= 3; i++) {
        nodes[i].refuse_all = false;
        if (nodes[i].links == NULL)
            node_open(&nodes[i]);
    }
    for (uint64_t i = 1; i <= 3; i++)
        for (uint64_t j = 1; j <= 3; j++)
            node_peer(&nodes[i], &nodes[j]);
    for (uint64_t i = 1; i <= 3; i++) {
        WAIT(links_linked(nodes[i].links, i % 3 + 1));
        WAIT(links_linked(nodes[i].links, (i + 1) % 3 + 1));
    }
    print_message("%llu frames, %u links made\n",
                  (unsigned long long)(nodes[1].frames + nodes[2].frames + nodes[3].frames),
                  nodes[1].ups + nodes[2].ups + nodes[3].ups);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_nodes_link),
        TEST(three_nodes_link),
        TEST(frames_of_all_sizes_arrive_in_order),
        TEST(the_largest_frame_arrives),
        TEST(a_flood_arrives_in_order),
        TEST(frames_of_many_slices_arrive),
        TEST(unknown_kinds_are_skipped),
        TEST(names_are_looked_up),
        TEST(bad_addresses_are_told),
        TEST(a_peer_that_comes_back_is_linked_again),
        TEST(signs_of_life_end_the_backoff),
        TEST(trouble_is_logged_once),
        TEST(a_reset_means_lost_too),
        TEST(a_newer_connection_replaces_the_older),
        TEST(a_reborn_peer_is_dialled_again),
        TEST(an_answer_of_a_reborn_peer_means_lost),
        TEST(a_forgotten_peer_is_cut_off),
        TEST(a_peer_can_move),
        TEST(a_silent_reader_overflows_its_queue),
        TEST(a_damaged_frame_cuts_the_link_only),
        TEST(another_cluster_is_refused),
        TEST(another_node_is_refused),
        TEST(a_twin_is_refused),
        TEST(a_newer_wire_is_refused_or_met),
        TEST(garbage_is_cut_off),
        TEST(a_silent_stranger_is_cut_off),
        TEST(a_slow_greeting_is_understood),
        TEST(strangers_are_limited),
        TEST(bad_answers_end_the_dial),
        TEST(an_address_in_use_is_told),
        TEST(any_address_is_listened_on),
        TEST(callbacks_may_close),
        TEST(the_last_words_are_sent),
        TEST(chaos_ends_well),
    };
    const char *seed = getenv("HOLDFAST_SEED");
    chance = (seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL)) | 1;
    print_message("HOLDFAST_SEED=%llu\n", (unsigned long long)chance);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
