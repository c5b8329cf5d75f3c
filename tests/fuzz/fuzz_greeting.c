/* fuzz_greeting.c - the first bytes of a peer, who may be anybody: decoded alike however they arrive, and once decoded,
 * encoding gives them again. Input: a byte, odd if the checksum is to be made right, then the greeting. */
#include "raft/crc32c.h"
#include "raft/frames.h"
#include "raft/le.h"
#include "tests/fuzz/fuzz.h"

static long decode(const uint8_t *bytes, size_t len, struct frame_greeting *ret)
{
    uint8_t *copy = fuzz_copy(bytes, len);
    long used = frame_greeting_decode(copy, len, ret);
    free(copy);
    return used;
}

static void check_whole(const struct frame_greeting *g, long used)
{
    uint8_t again[FRAME_GREETING_BYTES_MAX];
    struct frame_greeting back;
    memset(&back, 0, sizeof back);
    fuzz_must(memchr(g->text, '\0', sizeof g->text) != NULL, "the text ends");
    for (const char *p = g->text; *p != '\0'; p++)
        fuzz_must(*p >= ' ' && *p <= '~', "the text is printable");
    size_t len = frame_greeting_encode(g, again);
    fuzz_must((long)len == used || used > (long)len, "a greeting is no longer than it was");
    fuzz_must(frame_greeting_decode(again, len, &back) == (long)len, "what was decoded can be encoded");
    fuzz_must(back.kind == g->kind && back.from == g->from && back.to == g->to && back.start == g->start &&
                  back.code == g->code && strcmp(back.text, g->text) == 0,
              "and says the same again");
}

/* 56 text length, 60 crc32c of what is before it and of the text. */
static void make_right(uint8_t *bytes, size_t len)
{
    if (len < FRAME_GREETING_HEAD_BYTES)
        return;
    size_t text_len = bytes[56] | (size_t)bytes[57] << 8;
    if (text_len <= len - FRAME_GREETING_HEAD_BYTES)
        le32_put(bytes + 60, crc32c(crc32c(0, bytes, 60), bytes + FRAME_GREETING_HEAD_BYTES, text_len));
}

static void check(const uint8_t *bytes, size_t len)
{
    struct frame_greeting whole, part;
    memset(&whole, 0, sizeof whole);
    long used = decode(bytes, len, &whole);
    fuzz_must(used <= (long)len, "a greeting ends within the buffer");
    if (used > 0)
        check_whole(&whole, used);
    for (size_t cut = 0; cut < len && cut < FRAME_GREETING_BYTES_MAX; cut++) {
        long got = decode(bytes, cut, &part);
        fuzz_must(got == 0 || got == used, "a part asks for more, or tells what the whole is");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    uint8_t *copy = fuzz_copy(bytes + 1, len - 1);
    if (bytes[0] % 2 == 1)
        make_right(copy, len - 1);
    check(copy, len - 1);
    free(copy);
    return 0;
}
