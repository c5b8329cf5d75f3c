/* breaker.c - closed, open, half open.
 *
 *     closed     every call may be made; `failures` of them within `window` ms open it. A success forgives nothing:
 * what counts is how many fail in a time open       no call may be made for `cooldown` ms; who reports now began before
 * it opened, and is not heard half open  at most `probes` calls at once try. One that succeeds closes it, one that
 * fails opens it again; one that does not report for `cooldown` ms is given back. A report when no probe is out is not
 * heard
 *
 * The row exists while there is something to remember: a closed breaker's until its last failure leaves the window, an
 * opened one's for another `cooldown` and `window` after it could have been tried. Each call brings its settings.
 *
 *     u8 1 when it has opened, u8[7] zero, i64 when it is half open (ms on the replicated clock), i64 each: when the
 * last failures were, or when the probes that are out began, oldest first */
#include "store/breaker.h"
#include "store/families.h"
#include "store/little.h"
#include <string.h>

enum { NUM_VERB, NUM_FAILURES, NUM_WINDOW, NUM_COOLDOWN, NUM_PROBES };

#define HEAD_BYTES 16
#define BYTES_MAX (HEAD_BYTES + 8 * BREAKER_FAILURES_MAX)
#define CLOCK_MS_MAX (INT64_MAX / 4)

struct breaker {
    int64_t failures, window_ms, cooldown_ms, probes, now_ms;
    bool opened, changed;
    int64_t half_open_ms;
    size_t n;
    int64_t times[BREAKER_FAILURES_MAX];
};

static bool is_half_open(const struct breaker *b)
{
    return b->opened && b->half_open_ms <= b->now_ms;
}

/* ---- The row ---- */

static void breaker_read(struct breaker *b, const struct row *row)
{
    if (row == NULL || row->value_len < HEAD_BYTES || row->value_len > BYTES_MAX)
        return;
    b->opened = row->value[0] != 0;
    b->half_open_ms = (int64_t)little_u64(row->value + 8);
    b->n = (row->value_len - HEAD_BYTES) / 8;
    for (size_t i = 0; i < b->n; i++)
        b->times[i] = (int64_t)little_u64(row->value + HEAD_BYTES + 8 * i);
}

/* Forget times that are `ms` ago. */
static void forget(struct breaker *b, int64_t ms)
{
    size_t gone = 0;
    while (gone < b->n && b->times[gone] <= b->now_ms - ms)
        gone++;
    b->n -= gone;
    memmove(b->times, b->times + gone, b->n * sizeof *b->times);
}

static int64_t ends_in_ms(const struct breaker *b)
{
    if (!b->opened)
        return b->times[b->n - 1] + b->window_ms - b->now_ms;
    int64_t from_ms = b->half_open_ms > b->now_ms ? b->half_open_ms : b->now_ms;
    return from_ms - b->now_ms + b->cooldown_ms + b->window_ms;
}

static void breaker_write(struct family *f, struct bytes key, const struct row *old, const struct breaker *b)
{
    size_t len = HEAD_BYTES + 8 * b->n;
    uint8_t *value = family_kept(f, KEEP_VALUE, len);
    if (value == NULL)
        return;
    memset(value, 0, HEAD_BYTES);
    value[0] = b->opened;
    little_put_u64(value + 8, (uint64_t)b->half_open_ms);
    for (size_t i = 0; i < b->n; i++)
        little_put_u64(value + HEAD_BYTES + 8 * i, (uint64_t)b->times[i]);
    family_put(f, key, old, VALUE_BREAKER, (struct bytes){.base = value, .len = len},
               family_expiry(f, ends_in_ms(b), 0));
}

static void breaker_done(struct family *f, struct bytes key, const struct row *old, const struct breaker *b)
{
    if (!b->changed)
        return;
    if (b->opened || b->n > 0)
        breaker_write(f, key, old, b);
    else if (old != NULL)
        family_delete(f, key, old);
}

/* ---- What happens ---- */

static void note_time(struct breaker *b)
{
    if (b->n == BREAKER_FAILURES_MAX)
        memmove(b->times, b->times + 1, --b->n * sizeof *b->times);
    b->times[b->n++] = b->now_ms;
    b->changed = true;
}

static const char *open_up(struct breaker *b, const char *reason)
{
    b->opened = b->changed = true;
    b->half_open_ms = b->now_ms + b->cooldown_ms;
    b->n = 0;
    return reason;
}

static const char *close_up(struct breaker *b, const char *reason)
{
    b->changed = b->opened || b->n > 0;
    b->opened = false;
    b->n = 0;
    return reason;
}

/* May a call be made, and in how many ms is it worth asking again? */
static bool may_call(const struct breaker *b, int64_t *ret_ms)
{
    *ret_ms = 0;
    if (!b->opened)
        return true;
    if (!is_half_open(b))
        *ret_ms = b->half_open_ms - b->now_ms;
    else if (b->n >= (size_t)b->probes)
        *ret_ms = b->times[b->n - (size_t)b->probes] + b->cooldown_ms - b->now_ms;
    return *ret_ms == 0;
}

static const char *standing(const struct breaker *b)
{
    int64_t ms;
    if (!b->opened)
        return "ok";
    if (!is_half_open(b))
        return "cooldown";
    return may_call(b, &ms) ? "probe" : "probes out";
}

static const char *failure(struct breaker *b)
{
    if (is_half_open(b) && b->n > 0)
        return open_up(b, "probe failed");
    if (b->opened)
        return standing(b);
    note_time(b);
    return b->n >= (size_t)b->failures ? open_up(b, "failures") : standing(b);
}

static const char *success(struct breaker *b)
{
    return is_half_open(b) && b->n > 0 ? close_up(b, "probe succeeded") : standing(b);
}

/* -> the reason. */
static const char *act(struct breaker *b, enum breaker_verb verb)
{
    switch (verb) {
    case BREAKER_SUCCESS:
        return success(b);
    case BREAKER_FAILURE:
        return failure(b);
    case BREAKER_RESET:
        return close_up(b, "reset");
    case BREAKER_ALLOW:
    case BREAKER_STATE:
    case BREAKER_VERB_N:
        break;
    }
    return standing(b);
}

static void answer(struct family *f, const struct breaker *b, const char *reason, bool allowed, int64_t ms)
{
    const char *state = !b->opened ? "closed" : is_half_open(b) ? "half-open" : "open";
    outcome_array(f->out, 4);
    outcome_bulk(f->out, state, strlen(state));
    outcome_bulk(f->out, reason, strlen(reason));
    outcome_int(f->out, allowed);
    outcome_int(f->out, ms);
}

/* ---- The command ---- */

/* Encoders keep to these; what comes over a link may not. */
static bool is_sound(const struct command *c)
{
    const int64_t *n = c->nums;
    return n[NUM_VERB] >= 0 && n[NUM_VERB] < BREAKER_VERB_N && n[NUM_FAILURES] >= 1 &&
           n[NUM_FAILURES] <= BREAKER_FAILURES_MAX && n[NUM_WINDOW] >= 1 && n[NUM_WINDOW] <= BREAKER_MS_MAX &&
           n[NUM_COOLDOWN] >= 1 && n[NUM_COOLDOWN] <= BREAKER_MS_MAX && n[NUM_PROBES] >= 1 &&
           n[NUM_PROBES] <= BREAKER_PROBES_MAX;
}

void breaker_run(struct family *f, const struct command *c)
{
    if (!is_sound(c)) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    enum breaker_verb verb = (enum breaker_verb)c->nums[NUM_VERB];
    const struct row *row = family_live_for_write(f, c->args[0]);
    struct breaker b = {.failures = c->nums[NUM_FAILURES],
                        .window_ms = c->nums[NUM_WINDOW],
                        .cooldown_ms = c->nums[NUM_COOLDOWN],
                        .probes = c->nums[NUM_PROBES],
                        .now_ms = f->clock_ms < CLOCK_MS_MAX ? (int64_t)f->clock_ms : CLOCK_MS_MAX};
    int64_t ms;
    breaker_read(&b, row);
    forget(&b, b.opened ? b.cooldown_ms : b.window_ms);
    const char *reason = act(&b, verb);
    bool allowed = may_call(&b, &ms);
    if (verb == BREAKER_ALLOW && allowed && b.opened)
        note_time(&b);
    breaker_done(f, c->args[0], row, &b);
    answer(f, &b, reason, allowed, ms);
}
