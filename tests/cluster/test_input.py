"""Bad input to a real node: from clients, from peers, from its disk and from whoever starts it. Each gets its answer, and
the cluster goes on."""
import os
import random
import re
import signal
import socket
import subprocess
import time

from cluster import PATIENCE, SEED, Cluster, expect, wait_for
from wire import Lost, ReplyError, Wire

EXIT_USAGE, EXIT_DATA_DIR, EXIT_LISTEN = 1, 2, 3
GARBAGE_ROUNDS = 200


def still_serves(c):
    for n in c.nodes:
        expect(n.alive(), "%s died", n)
        expect(n.call("INCR", "still_serves") > 0, "%s does not serve", n)


def half_close_if_open(s):
    try:
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The other end was quicker.


def raw(port, data, half_close=False, timeout=5.0):
    """Send bytes, read until the other end closes or is silent; what it said and whether it closed."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
        try:
            s.sendall(data)
            if half_close:
                half_close_if_open(s)
            s.settimeout(timeout)
            while True:
                part = s.recv(65536)
                if not part:
                    return said, True
                said += part
        except socket.timeout:
            return said, False
        except ConnectionError:
            return said, True


def test_client_protocol_errors():
    cases = [
        (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$99999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*99999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\nPING\r\n", b"-ERR Protocol error: expected '$', got 'P'\r\n"),
        (b'SET k "unbalanced\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"x" * 66000, b"-ERR Protocol error: too big inline request\r\n"),
    ]
    with Cluster() as c:
        port = c.nodes[0].port
        for sent, want in cases:
            said, closed = raw(port, sent)
            expect(said == want and closed, "%r was answered %r, closed: %s", sent[:40], said[:80], closed)
        said, closed = raw(port, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        expect(said == b"" and closed, "an HTTP request was answered %r, closed: %s", said, closed)
        still_serves(c)


def test_client_oversize():
    with Cluster(max_value_bytes=100000, max_request_bytes=300000) as c:
        node = c.followers()[0]
        said, closed = raw(node.port, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$400000\r\n" + b"x" * 400000 + b"\r\n")
        expect(said.startswith(b"-TOOLARGE") and closed, "a request past the limit was answered %r, closed: %s", said[:80], closed)
        with node.wire() as w:
            for key, value, what in [("k" * 70000, "v", "key"), ("k", "v" * 100001, "value")]:
                try:
                    w.call("SET", key, value)
                    expect(False, "a %s past the limit was taken", what)
                except ReplyError as e:
                    expect(e.code == "TOOLARGE", "a %s past the limit was answered '%s'", what, e)
            expect(w.call("SET", "k", "v" * 100000) == "OK", "the largest value")
            expect(w.call("GET", "k") == b"v" * 100000, "the largest value came back different")
        still_serves(c)


def test_client_half_close():
    """Commands sent before a half-close are answered, then the connection ends."""
    with Cluster() as c:
        for n in c.nodes:
            said, closed = raw(n.port, b"INCR half\r\nINCR half\r\nPING\r\n", half_close=True)
            expect(closed, "the node keeps a half-closed connection")
            expect(re.fullmatch(rb":\d+\r\n:\d+\r\n\+PONG\r\n", said), "answers after a half-close: %r", said)
        still_serves(c)


def test_client_slow_reader():
    """A client that asks and does not read is cut off at the output limit; nobody else notices."""
    with Cluster(max_output_bytes=1 << 20) as c:
        node = c.nodes[0]
        node.call("SET", "big", "x" * 100000)
        with socket.create_connection(("127.0.0.1", node.port)) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.setblocking(False)
            cut = False
            end = time.monotonic() + 8
            while not cut and time.monotonic() < end:
                try:
                    s.send(b"GET big\r\n" * 20)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    cut = True
                expect(node.call("PING") == "PONG", "another client is not served")
            # A node may as well stop reading from such a client: then its memory is bounded too. (Patience is for nodes
            # with sanitizers, which keep 256 MiB of freed memory.)
            rss = resident_bytes(node)
        expect(cut or rss < int(PATIENCE * 200) << 20, "a client that does not read holds %d MiB", rss >> 20)
        still_serves(c)
    return "cut off" if cut else "not read from any more"


def resident_bytes(node):
    with open("/proc/%d/statm" % node.process.pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_client_garbage():
    chance = random.Random(SEED)
    pieces = [b"*", b"$", b"\r\n", b"-1", b"3", b"SET", b"GET", b"k", b"\x00", b"\xff", b" ", b'"', b"PING\r\n", b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"]
    with Cluster() as c:
        for i in range(GARBAGE_ROUNDS):
            if i % 2:
                data = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 400)))
            else:
                data = b"".join(chance.choice(pieces) for _ in range(chance.randrange(1, 60)))
            raw(c.nodes[i % 3].port, data, half_close=True, timeout=3.0)
        still_serves(c)


def test_client_hangs_up_mid_command():
    """Clients that vanish with commands under way leave no trace but what they had sent whole."""
    with Cluster() as c:
        for i in range(100):
            with socket.create_connection(("127.0.0.1", c.nodes[i % 3].port)) as s:
                s.sendall(b"INCR gone\r\n" * 5 + b"*2\r\n$4\r\nINCR\r\n$4\r\ngo")
        still_serves(c)
        value = int(c.nodes[0].call("GET", "gone") or 0)
        expect(value <= 500, "%d increments of at most 500", value)
        wait_for(lambda: all(int(n.info("clients")["connected_clients"]) <= 1 for n in c.nodes), 10, "the dead connections to be gone")


def test_pipelines_keep_order():
    """A deep pipeline that mixes reads, writes and local commands is answered in the order sent, on every node."""
    with Cluster() as c:
        for n in c.nodes:
            with n.wire(30) as w:
                commands, want = [], []
                w.call("DEL", "p")
                for i in range(1, 2001):
                    commands += [("INCR", "p"), ("GET", "p"), ("ECHO", "e%d" % i), ("SET", "q", i), ("PING",), ("GET", "q")]
                    want += [i, b"%d" % i, b"e%d" % i, "OK", "PONG", b"%d" % i]
                got = w.pipeline(commands)
                for i, (g, x) in enumerate(zip(got, want)):
                    expect(g == x, "answer %d of %s is %r instead of %r", i, n, g, x)


def test_peer_port_garbage():
    chance = random.Random(SEED)
    with Cluster() as c:
        leader = c.wait_leader()
        for n in c.nodes:
            raw(n.peer_port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", half_close=True)
            raw(n.peer_port, b"*1\r\n$4\r\nPING\r\n", half_close=True)
            raw(n.peer_port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), half_close=True)
            raw(n.peer_port, b"\xff" * 100000, half_close=True)
            for _ in range(20):
                raw(n.peer_port, bytes(chance.randrange(256) for _ in range(chance.randrange(1, 600))), half_close=True, timeout=3.0)
        silent = [socket.create_connection(("127.0.0.1", n.peer_port)) for n in c.nodes for _ in range(10)]
        still_serves(c)
        for s in silent:
            s.close()
        expect(c.wait_leader() is leader, "garbage on a peer port cost the leader its place")
        c.wait_same_state()


def refuses_to_start(node, code, words, **settings):
    """It exits with this code within a moment, and its log says words."""
    if os.path.exists(node.log):
        os.remove(node.log)
    node.start(**settings)
    got = node.wait_exit(10)
    text = node.log_text()
    expect(got == code, "exit code %s instead of %d; it said: %s", got, code, text[-300:])
    for word in words:
        expect(word in text, "nothing about '%s' in: %s", word, text[-300:])
    return text.strip().splitlines()[-1]


def test_foreign_data_dirs():
    """Another cluster's directory, another node's, one in use, one that cannot be written."""
    with Cluster() as c:
        node, other = c.nodes[0], c.nodes[1]
        c.wait_leader().call("SET", "k", "v")
        said = [refuses_to_start_copy(c, node, other.dir, ["another process"])]
        node.kill()
        said.append(refuses_to_start(node, EXIT_DATA_DIR, ["cluster"], cluster_name="another"))
        said.append(refuses_to_start(node, EXIT_DATA_DIR, ["node"], node_id=2))
        blocker = os.path.join(c.dir, "a_file")
        open(blocker, "w").close()
        said.append(refuses_to_start(node, EXIT_DATA_DIR, [blocker], data_dir=os.path.join(blocker, "data")))
        node.start()
        c.wait_ready()
        expect(node.call("GET", "k") == b"v", "the node's own directory is damaged")
        c.wait_same_state()
    return " | ".join(re.sub(r"^\S+Z +\w+ +", "", s) for s in said)


def refuses_to_start_copy(c, node, data_dir, words):
    """A second process on a directory that is in use."""
    ports = [p + 7 for p in (c.nodes[-1].peer_port, c.nodes[-1].peer_port + 1)]
    line = node.arguments(data_dir=data_dir, node_id=2, listen="127.0.0.1:%d" % ports[0], peer_listen="127.0.0.1:%d" % ports[1])
    done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=15 * PATIENCE)
    text = done.stdout.decode("utf-8", "replace")
    expect(done.returncode == EXIT_DATA_DIR, "a second process on one directory ended with %d: %s", done.returncode, text[-300:])
    for word in words:
        expect(word in text.lower(), "nothing about '%s' in: %s", word, text[-300:])
    return text.strip().splitlines()[-1]


def test_ports_in_use():
    with Cluster() as c:
        node, other = c.nodes[0], c.nodes[1]
        node.kill()
        refuses_to_start(node, EXIT_LISTEN, [str(other.port)], listen="127.0.0.1:%d" % other.port)
        refuses_to_start(node, EXIT_LISTEN, [str(other.peer_port)], peer_listen="127.0.0.1:%d" % other.peer_port)
        node.start()
        c.wait_ready()


def test_bad_settings():
    with Cluster() as c:
        node = c.nodes[0]
        node.kill()
        path = os.path.join(c.dir, "bad.conf")
        for text, line, words in [
            ("node_id = 1\nno_such_setting = 3\n", 2, ["no_such_setting"]),
            ("\nelection_timeout_ms = soon\n", 2, ["election_timeout_ms"]),
            ("max_clients = -1\n", 1, ["max_clients"]),
            ("members = 1=127.0.0.1:70000\n", 1, ["members"]),
            ("this is no setting\n", 1, []),
        ]:
            with open(path, "w") as f:
                f.write(text)
            refuses_to_start(node, EXIT_USAGE, ["%s:%d" % (path, line)] + words, config=path)
        refuses_to_start(node, EXIT_USAGE, ["no-such-flag"], no_such_flag=1)
        refuses_to_start(node, EXIT_USAGE, ["missing.conf"], config=os.path.join(c.dir, "missing.conf"))
        refuses_to_start(node, EXIT_USAGE, ["node"], node_id=9)
        node.start()
        c.wait_ready()


def test_damaged_disk_is_named():
    """A flipped bit in the middle of the log, or in the state file, stops the start with a message; the others go on."""
    with Cluster() as c:
        node = c.followers()[0]
        with c.wait_leader().wire() as w:
            w.pipeline([("SET", "k%d" % i, "v" * 100) for i in range(2000)])
        c.wait_same_state()
        node.kill()
        segments = sorted(f for f in os.listdir(node.dir) if os.path.isfile(os.path.join(node.dir, f)))
        damaged = None
        for name in segments:
            path = os.path.join(node.dir, name)
            with open(path, "rb") as f:
                content = f.read()
            at = content.find(b"v" * 100)
            if at >= 0 and not name.startswith("state.db"):
                with open(path, "r+b") as f:
                    f.seek(at + 50)
                    f.write(b"w")
                damaged = name
                break
        expect(damaged is not None, "no log segment holds what was written: %s", segments)
        said = refuses_to_start(node, EXIT_DATA_DIR, [])
        expect(damaged in said or "corrupt" in said.lower() or "damage" in said.lower(), "the message does not name the damage: %s", said)
        for n in c.nodes:
            if n is not node:
                expect(n.call("GET", "k5") == b"v" * 100, "the others")
    return re.sub(r"^\S+Z +\w+ +", "", said)


def test_torn_tail_is_repaired():
    """What a crash left half-written at the end of the log was never acknowledged: cut, and the node comes back."""
    with Cluster() as c:
        with c.wait_leader().wire() as w:
            w.pipeline([("INCR", "n") for _ in range(500)])
        for n in c.nodes:
            n.kill(signal.SIGKILL)
        for n in c.nodes:
            n.start()
        c.wait_ready()
        expect(c.nodes[2].call("GET", "n") == b"500", "after the restart")
        c.wait_same_state()


def test_unreachable_is_refused_not_hung():
    """A connection to a port where nobody serves fails at once, and a dead node's port is free for its next start."""
    with Cluster() as c:
        node = c.followers()[0]
        node.kill()
        try:
            Wire(node.port, 2)
            expect(False, "somebody serves on a dead node's port")
        except Lost:
            pass
        node.start()
        c.wait_ready()
