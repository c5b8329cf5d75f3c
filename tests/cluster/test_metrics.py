"""What machines may ask a node: /metrics, /livez and /readyz, and that they agree with INFO."""
import http.client
import re
import socket

from cluster import PATIENCE, Cluster, expect, free_ports, wait_for

SAMPLE = re.compile(r'^[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.]+$')


def get(port, path, method="GET", body=None):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * PATIENCE)
    try:
        conn.request(method, path, body)
        reply = conn.getresponse()
        return reply.status, reply.read().decode()
    finally:
        conn.close()


def samples(port):
    """name and labels -> value, after a look at the form of every line."""
    status, text = get(port, "/metrics")
    expect(status == 200, "/metrics: %d", status)
    typed, found = set(), {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            expect(name not in typed, "%s is declared twice", name)
            typed.add(name)
        elif not line.startswith("# HELP "):
            expect(SAMPLE.match(line), "no sample: %s", line)
            key, value = line.rsplit(" ", 1)
            name = key.split("{")[0]
            expect(name in typed or re.sub("_(bucket|sum|count)$", "", name) in typed, "%s has no type", name)
            found[key] = float(value)
    return found


class Scraped(Cluster):
    """A cluster whose nodes listen for scrapers."""

    def make_nodes(self, n):
        nodes = super().make_nodes(n)
        for node, port in zip(nodes, free_ports(n)):
            node.http = port
            arguments = node.arguments
            node.arguments = lambda arguments=arguments, port=port, **settings: arguments(
                metrics_listen="127.0.0.1:%d" % port, **settings)
        return nodes


def test_numbers_of_all_nodes():
    with Scraped() as c:
        for node in c.nodes:
            for i in range(20):
                node.call("SET", "k%d" % i, "v")
            node.call("GET", "k1")
        c.wait_same_state()
        for node in c.nodes:
            m, info = samples(node.http), node.info()
            expect(m["holdfast_ready"] == 1, "n%d is not ready", node.id)
            expect(m['holdfast_commands_total{command="set"}'] == 20, "n%d counts other SETs", node.id)
            expect(m['holdfast_request_seconds_count{family="string"}'] == 21, "n%d times other requests", node.id)
            expect(m["holdfast_commit_seconds_count"] == 20, "n%d counts other batches", node.id)
            expect(m["holdfast_apply_seconds_count"] >= 60, "n%d applied less", node.id)
            expect(0 < m["holdfast_sync_seconds_count"] <= int(info["syncs"]), "n%d has other syncs", node.id)
            expect(m["holdfast_leads"] == (info["role"] == "leader"), "n%d and INFO differ on who leads", node.id)
            expect(m["holdfast_keys"] == int(info["keys"]), "n%d and INFO differ on the keys", node.id)
            expect(int(info["commit_us_p99"]) >= int(info["commit_us_p50"]) > 0, "INFO has no times of commits")


def test_ready_tells_why_not():
    with Scraped() as c:
        left = c.nodes[0]
        expect(get(left.http, "/readyz") == (200, "ready\n"), "a node that serves is not ready")
        for node in c.nodes[1:]:
            node.kill()
        status, why = wait_for(lambda: next((r for r in [get(left.http, "/readyz")] if r[0] != 200), None), 15,
                               "a node without the others to be not ready")
        expect(status == 503 and why.startswith("not ready: "), "it says %d %s", status, why)
        expect(get(left.http, "/livez") == (200, "alive\n"), "it does not live")
        expect(get(left.http, "/metrics")[0] == 200, "it cannot be scraped")
        for node in c.nodes[1:]:
            node.start()
        wait_for(lambda: get(left.http, "/readyz")[0] == 200, 20, "it to be ready again")


def test_strangers_at_the_port():
    """Wrong paths and methods, bodies, long heads, silence: answered or closed, and clients notice nothing."""
    with Scraped() as c:
        node = c.nodes[0]
        expect(get(node.http, "/")[0] == 404, "/ is there")
        expect(get(node.http, "/metrics", "HEAD") == (200, ""), "HEAD")
        expect(get(node.http, "/metrics", "POST", "x" * 1000)[0] == 405, "POST is taken")
        silent = [socket.create_connection(("127.0.0.1", node.http)) for _ in range(60)]
        expect(node.call("SET", "k", "v") == "OK", "clients notice")
        for s in silent:
            s.close()
        with socket.create_connection(("127.0.0.1", node.http), timeout=20 * PATIENCE) as s:
            try:
                s.sendall(b"GET /" + b"x" * 1000000)
                s.recv(100)
            except OSError:
                pass
        wait_for(lambda: get(node.http, "/livez")[0] == 200, 15, "it to answer again")
        expect(node.call("GET", "k") == b"v", "clients notice")
