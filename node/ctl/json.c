/* json.c - what is not text must not be lost in text's clothes. */
#include "node/ctl/json.h"
#include <stdio.h>
#include <stdlib.h>

json_t *ctl_json_bytes(const char *bytes, size_t len)
{
    json_t *text = json_stringn(bytes, len);
    if (text != NULL)
        return text;
    char *hex = malloc(2 * len + 1);
    if (hex == NULL)
        return NULL;
    for (size_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)bytes[i]);
    json_t *object = json_pack("{s:s}", "hex", hex);
    free(hex);
    return object;
}

enum ctl_exit ctl_print_json(json_t *json)
{
    int rc = json == NULL ? -1 : json_dumpf(json, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    putchar('\n');
    json_decref(json);
    return rc == 0 ? CTL_OK : CTL_OUTPUT;
}
