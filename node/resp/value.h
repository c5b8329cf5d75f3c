/* value.h - replies as a client reads them: an incremental parser that yields whole values. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum resp_type {
    RESP_NIL,
    RESP_SIMPLE,
    RESP_ERROR,
    RESP_INT,
    RESP_BULK,
    RESP_ARRAY,
    RESP_MAP,
    RESP_SET,
    RESP_PUSH,
    RESP_BOOL,
    RESP_DOUBLE,
    RESP_BIGNUM,
    RESP_VERBATIM
};

/* One reply, in one allocation; free with resp_value_free() at the root only. */
struct resp_value {
    enum resp_type type;
    int64_t n;         /* INT, BOOL: the value; ARRAY, SET, PUSH: parts; MAP: pairs (2n parts). */
    double d;          /* DOUBLE */
    const char *bytes; /* SIMPLE, ERROR, BULK, VERBATIM, BIGNUM; a NUL follows the len bytes. */
    size_t len;
    struct resp_value *parts;
};

enum resp_value_status { RESP_VALUE_MORE, RESP_VALUE_DONE, RESP_VALUE_BROKEN, RESP_VALUE_NOMEM };
#define RESP_VALUE_BYTES_MAX (64u << 20)
#define RESP_VALUE_LINE_MAX (64u << 10) /* One simple string, error or number. */
#define RESP_VALUE_DEPTH_MAX 16         /* Arrays within arrays. */

/* How far an unfinished reply has been read, so that a large one arriving in pieces is looked at once.
 * Zero-initialise for each reply. */
struct resp_scan {
    size_t pos; /* After DONE: the reply's length. */
    int depth;
    uint64_t left[RESP_VALUE_DEPTH_MAX]; /* Parts still to come of each open aggregate, outermost first. */
    size_t n_values, text_bytes;         /* What resp_value_build() will need. */
};

/* Look on in buf[0..len), which starts at the reply's first byte; MORE: call again with a longer buffer. */
enum resp_value_status resp_value_scan(struct resp_scan *s, const char *buf, size_t len);
/* After DONE, from the same bytes: DONE or NOMEM. */
enum resp_value_status resp_value_build(const struct resp_scan *s, const char *buf, struct resp_value **ret);
/* Both in one, for a buffer that likely holds all. Read one value from buf[0..len). DONE: *ret (to be freed by the
 * caller) and *ret_used are set. */
enum resp_value_status resp_value_parse(const char *buf, size_t len, size_t *ret_used, struct resp_value **ret);
void resp_value_free(struct resp_value *v);
