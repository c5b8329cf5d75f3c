/* clients.c - see clients.h. The functions that requests.c expects of conn.c are here. */
#include "tests/sim/clients.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include "tests/sim/words.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_SLACK_MS 150
#define WORKLOADS_MAX 16

enum queue { QUEUE_WRITES, QUEUE_READS };

struct conn { /* What requests.c sees. */
    unsigned refs;
    int client; /* -1: the client has gone away. */
};

struct client {
    const struct workload *work;
    struct conn *conn; /* NULL: it thinks, or is */
    bool calling;      /* under way to its node. */
    int node;
    struct op *first, **last;
    unsigned unanswered; /* Of the ops, from the first on; those behind are held back. */
    enum queue queue;    /* Which one they are in. */
};
static struct client clients[CLIENTS];
static bool quiet;
static uint64_t calm_us; /* Since when; UINT64_MAX: not yet. */
static uint64_t answers, order;

const struct workload *const workloads[] = {&work_counter,  &work_register, &work_set,  &work_pair, &work_ttl,
                                            &work_pipeline, &work_once,     &work_lock, &work_bank, NULL};

struct conn *conn_ref(struct conn *c)
{
    c->refs++;
    return c;
}

void conn_unref(struct conn *c)
{
    if (--c->refs == 0)
        free(c);
}

/* Nobody is subscribed. */
void conn_message(struct conn *c, const struct bytes *pattern, struct bytes channel, struct bytes message)
{
    (void)c;
    (void)pattern;
    (void)channel;
    (void)message;
    assert(false);
}

bool conn_waits(struct conn *c)
{
    return c->client >= 0;
}

struct requests *node_requests(const struct node *n)
{
    return &((struct sim_node *)(uintptr_t)n)->cluster.requests;
}

static struct node *as_node(int i)
{
    return (struct node *)(void *)&nodes[i];
}

uint64_t clients_answers(void)
{
    return answers;
}

uint64_t clients_order(void)
{
    return ++order;
}

/* ---- Between bursts ---- */

static void begin_burst(struct event *e);

static void think(int k)
{
    world_in(100 + below(CHANCE_CLIENTS, profile.think_us), -1, begin_burst)->a = (uint64_t)k;
}

static void leave(int k)
{
    struct client *c = &clients[k];
    c->conn->client = -1;
    conn_unref(c->conn);
    c->conn = NULL;
    c->unanswered = 0;
    think(k);
}

static struct op *pop(struct client *c)
{
    struct op *op = c->first;
    c->first = op->next;
    if (c->first == NULL)
        c->last = &c->first;
    return op;
}

static void end_op(struct op *op, enum op_end how)
{
    op->work->ended(op, how);
    free(op);
}

/* The connection breaks: what was asked may have been done. */
static void hang_up(int k)
{
    struct client *c = &clients[k];
    while (c->first != NULL) {
        struct op *op = pop(c);
        enum op_end how = op->held ? OP_REFUSED : OP_UNKNOWN;
        end_op(op, how);
    }
    leave(k);
}

/* The client hangs up; its node notices, and takes a request out of the queue of the lock it waits for. */
static void lose_patience(struct event *e)
{
    int k = (int)e->a;
    struct client *c = &clients[k];
    if (c->conn == NULL || c->first == NULL || c->first->ask_order != e->b)
        return; /* It has its answer. */
    struct node *n = as_node(c->node);
    size_t waiting = requests_n_waiting(n);
    c->conn->client = -1;
    requests_gone(n, c->conn);
    c->first->left_queue = requests_n_waiting(n) < waiting;
    say("client %d, %s: hangs up%s", k, c->work->name, c->first->left_queue ? " while it waits" : "");
    node_wants_turn(c->node);
    hang_up(k);
}

/* ---- Asking ---- */

/* 0, or requests' refusal. */
static int ask(struct client *c, struct op *op)
{
    struct node *n = as_node(c->node);
    enum queue queue = op->is_write ? QUEUE_WRITES : QUEUE_READS;
    if (c->unanswered > 0)
        queue = c->queue;
    struct command_buf *buf = queue == QUEUE_WRITES ? requests_write_buf(n) : requests_read_buf(n);
    long at = op->work->encode(op, buf);
    c->unanswered++;
    c->queue = queue;
    int rc = queue == QUEUE_WRITES ? requests_write(n, c->conn, at, op->deadline_ms)
                                   : requests_read(n, c->conn, at, op->deadline_ms);
    if (rc != 0)
        c->unanswered--;
    return rc;
}

static bool must_wait(const struct client *c, const struct op *op)
{
    return c->unanswered > 0 && op->is_write && c->queue == QUEUE_READS;
}

/* Ask what is held back, as far as the rules allow. */
static void ask_held(int k)
{
    struct client *c = &clients[k];
    struct op *op = c->first;
    for (unsigned i = 0; i < c->unanswered; i++)
        op = op->next;
    while (op != NULL && !must_wait(c, op)) {
        struct op *next = op->next;
        op->held = false;
        if (ask(c, op) != 0) {
            op->held = true;
            if (c->unanswered > 0)
                return; /* A refusal must not overtake answers. */
            end_op(pop(c), OP_REFUSED);
        }
        op = next;
    }
    node_wants_turn(c->node);
}

static void add_op(int k, uint64_t deadline_ms)
{
    struct client *c = &clients[k];
    struct op *op = must(calloc(1, sizeof *op));
    op->work = c->work;
    op->client = k;
    op->node = c->node;
    op->held = true;
    op->began_us = world.now_us;
    op->ask_order = clients_order();
    op->deadline_ms = deadline_ms;
    c->work->choose(op);
    *c->last = op;
    c->last = &op->next;
    if (op->patience_us == 0)
        return;
    struct event *e = world_in(op->patience_us, c->node, lose_patience);
    e->a = (uint64_t)k;
    e->b = op->ask_order;
}

/* What has been sent to a node arrives: at once, or when it wakes up from a pause. */
static void burst_arrives(struct event *e)
{
    int k = (int)e->a;
    struct client *c = &clients[k];
    c->calling = false;
    c->conn = must(calloc(1, sizeof *c->conn));
    c->conn->refs = 1;
    c->conn->client = k;
    c->unanswered = 0;
    /* One deadline for all: of a connection's requests, none may fail before an older one. */
    uint64_t deadline_ms = node_now_us(&nodes[c->node]) / 1000 + between(CHANCE_CLIENTS, 300, 2000);
    for (uint64_t n = between(CHANCE_CLIENTS, 1, c->work->burst_max); n > 0; n--)
        add_op(k, deadline_ms);
    ask_held(k);
    if (c->first == NULL)
        leave(k);
}

static void begin_burst(struct event *e)
{
    int k = (int)e->a;
    struct client *c = &clients[k];
    if (quiet)
        return;
    c->node = (int)below(CHANCE_CLIENTS, (uint64_t)n_nodes);
    if (!node_counts(&nodes[c->node])) {
        world_in(5000, -1, begin_burst)->a = (uint64_t)k;
        return;
    }
    c->calling = true;
    world_in(0, c->node, burst_arrives)->a = (uint64_t)k;
}

/* ---- Answers ---- */

/* The oldest unanswered operation of a connection; NULL when its client has gone or its node no longer counts. */
static struct client *client_of(struct conn *conn)
{
    if (conn->client < 0 || !node_counts(&nodes[clients[conn->client].node]))
        return NULL;
    struct client *c = &clients[conn->client];
    if (c->unanswered == 0)
        fail("client %d got an answer to nothing", conn->client);
    return c;
}

static void answered(int k)
{
    struct client *c = &clients[k];
    if (c->unanswered == 0)
        ask_held(k);
    if (c->first == NULL)
        leave(k);
}

void conn_answer(struct conn *conn, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    struct client *c = client_of(conn);
    if (c == NULL)
        return;
    int k = conn->client;
    if (outcome_next(outcome, len, &o) == 0)
        fail("client %d got an outcome that cannot be read", k);
    answers++;
    c->unanswered--;
    struct op *op = pop(c);
    trace((uint64_t)k << 32 ^ (uint64_t)o.n ^ (uint64_t)o.tag << 16 ^ op->ask_order);
    say("client %d, %s: n%d answers its request %llu (%d, key %llu): %c %lld", k, op->work->name, c->node + 1,
        (unsigned long long)op->ask_order, op->kind, (unsigned long long)op->key, (int)o.tag, (long long)o.n);
    op->work->answered(op, outcome, len);
    free(op);
    answered(k);
}

void conn_fail(struct conn *conn, enum request_failure why)
{
    static const char *const words[] = {"no leader", "no quorum", "no link",   "unknown",
                                        "no space",  "stopping",  "unblocked", "unblocked by a client"};
    struct client *c = client_of(conn);
    if (c == NULL)
        return;
    int k = conn->client;
    c->unanswered--;
    struct op *op = pop(c);
    if (!op->is_write && why == REQUEST_UNKNOWN && c->queue == QUEUE_READS)
        fail("client %d was told that the outcome of a read is unknown", k);
    trace((uint64_t)k << 32 ^ (uint64_t)why);
    say("client %d, %s: n%d fails its request %llu: %s", k, op->work->name, c->node + 1,
        (unsigned long long)op->ask_order, words[why]);
    end_op(op, why == REQUEST_UNKNOWN || why == REQUEST_UNBLOCKED ? OP_UNKNOWN : OP_REFUSED);
    answered(k);
}

void clients_node_ended(int i)
{
    for (int k = 0; k < CLIENTS; k++) {
        struct client *c = &clients[k];
        if (c->conn != NULL && c->node == i)
            hang_up(k);
        if (c->calling && c->node == i)
            think(k);
        c->calling = c->calling && c->node != i;
    }
}

void clients_check_deadlines(int i)
{
    struct sim_node *n = &nodes[i];
    uint64_t now_ms = node_now_us(n) / 1000;
    for (int k = 0; k < CLIENTS; k++) {
        const struct client *c = &clients[k];
        if (c->conn == NULL || c->node != i || c->first == NULL || c->first->held)
            continue;
        if (now_ms > c->first->deadline_ms + c->first->wait_ms + DEADLINE_SLACK_MS &&
            n->paused_until_us + 1000000 < world.now_us)
            fail("client %d has had no answer from n%d since its deadline %llu ms ago", k, i + 1,
                 (unsigned long long)(now_ms - c->first->deadline_ms));
    }
}

/* ---- A run ---- */

/* Which workloads a run has: some of them, so that those have more clients. */
static void draw_workloads(void)
{
    static const struct workload *all[WORKLOADS_MAX];
    size_t n = 0, n_all = 0;
    while (workloads[n_all] != NULL)
        n_all++;
    for (size_t i = 0; i < n_all; i++)
        if (percent(CHANCE_PROFILE, 45))
            all[n++] = workloads[i];
    if (n == 0)
        all[n++] = workloads[below(CHANCE_PROFILE, n_all)];
    for (size_t k = 0; k < CLIENTS; k++)
        clients[k].work = all[k % n];
}

bool workload_runs(const struct workload *w)
{
    for (size_t k = 0; k < CLIENTS; k++)
        if (clients[k].work == w)
            return true;
    return false;
}

void clients_begin(void)
{
    memset(clients, 0, sizeof clients);
    draw_workloads();
    for (size_t i = 0; workloads[i] != NULL; i++)
        workloads[i]->begin();
    quiet = false;
    calm_us = UINT64_MAX;
    answers = order = 0;
    for (int k = 0; k < CLIENTS; k++) {
        clients[k].last = &clients[k].first;
        think(k);
    }
}

void clients_quiet(void)
{
    quiet = true;
}

void clients_calm(void)
{
    calm_us = world.now_us;
}

bool clients_are_calm(uint64_t since_us)
{
    return since_us >= calm_us;
}

void clients_finish(void)
{
    for (int k = 0; k < CLIENTS; k++)
        if (clients[k].conn != NULL)
            fail("client %d never had an answer", k);
    for (size_t i = 0; workloads[i] != NULL; i++)
        if (workload_runs(workloads[i]))
            workloads[i]->finish();
}

void clients_end(void)
{
    for (int k = 0; k < CLIENTS; k++)
        if (clients[k].conn != NULL)
            hang_up(k);
}

/* ---- For workloads ---- */

struct bytes text_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

uint64_t number_in(const struct op *op, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    char text[32];
    outcome_next(outcome, len, &o);
    if (o.tag == OUTCOME_NIL)
        return 0;
    if (o.tag != OUTCOME_BULK)
        fail("%s: client %d got a '%c'", op->work->name, op->client, (int)o.tag);
    size_t n = o.len < sizeof text - 1 ? o.len : sizeof text - 1;
    memcpy(text, o.bytes, n);
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}

struct bytes padded(uint64_t number)
{
    static char text[4096];
    size_t len = (size_t)snprintf(text, sizeof text, "%llu ", (unsigned long long)number);
    size_t more = below(CHANCE_CLIENTS, profile.value_bytes);
    memset(text + len, 'x', more);
    return (struct bytes){(const uint8_t *)text, len + more};
}

static struct outcome read_state(int node, struct command_buf *buf)
{
    static struct outcome_buf out;
    struct outcome o;
    size_t used;
    out.len = 0;
    if (store_read(nodes[node].cluster.store, buf->base, buf->len, 0, &out, &used) != 0 ||
        outcome_next(out.base, out.len, &o) == 0)
        fail("n%d cannot read its state", node + 1);
    command_buf_release(buf);
    return o;
}

struct outcome state_answer(int node, enum command_op op, const char *key)
{
    struct command_buf buf = {0};
    struct bytes arg = text_of(key);
    command_add(&buf, op, 0, NULL, 0, &arg, 1);
    return read_state(node, &buf);
}

struct outcome state_words(int node, size_t n, const char *const *words)
{
    struct command_buf buf = {0};
    words_encode(&buf, n, words);
    return read_state(node, &buf);
}
