/* fuzz_snapshot.c - a snapshot as it arrives: a whole one with bytes changed, or cut off, or anything. It is refused,
 * or it is the state that was sent; and what was accepted can be opened and read. Slow, since each input is a file.
 * Input: the first byte 0: a file; else the changes: u32 offset, u8 to xor with; 4 GiB - 1: cut off at the next u24. */
#include "tests/fuzz/fuzz_store.h"

#define KEYS 40

static uint8_t *whole;
static size_t whole_len;
static struct snapshot_info made;

static void apply_set(struct store *s, int i)
{
    struct command_buf b = {0};
    struct outcome_buf out = {0};
    enum store_applied became;
    char key[16], value[256];
    int64_t expiry[2] = {1000000 + i, 5};
    struct bytes args[2] = {{(uint8_t *)key, (size_t)snprintf(key, sizeof key, "key%d", i)},
                            {(uint8_t *)value, sizeof value}};
    memset(value, 'a' + i % 26, sizeof value);
    batch_begin(&b, 1, 1, store_applied(s) + 1);
    command_add(&b, OP_SET, i % 4 == 0 ? CMD_EXPIRE : 0, expiry, i % 4 == 0 ? 2 : 0, args, 2);
    batch_set_count(b.base, 1);
    batch_stamp(b.base, 1000);
    fuzz_must(store_apply(s, store_applied(s) + 1, 1, b.base, b.len, &out, &became) == 0, "it is applied");
    outcome_buf_release(&out);
    command_buf_release(&b);
}

static void read_whole(const char *path)
{
    FILE *f = fopen(path, "rb");
    fuzz_must(f != NULL, "the snapshot is there");
    whole = malloc(made.bytes);
    fuzz_must(whole != NULL, "memory suffices");
    whole_len = fread(whole, 1, made.bytes, f);
    fclose(f);
    fuzz_must(whole_len == made.bytes, "and is as long as it says");
}

static void prepare(void)
{
    char error[256];
    struct store *s = fuzz_store_open(1 << 20, NULL);
    for (int i = 0; i < KEYS; i++)
        apply_set(s, i);
    fuzz_must(store_flush_now(s) == 0, "a flush succeeds");
    fuzz_must(snapshot_make(fuzz_dir(), fuzz_file("made.db"), error, &made) == 0, "a snapshot is made");
    read_whole(fuzz_file("made.db"));
    store_close(s);
    fuzz_dir_empty();
}

static void write_file(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    fuzz_must(f != NULL && fwrite(bytes, 1, len, f) == len && fclose(f) == 0, "a file can be written");
}

static void write_changed(const char *path, struct fuzz_input *in)
{
    uint8_t *copy = fuzz_copy(whole, whole_len);
    size_t len = whole_len;
    while (in->left > 0) {
        uint32_t at = (uint32_t)fuzz_take(in, 4);
        if (at == UINT32_MAX)
            len = fuzz_take(in, 3) % (whole_len + 1);
        else
            copy[at % whole_len] ^= (uint8_t)fuzz_take(in, 1);
    }
    write_file(path, copy, len);
    free(copy);
}

/* An accepted file becomes the state, and every row of it is read. */
static void install(void)
{
    static const struct bytes all = {(const uint8_t *)"*", 1};
    struct store *s = fuzz_store_open(1, NULL);
    struct command_buf b = {0};
    struct outcome_buf out = {0};
    size_t used;
    int rc = store_install(s);
    if (rc != 0)
        fprintf(stderr, "%d: %s\n", rc, store_error(s));
    fuzz_must(rc == 0, "what was accepted can be installed");
    command_add(&b, OP_KEYS, 0, NULL, 0, &all, 1);
    fuzz_must(store_read(s, b.base, b.len, 1000, &out, &used) == 0, "and read");
    fuzz_outcomes_check(&out, 1);
    fuzz_must(store_keys(s) == KEYS && store_hash(s) == made.hash, "and is the state that was sent");
    outcome_buf_release(&out);
    command_buf_release(&b);
    store_abandon(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_input in = {bytes, len};
    struct snapshot_info info;
    char error[256] = "";
    if (whole == NULL)
        prepare();
    const char *path = fuzz_file(STORE_INCOMING);
    if (fuzz_take(&in, 1) == 0)
        write_file(path, in.at, in.left);
    else
        write_changed(path, &in);
    int rc = snapshot_check(path, fuzz_cluster, error, &info);
    fuzz_must(rc == 0 || error[0] != '\0', "a refusal has words");
    if (rc == 0) {
        fuzz_must(info.applied == made.applied && info.hash == made.hash && info.revision == made.revision,
                  "what is accepted is what was sent");
        install();
    }
    fuzz_dir_empty();
    return 0;
}
