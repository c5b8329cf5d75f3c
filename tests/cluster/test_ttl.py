"""Keys that expire: never early, not reset by a new leader, and many at once without holding anyone up."""
import time

from cluster import Cluster, expect, wait_for
from load import Load
from wire import Lost, ReplyError

TTL_MS = 1500
CLOCK_GRAIN_S = 0.003
# Late: at most the time without a leader and a commit; on a busy machine some more.
LATE_S = 3.0
# A new leader counts on from the stamp it applied last, which a follower may hear of only with the next message.
HEARD_LATE_MS = 400
MANY = 100000
DUE_TOGETHER_MS = 6000
# In one piece they would hold others up for as long as all of them take, on a slow machine more than this.
HELD_UP_S = 3.0
BATCH = 1000


def watch_until_gone(wires, key, deadline_s):
    """Ask all nodes in turn until one says the key is gone. (last time it was seen, time after it was found gone)."""
    seen = time.monotonic()
    end = seen + deadline_s
    while time.monotonic() < end:
        for w in wires:
            asked = time.monotonic()
            try:
                if w.call("EXISTS", key) == 0:
                    return seen, time.monotonic()
                seen = asked
            except (ReplyError, Lost):
                continue
        time.sleep(0.002)
    expect(False, "%s was still there after %.1f s", key, deadline_s)


def test_never_early():
    with Cluster() as c:
        wires = [n.wire() for n in c.nodes]
        late = []
        for i, w in enumerate(wires):
            sent = time.monotonic()
            w.call("SET", "k", "v", "PX", TTL_MS)
            told = time.monotonic()
            _, gone = watch_until_gone(wires, "k", 10)
            expect(gone - sent >= TTL_MS / 1000 - CLOCK_GRAIN_S, "gone %.3f s after it was set", gone - sent)
            expect(gone - told <= TTL_MS / 1000 + LATE_S, "gone only %.3f s after it was set", gone - told)
            late.append(gone - told - TTL_MS / 1000)
            for other in wires:
                expect(other.call("GET", "k") is None, "an expired key came back on another node")
        for w in wires:
            w.close()
    return "late by %s ms" % ", ".join("%.0f" % (1000 * l) for l in late)


def test_not_reset_by_leader_change():
    with Cluster() as c:
        leader = c.wait_leader()
        others = [n for n in c.nodes if n is not leader]
        wires = [n.wire() for n in others]
        sent = time.monotonic()
        wires[0].call("SET", "k", "v", "PX", 2 * TTL_MS)
        told = time.monotonic()
        wait_for(lambda: time.monotonic() - told > TTL_MS / 2000, 10, "part of the TTL to pass")
        killed = time.monotonic()
        leader.kill()
        left = wait_for(lambda: wires[0].call("PTTL", "k"), 10, "a new leader")
        leaderless = time.monotonic() - killed
        expect(0 < left <= 2 * TTL_MS - TTL_MS / 2 + HEARD_LATE_MS, "%d ms are left after the leader changed", left)
        _, gone = watch_until_gone(wires, "k", 20)
        expect(gone - sent >= 2 * TTL_MS / 1000 - CLOCK_GRAIN_S, "gone %.3f s after it was set", gone - sent)
        expect(gone - told <= 2 * TTL_MS / 1000 + leaderless + LATE_S, "gone only %.3f s after it was set", gone - told)
        for w in wires:
            w.close()
        leader.start()
        c.wait_ready()
        c.wait_same_state()
    return "without a leader for %.3f s, gone after %.3f s of %.1f" % (leaderless, gone - told, 2 * TTL_MS / 1000)


def test_ttl_survives_restart_of_all():
    with Cluster() as c:
        told = time.monotonic()
        c.wait_leader().call("SET", "k", "v", "EX", 100)
        for n in c.nodes:
            n.kill()
        for n in c.nodes:
            n.start()
        c.wait_ready()
        left = c.nodes[0].call("PTTL", "k")
        expect(100000 - 1000 * (time.monotonic() - told) - 1000 <= left <= 100000, "%d ms left of 100,000", left)


def test_many_due_at_once():
    with Cluster() as c:
        leader = c.wait_leader()
        with leader.wire(60) as w, Load(c.nodes, per_node=1) as load:
            began = time.monotonic()
            due = began + DUE_TOGETHER_MS / 1000
            for start in range(0, MANY, BATCH):
                left = max(int(1000 * (due - time.monotonic())), 1)
                replies = w.pipeline([("SET", "due:%d" % i, "v", "PX", left) for i in range(start, start + BATCH)])
                expect(all(r == "OK" for r in replies), "SET with PX")
            written = time.monotonic()
            wait_for(lambda: w.call("DBSIZE") <= 1, 60, "%d keys to expire" % MANY)
            gone = time.monotonic()
            gap = load.longest_gap(c.nodes, min(due, written) - 0.1)
        load.check(int(leader.call("GET", "counter")))
        errors = load.errors(c.nodes)
        expect(not errors, "%d errors while keys expired, first: %s", len(errors), errors and errors[0].error)
        expect(gap <= HELD_UP_S, "others were held up for %.3f s while keys expired", gap)
        expect(int(leader.info("stats")["expired_keys"]) >= MANY, "expired_keys in INFO")
        c.wait_same_state()
    return "written in %.1f s, gone %.1f s after due, longest pause of others %.3f s" % (written - began, gone - max(due, written), gap)
