/* meta.c - two copies of one small state; see meta.h for why two. */
#include "raft/meta.h"
#include "raft/crc32c.h"
#include "raft/le.h"
#include <stdio.h>
#include <string.h>

static const uint8_t meta_magic[8] = "HFLTMETA";

static int log_from_io(int rc)
{
    return rc == IO_ENOSPC ? LOG_ENOSPC : rc == IO_ENOMEM ? LOG_ENOMEM : LOG_EIO;
}

static void slot_encode(uint8_t slot[META_SLOT_BYTES], uint64_t sequence, const struct meta_state *s)
{
    memset(slot, 0, META_SLOT_BYTES);
    le32_put(slot + 4, META_VERSION);
    memcpy(slot + 8, meta_magic, sizeof meta_magic);
    le64_put(slot + 16, sequence);
    memcpy(slot + 24, s->cluster_id, LOG_CLUSTER_ID_BYTES);
    le64_put(slot + 40, s->node_id);
    le64_put(slot + 48, s->start);
    le64_put(slot + 56, s->term);
    le64_put(slot + 64, s->vote);
    le64_put(slot + 72, s->segment);
    le64_put(slot + 80, s->incarnation);
    le32_put(slot, crc32c(0, slot + 4, META_SLOT_BYTES - 4));
}

static bool slot_whole(const uint8_t slot[META_SLOT_BYTES])
{
    return memcmp(slot + 8, meta_magic, sizeof meta_magic) == 0 &&
           le32_get(slot) == crc32c(0, slot + 4, META_SLOT_BYTES - 4);
}

static void slot_decode(const uint8_t slot[META_SLOT_BYTES], struct meta_state *ret)
{
    memcpy(ret->cluster_id, slot + 24, LOG_CLUSTER_ID_BYTES);
    ret->node_id = le64_get(slot + 40);
    ret->start = le64_get(slot + 48);
    ret->term = le64_get(slot + 56);
    ret->vote = le64_get(slot + 64);
    ret->segment = le64_get(slot + 72);
    ret->incarnation = le64_get(slot + 80);
}

int meta_store(struct meta *m, const struct meta_state *state)
{
    uint8_t slot[META_SLOT_BYTES];
    slot_encode(slot, m->sequence + 1, state);
    struct iovec iov = {slot, sizeof slot};
    for (uint64_t i = 0; i < 2; i++) {
        int rc = m->io->ops->pwritev(m->file, &iov, 1, i * META_SLOT_BYTES);
        if (rc == 0)
            rc = m->io->ops->sync(m->file);
        if (rc != 0)
            return log_from_io(rc);
    }
    m->sequence++;
    m->state = *state;
    return 0;
}

static int create(struct meta *m, const struct meta_state *state)
{
    int rc = m->io->ops->open(m->io, META_NAME_NEW, IO_READ | IO_WRITE | IO_CREATE, &m->file);
    if (rc != 0)
        return log_from_io(rc);
    rc = meta_store(m, state);
    if (rc != 0)
        return rc;
    rc = m->io->ops->rename(m->io, META_NAME_NEW, META_NAME);
    if (rc == 0)
        rc = m->io->ops->sync_dir(m->io);
    return rc != 0 ? log_from_io(rc) : 0;
}

int meta_create(struct meta *m, struct io *io, const struct meta_state *state, char error[256])
{
    *m = (struct meta){.io = io};
    int rc = io->ops->unlink(io, META_NAME_NEW); /* Left by a crash. */
    rc = rc != 0 && rc != IO_ENOENT ? log_from_io(rc) : create(m, state);
    if (rc != 0) {
        snprintf(error, 256, "the file " META_NAME " cannot be made: %s", io->error);
        meta_close(m);
    }
    return rc;
}

/* The newer whole slot, or NULL. */
static const uint8_t *newer_slot(const uint8_t slots[2][META_SLOT_BYTES])
{
    const uint8_t *best = NULL;
    for (int i = 0; i < 2; i++)
        if (slot_whole(slots[i]) && (best == NULL || le64_get(slots[i] + 16) > le64_get(best + 16)))
            best = slots[i];
    return best;
}

static int load(struct meta *m, char error[256])
{
    uint8_t slots[2][META_SLOT_BYTES];
    memset(slots, 0, sizeof slots);
    if (m->io->ops->pread(m->file, slots, sizeof slots, 0) < 0) {
        snprintf(error, 256, "the file " META_NAME " cannot be read: %s", m->io->error);
        return LOG_EIO;
    }
    const uint8_t *slot = newer_slot((const uint8_t(*)[META_SLOT_BYTES])slots);
    if (slot == NULL) {
        snprintf(error, 256, "both copies in the file " META_NAME " are damaged: term and vote of this node are lost");
        return LOG_ECORRUPT;
    }
    if (le32_get(slot + 4) != META_VERSION) {
        snprintf(error, 256, "the file " META_NAME " has format version %u; this program knows version %d",
                 le32_get(slot + 4), META_VERSION);
        return LOG_EVERSION;
    }
    m->sequence = le64_get(slot + 16);
    slot_decode(slot, &m->state);
    return 0;
}

int meta_open(struct meta *m, struct io *io, char error[256])
{
    *m = (struct meta){.io = io};
    int rc = io->ops->open(io, META_NAME, IO_READ | IO_WRITE, &m->file);
    if (rc == IO_ENOENT)
        return LOG_ENOENT;
    if (rc != 0) {
        snprintf(error, 256, "the file " META_NAME " cannot be opened: %s", io->error);
        return log_from_io(rc);
    }
    rc = load(m, error);
    if (rc != 0)
        meta_close(m);
    return rc;
}

void meta_close(struct meta *m)
{
    if (m->file != NULL)
        m->io->ops->close(m->file);
    m->file = NULL;
}
