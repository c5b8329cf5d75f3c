"""members.py - asking a cluster about its members and changing them."""
from cluster import wait_for
from wire import Lost, ReplyError


def pairs(flat):
    return dict(zip([k.decode() for k in flat[::2]], flat[1::2]))


def members(node):
    """By id: what MEMBER LIST says."""
    return {m["id"]: m for m in (pairs(flat) for flat in node.call("MEMBER", "LIST"))}


def voters(node):
    return sorted(i for i, m in members(node).items() if m["role"] == b"voter")


def change(node, *words):
    """MEMBER words; what it answers, as a dict."""
    return pairs(node.call("MEMBER", *words))


def refusal(node, *words):
    """The error that MEMBER words answers; None when it did not refuse."""
    try:
        node.call("MEMBER", *words)
    except ReplyError as e:
        return str(e)
    return None


def insist(cluster, *words, deadline_s=30):
    """Ask any node that answers until it is done; for tests in which nodes die."""

    def done():
        for n in cluster.up():
            try:
                return change(n, *words)
            except Lost:
                continue
            except ReplyError as e:
                if "already" in str(e) or "is not a member" in str(e):
                    return {"id": words[-1]}
        return None

    return wait_for(done, deadline_s, "MEMBER " + " ".join(str(w) for w in words))


def wait_voters(cluster, ids, deadline_s=30):
    wait_for(lambda: all(voters(n) == sorted(ids) for n in cluster.up() if n.id in ids), deadline_s,
             "voters %s" % sorted(ids))
