/* fuzz_request.c - requests as a server reads them: however the stream is cut, the same requests come out and the same
 * end. Input: a byte that chooses the limits, then the stream. */
#include "node/resp/resp.h"
#include "tests/fuzz/fuzz.h"

#define CUTS_MAX 200 /* So many cuts of one stream are tried, evenly. */

static const struct resp_limits limits[] = {
    {.inline_bytes_max = 65536, .args_max = 65536, .bulk_bytes_max = 8 << 20, .request_bytes_max = 16 << 20},
    {.inline_bytes_max = 65536,
     .args_max = 10,
     .bulk_bytes_max = 16384,
     .request_bytes_max = 16 << 20,
     .before_auth = true},
    {.inline_bytes_max = 16, .args_max = 4, .bulk_bytes_max = 24, .request_bytes_max = 40},
};

/* What a stream said, as text. */
struct account {
    struct resp_buf text;
    enum resp_parse end;
};

static void tell(struct account *a, const struct resp_parser *p)
{
    resp_int(&a->text, (int64_t)p->n_args);
    for (size_t i = 0; i < p->n_args; i++)
        resp_bulk(&a->text, p->args[i].base, p->args[i].len);
}

/* Take all requests out of bytes[*at .. len). */
static void consume(struct account *a, struct resp_parser *p, const uint8_t *bytes, size_t *at, size_t len)
{
    uint8_t *copy = fuzz_copy(bytes + *at, len - *at);
    size_t from = 0, left = len - *at;
    while (left > 0) {
        size_t used = 0;
        a->end = resp_parse(p, (const char *)copy + from, left, &used);
        if (a->end != RESP_REQUEST)
            break;
        fuzz_must(used > 0 && used <= left, "a request has a length, within the buffer");
        tell(a, p);
        from += used;
        left -= used;
    }
    if (left == 0)
        a->end = RESP_MORE;
    *at += from;
    free(copy);
}

/* Pieces of `piece` bytes, after a first one of `first`. */
static struct account read_stream(const struct resp_limits *l, const uint8_t *bytes, size_t len, size_t first,
                                  size_t piece)
{
    struct account a = {.end = RESP_MORE};
    struct resp_parser p;
    size_t at = 0;
    resp_parser_init(&p, l);
    for (size_t there = first; a.end == RESP_MORE && at < len; there = there + piece < len ? there + piece : len) {
        consume(&a, &p, bytes, &at, there);
        if (there == len)
            break;
    }
    if (a.end == RESP_BROKEN || a.end == RESP_OVERSIZE)
        resp_text(&a.text, p.error);
    resp_parser_release(&p);
    return a;
}

static void compare(const struct account *want, struct account *got)
{
    fuzz_must(want->end == got->end, "a cut stream ends like the whole one");
    fuzz_must(want->text.len == got->text.len &&
                  (got->text.len == 0 || memcmp(want->text.base, got->text.base, got->text.len) == 0),
              "a cut stream has the requests of the whole one");
    resp_buf_release(&got->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2)
        return 0;
    const struct resp_limits *l = &limits[bytes[0] % 3];
    bytes++;
    len--;
    struct account whole = read_stream(l, bytes, len, len, len);
    size_t step = len / CUTS_MAX + 1;
    for (size_t cut = 1; cut < len; cut += step) {
        struct account cut_once = read_stream(l, bytes, len, cut, len);
        compare(&whole, &cut_once);
    }
    struct account cut_often = read_stream(l, bytes, len, 1, len / 2000 + 1);
    compare(&whole, &cut_often);
    resp_buf_release(&whole.text);
    return 0;
}
