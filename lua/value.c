/* value.c - scalars are text, tables are JSON (table.h). */
#include "lua/value.h"
#include "lua/number.h"
#include "lua/table.h"
#include <lauxlib.h>
#include <string.h>

static const char *encode_number(lua_State *L, int index)
{
    char text[NUMBER_TEXT_MAX];
    if (lua_isinteger(L, index)) {
        size_t len = number_write_integer(text, lua_tointeger(L, index));
        lua_pushlstring(L, text, len);
        return "int";
    }
    size_t len = number_write_float(text, lua_tonumber(L, index));
    lua_pushlstring(L, text, len);
    return "float";
}

const char *value_encode(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        lua_pushvalue(L, index);
        return "str";
    case LUA_TNUMBER:
        return encode_number(L, index);
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
        return "bool";
    case LUA_TTABLE:
        return table_encode(L, index) ? "json" : NULL;
    case LUA_TNIL:
    case LUA_TNONE:
        lua_pushstring(L, "nil cannot be stored: use delete");
        return NULL;
    default:
        lua_pushfstring(L, "a %s cannot be stored", luaL_typename(L, index));
        return NULL;
    }
}

static bool decode_int(lua_State *L, const char *bytes, size_t len)
{
    int64_t n;
    bool ok = number_read_integer(bytes, len, &n);
    if (ok)
        lua_pushinteger(L, n);
    else
        lua_pushstring(L, "an integer that cannot be read");
    return ok;
}

static bool decode_float(lua_State *L, const char *bytes, size_t len)
{
    double d;
    bool ok = number_read_float(bytes, len, &d);
    if (ok)
        lua_pushnumber(L, d);
    else
        lua_pushstring(L, "a float that cannot be read");
    return ok;
}

static bool decode_bool(lua_State *L, const char *bytes, size_t len)
{
    bool yes = len == 4 && memcmp(bytes, "true", 4) == 0;
    bool ok = yes || (len == 5 && memcmp(bytes, "false", 5) == 0);
    if (ok)
        lua_pushboolean(L, yes);
    else
        lua_pushstring(L, "a boolean that cannot be read");
    return ok;
}

static bool decode_raw(lua_State *L, const char *bytes, size_t len)
{
    int64_t n;
    double d;
    if (number_is_integer(bytes, len, &n))
        lua_pushinteger(L, n);
    else if (number_is_float(bytes, len, &d))
        lua_pushnumber(L, d);
    else
        lua_pushlstring(L, bytes, len);
    return true;
}

static const struct decoder {
    const char *type;
    bool (*decode)(lua_State *L, const char *bytes, size_t len);
} decoders[] = {
    {"int", decode_int}, {"float", decode_float}, {"bool", decode_bool}, {"json", table_decode}, {"raw", decode_raw},
};

/* bytes is a Lua string or a reply, so a NUL follows its len bytes and strtod() stops there at the latest. */
bool value_decode(lua_State *L, const char *type, const char *bytes, size_t len)
{
    if (strcmp(type, "str") == 0) {
        lua_pushlstring(L, bytes, len);
        return true;
    }
    for (size_t i = 0; i < sizeof decoders / sizeof decoders[0]; i++)
        if (strcmp(type, decoders[i].type) == 0)
            return decoders[i].decode(L, bytes, len);
    lua_pushfstring(L, "a value of the unknown type %s", type);
    return false;
}

void value_init(lua_State *L)
{
    if (!number_init())
        luaL_error(L, "not enough memory");
    table_init(L);
}
