/* little.h - little-endian numbers at any address: the byte order of everything the store writes. */
#pragma once
#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t little_u16(const uint8_t *at)
{
    uint16_t n;
    memcpy(&n, at, sizeof n);
    return le16toh(n);
}

static inline uint32_t little_u32(const uint8_t *at)
{
    uint32_t n;
    memcpy(&n, at, sizeof n);
    return le32toh(n);
}

static inline uint64_t little_u64(const uint8_t *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof n);
    return le64toh(n);
}

static inline void little_put_u16(uint8_t *at, uint16_t n)
{
    n = htole16(n);
    memcpy(at, &n, sizeof n);
}

static inline void little_put_u32(uint8_t *at, uint32_t n)
{
    n = htole32(n);
    memcpy(at, &n, sizeof n);
}

static inline void little_put_u64(uint8_t *at, uint64_t n)
{
    n = htole64(n);
    memcpy(at, &n, sizeof n);
}
