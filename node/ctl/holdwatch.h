/* holdwatch.h - asks the cluster now and then whether a hold of a lock still stands: one that was broken by hand does
 * not, though its session lives. A thread with a client of its own; a cluster that cannot be asked says nothing. */
#pragma once
#include "node/client/client.h"

struct holdwatch;

/* Borrows the client and the name until holdwatch_stop(). NULL: out of memory or of threads. */
struct holdwatch *holdwatch_start(struct client *client, const char *name, int64_t token, unsigned every_ms);
/* Was the hold found gone? */
bool holdwatch_gone(struct holdwatch *w);
/* Waits for a question under way: the client's deadline at most. NULL is fine. */
void holdwatch_stop(struct holdwatch *w);
