/* fuzz.h - what a fuzz target is: one function that is given bytes of anybody's making, and must come back. The same
 * file is linked with libFuzzer (HOLDFAST_FUZZ) and, for every build, with replay.c, which feeds it the corpus.
 * A target keeps nothing from one call to the next that could sway it: what crashes once crashes again. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Always returns 0, as libFuzzer demands. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A promise of the code under test: when it does not hold, that is a crash as any other. */
static inline void fuzz_must(bool held, const char *promise)
{
    if (held)
        return;
    fprintf(stderr, "broken promise: %s\n", promise);
    abort();
}

/* Bytes to make decisions of; what is read past the end is 0. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint64_t fuzz_take(struct fuzz_input *in, size_t n_bytes)
{
    uint64_t n = 0;
    for (size_t i = 0; i < n_bytes && in->left > 0; i++, in->at++, in->left--)
        n |= (uint64_t)*in->at << 8 * i;
    return n;
}

/* A copy that ends where its memory ends, so that a sanitizer sees who reads on; to be freed. */
static inline uint8_t *fuzz_copy(const void *bytes, size_t len)
{
    uint8_t *copy = calloc(1, len > 0 ? len : 1);
    if (copy == NULL)
        abort();
    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

/* A run of bytes of the input: at most len_max, its length first (in one or, from 256 on, two bytes). */
static inline uint8_t *fuzz_take_bytes(struct fuzz_input *in, size_t len_max, size_t *ret_len)
{
    size_t len = fuzz_take(in, len_max < 256 ? 1 : 2);
    len = len < len_max ? len : len_max;
    len = len < in->left ? len : in->left;
    uint8_t *copy = fuzz_copy(in->at, len);
    in->at += len;
    in->left -= len;
    *ret_len = len;
    return copy;
}
