/* table.c - JSON written here, so that keys are sorted and floats are shortest; strings inside are checked and escaped
 * by jansson, which also reads all JSON back. Invariants: whatever lives on the C heap hangs on a userdata with __gc
 * before Lua can raise. Failure: the first reason found is kept in the writer and every caller up the tables returns
 * false. */
#include "lua/table.h"
#include "lua/number.h"
#include <errno.h>
#include <jansson.h>
#include <lauxlib.h>
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WRITER_METATABLE "holdfast.writer"
#define JSON_METATABLE "holdfast.json"

/* ---- Writing ---- */

struct writer {
    char *base;
    size_t len, cap;
    const char *why; /* Why the value cannot be stored; a constant, or NULL. */
};

/* The tables that the one being written is inside of, innermost first. */
struct frame {
    const struct frame *outer;
    const void *table;
    int depth;
};

struct member {
    const char *name; /* Kept alive by the table that is being written. */
    size_t len;
};

static int writer_gc(lua_State *L)
{
    struct writer *w = lua_touserdata(L, 1);
    free(w->base);
    w->base = NULL;
    return 0;
}

static struct writer *writer_push(lua_State *L)
{
    struct writer *w = lua_newuserdatauv(L, sizeof *w, 0);
    *w = (struct writer){0};
    luaL_setmetatable(L, WRITER_METATABLE);
    return w;
}

static bool writer_fail(struct writer *w, const char *why)
{
    w->why = why;
    return false;
}

static bool put(struct writer *w, const char *bytes, size_t len)
{
    if (len > TABLE_BYTES_MAX - w->len)
        return writer_fail(w, "the value is too large");
    if (w->len + len > w->cap) {
        size_t cap = (w->len + len) * 2;
        char *base = realloc(w->base, cap);
        if (base == NULL)
            return writer_fail(w, "not enough memory");
        w->base = base;
        w->cap = cap;
    }
    memcpy(w->base + w->len, bytes, len);
    w->len += len;
    return true;
}

static int put_jansson(const char *bytes, size_t len, void *writer)
{
    return put(writer, bytes, len) ? 0 : -1;
}

static bool put_string(struct writer *w, const char *bytes, size_t len)
{
    errno = 0;
    json_t *string = json_stringn(bytes, len);
    if (string == NULL)
        return writer_fail(w, errno == ENOMEM ? "not enough memory" : "a string inside the table is not valid UTF-8");
    int rc = json_dump_callback(string, put_jansson, w, JSON_ENCODE_ANY);
    json_decref(string);
    if (rc != 0 && w->why == NULL)
        return writer_fail(w, "not enough memory");
    return rc == 0;
}

static bool put_float(struct writer *w, double d)
{
    char text[NUMBER_TEXT_MAX];
    if (isnan(d))
        return writer_fail(w, "NaN inside the table");
    if (isinf(d))
        return writer_fail(w, "infinity inside the table");
    size_t len = number_write_float(text, d);
    if (strpbrk(text, ".e") == NULL) { /* Without one of them JSON would read an integer. */
        text[len++] = '.';
        text[len++] = '0';
    }
    return put(w, text, len);
}

static bool put_number(lua_State *L, struct writer *w)
{
    char text[NUMBER_TEXT_MAX];
    if (!lua_isinteger(L, -1))
        return put_float(w, lua_tonumber(L, -1));
    size_t len = number_write_integer(text, lua_tointeger(L, -1));
    return put(w, text, len);
}

static bool put_table(lua_State *L, struct writer *w, const struct frame *outer);

/* Write the value on top of the stack and leave it there. */
static bool put_value(lua_State *L, struct writer *w, const struct frame *outer)
{
    size_t len;
    const char *bytes;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        bytes = lua_tolstring(L, -1, &len);
        return put_string(w, bytes, len);
    case LUA_TNUMBER:
        return put_number(L, w);
    case LUA_TBOOLEAN:
        return lua_toboolean(L, -1) ? put(w, "true", 4) : put(w, "false", 5);
    case LUA_TTABLE:
        return put_table(L, w, outer);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, -1) == NULL)
            return put(w, "null", 4);
        return writer_fail(w, "a userdata inside the table");
    case LUA_TFUNCTION:
        return writer_fail(w, "a function inside the table");
    case LUA_TTHREAD:
        return writer_fail(w, "a thread inside the table");
    default:
        return writer_fail(w, "a userdata inside the table");
    }
}

/* What the table on top of the stack is: *ret_names strings, or a sequence of *ret_items. */
static bool table_shape(lua_State *L, struct writer *w, size_t *ret_names, size_t *ret_items)
{
    size_t names = 0, items = 0, last = 0;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        lua_Integer at = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        bool is_name = lua_type(L, -2) == LUA_TSTRING;
        if (!is_name && at < 1)
            return writer_fail(w, "a table key that is neither a string nor part of a sequence from 1");
        names += is_name;
        items += !is_name;
        if (!is_name && (size_t)at > last)
            last = (size_t)at;
    }
    if (names > 0 && items > 0)
        return writer_fail(w, "a table with both string keys and a sequence");
    if (last != items)
        return writer_fail(w, "a sequence with holes");
    *ret_names = names;
    *ret_items = items;
    return true;
}

static bool put_items(lua_State *L, struct writer *w, const struct frame *here, size_t n)
{
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        bool ok = put(w, i == 1 ? "[" : ",", 1) && put_value(L, w, here);
        lua_pop(L, 1);
        if (!ok)
            return false;
    }
    return put(w, "]", 1);
}

static int member_order(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    int order = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);
    if (order != 0)
        return order;
    return (a->len > b->len) - (a->len < b->len);
}

/* Push a userdata that holds the sorted keys of the table on top of the stack. */
static struct member *members_push(lua_State *L, size_t n)
{
    struct member *members = lua_newuserdatauv(L, n * sizeof *members, 0);
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, -3) != 0; lua_pop(L, 1)) {
        assert(i < n);
        members[i].name = lua_tolstring(L, -2, &members[i].len);
        i++;
    }
    qsort(members, n, sizeof *members, member_order);
    return members;
}

static bool put_member(lua_State *L, struct writer *w, const struct frame *here, const struct member *m)
{
    if (memchr(m->name, '\0', m->len) != NULL)
        return writer_fail(w, "a table key with a NUL byte");
    if (!put_string(w, m->name, m->len) || !put(w, ":", 1))
        return false;
    lua_pushlstring(L, m->name, m->len);
    lua_rawget(L, -3); /* The table, under the members. */
    bool ok = put_value(L, w, here);
    lua_pop(L, 1);
    return ok;
}

static bool put_members(lua_State *L, struct writer *w, const struct frame *here, size_t n)
{
    struct member *members = members_push(L, n);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = put(w, i == 0 ? "{" : ",", 1) && put_member(L, w, here, &members[i]);
    lua_pop(L, 1);
    return ok && put(w, "}", 1);
}

static bool put_table(lua_State *L, struct writer *w, const struct frame *outer)
{
    struct frame here = {outer, lua_topointer(L, -1), outer == NULL ? 1 : outer->depth + 1};
    for (const struct frame *f = outer; f != NULL; f = f->outer)
        if (f->table == here.table)
            return writer_fail(w, "a table that contains itself");
    if (here.depth > TABLE_DEPTH_MAX)
        return writer_fail(w, "tables nested too deep");
    luaL_checkstack(L, 6, "value");
    size_t names, items;
    if (!table_shape(L, w, &names, &items))
        return false;
    if (items > 0)
        return put_items(L, w, &here, items);
    return names > 0 ? put_members(L, w, &here, names) : put(w, "{}", 2);
}

bool table_encode(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    struct writer *w = writer_push(L);
    int top = lua_gettop(L);
    lua_pushvalue(L, index);
    bool ok = put_table(L, w, NULL);
    lua_settop(L, top); /* A failure may leave keys behind. */
    if (ok)
        lua_pushlstring(L, w->base, w->len);
    else
        lua_pushstring(L, w->why);
    free(w->base); /* Now, and not when the collector comes by. */
    w->base = NULL;
    lua_remove(L, top);
    return ok;
}

/* ---- Reading ---- */

static int json_gc(lua_State *L)
{
    json_t **root = lua_touserdata(L, 1);
    json_decref(*root);
    *root = NULL;
    return 0;
}

static void push_json(lua_State *L, const json_t *json);

static void push_object(lua_State *L, const json_t *object)
{
    lua_createtable(L, 0, (int)json_object_size(object));
    /* Jansson's walk takes no const, and changes nothing. */
    json_t *walked = (json_t *)(uintptr_t)object;
    for (void *at = json_object_iter(walked); at != NULL; at = json_object_iter_next(walked, at)) {
        lua_pushlstring(L, json_object_iter_key(at), json_object_iter_key_len(at));
        push_json(L, json_object_iter_value(at));
        lua_rawset(L, -3);
    }
}

static void push_array(lua_State *L, const json_t *array)
{
    size_t n = json_array_size(array);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        push_json(L, json_array_get(array, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* Depth is bounded by jansson's JSON_PARSER_MAX_DEPTH (2,048), counts by the bytes of one reply. */
static void push_json(lua_State *L, const json_t *json)
{
    luaL_checkstack(L, 3, "value");
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        push_object(L, json);
        break;
    case JSON_ARRAY:
        push_array(L, json);
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(json));
        break;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(json));
        break;
    case JSON_NULL:
        lua_pushlightuserdata(L, NULL);
        break;
    }
}

bool table_decode(lua_State *L, const char *bytes, size_t len)
{
    json_error_t error;
    json_t **root = lua_newuserdatauv(L, sizeof *root, 0);
    *root = NULL;
    luaL_setmetatable(L, JSON_METATABLE);
    int box = lua_gettop(L);
    errno = 0;
    *root = json_loadb(bytes, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool ok = *root != NULL;
    if (!ok && errno == ENOMEM)
        luaL_error(L, "not enough memory"); /* That says nothing about the value. */
    if (ok)
        push_json(L, *root);
    else
        lua_pushfstring(L, "JSON that cannot be read: %s", error.text);
    json_decref(*root);
    *root = NULL;
    lua_remove(L, box);
    return ok;
}

static void metatable(lua_State *L, const char *name, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

void table_init(lua_State *L)
{
    metatable(L, WRITER_METATABLE, writer_gc);
    metatable(L, JSON_METATABLE, json_gc);
}
