/* value.h - Lua values as the typed bytes a cluster stores, and back. Knows Lua and JSON; no sockets.
 * Types are named as VSET names them: str int float bool json, and raw for what has no Lua type.
 * Only a failing allocation of Lua itself raises in here; nothing on the C heap is lost by it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <lua.h>

/* Once per Lua state, before the others. */
void value_init(lua_State *L);

/* Encode the value at `index` without calling metamethods. Pushes the bytes and returns the type's name;
 * or pushes the reason why it cannot be stored and returns NULL. */
const char *value_encode(lua_State *L, int index);

/* Push the value stored as `type` with these bytes, true; or push the reason and false. JSON's null becomes the
 * light userdata NULL, which value_encode() takes back inside tables. */
bool value_decode(lua_State *L, const char *type, const char *bytes, size_t len);
