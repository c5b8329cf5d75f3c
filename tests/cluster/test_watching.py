"""Who reads the history of changes hears each of them once and in order, at whatever node, through kills."""
import random
import threading

from cluster import SEED, Cluster, expect, wait_for
from wire import Lost, ReplyError
from workers import Session

KILLS = 2
BETWEEN_KILLS = 150
BLOCK_MS = 500
LONG_MS = 60000


class Watcher(threading.Thread):
    """Follows a prefix until it hears of the key `end`, and goes to another node when its own is gone or knows too little."""

    def __init__(self, cluster, at, prefix, start, end):
        super().__init__(daemon=True)
        self.cluster, self.at, self.prefix, self.next, self.end = cluster, at, prefix, start, end
        self.heard = []
        self.failure = None
        self.start()

    def follow(self, w):
        while not self.heard or self.heard[-1][2] != self.end:
            changes, self.next = w.call("HISTORY", self.prefix, "FROM", self.next, "COUNT", 7, "BLOCK", BLOCK_MS)
            self.heard += [tuple(change) for change in changes]

    def run(self):
        try:
            while True:
                try:
                    with self.cluster.nodes[self.at].wire(60) as w:
                        self.follow(w)
                    return
                except Lost:
                    pass
                except ReplyError as e:
                    if e.code != "COMPACTED":
                        raise
                self.at = (self.at + 1) % len(self.cluster.nodes)
        except Exception as e:  # For the thread that waits for this one.
            self.failure = e


def test_each_change_is_heard_once_and_in_order_through_kills():
    with Cluster() as c:
        start = c.wait_leader().call("HISTORY", "w:", "FROM", 0)[1]
        watchers = [Watcher(c, i, "w:", start, b"w:end") for i in range(len(c.nodes))]
        session = Session(c.nodes, random.Random(SEED))
        for _ in range(KILLS):
            for _ in range(BETWEEN_KILLS):
                session.once("INCR", "w:n")
            leader = c.wait_leader()
            leader.call("SET", "other", "1")
            leader.kill()
            for _ in range(BETWEEN_KILLS):
                session.once("INCR", "w:n")
            leader.start()
            c.wait_ready()
        leader = c.wait_leader()
        leader.call("SET", "w:soon", "v", "PX", 20)
        wait_for(lambda: leader.call("GET", "w:soon") is None, 30, "the key to end")
        counted = 2 * KILLS * BETWEEN_KILLS
        expect(int(leader.call("GET", "w:n")) == counted, "the counter")
        session.close()
        leader.call("SET", "w:end", "1")
        for watcher in watchers:
            watcher.join(120)
            expect(not watcher.is_alive() and watcher.failure is None, "a watcher came to %s", watcher.failure)
        first = watchers[0].heard
        for watcher in watchers:
            expect(watcher.heard == first, "two watchers heard different changes")
        revisions = [revision for revision, _, _ in first]
        expect(revisions == sorted(revisions), "the changes are out of order")
        said = [(event, key) for _, event, key in first]
        expect(said[:counted] == [(b"incrby", b"w:n")] * counted, "%d counted, heard %s", counted, said[:counted + 1])
        expect(said[counted:] == [(b"set", b"w:soon"), (b"expire", b"w:soon"), (b"expired", b"w:soon"), (b"set", b"w:end")],
               "then heard %s", said[counted:])
    return "%d changes, %d kills" % (len(first), KILLS)


def refused(w, *args):
    try:
        w.call(*args)
    except ReplyError as e:
        return str(e)
    expect(False, "%s was taken", args)


def test_questions_about_the_past_and_the_future():
    with Cluster(1) as c:
        leader = c.wait_leader()
        with leader.wire(60) as w:
            start = w.call("HISTORY", "", "FROM", 0)[1]
            w.call("MSET", "a:1", "x", "b:1", "x", "a:2", "x")
            w.call("DEL", "none")
            set_a, last = w.call("HISTORY", "a:", "FROM", start)
            expect([change[1:] for change in set_a] == [[b"set", b"a:1"], [b"set", b"a:2"]], "heard %s", set_a)
            expect(w.call("HISTORY", "a:", "FROM", start, "COUNT", 1) == [set_a[:1], set_a[0][0] + 1], "piece by piece")
            expect(w.call("HISTORY", "a:", "FROM", last + 50) == [[], last + 50], "from the future")
            expect(w.call("HISTORY", "a:", "FROM", last, "BLOCK", 20) == [[], last], "a wait that is over")
            w.call("MULTI")
            w.call("HISTORY", "a:", "FROM", last, "BLOCK", LONG_MS)
            expect(w.call("EXEC") == [[[], last]], "inside a transaction")
            for wrong in (("a", "TO", 1), ("a", "FROM", "x"), ("a", "FROM", -1), ("a", "FROM", 1, "COUNT", 0),
                          ("a", "FROM", 1, "BLOCK"), ("a", "FROM", 1, "BLOCK", -1)):
                expect(refused(w, "HISTORY", *wrong).startswith("ERR"), "%s", wrong)
        leader.kill()
        leader.start(history_bytes=0)
        c.wait_ready()
        expect("history_bytes" in refused(leader, "HISTORY", "a", "FROM", 1), "a node without history")
