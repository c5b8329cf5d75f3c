/* linear.c - depth first: any operation that was asked before the first answer that is still outstanding may come next.
 * A state is the set of operations that have been placed, and what the register holds; one that led nowhere is not
 * tried again. An answered operation that may come now and changes nothing comes now: putting it off opens no way that
 * is not open with it placed. Operations without an answer are tried last, need not be placed, and only are where they
 * change something. */
#include "tests/sim/linear.h"
#include <stdlib.h>
#include <string.h>

#define LINEAR_STATES_MAX (1u << 17)

struct state {
    uint64_t placed; /* A bit for each operation; never 0 in the table. */
    uint32_t held;
};

struct search {
    const struct linear_op *ops;
    size_t n;
    uint64_t answered; /* The operations that must be placed. */
    struct state *seen;
    size_t n_seen, cap;
    bool too_hard;
};

static size_t slot_of(const struct search *s, struct state st)
{
    uint64_t h = (st.placed ^ (uint64_t)st.held << 32) * 0x9e3779b97f4a7c15u;
    return (size_t)(h >> 20) & (s->cap - 1);
}

static struct state *find(const struct search *s, struct state st)
{
    size_t i = slot_of(s, st);
    while (s->seen[i].placed != 0 && (s->seen[i].placed != st.placed || s->seen[i].held != st.held))
        i = (i + 1) & (s->cap - 1);
    return &s->seen[i];
}

static void grow(struct search *s)
{
    struct state *old = s->seen;
    size_t old_cap = s->cap;
    s->cap = old_cap == 0 ? 1024 : old_cap * 2;
    s->seen = calloc(s->cap, sizeof *s->seen);
    if (s->seen == NULL)
        abort();
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].placed != 0)
            *find(s, old[i]) = old[i];
    free(old);
}

/* True: it is new, and remembered from now on. */
static bool remember(struct search *s, struct state st)
{
    if (2 * s->n_seen >= s->cap)
        grow(s);
    struct state *at = find(s, st);
    if (at->placed != 0)
        return false;
    *at = st;
    s->n_seen++;
    s->too_hard = s->too_hard || s->n_seen > LINEAR_STATES_MAX;
    return true;
}

/* May it come now? *held becomes what the register holds afterwards. */
static bool explains(const struct linear_op *op, uint32_t *held)
{
    bool answered = op->answered != UINT64_MAX;
    switch (op->kind) {
    case LINEAR_READ:
        return !answered || op->got == *held;
    case LINEAR_WRITE:
        *held = op->number;
        return true;
    case LINEAR_SWAP:
        if (answered && op->done != (op->expected == *held))
            return false;
        if (op->expected == *held)
            *held = op->number;
        return true;
    default:
        if (answered && op->got != LINEAR_ANY && op->got != *held)
            return false;
        *held = 0;
        return true;
    }
}

static uint64_t first_answer(const struct search *s, uint64_t placed)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < s->n; i++)
        if ((placed & 1ull << i) == 0 && s->ops[i].answered < first)
            first = s->ops[i].answered;
    return first;
}

/* Place every answered operation that may come now and changes nothing. */
static void place_idle(const struct search *s, struct state *at)
{
    for (bool again = true; again;) {
        uint64_t before = first_answer(s, at->placed);
        again = false;
        for (size_t i = 0; i < s->n; i++) {
            const struct linear_op *op = &s->ops[i];
            uint32_t held = at->held;
            if ((at->placed & 1ull << i) != 0 || op->answered == UINT64_MAX || op->asked > before)
                continue;
            if (!explains(op, &held) || held != at->held)
                continue;
            at->placed |= 1ull << i;
            again = true;
        }
    }
}

static bool search(struct search *s, struct state at)
{
    place_idle(s, &at);
    if ((at.placed & s->answered) == s->answered)
        return true;
    uint64_t before = first_answer(s, at.placed);
    for (int unanswered = 0; unanswered < 2; unanswered++) {
        for (size_t i = 0; i < s->n && !s->too_hard; i++) {
            struct state next = {at.placed | 1ull << i, at.held};
            const struct linear_op *op = &s->ops[i];
            if (next.placed == at.placed || (op->answered == UINT64_MAX) != (unanswered != 0) || op->asked > before)
                continue;
            if (explains(op, &next.held) && next.held != at.held && remember(s, next) && search(s, next))
                return true;
        }
    }
    return false;
}

enum linear linear_check(const struct linear_op *ops, size_t n)
{
    struct search s = {.ops = ops, .n = n};
    for (size_t i = 0; i < n; i++)
        if (ops[i].answered != UINT64_MAX)
            s.answered |= 1ull << i;
    bool found = search(&s, (struct state){0, 0});
    free(s.seen);
    return found ? LINEAR_YES : s.too_hard ? LINEAR_TOO_HARD : LINEAR_NO;
}
