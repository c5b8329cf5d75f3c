"""Nodes that cannot reach each other and do not know why, while clients reach them all."""
import time

from cluster import expect, wait_for
from load import Load
from network import SplitCluster

REFUSED_WITHIN_S = 3.0 # 1.5 s deadline, the rest slack.
GOING_ON_WITHIN_S = 6.0


def test_leader_cut_off():
    with SplitCluster() as c:
        leader = c.wait_leader()
        others = [n for n in c.nodes if n is not leader]
        with Load(c.nodes, per_node=1, readers=1) as load:
            load.wait_done(50)
            c.cut(leader)
            cut = time.monotonic()
            load.wait_going_on(others, cut)
            gap = load.longest_gap(others, cut)
            new = wait_for(lambda: next((n for n in others if n.info()["role"] == "leader"), None), 10, "a new leader")
            # Long enough for the old leader's clients to have been refused, and for nothing of theirs to be answered.
            refused = wait_for(lambda: [w for w in load.of([leader]) if any(op.began > cut for op in w.errors())] == load.of([leader]),
                               10, "clients of the node that is cut off to be refused")
            slowest = max(op.ended - op.began for w in load.of([leader]) for op in w.errors())
            quiet = time.monotonic()
            stale = [op for op in load.ops() if op.node == leader.id and op.fate == "done" and op.began > cut + 1.5]
            c.mend(leader)
            c.wait_ready(30)
            load.wait_going_on(c.nodes, time.monotonic())
        expect(refused, "refused")
        expect(not stale, "the node that was cut off answered %s", stale[:1])
        expect(slowest <= REFUSED_WITHIN_S, "a client of the node that was cut off waited %.3f s", slowest)
        expect(gap <= GOING_ON_WITHIN_S, "the others stood still for %.3f s", gap)
        acknowledged, unknown = load.check(int(c.wait_leader().call("GET", "counter")))
        c.wait_same_state()
    return "leader %d, then %d; pause %.3f s, refused within %.3f s, cut for %.1f s; %d acknowledged, %d unknown" % (
        leader.id, new.id, gap, slowest, quiet - cut, acknowledged, unknown)


def test_follower_cut_off():
    """It keeps asking for votes and must not disturb the others, then or when it is back."""
    with SplitCluster() as c:
        leader = c.wait_leader()
        away = c.followers()[0]
        others = [n for n in c.nodes if n is not away]
        with Load(others, per_node=1, readers=1) as load:
            load.wait_done(50)
            term = leader.info()["term"]
            cut = time.monotonic()
            c.cut(away)
            # Several election timeouts of the one that is alone.
            wait_for(lambda: time.monotonic() - cut > 3.0 and leader.call("PING"), 10, "some elections that fail")
            c.mend(away)
            c.wait_ready(30)
            gap = load.longest_gap(others, cut)
            expect(leader.info()["role"] == "leader" and leader.info()["term"] == term,
                   "the node that was away forced an election: term %s, then %s", term, leader.info()["term"])
        expect(not load.errors(others), "clients of the others saw errors: %s", load.errors(others)[:1])
        expect(gap <= 0.5, "the others stood still for %.3f s", gap)
        load.check(int(leader.call("GET", "counter")))
        c.wait_same_state()
    return "longest pause %.3f s" % gap


def test_all_cut_off_and_mended():
    with SplitCluster() as c:
        with Load(c.nodes, per_node=1, readers=1) as load:
            load.wait_done(50)
            cut = time.monotonic()
            for n in c.nodes:
                c.cut(n)
            wait_for(lambda: all(any(op.began > cut for op in w.errors()) for w in load.workers), 15, "everyone to be refused")
            for n in c.nodes:
                c.mend(n)
            c.wait_ready(30)
            mended = time.monotonic()
            load.wait_going_on(c.nodes, mended)
        acknowledged, unknown = load.check(int(c.wait_leader().call("GET", "counter")))
        c.wait_same_state()
    return "%d acknowledged, %d unknown" % (acknowledged, unknown)


def test_leader_that_is_not_heard():
    """It hears all the others, and takes long to see that nobody hears it: TCP goes on sending again."""
    with SplitCluster() as c:
        leader = c.wait_leader()
        others = [n for n in c.nodes if n is not leader]
        with Load(c.nodes, per_node=1, readers=1) as load:
            load.wait_done(50)
            for n in others:
                c.mute(leader, n)
            muted = time.monotonic()
            load.wait_going_on(others, muted)
            gap = load.longest_gap(others, muted)
            wait_for(lambda: leader.info()["role"] != "leader", 10, "the leader to give up") # It may be a candidate by then.
            for n in others:
                c.unmute(leader, n)
            c.wait_ready(30)
            load.wait_going_on(c.nodes, time.monotonic())
        expect(gap <= GOING_ON_WITHIN_S, "the others stood still for %.3f s", gap)
        acknowledged, unknown = load.check(int(c.wait_leader().call("GET", "counter")))
        c.wait_same_state()
    return "pause %.3f s; %d acknowledged, %d unknown" % (gap, acknowledged, unknown)
