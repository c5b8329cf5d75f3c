/* words.c - see words.h */
#include "tests/sim/words.h"
#include "tests/sim/world.h"
#include "node/config.h"
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 24
#define DIGITS_BYTES 24

const char *digits(uint64_t n)
{
    static char texts[DIGITS_N][DIGITS_BYTES];
    static unsigned next;
    char *text = texts[next++ % DIGITS_N];
    snprintf(text, sizeof texts[0], "%llu", (unsigned long long)n);
    return text;
}

void words_prepare(struct encoding *e, const struct command_row **ret_row, size_t n, const char *const *words)
{
    static const struct config limits = {
        .max_key_bytes = 1 << 16, .max_value_bytes = 1 << 20, .max_request_bytes = 1 << 24, .max_args = 1 << 16};
    static struct resp_arg args[WORDS_MAX];
    static bool began;
    if (!began)
        commands_init();
    began = true;
    if (n > WORDS_MAX)
        fail("a request of %zu words", n);
    for (size_t i = 0; i < n; i++)
        args[i] = (struct resp_arg){words[i], strlen(words[i])};
    *e = (struct encoding){.who = "sim"};
    if (commands_prepare_at(&limits, args, n, e, ret_row, (int64_t)(world.now_us / 1000), world.now_us) !=
        PREPARED_DATA)
        fail("a request is refused by its node: %s", e->error);
}

long words_encode(struct command_buf *buf, size_t n, const char *const *words)
{
    struct encoding e;
    const struct command_row *row;
    words_prepare(&e, &row, n, words);
    return command_add(buf, e.op, e.flags, e.nums, e.n_nums, e.args, e.n_args);
}
