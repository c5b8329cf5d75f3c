/* show.c - the cluster's own field names are the columns, so what a newer node tells besides is shown, too. */
#include "node/ctl/show.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELL_BYTES 64

int64_t show_pairs(const struct resp_value *v)
{
    bool is_map = v->type == RESP_MAP || (v->type == RESP_ARRAY && v->n > 0 && v->n % 2 == 0);
    int64_t pairs = !is_map ? -1 : v->type == RESP_MAP ? v->n : v->n / 2;
    for (int64_t i = 0; i < pairs; i++)
        if (v->parts[2 * i].bytes == NULL)
            return -1;
    return pairs;
}

void show_key(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c < ' ' || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
}

static json_t *to_json(const struct resp_value *v)
{
    json_t *json;
    int64_t pairs = show_pairs(v);
    if (pairs >= 0) {
        json = json_object();
        for (int64_t i = 0; i < pairs; i++)
            json_object_set_new(json, v->parts[2 * i].bytes, to_json(&v->parts[2 * i + 1]));
        return json;
    }
    switch (v->type) {
    case RESP_INT:
        return json_integer(v->n);
    case RESP_BOOL:
        return json_boolean(v->n);
    case RESP_ARRAY:
        json = json_array();
        for (int64_t i = 0; i < v->n; i++)
            json_array_append_new(json, to_json(&v->parts[i]));
        return json;
    default: /* Names may hold any byte; JSON cannot. */
        json = v->bytes != NULL ? json_stringn(v->bytes, v->len) : json_null();
        return json != NULL ? json : json_string("?");
    }
}

static enum ctl_exit print_json(const struct resp_value *v)
{
    json_t *json = to_json(v);
    int rc = json == NULL ? -1 : json_dumpf(json, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    putchar('\n');
    json_decref(json);
    return rc == 0 ? CTL_OK : CTL_OUTPUT;
}

static void cell(const struct resp_value *v, char ret[CELL_BYTES])
{
    if (v->type == RESP_INT || v->type == RESP_BOOL)
        snprintf(ret, CELL_BYTES, "%" PRId64, v->n);
    else if (v->type == RESP_ARRAY || v->type == RESP_MAP)
        snprintf(ret, CELL_BYTES, "%" PRId64 " of them", v->n);
    else
        snprintf(ret, CELL_BYTES, "%s", v->bytes != NULL ? v->bytes : "-");
    for (char *c = ret; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?'; /* A terminal must not obey it. */
}

const struct resp_value *show_field(const struct resp_value *map, const char *name)
{
    int64_t pairs = show_pairs(map);
    for (int64_t i = 0; i < pairs; i++)
        if (strcmp(map->parts[2 * i].bytes, name) == 0)
            return &map->parts[2 * i + 1];
    return NULL;
}

/* "session=5  token=7" */
static void print_inline(const struct resp_value *map)
{
    char name[CELL_BYTES], value[CELL_BYTES];
    for (int64_t i = 0; i < show_pairs(map); i++) {
        cell(&map->parts[2 * i], name);
        cell(&map->parts[2 * i + 1], value);
        printf("  %s=%s", name, value);
    }
    putchar('\n');
}

static void print_field(const struct resp_value *name, const struct resp_value *value)
{
    char left[CELL_BYTES], right[CELL_BYTES];
    cell(name, left);
    cell(value, right);
    printf("%-10s  %s\n", left, right);
    for (int64_t i = 0; value->type == RESP_ARRAY && i < value->n; i++)
        if (show_pairs(&value->parts[i]) >= 0)
            print_inline(&value->parts[i]);
}

enum ctl_exit show_map(const struct ctl *ctl, const struct resp_value *map)
{
    int64_t pairs = show_pairs(map);
    if (pairs < 0)
        return ctl_surprised();
    if (ctl->options->json)
        return print_json(map);
    for (int64_t i = 0; i < pairs; i++)
        print_field(&map->parts[2 * i], &map->parts[2 * i + 1]);
    return CTL_OK;
}

static int column_width(const struct resp_value *maps, int64_t column)
{
    char text[CELL_BYTES];
    cell(&maps->parts[0].parts[2 * column], text);
    int width = (int)strlen(text);
    for (int64_t i = 0; i < maps->n; i++) {
        cell(&maps->parts[i].parts[2 * column + 1], text);
        width = (int)strlen(text) > width ? (int)strlen(text) : width;
    }
    return width;
}

/* Row -1 is the head. */
static void print_row(const struct resp_value *maps, int64_t row, const int *widths)
{
    char text[CELL_BYTES];
    const struct resp_value *map = &maps->parts[row < 0 ? 0 : row];
    int64_t columns = show_pairs(map);
    for (int64_t c = 0; c < columns; c++) {
        cell(&map->parts[2 * c + (row >= 0)], text);
        printf("%-*s%s", c + 1 < columns ? widths[c] : 0, text, c + 1 < columns ? "  " : "\n");
    }
}

/* Columns of a list of maps alike; -1: it is none. */
static int64_t count_columns(const struct resp_value *maps)
{
    int64_t columns = 0;
    if (maps->type != RESP_ARRAY)
        return -1;
    for (int64_t i = 0; i < maps->n; i++) {
        int64_t pairs = show_pairs(&maps->parts[i]);
        if (pairs < 1 || (i > 0 && pairs != columns))
            return -1;
        columns = pairs;
    }
    return columns;
}

enum ctl_exit show_maps(const struct ctl *ctl, const struct resp_value *maps, const char *none)
{
    int64_t columns = count_columns(maps);
    if (columns < 0)
        return ctl_surprised();
    if (ctl->options->json)
        return print_json(maps);
    if (maps->n == 0) {
        fprintf(stderr, "%s\n", none);
        return CTL_OK;
    }
    int *widths = calloc((size_t)columns, sizeof *widths);
    if (widths == NULL)
        return ctl_failed(ctl, CLIENT_ENOMEM);
    for (int64_t c = 0; c < columns; c++)
        widths[c] = column_width(maps, c);
    for (int64_t row = -1; row < maps->n; row++)
        print_row(maps, row, widths);
    free(widths);
    return CTL_OK;
}
