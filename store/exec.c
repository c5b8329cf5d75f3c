/* exec.c - several commands as one: transactions, and the versions by which a client's WATCH is held.
 * A watch holds while the live version of its key is the one that was seen; every change of a row takes a new revision,
 * so a key that was changed and changed back has another version. (One that was absent and is absent again holds.)
 * The nested commands run one after another with nothing between them; a refusal keeps its place and the rest runs.
 * Nothing of a transaction that is not well-formed is run. */
#include "store/families.h"
#include "store/little.h"
#include "store/number.h"

#define EXEC_OUTCOME_BYTES_MAX ((size_t)32 << 20) /* Of one transaction; half of what a frame between nodes holds. */

static uint64_t exec_version(struct family *f, struct bytes key)
{
    const struct row *row = family_live(f, key);
    return row == NULL ? 0 : row->version;
}

static bool exec_decode(struct family *f, struct bytes encoded, struct command *ret)
{
    size_t used;
    int rc = command_decode(encoded.base, encoded.len, ret, &used);
    if (rc == COMMAND_ENOMEM)
        f->out->failed = true;
    return rc == 0 && used == encoded.len;
}

/* Transactions do not nest, and one that came as a read holds reads only. Sessions stand outside of them. */
static bool exec_may_hold(uint8_t outer, uint8_t op)
{
    if (op == OP_EXEC || op == OP_EXEC_READ || !family_may_nest(op))
        return false;
    return outer == OP_EXEC || !command_is_write(op);
}

static bool exec_sound(struct family *f, const struct command *c, uint32_t n, struct command *nested)
{
    if ((c->n_args - n) % 2 != 0)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!exec_decode(f, c->args[i], nested) || !exec_may_hold(c->op, nested->op))
            return false;
    for (uint32_t i = n + 1; i < c->n_args; i += 2)
        if (c->args[i].len != EXEC_VERSION_BYTES)
            return false;
    return true;
}

static bool exec_watches_hold(struct family *f, const struct command *c, uint32_t n)
{
    for (uint32_t i = n; i < c->n_args; i += 2)
        if (exec_version(f, c->args[i]) != little_u64(c->args[i + 1].base))
            return false;
    return true;
}

/* An answer past the bound is cut out again: its command is done, and says so. */
static void exec_bound(struct family *f, size_t start, size_t at)
{
    char detail[NUMBER_INT_BYTES_MAX];
    if (f->out->failed || f->out->len - start <= EXEC_OUTCOME_BYTES_MAX)
        return;
    f->out->len = at;
    outcome_refusal(f->out, REFUSAL_ANSWER_TOO_LARGE, detail,
                    number_write_int(detail, (int64_t)EXEC_OUTCOME_BYTES_MAX));
}

static void exec_commands(struct family *f, const struct command *c, uint32_t n, struct command *nested)
{
    size_t start = f->out->len;
    f->at_once = true;
    outcome_array(f->out, n);
    for (uint32_t i = 0; i < n && !f->out->failed; i++) {
        size_t at = f->out->len;
        if (!exec_decode(f, c->args[i], nested))
            break; /* Out of memory: it was sound a moment ago. */
        family_run(f, nested);
        exec_bound(f, start, at);
    }
    f->at_once = false;
}

void exec_run(struct family *f, const struct command *c)
{
    struct command nested = {0};
    uint32_t n = (uint32_t)c->nums[0];
    bool counted = c->nums[0] >= 0 && c->nums[0] <= EXEC_COMMANDS_MAX && n <= c->n_args;
    if (!counted || !exec_sound(f, c, n, &nested))
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
    else if (!exec_watches_hold(f, c, n))
        outcome_nil_array(f->out);
    else
        exec_commands(f, c, n, &nested);
    command_release(&nested);
}

void exec_versions(struct family *f, const struct command *c)
{
    outcome_array(f->out, c->n_args);
    for (uint32_t i = 0; i < c->n_args; i++)
        outcome_int(f->out, (int64_t)exec_version(f, c->args[i]));
}
