#!/usr/bin/python3
"""switch.py - the wires between nodes: every link between two nodes goes through this process, which makes them slow, lossy,
deaf in one direction, or breaks them.

Peers speak over TCP, so what is lost in the network shows as bytes that come late: a lost packet stalls its connection
for a retransmission, a cut holds everything back, silently, until it is mended. Bytes of one connection keep their order.

Run by itself it is that process: told its ports in the arguments (node=listen:target ...), then one JSON object a line:
  {"from": 1, "to": 2, "delay_ms": 20, "jitter_ms": 50, "loss": 0.05, "hole": true}   how it is from now on
  {"reset": [1, 2]}   connections between these two end at once
It answers each with a line when it is so. SwitchedCluster is a cluster over it."""
import asyncio
import collections
import json
import os
import random
import signal
import struct
import subprocess
import sys

from cluster import SEED, Cluster, Node, die_with_parent, free_ports

# Of a peer's greeting (docs/PROTOCOL.md): who dials. Its layout is the same in every version.
GREETING_FROM = struct.Struct("<8x24xQ")
QUEUE_BYTES_MAX = 4 << 20
# A lost packet is sent again after this, and again after twice the time.
RETRANSMIT_S = 0.2
RETRANSMITS_MAX = 3
PERFECT = dict(delay_ms=0, jitter_ms=0, loss=0, hole=False)


class Pipe:
    """One direction of one connection: what came and is on its way, in order."""

    def __init__(self, switch, source, target):
        self.switch, self.ends = switch, (source, target)
        self.queue = collections.deque()  # (when it is there, bytes; None: the end)
        self.queued = 0
        self.last_due = 0.0
        self.writer = self.reader = None
        self.timer = None

    def rule(self):
        return self.switch.rules[self.ends]

    def put(self, data):
        rule, chance = self.rule(), self.switch.chance
        late = (rule["delay_ms"] + chance.random() * rule["jitter_ms"]) / 1000
        for i in range(RETRANSMITS_MAX):
            if chance.random() >= rule["loss"]:
                break
            late += RETRANSMIT_S * 2 ** i
        self.last_due = max(self.last_due, self.switch.loop.time() + late)
        self.queue.append((self.last_due, data))
        self.queued += len(data or b"")
        if self.queued > QUEUE_BYTES_MAX:
            self.reader.pause_reading()
        self.pump()

    def pump(self):
        """Pass on what is due, and come back for the rest."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.writer is not None and self.writer.is_closing():
            self.queue.clear()
        while self.queue and self.writer is not None and not self.rule()["hole"]:
            due, data = self.queue[0]
            if due > self.switch.loop.time():
                self.timer = self.switch.loop.call_at(due, self.pump)
                return
            self.queue.popleft()
            if data is None:
                self.writer.close()
                return
            self.queued -= len(data)
            self.writer.write(data)
        if self.queued <= QUEUE_BYTES_MAX and self.reader is not None and not self.reader.is_closing():
            self.reader.resume_reading()


class Far(asyncio.Protocol):
    """The end at the node that was dialled."""

    def __init__(self, near):
        self.near = near

    def connection_made(self, transport):
        self.near.far = transport
        self.near.back.reader = self.near.forth.writer = transport
        self.near.forth.pump()

    def data_received(self, data):
        self.near.back.put(data)

    def connection_lost(self, error):
        self.near.ended(self.near.back)


class Near(asyncio.Protocol):
    """The end at the node that dials, and with it the connection."""

    def __init__(self, switch, target):
        self.switch, self.target = switch, target
        self.source = None
        self.greeting = b""
        self.far = None
        self.forth = self.back = None
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if self.source is not None:
            self.forth.put(data)
            return
        self.greeting += data
        if len(self.greeting) >= GREETING_FROM.size:
            self.know_source(GREETING_FROM.unpack_from(self.greeting)[0])

    def know_source(self, source):
        if (source, self.target) not in self.switch.rules:
            self.transport.abort()
            return
        self.source = source
        self.forth = Pipe(self.switch, source, self.target)
        self.back = Pipe(self.switch, self.target, source)
        self.forth.reader = self.back.writer = self.transport
        self.switch.links.add(self)
        self.forth.put(self.greeting)
        self.switch.loop.create_task(self.dial())

    async def dial(self):
        try:
            await self.switch.loop.create_connection(lambda: Far(self), "127.0.0.1", self.switch.targets[self.target])
        except OSError:  # That node is down.
            self.break_off()

    def connection_lost(self, error):
        if self.source is not None:
            self.ended(self.forth)

    def ended(self, pipe):
        """One end has closed: the other hears of it when what was on its way has arrived, if the way is open."""
        other = self.far if pipe is self.forth else self.transport
        if other is None or other.is_closing():
            self.switch.links.discard(self)
        else:
            pipe.put(None)

    def break_off(self):
        for end in (self.transport, self.far):
            if end is not None:
                end.abort()
        self.switch.links.discard(self)


class SwitchProcess:
    def __init__(self, seed, ports):
        self.chance = random.Random(seed)
        self.listens = {node: listen for node, (listen, _) in ports.items()}
        self.targets = {node: target for node, (_, target) in ports.items()}
        self.rules = {(a, b): dict(PERFECT) for a in ports for b in ports if a != b}
        self.links = set()
        self.loop = None

    async def run(self):
        self.loop = asyncio.get_running_loop()
        for node, port in self.listens.items():
            await self.loop.create_server(lambda node=node: Near(self, node), "127.0.0.1", port)
        reader = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print("ready", flush=True)
        while line := await reader.readline():
            self.obey(json.loads(line))
            print("done", flush=True)

    def obey(self, order):
        if "reset" in order:
            for link in [l for l in self.links if {l.source, l.target} == set(order["reset"])]:
                link.break_off()
            return
        ends = (order.pop("from"), order.pop("to"))
        self.rules[ends] = dict(PERFECT, **order)
        for link in list(self.links):
            for pipe in (link.forth, link.back):
                if pipe.ends == ends:
                    pipe.pump()


class Switch:
    """The process, as its owner sees it."""

    def __init__(self, ports, seed=SEED):
        line = [sys.executable, os.path.abspath(__file__), str(seed)]
        line += ["%d=%d:%d" % (node, listen, target) for node, (listen, target) in ports.items()]
        self.nodes = list(ports)
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: die_with_parent(signal.SIGKILL))
        self.process.stdout.readline()

    def tell(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def link(self, source, target, **how):
        """How it is from one node to another, this way only; without anything: perfect."""
        self.tell(**{"from": source, "to": target}, **how)

    def both_ways(self, a, b, **how):
        self.link(a, b, **how)
        self.link(b, a, **how)

    def cut(self, node):
        for other in self.nodes:
            if other != node:
                self.both_ways(node, other, hole=True)

    def reset(self, a, b):
        self.tell(reset=[a, b])

    def mend(self):
        for a in self.nodes:
            for b in self.nodes:
                if a != b:
                    self.link(a, b)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class SwitchedCluster(Cluster):
    """Members are known by addresses of the switch; each node listens where only the switch knows."""

    switch = None

    def make_nodes(self, n):
        ports = free_ports(3 * n)
        nodes = [Node(self, i + 1, ports[i], ports[n + i]) for i in range(n)]
        for node, port in zip(nodes, ports[2 * n:]):
            node.peer_listen = "127.0.0.1:%d" % port
        self.ports = {node.id: (node.peer_port, port) for node, port in zip(nodes, ports[2 * n:])}
        return nodes

    def start(self):
        self.switch = Switch(self.ports)
        return super().start()

    def end_processes(self):
        if self.switch is not None:
            self.switch.close()
        return super().end_processes()


def main():
    ports = {}
    for word in sys.argv[2:]:
        node, _, pair = word.partition("=")
        ports[int(node)] = tuple(int(p) for p in pair.split(":"))
    try:
        asyncio.run(SwitchProcess(int(sys.argv[1]), ports).run())
    except BrokenPipeError:
        pass


if __name__ == "__main__":
    main()
