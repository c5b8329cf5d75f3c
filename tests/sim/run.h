/* run.h - one run of the simulator: a cluster under faults, then healed, then calm, then silent, then judged. */
#pragma once
#include "tests/sim/faults.h"

struct run_options {
    uint64_t fault_ms; /* How long faults may begin; then healing and judging take 15 s more. */
    bool lose_disks;
    const bool *skip; /* Faults to leave out; NULL: none. */
};
#define RUN_FAULT_MS 15000

/* Returns the digest of everything that happened; does not return when a promise was broken. */
uint64_t run_seed(uint64_t seed, const struct run_options *o);
