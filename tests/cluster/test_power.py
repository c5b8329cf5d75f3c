"""Disks that lose what was not synced, fail, and are slow: what was acknowledged is there afterwards, a node whose disk has
failed says so and stops, and the others go on."""
import os
import random
import tempfile
import time

from cluster import PATIENCE, SEED, Failed, expect, wait_for
from disks import DiskCluster, mounted
from load import Load
from wire import Lost, ReplyError

EXIT_DATA_DIR, EXIT_DISK = 2, 4
ROUNDS = 5
SLOW_MS = 300
HUNG_MS = 3600 * 1000
# A leader with a dead disk is replaced, or its followers' disks do: the bound of a leader that dies.
GOING_ON_WITHIN_S = 6.0


def counter(c):
    return int(c.wait_leader().call("GET", "counter") or 0)


def cut_under_load(c, rounds, choose):
    """Power cuts of the nodes that choose() names, and what became of the counter."""
    chance = random.Random(SEED)
    with Load(c.nodes, per_node=2, readers=1) as load:
        for _ in range(rounds):
            load.wait_going_on(c.nodes, time.monotonic())
            victims = choose(chance)
            c.power_cut(victims, chance)
            for n in victims:
                n.start()
            c.wait_ready(30)
    acknowledged, unknown = load.check(counter(c))
    c.wait_same_state()
    return "%d acknowledged, %d unknown; %s" % (acknowledged, unknown, c.lost())


def test_power_cut_of_one():
    with DiskCluster() as c:
        return cut_under_load(c, ROUNDS, lambda chance: [c.wait_leader() if chance.random() < 0.6 else chance.choice(c.nodes)])


def test_power_cut_of_all():
    with DiskCluster() as c:
        return cut_under_load(c, ROUNDS, lambda chance: c.nodes)


def test_power_cuts_of_five():
    """Two at once, as many as five can spare, and all."""
    with DiskCluster(n=5) as c:
        return cut_under_load(c, 3, lambda chance: chance.sample(c.nodes, 2) if chance.random() < 0.7 else c.nodes)


def test_lying_disks_are_found_out():
    """Where syncs save nothing a cut of all loses what was acknowledged, or the tests above test nothing."""
    chance = random.Random(SEED)
    with DiskCluster() as c:
        for n in c.nodes:
            c.disk(n).lie()
        for _ in range(20):
            harm = harm_of_a_cut(c, chance)
            if harm:
                end_all(c)
                return harm
    expect(False, "20 power cuts lost nothing, though nothing had been saved")


def end_all(c):
    """On such disks nodes may end by themselves, now or in a moment."""
    for n in c.nodes:
        if n.process is not None:
            n.kill()


def harm_of_a_cut(c, chance):
    """What a power cut of all has broken, in words; None when nothing."""
    try:
        before = max(c.wait_leader().call("INCR", "counter") for _ in range(100))
        c.power_cut(c.nodes, chance)
        for n in c.nodes:
            n.start()
        c.wait_ready(5)
        after = counter(c)
        return "%d acknowledged, %d left" % (before, after) if after < before else None
    except (Failed, ReplyError, Lost) as e:
        return "the cluster does not work any more: %s" % e


def go_on_while(c, sick, fault):
    """Load through the others while the sick node's disk has the fault; the longest pause."""
    others = [n for n in c.nodes if n is not sick]
    with Load(others, per_node=2, readers=1) as load:
        load.wait_done(50)
        began = time.monotonic()
        fault(c.disk(sick))
        wait_for(lambda: time.monotonic() - began > 1.0, 10, "some time with the fault")
        load.wait_going_on(others, time.monotonic())
        gap = load.longest_gap(others, began)
    expect(gap <= GOING_ON_WITHIN_S, "the others stood still for %.3f s", gap)
    return load, gap


def slow_disk(choose, ms, what="sync"):
    with DiskCluster() as c:
        sick = choose(c)
        load, gap = go_on_while(c, sick, lambda disk: disk.slow(ms, what))
        c.disk(sick).heal()
        c.wait_ready()
        load.check(counter(c))
        c.wait_same_state()
    return "%d done, longest pause %.3f s" % (sum(w.done() for w in load.workers), gap)


def test_slow_sync_on_leader():
    return slow_disk(lambda c: c.wait_leader(), SLOW_MS)


def test_hung_sync_on_leader():
    return slow_disk(lambda c: c.wait_leader(), HUNG_MS)


def test_hung_writes_on_follower():
    return slow_disk(lambda c: c.followers()[0], HUNG_MS, "write")


def test_hung_disk_is_given_up():
    """Slow is not dead, and who was stopped itself has not waited. A disk that does not answer is: the node says so, and its
    clients are not left hanging, though the process cannot go before the disk lets go of it."""
    with DiskCluster(disk_timeout_ms=2000, log_keep_entries=1000000, log_keep_bytes="256m") as c:
        sick = c.wait_leader()
        others = [n for n in c.nodes if n is not sick]
        with Load(c.nodes, per_node=1) as load:
            load.wait_done(20)
            c.disk(sick).slow(200)
            slow = time.monotonic()
            wait_for(lambda: time.monotonic() - slow > 2.5, 10, "some time with a slow disk")
            c.disk(sick).slow(HUNG_MS)
            sick.pause()
            load.wait_going_on(others, time.monotonic())
            wait_for(lambda: time.monotonic() - slow > 5, 10, "some time without the process")
            c.disk(sick).heal()
            sick.resume()
            c.wait_ready()
            load.wait_going_on(c.nodes, time.monotonic())
            hung = time.monotonic()
            c.disk(sick).slow(HUNG_MS)
            wait_for(lambda: "the disk has not answered" in sick.log_text(), 20, "%s to give its disk up" % sick)
            wait_for(lambda: any(op.began > hung for w in load.of([sick]) for op in w.errors()), 20, "its clients to be told")
            load.wait_going_on(others, time.monotonic())
            c.disk(sick).heal()
            code = sick.wait_exit()
            expect(code == EXIT_DISK, "%s ended with %s", sick, code)
            sick.start()
            c.wait_ready()
            load.wait_going_on(c.nodes, time.monotonic())
        load.check(counter(c))
        c.wait_same_state()


def test_vote_that_hangs():
    """A vote is stored before it is given, by the thread that serves clients: they are not left hanging either."""
    with DiskCluster(disk_timeout_ms=2000) as c:
        leader = c.wait_leader()
        sick = c.followers()[0]
        with sick.wire(30) as w:
            expect(w.call("GET", "k") is None, "before")
            c.disk(sick).slow(HUNG_MS)
            leader.kill()
            wait_for(lambda: "the disk has not answered" in sick.log_text(), 20, "%s to give its disk up" % sick)
            expect(w.at_eof(20 * PATIENCE), "a client of the node that has ended is left hanging")
        c.disk(sick).heal()
        code = sick.wait_exit()
        expect(code == EXIT_DISK, "%s ended with %s", sick, code)
        sick.start()
        leader.start()
        c.wait_ready()
        c.wait_same_state()


def failing_disk(choose, *fault):
    with DiskCluster() as c:
        sick = choose(c)
        load, gap = go_on_while(c, sick, lambda disk: disk.fail(*fault))
        code = sick.wait_exit()
        said = sick.log_text().splitlines()[-1]
        expect(code == EXIT_DISK, "%s ended with %s: %s", sick, code, said)
        expect("error" in said, "its last word does not say why: %s", said)
        c.disk(sick).heal()
        sick.start()
        c.wait_ready()
        # What it had not saved may be read from memory until the power goes. It must not count on that.
        c.power_cut(c.nodes, random.Random(SEED))
        for n in c.nodes:
            n.start()
        c.wait_ready(30)
        load.check(counter(c))
        c.wait_same_state()
    return "pause %.3f s; %s" % (gap, said.split("error", 1)[-1].strip())


def test_failing_sync_on_leader():
    return failing_disk(lambda c: c.wait_leader(), "EIO", "sync")


def test_failing_sync_on_follower():
    return failing_disk(lambda c: c.followers()[0], "EIO", "sync")


def test_failing_state_file():
    return failing_disk(lambda c: c.wait_leader(), "EIO", "write", "state.db")


def test_failing_sync_of_state_file():
    return failing_disk(lambda c: c.followers()[0], "EIO", "sync", "state.db")


def test_failing_reads():
    """A start that cannot read its files says which; a running node that cannot stops. Neither tells a wrong story."""
    with DiskCluster(cache_bytes="1m") as c:
        with c.nodes[0].wire() as w:
            for start in range(0, 2000, 200):
                w.pipeline([("SET", "row:%d" % i, "v" * 1000) for i in range(start, start + 200)])
        c.wait_same_state()
        sick = c.followers()[0]
        told = []
        for name in ("log-", "meta", "state.db"):
            sick.kill()
            c.disk(sick).fail("EIO", "read", name)
            sick.start()
            code = sick.wait_exit()
            told.append(sick.log_text().splitlines()[-1].rsplit("%s: " % sick.dir, 1)[-1])
            expect(code == EXIT_DATA_DIR and ("nput/output error" in told[-1] or "I/O error" in told[-1]), "%s: %s, %s", name, code, told[-1])
            c.disk(sick).heal()
            sick.start()
            c.wait_ready()
        c.disk(sick).fail("EIO", "read", "state.db")
        with sick.wire() as w:
            w.call("READONLY")
            try:
                answers = w.pipeline([("GET", "row:%d" % i) for i in range(2000)])
                wrong = [a for a in answers if a != b"v" * 1000 and not isinstance(a, ReplyError)]
                expect(not wrong, "rows that cannot be read were answered %r", wrong[:1])
            except Lost:
                pass
        wait_for(lambda: not sick.alive() or write_some(c), 20, "%s to meet its disk" % sick)
        code = sick.wait_exit()
        # SQLite calls a file that cannot be read malformed.
        expect(code in (EXIT_DATA_DIR, EXIT_DISK), "%s ended with %s", sick, code)
        c.disk(sick).heal()
        sick.start()
        c.wait_ready()
        c.wait_same_state()
    return "; ".join(told)


def write_some(c):
    """Never true: what is written makes a checkpoint, which reads."""
    leader = next(n for n in c.up() if n.info()["role"] == "leader")
    with leader.wire() as w:
        w.pipeline([("SET", "row:%d" % i, "w" * 1000) for i in range(2000)])
    return False


def test_the_disk_forgets():
    """The disk keeps what was synced, and forgets, at some seed or other, everything else: bytes, sizes and names."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder, mounted(folder) as disk:
        lost = set()
        for seed in range(60):
            kept, made = (os.path.join(disk.mountpoint, name) for name in ("kept", "made"))
            write(kept, b"a" * 10000, sync=True)
            sync_folder(disk.mountpoint)
            write(kept, b"b" * 5000 + b"a" * 5000 + b"b" * 100, sync=False)
            write(made, b"c", sync=True)
            disk.cut(seed)
            with open(kept, "rb") as f:
                now = f.read()
            expect(now[5000:10000] == b"a" * 5000, "synced bytes were lost")
            lost |= {what for what, gone in (("bytes", b"a" in now[:5000]), ("size", len(now) == 10000), ("name", not os.path.exists(made)),
                                             ("nothing", now[:5000] == b"b" * 5000 and len(now) == 10100)) if gone}
            os.path.exists(made) and os.unlink(made)
        expect(lost == {"bytes", "size", "name", "nothing"}, "60 cuts lost no more than %s", lost)


def write(path, data, sync):
    with open(path, "r+b" if os.path.exists(path) else "wb", buffering=0) as f:
        f.write(data)
        if sync:
            f.truncate(len(data))
            os.fsync(f.fileno())


def sync_folder(path):
    folder = os.open(path, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
