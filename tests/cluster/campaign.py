#!/usr/bin/python3
"""campaign.py [--seed N] [--minutes M] [--nodes N] [--faults PART] - clusters of real nodes, one after another, each with
five kinds of work going on while faults of every kind (or those with PART in their names) come and go, alone and two at a
time; then everything that clients were told is checked (history.py), and that all nodes hold the same. Ends with a table.
Exit code 1 when a check failed; the seed is printed.

A seed decides which faults come, to whom and for how long. What they meet is decided by the machine: the same seed makes
the same plan, not the same run."""
import argparse
import itertools
import random
import signal
import sys
import time
import traceback
from collections import Counter, namedtuple

import cluster
from cluster import Cluster, Failed, Unavailable, expect, wait_for
from clocks import Clock, library
from disks import DiskCluster, need_fuse
from history import KINDS, Pulse
from switch import SwitchedCluster
from workers import Threads

ROUNDS = 12  # Of faults, for each cluster.
EXIT_DISK = 4
DWELL_S = (0.2, 2.5)
SETTLED_S = 0.3
READY_S = 60


class DisklessCluster(Cluster):
    """Where there is no FUSE: the faults of disks are left out."""

    disks = {}


def cluster_class():
    try:
        need_fuse()
        base = DiskCluster
    except Unavailable:
        base = DisklessCluster

    class CampaignCluster(SwitchedCluster, base):
        def start(self):
            self.clocks = {}
            try:
                library()
                self.clocks = {n.id: Clock(n) for n in self.nodes}
            except Unavailable:
                pass
            return super().start()

    return CampaignCluster


class Stage:
    """One cluster under faults: who is disturbed now, and what chance decides."""

    def __init__(self, c, chance, faults):
        self.c, self.chance = c, chance
        self.faults = [f for f in faults if f.needs is None or getattr(c, f.needs)]
        self.busy = set()
        self.may_end = set()  # Nodes whose disks have failed, and who stop for it, now or a little later.

    def take(self, n, leader_first=0.5):
        """n nodes that no fault has yet, the leader among them more often than not."""
        free = [node for node in self.c.nodes if node not in self.busy]
        chosen = self.chance.sample(free, min(n, len(free)))
        leader = next((node for node in free if role(node) == "leader"), None)
        if leader is not None and chosen and leader not in chosen and self.chance.random() < leader_first:
            chosen[0] = leader
        self.busy |= set(chosen)
        return chosen

    def give_back(self, nodes):
        self.busy -= set(nodes)

    def watch(self):
        """Restart those who have stopped for a failed disk, as they should; nobody else may stop."""
        for node in self.c.nodes:
            if node.process is not None and not node.alive():
                code = node.wait_exit()
                expect(node in self.may_end and code == EXIT_DISK, "%s ended with %s: %s", node, code, node.log_text()[-300:])
                self.c.disk(node).heal()
                node.start()


def role(node):
    try:
        return node.info()["role"] if node.alive() and not node.paused else None
    except (cluster.Lost, cluster.ReplyError):
        return None


def end_with(stage, nodes, how, code):
    """The processes of these nodes, ended all at once, each with this code."""
    for n in nodes:
        n.process.send_signal(how)
    for n in nodes:
        got = n.wait_exit(30)
        expect(got == code or (n in stage.may_end and got == EXIT_DISK), "%s ended with %s: %s", n, got, n.log_text()[-300:])


# Each fault is a generator: it begins, says who is hit, and ends when it is asked on.


def kill(n_of, stage):
    nodes = stage.take(n_of(len(stage.c.nodes)))
    end_with(stage, nodes, signal.SIGKILL, -signal.SIGKILL)
    yield nodes
    for n in nodes:
        n.start()
    stage.give_back(nodes)


def drain(stage):
    """SIGTERM to one after another, each started again before the next."""
    done = []
    for n in stage.take(len(stage.c.nodes)):
        end_with(stage, [n], signal.SIGTERM, 0)
        n.start()
        done.append(n)
    yield done
    stage.give_back(done)


def hand_over(stage):
    """Leadership is asked to move, a few times in a row."""
    for _ in range(3):
        try:
            stage.chance.choice(stage.c.nodes).call("MEMBER", "TRANSFER", timeout=3)
        except (cluster.Lost, cluster.ReplyError):  # No leader now, or that node is down.
            pass
        time.sleep(0.2 * stage.chance.random())
    yield stage.c.nodes


def pause(n_of, stage):
    nodes = stage.take(n_of(len(stage.c.nodes)))
    for n in nodes:
        n.pause()
    yield nodes
    for n in nodes:
        n.resume()
    stage.give_back(nodes)


def power_cut(n_of, stage):
    nodes = stage.take(n_of(len(stage.c.nodes)))
    stage.c.power_cut(nodes, stage.chance)
    yield nodes
    for n in nodes:
        n.start()
    stage.give_back(nodes)


def sick_disk(how, stage):
    nodes = stage.take(1)
    for n in nodes:
        how(stage.c.disk(n), stage.chance)
    yield nodes
    for n in nodes:
        stage.c.disk(n).heal()
    stage.give_back(nodes)


def failing_disk(what, error, stage):
    nodes = stage.take(1, leader_first=0.7)
    stage.may_end |= set(nodes)
    for n in nodes:
        stage.c.disk(n).fail(error, what)
    yield nodes
    for n in nodes:
        stage.c.disk(n).heal()
    stage.give_back(nodes)


def links(disturb, stage):
    nodes = stage.chance.sample(stage.c.nodes, len(stage.c.nodes))
    leader = next((n for n in nodes if role(n) == "leader"), None)
    if leader is not None and stage.chance.random() < 0.5:
        nodes.remove(leader)
        nodes.insert(0, leader)
    hit = disturb(stage.c.switch, nodes, stage.chance)
    yield hit
    stage.c.switch.mend()


def cut_off(switch, nodes, chance):
    switch.cut(nodes[0].id)
    return nodes[:1]


def part(switch, nodes, chance):
    """A minority and a majority, neither of which hears the other."""
    n = (len(nodes) - 1) // 2
    for a, b in itertools.product(nodes[:n], nodes[n:]):
        switch.both_ways(a.id, b.id, hole=True)
    return nodes[:n]


def one_way_hole(switch, nodes, chance):
    for other in nodes[1:]:
        if chance.random() < 0.7:
            switch.link(*((other.id, nodes[0].id) if chance.random() < 0.5 else (nodes[0].id, other.id)), hole=True)
    return nodes[:1]


def slow(switch, nodes, chance):
    delay, jitter = chance.choice([(2, 5), (20, 30), (50, 200)])
    for a, b in itertools.permutations(nodes, 2):
        switch.link(a.id, b.id, delay_ms=delay, jitter_ms=jitter)
    return nodes


def lossy(switch, nodes, chance):
    for a, b in itertools.permutations(nodes, 2):
        switch.link(a.id, b.id, loss=chance.choice([0.01, 0.05, 0.2]), delay_ms=1, jitter_ms=3)
    return nodes


def breaking(switch, nodes, chance):
    for _ in range(8):
        a, b = chance.sample(nodes, 2)
        switch.reset(a.id, b.id)
        time.sleep(0.1 * chance.random())
    return nodes


def clock_jump(stage):
    hit = stage.chance.sample(stage.c.nodes, stage.chance.randrange(1, len(stage.c.nodes) + 1))
    for n in hit:
        stage.c.clocks[n.id].set(stage.chance.choice([-1, 1]) * stage.chance.choice([5, 3600, 86400 * 400]))
    yield hit


def one(n):
    return 1


def minority(n):
    return (n - 1) // 2


def majority(n):
    return n // 2 + 1


def everyone(n):
    return n


Fault = namedtuple("Fault", "name weight begin needs")
FAULTS = [
    Fault("kill one", 3, lambda s: kill(one, s), None),
    Fault("kill a minority", 2, lambda s: kill(minority, s), None),
    Fault("kill a majority", 2, lambda s: kill(majority, s), None),
    Fault("kill all", 1, lambda s: kill(everyone, s), None),
    Fault("rolling restart", 1, drain, None),
    Fault("leadership moves", 2, hand_over, None),
    Fault("stop one", 3, lambda s: pause(one, s), None),
    Fault("stop a majority", 1, lambda s: pause(majority, s), None),
    Fault("stop all", 1, lambda s: pause(everyone, s), None),
    Fault("power cut of one", 3, lambda s: power_cut(one, s), "disks"),
    Fault("power cut of a majority", 2, lambda s: power_cut(majority, s), "disks"),
    Fault("power cut of all", 3, lambda s: power_cut(everyone, s), "disks"),
    Fault("slow sync", 2, lambda s: sick_disk(lambda d, chance: d.slow(chance.choice([5, 50, 400])), s), "disks"),
    Fault("hung disk", 2, lambda s: sick_disk(lambda d, chance: d.slow(3600000, chance.choice(["sync", "write"])), s), "disks"),
    Fault("failing sync", 2, lambda s: failing_disk("sync", "EIO", s), "disks"),
    Fault("failing writes", 1, lambda s: failing_disk("write", "EIO", s), "disks"),
    Fault("full disk", 2, lambda s: failing_disk("write", "ENOSPC", s), "disks"),
    Fault("cut off", 3, lambda s: links(cut_off, s), None),
    Fault("two parts", 2, lambda s: links(part, s), None),
    Fault("one-way holes", 3, lambda s: links(one_way_hole, s), None),
    Fault("slow links", 2, lambda s: links(slow, s), None),
    Fault("lossy links", 2, lambda s: links(lossy, s), None),
    Fault("links that break", 2, lambda s: links(breaking, s), None),
    Fault("wall clocks jump", 3, clock_jump, "clocks"),
]


class Line:
    """One fault's line of the table."""

    def __init__(self):
        self.times, self.ops, self.pause = 0, Counter(), 0.0


class Table:
    def __init__(self):
        self.lines = {f.name: Line() for f in FAULTS}
        self.all = Line()
        self.checked = Counter()
        self.met = Counter()  # What the faults brought about.

    def add(self, names, ops, pause):
        for line in [self.lines[name] for name in names] + [self.all]:
            line.times += 1
            line.ops += ops
            line.pause = max(line.pause, pause)

    def text(self, verdict):
        row = "%-24s %6s %9s %9s %9s %9s"
        out = [row % ("fault", "times", "done", "refused", "unknown", "pause s")]
        for name, line in list(self.lines.items()) + [("all rounds", self.all)]:
            if line.times:
                out.append(row % (name, line.times, line.ops["done"], line.ops["not"], line.ops["unknown"], "%.2f" % line.pause))
        for title, counts in (("checked", self.checked), ("met", self.met)):
            out.append(title + ": " + ", ".join("%d %s" % (n, what) for what, n in counts.items()))
        out.append("verdict: " + verdict)
        return "\n".join(out)


def choose(stage, n):
    chosen = []
    while len(chosen) < min(n, len(stage.faults)):
        f = stage.chance.choices(stage.faults, [f.weight for f in stage.faults])[0]
        if f not in chosen:
            chosen.append(f)
    return chosen


def one_round(stage, pulse, say):
    """One or two faults, and what it takes until everyone is served again. (names, what to tell)"""
    chosen = choose(stage, 1 if stage.chance.random() < 0.5 else 2)
    began, before = time.monotonic(), pulse.counts()
    names, running, told = [], [], []
    for f in chosen:
        stage.watch()
        fault = f.begin(stage)
        hit = next(fault)
        running.append(fault)
        if hit:  # There may be nobody left for a second one.
            names.append(f.name)
            told.append("%s (%s)" % (f.name, " ".join(str(n.id) for n in hit)))
        time.sleep(stage.chance.uniform(*DWELL_S))
    stage.chance.shuffle(running)
    for fault in running:
        next(fault, None)
    settle(stage)
    wait_for(lambda: pulse.times and time.monotonic() - pulse.times[-1] < SETTLED_S, READY_S, "answers after %s" % told)
    pause = pulse.longest_pause(began, time.monotonic())
    say("  %-60s pause %.2f s" % (" + ".join(told), pause))
    return names, pulse.counts() - before, pause


def settle(stage):
    """Everyone up, linked and serving. Who stops late for a disk that failed is started again."""

    def ready():
        stage.watch()
        try:
            stage.c.wait_ready(0)
        except Failed:
            return False
        return True

    wait_for(ready, READY_S, "all nodes to serve after the faults")


def one_cluster(seed, n, rounds, table, say, faults):
    """A cluster with its own seed; raises Failed when a check did."""
    chance = random.Random(seed)
    pulse = Pulse()
    with cluster_class()(n=n) as c:
        stage = Stage(c, chance, faults)
        threads = Threads(seed)
        works = [kind(c.nodes, pulse) for kind in KINDS]
        for work in works:
            work.start(threads, threads.stopping)
        wait_for(lambda: pulse.counts()["done"] > 50, 20, "work to begin")
        for _ in range(rounds):
            table.add(*one_round(stage, pulse, say))
            if threads.stopping.is_set():
                break
        threads.stopping.set()
        threads.join(120)
        for work in works:
            number, what = work.check(c.wait_leader()).split(" ", 1)
            table.checked[what] += int(number)
        c.wait_same_state(60)
        table.met += met(c)


def met(c):
    """What nodes and disks tell of themselves."""
    logs = [n.log_text() for n in c.nodes]
    seen = Counter({"starts": sum(text.count("serves clients on") for text in logs),
                    "snapshots installed": sum(text.count("installed the snapshot") for text in logs)})
    for disk in c.disks.values():
        counters = disk.counters()
        seen["failed disk calls"] += counters["failed"]
        seen["power cuts"] += counters["cuts"]
        for what in ("pages", "sizes", "names"):
            seen["%s lost" % what] += counters[what]
        seen["pages torn"] += counters["torn"]
    return seen


def run(seed, clusters, table, say, faults=tuple(FAULTS)):
    """clusters: pairs of (number of nodes, rounds), as many as there is time for. None, or the failure in words."""
    for i, (n, rounds) in enumerate(clusters):
        say("cluster %d: %d nodes, seed %d" % (i + 1, n, seed + i))
        try:
            one_cluster(seed + i, n, rounds, table, say, faults)
        except Failed as e:
            return "seed %d, %d nodes: %s" % (seed + i, n, e)
    return None


def until(end, nodes):
    for n in itertools.cycle([nodes] if nodes else (3, 3, 5)):
        if time.monotonic() > end:
            return
        yield n, ROUNDS


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seed", type=int, default=cluster.SEED)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--nodes", type=int, choices=(3, 5), default=0)
    parser.add_argument("--faults", default="")
    given = parser.parse_args()
    faults = [f for f in FAULTS if given.faults in f.name]
    if not faults:
        parser.error("no fault's name has '%s' in it" % given.faults)
    table = Table()
    say = lambda text: print(text, flush=True)
    try:
        failure = run(given.seed, until(time.monotonic() + 60 * given.minutes, given.nodes), table, say, faults)
    except Exception:
        failure = traceback.format_exc()
    print(table.text("everything holds" if failure is None else "FAILED: " + failure))
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())
