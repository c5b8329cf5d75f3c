"""A node without a majority refuses, in time and in words that clients take the right way, and keeps the connection."""
import time

from cluster import Cluster, expect, wait_for
from wire import ReplyError

DEADLINE_S = 1.5
SLACK_S = 1.5
PAUSED_REFUSALS = {"CLUSTERDOWN", "UNKNOWN"}


def refused(wire, codes, *command):
    began = time.monotonic()
    try:
        answer = wire.call(*command)
    except ReplyError as e:
        took = time.monotonic() - began
        expect(e.code in codes, "%s was refused with '%s'", command[0], e)
        expect(took <= DEADLINE_S + SLACK_S, "%s was refused only after %.3f s", command[0], took)
        return took
    expect(False, "%s was answered %r by a node alone", command[0], answer)


def lone_node_refuses(survivor_is_leader):
    with Cluster() as c:
        leader = c.wait_leader()
        leader.call("SET", "k", "v")
        survivor = leader if survivor_is_leader else c.followers()[0]
        with survivor.wire() as w:
            expect(w.call("GET", "k") == b"v", "before")
            for n in c.nodes:
                if n is not survivor:
                    n.kill()
            for _ in range(2):
                refused(w, PAUSED_REFUSALS, "SET", "k", "alone")
                refused(w, {"CLUSTERDOWN"}, "GET", "k")
            expect(w.call("PING") == "PONG", "the connection is not usable any more")
            for n in c.nodes:
                if n is not survivor:
                    n.start()
            c.wait_ready()
            expect(w.call("GET", "k") in (b"v", b"alone"), "the connection works again")
        c.wait_same_state()


def test_lone_leader_refuses():
    lone_node_refuses(True)


def test_lone_follower_refuses():
    lone_node_refuses(False)


def test_leader_with_silent_followers_refuses():
    """Nothing tells it that it is alone but the lack of answers: it must not serve reads from its own state."""
    with Cluster() as c:
        leader = c.wait_leader()
        others = [n for n in c.nodes if n is not leader]
        with leader.wire() as w:
            w.call("SET", "k", "v")
            for n in others:
                n.pause()
            took = refused(w, {"CLUSTERDOWN"}, "GET", "k")
            refused(w, PAUSED_REFUSALS, "SET", "k", "alone")
            refused(w, PAUSED_REFUSALS, "INCR", "n")
            expect(w.call("PING") == "PONG", "the connection is not usable any more")
            for n in others:
                n.resume()
            c.wait_ready()
            wait_for(lambda: w.call("GET", "k") in (b"v", b"alone"), 10, "the connection works again")
        c.wait_same_state()
    return "GET refused after %.3f s" % took


def test_readonly_reads_are_local():
    """READONLY asks for what the node has, however old; READWRITE takes it back."""
    with Cluster() as c:
        c.wait_leader().call("SET", "k", "v")
        c.wait_same_state()
        survivor = c.followers()[0]
        for n in c.nodes:
            if n is not survivor:
                n.kill()
        with survivor.wire() as w:
            expect(w.call("READONLY") == "OK", "READONLY")
            began = time.monotonic()
            expect(w.call("GET", "k") == b"v", "a stale read was asked for and not given")
            expect(time.monotonic() - began < DEADLINE_S, "a local read waited for others")
            refused(w, PAUSED_REFUSALS, "SET", "k", "x")
            expect(w.call("READWRITE") == "OK", "READWRITE")
            refused(w, {"CLUSTERDOWN"}, "GET", "k")
