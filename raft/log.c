/* log.c - the log as its users see it: memory first, disk behind it.
 *
 *   log_append --> cache, terms       log_get, log_read <-- cache, else the files
 *        `--> pump --> group (worker: write, sync) --> wrote --> on_durable
 *
 * What is still to be written is a range: next_write to the last index. A truncation moves next_write back, so what
 * was never written is never written. Files are turned and reset by the group that needs it.
 * Invariants: durable < next_write <= last + 1 (durable is 0 while a reset is under way); what is not durable or not
 * applied is in the cache; the first record of a file has index base + 1, hence a turn when it would not.
 * Failure: the first failed write or sync sets `failed`; nothing is written after that, memory goes on working. */
#include "raft/log.h"
#include "raft/cache.h"
#include "raft/group.h"
#include "raft/meta.h"
#include "raft/recovery.h"
#include "raft/segments.h"
#include "raft/spares.h"
#include "raft/terms.h"
#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNC_TIMES 64
#define SPACE_ASK_MS 50
#define SEGMENT_BYTES_MIN (2 * SEGMENT_HEADER_BYTES)

struct log {
    struct io *io;
    struct log_options options;
    struct meta meta;
    struct segments segments;
    struct terms terms;
    struct cache cache;
    struct spares spares;
    bool is_new, failed, closing;

    uint64_t durable, applied;
    uint64_t next_write; /* First index not yet given to a group. */
    bool reset_pending;  /* The next group begins the log anew. */

    struct group group;
    bool writing;           /* The group is under way: */
    uint64_t still_valid;   /* its entries up to this index have not been truncated since; */
    bool stale_reset;       /* another reset came after its own. */
    uint64_t capacity;      /* Of the file written to. */
    uint64_t last_recorded; /* Index of the last record in that file; 0: none. */
    bool marked;            /* It ends with a mark. */

    struct segment_reader reader;     /* For log_read; */
    uint64_t read_index, read_offset; /* where it stopped: the record of read_index is there. */

    uint64_t space_asked_ms; /* When the free space was looked up last; */
    uint64_t space_bytes;    /* what was found then; */
    bool space_low;          /* and whether that was too little. */
    uint64_t claim_bytes;

    uint64_t sync_count;
    uint32_t sync_us[SYNC_TIMES];
    struct histogram sync_times;
};

#define log_of_group_job(j) ((struct log *)((char *)(j)-offsetof(struct log, group.job)))
#define log_of_spares(s) ((struct log *)((char *)(s)-offsetof(struct log, spares)))

static void pump(struct log *l);

/* ---- Closing ---- */

static void destroy(struct log *l)
{
    group_clear(&l->group);
    if (l->group.file != NULL)
        l->io->ops->close(l->group.file);
    reader_release(&l->reader);
    spares_release(&l->spares);
    cache_release(&l->cache);
    terms_release(&l->terms);
    segments_release(&l->segments);
    meta_close(&l->meta);
    free(l);
}

/* Leave a mark that everything is synced, so that damage to the last group can be told from a torn tail. */
static void mark_end(struct log *l)
{
    bool fits = l->group.offset + record_bytes(0) <= l->capacity;
    if (!l->failed && !l->marked && fits)
        group_mark(&l->group, l->terms.last); /* Failing costs only the mark. */
}

static void close_when_idle(struct log *l)
{
    if (l->writing || l->spares.state != SPARES_IDLE)
        return;
    mark_end(l);
    destroy(l);
}

void log_close(struct log *l)
{
    if (l == NULL)
        return;
    assert(!l->closing);
    l->closing = true;
    spares_close(&l->spares);
    close_when_idle(l);
}

/* ---- Failing ---- */

static void fail(struct log *l, const char *why)
{
    if (l->failed)
        return;
    l->failed = true;
    l->options.on_failed(l->options.ctx, why);
}

/* ---- Writing: filling a group ---- */

static const struct log_entry *next_entry(const struct log *l)
{
    const struct log_entry *e = cache_get(&l->cache, l->next_write);
    assert(e != NULL);
    return e;
}

static bool must_turn(struct log *l)
{
    const struct segment *s = segments_last(&l->segments);
    if (l->group.offset + record_bytes(next_entry(l)->len) > l->capacity)
        return true;
    if (l->next_write <= s->base_index || (segment_is_empty(s) && l->next_write != s->base_index + 1))
        return true;
    return !s->prepared && l->spares.keep > 0 && spares_full(&l->spares); /* Prepared ones are faster to write. */
}

/* Let the group begin a new file whose first record may be as large as `need`. */
static void plan_turn(struct log *l, uint64_t need)
{
    struct group *g = &l->group;
    uint64_t base = l->next_write - 1, spare = 0;
    g->turn = true;
    g->spare[0] = '\0';
    l->capacity = l->options.segment_bytes;
    if (SEGMENT_HEADER_BYTES + need > l->capacity)
        l->capacity = SEGMENT_HEADER_BYTES + need;
    else if (spares_take(&l->spares, &spare))
        spare_name(g->spare, spare);
    g->allocate_bytes = l->capacity;
    g->header = (struct segment_header){.number = g->number + 1,
                                        .node_id = l->options.node_id,
                                        .base_index = base,
                                        .base_term = terms_at(&l->terms, base),
                                        .previous_end = g->offset,
                                        .previous_crc = g->chain,
                                        .anew = l->reset_pending,
                                        .prepared = g->spare[0] != '\0'};
    memcpy(g->header.cluster_id, l->options.cluster_id, LOG_CLUSTER_ID_BYTES);
}

static void plan_entries(struct log *l)
{
    struct group *g = &l->group;
    uint64_t at = g->turn ? SEGMENT_HEADER_BYTES : g->offset;
    uint64_t start = at;
    g->first_index = l->next_write;
    while (l->next_write <= l->terms.last && g->n < GROUP_ENTRIES_MAX) {
        const struct log_entry *e = next_entry(l);
        uint64_t end = at + record_bytes(e->len);
        if (end > l->capacity || (g->n > 0 && end - start > GROUP_BYTES_MAX))
            break;
        group_add(g, e);
        at = end;
        l->next_write++;
    }
    l->still_valid = l->next_write - 1;
}

static void write_group(struct io_job *job)
{
    group_run(&log_of_group_job(job)->group);
}

static void wrote(struct io_job *job);

/* Start the next group if there is something to write and none is under way. */
static void pump(struct log *l)
{
    struct group *g = &l->group;
    if (l->writing || l->failed || l->closing || (!l->reset_pending && l->next_write > l->terms.last))
        return;
    g->turn = false;
    g->ran = false;
    if (l->reset_pending) {
        plan_turn(l, 0);
        l->stale_reset = false;
    } else {
        if (must_turn(l))
            plan_turn(l, record_bytes(next_entry(l)->len));
        plan_entries(l);
        assert(g->n > 0);
    }
    l->reset_pending = false;
    l->writing = true;
    g->job = (struct io_job){.run = write_group, .done = wrote};
    l->io->ops->submit(l->io, IO_LANE_LOG, &g->job);
    spares_pump(&l->spares); /* A turn may have taken one. */
}

/* ---- Writing: taking the result ---- */

static int remove_segments(struct log *l, size_t n)
{
    int rc = spares_reserve(&l->spares, n);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        spares_remove(&l->spares, l->segments.list[i].number, l->segments.list[i].prepared);
    segments_drop(&l->segments, n);
    if (l->reader.file != NULL && segments_find(&l->segments, l->reader.number) == NULL)
        reader_close(&l->reader);
    return 0;
}

static int took_turn(struct log *l)
{
    const struct segment_header *h = &l->group.header;
    struct segment s = {.number = h->number,
                        .base_index = h->base_index,
                        .base_term = h->base_term,
                        .end = SEGMENT_HEADER_BYTES,
                        .prepared = h->prepared};
    l->last_recorded = 0;
    l->marked = false;
    int rc = segments_add(&l->segments, &s);
    if (rc == 0 && h->anew)
        rc = remove_segments(l, l->segments.n - 1);
    return rc;
}

static int took_entries(struct log *l)
{
    const struct group *g = &l->group;
    struct segment *s = segments_last(&l->segments);
    uint64_t at = s->end;
    int rc = 0;
    for (size_t i = 0; i < g->n && rc == 0; i++) {
        uint64_t index = g->first_index + i;
        bool jump = l->last_recorded == 0 || index != l->last_recorded + 1;
        if (index <= l->still_valid)
            rc = segments_note(&l->segments, index, g->number, at, jump);
        at += record_bytes(g->entries[i].len);
        l->last_recorded = index;
    }
    s->end = g->offset;
    l->marked = l->marked && g->n == 0;
    return rc;
}

static void count_sync(struct log *l)
{
    if (l->group.n == 0)
        return;
    uint64_t us = l->group.sync_us;
    l->sync_us[l->sync_count++ % SYNC_TIMES] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    histogram_record(&l->sync_times, us);
}

static void evict(struct log *l)
{
    uint64_t free_below = (l->applied < l->durable ? l->applied : l->durable) + 1;
    while (l->cache.bytes > l->options.memory_bytes && l->cache.first < l->cache.next && l->cache.first < free_below)
        cache_drop_below(&l->cache, l->cache.first + 1);
}

/* What of the group became durable and is still in the log; 0: nothing. */
static uint64_t newly_durable(const struct log *l)
{
    const struct group *g = &l->group;
    if (g->n == 0)
        return l->stale_reset ? 0 : g->header.base_index;
    return l->still_valid >= g->first_index ? l->still_valid : 0;
}

/* The group that was under way when the log was closed. */
static void wrote_last(struct log *l)
{
    l->failed |= !l->group.ran || l->group.rc != 0;
    l->marked = false;
    close_when_idle(l);
}

static int take_result(struct log *l)
{
    int rc = l->group.turn ? took_turn(l) : 0;
    if (rc == 0)
        rc = took_entries(l);
    count_sync(l);
    group_clear(&l->group);
    return rc;
}

static void wrote(struct io_job *job)
{
    struct log *l = log_of_group_job(job);
    l->writing = false;
    if (l->closing) {
        wrote_last(l);
        return;
    }
    uint64_t durable = newly_durable(l);
    bool written = l->group.rc == 0;
    if (!written || take_result(l) != 0) {
        fail(l, written ? "out of memory" : l->group.why);
        return;
    }
    if (durable > 0)
        l->durable = durable;
    evict(l);
    uint64_t term = terms_at(&l->terms, durable);
    pump(l); /* First: the disk need not wait for what the owner does with the news. */
    spares_pump(&l->spares);
    if (durable > 0)
        l->options.on_durable(l->options.ctx, durable, term);
}

static void spares_changed(struct spares *s)
{
    struct log *l = log_of_spares(s);
    if (l->closing)
        close_when_idle(l);
}

/* ---- Opening ---- */

static int explain(struct log *l, int rc, char error[256], const char *what)
{
    snprintf(error, 256, "%s: %s", what, rc == LOG_ENOMEM ? "out of memory" : l->io->error);
    return rc;
}

static int open_meta(struct log *l, const struct recovery_names *names, char error[256])
{
    int rc = meta_open(&l->meta, l->io, error);
    if (rc == LOG_ENOENT && names->n_logs > 0) {
        snprintf(error, 256, "there are log files but no file " META_NAME ": term and vote of this node are lost");
        return LOG_ECORRUPT;
    }
    if (rc == LOG_ENOENT) {
        struct meta_state state = {.node_id = l->options.node_id};
        memcpy(state.cluster_id, l->options.cluster_id, LOG_CLUSTER_ID_BYTES);
        return meta_create(&l->meta, l->io, &state, error);
    }
    if (rc != 0)
        return rc;
    const struct meta_state *m = &l->meta.state;
    if (m->node_id == l->options.node_id && memcmp(m->cluster_id, l->options.cluster_id, LOG_CLUSTER_ID_BYTES) == 0)
        return 0;
    char theirs[80], ours[80];
    recovery_identity(theirs, m->cluster_id, m->node_id);
    recovery_identity(ours, l->options.cluster_id, l->options.node_id);
    snprintf(error, 256, "the directory belongs to %s, not to %s", theirs, ours);
    return LOG_EFOREIGN;
}

/* The very first file. It is small; the log moves to a prepared one as soon as there is one. */
static int create_first(struct log *l, char error[256])
{
    struct group *g = &l->group;
    l->next_write = 1;
    plan_turn(l, 0);
    if (l->spares.keep > 0)
        g->allocate_bytes = 0;
    group_run(g);
    if (g->rc != 0) {
        snprintf(error, 256, "%s", g->why);
        return g->rc;
    }
    int rc = took_turn(l);
    return rc != 0 ? explain(l, rc, error, "the log") : 0;
}

/* Be ready to write behind what was read: wipe what a torn tail left, sync what the last process wrote and perhaps
 * did not sync, and mark it as synced. */
static int continue_last(struct log *l, struct recovery *v, char error[256])
{
    struct group *g = &l->group;
    char name[SEGMENT_NAME_BYTES];
    g->number = segments_last(&l->segments)->number;
    g->seed = v->seed;
    g->chain = v->chain;
    g->offset = v->end;
    segment_name(name, g->number);
    int rc = l->io->ops->open(l->io, name, IO_READ | IO_WRITE, &g->file);
    if (rc != 0)
        return explain(l, LOG_EIO, error, "the log");
    rc = recovery_finish_tail(v, g->file);
    if (rc != 0)
        return rc;
    if (l->io->ops->sync(g->file) != 0 || l->io->ops->sync_dir(l->io) != 0)
        return explain(l, LOG_EIO, error, "the log");
    l->capacity = v->file_bytes > l->options.segment_bytes ? v->file_bytes : l->options.segment_bytes;
    l->last_recorded = v->last_index;
    l->marked = v->marked || segment_is_empty(segments_last(&l->segments));
    return 0;
}

static int mark_start(struct log *l, char error[256])
{
    if (l->marked || l->group.offset + record_bytes(0) > l->capacity)
        return 0;
    int rc = group_mark(&l->group, l->terms.last);
    if (rc == LOG_ENOSPC) /* The disk is full: then without. */
        return 0;
    if (rc != 0)
        return explain(l, rc, error, "the log");
    segments_last(&l->segments)->end = l->group.offset;
    l->marked = true;
    return 0;
}

static int remove_obsolete(struct log *l, const struct recovery_names *names, size_t n)
{
    int rc = spares_reserve(&l->spares, n);
    for (size_t i = 0; rc == 0 && i < n; i++)
        spares_remove(&l->spares, names->logs[i], false);
    return rc;
}

static int recover(struct log *l, const struct recovery_names *names, char error[256])
{
    struct recovery v = {.io = l->io,
                         .options = &l->options,
                         .segments = &l->segments,
                         .terms = &l->terms,
                         .cache = &l->cache,
                         .error = error};
    int rc = recovery_run(&v, names, l->meta.state.segment);
    if (rc == 0)
        rc = continue_last(l, &v, error);
    if (rc == 0)
        rc = mark_start(l, error);
    if (rc == 0 && remove_obsolete(l, names, v.first) != 0)
        rc = explain(l, LOG_ENOMEM, error, "the log");
    recovery_release(&v);
    l->next_write = l->terms.last + 1;
    l->durable = l->terms.last;
    return rc;
}

static int open_files(struct log *l, const struct recovery_names *names, char error[256])
{
    if (names->n_logs > 0)
        return recover(l, names, error);
    if (l->meta.state.segment > 0) {
        snprintf(error, 256, "the log files are missing: there must be one of number %016" PRIx64 " or higher",
                 l->meta.state.segment);
        return LOG_ECORRUPT;
    }
    return create_first(l, error);
}

static int count_start(struct log *l, char error[256])
{
    struct meta_state state = l->meta.state;
    l->is_new = state.term == 0 && state.vote == 0 && l->terms.last == 0;
    state.start++;
    if (state.incarnation == 0)
        state.incarnation = l->io->ops->random(l->io) | 1;
    state.segment = segments_last(&l->segments)->number;
    int rc = meta_store(&l->meta, &state);
    return rc != 0 ? explain(l, rc, error, "the file " META_NAME) : 0;
}

static void adopt_spares(struct log *l, const struct recovery_names *names)
{
    l->io->ops->unlink(l->io, SPARES_NAME_NEW); /* Whatever a crash left half made. */
    l->io->ops->unlink(l->io, SEGMENT_NAME_NEW);
    for (size_t i = 0; i < names->n_spares; i++)
        spares_adopt(&l->spares, names->spares[i]);
}

static int open_all(struct log *l, char error[256])
{
    struct recovery_names names;
    int rc = terms_init(&l->terms, 0, 0);
    if (rc != 0)
        return explain(l, rc, error, "the log");
    rc = recovery_list(l->io, &names, error);
    if (rc != 0)
        return rc;
    rc = open_meta(l, &names, error);
    if (rc == 0)
        rc = open_files(l, &names, error);
    if (rc == 0)
        rc = count_start(l, error);
    if (rc == 0)
        adopt_spares(l, &names);
    recovery_names_release(&names);
    return rc;
}

int log_open(struct io *io, const struct log_options *options, char error[256], struct log **ret)
{
    struct log *l = calloc(1, sizeof *l);
    if (l == NULL) {
        snprintf(error, 256, "out of memory");
        return LOG_ENOMEM;
    }
    l->io = io;
    l->options = *options;
    if (l->options.segment_bytes < SEGMENT_BYTES_MIN)
        l->options.segment_bytes = SEGMENT_BYTES_MIN;
    l->group.io = io;
    cache_init(&l->cache, 1);
    spares_init(&l->spares, io, l->options.segment_bytes, options->spares, spares_changed);
    int rc = open_all(l, error);
    if (rc != 0) {
        destroy(l);
        return rc;
    }
    spares_pump(&l->spares);
    *ret = l;
    return 0;
}

/* ---- Term and vote ---- */

int log_set_vote(struct log *l, uint64_t term, uint64_t vote)
{
    if (l->failed)
        return LOG_EIO;
    struct meta_state state = l->meta.state;
    state.term = term;
    state.vote = vote;
    state.segment = segments_last(&l->segments)->number;
    int rc = meta_store(&l->meta, &state);
    l->failed |= rc != 0; /* The caller learns it from rc. */
    return rc;
}

/* ---- Changing ---- */

/* What a group under way writes from index on is no longer wanted. */
static void truncate_from(struct log *l, uint64_t index)
{
    cache_truncate(&l->cache, index);
    terms_truncate(&l->terms, index);
    segments_truncate(&l->segments, index);
    l->read_offset = 0; /* Another record may come to be where reading stopped. */
    if (l->next_write > index)
        l->next_write = index;
    if (l->durable >= index)
        l->durable = index - 1;
    if (l->still_valid >= index)
        l->still_valid = index - 1;
}

int log_append(struct log *l, uint64_t index, const struct log_entry *entries, size_t n)
{
    assert(index >= log_first(l) && index <= l->terms.last + 1);
    if (cache_reserve(&l->cache, n) != 0 || terms_reserve(&l->terms, n) != 0)
        return LOG_ENOMEM;
    if (index <= l->terms.last)
        truncate_from(l, index);
    for (size_t i = 0; i < n; i++) {
        assert(entries[i].term > 0 && entries[i].len <= LOG_ENTRY_BYTES_MAX);
        cache_push(&l->cache, &entries[i]);
        terms_push(&l->terms, entries[i].term);
    }
    pump(l);
    return 0;
}

void log_applied(struct log *l, uint64_t index)
{
    if (index > l->applied)
        l->applied = index;
    evict(l);
}

void log_cut(struct log *l, uint64_t index)
{
    if (index > l->durable) /* What is not yet on disk may still need the file before it. */
        index = l->durable;
    size_t n = segments_below(&l->segments, index);
    if (n == 0 || remove_segments(l, n) != 0)
        return; /* Out of memory: they go with the next cut. */
    uint64_t base = l->segments.list[0].base_index;
    terms_cut(&l->terms, base);
    cache_drop_below(&l->cache, base + 1);
    spares_pump(&l->spares);
}

int log_reset(struct log *l, uint64_t index, uint64_t term)
{
    cache_reset(&l->cache, index + 1);
    terms_reset(&l->terms, index, term);
    segments_truncate(&l->segments, 0);
    l->read_offset = 0;
    l->next_write = index + 1;
    l->durable = 0;
    l->still_valid = 0;
    l->stale_reset = true;
    l->reset_pending = true;
    pump(l);
    return 0;
}

/* ---- Asking ---- */

bool log_is_new(const struct log *l)
{
    return l->is_new;
}

uint64_t log_start(const struct log *l)
{
    return l->meta.state.start;
}

uint64_t log_incarnation(const struct log *l)
{
    return l->meta.state.incarnation;
}

uint64_t log_term(const struct log *l)
{
    return l->meta.state.term;
}

uint64_t log_vote(const struct log *l)
{
    return l->meta.state.vote;
}

uint64_t log_first(const struct log *l)
{
    return l->terms.runs[0].first + 1;
}

uint64_t log_last(const struct log *l)
{
    return l->terms.last;
}

uint64_t log_durable(const struct log *l)
{
    return l->durable;
}

uint64_t log_term_at(const struct log *l, uint64_t index)
{
    return terms_at(&l->terms, index);
}

uint64_t log_disk_bytes(const struct log *l)
{
    return segments_bytes(&l->segments);
}

uint64_t log_sync_count(const struct log *l)
{
    return l->sync_count;
}

const struct histogram *log_sync_times(const struct log *l)
{
    return &l->sync_times;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

uint64_t log_sync_us_median(const struct log *l)
{
    size_t n = l->sync_count < SYNC_TIMES ? (size_t)l->sync_count : SYNC_TIMES;
    uint32_t sorted[SYNC_TIMES];
    if (n == 0)
        return 0;
    memcpy(sorted, l->sync_us, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    return sorted[n / 2];
}

/* Asked for every write, looked up a few times a second. */
static bool has_space(struct log *l)
{
    const struct io_ops *ops = l->io->ops;
    uint64_t now_ms = ops->now_ms(l->io), want = l->options.reserve_bytes + l->claim_bytes;
    if (ops->space == NULL)
        return true;
    if (l->space_asked_ms == 0 || now_ms >= l->space_asked_ms + SPACE_ASK_MS) {
        l->space_asked_ms = now_ms;
        if (ops->space(l->io, &l->space_bytes) != 0)
            l->space_bytes = UINT64_MAX;
    }
    l->space_low = l->space_bytes < (l->space_low ? want + want / 4 : want);
    return !l->space_low;
}

void log_set_claim(struct log *l, uint64_t bytes)
{
    l->claim_bytes = bytes;
}

bool log_has_reserve(struct log *l)
{
    if (l->spares.failed && !l->failed)
        spares_pump(&l->spares);
    return !l->spares.failed && has_space(l);
}

const struct log_entry *log_get(const struct log *l, uint64_t index)
{
    return cache_get(&l->cache, index);
}

/* ---- Reading back ---- */

static int read_from(struct log *l, const struct segments_point *p)
{
    const struct segment *s = segments_find(&l->segments, p->segment);
    assert(s != NULL);
    bool same = l->reader.file != NULL && l->reader.number == s->number;
    if (!same) {
        char error[256];
        reader_close(&l->reader);
        int rc = reader_open(&l->reader, l->io, s->number, NULL, error);
        if (rc != 0) {
            reader_close(&l->reader);
            snprintf(l->io->error, sizeof l->io->error, "%.*s", (int)sizeof l->io->error - 1, error);
            return rc == LOG_EVERSION ? LOG_ECORRUPT : rc;
        }
    }
    l->reader.limit = s->end; /* What is behind may be changing. */
    bool ahead = same && l->read_index >= p->index && l->read_offset >= p->offset;
    if (!ahead) {
        l->read_index = p->index;
        l->read_offset = p->offset;
    }
    return 0;
}

static int read_damaged(struct log *l)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, l->reader.number);
    snprintf(l->io->error, sizeof l->io->error, "%s: damaged at offset %" PRIu64 ": found %s", name, l->read_offset,
             l->reader.why);
    reader_close(&l->reader);
    return LOG_ECORRUPT;
}

/* Read the record at read_offset and step behind it; a mark is stepped over. */
static int read_step(struct log *l, struct record *ret, const uint8_t **ret_payload)
{
    do {
        int rc = reader_record(&l->reader, l->read_offset, ret, ret_payload);
        if (rc < 0)
            return rc;
        if (rc == 0)
            return read_damaged(l);
        l->read_offset += record_bytes(ret->len);
    } while (ret->type == RECORD_MARK);
    if (ret->index == l->read_index++ && ret->term == terms_at(&l->terms, ret->index))
        return 0;
    snprintf(l->reader.why, sizeof l->reader.why, "index %" PRIu64 " of term %" PRIu64, ret->index, ret->term);
    return read_damaged(l);
}

static int read_back(struct log *l, uint64_t index, struct log_entry *ret)
{
    const struct segments_point *p = segments_point(&l->segments, index);
    if (p == NULL)
        return LOG_ENOENT;
    int rc = read_from(l, p);
    if (rc == 0 && l->read_index > index) { /* It stopped behind: go back. */
        l->read_index = p->index;
        l->read_offset = p->offset;
    }
    struct record r = {0};
    const uint8_t *payload = NULL;
    while (rc == 0 && l->read_index <= index)
        rc = read_step(l, &r, &payload);
    if (rc != 0)
        return rc;
    struct blob *blob = blob_copy(payload, r.len);
    if (blob == NULL)
        return LOG_ENOMEM;
    *ret = (struct log_entry){.term = r.term, .type = r.type, .blob = blob, .len = r.len};
    return 0;
}

int log_read(struct log *l, uint64_t index, struct log_entry *ret)
{
    const struct log_entry *e = cache_get(&l->cache, index);
    if (e == NULL)
        return index < log_first(l) || index > l->terms.last ? LOG_ENOENT : read_back(l, index, ret);
    *ret = *e;
    if (ret->blob != NULL)
        blob_ref(ret->blob);
    return 0;
}
