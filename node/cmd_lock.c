/* cmd_lock.c - LOCK and GUARD: arguments in, the log's language out.
 * Inside ONCE a session may be written as "-": it is ONCE's own, which its client need not know. */
#include "node/commands.h"
#include "node/reply.h"
#include "store/lock.h"
#include <string.h>

/* The session at argv[i] as the next number. */
static int put_session(struct encoding *e, size_t i)
{
    int64_t n = e->session;
    if (!(n > 0 && arg_is(&e->argv[i], "-")) && (!arg_int(&e->argv[i], &n) || n <= 0))
        return encode_refuse(e, REPLY_SESSION_ID);
    e->nums[e->n_nums++] = n;
    return 0;
}

/* The lock's name at argv[i] as the next argument. */
static int put_name(struct encoding *e, size_t i)
{
    const struct resp_arg *arg = &e->argv[i];
    if (arg->len == 0 || arg->len > LOCK_NAME_BYTES_MAX)
        return encode_refuse(e, REPLY_LOCK_NAME, LOCK_NAME_BYTES_MAX);
    e->few[e->n_args++] = (struct bytes){.base = (const uint8_t *)arg->base, .len = arg->len};
    e->args = e->few;
    return 0;
}

static void put_text(struct encoding *e, const char *base, size_t len)
{
    e->few[e->n_args++] = (struct bytes){.base = (const uint8_t *)base, .len = len};
}

/* ---- LOCK ACQUIRE name session [TTL ms] [WAIT ms] [MAXHOLD ms] [REENTRANT] [SHARED] [PERMITS n OF m] ---- */

struct acquire {
    int64_t ttl_ms, wait_ms, longest_ms, permits, of;
};

/* A time: from `least` to the longest there is. */
static int acquire_ms(struct encoding *e, size_t i, int64_t least, int64_t *ret)
{
    if (i >= e->argc)
        return encode_refuse(e, REPLY_SYNTAX);
    if (!arg_int(&e->argv[i], ret))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (*ret < least || *ret > LOCK_MS_MAX)
        return encode_refuse(e, REPLY_INVALID_EXPIRE, e->row->name);
    return 0;
}

/* PERMITS n OF m, at i. */
static int acquire_permits(struct encoding *e, size_t i, struct acquire *a)
{
    if (i + 3 >= e->argc || !arg_is(&e->argv[i + 2], "of"))
        return encode_refuse(e, REPLY_SYNTAX);
    if (!arg_int(&e->argv[i + 1], &a->permits) || !arg_int(&e->argv[i + 3], &a->of))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (a->of < 1 || a->of > LOCK_PERMITS_MAX || a->permits < 1 || a->permits > a->of)
        return encode_refuse(e, REPLY_PERMITS, LOCK_PERMITS_MAX);
    return 0;
}

/* The option at *i; steps past its arguments. */
static int acquire_option(struct encoding *e, size_t *i, struct acquire *a)
{
    const struct resp_arg *arg = &e->argv[*i];
    if (arg_is(arg, "reentrant") || arg_is(arg, "shared")) {
        e->flags |= arg_is(arg, "shared") ? CMD_SHARED : CMD_REENTRANT;
        return 0;
    }
    if (arg_is(arg, "permits")) {
        *i += 3;
        return acquire_permits(e, *i - 3, a);
    }
    ++*i;
    if (arg_is(arg, "ttl"))
        return acquire_ms(e, *i, 1, &a->ttl_ms);
    if (arg_is(arg, "wait"))
        return acquire_ms(e, *i, 0, &a->wait_ms);
    if (arg_is(arg, "maxhold"))
        return acquire_ms(e, *i, 1, &a->longest_ms);
    return encode_refuse(e, REPLY_SYNTAX);
}

int encode_lock_acquire(struct encoding *e)
{
    struct acquire a = {0};
    if (put_name(e, 2) != 0 || put_session(e, 3) != 0)
        return -1;
    for (size_t i = 4; i < e->argc; i++)
        if (acquire_option(e, &i, &a) != 0)
            return -1;
    if (a.of > 0 && (e->flags & CMD_SHARED) != 0)
        return encode_refuse(e, REPLY_SYNTAX);
    const int64_t nums[] = {a.ttl_ms, a.wait_ms, a.longest_ms, a.permits, a.of};
    for (size_t i = 0; i < sizeof nums / sizeof *nums; i++)
        e->nums[e->n_nums++] = nums[i];
    e->op = OP_LOCK_ACQUIRE;
    e->blocks = a.wait_ms > 0;
    return 0;
}

/* ---- The others ---- */

/* LOCK RELEASE name session [TOKEN t] */
int encode_lock_release(struct encoding *e)
{
    int64_t token = 0;
    if (e->argc != 4 && (e->argc != 6 || !arg_is(&e->argv[4], "token")))
        return encode_refuse(e, REPLY_SYNTAX);
    if (e->argc == 6 && (!arg_int(&e->argv[5], &token) || token <= 0))
        return encode_refuse(e, REPLY_TOKEN);
    if (put_name(e, 2) != 0 || put_session(e, 3) != 0)
        return -1;
    e->nums[e->n_nums++] = token;
    e->op = OP_LOCK_RELEASE;
    return 0;
}

/* LOCK BREAK name [REASON text] */
int encode_lock_break(struct encoding *e)
{
    bool has_reason = e->argc == 5 && arg_is(&e->argv[3], "reason");
    if (e->argc != 3 && !has_reason)
        return encode_refuse(e, REPLY_SYNTAX);
    if (has_reason && e->argv[4].len > LOCK_REASON_BYTES_MAX)
        return encode_refuse(e, REPLY_REASON, LOCK_REASON_BYTES_MAX);
    if (put_name(e, 2) != 0)
        return -1;
    put_text(e, has_reason ? e->argv[4].base : "", has_reason ? e->argv[4].len : 0);
    put_text(e, e->who, strlen(e->who));
    e->op = OP_LOCK_BREAK;
    return 0;
}

int encode_lock_info(struct encoding *e)
{
    e->op = OP_LOCK_INFO;
    return put_name(e, 2);
}

/* LOCK LIST [MATCH glob] */
int encode_lock_list(struct encoding *e)
{
    bool has_glob = e->argc == 4 && arg_is(&e->argv[2], "match");
    if (e->argc != 2 && !has_glob)
        return encode_refuse(e, REPLY_SYNTAX);
    put_text(e, has_glob ? e->argv[3].base : "*", has_glob ? e->argv[3].len : 1);
    e->op = OP_LOCK_LIST;
    e->args = e->few;
    return 0;
}

/* GUARD name token command... The loop thread is alone here, so one buffer serves all. */
int encode_guard(struct encoding *e)
{
    static struct command_buf buf;
    enum command_op op;
    int64_t token;
    if (!arg_int(&e->argv[2], &token) || token <= 0)
        return encode_refuse(e, REPLY_TOKEN);
    if (encode_nested(e, 3, &buf, &op) != 0)
        return -1;
    put_text(e, (const char *)buf.base, buf.len);
    if (put_name(e, 1) != 0)
        return -1;
    e->nums[e->n_nums++] = token;
    e->op = OP_GUARD;
    return 0;
}

void run_lock_help(struct call *call)
{
    static const char *const lines[] = {
        "ACQUIRE <name> <session> [TTL <ms>] [WAIT <ms>] [MAXHOLD <ms>] [REENTRANT] [SHARED] [PERMITS <n> OF <m>]",
        "    Hold a lock, or n of the m permits of a semaphore; answers the token, or nil.",
        "RELEASE <name> <session> [TOKEN <token>]",
        "    Let go of the session's oldest hold, or of the one with that token.",
        "INFO <name>",
        "    Who holds a lock, and who waits for it.",
        "LIST [MATCH <glob>]",
        "    All locks that are held.",
        "BREAK <name> [REASON <text>]",
        "    Put out whoever holds a lock.",
        NULL};
    reply_help(call->out, "LOCK", lines);
}
