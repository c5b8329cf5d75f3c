/* fuzz_value.c - replies as a client reads them: whole or byte by byte, the same value, and all of it can be walked. */
#include "node/resp/value.h"
#include "tests/fuzz/fuzz.h"

#define LEN_MAX 65536 /* Longer ones only take longer. */

static uint64_t walk(const struct resp_value *v)
{
    uint64_t sum = v->type * 31u + (uint64_t)v->n;
    if (v->bytes != NULL) {
        fuzz_must(v->bytes[v->len] == '\0', "a NUL follows the bytes");
        for (size_t i = 0; i < v->len; i++)
            sum = sum * 31 + (uint8_t)v->bytes[i];
    }
    if (v->parts == NULL)
        return sum;
    int64_t n = v->type == RESP_MAP ? 2 * v->n : v->n;
    for (int64_t i = 0; i < n; i++)
        sum = sum * 31 + walk(&v->parts[i]);
    return sum;
}

/* The buffer grows by `step` bytes at a time, and moves. */
static enum resp_value_status scan_slowly(struct resp_scan *s, const uint8_t *bytes, size_t len, size_t step)
{
    enum resp_value_status status = RESP_VALUE_MORE;
    for (size_t there = 0; status == RESP_VALUE_MORE && there < len;) {
        there = there + step < len ? there + step : len;
        uint8_t *copy = fuzz_copy(bytes, there);
        status = resp_value_scan(s, (const char *)copy, there);
        free(copy);
    }
    return status;
}

static void compare_slowly(enum resp_value_status want, size_t used, uint64_t sum, const uint8_t *bytes, size_t len)
{
    struct resp_scan scan = {0};
    struct resp_value *v = NULL;
    fuzz_must(scan_slowly(&scan, bytes, len, len / 1000 + 1) == want, "a reply in pieces ends like the whole one");
    if (want != RESP_VALUE_DONE)
        return;
    fuzz_must(scan.pos == used, "a reply in pieces is as long as the whole one");
    uint8_t *copy = fuzz_copy(bytes, used);
    fuzz_must(resp_value_build(&scan, (const char *)copy, &v) == RESP_VALUE_DONE, "what was scanned can be built");
    free(copy);
    fuzz_must(walk(v) == sum, "a reply in pieces says what the whole one says");
    resp_value_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct resp_value *v = NULL;
    size_t used = 0;
    uint64_t sum = 0;
    if (len > LEN_MAX)
        return 0;
    uint8_t *copy = fuzz_copy(bytes, len);
    enum resp_value_status status = resp_value_parse((const char *)copy, len, &used, &v);
    free(copy); /* The value has bytes of its own. */
    if (status == RESP_VALUE_DONE) {
        fuzz_must(used > 0 && used <= len, "a reply has a length, within the buffer");
        sum = walk(v);
    }
    resp_value_free(v);
    compare_slowly(status, used, sum, bytes, len);
    return 0;
}
