"""Five nodes: two may fail at once, three are too many, and all may be restarted one after another."""
import signal
import time

from cluster import Cluster, expect, wait_for
from load import Load

GOING_ON_WITHIN_S = 6.0


def counter(c):
    return int(c.wait_leader().call("GET", "counter") or 0)


def test_two_of_five_die():
    """The leader and a follower at one moment: clients of the three others see a pause."""
    with Cluster(n=5) as c:
        dead = [c.wait_leader(), c.followers()[0]]
        others = [n for n in c.nodes if n not in dead]
        with Load(c.nodes) as load:
            load.wait_done(20)
            killed = time.monotonic()
            for n in dead:
                n.process.kill()
            for n in dead:
                n.wait_exit()
            load.wait_going_on(others, killed)
            gap = load.longest_gap(others, killed)
            errors = load.errors(others)
            for n in dead:
                n.start()
            c.wait_ready()
            load.wait_going_on(c.nodes, time.monotonic())
        expect(gap <= GOING_ON_WITHIN_S, "clients of the others stood still for %.3f s", gap)
        load.check(counter(c))
        c.wait_same_state()
    return "pause %.3f s, %d errors" % (gap, len(errors))


def test_three_of_five_stop():
    """The two that are left refuse, and so do the three when they wake up, until they have heard of each other."""
    with Cluster(n=5) as c:
        stopped = [c.wait_leader()] + c.followers()[:2]
        alone = [n for n in c.nodes if n not in stopped]
        with Load(c.nodes, readers=1) as load:
            load.wait_done(20)
            for n in stopped:
                n.pause()
            since = time.monotonic()
            wait_for(lambda: all(any(op.began > since for op in w.errors()) for w in load.of(alone)), 15, "the two to refuse")
            for n in stopped:
                n.resume()
            c.wait_ready()
            load.wait_going_on(c.nodes, time.monotonic())
        told = load.check(counter(c))
        c.wait_same_state()
    return "%d acknowledged, %d unknown" % told


def test_rolling_restart_of_five():
    """Clients of the nodes that are not restarted just now see a pause."""
    gaps, n_errors = [], 0
    with Cluster(n=5) as c:
        with Load(c.nodes) as load:
            load.wait_done(10)
            for n in c.nodes:
                others = [m for m in c.nodes if m is not n]
                told = time.monotonic()
                expect(n.kill(signal.SIGTERM) == 0, "exit code of %s", n)
                load.wait_going_on(others, time.monotonic())
                gaps.append(load.longest_gap(others, told))
                n_errors += sum(1 for op in load.errors(others) if op.began >= told)
                n.start()
                c.wait_ready()
                load.wait_going_on(c.nodes, time.monotonic())
        expect(max(gaps) <= GOING_ON_WITHIN_S, "clients of the others stood still for %s s", gaps)
        acknowledged, unknown = load.check(counter(c))
        c.wait_same_state()
    return "longest pause %.3f s, %d errors; %d acknowledged, %d unknown" % (max(gaps), n_errors, acknowledged, unknown)
