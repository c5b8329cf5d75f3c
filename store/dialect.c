/* dialect.c - a walk over the words of a script. What differs between the versions and can be seen in the words:
 *     5             5.0            all numbers of 5.1 are floats; integers would wrap around and divide differently
 *     a .. b        a <<X<< b      numbers are written without ".0"; X is told the left side, then the right one, by
 * its metamethod. A shift, which 5.1 does not have, binds as a concatenation does; and Lua 5.4.4 loses its way when the
 * stack moves under a metamethod of a concatenation
 *     "\q"          "q"            unknown escapes stand for themselves, those that 5.4 added among them
 *     goto          goto_          is a name
 *     // & | ~ << >> ::            are not there: an error in the compiler's words
 * Comments, strings and white space go through as they are. */
#include "store/dialect.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct walk {
    const char *at, *end;
    int line;
    struct dialect_text *out;
    char *error;
};

void dialect_text_release(struct dialect_text *t)
{
    free(t->base);
    *t = (struct dialect_text){0};
}

static void put(struct dialect_text *t, const char *bytes, size_t len)
{
    if (t->failed)
        return;
    if (t->cap - t->len < len) {
        size_t cap = t->cap + len + t->cap / 2 + 256;
        char *grown = realloc(t->base, cap);
        if (grown == NULL) {
            t->failed = true;
            return;
        }
        t->base = grown;
        t->cap = cap;
    }
    memcpy(t->base + t->len, bytes, len);
    t->len += len;
}

static void put_text(struct walk *w, const char *text)
{
    put(w->out, text, strlen(text));
}

/* Copy n bytes as they are. */
static void copy(struct walk *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w->line += w->at[i] == '\n';
    put(w->out, w->at, n);
    w->at += n;
}

static char peek(const struct walk *w, size_t ahead)
{
    return (size_t)(w->end - w->at) > ahead ? w->at[ahead] : '\0';
}

static bool refuse(struct walk *w, const char *word)
{
    snprintf(w->error, DIALECT_ERROR_MAX, "%d: unexpected symbol near '%s'", w->line, word);
    return false;
}

/* Level of a long bracket that opens `ahead` bytes on, or -1. */
static int long_bracket(const struct walk *w, size_t ahead)
{
    int level = 0;
    if (peek(w, ahead) != '[')
        return -1;
    while (peek(w, ahead + 1 + (size_t)level) == '=')
        level++;
    return peek(w, ahead + 1 + (size_t)level) == '[' ? level : -1;
}

/* Copy up to and with the end of a long bracket of that level; all that is left when it never ends. */
static void copy_long(struct walk *w, int level)
{
    size_t n = 0, left = (size_t)(w->end - w->at);
    for (; n < left; n++) {
        size_t k = 1;
        if (w->at[n] != ']')
            continue;
        while (n + k < left && w->at[n + k] == '=')
            k++;
        if (k == (size_t)level + 1 && n + k < left && w->at[n + k] == ']') {
            copy(w, n + k + 1);
            return;
        }
    }
    copy(w, left);
}

static void copy_comment(struct walk *w)
{
    int level = long_bracket(w, 2);
    if (level >= 0) {
        copy(w, 2 + (size_t)level + 2);
        copy_long(w, level);
        return;
    }
    size_t n = 2;
    while (w->at + n < w->end && w->at[n] != '\n')
        n++;
    copy(w, n);
}

static void copy_string(struct walk *w)
{
    char quote = *w->at;
    copy(w, 1);
    while (w->at < w->end && *w->at != quote && *w->at != '\n') {
        if (*w->at != '\\' || w->at + 1 == w->end) {
            copy(w, 1);
            continue;
        }
        char next = w->at[1];
        bool known = strchr("abfnrtv\\\"'\n\r", next) != NULL || isdigit((unsigned char)next);
        if (known && next != '\0') {
            copy(w, 2);
        } else {
            w->at++;
            copy(w, 1);
        }
    }
    if (w->at < w->end)
        copy(w, 1);
}

/* As 5.1 reads them: digits and points, an exponent with its sign, and whatever letters follow. */
static void copy_number(struct walk *w)
{
    bool hex = *w->at == '0' && (peek(w, 1) | 0x20) == 'x', is_float = false;
    size_t n = hex ? 2 : 0;
    for (;; n++) {
        unsigned char c = (unsigned char)peek(w, n);
        if (c == '.' || (!hex && (c | 0x20) == 'e'))
            is_float = true;
        else if ((c == '+' || c == '-') && !hex && n > 0 && (w->at[n - 1] | 0x20) == 'e')
            continue;
        else if (!isalnum(c) && c != '_')
            break;
    }
    copy(w, n);
    if (!is_float)
        put_text(w, ".0");
}

static void copy_name(struct walk *w)
{
    size_t n = 0;
    while (isalnum((unsigned char)peek(w, n)) || peek(w, n) == '_')
        n++;
    bool is_goto = n == 4 && memcmp(w->at, "goto", 4) == 0;
    copy(w, n);
    if (is_goto)
        put_text(w, "_");
}

static void copy_dots(struct walk *w)
{
    if (peek(w, 1) == '.' && peek(w, 2) == '.') {
        copy(w, 3);
    } else if (peek(w, 1) == '.') {
        w->at += 2;
        put_text(w, "<<" DIALECT_CONCAT "<<");
    } else {
        copy(w, 1);
    }
}

/* A word that 5.1 does not know? */
static bool check_operator(struct walk *w)
{
    char c = *w->at, next = peek(w, 1);
    if (c == '/' && next == '/')
        return refuse(w, "/");
    if (c == ':' && next == ':')
        return refuse(w, ":");
    if (c == '&' || c == '|' || (c == '~' && next != '='))
        return refuse(w, (const char[]){c, '\0'});
    if ((c == '<' || c == '>') && next == c)
        return refuse(w, (const char[]){c, '\0'});
    return true;
}

static bool step(struct walk *w)
{
    unsigned char c = (unsigned char)*w->at;
    int level;
    if (c == '-' && peek(w, 1) == '-') {
        copy_comment(w);
    } else if (c == '"' || c == '\'') {
        copy_string(w);
    } else if ((level = long_bracket(w, 0)) >= 0) {
        copy(w, (size_t)level + 2);
        copy_long(w, level);
    } else if (isdigit(c) || (c == '.' && isdigit((unsigned char)peek(w, 1)))) {
        copy_number(w);
    } else if (isalpha(c) || c == '_') {
        copy_name(w);
    } else if (c == '.') {
        copy_dots(w);
    } else {
        if (!check_operator(w))
            return false;
        copy(w, 1);
    }
    return true;
}

bool dialect_translate(const char *source, size_t len, struct dialect_text *ret, char error[DIALECT_ERROR_MAX])
{
    struct walk w = {.at = source, .end = source + len, .line = 1, .out = ret, .error = error};
    while (w.at < w.end && !ret->failed)
        if (!step(&w))
            return false;
    return !ret->failed;
}
