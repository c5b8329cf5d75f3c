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
};

struct ctl {
    struct client *client; /* NULL for commands that need none. */
    const struct options *options;
    int argc; /* The command's own arguments. */
    char **argv;
};

/* A client's error as an exit status, told on stderr. */
enum ctl_exit ctl_failed(const struct ctl *ctl, int rc);
/* One request whose reply must be no error; anything but CTL_OK has been told on stderr. lens NULL: C strings. */
enum ctl_exit ctl_ask(const struct ctl *ctl, bool is_write, int argc, const char *const *argv, const size_t *lens,
                      struct resp_value **ret);
/* A reply of a type the command cannot have. */
enum ctl_exit ctl_surprised(void);

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
