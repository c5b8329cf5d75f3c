#!/usr/bin/python3
"""run.py [-l] [NAME...] - run the functions test_* of test_*.py beside this file, one after another.

NAME is a part of file.function; without any all are run. -l lists them. The environment: HOLDFAST_BUILD is the build
folder (build), HOLDFAST_PATIENCE stretches waits on slow machines, HOLDFAST_KEEP keeps a failed test's files. The last
line is the summary: N passed, N failed."""
import argparse
import glob
import importlib
import os
import sys
import time
import traceback

import cluster


def collect(names):
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    tests = []
    for path in sorted(glob.glob(os.path.join(here, "test_*.py"))):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, function in vars(module).items():
            full = "%s.%s" % (module.__name__[5:], name[5:])
            if name.startswith("test_") and callable(function) and (not names or any(n in full for n in names)):
                tests.append((full, function))
    return tests


def run(name, function):
    """True when it passed. A test may return a line worth telling."""
    began = time.monotonic()
    try:
        note = function()
    except cluster.Unavailable as e:
        note = "skipped: %s" % e
    except cluster.Failed as e:
        last = [f for f in traceback.extract_tb(e.__traceback__) if os.path.basename(f.filename).startswith("test_")][-1:]
        where = "%s:%d: " % (os.path.basename(last[0].filename), last[0].lineno) if last else ""
        print("FAIL %-44s %6.1f s  %s%s" % (name, time.monotonic() - began, where, e), flush=True)
        return False
    except Exception:
        print("FAIL %-44s %6.1f s\n%s" % (name, time.monotonic() - began, traceback.format_exc()), flush=True)
        return False
    print("ok   %-44s %6.1f s  %s" % (name, time.monotonic() - began, note or ""), flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-l", dest="list", action="store_true")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    tests = collect(given.names)
    if given.list:
        print("\n".join(name for name, _ in tests))
        return 0
    if not os.access(cluster.HOLDFASTD, os.X_OK):
        sys.exit("run.py: %s is not there: build it, or say where with HOLDFAST_BUILD" % cluster.HOLDFASTD)
    print("seed %d (HOLDFAST_SEED)" % cluster.SEED, flush=True)
    results = [run(name, function) for name, function in tests]
    print("%d passed, %d failed" % (results.count(True), results.count(False)))
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
