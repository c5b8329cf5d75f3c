/* session.c - a session is one row: its key is the id in decimal, its expiry when it ends, wall_ms its time to live,
 * and its value
 *
 *     u64 acknowledged    serials up to here are forgotten
 *     u64 last serial     the highest one run
 *     u64 opened          on the replicated clock
 *     u32 n answers, u32 n locks, u8 length of the name, the name
 *     locks               u16 length, name: in the order in which they were asked for
 *     answers             u64 serial, u32 length, outcome: in the order in which they were run
 *
 * so a command done once costs one change of one row beside its own. Rows are ours: their digest has been checked, and
 * a value that does not parse is a bug, asserted. schema.c shows some of it to shells: places there are places here.
 * Whether a session is over only OP_SESSION_EXPIRED decides; a due one that is renewed before that lives on. */
#include "store/session.h"
#include "store/families.h"
#include "store/little.h"
#include "store/lock.h"
#include "store/number.h"
#include "store/wait.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_ACKNOWLEDGED = 0,
    AT_LAST_SERIAL = 8,
    AT_OPENED = 16,
    AT_N_ANSWERS = 24,
    AT_N_LOCKS = 28,
    AT_NAME_LEN = 32,
    AT_NAME = 33,
};
#define ANSWER_HEAD_BYTES 12
#define LOCK_HEAD_BYTES 2

/* A session's id as its row's key. */
struct session_key {
    char text[NUMBER_INT_BYTES_MAX];
    struct bytes bytes;
};

static void key_of(uint64_t id, struct session_key *ret)
{
    size_t len = number_write_int(ret->text, (int64_t)id);
    ret->bytes = (struct bytes){.base = (const uint8_t *)ret->text, .len = len};
}

/* A value taken apart; the parts lie in the row. */
struct session {
    uint64_t acknowledged, last_serial, opened_ms;
    uint32_t n_answers, n_locks;
    struct bytes name, locks, answers;
};

static struct bytes lock_at(const uint8_t *at)
{
    return (struct bytes){.base = at + LOCK_HEAD_BYTES, .len = little_u16(at)};
}

static struct session session_parse(const struct row *row)
{
    const uint8_t *v = row->value, *end = v + row->value_len;
    assert(row->value_len >= AT_NAME && row->value_len >= (size_t)AT_NAME + v[AT_NAME_LEN]);
    struct session s = {.acknowledged = little_u64(v + AT_ACKNOWLEDGED),
                        .last_serial = little_u64(v + AT_LAST_SERIAL),
                        .opened_ms = little_u64(v + AT_OPENED),
                        .n_answers = little_u32(v + AT_N_ANSWERS),
                        .n_locks = little_u32(v + AT_N_LOCKS),
                        .name = {.base = v + AT_NAME, .len = v[AT_NAME_LEN]}};
    const uint8_t *at = s.name.base + s.name.len;
    s.locks.base = at;
    for (uint32_t i = 0; i < s.n_locks; i++) {
        assert(end - at >= LOCK_HEAD_BYTES && (size_t)(end - at) >= LOCK_HEAD_BYTES + lock_at(at).len);
        at += LOCK_HEAD_BYTES + lock_at(at).len;
    }
    s.locks.len = (size_t)(at - s.locks.base);
    s.answers = (struct bytes){.base = at, .len = (size_t)(end - at)};
    return s;
}

struct answer {
    uint64_t serial;
    struct bytes outcome;
};

/* The answer at *at; false at the end. */
static bool answer_next(struct bytes answers, size_t *at, struct answer *ret)
{
    if (*at == answers.len)
        return false;
    const uint8_t *head = answers.base + *at;
    assert(answers.len - *at >= ANSWER_HEAD_BYTES);
    *ret = (struct answer){.serial = little_u64(head),
                           .outcome = {.base = head + ANSWER_HEAD_BYTES, .len = little_u32(head + 8)}};
    assert(answers.len - *at - ANSWER_HEAD_BYTES >= ret->outcome.len);
    *at += ANSWER_HEAD_BYTES + ret->outcome.len;
    return true;
}

static const struct row *session_row(struct family *f, const struct session_key *key)
{
    return rows_get_in(f->rows, SPACE_SESSIONS, key->bytes.base, key->bytes.len);
}

/* The row of a live session, or NULL with the refusal answered. */
static const struct row *session_demand(struct family *f, uint64_t id, struct session_key *ret_key)
{
    key_of(id, ret_key);
    const struct row *row = session_row(f, ret_key);
    if (row == NULL)
        family_refuse(f, REFUSAL_SESSION_EXPIRED);
    return row;
}

static struct expiry renewed(const struct family *f, int64_t ttl_ms)
{
    return family_expiry(f, ttl_ms, ttl_ms);
}

static void renew(struct family *f, const struct session_key *key, const struct row *row)
{
    family_set_expiry_in(f, SPACE_SESSIONS, key->bytes, row, renewed(f, row->wall_ms));
}

/* ---- Building a value ---- */

struct builder {
    uint8_t *base;
    size_t len;
};

static void build(struct builder *b, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(b->base + b->len, bytes, len);
    b->len += len;
}

static void build_head(struct builder *b, const struct session *s)
{
    uint8_t head[AT_NAME];
    little_put_u64(head + AT_ACKNOWLEDGED, s->acknowledged);
    little_put_u64(head + AT_LAST_SERIAL, s->last_serial);
    little_put_u64(head + AT_OPENED, s->opened_ms);
    little_put_u32(head + AT_N_ANSWERS, s->n_answers);
    little_put_u32(head + AT_N_LOCKS, s->n_locks);
    head[AT_NAME_LEN] = (uint8_t)s->name.len;
    build(b, head, sizeof head);
    build(b, s->name.base, s->name.len);
    build(b, s->locks.base, s->locks.len);
}

static void build_answer(struct builder *b, const struct answer *a)
{
    uint8_t head[ANSWER_HEAD_BYTES];
    little_put_u64(head, a->serial);
    little_put_u32(head + 8, (uint32_t)a->outcome.len);
    build(b, head, sizeof head);
    build(b, a->outcome.base, a->outcome.len);
}

static size_t session_bytes(const struct session *s)
{
    return AT_NAME + s->name.len + s->locks.len + s->answers.len;
}

/* ---- Opening and ending ---- */

static int64_t clamp_ttl(int64_t ms)
{
    return ms < SESSION_TTL_MS_MIN ? SESSION_TTL_MS_MIN : ms > SESSION_TTL_MS_MAX ? SESSION_TTL_MS_MAX : ms;
}

void session_open(struct family *f, const struct command *c)
{
    struct session_key key;
    uint8_t value[AT_NAME + SESSION_NAME_BYTES_MAX];
    struct builder b = {.base = value};
    struct session s = {.opened_ms = f->clock_ms, .name = c->args[0]};
    uint64_t id = *f->revision + 1; /* The revision that its row gets. */
    if (rows_total(f->rows, SPACE_SESSIONS).count >= SESSIONS_MAX) {
        family_refuse(f, REFUSAL_TOO_MANY_SESSIONS);
        return;
    }
    if (s.name.len > SESSION_NAME_BYTES_MAX)
        s.name.len = SESSION_NAME_BYTES_MAX;
    key_of(id, &key);
    build_head(&b, &s);
    family_put_in(f, SPACE_SESSIONS, key.bytes, NULL, VALUE_RAW, (struct bytes){.base = value, .len = b.len},
                  renewed(f, clamp_ttl(c->nums[0])));
    outcome_int(f->out, (int64_t)id);
}

void session_keepalive(struct family *f, const struct command *c)
{
    struct session_key key;
    const struct row *row = session_demand(f, (uint64_t)c->nums[0], &key);
    if (row == NULL)
        return;
    renew(f, &key, row);
    outcome_ok(f->out);
}

/* The row goes first, so that nobody finds a session that is ending; then what it owns, in the order of asking. */
static void session_end(struct family *f, struct bytes key, const struct row *row)
{
    int64_t id = 0;
    struct session s = session_parse(row);
    uint8_t *locks = family_scratch(f, s.locks.len);
    if (locks == NULL)
        return;
    number_read_int(row->key, row->key_len, &id);
    if (s.locks.len > 0)
        memcpy(locks, s.locks.base, s.locks.len);
    uint32_t n = s.n_locks;
    family_delete_in(f, SPACE_SESSIONS, key, row);
    for (const uint8_t *at = locks; n > 0; n--, at += LOCK_HEAD_BYTES + lock_at(at).len)
        lock_drop_session(f, lock_at(at), (uint64_t)id);
    wait_drop_session(f, (uint64_t)id);
    free(locks);
}

void session_close(struct family *f, const struct command *c)
{
    struct session_key key;
    const struct row *row = session_demand(f, (uint64_t)c->nums[0], &key);
    if (row == NULL)
        return;
    session_end(f, key.bytes, row);
    outcome_ok(f->out);
}

/* True when it ended. One that has been renewed since it was named lives on. */
static bool expire_one(struct family *f, struct bytes key, struct bytes version)
{
    const struct row *row = rows_get_in(f->rows, SPACE_SESSIONS, key.base, key.len);
    if (row == NULL || version.len != 8)
        return false;
    if (row->version == little_u64(version.base) && family_row_due(f, row)) {
        session_end(f, key, row);
        return true;
    }
    family_note_in(f, SPACE_SESSIONS, key, row->expire_ms);
    return false;
}

void session_expired(struct family *f, const struct command *c)
{
    int64_t n = 0;
    for (uint32_t i = 0; i + 1 < c->n_args; i += 2)
        n += expire_one(f, c->args[i], c->args[i + 1]);
    outcome_int(f->out, n);
}

/* ---- Owning ---- */

bool session_touch(struct family *f, uint64_t id)
{
    struct session_key key;
    const struct row *row = session_demand(f, id, &key);
    if (row == NULL)
        return false;
    renew(f, &key, row);
    return true;
}

/* Where the lock's entry begins in the list; the list's length when it is not there. */
static size_t find_lock(const struct session *s, struct bytes lock)
{
    size_t at = 0;
    while (at < s->locks.len && !family_bytes_equal(lock_at(s->locks.base + at), lock))
        at += LOCK_HEAD_BYTES + lock_at(s->locks.base + at).len;
    return at;
}

/* Write the row with another list of locks; its time is left as it is. */
static void put_locks(struct family *f, const struct session_key *key, const struct row *row, struct session *s)
{
    struct builder b = {.base = family_scratch(f, session_bytes(s))};
    if (b.base == NULL)
        return;
    build_head(&b, s);
    build(&b, s->answers.base, s->answers.len);
    family_put_in(f, SPACE_SESSIONS, key->bytes, row, VALUE_RAW, (struct bytes){.base = b.base, .len = b.len},
                  family_expiry_of(row));
    free(b.base);
}

bool session_own(struct family *f, uint64_t id, struct bytes lock)
{
    struct session_key key;
    key_of(id, &key);
    const struct row *row = session_row(f, &key);
    if (row == NULL)
        return true; /* Only when reading failed: the store stops. */
    struct session s = session_parse(row);
    if (find_lock(&s, lock) < s.locks.len)
        return true;
    if (s.n_locks >= SESSION_LOCKS_MAX)
        return false;
    struct builder b = {.base = family_scratch(f, s.locks.len + LOCK_HEAD_BYTES + lock.len)};
    if (b.base == NULL)
        return true;
    uint8_t head[LOCK_HEAD_BYTES];
    little_put_u16(head, (uint16_t)lock.len);
    build(&b, s.locks.base, s.locks.len);
    build(&b, head, sizeof head);
    build(&b, lock.base, lock.len);
    s.locks = (struct bytes){.base = b.base, .len = b.len};
    s.n_locks++;
    put_locks(f, &key, row, &s);
    free(b.base);
    return true;
}

void session_disown(struct family *f, uint64_t id, struct bytes lock)
{
    struct session_key key;
    key_of(id, &key);
    const struct row *row = session_row(f, &key);
    if (row == NULL)
        return; /* It is ending. */
    struct session s = session_parse(row);
    size_t at = find_lock(&s, lock), len = LOCK_HEAD_BYTES + lock.len;
    if (at == s.locks.len)
        return;
    struct builder b = {.base = family_scratch(f, s.locks.len)};
    if (b.base == NULL)
        return;
    build(&b, s.locks.base, at);
    build(&b, s.locks.base + at + len, s.locks.len - at - len);
    s.locks = (struct bytes){.base = b.base, .len = b.len};
    s.n_locks--;
    put_locks(f, &key, row, &s);
    free(b.base);
}

void session_put_name(struct family *f, uint64_t id)
{
    struct session_key key;
    key_of(id, &key);
    const struct row *row = session_row(f, &key);
    struct bytes name = row == NULL ? (struct bytes){.len = 0} : session_parse(row).name;
    outcome_bulk(f->out, name.base, name.len);
}

/* ---- Once ---- */

static bool find_answer(const struct session *s, uint64_t serial, struct answer *ret)
{
    size_t at = 0;
    while (answer_next(s->answers, &at, ret))
        if (ret->serial == serial)
            return true;
    return false;
}

/* Drop answers from the front until those left are within bounds and past what is acknowledged, with `more` bytes to
 * come. A serial dropped though it was not acknowledged is past, too: it must not run again. */
static void make_room(struct session *s, size_t more)
{
    struct answer a;
    size_t at = 0, left = 0;
    while (left = at, answer_next(s->answers, &at, &a)) {
        bool room = s->n_answers < SESSION_ANSWERS_MAX && s->answers.len - left + more <= SESSION_ANSWERS_BYTES_MAX;
        if (a.serial > s->acknowledged && room)
            break;
        s->n_answers--;
        if (a.serial > s->acknowledged)
            s->acknowledged = a.serial;
    }
    s->answers.base += left;
    s->answers.len -= left;
}

/* Serials may come out of order, so some behind the front can be acknowledged as well: those go when they are met. */
static void remember(struct family *f, const struct session_key *key, uint64_t serial, uint64_t ack, size_t mark)
{
    const struct row *row = session_row(f, key);
    if (row == NULL || f->out->failed)
        return; /* Reading failed or memory ran out: the store stops. */
    uint8_t not_kept[16];
    struct outcome_buf out = {.base = not_kept, .cap = sizeof not_kept};
    struct answer a = {.serial = serial, .outcome = {.base = f->out->base + mark, .len = f->out->len - mark}};
    if (a.outcome.len + ANSWER_HEAD_BYTES > SESSION_ANSWERS_BYTES_MAX) {
        outcome_refusal(&out, REFUSAL_ANSWER_NOT_KEPT, NULL, 0);
        a.outcome = (struct bytes){.base = not_kept, .len = out.len};
    }
    struct session s = session_parse(row);
    if (ack > s.acknowledged)
        s.acknowledged = ack;
    make_room(&s, ANSWER_HEAD_BYTES + a.outcome.len);
    s.n_answers++;
    if (serial > s.last_serial)
        s.last_serial = serial;
    struct builder b = {.base = family_scratch(f, session_bytes(&s) + ANSWER_HEAD_BYTES + a.outcome.len)};
    if (b.base == NULL)
        return;
    build_head(&b, &s);
    build(&b, s.answers.base, s.answers.len);
    build_answer(&b, &a);
    family_put_in(f, SPACE_SESSIONS, key->bytes, row, VALUE_RAW, (struct bytes){.base = b.base, .len = b.len},
                  renewed(f, row->wall_ms));
    free(b.base);
}

/* An answer too large to be kept is one that says so. */
void session_settle(struct family *f, uint64_t id, uint64_t serial, struct bytes outcome)
{
    struct session_key key;
    struct answer a;
    uint8_t not_kept[16];
    struct outcome_buf out = {.base = not_kept, .cap = sizeof not_kept};
    key_of(id, &key);
    const struct row *row = session_row(f, &key);
    if (row == NULL)
        return;
    struct session s = session_parse(row);
    size_t end = 0, at = 0;
    bool found = false;
    while (!found && (at = end, answer_next(s.answers, &end, &a)))
        found = a.serial == serial;
    if (!found)
        return;
    if (s.answers.len - (end - at) + ANSWER_HEAD_BYTES + outcome.len > SESSION_ANSWERS_BYTES_MAX) {
        outcome_refusal(&out, REFUSAL_ANSWER_NOT_KEPT, NULL, 0);
        outcome = (struct bytes){.base = not_kept, .len = out.len};
    }
    a = (struct answer){.serial = serial, .outcome = outcome};
    struct builder b = {.base = family_scratch(f, session_bytes(&s) + ANSWER_HEAD_BYTES + outcome.len)};
    if (b.base == NULL)
        return;
    build_head(&b, &s);
    build(&b, s.answers.base, at);
    build_answer(&b, &a);
    build(&b, s.answers.base + end, s.answers.len - end);
    family_put_in(f, SPACE_SESSIONS, key.bytes, row, VALUE_RAW, (struct bytes){.base = b.base, .len = b.len},
                  family_expiry_of(row));
    free(b.base);
}

static void refuse_past(struct family *f, uint64_t upto)
{
    char detail[NUMBER_INT_BYTES_MAX];
    outcome_refusal(f->out, REFUSAL_SERIAL_PAST, detail, number_write_int(detail, (int64_t)upto));
}

void session_once(struct family *f, const struct command *c)
{
    struct session_key key;
    struct answer a;
    uint64_t serial = (uint64_t)c->nums[1], ack = (uint64_t)c->nums[2];
    const struct row *row = session_demand(f, (uint64_t)c->nums[0], &key);
    if (row == NULL)
        return;
    struct session s = session_parse(row);
    if (find_answer(&s, serial, &a)) {
        outcome_append(f->out, a.outcome.base, a.outcome.len);
        renew(f, &key, row);
    } else if (serial <= s.acknowledged) {
        refuse_past(f, s.acknowledged);
        renew(f, &key, row);
    } else {
        size_t mark = f->out->len;
        f->once_session = (uint64_t)c->nums[0];
        f->once_serial = serial;
        bool ran = family_run_nested(f, c->args[0]);
        f->once_session = f->once_serial = 0;
        if (!ran)
            return;
        outcome_later_keep(f->out, mark);
        remember(f, &key, serial, ack, mark);
    }
}

/* ---- Telling ---- */

static void put_number(struct outcome_buf *out, const char *name, uint64_t n)
{
    outcome_bulk(out, name, strlen(name));
    outcome_int(out, (int64_t)n);
}

/* Five pairs. */
static void put_summary(struct family *f, const struct row *row, const struct session *s)
{
    int64_t id = 0;
    number_read_int(row->key, row->key_len, &id);
    put_number(f->out, "id", (uint64_t)id);
    outcome_bulk(f->out, "name", 4);
    outcome_bulk(f->out, s->name.base, s->name.len);
    put_number(f->out, "ttl", (uint64_t)row->wall_ms);
    put_number(f->out, "left", (uint64_t)family_left_ms(f, row));
    put_number(f->out, "age", f->now_ms > s->opened_ms ? f->now_ms - s->opened_ms : 0);
}

void session_info(struct family *f, const struct command *c)
{
    struct session_key key;
    const struct row *row = session_demand(f, (uint64_t)c->nums[0], &key);
    if (row == NULL)
        return;
    struct session s = session_parse(row);
    outcome_map(f->out, 9);
    put_summary(f, row, &s);
    put_number(f->out, "acknowledged", s.acknowledged);
    put_number(f->out, "last-serial", s.last_serial);
    put_number(f->out, "answers", s.n_answers);
    outcome_bulk(f->out, "locks", 5);
    outcome_array(f->out, s.n_locks);
    const uint8_t *at = s.locks.base;
    for (uint32_t i = 0; i < s.n_locks; i++, at += LOCK_HEAD_BYTES + lock_at(at).len)
        outcome_bulk(f->out, lock_at(at).base, lock_at(at).len);
}

struct listing {
    struct family *f;
    uint32_t n;
};

static bool list_one(void *ctx, const struct row *row)
{
    struct listing *l = ctx;
    struct session s = session_parse(row);
    outcome_map(l->f->out, 6);
    put_summary(l->f, row, &s);
    put_number(l->f->out, "locks", s.n_locks);
    l->n++;
    return !l->f->out->failed;
}

void session_list(struct family *f, const struct command *c)
{
    (void)c;
    struct listing l = {.f = f};
    size_t at = f->out->len;
    outcome_array(f->out, 0);
    rows_walk_in(f->rows, SPACE_SESSIONS, 0, list_one, &l);
    outcome_array_recount(f->out, at, l.n);
}
