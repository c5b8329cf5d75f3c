/* words.h - requests as a user types them, encoded by the command table as a connection's are. */
#pragma once
#include "node/commands.h"

#define DIGITS_N 8

/* Fails where the table refuses. e points into words. */
void words_prepare(struct encoding *e, const struct command_row **ret_row, size_t n, const char *const *words);
/* What command_add() returns. */
long words_encode(struct command_buf *buf, size_t n, const char *const *words);
#define WORDS(...)                                                                                                     \
    sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[])                                           \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
/* A number as text; lives until the call DIGITS_N calls from now. */
const char *digits(uint64_t n);
