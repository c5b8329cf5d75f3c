/* store.c - how log entries become state, exactly once and in order, and how the parts of the store work together.
 *
 *     entry --> store_apply --> families change rows --> freeze --> flusher: one transaction --> take --> thaw
 *                                    `--> due: keys that expire before the horizon      `--> next window of due keys
 *
 * What a flush writes is the state between two entries: rows and meta are frozen together, on the loop thread.
 * Exactly once: an entry's effects, its index and its origin's seq are in one transaction, so a replay from
 * the applied index of the file repeats nothing.
 *
 * Invariants: applied only grows, by one; durable <= applied of the file <= applied.
 * Failure: the first error is kept (fatal) and every later call answers it. A batch may then be half applied in memory,
 * so nothing is flushed any more: the file keeps its last whole state, and the log has the rest. */
#include "store/store.h"
#include "store/due.h"
#include "store/family.h"
#include "store/flush.h"
#include "store/little.h"
#include "store/lock.h"
#include "store/rows_internal.h"
#include "store/schema.h"
#include "store/wait.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STORE_ACCEPTED                                                                                                 \
    "install.db"                  /* A whole snapshot that is to become the state; finished on open after a crash.     \
                                   */
#define STORE_DUE_WINDOW_MS 60000 /* How far ahead the due keys are in memory. */
#define STORE_DUE_RETRY_MS 2000   /* A due key that was named and is still there is named again. */
#define STORE_DUE_RETRY_STEP 1024 /* Named keys looked at in one call. */
#define STORE_DUE_NOTE_STEP 8192  /* Due keys of a new window taken in by one poll. */
#define STORE_DUE_STALE_STEP 64   /* Stale hints passed in one call, beside one for each key wanted. */
#define STORE_CHECKPOINT_MS 10000 /* What is flushed becomes durable at the latest after so long. */
#define STORE_DIRTY_BYTES_MIN ((size_t)1 << 20)
#define STORE_ORIGINS_FIRST 8
#define STORE_NO_MEMORY_FOR_DUE "out of memory for what is due"

/* A due row the leader has named in a proposal. The proposal may be lost with its leadership: so it is remembered for a
 * while. */
struct named {
    struct named *next;
    int64_t retry_ms;
    enum space space;
    size_t len;
    void *key; /* malloc'ed. */
};

struct store {
    char *dir, *path;
    uint8_t cluster_id[STORE_CLUSTER_ID_BYTES];
    size_t cache_bytes, flush_rows, checkpoint_bytes;
    unsigned flush_interval_ms;
    void (*notify)(void *ctx);
    void *notify_ctx;
    void (*changed)(void *ctx, const struct store_event *event);
    void *changed_ctx;
    struct feed *feed;
    const struct script_host *script_host;

    sqlite3 *db; /* The loop thread's connection: reads only. */
    struct rows *rows;
    struct due *due;
    struct flusher *flusher;
    struct command command; /* The decoder's scratch. */
    struct family_keeps keeps;
    struct wait_ready ready; /* Empty between commands. */

    uint64_t applied, applied_term, clock_ms, revision;
    uint64_t durable, durable_term;
    uint64_t expired_total;
    struct origin *origins;
    size_t n_origins, origins_cap;
    uint8_t *conf;
    size_t conf_len;
    uint64_t conf_index;
    bool conf_changed; /* Since the last flush began. */

    struct flush flush; /* The one under way. */
    bool flushing;
    bool checkpoint_wanted;
    uint64_t flushed, flushed_term;     /* Applied as of the last flush begun. */
    uint64_t flush_began_ms, synced_ms; /* By the caller's clock. */
    bool polled;
    uint64_t file_bytes;

    uint64_t ahead_ms;      /* The furthest guess of the clock a leader made. */
    int64_t due_read_ms;    /* SQLite's due keys are, or are being, read up to here; behind the horizon: to be read. */
    struct due_list window; /* Read and being taken in. */
    size_t window_at;
    struct named *named, **named_end; /* Oldest first. */

    int fatal;
    char error[SCHEMA_ERROR_BYTES];
};

static int fail(struct store *s, int rc, const char *what)
{
    if (s->fatal == 0) {
        s->fatal = rc;
        snprintf(s->error, sizeof s->error, "%s", what);
    }
    return s->fatal;
}

const char *store_error(const struct store *s)
{
    return s->error;
}

/* ---- where the state stands; without rows after an install that failed ---- */

uint64_t store_applied(const struct store *s)
{
    return s->applied;
}

uint64_t store_applied_term(const struct store *s)
{
    return s->applied_term;
}

uint64_t store_revision(const struct store *s)
{
    return s->revision;
}

uint64_t store_clock_ms(const struct store *s)
{
    return s->clock_ms;
}

uint64_t store_hash(const struct store *s)
{
    return s->rows == NULL ? 0 : rows_state_hash(s->rows);
}

uint64_t store_keys(const struct store *s)
{
    return s->rows == NULL ? 0 : rows_count(s->rows);
}

uint64_t store_expired_total(const struct store *s)
{
    return s->expired_total;
}

uint64_t store_keys_with_ttl(const struct store *s)
{
    return s->rows == NULL ? 0 : rows_expiring(s->rows);
}

uint64_t store_sessions(const struct store *s)
{
    return s->rows == NULL ? 0 : rows_total(s->rows, SPACE_SESSIONS).count;
}

uint64_t store_locks(const struct store *s)
{
    return s->rows == NULL ? 0 : rows_total(s->rows, SPACE_LOCKS).count;
}

bool store_has_deadlines(const struct store *s)
{
    return s->rows != NULL && rows_all_expiring(s->rows) > 0;
}

size_t store_cache_bytes(const struct store *s)
{
    return s->rows == NULL ? 0 : rows_cache_bytes(s->rows);
}

size_t store_dirty_bytes(const struct store *s)
{
    return s->rows == NULL ? 0 : rows_dirty_bytes(s->rows);
}

/* Each row once in the file and once in the journal; and every page it touches once more in the journal, which for
 * small rows in random places is most of it, but never more than the file. */
uint64_t store_space_wanted(const struct store *s)
{
    uint64_t dirty = store_dirty_bytes(s), touched = dirty * 16;
    return 2 * dirty + (touched < s->file_bytes ? touched : s->file_bytes);
}

uint64_t store_file_bytes(const struct store *s)
{
    return s->file_bytes;
}

uint64_t store_durable(const struct store *s)
{
    return s->durable;
}

uint64_t store_durable_term(const struct store *s)
{
    return s->durable_term;
}

const uint8_t *store_configuration(const struct store *s, size_t *ret_len, uint64_t *ret_index)
{
    *ret_len = s->conf_len;
    *ret_index = s->conf_index;
    return s->conf;
}

/* ---- origins ---- */

/* As many as the cluster ever had nodes: a walk is short. */
static struct origin *origin_find(const struct store *s, uint64_t node)
{
    for (size_t i = 0; i < s->n_origins; i++)
        if (s->origins[i].node == node)
            return &s->origins[i];
    return NULL;
}

void store_origin(const struct store *s, uint64_t node, uint64_t *ret_start, uint64_t *ret_seq)
{
    const struct origin *o = origin_find(s, node);
    *ret_start = o == NULL ? 0 : o->start;
    *ret_seq = o == NULL ? 0 : o->seq;
}

static enum store_applied judge(const struct store *s, const struct batch_header *h)
{
    uint64_t start, seq;
    if (h->node == 0)
        return STORE_APPLIED;
    store_origin(s, h->node, &start, &seq);
    if (h->start < start)
        return STORE_OUT_OF_ORDER;
    if (h->start > start)
        return h->seq == 1 ? STORE_APPLIED : STORE_OUT_OF_ORDER;
    if (h->seq <= seq)
        return STORE_DUPLICATE;
    return h->seq == seq + 1 ? STORE_APPLIED : STORE_OUT_OF_ORDER;
}

static struct origin *origin_add(struct store *s, uint64_t node)
{
    if (s->n_origins == s->origins_cap) {
        size_t cap = s->origins_cap == 0 ? STORE_ORIGINS_FIRST : s->origins_cap * 2;
        struct origin *grown = realloc(s->origins, cap * sizeof *grown);
        if (grown == NULL)
            return NULL;
        s->origins = grown;
        s->origins_cap = cap;
    }
    s->origins[s->n_origins] = (struct origin){.node = node};
    return &s->origins[s->n_origins++];
}

static int origin_advance(struct store *s, const struct batch_header *h)
{
    if (h->node == 0)
        return 0;
    struct origin *o = origin_find(s, h->node);
    if (o == NULL && (o = origin_add(s, h->node)) == NULL)
        return STORE_ENOMEM;
    o->start = h->start;
    o->seq = h->seq;
    o->changed = true;
    return 0;
}

/* ---- entries ---- */

static int from_command(int rc)
{
    return rc == COMMAND_ENOMEM ? STORE_ENOMEM : rc == COMMAND_EVERSION ? STORE_EVERSION : STORE_ECORRUPT;
}

/* Every command of the batch is whole and nothing follows the last. */
static int check_commands(struct store *s, const uint8_t *batch, size_t len, uint32_t n)
{
    size_t at = BATCH_HEADER_BYTES, used;
    for (uint32_t i = 0; i < n; i++, at += used) {
        int rc = command_decode(batch + at, len - at, &s->command, &used);
        if (rc != 0)
            return from_command(rc);
    }
    return at == len ? 0 : STORE_ECORRUPT;
}

static int check_batch(struct store *s, uint64_t index, const uint8_t *batch, size_t len, struct batch_header *ret)
{
    char what[SCHEMA_ERROR_BYTES];
    int rc = batch_header_decode(batch, len, ret);
    rc = rc != 0 ? from_command(rc) : check_commands(s, batch, len, ret->n);
    if (rc == 0)
        return 0;
    snprintf(what, sizeof what, "log entry %" PRIu64 " (%zu bytes) %s", index, len,
             rc == STORE_EVERSION   ? "is of a version this program cannot read"
             : rc == STORE_ECORRUPT ? "is not a whole batch of commands"
                                    : "found no memory");
    return fail(s, rc, what);
}

static struct family family_of(struct store *s, struct outcome_buf *out, uint64_t now_ms)
{
    return (struct family){.rows = s->rows,
                           .due = s->due,
                           .revision = &s->revision,
                           .clock_ms = s->clock_ms,
                           .now_ms = now_ms,
                           .expired_total = &s->expired_total,
                           .value_bytes_max = BATCH_VALUE_BYTES_MAX,
                           .keeps = &s->keeps,
                           .host = s->script_host,
                           .out = out};
}

/* What went wrong while commands ran, if anything did. */
static int check_run(struct store *s, const struct outcome_buf *out)
{
    int rc = rows_error(s->rows);
    if (rc == 0 && out->failed)
        rc = STORE_ENOMEM;
    if (rc == 0)
        return 0;
    return fail(s, rc,
                rc == STORE_ENOMEM     ? "out of memory while applying an entry"
                : rc == STORE_ECORRUPT ? "a row of the state file is damaged"
                                       : "the state file cannot be read");
}

/* restarted: it is the first batch of a new start of its node. */
static int run_commands(struct store *s, const uint8_t *batch, size_t len, const struct batch_header *h, bool restarted,
                        struct outcome_buf *out)
{
    struct family f = family_of(s, out, s->clock_ms);
    f.changed = s->changed;
    f.changed_ctx = s->changed_ctx;
    f.feed = s->feed;
    if (h->value_bytes_max != 0)
        f.value_bytes_max = h->value_bytes_max;
    f.node = h->node;
    f.start = h->start;
    f.ready = &s->ready;
    if (restarted) {
        wait_drop_node(&f, h->node, h->start);
        wait_serve(&f);
    }
    size_t at = BATCH_HEADER_BYTES, used;
    for (uint32_t i = 0; i < h->n; i++, at += used) {
        int rc = command_decode(batch + at, len - at, &s->command, &used);
        if (rc != 0)
            return fail(s, from_command(rc), "a batch changed while it was applied");
        family_run(&f, &s->command);
        if (s->ready.len > 0)
            wait_serve(&f);
    }
    return check_run(s, out);
}

static void advance(struct store *s, uint64_t index, uint64_t term)
{
    assert(index == s->applied + 1);
    s->applied = index;
    s->applied_term = term;
}

int store_apply(struct store *s, uint64_t index, uint64_t term, const uint8_t *batch, size_t len,
                struct outcome_buf *ret_outcomes, enum store_applied *ret)
{
    struct batch_header h;
    if (s->fatal != 0)
        return s->fatal;
    assert(index == s->applied + 1);
    int rc = check_batch(s, index, batch, len, &h);
    if (rc != 0)
        return rc;
    if (h.clock_ms > s->clock_ms)
        s->clock_ms = h.clock_ms;
    enum store_applied judged = judge(s, &h);
    if (judged == STORE_APPLIED) {
        uint64_t start, seq;
        store_origin(s, h.node, &start, &seq);
        if (origin_advance(s, &h) != 0)
            return fail(s, STORE_ENOMEM, "out of memory while applying an entry");
        rc = run_commands(s, batch, len, &h, start != 0 && h.start > start, ret_outcomes);
        if (rc != 0)
            return rc;
    }
    advance(s, index, term);
    *ret = judged;
    return 0;
}

void store_skip(struct store *s, uint64_t index, uint64_t term)
{
    advance(s, index, term);
}

int store_configure(struct store *s, uint64_t index, uint64_t term, const uint8_t *conf, size_t len)
{
    if (s->fatal != 0)
        return s->fatal;
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL)
        return fail(s, STORE_ENOMEM, "out of memory while applying a configuration");
    if (len > 0)
        memcpy(copy, conf, len);
    free(s->conf);
    s->conf = copy;
    s->conf_len = len;
    s->conf_index = index;
    s->conf_changed = true;
    advance(s, index, term);
    return 0;
}

int store_read(struct store *s, const uint8_t *command, size_t len, uint64_t now_ms, struct outcome_buf *ret,
               size_t *ret_used)
{
    size_t used;
    if (s->fatal != 0)
        return s->fatal;
    int rc = command_decode(command, len, &s->command, &used);
    if (rc != 0)
        return from_command(rc); /* One bad request, not a damaged store. */
    struct family f = family_of(s, ret, now_ms);
    if (command_is_write(s->command.op))
        outcome_refusal(ret, REFUSAL_UNKNOWN_COMMAND, NULL, 0);
    else
        family_run(&f, &s->command);
    rc = check_run(s, ret);
    if (rc == 0)
        *ret_used = used;
    return rc;
}

void store_on_event(struct store *s, void (*changed)(void *ctx, const struct store_event *event), void *ctx)
{
    s->changed = changed;
    s->changed_ctx = ctx;
}

void store_feed(struct store *s, struct feed *feed)
{
    s->feed = feed;
}

int store_lock_standing(struct store *s, const void *name, size_t len, uint64_t token, enum store_standing *ret,
                        uint64_t *ret_left_ms)
{
    static const enum store_standing standings[] = {
        [LOCK_GONE] = STORE_GONE, [LOCK_WAITING] = STORE_WAITING, [LOCK_HELD] = STORE_HELD};
    int64_t until_ms = ROW_NO_EXPIRY;
    if (s->fatal != 0)
        return s->fatal;
    struct outcome_buf none = {0};
    *ret = standings[lock_standing(s->rows, (struct bytes){.base = name, .len = len}, token, &until_ms)];
    bool over = until_ms < 0 || (uint64_t)until_ms <= s->clock_ms;
    *ret_left_ms = until_ms == ROW_NO_EXPIRY ? UINT64_MAX : over ? 0 : (uint64_t)until_ms - s->clock_ms;
    return check_run(s, &none);
}

int store_wait_standing(struct store *s, uint64_t token, enum store_standing *ret, uint64_t *ret_left_ms)
{
    static const enum store_standing standings[] = {
        [WAIT_GONE] = STORE_GONE, [WAIT_QUEUED] = STORE_WAITING, [WAIT_OFFERED] = STORE_HELD};
    int64_t until_ms = ROW_NO_EXPIRY;
    if (s->fatal != 0)
        return s->fatal;
    struct outcome_buf none = {0};
    *ret = standings[wait_standing(s->rows, token, &until_ms)];
    bool over = until_ms < 0 || (uint64_t)until_ms <= s->clock_ms;
    *ret_left_ms = until_ms == ROW_NO_EXPIRY ? UINT64_MAX : over ? 0 : (uint64_t)until_ms - s->clock_ms;
    return check_run(s, &none);
}

/* ---- deadlines ---- */

static bool row_due(const struct row *row, uint64_t clock_ms)
{
    return row->expire_ms != ROW_NO_EXPIRY && (row->expire_ms < 0 || (uint64_t)row->expire_ms <= clock_ms);
}

static int64_t plus_ms(uint64_t clock_ms, int64_t ms)
{
    return clock_ms > (uint64_t)(INT64_MAX - 1 - ms) ? INT64_MAX - 1 : (int64_t)clock_ms + ms;
}

/* Keep half a window of due keys ahead of the clock. What SQLite has of the new window is read after the next flush;
 * what is written from now on is noted by its writer. */
static void extend_horizon(struct store *s)
{
    uint64_t now_ms = s->clock_ms > s->ahead_ms ? s->clock_ms : s->ahead_ms;
    if (due_horizon_ms(s->due) >= plus_ms(now_ms, STORE_DUE_WINDOW_MS / 2))
        return;
    due_set_horizon(s->due, plus_ms(now_ms, STORE_DUE_WINDOW_MS));
    if (rows_all_expiring(s->rows) == 0)
        s->due_read_ms = due_horizon_ms(s->due); /* Nothing there to be read. */
}

/* Take in what a flush has read of a new window; all: without a bound. */
static int note_window(struct store *s, bool all)
{
    struct due_row row;
    for (size_t i = 0; all || i < STORE_DUE_NOTE_STEP; i++) {
        if (!due_list_next(&s->window, &s->window_at, &row))
            break;
        if (due_note(s->due, row.space, row.key, row.len, row.ms) != 0)
            return fail(s, STORE_ENOMEM, STORE_NO_MEMORY_FOR_DUE);
    }
    if (s->window_at == s->window.len) {
        free(s->window.base);
        s->window = (struct due_list){0};
        s->window_at = 0;
    }
    return 0;
}

static void named_pop(struct store *s)
{
    struct named *n = s->named;
    s->named = n->next;
    if (s->named == NULL)
        s->named_end = &s->named;
    free(n->key);
    free(n);
}

static bool named_push(struct store *s, const struct due_row *due, int64_t retry_ms)
{
    struct named *n = malloc(sizeof *n);
    if (n == NULL)
        return false;
    *n = (struct named){.retry_ms = retry_ms, .space = due->space, .len = due->len, .key = (void *)due->key};
    *s->named_end = n;
    s->named_end = &n->next;
    return true;
}

/* Keys whose naming should have removed them by now: those that are still there count as due again. */
static void retry_named(struct store *s, uint64_t clock_ms)
{
    for (int i = 0; i < STORE_DUE_RETRY_STEP && s->named != NULL; i++) {
        struct named *n = s->named;
        if (n->retry_ms > 0 && (uint64_t)n->retry_ms > clock_ms)
            return;
        const struct row *row = rows_get_in(s->rows, n->space, n->key, n->len);
        if (row != NULL && row->expire_ms != ROW_NO_EXPIRY &&
            due_note(s->due, n->space, n->key, n->len, row->expire_ms) != 0) {
            fail(s, STORE_ENOMEM, STORE_NO_MEMORY_FOR_DUE);
            return;
        }
        named_pop(s);
    }
}

uint64_t store_next_due_ms(const struct store *s)
{
    if (s->fatal != 0)
        return UINT64_MAX;
    int64_t next = due_first_ms(s->due);
    if (s->named != NULL && s->named->retry_ms < next)
        next = s->named->retry_ms;
    /* Keys beyond the horizon: without traffic it is the leader's asking that moves it. */
    if (rows_all_expiring(s->rows) > 0 && due_horizon_ms(s->due) - STORE_DUE_WINDOW_MS / 2 < next)
        next = due_horizon_ms(s->due) - STORE_DUE_WINDOW_MS / 2;
    return next == INT64_MAX ? UINT64_MAX : next < 0 ? 0 : (uint64_t)next;
}

/* Take one hint. True: the row is due and now named; its key is kept by the list of named rows. */
static bool take_due(struct store *s, uint64_t clock_ms, struct due_row *due, uint64_t *ret_version)
{
    void *key = (void *)due->key;
    const struct row *row = rows_get_in(s->rows, due->space, key, due->len);
    bool is_due = row != NULL && row_due(row, clock_ms);
    if (is_due && named_push(s, due, plus_ms(clock_ms, STORE_DUE_RETRY_MS))) {
        *ret_version = row->version;
        return true;
    }
    if (row != NULL && row->expire_ms != ROW_NO_EXPIRY &&
        due_note(s->due, due->space, key, due->len, row->expire_ms) != 0)
        fail(s, STORE_ENOMEM, STORE_NO_MEMORY_FOR_DUE);
    free(key);
    return false;
}

/* What is named, sorted by what it is. */
struct due_names {
    struct bytes *args[SPACE_N]; /* max + 1 of them, or for sessions twice as many: each with the version seen. */
    uint8_t (*versions)[8];
    uint32_t n[SPACE_N];
};

static bool due_names_init(struct due_names *d, size_t max)
{
    *d = (struct due_names){0};
    d->versions = malloc((max + 1) * sizeof *d->versions);
    bool ok = d->versions != NULL;
    for (size_t i = 0; i < SPACE_N; i++) {
        d->args[i] = malloc(2 * (max + 1) * sizeof(struct bytes));
        ok = ok && d->args[i] != NULL;
    }
    return ok;
}

static void due_names_release(struct due_names *d)
{
    free(d->versions);
    for (size_t i = 0; i < SPACE_N; i++)
        free(d->args[i]);
}

static void due_names_add(struct due_names *d, const struct due_row *due, uint64_t version)
{
    struct bytes *args = d->args[due->space];
    uint32_t *n = &d->n[due->space];
    if (due->space == SPACE_SESSIONS) {
        uint8_t *text = d->versions[*n / 2];
        little_put_u64(text, version);
        args[*n + 1] = (struct bytes){.base = text, .len = sizeof d->versions[0]};
    }
    args[*n] = (struct bytes){.base = due->key, .len = due->len};
    *n += due->space == SPACE_SESSIONS ? 2 : 1;
}

/* Rows whose naming finds no memory are named all the same, and so tried again. */
static uint32_t due_names_encode(const struct due_names *d, struct command_buf *ret)
{
    static const enum command_op ops[SPACE_N] = {[SPACE_KEYS] = OP_EXPIRED,
                                                 [SPACE_SESSIONS] = OP_SESSION_EXPIRED,
                                                 [SPACE_LOCKS] = OP_LOCK_DUE,
                                                 [SPACE_TRASH] = OP_TRASH_DUE,
                                                 [SPACE_WAITS] = OP_WAIT_DUE};
    uint32_t commands = 0;
    for (size_t i = 0; i < SPACE_N; i++)
        commands += d->n[i] > 0 && command_add(ret, ops[i], 0, NULL, 0, d->args[i], d->n[i]) >= 0;
    return commands;
}

uint32_t store_due(struct store *s, uint64_t clock_ms, size_t max, struct command_buf *ret)
{
    struct due_names names;
    struct due_row due;
    size_t n = 0;
    if (s->fatal != 0)
        return 0;
    if (clock_ms > s->ahead_ms)
        s->ahead_ms = clock_ms;
    extend_horizon(s);
    retry_named(s, clock_ms);
    bool ok = due_names_init(&names, max); /* Out of memory: tried again when the leader asks again. */
    for (size_t tries = max + STORE_DUE_STALE_STEP; ok && tries > 0 && n < max; tries--) {
        uint64_t version = 0;
        void *key;
        if (!due_take(s->due, plus_ms(clock_ms, 0), &due.space, &key, &due.len, &due.ms))
            break;
        due.key = key;
        if (!take_due(s, clock_ms, &due, &version))
            continue;
        due_names_add(&names, &due, version);
        n++;
    }
    uint32_t commands = ok ? due_names_encode(&names, ret) : 0;
    due_names_release(&names);
    return commands;
}

/* ---- flushes ---- */

/* Copies for the flusher, which reads them while entries go on being applied. */
static bool copy_origins(struct store *s, struct flush *f)
{
    f->origins = malloc((s->n_origins + 1) * sizeof *f->origins);
    if (f->origins == NULL)
        return false;
    for (size_t i = 0; i < s->n_origins; i++)
        if (s->origins[i].changed)
            f->origins[f->n_origins++] = s->origins[i];
    return true;
}

static bool copy_conf(struct store *s, struct flush *f)
{
    if (!s->conf_changed)
        return true;
    f->meta.conf = malloc(s->conf_len + 1);
    if (f->meta.conf == NULL)
        return false;
    memcpy(f->meta.conf, s->conf, s->conf_len);
    f->meta.conf_len = s->conf_len;
    return true;
}

static void copy_meta(const struct store *s, struct meta *m)
{
    m->applied = s->applied;
    m->applied_term = s->applied_term;
    m->clock_ms = s->clock_ms;
    m->revision = s->revision;
    for (size_t i = 0; i < SPACE_N; i++)
        m->totals[i] = rows_total(s->rows, (enum space)i);
    m->hash = rows_state_hash(s->rows);
    m->conf_index = s->conf_index;
}

static void begin_flush(struct store *s, struct flush *f)
{
    rows_freeze(s->rows, &f->rows);
    for (size_t i = 0; i < s->n_origins; i++)
        s->origins[i].changed = false;
    s->conf_changed = false;
    s->flushed = s->applied;
    s->flushed_term = s->applied_term;
    s->flushing = true;
    flusher_start(s->flusher, f);
}

static int start_flush(struct store *s, bool checkpoint)
{
    struct flush *f = &s->flush;
    assert(!s->flushing);
    *f = (struct flush){.checkpoint = checkpoint, .due_from = s->due_read_ms, .due_to = due_horizon_ms(s->due)};
    copy_meta(s, &f->meta);
    if (!copy_origins(s, f) || !copy_conf(s, f)) {
        flush_release(f);
        return fail(s, STORE_ENOMEM, "out of memory for a flush");
    }
    s->due_read_ms = f->due_to;
    begin_flush(s, f);
    return 0;
}

/* The flush has committed: take in what it found. */
static int finish_flush(struct store *s, struct flush *f)
{
    int rc = note_window(s, true); /* Of an earlier window, should it be slow. */
    rows_thaw(s->rows);
    s->file_bytes = f->file_bytes;
    if (f->synced) {
        s->durable = f->meta.applied;
        s->durable_term = f->meta.applied_term;
    }
    s->window = f->due;
    s->window_at = 0;
    f->due = (struct due_list){0};
    return rc;
}

static int take_flush(struct store *s, bool wait)
{
    struct flush *f = s->flushing ? flusher_take(s->flusher, wait) : NULL;
    if (f == NULL)
        return 0;
    s->flushing = false;
    int rc = f->rc != 0 ? fail(s, f->rc, f->error) : finish_flush(s, f);
    flush_release(f);
    return rc;
}

static void hand_over_trash(struct store *s)
{
    struct trash trash = rows_take_trash(s->rows);
    if (trash.items != NULL || trash.tables != NULL)
        flusher_discard(s->flusher, trash);
}

static bool window_open(const struct store *s)
{
    return s->due_read_ms < due_horizon_ms(s->due);
}

static bool checkpoint_due(const struct store *s, uint64_t now_ms)
{
    return s->durable < s->applied && now_ms - s->synced_ms >= STORE_CHECKPOINT_MS;
}

static bool too_dirty(const struct store *s)
{
    size_t bytes = s->cache_bytes / 2 > STORE_DIRTY_BYTES_MIN ? s->cache_bytes / 2 : STORE_DIRTY_BYTES_MIN;
    return (s->flush_rows > 0 && rows_dirty(s->rows) >= s->flush_rows) || rows_dirty_bytes(s->rows) >= bytes;
}

static bool time_to_flush(const struct store *s, uint64_t now_ms)
{
    if (s->flushing)
        return false;
    if (window_open(s) || s->checkpoint_wanted)
        return true;
    if (s->flush_interval_ms == 0)
        return false;
    if (s->flushed == s->applied)
        return checkpoint_due(s, now_ms);
    return now_ms - s->flush_began_ms >= s->flush_interval_ms || too_dirty(s);
}

static int flush_if_time(struct store *s, uint64_t now_ms)
{
    if (s->durable == s->applied)
        s->checkpoint_wanted = false;
    if (!time_to_flush(s, now_ms))
        return 0;
    bool checkpoint = s->checkpoint_wanted || (s->flush_interval_ms > 0 && checkpoint_due(s, now_ms));
    s->checkpoint_wanted = false;
    s->flush_began_ms = now_ms;
    if (checkpoint)
        s->synced_ms = now_ms;
    return start_flush(s, checkpoint);
}

int store_poll(struct store *s, uint64_t now_ms)
{
    if (!s->polled) {
        s->polled = true;
        s->synced_ms = now_ms;
    }
    int rc = s->fatal != 0 ? s->fatal : take_flush(s, false);
    if (rc != 0)
        return rc;
    hand_over_trash(s);
    retry_named(s, s->clock_ms);
    rows_trim(s->rows);
    extend_horizon(s);
    rc = flush_if_time(s, now_ms);
    if (rc == 0 && s->flush_interval_ms == 0)
        rc = take_flush(s, true); /* Whoever sets no interval wants no work at times of its own. */
    if (rc == 0)
        rc = note_window(s, s->flush_interval_ms == 0);
    return rc != 0 ? rc : s->fatal;
}

void store_checkpoint_soon(struct store *s)
{
    s->checkpoint_wanted = true;
}

int store_flush_now(struct store *s)
{
    int rc = s->fatal != 0 ? s->fatal : take_flush(s, true);
    if (rc == 0)
        rc = start_flush(s, true);
    if (rc == 0)
        rc = take_flush(s, true);
    if (rc == 0)
        rc = note_window(s, true);
    if (rc == 0)
        hand_over_trash(s);
    return rc;
}

/* ---- opening ---- */

static int join_path(const char *dir, const char *name, char **ret)
{
    return asprintf(ret, "%s/%s", dir, name) == -1 ? STORE_ENOMEM : 0;
}

static int explain_errno(const char *what, const char *path, char error[SCHEMA_ERROR_BYTES])
{
    snprintf(error, SCHEMA_ERROR_BYTES, "%s %s: %s", what, path, strerror(errno));
    return STORE_EIO;
}

static int sync_path(const char *path, int flags, char error[SCHEMA_ERROR_BYTES])
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd == -1)
        return explain_errno("opening", path, error);
    int rc = fsync(fd) == 0 ? 0 : explain_errno("syncing", path, error);
    close(fd);
    return rc;
}

static int sync_dir(const struct store *s, char error[SCHEMA_ERROR_BYTES])
{
    return sync_path(s->dir, O_RDONLY | O_DIRECTORY, error);
}

static int remove_beside(const struct store *s, const char *suffix, char error[SCHEMA_ERROR_BYTES])
{
    char *path;
    if (asprintf(&path, "%s%s", s->path, suffix) == -1)
        return schema_explain(NULL, STORE_ENOMEM, "installing a snapshot", error);
    int rc = unlink(path) == 0 || errno == ENOENT ? 0 : explain_errno("removing", path, error);
    free(path);
    return rc;
}

/* Put an accepted snapshot in the place of the state file. The old WAL must be gone for good before the new file has
 * the name, or SQLite would play it onto it; a crash in between leaves the accepted file, and opening comes here again.
 */
static int install_accepted(struct store *s, const char *accepted, char error[SCHEMA_ERROR_BYTES])
{
    int rc = remove_beside(s, "-wal", error);
    if (rc == 0)
        rc = remove_beside(s, "-shm", error);
    if (rc == 0)
        rc = sync_dir(s, error);
    if (rc == 0 && rename(accepted, s->path) == -1)
        rc = explain_errno("renaming", accepted, error);
    return rc == 0 ? sync_dir(s, error) : rc;
}

static int finish_install(struct store *s, char error[SCHEMA_ERROR_BYTES])
{
    char *accepted;
    if (join_path(s->dir, STORE_ACCEPTED, &accepted) != 0)
        return schema_explain(NULL, STORE_ENOMEM, "opening the state", error);
    int rc = access(accepted, F_OK) == 0 ? install_accepted(s, accepted, error) : 0;
    free(accepted);
    return rc;
}

static void take_meta(struct store *s, const struct meta *m)
{
    s->applied = s->durable = s->flushed = m->applied;
    s->applied_term = s->durable_term = s->flushed_term = m->applied_term;
    s->clock_ms = m->clock_ms;
    s->revision = m->revision;
    s->conf = m->conf;
    s->conf_len = m->conf_len;
    s->conf_index = m->conf_index;
    s->conf_changed = false;
}

static int load(struct store *s, char error[SCHEMA_ERROR_BYTES])
{
    struct meta m;
    int rc = schema_meta_load(s->db, &m);
    if (rc != 0)
        return schema_explain(s->db, rc, "reading where the state stands (table meta)", error);
    take_meta(s, &m);
    rc = schema_origins_load(s->db, &s->origins, &s->n_origins);
    if (rc != 0)
        return schema_explain(s->db, rc, "reading the origins", error);
    s->origins_cap = s->n_origins;
    rc = rows_open(s->db, s->cache_bytes, m.totals, &s->rows);
    return rc == 0 ? 0 : schema_explain(s->db, rc, "preparing to read the state file", error);
}

/* Everything due up to the first horizon. */
static int load_due(struct store *s, char error[SCHEMA_ERROR_BYTES])
{
    if (due_open(&s->due) != 0)
        return schema_explain(NULL, STORE_ENOMEM, "opening the state", error);
    due_set_horizon(s->due, plus_ms(s->clock_ms, STORE_DUE_WINDOW_MS));
    s->due_read_ms = due_horizon_ms(s->due);
    int rc = due_list_read(s->db, INT64_MIN, s->due_read_ms, &s->window);
    if (rc != 0)
        return schema_explain(s->db, rc, "reading what is due next", error);
    s->window_at = 0;
    rc = note_window(s, true);
    if (rc != 0)
        schema_explain(NULL, rc, "reading what is due next", error);
    return rc;
}

/* Open the file and all that stands on it. What is in the file now becomes durable, so that the log may be cut up to
 * it. */
static int attach(struct store *s, char error[SCHEMA_ERROR_BYTES])
{
    int rc = schema_open(s->path, SCHEMA_CREATE, s->cluster_id, error, &s->db);
    if (rc == 0)
        rc = sync_dir(s, error);
    if (rc == 0)
        rc = flusher_open(s->path, s->checkpoint_bytes, s->flush_interval_ms > 0, s->notify, s->notify_ctx, error,
                          &s->flusher);
    if (rc == 0)
        rc = flusher_settle(s->flusher, error);
    if (rc == 0)
        rc = load(s, error);
    return rc == 0 ? load_due(s, error) : rc;
}

/* Undo any prefix of attach(). */
static void detach(struct store *s)
{
    flusher_close(s->flusher); /* First: it may be reading frozen rows. */
    if (s->flushing)
        flush_release(&s->flush);
    s->flushing = false;
    rows_close(s->rows);
    due_close(s->due);
    sqlite3_close(s->db);
    while (s->named != NULL)
        named_pop(s);
    free(s->window.base);
    free(s->origins);
    free(s->conf);
    s->flusher = NULL;
    s->rows = NULL;
    s->due = NULL;
    s->db = NULL;
    s->window = (struct due_list){0};
    s->origins = NULL;
    s->n_origins = s->origins_cap = 0;
    s->conf = NULL;
    s->conf_len = 0;
    s->ahead_ms = 0;
}

static int take_options(struct store *s, const struct store_options *o)
{
    memcpy(s->cluster_id, o->cluster_id, sizeof s->cluster_id);
    s->cache_bytes = o->cache_bytes;
    s->flush_interval_ms = o->flush_interval_ms;
    s->flush_rows = o->flush_rows;
    s->checkpoint_bytes = o->checkpoint_bytes;
    s->notify = o->notify;
    s->notify_ctx = o->notify_ctx;
    s->script_host = o->script_host;
    s->named_end = &s->named;
    s->dir = strdup(o->dir);
    return s->dir == NULL ? STORE_ENOMEM : join_path(s->dir, STORE_FILE, &s->path);
}

int store_open(const struct store_options *options, char error[256], struct store **ret)
{
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return schema_explain(NULL, STORE_ENOMEM, "opening the state", error);
    int rc = take_options(s, options);
    if (rc != 0)
        schema_explain(NULL, rc, "opening the state", error);
    if (rc == 0)
        rc = finish_install(s, error);
    if (rc == 0)
        rc = attach(s, error);
    if (rc != 0) {
        store_abandon(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void store_abandon(struct store *s)
{
    if (s == NULL)
        return;
    detach(s);
    command_release(&s->command);
    family_keeps_release(&s->keeps);
    wait_ready_release(&s->ready);
    free(s->dir);
    free(s->path);
    free(s);
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (store_flush_now(s) == 0)
        flusher_settle(s->flusher, s->error);
    store_abandon(s);
}

int store_install(struct store *s)
{
    char *incoming = NULL, *accepted = NULL;
    int rc = join_path(s->dir, STORE_INCOMING, &incoming);
    if (rc == 0)
        rc = join_path(s->dir, STORE_ACCEPTED, &accepted);
    if (rc != 0)
        schema_explain(NULL, rc, "installing a snapshot", s->error);
    if (rc == 0)
        rc = sync_path(incoming, O_RDONLY, s->error);
    if (rc == 0 && rename(incoming, accepted) == -1)
        rc = explain_errno("renaming", incoming, s->error);
    if (rc == 0)
        rc = sync_dir(s, s->error);
    if (rc == 0) {
        detach(s);
        s->fatal = 0;
        rc = install_accepted(s, accepted, s->error);
    }
    if (rc == 0)
        rc = attach(s, s->error);
    free(incoming);
    free(accepted);
    s->fatal = rc;
    return rc;
}
