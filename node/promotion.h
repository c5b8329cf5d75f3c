/* promotion.h - a node that has joined asks for its vote as soon as it has caught up, until it has it. Loop thread. */
#pragma once
#include "node/changes.h"

struct promotion {
    bool wanted, done; /* done: it was wanted, and came to pass in this process. */
    uint64_t replaces; /* Whose place it takes; 0: nobody's. */
    uint64_t ticket, retry_ms;
    char said[CHANGES_TEXT_MAX]; /* The last reason logged. */
    void (*log)(void *ctx, int level, const char *text);
    void *ctx;
};

/* Now and then. */
void promotion_tick(struct promotion *p, struct changes *x);
