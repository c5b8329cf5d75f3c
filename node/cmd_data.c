/* cmd_data.c - data commands: syntax checked as Redis checks it, then put into the log's language.
 * The order of the checks is Redis's, since it decides which of two errors a client sees. What only the state can tell
 * (wrong type, not an integer, no such key) is left to the store. One thing differs: where Redis looks at the key
 * before it judges an argument (GETEX of a missing key with a bad time), the argument is judged first here.
 *
 * Time. The log knows only "left": milliseconds from now on the replicated clock. An absolute time is turned into what
 * is left of it by this node's wall clock, now; a relative one gets the wall clock time it amounts to, which is kept
 * only to be told back (EXPIRETIME). */
#include "node/commands.h"
#include "node/reply.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CURSOR_DIGITS_MAX 40
#define SCAN_COUNT_DEFAULT 10
#define TTL_SECONDS 0
#define TTL_MS 1
#define EXPIRETIME_SECONDS 2
#define EXPIRETIME_MS 3

/* The request's own arguments, from the first-th on, are the command's. */
static int encode_args(struct encoding *e, enum command_op op, size_t first, size_t n)
{
    e->op = op;
    e->args = (const struct bytes *)(const void *)(e->argv + first);
    e->n_args = (uint32_t)n;
    return 0;
}

static int encode_key(struct encoding *e, enum command_op op)
{
    return encode_args(e, op, 1, 1);
}

static int encode_none(struct encoding *e, enum command_op op)
{
    e->op = op;
    return 0;
}

static struct bytes bytes_of(const struct resp_arg *arg)
{
    return (struct bytes){.base = (const uint8_t *)arg->base, .len = arg->len};
}

static void put_num(struct encoding *e, int64_t n)
{
    e->nums[e->n_nums++] = n;
}

static bool next_arg_is_there(const struct encoding *e, size_t i)
{
    return i + 1 < e->argc;
}

/* ---- Times ---- */

enum time_unit { IN_SECONDS, IN_MS };
enum time_base { FROM_NOW, FROM_EPOCH };

/* SET, GETEX and their kin: a time must be positive. Puts left and wall. */
static int put_expiry(struct encoding *e, const struct resp_arg *arg, enum time_unit unit, enum time_base base)
{
    int64_t ms, now = encoding_wall_ms(e);
    if (!arg_int(arg, &ms))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (ms <= 0 || (unit == IN_SECONDS && __builtin_mul_overflow(ms, 1000, &ms)))
        return encode_refuse(e, REPLY_INVALID_EXPIRE, e->row->name);
    if (base == FROM_NOW && ms > INT64_MAX - now)
        return encode_refuse(e, REPLY_INVALID_EXPIRE, e->row->name);
    put_num(e, base == FROM_NOW ? ms : ms - now);
    put_num(e, base == FROM_NOW ? ms + now : ms);
    e->flags |= CMD_EXPIRE;
    return 0;
}

/* EX PX EXAT PXAT as options: false when the word is none of them. */
static bool is_expiry_option(const struct resp_arg *arg, enum time_unit *ret_unit, enum time_base *ret_base)
{
    static const struct {
        const char *word;
        enum time_unit unit;
        enum time_base base;
    } options[] = {
        {"ex", IN_SECONDS, FROM_NOW},
        {"px", IN_MS, FROM_NOW},
        {"exat", IN_SECONDS, FROM_EPOCH},
        {"pxat", IN_MS, FROM_EPOCH},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!arg_is(arg, options[i].word))
            continue;
        *ret_unit = options[i].unit;
        *ret_base = options[i].base;
        return true;
    }
    return false;
}

/* What the options of SET, GETEX and VSET say; the time is judged when all of them are read. */
struct options {
    const struct resp_arg *expiry; /* The option's argument, or NULL. */
    enum time_unit unit;
    enum time_base base;
    const struct resp_arg *ifeq, *type, *ifver;
};

static int put_options_expiry(struct encoding *e, const struct options *o)
{
    return o->expiry == NULL ? 0 : put_expiry(e, o->expiry, o->unit, o->base);
}

/* ---- SET and its kin ---- */

/* A flag-like option of SET. False when it is none, or excluded by one before it. */
static bool set_flag(struct encoding *e, const struct resp_arg *arg, const struct options *o)
{
    uint16_t flag;
    if (arg_is(arg, "nx") && (e->flags & (CMD_XX | CMD_IFEQ)) == 0)
        flag = CMD_NX;
    else if (arg_is(arg, "xx") && (e->flags & (CMD_NX | CMD_IFEQ)) == 0)
        flag = CMD_XX;
    else if (arg_is(arg, "get"))
        flag = CMD_GET;
    else if (arg_is(arg, "keepttl") && o->expiry == NULL)
        flag = CMD_KEEPTTL;
    else
        return false;
    e->flags |= flag;
    return true;
}

/* An option of SET with an argument, at i. False when it is none, or excluded. */
static bool set_option(struct encoding *e, size_t i, struct options *o)
{
    const struct resp_arg *arg = &e->argv[i];
    if (!next_arg_is_there(e, i))
        return false;
    if (is_expiry_option(arg, &o->unit, &o->base)) {
        if (o->expiry != NULL || (e->flags & CMD_KEEPTTL) != 0)
            return false;
        o->expiry = arg + 1;
        return true;
    }
    if (!arg_is(arg, "ifeq") || (e->flags & (CMD_NX | CMD_XX | CMD_IFEQ)) != 0)
        return false;
    e->flags |= CMD_IFEQ;
    o->ifeq = arg + 1;
    return true;
}

int encode_set(struct encoding *e)
{
    struct options o = {0};
    for (size_t i = 3; i < e->argc; i++) {
        if (set_flag(e, &e->argv[i], &o))
            continue;
        if (!set_option(e, i, &o))
            return encode_refuse(e, REPLY_SYNTAX);
        i++;
    }
    if (put_options_expiry(e, &o) != 0)
        return -1;
    if (o.ifeq == NULL)
        return encode_args(e, OP_SET, 1, 2);
    e->few[0] = bytes_of(&e->argv[1]);
    e->few[1] = bytes_of(&e->argv[2]);
    e->few[2] = bytes_of(o.ifeq);
    e->op = OP_SET;
    e->args = e->few;
    e->n_args = 3;
    return 0;
}

int encode_setnx(struct encoding *e)
{
    e->flags = CMD_NX;
    return encode_args(e, OP_MSET, 1, 2); /* Answers 1 or 0, as SETNX does. */
}

static int set_with_expiry(struct encoding *e, enum time_unit unit)
{
    if (put_expiry(e, &e->argv[2], unit, FROM_NOW) != 0)
        return -1;
    e->few[0] = bytes_of(&e->argv[1]);
    e->few[1] = bytes_of(&e->argv[3]);
    e->op = OP_SET;
    e->args = e->few;
    e->n_args = 2;
    return 0;
}

int encode_setex(struct encoding *e)
{
    return set_with_expiry(e, IN_SECONDS);
}

int encode_psetex(struct encoding *e)
{
    return set_with_expiry(e, IN_MS);
}

int encode_getset(struct encoding *e)
{
    e->flags = CMD_GET;
    return encode_args(e, OP_SET, 1, 2);
}

static int set_many(struct encoding *e)
{
    if (e->argc % 2 == 0)
        return encode_refuse(e, REPLY_ARITY, e->row->name);
    return encode_args(e, OP_MSET, 1, e->argc - 1);
}

int encode_mset(struct encoding *e)
{
    return set_many(e);
}

int encode_msetnx(struct encoding *e)
{
    e->flags = CMD_NX;
    return set_many(e);
}

/* ---- Reading and changing values ---- */

int encode_get(struct encoding *e)
{
    return encode_key(e, OP_GET);
}

int encode_mget(struct encoding *e)
{
    return encode_args(e, OP_MGET, 1, e->argc - 1);
}

int encode_strlen(struct encoding *e)
{
    return encode_key(e, OP_STRLEN);
}

int encode_getdel(struct encoding *e)
{
    return encode_key(e, OP_GETDEL);
}

int encode_getex(struct encoding *e)
{
    struct options o = {0};
    for (size_t i = 2; i < e->argc; i++) {
        bool taken = o.expiry != NULL || e->flags != 0;
        if (!taken && arg_is(&e->argv[i], "persist")) {
            e->flags = CMD_PERSIST;
        } else if (!taken && next_arg_is_there(e, i) && is_expiry_option(&e->argv[i], &o.unit, &o.base)) {
            o.expiry = &e->argv[++i];
        } else {
            return encode_refuse(e, REPLY_SYNTAX);
        }
    }
    if (e->argc == 2)
        return encode_key(e, OP_GET); /* Changes nothing: a read. */
    if (put_options_expiry(e, &o) != 0)
        return -1;
    return encode_key(e, OP_GETEX);
}

int encode_append(struct encoding *e)
{
    return encode_args(e, OP_APPEND, 1, 2);
}

int encode_getrange(struct encoding *e)
{
    int64_t start, end;
    if (!arg_int(&e->argv[2], &start) || !arg_int(&e->argv[3], &end))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    put_num(e, start);
    put_num(e, end);
    return encode_key(e, OP_GETRANGE);
}

int encode_setrange(struct encoding *e)
{
    int64_t offset;
    size_t len = e->argv[3].len;
    if (!arg_int(&e->argv[2], &offset))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (offset < 0)
        return encode_refuse(e, REPLY_OFFSET);
    if (len > 0 && (len > e->value_bytes_max || (uint64_t)offset > e->value_bytes_max - len))
        return encode_refuse(e, REPLY_STRING_TOO_LONG);
    put_num(e, offset);
    e->few[0] = bytes_of(&e->argv[1]);
    e->few[1] = bytes_of(&e->argv[3]);
    e->op = OP_SETRANGE;
    e->args = e->few;
    e->n_args = 2;
    return 0;
}

static int increment(struct encoding *e, int64_t delta)
{
    put_num(e, delta);
    return encode_key(e, OP_INCRBY);
}

int encode_incr(struct encoding *e)
{
    return increment(e, 1);
}

int encode_decr(struct encoding *e)
{
    return increment(e, -1);
}

int encode_incrby(struct encoding *e)
{
    int64_t delta;
    return arg_int(&e->argv[2], &delta) ? increment(e, delta) : encode_refuse(e, REPLY_NOT_INTEGER);
}

int encode_decrby(struct encoding *e)
{
    int64_t delta;
    if (!arg_int(&e->argv[2], &delta))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (delta == INT64_MIN)
        return encode_refuse(e, REPLY_DECR_OVERFLOW);
    return increment(e, -delta);
}

int encode_incrbyfloat(struct encoding *e)
{
    return encode_args(e, OP_INCRBYFLOAT, 1, 2); /* The store judges the number: it is the one that adds. */
}

int encode_lcs(struct encoding *e)
{
    bool len = false, idx = false;
    for (size_t i = 3; i < e->argc; i++) {
        if (arg_is(&e->argv[i], "len"))
            len = true;
        else if (arg_is(&e->argv[i], "idx"))
            idx = true;
        else if (arg_is(&e->argv[i], "minmatchlen") && next_arg_is_there(e, i))
            i++;
        else if (!arg_is(&e->argv[i], "withmatchlen"))
            return encode_refuse(e, REPLY_SYNTAX);
    }
    if (idx)
        return encode_refuse(e, len ? REPLY_LCS_BOTH : REPLY_LCS_IDX);
    put_num(e, len);
    return encode_args(e, OP_LCS, 1, 2);
}

int encode_delifeq(struct encoding *e)
{
    e->flags = CMD_IFEQ;
    return encode_args(e, OP_DELIF, 1, 2);
}

int encode_delex(struct encoding *e)
{
    if (e->argc == 2)
        return encode_key(e, OP_DEL);
    if (e->argc != 4)
        return encode_refuse(e, REPLY_ARITY, e->row->name);
    if (arg_is(&e->argv[2], "ifeq"))
        e->flags = CMD_IFEQ;
    else if (arg_is(&e->argv[2], "ifne"))
        e->flags = CMD_IFNE;
    else
        return encode_refuse(e, REPLY_SYNTAX);
    e->few[0] = bytes_of(&e->argv[1]);
    e->few[1] = bytes_of(&e->argv[3]);
    e->op = OP_DELIF;
    e->args = e->few;
    e->n_args = 2;
    return 0;
}

/* ---- Values with a type and a version ---- */

static int refuse_type(struct encoding *e, const struct resp_arg *arg)
{
    char name[33];
    size_t len = arg->len < sizeof name - 1 ? arg->len : sizeof name - 1;
    memcpy(name, arg->base, len);
    name[len] = '\0';
    return encode_refuse(e, REPLY_TYPE_NAME, name);
}

int encode_vget(struct encoding *e)
{
    return encode_key(e, OP_VGET);
}

int encode_vmget(struct encoding *e)
{
    return encode_args(e, OP_VMGET, 1, e->argc - 1);
}

/* TYPE and IFVER of VSET, at i. */
static bool vset_option(struct encoding *e, size_t i, struct options *o)
{
    const struct resp_arg *arg = &e->argv[i];
    if (!next_arg_is_there(e, i))
        return false;
    if (arg_is(arg, "type") && o->type == NULL) {
        o->type = arg + 1;
        return true;
    }
    if (!arg_is(arg, "ifver") || (e->flags & (CMD_NX | CMD_XX | CMD_IFEQ | CMD_IFVER)) != 0)
        return false;
    e->flags |= CMD_IFVER;
    o->ifver = arg + 1;
    return true;
}

static int vset_read_options(struct encoding *e, struct options *o)
{
    for (size_t i = 3; i < e->argc; i++) {
        if (set_flag(e, &e->argv[i], o))
            continue;
        if (!set_option(e, i, o) && !vset_option(e, i, o))
            return encode_refuse(e, REPLY_SYNTAX);
        i++;
    }
    bool other_condition = (e->flags & (CMD_NX | CMD_XX | CMD_IFEQ)) != 0;
    if (o->ifver != NULL && other_condition)
        return encode_refuse(e, REPLY_SYNTAX);
    return 0;
}

int encode_vset(struct encoding *e)
{
    struct options o = {0};
    int64_t version = 0;
    if (vset_read_options(e, &o) != 0)
        return -1;
    int type = o.type == NULL ? VALUE_RAW : value_type_from_name(o.type->base, o.type->len);
    if (type < 0 || type == VALUE_NIL)
        return refuse_type(e, o.type);
    if (o.ifver != NULL && (!arg_int(o.ifver, &version) || version < 0))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    put_num(e, type);
    if (put_options_expiry(e, &o) != 0)
        return -1;
    while (e->n_nums < 3)
        put_num(e, 0);
    put_num(e, version);
    e->few[0] = bytes_of(&e->argv[1]);
    e->few[1] = bytes_of(&e->argv[2]);
    if (o.ifeq != NULL)
        e->few[2] = bytes_of(o.ifeq);
    e->op = OP_VSET;
    e->args = e->few;
    e->n_args = o.ifeq != NULL ? 3 : 2;
    return 0;
}

int encode_cas(struct encoding *e)
{
    struct options o = {0};
    int told = VALUE_RAW, tnew = VALUE_RAW;
    for (size_t i = 4; i < e->argc; i++) {
        if (arg_is(&e->argv[i], "types") && i + 2 < e->argc && o.type == NULL) {
            o.type = &e->argv[i + 1];
            i += 2;
        } else if (o.expiry == NULL && next_arg_is_there(e, i) && is_expiry_option(&e->argv[i], &o.unit, &o.base)) {
            o.expiry = &e->argv[++i];
        } else {
            return encode_refuse(e, REPLY_SYNTAX);
        }
    }
    if (o.type != NULL && (told = value_type_from_name(o.type[0].base, o.type[0].len)) < 0)
        return refuse_type(e, &o.type[0]);
    if (o.type != NULL && (tnew = value_type_from_name(o.type[1].base, o.type[1].len)) < 0)
        return refuse_type(e, &o.type[1]);
    put_num(e, told);
    put_num(e, tnew);
    if (put_options_expiry(e, &o) != 0)
        return -1;
    return encode_args(e, OP_CAS, 1, 3);
}

/* VINCR key delta [TYPE] int|float: without a type, an integer where the text is one. */
int encode_vincr(struct encoding *e)
{
    int64_t ignored;
    int type = arg_int(&e->argv[2], &ignored) ? VALUE_INT : VALUE_FLOAT;
    size_t at = e->argc == 5 && arg_is(&e->argv[3], "type") ? 4 : 3;
    if (e->argc > at + 1)
        return encode_refuse(e, REPLY_SYNTAX);
    if (e->argc == at + 1)
        type = value_type_from_name(e->argv[at].base, e->argv[at].len);
    if (type != VALUE_INT && type != VALUE_FLOAT)
        return refuse_type(e, &e->argv[at]);
    put_num(e, type);
    return encode_args(e, OP_VINCR, 1, 2);
}

int encode_vappend(struct encoding *e)
{
    if (e->argc > 4)
        return encode_refuse(e, REPLY_SYNTAX);
    if (e->argc == 4)
        return encode_args(e, OP_VAPPEND, 1, 3);
    e->few[0] = bytes_of(&e->argv[1]);
    e->few[1] = bytes_of(&e->argv[2]);
    e->few[2] = (struct bytes){.base = (const uint8_t *)"", .len = 0};
    e->op = OP_VAPPEND;
    e->args = e->few;
    e->n_args = 3;
    return 0;
}

/* ---- Keys ---- */

int encode_del(struct encoding *e)
{
    return encode_args(e, OP_DEL, 1, e->argc - 1);
}

int encode_exists(struct encoding *e)
{
    return encode_args(e, OP_EXISTS, 1, e->argc - 1);
}

int encode_type(struct encoding *e)
{
    return encode_key(e, OP_TYPE);
}

int encode_rename(struct encoding *e)
{
    return encode_args(e, OP_RENAME, 1, 2);
}

int encode_renamenx(struct encoding *e)
{
    e->flags = CMD_NX;
    return encode_args(e, OP_RENAME, 1, 2);
}

int encode_copy(struct encoding *e)
{
    for (size_t i = 3; i < e->argc; i++) {
        int64_t db;
        if (arg_is(&e->argv[i], "replace")) {
            e->flags = CMD_XX;
        } else if (arg_is(&e->argv[i], "db") && next_arg_is_there(e, i)) {
            if (!arg_int(&e->argv[++i], &db))
                return encode_refuse(e, REPLY_NOT_INTEGER);
            if (db != 0)
                return encode_refuse(e, REPLY_DB_INDEX);
        } else {
            return encode_refuse(e, REPLY_SYNTAX);
        }
    }
    const struct resp_arg *from = &e->argv[1], *to = &e->argv[2];
    if (from->len == to->len && memcmp(from->base, to->base, to->len) == 0)
        return encode_refuse(e, REPLY_SAME_OBJECT);
    return encode_args(e, OP_COPY, 1, 2);
}

int encode_keys(struct encoding *e)
{
    return encode_key(e, OP_KEYS);
}

/* Redis reads cursors with strtoul(): a sign is tolerated, a leading blank is not. */
static bool cursor_read(const struct resp_arg *arg, uint64_t *ret)
{
    char text[CURSOR_DIGITS_MAX + 1], *end;
    if (arg->len == 0 || arg->len > CURSOR_DIGITS_MAX || (unsigned char)arg->base[0] <= ' ')
        return false;
    memcpy(text, arg->base, arg->len);
    text[arg->len] = '\0';
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && end == text + arg->len;
}

/* MATCH, COUNT and, unless ret_type is NULL, TYPE, from argument i on. */
static int scan_options(struct encoding *e, size_t i, struct bytes *ret_glob, int64_t *ret_count, int64_t *ret_type)
{
    for (; i < e->argc; i += 2) {
        if (!next_arg_is_there(e, i))
            return encode_refuse(e, REPLY_SYNTAX);
        const struct resp_arg *option = &e->argv[i], *value = option + 1;
        if (arg_is(option, "count")) {
            if (!arg_int(value, ret_count))
                return encode_refuse(e, REPLY_NOT_INTEGER);
            if (*ret_count < 1)
                return encode_refuse(e, REPLY_SYNTAX);
        } else if (arg_is(option, "match")) {
            *ret_glob = bytes_of(value);
        } else if (ret_type != NULL && arg_is(option, "type")) {
            *ret_type = value_kind_from_name(value->base, value->len);
        } else {
            return encode_refuse(e, REPLY_SYNTAX);
        }
    }
    return 0;
}

int encode_scan_options(struct encoding *e, size_t i, struct bytes *ret_glob, int64_t *ret_type)
{
    uint64_t cursor;
    int64_t n = SCAN_COUNT_DEFAULT;
    *ret_glob = (struct bytes){.base = (const uint8_t *)"", .len = 0};
    if (!cursor_read(&e->argv[i], &cursor))
        return encode_refuse(e, REPLY_INVALID_CURSOR);
    if (scan_options(e, i + 1, ret_glob, &n, ret_type) != 0)
        return -1;
    put_num(e, (int64_t)cursor);
    put_num(e, n);
    return 0;
}

int encode_scan(struct encoding *e)
{
    int64_t type = -1;
    if (encode_scan_options(e, 1, &e->few[0], &type) != 0)
        return -1;
    put_num(e, type);
    e->op = OP_SCAN;
    e->args = e->few;
    e->n_args = 1;
    return 0;
}

int encode_randomkey(struct encoding *e)
{
    int64_t seed = 0;
    if (e->wall_ms != 0)
        seed = (int64_t)e->chance;
    else if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = wall_now_ms(); /* Only evenness suffers. */
    put_num(e, seed);
    return encode_none(e, OP_RANDOMKEY);
}

int encode_dbsize(struct encoding *e)
{
    return encode_none(e, OP_DBSIZE);
}

int encode_flush(struct encoding *e)
{
    bool known = e->argc == 2 && (arg_is(&e->argv[1], "async") || arg_is(&e->argv[1], "sync"));
    if (e->argc > 1 && !known)
        return encode_refuse(e, REPLY_SYNTAX);
    return encode_none(e, OP_FLUSHALL);
}

/* Every option that Redis has is read, though nothing is sorted. */
int encode_sort(struct encoding *e)
{
    for (size_t i = 2; i < e->argc; i++) {
        const struct resp_arg *arg = &e->argv[i];
        int64_t ignored;
        if (arg_is(arg, "asc") || arg_is(arg, "desc") || arg_is(arg, "alpha"))
            continue;
        if (arg_is(arg, "limit") && i + 2 < e->argc) {
            if (!arg_int(&e->argv[i + 1], &ignored) || !arg_int(&e->argv[i + 2], &ignored))
                return encode_refuse(e, REPLY_NOT_INTEGER);
            i += 2;
        } else if ((arg_is(arg, "by") || arg_is(arg, "get")) && next_arg_is_there(e, i)) {
            i++;
        } else if (arg_is(arg, "store") && next_arg_is_there(e, i) && (e->row->flags & ROW_WRITE) != 0) {
            return encode_refuse(e, REPLY_SORT_STORE);
        } else {
            return encode_refuse(e, REPLY_SYNTAX);
        }
    }
    return encode_key(e, OP_SORT);
}

static int object(struct encoding *e, int64_t what)
{
    put_num(e, what);
    return encode_args(e, OP_OBJECT, 2, 1);
}

int encode_object_encoding(struct encoding *e)
{
    return object(e, 0);
}

int encode_object_refcount(struct encoding *e)
{
    return object(e, 1);
}

int encode_object_idletime(struct encoding *e)
{
    return object(e, 2);
}

int encode_object_freq(struct encoding *e)
{
    return object(e, 3);
}

int encode_memory_usage(struct encoding *e)
{
    int64_t samples;
    if (e->argc > 3 && (e->argc != 5 || !arg_is(&e->argv[3], "samples")))
        return encode_refuse(e, REPLY_SYNTAX);
    if (e->argc == 5 && !arg_int(&e->argv[4], &samples))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (e->argc == 5 && samples < 0)
        return encode_refuse(e, REPLY_SYNTAX);
    return encode_args(e, OP_MEMORY_USAGE, 2, 1);
}

/* ---- Expiry ---- */

static int expire_options(struct encoding *e)
{
    for (size_t i = 3; i < e->argc; i++) {
        const struct resp_arg *arg = &e->argv[i];
        if (arg_is(arg, "nx"))
            e->flags |= CMD_NX;
        else if (arg_is(arg, "xx"))
            e->flags |= CMD_XX;
        else if (arg_is(arg, "gt"))
            e->flags |= CMD_GT;
        else if (arg_is(arg, "lt"))
            e->flags |= CMD_LT;
        else
            return encode_refuse(e, REPLY_EXPIRE_OPTION, (int)(arg->len < 128 ? arg->len : 128), arg->base);
    }
    if ((e->flags & CMD_NX) != 0 && (e->flags & (CMD_XX | CMD_GT | CMD_LT)) != 0)
        return encode_refuse(e, REPLY_EXPIRE_NX);
    if ((e->flags & CMD_GT) != 0 && (e->flags & CMD_LT) != 0)
        return encode_refuse(e, REPLY_EXPIRE_GT_LT);
    return 0;
}

/* Unlike SET's, the time may be zero or negative: the key is gone at once. */
static int expire(struct encoding *e, enum time_unit unit, enum time_base base)
{
    int64_t ms, now = encoding_wall_ms(e);
    if (expire_options(e) != 0)
        return -1;
    if (!arg_int(&e->argv[2], &ms))
        return encode_refuse(e, REPLY_NOT_INTEGER);
    if (unit == IN_SECONDS && __builtin_mul_overflow(ms, 1000, &ms))
        return encode_refuse(e, REPLY_INVALID_EXPIRE, e->row->name);
    if (base == FROM_NOW && ms > INT64_MAX - now)
        return encode_refuse(e, REPLY_INVALID_EXPIRE, e->row->name);
    int64_t wall = base == FROM_NOW ? ms + now : ms, left;
    if (base == FROM_NOW)
        left = ms;
    else if (__builtin_sub_overflow(ms, now, &left))
        left = INT64_MIN; /* Long past. */
    put_num(e, left);
    put_num(e, wall);
    return encode_key(e, OP_EXPIRE);
}

int encode_expire(struct encoding *e)
{
    return expire(e, IN_SECONDS, FROM_NOW);
}

int encode_pexpire(struct encoding *e)
{
    return expire(e, IN_MS, FROM_NOW);
}

int encode_expireat(struct encoding *e)
{
    return expire(e, IN_SECONDS, FROM_EPOCH);
}

int encode_pexpireat(struct encoding *e)
{
    return expire(e, IN_MS, FROM_EPOCH);
}

static int time_left(struct encoding *e, int64_t what)
{
    put_num(e, what);
    return encode_key(e, OP_TTL);
}

int encode_ttl(struct encoding *e)
{
    return time_left(e, TTL_SECONDS);
}

int encode_pttl(struct encoding *e)
{
    return time_left(e, TTL_MS);
}

int encode_expiretime(struct encoding *e)
{
    return time_left(e, EXPIRETIME_SECONDS);
}

int encode_pexpiretime(struct encoding *e)
{
    return time_left(e, EXPIRETIME_MS);
}

int encode_persist(struct encoding *e)
{
    return encode_key(e, OP_PERSIST);
}
