/* hash.h - a number for a name, for the tables of this node only: FNV-1a, folded so that the low bits can be used.
 * Source: https://datatracker.ietf.org/doc/html/draft-eastlake-fnv */
#pragma once
#include "store/command.h"

static inline uint64_t hash_of(struct bytes name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ name.base[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}
