/* spelling.c - Levenshtein's distance, a row of his table at a time. */
#include "node/spelling.h"
#include <ctype.h>
#include <string.h>

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

unsigned spelling_distance(const char *a, const char *b)
{
    unsigned row[SPELLING_WORD_MAX + 1];
    size_t len_a = strlen(a), len_b = strlen(b);
    if (len_a > SPELLING_WORD_MAX || len_b > SPELLING_WORD_MAX)
        return SPELLING_WORD_MAX;
    for (size_t j = 0; j <= len_b; j++)
        row[j] = (unsigned)j;
    for (size_t i = 0; i < len_a; i++) {
        unsigned corner = row[0]; /* Of the row before, one to the left. */
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < len_b; j++) {
            unsigned changed = corner + (tolower((unsigned char)a[i]) != tolower((unsigned char)b[j]));
            corner = row[j + 1];
            row[j + 1] = least(changed, row[j] + 1, corner + 1);
        }
    }
    return row[len_b];
}
