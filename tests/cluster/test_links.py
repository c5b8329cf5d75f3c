"""Links between nodes that are slow, lossy, one-way or break again and again, while clients reach every node."""
import random
import time

from cluster import SEED, expect, wait_for
from load import Load
from switch import SwitchedCluster

GOING_ON_WITHIN_S = 6.0
WITH_FAULT_S = 1.5  # Longer than the election timeout.


def counter(c):
    return int(c.wait_leader().call("GET", "counter") or 0)


def pairs(c):
    return [(a.id, b.id) for a in c.nodes for b in c.nodes if a.id < b.id]


def disturbed(c, load, through, disturb):
    """Disturb the links, work on through some nodes, mend the links, work through all; the longest pause."""
    began = time.monotonic()
    disturb()
    wait_for(lambda: time.monotonic() - began > WITH_FAULT_S, 10, "some time with the fault")
    load.wait_going_on(through, time.monotonic(), 30)
    gap = load.longest_gap(through, began)
    c.switch.mend()
    c.wait_ready(30)
    load.wait_going_on(c.nodes, time.monotonic())
    return gap


def under_load(c, rounds):
    """rounds(load) while there is load, then the checks; what to tell."""
    with Load(c.nodes, per_node=1, readers=1) as load:
        load.wait_done(30)
        gaps = rounds(load)
    acknowledged, unknown = load.check(counter(c))
    c.wait_same_state()
    return "longest pauses %s s; %d acknowledged, %d unknown" % (", ".join("%.3f" % g for g in gaps), acknowledged, unknown)


def bounded(gap, whom):
    expect(gap <= GOING_ON_WITHIN_S, "%s stood still for %.3f s", whom, gap)
    return gap


def everywhere(c, **how):
    for a, b in pairs(c):
        c.switch.both_ways(a, b, **how)


def test_slow_links():
    """Far apart: 20 to 50 ms each way."""
    with SwitchedCluster() as c:
        return under_load(c, lambda load: [disturbed(c, load, c.nodes, lambda: everywhere(c, delay_ms=20, jitter_ms=30))])


def test_lossy_links():
    """Every tenth packet is lost: the links stall for as long as elections take, and longer."""
    with SwitchedCluster() as c:
        return under_load(c, lambda load: [disturbed(c, load, c.nodes, lambda: everywhere(c, delay_ms=1, jitter_ms=2, loss=0.1))])


def test_links_that_break():
    chance = random.Random(SEED)
    with SwitchedCluster() as c:

        def break_some():
            end = time.monotonic() + WITH_FAULT_S
            while time.monotonic() < end:
                c.switch.reset(*chance.choice(pairs(c)))
                time.sleep(0.1 * chance.random())

        return under_load(c, lambda load: [disturbed(c, load, c.nodes, break_some)])


def test_one_way_holes():
    """The leader, then a follower, that hears nobody, or that nobody hears."""
    with SwitchedCluster() as c:

        def round_(load, sick, deaf):
            others = [n for n in c.nodes if n is not sick]

            def disturb():
                for n in others:
                    c.switch.link(*((n.id, sick.id) if deaf else (sick.id, n.id)), hole=True)

            return bounded(disturbed(c, load, others, disturb), "while %s was %s the others" % (sick, "deaf" if deaf else "mute"))

        return under_load(c, lambda load: [round_(load, choose(), deaf) for choose in (c.wait_leader, lambda: c.followers()[0])
                                           for deaf in (True, False)])


def test_triangles_without_a_side():
    """Two followers that cannot meet: nothing changes for anyone. A follower that cannot reach the leader asks for votes;
    the one that hears the leader does not give its own."""
    with SwitchedCluster() as c:

        def rounds(load):
            a, b = c.followers()
            yield bounded(disturbed(c, load, c.nodes, lambda: c.switch.both_ways(a.id, b.id, hole=True)), "clients")
            leader = c.wait_leader()
            away, other = c.followers()
            yield bounded(disturbed(c, load, [leader, other], lambda: c.switch.both_ways(leader.id, away.id, hole=True)), "the others")

        return under_load(c, lambda load: list(rounds(load)))


def test_two_parts_of_five():
    with SwitchedCluster(n=5) as c:
        minority = [c.wait_leader(), c.followers()[0]]
        others = [n for n in c.nodes if n not in minority]

        def part():
            for a in minority:
                for b in others:
                    c.switch.both_ways(a.id, b.id, hole=True)

        return under_load(c, lambda load: [bounded(disturbed(c, load, others, part), "the majority")])
