/* commands.c - the table and the way into it.
 * Rows stand in the order of COMMAND LIST; a container's subcommands follow it. Names are found through an open hash
 * table built once; the checks that hold for every command (is there such a one, does it have its arguments, are they
 * within the limits) are made here, so that encoders see only what is theirs to judge. */
#include "node/commands.h"
#include "node/config.h"
#include "node/reply.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

_Static_assert(sizeof(struct bytes) == sizeof(struct resp_arg) &&
                   offsetof(struct bytes, base) == offsetof(struct resp_arg, base) &&
                   offsetof(struct bytes, len) == offsetof(struct resp_arg, len),
               "a request's arguments are handed to command_add() as they lie");

#define W ROW_WRITE
#define R ROW_READONLY
#define F ROW_FAST
#define OOM ROW_DENYOOM
#define ADM (ROW_ADMIN | ROW_DANGEROUS | ROW_NOSCRIPT)
#define ANYTIME (ROW_LOADING | ROW_STALE)
#define ADM_CONN (ROW_ADMIN | ROW_DANGEROUS | ROW_NOSCRIPT | ROW_LOADING | ROW_STALE | ROW_CONNECTION)
#define CONN (ROW_NOSCRIPT | ROW_LOADING | ROW_STALE | ROW_CONNECTION)
#define STR ROW_STRING
#define LIST ROW_LIST
#define BLOCK (ROW_NOSCRIPT | ROW_BLOCKING)
#define HASH ROW_HASH
#define SCRIPT (ROW_NOSCRIPT | ROW_SCRIPTING)
#define ALONE (ROW_NOSCRIPT | ROW_NO_MULTI) /* Renews or ends sessions. */
#define SUB (ROW_PUBSUB | ROW_LOADING | ROW_STALE)
#define SUBSCRIBES (SUB | ROW_NOSCRIPT | ROW_SUBSCRIBER)
#define TX (ROW_NOSCRIPT | ROW_LOADING | ROW_STALE | ROW_TRANSACTION | ROW_TX_NOW)
#define KEYSP ROW_KEYSPACE
#define NO_KEYS 0, 0, 0, KEYS_NONE
#define ONE_KEY(use) 1, 1, 1, use
#define ALL_KEYS(use) 1, -1, 1, use
#define DATA(f) NULL, f
#define LOCAL(f) f, NULL
#define CONTAINER NULL, NULL

static const struct command_row rows[] = {
    /* Strings. */
    {"get", 2, R | F | STR, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_get), "string", "1.0.0", "O(1)",
     "Get the value of a key"},
    {"set", -3, W | OOM | STR, ONE_KEY(KEYS_RW_VARIABLE), DATA(encode_set), "string", "1.0.0", "O(1)",
     "Set a key's value, with conditions (NX, XX, IFEQ), a time to live, and the old value on request"},
    {"setnx", 3, W | OOM | F | STR, ONE_KEY(KEYS_OW_INSERT), DATA(encode_setnx), "string", "1.0.0", "O(1)",
     "Set a key's value if there is none"},
    {"setex", 4, W | OOM | STR, ONE_KEY(KEYS_OW_UPDATE), DATA(encode_setex), "string", "2.0.0", "O(1)",
     "Set a key's value and its time to live in seconds"},
    {"psetex", 4, W | OOM | STR, ONE_KEY(KEYS_OW_UPDATE), DATA(encode_psetex), "string", "2.6.0", "O(1)",
     "Set a key's value and its time to live in milliseconds"},
    {"getset", 3, W | OOM | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_getset), "string", "1.0.0", "O(1)",
     "Set a key's value and get the old one"},
    {"getdel", 2, W | F | STR, ONE_KEY(KEYS_RW_ACCESS_DELETE), DATA(encode_getdel), "string", "6.2.0", "O(1)",
     "Get a key's value and delete the key"},
    {"getex", -2, W | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_getex), "string", "6.2.0", "O(1)",
     "Get a key's value and change its time to live"},
    {"mget", -2, R | F | STR, ALL_KEYS(KEYS_RO_ACCESS), DATA(encode_mget), "string", "1.0.0",
     "O(N) in the number of keys", "Get the values of several keys"},
    {"mset", -3, W | OOM | STR, 1, -1, 2, KEYS_OW_UPDATE, DATA(encode_mset), "string", "1.0.1",
     "O(N) in the number of keys", "Set several keys at once"},
    {"msetnx", -3, W | OOM | STR, 1, -1, 2, KEYS_OW_INSERT, DATA(encode_msetnx), "string", "1.0.1",
     "O(N) in the number of keys", "Set several keys at once if none of them exists"},
    {"strlen", 2, R | F | STR, ONE_KEY(KEYS_RO), DATA(encode_strlen), "string", "2.2.0", "O(1)",
     "Length of a value in bytes"},
    {"append", 3, W | OOM | F | STR, ONE_KEY(KEYS_RW_INSERT), DATA(encode_append), "string", "2.0.0",
     "O(N) in the length of the new value", "Append to a value"},
    {"getrange", 4, R | STR, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_getrange), "string", "2.4.0",
     "O(N) in the length returned", "Part of a value"},
    {"substr", 4, R | STR, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_getrange), "string", "1.0.0",
     "O(N) in the length returned", "Part of a value (old name of GETRANGE)"},
    {"setrange", 4, W | OOM | STR, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_setrange), "string", "2.2.0",
     "O(N) in the length of the new value", "Overwrite part of a value from an offset on"},
    {"incr", 2, W | OOM | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_incr), "string", "1.0.0", "O(1)",
     "Add one to an integer"},
    {"decr", 2, W | OOM | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_decr), "string", "1.0.0", "O(1)",
     "Take one from an integer"},
    {"incrby", 3, W | OOM | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_incrby), "string", "1.0.0", "O(1)",
     "Add to an integer"},
    {"decrby", 3, W | OOM | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_decrby), "string", "1.0.0", "O(1)",
     "Take from an integer"},
    {"incrbyfloat", 3, W | OOM | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_incrbyfloat), "string", "2.6.0",
     "O(1)", "Add to a number"},
    {"lcs", -3, R | STR, 1, 2, 1, KEYS_RO_ACCESS, DATA(encode_lcs), "string", "7.0.0", "O(N*M) in the lengths",
     "Longest common subsequence of two values"},
    {"delifeq", 3, W | F | STR, ONE_KEY(KEYS_RM_DELETE), DATA(encode_delifeq), "string", "7.2.0", "O(1)",
     "Delete a key if its value is the one given"},
    {"delex", -2, W | F | STR, ONE_KEY(KEYS_RM_DELETE), DATA(encode_delex), "string", "7.2.0", "O(1)",
     "Delete a key, on condition of its value (IFEQ, IFNE)"},

    /* Values with a type and a version. */
    {"vget", 2, R | F | STR, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_vget), "string", "7.2.0", "O(1)",
     "Value, type, version and milliseconds left of a key"},
    {"vmget", -2, R | F | STR, ALL_KEYS(KEYS_RO_ACCESS), DATA(encode_vmget), "string", "7.2.0",
     "O(N) in the number of keys", "VGET of several keys"},
    {"vset", -3, W | OOM | STR, ONE_KEY(KEYS_RW_VARIABLE), DATA(encode_vset), "string", "7.2.0", "O(1)",
     "Set a key's value and type, on condition of its version, value or presence; answers the new version"},
    {"cas", -4, W | OOM | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_cas), "string", "7.2.0", "O(1)",
     "Replace a value, or create or delete a key, if the old value and type are the ones given"},
    {"vincr", -3, W | OOM | F | STR, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_vincr), "string", "7.2.0", "O(1)",
     "Add an integer or a float to a number that keeps its type"},
    {"vappend", -3, W | OOM | F | STR, ONE_KEY(KEYS_RW_INSERT), DATA(encode_vappend), "string", "7.2.0",
     "O(N) in the length of the new value", "Append to a value with a separator between"},

    /* Lists. */
    {"lpush", -3, W | OOM | F | LIST, ONE_KEY(KEYS_RW_INSERT), DATA(encode_lpush), "list", "1.0.0",
     "O(1) for each element", "Add elements at the head of a list, the last one given first"},
    {"rpush", -3, W | OOM | F | LIST, ONE_KEY(KEYS_RW_INSERT), DATA(encode_rpush), "list", "1.0.0",
     "O(1) for each element", "Add elements at the tail of a list"},
    {"lpushx", -3, W | OOM | F | LIST, ONE_KEY(KEYS_RW_INSERT), DATA(encode_lpushx), "list", "2.2.0",
     "O(1) for each element", "Add elements at the head of a list that exists"},
    {"rpushx", -3, W | OOM | F | LIST, ONE_KEY(KEYS_RW_INSERT), DATA(encode_rpushx), "list", "2.2.0",
     "O(1) for each element", "Add elements at the tail of a list that exists"},
    {"linsert", 5, W | OOM | LIST, ONE_KEY(KEYS_RW_INSERT), DATA(encode_linsert), "list", "2.2.0",
     "O(N) in the elements before the pivot", "Insert an element before or after another"},
    {"lpop", -2, W | F | LIST, ONE_KEY(KEYS_RW_ACCESS_DELETE), DATA(encode_lpop), "list", "1.0.0",
     "O(N) in the elements popped", "Take elements from the head of a list"},
    {"rpop", -2, W | F | LIST, ONE_KEY(KEYS_RW_ACCESS_DELETE), DATA(encode_rpop), "list", "1.0.0",
     "O(N) in the elements popped", "Take elements from the tail of a list"},
    {"lmpop", -4, W | LIST, NO_KEYS, DATA(encode_lmpop), "list", "7.0.0", "O(N) in the keys and the elements popped",
     "Take elements from the first list that has some"},
    {"llen", 2, R | F | LIST, ONE_KEY(KEYS_RO), DATA(encode_llen), "list", "1.0.0", "O(1)", "Length of a list"},
    {"lindex", 3, R | LIST, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_lindex), "list", "1.0.0",
     "O(N) in the elements to the nearer end", "The element at an index"},
    {"lrange", 4, R | LIST, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_lrange), "list", "1.0.0",
     "O(N) in the elements returned and those before them", "The elements of a range of indexes"},
    {"lpos", -3, R | LIST, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_lpos), "list", "6.0.6", "O(N) in the elements",
     "The indexes of equal elements"},
    {"lset", 4, W | OOM | LIST, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_lset), "list", "1.0.0",
     "O(N) in the elements to the nearer end", "Set the element at an index"},
    {"lrem", 4, W | LIST, ONE_KEY(KEYS_RW_DELETE), DATA(encode_lrem), "list", "1.0.0", "O(N) in the elements",
     "Remove elements that are equal to one"},
    {"ltrim", 4, W | LIST, ONE_KEY(KEYS_RW_DELETE), DATA(encode_ltrim), "list", "1.0.0", "O(N) in the elements removed",
     "Keep the elements of a range of indexes only"},
    {"lmove", 5, W | OOM | LIST, 1, 2, 1, KEYS_RW_ACCESS_DELETE, DATA(encode_lmove), "list", "6.2.0", "O(1)",
     "Move an element from an end of a list to an end of another"},
    {"rpoplpush", 3, W | OOM | LIST, 1, 2, 1, KEYS_RW_ACCESS_DELETE, DATA(encode_rpoplpush), "list", "1.2.0", "O(1)",
     "Move an element from the tail of a list to the head of another"},
    {"blpop", -3, W | BLOCK | LIST, 1, -2, 1, KEYS_RW_ACCESS_DELETE, DATA(encode_blpop), "list", "2.0.0",
     "O(N) in the keys", "Take an element from the head of the first list that has one, or wait for it"},
    {"brpop", -3, W | BLOCK | LIST, 1, -2, 1, KEYS_RW_ACCESS_DELETE, DATA(encode_brpop), "list", "2.0.0",
     "O(N) in the keys", "Take an element from the tail of the first list that has one, or wait for it"},
    {"blmove", 6, W | OOM | BLOCK | LIST, 1, 2, 1, KEYS_RW_ACCESS_DELETE, DATA(encode_blmove), "list", "6.2.0", "O(1)",
     "Move an element from an end of a list to an end of another, or wait for one"},
    {"brpoplpush", 4, W | OOM | BLOCK | LIST, 1, 2, 1, KEYS_RW_ACCESS_DELETE, DATA(encode_brpoplpush), "list", "2.2.0",
     "O(1)", "Move an element from the tail of a list to the head of another, or wait for one"},
    {"blmpop", -5, W | BLOCK | LIST, NO_KEYS, DATA(encode_blmpop), "list", "7.0.0",
     "O(N) in the keys and the elements popped", "Take elements from the first list that has some, or wait for them"},

    /* Hashes. */
    {"hset", -4, W | OOM | F | HASH, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_hset), "hash", "2.0.0", "O(1) for each field",
     "Set fields of a hash; answers how many are new"},
    {"hmset", -4, W | OOM | F | HASH, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_hmset), "hash", "2.0.0",
     "O(1) for each field", "Set fields of a hash"},
    {"hsetnx", 4, W | OOM | F | HASH, ONE_KEY(KEYS_RW_INSERT), DATA(encode_hsetnx), "hash", "2.0.0", "O(1)",
     "Set a field of a hash if there is none of that name"},
    {"hget", 3, R | F | HASH, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_hget), "hash", "2.0.0", "O(1)",
     "The value of a field"},
    {"hmget", -3, R | F | HASH, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_hmget), "hash", "2.0.0",
     "O(N) in the fields asked for", "The values of fields"},
    {"hgetall", 2, R | HASH, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_hgetall), "hash", "2.0.0", "O(N) in the fields",
     "All fields and values"},
    {"hkeys", 2, R | HASH, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_hkeys), "hash", "2.0.0", "O(N) in the fields",
     "All fields"},
    {"hvals", 2, R | HASH, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_hvals), "hash", "2.0.0", "O(N) in the fields",
     "All values"},
    {"hdel", -3, W | F | HASH, ONE_KEY(KEYS_RW_DELETE), DATA(encode_hdel), "hash", "2.0.0", "O(1) for each field",
     "Delete fields of a hash"},
    {"hexists", 3, R | F | HASH, ONE_KEY(KEYS_RO), DATA(encode_hexists), "hash", "2.0.0", "O(1)",
     "Is there a field of that name?"},
    {"hlen", 2, R | F | HASH, ONE_KEY(KEYS_RO), DATA(encode_hlen), "hash", "2.0.0", "O(1)", "Number of fields"},
    {"hstrlen", 3, R | F | HASH, ONE_KEY(KEYS_RO), DATA(encode_hstrlen), "hash", "3.2.0", "O(1)",
     "Length of a field's value in bytes"},
    {"hincrby", 4, W | OOM | F | HASH, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_hincrby), "hash", "2.0.0", "O(1)",
     "Add to an integer in a field"},
    {"hincrbyfloat", 4, W | OOM | F | HASH, ONE_KEY(KEYS_RW_ACCESS_UPDATE), DATA(encode_hincrbyfloat), "hash", "2.6.0",
     "O(1)", "Add to a number in a field"},
    {"hscan", -3, R | HASH, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_hscan), "hash", "2.8.0", "O(1) a call",
     "Walk through the fields; a cursor is good on every node"},
    {"hrandfield", -2, R | HASH, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_hrandfield), "hash", "6.2.0",
     "O(N) in the fields when several are asked for", "Random fields"},

    /* Keys. */
    {"del", -2, W | KEYSP, ALL_KEYS(KEYS_RM_DELETE), DATA(encode_del), "generic", "1.0.0", "O(N) in the number of keys",
     "Delete keys"},
    {"unlink", -2, W | F | KEYSP, ALL_KEYS(KEYS_RM_DELETE), DATA(encode_del), "generic", "4.0.0",
     "O(N) in the number of keys", "Delete keys (the same as DEL)"},
    {"exists", -2, R | F | KEYSP, ALL_KEYS(KEYS_RO), DATA(encode_exists), "generic", "1.0.0",
     "O(N) in the number of keys", "How many of the keys exist"},
    {"touch", -2, R | F | KEYSP, ALL_KEYS(KEYS_RO), DATA(encode_exists), "generic", "3.2.1",
     "O(N) in the number of keys", "How many of the keys exist (there is no access time to change)"},
    {"type", 2, R | F | KEYSP, ONE_KEY(KEYS_RO), DATA(encode_type), "generic", "1.0.0", "O(1)",
     "The type of a key's value"},
    {"rename", 3, W | KEYSP, 1, 2, 1, KEYS_RW_ACCESS_DELETE, DATA(encode_rename), "generic", "1.0.0", "O(1)",
     "Rename a key"},
    {"renamenx", 3, W | F | KEYSP, 1, 2, 1, KEYS_RW_ACCESS_DELETE, DATA(encode_renamenx), "generic", "1.0.0", "O(1)",
     "Rename a key if the new name is free"},
    {"copy", -3, W | OOM | KEYSP, 1, 2, 1, KEYS_RO_ACCESS, DATA(encode_copy), "generic", "6.2.0",
     "O(N) in the length of the value", "Copy a key's value to another key"},
    {"keys", 2, R | KEYSP | ROW_DANGEROUS, NO_KEYS, DATA(encode_keys), "generic", "1.0.0",
     "O(N) in the number of all keys", "All keys that match a pattern"},
    {"scan", -2, R | KEYSP, NO_KEYS, DATA(encode_scan), "generic", "2.8.0", "O(1) a call",
     "Walk through the keys; a cursor is good on every node"},
    {"randomkey", 1, R | KEYSP, NO_KEYS, DATA(encode_randomkey), "generic", "1.0.0", "O(1)", "A random key"},
    {"dbsize", 1, R | F | KEYSP, NO_KEYS, DATA(encode_dbsize), "server", "1.0.0", "O(1)", "Number of keys"},
    {"flushdb", -1, W | KEYSP | ROW_DANGEROUS, NO_KEYS, DATA(encode_flush), "server", "1.0.0",
     "O(N) in the number of all keys", "Delete all keys"},
    {"flushall", -1, W | KEYSP | ROW_DANGEROUS, NO_KEYS, DATA(encode_flush), "server", "1.0.0",
     "O(N) in the number of all keys", "Delete all keys"},
    {"sort", -2, W | OOM | ROW_DANGEROUS, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_sort), "generic", "1.0.0", "O(1)",
     "Sort elements (not supported: only for a key that is missing)"},
    {"sort_ro", -2, R | ROW_DANGEROUS, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_sort), "generic", "7.0.0", "O(1)",
     "Sort elements (not supported: only for a key that is missing)"},
    {"object", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "generic", "2.2.3", "depends on the subcommand",
     "About a key's value"},
    {"object|encoding", 3, R | KEYSP, 2, 2, 1, KEYS_RO, DATA(encode_object_encoding), "generic", "2.2.3", "O(1)",
     "How a value is represented"},
    {"object|freq", 3, R | KEYSP, 2, 2, 1, KEYS_RO, DATA(encode_object_freq), "generic", "4.0.0", "O(1)",
     "Access frequency of a key (not counted)"},
    {"object|idletime", 3, R | KEYSP, 2, 2, 1, KEYS_RO, DATA(encode_object_idletime), "generic", "2.2.3", "O(1)",
     "Seconds since the last access (not kept)"},
    {"object|refcount", 3, R | KEYSP, 2, 2, 1, KEYS_RO, DATA(encode_object_refcount), "generic", "2.2.3", "O(1)",
     "References to a value"},
    {"object|help", 2, ANYTIME | KEYSP, NO_KEYS, LOCAL(run_object_help), "generic", "6.2.0", "O(1)", "The subcommands"},

    /* Time. */
    {"expire", -3, W | F | KEYSP, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_expire), "generic", "1.0.0", "O(1)",
     "Set a key's time to live in seconds"},
    {"pexpire", -3, W | F | KEYSP, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_pexpire), "generic", "2.6.0", "O(1)",
     "Set a key's time to live in milliseconds"},
    {"expireat", -3, W | F | KEYSP, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_expireat), "generic", "1.2.0", "O(1)",
     "Let a key end at a unix time in seconds"},
    {"pexpireat", -3, W | F | KEYSP, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_pexpireat), "generic", "2.6.0", "O(1)",
     "Let a key end at a unix time in milliseconds"},
    {"ttl", 2, R | F | KEYSP, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_ttl), "generic", "1.0.0", "O(1)",
     "Seconds a key has left"},
    {"pttl", 2, R | F | KEYSP, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_pttl), "generic", "2.6.0", "O(1)",
     "Milliseconds a key has left"},
    {"expiretime", 2, R | F | KEYSP, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_expiretime), "generic", "7.0.0", "O(1)",
     "Unix time in seconds at which a key ends"},
    {"pexpiretime", 2, R | F | KEYSP, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_pexpiretime), "generic", "7.0.0", "O(1)",
     "Unix time in milliseconds at which a key ends"},
    {"persist", 2, W | F | KEYSP, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_persist), "generic", "2.2.0", "O(1)",
     "Take away a key's time to live"},

    /* Sessions. */
    {"session", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "session", "7.2.0", "depends on the subcommand",
     "Who is there, and which of their commands are done"},
    {"session|open", -2, W | ALONE | F, NO_KEYS, DATA(encode_session_open), "session", "7.2.0", "O(1)",
     "Open a session that ends when it is not used for its time to live; answers its id"},
    {"session|keepalive", 3, W | ALONE | F, NO_KEYS, DATA(encode_session_keepalive), "session", "7.2.0", "O(1)",
     "Renew a session"},
    {"session|close", 3, W | ALONE, NO_KEYS, DATA(encode_session_close), "session", "7.2.0", "O(N) in what it owns",
     "End a session and free what it owns"},
    {"session|info", 3, R | F, NO_KEYS, DATA(encode_session_info), "session", "7.2.0", "O(N) in the locks it owns",
     "About a session"},
    {"session|list", 2, R | ROW_DANGEROUS, NO_KEYS, DATA(encode_session_list), "session", "7.2.0",
     "O(N) in the sessions", "All sessions"},
    {"session|help", 2, ANYTIME, NO_KEYS, LOCAL(run_session_help), "session", "7.2.0", "O(1)", "The subcommands"},
    {"once", -4, W | OOM | ALONE | ROW_FRAMED, NO_KEYS, DATA(encode_once), "session", "7.2.0", "that of the command",
     "Do a write once for a session's serial number, however often it is sent; answers the first answer"},

    /* Locks. */
    {"lock", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "session", "7.2.0", "depends on the subcommand",
     "Locks and semaphores, owned by sessions, granted in arrival order"},
    {"lock|acquire", -4, W | OOM | ROW_NOSCRIPT | ROW_BLOCKING, NO_KEYS, DATA(encode_lock_acquire), "session", "7.2.0",
     "O(N) in the waiters", "Hold a lock or permits of a semaphore, now or when it is this request's turn"},
    {"lock|release", -4, W | F | ROW_NOSCRIPT, NO_KEYS, DATA(encode_lock_release), "session", "7.2.0",
     "O(N) in the waiters", "Let go of a lock; the next waiter gets it"},
    {"lock|break", -3, W | ROW_NOSCRIPT | ROW_ADMIN | ROW_DANGEROUS, NO_KEYS, DATA(encode_lock_break), "session",
     "7.2.0", "O(N) in the waiters", "Put out whoever holds a lock"},
    {"lock|info", 3, R, NO_KEYS, DATA(encode_lock_info), "session", "7.2.0", "O(N) in holders and waiters",
     "Who holds a lock, and who waits for it"},
    {"lock|list", -2, R | ROW_DANGEROUS, NO_KEYS, DATA(encode_lock_list), "session", "7.2.0", "O(N) in the locks",
     "Locks that are held"},
    {"lock|help", 2, ANYTIME, NO_KEYS, LOCAL(run_lock_help), "session", "7.2.0", "O(1)", "The subcommands"},
    {"guard", -4, W | OOM | ROW_NOSCRIPT | ROW_FRAMED, NO_KEYS, DATA(encode_guard), "session", "7.2.0",
     "that of the command", "Do a command only if the token is that of a present holder of the lock"},

    /* Limits. */
    {"limit", -8, W | OOM | F, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_limit), "limit", "7.2.0", "O(1)",
     "May this be done now? Counts it against a rate, if so"},
    {"breaker", -3, W | OOM | F, ONE_KEY(KEYS_RW_UPDATE), DATA(encode_breaker), "limit", "7.2.0",
     "O(N) in the failures that open it", "May calls be made, and how they went: a circuit breaker for all workers"},

    /* Transactions. */
    {"multi", 1, F | TX, NO_KEYS, LOCAL(run_multi), "transactions", "1.2.0", "O(1)", "Begin a transaction"},
    {"exec", 1, TX, NO_KEYS, LOCAL(run_exec), "transactions", "1.2.0", "depends on the commands queued",
     "Do what was queued since MULTI, all at one instant, unless a watched key has changed"},
    {"discard", 1, F | TX, NO_KEYS, LOCAL(run_discard), "transactions", "2.0.0", "O(N) in the commands queued",
     "Forget what was queued since MULTI"},
    {"watch", -2, F | TX, ALL_KEYS(KEYS_RO), LOCAL(run_watch), "transactions", "2.2.0", "O(1) for each key",
     "Let the next EXEC do nothing if one of the keys changes before it"},
    {"unwatch", 1, F | ROW_NOSCRIPT | ANYTIME | ROW_TRANSACTION, NO_KEYS, LOCAL(run_unwatch), "transactions", "2.2.0",
     "O(1)", "End all watches of the connection"},

    /* Scripts. */
    {"eval", -3, SCRIPT, NO_KEYS, DATA(encode_eval), "scripting", "2.6.0", "depends on the script", "Run a Lua script"},
    {"evalsha", -3, SCRIPT, NO_KEYS, DATA(encode_evalsha), "scripting", "2.6.0", "depends on the script",
     "Run a kept Lua script, named by its SHA-1"},
    {"eval_ro", -3, SCRIPT | R, NO_KEYS, DATA(encode_eval_ro), "scripting", "7.0.0", "depends on the script",
     "Run a Lua script that only reads, without a write to the log"},
    {"evalsha_ro", -3, SCRIPT | R, NO_KEYS, DATA(encode_evalsha_ro), "scripting", "7.0.0", "depends on the script",
     "Run a kept Lua script that only reads"},
    {"script", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "scripting", "2.6.0", "depends on the subcommand",
     "Kept Lua scripts"},
    {"script|exists", -3, ROW_NOSCRIPT | ROW_SCRIPTING | R, NO_KEYS, DATA(encode_script_exists), "scripting", "2.6.0",
     "O(N) in the scripts asked for", "Which scripts are kept"},
    {"script|flush", -2, ROW_NOSCRIPT | ROW_SCRIPTING, NO_KEYS, DATA(encode_script_flush), "scripting", "2.6.0", "O(1)",
     "Forget all kept scripts, on all nodes"},
    {"script|help", 2, ANYTIME | ROW_SCRIPTING, NO_KEYS, LOCAL(run_script_help), "scripting", "5.0.0", "O(1)",
     "The subcommands"},
    {"script|kill", 2, ROW_NOSCRIPT | ROW_SCRIPTING, NO_KEYS, LOCAL(run_script_kill), "scripting", "2.6.0", "O(1)",
     "Nothing to do: scripts end by themselves"},
    {"script|load", 3, ROW_NOSCRIPT | ROW_SCRIPTING, NO_KEYS, DATA(encode_script_load), "scripting", "2.6.0",
     "O(N) in the script's length", "Keep a script on all nodes; answers its SHA-1"},

    /* Publishing and waiting. */
    {"publish", 3, F | SUB, NO_KEYS, DATA(encode_publish), "pubsub", "2.0.0", "O(N) in the subscribers",
     "Send a message to the subscribers of a channel, at all nodes"},
    {"subscribe", -2, SUBSCRIBES, NO_KEYS, LOCAL(run_subscribe), "pubsub", "2.0.0", "O(N) in the channels",
     "Hear what is published to channels"},
    {"unsubscribe", -1, SUBSCRIBES, NO_KEYS, LOCAL(run_unsubscribe), "pubsub", "2.0.0", "O(N) in the channels",
     "Hear of channels, or of any, no more"},
    {"psubscribe", -2, SUBSCRIBES, NO_KEYS, LOCAL(run_psubscribe), "pubsub", "2.0.0", "O(N) in the patterns",
     "Hear what is published to channels that match patterns"},
    {"punsubscribe", -1, SUBSCRIBES, NO_KEYS, LOCAL(run_punsubscribe), "pubsub", "2.0.0", "O(N) in the patterns",
     "Hear of patterns, or of any, no more"},
    {"pubsub", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "pubsub", "2.8.0", "depends on the subcommand",
     "Who is subscribed to what at this node"},
    {"pubsub|channels", -2, SUB, NO_KEYS, LOCAL(run_pubsub_channels), "pubsub", "2.8.0", "O(N) in the channels",
     "The channels that clients of this node are subscribed to"},
    {"pubsub|help", 2, ANYTIME, NO_KEYS, LOCAL(run_pubsub_help), "pubsub", "6.2.0", "O(1)", "The subcommands"},
    {"pubsub|numpat", 2, SUB, NO_KEYS, LOCAL(run_pubsub_numpat), "pubsub", "2.8.0", "O(1)",
     "How many patterns clients of this node are subscribed to"},
    {"pubsub|numsub", -2, SUB, NO_KEYS, LOCAL(run_pubsub_numsub), "pubsub", "2.8.0", "O(N) in the channels asked for",
     "How many clients of this node are subscribed to each channel"},
    {"history", -4, R | ROW_BLOCKING | ROW_NOSCRIPT, NO_KEYS, LOCAL(run_history), "generic", "7.2.0",
     "O(N) in the changes looked at",
     "The changes of keys that begin with a prefix, by revision; may wait for the next"},
    {"waitfor", -4, R | ROW_BLOCKING, ONE_KEY(KEYS_RO_ACCESS), DATA(encode_waitfor), "generic", "7.2.0", "O(1)",
     "Wait until a key has a newer version or a value, exists or is absent; answers value and version"},

    /* Connection. */
    {"ping", -1, F | ROW_SUBSCRIBER | ROW_CONNECTION, NO_KEYS, LOCAL(run_ping), "connection", "1.0.0", "O(1)",
     "Is the node there?"},
    {"echo", 2, F | ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_echo), "connection", "1.0.0", "O(1)",
     "The argument back"},
    {"quit", -1, F | ROW_SUBSCRIBER | CONN | ROW_NO_AUTH | ROW_TX_NOW, NO_KEYS, LOCAL(run_quit), "connection", "1.0.0",
     "O(1)", "Close the connection"},
    {"reset", 1, F | ROW_SUBSCRIBER | CONN | ROW_NO_AUTH | ROW_TX_NOW, NO_KEYS, LOCAL(run_reset), "connection", "6.2.0",
     "O(1)", "Bring the connection back to how it began"},
    {"hello", -1, F | CONN | ROW_NO_AUTH, NO_KEYS, LOCAL(run_hello), "connection", "6.0.0", "O(1)",
     "Choose the protocol's version and introduce oneself"},
    {"auth", -2, F | CONN | ROW_NO_AUTH, NO_KEYS, LOCAL(run_auth), "connection", "1.0.0", "O(1)", "Authenticate"},
    {"select", 2, F | ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_select), "connection", "1.0.0", "O(1)",
     "Choose a database (there is only 0)"},
    {"readonly", 1, F | ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_readonly), "cluster", "3.0.0", "O(1)",
     "Answer this connection's reads from this node's own, possibly stale state"},
    {"readwrite", 1, F | ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_readwrite), "cluster", "3.0.0", "O(1)",
     "End READONLY: reads are linearizable again"},
    {"asking", 1, F | ROW_CONNECTION, NO_KEYS, LOCAL(run_asking), "cluster", "3.0.0", "O(1)",
     "For Redis Cluster's slot moves, which there are none of"},
    {"client", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "connection", "2.4.0", "depends on the subcommand",
     "About client connections"},
    {"client|caching", 3, CONN, NO_KEYS, LOCAL(run_client_caching), "connection", "6.0.0", "O(1)",
     "For client tracking, which is not supported"},
    {"client|capa", -3, CONN, NO_KEYS, LOCAL(run_client_capa), "connection", "7.2.0", "O(1)",
     "Say what this client can do"},
    {"client|deadline", 3, CONN, NO_KEYS, LOCAL(run_client_deadline), "connection", "7.2.0", "O(1)",
     "Set the connection's own request deadline in milliseconds; 0: the node's"},
    {"client|getname", 2, CONN, NO_KEYS, LOCAL(run_client_getname), "connection", "2.6.9", "O(1)",
     "The connection's name"},
    {"client|getredir", 2, CONN, NO_KEYS, LOCAL(run_client_getredir), "connection", "6.0.0", "O(1)",
     "For client tracking, which is not supported"},
    {"client|help", 2, ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_client_help), "connection", "5.0.0", "O(1)",
     "The subcommands"},
    {"client|id", 2, CONN, NO_KEYS, LOCAL(run_client_id), "connection", "5.0.0", "O(1)", "The connection's number"},
    {"client|info", 2, CONN, NO_KEYS, LOCAL(run_client_info), "connection", "6.2.0", "O(1)", "About this connection"},
    {"client|kill", -3, ADM_CONN, NO_KEYS, LOCAL(run_client_kill), "connection", "2.4.0", "O(N) in the connections",
     "Close connections"},
    {"client|list", -2, ADM_CONN, NO_KEYS, LOCAL(run_client_list), "connection", "2.4.0", "O(N) in the connections",
     "About all connections"},
    {"client|no-evict", 3, ADM_CONN, NO_KEYS, LOCAL(run_client_no_evict), "connection", "7.0.0", "O(1)",
     "Accepted; connections are not evicted"},
    {"client|no-touch", 3, CONN, NO_KEYS, LOCAL(run_client_no_touch), "connection", "7.2.0", "O(1)",
     "Accepted; there are no access times"},
    {"client|pause", -3, ADM_CONN, NO_KEYS, LOCAL(run_client_pause), "connection", "3.0.0", "O(1)",
     "Hold back this node's clients for some milliseconds"},
    {"client|reply", 3, CONN | ROW_NO_MULTI, NO_KEYS, LOCAL(run_client_reply), "connection", "3.2.0", "O(1)",
     "Switch replies on or off, or skip one"},
    {"client|setinfo", 4, CONN, NO_KEYS, LOCAL(run_client_setinfo), "connection", "7.2.0", "O(1)",
     "Tell the client library's name or version"},
    {"client|setname", 3, CONN, NO_KEYS, LOCAL(run_client_setname), "connection", "2.6.9", "O(1)",
     "Name the connection"},
    {"client|tracking", -3, CONN, NO_KEYS, LOCAL(run_client_tracking), "connection", "6.0.0", "O(1)",
     "Not supported but for OFF"},
    {"client|trackinginfo", 2, CONN, NO_KEYS, LOCAL(run_client_trackinginfo), "connection", "6.2.0", "O(1)",
     "For client tracking, which is not supported"},
    {"client|unblock", -3, ADM_CONN, NO_KEYS, LOCAL(run_client_unblock), "connection", "5.0.0",
     "O(N) in the connections", "End another connection's WAIT"},
    {"client|unpause", 2, ADM_CONN, NO_KEYS, LOCAL(run_client_unpause), "connection", "6.2.0",
     "O(N) in the connections", "End CLIENT PAUSE"},

    /* Server. */
    {"info", -1, ANYTIME | ROW_DANGEROUS, NO_KEYS, LOCAL(run_info), "server", "1.0.0", "O(1)",
     "About this node and its cluster"},
    {"command", -1, ANYTIME | ROW_CONTAINER | ROW_CONNECTION, NO_KEYS, LOCAL(run_command), "server", "2.8.13",
     "O(N) in the commands", "About commands"},
    {"command|count", 2, ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_command_count), "server", "2.8.13", "O(1)",
     "How many commands there are"},
    {"command|docs", -2, ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_command_docs), "server", "7.0.0",
     "O(N) in the commands asked for", "Documentation of commands"},
    {"command|getkeys", -4, ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_command_getkeys), "server", "2.8.13",
     "O(N) in the arguments", "The keys of a command"},
    {"command|help", 2, ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_command_help), "server", "5.0.0", "O(1)",
     "The subcommands"},
    {"command|info", -2, ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_command_info), "server", "2.8.13",
     "O(N) in the commands asked for", "Arity, flags and keys of commands"},
    {"command|list", -2, ANYTIME | ROW_CONNECTION, NO_KEYS, LOCAL(run_command_list), "server", "7.0.0",
     "O(N) in the commands", "Names of commands"},
    {"config", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "server", "2.0.0", "depends on the subcommand",
     "This node's settings"},
    {"config|get", -3, ADM | ANYTIME, NO_KEYS, LOCAL(run_config_get), "server", "2.0.0", "O(N) in the settings",
     "Settings that match patterns"},
    {"config|help", 2, ANYTIME, NO_KEYS, LOCAL(run_config_help), "server", "5.0.0", "O(1)", "The subcommands"},
    {"config|resetstat", 2, ADM | ANYTIME, NO_KEYS, LOCAL(run_config_resetstat), "server", "2.0.0", "O(1)",
     "Set the counters of INFO to zero"},
    {"config|rewrite", 2, ADM | ANYTIME, NO_KEYS, LOCAL(run_config_rewrite), "server", "2.8.0", "O(1)",
     "Not supported: the file is the operator's"},
    {"config|set", -4, ADM | ANYTIME, NO_KEYS, LOCAL(run_config_set), "server", "2.0.0", "O(N) in the settings given",
     "Change settings while the node runs"},
    {"time", 1, F | ANYTIME, NO_KEYS, LOCAL(run_time), "server", "2.6.0", "O(1)", "This node's wall clock"},
    {"role", 1, F | ANYTIME | ROW_NOSCRIPT | ROW_ADMIN | ROW_DANGEROUS, NO_KEYS, LOCAL(run_role), "server", "2.8.12",
     "O(1)", "The node's part in replication"},
    {"wait", 3, ROW_BLOCKING | ROW_CONNECTION, NO_KEYS, LOCAL(run_wait), "generic", "3.0.0", "O(1)",
     "Wait until so many other nodes hold what this connection has written; answers how many do"},
    {"lastsave", 1, F | ANYTIME | ROW_ADMIN | ROW_DANGEROUS, NO_KEYS, LOCAL(run_lastsave), "server", "1.0.0", "O(1)",
     "When the state was last saved: now, since every write is durable"},
    {"save", 1, ADM | ROW_NO_MULTI, NO_KEYS, LOCAL(run_save), "server", "1.0.0", "O(1)",
     "Nothing to do: every write is durable"},
    {"bgsave", -1, ADM, NO_KEYS, LOCAL(run_save), "server", "1.0.0", "O(1)", "Nothing to do: every write is durable"},
    {"shutdown", -1, ADM | ROW_NO_MULTI | ANYTIME, NO_KEYS, LOCAL(run_shutdown), "server", "1.0.0", "O(1)",
     "Hand leadership over, finish what is under way, and end this node"},
    {"debug", -2, ADM | ANYTIME, NO_KEYS, LOCAL(run_debug), "server", "1.0.0", "O(1)", "Not allowed"},
    {"lolwut", -1, R | F, NO_KEYS, LOCAL(run_lolwut), "server", "5.0.0", "O(1)", "A picture and the version"},
    {"memory", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "server", "4.0.0", "depends on the subcommand", "About memory"},
    {"memory|doctor", 2, 0, NO_KEYS, LOCAL(run_memory_doctor), "server", "4.0.0", "O(1)", "Is memory used well?"},
    {"memory|help", 2, ANYTIME, NO_KEYS, LOCAL(run_memory_help), "server", "4.0.0", "O(1)", "The subcommands"},
    {"memory|malloc-stats", 2, 0, NO_KEYS, LOCAL(run_memory_malloc_stats), "server", "4.0.0", "O(1)",
     "What the allocator says of itself"},
    {"memory|purge", 2, 0, NO_KEYS, LOCAL(run_memory_purge), "server", "4.0.0", "O(N) in the free memory",
     "Give free memory back to the system"},
    {"memory|stats", 2, 0, NO_KEYS, LOCAL(run_memory_stats), "server", "4.0.0", "O(1)", "Where memory is"},
    {"memory|usage", -3, R, 2, 2, 1, KEYS_RO, DATA(encode_memory_usage), "server", "4.0.0", "O(1)",
     "Bytes a key takes"},
    {"latency", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "server", "2.8.13", "depends on the subcommand",
     "Latency spikes (none are recorded)"},
    {"latency|doctor", 2, ADM | ANYTIME, NO_KEYS, LOCAL(run_latency_doctor), "server", "2.8.13", "O(1)",
     "Latency spikes (none are recorded)"},
    {"latency|help", 2, ANYTIME, NO_KEYS, LOCAL(run_latency_help), "server", "2.8.13", "O(1)", "The subcommands"},
    {"latency|history", 3, ADM | ANYTIME, NO_KEYS, LOCAL(run_latency_empty), "server", "2.8.13", "O(1)",
     "Latency spikes (none are recorded)"},
    {"latency|latest", 2, ADM | ANYTIME, NO_KEYS, LOCAL(run_latency_empty), "server", "2.8.13", "O(1)",
     "Latency spikes (none are recorded)"},
    {"latency|reset", -2, ADM | ANYTIME, NO_KEYS, LOCAL(run_latency_reset), "server", "2.8.13", "O(1)",
     "Latency spikes (none are recorded)"},
    {"slowlog", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "server", "2.2.12", "depends on the subcommand",
     "Slow commands (none are recorded)"},
    {"slowlog|get", -2, ADM | ANYTIME, NO_KEYS, LOCAL(run_slowlog_get), "server", "2.2.12", "O(1)",
     "Slow commands (none are recorded)"},
    {"slowlog|help", 2, ANYTIME, NO_KEYS, LOCAL(run_slowlog_help), "server", "6.2.0", "O(1)", "The subcommands"},
    {"slowlog|len", 2, ADM | ANYTIME, NO_KEYS, LOCAL(run_slowlog_len), "server", "2.2.12", "O(1)",
     "Slow commands (none are recorded)"},
    {"slowlog|reset", 2, ADM | ANYTIME, NO_KEYS, LOCAL(run_slowlog_reset), "server", "2.2.12", "O(1)",
     "Slow commands (none are recorded)"},
    {"module", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "server", "4.0.0", "depends on the subcommand",
     "Modules (there are none)"},
    {"module|list", 2, ADM, NO_KEYS, LOCAL(run_module_list), "server", "4.0.0", "O(1)", "Modules (there are none)"},

    /* Cluster. */
    {"cluster", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "cluster", "3.0.0", "depends on the subcommand",
     "Redis Cluster's view of this cluster"},
    {"cluster|countkeysinslot", 3, ROW_STALE, NO_KEYS, LOCAL(run_cluster_disabled), "cluster", "3.0.0", "O(1)",
     "Redis Cluster's view (off)"},
    {"cluster|getkeysinslot", 4, ROW_STALE, NO_KEYS, LOCAL(run_cluster_disabled), "cluster", "3.0.0", "O(1)",
     "Redis Cluster's view (off)"},
    {"cluster|help", 2, ANYTIME, NO_KEYS, LOCAL(run_cluster_help), "cluster", "5.0.0", "O(1)", "The subcommands"},
    {"cluster|info", 2, ROW_STALE, NO_KEYS, LOCAL(run_cluster_info), "cluster", "3.0.0", "O(1)",
     "Does the cluster have a leader, and how many nodes?"},
    {"cluster|keyslot", 3, ROW_STALE, NO_KEYS, LOCAL(run_cluster_keyslot), "cluster", "3.0.0",
     "O(N) in the key's length", "The hash slot of a key"},
    {"cluster|links", 2, ROW_STALE, NO_KEYS, LOCAL(run_cluster_disabled), "cluster", "7.0.0", "O(1)",
     "Redis Cluster's view (off)"},
    {"cluster|myid", 2, ROW_STALE, NO_KEYS, LOCAL(run_cluster_myid), "cluster", "3.0.0", "O(1)", "This node's name"},
    {"cluster|nodes", 2, ROW_STALE, NO_KEYS, LOCAL(run_cluster_nodes), "cluster", "3.0.0", "O(N) in the nodes",
     "The nodes, a line each"},
    {"cluster|replicas", 3, ROW_STALE, NO_KEYS, LOCAL(run_cluster_replicas), "cluster", "5.0.0", "O(N) in the nodes",
     "The nodes that do not lead, a line each"},
    {"cluster|shards", 2, ROW_STALE, NO_KEYS, LOCAL(run_cluster_shards), "cluster", "7.0.0", "O(N) in the nodes",
     "The one shard and its nodes"},
    {"cluster|slaves", 3, ROW_STALE, NO_KEYS, LOCAL(run_cluster_replicas), "cluster", "3.0.0", "O(N) in the nodes",
     "The nodes that do not lead, a line each"},
    {"cluster|slots", 2, ROW_STALE, NO_KEYS, LOCAL(run_cluster_slots), "cluster", "3.0.0", "O(N) in the nodes",
     "All slots and their nodes"},

    /* What clients of Redis Sentinel ask. */
    {"sentinel", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "sentinel", "2.8.4", "depends on the subcommand",
     "Redis Sentinel's view of this cluster"},
    {"sentinel|ckquorum", 3, ANYTIME, NO_KEYS, LOCAL(run_sentinel_ckquorum), "sentinel", "2.8.4", "O(N) in the nodes",
     "Does this node reach a majority of the voters?"},
    {"sentinel|get-master-addr-by-name", 3, ANYTIME, NO_KEYS, LOCAL(run_sentinel_get_master_addr), "sentinel", "2.8.4",
     "O(N) in the nodes", "The client address of the leader"},
    {"sentinel|help", 2, ANYTIME, NO_KEYS, LOCAL(run_sentinel_help), "sentinel", "6.2.0", "O(1)", "The subcommands"},
    {"sentinel|master", 3, ANYTIME, NO_KEYS, LOCAL(run_sentinel_master), "sentinel", "2.8.4", "O(N) in the nodes",
     "What this node knows of the leader"},
    {"sentinel|masters", 2, ANYTIME, NO_KEYS, LOCAL(run_sentinel_masters), "sentinel", "2.8.4", "O(N) in the nodes",
     "The leader, as a list of one"},
    {"sentinel|myid", 2, ANYTIME, NO_KEYS, LOCAL(run_cluster_myid), "sentinel", "6.2.0", "O(1)", "This node's name"},
    {"sentinel|replicas", 3, ANYTIME, NO_KEYS, LOCAL(run_sentinel_replicas), "sentinel", "5.0.0", "O(N) in the nodes",
     "The nodes that do not lead"},
    {"sentinel|sentinels", 3, ANYTIME, NO_KEYS, LOCAL(run_sentinel_sentinels), "sentinel", "2.8.4", "O(N) in the nodes",
     "The other nodes"},
    {"sentinel|slaves", 3, ANYTIME, NO_KEYS, LOCAL(run_sentinel_replicas), "sentinel", "2.8.4", "O(N) in the nodes",
     "The nodes that do not lead"},

    /* Members: see docs/PROTOCOL.md. */
    {"member", -2, ROW_CONTAINER, NO_KEYS, CONTAINER, "cluster", "7.2.0", "depends on the subcommand",
     "Who the members of the cluster are"},
    {"member|add", -3, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_add), "cluster", "7.2.0", "O(1)",
     "Take a node in as a learner"},
    {"member|demote", -3, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_demote), "cluster", "7.2.0", "O(1)",
     "Make a voter a learner"},
    {"member|help", 2, ANYTIME, NO_KEYS, LOCAL(run_member_help), "cluster", "7.2.0", "O(1)", "The subcommands"},
    {"member|join", -4, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_join), "cluster", "7.2.0", "O(1)",
     "Be taken in, as a node that starts"},
    {"member|list", 2, ANYTIME, NO_KEYS, LOCAL(run_member_list), "cluster", "7.2.0", "O(1)",
     "The members as this node knows them"},
    {"member|promote", -3, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_promote), "cluster", "7.2.0",
     "O(1)", "Make a learner a voter"},
    {"member|remove", -3, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_remove), "cluster", "7.2.0", "O(1)",
     "Take a node out for good"},
    {"member|replace", -4, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_replace), "cluster", "7.2.0",
     "O(1)", "Put a learner in the place of a voter"},
    {"member|token", -2, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_token), "cluster", "7.2.0", "O(1)",
     "Make a token with which nodes may join"},
    {"member|transfer", -2, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_transfer), "cluster", "7.2.0",
     "O(1)", "Hand leadership over"},
    {"member|update-address", -4, ADM | ROW_NO_MULTI | ROW_STALE, NO_KEYS, LOCAL(run_member_update_address), "cluster",
     "7.2.0", "O(1)", "Tell the cluster the new peer address of a node"},
};
#define ROWS_N (sizeof rows / sizeof *rows)
#define INDEX_N 1024
_Static_assert(ROWS_N * 2 < INDEX_N, "the index must stay half empty");

static uint16_t name_index[INDEX_N]; /* 1 + the row's position; 0: free */
static struct command_counts counts[ROWS_N];
static bool is_sub[ROWS_N]; /* The name has a '|'. */
static bool index_built;

/* ---- Finding rows ---- */

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

/* FNV-1a of the lower-case name. */
static uint32_t name_hash(const char *name, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ lower((unsigned char)name[i])) * 16777619u;
    return h ^ (h >> 15);
}

static bool same_name(const char *row_name, const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (row_name[i] == '\0' || (unsigned char)row_name[i] != lower((unsigned char)name[i]))
            return false;
    return row_name[len] == '\0';
}

void commands_init(void)
{
    if (index_built)
        return;
    index_built = true;
    for (size_t i = 0; i < ROWS_N; i++) {
        is_sub[i] = strchr(rows[i].name, '|') != NULL;
        uint32_t at = name_hash(rows[i].name, strlen(rows[i].name)) % INDEX_N;
        while (name_index[at] != 0)
            at = (at + 1) % INDEX_N;
        name_index[at] = (uint16_t)(i + 1);
    }
}

const struct command_row *commands_find(const char *name, size_t len)
{
    assert(index_built);
    for (uint32_t at = name_hash(name, len) % INDEX_N; name_index[at] != 0; at = (at + 1) % INDEX_N) {
        const struct command_row *row = &rows[name_index[at] - 1];
        if (same_name(row->name, name, len))
            return row;
    }
    return NULL;
}

const struct command_row *commands_find_sub(const struct command_row *container, const char *sub, size_t len)
{
    size_t prefix = strlen(container->name);
    for (const struct command_row *row = container + 1; row < rows + ROWS_N; row++) {
        if (strncmp(row->name, container->name, prefix) != 0 || row->name[prefix] != '|')
            return NULL;
        if (same_name(row->name + prefix + 1, sub, len))
            return row;
    }
    return NULL;
}

bool command_row_is_sub(const struct command_row *row)
{
    return is_sub[row - rows];
}

const struct command_row *commands_table(size_t *ret_n)
{
    *ret_n = ROWS_N;
    return rows;
}

struct command_counts *commands_counts(const struct command_row *row)
{
    return &counts[row - rows];
}

size_t command_row_last_key(const struct command_row *row, size_t argc)
{
    if (row->first_key == 0)
        return 0;
    return row->last_key >= 0 ? (size_t)row->last_key : argc + (size_t)(ptrdiff_t)row->last_key;
}

/* ---- Arguments ---- */

bool arg_is(const struct resp_arg *arg, const char *word)
{
    return strlen(word) == arg->len && strncasecmp(arg->base, word, arg->len) == 0;
}

bool arg_int(const struct resp_arg *arg, int64_t *ret)
{
    const char *at = arg->base, *end = at + arg->len;
    bool negative = at < end && *at == '-';
    at += negative;
    if (at == end || end - at > 19 || (*at == '0' && (negative || end - at > 1)))
        return false;
    uint64_t n = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        n = n * 10 + (uint64_t)(*at - '0'); /* 19 digits fit. */
    }
    if (n > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

int64_t wall_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t encoding_wall_ms(const struct encoding *e)
{
    return e->wall_ms != 0 ? e->wall_ms : wall_now_ms();
}

/* ---- From a request to what is to be done ---- */

static bool has_arity(const struct command_row *row, size_t n)
{
    return row->arity >= 0 ? n == (size_t)row->arity : n >= (size_t)-row->arity;
}

/* Redis shows a container in the upper case of the table, not as the client wrote it. */
static void put_unknown_subcommand(struct encoding *e, const struct command_row *row, const struct resp_arg *sub)
{
    char text[129], name[32];
    size_t len = sub->len < sizeof text - 1 ? sub->len : sizeof text - 1;
    memcpy(text, sub->base, len);
    text[len] = '\0';
    size_t i = 0;
    for (; row->name[i] != '\0' && i < sizeof name - 1; i++)
        name[i] = (char)(row->name[i] >= 'a' && row->name[i] <= 'z' ? row->name[i] & ~0x20 : row->name[i]);
    name[i] = '\0';
    snprintf(e->error, sizeof e->error, REPLY_UNKNOWN_SUBCOMMAND, text, name);
}

/* The row that handles the request, or NULL with the error. */
static const struct command_row *find_row(struct encoding *e, const struct resp_arg *args, size_t n)
{
    const struct command_row *row = commands_find(args[0].base, args[0].len);
    if (row == NULL || command_row_is_sub(row)) {
        reply_unknown_command(e->error, sizeof e->error, args, n);
        return NULL;
    }
    if ((row->flags & ROW_CONTAINER) != 0 && n > 1) {
        const struct command_row *sub = commands_find_sub(row, args[1].base, args[1].len);
        if (sub == NULL) {
            put_unknown_subcommand(e, row, &args[1]);
            return NULL;
        }
        row = sub;
    }
    if (has_arity(row, n))
        return row;
    snprintf(e->error, sizeof e->error, REPLY_ARITY, row->name);
    return NULL;
}

/* Some argument is past a limit: say which, if it is one for its place. */
static bool is_too_large(const struct config *config, const struct command_row *row, const struct resp_arg *args,
                         size_t n, char error[ENCODING_ERROR_MAX])
{
    size_t last = command_row_last_key(row, n);
    for (size_t i = 1; i < n; i++) {
        size_t first = (size_t)row->first_key;
        bool is_key = last > 0 && i >= first && i <= last && (i - first) % (size_t)row->key_step == 0;
        if (is_key && args[i].len > config->max_key_bytes) {
            snprintf(error, ENCODING_ERROR_MAX, REPLY_KEY_TOO_LARGE, args[i].len, config->max_key_bytes);
            return true;
        }
        if (!is_key && args[i].len > config->max_value_bytes) {
            snprintf(error, ENCODING_ERROR_MAX, REPLY_VALUE_TOO_LARGE, args[i].len, config->max_value_bytes);
            return true;
        }
    }
    return false;
}

static bool any_longer(const struct resp_arg *args, size_t n, size_t limit)
{
    for (size_t i = 1; i < n; i++)
        if (args[i].len > limit)
            return true;
    return false;
}

enum prepared commands_check(const struct config *config, const struct resp_arg *args, size_t n, struct encoding *e,
                             const struct command_row **ret_row)
{
    const struct command_row *row = find_row(e, args, n);
    *ret_row = row;
    if (row == NULL)
        return PREPARED_REFUSED;
    if (row->encode == NULL)
        return PREPARED_LOCAL;
    size_t least = config->max_key_bytes < config->max_value_bytes ? config->max_key_bytes : config->max_value_bytes;
    bool framed = (row->flags & ROW_FRAMED) != 0;
    if (!framed && any_longer(args, n, least) && is_too_large(config, row, args, n, e->error))
        return PREPARED_REFUSED;
    return PREPARED_DATA;
}

enum prepared commands_prepare(const struct config *config, const struct resp_arg *args, size_t n, struct encoding *e,
                               const struct command_row **ret_row)
{
    return commands_prepare_at(config, args, n, e, ret_row, 0, 0);
}

enum prepared commands_prepare_at(const struct config *config, const struct resp_arg *args, size_t n,
                                  struct encoding *e, const struct command_row **ret_row, int64_t wall_ms,
                                  uint64_t chance)
{
    enum prepared checked = commands_check(config, args, n, e, ret_row);
    if (checked != PREPARED_DATA)
        return checked;
    const struct command_row *row = *ret_row;
    e->config = config;
    e->row = row;
    e->wall_ms = wall_ms;
    e->chance = chance;
    e->argv = args;
    e->argc = n;
    e->value_bytes_max = config->max_value_bytes;
    e->flags = 0;
    e->n_nums = 0;
    e->args = NULL;
    e->n_args = 0;
    e->blocks = false;
    return row->encode(e) == 0 ? PREPARED_DATA : PREPARED_REFUSED;
}

int encode_refuse(struct encoding *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->error, sizeof e->error, format, args);
    va_end(args);
    return -1;
}

int encode_nested(struct encoding *e, size_t first, struct command_buf *buf, enum command_op *ret_op)
{
    struct encoding nested;
    nested.who = e->who;
    nested.proto = e->proto;
    nested.session = e->row->encode == encode_once ? e->nums[0] : e->session;
    const struct command_row *row = commands_find(e->argv[first].base, e->argv[first].len);
    if (row != NULL && (row->flags & ROW_FRAMED) != 0 && (row == e->row || e->row->encode != encode_once))
        return encode_refuse(e, REPLY_NOT_NESTED, row->name, e->row->name); /* So that frames are two deep at most. */
    switch (commands_prepare(e->config, e->argv + first, e->argc - first, &nested, &row)) {
    case PREPARED_REFUSED:
        return encode_refuse(e, "%s", nested.error);
    case PREPARED_LOCAL:
        return encode_refuse(e, REPLY_NOT_NESTED, row->name, e->row->name);
    case PREPARED_DATA:
        break;
    }
    buf->len = 0;
    buf->failed = 0;
    *ret_op = nested.op;
    e->blocks = nested.blocks;
    if (command_add(buf, nested.op, nested.flags, nested.nums, nested.n_nums, nested.args, nested.n_args) < 0)
        return encode_refuse(e, REPLY_NO_MEMORY);
    return 0;
}
