/* fuzz_command.c - from a client's bytes to the state: requests are parsed, looked up, encoded, decoded, applied or
 * read, and answered. Whatever a client says, the encoder makes no command that the state does not know what to do
 * with. Input: requests, inline or not. */
#include "node/commands.h"
#include "node/reply.h"
#include "node/resp/value.h"
#include "node/scripts.h"
#include "tests/fuzz/fuzz_store.h"

#define REQUESTS_MAX 64

static struct config config;

static void prepare(void)
{
    static char *const argv[] = {"holdfastd", NULL};
    char error[CONFIG_ERROR_MAX];
    enum config_action action;
    fuzz_must(config_load(1, argv, NULL, &config, &action, error) == 0, "the defaults are good");
    config.max_value_bytes = 4096;
    commands_init();
}

static void check_outcomes(const struct outcome_buf *out)
{
    struct outcome o;
    fuzz_outcomes_check(out, 1);
    fuzz_must(outcome_next(out->base, out->len, &o) > 0, "an outcome has a head");
    fuzz_must(o.tag != OUTCOME_REFUSAL || o.n != REFUSAL_UNKNOWN_COMMAND, "what was encoded makes sense");
    for (int proto = 2; proto <= 3; proto++) {
        struct resp_buf reply = {0};
        struct resp_value *v = NULL;
        size_t used = 0;
        reply_outcome(&reply, proto, out->base, out->len);
        fuzz_must(resp_value_parse(reply.base, reply.len, &used, &v) == RESP_VALUE_DONE && used == reply.len,
                  "a reply is one whole value");
        resp_value_free(v);
        resp_buf_release(&reply);
    }
}

/* As a write of its own, or as a read that follows a write of its connection: through the log. */
static void apply(struct store *s, const struct encoding *e, uint64_t seq)
{
    struct command_buf b = {0};
    struct outcome_buf out = {0};
    enum store_applied became;
    batch_begin(&b, 1, 1, seq);
    fuzz_must(command_add(&b, e->op, e->flags, e->nums, e->n_nums, e->args, e->n_args) >= 0, "it can be encoded");
    batch_set_count(b.base, 1);
    batch_set_value_max(b.base, config.max_value_bytes);
    batch_stamp(b.base, store_clock_ms(s) + 7);
    fuzz_must(store_apply(s, seq, 1, b.base, b.len, &out, &became) == 0 && became == STORE_APPLIED, "it is applied");
    check_outcomes(&out);
    outcome_buf_release(&out);
    command_buf_release(&b);
}

static void read_now(struct store *s, const struct encoding *e)
{
    struct command_buf b = {0};
    struct outcome_buf out = {0};
    size_t used;
    fuzz_must(command_add(&b, e->op, e->flags, e->nums, e->n_nums, e->args, e->n_args) >= 0, "it can be encoded");
    fuzz_must(store_read(s, b.base, b.len, store_clock_ms(s) + 3, &out, &used) == 0 && used == b.len, "it is read");
    check_outcomes(&out);
    outcome_buf_release(&out);
    command_buf_release(&b);
}

static void request(struct store *s, const struct resp_parser *p)
{
    static struct encoding e;
    const struct command_row *row = NULL;
    e.who = "somebody";
    switch (commands_prepare(&config, p->args, p->n_args, &e, &row)) {
    case PREPARED_DATA:
        if (!command_is_write(e.op))
            read_now(s, &e);
        apply(s, &e, store_applied(s) + 1);
        break;
    case PREPARED_REFUSED:
        fuzz_must(memchr(e.error, '\0', sizeof e.error) != NULL && e.error[0] != '\0', "a refusal has words");
        break;
    case PREPARED_LOCAL:
        fuzz_must(row != NULL && row->run != NULL, "somebody answers");
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct resp_limits limits = {
        .inline_bytes_max = 65536, .args_max = 65536, .bulk_bytes_max = 8 << 20, .request_bytes_max = 16 << 20};
    struct resp_parser p;
    if (config.max_value_bytes == 0)
        prepare();
    struct store *s = fuzz_store_open(1 << 20, &scripts_host);
    uint8_t *copy = fuzz_copy(bytes, len);
    size_t at = 0, used = 0;
    resp_parser_init(&p, &limits);
    for (int i = 0; i < REQUESTS_MAX && resp_parse(&p, (char *)copy + at, len - at, &used) == RESP_REQUEST; i++) {
        if (p.n_args > 0)
            request(s, &p);
        at += used;
    }
    resp_parser_release(&p);
    free(copy);
    fuzz_store_check(s);
    store_abandon(s);
    fuzz_dir_empty();
    return 0;
}
