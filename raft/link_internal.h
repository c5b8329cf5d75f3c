/* link_internal.h - what the files of the peer links share: one connection, one peer, and all of them. Not for others.
 *
 * A conn is one TCP connection, dialled or accepted; a peer is what is known of another node: where to dial it, its
 * dialled conn and its accepted one.
 *
 *   dialled:  RESOLVING -> CONNECTING -> GREETING (HELLO sent) -> UP (frames leave) -> CLOSING
 *   accepted:                            GREETING (HELLO awaited) -> UP (frames come) -> CLOSING
 *
 * Every way out goes through link_conn_close(): it takes the conn away from its peer at once, says why once, and sets
 * the timer for the next dial; the conn itself is freed when its handles and its name lookup are done with. So a conn
 * that is CLOSING may still get callbacks of libuv, and each begins by looking at the state.
 *
 * Invariants: peer->dialled and peer->accepted are never CLOSING; a peer that is dialled is wanted; strangers counts
 * accepted conns in GREETING or REFUSING; everything that libuv may still call back about holds one of l->holds, and
 * struct links is freed with the last. */
#pragma once
#include "raft/inbox.h"
#include "raft/link.h"
#include "raft/outbox.h"

#define LINK_WHY_MAX 192
#define LINK_NAME_MAX 64

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

enum link_state { LINK_RESOLVING, LINK_CONNECTING, LINK_GREETING, LINK_REFUSING, LINK_UP, LINK_CLOSING };

struct link_conn {
    struct links *l;
    struct link_peer *peer; /* NULL: a stranger, or CLOSING. */
    uint64_t id;            /* Of the peer, once known. */
    uint64_t start;         /* Start number of the peer's process, once UP. */
    enum link_state state;
    bool dialled;
    bool was_up;                    /* on_up was called, on_down not yet. */
    bool writing;                   /* `write` is under way. */
    unsigned holds;                 /* Handles and lookups that still point here. */
    struct link_conn *next, **link; /* In l->conns until CLOSING. */
    uv_tcp_t tcp;
    uv_timer_t deadline; /* Of resolving and connecting, then of the greeting. */
    uv_getaddrinfo_t lookup;
    bool looking_up;
    uv_connect_t connect;
    uv_write_t greet;
    uint8_t greeting[FRAME_GREETING_BYTES_MAX];
    uv_write_t write;
    struct outbox outbox; /* Dialled. */
    struct inbox inbox;
    uint8_t odd_kinds[32]; /* A bit for each unknown kind already spoken of. */
    char why[LINK_WHY_MAX];
};

struct link_peer {
    struct links *l;
    uint64_t id;
    bool wanted; /* links_peer() gave an address. */
    char address[LINKS_ADDRESS_MAX];
    struct link_conn *dialled, *accepted;
    uv_timer_t retry;
    unsigned backoff_ms;     /* Of the last failed dial; 0 after a success. */
    unsigned turn;           /* Which of the name's addresses is next. */
    bool more_addresses;     /* The dial under way was not to the last of them. */
    char said[LINK_WHY_MAX]; /* The trouble last logged: the same is not logged again. */
    char client_address[FRAME_GREETING_TEXT_MAX + 1];
    uint64_t heard_ms;
};

struct links {
    struct links_options o;
    char client_address[FRAME_GREETING_TEXT_MAX + 1];
    bool closing;
    bool dirty; /* Some outbox has filled since the last flush. */
    unsigned holds;
    uv_tcp_t listener;
    uv_tcp_t turned;             /* A peer for which there is no memory, on its way out, */
    bool is_turning, turn_again; /* and somebody else waits for that handle. */
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    struct link_conn *conns;
    unsigned strangers;
    struct link_peer *peers[LINKS_PEERS_MAX];
    unsigned n_peers;
    uint64_t chance;          /* State of the random numbers for jitter. */
    char noise[LINK_WHY_MAX]; /* The last line written about a stranger, */
    uint64_t noise_ms;        /* when, and how many were not written since. */
    unsigned noise_held;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* link.c */
void links_log(struct links *l, enum link_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A line about someone we do not know, who can cause as many as he likes: few of them are written. */
void links_noise(struct links *l, const char *who, const char *why);
uint64_t links_random(struct links *l);
void links_drop(struct links *l); /* One of l->holds; the last frees l. */

/* link_address.c */
/* "host:port" or "[v6]:port" in two. Returns false when it is neither. */
bool link_address_split(const char *address, char host[LINKS_ADDRESS_MAX], char port[8]);
/* An address that needs no lookup. */
bool link_address_numeric(const char *host, int port, struct sockaddr_storage *ret);
/* Where to listen, looked up now. Returns 0 or a libuv error. */
int link_address_listen(uv_loop_t *loop, const char *address, struct sockaddr_storage *ret);
/* For people. */
void link_address_name(const struct sockaddr_storage *a, char name[LINK_NAME_MAX]);
int link_address_port(const struct sockaddr_storage *a);

/* link_conn.c */
struct link_conn *link_conn_new(struct links *l); /* NULL: out of memory. The caller sets the state. */
void link_conn_drop(struct link_conn *c);         /* One of c->holds; the last frees c. */
void link_conn_close(struct link_conn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Close an accepted connection for a reason worth a line. */
void link_conn_cut(struct link_conn *c, const char *why);
void link_conn_name(const struct link_conn *c, char name[LINK_NAME_MAX]);
/* It is connected: read, and wait for the greeting. */
void link_conn_start(struct link_conn *c);
void link_conn_deadline(struct link_conn *c, unsigned ms);
/* Write as much as goes without waiting; libuv waits for the rest. */
void link_conn_flush(struct link_conn *c);
size_t link_conn_backlog(const struct link_conn *c);

/* link_greet.c */
void link_greet_hello(struct link_conn *c);    /* Dialled: say who we are. */
void link_greet_received(struct link_conn *c); /* Bytes came in GREETING. */

/* link_peer.c */
struct link_peer *link_peer_find(const struct links *l, uint64_t id);
struct link_peer *link_peer_need(struct links *l, uint64_t id); /* NULL: there are too many, or no memory. */
void link_peer_settle(struct link_peer *p); /* Free it if nobody asks for it and it is not connected. */
void link_peer_trouble(struct link_peer *p, const char *why);
void link_peer_retry(struct link_peer *p);
void link_peer_dial(struct link_peer *p);
void link_peer_forget(struct link_peer *p);
