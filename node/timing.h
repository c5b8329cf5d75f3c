/* timing.h - how long a connection's requests take, from being read to their answers, without a note for each: those of
 * one kind read at about the same time share one. A fixed few notes; past them requests go untimed, none is mistimed by
 * more than TIMING_SAME_US. Answers come in the order of the requests. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct command_row;

#define TIMING_RUNS_MAX 6
#define TIMING_SAME_US 50
struct timing {
    struct {
        uint64_t begun_us;
        const struct command_row *row; /* NULL: not timed. */
        size_t n;
    } runs[TIMING_RUNS_MAX];
    unsigned first, n_runs;
};

/* A request begins; row NULL: it is not to be timed. */
void timing_begin(struct timing *t, const struct command_row *row);
/* The newest was refused after all. */
void timing_undo(struct timing *t);
/* The oldest is answered: counts into its row's times. */
void timing_end(struct timing *t);
