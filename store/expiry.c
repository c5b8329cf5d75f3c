/* expiry.c - commands about when rows end. Only the replicated clock decides; see family.c for how a due row is no row.
 */
#include "store/families.h"

/* NX XX GT LT: a row without an expiry lasts longer than any other. */
static bool expiry_wanted(const struct row *row, uint16_t flags, struct expiry expiry)
{
    bool has = row->expire_ms != ROW_NO_EXPIRY;
    if ((flags & CMD_NX) != 0 && has)
        return false;
    if ((flags & CMD_XX) != 0 && !has)
        return false;
    if ((flags & CMD_GT) != 0 && expiry.ms <= row->expire_ms)
        return false;
    return (flags & CMD_LT) == 0 || expiry.ms < row->expire_ms;
}

void expiry_expire(struct family *f, const struct command *c)
{
    struct bytes key = c->args[0];
    int64_t left_ms = c->nums[0];
    const struct row *row = family_live_for_write(f, key);
    struct expiry expiry = family_expiry(f, left_ms, c->nums[1]);
    if (row == NULL || !expiry_wanted(row, c->flags, expiry)) {
        outcome_int(f->out, 0);
        return;
    }
    if (left_ms <= 0)
        family_delete(f, key, row);
    else
        family_set_expiry(f, key, row, expiry);
    outcome_int(f->out, 1);
}

void expiry_persist(struct family *f, const struct command *c)
{
    const struct row *row = family_live_for_write(f, c->args[0]);
    bool has = row != NULL && row->expire_ms != ROW_NO_EXPIRY;
    if (has)
        family_set_expiry(f, c->args[0], row, EXPIRY_NEVER);
    outcome_int(f->out, has);
}

/* The leader named what it saw due; by now a row may have been put off, replaced or removed. */
void expiry_expired(struct family *f, const struct command *c)
{
    int64_t dropped = 0;
    for (uint32_t i = 0; i < c->n_args; i++)
        dropped += family_drop_due(f, c->args[i]);
    outcome_int(f->out, dropped);
}

/* The batch's stamp has moved the clock already. */
void expiry_tick(struct family *f, const struct command *c)
{
    (void)c;
    outcome_ok(f->out);
}
