/* histogram.h - how long things took, in bounded memory: counts in buckets that grow with the time, four to each
 * doubling, so that every time is known to a quarter. Recording allocates nothing and takes no lock; one thread records
 * and reads. */
#pragma once
#include <stdint.h>

#define HISTOGRAM_PARTS 4      /* Buckets to a doubling. */
#define HISTOGRAM_DOUBLINGS 36 /* Up to 2^36 us, 19 hours; longer counts as that. */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_DOUBLINGS - 1) * HISTOGRAM_PARTS)

struct histogram {
    uint64_t n, sum_us, max_us;
    uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *h, uint64_t us);
/* Add what `from` holds. */
void histogram_add(struct histogram *h, const struct histogram *from);
/* How many took at most 2^power us; power 2 to HISTOGRAM_DOUBLINGS. */
uint64_t histogram_at_most(const struct histogram *h, unsigned power);
/* The time that a share of them, 0 to 1, did not exceed: the upper end of its bucket, never above the longest. 0: none.
 */
uint64_t histogram_quantile_us(const struct histogram *h, double share);
