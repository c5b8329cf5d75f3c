/* fuzz_batch.c - what the log may hold for the state: batches made of any bytes, and batches of commands that decode
 * but make no sense. Two stores, one of which has no memory to speak of and is flushed all the time, come to the same.
 */
#include "tests/fuzz/fuzz_store.h"

#define BATCHES_MAX 12
#define COMMANDS_MAX 12

static const uint8_t ops[] = {0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,
                              13,  14,  15,  16,  17,  18,  19,  20,  21,  128, 129, 130, 131,
                              132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144};

/* Mostly a key or a short value of a few, so that commands meet. */
static void some_arg(struct fuzz_input *in, struct bytes *ret, uint8_t **ret_free)
{
    static const char *const words[] = {"a",       "b",    "c", "d", "1", "-7", "1.5", "*", "", "9223372036854775807",
                                        "a[b-d]*", "3e400"};
    uint8_t how = (uint8_t)fuzz_take(in, 1);
    size_t n = sizeof words / sizeof *words;
    *ret_free = NULL;
    if (how < 240) {
        *ret = (struct bytes){(const uint8_t *)words[how % n], strlen(words[how % n])};
        return;
    }
    *ret_free = fuzz_take_bytes(in, 300, &ret->len);
    ret->base = *ret_free;
}

static int64_t some_number(struct fuzz_input *in)
{
    uint8_t how = (uint8_t)fuzz_take(in, 1);
    if (how < 128)
        return how;
    return how < 230 ? (int8_t)how : (int64_t)fuzz_take(in, 8);
}

static void some_command(struct fuzz_input *in, struct command_buf *b)
{
    struct bytes args[6];
    uint8_t *copies[6];
    int64_t nums[COMMAND_NUMS_MAX];
    uint8_t op = (uint8_t)fuzz_take(in, 1), shape = (uint8_t)fuzz_take(in, 1);
    uint16_t flags = (uint16_t)fuzz_take(in, 2);
    uint8_t n_nums = shape % 5;
    uint32_t n_args = shape / 5 % 6;
    for (size_t i = 0; i < n_nums; i++)
        nums[i] = some_number(in);
    for (size_t i = 0; i < n_args; i++)
        some_arg(in, &args[i], &copies[i]);
    command_add(b, op < 250 ? ops[op % sizeof ops] : op, flags & 0x7ff, nums, n_nums, args, n_args);
    for (size_t i = 0; i < n_args; i++)
        free(copies[i]);
}

static uint32_t some_batch(struct fuzz_input *in, struct command_buf *b, uint64_t *clock_ms)
{
    uint8_t how = (uint8_t)fuzz_take(in, 1);
    uint32_t n = 1 + (uint32_t)fuzz_take(in, 1) % COMMANDS_MAX;
    *clock_ms += fuzz_take(in, 1) * 16;
    batch_begin(b, how % 3, 1 + how / 128, how % 2 == 0 ? 0 : fuzz_take(in, 1));
    for (uint32_t i = 0; i < n; i++)
        some_command(in, b);
    batch_set_count(b->base, n);
    batch_set_value_max(b->base, how % 5 == 0 ? 64 : 0);
    batch_stamp(b->base, how % 16 == 15 ? fuzz_take(in, 8) : *clock_ms);
    return n;
}

struct result {
    int rc;
    enum store_applied became;
    struct outcome_buf out;
};

static void apply(struct store *s, const uint8_t *batch, size_t len, struct result *ret)
{
    uint8_t *copy = fuzz_copy(batch, len);
    *ret = (struct result){.became = STORE_APPLIED};
    ret->rc = store_apply(s, store_applied(s) + 1, 1, copy, len, &ret->out, &ret->became);
    free(copy);
}

static void read_too(struct store *s, const uint8_t *batch, size_t len)
{
    struct outcome_buf out = {0};
    size_t used;
    if (len > BATCH_HEADER_BYTES &&
        store_read(s, batch + BATCH_HEADER_BYTES, len - BATCH_HEADER_BYTES, store_clock_ms(s) + 5, &out, &used) == 0)
        fuzz_outcomes_check(&out, 1);
    outcome_buf_release(&out);
}

/* False: the stores stopped, as they must on an entry that is damaged. */
static bool apply_to_both(struct store *a, struct store *b, const uint8_t *batch, size_t len, uint32_t n)
{
    struct result at_a, at_b;
    read_too(a, batch, len);
    apply(a, batch, len, &at_a);
    apply(b, batch, len, &at_b);
    fuzz_must(at_a.rc == at_b.rc && at_a.became == at_b.became, "all nodes do the same");
    fuzz_must(at_a.out.len == at_b.out.len &&
                  (at_a.out.len == 0 || memcmp(at_a.out.base, at_b.out.base, at_a.out.len) == 0),
              "and answer the same");
    if (at_a.rc == 0 && n > 0)
        fuzz_outcomes_check(&at_a.out, at_a.became == STORE_APPLIED ? n : 0);
    outcome_buf_release(&at_a.out);
    outcome_buf_release(&at_b.out);
    fuzz_must(store_hash(a) == store_hash(b) && store_keys(a) == store_keys(b) &&
                  store_keys_with_ttl(a) == store_keys_with_ttl(b) && store_revision(a) == store_revision(b),
              "and come to the same state");
    return at_a.rc == 0;
}

/* The one store's folder is emptied while it is open: its file lives on without a name. */
static struct store *open_other(void)
{
    struct store *s = fuzz_store_open(1 << 20, NULL);
    fuzz_dir_empty();
    return s;
}

static void run(struct fuzz_input *in, struct store *a, struct store *b)
{
    uint64_t clock_ms = 0;
    bool going = true;
    for (int i = 0; i < BATCHES_MAX && in->left > 0 && going; i++) {
        struct command_buf buf = {0};
        uint32_t n = some_batch(in, &buf, &clock_ms);
        if (in->left > 0 && in->at[0] == 0xff && fuzz_take(in, 1) == 0xff) { /* Damage it. */
            size_t at = fuzz_take(in, 2) % buf.len;
            buf.base[at] ^= (uint8_t)fuzz_take(in, 1);
            n = 0;
        }
        going = apply_to_both(a, b, buf.base, buf.len, n);
        command_buf_release(&buf);
        if (going)
            fuzz_must(store_flush_now(b) == 0, "a flush succeeds");
    }
    if (in->left > 0 && going)
        going = apply_to_both(a, b, in->at, in->left, 0);
    if (going)
        fuzz_store_check(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_input in = {bytes, len};
    if (len > 4096)
        return 0;
    struct store *a = open_other(), *b = fuzz_store_open(1, NULL);
    run(&in, a, b);
    store_abandon(a);
    store_abandon(b);
    fuzz_dir_empty();
    return 0;
}
