"""The members change while the cluster serves."""
import shutil
import signal
import time

from cluster import Cluster, expect, wait_for
from load import Load
from members import change, insist, voters, wait_voters

EXIT_EXPELLED = 6


def test_a_node_joins():
    """By any member: it catches up, becomes a voter, keeps all through a restart without --join."""
    with Cluster() as c:
        c.nodes[0].call("SET", "k", "v")
        new = c.newcomer(4).join(c.followers()[0])
        wait_voters(c, [1, 2, 3, 4])
        wait_for(lambda: new.call("GET", "k") == b"v", 10, "a read by the new node")
        expect(new.call("SET", "k", "w") == "OK", "a write by the new node")
        expect(new.kill(signal.SIGTERM) == 0, "an orderly end")
        new.start()
        wait_for(lambda: new.call("GET", "k") == b"w", 15, "a read after a restart")
        wait_voters(c, [1, 2, 3, 4])


def test_a_learner_stays_one():
    with Cluster() as c:
        new = c.newcomer(4).join(c.nodes[0], learner="yes")
        wait_for(lambda: new.call("SET", "k", "v") == "OK", 15, "a write by the learner")
        expect(voters(c.nodes[0]) == [1, 2, 3], "a learner became a voter by itself")
        insist(c, "PROMOTE", 4)
        wait_voters(c, [1, 2, 3, 4])
        insist(c, "DEMOTE", 4)
        wait_voters(c, [1, 2, 3])
        new.kill()
        new.start()
        wait_for(lambda: new.call("GET", "k") == b"v", 15, "a read by the learner")
        expect(voters(c.nodes[0]) == [1, 2, 3], "a demoted node took its vote back")


def test_a_removed_node_ends():
    """Told, when it runs; and when it was down, as soon as it comes back. The leader hands over first."""
    with Cluster() as c:
        leader = c.wait_leader()
        asked = c.followers()[0]
        answer = change(asked, "REMOVE", leader.id)
        expect(answer["id"] == leader.id, "it answers %s", answer)
        expect(leader.wait_exit() == EXIT_EXPELLED, "the removed leader ended otherwise")
        expect("was removed from its cluster" in leader.log_text(), "its log does not say so")
        c.wait_leader()
        expect(asked.call("SET", "k", "v") == "OK", "the two that are left")
        leader.start()
        expect(leader.wait_exit() == EXIT_EXPELLED, "it came back")
        shutil.rmtree(leader.dir)
        leader.start()
        expect(leader.wait_exit() == EXIT_EXPELLED, "it came back as if the cluster were to begin")


def grow_and_shrink(c, load):
    """3 -> 5 -> 3; the nodes that are left."""
    fourth = c.newcomer(4).join(c.nodes[0])
    wait_voters(c, [1, 2, 3, 4])
    fifth = c.newcomer(5).join(fourth)
    wait_voters(c, [1, 2, 3, 4, 5])
    fifth.kill()
    fifth.start()
    dead = c.wait_leader()
    dead.kill()
    insist(c, "REMOVE", dead.id)
    leaves = c.wait_leader()
    insist(c, "REMOVE", leaves.id)
    expect(leaves.wait_exit() == EXIT_EXPELLED, "%s was removed", leaves)
    left = [n for n in c.nodes if n.process is not None]
    wait_voters(c, [n.id for n in left])
    load.wait_going_on([n for n in left if n in c.founders], time.monotonic())
    return left


def test_three_five_three_under_load():
    """Two nodes join, one of them is killed, the leader is killed and removed, the next leader is removed. All the time
    clients count: nothing acknowledged is lost, nothing is counted twice."""
    with Cluster() as c:
        with Load(c.nodes, per_node=2) as load:
            load.wait_done(20)
            left = grow_and_shrink(c, load)
            load.stop()
        expect(len(left) == 3, "members left: %s", left)
        final = wait_for(lambda: int(left[-1].call("GET", "counter")), 15, "the counter")
        done, unknown = load.check(final)
    return "%d increments, %d of unknown outcome" % (done, unknown)
