/* table.h - Lua tables as JSON: objects with sorted keys, arrays for sequences, {} for an empty table. Equal tables
 * have equal text. Only a failing allocation of Lua itself raises in here; nothing on the C heap is lost by it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <lua.h>

#define TABLE_DEPTH_MAX 128         /* Tables inside tables that can be stored. */
#define TABLE_BYTES_MAX (64u << 20) /* Of the JSON: a table that repeats itself grows fast. */

/* Once per Lua state, before the others. */
void table_init(lua_State *L);
/* Encode the table at `index` without calling metamethods. Pushes JSON, true; or why it cannot be stored, false. */
bool table_encode(lua_State *L, int index);
/* Push what the JSON says, true; or why it cannot be read, false. null becomes the light userdata NULL, which
 * table_encode() takes back. */
bool table_decode(lua_State *L, const char *json, size_t len);
