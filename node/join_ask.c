/* join_ask.c - a few blocking requests, before the node's own life begins. Every address of the list is tried in turn
 * until one takes us in. A node that refuses may not be the last word (a token is good on the node that made it), but
 * when all that answered have refused, it is. */
#include "node/join.h"
#include "node/resp/resp.h"
#include "node/resp/value.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define JOIN_REPLY_MS 6000 /* More than MEMBER's own deadline. */
#define JOIN_PAUSE_MS 200

enum asking { ASK_TAKEN, ASK_REFUSED, ASK_NOBODY };

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int dial(const char *address, char why[256])
{
    char host[256], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct timeval patience = {.tv_sec = JOIN_REPLY_MS / 1000};
    if (!config_split_address(address, host, sizeof host, port, sizeof port))
        return -1;
    int rc = getaddrinfo(host, port, &hints, &list), fd = -1;
    if (rc != 0)
        snprintf(why, 256, "%.100s: %s", address, gai_strerror(rc));
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* Of connecting, too. */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
            break;
        snprintf(why, 256, "%.100s: %s", address, strerror(errno));
        close(fd);
        fd = -1;
    }
    if (list != NULL)
        freeaddrinfo(list);
    return fd;
}

static void put_request(struct resp_buf *out, const struct config *c)
{
    char id[24], other[24];
    size_t n = 4 + (c->node_id != 0 ? 2u : 0u) + (c->replace != 0 ? 2u : 0u);
    snprintf(id, sizeof id, "%llu", (unsigned long long)c->node_id);
    snprintf(other, sizeof other, "%llu", (unsigned long long)c->replace);
    resp_array(out, n);
    resp_text(out, "MEMBER");
    resp_text(out, "JOIN");
    resp_text(out, c->join_token);
    resp_text(out, c->peer_listen);
    if (c->node_id != 0) {
        resp_text(out, "ID");
        resp_text(out, id);
    }
    if (c->replace != 0) {
        resp_text(out, "REPLACES");
        resp_text(out, other);
    }
}

static bool send_all(int fd, const struct resp_buf *b)
{
    for (size_t at = 0; at < b->len;) {
        ssize_t n = send(fd, b->base + at, b->len - at, MSG_NOSIGNAL);
        if (n <= 0 && errno != EINTR)
            return false;
        at += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* NULL: it hung up, took too long, or what came is no reply. */
static struct resp_value *receive(int fd)
{
    static char buf[JOIN_TEXT_MAX + 64];
    struct resp_value *value = NULL;
    size_t len = 0, used;
    while (len < sizeof buf) {
        ssize_t n = recv(fd, buf + len, sizeof buf - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return NULL;
        len += (size_t)n;
        enum resp_value_status status = resp_value_parse(buf, len, &used, &value);
        if (status != RESP_VALUE_MORE)
            return status == RESP_VALUE_DONE ? value : NULL;
    }
    return NULL;
}

static enum asking judge(const struct resp_value *v, const char *address, struct join *ret, char why[256])
{
    if (v == NULL) {
        snprintf(why, 256, "%.100s did not answer", address);
        return ASK_NOBODY;
    }
    if (v->type == RESP_ERROR) {
        snprintf(why, 256, "%.60s: %.180s", address, v->bytes);
        bool later = strncmp(v->bytes, "CLUSTERDOWN", 11) == 0 || strncmp(v->bytes, "INPROGRESS", 10) == 0 ||
                     strncmp(v->bytes, "UNKNOWN", 7) == 0;
        return later ? ASK_NOBODY : ASK_REFUSED;
    }
    bool is_text = v->type == RESP_BULK || v->type == RESP_VERBATIM;
    if (is_text && join_parse(v->bytes, v->len, ret))
        return ASK_TAKEN;
    snprintf(why, 256, "%.100s is not a holdfast node that can take others in", address);
    return ASK_REFUSED;
}

static enum asking ask_one(const struct config *c, const char *address, struct join *ret, char why[256])
{
    struct resp_buf out = {0};
    int fd = dial(address, why);
    if (fd < 0)
        return ASK_NOBODY;
    put_request(&out, c);
    struct resp_value *v = !out.failed && send_all(fd, &out) ? receive(fd) : NULL;
    enum asking asking = judge(v, address, ret, why);
    resp_value_free(v);
    resp_buf_release(&out);
    close(fd);
    return asking;
}

/* Each of the list once. */
static enum asking ask_all(const struct config *c, struct join *ret, char why[256])
{
    char list[sizeof c->join], *rest = list;
    enum asking worst = ASK_NOBODY;
    char refusal[256];
    snprintf(list, sizeof list, "%s", c->join);
    for (char *address; (address = strsep(&rest, ",")) != NULL;) {
        enum asking asking = ask_one(c, address, ret, why);
        if (asking == ASK_TAKEN)
            return ASK_TAKEN;
        if (asking == ASK_REFUSED) {
            worst = ASK_REFUSED;
            snprintf(refusal, sizeof refusal, "%s", why);
        }
    }
    if (worst == ASK_REFUSED)
        memcpy(why, refusal, sizeof refusal);
    return worst;
}

int join_ask(const struct config *config, struct join *ret, char error[256])
{
    char why[256] = "no address";
    int64_t until_ms = clock_ms() + JOIN_ASK_MS;
    enum asking asking;
    while ((asking = ask_all(config, ret, why)) == ASK_NOBODY && clock_ms() < until_ms)
        poll(NULL, 0, JOIN_PAUSE_MS);
    if (asking == ASK_TAKEN) {
        ret->wants_vote = !config->learner;
        ret->replaces = config->replace;
        return 0;
    }
    snprintf(error, 256, "could not join: %.230s", why);
    return -1;
}
