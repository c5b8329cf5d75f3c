/* journal.h - rows as they were before a script changed them, so that one that is stopped changes nothing.
 * While rows_set_journal() has given it to the rows, every change notes the row as it stood, unless that was changed
 * since the journal began already: its version tells. Undoing goes backwards, so the oldest note of a row has the last
 * word. */
#pragma once
#include "store/due.h"
#include "store/rows.h"

struct journal {
    uint8_t *base;
    size_t len, cap;
    uint64_t since; /* The revision when it began. */
    bool failed;    /* Memory ran out: what changed is not all known. */
};

void journal_begin(struct journal *j, uint64_t revision);
/* old: NULL when there is no such row. For rows.c. */
void journal_note(struct journal *j, enum space space, const void *key, size_t len, const struct row *old);
/* Put everything back; what is due is told again. The journal must not be the rows' any more. 0 or STORE_ENOMEM. */
int journal_undo(const struct journal *j, struct rows *r, struct due *d);
void journal_release(struct journal *j);
