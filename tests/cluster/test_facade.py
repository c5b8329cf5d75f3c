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


def named(c):
    """The leader, once all who live name it. A busy machine may elect another at any time, so whoever compares asks again."""
    def agreed():
        leader = c.leader()
        return leader is not None and all(master_port(n) == leader.port for n in c.up()) and leader
    return wait_for(agreed, 15, "all name the leader")


def by_name(flat):
    words = [w.decode() for w in flat]
    return dict(zip(words[::2], words[1::2]))


def answers(node):
    """What a node says of the cluster: the master's port by each way of asking, and how many replicas there are. None
    while it names no master."""
    shards = node.call("CLUSTER", "SLOTS")
    lines = [line.split() for line in node.call("CLUSTER", "NODES").decode().splitlines()]
    masters = [line for line in lines if "master" in line[2]]
    if not shards or not masters:
        return None
    shard = shards[0]
    expect([int(shard[0]), int(shard[1])] == [0, SLOTS_LAST], "slots %s", shard)
    expect(len(masters) == 1 and masters[0][-1] == "0-%d" % SLOTS_LAST, "CLUSTER NODES: %s", lines)
    sentinel = by_name(node.call("SENTINEL", "MASTER", "mymaster"))
    expect(sentinel["flags"].startswith("master"), "SENTINEL MASTER: %s", sentinel)
    ports = [int(shard[2][1]), int(masters[0][1].split(":")[1].split("@")[0]), int(sentinel["port"])]
    return ports, len(shard) - 3


def all_answer(c, n_replicas):
    leader = c.leader()
    return leader is not None and all(answers(n) == ([leader.port] * 3, n_replicas) for n in c.up())


def test_answers():
    """What each node says is the same, and true, before and after the leader's death."""
    with facade() as c:
        wait_for(lambda: all_answer(c, 2), 15, "all nodes say the same of three")
        for n in c.nodes:
            expect(n.info("cluster")["cluster_enabled"] == "1", "INFO says that there is no cluster")
            expect(n.call("READONLY") == "OK", "READONLY")
        named(c).kill()
        wait_for(lambda: all_answer(c, 1), 15, "all nodes say the same of two")
        for n in c.up():
            wait_for(lambda: n.call("SENTINEL", "CKQUORUM", "mymaster").startswith("OK 2 "), 10, "CKQUORUM")


def subscribed_to_switches(node):
    w = node.wire(60 * PATIENCE)
    expect(w.call("SUBSCRIBE", "+switch-master")[0] == b"subscribe", "SUBSCRIBE")
    return w


def hear_of_end(w, port):
    """Messages up to the one that tells of the end of this master; the port of the next one."""
    while True:
        reply = w.reply()
        expect(reply[:2] == [b"message", b"+switch-master"], "heard %s", reply)
        words = reply[2].decode().split()
        expect([words[0], words[1], words[3]] == ["mymaster", "127.0.0.1", "127.0.0.1"], "heard %s", words)
        if int(words[2]) == port:
            return int(words[4])


def test_switch_is_told():
    """Subscribers of +switch-master hear of the next leader, at every node that is left."""
    with Cluster() as c:
        wait_for(lambda: addresses_known(c), 10, "all nodes know all addresses")
        listeners = {n: subscribed_to_switches(n) for n in c.nodes}
        leader = named(c)
        leader.kill()
        listeners.pop(leader).close()
        for n, w in listeners.items():
            port = hear_of_end(w, leader.port)
            expect(port in [o.port for o in listeners], "%s heard of port %d", n, port)
            w.close()


def test_python_sentinel():
    """redis-py's Sentinel finds the leader, and the next one when it dies."""
    try:
        from redis.exceptions import RedisError
        from redis.sentinel import Sentinel
    except ImportError:
        raise Unavailable("redis-py's Sentinel is not here")
    with facade() as c:
        sentinel = Sentinel([("127.0.0.1", n.port) for n in c.nodes], socket_timeout=5 * PATIENCE)

        def finds(n_replicas):
            try:
                master = sentinel.discover_master("mymaster")[1]
                replicas = [port for _, port in sentinel.discover_slaves("mymaster")]
            except RedisError:
                return False  # Nobody leads.
            return master == named(c).port and len(replicas) == n_replicas and master not in replicas

        wait_for(lambda: finds(2), 15, "it finds the leader")
        master, replica = sentinel.master_for("mymaster"), sentinel.slave_for("mymaster")
        expect(master.set("s", "1") is True and replica.get("s") == b"1", "through the master and a replica")
        named(c).kill()

        def goes_on():
            try:
                return master.incr("s") > 1
            except RedisError:
                return False

        wait_for(goes_on, 15, "redis-py's Sentinel goes on with the next leader")
        wait_for(lambda: finds(1), 15, "it finds the next leader")


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
        def connect():
            nodes = [ClusterNode("127.0.0.1", n.port) for n in c.nodes]
            return RedisCluster(startup_nodes=nodes, socket_timeout=5 * PATIENCE)

        def finds_leader():
            try:
                return connect().get_primaries()[0].port == named(c).port
            except (RedisError, RedisClusterException):
                return False  # Nobody leads.

        wait_for(finds_leader, 15, "its primary is the leader")
        r = connect()
        expect(r.set("a", 1) is True and r.mset({"{a}b": 2, "{a}c": 3}) is True, "set, mset")
        expect(r.mget("a", "{a}b", "{a}c") == [b"1", b"2", b"3"], "mget")
        named(c).kill()

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
        wait_for(finds_leader, 15, "its primary is the next leader")


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
        counter = Counter(library, kind, [n.port for n in c.nodes])
        try:
            counter.wait_beyond(10, "%s counts" % library)
            named(c).kill()
            count = wait_for(lambda: int(c.up()[0].call("GET", "key")), 15, "the count")
            counter.wait_beyond(count + 10, "%s goes on with the next leader" % library)
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
