/* show.h - replies made of maps, as lists and maps of fields: for people as a table, for programs as JSON. */
#pragma once
#include "node/ctl/ctl.h"

/* A key on a line for people: it may hold anything, a terminal may not; control characters appear as \xNN. */
void show_key(const char *bytes, size_t len);
/* A map, one field a line. */
enum ctl_exit show_map(const struct ctl *ctl, const struct resp_value *map);
/* An array of maps with the same fields, a row each; `none` when it is empty. */
enum ctl_exit show_maps(const struct ctl *ctl, const struct resp_value *maps, const char *none);
/* The pairs of a map, name before value in its parts; in RESP2, which has none, a flat array. -1: it is no map. */
int64_t show_pairs(const struct resp_value *v);
/* The value of a map's field, NULL when there is none. */
const struct resp_value *show_field(const struct resp_value *map, const char *name);
