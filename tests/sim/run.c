/* run.c - see run.h */
#include "tests/sim/run.h"
#include "tests/sim/checks.h"
#include "tests/sim/clients.h"
#include "tests/sim/net.h"
#include "tests/sim/nodes.h"
#include "tests/sim/profile.h"
#include "tests/sim/world.h"
#include <sqlite3.h>
#include <stdio.h>

#define HEAL_MS 4000
#define CALM_MS 5000
#define QUIET_MS 6000
#define CALM_ANSWERS_MIN 40

static void after(const struct event *e)
{
    if (e->node >= 0 && nodes[e->node].up && nodes[e->node].life == e->life)
        checks_node(e->node);
    nodes_after(e);
}

static const struct world_hooks hooks = {nodes_gate, after, checks_describe};

static void run_for(uint64_t ms)
{
    world_run(world.now_us + ms * 1000, &hooks);
}

static void judge(void)
{
    run_for(HEAL_MS);
    clients_calm();
    uint64_t before = clients_answers();
    run_for(CALM_MS);
    uint64_t got = clients_answers() - before;
    if (got < CALM_ANSWERS_MIN)
        fail("no progress after healing: %llu answers in %d ms", (unsigned long long)got, CALM_MS);
    faults_start_rest();
    clients_quiet();
    run_for(QUIET_MS - 1000);
    checks_remember_applied();
    run_for(1000);
    checks_all_caught_up();
    clients_finish();
}

static void tell(uint64_t seed)
{
    char text[200];
    if (!world.verbose)
        return;
    checks_describe();
    printf("seed %llu: %d nodes, %zu faults, %llu events, %llu answers, digest %016llx\n", (unsigned long long)seed,
           n_nodes, faults_n(), (unsigned long long)world.events, (unsigned long long)clients_answers(),
           (unsigned long long)world.digest);
    for (size_t i = 0; workloads[i] != NULL; i++) {
        if (!workload_runs(workloads[i]))
            continue;
        workloads[i]->describe(text, sizeof text);
        printf("  %s: %s\n", workloads[i]->name, text);
    }
}

uint64_t run_seed(uint64_t seed, const struct run_options *o)
{
    struct fault_options faults = {o->fault_ms * 1000, o->lose_disks, o->skip};
    sqlite3_randomness(0, NULL); /* It keeps a state of its own, which must not come from the run before. */
    world_begin(seed);
    profile_begin();
    checks_begin();
    net_begin();
    clients_begin();
    nodes_begin();
    faults_begin(&faults);
    run_for(o->fault_ms);
    faults_cease();
    judge();
    tell(seed);
    uint64_t digest = world.digest;
    clients_end();
    nodes_end();
    net_end();
    checks_end();
    world_end();
    return digest;
}
