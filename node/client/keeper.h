/* keeper.h - keeps a session alive from a thread with a connection of its own, while its owner works or sleeps.
 * All calls are the owner's, from one thread; the keeper's thread never calls back. */
#pragma once
#include "node/client/seat.h"

struct keeper;

/* Keep `session` alive, which was renewed by something sent at renewed_ms. Nodes and credentials are copied from
 * `like`. Errors: CLIENT_ENOMEM. */
int keeper_start(const struct seat *like, uint64_t session, unsigned ttl_ms, int64_t renewed_ms, struct keeper **ret);
/* Ends the thread; waits for a renewal under way, a second at most. NULL is fine. */
void keeper_stop(struct keeper *k);
/* In a child of fork(), where there is no such thread: lets go of what was inherited, without a word on the wire. What
 * the thread may have been changing just then is not touched, and so not freed. */
void keeper_abandon(struct keeper *k);
/* Something that names the session, sent at sent_ms, was answered well. */
void keeper_renewed(struct keeper *k, int64_t sent_ms);
/* Is the session alive for sure? Judged by this machine's clock from the moment the last renewal was sent, so it may
 * say no too early, and never yes too late. */
bool keeper_alive(struct keeper *k);
/* For how long it is alive for sure, if nothing renews it; 0 when keeper_alive() would say no. */
int64_t keeper_left_ms(struct keeper *k);
