/* child.h - a command run as a child in a process group of its own, which has the terminal when we have it: signals go
 * to the group, so that what the command started ends with it. One at a time; blocks signals for the whole process, to
 * take them up in child_wait(). */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

struct child {
    pid_t pid;
    bool has_terminal;
};
enum child_state {
    CHILD_RUNS,
    CHILD_STOPPED, /* By hand; so were we, until now. It goes on by a SIGCONT when the caller sees no reason against. */
    CHILD_ENDED,   /* child_status() is to follow. */
};

/* From here on signals are only noted. Before threads are started, so that none of them is chosen for a signal. */
void child_block_signals(void);
/* False: no process could be made; errno says why. A command that cannot be run ends with status 126 or 127. */
bool child_start(struct child *c, char **argv);
void child_signal(const struct child *c, int signal);
/* Waits for wait_ms at most, passes signals on. */
enum child_state child_wait(struct child *c, int wait_ms);
/* The exit status as a shell tells it; takes the terminal back. */
int child_status(const struct child *c);
