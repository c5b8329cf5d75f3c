"""Who is subscribed or waits for a key hears of it, at whatever node, through changes of the leader."""
import threading

from cluster import Cluster, expect, wait_for
from wire import Lost, ReplyError

MESSAGES = 300
WAITERS_PER_NODE = 40
LONG_MS = 60000


def subscribed(node, command, *names):
    w = node.wire(60)
    w.send_raw(b"")
    for i, name in enumerate(names):
        got = w.call(command, name)
        expect(got == [command.lower().encode(), name.encode(), i + 1], "%s answered %r", command, got)
    return w


def publish_all(node, who):
    with node.wire(60) as w:
        for i in range(MESSAGES):
            w.call("PUBLISH", "news", "%s:%d" % (who, i))


def test_messages_come_to_all_nodes_in_one_order():
    with Cluster() as c:
        c.wait_ready()
        listeners = [subscribed(n, "SUBSCRIBE", "news") for n in c.nodes]
        patterns = [subscribed(n, "PSUBSCRIBE", "n?ws") for n in c.nodes]
        threads = [threading.Thread(target=publish_all, args=(n, n.id)) for n in c.nodes]
        for t in threads:
            t.start()
        heard = [[w._value() for _ in range(3 * MESSAGES)] for w in listeners]
        matched = [[w._value() for _ in range(3 * MESSAGES)] for w in patterns]
        for t in threads:
            t.join()
        for other in heard[1:]:
            expect(other == heard[0], "two nodes' subscribers heard another order")
        for messages in matched:
            expect([m[3] for m in messages] == [m[2] for m in heard[0]], "a pattern heard something else")
        for n in c.nodes:
            mine = [int(m[2].split(b":")[1]) for m in heard[0] if m[2].startswith(b"%d:" % n.id)]
            expect(mine == list(range(MESSAGES)), "the messages of node %d", n.id)
        try:
            listeners[0].call("GET", "k")
            expect(False, "a RESP2 connection that listens must refuse GET")
        except ReplyError as e:
            expect("allowed in this context" in str(e), "GET answered %s", e)
        expect(listeners[0].call("PING") == [b"pong", b""], "PING of one who listens")
        expect(listeners[0].call("UNSUBSCRIBE") == [b"unsubscribe", b"news", 0], "UNSUBSCRIBE")
        expect(listeners[0].call("GET", "k") is None, "GET once nothing is listened to")
        for w in listeners + patterns:
            w.close()
    return "%d messages, 6 subscribers" % (3 * MESSAGES)


CHANGES = [
    ("SET", "k", "1"),
    ("INCR", "k"),
    ("APPEND", "k", "x"),
    ("PEXPIRE", "k", LONG_MS),
    ("PERSIST", "k"),
    ("SET", "k", "v", "PX", LONG_MS),
    ("RENAME", "k", "j"),
    ("RPUSH", "l", "a"),
    ("LPOP", "l"),
    ("HSET", "h", "f", "v"),
    ("SET", "nx", "1", "XX"),
    ("EVAL", "redis.call('set', 'undone', '1') local s = 'x' while true do s = s .. s end", 0),
    ("DEL", "j", "h"),
    ("SET", "soon", "v", "PX", 30),
]
EVENTS = [
    "set k", "incrby k", "append k", "expire k", "persist k", "set k", "expire k", "rename_from k", "rename_to j",
    "rpush l", "lpop l", "del l", "hset h", "del j", "del h", "set soon", "expire soon", "expired soon",
]


def test_every_change_of_a_key_is_told_at_every_node():
    with Cluster() as c:
        c.wait_ready()
        listeners = [subscribed(n, "PSUBSCRIBE", "__keyevent@0__:*") for n in c.nodes]
        with c.wait_leader().wire(60) as w:
            for change in CHANGES:
                try:
                    w.call(*change)
                except ReplyError as e:
                    expect("script stopped" in str(e), "%s: %s", change[0], e)
        for listener in listeners:
            got = []
            for _ in EVENTS:
                _, _, channel, key = listener._value()
                got.append("%s %s" % (channel.decode().split(":", 1)[1], key.decode()))
            expect(got == EVENTS, "heard %s", got)
            listener.close()


class Waiter(threading.Thread):
    def __init__(self, node, *question):
        super().__init__()
        self.wire = node.wire(90)
        self.question = question
        self.answer = None
        self.start()

    def run(self):
        try:
            self.answer = self.wire.call("WAITFOR", *self.question)
        except (ReplyError, Lost) as e:
            self.answer = e
        self.wire.close()


def blocked(nodes):
    return sum(int(n.info("clients")["blocked_clients"]) for n in nodes)


def test_who_waits_for_a_key_is_woken():
    with Cluster() as c:
        leader = c.wait_leader()
        version = leader.call("VSET", "v", "old")
        leader.call("SET", "there", "x")
        others = [n for n in c.nodes if n is not leader]
        waiters = []
        for n in others:
            for _ in range(WAITERS_PER_NODE):
                waiters.append((Waiter(n, "v", "VERSION", version, "TIMEOUT", LONG_MS), b"new"))
                waiters.append((Waiter(n, "v", "EQ", "new", "TIMEOUT", LONG_MS), b"new"))
                waiters.append((Waiter(n, "there", "ABSENT", "TIMEOUT", LONG_MS), None))
                waiters.append((Waiter(n, "comes", "EXISTS", "TIMEOUT", LONG_MS), b"1"))
        wait_for(lambda: blocked(others) == len(waiters), 30, "all to wait")
        leader.kill()
        c.wait_leader()
        w = others[0].wire(60)
        w.call("SET", "unrelated", "1")
        w.call("VSET", "v", "new")
        w.call("DEL", "there")
        w.call("SET", "comes", "1")
        for waiter, value in waiters:
            waiter.join()
            expect(isinstance(waiter.answer, list) and waiter.answer[0] == value, "%s: %s", waiter.question, waiter.answer)
        expect(blocked(others) == 0, "somebody still waits")
        w.close()
    return "%d woken" % len(waiters)


def test_a_wait_ends_at_its_time_and_never_inside_a_transaction():
    with Cluster() as c:
        c.wait_ready()
        for n in c.nodes:
            with n.wire(60) as w:
                expect(w.call("WAITFOR", "no", "TIMEOUT", 50) is None, "a wait that is over")
                expect(w.call("WAITFOR", "no", "TIMEOUT", 0) is None, "a look")
                expect(w.call("WAITFOR", "no", "ABSENT", "TIMEOUT", 0) == [None, 0], "an absent key")
                w.call("MULTI")
                w.call("WAITFOR", "no", "TIMEOUT", LONG_MS)
                expect(w.call("EXEC") == [None], "inside a transaction")
                w.call("READONLY")
                expect(w.call("WAITFOR", "no", "ABSENT", "TIMEOUT", LONG_MS) == [None, 0], "a stale look")
                expect(w.call("WAITFOR", "no", "TIMEOUT", 50) is None, "a stale wait that is over")
                w.call("READWRITE")
                w.call("SET", "key", "v", "PX", 100)
                expect(w.call("WAITFOR", "key", "ABSENT", "TIMEOUT", LONG_MS) == [None, 0], "a key that ends by itself")
                for wrong in (("k",), ("k", "EQ"), ("k", "TIMEOUT", "x"), ("k", "ABSENT", "EXISTS", "TIMEOUT", 1), ("k", "VERSION", -1, "TIMEOUT", 1)):
                    try:
                        w.call("WAITFOR", *wrong)
                        expect(False, "WAITFOR %s was taken", wrong)
                    except ReplyError as e:
                        expect(e.code == "ERR", "WAITFOR %s: %s", wrong, e)
