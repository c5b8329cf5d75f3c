/* linear.h - is there an order of these operations on one register that explains every answer, and in which each stands
 * somewhere between its asking and its answer? Search after Wing and Gong, with the memory of states that Lowe added.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINEAR_OPS_MAX 60

enum linear_kind {
    LINEAR_READ,  /* Answered what the register held: `got`. */
    LINEAR_WRITE, /* Put its own number there. */
    LINEAR_SWAP,  /* Put its own number there if it held `expected`; answered whether it did. */
    LINEAR_CLEAR, /* Put 0 there; answered what it had held: `got`, or LINEAR_ANY. */
};
#define LINEAR_ANY UINT32_MAX

struct linear_op {
    enum linear_kind kind;
    uint64_t asked, answered; /* In one order of all askings and answers; UINT64_MAX: never answered, so it may have
                               * been done at any time after, or not at all. */
    uint32_t number;          /* What it writes: not 0, its own. */
    uint32_t expected, got;
    bool done; /* LINEAR_SWAP: what it answered. */
};

enum linear { LINEAR_YES, LINEAR_NO, LINEAR_TOO_HARD };
/* The register holds 0 at first. n <= LINEAR_OPS_MAX. */
enum linear linear_check(const struct linear_op *ops, size_t n);
