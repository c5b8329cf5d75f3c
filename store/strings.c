/* strings.c - values as bytes. What a type says is typed.c's business: SET, APPEND and SETRANGE leave raw bytes. */
#include "store/families.h"
#include <stdlib.h>
#include <string.h>

#define STRINGS_LCS_BYTES_MAX ((size_t)64 << 20) /* For LCS's table, 4 bytes a cell. */

/* NX XX IFEQ of SET. */
static bool strings_set_wanted(const struct row *row, const struct command *c)
{
    if ((c->flags & CMD_NX) != 0 && row != NULL)
        return false;
    if ((c->flags & CMD_XX) != 0 && row == NULL)
        return false;
    return (c->flags & CMD_IFEQ) == 0 || (row != NULL && family_bytes_equal(family_value(row), c->args[2]));
}

static struct expiry strings_set_expiry(const struct family *f, const struct row *row, const struct command *c)
{
    if ((c->flags & CMD_EXPIRE) != 0)
        return family_expiry(f, c->nums[0], c->nums[1]);
    return (c->flags & CMD_KEEPTTL) != 0 && row != NULL ? family_expiry_of(row) : EXPIRY_NEVER;
}

void strings_set(struct family *f, const struct command *c)
{
    if ((c->flags & CMD_IFEQ) != 0 && c->n_args < 3) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    struct bytes key = c->args[0];
    const struct row *row = family_live_for_write(f, key);
    if ((c->flags & (CMD_GET | CMD_IFEQ)) != 0 && row != NULL && value_kind(row->type) != KIND_STRING) {
        family_refuse(f, REFUSAL_WRONGTYPE);
        return;
    }
    bool wanted = strings_set_wanted(row, c);
    if ((c->flags & CMD_GET) != 0)
        family_answer_value(f, row);
    else if (wanted)
        outcome_ok(f->out);
    else
        outcome_nil(f->out);
    if (!wanted)
        return;
    bool at_once_gone = (c->flags & CMD_EXPIRE) != 0 && c->nums[0] <= 0;
    if (!at_once_gone)
        family_put(f, key, row, VALUE_RAW, c->args[1], strings_set_expiry(f, row, c));
    else if (row != NULL)
        family_delete(f, key, row);
}

static bool strings_any_exists(struct family *f, const struct command *c)
{
    for (uint32_t i = 0; i < c->n_args; i += 2)
        if (family_live(f, c->args[i]) != NULL)
            return true;
    return false;
}

void strings_mset(struct family *f, const struct command *c)
{
    bool only_new = (c->flags & CMD_NX) != 0;
    if (c->n_args % 2 != 0) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    if (only_new && strings_any_exists(f, c)) {
        outcome_int(f->out, 0);
        return;
    }
    for (uint32_t i = 0; i < c->n_args; i += 2) {
        const struct row *row = family_live_for_write(f, c->args[i]);
        family_put(f, c->args[i], row, VALUE_RAW, c->args[i + 1], EXPIRY_NEVER);
    }
    if (only_new)
        outcome_int(f->out, 1);
    else
        outcome_ok(f->out);
}

void strings_append(struct family *f, const struct command *c)
{
    struct bytes key = c->args[0], tail = c->args[1];
    const struct row *row = family_live_for_write(f, key);
    struct bytes old = row == NULL ? (struct bytes){0} : family_value(row);
    if (tail.len > f->value_bytes_max || old.len > f->value_bytes_max - tail.len) {
        family_refuse_too_long(f, f->value_bytes_max);
        return;
    }
    struct bytes grown = tail;
    uint8_t *scratch = NULL;
    if (old.len > 0) {
        grown.len = old.len + tail.len;
        grown.base = scratch = family_scratch(f, grown.len);
        if (scratch == NULL)
            return;
        memcpy(scratch, old.base, old.len);
        memcpy(scratch + old.len, tail.base, tail.len);
    }
    family_put(f, key, row, VALUE_RAW, grown, row == NULL ? EXPIRY_NEVER : family_expiry_of(row));
    outcome_int(f->out, (int64_t)grown.len);
    free(scratch);
}

/* The old value with the piece over it, zeros where neither reaches. */
static void strings_overlay(uint8_t *out, size_t len, struct bytes old, struct bytes piece, size_t offset)
{
    if (old.len > 0)
        memcpy(out, old.base, old.len);
    memset(out + old.len, 0, len - old.len);
    memcpy(out + offset, piece.base, piece.len);
}

void strings_setrange(struct family *f, const struct command *c)
{
    struct bytes key = c->args[0], piece = c->args[1];
    if (c->nums[0] < 0) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    const struct row *row = family_live_for_write(f, key);
    struct bytes old = row == NULL ? (struct bytes){0} : family_value(row);
    if (piece.len == 0) { /* Changes nothing, wherever it is put. */
        outcome_int(f->out, (int64_t)old.len);
        return;
    }
    uint64_t offset = (uint64_t)c->nums[0];
    if (piece.len > f->value_bytes_max || offset > f->value_bytes_max - piece.len) {
        family_refuse_too_long(f, f->value_bytes_max);
        return;
    }
    size_t len = offset + piece.len > old.len ? offset + piece.len : old.len;
    uint8_t *scratch = family_scratch(f, len);
    if (scratch == NULL)
        return;
    strings_overlay(scratch, len, old, piece, offset);
    family_put(f, key, row, VALUE_RAW, (struct bytes){.base = scratch, .len = len},
               row == NULL ? EXPIRY_NEVER : family_expiry_of(row));
    outcome_int(f->out, (int64_t)len);
    free(scratch);
}

void strings_getdel(struct family *f, const struct command *c)
{
    const struct row *row = family_live_for_write(f, c->args[0]);
    family_answer_value(f, row);
    if (row != NULL)
        family_delete(f, c->args[0], row);
}

void strings_getex(struct family *f, const struct command *c)
{
    struct bytes key = c->args[0];
    const struct row *row = family_live_for_write(f, key);
    family_answer_value(f, row);
    if (row == NULL)
        return;
    if ((c->flags & CMD_EXPIRE) != 0) {
        if (c->nums[0] <= 0)
            family_delete(f, key, row);
        else
            family_set_expiry(f, key, row, family_expiry(f, c->nums[0], c->nums[1]));
    } else if ((c->flags & CMD_PERSIST) != 0 && row->expire_ms != ROW_NO_EXPIRY) {
        family_set_expiry(f, key, row, EXPIRY_NEVER);
    }
}

void strings_delif(struct family *f, const struct command *c)
{
    const struct row *row = family_live_for_write(f, c->args[0]);
    bool same = row != NULL && family_bytes_equal(family_value(row), c->args[1]);
    bool wanted = row != NULL && same == ((c->flags & CMD_IFNE) == 0);
    if (wanted)
        family_delete(f, c->args[0], row);
    outcome_int(f->out, wanted);
}

void strings_get(struct family *f, const struct command *c)
{
    family_answer_value(f, family_live(f, c->args[0]));
}

/* The live row, or NULL when there is none or it holds no string. */
static const struct row *strings_live(struct family *f, struct bytes key)
{
    const struct row *row = family_live(f, key);
    return row == NULL || value_kind(row->type) != KIND_STRING ? NULL : row;
}

void strings_mget(struct family *f, const struct command *c)
{
    outcome_array(f->out, c->n_args);
    for (uint32_t i = 0; i < c->n_args; i++)
        family_answer_value(f, strings_live(f, c->args[i]));
}

void strings_strlen(struct family *f, const struct command *c)
{
    const struct row *row = family_live(f, c->args[0]);
    outcome_int(f->out, row == NULL ? 0 : (int64_t)row->value_len);
}

/* The part from start to end, both counted from the end where negative, clamped; empty when they cross. */
static struct bytes strings_part(struct bytes value, int64_t start, int64_t end)
{
    const struct bytes empty = {.base = value.base, .len = 0};
    int64_t len = (int64_t)value.len;
    if (len == 0 || (start < 0 && end < 0 && start > end))
        return empty;
    if (start < 0)
        start = start < -len ? 0 : len + start;
    if (end < 0)
        end = end < -len ? 0 : len + end;
    if (end >= len)
        end = len - 1;
    if (start > end)
        return empty;
    return (struct bytes){.base = value.base + start, .len = (size_t)(end - start + 1)};
}

void strings_getrange(struct family *f, const struct command *c)
{
    const struct row *row = family_live(f, c->args[0]);
    struct bytes value = row == NULL ? (struct bytes){0} : family_value(row);
    struct bytes part = strings_part(value, c->nums[0], c->nums[1]);
    outcome_bulk(f->out, part.base, part.len);
}

/* cells[i * (b.len + 1) + j] is the length of the longest common subsequence of a's first i and b's first j bytes. */
static void strings_lcs_fill(uint32_t *cells, struct bytes a, struct bytes b)
{
    size_t width = b.len + 1;
    memset(cells, 0, width * sizeof *cells);
    for (size_t i = 1; i <= a.len; i++) {
        uint32_t *above = cells + (i - 1) * width;
        uint32_t *row = above + width;
        row[0] = 0;
        for (size_t j = 1; j <= b.len; j++) {
            if (a.base[i - 1] == b.base[j - 1])
                row[j] = above[j - 1] + 1;
            else
                row[j] = above[j] > row[j - 1] ? above[j] : row[j - 1];
        }
    }
}

/* Walks back from the far corner; where both ways are as good, b gets shorter first. That choice is Redis's. */
static void strings_lcs_trace(const uint32_t *cells, struct bytes a, struct bytes b, uint8_t *out)
{
    size_t width = b.len + 1;
    size_t at = cells[a.len * width + b.len];
    size_t i = a.len, j = b.len;
    while (i > 0 && j > 0) {
        if (a.base[i - 1] == b.base[j - 1]) {
            out[--at] = a.base[--i];
            j--;
        } else if (cells[(i - 1) * width + j] > cells[i * width + j - 1]) {
            i--;
        } else {
            j--;
        }
    }
}

static void strings_lcs_answer(struct family *f, struct bytes a, struct bytes b, bool only_length)
{
    if ((a.len + 1) > STRINGS_LCS_BYTES_MAX / sizeof(uint32_t) / (b.len + 1)) {
        family_refuse_too_long(f, STRINGS_LCS_BYTES_MAX);
        return;
    }
    size_t n_cells = (a.len + 1) * (b.len + 1);
    uint32_t *cells = family_scratch(f, n_cells * sizeof *cells + a.len);
    if (cells == NULL)
        return;
    strings_lcs_fill(cells, a, b);
    uint32_t len = cells[n_cells - 1];
    uint8_t *common = (uint8_t *)(cells + n_cells);
    if (only_length) {
        outcome_int(f->out, len);
    } else {
        strings_lcs_trace(cells, a, b, common);
        outcome_bulk(f->out, common, len);
    }
    free(cells);
}

void strings_lcs(struct family *f, const struct command *c)
{
    const struct row *row;
    for (int i = 0; i < 2; i++) {
        row = family_live(f, c->args[i]);
        if (row != NULL && value_kind(row->type) != KIND_STRING) {
            family_refuse(f, REFUSAL_NOT_STRINGS);
            return;
        }
    }
    row = family_live(f, c->args[0]);
    struct bytes a = row == NULL ? (struct bytes){0} : family_value(row);
    uint8_t *copy = family_scratch(f, a.len); /* The second look-up ends the first row's loan. */
    if (copy == NULL)
        return;
    if (a.len > 0)
        memcpy(copy, a.base, a.len);
    a.base = copy;
    row = family_live(f, c->args[1]);
    struct bytes b = row == NULL ? (struct bytes){0} : family_value(row);
    strings_lcs_answer(f, a, b, c->nums[0] != 0);
    free(copy);
}
