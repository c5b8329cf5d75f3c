/* work_bank.c - accounts between which money is moved, by transactions under WATCH and by scripts. None is made and
 * none is lost: all balances together are 0 whenever they are read in one request, on any node, and at the end. */
#include "tests/sim/clients.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include "tests/sim/words.h"
#include "node/tx.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNTS 4
#define TX_BYTES_MAX (1u << 20)

/* A transfer by WATCH has three steps: the versions, the balances, the transaction. */
enum { WATCH, BALANCES, TRANSFER, SCRIPT, READ, READ_TX, READ_SCRIPT };

static struct teller {
    struct tx tx;
    int step;
    int64_t balances[ACCOUNTS];
    unsigned from, to;
} tellers[CLIENTS];
static uint64_t transfers, conflicts, scripts, reads;

static const char *const names[ACCOUNTS] = {"b0", "b1", "b2", "b3"};
static const char move[] = "local d = tonumber(ARGV[1]);"
                           "redis.call('SET', KEYS[1], (tonumber(redis.call('GET', KEYS[1])) or 0) - d);"
                           "redis.call('SET', KEYS[2], (tonumber(redis.call('GET', KEYS[2])) or 0) + d);"
                           "return 1";
static const char look[] = "local all = {};"
                           "for i, k in ipairs(KEYS) do all[i] = redis.call('GET', k) end;"
                           "return all";

static void begin(void)
{
    for (int k = 0; k < CLIENTS; k++) {
        tx_reset(&tellers[k].tx);
        tellers[k] = (struct teller){.step = WATCH};
    }
    transfers = conflicts = scripts = reads = 0;
}

static void choose_accounts(struct teller *t)
{
    t->from = (unsigned)below(CHANCE_CLIENTS, ACCOUNTS);
    t->to = (t->from + 1 + (unsigned)below(CHANCE_CLIENTS, ACCOUNTS - 1)) % ACCOUNTS;
}

static void choose(struct op *op)
{
    static const int others[] = {SCRIPT, READ, READ_TX, READ_SCRIPT};
    struct teller *t = &tellers[op->client];
    bool begins = t->step == WATCH;
    op->kind = begins && percent(CHANCE_CLIENTS, 45) ? others[below(CHANCE_CLIENTS, 4)] : t->step;
    op->is_write = op->kind == TRANSFER || op->kind == SCRIPT;
    op->value = between(CHANCE_CLIENTS, 1, 9);
    if (begins)
        choose_accounts(t);
}

static long encode_watch(struct teller *t, struct command_buf *buf)
{
    const unsigned both[] = {t->from, t->to};
    tx_reset(&t->tx);
    for (int i = 0; i < 2; i++) {
        const struct resp_arg key = {names[both[i]], strlen(names[both[i]])};
        if (tx_watch(&t->tx, &key, TX_BYTES_MAX) != 0)
            abort();
    }
    struct bytes *keys = must(tx_unseen_keys(&t->tx));
    long at = command_add(buf, OP_VERSIONS, 0, NULL, 0, keys, 2);
    free(keys);
    return at;
}

/* One command into the transaction, as EXEC encodes it. */
static void queue(struct tx *t, size_t n, const char *const *words)
{
    struct encoding e;
    const struct command_row *row;
    const struct resp_arg name = {words[0], strlen(words[0])};
    words_prepare(&e, &row, n, words);
    t->queueing = true; /* As after MULTI. */
    if (tx_queue(t, row, &name, 1, TX_BYTES_MAX) != 0)
        abort();
    long at = command_add(&t->encoded, e.op, e.flags, e.nums, e.n_nums, e.args, e.n_args);
    t->last->kind = TX_DATA;
    t->last->at = (size_t)at;
    t->last->len = t->encoded.len - (size_t)at;
    t->n_data++;
}

static long encode_exec(struct tx *t, enum command_op op, struct command_buf *buf)
{
    size_t n;
    struct bytes *args = must(tx_exec_args(t, &n));
    const int64_t n_data = (int64_t)t->n_data;
    long at = command_add(buf, op, 0, &n_data, 1, args, (uint32_t)n);
    free(args);
    return at;
}

static long encode_transfer(struct teller *t, int64_t amount, struct command_buf *buf)
{
    char from[24], to[24];
    snprintf(from, sizeof from, "%" PRId64, t->balances[t->from] - amount);
    snprintf(to, sizeof to, "%" PRId64, t->balances[t->to] + amount);
    queue(&t->tx, WORDS("SET", names[t->from], from));
    queue(&t->tx, WORDS("SET", names[t->to], to));
    return encode_exec(&t->tx, OP_EXEC, buf);
}

static long encode_read_tx(struct command_buf *buf)
{
    struct tx t = {0};
    for (int i = 0; i < ACCOUNTS; i++)
        queue(&t, WORDS("GET", names[i]));
    long at = encode_exec(&t, OP_EXEC_READ, buf);
    tx_reset(&t);
    return at;
}

static long encode(const struct op *op, struct command_buf *buf)
{
    struct teller *t = &tellers[op->client];
    switch (op->kind) {
    case WATCH:
        return encode_watch(t, buf);
    case TRANSFER:
        return encode_transfer(t, (int64_t)op->value, buf);
    case SCRIPT:
        return words_encode(buf, WORDS("EVAL", move, "2", names[t->from], names[t->to], digits(op->value)));
    case READ_TX:
        return encode_read_tx(buf);
    case READ_SCRIPT:
        return words_encode(buf, WORDS("EVAL_RO", look, "4", names[0], names[1], names[2], names[3]));
    default:
        return words_encode(buf, WORDS("MGET", names[0], names[1], names[2], names[3]));
    }
}

static int64_t balance_in(const struct outcome *o)
{
    char text[24] = "";
    if (o->tag == OUTCOME_BULK)
        memcpy(text, o->bytes, o->len < sizeof text - 1 ? o->len : sizeof text - 1);
    else if (o->tag != OUTCOME_NIL && o->tag != OUTCOME_BOOL)
        fail("a balance is a '%c'", (int)o->tag);
    return strtoll(text, NULL, 10);
}

static void take_balances(struct op *op, const uint8_t *outcome, size_t len)
{
    struct teller *t = &tellers[op->client];
    struct outcome o;
    int64_t sum = 0;
    size_t at = outcome_next(outcome, len, &o);
    if (o.tag != OUTCOME_ARRAY || o.n > ACCOUNTS || (o.n < ACCOUNTS && op->kind != READ_SCRIPT))
        fail("the balances are a '%c' of %lld", (int)o.tag, (long long)o.n);
    for (int64_t i = 0, n = o.n; i < n; i++) {
        at += outcome_next(outcome + at, len - at, &o);
        t->balances[i] = balance_in(&o);
        sum += t->balances[i];
    }
    if (sum != 0)
        fail("there is %" PRId64 " too much in the bank: %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, sum,
             t->balances[0], t->balances[1], t->balances[2], t->balances[3]);
    reads++;
}

static void take_transfer(const uint8_t *outcome, size_t len)
{
    struct outcome o;
    size_t at = outcome_next(outcome, len, &o);
    conflicts += o.tag == OUTCOME_NIL_ARRAY;
    transfers += o.tag == OUTCOME_ARRAY;
    if (o.tag != OUTCOME_ARRAY && o.tag != OUTCOME_NIL_ARRAY)
        fail("a transfer was answered with '%c'", (int)o.tag);
    for (int64_t i = 0, n = o.tag == OUTCOME_ARRAY ? o.n : 0; i < n; i++) {
        at += outcome_next(outcome + at, len - at, &o);
        if (o.tag != OUTCOME_OK)
            fail("half a transfer was answered with '%c'", (int)o.tag);
    }
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct teller *t = &tellers[op->client];
    struct outcome o;
    outcome_next(outcome, len, &o);
    switch (op->kind) {
    case WATCH:
        if (!tx_take_versions(&t->tx, outcome, len))
            fail("versions were answered with '%c'", (int)o.tag);
        t->step = BALANCES;
        break;
    case TRANSFER:
        take_transfer(outcome, len);
        t->step = WATCH;
        break;
    case SCRIPT:
        if (o.tag != OUTCOME_INT || o.n != 1)
            fail("a script was answered with '%c' %.*s", (int)o.tag, (int)o.len, o.bytes);
        scripts++;
        break;
    default:
        take_balances(op, outcome, len);
        t->step = op->kind == BALANCES ? TRANSFER : t->step;
    }
}

static void ended(struct op *op, enum op_end how)
{
    (void)how;
    tellers[op->client].step = WATCH;
}

static void finish(void)
{
    for (int i = 0; i < n_nodes; i++) {
        int64_t sum = 0;
        for (int k = 0; k < ACCOUNTS; k++) {
            struct outcome o = state_answer(i, OP_GET, names[k]);
            sum += balance_in(&o);
        }
        if (sum != 0)
            fail("at the end n%d has %" PRId64 " too much in its bank", i + 1, sum);
    }
}

static void describe(char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu transfers, %llu conflicts, %llu scripts, %llu reads", (unsigned long long)transfers,
             (unsigned long long)conflicts, (unsigned long long)scripts, (unsigned long long)reads);
}

const struct workload work_bank = {"bank", 1, begin, choose, encode, answered, ended, finish, describe};
