/* conn.c - how one connection's requests stay in order while the cluster answers them out of line.
 *
 *     on_read --> run_requests --> run_request --+--> local command: replies at once, when nothing is unanswered
 *                     ^                          `--> submit --> requests.c ... conn_answer / conn_fail
 *                     |                                                            |
 *                 conn_tick (end of the loop iteration) <---- server_mark_dirty ---'
 *                     `--> write_out
 *
 * Bytes are read into a buffer that all connections share and parsed there; only an unfinished or held-back request is
 * copied into the connection's own buffer. So an idle connection costs no buffer and a busy one no copy.
 *
 * Order. All unanswered requests of a connection are in one of the two queues of requests.h. What cannot join that
 * queue (a local command, a write behind reads, a refusal) is held back at the start of `in` and parsed again when
 * nothing is unanswered. MULTI is a local command, so inside it nothing is unanswered and QUEUED overtakes nothing;
 * what WATCH and EXEC ask of the cluster is the only unanswered request while it is.
 *
 * Invariants: unanswered counts the calls of conn_answer() and conn_fail() still to come; while the last of them may
 * wait for a lock, no request behind it is run; stalled means that `in` may hold a whole request that nobody has run;
 * output is written only by conn_tick(), once an iteration.
 *
 * Failure: a connection that breaks is closed and its answers are dropped as they come. One that ends (EOF, QUIT, a
 * protocol error) is closed only when everything it asked for has been answered: a client that sees a closed
 * connection may send its commands again elsewhere. */
#include "node/conn.h"
#include "node/changes.h"
#include "node/commands.h"
#include "node/listeners.h"
#include "node/log.h"
#include "node/node.h"
#include "node/reply.h"
#include "node/timing.h"
#include "node/tx.h"
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CONN_INPUT_FIRST (16u << 10)       /* The first own buffer. */
#define CONN_INPUT_KEEP (64u << 10)        /* A larger one is given back as soon as it is empty. */
#define CONN_INPUT_STALLED_MAX (64u << 10) /* With so much waiting, reading pauses. */
#define CONN_OUTPUT_KEEP (64u << 10)
#define CONN_OUTPUT_PAUSE (256u << 10) /* With so much unsent, no new requests are run. */
#define CONN_REPLY_GUESS (128u << 10)  /* How long a reply may be before any has been seen. */
#define CONN_REPLIES_MAX (1u << 20)    /* With replies of so many bytes to be expected, none is added to them. */
#define CONN_IDLE_SHRINK_MS 2000       /* Idle for so long, a connection gives back its buffers. */
#define CONN_ENDING_MS 30000           /* How long a client that is done may take to read its last replies. */
#define CONN_LINGER_MS 1000            /* How long the client may take to read the reason for which it is closed. */

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

enum conn_life {
    CONN_OPEN,
    CONN_ENDING,    /* No more requests; closes when all is answered and sent. */
    CONN_LINGERING, /* All is sent; input is read and dropped until the client hangs up, so that no reset overtakes it.
                     */
    CONN_CLOSED,
};

enum conn_hold {
    HOLD_NONE,
    HOLD_ANSWERS, /* Until nothing is unanswered. */
    HOLD_PAUSE,   /* Until CLIENT PAUSE ends. */
};

enum conn_queue { QUEUE_READS, QUEUE_WRITES };

struct conn {
    uv_tcp_t tcp;
    uv_write_t write;
    struct server *server; /* Not to be touched once CLOSED. */
    struct node *node;
    struct server_link link;
    struct conn_facts facts;
    unsigned refs; /* One for the open handle, one for each request under way, one while dirty. */
    enum conn_life life;
    bool is_reading, is_writing, at_eof, is_waiting, stalled, held_is_write, lingers;
    bool is_blocked; /* The last of the unanswered requests may take its time; no other is run before its answer. */
    enum conn_hold hold;
    enum conn_queue queue; /* Which one the unanswered requests are in. */
    size_t unanswered;
    struct timing timing;   /* Of the unanswered. */
    size_t reply_guess;     /* Bytes of a reply: the largest of late. */
    enum resp_parse broken; /* RESP_REQUEST: not broken. Otherwise what is to be said once all is answered. */
    struct resp_parser parser;
    char *in;
    size_t in_len, in_cap;
    struct resp_buf out;     /* Replies since the last write. */
    struct resp_buf sending; /* Being written by libuv. */
    struct tx tx;
    struct subscriptions subscriptions;
    unsigned wait_replicas;
    uint64_t wait_index, wait_until_ms, closing_since_ms;
    uint64_t change; /* Waited for rather than replicas: its ticket, or 0. */
    conn_change_reply change_reply;
    conn_wait_answer wait_answer; /* Or this; NULL: no. */
    void *wait_ctx;
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf);
static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf);
static void on_written(uv_write_t *write, int status);

/* ---- What others may ask ---- */

struct conn_facts *conn_facts(struct conn *c)
{
    return &c->facts;
}

struct server_link *conn_link(struct conn *c)
{
    return &c->link;
}

struct server *conn_server(const struct conn *c)
{
    return c->server;
}

struct subscriptions *conn_subscriptions(struct conn *c)
{
    return &c->subscriptions;
}

bool conn_only_listens(const struct conn *c)
{
    return c->facts.proto == 2 && c->subscriptions.first != NULL;
}

int conn_fd(const struct conn *c)
{
    uv_os_fd_t fd;
    return uv_fileno((const uv_handle_t *)&c->tcp, &fd) == 0 ? fd : -1;
}

size_t conn_input_bytes(const struct conn *c)
{
    return c->in_len;
}

size_t conn_input_cap(const struct conn *c)
{
    return c->in_cap;
}

size_t conn_output_bytes(const struct conn *c)
{
    return c->out.len + c->sending.len;
}

size_t conn_output_cap(const struct conn *c)
{
    return c->out.cap + c->sending.cap;
}

bool conn_is_closing(const struct conn *c)
{
    return c->life != CONN_OPEN;
}

bool conn_is_waiting(const struct conn *c)
{
    return c->is_waiting || c->is_blocked;
}

uint64_t conn_wait_until_ms(const struct conn *c)
{
    return c->wait_until_ms;
}

long conn_multi_commands(const struct conn *c)
{
    return c->tx.queueing ? (long)c->tx.n_commands : -1;
}

size_t conn_multi_bytes(const struct conn *c)
{
    return c->tx.bytes;
}

static uv_stream_t *conn_stream(struct conn *c)
{
    return (uv_stream_t *)&c->tcp;
}

static uint64_t conn_now_ms(const struct conn *c)
{
    return uv_now(c->tcp.loop);
}

/* ---- Its life ---- */

struct conn *conn_ref(struct conn *c)
{
    assert(c->refs > 0);
    c->refs++;
    return c;
}

void conn_unref(struct conn *c)
{
    assert(c->refs > 0);
    if (--c->refs > 0)
        return;
    assert(c->life == CONN_CLOSED);
    free(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = container_of(handle, struct conn, tcp);
    resp_parser_release(&c->parser);
    resp_buf_release(&c->out);
    resp_buf_release(&c->sending);
    tx_reset(&c->tx);
    free(c->in);
    c->in = NULL;
    server_conn_gone(c->server);
    c->server = NULL;
    conn_unref(c);
}

static void forget_change(struct conn *c)
{
    if (c->change != 0)
        changes_forget(node_changes(c->node), c->change);
    c->change = 0;
}

static void forget_wait(struct conn *c)
{
    free(c->wait_ctx);
    c->wait_ctx = NULL;
    c->wait_answer = NULL;
}

void conn_close(struct conn *c)
{
    if (c->life == CONN_CLOSED)
        return;
    c->life = CONN_CLOSED;
    c->is_waiting = false;
    forget_change(c);
    forget_wait(c);
    if (c->is_blocked)
        requests_gone(c->node, c);
    pubsub_drop(&node_listeners(c->node)->pubsub, &c->subscriptions);
    server_remove_conn(c->server, c);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void begin_ending(struct conn *c)
{
    assert(c->life == CONN_OPEN);
    c->life = CONN_ENDING;
    c->closing_since_ms = conn_now_ms(c);
}

void conn_close_after_output(struct conn *c)
{
    if (c->life != CONN_OPEN)
        return;
    begin_ending(c);
    server_mark_dirty(c->server, c);
}

void conn_finish(struct conn *c)
{
    if (c->life != CONN_CLOSED && !c->is_writing && c->out.len > 0) {
        uv_buf_t buf = uv_buf_init(c->out.base, (unsigned)c->out.len);
        uv_try_write(conn_stream(c), &buf, 1);
    }
    conn_close(c);
}

static void address_text(char *text, size_t cap, const struct sockaddr_storage *sa)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
        uv_ip6_name(in6, host, sizeof host);
        snprintf(text, cap, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)sa;
        uv_ip4_name(in4, host, sizeof host);
        snprintf(text, cap, "%s:%u", host, ntohs(in4->sin_port));
    }
}

static void note_addresses(struct conn *c)
{
    struct sockaddr_storage sa = {.ss_family = AF_INET};
    int len = sizeof sa;
    uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&sa, &len);
    address_text(c->facts.address, sizeof c->facts.address, &sa);
    len = sizeof sa;
    uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&sa, &len);
    address_text(c->facts.local_address, sizeof c->facts.local_address, &sa);
}

static struct conn *conn_make(struct server *s)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    if (uv_tcp_init(server_loop(s), &c->tcp) != 0) {
        free(c);
        return NULL;
    }
    c->server = s;
    c->node = server_node(s);
    c->refs = 1;
    c->broken = RESP_REQUEST;
    c->reply_guess = CONN_REPLY_GUESS;
    c->facts.proto = 2;
    c->facts.created_ms = c->facts.last_ms = conn_now_ms(c);
    resp_parser_init(&c->parser, server_resp_limits(s));
    c->facts.id = server_add_conn(s, c);
    return c;
}

static void refuse_when_full(struct conn *c)
{
    struct server *s = c->server;
    if (server_n_clients(s) <= server_config(s)->max_clients)
        return;
    server_stats(s)->rejected_connections++;
    resp_error(&c->out, REPLY_MAXCLIENTS);
    c->lingers = true;
    conn_close_after_output(c);
}

int conn_accept(struct server *s, uv_stream_t *listener)
{
    struct conn *c = conn_make(s);
    if (c == NULL)
        return UV_ENOMEM;
    server_stats(s)->connections++;
    if (uv_accept(listener, conn_stream(c)) != 0) {
        conn_close(c);
        return 0;
    }
    note_addresses(c);
    uv_tcp_nodelay(&c->tcp, 1);
    if (server_config(s)->tcp_keepalive_s > 0)
        uv_tcp_keepalive(&c->tcp, 1, server_config(s)->tcp_keepalive_s);
    refuse_when_full(c);
    if (c->life == CONN_OPEN && uv_read_start(conn_stream(c), on_alloc, on_read) == 0)
        c->is_reading = true;
    return 0;
}

/* ---- Replies ---- */

static void cut_off(struct conn *c, const char *why)
{
    log_warning("client %s (id %llu%s%s) is cut off: %s", c->facts.address, (unsigned long long)c->facts.id,
                c->facts.name[0] != '\0' ? ", " : "", c->facts.name, why);
    conn_close(c);
}

static void bound_output(struct conn *c)
{
    if (conn_output_bytes(c) > server_config(c->server)->max_output_bytes) {
        server_stats(c->server)->output_cut_off++;
        cut_off(c, "it reads too slowly, max_output_bytes of replies are waiting");
    }
}

/* The reply that began at mark is complete. */
static void seal(struct conn *c, size_t mark)
{
    if (c->out.failed) {
        cut_off(c, "no memory for its replies");
        return;
    }
    if (c->out.len == mark)
        return;
    if (c->out.base[mark] == '-')
        server_count_error(c->server, c->out.base + mark, c->out.len - mark);
    if (c->facts.reply_mode != CONN_REPLY_ON) {
        c->out.len = mark;
        if (c->facts.reply_mode == CONN_REPLY_SKIP)
            c->facts.reply_mode = CONN_REPLY_ON;
        return;
    }
    bound_output(c);
}

void conn_message(struct conn *c, const struct bytes *pattern, struct bytes channel, struct bytes message)
{
    if (c->life != CONN_OPEN)
        return;
    resp_push(&c->out, c->facts.proto, pattern != NULL ? 4 : 3);
    resp_text(&c->out, pattern != NULL ? "pmessage" : "message");
    if (pattern != NULL)
        resp_bulk(&c->out, pattern->base, pattern->len);
    resp_bulk(&c->out, channel.base, channel.len);
    resp_bulk(&c->out, message.base, message.len);
    server_mark_dirty(c->server, c);
    if (c->out.failed)
        cut_off(c, "no memory for its messages");
    else
        bound_output(c);
}

static struct call call_of(struct conn *c, const struct command_row *row)
{
    return (struct call){
        .conn = c,
        .facts = &c->facts,
        .server = c->server,
        .node = c->node,
        .row = row,
        .args = c->parser.args,
        .n = c->parser.n_args,
        .out = &c->out,
        .proto = c->facts.proto,
        .tx = &c->tx,
    };
}

static void guess_reply(struct conn *c, size_t len)
{
    size_t less = c->reply_guess - c->reply_guess / 8;
    c->reply_guess = len > less ? len : less;
}

static void count_answer(struct conn *c)
{
    assert(c->unanswered > 0);
    c->unanswered--;
    timing_end(&c->timing);
    if (c->unanswered == 0)
        c->is_blocked = false;
}

bool conn_waits(struct conn *c)
{
    return c->life == CONN_OPEN && !c->at_eof;
}

void conn_answer(struct conn *c, const uint8_t *outcome, size_t len)
{
    count_answer(c);
    guess_reply(c, len);
    if (c->life == CONN_CLOSED)
        return;
    size_t mark = c->out.len;
    struct call call = call_of(c, NULL);
    server_mark_dirty(c->server, c);
    if (c->tx.step != TX_IDLE)
        tx_answered(&call, outcome, len);
    else
        reply_outcome(&c->out, c->facts.proto, outcome, len);
    if (c->life != CONN_CLOSED)
        seal(c, mark);
}

void conn_fail(struct conn *c, enum request_failure why)
{
    count_answer(c);
    if (c->life == CONN_CLOSED)
        return;
    size_t mark = c->out.len;
    struct call call = call_of(c, NULL);
    server_mark_dirty(c->server, c);
    if (c->tx.step != TX_IDLE)
        tx_failed(&call, why);
    else
        reply_failure(&c->out, why);
    seal(c, mark);
}

static void reply_error_text(struct conn *c, const char *text)
{
    size_t mark = c->out.len;
    resp_error(&c->out, text);
    seal(c, mark);
}

/* ---- One request ---- */

static uint64_t request_deadline_ms(const struct conn *c)
{
    unsigned own = c->facts.deadline_ms;
    return node_now_ms(c->node) + (own != 0 ? own : server_config(c->server)->request_timeout_ms);
}

static bool hold(struct conn *c, enum conn_hold why, bool is_write)
{
    c->hold = why;
    c->held_is_write = is_write;
    return false;
}

/* Put the encoded command into a queue: 0, or an enum requests_err. row: whose time is taken, or NULL. */
static int enqueue(struct conn *c, const struct encoding *e, const struct command_row *row, enum conn_queue queue,
                   bool local)
{
    struct command_buf *buf = queue == QUEUE_WRITES ? requests_write_buf(c->node) : requests_read_buf(c->node);
    long at = command_add(buf, e->op, e->flags, e->nums, e->n_nums, e->args, e->n_args);
    if (at < 0)
        return REQUESTS_ENOMEM;
    c->queue = queue;
    c->unanswered++; /* Before the call: a local read is answered inside it. */
    timing_begin(&c->timing, row);
    int err;
    if (local)
        err = requests_read_local(c->node, c, at);
    else if (queue == QUEUE_WRITES)
        err = requests_write(c->node, c, at, request_deadline_ms(c));
    else
        err = requests_read(c->node, c, at, request_deadline_ms(c));
    if (err != 0) {
        c->unanswered--;
        timing_undo(&c->timing);
    }
    return err;
}

/* Must the request wait for the answers before it? One that answers a value also when those may be many bytes: a
 * pipeline of large values is answered in portions, so that nobody has to hold it all at once. */
static bool must_wait(const struct conn *c, const struct encoding *e, bool is_write, bool local)
{
    if (c->unanswered == 0)
        return false;
    if (local || (is_write && c->queue == QUEUE_READS) || (e->blocks && !is_write))
        return true;
    return command_answers_values((uint8_t)e->op, e->flags) && c->unanswered >= CONN_REPLIES_MAX / (c->reply_guess + 1);
}

/* False: the request is held back. */
static bool submit(struct conn *c, const struct encoding *e)
{
    bool is_write = command_is_write((uint8_t)e->op), local = !is_write && c->facts.readonly;
    enum conn_queue queue = is_write ? QUEUE_WRITES : QUEUE_READS;
    if (must_wait(c, e, is_write, local))
        return hold(c, HOLD_ANSWERS, is_write);
    if (c->unanswered > 0)
        queue = c->queue;                                             /* A read behind writes rides with them. */
    int err = enqueue(c, e, e->blocks ? NULL : e->row, queue, local); /* Waiting is not slowness. */
    c->is_blocked = err == 0 && e->blocks && c->unanswered > 0;       /* A local read may be answered by now. */
    if (err == 0)
        return true;
    if (c->unanswered > 0) /* The refusal must not overtake the answers before it; perhaps there is room by then. */
        return hold(c, HOLD_ANSWERS, is_write);
    size_t mark = c->out.len;
    reply_refused(&c->out, err);
    seal(c, mark);
    return true;
}

int conn_ask(struct conn *c, const struct encoding *e, bool may_be_stale)
{
    bool is_write = command_is_write((uint8_t)e->op);
    assert(c->unanswered == 0);
    return enqueue(c, e, NULL, is_write ? QUEUE_WRITES : QUEUE_READS, !is_write && may_be_stale && c->facts.readonly);
}

static void run_local(struct conn *c, const struct command_row *row, void (*run)(struct call *call))
{
    struct call call = call_of(c, row);
    size_t mark = c->out.len;
    run(&call);
    if (c->life != CONN_CLOSED)
        seal(c, mark);
}

static bool is_held_by_pause(struct conn *c, const struct command_row *row, bool is_write)
{
    return server_is_paused(c->server, is_write) && strncmp(row->name, "client|", 7) != 0;
}

static void count(struct conn *c, const struct command_row *row, bool rejected)
{
    c->facts.commands++;
    server_stats(c->server)->commands++;
    if (row == NULL)
        return;
    c->facts.last_row = row;
    struct command_counts *counts = commands_counts(row);
    counts->calls += !rejected;
    counts->rejected += rejected;
}

/* Is it queued for EXEC? Inside MULTI all but the commands about the transaction are. */
static bool is_queued(const struct conn *c, const struct command_row *row, enum prepared prepared)
{
    return c->tx.queueing && prepared != PREPARED_REFUSED && (row->flags & ROW_TX_NOW) == 0;
}

static bool may_write(const struct conn *c, const struct command_row *row, enum prepared prepared,
                      const struct encoding *e)
{
    if (c->tx.queueing)
        return row != NULL && row->run == run_exec && c->tx.may_write;
    return prepared == PREPARED_DATA && command_is_write((uint8_t)e->op);
}

/* Of a RESP2 connection that is subscribed: any command that is not about that. */
static bool is_deaf_to(const struct resp_arg *args, size_t n, char error[ENCODING_ERROR_MAX],
                       const struct command_row **ret_row)
{
    const struct command_row *row = commands_find(args[0].base, args[0].len);
    if (row != NULL && (row->flags & ROW_CONTAINER) != 0 && n > 1)
        row = commands_find_sub(row, args[1].base, args[1].len);
    *ret_row = row;
    if (row == NULL || (row->flags & ROW_SUBSCRIBER) != 0)
        return false;
    snprintf(error, ENCODING_ERROR_MAX, REPLY_ONLY_LISTENS, row->name);
    return true;
}

static enum prepared prepare(struct conn *c, struct encoding *e, const struct command_row **ret_row)
{
    const struct config *config = server_config(c->server);
    const struct resp_arg *args = c->parser.args;
    size_t n = c->parser.n_args;
    if (conn_only_listens(c) && is_deaf_to(args, n, e->error, ret_row))
        return PREPARED_REFUSED;
    return c->tx.queueing ? commands_check(config, args, n, e, ret_row) : commands_prepare(config, args, n, e, ret_row);
}

/* Run the request that the parser has found. False: it is held back and must be parsed again later. */
static bool run_request(struct conn *c)
{
    struct encoding e;
    e.who = c->facts.address;
    e.proto = c->facts.proto;
    e.session = 0;
    const struct command_row *row = NULL;
    enum prepared prepared = prepare(c, &e, &row);
    bool is_write = may_write(c, row, prepared, &e);
    if (row != NULL && is_held_by_pause(c, row, is_write))
        return hold(c, HOLD_PAUSE, is_write);
    if (prepared == PREPARED_DATA && !c->tx.queueing) {
        if (!submit(c, &e))
            return false;
    } else if (c->unanswered > 0) {
        return hold(c, HOLD_ANSWERS, false);
    }
    count(c, row, prepared == PREPARED_REFUSED);
    if (prepared == PREPARED_REFUSED) {
        c->tx.spoiled |= c->tx.queueing;
        reply_error_text(c, e.error);
    } else if (is_queued(c, row, prepared)) {
        run_local(c, row, tx_run_queue);
    } else if (prepared == PREPARED_LOCAL) {
        run_local(c, row, row->run);
    }
    return true;
}

/* ---- The stream of requests ---- */

static bool may_run(struct conn *c)
{
    if (c->life != CONN_OPEN || c->broken != RESP_REQUEST || c->is_waiting || c->is_blocked || c->tx.step != TX_IDLE)
        return false;
    if (c->hold == HOLD_ANSWERS && c->unanswered > 0)
        return false;
    if (c->hold == HOLD_PAUSE && server_is_paused(c->server, c->held_is_write))
        return false;
    return c->unanswered < server_config(c->server)->max_pipeline && conn_output_bytes(c) < CONN_OUTPUT_PAUSE;
}

/* Run what stands in [base, base+len). Returns how much of it is done with. */
static size_t run_requests(struct conn *c, const char *base, size_t len)
{
    size_t used = 0;
    c->stalled = false;
    while (used < len) {
        if (!may_run(c)) {
            c->stalled = true;
            break;
        }
        size_t took = 0;
        enum resp_parse verdict = resp_parse(&c->parser, base + used, len - used, &took);
        if (verdict == RESP_MORE)
            break;
        if (verdict != RESP_REQUEST) {
            c->broken = verdict;
            return len;
        }
        c->hold = HOLD_NONE;
        if (c->parser.n_args > 0 && !run_request(c)) {
            c->stalled = true;
            break;
        }
        used += took;
    }
    return used;
}

static void release_input(struct conn *c)
{
    free(c->in);
    c->in = NULL;
    c->in_cap = 0;
}

static void run_own_input(struct conn *c)
{
    size_t used = run_requests(c, c->in, c->in_len);
    if (c->life == CONN_CLOSED)
        return;
    c->in_len -= used;
    if (used > 0 && c->in_len > 0)
        memmove(c->in, c->in + used, c->in_len);
    if (c->in_len == 0 && c->in_cap > CONN_INPUT_KEEP)
        release_input(c);
}

static bool reserve_input(struct conn *c, size_t more)
{
    size_t need = c->in_len + more;
    if (need <= c->in_cap)
        return true;
    size_t cap = c->in_cap < CONN_INPUT_FIRST ? CONN_INPUT_FIRST : 2 * c->in_cap;
    while (cap < need)
        cap *= 2;
    char *in = realloc(c->in, cap);
    if (in == NULL)
        return false;
    c->in = in;
    c->in_cap = cap;
    return true;
}

static void keep_input(struct conn *c, const char *rest, size_t len)
{
    if (len == 0)
        return;
    if (!reserve_input(c, len)) {
        cut_off(c, "no memory for its requests");
        return;
    }
    memcpy(c->in + c->in_len, rest, len);
    c->in_len += len;
}

static void note_input(struct conn *c, size_t len)
{
    struct server_stats *stats = server_stats(c->server);
    c->facts.last_ms = conn_now_ms(c);
    stats->input_bytes += len;
    if (c->in_len > stats->max_input)
        stats->max_input = c->in_len;
}

static void set_reading(struct conn *c, bool want)
{
    if (want == c->is_reading)
        return;
    c->is_reading = want;
    if (want)
        uv_read_start(conn_stream(c), on_alloc, on_read);
    else
        uv_read_stop(conn_stream(c));
}

static void update_reading(struct conn *c)
{
    bool room = !c->stalled || c->in_len < CONN_INPUT_STALLED_MAX;
    bool open = c->life == CONN_OPEN && c->broken == RESP_REQUEST && room;
    set_reading(c, !c->at_eof && (open || c->life == CONN_LINGERING));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct conn *c = container_of(handle, struct conn, tcp);
    size_t cap = 0;
    if (c->in_len == 0 || c->life == CONN_LINGERING) {
        char *space = server_read_space(c->server, &cap);
        *buf = uv_buf_init(space, (unsigned)cap);
        return;
    }
    bool ok = reserve_input(c, CONN_INPUT_FIRST);
    *buf = ok ? uv_buf_init(c->in + c->in_len, (unsigned)(c->in_cap - c->in_len)) : uv_buf_init(NULL, 0);
}

static void on_read_failed(struct conn *c, ssize_t nread)
{
    if (nread == UV_ENOBUFS) {
        cut_off(c, "no memory for its requests");
        return;
    }
    /* Nothing to be read any more; who waits is not there to be answered. */
    if (nread != UV_EOF || c->is_waiting || c->is_blocked || c->life == CONN_LINGERING) {
        conn_close(c);
        return;
    }
    c->at_eof = true;
    set_reading(c, false);
    server_mark_dirty(c->server, c);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct conn *c = container_of(stream, struct conn, tcp);
    if (nread < 0)
        on_read_failed(c, nread);
    if (nread <= 0 || c->life == CONN_LINGERING)
        return;
    if (c->in_len > 0) {
        c->in_len += (size_t)nread;
        note_input(c, (size_t)nread);
        run_own_input(c);
    } else {
        note_input(c, (size_t)nread);
        size_t used = run_requests(c, buf->base, (size_t)nread);
        if (c->life != CONN_CLOSED)
            keep_input(c, buf->base + used, (size_t)nread - used);
    }
    if (c->life == CONN_CLOSED)
        return;
    if (c->out.len > 0 || c->broken != RESP_REQUEST || c->stalled)
        server_mark_dirty(c->server, c);
    update_reading(c);
}

/* ---- Output and the end of an iteration ---- */

static void trim_output(struct resp_buf *b)
{
    b->len = 0;
    if (b->cap > CONN_OUTPUT_KEEP)
        resp_buf_release(b);
}

/* Hand what try_write left over to libuv; replies go on gathering in the other buffer. */
static void write_rest(struct conn *c, size_t sent)
{
    struct resp_buf empty = c->sending;
    c->sending = c->out;
    c->out = empty;
    uv_buf_t buf = uv_buf_init(c->sending.base + sent, (unsigned)(c->sending.len - sent));
    c->is_writing = true;
    if (uv_write(&c->write, conn_stream(c), &buf, 1, on_written) != 0) {
        c->is_writing = false;
        conn_close(c);
    }
}

static void write_out(struct conn *c)
{
    struct server_stats *stats = server_stats(c->server);
    if (c->out.len == 0 || c->is_writing)
        return;
    if (c->out.len > stats->max_output)
        stats->max_output = c->out.len;
    uv_buf_t buf = uv_buf_init(c->out.base, (unsigned)c->out.len);
    int sent = uv_try_write(conn_stream(c), &buf, 1);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0) {
        conn_close(c);
        return;
    }
    stats->output_bytes += c->out.len;
    if ((size_t)sent == c->out.len)
        trim_output(&c->out);
    else
        write_rest(c, (size_t)sent);
}

static void on_written(uv_write_t *write, int status)
{
    struct conn *c = container_of(write, struct conn, write);
    c->is_writing = false;
    if (c->life == CONN_CLOSED)
        return;
    if (status != 0) {
        conn_close(c);
        return;
    }
    trim_output(&c->sending);
    server_mark_dirty(c->server, c);
}

/* The client's stream is broken and everything before that is answered: say why. */
static void end_broken(struct conn *c)
{
    size_t mark = c->out.len;
    enum resp_parse why = c->broken;
    log_info("client %s: %s", c->facts.address,
             why == RESP_HANGUP  ? "speaks HTTP, closed"
             : why == RESP_NOMEM ? "no memory for its request, closed"
                                 : c->parser.error);
    if (why == RESP_HANGUP) {
        conn_close(c);
        return;
    }
    if (why == RESP_BROKEN)
        resp_errorf(&c->out, "ERR %s", c->parser.error);
    else if (why == RESP_OVERSIZE)
        resp_errorf(&c->out, REPLY_REQUEST_TOO_LARGE, c->parser.error);
    else
        resp_error(&c->out, REPLY_NO_MEMORY);
    c->lingers = true;
    seal(c, mark);
    if (c->life == CONN_OPEN)
        begin_ending(c);
}

/* Everything is answered and sent: the connection may end. */
static void end_quietly(struct conn *c)
{
    if (!c->lingers || c->at_eof) {
        conn_close(c);
        return;
    }
    c->life = CONN_LINGERING;
    c->closing_since_ms = conn_now_ms(c);
    c->in_len = 0;
    shutdown(conn_fd(c), SHUT_WR);
}

static void advance_end(struct conn *c)
{
    if (c->unanswered > 0)
        return;
    if (c->life == CONN_OPEN && c->broken != RESP_REQUEST)
        end_broken(c);
    if (c->life == CONN_OPEN && c->at_eof && !c->stalled)
        begin_ending(c);
}

bool conn_tick(struct conn *c)
{
    bool ran = false;
    if (c->life == CONN_OPEN && c->stalled && may_run(c)) {
        run_own_input(c);
        ran = true;
    }
    if (c->life != CONN_CLOSED)
        advance_end(c);
    if (c->life != CONN_CLOSED)
        write_out(c);
    if (c->life == CONN_ENDING && c->unanswered == 0 && c->out.len == 0 && !c->is_writing)
        end_quietly(c);
    if (c->life == CONN_CLOSED)
        return ran;
    if (c->stalled && may_run(c)) /* Output has made room. */
        server_mark_dirty(c->server, c);
    update_reading(c);
    return ran;
}

void conn_cron(struct conn *c, uint64_t now_ms)
{
    uint64_t idle_ms = now_ms - c->facts.last_ms;
    unsigned limit_s = server_config(c->server)->client_idle_s;
    uint64_t closing_ms = c->life == CONN_LINGERING ? CONN_LINGER_MS : CONN_ENDING_MS;
    if (c->life != CONN_OPEN && now_ms - c->closing_since_ms >= closing_ms) {
        conn_close(c);
        return;
    }
    if (limit_s > 0 && idle_ms > 1000ull * limit_s && c->unanswered == 0 && !c->is_waiting &&
        c->subscriptions.first == NULL) {
        log_info("client %s is closed: idle for more than %u s", c->facts.address, limit_s);
        conn_close(c);
        return;
    }
    if (idle_ms < CONN_IDLE_SHRINK_MS)
        return;
    if (c->in_len == 0)
        release_input(c);
    if (c->out.len == 0)
        resp_buf_release(&c->out);
    if (!c->is_writing)
        resp_buf_release(&c->sending);
}

/* ---- WAIT ---- */

static void end_wait(struct conn *c)
{
    c->is_waiting = false;
    server_remove_blocked(c->server, c);
    server_mark_dirty(c->server, c);
}

void conn_wait_replicas(struct conn *c, unsigned n, uint64_t timeout_ms)
{
    struct node_status status;
    node_status(c->node, &status);
    /* Everything applied by now includes the connection's own writes, since WAIT runs when all are answered. */
    c->wait_index = status.applied_index;
    unsigned have = node_replicas_at(c->node, c->wait_index);
    if (have >= n) {
        resp_int(&c->out, have);
        return;
    }
    c->wait_replicas = n;
    c->wait_until_ms = timeout_ms == 0 ? UINT64_MAX : conn_now_ms(c) + timeout_ms;
    c->is_waiting = true;
    server_add_blocked(c->server, c, c->wait_until_ms);
}

void conn_wait_change(struct conn *c, uint64_t ticket, uint64_t deadline_ms, conn_change_reply reply)
{
    c->change = ticket;
    c->change_reply = reply;
    c->wait_until_ms = deadline_ms;
    c->is_waiting = true;
    server_add_blocked(c->server, c, deadline_ms);
}

void conn_wait_for(struct conn *c, uint64_t timeout_ms, conn_wait_answer answer, void *ctx)
{
    c->wait_answer = answer;
    c->wait_ctx = ctx;
    c->wait_until_ms = timeout_ms == 0 ? UINT64_MAX : conn_now_ms(c) + timeout_ms;
    c->is_waiting = true;
    server_add_blocked(c->server, c, c->wait_until_ms);
}

static void check_wait(struct conn *c, bool now)
{
    size_t mark = c->out.len;
    if (!c->wait_answer(c->wait_ctx, &c->out, c->facts.proto, c->node, now))
        return;
    end_wait(c);
    forget_wait(c);
    seal(c, mark);
}

static void check_change(struct conn *c)
{
    const struct change_answer *a = changes_answer(node_changes(c->node), c->change);
    if (a == NULL)
        return;
    end_wait(c);
    size_t mark = c->out.len;
    c->change_reply(&c->out, c->facts.proto, c->node, a);
    forget_change(c);
    seal(c, mark);
}

void conn_check_blocked(struct conn *c, uint64_t now_ms)
{
    if (c->change != 0) {
        check_change(c);
        return;
    }
    if (c->wait_answer != NULL) {
        check_wait(c, now_ms >= c->wait_until_ms);
        return;
    }
    unsigned have = node_replicas_at(c->node, c->wait_index);
    if (have < c->wait_replicas && now_ms < c->wait_until_ms)
        return;
    end_wait(c);
    size_t mark = c->out.len;
    resp_int(&c->out, have);
    seal(c, mark);
}

bool conn_unblock(struct conn *c, bool with_error)
{
    if (c->is_blocked)
        return requests_unblock(c->node, c, with_error);
    if (!c->is_waiting || c->change != 0)
        return false;
    if (c->wait_answer != NULL && !with_error) {
        check_wait(c, true);
        return true;
    }
    end_wait(c);
    forget_wait(c);
    size_t mark = c->out.len;
    if (with_error)
        resp_error(&c->out, REPLY_UNBLOCKED);
    else
        resp_int(&c->out, node_replicas_at(c->node, c->wait_index));
    seal(c, mark);
    return true;
}
