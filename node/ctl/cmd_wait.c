/* cmd_wait.c - waiting until a key holds a value.
 * The node that is asked looks, and is then woken by what it applies. One that is cut off from the others hears
 * nothing: so one question lasts PIECE_MS_MAX at most, and the next is asked of a node that serves. */
#include "node/ctl/ctl.h"
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define WAIT_MS_DEFAULT 30000
#define PIECE_MS_MAX 10000

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* CTL_OK: it holds the value. CTL_NO: not yet. */
static enum ctl_exit judge(const struct resp_value *reply)
{
    if (reply->type == RESP_NIL)
        return CTL_NO;
    if (reply->type == RESP_ARRAY)
        return CTL_OK;
    if (reply->type != RESP_ERROR)
        return ctl_surprised();
    fprintf(stderr, "holdfast: %s\n", reply->bytes);
    return CTL_REFUSED;
}

/* CTL_UNAVAILABLE is not told yet: there may be time for another question. */
static enum ctl_exit ask(const struct ctl *ctl, int64_t left_ms)
{
    char timeout[24];
    const char *const argv[] = {"WAITFOR", ctl->argv[0], "EQ", ctl->argv[1], "TIMEOUT", timeout};
    struct resp_value *reply;
    unsigned piece_ms = left_ms < PIECE_MS_MAX ? (unsigned)left_ms : PIECE_MS_MAX;
    snprintf(timeout, sizeof timeout, "%u", piece_ms);
    int rc = client_call_wait(ctl->client, false, piece_ms, 6, argv, NULL, &reply);
    if (rc == CLIENT_EUNAVAILABLE)
        return CTL_UNAVAILABLE;
    if (rc != 0)
        return ctl_failed(ctl, rc);
    enum ctl_exit status = judge(reply);
    resp_value_free(reply);
    return status;
}

static enum ctl_exit wait_long(const struct ctl *ctl, int64_t wait_ms)
{
    int64_t deadline_ms = now_ms() + wait_ms, left_ms = wait_ms;
    enum ctl_exit status;
    do {
        status = ask(ctl, left_ms);
        left_ms = deadline_ms - now_ms();
    } while ((status == CTL_NO || status == CTL_UNAVAILABLE) && left_ms > 0);
    if (status == CTL_NO)
        fprintf(stderr, "holdfast: did not come to hold it in time: '%s'\n", ctl->argv[0]);
    return status == CTL_UNAVAILABLE ? ctl_failed(ctl, CLIENT_EUNAVAILABLE) : status;
}

enum ctl_exit cmd_wait(struct ctl *ctl)
{
    struct options own = *ctl->options;
    int64_t wait_ms = (own.given & OPTION_TIMEOUT) != 0 ? own.timeout_ms : WAIT_MS_DEFAULT;
    if (own.timeout_ms > CLIENT_TIMEOUT_MS_DEFAULT)
        own.timeout_ms = CLIENT_TIMEOUT_MS_DEFAULT; /* A silent node is given up long before a long wait is over. */
    struct ctl asking = *ctl;
    enum ctl_exit status;
    asking.options = &own;
    asking.client = ctl_open(&asking, 0, 0, &status);
    if (asking.client == NULL)
        return status;
    status = wait_long(&asking, wait_ms);
    client_close(asking.client);
    return status;
}
