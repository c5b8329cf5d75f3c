/* diskwatch.h - a thread that notices when the disk has stopped answering, whoever waits for it: the lanes of the log,
 * or the loop thread itself, which stores its vote before it gives it. */
#pragma once
#include "raft/io_uv.h"

struct diskwatch;

/* Call silent() once, on the thread, when writes or syncs of io have been under way for timeout_ms without any of them
 * ending. It is not meant to return to what it was. -1: no memory, or no thread. */
int diskwatch_start(const struct io *io, uint64_t timeout_ms, void (*silent)(void *ctx, const char *why), void *ctx,
                    struct diskwatch **ret);
/* Wait for the thread to end. NULL is fine. io must still be there. */
void diskwatch_stop(struct diskwatch *w);
