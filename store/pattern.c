/* pattern.c - matching by recursion over the items of the pattern: each item tries its possibilities, and each of those
 * asks whether the rest of the pattern matches behind it. An item is one class with what may follow it (* + - ?), a
 * capture's bracket, %b, %f, or a back reference. Simple items that cannot be taken back do not recurse. */
#include "store/pattern.h"
#include <ctype.h>
#include <string.h>

#define PATTERN_DEPTH_MAX 200

static const char *rest(struct pattern *p, const char *pat, const char *at, enum pattern_result *r);

static const char *fail_with(struct pattern *p, enum pattern_result *r, const char *error)
{
    p->error = error;
    *r = PATTERN_MALFORMED;
    return NULL;
}

/* One step of work; false when there is none left. */
static bool spend(struct pattern *p, enum pattern_result *r)
{
    if (p->steps == 0) {
        *r = PATTERN_TIRED;
        return false;
    }
    p->steps--;
    return true;
}

/* Where the single class that begins at pat ends; NULL: malformed. */
static const char *class_end(struct pattern *p, const char *pat, enum pattern_result *r)
{
    const char *end = p->source_end;
    if (*pat == '%') {
        if (pat + 1 == end)
            return fail_with(p, r, "malformed pattern (ends with '%')");
        return pat + 2;
    }
    if (*pat++ != '[')
        return pat;
    if (pat < end && *pat == '^')
        pat++;
    do { /* A ] that comes first is itself. */
        if (pat == end)
            return fail_with(p, r, "malformed pattern (missing ']')");
        pat += *pat == '%' && pat + 1 < end ? 2 : 1;
    } while (pat == end || *pat != ']');
    return pat + 1;
}

static bool in_class(unsigned char c, unsigned char class)
{
    bool in;
    switch (class | 0x20) {
    case 'a':
        in = isalpha(c) != 0;
        break;
    case 'c':
        in = iscntrl(c) != 0;
        break;
    case 'd':
        in = isdigit(c) != 0;
        break;
    case 'g':
        in = isgraph(c) != 0;
        break;
    case 'l':
        in = islower(c) != 0;
        break;
    case 'p':
        in = ispunct(c) != 0;
        break;
    case 's':
        in = isspace(c) != 0;
        break;
    case 'u':
        in = isupper(c) != 0;
        break;
    case 'w':
        in = isalnum(c) != 0;
        break;
    case 'x':
        in = isxdigit(c) != 0;
        break;
    case 'z':
        in = c == 0;
        break;
    default:
        return class == c;
    }
    return isupper(class) ? !in : in;
}

/* [set], from its bracket to the closing one at `close`. */
static bool in_set(unsigned char c, const char *set, const char *close)
{
    bool wanted = true;
    if (*++set == '^') {
        wanted = false;
        set++;
    }
    for (; set < close; set++) {
        if (*set == '%' && set + 1 < close) {
            if (in_class(c, (unsigned char)*++set))
                return wanted;
        } else if (set + 2 < close && set[1] == '-') {
            if ((unsigned char)set[0] <= c && c <= (unsigned char)set[2])
                return wanted;
            set += 2;
        } else if ((unsigned char)*set == c) {
            return wanted;
        }
    }
    return !wanted;
}

static bool single(const struct pattern *p, const char *at, const char *pat, const char *end)
{
    if (at >= p->subject_end)
        return false;
    unsigned char c = (unsigned char)*at;
    switch (*pat) {
    case '.':
        return true;
    case '%':
        return in_class(c, (unsigned char)pat[1]);
    case '[':
        return in_set(c, pat, end - 1);
    default:
        return (unsigned char)*pat == c;
    }
}

/* ---- Captures ---- */

static const char *open_capture(struct pattern *p, const char *pat, const char *at, bool is_position,
                                enum pattern_result *r)
{
    if (p->n_captures == PATTERN_CAPTURES_MAX)
        return fail_with(p, r, "too many captures");
    size_t i = p->n_captures++;
    p->captures[i] = (struct pattern_capture){.base = at, .is_position = is_position};
    p->state[i].open = !is_position;
    const char *end = rest(p, pat, at, r);
    if (end == NULL)
        p->n_captures = i;
    return end;
}

static const char *close_capture(struct pattern *p, const char *pat, const char *at, enum pattern_result *r)
{
    for (size_t i = p->n_captures; i-- > 0;) {
        if (!p->state[i].open)
            continue;
        p->state[i].open = false;
        p->captures[i].len = (size_t)(at - p->captures[i].base);
        const char *end = rest(p, pat, at, r);
        if (end == NULL)
            p->state[i].open = true;
        return end;
    }
    return fail_with(p, r, "invalid pattern capture");
}

/* Where the subject ends that repeats capture number `digit`; NULL: it does not. */
static const char *back_reference(struct pattern *p, char digit, const char *at, enum pattern_result *r)
{
    size_t i = (size_t)(digit - '1');
    if (digit == '0' || i >= p->n_captures || p->state[i].open)
        return fail_with(p, r, "invalid capture index");
    size_t len = p->captures[i].len;
    if (p->steps < len) {
        *r = PATTERN_TIRED;
        return NULL;
    }
    p->steps -= len;
    if ((size_t)(p->subject_end - at) < len || memcmp(p->captures[i].base, at, len) != 0)
        return NULL;
    return at + len;
}

/* ---- %b and %f ---- */

static const char *balance(struct pattern *p, const char *pat, const char *at, enum pattern_result *r)
{
    if (p->source_end - pat < 2)
        return fail_with(p, r, "malformed pattern (missing arguments to '%b')");
    size_t depth = 1;
    if (at >= p->subject_end || *at != pat[0])
        return NULL;
    while (++at < p->subject_end) {
        if (!spend(p, r))
            return NULL;
        if (*at == pat[1]) {
            if (--depth == 0)
                return at + 1;
        } else if (*at == pat[0]) {
            depth++;
        }
    }
    return NULL;
}

/* Between a character outside of the set and one in it; the ends of the subject count as zeros. */
static bool at_frontier(const struct pattern *p, const char *set, const char *end, const char *at)
{
    unsigned char before = at == p->subject ? 0 : (unsigned char)at[-1];
    unsigned char here = at < p->subject_end ? (unsigned char)*at : 0;
    return !in_set(before, set, end - 1) && in_set(here, set, end - 1);
}

/* ---- Repetition ---- */

static const char *longest_first(struct pattern *p, const char *at, const char *pat, const char *end,
                                 enum pattern_result *r)
{
    size_t n = 0;
    while (single(p, at + n, pat, end)) {
        if (!spend(p, r))
            return NULL;
        n++;
    }
    for (;; n--) {
        const char *found = rest(p, end + 1, at + n, r);
        if (found != NULL || *r != PATTERN_NONE || n == 0)
            return found;
    }
}

static const char *shortest_first(struct pattern *p, const char *at, const char *pat, const char *end,
                                  enum pattern_result *r)
{
    for (;;) {
        const char *found = rest(p, end + 1, at, r);
        if (found != NULL || *r != PATTERN_NONE)
            return found;
        if (!single(p, at, pat, end))
            return NULL;
        at++;
    }
}

/* What begins with % and is no class. *taken: it was one of those. */
static const char *special(struct pattern *p, const char **pat, const char *at, bool *taken, enum pattern_result *r)
{
    char kind = *pat + 1 < p->source_end ? (*pat)[1] : '\0';
    *taken = true;
    if (kind == 'b') {
        at = balance(p, *pat + 2, at, r);
        *pat += 4;
        return at;
    }
    if (kind == 'f') {
        const char *set = *pat + 2;
        if (set >= p->source_end || *set != '[')
            return fail_with(p, r, "missing '[' after '%f' in pattern");
        const char *end = class_end(p, set, r);
        if (end == NULL)
            return NULL;
        *pat = end;
        return at_frontier(p, set, end, at) ? at : NULL;
    }
    if (isdigit((unsigned char)kind)) {
        *pat += 2;
        return back_reference(p, kind, at, r);
    }
    *taken = false;
    return at;
}

/* The rest of the pattern at this place. Loops over what needs no way back. */
static const char *match_items(struct pattern *p, const char *pat, const char *at, enum pattern_result *r)
{
    while (pat < p->source_end) {
        bool taken = false;
        if (!spend(p, r))
            return NULL;
        if (*pat == '(') {
            bool is_position = pat + 1 < p->source_end && pat[1] == ')';
            return open_capture(p, pat + (is_position ? 2 : 1), at, is_position, r);
        }
        if (*pat == ')')
            return close_capture(p, pat + 1, at, r);
        if (*pat == '$' && pat + 1 == p->source_end)
            return at == p->subject_end ? at : NULL;
        if (*pat == '%')
            at = special(p, &pat, at, &taken, r);
        if (at == NULL)
            return NULL;
        if (taken)
            continue;
        const char *end = class_end(p, pat, r);
        if (end == NULL)
            return NULL;
        char repeat = end < p->source_end ? *end : '\0';
        if (repeat == '*')
            return longest_first(p, at, pat, end, r);
        if (repeat == '+')
            return single(p, at, pat, end) ? longest_first(p, at + 1, pat, end, r) : NULL;
        if (repeat == '-')
            return shortest_first(p, at, pat, end, r);
        bool here = single(p, at, pat, end);
        if (repeat == '?') {
            const char *found = here ? rest(p, end + 1, at + 1, r) : NULL;
            if (found != NULL || *r != PATTERN_NONE)
                return found;
            pat = end + 1;
            continue;
        }
        if (!here)
            return NULL;
        at++;
        pat = end;
    }
    return at;
}

static const char *rest(struct pattern *p, const char *pat, const char *at, enum pattern_result *r)
{
    if (p->depth == PATTERN_DEPTH_MAX)
        return fail_with(p, r, "pattern too complex");
    p->depth++;
    const char *end = match_items(p, pat, at, r);
    p->depth--;
    return end;
}

enum pattern_result pattern_match(struct pattern *p, const char *at, const char **ret_end)
{
    enum pattern_result r = PATTERN_NONE;
    p->n_captures = 0;
    p->depth = 0;
    const char *end = rest(p, p->source, at, &r);
    if (end == NULL)
        return r;
    for (size_t i = 0; i < p->n_captures; i++)
        if (p->state[i].open) {
            p->error = "unfinished capture";
            return PATTERN_MALFORMED;
        }
    *ret_end = end;
    return PATTERN_MATCH;
}
