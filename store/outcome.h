/* outcome.h - what a command answered, before any wire protocol.
 * An outcome is a flat run of tagged values, so that one form serves the node that applies, the
 * peer link that carries answers to the node that asked, and the memory of a session:
 *
 *     byte tag, then by tag:
 *     NIL, OK          nothing
 *     INT              int64, little-endian
 *     BULK, SIMPLE     u32 length, the bytes (SIMPLE is a status word such as "string")
 *     ARRAY            u32 n, then n values
 *     MAP              u32 n, then n pairs of values
 *     NIL_ARRAY        nothing: a transaction that was not done, as a watched key had changed
 *     BOOL             u8, 0 or 1
 *     DOUBLE, BIG_NUMBER  u32 length, its text
 *     SET              u32 n, then n values
 *     REFUSAL          u16 code, u32 length, detail bytes (may be empty)
 *     LATER            u8 kept, u64 token, u64 session, u32 length, name: the request waits for a lock, or with an
 * empty name for a list, and the answer comes as an event (event.h); kept: the session remembers it
 *
 * Lengths and numbers are little-endian. One command gives exactly one value (which may nest). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum outcome_tag {
    OUTCOME_NIL = 'n',
    OUTCOME_OK = 'k',
    OUTCOME_INT = 'i',
    OUTCOME_BULK = 'b',
    OUTCOME_SIMPLE = 's',
    OUTCOME_ARRAY = 'a',
    OUTCOME_MAP = 'm',
    OUTCOME_REFUSAL = 'r',
    OUTCOME_LATER = 'l',
    OUTCOME_NIL_ARRAY = 'z',
    OUTCOME_BOOL = 'y',
    OUTCOME_DOUBLE = 'd',
    OUTCOME_BIG_NUMBER = 'g',
    OUTCOME_SET = 'e',
};

/* Why a command changed nothing. node/reply.c has the words; part of the peer wire: append only. */
enum refusal {
    REFUSAL_WRONGTYPE = 1,   /* The key holds another kind of value. */
    REFUSAL_NOT_INTEGER,     /* "value is not an integer or out of range" */
    REFUSAL_NOT_FLOAT,       /* "value is not a valid float" */
    REFUSAL_OVERFLOW,        /* "increment or decrement would overflow" */
    REFUSAL_NAN_OR_INFINITY, /* "increment would produce NaN or Infinity" */
    REFUSAL_NO_SUCH_KEY,
    REFUSAL_VALUE_TOO_LONG, /* The value would grow past the limit: detail is the limit in bytes. */
    REFUSAL_INVALID_CURSOR,
    REFUSAL_UNKNOWN_COMMAND, /* An opcode this version does not have. */
    REFUSAL_SESSION_EXPIRED, /* There is no such session, or no more. */
    REFUSAL_SERIAL_PAST,     /* A serial that was acknowledged or forgotten: detail is the highest of those. */
    REFUSAL_ANSWER_NOT_KEPT, /* Done before, but its answer was too large to be remembered. */
    REFUSAL_TOO_MANY_SESSIONS,
    REFUSAL_STALE_TOKEN,     /* No holder of the lock has that token: detail is the name and the last holder's, or 0. */
    REFUSAL_LOCK_PERMITS,    /* The lock has another number of permits, or none: detail is the number. */
    REFUSAL_TOO_MANY_LOCKS,  /* The session has as many as it may. */
    REFUSAL_QUEUE_FULL,      /* So many wait for that already. */
    REFUSAL_REPLY_TOO_LARGE, /* One answer past the limit: detail is the limit in bytes. */
    REFUSAL_BATCH_TOO_LARGE, /* The answers before it in its batch have used up what a batch may answer. */
    REFUSAL_SCRIPT = 51,     /* What went wrong in a script: detail is the whole reply, without '-'. */
    REFUSAL_INDEX = 60,      /* "index out of range" */
    REFUSAL_HASH_NOT_INTEGER,      /* "hash value is not an integer" */
    REFUSAL_HASH_NOT_FLOAT,        /* "hash value is not a float" */
    REFUSAL_VALUE_NAN_OR_INFINITY, /* "value is NaN or Infinity": the increment itself */
    REFUSAL_NOT_STRINGS,           /* LCS of something else. */
    REFUSAL_UNBLOCKED,             /* Who was offered something has waited no more when it was to be taken. */
    REFUSAL_LIMIT_ALGO = 90,       /* The limit is one of the other algorithm. */
    REFUSAL_ANSWER_TOO_LARGE = 50, /* Done, but its answer would be too long: detail is the limit in bytes. */
};

/* A growing buffer of outcomes. Zero-initialise; release with outcome_buf_release().
 * A failed growth sets `failed` and drops what does not fit: check it once, at the end. What would make len pass a
 * bound (0: none) is dropped likewise, and sets `full`. */
struct outcome_buf {
    uint8_t *base;
    size_t len, cap, bound;
    bool failed, full;
};

void outcome_buf_release(struct outcome_buf *b);
void outcome_nil(struct outcome_buf *b);
void outcome_nil_array(struct outcome_buf *b);
void outcome_ok(struct outcome_buf *b);
void outcome_int(struct outcome_buf *b, int64_t n);
void outcome_bulk(struct outcome_buf *b, const void *bytes, size_t len);
void outcome_simple(struct outcome_buf *b, const char *word);
void outcome_array(struct outcome_buf *b, uint32_t n);
/* The array whose head was appended when the buffer's len was `at` has n parts after all. */
void outcome_array_recount(struct outcome_buf *b, size_t at, uint32_t n);
/* Whole values, encoded elsewhere. */
void outcome_append(struct outcome_buf *b, const uint8_t *values, size_t len);
void outcome_map(struct outcome_buf *b, uint32_t n);
void outcome_set(struct outcome_buf *b, uint32_t n);
void outcome_bool(struct outcome_buf *b, bool yes);
void outcome_double(struct outcome_buf *b, const void *text, size_t len);
void outcome_big_number(struct outcome_buf *b, const void *text, size_t len);
void outcome_refusal(struct outcome_buf *b, enum refusal code, const void *detail, size_t len);
void outcome_later(struct outcome_buf *b, uint64_t token, uint64_t session, const void *name, size_t len);
/* Mark the LATER at `at`, if it is one, as remembered by its session. */
void outcome_later_keep(struct outcome_buf *b, size_t at);

/* One value's head as read back; for BULK, SIMPLE, REFUSAL and LATER `bytes` points into the buffer. */
struct outcome {
    enum outcome_tag tag;
    int64_t n;        /* INT, BOOL: the number; ARRAY, MAP, SET: how many; REFUSAL: the code; LATER: the token. */
    uint64_t session; /* LATER */
    bool kept;        /* LATER */
    const char *bytes;
    size_t len;
};

/* Read the head at `at` (for ARRAY, MAP and SET the parts follow as heads of their own).
 * Returns the bytes it took, or 0 when the buffer ends inside it or the tag is none of ours:
 * outcomes come over peer links too, so they are checked, never asserted. */
size_t outcome_next(const uint8_t *at, size_t len, struct outcome *ret);

/* Length of the whole first value, nested parts included; 0 when malformed or nested deeper than 32. */
size_t outcome_span(const uint8_t *at, size_t len);
