"""Clients that look for the leader by themselves: those of Redis Cluster and of Redis Sentinel, through its death."""
import contextlib
import logging
import os
import shutil
import subprocess
import threading

from cluster import PATIENCE, Cluster, Unavailable, expect, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
NODE_MODULES = os.environ.get("HOLDFAST_NODE_MODULES", "/usr/share/nodejs")
SLOTS_LAST = 16383


def addresses_known(c):
    """Every node can name every other's client address."""
    return all(len(n.call("SENTINEL", "REPLICAS", "mymaster")) == len(c.nodes) - 1 for n in c.nodes)


@contextlib.contextmanager
def facade():
    with Cluster(cluster_facade="yes") as c:
        wait_for(lambda: addresses_known(c), 10, "all nodes know all addresses")
        yield c


def master_port(node):
    reply = node.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    return reply and int(reply[1])


def names_leader(c, leader):
    return all(master_port(n) == leader.port for n in c.nodes if n.alive())


def by_name(flat):
    words = [w.decode() for w in flat]
    return dict(zip(words[::2], words[1::2]))


def test_answers():
    """What each node says is the same, and true, before and after the leader's death."""
    with facade() as c:
        check_answers(c, c.wait_leader(), 2)
        dead = c.wait_leader()
        dead.kill()
        leader = c.wait_leader(not_node=dead)
        wait_for(lambda: names_leader(c, leader), 10, "all name the new leader")
        wait_for(lambda: all(len(slots(n)) == 4 for n in c.up()), 10, "the dead node is taken out")
        check_answers(c, leader, 1)


def test_switch_is_told():
    """Subscribers of +switch-master hear of the next leader, at every node that is left."""
    with Cluster() as c:
        wait_for(lambda: addresses_known(c), 10, "all nodes know all addresses")
        leader = c.wait_leader()
        wait_for(lambda: names_leader(c, leader), 10, "all name the leader")
        followers = c.followers()
        listeners = [n.wire(60 * PATIENCE) for n in followers]
        for w in listeners:
            expect(w.call("SUBSCRIBE", "+switch-master")[0] == b"subscribe", "SUBSCRIBE")
        leader.kill()
        for n, w in zip(followers, listeners):
            kind, channel, message = w.reply()
            words = message.decode().split()
            expect((kind, channel) == (b"message", b"+switch-master"), "%s said %s %s", n, kind, channel)
            expect(words[:3] == ["mymaster", "127.0.0.1", str(leader.port)], "%s said %s", n, words)
            expect(int(words[4]) in [f.port for f in followers], "%s said %s", n, words)
            w.close()


def slots(node):
    return node.call("CLUSTER", "SLOTS")[0]


def check_answers(c, leader, n_replicas):
    wait_for(lambda: names_leader(c, leader), 10, "all name the leader")
    for n in c.up():
        of = wait_for(lambda: slots(n), 10, "slots")
        expect([int(of[0]), int(of[1])] == [0, SLOTS_LAST], "slots %s", of)
        expect(int(of[2][1]) == leader.port, "%s has %s as master, not %s", n, of[2], leader)
        expect(len(of) - 3 == n_replicas, "%s names %d replicas", n, len(of) - 3)
        expect(n.info("cluster")["cluster_enabled"] == "1", "INFO says that there is no cluster")
        lines = n.call("CLUSTER", "NODES").decode().splitlines()
        masters = [l for l in lines if "master" in l.split()[2]]
        expect(len(masters) == 1 and ":%d@" % leader.port in masters[0], "CLUSTER NODES of %s: %s", n, lines)
        expect(masters[0].endswith(" 0-%d" % SLOTS_LAST), "CLUSTER NODES: %s", masters)
        master = by_name(n.call("SENTINEL", "MASTER", "mymaster"))
        expect(int(master["port"]) == leader.port and master["flags"] == "master", "SENTINEL MASTER: %s", master)
        expect(n.call("READONLY") == "OK" and n.call("SENTINEL", "CKQUORUM", "mymaster").startswith("OK"), "READONLY, CKQUORUM")


def test_python_sentinel():
    """redis-py's Sentinel finds the leader, and the next one when it dies."""
    try:
        from redis.exceptions import RedisError
        from redis.sentinel import Sentinel
    except ImportError:
        raise Unavailable("redis-py's Sentinel is not here")
    with facade() as c:
        leader = c.wait_leader()
        sentinel = Sentinel([("127.0.0.1", n.port) for n in c.nodes], socket_timeout=5 * PATIENCE)
        wait_for(lambda: sentinel.discover_master("mymaster")[1] == leader.port, 10, "the master is the leader")
        found = sorted(port for _, port in sentinel.discover_slaves("mymaster"))
        expect(found == sorted(n.port for n in c.followers()), "replicas %s", found)
        master, replica = sentinel.master_for("mymaster"), sentinel.slave_for("mymaster")
        expect(master.set("s", "1") is True and replica.get("s") == b"1", "through the master and a replica")
        leader.kill()

        def goes_on():
            try:
                return master.incr("s") > 1
            except RedisError:
                return False

        wait_for(goes_on, 15, "redis-py's Sentinel goes on with the next leader")
        after = c.wait_leader(not_node=leader)
        wait_for(lambda: sentinel.discover_master("mymaster")[1] == after.port, 10, "it finds the next leader")


def test_python_cluster():
    """redis-py's client of Redis Cluster goes on when the leader dies. That of 4.3 fails to look again by itself for a
    reason of its own (it cannot copy its settings): programs make a new one then, and so does this."""
    try:
        from redis.cluster import ClusterNode, RedisCluster
        from redis.exceptions import RedisClusterException, RedisError
    except ImportError:
        raise Unavailable("redis-py's cluster client is not here")
    logging.getLogger("redis").addHandler(logging.NullHandler())  # It tells of each failure with a stack trace.
    with facade() as c:
        leader = c.wait_leader()
        wait_for(lambda: names_leader(c, leader), 10, "all name the leader")

        def connect():
            nodes = [ClusterNode("127.0.0.1", n.port) for n in c.nodes]
            return RedisCluster(startup_nodes=nodes, socket_timeout=5 * PATIENCE)

        r = connect()
        expect(r.get_primaries()[0].port == leader.port, "its primary is the leader")
        expect(r.set("a", 1) is True and r.mset({"{a}b": 2, "{a}c": 3}) is True, "set, mset")
        expect(r.mget("a", "{a}b", "{a}c") == [b"1", b"2", b"3"], "mget")
        leader.kill()

        def goes_on():
            try:
                return r.incr("a") > 1
            except (RedisError, RedisClusterException):
                return False

        def goes_on_anew():
            nonlocal r
            try:
                if goes_on():
                    return True
                r = connect()
            except (RedisError, RedisClusterException):
                pass
            return False

        wait_for(goes_on_anew, 20, "redis-py's cluster client goes on with the next leader")
        after = c.wait_leader(not_node=leader)
        wait_for(lambda: names_leader(c, after), 10, "all name the next leader")
        expect(connect().get_primaries()[0].port == after.port, "its primary is the next leader")


class Counter:
    """A program in client_cluster.js: it counts up and tells."""

    def __init__(self, library, kind, ports):
        line = ["node", os.path.join(HERE, "client_cluster.js"), library, kind] + [str(p) for p in ports]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=dict(os.environ, NODE_PATH=NODE_MODULES), universal_newlines=True)
        self.count, self.complaints = 0, []
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.read, self.read_complaints)]
        for t in self.threads:
            t.start()

    def read(self):
        for line in self.process.stdout:
            self.count = int(line)

    def read_complaints(self):
        for line in self.process.stderr:
            self.complaints.append(line.strip())

    def wait_beyond(self, n, what):
        try:
            wait_for(lambda: self.count > n, 30, what)
        except AssertionError as e:
            raise type(e)("%s; it said %s" % (e, self.complaints[-5:]))

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for t in self.threads:
            t.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


def has_module(library, word):
    program = "process.exit(%s in require(%r) ? 0 : 1)" % (repr(word), library)
    return subprocess.run(["node", "-e", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=dict(os.environ, NODE_PATH=NODE_MODULES)).returncode == 0


def through_a_death(library, kind, word):
    if shutil.which("node") is None or not has_module(library, word):
        raise Unavailable("%s's %s client is not in %s (HOLDFAST_NODE_MODULES)" % (library, kind, NODE_MODULES))
    with facade() as c:
        leader = c.wait_leader()
        wait_for(lambda: names_leader(c, leader), 10, "all name the leader")
        counter = Counter(library, kind, [n.port for n in c.nodes])
        try:
            counter.wait_beyond(10, "%s counts" % library)
            leader.kill()
            after = c.wait_leader(not_node=leader)
            counter.wait_beyond(int(after.call("GET", "key")) + 10, "%s goes on with the next leader" % library)
        finally:
            counter.end()


def test_ioredis_cluster():
    through_a_death("ioredis", "cluster", "Cluster")


def test_ioredis_sentinel():
    through_a_death("ioredis", "sentinel", "Redis")


def test_node_redis_cluster():
    """Before node-redis 5, which has createSentinel, its cluster client went on dialling the dead node for ever."""
    through_a_death("redis", "cluster", "createSentinel")


def test_node_redis_sentinel():
    through_a_death("redis", "sentinel", "createSentinel")
