/* group.c - headers are encoded beside the entries and written together with the payloads where they lie: nothing is
 * copied. A turn makes the new file durable under its name before any record goes into it; the file before it
 * was synced by the group before. Failure: rc and why are set, and the group's file must not be written again. */
#include "raft/group.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

void group_add(struct group *g, const struct log_entry *e)
{
    assert(g->n < GROUP_ENTRIES_MAX);
    if (e->blob != NULL)
        blob_ref(e->blob);
    g->entries[g->n++] = *e;
}

void group_clear(struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        blob_unref(g->entries[i].blob);
    g->n = 0;
}

/* ---- Turning to a new file ---- */

static int open_new(struct group *g, struct io_file **ret)
{
    const struct io_ops *ops = g->io->ops;
    if (g->spare[0] != '\0')
        return ops->open(g->io, g->spare, IO_READ | IO_WRITE, ret);
    int rc = ops->unlink(g->io, SEGMENT_NAME_NEW); /* Left by a crash. */
    if (rc != 0 && rc != IO_ENOENT)
        return rc;
    rc = ops->open(g->io, SEGMENT_NAME_NEW, IO_READ | IO_WRITE | IO_CREATE, ret);
    if (rc == 0 && g->allocate_bytes > 0)
        ops->allocate(*ret, g->allocate_bytes); /* Full: go on with what is left, and fail only when a write does. */
    return rc;
}

static int write_header(struct group *g)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    g->seed = g->chain = segment_header_encode(bytes, &g->header);
    struct iovec iov = {bytes, sizeof bytes};
    int rc = g->io->ops->pwritev(g->file, &iov, 1, 0);
    return rc == 0 ? g->io->ops->sync(g->file) : rc;
}

static int turn(struct group *g)
{
    struct io_file *file;
    int rc = open_new(g, &file);
    if (rc != 0)
        return rc;
    if (g->file != NULL)
        g->io->ops->close(g->file);
    g->file = file;
    g->number = g->header.number;
    g->offset = SEGMENT_HEADER_BYTES;
    rc = write_header(g);
    if (rc != 0)
        return rc;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, g->number);
    rc = g->io->ops->rename(g->io, g->spare[0] != '\0' ? g->spare : SEGMENT_NAME_NEW, name);
    return rc == 0 ? g->io->ops->sync_dir(g->io) : rc;
}

/* ---- Writing records ---- */

/* Encode one record's head behind `pad` zeros that end the record before. */
static void encode_one(struct group *g, size_t i, size_t pad, uint64_t synced)
{
    const struct log_entry *e = &g->entries[i];
    uint8_t *head = g->heads[i];
    memset(head, 0, RECORD_ALIGN);
    struct record r = {.previous_crc = g->chain,
                       .len = (uint32_t)e->len,
                       .type = e->type,
                       .segment = g->number,
                       .index = g->first_index + i,
                       .term = e->term,
                       .synced = synced};
    const uint8_t *payload = e->len > 0 ? e->blob->bytes + e->offset : NULL;
    record_encode(head + RECORD_ALIGN, &r, g->seed, payload);
    g->chain = r.crc;
    g->iov[2 * i] = (struct iovec){head + RECORD_ALIGN - pad, pad + RECORD_HEADER_BYTES};
    g->iov[2 * i + 1] = (struct iovec){(void *)payload, e->len};
}

static int write_records(struct group *g)
{
    static uint8_t zeros[RECORD_ALIGN];
    uint64_t start = g->offset;
    size_t pad = 0;
    for (size_t i = 0; i < g->n; i++) {
        encode_one(g, i, pad, start);
        uint64_t bytes = record_bytes(g->entries[i].len);
        pad = (size_t)(bytes - RECORD_HEADER_BYTES - g->entries[i].len);
        g->offset += bytes;
    }
    g->iov[2 * g->n] = (struct iovec){zeros, pad};
    int rc = g->io->ops->pwritev(g->file, g->iov, (int)(2 * g->n + 1), start);
    if (rc != 0)
        return rc;
    uint64_t before_us = g->io->ops->now_us(g->io);
    rc = g->io->ops->sync(g->file);
    g->sync_us = g->io->ops->now_us(g->io) - before_us;
    return rc;
}

static int finish(struct group *g, int rc)
{
    if (rc == 0)
        return 0;
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, g->turn ? g->header.number : g->number);
    snprintf(g->why, sizeof g->why, "the log file %s cannot be written: %s", name, g->io->error);
    return rc == IO_ENOSPC ? LOG_ENOSPC : LOG_EIO;
}

void group_run(struct group *g)
{
    int rc = g->turn ? turn(g) : 0;
    if (rc == 0 && g->n > 0)
        rc = write_records(g);
    g->rc = finish(g, rc);
    g->ran = true;
}

int group_mark(struct group *g, uint64_t last_index)
{
    struct record r = {
        .previous_crc = g->chain, .type = RECORD_MARK, .segment = g->number, .index = last_index, .synced = g->offset};
    uint8_t head[RECORD_HEADER_BYTES];
    memset(head, 0, sizeof head);
    record_encode(head, &r, g->seed, NULL);
    struct iovec iov = {head, sizeof head};
    int rc = g->io->ops->pwritev(g->file, &iov, 1, g->offset);
    if (rc == 0)
        rc = g->io->ops->sync(g->file);
    if (rc != 0)
        return rc == IO_ENOSPC ? LOG_ENOSPC : LOG_EIO;
    g->chain = r.crc;
    g->offset += record_bytes(0);
    return 0;
}
