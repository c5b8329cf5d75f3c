/* number.c - the C library's conversions under the "C" locale, whatever the host program has set. */
#include "lua/number.h"
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT_DIGITS_MIN 15 /* Fewer come by themselves: %g drops trailing zeros. The cluster writes floats alike. */
#define FLOAT_DIGITS_MAX 17

static locale_t numbers_locale; /* "C"; made once for the process and kept. */

bool number_init(void)
{
    if (numbers_locale == (locale_t)0)
        numbers_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return numbers_locale != (locale_t)0;
}

static double read_double(const char *text, char **ret_end)
{
    locale_t before = uselocale(numbers_locale);
    double d = strtod(text, ret_end);
    uselocale(before);
    return d;
}

size_t number_write_float(char text[NUMBER_TEXT_MAX], double d)
{
    if (isnan(d))
        return (size_t)snprintf(text, NUMBER_TEXT_MAX, "nan");
    locale_t before = uselocale(numbers_locale);
    int len = 0;
    for (int digits = FLOAT_DIGITS_MIN; digits <= FLOAT_DIGITS_MAX; digits++) {
        len = snprintf(text, NUMBER_TEXT_MAX, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    uselocale(before);
    return (size_t)len;
}

size_t number_write_integer(char text[NUMBER_TEXT_MAX], int64_t n)
{
    return (size_t)snprintf(text, NUMBER_TEXT_MAX, "%" PRId64, n);
}

bool number_read_float(const char *text, size_t len, double *ret)
{
    char *end;
    double d = read_double(text, &end);
    if (len == 0 || end != text + len)
        return false;
    *ret = d;
    return true;
}

bool number_read_integer(const char *text, size_t len, int64_t *ret)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (len == 0 || end != text + len || errno != 0)
        return false;
    *ret = n;
    return true;
}

bool number_is_integer(const char *text, size_t len, int64_t *ret)
{
    char again[NUMBER_TEXT_MAX];
    int64_t n;
    if (!number_read_integer(text, len, &n))
        return false;
    if (number_write_integer(again, n) != len || memcmp(again, text, len) != 0)
        return false;
    *ret = n;
    return true;
}

bool number_is_float(const char *text, size_t len, double *ret)
{
    char again[NUMBER_TEXT_MAX];
    double d;
    if (len >= NUMBER_TEXT_MAX || !number_read_float(text, len, &d) || !isfinite(d)) /* "inf" and "nan" are words. */
        return false;
    if (number_write_float(again, d) != len || memcmp(again, text, len) != 0)
        return false;
    *ret = d;
    return true;
}
