/* logmodel.h - a log on a fake disk beside a model of what it must hold: terms by index, and how much was
 * promised to be durable. The payload of an entry follows from its index and term. Any difference fails the cmocka
 * test. */
#pragma once
#include "raft/log.h"
#include "tests/support/fakedisk.h"

#define LOGMODEL_INDEX_MAX 8192

/* What one life of a log may hold. */
struct logmodel_state {
    uint64_t base, last, promised; /* promised: reported durable and not truncated since. */
    uint64_t terms[LOGMODEL_INDEX_MAX];
};

struct logmodel {
    struct fakedisk *d;
    struct log *l; /* NULL when closed. */
    struct log_options options;
    uint64_t random_state;
    struct logmodel_state state, before_reset;
    bool resetting; /* Until it is durable, state or before_reset is what a crash leaves. */
    uint64_t cut;   /* Highest index given to log_cut. */
    uint64_t applied;
    uint64_t start; /* Of the last successful open. */
    uint64_t term, vote;
    uint64_t term_tried, vote_tried; /* By a store that failed. */
    unsigned failures;               /* Calls of on_failed. */
    unsigned reports;                /* Calls of on_durable. */
    char error[256];                 /* Of the last open or failure. */
};

/* HOLDFAST_SEED, or one from the clock; printed. */
uint64_t logmodel_seed(void);

/* Segments of segment_bytes, `spares` of them kept ready, memory_bytes of entries in memory. */
void logmodel_init(struct logmodel *m, uint64_t seed, uint64_t segment_bytes, unsigned spares, size_t memory_bytes);
void logmodel_release(struct logmodel *m);
uint64_t logmodel_roll(struct logmodel *m, uint64_t below);

int logmodel_open(
    struct logmodel *m); /* On success everything is compared with the model, which then follows the log. */
void logmodel_close(struct logmodel *m); /* With everything written. */
/* Lose power (or only the process) and close; the disk has settled when this returns. */
void logmodel_crash(struct logmodel *m);
void logmodel_kill(struct logmodel *m);

/* n entries at the end, of the model's highest term. */
void logmodel_append(struct logmodel *m, size_t n);
/* Replace from index on by n entries of a new term. */
void logmodel_replace(struct logmodel *m, uint64_t index, size_t n);
void logmodel_cut(struct logmodel *m, uint64_t index);
void logmodel_reset(struct logmodel *m, uint64_t index);
int logmodel_vote(struct logmodel *m, uint64_t term, uint64_t vote);
void logmodel_apply(struct logmodel *m, uint64_t index);
/* One random thing: one of the above, or a job, or some time. */
void logmodel_act(struct logmodel *m);

/* Compare everything the log says with the model. */
void logmodel_check(struct logmodel *m);
/* The payload of the entry; its length in *ret_len. Valid until the next call. */
const uint8_t *logmodel_payload(const struct logmodel *m, uint64_t index, uint64_t term, size_t *ret_len);
