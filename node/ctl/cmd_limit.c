/* cmd_limit.c - one more of something that is limited in rate. */
#include "node/ctl/ctl.h"
#include <inttypes.h>
#include <stdio.h>

#define PER_MS_DEFAULT 1000

/* What LIMIT answers, in its order. */
enum { ALLOWED, LEFT, RETRY_MS, RESET_MS, N_FIELDS };

static bool is_answer(const struct resp_value *reply)
{
    if (reply->type != RESP_ARRAY || reply->n != N_FIELDS)
        return false;
    for (int i = 0; i < N_FIELDS; i++)
        if (reply->parts[i].type != RESP_INT)
            return false;
    return true;
}

static enum ctl_exit tell(const struct ctl *ctl, const struct resp_value *reply)
{
    if (!is_answer(reply))
        return ctl_surprised();
    const struct resp_value *p = reply->parts;
    if (ctl->options->json)
        printf("{\"allowed\":%s,\"left\":%" PRId64 ",\"retry_ms\":%" PRId64 ",\"reset_ms\":%" PRId64 "}\n",
               p[ALLOWED].n != 0 ? "true" : "false", p[LEFT].n, p[RETRY_MS].n, p[RESET_MS].n);
    else if (p[ALLOWED].n != 0)
        printf("allowed, %" PRId64 " left\n", p[LEFT].n);
    else
        printf("too many, again in %" PRId64 " ms\n", p[RETRY_MS].n);
    return p[ALLOWED].n != 0 ? CTL_OK : CTL_NO;
}

enum ctl_exit cmd_limit(struct ctl *ctl)
{
    const struct options *o = ctl->options;
    char rate[16], per[24];
    const char *const argv[] = {"LIMIT", ctl->argv[0], "ALGO", "gcra", "RATE", rate, "PER", per};
    struct resp_value *reply;
    if ((o->given & OPTION_RATE) == 0) {
        fputs("Usage: holdfast limit KEY --rate N [--per TIME]\n", stderr);
        return CTL_USAGE;
    }
    snprintf(rate, sizeof rate, "%u", o->rate);
    snprintf(per, sizeof per, "%" PRId64, (o->given & OPTION_PER) != 0 ? o->per_ms : PER_MS_DEFAULT);
    enum ctl_exit status = ctl_ask(ctl, true, 8, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    status = tell(ctl, reply);
    resp_value_free(reply);
    return status;
}
