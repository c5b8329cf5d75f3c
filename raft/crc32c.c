/* crc32c.c - by instruction (8 bytes at a time), else by eight tables (slicing by 8).
 * Which one is decided once, before main; after that nothing here changes, so any thread may call. */
#include "raft/crc32c.h"
#include <string.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC32C_NATIVE "sse4.2"
#define CRC32C_TARGET __attribute__((target("sse4.2")))
#elif defined(__aarch64__) && (defined(__ARM_FEATURE_CRC32) || (defined(__GNUC__) && !defined(__clang__)))
#include <arm_acle.h>
#include <sys/auxv.h>
#define CRC32C_NATIVE "arm"
#define CRC32C_TARGET __attribute__((target("+crc")))
#endif

#define CRC32C_POLYNOMIAL 0x82F63B78u /* Reflected. */

typedef uint32_t crc32c_fn(uint32_t crc, const void *bytes, size_t len);
static uint32_t tables[8][256]; /* tables[k][b]: byte b followed by k zero bytes. */
static crc32c_fn *chosen;
static const char *chosen_name;

static void tables_fill(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ CRC32C_POLYNOMIAL : crc >> 1;
        tables[0][b] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t b = 0; b < 256; b++)
            tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 0xff];
}

static uint32_t table_eight(uint32_t crc, const uint8_t *p)
{
    crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return tables[7][crc & 0xff] ^ tables[6][crc >> 8 & 0xff] ^ tables[5][crc >> 16 & 0xff] ^ tables[4][crc >> 24] ^
           tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
}

uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8)
        crc = table_eight(crc, p);
    for (; len > 0; p++, len--)
        crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
    return ~crc;
}

#ifdef CRC32C_NATIVE
CRC32C_TARGET static inline uint32_t native_eight(uint32_t crc, uint64_t word)
{
#if defined(__x86_64__)
    return (uint32_t)_mm_crc32_u64(crc, word);
#else
    return __crc32cd(crc, word);
#endif
}

CRC32C_TARGET static inline uint32_t native_one(uint32_t crc, uint8_t byte)
{
#if defined(__x86_64__)
    return _mm_crc32_u8(crc, byte);
#else
    return __crc32cb(crc, byte);
#endif
}

CRC32C_TARGET static uint32_t crc32c_native(uint32_t crc, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = native_eight(crc, word);
    }
    for (; len > 0; p++, len--)
        crc = native_one(crc, *p);
    return ~crc;
}

static int native_supported(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
#else
    return (getauxval(AT_HWCAP) & 1ul << 7) != 0; /* HWCAP_CRC32 */
#endif
}
#endif

__attribute__((constructor)) static void choose(void)
{
    tables_fill();
    chosen = crc32c_table;
    chosen_name = "table";
#ifdef CRC32C_NATIVE
    if (native_supported()) {
        chosen = crc32c_native;
        chosen_name = CRC32C_NATIVE;
    }
#endif
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    return chosen(crc, bytes, len);
}

const char *crc32c_name(void)
{
    return chosen_name;
}
