"""Deep pipelines through every node while leaders die and fall silent: in order, once, nothing lost."""
import random
import threading
import time

from cluster import SEED, Cluster, expect, wait_for
from wire import Lost, ReplyError, Wire

DEPTH = 200
ROUNDS = 4
NOT_DONE = {"CLUSTERDOWN", "TRYAGAIN", "OVERLOADED", "MISCONF"}


class Pipeliner(threading.Thread):
    """Sends pipelines of INCRs of a key of its own and of one key of all, and keeps count of what it was told."""

    def __init__(self, node, name):
        super().__init__(daemon=True)
        self.node = node
        self.own = "own:%s" % name
        self.stopping = threading.Event()
        self.acknowledged = self.unknown = self.refused = self.pipelines = 0
        self.last = 0
        self.shared = []
        self.wrong = None

    def note(self, i, reply):
        if isinstance(reply, ReplyError):
            known = reply.code in NOT_DONE
            self.refused += known
            self.unknown += not known
        elif i % 2 == 1:
            self.shared.append(reply)
        elif reply <= self.last:
            self.wrong = "%s went from %d to %d" % (self.own, self.last, reply)
        else:
            self.last = reply
        self.acknowledged += isinstance(reply, int)

    def one(self, wire):
        """One pipeline; what has no answer when the connection ends is unknown."""
        commands = [("INCR", self.own if i % 2 == 0 else "shared") for i in range(DEPTH)]
        answered = 0
        try:
            wire.send_raw(b"".join(b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(k), k.encode()) for _, k in commands))
            for i in range(DEPTH):
                self.note(i, wire.reply())
                answered += 1
        finally:
            self.unknown += DEPTH - answered
            self.pipelines += 1

    def run(self):
        while not self.stopping.is_set():
            try:
                with Wire(self.node.port, 15) as wire:
                    while not self.stopping.is_set():
                        self.one(wire)
            except Lost:
                self.stopping.wait(0.01)


def disturb(c, chance):
    victim = c.wait_leader() if chance.random() < 0.7 else chance.choice(c.nodes)
    if chance.random() < 0.6:
        victim.kill()
        c.wait_leader()
        victim.start()
        return "killed %d" % victim.id
    victim.pause()
    c.wait_leader(not_node=victim)
    victim.resume()
    return "stopped %d" % victim.id


def test_pipelines_under_faults():
    chance = random.Random(SEED)
    done = []
    with Cluster() as c:
        workers = [Pipeliner(n, "%d.%d" % (n.id, i)) for n in c.nodes for i in range(2)]
        for w in workers:
            w.start()
        try:
            for _ in range(ROUNDS):
                before = [w.pipelines for w in workers]
                wait_for(lambda: all(w.pipelines >= b + 5 for w, b in zip(workers, before)), 30, "pipelines through all nodes")
                done.append(disturb(c, chance))
                c.wait_ready()
        finally:
            for w in workers:
                w.stopping.set()
            for w in workers:
                w.join(30)
        leader = c.wait_leader()
        for w in workers:
            expect(w.wrong is None, "%s", w.wrong)
            own = int(leader.call("GET", w.own) or 0)
            expect(own >= w.last, "%s is %d, %d was acknowledged", w.own, own, w.last)
        shared = [v for w in workers for v in w.shared]
        expect(len(set(shared)) == len(shared), "a number of the shared counter was given twice")
        total = int(leader.call("GET", "shared")) + sum(int(leader.call("GET", w.own) or 0) for w in workers)
        acknowledged, unknown = sum(w.acknowledged for w in workers), sum(w.unknown for w in workers)
        expect(acknowledged <= total <= acknowledged + unknown, "%d in all after %d acknowledged and %d unknown", total, acknowledged, unknown)
        c.wait_same_state()
    return "%s; %d acknowledged, %d unknown, %d refused" % (", ".join(done), acknowledged, unknown, sum(w.refused for w in workers))
