/* cmd_keys.c - get, set, incr, del, keys, ping: one request each, and what of its reply goes where.
 * Results go to stdout, everything said to people to stderr, so that a script can use one and show the other. */
#include "node/ctl/json.h"
#include "node/ctl/show.h"
#include "node/resp/resp.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VALUE_BYTES_MAX (512u << 20) /* Of standard input; the cluster's own limit is lower. */
#define SCAN_COUNT "1000"

/* ---- Output ---- */

static enum ctl_exit no(const char *why, const char *key)
{
    fprintf(stderr, "holdfast: %s: '%s'\n", why, key);
    return CTL_NO;
}

static void print_raw(const char *bytes, size_t len)
{
    fwrite(bytes, 1, len, stdout);
}

/* name: what the number is, for programs. */
static enum ctl_exit print_int_reply(const struct ctl *ctl, const char *name, struct resp_value *reply, int64_t *ret)
{
    bool is_int = reply->type == RESP_INT;
    int64_t n = reply->n;
    resp_value_free(reply);
    if (!is_int)
        return ctl_surprised();
    *ret = n;
    if (ctl->options->json)
        return ctl_print_json(json_pack("{s:I}", name, (json_int_t)n));
    printf("%" PRId64 "\n", n);
    return CTL_OK;
}

/* ---- get ---- */

static enum ctl_exit print_value(const struct ctl *ctl, const struct resp_value *value)
{
    if (ctl->options->json)
        return ctl_print_json(json_pack("{s:o, s:o}", "key", ctl_json_bytes(ctl->argv[0], strlen(ctl->argv[0])),
                                        "value", ctl_json_bytes(value->bytes, value->len)));
    print_raw(value->bytes, value->len);
    if ((ctl->options->given & OPTION_RAW) == 0)
        putchar('\n');
    return CTL_OK;
}

enum ctl_exit cmd_get(struct ctl *ctl)
{
    const char *const argv[] = {"GET", ctl->argv[0]};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, false, 2, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    if (reply->type == RESP_NIL)
        status = no("no such key", ctl->argv[0]);
    else if (reply->type == RESP_BULK)
        status = print_value(ctl, reply);
    else
        status = ctl_surprised();
    resp_value_free(reply);
    return status;
}

/* ---- set ---- */

static enum ctl_exit read_input(struct resp_buf *ret)
{
    size_t n;
    do {
        if (ret->len > VALUE_BYTES_MAX || !resp_reserve(ret, BUFSIZ)) {
            fputs("holdfast: the value on standard input is too long\n", stderr);
            return CTL_USAGE;
        }
        n = fread(ret->base + ret->len, 1, BUFSIZ, stdin);
        ret->len += n;
    } while (n > 0);
    if (!ferror(stdin))
        return CTL_OK;
    perror("holdfast: standard input");
    return CTL_USAGE;
}

static enum ctl_exit judge_set(const struct ctl *ctl, const struct resp_value *reply)
{
    if (reply->type == RESP_SIMPLE && ctl->options->json)
        return ctl_print_json(json_pack("{s:b}", "set", 1));
    if (reply->type == RESP_SIMPLE) {
        puts("OK");
        return CTL_OK;
    }
    if (reply->type != RESP_NIL)
        return ctl_surprised();
    return no((ctl->options->given & OPTION_NX) != 0 ? "not set, there is such a key" : "not set, there is no such key",
              ctl->argv[0]);
}

static enum ctl_exit set_value(const struct ctl *ctl, const char *value, size_t len)
{
    unsigned given = ctl->options->given;
    char ttl_ms[24];
    const char *argv[6] = {"SET", ctl->argv[0], value};
    int argc = 3;
    snprintf(ttl_ms, sizeof ttl_ms, "%" PRId64, ctl->options->ttl_ms);
    if ((given & OPTION_TTL) != 0) {
        argv[argc++] = "PX";
        argv[argc++] = ttl_ms;
    }
    if ((given & (OPTION_NX | OPTION_XX)) != 0)
        argv[argc++] = (given & OPTION_NX) != 0 ? "NX" : "XX";
    size_t lens[6];
    for (int i = 0; i < argc; i++)
        lens[i] = i == 2 ? len : strlen(argv[i]);
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, true, argc, argv, lens, &reply);
    if (status != CTL_OK)
        return status;
    status = judge_set(ctl, reply);
    resp_value_free(reply);
    return status;
}

enum ctl_exit cmd_set(struct ctl *ctl)
{
    const char *value = ctl->argv[1];
    if ((ctl->options->given & OPTION_NX) != 0 && (ctl->options->given & OPTION_XX) != 0) {
        fputs("holdfast: --nx and --xx exclude each other\n", stderr);
        return CTL_USAGE;
    }
    if (strcmp(value, "-") != 0)
        return set_value(ctl, value, strlen(value));
    struct resp_buf input = {0};
    enum ctl_exit status = read_input(&input);
    if (status == CTL_OK)
        status = set_value(ctl, input.base, input.len);
    resp_buf_release(&input);
    return status;
}

/* ---- incr, del ---- */

enum ctl_exit cmd_incr(struct ctl *ctl)
{
    const char *by = ctl->argc > 1 ? ctl->argv[1] : "1";
    const char *const argv[] = {"INCRBY", ctl->argv[0], by};
    struct resp_value *reply;
    int64_t n;
    enum ctl_exit status = ctl_ask(ctl, true, 3, argv, NULL, &reply);
    return status == CTL_OK ? print_int_reply(ctl, "value", reply, &n) : status;
}

enum ctl_exit cmd_del(struct ctl *ctl)
{
    const char **argv = malloc(((size_t)ctl->argc + 1) * sizeof *argv);
    struct resp_value *reply;
    int64_t n = 0;
    if (argv == NULL)
        return ctl_failed(ctl, CLIENT_ENOMEM);
    argv[0] = "DEL";
    for (int i = 0; i < ctl->argc; i++)
        argv[i + 1] = ctl->argv[i];
    enum ctl_exit status = ctl_ask(ctl, true, ctl->argc + 1, argv, NULL, &reply);
    free(argv);
    if (status == CTL_OK)
        status = print_int_reply(ctl, "deleted", reply, &n);
    return status == CTL_OK && n == 0 ? no("no such key", ctl->argv[0]) : status;
}

/* ---- keys ---- */

static enum ctl_exit print_key(const struct ctl *ctl, const struct resp_value *key)
{
    if (ctl->options->json)
        return ctl_print_json(ctl_json_bytes(key->bytes, key->len));
    if ((ctl->options->given & OPTION_RAW) == 0) {
        show_key(key->bytes, key->len);
        putchar('\n');
        return CTL_OK;
    }
    print_raw(key->bytes, key->len);
    putchar('\n');
    return CTL_OK;
}

/* One page of SCAN: [cursor, [key, ...]]. */
static enum ctl_exit print_page(const struct ctl *ctl, const struct resp_value *page, char cursor[32])
{
    if (page->type != RESP_ARRAY || page->n != 2 || page->parts[0].type != RESP_BULK ||
        page->parts[1].type != RESP_ARRAY || page->parts[0].len >= 32)
        return ctl_surprised();
    memcpy(cursor, page->parts[0].bytes, page->parts[0].len + 1);
    for (int64_t i = 0; i < page->parts[1].n; i++) {
        if (page->parts[1].parts[i].type != RESP_BULK)
            return ctl_surprised();
        enum ctl_exit status = print_key(ctl, &page->parts[1].parts[i]);
        if (status != CTL_OK)
            return status;
    }
    return CTL_OK;
}

enum ctl_exit cmd_keys(struct ctl *ctl)
{
    char cursor[32] = "0";
    const char *const argv[] = {"SCAN", cursor, "COUNT", SCAN_COUNT, "MATCH", ctl->argc > 0 ? ctl->argv[0] : "*"};
    do {
        struct resp_value *page;
        enum ctl_exit status = ctl_ask(ctl, false, 6, argv, NULL, &page);
        if (status != CTL_OK)
            return status;
        status = print_page(ctl, page, cursor);
        resp_value_free(page);
        if (status != CTL_OK)
            return status;
    } while (strcmp(cursor, "0") != 0 && !ferror(stdout));
    return CTL_OK;
}

/* ---- ping ---- */

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* says NULL: nothing. */
static enum ctl_exit print_ping(const struct ctl *ctl, const char *name, const char *says, double took_ms)
{
    bool answered = says != NULL && strcmp(says, "PONG") == 0;
    enum ctl_exit status = answered ? CTL_OK : CTL_UNAVAILABLE;
    if (ctl->options->json) {
        json_t *json = json_pack("{s:s, s:b, s:f}", "node", name, "answers", (int)answered, "milliseconds", took_ms);
        return ctl_print_json(json) == CTL_OK ? status : CTL_OUTPUT;
    }
    if (answered)
        printf("%s  answers in %.1f ms\n", name, took_ms);
    else if (says != NULL)
        printf("%s  answers %s\n", name, says);
    else
        printf("%s  does not answer\n", name);
    return status;
}

static enum ctl_exit ping_node(const struct ctl *ctl, int node)
{
    static const char *const argv[] = {"PING"};
    const char *name = client_node_name(ctl->client, node);
    struct resp_value *reply;
    double start_ms = now_ms();
    if (client_call_node(ctl->client, node, 1, argv, NULL, &reply) != 0) {
        fprintf(stderr, "holdfast: %s\n", client_message(ctl->client));
        return print_ping(ctl, name, NULL, now_ms() - start_ms);
    }
    enum ctl_exit status = print_ping(ctl, name, reply->bytes != NULL ? reply->bytes : "nonsense", now_ms() - start_ms);
    resp_value_free(reply);
    return status;
}

enum ctl_exit cmd_ping(struct ctl *ctl)
{
    enum ctl_exit worst = CTL_OK;
    for (int node = 0; node < client_node_count(ctl->client); node++) {
        enum ctl_exit status = ping_node(ctl, node);
        if (status != CTL_OK)
            worst = status;
    }
    return worst;
}
