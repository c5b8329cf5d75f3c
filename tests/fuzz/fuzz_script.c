/* fuzz_script.c - any text as a script, run by two states that know the real commands: it ends within its bounds, it
 * answers one whole value, both states come out the same, and what is on disk adds up. Where a bound stops it nothing
 * has changed. Input: the script. */
#include "node/reply.h"
#include "node/resp/value.h"
#include "node/scripts.h"
#include "tests/fuzz/fuzz_store.h"
#include <sys/stat.h>

#define WALL_MS 1700000000000
#define CHANCE 7
#define TWIN_DIR_BYTES 80

static char *twin_dir(void)
{
    static char path[TWIN_DIR_BYTES];
    return path;
}

static void twin_empty(void)
{
    static const char *const names[] = {STORE_FILE, STORE_FILE "-wal", STORE_FILE "-shm"};
    char path[TWIN_DIR_BYTES + 32];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", twin_dir(), names[i]);
        unlink(path);
    }
}

static void twin_remove(void)
{
    twin_empty();
    rmdir(twin_dir());
}

static struct store *open_at(const char *dir)
{
    struct store_options o = {.dir = dir,
                              .cluster_id = fuzz_cluster,
                              .cache_bytes = 1 << 20,
                              .flush_rows = 1000,
                              .checkpoint_bytes = 1 << 20,
                              .script_host = &scripts_host};
    struct store *s = NULL;
    char error[256];
    fuzz_must(store_open(&o, error, &s) == 0, "a store opens");
    return s;
}

static struct store *open_twin(void)
{
    if (*twin_dir() == '\0') {
        snprintf(twin_dir(), TWIN_DIR_BYTES, "%s.twin", fuzz_dir());
        fuzz_must(mkdir(twin_dir(), 0700) == 0, "a second folder can be made");
        atexit(twin_remove);
    }
    return open_at(twin_dir());
}

static struct bytes text(const char *s)
{
    return (struct bytes){.base = (const uint8_t *)s, .len = strlen(s)};
}

static void apply(struct store *s, uint64_t index, enum command_op op, const int64_t *nums, uint8_t n_nums,
                  const struct bytes *args, uint32_t n_args, struct outcome_buf *out)
{
    struct command_buf b = {0};
    enum store_applied became;
    batch_begin(&b, 1, 1, index);
    fuzz_must(command_add(&b, op, 0, nums, n_nums, args, n_args) >= 0, "it can be encoded");
    batch_set_count(b.base, 1);
    batch_set_value_max(b.base, 4096);
    batch_stamp(b.base, 1000 * index);
    fuzz_must(store_apply(s, index, 1, b.base, b.len, out, &became) == 0 && became == STORE_APPLIED, "it is applied");
    command_buf_release(&b);
}

/* A few keys to find, one of them about to end. */
static void fill(struct store *s)
{
    static const int64_t soon[] = {2500, 0};
    struct outcome_buf out = {0};
    const struct bytes a[] = {text("a"), text("1")}, b[] = {text("b"), text("some text")}, key_b[] = {text("b")};
    apply(s, 1, OP_SET, NULL, 0, a, 2, &out);
    apply(s, 2, OP_SET, NULL, 0, b, 2, &out);
    apply(s, 3, OP_EXPIRE, soon, 2, key_b, 1, &out);
    outcome_buf_release(&out);
}

static void check_answer(const struct outcome_buf *out)
{
    fuzz_outcomes_check(out, 1);
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

static bool was_stopped(const struct outcome_buf *out)
{
    static const char words[] = "ERR script stopped";
    struct outcome o;
    outcome_next(out->base, out->len, &o);
    return o.tag == OUTCOME_REFUSAL && o.len >= sizeof words - 1 && memcmp(o.bytes, words, sizeof words - 1) == 0;
}

static void run(struct store *s, struct bytes source, struct outcome_buf *out)
{
    static const int64_t nums[] = {WALL_MS, CHANCE};
    const struct bytes args[] = {source, text("2"), text("a"), text("b"), text("7"), text("x")};
    fill(s);
    apply(s, 4, OP_SCRIPT_LOAD, NULL, 0, args, 1, out); /* Or EVAL would keep it, which is a change. */
    out->len = 0;
    uint64_t before = store_revision(s);
    apply(s, 5, OP_EVAL, nums, 2, args, 6, out);
    check_answer(out);
    fuzz_must(!was_stopped(out) || store_revision(s) == before, "a script that was stopped has changed nothing");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct outcome_buf one = {0}, two = {0};
    uint8_t *copy = fuzz_copy(bytes, len);
    struct bytes source = {.base = copy, .len = len};
    struct store *s = open_at(fuzz_dir()), *twin = open_twin();
    run(s, source, &one);
    run(twin, source, &two);
    fuzz_must(one.len == two.len && memcmp(one.base, two.base, one.len) == 0, "both states answer the same");
    fuzz_must(store_hash(s) == store_hash(twin), "and are the same");
    fuzz_store_check(s);
    store_abandon(s);
    store_abandon(twin);
    outcome_buf_release(&one);
    outcome_buf_release(&two);
    free(copy);
    fuzz_dir_empty();
    twin_empty();
    return 0;
}
