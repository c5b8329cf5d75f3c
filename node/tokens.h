/* tokens.h - secrets that let a new node join: made on demand, good for a while, on the node that made them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENS_MAX 16 /* Good at once; the oldest goes first. */
#define TOKEN_CHARS 32

struct tokens {
    struct {
        char text[TOKEN_CHARS + 1];
        uint64_t until_ms;
    } list[TOKENS_MAX];
    size_t next;
};

/* chance: 16 bytes that nobody can guess. */
const char *tokens_make(struct tokens *t, const uint8_t chance[TOKEN_CHARS / 2], uint64_t until_ms);
bool tokens_accept(const struct tokens *t, const char *text, size_t len, uint64_t now_ms);
/* Are they the same secret? Takes as long whether they are or not. */
bool tokens_same(const char *a, size_t a_len, const char *b, size_t b_len);
