/* keeper.c - a renewal when a third of the session's time has passed since the last, and after a failure again and
 * again. Renewals by the owner's own commands count, so a busy client sends none of these. Invariants: everything from
 * `mutex` on is under it; the seat is the thread's alone. */
#include "node/client/keeper.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEEPER_RETRY_MS_MIN 20
#define KEEPER_ATTEMPT_MS_MAX 1000

struct keeper {
    struct seat seat;
    char session[24];
    unsigned ttl_ms;
    pthread_t thread;
    bool running;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int64_t renewed_ms; /* When the last renewal that was answered was sent. */
    bool gone;          /* A node has said that there is no such session any more. */
    bool closing;
};

enum renewal { RENEWED, GONE, FAILED };

static enum renewal judge(const struct resp_value *reply)
{
    if (seat_reply_is(reply, "SESSIONEXPIRED"))
        return GONE;
    return reply->type == RESP_ERROR ? FAILED : RENEWED;
}

/* One attempt at one node. */
static enum renewal renew(struct keeper *k)
{
    const char *const request[] = {"SESSION", "KEEPALIVE", k->session};
    struct resp_value *reply = NULL;
    struct resp_buf out = {0};
    unsigned third = k->ttl_ms / 3;
    int64_t deadline_ms = channel_now_ms() + (third < KEEPER_ATTEMPT_MS_MAX ? third : KEEPER_ATTEMPT_MS_MAX);
    int rc = seat_take(&k->seat, deadline_ms);
    if (rc == 0) {
        seat_encode(&out, 3, request, NULL);
        rc = out.failed ? CHANNEL_ENOMEM : channel_send(&k->seat.channel, out.base, out.len, deadline_ms);
    }
    if (rc == 0)
        rc = channel_receive(&k->seat.channel, deadline_ms, &reply);
    resp_buf_release(&out);
    enum renewal result = rc == 0 ? judge(reply) : FAILED;
    resp_value_free(reply);
    if (result == FAILED)
        seat_leave(&k->seat, rc != 0);
    return result;
}

/* A condition cannot wait by the channel's clock. */
static void wait_until(struct keeper *k, int64_t ms)
{
    struct timespec at;
    int64_t left_ms = ms - channel_now_ms();
    clock_gettime(CLOCK_MONOTONIC, &at);
    left_ms = left_ms < 0 ? 0 : left_ms;
    at.tv_sec += left_ms / 1000;
    at.tv_nsec += left_ms % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&k->changed, &k->mutex, &at);
}

/* Under the mutex, but for the renewal itself. */
static void keep(struct keeper *k)
{
    unsigned retry_ms = k->ttl_ms / 50 > KEEPER_RETRY_MS_MIN ? k->ttl_ms / 50 : KEEPER_RETRY_MS_MIN;
    int64_t now = channel_now_ms(), next = k->renewed_ms + k->ttl_ms / 3;
    if (now < next) {
        wait_until(k, next);
        return;
    }
    pthread_mutex_unlock(&k->mutex);
    enum renewal result = renew(k);
    pthread_mutex_lock(&k->mutex);
    if (result == RENEWED && now > k->renewed_ms)
        k->renewed_ms = now;
    k->gone = k->gone || result == GONE;
    if (result == FAILED && !k->closing)
        wait_until(k, channel_now_ms() + retry_ms);
}

static void *keeper_main(void *arg)
{
    struct keeper *k = arg;
    pthread_mutex_lock(&k->mutex);
    while (!k->closing && !k->gone)
        keep(k);
    pthread_mutex_unlock(&k->mutex);
    return NULL;
}

/* Signals are for the program's own threads. */
static bool start_thread(struct keeper *k)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    k->running = pthread_create(&k->thread, NULL, keeper_main, k) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return k->running;
}

static void init_sync(struct keeper *k)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&k->mutex, NULL);
}

int keeper_start(const struct seat *like, uint64_t session, unsigned ttl_ms, int64_t renewed_ms, struct keeper **ret)
{
    struct keeper *k = calloc(1, sizeof *k);
    if (k == NULL)
        return CLIENT_ENOMEM;
    init_sync(k);
    snprintf(k->session, sizeof k->session, "%llu", (unsigned long long)session);
    k->ttl_ms = ttl_ms;
    k->renewed_ms = renewed_ms;
    if (!seat_init_like(&k->seat, like) || !start_thread(k)) {
        keeper_stop(k);
        return CLIENT_ENOMEM;
    }
    *ret = k;
    return 0;
}

void keeper_stop(struct keeper *k)
{
    if (k == NULL)
        return;
    pthread_mutex_lock(&k->mutex);
    k->closing = true;
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->mutex);
    if (k->running)
        pthread_join(k->thread, NULL);
    seat_release(&k->seat);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}

void keeper_abandon(struct keeper *k)
{
    if (k != NULL && k->seat.channel.fd >= 0)
        close(k->seat.channel.fd);
}

void keeper_renewed(struct keeper *k, int64_t sent_ms)
{
    pthread_mutex_lock(&k->mutex);
    if (sent_ms > k->renewed_ms)
        k->renewed_ms = sent_ms;
    pthread_mutex_unlock(&k->mutex);
}

bool keeper_alive(struct keeper *k)
{
    return keeper_left_ms(k) > 0;
}

int64_t keeper_left_ms(struct keeper *k)
{
    pthread_mutex_lock(&k->mutex);
    int64_t left_ms = k->gone ? 0 : k->renewed_ms + k->ttl_ms - channel_now_ms();
    pthread_mutex_unlock(&k->mutex);
    return left_ms > 0 ? left_ms : 0;
}
