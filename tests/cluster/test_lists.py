"""test_lists.py - queues: each item is worked on once, whoever dies; who waits first is served first, through whatever node;
who has gone away takes nothing along."""
import random
import threading
import time

from cluster import PATIENCE, SEED, Cluster, expect, wait_for
from wire import Lost, ReplyError
from workers import Session, Threads, kill_nodes

PRODUCERS, WORKERS = 2, 4
ITEMS = 150  # Of each producer.
KILLS = 3
QUEUE = 60


def blocked(cluster):
    return sum(int(n.info("clients")["blocked_clients"]) for n in cluster.up())


def produce(cluster):
    def body(chance, name):
        session = Session(cluster.nodes, chance, ttl_ms=60000, name=name)
        for i in range(ITEMS):
            session.once("RPUSH", "queue", "%s-%d" % (name, i))
        session.close()

    return body


def work(cluster, stop, done, mutex):
    """Wait for items, and note each with a count of its own: one done twice would show there."""

    def body(chance, name):
        session = Session(cluster.nodes, chance, ttl_ms=60000, name=name)
        while not stop.is_set():
            item = session.once("BLPOP", "queue", 1, deadline_s=60)
            if item is None:
                continue
            expect(session.once("HINCRBY", "done", item[1].decode(), 1) == 1, "%s was worked on before", item[1])
            with mutex:
                done.append(item[1])
        session.close()

    return body


def test_each_item_is_worked_on_once():
    done, mutex = [], threading.Lock()
    with Cluster() as c:
        threads = Threads(SEED)
        for i in range(WORKERS):
            threads.start(work(c, threads.stopping, done, mutex), "worker-%d" % i)
        for i in range(PRODUCERS):
            threads.start(produce(c), "producer-%d" % i)
        kill_nodes(c, random.Random(SEED), KILLS)
        wait_for(lambda: len(done) >= PRODUCERS * ITEMS, 60, "all items are done")
        threads.stopping.set()
        threads.join()
        expect(len(done) == len(set(done)) == PRODUCERS * ITEMS, "%d items done, %d different", len(done), len(set(done)))
        expect(c.wait_leader().call("HLEN", "done") == PRODUCERS * ITEMS, "the hash has other items than the workers")
        expect(c.wait_leader().call("EXISTS", "queue") == 0, "something is left in the queue")
        c.wait_same_state()
    return "%d items" % len(done)


def test_who_waits_first_is_served_first():
    with Cluster() as c:
        wires = []
        for i in range(QUEUE):
            w = c.nodes[i % 3].wire(60)
            w.send("BLPOP", "q", "never", 0)
            wires.append(w)
            wait_for(lambda i=i: blocked(c) == i + 1, 20, "one more waits")
        pusher = c.followers()[0]
        began = time.monotonic()
        for i in range(0, QUEUE, 2):
            pusher.call("RPUSH", "q", i, i + 1)
        for i, w in enumerate(wires):
            told = w.reply()
            expect(told == [b"q", b"%d" % i], "waiter %d was told %s", i, told)
            w.close()
        took = time.monotonic() - began
        expect(c.nodes[0].call("EXISTS", "q") == 0 and blocked(c) == 0, "something is left")
        c.wait_same_state()
    return "%d waiters in %.2f s" % (QUEUE, took)


def test_a_wait_for_a_list_survives_the_leader():
    with Cluster() as c:
        follower = c.followers()[0]
        wires = [follower.wire(60), follower.wire(60)]
        wires[0].send("BLPOP", "q", 0)
        wires[1].send("BLMOVE", "from", "to", "LEFT", "RIGHT", 0)
        wait_for(lambda: blocked(c) == 2, 10, "two wait")
        leader = c.wait_leader()
        leader.kill()
        wait_for(lambda: follower.call("RPUSH", "q", "x") > 0, 10, "a push goes through")
        wait_for(lambda: follower.call("RPUSH", "from", "y") > 0, 10, "a push goes through")
        expect(wires[0].reply() == [b"q", b"x"], "the waiter was not served")
        expect(wires[1].reply() == b"y", "the mover was not served")
        expect(follower.call("LRANGE", "to", 0, -1) == [b"y"], "it was not moved")
        leader.start()
        c.wait_ready()
        c.wait_same_state()


def test_who_has_gone_takes_nothing():
    with Cluster() as c:
        gone = c.nodes[0].wire()
        gone.send("BLPOP", "q", 0)
        wait_for(lambda: blocked(c) == 1, 10, "one waits")
        gone.close()
        wait_for(lambda: blocked(c) == 0, 10, "it has gone")
        w = c.nodes[1].wire(60)
        w.send("BLPOP", "q", 0)
        wait_for(lambda: blocked(c) == 1, 10, "another one waits")
        c.nodes[2].call("RPUSH", "q", "x")
        expect(w.reply() == [b"q", b"x"], "what came was not for the one who is there")
        expect(w.call("BLPOP", "q", "0.05") is None, "a wait that runs out")
        w.close()


def test_a_killed_node_takes_nothing():
    """Its waiters were the first in the queue: what they were offered goes to the next, in its old order."""
    with Cluster() as c:
        victim = c.followers()[0]
        other = next(n for n in c.nodes if n is not victim)
        dead = [victim.wire() for _ in range(3)]
        for w in dead:
            w.send("BLPOP", "q", 0)
        wait_for(lambda: blocked(c) == 3, 10, "three wait")
        victim.kill()
        alive = other.wire(60)
        alive.send("BLMPOP", 0, 1, "q", "LEFT", "COUNT", 5)
        wait_for(lambda: blocked(c) == 1, 10, "another one waits")
        expect(other.call("RPUSH", "q", "1", "2") == 2, "a push")
        told = alive.reply()
        expect(told == [b"q", [b"1", b"2"]], "the one who is there was told %s", told)
        victim.start()
        c.wait_ready()
        c.wait_same_state()
        for w in dead:
            w.close()


def test_a_node_that_stops_tells_its_waiters():
    with Cluster() as c:
        victim = c.followers()[0]
        other = next(n for n in c.nodes if n is not victim)
        w = victim.wire(60)
        w.send("BRPOP", "q", 0)
        wait_for(lambda: blocked(c) == 1, 10, "it waits")
        victim.kill(15)
        try:
            told = w.reply()
        except Lost as e:
            told = e
        expect(isinstance(told, ReplyError) and told.code == "UNBLOCKED", "told %s", told)
        other.call("RPUSH", "q", "x")
        expect(other.call("LLEN", "q") == 1, "it still took something")
        victim.start()
        c.wait_ready()


def test_unblock_and_timeout():
    with Cluster() as c:
        w = c.nodes[0].wire(30)
        client = w.call("CLIENT", "ID")
        w.send("BLPOP", "q", 0)
        wait_for(lambda: blocked(c) == 1, 10, "it waits")
        expect(c.nodes[0].call("CLIENT", "UNBLOCK", client) == 1, "unblocked")
        expect(w.reply() is None, "as if its time were over")
        w.send("BLPOP", "q", 0)
        wait_for(lambda: blocked(c) == 1, 10, "it waits")
        expect(c.nodes[0].call("CLIENT", "UNBLOCK", client, "ERROR") == 1, "unblocked")
        told = w.reply()
        expect(isinstance(told, ReplyError) and told.code == "UNBLOCKED", "told %s", told)
        began = time.monotonic()
        expect(w.call("BRPOP", "q", "0.3") is None, "a wait that ran out")
        took = time.monotonic() - began
        expect(0.28 <= took < 5 * PATIENCE, "a wait of 0.3 s took %.3f s", took)
        c.nodes[1].call("RPUSH", "q", "x")
        expect(c.nodes[1].call("LLEN", "q") == 1, "nobody waits any more")
        w.close()
