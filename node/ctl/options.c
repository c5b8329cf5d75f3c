/* options.c - one table of options for all commands, read by getopt_long() and by help. */
#include "node/ctl/options.h"
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DURATION_MS_MAX (100.0 * 365 * 24 * 3600 * 1000)

static const struct option_row {
    unsigned bit;
    const char *name;
    char letter;              /* 0: none */
    const char *value, *help; /* value NULL: takes none */
} rows[] = {
    {OPTION_NODES, "nodes", 'n', "LIST",
     "host:port[,host:port...] of the nodes; else $HOLDFAST_NODES, else this machine"},
    {OPTION_TIMEOUT, "timeout", 't', "TIME",
     "how long to try in all: 2, 1.5s, 300ms (default 5s; status and ping 2s; wait 30s)"},
    {OPTION_USER, "user", 'u', "NAME", "log in as NAME; the password comes from $HOLDFAST_PASSWORD"},
    {OPTION_OUTPUT, "output", 'o', "FORM", "table (for people) or json (stable, for programs)"},
    {OPTION_TTL, "ttl", 0, "TIME", "the key (a lock: unless renewed) is gone after TIME: 30, 1.5s, 500ms, 10m, 2h, 7d"},
    {OPTION_NX, "nx", 0, NULL, "only if there is no such key"},
    {OPTION_XX, "xx", 0, NULL, "only if there is such a key"},
    {OPTION_RAW, "raw", 0, NULL, "the bytes as they are: no newline after a value, nothing escaped"},
    {OPTION_DRY_RUN, "dry-run", 0, NULL, "only say whether it would be done"},
    {OPTION_FORCE, "force", 0, NULL, "also when a node is behind or too few of the voters can be seen"},
    {OPTION_WAIT, "wait", 0, "TIME", "how long to wait for the lock (30s); 0: not at all"},
    {OPTION_SHARED, "shared", 0, NULL, "together with others that share it"},
    {OPTION_PERMITS, "permits", 0, "N/M", "the lock is a semaphore of M permits, of which N are taken"},
    {OPTION_REASON, "reason", 0, "TEXT", "why: it goes to the logs of the nodes"},
    {OPTION_RATE, "rate", 0, "N", "how many are allowed in the time of --per"},
    {OPTION_PER, "per", 0, "TIME", "that time (1s)"},
    {OPTION_FROM, "from", 0, "REVISION", "the first revision to tell of; else what happens from now on"},
    {OPTION_HELP, "help", 'h', NULL, "this help"},
    {OPTION_VERSION, "version", 'V', NULL, "the version"},
};
#define N_ROWS (sizeof rows / sizeof *rows)
#define LONG_ONLY 256 /* getopt_long() answers LONG_ONLY + row for every option. */

const char *options_name(unsigned bits)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if ((rows[i].bit & bits) != 0)
            return rows[i].name;
    }
    return "";
}

void options_names(unsigned mask, char *ret, size_t size)
{
    size_t len = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < N_ROWS && len < size; i++)
        if ((rows[i].bit & mask) != 0)
            len += (size_t)snprintf(ret + len, size - len, "%s--%s", len > 0 ? " " : "", rows[i].name);
}

void options_print(unsigned mask)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        const struct option_row *row = &rows[i];
        char left[40];
        if ((row->bit & mask) == 0)
            continue;
        char letter[] = {'-', row->letter, ',', ' ', '\0'};
        snprintf(left, sizeof left, "%s--%s%s%s", row->letter != 0 ? letter : "    ", row->name,
                 row->value != NULL ? " " : "", row->value != NULL ? row->value : "");
        printf("  %-20s  %s\n", left, row->help);
    }
}

/* "30", "1.5s", "500ms", "10m", "2h", "7d"; more than nothing. */
static bool duration_read(const char *text, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60e3}, {"h", 3600e3}, {"d", 24 * 3600e3}};
    char *unit;
    double n = strtod(text, &unit);
    if (unit == text || strspn(text, "0123456789.") != (size_t)(unit - text))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        double ms = ceil(n * units[i].ms);
        if (strcmp(unit, units[i].unit) != 0)
            continue;
        if (!(ms >= 1 && ms <= DURATION_MS_MAX))
            return false;
        *ret_ms = (int64_t)ms;
        return true;
    }
    return false;
}

static bool bad_value(const struct option_row *row, const char *value, const char *want)
{
    fprintf(stderr, "holdfast: --%s %s: %s\n", row->name, value, want);
    return false;
}

static bool permits_read(const char *text, struct options *o)
{
    char end;
    return strspn(text, "0123456789/") == strlen(text) &&
           sscanf(text, "%9u/%9u%c", &o->permits, &o->permits_of, &end) == 2 && o->permits >= 1 &&
           o->permits <= o->permits_of;
}

static bool rate_read(const char *text, struct options *o)
{
    char end;
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text) &&
           sscanf(text, "%9u%c", &o->rate, &end) == 1 && o->rate >= 1;
}

static bool revision_read(const char *text, int64_t *ret)
{
    char end;
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 18 &&
           sscanf(text, "%" SCNd64 "%c", ret, &end) == 1 && *ret >= 1;
}

static bool option_take(struct options *o, const struct option_row *row, const char *value)
{
    o->given |= row->bit;
    switch (row->bit) {
    case OPTION_NODES:
        o->nodes = value;
        return true;
    case OPTION_USER:
        o->user = value;
        return true;
    case OPTION_TIMEOUT:
        return duration_read(value, &o->timeout_ms) || bad_value(row, value, "a time like 2, 1.5s or 300ms is needed");
    case OPTION_TTL:
        return duration_read(value, &o->ttl_ms) || bad_value(row, value, "a time like 30, 500ms or 2h is needed");
    case OPTION_WAIT:
        o->wait_ms = 0;
        return strcmp(value, "0") == 0 || duration_read(value, &o->wait_ms) ||
               bad_value(row, value, "a time like 0, 30 or 500ms is needed");
    case OPTION_PERMITS:
        return permits_read(value, o) || bad_value(row, value, "a share like 1/4 is needed");
    case OPTION_RATE:
        return rate_read(value, o) || bad_value(row, value, "a number from 1 on is needed");
    case OPTION_PER:
        return duration_read(value, &o->per_ms) || bad_value(row, value, "a time like 1s or 500ms is needed");
    case OPTION_FROM:
        return revision_read(value, &o->from) || bad_value(row, value, "a revision, a number from 1 on, is needed");
    case OPTION_REASON:
        o->reason = value;
        return true;
    case OPTION_OUTPUT:
        o->json = strcmp(value, "json") == 0;
        return o->json || strcmp(value, "table") == 0 || bad_value(row, value, "either table or json");
    default:
        return true;
    }
}

static const struct option_row *row_from_getopt(int c)
{
    if (c >= LONG_ONLY)
        return &rows[c - LONG_ONLY];
    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].letter == c)
            return &rows[i];
    }
    return NULL; /* Unknown, or its value is missing: getopt has said so. */
}

static void getopt_tables(struct option longs[N_ROWS + 1], char *letters)
{
    *letters++ = '+'; /* Stop at each argument: options_parse() goes on behind it. */
    for (size_t i = 0; i < N_ROWS; i++) {
        longs[i] = (struct option){rows[i].name, rows[i].value != NULL, NULL, LONG_ONLY + (int)i};
        if (rows[i].letter == 0)
            continue;
        *letters++ = rows[i].letter;
        if (rows[i].value != NULL)
            *letters++ = ':';
    }
    longs[N_ROWS] = (struct option){0};
    *letters = '\0';
}

static bool is_negative_number(const char *arg)
{
    return arg[0] == '-' && arg[1] >= '0' && arg[1] <= '9';
}

bool options_parse(int argc, char **argv, struct options *ret)
{
    struct option longs[N_ROWS + 1];
    char letters[2 * N_ROWS + 2];
    getopt_tables(longs, letters);
    *ret = (struct options){.argv = argv + 1, .n_before = -1};
    bool only_args = false; /* "--" was seen. */
    while (optind < argc) {
        int start = optind;
        int c = only_args || is_negative_number(argv[start]) ? -1 : getopt_long(argc, argv, letters, longs, NULL);
        if (c != -1) {
            const struct option_row *row = row_from_getopt(c);
            if (row == NULL || !option_take(ret, row, optarg))
                return false;
        } else if (optind > start) {
            only_args = true;
            ret->n_before = ret->argc;
        } else {
            ret->argv[ret->argc++] = argv[optind++];
        }
    }
    ret->argv[ret->argc] = NULL; /* As execvp() wants it. */
    return true;
}
