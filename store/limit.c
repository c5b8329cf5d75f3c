/* limit.c - two ways to count. Neither remembers single calls, so a limit takes at most 160 bytes whatever its rate.
 *
 * GCRA (a leaky bucket without a drip): the value is the time, in ns on the replicated clock, at which all that was
 * taken would be paid off at the even pace of the rate. A call is allowed while that time is at most `burst` calls
 * ahead of the clock. Exact, but for an interval between calls that is rounded up to whole ns.
 *
 * Window: no more than `rate` in any stretch of `per` ms. The clock is cut into pieces of per / 32 ms, rounded up; a
 * piece counts until its last ms has left the window. So it errs to the safe side, by one piece at most; with `per` up
 * to 32 ms pieces are one ms long and it is exact. When a call brings another `per`, what was counted moves to the new
 * pieces, each to the one its last ms is in.
 *
 *     GCRA:   u8 0, u8[7] zero, i64 paid off at (ns)
 *     window: u8 1, u8[7] zero, i64 piece ms, i64 number of the newest piece, u32 counts, newest first, up to the
 * oldest that is not 0
 *
 * A call that is refused, or costs nothing, changes nothing. */
#include "store/limit.h"
#include "store/families.h"
#include "store/little.h"
#include <string.h>

enum { NUM_ALGO, NUM_RATE, NUM_PER, NUM_BURST, NUM_COST };

#define NS_PER_MS 1000000
#define HEAD_BYTES 8
#define GCRA_BYTES (HEAD_BYTES + 8)
#define WINDOW_HEAD_BYTES (HEAD_BYTES + 16)
#define CLOCK_MS_MAX (INT64_MAX / 4 / NS_PER_MS) /* 73 years; past them it stands still. */
#define PIECES_MAX (LIMIT_WINDOW_PIECES + 1)     /* The one that is running, and those that are in the window still. */
#define WINDOW_BYTES_MAX (WINDOW_HEAD_BYTES + 4 * PIECES_MAX)

struct limit {
    int64_t rate, per_ms, burst, cost, now_ms;
};

static void answer(struct family *f, bool allowed, int64_t left, int64_t retry_ms, int64_t reset_ms)
{
    outcome_array(f->out, 4);
    outcome_int(f->out, allowed);
    outcome_int(f->out, left);
    outcome_int(f->out, retry_ms);
    outcome_int(f->out, reset_ms);
}

static void keep(struct family *f, struct bytes key, const struct row *old, const uint8_t *value, size_t len,
                 int64_t left_ms)
{
    struct expiry ends = family_expiry(f, left_ms, 0);
    family_put(f, key, old, VALUE_LIMIT, (struct bytes){.base = value, .len = len}, ends);
}

/* ---- GCRA ---- */

static int64_t ms_up(int64_t ns)
{
    return (ns + NS_PER_MS - 1) / NS_PER_MS;
}

static int64_t gcra_paid_ns(const struct row *row, int64_t now_ns)
{
    int64_t ns = row != NULL && row->value_len == GCRA_BYTES ? (int64_t)little_u64(row->value + HEAD_BYTES) : 0;
    return ns > now_ns ? ns : now_ns;
}

/* Of one call. */
static int64_t gcra_each_ns(int64_t rate, int64_t per_ms)
{
    return (per_ms * NS_PER_MS + rate - 1) / rate;
}

bool limit_burst_too_long(int64_t rate, int64_t per_ms, int64_t burst)
{
    return burst > LIMIT_BURST_MS_MAX * NS_PER_MS / gcra_each_ns(rate, per_ms);
}

static void gcra(struct family *f, struct bytes key, const struct row *row, const struct limit *l)
{
    int64_t now_ns = l->now_ms * NS_PER_MS;
    int64_t each_ns = gcra_each_ns(l->rate, l->per_ms);
    int64_t room_ns = l->burst * each_ns;
    int64_t ahead_ns = gcra_paid_ns(row, now_ns) - now_ns;
    int64_t then_ns = ahead_ns + l->cost * each_ns;
    if (then_ns > room_ns && l->cost > 0) {
        int64_t left = room_ns > ahead_ns ? (room_ns - ahead_ns) / each_ns : 0;
        answer(f, false, left, ms_up(then_ns - room_ns), ms_up(ahead_ns));
        return;
    }
    if (l->cost > 0) {
        uint8_t value[GCRA_BYTES] = {LIMIT_GCRA};
        little_put_u64(value + HEAD_BYTES, (uint64_t)(now_ns + then_ns));
        keep(f, key, row, value, sizeof value, ms_up(then_ns));
    }
    answer(f, true, room_ns > then_ns ? (room_ns - then_ns) / each_ns : 0, 0, ms_up(then_ns));
}

/* ---- Window ---- */

struct window {
    int64_t piece_ms, newest;
    int64_t counts[PIECES_MAX]; /* Newest first. */
};

static int64_t piece_last_ms(const struct window *w, int64_t number)
{
    return (number + 1) * w->piece_ms - 1;
}

/* Count n things of the piece whose last ms this is; what has left the window is dropped. */
static void window_add(struct window *w, const struct limit *l, int64_t last_ms, int64_t n)
{
    int64_t at_ms = last_ms < l->now_ms ? last_ms : l->now_ms;
    int64_t back = w->newest - at_ms / w->piece_ms;
    if (back >= 0 && back < PIECES_MAX && piece_last_ms(w, at_ms / w->piece_ms) > l->now_ms - l->per_ms)
        w->counts[back] += n;
}

static void window_read(struct window *w, const struct row *row, const struct limit *l)
{
    *w = (struct window){.piece_ms = (l->per_ms + LIMIT_WINDOW_PIECES - 1) / LIMIT_WINDOW_PIECES};
    w->newest = l->now_ms / w->piece_ms;
    if (row == NULL || row->value_len < WINDOW_HEAD_BYTES || row->value_len > WINDOW_BYTES_MAX)
        return;
    struct window old = {.piece_ms = (int64_t)little_u64(row->value + HEAD_BYTES)};
    int64_t newest = (int64_t)little_u64(row->value + HEAD_BYTES + 8);
    size_t n = (row->value_len - WINDOW_HEAD_BYTES) / 4;
    for (size_t i = 0; i < n; i++)
        window_add(w, l, piece_last_ms(&old, newest - (int64_t)i), little_u32(row->value + WINDOW_HEAD_BYTES + 4 * i));
}

static void window_write(struct family *f, struct bytes key, const struct row *row, const struct window *w,
                         int64_t left_ms)
{
    uint8_t value[WINDOW_BYTES_MAX] = {LIMIT_WINDOW};
    size_t n = 0;
    for (size_t i = 0; i < PIECES_MAX; i++) {
        little_put_u32(value + WINDOW_HEAD_BYTES + 4 * i, (uint32_t)w->counts[i]);
        n = w->counts[i] != 0 ? i + 1 : n;
    }
    little_put_u64(value + HEAD_BYTES, (uint64_t)w->piece_ms);
    little_put_u64(value + HEAD_BYTES + 8, (uint64_t)w->newest);
    keep(f, key, row, value, WINDOW_HEAD_BYTES + 4 * n, left_ms);
}

/* In how many ms the i-th newest piece leaves the window. */
static int64_t piece_left_ms(const struct window *w, const struct limit *l, size_t i)
{
    return piece_last_ms(w, w->newest - (int64_t)i) + l->per_ms - l->now_ms;
}

/* In how many ms no more than `most` are counted. */
static int64_t window_falls_ms(const struct window *w, const struct limit *l, int64_t used, int64_t most)
{
    int64_t ms = 0;
    for (size_t i = PIECES_MAX; used > most && i-- > 0;) {
        used -= w->counts[i];
        ms = w->counts[i] > 0 ? piece_left_ms(w, l, i) : ms;
    }
    return ms;
}

static void window(struct family *f, struct bytes key, const struct row *row, const struct limit *l)
{
    struct window w;
    int64_t used = 0;
    window_read(&w, row, l);
    for (size_t i = 0; i < PIECES_MAX; i++)
        used += w.counts[i];
    bool allowed = used + l->cost <= l->rate || l->cost == 0;
    if (allowed && l->cost > 0) {
        w.counts[0] += l->cost;
        used += l->cost;
        window_write(f, key, row, &w, window_falls_ms(&w, l, used, 0));
    }
    answer(f, allowed, used < l->rate ? l->rate - used : 0,
           allowed ? 0 : window_falls_ms(&w, l, used, l->rate - l->cost), window_falls_ms(&w, l, used, 0));
}

/* ---- The command ---- */

/* Encoders keep to these; what comes over a link may not. */
static bool is_sound(const struct command *c)
{
    const int64_t *n = c->nums;
    return (n[NUM_ALGO] == LIMIT_GCRA || n[NUM_ALGO] == LIMIT_WINDOW) && n[NUM_RATE] >= 1 &&
           n[NUM_RATE] <= LIMIT_RATE_MAX && n[NUM_PER] >= 1 && n[NUM_PER] <= LIMIT_PER_MS_MAX && n[NUM_BURST] >= 1 &&
           n[NUM_BURST] <= LIMIT_RATE_MAX && n[NUM_COST] >= 0 && n[NUM_COST] <= n[NUM_BURST] &&
           !limit_burst_too_long(n[NUM_RATE], n[NUM_PER], n[NUM_BURST]);
}

void limit_take(struct family *f, const struct command *c)
{
    if (!is_sound(c)) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    const struct row *row = family_live_for_write(f, c->args[0]);
    const struct limit l = {.rate = c->nums[NUM_RATE],
                            .per_ms = c->nums[NUM_PER],
                            .burst = c->nums[NUM_BURST],
                            .cost = c->nums[NUM_COST],
                            .now_ms = f->clock_ms < CLOCK_MS_MAX ? (int64_t)f->clock_ms : CLOCK_MS_MAX};
    if (row != NULL && row->value_len > 0 && row->value[0] != c->nums[NUM_ALGO])
        family_refuse(f, REFUSAL_LIMIT_ALGO);
    else if (c->nums[NUM_ALGO] == LIMIT_GCRA)
        gcra(f, c->args[0], row, &l);
    else
        window(f, c->args[0], row, &l);
}
