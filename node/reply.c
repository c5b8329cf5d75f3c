/* reply.c - outcomes come from the store of this node or over a peer link; either way their bytes are checked as they
 * are read. The nesting is bounded by outcome_span(), which refuses anything deeper than its limit. */
#include "node/reply.h"
#include "store/outcome.h"
#include <stdio.h>
#include <string.h>

#define UNKNOWN_NAME_MAX 128 /* Redis's bounds for what it repeats of an unknown command */
#define UNKNOWN_ARGS_MAX 128
#define STALE_NAME_MAX 600

void reply_refusal(struct resp_buf *b, const struct outcome *o)
{
    switch ((enum refusal)o->n) {
    case REFUSAL_WRONGTYPE:
        resp_error(b, REPLY_WRONGTYPE);
        return;
    case REFUSAL_NOT_INTEGER:
        resp_error(b, REPLY_NOT_INTEGER);
        return;
    case REFUSAL_NOT_FLOAT:
        resp_error(b, REPLY_NOT_FLOAT);
        return;
    case REFUSAL_OVERFLOW:
        resp_error(b, REPLY_OVERFLOW);
        return;
    case REFUSAL_NAN_OR_INFINITY:
        resp_error(b, REPLY_NAN_OR_INFINITY);
        return;
    case REFUSAL_NO_SUCH_KEY:
        resp_error(b, REPLY_NO_SUCH_KEY);
        return;
    case REFUSAL_VALUE_TOO_LONG:
        resp_error(b, REPLY_STRING_TOO_LONG);
        return;
    case REFUSAL_INVALID_CURSOR:
        resp_error(b, REPLY_INVALID_CURSOR);
        return;
    case REFUSAL_UNKNOWN_COMMAND:
        resp_error(b, REPLY_NEWER_COMMAND);
        return;
    case REFUSAL_REPLY_TOO_LARGE:
        resp_errorf(b, REPLY_REPLY_TOO_LARGE, (int)(o->len > 20 ? 20 : o->len), o->bytes);
        return;
    case REFUSAL_BATCH_TOO_LARGE:
        resp_error(b, REPLY_BATCH_TOO_LARGE);
        return;
    case REFUSAL_SESSION_EXPIRED:
        resp_error(b, REPLY_SESSION_EXPIRED);
        return;
    case REFUSAL_SERIAL_PAST:
        resp_errorf(b, REPLY_SERIAL_PAST, (int)(o->len > 20 ? 20 : o->len), o->bytes);
        return;
    case REFUSAL_ANSWER_NOT_KEPT:
        resp_error(b, REPLY_ANSWER_NOT_KEPT);
        return;
    case REFUSAL_STALE_TOKEN:
        resp_errorf(b, REPLY_STALE_TOKEN, (int)(o->len > STALE_NAME_MAX ? STALE_NAME_MAX : o->len), o->bytes);
        return;
    case REFUSAL_LOCK_PERMITS:
        resp_errorf(b, REPLY_LOCK_PERMITS, (int)(o->len > 20 ? 20 : o->len), o->bytes);
        return;
    case REFUSAL_TOO_MANY_LOCKS:
        resp_error(b, REPLY_TOO_MANY_LOCKS);
        return;
    case REFUSAL_QUEUE_FULL:
        resp_error(b, REPLY_QUEUE_FULL);
        return;
    case REFUSAL_TOO_MANY_SESSIONS:
        resp_error(b, REPLY_TOO_MANY_SESSIONS);
        return;
    case REFUSAL_INDEX:
        resp_error(b, REPLY_INDEX);
        return;
    case REFUSAL_HASH_NOT_INTEGER:
        resp_error(b, REPLY_HASH_NOT_INTEGER);
        return;
    case REFUSAL_HASH_NOT_FLOAT:
        resp_error(b, REPLY_HASH_NOT_FLOAT);
        return;
    case REFUSAL_VALUE_NAN_OR_INFINITY:
        resp_error(b, REPLY_VALUE_NAN_OR_INFINITY);
        return;
    case REFUSAL_NOT_STRINGS:
        resp_error(b, REPLY_NOT_STRINGS);
        return;
    case REFUSAL_LIMIT_ALGO:
        resp_error(b, REPLY_LIMIT_ALGO);
        return;
    case REFUSAL_UNBLOCKED:
        resp_error(b, REPLY_FORCED);
        return;
    case REFUSAL_SCRIPT:
        resp_errorf(b, "%.*s", (int)o->len, o->bytes);
        return;
    case REFUSAL_ANSWER_TOO_LARGE:
        resp_error(b, REPLY_ANSWER_TOO_LARGE);
        return;
    }
    /* A refusal that a newer node knows and this one does not. */
    resp_errorf(b, "ERR refused (%d)%s%.*s", (int)o->n, o->len > 0 ? ": " : "", (int)(o->len > 200 ? 200 : o->len),
                o->bytes);
}

/* A word that came from a peer may have line breaks, which would put the client out of step. */
static void put_simple(struct resp_buf *b, const struct outcome *o)
{
    if (!resp_reserve(b, o->len + 3))
        return;
    resp_raw(b, "+", 1);
    resp_raw(b, o->bytes, o->len);
    for (char *at = b->base + b->len - o->len; at < b->base + b->len; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' ';
    resp_raw(b, "\r\n", 2);
}

/* A number as text, of a type that only RESP3 has. */
static void put_number(struct resp_buf *b, int proto, char type, const struct outcome *o)
{
    if (proto == 2 || memchr(o->bytes, '\r', o->len) != NULL || memchr(o->bytes, '\n', o->len) != NULL) {
        resp_bulk(b, o->bytes, o->len);
        return;
    }
    if (!resp_reserve(b, o->len + 3))
        return;
    resp_raw(b, &type, 1);
    resp_raw(b, o->bytes, o->len);
    resp_raw(b, "\r\n", 2);
}

/* One head. Returns how many further values belong to it. */
static size_t put_head(struct resp_buf *b, int proto, const struct outcome *o)
{
    switch (o->tag) {
    case OUTCOME_NIL:
        resp_nil(b, proto);
        return 0;
    case OUTCOME_NIL_ARRAY:
        resp_nil_array(b, proto);
        return 0;
    case OUTCOME_OK:
        resp_ok(b);
        return 0;
    case OUTCOME_INT:
        resp_int(b, o->n);
        return 0;
    case OUTCOME_BULK:
        resp_bulk(b, o->bytes, o->len);
        return 0;
    case OUTCOME_SIMPLE:
        put_simple(b, o);
        return 0;
    case OUTCOME_BOOL:
        resp_bool(b, proto, o->n != 0);
        return 0;
    case OUTCOME_DOUBLE:
        put_number(b, proto, ',', o);
        return 0;
    case OUTCOME_BIG_NUMBER:
        put_number(b, proto, '(', o);
        return 0;
    case OUTCOME_SET:
        resp_set(b, proto, (size_t)o->n);
        return (size_t)o->n;
    case OUTCOME_ARRAY:
        resp_array(b, (size_t)o->n);
        return (size_t)o->n;
    case OUTCOME_MAP:
        resp_map(b, proto, (size_t)o->n);
        return 2 * (size_t)o->n;
    case OUTCOME_REFUSAL:
        reply_refusal(b, o);
        return 0;
    case OUTCOME_LATER: /* Of a request for which nobody expected to wait. */
        resp_error(b, REPLY_OUTCOME_UNKNOWN);
        return 0;
    }
    return 0;
}

void reply_outcome(struct resp_buf *b, int proto, const uint8_t *outcome, size_t len)
{
    size_t start = b->len, at = 0, left = 1;
    while (left > 0) {
        struct outcome o;
        size_t took = outcome_next(outcome + at, len - at, &o);
        if (took == 0) {
            b->len = start; /* Half a reply would put the client out of step. */
            resp_error(b, REPLY_UNREADABLE_OUTCOME);
            return;
        }
        at += took;
        left += put_head(b, proto, &o) - 1;
    }
}

static const char *failure_words(enum request_failure why)
{
    switch (why) {
    case REQUEST_NO_LEADER:
        return REPLY_NO_LEADER;
    case REQUEST_NO_QUORUM:
        return REPLY_NO_QUORUM;
    case REQUEST_NO_LINK:
        return REPLY_NO_LINK;
    case REQUEST_UNKNOWN:
        return REPLY_OUTCOME_UNKNOWN;
    case REQUEST_NO_SPACE:
        return REPLY_NO_SPACE;
    case REQUEST_STOPPING:
        return REPLY_STOPPING;
    case REQUEST_UNBLOCKED:
        return REPLY_FORCED;
    case REQUEST_UNBLOCKED_BY_CLIENT:
        return REPLY_UNBLOCKED;
    }
    return REPLY_OUTCOME_UNKNOWN; /* The safe side: nobody re-sends it. */
}

void reply_failure(struct resp_buf *b, enum request_failure why)
{
    resp_error(b, failure_words(why));
}

void reply_refused(struct resp_buf *b, int err)
{
    if (err == REQUESTS_ENOSPC)
        resp_error(b, REPLY_NO_SPACE);
    else if (err == REQUESTS_ENOMEM)
        resp_error(b, REPLY_NO_MEMORY);
    else if (err == REQUESTS_ESTOPPING)
        resp_error(b, REPLY_STOPPING);
    else
        resp_error(b, REPLY_OVERLOADED);
}

void reply_unknown_command(char *text, size_t cap, const struct resp_arg *args, size_t n)
{
    int name_len = (int)(args[0].len < UNKNOWN_NAME_MAX ? args[0].len : UNKNOWN_NAME_MAX);
    size_t len =
        (size_t)snprintf(text, cap, "ERR unknown command '%.*s', with args beginning with: ", name_len, args[0].base);
    size_t first = len;
    for (size_t i = 1; i < n && len - first < UNKNOWN_ARGS_MAX && len < cap; i++) {
        size_t room = UNKNOWN_ARGS_MAX - (len - first);
        int arg_len = (int)(args[i].len < room ? args[i].len : room);
        len += (size_t)snprintf(text + len, cap - len, "'%.*s' ", arg_len, args[i].base);
    }
}

void reply_help(struct resp_buf *b, const char *command, const char *const *lines)
{
    size_t n = 0;
    while (lines[n] != NULL)
        n++;
    char head[128];
    snprintf(head, sizeof head, "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", command);
    resp_array(b, n + 3);
    resp_simple(b, head);
    for (size_t i = 0; i < n; i++)
        resp_simple(b, lines[i]);
    resp_simple(b, "HELP");
    resp_simple(b, "    Prints this help.");
}
