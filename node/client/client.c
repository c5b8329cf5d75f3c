/* client.c - one call: attempts at one node after another until an answer or the deadline.
 *   attempt: take a seat --> send --> receive --> judge the reply
 *               |             |          |             `-- not now (CLUSTERDOWN, ...): pause, next node
 *               |             |          `-- lost: a read or a write with a serial goes on to the next node, another
 *               |             |              write is unknown
 *               `-------------`-- not done for sure: next node
 * Invariants: between calls the connection holds no answer that is still owed; after any failure in the middle of
 * one the connection is closed. Failure: every way out that is not 0 leaves a sentence in c->message. */
#include "node/client/client.h"
#include "node/client/keeper.h"
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MS_MIN 10
#define PAUSE_MS_MAX 100
#define OUT_BYTES_KEPT (256 << 10)
#define CLOSE_MS_MAX 500 /* For telling that the session ends. */
#define ONCE_ARGS 5      /* ONCE session serial ACK n */

struct client {
    struct seat seat;
    unsigned timeout_ms;
    pid_t pid;               /* The process that may use the seat's connection. */
    struct resp_buf out;     /* The call under way as bytes. */
    const char *node;        /* Name of the last node that answered. */
    unsigned session_ttl_ms; /* 0: there are no sessions. */
    char *session_name;      /* NULL: the host and the process. */
    uint64_t session;        /* 0: none. */
    uint64_t serial;         /* Of the last write. */
    struct keeper *keeper;
    char message[SEAT_MESSAGE_MAX + 128];
};

/* ---- Opening ---- */

static const char *or_environment(const char *given, const char *variable)
{
    const char *value = given != NULL ? given : getenv(variable);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool copy_credential(const char *given, const char *variable, char **ret)
{
    const char *value = or_environment(given, variable);
    *ret = value != NULL ? strdup(value) : NULL;
    return value == NULL || *ret != NULL;
}

static int set_nodes(struct client *c, const char *given)
{
    const char *nodes = or_environment(given, "HOLDFAST_NODES");
    char why[160];
    int n = addresses_parse(nodes != NULL ? nodes : CLIENT_NODES_DEFAULT, c->seat.nodes, why, sizeof why);
    if (n < 0) {
        snprintf(c->message, sizeof c->message, "nodes: %s", why);
        return CLIENT_EINVAL;
    }
    c->seat.n_nodes = n;
    return 0;
}

int client_open(const struct client_options *options, struct client **ret)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return CLIENT_ENOMEM;
    channel_init(&c->seat.channel);
    c->pid = getpid();
    c->node = "";
    c->timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : CLIENT_TIMEOUT_MS_DEFAULT;
    c->session_ttl_ms = options->session_ttl_ms;
    bool named = options->session_name == NULL || (c->session_name = strdup(options->session_name)) != NULL;
    if (!named || !copy_credential(options->user, "HOLDFAST_USER", &c->seat.user) ||
        !copy_credential(options->password, "HOLDFAST_PASSWORD", &c->seat.password)) {
        client_close(c);
        return CLIENT_ENOMEM;
    }
    *ret = c;
    return set_nodes(c, options->nodes);
}

const char *client_message(const struct client *c)
{
    return c->message;
}

const char *client_node(const struct client *c)
{
    return c->node;
}

int client_node_count(const struct client *c)
{
    return c->seat.n_nodes;
}

const char *client_node_name(const struct client *c, int node)
{
    assert(node >= 0 && node < c->seat.n_nodes);
    return c->seat.nodes[node].name;
}

int client_add_node(struct client *c, const char *address)
{
    struct address parsed;
    if (c->seat.n_nodes == CLIENT_NODES_MAX || !address_parse(address, strlen(address), &parsed))
        return CLIENT_EINVAL;
    c->seat.nodes[c->seat.n_nodes++] = parsed;
    return 0;
}

/* ---- One attempt ---- */

enum attempt {
    ATTEMPT_DONE,
    ATTEMPT_NEXT,   /* Not done: the next node may do it at once. */
    ATTEMPT_LATER,  /* Not done: the cluster needs a moment. */
    ATTEMPT_FAILED, /* The call ends with call->rc. */
};

struct call {
    bool is_write;
    int64_t deadline_ms;
    unsigned wait_ms;            /* How long the server may take on purpose. */
    bool is_once;                /* A write that may be sent again. */
    bool maybe;                  /* It may have been done. */
    size_t n;                    /* Requests in c->out. */
    struct resp_value **replies; /* n of them; NULL where none has come. */
    int rc;
    int64_t refusal_ms;          /* How long the slowest refusal took; 0: there was none. */
    char last[SEAT_MESSAGE_MAX]; /* Why it is not done yet: a node's own words before trouble with connections. */
};

static void drop_replies(struct call *call)
{
    for (size_t i = 0; i < call->n; i++) {
        resp_value_free(call->replies[i]);
        call->replies[i] = NULL;
    }
}

static enum attempt failed(struct call *call, int rc)
{
    call->rc = rc;
    return ATTEMPT_FAILED;
}

/* Nothing was done, or doing it twice does no harm: another node may be asked, unless rc is about more than this one.
 */
static enum attempt leave(struct client *c, struct call *call, int rc)
{
    snprintf(c->message, sizeof c->message, "%s", c->seat.message);
    seat_leave(&c->seat, true);
    return rc == CLIENT_EUNAVAILABLE ? ATTEMPT_NEXT : failed(call, rc);
}

/* The request was handed over, and no whole answer came. */
static enum attempt lost(struct client *c, struct call *call, int rc)
{
    rc = seat_from_channel(&c->seat, c->seat.at, &c->seat.channel, rc);
    call->maybe = true;
    if (rc != CLIENT_EUNAVAILABLE || !call->is_write || call->is_once)
        return leave(c, call, rc);
    snprintf(c->message, sizeof c->message, "the request was sent, and no answer came: %s", c->seat.message);
    seat_leave(&c->seat, true);
    return failed(call, CLIENT_EUNKNOWN);
}

static bool reply_is_one_of(const struct resp_value *reply, const char *const *words)
{
    while (*words != NULL && !seat_reply_is(reply, *words))
        words++;
    return *words != NULL;
}

/* An UNKNOWN write with a serial is asked about again, to learn what became of it. */
static enum attempt judge(const struct resp_value *reply, struct call *call)
{
    static const char *const not_now[] = {"CLUSTERDOWN", "TRYAGAIN", "OVERLOADED", "LOADING", "UNBLOCKED", NULL};
    static const char *const denied[] = {"NOAUTH", "WRONGPASS", "NOPERM", NULL};
    if (reply->type != RESP_ERROR)
        return ATTEMPT_DONE;
    if (reply_is_one_of(reply, not_now))
        return ATTEMPT_LATER;
    if (reply_is_one_of(reply, denied))
        return failed(call, CLIENT_EDENIED);
    if (!seat_reply_is(reply, "UNKNOWN"))
        return ATTEMPT_DONE;
    call->maybe = true;
    return call->is_write && !call->is_once ? failed(call, CLIENT_EUNKNOWN) : ATTEMPT_LATER;
}

/* The whole pipeline's verdict is that of the first reply that is no answer. */
static enum attempt judge_all(struct client *c, struct call *call)
{
    for (size_t i = 0; i < call->n; i++) {
        enum attempt verdict = judge(call->replies[i], call);
        if (verdict == ATTEMPT_DONE)
            continue;
        snprintf(c->message, sizeof c->message, "%s: %s", c->node, call->replies[i]->bytes);
        if (verdict == ATTEMPT_LATER && c->seat.n_nodes > 1)
            seat_leave(&c->seat, false);
        return verdict;
    }
    return ATTEMPT_DONE;
}

/* What may be asked elsewhere gives one silent node half of the time only. */
static int64_t answer_deadline(const struct client *c, const struct call *call)
{
    int64_t now = channel_now_ms(), left = call->deadline_ms - now;
    bool has_other = (!call->is_write || call->is_once) && c->seat.n_nodes > 1;
    if (!has_other)
        return call->deadline_ms;
    return left > call->wait_ms ? now + call->wait_ms + (left - call->wait_ms) / 2 : now + left / 2;
}

static enum attempt attempt(struct client *c, struct call *call)
{
    struct channel *channel = &c->seat.channel;
    int rc = seat_take(&c->seat, call->deadline_ms);
    if (rc != 0)
        return leave(c, call, rc);
    int64_t deadline_ms = answer_deadline(c, call);
    rc = channel_send(channel, c->out.base, c->out.len, deadline_ms);
    if (rc != 0)
        return leave(c, call, seat_from_channel(&c->seat, c->seat.at, channel, rc));
    for (size_t i = 0; i < call->n; i++) {
        rc = channel_receive(channel, deadline_ms, &call->replies[i]);
        if (rc != 0)
            return lost(c, call, rc);
    }
    c->node = c->seat.nodes[c->seat.at].name;
    return judge_all(c, call);
}

/* ---- The call ---- */

/* Clients that failed together must not come back together; the clock's nanoseconds are chance enough for that. */
static void pause_before_retry(unsigned n_pauses, int64_t deadline_ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ms = PAUSE_MS_MIN << (n_pauses < 4 ? n_pauses : 4);
    if (ms > PAUSE_MS_MAX)
        ms = PAUSE_MS_MAX;
    ms -= now.tv_nsec % (ms / 2 + 1);
    int64_t left = deadline_ms - channel_now_ms();
    if (left > 0)
        poll(NULL, 0, (int)(ms < left ? ms : left));
}

static int unavailable(struct client *c, const struct call *call)
{
    if (call->is_write && call->maybe) {
        snprintf(c->message, sizeof c->message, "the request was sent, and no node could tell what became of it: %s",
                 call->last);
        return CLIENT_EUNKNOWN;
    }
    snprintf(c->message, sizeof c->message, "not done within %u ms; last: %s", c->timeout_ms, call->last);
    return CLIENT_EUNAVAILABLE;
}

static void note_not_done(struct client *c, struct call *call, enum attempt outcome, int64_t took_ms)
{
    if (outcome == ATTEMPT_LATER && took_ms >= call->refusal_ms)
        call->refusal_ms = took_ms + 1; /* Rounded up, so that 0 stays "none". */
    if (outcome == ATTEMPT_LATER || call->refusal_ms == 0)
        snprintf(call->last, sizeof call->last, "%.*s", SEAT_MESSAGE_MAX - 1, c->message);
}

/* Cut off by our deadline, a write that would have been refused once more becomes one of unknown outcome: better to
 * stop while it is known not to be done. */
static bool is_time_for_another(const struct call *call)
{
    int64_t left = call->deadline_ms - channel_now_ms();
    return left > 0 && !(call->is_write && !call->is_once && left < call->refusal_ms);
}

static int run(struct client *c, struct call *call)
{
    unsigned n_failed = 0, n_pauses = 0;
    do {
        int64_t start_ms = channel_now_ms();
        enum attempt outcome = attempt(c, call);
        if (outcome == ATTEMPT_DONE)
            return 0;
        drop_replies(call);
        if (outcome == ATTEMPT_FAILED)
            return call->rc;
        note_not_done(c, call, outcome, channel_now_ms() - start_ms);
        n_failed++;
        if (outcome == ATTEMPT_LATER || n_failed % (unsigned)c->seat.n_nodes == 0)
            pause_before_retry(n_pauses++, call->deadline_ms);
    } while (is_time_for_another(call));
    return unavailable(c, call);
}

static void check_process(struct client *c)
{
    if (c->pid == getpid())
        return;
    channel_close(&c->seat.channel); /* Only our copy of it: the parent's goes on undisturbed. */
    keeper_abandon(c->keeper);
    c->keeper = NULL;
    c->session = 0;
    c->pid = getpid();
}

static int no_memory(struct client *c)
{
    snprintf(c->message, sizeof c->message, "out of memory");
    return CLIENT_ENOMEM;
}

/* The start of every call. */
static int begin(struct client *c, size_t n, const struct client_request *requests)
{
    c->message[0] = '\0';
    if (c->out.failed || c->out.cap > OUT_BYTES_KEPT)
        resp_buf_release(&c->out);
    c->out.len = 0;
    for (size_t i = 0; i < n; i++) {
        assert(requests[i].argc > 0);
        seat_encode(&c->out, requests[i].argc, requests[i].argv, requests[i].lens);
    }
    return c->out.failed ? no_memory(c) : 0;
}

static int call_many(struct client *c, struct call *call, const struct client_request *requests)
{
    int rc = begin(c, call->n, requests);
    if (rc == 0)
        rc = run(c, call);
    if (rc == 0)
        c->message[0] = '\0';
    return rc;
}

/* ---- The session ---- */

static void drop_session(struct client *c)
{
    keeper_stop(c->keeper);
    c->keeper = NULL;
    c->session = 0;
}

/* An opening whose answer is lost leaves a session behind that nobody renews. So it may be sent again like a read. */
static int open_session(struct client *c, int64_t deadline_ms)
{
    char ttl[16], host[HOST_NAME_MAX + 1] = "", name[HOST_NAME_MAX + 32];
    const char *const argv[] = {"SESSION", "OPEN", "TTL",
                                ttl,       "NAME", c->session_name != NULL ? c->session_name : name};
    const struct client_request request = {6, argv, NULL};
    struct resp_value *reply = NULL;
    struct call call = {.deadline_ms = deadline_ms, .n = 1, .replies = &reply};
    snprintf(ttl, sizeof ttl, "%u", c->session_ttl_ms);
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "%s:%ld", host, (long)getpid());
    int64_t sent_ms = channel_now_ms();
    int rc = call_many(c, &call, &request);
    if (rc == 0 && reply->type != RESP_INT) {
        snprintf(c->message, sizeof c->message, "%s: no session: %s", c->node,
                 reply->type == RESP_ERROR ? reply->bytes : "an answer of another kind");
        rc = CLIENT_EPROTOCOL;
    }
    uint64_t session = rc == 0 ? (uint64_t)reply->n : 0;
    resp_value_free(reply);
    if (rc == 0 && keeper_start(&c->seat, session, c->session_ttl_ms, sent_ms, &c->keeper) != 0)
        rc = no_memory(c);
    if (rc == 0) {
        c->session = session;
        c->serial = 0;
    }
    return rc;
}

uint64_t client_session(const struct client *c)
{
    return c->session;
}

bool client_session_alive(struct client *c, uint64_t session)
{
    check_process(c);
    return session != 0 && session == c->session && keeper_alive(c->keeper);
}

int64_t client_session_left_ms(struct client *c, uint64_t session)
{
    check_process(c);
    return session != 0 && session == c->session ? keeper_left_ms(c->keeper) : 0;
}

/* The request with ONCE session serial ACK n before it. */
static void encode_once(struct client *c, const struct client_request *request)
{
    char numbers[3][24];
    const uint64_t values[3] = {c->session, c->serial, c->serial - 1};
    const char *const head[ONCE_ARGS] = {"ONCE", numbers[0], numbers[1], "ACK", numbers[2]};
    for (int i = 0; i < 3; i++)
        snprintf(numbers[i], sizeof numbers[i], "%llu", (unsigned long long)values[i]);
    resp_array(&c->out, (size_t)request->argc + ONCE_ARGS);
    for (int i = 0; i < ONCE_ARGS; i++)
        resp_bulk(&c->out, head[i], strlen(head[i]));
    for (int i = 0; i < request->argc; i++)
        resp_bulk(&c->out, request->argv[i], request->lens != NULL ? request->lens[i] : strlen(request->argv[i]));
}

/* One write through the session there is, under a serial of its own. */
static int run_once(struct client *c, struct call *call, const struct client_request *request)
{
    c->serial++;
    int rc = begin(c, 0, NULL);
    if (rc == 0)
        encode_once(c, request);
    if (rc == 0 && c->out.failed)
        rc = no_memory(c);
    int64_t sent_ms = channel_now_ms();
    if (rc == 0)
        rc = run(c, call);
    if (rc != 0)
        return rc;
    c->message[0] = '\0';
    if (call->replies[0]->type != RESP_ERROR) /* A refusal may be the node's own, which renews nothing. */
        keeper_renewed(c->keeper, sent_ms);
    return 0;
}

/* The session has ended. A write that was never sent before was not done: it may go through a new session. One that was
 * may have been done while the session lived. */
static int session_ended(struct client *c, struct call *call)
{
    drop_session(c);
    drop_replies(call);
    snprintf(c->message, sizeof c->message, "the session ended before the write's outcome was known");
    if (call->maybe)
        return CLIENT_EUNKNOWN;
    return channel_now_ms() < call->deadline_ms ? 0 : CLIENT_EUNAVAILABLE;
}

static int call_once(struct client *c, struct call *call, const struct client_request *request)
{
    call->is_once = true;
    for (;;) {
        int rc = c->session == 0 ? open_session(c, call->deadline_ms - call->wait_ms) : 0;
        if (rc == 0)
            rc = run_once(c, call, request);
        if (rc != 0 || !seat_reply_is(call->replies[0], "SESSIONEXPIRED"))
            return rc;
        rc = session_ended(c, call);
        if (rc != 0)
            return rc;
    }
}

/* Nobody waits long for it: an unanswered session ends by itself. */
static void close_session(struct client *c)
{
    char session[24];
    const char *const argv[] = {"SESSION", "CLOSE", session};
    struct resp_value *reply = NULL;
    int64_t deadline_ms = channel_now_ms() + (c->timeout_ms < CLOSE_MS_MAX ? c->timeout_ms : CLOSE_MS_MAX);
    snprintf(session, sizeof session, "%llu", (unsigned long long)c->session);
    drop_session(c);
    c->out.len = 0;
    seat_encode(&c->out, 3, argv, NULL);
    if (!c->out.failed && seat_take(&c->seat, deadline_ms) == 0 &&
        channel_send(&c->seat.channel, c->out.base, c->out.len, deadline_ms) == 0)
        channel_receive(&c->seat.channel, deadline_ms, &reply);
    resp_value_free(reply);
}

void client_close(struct client *c)
{
    if (c == NULL)
        return;
    check_process(c);
    if (c->session != 0)
        close_session(c);
    seat_release(&c->seat);
    resp_buf_release(&c->out);
    free(c->session_name);
    free(c);
}

/* ---- The calls ---- */

int client_call_wait(struct client *c, bool is_write, unsigned wait_ms, int argc, const char *const *argv,
                     const size_t *lens, struct resp_value **ret)
{
    const struct client_request request = {argc, argv, lens};
    struct resp_value *reply = NULL;
    struct call call = {.is_write = is_write, .wait_ms = wait_ms, .n = 1, .replies = &reply};
    call.deadline_ms = channel_now_ms() + c->timeout_ms + wait_ms;
    check_process(c);
    int rc = is_write && c->session_ttl_ms != 0 ? call_once(c, &call, &request) : call_many(c, &call, &request);
    if (rc == 0)
        *ret = reply;
    return rc;
}

int client_call(struct client *c, bool is_write, int argc, const char *const *argv, const size_t *lens,
                struct resp_value **ret)
{
    return client_call_wait(c, is_write, 0, argc, argv, lens, ret);
}

int client_read_many(struct client *c, size_t n, const struct client_request *requests, struct resp_value **ret)
{
    if (n == 0)
        return 0;
    struct resp_value **replies = calloc(n, sizeof *replies);
    struct call call = {.deadline_ms = channel_now_ms() + c->timeout_ms, .n = n, .replies = replies};
    check_process(c);
    int rc = replies == NULL ? no_memory(c) : call_many(c, &call, requests);
    if (rc == 0)
        memcpy(ret, replies, n * sizeof *ret);
    free(replies);
    return rc;
}

static int call_channel(struct client *c, int node, struct channel *ch, int64_t deadline_ms, struct resp_value **ret)
{
    int rc = channel_send(ch, c->out.base, c->out.len, deadline_ms);
    if (rc != 0)
        return seat_from_channel(&c->seat, node, ch, rc);
    rc = channel_receive(ch, deadline_ms, ret);
    if (rc == 0) {
        c->node = c->seat.nodes[node].name;
        return 0;
    }
    rc = seat_from_channel(&c->seat, node, ch, rc);
    return rc == CLIENT_EUNAVAILABLE ? CLIENT_EUNKNOWN : rc;
}

int client_call_node(struct client *c, int node, int argc, const char *const *argv, const size_t *lens,
                     struct resp_value **ret)
{
    assert(node >= 0 && node < c->seat.n_nodes);
    int64_t deadline_ms = channel_now_ms() + c->timeout_ms;
    struct client_request request = {argc, argv, lens};
    struct channel channel;
    check_process(c);
    int rc = begin(c, 1, &request);
    if (rc != 0)
        return rc;
    rc = seat_visit(&c->seat, node, deadline_ms, &channel);
    if (rc == 0)
        rc = call_channel(c, node, &channel, deadline_ms, ret);
    channel_close(&channel);
    if (rc != 0)
        snprintf(c->message, sizeof c->message, "%s", c->seat.message);
    return rc;
}
