/* fuzz_replica.c - a whole replica among peers that say anything: frames of every kind, well-formed or not, timers and
 * links in any order. It may refuse, or fail and say so; it may not crash.
 * Input: steps; the first byte of each chooses what happens. */
#include "raft/frames.h"
#include "raft/le.h"
#include "raft/replica.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fakedisk.h"

#define STEPS_MAX 300
#define NUMBER_SMALL 8 /* Terms and indexes that have something to do with each other. */

struct run {
    struct fakedisk *disk;
    struct replica *replica;
    bool failed;
    uint64_t applied, applied_term;
    uint8_t conf[FRAME_CONF_BYTES_MAX];
    size_t conf_len;
};

/* ---- The owner ---- */

static void on_stamp(void *ctx, uint8_t *payload, size_t len)
{
    (void)ctx, (void)payload, (void)len;
}

static void on_apply(void *ctx, uint64_t index, uint64_t term, enum log_type type, const uint8_t *payload, size_t len)
{
    struct run *r = ctx;
    fuzz_must(index == r->applied + 1, "entries are applied in order and without gaps");
    r->applied = index;
    r->applied_term = term;
    if (type == LOG_CHANGE) {
        fuzz_must(configuration_check(payload, len) == 0, "a configuration that is applied is sound");
        memcpy(r->conf, payload, len);
        r->conf_len = len;
    }
}

static void on_changed(void *ctx)
{
    (void)ctx;
}

static void on_message(void *ctx, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len)
{
    (void)ctx, (void)from, (void)payload, (void)len;
    fuzz_must(kind >= FRAME_OWNER, "the owner gets the owner's frames");
}

static void on_link(void *ctx, uint64_t peer, bool up)
{
    (void)ctx, (void)peer, (void)up;
}

static void on_read_ready(void *ctx, uint64_t ticket, bool ok)
{
    (void)ctx, (void)ticket, (void)ok;
}

static void on_snapshot_make(void *ctx)
{
    struct run *r = ctx;
    replica_snapshot_made(r->replica, NULL);
}

static void on_snapshot_check(void *ctx)
{
    struct run *r = ctx;
    replica_snapshot_checked(r->replica, false); /* Nothing that comes here is a state. */
}

static int on_snapshot_install(void *ctx)
{
    (void)ctx;
    fuzz_must(false, "what was not accepted is not installed");
    return -1;
}

static void on_failed(void *ctx, const char *why)
{
    (void)why;
    ((struct run *)ctx)->failed = true;
}

static void on_log(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level, (void)text;
}

static void run_open(struct run *r)
{
    static const struct replica_member members[] = {{1, "n1:1", true}, {2, "n2:1", true}, {3, "n3:1", true}};
    struct replica_options o = {.io = fakedisk_io(r->disk),
                                .id = 1,
                                .cluster_id = "fuzz",
                                .members = members,
                                .n_members = 3,
                                .election_timeout_ms = 600,
                                .heartbeat_ms = 60,
                                .segment_bytes = 65536,
                                .log_memory_bytes = 4096,
                                .keep_entries = 2,
                                .keep_bytes = 4096,
                                .owner = {r, on_stamp, on_apply, on_changed, on_message, on_link, on_read_ready,
                                          on_snapshot_make, on_snapshot_check, on_snapshot_install, on_failed,
                                          on_failed, on_log}};
    char error[256];
    fuzz_must(replica_open(&o, error, &r->replica) == 0, "an empty disk is no obstacle");
    replica_timer(r->replica);
    fakedisk_run_all(r->disk);
}

static void run_close(struct run *r)
{
    replica_stop(r->replica);
    fakedisk_run_all(r->disk);
    fuzz_must(!replica_busy(r->replica), "a stopped replica comes to rest");
    replica_close(r->replica);
    fakedisk_free(r->disk);
}

/* ---- Frames ---- */

/* Mostly a number like those the replica has, seldom any. */
static uint64_t some_number(struct fuzz_input *in)
{
    uint8_t how = (uint8_t)fuzz_take(in, 1);
    return how < 250 ? how % NUMBER_SMALL : fuzz_take(in, 8);
}

static size_t some_configuration(struct fuzz_input *in, uint8_t *buf)
{
    size_t n = 1 + fuzz_take(in, 1) % 4, len = 9;
    buf[0] = 1;
    le64_put(buf + 1, n);
    for (size_t i = 0; i < n; i++) {
        le64_put(buf + len, i + 1);
        len += 8;
        len += (size_t)sprintf((char *)buf + len, "n%zu:1", i + 1) + 1;
        buf[len++] = (uint8_t)(fuzz_take(in, 1) % 3);
    }
    while (len % 8 != 0)
        buf[len++] = 0;
    return len;
}

/* Commands of one byte, barriers, and configurations. */
static size_t some_append(struct fuzz_input *in, uint8_t *buf)
{
    static struct frame_entry entries[8];
    static uint8_t payloads[8 * 128];
    size_t payload_len = 0, n = fuzz_take(in, 1) % 8;
    struct raft_append_entries m = {.version = 2,
                                    .term = some_number(in),
                                    .prev_log_index = some_number(in),
                                    .prev_log_term = some_number(in),
                                    .leader_commit = some_number(in),
                                    .n_entries = (unsigned)n};
    for (size_t i = 0; i < n; i++) {
        uint8_t type = (uint8_t)fuzz_take(in, 1);
        entries[i] = (struct frame_entry){.term = some_number(in), .type = (uint8_t)(type % 3 + 1)};
        size_t len = 1;
        payloads[payload_len] = type;
        if (entries[i].type == RAFT_CHANGE)
            len = some_configuration(in, payloads + payload_len);
        entries[i].len = (uint32_t)len;
        payload_len += len;
    }
    size_t head = frame_append_encode(&m, some_number(in), entries, buf);
    memcpy(buf + head, payloads, payload_len);
    return head + payload_len;
}

static size_t some_small(struct fuzz_input *in, uint8_t kind, uint8_t *buf)
{
    struct raft_message m;
    uint8_t encoded;
    memset(&m, 0, sizeof m);
    uint64_t term = some_number(in), a = some_number(in), b = some_number(in);
    uint8_t flags = (uint8_t)fuzz_take(in, 1);
    if (kind == FRAME_APPEND_RESULT) {
        m.type = RAFT_APPEND_ENTRIES_RESULT;
        m.append_entries_result = (struct raft_append_entries_result){
            .version = 1, .term = term, .rejected = a, .last_log_index = b, .capacity = flags};
    } else if (kind == FRAME_VOTE) {
        m.type = RAFT_REQUEST_VOTE;
        m.request_vote = (struct raft_request_vote){.version = 2,
                                                    .term = term,
                                                    .candidate_id = 2 + a % 2,
                                                    .last_log_index = a,
                                                    .last_log_term = b,
                                                    .disrupt_leader = (flags & 1) != 0,
                                                    .pre_vote = (flags & 2) != 0};
    } else if (kind == FRAME_VOTE_RESULT) {
        m.type = RAFT_REQUEST_VOTE_RESULT;
        m.request_vote_result = (struct raft_request_vote_result){
            .version = 2, .term = term, .vote_granted = (flags & 1) != 0, .pre_vote = (flags & 2) != 0};
    } else {
        m.type = RAFT_TIMEOUT_NOW;
        m.timeout_now = (struct raft_timeout_now){.term = term, .last_log_index = a, .last_log_term = b};
    }
    return frame_small_encode(&m, some_number(in), &encoded, buf);
}

static size_t some_install(struct fuzz_input *in, uint8_t *buf)
{
    uint8_t conf[FRAME_CONF_BYTES_MAX];
    struct frame_install m = {.term = some_number(in),
                              .last_index = some_number(in),
                              .last_term = some_number(in),
                              .conf_index = some_number(in),
                              .file_bytes = some_number(in),
                              .chunk_bytes = (uint32_t)some_number(in),
                              .conf = conf};
    m.conf_len = (uint32_t)some_configuration(in, conf);
    return frame_install_encode(&m, buf);
}

static size_t some_chunk(struct fuzz_input *in, uint8_t *buf)
{
    struct frame_chunk c = {.snapshot_index = some_number(in),
                            .offset = some_number(in),
                            .total = some_number(in),
                            .checksum = (uint32_t)some_number(in),
                            .len = (uint32_t)fuzz_take(in, 1) % NUMBER_SMALL};
    size_t head = frame_chunk_encode(&c, buf);
    memset(buf + head, 's', c.len);
    return head + c.len;
}

static size_t some_pair(struct fuzz_input *in, uint8_t *buf)
{
    le64_put(buf, some_number(in));
    le64_put(buf + 8, some_number(in));
    return 16;
}

static size_t some_frame(struct fuzz_input *in, uint8_t kind, uint8_t *buf)
{
    switch (kind) {
    case FRAME_APPEND:
        return some_append(in, buf);
    case FRAME_INSTALL:
        return some_install(in, buf);
    case FRAME_SNAPSHOT_CHUNK:
        return some_chunk(in, buf);
    case FRAME_PROBE:
    case FRAME_PROBE_ACK:
    case FRAME_SNAPSHOT_ACK:
        return some_pair(in, buf);
    default:
        return some_small(in, kind, buf);
    }
}

static void receive_some(struct run *r, struct fuzz_input *in, uint8_t kind)
{
    static uint8_t buf[65536];
    uint64_t from = 2 + fuzz_take(in, 1) % 3; /* 4 is a stranger. */
    size_t len = some_frame(in, kind, buf);
    uint8_t *copy = fuzz_copy(buf, len);
    replica_receive(r->replica, from, kind, copy, len);
    free(copy);
}

static void receive_raw(struct run *r, struct fuzz_input *in)
{
    uint8_t kind = (uint8_t)fuzz_take(in, 1);
    size_t len;
    uint8_t *bytes = fuzz_take_bytes(in, 1024, &len);
    if (frame_kind_known(kind))
        replica_receive(r->replica, 2, kind, bytes, len);
    free(bytes);
}

static void propose(struct run *r)
{
    struct blob *blob = blob_copy("command", 7);
    replica_propose(r->replica, blob);
    blob_unref(blob);
}

/* ---- Steps ---- */

enum step {
    STEP_RAW = 11, /* Below: the kinds of frames, from 1 on. */
    STEP_TIME,
    STEP_WORK,
    STEP_LINK,
    STEP_LOST,
    STEP_PROPOSE,
    STEP_READ,
    STEP_CHECKPOINT,
    STEP_TRANSFER,
    STEPS,
};

static void step(struct run *r, struct fuzz_input *in)
{
    uint8_t what = (uint8_t)(fuzz_take(in, 1) % STEPS);
    uint64_t ticket;
    switch (what) {
    case 0:
    case STEP_TIME:
        fakedisk_advance(r->disk, fuzz_take(in, 1) * 4);
        replica_timer(r->replica);
        break;
    case STEP_RAW:
        receive_raw(r, in);
        break;
    case STEP_WORK:
        fakedisk_run_all(r->disk);
        break;
    case STEP_LINK:
        replica_link(r->replica, 2 + fuzz_take(in, 1) % 2, fuzz_take(in, 1) % 2 == 1);
        break;
    case STEP_LOST:
        replica_lost(r->replica, 2 + fuzz_take(in, 1) % 2);
        break;
    case STEP_PROPOSE:
        propose(r);
        break;
    case STEP_READ:
        if (replica_read(r->replica, &ticket) == 0)
            replica_reads_flush(r->replica);
        break;
    case STEP_CHECKPOINT:
        if (r->applied > 0)
            replica_checkpoint(r->replica, r->applied, r->applied_term);
        break;
    case STEP_TRANSFER:
        replica_transfer(r->replica, 0);
        break;
    default:
        receive_some(r, in, what);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_input in = {bytes, len};
    struct run r = {.disk = fakedisk_new(1)};
    run_open(&r);
    for (int i = 0; i < STEPS_MAX && in.left > 0 && !r.failed; i++)
        step(&r, &in);
    run_close(&r);
    return 0;
}
