/* digits.h - decimal numbers as the wire spells them. Private to node/resp/. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGITS_MAX 20 /* "-9223372036854775808" */

/* Redis's strict spelling only: no blanks, no '+', no leading zeros, no "-0". False: *ret is untouched. */
bool digits_read(const char *base, size_t len, int64_t *ret);
/* Writes at most DIGITS_MAX bytes, no NUL; returns how many. */
size_t digits_write(char *to, int64_t n);
