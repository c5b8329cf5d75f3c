/* script_lib.c - the library of Lua 5.1, for scripts that must come out the same on every node.
 * Lua 5.4's own functions do the work where they can be trusted; here is what they do differently:
 *     pairs, next    in the order of the keys, numbers, strings, booleans: a table's own order differs from run to run
 *     table.sort     its own: Lua's looks at the clock for a pivot
 *     patterns       pattern.c's: Lua's may take for ever
 *     tostring ...   numbers without ".0", tables without addresses
 *     pcall          does not catch what ends a script for good, and shows the text of a command's error
 *     setmetatable   without finalizers: those run when the collector likes
 *     random         from the script's own chance
 * Whatever takes long for a few instructions of Lua is charged as work. */
#include "store/pattern.h"
#include "store/dialect.h"
#include "store/script_internal.h"
#include <lualib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PCALL_WORK 300  /* An error that is caught takes its time. */
#define BYTES_A_STEP 16 /* That the library moves in the time of an instruction. */

size_t script_number(char text[SCRIPT_NUMBER_MAX], double d)
{
    if (isnan(d)) /* Its sign is the processor's. */
        return (size_t)snprintf(text, SCRIPT_NUMBER_MAX, "-nan");
    return (size_t)snprintf(text, SCRIPT_NUMBER_MAX, "%.14g", d);
}

/* Make the number at `at` a string as 5.1 would; others stay. */
static void fix_number(lua_State *L, int at)
{
    char text[SCRIPT_NUMBER_MAX];
    if (lua_type(L, at) != LUA_TNUMBER)
        return;
    at = lua_absindex(L, at);
    lua_pushlstring(L, text, script_number(text, lua_tonumber(L, at)));
    lua_replace(L, at);
}

/* 5.1 cuts the fraction off where it wants an integer. */
static void fix_integer(lua_State *L, int at)
{
    lua_Integer i;
    if (lua_type(L, at) == LUA_TNUMBER && !lua_isinteger(L, at)) {
        double d = trunc(lua_tonumber(L, at));
        if (d >= -9007199254740992.0 && d <= 9007199254740992.0)
            i = (lua_Integer)d;
        else
            i = d > 0 ? LUA_MAXINTEGER : LUA_MININTEGER;
        lua_pushinteger(L, i);
        lua_replace(L, at);
    }
}

static lua_Integer check_integer(lua_State *L, int at, lua_Integer missing)
{
    if (lua_isnoneornil(L, at))
        return missing;
    luaL_checknumber(L, at);
    if (lua_type(L, at) == LUA_TSTRING) {
        lua_pushnumber(L, lua_tonumber(L, at));
        lua_replace(L, at);
    }
    fix_integer(L, at);
    return luaL_checkinteger(L, at);
}

/* ---- Text of values ---- */

static int lib_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    if (luaL_callmeta(L, 1, "__tostring")) {
        if (lua_type(L, -1) != LUA_TSTRING)
            return luaL_error(L, "'tostring' must return a string to 'print'");
        return 1;
    }
    switch (lua_type(L, 1)) {
    case LUA_TNUMBER:
        fix_number(L, 1);
        break;
    case LUA_TSTRING:
        break;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, 1) ? "true" : "false");
        break;
    case LUA_TNIL:
        lua_pushliteral(L, "nil");
        break;
    default:
        lua_pushfstring(L, "%s: 0x0", luaL_typename(L, 1)); /* No addresses. */
        break;
    }
    return 1;
}

/* Left sides wait for their right ones in a table, the last one first: what is between the two may concatenate, too. */
static int concat_left(lua_State *L)
{
    struct script_run *run = script_of(L);
    lua_settop(L, 1);
    lua_rawseti(L, lua_upvalueindex(1), ++run->concats);
    lua_pushvalue(L, lua_upvalueindex(2));
    return 1;
}

static int concat_right(lua_State *L)
{
    struct script_run *run = script_of(L);
    lua_settop(L, 2);
    lua_rawgeti(L, lua_upvalueindex(1), run->concats--);
    lua_replace(L, 1);
    if (lua_isstring(L, 1) && lua_isstring(L, 2)) {
        fix_number(L, 1);
        fix_number(L, 2);
        lua_concat(L, 2);
        return 1;
    }
    if (luaL_getmetafield(L, 1, "__concat") == LUA_TNIL && luaL_getmetafield(L, 2, "__concat") == LUA_TNIL)
        return luaL_error(L, "attempt to concatenate a %s value", luaL_typename(L, lua_isstring(L, 1) ? 2 : 1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* Pushes a value whose shift is f, with two upvalues that are taken from the stack. */
static void push_shifting(lua_State *L, lua_CFunction f)
{
    lua_pushcclosure(L, f, 2);
    lua_newuserdatauv(L, 1, 0);
    lua_createtable(L, 0, 2);
    lua_rotate(L, -3, -1); /* value, metatable, f */
    lua_setfield(L, -2, "__shl");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

/* Pushes what stands in every "..": shifted to from the left side it answers what waits for the right one. */
static void push_concat(lua_State *L)
{
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    push_shifting(L, concat_right);
    push_shifting(L, concat_left);
}

/* ---- Order ---- */

/* Is the key at a before that at b? */
static bool key_before(lua_State *L, int a, int b)
{
    int ta = lua_type(L, a), tb = lua_type(L, b);
    if (ta != tb) /* LUA_TBOOLEAN < LUA_TNUMBER < LUA_TSTRING; booleans are to come last. */
        return ta == LUA_TBOOLEAN ? false : tb == LUA_TBOOLEAN ? true : ta < tb;
    if (ta == LUA_TNUMBER)
        return lua_compare(L, a, b, LUA_OPLT) != 0;
    if (ta == LUA_TBOOLEAN)
        return !lua_toboolean(L, a) && lua_toboolean(L, b);
    size_t la, lb;
    const char *sa = lua_tolstring(L, a, &la), *sb = lua_tolstring(L, b, &lb);
    int order = memcmp(sa, sb, la < lb ? la : lb);
    return order < 0 || (order == 0 && la < lb);
}

static void check_key(lua_State *L, int at)
{
    int type = lua_type(L, at);
    if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TBOOLEAN)
        luaL_error(L, "a table with a %s as a key has no order to be walked in", lua_typename(L, type));
}

/* Does what stands at the two top places belong the other way round? Called with the values of a merge. */
static bool sort_before(lua_State *L, int a, int b, int compare)
{
    if (compare == 0)
        return lua_compare(L, a, b, LUA_OPLT) != 0;
    if (compare < 0)
        return key_before(L, a, b);
    lua_pushvalue(L, compare);
    lua_pushvalue(L, a);
    lua_pushvalue(L, b);
    lua_call(L, 2, 1);
    bool before = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return before;
}

/* Merge from[lo, mid) and from[mid, hi) into to. Stable: the right side goes first only when it is before the left. */
static void merge(lua_State *L, int from, int to, lua_Integer lo, lua_Integer mid, lua_Integer hi, int compare)
{
    lua_Integer i = lo, j = mid;
    for (lua_Integer k = lo; k < hi; k++) {
        lua_rawgeti(L, from, i);
        lua_rawgeti(L, from, j < hi ? j : i);
        bool right = i >= mid || (j < hi && sort_before(L, lua_gettop(L), lua_gettop(L) - 1, compare));
        if (right)
            j++;
        else
            i++;
        lua_rawgeti(L, from, right ? j - 1 : i - 1);
        lua_rawseti(L, to, k);
        lua_pop(L, 2);
    }
    script_charge(L, (uint64_t)(hi - lo));
}

/* Sort elements 1 to n of the array at `at`; compare: the place of a function, 0 for <, -1 for the order of keys. */
static void sort(lua_State *L, int at, lua_Integer n, int compare)
{
    lua_createtable(L, n < INT32_MAX ? (int)n : 0, 0);
    int from = at, to = lua_gettop(L);
    for (lua_Integer width = 1; width < n; width *= 2) {
        for (lua_Integer lo = 1; lo <= n; lo += 2 * width) {
            lua_Integer mid = lo + width <= n + 1 ? lo + width : n + 1;
            lua_Integer hi = lo + 2 * width <= n + 1 ? lo + 2 * width : n + 1;
            merge(L, from, to, lo, mid, hi, compare);
        }
        int swap = from;
        from = to;
        to = swap;
    }
    for (lua_Integer i = 1; from != at && i <= n; i++) {
        lua_rawgeti(L, from, i);
        lua_rawseti(L, at, i);
    }
    lua_pop(L, 1);
}

static int lib_sort(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    sort(L, 1, (lua_Integer)lua_rawlen(L, 1), lua_isnil(L, 2) ? 0 : 2);
    return 0;
}

void script_push_keys(lua_State *L, int at)
{
    lua_Integer n = 0;
    bool in_order = true;
    at = lua_absindex(L, at);
    luaL_checkstack(L, 8, "too many nested tables");
    lua_createtable(L, (int)lua_rawlen(L, at), 0);
    int keys = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, at) != 0;) {
        lua_pop(L, 1);
        check_key(L, -1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, keys, ++n);
        in_order = in_order && lua_isinteger(L, -1) && lua_tointeger(L, -1) == n;
    }
    script_charge(L, (uint64_t)n);
    if (!in_order)
        sort(L, keys, n, -1);
}

/* The next key with a value; upvalues: the keys, how far they are used. */
static int pairs_step(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));
    lua_settop(L, 1);
    do {
        lua_settop(L, 1);
        lua_rawgeti(L, lua_upvalueindex(1), ++i);
        lua_pushvalue(L, 2);
        if (!lua_isnil(L, 2))
            lua_rawget(L, 1);
    } while (!lua_isnil(L, 2) && lua_isnil(L, 3));
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(2));
    return lua_isnil(L, 2) ? 1 : 2;
}

static int lib_pairs(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    script_push_keys(L, 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, pairs_step, 2);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* The least key after the one given: no state, and a walk of the whole table for each. */
static int lib_next(lua_State *L)
{
    uint64_t n = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2))
        check_key(L, 2);
    lua_pushnil(L); /* 3: the best yet */
    for (lua_pushnil(L); lua_next(L, 1) != 0; n++) {
        lua_pop(L, 1);
        check_key(L, 4);
        bool after = lua_isnil(L, 2) || key_before(L, 2, 4);
        if (after && (lua_isnil(L, 3) || key_before(L, 4, 3))) {
            lua_pushvalue(L, 4);
            lua_replace(L, 3);
        }
    }
    script_charge(L, n);
    if (lua_isnil(L, 3))
        return 1;
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 3);
    lua_rawget(L, 1);
    return 2;
}

/* ---- Errors ---- */

/* What ends a script for good is raised again. */
static void raise_stop(lua_State *L, int status)
{
    struct script_run *run = script_of(L);
    if (status == LUA_ERRMEM && run->stop == SCRIPT_RUNS)
        run->stop = SCRIPT_STOP_MEMORY;
    if (run->stop != SCRIPT_RUNS)
        script_stop(L, run->stop);
}

/* A command's error is a table with its text: the caller of pcall sees the text. */
static void show_text(lua_State *L, int at)
{
    if (!lua_istable(L, at))
        return;
    lua_pushliteral(L, "err");
    lua_rawget(L, at);
    if (lua_isstring(L, -1))
        lua_replace(L, at);
    else
        lua_pop(L, 1);
}

static int lib_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    script_charge(L, PCALL_WORK);
    lua_Integer concats = script_of(L)->concats;
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    script_of(L)->concats = concats;
    raise_stop(L, status);
    lua_pushboolean(L, status == LUA_OK);
    lua_insert(L, 1);
    if (status == LUA_OK)
        return lua_gettop(L);
    show_text(L, 2);
    return 2;
}

static int lib_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    script_charge(L, PCALL_WORK);
    lua_settop(L, 2);
    lua_insert(L, 1); /* The handler below the function. */
    lua_Integer concats = script_of(L)->concats;
    int status = lua_pcall(L, 0, LUA_MULTRET, 1);
    script_of(L)->concats = concats;
    raise_stop(L, status);
    lua_pushboolean(L, status == LUA_OK);
    lua_replace(L, 1);
    return lua_gettop(L);
}

/* ---- Tables ---- */

static int lib_setmetatable(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argcheck(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table expected");
    lua_settop(L, 2);
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    if (lua_isnil(L, 2)) {
        lua_setmetatable(L, 1);
        return 1;
    }
    lua_pushliteral(L, "__gc"); /* Not there while the metatable is set, a finalizer is never called. */
    lua_rawget(L, 2);
    lua_pushliteral(L, "__gc");
    lua_pushnil(L);
    lua_rawset(L, 2);
    lua_pushvalue(L, 2);
    lua_setmetatable(L, 1);
    lua_pushliteral(L, "__gc");
    lua_pushvalue(L, 3);
    lua_rawset(L, 2);
    lua_settop(L, 1);
    return 1;
}

static int lib_unpack(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer i = check_integer(L, 2, 1);
    lua_Integer e = check_integer(L, 3, (lua_Integer)lua_rawlen(L, 1));
    if (i > e)
        return 0;
    if (e - i >= 8000 || e - i < 0 || !lua_checkstack(L, (int)(e - i) + 1))
        return luaL_error(L, "too many results to unpack");
    script_charge(L, (uint64_t)(e - i));
    for (lua_Integer k = i; k <= e; k++)
        lua_geti(L, 1, k);
    return (int)(e - i) + 1;
}

static int lib_table_concat(lua_State *L)
{
    size_t sep_len = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *sep = lua_isnoneornil(L, 2) ? "" : (fix_number(L, 2), luaL_checklstring(L, 2, &sep_len));
    lua_Integer i = check_integer(L, 3, 1), last = check_integer(L, 4, (lua_Integer)lua_rawlen(L, 1));
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (; i <= last; i++) {
        script_charge(L, 1);
        lua_geti(L, 1, i);
        if (!lua_isstring(L, -1))
            return luaL_error(L, "invalid value (%s) at index %d in table for 'concat'", luaL_typename(L, -1), (int)i);
        fix_number(L, -1);
        luaL_addvalue(&b);
        if (i < last)
            luaL_addlstring(&b, sep, sep_len);
    }
    luaL_pushresult(&b);
    return 1;
}

static int lib_getn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
    return 1;
}

static int lib_maxn(lua_State *L)
{
    lua_Number max = 0;
    uint64_t n = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 1) != 0; n++) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) > max)
            max = lua_tonumber(L, -1);
    }
    script_charge(L, n);
    lua_pushnumber(L, max);
    return 1;
}

/* Lua's own insert and remove move what is behind. */
static int lib_move_table(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    if (n >= 2 && (n == 3 || lua_toboolean(L, lua_upvalueindex(2))))
        fix_integer(L, 2);
    script_charge(L, lua_rawlen(L, 1) / 4);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    return lua_gettop(L);
}

/* ---- Strings ---- */

/* One of Lua's own string functions, charged for what it reads, with its numbers as 5.1 takes them: argument 1 a
 * string, the others integers. */
static int lib_string(lua_State *L)
{
    int n = lua_gettop(L);
    fix_number(L, 1);
    for (int i = 2; i <= n; i++)
        fix_integer(L, i);
    if (lua_type(L, 1) == LUA_TSTRING)
        script_charge(L, lua_rawlen(L, 1) / BYTES_A_STEP);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    return lua_gettop(L);
}

static int lib_rep(lua_State *L)
{
    size_t len;
    fix_number(L, 1);
    const char *s = luaL_checklstring(L, 1, &len);
    lua_Integer n = check_integer(L, 2, 0);
    luaL_Buffer b;
    if (n <= 0 || len == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if ((uint64_t)n > SCRIPT_MEMORY_BYTES_MAX / len)
        return luaL_error(L, "resulting string too large");
    script_charge(L, (uint64_t)n * len / BYTES_A_STEP);
    char *to = luaL_buffinitsize(L, &b, (size_t)n * len);
    for (lua_Integer i = 0; i < n; i++)
        memcpy(to + (size_t)i * len, s, len);
    luaL_pushresultsize(&b, (size_t)n * len);
    return 1;
}

static int lib_char(lua_State *L)
{
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++)
        fix_integer(L, i);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, 1);
    return 1;
}

/* ---- string.format ---- */

#define SPEC_MAX 16

/* Copy "%[flags][width][.precision]" into spec; returns what is behind it. */
static const char *read_spec(lua_State *L, const char *at, char spec[SPEC_MAX])
{
    size_t n = 1 + strspn(at + 1, "-+ #0");
    bool ok = n <= 6;
    for (int digits = 0; at[n] >= '0' && at[n] <= '9'; n++)
        ok = ok && ++digits <= 2;
    if (at[n] == '.') {
        n++;
        for (int digits = 0; at[n] >= '0' && at[n] <= '9'; n++)
            ok = ok && ++digits <= 2;
    }
    if (!ok)
        luaL_error(L, "invalid format (width or precision too long)");
    memcpy(spec, at, n);
    spec[n] = '\0';
    return at + n;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* read_spec() has checked them. */
static void add_integer(lua_State *L, luaL_Buffer *b, int arg, char spec[SPEC_MAX], char kind)
{
    char text[128], tail[3] = {'l', kind == 'i' ? 'd' : kind, '\0'};
    luaL_checknumber(L, arg);
    lua_Integer i = check_integer(L, arg, 0);
    strcat(spec, "l");
    strcat(spec, tail);
    luaL_addlstring(b, text, (size_t)snprintf(text, sizeof text, spec, (long long)i));
}

static void add_float(lua_State *L, luaL_Buffer *b, int arg, char spec[SPEC_MAX], char kind)
{
    char text[512];
    double d = luaL_checknumber(L, arg);
    strncat(spec, &kind, 1);
    luaL_addlstring(b, text, (size_t)snprintf(text, sizeof text, spec, isnan(d) ? copysign(d, -1) : d));
}

static void add_string(lua_State *L, luaL_Buffer *b, int arg, char spec[SPEC_MAX])
{
    size_t len;
    char text[256];
    lua_pushcfunction(L, lib_tostring);
    lua_pushvalue(L, arg);
    lua_call(L, 1, 1);
    const char *s = lua_tolstring(L, -1, &len);
    if (spec[1] == '\0' || len >= 100) {
        luaL_addvalue(b);
        return;
    }
    strcat(spec, "s");
    int n = snprintf(text, sizeof text, spec, s);
    lua_pop(L, 1);
    luaL_addlstring(b, text, (size_t)n);
}
#pragma GCC diagnostic pop

static void add_quoted(lua_State *L, luaL_Buffer *b, int arg)
{
    size_t len;
    const char *s = luaL_checklstring(L, arg, &len);
    luaL_addchar(b, '"');
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"' || s[i] == '\\' || s[i] == '\n')
            luaL_addchar(b, '\\');
        if (s[i] == '\r')
            luaL_addstring(b, "\\r");
        else if (s[i] == '\0')
            luaL_addstring(b, "\\000");
        else
            luaL_addchar(b, s[i]);
    }
    luaL_addchar(b, '"');
}

static int lib_format(lua_State *L)
{
    size_t len;
    int arg = 1;
    fix_number(L, 1);
    const char *at = luaL_checklstring(L, 1, &len), *end = at + len;
    luaL_Buffer b;
    script_charge(L, len / BYTES_A_STEP);
    luaL_buffinit(L, &b);
    while (at < end) {
        char spec[SPEC_MAX];
        if (*at != '%') {
            luaL_addchar(&b, *at++);
            continue;
        }
        if (at[1] == '%') {
            luaL_addchar(&b, '%');
            at += 2;
            continue;
        }
        at = read_spec(L, at, spec);
        luaL_checkany(L, ++arg);
        switch (*at) {
        case 'c':
            luaL_addchar(&b, (char)check_integer(L, arg, 0));
            break;
        case 'd':
        case 'i':
        case 'u':
        case 'o':
        case 'x':
        case 'X':
            add_integer(L, &b, arg, spec, *at);
            break;
        case 'e':
        case 'E':
        case 'f':
        case 'g':
        case 'G':
            add_float(L, &b, arg, spec, *at);
            break;
        case 'q':
            add_quoted(L, &b, arg);
            break;
        case 's':
            add_string(L, &b, arg, spec);
            break;
        default:
            return luaL_error(L, "invalid option '%%%c' to 'format'", *at);
        }
        at++;
    }
    luaL_pushresult(&b);
    return 1;
}

/* ---- Patterns ---- */

static void set_up(lua_State *L, struct pattern *p, bool *ret_anchored)
{
    size_t len, subject_len;
    fix_number(L, 1);
    fix_number(L, 2);
    p->subject = luaL_checklstring(L, 1, &subject_len);
    p->source = luaL_checklstring(L, 2, &len);
    p->subject_end = p->subject + subject_len;
    p->source_end = p->source + len;
    *ret_anchored = len > 0 && *p->source == '^';
    p->source += *ret_anchored;
}

/* One try at this place; charged for. */
static bool try_match(lua_State *L, struct pattern *p, const char *at, const char **ret_end)
{
    struct script_run *run = script_of(L);
    uint64_t left = run->work < SCRIPT_INSTRUCTIONS_MAX ? SCRIPT_INSTRUCTIONS_MAX - run->work : 0;
    p->steps = left;
    enum pattern_result r = pattern_match(p, at, ret_end);
    script_charge(L, left - p->steps + (r == PATTERN_TIRED) + 1);
    if (r == PATTERN_MALFORMED)
        luaL_error(L, "%s", p->error);
    return r == PATTERN_MATCH;
}

static bool search(lua_State *L, struct pattern *p, const char *from, bool anchored, const char **ret_at,
                   const char **ret_end)
{
    for (const char *at = from; at <= p->subject_end; at++) {
        if (try_match(L, p, at, ret_end)) {
            *ret_at = at;
            return true;
        }
        if (anchored)
            break;
    }
    return false;
}

static void push_capture(lua_State *L, const struct pattern *p, size_t i, const char *at, const char *end)
{
    if (p->n_captures == 0)
        lua_pushlstring(L, at, (size_t)(end - at));
    else if (p->captures[i].is_position)
        lua_pushinteger(L, p->captures[i].base - p->subject + 1);
    else
        lua_pushlstring(L, p->captures[i].base, p->captures[i].len);
}

/* All captures, or the whole match when there are none. */
static int push_captures(lua_State *L, const struct pattern *p, const char *at, const char *end)
{
    size_t n = p->n_captures > 0 ? p->n_captures : 1;
    luaL_checkstack(L, (int)n, "too many captures");
    for (size_t i = 0; i < n; i++)
        push_capture(L, p, i, at, end);
    return (int)n;
}

static const char *start_at(lua_State *L, const struct pattern *p)
{
    lua_Integer len = p->subject_end - p->subject, init = check_integer(L, 3, 1);
    if (init < 0)
        init = init < -len ? 1 : len + init + 1;
    else if (init == 0)
        init = 1;
    return init > len + 1 ? NULL : p->subject + init - 1;
}

static int find_plain(lua_State *L, const struct pattern *p, const char *from, const char *what, size_t len)
{
    script_charge(L, (uint64_t)(p->subject_end - from) / BYTES_A_STEP);
    const char *at = memmem(from, (size_t)(p->subject_end - from), what, len);
    if (at == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - p->subject + 1);
    lua_pushinteger(L, at - p->subject + (lua_Integer)len);
    return 2;
}

static int find(lua_State *L, bool wants_place)
{
    struct pattern p;
    bool anchored;
    const char *at, *end;
    set_up(L, &p, &anchored);
    const char *from = start_at(L, &p);
    if (from == NULL) {
        lua_pushnil(L);
        return 1;
    }
    const char *what = p.source - anchored;
    size_t len = (size_t)(p.source_end - what);
    if (wants_place && (lua_toboolean(L, 4) || strcspn(what, "^$*+?.([%-") == len))
        return find_plain(L, &p, from, what, len);
    if (!search(L, &p, from, anchored, &at, &end)) {
        lua_pushnil(L);
        return 1;
    }
    if (!wants_place)
        return push_captures(L, &p, at, end);
    lua_pushinteger(L, at - p.subject + 1);
    lua_pushinteger(L, end - p.subject);
    return 2 + (p.n_captures > 0 ? push_captures(L, &p, at, end) : 0);
}

static int lib_find(lua_State *L)
{
    return find(L, true);
}

static int lib_match(lua_State *L)
{
    return find(L, false);
}

/* Upvalues: subject, pattern, where to go on. */
static int gmatch_step(lua_State *L)
{
    struct pattern p;
    bool anchored;
    const char *at, *end;
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    set_up(L, &p, &anchored);
    p.source -= anchored; /* Here a ^ is itself. */
    lua_Integer from = lua_tointeger(L, lua_upvalueindex(3));
    if (p.subject + from > p.subject_end || !search(L, &p, p.subject + from, false, &at, &end))
        return 0;
    lua_pushinteger(L, end - p.subject + (end == at));
    lua_replace(L, lua_upvalueindex(3));
    return push_captures(L, &p, at, end);
}

static int lib_gmatch(lua_State *L)
{
    fix_number(L, 1);
    fix_number(L, 2);
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, gmatch_step, 3);
    return 1;
}

/* The replacement's text with %0 to %9 filled in. */
static void add_text(lua_State *L, luaL_Buffer *b, const struct pattern *p, const char *at, const char *end)
{
    size_t len;
    const char *text = lua_tolstring(L, 3, &len);
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '%' || i + 1 == len) {
            luaL_addchar(b, text[i]);
            continue;
        }
        char c = text[++i];
        if (c < '0' || c > '9') { /* 5.1: any other character stands for itself. */
            luaL_addchar(b, c);
            continue;
        }
        if (c == '0') {
            luaL_addlstring(b, at, (size_t)(end - at));
            continue;
        }
        size_t k = (size_t)(c - '1');
        if (k >= (p->n_captures > 0 ? p->n_captures : 1))
            luaL_error(L, "invalid capture index");
        push_capture(L, p, k, at, end);
        fix_number(L, -1);
        luaL_addvalue(b);
    }
}

static void add_replacement(lua_State *L, luaL_Buffer *b, const struct pattern *p, const char *at, const char *end)
{
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION:
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, p, at, end), 1);
        break;
    case LUA_TTABLE:
        push_capture(L, p, 0, at, end);
        lua_gettable(L, 3);
        break;
    default:
        add_text(L, b, p, at, end);
        return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, at, (size_t)(end - at));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    fix_number(L, -1);
    luaL_addvalue(b);
}

static int lib_gsub(lua_State *L)
{
    struct pattern p;
    bool anchored;
    const char *end;
    lua_Integer n = 0;
    set_up(L, &p, &anchored);
    lua_Integer max = check_integer(L, 4, (p.subject_end - p.subject) + 1);
    fix_number(L, 3);
    int type = lua_type(L, 3);
    luaL_argcheck(L, type == LUA_TSTRING || type == LUA_TTABLE || type == LUA_TFUNCTION, 3,
                  "string/function/table expected");
    lua_settop(L, 4);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    const char *at = p.subject;
    while (n < max) {
        bool found = try_match(L, &p, at, &end);
        if (found) {
            n++;
            add_replacement(L, &b, &p, at, end);
        }
        if (found && end > at)
            at = end;
        else if (at < p.subject_end)
            luaL_addchar(&b, *at++);
        else
            break;
        if (anchored)
            break;
    }
    if (at < p.subject_end)
        luaL_addlstring(&b, at, (size_t)(p.subject_end - at));
    luaL_pushresult(&b);
    lua_pushinteger(L, n);
    return 2;
}

/* ---- Numbers ---- */

static int lib_random(lua_State *L)
{
    double r = (double)(script_chance(script_of(L)) >> 11) * 0x1p-53;
    int n = lua_gettop(L);
    if (n == 0) {
        lua_pushnumber(L, r);
        return 1;
    }
    lua_Integer low = n > 1 ? check_integer(L, 1, 1) : 1, high = check_integer(L, n > 1 ? 2 : 1, 1);
    luaL_argcheck(L, low <= high, n > 1 ? 2 : 1, "interval is empty");
    lua_pushnumber(L, floor(r * ((double)high - (double)low + 1)) + (double)low);
    return 1;
}

static int lib_randomseed(lua_State *L)
{
    double seed = luaL_checknumber(L, 1);
    memcpy(&script_of(L)->chance, &seed, sizeof seed);
    return 0;
}

static int lib_pow(lua_State *L)
{
    lua_pushnumber(L, pow(luaL_checknumber(L, 1), luaL_checknumber(L, 2)));
    return 1;
}

static int lib_log10(lua_State *L)
{
    lua_pushnumber(L, log10(luaL_checknumber(L, 1)));
    return 1;
}

static int lib_ldexp(lua_State *L)
{
    lua_pushnumber(L, ldexp(luaL_checknumber(L, 1), (int)check_integer(L, 2, 0)));
    return 1;
}

static int lib_frexp(lua_State *L)
{
    int exponent;
    lua_pushnumber(L, frexp(luaL_checknumber(L, 1), &exponent));
    lua_pushinteger(L, exponent);
    return 2;
}

/* ---- Bits: 32-bit integers, as the bit library of LuaJIT has them ---- */

enum bit_operation { BIT_AND, BIT_OR, BIT_XOR, BIT_LEFT, BIT_RIGHT, BIT_ARITHMETIC, BIT_ROTATE };

static uint32_t check_bits(lua_State *L, int at)
{
    double d = luaL_checknumber(L, at);
    d = fmod(isfinite(d) ? nearbyint(d) : 0, 4294967296.0);
    return (uint32_t)(int64_t)d;
}

static uint32_t bit_combine(enum bit_operation op, uint32_t a, uint32_t b)
{
    switch (op) {
    case BIT_AND:
        return a & b;
    case BIT_OR:
        return a | b;
    case BIT_XOR:
        return a ^ b;
    case BIT_LEFT:
        return a << (b & 31);
    case BIT_RIGHT:
        return a >> (b & 31);
    case BIT_ARITHMETIC:
        return (uint32_t)((int64_t)(int32_t)a >> (b & 31));
    case BIT_ROTATE:
        return a << (b & 31) | a >> ((32 - (b & 31)) & 31);
    }
    return 0;
}

static int push_bits(lua_State *L, uint32_t bits)
{
    lua_pushnumber(L, (int32_t)bits);
    return 1;
}

static int lib_bits(lua_State *L)
{
    enum bit_operation op = (enum bit_operation)lua_tointeger(L, lua_upvalueindex(1));
    uint32_t bits = check_bits(L, 1);
    for (int i = 2; i <= lua_gettop(L); i++)
        bits = bit_combine(op, bits, check_bits(L, i));
    return push_bits(L, bits);
}

static int lib_bit_not(lua_State *L)
{
    return push_bits(L, ~check_bits(L, 1));
}

static int lib_bit_tobit(lua_State *L)
{
    return push_bits(L, check_bits(L, 1));
}

static int lib_bit_swap(lua_State *L)
{
    return push_bits(L, __builtin_bswap32(check_bits(L, 1)));
}

static int lib_bit_hex(lua_State *L)
{
    char text[16];
    uint32_t bits = check_bits(L, 1);
    lua_Integer n = check_integer(L, 2, 8);
    bool upper = n < 0;
    int digits = (int)(n < -8 || n > 8 ? 8 : n < 0 ? -n : n);
    if (digits < 8)
        bits &= ((uint32_t)1 << (4 * digits)) - 1;
    lua_pushlstring(L, text, (size_t)snprintf(text, sizeof text, upper ? "%0*X" : "%0*x", digits, bits));
    return 1;
}

static void open_bits(lua_State *L)
{
    static const struct {
        const char *name;
        enum bit_operation op;
    } all[] = {{"band", BIT_AND},    {"bor", BIT_OR},       {"bxor", BIT_XOR},
               {"lshift", BIT_LEFT}, {"rshift", BIT_RIGHT}, {"arshift", BIT_ARITHMETIC},
               {"rol", BIT_ROTATE}};
    static const luaL_Reg more[] = {
        {"bnot", lib_bit_not}, {"tobit", lib_bit_tobit}, {"bswap", lib_bit_swap}, {"tohex", lib_bit_hex}, {NULL, NULL}};
    lua_createtable(L, 0, 12);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        lua_pushinteger(L, all[i].op);
        lua_pushcclosure(L, lib_bits, 1);
        lua_setfield(L, -2, all[i].name);
    }
    luaL_setfuncs(L, more, 0);
    lua_setfield(L, -2, "bit");
}

/* ---- The rest ---- */

static int lib_tonumber(lua_State *L)
{
    lua_Number base = luaL_optnumber(L, 2, 10);
    if (base != 10) {
        fix_number(L, 1);
        fix_integer(L, 2);
        int n = lua_gettop(L);
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, n, 1);
    } else {
        luaL_checkany(L, 1);
        if (!lua_isnumber(L, 1)) {
            lua_pushnil(L);
            return 1;
        }
        lua_pushnumber(L, lua_tonumber(L, 1));
        return 1;
    }
    if (lua_isnumber(L, -1))
        lua_pushnumber(L, lua_tonumber(L, -1));
    return 1;
}

static int lib_collectgarbage(lua_State *L)
{
    lua_pushinteger(L, 0); /* Nobody's business. */
    return 1;
}

static int lib_loadstring(lua_State *L)
{
    size_t len;
    const char *source = luaL_checklstring(L, 1, &len);
    const char *name = luaL_optstring(L, 2, source);
    script_charge(L, len);
    if (script_load(L, source, len, name) == LUA_OK)
        return 1;
    raise_stop(L, LUA_ERRRUN);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

static void take_from(lua_State *L, const char *const *names)
{
    for (; *names != NULL; names++) {
        lua_getfield(L, -2, *names);
        lua_setfield(L, -2, *names);
    }
}

/* A closure over Lua's function of that name in the library below the top, as a field of the table on top. */
static void wrap(lua_State *L, const char *name, lua_CFunction f, bool flag)
{
    lua_getfield(L, -2, name);
    lua_pushboolean(L, flag);
    lua_pushcclosure(L, f, 2);
    lua_setfield(L, -2, name);
}

static void open_strings(lua_State *L)
{
    static const char *const own[] = {"len", "sub", "lower", "upper", "reverse", "byte", NULL};
    static const luaL_Reg ours[] = {{"rep", lib_rep},     {"format", lib_format}, {"find", lib_find},
                                    {"match", lib_match}, {"gmatch", lib_gmatch}, {"gsub", lib_gsub},
                                    {NULL, NULL}};
    luaL_requiref(L, "string", luaopen_string, 0);
    lua_createtable(L, 0, 16);
    for (size_t i = 0; own[i] != NULL; i++)
        wrap(L, own[i], lib_string, false);
    wrap(L, "char", lib_char, false);
    luaL_setfuncs(L, ours, 0);
    lua_pushliteral(L, ""); /* Methods of strings are these, too. */
    lua_getmetatable(L, -1);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
    lua_remove(L, -2);
    lua_setfield(L, -2, "string");
}

static void open_tables(lua_State *L)
{
    static const luaL_Reg ours[] = {{"concat", lib_table_concat}, {"sort", lib_sort},     {"getn", lib_getn},
                                    {"maxn", lib_maxn},           {"unpack", lib_unpack}, {NULL, NULL}};
    luaL_requiref(L, "table", luaopen_table, 0);
    lua_createtable(L, 0, 8);
    wrap(L, "insert", lib_move_table, false);
    wrap(L, "remove", lib_move_table, true);
    luaL_setfuncs(L, ours, 0);
    lua_remove(L, -2);
    lua_setfield(L, -2, "table");
}

static void open_math(lua_State *L)
{
    static const char *const own[] = {"abs", "ceil", "floor", "max",  "min",  "sqrt", "sin",
                                      "cos", "tan",  "asin",  "acos", "atan", "exp",  "log",
                                      "deg", "rad",  "fmod",  "modf", "pi",   "huge", NULL};
    static const luaL_Reg ours[] = {
        {"random", lib_random}, {"randomseed", lib_randomseed}, {"pow", lib_pow}, {"log10", lib_log10},
        {"ldexp", lib_ldexp},   {"frexp", lib_frexp},           {NULL, NULL}};
    luaL_requiref(L, "math", luaopen_math, 0);
    lua_createtable(L, 0, 32);
    take_from(L, own);
    lua_getfield(L, -2, "fmod");
    lua_setfield(L, -2, "mod");
    lua_getfield(L, -2, "atan");
    lua_setfield(L, -2, "atan2");
    luaL_setfuncs(L, ours, 0);
    lua_remove(L, -2);
    lua_setfield(L, -2, "math");
}

void script_lib_open(lua_State *L)
{
    static const char *const own[] = {"assert", "error",  "getmetatable", "ipairs", "rawequal",
                                      "rawget", "rawset", "select",       "type",   NULL};
    static const luaL_Reg ours[] = {{"tostring", lib_tostring},
                                    {"pairs", lib_pairs},
                                    {"next", lib_next},
                                    {"pcall", lib_pcall},
                                    {"xpcall", lib_xpcall},
                                    {"setmetatable", lib_setmetatable},
                                    {"unpack", lib_unpack},
                                    {"collectgarbage", lib_collectgarbage},
                                    {"gcinfo", lib_collectgarbage},
                                    {"loadstring", lib_loadstring},
                                    {"load", lib_loadstring},
                                    {NULL, NULL}};
    luaL_requiref(L, "_G", luaopen_base, 0);
    lua_insert(L, -2);
    take_from(L, own);
    lua_getfield(L, -2, "tonumber");
    lua_pushcclosure(L, lib_tonumber, 1);
    lua_setfield(L, -2, "tonumber");
    luaL_setfuncs(L, ours, 0);
    lua_remove(L, -2);
    lua_pushliteral(L, "Lua 5.1");
    lua_setfield(L, -2, "_VERSION");
    open_strings(L);
    open_tables(L);
    open_math(L);
    open_bits(L);
    push_concat(L);
    lua_setfield(L, -2, DIALECT_CONCAT);
}
