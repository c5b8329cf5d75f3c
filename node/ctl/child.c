/* child.c - how the command is begun, watched and ended.
 * Until child_status() the ended child is left unreaped, so its process group cannot become another's. */
#include "node/ctl/child.h"
#include "node/ctl/ctl.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const int passed_on[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
static sigset_t before; /* The mask the command is to have. */

void child_block_signals(void)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
        sigaddset(&blocked, passed_on[i]);
    sigaddset(&blocked, SIGCHLD);
    sigaddset(&blocked, SIGTTOU); /* Who takes a terminal back is in the background. */
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGCHLD, SIG_DFL); /* Ignored, as some parents leave it, it would swallow the exit status. */
}

/* In the child; ours is `parent`. */
static void run(char **argv, pid_t parent, bool has_terminal)
{
    setpgid(0, 0);
    if (has_terminal)
        tcsetpgrp(STDIN_FILENO, getpid());
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* Nobody would watch the lock any more. */
    if (getppid() != parent)
        _exit(CTL_SIGNALLED + SIGKILL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    execvp(argv[0], argv);
    int error = errno;
    dprintf(STDERR_FILENO, "holdfast: %s: %s\n", argv[0], strerror(error));
    _exit(error == ENOENT ? CTL_NOT_FOUND : CTL_NOT_RUN);
}

bool child_start(struct child *c, char **argv)
{
    pid_t self = getpid();
    c->has_terminal = isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
    c->pid = fork();
    if (c->pid == 0)
        run(argv, self, c->has_terminal);
    if (c->pid < 0)
        return false;
    setpgid(c->pid, c->pid); /* Whoever comes first: nothing may be signalled before. */
    return true;
}

void child_signal(const struct child *c, int signal)
{
    kill(-c->pid, signal);
}

/* Stopped by hand (Ctrl-Z): so are we, for the shell waits for that. Without a terminal it is somebody else's doing,
 * and nobody would wake us. */
static enum child_state stop_too(const struct child *c)
{
    int status;
    waitpid(c->pid, &status, WUNTRACED);
    if (!c->has_terminal)
        return CHILD_RUNS;
    tcsetpgrp(STDIN_FILENO, getpgrp());
    raise(SIGSTOP);
    tcsetpgrp(STDIN_FILENO, c->pid);
    return CHILD_STOPPED;
}

enum child_state child_wait(struct child *c, int wait_ms)
{
    const struct timespec time = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L};
    siginfo_t info = {0};
    sigset_t awaited;
    waitid(P_PID, (id_t)c->pid, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT);
    if (info.si_pid != 0 && info.si_code == CLD_STOPPED)
        return stop_too(c);
    if (info.si_pid != 0)
        return CHILD_ENDED;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
        sigaddset(&awaited, passed_on[i]);
    int signal = sigtimedwait(&awaited, NULL, &time);
    if (signal > 0 && signal != SIGCHLD)
        child_signal(c, signal);
    return CHILD_RUNS;
}

int child_status(const struct child *c)
{
    int status = 0;
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (c->has_terminal)
        tcsetpgrp(STDIN_FILENO, getpgrp());
    return WIFEXITED(status) ? WEXITSTATUS(status) : CTL_SIGNALLED + WTERMSIG(status);
}
