/* histogram.c - bucket i holds the times above the end of bucket i - 1 and up to its own end. Ends are whole
 * microseconds, and every power of two from 4 on is one: counts up to a power of two are exact. */
#include "raft/histogram.h"
#include <assert.h>

/* Below 4 us each microsecond has its bucket; above, the two bits behind the highest one tell the part. */
static unsigned bucket_of(uint64_t us)
{
    uint64_t below = us > 0 ? us - 1 : 0; /* Ends belong to their bucket. */
    if (below < HISTOGRAM_PARTS)
        return (unsigned)below;
    unsigned power = 63 - (unsigned)__builtin_clzll(below);
    unsigned bucket = (power - 1) * HISTOGRAM_PARTS + (unsigned)(below >> (power - 2)) % HISTOGRAM_PARTS;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t end_of(unsigned bucket)
{
    if (bucket < HISTOGRAM_PARTS)
        return bucket + 1;
    unsigned power = bucket / HISTOGRAM_PARTS + 1;
    return (uint64_t)(HISTOGRAM_PARTS + bucket % HISTOGRAM_PARTS + 1) << (power - 2);
}

void histogram_record(struct histogram *h, uint64_t us)
{
    h->counts[bucket_of(us)]++;
    h->n++;
    h->sum_us += us;
    h->max_us = us > h->max_us ? us : h->max_us;
}

void histogram_add(struct histogram *h, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->counts[i] += from->counts[i];
    h->n += from->n;
    h->sum_us += from->sum_us;
    h->max_us = from->max_us > h->max_us ? from->max_us : h->max_us;
}

uint64_t histogram_at_most(const struct histogram *h, unsigned power)
{
    uint64_t n = 0;
    assert(power >= 2 && power <= HISTOGRAM_DOUBLINGS);
    for (unsigned i = 0; i < (power - 1) * HISTOGRAM_PARTS; i++)
        n += h->counts[i];
    return n;
}

uint64_t histogram_quantile_us(const struct histogram *h, double share)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        n += h->counts[i];
        if (n > 0 && (double)n >= share * (double)h->n)
            return end_of(i) < h->max_us ? end_of(i) : h->max_us;
    }
    return h->max_us;
}
