/* holdwatch.c - one LOCK INFO, a pause, and again. Invariant: `gone` and `closing` are under the mutex; the client is
 * the thread's alone. */
#include "node/ctl/holdwatch.h"
#include "node/ctl/show.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

struct holdwatch {
    struct client *client;
    const char *name;
    int64_t token;
    unsigned every_ms;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool gone, closing;
};

static bool is_among(const struct resp_value *holders, int64_t token)
{
    for (int64_t i = 0; holders != NULL && holders->type == RESP_ARRAY && i < holders->n; i++) {
        const struct resp_value *held = show_field(&holders->parts[i], "token");
        if (held != NULL && held->type == RESP_INT && held->n == token)
            return true;
    }
    return false;
}

/* True only when the cluster has said so. */
static bool ask_gone(struct holdwatch *w)
{
    const char *const argv[] = {"LOCK", "INFO", w->name};
    struct resp_value *reply;
    if (client_call(w->client, false, 3, argv, NULL, &reply) != 0)
        return false;
    bool answered = reply->type == RESP_NIL || show_pairs(reply) > 0;
    bool gone = answered && (reply->type == RESP_NIL || !is_among(show_field(reply, "holders"), w->token));
    resp_value_free(reply);
    return gone;
}

/* Under the mutex. */
static void pause_a_while(struct holdwatch *w)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += w->every_ms / 1000;
    at.tv_nsec += w->every_ms % 1000 * 1000000L;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&w->changed, &w->mutex, &at);
}

static void *watch(void *arg)
{
    struct holdwatch *w = arg;
    pthread_mutex_lock(&w->mutex);
    while (!w->closing && !w->gone) {
        pause_a_while(w);
        pthread_mutex_unlock(&w->mutex);
        bool gone = ask_gone(w);
        pthread_mutex_lock(&w->mutex);
        w->gone = gone;
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* Signals are for the main thread. */
static int start_thread(struct holdwatch *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->thread, NULL, watch, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

struct holdwatch *holdwatch_start(struct client *client, const char *name, int64_t token, unsigned every_ms)
{
    struct holdwatch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    *w = (struct holdwatch){.client = client, .name = name, .token = token, .every_ms = every_ms};
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (start_thread(w) == 0)
        return w;
    free(w);
    return NULL;
}

bool holdwatch_gone(struct holdwatch *w)
{
    pthread_mutex_lock(&w->mutex);
    bool gone = w->gone;
    pthread_mutex_unlock(&w->mutex);
    return gone;
}

void holdwatch_stop(struct holdwatch *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    w->closing = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
