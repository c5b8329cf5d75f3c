/* report.c - one INFO of each node, then judgements over all of them together.
 * A node that cannot be asked is a finding, not a failure. The member list is taken from the leader, else from any
 * node that answers: it names the nodes that do not answer, and tells how many voters there are. */
#include "node/ctl/report.h"
#include "node/client/fields.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAG_WORTH_TELLING 1000 /* Entries; less is the traffic of a moment. */

static void __attribute__((format(printf, 2, 3))) problem(struct report *r, const char *format, ...)
{
    va_list args;
    if (r->n_problems == REPORT_PROBLEMS_MAX)
        return;
    va_start(args, format);
    vsnprintf(r->problems[r->n_problems++], sizeof r->problems[0], format, args);
    va_end(args);
}

/* ---- One node ---- */

static int64_t number(const char *info, const char *key)
{
    int64_t n = 0;
    fields_number(info, key, &n);
    return n;
}

static void read_node(struct report_node *node, const char *info)
{
    node->up = fields_copy(info, "role", node->role, sizeof node->role);
    if (!node->up) {
        snprintf(node->why, sizeof node->why, "is not a Holdfast node");
        return;
    }
    fields_copy(info, "cluster_id", node->cluster_id, sizeof node->cluster_id);
    fields_copy(info, "state_hash", node->state_hash, sizeof node->state_hash);
    node->id = number(info, "node_id");
    node->term = number(info, "term");
    node->leader_id = number(info, "leader_id");
    node->commit_index = number(info, "commit_index");
    node->applied_index = number(info, "applied_index");
    node->uptime_s = number(info, "uptime_in_seconds");
    node->process_id = number(info, "process_id");
    node->ready = number(info, "ready") != 0;
    node->short_of_disk = number(info, "disk_reserve") == 0;
    snprintf(node->name, sizeof node->name, "n%" PRId64, node->id);
}

/* ---- The member list ---- */

/* "key=value" of a list separated by commas. */
static void part_copy(const char *line, size_t len, const char *key, char *ret, size_t size)
{
    size_t key_len = strlen(key);
    const char *end = line + len;
    ret[0] = '\0';
    while (line < end) {
        size_t part = strcspn(line, ",\r\n");
        if (part >= key_len && memcmp(line, key, key_len) == 0) {
            snprintf(ret, size, "%.*s", (int)(part - key_len), line + key_len);
            return;
        }
        line += part + 1;
    }
}

static void read_member(struct report_member *m, int64_t id, const char *line, size_t len)
{
    char flag[4];
    m->id = id;
    part_copy(line, len, "client=", m->client_address, sizeof m->client_address);
    part_copy(line, len, "voter=", flag, sizeof flag);
    m->voter = flag[0] == '1';
    part_copy(line, len, "linked=", flag, sizeof flag);
    m->linked = flag[0] == '1';
}

static void read_members(struct report *r, const char *info)
{
    static const char key[] = "\nmember_";
    r->n_members = 0;
    for (const char *p = strstr(info, key); p != NULL && r->n_members < CLIENT_NODES_MAX; p = strstr(p, key)) {
        char *colon;
        p += sizeof key - 1;
        int64_t id = strtoll(p, &colon, 10);
        if (*colon != ':')
            continue;
        read_member(&r->members[r->n_members++], id, colon + 1, strcspn(colon + 1, "\r\n"));
    }
}

/* ---- Asking ---- */

/* The client's sentence starts with the address, which the report shows anyway. */
static const char *without_address(const char *message, const char *address)
{
    size_t len = strlen(address);
    return strncmp(message, address, len) == 0 && message[len] == ':' ? message + len + 2 : message;
}

static void read_reply(struct report *r, struct report_node *node, const struct resp_value *reply)
{
    if (reply->type != RESP_BULK && reply->type != RESP_VERBATIM) {
        snprintf(node->why, sizeof node->why, "answers: %s", reply->bytes != NULL ? reply->bytes : "nonsense");
        return;
    }
    read_node(node, reply->bytes);
    bool leads = node->up && strcmp(node->role, "leader") == 0;
    if (leads || (node->up && r->n_members == 0))
        read_members(r, reply->bytes);
    r->n_up += node->up;
}

static int ask_node(struct client *client, int i, struct report *r)
{
    static const char *const argv[] = {"INFO", "server", "holdfast"};
    struct report_node *node = &r->nodes[i];
    struct resp_value *reply;
    node->address = client_node_name(client, i);
    snprintf(node->name, sizeof node->name, "%.*s", (int)sizeof node->name - 1, node->address);
    int rc = client_call_node(client, i, 3, argv, NULL, &reply);
    if (rc == CLIENT_ENOMEM)
        return rc;
    if (rc != 0) {
        snprintf(node->why, sizeof node->why, "does not answer: %.140s",
                 without_address(client_message(client), node->address));
        return 0;
    }
    read_reply(r, node, reply);
    resp_value_free(reply);
    return 0;
}

/* An address that every host takes for its own: nobody can be sent there. */
static bool is_wildcard(const char *address)
{
    static const char *const hosts[] = {"0.0.0.0:", "[::]:", ":::", ":"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        size_t len = strlen(hosts[i]);
        if (strncmp(address, hosts[i], len) == 0 && strchr(address + len, ':') == NULL)
            return true;
    }
    return false;
}

static bool was_asked(const struct report *r, const struct report_member *member)
{
    for (int i = 0; i < r->n_nodes; i++) {
        const struct report_node *node = &r->nodes[i];
        if ((node->up && node->id == member->id) || strcmp(node->address, member->client_address) == 0)
            return true;
    }
    return false;
}

static const struct report_member *unasked_member(const struct report *r)
{
    for (int m = 0; m < r->n_members; m++) {
        const struct report_member *member = &r->members[m];
        if (member->client_address[0] != '\0' && !is_wildcard(member->client_address) && !was_asked(r, member))
            return member;
    }
    return NULL;
}

/* Members that are not in our list. The leader may be one: only its answer says which voters it reaches. */
static int ask_the_others(struct client *client, struct report *r)
{
    const struct report_member *member;
    while ((member = unasked_member(r)) != NULL && client_add_node(client, member->client_address) == 0) {
        int rc = ask_node(client, r->n_nodes++, r);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- Judging ---- */

static void name_the_silent(struct report *r)
{
    for (int i = 0; i < r->n_nodes; i++) {
        struct report_node *node = &r->nodes[i];
        for (int m = 0; !node->up && m < r->n_members; m++) {
            if (strcmp(r->members[m].client_address, node->address) != 0)
                continue;
            node->id = r->members[m].id;
            snprintf(node->name, sizeof node->name, "n%" PRId64, node->id);
        }
        if (!node->up && node->id != 0)
            problem(r, "%s (%s) %s", node->name, node->address, node->why);
        else if (!node->up)
            problem(r, "%s %s", node->address, node->why);
    }
}

/* Of two that claim to lead, the higher term does. */
static void find_leader(struct report *r)
{
    for (int i = 0; i < r->n_nodes; i++) {
        const struct report_node *node = &r->nodes[i];
        if (!node->up || strcmp(node->role, "leader") != 0)
            continue;
        if (r->leader >= 0)
            problem(r, "%s and %s both say they lead; the lower term, %" PRId64 ", is about to notice",
                    r->nodes[r->leader].name, node->name,
                    node->term < r->nodes[r->leader].term ? node->term : r->nodes[r->leader].term);
        if (r->leader < 0 || node->term > r->nodes[r->leader].term)
            r->leader = i;
    }
}

/* A leader that answers others but not us. Who has the newest term knows best. */
static void find_followed(struct report *r)
{
    for (int i = 0; r->leader < 0 && i < r->n_nodes; i++) {
        const struct report_node *node = &r->nodes[i];
        if (!node->up || node->leader_id == 0 || node->term < r->followed_term)
            continue;
        r->followed_id = node->leader_id;
        r->followed_term = node->term;
    }
}

static void count_voters(struct report *r)
{
    int n_linked = 0;
    for (int m = 0; m < r->n_members; m++) {
        r->n_voters += r->members[m].voter;
        n_linked += r->members[m].voter && r->members[m].linked;
    }
    if (r->n_voters == 0)
        r->n_voters = r->n_nodes;
    r->n_reachable = r->leader >= 0 && r->n_members > 0 ? n_linked : r->n_up;
}

static void judge_quorum(struct report *r)
{
    int spare = r->n_reachable - (r->n_voters / 2 + 1);
    bool ready = r->leader >= 0 && r->nodes[r->leader].ready;
    r->serves = r->followed_id != 0 || (ready && spare >= 0);
    if (r->followed_id != 0)
        problem(r, "n%" PRId64 ", the leader, cannot be asked from here: which voters it reaches is not known",
                r->followed_id);
    else if (spare < 0)
        problem(r, "only %d of %d voters can be reached: no majority, nothing can be read or written", r->n_reachable,
                r->n_voters);
    else if (r->leader < 0)
        problem(r, "there is no leader: nothing can be read or written until one is elected");
    else if (!ready)
        problem(r, "%s was elected a moment ago and is not ready yet", r->nodes[r->leader].name);
    else if (spare == 0 && r->n_reachable < r->n_voters)
        problem(r, "one more loss stops reads and writes");
}

static const struct report_node *node_by_id(const struct report *r, int64_t id)
{
    for (int i = 0; i < r->n_nodes; i++) {
        if (r->nodes[i].id == id)
            return &r->nodes[i];
    }
    return NULL;
}

/* Voters the leader misses that the other findings do not explain: up but cut off from it, or never asked by us. */
static void judge_links(struct report *r)
{
    for (int m = 0; r->leader >= 0 && m < r->n_members; m++) {
        const struct report_member *member = &r->members[m];
        const struct report_node *node = node_by_id(r, member->id);
        if (!member->voter || member->linked)
            continue;
        if (node == NULL)
            problem(r, "n%" PRId64 " cannot be reached by the leader, nor asked: its address for clients is not known",
                    member->id);
        else if (node->up)
            problem(r, "%s, the leader, has no link to %s", r->nodes[r->leader].name, node->name);
    }
}

static void judge_addresses(struct report *r)
{
    for (int m = 0; m < r->n_members; m++) {
        if (is_wildcard(r->members[m].client_address))
            problem(r, "n%" PRId64 " tells clients the address %s, which leads nowhere: set 'advertise' on it",
                    r->members[m].id, r->members[m].client_address);
    }
}

static void judge_node(struct report *r, struct report_node *node, int64_t newest)
{
    node->lag = newest > node->applied_index ? newest - node->applied_index : 0;
    if (node->lag > LAG_WORTH_TELLING)
        problem(r, "%s is %" PRId64 " entries behind", node->name, node->lag);
    if (node->short_of_disk)
        problem(r, "%s is short of disk space%s", node->name,
                r->leader >= 0 && node == &r->nodes[r->leader] ? ": writes are refused" : "");
}

static void judge_pair(struct report *r, const struct report_node *a, const struct report_node *b)
{
    if (strcmp(a->cluster_id, b->cluster_id) != 0)
        problem(r, "%s (%s) and %s (%s) belong to different clusters", a->name, a->address, b->name, b->address);
    else if (a->id == b->id && a->process_id != b->process_id)
        problem(r, "%s and %s both run as node %" PRId64 ": stop the wrong one at once", a->address, b->address, a->id);
    else if (a->applied_index == b->applied_index && strcmp(a->state_hash, b->state_hash) != 0)
        problem(r, "the states of %s and %s differ at index %" PRId64, a->name, b->name, a->applied_index);
}

static void judge_nodes(struct report *r)
{
    int64_t newest = 0;
    for (int i = 0; i < r->n_nodes; i++) {
        if (r->nodes[i].up && r->nodes[i].commit_index > newest)
            newest = r->nodes[i].commit_index;
    }
    for (int i = 0; i < r->n_nodes; i++) {
        if (r->nodes[i].up)
            judge_node(r, &r->nodes[i], newest);
        for (int j = 0; j < i; j++) {
            if (r->nodes[i].up && r->nodes[j].up)
                judge_pair(r, &r->nodes[j], &r->nodes[i]);
        }
    }
}

int report_gather(struct client *client, struct report *ret)
{
    *ret = (struct report){.n_nodes = client_node_count(client), .leader = -1};
    for (int i = 0; i < ret->n_nodes; i++) {
        int rc = ask_node(client, i, ret);
        if (rc != 0)
            return rc;
    }
    int rc = ask_the_others(client, ret);
    if (rc != 0)
        return rc;
    name_the_silent(ret);
    find_leader(ret);
    find_followed(ret);
    count_voters(ret);
    judge_links(ret);
    judge_quorum(ret);
    judge_addresses(ret);
    judge_nodes(ret);
    return 0;
}
