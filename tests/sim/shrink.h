/* shrink.h - a failing run made small: the fewest faults, and the shortest time, with which it still fails. */
#pragma once
#include "tests/sim/run.h"

/* Print the faults of a seed. */
int print_seed(uint64_t seed, const struct run_options *o);
/* Returns 0 when the seed fails, and then prints the smallest failing run that was found and how to see it; 1
 * otherwise. more: options that the replay needs besides. */
int shrink_seed(uint64_t seed, const struct run_options *o, const char *more);
