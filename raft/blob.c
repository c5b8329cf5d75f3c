/* blob.c - counting references to a run of bytes. */
#include "raft/blob.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct blob *blob_own(uint8_t *bytes, size_t len)
{
    struct blob *b = malloc(sizeof *b);
    if (b == NULL)
        return NULL;
    *b = (struct blob){.refs = 1, .len = len, .bytes = bytes};
    return b;
}

struct blob *blob_copy(const void *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, bytes, len);
    struct blob *b = blob_own(copy, len);
    if (b == NULL)
        free(copy);
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    assert(b->refs > 0 && b->refs < UINT32_MAX);
    b->refs++;
    return b;
}

void blob_unref(struct blob *b)
{
    if (b == NULL)
        return;
    assert(b->refs > 0);
    if (--b->refs > 0)
        return;
    free(b->bytes);
    free(b);
}
