"""Linearizability, in small: readers and writers of one counter through all nodes while nodes die and stop."""
import random
import time

from cluster import SEED, Cluster, expect
from load import Load

ROUNDS = 4


def disturb(c, chance):
    """Kill or stop one node, wait until the others work, bring it back. Returns what was done."""
    victim = chance.choice(c.nodes)
    others = [n for n in c.nodes if n is not victim]
    if chance.random() < 0.5:
        victim.kill()
        c.wait_leader()
        victim.start()
        return "killed %d" % victim.id, others
    victim.pause()
    c.wait_leader()
    victim.resume()
    return "stopped %d" % victim.id, others


def test_counter_is_linearizable_under_faults():
    chance = random.Random(SEED)
    done = []
    with Cluster() as c:
        with Load(c.nodes, per_node=2, readers=2) as load:
            load.wait_done(10)
            for _ in range(ROUNDS):
                what, _ = disturb(c, chance)
                done.append(what)
                c.wait_ready()
                load.wait_going_on(c.nodes, time.monotonic())
        acknowledged, unknown = load.check(int(c.wait_leader().call("GET", "counter")))
        reads = sum(1 for op in load.ops() if op.kind == "read" and op.fate == "done")
        c.wait_same_state()
    expect(reads > 0, "no read was answered")
    return "%s; %d increments, %d unknown, %d reads" % (", ".join(done), acknowledged, unknown, reads)


def test_read_your_own_and_others_writes():
    """What was acknowledged through one node is read through every other at once."""
    with Cluster() as c:
        wires = [n.wire() for n in c.nodes]
        for i in range(300):
            writer = wires[i % 3]
            writer.call("SET", "k", i)
            for w in wires:
                expect(w.call("GET", "k") == b"%d" % i, "a read through another node missed write %d", i)
        for w in wires:
            w.close()
