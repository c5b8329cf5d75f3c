/* known.c - see known.h. The file is small and is written whole, once for each directory met and each new start of one:
 * a crash leaves the old file or the new one. A start number that cannot be stored is no reason to turn a peer away; a
 * directory that cannot be is, since after our next start another one could pass for it. */
#include "raft/known.h"
#include "raft/crc32c.h"
#include "raft/le.h"
#include <stdio.h>
#include <string.h>

#define KNOWN_HEAD_BYTES 24
#define KNOWN_NODE_BYTES 24
#define KNOWN_FILE_BYTES (KNOWN_HEAD_BYTES + KNOWN_NODES_MAX * KNOWN_NODE_BYTES)

static const uint8_t known_magic[8] = "HFLTKNOW";

static struct known_node *find(struct known *k, uint64_t id)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->nodes[i].id == id)
            return &k->nodes[i];
    return NULL;
}

/* ---- The file ---- */

static size_t encode(const struct known *k, uint8_t bytes[KNOWN_FILE_BYTES])
{
    size_t len = KNOWN_HEAD_BYTES;
    memset(bytes, 0, KNOWN_HEAD_BYTES);
    le32_put(bytes + 4, KNOWN_VERSION);
    memcpy(bytes + 8, known_magic, sizeof known_magic);
    le32_put(bytes + 16, (uint32_t)k->n);
    for (size_t i = 0; i < k->n; i++, len += KNOWN_NODE_BYTES) {
        le64_put(bytes + len, k->nodes[i].id);
        le64_put(bytes + len + 8, k->nodes[i].incarnation);
        le64_put(bytes + len + 16, k->nodes[i].start);
    }
    le32_put(bytes, crc32c(0, bytes + 4, len - 4));
    return len;
}

static int write_new(struct known *k)
{
    uint8_t bytes[KNOWN_FILE_BYTES];
    struct iovec iov = {bytes, encode(k, bytes)};
    const struct io_ops *ops = k->io->ops;
    struct io_file *file;
    int rc = ops->unlink(k->io, KNOWN_NAME_NEW); /* Left by a crash. */
    if (rc == 0 || rc == IO_ENOENT)
        rc = ops->open(k->io, KNOWN_NAME_NEW, IO_READ | IO_WRITE | IO_CREATE, &file);
    if (rc != 0)
        return rc;
    rc = ops->pwritev(file, &iov, 1, 0);
    if (rc == 0)
        rc = ops->sync(file);
    ops->close(file);
    return rc;
}

static int store(struct known *k)
{
    int rc = write_new(k);
    if (rc == 0)
        rc = k->io->ops->rename(k->io, KNOWN_NAME_NEW, KNOWN_NAME);
    if (rc == 0)
        rc = k->io->ops->sync_dir(k->io);
    return rc == 0 ? 0 : KNOWN_EIO;
}

static int decode(struct known *k, const uint8_t *bytes, size_t len)
{
    if (len < KNOWN_HEAD_BYTES || memcmp(bytes + 8, known_magic, sizeof known_magic) != 0)
        return KNOWN_ECORRUPT;
    size_t n = le32_get(bytes + 16);
    if (le32_get(bytes + 4) != KNOWN_VERSION || n > KNOWN_NODES_MAX || len != KNOWN_HEAD_BYTES + n * KNOWN_NODE_BYTES ||
        le32_get(bytes) != crc32c(0, bytes + 4, len - 4))
        return KNOWN_ECORRUPT;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *at = bytes + KNOWN_HEAD_BYTES + i * KNOWN_NODE_BYTES;
        k->nodes[i] = (struct known_node){
            .id = le64_get(at), .incarnation = le64_get(at + 8), .start = le64_get(at + 16), .held = 0};
    }
    k->n = n;
    return 0;
}

int known_open(struct known *k, struct io *io, char error[256])
{
    uint8_t bytes[KNOWN_FILE_BYTES + 1];
    struct io_file *file;
    *k = (struct known){.io = io};
    int rc = io->ops->open(io, KNOWN_NAME, IO_READ, &file);
    if (rc == IO_ENOENT)
        return 0;
    long len = rc == 0 ? io->ops->pread(file, bytes, sizeof bytes, 0) : -1;
    if (rc == 0)
        io->ops->close(file);
    if (len < 0) {
        snprintf(error, 256, "the file " KNOWN_NAME " cannot be read: %s", io->error);
        return KNOWN_EIO;
    }
    rc = decode(k, bytes, (size_t)len);
    if (rc != 0)
        snprintf(error, 256,
                 "the file " KNOWN_NAME " is damaged, or of another version: it says which data directories the other "
                 "nodes had. If none of them has lost its disk, it may be deleted");
    return rc;
}

/* ---- Meeting ---- */

static int add(struct known *k, struct known_node node)
{
    if (k->n == KNOWN_NODES_MAX) {
        snprintf(k->io->error, sizeof k->io->error, "more than %d nodes were met", KNOWN_NODES_MAX);
        return KNOWN_EIO;
    }
    k->nodes[k->n++] = node;
    int rc = store(k);
    k->n -= rc != 0;
    return rc;
}

static int meet_named(struct known *k, struct known_node *node, uint64_t incarnation, uint64_t start)
{
    node->incarnation = incarnation;
    node->start = start;
    int rc = store(k);
    if (rc != 0)
        node->incarnation = 0;
    return rc;
}

int known_meet(struct known *k, uint64_t id, uint64_t incarnation, uint64_t start, uint64_t last)
{
    struct known_node *node = find(k, id);
    if (node == NULL)
        return add(k, (struct known_node){.id = id, .incarnation = incarnation, .start = start});
    if (node->incarnation == 0)
        return meet_named(k, node, incarnation, start);
    if (node->incarnation != incarnation)
        return KNOWN_EOTHER;
    if (start < node->start || last < node->held)
        return KNOWN_EOLDER;
    if (start > node->start) {
        node->start = start;
        store(k);
    }
    return 0;
}

void known_holds(struct known *k, uint64_t id, uint64_t index)
{
    struct known_node *node = find(k, id);
    if (node != NULL && index > node->held)
        node->held = index;
}

void known_name(struct known *k, const uint64_t *ids, size_t n)
{
    size_t before = k->n;
    for (size_t i = 0; i < n && k->n < KNOWN_NODES_MAX; i++)
        if (find(k, ids[i]) == NULL)
            k->nodes[k->n++] = (struct known_node){.id = ids[i]};
    if (k->n > before)
        store(k); /* A failure is made good with the next change of the file. */
}

uint64_t known_highest(const struct known *k)
{
    uint64_t highest = 0;
    for (size_t i = 0; i < k->n; i++)
        if (k->nodes[i].id > highest)
            highest = k->nodes[i].id;
    return highest;
}
