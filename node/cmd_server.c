/* cmd_server.c - what the node is and does: INFO, ROLE, WAIT, SHUTDOWN and the like. All are local. */
#include "node/commands.h"
#include "node/info.h"
#include "node/log.h"
#include "node/node.h"
#include "node/reply.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
