/* options.h - the command line cut into options and arguments. Options may stand anywhere; a number like -5 is an
 * argument, and after "--" everything is; so --help of a command behind it is that command's. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which options were given, and which a command takes. */
enum option_bit {
    OPTION_NODES = 1 << 0,
    OPTION_TIMEOUT = 1 << 1,
    OPTION_USER = 1 << 2,
    OPTION_OUTPUT = 1 << 3,
    OPTION_TTL = 1 << 4,
    OPTION_NX = 1 << 5,
    OPTION_XX = 1 << 6,
    OPTION_RAW = 1 << 7,
    OPTION_HELP = 1 << 8,
    OPTION_VERSION = 1 << 9,
    OPTION_DRY_RUN = 1 << 10,
    OPTION_FORCE = 1 << 11,
    OPTION_WAIT = 1 << 12,
    OPTION_SHARED = 1 << 13,
    OPTION_PERMITS = 1 << 14,
    OPTION_REASON = 1 << 15,
    OPTION_RATE = 1 << 16,
    OPTION_PER = 1 << 17,
    OPTION_FROM = 1 << 18,
};
#define OPTION_EVERYWHERE (OPTION_NODES | OPTION_TIMEOUT | OPTION_USER | OPTION_HELP | OPTION_VERSION)

struct options {
    unsigned given; /* enum option_bit, or'ed */
    const char *nodes, *user;
    const char *reason;
    int64_t timeout_ms, ttl_ms, wait_ms;
    int64_t per_ms, from;
    unsigned permits, permits_of, rate;
    bool json;
    int argc;     /* What is no option: the command's name and its arguments. */
    char **argv;  /* NULL behind the last */
    int n_before; /* Arguments before the first "--"; -1: there was none. */
};

/* Borrows and reorders argv. False: a sentence was written to stderr. */
bool options_parse(int argc, char **argv, struct options *ret);
/* The options of `mask`, one a line, as help shows them. */
void options_print(unsigned mask);
/* "--nodes --timeout ...": those of `mask`. */
void options_names(unsigned mask, char *ret, size_t size);
/* The name of the first option in `bits`. */
const char *options_name(unsigned bits);
