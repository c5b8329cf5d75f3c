/* glob.h - Redis's patterns over bytes: * ? [a-z] [^x] \x. Case counts. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does the whole text match? Takes at most about pattern_len * text_len steps, however many stars there are. */
bool glob_match(const uint8_t *pattern, size_t pattern_len, const uint8_t *text, size_t text_len);
