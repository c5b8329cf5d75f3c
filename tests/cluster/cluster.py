"""cluster.py - real holdfastd processes on private ports and a directory of their own.

Nothing here sleeps for a fixed time to let something happen: wait_for() asks until it is so or a deadline has passed.
Every process started here is ended by Cluster.close(), by its id."""
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from wire import Lost, ReplyError, Wire

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("HOLDFAST_BUILD", os.path.join(TOP, "build"))
HOLDFASTD = os.path.join(BUILD, "holdfastd")
HOLDFAST = os.path.join(BUILD, "holdfast")
# Sanitizers and shared machines make everything slower: waits (never the promises under test) are stretched by this.
PATIENCE = float(os.environ.get("HOLDFAST_PATIENCE", "1"))
# Private ports lie below the range that outgoing connections take theirs from, so that a killed node finds its own again.
PORTS = (12000, 30000)
POLL_S = 0.01
# What chance decides in a test, it decides from this; run.py prints it.
SEED = int(os.environ.get("HOLDFAST_SEED") or random.SystemRandom().randrange(1, 1 << 31))


PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def die_with_parent(how=signal.SIGKILL):
    """However this process ends, its nodes do not outlive it."""
    libc.prctl(PR_SET_PDEATHSIG, how)


class Failed(AssertionError):
    """A test's expectation did not hold."""


class Unavailable(Exception):
    """This machine, or this user, lacks what a test needs: the test is skipped."""


def expect(condition, text, *args):
    if not condition:
        raise Failed(text % args if args else text)


def wait_for(condition, deadline_s, what):
    """Ask until condition() is true; its value. A condition that raises Lost or ReplyError is not true yet."""
    end = time.monotonic() + deadline_s * PATIENCE
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (Lost, ReplyError) as e:
            last = e
        if time.monotonic() > end:
            raise Failed("not within %.1f s: %s (last seen: %s)" % (deadline_s * PATIENCE, what, last))
        time.sleep(POLL_S)


def free_ports(n):
    """n ports, next to each other, that nobody listens on now."""
    while True:
        base = random.SystemRandom().randrange(PORTS[0], PORTS[1] - n)
        held = []
        try:
            for port in range(base, base + n):
                s = socket.socket()
                held.append(s)
                s.bind(("127.0.0.1", port))
            return list(range(base, base + n))
        except OSError:
            continue
        finally:
            for s in held:
                s.close()


class Node:
    def __init__(self, cluster, node_id, port, peer_port, host="127.0.0.1", peer_host="127.0.0.1", prefix=()):
        self.cluster = cluster
        self.id = node_id
        self.host, self.port = host, port
        self.peer_host, self.peer_port = peer_host, peer_port
        self.peer_listen = None  # When it is another than the address the others know.
        self.prefix = list(prefix)  # Of the command line: a program that executes the rest elsewhere.
        self.dir = os.path.join(cluster.dir, "n%d" % node_id)
        self.log = os.path.join(cluster.dir, "n%d.log" % node_id)
        self.process = None
        self.paused = False
        self.environment = {}  # Of this node alone.

    def __repr__(self):
        return "node %d (port %d)" % (self.id, self.port)

    def address(self):
        return "%s:%d" % (self.host, self.port)

    def peer_address(self):
        return "%s:%d" % (self.peer_host, self.peer_port)

    def arguments(self, **settings):
        all_settings = {
            "node-id": self.id,
            "data-dir": self.dir,
            "listen": self.address(),
            "peer-listen": self.peer_listen or self.peer_address(),
            "members": self.cluster.members(),
        }
        all_settings.update(self.cluster.settings)
        all_settings.update({k.replace("_", "-"): v for k, v in settings.items()})
        line = self.prefix + [HOLDFASTD]
        for name, value in all_settings.items():
            if value is not None:
                line += ["--" + name, str(value)]
        return line

    def start(self, **settings):
        expect(self.process is None, "%s is running already", self)
        os.makedirs(self.dir, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.arguments(**settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, **self.cluster.environment, **self.environment), preexec_fn=die_with_parent)
        return self

    def kill(self, how=signal.SIGKILL):
        """Send a signal that ends it, and wait until it has; its exit code."""
        if self.paused:
            self.resume()
        self.process.send_signal(how)
        return self.wait_exit()

    def wait_exit(self, deadline_s=10):
        try:
            code = self.process.wait(deadline_s * PATIENCE)
        except subprocess.TimeoutExpired as e:
            raise Failed("%s did not exit within %d s" % (self, deadline_s)) from e
        self.process = None
        return code

    def pause(self):
        """SIGSTOP: alive for the kernel, silent for everyone."""
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wire(self, timeout=10.0):
        return Wire(self.port, timeout * PATIENCE, self.host)

    def call(self, *args, timeout=10.0):
        with self.wire(timeout) as w:
            return w.call(*args)

    def info(self, section="holdfast"):
        """INFO's fields as text."""
        text = self.call("INFO", section, timeout=2.0).decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line and not line.startswith("#"))

    def peers_linked(self):
        """How many of the others it has links with, both ways."""
        members = [(k, v) for k, v in self.info().items() if k.startswith("member_") and k != "member_%d" % self.id]
        return sum(1 for _, v in members if "linked=1" in v.split(","))

    def log_text(self):
        with open(self.log, "rb") as f:
            return f.read().decode("utf-8", "replace")


class Joiner(Node):
    """Started with --join, and no more told who the members are than that."""

    def arguments(self, **settings):
        return super().arguments(**dict({"members": None, "node_id": None}, **settings))

    def join(self, by, **settings):
        token = by.call("MEMBER", "TOKEN").decode()
        return self.start(**dict({"join": by.address(), "join_token": token}, **settings))


class Cluster:
    def __init__(self, n=3, environment=None, **settings):
        self.dir = tempfile.mkdtemp(prefix="holdfast-test-")
        self.settings = {k.replace("_", "-"): v for k, v in settings.items()}
        self.environment = environment or {}
        self.nodes = self.make_nodes(n)
        self.founders = list(self.nodes)

    def make_nodes(self, n):
        ports = free_ports(2 * n)
        return [Node(self, i + 1, ports[i], ports[n + i]) for i in range(n)]

    def __enter__(self):
        try:
            return self.start()
        except BaseException as e:
            self.close(failed=e)
            raise

    def __exit__(self, kind, error, trace):
        self.close(failed=error)

    def members(self):
        return ",".join("%d=%s" % (n.id, n.peer_address()) for n in self.founders)

    def addresses(self):
        return ",".join(n.address() for n in self.nodes)

    def newcomer(self, node_id):
        """A node that is no founder, and does not run yet."""
        port, peer_port = free_ports(2)
        node = Joiner(self, node_id, port, peer_port)
        self.nodes.append(node)
        return node

    def start(self):
        for n in self.nodes:
            n.start()
        self.wait_ready()
        return self

    def end_processes(self):
        """Kill what runs; complaints about nodes that had ended by themselves."""
        unexpected = []
        for n in self.nodes:
            if n.process is None:
                continue
            if not n.alive():
                unexpected.append("%s had exited with %d" % (n, n.process.returncode))
            else:
                n.process.kill()
                if n.paused:
                    n.resume()
            n.process.wait()
            n.process = None
        return unexpected

    def close(self, failed=None):
        unexpected = self.end_processes()
        if isinstance(failed, Unavailable):
            unexpected = []
        elif failed is not None or unexpected:
            print("    " + "\n    ".join(unexpected) if unexpected else "", end="\n" if unexpected else "")
            for n in self.nodes:
                if os.path.exists(n.log):
                    print("    --- last lines of %s" % n)
                    print("".join("    " + l + "\n" for l in n.log_text().splitlines()[-12:]), end="")
        if os.environ.get("HOLDFAST_KEEP") and failed is not None:
            print("    --- kept: %s" % self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        if failed is None and unexpected:
            raise Failed("; ".join(unexpected))

    def up(self):
        return [n for n in self.nodes if n.alive() and not n.paused]

    def leader(self):
        """The node that all reachable nodes name as leader and that is ready to serve; None when they do not agree."""
        named = set()
        for n in self.up():
            named.add(n.info()["leader_id"])
        if len(named) != 1 or named == {"0"}:
            return None
        leader = self.nodes[int(named.pop()) - 1]
        if leader not in self.up() or leader.info()["role"] != "leader":
            return None
        return leader

    def wait_leader(self, deadline_s=15, not_node=None):
        def found():
            leader = self.leader()
            return leader if leader is not not_node else None

        return wait_for(found, deadline_s, "a leader that all nodes know")

    def followers(self):
        leader = self.wait_leader()
        return [n for n in self.up() if n is not leader]

    def wait_ready(self, deadline_s=20):
        """A leader, and every running node linked with every other and able to serve."""

        def ready():
            leader = self.leader()
            if leader is None:
                return False
            n_up = len(self.up())
            if any(n.peers_linked() < n_up - 1 for n in self.up()):
                return False
            return all(n.call("EXISTS", "wait_ready", timeout=3.0) == 0 for n in self.up()) and leader

        return wait_for(ready, deadline_s, "a leader, and all nodes linked")

    def wait_same_state(self, deadline_s=20):
        """Until all running nodes stand at one applied index with one state hash; that hash."""

        def same():
            seen = {(i["applied_index"], i["state_hash"]) for i in (n.info() for n in self.up())}
            applied = {a for a, _ in seen}
            if len(applied) == 1 and len(seen) != 1:
                raise Failed("nodes differ at applied index %s: %s" % (applied.pop(), seen))
            return seen.pop()[1] if len(seen) == 1 else None

        return wait_for(same, deadline_s, "the same applied index and state hash on all nodes")
