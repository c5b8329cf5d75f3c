/* fork.c - fork() for the tests of the Lua client: require "fork" -> fork(), leave(status), wait(pid). */
#include <lua.h>
#include <lauxlib.h>
#include <sys/wait.h>
#include <unistd.h>

int luaopen_fork(lua_State *L);

static int fork_fork(lua_State *L)
{
    lua_pushinteger(L, fork());
    return 1;
}

/* Ends the process at once, nothing closed or flushed. */
static int fork_leave(lua_State *L)
{
    _exit((int)luaL_checkinteger(L, 1));
}

/* -> exit status, or -1 when the child was killed or is none */
static int fork_wait(lua_State *L)
{
    int status;
    pid_t pid = waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0);
    lua_pushinteger(L, pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 1;
}

static const luaL_Reg functions[] = {{"fork", fork_fork}, {"leave", fork_leave}, {"wait", fork_wait}, {NULL, NULL}};

int luaopen_fork(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
