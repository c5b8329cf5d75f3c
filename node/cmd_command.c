/* cmd_command.c - COMMAND: what commands there are, told from their table. */
#include "node/commands.h"
#include "node/reply.h"
#include "store/glob.h"
#include <ctype.h>
#include <string.h>

bool arg_matches_name(const struct resp_arg *pattern, const char *name)
{
    char lowered[128];
    size_t len = pattern->len < sizeof lowered ? pattern->len : sizeof lowered;
    for (size_t i = 0; i < len; i++)
        lowered[i] = (char)tolower((unsigned char)pattern->base[i]);
    return pattern->len <= sizeof lowered &&
           glob_match((const uint8_t *)lowered, len, (const uint8_t *)name, strlen(name));
}

static void put_words(struct call *call, const char *const *words, size_t n)
{
    resp_set(call->out, call->proto, n);
    for (size_t i = 0; i < n; i++)
        resp_simple(call->out, words[i]);
}

static void put_flags(struct call *call, const struct command_row *row)
{
    static const struct {
        uint32_t flag;
        const char *word;
    } names[] = {
        {ROW_WRITE, "write"},       {ROW_READONLY, "readonly"}, {ROW_DENYOOM, "denyoom"}, {ROW_ADMIN, "admin"},
        {ROW_NOSCRIPT, "noscript"}, {ROW_BLOCKING, "blocking"}, {ROW_LOADING, "loading"}, {ROW_STALE, "stale"},
        {ROW_FAST, "fast"},         {ROW_NO_AUTH, "no_auth"},
    };
    const char *words[sizeof names / sizeof *names];
    size_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((row->flags & names[i].flag) != 0)
            words[n++] = names[i].word;
    put_words(call, words, n);
}

#define CATEGORIES_MAX 16

static size_t categories_of(const struct command_row *row, const char *words[CATEGORIES_MAX])
{
    static const struct {
        uint32_t flag;
        const char *word;
    } names[] = {
        {ROW_KEYSPACE, "@keyspace"},
        {ROW_READONLY, "@read"},
        {ROW_WRITE, "@write"},
        {ROW_LIST, "@list"},
        {ROW_HASH, "@hash"},
        {ROW_STRING, "@string"},
        {ROW_ADMIN, "@admin"},
        {ROW_FAST, "@fast"},
        {ROW_BLOCKING, "@blocking"},
        {ROW_DANGEROUS, "@dangerous"},
        {ROW_CONNECTION, "@connection"},
        {ROW_TRANSACTION, "@transaction"},
        {ROW_SCRIPTING, "@scripting"},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((row->flags & names[i].flag) != 0)
            words[n++] = names[i].word;
        else if (names[i].flag == ROW_FAST)
            words[n++] = "@slow";
    }
    return n;
}

static void put_key_flags(struct call *call, enum command_key_use use)
{
    static const char *const words[][3] = {
        [KEYS_NONE] = {NULL},
        [KEYS_RO_ACCESS] = {"RO", "access"},
        [KEYS_RO] = {"RO"},
        [KEYS_RW_ACCESS_UPDATE] = {"RW", "access", "update"},
        [KEYS_RW_ACCESS_DELETE] = {"RW", "access", "delete"},
        [KEYS_RW_UPDATE] = {"RW", "update"},
        [KEYS_RW_INSERT] = {"RW", "insert"},
        [KEYS_RW_DELETE] = {"RW", "delete"},
        [KEYS_RW_VARIABLE] = {"RW", "access", "update"},
        [KEYS_OW_UPDATE] = {"OW", "update"},
        [KEYS_OW_INSERT] = {"OW", "insert"},
        [KEYS_RM_DELETE] = {"RM", "delete"},
    };
    const char *flags[4];
    size_t n = 0;
    while (n < 3 && words[use][n] != NULL) {
        flags[n] = words[use][n];
        n++;
    }
    if (use == KEYS_RW_VARIABLE)
        flags[n++] = "variable_flags";
    put_words(call, flags, n);
}

static void put_key_specs(struct call *call, const struct command_row *row)
{
    struct resp_buf *out = call->out;
    int proto = call->proto;
    bool has = row->first_key != 0;
    resp_set(out, proto, has);
    if (!has)
        return;
    resp_map(out, proto, 3);
    resp_text(out, "flags");
    put_key_flags(call, row->key_use);
    resp_text(out, "begin_search");
    resp_map(out, proto, 2);
    resp_text(out, "type");
    resp_text(out, "index");
    resp_text(out, "spec");
    resp_map(out, proto, 1);
    resp_text(out, "index");
    resp_int(out, row->first_key);
    resp_text(out, "find_keys");
    resp_map(out, proto, 2);
    resp_text(out, "type");
    resp_text(out, "range");
    resp_text(out, "spec");
    resp_map(out, proto, 3);
    resp_text(out, "lastkey");
    resp_int(out, row->last_key < 0 ? row->last_key : row->last_key - row->first_key);
    resp_text(out, "keystep");
    resp_int(out, row->key_step);
    resp_text(out, "limit");
    resp_int(out, 0);
}

/* The subcommands of a container follow it in the table. */
static size_t count_subs(const struct command_row *row)
{
    size_t n_rows, n = 0;
    const struct command_row *rows = commands_table(&n_rows);
    if ((row->flags & ROW_CONTAINER) == 0)
        return 0;
    while (row + n + 1 < rows + n_rows && command_row_is_sub(&row[n + 1]))
        n++;
    return n;
}

static void put_row_info(struct call *call, const struct command_row *row)
{
    const char *categories[CATEGORIES_MAX];
    size_t subs = count_subs(row);
    resp_array(call->out, 10);
    resp_text(call->out, row->name);
    resp_int(call->out, row->arity);
    put_flags(call, row);
    resp_int(call->out, row->first_key);
    resp_int(call->out, row->last_key);
    resp_int(call->out, row->key_step);
    size_t n = categories_of(row, categories);
    put_words(call, categories, n);
    resp_set(call->out, call->proto, 0); /* tips */
    put_key_specs(call, row);
    resp_set(call->out, call->proto, subs);
    for (size_t i = 1; i <= subs; i++)
        put_row_info(call, &row[i]);
}

/* Top-level commands only. */
static size_t count_commands(void)
{
    size_t n_rows, n = 0;
    const struct command_row *rows = commands_table(&n_rows);
    for (size_t i = 0; i < n_rows; i++)
        n += !command_row_is_sub(&rows[i]);
    return n;
}

static void put_each_command(struct call *call, void (*put)(struct call *call, const struct command_row *row))
{
    size_t n_rows;
    const struct command_row *rows = commands_table(&n_rows);
    for (size_t i = 0; i < n_rows; i++)
        if (!command_row_is_sub(&rows[i]))
            put(call, &rows[i]);
}

void run_command(struct call *call)
{
    resp_array(call->out, count_commands());
    put_each_command(call, put_row_info);
}

void run_command_info(struct call *call)
{
    if (call->n == 2) {
        run_command(call);
        return;
    }
    resp_array(call->out, call->n - 2);
    for (size_t i = 2; i < call->n; i++) {
        const struct command_row *row = commands_find(call->args[i].base, call->args[i].len);
        if (row != NULL)
            put_row_info(call, row);
        else
            resp_nil(call->out, call->proto);
    }
}

void run_command_count(struct call *call)
{
    resp_int(call->out, (int64_t)count_commands());
}

static void put_field(struct call *call, const char *name, const char *value)
{
    resp_text(call->out, name);
    resp_text(call->out, value);
}

static void put_row_docs(struct call *call, const struct command_row *row)
{
    size_t subs = count_subs(row);
    resp_text(call->out, row->name);
    resp_map(call->out, call->proto, 4 + (subs > 0));
    put_field(call, "summary", row->summary);
    put_field(call, "since", row->since);
    put_field(call, "group", row->group);
    put_field(call, "complexity", row->complexity);
    if (subs == 0)
        return;
    resp_text(call->out, "subcommands");
    resp_map(call->out, call->proto, subs);
    for (size_t i = 1; i <= subs; i++)
        put_row_docs(call, &row[i]);
}

void run_command_docs(struct call *call)
{
    if (call->n == 2) {
        resp_map(call->out, call->proto, count_commands());
        put_each_command(call, put_row_docs);
        return;
    }
    size_t known = 0;
    for (size_t i = 2; i < call->n; i++)
        known += commands_find(call->args[i].base, call->args[i].len) != NULL;
    resp_map(call->out, call->proto, known);
    for (size_t i = 2; i < call->n; i++) {
        const struct command_row *row = commands_find(call->args[i].base, call->args[i].len);
        if (row != NULL)
            put_row_docs(call, row);
    }
}

static bool has_category(const struct command_row *row, const struct resp_arg *category)
{
    const char *words[CATEGORIES_MAX];
    size_t n = categories_of(row, words);
    for (size_t i = 0; i < n; i++)
        if (arg_is(category, words[i] + 1))
            return true;
    return false;
}

static bool is_command_listed(struct call *call, const struct command_row *row)
{
    if (command_row_is_sub(row))
        return false;
    if (call->n == 2)
        return true;
    if (arg_is(&call->args[3], "module"))
        return false;
    return arg_is(&call->args[3], "pattern") ? arg_matches_name(&call->args[4], row->name)
                                             : has_category(row, &call->args[4]);
}

void run_command_list(struct call *call)
{
    bool filtered =
        call->n == 5 && arg_is(&call->args[2], "filterby") &&
        (arg_is(&call->args[3], "module") || arg_is(&call->args[3], "pattern") || arg_is(&call->args[3], "aclcat"));
    if (call->n != 2 && !filtered) {
        resp_error(call->out, REPLY_SYNTAX);
        return;
    }
    size_t n_rows, n = 0;
    const struct command_row *rows = commands_table(&n_rows);
    for (size_t i = 0; i < n_rows; i++)
        n += is_command_listed(call, &rows[i]);
    resp_array(call->out, n);
    for (size_t i = 0; i < n_rows; i++)
        if (is_command_listed(call, &rows[i]))
            resp_text(call->out, rows[i].name);
}

void run_command_getkeys(struct call *call)
{
    const struct resp_arg *args = call->args + 2;
    size_t n = call->n - 2;
    const struct command_row *row = commands_find(args[0].base, args[0].len);
    if (row != NULL && (row->flags & ROW_CONTAINER) != 0 && n > 1)
        row = commands_find_sub(row, args[1].base, args[1].len);
    if (row == NULL) {
        resp_error(call->out, REPLY_GETKEYS_COMMAND);
        return;
    }
    if (row->first_key == 0) {
        resp_error(call->out, REPLY_GETKEYS_NONE);
        return;
    }
    if (row->arity >= 0 ? n != (size_t)row->arity : n < (size_t)-row->arity) {
        resp_error(call->out, REPLY_GETKEYS_ARITY);
        return;
    }
    size_t first = (size_t)row->first_key, last = command_row_last_key(row, n), step = (size_t)row->key_step;
    resp_array(call->out, (last - first) / step + 1);
    for (size_t i = first; i <= last; i += step)
        resp_bulk(call->out, args[i].base, args[i].len);
}

void run_command_help(struct call *call)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    Return details about all commands.",
        "COUNT",
        "    Return how many commands there are.",
        "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
        "    Return the commands' names.",
        "INFO [<command> ...]",
        "    Return details about commands.",
        "DOCS [<command> ...]",
        "    Return documentation of commands.",
        "GETKEYS <command> [<arg> ...]",
        "    Return the keys of a full command.",
        NULL,
    };
    reply_help(call->out, "COMMAND", lines);
}
