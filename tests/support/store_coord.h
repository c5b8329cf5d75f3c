/* store_coord.h - for the tests of sessions and locks: one store, commands applied one by one, outcomes as text: nil,
 * OK, 5, 'bulk', +word, [parts], {name: value, ...}, !code detail, later TOKEN. */
#pragma once
#include "tests/support/store_fixture.h"
#include <stdarg.h>

#define COORD_CLOCK_START_MS 1000000
#define COORD_TEXT_MAX 65536

struct coord {
    char dir[FIXTURE_PATH];
    struct store_options options;
    struct store *store;
    uint64_t clock_ms; /* Stamped on the next batch. */
    struct outcome_buf out;
    char text[COORD_TEXT_MAX];
    char events[COORD_TEXT_MAX]; /* Since coord_events(), a semicolon after each. */
};

static inline int coord_teardown(void **state)
{
    struct coord *f = *state;
    store_close(f->store);
    outcome_buf_release(&f->out);
    fixture_remove_dir(f->dir);
    free(f);
    return 0;
}

static inline void coord_note(void *ctx, const struct store_event *e)
{
    static const char *const words[] = {"granted", "timed-out", "withdrawn", "orphaned",
                                        "broken",  "offered",   "wait-over", "wait-ended"};
    struct coord *f = ctx;
    size_t len = strlen(f->events);
    if (e->kind == STORE_LOCK_BROKEN)
        snprintf(f->events + len, sizeof f->events - len, "broken %.*s: %.*s, %.*s;", (int)e->name.len, e->name.base,
                 (int)e->reason.len, e->reason.base, (int)e->who.len, e->who.base);
    else
        snprintf(f->events + len, sizeof f->events - len, "%s %" PRIu64 ";", words[e->kind], e->token);
}

static inline void coord_listen(struct coord *f)
{
    store_on_event(f->store, coord_note, f);
}

static inline void coord_reopen(struct coord *f)
{
    uint64_t hash = store_hash(f->store);
    store_close(f->store);
    f->store = fixture_open(&f->options);
    coord_listen(f);
    assert_true(store_hash(f->store) == hash);
}

static inline void coord_add(struct coord *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void coord_add(struct coord *f, const char *format, ...)
{
    size_t len = strlen(f->text);
    va_list args;
    va_start(args, format);
    vsnprintf(f->text + len, COORD_TEXT_MAX - len, format, args);
    va_end(args);
}

static inline size_t coord_add_outcome(struct coord *f, size_t at)
{
    struct outcome o;
    size_t used = outcome_next(f->out.base + at, f->out.len - at, &o);
    assert_true(used > 0);
    at += used;
    switch (o.tag) {
    case OUTCOME_NIL:
    case OUTCOME_NIL_ARRAY:
        coord_add(f, "nil");
        break;
    case OUTCOME_BOOL:
        coord_add(f, "%s", o.n != 0 ? "true" : "false");
        break;
    case OUTCOME_DOUBLE:
    case OUTCOME_BIG_NUMBER:
        coord_add(f, "#%.*s", (int)o.len, o.bytes);
        break;
    case OUTCOME_OK:
        coord_add(f, "OK");
        break;
    case OUTCOME_INT:
        coord_add(f, "%" PRId64, o.n);
        break;
    case OUTCOME_BULK:
        coord_add(f, "'%.*s'", (int)o.len, o.bytes);
        break;
    case OUTCOME_SIMPLE:
        coord_add(f, "+%.*s", (int)o.len, o.bytes);
        break;
    case OUTCOME_REFUSAL:
        coord_add(f, "!%" PRId64 "%s%.*s", o.n, o.len > 0 ? " " : "", (int)o.len, o.bytes);
        break;
    case OUTCOME_LATER:
        coord_add(f, "%s %" PRId64, o.kept ? "kept" : "later", o.n);
        break;
    case OUTCOME_ARRAY:
    case OUTCOME_SET:
        coord_add(f, "[");
        for (int64_t i = 0; i < o.n; i++) {
            coord_add(f, "%s", i > 0 ? " " : "");
            at = coord_add_outcome(f, at);
        }
        coord_add(f, "]");
        break;
    case OUTCOME_MAP:
        coord_add(f, "{");
        for (int64_t i = 0; i < o.n; i++) {
            struct outcome name;
            coord_add(f, "%s", i > 0 ? ", " : "");
            at += outcome_next(f->out.base + at, f->out.len - at, &name);
            coord_add(f, "%.*s: ", (int)name.len, name.bytes);
            at = coord_add_outcome(f, at);
        }
        coord_add(f, "}");
        break;
    }
    return at;
}

static inline const char *coord_text(struct coord *f)
{
    f->text[0] = '\0';
    assert_false(f->out.failed);
    assert_int_equal(coord_add_outcome(f, 0), f->out.len); /* Exactly one. */
    return f->text;
}

/* Apply a batch of n commands at the clock. */
static inline void coord_apply(struct coord *f, const struct command_buf *commands, uint32_t n)
{
    struct command_buf batch = {0};
    enum store_applied applied;
    batch_begin(&batch, 0, 0, 0);
    batch.base = realloc(batch.base, batch.len + commands->len);
    memcpy(batch.base + batch.len, commands->base, commands->len);
    batch.len += commands->len;
    batch_set_count(batch.base, n);
    batch_stamp(batch.base, f->clock_ms);
    f->out.len = 0;
    assert_int_equal(store_apply(f->store, store_applied(f->store) + 1, 1, batch.base, batch.len, &f->out, &applied),
                     0);
    command_buf_release(&batch);
}

/* An encoded command; args end with NULL. */
struct coord_command {
    enum command_op op;
    uint16_t flags;
    uint8_t n_nums;
    int64_t nums[COMMAND_NUMS_MAX];
    struct bytes args[4];
    uint32_t n_args;
};

static inline void coord_encode(struct command_buf *b, const struct coord_command *c)
{
    assert_true(command_add(b, c->op, c->flags, c->nums, c->n_nums, c->args, c->n_args) >= 0);
}

static inline const char *coord_run(struct coord *f, const struct coord_command *c)
{
    struct command_buf b = {0};
    coord_encode(&b, c);
    coord_apply(f, &b, 1);
    command_buf_release(&b);
    return coord_text(f);
}

static inline const char *coord_read(struct coord *f, const struct coord_command *c)
{
    struct command_buf b = {0};
    size_t used;
    coord_encode(&b, c);
    f->out.len = 0;
    assert_int_equal(store_read(f->store, b.base, b.len, f->clock_ms, &f->out, &used), 0);
    assert_int_equal(used, b.len);
    command_buf_release(&b);
    return coord_text(f);
}

static inline int coord_setup(void **state)
{
    struct coord *f = calloc(1, sizeof *f);
    f->clock_ms = COORD_CLOCK_START_MS;
    fixture_dir(f->dir);
    f->options = fixture_options(f->dir);
    f->store = fixture_open(&f->options);
    coord_listen(f);
    coord_run(f, &(const struct coord_command){OP_TICK});
    assert_int_equal(store_poll(f->store, 0), 0); /* The window of what is due soon begins at the clock. */
    *state = f;
    return 0;
}

/* What a leader does in time: name what is due, and propose it. What the file has of a new window is read after a
 * flush. */
static inline void coord_expire(struct coord *f)
{
    for (int idle = 0; idle < 2 && store_next_due_ms(f->store) <= f->clock_ms;) {
        struct command_buf due = {0};
        uint32_t n = store_due(f->store, f->clock_ms, 1000, &due);
        if (n > 0)
            coord_apply(f, &due, n);
        else
            assert_int_equal(store_flush_now(f->store), 0);
        idle = n > 0 ? 0 : idle + 1;
        command_buf_release(&due);
    }
}

/* Time passes on the replicated clock, and the leader keeps up with it. */
static inline void coord_pass(struct coord *f, uint64_t ms)
{
    f->clock_ms += ms;
    coord_expire(f);
}

/* ---- Commands ---- */

static inline uint64_t coord_open(struct coord *f, const char *name, int64_t ttl_ms)
{
    const struct coord_command c = {OP_SESSION_OPEN, .n_nums = 1, .nums = {ttl_ms}, .args = {text(name)}, .n_args = 1};
    return strtoull(coord_run(f, &c), NULL, 10);
}

static inline const char *coord_session(struct coord *f, enum command_op op, uint64_t id)
{
    const struct coord_command c = {op, .n_nums = 1, .nums = {(int64_t)id}};
    return op == OP_SESSION_INFO ? coord_read(f, &c) : coord_run(f, &c);
}

static inline struct coord_command coord_incr(const char *key, int64_t delta)
{
    return (struct coord_command){OP_INCRBY, .n_nums = 1, .nums = {delta}, .args = {text(key)}, .n_args = 1};
}

static inline const char *coord_once(struct coord *f, uint64_t id, int64_t serial, int64_t ack,
                                     const struct coord_command *nested)
{
    struct command_buf b = {0};
    coord_encode(&b, nested);
    const struct coord_command c = {OP_ONCE, .n_nums = 3, .nums = {(int64_t)id, serial, ack}, .args = {{b.base, b.len}},
                                    .n_args = 1};
    coord_run(f, &c);
    command_buf_release(&b);
    return f->text;
}

static inline const char *coord_get(struct coord *f, const char *key)
{
    const struct coord_command c = {OP_GET, .args = {text(key)}, .n_args = 1};
    return coord_read(f, &c);
}
