/* glob.c - matching by going back to the last star only.
 * When what follows a star has matched once, giving an earlier star more text can find nothing that giving it to the
 * last one does not: so there is one point of return, no recursion, and no blow-up. Spellings that leave something out
 * mean what they mean in Redis: a class that is never closed ends with the pattern, "[]" matches nothing and "[^]"
 * anything, a backslash at the very end is itself, a range may be the wrong way round. */
#include "store/glob.h"

/* Does c fit the class whose text begins at *at, behind the bracket? Moves *at behind the class. */
static bool glob_class(const uint8_t **at, const uint8_t *end, uint8_t c)
{
    const uint8_t *p = *at;
    bool negated = p < end && *p == '^';
    p += negated;
    bool found = false;
    for (; p < end && *p != ']'; p++) {
        uint8_t low = *p;
        uint8_t high = *p;
        if (*p == '\\' && end - p >= 2) {
            low = high = *++p;
        } else if (end - p >= 3 && p[1] == '-') {
            low = p[0] < p[2] ? p[0] : p[2];
            high = p[0] < p[2] ? p[2] : p[0];
            p += 2;
        }
        found = found || (low <= c && c <= high);
    }
    *at = p < end ? p + 1 : p;
    return found != negated;
}

/* Does c fit the one element at *at (anything but a star)? Moves *at behind it. */
static bool glob_one(const uint8_t **at, const uint8_t *end, uint8_t c)
{
    const uint8_t *p = (*at)++;
    switch (*p) {
    case '?':
        return true;
    case '[':
        return glob_class(at, end, c);
    case '\\':
        if (*at < end)
            return *(*at)++ == c;
        return c == '\\';
    default:
        return *p == c;
    }
}

bool glob_match(const uint8_t *pattern, size_t pattern_len, const uint8_t *text, size_t text_len)
{
    const uint8_t *p = pattern, *p_end = pattern + pattern_len;
    const uint8_t *t = text, *t_end = text + text_len;
    const uint8_t *after_star = NULL; /* Where to go on in the pattern ... */
    const uint8_t *star_text = NULL;  /* ... once the last star has swallowed up to here. */
    while (t < t_end) {
        if (p < p_end && *p == '*') {
            after_star = ++p;
            star_text = t;
        } else if (p < p_end && glob_one(&p, p_end, *t)) {
            t++;
        } else if (after_star != NULL) {
            p = after_star;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < p_end && *p == '*')
        p++;
    return p == p_end;
}
