/* core.c - the C side of the Lua client: require "state.core".
 * A client is a userdata over struct client; values cross through value.h. What the calls mean is state.lua's.
 * Refusals and failures return (false, message, code), with the codes of state.lua's conventions; only a caller's
 * wrong argument and a failing allocation raise.
 * Invariant: a reply hangs on its client's userdata while it is turned into Lua values, so that a raise loses nothing.
 */
#include "lua/value.h"
#include "node/client/client.h"
#include <lauxlib.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define CLIENT_METATABLE "holdfast.client"
#define ARGS_ON_STACK 16
#define PAUSE_MS_MAX 60000
#define WAIT_MS_MAX (24 * 3600 * 1000)

struct lclient {
    struct client *client;    /* NULL once closed. */
    struct resp_value *reply; /* The last one, until the next call. */
};

int luaopen_state_core(lua_State *L);

/* ---- Failures ---- */

static int push_failure(lua_State *L, const char *message, const char *code)
{
    lua_pushboolean(L, false);
    lua_pushstring(L, message);
    lua_pushstring(L, code);
    return 3;
}

static const char *code_from_client(int rc)
{
    switch (rc) {
    case CLIENT_EUNAVAILABLE:
        return "unavailable";
    case CLIENT_EUNKNOWN:
        return "unknown";
    case CLIENT_EDENIED:
        return "denied";
    default:
        return "protocol";
    }
}

static int push_client_failure(lua_State *L, const struct lclient *lc, int rc)
{
    if (rc == CLIENT_ENOMEM)
        return luaL_error(L, "not enough memory");
    const char *message = client_message(lc->client);
    const char *code = code_from_client(rc);
    return push_failure(L, message[0] != '\0' ? message : code, code);
}

/* The server's words; the first row whose text begins an error decides. ERR has no word of its own for these cases. */
static const struct error_code {
    const char *begins;
    const char *code;
} error_codes[] = {
    {"CLUSTERDOWN ", "unavailable"},
    {"TRYAGAIN ", "unavailable"},
    {"OVERLOADED", "unavailable"},
    {"LOADING ", "unavailable"},
    {"MISCONF ", "unavailable"},
    {"READONLY ", "unavailable"},
    {"UNKNOWN ", "unknown"},
    {"NOAUTH ", "denied"},
    {"WRONGPASS ", "denied"},
    {"NOPERM ", "denied"},
    {"WRONGTYPE ", "wrong_type"},
    {"TOOLARGE ", "too_large"},
    {"STALETOKEN ", "lost"},
    {"NOTHELD", "lost"},
    {"SESSIONEXPIRED", "session_expired"},
    {"SERIALPAST", "unknown"},
    {"ANSWERNOTKEPT", "too_large"},
    {"COMPACTED ", "refused"},
    {"ERR value is not an integer", "wrong_type"},
    {"ERR value is not a valid float", "wrong_type"},
    {"ERR hash value is not", "wrong_type"},
    {"ERR increment or decrement would overflow", "refused"},
    {"ERR increment would produce NaN or Infinity", "refused"},
    {"ERR string exceeds maximum allowed size", "too_large"},
    {"ERR invalid expire time", "refused"},
};

static const char *code_from_error(const char *text)
{
    for (size_t i = 0; i < sizeof error_codes / sizeof error_codes[0]; i++)
        if (strncmp(text, error_codes[i].begins, strlen(error_codes[i].begins)) == 0)
            return error_codes[i].code;
    return "protocol";
}

/* ---- Replies ---- */

static void push_reply(lua_State *L, const struct resp_value *v, bool inside);

static void push_sequence(lua_State *L, const struct resp_value *v)
{
    lua_createtable(L, (int)v->n, 0);
    for (int64_t i = 0; i < v->n; i++) {
        push_reply(L, &v->parts[i], true);
        lua_rawseti(L, -2, i + 1);
    }
}

static void push_map(lua_State *L, const struct resp_value *v)
{
    lua_createtable(L, 0, (int)v->n);
    for (int64_t i = 0; i < v->n; i++) {
        push_reply(L, &v->parts[2 * i], true);
        push_reply(L, &v->parts[2 * i + 1], true);
        lua_rawset(L, -3);
    }
}

/* Nil inside an array is false: no command that is called from here has both. */
static void push_reply(lua_State *L, const struct resp_value *v, bool inside)
{
    luaL_checkstack(L, 4, "reply");
    switch (v->type) {
    case RESP_NIL:
        if (inside)
            lua_pushboolean(L, false);
        else
            lua_pushnil(L);
        break;
    case RESP_INT:
        lua_pushinteger(L, v->n);
        break;
    case RESP_BOOL:
        lua_pushboolean(L, v->n != 0);
        break;
    case RESP_DOUBLE:
        lua_pushnumber(L, v->d);
        break;
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH:
        push_sequence(L, v);
        break;
    case RESP_MAP:
        push_map(L, v);
        break;
    case RESP_SIMPLE:
    case RESP_ERROR:
    case RESP_BULK:
    case RESP_BIGNUM:
    case RESP_VERBATIM:
        lua_pushlstring(L, v->bytes, v->len);
        break;
    }
}

/* ---- The client ---- */

static struct lclient *lclient_check(lua_State *L)
{
    struct lclient *lc = luaL_checkudata(L, 1, CLIENT_METATABLE);
    if (lc->client == NULL)
        luaL_error(L, "the client is closed");
    return lc;
}

static void lclient_drop_reply(struct lclient *lc)
{
    resp_value_free(lc->reply);
    lc->reply = NULL;
}

/* Also __gc and __close; closing twice is fine. */
static int lclient_close(lua_State *L)
{
    struct lclient *lc = luaL_checkudata(L, 1, CLIENT_METATABLE);
    lclient_drop_reply(lc);
    client_close(lc->client);
    lc->client = NULL;
    return 0;
}

/* Room for n arguments: the caller's arrays when they do, else the collector's. */
static const char **args_room(lua_State *L, int n, const char **small, size_t *small_lens, size_t **ret_lens)
{
    *ret_lens = small_lens;
    if (n <= ARGS_ON_STACK)
        return small;
    const char **argv = lua_newuserdatauv(L, (size_t)n * sizeof *argv, 0);
    *ret_lens = lua_newuserdatauv(L, (size_t)n * sizeof **ret_lens, 0);
    return argv;
}

static int lclient_answer(lua_State *L, struct lclient *lc)
{
    if (lc->reply->type == RESP_ERROR) {
        const char *text = lc->reply->bytes;
        return push_failure(L, text, code_from_error(text));
    }
    lua_pushboolean(L, true);
    push_reply(L, lc->reply, false);
    lclient_drop_reply(lc);
    return 2;
}

/* One command, whose words stand from index `first` on -> true, reply; or false, message, code. */
static int lclient_call(lua_State *L, bool is_write, unsigned wait_ms, int first)
{
    struct lclient *lc = lclient_check(L);
    const char *small[ARGS_ON_STACK];
    size_t small_lens[ARGS_ON_STACK], *lens;
    int n = lua_gettop(L) - first + 1;
    luaL_argcheck(L, n > 0, first, "a command expected");
    luaL_checkstack(L, 4, "call");
    const char **argv = args_room(L, n, small, small_lens, &lens);
    for (int i = 0; i < n; i++)
        argv[i] = luaL_checklstring(L, first + i, &lens[i]);
    lclient_drop_reply(lc);
    int rc = client_call_wait(lc->client, is_write, wait_ms, n, argv, lens, &lc->reply);
    return rc == 0 ? lclient_answer(L, lc) : push_client_failure(L, lc, rc);
}

/* client:read(...), client:write(...) */
static int lclient_read(lua_State *L)
{
    return lclient_call(L, false, 0, 2);
}

static int lclient_write(lua_State *L)
{
    return lclient_call(L, true, 0, 2);
}

static unsigned check_wait_ms(lua_State *L)
{
    lua_Integer ms = luaL_checkinteger(L, 2);
    luaL_argcheck(L, ms >= 0 && ms <= WAIT_MS_MAX, 2, "out of range");
    return (unsigned)ms;
}

/* client:wait(ms, ...): a write that the cluster may answer only after ms, which come on top of the deadline. */
static int lclient_wait(lua_State *L)
{
    return lclient_call(L, true, check_wait_ms(L), 3);
}

/* client:wait_read(ms, ...): the same for a read. */
static int lclient_wait_read(lua_State *L)
{
    return lclient_call(L, false, check_wait_ms(L), 3);
}

/* client:session() -> the session's number, 0 when there is none (yet, or any more). */
static int lclient_session(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)client_session(lclient_check(L)->client));
    return 1;
}

/* client:alive(session) -> is that session this client's, and alive for sure? A closed client has none. */
static int lclient_alive(lua_State *L)
{
    struct lclient *lc = luaL_checkudata(L, 1, CLIENT_METATABLE);
    uint64_t session = (uint64_t)luaL_checkinteger(L, 2);
    lua_pushboolean(L, lc->client != NULL && client_session_alive(lc->client, session));
    return 1;
}

/* One key of a pipeline, in the collector's hands. */
struct lengths {
    const char *argv[2];
    size_t lens[2];
    struct client_request request;
    int64_t n;
};

static struct lengths *lengths_push(lua_State *L, int n)
{
    struct lengths *keys = lua_newuserdatauv(L, (size_t)n * sizeof *keys, 0);
    for (int i = 0; i < n; i++) {
        struct lengths *k = &keys[i];
        k->argv[0] = "STRLEN";
        k->lens[0] = strlen("STRLEN");
        k->argv[1] = luaL_checklstring(L, i + 2, &k->lens[1]);
        k->request = (struct client_request){2, k->argv, k->lens};
    }
    return keys;
}

/* Ask for all of them; nothing in here raises, so the replies need no keeper. */
static int lengths_read(struct client *c, int n, struct lengths *keys, struct client_request *requests,
                        struct resp_value **replies)
{
    for (int i = 0; i < n; i++)
        requests[i] = keys[i].request;
    int rc = client_read_many(c, (size_t)n, requests, replies);
    for (int i = 0; rc == 0 && i < n; i++) {
        keys[i].n = replies[i]->type == RESP_INT ? replies[i]->n : 0; /* Of another kind, which VMGET leaves out. */
        resp_value_free(replies[i]);
    }
    return rc;
}

/* client:lengths(key...) -> true, array of bytes in each value; or false, message, code. */
static int lclient_lengths(lua_State *L)
{
    struct lclient *lc = lclient_check(L);
    int n = lua_gettop(L) - 1;
    luaL_checkstack(L, 6, "lengths");
    struct lengths *keys = lengths_push(L, n);
    struct client_request *requests = lua_newuserdatauv(L, (size_t)n * sizeof *requests, 0);
    struct resp_value **replies = lua_newuserdatauv(L, (size_t)n * sizeof *replies, 0);
    int rc = lengths_read(lc->client, n, keys, requests, replies);
    if (rc != 0)
        return push_client_failure(L, lc, rc);
    lua_pushboolean(L, true);
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        lua_pushinteger(L, keys[i].n);
        lua_rawseti(L, -2, i + 1);
    }
    return 2;
}

/* client:node() -> "host:port" of the last answer, "" before the first. */
static int lclient_node(lua_State *L)
{
    lua_pushstring(L, client_node(lclient_check(L)->client));
    return 1;
}

/* client:nodes() -> array of "host:port", as configured. */
static int lclient_nodes(lua_State *L)
{
    struct client *c = lclient_check(L)->client;
    int n = client_node_count(c);
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        lua_pushstring(L, client_node_name(c, i));
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static const char *text_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return luaL_optstring(L, -1, NULL); /* Stays on the stack for the caller's time. */
}

/* core.open{nodes=, timeout_ms=, user=, password=, session_ttl_ms=, session_name=} -> client; or false, message, code.
 * Connects to nobody yet. */
static int core_open(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct client_options options = {
        .nodes = text_field(L, "nodes"),
        .user = text_field(L, "user"),
        .password = text_field(L, "password"),
        .session_name = text_field(L, "session_name"),
    };
    lua_getfield(L, 1, "timeout_ms");
    options.timeout_ms = (unsigned)luaL_optinteger(L, -1, 0);
    lua_getfield(L, 1, "session_ttl_ms");
    options.session_ttl_ms = (unsigned)luaL_optinteger(L, -1, 0);
    struct lclient *lc = lua_newuserdatauv(L, sizeof *lc, 0);
    *lc = (struct lclient){0}; /* Closed, yet already under __gc: whatever fails next cannot leak. */
    luaL_setmetatable(L, CLIENT_METATABLE);
    int rc = client_open(&options, &lc->client);
    if (rc == 0)
        return 1;
    if (rc == CLIENT_ENOMEM)
        return luaL_error(L, "not enough memory");
    push_failure(L, client_message(lc->client), "refused"); /* Opened far enough to say why. */
    client_close(lc->client);
    lc->client = NULL;
    return 3;
}

/* ---- Values, time ---- */

/* core.encode(value) -> bytes, type; or nil and the reason. */
static int core_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    const char *type = value_encode(L, 1);
    if (type == NULL) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushstring(L, type);
    return 2;
}

/* core.decode(bytes, type) -> value, never nil; or nil and the reason. */
static int core_decode(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    if (value_decode(L, luaL_checkstring(L, 2), bytes, len))
        return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* core.now_ms() -> milliseconds on a clock that nobody sets, and that counts a machine's sleep. */
static int core_now_ms(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    return 1;
}

/* core.pause(ms): sleep for a random part of it. Not math.random: a program's own sequence is left alone, and
 * fork()ed workers that were born equal must not pause alike. */
static int core_pause(lua_State *L)
{
    lua_Integer ms = luaL_checkinteger(L, 1);
    luaL_argcheck(L, ms >= 0 && ms <= PAUSE_MS_MAX, 1, "out of range");
    uint32_t chance = 0;
    if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
        chance = UINT32_MAX; /* The whole pause, then. */
    long long ns = (long long)((double)ms * 1e6 * ((double)chance / UINT32_MAX));
    struct timespec left = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    return 0;
}

static const luaL_Reg client_methods[] = {
    {"read", lclient_read},
    {"write", lclient_write},
    {"node", lclient_node},
    {"nodes", lclient_nodes},
    {"close", lclient_close},
    {"lengths", lclient_lengths},
    {"wait", lclient_wait},
    {"wait_read", lclient_wait_read},
    {"session", lclient_session},
    {"alive", lclient_alive},
    {NULL, NULL},
};
static const luaL_Reg client_events[] = {{"__gc", lclient_close}, {"__close", lclient_close}, {NULL, NULL}};
static const luaL_Reg core_functions[] = {
    {"open", core_open},     {"encode", core_encode}, {"decode", core_decode},
    {"now_ms", core_now_ms}, {"pause", core_pause},   {NULL, NULL},
};

int luaopen_state_core(lua_State *L)
{
    value_init(L);
    luaL_newmetatable(L, CLIENT_METATABLE);
    luaL_setfuncs(L, client_events, 0);
    luaL_newlib(L, client_methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, core_functions);
    lua_pushlightuserdata(L, NULL); /* JSON's null, as it comes back inside tables. */
    lua_setfield(L, -2, "null");
    return 1;
}
