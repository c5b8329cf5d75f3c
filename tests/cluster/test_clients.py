"""The client libraries people use, unchanged, through every node. A library that is not installed is skipped aloud."""
import os
import shutil
import subprocess
import tempfile
import threading
import time

from cluster import PATIENCE, TOP, Cluster, expect

HERE = os.path.dirname(os.path.abspath(__file__))
DEBIAN_NODE_MODULES = "/usr/share/nodejs"


def run(line, **options):
    """Run a program; its output. Fails with the output when the program does."""
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120 * PATIENCE, **options)
    text = done.stdout.decode("utf-8", "replace")
    expect(done.returncode == 0, "%s ended with %d: %s", os.path.basename(line[0]), done.returncode, text[-600:])
    return text


def python_redis(port, **options):
    import redis
    r = redis.Redis(port=port, socket_timeout=10, **options)
    r.delete("py:s", "py:n", "py:f", "py:ttl")
    expect(r.ping() is True, "ping")
    expect(r.set("py:s", b"\x00\xff") is True and r.get("py:s") == b"\x00\xff", "binary")
    expect(r.get("py:none") is None, "a missing key")
    expect([r.incr("py:n") for _ in range(5)] == [1, 2, 3, 4, 5], "incr")
    expect(r.incrbyfloat("py:f", 10.5) == 10.5, "incrbyfloat")
    expect(r.set("py:ttl", "x", px=60000, nx=True) is True and r.set("py:ttl", "y", nx=True) is None, "set nx")
    expect(0 < r.pttl("py:ttl") <= 60000 and r.persist("py:ttl") and r.ttl("py:ttl") == -1, "ttl")
    expect(r.mget("py:s", "py:none", "py:n") == [b"\x00\xff", None, b"5"], "mget")
    expect(sorted(r.scan_iter("py:*")) == [b"py:f", b"py:n", b"py:s", b"py:ttl"], "scan")
    expect(r.info("server")["redis_version"].startswith("7.2"), "info")
    expect(r.exists("py:s", "py:n", "py:none") == 2 and r.type("py:s") == b"string", "exists, type")
    try:
        r.incr("py:s")
        expect(False, "incr of a text")
    except redis.ResponseError as e:
        expect("not an integer" in str(e), "incr of a text: %s", e)
    p = r.pipeline(transaction=False)
    for _ in range(500):
        p.incr("py:n")
    expect(p.execute() == list(range(6, 506)), "pipeline")
    python_redis_transactions(redis, r)
    r.close()


def python_redis_transactions(redis, r):
    """Its own ways with WATCH, and its lock, which is made of scripts."""
    r.delete("py:t", "py:lock")

    def grow(pipe):
        n = int(pipe.get("py:t") or 0)
        pipe.multi()
        pipe.set("py:t", n + 1)

    for _ in range(3):
        r.transaction(grow, "py:t")
    expect(r.get("py:t") == b"3", "transaction")
    with r.pipeline() as p:
        p.watch("py:t")
        r.set("py:t", 9)
        p.multi()
        p.incr("py:t")
        try:
            p.execute()
            expect(False, "a watched key had changed")
        except redis.WatchError:
            pass
    lock, other = r.lock("py:lock", timeout=20), r.lock("py:lock", timeout=20, blocking_timeout=0.01)
    expect(lock.acquire() and not other.acquire(), "lock")
    expect(lock.extend(10) and lock.reacquire() and lock.owned(), "lock is kept")
    try:
        other.local.token = b"not mine"
        other.release()
        expect(False, "another's lock was released")
    except redis.exceptions.LockNotOwnedError:
        pass
    lock.release()
    expect(other.acquire(), "lock is free")
    other.release()
    script = r.register_script("return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}")
    expect(script(keys=["py:t"], args=[5]) == [b"py:t", b"5", b"9"], "script")
    r.delete("py:t", "py:lock")


def python_redis_variants():
    """Ways for redis-py to talk: its parsers in Python and in C while those could be chosen, RESP2 and RESP3 since then."""
    import redis
    named = [getattr(redis.connection, name, None) for name in ("PythonParser", "HiredisParser")]
    if all(named):
        return [dict(parser_class=p) for p in named]
    return [dict(protocol=2), dict(protocol=3)]


def test_python_redis():
    import redis
    with Cluster() as c:
        for n in c.nodes:
            for variant in python_redis_variants():
                python_redis(n.port, connection_pool=redis.ConnectionPool(port=n.port, socket_timeout=10, **variant))
    return "redis-py %s" % redis.__version__


def test_python_redis_pool_over_a_kill():
    """A program with a connection pool on two nodes, whose leader dies: the surviving node's connections all go on."""
    import redis
    with Cluster() as c:
        leader = c.wait_leader()
        others = [n for n in c.nodes if n is not leader]
        counts, errors = [], []

        def work(port):
            r = redis.Redis(port=port, socket_timeout=10)
            try:
                for _ in range(300):
                    r.incr("pool")
                    time.sleep(0.001)
                    counts.append(1)
            except redis.RedisError as e:
                errors.append(repr(e))

        threads = [threading.Thread(target=work, args=(n.port,)) for n in others for _ in range(4)]
        for t in threads:
            t.start()
        leader.kill()
        for t in threads:
            t.join()
        expect(not errors, "redis-py saw %s", errors[:1])
        expect(int(others[0].call("GET", "pool")) == len(counts) == 300 * len(threads), "pool counts")


def test_redis_cli():
    with Cluster() as c:
        for n in c.nodes:
            cli = ["redis-cli", "-p", str(n.port)]
            expect(run(cli + ["SET", "cli", "hello"]).strip() == "OK", "SET")
            expect(run(cli + ["GET", "cli"]).strip() == "hello", "GET")
            expect(run(cli + ["-3", "GET", "cli"]).strip() == "hello", "GET over RESP3")
            expect("ERR unknown command" in run(cli + ["NOSUCH"]), "an unknown command")
            expect("redis_version:7.2" in run(cli + ["INFO"]), "INFO")
            pipe = b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\nm:%d\r\n$1\r\nv\r\n" % (len("m:%d" % i), i) for i in range(2000))
            expect("errors: 0, replies: 2000" in run(cli + ["--pipe"], input=pipe), "redis-cli --pipe")
            expect(len(run(cli + ["--scan", "--pattern", "m:*"]).split()) == 2000, "redis-cli --scan")
            expect("cli" in run(cli, input=b"EXISTS cli\nKEYS c?i\n"), "an interactive session")


def test_redis_benchmark():
    with Cluster() as c:
        for n in c.nodes:
            text = run(["redis-benchmark", "-p", str(n.port), "-n", "3000", "-c", "20", "-q", "-t", "ping,set,get,incr,mset"])
            text += run(["redis-benchmark", "-p", str(n.port), "-n", "3000", "-c", "10", "-P", "16", "-q", "-t", "set,get", "-r", "1000"])
            expect("rror" not in text, "redis-benchmark says: %s", text)
        c.wait_same_state()


def test_hiredis():
    scratch = tempfile.mkdtemp(prefix="holdfast-test-")
    try:
        program = os.path.join(scratch, "client_hiredis")
        run(["cc", "-std=c11", "-Wall", "-o", program, os.path.join(HERE, "client_hiredis.c"), "-lhiredis"])
        with Cluster() as c:
            for n in c.nodes:
                run([program, str(n.port)])
    finally:
        shutil.rmtree(scratch)


def test_node_redis():
    if shutil.which("node") is None or not os.path.isdir(os.path.join(DEBIAN_NODE_MODULES, "redis")):
        return "skipped: Debian's node-redis is not here"
    with Cluster() as c:
        for n in c.nodes:
            run(["node", os.path.join(HERE, "client_node.js"), str(n.port)], env=dict(os.environ, NODE_PATH=DEBIAN_NODE_MODULES))


def test_holdfast_cli():
    """The command line's answers and exit codes, against a whole and a halved cluster."""
    from cluster import HOLDFAST
    if not os.access(HOLDFAST, os.X_OK):
        expect(False, "%s is not there", os.path.relpath(HOLDFAST, TOP))
    with Cluster() as c:
        line = [HOLDFAST, "--nodes", c.addresses()]
        text = run(line + ["status"])
        expect("leader" in text, "status: %s", text)
        for n in c.nodes:  # Whichever node is named, the whole cluster is shown.
            text = run([HOLDFAST, "--nodes", "127.0.0.1:%d" % n.port, "status"])
            expect("3 of 3 nodes up, leader n" in text and "!" not in text, "status through one node: %s", text)
        for n in c.followers():
            n.kill()
        done = subprocess.run(line + ["status"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        expect(done.returncode != 0, "status of a cluster without a majority exits with 0")
