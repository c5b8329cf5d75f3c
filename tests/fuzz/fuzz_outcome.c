/* fuzz_outcome.c - what commands answered, as a peer may send it: what has a length can be walked and told to clients
 * in both protocols, as one whole reply. */
#include "node/reply.h"
#include "node/resp/value.h"
#include "store/outcome.h"
#include "tests/fuzz/fuzz.h"

/* Heads one after another, as many as the first one promises. */
static size_t walk(const uint8_t *at, size_t len)
{
    size_t used = 0;
    for (uint64_t left = 1; left > 0; left--) {
        struct outcome o;
        size_t head = outcome_next(at + used, len - used, &o);
        fuzz_must(head > 0 && head <= len - used, "what has a span can be walked");
        used += head;
        if (o.tag == OUTCOME_ARRAY || o.tag == OUTCOME_MAP)
            left += (uint64_t)o.n * (o.tag == OUTCOME_MAP ? 2 : 1);
    }
    return used;
}

static void reply(const uint8_t *outcome, size_t span, int proto)
{
    struct resp_buf b = {0};
    struct resp_value *v = NULL;
    size_t used = 0;
    reply_outcome(&b, proto, outcome, span);
    fuzz_must(!b.failed && b.len > 0, "an outcome becomes a reply");
    enum resp_value_status status = resp_value_parse(b.base, b.len, &used, &v);
    fuzz_must(status == RESP_VALUE_DONE && used == b.len, "the reply to an outcome is one whole value");
    resp_value_free(v);
    resp_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len > 65536)
        return 0;
    uint8_t *copy = fuzz_copy(bytes, len);
    size_t span = outcome_span(copy, len);
    if (span > 0) {
        fuzz_must(span <= len && walk(copy, len) == span, "a span is what its parts add up to");
        reply(copy, span, 2);
        reply(copy, span, 3);
    }
    free(copy);
    return 0;
}
