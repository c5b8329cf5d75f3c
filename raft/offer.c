/* offer.c - sending a snapshot to a follower whose next entry is no longer in the log.
 *
 *     the core asks --> the owner makes the file (off the loop) --> head --> one chunk at a time, read off the loop,
 * the next when the last was acknowledged as written --> the follower says so by its AppendEntries result
 *
 * One chunk under way bounds memory at both ends and leaves the link to entries and heartbeats. One follower at a
 * time; the core asks again for others, and for one whose attempt ended. The log is held at the file's index meanwhile.
 */
#include "raft/replica_internal.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define OFFER_CHUNK_BYTES (256u << 10)
#define OFFER_SILENCE_MS 4000 /* To write a chunk; */
#define OFFER_CHECK_MS 30000  /* to check the file and put it in place. */

static struct replica *replica_of(struct io_job *job)
{
    return (struct replica *)((char *)job - offsetof(struct replica, offer.job));
}

static void finish(struct replica *r)
{
    struct offer *of = &r->offer;
    if (of->reading || of->state == OFFER_MAKING) {
        of->stop = true;
        return;
    }
    if (of->file != NULL)
        r->io->ops->close(of->file);
    of->file = NULL;
    of->state = OFFER_IDLE;
    r->io->ops->unlink(r->io, REPLICA_SNAPSHOT_FILE);
}

void offer_stop(struct replica *r, uint64_t peer)
{
    if (r->offer.state != OFFER_IDLE && (peer == 0 || r->offer.to == peer))
        finish(r);
}

/* It is over when the follower's log has got there. One that has no more to say is not waited for: the log is held
 * for it, and others may want one. */
void offer_check(struct replica *r)
{
    struct offer *of = &r->offer;
    if (of->state != OFFER_SENDING)
        return;
    bool sent = of->acked == of->head.file_bytes;
    bool arrived = sent && replica_match(r, of->to) >= of->head.last_index;
    if (arrived)
        r->snapshots_sent++;
    if (arrived || replica_now(r) > of->heard_ms + (sent ? OFFER_CHECK_MS : OFFER_SILENCE_MS))
        finish(r);
}

/* The core asks with every heartbeat that the follower cannot make use of. */
void offer_wanted(struct replica *r, uint64_t to)
{
    struct offer *of = &r->offer;
    offer_check(r);
    if (of->state != OFFER_IDLE)
        return;
    of->state = OFFER_MAKING;
    of->to = to;
    of->stop = false;
    replica_say(r, 2, "node %llu is too far behind for the log: making a snapshot for it", (unsigned long long)to);
    r->owner.snapshot_make(r->owner.ctx);
}

static void send_head(struct replica *r)
{
    uint8_t buf[FRAME_INSTALL_BYTES_MAX];
    r->offer.head.term = raft_current_term(&r->raft);
    size_t len = frame_install_encode(&r->offer.head, buf);
    r->io->ops->send(r->io, r->offer.to, FRAME_INSTALL, buf, len, NULL, 0);
}

void replica_snapshot_made(struct replica *r, const struct replica_snapshot *s)
{
    struct offer *of = &r->offer;
    if (of->state != OFFER_MAKING)
        return;
    of->state = OFFER_SENDING;
    bool usable = s != NULL && s->conf_len <= sizeof of->conf && s->index + 1 >= log_first(r->log);
    if (of->stop || r->failed || !usable || raft_state(&r->raft) != RAFT_LEADER) {
        finish(r);
        return;
    }
    if (r->io->ops->open(r->io, REPLICA_SNAPSHOT_FILE, IO_READ, &of->file) != 0) {
        replica_say(r, 0, "cannot read the snapshot that was made: %s", r->io->error);
        finish(r);
        return;
    }
    memcpy(of->conf, s->conf, s->conf_len);
    of->head = (struct frame_install){.last_index = s->index,
                                      .last_term = s->term,
                                      .conf_index = s->conf_index,
                                      .file_bytes = s->bytes,
                                      .chunk_bytes = OFFER_CHUNK_BYTES,
                                      .conf_len = (uint32_t)s->conf_len,
                                      .conf = of->conf};
    of->acked = 0;
    of->heard_ms = replica_now(r);
    send_head(r);
}

static void read_chunk(struct io_job *job)
{
    struct replica *r = replica_of(job);
    struct offer *of = &r->offer;
    of->chunk_len = r->io->ops->pread(of->file, of->chunk, OFFER_CHUNK_BYTES, of->acked);
}

static void chunk_read(struct io_job *job)
{
    struct replica *r = replica_of(job);
    struct offer *of = &r->offer;
    of->reading = false;
    if (of->stop || r->failed || of->chunk_len <= 0) {
        if (of->chunk_len < 0)
            replica_say(r, 0, "the snapshot cannot be read: %s", r->io->error);
        finish(r);
        return;
    }
    uint8_t head[FRAME_CHUNK_HEAD_BYTES];
    struct frame_chunk c = {.snapshot_index = of->head.last_index,
                            .offset = of->acked,
                            .total = of->head.file_bytes,
                            .len = (uint32_t)of->chunk_len};
    size_t head_len = frame_chunk_encode(&c, head);
    struct blob *blob = blob_copy(of->chunk, (size_t)of->chunk_len);
    if (blob == NULL) {
        finish(r);
        return;
    }
    struct io_slice slice = {blob, 0, blob->len};
    r->io->ops->send(r->io, of->to, FRAME_SNAPSHOT_CHUNK, head, head_len, &slice, 1);
    blob_unref(blob);
}

void offer_ack(struct replica *r, uint64_t from, const struct frame_chunk_ack *a)
{
    struct offer *of = &r->offer;
    if (of->state != OFFER_SENDING || of->to != from || a->snapshot_index != of->head.last_index || of->reading)
        return;
    if (a->offset > of->head.file_bytes) {
        finish(r);
        return;
    }
    of->acked = a->offset;
    of->heard_ms = replica_now(r);
    if (of->acked == of->head.file_bytes) {
        offer_check(r);
        return;
    }
    if (of->chunk == NULL && (of->chunk = malloc(OFFER_CHUNK_BYTES)) == NULL) {
        finish(r);
        return;
    }
    of->reading = true;
    of->job = (struct io_job){.run = read_chunk, .done = chunk_read};
    r->io->ops->submit(r->io, IO_LANE_SPARE, &of->job);
}

uint64_t offer_holds(const struct replica *r)
{
    if (r->offer.state == OFFER_IDLE)
        return UINT64_MAX;
    return r->offer.state == OFFER_SENDING ? r->offer.head.last_index : 0;
}

void offer_release(struct replica *r)
{
    if (r->offer.file != NULL)
        r->io->ops->close(r->offer.file);
    free(r->offer.chunk);
}
