/* fuzz_meta.c - the file with term and vote. Input: a byte of flags (1, 2: the first, the second slot's checksum is
 * made right; 4: begin with a whole file and change bytes of it), then the file, or the changes. */
#include "raft/crc32c.h"
#include "raft/le.h"
#include "raft/meta.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fakedisk.h"

static const struct meta_state first = {.cluster_id = "fuzz", .node_id = 3, .start = 4, .term = 5, .vote = 2};

static void write_whole(struct fakedisk *d)
{
    struct meta m = {0};
    char error[256];
    fuzz_must(meta_create(&m, fakedisk_io(d), &first, error) == 0, "an empty disk is no obstacle");
    meta_close(&m);
}

static void write_raw(struct fakedisk *d, const uint8_t *bytes, size_t len)
{
    struct io *io = fakedisk_io(d);
    struct io_file *f;
    struct iovec iov = {(void *)bytes, len};
    fuzz_must(io->ops->open(io, META_NAME, IO_READ | IO_WRITE | IO_CREATE, &f) == 0, "a file can be made");
    fuzz_must(io->ops->pwritev(f, &iov, 1, 0) == 0 && io->ops->sync(f) == 0, "and written");
    io->ops->close(f);
}

static void change(struct fakedisk *d, struct fuzz_input *in)
{
    size_t len;
    uint8_t *bytes = fakedisk_bytes(d, META_NAME, &len);
    while (in->left > 0) {
        size_t at = fuzz_take(in, 2) % len;
        bytes[at] ^= (uint8_t)fuzz_take(in, 1);
    }
}

static void make_right(struct fakedisk *d, uint8_t flags)
{
    size_t len;
    uint8_t *bytes = fakedisk_bytes(d, META_NAME, &len);
    for (size_t slot = 0; slot < 2; slot++)
        if ((flags & 1u << slot) != 0 && len >= (slot + 1) * META_SLOT_BYTES)
            le32_put(bytes + slot * META_SLOT_BYTES,
                     crc32c(0, bytes + slot * META_SLOT_BYTES + 4, META_SLOT_BYTES - 4));
}

static bool same_state(const struct meta_state *a, const struct meta_state *b)
{
    return memcmp(a->cluster_id, b->cluster_id, sizeof a->cluster_id) == 0 && a->node_id == b->node_id &&
           a->start == b->start && a->term == b->term && a->vote == b->vote && a->segment == b->segment;
}

/* What was opened can be stored to and opened again. */
static void check_open(struct fakedisk *d, struct meta *m)
{
    struct meta again = {0};
    struct meta_state next = m->state;
    char error[256];
    next.term++;
    fuzz_must(meta_store(m, &next) == 0, "an open file is stored to");
    meta_close(m);
    fuzz_must(meta_open(&again, fakedisk_io(d), error) == 0, "and can be opened again");
    fuzz_must(same_state(&again.state, &next), "and says what was stored");
    meta_close(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_input in = {bytes, len};
    struct fakedisk *d = fakedisk_new(1);
    struct meta m = {0};
    char error[256] = "";
    uint8_t flags = (uint8_t)fuzz_take(&in, 1);
    if ((flags & 4) != 0) {
        write_whole(d);
        change(d, &in);
    } else {
        write_raw(d, in.at, in.left);
    }
    make_right(d, flags);
    int rc = meta_open(&m, fakedisk_io(d), error);
    fuzz_must(rc == 0 || rc == LOG_ENOENT || error[0] != '\0', "a refusal has words");
    if (rc == 0 && (flags & 7) == 4)
        fuzz_must(same_state(&m.state, &first), "damage is seen");
    if (rc == 0)
        check_open(d, &m);
    meta_close(&m);
    fakedisk_free(d);
    return 0;
}
