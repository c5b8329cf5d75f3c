/* limit.h - rate limits: how much of something may be done in how much time, decided in one step on the replicated
 * clock. A limit is a key of a kind of its own, which ends by itself when nothing of it is used any more; DEL makes it
 * new. The call of its opcode is in families.h. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum limit_algo { LIMIT_GCRA = 0, LIMIT_WINDOW = 1 }; /* In the log: append only. */

#define LIMIT_RATE_MAX 1000000
#define LIMIT_PER_MS_MAX (366ll * 86400 * 1000)
#define LIMIT_BURST_MS_MAX (10ll * 366 * 86400 * 1000) /* What a whole burst may take to be paid off. */
/* A window is counted in so many pieces: it never lets more than its rate through, and may hold back what is up to one
 * piece too old. */
#define LIMIT_WINDOW_PIECES 32

/* Would a burst of so many take longer than that? */
bool limit_burst_too_long(int64_t rate, int64_t per_ms, int64_t burst);
