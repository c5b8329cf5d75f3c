/* known.h - what this node remembers of the others' data directories, in the file "known".
 *
 * A node that lost its disk and comes back with an empty one has forgotten its votes and what it acknowledged; under
 * its old id it could vote twice in a term, or be counted for entries it no longer has. So each directory has an
 * incarnation, drawn by chance, and is believed to be its id's only while it is the one that was met first, counts its
 * starts upwards, and holds what it is known to have held. Ids are never given twice, so nothing here is ever to be
 * unlearnt.
 *
 * Little-endian: crc u32 (CRC-32C of the rest), version u32, magic "HFLTKNOW", n u32, zero u32, then for each node id,
 * incarnation, start u64. Written as "known.new" and renamed. */
#pragma once
#include "raft/io.h"

#define KNOWN_NAME "known"
#define KNOWN_NAME_NEW "known.new"
#define KNOWN_NODES_MAX 1024
#define KNOWN_VERSION 1

enum known_err {
    KNOWN_EIO = -1,      /* io->error has the words. */
    KNOWN_ECORRUPT = -2, /* With a sentence. */
    KNOWN_EOTHER = -3,   /* Not the directory that this id had. */
    KNOWN_EOLDER = -4,   /* The directory, but as it was before. */
};

struct known_node {
    uint64_t id, incarnation, start; /* incarnation 0: named, not met */
    uint64_t held;                   /* Committed entries up to here were acknowledged by it; not stored. */
};

struct known {
    struct io *io;
    struct known_node nodes[KNOWN_NODES_MAX];
    size_t n;
};

/* Read the file; without one nobody is known. Blocking. KNOWN_EIO, KNOWN_ECORRUPT, with a sentence. */
int known_open(struct known *k, struct io *io, char error[256]);
/* Is this the directory of node `id`? One met for the first time is, and is remembered durably before this returns.
 * last: index of the last entry in its log. KNOWN_EOTHER, KNOWN_EOLDER; KNOWN_EIO: it could not be remembered. */
int known_meet(struct known *k, uint64_t id, uint64_t incarnation, uint64_t start, uint64_t last);
/* It has acknowledged committed entries up to index. */
void known_holds(struct known *k, uint64_t id, uint64_t index);
/* These are, or were, members, met or not: remembered if that can be done. */
void known_name(struct known *k, const uint64_t *ids, size_t n);
/* The highest id ever met or named; 0: none. */
uint64_t known_highest(const struct known *k);
