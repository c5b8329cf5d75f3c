/* world.h - one run's time, chance and events: everything the simulator does happens in an event, at a moment of
 * virtual time, in an order that the seed decides. The same seed and options give the same run, event for event. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Chance is drawn from a stream for each noun, so that leaving out a fault does not change what the clients do. */
enum stream { CHANCE_PROFILE, CHANCE_FAULTS, CHANCE_NET, CHANCE_DISKS, CHANCE_NODES, CHANCE_CLIENTS, CHANCE_STREAMS };
uint64_t chance(enum stream s);
uint64_t below(enum stream s, uint64_t n);                   /* 0 .. n - 1 */
uint64_t between(enum stream s, uint64_t from, uint64_t to); /* Both included. */
bool percent(enum stream s, unsigned p);

struct event {
    uint64_t at_us, order;
    void (*run)(struct event *e); /* The event is freed after it. */
    int node;                     /* Whose life it belongs to; -1: the world's. */
    unsigned life;                /* Of that node: what an earlier life waits for never comes. */
    uint64_t a, b;
    uint8_t *bytes; /* malloc'ed */
    size_t len;
};

struct world {
    uint64_t now_us, seed, digest, events;
    bool verbose;
    const char *options; /* As given on the command line, for the replay. */
};
extern struct world world;

void world_begin(uint64_t seed);
void world_end(void);
/* What an event meets when its time has come. */
enum gate { GATE_RUN, GATE_VOID, GATE_LATER /* *ret_until */ };
struct world_hooks {
    enum gate (*gate)(const struct event *e, uint64_t *ret_until);
    void (*after)(const struct event *e);
    void (*describe)(void); /* For the reader of a failing seed. */
};
void world_run(uint64_t end_us, const struct world_hooks *hooks);
/* An event in_us from now, of the node's present life (node -1: of the world). */
struct event *world_in(uint64_t in_us, int node, void (*run)(struct event *e));

/* Tell the reader of -v. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Add to the digest of the run. */
void trace(uint64_t what);
/* A promise was broken: say which and how to see it again, and end the process. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Allocation, for a program that has nothing better to do than stop. */
void *must(void *p);
