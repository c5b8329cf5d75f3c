/* sweep_replica.c - a cluster whose nodes run out of memory at any call, libraft's own included: a node may stop and
 * say why; nothing acknowledged is lost, no two stories are told, and once there is memory again all agree. */
#include "tests/support/fakecluster.h"
#include "tests/sweep/sweep.h"

#define NODES 3
#define PATIENCE_MS 20000

static void propose_many(struct fakecluster *c, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t leader = fakecluster_leader(c);
        if (leader != 0)
            fakecluster_propose(c, leader, 40);
        fakecluster_run(c, 5);
    }
}

static void start(struct fakecluster *c, uint64_t id)
{
    char error[256] = "";
    if (fakecluster_runs(c, id))
        return;
    int rc = fakecluster_start(c, id, error);
    bool honest = rc == 0 || rc == REPLICA_ENOMEM || (rc == REPLICA_EVERSION && strstr(error, "no memory") != NULL);
    if (!honest || (rc != 0 && error[0] == '\0'))
        fail_msg("call %" PRIu64 " failed, and node %" PRIu64 " says %d: %s", sweep_plan.nth, id, rc, error);
}

static void start_all(struct fakecluster *c)
{
    for (uint64_t id = 1; id <= NODES; id++)
        start(c, id);
}

/* Elections, entries, reads, a node that was away for so long that it needs a snapshot, a change of leaders. */
static void live(struct fakecluster *c)
{
    start_all(c);
    fakecluster_until(c, fakecluster_has_leader, NULL, 3000);
    propose_many(c, 10);
    uint64_t leader = fakecluster_leader(c), away = leader % NODES + 1;
    if (leader != 0)
        fakecluster_read(c, leader);
    if (fakecluster_runs(c, away))
        fakecluster_kill(c, away);
    propose_many(c, 30);
    for (uint64_t id = 1; id <= NODES; id++)
        if (fakecluster_runs(c, id))
            fakecluster_checkpoint(c, id);
    propose_many(c, 10);
    start(c, away);
    fakecluster_run(c, 1500);
    leader = fakecluster_leader(c);
    if (leader != 0)
        fakecluster_kill(c, leader);
    fakecluster_run(c, 1500);
    propose_many(c, 5);
}

static void assert_no_trouble(struct fakecluster *c)
{
    if (fakecluster_trouble(c) != NULL)
        fail_msg("call %" PRIu64 "%s failed: %s", sweep_plan.nth, sweep_plan.on ? " and all after it" : "",
                 fakecluster_trouble(c));
}

static void scenario(void)
{
    struct fakecluster *c = fakecluster_new(&(struct fakecluster_options){
        .n = NODES, .seed = 3, .keep_entries = 5, .keep_bytes = 2048, .state_bytes = 3000});
    for (uint64_t id = 1; id <= NODES; id++)
        fakecluster_may_fail(c, id, true);
    sweep_arm();
    live(c);
    sweep_disarm();
    fakecluster_calm(c);
    fakecluster_until(c, fakecluster_agrees, NULL, PATIENCE_MS);
    propose_many(c, 3);
    bool agree = fakecluster_until(c, fakecluster_agrees, NULL, PATIENCE_MS);
    assert_no_trouble(c);
    assert_true(agree);
    fakecluster_free(c);
}

static void memory(void **state)
{
    (void)state;
    sweep(FAILING_MEMORY, 1, scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory)};
    failing_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
