/* test_store_glob.c - patterns, one by one and against a plain recursive matcher. */
#include "store/glob.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *pattern, *text;
    bool want;
} cases[] = {
    {"", "", true},
    {"", "a", false},
    {"*", "", true},
    {"*", "anything", true},
    {"**", "", true},
    {"?", "", false},
    {"?", "a", true},
    {"a?c", "abc", true},
    {"h*llo", "hllo", true},
    {"h*llo", "heeeello", true},
    {"h*llo", "hell", false},
    {"*abc", "ababc", true},
    {"a*b*c", "axbxbxc", true},
    {"a*b*c", "axbxbx", false},
    {"h[ae]llo", "hello", true},
    {"h[ae]llo", "hillo", false},
    {"h[^e]llo", "hallo", true},
    {"h[^e]llo", "hello", false},
    {"h[a-c]llo", "hbllo", true},
    {"h[c-a]llo", "hbllo", true},
    {"h[a-c]llo", "hdllo", false},
    {"[a-]", "-", false}, /* The range from "]" to "a", in a class that is never closed. */
    {"[a-]", "^", true},
    {"[a-", "b", false},
    {"[a", "a", true},
    {"[", "[", false},
    {"[]", "a", false},
    {"[^]", "a", true},
    {"[]a]", "a]", false},
    {"[\\]]", "]", true},
    {"[\\^a]", "^", true},
    {"[a\\-z]", "m", false},
    {"[a\\-z]", "-", true},
    {"\\*", "*", true},
    {"\\*", "a", false},
    {"\\a", "a", true},
    {"\\", "\\", true},
    {"a\\", "a\\", true},
    {"[*]", "*", true},
    {"[*]", "a", false},
    {"user:*:name", "user:1:2:name", true},
    {"A", "a", false},
    {"[\x80-\xff]", "\xe9", true},
    {"[a-\xff]", "\x01", false},
};

static bool match(const char *pattern, const char *text)
{
    return glob_match((const uint8_t *)pattern, strlen(pattern), (const uint8_t *)text, strlen(text));
}

static void patterns_one_by_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (match(cases[i].pattern, cases[i].text) != cases[i].want)
            fail_msg("'%s' on '%s'", cases[i].pattern, cases[i].text);
}

static void zero_bytes_are_bytes(void **state)
{
    (void)state;
    assert_true(glob_match((const uint8_t *)"a\0*", 3, (const uint8_t *)"a\0b\0", 4));
    assert_false(glob_match((const uint8_t *)"a\0b", 3, (const uint8_t *)"a\0c", 3));
}

/* Finishing at all is the test: a matcher that tries every split takes longer than the universe has. */
static void many_stars_do_not_blow_up(void **state)
{
    (void)state;
    char pattern[202], text[5001];
    for (int i = 0; i < 100; i++)
        memcpy(pattern + 2 * i, "a*", 2);
    memcpy(pattern + 200, "b", 2);
    memset(text, 'a', 5000);
    text[5000] = '\0';
    assert_false(match(pattern, text));
    text[4999] = 'b';
    assert_true(match(pattern, text));
}

/* The obvious matcher for * ? \x and literals. */
static bool plain_match(const char *p, const char *t)
{
    if (*p == '\0')
        return *t == '\0';
    if (*p == '*')
        return plain_match(p + 1, t) || (*t != '\0' && plain_match(p, t + 1));
    if (*t == '\0')
        return false;
    if (*p == '\\' && p[1] != '\0')
        return p[1] == *t && plain_match(p + 2, t + 1);
    return (*p == '?' || *p == *t) && plain_match(p + 1, t + 1);
}

static void fill_from(char *out, size_t max, const char *alphabet)
{
    size_t len = (size_t)random() % max;
    for (size_t i = 0; i < len; i++)
        out[i] = alphabet[(size_t)random() % strlen(alphabet)];
    out[len] = '\0';
}

static void agrees_with_the_obvious_matcher(void **state)
{
    (void)state;
    const char *given = getenv("HOLDFAST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    print_message("HOLDFAST_SEED=%u\n", seed);
    srandom(seed);
    for (int i = 0; i < 200000; i++) {
        char pattern[9], text[11];
        fill_from(pattern, sizeof pattern, "ab*?\\");
        fill_from(text, sizeof text, "ab*\\");
        if (match(pattern, text) != plain_match(pattern, text))
            fail_msg("'%s' on '%s'", pattern, text);
    }
}

static void any_bytes_are_a_pattern(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        char pattern[9];
        fill_from(pattern, sizeof pattern, "a[]^-\\*?z");
        size_t len = strlen(pattern);
        uint8_t *exact = malloc(len > 0 ? len : 1); /* So that a sanitizer sees a read past the end. */
        memcpy(exact, pattern, len);
        glob_match(exact, len, (const uint8_t *)"a-z]", 4);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_one_by_one),       cmocka_unit_test(zero_bytes_are_bytes),
        cmocka_unit_test(many_stars_do_not_blow_up), cmocka_unit_test(agrees_with_the_obvious_matcher),
        cmocka_unit_test(any_bytes_are_a_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
