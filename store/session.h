/* session.h - sessions: who is there, what is theirs, and which of their commands have been done already.
 *
 * A session lives from its opening until it is closed or has not been renewed for its time to live on the replicated
 * clock; everything that names it renews it. It does not end by the clock alone: the leader names it in the log, with
 * the version it saw, so a renewal that is in the log first wins. It remembers the answers to its serials that the
 * client has not acknowledged, within bounds. What it owns is freed in the entry that ends it.
 * The calls of the opcodes are in families.h; these are for the families whose things sessions own. */
#pragma once
#include "store/family.h"

#define SESSION_TTL_MS_MIN 100
#define SESSION_TTL_MS_MAX (24 * 3600 * 1000)
#define SESSION_NAME_BYTES_MAX 255
#define SESSIONS_MAX 200000
#define SESSION_ANSWERS_MAX 256              /* Remembered at a time; the oldest is forgotten first. */
#define SESSION_ANSWERS_BYTES_MAX (1u << 20) /* All of them together; a single one past it is never kept. */
#define SESSION_LOCKS_MAX 1024

/* Renew it. False, with the refusal answered, when there is no such session. */
bool session_touch(struct family *f, uint64_t id);
/* The lock is on the list of what the session owns, once, or no more. False: the list is full. */
bool session_own(struct family *f, uint64_t id, struct bytes lock);
void session_disown(struct family *f, uint64_t id, struct bytes lock);
/* The answer that came later, in place of what is remembered for the serial. Nothing when that is forgotten. */
void session_settle(struct family *f, uint64_t id, uint64_t serial, struct bytes outcome);
/* Append its name as an outcome, "" when there is no such session. */
void session_put_name(struct family *f, uint64_t id);
