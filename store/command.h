/* command.h - the language of the log: commands, and batches of them.
 * A log entry of type command holds one batch:
 *
 *     batch header, 48 bytes:
 *       u8  version (1)   u8[3] zero     u32 n commands
 *       u64 node          the origin: id of the node that gathered the batch
 *       u64 start         the origin's start number, which grows with each start of that node
 *       u64 seq           1 for the origin's first batch, then one more for each
 *       u64 clock_ms      replicated clock, stamped by the leader
 *       u64 value max     bytes past which a command of this batch may not grow a value; 0: the default. The origin's
 *                         setting travels with the batch, so that every node applies it alike
 *     then n commands:
 *       u8 op   u8 n_nums   u16 flags   u32 n_args   u32 body bytes
 *       n_nums x i64, then n_args x (u32 length, bytes)
 *
 * All numbers little-endian. A batch with node 0 comes from the leader itself (expiry, ticks) and
 * is outside the exactly-once bookkeeping. Encoded by the receiving node, which has checked every
 * limit; decoded by every node, which checks bounds again: the bytes come from disks and peers. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum command_err { COMMAND_ENOMEM = -1, COMMAND_EMALFORMED = -2, COMMAND_EVERSION = -3 };

/* Part of the log's format: never renumber, append only. Reads stand here too, since a read that
 * follows unanswered writes of its connection rides in the log with them. */
enum command_op {
    OP_NOP = 0, /* Answers nil; what an expired request is turned into before a re-send. */

    /* Writes. "left" is milliseconds from now on the replicated clock (<= 0: at once gone), "wall" is
     * the wall clock time in unix ms for which the user asked, kept only to be told back. */
    OP_SET = 1,         /* args: key value [ifeq]; nums: [left wall] with CMD_EXPIRE */
    OP_MSET = 2,        /* args: key value ...; CMD_NX: only if none exists, answers 1/0, else OK */
    OP_APPEND = 3,      /* args: key tail; answers length */
    OP_SETRANGE = 4,    /* args: key piece; nums: offset (>= 0) */
    OP_GETDEL = 5,      /* args: key */
    OP_GETEX = 6,       /* args: key; CMD_EXPIRE with nums left wall, or CMD_PERSIST */
    OP_INCRBY = 7,      /* args: key; nums: delta. Answers the new number; row type becomes int */
    OP_INCRBYFLOAT = 8, /* args: key delta-text; answers BULK text; row type becomes float */
    OP_DEL = 9,         /* args: keys; answers how many existed */
    OP_EXPIRE = 10,     /* args: key; nums: left wall; CMD_NX XX GT LT; answers 1/0 */
    OP_PERSIST = 11,    /* args: key; answers 1/0 */
    OP_RENAME = 12,     /* args: from to; CMD_NX answers 1/0, else OK */
    OP_COPY = 13,       /* args: from to; CMD_XX means REPLACE; answers 1/0 */
    OP_FLUSHALL = 14,   /* answers OK */
    OP_VSET = 15,       /* args: key value [ifeq]; nums: type left wall ifver; see CMD_* ; answers version or nil */
    OP_CAS = 16,        /* args: key old new; nums: told tnew left wall; CMD_EXPIRE; answers 1/0 */
    OP_DELIF = 17,      /* args: key value; CMD_IFEQ or CMD_IFNE; answers 1/0 */
    OP_EXPIRED = 18,    /* args: keys; the leader names what is due; each is deleted if really due; answers count */
    OP_TICK = 19,       /* moves the clock only */
    OP_VINCR = 20,   /* args: key delta-text; nums: row type of delta (int or float); Lua's increment, typed answer */
    OP_VAPPEND = 21, /* args: key tail separator; answers length; separator only between */

    /* Sessions. A nested command is one encoded command as an argument. */
    OP_SESSION_OPEN = 30,      /* args: name; nums: ttl ms; answers the session's id */
    OP_SESSION_KEEPALIVE = 31, /* nums: session; answers OK */
    OP_SESSION_CLOSE = 32,     /* nums: session; ends it and frees what it owns; answers OK */
    OP_SESSION_EXPIRED = 33,   /* args: id version(8 bytes) ..., an id as decimal text; the leader names who is due and
                                  the version it saw: a renewal that is in the log first wins; answers how many ended */
    OP_ONCE = 34, /* args: nested; nums: session serial ack; the first time the nested command is run and its
                     answer remembered, a repeat gets that answer; ack: serials up to it may be forgotten */

    /* Locks. A request's token is the revision at which it arrived. */
    OP_LOCK_ACQUIRE = 40, /* args: name; nums: session lease wait longest (ms, 0: none) permits of (0 0: a plain lock);
                             CMD_SHARED CMD_REENTRANT; answers the token, nil, or LATER when it waits */
    OP_LOCK_RELEASE = 41, /* args: name; nums: session token (0: the oldest hold of the session); answers 1/0 */
    OP_LOCK_BREAK = 42,   /* args: name reason who; puts out all holders, answers how many */
    OP_LOCK_LEAVE = 43,   /* args: name; nums: session token; nobody waits for that request any more; answers 1/0 */
    OP_GUARD = 44,        /* args: nested name; nums: token; the nested command's answer, or a refusal */
    OP_LOCK_DUE = 45, /* args: names; the leader names locks with a deadline that is over; answers how many changed */

    /* Messages. */
    OP_PUBLISH = 95, /* args: channel message; answers how many hear it where it is answered */

    /* Reads. */
    OP_GET = 128,       /* args: key */
    OP_MGET = 129,      /* args: keys; a key of another kind reads as nil */
    OP_STRLEN = 130,    /* args: key */
    OP_GETRANGE = 131,  /* args: key; nums: start end */
    OP_EXISTS = 132,    /* args: keys; each mention counts */
    OP_TYPE = 133,      /* args: key; SIMPLE "string", "list", "hash" or "none" */
    OP_TTL = 134,       /* args: key; nums: 0 TTL s, 1 PTTL ms, 2 EXPIRETIME s, 3 PEXPIRETIME ms */
    OP_KEYS = 135,      /* args: glob */
    OP_SCAN = 136,      /* args: glob (empty: all); nums: cursor count, kind (-1 any, else enum value_kind) */
    OP_RANDOMKEY = 137, /* nums: salt (may be left out): chance from the encoder, so that all nodes pick alike */
    OP_DBSIZE = 138,
    OP_OBJECT = 139,       /* args: key; nums: 0 ENCODING, 1 REFCOUNT, 2 IDLETIME (s), 3 FREQ; nil on missing */
    OP_MEMORY_USAGE = 140, /* args: key; bytes or nil */
    OP_VGET = 141,         /* args: key; ARRAY value, type word, version, ttl ms (-1 none), or nil */
    OP_SORT = 142,         /* args: key; empty array when missing, WRONGTYPE on a string */
    OP_VMGET = 143,        /* args: keys; ARRAY of VGET answers */
    OP_LCS = 144,          /* args: key key; nums: 0 the string, 1 LEN */

    OP_SESSION_INFO = 160, /* nums: session; a MAP, or a refusal when there is none */
    OP_SESSION_LIST = 161, /* ARRAY of MAPs, in no order that means anything */
    OP_LOCK_INFO = 162,    /* args: name; a MAP, or nil when nobody holds it or waits */
    OP_LOCK_LIST = 163,    /* args: glob; ARRAY of MAPs */
    /* Transactions. args: encoded commands, then pairs of a watched key and its version (u64, little-endian; 0:
     * absent); nums: how many of the args are commands. A watched key that has another version by now: NIL_ARRAY,
     * nothing is done. Else an ARRAY of the commands' outcomes, refusals among them. */
    OP_EXEC = 50,
    OP_EXEC_READ = 170, /* The same of reads only: a read itself. */
    OP_VERSIONS = 171,  /* args: keys; ARRAY of their versions, 0 where there is none */

    /* Lists. where: 0 the head, 1 the tail. An index below 0 counts from the tail. */
    OP_PUSH = 60,    /* args: key elements; nums: where; CMD_XX: only to a list that is there; answers the length */
    OP_POP = 61,     /* args: key; nums: where count (-1: one, and not as an array) */
    OP_LSET = 62,    /* args: key element; nums: index; answers OK */
    OP_LREM = 63,    /* args: key element; nums: count (below 0: from the tail, 0: all); answers how many */
    OP_LTRIM = 64,   /* args: key; nums: start end; answers OK */
    OP_LINSERT = 65, /* args: key pivot element; nums: 0 before it, 1 behind it; answers the length, -1 or 0 */
    OP_LMOVE = 66,   /* args: from to; nums: where where; answers the element or nil */
    OP_LMPOP = 67,   /* args: keys; nums: where count; answers [key, elements] or NIL_ARRAY */
    /* Those that wait. timeout: ms, 0 for ever. Answer at once, or LATER with the token of a waiter, whose name is
     * empty. */
    OP_BPOP = 68,       /* args: keys; nums: where timeout count (-1: as BLPOP answers, else as LMPOP) */
    OP_BMOVE = 69,      /* args: from to; nums: where where timeout */
    OP_WAIT_TAKE = 70,  /* nums: token; what was offered to that waiter is taken: the answer to its request */
    OP_WAIT_LEAVE = 71, /* nums: token; nobody waits any more: what was offered goes back; answers 1/0 */
    OP_WAIT_DUE = 72,  /* args: tokens (8 bytes); the leader names who has waited long enough; answers how many ended */
    OP_TRASH_DUE = 73, /* args: ids (8 bytes) of deleted large values; takes away some of the rest; answers how many */
    /* Hashes. */
    OP_HSET = 75,    /* args: key (field value)...; nums: 0 answers how many are new, 1 answers OK; CMD_NX: HSETNX */
    OP_HDEL = 76,    /* args: key fields; answers how many there were */
    OP_HINCRBY = 77, /* args: key field; nums: delta; answers the new number */
    OP_HINCRBYFLOAT = 78, /* args: key field delta-text; answers BULK text */

    /* Limits and breakers: keys of kinds of their own. */
    OP_LIMIT = 90, /* args: key; nums: enum limit_algo, rate, per ms, burst, cost; ARRAY of allowed (1/0), what is left,
                      ms until the same may be asked again (0 when allowed), ms until nothing is used any more */
    OP_BREAKER = 91, /* args: key; nums: enum breaker_verb, failures, window ms, cooldown ms, probes; ARRAY of its
                        state, a reason, may a call be made (1/0), ms until it is worth asking again */

    /* Scripts. args: source (or, with CMD_BY_SHA, the sha of a kept one), number of keys as text, keys, other
     * arguments; nums: the wall clock for TIME, a seed. */
    OP_EVAL = 51,
    OP_SCRIPT_LOAD = 52,    /* args: source; answers its sha */
    OP_SCRIPT_FLUSH = 53,   /* answers OK */
    OP_EVAL_RO = 172,       /* as OP_EVAL, changes nothing and keeps nothing */
    OP_SCRIPT_EXISTS = 173, /* args: shas; ARRAY of 1/0 */

    OP_AWAIT = 174, /* args: key (value); nums: enum await_mode, a version, timeout (ms); ARRAY value (nil unless it is
                       a string), version (0: absent) when the key is so; else nil, or LATER when there is time */

    OP_LLEN = 180,       /* args: key */
    OP_LRANGE = 181,     /* args: key; nums: start end */
    OP_LINDEX = 182,     /* args: key; nums: index */
    OP_LPOS = 183,       /* args: key element; nums: rank count (-1: one, and not as an array) maxlen */
    OP_HGET = 184,       /* args: key field */
    OP_HMGET = 185,      /* args: key fields */
    OP_HGETALL = 186,    /* args: key; nums: 0 a MAP of all, 1 the fields, 2 the values */
    OP_HEXISTS = 187,    /* args: key field */
    OP_HLEN = 188,       /* args: key */
    OP_HSTRLEN = 189,    /* args: key field */
    OP_HSCAN = 190,      /* args: key glob (empty: all); nums: cursor count */
    OP_HRANDFIELD = 191, /* args: key; nums: how (0 one field, 1 fields, 2 with values, 3 in pairs) count seed */
};

/* What WAITFOR waits for: a newer version, a value, no key, a key. In encoded commands. */
enum await_mode { AWAIT_VERSION, AWAIT_EQ, AWAIT_ABSENT, AWAIT_EXISTS };

enum command_flag {
    CMD_NX = 1 << 0,
    CMD_XX = 1 << 1,
    CMD_GET = 1 << 2,
    CMD_KEEPTTL = 1 << 3,
    CMD_EXPIRE = 1 << 4, /* nums left and wall are given */
    CMD_PERSIST = 1 << 5,
    CMD_IFEQ = 1 << 6,
    CMD_IFNE = 1 << 7,
    CMD_IFVER = 1 << 8,
    CMD_GT = 1 << 9,
    CMD_LT = 1 << 10,
    CMD_SHARED = 1 << 11,
    CMD_REENTRANT = 1 << 12,
    CMD_BY_SHA = 1 << 15,
};

/* Row types, as VSET names them. Part of the file format. */
enum value_type {
    VALUE_RAW = 0,
    VALUE_INT = 1,
    VALUE_FLOAT = 2,
    VALUE_BOOL = 3,
    VALUE_JSON = 4,
    VALUE_STR = 5,
    VALUE_NIL = 6, /* CAS only: absent */
    /* Not for VSET: values with parts. */
    VALUE_LIST = 7,
    VALUE_HASH = 8,
    /* Nor these: what limits and breakers remember, packed. */
    VALUE_LIMIT = 9,
    VALUE_BREAKER = 10,
};
/* What a client takes a value for. The numbers stand in encoded SCANs. */
enum value_kind { KIND_STRING = 0, KIND_OTHER = 1, KIND_LIST = 2, KIND_HASH = 3, KIND_LIMIT = 4, KIND_BREAKER = 5 };
#define KIND_N 6
enum value_kind value_kind(int type);
/* Does such a value have parts (parts.h)? */
int value_has_parts(int type);
/* "string", "list", "hash", "limit", "breaker"; for KIND_OTHER "none". */
const char *value_kind_name(enum value_kind kind);
/* The kind of that name (case-insensitive); KIND_OTHER when there is none. */
enum value_kind value_kind_from_name(const char *name, size_t len);
/* "raw", "int", ...; NULL for an unknown number. */
const char *value_type_name(int type);
/* The number for a name of len bytes (case-insensitive), or -1. */
int value_type_from_name(const char *name, size_t len);

struct bytes {
    const uint8_t *base;
    size_t len;
};

#define COMMAND_NUMS_MAX 8
#define EXEC_COMMANDS_MAX 10000 /* In one OP_EXEC. */
#define EXEC_VERSION_BYTES 8
#define BATCH_HEADER_BYTES 48
#define BATCH_VERSION 1

struct batch_header {
    uint64_t node, start, seq, clock_ms, value_bytes_max;
    uint32_t n;
};

/* A command as read back. `args` is the decoder's scratch array, valid until the next decode. */
struct command {
    uint8_t op;
    uint8_t n_nums;
    uint16_t flags;
    uint32_t n_args;
    int64_t nums[COMMAND_NUMS_MAX];
    struct bytes *args;
    uint32_t args_cap; /* Zero-initialise the struct once; release with command_release(). */
};
void command_release(struct command *c);

/* A growing run of encoded commands. Zero-initialise; on failed growth `failed` is set and the
 * append is undone, so that what stands before it stays whole. */
struct command_buf {
    uint8_t *base;
    size_t len, cap;
    int failed;
};
void command_buf_release(struct command_buf *b);

/* Append a batch header (n is patched by batch_set_count). */
void batch_begin(struct command_buf *b, uint64_t node, uint64_t start, uint64_t seq);
void batch_set_count(uint8_t *batch, uint32_t n);
void batch_set_seq(uint8_t *batch, uint64_t seq);
void batch_set_value_max(uint8_t *batch, uint64_t bytes);
#define BATCH_VALUE_BYTES_MAX (8u << 20) /* The default. */
/* The leader's stamp, put into an encoded batch just before it is appended to the log. */
void batch_stamp(uint8_t *batch, uint64_t clock_ms);
/* Errors: COMMAND_EMALFORMED (shorter than a header), COMMAND_EVERSION. */
int batch_header_decode(const uint8_t *batch, size_t len, struct batch_header *ret);

/* Append one command. args are copied. Returns the offset of the command in the buffer, or -1. */
long command_add(struct command_buf *b, enum command_op op, uint16_t flags, const int64_t *nums, uint8_t n_nums,
                 const struct bytes *args, uint32_t n_args);
/* Turn the encoded command at `at` into OP_NOP in place, its length unchanged. */
void command_cancel(uint8_t *at);
/* Bytes the encoded command at `at` takes, or 0 when it is cut short or malformed. */
size_t command_span(const uint8_t *at, size_t len);
/* The bytes of the first argument of the encoded command at `at`, or NULL when it has none or is malformed: for looking
 * at a nested command without decoding. */
const uint8_t *command_first_arg(const uint8_t *at, size_t len, size_t *ret_len);
/* Decode the command at `at`. Errors: COMMAND_EMALFORMED, COMMAND_ENOMEM. */
int command_decode(const uint8_t *at, size_t len, struct command *ret, size_t *ret_used);
/* Does this opcode change state (true for unknown ones)? */
int command_is_write(uint8_t op);
/* Does it cost what the stored value is long, however short the command is? */
int command_rebuilds_value(uint8_t op);
/* May its answer be as long as what is stored? */
int command_answers_values(uint8_t op, uint16_t flags);
