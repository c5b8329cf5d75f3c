/* script_call.c - redis.*: commands, and values between Lua and the world.
 *
 *     outcome -> Lua    nil: false   int: number   bulk: string   OK: {ok=...}   array, map: table   refusal: {err=...}
 *     Lua -> outcome    number: its integer part   string   true: 1   false, nil: nil   {ok=}, {err=}, {double=},
 * {map=}, {set=}, {big_number=}: what they say   table: array up to its first nil
 *
 * redis.setresp(3) makes nil and maps come as RESP3 has them. A command's error is a table with err, which call raises
 * and pcall returns. */
#include "store/script_internal.h"
#include "store/number.h"
#include "store/parts.h"
#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CALL_ARGS_MAX 8000
#define CALL_WORK 200          /* Instructions that a command counts for ... */
#define CALL_BYTES_A_STEP 8    /* ... and so many bytes for one more. */
#define CALL_ELEMENTS_A_STEP 2 /* Of a list or hash: what walking past so many takes. */

/* ---- Errors ---- */

static int push_error_table(lua_State *L, const char *text)
{
    lua_createtable(L, 0, 1);
    lua_pushstring(L, text);
    lua_setfield(L, -2, "err");
    return 1;
}

/* What went wrong in redis.call or redis.pcall. */
static int command_failed(lua_State *L, bool raise, const char *text)
{
    push_error_table(L, text);
    return raise ? lua_error(L) : 1;
}

/* ---- Outcomes as Lua has them ---- */

static const uint8_t *push_outcome(lua_State *L, const uint8_t *at, const uint8_t *end);

static const uint8_t *push_parts(lua_State *L, const uint8_t *at, const uint8_t *end, int64_t n)
{
    luaL_checkstack(L, 4, "answer nested too deeply");
    lua_createtable(L, n < 1 << 20 ? (int)n : 0, 0);
    for (int64_t i = 1; i <= n; i++) {
        at = push_outcome(L, at, end);
        lua_rawseti(L, -2, i);
    }
    return at;
}

static const uint8_t *push_map(lua_State *L, const uint8_t *at, const uint8_t *end, int64_t n)
{
    lua_createtable(L, 0, 1);
    lua_newtable(L);
    for (int64_t i = 0; i < n; i++) {
        at = push_outcome(L, at, end);
        at = push_outcome(L, at, end);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "map");
    return at;
}

static void push_status(lua_State *L, const char *bytes, size_t len)
{
    lua_createtable(L, 0, 1);
    lua_pushlstring(L, bytes, len);
    lua_setfield(L, -2, "ok");
}

static void push_nil(lua_State *L)
{
    if (script_of(L)->resp == 3)
        lua_pushnil(L);
    else
        lua_pushboolean(L, 0);
}

static void push_refusal(lua_State *L, const struct outcome *o)
{
    char text[SCRIPT_ERROR_MAX];
    script_of(L)->f->host->words(o, text);
    push_error_table(L, text);
}

/* The store's own outcomes are whole. */
static const uint8_t *push_outcome(lua_State *L, const uint8_t *at, const uint8_t *end)
{
    struct outcome o = {.tag = OUTCOME_NIL};
    at += outcome_next(at, (size_t)(end - at), &o);
    switch (o.tag) {
    case OUTCOME_NIL:
    case OUTCOME_NIL_ARRAY:
    case OUTCOME_LATER: /* Nobody waits inside a script. */
        push_nil(L);
        break;
    case OUTCOME_OK:
        push_status(L, "OK", 2);
        break;
    case OUTCOME_SIMPLE:
        push_status(L, o.bytes, o.len);
        break;
    case OUTCOME_INT:
        lua_pushnumber(L, (double)o.n);
        break;
    case OUTCOME_BOOL:
        lua_pushboolean(L, o.n != 0);
        break;
    case OUTCOME_BULK:
    case OUTCOME_DOUBLE:
    case OUTCOME_BIG_NUMBER:
        lua_pushlstring(L, o.bytes, o.len);
        break;
    case OUTCOME_ARRAY:
    case OUTCOME_SET:
        return push_parts(L, at, end, o.n);
    case OUTCOME_MAP:
        return script_of(L)->resp == 3 ? push_map(L, at, end, o.n) : push_parts(L, at, end, 2 * o.n);
    case OUTCOME_REFUSAL:
        push_refusal(L, &o);
        break;
    }
    return at;
}

/* ---- Commands ---- */

/* The argument at `at` as bytes; numbers become text, which takes the number's place. */
static bool take_arg(lua_State *L, int at, struct bytes *ret)
{
    char text[SCRIPT_NUMBER_MAX];
    size_t len;
    if (lua_type(L, at) == LUA_TNUMBER) {
        double d = lua_tonumber(L, at);
        int n = isnan(d) ? snprintf(text, sizeof text, "-nan") : snprintf(text, sizeof text, "%.17g", d);
        lua_pushlstring(L, text, (size_t)n);
        lua_replace(L, at);
    } else if (lua_type(L, at) != LUA_TSTRING) {
        return false;
    }
    ret->base = (const uint8_t *)lua_tolstring(L, at, &len);
    ret->len = len;
    return true;
}

static bool is_word(struct bytes arg, const char *word)
{
    return arg.len == strlen(word) && strncasecmp((const char *)arg.base, word, arg.len) == 0;
}

static void push_time(lua_State *L)
{
    char text[NUMBER_INT_BYTES_MAX];
    int64_t ms = script_of(L)->wall_ms;
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, text, number_write_int(text, ms / 1000));
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, text, number_write_int(text, ms % 1000 * 1000));
    lua_rawseti(L, -2, 2);
}

/* The few commands that are about nothing in the state. True: the answer is pushed. */
static bool run_own(lua_State *L, const struct bytes *args, size_t n)
{
    if (is_word(args[0], "time") && n == 1)
        push_time(L);
    else if (is_word(args[0], "ping") && n == 1)
        push_status(L, "PONG", 4);
    else if ((is_word(args[0], "ping") || is_word(args[0], "echo")) && n == 2)
        lua_pushlstring(L, (const char *)args[1].base, args[1].len);
    else if (is_word(args[0], "select") && n == 2 && args[1].len == 1 && args[1].base[0] == '0')
        push_status(L, "OK", 2);
    else
        return false;
    return true;
}

static const char *verdict_words(enum script_verdict verdict)
{
    switch (verdict) {
    case SCRIPT_UNKNOWN:
        return "ERR Unknown Redis command called from script";
    case SCRIPT_NOT_ALLOWED:
        return "ERR This Redis command is not allowed from script";
    case SCRIPT_ARITY:
        return "ERR Wrong number of args calling Redis command from script";
    default:
        return NULL;
    }
}

/* Commands of the log that hold others, or run without their opcode's own checks, or cannot be taken back. */
static bool op_allowed(uint8_t op)
{
    switch (op) {
    case OP_EXEC:
    case OP_EXEC_READ:
    case OP_EVAL:
    case OP_EVAL_RO:
    case OP_SCRIPT_LOAD:
    case OP_SCRIPT_FLUSH:
    case OP_FLUSHALL:
        return false;
    default:
        return true;
    }
}

static size_t args_bytes(const struct bytes *args, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += args[i].len;
    return bytes;
}

static bool walks_elements(uint8_t op)
{
    switch (op) {
    case OP_LSET:
    case OP_LREM:
    case OP_LTRIM:
    case OP_LINSERT:
    case OP_LRANGE:
    case OP_LINDEX:
    case OP_LPOS:
    case OP_COPY:
    case OP_HRANDFIELD:
        return true;
    default:
        return false;
    }
}

/* Walks over all keys or elements count for what they may look at: asked before the command changes it. */
static uint64_t op_work(struct script_run *run, const struct command *c)
{
    if (c->op == OP_KEYS || c->op == OP_SCAN)
        return CALL_WORK + rows_count(run->f->rows);
    if (!walks_elements(c->op) || c->n_args == 0)
        return CALL_WORK;
    const struct row *row = family_live(run->f, c->args[0]);
    enum value_kind kind = row == NULL ? KIND_OTHER : value_kind(row->type);
    bool has_parts = kind == KIND_LIST || kind == KIND_HASH;
    return CALL_WORK + (has_parts ? parts_head_read(row->value).n / CALL_ELEMENTS_A_STEP : 0);
}

/* Run what is encoded; its outcome is in run->out. */
static void run_encoded(lua_State *L, struct script_run *run)
{
    struct outcome_buf *out = run->f->out;
    uint64_t work = op_work(run, &run->command);
    run->out.len = 0;
    run->f->out = &run->out;
    family_run(run->f, &run->command);
    run->f->out = out;
    if (run->out.failed || run->journal.failed)
        script_stop(L, SCRIPT_STOP_SYSTEM);
    if (run->journal.len > SCRIPT_JOURNAL_BYTES_MAX)
        script_stop(L, SCRIPT_STOP_JOURNAL);
    script_charge(L, work + run->out.len / CALL_BYTES_A_STEP);
}

/* Encode and decode; NULL, or the words why not. */
static const char *prepare(lua_State *L, struct script_run *run, const struct bytes *args, size_t n,
                           char error[SCRIPT_ERROR_MAX])
{
    struct script_request r = {.args = args,
                               .n = n,
                               .value_bytes_max = run->f->value_bytes_max,
                               .wall_ms = run->wall_ms,
                               .chance = script_chance(run)};
    bool writes = false;
    size_t used;
    run->encoded.len = 0;
    enum script_verdict verdict = run->f->host->encode(&r, &run->encoded, &writes, error);
    if (run->encoded.failed)
        script_stop(L, SCRIPT_STOP_SYSTEM);
    if (verdict != SCRIPT_ENCODED)
        return verdict == SCRIPT_REFUSED ? error : verdict_words(verdict);
    int rc = command_decode(run->encoded.base, run->encoded.len, &run->command, &used);
    if (rc != 0)
        script_stop(L, SCRIPT_STOP_SYSTEM); /* Only memory can be missing: it is our own encoding. */
    if (!op_allowed(run->command.op))
        return verdict_words(SCRIPT_NOT_ALLOWED);
    if (run->read_only && (writes || command_is_write(run->command.op)))
        return "ERR Write commands are not allowed from read-only scripts.";
    return NULL;
}

static int call(lua_State *L, bool raise)
{
    struct script_run *run = script_of(L);
    char error[SCRIPT_ERROR_MAX];
    int n = lua_gettop(L);
    if (n == 0)
        return command_failed(L, raise, "ERR Please specify at least one argument for this redis lib call");
    if (n > CALL_ARGS_MAX)
        return command_failed(L, raise, "ERR Too many arguments for this redis lib call");
    struct bytes *args = lua_newuserdatauv(L, (size_t)n * sizeof *args, 0);
    for (int i = 1; i <= n; i++)
        if (!take_arg(L, i, &args[i - 1]))
            return command_failed(L, raise, "ERR Lua redis lib command arguments must be strings or integers");
    script_charge(L, CALL_WORK + args_bytes(args, (size_t)n) / CALL_BYTES_A_STEP);
    if (run_own(L, args, (size_t)n))
        return 1;
    const char *why = prepare(L, run, args, (size_t)n, error);
    if (why != NULL)
        return command_failed(L, raise, why);
    run_encoded(L, run);
    push_outcome(L, run->out.base, run->out.base + run->out.len);
    if (raise && run->out.len > 0 && run->out.base[0] == OUTCOME_REFUSAL)
        return lua_error(L);
    return 1;
}

static int redis_call(lua_State *L)
{
    return call(L, true);
}

static int redis_pcall(lua_State *L)
{
    return call(L, false);
}

/* ---- The rest of redis.* ---- */

/* {field=text}, text begins with a code word for an error. */
static int reply_table(lua_State *L, const char *field)
{
    if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TSTRING)
        return push_error_table(L, "ERR wrong number or type of arguments");
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, field);
    return 1;
}

static int redis_status_reply(lua_State *L)
{
    return reply_table(L, "ok");
}

static int redis_error_reply(lua_State *L)
{
    const char *text = lua_tostring(L, 1);
    if (lua_gettop(L) == 1 && lua_type(L, 1) == LUA_TSTRING) {
        if (*text == '-')
            text++;
        if (strchr(text, ' ') == NULL)
            lua_pushfstring(L, "ERR %s", text);
        else
            lua_pushstring(L, text);
        lua_replace(L, 1);
    }
    return reply_table(L, "err");
}

static int redis_sha1hex(lua_State *L)
{
    size_t len;
    char hex[41];
    if (lua_gettop(L) != 1)
        return luaL_error(L, "wrong number of arguments");
    const char *text = luaL_checklstring(L, 1, &len);
    script_charge(L, len / 4 + CALL_WORK);
    if (!script_sha1(text, len, hex))
        return script_stop(L, SCRIPT_STOP_SYSTEM);
    lua_pushlstring(L, hex, 40);
    return 1;
}

/* What the arguments say is not logged: that would be the same line on every node, for ever again at each start. */
static int redis_log(lua_State *L)
{
    if (lua_gettop(L) < 2)
        return luaL_error(L, "redis.log() requires two arguments or more.");
    luaL_argcheck(L, lua_isnumber(L, 1), 1, "First argument must be a number (log level).");
    return 0;
}

static int redis_setresp(lua_State *L)
{
    lua_Number resp = luaL_checknumber(L, 1);
    if (lua_gettop(L) != 1 || (resp != 2 && resp != 3))
        return luaL_error(L, "RESP version must be 2 or 3.");
    script_of(L)->resp = (int)resp;
    return 0;
}

static int redis_true(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

static int redis_false(lua_State *L)
{
    lua_pushboolean(L, 0);
    return 1;
}

static int redis_nothing(lua_State *L)
{
    (void)L;
    return 0;
}

void script_call_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"call", redis_call},
                                         {"pcall", redis_pcall},
                                         {"status_reply", redis_status_reply},
                                         {"error_reply", redis_error_reply},
                                         {"sha1hex", redis_sha1hex},
                                         {"log", redis_log},
                                         {"setresp", redis_setresp},
                                         {"replicate_commands", redis_true},
                                         {"set_repl", redis_nothing},
                                         {"breakpoint", redis_false},
                                         {"debug", redis_nothing},
                                         {"acl_check_cmd", redis_true},
                                         {NULL, NULL}};
    static const struct {
        const char *name;
        int value;
    } numbers[] = {{"LOG_DEBUG", 0},  {"LOG_VERBOSE", 1},
                   {"LOG_NOTICE", 2}, {"LOG_WARNING", 3},
                   {"REPL_NONE", 0},  {"REPL_AOF", 1},
                   {"REPL_SLAVE", 2}, {"REPL_REPLICA", 2},
                   {"REPL_ALL", 3},   {"REDIS_VERSION_NUM", 0x00070200}};
    luaL_newlib(L, functions);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        lua_pushnumber(L, numbers[i].value);
        lua_setfield(L, -2, numbers[i].name);
    }
    lua_pushliteral(L, "7.2.0");
    lua_setfield(L, -2, "REDIS_VERSION");
}

bool script_sha1(const void *bytes, size_t len, char hex[41])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    if (EVP_Digest(bytes, len, digest, &digest_len, EVP_sha1(), NULL) != 1 || digest_len != 20)
        return false;
    for (size_t i = 0; i < 20; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return true;
}

/* ---- What the script returns ---- */

/* Pushes the raw field, when the table at the top has it and its type is that one. */
static bool has_field(lua_State *L, const char *name, int type)
{
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    if (lua_type(L, -1) == type)
        return true;
    lua_pop(L, 1);
    return false;
}

static int64_t integer_of(double d)
{
    if (!(d >= -9223372036854775808.0 && d < 9223372036854775808.0))
        return INT64_MIN; /* What the conversion gives that Redis makes. */
    return (int64_t)d;
}

static void answer(lua_State *L, struct outcome_buf *out, int depth);

static void answer_text(lua_State *L, struct outcome_buf *out, void (*put)(struct outcome_buf *, const void *, size_t))
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    put(out, text, len);
    lua_pop(L, 1);
}

/* The words of an error or a status end at a line's end: they are one line. */
static void answer_status(lua_State *L, struct outcome_buf *out)
{
    char word[SCRIPT_ERROR_MAX];
    snprintf(word, sizeof word, "%s", lua_tostring(L, -1));
    word[strcspn(word, "\r\n")] = '\0';
    outcome_simple(out, word);
    lua_pop(L, 1);
}

static void answer_error(lua_State *L, struct outcome_buf *out)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    if (len > 0 && *text == '-') {
        text++;
        len--;
    }
    outcome_refusal(out, REFUSAL_SCRIPT, text, len < SCRIPT_ERROR_MAX ? len : SCRIPT_ERROR_MAX);
    lua_pop(L, 1);
}

static void answer_double(lua_State *L, struct outcome_buf *out)
{
    char text[NUMBER_DOUBLE_BYTES_MAX];
    double d = lua_tonumber(L, -1);
    size_t len = isfinite(d) ? number_write_double(text, d)
                             : (size_t)snprintf(text, sizeof text,
                                                isnan(d) ? "nan"
                                                : d > 0  ? "inf"
                                                         : "-inf");
    outcome_double(out, text, len);
    lua_pop(L, 1);
}

/* A table of keys, with their values for a map; in order. */
static void answer_keys(lua_State *L, struct outcome_buf *out, bool is_map, int depth)
{
    int at = lua_gettop(L);
    script_push_keys(L, at);
    lua_Integer n = (lua_Integer)lua_rawlen(L, at + 1);
    is_map ? outcome_map(out, (uint32_t)n) : outcome_set(out, (uint32_t)n);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, at + 1, i);
        lua_pushvalue(L, -1);
        answer(L, out, depth + 1);
        lua_pop(L, 1);
        if (is_map) {
            lua_rawget(L, at);
            answer(L, out, depth + 1);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
}

static void answer_array(lua_State *L, struct outcome_buf *out, int depth)
{
    size_t at = out->len;
    uint32_t n = 0;
    outcome_array(out, 0);
    for (;; n++) {
        lua_rawgeti(L, -1, (lua_Integer)n + 1);
        if (lua_isnil(L, -1))
            break;
        answer(L, out, depth + 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    outcome_array_recount(out, at, n);
}

static void answer_table(lua_State *L, struct outcome_buf *out, int depth)
{
    if (has_field(L, "err", LUA_TSTRING))
        answer_error(L, out);
    else if (has_field(L, "ok", LUA_TSTRING))
        answer_status(L, out);
    else if (has_field(L, "double", LUA_TNUMBER))
        answer_double(L, out);
    else if (has_field(L, "map", LUA_TTABLE))
        answer_keys(L, out, true, depth);
    else if (has_field(L, "set", LUA_TTABLE))
        answer_keys(L, out, false, depth);
    else if (has_field(L, "big_number", LUA_TSTRING))
        answer_text(L, out, outcome_big_number);
    else
        answer_array(L, out, depth);
}

/* The value at the top, which stays. */
static void answer(lua_State *L, struct outcome_buf *out, int depth)
{
    size_t len;
    const char *text;
    luaL_checkstack(L, 8, "reply nested too deeply");
    script_charge(L, 2);
    if (depth > SCRIPT_NESTING_MAX || out->len > SCRIPT_REPLY_BYTES_MAX)
        script_stop(L, SCRIPT_STOP_REPLY);
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, -1, &len);
        outcome_bulk(out, text, len);
        break;
    case LUA_TNUMBER:
        outcome_int(out, integer_of(lua_tonumber(L, -1)));
        break;
    case LUA_TBOOLEAN:
        if (script_of(L)->resp == 3)
            outcome_bool(out, lua_toboolean(L, -1) != 0);
        else if (lua_toboolean(L, -1))
            outcome_int(out, 1);
        else
            outcome_nil(out);
        break;
    case LUA_TTABLE:
        answer_table(L, out, depth);
        break;
    default:
        outcome_nil(out);
    }
}

void script_answer(lua_State *L, struct outcome_buf *out)
{
    answer(L, out, 0);
}
