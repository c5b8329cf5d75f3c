/* terms.h - the term of every entry the log holds, as runs: terms only grow with the index, and change rarely. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct terms_run {
    uint64_t first, term; /* Entries from first to the next run's first - 1 have this term. */
};

struct terms {
    struct terms_run *runs; /* runs[0].first is the base: the index before the first entry held. */
    size_t n, capacity;
    uint64_t last;
};

/* Only the base is known. 0 or LOG_ENOMEM. */
int terms_init(struct terms *t, uint64_t base, uint64_t base_term);
void terms_release(struct terms *t);
/* Make room for n more entries, so that terms_push cannot fail. */
int terms_reserve(struct terms *t, size_t n);
void terms_push(struct terms *t, uint64_t term);
/* Forget the entries from index on (index > base). */
void terms_truncate(struct terms *t, uint64_t index);
/* Forget the entries up to base, whose own term stays known. */
void terms_cut(struct terms *t, uint64_t base);
/* Forget everything: only the base is known. */
void terms_reset(struct terms *t, uint64_t base, uint64_t base_term);
uint64_t terms_at(const struct terms *t, uint64_t index); /* 0 when not known. */
