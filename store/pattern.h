/* pattern.h - Lua's patterns, with a bound on the work: some patterns take for ever on some subjects, and whatever
 * takes for ever on one node does on all. Knows no Lua state. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_CAPTURES_MAX 32

enum pattern_result {
    PATTERN_NONE = 0,
    PATTERN_MATCH = 1,
    PATTERN_MALFORMED = -1, /* `error` says how. */
    PATTERN_TIRED = -2,     /* `steps` is used up. */
};

struct pattern_capture {
    const char *base;
    size_t len;
    bool is_position;
};

struct pattern {
    const char *source, *source_end; /* The pattern without a leading ^. */
    const char *subject, *subject_end;
    uint64_t steps;    /* Left; each look at a character takes one. */
    const char *error; /* Static. */
    size_t n_captures;
    struct pattern_capture captures[PATTERN_CAPTURES_MAX];
    int depth;
    struct {
        bool open;
    } state[PATTERN_CAPTURES_MAX];
};

/* Try to match at this place of the subject; *ret_end is where the match ends. */
enum pattern_result pattern_match(struct pattern *p, const char *at, const char **ret_end);
