/* served.c - a server over a localnode; its loop runs until it is told to stop. */
#include "tests/sweep/served.h"
#include "tests/support/nodeharness.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct harness *harness;
static pthread_t thread;
static uv_async_t stop;

static void on_stop(uv_async_t *handle)
{
    uv_stop(handle->loop);
}

static void *serve(void *arg)
{
    (void)arg;
    uv_run(&harness->loop, UV_RUN_DEFAULT);
    return NULL;
}

const char *served_start(void)
{
    static char address[32];
    harness = harness_new();
    harness_start(harness);
    localnode_knobs(harness->node)->is_leader = true;
    snprintf(address, sizeof address, "127.0.0.1:%u", server_port(harness->server));
    if (uv_async_init(&harness->loop, &stop, on_stop) != 0 || pthread_create(&thread, NULL, serve, NULL) != 0)
        abort();
    return address;
}

void served_stop(void)
{
    uv_async_send(&stop);
    pthread_join(thread, NULL);
    uv_close((uv_handle_t *)&stop, NULL);
    harness_free(harness);
}
