/* client.h - a connection to a Holdfast cluster: finds the leader, follows it, retries what is safe.
 * Used by the command line and by Lua. Blocking, one thread at a time per client.
 *
 * Which retries are safe: a request that was certainly not executed (no connection, one that broke before the whole
 * request was handed over, CLUSTERDOWN, TRYAGAIN, OVERLOADED, LOADING) is sent again, to the next node, until the
 * deadline. A request that may have been executed (the connection broke later, or UNKNOWN came back) is sent again when
 * it is a read, or when the client has a session: then each write carries a serial number, under which the cluster does
 * it once, and gives each repeat the first answer. A write without one gives CLIENT_EUNKNOWN.
 *
 * The session is opened by the first write that needs it and kept alive by a thread with a connection of its own. When
 * it is lost all the same (the client was cut off, or stopped, for longer than its time to live), the next write opens
 * a new one; only a write that was under way just then may end as CLIENT_EUNKNOWN. */
#pragma once
#include "node/resp/value.h"

struct client;

enum client_err {
    CLIENT_ENOMEM = -1,
    CLIENT_EINVAL = -2,       /* The node list or an option is malformed; client_message() names it. */
    CLIENT_EUNAVAILABLE = -3, /* No node would take it within the deadline: nothing was done. */
    CLIENT_EUNKNOWN = -4,     /* It may or may not have been done. */
    CLIENT_EDENIED = -5,      /* NOAUTH, WRONGPASS, NOPERM */
    CLIENT_EPROTOCOL = -6,    /* A node answered something that is not RESP. */
};

struct client_options {
    const char *nodes;           /* "host:port[,host:port...]"; NULL: HOLDFAST_NODES, else 127.0.0.1:7401,:7402,:7403 */
    unsigned timeout_ms;         /* Deadline of one call, connecting and retries included; 0: 5,000 */
    const char *user, *password; /* NULL: HOLDFAST_USER, HOLDFAST_PASSWORD, else none */
    unsigned session_ttl_ms;     /* 0: no session */
    const char *session_name;    /* Shown to others; NULL: this machine's name and the process id */
};
#define CLIENT_NODES_MAX 16
#define CLIENT_TIMEOUT_MS_DEFAULT 5000
#define CLIENT_NODES_DEFAULT "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403"

/* Parses the options and connects to nobody yet. Options are copied. On CLIENT_EINVAL too *ret is set, but good only
 * for client_message() and client_close(). */
int client_open(const struct client_options *options, struct client **ret);
void client_close(struct client *c); /* NULL is fine. */
/* What went wrong last, for people; "" when nothing. Lives until the next call. */
const char *client_message(const struct client *c);
/* host:port of the node the last answer came from; "" before the first. */
const char *client_node(const struct client *c);

/* One request; lens may be NULL when every argument is a C string. On 0 *ret is the reply (maybe RESP_ERROR: the
 * server's refusal is an answer), freed by the caller. is_write decides what a lost connection means (see above). */
int client_call(struct client *c, bool is_write, int argc, const char *const *argv, const size_t *lens,
                struct resp_value **ret);
/* The same for a command that the server answers only after up to wait_ms, on top of the deadline. */
int client_call_wait(struct client *c, bool is_write, unsigned wait_ms, int argc, const char *const *argv,
                     const size_t *lens, struct resp_value **ret);
/* The id of the session, for comparing: 0 when there is none (yet, or any more). */
uint64_t client_session(const struct client *c);
/* Is that session still the client's, and alive for sure? False for 0. Judged without asking anybody, and never
 * optimistic; safe as long as this machine's clock does not run slower than the cluster's. */
bool client_session_alive(struct client *c, uint64_t session);
/* For how long it is that, if nothing renews it; 0 when client_session_alive() would say no. */
int64_t client_session_left_ms(struct client *c, uint64_t session);
/* n requests at once in one pipeline to one node, reads only. On 0 ret[0..n) are the replies. */
struct client_request {
    int argc;
    const char *const *argv;
    const size_t *lens;
};
int client_read_many(struct client *c, size_t n, const struct client_request *requests, struct resp_value **ret);
/* One request to one given node by its place in the list, without following the leader and without retry
 * (status asks every node). client_node_count() says how many there are; client_node_name() what they are. */
int client_call_node(struct client *c, int node, int argc, const char *const *argv, const size_t *lens,
                     struct resp_value **ret);
int client_node_count(const struct client *c);
const char *client_node_name(const struct client *c, int node);
/* One more node, "host:port", at the end of the list; its place is the count before. CLIENT_EINVAL: that is no address,
 * or the list is full. */
int client_add_node(struct client *c, const char *address);
/* A fork()ed child must not share its parent's sockets: every call checks whether the process changed since
 * client_open(), and if so lets go of the inherited connection and session, saying nothing on it, and makes its own. */
