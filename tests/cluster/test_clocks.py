"""Wall clocks that jump by hours, forward and back, under load: nothing that has a time to live ends early or never, no
session ends, no lock changes hands."""
import random
import time

from clocks import Clock
from cluster import PATIENCE, SEED, Cluster, expect, wait_for
from load import Load
from test_ttl import CLOCK_GRAIN_S, LATE_S, watch_until_gone

JUMPS_S = (3 * 3600, -5 * 3600, 400 * 86400, 0, -7)
TTL_MS = 2500
GOING_ON_WITHIN_S = 6.0


class ClockCluster(Cluster):
    def start(self):
        self.clocks = {n.id: Clock(n) for n in self.nodes}
        return super().start()

    def jump(self, node, ahead_s):
        """Set its clock, and see that the node itself has it from there."""
        self.clocks[node.id].set(ahead_s)
        wait_for(lambda: abs(int(node.call("TIME")[0]) - time.time() - ahead_s) < 2, 10, "%s to be %d s ahead" % (node, ahead_s))


def jump_about(c, chance, until):
    n = 0
    while time.monotonic() < until or n < len(JUMPS_S):
        c.jump(chance.choice(c.nodes), JUMPS_S[n % len(JUMPS_S)])
        n += 1
    return n


def test_what_lives_by_time():
    chance = random.Random(SEED)
    with ClockCluster() as c:
        wires = [n.wire() for n in c.nodes]
        kept = wires[0].call("SESSION", "OPEN", "TTL", 600000)
        token = wires[1].call("LOCK", "ACQUIRE", "held", kept)
        with Load(c.nodes, per_node=1, readers=1) as load:
            load.wait_done(20)
            sent = time.monotonic()
            wires[2].call("SET", "k", "v", "PX", TTL_MS)
            left = wires[0].call("SESSION", "OPEN", "TTL", TTL_MS)
            leased = wires[1].call("LOCK", "ACQUIRE", "leased", kept, "TTL", TTL_MS)
            told = time.monotonic()
            jumps = jump_about(c, chance, sent + 0.6 * TTL_MS / 1000)
            owners = [w.call("LOCK", "INFO", "leased") for w in wires]
            if time.monotonic() - sent < TTL_MS / 1000 - CLOCK_GRAIN_S:
                expect(None not in owners, "a lease ended early")
            _, gone = watch_until_gone(wires, "k", 20)
            expect(gone - sent >= TTL_MS / 1000 - CLOCK_GRAIN_S, "a key was gone after %.3f s", gone - sent)
            expect(gone - told <= TTL_MS / 1000 + LATE_S * PATIENCE, "a key was gone only after %.3f s", gone - told)
            wait_for(lambda: wires[0].call("LOCK", "INFO", "leased") is None, 10, "the lease to end")
            wait_for(lambda: left not in sessions(wires[0]), 10, "the session that nobody renewed to end")
            jump_about(c, chance, 0)
            load.wait_going_on(c.nodes, time.monotonic())
            gap = load.longest_gap(c.nodes, sent)
        expect(gap <= GOING_ON_WITHIN_S, "clients stood still for %.3f s when clocks jumped", gap)
        expect(kept in sessions(wires[1]), "a session ended because clocks jumped")
        expect(wires[2].call("GUARD", "held", token, "INCR", "guarded") == 1, "a lock changed hands because clocks jumped")
        expect(leased > token, "tokens grow")
        load.check(int(wires[0].call("GET", "counter")))
        c.wait_same_state()
        for w in wires:
            w.close()
    return "%d jumps and more; a key with %.1f s to live was gone after %.3f s" % (jumps, TTL_MS / 1000, gone - sent)


def sessions(wire):
    return [dict(zip(s[::2], s[1::2]))[b"id"] for s in wire.call("SESSION", "LIST")]


def test_jumps_and_a_new_leader():
    """The new leader's wall clock is days away from the old one's: times to live go on where they were."""
    with ClockCluster() as c:
        leader = c.wait_leader()
        for n in c.nodes:
            c.jump(n, 0 if n is leader else 9 * 86400 * (1 if n.id % 2 else -1))
        sent = time.monotonic()
        leader.call("SET", "k", "v", "PX", TTL_MS)
        told = time.monotonic()
        killed = time.monotonic()
        leader.kill()
        new = c.wait_leader()
        new.call("EXISTS", "k")
        leaderless = time.monotonic() - killed
        with new.wire() as w:
            _, gone = watch_until_gone([w], "k", 20)
        expect(gone - sent >= TTL_MS / 1000 - CLOCK_GRAIN_S, "gone after %.3f s", gone - sent)
        expect(gone - told <= TTL_MS / 1000 + leaderless + LATE_S * PATIENCE, "gone only after %.3f s", gone - told)
        leader.start()
        c.wait_ready()
        c.wait_same_state()
    return "gone after %.3f s" % (gone - sent)
