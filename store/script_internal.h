/* script_internal.h - what the parts of a script's world share: script.c runs it, script_call.c is redis.*,
 * script_lib.c is Lua 5.1's library, script_json.c is cjson. Only those four know Lua. */
#pragma once
#include "store/family.h"
#include "store/journal.h"
#include "store/script.h"
#include <lauxlib.h>
#include <lua.h>

enum script_stop {
    SCRIPT_RUNS = 0,
    SCRIPT_STOP_WORK,    /* SCRIPT_INSTRUCTIONS_MAX */
    SCRIPT_STOP_MEMORY,  /* SCRIPT_MEMORY_BYTES_MAX */
    SCRIPT_STOP_JOURNAL, /* SCRIPT_JOURNAL_BYTES_MAX */
    SCRIPT_STOP_REPLY,   /* SCRIPT_REPLY_BYTES_MAX or SCRIPT_NESTING_MAX */
    SCRIPT_STOP_SYSTEM,  /* This node has no memory: it must stop. */
};

struct script_run {
    struct family *f;
    lua_State *L;
    char sha[41];
    bool read_only;
    int resp; /* redis.setresp() */
    int64_t wall_ms;
    uint64_t chance;
    uint64_t work;
    lua_Integer concats; /* Left sides of ".." that wait for their right ones. */
    size_t bytes;
    enum script_stop stop;
    struct journal journal;
    struct command_buf encoded;
    struct command command;
    struct outcome_buf out;  /* Of one command. */
    struct command_buf json; /* What is being encoded; only its bytes are of use. */
};

static inline struct script_run *script_of(lua_State *L)
{
    return *(struct script_run **)lua_getextraspace(L);
}

/* Count work; raises when there was too much. */
void script_charge(lua_State *L, uint64_t work);
/* End the script: raises what no pcall catches. */
int script_stop(lua_State *L, enum script_stop why);
/* A number as 5.1 writes it. Returns the length. */
#define SCRIPT_NUMBER_MAX 32
size_t script_number(char text[SCRIPT_NUMBER_MAX], double d);
/* Load a chunk of 5.1; LUA_OK, or an error with its message pushed. */
int script_load(lua_State *L, const char *source, size_t len, const char *name);
uint64_t script_chance(struct script_run *run);
/* 40 hex digits and a zero. False: no memory. */
bool script_sha1(const void *bytes, size_t len, char hex[41]);

/* Each fills the table on top of the stack, or pushes one. */
void script_lib_open(lua_State *L);  /* The globals of 5.1, into the table on top. */
void script_call_open(lua_State *L); /* Pushes `redis`. */
void script_json_open(lua_State *L); /* Pushes `cjson`. */
/* The keys of the table at `at` in an order that is the same everywhere, pushed as an array. Raises when a key is
 * neither number, string nor boolean. */
void script_push_keys(lua_State *L, int at);
/* What the script returned, at the top, as an outcome. */
void script_answer(lua_State *L, struct outcome_buf *out);
