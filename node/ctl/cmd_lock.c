/* cmd_lock.c - a command run under a lock, and the locks shown and broken.
 * The lock belongs to a session that the client keeps alive from a thread. Nobody else can hold the lock before the
 * session's time since its last renewal is over, so a command that is dead by then, by our own clock, never worked
 * beside another holder: it is told to end a grace before, and killed at that moment. */
#include "node/ctl/json.h"
#include "node/ctl/child.h"
#include "node/ctl/holdwatch.h"
#include "node/ctl/show.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOCK_TTL_MS_DEFAULT 10000
#define LOCK_TTL_MS_MIN 100
#define LOCK_TTL_MS_MAX (24 * 3600 * 1000)
#define LOCK_WAIT_MS_DEFAULT 30000
#define LOCK_WAIT_MS_MAX INT32_MAX
#define GRACE_MS_MAX 2000
#define ASK_TIMEOUT_MS 1000 /* Whether the lock was broken: the end of a command waits for it. */
#define LOOK_MS_MAX 50      /* Between two looks at what is left. */

struct hold {
    struct client *client;
    const char *name;
    uint64_t session;
    int64_t token, grace_ms;
    struct holdwatch *watch;
    bool lost;
    int64_t kill_at_ms; /* Once it is lost. */
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Got and given back ---- */

static enum ctl_exit ask_for_lock(const struct ctl *ctl, int64_t wait_ms, struct resp_value **ret)
{
    const struct options *o = ctl->options;
    char wait[24], permits[16], of[16];
    const char *argv[11] = {"LOCK", "ACQUIRE", ctl->argv[0], "-"};
    int argc = 4;
    snprintf(wait, sizeof wait, "%" PRId64, wait_ms);
    snprintf(permits, sizeof permits, "%u", o->permits);
    snprintf(of, sizeof of, "%u", o->permits_of);
    const char *const words[] = {"WAIT", wait, "PERMITS", permits, "OF", of};
    for (int i = 0; i < 6; i++)
        if (i < 2 ? wait_ms > 0 : (o->given & OPTION_PERMITS) != 0)
            argv[argc++] = words[i];
    if ((o->given & OPTION_SHARED) != 0)
        argv[argc++] = "SHARED";
    int rc = client_call_wait(ctl->client, true, (unsigned)wait_ms, argc, argv, NULL, ret);
    return rc == 0 ? CTL_OK : ctl_failed(ctl, rc);
}

static enum ctl_exit judge_answer(const struct ctl *ctl, const struct resp_value *reply, struct hold *h)
{
    if (reply->type == RESP_NIL) {
        fprintf(stderr, "holdfast: lock '%s' is not free\n", ctl->argv[0]);
        return CTL_LOCK_TAKEN;
    }
    if (reply->type == RESP_ERROR) {
        fprintf(stderr, "holdfast: %s\n", reply->bytes);
        return CTL_LOCK_FAILED;
    }
    if (reply->type != RESP_INT) {
        ctl_surprised();
        return CTL_LOCK_FAILED;
    }
    h->token = reply->n;
    h->session = client_session(ctl->client);
    return CTL_OK;
}

static enum ctl_exit acquire(const struct ctl *ctl, struct hold *h)
{
    const struct options *o = ctl->options;
    struct resp_value *reply;
    int64_t wait_ms = (o->given & OPTION_WAIT) != 0 ? o->wait_ms : LOCK_WAIT_MS_DEFAULT;
    if (ask_for_lock(ctl, wait_ms, &reply) != CTL_OK)
        return CTL_LOCK_FAILED;
    enum ctl_exit status = judge_answer(ctl, reply, h);
    resp_value_free(reply);
    return status;
}

static void release(const struct hold *h)
{
    char token[24];
    const char *const argv[] = {"LOCK", "RELEASE", h->name, "-", "TOKEN", token};
    struct resp_value *reply = NULL;
    snprintf(token, sizeof token, "%" PRId64, h->token);
    /* When the cluster cannot be told, the session's end does it. */
    client_call(h->client, true, 6, argv, NULL, &reply);
    resp_value_free(reply);
}

/* ---- The command under it ---- */

static void look(struct hold *h, const struct child *child)
{
    int64_t left_ms = client_session_left_ms(h->client, h->session);
    bool broken = holdwatch_gone(h->watch);
    if (!h->lost && (broken || left_ms <= h->grace_ms)) {
        fprintf(stderr, "holdfast: lock '%s' is lost: %s\n", h->name,
                broken ? "it was broken" : "the session could not be renewed");
        h->lost = true;
        h->kill_at_ms = now_ms() + (broken ? h->grace_ms : left_ms);
        child_signal(child, SIGTERM);
        child_signal(child, SIGCONT); /* A stopped one could not hear it. */
    }
    if (h->lost && now_ms() >= h->kill_at_ms)
        child_signal(child, SIGKILL);
}

static int supervise(struct hold *h, char **argv)
{
    struct child child;
    if (!child_start(&child, argv)) {
        fprintf(stderr, "holdfast: %s: %s\n", argv[0], strerror(errno));
        return CTL_NOT_RUN;
    }
    int wait_ms = h->grace_ms / 4 < LOOK_MS_MAX ? (int)(h->grace_ms / 4) : LOOK_MS_MAX;
    enum child_state state;
    while ((state = child_wait(&child, wait_ms)) != CHILD_ENDED) {
        look(h, &child);
        if (state == CHILD_STOPPED)
            child_signal(&child, SIGCONT);
    }
    if (h->lost)
        child_signal(&child, SIGKILL); /* What it may have left running. */
    int status = child_status(&child);
    return h->lost ? CTL_LOCK_LOST : status;
}

static int run_held(struct hold *h, struct client *asker, unsigned ttl_ms, char **argv)
{
    char token[24];
    snprintf(token, sizeof token, "%" PRId64, h->token);
    if (setenv("HOLDFAST_TOKEN", token, 1) != 0 || setenv("HOLDFAST_LOCK", h->name, 1) != 0)
        return CTL_LOCK_FAILED;
    child_block_signals();
    h->grace_ms = ttl_ms / 4 < GRACE_MS_MAX ? ttl_ms / 4 : GRACE_MS_MAX;
    h->watch = holdwatch_start(asker, h->name, h->token, ttl_ms / 3);
    if (h->watch == NULL) {
        fputs("holdfast: out of memory\n", stderr);
        return CTL_LOCK_FAILED;
    }
    int status = supervise(h, argv);
    holdwatch_stop(h->watch);
    return status;
}

static bool check_limits(const struct options *o)
{
    const char *wrong = NULL;
    if ((o->given & OPTION_TTL) != 0 && (o->ttl_ms < LOCK_TTL_MS_MIN || o->ttl_ms > LOCK_TTL_MS_MAX))
        wrong = "--ttl: from 100ms to a day";
    else if (o->wait_ms > LOCK_WAIT_MS_MAX)
        wrong = "--wait: 24 days at most";
    else if ((o->given & OPTION_SHARED) != 0 && (o->given & OPTION_PERMITS) != 0)
        wrong = "--shared and --permits exclude each other";
    else if ((o->given & OPTION_REASON) != 0)
        wrong = "--reason is for 'lock break'";
    if (wrong != NULL)
        fprintf(stderr, "holdfast: %s\n", wrong);
    return wrong == NULL;
}

/* argv: the name, and behind it the command. */
static int run_under_lock(struct ctl *ctl)
{
    const struct options *o = ctl->options;
    unsigned ttl_ms = (o->given & OPTION_TTL) != 0 ? (unsigned)o->ttl_ms : LOCK_TTL_MS_DEFAULT;
    struct hold h = {.name = ctl->argv[0]};
    enum ctl_exit ignored; /* Told on stderr. */
    int status = CTL_LOCK_FAILED;
    struct client *asker = ctl_open(ctl, 0, ASK_TIMEOUT_MS, &ignored);
    h.client = ctl->client = ctl_open(ctl, ttl_ms, 0, &ignored);
    if (asker != NULL && h.client != NULL)
        status = acquire(ctl, &h);
    if (status == CTL_OK) {
        status = run_held(&h, asker, ttl_ms, ctl->argv + 1);
        if (status != CTL_LOCK_LOST)
            release(&h);
    }
    client_close(h.client);
    client_close(asker);
    return status;
}

/* ---- Locks shown and broken ---- */

static enum ctl_exit lock_list(struct ctl *ctl)
{
    const char *const argv[] = {"LOCK", "LIST", "MATCH", ctl->argc > 1 ? ctl->argv[1] : "*"};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, false, 4, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    status = show_maps(ctl, reply, "no lock is held");
    resp_value_free(reply);
    return status;
}

static enum ctl_exit lock_info(struct ctl *ctl)
{
    const char *const argv[] = {"LOCK", "INFO", ctl->argv[1]};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, false, 3, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    if (reply->type == RESP_NIL) {
        fprintf(stderr, "holdfast: lock '%s' is free\n", ctl->argv[1]);
        status = CTL_NO;
    } else {
        status = show_map(ctl, reply);
    }
    resp_value_free(reply);
    return status;
}

static enum ctl_exit lock_break(struct ctl *ctl)
{
    const char *reason = ctl->options->reason;
    const char *const argv[] = {"LOCK", "BREAK", ctl->argv[1], "REASON", reason};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, true, reason != NULL ? 5 : 3, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    if (reply->type != RESP_INT)
        status = ctl_surprised();
    else if (ctl->options->json)
        status = ctl_print_json(json_pack("{s:I}", "broken", (json_int_t)reply->n));
    else
        printf("%" PRId64 "\n", reply->n);
    if (status == CTL_OK && reply->n == 0)
        status = CTL_NO;
    resp_value_free(reply);
    return status;
}

static enum ctl_exit run_verb(struct ctl *ctl)
{
    static const struct ctl_verb verbs[] = {
        {"list", "[PATTERN]", 0, 1, lock_list},
        {"info", "NAME", 1, 1, lock_info},
        {"break", "NAME [--reason TEXT]", 1, 1, lock_break},
    };
    enum ctl_exit status = CTL_OK;
    ctl->client = ctl_open(ctl, 0, 0, &status);
    if (ctl->client != NULL)
        status = ctl_run_verb(ctl, "lock", verbs, sizeof verbs / sizeof *verbs);
    client_close(ctl->client);
    return status;
}

enum ctl_exit cmd_lock(struct ctl *ctl)
{
    if (ctl->options->n_before < 0)
        return run_verb(ctl);
    if (ctl->options->n_before != 2 || ctl->argc < 2) { /* "lock" and the name. */
        fputs("Usage: holdfast lock NAME [OPTION...] -- COMMAND [ARGUMENT...]\n", stderr);
        return CTL_USAGE;
    }
    return check_limits(ctl->options) ? (enum ctl_exit)run_under_lock(ctl) : CTL_USAGE;
}
