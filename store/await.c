/* await.c - WAITFOR's look: is the key as somebody wants it? If not, the answer is a LATER that holds the question, to
 * be asked again by the node that waits, of its own state, whenever the key has changed after the revision told. */
#include "store/families.h"

enum { NUM_MODE, NUM_VERSION, NUM_TIMEOUT };

static bool await_holds(const struct row *row, const struct command *c)
{
    switch ((enum await_mode)c->nums[NUM_MODE]) {
    case AWAIT_VERSION:
        return row != NULL && row->version > (uint64_t)c->nums[NUM_VERSION];
    case AWAIT_EQ:
        return row != NULL && value_kind(row->type) == KIND_STRING && c->n_args == 2 &&
               family_bytes_equal(family_value(row), c->args[1]);
    case AWAIT_ABSENT:
        return row == NULL;
    case AWAIT_EXISTS:
        return row != NULL;
    }
    return false;
}

static void await_answer(struct family *f, const struct row *row)
{
    outcome_array(f->out, 2);
    if (row != NULL && value_kind(row->type) == KIND_STRING)
        family_answer_value(f, row);
    else
        outcome_nil(f->out);
    outcome_int(f->out, row == NULL ? 0 : (int64_t)row->version);
}

/* Inside a transaction or another command nothing waits. */
void await_look(struct family *f, const struct command *c)
{
    const struct row *row = family_live(f, c->args[0]);
    if (await_holds(row, c)) {
        await_answer(f, row);
        return;
    }
    if (f->at_once || f->depth > 0 || c->nums[NUM_TIMEOUT] <= 0) {
        outcome_nil(f->out);
        return;
    }
    struct command_buf again = {0};
    if (command_add(&again, c->op, c->flags, c->nums, c->n_nums, c->args, c->n_args) < 0)
        f->out->failed = true;
    else
        outcome_later(f->out, *f->revision, (uint64_t)c->nums[NUM_TIMEOUT], again.base, again.len);
    command_buf_release(&again);
}
