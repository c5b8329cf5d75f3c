"""A node that lost its disk, or got an older one back, must not take part under its old id: it has forgotten what it voted
for and what it acknowledged."""
import os
import shutil
import signal

from cluster import Cluster, expect, wait_for

EXIT_EXPELLED = 6


def empty(node):
    shutil.rmtree(node.dir)


def test_emptied_directory_is_refused():
    """The others go on, and the refused node says why and what to do."""
    with Cluster() as c:
        node = c.followers()[0]
        node.call("SET", "k", "v")
        c.wait_same_state()
        node.kill()
        empty(node)
        node.start()
        code = node.wait_exit()
        expect(code == EXIT_EXPELLED, "a node with an emptied directory ended with %s", code)
        text = node.log_text()
        expect("disk was lost" in text and "--replace %d" % node.id in text, "it does not say what to do: %s", text[-400:])
        for n in c.up():
            expect(n.call("GET", "k") == b"v", "the others")
        expect(c.wait_leader().call("SET", "k", "w") == "OK", "the others stood still")


def test_emptied_directory_makes_no_majority():
    """An acknowledged write is on the leader and on one follower. That follower loses its disk, the leader dies: what is
    left of the majority is one disk that never saw the write, and it may not be made up with the empty one."""
    with Cluster() as c:
        leader = c.wait_leader()
        empty_one, behind = [n for n in c.nodes if n is not leader]
        behind.pause()
        expect(leader.call("SET", "k", "acknowledged") == "OK", "a write on two of three")
        empty_one.kill()
        leader.kill()
        empty(empty_one)
        behind.resume()
        empty_one.start()
        code = empty_one.wait_exit()
        expect(code == EXIT_EXPELLED, "the emptied node ended with %s", code)
        expect(behind.info()["role"] != "leader", "a majority was made of one disk and an empty one")
        leader.start()
        wait_for(lambda: behind.call("GET", "k") == b"acknowledged", 15, "the acknowledged write")


def test_older_directory_is_refused():
    """A copy of the directory put back after the node had gone on."""
    with Cluster() as c:
        node = c.followers()[0]
        node.call("SET", "k", "1")
        expect(node.kill(signal.SIGTERM) == 0, "an orderly end")
        copy = node.dir + ".old"
        shutil.copytree(node.dir, copy)
        for value in ("2", "3"):
            node.start()
            c.wait_ready()
            node.call("SET", "k", value)
            c.wait_same_state()
            node.kill(signal.SIGTERM)
        empty(node)
        os.rename(copy, node.dir)
        node.start()
        code = node.wait_exit()
        expect(code == EXIT_EXPELLED, "a node with an older directory ended with %s", code)
        expect("older copy" in node.log_text(), "it does not say why: %s", node.log_text()[-400:])
        expect(c.wait_leader().call("GET", "k") == b"3", "the others")


def test_all_start_anew_together():
    """A first start is no loss: nobody knows anybody yet. And directories that were always there are taken."""
    with Cluster() as c:
        for n in c.nodes:
            n.kill()
        for n in c.nodes:
            n.start()
        c.wait_ready()
        for n in c.nodes:
            n.kill()
            empty(n)
        for n in c.nodes:
            n.start()
        c.wait_ready()
        expect(c.wait_leader().call("SET", "k", "v") == "OK", "a new cluster")
