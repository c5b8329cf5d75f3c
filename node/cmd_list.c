/* cmd_list.c - lists and hashes: arguments in, the log's language out. The order of the checks is Redis's. */
#include "node/commands.h"
#include "node/reply.h"
#include "store/list.h"
#include "store/number.h"
#include <math.h>
#include <sys/random.h>

/* The request's own arguments, from the first-th on, are the command's. */
static int put_args(struct encoding *e, enum command_op op, size_t first, size_t n)
{
    e->op = op;
    e->args = (const struct bytes *)(const void *)(e->argv + first);
    e->n_args = (uint32_t)n;
    return 0;
}

static struct bytes bytes_of(const struct resp_arg *arg)
{
    return (struct bytes){.base = (const uint8_t *)arg->base, .len = arg->len};
}

static void put_few(struct encoding *e, const struct resp_arg *arg)
{
    e->few[e->n_args++] = bytes_of(arg);
    e->args = e->few;
}

static void put_num(struct encoding *e, int64_t n)
{
    e->nums[e->n_nums++] = n;
}

static int put_int(struct encoding *e, size_t i)
{
    int64_t n;
    if (!arg_int(&e->argv[i], &n))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    put_num(e, n);
    return 0;
}

/* LEFT or RIGHT. */
static int put_where(struct encoding *e, size_t i)
{
    if (!arg_is(&e->argv[i], "left") && !arg_is(&e->argv[i], "right"))
        return encode_refuse(e, REPLY_SYNTAX);
    put_num(e, arg_is(&e->argv[i], "left") ? LIST_HEAD : LIST_TAIL);
    return 0;
}

/* ---- Lists ---- */

static int push(struct encoding *e, enum list_where where, uint16_t flags)
{
    e->flags = flags;
    put_num(e, where);
    return put_args(e, OP_PUSH, 1, e->argc - 1);
}

int encode_lpush(struct encoding *e)
{
    return push(e, LIST_HEAD, 0);
}

int encode_rpush(struct encoding *e)
{
    return push(e, LIST_TAIL, 0);
}

int encode_lpushx(struct encoding *e)
{
    return push(e, LIST_HEAD, CMD_XX);
}

int encode_rpushx(struct encoding *e)
{
    return push(e, LIST_TAIL, CMD_XX);
}

static int pop(struct encoding *e, enum list_where where)
{
    int64_t count = -1;
    if (e->argc > 3)
        return encode_refuse(e, REPLY_ARITY, e->row->name);
    if (e->argc == 3 && (!arg_int(&e->argv[2], &count) || count < 0))
        return encode_refuse(e, REPLY_NOT_IN_RANGE);
    put_num(e, where);
    put_num(e, count);
    return put_args(e, OP_POP, 1, 1);
}

int encode_lpop(struct encoding *e)
{
    return pop(e, LIST_HEAD);
}

int encode_rpop(struct encoding *e)
{
    return pop(e, LIST_TAIL);
}

int encode_llen(struct encoding *e)
{
    return put_args(e, OP_LLEN, 1, 1);
}

static int range(struct encoding *e, enum command_op op)
{
    if (put_int(e, 2) != 0 || put_int(e, 3) != 0)
        return -1;
    return put_args(e, op, 1, 1);
}

int encode_lrange(struct encoding *e)
{
    return range(e, OP_LRANGE);
}

int encode_ltrim(struct encoding *e)
{
    return range(e, OP_LTRIM);
}

int encode_lindex(struct encoding *e)
{
    return put_int(e, 2) != 0 ? -1 : put_args(e, OP_LINDEX, 1, 1);
}

/* A number stands between the key and the element. */
static int key_number_element(struct encoding *e, enum command_op op)
{
    if (put_int(e, 2) != 0)
        return -1;
    put_few(e, &e->argv[1]);
    put_few(e, &e->argv[3]);
    e->op = op;
    return 0;
}

int encode_lset(struct encoding *e)
{
    return key_number_element(e, OP_LSET);
}

int encode_lrem(struct encoding *e)
{
    return key_number_element(e, OP_LREM);
}

int encode_linsert(struct encoding *e)
{
    bool before = arg_is(&e->argv[2], "before");
    if (!before && !arg_is(&e->argv[2], "after"))
        return encode_refuse(e, REPLY_SYNTAX);
    put_num(e, before ? 0 : 1);
    put_few(e, &e->argv[1]);
    put_few(e, &e->argv[3]);
    put_few(e, &e->argv[4]);
    e->op = OP_LINSERT;
    return 0;
}

/* An option's number that may not be negative. */
static int not_negative(struct encoding *e, size_t i, const char *words, int64_t *ret)
{
    if (!arg_int(&e->argv[i], ret) || *ret < 0)
        return encode_refuse(e, "%s", words);
    return 0;
}

static int lpos_rank(struct encoding *e, size_t i, int64_t *ret)
{
    if (!arg_int(&e->argv[i], ret))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (*ret == INT64_MIN)
        return encode_refuse(e, REPLY_LONG_RANGE);
    return *ret != 0 ? 0 : encode_refuse(e, REPLY_LPOS_RANK);
}

/* LPOS key element [RANK rank] [COUNT n] [MAXLEN n] */
int encode_lpos(struct encoding *e)
{
    int64_t rank = 1, count = -1, most = 0;
    int rc = 0;
    for (size_t i = 3; rc == 0 && i < e->argc; i += 2) {
        bool there = i + 1 < e->argc;
        if (there && arg_is(&e->argv[i], "rank"))
            rc = lpos_rank(e, i + 1, &rank);
        else if (there && arg_is(&e->argv[i], "count"))
            rc = not_negative(e, i + 1, REPLY_LPOS_COUNT, &count);
        else if (there && arg_is(&e->argv[i], "maxlen"))
            rc = not_negative(e, i + 1, REPLY_LPOS_MAXLEN, &most);
        else
            rc = encode_refuse(e, REPLY_SYNTAX);
    }
    put_num(e, rank);
    put_num(e, count);
    put_num(e, most);
    return rc != 0 ? rc : put_args(e, OP_LPOS, 1, 2);
}

int encode_lmove(struct encoding *e)
{
    if (put_where(e, 3) != 0 || put_where(e, 4) != 0)
        return -1;
    return put_args(e, OP_LMOVE, 1, 2);
}

int encode_rpoplpush(struct encoding *e)
{
    put_num(e, LIST_TAIL);
    put_num(e, LIST_HEAD);
    return put_args(e, OP_LMOVE, 1, 2);
}

/* numkeys key... LEFT|RIGHT [COUNT n], from argument i on. Puts where, and tells the count. */
static int mpop(struct encoding *e, size_t i, int64_t *ret_keys, int64_t *ret_count)
{
    if (!arg_int(&e->argv[i], ret_keys) || *ret_keys <= 0)
        return encode_refuse(e, REPLY_NUMKEYS);
    if (*ret_keys >= (int64_t)(e->argc - i - 1))
        return encode_refuse(e, REPLY_SYNTAX);
    size_t at = i + 1 + (size_t)*ret_keys;
    if (put_where(e, at) != 0)
        return -1;
    *ret_count = 1;
    if (e->argc == at + 1)
        return 0;
    if (e->argc != at + 3 || !arg_is(&e->argv[at + 1], "count"))
        return encode_refuse(e, REPLY_SYNTAX);
    if (!arg_int(&e->argv[at + 2], ret_count) || *ret_count <= 0)
        return encode_refuse(e, REPLY_COUNT);
    return 0;
}

int encode_lmpop(struct encoding *e)
{
    int64_t keys, count;
    if (mpop(e, 1, &keys, &count) != 0)
        return -1;
    put_num(e, count);
    return put_args(e, OP_LMPOP, 2, (size_t)keys);
}

/* ---- Those that wait ---- */

/* Seconds, with a fraction; 0 for ever. In ms, rounded up. */
static int put_timeout(struct encoding *e, size_t i)
{
    long double seconds;
    const struct resp_arg *arg = &e->argv[i];
    if (!number_read_long_double(arg->base, arg->len, &seconds))
        return encode_refuse(e, REPLY_TIMEOUT_NOT_FLOAT);
    if (seconds < 0)
        return encode_refuse(e, REPLY_TIMEOUT_NEGATIVE);
    if (seconds > (long double)(INT64_MAX / 1000))
        return encode_refuse(e, REPLY_TIMEOUT_RANGE);
    put_num(e, (int64_t)ceill(seconds * 1000));
    e->blocks = true;
    return 0;
}

static int bpop(struct encoding *e, enum list_where where)
{
    put_num(e, where);
    if (put_timeout(e, e->argc - 1) != 0)
        return -1;
    put_num(e, -1);
    return put_args(e, OP_BPOP, 1, e->argc - 2);
}

int encode_blpop(struct encoding *e)
{
    return bpop(e, LIST_HEAD);
}

int encode_brpop(struct encoding *e)
{
    return bpop(e, LIST_TAIL);
}

int encode_blmove(struct encoding *e)
{
    if (put_where(e, 3) != 0 || put_where(e, 4) != 0 || put_timeout(e, 5) != 0)
        return -1;
    return put_args(e, OP_BMOVE, 1, 2);
}

int encode_brpoplpush(struct encoding *e)
{
    put_num(e, LIST_TAIL);
    put_num(e, LIST_HEAD);
    return put_timeout(e, 3) != 0 ? -1 : put_args(e, OP_BMOVE, 1, 2);
}

int encode_blmpop(struct encoding *e)
{
    int64_t keys, count, timeout_ms;
    if (put_timeout(e, 1) != 0)
        return -1;
    timeout_ms = e->nums[--e->n_nums]; /* It goes behind where. */
    if (mpop(e, 2, &keys, &count) != 0)
        return -1;
    put_num(e, timeout_ms);
    put_num(e, count);
    return put_args(e, OP_BPOP, 3, (size_t)keys);
}

/* ---- Hashes ---- */

static int hset(struct encoding *e, int64_t answers_ok)
{
    if (e->argc % 2 != 0)
        return encode_refuse(e, REPLY_ARITY, e->row->name);
    put_num(e, answers_ok);
    return put_args(e, OP_HSET, 1, e->argc - 1);
}

int encode_hset(struct encoding *e)
{
    return hset(e, 0);
}

int encode_hmset(struct encoding *e)
{
    return hset(e, 1);
}

int encode_hsetnx(struct encoding *e)
{
    e->flags = CMD_NX;
    return hset(e, 0);
}

int encode_hget(struct encoding *e)
{
    return put_args(e, OP_HGET, 1, 2);
}

int encode_hmget(struct encoding *e)
{
    return put_args(e, OP_HMGET, 1, e->argc - 1);
}

static int hgetall(struct encoding *e, int64_t what)
{
    put_num(e, what);
    return put_args(e, OP_HGETALL, 1, 1);
}

int encode_hgetall(struct encoding *e)
{
    return hgetall(e, 0);
}

int encode_hkeys(struct encoding *e)
{
    return hgetall(e, 1);
}

int encode_hvals(struct encoding *e)
{
    return hgetall(e, 2);
}

int encode_hdel(struct encoding *e)
{
    return put_args(e, OP_HDEL, 1, e->argc - 1);
}

int encode_hexists(struct encoding *e)
{
    return put_args(e, OP_HEXISTS, 1, 2);
}

int encode_hlen(struct encoding *e)
{
    return put_args(e, OP_HLEN, 1, 1);
}

int encode_hstrlen(struct encoding *e)
{
    return put_args(e, OP_HSTRLEN, 1, 2);
}

int encode_hincrby(struct encoding *e)
{
    return put_int(e, 3) != 0 ? -1 : put_args(e, OP_HINCRBY, 1, 2);
}

int encode_hincrbyfloat(struct encoding *e)
{
    return put_args(e, OP_HINCRBYFLOAT, 1, 3);
}

int encode_hscan(struct encoding *e)
{
    if (encode_scan_options(e, 2, &e->few[1], NULL) != 0)
        return -1;
    e->few[0] = bytes_of(&e->argv[1]);
    e->args = e->few;
    e->n_args = 2;
    e->op = OP_HSCAN;
    return 0;
}

static int64_t seed_of(const struct encoding *e)
{
    int64_t seed;
    if (e->wall_ms != 0)
        return (int64_t)e->chance;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        return wall_now_ms(); /* Only evenness suffers. */
    return seed;
}

/* HRANDFIELD key [count [WITHVALUES]] */
int encode_hrandfield(struct encoding *e)
{
    enum { ONE, FIELDS, WITH_VALUES, PAIRS };
    int64_t count = 1;
    if (e->argc > 2 && !arg_int(&e->argv[2], &count))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (count == INT64_MIN)
        return encode_refuse(e, REPLY_LONG_RANGE);
    if (e->argc > 4 || (e->argc == 4 && !arg_is(&e->argv[3], "withvalues")))
        return encode_refuse(e, REPLY_SYNTAX);
    if (e->argc == 4 && (count < -(INT64_MAX / 2) || count > INT64_MAX / 2))
        return encode_refuse(e, REPLY_VALUE_RANGE);
    put_num(e, e->argc == 2 ? ONE : e->argc == 3 ? FIELDS : e->proto == 3 ? PAIRS : WITH_VALUES);
    put_num(e, count);
    put_num(e, seed_of(e));
    return put_args(e, OP_HRANDFIELD, 1, 1);
}
