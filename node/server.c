/* server.c - one listening socket and the connections it brought.
 * All output of a loop iteration is written at its end, in the prepare phase: what was answered by timers, by reads and
 * by the cluster side leaves together, with one system call a connection. Whoever marks a connection dirty after that
 * phase keeps the loop from sleeping (an idle handle makes its poll return at once). Invariants: a connection is in
 * `first` from server_add_conn() to server_remove_conn(); the dirty list holds a reference to each of its members, so
 * one that closes meanwhile is still there when its turn comes. Closing ends when every handle of the server and of its
 * connections is closed: handles counts them. */
#include "node/server.h"
#include "node/conn.h"
#include "node/commands.h"
#include "node/exit.h"
#include "node/log.h"
#include "node/node.h"
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SERVER_READ_SPACE (64u << 10)
#define SERVER_CRON_MS 1000
#define SERVER_WARN_MS 10000
#define RESP_BULK_FLOOR (64u << 10)

struct server {
    uv_loop_t *loop;
    struct node *node;
    struct config config;
    struct resp_limits limits;
    uv_tcp_t listener;
    uv_prepare_t prepare;
    uv_idle_t spin; /* Active while there is something to do in the next iteration. */
    uv_timer_t cron;
    uv_timer_t wakeup; /* The nearest deadline of a blocked connection, or the end of a pause. */
    uv_tcp_t turned;   /* A client for which there is no memory, on its way out. */
    unsigned handles;  /* Open ones: the server's and its connections'. */
    unsigned port;
    struct conn *first, *last, *dirty, *blocked;
    size_t n_conns, n_blocked;
    uint64_t next_id, started_ms, wakeup_ms;
    int64_t started_wall_s;
    uint64_t pause_until_ms; /* 0: not paused */
    bool pause_writes_only, stopped, closing;
    bool is_turning, turn_again; /* turned is open; somebody else waits for it. */
    uint64_t cron_commands, accept_warned_ms;
    struct server_stats stats;
    struct server_error_word words[SERVER_ERROR_WORDS_MAX];
    size_t n_words;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
    void (*on_shutdown)(void *ctx);
    void *on_shutdown_ctx;
    char read_space[SERVER_READ_SPACE];
};

static void on_prepare(uv_prepare_t *handle);
static void on_cron(uv_timer_t *timer);
static void on_spin(uv_idle_t *handle);
static void on_wakeup(uv_timer_t *timer);
static void on_connection(uv_stream_t *listener, int status);

/* ---- Asking ---- */

struct node *server_node(const struct server *s)
{
    return s->node;
}

uv_loop_t *server_loop(const struct server *s)
{
    return s->loop;
}

struct config *server_config(struct server *s)
{
    return &s->config;
}

struct server_stats *server_stats(struct server *s)
{
    return &s->stats;
}

const struct server_error_word *server_error_words(const struct server *s, size_t *ret_n)
{
    *ret_n = s->n_words;
    return s->words;
}

void server_reset_stats(struct server *s)
{
    memset(&s->stats, 0, sizeof s->stats);
    s->n_words = 0;
    s->cron_commands = 0;
    size_t n;
    const struct command_row *rows = commands_table(&n);
    for (size_t i = 0; i < n; i++)
        *commands_counts(&rows[i]) = (struct command_counts){0};
}

unsigned server_port(const struct server *s)
{
    return s->port;
}

uint64_t server_started_ms(const struct server *s)
{
    return s->started_ms;
}

int64_t server_started_wall_s(const struct server *s)
{
    return s->started_wall_s;
}

size_t server_n_clients(const struct server *s)
{
    return s->n_conns;
}

size_t server_n_blocked(const struct server *s)
{
    return s->n_blocked;
}

struct conn *server_first_conn(const struct server *s)
{
    return s->first;
}

struct conn *server_next_conn(const struct conn *c)
{
    return conn_link((struct conn *)c)->next;
}

char *server_read_space(struct server *s, size_t *ret_cap)
{
    *ret_cap = sizeof s->read_space;
    return s->read_space;
}

const struct resp_limits *server_resp_limits(const struct server *s)
{
    return &s->limits;
}

void server_apply_limits(struct server *s)
{
    const struct config *config = &s->config;
    size_t request = config->max_request_bytes;
    s->limits = (struct resp_limits){
        .inline_bytes_max = config->max_inline_bytes,
        .args_max = config->max_args,
        /* Not max_value_bytes: a value past that is refused with its size and the connection lives on. */
        .bulk_bytes_max = request > RESP_BULK_FLOOR ? request : RESP_BULK_FLOOR,
        .request_bytes_max = request,
    };
}

void server_count_error(struct server *s, const char *reply, size_t len)
{
    size_t n = 0;
    s->stats.errors++;
    while (n + 1 < len && n < sizeof s->words[0].word - 1 && reply[n + 1] > ' ')
        n++;
    for (size_t i = 0; i < s->n_words; i++) {
        if (strlen(s->words[i].word) == n && memcmp(s->words[i].word, reply + 1, n) == 0) {
            s->words[i].n++;
            return;
        }
    }
    if (s->n_words == SERVER_ERROR_WORDS_MAX)
        return;
    struct server_error_word *word = &s->words[s->n_words++];
    memcpy(word->word, reply + 1, n);
    word->word[n] = '\0';
    word->n = 1;
}

/* ---- Connections ---- */

uint64_t server_add_conn(struct server *s, struct conn *c)
{
    struct server_link *link = conn_link(c);
    link->prev = s->last;
    if (s->last != NULL)
        conn_link(s->last)->next = c;
    else
        s->first = c;
    s->last = c;
    s->n_conns++;
    s->handles++;
    return s->next_id++;
}

void server_remove_conn(struct server *s, struct conn *c)
{
    struct server_link *link = conn_link(c);
    server_remove_blocked(s, c);
    if (link->prev != NULL)
        conn_link(link->prev)->next = link->next;
    else
        s->first = link->next;
    if (link->next != NULL)
        conn_link(link->next)->prev = link->prev;
    else
        s->last = link->prev;
    /* link->next stays: whoever walks the list while closing its members goes on from here. */
    s->n_conns--;
}

static void handle_gone(struct server *s)
{
    assert(s->handles > 0);
    if (--s->handles > 0 || !s->closing)
        return;
    void (*on_closed)(void *) = s->on_closed;
    void *ctx = s->on_closed_ctx;
    free(s);
    on_closed(ctx);
}

void server_conn_gone(struct server *s)
{
    handle_gone(s);
}

static void keep_awake(struct server *s)
{
    if (!s->closing && !uv_is_active((uv_handle_t *)&s->spin))
        uv_idle_start(&s->spin, on_spin);
}

void server_mark_dirty(struct server *s, struct conn *c)
{
    struct server_link *link = conn_link(c);
    if (link->is_dirty)
        return;
    link->is_dirty = true;
    link->dirty_next = s->dirty;
    s->dirty = conn_ref(c);
    keep_awake(s);
}

static void set_wakeup(struct server *s, uint64_t at_ms)
{
    uint64_t now = uv_now(s->loop);
    if (s->closing || at_ms >= s->wakeup_ms)
        return;
    s->wakeup_ms = at_ms;
    uv_timer_start(&s->wakeup, on_wakeup, at_ms > now ? at_ms - now : 0, 0);
}

void server_add_blocked(struct server *s, struct conn *c, uint64_t deadline_ms)
{
    struct server_link *link = conn_link(c);
    assert(!link->is_blocked);
    link->is_blocked = true;
    link->blocked_prev = NULL;
    link->blocked_next = s->blocked;
    if (s->blocked != NULL)
        conn_link(s->blocked)->blocked_prev = c;
    s->blocked = c;
    s->n_blocked++;
    set_wakeup(s, deadline_ms);
}

void server_remove_blocked(struct server *s, struct conn *c)
{
    struct server_link *link = conn_link(c);
    if (!link->is_blocked)
        return;
    link->is_blocked = false;
    if (link->blocked_prev != NULL)
        conn_link(link->blocked_prev)->blocked_next = link->blocked_next;
    else
        s->blocked = link->blocked_next;
    if (link->blocked_next != NULL)
        conn_link(link->blocked_next)->blocked_prev = link->blocked_prev;
    s->n_blocked--;
}

/* ---- CLIENT PAUSE ---- */

bool server_is_paused(struct server *s, bool is_write)
{
    if (s->pause_until_ms == 0)
        return false;
    return uv_now(s->loop) < s->pause_until_ms && (is_write || !s->pause_writes_only);
}

static void mark_all_dirty(struct server *s)
{
    for (struct conn *c = s->first; c != NULL; c = server_next_conn(c))
        server_mark_dirty(s, c);
}

void server_pause(struct server *s, uint64_t until_ms, bool writes_only)
{
    s->pause_until_ms = until_ms;
    s->pause_writes_only = writes_only;
    set_wakeup(s, until_ms);
}

void server_unpause(struct server *s)
{
    s->pause_until_ms = 0;
    mark_all_dirty(s);
}

/* ---- The loop ---- */

static void on_spin(uv_idle_t *handle)
{
    (void)handle; /* Its being active is all that it is for. */
}

static void on_wakeup(uv_timer_t *timer)
{
    struct server *s = timer->data;
    s->wakeup_ms = UINT64_MAX; /* on_prepare() looks at what is due and sets it anew. */
}

static void check_blocked(struct server *s)
{
    uint64_t now = uv_now(s->loop);
    for (struct conn *c = s->blocked, *next; c != NULL; c = next) {
        next = conn_link(c)->blocked_next;
        conn_check_blocked(c, now);
    }
    if (s->pause_until_ms != 0 && now >= s->pause_until_ms)
        server_unpause(s);
}

static void renew_wakeup(struct server *s)
{
    if (s->wakeup_ms != UINT64_MAX)
        return;
    for (struct conn *c = s->blocked; c != NULL; c = conn_link(c)->blocked_next)
        set_wakeup(s, conn_wait_until_ms(c));
    if (s->pause_until_ms != 0)
        set_wakeup(s, s->pause_until_ms);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct server *s = handle->data;
    if (s->blocked != NULL || s->pause_until_ms != 0) {
        check_blocked(s);
        renew_wakeup(s);
    }
    bool ran = false;
    struct conn *c = s->dirty;
    s->dirty = NULL;
    while (c != NULL) {
        struct server_link *link = conn_link(c);
        struct conn *next = link->dirty_next;
        link->is_dirty = false;
        ran |= conn_tick(c);
        conn_unref(c);
        c = next;
    }
    /* Requests taken up just now have yet to leave: let the iteration go round. */
    if (s->dirty == NULL && !ran)
        uv_idle_stop(&s->spin);
    else
        keep_awake(s);
}

static void on_cron(uv_timer_t *timer)
{
    struct server *s = timer->data;
    s->stats.ops_per_second = s->stats.commands - s->cron_commands;
    s->cron_commands = s->stats.commands;
    for (struct conn *c = s->first, *next; c != NULL; c = next) {
        next = server_next_conn(c);
        conn_cron(c, uv_now(s->loop));
    }
}

static void on_turned_away(uv_handle_t *handle)
{
    struct server *s = handle->data;
    bool again = s->turn_again && !s->stopped;
    s->is_turning = s->turn_again = false;
    if (again)
        on_connection((uv_stream_t *)&s->listener, 0);
    handle_gone(s);
}

/* libuv listens no more before what it brought has been accepted, so a client whom we cannot keep is accepted, too, and
 * hung up on. */
static void turn_away(struct server *s)
{
    s->turn_again = s->is_turning;
    if (s->is_turning)
        return;
    uv_tcp_init(s->loop, &s->turned);
    s->turned.data = s;
    s->is_turning = true;
    s->handles++;
    uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&s->turned);
    uv_close((uv_handle_t *)&s->turned, on_turned_away);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    if (status == 0)
        status = conn_accept(s, listener);
    if (status == 0)
        return;
    if (status == UV_ENOMEM)
        turn_away(s);
    uint64_t now = uv_now(s->loop);
    if (now - s->accept_warned_ms < SERVER_WARN_MS)
        return; /* Out of memory or file descriptors, each attempt would be a line. */
    s->accept_warned_ms = now;
    log_warning("cannot accept a client: %s", uv_strerror(status));
}

/* ---- Opening and closing ---- */

static int resolve(const char *address, struct sockaddr_storage *ret, char error[256])
{
    char host[256], port[16];
    if (!config_split_address(address, host, sizeof host, port, sizeof port)) {
        snprintf(error, 256, "listen: '%.100s' is not host:port", address);
        return -1;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int rc = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (rc != 0) {
        snprintf(error, 256, "listen: cannot find the address of %.100s: %s", address, gai_strerror(rc));
        return -1;
    }
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static unsigned bound_port(uv_tcp_t *tcp)
{
    struct sockaddr_storage sa = {0};
    int len = sizeof sa;
    uv_tcp_getsockname(tcp, (struct sockaddr *)&sa, &len);
    in_port_t port =
        sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port : ((struct sockaddr_in *)&sa)->sin_port;
    return ntohs(port);
}

static int start_listening(struct server *s, char error[256])
{
    struct sockaddr_storage sa;
    if (resolve(s->config.listen, &sa, error) != 0)
        return -1;
    int rc = uv_tcp_bind(&s->listener, (struct sockaddr *)&sa, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&s->listener, (int)s->config.tcp_backlog, on_connection);
    if (rc != 0) {
        snprintf(error, 256, "cannot listen for clients on %.100s: %s", s->config.listen, uv_strerror(rc));
        return -1;
    }
    s->port = bound_port(&s->listener);
    return 0;
}

static void init_handles(struct server *s)
{
    uv_tcp_init(s->loop, &s->listener);
    uv_prepare_init(s->loop, &s->prepare);
    uv_idle_init(s->loop, &s->spin);
    uv_timer_init(s->loop, &s->cron);
    uv_timer_init(s->loop, &s->wakeup);
    s->listener.data = s->prepare.data = s->spin.data = s->cron.data = s->wakeup.data = s;
    s->handles = 5;
    uv_prepare_start(&s->prepare, on_prepare);
    uv_timer_start(&s->cron, on_cron, SERVER_CRON_MS, SERVER_CRON_MS);
}

static void nobody_waits(void *ctx)
{
    (void)ctx;
}

int server_open(uv_loop_t *loop, struct node *node, const struct config *config, char error[256], struct server **ret)
{
    struct server *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(error, 256, "out of memory");
        return NODE_EXIT_INTERNAL;
    }
    commands_init();
    s->loop = loop;
    s->node = node;
    s->config = *config;
    s->next_id = 1;
    s->wakeup_ms = UINT64_MAX;
    s->started_ms = uv_now(loop);
    s->started_wall_s = wall_now_ms() / 1000;
    server_apply_limits(s);
    init_handles(s);
    if (start_listening(s, error) != 0) {
        server_close(s, nobody_waits, NULL);
        return NODE_EXIT_LISTEN;
    }
    *ret = s;
    return 0;
}

void server_on_shutdown(struct server *s, void (*on_shutdown)(void *ctx), void *ctx)
{
    s->on_shutdown = on_shutdown;
    s->on_shutdown_ctx = ctx;
}

void server_request_shutdown(struct server *s)
{
    if (s->on_shutdown != NULL)
        s->on_shutdown(s->on_shutdown_ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

void server_stop_listening(struct server *s)
{
    if (s->stopped)
        return;
    s->stopped = true;
    uv_close((uv_handle_t *)&s->listener, on_handle_closed);
}

static void drop_dirty(struct server *s)
{
    while (s->dirty != NULL) {
        struct conn *c = s->dirty;
        s->dirty = conn_link(c)->dirty_next;
        conn_link(c)->is_dirty = false;
        conn_unref(c);
    }
}

void server_close(struct server *s, void (*on_closed)(void *ctx), void *ctx)
{
    assert(!s->closing);
    s->closing = true;
    s->on_closed = on_closed;
    s->on_closed_ctx = ctx;
    server_stop_listening(s);
    for (struct conn *c = s->first, *next; c != NULL; c = next) {
        next = server_next_conn(c);
        conn_finish(c);
    }
    drop_dirty(s);
    uv_close((uv_handle_t *)&s->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&s->spin, on_handle_closed);
    uv_close((uv_handle_t *)&s->cron, on_handle_closed);
    uv_close((uv_handle_t *)&s->wakeup, on_handle_closed);
}
