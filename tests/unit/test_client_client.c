/* test_client_client.c - the client against nodes that do what a script says: a thread each, on ports of their own. */
#include "node/client/client.h"
#include "node/client/fields.h"
#include "node/resp/resp.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- A node that follows a script ---- */

#define FAKE_CONNS_MAX 8
#define FAKE_SCRIPT_MAX 8
/* What the script may say instead of a reply's bytes. */
#define CUT "cut"       /* Close when the request has been read. */
#define SILENT "silent" /* Read and say nothing. */
#define SLOW                                                                                                           \
    "-CLUSTERDOWN no leader, after a while\r\n" /* Said after SLOW_MS, as a node does that waits for a leader. */
#define SLOW_MS 120

struct fake {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int listener, stop[2];
    char name[32]; /* host:port */
    /* Under the mutex: */
    char info[256];                      /* INFO's answer; "" is an error, CUT closes. */
    const char *auth;                    /* AUTH's answer. */
    const char *script[FAKE_SCRIPT_MAX]; /* Answers to other requests, in order; then ECHO echoes, the rest is OK. */
    size_t n_script, at_script;
    bool close_idle;                  /* Hang up after the next answer. */
    int n_accepted, n_closed, n_seen; /* n_seen counts requests that are not INFO or AUTH. */
    char auth_seen[64];
    char seen[1024]; /* Those requests as text, a bar after each. */
};

struct fake_conn {
    int fd;
    struct resp_buf in;
    struct resp_parser parser;
};

static const struct resp_limits fake_limits = {64 << 10, 1 << 20, 64 << 20, 128 << 20, false};

static void conn_close(struct fake *f, struct fake_conn *conn)
{
    close(conn->fd);
    resp_buf_release(&conn->in);
    resp_parser_release(&conn->parser);
    conn->fd = -1;
    f->n_closed++;
    pthread_cond_broadcast(&f->changed);
}

static bool arg_is(const struct resp_arg *arg, const char *word)
{
    return arg->len == strlen(word) && memcmp(arg->base, word, arg->len) == 0;
}

static void note_auth(struct fake *f, const struct resp_parser *p)
{
    size_t len = 0;
    for (size_t i = 1; i < p->n_args; i++)
        len += (size_t)snprintf(f->auth_seen + len, sizeof f->auth_seen - len, "%.*s ", (int)p->args[i].len,
                                p->args[i].base);
}

static void note_seen(struct fake *f, const struct resp_parser *p)
{
    size_t len = strlen(f->seen);
    for (size_t i = 0; i < p->n_args && len < sizeof f->seen; i++)
        len += (size_t)snprintf(f->seen + len, sizeof f->seen - len, "%.*s%s", (int)p->args[i].len, p->args[i].base,
                                i + 1 < p->n_args ? " " : "|");
}

static const char *next_line(struct fake *f, const struct resp_parser *p, struct resp_buf *out)
{
    note_seen(f, p);
    f->n_seen++;
    pthread_cond_broadcast(&f->changed);
    if (f->at_script < f->n_script) {
        const char *line = f->script[f->at_script++];
        if (strcmp(line, SLOW) == 0)
            poll(NULL, 0, SLOW_MS);
        return line;
    }
    if (!arg_is(&p->args[0], "ECHO"))
        return "+OK\r\n";
    resp_bulk(out, p->args[1].base, p->args[1].len);
    return "";
}

/* The answer into out; CUT and SILENT are given back. */
static const char *answer(struct fake *f, const struct resp_parser *p, struct resp_buf *out)
{
    const char *line = "";
    if (arg_is(&p->args[0], "INFO") && strcmp(f->info, CUT) == 0)
        line = CUT;
    else if (arg_is(&p->args[0], "INFO") && f->info[0] == '\0')
        line = "-ERR no such section\r\n";
    else if (arg_is(&p->args[0], "INFO"))
        resp_text(out, f->info);
    else if (arg_is(&p->args[0], "AUTH"))
        note_auth(f, p), line = f->auth;
    else
        line = next_line(f, p, out);
    if (strcmp(line, CUT) != 0 && strcmp(line, SILENT) != 0)
        resp_raw(out, line, strlen(line));
    return line;
}

static void send_all(int fd, const struct resp_buf *out)
{
    for (size_t sent = 0; sent < out->len;) {
        ssize_t n = send(fd, out->base + sent, out->len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        sent += (size_t)n;
    }
}

/* All whole requests of the buffer, under the mutex. */
static void conn_serve(struct fake *f, struct fake_conn *conn)
{
    size_t used = 0;
    while (conn->fd >= 0 && resp_parse(&conn->parser, conn->in.base, conn->in.len, &used) == RESP_REQUEST) {
        struct resp_buf out = {0};
        const char *line = answer(f, &conn->parser, &out);
        bool seen = f->n_seen > 0;
        memmove(conn->in.base, conn->in.base + used, conn->in.len - used);
        conn->in.len -= used;
        send_all(conn->fd, &out);
        resp_buf_release(&out);
        if (strcmp(line, CUT) == 0 || (f->close_idle && seen)) {
            f->close_idle = false;
            conn_close(f, conn);
        }
    }
}

static void conn_read(struct fake *f, struct fake_conn *conn)
{
    resp_reserve(&conn->in, 1 << 20);
    ssize_t n = recv(conn->fd, conn->in.base + conn->in.len, conn->in.cap - conn->in.len, 0);
    pthread_mutex_lock(&f->mutex);
    if (n > 0)
        conn->in.len += (size_t)n;
    if (n > 0)
        conn_serve(f, conn);
    else
        conn_close(f, conn);
    pthread_mutex_unlock(&f->mutex);
}

static void fake_accept(struct fake *f, struct fake_conn *conns)
{
    int i = 0;
    while (conns[i].fd >= 0)
        i++;
    conns[i] = (struct fake_conn){.fd = accept(f->listener, NULL, NULL)};
    resp_parser_init(&conns[i].parser, &fake_limits);
    pthread_mutex_lock(&f->mutex);
    f->n_accepted++;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static void *fake_run(void *arg)
{
    struct fake *f = arg;
    struct fake_conn conns[FAKE_CONNS_MAX];
    for (int i = 0; i < FAKE_CONNS_MAX; i++)
        conns[i].fd = -1;
    for (;;) {
        struct pollfd fds[FAKE_CONNS_MAX + 2];
        for (int i = 0; i < FAKE_CONNS_MAX; i++)
            fds[i] = (struct pollfd){.fd = conns[i].fd, .events = POLLIN};
        fds[FAKE_CONNS_MAX] = (struct pollfd){.fd = f->listener, .events = POLLIN};
        fds[FAKE_CONNS_MAX + 1] = (struct pollfd){.fd = f->stop[0], .events = POLLIN};
        poll(fds, FAKE_CONNS_MAX + 2, -1);
        if (fds[FAKE_CONNS_MAX + 1].revents != 0)
            break;
        for (int i = 0; i < FAKE_CONNS_MAX; i++) {
            if (conns[i].fd >= 0 && fds[i].revents != 0)
                conn_read(f, &conns[i]);
        }
        if (fds[FAKE_CONNS_MAX].revents != 0)
            fake_accept(f, conns);
    }
    for (int i = 0; i < FAKE_CONNS_MAX; i++) {
        if (conns[i].fd >= 0)
            conn_close(f, &conns[i]);
    }
    return NULL;
}

/* A port of our own; without listening it refuses connections and nobody else can have it. */
static int bind_port(char name[32])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(name, 32, "127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

static void fake_start(struct fake *f)
{
    *f = (struct fake){.auth = "+OK\r\n"};
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->listener = bind_port(f->name);
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(pipe(f->stop), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_run, f), 0);
}

static void fake_stop(struct fake *f)
{
    assert_int_equal(write(f->stop[1], "x", 1), 1);
    pthread_join(f->thread, NULL);
    close(f->stop[0]);
    close(f->stop[1]);
    close(f->listener);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
}

static void fake_says(struct fake *f, const char *line)
{
    pthread_mutex_lock(&f->mutex);
    assert_true(f->n_script < FAKE_SCRIPT_MAX);
    f->script[f->n_script++] = line;
    pthread_mutex_unlock(&f->mutex);
}

static void fake_leads(struct fake *f)
{
    pthread_mutex_lock(&f->mutex);
    snprintf(f->info, sizeof f->info, "# Holdfast\r\nrole:leader\r\nleader_client_address:%s\r\n", f->name);
    pthread_mutex_unlock(&f->mutex);
}

static void fake_follows(struct fake *f, const char *leader)
{
    pthread_mutex_lock(&f->mutex);
    snprintf(f->info, sizeof f->info, "# Holdfast\r\nrole:follower\r\nleader_client_address:%s\r\n", leader);
    pthread_mutex_unlock(&f->mutex);
}

static int fake_count(struct fake *f, const int *which)
{
    pthread_mutex_lock(&f->mutex);
    int n = *which;
    pthread_mutex_unlock(&f->mutex);
    return n;
}

static void fake_await(struct fake *f, const int *which, int n)
{
    pthread_mutex_lock(&f->mutex);
    while (*which < n)
        pthread_cond_wait(&f->changed, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
}

/* ---- The fixture: two nodes that answer, one port that refuses, a client ---- */

struct fixture {
    struct fake a, b;
    int refusing;
    char refuser[32];
    struct client *client;
};

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    fake_start(&f->a);
    fake_start(&f->b);
    f->refusing = bind_port(f->refuser);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    client_close(f->client);
    fake_stop(&f->a);
    fake_stop(&f->b);
    close(f->refusing);
    test_free(f);
    return 0;
}

static void open_client(struct fixture *f, unsigned timeout_ms, const char *first, const char *second)
{
    char nodes[80];
    snprintf(nodes, sizeof nodes, "%s%s%s", first, second != NULL ? "," : "", second != NULL ? second : "");
    struct client_options options = {.nodes = nodes, .timeout_ms = timeout_ms};
    assert_int_equal(client_open(&options, &f->client), 0);
}

static void open_with_session(struct fixture *f, unsigned timeout_ms, unsigned ttl_ms, const char *nodes)
{
    struct client_options options = {
        .nodes = nodes, .timeout_ms = timeout_ms, .session_ttl_ms = ttl_ms, .session_name = "me"};
    assert_int_equal(client_open(&options, &f->client), 0);
}

static void expect_seen(struct fake *f, const char *want)
{
    pthread_mutex_lock(&f->mutex);
    assert_string_equal(f->seen, want);
    pthread_mutex_unlock(&f->mutex);
}

#define PATIENT_MS 20000 /* Never reached unless something is wrong. */
#define HASTY_MS 200

static int call(struct fixture *f, bool is_write, struct resp_value **ret)
{
    static const char *const argv[] = {"SET", "x", "1"};
    return client_call(f->client, is_write, 3, argv, NULL, ret);
}

static void expect_text(struct fixture *f, bool is_write, const char *want)
{
    struct resp_value *v = NULL;
    assert_int_equal(call(f, is_write, &v), 0);
    assert_string_equal(v->bytes, want);
    resp_value_free(v);
}

static void expect_failure(struct fixture *f, bool is_write, int rc, const char *part_of_message)
{
    struct resp_value *v = NULL;
    assert_int_equal(call(f, is_write, &v), rc);
    assert_null(v);
    if (strstr(client_message(f->client), part_of_message) == NULL)
        fail_msg("'%s' is not in '%s'", part_of_message, client_message(f->client));
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Finding a node ---- */

static void connection_is_kept(void **state)
{
    struct fixture *f = *state;
    open_client(f, PATIENT_MS, f->a.name, NULL);
    assert_string_equal(client_node(f->client), "");
    for (int i = 0; i < 3; i++)
        expect_text(f, true, "OK");
    assert_string_equal(client_node(f->client), f->a.name);
    assert_string_equal(client_message(f->client), "");
    assert_int_equal(fake_count(&f->a, &f->a.n_accepted), 1);
}

static void leader_is_followed(void **state)
{
    struct fixture *f = *state;
    fake_follows(&f->a, f->b.name);
    fake_leads(&f->b);
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_text(f, true, "OK");
    assert_string_equal(client_node(f->client), f->b.name);
    assert_int_equal(fake_count(&f->a, &f->a.n_seen), 0);
}

static void unreachable_leader_is_no_matter(void **state)
{
    struct fixture *f = *state;
    fake_follows(&f->a, f->refuser);
    open_client(f, PATIENT_MS, f->a.name, f->refuser);
    expect_text(f, true, "OK");
    assert_string_equal(client_node(f->client), f->a.name);
}

static void strange_leader_is_not_followed(void **state)
{
    struct fixture *f = *state;
    fake_follows(&f->a, f->b.name);
    open_client(f, PATIENT_MS, f->a.name, NULL);
    expect_text(f, true, "OK");
    assert_int_equal(fake_count(&f->b, &f->b.n_accepted), 0);
}

static void new_leader_is_followed_when_the_old_one_goes(void **state)
{
    struct fixture *f = *state;
    fake_leads(&f->a);
    f->a.close_idle = true;
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_text(f, true, "OK");
    fake_await(&f->a, &f->a.n_closed, 1);
    fake_follows(&f->a, f->b.name);
    fake_leads(&f->b);
    expect_text(f, true, "OK");
    assert_string_equal(client_node(f->client), f->b.name);
}

static void refusing_node_is_passed_over(void **state)
{
    struct fixture *f = *state;
    open_client(f, PATIENT_MS, f->refuser, f->a.name);
    int64_t start = now_ms();
    expect_text(f, true, "OK");
    assert_true(now_ms() - start < PATIENT_MS / 2);
}

static void node_that_hangs_up_is_passed_over(void **state)
{
    struct fixture *f = *state;
    strcpy(f->a.info, CUT);
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_text(f, true, "OK");
    assert_string_equal(client_node(f->client), f->b.name);
}

static void nobody_there(void **state)
{
    struct fixture *f = *state;
    open_client(f, HASTY_MS, f->refuser, NULL);
    int64_t start = now_ms();
    expect_failure(f, true, CLIENT_EUNAVAILABLE, f->refuser);
    assert_in_range(now_ms() - start, HASTY_MS, HASTY_MS + 1000);
}

/* ---- Not done: tried again ---- */

static void not_now_goes_to_the_next_node(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, "-CLUSTERDOWN no leader\r\n");
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_text(f, true, "OK");
    assert_string_equal(client_node(f->client), f->b.name);
}

static void not_now_is_waited_out(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, "-CLUSTERDOWN no leader\r\n");
    fake_says(&f->a, "-TRYAGAIN link is down\r\n");
    fake_says(&f->a, "-OVERLOADED\r\n");
    fake_says(&f->a, "-LOADING the state\r\n");
    open_client(f, PATIENT_MS, f->a.name, NULL);
    expect_text(f, true, "OK");
    assert_int_equal(fake_count(&f->a, &f->a.n_seen), 5);
}

static void not_now_until_the_deadline(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < FAKE_SCRIPT_MAX; i++)
        fake_says(&f->a, "-CLUSTERDOWN no quorum\r\n");
    open_client(f, HASTY_MS, f->a.name, NULL);
    expect_failure(f, true, CLIENT_EUNAVAILABLE, "CLUSTERDOWN no quorum");
}

/* With less time left than the last refusal took, another attempt could only end as unknown. */
static void write_stops_while_known_not_done(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, SLOW);
    fake_says(&f->a, SILENT);
    open_client(f, HASTY_MS, f->a.name, f->refuser);
    expect_failure(f, true, CLIENT_EUNAVAILABLE, "CLUSTERDOWN no leader, after a while");
    assert_int_equal(fake_count(&f->a, &f->a.n_seen), 1);
}

static void idle_connection_cut_is_harmless(void **state)
{
    struct fixture *f = *state;
    f->a.close_idle = true;
    open_client(f, PATIENT_MS, f->a.name, NULL);
    expect_text(f, true, "OK");
    fake_await(&f->a, &f->a.n_closed, 1);
    expect_text(f, true, "OK");
    assert_int_equal(fake_count(&f->a, &f->a.n_seen), 2);
}

/* ---- Perhaps done ---- */

static void cut_write_is_unknown(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, CUT);
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_failure(f, true, CLIENT_EUNKNOWN, "no answer came");
    assert_int_equal(fake_count(&f->a, &f->a.n_seen), 1);
    assert_int_equal(fake_count(&f->b, &f->b.n_seen), 0);
    expect_text(f, true, "OK");
}

static void cut_read_is_repeated(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, CUT);
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_text(f, false, "OK");
    assert_string_equal(client_node(f->client), f->b.name);
}

static void half_an_answer_is_none(void **state)
{
    struct fixture *f = *state;
    f->a.close_idle = true;
    fake_says(&f->a, "$5\r\nhal");
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_failure(f, true, CLIENT_EUNKNOWN, "closed the connection");
}

static void unknown_write_is_told(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, "-UNKNOWN outcome not known: leader lost\r\n");
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_failure(f, true, CLIENT_EUNKNOWN, "UNKNOWN outcome not known: leader lost");
    assert_int_equal(fake_count(&f->b, &f->b.n_seen), 0);
}

static void unknown_read_is_repeated(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, "-UNKNOWN outcome not known: leader lost\r\n");
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_text(f, false, "OK");
}

static void silent_node_keeps_the_deadline(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, SILENT);
    open_client(f, HASTY_MS, f->a.name, NULL);
    int64_t start = now_ms();
    expect_failure(f, true, CLIENT_EUNKNOWN, "timed out");
    assert_in_range(now_ms() - start, HASTY_MS, HASTY_MS + 1000);
    expect_text(f, true, "OK"); /* On a new connection: a late answer would be taken for this one's. */
    assert_int_equal(fake_count(&f->a, &f->a.n_accepted), 2);
}

static void silent_node_leaves_time_for_another(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, SILENT);
    open_client(f, 2000, f->a.name, f->b.name);
    expect_text(f, false, "OK");
    assert_string_equal(client_node(f->client), f->b.name);
}

static void silence_to_reads_everywhere(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < FAKE_SCRIPT_MAX; i++) {
        fake_says(&f->a, SILENT);
        fake_says(&f->b, SILENT);
    }
    open_client(f, HASTY_MS, f->a.name, f->b.name);
    int64_t start = now_ms();
    expect_failure(f, false, CLIENT_EUNAVAILABLE, "not done within 200 ms");
    assert_in_range(now_ms() - start, HASTY_MS, HASTY_MS + 1000);
}

/* ---- Answers ---- */

static void refusal_is_an_answer(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, "-WRONGTYPE not that kind\r\n");
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_text(f, true, "WRONGTYPE not that kind");
}

static void garbage_is_told(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, "HTTP/1.1 400 Bad Request\r\n");
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_failure(f, true, CLIENT_EPROTOCOL, "not RESP");
    expect_text(f, true, "OK");
}

static void denial_is_told(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, "-NOPERM not you\r\n");
    open_client(f, PATIENT_MS, f->a.name, f->b.name);
    expect_failure(f, false, CLIENT_EDENIED, "NOPERM not you");
    assert_int_equal(fake_count(&f->b, &f->b.n_seen), 0);
}

static void credentials_are_sent(void **state)
{
    struct fixture *f = *state;
    struct client_options options = {.nodes = f->a.name, .user = "me", .password = "secret"};
    assert_int_equal(client_open(&options, &f->client), 0);
    expect_text(f, true, "OK");
    assert_string_equal(f->a.auth_seen, "me secret ");
}

static void wrong_password_is_told(void **state)
{
    struct fixture *f = *state;
    f->a.auth = "-WRONGPASS no\r\n";
    struct client_options options = {.nodes = f->a.name, .password = "secret"};
    assert_int_equal(client_open(&options, &f->client), 0);
    expect_failure(f, true, CLIENT_EDENIED, "WRONGPASS no");
    assert_int_equal(fake_count(&f->a, &f->a.n_seen), 0);
}

static void large_value_both_ways(void **state)
{
    struct fixture *f = *state;
    size_t len = 8 << 20;
    char *value = malloc(len);
    for (size_t i = 0; i < len; i++)
        value[i] = (char)(i * 7);
    const char *argv[] = {"ECHO", value};
    const size_t lens[] = {4, len};
    struct resp_value *v = NULL;
    open_client(f, PATIENT_MS, f->a.name, NULL);
    assert_int_equal(client_call(f->client, false, 2, argv, lens, &v), 0);
    assert_int_equal(v->len, len);
    assert_memory_equal(v->bytes, value, len);
    resp_value_free(v);
    free(value);
}

#define N_PIPELINED 20000

static void fill_requests(struct client_request *requests, char texts[][16], const char *argvs[][2])
{
    for (int i = 0; i < N_PIPELINED; i++) {
        snprintf(texts[i], 16, "%d", i);
        argvs[i][0] = "ECHO";
        argvs[i][1] = texts[i];
        requests[i] = (struct client_request){.argc = 2, .argv = argvs[i]};
    }
}

static void pipeline_keeps_its_order(void **state)
{
    struct fixture *f = *state;
    struct client_request *requests = calloc(N_PIPELINED, sizeof *requests);
    char(*texts)[16] = calloc(N_PIPELINED, sizeof *texts);
    const char *(*argvs)[2] = calloc(N_PIPELINED, sizeof *argvs);
    struct resp_value **replies = calloc(N_PIPELINED, sizeof *replies);
    fill_requests(requests, texts, argvs);
    fake_says(&f->a, "-CLUSTERDOWN no leader\r\n"); /* One of them is enough to ask for all of them again. */
    open_client(f, PATIENT_MS, f->a.name, NULL);
    assert_int_equal(client_read_many(f->client, N_PIPELINED, requests, replies), 0);
    for (int i = 0; i < N_PIPELINED; i++) {
        assert_string_equal(replies[i]->bytes, texts[i]);
        resp_value_free(replies[i]);
    }
    free(requests);
    free(texts);
    free(argvs);
    free(replies);
}

static void one_node_is_asked(void **state)
{
    struct fixture *f = *state;
    const char *const argv[] = {"ECHO", "hi"};
    struct resp_value *v = NULL;
    fake_follows(&f->a, f->b.name);
    open_client(f, PATIENT_MS, f->a.name, f->refuser);
    assert_int_equal(client_node_count(f->client), 2);
    assert_string_equal(client_node_name(f->client, 1), f->refuser);
    assert_int_equal(client_call_node(f->client, 0, 2, argv, NULL, &v), 0);
    assert_string_equal(v->bytes, "hi");
    resp_value_free(v);
    assert_int_equal(client_call_node(f->client, 1, 2, argv, NULL, &v), CLIENT_EUNAVAILABLE);
    assert_non_null(strstr(client_message(f->client), f->refuser));
}

static void added_node_is_asked(void **state)
{
    struct fixture *f = *state;
    const char *const argv[] = {"ECHO", "hi"};
    struct resp_value *v = NULL;
    open_client(f, PATIENT_MS, f->refuser, NULL);
    assert_int_equal(client_add_node(f->client, "a:"), CLIENT_EINVAL);
    assert_int_equal(client_add_node(f->client, f->a.name), 0);
    assert_int_equal(client_call_node(f->client, 1, 2, argv, NULL, &v), 0);
    assert_string_equal(v->bytes, "hi");
    resp_value_free(v);
    for (int i = client_node_count(f->client); i < CLIENT_NODES_MAX; i++)
        assert_int_equal(client_add_node(f->client, "a:1"), 0);
    assert_int_equal(client_add_node(f->client, "a:1"), CLIENT_EINVAL);
}

/* ---- Processes ---- */

static void child_makes_its_own_connection(void **state)
{
    struct fixture *f = *state;
    int status = 0;
    open_client(f, PATIENT_MS, f->a.name, NULL);
    expect_text(f, true, "OK");
    pid_t child = fork();
    if (child == 0) {
        struct resp_value *v = NULL;
        _exit(call(f, true, &v) == 0 && strcmp(v->bytes, "OK") == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_text(f, true, "OK");
    assert_int_equal(fake_count(&f->a, &f->a.n_accepted), 2);
    assert_int_equal(fake_count(&f->a, &f->a.n_seen), 3);
}

/* ---- Sessions ---- */

#define LONG_TTL_MS 600000 /* So long that no keep-alive comes in between. */
#define SHORT_TTL_MS 300
#define OPENED "SESSION OPEN TTL 600000 NAME me|"

static void first_write_opens_the_session(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, ":7\r\n");
    open_with_session(f, PATIENT_MS, LONG_TTL_MS, f->a.name);
    assert_true(client_session(f->client) == 0);
    assert_false(client_session_alive(f->client, 0));
    expect_text(f, true, "OK");
    expect_text(f, false, "OK");
    expect_text(f, true, "OK");
    expect_seen(&f->a, OPENED "ONCE 7 1 ACK 0 SET x 1|SET x 1|ONCE 7 2 ACK 1 SET x 1|");
    assert_true(client_session(f->client) == 7);
    assert_true(client_session_alive(f->client, 7));
    assert_false(client_session_alive(f->client, 6));
    client_close(f->client);
    f->client = NULL;
    expect_seen(&f->a, OPENED "ONCE 7 1 ACK 0 SET x 1|SET x 1|ONCE 7 2 ACK 1 SET x 1|SESSION CLOSE 7|");
}

static void cut_once_goes_to_the_next_node(void **state)
{
    struct fixture *f = *state;
    char nodes[80];
    snprintf(nodes, sizeof nodes, "%s,%s", f->a.name, f->b.name);
    fake_says(&f->a, ":7\r\n");
    fake_says(&f->a, CUT);
    fake_says(&f->b, "+first\r\n");
    open_with_session(f, PATIENT_MS, LONG_TTL_MS, nodes);
    expect_text(f, true, "first");
    expect_seen(&f->b, "ONCE 7 1 ACK 0 SET x 1|");
}

static void unknown_once_is_asked_about(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, ":7\r\n");
    fake_says(&f->a, "-UNKNOWN outcome not known\r\n");
    fake_says(&f->a, "+first\r\n");
    open_with_session(f, PATIENT_MS, LONG_TTL_MS, f->a.name);
    expect_text(f, true, "first");
    expect_seen(&f->a, OPENED "ONCE 7 1 ACK 0 SET x 1|ONCE 7 1 ACK 0 SET x 1|");
}

static void silence_leaves_a_once_unknown(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, ":7\r\n");
    fake_says(&f->a, SILENT);
    open_with_session(f, HASTY_MS, LONG_TTL_MS, f->a.name);
    expect_failure(f, true, CLIENT_EUNKNOWN, "no node could tell");
}

static void ended_session_is_replaced(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, ":7\r\n");
    fake_says(&f->a, "-SESSIONEXPIRED gone\r\n");
    fake_says(&f->a, ":8\r\n");
    open_with_session(f, PATIENT_MS, LONG_TTL_MS, f->a.name);
    expect_text(f, true, "OK");
    assert_true(client_session(f->client) == 8);
    assert_false(client_session_alive(f->client, 7));
    expect_seen(&f->a, OPENED "ONCE 7 1 ACK 0 SET x 1|" OPENED "ONCE 8 1 ACK 0 SET x 1|");
}

static void session_that_ends_under_a_write_leaves_it_unknown(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, ":7\r\n");
    fake_says(&f->a, CUT);
    fake_says(&f->a, "-SESSIONEXPIRED gone\r\n");
    open_with_session(f, PATIENT_MS, LONG_TTL_MS, f->a.name);
    expect_failure(f, true, CLIENT_EUNKNOWN, "session ended");
    assert_true(client_session(f->client) == 0);
}

static void sessions_that_end_at_once_end_the_call(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < FAKE_SCRIPT_MAX / 2; i++) {
        fake_says(&f->a, ":7\r\n");
        fake_says(&f->a, "-SESSIONEXPIRED gone\r\n");
    }
    open_with_session(f, PATIENT_MS, LONG_TTL_MS, f->a.name);
    expect_failure(f, true, CLIENT_EPROTOCOL, "no session"); /* The script has ended: OPEN is answered OK. */
}

static void session_is_kept_alive(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, ":7\r\n");
    open_with_session(f, PATIENT_MS, SHORT_TTL_MS, f->a.name);
    expect_text(f, true, "OK");
    fake_await(&f->a, &f->a.n_seen, 2 + 3 * 4); /* Longer than it would live. */
    assert_true(client_session_alive(f->client, 7));
    expect_text(f, true, "OK");
    assert_true(client_session(f->client) == 7);
}

static void keeper_hears_that_it_is_over(void **state)
{
    struct fixture *f = *state;
    fake_says(&f->a, ":7\r\n");
    fake_says(&f->a, "+OK\r\n");
    fake_says(&f->a, "-SESSIONEXPIRED gone\r\n");
    open_with_session(f, PATIENT_MS, SHORT_TTL_MS, f->a.name);
    expect_text(f, true, "OK");
    fake_await(&f->a, &f->a.n_seen, 3);
    while (client_session_alive(f->client, 7))
        poll(NULL, 0, 1);
    assert_true(client_session(f->client) == 7); /* The next write finds out and opens another. */
}

static void child_opens_its_own_session(void **state)
{
    struct fixture *f = *state;
    int status = 0;
    fake_says(&f->a, ":7\r\n");
    fake_says(&f->a, "+OK\r\n");
    fake_says(&f->a, ":8\r\n");
    open_with_session(f, PATIENT_MS, LONG_TTL_MS, f->a.name);
    expect_text(f, true, "OK");
    pid_t child = fork();
    if (child == 0) {
        struct resp_value *v = NULL;
        bool gone = !client_session_alive(f->client, 7);
        bool ok = call(f, true, &v) == 0 && client_session_alive(f->client, 8);
        _exit(gone && ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(client_session_alive(f->client, 7));
    expect_text(f, true, "OK");
    expect_seen(&f->a, OPENED "ONCE 7 1 ACK 0 SET x 1|" OPENED "ONCE 8 1 ACK 0 SET x 1|ONCE 7 2 ACK 1 SET x 1|");
}

/* ---- Options and INFO's text ---- */

static void expect_nodes(const char *nodes, const char *want)
{
    struct client_options options = {.nodes = nodes};
    struct client *c = NULL;
    char got[256] = "";
    if (client_open(&options, &c) != 0)
        snprintf(got, sizeof got, "%s", client_message(c));
    for (int i = 0; i < client_node_count(c); i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i > 0 ? "," : "", client_node_name(c, i));
    assert_string_equal(got, want);
    client_close(c);
}

static void node_lists(void **state)
{
    (void)state;
    unsetenv("HOLDFAST_NODES");
    expect_nodes(NULL, "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403");
    expect_nodes("a:1, b:2 c", "a:1,b:2,c:7401");
    expect_nodes(":7402,[::1]:7403,[::1]", "127.0.0.1:7402,[::1]:7403,[::1]:7401");
    expect_nodes(" , ", "nodes: the list of nodes is empty");
    expect_nodes("a:0", "nodes: 'a:0' is not host:port");
    expect_nodes("a:65536", "nodes: 'a:65536' is not host:port");
    expect_nodes("a:1x", "nodes: 'a:1x' is not host:port");
    expect_nodes("a:", "nodes: 'a:' is not host:port");
    expect_nodes("::1", "nodes: '::1' is not host:port");
    expect_nodes("[::1", "nodes: '[::1' is not host:port");
    expect_nodes("[::1]7401", "nodes: '[::1]7401' is not host:port");
    expect_nodes("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "nodes: more than 16 nodes are listed");
    setenv("HOLDFAST_NODES", "c:3", 1);
    expect_nodes(NULL, "c:3");
    unsetenv("HOLDFAST_NODES");
}

static void info_fields(void **state)
{
    (void)state;
    const char *text = "# Holdfast\r\nrole:leader\r\nterm:4\r\nroles:x\r\naddress:a:1\r\nlast:";
    char value[8];
    int64_t n = 0;
    assert_true(fields_copy(text, "role", value, sizeof value));
    assert_string_equal(value, "leader");
    assert_true(fields_copy(text, "address", value, sizeof value));
    assert_string_equal(value, "a:1");
    assert_true(fields_copy(text, "last", value, sizeof value));
    assert_string_equal(value, "");
    assert_false(fields_copy(text, "rol", value, sizeof value));
    assert_true(fields_number(text, "term", &n));
    assert_int_equal(n, 4);
    assert_false(fields_number(text, "role", &n));
    assert_false(fields_number(text, "last", &n));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    unsetenv("HOLDFAST_USER");
    unsetenv("HOLDFAST_PASSWORD");
    const struct CMUnitTest tests[] = {
        T(connection_is_kept),
        T(leader_is_followed),
        T(unreachable_leader_is_no_matter),
        T(strange_leader_is_not_followed),
        T(new_leader_is_followed_when_the_old_one_goes),
        T(refusing_node_is_passed_over),
        T(node_that_hangs_up_is_passed_over),
        T(nobody_there),
        T(not_now_goes_to_the_next_node),
        T(not_now_is_waited_out),
        T(not_now_until_the_deadline),
        T(write_stops_while_known_not_done),
        T(idle_connection_cut_is_harmless),
        T(cut_write_is_unknown),
        T(cut_read_is_repeated),
        T(half_an_answer_is_none),
        T(unknown_write_is_told),
        T(unknown_read_is_repeated),
        T(silent_node_keeps_the_deadline),
        T(silent_node_leaves_time_for_another),
        T(silence_to_reads_everywhere),
        T(refusal_is_an_answer),
        T(garbage_is_told),
        T(denial_is_told),
        T(credentials_are_sent),
        T(wrong_password_is_told),
        T(large_value_both_ways),
        T(pipeline_keeps_its_order),
        T(one_node_is_asked),
        T(added_node_is_asked),
        T(child_makes_its_own_connection),
        cmocka_unit_test_setup_teardown(first_write_opens_the_session, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_once_goes_to_the_next_node, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_once_is_asked_about, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_leaves_a_once_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(ended_session_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(session_that_ends_under_a_write_leaves_it_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_that_end_at_once_end_the_call, setup, teardown),
        cmocka_unit_test_setup_teardown(session_is_kept_alive, setup, teardown),
        cmocka_unit_test_setup_teardown(keeper_hears_that_it_is_over, setup, teardown),
        cmocka_unit_test_setup_teardown(child_opens_its_own_session, setup, teardown),
        cmocka_unit_test(node_lists),
        cmocka_unit_test(info_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
