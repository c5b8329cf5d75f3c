/* command.c - the log's language, written and read.
 * Encoding sits on the path of every write, so a command is one reservation and a few copies. Decoding compares every
 * count and length with what is left before it is used; whatever bytes come, nothing outside them is read. */
#include "store/command.h"
#include "store/little.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COMMAND_HEAD_BYTES 12
#define COMMAND_BUF_FIRST_BYTES 512

/* Where things stand in a batch header. */
enum {
    BATCH_AT_N = 4,
    BATCH_AT_NODE = 8,
    BATCH_AT_START = 16,
    BATCH_AT_SEQ = 24,
    BATCH_AT_CLOCK = 32,
    BATCH_AT_VALUE_MAX = 40
};

static const char *const value_type_names[] = {"raw", "int", "float", "bool", "json", "str", "nil"};
#define VALUE_TYPE_N ((int)(sizeof value_type_names / sizeof value_type_names[0]))

const char *value_type_name(int type)
{
    return type >= 0 && type < VALUE_TYPE_N ? value_type_names[type] : NULL;
}

int value_type_from_name(const char *name, size_t len)
{
    for (int type = 0; type < VALUE_TYPE_N; type++)
        if (strlen(value_type_names[type]) == len && strncasecmp(value_type_names[type], name, len) == 0)
            return type;
    return -1;
}

static const char *const value_kind_names[] = {
    [KIND_STRING] = "string", [KIND_OTHER] = "none",  [KIND_LIST] = "list",
    [KIND_HASH] = "hash",     [KIND_LIMIT] = "limit", [KIND_BREAKER] = "breaker"};

enum value_kind value_kind(int type)
{
    switch (type) {
    case VALUE_LIST:
        return KIND_LIST;
    case VALUE_HASH:
        return KIND_HASH;
    case VALUE_LIMIT:
        return KIND_LIMIT;
    case VALUE_BREAKER:
        return KIND_BREAKER;
    default:
        return KIND_STRING;
    }
}

int value_has_parts(int type)
{
    return type == VALUE_LIST || type == VALUE_HASH;
}

const char *value_kind_name(enum value_kind kind)
{
    return value_kind_names[kind];
}

enum value_kind value_kind_from_name(const char *name, size_t len)
{
    for (int kind = KIND_STRING; kind < KIND_N; kind++)
        if (kind != KIND_OTHER && strlen(value_kind_names[kind]) == len &&
            strncasecmp(value_kind_names[kind], name, len) == 0)
            return (enum value_kind)kind;
    return KIND_OTHER;
}

void command_release(struct command *c)
{
    free(c->args);
    *c = (struct command){0};
}

void command_buf_release(struct command_buf *b)
{
    free(b->base);
    *b = (struct command_buf){0};
}

static bool command_buf_grow(struct command_buf *b, size_t more)
{
    size_t cap = b->cap == 0 ? COMMAND_BUF_FIRST_BYTES : b->cap;
    while (cap - b->len < more) {
        if (cap > SIZE_MAX / 2)
            return false;
        cap *= 2;
    }
    uint8_t *base = realloc(b->base, cap);
    if (base == NULL)
        return false;
    b->base = base;
    b->cap = cap;
    return true;
}

/* Room for `more` bytes, taken already, or NULL with `failed` set and nothing changed. */
static uint8_t *command_buf_take(struct command_buf *b, size_t more)
{
    if (b->cap - b->len < more && !command_buf_grow(b, more)) {
        b->failed = 1;
        return NULL;
    }
    uint8_t *at = b->base + b->len;
    b->len += more;
    return at;
}

void batch_begin(struct command_buf *b, uint64_t node, uint64_t start, uint64_t seq)
{
    uint8_t *at = command_buf_take(b, BATCH_HEADER_BYTES);
    if (at == NULL)
        return;
    memset(at, 0, BATCH_HEADER_BYTES);
    at[0] = BATCH_VERSION;
    little_put_u64(at + BATCH_AT_NODE, node);
    little_put_u64(at + BATCH_AT_START, start);
    little_put_u64(at + BATCH_AT_SEQ, seq);
}

void batch_set_count(uint8_t *batch, uint32_t n)
{
    little_put_u32(batch + BATCH_AT_N, n);
}

void batch_set_seq(uint8_t *batch, uint64_t seq)
{
    little_put_u64(batch + BATCH_AT_SEQ, seq);
}

void batch_set_value_max(uint8_t *batch, uint64_t bytes)
{
    little_put_u64(batch + BATCH_AT_VALUE_MAX, bytes);
}

void batch_stamp(uint8_t *batch, uint64_t clock_ms)
{
    little_put_u64(batch + BATCH_AT_CLOCK, clock_ms);
}

int batch_header_decode(const uint8_t *batch, size_t len, struct batch_header *ret)
{
    if (len < BATCH_HEADER_BYTES)
        return COMMAND_EMALFORMED;
    if (batch[0] != BATCH_VERSION)
        return COMMAND_EVERSION;
    /* Kept zero by version 1: anything else is damage, since a newer format has a newer version. */
    if (batch[1] != 0 || batch[2] != 0 || batch[3] != 0)
        return COMMAND_EMALFORMED;
    *ret = (struct batch_header){.node = little_u64(batch + BATCH_AT_NODE),
                                 .start = little_u64(batch + BATCH_AT_START),
                                 .seq = little_u64(batch + BATCH_AT_SEQ),
                                 .clock_ms = little_u64(batch + BATCH_AT_CLOCK),
                                 .value_bytes_max = little_u64(batch + BATCH_AT_VALUE_MAX),
                                 .n = little_u32(batch + BATCH_AT_N)};
    return 0;
}

/* Bytes of the body, or SIZE_MAX when its 32-bit count cannot hold them. */
static size_t command_body_bytes(uint8_t n_nums, const struct bytes *args, uint32_t n_args)
{
    uint64_t body = 8 * (uint64_t)n_nums + 4 * (uint64_t)n_args;
    for (uint32_t i = 0; i < n_args; i++) {
        if (args[i].len > UINT32_MAX)
            return SIZE_MAX;
        body += args[i].len;
    }
    return body > UINT32_MAX - COMMAND_HEAD_BYTES ? SIZE_MAX : (size_t)body;
}

static void command_put_body(uint8_t *at, const int64_t *nums, uint8_t n_nums, const struct bytes *args,
                             uint32_t n_args)
{
    for (uint8_t i = 0; i < n_nums; i++, at += 8)
        little_put_u64(at, (uint64_t)nums[i]);
    for (uint32_t i = 0; i < n_args; i++) {
        little_put_u32(at, (uint32_t)args[i].len);
        if (args[i].len > 0)
            memcpy(at + 4, args[i].base, args[i].len);
        at += 4 + args[i].len;
    }
}

long command_add(struct command_buf *b, enum command_op op, uint16_t flags, const int64_t *nums, uint8_t n_nums,
                 const struct bytes *args, uint32_t n_args)
{
    size_t body = n_nums > COMMAND_NUMS_MAX ? SIZE_MAX : command_body_bytes(n_nums, args, n_args);
    if (body == SIZE_MAX) {
        b->failed = 1;
        return -1;
    }
    uint8_t *at = command_buf_take(b, COMMAND_HEAD_BYTES + body);
    if (at == NULL)
        return -1;
    at[0] = (uint8_t)op;
    at[1] = n_nums;
    little_put_u16(at + 2, flags);
    little_put_u32(at + 4, n_args);
    little_put_u32(at + 8, (uint32_t)body);
    command_put_body(at + COMMAND_HEAD_BYTES, nums, n_nums, args, n_args);
    return (long)(at - b->base);
}

void command_cancel(uint8_t *at)
{
    at[0] = OP_NOP;
}

size_t command_span(const uint8_t *at, size_t len)
{
    if (len < COMMAND_HEAD_BYTES || at[1] > COMMAND_NUMS_MAX)
        return 0;
    uint64_t n_args = little_u32(at + 4);
    uint32_t body = little_u32(at + 8);
    if (body > len - COMMAND_HEAD_BYTES || 8 * (uint64_t)at[1] + 4 * n_args > body)
        return 0;
    return COMMAND_HEAD_BYTES + (size_t)body;
}

const uint8_t *command_first_arg(const uint8_t *at, size_t len, size_t *ret_len)
{
    size_t span = command_span(at, len);
    if (span == 0 || little_u32(at + 4) == 0)
        return NULL;
    size_t head = COMMAND_HEAD_BYTES + 8 * (size_t)at[1] + 4;
    uint32_t arg_len = little_u32(at + head - 4);
    if (arg_len > span - head)
        return NULL;
    *ret_len = arg_len;
    return at + head;
}

/* The args fill the rest of the body exactly, else the command is malformed. */
static int command_decode_args(const uint8_t *at, const uint8_t *end, struct command *c)
{
    for (uint32_t i = 0; i < c->n_args; i++) {
        if (end - at < 4)
            return COMMAND_EMALFORMED;
        uint32_t len = little_u32(at);
        at += 4;
        if (len > (size_t)(end - at))
            return COMMAND_EMALFORMED;
        c->args[i] = (struct bytes){.base = at, .len = len};
        at += len;
    }
    return at == end ? 0 : COMMAND_EMALFORMED;
}

static int command_reserve_args(struct command *c, uint32_t n_args)
{
    if (n_args <= c->args_cap)
        return 0;
    struct bytes *args = realloc(c->args, n_args * sizeof *args);
    if (args == NULL)
        return COMMAND_ENOMEM;
    c->args = args;
    c->args_cap = n_args;
    return 0;
}

int command_decode(const uint8_t *at, size_t len, struct command *ret, size_t *ret_used)
{
    size_t span = command_span(at, len);
    if (span == 0)
        return COMMAND_EMALFORMED;
    uint32_t n_args = little_u32(at + 4); /* At most a quarter of the bytes at hand, as the span has shown. */
    int rc = command_reserve_args(ret, n_args);
    if (rc != 0)
        return rc;
    ret->op = at[0];
    ret->n_nums = at[1];
    ret->flags = little_u16(at + 2);
    ret->n_args = n_args;
    const uint8_t *body = at + COMMAND_HEAD_BYTES;
    for (uint8_t i = 0; i < ret->n_nums; i++)
        ret->nums[i] = (int64_t)little_u64(body + 8 * (size_t)i);
    rc = command_decode_args(body + 8 * (size_t)ret->n_nums, at + span, ret);
    if (rc == 0)
        *ret_used = span;
    return rc;
}

int command_is_write(uint8_t op)
{
    bool is_read = (op >= OP_GET && op <= OP_LCS) || (op >= OP_SESSION_INFO && op <= OP_LOCK_LIST) ||
                   (op >= OP_EXEC_READ && op <= OP_AWAIT) || (op >= OP_LLEN && op <= OP_HRANDFIELD);
    return !is_read;
}

int command_rebuilds_value(uint8_t op)
{
    return op == OP_APPEND || op == OP_SETRANGE || op == OP_VAPPEND || op == OP_COPY || op == OP_RENAME;
}

int command_answers_values(uint8_t op, uint16_t flags)
{
    bool pops = (op >= OP_POP && op <= OP_LMPOP && op != OP_LSET) || (op >= OP_BPOP && op <= OP_WAIT_TAKE);
    return !command_is_write(op) || pops || op == OP_GETDEL || op == OP_GETEX || op == OP_EXEC || op == OP_EVAL ||
           (flags & CMD_GET) != 0;
}
