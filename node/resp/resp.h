/* resp.h - the wire: RESP2 and RESP3 as bytes, no sockets.
 * Source: the Redis serialization protocol specification; limits from COMMANDS' table of limits. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Requests: what a server reads ---- */

struct resp_arg {
    const char *base; /* Points into the caller's buffer; not terminated. */
    size_t len;
};

struct resp_limits {
    size_t inline_bytes_max;  /* 64 KiB */
    size_t args_max;          /* 65,536 */
    size_t bulk_bytes_max;    /* the value limit: 8 MiB, but never less than 64 KiB */
    size_t request_bytes_max; /* 16 MiB, all arguments of one request together */
    bool before_auth;         /* These are a stranger's limits (10 arguments of 16 KiB): passing args_max or
                                 bulk_bytes_max is RESP_BROKEN in Redis's words, "unauthenticated bulk length". */
};

enum resp_parse {
    RESP_MORE,     /* The buffer ends inside a request: read more and call again with the same start. */
    RESP_REQUEST,  /* parser->args[0 .. n_args) is one request; n_args may be 0 (empty line, *0, *-1): skip it. */
    RESP_BROKEN,   /* parser->error says why ("Protocol error: ..."): answer it after "ERR " and close. */
    RESP_HANGUP,   /* HTTP (a request line, or POST or Host: as a command): close without an answer, as Redis does,
                      not even those still unsent for requests before it. */
    RESP_OVERSIZE, /* A request past request_bytes_max, bulk_bytes_max or args_max: parser->error names the limit;
                      answer -TOOLARGE and close. A bulk or count past Redis's own limits is RESP_BROKEN. */
    RESP_NOMEM,
};

/* One connection's parser. It remembers how far an unfinished request was read, so that a large one
 * arriving in small pieces is scanned once. Zero-initialise with resp_parser_init(). */
struct resp_parser {
    const struct resp_limits *limits;
    struct resp_arg *args;
    size_t n_args, args_cap;
    char error[160];
    /* Progress inside the unfinished request; offsets count from its first byte. */
    size_t pos;
    size_t scanned;  /* Bytes from pos on that hold no line's end. */
    long multi_left; /* Bulks still to come; -1: the request's first line is not complete. */
    long bulk_len;   /* Length of the bulk under way, or -1 when its length line is to come. */
    size_t body_bytes;
    size_t *offsets; /* Of the args found so far, since the buffer may move between calls. */
    char *unquoted;  /* Inline arguments after unescaping. */
    size_t unquoted_cap;
};

/* limits is borrowed for the parser's life and may be swapped between requests (before and after AUTH). */
void resp_parser_init(struct resp_parser *p, const struct resp_limits *limits);
void resp_parser_release(struct resp_parser *p);
/* Look at buf[0..len), which starts at a request's first byte. On RESP_REQUEST *ret_used is its length and
 * the args stay valid until the next call or until buf changes. */
enum resp_parse resp_parse(struct resp_parser *p, const char *buf, size_t len, size_t *ret_used);

/* ---- Replies: what a server writes ---- */

/* A growing output buffer. Zero-initialise. A failed growth sets `failed`; what was there stays. */
struct resp_buf {
    char *base;
    size_t len, cap;
    bool failed;
};
void resp_buf_release(struct resp_buf *b);
/* Make room for n more bytes; false (and failed) when there is none. */
bool resp_reserve(struct resp_buf *b, size_t n);
void resp_raw(struct resp_buf *b, const void *bytes, size_t len);
/* proto is 2 or 3 throughout. */
void resp_ok(struct resp_buf *b);
void resp_simple(struct resp_buf *b, const char *text);
/* text: code word and message, without '-' and CRLF; CR and LF inside become spaces, at its end they go. */
void resp_error(struct resp_buf *b, const char *text);
void resp_errorf(struct resp_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void resp_int(struct resp_buf *b, int64_t n);
void resp_bulk(struct resp_buf *b, const void *bytes, size_t len);
void resp_text(struct resp_buf *b, const char *text);                             /* bulk of a C string */
void resp_verbatim(struct resp_buf *b, int proto, const void *bytes, size_t len); /* "txt:"; bulk in RESP2 */
void resp_nil(struct resp_buf *b, int proto);                                     /* $-1 or _ */
void resp_nil_array(struct resp_buf *b, int proto);                               /* *-1 or _ */
void resp_array(struct resp_buf *b, size_t n);
void resp_map(struct resp_buf *b, int proto, size_t n_pairs); /* array of 2n in RESP2 */
void resp_set(struct resp_buf *b, int proto, size_t n);
void resp_push(struct resp_buf *b, int proto, size_t n);
void resp_bool(struct resp_buf *b, int proto, bool yes);
void resp_double(struct resp_buf *b, int proto, double d);
