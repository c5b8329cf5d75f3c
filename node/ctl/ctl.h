/* ctl.h - `holdfast`, the command line: what its commands share. */
#pragma once
#include "node/client/client.h"
#include "node/ctl/options.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_NO = 1,          /* No such key, or the condition was not met. */
    CTL_USAGE = 2,       /* The command line is wrong. */
    CTL_UNAVAILABLE = 3, /* No node would do it in time: nothing was done. */
    CTL_UNKNOWN = 4,     /* It may or may not have been done. */
    CTL_REFUSED = 5,     /* The cluster said no, and why. */
    CTL_PROTOCOL = 6,    /* What answered does not speak RESP, or not as a Holdfast node does. */
    CTL_OUTPUT = 7,      /* Standard output could not be written. */
    /* Of `holdfast lock`, which otherwise ends as its command does: */
    CTL_LOCK_TAKEN = 121,  /* Not got in time; the command was not run. */
    CTL_LOCK_LOST = 122,   /* The command was ended, for its lock was lost. */
    CTL_LOCK_FAILED = 123, /* The cluster could not be asked, or refused; the command was not run. */
    CTL_NOT_RUN = 126,     /* The command cannot be run. */
    CTL_NOT_FOUND = 127,   /* There is no such command. */
    CTL_SIGNALLED = 128,   /* And the signal's number: what ended the command. */
};

struct ctl {
    struct client *client; /* NULL for commands that need none. */
    const struct options *options;
    int argc; /* The command's own arguments. */
    char **argv;
};

/* A client of one's own, for commands that run without one; 0: no session; 0: the default time. NULL: why was told on
 * stderr. */
struct client *ctl_open(const struct ctl *ctl, unsigned session_ttl_ms, unsigned timeout_ms, enum ctl_exit *ret_status);
/* A client's error as an exit status, told on stderr. */
enum ctl_exit ctl_failed(const struct ctl *ctl, int rc);
/* One request whose reply must be no error; anything but CTL_OK has been told on stderr. lens NULL: C strings. */
enum ctl_exit ctl_ask(const struct ctl *ctl, bool is_write, int argc, const char *const *argv, const size_t *lens,
                      struct resp_value **ret);
/* A reply of a type the command cannot have. */
enum ctl_exit ctl_surprised(void);

/* One of several verbs under one name, by the first argument. */
struct ctl_verb {
    const char *name, *usage;
    int args_min, args_max;
    enum ctl_exit (*run)(struct ctl *ctl); /* argv[0] is the verb. */
};
enum ctl_exit ctl_run_verb(struct ctl *ctl, const char *command, const struct ctl_verb *verbs, size_t n);

enum ctl_exit cmd_help(struct ctl *ctl);
enum ctl_exit cmd_status(struct ctl *ctl);
enum ctl_exit cmd_ping(struct ctl *ctl);
enum ctl_exit cmd_get(struct ctl *ctl);
enum ctl_exit cmd_set(struct ctl *ctl);
enum ctl_exit cmd_incr(struct ctl *ctl);
enum ctl_exit cmd_del(struct ctl *ctl);
enum ctl_exit cmd_keys(struct ctl *ctl);
enum ctl_exit cmd_member(struct ctl *ctl);
enum ctl_exit cmd_leader(struct ctl *ctl);
enum ctl_exit cmd_drain(struct ctl *ctl);
enum ctl_exit cmd_lock(struct ctl *ctl);
enum ctl_exit cmd_session(struct ctl *ctl);
enum ctl_exit cmd_limit(struct ctl *ctl);
enum ctl_exit cmd_wait(struct ctl *ctl);
enum ctl_exit cmd_watch(struct ctl *ctl);
enum ctl_exit cmd_completion(struct ctl *ctl);
