/* install.c - receiving a snapshot.
 *
 *     head --> chunks into REPLICA_INCOMING_FILE, each written and then acknowledged --> synced --> checked by the
 * owner
 *          --> told to the core --> put in place --> the log begins anew behind it
 *
 * The core hears of it only when the file is whole, synced and sound: from then on nothing may go wrong, since
 * between its UPDATE_SNAPSHOT and our PERSISTED_SNAPSHOT the core neither votes nor takes entries, and no event takes
 * it back. Until then any failure (a lost link, a full disk, a bad file) just ends the attempt; the leader offers it
 * again. A crash after the file is in place and before the log was reset is mended at start (start.c, second case). */
#include "raft/replica_internal.h"
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static struct replica *replica_of(struct io_job *job)
{
    return (struct replica *)((char *)job - offsetof(struct replica, install.job));
}

static void drop(struct replica *r, const char *why)
{
    struct install *in = &r->install;
    if (in->state == INSTALL_IDLE)
        return;
    if (in->writing) { /* The worker has the file: finish there. */
        in->failed = true;
        return;
    }
    if (in->file != NULL)
        in->file_close(in->file);
    in->file = NULL;
    in->state = INSTALL_IDLE;
    r->io->ops->unlink(r->io, REPLICA_INCOMING_FILE);
    if (why != NULL)
        replica_say(r, 1, "the snapshot from node %llu was given up: %s", (unsigned long long)in->from, why);
}

static void ack(struct replica *r, uint64_t to, uint64_t index, uint64_t written)
{
    struct frame_chunk_ack a = {.snapshot_index = index, .offset = written};
    uint8_t buf[FRAME_CHUNK_ACK_BYTES];
    size_t len = frame_chunk_ack_encode(&a, buf);
    r->io->ops->send(r->io, to, FRAME_SNAPSHOT_ACK, buf, len, NULL, 0);
}

void install_head(struct replica *r, uint64_t from, const struct frame_install *m)
{
    struct install *in = &r->install;
    bool known = replica_link_up(r, from); /* Whoever leads may have got its vote after the last list that we have. */
    if (!known || m->term < raft_current_term(&r->raft) || m->conf_len > sizeof in->conf ||
        raft_state(&r->raft) == RAFT_LEADER)
        return;
    if (m->last_index <= r->applied) {
        ack(r, from, m->last_index, m->file_bytes); /* Have it. */
        return;
    }
    /* It comes from the newest leader, who has begun anew. Even at the same index it may be another file. */
    if (in->state == INSTALL_FILLING)
        drop(r, "another one was offered");
    if (in->state != INSTALL_IDLE)
        return;                                       /* Still being written or checked; the leader will ask again. */
    r->io->ops->unlink(r->io, REPLICA_INCOMING_FILE); /* Of an attempt that a crash ended. */
    int rc = r->io->ops->open(r->io, REPLICA_INCOMING_FILE, IO_READ | IO_WRITE | IO_CREATE, &in->file);
    if (rc != 0) {
        replica_say(r, 0, "cannot take a snapshot from node %llu: %s", (unsigned long long)from, r->io->error);
        return;
    }
    in->state = INSTALL_FILLING;
    in->from = from;
    in->head = *m;
    memcpy(in->conf, m->conf, m->conf_len);
    in->head.conf = in->conf;
    in->written = 0;
    in->failed = in->writing = false;
    in->file_close = r->io->ops->close;
    replica_say(r, 2, "receiving a snapshot at index %llu, %llu bytes, from node %llu",
                (unsigned long long)m->last_index, (unsigned long long)m->file_bytes, (unsigned long long)from);
    ack(r, in->from, in->head.last_index, in->written);
}

static void write_chunk(struct io_job *job)
{
    struct replica *r = replica_of(job);
    struct install *in = &r->install;
    struct iovec iov = {in->chunk, in->chunk_len};
    const struct io_ops *ops = r->io->ops;
    int rc = ops->pwritev(in->file, &iov, 1, in->written);
    if (rc == 0 && in->written + in->chunk_len == in->head.file_bytes)
        rc = ops->sync(in->file);
    if (rc != 0)
        in->failed = true;
}

static void chunk_written(struct io_job *job)
{
    struct replica *r = replica_of(job);
    struct install *in = &r->install;
    in->writing = false;
    if (in->failed || r->failed) {
        drop(r, "it could not be written, or its sender went away");
        return;
    }
    in->written += in->chunk_len;
    ack(r, in->from, in->head.last_index, in->written);
    if (in->written < in->head.file_bytes)
        return;
    in->file_close(in->file);
    in->file = NULL;
    in->state = INSTALL_CHECKING;
    r->owner.snapshot_check(r->owner.ctx);
}

void install_chunk(struct replica *r, uint64_t from, const struct frame_chunk *c)
{
    struct install *in = &r->install;
    if (in->state != INSTALL_FILLING || in->from != from || c->snapshot_index != in->head.last_index || in->writing)
        return;
    if (c->offset < in->written)
        return; /* Sent twice. */
    if (c->offset != in->written || c->total != in->head.file_bytes || c->len == 0 ||
        c->len > in->head.file_bytes - in->written) {
        drop(r, "its pieces do not fit");
        return;
    }
    if (c->len > in->chunk_cap) {
        uint8_t *grown = realloc(in->chunk, c->len);
        if (grown == NULL) {
            drop(r, "out of memory");
            return;
        }
        in->chunk = grown;
        in->chunk_cap = c->len;
    }
    memcpy(in->chunk, c->bytes, c->len);
    in->chunk_len = c->len;
    in->writing = true;
    in->job = (struct io_job){.run = write_chunk, .done = chunk_written};
    r->io->ops->submit(r->io, IO_LANE_SPARE, &in->job);
}

void install_peer_down(struct replica *r, uint64_t peer)
{
    if (r->install.state == INSTALL_FILLING && r->install.from == peer)
        drop(r, "the link broke");
}

/* Who vouches for the file: its sender, when there was no newer term since; else whoever leads now, for what is
 * committed stays so. 0: nobody. */
static uint64_t voucher(const struct replica *r)
{
    return r->install.head.term >= raft_current_term(&r->raft) ? r->install.from : r->leader;
}

static bool is_needed(struct replica *r)
{
    return r->install.head.last_index > r->applied && raft_state(&r->raft) != RAFT_LEADER && voucher(r) != 0;
}

/* The core's view of it. */
void replica_snapshot_checked(struct replica *r, bool ok)
{
    struct install *in = &r->install;
    if (in->state != INSTALL_CHECKING || r->failed)
        return;
    if (!ok || !is_needed(r)) {
        drop(r, ok ? "it is no longer needed" : "the file is damaged");
        ack(r, in->from, in->head.last_index, 0); /* Its sender need not wait for us to put it in place. */
        return;
    }
    struct raft_message m;
    char address[REPLICA_ADDRESS_MAX];
    memset(&m, 0, sizeof m);
    struct raft_buffer conf = {in->conf, in->head.conf_len};
    uint64_t term = raft_current_term(&r->raft);
    m.type = RAFT_INSTALL_SNAPSHOT;
    m.server_id = voucher(r);
    m.server_address = address;
    replica_address_of(r, m.server_id, address);
    m.install_snapshot.term = in->head.term > term ? in->head.term : term;
    m.install_snapshot.last_index = in->head.last_index;
    m.install_snapshot.last_term = in->head.last_term;
    m.install_snapshot.conf_index = in->head.conf_index;
    if (raft_configuration_decode(&conf, &m.install_snapshot.conf) != 0) {
        replica_fail(r, "out of memory");
        return;
    }
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = &m;
    uint64_t before = r->snapshots_installed;
    replica_step(r, &event, NULL);
    if (!r->failed && r->snapshots_installed == before)
        drop(r, "the log had reached it already");
}

static int put_in_place(struct replica *r)
{
    struct install *in = &r->install;
    if (r->owner.snapshot_install(r->owner.ctx) != 0) {
        replica_fail(r, "the snapshot could not be put in place");
        return -1;
    }
    if (log_reset(r->log, in->head.last_index, in->head.last_term) != 0) {
        replica_fail(r, "out of memory");
        return -1;
    }
    return 0;
}

/* Everything here is blocking and in order: the state's file, the log, the core. */
void install_update(struct replica *r, const struct raft_snapshot_metadata *metadata)
{
    struct install *in = &r->install;
    assert(in->state == INSTALL_CHECKING && metadata->index == in->head.last_index);
    if (put_in_place(r) != 0) {
        struct raft_configuration conf = metadata->configuration;
        raft_configuration_close(&conf);
        return;
    }
    r->applied = in->head.last_index;
    r->snapshot_given = in->head.last_index;
    r->snapshots_installed++;
    in->state = INSTALL_IDLE;
    replica_say(r, 2, "installed the snapshot at index %llu", (unsigned long long)in->head.last_index);
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    event.persisted_snapshot.metadata = *metadata;
    event.persisted_snapshot.last = true;
    membership_committed(r, &metadata->configuration);
    if (r->failed)
        raft_configuration_close(&event.persisted_snapshot.metadata.configuration);
    else
        replica_step(r, &event, NULL);
    if (!r->failed)
        replica_follow_members(r);
}

void install_release(struct replica *r)
{
    struct install *in = &r->install;
    if (in->file != NULL)
        in->file_close(in->file);
    free(in->chunk);
}
