/* metrics.c - the same facts as INFO's (node_status, server_stats, commands_counts, node_times), so that the two agree.
 * Source: Prometheus's exposition format 0.0.4 and its advice on names: base units, _total for what only grows. */
#include "node/metrics.h"
#include "node/commands.h"
#include "node/info.h"
#include "node/server.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define POWER_FIRST 4         /* 16 us */
#define POWER_LAST 24         /* 16.8 s */
#define METRICS_LAG_MAX 10000 /* Entries behind its own commit index at which a node is not ready. */

static void say(struct resp_buf *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct resp_buf *text, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    resp_raw(text, line, len < (int)sizeof line ? (size_t)len : sizeof line - 1);
}

static void head(struct resp_buf *text, const char *name, const char *type, const char *help)
{
    say(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void sample(struct resp_buf *text, const char *name, const char *type, const char *help, uint64_t n)
{
    head(text, name, type, help);
    say(text, "%s %" PRIu64 "\n", name, n);
}

/* ---- Histograms ---- */

void metrics_histogram(struct resp_buf *text, const char *name, const char *labels, const struct histogram *h)
{
    const char *comma = *labels != '\0' ? "," : "";
    const char *open = *labels != '\0' ? "{" : "", *close = *labels != '\0' ? "}" : "";
    for (unsigned power = POWER_FIRST; power <= POWER_LAST; power++) {
        uint64_t end_us = 1ull << power;
        say(text, "%s_bucket{%s%sle=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n", name, labels, comma,
            end_us / 1000000, end_us % 1000000, histogram_at_most(h, power));
    }
    say(text, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, h->n);
    say(text, "%s_sum%s%s%s %" PRIu64 ".%06" PRIu64 "\n", name, open, labels, close, h->sum_us / 1000000,
        h->sum_us % 1000000);
    say(text, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, h->n);
}

static void put_times(struct resp_buf *text, const struct node *n)
{
    struct node_times t;
    node_times(n, &t);
    head(text, "holdfast_sync_seconds", "histogram", "Syncs of the log to the disk.");
    metrics_histogram(text, "holdfast_sync_seconds", "", t.sync);
    head(text, "holdfast_commit_seconds", "histogram",
         "Batches of writes taken in at this node, from being sent to the log until their answers were known.");
    metrics_histogram(text, "holdfast_commit_seconds", "", t.commit);
    head(text, "holdfast_apply_seconds", "histogram", "Log entries with commands being applied to the state.");
    metrics_histogram(text, "holdfast_apply_seconds", "", t.apply);
}

/* A row's group is its family. Each is summed at its first row. */
static bool is_first_of_family(const struct command_row *rows, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(rows[j].group, rows[i].group) == 0)
            return false;
    return true;
}

static void put_family(struct resp_buf *text, const struct command_row *rows, size_t n, const char *family)
{
    struct histogram sum = {0};
    char label[64];
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].group, family) == 0)
            histogram_add(&sum, &commands_counts(&rows[i])->times);
    snprintf(label, sizeof label, "family=\"%s\"", family);
    if (sum.n > 0)
        metrics_histogram(text, "holdfast_request_seconds", label, &sum);
}

static void put_requests(struct resp_buf *text)
{
    size_t n;
    const struct command_row *rows = commands_table(&n);
    head(text, "holdfast_request_seconds", "histogram",
         "Requests that the cluster answered, by family of commands, from being read until their answers.");
    for (size_t i = 0; i < n; i++)
        if (is_first_of_family(rows, i))
            put_family(text, rows, n, rows[i].group);
    head(text, "holdfast_commands_total", "counter", "Commands run.");
    for (size_t i = 0; i < n; i++)
        if (commands_counts(&rows[i])->calls > 0)
            say(text, "holdfast_commands_total{command=\"%s\"} %" PRIu64 "\n", rows[i].name,
                commands_counts(&rows[i])->calls);
}

/* ---- Numbers ---- */

#define STATUS(field) offsetof(struct node_status, field)
#define STATS(field) offsetof(struct server_stats, field)
struct number {
    const char *name, *type, *help;
    size_t offset; /* Of a uint64_t. */
};

static const struct number of_node[] = {
    {"holdfast_term", "gauge", "Term of the log.", STATUS(term)},
    {"holdfast_leader_id", "gauge", "The node that leads, 0 when none is known.", STATUS(leader)},
    {"holdfast_commit_index", "gauge", "Last log index known to be committed.", STATUS(commit_index)},
    {"holdfast_applied_index", "gauge", "Last log index applied to the state.", STATUS(applied_index)},
    {"holdfast_durable_index", "gauge", "Last log index on this node's disk.", STATUS(durable_index)},
    {"holdfast_checkpoint_index", "gauge", "Log index up to which the state file is synced.", STATUS(checkpoint_index)},
    {"holdfast_revision", "gauge", "Revision of the state.", STATUS(revision)},
    {"holdfast_keys", "gauge", "Keys in the state.", STATUS(keys)},
    {"holdfast_sessions", "gauge", "Open sessions.", STATUS(sessions)},
    {"holdfast_locks", "gauge", "Locks that are held or waited for.", STATUS(locks)},
    {"holdfast_cache_bytes", "gauge", "Memory of the row cache.", STATUS(cache_bytes)},
    {"holdfast_dirty_bytes", "gauge", "Changes that the state file has yet to take.", STATUS(dirty_bytes)},
    {"holdfast_state_file_bytes", "gauge", "Size of the state file.", STATUS(file_bytes)},
    {"holdfast_log_bytes", "gauge", "Log records held on disk.", STATUS(log_bytes)},
    {"holdfast_writes_waiting", "gauge", "Writes without an answer.", STATUS(writes_waiting)},
    {"holdfast_reads_waiting", "gauge", "Reads without an answer.", STATUS(reads_waiting)},
    {"holdfast_expired_keys_total", "counter", "Keys ended by their time to live.", STATUS(expired_total)},
    {"holdfast_syncs_total", "counter", "Syncs of the log.", STATUS(syncs)},
    {"holdfast_batches_proposed_total", "counter", "Batches put into the log by this node.", STATUS(batches_proposed)},
    {"holdfast_batches_forwarded_total", "counter", "Batches sent to a leader.", STATUS(batches_forwarded)},
    {"holdfast_batches_resent_total", "counter", "Batches sent again.", STATUS(batches_resent)},
    {"holdfast_read_rounds_total", "counter", "Rounds by which leadership was confirmed.", STATUS(reads_rounds)},
    {"holdfast_snapshots_sent_total", "counter", "Snapshots sent.", STATUS(snapshots_sent)},
    {"holdfast_snapshots_installed_total", "counter", "Snapshots installed.", STATUS(snapshots_installed)},
    {"holdfast_elections_total", "counter", "Elections this node has begun.", STATUS(elections)},
};

static const struct number of_server[] = {
    {"holdfast_connections_total", "counter", "Client connections taken.", STATS(connections)},
    {"holdfast_rejected_connections_total", "counter", "Client connections past max_clients.",
     STATS(rejected_connections)},
    {"holdfast_input_bytes_total", "counter", "Bytes read from clients.", STATS(input_bytes)},
    {"holdfast_output_bytes_total", "counter", "Bytes written to clients.", STATS(output_bytes)},
    {"holdfast_error_replies_total", "counter", "Error replies.", STATS(errors)},
    {"holdfast_output_cut_off_total", "counter", "Clients closed for reading too slowly.", STATS(output_cut_off)},
};

static void put_numbers(struct resp_buf *text, const struct number *numbers, size_t n, const void *from)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value;
        memcpy(&value, (const char *)from + numbers[i].offset, sizeof value);
        sample(text, numbers[i].name, numbers[i].type, numbers[i].help, value);
    }
}

static void put_members(struct resp_buf *text, const struct node_status *s)
{
    head(text, "holdfast_member_linked", "gauge", "1: this node has a link to the member.");
    for (size_t i = 0; i < s->n_members; i++)
        say(text, "holdfast_member_linked{member=\"%" PRIu64 "\",voter=\"%d\"} %d\n", s->members[i].id,
            s->members[i].voter, s->members[i].linked);
}

static void put_process(struct resp_buf *text)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    uint64_t us = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
                  (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    head(text, "process_cpu_seconds_total", "counter", "User and system time.");
    say(text, "process_cpu_seconds_total %" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
    sample(text, "process_resident_memory_bytes", "gauge", "Resident memory.", info_resident_bytes());
}

void metrics_write(struct server *s, struct resp_buf *text)
{
    struct node_status status;
    char why[METRICS_WHY_MAX];
    node_status(server_node(s), &status);
    head(text, "holdfast_info", "gauge", "What runs here.");
    say(text, "holdfast_info{version=\"" HOLDFAST_VERSION "\",node=\"%" PRIu64 "\",cluster=\"%s\"} 1\n", status.id,
        status.cluster_id);
    sample(text, "holdfast_leads", "gauge", "1: this node leads.", status.leader == status.id);
    sample(text, "holdfast_ready", "gauge", "1: /readyz says yes.",
           metrics_ready(&status, node_is_draining(server_node(s)), why));
    sample(text, "holdfast_disk_reserve", "gauge", "0: short of disk space.", status.has_disk_reserve);
    sample(text, "holdfast_clients", "gauge", "Connected clients.", server_n_clients(s));
    put_numbers(text, of_node, sizeof of_node / sizeof *of_node, &status);
    put_numbers(text, of_server, sizeof of_server / sizeof *of_server, server_stats(s));
    put_members(text, &status);
    put_requests(text);
    put_times(text, server_node(s));
    put_process(text);
}

/* ---- Ready? ---- */

static bool is_linked(const struct node_status *s, uint64_t id)
{
    for (size_t i = 0; i < s->n_members; i++)
        if (s->members[i].id == id)
            return s->members[i].linked;
    return false;
}

bool metrics_ready(const struct node_status *s, bool draining, char why[METRICS_WHY_MAX])
{
    uint64_t lag = s->commit_index > s->applied_index ? s->commit_index - s->applied_index : 0;
    bool ready = false;
    if (draining)
        snprintf(why, METRICS_WHY_MAX, "not ready: draining, it is about to end");
    else if (s->leader == 0)
        snprintf(why, METRICS_WHY_MAX, "not ready: no leader is known, nothing can be read or written");
    else if (s->leader == s->id && !s->ready)
        snprintf(why, METRICS_WHY_MAX, "not ready: elected a moment ago, nothing of its term is committed yet");
    else if (s->leader != s->id && !is_linked(s, s->leader))
        snprintf(why, METRICS_WHY_MAX, "not ready: no link to node %" PRIu64 ", the leader", s->leader);
    else if (lag > METRICS_LAG_MAX)
        snprintf(why, METRICS_WHY_MAX, "not ready: %" PRIu64 " entries behind", lag);
    else {
        ready = true;
        snprintf(why, METRICS_WHY_MAX, "ready%s",
                 s->has_disk_reserve ? "" : ", but short of disk space: writes may be refused");
    }
    return ready;
}
