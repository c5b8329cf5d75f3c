/* exit.h - how holdfastd ends: what a supervisor may conclude from its exit status. */
#pragma once

enum node_exit {
    NODE_EXIT_DRAINED = 0,  /* Asked to stop (SIGTERM, SIGINT, SHUTDOWN) and everything in flight was finished. */
    NODE_EXIT_USAGE = 1,    /* A bad flag, setting or configuration file. Starting again will not help. */
    NODE_EXIT_DATA_DIR = 2, /* The data directory is foreign, corrupt, locked by another process or not writable. */
    NODE_EXIT_LISTEN = 3,   /* A listen address cannot be bound. */
    NODE_EXIT_DISK = 4,     /* The disk failed at run time; nothing acknowledged is lost while a majority lives. */
    NODE_EXIT_INTERNAL = 5, /* Out of memory, or a failure that ought not to be possible. */
    NODE_EXIT_EXPELLED = 6, /* The cluster has removed this node, or its disk is not the one it had. Stay down. */
};
