/* cmd_watch.c - every change of keys below a prefix, as it comes.
 * A node that is cut off from the others hears of nothing: so one question lasts PIECE_MS_MAX at most, and after an
 * empty answer a read finds a node that hears. */
#include "node/ctl/json.h"
#include "node/ctl/show.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PIECE_MS_MAX 10000

enum { REVISION, EVENT, KEY, N_FIELDS };

static bool is_change(const struct resp_value *v)
{
    return v->type == RESP_ARRAY && v->n == N_FIELDS && v->parts[REVISION].type == RESP_INT &&
           v->parts[EVENT].type == RESP_BULK && v->parts[KEY].type == RESP_BULK;
}

static bool is_answer(const struct resp_value *v)
{
    if (v->type != RESP_ARRAY || v->n != 2 || v->parts[0].type != RESP_ARRAY || v->parts[1].type != RESP_INT)
        return false;
    for (int64_t i = 0; i < v->parts[0].n; i++)
        if (!is_change(&v->parts[0].parts[i]))
            return false;
    return true;
}

static void print_changes(const struct ctl *ctl, const struct resp_value *changes)
{
    for (int64_t i = 0; i < changes->n; i++) {
        const struct resp_value *p = changes->parts[i].parts;
        if (ctl->options->json) {
            ctl_print_json(json_pack("{s:I, s:s, s:o}", "revision", (json_int_t)p[REVISION].n, "event", p[EVENT].bytes,
                                     "key", ctl_json_bytes(p[KEY].bytes, p[KEY].len)));
            continue;
        }
        printf("%" PRId64 " %s ", p[REVISION].n, p[EVENT].bytes);
        show_key(p[KEY].bytes, p[KEY].len);
        putchar('\n');
    }
}

/* One question; *from is moved on. ms 0: without waiting. CTL_NO: nothing has happened. */
static enum ctl_exit ask(const struct ctl *ctl, unsigned ms, int64_t *from)
{
    char revision[24], block[16];
    const char *const argv[] = {"HISTORY", ctl->argv[0], "FROM", revision, "BLOCK", block};
    struct resp_value *reply;
    snprintf(revision, sizeof revision, "%" PRId64, *from);
    snprintf(block, sizeof block, "%u", ms);
    int rc = client_call_wait(ctl->client, false, ms, ms > 0 ? 6 : 4, argv, NULL, &reply);
    if (rc != 0)
        return ctl_failed(ctl, rc);
    enum ctl_exit status = CTL_OK;
    if (reply->type == RESP_ERROR) {
        fprintf(stderr, "holdfast: %s\n", reply->bytes);
        status = CTL_REFUSED;
    } else if (!is_answer(reply)) {
        status = ctl_surprised();
    } else {
        print_changes(ctl, &reply->parts[0]);
        *from = reply->parts[1].n;
        status = reply->parts[0].n == 0 ? CTL_NO : CTL_OK;
    }
    resp_value_free(reply);
    return fflush(stdout) == 0 ? status : CTL_OUTPUT;
}

/* Any linearizable read: it is answered only while a majority is there. */
static enum ctl_exit look(const struct ctl *ctl)
{
    const char *const argv[] = {"EXISTS", "watch"};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, false, 2, argv, NULL, &reply);
    if (status == CTL_OK)
        resp_value_free(reply);
    return status;
}

enum ctl_exit cmd_watch(struct ctl *ctl)
{
    const struct options *o = ctl->options;
    int64_t from = (o->given & OPTION_FROM) != 0 ? o->from : 0;
    enum ctl_exit status = ask(ctl, 0, &from);
    while (status == CTL_OK || status == CTL_NO) {
        status = ask(ctl, PIECE_MS_MAX, &from);
        if (status == CTL_NO)
            status = look(ctl);
    }
    return status;
}
