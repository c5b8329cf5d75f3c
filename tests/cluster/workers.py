"""workers.py - clients that never give up: threads with a session, whose writes carry serial numbers and are sent again,
through any node, until there is an answer; and a thread that kills nodes under them."""
import random
import threading
import time

from cluster import PATIENCE, Failed, expect
from wire import Lost, ReplyError, Wire

# Codes after which the same serial is sent again: not done, or nobody can tell.
AGAIN = ("CLUSTERDOWN", "TRYAGAIN", "UNKNOWN", "OVERLOADED", "LOADING", "MISCONF", "UNBLOCKED")


class Session:
    """One session, used by one thread. Moves to another node whenever its own does not answer."""

    def __init__(self, nodes, chance, ttl_ms=10000, name="worker"):
        self.nodes, self.chance = nodes, chance
        self.wire = None
        self.serial = 0
        self.retries = 0
        self.id = self.any("SESSION", "OPEN", "TTL", ttl_ms, "NAME", name)

    def connect(self):
        if self.wire is None:
            node = self.chance.choice(self.nodes)
            self.wire = Wire(node.port, 5 * PATIENCE, node.host)
        return self.wire

    def lost(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None
        self.retries += 1
        time.sleep(0.005 * self.chance.random())

    def any(self, *command, deadline_s=30):
        """Send until there is an answer that says what became of it; that answer. ReplyErrors of other kinds are raised."""
        end = time.monotonic() + deadline_s * PATIENCE
        while True:
            try:
                return self.connect().call(*command)
            except Lost:
                self.lost()
            except ReplyError as e:
                if e.code not in AGAIN:
                    raise
                self.lost()
            if time.monotonic() > end:
                raise Failed("no answer to %s within %d s" % (command, deadline_s))

    def once(self, *command, deadline_s=30):
        self.serial += 1
        return self.any("ONCE", self.id, self.serial, "ACK", self.serial - 1, *command, deadline_s=deadline_s)

    def close(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None


class Threads:
    """Run functions at once, each with its own chance; stop() ends them, join() raises what any of them raised."""

    def __init__(self, seed):
        self.seed = seed
        self.stopping = threading.Event()
        self.errors = []
        self.threads = []

    def start(self, function, *args):
        chance = random.Random(self.seed * 1000 + len(self.threads))

        def body():
            try:
                function(chance, *args)
            except BaseException as e:  # pylint: disable=broad-except
                self.errors.append(e)
                self.stopping.set()

        thread = threading.Thread(target=body, daemon=True)
        self.threads.append(thread)
        thread.start()

    def join(self, deadline_s=60):
        for thread in self.threads:
            thread.join(deadline_s * PATIENCE)
            expect(not thread.is_alive() or self.errors, "a worker hangs")
        if self.errors:
            raise self.errors[0]


def kill_nodes(cluster, chance, times):
    """Kill -9 one node after another, leaders more often than not, and start each again."""
    for _ in range(times):
        victim = cluster.wait_leader() if chance.random() < 0.6 else chance.choice(cluster.nodes)
        victim.kill()
        time.sleep(0.3 * chance.random())
        victim.start()
        cluster.wait_ready()
