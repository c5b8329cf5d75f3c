/* test_raft_frames.c - what is encoded is decoded, and nothing that is not is believed. */
#include "raft/frames.h"
#include "raft/crc32c.h"
#include "raft/inbox.h"
#include "raft/outbox.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define FLIPS 20000
#define SAMPLE_BYTES_MAX (FRAME_HEAD_MAX + 8192)

static uint64_t chance;

static uint64_t next_random(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}

static int setup(void **state)
{
    (void)state;
    const char *seed = getenv("HOLDFAST_SEED");
    chance = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    chance |= 1;
    print_message("HOLDFAST_SEED=%llu\n", (unsigned long long)chance);
    return 0;
}

/* ---- Samples: one payload of each kind ---- */

struct sample {
    uint8_t kind;
    size_t len;
    uint8_t bytes[SAMPLE_BYTES_MAX];
};

static size_t sample_conf(uint8_t *to)
{
    struct raft_configuration c;
    struct raft_buffer buf;
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 1, "10.0.0.1:7001", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&c, 2, "10.0.0.2:7001", RAFT_STANDBY), 0);
    assert_int_equal(raft_configuration_add(&c, 300, "h", RAFT_SPARE), 0);
    assert_int_equal(raft_configuration_encode(&c, &buf), 0);
    memcpy(to, buf.base, buf.len);
    size_t len = buf.len;
    raft_free(buf.base);
    raft_configuration_close(&c);
    return len;
}

static struct raft_append_entries append_head(unsigned n)
{
    return (struct raft_append_entries){
        .version = 0, .term = 9, .prev_log_index = 41, .prev_log_term = 7, .leader_commit = 40, .n_entries = n};
}

static void sample_append(struct sample *s)
{
    uint8_t conf[FRAME_CONF_BYTES_MAX];
    uint32_t conf_len = (uint32_t)sample_conf(conf);
    struct frame_entry entries[] = {{.term = 7, .type = RAFT_COMMAND, .len = 3},
                                    {.term = 8, .type = RAFT_BARRIER, .len = 8},
                                    {.term = 9, .type = RAFT_CHANGE, .len = conf_len},
                                    {.term = 9, .type = RAFT_COMMAND, .len = 0}};
    struct raft_append_entries m = append_head(4);
    s->kind = FRAME_APPEND;
    s->len = frame_append_encode(&m, 77, entries, s->bytes);
    memcpy(s->bytes + s->len, "abc", 3);
    memset(s->bytes + s->len + 3, 0, 8);
    memcpy(s->bytes + s->len + 11, conf, conf_len);
    s->len += 11 + conf_len;
}

static void sample_small(struct sample *s, uint8_t kind)
{
    struct raft_message m = {0};
    switch (kind) {
    case FRAME_APPEND_RESULT:
        m.type = RAFT_APPEND_ENTRIES_RESULT;
        m.append_entries_result = (struct raft_append_entries_result){
            .version = 1, .term = 9, .rejected = 12, .last_log_index = 11, .features = 3, .capacity = 4};
        break;
    case FRAME_VOTE:
        m.type = RAFT_REQUEST_VOTE;
        m.request_vote = (struct raft_request_vote){.version = 2,
                                                    .term = 10,
                                                    .candidate_id = 2,
                                                    .last_log_index = 99,
                                                    .last_log_term = 9,
                                                    .disrupt_leader = true,
                                                    .pre_vote = false};
        break;
    case FRAME_VOTE_RESULT:
        m.type = RAFT_REQUEST_VOTE_RESULT;
        m.request_vote_result = (struct raft_request_vote_result){
            .version = 2, .term = 10, .vote_granted = true, .pre_vote = true, .features = 1, .capacity = 2};
        break;
    default:
        m.type = RAFT_TIMEOUT_NOW;
        m.timeout_now = (struct raft_timeout_now){.version = 0, .term = 10, .last_log_index = 99, .last_log_term = 9};
    }
    s->len = frame_small_encode(&m, 55, &s->kind, s->bytes);
    assert_int_equal(s->kind, kind);
    assert_true(s->len <= FRAME_SMALL_BYTES_MAX);
}

static void sample_install(struct sample *s)
{
    uint8_t conf[FRAME_CONF_BYTES_MAX];
    struct frame_install m = {.term = 9,
                              .last_index = 1000,
                              .last_term = 8,
                              .conf_index = 900,
                              .file_bytes = 123456,
                              .chunk_bytes = 65536,
                              .conf_len = (uint32_t)sample_conf(conf),
                              .conf = conf};
    s->kind = FRAME_INSTALL;
    s->len = frame_install_encode(&m, s->bytes);
}

static void sample_chunk(struct sample *s)
{
    struct frame_chunk c = {.snapshot_index = 1000, .offset = 64, .total = 100, .checksum = 0xdeadbeef, .len = 36};
    s->kind = FRAME_SNAPSHOT_CHUNK;
    s->len = frame_chunk_encode(&c, s->bytes);
    memset(s->bytes + s->len, 'x', 36);
    s->len += 36;
}

static void sample_of(uint8_t kind, struct sample *s)
{
    struct frame_probe probe = {.term = 9, .round = 1234};
    struct frame_chunk_ack ack = {.snapshot_index = 1000, .offset = 64};
    memset(s, 0, sizeof *s);
    s->kind = kind;
    switch (kind) {
    case FRAME_APPEND:
        sample_append(s);
        break;
    case FRAME_INSTALL:
        sample_install(s);
        break;
    case FRAME_PROBE:
    case FRAME_PROBE_ACK:
        s->len = frame_probe_encode(&probe, s->bytes);
        break;
    case FRAME_SNAPSHOT_CHUNK:
        sample_chunk(s);
        break;
    case FRAME_SNAPSHOT_ACK:
        s->len = frame_chunk_ack_encode(&ack, s->bytes);
        break;
    default:
        sample_small(s, kind);
    }
}

/* What frames.h promises about an append that was accepted. */
static void append_is_safe(const struct raft_append_entries *m, const struct frame_entry *entries, size_t len)
{
    uint64_t term = m->prev_log_term, end = 0;
    assert_true(m->term != 0 && (m->prev_log_index == 0 || m->prev_log_term != 0));
    assert_null(m->entries);
    assert_true(m->n_entries <= FRAME_ENTRIES_MAX);
    for (unsigned i = 0; i < m->n_entries; i++) {
        assert_true(entries[i].term >= term && entries[i].term != 0);
        assert_in_range(entries[i].type, RAFT_COMMAND, RAFT_CHANGE);
        assert_true(i == 0 || entries[i].offset == end);
        end = entries[i].offset + entries[i].len;
        assert_true(end <= len);
        term = entries[i].term;
    }
    assert_true(m->n_entries == 0 || end == len);
}

static struct frame_entry table[FRAME_ENTRIES_MAX];

/* Decode a payload of any kind, in memory of exactly its length so that a sanitizer sees a byte too far. */
static int decode(uint8_t kind, const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len > 0 ? len : 1);
    memcpy(exact, bytes, len);
    struct raft_append_entries append;
    struct raft_message m;
    struct frame_install install;
    struct frame_chunk chunk;
    struct frame_chunk_ack ack;
    struct frame_probe probe;
    uint64_t round;
    int rc;
    switch (kind) {
    case FRAME_APPEND:
        rc = frame_append_decode(exact, len, &append, &round, table);
        if (rc == 0)
            append_is_safe(&append, table, len);
        break;
    case FRAME_INSTALL:
        rc = frame_install_decode(exact, len, &install);
        if (rc == 0)
            assert_true(install.last_index != 0 && install.conf + install.conf_len == exact + len);
        break;
    case FRAME_PROBE:
    case FRAME_PROBE_ACK:
        rc = frame_probe_decode(exact, len, &probe);
        break;
    case FRAME_SNAPSHOT_CHUNK:
        rc = frame_chunk_decode(exact, len, &chunk);
        if (rc == 0)
            assert_true(chunk.offset + chunk.len <= chunk.total && chunk.bytes + chunk.len == exact + len);
        break;
    case FRAME_SNAPSHOT_ACK:
        rc = frame_chunk_ack_decode(exact, len, &ack);
        break;
    default:
        rc = frame_small_decode(kind, exact, len, &m, &round);
    }
    free(exact);
    return rc;
}

/* ---- Round trips ---- */

static void append_comes_back(void **state)
{
    (void)state;
    struct sample s;
    struct raft_append_entries m;
    uint64_t round;
    sample_append(&s);
    assert_int_equal(frame_append_decode(s.bytes, s.len, &m, &round, table), 0);
    assert_int_equal(round, 77);
    assert_int_equal(m.term, 9);
    assert_int_equal(m.prev_log_index, 41);
    assert_int_equal(m.prev_log_term, 7);
    assert_int_equal(m.leader_commit, 40);
    assert_int_equal(m.n_entries, 4);
    assert_int_equal(table[0].term, 7);
    assert_memory_equal(s.bytes + table[0].offset, "abc", 3);
    assert_int_equal(table[2].type, RAFT_CHANGE);
    assert_int_equal(table[3].len, 0);
    assert_int_equal(table[3].offset, s.len);
}

static void heartbeat_comes_back(void **state)
{
    (void)state;
    uint8_t buf[FRAME_HEAD_MAX];
    struct raft_append_entries in = {.term = 1}, out;
    uint64_t round;
    size_t len = frame_append_encode(&in, 0, NULL, buf);
    assert_int_equal(len, FRAME_APPEND_HEAD_BYTES);
    assert_int_equal(frame_append_decode(buf, len, &out, &round, table), 0);
    assert_int_equal(out.n_entries, 0);
    assert_int_equal(out.prev_log_index, 0);
}

static void small_messages_come_back(void **state)
{
    (void)state;
    struct sample s;
    struct raft_message m;
    uint64_t round;
    sample_small(&s, FRAME_APPEND_RESULT);
    assert_int_equal(frame_small_decode(s.kind, s.bytes, s.len, &m, &round), 0);
    assert_int_equal(m.type, RAFT_APPEND_ENTRIES_RESULT);
    assert_int_equal(round, 55);
    assert_int_equal(m.append_entries_result.rejected, 12);
    assert_int_equal(m.append_entries_result.capacity, 4);
    assert_int_equal(m.append_entries_result.version, 1);
    sample_small(&s, FRAME_VOTE);
    assert_int_equal(frame_small_decode(s.kind, s.bytes, s.len, &m, &round), 0);
    assert_int_equal(m.request_vote.candidate_id, 2);
    assert_true(m.request_vote.disrupt_leader && !m.request_vote.pre_vote);
    assert_int_equal(m.request_vote.last_log_term, 9);
    sample_small(&s, FRAME_VOTE_RESULT);
    assert_int_equal(frame_small_decode(s.kind, s.bytes, s.len, &m, &round), 0);
    assert_true(m.request_vote_result.vote_granted && m.request_vote_result.pre_vote);
    assert_int_equal(m.request_vote_result.capacity, 2);
    sample_small(&s, FRAME_TIMEOUT_NOW);
    assert_int_equal(frame_small_decode(s.kind, s.bytes, s.len, &m, &round), 0);
    assert_int_equal(m.timeout_now.last_log_index, 99);
}

static void snapshot_frames_come_back(void **state)
{
    (void)state;
    struct sample s;
    struct frame_install install;
    struct frame_chunk chunk;
    struct frame_chunk_ack ack;
    sample_install(&s);
    assert_int_equal(frame_install_decode(s.bytes, s.len, &install), 0);
    assert_int_equal(install.last_index, 1000);
    assert_int_equal(install.file_bytes, 123456);
    struct raft_configuration conf;
    struct raft_buffer buf = {.base = (void *)install.conf, .len = install.conf_len};
    raft_configuration_init(&conf);
    assert_int_equal(raft_configuration_decode(&buf, &conf), 0);
    assert_int_equal(conf.n, 3);
    raft_configuration_close(&conf);
    sample_chunk(&s);
    assert_int_equal(frame_chunk_decode(s.bytes, s.len, &chunk), 0);
    assert_int_equal(chunk.checksum, 0xdeadbeef);
    assert_int_equal(chunk.len, 36);
    assert_int_equal(chunk.bytes[35], 'x');
    sample_of(FRAME_SNAPSHOT_ACK, &s);
    assert_int_equal(frame_chunk_ack_decode(s.bytes, s.len, &ack), 0);
    assert_int_equal(ack.offset, 64);
}

/* ---- What must not be believed ---- */

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct sample s;
    for (uint8_t kind = FRAME_APPEND; kind <= FRAME_SNAPSHOT_ACK; kind++) {
        sample_of(kind, &s);
        assert_int_equal(decode(kind, s.bytes, s.len), 0);
        for (size_t len = 0; len < s.len; len++)
            assert_int_not_equal(decode(kind, s.bytes, len), 0);
        assert_int_not_equal(decode(kind, s.bytes, s.len + 1), 0);
    }
}

static void random_damage_does_no_harm(void **state)
{
    (void)state;
    struct sample s;
    for (unsigned i = 0; i < FLIPS; i++) {
        sample_of((uint8_t)(FRAME_APPEND + i % FRAME_SNAPSHOT_ACK), &s);
        for (unsigned n = 1 + next_random() % 4; n > 0; n--)
            s.bytes[next_random() % s.len] = (uint8_t)next_random();
        decode(s.kind, s.bytes, next_random() % 4 == 0 ? next_random() % (s.len + 9) : s.len);
    }
}

/* One case of guard G6 a row: the sample's bytes at `at` set to `value`. */
static void impossible_values_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint8_t kind;
        size_t at;
        uint64_t value;
    } cases[] = {
        {"append without term", FRAME_APPEND, 0, 0},
        {"append of a term below the previous entry's", FRAME_APPEND, 0, 6},
        {"previous index without term", FRAME_APPEND, 16, 0},
        {"previous term without index", FRAME_APPEND, 8, 0},
        {"previous index too large", FRAME_APPEND, 8, UINT64_MAX},
        {"commit index too large", FRAME_APPEND, 24, UINT64_MAX},
        {"entry without term", FRAME_APPEND, 48, 0},
        {"entry's term below the previous entry's", FRAME_APPEND, 48, 6},
        {"entry's term above the leader's", FRAME_APPEND, 48, 10},
        {"entries' terms fall", FRAME_APPEND, 64, 6},
        {"entry type 0", FRAME_APPEND, 56, 0 | 3ull << 32},
        {"entry type 4", FRAME_APPEND, 56, 4 | 3ull << 32},
        {"a payload that is too long", FRAME_APPEND, 56, 1 | 4ull << 32},
        {"a payload as long as can be", FRAME_APPEND, 56, 1 | (uint64_t)UINT32_MAX << 32},
        {"a command as change", FRAME_APPEND, 56, RAFT_CHANGE | 3ull << 32},
        {"vote without term", FRAME_VOTE, 0, 0},
        {"vote without candidate", FRAME_VOTE, 8, 0},
        {"vote with an index and no term", FRAME_VOTE, 24, 0},
        {"install without index", FRAME_INSTALL, 8, 0},
        {"install without last term", FRAME_INSTALL, 16, 0},
        {"install from the future", FRAME_INSTALL, 16, 10},
        {"install whose configuration is later", FRAME_INSTALL, 24, 1001},
        {"install without bytes", FRAME_INSTALL, 32, 0},
        {"probe without term", FRAME_PROBE, 0, 0},
        {"chunk behind the end", FRAME_SNAPSHOT_CHUNK, 8, 65},
        {"chunk far behind the end", FRAME_SNAPSHOT_CHUNK, 8, UINT64_MAX},
        {"time-out without term", FRAME_TIMEOUT_NOW, 0, 0},
    };
    struct sample s;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sample_of(cases[i].kind, &s);
        for (int b = 0; b < 8; b++)
            s.bytes[cases[i].at + b] = (uint8_t)(cases[i].value >> (8 * b));
        if (decode(s.kind, s.bytes, s.len) == 0)
            fail_msg("accepted: %s", cases[i].what);
    }
}

static void too_many_entries_are_refused(void **state)
{
    (void)state;
    struct raft_append_entries m = append_head(FRAME_ENTRIES_MAX), out;
    size_t room = FRAME_HEAD_MAX + FRAME_APPEND_ENTRY_BYTES;
    uint8_t *buf = calloc(1, room);
    uint64_t round;
    for (unsigned i = 0; i < FRAME_ENTRIES_MAX; i++)
        table[i] = (struct frame_entry){.term = 9, .type = RAFT_COMMAND};
    size_t len = frame_append_encode(&m, 0, table, buf);
    assert_int_equal(len, FRAME_HEAD_MAX);
    assert_int_equal(frame_append_decode(buf, len, &out, &round, table), 0);
    buf[40]++; /* The count. */
    assert_int_equal(frame_append_decode(buf, room, &out, &round, table), FRAME_ETOOBIG);
    free(buf);
}

/* ---- Configurations ---- */

static void configurations_of_libraft_pass(void **state)
{
    (void)state;
    struct raft_configuration c;
    struct raft_buffer buf;
    char address[FRAME_ADDRESS_MAX + 1];
    raft_configuration_init(&c);
    for (unsigned i = 1; i <= FRAME_MEMBERS_MAX; i++) {
        memset(address, 'a' + (int)i, sizeof address);
        address[i * 15] = '\0'; /* Lengths of every remainder by 8. */
        assert_int_equal(raft_configuration_add(&c, i * 1000003ull, address, (int)(i % 3)), 0);
        assert_int_equal(raft_configuration_encode(&c, &buf), 0);
        assert_int_equal(configuration_check(buf.base, buf.len), 0);
        raft_free(buf.base);
    }
    assert_int_equal(raft_configuration_add(&c, 5, "one too many", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&c, &buf), 0);
    assert_int_equal(configuration_check(buf.base, buf.len), FRAME_EMALFORMED);
    raft_free(buf.base);
    raft_configuration_close(&c);
}

/* Whatever passes can be given to libraft, whose decoder does not look where it reads. */
static void damaged_configurations_are_harmless(void **state)
{
    (void)state;
    uint8_t whole[FRAME_CONF_BYTES_MAX];
    size_t whole_len = sample_conf(whole);
    for (size_t i = 0; i < FLIPS; i++) {
        size_t len = i < whole_len ? i : whole_len;
        uint8_t *bytes = malloc(len > 0 ? len : 1);
        memcpy(bytes, whole, len);
        if (i >= whole_len)
            bytes[next_random() % len] = (uint8_t)next_random();
        struct raft_configuration c;
        struct raft_buffer buf = {.base = bytes, .len = len};
        raft_configuration_init(&c);
        if (configuration_check(bytes, len) == 0) {
            assert_int_equal(len, whole_len);
            assert_int_equal(raft_configuration_decode(&buf, &c), 0);
            raft_configuration_close(&c);
        }
        free(bytes);
    }
}

static void doubled_members_are_refused(void **state)
{
    (void)state;
    uint8_t conf[FRAME_CONF_BYTES_MAX];
    size_t len = sample_conf(conf);
    const size_t second_id = 9 + 8 + 14 + 1, second_address = second_id + 8;
    assert_int_equal(conf[second_id], 2);
    conf[second_id] = 1;
    assert_int_equal(configuration_check(conf, len), FRAME_EMALFORMED);
    conf[second_id] = 0;
    assert_int_equal(configuration_check(conf, len), FRAME_EMALFORMED);
    conf[second_id] = 2;
    memcpy(conf + second_address, "10.0.0.1:7001", 13);
    assert_int_equal(configuration_check(conf, len), FRAME_EMALFORMED);
    memcpy(conf + second_address, "10.0.0.2:7001", 13);
    assert_int_equal(configuration_check(conf, len), 0);
    conf[second_id - 1] = 3; /* The first one's role. */
    assert_int_equal(configuration_check(conf, len), FRAME_EMALFORMED);
}

/* ---- Header and greeting ---- */

static void header_notices_any_flip(void **state)
{
    (void)state;
    uint8_t buf[FRAME_HEADER_BYTES];
    struct frame_header in = {.len = 1234567, .kind = FRAME_OWNER, .crc = 0x01020304}, out;
    frame_header_encode(&in, buf);
    assert_int_equal(frame_header_decode(buf, &out), 0);
    assert_int_equal(out.len, in.len);
    assert_int_equal(out.kind, in.kind);
    assert_int_equal(out.crc, in.crc);
    for (unsigned bit = 0; bit < FRAME_HEADER_BYTES * 8; bit++) {
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(frame_header_decode(buf, &out), FRAME_EMALFORMED);
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    in.len = FRAME_BYTES_MAX + 1;
    frame_header_encode(&in, buf);
    assert_int_equal(frame_header_decode(buf, &out), FRAME_ETOOBIG);
}

static struct frame_greeting greeting_sample(void)
{
    struct frame_greeting g = {.kind = FRAME_HELLO,
                               .version_min = 1,
                               .version_max = 3,
                               .cluster_id = "0123456789abcde",
                               .from = 1,
                               .to = 2,
                               .start = 17,
                               .text = "10.0.0.1:6379"};
    return g;
}

static void greeting_comes_back_at_every_cut(void **state)
{
    (void)state;
    struct frame_greeting in = greeting_sample(), out;
    uint8_t buf[FRAME_GREETING_BYTES_MAX];
    size_t len = frame_greeting_encode(&in, buf);
    assert_int_equal(len % 8, 0);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(frame_greeting_decode(buf, cut, &out), 0);
    assert_int_equal(frame_greeting_decode(buf, len, &out), len);
    assert_int_equal(out.version_max, 3);
    assert_int_equal(out.from, 1);
    assert_int_equal(out.to, 2);
    assert_int_equal(out.start, 17);
    assert_string_equal(out.text, in.text);
    assert_memory_equal(out.cluster_id, in.cluster_id, sizeof in.cluster_id);
}

static void greeting_of_any_text_length(void **state)
{
    (void)state;
    uint8_t buf[FRAME_GREETING_BYTES_MAX];
    for (size_t n = 0; n <= FRAME_GREETING_TEXT_MAX; n++) {
        struct frame_greeting in = greeting_sample(), out;
        memset(in.text, 'a', n);
        in.text[n] = '\0';
        size_t len = frame_greeting_encode(&in, buf);
        assert_true(len <= sizeof buf);
        assert_int_equal(frame_greeting_decode(buf, len, &out), len);
        assert_string_equal(out.text, in.text);
    }
}

static void greeting_text_is_made_printable(void **state)
{
    (void)state;
    struct frame_greeting in = greeting_sample(), out;
    uint8_t buf[FRAME_GREETING_BYTES_MAX];
    strcpy(in.text, "a\n\033[31mb");
    size_t len = frame_greeting_encode(&in, buf);
    assert_int_equal(frame_greeting_decode(buf, len, &out), len);
    assert_string_equal(out.text, "a??[31mb");
}

static void garbage_is_no_greeting(void **state)
{
    (void)state;
    struct frame_greeting in = greeting_sample(), out;
    uint8_t buf[FRAME_GREETING_BYTES_MAX];
    assert_int_equal(frame_greeting_decode((const uint8_t *)"GET", 3, &out), FRAME_EMALFORMED);
    size_t len = frame_greeting_encode(&in, buf);
    for (unsigned i = 0; i < FLIPS; i++) {
        size_t at = next_random() % len;
        uint8_t was = buf[at];
        buf[at] = (uint8_t)next_random();
        long rc = frame_greeting_decode(buf, len, &out);
        bool checked = at < FRAME_GREETING_HEAD_BYTES + strlen(in.text);
        assert_true(rc <= 0 || buf[at] == was || !checked);
        buf[at] = was;
    }
}

/* ---- Outbox and inbox: from gathered frames to frames again ---- */

struct pipe {
    struct outbox out;
    struct inbox in;
    unsigned next; /* Number of the frame that must come next. */
};

static struct blob *numbered(unsigned number, size_t len)
{
    uint8_t *bytes = malloc(len + 1);
    memset(bytes, (int)(number * 7 + len), len);
    struct blob *b = blob_own(bytes, len);
    assert_non_null(b);
    return b;
}

static void pipe_add(struct pipe *p, unsigned number, size_t len)
{
    struct blob *b = numbered(number, len);
    struct io_slice slices[2] = {{.blob = b, .offset = 0, .len = len / 3},
                                 {.blob = b, .offset = len / 3, .len = len - len / 3}};
    assert_int_equal(outbox_add(&p->out, FRAME_OWNER, &number, sizeof number, slices, 2), 0);
    blob_unref(b);
}

static void pipe_drain(struct pipe *p, const size_t *lens)
{
    struct frame_header h;
    const uint8_t *payload;
    while (inbox_next(&p->in, &h, &payload) == 1) {
        unsigned number;
        assert_int_equal((uintptr_t)payload % 8, 0);
        memcpy(&number, payload, sizeof number);
        assert_int_equal(number, p->next);
        assert_int_equal(h.len, sizeof number + lens[number]);
        for (size_t i = sizeof number; i < h.len; i++)
            if (payload[i] != (uint8_t)(number * 7 + lens[number]))
                fail_msg("frame %u differs at %zu", number, i);
        p->next++;
    }
}

/* Bytes travel in pieces of any size. */
static void pipe_carry(struct pipe *p, const uint8_t *bytes, size_t len, const size_t *lens)
{
    while (len > 0) {
        size_t room, n = 1 + next_random() % 100000;
        uint8_t *to = inbox_room(&p->in, &room);
        assert_true(room > 0);
        n = n < room ? n : room;
        n = n < len ? n : len;
        memcpy(to, bytes, n);
        inbox_received(&p->in, n);
        bytes += n;
        len -= n;
        pipe_drain(p, lens);
    }
}

static void pipe_flush(struct pipe *p, const size_t *lens)
{
    uv_buf_t *bufs;
    long n = outbox_take(&p->out, &bufs);
    assert_true(n >= 0);
    while (n > 0) {
        size_t sent = next_random() % 2 == 0 ? bufs[0].len : next_random() % (bufs[0].len + 1);
        pipe_carry(p, (const uint8_t *)bufs[0].base, sent, lens);
        n = (long)outbox_advance(&p->out, sent, &bufs);
    }
    outbox_left(&p->out);
}

#define PIPE_FRAMES 2000

static void frames_pass_through_boxes(void **state)
{
    (void)state;
    struct pipe p = {0};
    size_t *lens = calloc(PIPE_FRAMES, sizeof *lens);
    for (unsigned i = 0; i < PIPE_FRAMES; i++) {
        uint64_t r = next_random();
        lens[i] = r % 100 == 0 ? r / 100 % (3u << 20) : r % 10 == 0 ? r / 100 % 5000 : r / 100 % 100;
        pipe_add(&p, i, lens[i]);
        if (next_random() % 20 == 0)
            pipe_flush(&p, lens);
    }
    pipe_flush(&p, lens);
    assert_int_equal(p.next, PIPE_FRAMES);
    outbox_release(&p.out);
    inbox_release(&p.in);
    free(lens);
}

static void damage_on_the_way_is_noticed(void **state)
{
    (void)state;
    struct frame_header h;
    const uint8_t *payload;
    for (unsigned i = 0; i < 2000; i++) {
        struct outbox out = {0};
        struct inbox in = {0};
        uv_buf_t *bufs;
        size_t room;
        assert_int_equal(outbox_add(&out, FRAME_PROBE, "0123456789abcdef", 16, NULL, 0), 0);
        assert_int_equal(outbox_take(&out, &bufs), 1);
        bufs[0].base[next_random() % bufs[0].len] ^= (char)(1 << next_random() % 8);
        memcpy(inbox_room(&in, &room), bufs[0].base, bufs[0].len);
        inbox_received(&in, bufs[0].len);
        int rc = inbox_next(&in, &h, &payload);
        assert_true(rc == INBOX_EHEADER || rc == INBOX_ECRC);
        outbox_release(&out);
        inbox_release(&in);
    }
}

/* A large frame's memory is not kept. */
static void inbox_shrinks_again(void **state)
{
    (void)state;
    size_t lens[2] = {32u << 20, 10};
    struct pipe p = {0};
    size_t room;
    pipe_add(&p, 0, lens[0]);
    pipe_flush(&p, lens);
    pipe_add(&p, 1, lens[1]);
    pipe_flush(&p, lens);
    assert_int_equal(p.next, 2);
    inbox_room(&p.in, &room);
    assert_true(p.in.cap <= 128u << 10);
    outbox_release(&p.out);
    inbox_release(&p.in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_comes_back),
        cmocka_unit_test(heartbeat_comes_back),
        cmocka_unit_test(small_messages_come_back),
        cmocka_unit_test(snapshot_frames_come_back),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(random_damage_does_no_harm),
        cmocka_unit_test(impossible_values_are_refused),
        cmocka_unit_test(too_many_entries_are_refused),
        cmocka_unit_test(configurations_of_libraft_pass),
        cmocka_unit_test(damaged_configurations_are_harmless),
        cmocka_unit_test(doubled_members_are_refused),
        cmocka_unit_test(header_notices_any_flip),
        cmocka_unit_test(greeting_comes_back_at_every_cut),
        cmocka_unit_test(greeting_of_any_text_length),
        cmocka_unit_test(greeting_text_is_made_printable),
        cmocka_unit_test(garbage_is_no_greeting),
        cmocka_unit_test(frames_pass_through_boxes),
        cmocka_unit_test(damage_on_the_way_is_noticed),
        cmocka_unit_test(inbox_shrinks_again),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
