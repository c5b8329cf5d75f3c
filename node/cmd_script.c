/* cmd_script.c - EVAL and its kin, SCRIPT, and the other direction: the commands that scripts call.
 * A script runs inside the state, on every node, and so does the encoding of what it calls: it must depend on nothing
 * but the request. So the limits are the entry's and the defaults, the wall clock is the one that the node which took
 * the EVAL in has read, and chance is the script's. Whoever changes an encoder changes what scripts of old log entries
 * do. */
#include "node/commands.h"
#include "node/config.h"
#include "node/reply.h"
#include "node/scripts.h"
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define SCRIPT_KEY_BYTES_MAX (64u << 10) /* A command's in a script, whatever this node is set to. */

/* ---- EVAL ---- */

static int refuse(struct encoding *e, const char *words)
{
    snprintf(e->error, sizeof e->error, "%s", words);
    return -1;
}

static int64_t fresh_seed(int64_t wall_ms)
{
    int64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        return wall_ms; /* Scripts at one instant then have one chance. */
    return seed;
}

static int encode_script(struct encoding *e, enum command_op op, uint16_t flags)
{
    int64_t n_keys;
    if (!arg_int(&e->argv[2], &n_keys))
        return refuse(e, REPLY_NOT_INTEGER);
    if (n_keys > (int64_t)e->argc - 3)
        return refuse(e, REPLY_KEYS_MORE_THAN_ARGS);
    if (n_keys < 0)
        return refuse(e, REPLY_KEYS_NEGATIVE);
    e->op = op;
    e->flags = flags;
    e->nums[0] = encoding_wall_ms(e);
    e->nums[1] = fresh_seed(e->nums[0]);
    e->n_nums = 2;
    e->args = (const struct bytes *)(const void *)(e->argv + 1);
    e->n_args = (uint32_t)e->argc - 1;
    return 0;
}

int encode_eval(struct encoding *e)
{
    return encode_script(e, OP_EVAL, 0);
}

int encode_evalsha(struct encoding *e)
{
    return encode_script(e, OP_EVAL, CMD_BY_SHA);
}

int encode_eval_ro(struct encoding *e)
{
    return encode_script(e, OP_EVAL_RO, 0);
}

int encode_evalsha_ro(struct encoding *e)
{
    return encode_script(e, OP_EVAL_RO, CMD_BY_SHA);
}

/* ---- SCRIPT ---- */

int encode_script_load(struct encoding *e)
{
    e->op = OP_SCRIPT_LOAD;
    e->args = (const struct bytes *)(const void *)(e->argv + 2);
    e->n_args = 1;
    return 0;
}

int encode_script_exists(struct encoding *e)
{
    e->op = OP_SCRIPT_EXISTS;
    e->args = (const struct bytes *)(const void *)(e->argv + 2);
    e->n_args = (uint32_t)e->argc - 2;
    return 0;
}

int encode_script_flush(struct encoding *e)
{
    if (e->argc > 3 || (e->argc == 3 && !arg_is(&e->argv[2], "async") && !arg_is(&e->argv[2], "sync")))
        return refuse(e, REPLY_SCRIPT_FLUSH);
    e->op = OP_SCRIPT_FLUSH;
    return 0;
}

void run_script_kill(struct call *call)
{
    resp_error(call->out, REPLY_NOTBUSY); /* They end by themselves: their instructions are counted. */
}

void run_script_help(struct call *call)
{
    static const char *const lines[] = {
        "EXISTS <sha1> [<sha1> ...]",
        "    Return information about the existence of the scripts in the script cache.",
        "FLUSH [ASYNC|SYNC]",
        "    Flush the Lua scripts cache. Very dangerous on replicas.",
        "KILL",
        "    Kill the currently executing Lua script.",
        "LOAD <script>",
        "    Load a script into the scripts cache without executing it.",
        NULL,
    };
    reply_help(call->out, "SCRIPT", lines);
}

/* ---- What scripts call ---- */

static const struct command_row *find(const struct script_request *r)
{
    const struct command_row *row = commands_find((const char *)r->args[0].base, r->args[0].len);
    if (row == NULL || command_row_is_sub(row))
        return NULL;
    if ((row->flags & ROW_CONTAINER) == 0 || r->n < 2)
        return row;
    return commands_find_sub(row, (const char *)r->args[1].base, r->args[1].len);
}

static enum script_verdict put(const struct encoding *e, struct command_buf *ret)
{
    command_add(ret, e->op, e->flags, e->nums, e->n_nums, e->args, e->n_args); /* Failure shows in ret->failed. */
    return SCRIPT_ENCODED;
}

static enum script_verdict encode_for_script(const struct script_request *r, struct command_buf *ret, bool *ret_writes,
                                             char error[SCRIPT_ERROR_MAX])
{
    static struct config limits; /* Only its limits are looked at. */
    struct encoding e = {.who = "a script"};
    commands_init();
    const struct command_row *row = find(r);
    if (row == NULL)
        return SCRIPT_UNKNOWN;
    if (row->encode == NULL || (row->flags & (ROW_NOSCRIPT | ROW_BLOCKING)) != 0)
        return SCRIPT_NOT_ALLOWED;
    if (row->arity >= 0 ? r->n != (size_t)row->arity : r->n < (size_t)-row->arity)
        return SCRIPT_ARITY;
    *ret_writes = (row->flags & ROW_WRITE) != 0;
    limits.max_key_bytes = SCRIPT_KEY_BYTES_MAX;
    limits.max_value_bytes = r->value_bytes_max;
    const struct resp_arg *args = (const struct resp_arg *)(const void *)r->args;
    if (commands_prepare_at(&limits, args, r->n, &e, &row, r->wall_ms, r->chance) == PREPARED_DATA)
        return put(&e, ret);
    snprintf(error, SCRIPT_ERROR_MAX, "%s", e.error);
    return SCRIPT_REFUSED;
}

static void words_for_script(const struct outcome *refusal, char text[SCRIPT_ERROR_MAX])
{
    struct resp_buf b = {0};
    reply_refusal(&b, refusal);
    size_t len = b.len > 3 ? b.len - 3 : 0; /* Without '-' and the line's end. */
    snprintf(text, SCRIPT_ERROR_MAX, "%.*s", (int)len, b.base != NULL ? b.base + 1 : "");
    resp_buf_release(&b);
}

const struct script_host scripts_host = {.encode = encode_for_script, .words = words_for_script};
