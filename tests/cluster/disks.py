"""disks.py - a cluster whose nodes keep their files on disks of the tests' own (disk/main.c), which lose what is not synced
when the power goes, fail, and are slow, as they are told."""
import contextlib
import functools
import os
import signal
import subprocess
import tempfile

from cluster import BUILD, Cluster, Unavailable, die_with_parent, wait_for

FAULTDISK = os.path.join(BUILD, "tests", "faultdisk")
CONTROL = ".faultdisk"
# Small files, so that a cut meets segments that change and checkpoints that happen.
SMALL_FILES = dict(segment_bytes="1m", log_keep_entries=2000, log_keep_bytes="1m", checkpoint_bytes="1m", flush_interval_ms=50)


class Disk:
    """The file system under one node's data directory."""

    def __init__(self, folder, mountpoint):
        self.mountpoint = mountpoint
        self.control = os.path.join(mountpoint, CONTROL)
        os.makedirs(mountpoint, exist_ok=True)
        self.process = subprocess.Popen([FAULTDISK, folder, mountpoint], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, preexec_fn=lambda: die_with_parent(signal.SIGTERM))

    def wait_mounted(self):
        try:
            wait_for(lambda: os.path.exists(self.control) or self.process.poll() is not None, 10, "a disk to be there")
            if self.process.poll() is not None:
                raise Unavailable("no FUSE: %s" % self.process.stderr.read().decode("utf-8", "replace").strip())
        except BaseException:
            self.unmount()
            raise

    def tell(self, *command):
        with open(self.control, "wb", buffering=0) as f:
            f.write(" ".join(str(word) for word in command).encode())

    def counters(self):
        with open(self.control, "rb", buffering=0) as f:
            words = f.read(512).split()
        return {words[i].decode(): int(words[i + 1]) for i in range(0, len(words), 2)}

    def cut(self, seed):
        """The power goes. The node must have been killed before: nobody writes after that."""
        self.tell("cut", seed)

    def slow(self, ms, what="sync", prefix=""):
        self.tell("delay", what, ms, prefix)

    def fail(self, error="EIO", what="sync", prefix=""):
        self.tell("fail", what, error, prefix)

    def lie(self):
        """Syncs say that they saved what they did not."""
        self.tell("lie", "sync", "yes")

    def heal(self):
        self.tell("heal")

    def unmount(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        self.process.stderr.close()


@contextlib.contextmanager
def mounted(folder):
    """A disk without a node."""
    if not os.path.exists("/dev/fuse"):
        raise Unavailable("/dev/fuse is not here")
    disk = Disk(os.path.join(folder, "disk"), os.path.join(folder, "mnt"))
    disk.wait_mounted()
    try:
        yield disk
    finally:
        disk.unmount()


@functools.lru_cache(maxsize=None)
def why_no_fuse():
    """None where disks can be mounted; found out by doing so."""
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder, mounted(folder):
            return None
    except Unavailable as e:
        return str(e)


def need_fuse():
    if why_no_fuse():
        raise Unavailable(why_no_fuse())


class DiskCluster(Cluster):
    def __init__(self, n=3, **settings):
        super().__init__(n, **dict(SMALL_FILES, **settings))
        self.disks = {}

    def start(self):
        need_fuse()
        for n in self.nodes:
            self.disks[n.id] = Disk(n.dir + ".disk", n.dir)
        for disk in self.disks.values():
            disk.wait_mounted()
        return super().start()

    def disk(self, node):
        return self.disks[node.id]

    def power_cut(self, nodes, chance):
        """All at one moment, then what their disks had not saved is gone."""
        for n in nodes:
            n.process.kill()
        for n in nodes:
            if n.paused:
                n.resume()
            n.wait_exit()
        for n in nodes:
            self.disk(n).cut(chance.randrange(1 << 62))

    def lost(self):
        """What all power cuts together have taken."""
        counters = [d.counters() for d in self.disks.values()]
        return "lost %d pages, %d in part, %d sizes and %d names" % tuple(
            sum(c[what] for c in counters) for what in ("pages", "torn", "sizes", "names"))

    def end_processes(self):
        """Nodes first: a disk that is in use cannot be taken away."""
        for disk in self.disks.values():
            if disk.process.poll() is None:
                disk.heal()
        unexpected = super().end_processes()
        for disk in self.disks.values():
            disk.unmount()
        return unexpected
