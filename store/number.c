/* number.c - numbers and their text.
 * INCRBYFLOAT's promise is Redis's result on x86-64, which computes with a mantissa of 64 bits. Other CPUs have other
 * long doubles (ARM: 113 bits), whose sums differ in the last printed digits, and nodes that differ in one byte are two
 * states. So such a build is refused here instead of being found out by the state hash. */
#include "store/number.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(LDBL_MANT_DIG == 64,
               "Holdfast needs the 80-bit long double of x86: INCRBYFLOAT must give the same bytes on every node");

bool number_read_int(const void *text, size_t len, int64_t *ret)
{
    const char *at = text;
    const char *end = at + len;
    bool negative = len > 0 && *at == '-';
    at += negative;
    if (at == end || end - at > NUMBER_INT_BYTES_MAX)
        return false;
    if (*at == '0') { /* Alone, and without a sign. */
        if (len != 1)
            return false;
        *ret = 0;
        return true;
    }
    uint64_t limit = (uint64_t)INT64_MAX + negative;
    uint64_t n = 0;
    for (; at < end; at++) {
        unsigned digit = (unsigned)(*at - '0');
        if (digit > 9 || n > (limit - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *ret = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

size_t number_write_int(char out[NUMBER_INT_BYTES_MAX], int64_t n)
{
    char digits[NUMBER_INT_BYTES_MAX];
    size_t n_digits = 0;
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do {
        digits[n_digits++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    size_t len = 0;
    if (n < 0)
        out[len++] = '-';
    while (n_digits > 0)
        out[len++] = digits[--n_digits];
    return len;
}

/* A terminated copy for the C library; false when no number has that form. */
static bool number_terminated(const void *text, size_t len, char out[NUMBER_LONG_DOUBLE_BYTES_MAX])
{
    if (len == 0 || len >= NUMBER_LONG_DOUBLE_BYTES_MAX)
        return false;
    memcpy(out, text, len);
    out[len] = '\0';
    return !isspace((unsigned char)out[0]);
}

bool number_read_long_double(const void *text, size_t len, long double *ret)
{
    char copy[NUMBER_LONG_DOUBLE_BYTES_MAX];
    if (!number_terminated(text, len, copy))
        return false;
    char *end;
    errno = 0;
    long double n = strtold(copy, &end);
    if (end != copy + len || isnan(n) || (errno == ERANGE && (isinf(n) || n == 0)))
        return false;
    *ret = n;
    return true;
}

size_t number_write_long_double(char out[NUMBER_LONG_DOUBLE_BYTES_MAX], long double n)
{
    assert(isfinite(n));
    int written = snprintf(out, NUMBER_LONG_DOUBLE_BYTES_MAX, "%.17Lf", n);
    assert(written > 0 && written < NUMBER_LONG_DOUBLE_BYTES_MAX);
    size_t len = (size_t)written;
    while (out[len - 1] == '0')
        len--;
    if (out[len - 1] == '.')
        len--;
    if (len == 2 && memcmp(out, "-0", 2) == 0) {
        out[0] = '0';
        len = 1;
    }
    return len;
}

bool number_read_double(const void *text, size_t len, double *ret)
{
    char copy[NUMBER_LONG_DOUBLE_BYTES_MAX];
    if (!number_terminated(text, len, copy))
        return false;
    char *end;
    errno = 0;
    double n = strtod(copy, &end);
    if (end != copy + len || isnan(n) || (errno == ERANGE && (isinf(n) || n == 0)))
        return false;
    *ret = n;
    return true;
}

size_t number_write_double(char out[NUMBER_DOUBLE_BYTES_MAX], double n)
{
    int written = 0;
    for (int digits = DBL_DIG; digits <= DBL_DECIMAL_DIG; digits++) {
        written = snprintf(out, NUMBER_DOUBLE_BYTES_MAX, "%.*g", digits, n);
        assert(written > 0 && written < NUMBER_DOUBLE_BYTES_MAX);
        if (strtod(out, NULL) == n)
            break;
    }
    return (size_t)written;
}
