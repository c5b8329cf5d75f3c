/* fields.c - looked up line by line; INFO's sections are short. */
#include "node/client/fields.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool fields_find(const char *text, const char *key, const char **ret_value, size_t *ret_len)
{
    size_t key_len = strlen(key);
    while (*text != '\0') {
        size_t len = strcspn(text, "\r\n");
        if (len > key_len && memcmp(text, key, key_len) == 0 && text[key_len] == ':') {
            *ret_value = text + key_len + 1;
            *ret_len = len - key_len - 1;
            return true;
        }
        text += len;
        text += strspn(text, "\r\n");
    }
    return false;
}

bool fields_copy(const char *text, const char *key, char *ret, size_t size)
{
    const char *value = "";
    size_t len = 0;
    bool found = fields_find(text, key, &value, &len);
    if (len >= size)
        len = size - 1;
    memcpy(ret, value, len);
    ret[len] = '\0';
    return found;
}

bool fields_number(const char *text, const char *key, int64_t *ret)
{
    char digits[24];
    if (!fields_copy(text, key, digits, sizeof digits))
        return false;
    char *end;
    errno = 0;
    long long n = strtoll(digits, &end, 10);
    if (end == digits || *end != '\0' || errno != 0)
        return false;
    *ret = n;
    return true;
}
