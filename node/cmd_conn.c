/* cmd_conn.c - commands about the connection itself. All are local: they run when nothing of the connection is
 * unanswered, so a change (of protocol, of name, of mode) takes effect between two requests. */
#include "node/commands.h"
#include "node/info.h"
#include "node/listeners.h"
#include "node/log.h"
#include "node/node.h"
#include "node/reply.h"
#include "node/tx.h"
#include <stdio.h>
#include <string.h>

#define DEADLINE_MS_MAX 600000u
#define PAUSE_MS_MAX ((int64_t)1 << 40)

static void reply_arity(struct call *call)
{
    resp_errorf(call->out, REPLY_ARITY, call->row->name);
}

/* ---- PING to SELECT ---- */

void run_ping(struct call *call)
{
    bool listens = conn_only_listens(call->conn);
    if (call->n > 2) {
        reply_arity(call);
        return;
    }
    if (listens) {
        resp_array(call->out, 2);
        resp_text(call->out, "pong");
    }
    if (call->n == 2)
        resp_bulk(call->out, call->args[1].base, call->args[1].len);
    else if (listens)
        resp_text(call->out, "");
    else
        resp_simple(call->out, "PONG");
}

void run_echo(struct call *call)
{
    resp_bulk(call->out, call->args[1].base, call->args[1].len);
}

void run_quit(struct call *call)
{
    resp_ok(call->out);
    conn_close_after_output(call->conn);
}

void run_reset(struct call *call)
{
    struct conn_facts *facts = call->facts;
    facts->proto = 2;
    facts->readonly = false;
    facts->no_evict = facts->no_touch = facts->capa_redirect = false;
    facts->reply_mode = CONN_REPLY_ON;
    facts->deadline_ms = 0;
    facts->name[0] = '\0';
    tx_reset(call->tx);
    pubsub_drop(&node_listeners(call->node)->pubsub, conn_subscriptions(call->conn));
    resp_simple(call->out, "RESET");
}

void run_select(struct call *call)
{
    int64_t db;
    if (!arg_int(&call->args[1], &db))
        resp_error(call->out, REPLY_NOT_INTEGER);
    else if (db != 0)
        resp_error(call->out, REPLY_DB_INDEX);
    else
        resp_ok(call->out);
}

void run_readonly(struct call *call)
{
    call->facts->readonly = true;
    resp_ok(call->out);
}

void run_readwrite(struct call *call)
{
    call->facts->readonly = false;
    resp_ok(call->out);
}

void run_asking(struct call *call)
{
    if (node_config(call->node)->cluster_facade)
        resp_ok(call->out); /* Slots do not move: there is nothing to ask for. */
    else
        resp_error(call->out, REPLY_NO_CLUSTER);
}

/* ---- Who is there ---- */

/* No passwords are configured, so there is one user, "default", who may do anything with any password. */
static bool is_default_user(const struct resp_arg *user)
{
    return user->len == 7 && memcmp(user->base, "default", 7) == 0;
}

void run_auth(struct call *call)
{
    if (call->n > 3)
        resp_error(call->out, REPLY_SYNTAX);
    else if (call->n == 2)
        resp_error(call->out, REPLY_NO_PASSWORD);
    else if (!is_default_user(&call->args[1]))
        resp_error(call->out, REPLY_WRONGPASS);
    else
        resp_ok(call->out);
}

/* Names stand in lists of fields: no blanks, no control characters. */
static bool is_plain(const struct resp_arg *name)
{
    for (size_t i = 0; i < name->len; i++)
        if (name->base[i] < '!' || name->base[i] > '~')
            return false;
    return name->len < CONN_NAME_MAX;
}

static void keep_name(char to[CONN_NAME_MAX], const struct resp_arg *name)
{
    memcpy(to, name->base, name->len);
    to[name->len] = '\0';
}

static void put_hello(struct call *call)
{
    struct resp_buf *out = call->out;
    int proto = call->facts->proto;
    resp_map(out, proto, 7);
    resp_text(out, "server");
    resp_text(out, "redis");
    resp_text(out, "version");
    resp_text(out, INFO_REDIS_VERSION);
    resp_text(out, "proto");
    resp_int(out, proto);
    resp_text(out, "id");
    resp_int(out, (int64_t)call->facts->id);
    resp_text(out, "mode");
    resp_text(out, node_config(call->node)->cluster_facade ? "cluster" : "standalone");
    resp_text(out, "role");
    resp_text(out, "master"); /* Every node takes writes. */
    resp_text(out, "modules");
    resp_array(out, 0);
}

struct hello {
    const struct resp_arg *user, *name;
};

/* AUTH user password, SETNAME name. False: the error is written. */
static bool hello_options(struct call *call, struct hello *ret)
{
    for (size_t i = 2; i < call->n; i++) {
        const struct resp_arg *arg = &call->args[i];
        size_t more = call->n - 1 - i;
        if (arg_is(arg, "auth") && more >= 2) {
            ret->user = arg + 1;
            i += 2;
        } else if (arg_is(arg, "setname") && more >= 1) {
            ret->name = arg + 1;
            i += 1;
            if (!is_plain(ret->name)) {
                resp_error(call->out, REPLY_CLIENT_NAME);
                return false;
            }
        } else {
            resp_errorf(call->out, REPLY_HELLO_OPTION, (int)(arg->len < 128 ? arg->len : 128), arg->base);
            return false;
        }
    }
    return true;
}

void run_hello(struct call *call)
{
    int64_t proto = call->facts->proto;
    struct hello hello = {0};
    if (call->n > 1 && !arg_int(&call->args[1], &proto)) {
        resp_error(call->out, REPLY_PROTO_NOT_INTEGER);
        return;
    }
    if (proto != 2 && proto != 3) {
        resp_error(call->out, REPLY_NOPROTO);
        return;
    }
    if (!hello_options(call, &hello))
        return;
    if (hello.user != NULL && !is_default_user(hello.user)) {
        resp_error(call->out, REPLY_WRONGPASS);
        return;
    }
    if (hello.name != NULL)
        keep_name(call->facts->name, hello.name);
    call->facts->proto = (int)proto;
    put_hello(call);
}

/* ---- CLIENT ---- */

void run_client_id(struct call *call)
{
    resp_int(call->out, (int64_t)call->facts->id);
}

void run_client_getname(struct call *call)
{
    if (call->facts->name[0] == '\0')
        resp_nil(call->out, call->proto);
    else
        resp_text(call->out, call->facts->name);
}

void run_client_setname(struct call *call)
{
    if (!is_plain(&call->args[2])) {
        resp_error(call->out, REPLY_CLIENT_NAME);
        return;
    }
    keep_name(call->facts->name, &call->args[2]);
    resp_ok(call->out);
}

void run_client_setinfo(struct call *call)
{
    const struct resp_arg *field = &call->args[2], *value = &call->args[3];
    bool is_name = arg_is(field, "lib-name");
    if (!is_name && !arg_is(field, "lib-ver")) {
        resp_errorf(call->out, REPLY_CLIENT_SETINFO, (int)(field->len < 128 ? field->len : 128), field->base);
        return;
    }
    if (!is_plain(value)) {
        resp_errorf(call->out, REPLY_CLIENT_INFO_FIELD, is_name ? "lib-name" : "lib-ver");
        return;
    }
    keep_name(is_name ? call->facts->lib_name : call->facts->lib_version, value);
    resp_ok(call->out);
}

/* One line of CLIENT LIST, in Redis's fields; those of things there are none of are zero. */
static int client_line(struct conn *c, char *line, size_t cap)
{
    struct server *s = conn_server(c);
    const struct conn_facts *f = conn_facts(c);
    uint64_t now = uv_now(server_loop(s));
    char flags[4];
    snprintf(flags, sizeof flags, "%s%s%s", conn_is_waiting(c) ? "b" : "", f->readonly ? "r" : "",
             conn_multi_commands(c) >= 0 ? "x" : "");
    size_t out = conn_output_bytes(c), out_cap = conn_output_cap(c), in = conn_input_bytes(c),
           in_cap = conn_input_cap(c);
    return snprintf(
        line, cap,
        "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu flags=%s db=0 sub=0 psub=0 ssub=0 multi=%ld "
        "qbuf=%zu qbuf-free=%zu argv-mem=0 multi-mem=%zu rbs=%zu rbp=%zu obl=%zu oll=0 omem=0 tot-mem=%zu events=r "
        "cmd=%s user=default redir=-1 resp=%d lib-name=%s lib-ver=%s tot-cmds=%llu",
        (unsigned long long)f->id, f->address, f->local_address, conn_fd(c), f->name,
        (unsigned long long)(now - f->created_ms) / 1000, (unsigned long long)(now - f->last_ms) / 1000,
        *flags != '\0' ? flags : "N", conn_multi_commands(c), in, in_cap - in, conn_multi_bytes(c), out_cap, out_cap,
        out, in_cap + out_cap, f->last_row != NULL ? f->last_row->name : "NULL", f->proto, f->lib_name, f->lib_version,
        (unsigned long long)f->commands);
}

#define CLIENT_LINE_MAX 2048

void run_client_info(struct call *call)
{
    char line[CLIENT_LINE_MAX];
    int len = client_line(call->conn, line, sizeof line - 1);
    len = len < (int)sizeof line - 1 ? len : (int)sizeof line - 2;
    line[len++] = '\n';
    resp_verbatim(call->out, call->proto, line, (size_t)len);
}

/* The ids after CLIENT LIST ID. False: the error is written. */
static bool read_ids(struct call *call)
{
    int64_t id;
    for (size_t i = 3; i < call->n; i++) {
        if (arg_int(&call->args[i], &id) && id >= 1)
            continue;
        resp_error(call->out, REPLY_CLIENT_INVALID_ID);
        return false;
    }
    return true;
}

static bool is_listed(struct call *call, struct conn *c)
{
    int64_t id;
    if (call->n < 4)
        return true;
    if (!arg_is(&call->args[2], "id"))
        return arg_is(&call->args[3], "normal"); /* There are no clients of another type. */
    for (size_t i = 3; i < call->n; i++)
        if (arg_int(&call->args[i], &id) && (uint64_t)id == conn_facts(c)->id)
            return true;
    return false;
}

static bool is_client_type(const struct resp_arg *type)
{
    return arg_is(type, "normal") || arg_is(type, "master") || arg_is(type, "replica") || arg_is(type, "slave") ||
           arg_is(type, "pubsub");
}

void run_client_list(struct call *call)
{
    bool by_type = call->n == 4 && arg_is(&call->args[2], "type");
    bool by_id = call->n >= 4 && arg_is(&call->args[2], "id");
    if (call->n > 2 && !by_type && !by_id) {
        resp_error(call->out, REPLY_SYNTAX);
        return;
    }
    if (by_type && !is_client_type(&call->args[3])) {
        const struct resp_arg *type = &call->args[3];
        resp_errorf(call->out, REPLY_CLIENT_TYPE, (int)(type->len < 128 ? type->len : 128), type->base);
        return;
    }
    if (by_id && !read_ids(call))
        return;
    struct resp_buf lines = {0};
    for (struct conn *c = server_first_conn(call->server); c != NULL; c = server_next_conn(c)) {
        char line[CLIENT_LINE_MAX];
        if (!is_listed(call, c))
            continue;
        int len = client_line(c, line, sizeof line);
        resp_raw(&lines, line, (size_t)(len < (int)sizeof line ? len : (int)sizeof line - 1));
        resp_raw(&lines, "\n", 1);
    }
    if (lines.failed)
        resp_error(call->out, REPLY_NO_MEMORY);
    else
        resp_verbatim(call->out, call->proto, lines.base, lines.len);
    resp_buf_release(&lines);
}

/* ---- CLIENT KILL ---- */

struct kill_filter {
    uint64_t id;
    const struct resp_arg *address, *local_address;
    bool other_type, skip_me;
    int64_t max_age_s;
};

static bool same_text(const struct resp_arg *arg, const char *text)
{
    return strlen(text) == arg->len && memcmp(arg->base, text, arg->len) == 0;
}

static bool kill_matches(struct call *call, const struct kill_filter *f, struct conn *c)
{
    const struct conn_facts *facts = conn_facts(c);
    uint64_t age_s = (uv_now(server_loop(call->server)) - facts->created_ms) / 1000;
    return (f->id == 0 || f->id == facts->id) && (f->address == NULL || same_text(f->address, facts->address)) &&
           (f->local_address == NULL || same_text(f->local_address, facts->local_address)) && !f->other_type &&
           !(f->skip_me && c == call->conn) && (f->max_age_s == 0 || age_s >= (uint64_t)f->max_age_s);
}

static int64_t kill_all(struct call *call, const struct kill_filter *f)
{
    int64_t n = 0;
    for (struct conn *c = server_first_conn(call->server), *next; c != NULL; c = next) {
        next = server_next_conn(c);
        if (!kill_matches(call, f, c))
            continue;
        n++;
        if (c == call->conn)
            conn_close_after_output(c);
        else
            conn_close(c);
    }
    return n;
}

/* One "FILTER value" pair. False: the error is written. */
static bool kill_option(struct call *call, const struct resp_arg *option, struct kill_filter *f)
{
    const struct resp_arg *value = option + 1;
    int shown = (int)(value->len < 128 ? value->len : 128);
    int64_t n;
    if (arg_is(option, "id") || arg_is(option, "maxage")) {
        if (!arg_int(value, &n) || n < 1) {
            resp_error(call->out, arg_is(option, "id") ? REPLY_CLIENT_ID : REPLY_NOT_INTEGER);
            return false;
        }
        if (arg_is(option, "id"))
            f->id = (uint64_t)n;
        else
            f->max_age_s = n;
    } else if (arg_is(option, "addr")) {
        f->address = value;
    } else if (arg_is(option, "laddr")) {
        f->local_address = value;
    } else if (arg_is(option, "type")) {
        if (!is_client_type(value)) {
            resp_errorf(call->out, REPLY_CLIENT_TYPE, shown, value->base);
            return false;
        }
        f->other_type = !arg_is(value, "normal");
    } else if (arg_is(option, "user")) {
        if (!is_default_user(value)) {
            resp_errorf(call->out, REPLY_CLIENT_USER, shown, value->base);
            return false;
        }
    } else if (arg_is(option, "skipme") && (arg_is(value, "yes") || arg_is(value, "no"))) {
        f->skip_me = arg_is(value, "yes");
    } else {
        resp_error(call->out, REPLY_SYNTAX);
        return false;
    }
    return true;
}

void run_client_kill(struct call *call)
{
    struct kill_filter f = {.skip_me = true};
    if (call->n == 3) { /* The old form: CLIENT KILL address. */
        f.address = &call->args[2];
        f.skip_me = false;
        if (kill_all(call, &f) == 0)
            resp_error(call->out, REPLY_NO_SUCH_CLIENT);
        else
            resp_ok(call->out);
        return;
    }
    if (call->n % 2 != 0) {
        resp_error(call->out, REPLY_SYNTAX);
        return;
    }
    for (size_t i = 2; i < call->n; i += 2)
        if (!kill_option(call, &call->args[i], &f))
            return;
    resp_int(call->out, kill_all(call, &f));
}

void run_client_unblock(struct call *call)
{
    bool with_error = call->n == 4 && arg_is(&call->args[3], "error");
    int64_t id;
    if (call->n > 4 || (call->n == 4 && !with_error && !arg_is(&call->args[3], "timeout"))) {
        resp_error(call->out, REPLY_UNBLOCK_REASON);
        return;
    }
    if (!arg_int(&call->args[2], &id)) {
        resp_error(call->out, REPLY_NOT_INTEGER);
        return;
    }
    bool unblocked = false;
    for (struct conn *c = server_first_conn(call->server), *next; c != NULL; c = next) {
        next = server_next_conn(c);
        if (conn_facts(c)->id == (uint64_t)id)
            unblocked = conn_unblock(c, with_error);
    }
    resp_int(call->out, unblocked);
}

void run_client_pause(struct call *call)
{
    int64_t ms;
    bool writes_only = call->n == 4 && arg_is(&call->args[3], "write");
    if (call->n > 4 || (call->n == 4 && !writes_only && !arg_is(&call->args[3], "all"))) {
        resp_error(call->out, REPLY_PAUSE_MODE);
        return;
    }
    if (!arg_int(&call->args[2], &ms) || ms > PAUSE_MS_MAX) {
        resp_error(call->out, REPLY_TIMEOUT_NOT_INTEGER);
        return;
    }
    if (ms < 0) {
        resp_error(call->out, REPLY_TIMEOUT_NEGATIVE);
        return;
    }
    if (ms > 0)
        server_pause(call->server, uv_now(server_loop(call->server)) + (uint64_t)ms, writes_only);
    resp_ok(call->out);
}

void run_client_unpause(struct call *call)
{
    server_unpause(call->server);
    resp_ok(call->out);
}

/* ---- Modes of the connection ---- */

void run_client_reply(struct call *call)
{
    const struct resp_arg *mode = &call->args[2];
    if (arg_is(mode, "on")) {
        call->facts->reply_mode = CONN_REPLY_ON;
        resp_ok(call->out);
    } else if (arg_is(mode, "off")) {
        call->facts->reply_mode = CONN_REPLY_OFF;
    } else if (!arg_is(mode, "skip")) {
        resp_error(call->out, REPLY_SYNTAX);
    } else if (call->facts->reply_mode == CONN_REPLY_ON) {
        call->facts->reply_mode = CONN_REPLY_SKIP;
    }
}

static void on_or_off(struct call *call, bool *ret)
{
    const struct resp_arg *arg = &call->args[2];
    if (!arg_is(arg, "on") && !arg_is(arg, "off")) {
        resp_error(call->out, REPLY_SYNTAX);
        return;
    }
    *ret = arg_is(arg, "on");
    resp_ok(call->out);
}

void run_client_no_evict(struct call *call)
{
    on_or_off(call, &call->facts->no_evict);
}

void run_client_no_touch(struct call *call)
{
    on_or_off(call, &call->facts->no_touch);
}

void run_client_capa(struct call *call)
{
    for (size_t i = 2; i < call->n; i++) /* Unknown ones are ignored: they are about what the client can do. */
        call->facts->capa_redirect |= arg_is(&call->args[i], "redirect");
    resp_ok(call->out);
}

void run_client_deadline(struct call *call)
{
    int64_t ms;
    if (!arg_int(&call->args[2], &ms)) {
        resp_error(call->out, REPLY_NOT_INTEGER);
        return;
    }
    if (ms < 0 || ms > DEADLINE_MS_MAX) {
        resp_errorf(call->out, REPLY_DEADLINE_RANGE, DEADLINE_MS_MAX);
        return;
    }
    call->facts->deadline_ms = (unsigned)ms;
    resp_ok(call->out);
}

/* Tracking would have to tell every change of a key that was read; a client that asks for it must not believe it has
 * it. */
void run_client_tracking(struct call *call)
{
    if (arg_is(&call->args[2], "off"))
        resp_ok(call->out);
    else if (arg_is(&call->args[2], "on"))
        resp_error(call->out, REPLY_NO_TRACKING);
    else
        resp_error(call->out, REPLY_SYNTAX);
}

void run_client_trackinginfo(struct call *call)
{
    resp_map(call->out, call->proto, 3);
    resp_text(call->out, "flags");
    resp_set(call->out, call->proto, 1);
    resp_text(call->out, "off");
    resp_text(call->out, "redirect");
    resp_int(call->out, -1);
    resp_text(call->out, "prefixes");
    resp_array(call->out, 0);
}

void run_client_caching(struct call *call)
{
    if (arg_is(&call->args[2], "yes") || arg_is(&call->args[2], "no"))
        resp_error(call->out, REPLY_CACHING);
    else
        resp_error(call->out, REPLY_SYNTAX);
}

void run_client_getredir(struct call *call)
{
    resp_int(call->out, -1);
}

void run_client_help(struct call *call)
{
    static const char *const lines[] = {
        "CAPA <option> [<option> ...]",
        "    Say what this client can do; known: redirect.",
        "DEADLINE <milliseconds>",
        "    Answer this connection's requests by then; 0 for the node's request_timeout_ms.",
        "GETNAME",
        "    The connection's name.",
        "ID",
        "    The connection's number.",
        "INFO",
        "    About this connection.",
        "KILL <ip:port>",
        "    Close the connection from that address.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close connections by ID, ADDR, LADDR, TYPE, USER, MAXAGE; SKIPME no includes this one.",
        "LIST [TYPE <type>] [ID <id> [<id> ...]]",
        "    About all connections.",
        "NO-EVICT (ON|OFF)",
        "    Accepted; connections are not evicted.",
        "NO-TOUCH (ON|OFF)",
        "    Accepted; there are no access times.",
        "PAUSE <milliseconds> [WRITE|ALL]",
        "    Hold back this node's clients for so long.",
        "REPLY (ON|OFF|SKIP)",
        "    Send replies, none, or none to the next command.",
        "SETINFO <option> <value>",
        "    Tell the library's name (LIB-NAME) or version (LIB-VER).",
        "SETNAME <name>",
        "    Name the connection.",
        "UNBLOCK <id> [TIMEOUT|ERROR]",
        "    End another connection's WAIT.",
        "UNPAUSE",
        "    End PAUSE.",
        NULL,
    };
    reply_help(call->out, "CLIENT", lines);
}
