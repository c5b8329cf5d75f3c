/* send.c - the core's messages as frames. The core keeps terms only: the entries of an AppendEntries are filled in here
 * from our log, as slices of the very blobs that the log holds. */
#include "raft/replica_internal.h"
#include <assert.h>
#include <string.h>

#define SEND_FRAME_BYTES                                                                                               \
    (1u << 20) /* A message larger than this is split, so that no frame blocks a link for long.                        \
                */

struct append {
    const struct raft_append_entries *m;
    uint64_t to;
    uint64_t prev_index, prev_term; /* Of the piece being gathered. */
    size_t n, bytes;
};

static void append_flush(struct replica *r, struct append *a)
{
    struct raft_append_entries piece = *a->m;
    piece.prev_log_index = a->prev_index;
    piece.prev_log_term = a->prev_term;
    piece.n_entries = (unsigned)a->n;
    size_t head_len = frame_append_encode(&piece, 0, r->table, r->head);
    r->io->ops->send(r->io, a->to, FRAME_APPEND, r->head, head_len, r->slices, a->n);
    for (size_t i = 0; i < a->n; i++)
        blob_unref(r->slices[i].blob);
    if (a->n > 0)
        a->prev_term = r->table[a->n - 1].term;
    a->prev_index += a->n;
    a->n = a->bytes = 0;
}

static int append_add(struct replica *r, struct append *a, uint64_t index)
{
    struct log_entry e;
    if (log_read(r->log, index, &e) != 0) {
        replica_fail(r,
                     "entry %llu, which a follower needs, cannot be read back from the log (it holds %llu to %llu): %s",
                     (unsigned long long)index, (unsigned long long)log_first(r->log),
                     (unsigned long long)log_last(r->log), r->io->error);
        return -1;
    }
    if (a->n == FRAME_ENTRIES_MAX || (a->n > 0 && a->bytes + e.len > SEND_FRAME_BYTES))
        append_flush(r, a);
    r->table[a->n] = (struct frame_entry){.term = e.term, .type = e.type, .len = (uint32_t)e.len};
    r->slices[a->n++] = (struct io_slice){e.blob, e.offset, e.len};
    a->bytes += e.len;
    return 0;
}

static void send_append(struct replica *r, const struct raft_message *m)
{
    struct append a = {.m = &m->append_entries,
                       .to = m->server_id,
                       .prev_index = m->append_entries.prev_log_index,
                       .prev_term = m->append_entries.prev_log_term};
    uint64_t first = a.prev_index + 1;
    for (unsigned i = 0; i < m->append_entries.n_entries; i++) {
        if (append_add(r, &a, first + i) == 0)
            continue;
        for (size_t k = 0; k < a.n; k++)
            blob_unref(r->slices[k].blob);
        return;
    }
    append_flush(r, &a);
}

void send_message(struct replica *r, const struct raft_message *m)
{
    uint8_t kind, buf[FRAME_SMALL_BYTES_MAX];
    if (!replica_link_up(r, m->server_id))
        return; /* Lost, as on any network; the core sends again. */
    if (m->type == RAFT_APPEND_ENTRIES) {
        send_append(r, m);
        return;
    }
    if (m->type == RAFT_INSTALL_SNAPSHOT) {
        offer_wanted(r, m->server_id);
        return;
    }
    size_t len = frame_small_encode(m, 0, &kind, buf);
    r->io->ops->send(r->io, m->server_id, kind, buf, len, NULL, 0);
}
