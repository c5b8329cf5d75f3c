/* main.c - holdfastd: settings, log, loop; the cluster side, then the client side; and an orderly end.
 *
 *     start: config_load -> log_begin -> node_open -> server_open -> loop
 *     end:   SIGTERM, SIGINT or SHUTDOWN -> stop listening -> node_drain -> server_close -> node_close
 *
 * A second signal does not hurry it: the drain is bounded by the request deadline. SIGHUP opens the log file anew.
 * Exit statuses are in exit.h. */
#include "node/config.h"
#include "node/exit.h"
#include "node/http.h"
#include "node/log.h"
#include "node/node.h"
#include "node/server.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

#define FILES_BESIDE_CLIENTS 256

extern char **environ;

struct daemon {
    uv_loop_t loop;
    struct config config;
    struct node *node;
    struct server *server;
    struct http *http;      /* NULL: not asked for. */
    uv_signal_t signals[3]; /* SIGTERM, SIGINT, SIGHUP */
    bool draining;
};

static void close_signals(struct daemon *d)
{
    for (size_t i = 0; i < sizeof d->signals / sizeof *d->signals; i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
}

static void on_server_closed(void *ctx)
{
    struct daemon *d = ctx;
    d->server = NULL;
    close_signals(d);
    uv_stop(&d->loop); /* The cluster side's handles are still open; node_close() ends them. */
}

static void on_drained(void *ctx)
{
    struct daemon *d = ctx;
    log_info("everything in flight is finished");
    http_close(d->http);
    server_close(d->server, on_server_closed, d);
}

static void drain(struct daemon *d, const char *why)
{
    if (d->draining)
        return;
    d->draining = true;
    log_info("%s: ending; no new clients, finishing what is in flight", why);
    server_stop_listening(d->server);
    node_drain(d->node, on_drained, d);
}

static void on_shutdown(void *ctx)
{
    drain(ctx, "SHUTDOWN");
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct daemon *d = handle->data;
    if (signum == SIGHUP)
        log_reopen();
    else
        drain(d, signum == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void watch_signals(struct daemon *d)
{
    static const int signums[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof signums / sizeof *signums; i++) {
        uv_signal_init(&d->loop, &d->signals[i]);
        d->signals[i].data = d;
        uv_signal_start(&d->signals[i], on_signal, signums[i]);
        uv_unref((uv_handle_t *)&d->signals[i]);
    }
    signal(SIGPIPE, SIG_IGN);
}

static int start_log(const struct config *config)
{
    enum log_level level = (enum log_level)log_level_from_name(config->log_level);
    int rc = log_begin(config->log_file, level);
    if (rc == 0)
        return 0;
    fprintf(stderr, "holdfastd: log_file: cannot open %s: %s\n", config->log_file, strerror(-rc));
    return NODE_EXIT_USAGE;
}

static int say_error(const struct config *config, int status, const char *error)
{
    if (status == NODE_EXIT_DATA_DIR)
        log_error("cannot start on data_dir %s: %s", config->data_dir, error);
    else
        log_error("cannot start: %s", error);
    return status;
}

/* Each client is a file descriptor, and so is each log file and peer. */
static void raise_file_limit(const struct config *config)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)config->max_clients + FILES_BESIDE_CLIENTS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= want ? want : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < want)
        log_warning("max_clients (%u) needs %llu file descriptors, and the system allows this process %llu",
                    config->max_clients, (unsigned long long)want, (unsigned long long)limit.rlim_cur);
}

static int serve(struct daemon *d)
{
    char error[256] = "";
    raise_file_limit(&d->config);
    int status = node_open(&d->loop, &d->config, error, &d->node);
    if (status != 0)
        return say_error(&d->config, status, error);
    d->config = *node_config(d->node); /* A node that joined was told its id. */
    status = http_open(&d->loop, d->node, d->config.metrics_listen, error, &d->http);
    if (status != 0) {
        say_error(&d->config, status, error);
        node_close(d->node);
        return status;
    }
    status = server_open(&d->loop, d->node, &d->config, error, &d->server);
    if (status != 0) {
        say_error(&d->config, status, error);
        http_close(d->http);
        node_close(d->node);
        return status;
    }
    http_serve(d->http, d->server);
    server_on_shutdown(d->server, on_shutdown, d);
    watch_signals(d);
    log_info("holdfastd " HOLDFAST_VERSION ", node %llu of cluster '%s', serves clients on %s",
             (unsigned long long)d->config.node_id, d->config.cluster_name, d->config.listen);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    node_close(d->node);
    log_info("ended");
    return NODE_EXIT_DRAINED;
}

static int run(const struct config *config)
{
    struct daemon *d = calloc(1, sizeof *d);
    if (d == NULL || uv_loop_init(&d->loop) != 0) {
        fprintf(stderr, "holdfastd: out of memory\n");
        free(d);
        return NODE_EXIT_INTERNAL;
    }
    d->config = *config;
    int status = serve(d);
    uv_run(&d->loop, UV_RUN_NOWAIT); /* Close callbacks that are still due. */
    if (uv_loop_close(&d->loop) == 0)
        free(d); /* Else handles in it are still open, and the process ends anyway. */
    log_end();
    return status;
}

int main(int argc, char **argv)
{
    static struct config config;
    char error[CONFIG_ERROR_MAX];
    enum config_action action;
    if (config_load(argc, argv, environ, &config, &action, error) != 0) {
        fprintf(stderr, "holdfastd: %s\n", error);
        return NODE_EXIT_USAGE;
    }
    switch (action) {
    case CONFIG_HELP:
        config_print_help();
        return 0;
    case CONFIG_VERSION:
        printf("holdfastd " HOLDFAST_VERSION "\n");
        return 0;
    case CONFIG_CHECK:
        printf("holdfastd: the settings are good\n");
        return 0;
    case CONFIG_RUN:
        break;
    }
    int status = start_log(&config);
    return status != 0 ? status : run(&config);
}
