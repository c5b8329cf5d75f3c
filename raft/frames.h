/* frames.h - the bytes that go between peers: the greeting that opens a link, the header of each frame, and the
 * payloads of raft's messages. Little-endian, explicit fields, no padding left to the compiler.
 *
 * Encoders fill a caller's buffer and trust their arguments. Decoders trust nothing: every length is checked, what
 * the core could not survive is refused (RAFT.md, guard G6), and a frame that decodes can be handed to raft_step().
 * Pure functions, any thread; no memory is allocated. Numbers of kinds and layouts are for ever: peers of two
 * versions talk to each other while a cluster is upgraded. */
#pragma once
#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_err {
    FRAME_EMALFORMED = -1, /* Lengths or counts do not add up, or a value is impossible. */
    FRAME_ETOOBIG = -2,    /* More entries, or more bytes, than a frame may have. */
};

/* Kinds. 0 is never sent. */
enum frame_kind {
    FRAME_APPEND = 1,
    FRAME_APPEND_RESULT = 2,
    FRAME_VOTE = 3,
    FRAME_VOTE_RESULT = 4,
    FRAME_INSTALL = 5,
    FRAME_TIMEOUT_NOW = 6,
    FRAME_PROBE = 7,
    FRAME_PROBE_ACK = 8,
    FRAME_SNAPSHOT_CHUNK = 9,
    FRAME_SNAPSHOT_ACK = 10,
    FRAME_OWNER = 32, /* From here to 255: the daemon's own, payload opaque. */
};

#define FRAME_BYTES_MAX (72u << 20) /* Payload of one frame: the largest log entry and room to spare. */
#define FRAME_ENTRIES_MAX 1024      /* Entries of one FRAME_APPEND. */
#define FRAME_MEMBERS_MAX 16        /* Servers of a configuration. */
#define FRAME_ADDRESS_MAX 255       /* Bytes of a server's address, without the NUL. */
#define FRAME_CONF_BYTES_MAX (16 + FRAME_MEMBERS_MAX * (8 + FRAME_ADDRESS_MAX + 1 + 1))

/* ---- The header of each frame ----
 * {u32 payload length, u8 kind, u8[3] zero, u32 crc32c of the payload, u32 crc32c of the 12 bytes before}, payload,
 * zeros up to a multiple of 8: the next payload starts aligned again. */
#define FRAME_HEADER_BYTES 16

struct frame_header {
    uint32_t len; /* Of the payload, without the zeros behind it. */
    uint8_t kind;
    uint32_t crc; /* crc32c of the payload. */
};

static inline size_t frame_pad(size_t len)
{
    return (8 - len % 8) % 8;
}

void frame_header_encode(const struct frame_header *h, uint8_t buf[FRAME_HEADER_BYTES]);
/* FRAME_EMALFORMED: damaged, or out of step with the sender; FRAME_ETOOBIG. */
int frame_header_decode(const uint8_t buf[FRAME_HEADER_BYTES], struct frame_header *ret);
/* Is this a kind that this version knows, or one of the owner's? Others are skipped (a newer peer sent them). */
bool frame_kind_known(uint8_t kind);

/* ---- The greeting: one each way before any frame; its layout is the same in every version ---- */
#define FRAME_VERSION_MIN 1
#define FRAME_VERSION_MAX 1
#define FRAME_GREETING_HEAD_BYTES 88
#define FRAME_GREETING_TEXT_MAX 255
#define FRAME_GREETING_BYTES_MAX (FRAME_GREETING_HEAD_BYTES + 512)
#define FRAME_CLUSTER_ID_BYTES 16

enum frame_greeting_kind { FRAME_HELLO = 1, FRAME_WELCOME = 2, FRAME_REFUSED = 3 };

/* Why a HELLO was refused. */
enum frame_refusal {
    FRAME_REFUSED_VERSION = 1, /* No wire version in common. */
    FRAME_REFUSED_CLUSTER = 2, /* Of another cluster. */
    FRAME_REFUSED_TO = 3,      /* Meant for another node than the one that answered. */
    FRAME_REFUSED_SELF = 4,    /* Comes from a node with the id of the one that answered. */
    FRAME_REFUSED_MEMBER = 5,  /* Not (or no longer) a member. */
    FRAME_REFUSED_LIMIT = 6,   /* Too many peers already. */
    FRAME_REFUSED_LOST = 7,    /* It comes from another data directory, or an older one, than that id had before. */
};

struct frame_greeting {
    uint16_t kind;
    uint16_t version_min, version_max; /* HELLO: what the dialler speaks; WELCOME: twice the one chosen. */
    uint16_t code;                     /* REFUSED: enum frame_refusal, or a newer version's. */
    uint8_t cluster_id[FRAME_CLUSTER_ID_BYTES];
    uint64_t from, to;                      /* Node ids. */
    uint64_t start;                         /* Start number of the sender's process. */
    uint64_t incarnation;                   /* Of the sender's data directory. */
    uint64_t last;                          /* Index of the last entry in the sender's log. */
    uint64_t configuration;                 /* Index of the last committed list of members that the sender has. */
    char text[FRAME_GREETING_TEXT_MAX + 1]; /* Client address of the sender; in REFUSED the reason in words. */
    char peer[FRAME_GREETING_TEXT_MAX + 1]; /* Peer address of the sender, for one who has yet to learn it; or "". */
};

/* Returns the bytes written, a multiple of 8. */
size_t frame_greeting_encode(const struct frame_greeting *g, uint8_t buf[FRAME_GREETING_BYTES_MAX]);
/* Bytes of the greeting at buf: > 0 when decoded, 0 when more bytes are needed, FRAME_EMALFORMED as soon as what is
 * there cannot become one. The text comes out printable whatever was sent. */
long frame_greeting_decode(const uint8_t *buf, size_t len, struct frame_greeting *ret);

/* ---- FRAME_APPEND: {head}{table of n entries}{payloads back to back} ---- */
#define FRAME_APPEND_HEAD_BYTES 48
#define FRAME_APPEND_ENTRY_BYTES 16
#define FRAME_HEAD_MAX (FRAME_APPEND_HEAD_BYTES + FRAME_ENTRIES_MAX * FRAME_APPEND_ENTRY_BYTES)

struct frame_entry {
    uint64_t term;
    uint8_t type; /* enum raft_entry_type */
    uint32_t len;
    size_t offset; /* Decoded only: of the payload inside the frame's. */
};

/* Head and table of m (m->n_entries of them, m->entries is not looked at) into buf; send it followed by the entries'
 * payloads in order. round is the read round that rides along (0: none). Returns the bytes written. */
size_t frame_append_encode(const struct raft_append_entries *m, uint64_t round, const struct frame_entry *entries,
                           uint8_t buf[FRAME_HEAD_MAX]);
/* ret->entries is NULL and ret->n_entries the count; the entries are in `entries` (room for FRAME_ENTRIES_MAX). All
 * payloads lie back to back from entries[0].offset to the end of the frame. */
int frame_append_decode(const uint8_t *payload, size_t len, struct raft_append_entries *ret, uint64_t *ret_round,
                        struct frame_entry *entries);

/* ---- Small messages: APPEND_RESULT, VOTE, VOTE_RESULT, TIMEOUT_NOW ---- */
#define FRAME_SMALL_BYTES_MAX 48

/* m->type must be one of the four. round: echo of the read round, for APPEND_RESULT. Returns the bytes written. */
size_t frame_small_encode(const struct raft_message *m, uint64_t round, uint8_t *ret_kind,
                          uint8_t buf[FRAME_SMALL_BYTES_MAX]);
/* Sets ret->type and its part of the union; server_id and server_address are the caller's to fill in. */
int frame_small_decode(uint8_t kind, const uint8_t *payload, size_t len, struct raft_message *ret, uint64_t *ret_round);

/* ---- FRAME_PROBE and FRAME_PROBE_ACK ---- */
#define FRAME_PROBE_BYTES 16
struct frame_probe {
    uint64_t term, round;
};
size_t frame_probe_encode(const struct frame_probe *p, uint8_t buf[FRAME_PROBE_BYTES]);
int frame_probe_decode(const uint8_t *payload, size_t len, struct frame_probe *ret);

/* ---- FRAME_INSTALL: what a snapshot is; its bytes come in chunks ---- */
#define FRAME_INSTALL_HEAD_BYTES 56
#define FRAME_INSTALL_BYTES_MAX (FRAME_INSTALL_HEAD_BYTES + FRAME_CONF_BYTES_MAX)
struct frame_install {
    uint64_t term;
    uint64_t last_index, last_term;
    uint64_t conf_index;
    uint64_t file_bytes;
    uint32_t chunk_bytes; /* Size of each chunk but the last. */
    uint32_t conf_len;
    const uint8_t *conf; /* As raft_configuration_encode() made it; decoded: inside the frame, and checked. */
};
size_t frame_install_encode(const struct frame_install *m, uint8_t buf[FRAME_INSTALL_BYTES_MAX]);
int frame_install_decode(const uint8_t *payload, size_t len, struct frame_install *ret);

/* ---- FRAME_SNAPSHOT_CHUNK {head}{bytes} and FRAME_SNAPSHOT_ACK ---- */
#define FRAME_CHUNK_HEAD_BYTES 32
struct frame_chunk {
    uint64_t snapshot_index;
    uint64_t offset, total;
    uint32_t checksum; /* The caller's: of the file up to and with this chunk. Not checked here. */
    uint32_t len;
    const uint8_t *bytes; /* Decoded only: inside the frame. */
};
/* The head; send it followed by the c->len bytes. */
size_t frame_chunk_encode(const struct frame_chunk *c, uint8_t buf[FRAME_CHUNK_HEAD_BYTES]);
int frame_chunk_decode(const uint8_t *payload, size_t len, struct frame_chunk *ret);

#define FRAME_CHUNK_ACK_BYTES 16
struct frame_chunk_ack {
    uint64_t snapshot_index;
    uint64_t offset; /* Received and kept so far. */
};
size_t frame_chunk_ack_encode(const struct frame_chunk_ack *a, uint8_t buf[FRAME_CHUNK_ACK_BYTES]);
int frame_chunk_ack_decode(const uint8_t *payload, size_t len, struct frame_chunk_ack *ret);

/* ---- Configurations ---- */
/* May these bytes be given to raft_configuration_decode(), which does not look where it reads? 1 to FRAME_MEMBERS_MAX
 * servers, ids not 0 and all different, addresses not empty and all different, known roles, nothing behind. 0 or
 * FRAME_EMALFORMED. */
int configuration_check(const void *buf, size_t len);
