/* segment.c - encoding, checking and searching the records of one file.
 * Everything read is suspect: lengths are checked against the file before they are used. */
#include "raft/segment.h"
#include "raft/crc32c.h"
#include "raft/le.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES (1u << 20)
#define FLAG_ANEW 1u
#define FLAG_PREPARED 2u

static const uint8_t segment_magic[8] = "HFLTSEGM";

void segment_name(char name[SEGMENT_NAME_BYTES], uint64_t number)
{
    snprintf(name, SEGMENT_NAME_BYTES, "log-%016" PRIx64, number);
}

uint32_t segment_header_encode(uint8_t bytes[SEGMENT_HEADER_BYTES], const struct segment_header *h)
{
    memset(bytes, 0, SEGMENT_HEADER_BYTES);
    le32_put(bytes + 4, SEGMENT_VERSION);
    memcpy(bytes + 8, segment_magic, sizeof segment_magic);
    le64_put(bytes + 16, h->number);
    memcpy(bytes + 24, h->cluster_id, LOG_CLUSTER_ID_BYTES);
    le64_put(bytes + 40, h->node_id);
    le64_put(bytes + 48, h->base_index);
    le64_put(bytes + 56, h->base_term);
    le64_put(bytes + 64, h->previous_end);
    le32_put(bytes + 72, h->previous_crc);
    le32_put(bytes + 76, (h->anew ? FLAG_ANEW : 0) | (h->prepared ? FLAG_PREPARED : 0));
    uint32_t crc = crc32c(0, bytes + 4, SEGMENT_HEADER_BYTES - 4);
    le32_put(bytes, crc);
    return crc;
}

static void header_decode(const uint8_t *bytes, struct segment_header *ret)
{
    ret->number = le64_get(bytes + 16);
    memcpy(ret->cluster_id, bytes + 24, LOG_CLUSTER_ID_BYTES);
    ret->node_id = le64_get(bytes + 40);
    ret->base_index = le64_get(bytes + 48);
    ret->base_term = le64_get(bytes + 56);
    ret->previous_end = le64_get(bytes + 64);
    ret->previous_crc = le32_get(bytes + 72);
    ret->anew = (le32_get(bytes + 76) & FLAG_ANEW) != 0;
    ret->prepared = (le32_get(bytes + 76) & FLAG_PREPARED) != 0;
}

void record_encode(uint8_t head[RECORD_HEADER_BYTES], struct record *r, uint32_t seed, const uint8_t *payload)
{
    static const uint8_t zeros[RECORD_ALIGN];
    le32_put(head + 4, r->previous_crc);
    le32_put(head + 8, r->len);
    le32_put(head + 12, r->type);
    le64_put(head + 16, r->segment);
    le64_put(head + 24, r->index);
    le64_put(head + 32, r->term);
    le64_put(head + 40, r->synced);
    uint32_t crc = crc32c(seed, head + 4, RECORD_HEADER_BYTES - 4);
    crc = crc32c(crc, payload, r->len);
    r->crc = crc32c(crc, zeros, (size_t)(record_bytes(r->len) - RECORD_HEADER_BYTES - r->len));
    le32_put(head, r->crc);
}

static void record_decode(const uint8_t *head, struct record *ret)
{
    ret->crc = le32_get(head);
    ret->previous_crc = le32_get(head + 4);
    ret->len = le32_get(head + 8);
    ret->type = head[12];
    ret->segment = le64_get(head + 16);
    ret->index = le64_get(head + 24);
    ret->term = le64_get(head + 32);
    ret->synced = le64_get(head + 40);
}

/* ---- The window ---- */

static int window_grow(struct segment_reader *r, size_t len)
{
    size_t capacity = len > WINDOW_BYTES ? len : WINDOW_BYTES;
    if (r->window_capacity >= capacity)
        return 0;
    uint8_t *window = realloc(r->window, capacity);
    if (window == NULL)
        return LOG_ENOMEM;
    r->window = window;
    r->window_capacity = capacity;
    return 0;
}

/* Have bytes from offset on in the window: at least len, or as many as there are before limit. */
static int window_at(struct segment_reader *r, uint64_t offset, size_t len, const uint8_t **ret, size_t *ret_len)
{
    uint64_t end = r->window_offset + r->window_len;
    if (offset < r->window_offset || offset + len > end) {
        int rc = window_grow(r, len);
        if (rc != 0)
            return rc;
        uint64_t left = offset < r->limit ? r->limit - offset : 0;
        size_t want = left < r->window_capacity ? (size_t)left : r->window_capacity;
        long got = want > 0 ? r->io->ops->pread(r->file, r->window, want, offset) : 0;
        r->window_offset = offset;
        r->window_len = got > 0 ? (size_t)got : 0;
        if (got < 0)
            return LOG_EIO;
        end = offset + r->window_len;
    }
    *ret = r->window + (offset - r->window_offset);
    *ret_len = (size_t)(end - offset);
    return 0;
}

/* ---- Opening ---- */

static int header_check(struct segment_reader *r, const uint8_t *bytes, size_t len, const char *name,
                        struct segment_header *ret, char error[256])
{
    if (len < SEGMENT_HEADER_BYTES || memcmp(bytes + 8, segment_magic, sizeof segment_magic) != 0) {
        snprintf(error, 256, "%s: damaged: it does not begin with the header of a log file", name);
        return LOG_ECORRUPT;
    }
    r->seed = le32_get(bytes);
    uint32_t crc = crc32c(0, bytes + 4, SEGMENT_HEADER_BYTES - 4);
    if (r->seed != crc) {
        snprintf(error, 256, "%s: damaged: the header has CRC %08x, computed %08x", name, r->seed, crc);
        return LOG_ECORRUPT;
    }
    if (le32_get(bytes + 4) != SEGMENT_VERSION) {
        snprintf(error, 256, "%s has format version %u; this program knows version %d", name, le32_get(bytes + 4),
                 SEGMENT_VERSION);
        return LOG_EVERSION;
    }
    header_decode(bytes, ret);
    if (ret->number != r->number) {
        snprintf(error, 256, "%s: damaged: its header is that of number %016" PRIx64, name, ret->number);
        return LOG_ECORRUPT;
    }
    return 0;
}

static int header_read(struct segment_reader *r, const char *name, struct segment_header *ret, char error[256])
{
    const uint8_t *bytes = NULL;
    size_t len = 0;
    int rc = window_at(r, 0, SEGMENT_HEADER_BYTES, &bytes, &len);
    if (rc != 0) {
        snprintf(error, 256, "%s cannot be read: %s", name, rc == LOG_ENOMEM ? "out of memory" : r->io->error);
        return rc;
    }
    return header_check(r, bytes, len, name, ret, error);
}

int reader_open(struct segment_reader *r, struct io *io, uint64_t number, struct segment_header *ret_header,
                char error[256])
{
    assert(r->file == NULL);
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, number);
    r->io = io;
    r->number = number;
    r->window_len = 0;
    int rc = io->ops->open(io, name, IO_READ, &r->file);
    if (rc == 0)
        rc = io->ops->size(r->file, &r->size);
    if (rc != 0) {
        snprintf(error, 256, "%s cannot be opened: %s", name, io->error);
        return LOG_EIO;
    }
    struct segment_header header;
    r->limit =
        SEGMENT_HEADER_BYTES; /* What is behind may still be changing: not into the window before it is asked for. */
    rc = header_read(r, name, &header, error);
    r->limit = r->size;
    if (rc == 0 && ret_header != NULL)
        *ret_header = header;
    return rc;
}

void reader_close(struct segment_reader *r)
{
    if (r->file != NULL)
        r->io->ops->close(r->file);
    r->file = NULL;
    r->window_len = 0;
}

void reader_release(struct segment_reader *r)
{
    reader_close(r);
    free(r->window);
    *r = (struct segment_reader){0};
}

/* ---- Records ---- */

static bool record_plausible(struct segment_reader *r, uint64_t offset, const struct record *record)
{
    if (record->segment != r->number) {
        snprintf(r->why, sizeof r->why, "no record of this file");
        return false;
    }
    if (record->len > LOG_ENTRY_BYTES_MAX || record_bytes(record->len) > r->limit - offset) {
        snprintf(r->why, sizeof r->why, "a record of impossible length %u", record->len);
        return false;
    }
    return true;
}

int reader_record(struct segment_reader *r, uint64_t offset, struct record *ret, const uint8_t **ret_payload)
{
    const uint8_t *bytes = NULL;
    size_t len = 0;
    int rc = window_at(r, offset, RECORD_HEADER_BYTES, &bytes, &len);
    if (rc != 0)
        return rc;
    snprintf(r->why, sizeof r->why, "the end of the file");
    if (len < RECORD_HEADER_BYTES)
        return 0;
    struct record record;
    record_decode(bytes, &record);
    if (!record_plausible(r, offset, &record))
        return 0;
    size_t total = (size_t)record_bytes(record.len);
    rc = window_at(r, offset, total, &bytes, &len);
    if (rc != 0)
        return rc;
    if (len < total)
        return 0;
    uint32_t crc = crc32c(r->seed, bytes + 4, total - 4);
    if (crc != record.crc) {
        snprintf(r->why, sizeof r->why, "a record with CRC %08x, computed %08x", record.crc, crc);
        return 0;
    }
    *ret = record;
    *ret_payload = bytes + RECORD_HEADER_BYTES;
    return 1;
}

/* The next offset at or after `from` where a record of this file might begin; r->limit when there is none. */
static int reader_seek(struct segment_reader *r, uint64_t from, uint64_t *ret)
{
    uint8_t number[8];
    le64_put(number, r->number);
    while (from + RECORD_HEADER_BYTES <= r->limit) {
        const uint8_t *bytes = NULL;
        size_t len = 0;
        int rc = window_at(r, from, RECORD_HEADER_BYTES, &bytes, &len);
        if (rc != 0)
            return rc;
        if (len < RECORD_HEADER_BYTES)
            break;
        for (; len >= RECORD_HEADER_BYTES; len -= RECORD_ALIGN, bytes += RECORD_ALIGN, from += RECORD_ALIGN) {
            if (memcmp(bytes + 16, number, sizeof number) != 0)
                continue;
            *ret = from;
            return 0;
        }
    }
    *ret = r->limit;
    return 0;
}

int reader_tail(struct segment_reader *r, uint64_t from, struct segment_tail *ret)
{
    struct segment_tail tail = {0};
    uint64_t at = from; /* There may be a whole record here that continues another chain. */
    for (;;) {
        int rc = reader_seek(r, at, &at);
        if (rc != 0)
            return rc;
        if (at >= r->limit)
            break;
        struct record record;
        const uint8_t *payload;
        rc = reader_record(r, at, &record, &payload);
        if (rc < 0)
            return rc;
        if (rc == 1 && record.synced > from && record.synced > tail.damaged_until)
            tail.damaged_until = record.synced;
        at += rc == 1 ? record_bytes(record.len) : RECORD_ALIGN;
        if (rc == 1)
            tail.leftover_end = at;
    }
    *ret = tail;
    return 0;
}
