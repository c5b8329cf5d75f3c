/* commands.h - the command table: what there is, what it takes, which keys it names, and who handles it.
 * COMMAND and COMMAND DOCS answer from it, and so do the command line's completion and the documentation. */
#pragma once
#include "node/conn.h"
#include "raft/histogram.h"
#include "store/command.h"

/* Flags as COMMAND INFO shows them, in Redis's order. */
enum command_row_flag {
    ROW_WRITE = 1 << 0,
    ROW_READONLY = 1 << 1,
    ROW_DENYOOM = 1 << 2,
    ROW_ADMIN = 1 << 3,
    ROW_NOSCRIPT = 1 << 4,
    ROW_BLOCKING = 1 << 5,
    ROW_LOADING = 1 << 6,
    ROW_STALE = 1 << 7,
    ROW_FAST = 1 << 8,
    ROW_NO_AUTH = 1 << 9,
    /* Not shown: of our own. */
    ROW_CONTAINER = 1 << 16, /* args[1] names a subcommand: a row called "parent|sub". */
    ROW_DANGEROUS = 1 << 17, /* ACL category */
    ROW_CONNECTION = 1 << 18,
    ROW_KEYSPACE = 1 << 19,
    ROW_STRING = 1 << 20,
    ROW_FRAMED = 1 << 21,      /* Holds another command, whose own limits count. */
    ROW_LIST = 1 << 22,        /* ACL category */
    ROW_HASH = 1 << 23,        /* ACL category */
    ROW_SUBSCRIBER = 1 << 24,  /* Also for a RESP2 connection that is subscribed to something. */
    ROW_PUBSUB = 1 << 25,      /* ACL category */
    ROW_SCRIPTING = 1 << 26,   /* ACL category */
    ROW_TRANSACTION = 1 << 27, /* ACL category */
    ROW_TX_NOW = 1 << 28,      /* Runs inside MULTI, too, instead of being queued. */
    ROW_NO_MULTI = 1 << 29,    /* Not allowed inside MULTI. */
};

/* How a command uses its keys, as the key specifications of COMMAND INFO tell. */
enum command_key_use {
    KEYS_NONE,
    KEYS_RO_ACCESS,
    KEYS_RO,
    KEYS_RW_ACCESS_UPDATE,
    KEYS_RW_ACCESS_DELETE,
    KEYS_RW_UPDATE,
    KEYS_RW_INSERT,
    KEYS_RW_VARIABLE, /* SET: access when GET is given */
    KEYS_OW_UPDATE,
    KEYS_OW_INSERT,
    KEYS_RM_DELETE,
    KEYS_RW_DELETE,
};

/* A local command at work. */
struct call {
    struct conn *conn;
    struct conn_facts *facts;
    struct server *server;
    struct node *node;
    const struct command_row *row;
    const struct resp_arg *args; /* args[0] is the command's name. */
    size_t n;
    struct resp_buf *out;
    int proto;
    struct tx *tx;
    bool in_exec; /* A part of EXEC's reply: it must be written at once. */
};

/* A data command being turned into the log's language. The encoder fills op to args; `few` is space for args that do
 * not lie as they came. args otherwise points at the request's own. */
#define ENCODING_ERROR_MAX 640
struct encoding {
    const struct config *config;
    const struct command_row *row;
    const struct resp_arg *argv;
    size_t argc;
    size_t value_bytes_max;
    const char *who; /* The client, for people. Set by the caller, as are session and proto. */
    int proto;       /* Of RESP; not 3: 2. */
    int64_t session; /* Inside ONCE: its session, for which "-" stands; else 0. */
    bool blocks;     /* The answer may be OUTCOME_LATER. */
    int64_t wall_ms; /* 0: ask the clock. In a script it is the script's, and so is chance. */
    uint64_t chance;

    enum command_op op;
    uint16_t flags;
    uint8_t n_nums;
    int64_t nums[COMMAND_NUMS_MAX];
    const struct bytes *args;
    uint32_t n_args;
    struct bytes few[4];
    char error[ENCODING_ERROR_MAX]; /* After a refusal: the reply, without '-'. */
};

struct command_row {
    const char *name; /* lower case; "parent|sub" for a subcommand */
    int arity;        /* The name counted; negative: at least so many. */
    uint32_t flags;
    int first_key, last_key, key_step;
    enum command_key_use key_use;
    /* One of the two; a container has neither. */
    void (*run)(struct call *call);
    int (*encode)(struct encoding *e); /* 0, or -1 with e->error set */
    const char *group, *since, *complexity, *summary;
};

/* Per row, in the table's order. */
struct command_counts {
    uint64_t calls, rejected; /* rejected: wrong arguments, refused before it was executed */
    struct histogram times;   /* Of those the cluster answered, from when they were read until their answers were. */
};

/* Build the index; once, before anything else here. */
void commands_init(void);
const struct command_row *commands_table(size_t *ret_n);
struct command_counts *commands_counts(const struct command_row *row);
/* A top-level row, or with a '|' in name a subcommand's, in any case; NULL when there is none. */
const struct command_row *commands_find(const char *name, size_t len);
/* The subcommand `sub` of a container. */
const struct command_row *commands_find_sub(const struct command_row *container, const char *sub, size_t len);
bool command_row_is_sub(const struct command_row *row);

/* The position of the last key in a request of argc arguments, 0 without keys. */
size_t command_row_last_key(const struct command_row *row, size_t argc);

/* What is to be done with a request (n >= 1). */
enum prepared {
    PREPARED_LOCAL,   /* ret_row->run() answers */
    PREPARED_DATA,    /* e is encoded */
    PREPARED_REFUSED, /* e->error is the answer; ret_row may be NULL */
};
/* The checks that come before the encoder: PREPARED_DATA says that the row has one, which has not run. */
enum prepared commands_check(const struct config *config, const struct resp_arg *args, size_t n, struct encoding *e,
                             const struct command_row **ret_row);
enum prepared commands_prepare_at(const struct config *config, const struct resp_arg *args, size_t n,
                                  struct encoding *e, const struct command_row **ret_row, int64_t wall_ms,
                                  uint64_t chance);
enum prepared commands_prepare(const struct config *config, const struct resp_arg *args, size_t n, struct encoding *e,
                               const struct command_row **ret_row);

/* ---- For the handlers ---- */

/* Is the argument this word, in any case? */
bool arg_is(const struct resp_arg *arg, const char *word);
/* Does the glob in it match a name, in any case? */
bool arg_matches_name(const struct resp_arg *pattern, const char *name);
/* Redis's integers: no blanks, no plus sign, no leading zeros. */
bool arg_int(const struct resp_arg *arg, int64_t *ret);
int64_t wall_now_ms(void);
/* The wall clock for what is being encoded. */
int64_t encoding_wall_ms(const struct encoding *e);

/* Put a refusal's text into e->error; -1. */
int encode_refuse(struct encoding *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Encode the command that stands from the first-th argument on into buf, which is emptied first. 0, or -1 with the
 * error. It must be one that the log knows, not one that this node answers by itself. */
int encode_nested(struct encoding *e, size_t first, struct command_buf *buf, enum command_op *ret_op);
/* The cursor at argument i as a number, then COUNT as another, and MATCH; TYPE unless ret_type is NULL. 0, or -1. */
int encode_scan_options(struct encoding *e, size_t i, struct bytes *ret_glob, int64_t *ret_type);

/* The handlers, by file. */
int encode_append(struct encoding *e);
int encode_blmove(struct encoding *e);
int encode_blmpop(struct encoding *e);
int encode_blpop(struct encoding *e);
int encode_breaker(struct encoding *e);
int encode_brpop(struct encoding *e);
int encode_brpoplpush(struct encoding *e);
int encode_cas(struct encoding *e);
int encode_copy(struct encoding *e);
int encode_dbsize(struct encoding *e);
int encode_decr(struct encoding *e);
int encode_decrby(struct encoding *e);
int encode_del(struct encoding *e);
int encode_delex(struct encoding *e);
int encode_delifeq(struct encoding *e);
int encode_eval(struct encoding *e);
int encode_eval_ro(struct encoding *e);
int encode_evalsha(struct encoding *e);
int encode_evalsha_ro(struct encoding *e);
int encode_exists(struct encoding *e);
int encode_expire(struct encoding *e);
int encode_expireat(struct encoding *e);
int encode_expiretime(struct encoding *e);
int encode_flush(struct encoding *e);
int encode_get(struct encoding *e);
int encode_getdel(struct encoding *e);
int encode_getex(struct encoding *e);
int encode_getrange(struct encoding *e);
int encode_getset(struct encoding *e);
int encode_guard(struct encoding *e);
int encode_hdel(struct encoding *e);
int encode_hexists(struct encoding *e);
int encode_hget(struct encoding *e);
int encode_hgetall(struct encoding *e);
int encode_hincrby(struct encoding *e);
int encode_hincrbyfloat(struct encoding *e);
int encode_hkeys(struct encoding *e);
int encode_hlen(struct encoding *e);
int encode_hmget(struct encoding *e);
int encode_hmset(struct encoding *e);
int encode_hrandfield(struct encoding *e);
int encode_hscan(struct encoding *e);
int encode_hset(struct encoding *e);
int encode_hsetnx(struct encoding *e);
int encode_hstrlen(struct encoding *e);
int encode_hvals(struct encoding *e);
int encode_incr(struct encoding *e);
int encode_incrby(struct encoding *e);
int encode_incrbyfloat(struct encoding *e);
int encode_keys(struct encoding *e);
int encode_lcs(struct encoding *e);
int encode_limit(struct encoding *e);
int encode_lindex(struct encoding *e);
int encode_linsert(struct encoding *e);
int encode_llen(struct encoding *e);
int encode_lmove(struct encoding *e);
int encode_lmpop(struct encoding *e);
int encode_lock_acquire(struct encoding *e);
int encode_lock_break(struct encoding *e);
int encode_lock_info(struct encoding *e);
int encode_lock_list(struct encoding *e);
int encode_lock_release(struct encoding *e);
int encode_lpop(struct encoding *e);
int encode_lpos(struct encoding *e);
int encode_lpush(struct encoding *e);
int encode_lpushx(struct encoding *e);
int encode_lrange(struct encoding *e);
int encode_lrem(struct encoding *e);
int encode_lset(struct encoding *e);
int encode_ltrim(struct encoding *e);
int encode_memory_usage(struct encoding *e);
int encode_mget(struct encoding *e);
int encode_mset(struct encoding *e);
int encode_msetnx(struct encoding *e);
int encode_object_encoding(struct encoding *e);
int encode_object_freq(struct encoding *e);
int encode_object_idletime(struct encoding *e);
int encode_object_refcount(struct encoding *e);
int encode_once(struct encoding *e);
int encode_persist(struct encoding *e);
int encode_pexpire(struct encoding *e);
int encode_pexpireat(struct encoding *e);
int encode_pexpiretime(struct encoding *e);
int encode_psetex(struct encoding *e);
int encode_publish(struct encoding *e);
int encode_pttl(struct encoding *e);
int encode_randomkey(struct encoding *e);
int encode_rename(struct encoding *e);
int encode_renamenx(struct encoding *e);
int encode_rpop(struct encoding *e);
int encode_rpoplpush(struct encoding *e);
int encode_rpush(struct encoding *e);
int encode_rpushx(struct encoding *e);
int encode_scan(struct encoding *e);
int encode_script_exists(struct encoding *e);
int encode_script_flush(struct encoding *e);
int encode_script_load(struct encoding *e);
int encode_session_close(struct encoding *e);
int encode_session_info(struct encoding *e);
int encode_session_keepalive(struct encoding *e);
int encode_session_list(struct encoding *e);
int encode_session_open(struct encoding *e);
int encode_set(struct encoding *e);
int encode_setex(struct encoding *e);
int encode_setnx(struct encoding *e);
int encode_setrange(struct encoding *e);
int encode_sort(struct encoding *e);
int encode_strlen(struct encoding *e);
int encode_ttl(struct encoding *e);
int encode_type(struct encoding *e);
int encode_vappend(struct encoding *e);
int encode_vget(struct encoding *e);
int encode_vincr(struct encoding *e);
int encode_vmget(struct encoding *e);
int encode_vset(struct encoding *e);
int encode_waitfor(struct encoding *e);
void run_history(struct call *call);

void run_asking(struct call *call);
void run_auth(struct call *call);
void run_client_caching(struct call *call);
void run_client_capa(struct call *call);
void run_client_deadline(struct call *call);
void run_client_getname(struct call *call);
void run_client_getredir(struct call *call);
void run_client_help(struct call *call);
void run_client_id(struct call *call);
void run_client_info(struct call *call);
void run_client_kill(struct call *call);
void run_client_list(struct call *call);
void run_client_no_evict(struct call *call);
void run_client_no_touch(struct call *call);
void run_client_pause(struct call *call);
void run_client_reply(struct call *call);
void run_client_setinfo(struct call *call);
void run_client_setname(struct call *call);
void run_client_tracking(struct call *call);
void run_client_trackinginfo(struct call *call);
void run_client_unblock(struct call *call);
void run_client_unpause(struct call *call);
void run_echo(struct call *call);
void run_hello(struct call *call);
void run_ping(struct call *call);
void run_psubscribe(struct call *call);
void run_pubsub_channels(struct call *call);
void run_pubsub_help(struct call *call);
void run_pubsub_numpat(struct call *call);
void run_pubsub_numsub(struct call *call);
void run_punsubscribe(struct call *call);
void run_subscribe(struct call *call);
void run_unsubscribe(struct call *call);
void run_quit(struct call *call);
void run_readonly(struct call *call);
void run_readwrite(struct call *call);
void run_reset(struct call *call);
void run_select(struct call *call);

void run_discard(struct call *call);
void run_exec(struct call *call);
void run_multi(struct call *call);
void run_script_help(struct call *call);
void run_script_kill(struct call *call);
void run_unwatch(struct call *call);
void run_watch(struct call *call);
/* Inside MULTI: queue the request. */
void tx_run_queue(struct call *call);
/* The answer to what a transaction asked with conn_ask(), and why there is none. */
void tx_answered(struct call *call, const uint8_t *outcome, size_t len);
void tx_failed(struct call *call, enum request_failure why);

void run_command(struct call *call);
void run_command_count(struct call *call);
void run_command_docs(struct call *call);
void run_command_getkeys(struct call *call);
void run_command_help(struct call *call);
void run_command_info(struct call *call);
void run_command_list(struct call *call);
void run_config_get(struct call *call);
void run_config_help(struct call *call);
void run_config_resetstat(struct call *call);
void run_config_rewrite(struct call *call);
void run_config_set(struct call *call);
void run_debug(struct call *call);
void run_info(struct call *call);
void run_lastsave(struct call *call);
void run_latency_doctor(struct call *call);
void run_latency_empty(struct call *call);
void run_latency_help(struct call *call);
void run_latency_reset(struct call *call);
void run_lolwut(struct call *call);
void run_memory_doctor(struct call *call);
void run_memory_help(struct call *call);
void run_memory_malloc_stats(struct call *call);
void run_memory_purge(struct call *call);
void run_memory_stats(struct call *call);
void run_module_list(struct call *call);
void run_object_help(struct call *call);
void run_role(struct call *call);
void run_save(struct call *call);
void run_shutdown(struct call *call);
void run_slowlog_get(struct call *call);
void run_slowlog_help(struct call *call);
void run_slowlog_len(struct call *call);
void run_slowlog_reset(struct call *call);
void run_time(struct call *call);
void run_wait(struct call *call);

void run_lock_help(struct call *call);
void run_session_help(struct call *call);

void run_member_add(struct call *call);
void run_member_demote(struct call *call);
void run_member_help(struct call *call);
void run_member_join(struct call *call);
void run_member_list(struct call *call);
void run_member_promote(struct call *call);
void run_member_remove(struct call *call);
void run_member_replace(struct call *call);
void run_member_token(struct call *call);
void run_member_transfer(struct call *call);
void run_member_update_address(struct call *call);

void run_cluster_disabled(struct call *call);
void run_cluster_help(struct call *call);
void run_cluster_info(struct call *call);
void run_cluster_keyslot(struct call *call);
void run_cluster_myid(struct call *call);
void run_cluster_nodes(struct call *call);
void run_cluster_replicas(struct call *call);
void run_cluster_shards(struct call *call);
void run_cluster_slots(struct call *call);

void run_sentinel_ckquorum(struct call *call);
void run_sentinel_get_master_addr(struct call *call);
void run_sentinel_help(struct call *call);
void run_sentinel_master(struct call *call);
void run_sentinel_masters(struct call *call);
void run_sentinel_replicas(struct call *call);
void run_sentinel_sentinels(struct call *call);
