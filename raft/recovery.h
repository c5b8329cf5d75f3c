/* recovery.h - reading the whole log when it is opened: what the files hold, what is damaged, what is a torn tail.
 * Blocking; reads only, but for what recovery_finish_tail() says. */
#pragma once
#include "raft/cache.h"
#include "raft/segments.h"
#include "raft/terms.h"

struct recovery_names {
    uint64_t *logs, *spares; /* Numbers, sorted. */
    size_t n_logs, n_spares;
    bool meta; /* The meta file is there. */
    /* While listing: */
    size_t logs_capacity, spares_capacity;
    bool out_of_memory;
};

struct recovery {
    struct io *io;
    const struct log_options *options;
    struct segments *segments; /* To be filled. */
    struct terms *terms;
    struct cache *cache;
    char *error; /* 256 bytes */

    struct segment_reader reader;
    struct segment_header header; /* Of the file being read. */
    size_t first;                 /* names.logs[first] is the first file that counts: those before are obsolete. */
    uint64_t end;                 /* Of the records of the last file read so far, */
    uint32_t seed, chain;         /* its header's crc and its last record's crc. */
    uint64_t file_bytes;          /* Its size. */
    uint64_t last_index;          /* Of the last record in it that was an entry; 0: none. */
    bool marked;                  /* Its last record is a mark. */
    uint64_t synced;              /* What of it is known to have been synced ends here. */
    uint64_t leftover_end;        /* Whole records behind a torn tail end here; 0: none. */
};

/* What is in the directory. 0, LOG_EIO, LOG_ENOMEM with a sentence. */
int recovery_list(struct io *io, struct recovery_names *ret, char error[256]);
void recovery_names_release(struct recovery_names *n);

/* Read names->logs, at least one, the last of which must be number `floor` or higher. Fills segments, terms and cache,
 * which are empty, and the fields after `reader`. Errors, with a sentence: LOG_EIO, LOG_ENOMEM, LOG_ECORRUPT,
 * LOG_EVERSION, LOG_EFOREIGN. */
int recovery_run(struct recovery *v, const struct recovery_names *names, uint64_t floor);
/* Before the last file is synced: wipe whole records left behind a torn tail, so that they never count, and write what
 * may never have been synced once more. 0 or LOG_EIO, with a sentence. */
int recovery_finish_tail(struct recovery *v, struct io_file *f);
void recovery_release(struct recovery *v);
/* "node 3 of cluster 00112233445566778899aabbccddeeff" */
void recovery_identity(char text[80], const uint8_t cluster_id[LOG_CLUSTER_ID_BYTES], uint64_t node_id);
