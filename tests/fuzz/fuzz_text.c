/* fuzz_text.c - patterns, numbers and addresses. Patterns are compared with a matcher that tries everything; numbers
 * that can be read are written and read again. Input: a byte, the length of the first text, then both texts. */
#include "node/client/address.h"
#include "store/glob.h"
#include "store/number.h"
#include "tests/fuzz/fuzz.h"
#include <math.h>

#define NAIVE_LEN_MAX 14 /* Trying everything takes too long for longer ones. */

static const uint8_t *naive_class(const uint8_t *p, const uint8_t *end, uint8_t c, bool *ret)
{
    bool negated = p < end && *p == '^', found = false;
    for (p += negated; p < end && *p != ']'; p++) {
        if (*p == '\\' && p + 1 < end) {
            found |= *++p == c;
        } else if (end - p >= 3 && p[1] == '-') {
            found |= (p[0] <= c && c <= p[2]) || (p[2] <= c && c <= p[0]);
            p += 2;
        } else {
            found |= *p == c;
        }
    }
    *ret = found != negated;
    return p < end ? p + 1 : p;
}

static bool naive_match(const uint8_t *p, const uint8_t *p_end, const uint8_t *t, const uint8_t *t_end)
{
    bool fits;
    if (p == p_end)
        return t == t_end;
    if (*p == '*')
        return naive_match(p + 1, p_end, t, t_end) || (t < t_end && naive_match(p, p_end, t + 1, t_end));
    if (t == t_end)
        return false;
    if (*p == '?')
        return naive_match(p + 1, p_end, t + 1, t_end);
    if (*p == '[') {
        p = naive_class(p + 1, p_end, *t, &fits);
        return fits && naive_match(p, p_end, t + 1, t_end);
    }
    if (*p == '\\' && p + 1 < p_end)
        p++;
    return *p == *t && naive_match(p + 1, p_end, t + 1, t_end);
}

static void check_glob(const uint8_t *pattern, size_t pattern_len, const uint8_t *text, size_t text_len)
{
    bool matches = glob_match(pattern, pattern_len, text, text_len);
    if (pattern_len <= NAIVE_LEN_MAX && text_len <= NAIVE_LEN_MAX)
        fuzz_must(matches == naive_match(pattern, pattern + pattern_len, text, text + text_len),
                  "a pattern matches what trying everything finds");
}

static void check_int(const uint8_t *text, size_t len)
{
    char again[NUMBER_INT_BYTES_MAX];
    int64_t n;
    if (number_read_int(text, len, &n))
        fuzz_must(number_write_int(again, n) == len && memcmp(again, text, len) == 0, "integers have one spelling");
}

static void check_long_double(const uint8_t *text, size_t len)
{
    static char again[NUMBER_LONG_DOUBLE_BYTES_MAX], twice[NUMBER_LONG_DOUBLE_BYTES_MAX];
    long double n, back;
    if (!number_read_long_double(text, len, &n) || !isfinite(n))
        return;
    size_t again_len = number_write_long_double(again, n);
    fuzz_must(again_len > 0 && again_len <= sizeof again, "a number fits");
    fuzz_must(number_read_long_double(again, again_len, &back), "what was written can be read");
    fuzz_must(number_write_long_double(twice, back) == again_len && memcmp(again, twice, again_len) == 0,
              "and is written so again");
}

static void check_double(const uint8_t *text, size_t len)
{
    char again[NUMBER_DOUBLE_BYTES_MAX];
    double n, back;
    if (!number_read_double(text, len, &n) || !isfinite(n))
        return;
    size_t again_len = number_write_double(again, n);
    fuzz_must(again_len > 0 && again_len <= sizeof again, "a number fits");
    fuzz_must(number_read_double(again, again_len, &back) && back == n, "what was written reads back equal");
}

static void check_address(const uint8_t *text, size_t len)
{
    struct address a, again;
    if (!address_parse((const char *)text, len, &a))
        return;
    fuzz_must(address_parse(a.name, strlen(a.name), &again), "an address's name is an address");
    fuzz_must(strcmp(a.host, again.host) == 0 && strcmp(a.port, again.port) == 0, "and the same one");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_input in = {bytes, len};
    size_t first_len;
    if (len > 8192)
        return 0;
    uint8_t *first = fuzz_take_bytes(&in, 255, &first_len), *second = fuzz_copy(in.at, in.left);
    check_glob(first, first_len, second, in.left);
    check_int(second, in.left);
    check_long_double(second, in.left);
    check_double(second, in.left);
    check_address(second, in.left);
    free(first);
    free(second);
    return 0;
}
