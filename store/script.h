/* script.h - Lua scripts inside the state machine: the same on every node, bounded, and all or nothing where a bound
 * stops them. What a command's arguments mean, and how its refusals are worded, is not the state's to know: the host
 * tells. */
#pragma once
#include "store/command.h"
#include "store/outcome.h"
#include <stdbool.h>

#define SCRIPT_INSTRUCTIONS_MAX 50000000u     /* Lua's, and what the library and commands do, counted as such. */
#define SCRIPT_MEMORY_BYTES_MAX (64u << 20)   /* Of the script, its garbage included. */
#define SCRIPT_JOURNAL_BYTES_MAX (128u << 20) /* Rows as they were before it changed them. */
#define SCRIPT_REPLY_BYTES_MAX (32u << 20)
#define SCRIPT_NESTING_MAX 24 /* Tables in tables in a reply. */
#define SCRIPT_SOURCE_BYTES_MAX (1u << 20)
#define SCRIPT_KEPT_MAX 10000       /* Scripts that SCRIPT LOAD keeps ... */
#define SCRIPT_KEPT_BY_EVAL_MAX 500 /* ... and how many there may be when EVAL keeps one, too. */
#define SCRIPT_ERROR_MAX 1024

enum script_verdict {
    SCRIPT_ENCODED,
    SCRIPT_UNKNOWN,     /* No such command. */
    SCRIPT_NOT_ALLOWED, /* Not from a script. */
    SCRIPT_ARITY,
    SCRIPT_REFUSED, /* error has the words, without '-'. */
};

/* A command of a script. */
struct script_request {
    const struct bytes *args; /* args[0] is the name. */
    size_t n;
    size_t value_bytes_max;
    int64_t wall_ms; /* The wall clock for all the script: no other may be looked at. */
    uint64_t chance; /* Fresh for each command, and the only chance there is. */
};

struct script_host {
    /* Encode it. Must come out the same on every node. *ret_writes: the command is one that may change something. */
    enum script_verdict (*encode)(const struct script_request *r, struct command_buf *ret, bool *ret_writes,
                                  char error[SCRIPT_ERROR_MAX]);
    /* The words of a refusal, without '-'. */
    void (*words)(const struct outcome *refusal, char text[SCRIPT_ERROR_MAX]);
};
