/* typed.c - values that keep the type Lua gave them, with versions.
 * A row of type raw was written by a client that knows no types. Lua reads it as a number where its text is one in
 * canonical spelling, else as a string; CAS compares the same way, so that a script's compare-and-swap works on what a
 * plain SET stored. */
#include "store/families.h"
#include "store/number.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* nums of VSET and CAS. */
enum { VSET_TYPE = 0, VSET_LEFT = 1, VSET_WALL = 2, VSET_IFVER = 3 };
enum { CAS_TOLD = 0, CAS_TNEW = 1, CAS_LEFT = 2, CAS_WALL = 3 };

/* NX XX IFEQ IFVER. */
static bool typed_vset_wanted(const struct row *row, const struct command *c)
{
    int64_t version = row == NULL ? 0 : (int64_t)row->version; /* So IFVER 0 is NX. */
    if ((c->flags & CMD_NX) != 0 && row != NULL)
        return false;
    if ((c->flags & CMD_XX) != 0 && row == NULL)
        return false;
    if ((c->flags & CMD_IFVER) != 0 && version != c->nums[VSET_IFVER])
        return false;
    return (c->flags & CMD_IFEQ) == 0 || (row != NULL && family_bytes_equal(family_value(row), c->args[2]));
}

/* What the write will do to the row; its version is known before it is done, so that the old row can be answered first.
 */
enum typed_change { TYPED_NOTHING, TYPED_PUT, TYPED_DELETE };

static enum typed_change typed_vset_change(const struct row *row, const struct command *c)
{
    if ((c->flags & CMD_EXPIRE) == 0 || c->nums[VSET_LEFT] > 0)
        return TYPED_PUT;
    return row == NULL ? TYPED_NOTHING : TYPED_DELETE;
}

static void typed_vset_do(struct family *f, const struct row *row, const struct command *c, enum typed_change change)
{
    struct expiry expiry = EXPIRY_NEVER;
    if ((c->flags & CMD_EXPIRE) != 0)
        expiry = family_expiry(f, c->nums[VSET_LEFT], c->nums[VSET_WALL]);
    else if ((c->flags & CMD_KEEPTTL) != 0 && row != NULL)
        expiry = family_expiry_of(row);
    if (change == TYPED_PUT)
        family_put(f, c->args[0], row, (enum value_type)c->nums[VSET_TYPE], c->args[1], expiry);
    else if (change == TYPED_DELETE)
        family_delete(f, c->args[0], row);
}

static bool typed_is_stored(int64_t type)
{
    return type >= VALUE_RAW && type <= VALUE_STR;
}

void typed_vset(struct family *f, const struct command *c)
{
    if (!typed_is_stored(c->nums[VSET_TYPE]) || ((c->flags & CMD_IFEQ) != 0 && c->n_args < 3)) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    const struct row *row = family_live_for_write(f, c->args[0]);
    if ((c->flags & (CMD_GET | CMD_IFEQ)) != 0 && row != NULL && value_kind(row->type) != KIND_STRING) {
        family_refuse(f, REFUSAL_WRONGTYPE);
        return;
    }
    bool wanted = typed_vset_wanted(row, c);
    enum typed_change change = wanted ? typed_vset_change(row, c) : TYPED_NOTHING;
    if ((c->flags & CMD_GET) != 0)
        outcome_array(f->out, 2);
    if (wanted)
        outcome_int(f->out, (int64_t)(*f->revision + (change != TYPED_NOTHING)));
    else
        outcome_nil(f->out);
    if ((c->flags & CMD_GET) != 0)
        family_answer_typed(f, row);
    typed_vset_do(f, row, c, change);
}

/* A canonical float: what number_write_double() writes for the number that the text is. */
static bool typed_is_float(struct bytes text)
{
    char written[NUMBER_DOUBLE_BYTES_MAX];
    double d;
    if (text.len > sizeof written || !number_read_double(text.base, text.len, &d) || !isfinite(d))
        return false;
    struct bytes canonical = {.base = (const uint8_t *)written, .len = number_write_double(written, d)};
    return family_bytes_equal(canonical, text);
}

/* The type Lua sees. */
static enum value_type typed_read_as(int64_t type, struct bytes text)
{
    int64_t n;
    if (type != VALUE_RAW)
        return (enum value_type)type;
    if (number_read_int(text.base, text.len, &n))
        return VALUE_INT;
    return typed_is_float(text) ? VALUE_FLOAT : VALUE_STR;
}

static bool typed_same_float(struct bytes a, struct bytes b)
{
    double x, y;
    return number_read_double(a.base, a.len, &x) && number_read_double(b.base, b.len, &y) && x == y;
}

static bool typed_equal(int64_t type_a, struct bytes a, int64_t type_b, struct bytes b)
{
    enum value_type as_a = typed_read_as(type_a, a), as_b = typed_read_as(type_b, b);
    if (as_a != as_b)
        return false;
    return family_bytes_equal(a, b) || (as_a == VALUE_FLOAT && typed_same_float(a, b));
}

static void typed_cas_do(struct family *f, const struct row *row, const struct command *c)
{
    struct expiry expiry = row == NULL ? EXPIRY_NEVER : family_expiry_of(row);
    bool gone = c->nums[CAS_TNEW] == VALUE_NIL;
    if ((c->flags & CMD_EXPIRE) != 0) {
        expiry = family_expiry(f, c->nums[CAS_LEFT], c->nums[CAS_WALL]);
        gone = gone || c->nums[CAS_LEFT] <= 0;
    }
    if (!gone)
        family_put(f, c->args[0], row, (enum value_type)c->nums[CAS_TNEW], c->args[2], expiry);
    else if (row != NULL)
        family_delete(f, c->args[0], row);
}

void typed_cas(struct family *f, const struct command *c)
{
    int64_t told = c->nums[CAS_TOLD], tnew = c->nums[CAS_TNEW];
    if ((told != VALUE_NIL && !typed_is_stored(told)) || (tnew != VALUE_NIL && !typed_is_stored(tnew))) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    const struct row *row = family_live_for_write(f, c->args[0]);
    bool same = row == NULL ? told == VALUE_NIL
                            : told != VALUE_NIL && typed_equal(row->type, family_value(row), told, c->args[1]);
    if (same)
        typed_cas_do(f, row, c);
    outcome_int(f->out, same);
}

/* The length after appending, or SIZE_MAX when it is past the limit. */
static size_t typed_append_len(const struct family *f, size_t old_len, size_t separator_len, size_t tail_len)
{
    size_t max = f->value_bytes_max;
    if (tail_len > max || separator_len > max - tail_len || old_len > max - tail_len - separator_len)
        return SIZE_MAX;
    return old_len + separator_len + tail_len;
}

void typed_vappend(struct family *f, const struct command *c)
{
    struct bytes tail = c->args[1], separator = c->args[2];
    const struct row *row = family_live_for_write(f, c->args[0]);
    struct bytes old = row == NULL ? (struct bytes){0} : family_value(row);
    if (old.len == 0) /* Missing counts as "": nothing to separate from. */
        separator.len = 0;
    size_t len = typed_append_len(f, old.len, separator.len, tail.len);
    if (len == SIZE_MAX) {
        family_refuse_too_long(f, f->value_bytes_max);
        return;
    }
    uint8_t *scratch = family_scratch(f, len);
    if (scratch == NULL)
        return;
    if (old.len > 0)
        memcpy(scratch, old.base, old.len);
    memcpy(scratch + old.len, separator.base, separator.len);
    memcpy(scratch + old.len + separator.len, tail.base, tail.len);
    family_put(f, c->args[0], row, VALUE_STR, (struct bytes){.base = scratch, .len = len},
               row == NULL ? EXPIRY_NEVER : family_expiry_of(row));
    outcome_int(f->out, (int64_t)len);
    free(scratch);
}

void typed_vget(struct family *f, const struct command *c)
{
    family_answer_typed(f, family_live(f, c->args[0]));
}

void typed_vmget(struct family *f, const struct command *c)
{
    outcome_array(f->out, c->n_args);
    for (uint32_t i = 0; i < c->n_args; i++) {
        const struct row *row = family_live(f, c->args[i]);
        family_answer_typed(f, row == NULL || value_kind(row->type) != KIND_STRING ? NULL : row);
    }
}
