/* recovery.c - file after file, record after record; see segment.h for what is legal.
 * Obsolete files (before one that begins the log anew) are not even read: they were on their way out. */
#include "raft/recovery.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The directory ---- */

static bool push(uint64_t **list, size_t *n, size_t *capacity, uint64_t number)
{
    if (*n == *capacity) {
        size_t more = *capacity == 0 ? 64 : *capacity * 2;
        uint64_t *bigger = realloc(*list, more * sizeof *bigger);
        if (bigger == NULL)
            return false;
        *list = bigger;
        *capacity = more;
    }
    (*list)[(*n)++] = number;
    return true;
}

/* Does name consist of the prefix and 16 hexadecimal digits in lower case? */
static bool numbered(const char *name, const char *prefix, uint64_t *ret)
{
    size_t len = strlen(prefix);
    if (strncmp(name, prefix, len) != 0 || strlen(name) != len + 16 || strspn(name + len, "0123456789abcdef") != 16)
        return false;
    *ret = strtoull(name + len, NULL, 16);
    return true;
}

static void listed(void *ctx, const char *name)
{
    struct recovery_names *n = ctx;
    uint64_t number = 0;
    if (strcmp(name, "meta") == 0)
        n->meta = true;
    else if (numbered(name, "log-", &number))
        n->out_of_memory |= !push(&n->logs, &n->n_logs, &n->logs_capacity, number);
    else if (numbered(name, "spare-", &number))
        n->out_of_memory |= !push(&n->spares, &n->n_spares, &n->spares_capacity, number);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int recovery_list(struct io *io, struct recovery_names *ret, char error[256])
{
    struct recovery_names names = {0};
    int rc = io->ops->list(io, listed, &names);
    if (rc != 0 || names.out_of_memory) {
        snprintf(error, 256, "the directory cannot be listed: %s", rc != 0 ? io->error : "out of memory");
        recovery_names_release(&names);
        return rc != 0 ? LOG_EIO : LOG_ENOMEM;
    }
    if (names.n_logs > 0)
        qsort(names.logs, names.n_logs, sizeof *names.logs, by_number);
    if (names.n_spares > 0)
        qsort(names.spares, names.n_spares, sizeof *names.spares, by_number);
    *ret = names;
    return 0;
}

void recovery_names_release(struct recovery_names *n)
{
    free(n->logs);
    free(n->spares);
    *n = (struct recovery_names){0};
}

void recovery_identity(char text[80], const uint8_t cluster_id[LOG_CLUSTER_ID_BYTES], uint64_t node_id)
{
    int at = snprintf(text, 80, "node %" PRIu64 " of cluster ", node_id);
    for (int i = 0; i < LOG_CLUSTER_ID_BYTES; i++)
        at += snprintf(text + at, 80 - (size_t)at, "%02x", cluster_id[i]);
}

/* ---- Words ---- */

static int refuse(struct recovery *v, int rc, const char *what)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, v->reader.number);
    snprintf(v->error, 256, "%s: %.220s", name, what);
    return rc;
}

static int refuse_io(struct recovery *v, int rc)
{
    return refuse(v, rc, rc == LOG_ENOMEM ? "out of memory" : v->io->error);
}

/* Something that is not the next record, where the next record must be. */
static int refuse_damage(struct recovery *v, uint64_t must_reach)
{
    char what[220];
    snprintf(what, sizeof what,
             "damaged at offset %" PRIu64 ", after index %" PRIu64
             ": found %s, but what was synced reaches to offset %" PRIu64,
             v->end, v->terms->last, v->reader.why, must_reach);
    return refuse(v, LOG_ECORRUPT, what);
}

/* ---- One file ---- */

static bool log_has_entries(const struct recovery *v)
{
    return v->terms->last > v->terms->runs[0].first;
}

static int check_identity(struct recovery *v)
{
    if (memcmp(v->header.cluster_id, v->options->cluster_id, LOG_CLUSTER_ID_BYTES) == 0 &&
        v->header.node_id == v->options->node_id)
        return 0;
    char theirs[80], ours[80], what[256];
    recovery_identity(theirs, v->header.cluster_id, v->header.node_id);
    recovery_identity(ours, v->options->cluster_id, v->options->node_id);
    snprintf(what, sizeof what, "belongs to %s, not to %s", theirs, ours);
    return refuse(v, LOG_EFOREIGN, what);
}

/* Does this file replace even the first entry that the files before it hold? Then the log begins here, once there is a
 * record: what is before base was cut, and the files that held it were being removed, the lowest first. */
static bool begins_below(const struct recovery *v)
{
    return v->header.base_index < v->terms->runs[0].first;
}

static void begin_at(struct recovery *v, const struct segment_header *h)
{
    terms_reset(v->terms, h->base_index, h->base_term);
    cache_reset(v->cache, h->base_index + 1);
    segments_truncate(v->segments, 0);
}

/* Does this file go on where the one before ended? */
static int check_seam(struct recovery *v)
{
    const struct segment_header *h = &v->header;
    if (h->previous_end != v->end || h->previous_crc != v->chain) {
        const struct segment *before = segments_last(v->segments);
        v->reader.number = before->number; /* The words are about that file. */
        return refuse_damage(v, h->previous_end);
    }
    if (!log_has_entries(v)) {
        begin_at(v, h);
        return 0;
    }
    if (begins_below(v)) /* See take_record(). */
        return 0;
    if (h->base_index > v->terms->last || terms_at(v->terms, h->base_index) != h->base_term) {
        char what[160];
        snprintf(what, sizeof what,
                 "follows index %" PRIu64 " of term %" PRIu64 ", which is not in the files before it", h->base_index,
                 h->base_term);
        return refuse(v, LOG_ECORRUPT, what);
    }
    return 0;
}

static int check_record(struct recovery *v, const struct record *r)
{
    char what[160];
    if (r->type < LOG_COMMAND || r->type > LOG_CHANGE) {
        snprintf(what, sizeof what, "a record of unknown type %u: written by a newer version?", r->type);
        return refuse(v, LOG_EVERSION, what);
    }
    uint64_t base = v->header.base_index;
    uint64_t highest = v->last_index == 0 ? base + 1 : v->terms->last + 1;
    if (r->index > base && r->index <= highest)
        return 0;
    snprintf(what, sizeof what, "damaged at offset %" PRIu64 ": a record of index %" PRIu64 " follows index %" PRIu64,
             v->end, r->index, v->terms->last);
    return refuse(v, LOG_ECORRUPT, what);
}

static int keep_in_memory(struct recovery *v, const struct record *r, const uint8_t *payload)
{
    struct blob *blob = blob_copy(payload, r->len);
    if (blob == NULL || cache_reserve(v->cache, 1) != 0) {
        blob_unref(blob);
        return LOG_ENOMEM;
    }
    struct log_entry e = {.term = r->term, .type = r->type, .blob = blob, .len = r->len};
    cache_push(v->cache, &e);
    blob_unref(blob);
    while (v->cache->bytes > v->options->memory_bytes && v->cache->first < v->cache->next)
        cache_drop_below(v->cache, v->cache->first + 1);
    return 0;
}

static int take_record(struct recovery *v, const struct record *r, const uint8_t *payload)
{
    int rc = check_record(v, r);
    if (rc != 0)
        return rc;
    if (begins_below(v))
        begin_at(v, &v->header);
    terms_truncate(v->terms, r->index);
    cache_truncate(v->cache, r->index);
    segments_truncate(v->segments, r->index);
    rc = terms_reserve(v->terms, 1);
    if (rc == 0)
        rc = keep_in_memory(v, r, payload);
    if (rc == 0) {
        terms_push(v->terms, r->term);
        bool jump = v->last_index == 0 || r->index != v->last_index + 1;
        rc = segments_note(v->segments, r->index, v->header.number, v->end, jump);
    }
    v->last_index = r->index;
    return rc != 0 ? refuse_io(v, rc) : 0;
}

static int read_records(struct recovery *v)
{
    for (;;) {
        struct record r;
        const uint8_t *payload = NULL;
        int rc = reader_record(&v->reader, v->end, &r, &payload);
        if (rc < 0)
            return refuse_io(v, rc);
        if (rc == 0)
            return 0;
        if (r.previous_crc != v->chain) {
            snprintf(v->reader.why, sizeof v->reader.why, "a record that continues another one");
            return 0;
        }
        v->marked = r.type == RECORD_MARK;
        rc = v->marked ? 0 : take_record(v, &r, payload);
        if (rc != 0)
            return rc;
        v->end += record_bytes(r.len);
        v->chain = r.crc;
        v->synced = r.synced;
    }
}

static int read_file(struct recovery *v, uint64_t number)
{
    bool first = v->segments->n == 0;
    int rc = reader_open(&v->reader, v->io, number, &v->header, v->error);
    if (rc == 0)
        rc = check_identity(v);
    if (rc == 0 && first)
        begin_at(v, &v->header);
    else if (rc == 0)
        rc = check_seam(v);
    if (rc != 0)
        return rc;
    v->seed = v->chain = v->reader.seed;
    v->end = v->synced = SEGMENT_HEADER_BYTES;
    v->file_bytes = v->reader.size;
    v->last_index = 0;
    v->marked = false;
    struct segment s = {.number = number,
                        .base_index = v->header.base_index,
                        .base_term = v->header.base_term,
                        .end = v->end,
                        .prepared = v->header.prepared};
    rc = segments_add(v->segments, &s);
    if (rc != 0)
        return refuse_io(v, rc);
    rc = read_records(v);
    segments_last(v->segments)->end = v->end;
    return rc;
}

/* ---- All files ---- */

/* The last file that begins the log anew, or the first one. Its header is all that is read here. */
static int find_first(struct recovery *v, const struct recovery_names *names)
{
    for (size_t i = names->n_logs; i-- > 0;) {
        int rc = reader_open(&v->reader, v->io, names->logs[i], &v->header, v->error);
        reader_close(&v->reader);
        if (rc != 0)
            return rc;
        v->first = i;
        if (v->header.anew)
            return 0;
    }
    return 0;
}

static int check_numbers(struct recovery *v, const struct recovery_names *names, uint64_t floor)
{
    uint64_t missing = 0;
    for (size_t i = v->first + 1; i < names->n_logs && missing == 0; i++)
        if (names->logs[i] != names->logs[i - 1] + 1)
            missing = names->logs[i - 1] + 1;
    if (missing == 0 && names->logs[names->n_logs - 1] < floor)
        missing = names->logs[names->n_logs - 1] + 1;
    if (missing == 0)
        return 0;
    v->reader.number = missing;
    return refuse(v, LOG_ECORRUPT, "this file of the log is missing");
}

static int check_tail(struct recovery *v)
{
    char why[sizeof v->reader.why];
    memcpy(why, v->reader.why, sizeof why); /* The search overwrites it. */
    struct segment_tail tail;
    int rc = reader_tail(&v->reader, v->end, &tail);
    if (rc != 0)
        return refuse_io(v, rc);
    memcpy(v->reader.why, why, sizeof why);
    v->leftover_end = tail.leftover_end;
    return tail.damaged_until > 0 ? refuse_damage(v, tail.damaged_until) : 0;
}

int recovery_run(struct recovery *v, const struct recovery_names *names, uint64_t floor)
{
    assert(names->n_logs > 0);
    int rc = find_first(v, names);
    if (rc == 0)
        rc = check_numbers(v, names, floor);
    for (size_t i = v->first; rc == 0 && i < names->n_logs; i++) {
        reader_close(&v->reader);
        rc = read_file(v, names->logs[i]);
    }
    if (rc == 0)
        rc = check_tail(v);
    reader_close(&v->reader);
    return rc;
}

/* The last process may have ended because a sync failed. What it wrote can then be read from the system's memory,
 * though it is not on the disk, and the next sync would pass over it: it counts as written. Written again, it is
 * written. */
static int write_again(struct recovery *v, struct io_file *f)
{
    static uint8_t bytes[64 << 10];
    for (uint64_t at = v->synced; at < v->end;) {
        uint64_t left = v->end - at;
        long n = v->io->ops->pread(f, bytes, left < sizeof bytes ? (size_t)left : sizeof bytes, at);
        struct iovec iov = {bytes, n > 0 ? (size_t)n : 0};
        if (n <= 0 || v->io->ops->pwritev(f, &iov, 1, at) != 0)
            return refuse_io(v, LOG_EIO);
        at += iov.iov_len;
    }
    return 0;
}

int recovery_finish_tail(struct recovery *v, struct io_file *f)
{
    static uint8_t zeros[64 << 10];
    for (uint64_t at = v->end; at < v->leftover_end;) {
        uint64_t left = v->leftover_end - at;
        struct iovec iov = {zeros, left < sizeof zeros ? (size_t)left : sizeof zeros};
        if (v->io->ops->pwritev(f, &iov, 1, at) != 0)
            return refuse_io(v, LOG_EIO);
        at += iov.iov_len;
    }
    return write_again(v, f);
}

void recovery_release(struct recovery *v)
{
    reader_release(&v->reader);
}
