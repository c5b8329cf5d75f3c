"""Disks that fill up or lie. A full one: writes are refused in plain words before anything is lost, reads go on, and it
clears itself. A damaged one: the node says so and stops."""
import os
import signal
import subprocess

from cluster import Cluster, expect, wait_for
from wire import Lost, ReplyError

EXIT_DATA_DIR, EXIT_DISK = 2, 4
SIZE_MIB = 160
SETTINGS = dict(segment_bytes="1m", checkpoint_bytes="1m", log_keep_entries=100, log_keep_bytes="1m", flush_interval_ms=20, disk_reserve_bytes="32m")


class SmallDisks(Cluster):
    """Every data directory is a file system of SIZE_MIB."""

    def start(self):
        self.mounted = []
        for n in self.nodes:
            os.makedirs(n.dir)
            if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=%dm" % SIZE_MIB, "holdfast-test", n.dir], stderr=subprocess.DEVNULL) != 0:
                raise PermissionError
            self.mounted.append(n.dir)
        return super().start()

    def close(self, failed=None):
        for n in self.nodes:
            if n.alive():
                n.process.kill()
                n.process.wait()
                n.process = None
        for path in self.mounted:
            subprocess.call(["umount", path])
        super().close(failed)


def fill(node):
    """Leave no space on the node's disk; the path of the file that takes it."""
    path = os.path.join(node.dir, "filler")
    with open(path, "wb", buffering=0) as f:
        for piece in (1 << 20, 4096):
            try:
                while True:
                    f.write(b"x" * piece)
            except OSError:
                pass
    return path


def write_until_refused(node, codes, most=400000):
    """Write new keys until one is refused; the refusal."""
    value = "v" * 1000
    with node.wire(20) as w:
        for start in range(0, most, 100):
            for reply in w.pipeline([("SET", "fill:%d" % i, value) for i in range(start, start + 100)]):
                if isinstance(reply, ReplyError):
                    expect(reply.code in codes, "a write to a full disk was refused with '%s'", reply)
                    return reply
    expect(False, "no write was refused, though the disk has no space")


def delete(c, keys):
    """How many were deleted. With little space deletes go at the pace of the disk, and one may be told to come again."""
    gone = []

    def done():
        try:
            gone.append(c.wait_leader().call("DEL", *keys))
        except ReplyError as e:
            expect(e.code in {"CLUSTERDOWN", "TRYAGAIN"}, "a delete on a full disk was refused with '%s'", e)
        return gone
    wait_for(done, 20, "deletes")
    return gone[0]


def come_back(c):
    """Start again what has stopped for want of space; it must have said so."""
    stopped = [n for n in c.nodes if not n.alive()]
    for n in stopped:
        code = n.wait_exit()
        expect(code == EXIT_DISK, "%s ended with %s on a full disk: %s", n, code, n.log_text()[-300:])
        n.start()
    c.wait_ready(30)
    return stopped


def test_full_disk_of_leader():
    """Filled by someone else, from one moment to the next."""
    try:
        with SmallDisks(**SETTINGS) as c:
            leader = c.wait_leader()
            leader.call("SET", "k", "v")
            path = fill(leader)
            try:
                said = write_until_refused(leader, {"MISCONF", "UNKNOWN", "CLUSTERDOWN"})
            except Lost:
                said = "the leader stopped"
            serving = c.wait_leader()
            expect(serving.call("GET", "k") == b"v", "reads stopped with the writes")
            os.remove(path)
            come_back(c)
            wait_for(lambda: c.wait_leader().call("SET", "k", "w") == "OK", 20, "writes when there is space again")
            c.wait_same_state()
    except PermissionError:
        return "skipped: this user may not mount a small file system"
    return str(said)


def test_disks_that_fill_up():
    """Filled by what is written, all at the same pace: writes are refused while every node still serves reads, and
    deleting helps."""
    try:
        with SmallDisks(**SETTINGS) as c:
            leader = c.wait_leader()
            try:
                said = write_until_refused(leader, {"MISCONF"})
            except Lost:
                said = None
            for n in c.nodes:
                expect(n.alive(), "%s stopped instead of refusing writes: %s", n, n.log_text().splitlines()[-1])
                expect(n.call("GET", "fill:0") == b"v" * 1000, "reads stopped with the writes")
            for start in range(0, 200000, 1000):
                if delete(c, ["fill:%d" % i for i in range(start, start + 1000)]) == 0:
                    break
            wait_for(lambda: c.wait_leader().call("SET", "k", "w") == "OK", 20, "writes when there is space again")
            c.wait_same_state()
    except PermissionError:
        return "skipped: this user may not mount a small file system"
    return str(said)


def test_full_disk_of_follower():
    """One full disk of three stops nobody."""
    try:
        with SmallDisks(**SETTINGS) as c:
            follower = c.followers()[0]
            path = fill(follower)
            leader = c.wait_leader()
            with leader.wire(20) as w:
                for start in range(0, 5000, 100):
                    replies = w.pipeline([("SET", "fill:%d" % (i % 1000), "v" * 1000) for i in range(start, start + 100)])
                    bad = [r for r in replies if r != "OK"]
                    expect(not bad, "a write was refused because a follower's disk is full: %s", bad[:1])
            os.remove(path)
            died = come_back(c)
            c.wait_same_state()
    except PermissionError:
        return "skipped: this user may not mount a small file system"
    return "it exited with status 4, and came back" if died else "it stayed"


def test_damaged_row_stops_the_node():
    """A bit that flipped in the state file is found when the row is read. That node tells no story of its own: it says what
    it found and stops; the others go on."""
    with Cluster(flush_interval_ms=20) as c:
        node = c.followers()[0]
        with c.wait_leader().wire() as w:
            w.pipeline([("SET", "row:%d" % i, "v" * 500) for i in range(2000)])
        c.wait_same_state()
        expect(node.kill(signal.SIGTERM) == 0, "a node that was asked to stop")
        path = os.path.join(node.dir, "state.db")
        with open(path, "r+b") as f:
            at = f.read().find(b"v" * 400)
            expect(at > 0, "state.db holds none of the rows after the node has stopped")
            f.seek(at + 100)
            f.write(b"w")
        node.start()
        c.wait_ready()
        with node.wire(10) as w:
            w.call("READONLY")
            try:
                wrong = [i for i in range(2000) if w.call("GET", "row:%d" % i) != b"v" * 500]
                expect(not wrong, "a damaged row was served")
            except (ReplyError, Lost):
                pass
        code = node.wait_exit()
        expect(code == EXIT_DATA_DIR, "a node with a damaged state file ended with %s", code)
        expect("damage" in node.log_text(), "its log does not say why: %s", node.log_text()[-300:])
        for n in c.nodes:
            if n is not node:
                expect(n.call("GET", "row:5") == b"v" * 500, "the others")
