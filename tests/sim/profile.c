/* profile.c - see profile.h */
#include "tests/sim/profile.h"
#include "tests/sim/world.h"

struct profile profile;

static uint64_t one_of(const uint64_t *list, size_t n)
{
    return list[below(CHANCE_PROFILE, n)];
}
#define ONE_OF(...) one_of((const uint64_t[]){__VA_ARGS__}, sizeof(uint64_t[]){__VA_ARGS__} / sizeof(uint64_t))

/* Some run so slowly that a leader still believes in itself when others have long elected another: nothing but the
 * times to live may depend on clocks. */
static void draw_clocks(void)
{
    uint64_t kind = ONE_OF(0, 1, 1, 2);
    profile.clock_slowest = kind == 0 ? 1000 : kind == 1 ? 900 : 350;
    profile.clock_fastest = kind == 1 ? 1100 : 1000;
}

void profile_begin(void)
{
    profile = (struct profile){
        .n_nodes = percent(CHANCE_PROFILE, 80) ? 3 : 5,
        .delay_us = ONE_OF(30, 30, 100, 2000),
        .jitter_us = ONE_OF(50, 400, 400, 3000),
        .late_percent = (unsigned)ONE_OF(0, 2, 2, 10),
        .late_us = ONE_OF(5000, 30000, 200000),
        .stragglers = percent(CHANCE_PROFILE, 40),
        .disk_us = ONE_OF(100, 2000, 2000, 10000),
        .disk_slow_percent = (unsigned)ONE_OF(0, 2, 2, 10),
        .segment_bytes = ONE_OF(1 << 13, 1 << 14, 1 << 16),
        .log_memory_bytes = ONE_OF(1 << 10, 1 << 14, 1 << 18),
        .keep_entries = ONE_OF(2, 30, 30, 300),
        .keep_bytes = 1 << 16,
        .cache_bytes = ONE_OF(1 << 12, 1 << 14, 1 << 20),
        .checkpoint_bytes = ONE_OF(1 << 14, 1 << 16, 1 << 20),
        .flush_percent = (unsigned)ONE_OF(1, 5, 20),
        .think_us = ONE_OF(3000, 20000, 20000, 100000),
        .value_bytes = ONE_OF(8, 8, 100, 1000),
        .minority_stays_down = percent(CHANCE_PROFILE, 40),
    };
    draw_clocks();
}
