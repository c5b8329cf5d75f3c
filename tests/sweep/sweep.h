/* sweep.h - a scenario is run again and again, and each time the next call that can fail does: first that one alone,
 * then it and all after it. The scenario arms what is to fail with sweep_arm() where it likes and, once done with
 * sweep_disarm(), checks that nothing wrong was said or kept.
 * HOLDFAST_SWEEP=N/STEP begins at call N and tries each STEP-th call. */
#pragma once
#include "tests/support/failing.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct {
    enum failing_kind kind;
    uint64_t nth;
    bool on, hit;
} sweep_plan;

static inline void sweep_arm(void)
{
    failing_arm(sweep_plan.kind, sweep_plan.nth, sweep_plan.on);
}

static inline bool sweep_disarm(void)
{
    sweep_plan.hit = failing_disarm();
    return sweep_plan.hit;
}

/* step: only each step-th call, for those that make many. */
static inline void sweep(enum failing_kind kind, uint64_t step, void (*scenario)(void))
{
    static const char *const names[] = {"memory", "files", "full", "short read"};
    uint64_t first = 0;
    const char *given = getenv("HOLDFAST_SWEEP");
    if (given != NULL)
        sscanf(given, "%" SCNu64 "/%" SCNu64, &first, &step);
    for (int on = 0; on <= 1; on++) {
        uint64_t n = 0;
        sweep_plan.kind = kind;
        sweep_plan.on = on == 1;
        for (sweep_plan.nth = first; sweep_plan.hit || sweep_plan.nth == first; sweep_plan.nth += step, n++) {
            /* The last line is the one that failed. */
            if (getenv("HOLDFAST_VERBOSE") != NULL)
                fprintf(stderr, "%s: call %" PRIu64 "%s\n", names[kind], sweep_plan.nth, on ? " and all after it" : "");
            scenario();
        }
        print_message("%s: %" PRIu64 " runs, %s\n", names[kind], n, on ? "it and all after it" : "one call fails");
    }
}
