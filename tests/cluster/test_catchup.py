"""A node that was away comes back and is made whole, from the log or by a snapshot, while the others go on."""
import time

from cluster import Cluster, expect
from load import Load

SMALL = dict(segment_bytes="64k", log_keep_entries=50, log_keep_bytes="64k", checkpoint_bytes="1m", flush_interval_ms=20)
BATCH = 200


def write_keys(node, first, n, size=100):
    with node.wire() as w:
        for start in range(first, first + n, BATCH):
            commands = [("SET", "key:%d" % i, "%d:" % i + "x" * size) for i in range(start, min(start + BATCH, first + n))]
            for reply in w.pipeline(commands):
                expect(reply == "OK", "SET answered %r", reply)


def test_catches_up_from_log():
    with Cluster() as c:
        away = c.followers()[0]
        away.kill()
        write_keys(c.wait_leader(), 0, 1000)
        away.start()
        c.wait_ready()
        c.wait_same_state()
        expect(away.info()["snapshots_installed"] == "0", "a snapshot was sent where the log would have done")
        expect(away.call("GET", "key:999") == b"999:" + b"x" * 100, "the returned node reads something else")


def test_catches_up_by_snapshot():
    with Cluster(**SMALL) as c:
        away = c.followers()[0]
        others = [n for n in c.nodes if n is not away]
        write_keys(c.wait_leader(), 0, 200)
        away.kill()
        leader = c.wait_leader()
        write_keys(leader, 0, 20000)
        leader.call("DEL", *["key:%d" % i for i in range(100)])
        with Load(others, per_node=1) as load:
            load.wait_done(20)
            began = time.monotonic()
            away.start()
            c.wait_ready(30)
            load.wait_going_on(others, time.monotonic())
            gap = load.longest_gap(others, began)
        hash_now = c.wait_same_state()
        info = away.info()
        expect(int(info["snapshots_installed"]) >= 1, "the node came back without a snapshot, though the log no longer reached back")
        expect(gap <= 1.0, "the others stood still for %.3f s during the snapshot", gap)
        away.kill()
        away.start()
        c.wait_ready()
        expect(c.wait_same_state() is not None, "state after another restart")
        expect(away.call("EXISTS", "key:5") == 0 and away.call("EXISTS", "key:15000") == 1, "keys after the snapshot")
    return "longest pause of the others %.3f s, state %s" % (gap, hash_now)


def test_log_is_cut():
    """The log on disk stays bounded however much is written."""
    with Cluster(**SMALL) as c:
        leader = c.wait_leader()
        sizes = []
        for round_ in range(4):
            write_keys(leader, 0, 10000)
            sizes.append(int(leader.info()["log_bytes"]))
        expect(sizes[-1] < 8 * 1024 * 1024, "the log takes %s bytes after four rounds of 1 MB", sizes)
        c.wait_same_state()
    return "log bytes after each round: %s" % sizes
