#!/usr/bin/env python3
"""plant.py PLANTS TREE OUT - copies the sources that PLANTS names from TREE to OUT, with the bugs in them, and writes
OUT/planted.h with their names. A text that does not stand in its file exactly once is an error: the list is out of date.
plant.py --files PLANTS - the sources it names; plant.py --names PLANTS - the bugs, with what is wrong."""
import os
import re
import sys


def read(path):
    """-> [(name, what)], {file: [(old, new)]}"""
    plants, edits, name, at, part = [], {}, None, None, None
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        if part is not None and line.strip() not in ("====", ">>>>"):
            part.append(line)
        elif line.startswith("== "):
            name, what = line[3:].split(None, 1)
            plants.append((name, what.strip()))
        elif line.startswith("in "):
            at = line[3:].strip()
        elif line.strip() == "<<<<":
            part = old = []
        elif line.strip() == "====":
            part = new = []
        elif line.strip() == ">>>>":
            edits.setdefault(at, []).append(("".join(old).rstrip("\n"), "".join(new).rstrip("\n")))
            part = None
        elif line.strip() and not line.startswith("#"):
            sys.exit(f"{path}:{number}: what is this?")
    return plants, edits


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.exists(path) or open(path, encoding="utf-8").read() != text:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def plant(path, tree, out):
    plants, edits = read(path)
    stale = []
    for source, changes in edits.items():
        original = os.path.join(tree, source)
        text = open(original, encoding="utf-8").read()
        for old, new in changes:
            if text.count(old) != 1:
                stale.append(f"{path}: {source} has this {text.count(old)} times, not once:\n{old}")
            text = text.replace(old, new)
        write(os.path.join(out, source), f'#include "planted.h"\n#line 1 "{original}"\n{text}')
    if stale:
        sys.exit("\n".join(stale))
    names = ", ".join(f"PLANT_{name}" for name, _ in plants)
    words = ", ".join(f'"{name}"' for name, _ in plants)
    write(os.path.join(out, "planted.h"),
          "/* Made by tests/sim/plant.py. */\n#pragma once\n"
          f"enum plant {{ PLANT_NONE = -1, {names} }};\n"
          f"#define PLANT_NAMES {{ {words} }}\n"
          "extern enum plant planted;\n#define PLANTED(name) (planted == PLANT_##name)\n")


if len(sys.argv) == 3 and sys.argv[1] == "--files":
    print("\n".join(read(sys.argv[2])[1]))
elif len(sys.argv) == 3 and sys.argv[1] == "--names":
    print("\n".join(f"{name}\t{what}" for name, what in read(sys.argv[2])[0]))
elif len(sys.argv) == 4:
    plant(*sys.argv[1:])
else:
    sys.exit(__doc__)
