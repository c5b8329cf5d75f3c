/* script.c - how a script runs: a fresh Lua state for each, so that what ran before on this node cannot be told, with
 * an allocator and a count of instructions that end it, and a journal that takes back what it did when it is ended so.
 *
 *     source (or the one kept under its sha) --> dialect.c --> compile --> keep --> run --> answer
 *                                                                                   `--> stopped: undo, refusal
 *
 * An error of the script's own leaves what it did before, as in Redis. Chance and time come from the entry.
 * Lua seeds its hashes from addresses and the clock, which cannot be set from outside; so nothing in a script's reach
 * may show the order of a table: script_lib.c walks them in the order of their keys. Kept scripts are rows of their own
 * space, by sha: replicated, in snapshots, and the same on all nodes. */
#include "store/script.h"
#include "store/dialect.h"
#include "store/families.h"
#include "store/feed.h"
#include "store/number.h"
#include "store/script_internal.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOOK_INSTRUCTIONS 1000
#define BYTES_AN_INSTRUCTION 32 /* Memory asked for that counts as one. */
#define SHA_LEN 40
#define CHUNK_NAME "@user_script"
#define PRELUDE "local " DIALECT_CONCAT "=" DIALECT_CONCAT " "

/* ---- Bounds ---- */

int script_stop(lua_State *L, enum script_stop why)
{
    struct script_run *run = script_of(L);
    if (run->stop == SCRIPT_RUNS)
        run->stop = why;
    return luaL_error(L, "script stopped");
}

void script_charge(lua_State *L, uint64_t work)
{
    struct script_run *run = script_of(L);
    run->work += work;
    if (run->work > SCRIPT_INSTRUCTIONS_MAX)
        script_stop(L, SCRIPT_STOP_WORK);
    if (run->stop != SCRIPT_RUNS)
        script_stop(L, run->stop);
}

static void on_instructions(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    script_charge(L, HOOK_INSTRUCTIONS);
}

uint64_t script_chance(struct script_run *run)
{
    uint64_t z = (run->chance += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool may_grow(struct script_run *run, size_t more)
{
    run->work += more / BYTES_AN_INSTRUCTION;
    if (run->stop == SCRIPT_RUNS && (more > SCRIPT_MEMORY_BYTES_MAX || run->bytes > SCRIPT_MEMORY_BYTES_MAX - more))
        run->stop = SCRIPT_STOP_MEMORY;
    return run->stop == SCRIPT_RUNS;
}

static void *allocate(void *ctx, void *ptr, size_t old_size, size_t size)
{
    struct script_run *run = ctx;
    size_t old = ptr != NULL ? old_size : 0; /* Without ptr it is the kind of object. */
    if (size == 0) {
        free(ptr);
        run->bytes -= old;
        return NULL;
    }
    if (size > old && !may_grow(run, size - old))
        return NULL;
    void *grown = realloc(ptr, size);
    if (grown == NULL) {
        run->stop = SCRIPT_STOP_SYSTEM;
        return size <= old ? ptr : NULL; /* Lua takes it that making smaller works. */
    }
    run->bytes = run->bytes - old + size;
    return grown;
}

static const char *stop_words(enum script_stop why)
{
    switch (why) {
    case SCRIPT_STOP_WORK:
        return "it ran for more than 50000000 instructions";
    case SCRIPT_STOP_MEMORY:
        return "it took more than 64 MiB of memory";
    case SCRIPT_STOP_JOURNAL:
        return "it changed more than 128 MiB of values";
    case SCRIPT_STOP_REPLY:
        return "its reply is too long or nested too deeply";
    default:
        return "this node has no memory";
    }
}

/* ---- Sources ---- */

/* What a first line "#!lua flags=..." says. */
struct shebang {
    bool no_writes;
    size_t len; /* Of the line, without its end. */
};

static bool known_flag(const char *flag, size_t len, struct shebang *ret)
{
    static const char *const flags[] = {"no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (strlen(flags[i]) != len || memcmp(flags[i], flag, len) != 0)
            continue;
        ret->no_writes |= i == 0;
        return true;
    }
    return false;
}

static bool read_flags(const char *at, const char *end, struct shebang *ret, char error[SCRIPT_ERROR_MAX])
{
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t len = (size_t)((comma != NULL ? comma : end) - at);
        if (len > 0 && !known_flag(at, len, ret)) {
            snprintf(error, SCRIPT_ERROR_MAX, "ERR Unexpected flag in script shebang: %.*s", (int)(len < 64 ? len : 64),
                     at);
            return false;
        }
        at += len + (comma != NULL);
    }
    return true;
}

static bool read_option(const char *word, size_t len, struct shebang *ret, char error[SCRIPT_ERROR_MAX])
{
    if (len >= 6 && memcmp(word, "flags=", 6) == 0)
        return read_flags(word + 6, word + len, ret, error);
    snprintf(error, SCRIPT_ERROR_MAX, "ERR Unknown lua shebang option: %.*s", (int)(len < 64 ? len : 64), word);
    return false;
}

static bool read_shebang(const char *source, size_t len, struct shebang *ret, char error[SCRIPT_ERROR_MAX])
{
    *ret = (struct shebang){0};
    if (len < 2 || memcmp(source, "#!", 2) != 0)
        return true;
    const char *line_end = memchr(source, '\n', len), *at = source + 2;
    if (line_end == NULL) {
        snprintf(error, SCRIPT_ERROR_MAX, "ERR Invalid script shebang");
        return false;
    }
    ret->len = (size_t)(line_end - source);
    for (size_t n = 0; at < line_end; n++) {
        const char *blank = memchr(at, ' ', (size_t)(line_end - at));
        size_t word = (size_t)((blank != NULL ? blank : line_end) - at);
        if (n == 0 && (word != 3 || memcmp(at, "lua", 3) != 0)) {
            snprintf(error, SCRIPT_ERROR_MAX, "ERR Unexpected engine in script shebang: %.*s",
                     (int)(word < 64 ? word : 64), at);
            return false;
        }
        if (n > 0 && word > 0 && !read_option(at, word, ret, error))
            return false;
        at += word + (blank != NULL);
    }
    return true;
}

/* The compiler's message in the words of 5.1, pushed in place of the one at the top. */
static void reword(lua_State *L)
{
    luaL_gsub(L, lua_tostring(L, -1), " <eof> expected", " '<eof>' expected");
    luaL_gsub(L, lua_tostring(L, -1), "syntax error near", "'=' expected near");
    luaL_gsub(L, lua_tostring(L, -1), "near <eof>", "near '<eof>'");
    lua_replace(L, -4);
    lua_pop(L, 2);
}

int script_load(lua_State *L, const char *source, size_t len, const char *name)
{
    struct dialect_text text = {0};
    char error[DIALECT_ERROR_MAX] = "";
    int rc = LUA_ERRSYNTAX;
    if (len > 0 && *source == LUA_SIGNATURE[0]) {
        lua_pushliteral(L, "binary chunks are not loaded");
        return LUA_ERRSYNTAX;
    }
    bool ok =
        dialect_translate(PRELUDE, sizeof PRELUDE - 1, &text, error) && dialect_translate(source, len, &text, error);
    if (text.failed)
        script_of(L)->stop = SCRIPT_STOP_SYSTEM;
    if (ok)
        rc = luaL_loadbufferx(L, text.base, text.len, name, "t"); /* Raises nothing, so the text is freed. */
    dialect_text_release(&text);
    if (!ok)
        lua_pushfstring(L, "%s:%s", *name == '@' ? name + 1 : name, error);
    if (rc == LUA_ERRSYNTAX)
        reword(L);
    return rc;
}

/* ---- The script's world ---- */

static int no_such_global(lua_State *L)
{
    return luaL_error(L, "Script attempted to access nonexistent global variable '%s'", luaL_tolstring(L, 2, NULL));
}

static int no_new_global(lua_State *L)
{
    return luaL_error(L, "Attempt to modify a readonly table");
}

static void push_words(lua_State *L, const struct bytes *words, uint32_t n)
{
    lua_createtable(L, (int)n, 0);
    for (uint32_t i = 0; i < n; i++) {
        lua_pushlstring(L, (const char *)words[i].base, words[i].len);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void push_arguments(lua_State *L, const struct command *c, uint32_t n_keys)
{
    bool runs = c->n_args >= 2; /* Else it is only compiled. */
    push_words(L, c->args + 2, runs ? n_keys : 0);
    lua_setfield(L, -2, "KEYS");
    push_words(L, c->args + 2 + n_keys, runs ? c->n_args - 2 - n_keys : 0);
    lua_setfield(L, -2, "ARGV");
}

/* An empty table through which the globals are seen, and which cannot be added to. */
static void push_environment(lua_State *L, const struct command *c, uint32_t n_keys)
{
    lua_createtable(L, 0, 48);
    script_lib_open(L);
    script_call_open(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "redis");
    lua_setfield(L, -2, "server");
    script_json_open(L);
    lua_setfield(L, -2, "cjson");
    push_arguments(L, c, n_keys);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, no_such_global);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_newtable(L); /* The environment. */
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "_G");
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, no_new_global);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

/* Everything that may raise. Arguments: the run, the command, whether to run it or only to compile it. */
struct errand {
    struct script_run *run;
    const struct command *c;
    uint32_t n_keys;
    const char *source;
    size_t len;
    struct outcome_buf *out;
    bool compiled;
};

static int on_error(lua_State *L)
{
    lua_Debug ar;
    bool there = lua_getstack(L, 1, &ar) != 0 && lua_getinfo(L, "Sl", &ar) != 0;
    if (there && *ar.what == 'C')
        there = lua_getstack(L, 2, &ar) != 0 && lua_getinfo(L, "Sl", &ar) != 0;
    bool has_err = false;
    if (lua_istable(L, 1)) {
        lua_pushliteral(L, "err");
        lua_rawget(L, 1);
        has_err = lua_isstring(L, -1);
    }
    if (!has_err) {
        const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "unknown error";
        lua_pushfstring(L, "ERR %s", text);
    }
    const char *source = there ? ar.source : "";
    lua_pushfstring(L, "%s script: %s, on %s:%d.", lua_tostring(L, -1), script_of(L)->sha, source,
                    there ? ar.currentline : 0);
    return 1;
}

/* Compiles; the function stays on the stack. */
static int do_compile(lua_State *L)
{
    struct errand *e = lua_touserdata(L, 1);
    push_environment(L, e->c, e->n_keys);
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    if (script_load(L, e->source, e->len, CHUNK_NAME) != LUA_OK) {
        lua_pushfstring(L, "ERR Error compiling script (new function): %s", lua_tostring(L, -1));
        return lua_error(L);
    }
    e->compiled = true;
    return 1;
}

static int do_answer(lua_State *L)
{
    struct errand *e = lua_touserdata(L, 1);
    lua_settop(L, 2);
    script_answer(L, e->out);
    return 0;
}

/* ---- One script ---- */

static bool run_open(struct script_run *run, struct family *f, const struct command *c)
{
    uint64_t seed = c->n_nums > 1 ? (uint64_t)c->nums[1] : 0;
    *run = (struct script_run){.f = f, .resp = 2, .wall_ms = c->n_nums > 0 ? c->nums[0] : 0};
    run->chance = seed ^ *f->revision ^ f->clock_ms << 20;
    run->L = lua_newstate(allocate, run);
    if (run->L == NULL)
        return false;
    *(struct script_run **)lua_getextraspace(run->L) = run;
    lua_sethook(run->L, on_instructions, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
    return true;
}

static void run_close(struct script_run *run)
{
    if (run->L != NULL)
        lua_close(run->L);
    journal_release(&run->journal);
    command_buf_release(&run->encoded);
    command_buf_release(&run->json);
    command_release(&run->command);
    outcome_buf_release(&run->out);
}

static void refuse(struct family *f, const char *words)
{
    outcome_refusal(f->out, REFUSAL_SCRIPT, words, strlen(words));
}

/* The error at the top, as the answer. */
static void refuse_with_top(struct family *f, lua_State *L)
{
    size_t len = 0;
    const char *text = lua_tolstring(L, -1, &len);
    if (text == NULL)
        refuse(f, "ERR the script ended with an error that is no text");
    else
        outcome_refusal(f->out, REFUSAL_SCRIPT, text, len < SCRIPT_ERROR_MAX ? len : SCRIPT_ERROR_MAX);
}

/* pcall f(errand, [function]) with the errors' words made of what went wrong. */
static int enter(lua_State *L, lua_CFunction function, struct errand *e)
{
    lua_settop(L, 0);
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, e);
    return lua_pcall(L, 1, 1, 0);
}

/* The compiled function is at the top. */
static int execute(lua_State *L, struct errand *e)
{
    lua_pushcfunction(L, on_error);
    lua_insert(L, 1);
    int rc = lua_pcall(L, 0, 1, 1);
    if (rc != LUA_OK || e->run->stop != SCRIPT_RUNS)
        return rc;
    lua_pushcfunction(L, do_answer);
    lua_insert(L, 2);
    lua_pushlightuserdata(L, e);
    lua_insert(L, 3);
    return lua_pcall(L, 2, 0, 1);
}

/* Take back all the script did. */
static void undo(struct script_run *run, uint64_t expired_total, size_t told)
{
    struct family *f = run->f;
    if (f->feed != NULL)
        f->feed->len = told;
    if (run->journal.failed || journal_undo(&run->journal, f->rows, f->due) != 0)
        f->out->failed = true;
    *f->revision = run->journal.since;
    *f->expired_total = expired_total;
}

static void refuse_stopped(struct script_run *run)
{
    char words[SCRIPT_ERROR_MAX];
    snprintf(words, sizeof words, "ERR script stopped: %s; nothing was changed. script: %s, on " CHUNK_NAME ".",
             stop_words(run->stop), run->sha);
    refuse(run->f, words);
}

static void run_compiled(struct script_run *run, struct errand *e)
{
    struct family *f = run->f;
    struct outcome_buf *out = f->out;
    size_t at = out->len;
    uint64_t expired_total = *f->expired_total;
    const struct command *command = f->command;
    unsigned depth = f->depth++;
    size_t told = f->feed != NULL ? f->feed->len : 0;
    journal_begin(&run->journal, *f->revision);
    rows_set_journal(f->rows, &run->journal);
    int rc = execute(run->L, e);
    rows_set_journal(f->rows, NULL);
    f->out = out; /* An error may have leapt out of a command. */
    f->depth = depth;
    f->command = command;
    if (rc == LUA_ERRMEM && run->stop == SCRIPT_RUNS)
        run->stop = SCRIPT_STOP_MEMORY;
    if (rc == LUA_OK && run->stop == SCRIPT_RUNS)
        return;
    out->len = at;
    if (run->stop != SCRIPT_RUNS) {
        undo(run, expired_total, told);
        refuse_stopped(run);
    } else {
        refuse_with_top(f, run->L);
    }
    out->failed |= run->stop == SCRIPT_STOP_SYSTEM || run->journal.failed;
}

/* ---- Kept scripts ---- */

static const struct row *find_kept(struct family *f, const char sha[SHA_LEN + 1])
{
    return rows_get_in(f->rows, SPACE_SCRIPTS, sha, SHA_LEN);
}

/* True: it is there now. */
static bool keep(struct family *f, const char sha[SHA_LEN + 1], struct bytes source, uint64_t max)
{
    if (find_kept(f, sha) != NULL)
        return true;
    if (source.len > SCRIPT_SOURCE_BYTES_MAX || rows_total(f->rows, SPACE_SCRIPTS).count >= max)
        return false;
    ++*f->revision;
    rows_put_in(f->rows, SPACE_SCRIPTS, sha, SHA_LEN, 0, source.base, source.len, *f->revision, ROW_NO_EXPIRY, 0);
    return true;
}

static bool sha_from(struct bytes text, char ret[SHA_LEN + 1])
{
    if (text.len != SHA_LEN)
        return false;
    for (size_t i = 0; i < SHA_LEN; i++)
        ret[i] = (char)tolower(text.base[i]);
    ret[SHA_LEN] = '\0';
    return true;
}

/* The source to be run, and its sha. A kept one is copied: the script may change rows. False: answered. */
static bool find_source(struct family *f, const struct command *c, char sha[SHA_LEN + 1], uint8_t **ret_copy,
                        struct bytes *ret)
{
    *ret_copy = NULL;
    *ret = c->args[0];
    if ((c->flags & CMD_BY_SHA) == 0) {
        if (!script_sha1(ret->base, ret->len, sha))
            f->out->failed = true;
        return !f->out->failed;
    }
    const struct row *row = sha_from(c->args[0], sha) ? find_kept(f, sha) : NULL;
    if (row == NULL) {
        refuse(f, "NOSCRIPT No matching script. Please use EVAL.");
        return false;
    }
    *ret_copy = family_scratch(f, row->value_len);
    if (*ret_copy == NULL)
        return false;
    if (row->value_len > 0)
        memcpy(*ret_copy, row->value, row->value_len);
    *ret = (struct bytes){.base = *ret_copy, .len = row->value_len};
    return true;
}

static void eval_source(struct script_run *run, const struct command *c, struct bytes source, uint32_t n_keys)
{
    struct family *f = run->f;
    struct shebang shebang;
    char error[SCRIPT_ERROR_MAX];
    const char *text = (const char *)source.base;
    if (!read_shebang(text, source.len, &shebang, error)) {
        refuse(f, error);
        return;
    }
    struct errand e = {.run = run,
                       .c = c,
                       .n_keys = n_keys,
                       .source = text + shebang.len,
                       .len = source.len - shebang.len,
                       .out = f->out};
    run->read_only = c->op == OP_EVAL_RO || shebang.no_writes;
    if (enter(run->L, do_compile, &e) != LUA_OK || run->stop != SCRIPT_RUNS) {
        run->stop != SCRIPT_RUNS ? refuse_stopped(run) : refuse_with_top(f, run->L);
        f->out->failed |= run->stop == SCRIPT_STOP_SYSTEM;
        return;
    }
    if (c->op == OP_EVAL && (c->flags & CMD_BY_SHA) == 0)
        keep(f, run->sha, source, SCRIPT_KEPT_BY_EVAL_MAX);
    run_compiled(run, &e);
}

void script_eval(struct family *f, const struct command *c)
{
    struct script_run run = {0};
    char sha[SHA_LEN + 1];
    struct bytes source;
    uint8_t *copy = NULL;
    int64_t n_keys;
    if (f->host == NULL || !number_read_int(c->args[1].base, c->args[1].len, &n_keys) || n_keys < 0 ||
        n_keys > (int64_t)c->n_args - 2) {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
        return;
    }
    if (find_source(f, c, sha, &copy, &source)) {
        if (run_open(&run, f, c)) {
            memcpy(run.sha, sha, sizeof run.sha);
            eval_source(&run, c, source, (uint32_t)n_keys);
        } else {
            f->out->failed = true;
        }
    }
    run_close(&run);
    free(copy);
}

/* ---- SCRIPT ---- */

static void load_compiled(struct script_run *run, const struct command *c)
{
    struct family *f = run->f;
    struct shebang shebang;
    char error[SCRIPT_ERROR_MAX];
    struct bytes source = c->args[0];
    if (!read_shebang((const char *)source.base, source.len, &shebang, error)) {
        refuse(f, error);
        return;
    }
    struct errand e = {
        .run = run, .c = c, .source = (const char *)source.base + shebang.len, .len = source.len - shebang.len};
    if (enter(run->L, do_compile, &e) != LUA_OK || run->stop != SCRIPT_RUNS) {
        run->stop != SCRIPT_RUNS ? refuse_stopped(run) : refuse_with_top(f, run->L);
        f->out->failed |= run->stop == SCRIPT_STOP_SYSTEM;
    } else if (!keep(f, run->sha, source, SCRIPT_KEPT_MAX)) {
        refuse(f, "TOOLARGE a script of more than 1 MiB, or more than 10000 kept scripts: see SCRIPT FLUSH");
    } else {
        outcome_bulk(f->out, run->sha, SHA_LEN);
    }
}

void script_load_command(struct family *f, const struct command *c)
{
    struct script_run run = {0};
    char sha[SHA_LEN + 1];
    if (script_sha1(c->args[0].base, c->args[0].len, sha) && run_open(&run, f, c)) {
        memcpy(run.sha, sha, sizeof run.sha);
        load_compiled(&run, c);
    } else {
        f->out->failed = true;
    }
    run_close(&run);
}

void script_flush(struct family *f, const struct command *c)
{
    (void)c;
    if (rows_total(f->rows, SPACE_SCRIPTS).count > 0) {
        ++*f->revision;
        rows_clear_in(f->rows, SPACE_SCRIPTS);
    }
    outcome_ok(f->out);
}

void script_exists(struct family *f, const struct command *c)
{
    char sha[SHA_LEN + 1];
    outcome_array(f->out, c->n_args);
    for (uint32_t i = 0; i < c->n_args; i++)
        outcome_int(f->out, sha_from(c->args[i], sha) && find_kept(f, sha) != NULL);
}
