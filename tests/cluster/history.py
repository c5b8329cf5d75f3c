"""history.py - what clients were told while nodes failed, and whether one machine that never fails could have told it.

Each kind of work here runs in threads of its own, remembers what it sent and heard, and has a check() for afterwards."""
import bisect
import threading
import time
from collections import Counter, defaultdict, namedtuple

from cluster import PATIENCE, expect
from load import NOT_DONE
from wire import Lost, ReplyError, Wire
from workers import Session

ANSWER_TIMEOUT_S = 5.0
# Told apart from an operation that never ended.
NEVER = float("inf")
Seen = namedtuple("Seen", "write value began ended node")


class Pulse:
    """When anything was answered well, for all threads together; and how often not."""

    def __init__(self):
        self.mutex = threading.Lock()
        self.times = []
        self.fates = Counter()

    def beat(self, fate):
        now = time.monotonic()
        with self.mutex:
            self.fates[fate] += 1
            if fate == "done":
                self.times.append(now)

    def counts(self):
        with self.mutex:
            return Counter(self.fates)

    def longest_pause(self, since, until):
        with self.mutex:
            times = [since] + [t for t in self.times if since < t < until] + [until]
        return max(b - a for a, b in zip(times, times[1:]))


class Caller:
    """One connection to a node of chance's choice, another one whenever it does not answer well."""

    def __init__(self, nodes, chance, pulse):
        self.nodes, self.chance, self.pulse = nodes, chance, pulse
        self.wire = self.node = None

    def call(self, *command):
        """(fate, value): done, not, unknown."""
        try:
            if self.wire is None:
                self.node = self.chance.choice(self.nodes)
                self.wire = Wire(self.node.port, ANSWER_TIMEOUT_S * PATIENCE, self.node.host)
        except Lost:
            return self.failed("not")
        try:
            value = self.wire.call(*command)
        except Lost:
            return self.failed("unknown")
        except ReplyError as e:
            expect(e.code in NOT_DONE or e.code == "UNKNOWN", "%s was answered '%s'", command[0], e)
            return self.failed("not" if e.code in NOT_DONE else "unknown")
        self.pulse.beat("done")
        return "done", value

    def failed(self, fate):
        self.pulse.beat(fate)
        self.close()
        time.sleep(0.02 * self.chance.random())
        return fate, None

    def close(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None


class Work:
    """A kind of work. body(chance, stop, number) is one thread of it."""

    threads = 2

    def __init__(self, nodes, pulse):
        self.nodes, self.pulse = nodes, pulse
        self.mutex = threading.Lock()

    def start(self, threads, stop):
        for number in range(self.threads):
            threads.start(lambda chance, number=number: self.body(chance, stop, number))

    def caller(self, chance):
        return Caller(self.nodes, chance, self.pulse)


class Registers(Work):
    """Values written once each, and reads, of a few keys."""

    threads = 5
    KEYS = 3

    def __init__(self, nodes, pulse):
        super().__init__(nodes, pulse)
        self.seen = defaultdict(list)

    def body(self, chance, stop, number):
        caller, n = self.caller(chance), 0
        while not stop.is_set():
            key = "register:%d" % chance.randrange(self.KEYS)
            write = chance.random() < 0.4
            n += 1
            value = "%d.%d" % (number, n)
            began = time.monotonic()
            fate, answer = caller.call(*(("SET", key, value) if write else ("GET", key)))
            ended = time.monotonic()
            node = caller.node.id
            if write and fate != "not":
                self.seen[key].append(Seen(True, value, began, ended if fate == "done" else NEVER, node))
            elif not write and fate == "done":
                self.seen[key].append(Seen(False, answer and answer.decode(), began, ended, node))
        caller.close()

    def check(self, node):
        for key, ops in self.seen.items():
            check_register(key, ops)
        return "%d register operations" % sum(len(ops) for ops in self.seen.values())


def check_register(key, ops):
    """Is there an order of all operations, each at a moment between its call and its answer, in which every read gives
    what was written last? With values that are written once this is decided by their zones (Gibbons and Korach, Testing
    Shared Memories, 1997). A value was there for certain from its first answer to the last call of an operation on it,
    when the former comes first: two such zones must not overlap. Otherwise there was a moment for it anywhere from that
    last call to the first answer; not when another value was there for certain all that time."""
    began, first_answer, last_call, read = {None: -NEVER}, {None: -NEVER}, {None: -NEVER}, set()
    for op in ops:
        if op.write:
            began[op.value] = op.began
        else:
            read.add(op.value)
    for op in ops:
        expect(op.value in began, "%s: node %d read %s, which nobody wrote", key, op.node, op.value)
        expect(op.ended >= began[op.value], "%s: node %d read %s before it was written", key, op.node, op.value)
        first_answer[op.value] = min(first_answer.get(op.value, NEVER), op.ended)
        last_call[op.value] = max(last_call.get(op.value, -NEVER), op.began)
    # A write without an answer that nobody read may never have been.
    zones = [(first_answer[v], last_call[v], v) for v in first_answer if first_answer[v] < NEVER or v in read]
    certain = sorted((a, b, v) for a, b, v in zones if a < b)
    for (_, until, value), (since, _, other) in zip(certain, certain[1:]):
        expect(until <= since, "%s: %s was read after %s had been, and the other way round", key, value, other)
    starts = [since for since, _, _ in certain]
    for answer, call, value in zones:
        at = bisect.bisect_left(starts, call) - 1  # The last one that had begun before the call.
        if answer >= call and at >= 0:
            expect(answer >= certain[at][1], "%s: %s was written and answered while %s was there all the time", key, value, certain[at][2])


class Counters(Work):
    """Increments of one number, sent once and never again."""

    threads = 3
    NAME = "counter"

    def __init__(self, nodes, pulse):
        super().__init__(nodes, pulse)
        self.told = []
        self.unknown = 0

    def body(self, chance, stop, number):
        caller = self.caller(chance)
        while not stop.is_set():
            began = time.monotonic()
            fate, value = caller.call("INCR", self.NAME)
            with self.mutex:
                if fate == "done":
                    self.told.append((value, began, time.monotonic()))
                elif fate == "unknown":
                    self.unknown += 1
        caller.close()

    def check(self, node):
        return check_counter(int(node.call("GET", self.NAME) or 0), self.told, self.unknown)


def check_counter(final, told, unknown):
    """Nothing lost, nothing twice, and numbers grow with time. told: (number, called, answered)."""
    values = [v for v, _, _ in told]
    expect(len(set(values)) == len(values), "two increments were given the same number")
    expect(len(values) <= final <= len(values) + unknown, "the counter is %d after %d answered and %d unknown increments", final,
           len(values), unknown)
    expect(max(values, default=0) <= final, "the counter is %d, but %d was answered", final, max(values, default=0))
    answered = sorted(told, key=lambda t: t[2])
    highest, i = 0, 0
    for value, began, _ in sorted(told, key=lambda t: t[1]):
        while i < len(answered) and answered[i][2] < began:
            highest = max(highest, answered[i][0])
            i += 1
        expect(value > highest, "an increment was told %d after another had been told %d", value, highest)
    return "%d increments" % len(values)


class Adds(Work):
    """Marks appended to strings, each once: all that were acknowledged are there, none twice, none from nowhere. Half of
    them through sessions, which know of every one that it is there exactly once."""

    threads = 4
    PER_KEY = 400

    def __init__(self, nodes, pulse):
        super().__init__(nodes, pulse)
        self.sent, self.done = defaultdict(set), defaultdict(set)

    def body(self, chance, stop, number):
        caller = self.caller(chance)
        session = Session(self.nodes, chance, ttl_ms=60000) if number % 2 == 0 else None
        n = 0
        while not stop.is_set():
            key, mark = "adds:%d:%d" % (number % 2, n // self.PER_KEY), "%d.%d" % (number, n)
            n += 1
            self.sent[key].add(mark)
            if session is not None:
                session.once("APPEND", key, mark + ",")
                self.pulse.beat("done")
                fate = "done"
            else:
                fate, _ = caller.call("APPEND", key, mark + ",")
            if fate == "done":
                self.done[key].add(mark)
            elif fate == "not":
                self.sent[key].discard(mark)
        caller.close()
        if session is not None:
            session.close()

    def check(self, node):
        for key in self.sent:
            check_adds(key, (node.call("GET", key) or b"").decode(), self.sent[key], self.done[key])
        return "%d marks added" % sum(len(d) for d in self.done.values())


def check_adds(key, text, sent, done):
    there = text.split(",")[:-1]
    expect(len(set(there)) == len(there), "%s: a mark was added twice", key)
    expect(done <= set(there), "%s: %d acknowledged marks are lost", key, len(done - set(there)))
    expect(set(there) <= sent, "%s: marks that were refused, or never sent, are there: %s", key, sorted(set(there) - sent)[:3])


class Locks(Work):
    """Workers that take turns: one inside at a time, with tokens that grow, changing a number under GUARD in two steps."""

    threads = 3
    NAME = "turn"

    def __init__(self, nodes, pulse):
        super().__init__(nodes, pulse)
        self.inside, self.highest, self.grants = None, 0, 0

    def enter(self, number, token):
        with self.mutex:
            expect(self.inside is None, "worker %s was given the lock that %s holds", number, self.inside)
            expect(token > self.highest, "token %d was given after %d", token, self.highest)
            self.inside, self.highest = number, token
            self.grants += 1

    def leave(self):
        with self.mutex:
            self.inside = None

    def body(self, chance, stop, number):
        session = Session(self.nodes, chance, ttl_ms=60000, name="turn-%d" % number)
        while not stop.is_set():
            token = session.once("LOCK", "ACQUIRE", self.NAME, "-", "WAIT", 20000, deadline_s=60)
            if token is None:
                continue
            self.enter(number, token)
            before = int(session.any("GET", "turns") or 0)
            session.once("GUARD", self.NAME, token, "SET", "turns", before + 1)
            self.leave()
            expect(session.once("LOCK", "RELEASE", self.NAME, "-", "TOKEN", token) == 1, "worker %d lost its lock", number)
            self.pulse.beat("done")
        session.close()

    def check(self, node):
        turns = int(node.call("GET", "turns") or 0)
        expect(turns == self.grants, "%d turns were counted as %d", self.grants, turns)
        return "%d turns" % self.grants


class Expiries(Work):
    """Keys with a time to live: never gone early, by the client's monotonic clock."""

    threads = 2
    GRAIN_S = 0.003

    def __init__(self, nodes, pulse):
        super().__init__(nodes, pulse)
        self.expired = 0

    def body(self, chance, stop, number):
        caller, n = self.caller(chance), 0
        while not stop.is_set():
            n += 1
            key, ttl_s = "expiry:%d:%d" % (number, n), 0.2 + 2 * chance.random()
            sent = time.monotonic()
            if caller.call("SET", key, "v", "PX", int(1000 * ttl_s))[0] != "done":
                continue
            gone = False
            while not gone and not stop.is_set():
                fate, there = caller.call("EXISTS", key)
                gone = fate == "done" and there == 0
                stop.wait(0.02)
            if gone:
                lived = time.monotonic() - sent
                expect(lived >= ttl_s - self.GRAIN_S, "a key with %.3f s to live was gone after %.3f s", ttl_s, lived)
                with self.mutex:
                    self.expired += 1
        caller.close()

    def check(self, node):
        return "%d keys expired" % self.expired


KINDS = (Registers, Counters, Adds, Locks, Expiries)
