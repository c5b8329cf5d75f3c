"""Bank transfers by WATCH, MULTI and EXEC through all nodes while leaders die: money is neither made nor lost, and no transfer
is done twice."""
import random
import threading

from cluster import SEED, Cluster, expect, wait_for
from wire import Lost, ReplyError, Wire

ACCOUNTS = 6
START = 1000
ROUNDS = 4
NOT_DONE = {"CLUSTERDOWN", "TRYAGAIN", "OVERLOADED", "MISCONF", "EXECABORT"}
KEYS = ["account:%d" % i for i in range(ACCOUNTS)]


class Teller(threading.Thread):
    """Moves money from one account to another, and leaves a receipt with a number of its own in the same transaction."""

    def __init__(self, node, name, seed):
        super().__init__(daemon=True)
        self.node, self.name = node, name
        self.chance = random.Random(seed)
        self.stopping = threading.Event()
        self.done, self.unknown = [], []
        self.conflicts = self.refused = self.looked = self.serial = 0
        self.wrong = None

    def look(self, wire):
        """All accounts at one instant, by a transaction of reads."""
        replies = wire.pipeline([("MULTI",)] + [("GET", k) for k in KEYS] + [("EXEC",)])
        if isinstance(replies[-1], ReplyError):
            return
        total = sum(int(v) for v in replies[-1])
        if total != ACCOUNTS * START:
            self.wrong = "%s saw %d in all accounts" % (self.name, total)
        self.looked += 1

    def transfer(self, wire):
        source, target = self.chance.sample(KEYS, 2)
        amount = self.chance.randrange(1, 50)
        wire.call("WATCH", source, target)
        have, other = (int(wire.call("GET", k)) for k in (source, target))
        if have < amount:
            wire.call("UNWATCH")
            return
        self.serial += 1
        receipt = "%s.%d" % (self.name, self.serial)
        self.unknown.append(receipt)  # Until an answer says more.
        replies = wire.pipeline([("MULTI",), ("SET", source, have - amount), ("SET", target, other + amount),
                                 ("INCR", "receipt:" + receipt), ("EXEC",)])
        self.note(receipt, replies[-1])

    def note(self, receipt, reply):
        if isinstance(reply, ReplyError) and reply.code not in NOT_DONE:
            return
        self.unknown.remove(receipt)
        if isinstance(reply, ReplyError):
            self.refused += 1
        elif reply is None:
            self.conflicts += 1
        else:
            self.done.append(receipt)
            if reply[2] != 1:
                self.wrong = "%s was done %s times" % (receipt, reply[2])

    def run(self):
        while not self.stopping.is_set():
            try:
                with Wire(self.node.port, 15) as wire:
                    while not self.stopping.is_set():
                        self.transfer(wire)
                        self.look(wire)
            except (Lost, ReplyError):
                self.stopping.wait(0.01)


def disturb(c, chance):
    victim = c.wait_leader() if chance.random() < 0.8 else chance.choice(c.nodes)
    if chance.random() < 0.7:
        victim.kill()
        c.wait_leader()
        victim.start()
        return "killed %d" % victim.id
    victim.pause()
    c.wait_leader(not_node=victim)
    victim.resume()
    return "stopped %d" % victim.id


def check(c, tellers):
    leader = c.wait_leader()
    for t in tellers:
        expect(t.wrong is None, "%s", t.wrong)
        for receipt in t.done:
            expect(leader.call("GET", "receipt:" + receipt) == b"1", "%s was acknowledged and is not there once", receipt)
        for receipt in t.unknown:
            expect(leader.call("GET", "receipt:" + receipt) in (b"1", None), "%s was done twice", receipt)
    receipts = len(leader.call("KEYS", "receipt:*"))
    done, unknown = sum(len(t.done) for t in tellers), sum(len(t.unknown) for t in tellers)
    expect(done <= receipts <= done + unknown, "%d receipts for %d transfers and %d unknown", receipts, done, unknown)
    total = sum(int(v) for v in leader.call("MGET", *KEYS))
    expect(total == ACCOUNTS * START, "%d in all accounts at the end", total)


def test_transfers_under_faults():
    chance = random.Random(SEED)
    happened = []
    with Cluster() as c:
        c.wait_leader().call("MSET", *[x for k in KEYS for x in (k, START)])
        tellers = [Teller(n, "%d.%d" % (n.id, i), chance.random()) for n in c.nodes for i in range(2)]
        for t in tellers:
            t.start()
        try:
            for _ in range(ROUNDS):
                before = [(len(t.done), t.looked) for t in tellers]
                wait_for(lambda: all(len(t.done) >= d + 3 and t.looked >= l + 3 for t, (d, l) in zip(tellers, before)),
                         30, "transfers through all nodes")
                happened.append(disturb(c, chance))
                c.wait_ready()
        finally:
            for t in tellers:
                t.stopping.set()
            for t in tellers:
                t.join(30)
        check(c, tellers)
        c.wait_same_state()
    return "%s; %d transfers, %d conflicts, %d refused, %d unknown, %d looks" % (
        ", ".join(happened), sum(len(t.done) for t in tellers), sum(t.conflicts for t in tellers),
        sum(t.refused for t in tellers), sum(len(t.unknown) for t in tellers), sum(t.looked for t in tellers))
