/* reply.h - what clients are told: outcomes as RESP, and the only list of error words.
 *
 * The word an error begins with decides what client libraries do with it: some re-send a command that got CLUSTERDOWN,
 * TRYAGAIN, LOADING, READONLY or MASTERDOWN, so those are sent only when the command was certainly not executed; nobody
 * re-sends UNKNOWN. Redis's own sentences are Redis 7.0's bytes. Those with % are formats for resp_errorf(). */
#pragma once
#include "node/requests.h"
#include "node/resp/resp.h"

/* Redis's words. */
#define REPLY_SYNTAX "ERR syntax error"
#define REPLY_NOT_INTEGER "ERR value is not an integer or out of range"
#define REPLY_NOT_FLOAT "ERR value is not a valid float"
#define REPLY_WRONGTYPE "WRONGTYPE Operation against a key holding the wrong kind of value"
#define REPLY_OVERFLOW "ERR increment or decrement would overflow"
#define REPLY_DECR_OVERFLOW "ERR decrement would overflow"
#define REPLY_NAN_OR_INFINITY "ERR increment would produce NaN or Infinity"
#define REPLY_NO_SUCH_KEY "ERR no such key"
#define REPLY_INDEX "ERR index out of range"
#define REPLY_HASH_NOT_INTEGER "ERR hash value is not an integer"
#define REPLY_HASH_NOT_FLOAT "ERR hash value is not a float"
#define REPLY_VALUE_NAN_OR_INFINITY "ERR value is NaN or Infinity"
#define REPLY_NOT_STRINGS "ERR The specified keys must contain string values"
#define REPLY_NUMKEYS "ERR numkeys should be greater than 0"
#define REPLY_COUNT "ERR count should be greater than 0"
#define REPLY_LPOS_RANK                                                                                                \
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start "     \
    "from the end of the list"
#define REPLY_LONG_RANGE "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
#define REPLY_LPOS_COUNT "ERR COUNT can't be negative"
#define REPLY_LPOS_MAXLEN "ERR MAXLEN can't be negative"
#define REPLY_TIMEOUT_NOT_FLOAT "ERR timeout is not a float or out of range"
#define REPLY_TIMEOUT_RANGE "ERR timeout is out of range"
#define REPLY_VALUE_RANGE "ERR value is out of range"
#define REPLY_STRING_TOO_LONG "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
#define REPLY_OFFSET "ERR offset is out of range"
#define REPLY_INVALID_CURSOR "ERR invalid cursor"
#define REPLY_INVALID_EXPIRE "ERR invalid expire time in '%s' command"
#define REPLY_EXPIRE_NX "ERR NX and XX, GT or LT options at the same time are not compatible"
#define REPLY_EXPIRE_GT_LT "ERR GT and LT options at the same time are not compatible"
#define REPLY_EXPIRE_OPTION "ERR Unsupported option %.*s"
#define REPLY_SAME_OBJECT "ERR source and destination objects are the same"
#define REPLY_DB_INDEX "ERR DB index is out of range"
#define REPLY_LCS_BOTH "ERR If you want both the length and indexes, please just use IDX."
#define REPLY_ARITY "ERR wrong number of arguments for '%s' command"
#define REPLY_UNKNOWN_SUBCOMMAND "ERR unknown subcommand '%.128s'. Try %s HELP."
#define REPLY_NOT_IN_RANGE "ERR value is out of range, must be positive"
#define REPLY_TIMEOUT_NEGATIVE "ERR timeout is negative"
#define REPLY_TIMEOUT_NOT_INTEGER "ERR timeout is not an integer or out of range"
#define REPLY_NOPROTO "NOPROTO unsupported protocol version"
#define REPLY_PROTO_NOT_INTEGER "ERR Protocol version is not an integer or out of range"
#define REPLY_HELLO_OPTION "ERR Syntax error in HELLO option '%.*s'"
#define REPLY_CLIENT_NAME "ERR Client names cannot contain spaces, newlines or special characters."
#define REPLY_CLIENT_INFO_FIELD "ERR %s cannot contain spaces, newlines or special characters."
#define REPLY_NO_SUCH_CLIENT "ERR No such client"
#define REPLY_CLIENT_ID "ERR client-id should be greater than 0"
#define REPLY_CLIENT_INVALID_ID "ERR Invalid client ID"
#define REPLY_CLIENT_TYPE "ERR Unknown client type '%.*s'"
#define REPLY_CLIENT_USER "ERR No such user '%.*s'"
#define REPLY_CLIENT_SETINFO "ERR Unrecognized option '%.*s'"
#define REPLY_UNBLOCK_REASON "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"
#define REPLY_PAUSE_MODE "ERR CLIENT PAUSE mode must be WRITE or ALL"
#define REPLY_CACHING                                                                                                  \
    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
#define REPLY_NO_PASSWORD                                                                                              \
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your "              \
    "configuration is correct?"
#define REPLY_WRONGPASS "WRONGPASS invalid username-password pair or user is disabled."
#define REPLY_MAXCLIENTS "ERR max number of clients reached"
#define REPLY_NO_CLUSTER "ERR This instance has cluster support disabled"
#define REPLY_NO_NODE "ERR Unknown node %.*s"
#define REPLY_NOT_A_MASTER "ERR The specified node is not a master"
#define REPLY_NO_MASTER "ERR No such master with that name"
#define REPLY_NO_SENTINELS                                                                                             \
    "NOQUORUM %zu usable Sentinels. Not enough available Sentinels to reach the majority and authorize a failover"
#define REPLY_DEBUG                                                                                                    \
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a "    \
    "local connection, otherwise you need to set this option in the configuration file, and then restart the server."
#define REPLY_GETKEYS_COMMAND "ERR Invalid command specified"
#define REPLY_GETKEYS_NONE "ERR The command has no key arguments"
#define REPLY_GETKEYS_ARITY "ERR Invalid number of arguments specified for command"
#define REPLY_CONFIG_UNKNOWN "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'"
#define REPLY_CONFIG_SET "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s"
#define REPLY_CONFIG_NO_FILE "ERR The server is running without a config file"
#define REPLY_SLOWLOG_COUNT "ERR count should be greater than or equal to -1"
#define REPLY_KEYS_MORE_THAN_ARGS "ERR Number of keys can't be greater than number of args"
#define REPLY_KEYS_NEGATIVE "ERR Number of keys can't be negative"
#define REPLY_SCRIPT_FLUSH "ERR SCRIPT FLUSH only support SYNC|ASYNC option"
#define REPLY_NOTBUSY "NOTBUSY No scripts in execution right now."
#define REPLY_MULTI_NESTED "ERR MULTI calls can not be nested"
#define REPLY_WATCH_IN_MULTI "ERR WATCH inside MULTI is not allowed"
#define REPLY_EXEC_WITHOUT_MULTI "ERR EXEC without MULTI"
#define REPLY_DISCARD_WITHOUT_MULTI "ERR DISCARD without MULTI"
#define REPLY_EXECABORT "EXECABORT Transaction discarded because of previous errors."
#define REPLY_ONLY_LISTENS                                                                                             \
    "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
#define REPLY_NOT_IN_MULTI "ERR Command not allowed inside a transaction"

/* Words of our own. */
#define REPLY_COMPACTED "COMPACTED %llu is the oldest revision whose changes this node still knows"
#define REPLY_HISTORY_OFF "ERR this node keeps no history (history_bytes)"
#define REPLY_HISTORY_FROM "ERR FROM must be a revision, or 0 for from now on"
#define REPLY_HISTORY_OPTION                                                                                           \
    "ERR COUNT must be from 1 to 10000, BLOCK at least 0 milliseconds, and there is nothing else"
#define REPLY_KEY_TOO_LARGE "TOOLARGE key of %zu bytes; the limit is %zu (max_key_bytes)"
#define REPLY_VALUE_TOO_LARGE "TOOLARGE value of %zu bytes; the limit is %zu (max_value_bytes)"
#define REPLY_REQUEST_TOO_LARGE "TOOLARGE %s"
#define REPLY_REPLY_TOO_LARGE "TOOLARGE reply of more than %.*s bytes; ask for less at a time"
#define REPLY_BATCH_TOO_LARGE                                                                                          \
    "OVERLOADED the replies to the commands before it are too large; nothing was done, try again later"
#define REPLY_OVERLOADED "OVERLOADED this node's queue of waiting requests is full; nothing was done, try again later"
#define REPLY_NO_MEMORY "OVERLOADED this node is out of memory; nothing was done, try again later"
#define REPLY_NO_SPACE                                                                                                 \
    "MISCONF no space: the disk reserve of the cluster is used up; writes are refused until space is freed, reads "    \
    "and deletes go on"
#define REPLY_NO_LEADER "CLUSTERDOWN no leader within the deadline; nothing was done"
#define REPLY_NO_QUORUM "CLUSTERDOWN no quorum: no leader could confirm that it still leads; nothing was done"
#define REPLY_NO_LINK "TRYAGAIN the leader is known but there is no link to it; nothing was done"
#define REPLY_OUTCOME_UNKNOWN "UNKNOWN outcome not known: the command was proposed and may or may not have been done"
#define REPLY_STOPPING "CLUSTERDOWN this node is shutting down; nothing was done, use another node"
#define REPLY_UNREADABLE_OUTCOME "UNKNOWN outcome not known: the command was done, but its answer could not be read"
#define REPLY_NEWER_COMMAND "ERR this node's version does not have that command; nothing was done"
#define REPLY_ANSWER_TOO_LARGE "ERR the command was done, but the answers of its transaction would be too long"
#define REPLY_TX_TOO_LARGE "TOOLARGE a transaction of more than %zu bytes (max_request_bytes)"
#define REPLY_TX_TOO_MANY "TOOLARGE a transaction of more than %u commands"
#define REPLY_TYPE_NAME "ERR unknown value type '%.32s'"
#define REPLY_UNBLOCKED "UNBLOCKED client unblocked via CLIENT UNBLOCK"
#define REPLY_NO_TRACKING "ERR client tracking is not supported"
#define REPLY_LCS_IDX "ERR LCS with IDX is not supported"
#define REPLY_SORT_STORE "ERR SORT with STORE is not supported"
#define REPLY_DEADLINE_RANGE "ERR the deadline must be from 1 to %u milliseconds, or 0 for the node's own"
#define REPLY_SESSION_EXPIRED "SESSIONEXPIRED there is no such session, or it has ended; nothing was done"
#define REPLY_SERIAL_PAST                                                                                              \
    "SERIALPAST serials up to %.*s of this session were acknowledged or are forgotten; nothing was done now"
#define REPLY_ANSWER_NOT_KEPT "ANSWERNOTKEPT done before, but the answer was too large to be remembered"
#define REPLY_TOO_MANY_SESSIONS "OVERLOADED there are as many sessions as there may be; nothing was done"
#define REPLY_STALE_TOKEN "STALETOKEN %.*s"
#define REPLY_OPTION_RANGE "ERR %s: a number from %lld to %lld expected"
#define REPLY_LIMIT_ALGO_WORD "ERR ALGO gcra or ALGO window expected after the key"
#define REPLY_LIMIT_RATE "ERR RATE and PER are needed"
#define REPLY_LIMIT_WINDOW "ERR RATE and PER are needed, and BURST is for gcra only"
#define REPLY_LIMIT_COST "ERR COST is more than is ever allowed at once"
#define REPLY_LIMIT_BURST "ERR BURST would take more than 10 years at that rate"
#define REPLY_LIMIT_ALGO "ERR the key is a limit of the other ALGO"
#define REPLY_BREAKER_VERB "ERR ALLOW, SUCCESS, FAILURE, STATE or RESET expected after the name"
#define REPLY_LOCK_PERMITS "ERR the lock is in use with another number of permits: %.*s"
#define REPLY_TOO_MANY_LOCKS "ERR the session has as many locks as it may"
#define REPLY_QUEUE_FULL "OVERLOADED as many as may wait for this already; nothing was done"
#define REPLY_LOCK_NAME "ERR the name of a lock has 1 to %d bytes"
#define REPLY_TOKEN "ERR a token is a positive integer"
#define REPLY_PERMITS "ERR permits: 1 to m of m, which is up to %d"
#define REPLY_REASON "ERR a reason has at most %d bytes"
#define REPLY_FORCED "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
#define REPLY_CHANGE_BUSY "INPROGRESS %s"
#define REPLY_CHANGE_REFUSED "REFUSED %s"
#define REPLY_CHANGE_UNKNOWN "UNKNOWN %s"
#define REPLY_MEMBER_ID "ERR a node's id is an integer from 1 to 4294967295"
#define REPLY_MEMBER_ADDRESS "ERR the address must be host:port of the node's peer listener"
#define REPLY_JOIN_TOKEN                                                                                               \
    "NOPERM this node does not know the join token, or it has expired; a token is good on the node that made it"
#define REPLY_TOKEN_TTL "ERR a token lasts from 1 to %d seconds"
#define REPLY_NO_CHANCE "ERR the system has no random numbers"
#define REPLY_NOT_NESTED "ERR '%s' cannot be used inside '%s'"
#define REPLY_SESSION_ID "ERR a session is a positive integer"
#define REPLY_SERIAL "ERR a serial is a positive integer, and the acknowledged one is lower"
#define REPLY_SESSION_TTL "ERR a session's time to live is from %d to %d milliseconds"
#define REPLY_SESSION_NAME "ERR a session's name has at most %d bytes"
#define REPLY_SHUTDOWN_ABORT "ERR No shutdown in progress."

/* Append the RESP form of one outcome value. A malformed one answers REPLY_UNREADABLE_OUTCOME. */
void reply_outcome(struct resp_buf *b, int proto, const uint8_t *outcome, size_t len);
/* A refusal alone. */
struct outcome;
void reply_refusal(struct resp_buf *b, const struct outcome *o);
/* Why a request has no outcome. */
void reply_failure(struct resp_buf *b, enum request_failure why);
/* Why a request was not taken: an enum requests_err. */
void reply_refused(struct resp_buf *b, int err);
/* "unknown command 'NAME', with args beginning with: ...", as Redis words it, into text. */
void reply_unknown_command(char *text, size_t cap, const struct resp_arg *args, size_t n);
/* A HELP array: the usual head and tail around lines, which ends with NULL. */
void reply_help(struct resp_buf *b, const char *command, const char *const *lines);
