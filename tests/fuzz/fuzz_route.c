/* fuzz_route.c - frames of other daemons: batches forwarded, refusals, answers and reads, of peers that say anything,
 * at a node that leads, follows or does neither, with requests of its own under way. Every request is answered exactly
 * once. This file stands in for the replica and for connections: what is linked first wins.
 * Input: steps; the first byte of each chooses what happens. */
#include "node/queue.h"
#include "store/little.h"
#include "tests/fuzz/fuzz_store.h"

#define STEPS_MAX 200

struct conn {
    unsigned refs;
    uint64_t asked, answered;
};

struct replica {
    bool ready, link, reserve;
    uint64_t leader, term, ticket;
};

/* struct node is opaque to requests.c: it asks node_requests() only. */
struct node {
    struct requests requests;
};

static struct replica replica;
static struct conn conn;
static struct node node;
static uint64_t now_ms;

/* ---- In place of replica.c ---- */

uint64_t replica_leader(const struct replica *r)
{
    return r->leader;
}

void replica_status(const struct replica *r, struct replica_status *ret)
{
    (void)r;
    memset(ret, 0, sizeof *ret); /* Alone: there is nobody to tell of events. */
}

uint64_t replica_term(const struct replica *r)
{
    return r->term;
}

bool replica_ready(const struct replica *r)
{
    return r->ready;
}

bool replica_has_reserve(const struct replica *r)
{
    return r->reserve;
}

bool replica_link_up(const struct replica *r, uint64_t peer)
{
    (void)peer;
    return r->link;
}

int replica_propose(struct replica *r, struct blob *batch)
{
    struct batch_header h;
    fuzz_must(batch_header_decode(batch->bytes, batch->len, &h) == 0, "what is proposed is a batch");
    for (size_t at = BATCH_HEADER_BYTES; h.n > 0; h.n--) {
        size_t span = command_span(batch->bytes + at, batch->len - at);
        fuzz_must(span > 0, "of whole commands");
        at += span;
    }
    return r->ready ? 0 : REPLICA_ENOTLEADER;
}

int replica_read(struct replica *r, uint64_t *ret_ticket)
{
    *ret_ticket = r->ticket;
    return r->ready ? 0 : REPLICA_ENOTLEADER;
}

void replica_send(struct replica *r, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                  const struct io_slice *slices, size_t n)
{
    (void)r;
    fuzz_must(peer != 0 && kind >= PEER_FORWARD && kind <= PEER_READ_ANSWERS, "frames have a kind and a target");
    fuzz_must(head != NULL || head_len == 0, "a head is there");
    for (size_t i = 0; i < n; i++)
        fuzz_must(slices[i].offset + slices[i].len <= slices[i].blob->len, "a slice lies in its blob");
}

/* ---- In place of conn.c and node.c ---- */

void conn_answer(struct conn *c, const uint8_t *outcome, size_t len)
{
    fuzz_must(outcome_span(outcome, len) == len, "an answer is one whole outcome");
    c->answered++;
}

void conn_fail(struct conn *c, enum request_failure why)
{
    fuzz_must(why <= REQUEST_STOPPING, "a failure has a reason");
    c->answered++;
}

struct conn *conn_ref(struct conn *c)
{
    c->refs++;
    return c;
}

void conn_unref(struct conn *c)
{
    fuzz_must(c->refs > 0, "what is let go was held");
    c->refs--;
}

/* Nobody is subscribed. */
void conn_message(struct conn *c, const struct bytes *pattern, struct bytes channel, struct bytes message)
{
    (void)c;
    (void)pattern;
    (void)channel;
    (void)message;
    fuzz_must(false, "messages are for subscribers");
}

bool conn_waits(struct conn *c)
{
    return c->answered == 0;
}

struct requests *node_requests(const struct node *n)
{
    return (struct requests *)(uintptr_t)&n->requests;
}

static uint64_t get_now(void *ctx)
{
    (void)ctx;
    return now_ms;
}

static void log_nothing(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level, (void)text;
}

/* ---- Steps ---- */

static void ask(bool write, uint8_t op)
{
    static const struct bytes args[2] = {{(const uint8_t *)"k", 1}, {(const uint8_t *)"v", 1}};
    struct command_buf *b = write ? requests_write_buf(&node) : requests_read_buf(&node);
    long at = command_add(b, write ? (op % 2 == 0 ? OP_SET : OP_DEL) : OP_GET, 0, NULL, 0, args, write ? 2 : 1);
    fuzz_must(at >= 0, "memory suffices");
    int rc = write ? requests_write(&node, &conn, at, now_ms + 100) : requests_read(&node, &conn, at, now_ms + 100);
    conn.asked += rc == 0;
}

/* A head of u64s that may fit something under way. */
static size_t some_head(struct fuzz_input *in, uint8_t *buf, int n)
{
    for (int i = 0; i < n; i++) {
        uint8_t how = (uint8_t)fuzz_take(in, 1);
        little_put_u64(buf + 8 * i, how < 250 ? how % 6 : fuzz_take(in, 8));
    }
    return (size_t)n * 8;
}

static size_t some_commands(struct fuzz_input *in, struct command_buf *b)
{
    static const struct bytes args[2] = {{(const uint8_t *)"k", 1}, {(const uint8_t *)"v", 1}};
    size_t n = fuzz_take(in, 1) % 5;
    for (size_t i = 0; i < n; i++)
        command_add(b, (enum command_op)fuzz_take(in, 1), 0, NULL, 0, args, 1 + i % 2);
    return n;
}

static void forward_some(struct fuzz_input *in)
{
    struct command_buf b = {0};
    batch_begin(&b, fuzz_take(in, 1) % 4, fuzz_take(in, 1), fuzz_take(in, 1) % 4);
    size_t n = some_commands(in, &b);
    batch_set_count(b.base, (uint32_t)(n + (fuzz_take(in, 1) == 255)));
    uint8_t *copy = fuzz_copy(b.base, b.len);
    route_message(&node.requests, 2, PEER_FORWARD, copy, b.len);
    free(copy);
    command_buf_release(&b);
}

static void ask_reads(struct fuzz_input *in)
{
    struct command_buf b = {0};
    uint8_t head[16];
    some_head(in, head, 2);
    size_t n = some_commands(in, &b);
    if (fuzz_take(in, 1) < 200)
        little_put_u64(head + 8, n);
    uint8_t *frame = malloc(16 + b.len);
    fuzz_must(frame != NULL, "memory suffices");
    memcpy(frame, head, 16);
    if (b.len > 0)
        memcpy(frame + 16, b.base, b.len);
    route_message(&node.requests, 2, PEER_READS, frame, 16 + b.len);
    free(frame);
    command_buf_release(&b);
}

static void answer_some(struct fuzz_input *in, uint8_t kind)
{
    struct outcome_buf out = {0};
    uint8_t head[16];
    some_head(in, head, 2);
    for (size_t n = fuzz_take(in, 1) % 6; n > 0; n--)
        outcome_nil(&out);
    uint8_t *frame = malloc(16 + out.len);
    fuzz_must(frame != NULL, "memory suffices");
    memcpy(frame, head, 16);
    if (out.len > 0)
        memcpy(frame + 16, out.base, out.len);
    route_message(&node.requests, 2 + fuzz_take(in, 1) % 2, kind, frame, 16 + out.len);
    free(frame);
    outcome_buf_release(&out);
}

static void raw_frame(struct fuzz_input *in, uint8_t kind, size_t head_numbers)
{
    uint8_t frame[24 + 300];
    size_t len, at = some_head(in, frame, (int)head_numbers);
    uint8_t *bytes = fuzz_take_bytes(in, 300, &len);
    memcpy(frame + at, bytes, len);
    free(bytes);
    uint8_t *copy = fuzz_copy(frame, at + len);
    route_message(&node.requests, 2, kind, copy, at + len);
    free(copy);
}

static void change_route(struct fuzz_input *in)
{
    uint8_t how = (uint8_t)fuzz_take(in, 1);
    replica = (struct replica){.ready = (how & 1) != 0,
                               .link = (how & 2) != 0,
                               .reserve = (how & 4) != 0,
                               .leader = how / 8 % 4,
                               .term = how / 32,
                               .ticket = replica.ticket + 1};
    route_changed(&node.requests);
}

static void step(struct fuzz_input *in)
{
    uint8_t what = (uint8_t)fuzz_take(in, 1);
    switch (what % 14) {
    case 0:
        ask(true, what / 14);
        break;
    case 1:
        ask(false, 0);
        break;
    case 2:
        route_flush(&node.requests);
        break;
    case 3:
        change_route(in);
        break;
    case 4:
        forward_some(in);
        break;
    case 5:
        ask_reads(in);
        break;
    case 6:
        answer_some(in, PEER_ANSWER);
        break;
    case 7:
        answer_some(in, PEER_READ_ANSWERS);
        break;
    case 8:
        raw_frame(in, (uint8_t)fuzz_take(in, 1), 2);
        break;
    case 9:
        raw_frame(in, PEER_REFUSED, 3);
        break;
    case 10:
        route_read_ready(&node.requests, fuzz_take(in, 1), fuzz_take(in, 1) % 2 == 0);
        break;
    case 11:
        now_ms += fuzz_take(in, 1);
        requests_expire(&node.requests, now_ms);
        break;
    case 12:
        requests_skipped(&node.requests, fuzz_take(in, 1) % 8);
        break;
    default:
        route_gap(&node.requests);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_input in = {bytes, len};
    static struct store *store; /* Only read. */
    if (store == NULL) {
        store = fuzz_store_open(1 << 16, NULL);
        fuzz_dir_empty();
    }
    replica = (struct replica){.leader = 2, .term = 1, .link = true, .reserve = true};
    conn = (struct conn){0};
    now_ms = 1000;
    node.requests = (struct requests){.bytes_max = 1 << 20,
                                      .dirty_bytes_max = 1 << 20,
                                      .now_ms = get_now,
                                      .now_us = get_now,
                                      .clock_ms = get_now,
                                      .log = log_nothing};
    static struct listeners listeners;
    listeners_init(&listeners, store);
    node.requests.listeners = &listeners;
    requests_init(&node.requests, &replica, store, 1, 1);
    for (int i = 0; i < STEPS_MAX && in.left > 0; i++)
        step(&in);
    requests_stop(&node.requests);
    requests_expire(&node.requests, now_ms + 1000);
    fuzz_must(conn.answered == conn.asked, "every request is answered exactly once");
    requests_release(&node.requests);
    listeners_release(&listeners);
    fuzz_must(conn.refs == 0, "and its connection is let go");
    return 0;
}
