/* cmd_tools.c - MEMORY, LATENCY, SLOWLOG, MODULE: what monitoring asks a Redis for, answered as far as it means
 * something here. */
#include "node/commands.h"
#include "node/info.h"
#include "node/log.h"
#include "node/node.h"
#include "node/reply.h"
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>

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
