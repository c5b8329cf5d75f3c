/* crc32c.h - CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), the check of every record on disk.
 * Any thread. Source: RFC 3720 appendix B.4 has the test vectors. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* The CRC of len more bytes after those that gave `crc`; begin with 0. So
 * crc32c(crc32c(0, a), b) is the CRC of a followed by b. Uses the processor's instruction where there is one. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);
/* The same from a table, for any processor. */
uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t len);
/* "sse4.2", "arm" or "table": what crc32c() uses here. */
const char *crc32c_name(void);
