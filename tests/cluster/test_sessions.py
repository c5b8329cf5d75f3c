"""Sessions: what was done once stays done once through any node and any kill; they live as long as they are named."""
import os
import random
import subprocess
import time

from cluster import BUILD, SEED, Cluster, expect, wait_for
from wire import ReplyError, Wire
from workers import Session, Threads, kill_nodes

WORKERS = 4
KILLS = 8
MANY = 50000
MANY_SLOWER_MAX = 0.25  # Seconds, the 99th percentile of others' writes beside all the keep-alives.


def count_up(cluster, stop, done, once):
    """Each worker counts its own key and a common one, and sees each number of its own once."""

    def body(chance, name):
        session = Session(cluster.nodes, chance)
        n = 0
        while not stop.is_set():
            n += 1
            own = (session.once if once else session.any)("INCR", name)
            if once:
                expect(own == n, "%s: increment %d answered %r", name, n, own)
            (session.once if once else session.any)("INCR", "common")
        done[name] = (n, session.retries)
        session.close()

    return body


def run_counting(once):
    done = {}
    with Cluster() as c:
        threads = Threads(SEED)
        for i in range(WORKERS):
            threads.start(count_up(c, threads.stopping, done, once), "worker-%d" % i)
        kill_nodes(c, random.Random(SEED), KILLS)
        threads.stopping.set()
        threads.join()
        common = int(c.wait_leader().call("GET", "common"))
        own = {name: int(c.wait_leader().call("GET", name)) for name in done}
        c.wait_same_state()
    return done, own, common


def test_once_through_kills():
    done, own, common = run_counting(once=True)
    total = sum(n for n, _ in done.values())
    retries = sum(r for _, r in done.values())
    for name, (n, _) in done.items():
        expect(own[name] == n, "%s counted to %d, the key says %d", name, n, own[name])
    expect(common == total, "the common counter says %d after %d increments", common, total)
    expect(retries > 0, "no write was ever sent again: nothing was tested")
    return "%d writes, %d sent again, each done once" % (2 * total, retries)


def test_a_repeat_gets_the_first_answer_everywhere():
    with Cluster() as c:
        session = c.nodes[0].call("SESSION", "OPEN", "TTL", 60000)
        first = c.nodes[0].call("ONCE", session, 1, "INCR", "n")
        for n in c.nodes:
            expect(n.call("ONCE", session, 1, "INCR", "n") == first, "a repeat through %s was run", n)
        c.wait_leader().kill()
        for n in c.up():
            answer = wait_for(lambda n=n: n.call("ONCE", session, 1, "INCR", "n"), 10, "an answer after the leader's death")
            expect(answer == first, "a repeat through %s was run", n)
        for n in c.nodes:
            if not n.alive():
                n.start()
        c.wait_ready()
        expect(c.nodes[1].call("ONCE", session, 2, "ACK", 1, "GETDEL", "n") == b"%d" % first, "the second serial")
        try:
            c.nodes[2].call("ONCE", session, 1, "INCR", "n")
            expect(False, "an acknowledged serial was answered")
        except ReplyError as e:
            expect(e.code == "SERIALPAST", "%s", e)


def test_sessions_end_on_time_and_not_before():
    """Kept alive through a leader's death one lives; one that nobody names ends, late by the time without a leader."""
    ttl_s = 2.0
    with Cluster() as c:
        kept, left = (c.nodes[0].call("SESSION", "OPEN", "TTL", int(ttl_s * 1000)) for _ in range(2))
        began = time.monotonic()
        c.wait_leader().kill()
        node = c.up()[0]
        ended = None
        while time.monotonic() < began + 3 * ttl_s:
            wait_for(lambda: node.call("SESSION", "KEEPALIVE", kept) == "OK", 10, "a keep-alive")
            try:
                node.call("SESSION", "INFO", left)
            except ReplyError as e:
                expect(e.code == "SESSIONEXPIRED", "%s", e)
                ended = ended or time.monotonic() - began
            time.sleep(0.05)
        expect(ended is not None, "a session that nobody named is still there")
        expect(ended >= ttl_s - 0.01, "it ended after %.3f s of %.1f s", ended, ttl_s)
        for n in c.nodes:
            if not n.alive():
                n.start()
        c.wait_ready()
    return "%.2f s of %.1f s, a leader's death in between" % (ended, ttl_s)


LUA_COUNTS = """
local state = require "state"
local own, n = arg[1], 0
while not state.get("stop") do
  n = n + 1
  local got, message, code = state.increment(own)
  if got ~= n then
    print(string.format("increment %d answered %s (%s, %s)", n, got, message, code))
    os.exit(1, true)
  end
end
print(n)
"""


def test_lua_counts_through_kills():
    """The Lua client's own retries: each increment is answered once, in turn, whatever dies."""
    with Cluster() as c:
        environment = dict(os.environ, HOLDFAST_NODES=c.addresses(), LUA_PATH=os.path.join(BUILD, "lua/?.lua"),
                           LUA_CPATH=os.path.join(BUILD, "lua/?.so"))
        script = os.path.join(c.dir, "count.lua")
        with open(script, "w") as f:
            f.write(LUA_COUNTS)
        workers = [subprocess.Popen(["lua5.4", script, "lua-%d" % i], env=environment, stdout=subprocess.PIPE, text=True)
                   for i in range(3)]
        kill_nodes(c, random.Random(SEED), KILLS)
        c.wait_leader().call("SET", "stop", "1")
        outputs = [w.communicate(timeout=60)[0] for w in workers]
        for w, output in zip(workers, outputs):
            expect(w.returncode == 0, "a worker: %s", output.strip())
        for i, output in enumerate(outputs):
            expect(int(c.wait_leader().call("GET", "lua-%d" % i)) == int(output), "lua-%d: %s", i, output)
    return "%d increments" % sum(int(o) for o in outputs)


def percentile(samples, p):
    return sorted(samples)[int(len(samples) * p)]


def test_many_sessions_do_not_slow_others():
    with Cluster() as c:
        node = c.wait_leader()
        sessions = []
        with Wire(node.port, 60) as w:
            for _ in range(MANY // 1000):
                sessions += w.pipeline([("SESSION", "OPEN", "TTL", 10000)] * 1000)
        expect(len(set(sessions)) == MANY and all(isinstance(s, int) for s in sessions), "some sessions did not open")
        threads = Threads(SEED)
        renewed = []

        def keep_alive(chance):
            with Wire(c.followers()[0].port, 60) as w:
                while not threads.stopping.is_set():
                    for i in range(0, MANY, 500):
                        answers = w.pipeline([("SESSION", "KEEPALIVE", s) for s in sessions[i:i + 500]])
                        expect(answers == ["OK"] * 500, "a keep-alive answered %s", answers[0])
                        renewed.append(500)
                        time.sleep(0.03 * chance.random())

        threads.start(keep_alive)
        times = []
        with node.wire() as w:
            end = time.monotonic() + 12  # Longer than their time to live.
            while time.monotonic() < end and not threads.stopping.is_set():
                began = time.monotonic()
                w.call("SET", "k", "v")
                times.append(time.monotonic() - began)
        threads.stopping.set()
        threads.join()
        alive = len(node.call("SESSION", "LIST", timeout=60))
        expect(alive == MANY, "%d of %d sessions are alive", alive, MANY)
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    expect(p99 < MANY_SLOWER_MAX, "beside the keep-alives of %d sessions writes took %.3f s (p99)", MANY, p99)
    return "%d sessions, %.0f keep-alives/s; others' SET p50 %.2f ms, p99 %.2f ms" % (
        MANY, sum(renewed) / 12, p50 * 1000, p99 * 1000)
