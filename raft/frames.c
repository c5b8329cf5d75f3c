/* frames.c - numbers to bytes and back.
 *
 * Every encoder writes all bytes of its layout, unused ones as zeros. Every decoder first checks that the length is
 * exactly what the layout and its counts ask for, so nothing is read that was not sent, and then the values; unused
 * bytes must be zero, so that a later version can give them a meaning without being misunderstood by this one. */
#include "raft/frames.h"
#include "raft/crc32c.h"
#include "raft/le.h"
#include <assert.h>
#include <string.h>

#define INDEX_MAX (UINT64_MAX / 2) /* No log gets there; sums below cannot overflow. */

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static bool all_zero(const uint8_t *p, size_t len)
{
    while (len > 0 && *p == 0)
        p++, len--;
    return len == 0;
}

/* A flag byte: only 0 and 1 may reach a bool. */
static bool is_flag(uint8_t v)
{
    return v <= 1;
}

/* ---- Header ---- */

void frame_header_encode(const struct frame_header *h, uint8_t buf[FRAME_HEADER_BYTES])
{
    memset(buf, 0, FRAME_HEADER_BYTES);
    le32_put(buf, h->len);
    buf[4] = h->kind;
    le32_put(buf + 8, h->crc);
    le32_put(buf + 12, crc32c(0, buf, 12));
}

int frame_header_decode(const uint8_t buf[FRAME_HEADER_BYTES], struct frame_header *ret)
{
    if (le32_get(buf + 12) != crc32c(0, buf, 12) || buf[4] == 0 || !all_zero(buf + 5, 3))
        return FRAME_EMALFORMED;
    if (le32_get(buf) > FRAME_BYTES_MAX)
        return FRAME_ETOOBIG;
    *ret = (struct frame_header){.len = le32_get(buf), .kind = buf[4], .crc = le32_get(buf + 8)};
    return 0;
}

bool frame_kind_known(uint8_t kind)
{
    return (kind >= FRAME_APPEND && kind <= FRAME_SNAPSHOT_ACK) || kind >= FRAME_OWNER;
}

/* ---- Greeting ----
 * 0 magic, 8 kind, 10 version_min, 12 version_max, 14 code, 16 cluster id, 32 from, 40 to, 48 start, 56 length of text,
 * 58 length of peer, 60 crc32c of 0..59 and of 64 to the end of peer, 64 incarnation, 72 last, 80 configuration, 88
 * text, peer right behind it, zeros up to a multiple of 8. */

static const uint8_t greeting_magic[8] = {'H', 'F', 'P', 'E', 'E', 'R', '\r', '\n'};

static uint32_t greeting_crc(const uint8_t *buf, size_t texts_len)
{
    return crc32c(crc32c(0, buf, 60), buf + 64, FRAME_GREETING_HEAD_BYTES - 64 + texts_len);
}

size_t frame_greeting_encode(const struct frame_greeting *g, uint8_t buf[FRAME_GREETING_BYTES_MAX])
{
    size_t text_len = strnlen(g->text, FRAME_GREETING_TEXT_MAX), peer_len = strnlen(g->peer, FRAME_GREETING_TEXT_MAX);
    size_t len = FRAME_GREETING_HEAD_BYTES + text_len + peer_len + frame_pad(text_len + peer_len);
    memset(buf, 0, len);
    memcpy(buf, greeting_magic, sizeof greeting_magic);
    put16(buf + 8, g->kind);
    put16(buf + 10, g->version_min);
    put16(buf + 12, g->version_max);
    put16(buf + 14, g->code);
    memcpy(buf + 16, g->cluster_id, FRAME_CLUSTER_ID_BYTES);
    le64_put(buf + 32, g->from);
    le64_put(buf + 40, g->to);
    le64_put(buf + 48, g->start);
    put16(buf + 56, (uint16_t)text_len);
    put16(buf + 58, (uint16_t)peer_len);
    le64_put(buf + 64, g->incarnation);
    le64_put(buf + 72, g->last);
    le64_put(buf + 80, g->configuration);
    memcpy(buf + FRAME_GREETING_HEAD_BYTES, g->text, text_len);
    memcpy(buf + FRAME_GREETING_HEAD_BYTES + text_len, g->peer, peer_len);
    le32_put(buf + 60, greeting_crc(buf, text_len + peer_len));
    return len;
}

static void greeting_text(char *to, const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = from[i] >= 0x20 && from[i] < 0x7f ? (char)from[i] : '?';
    to[len] = '\0';
}

long frame_greeting_decode(const uint8_t *buf, size_t len, struct frame_greeting *ret)
{
    size_t magic_len = len < sizeof greeting_magic ? len : sizeof greeting_magic;
    if (memcmp(buf, greeting_magic, magic_len) != 0)
        return FRAME_EMALFORMED;
    if (len < FRAME_GREETING_HEAD_BYTES)
        return 0;
    size_t text_len = get16(buf + 56), peer_len = get16(buf + 58);
    if (text_len > FRAME_GREETING_TEXT_MAX || peer_len > FRAME_GREETING_TEXT_MAX)
        return FRAME_EMALFORMED;
    size_t whole = FRAME_GREETING_HEAD_BYTES + text_len + peer_len + frame_pad(text_len + peer_len);
    if (len < whole)
        return 0;
    if (le32_get(buf + 60) != greeting_crc(buf, text_len + peer_len))
        return FRAME_EMALFORMED;
    ret->kind = get16(buf + 8);
    ret->version_min = get16(buf + 10);
    ret->version_max = get16(buf + 12);
    ret->code = get16(buf + 14);
    memcpy(ret->cluster_id, buf + 16, FRAME_CLUSTER_ID_BYTES);
    ret->from = le64_get(buf + 32);
    ret->to = le64_get(buf + 40);
    ret->start = le64_get(buf + 48);
    ret->incarnation = le64_get(buf + 64);
    ret->last = le64_get(buf + 72);
    ret->configuration = le64_get(buf + 80);
    greeting_text(ret->text, buf + FRAME_GREETING_HEAD_BYTES, text_len);
    greeting_text(ret->peer, buf + FRAME_GREETING_HEAD_BYTES + text_len, peer_len);
    return (long)whole;
}

/* ---- Append ----
 * 0 term, 8 prev_log_index, 16 prev_log_term, 24 leader_commit, 32 round, 40 count, 44 version, 45 zero;
 * each entry: 0 term, 8 type, 9 zero, 12 payload length. */

size_t frame_append_encode(const struct raft_append_entries *m, uint64_t round, const struct frame_entry *entries,
                           uint8_t buf[FRAME_HEAD_MAX])
{
    assert(m->n_entries <= FRAME_ENTRIES_MAX);
    size_t len = FRAME_APPEND_HEAD_BYTES + (size_t)m->n_entries * FRAME_APPEND_ENTRY_BYTES;
    memset(buf, 0, len);
    le64_put(buf, m->term);
    le64_put(buf + 8, m->prev_log_index);
    le64_put(buf + 16, m->prev_log_term);
    le64_put(buf + 24, m->leader_commit);
    le64_put(buf + 32, round);
    le32_put(buf + 40, m->n_entries);
    buf[44] = m->version;
    uint8_t *p = buf + FRAME_APPEND_HEAD_BYTES;
    for (unsigned i = 0; i < m->n_entries; i++, p += FRAME_APPEND_ENTRY_BYTES) {
        le64_put(p, entries[i].term);
        p[8] = entries[i].type;
        le32_put(p + 12, entries[i].len);
    }
    return len;
}

/* What the core takes on trust about the head of an AppendEntries. */
static bool append_head_is_sound(const struct raft_append_entries *m)
{
    if (m->term == 0 || m->prev_log_index > INDEX_MAX || m->leader_commit > INDEX_MAX)
        return false;
    return (m->prev_log_index == 0) == (m->prev_log_term == 0) && m->prev_log_term <= m->term;
}

static bool entry_is_sound(const struct frame_entry *e, const uint8_t *payload)
{
    switch (e->type) {
    case RAFT_COMMAND:
    case RAFT_BARRIER:
        return true;
    case RAFT_CHANGE:
        return configuration_check(payload + e->offset, e->len) == 0;
    default:
        return false;
    }
}

/* The table, whose room in the frame is known to be there. The payloads must fill the frame exactly. */
static int append_table_decode(const uint8_t *payload, size_t len, const struct raft_append_entries *m,
                               struct frame_entry *entries)
{
    const uint8_t *p = payload + FRAME_APPEND_HEAD_BYTES;
    size_t offset = FRAME_APPEND_HEAD_BYTES + (size_t)m->n_entries * FRAME_APPEND_ENTRY_BYTES;
    uint64_t term = m->prev_log_term > 0 ? m->prev_log_term : 1;
    for (unsigned i = 0; i < m->n_entries; i++, p += FRAME_APPEND_ENTRY_BYTES) {
        struct frame_entry e = {.term = le64_get(p), .type = p[8], .len = le32_get(p + 12), .offset = offset};
        if (e.term < term || e.term > m->term || !all_zero(p + 9, 3) || e.len > len - offset)
            return FRAME_EMALFORMED;
        if (!entry_is_sound(&e, payload))
            return FRAME_EMALFORMED;
        entries[i] = e;
        term = e.term;
        offset += e.len;
    }
    return offset == len ? 0 : FRAME_EMALFORMED;
}

int frame_append_decode(const uint8_t *payload, size_t len, struct raft_append_entries *ret, uint64_t *ret_round,
                        struct frame_entry *entries)
{
    if (len < FRAME_APPEND_HEAD_BYTES || !all_zero(payload + 45, 3))
        return FRAME_EMALFORMED;
    struct raft_append_entries m = {.version = payload[44],
                                    .term = le64_get(payload),
                                    .prev_log_index = le64_get(payload + 8),
                                    .prev_log_term = le64_get(payload + 16),
                                    .leader_commit = le64_get(payload + 24),
                                    .n_entries = le32_get(payload + 40)};
    if (m.n_entries > FRAME_ENTRIES_MAX)
        return FRAME_ETOOBIG;
    if (!append_head_is_sound(&m) || len - FRAME_APPEND_HEAD_BYTES < (size_t)m.n_entries * FRAME_APPEND_ENTRY_BYTES)
        return FRAME_EMALFORMED;
    int rc = append_table_decode(payload, len, &m, entries);
    if (rc != 0)
        return rc;
    *ret = m;
    *ret_round = le64_get(payload + 32);
    return 0;
}

/* ---- Small messages ---- */

/* 0 term, 8 rejected, 16 last_log_index, 24 round, 32 features, 34 capacity, 36 version, 37 zero. */
#define APPEND_RESULT_BYTES 40

static size_t append_result_encode(const struct raft_append_entries_result *m, uint64_t round, uint8_t *buf)
{
    le64_put(buf, m->term);
    le64_put(buf + 8, m->rejected);
    le64_put(buf + 16, m->last_log_index);
    le64_put(buf + 24, round);
    put16(buf + 32, m->features);
    put16(buf + 34, m->capacity);
    buf[36] = m->version;
    return APPEND_RESULT_BYTES;
}

static int append_result_decode(const uint8_t *p, size_t len, struct raft_append_entries_result *ret,
                                uint64_t *ret_round)
{
    if (len != APPEND_RESULT_BYTES || !all_zero(p + 37, 3) || le64_get(p + 8) > INDEX_MAX ||
        le64_get(p + 16) > INDEX_MAX)
        return FRAME_EMALFORMED;
    *ret = (struct raft_append_entries_result){.version = p[36],
                                               .term = le64_get(p),
                                               .rejected = le64_get(p + 8),
                                               .last_log_index = le64_get(p + 16),
                                               .features = get16(p + 32),
                                               .capacity = get16(p + 34)};
    *ret_round = le64_get(p + 24);
    return 0;
}

/* 0 term, 8 candidate, 16 last_log_index, 24 last_log_term, 32 version, 33 disrupt_leader, 34 pre_vote, 35 zero. */
#define VOTE_BYTES 40

static size_t vote_encode(const struct raft_request_vote *m, uint8_t *buf)
{
    le64_put(buf, m->term);
    le64_put(buf + 8, m->candidate_id);
    le64_put(buf + 16, m->last_log_index);
    le64_put(buf + 24, m->last_log_term);
    buf[32] = m->version;
    buf[33] = m->disrupt_leader;
    buf[34] = m->pre_vote;
    return VOTE_BYTES;
}

/* The last entry of a log: both numbers, or neither. */
static bool last_is_sound(uint64_t index, uint64_t term)
{
    return (index == 0) == (term == 0) && index <= INDEX_MAX;
}

static int vote_decode(const uint8_t *p, size_t len, struct raft_request_vote *ret)
{
    if (len != VOTE_BYTES || !is_flag(p[33]) || !is_flag(p[34]) || !all_zero(p + 35, 5))
        return FRAME_EMALFORMED;
    if (le64_get(p) == 0 || le64_get(p + 8) == 0 || !last_is_sound(le64_get(p + 16), le64_get(p + 24)))
        return FRAME_EMALFORMED;
    *ret = (struct raft_request_vote){.version = p[32],
                                      .term = le64_get(p),
                                      .candidate_id = le64_get(p + 8),
                                      .last_log_index = le64_get(p + 16),
                                      .last_log_term = le64_get(p + 24),
                                      .disrupt_leader = p[33] == 1,
                                      .pre_vote = p[34] == 1};
    return 0;
}

/* 0 term, 8 version, 9 vote_granted, 10 pre_vote, 11 zero, 12 features, 14 capacity. */
#define VOTE_RESULT_BYTES 16

static size_t vote_result_encode(const struct raft_request_vote_result *m, uint8_t *buf)
{
    le64_put(buf, m->term);
    buf[8] = m->version;
    buf[9] = m->vote_granted;
    buf[10] = m->pre_vote;
    put16(buf + 12, m->features);
    put16(buf + 14, m->capacity);
    return VOTE_RESULT_BYTES;
}

static int vote_result_decode(const uint8_t *p, size_t len, struct raft_request_vote_result *ret)
{
    if (len != VOTE_RESULT_BYTES || !is_flag(p[9]) || !is_flag(p[10]) || p[11] != 0)
        return FRAME_EMALFORMED;
    *ret = (struct raft_request_vote_result){.version = p[8],
                                             .term = le64_get(p),
                                             .vote_granted = p[9] == 1,
                                             .pre_vote = p[10] == 1,
                                             .features = get16(p + 12),
                                             .capacity = get16(p + 14)};
    return 0;
}

/* 0 term, 8 last_log_index, 16 last_log_term, 24 version, 25 zero. */
#define TIMEOUT_NOW_BYTES 32

static size_t timeout_now_encode(const struct raft_timeout_now *m, uint8_t *buf)
{
    le64_put(buf, m->term);
    le64_put(buf + 8, m->last_log_index);
    le64_put(buf + 16, m->last_log_term);
    buf[24] = m->version;
    return TIMEOUT_NOW_BYTES;
}

static int timeout_now_decode(const uint8_t *p, size_t len, struct raft_timeout_now *ret)
{
    if (len != TIMEOUT_NOW_BYTES || !all_zero(p + 25, 7) || le64_get(p) == 0 ||
        !last_is_sound(le64_get(p + 8), le64_get(p + 16)))
        return FRAME_EMALFORMED;
    *ret = (struct raft_timeout_now){
        .version = p[24], .term = le64_get(p), .last_log_index = le64_get(p + 8), .last_log_term = le64_get(p + 16)};
    return 0;
}

size_t frame_small_encode(const struct raft_message *m, uint64_t round, uint8_t *ret_kind,
                          uint8_t buf[FRAME_SMALL_BYTES_MAX])
{
    memset(buf, 0, FRAME_SMALL_BYTES_MAX);
    switch (m->type) {
    case RAFT_APPEND_ENTRIES_RESULT:
        *ret_kind = FRAME_APPEND_RESULT;
        return append_result_encode(&m->append_entries_result, round, buf);
    case RAFT_REQUEST_VOTE:
        *ret_kind = FRAME_VOTE;
        return vote_encode(&m->request_vote, buf);
    case RAFT_REQUEST_VOTE_RESULT:
        *ret_kind = FRAME_VOTE_RESULT;
        return vote_result_encode(&m->request_vote_result, buf);
    case RAFT_TIMEOUT_NOW:
        *ret_kind = FRAME_TIMEOUT_NOW;
        return timeout_now_encode(&m->timeout_now, buf);
    default:
        assert(!"not a small message");
        return 0;
    }
}

int frame_small_decode(uint8_t kind, const uint8_t *payload, size_t len, struct raft_message *ret, uint64_t *ret_round)
{
    *ret_round = 0;
    switch (kind) {
    case FRAME_APPEND_RESULT:
        ret->type = RAFT_APPEND_ENTRIES_RESULT;
        return append_result_decode(payload, len, &ret->append_entries_result, ret_round);
    case FRAME_VOTE:
        ret->type = RAFT_REQUEST_VOTE;
        return vote_decode(payload, len, &ret->request_vote);
    case FRAME_VOTE_RESULT:
        ret->type = RAFT_REQUEST_VOTE_RESULT;
        return vote_result_decode(payload, len, &ret->request_vote_result);
    case FRAME_TIMEOUT_NOW:
        ret->type = RAFT_TIMEOUT_NOW;
        return timeout_now_decode(payload, len, &ret->timeout_now);
    default:
        return FRAME_EMALFORMED;
    }
}

/* ---- Probe: 0 term, 8 round ---- */

size_t frame_probe_encode(const struct frame_probe *p, uint8_t buf[FRAME_PROBE_BYTES])
{
    le64_put(buf, p->term);
    le64_put(buf + 8, p->round);
    return FRAME_PROBE_BYTES;
}

int frame_probe_decode(const uint8_t *payload, size_t len, struct frame_probe *ret)
{
    if (len != FRAME_PROBE_BYTES || le64_get(payload) == 0)
        return FRAME_EMALFORMED;
    *ret = (struct frame_probe){.term = le64_get(payload), .round = le64_get(payload + 8)};
    return 0;
}

/* ---- Install: 0 term, 8 last_index, 16 last_term, 24 conf_index, 32 file_bytes, 40 chunk_bytes, 44 conf length,
 * 48 zero, 56 conf ---- */

size_t frame_install_encode(const struct frame_install *m, uint8_t buf[FRAME_INSTALL_BYTES_MAX])
{
    assert(m->conf_len <= FRAME_CONF_BYTES_MAX);
    memset(buf, 0, FRAME_INSTALL_HEAD_BYTES);
    le64_put(buf, m->term);
    le64_put(buf + 8, m->last_index);
    le64_put(buf + 16, m->last_term);
    le64_put(buf + 24, m->conf_index);
    le64_put(buf + 32, m->file_bytes);
    le32_put(buf + 40, m->chunk_bytes);
    le32_put(buf + 44, m->conf_len);
    memcpy(buf + FRAME_INSTALL_HEAD_BYTES, m->conf, m->conf_len);
    return FRAME_INSTALL_HEAD_BYTES + m->conf_len;
}

static bool install_is_sound(const struct frame_install *m)
{
    if (m->term == 0 || m->last_index == 0 || m->last_index > INDEX_MAX)
        return false;
    if (m->last_term == 0 || m->last_term > m->term || m->conf_index == 0 || m->conf_index > m->last_index)
        return false;
    if (m->chunk_bytes == 0 || m->chunk_bytes > FRAME_BYTES_MAX - FRAME_CHUNK_HEAD_BYTES || m->file_bytes == 0)
        return false;
    return m->file_bytes <= INT64_MAX && configuration_check(m->conf, m->conf_len) == 0;
}

int frame_install_decode(const uint8_t *payload, size_t len, struct frame_install *ret)
{
    if (len < FRAME_INSTALL_HEAD_BYTES || le32_get(payload + 44) != len - FRAME_INSTALL_HEAD_BYTES ||
        !all_zero(payload + 48, 8))
        return FRAME_EMALFORMED;
    struct frame_install m = {.term = le64_get(payload),
                              .last_index = le64_get(payload + 8),
                              .last_term = le64_get(payload + 16),
                              .conf_index = le64_get(payload + 24),
                              .file_bytes = le64_get(payload + 32),
                              .chunk_bytes = le32_get(payload + 40),
                              .conf_len = le32_get(payload + 44),
                              .conf = payload + FRAME_INSTALL_HEAD_BYTES};
    if (!install_is_sound(&m))
        return FRAME_EMALFORMED;
    *ret = m;
    return 0;
}

/* ---- Chunk: 0 snapshot_index, 8 offset, 16 total, 24 checksum, 28 length, 32 bytes ---- */

size_t frame_chunk_encode(const struct frame_chunk *c, uint8_t buf[FRAME_CHUNK_HEAD_BYTES])
{
    le64_put(buf, c->snapshot_index);
    le64_put(buf + 8, c->offset);
    le64_put(buf + 16, c->total);
    le32_put(buf + 24, c->checksum);
    le32_put(buf + 28, c->len);
    return FRAME_CHUNK_HEAD_BYTES;
}

int frame_chunk_decode(const uint8_t *payload, size_t len, struct frame_chunk *ret)
{
    if (len < FRAME_CHUNK_HEAD_BYTES || le32_get(payload + 28) != len - FRAME_CHUNK_HEAD_BYTES)
        return FRAME_EMALFORMED;
    struct frame_chunk c = {.snapshot_index = le64_get(payload),
                            .offset = le64_get(payload + 8),
                            .total = le64_get(payload + 16),
                            .checksum = le32_get(payload + 24),
                            .len = le32_get(payload + 28),
                            .bytes = payload + FRAME_CHUNK_HEAD_BYTES};
    if (c.snapshot_index == 0 || c.len == 0 || c.total > INT64_MAX)
        return FRAME_EMALFORMED;
    if (c.offset > c.total || c.len > c.total - c.offset)
        return FRAME_EMALFORMED;
    *ret = c;
    return 0;
}

size_t frame_chunk_ack_encode(const struct frame_chunk_ack *a, uint8_t buf[FRAME_CHUNK_ACK_BYTES])
{
    le64_put(buf, a->snapshot_index);
    le64_put(buf + 8, a->offset);
    return FRAME_CHUNK_ACK_BYTES;
}

int frame_chunk_ack_decode(const uint8_t *payload, size_t len, struct frame_chunk_ack *ret)
{
    if (len != FRAME_CHUNK_ACK_BYTES || le64_get(payload) == 0 || le64_get(payload + 8) > INT64_MAX)
        return FRAME_EMALFORMED;
    *ret = (struct frame_chunk_ack){.snapshot_index = le64_get(payload), .offset = le64_get(payload + 8)};
    return 0;
}

/* ---- Configurations, as libraft 0.22.1 encodes them: u8 version 1, u64 count; each server: u64 id, address with its
 * NUL, u8 role; zeros up to a multiple of 8 ---- */

#define CONF_VERSION 1
#define CONF_HEAD_BYTES 9

struct member {
    uint64_t id;
    const char *address; /* NUL-terminated inside the bytes that are checked. */
};

/* The server at p. Returns its length, 0 when it does not fit or makes no sense. */
static size_t member_decode(const uint8_t *p, size_t len, struct member *ret)
{
    if (len < 8)
        return 0;
    const uint8_t *address = p + 8;
    const uint8_t *end = memchr(address, 0, len - 8);
    if (end == NULL || end == address || end - address > FRAME_ADDRESS_MAX)
        return 0;
    size_t whole = (size_t)(end - p) + 2; /* The NUL, the role. */
    if (whole > len || end[1] > RAFT_SPARE)
        return 0;
    *ret = (struct member){.id = le64_get(p), .address = (const char *)address};
    return ret->id == 0 ? 0 : whole;
}

static bool member_is_new(const struct member *known, size_t n, const struct member *m)
{
    for (size_t i = 0; i < n; i++)
        if (known[i].id == m->id || strcmp(known[i].address, m->address) == 0)
            return false;
    return true;
}

int configuration_check(const void *buf, size_t len)
{
    const uint8_t *p = buf;
    if (len < CONF_HEAD_BYTES || p[0] != CONF_VERSION)
        return FRAME_EMALFORMED;
    uint64_t n = le64_get(p + 1);
    if (n == 0 || n > FRAME_MEMBERS_MAX)
        return FRAME_EMALFORMED;
    struct member members[FRAME_MEMBERS_MAX];
    size_t at = CONF_HEAD_BYTES;
    for (uint64_t i = 0; i < n; i++) {
        size_t used = member_decode(p + at, len - at, &members[i]);
        if (used == 0 || !member_is_new(members, i, &members[i]))
            return FRAME_EMALFORMED;
        at += used;
    }
    return len - at == frame_pad(at) && all_zero(p + at, len - at) ? 0 : FRAME_EMALFORMED;
}
