"""network.py - a cluster whose nodes are machines of their own as far as the network goes: each in a network namespace, with
one link for clients and one for peers that can be cut and mended. Needs root; everything is private to this process and
gone with it."""
import ctypes
import os
import subprocess

from cluster import Cluster, Node, Unavailable, die_with_parent, expect

CLONE_NEWNET = 0x40000000
CLIENT_NET, PEER_NET = "10.77.0.%d", "10.78.0.%d"
PORT, PEER_PORT = 7401, 7501
libc = ctypes.CDLL(None, use_errno=True)


def run(*line):
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Unavailable("%s: %s" % (" ".join(line), done.stdout.decode("utf-8", "replace").strip()))


class SplitCluster(Cluster):
    """The calling thread, and what it starts, live in a fresh namespace between __enter__ and __exit__."""

    def __enter__(self):
        self.outside = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.anchors = []
        try:
            if libc.unshare(CLONE_NEWNET) != 0:
                raise Unavailable("unshare: %s" % os.strerror(ctypes.get_errno()))
            self.build_network()
            return super().__enter__()
        except BaseException:
            self.leave()
            raise

    def __exit__(self, *how):
        try:
            super().__exit__(*how)
        finally:
            self.leave()

    def make_nodes(self, n):
        return [Node(self, i, PORT, PEER_PORT, CLIENT_NET % i, PEER_NET % i) for i in range(1, n + 1)]

    def build_network(self):
        run("ip", "link", "set", "lo", "up")
        for bridge in ("clients", "peers"):
            run("ip", "link", "add", bridge, "type", "bridge")
            run("ip", "link", "set", bridge, "up")
        run("ip", "addr", "add", CLIENT_NET % 254 + "/24", "dev", "clients")
        for node in self.nodes:
            # A process that does nothing holds the namespace, so that the node may die and come back in it.
            anchor = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      preexec_fn=die_with_parent)
            self.anchors.append(anchor)
            expect(anchor.stdout.readline() == b"\n", "the namespace of %s did not come up", node)
            node.prefix = ["nsenter", "-t", str(anchor.pid), "-n"]
            run(*node.prefix, "ip", "link", "set", "lo", "up")
            self.join_network(node, anchor.pid, "clients", "c%d" % node.id, node.host)
            self.join_network(node, anchor.pid, "peers", "p%d" % node.id, node.peer_host)

    def join_network(self, node, pid, bridge, link, address):
        run("ip", "link", "add", link, "type", "veth", "peer", "name", bridge[0] + "0", "netns", str(pid))
        run("ip", "link", "set", link, "master", bridge)
        run("ip", "link", "set", link, "up")
        run(*node.prefix, "ip", "addr", "add", address + "/24", "dev", bridge[0] + "0")
        run(*node.prefix, "ip", "link", "set", bridge[0] + "0", "up")

    def leave(self):
        for anchor in self.anchors:
            anchor.kill()
            anchor.wait()
            anchor.stdin.close()
            anchor.stdout.close()
        libc.setns(self.outside, CLONE_NEWNET)
        os.close(self.outside)

    def cut(self, node):
        """No packet goes between this node and the others any more, and nobody is told."""
        run("ip", "link", "set", "p%d" % node.id, "nomaster")

    def mend(self, node):
        run("ip", "link", "set", "p%d" % node.id, "master", "peers")

    def mute(self, node, other):
        """No packet from this node reaches the other any more; the way back stays open."""
        run(*node.prefix, "ip", "route", "add", "blackhole", other.peer_host + "/32")

    def unmute(self, node, other):
        run(*node.prefix, "ip", "route", "del", "blackhole", other.peer_host + "/32")
