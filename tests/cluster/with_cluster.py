#!/usr/bin/python3
"""with_cluster.py COMMAND... - start three nodes, run the command with HOLDFAST_NODES naming them, stop the nodes. The exit
code is the command's; 1 when a node did not live to the end."""
import os
import subprocess
import sys

from cluster import Cluster, Failed


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        with Cluster() as c:
            code = subprocess.call(sys.argv[1:], env=dict(os.environ, HOLDFAST_NODES=c.addresses()))
    except Failed as e:
        print("with_cluster.py: %s" % e)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
