/* family.h - what each command does to rows: the seam between store.c, which knows entries, and the
 * families of commands (keys.c, strings.c, counters.c, typed.c, expiry.c), which know their rules.
 * A family's function reads and changes rows, and appends exactly one outcome. */
#pragma once
#include "store/outcome.h"
#include "store/rows.h"

struct due; /* expiry.h: what is due when */

/* What a command may see and use while it runs. */
struct family {
    struct rows *rows;
    struct due *due;
    uint64_t *revision;      /* ++ for each change of a row; the new number is the row's version */
    uint64_t clock_ms;       /* the replicated clock; for reads, the last stamp applied */
    uint64_t now_ms;         /* reads: a guess of the clock now, for time left only; in apply == clock_ms */
    uint64_t *expired_total;
    size_t value_bytes_max;
    struct outcome_buf *out;
};

/* Run one decoded command. Unknown opcodes answer REFUSAL_UNKNOWN_COMMAND; wrong numbers of args or nums (only a broken
 * encoder makes them) answer it too, and change nothing. */
void family_run(struct family *f, const struct command *c);

/* Helpers for the families (family.c): the live row (not due), or NULL; a due row met by a write is removed first. */
const struct row *family_live(struct family *f, struct bytes key);
const struct row *family_live_for_write(struct family *f, struct bytes key);
