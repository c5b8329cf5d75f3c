/* lock.c - a lock is one row while anybody holds it or waits for it: its key is the name, its expiry the nearest
 * deadline of all holds and waits, and its value
 *
 *     u32 n holders, u32 n waiters, u32 permits (0: a plain lock), u32 0
 *     one record each, holders first, then waiters in the order of their arrival:
 *         u64 session, u64 token, i64 until, u64 since, i64 lease, i64 longest (all ms), u32 permits, u16 flags, u16
 * depth
 *
 * A waiter's `until` is when it gives up, a holder's when it loses the lock. Granting moves no record: the first waiter
 * becomes the last holder. Each operation takes the row apart, first lets go what is over by the clock, does its work,
 * grants what can be granted, and writes the row back if anything changed. schema.c shows some of the value to shells.
 * Invariant: a session is listed with exactly the locks in which it has a record (session_own, session_disown). */
#include "store/lock.h"
#include "store/families.h"
#include "store/glob.h"
#include "store/little.h"
#include "store/number.h"
#include "store/session.h"
#include <assert.h>
#include <string.h>

#define HEAD_BYTES 16
#define RECORD_BYTES 56

enum record_flag { RECORD_SHARED = 1 };

struct record {
    uint64_t session, token;
    int64_t until_ms;
    uint64_t since_ms;
    int64_t lease_ms, longest_ms; /* 0: none */
    uint32_t permits;
    uint16_t flags, depth;
};

struct lock {
    struct bytes name;
    uint32_t n_holders, n_waiters, permits;
    struct record *records; /* Room for one more than there are. Kept memory: one lock is open at a time. */
    bool changed;
};

/* ---- The row ---- */

static void record_read(const uint8_t *at, struct record *r)
{
    *r = (struct record){.session = little_u64(at),
                         .token = little_u64(at + 8),
                         .until_ms = (int64_t)little_u64(at + 16),
                         .since_ms = little_u64(at + 24),
                         .lease_ms = (int64_t)little_u64(at + 32),
                         .longest_ms = (int64_t)little_u64(at + 40),
                         .permits = little_u32(at + 48),
                         .flags = little_u16(at + 52),
                         .depth = little_u16(at + 54)};
}

static void record_write(uint8_t *at, const struct record *r)
{
    little_put_u64(at, r->session);
    little_put_u64(at + 8, r->token);
    little_put_u64(at + 16, (uint64_t)r->until_ms);
    little_put_u64(at + 24, r->since_ms);
    little_put_u64(at + 32, (uint64_t)r->lease_ms);
    little_put_u64(at + 40, (uint64_t)r->longest_ms);
    little_put_u32(at + 48, r->permits);
    little_put_u16(at + 52, r->flags);
    little_put_u16(at + 54, r->depth);
}

static uint32_t n_records(const struct lock *l)
{
    return l->n_holders + l->n_waiters;
}

static const struct row *lock_row(struct rows *rows, struct bytes name)
{
    return rows_get_in(rows, SPACE_LOCKS, name.base, name.len);
}

static void head_read(const struct row *row, struct lock *l)
{
    assert(row->value_len >= HEAD_BYTES);
    l->n_holders = little_u32(row->value);
    l->n_waiters = little_u32(row->value + 4);
    l->permits = little_u32(row->value + 8);
    assert(row->value_len == HEAD_BYTES + (size_t)n_records(l) * RECORD_BYTES);
}

/* False: out of memory. A lock that nobody holds is one without records. */
static bool lock_load(struct family *f, struct bytes name, struct lock *l)
{
    *l = (struct lock){.name = name};
    const struct row *row = lock_row(f->rows, name);
    if (row != NULL)
        head_read(row, l);
    l->records = family_kept(f, KEEP_RECORDS, (n_records(l) + (size_t)1) * sizeof *l->records);
    if (l->records == NULL)
        return false;
    for (uint32_t i = 0; i < n_records(l); i++)
        record_read(row->value + HEAD_BYTES + (size_t)i * RECORD_BYTES, &l->records[i]);
    return true;
}

static int64_t nearest_deadline(const struct lock *l)
{
    int64_t ms = ROW_NO_EXPIRY;
    for (uint32_t i = 0; i < n_records(l); i++)
        if (l->records[i].until_ms < ms)
            ms = l->records[i].until_ms;
    return ms;
}

static void lock_write(struct family *f, const struct lock *l, const struct row *old)
{
    size_t len = HEAD_BYTES + (size_t)n_records(l) * RECORD_BYTES;
    uint8_t *value = family_kept(f, KEEP_VALUE, len);
    if (value == NULL)
        return;
    little_put_u32(value, l->n_holders);
    little_put_u32(value + 4, l->n_waiters);
    little_put_u32(value + 8, l->permits);
    little_put_u32(value + 12, 0);
    for (uint32_t i = 0; i < n_records(l); i++)
        record_write(value + HEAD_BYTES + (size_t)i * RECORD_BYTES, &l->records[i]);
    family_put_in(f, SPACE_LOCKS, l->name, old, VALUE_RAW, (struct bytes){.base = value, .len = len},
                  (struct expiry){.ms = nearest_deadline(l)});
}

/* Write back what has changed. */
static void lock_done(struct family *f, struct lock *l)
{
    const struct row *old = l->changed ? lock_row(f->rows, l->name) : NULL;
    if (l->changed && n_records(l) > 0)
        lock_write(f, l, old);
    else if (old != NULL)
        family_delete_in(f, SPACE_LOCKS, l->name, old);
}

/* ---- Records come and go ---- */

static void tell(struct family *f, enum store_event_kind kind, const struct lock *l, uint64_t token)
{
    const struct store_event e = {.kind = kind, .token = token, .name = l->name};
    family_tell(f, &e);
}

static bool has_record(const struct lock *l, uint64_t session)
{
    for (uint32_t i = 0; i < n_records(l); i++)
        if (l->records[i].session == session)
            return true;
    return false;
}

/* Take out record i. Whoever waits with it is told why. */
static void take_out(struct family *f, struct lock *l, uint32_t i, enum store_event_kind why)
{
    const struct record gone = l->records[i];
    bool waited = i >= l->n_holders;
    memmove(&l->records[i], &l->records[i + 1], (n_records(l) - i - 1) * sizeof *l->records);
    l->n_waiters -= waited;
    l->n_holders -= !waited;
    l->changed = true;
    if (waited)
        tell(f, why, l, gone.token);
    if (!has_record(l, gone.session))
        session_disown(f, gone.session, l->name);
}

static bool fits(const struct lock *l, const struct record *r)
{
    uint64_t taken = 0;
    for (uint32_t i = 0; i < l->n_holders; i++)
        taken += l->records[i].permits;
    if (l->permits > 0)
        return taken + r->permits <= l->permits;
    return l->n_holders == 0 || ((r->flags & RECORD_SHARED) != 0 && (l->records[0].flags & RECORD_SHARED) != 0);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t after(uint64_t ms, int64_t more)
{
    int64_t sum;
    if (more <= 0)
        return ROW_NO_EXPIRY;
    return __builtin_add_overflow((int64_t)ms, more, &sum) ? ROW_NO_EXPIRY : sum;
}

/* From now on, or again, for its lease; never past its longest time. */
static void begin_lease(const struct family *f, struct record *r)
{
    r->until_ms = earlier(after(f->clock_ms, r->lease_ms), after(r->since_ms, r->longest_ms));
}

static void begin_hold(const struct family *f, struct record *r)
{
    r->since_ms = f->clock_ms;
    r->depth = 1;
    begin_lease(f, r);
}

static void grant(struct family *f, struct lock *l)
{
    while (l->n_waiters > 0 && fits(l, &l->records[l->n_holders])) {
        struct record *r = &l->records[l->n_holders];
        begin_hold(f, r);
        l->n_holders++;
        l->n_waiters--;
        l->changed = true;
        tell(f, STORE_LOCK_GRANTED, l, r->token);
    }
}

static bool is_over(const struct family *f, const struct record *r)
{
    return r->until_ms != ROW_NO_EXPIRY && (r->until_ms < 0 || (uint64_t)r->until_ms <= f->clock_ms);
}

/* Let go what is over by the clock. Waiters first: who has waited long enough gets nothing any more. */
static void settle(struct family *f, struct lock *l)
{
    for (uint32_t i = n_records(l); i-- > 0;)
        if (is_over(f, &l->records[i]))
            take_out(f, l, i, STORE_LOCK_TIMED_OUT);
    grant(f, l);
}

static bool lock_open(struct family *f, struct bytes name, struct lock *l)
{
    if (!lock_load(f, name, l))
        return false;
    settle(f, l);
    return true;
}

/* ---- Acquiring ---- */

enum { NUM_SESSION, NUM_LEASE, NUM_WAIT, NUM_LONGEST, NUM_PERMITS, NUM_OF };

static int64_t clamp_ms(int64_t ms)
{
    return ms < 0 ? 0 : ms > LOCK_MS_MAX ? LOCK_MS_MAX : ms;
}

static struct record record_new(struct family *f, const struct command *c)
{
    return (struct record){.session = (uint64_t)c->nums[NUM_SESSION],
                           .token = ++*f->revision,
                           .since_ms = f->clock_ms,
                           .lease_ms = clamp_ms(c->nums[NUM_LEASE]),
                           .longest_ms = clamp_ms(c->nums[NUM_LONGEST]),
                           .permits = (uint32_t)c->nums[NUM_PERMITS],
                           .flags = (c->flags & CMD_SHARED) != 0 ? RECORD_SHARED : 0};
}

/* The hold that a reentrant request enters once more, or NULL. */
static struct record *reentered(struct lock *l, const struct command *c)
{
    bool shared = (c->flags & CMD_SHARED) != 0;
    for (uint32_t i = 0; (c->flags & CMD_REENTRANT) != 0 && i < l->n_holders; i++) {
        struct record *r = &l->records[i];
        bool same = r->session == (uint64_t)c->nums[NUM_SESSION] && r->permits == (uint32_t)c->nums[NUM_PERMITS] &&
                    ((r->flags & RECORD_SHARED) != 0) == shared;
        if (same && r->depth < UINT16_MAX)
            return r;
    }
    return NULL;
}

static void answer_later(struct family *f, const struct lock *l, const struct record *r)
{
    outcome_later(f->out, r->token, r->session, l->name.base, l->name.len);
}

/* Among the holders, or at the end of the queue. */
static void acquire_new(struct family *f, struct lock *l, const struct command *c)
{
    int64_t wait_ms = f->at_once ? 0 : clamp_ms(c->nums[NUM_WAIT]);
    if (n_records(l) == 0)
        l->permits = (uint32_t)c->nums[NUM_OF];
    struct record r = {.permits = (uint32_t)c->nums[NUM_PERMITS],
                       .flags = (c->flags & CMD_SHARED) != 0 ? RECORD_SHARED : 0};
    bool at_once = l->n_waiters == 0 && fits(l, &r);
    if (!at_once && wait_ms == 0) {
        outcome_nil(f->out);
        return;
    }
    if (!at_once && l->n_waiters >= LOCK_QUEUE_MAX) {
        family_refuse(f, REFUSAL_QUEUE_FULL);
        return;
    }
    if (!session_own(f, (uint64_t)c->nums[NUM_SESSION], l->name)) {
        family_refuse(f, REFUSAL_TOO_MANY_LOCKS);
        return;
    }
    r = record_new(f, c);
    r.until_ms = after(f->clock_ms, wait_ms);
    if (at_once)
        begin_hold(f, &r);
    l->records[n_records(l)] = r;
    l->n_holders += at_once;
    l->n_waiters += !at_once;
    l->changed = true;
    if (at_once)
        outcome_int(f->out, (int64_t)r.token);
    else
        answer_later(f, l, &r);
}

static void acquire(struct family *f, struct lock *l, const struct command *c)
{
    struct record *again = reentered(l, c);
    if (n_records(l) > 0 && l->permits != (uint32_t)c->nums[NUM_OF]) {
        char detail[NUMBER_INT_BYTES_MAX];
        outcome_refusal(f->out, REFUSAL_LOCK_PERMITS, detail, number_write_int(detail, l->permits));
    } else if (again != NULL) {
        again->depth++;
        begin_lease(f, again);
        l->changed = true;
        outcome_int(f->out, (int64_t)again->token);
    } else {
        acquire_new(f, l, c);
    }
}

/* Encoders keep to these; what comes over a link may not. */
static bool is_sound(const struct command *c)
{
    int64_t n = c->nums[NUM_PERMITS], of = c->nums[NUM_OF];
    bool permits = of == 0 ? n == 0 : of > 0 && of <= LOCK_PERMITS_MAX && n > 0 && n <= of;
    return permits && c->args[0].len > 0 && c->args[0].len <= LOCK_NAME_BYTES_MAX;
}

void lock_acquire(struct family *f, const struct command *c)
{
    struct lock l;
    if (!is_sound(c)) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    if (!session_touch(f, (uint64_t)c->nums[NUM_SESSION]) || !lock_open(f, c->args[0], &l))
        return;
    acquire(f, &l, c);
    lock_done(f, &l);
}

/* ---- Letting go ---- */

/* The record of this session among the first n; token 0: any. n when there is none. */
static uint32_t find_record(const struct lock *l, uint32_t n, uint64_t session, uint64_t token)
{
    uint32_t i = 0;
    while (i < n && (l->records[i].session != session || (token != 0 && l->records[i].token != token)))
        i++;
    return i;
}

static void withdraw(struct family *f, struct lock *l, uint64_t session)
{
    for (uint32_t i = n_records(l); i-- > l->n_holders;)
        if (l->records[i].session == session)
            take_out(f, l, i, STORE_LOCK_WITHDRAWN);
}

static int64_t release(struct family *f, struct lock *l, uint64_t session, uint64_t token)
{
    uint32_t i = find_record(l, l->n_holders, session, token);
    if (i == l->n_holders) {
        if (token == 0)
            withdraw(f, l, session); /* It gave up waiting, and does not know its token. */
        return 0;
    }
    l->changed = true;
    if (l->records[i].depth > 1)
        l->records[i].depth--;
    else
        take_out(f, l, i, STORE_LOCK_WITHDRAWN);
    return 1;
}

void lock_release(struct family *f, const struct command *c)
{
    struct lock l;
    uint64_t session = (uint64_t)c->nums[0];
    if (!session_touch(f, session) || !lock_open(f, c->args[0], &l))
        return;
    int64_t n = release(f, &l, session, (uint64_t)c->nums[1]);
    grant(f, &l);
    lock_done(f, &l);
    outcome_int(f->out, n);
}

/* Nobody waits for this request's answer any more: whether it was granted meanwhile or not, it goes. */
void lock_leave(struct family *f, const struct command *c)
{
    struct lock l;
    uint64_t session = (uint64_t)c->nums[0], token = (uint64_t)c->nums[1];
    if (!lock_open(f, c->args[0], &l))
        return;
    uint32_t i = token == 0 ? n_records(&l) : find_record(&l, n_records(&l), session, token);
    bool found = i < n_records(&l);
    if (found)
        take_out(f, &l, i, STORE_LOCK_WITHDRAWN);
    grant(f, &l);
    lock_done(f, &l);
    outcome_int(f->out, found);
}

void lock_break(struct family *f, const struct command *c)
{
    struct lock l;
    if (!lock_open(f, c->args[0], &l))
        return;
    uint32_t n = l.n_holders;
    while (l.n_holders > 0)
        take_out(f, &l, l.n_holders - 1, STORE_LOCK_WITHDRAWN);
    if (n > 0) {
        const struct store_event e = {
            .kind = STORE_LOCK_BROKEN, .name = l.name, .reason = c->args[1], .who = c->args[2]};
        family_tell(f, &e);
    }
    grant(f, &l);
    lock_done(f, &l);
    outcome_int(f->out, n);
}

void lock_drop_session(struct family *f, struct bytes name, uint64_t session)
{
    struct lock l;
    if (!lock_open(f, name, &l))
        return;
    for (uint32_t i = n_records(&l); i-- > 0;)
        if (l.records[i].session == session)
            take_out(f, &l, i, STORE_LOCK_ORPHANED);
    grant(f, &l);
    lock_done(f, &l);
}

/* The leader named it; by now it may have changed. */
static bool due_one(struct family *f, struct bytes name)
{
    struct lock l;
    const struct row *row = lock_row(f->rows, name);
    if (row == NULL)
        return false;
    int64_t expire_ms = row->expire_ms;
    if (!lock_open(f, name, &l))
        return false;
    bool changed = l.changed;
    lock_done(f, &l);
    if (!changed)
        family_note_in(f, SPACE_LOCKS, name, expire_ms);
    return changed;
}

void lock_due(struct family *f, const struct command *c)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < c->n_args; i++)
        n += due_one(f, c->args[i]);
    outcome_int(f->out, n);
}

/* ---- Guarding ---- */

static void refuse_stale(struct family *f, const struct lock *l)
{
    char detail[LOCK_NAME_BYTES_MAX + 1 + NUMBER_INT_BYTES_MAX];
    size_t len = l->name.len < LOCK_NAME_BYTES_MAX ? l->name.len : LOCK_NAME_BYTES_MAX;
    memcpy(detail, l->name.base, len);
    detail[len++] = ' ';
    len += number_write_int(detail + len, l->n_holders > 0 ? (int64_t)l->records[l->n_holders - 1].token : 0);
    outcome_refusal(f->out, REFUSAL_STALE_TOKEN, detail, len);
}

void lock_guard(struct family *f, const struct command *c)
{
    struct lock l;
    bool current = false;
    if (!lock_open(f, c->args[1], &l))
        return;
    for (uint32_t i = 0; i < l.n_holders; i++)
        current = current || l.records[i].token == (uint64_t)c->nums[0];
    if (!current)
        refuse_stale(f, &l);
    lock_done(f, &l);
    if (current)
        family_run_nested(f, c->args[0]);
}

/* ---- Telling ---- */

enum lock_standing lock_standing(struct rows *rows, struct bytes name, uint64_t token, int64_t *ret_until_ms)
{
    struct lock l = {0};
    struct record r;
    const struct row *row = lock_row(rows, name);
    if (row == NULL)
        return LOCK_GONE;
    head_read(row, &l);
    for (uint32_t i = 0; i < n_records(&l); i++) {
        record_read(row->value + HEAD_BYTES + (size_t)i * RECORD_BYTES, &r);
        if (r.token != token)
            continue;
        *ret_until_ms = r.until_ms;
        return i < l.n_holders ? LOCK_HELD : LOCK_WAITING;
    }
    return LOCK_GONE;
}

static void put_text(struct outcome_buf *out, const char *name, const char *value)
{
    outcome_bulk(out, name, strlen(name));
    outcome_bulk(out, value, strlen(value));
}

static void put_number(struct outcome_buf *out, const char *name, int64_t n)
{
    outcome_bulk(out, name, strlen(name));
    outcome_int(out, n);
}

static void put_record(struct family *f, const struct record *r, bool holds)
{
    int64_t left = r->until_ms == ROW_NO_EXPIRY ? -1 : r->until_ms - (int64_t)f->now_ms;
    outcome_map(f->out, 8);
    put_number(f->out, "session", (int64_t)r->session);
    outcome_bulk(f->out, "name", 4);
    session_put_name(f, r->session);
    put_number(f->out, "token", (int64_t)r->token);
    put_number(f->out, holds ? "held" : "waiting", f->now_ms > r->since_ms ? (int64_t)(f->now_ms - r->since_ms) : 0);
    put_number(f->out, "left", r->until_ms != ROW_NO_EXPIRY && left < 0 ? 0 : left);
    put_text(f->out, "mode", (r->flags & RECORD_SHARED) != 0 ? "shared" : "exclusive");
    put_number(f->out, "permits", r->permits);
    put_number(f->out, "depth", r->depth);
}

static void put_records(struct family *f, const struct lock *l, const char *name, uint32_t first, uint32_t n)
{
    outcome_bulk(f->out, name, strlen(name));
    outcome_array(f->out, n);
    for (uint32_t i = first; i < first + n; i++)
        put_record(f, &l->records[i], i < l->n_holders);
}

void lock_info(struct family *f, const struct command *c)
{
    struct lock l;
    if (!lock_load(f, c->args[0], &l))
        return;
    if (n_records(&l) == 0) {
        outcome_nil(f->out);
    } else {
        outcome_map(f->out, 4);
        outcome_bulk(f->out, "name", 4);
        outcome_bulk(f->out, l.name.base, l.name.len);
        put_number(f->out, "permits", l.permits);
        put_records(f, &l, "holders", 0, l.n_holders);
        put_records(f, &l, "waiters", l.n_holders, l.n_waiters);
    }
}

struct listing {
    struct family *f;
    struct bytes glob;
    uint32_t n;
};

static bool list_one(void *ctx, const struct row *row)
{
    struct listing *list = ctx;
    struct outcome_buf *out = list->f->out;
    struct lock l = {0};
    struct record first = {0};
    if (!glob_match(list->glob.base, list->glob.len, row->key, row->key_len))
        return true;
    head_read(row, &l);
    if (l.n_holders > 0)
        record_read(row->value + HEAD_BYTES, &first);
    outcome_map(out, 5);
    outcome_bulk(out, "name", 4);
    outcome_bulk(out, row->key, row->key_len);
    put_number(out, "session", (int64_t)first.session);
    put_number(out, "token", (int64_t)first.token);
    put_number(out, "holders", l.n_holders);
    put_number(out, "waiters", l.n_waiters);
    list->n++;
    return !out->failed;
}

void lock_list(struct family *f, const struct command *c)
{
    struct listing list = {.f = f, .glob = c->args[0]};
    size_t at = f->out->len;
    outcome_array(f->out, 0);
    rows_walk_in(f->rows, SPACE_LOCKS, 0, list_one, &list);
    outcome_array_recount(f->out, at, list.n);
}
