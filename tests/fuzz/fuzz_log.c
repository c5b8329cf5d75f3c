/* fuzz_log.c - what a node finds in its data directory when it starts. Two kinds of input, by the first byte:
 * even: files of records that nobody wrote so, each with a right checksum: the log opens or says why not, and when it
 * opens it can be read, appended to and opened again;
 * odd: a log that was written, synced and closed, then bytes of its files changed: it is refused, or it is what it
 * was. */
#include "raft/log.h"
#include "raft/meta.h"
#include "raft/segment.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fakedisk.h"

#define FILES_MAX 4
#define RECORDS_MAX 24
#define PAYLOAD_MAX 600
#define SEGMENT_BYTES 16384

static const uint8_t cluster_id[LOG_CLUSTER_ID_BYTES] = "fuzz";

static void on_durable(void *ctx, uint64_t index, uint64_t term)
{
    (void)ctx, (void)index, (void)term;
}

static void on_failed(void *ctx, const char *why)
{
    (void)ctx;
    fprintf(stderr, "%s\n", why);
    fuzz_must(false, "a disk that works is written to");
}

static int open_log(struct fakedisk *d, struct log **ret)
{
    struct log_options o = {.node_id = 1,
                            .segment_bytes = SEGMENT_BYTES,
                            .memory_bytes = 512,
                            .spares = 1,
                            .on_durable = on_durable,
                            .on_failed = on_failed};
    char error[256] = "";
    memcpy(o.cluster_id, cluster_id, sizeof cluster_id);
    int rc = log_open(fakedisk_io(d), &o, error, ret);
    fuzz_must(rc == 0 || error[0] != '\0', "a refusal has words");
    return rc;
}

static void close_log(struct fakedisk *d, struct log *l)
{
    fakedisk_run_all(d);
    log_close(l);
    fakedisk_run_all(d);
}

static void append(struct log *l, uint64_t term, size_t len, uint8_t fill)
{
    uint8_t payload[PAYLOAD_MAX];
    memset(payload, fill, len);
    struct log_entry e = {.term = term, .type = LOG_COMMAND, .blob = blob_copy(payload, len), .len = len};
    fuzz_must(log_append(l, log_last(l) + 1, &e, 1) == 0, "an entry fits into memory");
    blob_unref(e.blob);
}

/* Everything that is there, as one number. */
static uint64_t read_all(struct log *l)
{
    uint64_t sum = 1469598103934665603u;
    for (uint64_t i = log_first(l); i <= log_last(l); i++) {
        struct log_entry e;
        fuzz_must(log_read(l, i, &e) == 0, "an entry of an open log can be read");
        fuzz_must(e.type >= LOG_COMMAND && e.type <= LOG_CHANGE, "entries have a type");
        fuzz_must(log_term_at(l, i) == e.term, "the term of an entry is known");
        sum = (sum ^ i ^ e.term << 8 ^ e.type) * 1099511628211u;
        for (size_t k = 0; k < e.len; k++)
            sum = (sum ^ e.blob->bytes[e.offset + k]) * 1099511628211u;
        blob_unref(e.blob);
    }
    return sum;
}

/* ---- Files nobody wrote ---- */

static void write_at(struct fakedisk *d, const char *name, const void *bytes, size_t len, uint64_t at)
{
    struct io *io = fakedisk_io(d);
    struct iovec iov = {(void *)bytes, len};
    struct io_file *f;
    if (io->ops->open(io, name, IO_READ | IO_WRITE, &f) != 0)
        fuzz_must(io->ops->open(io, name, IO_READ | IO_WRITE | IO_CREATE, &f) == 0, "a file can be made");
    fuzz_must(io->ops->pwritev(f, &iov, 1, at) == 0 && io->ops->sync(f) == 0, "and written");
    io->ops->close(f);
    io->ops->sync_dir(io);
}

static void make_meta(struct fakedisk *d, uint64_t term, uint64_t segment)
{
    struct meta_state state = {.node_id = 1, .start = 1, .term = term, .vote = 1, .segment = segment};
    struct meta m = {0};
    char error[256];
    memcpy(state.cluster_id, cluster_id, sizeof cluster_id);
    fuzz_must(meta_create(&m, fakedisk_io(d), &state, error) == 0, "meta can be made");
    meta_close(&m);
}

/* Where the files stand while they are made. */
struct chain {
    uint64_t number, offset, last;
    uint32_t seed, crc;
};

static void make_header(struct fakedisk *d, struct fuzz_input *in, struct chain *c)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES], how = (uint8_t)fuzz_take(in, 1);
    char name[SEGMENT_NAME_BYTES];
    struct segment_header h = {.number = c->number,
                               .node_id = (how & 1) ? 2 : 1,
                               .base_index = (how & 2) ? fuzz_take(in, 1) : c->last,
                               .base_term = (how & 4) ? fuzz_take(in, 1) : c->last > 0,
                               .previous_end = (how & 8) ? fuzz_take(in, 2) : c->offset,
                               .previous_crc = (how & 16) ? (uint32_t)fuzz_take(in, 1) : c->crc,
                               .anew = (how & 32) != 0,
                               .prepared = (how & 64) != 0};
    memcpy(h.cluster_id, cluster_id, sizeof cluster_id);
    c->seed = c->crc = segment_header_encode(bytes, &h);
    c->offset = SEGMENT_HEADER_BYTES;
    c->last = h.base_index;
    segment_name(name, c->number);
    write_at(d, name, bytes, sizeof bytes, 0);
}

static void make_record(struct fakedisk *d, struct fuzz_input *in, struct chain *c)
{
    uint8_t bytes[RECORD_HEADER_BYTES + PAYLOAD_MAX + RECORD_ALIGN] = {0}, how = (uint8_t)fuzz_take(in, 1);
    char name[SEGMENT_NAME_BYTES];
    struct record r = {.previous_crc = (how & 1) ? (uint32_t)fuzz_take(in, 1) : c->crc,
                       .type = (uint8_t)((how & 2) ? fuzz_take(in, 1) : LOG_COMMAND),
                       .segment = (how & 4) ? fuzz_take(in, 1) : c->number,
                       .index = (how & 8) ? fuzz_take(in, 1) : c->last + 1,
                       .term = fuzz_take(in, 1),
                       .synced = (how & 16) ? fuzz_take(in, 2) : c->offset,
                       .len = (how & 32) ? (uint32_t)fuzz_take(in, 2) % PAYLOAD_MAX : 8};
    memset(bytes + RECORD_HEADER_BYTES, how, r.len);
    record_encode(bytes, &r, c->seed, bytes + RECORD_HEADER_BYTES);
    if (how & 64)
        bytes[fuzz_take(in, 2) % sizeof bytes] ^= (uint8_t)fuzz_take(in, 1);
    if (how & 128)
        c->offset += 8 * fuzz_take(in, 1); /* A hole. */
    segment_name(name, c->number);
    write_at(d, name, bytes, record_bytes(r.len), c->offset);
    c->crc = r.crc;
    c->offset += record_bytes(r.len);
    c->last = r.type == RECORD_MARK ? c->last : r.index;
}

static void make_files(struct fakedisk *d, struct fuzz_input *in)
{
    struct chain c = {.number = 1 + fuzz_take(in, 1) % 3};
    size_t n_files = fuzz_take(in, 1) % FILES_MAX;
    make_meta(d, fuzz_take(in, 1), fuzz_take(in, 1) % 6);
    for (size_t i = 0; i < n_files; i++) {
        make_header(d, in, &c);
        for (size_t n = fuzz_take(in, 1) % RECORDS_MAX; n > 0; n--)
            make_record(d, in, &c);
        c.number += fuzz_take(in, 1) % 16 == 15 ? 2 : 1;
    }
    if (in->left > 0) /* Whatever is left, somewhere. */
        write_at(d, "log-0000000000000001", in->at, in->left, fuzz_take(in, 2) * 8);
}

static void check_unwritten(struct fuzz_input *in)
{
    struct fakedisk *d = fakedisk_new(1);
    struct log *l;
    make_files(d, in);
    if (open_log(d, &l) == 0) {
        read_all(l);
        append(l, log_term_at(l, log_last(l)) + 1, 100, 'a');
        uint64_t sum = read_all(l), last = log_last(l);
        close_log(d, l);
        fuzz_must(open_log(d, &l) == 0, "what was opened can be opened again");
        fuzz_must(log_last(l) == last && read_all(l) == sum, "and is what it was");
        close_log(d, l);
    }
    fakedisk_free(d);
}

/* ---- Files that were written, and damaged ---- */

struct names {
    char list[64][SEGMENT_NAME_BYTES];
    size_t n;
};

static void note_name(void *ctx, const char *name)
{
    struct names *names = ctx;
    if (names->n < 64)
        snprintf(names->list[names->n++], SEGMENT_NAME_BYTES, "%s", name);
}

static uint64_t write_log(struct fakedisk *d, struct fuzz_input *in, uint64_t *ret_last)
{
    struct log *l;
    uint64_t term = 1;
    fuzz_must(open_log(d, &l) == 0, "an empty disk is no obstacle");
    fuzz_must(log_set_vote(l, 1, 1) == 0, "a vote is stored");
    for (size_t n = fuzz_take(in, 1) % 64 + 1; n > 0; n--) {
        uint8_t how = (uint8_t)fuzz_take(in, 1);
        term += how % 8 == 0;
        append(l, term, (size_t)how * 2, how);
        if (how % 3 == 0)
            fakedisk_run_all(d);
    }
    fakedisk_run_all(d);
    uint64_t sum = read_all(l);
    *ret_last = log_last(l);
    close_log(d, l);
    return sum;
}

static void damage(struct fakedisk *d, struct fuzz_input *in)
{
    struct names names = {.n = 0};
    fakedisk_names(d, note_name, &names);
    while (in->left > 0) {
        size_t len, where = fuzz_take(in, 1) % names.n, at = fuzz_take(in, 2);
        uint8_t *bytes = fakedisk_bytes(d, names.list[where], &len);
        if (len > 0)
            bytes[at % len] ^= (uint8_t)fuzz_take(in, 1);
    }
}

static void check_damaged(struct fuzz_input *in)
{
    struct fakedisk *d = fakedisk_new(1);
    struct log *l;
    uint64_t last, sum = write_log(d, in, &last);
    damage(d, in);
    if (open_log(d, &l) == 0) {
        fuzz_must(log_last(l) == last && read_all(l) == sum, "what was acknowledged is there or missed");
        fuzz_must(log_term(l) == 1 && log_vote(l) == 1, "so is the vote");
        close_log(d, l);
    }
    fakedisk_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_input in = {bytes, len};
    if (len == 0)
        return 0;
    if (fuzz_take(&in, 1) % 2 == 0)
        check_unwritten(&in);
    else
        check_damaged(&in);
    return 0;
}
