/* sweep_lua.c - the Lua client's C half when memory runs out at any call, the interpreter's own included: a call
 * returns what is right, or an error that speaks of memory. */
#include "tests/sweep/served.h"
#include "tests/sweep/sweep.h"
#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

int luaopen_state_core(lua_State *L);

static const char *address;

static const char script[] = "local address = ...\n"
                             "local core = require 'state.core'\n"
                             "local function good(ok, ...) if not ok then error((...)) end return ... end\n"
                             "local c = core.open{nodes = address, timeout_ms = 3000}\n"
                             "if not c then error('not enough memory') end\n"
                             "good(c:write('SET', 'k', 'v'))\n"
                             "assert(good(c:read('GET', 'k')) == 'v', 'wrong value')\n"
                             "local args = {}\n"
                             "for i = 1, 40 do args[i] = 'k' end\n"
                             "assert(#good(c:read('MGET', table.unpack(args))) == 40, 'wrong array')\n"
                             "assert(good(c:lengths('k', 'none'))[1] == 1, 'wrong length')\n"
                             "local bytes, kind = core.encode{list = {1, 2, {x = 'y'}}, n = 1.5, s = 'text'}\n"
                             "if not bytes then error(kind) end\n"
                             "local t, why = core.decode(bytes, kind)\n"
                             "if not t then error(why) end\n"
                             "assert(t.list[3].x == 'y' and t.n == 1.5 and t.s == 'text', 'wrong table')\n"
                             "assert(#c:nodes() == 1 and c:node() == address, 'wrong node')\n"
                             "c:close()\n"
                             "return 'done'\n";

/* Lua counts on it that a block can be made smaller. */
static void *shrink(void *p, size_t bytes)
{
    failing_pause();
    void *smaller = realloc(p, bytes);
    failing_resume();
    return smaller;
}

static void *allocate(void *ctx, void *p, size_t held, size_t bytes)
{
    (void)ctx;
    if (bytes > 0)
        return p != NULL && bytes <= held ? shrink(p, bytes) : realloc(p, bytes);
    free(p);
    return NULL;
}

static void *json_allocate(size_t bytes)
{
    return malloc(bytes);
}

static int run(lua_State *L)
{
    luaL_openlibs(L);
    luaL_requiref(L, "state.core", luaopen_state_core, 0);
    lua_settop(L, 0);
    if (luaL_loadstring(L, script) != LUA_OK)
        return lua_error(L);
    lua_pushstring(L, address);
    lua_call(L, 1, 1);
    return 1;
}

static void assert_honest(lua_State *L, int rc, bool hit)
{
    const char *said = lua_tostring(L, -1);
    assert_non_null(said);
    bool honest = rc == LUA_OK ? strcmp(said, "done") == 0 : hit && strstr(said, "memory") != NULL;
    if (!honest)
        fail_msg("call %" PRIu64 " failed, and Lua gets: %s", sweep_plan.nth, said);
}

static void scenario(void)
{
    lua_State *L = lua_newstate(allocate, NULL);
    assert_non_null(L);
    lua_pushcfunction(L, run);
    sweep_arm();
    int rc = lua_pcall(L, 0, 1, 0);
    assert_honest(L, rc, sweep_disarm());
    lua_close(L);
}

static void memory(void **state)
{
    (void)state;
    sweep(FAILING_MEMORY, 1, scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory)};
    json_set_alloc_funcs(json_allocate, free);
    address = served_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    served_stop();
    return failed;
}
