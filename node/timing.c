/* timing.c - a ring of runs of alike requests. The last place is only ever taken by a run that is not timed, which all
 * further requests join until the ring has emptied: so there is always a run to join, and none is counted as another.
 */
#include "node/timing.h"
#include "node/commands.h"
#include <assert.h>
#include <uv.h>

static unsigned place(const struct timing *t, unsigned i)
{
    return (t->first + i) % TIMING_RUNS_MAX;
}

static uint64_t clock_us(void)
{
    return uv_hrtime() / 1000;
}

void timing_begin(struct timing *t, const struct command_row *row)
{
    uint64_t now = clock_us();
    unsigned last = place(t, t->n_runs + TIMING_RUNS_MAX - 1);
    bool any = t->n_runs > 0;
    if (t->n_runs >= TIMING_RUNS_MAX - 1)
        row = NULL;
    if (any && t->runs[last].row == row && (row == NULL || now - t->runs[last].begun_us <= TIMING_SAME_US)) {
        t->runs[last].n++;
        return;
    }
    unsigned next = place(t, t->n_runs++);
    assert(t->n_runs <= TIMING_RUNS_MAX);
    t->runs[next].begun_us = now;
    t->runs[next].row = row;
    t->runs[next].n = 1;
}

void timing_undo(struct timing *t)
{
    assert(t->n_runs > 0);
    if (--t->runs[place(t, t->n_runs - 1)].n == 0)
        t->n_runs--;
}

void timing_end(struct timing *t)
{
    assert(t->n_runs > 0);
    const struct command_row *row = t->runs[t->first].row;
    if (row != NULL)
        histogram_record(&commands_counts(row)->times, clock_us() - t->runs[t->first].begun_us);
    if (--t->runs[t->first].n > 0)
        return;
    t->first = place(t, 1);
    t->n_runs--;
}
