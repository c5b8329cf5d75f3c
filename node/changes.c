/* changes.c - see changes.h.
 *
 *     asked --(frame, or at once when this node leads)--> served: step, commit, step, commit --> answer
 *
 * A lost frame, a leader that falls: the request is sent again after CHANGES_RESEND_MS or with the next term. A step
 * that turns out to be done already counts as done when it may have been this request that did it. */
#include "node/changes.h"
#include "store/little.h"
#include <stdio.h>
#include <string.h>

#define CHANGES_RESEND_MS 1000
#define CHANGES_AGAIN_MS 50  /* Before a leader that was not ready is asked again in the same term. */
#define CHANGES_TURN_MS 1000 /* A change that just ended is waited for so long before a request is told of it. */
#define REQUEST_HEAD_BYTES 40
#define ANSWER_HEAD_BYTES 32
#define FLAG_FORCE 1
#define FLAG_DRY_RUN 2
#define FLAG_AGAIN 4

static uint64_t now_ms(const struct changes *x)
{
    return x->now_ms(x->ctx);
}

void changes_init(struct changes *x, struct replica *replica, uint64_t self, uint64_t start)
{
    x->replica = replica;
    x->self = self;
    x->next_ticket = (start << 32) + 1; /* Unlike those of an earlier process of this node. */
}

/* ---- On the wire ---- */

static size_t request_encode(const struct change_request *q, uint64_t ticket, uint8_t buf[512])
{
    size_t len = strlen(q->address);
    memset(buf, 0, REQUEST_HEAD_BYTES);
    little_put_u64(buf, ticket);
    little_put_u32(buf + 8, (uint32_t)q->kind);
    little_put_u32(buf + 12,
                   (q->force ? FLAG_FORCE : 0) | (q->dry_run ? FLAG_DRY_RUN : 0) | (q->again ? FLAG_AGAIN : 0));
    little_put_u64(buf + 16, q->id);
    little_put_u64(buf + 24, q->other);
    little_put_u64(buf + 32, len);
    memcpy(buf + REQUEST_HEAD_BYTES, q->address, len);
    return REQUEST_HEAD_BYTES + len;
}

static bool request_decode(const uint8_t *at, size_t len, struct change_request *ret, uint64_t *ret_ticket)
{
    if (len < REQUEST_HEAD_BYTES)
        return false;
    uint32_t kind = little_u32(at + 8), flags = little_u32(at + 12);
    uint64_t address_len = little_u64(at + 32);
    *ret_ticket = little_u64(at);
    if (*ret_ticket == 0 || kind < REQUEST_ADD || kind > REQUEST_JOIN || address_len >= REPLICA_ADDRESS_MAX ||
        len != REQUEST_HEAD_BYTES + address_len)
        return false;
    *ret = (struct change_request){.kind = (enum change_request_kind)kind,
                                   .id = little_u64(at + 16),
                                   .other = little_u64(at + 24),
                                   .force = (flags & FLAG_FORCE) != 0,
                                   .dry_run = (flags & FLAG_DRY_RUN) != 0,
                                   .again = (flags & FLAG_AGAIN) != 0};
    memcpy(ret->address, at + REQUEST_HEAD_BYTES, address_len);
    return true;
}

static void answer_send(struct changes *x, uint64_t to, uint64_t ticket, const struct change_answer *a)
{
    uint8_t buf[ANSWER_HEAD_BYTES + CHANGES_TEXT_MAX];
    size_t len = strlen(a->text);
    little_put_u64(buf, ticket);
    little_put_u64(buf + 8, (uint64_t)a->code);
    little_put_u64(buf + 16, a->id);
    little_put_u64(buf + 24, a->index);
    memcpy(buf + ANSWER_HEAD_BYTES, a->text, len);
    replica_send(x->replica, to, PEER_CHANGE_ANSWER, buf, ANSWER_HEAD_BYTES + len, NULL, 0);
}

/* ---- Asking ---- */

static struct asked *asked_find(const struct changes *x, uint64_t ticket)
{
    for (size_t i = 0; i < CHANGES_ASKED_MAX; i++)
        if (x->asked[i].ticket == ticket)
            return (struct asked *)&x->asked[i];
    return NULL;
}

uint64_t changes_ask(struct changes *x, const struct change_request *request, uint64_t deadline_ms)
{
    struct asked *a = asked_find(x, 0);
    if (a == NULL)
        return 0;
    *a = (struct asked){.ticket = x->next_ticket++, .request = *request, .deadline_ms = deadline_ms};
    x->n_asked++;
    changes_flush(x);
    return a->ticket;
}

const struct change_answer *changes_answer(const struct changes *x, uint64_t ticket)
{
    const struct asked *a = asked_find(x, ticket);
    struct replica_status s;
    if (a == NULL || !a->is_answered)
        return NULL;
    replica_status(x->replica, &s);
    return s.applied >= a->answer.index || now_ms(x) >= a->deadline_ms ? &a->answer : NULL;
}

void changes_forget(struct changes *x, uint64_t ticket)
{
    struct asked *a = ticket != 0 ? asked_find(x, ticket) : NULL;
    if (a == NULL)
        return;
    a->ticket = 0;
    x->n_asked--;
}

static void asked_answered(struct changes *x, struct asked *a, const struct change_answer *answer)
{
    if (a->is_answered)
        return;
    if (answer->code == ANSWER_AGAIN) {
        a->sent_ms = now_ms(x) + CHANGES_AGAIN_MS - CHANGES_RESEND_MS;
        return;
    }
    a->answer = *answer;
    a->is_answered = true;
}

static void asked_expire(struct changes *x, struct asked *a)
{
    struct change_answer answer = {.code = a->was_sent ? ANSWER_UNKNOWN : ANSWER_NO_LEADER};
    snprintf(answer.text, sizeof answer.text, "%s",
             a->was_sent ? "the leader has not answered in time: it may have been done, or may be yet"
                         : "no leader within the deadline; nothing was done");
    asked_answered(x, a, &answer);
}

static void serve(struct changes *x, uint64_t from, uint64_t ticket, const struct change_request *request);

static void asked_send(struct changes *x, struct asked *a)
{
    uint64_t leader = replica_leader(x->replica), term = replica_term(x->replica), now = now_ms(x);
    bool leads = leader == x->self && replica_ready(x->replica);
    if ((!leads && (leader == 0 || leader == x->self || !replica_link_up(x->replica, leader))) ||
        (a->sent_term == term && now < a->sent_ms + CHANGES_RESEND_MS))
        return;
    a->request.again = a->was_sent;
    a->sent_term = term;
    a->sent_ms = now;
    a->was_sent = true;
    if (leads) {
        serve(x, x->self, a->ticket, &a->request);
        return;
    }
    uint8_t buf[512];
    size_t len = request_encode(&a->request, a->ticket, buf);
    replica_send(x->replica, leader, PEER_CHANGE, buf, len, NULL, 0);
}

/* ---- Serving ---- */

static void served_end(struct changes *x, struct served *s, enum change_code code, const char *text)
{
    struct change_answer answer = {.code = code, .id = s->id, .index = s->index};
    snprintf(answer.text, sizeof answer.text, "%s", text);
    uint64_t from = s->from, ticket = s->ticket;
    s->ticket = 0;
    x->n_served--;
    struct asked *a = from == x->self ? asked_find(x, ticket) : NULL;
    if (a != NULL)
        asked_answered(x, a, &answer);
    else if (from != x->self)
        answer_send(x, from, ticket, &answer);
}

static void add_step(struct served *s, enum change_kind kind, uint64_t id)
{
    struct replica_change *c = &s->steps[s->n_steps++];
    *c = (struct replica_change){.kind = kind, .id = id, .force = s->request.force, .dry_run = s->request.dry_run};
    snprintf(c->address, sizeof c->address, "%s", s->request.address);
}

/* Whose place at its address the joining node takes: the one it replaces, or a learner that never came to be. */
static uint64_t predecessor(const struct changes *x, const struct change_request *q)
{
    struct replica_status status;
    replica_status(x->replica, &status);
    for (size_t i = 0; i < status.n_members; i++) {
        const struct replica_member *m = &status.members[i].member;
        if (strcmp(m->address, q->address) == 0 && (m->id == q->other || !m->voter))
            return m->id;
    }
    return 0;
}

static void plan_join(const struct changes *x, struct served *s)
{
    uint64_t before = predecessor(x, &s->request);
    if (before != 0)
        add_step(s, CHANGE_REMOVE, before);
    add_step(s, CHANGE_ADD, s->request.id);
}

/* A dead one goes first, so that two of two decide instead of three of four; a living one last. */
static void plan_replace(const struct changes *x, struct served *s)
{
    uint64_t old = s->request.other, new = s->request.id;
    bool lives = old == x->self || replica_link_up(x->replica, old);
    add_step(s, lives ? CHANGE_PROMOTE : CHANGE_REMOVE, lives ? new : old);
    add_step(s, lives ? CHANGE_REMOVE : CHANGE_PROMOTE, lives ? old : new);
}

static void plan(const struct changes *x, struct served *s)
{
    static const enum change_kind plain[] = {[REQUEST_ADD] = CHANGE_ADD,
                                             [REQUEST_PROMOTE] = CHANGE_PROMOTE,
                                             [REQUEST_DEMOTE] = CHANGE_DEMOTE,
                                             [REQUEST_REMOVE] = CHANGE_REMOVE,
                                             [REQUEST_ADDRESS] = CHANGE_ADDRESS};
    if (s->request.kind == REQUEST_JOIN)
        plan_join(x, s);
    else if (s->request.kind == REQUEST_REPLACE)
        plan_replace(x, s);
    else if (s->request.kind != REQUEST_TRANSFER)
        add_step(s, plain[s->request.kind], s->request.id);
}

/* Refused, but as this very request wants it: by an earlier try of it, or before anybody asked. */
static bool is_done_already(const struct served *s, int rc)
{
    if (rc == CHANGE_EALREADY)
        return true;
    return rc == CHANGE_ENOENT && s->steps[s->step].kind == CHANGE_REMOVE && (s->n_steps > 1 || s->request.again);
}

static void step_done(struct changes *x, struct served *s)
{
    s->is_waiting = false;
    if (++s->step == s->n_steps)
        served_end(x, s, ANSWER_DONE, "");
}

static void step_refused(struct changes *x, struct served *s, int rc, const char *why)
{
    bool patient = s->step > 0 || now_ms(x) < s->began_ms + CHANGES_TURN_MS;
    if (rc == CHANGE_EBUSY && patient && strstr(why, "has yet to take in") != NULL)
        return; /* Tried again at the next turn. */
    if (rc == CHANGE_EHANDOVER && !s->request.dry_run && replica_transfer(x->replica, 0) == REPLICA_EINVAL)
        served_end(x, s, ANSWER_REFUSED, "this node leads, and there is no other voter that could take over");
    else if (rc == CHANGE_EHANDOVER && s->request.dry_run)
        served_end(x, s, ANSWER_DONE, "it leads, and would hand over first");
    else if (rc == CHANGE_EHANDOVER || rc == CHANGE_ENOTLEADER)
        served_end(x, s, ANSWER_AGAIN, why);
    else
        served_end(x, s, rc == CHANGE_EBUSY ? ANSWER_BUSY : ANSWER_REFUSED, why);
}

/* A node is not removed for one that may not take its place yet. */
static int begin_replace(struct changes *x, const struct served *s, char why[CHANGE_WHY_MAX])
{
    struct replica_change promote = {
        .kind = CHANGE_PROMOTE, .id = s->request.id, .force = s->request.force, .dry_run = true};
    uint64_t id, index;
    int rc = replica_change(x->replica, &promote, &id, &index, why);
    return rc == CHANGE_EALREADY ? 0 : rc;
}

static void step_begin(struct changes *x, struct served *s)
{
    char why[CHANGE_WHY_MAX] = "";
    uint64_t id = 0, index = 0;
    s->term = replica_term(x->replica);
    int rc = s->request.kind == REQUEST_REPLACE && s->step == 0 ? begin_replace(x, s, why) : 0;
    if (rc == 0)
        rc = replica_change(x->replica, &s->steps[s->step], &id, &index, why);
    if (rc == 0 && s->steps[s->step].kind == CHANGE_ADD)
        s->id = id;
    if (rc == 0 && s->steps[s->step].dry_run)
        step_done(x, s);
    else if (rc == 0) {
        s->index = index;
        s->is_waiting = true;
    } else if (is_done_already(s, rc))
        step_done(x, s);
    else
        step_refused(x, s, rc, why);
}

static void step_wait(struct changes *x, struct served *s)
{
    struct replica_status status;
    replica_status(x->replica, &status);
    if (status.role != REPLICA_LEADER || status.term != s->term)
        served_end(x, s, ANSWER_AGAIN, "");
    else if (status.applied >= s->index)
        step_done(x, s);
}

/* Done when another leads: the one that was asked for, if one was. */
static void transfer_step(struct changes *x, struct served *s)
{
    uint64_t leader = replica_leader(x->replica), wanted = s->request.id;
    bool leads = leader == x->self && replica_ready(x->replica);
    if (s->is_waiting && leader != 0 && leader != x->self) {
        s->id = leader;
        served_end(x, s, wanted == 0 || wanted == leader ? ANSWER_DONE : ANSWER_REFUSED,
                   wanted == 0 || wanted == leader ? "" : "another node was elected meanwhile");
    } else if (s->is_waiting && leads)
        served_end(x, s, ANSWER_REFUSED, "the other node did not take over in time");
    else if (!s->is_waiting && leads && (wanted == x->self || s->request.dry_run))
        served_end(x, s, ANSWER_DONE, "");
    else if (!s->is_waiting) {
        int rc = replica_transfer(x->replica, wanted);
        s->is_waiting = rc == 0;
        if (rc == REPLICA_EINVAL)
            served_end(x, s, ANSWER_REFUSED, "there is no such voter that could take over and can be reached");
        else if (rc == REPLICA_ENOTLEADER)
            served_end(x, s, ANSWER_AGAIN, "");
    }
}

static void served_advance(struct changes *x, struct served *s)
{
    if (s->request.kind == REQUEST_TRANSFER)
        transfer_step(x, s);
    else if (s->is_waiting)
        step_wait(x, s);
    else
        step_begin(x, s);
}

static bool is_served(const struct changes *x, uint64_t from, uint64_t ticket)
{
    for (size_t i = 0; i < CHANGES_SERVED_MAX; i++)
        if (x->served[i].ticket == ticket && x->served[i].from == from)
            return true;
    return false;
}

static void serve(struct changes *x, uint64_t from, uint64_t ticket, const struct change_request *request)
{
    size_t i = 0;
    if (is_served(x, from, ticket))
        return; /* Sent again while it is under way. */
    while (i < CHANGES_SERVED_MAX && x->served[i].ticket != 0)
        i++;
    if (i == CHANGES_SERVED_MAX)
        return; /* It will be sent again. */
    struct served *s = &x->served[i];
    *s = (struct served){.from = from, .ticket = ticket, .request = *request, .id = request->id, .began_ms = now_ms(x)};
    x->n_served++;
    plan(x, s);
    served_advance(x, s);
}

/* ---- Both ---- */

void changes_flush(struct changes *x)
{
    for (size_t i = 0; x->n_served > 0 && i < CHANGES_SERVED_MAX; i++)
        if (x->served[i].ticket != 0)
            served_advance(x, &x->served[i]);
    for (size_t i = 0; x->n_asked > 0 && i < CHANGES_ASKED_MAX; i++) {
        struct asked *a = &x->asked[i];
        if (a->ticket == 0 || a->is_answered)
            continue;
        if (now_ms(x) >= a->deadline_ms)
            asked_expire(x, a);
        else
            asked_send(x, a);
    }
}

static void answer_received(struct changes *x, const uint8_t *at, size_t len)
{
    if (len < ANSWER_HEAD_BYTES || len - ANSWER_HEAD_BYTES >= CHANGES_TEXT_MAX)
        return;
    uint64_t ticket = little_u64(at), code = little_u64(at + 8);
    struct asked *a = ticket != 0 ? asked_find(x, ticket) : NULL;
    if (a == NULL || code > ANSWER_REFUSED)
        return;
    struct change_answer answer = {
        .code = (enum change_code)code, .id = little_u64(at + 16), .index = little_u64(at + 24)};
    memcpy(answer.text, at + ANSWER_HEAD_BYTES, len - ANSWER_HEAD_BYTES);
    asked_answered(x, a, &answer);
}

void changes_message(struct changes *x, uint64_t from, uint8_t kind, const uint8_t *payload, size_t len)
{
    struct change_request request;
    uint64_t ticket;
    if (kind == PEER_CHANGE_ANSWER) {
        answer_received(x, payload, len);
        return;
    }
    if (!request_decode(payload, len, &request, &ticket))
        return;
    struct change_answer again = {.code = ANSWER_AGAIN};
    if (replica_ready(x->replica))
        serve(x, from, ticket, &request);
    else if (!is_served(x, from, ticket))
        answer_send(x, from, ticket, &again);
}
