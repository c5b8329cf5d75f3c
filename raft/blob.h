/* blob.h - a refcounted run of bytes: the payload of a log entry, shared by the log's memory, its disk
 * writes and the frames to peers. Loop thread only: other threads may read the bytes while someone holds a
 * reference for them, but never count. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct blob {
    uint32_t refs;
    size_t len;
    uint8_t *bytes; /* Freed with free() at the last unref. */
};

/* A blob of one reference over malloc'ed bytes, which it now owns; NULL when out of memory (bytes stay yours). */
struct blob *blob_own(uint8_t *bytes, size_t len);
struct blob *blob_copy(const void *bytes, size_t len);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is fine. */
