/* spelling.h - how far a word is from another: letters added, left out or changed, regardless of case. */
#pragma once

#define SPELLING_WORD_MAX 64

/* Words longer than SPELLING_WORD_MAX are as far from all others as that. */
unsigned spelling_distance(const char *a, const char *b);
