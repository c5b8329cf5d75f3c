/* spares.c - one job at a time: removals first, since they may become spares.
 * Failure: a spare that cannot be made, or a file that cannot be removed, is tried again later; the log goes on. */
#include "raft/spares.h"
#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZEROS_BYTES (64u << 10)
#define ZEROS_PER_SYNC 16 /* Syncing small pieces keeps the log's own syncs short meanwhile. */

#define spares_of_job(j) ((struct spares *)((char *)(j)-offsetof(struct spares, job)))

static uint8_t zeros[ZEROS_BYTES]; /* Never written. */

void spare_name(char name[SEGMENT_NAME_BYTES], uint64_t number)
{
    snprintf(name, SEGMENT_NAME_BYTES, "spare-%016" PRIx64, number);
}

void spares_init(struct spares *s, struct io *io, uint64_t segment_bytes, unsigned keep,
                 void (*changed)(struct spares *s))
{
    *s = (struct spares){.io = io, .segment_bytes = segment_bytes, .changed = changed, .next_number = 1};
    s->keep = keep < SPARES_MAX ? keep : SPARES_MAX;
}

static bool has_size(struct io *io, const char *name, uint64_t bytes)
{
    struct io_file *f;
    if (io->ops->open(io, name, IO_READ, &f) != 0)
        return false;
    uint64_t size = 0;
    bool same = io->ops->size(f, &size) == 0 && size == bytes;
    io->ops->close(f);
    return same;
}

void spares_adopt(struct spares *s, uint64_t number)
{
    char name[SEGMENT_NAME_BYTES];
    spare_name(name, number);
    if (number >= s->next_number)
        s->next_number = number + 1;
    if (s->n_ready < s->keep && has_size(s->io, name, s->segment_bytes))
        s->ready[s->n_ready++] = number;
    else
        s->io->ops->unlink(s->io, name);
}

bool spares_take(struct spares *s, uint64_t *ret_number)
{
    if (s->n_ready == 0)
        return false;
    *ret_number = s->ready[--s->n_ready];
    return true;
}

bool spares_full(const struct spares *s)
{
    return s->n_ready >= s->keep;
}

int spares_reserve(struct spares *s, size_t n)
{
    if (s->removals_capacity - s->n_removals >= n)
        return 0;
    size_t capacity = (s->n_removals + n) * 2;
    struct spares_removal *more = realloc(s->removals, capacity * sizeof *more);
    if (more == NULL)
        return LOG_ENOMEM;
    s->removals = more;
    s->removals_capacity = capacity;
    return 0;
}

void spares_remove(struct spares *s, uint64_t number, bool recyclable)
{
    assert(s->n_removals < s->removals_capacity);
    s->removals[s->n_removals++] = (struct spares_removal){number, recyclable};
}

/* ---- On the worker ---- */

static int fill(struct spares *s, struct io_file *f)
{
    struct iovec iov[ZEROS_PER_SYNC];
    uint64_t at = 0;
    while (at < s->segment_bytes) {
        if (atomic_load(&s->closing))
            return IO_EIO;
        uint64_t piece = at;
        int n = 0;
        for (; n < ZEROS_PER_SYNC && at < s->segment_bytes; n++) {
            uint64_t left = s->segment_bytes - at;
            iov[n] = (struct iovec){zeros, left < ZEROS_BYTES ? (size_t)left : ZEROS_BYTES};
            at += iov[n].iov_len;
        }
        int rc = s->io->ops->pwritev(f, iov, n, piece);
        if (rc == 0)
            rc = s->io->ops->sync(f);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int make(struct spares *s)
{
    const struct io_ops *ops = s->io->ops;
    char name[SEGMENT_NAME_BYTES];
    struct io_file *f;
    spare_name(name, s->number);
    ops->unlink(s->io, SPARES_NAME_NEW); /* Left by an attempt that failed. */
    int rc = ops->open(s->io, SPARES_NAME_NEW, IO_READ | IO_WRITE | IO_CREATE, &f);
    if (rc != 0)
        return rc;
    rc = ops->allocate(f, s->segment_bytes);
    if (rc == 0)
        rc = fill(s, f);
    ops->close(f);
    if (rc == 0)
        rc = ops->rename(s->io, SPARES_NAME_NEW, name);
    if (rc != 0)
        ops->unlink(s->io, SPARES_NAME_NEW);
    return rc;
}

static int take_away(struct spares *s)
{
    const struct io_ops *ops = s->io->ops;
    char name[SEGMENT_NAME_BYTES], spare[SEGMENT_NAME_BYTES];
    segment_name(name, s->removal.number);
    spare_name(spare, s->number);
    s->recycle = s->recycle && has_size(s->io, name, s->segment_bytes);
    int rc = s->recycle ? ops->rename(s->io, name, spare) : ops->unlink(s->io, name);
    if (rc == IO_ENOENT) { /* An earlier attempt got that far. */
        s->recycle = false;
        rc = 0;
    }
    return rc == 0 ? ops->sync_dir(s->io) : rc;
}

static void work(struct io_job *job)
{
    struct spares *s = spares_of_job(job);
    if (atomic_load(&s->closing))
        return;
    s->rc = s->state == SPARES_MAKING ? make(s) : take_away(s);
}

/* ---- On the loop ---- */

static void made(struct spares *s)
{
    s->failed = s->rc != 0;
    if (s->rc == 0)
        s->ready[s->n_ready++] = s->number;
}

static void taken_away(struct spares *s)
{
    if (s->rc != 0)
        return;
    s->n_removals--;
    memmove(s->removals, s->removals + 1, s->n_removals * sizeof *s->removals);
    if (s->recycle) {
        s->ready[s->n_ready++] = s->number;
        s->failed = false;
    }
}

static void worked(struct io_job *job)
{
    struct spares *s = spares_of_job(job);
    enum spares_state was = s->state;
    s->state = SPARES_IDLE;
    if (!atomic_load(&s->closing)) {
        if (was == SPARES_MAKING)
            made(s);
        else
            taken_away(s);
        if (s->rc != 0)
            s->retry_at_ms = s->io->ops->now_ms(s->io) + SPARES_RETRY_MS;
        spares_pump(s);
    }
    s->changed(s); /* May free s. */
}

void spares_pump(struct spares *s)
{
    bool missing = s->n_ready < s->keep;
    if (s->state != SPARES_IDLE || atomic_load(&s->closing) || (s->n_removals == 0 && !missing))
        return;
    if (s->retry_at_ms > 0 && s->io->ops->now_ms(s->io) < s->retry_at_ms)
        return;
    s->retry_at_ms = 0;
    s->state = s->n_removals > 0 ? SPARES_REMOVING : SPARES_MAKING;
    if (s->state == SPARES_REMOVING)
        s->removal = s->removals[0];
    s->recycle = s->state == SPARES_REMOVING && missing && s->removal.recyclable;
    s->number = s->next_number++;
    s->rc = IO_EIO; /* Until the worker says otherwise. */
    s->job = (struct io_job){.run = work, .done = worked};
    s->io->ops->submit(s->io, IO_LANE_SPARE, &s->job);
}

bool spares_close(struct spares *s)
{
    atomic_store(&s->closing, true);
    return s->state == SPARES_IDLE;
}

void spares_release(struct spares *s)
{
    assert(s->state == SPARES_IDLE);
    free(s->removals);
    s->removals = NULL;
}
