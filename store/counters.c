/* counters.c - numbers that change in place. The row's text is what clients see, and is read strictly each time; all
 * counters keep the row's time to live. */
#include "store/families.h"
#include "store/number.h"
#include <ctype.h>
#include <math.h>

static struct expiry counters_expiry(const struct row *row)
{
    return row == NULL ? EXPIRY_NEVER : family_expiry_of(row);
}

static struct bytes counters_text(const char *text, size_t len)
{
    return (struct bytes){.base = (const uint8_t *)text, .len = len};
}

void counters_incrby(struct family *f, const struct command *c)
{
    const struct row *row = family_live_for_write(f, c->args[0]);
    int64_t n = 0;
    if (row != NULL && !number_read_int(row->value, row->value_len, &n)) {
        family_refuse(f, REFUSAL_NOT_INTEGER);
        return;
    }
    if (__builtin_add_overflow(n, c->nums[0], &n)) {
        family_refuse(f, REFUSAL_OVERFLOW);
        return;
    }
    char text[NUMBER_INT_BYTES_MAX];
    struct bytes value = counters_text(text, number_write_int(text, n));
    family_put(f, c->args[0], row, VALUE_INT, value, counters_expiry(row));
    outcome_int(f->out, n);
}

void counters_incrbyfloat(struct family *f, const struct command *c)
{
    const struct row *row = family_live_for_write(f, c->args[0]);
    long double n = 0;
    long double delta;
    if ((row != NULL && !number_read_long_double(row->value, row->value_len, &n)) ||
        !number_read_long_double(c->args[1].base, c->args[1].len, &delta)) {
        family_refuse(f, REFUSAL_NOT_FLOAT);
        return;
    }
    n += delta;
    if (!isfinite(n)) {
        family_refuse(f, REFUSAL_NAN_OR_INFINITY);
        return;
    }
    char text[NUMBER_LONG_DOUBLE_BYTES_MAX];
    struct bytes value = counters_text(text, number_write_long_double(text, n));
    if (value.len > f->value_bytes_max) {
        family_refuse_too_long(f, f->value_bytes_max);
        return;
    }
    family_put(f, c->args[0], row, VALUE_FLOAT, value, counters_expiry(row));
    outcome_bulk(f->out, value.base, value.len);
}

/* A number as Lua has them: an integer or a float. */
struct counters_number {
    bool is_int;
    int64_t i;
    double d;
};

/* Text that holds digits, sign, point and exponent only: not the "inf" or "0x1p3" that strtod() knows. */
static bool counters_is_decimal(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!isdigit(text.base[i]) && text.base[i] != '.' && text.base[i] != '-' && text.base[i] != '+' &&
            (text.base[i] | 0x20) != 'e')
            return false;
    return true;
}

/* A row of type float stays one, though its text may look like an integer; text without a type is an integer where it
 * can. */
static bool counters_read(enum value_type type, struct bytes text, struct counters_number *ret)
{
    if (type == VALUE_BOOL || type == VALUE_JSON)
        return false;
    ret->is_int = type != VALUE_FLOAT && number_read_int(text.base, text.len, &ret->i);
    if (ret->is_int) {
        ret->d = (double)ret->i;
        return true;
    }
    if (type == VALUE_INT || (type != VALUE_FLOAT && !counters_is_decimal(text)))
        return false;
    return number_read_double(text.base, text.len, &ret->d);
}

/* Stores the sum and answers it with its type. */
static void counters_vincr_put(struct family *f, struct bytes key, const struct row *row,
                               const struct counters_number *n)
{
    char text[NUMBER_DOUBLE_BYTES_MAX];
    size_t len = n->is_int ? number_write_int(text, n->i) : number_write_double(text, n->d);
    enum value_type type = n->is_int ? VALUE_INT : VALUE_FLOAT;
    family_put(f, key, row, type, counters_text(text, len), counters_expiry(row));
    outcome_array(f->out, 2);
    outcome_bulk(f->out, text, len);
    outcome_simple(f->out, value_type_name(type));
}

void counters_vincr(struct family *f, const struct command *c)
{
    if (c->nums[0] != VALUE_INT && c->nums[0] != VALUE_FLOAT) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    const struct row *row = family_live_for_write(f, c->args[0]);
    struct counters_number n = {.is_int = true};
    struct counters_number delta = {0};
    if (row != NULL && !counters_read(row->type, family_value(row), &n)) {
        family_refuse(f, REFUSAL_NOT_FLOAT);
        return;
    }
    if (!counters_read((enum value_type)c->nums[0], c->args[1], &delta)) {
        family_refuse(f, c->nums[0] == VALUE_INT ? REFUSAL_NOT_INTEGER : REFUSAL_NOT_FLOAT);
        return;
    }
    n.is_int = n.is_int && delta.is_int;
    n.d += delta.d;
    if (n.is_int && __builtin_add_overflow(n.i, delta.i, &n.i))
        family_refuse(f, REFUSAL_OVERFLOW);
    else if (!n.is_int && !isfinite(n.d))
        family_refuse(f, REFUSAL_NAN_OR_INFINITY);
    else
        counters_vincr_put(f, c->args[0], row, &n);
}
