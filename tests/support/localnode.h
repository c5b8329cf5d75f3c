/* localnode.h - a stand-in for the cluster side: what node.h and requests.h promise, kept by a store alone.
 * One process, no raft, no log: a write is applied and answered in the next loop iteration. Its clock is virtual and
 * moves on by step_ms with each request, so that times to live are the same in every run. Requests can be held back and
 * let go one by one, made to fail, or refused. Linked into tests in place of node.c and requests.c. */
#pragma once
#include "node/node.h"
#include "store/store.h"

struct localnode_knobs {
    bool hold_writes, hold_reads;    /* Keep requests unanswered until localnode_answer(). */
    int refuse_writes, refuse_reads; /* An enum requests_err, or 0. */
    uint64_t step_ms;                /* How far the clock moves on with each request. */
    unsigned replicas;               /* What node_replicas_at() tells. */
    bool is_leader;
    uint64_t leader;        /* 0: none known, */
    uint64_t leaderless_ms; /* for so long */
};

struct node *localnode_open(uv_loop_t *loop, const struct config *config, const char *dir);
/* Held requests fail with REQUEST_STOPPING. The handles are closed by the loop's next runs. */
void localnode_close(struct node *n);
struct localnode_knobs *localnode_knobs(struct node *n);
size_t localnode_n_writes(const struct node *n);
size_t localnode_n_reads(const struct node *n);
/* Answer the first of the held writes or reads. */
void localnode_answer(struct node *n, bool writes);
void localnode_fail(struct node *n, bool writes, enum request_failure why);
void localnode_advance_ms(struct node *n, uint64_t ms);
