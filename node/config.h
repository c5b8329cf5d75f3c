/* config.h - a node's settings: one list of names for the file, the flags and the environment.
 * Precedence: --flag, then HOLDFAST_NAME, then the file (--config), then the default. Unknown, repeated or bad settings
 * stop the start with where they stand (file:line, flag or variable) and the reason. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_MEMBERS_MAX 16
struct config_member {
    uint64_t id;
    char address[256]; /* host:port of its peer listener */
};

struct config {
    uint64_t node_id;         /* node_id = 1; 0: to be given by the cluster that is joined */
    char cluster_name[64];    /* cluster_name = holdfast: with `members` it makes the cluster id */
    char data_dir[4096];      /* data_dir */
    char listen[256];         /* listen = 127.0.0.1:7401, clients */
    char advertise[256];      /* advertise: what peers and clients are told; default: listen */
    char metrics_listen[256]; /* metrics_listen: HTTP for /metrics, /livez, /readyz; default: none */
    char peer_listen[256];    /* peer_listen = 127.0.0.1:7501; default: own entry of members */
    struct config_member members[CONFIG_MEMBERS_MAX]; /* members = 1=127.0.0.1:7501,2=...: the first, fixed set */
    size_t n_members;
    char join[1024]; /* join = host:port,...: client addresses of a running cluster; on an empty directory, be taken in
                      */
    char join_token[128]; /* sent when joining; and what others may send to this node, besides tokens it made */
    bool learner;         /* joining: stay without a vote */
    uint64_t replace;     /* joining: the node whose place it takes; 0: nobody's */
    unsigned election_timeout_ms, heartbeat_ms; /* 600, 60 */
    unsigned request_timeout_ms;                /* 1500: a request's deadline */
    size_t max_key_bytes, max_value_bytes, max_request_bytes, max_args, max_inline_bytes; /* 64K 8M 16M 65536 64K */
    size_t max_pipeline;         /* 10000 commands under way per connection */
    size_t max_output_bytes;     /* 64M per connection */
    unsigned max_clients;        /* 10000 */
    size_t max_queue_bytes;      /* 256M of requests waiting in this node: past it -OVERLOADED */
    size_t history_bytes;        /* 16M of changes for HISTORY */
    size_t cache_bytes;          /* 256M row cache */
    unsigned flush_interval_ms;  /* 500 */
    size_t checkpoint_bytes;     /* 64M */
    size_t segment_bytes;        /* 64M log segment */
    size_t log_memory_bytes;     /* 64M */
    uint64_t log_keep_entries;   /* 100000 behind the checkpoint, for slow followers */
    uint64_t log_keep_bytes;     /* 256M */
    uint64_t disk_reserve_bytes; /* 64M */
    unsigned disk_timeout_ms;    /* 30000; 0: none */
    char log_level[16];          /* error warning info debug */
    char log_file[4096];         /* default: standard error */
    unsigned tcp_backlog;        /* 511 */
    unsigned tcp_keepalive_s;    /* 300; 0: none */
    unsigned client_idle_s;      /* 0: idle clients are not closed */
    bool cluster_facade;         /* CLUSTER as in Redis Cluster: the leader has all slots */
    char sentinel_name[64];      /* mymaster */
};

#define CONFIG_ERROR_MAX 512

/* What the command line asked for besides settings. */
enum config_action { CONFIG_RUN, CONFIG_CHECK, CONFIG_HELP, CONFIG_VERSION };

/* Read everything: defaults, then the file, the environment and the flags; then check what only makes sense together.
 * environ may be NULL (none). 0, or -1 with a sentence in error. */
int config_load(int argc, char *const *argv, char *const *environment, struct config *ret,
                enum config_action *ret_action, char error[CONFIG_ERROR_MAX]);

/* The list of settings, by number from 0; NULL past the end. */
struct config_setting;
const struct config_setting *config_setting_at(size_t i);
const struct config_setting *config_setting_find(const char *name, size_t len);
const char *config_setting_name(const struct config_setting *setting);
const char *config_setting_help(const struct config_setting *setting);
/* May CONFIG SET change it while the node runs? */
bool config_setting_is_live(const struct config_setting *setting);
/* Its value as the file would have it. Returns the length snprintf() would. */
int config_format(const struct config *config, const struct config_setting *setting, char *text, size_t cap);
/* Set one from text. 0, or -1 with the reason (without the setting's name) in error; then nothing is changed. */
int config_set(struct config *config, const struct config_setting *setting, const char *value,
               char error[CONFIG_ERROR_MAX]);
/* What must hold between settings: 0, or -1 with a sentence. Fills in defaults that depend on others. */
int config_cross_check(struct config *config, char error[CONFIG_ERROR_MAX]);

/* The --help text, from the same list, to standard output. */
void config_print_help(void);

/* "host:port" or "[v6]:port" in two; false when it is neither or does not fit. host may be empty (any). */
bool config_split_address(const char *address, char *host, size_t host_cap, char *port, size_t port_cap);
/* A number of bytes: digits with k, m or g (1024s) and an optional b after it. */
bool config_bytes_from_text(const char *text, uint64_t *ret);
