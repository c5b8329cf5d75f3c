/* segment.h - one file of the log: its format, and reading it.
 *
 * The log is a row of files "log-%016x", numbered without holes; numbers only grow and are never used twice. Prepared
 * files wait as "spare-%016x" (see spares.h). Integers are little-endian. A file begins with a header of
 * SEGMENT_HEADER_BYTES, synced before the file gets its name:
 *
 *    0 crc u32           CRC-32C of bytes 4 to 4095
 *    4 version u32       SEGMENT_VERSION; crc, version and magic keep their place in every version
 *    8 magic             "HFLTSEGM"
 *   16 number u64        as in the name
 *   24 cluster id        16 bytes
 *   40 node id u64
 *   48 base index u64    the first record has index base + 1
 *   56 base term u64     the term of the entry at base; 0 when base is 0
 *   64 previous end u64  where the records of the file before this one ended,
 *   72 previous crc u32  and the CRC of its last record
 *   76 flags u32         bit 0: begins the log anew (after a snapshot; files before this one count no more)
 *                        bit 1: made from a spare, that is, its space was written before
 *   80 zeros
 *
 * Then records without gaps, each padded with zeros to a multiple of 8 bytes:
 *
 *    0 crc u32           CRC-32C, continued from the header's crc, of the record from byte 4 on, padding included
 *    4 previous crc u32  of the record before; the header's crc for the first one
 *    8 len u32           of the payload
 *   12 type u8           LOG_COMMAND ... or RECORD_MARK; 3 zeros
 *   16 segment u64       number of the file it was written for
 *   24 index u64
 *   32 term u64
 *   40 synced u64        everything in this file before this offset was synced when this record was written
 *   48 payload
 *
 * A record whose index is not the last + 1 but lower replaces everything from that index on. A mark has no payload and
 * changes nothing; it is written when the log is opened and closed, to carry `synced`.
 *
 * Files are removed from the lowest number on, once a later file with records begins at or below what may go. So the
 * first files left may be empty, or hold only what the next one replaces because its base is below theirs; the log then
 * begins with the next one. A file without records changes nothing (a crash came right after it was made).
 *
 * After the last record comes whatever was in the file before: zeros, or older records, which the segment number, the
 * header's crc as seed and the chain of previous crcs keep from ever counting again.
 *
 * Where do the records end, and was that the end? In every file but the last the next header tells: anything else
 * is damage. In the last file the first thing that is not the next record is either a torn tail (a group of
 * records is one write; after a power failure any of its sectors may be missing; none of it was acknowledged) or damage
 * to something that had been acknowledged. Every record of a group carries as `synced` the offset at which the
 * group starts. So if some whole record behind the broken one says that more than the broken one's offset was synced,
 * it is damage, and the log is refused. Otherwise it is a torn tail: the log goes on from there, after whole
 * records left behind it were wiped. (Damage to the very last group, before a later group or mark was written, cannot
 * be told from a torn tail.) */
#pragma once
#include "raft/log.h"

#define SEGMENT_HEADER_BYTES 4096
#define SEGMENT_VERSION 1
#define SEGMENT_NAME_BYTES 32
#define SEGMENT_NAME_NEW "log.new" /* A segment that has no header yet. */
#define RECORD_HEADER_BYTES 48
#define RECORD_ALIGN 8
#define RECORD_MARK 0

struct segment_header {
    uint64_t number;
    uint8_t cluster_id[LOG_CLUSTER_ID_BYTES];
    uint64_t node_id;
    uint64_t base_index, base_term;
    uint64_t previous_end;
    uint32_t previous_crc;
    bool anew, prepared;
};

struct record {
    uint32_t crc, previous_crc, len;
    uint8_t type;
    uint64_t segment, index, term, synced;
};

void segment_name(char name[SEGMENT_NAME_BYTES], uint64_t number);
/* Encode the header; returns its crc, the seed of the records. */
uint32_t segment_header_encode(uint8_t bytes[SEGMENT_HEADER_BYTES], const struct segment_header *h);

/* Bytes of a record in the file, padding included. */
static inline uint64_t record_bytes(size_t payload_len)
{
    return (RECORD_HEADER_BYTES + (uint64_t)payload_len + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}
/* Fill head from r (its crc is computed from seed and set). */
void record_encode(uint8_t head[RECORD_HEADER_BYTES], struct record *r, uint32_t seed, const uint8_t *payload);

/* Reads one segment file through a window of memory. Everything before `limit` may be read. */
struct segment_reader {
    struct io *io;
    struct io_file *file; /* NULL when closed. */
    uint64_t number, limit;
    uint64_t size; /* Of the file, when it was opened. */
    uint32_t seed;
    uint8_t *window;
    size_t window_capacity, window_len;
    uint64_t window_offset;
    char why[96]; /* What reader_record() found instead of a record. */
};

/* Open the file and check its header (ret_header may be NULL). limit: the file's size.
 * Errors, with a sentence: LOG_EIO, LOG_ENOMEM, LOG_ECORRUPT, LOG_EVERSION. Close it after an error too. */
int reader_open(struct segment_reader *r, struct io *io, uint64_t number, struct segment_header *ret_header,
                char error[256]);
void reader_close(struct segment_reader *r); /* Keeps the window's memory for the next file. */
void reader_release(struct segment_reader *r);
/* The record at offset: 1 and its parts (payload borrowed until the next call); 0 if there is no whole record of
 * this file there (r->why says what is); or LOG_EIO, LOG_ENOMEM. */
int reader_record(struct segment_reader *r, uint64_t offset, struct record *ret, const uint8_t **ret_payload);

/* What is behind offset `from`, where no record was found. */
struct segment_tail {
    uint64_t leftover_end;  /* End of the last whole record found behind, or 0. */
    uint64_t damaged_until; /* Not 0: a record behind says that this much was synced: damage, not a torn tail. */
};
int reader_tail(struct segment_reader *r, uint64_t from, struct segment_tail *ret);
