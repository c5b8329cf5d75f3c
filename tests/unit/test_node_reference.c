/* test_node_reference.c - what Redis 7.0.15 answered, command by command, is what we answer.
 * tests/reference/NAME.7.0.15.txt are transcripts ("@connection command  =>  reply"); differences.txt lists every reply
 * that differs, with the reason. Anything else must agree byte for byte, and every difference listed must occur. */
#include "tests/support/nodeharness.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 8192
#define ARGS_MAX 64
#define CONNECTIONS_MAX 32
#define DIFFERENCES_MAX 256
#define SHOWN_BULK_CHARS 200  /* The transcripts cut longer bulks ... */
#define SHOWN_REPLY_CHARS 700 /* ... and longer replies. */

/* ---- Replies as the transcripts show them ---- */

struct text {
    char bytes[32768];
    size_t len;
};

static void put(struct text *t, const char *bytes, size_t len)
{
    assert_true(t->len + len < sizeof t->bytes);
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    t->bytes[t->len] = '\0';
}

static void put_text(struct text *t, const char *text)
{
    put(t, text, strlen(text));
}

/* A byte as the Latin-1 character it stands for. */
static void put_latin1(struct text *t, unsigned char c)
{
    char utf8[2] = {(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};
    if (c < 0x80)
        put(t, (const char *)&c, 1);
    else
        put(t, utf8, 2);
}

static void put_quoted_char(struct text *t, unsigned char c, char quote)
{
    char escaped[8];
    if (c == '\n')
        put_text(t, "\\n");
    else if (c == '\r')
        put_text(t, "\\r");
    else if (c == '\t')
        put_text(t, "\\t");
    else if (c == '\\' || c == (unsigned char)quote)
        put(t, (const char[]){'\\', (char)c}, 2);
    else if (c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad)
        put(t, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\x%02x", c));
    else
        put_latin1(t, c);
}

static void put_quoted(struct text *t, const char *bytes, size_t len)
{
    bool cut = len >= SHOWN_BULK_CHARS;
    size_t shown = cut ? SHOWN_BULK_CHARS : len;
    bool doubles = memchr(bytes, '\'', shown) != NULL && memchr(bytes, '"', shown) == NULL;
    char quote = doubles ? '"' : '\'';
    put(t, &quote, 1);
    for (size_t i = 0; i < shown; i++)
        put_quoted_char(t, (unsigned char)bytes[i], quote);
    if (cut)
        put_text(t, "..");
    put(t, &quote, 1);
}

static size_t show_value(struct text *t, const char *in, size_t len);

static size_t show_parts(struct text *t, const char *in, size_t len, size_t used, long n)
{
    put_text(t, "[");
    for (long i = 0; i < n; i++) {
        if (i > 0)
            put_text(t, ", ");
        size_t took = show_value(t, in + used, len - used);
        if (took == 0)
            return 0;
        used += took;
    }
    put_text(t, "]");
    return used;
}

/* Append the first value of in; returns its length, or 0 when it is not all there. */
static size_t show_value(struct text *t, const char *in, size_t len)
{
    const char *end = memchr(in, '\n', len);
    if (end == NULL)
        return 0;
    size_t line = (size_t)(end - in) + 1;
    long n = strtol(in + 1, NULL, 10);
    if (strchr("+-:,#(_", *in) != NULL) {
        for (size_t i = 0; i + 2 < line; i++)
            put_latin1(t, (unsigned char)in[i]);
        return line;
    }
    if (strchr("$=!", *in) != NULL && n >= 0) {
        if (len < line + (size_t)n + 2)
            return 0;
        put(t, in, 1);
        put_quoted(t, in + line, (size_t)n);
        return line + (size_t)n + 2;
    }
    if (n < 0) {
        put_text(t, *in == '$' ? "$-1" : "*-1");
        return line;
    }
    put(t, in, 1);
    return show_parts(t, in, len, line, *in == '%' ? 2 * n : n);
}

static void cut_reply(struct text *t)
{
    size_t chars = 0, at = 0;
    while (at < t->len && chars < SHOWN_REPLY_CHARS) {
        at++;
        while (at < t->len && ((unsigned char)t->bytes[at] & 0xc0) == 0x80)
            at++;
        chars++;
    }
    if (at == t->len)
        return;
    t->len = at;
    put_text(t, "\u2026");
}

static void read_reply(struct client *c, struct text *ret)
{
    for (;;) {
        ret->len = 0;
        ret->bytes[0] = '\0';
        size_t used = c->in_len > 0 ? show_value(ret, c->in, c->in_len) : 0;
        if (used > 0) {
            client_consume(c, used);
            cut_reply(ret);
            return;
        }
        if (!client_more(c)) {
            ret->len = 0;
            put_text(ret, c->eof ? "(connection closed)" : "(TimeoutError)");
            return;
        }
    }
}

/* ---- Commands as the transcripts write them ---- */

static int hex(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* \r \n \t \\ \xNN as in a Python literal; in place. */
static size_t unescape(char *text, size_t len)
{
    size_t to = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\\' || i + 1 == len) {
            text[to++] = text[i];
            continue;
        }
        char c = text[++i];
        if (c == 'x') {
            text[to++] = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        } else {
            text[to++] = (char)(c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c);
        }
    }
    return to;
}

/* Words as a POSIX shell splits them: quotes, and backslashes as the transcripts use them. */
static size_t split(char *line, const char *args[ARGS_MAX], size_t lens[ARGS_MAX])
{
    size_t n = 0;
    for (char *p = line; *p != '\0';) {
        while (*p == ' ')
            p++;
        if (*p == '\0')
            break;
        char *start = p, *to = p, quote = '\0';
        for (; *p != '\0' && (quote != '\0' || *p != ' '); p++) {
            if (quote == '"' && *p == '\\' && p[1] == '"')
                *to++ = *++p;
            else if (quote == '\0' && (*p == '"' || *p == '\''))
                quote = *p;
            else if (quote != '\0' && *p == quote)
                quote = '\0';
            else
                *to++ = *p;
        }
        if (*p != '\0')
            p++;
        assert_true(n < ARGS_MAX);
        args[n] = start;
        lens[n++] = unescape(start, (size_t)(to - start));
    }
    return n;
}

/* ---- Differences ---- */

struct difference {
    char name[16], command[512], reply[1024];
    bool used, by_chance; /* by_chance: it need not occur. */
};

static struct difference differences[DIFFERENCES_MAX];
static size_t n_differences;

static void chomp(char *line)
{
    line[strcspn(line, "\n")] = '\0';
}

static FILE *open_reference(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", REFERENCE_DIR, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        print_error("cannot open %s\n", path);
    assert_non_null(file);
    return file;
}

/* Lines "name: command  =>  reply", or "name?: ..." for what chance decides; those that begin with # say why. */
static void load_differences(void)
{
    char line[LINE_MAX_BYTES];
    FILE *file = open_reference("differences.txt");
    while (fgets(line, sizeof line, file) != NULL) {
        chomp(line);
        char *colon = strchr(line, ':'), *arrow = strstr(line, "  =>  ");
        if (line[0] == '#' || line[0] == '\0')
            continue;
        assert_true(colon != NULL && arrow != NULL && n_differences < DIFFERENCES_MAX);
        struct difference *d = &differences[n_differences++];
        d->by_chance = colon[-1] == '?';
        snprintf(d->name, sizeof d->name, "%.*s", (int)(colon - line) - d->by_chance, line);
        snprintf(d->command, sizeof d->command, "%.*s", (int)(arrow - colon - 2), colon + 2);
        snprintf(d->reply, sizeof d->reply, "%s", arrow + 6);
    }
    fclose(file);
}

/* "…" in a pattern stands for anything. */
static bool matches(const char *pattern, const char *text)
{
    const char *gap = strstr(pattern, "\u2026");
    if (gap == NULL)
        return strcmp(pattern, text) == 0;
    size_t head = (size_t)(gap - pattern);
    if (strncmp(pattern, text, head) != 0)
        return false;
    for (const char *rest = text + head;; rest++) {
        if (matches(gap + strlen("\u2026"), rest))
            return true;
        if (*rest == '\0')
            return false;
    }
}

static bool differs_by_design(const char *name, const char *command, const char *reply)
{
    bool found = false;
    for (size_t i = 0; i < n_differences; i++) {
        struct difference *d = &differences[i];
        if (strcmp(d->name, name) != 0 || strcmp(d->command, command) != 0 || !matches(d->reply, reply))
            continue;
        d->used = true;
        found = true;
    }
    return found;
}

static size_t count_unused(const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < n_differences; i++) {
        if (strcmp(differences[i].name, name) != 0 || differences[i].used || differences[i].by_chance)
            continue;
        print_error("%s: the difference '%s  =>  %s' does not occur\n", name, differences[i].command,
                    differences[i].reply);
        n++;
    }
    return n;
}

/* ---- Replaying ---- */

struct replay {
    struct harness *harness;
    const char *name;
    struct {
        char name[16];
        struct client *client;
    } connections[CONNECTIONS_MAX];
    size_t n_connections, n_wrong;
};

/* The connection of that name, opened when there is none (any more). */
static struct client *connection(struct replay *r, const char *name)
{
    for (size_t i = 0; i < r->n_connections; i++) {
        if (strcmp(r->connections[i].name, name) != 0)
            continue;
        if (r->connections[i].client->eof) {
            client_free(r->connections[i].client);
            r->connections[i].client = client_new(r->harness);
        }
        return r->connections[i].client;
    }
    assert_true(r->n_connections < CONNECTIONS_MAX);
    snprintf(r->connections[r->n_connections].name, sizeof r->connections[0].name, "%s", name);
    return r->connections[r->n_connections++].client = client_new(r->harness);
}

static void send_command(struct client *c, const char *command)
{
    char line[LINE_MAX_BYTES];
    const char *args[ARGS_MAX];
    size_t lens[ARGS_MAX];
    bool raw = strncmp(command, "RAW ", 4) == 0;
    snprintf(line, sizeof line, "%s", raw ? command + 4 : command);
    if (raw)
        client_send(c, line, unescape(line, strlen(line)));
    else
        client_send_args(c, split(line, args, lens), args, lens);
}

/* "SLEEP seconds": what is past of the time is the state's time, which stands still otherwise. */
static bool replay_sleep(struct replay *r, const char *line)
{
    if (strncmp(line, "SLEEP ", 6) != 0)
        return false;
    localnode_advance_ms(r->harness->node, (uint64_t)(strtod(line + 6, NULL) * 1000));
    return true;
}

static void pass_time(struct replay *r, uint64_t ms)
{
    harness_settle(r->harness);
    localnode_advance_ms(r->harness->node, ms);
}

/* "   @name (blocked) command": sent, and answered when "   @name <- reply" says so. */
static bool replay_blocked(struct replay *r, char *line)
{
    char name[16];
    struct text reply;
    if (strncmp(line, "   @", 4) != 0)
        return false;
    size_t len = strcspn(line + 4, " ");
    snprintf(name, sizeof name, "%.*s", (int)len, line + 4);
    char *rest = line + 4 + len;
    struct client *c = connection(r, name);
    if (strncmp(rest, " (blocked) ", 11) == 0) {
        send_command(c, rest + 11);
        harness_settle(r->harness);
        return true;
    }
    assert_int_equal(strncmp(rest, " <- ", 4), 0);
    read_reply(c, &reply);
    if (strcmp(reply.bytes, rest + 4) == 0 || differs_by_design(r->name, rest + 4, reply.bytes))
        return true;
    r->n_wrong++;
    print_error("%s: @%s is told\n  Redis: %s\n  ours:  %s\n", r->name, name, rest + 4, reply.bytes);
    return true;
}

static void replay_line(struct replay *r, char *line)
{
    char name[16] = "a";
    struct text reply;
    char *command = line, *arrow = strstr(line, "  =>  ");
    assert_non_null(arrow);
    *arrow = '\0';
    const char *want = arrow + 6;
    if (*line == '@') {
        size_t len = strcspn(line, " ");
        snprintf(name, sizeof name, "%.*s", (int)len - 1, line + 1);
        command = line + len + 1;
    }
    struct client *c = connection(r, name);
    send_command(c, command);
    if (strncmp(command, "BL", 2) == 0 || strncmp(command, "BR", 2) == 0)
        pass_time(r, 1000); /* Nobody else is going to end its wait. */
    read_reply(c, &reply);
    if (strcmp(reply.bytes, want) == 0 || differs_by_design(r->name, line, reply.bytes))
        return;
    r->n_wrong++;
    print_error("%s: %s\n  Redis: %s\n  ours:  %s\n", r->name, line, want, reply.bytes);
}

static void replay(void **state)
{
    char line[LINE_MAX_BYTES], file_name[64];
    struct replay r = {.harness = harness_new(), .name = *state};
    harness_start(r.harness);
    snprintf(file_name, sizeof file_name, "%s.7.0.15.txt", r.name);
    FILE *file = open_reference(file_name);
    while (fgets(line, sizeof line, file) != NULL) {
        chomp(line);
        if (line[0] != '#' && line[0] != '\0' && !replay_sleep(&r, line) && !replay_blocked(&r, line))
            replay_line(&r, line);
    }
    fclose(file);
    for (size_t i = 0; i < r.n_connections; i++)
        client_free(r.connections[i].client);
    harness_free(r.harness);
    assert_int_equal(r.n_wrong + count_unused(r.name), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"strings", replay, NULL, NULL, "strings"}, {"expire", replay, NULL, NULL, "expire"},
        {"conn", replay, NULL, NULL, "conn"},       {"r3", replay, NULL, NULL, "r3"},
        {"multi", replay, NULL, NULL, "multi"},     {"lua", replay, NULL, NULL, "lua"},
        {"list", replay, NULL, NULL, "list"},       {"hash", replay, NULL, NULL, "hash"},
        {"block", replay, NULL, NULL, "block"},
    };
    load_differences();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
