/* script_json.c - cjson for scripts: encode, decode, null. Objects are written with their keys in order, so that all
 * nodes write the same. A table is an array when its keys are 1 to n, give or take holes; an empty one is an object, as
 * in cjson. Text is gathered outside of Lua, where an error that leaps out of here does not lose it: the run frees it.
 */
#include "store/script_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define JSON_DEPTH_MAX 100
#define JSON_SPARSE_SAFE 10 /* Arrays up to this length may have any holes; longer ones must be half full. */

/* ---- encode ---- */

static void put(lua_State *L, const char *bytes, size_t len)
{
    struct command_buf *b = &script_of(L)->json;
    if (b->len + len > SCRIPT_MEMORY_BYTES_MAX)
        script_stop(L, SCRIPT_STOP_MEMORY);
    if (b->cap - b->len < len) {
        size_t cap = 2 * b->cap + len + 256;
        uint8_t *grown = realloc(b->base, cap);
        if (grown == NULL)
            script_stop(L, SCRIPT_STOP_SYSTEM);
        b->base = grown;
        b->cap = cap;
    }
    memcpy(b->base + b->len, bytes, len);
    b->len += len;
}

static void put_char(lua_State *L, char c)
{
    put(L, &c, 1);
}

static void put_escaped(lua_State *L, unsigned char c)
{
    static const char shorts[] = "\bb\ff\nn\rr\tt\"\"\\\\//";
    char text[8];
    for (size_t i = 0; shorts[i] != '\0'; i += 2) {
        if ((unsigned char)shorts[i] != c)
            continue;
        put_char(L, '\\');
        put_char(L, shorts[i + 1]);
        return;
    }
    if (c < 0x20 || c == 0x7f)
        put(L, text, (size_t)snprintf(text, sizeof text, "\\u%04x", c));
    else
        put_char(L, (char)c);
}

static void put_string(lua_State *L, int at)
{
    size_t len;
    const char *s = lua_tolstring(L, at, &len);
    script_charge(L, len);
    put_char(L, '"');
    for (size_t i = 0; i < len; i++)
        put_escaped(L, (unsigned char)s[i]);
    put_char(L, '"');
}

static void put_number(lua_State *L, int at)
{
    char text[SCRIPT_NUMBER_MAX];
    double d = lua_tonumber(L, at);
    if (!isfinite(d))
        luaL_error(L, "Cannot serialise number: must not be NaN or Infinity");
    put(L, text, script_number(text, d));
}

/* The length of the array at `at`, or -1 when it is an object. */
static lua_Integer array_length(lua_State *L, int at)
{
    lua_Integer max = 0, n = 0;
    for (lua_pushnil(L); lua_next(L, at) != 0; n++) {
        lua_pop(L, 1);
        lua_Integer i = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        if (i <= 0) {
            lua_pop(L, 1);
            return -1;
        }
        max = i > max ? i : max;
    }
    script_charge(L, (uint64_t)n);
    if (max > JSON_SPARSE_SAFE && max / 2 > n)
        luaL_error(L, "Cannot serialise table: excessively sparse array");
    return n == 0 ? -1 : max;
}

static void put_value(lua_State *L, int at, int depth);

static void put_array(lua_State *L, int at, lua_Integer n, int depth)
{
    put_char(L, '[');
    for (lua_Integer i = 1; i <= n; i++) {
        if (i > 1)
            put_char(L, ',');
        lua_rawgeti(L, at, i);
        put_value(L, lua_gettop(L), depth);
        lua_pop(L, 1);
    }
    put_char(L, ']');
}

static void put_key(lua_State *L, int at)
{
    if (lua_type(L, at) == LUA_TSTRING) {
        put_string(L, at);
    } else if (lua_type(L, at) == LUA_TNUMBER) {
        put_char(L, '"');
        put_number(L, at);
        put_char(L, '"');
    } else {
        luaL_error(L, "Cannot serialise %s: table key must be a number or string", luaL_typename(L, at));
    }
}

static void put_object(lua_State *L, int at, int depth)
{
    script_push_keys(L, at);
    int keys = lua_gettop(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, keys);
    put_char(L, '{');
    for (lua_Integer i = 1; i <= n; i++) {
        if (i > 1)
            put_char(L, ',');
        lua_rawgeti(L, keys, i);
        put_key(L, lua_gettop(L));
        put_char(L, ':');
        lua_rawget(L, at);
        put_value(L, lua_gettop(L), depth);
        lua_pop(L, 1);
    }
    put_char(L, '}');
    lua_pop(L, 1);
}

static void put_value(lua_State *L, int at, int depth)
{
    luaL_checkstack(L, 8, "too many nested tables");
    script_charge(L, 4);
    switch (lua_type(L, at)) {
    case LUA_TSTRING:
        put_string(L, at);
        break;
    case LUA_TNUMBER:
        put_number(L, at);
        break;
    case LUA_TBOOLEAN:
        lua_toboolean(L, at) ? put(L, "true", 4) : put(L, "false", 5);
        break;
    case LUA_TNIL:
        put(L, "null", 4);
        break;
    case LUA_TTABLE: {
        if (depth > JSON_DEPTH_MAX)
            luaL_error(L, "Cannot serialise, excessive depth (%d)", depth);
        lua_Integer n = array_length(L, at);
        n < 0 ? put_object(L, at, depth + 1) : put_array(L, at, n, depth + 1);
        break;
    }
    default:
        if (lua_islightuserdata(L, at) && lua_touserdata(L, at) == NULL)
            put(L, "null", 4);
        else
            luaL_error(L, "Cannot serialise %s: type not supported", luaL_typename(L, at));
    }
}

static int json_encode(lua_State *L)
{
    struct script_run *run = script_of(L);
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    run->json.len = 0;
    put_value(L, 1, 1);
    lua_pushlstring(L, (const char *)run->json.base, run->json.len);
    return 1;
}

/* ---- decode ---- */

struct reader {
    const char *start, *at, *end;
};

static void take_value(lua_State *L, struct reader *r, int depth);

static void expected(lua_State *L, const struct reader *r, const char *what)
{
    const char *found = r->at == r->end ? "T_END" : "invalid token";
    luaL_error(L, "Expected %s but found %s at character %d", what, found, (int)(r->at - r->start) + 1);
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

/* The next character that is no blank is this one: step over it. */
static bool take_char(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool take_word(struct reader *r, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
        return false;
    r->at += len;
    return true;
}

static uint32_t take_hex4(lua_State *L, struct reader *r)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        char c = r->at < r->end ? *r->at : '\0';
        int digit = c >= '0' && c <= '9'                     ? c - '0'
                    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                             : -1;
        if (digit < 0)
            luaL_error(L, "Expected value but found invalid unicode escape code at character %d",
                       (int)(r->at - r->start) + 1);
        code = code * 16 + (uint32_t)digit;
    }
    return code;
}

static void put_utf8(lua_State *L, uint32_t code)
{
    char text[4];
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; code >>= 6)
        text[i] = (char)(0x80 | (code & 0x3f));
    text[0] = (char)(heads[n] | code);
    put(L, text, n);
}

static void take_escape(lua_State *L, struct reader *r)
{
    static const char shorts[] = "b\bf\fn\nr\rt\t\"\"\\\\//";
    char c = r->at < r->end ? *r->at++ : '\0';
    if (c == 'u') {
        uint32_t code = take_hex4(L, r);
        if (code >= 0xd800 && code < 0xdc00 && take_word(r, "\\u")) {
            uint32_t low = take_hex4(L, r);
            code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
        }
        put_utf8(L, code);
        return;
    }
    for (size_t i = 0; shorts[i] != '\0'; i += 2) {
        if (shorts[i] != c)
            continue;
        put_char(L, shorts[i + 1]);
        return;
    }
    luaL_error(L, "Expected value but found invalid escape code at character %d", (int)(r->at - r->start));
}

/* Behind its opening quote. */
static void take_string(lua_State *L, struct reader *r)
{
    struct script_run *run = script_of(L);
    run->json.len = 0;
    for (;;) {
        if (r->at == r->end)
            luaL_error(L, "Expected value but found unexpected end of string at character %d",
                       (int)(r->at - r->start) + 1);
        char c = *r->at++;
        if (c == '"')
            break;
        if (c == '\\')
            take_escape(L, r);
        else
            put_char(L, c);
    }
    lua_pushlstring(L, (const char *)run->json.base, run->json.len);
}

static void take_number(lua_State *L, struct reader *r)
{
    char text[64];
    size_t n = strspn(r->at, "+-0123456789.eE"); /* Ends at the string's own zero at the latest. */
    char *stop;
    memcpy(text, r->at, n < sizeof text ? n : 0);
    text[n < sizeof text ? n : 0] = '\0';
    double d = strtod(text, &stop);
    if (n == 0 || n >= sizeof text || stop != text + n)
        expected(L, r, "value");
    r->at += n;
    lua_pushnumber(L, d);
}

static void take_array(lua_State *L, struct reader *r, int depth)
{
    lua_newtable(L);
    if (take_char(r, ']'))
        return;
    for (lua_Integer i = 1;; i++) {
        take_value(L, r, depth);
        lua_rawseti(L, -2, i);
        if (take_char(r, ']'))
            return;
        if (!take_char(r, ','))
            expected(L, r, "comma or array end");
    }
}

static void take_object(lua_State *L, struct reader *r, int depth)
{
    lua_newtable(L);
    if (take_char(r, '}'))
        return;
    for (;;) {
        if (!take_char(r, '"'))
            expected(L, r, "object key string");
        take_string(L, r);
        if (!take_char(r, ':'))
            expected(L, r, "colon");
        take_value(L, r, depth);
        lua_rawset(L, -3);
        if (take_char(r, '}'))
            return;
        if (!take_char(r, ','))
            expected(L, r, "comma or object end");
    }
}

static void take_value(lua_State *L, struct reader *r, int depth)
{
    luaL_checkstack(L, 8, "too many nested data structures");
    if (depth > JSON_DEPTH_MAX)
        luaL_error(L, "Found too many nested data structures (%d)", depth);
    if (take_char(r, '{'))
        take_object(L, r, depth + 1);
    else if (take_char(r, '['))
        take_array(L, r, depth + 1);
    else if (take_char(r, '"'))
        take_string(L, r);
    else if (take_word(r, "true"))
        lua_pushboolean(L, 1);
    else if (take_word(r, "false"))
        lua_pushboolean(L, 0);
    else if (take_word(r, "null"))
        lua_pushlightuserdata(L, NULL);
    else
        take_number(L, r);
}

static int json_decode(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct reader r = {.start = text, .at = text, .end = text + len};
    script_charge(L, 2 * len + 10);
    take_value(L, &r, 1);
    skip_blanks(&r);
    if (r.at != r.end)
        expected(L, &r, "the end");
    return 1;
}

void script_json_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"encode", json_encode}, {"decode", json_decode}, {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
}
