"""What an operator does with the command line, and what goes wrong with it: refused with a reason, never half done."""
import json
import shutil
import subprocess
import threading

from cluster import HOLDFAST, PATIENCE, Cluster, Joiner, expect, free_ports, wait_for
from load import Load
from members import change, members, refusal, voters, wait_voters
from wire import Lost, ReplyError

EXIT_USAGE, EXIT_DATA_DIR, EXIT_EXPELLED = 1, 2, 6
CTL_REFUSED = 5


def tool(c, *args, deadline_s=30):
    """holdfast with these arguments: exit status, output, what it said on stderr."""
    done = subprocess.run([HOLDFAST, "--nodes", ",".join(n.address() for n in c.up())] + [str(a) for a in args],
                          capture_output=True, text=True, timeout=deadline_s * PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr


def must(c, *args):
    code, out, err = tool(c, *args)
    expect(code == 0, "holdfast %s: status %d: %s", args, code, err)
    return out


def refused(c, *args, word):
    code, _, err = tool(c, *args)
    expect(code == CTL_REFUSED, "holdfast %s: status %d, not %d: %s", args, code, CTL_REFUSED, err)
    expect(word in err, "holdfast %s does not say '%s': %s", args, word, err)


def test_a_lost_disk_is_replaced():
    """The machine is the same, its disk is new: it is turned away as the node it was, and taken in as another."""
    with Cluster() as c:
        lost = c.followers()[0]
        lost.call("SET", "k", "v")
        lost.kill()
        shutil.rmtree(lost.dir)
        lost.start()
        expect(lost.wait_exit() == EXIT_EXPELLED, "an emptied directory was taken")
        shutil.rmtree(lost.dir)
        refused(c, "member", "replace", lost.id, word="--replace %d" % lost.id)
        token = must(c, "member", "token").strip()
        again = Joiner(c, 4, lost.port, lost.peer_port)
        c.nodes.append(again)
        again.start(join=",".join(n.address() for n in c.up()), join_token=token, replace=lost.id)
        wait_voters(c, sorted([n.id for n in c.founders if n is not lost] + [4]))
        wait_for(lambda: again.call("GET", "k") == b"v", 15, "a read by the new node")
        expect(lost.id not in members(again), "the lost node is still a member")


def test_a_living_node_is_replaced_under_load():
    """The new one is a voter before the old one goes; clients of the others notice nothing."""
    with Cluster() as c:
        old = c.wait_leader()
        others = [n for n in c.nodes if n is not old]
        with Load(others) as load:
            load.wait_done(10)
            new = c.newcomer(4).join(others[0], replace=old.id)
            expect(old.wait_exit(30) == EXIT_EXPELLED, "the old node")
            wait_voters(c, sorted([n.id for n in others] + [4]))
            load.stop()
        final = wait_for(lambda: int(new.call("GET", "counter")), 15, "the counter")
        done, unknown = load.check(final)
    return "%d increments, %d of unknown outcome" % (done, unknown)


def test_the_tool_shows_and_changes():
    with Cluster() as c:
        listed = json.loads(must(c, "member", "list", "-o", "json"))
        expect([m["id"] for m in listed] == [1, 2, 3] and sum(m["leader"] for m in listed) == 1, "it lists %s", listed)
        target = c.followers()[0]
        shown = json.loads(must(c, "leader", "transfer", "n%d" % target.id, "-o", "json"))
        expect(shown["id"] == target.id and not shown["dry_run"], "it shows %s", shown)
        wait_for(lambda: c.leader() is target, 15, "the new leader")
        would = must(c, "member", "remove", target.id, "--dry-run")
        expect("hand over first" in would, "a dry run says %s", would)
        expect(len(members(target)) == 3, "a dry run removed it")
        port = free_ports(1)[0]
        shown = json.loads(must(c, "member", "add", "127.0.0.1:%d" % port, "-o", "json"))
        expect(len(shown["before"]) == 3 and len(shown["after"]) == 4 and shown["id"] == 4, "it shows %s", shown)
        must(c, "member", "update-address", 4, "127.0.0.2:%d" % port)
        after = must(c, "member", "remove", 4)
        expect("before:" in after and "127.0.0.2:%d" % port in after, "it shows %s", after)
        expect(sorted(members(target)) == [1, 2, 3], "members after all that")


def test_drain():
    """The leader hands over, finishes and exits 0; nobody gets an error."""
    with Cluster() as c:
        leader = c.wait_leader()
        others = [n for n in c.nodes if n is not leader]
        with Load(others) as load:
            load.wait_done(10)
            must(c, "drain", "n%d" % leader.id)
            expect(leader.wait_exit() == 0, "the drained node's exit status")
            load.wait_done(30)
            load.stop()
        errors = load.errors(others)
        expect(not errors, "clients of the others were told: %s", errors[:1])
        leader.start()
        c.wait_ready()


def test_nonsense_is_refused():
    with Cluster() as c:
        a, b = c.nodes[0], c.nodes[1]
        new = "127.0.0.1:%d" % free_ports(1)[0]
        refused(c, "member", "add", b.peer_address(), word="is the address of node 2")
        expect("is a member already" in refusal(a, "ADD", new, "ID", 2), "an id in use")
        for bad in ("nowhere", "127.0.0.1", ":7501", "127.0.0.1:0", "x" * 300 + ":1"):
            expect("host:port" in (refusal(a, "ADD", bad) or ""), "address %s was taken", bad[:20])
        expect("is not a member" in refusal(a, "REMOVE", 9), "a stranger was removed")
        refused(c, "leader", "transfer", 9, word="no such voter")
        change(a, "ADD", new)
        expect("cannot be reached" in refusal(b, "PROMOTE", 4), "a node that never was there got a vote")
        expect("cannot be reached" in refusal(b, "REPLACE", 1, 4), "a node that never was there replaced another")
        expect(sorted(members(a)) == [1, 2, 3, 4], "members after all that: %s", members(a))


def test_no_change_may_lose_the_quorum():
    with Cluster() as c:
        leader = c.wait_leader()
        down, up = [n for n in c.nodes if n is not leader]
        down.kill()
        wait_for(lambda: members(leader)[down.id]["linked"] == 0, 15, "the dead node is missed")
        refused(c, "member", "remove", up.id, word="would lose its quorum")
        must(c, "member", "remove", up.id, "--force", "--dry-run")
        must(c, "member", "remove", down.id)
        expect(voters(leader) == sorted([leader.id, up.id]), "voters %s", voters(leader))
        expect(leader.call("SET", "k", "v") == "OK", "a write by two of two")
        down.start()
        expect(down.wait_exit() == EXIT_EXPELLED, "it was removed while it was down")


def must_not_join(node, code, word, **settings):
    node.start(**settings)
    got = node.wait_exit(20)
    expect(got == code, "it ended with %s, not %d: %s", got, code, node.log_text()[-300:])
    expect(word in node.log_text(), "it does not say '%s': %s", word, node.log_text()[-300:])


def test_who_may_not_join():
    """A wrong token, an expired one, an address in use, an id that was in use, another cluster's directory."""
    with Cluster() as c, Cluster(n=1) as other:
        a = c.nodes[0]
        token = a.call("MEMBER", "TOKEN").decode()
        node = c.newcomer(4)
        must_not_join(node, EXIT_USAGE, "does not know the join token", join=a.address(), join_token="wrong")
        short = a.call("MEMBER", "TOKEN", 1).decode()
        wait_for(lambda: "expired" in (refusal(a, "JOIN", short, node.peer_address(), "DRYRUN") or ""), 15, "its end")
        must_not_join(node, EXIT_USAGE, "it has expired", join=a.address(), join_token=short)
        must_not_join(node, EXIT_USAGE, "is a member already", join=a.address(), join_token=token, node_id=2)
        must_not_join(node, EXIT_USAGE, "is the address of node 2", join=a.address(), join_token=token,
                      peer_listen=c.nodes[1].peer_address())
        foreign = other.nodes[0]
        foreign.kill()
        shutil.copytree(foreign.dir, node.dir, dirs_exist_ok=True)
        must_not_join(node, EXIT_DATA_DIR, "is not empty", join=a.address(), join_token=token)
        shutil.rmtree(node.dir)
        node.start(join="127.0.0.1:%d,%s" % (free_ports(1)[0], a.address()), join_token=token)
        wait_voters(c, [1, 2, 3, 4])


def test_many_operators_at_once():
    """Each is done, or told which change is under way; what is there in the end is what was done."""
    with Cluster() as c:
        ports = free_ports(6)
        done, told = [], []

        def operator(node, port):
            try:
                done.append(change(node, "ADD", "127.0.0.1:%d" % port)["id"])
            except (ReplyError, Lost) as e:
                told.append(str(e))

        threads = [threading.Thread(target=operator, args=(c.nodes[i % 3], p)) for i, p in enumerate(ports)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(all("under way" in t or "yet to take in" in t for t in told), "refused otherwise: %s", told)
        expect(done and len(set(done)) == len(done), "ids given: %s", done)
        wait_for(lambda: sorted(members(c.nodes[2])) == sorted([1, 2, 3] + done), 15, "members 1 to 3 and %s" % done)
    return "%d done, %d told to wait" % (len(done), len(told))
