/* diskwatch.c - looks at two counters a few times a second; stall.c tells silence from its own sleep. */
#include "node/diskwatch.h"
#include "node/stall.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_MS 100

struct diskwatch {
    const struct io *io;
    uint64_t timeout_ms;
    void (*silent)(void *ctx, const char *why);
    void *ctx;
    struct stall stall; /* The thread's own. */

    pthread_t thread;
    pthread_mutex_t mutex; /* Guards stopping. */
    pthread_cond_t wake;
    bool stopping;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool is_silent(struct diskwatch *w)
{
    uint64_t begun, ended;
    io_uv_calls(w->io, &begun, &ended);
    return stall_look(&w->stall, now_ms(), begun > ended, ended) >= w->timeout_ms;
}

/* False when it was told to stop. */
static bool sleep_a_while(struct diskwatch *w)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += LOOK_MS * 1000000;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    pthread_mutex_lock(&w->mutex);
    while (!w->stopping && pthread_cond_timedwait(&w->wake, &w->mutex, &end) == 0)
        ;
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->mutex);
    return !stopping;
}

static void *watch(void *arg)
{
    struct diskwatch *w = arg;
    while (sleep_a_while(w)) {
        if (!is_silent(w))
            continue;
        char why[128];
        snprintf(why, sizeof why, "the disk has not answered for %.1f s", (double)w->timeout_ms / 1000);
        w->silent(w->ctx, why);
        break;
    }
    return NULL;
}

static void init_wake(pthread_cond_t *wake)
{
    pthread_condattr_t by_monotonic;
    pthread_condattr_init(&by_monotonic);
    pthread_condattr_setclock(&by_monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(wake, &by_monotonic);
    pthread_condattr_destroy(&by_monotonic);
}

int diskwatch_start(const struct io *io, uint64_t timeout_ms, void (*silent)(void *ctx, const char *why), void *ctx,
                    struct diskwatch **ret)
{
    struct diskwatch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -1;
    w->io = io;
    w->timeout_ms = timeout_ms;
    w->silent = silent;
    w->ctx = ctx;
    pthread_mutex_init(&w->mutex, NULL);
    init_wake(&w->wake);
    if (pthread_create(&w->thread, NULL, watch, w) != 0) {
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->mutex);
        free(w);
        return -1;
    }
    *ret = w;
    return 0;
}

void diskwatch_stop(struct diskwatch *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
