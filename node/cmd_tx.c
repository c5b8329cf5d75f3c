/* cmd_tx.c - MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 * All of them run when nothing of the connection is unanswered. WATCH and EXEC then ask the cluster one thing, and the
 * connection runs nothing else until that is answered: so the answer below is always the one to the step under way,
 * and what a local command of a transaction changes (the protocol, the name) holds for the request that follows it.
 *
 * A transaction of reads only needs no log entry; one of local commands without watched keys needs no cluster. */
#include "node/commands.h"
#include "node/config.h"
#include "node/node.h"
#include "node/reply.h"
#include "node/tx.h"
#include "store/outcome.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

void run_multi(struct call *call)
{
    if (call->tx->queueing) {
        resp_error(call->out, REPLY_MULTI_NESTED);
        return;
    }
    call->tx->queueing = true;
    resp_ok(call->out);
}

void run_discard(struct call *call)
{
    if (!call->tx->queueing) {
        resp_error(call->out, REPLY_DISCARD_WITHOUT_MULTI);
        return;
    }
    tx_reset(call->tx);
    resp_ok(call->out);
}

void run_unwatch(struct call *call)
{
    if (!call->in_exec) /* EXEC itself ends all watches. */
        tx_unwatch(call->tx);
    resp_ok(call->out);
}

static void put_tx_error(struct call *call, int err)
{
    if (err == TX_ECOMMANDS)
        resp_errorf(call->out, REPLY_TX_TOO_MANY, EXEC_COMMANDS_MAX);
    else if (err == TX_EBYTES)
        resp_errorf(call->out, REPLY_TX_TOO_LARGE, server_config(call->server)->max_request_bytes);
    else
        resp_error(call->out, REPLY_NO_MEMORY);
}

void tx_run_queue(struct call *call)
{
    struct tx *t = call->tx;
    if ((call->row->flags & ROW_NO_MULTI) != 0) {
        t->spoiled = true;
        resp_error(call->out, REPLY_NOT_IN_MULTI);
        return;
    }
    int err = tx_queue(t, call->row, call->args, call->n, server_config(call->server)->max_request_bytes);
    if (err != 0) {
        t->spoiled = true;
        put_tx_error(call, err);
        return;
    }
    resp_simple(call->out, "QUEUED");
}

/* ---- WATCH ---- */

/* The keys are not watched, and an EXEC that is on its way already must not run without them. */
static void watch_failed(struct tx *t)
{
    tx_drop_unseen(t);
    t->watch_failed = true;
}

static void ask_versions(struct call *call)
{
    struct tx *t = call->tx;
    struct bytes *keys = tx_unseen_keys(t);
    struct encoding e = {.op = OP_VERSIONS, .args = keys, .n_args = (uint32_t)(t->n_watches - t->n_seen)};
    t->step = TX_WATCHING;
    int err = keys == NULL ? REQUESTS_ENOMEM : conn_ask(call->conn, &e, false);
    free(keys);
    if (err == 0)
        return;
    t->step = TX_IDLE;
    watch_failed(t);
    reply_refused(call->out, err);
}

void run_watch(struct call *call)
{
    struct tx *t = call->tx;
    size_t key_max = server_config(call->server)->max_key_bytes;
    int err = 0;
    if (t->queueing) {
        resp_error(call->out, REPLY_WATCH_IN_MULTI);
        return;
    }
    for (size_t i = 1; i < call->n && err == 0; i++) {
        if (call->args[i].len > key_max) {
            watch_failed(t);
            resp_errorf(call->out, REPLY_KEY_TOO_LARGE, call->args[i].len, key_max);
            return;
        }
        err = tx_watch(t, &call->args[i], server_config(call->server)->max_request_bytes);
    }
    if (err != 0) {
        watch_failed(t);
        put_tx_error(call, err);
    } else if (t->n_watches == t->n_seen) {
        resp_ok(call->out);
    } else {
        ask_versions(call);
    }
}

static void versions_answered(struct call *call, const uint8_t *outcome, size_t len)
{
    if (tx_take_versions(call->tx, outcome, len)) {
        resp_ok(call->out);
        return;
    }
    watch_failed(call->tx);
    reply_outcome(call->out, call->proto, outcome, len); /* A refusal of an older node. */
}

/* ---- EXEC ---- */

static bool encode_data(struct tx *t, struct tx_command *c, const struct encoding *e, bool *ret_writes)
{
    long at = command_add(&t->encoded, e->op, e->flags, e->nums, e->n_nums, e->args, e->n_args);
    if (at < 0)
        return false;
    c->kind = TX_DATA;
    c->at = (size_t)at;
    c->len = t->encoded.len - (size_t)at;
    t->n_data++;
    *ret_writes |= command_is_write((uint8_t)e->op) != 0;
    return true;
}

/* Turn what was queued into the log's language. False: out of memory. */
static bool encode_all(struct call *call, bool *ret_writes)
{
    for (struct tx_command *c = call->tx->first; c != NULL; c = c->next) {
        struct encoding e = {.who = call->facts->address, .proto = call->facts->proto};
        const struct command_row *row;
        switch (commands_prepare(server_config(call->server), c->args, c->n, &e, &row)) {
        case PREPARED_LOCAL:
            c->kind = TX_LOCAL;
            break;
        case PREPARED_DATA:
            if (!encode_data(call->tx, c, &e, ret_writes))
                return false;
            break;
        case PREPARED_REFUSED:
            c->kind = TX_REFUSED;
            c->error = strdup(e.error);
            if (c->error == NULL)
                return false;
            break;
        }
    }
    return true;
}

static void run_part(struct call *call, const struct tx_command *c)
{
    struct call part = *call;
    part.row = c->row;
    part.args = c->args;
    part.n = c->n;
    part.proto = call->facts->proto; /* HELLO may just have changed it. */
    part.in_exec = true;
    c->row->run(&part);
}

/* The replies of all commands in their order; outcomes are those of the TX_DATA ones. */
static void reply_parts(struct call *call, const uint8_t *outcomes, size_t len)
{
    resp_array(call->out, call->tx->n_commands);
    for (const struct tx_command *c = call->tx->first; c != NULL; c = c->next) {
        if (c->kind == TX_LOCAL) {
            run_part(call, c);
        } else if (c->kind == TX_REFUSED) {
            resp_error(call->out, c->error);
        } else {
            size_t span = outcome_span(outcomes, len);
            reply_outcome(call->out, call->facts->proto, outcomes, span);
            outcomes += span;
            len -= span;
        }
    }
}

static void exec_answered(struct call *call, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    size_t head = outcome_next(outcome, len, &o);
    if (head > 0 && o.tag == OUTCOME_ARRAY && (size_t)o.n == call->tx->n_data)
        reply_parts(call, outcome + head, len - head);
    else if (head > 0 && o.tag == OUTCOME_ARRAY)
        resp_error(call->out, REPLY_UNREADABLE_OUTCOME);
    else
        reply_outcome(call->out, call->proto, outcome, len); /* The null array, or a refusal. */
}

static void ask_exec(struct call *call, bool writes)
{
    struct tx *t = call->tx;
    size_t n_args = 0;
    struct bytes *args = tx_exec_args(t, &n_args);
    struct encoding e = {.op = writes ? OP_EXEC : OP_EXEC_READ,
                         .n_nums = 1,
                         .nums = {(int64_t)t->n_data},
                         .args = args,
                         .n_args = (uint32_t)n_args};
    bool may_be_stale = t->n_watches == 0;
    t->step = TX_EXECUTING;
    int err = args == NULL ? REQUESTS_ENOMEM : conn_ask(call->conn, &e, may_be_stale);
    free(args);
    if (err == 0)
        return; /* The transaction may be answered, and so empty, by now. */
    reply_refused(call->out, err);
    tx_reset(t);
}

void run_exec(struct call *call)
{
    struct tx *t = call->tx;
    bool writes = false;
    if (!t->queueing) {
        resp_error(call->out, REPLY_EXEC_WITHOUT_MULTI);
        return;
    }
    if (t->spoiled || t->watch_failed) {
        resp_error(call->out, REPLY_EXECABORT);
        tx_reset(t);
        return;
    }
    if (!encode_all(call, &writes)) {
        resp_error(call->out, REPLY_NO_MEMORY);
        tx_reset(t);
    } else if (t->n_data == 0 && t->n_watches == 0) {
        reply_parts(call, NULL, 0);
        tx_reset(t);
    } else {
        ask_exec(call, writes);
    }
}

/* ---- Answers ---- */

static void end_step(struct tx *t)
{
    bool executed = t->step == TX_EXECUTING;
    t->step = TX_IDLE;
    if (executed)
        tx_reset(t);
}

void tx_answered(struct call *call, const uint8_t *outcome, size_t len)
{
    assert(call->tx->step != TX_IDLE);
    if (call->tx->step == TX_WATCHING)
        versions_answered(call, outcome, len);
    else
        exec_answered(call, outcome, len);
    end_step(call->tx);
}

void tx_failed(struct call *call, enum request_failure why)
{
    assert(call->tx->step != TX_IDLE);
    if (call->tx->step == TX_WATCHING)
        watch_failed(call->tx);
    reply_failure(call->out, why);
    end_step(call->tx);
}
