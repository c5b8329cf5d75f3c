"""clocks.py - nodes whose wall clock the test sets, by libfaketime. What only counts on, monotonic time, stays as it is."""
import os
import glob

from cluster import HOLDFASTD, Unavailable

LIBRARIES = "/usr/lib/*/faketime/libfaketime.so.1"


def library():
    """Raises Unavailable where clocks cannot be set."""
    found = glob.glob(LIBRARIES)
    if not found:
        raise Unavailable("libfaketime is not here")
    with open(HOLDFASTD, "rb") as f:
        if b"__asan_init" in f.read():
            raise Unavailable("libfaketime and AddressSanitizer do not go together")
    return found[0]


class Clock:
    """One node's wall clock; made before the node starts."""

    def __init__(self, node):
        self.path = os.path.join(node.cluster.dir, "n%d.clock" % node.id)
        self.ahead_s = 0
        self.set(0)
        node.environment = {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": self.path,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def set(self, ahead_s):
        """Seconds ahead of what it would be, from now on."""
        with open(self.path + ".new", "w") as f:
            f.write("%+d\n" % ahead_s)
        os.rename(self.path + ".new", self.path)
        self.ahead_s = ahead_s
