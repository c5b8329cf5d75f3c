/* cmd_status.c - the report for people, as a table, and for programs, as JSON whose names stay. */
#include "node/ctl/ctl.h"
#include "node/ctl/report.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* ---- For people ---- */

enum column { NODE, ROLE, ADDRESS, TERM, COMMIT, APPLIED, LAG, UPTIME, N_COLUMNS };

static const struct {
    const char *title;
    bool is_number; /* Set to the right. */
} columns[N_COLUMNS] = {
    {"NODE", false},  {"ROLE", false},   {"ADDRESS", false}, {"TERM", true},
    {"COMMIT", true}, {"APPLIED", true}, {"LAG", true},      {"UPTIME", true},
};

struct table_row {
    char cells[N_COLUMNS][80];
};

static void show_uptime(char *cell, size_t size, int64_t s)
{
    if (s < 60)
        snprintf(cell, size, "%" PRId64 "s", s);
    else if (s < 3600)
        snprintf(cell, size, "%" PRId64 "m%" PRId64 "s", s / 60, s % 60);
    else if (s < 24 * 3600)
        snprintf(cell, size, "%" PRId64 "h%" PRId64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(cell, size, "%" PRId64 "d%" PRId64 "h", s / (24 * 3600), s / 3600 % 24);
}

static void fill_row(struct table_row *row, const struct report_node *node)
{
    const size_t size = sizeof row->cells[0];
    snprintf(row->cells[NODE], size, "%s", node->id != 0 ? node->name : "-");
    snprintf(row->cells[ROLE], size, "%s", node->up ? node->role : "down");
    snprintf(row->cells[ADDRESS], size, "%.79s", node->address);
    for (int c = TERM; c < N_COLUMNS; c++)
        strcpy(row->cells[c], "-");
    if (!node->up)
        return;
    snprintf(row->cells[TERM], size, "%" PRId64, node->term);
    snprintf(row->cells[COMMIT], size, "%" PRId64, node->commit_index);
    snprintf(row->cells[APPLIED], size, "%" PRId64, node->applied_index);
    snprintf(row->cells[LAG], size, "%" PRId64, node->lag);
    show_uptime(row->cells[UPTIME], size, node->uptime_s);
}

static void print_table(const struct table_row *rows, int n)
{
    for (int r = 0; r < n; r++) {
        for (int c = 0; c < N_COLUMNS; c++) {
            int width = 0;
            for (int i = 0; i < n; i++) {
                int len = (int)strlen(rows[i].cells[c]);
                width = len > width ? len : width;
            }
            bool is_last = c == N_COLUMNS - 1;
            printf("%*s%s", columns[c].is_number ? width : -width, rows[r].cells[c], is_last ? "\n" : "  ");
        }
    }
}

/* "3 of 3 nodes up, leader n1, term 4" */
static void write_summary(const struct report *r, char *ret, size_t size)
{
    const struct report_node *leader = r->leader >= 0 ? &r->nodes[r->leader] : NULL;
    if (leader != NULL)
        snprintf(ret, size, "%d of %d nodes up, leader %s, term %" PRId64, r->n_up, r->n_nodes, leader->name,
                 leader->term);
    else if (r->followed_id != 0)
        snprintf(ret, size, "%d of %d nodes up, leader n%" PRId64 ", term %" PRId64, r->n_up, r->n_nodes,
                 r->followed_id, r->followed_term);
    else
        snprintf(ret, size, "%d of %d nodes up, no leader", r->n_up, r->n_nodes);
}

static void print_report(const struct report *r)
{
    struct table_row rows[CLIENT_NODES_MAX + 1];
    char summary[128];
    write_summary(r, summary, sizeof summary);
    puts(summary);
    for (int i = 0; i < r->n_problems; i++)
        printf("  ! %s\n", r->problems[i]);
    for (int c = 0; c < N_COLUMNS; c++)
        snprintf(rows[0].cells[c], sizeof rows[0].cells[c], "%s", columns[c].title);
    for (int i = 0; i < r->n_nodes; i++)
        fill_row(&rows[i + 1], &r->nodes[i]);
    puts("");
    print_table(rows, r->n_nodes + 1);
}

/* ---- For programs ---- */

/* What came from a node may be no text. */
static json_t *json_text(const char *text)
{
    json_t *json = json_string(text);
    return json != NULL ? json : json_string("?");
}

static json_t *json_node(const struct report_node *n)
{
    if (!n->up)
        return json_pack("{s:s, s:I, s:b, s:o}", "address", n->address, "id", (json_int_t)n->id, "up", 0, "why",
                         json_text(n->why));
    return json_pack("{s:s, s:I, s:b, s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:b}", "address", n->address,
                     "id", (json_int_t)n->id, "up", 1, "role", json_text(n->role), "ready", (int)n->ready, "term",
                     (json_int_t)n->term, "leader_id", (json_int_t)n->leader_id, "commit_index",
                     (json_int_t)n->commit_index, "applied_index", (json_int_t)n->applied_index, "lag",
                     (json_int_t)n->lag, "uptime_seconds", (json_int_t)n->uptime_s, "cluster_id",
                     json_text(n->cluster_id), "state_hash", json_text(n->state_hash), "short_of_disk",
                     (int)n->short_of_disk);
}

static json_t *json_nodes(const struct report *r)
{
    json_t *nodes = json_array();
    for (int i = 0; i < r->n_nodes; i++)
        json_array_append_new(nodes, json_node(&r->nodes[i]));
    return nodes;
}

static json_t *json_problems(const struct report *r)
{
    json_t *problems = json_array();
    for (int i = 0; i < r->n_problems; i++)
        json_array_append_new(problems, json_text(r->problems[i]));
    return problems;
}

static enum ctl_exit print_json(const struct report *r)
{
    char summary[128];
    const struct report_node *leader = r->leader >= 0 ? &r->nodes[r->leader] : NULL;
    write_summary(r, summary, sizeof summary);
    json_t *json = json_pack(
        "{s:s, s:b, s:i, s:i, s:i, s:i, s:I, s:s, s:I, s:o, s:o}", "summary", summary, "serves", (int)r->serves,
        "nodes_up", r->n_up, "nodes_listed", r->n_nodes, "voters", r->n_voters, "voters_reachable", r->n_reachable,
        "leader_id", (json_int_t)(leader ? leader->id : r->followed_id), "leader_address",
        leader ? leader->address : "", "term", (json_int_t)(leader ? leader->term : r->followed_term), "problems",
        json_problems(r), "nodes", json_nodes(r));
    int rc = json == NULL ? -1 : json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
    return rc == 0 ? CTL_OK : CTL_OUTPUT;
}

enum ctl_exit cmd_status(struct ctl *ctl)
{
    struct report report;
    enum ctl_exit status = CTL_OK;
    int rc = report_gather(ctl->client, &report);
    if (rc != 0)
        return ctl_failed(ctl, rc);
    if (ctl->options->json)
        status = print_json(&report);
    else
        print_report(&report);
    if (status == CTL_OK && !report.serves)
        status = CTL_UNAVAILABLE;
    return status;
}
