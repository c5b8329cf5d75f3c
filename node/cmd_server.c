/* cmd_server.c - commands about the node: what it is, how it is set up, what it can do. All are local. */
#include "node/commands.h"
#include "node/info.h"
#include "node/log.h"
#include "node/node.h"
#include "node/reply.h"
#include "store/glob.h"
#include <ctype.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Patterns match names in any case. */
static bool name_matches(const struct resp_arg *pattern, const char *name)
{
    char lowered[128];
    size_t len = pattern->len < sizeof lowered ? pattern->len : sizeof lowered;
    for (size_t i = 0; i < len; i++)
        lowered[i] = (char)tolower((unsigned char)pattern->base[i]);
    return pattern->len <= sizeof lowered &&
           glob_match((const uint8_t *)lowered, len, (const uint8_t *)name, strlen(name));
}

/* ---- COMMAND ---- */

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
    return arg_is(&call->args[3], "pattern") ? name_matches(&call->args[4], row->name)
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

/* ---- CONFIG ---- */

/* Redis's parameters that tools ask for: where each has its value from. */
enum parameter_source {
    FROM_FIXED,   /* Always this. */
    FROM_SETTING, /* One of ours, in Redis's unit (plain bytes, plain seconds). */
    FROM_LEVEL,   /* log_level in Redis's words */
    FROM_PORT,
    FROM_BIND,
    FROM_MEMORY, /* Always this, and what is given must be a memory value. */
};

struct parameter {
    const char *name;
    enum parameter_source source;
    const char *value; /* The fixed value, or our setting's name. */
};

static const struct parameter parameters[] = {
    {"appendfsync", FROM_FIXED, "always"},
    {"appendonly", FROM_FIXED, "yes"},
    {"bind", FROM_BIND, NULL},
    {"client-output-buffer-limit", FROM_FIXED, "normal 0 0 0 slave 0 0 0 pubsub 0 0 0"},
    {"client-query-buffer-limit", FROM_SETTING, "max_request_bytes"},
    {"cluster-enabled", FROM_FIXED, "no"},
    {"databases", FROM_FIXED, "1"},
    {"dir", FROM_SETTING, "data_dir"},
    {"enable-debug-command", FROM_FIXED, "no"},
    {"hz", FROM_FIXED, "10"},
    {"io-threads", FROM_FIXED, "1"},
    {"latency-monitor-threshold", FROM_FIXED, "0"},
    {"latency-tracking", FROM_FIXED, "no"},
    {"logfile", FROM_SETTING, "log_file"},
    {"loglevel", FROM_LEVEL, NULL},
    {"maxclients", FROM_SETTING, "max_clients"},
    {"maxmemory", FROM_MEMORY, "0"},
    {"maxmemory-policy", FROM_FIXED, "noeviction"},
    {"maxmemory-samples", FROM_FIXED, "5"},
    {"min-replicas-to-write", FROM_FIXED, "0"},
    {"notify-keyspace-events", FROM_FIXED, ""},
    {"port", FROM_PORT, NULL},
    {"proto-max-bulk-len", FROM_SETTING, "max_value_bytes"},
    {"protected-mode", FROM_FIXED, "no"},
    {"replica-read-only", FROM_FIXED, "no"},
    {"requirepass", FROM_FIXED, ""},
    {"save", FROM_FIXED, ""},
    {"slowlog-log-slower-than", FROM_FIXED, "-1"},
    {"slowlog-max-len", FROM_FIXED, "0"},
    {"supervised", FROM_FIXED, "no"},
    {"tcp-backlog", FROM_SETTING, "tcp_backlog"},
    {"tcp-keepalive", FROM_SETTING, "tcp_keepalive_s"},
    {"timeout", FROM_SETTING, "client_idle_s"},
};
#define PARAMETERS_N (sizeof parameters / sizeof *parameters)

/* Ours have fewer levels than Redis: the first of these rows that fits is the one told. */
static const struct {
    const char *redis, *ours;
} levels[] = {
    {"debug", "debug"}, {"notice", "info"}, {"warning", "warning"}, {"nothing", "error"}, {"verbose", "info"}};
#define LEVELS_N (sizeof levels / sizeof *levels)

static const struct config_setting *setting_named(const char *name)
{
    return config_setting_find(name, strlen(name));
}

static void plain_number(char *text, size_t cap)
{
    uint64_t n;
    if (config_bytes_from_text(text, &n))
        snprintf(text, cap, "%" PRIu64, n);
}

static void parameter_value(struct server *s, const struct parameter *p, char *text, size_t cap)
{
    const struct config *config = server_config(s);
    char port[16];
    switch (p->source) {
    case FROM_FIXED:
    case FROM_MEMORY:
        snprintf(text, cap, "%s", p->value);
        return;
    case FROM_SETTING:
        config_format(config, setting_named(p->value), text, cap);
        plain_number(text, cap);
        return;
    case FROM_LEVEL:
        for (size_t i = LEVELS_N; i-- > 0;)
            if (strcmp(levels[i].ours, config->log_level) == 0)
                snprintf(text, cap, "%s", levels[i].redis);
        return;
    case FROM_PORT:
        snprintf(text, cap, "%u", server_port(s));
        return;
    case FROM_BIND:
        config_split_address(config->listen, text, cap, port, sizeof port);
        return;
    }
}

#define CONFIG_VALUE_MAX 8192

static bool any_matches(struct call *call, const char *name)
{
    for (size_t i = 2; i < call->n; i++)
        if (name_matches(&call->args[i], name))
            return true;
    return false;
}

void run_config_get(struct call *call)
{
    const struct config_setting *setting;
    char value[CONFIG_VALUE_MAX];
    size_t n = 0;
    for (size_t i = 0; i < PARAMETERS_N; i++)
        n += any_matches(call, parameters[i].name);
    for (size_t i = 0; (setting = config_setting_at(i)) != NULL; i++)
        n += any_matches(call, config_setting_name(setting));
    resp_map(call->out, call->proto, n);
    for (size_t i = 0; i < PARAMETERS_N; i++) {
        if (!any_matches(call, parameters[i].name))
            continue;
        *value = '\0';
        parameter_value(call->server, &parameters[i], value, sizeof value);
        put_field(call, parameters[i].name, value);
    }
    for (size_t i = 0; (setting = config_setting_at(i)) != NULL; i++) {
        if (!any_matches(call, config_setting_name(setting)))
            continue;
        config_format(server_config(call->server), setting, value, sizeof value);
        put_field(call, config_setting_name(setting), value);
    }
}

static const struct parameter *find_parameter(const struct resp_arg *name)
{
    for (size_t i = 0; i < PARAMETERS_N; i++)
        if (arg_is(name, parameters[i].name))
            return &parameters[i];
    return NULL;
}

/* A setting of ours into the changed copy. False: the reason is in why. */
static bool change_setting(struct config *changed, const struct config_setting *setting, const char *value,
                           char why[CONFIG_ERROR_MAX])
{
    char now[CONFIG_VALUE_MAX];
    config_format(changed, setting, now, sizeof now);
    if (strcmp(now, value) == 0)
        return true;
    if (!config_setting_is_live(setting)) {
        snprintf(why, CONFIG_ERROR_MAX, "can't set immutable config");
        return false;
    }
    return config_set(changed, setting, value, why) == 0;
}

static bool change_level(struct config *changed, const char *value, char why[CONFIG_ERROR_MAX])
{
    for (size_t i = 0; i < LEVELS_N; i++)
        if (strcasecmp(levels[i].redis, value) == 0)
            return config_set(changed, setting_named("log_level"), levels[i].ours, why) == 0;
    snprintf(why, CONFIG_ERROR_MAX,
             "argument(s) must be one of the following: debug, verbose, notice, warning, nothing");
    return false;
}

static bool change_parameter(struct call *call, struct config *changed, const struct parameter *p, const char *value,
                             char why[CONFIG_ERROR_MAX])
{
    char now[CONFIG_VALUE_MAX] = "";
    uint64_t bytes;
    if (p->source == FROM_LEVEL)
        return change_level(changed, value, why);
    parameter_value(call->server, p, now, sizeof now);
    if (p->source == FROM_MEMORY && !config_bytes_from_text(value, &bytes)) {
        snprintf(why, CONFIG_ERROR_MAX, "argument must be a memory value");
        return false;
    }
    if (strcasecmp(now, value) == 0)
        return true;
    if (p->source == FROM_SETTING)
        return change_setting(changed, setting_named(p->value), value, why);
    snprintf(why, CONFIG_ERROR_MAX, "this server has nothing that it would change; it stays '%.60s'", now);
    return false;
}

/* One name and value. False: the error is written. */
static bool change_one(struct call *call, struct config *changed, const struct resp_arg *name)
{
    const struct resp_arg *arg = name + 1;
    const struct parameter *p = find_parameter(name);
    const struct config_setting *setting = config_setting_find(name->base, name->len);
    int shown = (int)(name->len < 128 ? name->len : 128);
    char value[CONFIG_VALUE_MAX], why[CONFIG_ERROR_MAX] = "";
    if (p == NULL && setting == NULL) {
        resp_errorf(call->out, REPLY_CONFIG_UNKNOWN, shown, name->base);
        return false;
    }
    bool ok = arg->len < sizeof value;
    if (ok) {
        memcpy(value, arg->base, arg->len);
        value[arg->len] = '\0';
        ok = p != NULL ? change_parameter(call, changed, p, value, why) : change_setting(changed, setting, value, why);
    }
    if (!ok)
        resp_errorf(call->out, REPLY_CONFIG_SET, shown, name->base, *why != '\0' ? why : "argument is too long");
    return ok;
}

/* All or nothing: the settings are changed in a copy, which is taken if it holds together. */
void run_config_set(struct call *call)
{
    char why[CONFIG_ERROR_MAX];
    if (call->n % 2 != 0) {
        resp_error(call->out, REPLY_SYNTAX);
        return;
    }
    struct config *changed = malloc(sizeof *changed);
    if (changed == NULL) {
        resp_error(call->out, REPLY_NO_MEMORY);
        return;
    }
    *changed = *server_config(call->server);
    bool ok = true;
    for (size_t i = 2; i < call->n && ok; i += 2)
        ok = change_one(call, changed, &call->args[i]);
    if (ok && config_cross_check(changed, why) != 0) {
        resp_errorf(call->out, REPLY_CONFIG_SET, (int)call->args[2].len, call->args[2].base, why);
        ok = false;
    }
    if (ok) {
        *server_config(call->server) = *changed;
        server_apply_limits(call->server);
        log_set_level((enum log_level)log_level_from_name(changed->log_level));
        log_info("settings changed by client %s", call->facts->address);
        resp_ok(call->out);
    }
    free(changed);
}

void run_config_resetstat(struct call *call)
{
    server_reset_stats(call->server);
    resp_ok(call->out);
}

void run_config_rewrite(struct call *call)
{
    resp_error(call->out, REPLY_CONFIG_NO_FILE);
}

void run_config_help(struct call *call)
{
    static const char *const lines[] = {
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        NULL,
    };
    reply_help(call->out, "CONFIG", lines);
}

/* ---- What the node is and does ---- */

void run_info(struct call *call)
{
    struct resp_buf text = {0};
    info_write(call->server, call->args + 1, call->n - 1, &text);
    if (text.failed)
        resp_error(call->out, REPLY_NO_MEMORY);
    else
        resp_verbatim(call->out, call->proto, text.base, text.len);
    resp_buf_release(&text);
}

void run_time(struct call *call)
{
    char text[32];
    int64_t us = 0;
    uv_timeval64_t now;
    if (uv_gettimeofday(&now) == 0)
        us = now.tv_sec * 1000000 + now.tv_usec;
    resp_array(call->out, 2);
    snprintf(text, sizeof text, "%" PRId64, us / 1000000);
    resp_text(call->out, text);
    snprintf(text, sizeof text, "%" PRId64, us % 1000000);
    resp_text(call->out, text);
}

static void put_number_text(struct resp_buf *out, uint64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, n);
    resp_text(out, text);
}

static void put_master_role(struct call *call, const struct node_status *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_members; i++)
        n += s->members[i].id != s->id && s->members[i].linked;
    resp_array(call->out, 3);
    resp_text(call->out, "master");
    resp_int(call->out, (int64_t)s->applied_index);
    resp_array(call->out, n);
    for (size_t i = 0; i < s->n_members; i++) {
        const struct node_member *m = &s->members[i];
        char host[256] = "", port[16] = "0";
        if (m->id == s->id || !m->linked)
            continue;
        config_split_address(m->client_address, host, sizeof host, port, sizeof port);
        resp_array(call->out, 3);
        resp_text(call->out, host);
        resp_text(call->out, port);
        put_number_text(call->out, m->match_index);
    }
}

static void put_slave_role(struct call *call, const struct node_status *s)
{
    char host[256] = "", port[16] = "0";
    bool linked = false;
    for (size_t i = 0; i < s->n_members; i++) {
        if (s->leader == 0 || s->members[i].id != s->leader)
            continue;
        config_split_address(s->members[i].client_address, host, sizeof host, port, sizeof port);
        linked = s->members[i].linked;
    }
    resp_array(call->out, 5);
    resp_text(call->out, "slave");
    resp_text(call->out, host);
    resp_int(call->out, atoi(port));
    resp_text(call->out, linked ? "connected" : "connect");
    resp_int(call->out, (int64_t)s->applied_index);
}

/* The leader is the master, others are its slaves: clients that ask for ROLE want to be where writes need no second
 * step, and go where a slave points. HELLO and INFO say master everywhere, because those who read that ask whether
 * this node takes writes, and every node does. */
void run_role(struct call *call)
{
    struct node_status s;
    node_status(call->node, &s);
    if (s.leader == s.id && s.leader != 0)
        put_master_role(call, &s);
    else
        put_slave_role(call, &s);
}

void run_wait(struct call *call)
{
    int64_t n, timeout_ms;
    if (!arg_int(&call->args[1], &n)) {
        resp_error(call->out, REPLY_NOT_INTEGER);
        return;
    }
    if (!arg_int(&call->args[2], &timeout_ms)) {
        resp_error(call->out, REPLY_TIMEOUT_NOT_INTEGER);
        return;
    }
    if (timeout_ms < 0) {
        resp_error(call->out, REPLY_TIMEOUT_NEGATIVE);
        return;
    }
    unsigned wanted = n <= 0 || call->in_exec ? 0 : n > UINT16_MAX ? UINT16_MAX : (unsigned)n;
    conn_wait_replicas(call->conn, wanted, (uint64_t)timeout_ms);
}

void run_lastsave(struct call *call)
{
    resp_int(call->out, wall_now_ms() / 1000);
}

void run_save(struct call *call)
{
    bool background = strcmp(call->row->name, "bgsave") == 0;
    if (call->n > 2 || (call->n == 2 && !arg_is(&call->args[1], "schedule")))
        resp_error(call->out, REPLY_SYNTAX);
    else if (background)
        resp_simple(call->out, "Background saving started");
    else
        resp_ok(call->out);
}

/* No answer when it is accepted: the connection ends with the node, as clients expect. */
void run_shutdown(struct call *call)
{
    bool abort_it = false;
    for (size_t i = 1; i < call->n; i++) {
        const struct resp_arg *arg = &call->args[i];
        abort_it |= arg_is(arg, "abort");
        if (arg_is(arg, "nosave") || arg_is(arg, "save") || arg_is(arg, "now") || arg_is(arg, "force") ||
            arg_is(arg, "abort"))
            continue;
        resp_error(call->out, REPLY_SYNTAX);
        return;
    }
    if (abort_it) {
        resp_error(call->out, call->n > 2 ? REPLY_SYNTAX : REPLY_SHUTDOWN_ABORT);
        return;
    }
    log_info("client %s asks for the end (SHUTDOWN)", call->facts->address);
    server_request_shutdown(call->server);
}

void run_debug(struct call *call)
{
    resp_error(call->out, REPLY_DEBUG);
}

void run_lolwut(struct call *call)
{
    static const char text[] = "        .--.\n"
                               "       ( () )   hold fast\n"
                               "        `||'\n"
                               "   \\     ||     /\n"
                               "    `.___||___.'\n"
                               "         \\/\n\n"
                               "Holdfast ver. " HOLDFAST_VERSION "\n";
    resp_verbatim(call->out, call->proto, text, sizeof text - 1);
}

void run_object_help(struct call *call)
{
    static const char *const lines[] = {
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        NULL,
    };
    reply_help(call->out, "OBJECT", lines);
}

/* ---- MEMORY, LATENCY, SLOWLOG, MODULE ---- */

void run_memory_doctor(struct call *call)
{
    char text[256];
    struct node_status s;
    node_status(call->node, &s);
    int len = snprintf(text, sizeof text,
                       "%zu bytes resident, %" PRIu64 " of them rows in the cache (%" PRIu64
                       " not yet in the state file). Nothing to complain about.\n",
                       info_resident_bytes(), s.cache_bytes, s.dirty_bytes);
    resp_verbatim(call->out, call->proto, text, (size_t)len);
}

void run_memory_purge(struct call *call)
{
    malloc_trim(0);
    resp_ok(call->out);
}

void run_memory_malloc_stats(struct call *call)
{
    struct mallinfo2 m = mallinfo2();
    char text[256];
    int len = snprintf(text, sizeof text, "arena %zu\nmapped %zu\nin use %zu\nfree %zu\n", m.arena, m.hblkhd,
                       m.uordblks, m.fordblks);
    resp_verbatim(call->out, call->proto, text, (size_t)len);
}

void run_memory_stats(struct call *call)
{
    struct node_status s;
    node_status(call->node, &s);
    const struct {
        const char *name;
        uint64_t n;
    } fields[] = {
        {"total.allocated", info_resident_bytes()},
        {"keys.count", s.keys},
        {"dataset.bytes", s.cache_bytes},
        {"dataset.dirty.bytes", s.dirty_bytes},
        {"clients.normal", server_n_clients(call->server)},
    };
    resp_map(call->out, call->proto, sizeof fields / sizeof *fields);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        resp_text(call->out, fields[i].name);
        resp_int(call->out, (int64_t)fields[i].n);
    }
}

void run_memory_help(struct call *call)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    Say where memory is.",
        "MALLOC-STATS",
        "    Return what the allocator says of itself.",
        "PURGE",
        "    Give free memory back to the system.",
        "STATS",
        "    Return where memory is, as numbers.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return the bytes a key takes.",
        NULL,
    };
    reply_help(call->out, "MEMORY", lines);
}

void run_latency_empty(struct call *call)
{
    resp_array(call->out, 0);
}

void run_latency_reset(struct call *call)
{
    resp_int(call->out, 0);
}

void run_latency_doctor(struct call *call)
{
    static const char text[] = "Latency spikes are not recorded; the times of commands are in the node's metrics.\n";
    resp_verbatim(call->out, call->proto, text, sizeof text - 1);
}

void run_latency_help(struct call *call)
{
    static const char *const lines[] = {
        "DOCTOR", "    Say that none are recorded.", "HISTORY <event>",     "    Return an empty list.",
        "LATEST", "    Return an empty list.",       "RESET [<event> ...]", "    Return 0.",
        NULL,
    };
    reply_help(call->out, "LATENCY", lines);
}

void run_slowlog_get(struct call *call)
{
    int64_t n;
    if (call->n > 3)
        resp_errorf(call->out, REPLY_ARITY, call->row->name);
    else if (call->n == 3 && (!arg_int(&call->args[2], &n) || n < -1))
        resp_error(call->out, REPLY_SLOWLOG_COUNT);
    else
        resp_array(call->out, 0);
}

void run_slowlog_len(struct call *call)
{
    resp_int(call->out, 0);
}

void run_slowlog_reset(struct call *call)
{
    resp_ok(call->out);
}

void run_slowlog_help(struct call *call)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    Return an empty list: slow commands are not recorded.",
        "LEN",
        "    Return 0.",
        "RESET",
        "    Return OK.",
        NULL,
    };
    reply_help(call->out, "SLOWLOG", lines);
}

void run_module_list(struct call *call)
{
    resp_array(call->out, 0);
}
