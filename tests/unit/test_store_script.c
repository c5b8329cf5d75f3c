/* test_store_script.c - scripts inside the state: the same everywhere, bounded, and without a trace when a bound stops
 * them. The host here knows a handful of commands, which is all the state needs to be told. */
#include "tests/support/store_fixture.h"
#include "store/dialect.h"
#include "store/script.h"
#include <strings.h>

/* ---- A host ---- */

static const struct host_row {
    const char *name;
    enum command_op op;
    size_t n_args;
    bool writes;
    int64_t nums[2];
    uint8_t n_nums;
    uint16_t flags;
} host_rows[] = {
    {"set", OP_SET, 2, true, {0}, 0, 0},         {"get", OP_GET, 1, false, {0}, 0, 0},
    {"incr", OP_INCRBY, 1, true, {1}, 1, 0},     {"del", OP_DEL, 1, true, {0}, 0, 0},
    {"append", OP_APPEND, 2, true, {0}, 0, 0},   {"rename", OP_RENAME, 2, true, {0}, 0, 0},
    {"keys", OP_KEYS, 1, false, {0}, 0, 0},      {"soon", OP_EXPIRE, 1, true, {5000, 1}, 2, 0},
    {"persist", OP_PERSIST, 1, true, {0}, 0, 0}, {"flushall", OP_FLUSHALL, 0, true, {0}, 0, 0},
};

static enum script_verdict host_encode(const struct script_request *r, struct command_buf *ret, bool *ret_writes,
                                       char error[SCRIPT_ERROR_MAX])
{
    (void)error;
    for (size_t i = 0; i < sizeof host_rows / sizeof *host_rows; i++) {
        const struct host_row *row = &host_rows[i];
        if (strlen(row->name) != r->args[0].len ||
            strncasecmp(row->name, (const char *)r->args[0].base, r->args[0].len) != 0)
            continue;
        if (r->n != row->n_args + 1)
            return SCRIPT_ARITY;
        *ret_writes = row->writes;
        command_add(ret, row->op, row->flags, row->nums, row->n_nums, r->args + 1, (uint32_t)row->n_args);
        return SCRIPT_ENCODED;
    }
    return SCRIPT_UNKNOWN;
}

static void host_words(const struct outcome *refusal, char text[SCRIPT_ERROR_MAX])
{
    snprintf(text, SCRIPT_ERROR_MAX, "ERR refused %d", (int)refusal->n);
}

static const struct script_host host = {host_encode, host_words};

/* ---- Stores ---- */

struct fixture {
    char dir[FIXTURE_PATH];
    struct store *store;
    struct outcome_buf out;
    uint64_t clock_ms;
    char text[8192];
};

static void open_one(struct fixture *f)
{
    char error[256];
    struct store_options options = fixture_options(f->dir);
    options.script_host = &host;
    if (store_open(&options, error, &f->store) != 0)
        fail_msg("%s", error);
}

static struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    fixture_dir(f->dir);
    open_one(f);
    f->clock_ms = 1000;
    return f;
}

static void fixture_free(struct fixture *f)
{
    store_abandon(f->store);
    outcome_buf_release(&f->out);
    fixture_remove_dir(f->dir);
    free(f);
}

static int setup(void **state)
{
    *state = fixture_new();
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

static struct bytes literal(const char *s)
{
    return (struct bytes){.base = (const uint8_t *)s, .len = strlen(s)};
}

/* The outcome as text: 5 'bulk' +status !refusal [parts] nil */
static size_t show(struct fixture *f, size_t at)
{
    struct outcome o;
    size_t used = outcome_next(f->out.base + at, f->out.len - at, &o), len = strlen(f->text);
    char *to = f->text + len;
    size_t room = sizeof f->text - len;
    assert_true(used > 0);
    at += used;
    if (o.tag == OUTCOME_NIL)
        snprintf(to, room, "nil");
    else if (o.tag == OUTCOME_OK)
        snprintf(to, room, "+OK");
    else if (o.tag == OUTCOME_INT)
        snprintf(to, room, "%" PRId64, o.n);
    else if (o.tag == OUTCOME_ARRAY) {
        strcat(f->text, "[");
        for (int64_t i = 0; i < o.n; i++) {
            strcat(f->text, i > 0 ? " " : "");
            at = show(f, at);
        }
        strcat(f->text, "]");
    } else
        snprintf(to, room, "%s%.*s%s",
                 o.tag == OUTCOME_BULK     ? "'"
                 : o.tag == OUTCOME_SIMPLE ? "+"
                                           : "!",
                 (int)o.len, o.bytes, o.tag == OUTCOME_BULK ? "'" : "");
    return at;
}

static const char *outcome_text(struct fixture *f)
{
    f->text[0] = '\0';
    assert_int_equal(show(f, 0), f->out.len);
    return f->text;
}

static const char *apply(struct fixture *f, enum command_op op, uint16_t flags, const struct bytes *args,
                         uint32_t n_args)
{
    struct command_buf b = {0};
    enum store_applied what;
    int64_t nums[] = {1700000000123, 42};
    batch_begin(&b, 0, 0, 0);
    batch_set_count(b.base, 1);
    batch_stamp(b.base, f->clock_ms);
    command_add(&b, op, flags, nums, 2, args, n_args);
    f->out.len = 0;
    assert_int_equal(store_apply(f->store, store_applied(f->store) + 1, 1, b.base, b.len, &f->out, &what), 0);
    command_buf_release(&b);
    return outcome_text(f);
}

static const char *eval(struct fixture *f, const char *source)
{
    struct bytes args[] = {literal(source), literal("1"), literal("key"), literal("arg")};
    return apply(f, OP_EVAL, 0, args, 4);
}

/* An error ends with where it was. */
static void expect_at(struct fixture *f, int line, const char *source, const char *want)
{
    const char *got = eval(f, source);
    if (strncmp(got, want, strlen(want)) != 0 || (*want != '!' && strcmp(got, want) != 0))
        fail_msg("line %d: %s\n gives %s,\n  not %s", line, source, got, want);
}
#define EXPECT(source, want) expect_at(f, __LINE__, source, want)

/* ---- The same everywhere ---- */

static const char *const busy_scripts[] = {
    "local t = {} for i = 1, 2000 do t['k' .. i] = {i} end return #KEYS",
    "for i = 1, 50 do redis.call('set', 'a' .. i, string.rep('x', i)) end return redis.call('keys', 'a*')",
    "local t = {} for i = 1, 300 do t[i] = math.random(1000) end table.sort(t) return table.concat(t, ',')",
    "local s = '' for k, v in pairs({z = 1, a = 2, [3] = 'x', [1] = 'y', [true] = 0}) do s = s .. tostring(k) .. "
    "tostring(v) end "
    "redis.call('append', 'log', s) return s",
    "error('on purpose')",
    "local t = setmetatable({}, {__mode = 'k'}) for i = 1, 1000 do t[{}] = 1 end return 1",
    "while true do end",
    "redis.call('set', 'gone', 1) return string.rep('x', 50000000) .. string.rep('y', 50000000)",
};
#define BUSY_N (sizeof busy_scripts / sizeof *busy_scripts)

static void same_on_stores_of_different_pasts(void **state)
{
    struct fixture *a = *state, *b = fixture_new();
    struct chance chance = {fixture_seed()};
    for (int i = 0; i < 40; i++) {
        const char *script = busy_scripts[chance_below(&chance, BUSY_N - (i % 8 != 0 ? 2 : 0))];
        for (uint64_t n = chance_below(&chance, 3); n > 0; n--) { /* Reads leave no trace, and garbage. */
            struct command_buf read = {0};
            struct bytes args[] = {literal("local t = {} for i = 1, 500 do t[i] = {} end return t"), literal("0")};
            int64_t nums[] = {0, 7};
            size_t used;
            command_add(&read, OP_EVAL_RO, 0, nums, 2, args, 2);
            b->out.len = 0;
            assert_int_equal(store_read(b->store, read.base, read.len, b->clock_ms, &b->out, &used), 0);
            command_buf_release(&read);
        }
        char want[sizeof a->text];
        strcpy(want, eval(a, script));
        assert_string_equal(eval(b, script), want);
        assert_true(store_hash(a->store) == store_hash(b->store));
        assert_int_equal(store_revision(a->store), store_revision(b->store));
    }
    fixture_free(b);
}

static void nothing_shows_addresses_or_order(void **state)
{
    struct fixture *f = *state;
    EXPECT("return {tostring({}), tostring(print_ or redis.call), tostring(redis)}",
           "!ERR user_script:1: Script attempted");
    EXPECT("return {tostring({}), tostring(redis.call), string.format('%s', {})}",
           "['table: 0x0' 'function: 0x0' 'table: 0x0']");
    EXPECT("return string.format('%p', {})", "!ERR user_script:1: invalid option '%p' to 'format'");
    EXPECT("local s = '' for k in pairs({b=1, a=1, [2]=1, [10]=1, [1.5]=1, [false]=1, [true]=1}) do s = s .. "
           "tostring(k) .. ' ' end return s",
           "'1.5 2 10 a b false true '");
    EXPECT("local t = {x=1, y=2, z=3} local s, k, v = '', next(t) while k do s = s .. k .. v k, v = next(t, k) end "
           "return s",
           "'x1y2z3'");
    EXPECT("local t = {} for i = 1, 5 do t[i] = i end for k in pairs(t) do t[k] = nil end return next(t)", "nil");
    EXPECT("local n = 0 for _ in pairs({[{}] = 1}) do n = n + 1 end return n",
           "!ERR user_script:1: a table with a table as a key");
    EXPECT("return {redis.call('time')[1], redis.call('time')[2]}", "['1700000000' '123000']");
    EXPECT("return collectgarbage('count')", "0");
    EXPECT("local n = 0 local t = setmetatable({}, {__gc = function() redis.call('set', 'gc', 1) end}) t = nil "
           "for i = 1, 100000 do n = {} end return redis.call('get', 'gc')",
           "nil");
}

/* ---- Bounds ---- */

static const char *const stopped[] = {
    "redis.call('set', 'a', 'new') while true do end",
    "redis.call('set', 'a', 'new') while true do pcall(function() while true do end end) end",
    "redis.call('set', 'a', 'new') local function f() return pcall(f) end while true do xpcall(f, f) end",
    "redis.call('del', 'a') return string.find(string.rep('a', 3000), '.-.-.-.-.-b')",
    "redis.call('del', 'a') local t = {} for i = 1, 1e9 do t[i] = 'x' .. i end",
    "redis.call('rename', 'a', 'b') local s = 'xxxxxxxxxxxxxxxx' while true do s = s .. s end",
    "redis.call('soon', 'a') redis.call('set', 'c', 1) local s = string.rep('x', 4000000) local t = {} for i = 1, 30 "
    "do t[i] = s end return t",
    "redis.call('incr', 'n') local t = {} t[1] = t return t",
    "redis.call('persist', 'ttl') local s = string.rep('x', 1000000) while true do local x = s .. 'y' end",
    "for i = 1, 1e9 do redis.call('incr', 'n') end",
    "redis.call('append', 'a', 'x') while true do pcall(redis.call, 'get') end",
    "redis.call('set', 'n', 5) table.sort({1, 2, 3}, function() while true do end end)",
    "redis.call('set', 'n', 5) local t = {} for i = 1, 7000 do t[i] = i end while true do unpack(t) end",
    "local s = cjson.encode({string.rep('a', 1000)}) redis.call('del', 'n') while true do cjson.decode(s) end",
    "for i = 1, 20 do redis.call('set', 'big' .. i, string.rep('x', 8000000)) end for i = 1, 20 do redis.call('del', "
    "'big' .. i) end "
    "while true do end",
};

static void fill(struct fixture *f)
{
    struct bytes a[] = {literal("a"), literal("old")}, n[] = {literal("n"), literal("7")};
    apply(f, OP_SET, 0, a, 2);
    apply(f, OP_SET, 0, n, 2);
    eval(f, "redis.call('set', 'ttl', 'v') redis.call('soon', 'ttl')");
}

static void what_a_bound_stops_changes_nothing(void **state)
{
    struct fixture *f = *state;
    fill(f);
    for (size_t i = 0; i < sizeof stopped / sizeof *stopped; i++) {
        struct bytes load = literal(stopped[i]);
        apply(f, OP_SCRIPT_LOAD, 0, &load, 1); /* Keeping it is a change of its own. */
        uint64_t hash = store_hash(f->store), revision = store_revision(f->store), keys = store_keys(f->store),
                 with_ttl = store_keys_with_ttl(f->store);
        const char *got = eval(f, stopped[i]);
        if (strncmp(got, "!ERR script stopped: ", 21) != 0 || strstr(got, "nothing was changed") == NULL)
            fail_msg("%s\n gives %s", stopped[i], got);
        if (store_hash(f->store) != hash || store_revision(f->store) != revision)
            fail_msg("%s\n has changed something", stopped[i]);
        assert_int_equal(store_keys(f->store), keys);
        assert_int_equal(store_keys_with_ttl(f->store), with_ttl);
    }
    EXPECT("return redis.call('keys', '*')", eval(f, "return redis.call('keys', '*')"));
    EXPECT("return {redis.call('get', 'a'), redis.call('get', 'n'), redis.call('get', 'ttl')}", "['old' '7' 'v']");
}

/* What was put back is due again, and is in the file. */
static void what_was_put_back_is_whole(void **state)
{
    struct fixture *f = *state;
    fill(f);
    const char *script = "redis.call('del', 'ttl') redis.call('soon', 'a') redis.call('set', 'b', 1) while true do end";
    eval(f, script);
    assert_int_equal(store_flush_now(f->store), 0);
    uint64_t hash = store_hash(f->store);
    store_close(f->store);
    open_one(f);
    assert_true(store_hash(f->store) == hash);
    eval(f, script);
    struct command_buf due = {0};
    assert_int_equal(store_due(f->store, f->clock_ms + 5001, 10, &due), 1);
    assert_non_null(memmem(due.base, due.len, "ttl", 3));
    command_buf_release(&due);
}

static void its_own_error_leaves_what_was_done(void **state)
{
    struct fixture *f = *state;
    EXPECT("redis.call('set', 'a', 1) error('boom')", "!ERR user_script:1: boom script: ");
    EXPECT("redis.call('set', 'b', 1) redis.call('incr', 'c') redis.call('nosuch')", "!ERR Unknown Redis command");
    EXPECT("return {redis.call('get', 'a'), redis.call('get', 'b'), redis.call('get', 'c')}", "['1' '1' '1']");
    EXPECT("redis.call('set', 's', 'x') return {pcall(redis.call, 'incr', 's')}", "[nil 'ERR refused 2']");
    EXPECT("return redis.pcall('incr', 's')", "!ERR refused 2");
    EXPECT("return redis.call('flushall')", "!ERR This Redis command is not allowed");
    EXPECT("local t = redis.pcall('incr', 's') error(t)", "!ERR refused 2 script: ");
    EXPECT("error({err = 'MY own'})", "!MY own script: ");
    EXPECT("error({})", "!ERR unknown error script: ");
    EXPECT("return tostring(nil) .. nil", "!ERR user_script:1: attempt to concatenate a nil value script: ");
}

/* ---- Kept scripts ---- */

#define SHA_OF_42 "1fa00e76656cc152ad327c13fe365858fd7be306" /* return 42 */

static void scripts_are_kept(void **state)
{
    struct fixture *f = *state;
    struct bytes source = literal("return 42"), bad = literal("bad bad"), sha[] = {literal(SHA_OF_42), literal("0")};
    assert_string_equal(apply(f, OP_EVAL, CMD_BY_SHA, sha, 2), "!NOSCRIPT No matching script. Please use EVAL.");
    assert_string_equal(apply(f, OP_SCRIPT_LOAD, 0, &source, 1), "'" SHA_OF_42 "'");
    uint64_t revision = store_revision(f->store);
    apply(f, OP_SCRIPT_LOAD, 0, &source, 1);
    assert_int_equal(store_revision(f->store), revision);
    assert_true(strncmp(apply(f, OP_SCRIPT_LOAD, 0, &bad, 1), "!ERR Error compiling script", 27) == 0);
    uint64_t hash = store_hash(f->store);
    store_close(f->store);
    open_one(f);
    assert_true(store_hash(f->store) == hash);
    assert_int_equal(store_keys(f->store), 0); /* They are no keys. */
    assert_string_equal(apply(f, OP_EVAL, CMD_BY_SHA, sha, 2), "42");
    struct bytes upper[] = {literal("1FA00E76656CC152AD327C13FE365858FD7BE306"), literal("0")};
    assert_string_equal(apply(f, OP_EVAL, CMD_BY_SHA, upper, 2), "42");
    struct bytes asked[] = {literal(SHA_OF_42), literal("x")};
    assert_string_equal(apply(f, OP_SCRIPT_EXISTS, 0, asked, 2), "[1 0]");
    apply(f, OP_FLUSHALL, 0, NULL, 0);
    assert_string_equal(apply(f, OP_SCRIPT_EXISTS, 0, asked, 2), "[1 0]");
    assert_string_equal(apply(f, OP_SCRIPT_FLUSH, 0, NULL, 0), "+OK");
    assert_string_equal(apply(f, OP_SCRIPT_EXISTS, 0, asked, 2), "[0 0]");
    eval(f, "return 42");
    assert_string_equal(apply(f, OP_SCRIPT_EXISTS, 0, asked, 2), "[1 0]");
}

static void eval_keeps_no_more_than_some(void **state)
{
    struct fixture *f = *state;
    char source[64];
    for (int i = 0; i < SCRIPT_KEPT_BY_EVAL_MAX + 20; i++) {
        snprintf(source, sizeof source, "return %d", i);
        eval(f, source);
    }
    assert_string_equal(f->text, "519");
    struct bytes last[] = {literal("bd7ae43ed6cd6d1fbe1a3a34b8a9b3e3b2a1f0c0"), literal("0")};
    assert_true(strncmp(apply(f, OP_EVAL, CMD_BY_SHA, last, 2), "!NOSCRIPT", 9) == 0);
    struct bytes more = literal("return 'loaded'");
    assert_true(apply(f, OP_SCRIPT_LOAD, 0, &more, 1)[0] == '\''); /* That one was asked for. */
}

static void reading_scripts_change_nothing(void **state)
{
    struct fixture *f = *state;
    struct bytes write[] = {literal("return redis.call('set', 'k', 1)"), literal("0")};
    struct bytes read[] = {literal("return redis.call('get', 'k')"), literal("0")};
    uint64_t revision = store_revision(f->store);
    assert_true(strncmp(apply(f, OP_EVAL_RO, 0, write, 2), "!ERR Write commands are not allowed", 35) == 0);
    assert_string_equal(apply(f, OP_EVAL_RO, 0, read, 2), "nil");
    EXPECT("#!lua flags=no-writes\nreturn redis.call('set', 'k', 1)", "!ERR Write commands are not allowed");
    assert_int_equal(store_revision(f->store), revision + 1); /* EVAL keeps it. */
}

static void malformed_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const counts[] = {"-1", "3", "x", "", "99999999999999999999", "01"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct bytes args[] = {literal("return 1"), literal(counts[i]), literal("a"), literal("b")};
        assert_string_equal(apply(f, OP_EVAL, 0, args, 4), "!");
    }
    struct bytes one = literal("return 1");
    assert_string_equal(apply(f, OP_EVAL, 0, &one, 1), "!");
    EXPECT("\033Lua", "!ERR Error compiling script (new function): binary chunks are not loaded");
    EXPECT("", "nil");
    EXPECT("return 'unended", "!ERR Error compiling script");
    EXPECT("--[[ never ends", "!ERR Error compiling script");
    EXPECT("#!python\nreturn 1", "!ERR Unexpected engine in script shebang: python");
    EXPECT("#!lua flags=no-such\nreturn 1", "!ERR Unexpected flag in script shebang: no-such");
    EXPECT("#!lua", "!ERR Invalid script shebang");
}

/* ---- The language ---- */

static void it_is_lua_5_1(void **state)
{
    struct fixture *f = *state;
    EXPECT("return 10 / 2 .. '|' .. 1 .. '|' .. 2^53 .. '|' .. 0.1", "'5|1|9.007199254741e+15|0.1'");
    EXPECT("return {'a\\qb', 'a\\x41', \"\\065\\\n\", [[\\n..]]}", "['aqb' 'ax41' 'A\n' '\\n..']");
    EXPECT("local goto = 1 local t = {goto = 2} return goto + t.goto", "3");
    EXPECT("return (function(...) return select('#', ...) end)(1, 2, 3)", "3");
    EXPECT("return 7 // 2", "!ERR Error compiling script (new function): user_script:1: unexpected symbol near '/'");
    EXPECT("return 1 & 2", "!ERR Error compiling script");
    EXPECT("return 1 ~= 2 and 0x10 == 16 and 1e2 == 100 and .5 == 0.5", "1");
    EXPECT("-- a comment .. with 5 // 3\nreturn #'abc' --[==[ more ]] ]==] + 1", "4");
    EXPECT("return {unpack({1, 2, 3})}", "[1 2 3]");
    EXPECT("return loadstring('return 5 .. 5')()", "'55'");
    EXPECT("local f, e = loadstring('return 1 +') return e",
           "'[string \"return 1 +\"]:1: unexpected symbol near '<eof>''");
    EXPECT("return string.sub('hello', 1, 5 / 2)", "'he'");
    EXPECT("return string.format('%d %5.1f %x %s %q %05d %%', 3.7, 2.25, 255, 5, 'a\"b', 42)",
           "'3   2.2 ff 5 \"a\\\"b\" 00042 %'");
    EXPECT("return ('x'):rep(3) .. ('abc'):upper() .. (5 .. ''):len()", "'xxxABC1'");
    EXPECT("local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return t", "[3 2 1]");
    EXPECT("local t = {'b', 'c', 'a'} table.sort(t) return table.concat(t, '-')", "'a-b-c'");
    EXPECT("local t = {1, 2} table.insert(t, 3) table.insert(t, 1, 0) table.remove(t, 2) return t", "[0 2 3]");
    EXPECT("return {table.getn({1, 2}), table.maxn({1, 2, [7] = 1}), math.mod(7, 3), math.pow(2, 3)}", "[2 7 1 8]");
    EXPECT("return setmetatable({}, {__concat = function(a, b) return 'cat' end}) .. 1", "'cat'");
    EXPECT("return {bit.band(255, 15), bit.bor(1, 6), bit.bxor(5, 1), bit.lshift(1, 31), bit.rshift(-1, 28), "
           "bit.bnot(0), bit.tohex(-1)}",
           "[15 7 4 -2147483648 15 -1 'ffffffff']");
    EXPECT("local function f(n) if n == 0 then return '' end return n .. ',' .. f(n - 1) .. (n .. '') end return f(4)",
           "'4,3,2,1,1234'");
    EXPECT("local function f(n) return n == 0 and 0 or #('a' .. 'b' .. n .. 'c' .. 'd' .. 'e' .. 'f' .. 'g') + f(n - "
           "1) end "
           "return f(150)",
           "1392");
    EXPECT("local t = pcall(function() return 'a' .. error('x') end) return 'b' .. (pcall(error) and 'c' or 'd')",
           "'bd'");
    EXPECT("return 'a' .. 1 + 2 .. 2 ^ 2 == 'a34' and -1 .. '' or 'no'", "'-1'");
    EXPECT("foo = 1", "!ERR user_script:1: Attempt to modify a readonly table");
    EXPECT("return foo", "!ERR user_script:1: Script attempted to access nonexistent global variable 'foo'");
    EXPECT("return type(os)", "!ERR user_script:1: Script attempted");
    EXPECT("return {KEYS[1], ARGV[1], #KEYS, #ARGV}", "['key' 'arg' 1 1]");
}

static void patterns_match_as_luas(void **state)
{
    struct fixture *f = *state;
    EXPECT("return {string.find('hello world', 'o w')}", "[5 7]");
    EXPECT("return {string.find('a.b', '.', 1, true)}", "[2 2]");
    EXPECT("return {string.find('key:123:x', '(%a+):(%d+)')}", "[1 7 'key' '123']");
    EXPECT("return {string.match('  trim me ', '^%s*(.-)%s*$')}", "['trim me']");
    EXPECT("return {string.match('f(a(b)c)d', '%b()'), string.match('THE (quick) fox', '%f[%a]%a+', 5)}",
           "['(a(b)c)' 'quick']");
    EXPECT("return {string.match('abcabc', '(abc)%1'), string.match('x', '()x()')}", "['abc' 1 2]");
    EXPECT("return {string.match('[]^-', '[%]^-]+'), string.match('a-z', '[a-]+'), string.match('x]y', '[]]')}",
           "[']^-' 'a-' ']']");
    EXPECT("local t = {} for k, v in string.gmatch('a=1, b=2', '(%w+)=(%w+)') do t[#t + 1] = k .. v end return t",
           "['a1' 'b2']");
    EXPECT("return {string.gsub('hello', '', '-')}", "['-h-e-l-l-o-' 6]");
    EXPECT("return {string.gsub('abc', '%w', '%0%0', 2)}", "['aabbc' 2]");
    EXPECT("return {string.gsub('$name is $age', '%$(%w+)', {name = 'x', age = 5})}", "['x is 5' 2]");
    EXPECT("return {string.gsub('abc', 'b', function() return false end)}", "['abc' 1]");
    EXPECT("return string.find('x', '[a')", "!ERR user_script:1: malformed pattern (missing ']')");
    EXPECT("return string.find('x', '(x')", "!ERR user_script:1: unfinished capture");
    EXPECT("return string.find('x', '%')", "!ERR user_script:1: malformed pattern (ends with '%')");
    EXPECT("return string.match('2024-01-02', '^(%d+)-(%d+)-(%d+)$')", "'2024'");
    EXPECT("return {string.find('abc', 'b', -1), string.find('', '')}", "[]");
}

static void json_goes_both_ways(void **state)
{
    struct fixture *f = *state;
    EXPECT("return cjson.encode({a = 1, b = {1, 2, {}}, c = 'x\"y/\\n\\1', d = true, e = cjson.null})",
           "'{\"a\":1,\"b\":[1,2,{}],\"c\":\"x\\\"y\\/\\n\\u0001\",\"d\":true,\"e\":null}'");
    EXPECT("local t = cjson.decode('{\"a\": [1, 2.5, -3e2], \"s\": \"\\\\u00e9\\\\ud83d\\\\ude00\", \"n\": null, "
           "\"t\": false}') "
           "return {t.a[2] * 2, t.a[3], t.s, t.n == cjson.null and 1 or 0, t.t and 1 or 0}",
           "[5 -300 'é😀' 1 0]");
    EXPECT("return cjson.encode({[1] = 1, [3] = 3})", "'[1,null,3]'");
    EXPECT("return cjson.encode({[1] = 1, [1000] = 3})",
           "!ERR user_script:1: Cannot serialise table: excessively sparse array");
    EXPECT("return cjson.encode(1 / 0)", "!ERR user_script:1: Cannot serialise number");
    static const char *const bad[] = {"",        "{",      "[1,",        "{\"a\"}", "tru", "1 2",
                                      "\"\\x\"", "\"open", "{\"a\":1,}", "nul",     "--1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char source[128];
        snprintf(source, sizeof source, "return cjson.decode([[%s]])", bad[i]);
        if (strncmp(eval(f, source), "!ERR user_script:1: Expected ", 29) != 0)
            fail_msg("%s gives %s", source, f->text);
    }
    EXPECT("return cjson.decode(string.rep('[', 5000))", "!ERR user_script:1: Found too many nested data structures");
}

/* Any bytes make an answer, the same twice. */
static void any_source_is_answered(void **state)
{
    struct fixture *f = *state, *g = fixture_new();
    static const char *const words[] = {"return ",
                                        "local x = ",
                                        "..",
                                        "'",
                                        "\"",
                                        "[[",
                                        "]]",
                                        "--",
                                        "5",
                                        "0x",
                                        "1e",
                                        ".",
                                        "...",
                                        "{",
                                        "}",
                                        "(",
                                        ")",
                                        "x",
                                        "goto",
                                        "\\",
                                        "\n",
                                        "=",
                                        "redis.call('incr','n')",
                                        " ",
                                        "end ",
                                        "function() ",
                                        ","};
    struct chance chance = {fixture_seed()};
    for (int i = 0; i < 1500; i++) {
        char source[256] = "";
        for (uint64_t n = chance_below(&chance, 20); n > 0; n--)
            strcat(source, words[chance_below(&chance, sizeof words / sizeof *words)]);
        char want[sizeof f->text];
        strcpy(want, eval(f, source));
        assert_string_equal(eval(g, source), want);
    }
    assert_true(store_hash(f->store) == store_hash(g->store));
    fixture_free(g);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(same_on_stores_of_different_pasts),
        TEST(nothing_shows_addresses_or_order),
        TEST(what_a_bound_stops_changes_nothing),
        TEST(what_was_put_back_is_whole),
        TEST(its_own_error_leaves_what_was_done),
        TEST(scripts_are_kept),
        TEST(eval_keeps_no_more_than_some),
        TEST(reading_scripts_change_nothing),
        TEST(malformed_is_refused),
        TEST(it_is_lua_5_1),
        TEST(patterns_match_as_luas),
        TEST(json_goes_both_ways),
        TEST(any_source_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
