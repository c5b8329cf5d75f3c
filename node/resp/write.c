/* write.c - replies as bytes.
 * Every call makes room for its whole reply before it writes a byte, so a buffer never ends inside one when memory
 * runs out. Failure is sticky: after one reply was lost the rest would answer the wrong requests. */
#include "node/resp/resp.h"
#include "node/resp/digits.h"
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_CAP_FIRST 256
#define HEAD_BYTES_MAX (1 + DIGITS_MAX + 2) /* Type, number, CRLF. */
#define DOUBLE_BYTES_MAX 32                 /* "-1.7976931348623157e+308" */

void resp_buf_release(struct resp_buf *b)
{
    free(b->base);
    *b = (struct resp_buf){0};
}

static bool buf_grow(struct resp_buf *b, size_t need)
{
    size_t cap = b->cap < BUF_CAP_FIRST ? BUF_CAP_FIRST : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *base = realloc(b->base, cap);
    if (base == NULL)
        return false;
    b->base = base;
    b->cap = cap;
    return true;
}

bool resp_reserve(struct resp_buf *b, size_t n)
{
    assert(b->len <= b->cap);
    if (b->failed)
        return false;
    if (n <= b->cap - b->len)
        return true;
    if (n > SIZE_MAX - b->len || !buf_grow(b, b->len + n))
        b->failed = true;
    return !b->failed;
}

/* The put_ calls write into room that is there. */
static void put(struct resp_buf *b, const void *bytes, size_t len)
{
    assert(len <= b->cap - b->len);
    if (len > 0)
        memcpy(b->base + b->len, bytes, len);
    b->len += len;
}

static void put_head(struct resp_buf *b, char type, int64_t n)
{
    char head[HEAD_BYTES_MAX];
    size_t len = 1 + digits_write(head + 1, n);
    head[0] = type;
    head[len++] = '\r';
    head[len++] = '\n';
    put(b, head, len);
}

static void head(struct resp_buf *b, char type, int64_t n)
{
    if (resp_reserve(b, HEAD_BYTES_MAX))
        put_head(b, type, n);
}

void resp_raw(struct resp_buf *b, const void *bytes, size_t len)
{
    if (resp_reserve(b, len))
        put(b, bytes, len);
}

/* A line of text may not hold a line's end: it would be read as the start of another reply. */
static void line(struct resp_buf *b, char type, const char *text)
{
    size_t len = strlen(text);
    while (len > 0 && (text[len - 1] == '\r' || text[len - 1] == '\n'))
        len--;
    if (!resp_reserve(b, len + 3))
        return;
    put(b, &type, 1);
    for (size_t i = 0; i < len; i++)
        b->base[b->len++] = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
    put(b, "\r\n", 2);
}

void resp_ok(struct resp_buf *b)
{
    resp_raw(b, "+OK\r\n", 5);
}

void resp_simple(struct resp_buf *b, const char *text)
{
    line(b, '+', text);
}

void resp_error(struct resp_buf *b, const char *text)
{
    line(b, '-', text);
}

void resp_errorf(struct resp_buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0) {
        b->failed = true;
        return;
    }
    resp_error(b, text);
    free(text);
}

void resp_int(struct resp_buf *b, int64_t n)
{
    head(b, ':', n);
}

void resp_bulk(struct resp_buf *b, const void *bytes, size_t len)
{
    if (len > SIZE_MAX / 2 || !resp_reserve(b, HEAD_BYTES_MAX + len + 2)) {
        b->failed = true;
        return;
    }
    put_head(b, '$', (int64_t)len);
    put(b, bytes, len);
    put(b, "\r\n", 2);
}

void resp_text(struct resp_buf *b, const char *text)
{
    resp_bulk(b, text, strlen(text));
}

void resp_verbatim(struct resp_buf *b, int proto, const void *bytes, size_t len)
{
    if (proto == 2) {
        resp_bulk(b, bytes, len);
        return;
    }
    if (len > SIZE_MAX / 2 || !resp_reserve(b, HEAD_BYTES_MAX + 4 + len + 2)) {
        b->failed = true;
        return;
    }
    put_head(b, '=', (int64_t)len + 4);
    put(b, "txt:", 4);
    put(b, bytes, len);
    put(b, "\r\n", 2);
}

void resp_nil(struct resp_buf *b, int proto)
{
    proto == 2 ? resp_raw(b, "$-1\r\n", 5) : resp_raw(b, "_\r\n", 3);
}

void resp_nil_array(struct resp_buf *b, int proto)
{
    proto == 2 ? resp_raw(b, "*-1\r\n", 5) : resp_raw(b, "_\r\n", 3);
}

void resp_array(struct resp_buf *b, size_t n)
{
    head(b, '*', (int64_t)n);
}

void resp_map(struct resp_buf *b, int proto, size_t n_pairs)
{
    proto == 2 ? head(b, '*', (int64_t)n_pairs * 2) : head(b, '%', (int64_t)n_pairs);
}

void resp_set(struct resp_buf *b, int proto, size_t n)
{
    head(b, proto == 2 ? '*' : '~', (int64_t)n);
}

void resp_push(struct resp_buf *b, int proto, size_t n)
{
    head(b, proto == 2 ? '*' : '>', (int64_t)n);
}

void resp_bool(struct resp_buf *b, int proto, bool yes)
{
    if (proto == 2)
        resp_int(b, yes);
    else
        resp_raw(b, yes ? "#t\r\n" : "#f\r\n", 4);
}

/* The shortest spelling that reads back as the same number. */
static size_t double_write(char to[DOUBLE_BYTES_MAX], double d)
{
    if (isnan(d))
        return (size_t)snprintf(to, DOUBLE_BYTES_MAX, "nan");
    if (isinf(d))
        return (size_t)snprintf(to, DOUBLE_BYTES_MAX, d > 0 ? "inf" : "-inf");
    int len = 0;
    for (int precision = 15; precision <= 17; precision++) {
        len = snprintf(to, DOUBLE_BYTES_MAX, "%.*g", precision, d);
        if (strtod(to, NULL) == d)
            break;
    }
    return (size_t)len;
}

void resp_double(struct resp_buf *b, int proto, double d)
{
    char text[DOUBLE_BYTES_MAX];
    size_t len = double_write(text, d);
    if (proto == 2) {
        resp_bulk(b, text, len);
        return;
    }
    if (!resp_reserve(b, 1 + len + 2))
        return;
    put(b, ",", 1);
    put(b, text, len);
    put(b, "\r\n", 2);
}
