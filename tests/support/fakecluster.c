/* fakecluster.c - one queue of events (frames, jobs of workers, news of links) and the replicas' timers, in order of
 * virtual time. */
#include "tests/support/fakecluster.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONF_MAX FRAME_CONF_BYTES_MAX
#define TERMS_MAX 65536
#define PAYLOAD_MIN 16 /* Stamp and number. */
#define ELECTION_MS 300
#define HEARTBEAT_MS 30
#define CONNECT_MS 20
#define CUT_NOTICED_MS 800
#define OWNER_MS 30 /* To make or check a file, at most. */
#define STATE_NEW "state.new"

enum event_kind {
    EVENT_FRAME,
    EVENT_UP,
    EVENT_DOWN,
    EVENT_BREAK,
    EVENT_LOST,
    EVENT_WORK,
    EVENT_DONE,
    EVENT_MADE,
    EVENT_CHECK,
    EVENT_CHECKPOINT
};

struct event {
    uint64_t at_us, order;
    enum event_kind kind;
    uint64_t node, peer; /* Whom it is for, and of whom it is. */
    uint64_t life;       /* Of the node: an event for a process that is gone is dropped. */
    enum io_lane lane;
    uint8_t frame_kind;
    uint8_t *bytes;
    size_t len;
};

/* The connection on which one node sends to another. */
struct link {
    bool wanted, up, broken, connecting, cut;
    uint64_t last_at_us; /* Frames do not overtake each other. */
};

struct machine {
    uint64_t applied, term, chain;
    uint64_t conf_index;
    size_t conf_len;
    uint8_t conf[CONF_MAX];
};

struct read {
    uint64_t ticket, floor;
};

#define READS_MAX 256

struct node {
    struct fakecluster *c;
    uint64_t id, life, skew_ms;
    struct fakedisk *disk;
    struct io_ops ops;
    void (*disk_submit)(struct io *io, enum io_lane lane, struct io_job *job);
    struct replica *replica;
    uint64_t timer_ms; /* By its own clock; UINT64_MAX: none. */
    struct machine machine;
    uint64_t durable; /* Of it, in the file "state". */
    uint64_t commit;  /* Highest that its replica has said in this life. */
    struct read reads[READS_MAX];
    size_t n_reads;
    unsigned damage, slow_us;
    bool crash_installing, may_fail, failed, expelled;
    char why[300];
    uint64_t stamp;
};

struct entry {
    uint64_t term, hash, chain;
};

struct proposal {
    uint64_t by, life, index;
};

struct fakecluster {
    struct fakecluster_options options;
    struct fakecluster_weather weather;
    struct fakecluster_counts counts;
    struct node nodes[FAKECLUSTER_NODES_MAX + 1];
    struct link links[FAKECLUSTER_NODES_MAX + 1][FAKECLUSTER_NODES_MAX + 1]; /* from, to */
    uint64_t now_us, order, random_state;
    struct event *heap;
    size_t n_events, cap_events;
    struct entry *chronicle; /* What was applied at each index, by whoever came first. */
    size_t cap_chronicle;
    struct proposal *proposals;
    size_t cap_proposals;
    uint64_t leaders[TERMS_MAX];
    fakecluster_tap tap;
    void *tap_ctx;
    bool verbose;
    char trouble[400];
};

static struct fakecluster *the_cluster; /* The calls of struct io_ops have only the disk's io to go by. */

static struct node *node_of(const struct io *io)
{
    for (size_t id = 1; id <= the_cluster->options.n; id++)
        if (fakedisk_io(the_cluster->nodes[id].disk) == io)
            return &the_cluster->nodes[id];
    abort();
}

static struct node *node_at(const struct fakecluster *c, uint64_t id)
{
    assert(id >= 1 && id <= c->options.n);
    return (struct node *)&c->nodes[id];
}

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static void __attribute__((format(printf, 2, 3))) trouble(struct fakecluster *c, const char *format, ...)
{
    if (c->trouble[0] != '\0')
        return;
    va_list args;
    va_start(args, format);
    int n = snprintf(c->trouble, sizeof c->trouble, "at %llu ms: ", (unsigned long long)(c->now_us / 1000));
    vsnprintf(c->trouble + n, sizeof c->trouble - (size_t)n, format, args);
    va_end(args);
}

static void __attribute__((format(printf, 2, 3))) tell(const struct fakecluster *c, const char *format, ...)
{
    if (!c->verbose)
        return;
    va_list args;
    va_start(args, format);
    printf("%9.3f ", (double)c->now_us / 1000);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

/* splitmix64 */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t roll(struct fakecluster *c, uint64_t below)
{
    uint64_t z = mix(c->random_state += 0x9e3779b97f4a7c15u);
    return below > 0 ? z % below : 0;
}

static uint64_t hash_bytes(uint64_t h, const uint8_t *bytes, size_t len)
{
    while (len >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
        bytes += 8;
        len -= 8;
    }
    for (; len > 0; len--)
        h = (h ^ *bytes++) * 0x100000001b3u;
    return mix(h);
}

/* ---- The queue ---- */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void sift_up(struct event *heap, size_t at)
{
    while (at > 0 && earlier(&heap[at], &heap[(at - 1) / 2])) {
        struct event e = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = e;
        at = (at - 1) / 2;
    }
}

static void sift_down(struct event *heap, size_t n)
{
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++)
            if (earlier(&heap[child], &heap[least]))
                least = child;
        if (least == at)
            return;
        struct event e = heap[at];
        heap[at] = heap[least];
        heap[least] = e;
        at = least;
    }
}

static void push(struct fakecluster *c, struct event e, uint64_t after_us)
{
    if (c->n_events == c->cap_events) {
        c->cap_events = c->cap_events == 0 ? 1024 : c->cap_events * 2;
        c->heap = must(realloc(c->heap, c->cap_events * sizeof *c->heap));
    }
    e.at_us = c->now_us + after_us;
    e.order = c->order++;
    e.life = c->nodes[e.node].life;
    c->heap[c->n_events++] = e;
    sift_up(c->heap, c->n_events - 1);
}

static struct event pop(struct fakecluster *c)
{
    struct event e = c->heap[0];
    c->heap[0] = c->heap[--c->n_events];
    sift_down(c->heap, c->n_events);
    return e;
}

/* ---- Links ---- */

static bool link_possible(const struct fakecluster *c, uint64_t from, uint64_t to)
{
    const struct link *l = &c->links[from][to];
    return l->wanted && !l->cut && c->nodes[from].replica != NULL && c->nodes[to].replica != NULL;
}

static void link_consider(struct fakecluster *c, uint64_t from, uint64_t to)
{
    struct link *l = &c->links[from][to];
    if (l->up || l->connecting || !link_possible(c, from, to))
        return;
    l->connecting = true;
    push(c, (struct event){.kind = EVENT_UP, .node = from, .peer = to}, roll(c, CONNECT_MS * 1000));
}

static void link_break(struct fakecluster *c, uint64_t from, uint64_t to)
{
    struct link *l = &c->links[from][to];
    if (!l->up || l->broken)
        return;
    l->broken = true;
    push(c, (struct event){.kind = EVENT_DOWN, .node = from, .peer = to}, roll(c, 2000));
}

/* As the greeting of a real link: who is turned away is told why, and tries again. */
static bool link_greets(struct fakecluster *c, uint64_t from, uint64_t to)
{
    struct replica *caller = c->nodes[from].replica, *answerer = c->nodes[to].replica;
    struct frame_greeting hello = {.kind = FRAME_HELLO, .from = from, .to = to, .start = replica_start(caller)};
    struct frame_greeting refused = {.kind = FRAME_REFUSED, .from = to, .to = from};
    replica_introduce(caller, &hello);
    refused.code = (uint16_t)replica_judge(answerer, &hello, refused.text);
    if (refused.code == 0)
        return true;
    replica_introduce(answerer, &refused);
    replica_refused(caller, to, &refused);
    c->links[from][to].connecting = true;
    push(c, (struct event){.kind = EVENT_UP, .node = from, .peer = to}, CONNECT_MS * 1000 + roll(c, CONNECT_MS * 1000));
    return false;
}

static void link_is_up(struct fakecluster *c, uint64_t from, uint64_t to)
{
    struct link *l = &c->links[from][to];
    l->connecting = false;
    if (!link_possible(c, from, to) || !link_greets(c, from, to))
        return;
    l->up = true;
    l->broken = false;
    replica_link(c->nodes[from].replica, to, true);
}

static void link_is_down(struct fakecluster *c, uint64_t from, uint64_t to)
{
    struct link *l = &c->links[from][to];
    l->up = l->broken = false;
    replica_link(c->nodes[from].replica, to, false);
    link_consider(c, from, to);
}

/* ---- The calls of struct io_ops that are not the disk's ---- */

static uint64_t clock_ms(const struct node *n)
{
    return n->c->now_us / 1000 + n->skew_ms;
}

static uint64_t io_now_ms(struct io *io)
{
    return clock_ms(node_of(io));
}

static uint64_t io_now_us(struct io *io)
{
    struct node *n = node_of(io);
    return n->c->now_us + n->skew_ms * 1000;
}

static void io_timer(struct io *io, uint64_t at_ms)
{
    node_of(io)->timer_ms = at_ms;
}

static void io_submit(struct io *io, enum io_lane lane, struct io_job *job)
{
    struct node *n = node_of(io);
    n->disk_submit(io, lane, job);
    push(n->c, (struct event){.kind = EVENT_WORK, .node = n->id, .lane = lane},
         n->slow_us + n->c->weather.disk_us + roll(n->c, n->c->weather.disk_spread_us));
}

static uint8_t *gather(const void *head, size_t head_len, const struct io_slice *slices, size_t n, size_t *ret_len)
{
    size_t len = head_len;
    for (size_t k = 0; k < n; k++)
        len += slices[k].len;
    uint8_t *bytes = must(malloc(len + 1)), *at = bytes + head_len;
    memcpy(bytes, head, head_len);
    for (size_t k = 0; k < n; k++) {
        memcpy(at, slices[k].blob->bytes + slices[k].offset, slices[k].len);
        at += slices[k].len;
    }
    *ret_len = len;
    return bytes;
}

/* Takes bytes. */
static void fly(struct fakecluster *c, uint64_t from, uint64_t to, uint8_t kind, uint8_t *bytes, size_t len,
                bool in_order)
{
    struct link *l = &c->links[from][to];
    uint64_t after = c->weather.delay_us + roll(c, c->weather.delay_spread_us);
    if (!in_order)
        after += roll(c, 20 * (uint64_t)(c->weather.delay_us + c->weather.delay_spread_us));
    else if (c->now_us + after <= l->last_at_us)
        after = l->last_at_us + 1 - c->now_us;
    if (in_order)
        l->last_at_us = c->now_us + after;
    push(c,
         (struct event){.kind = EVENT_FRAME, .node = to, .peer = from, .frame_kind = kind, .bytes = bytes, .len = len},
         after);
}

static void io_send(struct io *io, uint64_t peer, uint8_t kind, const void *head, size_t head_len,
                    const struct io_slice *slices, size_t n_slices)
{
    struct node *n = node_of(io);
    struct fakecluster *c = n->c;
    assert(peer >= 1 && peer <= c->options.n && peer != n->id);
    struct link *l = &c->links[n->id][peer];
    if (!l->up || l->broken || l->cut || roll(c, 1000000) < c->weather.loss_ppm)
        return;
    size_t len = 0;
    uint8_t *bytes = gather(head, head_len, slices, n_slices, &len);
    if (kind < FRAME_SNAPSHOT_CHUNK && kind != FRAME_INSTALL && roll(c, 1000000) < c->weather.twice_ppm) {
        uint8_t *again = must(malloc(len + 1));
        memcpy(again, bytes, len);
        fly(c, n->id, peer, kind, again, len, false);
    }
    fly(c, n->id, peer, kind, bytes, len, true);
}

static void io_peer(struct io *io, uint64_t peer, const char *address)
{
    struct node *n = node_of(io);
    n->c->links[n->id][peer].wanted = address != NULL;
    if (address == NULL) {
        n->c->links[n->id][peer].up = false;
        link_break(n->c, peer, n->id);
    }
    link_consider(n->c, n->id, peer);
}

static size_t io_backlog(struct io *io, uint64_t peer)
{
    const struct node *n = node_of(io);
    return n->c->links[n->id][peer].up ? 0 : SIZE_MAX;
}

/* ---- The machine and its file ---- */

struct state_head {
    uint64_t applied, term, chain, conf_index, conf_len;
};

/* The file: head, conf, a run of bytes that follows from the head, a hash of all that. */
static uint8_t *state_encode(const struct fakecluster *c, const struct machine *m, size_t *ret_len)
{
    struct state_head head = {m->applied, m->term, m->chain, m->conf_index, m->conf_len};
    size_t filler = c->options.state_bytes, len = sizeof head + m->conf_len + filler + 8;
    uint8_t *bytes = must(malloc(len)), *at = bytes;
    memcpy(at, &head, sizeof head);
    at += sizeof head;
    memcpy(at, m->conf, m->conf_len);
    at += m->conf_len;
    for (size_t k = 0; k < filler; k++)
        at[k] = (uint8_t)(m->chain >> (k % 8 * 8)) ^ (uint8_t)(k >> 3);
    uint64_t sum = hash_bytes(1, bytes, len - 8);
    memcpy(bytes + len - 8, &sum, 8);
    *ret_len = len;
    return bytes;
}

static bool state_decode(const uint8_t *bytes, size_t len, struct machine *ret)
{
    struct state_head head;
    uint64_t sum;
    if (len < sizeof head + 8)
        return false;
    memcpy(&head, bytes, sizeof head);
    memcpy(&sum, bytes + len - 8, 8);
    if (sum != hash_bytes(1, bytes, len - 8) || head.conf_len > CONF_MAX || sizeof head + head.conf_len + 8 > len)
        return false;
    *ret = (struct machine){head.applied, head.term, head.chain, head.conf_index, (size_t)head.conf_len, {0}};
    memcpy(ret->conf, bytes + sizeof head, ret->conf_len);
    return true;
}

static int state_write(struct node *n, const char *name)
{
    struct io *io = fakedisk_io(n->disk);
    size_t len = 0;
    uint8_t *bytes = state_encode(n->c, &n->machine, &len);
    struct iovec iov = {bytes, len};
    struct io_file *f = NULL;
    io->ops->unlink(io, name);
    int rc = io->ops->open(io, name, IO_READ | IO_WRITE | IO_CREATE, &f);
    if (rc == 0)
        rc = io->ops->pwritev(f, &iov, 1, 0);
    if (rc == 0)
        rc = io->ops->sync(f);
    if (f != NULL)
        io->ops->close(f);
    free(bytes);
    return rc;
}

static int state_replace(struct node *n, const char *with)
{
    struct io *io = fakedisk_io(n->disk);
    int rc = io->ops->rename(io, with, FAKECLUSTER_STATE);
    return rc == 0 ? io->ops->sync_dir(io) : rc;
}

/* false: there is none. */
static bool state_load(struct node *n, const char *name)
{
    size_t len = 0;
    const uint8_t *bytes = fakedisk_bytes(n->disk, name, &len);
    struct machine m;
    if (bytes == NULL || !state_decode(bytes, len, &m))
        return false;
    if (m.applied > n->c->counts.applied || n->c->chronicle[m.applied].chain != m.chain)
        trouble(n->c, "file %s of node %llu is no state that ever was", name, (unsigned long long)n->id);
    n->machine = m;
    n->durable = m.applied;
    return true;
}

static void checkpoint(struct node *n)
{
    struct machine m = n->machine;
    if (m.applied == n->durable || state_write(n, STATE_NEW) != 0 || state_replace(n, STATE_NEW) != 0)
        return; /* Nothing new, or the power went. */
    n->durable = m.applied;
    replica_checkpoint(n->replica, m.applied, m.term);
}

/* ---- The owner ---- */

static void owner_stamp(void *ctx, uint8_t *payload, size_t len)
{
    struct node *n = ctx;
    assert(len >= PAYLOAD_MIN);
    n->stamp++;
    memcpy(payload, &n->stamp, sizeof n->stamp);
}

static void count_applied(struct fakecluster *c, const struct node *n, uint64_t index, const uint8_t *payload)
{
    uint64_t number;
    memcpy(&number, payload + 8, sizeof number);
    if (number >= c->counts.proposed) {
        trouble(c, "entry %llu was never proposed", (unsigned long long)index);
        return;
    }
    struct proposal *p = &c->proposals[number];
    if (p->index != 0 && p->index != index)
        trouble(c, "a proposal is at %llu and at %llu", (unsigned long long)p->index, (unsigned long long)index);
    p->index = index;
    if (p->by == n->id && p->life == n->life)
        c->counts.acked++;
}

/* Write the first application of an index down, hold every other against it. */
static void record(struct fakecluster *c, const struct node *n, uint64_t index, uint64_t term, uint64_t hash)
{
    if (index + 1 >= c->cap_chronicle) {
        c->cap_chronicle *= 2;
        c->chronicle = must(realloc(c->chronicle, c->cap_chronicle * sizeof *c->chronicle));
    }
    struct entry *e = &c->chronicle[index];
    if (index == c->counts.applied + 1) {
        *e = (struct entry){term, hash, mix(c->chronicle[index - 1].chain ^ hash)};
        c->counts.applied = index;
    } else if (e->term != term || e->hash != hash) {
        trouble(c, "node %llu applies another entry at %llu (term %llu, not %llu)", (unsigned long long)n->id,
                (unsigned long long)index, (unsigned long long)term, (unsigned long long)e->term);
    }
}

static void owner_apply(void *ctx, uint64_t index, uint64_t term, enum log_type type, const uint8_t *payload,
                        size_t len)
{
    struct node *n = ctx;
    struct machine *m = &n->machine;
    if (index != m->applied + 1) {
        trouble(n->c, "node %llu applies %llu after %llu", (unsigned long long)n->id, (unsigned long long)index,
                (unsigned long long)m->applied);
        return;
    }
    record(n->c, n, index, term, hash_bytes((uint64_t)type, payload, len));
    m->chain = n->c->chronicle[index].chain;
    m->applied = index;
    m->term = term;
    if (type == LOG_COMMAND)
        count_applied(n->c, n, index, payload);
    if (type != LOG_CHANGE)
        return;
    assert(len <= CONF_MAX);
    m->conf_index = index;
    m->conf_len = len;
    memcpy(m->conf, payload, len);
}

static void owner_changed(void *ctx)
{
    struct node *n = ctx;
    struct replica_status s;
    replica_status(n->replica, &s);
    tell(n->c, "%llu: %s%s term %llu leader %llu applied %llu last %llu", (unsigned long long)n->id,
         s.role == REPLICA_LEADER      ? "LEADER"
         : s.role == REPLICA_CANDIDATE ? "candidate"
                                       : "follower",
         s.ready ? " ready" : "", (unsigned long long)s.term, (unsigned long long)s.leader,
         (unsigned long long)s.applied, (unsigned long long)s.last);
    if (s.role != REPLICA_LEADER || s.term >= TERMS_MAX) /* Terms like that come from damaged frames. */
        return;
    uint64_t *leader = &n->c->leaders[s.term];
    if (*leader != 0 && *leader != n->id)
        trouble(n->c, "term %llu has two leaders", (unsigned long long)s.term);
    *leader = n->id;
}

static void owner_message(void *ctx, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len)
{
    (void)ctx, (void)from, (void)kind, (void)payload, (void)len;
}

static void owner_link(void *ctx, uint64_t peer, bool up)
{
    const struct node *n = ctx;
    tell(n->c, "%llu: link to %llu %s", (unsigned long long)n->id, (unsigned long long)peer, up ? "up" : "down");
}

static void owner_read_ready(void *ctx, uint64_t ticket, bool ok)
{
    struct node *n = ctx;
    size_t kept = 0;
    for (size_t k = 0; k < n->n_reads; k++) {
        const struct read *r = &n->reads[k];
        if (r->ticket > ticket) {
            n->reads[kept++] = *r;
            continue;
        }
        n->c->counts.reads_answered += ok;
        n->c->counts.reads_refused += !ok;
        if (ok && n->machine.applied < r->floor)
            trouble(n->c, "node %llu answers a read from %llu, but %llu had been applied when it began",
                    (unsigned long long)n->id, (unsigned long long)n->machine.applied, (unsigned long long)r->floor);
    }
    n->n_reads = kept;
}

static void owner_snapshot_make(void *ctx)
{
    struct node *n = ctx;
    push(n->c, (struct event){.kind = EVENT_MADE, .node = n->id}, roll(n->c, OWNER_MS * 1000));
}

static void owner_snapshot_check(void *ctx)
{
    struct node *n = ctx;
    push(n->c, (struct event){.kind = EVENT_CHECK, .node = n->id}, roll(n->c, OWNER_MS * 1000));
}

static int owner_snapshot_install(void *ctx)
{
    struct node *n = ctx;
    uint64_t before = n->machine.applied;
    if (!state_load(n, REPLICA_INCOMING_FILE) || state_replace(n, REPLICA_INCOMING_FILE) != 0)
        return -1;
    if (n->machine.applied <= before)
        trouble(n->c, "node %llu goes back from %llu to %llu", (unsigned long long)n->id, (unsigned long long)before,
                (unsigned long long)n->machine.applied);
    n->c->counts.snapshots_installed++;
    if (n->crash_installing)
        fakedisk_power_off(n->disk);
    n->crash_installing = false;
    return 0;
}

static void owner_failed(void *ctx, const char *why)
{
    struct node *n = ctx;
    n->failed = true;
    snprintf(n->why, sizeof n->why, "%s", why);
    tell(n->c, "%llu: FAILED: %s", (unsigned long long)n->id, why);
    if (fakedisk_powered(n->disk) && !n->may_fail)
        trouble(n->c, "node %llu failed: %s", (unsigned long long)n->id, why);
}

static void owner_expelled(void *ctx, const char *why)
{
    struct node *n = ctx;
    n->expelled = n->failed = true;
    snprintf(n->why, sizeof n->why, "%s", why);
    tell(n->c, "%llu: EXPELLED: %s", (unsigned long long)n->id, why);
}

static void owner_log(void *ctx, int level, const char *text)
{
    const struct node *n = ctx;
    tell(n->c, "%llu: [%d] %s", (unsigned long long)n->id, level, text);
}

static struct replica_owner owner_of(struct node *n)
{
    return (struct replica_owner){.ctx = n,
                                  .stamp = owner_stamp,
                                  .apply = owner_apply,
                                  .changed = owner_changed,
                                  .message = owner_message,
                                  .link = owner_link,
                                  .read_ready = owner_read_ready,
                                  .snapshot_make = owner_snapshot_make,
                                  .snapshot_check = owner_snapshot_check,
                                  .snapshot_install = owner_snapshot_install,
                                  .failed = owner_failed,
                                  .expelled = owner_expelled,
                                  .log = owner_log};
}

static void snapshot_made(struct node *n)
{
    if (n->machine.applied == 0 || state_write(n, REPLICA_SNAPSHOT_FILE) != 0) {
        replica_snapshot_made(n->replica, NULL);
        return;
    }
    size_t len = 0;
    fakedisk_bytes(n->disk, REPLICA_SNAPSHOT_FILE, &len);
    struct replica_snapshot s = {.index = n->machine.applied,
                                 .term = n->machine.term,
                                 .conf_index = n->machine.conf_index,
                                 .bytes = len,
                                 .conf = n->machine.conf,
                                 .conf_len = n->machine.conf_len};
    n->c->counts.snapshots_made++;
    replica_snapshot_made(n->replica, &s);
}

static void snapshot_check(struct node *n)
{
    size_t len = 0;
    uint8_t *bytes = fakedisk_bytes(n->disk, REPLICA_INCOMING_FILE, &len);
    if (bytes != NULL && n->damage > 0) {
        n->damage--;
        n->c->counts.damaged++;
        bytes[roll(n->c, len)] ^= (uint8_t)(1u << roll(n->c, 8));
    }
    struct machine m;
    replica_snapshot_checked(n->replica, bytes != NULL && state_decode(bytes, len, &m));
}

/* ---- Processes ---- */

static void set_members(const struct fakecluster *c, struct replica_member *members)
{
    memset(members, 0, c->options.founders * sizeof *members);
    for (size_t k = 0; k < c->options.founders; k++) {
        members[k].id = k + 1;
        members[k].voter = true;
        snprintf(members[k].address, sizeof members[k].address, "node%zu:7000", k + 1);
    }
}

int fakecluster_start(struct fakecluster *c, uint64_t id, char *error)
{
    struct node *n = node_at(c, id);
    struct replica_member members[FAKECLUSTER_NODES_MAX];
    char words[256] = "";
    assert(n->replica == NULL);
    set_members(c, members);
    n->life++;
    n->machine = (struct machine){0};
    n->durable = n->commit = 0;
    n->failed = false;
    n->timer_ms = UINT64_MAX;
    state_load(n, FAKECLUSTER_STATE);
    struct replica_options o = {.io = fakedisk_io(n->disk),
                                .id = id,
                                .cluster_id = "a cluster of us",
                                .members = members,
                                .n_members = c->options.founders,
                                .joins = id > c->options.founders,
                                .election_timeout_ms = ELECTION_MS,
                                .heartbeat_ms = HEARTBEAT_MS,
                                .segment_bytes = 64 << 10,
                                .log_memory_bytes = c->options.log_memory_bytes,
                                .keep_entries = c->options.keep_entries,
                                .keep_bytes = c->options.keep_bytes,
                                .applied = n->machine.applied,
                                .applied_term = n->machine.term,
                                .conf_index = n->machine.conf_index,
                                .conf = n->machine.conf,
                                .conf_len = n->machine.conf_len,
                                .owner = owner_of(n)};
    int rc = replica_open(&o, words, &n->replica);
    tell(c, "%llu: start from %llu: %d %s", (unsigned long long)id, (unsigned long long)n->machine.applied, rc,
         rc != 0 ? words : "");
    if (error != NULL)
        snprintf(error, 256, "%s", words);
    if (rc != 0) {
        n->replica = NULL;
        fakedisk_run_all(n->disk);
        return rc;
    }
    for (uint64_t other = 1; other <= c->options.n; other++)
        link_consider(c, other, id);
    if (c->options.checkpoint_ms > 0)
        push(c, (struct event){.kind = EVENT_CHECKPOINT, .node = id}, roll(c, c->options.checkpoint_ms * 1000));
    return 0;
}

/* Its links end; those of others to it break, and whoever can hear of it learns that the process is gone. */
static void end_links(struct fakecluster *c, uint64_t id, bool process)
{
    for (uint64_t other = 1; other <= c->options.n; other++) {
        struct link *out = &c->links[id][other];
        bool heard = out->up && !out->cut && process;
        out->wanted = out->up = out->broken = out->connecting = false;
        if (other == id)
            continue;
        link_break(c, other, id);
        if (heard && c->nodes[other].replica != NULL)
            push(c, (struct event){.kind = EVENT_LOST, .node = other, .peer = id}, roll(c, 1000));
    }
}

static void end(struct fakecluster *c, uint64_t id, bool process)
{
    struct node *n = node_at(c, id);
    if (n->replica == NULL)
        return;
    tell(c, "%llu: %s at %llu", (unsigned long long)id, process ? "killed" : "crashes",
         (unsigned long long)n->machine.applied);
    replica_stop(n->replica);
    if (roll(c, 2) == 0) /* Some of what is under way gets done, the last of it in part. */
        fakedisk_fail_at(n->disk, fakedisk_calls(n->disk) + roll(c, 6), FAKEDISK_POWER);
    else
        fakedisk_power_off(n->disk);
    fakedisk_run_all(n->disk);
    fakedisk_power_off(n->disk);
    replica_close(n->replica);
    n->replica = NULL;
    n->life++;
    n->n_reads = 0;
    n->timer_ms = UINT64_MAX;
    if (process)
        fakedisk_kill(n->disk);
    else
        fakedisk_crash(n->disk);
    c->counts.crashes++;
    end_links(c, id, process);
}

void fakecluster_crash(struct fakecluster *c, uint64_t id)
{
    end(c, id, false);
}

void fakecluster_kill(struct fakecluster *c, uint64_t id)
{
    end(c, id, true);
}

void fakecluster_start_all(struct fakecluster *c)
{
    char error[256];
    for (uint64_t id = 1; id <= c->options.n; id++)
        if (c->nodes[id].replica == NULL && !c->nodes[id].expelled && fakecluster_start(c, id, error) != 0)
            trouble(c, "node %llu does not start: %s", (unsigned long long)id, error);
}

/* ---- Events ---- */

/* After anything that a node was told. */
static void look_after(struct node *n)
{
    if (n->replica == NULL)
        return;
    if (n->failed || !fakedisk_powered(n->disk)) {
        end(n->c, n->id, false);
        return;
    }
    replica_reads_flush(n->replica);
}

static void watch_commit(struct node *n)
{
    struct replica_status s;
    replica_status(n->replica, &s);
    if (s.commit < n->commit)
        trouble(n->c, "the commit index of node %llu goes back from %llu to %llu", (unsigned long long)n->id,
                (unsigned long long)n->commit, (unsigned long long)s.commit);
    n->commit = s.commit;
}

static void frame_arrives(struct fakecluster *c, const struct event *e)
{
    if (c->links[e->peer][e->node].cut)
        return;
    if (c->tap != NULL && !c->tap(c->tap_ctx, e->peer, e->node, e->frame_kind, e->bytes, e->len))
        return;
    c->counts.frames++;
    struct node *n = &c->nodes[e->node];
    replica_receive(n->replica, e->peer, e->frame_kind, e->bytes, e->len);
    watch_commit(n);
}

static void work(struct fakecluster *c, const struct event *e)
{
    if (fakedisk_work_one(c->nodes[e->node].disk, e->lane))
        push(c, (struct event){.kind = EVENT_DONE, .node = e->node}, roll(c, 100));
}

static void checkpoint_again(struct fakecluster *c, uint64_t id)
{
    checkpoint(node_at(c, id));
    push(c, (struct event){.kind = EVENT_CHECKPOINT, .node = id},
         c->options.checkpoint_ms * 500 + roll(c, c->options.checkpoint_ms * 1000));
}

static void handle(struct fakecluster *c, const struct event *e)
{
    struct node *n = node_at(c, e->node);
    if (n->replica == NULL || n->life != e->life)
        return;
    switch (e->kind) {
    case EVENT_FRAME:
        frame_arrives(c, e);
        break;
    case EVENT_UP:
        link_is_up(c, e->node, e->peer);
        break;
    case EVENT_DOWN:
        link_is_down(c, e->node, e->peer);
        break;
    case EVENT_BREAK:
        if (c->links[e->node][e->peer].cut)
            link_break(c, e->node, e->peer);
        break;
    case EVENT_LOST:
        replica_lost(n->replica, e->peer);
        break;
    case EVENT_WORK:
        work(c, e);
        break;
    case EVENT_DONE:
        fakedisk_deliver(n->disk);
        break;
    case EVENT_MADE:
        snapshot_made(n);
        break;
    case EVENT_CHECK:
        snapshot_check(n);
        break;
    case EVENT_CHECKPOINT:
        checkpoint_again(c, e->node);
        break;
    }
    look_after(n);
}

static struct node *next_timer(struct fakecluster *c, uint64_t *ret_at_us)
{
    struct node *next = NULL;
    *ret_at_us = UINT64_MAX;
    for (uint64_t id = 1; id <= c->options.n; id++) {
        struct node *n = &c->nodes[id];
        if (n->replica == NULL || n->timer_ms == UINT64_MAX)
            continue;
        uint64_t at_us = n->timer_ms > clock_ms(n) ? (n->timer_ms - n->skew_ms) * 1000 : c->now_us;
        if (at_us >= *ret_at_us)
            continue;
        *ret_at_us = at_us;
        next = n;
    }
    return next;
}

/* The next thing that happens not after until_us. false: nothing does, and it is that time now. */
static bool happen(struct fakecluster *c, uint64_t until_us)
{
    uint64_t timer_us, event_us = c->n_events > 0 ? c->heap[0].at_us : UINT64_MAX;
    struct node *n = next_timer(c, &timer_us);
    if (event_us > until_us && timer_us > until_us) {
        c->now_us = until_us;
        return false;
    }
    if (event_us <= timer_us) {
        struct event e = pop(c);
        c->now_us = e.at_us;
        handle(c, &e);
        free(e.bytes);
        return true;
    }
    c->now_us = timer_us;
    n->timer_ms = UINT64_MAX;
    replica_timer(n->replica);
    look_after(n);
    return true;
}

void fakecluster_run(struct fakecluster *c, uint64_t ms)
{
    uint64_t until_us = c->now_us + ms * 1000;
    while (c->trouble[0] == '\0' && happen(c, until_us))
        continue;
}

bool fakecluster_until(struct fakecluster *c, bool (*cond)(struct fakecluster *c, void *ctx), void *ctx, uint64_t ms)
{
    uint64_t until_us = c->now_us + ms * 1000;
    bool more = true;
    while (more && c->trouble[0] == '\0') {
        if (cond(c, ctx))
            return true;
        more = happen(c, until_us);
    }
    return cond(c, ctx);
}

bool fakecluster_has_leader(struct fakecluster *c, void *ctx)
{
    (void)ctx;
    return fakecluster_leader(c) != 0;
}

bool fakecluster_agrees(struct fakecluster *c, void *ctx)
{
    (void)ctx;
    struct replica_status s;
    uint64_t leader = fakecluster_leader(c);
    if (leader == 0)
        return false;
    replica_status(c->nodes[leader].replica, &s);
    bool agree = s.applied == s.last;
    for (uint64_t id = 1; id <= c->options.n && agree; id++) {
        struct node *n = &c->nodes[id];
        agree = n->replica != NULL && n->machine.applied == s.applied && replica_leader(n->replica) == leader &&
                n->n_reads == 0;
    }
    if (agree && s.applied != c->counts.applied)
        trouble(c, "all agree on %llu, but %llu had been applied", (unsigned long long)s.applied,
                (unsigned long long)c->counts.applied);
    return agree;
}

/* ---- Users and tests ---- */

uint64_t fakecluster_leader(struct fakecluster *c)
{
    uint64_t best = 0, term = 0;
    for (uint64_t id = 1; id <= c->options.n; id++) {
        const struct replica *r = c->nodes[id].replica;
        if (r == NULL || !replica_ready(r) || replica_term(r) <= term)
            continue;
        best = id;
        term = replica_term(r);
    }
    return best;
}

int fakecluster_propose(struct fakecluster *c, uint64_t id, size_t len)
{
    struct node *n = node_at(c, id);
    if (n->replica == NULL || !replica_ready(n->replica))
        return REPLICA_ENOTLEADER;
    uint64_t number = c->counts.proposed++;
    if (number == c->cap_proposals) {
        c->cap_proposals *= 2;
        c->proposals = must(realloc(c->proposals, c->cap_proposals * sizeof *c->proposals));
    }
    c->proposals[number] = (struct proposal){.by = id, .life = n->life};
    uint8_t *payload = must(malloc(len));
    assert(len >= PAYLOAD_MIN);
    for (size_t k = 0; k < len; k++)
        payload[k] = (uint8_t)(number * 31 + k);
    memcpy(payload + 8, &number, sizeof number);
    struct blob *blob = blob_own(payload, len);
    if (blob == NULL) {
        free(payload);
        return REPLICA_ENOMEM;
    }
    int rc = replica_propose(n->replica, blob);
    blob_unref(blob);
    look_after(n);
    return rc;
}

int fakecluster_read(struct fakecluster *c, uint64_t id)
{
    struct node *n = node_at(c, id);
    struct read r = {.floor = c->counts.applied};
    if (n->replica == NULL || n->n_reads == READS_MAX)
        return REPLICA_ENOTLEADER;
    int rc = replica_read(n->replica, &r.ticket);
    if (rc != 0)
        return rc;
    c->counts.reads++;
    n->reads[n->n_reads++] = r;
    look_after(n);
    return 0;
}

void fakecluster_checkpoint(struct fakecluster *c, uint64_t id)
{
    struct node *n = node_at(c, id);
    if (n->replica == NULL)
        return;
    checkpoint(n);
    look_after(n);
}

void fakecluster_damage(struct fakecluster *c, uint64_t id, unsigned n)
{
    node_at(c, id)->damage = n;
}

void fakecluster_crash_installing(struct fakecluster *c, uint64_t id)
{
    node_at(c, id)->crash_installing = true;
}

void fakecluster_slow(struct fakecluster *c, uint64_t id, unsigned us)
{
    node_at(c, id)->slow_us = us;
}

void fakecluster_may_fail(struct fakecluster *c, uint64_t id, bool may)
{
    node_at(c, id)->may_fail = may;
}

bool fakecluster_expelled(const struct fakecluster *c, uint64_t id)
{
    return node_at(c, id)->expelled;
}

const char *fakecluster_failed_why(const struct fakecluster *c, uint64_t id)
{
    return node_at(c, id)->why;
}

void fakecluster_cut(struct fakecluster *c, uint64_t from, uint64_t to, bool cut)
{
    struct link *l = &c->links[from][to];
    if (from == to || l->cut == cut)
        return;
    l->cut = cut;
    if (cut && c->nodes[from].replica != NULL)
        push(c, (struct event){.kind = EVENT_BREAK, .node = from, .peer = to}, roll(c, CUT_NOTICED_MS * 1000));
    link_consider(c, from, to);
}

void fakecluster_isolate(struct fakecluster *c, uint64_t id, bool cut)
{
    for (uint64_t other = 1; other <= c->options.n; other++) {
        fakecluster_cut(c, id, other, cut);
        fakecluster_cut(c, other, id, cut);
    }
}

void fakecluster_heal(struct fakecluster *c)
{
    for (uint64_t id = 1; id <= c->options.n; id++)
        fakecluster_isolate(c, id, false);
}

static void calm_weather(struct fakecluster *c)
{
    c->weather =
        (struct fakecluster_weather){.delay_us = 50, .delay_spread_us = 100, .disk_us = 100, .disk_spread_us = 200};
}

void fakecluster_calm(struct fakecluster *c)
{
    fakecluster_heal(c);
    calm_weather(c);
    for (uint64_t id = 1; id <= c->options.n; id++) {
        struct node *n = &c->nodes[id];
        n->slow_us = n->damage = 0;
        n->crash_installing = false;
        fakedisk_fail_at(n->disk, UINT64_MAX, FAKEDISK_POWER);
    }
    fakecluster_start_all(c);
}

void fakecluster_break(struct fakecluster *c, uint64_t from, uint64_t to)
{
    link_break(c, from, to);
}

void fakecluster_set_tap(struct fakecluster *c, fakecluster_tap tap, void *ctx)
{
    c->tap = tap;
    c->tap_ctx = ctx;
}

bool fakecluster_runs(const struct fakecluster *c, uint64_t id)
{
    return node_at(c, id)->replica != NULL;
}

struct replica *fakecluster_replica(struct fakecluster *c, uint64_t id)
{
    return node_at(c, id)->replica;
}

struct fakedisk *fakecluster_disk(struct fakecluster *c, uint64_t id)
{
    return node_at(c, id)->disk;
}

uint64_t fakecluster_applied(const struct fakecluster *c, uint64_t id)
{
    return node_at(c, id)->machine.applied;
}

struct fakecluster_weather *fakecluster_weather(struct fakecluster *c)
{
    return &c->weather;
}

const struct fakecluster_counts *fakecluster_counts(const struct fakecluster *c)
{
    return &c->counts;
}

const char *fakecluster_trouble(const struct fakecluster *c)
{
    return c->trouble[0] != '\0' ? c->trouble : NULL;
}

uint64_t fakecluster_random(struct fakecluster *c, uint64_t below)
{
    return roll(c, below);
}

uint64_t fakecluster_now_ms(const struct fakecluster *c)
{
    return c->now_us / 1000;
}

/* ---- Life ---- */

static void node_init(struct fakecluster *c, uint64_t id)
{
    struct node *n = &c->nodes[id];
    n->c = c;
    n->id = id;
    n->skew_ms = roll(c, 1000000);
    n->timer_ms = UINT64_MAX;
    n->disk = fakedisk_new(roll(c, 0x7fffffff));
    struct io *io = fakedisk_io(n->disk);
    n->disk_submit = io->ops->submit;
    n->ops = *io->ops;
    n->ops.submit = io_submit;
    n->ops.now_ms = io_now_ms;
    n->ops.now_us = io_now_us;
    n->ops.timer = io_timer;
    n->ops.send = io_send;
    n->ops.peer = io_peer;
    n->ops.backlog = io_backlog;
    io->ops = &n->ops;
}

static void set_defaults(struct fakecluster *c)
{
    struct fakecluster_options *o = &c->options;
    o->keep_entries = o->keep_entries > 0 ? o->keep_entries : 1000;
    o->keep_bytes = o->keep_bytes > 0 ? o->keep_bytes : 1 << 20;
    o->log_memory_bytes = o->log_memory_bytes > 0 ? o->log_memory_bytes : 64 << 10;
    calm_weather(c);
}

struct fakecluster *fakecluster_new(const struct fakecluster_options *options)
{
    struct fakecluster *c = must(calloc(1, sizeof *c));
    assert(the_cluster == NULL && options->n >= 1 && options->n <= FAKECLUSTER_NODES_MAX);
    the_cluster = c;
    c->options = *options;
    set_defaults(c);
    if (c->options.founders == 0)
        c->options.founders = c->options.n;
    c->random_state = options->seed;
    c->now_us = 1000000;
    c->verbose = getenv("HOLDFAST_VERBOSE") != NULL;
    c->cap_chronicle = c->cap_proposals = 1024;
    c->chronicle = must(calloc(c->cap_chronicle, sizeof *c->chronicle));
    c->proposals = must(calloc(c->cap_proposals, sizeof *c->proposals));
    for (uint64_t id = 1; id <= options->n; id++)
        node_init(c, id);
    return c;
}

void fakecluster_free(struct fakecluster *c)
{
    if (c == NULL)
        return;
    for (uint64_t id = 1; id <= c->options.n; id++)
        end(c, id, true);
    for (uint64_t id = 1; id <= c->options.n; id++)
        fakedisk_free(c->nodes[id].disk);
    for (size_t k = 0; k < c->n_events; k++)
        free(c->heap[k].bytes);
    free(c->heap);
    free(c->chronicle);
    free(c->proposals);
    free(c);
    the_cluster = NULL;
}
