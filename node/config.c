/* config.c - the settings are one table; each source of values (file, environment, flags) only finds the row and hands
 * it the text. What a row accepts, how it is shown and what --help says of it stand in one place.
 * The file is read with inih, line by line through our own reader, which knows the line's number and refuses lines that
 * inih would cut. `members` may stand on several lines; a second line adds to the first. */
#include "node/config.h"
#include "node/spelling.h"
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SLIP_MAX 2          /* Letters a misspelt variable is away from a setting, at most. */
#define SLIP_NAME_MIN 5     /* In shorter names as many slips make any word of any other. */
#define CONFIG_LINE_MAX 190 /* inih keeps 200 bytes, with the line's end. */
#define HEARTBEATS_PER_ELECTION 5

enum setting_type {
    SETTING_TEXT,
    SETTING_ADDRESS,
    SETTING_LEVEL,
    SETTING_MEMBERS,
    SETTING_ID,        /* uint64_t */
    SETTING_COUNT,     /* unsigned */
    SETTING_SIZE,      /* size_t, a plain count */
    SETTING_BYTES,     /* size_t, with k, m, g */
    SETTING_COUNT64,   /* uint64_t, a plain count */
    SETTING_BYTES64,   /* uint64_t, with k, m, g */
    SETTING_MS,        /* unsigned milliseconds, with ms or s */
    SETTING_SWITCH,    /* bool: yes or no; alone as a flag: yes */
    SETTING_ADDRESSES, /* host:port,... */
    SETTING_SECONDS,   /* unsigned seconds, with s */
};

struct config_setting {
    const char *name;
    enum setting_type type;
    bool live;
    size_t offset, size;
    uint64_t min, max;
    const char *fallback; /* The default, as text. */
    const char *help;
};

#define FIELD(name) offsetof(struct config, name), sizeof(((struct config *)0)->name)
#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)

static const struct config_setting settings[] = {
    {"node_id", SETTING_ID, false, FIELD(node_id), 0, UINT32_MAX, "0",
     "This node's number, one of members. 0: 1, or for a node that joins the next free one."},
    {"cluster_name", SETTING_TEXT, false, FIELD(cluster_name), 1, 63, "holdfast",
     "Nodes of different clusters refuse each other: name and members make the cluster's identity."},
    {"data_dir", SETTING_TEXT, false, FIELD(data_dir), 1, 4000, "./data",
     "Folder for the log and the state. Made if missing."},
    {"listen", SETTING_ADDRESS, false, FIELD(listen), 0, 0, "127.0.0.1:7401", "Address for clients."},
    {"advertise", SETTING_ADDRESS, false, FIELD(advertise), 0, 0, "",
     "Address that others are told for clients of this node; needed when listen is 0.0.0.0 or ::. Default: listen."},
    {"metrics_listen", SETTING_ADDRESS, false, FIELD(metrics_listen), 0, 0, "",
     "Address for HTTP: /metrics, /livez and /readyz. Default: none."},
    {"peer_listen", SETTING_ADDRESS, false, FIELD(peer_listen), 0, 0, "",
     "Address for the other nodes. Default: this node's entry of members."},
    {"members", SETTING_MEMBERS, false, FIELD(members), 0, 0, "",
     "The first set of nodes: id=host:port,id=host:port,... of their peer addresses. Default: this node alone."},
    {"join", SETTING_ADDRESSES, false, FIELD(join), 0, 0, "",
     "Client addresses of a running cluster, host:port,...: with an empty data_dir, become a member of it."},
    {"join_token", SETTING_TEXT, false, FIELD(join_token), 0, 127, "",
     "Secret for joining: from 'holdfast member token', or this same setting of the node that is asked."},
    {"learner", SETTING_SWITCH, false, FIELD(learner), 0, 1, "no",
     "When joining: stay a learner, which follows the log and has no vote."},
    {"replace", SETTING_ID, false, FIELD(replace), 0, UINT32_MAX, "0",
     "When joining: take the place of this node, which is removed. 0: of nobody."},
    {"election_timeout_ms", SETTING_MS, false, FIELD(election_timeout_ms), 50, 60000, "600",
     "A leader unheard of for so long is replaced."},
    {"heartbeat_ms", SETTING_MS, false, FIELD(heartbeat_ms), 5, 10000, "60",
     "How often a leader speaks; at most a fifth of election_timeout_ms."},
    {"request_timeout_ms", SETTING_MS, true, FIELD(request_timeout_ms), 10, 600000, "1500",
     "After so long a command is answered with what is known of it. Keep it below the clients' own timeout."},
    {"max_key_bytes", SETTING_BYTES, true, FIELD(max_key_bytes), 1, 1 * MIB, "64k", "Longest key."},
    {"max_value_bytes", SETTING_BYTES, true, FIELD(max_value_bytes), 1, 512 * MIB, "8m", "Longest value."},
    {"max_request_bytes", SETTING_BYTES, true, FIELD(max_request_bytes), 64 * KIB, 1 * GIB, "16m",
     "Largest request, all arguments together."},
    {"max_args", SETTING_SIZE, true, FIELD(max_args), 16, 1024 * KIB, "65536", "Most arguments of one request."},
    {"max_inline_bytes", SETTING_BYTES, true, FIELD(max_inline_bytes), 64, 1 * MIB, "64k", "Longest inline command."},
    {"max_pipeline", SETTING_SIZE, true, FIELD(max_pipeline), 1, 10000000, "10000",
     "Commands of one connection under way; past that it is not read."},
    {"max_output_bytes", SETTING_BYTES, true, FIELD(max_output_bytes), 64 * KIB, 64 * GIB, "64m",
     "Replies one connection may leave unread before it is closed."},
    {"max_clients", SETTING_COUNT, true, FIELD(max_clients), 1, 1000000, "10000", "Most client connections."},
    {"max_queue_bytes", SETTING_BYTES, false, FIELD(max_queue_bytes), 1 * MIB, 64 * GIB, "256m",
     "Commands waiting in this node; past that they are refused with OVERLOADED."},
    {"history_bytes", SETTING_BYTES, false, FIELD(history_bytes), 0, 64 * GIB, "16m",
     "Memory for the last changes of keys, which HISTORY answers from; 0: none."},
    {"cache_bytes", SETTING_BYTES, false, FIELD(cache_bytes), 1 * MIB, 4096 * GIB, "256m", "Memory for rows."},
    {"flush_interval_ms", SETTING_MS, false, FIELD(flush_interval_ms), 1, 60000, "500",
     "How long changes wait before they are written into the state file (the log has them at once)."},
    {"checkpoint_bytes", SETTING_BYTES, false, FIELD(checkpoint_bytes), 1 * MIB, 64 * GIB, "64m",
     "The state file is checkpointed when its journal has grown so far."},
    {"segment_bytes", SETTING_BYTES, false, FIELD(segment_bytes), 64 * KIB, 4 * GIB, "64m", "Size of a log file."},
    {"log_memory_bytes", SETTING_BYTES, false, FIELD(log_memory_bytes), 1 * MIB, 64 * GIB, "64m",
     "Recent log entries kept in memory."},
    {"log_keep_entries", SETTING_COUNT64, false, FIELD(log_keep_entries), 0, UINT64_MAX / 2, "100000",
     "Log entries kept behind the checkpoint, for followers that were away."},
    {"log_keep_bytes", SETTING_BYTES64, false, FIELD(log_keep_bytes), 0, UINT64_MAX / 2, "256m",
     "The same in bytes; whichever is less."},
    {"disk_reserve_bytes", SETTING_BYTES64, false, FIELD(disk_reserve_bytes), 0, UINT64_MAX / 2, "64m",
     "With less free space on the disk, writes other than deletes are refused with MISCONF."},
    {"disk_timeout_ms", SETTING_MS, false, FIELD(disk_timeout_ms), 0, 86400000, "30000",
     "A node whose disk does not answer for so long exits; 0: it waits for ever."},
    {"log_level", SETTING_LEVEL, true, FIELD(log_level), 0, 0, "info", "error, warning, info or debug."},
    {"log_file", SETTING_TEXT, false, FIELD(log_file), 0, 4000, "", "File to log to. Default: standard error."},
    {"tcp_backlog", SETTING_COUNT, false, FIELD(tcp_backlog), 1, 65535, "511", "Clients that may wait to be accepted."},
    {"tcp_keepalive_s", SETTING_SECONDS, true, FIELD(tcp_keepalive_s), 0, 86400, "300",
     "Silent client connections are probed after so long; 0: never."},
    {"client_idle_s", SETTING_SECONDS, true, FIELD(client_idle_s), 0, 31536000, "0",
     "Clients idle for so long are closed; 0: never."},
    {"cluster_facade", SETTING_SWITCH, false, FIELD(cluster_facade), 0, 1, "no",
     "Be a Redis Cluster of one shard for clients that know it: all slots are the leader's, the others its replicas."},
    {"sentinel_name", SETTING_TEXT, false, FIELD(sentinel_name), 1, 63, "mymaster",
     "What clients of Redis Sentinel call the master they ask for: it is the leader."},
};
#define SETTINGS_N (sizeof settings / sizeof *settings)

static int fail(char error[CONFIG_ERROR_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(char error[CONFIG_ERROR_MAX], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, CONFIG_ERROR_MAX, format, args);
    va_end(args);
    return -1;
}

/* ---- The list ---- */

const struct config_setting *config_setting_at(size_t i)
{
    return i < SETTINGS_N ? &settings[i] : NULL;
}

const struct config_setting *config_setting_find(const char *name, size_t len)
{
    for (size_t i = 0; i < SETTINGS_N; i++)
        if (strlen(settings[i].name) == len && strncasecmp(settings[i].name, name, len) == 0)
            return &settings[i];
    return NULL;
}

const char *config_setting_name(const struct config_setting *setting)
{
    return setting->name;
}

const char *config_setting_help(const struct config_setting *setting)
{
    return setting->help;
}

bool config_setting_is_live(const struct config_setting *setting)
{
    return setting->live;
}

/* ---- Numbers with units ---- */

static bool digits(const char *text, const char **ret_end, uint64_t *ret)
{
    uint64_t n = 0;
    if (!isdigit((unsigned char)*text))
        return false;
    for (; isdigit((unsigned char)*text); text++)
        if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
            return false;
    *ret_end = text;
    *ret = n;
    return true;
}

bool config_bytes_from_text(const char *text, uint64_t *ret)
{
    const char *unit;
    uint64_t n;
    if (!digits(text, &unit, &n))
        return false;
    char first = (char)tolower((unsigned char)*unit);
    unsigned shift = first == 'k' ? 10 : first == 'm' ? 20 : first == 'g' ? 30 : 0;
    unit += shift > 0;
    if (tolower((unsigned char)*unit) == 'b')
        unit++;
    if (*unit != '\0' || n > (UINT64_MAX >> shift))
        return false;
    *ret = n << shift;
    return true;
}

static bool ms_from_text(const char *text, uint64_t *ret)
{
    const char *unit;
    uint64_t n;
    if (!digits(text, &unit, &n))
        return false;
    if (strcasecmp(unit, "s") == 0)
        return !__builtin_mul_overflow(n, 1000u, ret);
    *ret = n;
    return *unit == '\0' || strcasecmp(unit, "ms") == 0;
}

static bool seconds_from_text(const char *text, uint64_t *ret)
{
    const char *unit;
    return digits(text, &unit, ret) && (*unit == '\0' || strcasecmp(unit, "s") == 0);
}

static bool count_from_text(const char *text, uint64_t *ret)
{
    const char *unit;
    return digits(text, &unit, ret) && *unit == '\0';
}

/* ---- One value ---- */

bool config_split_address(const char *address, char *host, size_t host_cap, char *port, size_t port_cap)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL)
        return false;
    const char *from = address, *to = colon;
    if (*from == '[') {
        if (to == from || to[-1] != ']')
            return false;
        from++;
        to--;
    } else if (memchr(from, ':', (size_t)(to - from)) != NULL) {
        return false; /* IPv6 without brackets: which colon is the port's? */
    }
    uint64_t n;
    if (!count_from_text(colon + 1, &n) || n > 65535)
        return false;
    if ((size_t)(to - from) >= host_cap || strlen(colon + 1) >= port_cap)
        return false;
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    strcpy(port, colon + 1);
    return true;
}

static bool is_address(const char *text)
{
    char host[256], port[16];
    return config_split_address(text, host, sizeof host, port, sizeof port);
}

static bool are_addresses(const char *text)
{
    char list[1024], *rest = list;
    if (strlen(text) >= sizeof list)
        return false;
    strcpy(list, text);
    for (char *address; (address = strsep(&rest, ",")) != NULL;)
        if (!is_address(address))
            return false;
    return true;
}

static bool is_level(const char *text)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(text, levels[i]) == 0)
            return true;
    return false;
}

/* One "id=host:port" into the list. */
static int add_member(struct config *config, char *entry, char error[CONFIG_ERROR_MAX])
{
    while (isspace((unsigned char)*entry))
        entry++;
    size_t len = strlen(entry);
    while (len > 0 && isspace((unsigned char)entry[len - 1]))
        entry[--len] = '\0';
    if (len == 0)
        return 0; /* "1=a:1," with its comma at the end of a line. */
    const char *rest;
    uint64_t id;
    if (!digits(entry, &rest, &id) || id < 1 || id > UINT32_MAX || *rest != '=' || !is_address(rest + 1))
        return fail(error, "'%.100s' is not id=host:port", entry);
    if (strlen(rest + 1) >= sizeof config->members[0].address)
        return fail(error, "the address of %" PRIu64 " is too long", id);
    for (size_t i = 0; i < config->n_members; i++) {
        if (config->members[i].id == id)
            return fail(error, "node %" PRIu64 " stands there twice", id);
        if (strcmp(config->members[i].address, rest + 1) == 0)
            return fail(error, "address %.100s stands there twice", rest + 1);
    }
    if (config->n_members == CONFIG_MEMBERS_MAX)
        return fail(error, "more than %d members", CONFIG_MEMBERS_MAX);
    struct config_member *m = &config->members[config->n_members++];
    m->id = id;
    strcpy(m->address, rest + 1);
    return 0;
}

static int add_members(struct config *config, const char *value, char error[CONFIG_ERROR_MAX])
{
    char *list = strdup(value);
    if (list == NULL)
        return fail(error, "out of memory");
    size_t before = config->n_members;
    int rc = 0;
    for (char *entry = list, *comma; entry != NULL && rc == 0; entry = comma) {
        comma = strchr(entry, ',');
        if (comma != NULL)
            *comma++ = '\0';
        rc = add_member(config, entry, error);
    }
    free(list);
    if (rc != 0)
        config->n_members = before;
    return rc;
}

static void *field(struct config *config, const struct config_setting *setting)
{
    return (char *)config + setting->offset;
}

static void store_number(struct config *config, const struct config_setting *setting, uint64_t n)
{
    void *to = field(config, setting);
    if (setting->size == sizeof(unsigned))
        *(unsigned *)to = (unsigned)n;
    else
        *(uint64_t *)to = n;
}

static uint64_t load_number(const struct config *config, const struct config_setting *setting)
{
    const void *from = (const char *)config + setting->offset;
    return setting->size == sizeof(unsigned) ? *(const unsigned *)from : *(const uint64_t *)from;
}

static int set_text(struct config *config, const struct config_setting *setting, const char *value,
                    char error[CONFIG_ERROR_MAX])
{
    size_t len = strlen(value);
    if (setting->type == SETTING_ADDRESS && len > 0 && !is_address(value))
        return fail(error, "'%.100s' is not host:port", value);
    if (setting->type == SETTING_ADDRESSES && len > 0 && !are_addresses(value))
        return fail(error, "'%.100s' is not host:port,host:port,...", value);
    if (setting->type == SETTING_LEVEL && !is_level(value))
        return fail(error, "'%.100s' is not error, warning, info or debug", value);
    if (setting->type == SETTING_TEXT && len < setting->min)
        return fail(error, "must not be empty");
    if (len >= setting->size)
        return fail(error, "longer than %zu bytes", setting->size - 1);
    memcpy(field(config, setting), value, len + 1);
    return 0;
}

static int set_switch(struct config *config, const struct config_setting *setting, const char *value,
                      char error[CONFIG_ERROR_MAX])
{
    bool yes = strcasecmp(value, "yes") == 0;
    if (!yes && strcasecmp(value, "no") != 0)
        return fail(error, "'%.100s' is not yes or no", value);
    *(bool *)field(config, setting) = yes;
    return 0;
}

static int set_number(struct config *config, const struct config_setting *setting, const char *value,
                      char error[CONFIG_ERROR_MAX])
{
    uint64_t n;
    bool ok, bytes = setting->type == SETTING_BYTES || setting->type == SETTING_BYTES64;
    if (bytes)
        ok = config_bytes_from_text(value, &n);
    else if (setting->type == SETTING_MS)
        ok = ms_from_text(value, &n);
    else if (setting->type == SETTING_SECONDS)
        ok = seconds_from_text(value, &n);
    else
        ok = count_from_text(value, &n);
    if (!ok)
        return fail(error, "'%.100s' is not %s", value,
                    bytes                              ? "a size (such as 64k, 8m, 1g)"
                    : setting->type == SETTING_MS      ? "a duration (such as 500ms or 2s)"
                    : setting->type == SETTING_SECONDS ? "a duration in seconds (such as 300s)"
                                                       : "a number");
    if (n < setting->min || n > setting->max)
        return fail(error, "%s is out of range: from %" PRIu64 " to %" PRIu64, value, setting->min, setting->max);
    store_number(config, setting, n);
    return 0;
}

int config_set(struct config *config, const struct config_setting *setting, const char *value,
               char error[CONFIG_ERROR_MAX])
{
    switch (setting->type) {
    case SETTING_MEMBERS:
        return add_members(config, value, error);
    case SETTING_TEXT:
    case SETTING_ADDRESS:
    case SETTING_ADDRESSES:
    case SETTING_LEVEL:
        return set_text(config, setting, value, error);
    case SETTING_SWITCH:
        return set_switch(config, setting, value, error);
    default:
        return set_number(config, setting, value, error);
    }
}

static int format_members(const struct config *config, char *text, size_t cap)
{
    int n = 0;
    for (size_t i = 0; i < config->n_members; i++) {
        size_t at = (size_t)n < cap ? (size_t)n : cap;
        n += snprintf(text + at, cap - at, "%s%" PRIu64 "=%s", i > 0 ? "," : "", config->members[i].id,
                      config->members[i].address);
    }
    return n;
}

static int format_bytes(uint64_t n, char *text, size_t cap)
{
    static const char *const units[] = {"", "k", "m", "g"};
    int unit = 0;
    for (; n != 0 && n % 1024 == 0 && unit < 3; unit++)
        n /= 1024;
    return snprintf(text, cap, "%" PRIu64 "%s", n, units[unit]);
}

int config_format(const struct config *config, const struct config_setting *setting, char *text, size_t cap)
{
    if (cap > 0)
        *text = '\0';
    switch (setting->type) {
    case SETTING_MEMBERS:
        return format_members(config, text, cap);
    case SETTING_TEXT:
    case SETTING_ADDRESS:
    case SETTING_ADDRESSES:
    case SETTING_LEVEL:
        return snprintf(text, cap, "%s", (const char *)config + setting->offset);
    case SETTING_SWITCH:
        return snprintf(text, cap, "%s", *(const bool *)((const char *)config + setting->offset) ? "yes" : "no");
    case SETTING_BYTES:
    case SETTING_BYTES64:
        return format_bytes(load_number(config, setting), text, cap);
    default:
        return snprintf(text, cap, "%" PRIu64, load_number(config, setting));
    }
}

/* ---- The sources ---- */

static int set_from(struct config *config, const struct config_setting *setting, const char *value, const char *where,
                    char error[CONFIG_ERROR_MAX])
{
    char why[CONFIG_ERROR_MAX];
    if (config_set(config, setting, value, why) == 0)
        return 0;
    return fail(error, "%s: %s: %.380s", where, setting->name, why);
}

static void load_defaults(struct config *config)
{
    char ignored[CONFIG_ERROR_MAX];
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < SETTINGS_N; i++)
        if (*settings[i].fallback != '\0')
            config_set(config, &settings[i], settings[i].fallback, ignored);
}

struct file_reader {
    FILE *file;
    const char *path;
    unsigned line;
    bool failed;
    struct config *config;
    char *error;
    unsigned set_in[SETTINGS_N]; /* The line of each setting; 0: none yet. */
};

/* inih's fgets(): counts lines, and ends the file at one that inih would cut in two. */
static char *read_line(char *buf, int cap, void *stream)
{
    struct file_reader *r = stream;
    if (r->failed || fgets(buf, cap, r->file) == NULL)
        return NULL;
    r->line++;
    if (strlen(buf) < CONFIG_LINE_MAX)
        return buf;
    r->failed = true;
    fail(r->error, "%.200s:%u: the line is longer than %d bytes (members may stand on several lines)", r->path, r->line,
         CONFIG_LINE_MAX);
    return NULL;
}

static int take_line(void *user, const char *section, const char *name, const char *value)
{
    struct file_reader *r = user;
    if (r->failed)
        return 0;
    char where[256];
    snprintf(where, sizeof where, "%.200s:%u", r->path, r->line);
    const struct config_setting *setting = config_setting_find(name, strlen(name));
    r->failed = true;
    if (*section != '\0')
        return fail(r->error, "%s: there are no sections, but this stands in [%.60s]", where, section), 0;
    if (setting == NULL)
        return fail(r->error, "%s: unknown setting '%.100s'", where, name), 0;
    unsigned *set_in = &r->set_in[setting - settings];
    if (*set_in != 0 && setting->type != SETTING_MEMBERS)
        return fail(r->error, "%s: %s stands in line %u already", where, setting->name, *set_in), 0;
    *set_in = r->line;
    r->failed = set_from(r->config, setting, value, where, r->error) != 0;
    return !r->failed;
}

static int load_file(struct config *config, const char *path, char error[CONFIG_ERROR_MAX])
{
    struct file_reader r = {.file = fopen(path, "re"), .path = path, .config = config, .error = error};
    if (r.file == NULL)
        return fail(error, "cannot read %.300s: %s", path, strerror(errno));
    config->n_members = 0; /* Lines of members add up, but not to a default. */
    int bad_line = ini_parse_stream(read_line, &r, take_line, &r);
    bool io_failed = ferror(r.file) != 0;
    fclose(r.file);
    if (r.failed)
        return -1;
    if (io_failed)
        return fail(error, "cannot read %.300s: it is not a readable file", path);
    if (bad_line != 0)
        return fail(error, "%.300s:%d: not a line of the form name = value", path, bad_line);
    return 0;
}

/* HOLDFAST_MAX_KEY_BYTES for max_key_bytes. */
static const char *environment_value(char *const *environment, const char *name)
{
    static const char prefix[] = "HOLDFAST_";
    size_t n = sizeof prefix - 1, len = strlen(name);
    for (; environment != NULL && *environment != NULL; environment++) {
        const char *entry = *environment;
        if (strncmp(entry, prefix, n) == 0 && strncasecmp(entry + n, name, len) == 0 && entry[n + len] == '=')
            return entry + n + len + 1;
    }
    return NULL;
}

/* The setting that a variable's name, without HOLDFAST_, is a slip away from; NULL: none. */
static const struct config_setting *meant_setting(const char *name)
{
    for (size_t i = 0; i < SETTINGS_N && strlen(name) >= SLIP_NAME_MIN; i++)
        if (spelling_distance(name, settings[i].name) <= SLIP_MAX)
            return &settings[i];
    return NULL;
}

/* Other programs have variables of this prefix, too (clients, containers that are told where services are), so only
 * what looks like one of ours is refused. */
static int check_spelling(char *const *environment, char error[CONFIG_ERROR_MAX])
{
    static const char prefix[] = "HOLDFAST_";
    for (; environment != NULL && *environment != NULL; environment++) {
        const char *name = *environment + sizeof prefix - 1;
        char word[SPELLING_WORD_MAX + 1];
        size_t len = strcspn(*environment, "=");
        if (strncmp(*environment, prefix, sizeof prefix - 1) != 0 || len - (sizeof prefix - 1) > SPELLING_WORD_MAX)
            continue;
        snprintf(word, sizeof word, "%.*s", (int)(len - (sizeof prefix - 1)), name);
        const struct config_setting *meant = meant_setting(word);
        if (meant != NULL && config_setting_find(word, strlen(word)) == NULL)
            return fail(error, "HOLDFAST_%s: there is no such setting; is %s meant?", word, meant->name);
    }
    return 0;
}

static int load_environment(struct config *config, char *const *environment, char error[CONFIG_ERROR_MAX])
{
    if (check_spelling(environment, error) != 0)
        return -1;
    for (size_t i = 0; i < SETTINGS_N; i++) {
        const char *value = environment_value(environment, settings[i].name);
        if (value == NULL)
            continue;
        char where[80] = "HOLDFAST_";
        for (size_t at = strlen(where), c = 0; settings[i].name[c] != '\0' && at + 1 < sizeof where; c++, at++)
            where[at] = (char)toupper((unsigned char)settings[i].name[c]);
        if (settings[i].type == SETTING_MEMBERS)
            config->n_members = 0; /* It replaces the file's. */
        if (set_from(config, &settings[i], value, where, error) != 0)
            return -1;
    }
    return 0;
}

/* ---- Flags ---- */

struct flag {
    char name[64];     /* with '_' for '-' */
    const char *value; /* after '=', or NULL */
};

static bool parse_flag(const char *arg, struct flag *ret)
{
    if (strncmp(arg, "--", 2) != 0)
        return false;
    const char *name = arg + 2, *equals = strchr(name, '=');
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    if (len == 0 || len >= sizeof ret->name)
        return false;
    for (size_t i = 0; i < len; i++)
        ret->name[i] = name[i] == '-' ? '_' : name[i];
    ret->name[len] = '\0';
    ret->value = equals != NULL ? equals + 1 : NULL;
    return true;
}

static bool is_action(const char *name, enum config_action *ret)
{
    if (strcmp(name, "help") == 0)
        *ret = CONFIG_HELP;
    else if (strcmp(name, "version") == 0)
        *ret = CONFIG_VERSION;
    else if (strcmp(name, "check") == 0)
        *ret = CONFIG_CHECK;
    else
        return false;
    return true;
}

/* Walk the flags: actions and --config are noted; settings are set when `config` is given. */
static int walk_flags(int argc, char *const *argv, struct config *config, const char **ret_path,
                      enum config_action *ret_action, char error[CONFIG_ERROR_MAX])
{
    for (int i = 1; i < argc; i++) {
        struct flag flag;
        if (!parse_flag(argv[i], &flag))
            return fail(error, "'%.100s' is not a flag; try --help", argv[i]);
        if (flag.value == NULL && is_action(flag.name, ret_action))
            continue;
        const struct config_setting *setting = config_setting_find(flag.name, strlen(flag.name));
        if (setting == NULL && strcmp(flag.name, "config") != 0)
            return fail(error, "unknown flag %.100s; try --help", argv[i]);
        const char *shown = argv[i];
        bool is_switch = setting != NULL && setting->type == SETTING_SWITCH;
        if (flag.value == NULL && is_switch && (i + 1 == argc || strncmp(argv[i + 1], "--", 2) == 0))
            flag.value = "yes";
        else if (flag.value == NULL && ++i < argc)
            flag.value = argv[i];
        if (flag.value == NULL)
            return fail(error, "%.100s needs a value", shown);
        if (setting == NULL)
            *ret_path = flag.value;
        else if (config != NULL && setting->type == SETTING_MEMBERS)
            config->n_members = 0;
        char where[128];
        snprintf(where, sizeof where, "--%.*s", (int)strcspn(shown + 2, "="), shown + 2);
        if (setting != NULL && config != NULL && set_from(config, setting, flag.value, where, error) != 0)
            return -1;
    }
    return 0;
}

int config_load(int argc, char *const *argv, char *const *environment, struct config *ret,
                enum config_action *ret_action, char error[CONFIG_ERROR_MAX])
{
    const char *path = environment_value(environment, "config");
    enum config_action action = CONFIG_RUN;
    if (walk_flags(argc, argv, NULL, &path, &action, error) != 0)
        return -1;
    *ret_action = action;
    load_defaults(ret);
    if (action == CONFIG_HELP || action == CONFIG_VERSION)
        return 0;
    if (path != NULL && load_file(ret, path, error) != 0)
        return -1;
    if (load_environment(ret, environment, error) != 0)
        return -1;
    if (walk_flags(argc, argv, ret, &path, &action, error) != 0)
        return -1;
    return config_cross_check(ret, error);
}

/* ---- What must hold between settings ---- */

static const struct config_member *own_member(const struct config *config)
{
    for (size_t i = 0; i < config->n_members; i++)
        if (config->members[i].id == config->node_id)
            return &config->members[i];
    return NULL;
}

/* The cluster will say who the members are; it must know where this node can be dialled. */
static int check_join(struct config *config, char error[CONFIG_ERROR_MAX])
{
    char host[256], port[16];
    const struct config_member *self = config->node_id != 0 ? own_member(config) : NULL;
    if (config->peer_listen[0] == '\0' && self != NULL)
        strcpy(config->peer_listen, self->address);
    if (config->peer_listen[0] == '\0')
        return fail(error, "join needs peer_listen: the address at which the other nodes find this one");
    config_split_address(config->peer_listen, host, sizeof host, port, sizeof port);
    if (host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        return fail(error, "peer_listen must be an address that the other nodes can dial, not %.100s",
                    config->peer_listen);
    return 0;
}

static int check_members(struct config *config, char error[CONFIG_ERROR_MAX])
{
    if (config->join[0] != '\0')
        return check_join(config, error);
    if (config->node_id == 0)
        config->node_id = 1;
    if (config->n_members == 0) {
        struct config_member *self = &config->members[config->n_members++];
        self->id = config->node_id;
        strcpy(self->address, config->peer_listen[0] != '\0' ? config->peer_listen : "127.0.0.1:7501");
    }
    const struct config_member *self = own_member(config);
    if (self == NULL)
        return fail(error, "members does not contain this node, node_id %" PRIu64, config->node_id);
    if (config->peer_listen[0] == '\0')
        strcpy(config->peer_listen, self->address);
    return 0;
}

int config_cross_check(struct config *config, char error[CONFIG_ERROR_MAX])
{
    if (check_members(config, error) != 0)
        return -1;
    if (config->listen[0] == '\0')
        return fail(error, "listen must not be empty");
    if (config->advertise[0] == '\0')
        strcpy(config->advertise, config->listen);
    if (strcmp(config->listen, config->peer_listen) == 0)
        return fail(error, "listen and peer_listen are the same address, %.200s", config->listen);
    if ((uint64_t)config->heartbeat_ms * HEARTBEATS_PER_ELECTION > config->election_timeout_ms)
        return fail(error,
                    "heartbeat_ms (%u) must be at most a fifth of election_timeout_ms (%u), or one late message "
                    "deposes a leader",
                    config->heartbeat_ms, config->election_timeout_ms);
    if (config->max_request_bytes < config->max_value_bytes ||
        config->max_request_bytes - config->max_value_bytes < config->max_key_bytes)
        return fail(error, "max_request_bytes (%zu) must have room for the longest value and key (%zu + %zu)",
                    config->max_request_bytes, config->max_value_bytes, config->max_key_bytes);
    if (config->max_queue_bytes < config->max_request_bytes)
        return fail(error, "max_queue_bytes (%zu) must have room for the largest request (max_request_bytes, %zu)",
                    config->max_queue_bytes, config->max_request_bytes);
    return 0;
}

/* ---- Help ---- */

void config_print_help(void)
{
    printf("holdfastd " HOLDFAST_VERSION " - one node of a Holdfast cluster\n\n"
           "usage: holdfastd [--config FILE] [--check] [--SETTING VALUE]...\n\n"
           "  --config FILE   read settings from FILE (name = value lines; also HOLDFAST_CONFIG)\n"
           "  --check         check the settings and exit\n"
           "  --version       say the version and exit\n"
           "  --help          this text\n\n"
           "Settings, with their defaults. A flag goes before the environment, the environment before the file.\n"
           "--max-key-bytes is HOLDFAST_MAX_KEY_BYTES in the environment and max_key_bytes in the file. Sizes take\n"
           "k, m and g (of 1024), durations ms and s, addresses are host:port.\n\n");
    for (size_t i = 0; i < SETTINGS_N; i++) {
        char flag[64];
        snprintf(flag, sizeof flag, "--%s", settings[i].name);
        for (char *c = flag; *c != '\0'; c++)
            *c = *c == '_' ? '-' : *c;
        printf("  %-22s %s%s%s%s\n", flag, settings[i].help, *settings[i].fallback != '\0' ? " [" : "",
               settings[i].fallback, *settings[i].fallback != '\0' ? "]" : "");
    }
    printf("\nExit status: 0 drained after SIGTERM, SIGINT or SHUTDOWN; 1 bad settings; 2 data directory foreign, "
           "corrupt,\n"
           "locked or not writable; 3 cannot listen; 4 the disk failed at run time; 5 out of memory or internal "
           "failure;\n6 the cluster has removed this node, or its disk is not the one it had.\n");
}
