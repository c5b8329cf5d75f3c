"""Locks while nodes are killed: never two holders, tokens that only grow, and a stale token that the server refuses."""
import random
import threading
import time

from cluster import PATIENCE, SEED, Cluster, Failed, expect, wait_for
from wire import Lost, ReplyError, Wire
from workers import Session, Threads, kill_nodes

WORKERS = 5
KILLS = 6
QUEUE = 300


class Ledger:
    """What the workers saw: who believes to hold the lock, and every token."""

    def __init__(self):
        self.mutex = threading.Lock()
        self.inside = None
        self.highest = 0
        self.grants = 0

    def enter(self, worker, token):
        with self.mutex:
            expect(self.inside is None, "%s holds the lock while %s does", worker, self.inside)
            expect(token > self.highest, "token %d after %d", token, self.highest)
            self.inside, self.highest = worker, token
            self.grants += 1

    def leave(self):
        with self.mutex:
            self.inside = None


def fight(cluster, stop, ledger):
    """Take the lock, change a common value in two steps that a second holder would break, let go; again and again."""

    def body(chance, name):
        session = Session(cluster.nodes, chance, ttl_ms=30000, name=name)
        while not stop.is_set():
            token = session.once("LOCK", "ACQUIRE", "fought-for", "-", "WAIT", 20000, deadline_s=60)
            if token is None:
                continue
            ledger.enter(name, token)
            before = int(session.any("GET", "value") or 0)
            session.once("GUARD", "fought-for", token, "SET", "value", before + 1)
            ledger.leave()
            expect(session.once("LOCK", "RELEASE", "fought-for", "-", "TOKEN", token) == 1, "%s lost its lock", name)
        session.close()

    return body


def test_workers_fight_while_nodes_are_killed():
    ledger = Ledger()
    with Cluster() as c:
        threads = Threads(SEED)
        body = fight(c, threads.stopping, ledger)
        for i in range(WORKERS):
            threads.start(body, "worker-%d" % i)
        kill_nodes(c, random.Random(SEED), KILLS)
        threads.stopping.set()
        threads.join()
        value = int(c.wait_leader().call("GET", "value"))
        expect(value == ledger.grants, "%d holders counted to %d", ledger.grants, value)
        c.wait_same_state()
    return "%d grants" % ledger.grants


def pause_a_holder(cluster, guarded):
    """A holder reads, then falls silent for longer than its session lives; another one gets the lock and works; then the
    first goes on as if nothing had been. What is stored in the end, and what the first was told."""
    ttl_ms = 400
    chance = random.Random(SEED)
    first, second = (Session(cluster.nodes, chance, ttl_ms=t, name="holder") for t in (ttl_ms, 20000))

    def write(session, token, value):
        command = ("SET", "balance", value)
        return session.any(*(("GUARD", "account", token) + command if guarded else command))

    stale = first.any("LOCK", "ACQUIRE", "account", first.id)
    write(first, stale, 100)
    read = int(first.any("GET", "balance"))
    token = second.any("LOCK", "ACQUIRE", "account", second.id, "WAIT", 15000)  # Here the first one sleeps.
    expect(token is not None and token > stale, "the lock of a silent session was not freed")
    write(second, token, int(second.any("GET", "balance")) + 50)
    try:
        told = write(first, stale, read + 1)
    except ReplyError as e:
        told = e.code
    return int(second.any("GET", "balance")), told


def test_a_stale_token_is_refused():
    with Cluster() as c:
        balance, told = pause_a_holder(c, guarded=True)
        expect(told == "STALETOKEN" and balance == 150, "told %s, balance %d", told, balance)


def test_without_the_guard_a_stale_holder_does_harm():
    """The same without GUARD must go wrong, or the test above tests nothing."""
    with Cluster() as c:
        balance, told = pause_a_holder(c, guarded=False)
        expect(told == "OK" and balance == 101, "told %s, balance %d: an unguarded stale write did no harm", told, balance)


def test_grants_come_in_order_through_all_nodes():
    """A long queue through all nodes is granted in the order of arrival, each at once."""
    with Cluster() as c:
        session = c.nodes[0].call("SESSION", "OPEN", "TTL", 600000)
        order, mutex = [], threading.Lock()
        c.nodes[0].call("LOCK", "ACQUIRE", "queue", session)
        wires = []
        for i in range(QUEUE):
            w = c.nodes[i % 3].wire(60)
            wires.append(w)
            w.send("LOCK", "ACQUIRE", "queue", session, "WAIT", 600000)
            if i % 20 == 19:  # One after another through each node is enough for an order within it.
                wait_for(lambda i=i: waiting(c.nodes[0], "queue") == i + 1, 10, "the queue grows")
        wait_for(lambda: sum(int(n.info("clients")["blocked_clients"]) for n in c.nodes) == QUEUE, 10, "all are blocked")

        def hear(w):
            token = w.reply()
            with mutex:
                order.append(token)
            c.nodes[0].call("LOCK", "RELEASE", "queue", session, "TOKEN", token)

        threads = [threading.Thread(target=hear, args=(w,), daemon=True) for w in wires]
        for t in threads:
            t.start()
        began = time.monotonic()
        c.nodes[0].call("LOCK", "RELEASE", "queue", session)
        for t in threads:
            t.join(60 * PATIENCE)
        took = time.monotonic() - began
        expect(len(order) == QUEUE and order == sorted(order), "%d grants, in order: %s", len(order), order == sorted(order))
        expect(c.nodes[0].call("LOCK", "INFO", "queue") is None, "somebody still holds it")
        for w in wires:
            w.close()
    return "%d grants one after another in %.2f s" % (QUEUE, took)


def fields(flat):
    return dict(zip((k.decode() for k in flat[::2]), flat[1::2]))


def waiting(node, name):
    info = node.call("LOCK", "INFO", name)
    return 0 if info is None else len(fields(info)["waiters"])


def test_a_client_that_hangs_up_leaves_the_queue():
    with Cluster() as c:
        session = c.nodes[0].call("SESSION", "OPEN", "TTL", 600000)
        c.nodes[0].call("LOCK", "ACQUIRE", "l", session)
        wires = [n.wire() for n in c.nodes]
        for w in wires:
            w.send("LOCK", "ACQUIRE", "l", session, "WAIT", 600000)
        wait_for(lambda: waiting(c.nodes[0], "l") == 3, 10, "three wait")
        for left, w in zip((2, 1, 0), wires):
            w.close()
            wait_for(lambda left=left: waiting(c.nodes[1], "l") == left, 10, "one fewer waits")
        w = c.nodes[2].wire()
        w.send("LOCK", "ACQUIRE", "l", session, "WAIT", 300)
        began = time.monotonic()
        expect(w.reply() is None, "a wait that ran out")
        took = time.monotonic() - began
        expect(0.28 <= took < 1.5 * PATIENCE, "a wait of 0.3 s took %.3f s", took)
        w.close()


def test_who_waits_at_a_node_that_stops_is_told():
    with Cluster() as c:
        session = c.nodes[0].call("SESSION", "OPEN", "TTL", 600000)
        c.nodes[0].call("LOCK", "ACQUIRE", "l", session)
        victim = c.followers()[0]
        other = next(n for n in c.nodes if n is not victim)
        w = victim.wire()
        w.send("LOCK", "ACQUIRE", "l", session, "WAIT", 600000)
        wait_for(lambda: waiting(other, "l") == 1, 10, "it waits")
        victim.kill(15)
        try:
            told = w.reply()
            expect(isinstance(told, ReplyError) and told.code == "UNBLOCKED", "told %s", told)
        except Lost as e:
            raise Failed("a client was left without an answer by a node that was asked to stop") from e
        wait_for(lambda: waiting(other, "l") == 0, 10, "it has left the queue")
        victim.start()
        c.wait_ready()


def test_a_wait_survives_the_leader():
    """A wait through a follower goes on through the leader's death, and the grant comes through the new one."""
    with Cluster() as c:
        follower = c.followers()[0]
        session = follower.call("SESSION", "OPEN", "TTL", 600000)
        follower.call("LOCK", "ACQUIRE", "l", session)
        w = follower.wire(30)
        w.send("LOCK", "ACQUIRE", "l", session, "WAIT", 600000)
        wait_for(lambda: waiting(follower, "l") == 1, 10, "it waits")
        leader = c.wait_leader()
        leader.kill()
        wait_for(lambda: follower.call("LOCK", "RELEASE", "l", session) == 1, 10, "the holder lets go")
        expect(isinstance(w.reply(), int), "the waiter was not granted the lock")
        leader.start()
        c.wait_ready()
        c.wait_same_state()
