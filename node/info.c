/* info.c - each section is one function over the same snapshot of facts. Redis's names are used where a tool may look
 * for them; what has no meaning here has the value that a quiet Redis would show. */
#include "node/info.h"
#include "node/commands.h"
#include "node/node.h"
#include "node/server.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

struct facts {
    struct server *server;
    struct server_stats *stats;
    const struct config *config;
    struct node_status node;
    uint64_t uptime_s;
    struct resp_buf *text;
};

static void say(struct facts *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct facts *f, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line - 2, format, args);
    va_end(args);
    len = len < (int)sizeof line - 3 ? len : (int)sizeof line - 3;
    line[len] = '\r';
    line[len + 1] = '\n';
    resp_raw(f->text, line, (size_t)len + 2);
}

size_t info_resident_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &pages, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static const struct node_member *leader_of(const struct facts *f)
{
    for (size_t i = 0; i < f->node.n_members; i++)
        if (f->node.members[i].id == f->node.leader)
            return &f->node.members[i];
    return NULL;
}

static bool is_leader(const struct facts *f)
{
    return f->node.leader == f->node.id && f->node.leader != 0;
}

static void put_server(struct facts *f)
{
    struct utsname os;
    uname(&os);
    say(f, "# Server");
    say(f, "redis_version:" INFO_REDIS_VERSION);
    say(f, "redis_git_sha1:00000000");
    say(f, "redis_git_dirty:0");
    say(f, "redis_build_id:0000000000000000");
    say(f, "redis_mode:%s", f->config->cluster_facade ? "cluster" : "standalone");
    say(f, "holdfast_version:" HOLDFAST_VERSION);
    say(f, "os:%s %s %s", os.sysname, os.release, os.machine);
    say(f, "arch_bits:%zu", 8 * sizeof(void *));
    say(f, "multiplexing_api:epoll");
    say(f, "process_id:%ld", (long)getpid());
    say(f, "process_supervised:no");
    /* Redis's run_id changes with each start; so does this: the cluster, then the node, its start. */
    say(f, "run_id:%.24s%08x%08x", f->node.cluster_id, (unsigned)f->node.id, (unsigned)f->node.start);
    say(f, "tcp_port:%u", server_port(f->server));
    say(f, "server_time_usec:%" PRId64, wall_now_ms() * 1000);
    say(f, "uptime_in_seconds:%" PRIu64, f->uptime_s);
    say(f, "uptime_in_days:%" PRIu64, f->uptime_s / 86400);
    say(f, "hz:10");
    say(f, "executable:holdfastd");
    say(f, "config_file:");
}

static void put_clients(struct facts *f)
{
    say(f, "# Clients");
    say(f, "connected_clients:%zu", server_n_clients(f->server));
    say(f, "cluster_connections:0");
    say(f, "maxclients:%u", f->config->max_clients);
    say(f, "client_recent_max_input_buffer:%zu", f->stats->max_input);
    say(f, "client_recent_max_output_buffer:%zu", f->stats->max_output);
    say(f, "blocked_clients:%zu", server_n_blocked(f->server) + requests_n_waiting(server_node(f->server)));
    say(f, "tracking_clients:0");
    say(f, "clients_in_timeout_table:0");
}

static void put_human(struct facts *f, const char *name, uint64_t bytes)
{
    static const char units[] = "BKMG";
    double shown = (double)bytes;
    int unit = 0;
    for (; shown >= 1024 && unit < 3; unit++)
        shown /= 1024;
    say(f, "%s:%.2f%c", name, shown, units[unit]);
}

static void put_memory(struct facts *f)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    size_t resident = info_resident_bytes();
    uint64_t peak = (uint64_t)usage.ru_maxrss * 1024;
    uint64_t total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    say(f, "# Memory");
    say(f, "used_memory:%zu", resident);
    put_human(f, "used_memory_human", resident);
    say(f, "used_memory_rss:%zu", resident);
    put_human(f, "used_memory_rss_human", resident);
    say(f, "used_memory_peak:%" PRIu64, peak);
    put_human(f, "used_memory_peak_human", peak);
    say(f, "used_memory_dataset:%" PRIu64, f->node.cache_bytes);
    say(f, "total_system_memory:%" PRIu64, total);
    put_human(f, "total_system_memory_human", total);
    say(f, "maxmemory:0");
    say(f, "maxmemory_human:0B");
    say(f, "maxmemory_policy:noeviction");
    say(f, "mem_fragmentation_ratio:1.00");
    say(f, "mem_allocator:libc");
    say(f, "lazyfree_pending_objects:0");
}

/* Every acknowledged write is synced on a majority: there is never anything left to save. */
static void put_persistence(struct facts *f)
{
    say(f, "# Persistence");
    say(f, "loading:0");
    say(f, "async_loading:0");
    say(f, "rdb_changes_since_last_save:0");
    say(f, "rdb_bgsave_in_progress:0");
    say(f, "rdb_last_save_time:%" PRId64, wall_now_ms() / 1000);
    say(f, "rdb_last_bgsave_status:ok");
    say(f, "rdb_last_bgsave_time_sec:-1");
    say(f, "rdb_current_bgsave_time_sec:-1");
    say(f, "aof_enabled:1");
    say(f, "aof_rewrite_in_progress:0");
    say(f, "aof_rewrite_scheduled:0");
    say(f, "aof_last_rewrite_time_sec:-1");
    say(f, "aof_last_bgrewrite_status:ok");
    say(f, "aof_last_write_status:ok");
    say(f, "aof_current_size:%" PRIu64, f->node.log_bytes);
}

static void put_stats(struct facts *f)
{
    const struct server_stats *s = f->stats;
    say(f, "# Stats");
    say(f, "total_connections_received:%" PRIu64, s->connections);
    say(f, "total_commands_processed:%" PRIu64, s->commands);
    say(f, "instantaneous_ops_per_sec:%" PRIu64, s->ops_per_second);
    say(f, "total_net_input_bytes:%" PRIu64, s->input_bytes);
    say(f, "total_net_output_bytes:%" PRIu64, s->output_bytes);
    say(f, "rejected_connections:%" PRIu64, s->rejected_connections);
    say(f, "client_output_buffer_limit_disconnections:%" PRIu64, s->output_cut_off);
    say(f, "sync_full:%" PRIu64, f->node.snapshots_sent);
    say(f, "sync_partial_ok:0");
    say(f, "sync_partial_err:0");
    say(f, "expired_keys:%" PRIu64, f->node.expired_total);
    say(f, "evicted_keys:0");
    say(f, "evicted_clients:0");
    say(f, "pubsub_channels:0");
    say(f, "pubsub_patterns:0");
    say(f, "latest_fork_usec:0");
    say(f, "total_error_replies:%" PRIu64, s->errors);
}

/* Redis's words for the cluster as one sees it from here. Every node takes writes, so each calls itself a master;
 * ROLE and "# Holdfast" tell which one leads. */
static void put_replication(struct facts *f)
{
    unsigned others = 0;
    say(f, "# Replication");
    say(f, "role:master");
    for (size_t i = 0; i < f->node.n_members; i++)
        others += is_leader(f) && f->node.members[i].id != f->node.id && f->node.members[i].linked;
    say(f, "connected_slaves:%u", others);
    for (size_t i = 0, n = 0; i < f->node.n_members && is_leader(f); i++) {
        const struct node_member *m = &f->node.members[i];
        char host[256] = "", port[16] = "0";
        if (m->id == f->node.id || !m->linked)
            continue;
        config_split_address(m->client_address, host, sizeof host, port, sizeof port);
        say(f, "slave%zu:ip=%s,port=%s,state=online,offset=%" PRIu64 ",lag=%" PRIu64, n++, host, port, m->match_index,
            m->last_heard_ms / 1000);
    }
    say(f, "master_failover_state:no-failover");
    say(f, "master_replid:%.32s00000000", f->node.cluster_id);
    say(f, "master_replid2:0000000000000000000000000000000000000000");
    say(f, "master_repl_offset:%" PRIu64, f->node.applied_index);
    say(f, "second_repl_offset:-1");
    say(f, "repl_backlog_active:1");
    say(f, "repl_backlog_size:%" PRIu64, f->node.log_bytes);
    say(f, "repl_backlog_first_byte_offset:%" PRIu64, f->node.first_index);
    say(f, "repl_backlog_histlen:%" PRIu64, f->node.last_index + 1 - f->node.first_index);
}

static void put_cpu(struct facts *f)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    say(f, "# CPU");
    say(f, "used_cpu_sys:%ld.%06ld", (long)u.ru_stime.tv_sec, (long)u.ru_stime.tv_usec);
    say(f, "used_cpu_user:%ld.%06ld", (long)u.ru_utime.tv_sec, (long)u.ru_utime.tv_usec);
    say(f, "used_cpu_sys_children:0.000000");
    say(f, "used_cpu_user_children:0.000000");
}

static void put_commandstats(struct facts *f)
{
    size_t n;
    const struct command_row *rows = commands_table(&n);
    say(f, "# Commandstats");
    for (size_t i = 0; i < n; i++) {
        const struct command_counts *c = commands_counts(&rows[i]);
        if (c->calls + c->rejected > 0)
            say(f, "cmdstat_%s:calls=%" PRIu64 ",rejected_calls=%" PRIu64, rows[i].name, c->calls, c->rejected);
    }
}

static void put_latencystats(struct facts *f)
{
    size_t n;
    const struct command_row *rows = commands_table(&n);
    say(f, "# Latencystats");
    for (size_t i = 0; i < n; i++) {
        const struct histogram *h = &commands_counts(&rows[i])->times;
        if (h->n > 0)
            say(f, "latency_percentiles_usec_%s:p50=%" PRIu64 ".000,p99=%" PRIu64 ".000,p99.9=%" PRIu64 ".000",
                rows[i].name, histogram_quantile_us(h, 0.5), histogram_quantile_us(h, 0.99),
                histogram_quantile_us(h, 0.999));
    }
}

static void put_errorstats(struct facts *f)
{
    size_t n;
    const struct server_error_word *words = server_error_words(f->server, &n);
    say(f, "# Errorstats");
    for (size_t i = 0; i < n; i++)
        say(f, "errorstat_%s:count=%" PRIu64, words[i].word, words[i].n);
}

static void put_cluster(struct facts *f)
{
    say(f, "# Cluster");
    say(f, "cluster_enabled:%d", f->config->cluster_facade);
}

static void put_keyspace(struct facts *f)
{
    say(f, "# Keyspace");
    if (f->node.keys > 0)
        say(f, "db0:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0", f->node.keys, f->node.keys_with_ttl);
}

static void put_members(struct facts *f)
{
    say(f, "members:%zu", f->node.n_members);
    for (size_t i = 0; i < f->node.n_members; i++) {
        const struct node_member *m = &f->node.members[i];
        say(f, "member_%" PRIu64 ":address=%s,client=%s,voter=%d,linked=%d,match=%" PRIu64 ",last_heard_ms=%" PRId64,
            m->id, m->peer_address, m->client_address, m->voter, m->linked, m->match_index,
            m->last_heard_ms == UINT64_MAX ? (int64_t)-1 : (int64_t)m->last_heard_ms);
    }
}

static void put_time(struct facts *f, const char *name, const struct histogram *h)
{
    say(f, "%s_us_p50:%" PRIu64, name, histogram_quantile_us(h, 0.5));
    say(f, "%s_us_p99:%" PRIu64, name, histogram_quantile_us(h, 0.99));
}

static void put_times(struct facts *f)
{
    struct node_times t;
    node_times(server_node(f->server), &t);
    put_time(f, "sync", t.sync);
    put_time(f, "commit", t.commit);
    put_time(f, "apply", t.apply);
}

static void put_holdfast(struct facts *f)
{
    const struct node_status *n = &f->node;
    const struct node_member *leader = leader_of(f);
    say(f, "# Holdfast");
    say(f, "holdfast_version:" HOLDFAST_VERSION);
    say(f, "cluster_id:%s", n->cluster_id);
    say(f, "node_id:%" PRIu64, n->id);
    say(f, "start:%" PRIu64, n->start);
    say(f, "role:%s", n->role);
    say(f, "leader_id:%" PRIu64, n->leader);
    say(f, "leader_client_address:%s", leader != NULL ? leader->client_address : "");
    say(f, "ready:%d", n->ready);
    say(f, "term:%" PRIu64, n->term);
    say(f, "commit_index:%" PRIu64, n->commit_index);
    say(f, "applied_index:%" PRIu64, n->applied_index);
    say(f, "last_index:%" PRIu64, n->last_index);
    say(f, "first_index:%" PRIu64, n->first_index);
    say(f, "durable_index:%" PRIu64, n->durable_index);
    say(f, "checkpoint_index:%" PRIu64, n->checkpoint_index);
    say(f, "apply_lag:%" PRIu64, n->commit_index > n->applied_index ? n->commit_index - n->applied_index : 0);
    say(f, "revision:%" PRIu64, n->revision);
    say(f, "clock_ms:%" PRIu64, n->clock_ms);
    say(f, "state_hash:%016" PRIx64, n->state_hash);
    say(f, "keys:%" PRIu64, n->keys);
    say(f, "keys_with_ttl:%" PRIu64, n->keys_with_ttl);
    say(f, "sessions:%" PRIu64, n->sessions);
    say(f, "active_locks:%" PRIu64, n->locks);
    say(f, "cache_bytes:%" PRIu64, n->cache_bytes);
    say(f, "dirty_bytes:%" PRIu64, n->dirty_bytes);
    say(f, "file_bytes:%" PRIu64, n->file_bytes);
    say(f, "log_bytes:%" PRIu64, n->log_bytes);
    say(f, "disk_reserve:%d", n->has_disk_reserve);
    say(f, "syncs:%" PRIu64, n->syncs);
    say(f, "sync_us_median:%" PRIu64, n->sync_us_median);
    put_times(f);
    say(f, "batches_proposed:%" PRIu64, n->batches_proposed);
    say(f, "batches_forwarded:%" PRIu64, n->batches_forwarded);
    say(f, "batches_resent:%" PRIu64, n->batches_resent);
    say(f, "batches_duplicate:%" PRIu64, n->batches_duplicate);
    say(f, "read_rounds:%" PRIu64, n->reads_rounds);
    say(f, "snapshots_sent:%" PRIu64, n->snapshots_sent);
    say(f, "snapshots_installed:%" PRIu64, n->snapshots_installed);
    say(f, "elections:%" PRIu64, n->elections);
    say(f, "writes_waiting:%" PRIu64, n->writes_waiting);
    say(f, "reads_waiting:%" PRIu64, n->reads_waiting);
    put_members(f);
}

/* In the order of INFO. Holdfast's stands before replication, since both have a "role": tools that keep the last of two
 * lines see Redis's word, and those that know us ask for our section. */
static const struct {
    const char *name;
    void (*put)(struct facts *f);
    bool by_default;
} sections[] = {
    {"server", put_server, true},
    {"holdfast", put_holdfast, true},
    {"clients", put_clients, true},
    {"memory", put_memory, true},
    {"persistence", put_persistence, true},
    {"stats", put_stats, true},
    {"replication", put_replication, true},
    {"cpu", put_cpu, true},
    {"commandstats", put_commandstats, false},
    {"latencystats", put_latencystats, false},
    {"errorstats", put_errorstats, true},
    {"cluster", put_cluster, true},
    {"keyspace", put_keyspace, true},
};

static bool is_wanted(size_t section, const struct resp_arg *args, size_t n)
{
    if (n == 0)
        return sections[section].by_default;
    for (size_t i = 0; i < n; i++) {
        if (arg_is(&args[i], "all") || arg_is(&args[i], "everything") || arg_is(&args[i], sections[section].name))
            return true;
        if (arg_is(&args[i], "default") && sections[section].by_default)
            return true;
    }
    return false;
}

void info_write(struct server *s, const struct resp_arg *args, size_t n, struct resp_buf *text)
{
    struct facts f = {.server = s, .stats = server_stats(s), .config = server_config(s), .text = text};
    node_status(server_node(s), &f.node);
    f.uptime_s = (uv_now(server_loop(s)) - server_started_ms(s)) / 1000;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (!is_wanted(i, args, n))
            continue;
        if (text->len > 0)
            resp_raw(text, "\r\n", 2);
        sections[i].put(&f);
    }
}
