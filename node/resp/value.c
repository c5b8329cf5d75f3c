/* value.c - replies back into values.
 * Two passes: the scan finds where the reply ends and counts what it holds, the build fills one allocation of exactly
 * that size. Counts and lengths a server announces are only believed once as many bytes are there.
 * Invariants: the build reads nothing that the scan did not accept; both read single items by item_read() alone.
 * Failure: BROKEN means the stream can no longer be understood. RESP3's attributes and streamed types are among what
 * is not understood: no Holdfast node sends them. */
#include "node/resp/value.h"
#include "node/resp/digits.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define DOUBLE_LEN_MAX 63
#define PART_BYTES_MIN 3 /* "_\r\n": no part of an aggregate is shorter. */
#define VERBATIM_PREFIX_LEN 4

static uint64_t value_parts(const struct resp_value *v)
{
    switch (v->type) {
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH:
        return (uint64_t)v->n;
    case RESP_MAP:
        return (uint64_t)v->n * 2;
    default:
        return 0;
    }
}

/* ---- One item: a scalar with its body, or an aggregate's head ---- */

/* The text between the type byte and CRLF. */
static enum resp_value_status line_read(const char *buf, size_t len, const char **ret_text, size_t *ret_len)
{
    size_t window = len > RESP_VALUE_LINE_MAX ? RESP_VALUE_LINE_MAX : len;
    const char *lf = memchr(buf, '\n', window);
    if (lf == NULL)
        return window < RESP_VALUE_LINE_MAX ? RESP_VALUE_MORE : RESP_VALUE_BROKEN;
    if (lf - buf < 2 || lf[-1] != '\r')
        return RESP_VALUE_BROKEN;
    *ret_text = buf + 1;
    *ret_len = (size_t)(lf - buf) - 2;
    return RESP_VALUE_DONE;
}

static enum resp_value_status int_item(const char *text, size_t len, struct resp_value *ret)
{
    bool plus = len > 1 && text[0] == '+' && text[1] != '-';
    ret->type = RESP_INT;
    return digits_read(text + plus, len - plus, &ret->n) ? RESP_VALUE_DONE : RESP_VALUE_BROKEN;
}

static enum resp_value_status bool_item(const char *text, size_t len, struct resp_value *ret)
{
    if (len != 1 || (*text != 't' && *text != 'f'))
        return RESP_VALUE_BROKEN;
    ret->type = RESP_BOOL;
    ret->n = *text == 't';
    return RESP_VALUE_DONE;
}

static enum resp_value_status double_item(const char *text, size_t len, struct resp_value *ret)
{
    char copy[DOUBLE_LEN_MAX + 1]; /* strtod() wants a NUL. */
    if (len == 0 || len > DOUBLE_LEN_MAX || *text == ' ' || (*text >= '\t' && *text <= '\r'))
        return RESP_VALUE_BROKEN;
    memcpy(copy, text, len);
    copy[len] = '\0';
    char *end;
    ret->type = RESP_DOUBLE;
    ret->d = strtod(copy, &end);
    return end == copy + len ? RESP_VALUE_DONE : RESP_VALUE_BROKEN;
}

static enum resp_value_status text_item(const char *text, size_t len, enum resp_type type, struct resp_value *ret)
{
    ret->type = type;
    ret->bytes = text;
    ret->len = len;
    return RESP_VALUE_DONE;
}

static enum resp_value_status nil_item(size_t len, struct resp_value *ret)
{
    ret->type = RESP_NIL;
    return len == 0 ? RESP_VALUE_DONE : RESP_VALUE_BROKEN;
}

/* Items that are their line. */
static enum resp_value_status line_item(char type, const char *text, size_t len, struct resp_value *ret)
{
    switch (type) {
    case '+':
        return text_item(text, len, RESP_SIMPLE, ret);
    case '-':
        return text_item(text, len, RESP_ERROR, ret);
    case '(':
        return text_item(text, len, RESP_BIGNUM, ret);
    case ':':
        return int_item(text, len, ret);
    case '#':
        return bool_item(text, len, ret);
    case ',':
        return double_item(text, len, ret);
    default:
        assert(type == '_');
        return nil_item(len, ret);
    }
}

/* The number of a bulk or an aggregate; -1 is RESP2's nil, where it has one. */
static enum resp_value_status count_read(const char *text, size_t len, bool may_be_nil, int64_t max, int64_t *ret)
{
    int64_t n;
    if (!digits_read(text, len, &n) || n > max || n < (may_be_nil ? -1 : 0))
        return RESP_VALUE_BROKEN;
    *ret = n;
    return RESP_VALUE_DONE;
}

static enum resp_type bulk_type(char type)
{
    return type == '$' ? RESP_BULK : type == '!' ? RESP_ERROR : RESP_VERBATIM;
}

/* A verbatim string's first bytes name its format, "txt:"; only the text is the value. */
static enum resp_value_status verbatim_trim(struct resp_value *v)
{
    if (v->len < VERBATIM_PREFIX_LEN || v->bytes[VERBATIM_PREFIX_LEN - 1] != ':')
        return RESP_VALUE_BROKEN;
    v->bytes += VERBATIM_PREFIX_LEN;
    v->len -= VERBATIM_PREFIX_LEN;
    return RESP_VALUE_DONE;
}

/* text..text+line_len is the length; left counts the bytes after its CRLF. */
static enum resp_value_status bulk_item(char type, const char *text, size_t line_len, size_t left,
                                        struct resp_value *ret, size_t *body_bytes)
{
    int64_t n = 0;
    enum resp_value_status status = count_read(text, line_len, type == '$', RESP_VALUE_BYTES_MAX, &n);
    if (status != RESP_VALUE_DONE)
        return status;
    if (n < 0)
        return nil_item(0, ret);
    const char *body = text + line_len + 2;
    if (left < (size_t)n + 2)
        return RESP_VALUE_MORE;
    if (body[n] != '\r' || body[n + 1] != '\n')
        return RESP_VALUE_BROKEN;
    *body_bytes = (size_t)n + 2;
    text_item(body, (size_t)n, bulk_type(type), ret);
    return type == '=' ? verbatim_trim(ret) : RESP_VALUE_DONE;
}

static enum resp_value_status aggregate_item(char type, const char *text, size_t len, struct resp_value *ret)
{
    int64_t max = RESP_VALUE_BYTES_MAX / PART_BYTES_MIN / (type == '%' ? 2 : 1);
    enum resp_value_status status = count_read(text, len, type == '*', max, &ret->n);
    if (status != RESP_VALUE_DONE)
        return status;
    if (ret->n < 0) {
        ret->n = 0;
        return nil_item(0, ret);
    }
    ret->type = type == '*' ? RESP_ARRAY : type == '%' ? RESP_MAP : type == '~' ? RESP_SET : RESP_PUSH;
    return RESP_VALUE_DONE;
}

static enum resp_value_status item_read(const char *buf, size_t len, struct resp_value *ret, size_t *ret_used)
{
    if (len == 0)
        return RESP_VALUE_MORE;
    char type = buf[0];
    if (type == '\0' || strchr("+-(:#,_$!=*%~>", type) == NULL)
        return RESP_VALUE_BROKEN;
    const char *text = NULL;
    size_t line_len = 0, body_bytes = 0;
    enum resp_value_status status = line_read(buf, len, &text, &line_len);
    if (status != RESP_VALUE_DONE)
        return status;
    size_t head_bytes = 1 + line_len + 2;
    *ret = (struct resp_value){0};
    if (strchr("$!=", type) != NULL)
        status = bulk_item(type, text, line_len, len - head_bytes, ret, &body_bytes);
    else if (strchr("*%~>", type) != NULL)
        status = aggregate_item(type, text, line_len, ret);
    else
        status = line_item(type, text, line_len, ret);
    *ret_used = head_bytes + body_bytes;
    return status;
}

/* ---- The scan ---- */

static void scan_close_full(struct resp_scan *s)
{
    while (s->depth > 0 && --s->left[s->depth - 1] == 0)
        s->depth--;
}

static enum resp_value_status scan_item(struct resp_scan *s, const struct resp_value *item, size_t used)
{
    s->pos += used;
    s->n_values++;
    s->text_bytes += item->bytes == NULL ? 0 : item->len + 1;
    if (s->pos > RESP_VALUE_BYTES_MAX)
        return RESP_VALUE_BROKEN;
    uint64_t parts = value_parts(item);
    if (parts == 0) {
        scan_close_full(s);
        return s->depth == 0 ? RESP_VALUE_DONE : RESP_VALUE_MORE;
    }
    if (s->depth == RESP_VALUE_DEPTH_MAX)
        return RESP_VALUE_BROKEN;
    s->left[s->depth++] = parts;
    return RESP_VALUE_MORE;
}

enum resp_value_status resp_value_scan(struct resp_scan *s, const char *buf, size_t len)
{
    enum resp_value_status status;
    do {
        struct resp_value item;
        size_t used = 0;
        assert(s->pos <= len);
        status = item_read(buf + s->pos, len - s->pos, &item, &used);
        if (status != RESP_VALUE_DONE) {
            bool endless = status == RESP_VALUE_MORE && len > RESP_VALUE_BYTES_MAX;
            return endless ? RESP_VALUE_BROKEN : status;
        }
        status = scan_item(s, &item, used);
    } while (status == RESP_VALUE_MORE);
    return status;
}

/* ---- The build ---- */

struct build {
    const char *p, *end;
    struct resp_value *values; /* The next unused place. */
    char *text;                /* Likewise. */
};

static void build_text(struct build *b, struct resp_value *v)
{
    if (v->bytes == NULL)
        return;
    memcpy(b->text, v->bytes, v->len);
    b->text[v->len] = '\0';
    v->bytes = b->text;
    b->text += v->len + 1;
}

/* Recursion is bounded by RESP_VALUE_DEPTH_MAX, which the scan has held. */
static void build_value(struct build *b, struct resp_value *v)
{
    size_t used = 0;
    enum resp_value_status status = item_read(b->p, (size_t)(b->end - b->p), v, &used);
    assert(status == RESP_VALUE_DONE);
    b->p += used;
    build_text(b, v);
    uint64_t parts = value_parts(v);
    if (parts == 0)
        return;
    v->parts = b->values;
    b->values += parts;
    for (uint64_t i = 0; i < parts; i++)
        build_value(b, &v->parts[i]);
}

enum resp_value_status resp_value_build(const struct resp_scan *s, const char *buf, struct resp_value **ret)
{
    assert(s->depth == 0);
    assert(s->n_values > 0);
    struct resp_value *root = malloc(s->n_values * sizeof *root + s->text_bytes);
    if (root == NULL)
        return RESP_VALUE_NOMEM;
    char *text = (char *)(root + s->n_values);
    struct build b = {.p = buf, .end = buf + s->pos, .values = root + 1, .text = text};
    build_value(&b, root);
    assert(b.p == b.end);
    assert(b.text == text + s->text_bytes);
    *ret = root;
    return RESP_VALUE_DONE;
}

enum resp_value_status resp_value_parse(const char *buf, size_t len, size_t *ret_used, struct resp_value **ret)
{
    struct resp_scan scan = {0};
    enum resp_value_status status = resp_value_scan(&scan, buf, len);
    if (status == RESP_VALUE_DONE)
        status = resp_value_build(&scan, buf, ret);
    if (status == RESP_VALUE_DONE)
        *ret_used = scan.pos;
    return status;
}

void resp_value_free(struct resp_value *v)
{
    free(v);
}
