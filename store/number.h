/* number.h - numbers as the text that clients see: strict reading, and writing that is the same bytes on every node.
 * Expects the C locale, which a program has until it calls setlocale(). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBER_INT_BYTES_MAX 20
#define NUMBER_DOUBLE_BYTES_MAX 32
#define NUMBER_LONG_DOUBLE_BYTES_MAX 5120 /* 4,933 digits, a sign, a point and 17 decimals fit. */

/* An int64 in its one canonical spelling: no space, plus, leading zero, "-0" or empty text. *ret is untouched on false.
 */
bool number_read_int(const void *text, size_t len, int64_t *ret);
/* Not terminated; returns its length. */
size_t number_write_int(char out[NUMBER_INT_BYTES_MAX], int64_t n);

/* Whatever strtold() takes whole, except leading space, NaN, overflow, and what underflows to zero. "inf" is a number
 * here: the caller refuses it where it leads. */
bool number_read_long_double(const void *text, size_t len, long double *ret);
/* 17 decimals without trailing zeros, never an exponent, no "-0". n must be finite. Returns the length. */
size_t number_write_long_double(char out[NUMBER_LONG_DOUBLE_BYTES_MAX], long double n);

/* As number_read_long_double(), rounded to double. */
bool number_read_double(const void *text, size_t len, double *ret);
/* The first of %.15g, %.16g, %.17g that reads back equal. Whole numbers come without ".0": the row's type says that
 * they are floats. Returns the length. */
size_t number_write_double(char out[NUMBER_DOUBLE_BYTES_MAX], double n);
