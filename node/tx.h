/* tx.h - one connection's transaction: what MULTI has queued, what WATCH has seen, what is asked of the cluster.
 *
 *     WATCH --> TX_WATCHING --> TX_IDLE ...  MULTI (queueing) ... EXEC --> TX_EXECUTING --> TX_IDLE, empty
 *
 * Knows commands and outcomes, but not how a connection gets them to the cluster. Loop thread. */
#pragma once
#include "node/resp/resp.h"
#include "store/command.h"
#include <stdbool.h>

struct command_row;

enum tx_err {
    TX_ENOMEM = -1,
    TX_ECOMMANDS = -2, /* More than EXEC_COMMANDS_MAX commands, or so many watched keys. */
    TX_EBYTES = -3,    /* More bytes than a request may have. */
};

enum tx_step { TX_IDLE, TX_WATCHING, TX_EXECUTING };

/* What EXEC makes of a queued command. */
enum tx_kind {
    TX_DATA,    /* Run by the state; its outcome is a part of the answer. */
    TX_LOCAL,   /* Run by this node when the answer has come. */
    TX_REFUSED, /* `error` is its part of the reply. */
};

struct tx_command {
    struct tx_command *next;
    const struct command_row *row;
    enum tx_kind kind;
    size_t at, len; /* TX_DATA: where it is in `encoded`. */
    char *error;
    size_t n;
    struct resp_arg args[]; /* Their bytes stand behind them. */
};

struct tx_watch {
    uint8_t *key; /* malloc'ed. */
    size_t len;
    uint8_t version[EXEC_VERSION_BYTES]; /* As the log has it: little-endian. */
};

/* Zero-initialise; empty it with tx_reset(). */
struct tx {
    enum tx_step step;
    bool queueing;     /* Between MULTI and EXEC. */
    bool spoiled;      /* Something was refused since MULTI: EXEC will be. */
    bool watch_failed; /* A WATCH could not be answered: whatever EXEC follows it, unguarded, will be refused. */
    bool may_write;    /* Some queued command may. */
    struct tx_command *first, *last;
    size_t n_commands, n_data;
    struct tx_watch *watches;
    size_t n_watches, n_seen, watches_cap; /* Those behind n_seen wait for their versions. */
    size_t bytes;
    struct command_buf encoded;
};

/* Forget all of it, as EXEC, DISCARD, RESET and the end of the connection do. The step must be over. */
void tx_reset(struct tx *t);
/* UNWATCH. */
void tx_unwatch(struct tx *t);
/* Copy a command to the end of the queue. Errors: enum tx_err; nothing was queued. */
int tx_queue(struct tx *t, const struct command_row *row, const struct resp_arg *args, size_t n, size_t bytes_max);
/* Watch one more key, unless it is watched. Errors: enum tx_err. */
int tx_watch(struct tx *t, const struct resp_arg *key, size_t bytes_max);
/* Forget the keys whose versions have not come. */
void tx_drop_unseen(struct tx *t);
/* Take in the answer to OP_VERSIONS of the unseen keys. False: it is not one. */
bool tx_take_versions(struct tx *t, const uint8_t *outcome, size_t len);
/* The args of OP_VERSIONS, or of OP_EXEC: commands, then pairs of key and version. They point into the transaction;
 * the array is the caller's to free. NULL: out of memory. */
struct bytes *tx_unseen_keys(const struct tx *t);
struct bytes *tx_exec_args(const struct tx *t, size_t *ret_n);
