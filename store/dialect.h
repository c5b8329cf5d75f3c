/* dialect.h - Lua 5.1 as scripts for Redis are written in it, turned into source that Lua 5.4 reads the same way.
 * Knows the words of both, no Lua state. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* What a script's `..` becomes: "a <<DIALECT_CONCAT<< b". The environment has a value of that name which knows how 5.1
 * writes numbers. */
#define DIALECT_CONCAT "__concat"
#define DIALECT_ERROR_MAX 160

/* A growing text. Zero-initialise. */
struct dialect_text {
    char *base;
    size_t len, cap;
    bool failed; /* Out of memory. */
};
void dialect_text_release(struct dialect_text *t);

/* Append the translation. Lines stay where they are. false: `error` says "LINE: what", as the compiler would; or the
 * text has failed. What neither version accepts is left to the compiler. */
bool dialect_translate(const char *source, size_t len, struct dialect_text *ret, char error[DIALECT_ERROR_MAX]);
