/* digits.c - the two directions of an int64 in decimal; both work on the magnitude as uint64, so INT64_MIN is no
 * special case. Failure: anything but the one canonical spelling is refused. */
#include "node/resp/digits.h"

bool digits_read(const char *base, size_t len, int64_t *ret)
{
    bool negative = len > 0 && base[0] == '-';
    const char *p = base + negative;
    const char *end = base + len;
    if (p == end || len > DIGITS_MAX || (*p == '0' && len > 1))
        return false;
    uint64_t magnitude = 0;
    uint64_t max = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    for (; p < end; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (digit > 9 || magnitude > (max - digit) / 10)
            return false;
        magnitude = magnitude * 10 + digit;
    }
    *ret = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

size_t digits_write(char *to, int64_t n)
{
    char reversed[DIGITS_MAX];
    size_t len = 0;
    uint64_t magnitude = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do {
        reversed[len++] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude != 0);
    if (n < 0)
        reversed[len++] = '-';
    for (size_t i = 0; i < len; i++)
        to[i] = reversed[len - 1 - i];
    return len;
}
