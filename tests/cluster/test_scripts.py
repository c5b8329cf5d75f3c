"""Scripts through every node: kept on all of them, the same result everywhere, and a lock that excludes while leaders die."""
import random
import threading

from cluster import SEED, Cluster, expect, wait_for
from wire import Lost, ReplyError, Wire

TAKE = "if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('incr', KEYS[2]) end return false"
FREE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
MIXED = """local t = {}
for i = 1, tonumber(ARGV[1]) do
  local k = 'mixed:' .. math.random(40)
  if math.random() < 0.3 then redis.call('del', k)
  elseif math.random() < 0.3 then redis.pcall('incr', k)
  else redis.call('set', k, cjson.encode({i / 4, time = redis.call('time')[1]}), 'PX', 1000 + math.random(100000)) end
  t[#t + 1] = redis.call('get', k)
end
if ARGV[2] == '1' then while true do t[#t + 1] = 1 end end
if ARGV[2] == '2' then error('on purpose') end
return #t"""


def test_scripts_are_the_same_everywhere():
    chance = random.Random(SEED)
    with Cluster() as c:
        sha = c.nodes[0].call("SCRIPT", "LOAD", MIXED).decode()
        outcomes = {"done": 0, "stopped": 0, "failed": 0}
        for i in range(120):
            try:
                n = 1 + chance.randrange(60)
                expect(chance.choice(c.nodes).call("EVALSHA", sha, 0, n, int(chance.random() < 0.05) + 2 * (i % 9 == 0)) is not None, "an answer")
                outcomes["done"] += 1
            except ReplyError as e:
                expect("script stopped" in str(e) or "on purpose" in str(e), "%s", e)
                outcomes["stopped" if "stopped" in str(e) else "failed"] += 1
            if i == 60:
                victim = c.wait_leader()
                victim.kill()
                c.wait_leader()
                victim.start()
                c.wait_ready()
        for n in c.nodes:
            expect(n.call("SCRIPT", "EXISTS", sha, "0" * 40) == [1, 0], "the script is kept by %s", n)
        c.wait_same_state()
        c.nodes[1].call("SCRIPT", "FLUSH")
        for n in c.nodes:
            try:
                n.call("EVALSHA", sha, 0, 1, 0)
                expect(False, "a script that was forgotten ran")
            except ReplyError as e:
                expect(e.code == "NOSCRIPT", "%s", e)
    return ", ".join("%d %s" % (n, what) for what, n in outcomes.items())


class Holder(threading.Thread):
    """Takes the lock, counts inside of it without any help from the server, and frees it."""

    shared = {"inside": 0, "count": 0, "wrong": None}

    def __init__(self, node, name):
        super().__init__(daemon=True)
        self.node, self.name = node, name
        self.stopping = threading.Event()
        self.held = 0

    def hold(self, wire):
        if wire.call("EVAL", TAKE, 2, "lock", "grants", self.name, 30000) is None:
            return
        self.shared["inside"] += 1
        if self.shared["inside"] != 1:
            self.shared["wrong"] = "%s is not alone in the lock" % self.name
        self.shared["inside"] -= 1
        self.free()
        self.held += 1

    def free(self):
        """Freeing is safe to repeat until it is answered."""
        while not self.stopping.is_set():
            try:
                with Wire(self.node.port, 15) as wire:
                    wire.call("EVAL", FREE, 1, "lock", self.name)
                    return
            except (Lost, ReplyError):
                self.stopping.wait(0.01)

    def run(self):
        while not self.stopping.is_set():
            try:
                with Wire(self.node.port, 15) as wire:
                    while not self.stopping.is_set():
                        self.hold(wire)
            except (Lost, ReplyError):
                self.free()  # Whether it was taken is not known: then it is free now.


def test_a_lock_by_scripts_excludes():
    with Cluster() as c:
        holders = [Holder(n, "%d.%d" % (n.id, i)) for n in c.nodes for i in range(2)]
        for h in holders:
            h.start()
        try:
            for _ in range(3):
                before = sum(h.held for h in holders)
                wait_for(lambda: sum(h.held for h in holders) >= before + 50, 30, "the lock is held and freed")
                victim = c.wait_leader()
                victim.kill()
                c.wait_leader()
                victim.start()
                c.wait_ready()
        finally:
            for h in holders:
                h.stopping.set()
            for h in holders:
                h.join(30)
        expect(Holder.shared["wrong"] is None, "%s", Holder.shared["wrong"])
        held, grants = sum(h.held for h in holders), int(c.wait_leader().call("GET", "grants"))
        expect(grants >= held, "%d grants for %d times held", grants, held)
        c.wait_same_state()
    return "held %d times, %d grants" % (held, grants)
