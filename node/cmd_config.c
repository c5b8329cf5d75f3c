/* cmd_config.c - CONFIG: our own settings, and those of Redis that tools ask for. */
#include "node/commands.h"
#include "node/log.h"
#include "node/node.h"
#include "node/reply.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
    {"cluster-enabled", FROM_SETTING, "cluster_facade"},
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
    {"notify-keyspace-events", FROM_FIXED, "AKE"},
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
        if (arg_matches_name(&call->args[i], name))
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
        resp_text(call->out, parameters[i].name);
        resp_text(call->out, value);
    }
    for (size_t i = 0; (setting = config_setting_at(i)) != NULL; i++) {
        if (!any_matches(call, config_setting_name(setting)))
            continue;
        config_format(server_config(call->server), setting, value, sizeof value);
        resp_text(call->out, config_setting_name(setting));
        resp_text(call->out, value);
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
