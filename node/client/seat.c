/* seat.c - finding the leader and staying with it.
 * A leader is asked for on arrival, then every second while we sit elsewhere and every ten while we believe to sit at
 * it: its successor would forward for us, at the price of a hop.
 * Failure: whatever goes wrong while looking for the leader, short of losing our own seat, leaves us where we sit. */
#include "node/client/seat.h"
#include "node/client/fields.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_ELSEWHERE_MS 1000
#define CHECK_AT_LEADER_MS 10000
#define SHUN_MS 1000
#define SHARE_MS_MAX 1000

/* Each node gets its part of the time left and one part is kept for the request itself. */
static int64_t share_of(const struct seat *s, int64_t deadline_ms)
{
    int64_t now = channel_now_ms();
    int64_t share = (deadline_ms - now) / (s->n_nodes + 1);
    if (s->n_nodes > 1 && share > SHARE_MS_MAX)
        share = SHARE_MS_MAX;
    return now + share;
}

int seat_from_channel(struct seat *s, int node, const struct channel *ch, int rc)
{
    snprintf(s->message, sizeof s->message, "%s: %s", s->nodes[node].name, ch->why);
    if (rc == CHANNEL_ENOMEM)
        return CLIENT_ENOMEM;
    return rc == CHANNEL_EPROTOCOL ? CLIENT_EPROTOCOL : CLIENT_EUNAVAILABLE;
}

void seat_encode(struct resp_buf *to, int argc, const char *const *argv, const size_t *lens)
{
    resp_array(to, (size_t)argc);
    for (int i = 0; i < argc; i++)
        resp_bulk(to, argv[i], lens != NULL ? lens[i] : strlen(argv[i]));
}

bool seat_reply_is(const struct resp_value *reply, const char *word)
{
    size_t len = strlen(word);
    if (reply->type != RESP_ERROR || reply->len < len || memcmp(reply->bytes, word, len) != 0)
        return false;
    return reply->bytes[len] == ' ' || reply->bytes[len] == '\0';
}

/* One small question of our own. */
static int ask(struct seat *s, int node, struct channel *ch, int argc, const char *const *argv, int64_t deadline_ms,
               struct resp_value **ret)
{
    struct resp_buf out = {0};
    seat_encode(&out, argc, argv, NULL);
    int rc = out.failed ? CHANNEL_ENOMEM : channel_send(ch, out.base, out.len, deadline_ms);
    resp_buf_release(&out);
    if (rc == 0)
        rc = channel_receive(ch, deadline_ms, ret);
    return rc == 0 ? 0 : seat_from_channel(s, node, ch, rc);
}

/* ---- Arriving ---- */

static int judge_auth(struct seat *s, int node, const struct resp_value *reply)
{
    if (reply->type != RESP_ERROR)
        return 0;
    snprintf(s->message, sizeof s->message, "%s: %s", s->nodes[node].name, reply->bytes);
    return seat_reply_is(reply, "LOADING") ? CLIENT_EUNAVAILABLE : CLIENT_EDENIED;
}

static int authenticate(struct seat *s, int node, struct channel *ch, int64_t deadline_ms)
{
    const char *const full[] = {"AUTH", s->user, s->password};
    const char *const plain[] = {"AUTH", s->password};
    struct resp_value *reply;
    if (s->password == NULL)
        return 0;
    int rc = s->user != NULL ? ask(s, node, ch, 3, full, deadline_ms, &reply)
                             : ask(s, node, ch, 2, plain, deadline_ms, &reply);
    if (rc != 0)
        return rc;
    rc = judge_auth(s, node, reply);
    resp_value_free(reply);
    return rc;
}

int seat_visit(struct seat *s, int node, int64_t deadline_ms, struct channel *ret)
{
    channel_init(ret);
    int rc = channel_connect(ret, &s->nodes[node], deadline_ms);
    rc = rc == 0 ? authenticate(s, node, ret, deadline_ms) : seat_from_channel(s, node, ret, rc);
    if (rc != 0)
        channel_close(ret);
    return rc;
}

/* ---- Following the leader ---- */

static int find_node(const struct seat *s, const char *name)
{
    struct address address;
    if (!address_parse(name, strlen(name), &address))
        return -1;
    for (int i = 0; i < s->n_nodes; i++) {
        if (strcmp(s->nodes[i].name, address.name) == 0)
            return i;
    }
    return -1;
}

/* Where the leader is in our list as this reply tells it; -1: it does not, or the leader is not in the list. */
static int leader_from_info(const struct seat *s, const struct resp_value *reply)
{
    char text[ADDRESS_HOST_MAX + 16];
    if (reply->type != RESP_BULK && reply->type != RESP_VERBATIM)
        return -1;
    if (fields_copy(reply->bytes, "role", text, sizeof text) && strcmp(text, "leader") == 0)
        return s->at;
    return fields_copy(reply->bytes, "leader_client_address", text, sizeof text) ? find_node(s, text) : -1;
}

static int ask_leader(struct seat *s, int64_t deadline_ms, int *ret_node)
{
    static const char *const info[] = {"INFO", "holdfast"};
    struct resp_value *reply;
    int rc = ask(s, s->at, &s->channel, 2, info, deadline_ms, &reply);
    if (rc != 0)
        return rc;
    if (seat_reply_is(reply, "NOAUTH"))
        rc = judge_auth(s, s->at, reply);
    *ret_node = leader_from_info(s, reply);
    resp_value_free(reply);
    return rc;
}

static void move_to(struct seat *s, int node, int64_t deadline_ms)
{
    struct channel there;
    if (channel_now_ms() < s->shun_ms[node])
        return;
    if (seat_visit(s, node, deadline_ms, &there) != 0) {
        s->shun_ms[node] = channel_now_ms() + SHUN_MS;
        return;
    }
    channel_close(&s->channel);
    s->channel = there;
    s->at = node;
}

static int follow_leader(struct seat *s, int64_t deadline_ms)
{
    int leader = -1;
    int rc = ask_leader(s, share_of(s, deadline_ms), &leader);
    if (rc != 0) {
        channel_close(&s->channel);
        return rc;
    }
    if (leader >= 0 && leader != s->at)
        move_to(s, leader, share_of(s, deadline_ms));
    s->check_ms = channel_now_ms() + (leader == s->at ? CHECK_AT_LEADER_MS : CHECK_ELSEWHERE_MS);
    return 0;
}

/* ---- Taking and leaving ---- */

int seat_take(struct seat *s, int64_t deadline_ms)
{
    if (channel_is_open(&s->channel) && !channel_is_quiet(&s->channel))
        channel_close(&s->channel);
    if (!channel_is_open(&s->channel)) {
        int rc = seat_visit(s, s->at, share_of(s, deadline_ms), &s->channel);
        if (rc != 0)
            return rc;
        s->check_ms = 0;
    }
    return channel_now_ms() < s->check_ms ? 0 : follow_leader(s, deadline_ms);
}

void seat_leave(struct seat *s, bool failed)
{
    channel_close(&s->channel);
    if (failed)
        s->shun_ms[s->at] = channel_now_ms() + SHUN_MS;
    s->at = (s->at + 1) % s->n_nodes;
}

void seat_release(struct seat *s)
{
    channel_close(&s->channel);
    if (s->password != NULL)
        explicit_bzero(s->password, strlen(s->password));
    free(s->password);
    free(s->user);
}

bool seat_init_like(struct seat *ret, const struct seat *like)
{
    *ret = (struct seat){.n_nodes = like->n_nodes, .at = like->at};
    memcpy(ret->nodes, like->nodes, sizeof ret->nodes);
    channel_init(&ret->channel);
    ret->user = like->user == NULL ? NULL : strdup(like->user);
    ret->password = like->password == NULL ? NULL : strdup(like->password);
    return (like->user == NULL || ret->user != NULL) && (like->password == NULL || ret->password != NULL);
}
