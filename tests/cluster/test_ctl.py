"""The command line as scripts use it: exit statuses, JSON, and commands under a lock while the cluster fails."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading

from cluster import HOLDFAST, PATIENCE, Cluster, expect, wait_for

NO, USAGE, UNAVAILABLE, REFUSED = 1, 2, 3, 5
TAKEN, LOST, FAILED = 121, 122, 123
# Prints its number and its token, then waits for TERM: ends with 7, or not at all when it is called "deaf".
COMMAND = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
print(os.getpid(), os.environ["HOLDFAST_TOKEN"], os.environ["HOLDFAST_LOCK"], flush=True)
while signal.sigwait([signal.SIGTERM, signal.SIGUSR1]) and "deaf" in sys.argv:
    pass
sys.exit(7)
"""


def line(c, *args):
    return [HOLDFAST, "--nodes", c.addresses()] + [str(a) for a in args]


def tool(c, *args, text=True):
    """holdfast with these arguments: exit status, output, what it said on stderr."""
    done = subprocess.run(line(c, *args), capture_output=True, text=text, timeout=60 * PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr


def gives(c, status, *args):
    code, out, err = tool(c, *args)
    expect(code == status, "holdfast %s: status %d, not %d: %s", args, code, status, err)
    return out


def read_json(c, *args):
    return json.loads(gives(c, 0, "-o", "json", *args))


class Held:
    """holdfast lock ... -- COMMAND, which has begun."""

    def __init__(self, c, name, *options, deaf=False):
        command = [sys.executable, "-c", COMMAND] + (["deaf"] if deaf else [])
        self.process = subprocess.Popen(line(c, "lock", name, *options, "--", *command), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        expect(len(words) == 3 and words[2] == name, "the command under %s says %s", name, words)
        self.pid, self.token = int(words[0]), int(words[1])

    def signal(self, how):
        self.process.send_signal(how)
        return self

    def end(self):
        self.process.communicate(timeout=60 * PATIENCE)
        try:
            os.kill(self.pid, 0)
            expect(False, "the command goes on after holdfast has ended")
        except ProcessLookupError:
            return self.process.returncode


def test_bad_arguments_are_usage():
    with Cluster(1) as c:
        for args in (["nonsense"], ["get"], ["get", "a", "b"], ["get", "--ttl", "5", "a"], ["set", "k", "v", "--ttl", "x"],
                     ["set", "k", "v", "--nx", "--xx"], ["-o", "xml", "status"], ["lock", "name"], ["lock"], ["lock", "n", "--"],
                     ["lock", "--", "true"], ["lock", "a", "b", "--", "true"], ["lock", "a", "--ttl", "1ms", "--", "true"],
                     ["lock", "a", "--permits", "3/2", "--", "true"], ["lock", "a", "--shared", "--permits", "1/2", "--", "true"],
                     ["lock", "a", "--reason", "x", "--", "true"], ["lock", "info"], ["session", "info"], ["session", "x"],
                     ["completion", "fish"], ["wait", "k"], ["watch"], ["watch", "k", "--from", "x"], ["watch", "k", "--from", "0"], ["wait", "k", "v", "--timeout", "0"], ["member", "x"], ["help", "nonsense"]):
            gives(c, USAGE, *args)


def test_every_command_has_help_and_completion():
    with Cluster(1) as c:
        ask = 'source <("$0" completion bash); COMP_WORDS=(holdfast "$1"); COMP_CWORD=1; _holdfast; echo ${COMPREPLY[@]}'
        words = subprocess.run(["bash", "-c", ask, HOLDFAST, ""], capture_output=True, text=True, check=True).stdout.split()
        expect({"status", "get", "lock", "session", "member", "help"} <= set(words), "completion offers %s", words)
        for word in words:
            expect("Usage: holdfast" in gives(c, 0, "help", word), "help %s", word)
        ask = ask.replace("COMP_CWORD=1", 'COMP_WORDS+=("--w"); COMP_CWORD=2')
        words = subprocess.run(["bash", "-c", ask, HOLDFAST, "lock"], capture_output=True, text=True, check=True).stdout
        expect(words.split() == ["--wait"], "after 'lock --w' completion offers %s", words)
        expect("bashcompinit" in gives(c, 0, "completion", "zsh"), "no zsh completion")


def test_values_and_statuses():
    with Cluster() as c:
        gives(c, NO, "get", "k")
        gives(c, 0, "set", "k", "v\u00e4")
        expect(read_json(c, "get", "k") == {"key": "k", "value": "v\u00e4"}, "get as json")
        gives(c, NO, "set", "k", "w", "--nx")
        gives(c, NO, "set", "other", "w", "--xx")
        gives(c, REFUSED, "incr", "k")
        expect(gives(c, 0, "incr", "n", "-5") == "-5\n", "incr")
        expect(gives(c, 0, "keys", "?").split() in (["k", "n"], ["n", "k"]), "keys")
        expect(read_json(c, "keys", "n") == "n", "keys as json")
        expect(read_json(c, "set", "j", "1") == {"set": True}, "set as json")
        expect(read_json(c, "incr", "j", "4") == {"value": 5}, "incr as json")
        expect(read_json(c, "del", "j") == {"deleted": 1}, "del as json")
        pings = [json.loads(line) for line in gives(c, 0, "-o", "json", "ping").splitlines()]
        expect(len(pings) == 3 and all(p["answers"] for p in pings), "ping as json: %s", pings)
        expect(gives(c, 0, "del", "k", "n", "none") == "2\n", "del")
        gives(c, NO, "del", "none")
        gives(c, 0, "ping")
        expect(len(read_json(c, "status")["nodes"]) == 3, "status as json")
        for node in c.nodes:
            node.kill()
        gives(c, UNAVAILABLE, "get", "k", "--timeout", "300ms")
        gives(c, UNAVAILABLE, "wait", "k", "v", "--timeout", "300ms")
        gives(c, FAILED, "lock", "x", "--timeout", "300ms", "--", "true")


def test_limit():
    with Cluster(1) as c:
        for args in (["limit", "k"], ["limit", "k", "--rate", "0"], ["limit", "k", "--rate", "2", "--per", "soon"]):
            gives(c, USAGE, *args)
        call = ("limit", "k", "--rate", "2", "--per", "1h")
        expect(gives(c, 0, *call) == "allowed, 1 left\n", "the first of two")
        expect(read_json(c, *call)["left"] == 0, "the second of two")
        refused = json.loads(gives(c, NO, "-o", "json", *call))
        expect(refused["allowed"] is False and refused["retry_ms"] > 0, "the third of two: %s", refused)


def test_wait():
    with Cluster() as c:
        gives(c, 0, "set", "k", "old")
        gives(c, 0, "wait", "k", "old")
        gives(c, NO, "wait", "k", "new", "--timeout", "50ms")
        gives(c, NO, "wait", "none", "", "--timeout", "50ms")
        waiter = subprocess.Popen(line(c, "wait", "k", "new", "--timeout", "10m"))
        try:
            wait_for(lambda: any(int(n.info("clients")["blocked_clients"]) > 0 for n in c.nodes), 30, "it waits")
            c.wait_leader().kill()
            c.wait_leader()
            gives(c, 0, "set", "k", "new", "--timeout", "60s")
            expect(waiter.wait(60 * PATIENCE) == 0, "the wait ends, though the leader died")
        finally:
            waiter.kill()
            waiter.wait()


def test_changes_are_watched():
    with Cluster() as c:
        c.wait_ready()
        before = c.leader().call("HISTORY", "", "FROM", 0)[1]
        gives(c, 0, "set", "w:1", "v")
        gives(c, 0, "incr", "other")
        watch = subprocess.Popen(line(c, "watch", "w:", "--from", before), stdout=subprocess.PIPE, text=True)
        try:
            expect(watch.stdout.readline().split()[1:] == ["set", "w:1"], "what was before")
            gives(c, 0, "del", "w:1")
            expect(watch.stdout.readline().split()[1:] == ["del", "w:1"], "what comes while it watches")
        finally:
            watch.kill()
            watch.communicate()


def test_locks_and_sessions_are_shown():
    with Cluster() as c:
        expect(read_json(c, "lock", "list") == [], "locks before any")
        gives(c, NO, "lock", "info", "job")
        held = Held(c, "job")
        locks = read_json(c, "lock", "list")
        expect([(l["name"], l["token"]) for l in locks] == [("job", held.token)], "lock list: %s", locks)
        expect(read_json(c, "lock", "list", "x*") == [], "lock list of a pattern")
        expect("job" in gives(c, 0, "lock", "list"), "lock list as a table")
        holder = read_json(c, "lock", "info", "job")["holders"][0]
        expect("token=%d" % held.token in gives(c, 0, "lock", "info", "job"), "lock info for people")
        sessions = read_json(c, "session", "list")
        expect(holder["session"] in [s["id"] for s in sessions], "session list: %s", sessions)
        expect(read_json(c, "session", "info", holder["session"])["id"] == holder["session"], "session info")
        expect(read_json(c, "session", "close", holder["session"]) == {"closed": True}, "session close as json")
        expect(held.end() == LOST, "its session was closed, but the command was not ended")
        gives(c, REFUSED, "session", "info", holder["session"])


def test_a_lock_ends_as_its_command_does():
    with Cluster() as c:
        for command, status in ((["true"], 0), (["sh", "-c", "exit 42"], 42), (["/nowhere/command"], 127), (["/"], 126),
                                (["sh", "-c", "kill -9 $$"], 128 + 9)):
            gives(c, status, "lock", "n", "--", *command)
        expect(gives(c, 0, "lock", "n", "--", "sh", "-c", 'echo "$@"', "-", "--help", "-x") == "--help -x\n", "the command's own options")
        first = Held(c, "n")
        gives(c, TAKEN, "lock", "n", "--wait", "0", "--", "true")
        gives(c, TAKEN, "lock", "n", "--wait", "50ms", "--shared", "--", "true")
        expect(first.signal(signal.SIGTERM).end() == 7, "TERM was not passed on")
        expect(Held(c, "n").signal(signal.SIGUSR1).end() == 7, "USR1 was not passed on")
        sharers = [Held(c, "n", "--shared", "--wait", "0") for _ in range(2)]
        gives(c, TAKEN, "lock", "n", "--wait", "0", "--", "true")
        permits = [Held(c, "pool", "--permits", "1/2", "--wait", "0") for _ in range(2)]
        gives(c, TAKEN, "lock", "pool", "--permits", "1/2", "--wait", "0", "--", "true")
        for held in sharers + permits:
            expect(held.signal(signal.SIGTERM).end() == 7, "a sharer")
        expect(read_json(c, "lock", "list") == [], "locks are left behind")


def test_a_broken_lock_ends_its_command():
    with Cluster() as c:
        gives(c, NO, "lock", "break", "job")
        held = [Held(c, "job", "--ttl", "2s", "--shared"), Held(c, "job", "--ttl", "2s", "--shared", deaf=True)]
        expect(gives(c, 0, "lock", "break", "job", "--reason", "by hand") == "2\n", "lock break")
        expect([h.end() for h in held] == [LOST, LOST], "the lock was broken, but the command was not ended")


def lose_all(c, stop, undo):
    """Nobody renews the session any more: the deaf command is dead before the nodes are back and give the lock away."""
    held = Held(c, "job", "--ttl", "1500ms", deaf=True)
    for node in c.nodes:
        stop(node)
    expect(held.end() == LOST, "no node answers, but the command was not ended as lost")
    for node in c.nodes:
        undo(node)
    c.wait_ready()
    wait_for(lambda: tool(c, "lock", "job", "--", "true")[0] == 0, 30, "the lock, for the next")


def test_lost_while_the_nodes_are_paused():
    with Cluster() as c:
        lose_all(c, lambda n: n.pause(), lambda n: n.resume())


def test_lost_when_the_nodes_are_killed():
    with Cluster() as c:
        lose_all(c, lambda n: n.kill(), lambda n: n.start())


def test_two_exclude_each_other_through_kills():
    """flock(1) on a file tells at once when both are inside."""
    with Cluster() as c, tempfile.TemporaryDirectory() as d:
        tokens, codes, done = os.path.join(d, "tokens"), [], threading.Event()
        command = ["flock", "-n", "-E", "99", os.path.join(d, "inside"), "sh", "-c", 'echo $HOLDFAST_TOKEN >> "$0"', tokens]

        def worker():
            while not done.is_set():
                codes.append(tool(c, "lock", "job", "--", *command)[0])

        threads = [threading.Thread(target=worker) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                seen = codes.count(0)
                leader = c.wait_leader()
                leader.kill()
                wait_for(lambda: codes.count(0) >= seen + 6, 60, "commands under the lock go on")
                leader.start()
                c.wait_ready()
        finally:
            done.set()
            for thread in threads:
                thread.join()
        expect(set(codes) <= {0, TAKEN, LOST, FAILED}, "statuses %s", sorted(set(codes)))
        with open(tokens, encoding="ascii") as f:
            given = [int(t) for t in f]
        expect(given == sorted(set(given)), "tokens do not grow: %s", given)
        return "%d commands" % len(given)
