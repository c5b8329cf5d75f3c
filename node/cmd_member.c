/* cmd_member.c - MEMBER: who the members are, and changing that. The changes go to whoever leads (changes.h); the
 * connection waits for the answer. */
#include "node/changes.h"
#include "node/commands.h"
#include "node/join.h"
#include "node/node.h"
#include "node/reply.h"
#include "node/tokens.h"
#include <stdio.h>
#include <string.h>

#define MEMBER_DEADLINE_MS 4000            /* Longer than an election, shorter than the command line waits. */
#define MEMBER_TOKEN_TTL_S 3600            /* Of a token, when none is asked for. */
#define MEMBER_TOKEN_TTL_MAX_S (7 * 86400) /* A join that takes longer than to prepare a machine is no join. */

/* ---- Answers ---- */

static void put_failure(struct resp_buf *out, const struct change_answer *a)
{
    switch (a->code) {
    case ANSWER_BUSY:
        resp_errorf(out, REPLY_CHANGE_BUSY, a->text);
        break;
    case ANSWER_NO_LEADER:
        resp_error(out, REPLY_NO_LEADER);
        break;
    case ANSWER_UNKNOWN:
        resp_errorf(out, REPLY_CHANGE_UNKNOWN, a->text);
        break;
    default:
        resp_errorf(out, REPLY_CHANGE_REFUSED, a->text);
    }
}

static void put_change(struct resp_buf *out, int proto, struct node *node, const struct change_answer *a)
{
    (void)node;
    if (a->code != ANSWER_DONE) {
        put_failure(out, a);
        return;
    }
    resp_map(out, proto, 3);
    resp_text(out, "id");
    resp_int(out, (int64_t)a->id);
    resp_text(out, "index");
    resp_int(out, (int64_t)a->index);
    resp_text(out, "note");
    resp_text(out, a->text);
}

/* What a joining node writes down: join.h has the form. */
static void put_join(struct resp_buf *out, int proto, struct node *node, const struct change_answer *a)
{
    struct node_status s;
    struct join join = {.node_id = a->id};
    char text[JOIN_TEXT_MAX];
    if (a->code != ANSWER_DONE) {
        put_failure(out, a);
        return;
    }
    node_status(node, &s);
    snprintf(join.cluster_id, sizeof join.cluster_id, "%s", s.cluster_id);
    for (size_t i = 0; i < s.n_members; i++) {
        if (s.members[i].id == a->id)
            continue;
        join.members[join.n_members].id = s.members[i].id;
        snprintf(join.members[join.n_members++].address, sizeof join.members[0].address, "%s",
                 s.members[i].peer_address);
    }
    size_t len = join_format(&join, text);
    resp_verbatim(out, proto, text, len);
}

/* ---- Requests ---- */

static bool read_id(struct call *call, const struct resp_arg *arg, uint64_t *ret)
{
    int64_t n;
    if (arg_int(arg, &n) && n > 0 && n <= UINT32_MAX) {
        *ret = (uint64_t)n;
        return true;
    }
    resp_error(call->out, REPLY_MEMBER_ID);
    return false;
}

static bool read_address(struct call *call, const struct resp_arg *arg, char ret[REPLICA_ADDRESS_MAX])
{
    char host[256], port[16], text[REPLICA_ADDRESS_MAX];
    bool fits = arg->len > 0 && arg->len < sizeof text && memchr(arg->base, '\0', arg->len) == NULL;
    if (fits) {
        memcpy(text, arg->base, arg->len);
        text[arg->len] = '\0';
        fits = config_split_address(text, host, sizeof host, port, sizeof port) && host[0] != '\0' &&
               strcmp(port, "0") != 0;
    }
    if (fits)
        memcpy(ret, text, arg->len + 1);
    else
        resp_error(call->out, REPLY_MEMBER_ADDRESS);
    return fits;
}

/* FORCE, DRYRUN, ID id, REPLACES id, from args[at] on. */
static bool read_options(struct call *call, size_t at, struct change_request *q)
{
    for (; at < call->n; at++) {
        bool more = at + 1 < call->n;
        if (arg_is(&call->args[at], "force"))
            q->force = true;
        else if (arg_is(&call->args[at], "dryrun"))
            q->dry_run = true;
        else if (arg_is(&call->args[at], "id") && more && (q->kind == REQUEST_ADD || q->kind == REQUEST_JOIN)) {
            if (!read_id(call, &call->args[++at], &q->id))
                return false;
        } else if (arg_is(&call->args[at], "replaces") && more && q->kind == REQUEST_JOIN) {
            if (!read_id(call, &call->args[++at], &q->other))
                return false;
        } else {
            resp_error(call->out, REPLY_SYNTAX);
            return false;
        }
    }
    return true;
}

static void ask(struct call *call, const struct change_request *q, conn_change_reply reply)
{
    struct changes *changes = node_changes(call->node);
    uint64_t deadline_ms = node_now_ms(call->node) + MEMBER_DEADLINE_MS;
    uint64_t ticket = changes_ask(changes, q, deadline_ms);
    if (ticket == 0)
        resp_error(call->out, REPLY_OVERLOADED);
    else
        conn_wait_change(call->conn, ticket, deadline_ms, reply);
}

static void ask_about_id(struct call *call, enum change_request_kind kind)
{
    struct change_request q = {.kind = kind};
    if (read_id(call, &call->args[2], &q.id) && read_options(call, 3, &q))
        ask(call, &q, put_change);
}

void run_member_promote(struct call *call)
{
    ask_about_id(call, REQUEST_PROMOTE);
}

void run_member_demote(struct call *call)
{
    ask_about_id(call, REQUEST_DEMOTE);
}

void run_member_remove(struct call *call)
{
    ask_about_id(call, REQUEST_REMOVE);
}

void run_member_add(struct call *call)
{
    struct change_request q = {.kind = REQUEST_ADD};
    if (read_address(call, &call->args[2], q.address) && read_options(call, 3, &q))
        ask(call, &q, put_change);
}

void run_member_replace(struct call *call)
{
    struct change_request q = {.kind = REQUEST_REPLACE};
    if (read_id(call, &call->args[2], &q.other) && read_id(call, &call->args[3], &q.id) && read_options(call, 4, &q))
        ask(call, &q, put_change);
}

void run_member_update_address(struct call *call)
{
    struct change_request q = {.kind = REQUEST_ADDRESS};
    if (read_id(call, &call->args[2], &q.id) && read_address(call, &call->args[3], q.address) &&
        read_options(call, 4, &q))
        ask(call, &q, put_change);
}

void run_member_transfer(struct call *call)
{
    struct change_request q = {.kind = REQUEST_TRANSFER};
    int64_t n;
    size_t at = 2;
    if (call->n > 2 && arg_int(&call->args[2], &n)) {
        if (!read_id(call, &call->args[2], &q.id))
            return;
        at++;
    }
    if (read_options(call, at, &q))
        ask(call, &q, put_change);
}

/* ---- Joining ---- */

static bool token_is_good(const struct call *call, const struct resp_arg *token)
{
    const char *standing = node_config(call->node)->join_token;
    return tokens_same(standing, strlen(standing), token->base, token->len) ||
           tokens_accept(node_tokens(call->node), token->base, token->len, node_now_ms(call->node));
}

void run_member_join(struct call *call)
{
    struct change_request q = {.kind = REQUEST_JOIN};
    if (!token_is_good(call, &call->args[2]))
        resp_error(call->out, REPLY_JOIN_TOKEN);
    else if (read_address(call, &call->args[3], q.address) && read_options(call, 4, &q))
        ask(call, &q, put_join);
}

void run_member_token(struct call *call)
{
    uint8_t chance[TOKEN_CHARS / 2];
    int64_t ttl_s = MEMBER_TOKEN_TTL_S;
    if (call->n > 3 ||
        (call->n == 3 && (!arg_int(&call->args[2], &ttl_s) || ttl_s < 1 || ttl_s > MEMBER_TOKEN_TTL_MAX_S)))
        resp_errorf(call->out, REPLY_TOKEN_TTL, MEMBER_TOKEN_TTL_MAX_S);
    else if (uv_random(NULL, NULL, chance, sizeof chance, 0, NULL) != 0)
        resp_error(call->out, REPLY_NO_CHANCE);
    else
        resp_text(call->out,
                  tokens_make(node_tokens(call->node), chance, node_now_ms(call->node) + (uint64_t)ttl_s * 1000));
}

/* ---- Looking ---- */

static void put_number(struct call *call, const char *name, int64_t n)
{
    resp_text(call->out, name);
    resp_int(call->out, n);
}

static void put_text(struct call *call, const char *name, const char *text)
{
    resp_text(call->out, name);
    resp_text(call->out, text);
}

static void put_member(struct call *call, const struct node_status *s, const struct node_member *m)
{
    bool heard = m->last_heard_ms != UINT64_MAX;
    resp_map(call->out, call->proto, 8);
    put_number(call, "id", (int64_t)m->id);
    put_text(call, "role", m->voter ? "voter" : "learner");
    put_number(call, "leader", m->id == s->leader);
    put_text(call, "peer_address", m->peer_address);
    put_text(call, "client_address", m->client_address);
    put_number(call, "linked", m->linked);
    put_number(call, "match_index", (int64_t)m->match_index);
    put_number(call, "last_heard_ms", heard ? (int64_t)m->last_heard_ms : -1);
}

void run_member_list(struct call *call)
{
    struct node_status s;
    node_status(call->node, &s);
    resp_array(call->out, s.n_members);
    for (size_t i = 0; i < s.n_members; i++)
        put_member(call, &s, &s.members[i]);
}

void run_member_help(struct call *call)
{
    static const char *const lines[] = {
        "ADD <host:port> [ID <id>] [FORCE] [DRYRUN]",
        "    Take a node in as a learner; host:port is its peer address.",
        "DEMOTE <id> [FORCE] [DRYRUN]",
        "    Make a voter a learner.",
        "JOIN <token> <host:port> [ID <id>] [REPLACES <id>]",
        "    What a node sends that starts with --join.",
        "LIST",
        "    The members, as this node knows them.",
        "PROMOTE <id> [FORCE] [DRYRUN]",
        "    Make a learner that has caught up a voter.",
        "REMOVE <id> [FORCE] [DRYRUN]",
        "    Take a node out; it ends. Its id is never given again.",
        "REPLACE <old> <new> [FORCE] [DRYRUN]",
        "    Put a learner in the place of a voter.",
        "TOKEN [<seconds>]",
        "    Make a token with which nodes may join by this node.",
        "TRANSFER [<id>] [DRYRUN]",
        "    Hand leadership over.",
        "UPDATE-ADDRESS <id> <host:port> [FORCE] [DRYRUN]",
        "    Tell the cluster a node's new peer address.",
        NULL,
    };
    reply_help(call->out, "MEMBER", lines);
}
