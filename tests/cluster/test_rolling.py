"""deploy/rolling-restart on a cluster under load."""
import os
import socket
import subprocess
import sys
import threading
import time

from cluster import HOLDFAST, PATIENCE, TOP, Cluster, expect
from load import Load

SCRIPT = os.path.join(TOP, "deploy", "rolling-restart")


class Starter(threading.Thread):
    """Stands for a supervisor: starts again a node that ended, once the script's command has asked for it."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.server = socket.create_server(("127.0.0.1", 0))
        self.codes = []

    def command(self):
        connect = "import os,socket,sys; s=socket.create_connection(('127.0.0.1',%d)); " % self.server.getsockname()[1]
        return [sys.executable, "-c", connect + "s.sendall(os.environ['HOLDFAST_NODE_ID'].encode()+b'\\n'); s.recv(1)"]

    def run(self):
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            node = self.cluster.nodes[int(peer.makefile().readline()) - 1]
            self.codes.append(node.wait_exit())
            node.start()
            peer.sendall(b"x")
            peer.close()


def test_rolling_restart_under_load():
    """Each client is with one node and goes on at it when it is back: no increment is lost or counted twice."""
    with Cluster() as c:
        starter = Starter(c)
        starter.start()
        with Load(c.nodes) as load:
            load.wait_done(10)
            done = subprocess.run([SCRIPT] + starter.command(), capture_output=True, text=True, check=False,
                                  timeout=120 * PATIENCE, env=dict(os.environ, HOLDFAST=HOLDFAST, HOLDFAST_NODES=c.addresses()))
            expect(done.returncode == 0, "the script: %s %s", done.stdout, done.stderr)
            load.wait_going_on(c.nodes, time.monotonic())
            load.stop()
        starter.server.close()
        expect(starter.codes == [0, 0, 0], "the nodes ended with %s", starter.codes)
        c.wait_ready()
        final = int(c.wait_leader().call("GET", "counter"))
        acknowledged, unknown = load.check(final)
    return "%s; %d increments, %d of unknown outcome" % (done.stdout.strip().splitlines()[-1], acknowledged, unknown)
