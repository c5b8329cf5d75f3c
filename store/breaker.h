/* breaker.h - circuit breakers that all workers share: after so many failures in a time nobody calls any more, and
 * after a pause a few try. Decided on the replicated clock. A breaker is a key of a kind of its own, which ends by
 * itself; DEL closes it, as RESET does. The call of its opcode is in families.h. */
#pragma once

/* In the log: append only. */
enum breaker_verb { BREAKER_ALLOW, BREAKER_SUCCESS, BREAKER_FAILURE, BREAKER_STATE, BREAKER_RESET, BREAKER_VERB_N };

#define BREAKER_FAILURES_MAX 1000
#define BREAKER_PROBES_MAX 100
#define BREAKER_MS_MAX (366ll * 86400 * 1000) /* WINDOW and COOLDOWN */
