/* lock.h - locks: who holds one, and who waits for it in what order.
 *
 * A request gets its token, a revision, when it arrives; requests are granted in that order, so the tokens of one
 * lock's holders only grow, and a token belongs to one request for ever. Plain locks are held by one, or by any number
 * that ask for a shared hold; with permits a lock is a semaphore. Nobody overtakes: while there is a queue, a newcomer
 * joins it. A hold ends when it is released, when its lease or its longest time is over, or with its session. The calls
 * of the opcodes are in families.h. */
#pragma once
#include "store/family.h"

#define LOCK_NAME_BYTES_MAX 512
#define LOCK_QUEUE_MAX 20000 /* Waiters for one lock. */
#define LOCK_PERMITS_MAX 1000000
#define LOCK_REASON_BYTES_MAX 256
#define LOCK_MS_MAX (100ll * 365 * 86400 * 1000)

enum lock_standing {
    LOCK_GONE,    /* Neither holds nor waits (any more). */
    LOCK_WAITING, /* In the queue. */
    LOCK_HELD,
};
/* Where the request with this token stands. ret_until_ms: until when on the replicated clock, ROW_NO_EXPIRY for ever;
 * untouched when it is gone. */
enum lock_standing lock_standing(struct rows *rows, struct bytes name, uint64_t token, int64_t *ret_until_ms);

/* A session has ended: free what it holds of this lock, and let its requests leave the queue. */
void lock_drop_session(struct family *f, struct bytes name, uint64_t session);
