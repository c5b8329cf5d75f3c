/* cmd_limit.c - LIMIT and BREAKER: arguments in, the log's language out. */
#include "node/commands.h"
#include "node/reply.h"
#include "store/breaker.h"
#include "store/limit.h"

/* An option that is followed by a number. */
struct option {
    const char *word;
    int64_t least, most;
    int64_t value; /* What it is when it is not given; 0: it must be. */
};

static int option_read(struct encoding *e, size_t i, struct option *o)
{
    int64_t n;
    if (i >= e->argc)
        return encode_refuse(e, REPLY_SYNTAX);
    if (!arg_int(&e->argv[i], &n) || n < o->least || n > o->most)
        return encode_refuse(e, REPLY_OPTION_RANGE, o->word, (long long)o->least, (long long)o->most);
    o->value = n;
    return 0;
}

static struct option *option_find(const struct resp_arg *arg, struct option *options, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (arg_is(arg, options[i].word))
            return &options[i];
    return NULL;
}

/* "WORD number" by pairs, from argument i on. */
static int options_read(struct encoding *e, size_t i, struct option *options, size_t n)
{
    for (; i < e->argc; i += 2) {
        struct option *o = option_find(&e->argv[i], options, n);
        if (o == NULL)
            return encode_refuse(e, REPLY_SYNTAX);
        if (option_read(e, i + 1, o) != 0)
            return -1;
    }
    return 0;
}

static void put_key(struct encoding *e)
{
    e->few[0] = (struct bytes){.base = (const uint8_t *)e->argv[1].base, .len = e->argv[1].len};
    e->args = e->few;
    e->n_args = 1;
}

/* LIMIT key ALGO gcra|window RATE n PER ms [BURST b] [COST c] */
int encode_limit(struct encoding *e)
{
    enum { RATE, PER, BURST, COST, N };
    struct option options[N] = {
        {"RATE", 1, LIMIT_RATE_MAX, 0},
        {"PER", 1, LIMIT_PER_MS_MAX, 0},
        {"BURST", 1, LIMIT_RATE_MAX, 0},
        {"COST", 0, LIMIT_RATE_MAX, 1},
    };
    bool is_window = arg_is(&e->argv[3], "window");
    if (!arg_is(&e->argv[2], "algo") || (!is_window && !arg_is(&e->argv[3], "gcra")))
        return encode_refuse(e, REPLY_LIMIT_ALGO_WORD);
    if (options_read(e, 4, options, N) != 0)
        return -1;
    if (options[RATE].value == 0 || options[PER].value == 0 || (is_window && options[BURST].value > 0))
        return encode_refuse(e, is_window ? REPLY_LIMIT_WINDOW : REPLY_LIMIT_RATE);
    int64_t burst = options[BURST].value > 0 ? options[BURST].value : options[RATE].value;
    if (options[COST].value > burst)
        return encode_refuse(e, REPLY_LIMIT_COST);
    if (limit_burst_too_long(options[RATE].value, options[PER].value, burst))
        return encode_refuse(e, REPLY_LIMIT_BURST);
    const int64_t nums[] = {is_window ? LIMIT_WINDOW : LIMIT_GCRA, options[RATE].value, options[PER].value, burst,
                            options[COST].value};
    for (size_t i = 0; i < sizeof nums / sizeof *nums; i++)
        e->nums[e->n_nums++] = nums[i];
    put_key(e);
    e->op = OP_LIMIT;
    return 0;
}

static int breaker_verb(const struct resp_arg *arg)
{
    static const char *const verbs[BREAKER_VERB_N] = {[BREAKER_ALLOW] = "allow",
                                                      [BREAKER_SUCCESS] = "success",
                                                      [BREAKER_FAILURE] = "failure",
                                                      [BREAKER_STATE] = "state",
                                                      [BREAKER_RESET] = "reset"};
    int verb = 0;
    while (verb < BREAKER_VERB_N && !arg_is(arg, verbs[verb]))
        verb++;
    return verb;
}

/* BREAKER name ALLOW|SUCCESS|FAILURE|STATE|RESET [FAILURES n] [WINDOW ms] [COOLDOWN ms] [PROBES p] */
int encode_breaker(struct encoding *e)
{
    enum { FAILURES, WINDOW, COOLDOWN, PROBES, N };
    struct option options[N] = {
        {"FAILURES", 1, BREAKER_FAILURES_MAX, 5},
        {"WINDOW", 1, BREAKER_MS_MAX, 60000},
        {"COOLDOWN", 1, BREAKER_MS_MAX, 30000},
        {"PROBES", 1, BREAKER_PROBES_MAX, 1},
    };
    int verb = breaker_verb(&e->argv[2]);
    if (verb == BREAKER_VERB_N)
        return encode_refuse(e, REPLY_BREAKER_VERB);
    if (options_read(e, 3, options, N) != 0)
        return -1;
    e->nums[e->n_nums++] = verb;
    for (int i = 0; i < N; i++)
        e->nums[e->n_nums++] = options[i].value;
    put_key(e);
    e->op = OP_BREAKER;
    return 0;
}
