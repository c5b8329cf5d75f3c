/* meta.h - the small file "meta": whose directory this is, how often it was started, term and vote.
 *
 * The file is two slots of META_SLOT_BYTES, each a whole copy. Little-endian, from the start of the slot:
 *    0 crc u32          CRC-32C of the rest of the slot, bytes 4 to 4095
 *    4 version u32      META_VERSION; crc, version and magic keep their place in every version
 *    8 magic            "HFLTMETA"
 *   16 sequence u64     one more for each store; the higher valid one counts
 *   24 cluster id       16 bytes
 *   40 node id u64
 *   48 start u64        how often the directory was opened
 *   56 term u64
 *   64 vote u64
 *   72 segment u64      a segment file of this or a higher number must exist; 0: none was ever made
 *   80 incarnation u64 drawn by chance when the directory was made: an emptied directory is another one
 *   88 zeros
 * Each store writes the first slot, syncs, writes the second, syncs. So once a store has returned, either slot
 * alone tells it, and one damaged slot loses nothing; a crash in between leaves at least one slot whole,
 * with the state before or after. The file is created as "meta.new" and renamed when it is whole. */
#pragma once
#include "raft/log.h"

#define META_NAME "meta"
#define META_NAME_NEW "meta.new"
#define META_SLOT_BYTES 4096
#define META_VERSION 1

struct meta_state {
    uint8_t cluster_id[LOG_CLUSTER_ID_BYTES];
    uint64_t node_id;
    uint64_t start, term, vote, segment;
    uint64_t incarnation; /* 0: made before there were any; the next start draws one. */
};

struct meta {
    struct io *io;
    struct io_file *file; /* NULL when not open. */
    uint64_t sequence;
    struct meta_state state; /* As stored. */
};

/* Make the file with this state. Errors: LOG_EIO, LOG_ENOSPC, with a sentence. */
int meta_create(struct meta *m, struct io *io, const struct meta_state *state, char error[256]);
/* Read the file. Errors: LOG_ENOENT, LOG_EIO, LOG_ECORRUPT, LOG_EVERSION, each but the first with a sentence. */
int meta_open(struct meta *m, struct io *io, char error[256]);
/* Store the state in both slots, durable on return. On failure the file may hold the new state or the old one:
 * the node must stop. Errors: LOG_EIO, LOG_ENOSPC; io->error has the words. */
int meta_store(struct meta *m, const struct meta_state *state);
void meta_close(struct meta *m); /* Also of one that is zeroed or failed to open. */
