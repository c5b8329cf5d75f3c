/* cmd_member.c - the members of the cluster, shown and changed: the list before, the change, the list after. */
#include "node/ctl/ctl.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMBERS_MAX 16
#define WORDS_MAX 8

struct member {
    int64_t id, leader, linked, last_heard_ms;
    char role[16], peer_address[256], client_address[256];
};

struct list {
    struct member members[MEMBERS_MAX];
    size_t n;
};

/* ---- The list ---- */

static void take_text(char *to, size_t size, const struct resp_value *v)
{
    if (v->type == RESP_BULK || v->type == RESP_SIMPLE)
        snprintf(to, size, "%.*s", (int)(v->len < size ? v->len : size - 1), v->bytes);
}

static void take_field(struct member *m, const struct resp_value *name, const struct resp_value *v)
{
    static const struct {
        const char *name;
        size_t at;
    } numbers[] = {{"id", offsetof(struct member, id)},
                   {"leader", offsetof(struct member, leader)},
                   {"linked", offsetof(struct member, linked)},
                   {"last_heard_ms", offsetof(struct member, last_heard_ms)}};
    if (name->type != RESP_BULK)
        return;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(name->bytes, numbers[i].name) == 0 && v->type == RESP_INT)
            *(int64_t *)((char *)m + numbers[i].at) = v->n;
    if (strcmp(name->bytes, "role") == 0)
        take_text(m->role, sizeof m->role, v);
    else if (strcmp(name->bytes, "peer_address") == 0)
        take_text(m->peer_address, sizeof m->peer_address, v);
    else if (strcmp(name->bytes, "client_address") == 0)
        take_text(m->client_address, sizeof m->client_address, v);
}

static bool take_list(const struct resp_value *reply, struct list *ret)
{
    *ret = (struct list){.n = 0};
    if (reply->type != RESP_ARRAY)
        return false;
    for (int64_t i = 0; i < reply->n && ret->n < MEMBERS_MAX; i++) {
        const struct resp_value *map = &reply->parts[i];
        int64_t parts = map->type == RESP_MAP ? 2 * map->n : map->type == RESP_ARRAY ? map->n : 0;
        for (int64_t k = 0; k + 1 < parts; k += 2)
            take_field(&ret->members[ret->n], &map->parts[k], &map->parts[k + 1]);
        ret->n += ret->members[ret->n].id != 0;
    }
    return true;
}

static enum ctl_exit get_list(const struct ctl *ctl, struct list *ret)
{
    static const char *const argv[] = {"MEMBER", "LIST"};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, false, 2, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    if (!take_list(reply, ret))
        status = ctl_surprised();
    resp_value_free(reply);
    return status;
}

static void print_list(const struct list *list)
{
    printf("  %-6s %-8s %-24s %-24s %s\n", "NODE", "ROLE", "PEERS", "CLIENTS", "");
    for (size_t i = 0; i < list->n; i++) {
        const struct member *m = &list->members[i];
        char name[24];
        snprintf(name, sizeof name, "n%" PRId64, m->id);
        printf("  %-6s %-8s %-24s %-24s %s\n", name, m->role, m->peer_address,
               m->client_address[0] != '\0' ? m->client_address : "-",
               m->leader != 0   ? "leader"
               : m->linked != 0 ? ""
                                : "not linked");
    }
}

static json_t *json_list(const struct list *list)
{
    json_t *json = json_array();
    for (size_t i = 0; i < list->n; i++) {
        const struct member *m = &list->members[i];
        json_array_append_new(json, json_pack("{s:I, s:s, s:b, s:s, s:s, s:b}", "id", (json_int_t)m->id, "role",
                                              m->role, "leader", m->leader != 0, "peer_address", m->peer_address,
                                              "client_address", m->client_address, "linked", m->linked != 0));
    }
    return json;
}

static enum ctl_exit print_json(json_t *json)
{
    int rc = json == NULL ? -1 : json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
    return rc == 0 ? CTL_OK : CTL_OUTPUT;
}

static enum ctl_exit member_list(struct ctl *ctl)
{
    struct list list;
    enum ctl_exit status = get_list(ctl, &list);
    if (status != CTL_OK)
        return status;
    if (ctl->options->json)
        return print_json(json_list(&list));
    print_list(&list);
    return CTL_OK;
}

/* ---- Changes ---- */

struct outcome {
    int64_t id, index;
    char note[256];
};

static void take_outcome(const struct resp_value *reply, struct outcome *ret)
{
    int64_t parts = reply->type == RESP_MAP ? 2 * reply->n : reply->type == RESP_ARRAY ? reply->n : 0;
    for (int64_t k = 0; k + 1 < parts; k += 2) {
        const struct resp_value *name = &reply->parts[k], *v = &reply->parts[k + 1];
        if (name->type == RESP_BULK && strcmp(name->bytes, "id") == 0)
            ret->id = v->n;
        else if (name->type == RESP_BULK && strcmp(name->bytes, "index") == 0)
            ret->index = v->n;
        else if (name->type == RESP_BULK && strcmp(name->bytes, "note") == 0)
            take_text(ret->note, sizeof ret->note, v);
    }
}

static enum ctl_exit show(const struct ctl *ctl, const struct list *before, const struct list *after,
                          const struct outcome *o)
{
    bool dry = (ctl->options->given & OPTION_DRY_RUN) != 0;
    if (ctl->options->json)
        return print_json(json_pack("{s:b, s:I, s:I, s:s, s:o, s:o}", "dry_run", dry, "id", (json_int_t)o->id, "index",
                                    (json_int_t)o->index, "note", o->note, "before", json_list(before), "after",
                                    json_list(after)));
    puts("before:");
    print_list(before);
    if (dry) {
        printf("it would be done%s%s\n", o->note[0] != '\0' ? ": " : "", o->note);
        return CTL_OK;
    }
    puts("after:");
    print_list(after);
    return CTL_OK;
}

/* Words of ours are given as they are; options follow. */
static enum ctl_exit change(struct ctl *ctl, int n, const char *const *words)
{
    const char *argv[WORDS_MAX + 2];
    struct list before, after;
    struct outcome outcome = {.id = 0};
    struct resp_value *reply;
    enum ctl_exit status = get_list(ctl, &before);
    if (status != CTL_OK)
        return status;
    memcpy(argv, words, (size_t)n * sizeof *words);
    if ((ctl->options->given & OPTION_FORCE) != 0)
        argv[n++] = "FORCE";
    if ((ctl->options->given & OPTION_DRY_RUN) != 0)
        argv[n++] = "DRYRUN";
    status = ctl_ask(ctl, true, n, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    take_outcome(reply, &outcome);
    resp_value_free(reply);
    status = get_list(ctl, &after);
    return status == CTL_OK ? show(ctl, &before, &after, &outcome) : status;
}

/* "n3" and "3" are node 3. NULL, with a word on stderr, when it is neither. */
static const char *node_word(const char *text)
{
    const char *digits = text[0] == 'n' ? text + 1 : text;
    if (*digits != '\0' && strspn(digits, "0123456789") == strlen(digits))
        return digits;
    fprintf(stderr, "holdfast: '%s' is no node; nodes are named n1 or 1\n", text);
    return NULL;
}

static enum ctl_exit change_node(struct ctl *ctl, const char *verb)
{
    const char *node = node_word(ctl->argv[1]);
    return node == NULL ? CTL_USAGE : change(ctl, 3, (const char *const[]){"MEMBER", verb, node});
}

static enum ctl_exit member_add(struct ctl *ctl)
{
    return change(ctl, 3, (const char *const[]){"MEMBER", "ADD", ctl->argv[1]});
}

static enum ctl_exit member_promote(struct ctl *ctl)
{
    return change_node(ctl, "PROMOTE");
}

static enum ctl_exit member_demote(struct ctl *ctl)
{
    return change_node(ctl, "DEMOTE");
}

static enum ctl_exit member_remove(struct ctl *ctl)
{
    return change_node(ctl, "REMOVE");
}

static enum ctl_exit member_update_address(struct ctl *ctl)
{
    const char *node = node_word(ctl->argv[1]);
    if (node == NULL)
        return CTL_USAGE;
    return change(ctl, 4, (const char *const[]){"MEMBER", "UPDATE-ADDRESS", node, ctl->argv[2]});
}

static enum ctl_exit ask_token(struct ctl *ctl, const char *ttl_s, struct resp_value **ret)
{
    const char *const argv[] = {"MEMBER", "TOKEN", ttl_s};
    enum ctl_exit status = ctl_ask(ctl, true, ttl_s != NULL ? 3 : 2, argv, NULL, ret);
    if (status != CTL_OK || (*ret)->type == RESP_BULK)
        return status;
    resp_value_free(*ret);
    return ctl_surprised();
}

static enum ctl_exit member_token(struct ctl *ctl)
{
    struct resp_value *reply;
    enum ctl_exit status = ask_token(ctl, ctl->argc > 1 ? ctl->argv[1] : NULL, &reply);
    if (status != CTL_OK)
        return status;
    puts(reply->bytes);
    if (isatty(STDOUT_FILENO))
        fprintf(stderr, "good on %s: holdfastd --join %s --join-token ...\n", client_node(ctl->client),
                client_node(ctl->client));
    resp_value_free(reply);
    return CTL_OK;
}

/* Nobody is there to take its place yet: say how to start it. */
static enum ctl_exit explain_replace(struct ctl *ctl, const char *old)
{
    struct resp_value *reply;
    enum ctl_exit status = ask_token(ctl, NULL, &reply);
    if (status != CTL_OK)
        return status;
    fprintf(stderr,
            "holdfast: there is no learner that could take the place of n%s. Start one with an empty directory:\n"
            "  holdfastd --data-dir DIR --listen HOST:PORT --peer-listen HOST:PORT --join %s --join-token %s \\\n"
            "            --replace %s\n"
            "It replaces n%s by itself when it has caught up. The token is good for an hour.\n",
            old, client_node(ctl->client), reply->bytes, old, old);
    resp_value_free(reply);
    return CTL_REFUSED;
}

static enum ctl_exit member_replace(struct ctl *ctl)
{
    const char *old = node_word(ctl->argv[1]), *new = NULL;
    struct list list;
    char only[24];
    if (old == NULL || (ctl->argc > 2 && (new = node_word(ctl->argv[2])) == NULL))
        return CTL_USAGE;
    enum ctl_exit status = new == NULL ? get_list(ctl, &list) : CTL_OK;
    if (status != CTL_OK)
        return status;
    for (size_t i = 0, learners = 0; new == NULL &&i < list.n; i++) {
        learners += strcmp(list.members[i].role, "learner") == 0;
        if (learners == 1 && strcmp(list.members[i].role, "learner") == 0)
            snprintf(only, sizeof only, "%" PRId64, list.members[i].id);
        if (i + 1 == list.n && learners == 1)
            new = only;
    }
    if (new == NULL)
        return explain_replace(ctl, old);
    return change(ctl, 4, (const char *const[]){"MEMBER", "REPLACE", old, new});
}

static const struct ctl_verb verbs[] = {
    {"list", "", 0, 0, member_list},
    {"add", "HOST:PORT", 1, 1, member_add},
    {"promote", "NODE", 1, 1, member_promote},
    {"demote", "NODE", 1, 1, member_demote},
    {"remove", "NODE", 1, 1, member_remove},
    {"replace", "OLD [NEW]", 1, 2, member_replace},
    {"update-address", "NODE HOST:PORT", 2, 2, member_update_address},
    {"token", "[SECONDS]", 0, 1, member_token},
};

enum ctl_exit cmd_member(struct ctl *ctl)
{
    return ctl_run_verb(ctl, "member", verbs, sizeof verbs / sizeof *verbs);
}

/* ---- Leadership ---- */

enum ctl_exit cmd_leader(struct ctl *ctl)
{
    const char *node = NULL;
    if (strcmp(ctl->argv[0], "transfer") != 0) {
        fprintf(stderr, "Usage: holdfast leader transfer [NODE]\n");
        return CTL_USAGE;
    }
    if (ctl->argc > 1 && (node = node_word(ctl->argv[1])) == NULL)
        return CTL_USAGE;
    return change(ctl, node != NULL ? 3 : 2, (const char *const[]){"MEMBER", "TRANSFER", node});
}

/* The address of a node that is named by its number, or as it stands. */
static enum ctl_exit find_address(struct ctl *ctl, const char *text, char ret[256])
{
    struct list list;
    snprintf(ret, 256, "%s", text);
    if (strchr(text, ':') != NULL)
        return CTL_OK;
    const char *node = node_word(text);
    enum ctl_exit status = node == NULL ? CTL_USAGE : get_list(ctl, &list);
    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < list.n; i++)
        if (list.members[i].id == strtoll(node, NULL, 10) && list.members[i].client_address[0] != '\0') {
            snprintf(ret, 256, "%s", list.members[i].client_address);
            return CTL_OK;
        }
    fprintf(stderr, "holdfast: the address of n%s is not known; give it as HOST:PORT\n", node);
    return CTL_REFUSED;
}

enum ctl_exit cmd_drain(struct ctl *ctl)
{
    static const char *const shutdown[] = {"SHUTDOWN"};
    char address[256];
    struct resp_value *reply = NULL;
    enum ctl_exit status = find_address(ctl, ctl->argv[0], address);
    if (status != CTL_OK)
        return status;
    int node = client_node_count(ctl->client);
    int rc = client_add_node(ctl->client, address);
    if (rc != 0)
        return ctl_failed(ctl, rc);
    rc = client_call_node(ctl->client, node, 1, shutdown, NULL, &reply);
    if (rc == CLIENT_EUNKNOWN) { /* Its last word: it hangs up when it has handed over and finished. */
        printf("%s has handed over, finished what was in flight, and ended\n", address);
        return CTL_OK;
    }
    if (rc != 0)
        return ctl_failed(ctl, rc);
    fprintf(stderr, "holdfast: %s: %s\n", address, reply->type == RESP_ERROR ? reply->bytes : "it goes on");
    resp_value_free(reply);
    return CTL_REFUSED;
}
