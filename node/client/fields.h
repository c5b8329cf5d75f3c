/* fields.h - INFO's text: lines of key:value. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The value of the first line "key:value" of text, in its place. */
bool fields_find(const char *text, const char *key, const char **ret_value, size_t *ret_len);
/* The same as a C string, cut to size - 1 bytes; "" and false when there is no such line. */
bool fields_copy(const char *text, const char *key, char *ret, size_t size);
/* The same as a number; false when missing or not one. */
bool fields_number(const char *text, const char *key, int64_t *ret);
