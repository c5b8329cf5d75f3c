/* request.c - the bytes a client sends, cut into requests.
 * Arguments are found where they lie: only inline words are copied, because unquoting changes them. While a request
 * is unfinished the parser keeps offsets instead of pointers (the caller's buffer may move) and how far it has
 * looked, so each byte is looked at once however small the pieces are, and a bulk's body not at all.
 * Invariants: multi_left is -1 between requests; args and offsets both hold args_cap entries, args[i].len and
 * offsets[i] being known for i < n_args; nothing is sized by what a client announces, only by what has arrived.
 * Failure: the verdict for given bytes is the same however they are cut. After BROKEN or OVERSIZE the stream has no
 * known next request, so the caller closes it.
 * Source: Redis 7's behaviour, including what it leaves unchecked: the LF of a header line and the two bytes after
 * a bulk's body may be anything. */
#include "node/resp/resp.h"
#include "node/resp/digits.h"
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ARGS_CAP_FIRST 8
#define ARGS_CAP_KEPT 1024               /* More than this is given back before the next request. */
#define BULK_BYTES_REDIS_MAX (512 << 20) /* Past Redis's own limit the length itself is invalid. */

void resp_parser_init(struct resp_parser *p, const struct resp_limits *limits)
{
    *p = (struct resp_parser){.limits = limits, .multi_left = -1, .bulk_len = -1};
}

void resp_parser_release(struct resp_parser *p)
{
    free(p->args);
    free(p->offsets);
    free(p->unquoted);
    resp_parser_init(p, p->limits);
}

/* ---- The arguments found so far ---- */

static bool args_grow(struct resp_parser *p)
{
    size_t cap = p->args_cap == 0 ? ARGS_CAP_FIRST : p->args_cap * 2;
    struct resp_arg *args = realloc(p->args, cap * sizeof *args);
    if (args == NULL)
        return false;
    p->args = args;
    size_t *offsets = realloc(p->offsets, cap * sizeof *offsets);
    if (offsets == NULL)
        return false;
    p->offsets = offsets;
    p->args_cap = cap;
    return true;
}

static bool args_push(struct resp_parser *p, size_t offset, size_t len)
{
    if (p->n_args == p->args_cap && !args_grow(p))
        return false;
    p->offsets[p->n_args] = offset;
    p->args[p->n_args++].len = len;
    return true;
}

static void args_point_into(struct resp_parser *p, const char *base)
{
    for (size_t i = 0; i < p->n_args; i++)
        p->args[i].base = base + p->offsets[i];
}

/* One huge request must not keep its memory for the life of a connection. */
static void args_trim(struct resp_parser *p)
{
    if (p->args_cap <= ARGS_CAP_KEPT)
        return;
    free(p->args);
    free(p->offsets);
    p->args = NULL;
    p->offsets = NULL;
    p->args_cap = 0;
}

/* ---- Verdicts ---- */

static enum resp_parse broken(struct resp_parser *p, const char *why)
{
    snprintf(p->error, sizeof p->error, "Protocol error: %s", why);
    return RESP_BROKEN;
}

static enum resp_parse oversize(struct resp_parser *p, const char *what, size_t max)
{
    snprintf(p->error, sizeof p->error, "%s, the limit is %zu", what, max);
    return RESP_OVERSIZE;
}

static bool arg_is(const struct resp_arg *arg, const char *word)
{
    return arg->len == strlen(word) && strncasecmp(arg->base, word, arg->len) == 0;
}

/* Browsers can be made to post to any port; Redis hangs up at the words "POST" and "Host:" wherever they stand as a
 * command. A whole request line ("GET /x HTTP/1.1") is as sure a sign, and seen before its first header arrives. */
static bool is_http(const struct resp_parser *p)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"};
    const struct resp_arg *args = p->args;
    if (p->n_args == 0)
        return false;
    if (arg_is(&args[0], "POST") || arg_is(&args[0], "Host:"))
        return true;
    if (p->n_args != 3 || args[2].len < 5 || memcmp(args[2].base, "HTTP/", 5) != 0)
        return false;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (arg_is(&args[0], methods[i]))
            return true;
    }
    return false;
}

static enum resp_parse finish(struct resp_parser *p, size_t *ret_used)
{
    p->multi_left = -1;
    if (is_http(p))
        return RESP_HANGUP;
    *ret_used = p->pos;
    return RESP_REQUEST;
}

/* ---- Lines ---- */

enum line { LINE_FOUND, LINE_MORE, LINE_LONG };

/* Look for `end` from pos on, at most inline_bytes_max bytes away. */
static enum line line_find(struct resp_parser *p, const char *buf, size_t len, char end, size_t *ret_end)
{
    size_t max = p->limits->inline_bytes_max;
    size_t window = len - p->pos > max ? max + 1 : len - p->pos;
    assert(p->scanned <= window);
    const char *start = buf + p->pos;
    const char *found = memchr(start + p->scanned, end, window - p->scanned);
    if (found == NULL) {
        p->scanned = window;
        return window > max ? LINE_LONG : LINE_MORE;
    }
    p->scanned = (size_t)(found - start); /* Finds it again at once if its LF is still missing. */
    *ret_end = (size_t)(found - buf);
    return LINE_FOUND;
}

/* A header line ends with CR and one more byte. */
static enum line header_find(struct resp_parser *p, const char *buf, size_t len, size_t *ret_end)
{
    size_t end = 0;
    enum line line = line_find(p, buf, len, '\r', &end);
    if (line != LINE_FOUND)
        return line;
    if (end + 1 >= len)
        return LINE_MORE;
    *ret_end = end;
    return LINE_FOUND;
}

static void line_consume(struct resp_parser *p, size_t next)
{
    p->pos = next;
    p->scanned = 0;
}

/* ---- Inline requests: words as a person types them ---- */

struct words {
    const char *p, *end; /* What is left of the line. */
    char *to;            /* Where the next unquoted byte goes. */
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool ends_word(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static char unescaped(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* What follows a backslash between double quotes; w->p stands on the backslash. */
static void words_escape(struct words *w)
{
    size_t left = (size_t)(w->end - w->p);
    if (left >= 4 && w->p[1] == 'x' && hex_value(w->p[2]) >= 0 && hex_value(w->p[3]) >= 0) {
        *w->to++ = (char)(hex_value(w->p[2]) * 16 + hex_value(w->p[3]));
        w->p += 4;
        return;
    }
    *w->to++ = unescaped(w->p[1]);
    w->p += 2;
}

/* From after an opening quote to after the closing one, which a blank or the end must follow. */
static bool words_quoted(struct words *w, char quote)
{
    while (w->p < w->end && *w->p != quote) {
        bool escape = *w->p == '\\' && w->end - w->p >= 2;
        if (escape && quote == '"') {
            words_escape(w);
        } else if (escape && w->p[1] == '\'') {
            *w->to++ = '\'';
            w->p += 2;
        } else {
            *w->to++ = *w->p++;
        }
    }
    if (w->p == w->end)
        return false;
    w->p++;
    return w->p == w->end || is_blank(*w->p);
}

/* One word, whose quoted part, if any, is its last. */
static bool words_next(struct words *w)
{
    while (w->p < w->end && !ends_word(*w->p)) {
        char c = *w->p++;
        if (c == '"' || c == '\'')
            return words_quoted(w, c);
        *w->to++ = c;
    }
    return true;
}

static bool unquoted_reserve(struct resp_parser *p, size_t len)
{
    if (len <= p->unquoted_cap)
        return true;
    char *grown = realloc(p->unquoted, len);
    if (grown == NULL)
        return false;
    p->unquoted = grown;
    p->unquoted_cap = len;
    return true;
}

static enum resp_parse inline_split(struct resp_parser *p, const char *line, size_t len)
{
    if (!unquoted_reserve(p, len))
        return RESP_NOMEM;
    struct words w = {.p = line, .end = line + len, .to = p->unquoted};
    for (;;) {
        while (w.p < w.end && is_blank(*w.p))
            w.p++;
        if (w.p == w.end)
            return RESP_REQUEST;
        char *word = w.to;
        if (!words_next(&w))
            return broken(p, "unbalanced quotes in request");
        if (p->n_args >= p->limits->args_max)
            return oversize(p, "too many arguments in one request", p->limits->args_max);
        if (!args_push(p, (size_t)(word - p->unquoted), (size_t)(w.to - word)))
            return RESP_NOMEM;
    }
}

static enum resp_parse inline_parse(struct resp_parser *p, const char *buf, size_t len, size_t *ret_used)
{
    size_t end = 0;
    enum line line = line_find(p, buf, len, '\n', &end);
    if (line == LINE_MORE)
        return RESP_MORE;
    if (line == LINE_LONG)
        return broken(p, "too big inline request");
    size_t line_len = end > 0 && buf[end - 1] == '\r' ? end - 1 : end;
    enum resp_parse status = inline_split(p, buf, line_len);
    if (status != RESP_REQUEST)
        return status;
    line_consume(p, end + 1);
    if (p->n_args > 0)
        args_point_into(p, p->unquoted);
    return finish(p, ret_used);
}

/* ---- Multibulk requests: what client libraries send ---- */

static enum resp_parse multi_start(struct resp_parser *p, const char *buf, size_t len)
{
    const struct resp_limits *limits = p->limits;
    size_t end = 0;
    enum line line = header_find(p, buf, len, &end);
    if (line == LINE_MORE)
        return RESP_MORE;
    if (line == LINE_LONG)
        return broken(p, "too big mbulk count string");
    int64_t n;
    if (!digits_read(buf + 1, end - 1, &n) || n > INT_MAX)
        return broken(p, "invalid multibulk length");
    if (n > 0 && (uint64_t)n > limits->args_max) {
        return limits->before_auth ? broken(p, "unauthenticated multibulk length")
                                   : oversize(p, "too many arguments in one request", limits->args_max);
    }
    line_consume(p, end + 2);
    p->multi_left = n > 0 ? (long)n : 0;
    return RESP_REQUEST;
}

/* The length of the next bulk, already held against every limit it could break. */
static enum resp_parse bulk_start(struct resp_parser *p, const char *buf, size_t len)
{
    const struct resp_limits *limits = p->limits;
    size_t end = 0;
    enum line line = header_find(p, buf, len, &end);
    if (line == LINE_MORE)
        return RESP_MORE;
    if (line == LINE_LONG)
        return broken(p, "too big bulk count string");
    if (buf[p->pos] != '$') {
        snprintf(p->error, sizeof p->error, "Protocol error: expected '$', got '%c'", buf[p->pos]);
        return RESP_BROKEN;
    }
    int64_t n;
    if (!digits_read(buf + p->pos + 1, end - p->pos - 1, &n) || n < 0 || n > BULK_BYTES_REDIS_MAX)
        return broken(p, "invalid bulk length");
    if ((uint64_t)n > limits->bulk_bytes_max) {
        return limits->before_auth ? broken(p, "unauthenticated bulk length")
                                   : oversize(p, "one argument is too long", limits->bulk_bytes_max);
    }
    if ((size_t)n > limits->request_bytes_max - p->body_bytes)
        return oversize(p, "the request is too long", limits->request_bytes_max);
    line_consume(p, end + 2);
    p->bulk_len = (long)n;
    return RESP_REQUEST;
}

static enum resp_parse bulk_parse(struct resp_parser *p, const char *buf, size_t len)
{
    if (p->bulk_len < 0) {
        enum resp_parse status = bulk_start(p, buf, len);
        if (status != RESP_REQUEST)
            return status;
    }
    size_t body = (size_t)p->bulk_len;
    if (len - p->pos < body + 2)
        return RESP_MORE;
    if (!args_push(p, p->pos, body))
        return RESP_NOMEM;
    line_consume(p, p->pos + body + 2);
    p->body_bytes += body;
    p->bulk_len = -1;
    p->multi_left--;
    return RESP_REQUEST;
}

static enum resp_parse multi_parse(struct resp_parser *p, const char *buf, size_t len, size_t *ret_used)
{
    if (p->multi_left < 0) {
        enum resp_parse status = multi_start(p, buf, len);
        if (status != RESP_REQUEST)
            return status;
    }
    while (p->multi_left > 0) {
        enum resp_parse status = bulk_parse(p, buf, len);
        if (status != RESP_REQUEST)
            return status;
    }
    args_point_into(p, buf);
    return finish(p, ret_used);
}

/* Where the last request ended is the caller's start now: forget all but how far a first line was searched. */
static void begin(struct resp_parser *p)
{
    args_trim(p);
    p->n_args = 0;
    p->pos = 0;
    p->bulk_len = -1;
    p->body_bytes = 0;
}

enum resp_parse resp_parse(struct resp_parser *p, const char *buf, size_t len, size_t *ret_used)
{
    if (len == 0)
        return RESP_MORE;
    if (p->multi_left < 0)
        begin(p);
    assert(p->pos <= len);
    return buf[0] == '*' ? multi_parse(p, buf, len, ret_used) : inline_parse(p, buf, len, ret_used);
}
