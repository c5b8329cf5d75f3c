/* cmd_session.c - SESSION and ONCE: arguments in, the log's language out. */
#include "node/commands.h"
#include "node/reply.h"
#include "store/session.h"

#define SESSION_TTL_MS_DEFAULT 10000

/* A positive integer as the next number of the command. */
static bool put_positive(struct encoding *e, const struct resp_arg *arg)
{
    int64_t n;
    if (!arg_int(arg, &n) || n <= 0)
        return false;
    e->nums[e->n_nums++] = n;
    return true;
}

static int encode_session(struct encoding *e, enum command_op op)
{
    if (!put_positive(e, &e->argv[2]))
        return encode_refuse(e, REPLY_SESSION_ID);
    e->op = op;
    return 0;
}

int encode_session_keepalive(struct encoding *e)
{
    return encode_session(e, OP_SESSION_KEEPALIVE);
}

int encode_session_close(struct encoding *e)
{
    return encode_session(e, OP_SESSION_CLOSE);
}

int encode_session_info(struct encoding *e)
{
    return encode_session(e, OP_SESSION_INFO);
}

int encode_session_list(struct encoding *e)
{
    e->op = OP_SESSION_LIST;
    return 0;
}

int encode_session_open(struct encoding *e)
{
    int64_t ttl_ms = SESSION_TTL_MS_DEFAULT;
    e->few[0] = (struct bytes){.base = (const uint8_t *)"", .len = 0};
    for (size_t i = 2; i < e->argc; i += 2) {
        const struct resp_arg *value = &e->argv[i + 1];
        bool has_value = i + 1 < e->argc;
        if (has_value && arg_is(&e->argv[i], "ttl")) {
            if (!arg_int(value, &ttl_ms))
                return encode_refuse(e, REPLY_NOT_INTEGER);
        } else if (has_value && arg_is(&e->argv[i], "name")) {
            e->few[0] = (struct bytes){.base = (const uint8_t *)value->base, .len = value->len};
        } else {
            return encode_refuse(e, REPLY_SYNTAX);
        }
    }
    if (ttl_ms < SESSION_TTL_MS_MIN || ttl_ms > SESSION_TTL_MS_MAX)
        return encode_refuse(e, REPLY_SESSION_TTL, SESSION_TTL_MS_MIN, SESSION_TTL_MS_MAX);
    if (e->few[0].len > SESSION_NAME_BYTES_MAX)
        return encode_refuse(e, REPLY_SESSION_NAME, SESSION_NAME_BYTES_MAX);
    e->op = OP_SESSION_OPEN;
    e->nums[e->n_nums++] = ttl_ms;
    e->args = e->few;
    e->n_args = 1;
    return 0;
}

static bool may_be_once(enum command_op op)
{
    return command_is_write((uint8_t)op) && op != OP_ONCE && op != OP_SESSION_OPEN && op != OP_SESSION_KEEPALIVE &&
           op != OP_SESSION_CLOSE;
}

/* ONCE session serial [ACK n] command... The loop thread is alone here, so one buffer serves all. */
int encode_once(struct encoding *e)
{
    static struct command_buf buf;
    enum command_op op;
    bool acks = arg_is(&e->argv[3], "ack");
    size_t first = acks ? 5 : 3;
    int64_t ack = 0;
    if (!put_positive(e, &e->argv[1]))
        return encode_refuse(e, REPLY_SESSION_ID);
    if (first >= e->argc)
        return encode_refuse(e, REPLY_ARITY, e->row->name);
    if (!put_positive(e, &e->argv[2]) || (acks && (!arg_int(&e->argv[4], &ack) || ack < 0 || ack >= e->nums[1])))
        return encode_refuse(e, REPLY_SERIAL);
    e->nums[e->n_nums++] = ack;
    if (encode_nested(e, first, &buf, &op) != 0)
        return -1;
    if (!may_be_once(op))
        return encode_refuse(e, REPLY_NOT_NESTED, "a command that writes nothing, or is about sessions,", e->row->name);
    e->few[0] = (struct bytes){.base = buf.base, .len = buf.len};
    e->op = OP_ONCE;
    e->args = e->few;
    e->n_args = 1;
    return 0;
}

void run_session_help(struct call *call)
{
    static const char *const lines[] = {
        "OPEN [TTL <ms>] [NAME <name>]",
        "    Open a session; answers its id. It ends when nothing has named it for TTL.",
        "KEEPALIVE <id>",
        "    Renew a session.",
        "CLOSE <id>",
        "    End a session and free what it owns.",
        "INFO <id>",
        "    About a session.",
        "LIST",
        "    All sessions.",
        NULL};
    reply_help(call->out, "SESSION", lines);
}
