/* json.h - output for programs: one JSON value a line. */
#pragma once
#include "node/ctl/ctl.h"
#include <jansson.h>

/* Bytes as JSON: text where they are UTF-8, else {"hex": "..."}. NULL: out of memory. */
json_t *ctl_json_bytes(const char *bytes, size_t len);
/* Print it and let it go; NULL is a failure. */
enum ctl_exit ctl_print_json(json_t *json);
