/* server.h - the client side of the daemon: the listening socket, the connections there are, what is counted.
 * Loop thread. */
#pragma once
#include "node/config.h"
#include "node/resp/resp.h"
#include <uv.h>

struct server;
struct conn;
struct node;

/* Counted since the start or the last CONFIG RESETSTAT. */
struct server_stats {
    uint64_t connections, rejected_connections;
    uint64_t commands;
    uint64_t input_bytes, output_bytes;
    uint64_t errors;              /* Error replies of any kind. */
    uint64_t output_cut_off;      /* Connections closed at max_output_bytes. */
    uint64_t ops_per_second;      /* Of the last whole second. */
    size_t max_input, max_output; /* Largest buffers of any connection yet. */
};

/* Error replies by their first word, for INFO errorstats. */
#define SERVER_ERROR_WORDS_MAX 32
struct server_error_word {
    char word[24];
    uint64_t n;
};

/* Listen on config->listen (port 0: any) and serve. config is copied: CONFIG SET changes the copy.
 * Failure: an error sentence, and NODE_EXIT_LISTEN or NODE_EXIT_INTERNAL. */
int server_open(uv_loop_t *loop, struct node *node, const struct config *config, char error[256], struct server **ret);
/* Called once when a client asks for the end with SHUTDOWN. */
void server_on_shutdown(struct server *s, void (*on_shutdown)(void *ctx), void *ctx);
/* Take no new connections; those there are live on. */
void server_stop_listening(struct server *s);
/* Give every connection what is still in its output buffer, close all, then call on_closed and free. */
void server_close(struct server *s, void (*on_closed)(void *ctx), void *ctx);

struct node *server_node(const struct server *s);
uv_loop_t *server_loop(const struct server *s);
/* The settings as CONFIG SET left them. */
struct config *server_config(struct server *s);
struct server_stats *server_stats(struct server *s);
const struct server_error_word *server_error_words(const struct server *s, size_t *ret_n);
void server_reset_stats(struct server *s);
unsigned server_port(const struct server *s);       /* as bound */
uint64_t server_started_ms(const struct server *s); /* loop clock */
int64_t server_started_wall_s(const struct server *s);
size_t server_n_clients(const struct server *s);
size_t server_n_blocked(const struct server *s);

/* The connections in order of arrival; NULL at the end. The one at hand may be closed meanwhile. */
struct conn *server_first_conn(const struct server *s);
struct conn *server_next_conn(const struct conn *c);

/* CLIENT PAUSE: until the loop clock shows until_ms, connections hold back their writes, or all commands. */
void server_pause(struct server *s, uint64_t until_ms, bool writes_only);
void server_unpause(struct server *s);
/* SHUTDOWN. */
void server_request_shutdown(struct server *s);

/* ---- For conn.c ---- */

/* The links by which the server holds a connection. */
struct server_link {
    struct conn *next, *prev; /* All connections. */
    struct conn *dirty_next;  /* Those with output or held-back requests, until the end of this iteration. */
    struct conn *blocked_next, *blocked_prev; /* Those in a WAIT. */
    bool is_dirty, is_blocked;
};

/* Attach and detach; the id is fresh. After server_remove_conn() the connection's handle still has to close, and then
 * server_conn_gone() is the connection's last call of the server. */
uint64_t server_add_conn(struct server *s, struct conn *c);
void server_remove_conn(struct server *s, struct conn *c);
void server_conn_gone(struct server *s);
/* Visit the connection by conn_tick() at the end of this loop iteration. */
void server_mark_dirty(struct server *s, struct conn *c);
/* Visit it in every iteration by conn_check_blocked(), and at the latest at deadline_ms (UINT64_MAX: no deadline). */
void server_add_blocked(struct server *s, struct conn *c, uint64_t deadline_ms);
void server_remove_blocked(struct server *s, struct conn *c);
/* Is a command of this kind held back by CLIENT PAUSE? */
bool server_is_paused(struct server *s, bool is_write);
/* Space for one read, shared by all connections: it must be consumed before the read callback returns. */
char *server_read_space(struct server *s, size_t *ret_cap);
const struct resp_limits *server_resp_limits(const struct server *s);
/* The resp_limits follow from the settings: call after changing one. */
void server_apply_limits(struct server *s);
void server_count_error(struct server *s, const char *reply, size_t len);
