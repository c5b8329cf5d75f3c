/* replica_internal.h - struct replica, for the files that together drive the core: replica.c (the step loop), start.c,
 * receive.c, send.c, reads.c, install.c, offer.c, compact.c, transfer.c, membership.c,
 * identity.c. Nobody else includes it. */
#pragma once
#include "raft/frames.h"
#include "raft/known.h"
#include "raft/replica.h"

/* Entries of one submit or one received message, as the core and as the log see them, side by side. */
struct batch {
    struct raft_entry *entries; /* What was passed to the core; an update's batch points into it. */
    struct log_entry *log;      /* The same entries with their blobs. */
    size_t n;
    bool taken; /* Set when the core took some of them into the log. */
};

struct reads {
    uint64_t round;     /* The round under way or last run; grows for ever. */
    uint64_t confirmed; /* Highest round known confirmed. */
    uint64_t wanted;    /* Highest round somebody waits for. */
    uint64_t term;      /* In which `round` was started. */
    uint64_t sent_ms;   /* When its probes were sent last. */
    bool running;
    bool due; /* A round is to be started by replica_reads_flush(). */
    uint64_t acked[REPLICA_MEMBERS_MAX];
    size_t n_acked;
};

enum install_state { INSTALL_IDLE, INSTALL_FILLING, INSTALL_CHECKING };

/* Receiving a snapshot. */
struct install {
    enum install_state state;
    uint64_t from;
    struct frame_install head;
    uint8_t conf[FRAME_CONF_BYTES_MAX];
    uint64_t written; /* Bytes on its way to disk and acknowledged. */
    bool failed;      /* A write failed or the sender went away while one was under way. */
    bool writing;
    struct io_file *file;
    void (*file_close)(struct io_file *);
    struct io_job job;
    uint8_t *chunk;
    size_t chunk_len, chunk_cap;
};

enum offer_state { OFFER_IDLE, OFFER_MAKING, OFFER_SENDING };

/* Sending one. One follower at a time; the core asks again for the others. */
struct offer {
    enum offer_state state;
    uint64_t to;
    struct frame_install head;
    uint8_t conf[FRAME_CONF_BYTES_MAX];
    uint64_t acked;    /* Bytes the follower has written. */
    uint64_t heard_ms; /* When it last said so. */
    bool reading, stop;
    struct io_file *file;
    struct io_job job;
    uint8_t *chunk;
    long chunk_len;
};

#define REPLICA_PEERS_MAX (2 * REPLICA_MEMBERS_MAX) /* Those of two lists of members. */

/* A node that our list of members does not name, but that has a newer one: it may have joined since, and may lead. */
struct guest {
    uint64_t id, configuration; /* The index of its list; when ours is there, that decides. 0: a free place. */
    char address[REPLICA_ADDRESS_MAX];
};

struct replica {
    struct raft raft;
    struct io *io;
    struct log *log;
    struct replica_owner owner;
    uint64_t id, keep_entries, keep_bytes;
    char address[REPLICA_ADDRESS_MAX];
    unsigned election_timeout_ms, heartbeat_ms;
    uint64_t applied;
    bool opened; /* The first timer ran: callbacks are allowed. */
    bool failed;
    bool core_broken;   /* No memory within a step: it may hold what it has freed, and is not closed. */
    bool out_of_memory; /* Why it failed. */
    bool applying;
    uint64_t armed_ms; /* What the timer is set to; 0: not. */

    /* Leadership as last told to the owner. */
    enum replica_role role;
    uint64_t term, leader;
    bool ready;
    uint64_t own_index; /* Leader: the first entry of its own term. */

    bool handing_over;
    uint64_t transfer_to, transfer_began_ms, transfer_asked_ms;

    uint64_t snapshot_given; /* Index of the last RAFT_SNAPSHOT, or of the one it started from. */
    struct reads reads;
    struct install install;
    struct offer offer;
    struct known known;

    bool up[REPLICA_PEERS_MAX]; /* By place in `peers`. */
    uint64_t peers[REPLICA_PEERS_MAX];
    size_t n_peers;
    struct replica_member contacts[REPLICA_MEMBERS_MAX]; /* Whom a joining node was told of. */
    size_t n_contacts;
    bool joins;     /* Not one of the first members. */
    bool is_member; /* By the last committed list. */
    struct guest guests[REPLICA_MEMBERS_MAX];
    char change_words[64]; /* The last change of members that was begun here. */

    uint64_t elections, read_rounds, snapshots_sent, snapshots_installed, guarded;
    struct io_slice *slices; /* Scratch of send.c, FRAME_ENTRIES_MAX. */
    struct frame_entry *table;
    uint8_t *head;
    struct raft_entry *entries; /* Scratch of receive.c, FRAME_ENTRIES_MAX. */
    struct log_entry *log_entries;
};

/* replica.c */
int replica_step(struct replica *r, struct raft_event *event, struct batch *given);
void replica_fail(struct replica *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void replica_say(struct replica *r, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint64_t replica_now(const struct replica *r);
bool replica_is_voter(const struct replica *r, uint64_t id);
/* A copy ("" for a stranger): the core may free the configuration it stands in while it still uses it. */
void replica_address_of(const struct replica *r, uint64_t id, char ret[REPLICA_ADDRESS_MAX]);

/* membership.c */
/* Keep a link to every member but ourselves, and to nobody else. */
void replica_follow_members(struct replica *r);
void membership_remember_peers(struct replica *r);
/* May we deal with this peer, who greets us? */
bool membership_admits(struct replica *r, const struct frame_greeting *g);
/* Is it a guest, or named by the list in force or by the last committed one? The former may yet be undone. */
bool membership_knows(const struct replica *r, uint64_t id);
/* The list that stands in the owner's state (NULL: none). */
void membership_start(struct replica *r, const struct raft_configuration *applied);
/* A list of members is committed (or came with a snapshot); the core is told next. */
void membership_committed(struct replica *r, const struct raft_configuration *c);

/* identity.c */
/* Leader: remember what each follower holds. */
void identity_note(struct replica *r);
/* The cluster will not have us: nothing is sent or stepped from now on, and the owner exits. */
void replica_expel(struct replica *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* start.c: recover the log, bring the core to life. */
int start_core(struct replica *r, const struct replica_options *o, char error[256]);

/* send.c */
void send_message(struct replica *r, const struct raft_message *m);

/* reads.c */
void reads_lost(struct replica *r);  /* No longer leader. */
void reads_ready(struct replica *r); /* Became ready. */
void reads_probe(struct replica *r, uint64_t from, const struct frame_probe *p);
void reads_ack(struct replica *r, uint64_t from, const struct frame_probe *p);
uint64_t reads_timer(struct replica *r); /* When to be called again, UINT64_MAX: need not. */

/* install.c */
void install_head(struct replica *r, uint64_t from, const struct frame_install *m);
void install_chunk(struct replica *r, uint64_t from, const struct frame_chunk *c);
/* The core accepted it; metadata (with its configuration) goes back to the core. */
void install_update(struct replica *r, const struct raft_snapshot_metadata *metadata);
void install_peer_down(struct replica *r, uint64_t peer);
void install_release(struct replica *r);

/* offer.c */
void offer_wanted(struct replica *r, uint64_t to);
void offer_check(struct replica *r); /* Now and then. */
void offer_ack(struct replica *r, uint64_t from, const struct frame_chunk_ack *a);
void offer_stop(struct replica *r, uint64_t peer); /* 0: whoever it is for. */
void offer_release(struct replica *r);
uint64_t offer_holds(const struct replica *r); /* Index behind which the log must stay; UINT64_MAX: none. */

/* transfer.c */
void transfer_continue(struct replica *r);
