/* promotion.c - see promotion.h. The leader judges whether this node has caught up; a refusal is said once and asked
 * about again, since the usual reason (the others write faster than a snapshot comes in) goes away by itself. */
#include "node/promotion.h"
#include <stdio.h>
#include <string.h>

#define PROMOTION_RETRY_MS 300
#define PROMOTION_DEADLINE_MS 5000

static const struct replica_member *member(const struct replica_status *s, uint64_t id)
{
    for (size_t i = 0; i < s->n_members; i++)
        if (s->members[i].member.id == id)
            return &s->members[i].member;
    return NULL;
}

static void take_answer(struct promotion *p, struct changes *x, uint64_t now)
{
    const struct change_answer *a = changes_answer(x, p->ticket);
    char text[CHANGES_TEXT_MAX + 64];
    if (a == NULL)
        return;
    if (a->code != ANSWER_DONE && strcmp(a->text, p->said) != 0) {
        snprintf(p->said, sizeof p->said, "%s", a->text);
        snprintf(text, sizeof text, "not a voter yet: %s", a->text);
        p->log(p->ctx, 2, text);
    }
    changes_forget(x, p->ticket);
    p->ticket = 0;
    p->retry_ms = now + PROMOTION_RETRY_MS;
}

static void ask(struct promotion *p, struct changes *x, bool replace, uint64_t now)
{
    struct change_request q = {
        .kind = replace ? REQUEST_REPLACE : REQUEST_PROMOTE, .id = x->self, .other = p->replaces};
    p->ticket = changes_ask(x, &q, now + PROMOTION_DEADLINE_MS);
    p->retry_ms = now + PROMOTION_RETRY_MS;
}

void promotion_tick(struct promotion *p, struct changes *x)
{
    struct replica_status s;
    uint64_t now = x->now_ms(x->ctx);
    if (!p->wanted)
        return;
    if (p->ticket != 0)
        take_answer(p, x, now);
    if (p->ticket != 0 || now < p->retry_ms)
        return;
    replica_status(x->replica, &s);
    const struct replica_member *self = member(&s, x->self);
    bool replace = p->replaces != 0 && member(&s, p->replaces) != NULL;
    if (self == NULL || s.installing || s.applied < s.commit)
        return; /* Still taking in what there is. */
    if (!self->voter || replace) {
        ask(p, x, replace, now);
        return;
    }
    p->wanted = false;
    p->done = true;
    p->log(p->ctx, 2, "caught up: a voter from now on");
}
