/* number.h - numbers as text, and back. A NUL must follow every text that is read. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBER_TEXT_MAX 32 /* "-1.7976931348623157e+308", a ".0" and the NUL fit. */

/* Once, before the others; false: out of memory. */
bool number_init(void);
/* Both return the length without the NUL. Of a float: the shortest text that reads back equal. */
size_t number_write_integer(char text[NUMBER_TEXT_MAX], int64_t n);
size_t number_write_float(char text[NUMBER_TEXT_MAX], double d);
/* False when the text is no such number, the whole of it. */
bool number_read_integer(const char *text, size_t len, int64_t *ret);
bool number_read_float(const char *text, size_t len, double *ret);
/* The same for text that nobody said is a number: only what the writers above would have written is one ("+5", "007",
 * "1.50" and "inf" are not). The cluster's CAS reads text without a type by the same rule. */
bool number_is_integer(const char *text, size_t len, int64_t *ret);
bool number_is_float(const char *text, size_t len, double *ret);
