/* fuzz_frames.c - frames of peers: what decodes, encodes to the same bytes; and what is let through to the core as a
 * configuration, the core's own decoder, which does not look where it reads, can read.
 * Input: a byte that chooses the kind (0: a frame's header with its checksum made right; 1 to 10: enum frame_kind; 11:
 * a configuration), then the payload. */
#include "raft/crc32c.h"
#include "raft/frames.h"
#include "raft/le.h"
#include "tests/fuzz/fuzz.h"

#define KIND_HEADER 0
#define KIND_CONFIGURATION 11

static void same(const uint8_t *bytes, size_t len, const uint8_t *again, size_t again_len)
{
    fuzz_must(len == again_len && memcmp(bytes, again, len) == 0, "what was decoded encodes to the same bytes");
}

static void check_header(uint8_t *bytes, size_t len)
{
    uint8_t again[FRAME_HEADER_BYTES];
    struct frame_header h;
    if (len < FRAME_HEADER_BYTES)
        return;
    le32_put(bytes + 12, crc32c(0, bytes, 12));
    if (frame_header_decode(bytes, &h) != 0)
        return;
    fuzz_must(h.len <= FRAME_BYTES_MAX, "a frame has a limit");
    frame_header_encode(&h, again);
    same(bytes, FRAME_HEADER_BYTES, again, sizeof again);
}

static void check_configuration(const uint8_t *bytes, size_t len)
{
    struct raft_configuration conf;
    struct raft_buffer buf = {.base = (void *)bytes, .len = len};
    if (configuration_check(bytes, len) != 0)
        return;
    raft_configuration_init(&conf);
    fuzz_must(raft_configuration_decode(&buf, &conf) == 0, "the core reads what was checked");
    fuzz_must(conf.n >= 1 && conf.n <= FRAME_MEMBERS_MAX, "members have a limit");
    struct raft_buffer again;
    fuzz_must(raft_configuration_encode(&conf, &again) == 0, "and writes it");
    same(bytes, len, again.base, again.len);
    raft_free(again.base);
    raft_configuration_close(&conf);
}

static void check_append(const uint8_t *bytes, size_t len)
{
    static struct frame_entry entries[FRAME_ENTRIES_MAX];
    static uint8_t again[FRAME_HEAD_MAX];
    struct raft_append_entries m;
    uint64_t round;
    if (frame_append_decode(bytes, len, &m, &round, entries) != 0)
        return;
    size_t head = frame_append_encode(&m, round, entries, again);
    fuzz_must(head <= len, "the head is within the frame");
    same(bytes, head, again, head);
    size_t at = head;
    for (unsigned i = 0; i < m.n_entries; i++) {
        fuzz_must(entries[i].offset == at && entries[i].len <= len - at, "payloads lie back to back");
        at += entries[i].len;
        if (entries[i].type == RAFT_CHANGE)
            check_configuration(bytes + entries[i].offset, entries[i].len);
    }
    fuzz_must(at == len, "and fill the frame");
}

static void check_small(uint8_t kind, const uint8_t *bytes, size_t len)
{
    struct raft_message m;
    uint8_t again[FRAME_SMALL_BYTES_MAX], again_kind;
    uint64_t round;
    memset(&m, 0, sizeof m);
    if (frame_small_decode(kind, bytes, len, &m, &round) != 0)
        return;
    size_t again_len = frame_small_encode(&m, round, &again_kind, again);
    fuzz_must(again_kind == kind, "a message keeps its kind");
    same(bytes, len, again, again_len);
}

static void check_install(const uint8_t *bytes, size_t len)
{
    static uint8_t again[FRAME_INSTALL_BYTES_MAX];
    struct frame_install m;
    if (frame_install_decode(bytes, len, &m) != 0)
        return;
    check_configuration(m.conf, m.conf_len);
    same(bytes, len, again, frame_install_encode(&m, again));
}

static void check_chunk(const uint8_t *bytes, size_t len)
{
    uint8_t again[FRAME_CHUNK_HEAD_BYTES];
    struct frame_chunk c;
    if (frame_chunk_decode(bytes, len, &c) != 0)
        return;
    fuzz_must(c.bytes + c.len == bytes + len, "a chunk's bytes are the rest of the frame");
    same(bytes, FRAME_CHUNK_HEAD_BYTES, again, frame_chunk_encode(&c, again));
}

static void check_ack(const uint8_t *bytes, size_t len)
{
    uint8_t again[FRAME_CHUNK_ACK_BYTES];
    struct frame_chunk_ack a;
    if (frame_chunk_ack_decode(bytes, len, &a) == 0)
        same(bytes, len, again, frame_chunk_ack_encode(&a, again));
}

static void check_probe(const uint8_t *bytes, size_t len)
{
    uint8_t again[FRAME_PROBE_BYTES];
    struct frame_probe p;
    if (frame_probe_decode(bytes, len, &p) == 0)
        same(bytes, len, again, frame_probe_encode(&p, again));
}

static void check(uint8_t kind, uint8_t *bytes, size_t len)
{
    switch (kind) {
    case KIND_HEADER:
        check_header(bytes, len);
        break;
    case FRAME_APPEND:
        check_append(bytes, len);
        break;
    case FRAME_INSTALL:
        check_install(bytes, len);
        break;
    case FRAME_PROBE:
    case FRAME_PROBE_ACK:
        check_probe(bytes, len);
        break;
    case FRAME_SNAPSHOT_CHUNK:
        check_chunk(bytes, len);
        break;
    case FRAME_SNAPSHOT_ACK:
        check_ack(bytes, len);
        break;
    case KIND_CONFIGURATION:
        check_configuration(bytes, len);
        break;
    default:
        check_small(kind, bytes, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    uint8_t *copy = fuzz_copy(bytes + 1, len - 1);
    check(bytes[0] % (KIND_CONFIGURATION + 1), copy, len - 1);
    free(copy);
    return 0;
}
