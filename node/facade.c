/* facade.c - see facade.h.
 *
 * While no leader is known, a node names itself the master for as long as it would keep a command waiting for one: who
 * comes in the middle of an election is served a moment later, and need not be told that there is nobody. After that it
 * names no master, so that clients of a minority look for nodes of the majority.
 * Addresses are those that nodes told this one when they linked up; who has not been heard since this node's start has
 * none and is left out. */
#include "node/facade.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void facade_id(const struct node_status *s, uint64_t id, char ret[FACADE_ID_MAX])
{
    snprintf(ret, FACADE_ID_MAX, "%.32s%08x", s->cluster_id, (unsigned)id);
}

static bool split(const char *address, char host[FACADE_HOST_MAX], unsigned *ret_port)
{
    char port[16];
    if (!config_split_address(address, host, FACADE_HOST_MAX, port, sizeof port))
        return false;
    *ret_port = (unsigned)strtoul(port, NULL, 10);
    return true;
}

static uint64_t master_of(const struct node *n, const struct node_status *s)
{
    if (s->leader != 0)
        return s->leader;
    return s->leaderless_ms < node_config(n)->request_timeout_ms ? s->id : 0;
}

static void add_place(struct facade_view *v, const struct node_member *m, uint64_t master)
{
    struct facade_place *p = &v->places[v->n];
    if (!split(m->client_address, p->host, &p->port))
        return;
    facade_id(&v->status, m->id, p->id);
    p->member = m;
    p->is_master = m->id == master;
    p->is_self = m->id == v->status.id;
    v->has_master |= p->is_master;
    v->n++;
}

void facade_look(const struct node *n, struct facade_view *ret)
{
    struct node_status *s = &ret->status;
    ret->n = 0;
    ret->has_master = false;
    node_status(n, s);
    uint64_t master = master_of(n, s);
    for (size_t i = 0; i < s->n_members; i++)
        if (s->members[i].id == master)
            add_place(ret, &s->members[i], master);
    for (size_t i = 0; i < s->n_members; i++)
        if (s->members[i].id != master)
            add_place(ret, &s->members[i], master);
}

static bool format_switch(const char *name, const char *from, const char *to, char ret[FACADE_SWITCH_MAX])
{
    char old_host[FACADE_HOST_MAX], new_host[FACADE_HOST_MAX];
    unsigned old_port, new_port;
    if (!split(from, old_host, &old_port) || !split(to, new_host, &new_port))
        return false;
    snprintf(ret, FACADE_SWITCH_MAX, "%s %s %u %s %u", name, old_host, old_port, new_host, new_port);
    return true;
}

bool facade_follow(struct facade_watch *w, uint64_t leader, const char *address, uint64_t now_ms, const char *name,
                   char ret[FACADE_SWITCH_MAX])
{
    if (leader == 0 && w->leader != 0)
        w->lost_ms = now_ms;
    w->leader = leader;
    if (leader == 0 || leader == w->told || address[0] == '\0')
        return false;
    bool tells = w->told != 0 && format_switch(name, w->address, address, ret);
    w->told = leader;
    snprintf(w->address, sizeof w->address, "%s", address);
    return tells;
}
