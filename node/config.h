/* config.h - a node's settings: one list of names for the file, the flags and the environment.
 * Precedence: --flag, then HOLDFAST_NAME, then the file (--config), then the default. Unknown or bad settings stop the start
 * with where they stand (file:line, flag or variable) and the reason. */
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
    uint64_t node_id;            /* node_id = 1 */
    char cluster_name[64];       /* cluster_name = "holdfast": with `members` it makes the cluster id */
    char data_dir[4096];         /* data_dir */
    char listen[256];            /* listen = 127.0.0.1:7401, clients */
    char advertise[256];         /* advertise: what peers and clients are told; default: listen */
    char peer_listen[256];       /* peer_listen = 127.0.0.1:7501; default: own entry of members */
    struct config_member members[CONFIG_MEMBERS_MAX]; /* members = 1=127.0.0.1:7501,2=...: the first, fixed set */
    size_t n_members;
    unsigned election_timeout_ms, heartbeat_ms;   /* 600, 60 */
    unsigned request_timeout_ms;                  /* 1500: a request's deadline */
    size_t max_key_bytes, max_value_bytes, max_request_bytes, max_args, max_inline_bytes; /* 64K 8M 16M 65536 64K */
    size_t max_pipeline;                          /* 10000 commands under way per connection */
    size_t max_output_bytes;                      /* 64M per connection */
    unsigned max_clients;                         /* 10000 */
    size_t max_queue_bytes;                       /* 256M of requests waiting in this node: past it -OVERLOADED */
    size_t cache_bytes;                           /* 256M row cache */
    unsigned flush_interval_ms;                   /* 500 */
    size_t checkpoint_bytes;                      /* 64M */
    size_t segment_bytes;                         /* 64M log segment */
    size_t log_memory_bytes;                      /* 64M */
    uint64_t log_keep_entries;                    /* 100000 behind the checkpoint, for slow followers */
    uint64_t log_keep_bytes;                      /* 256M */
    char log_level[16];                           /* error warning info debug */
    char log_file[4096];                          /* default: standard error */
};
