"""load.py - workers that call one counter through nodes and remember what they were told, and the checks on that memory.

An operation is (kind, began, ended, value, node id): kind "incr" or "read", times on the monotonic clock. What became of
it: "done" with a value, "not" (certainly not executed), "unknown"."""
import bisect
import threading
import time
from collections import namedtuple

from cluster import expect, wait_for
from wire import Lost, ReplyError, Wire

Op = namedtuple("Op", "kind began ended value node fate error")
# Replies that promise that nothing was done.
NOT_DONE = {"CLUSTERDOWN", "TRYAGAIN", "OVERLOADED", "MISCONF", "LOADING"}
ANSWER_TIMEOUT_S = 10.0
PAUSE_WHEN_REFUSED_S = 0.01


class Worker(threading.Thread):
    """Calls one node, one operation after another, until told to stop."""

    def __init__(self, node, kind="incr", key="counter", reconnect=True):
        super().__init__(daemon=True)
        self.node = node
        self.kind = kind
        self.key = key
        self.reconnect = reconnect
        self.ops = []
        self.stopping = threading.Event()
        self.command = ("INCR", key) if kind == "incr" else ("GET", key)

    def one(self, wire):
        began = time.monotonic()
        try:
            value = wire.call(*self.command)
            value = int(value or 0)
            fate, error = "done", None
        except ReplyError as e:
            value, error = None, str(e)
            fate = "not" if e.code in NOT_DONE or self.kind == "read" else "unknown"
        except Lost as e:
            value, error = None, "connection lost: %s" % e
            fate = "not" if self.kind == "read" else "unknown"
        self.ops.append(Op(self.kind, began, time.monotonic(), value, self.node.id, fate, error))
        return error is None or not error.startswith("connection lost")

    def run(self):
        wire = None
        while not self.stopping.is_set():
            if wire is None:
                try:
                    wire = Wire(self.node.port, ANSWER_TIMEOUT_S, self.node.host)
                except Lost:
                    self.stopping.wait(PAUSE_WHEN_REFUSED_S)
                    continue
            if not self.one(wire):
                wire.close()
                wire = None
                if not self.reconnect:
                    return
            elif self.ops[-1].fate != "done":
                self.stopping.wait(PAUSE_WHEN_REFUSED_S)
        if wire is not None:
            wire.close()

    def done(self):
        return sum(1 for op in list(self.ops) if op.fate == "done")

    def errors(self):
        return [op for op in list(self.ops) if op.fate != "done"]

    def done_after(self, moment):
        """Has an operation that began after this moment been answered well?"""
        return any(op.fate == "done" and op.began > moment for op in reversed(list(self.ops)))

    def longest_gap(self, since):
        """The longest time between two good answers, from the last one before `since` on."""
        ends = [op.ended for op in list(self.ops) if op.fate == "done"]
        start = max(bisect.bisect_right(ends, since) - 1, 0)
        ends = ends[start:]
        return max((b - a for a, b in zip(ends, ends[1:])), default=0.0)


class Load:
    """A set of workers, used as a context: started on entry, stopped and joined on exit."""

    def __init__(self, nodes, per_node=1, readers=0, key="counter"):
        self.key = key
        self.workers = [Worker(n, "incr", key) for n in nodes for _ in range(per_node)]
        self.workers += [Worker(n, "read", key) for n in nodes for _ in range(readers)]

    def __enter__(self):
        for w in self.workers:
            w.start()
        return self

    def __exit__(self, *unused):
        self.stop()

    def stop(self):
        for w in self.workers:
            w.stopping.set()
        for w in self.workers:
            w.join(ANSWER_TIMEOUT_S + 5)
            expect(not w.is_alive(), "a call to node %d has not been answered for %.0f s", w.node.id, ANSWER_TIMEOUT_S + 5)

    def of(self, nodes):
        return [w for w in self.workers if w.node in nodes]

    def ops(self):
        return [op for w in self.workers for op in list(w.ops)]

    def wait_done(self, n, deadline_s=15):
        wait_for(lambda: all(w.done() >= n for w in self.workers), deadline_s, "%d answers for each worker" % n)

    def wait_going_on(self, nodes, moment, deadline_s=15):
        workers = self.of(nodes)
        wait_for(lambda: all(w.done_after(moment) for w in workers), deadline_s, "answers through nodes %s" % [n.id for n in nodes])

    def longest_gap(self, nodes, since):
        return max(w.longest_gap(since) for w in self.of(nodes))

    def errors(self, nodes):
        return [op for w in self.of(nodes) for op in w.errors()]

    def check(self, final):
        """Nothing lost, nothing twice: (acknowledged, unknown). final: the counter now, after stop()."""
        incrs = [op for op in self.ops() if op.kind == "incr"]
        values = [op.value for op in incrs if op.fate == "done"]
        unknown = sum(1 for op in incrs if op.fate == "unknown")
        expect(len(set(values)) == len(values), "two increments were given the same number")
        expect(len(values) <= final <= len(values) + unknown, "the counter is %d after %d acknowledged and %d unknown increments",
               final, len(values), unknown)
        expect(not values or max(values) <= final, "the counter is %d, but %d was acknowledged", final, max(values or [0]))
        check_linearizable(self.ops())
        return len(values), unknown


def check_linearizable(ops):
    """A counter's history, checked in one pass. Every value seen must be at least the highest that any operation had
    answered before this one began (no stale read), more than it for an increment (no number twice, none going back), and
    at most the number of increments that had begun before this one ended (nothing from nowhere, nothing applied twice)."""
    begun = sorted(op.began for op in ops if op.kind == "incr")
    answered = sorted((op.ended, op.value) for op in ops if op.fate == "done")
    ends = [e for e, _ in answered]
    highest, running = [], 0
    for _, value in answered:
        running = max(running, value)
        highest.append(running)
    for op in ops:
        if op.fate != "done":
            continue
        before = bisect.bisect_left(ends, op.began)
        floor = (highest[before - 1] if before else 0) + (1 if op.kind == "incr" else 0)
        ceiling = bisect.bisect_right(begun, op.ended)
        expect(op.value >= floor, "%s through node %d answered %d after %d had been seen", op.kind, op.node, op.value, floor)
        expect(op.value <= ceiling, "%s through node %d answered %d when only %d increments had been sent", op.kind, op.node, op.value, ceiling)
