/* logmodel.c - see logmodel.h. Replacing never reaches below what was applied, and cutting never above: as in Raft. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/logmodel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAYLOAD_MAX (64u << 10)

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t logmodel_roll(struct logmodel *m, uint64_t below)
{
    m->random_state += 0x9e3779b97f4a7c15u;
    return mix(m->random_state) % below;
}

uint64_t logmodel_seed(void)
{
    const char *given = getenv("HOLDFAST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20;
    print_message("HOLDFAST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* Mostly short, some empty, a few larger than a segment. */
static size_t payload_len(const struct logmodel *m, uint64_t h)
{
    if (h % 89 == 0)
        return (size_t)m->options.segment_bytes + h / 89 % 3000;
    return h % 7 == 0 ? 0 : h / 7 % 400;
}

const uint8_t *logmodel_payload(const struct logmodel *m, uint64_t index, uint64_t term, size_t *ret_len)
{
    static uint8_t bytes[PAYLOAD_MAX];
    uint64_t h = mix(index * 1000003 + term);
    *ret_len = payload_len(m, h);
    assert_true(*ret_len <= PAYLOAD_MAX);
    for (size_t i = 0; i < *ret_len; i++)
        bytes[i] = (uint8_t)(h >> (i % 8 * 8)) ^ (uint8_t)i;
    return bytes;
}

static void durable(void *ctx, uint64_t index, uint64_t term)
{
    struct logmodel *m = ctx;
    m->reports++;
    assert_true(index >= m->state.base && index <= m->state.last);
    assert_int_equal(term, m->state.terms[index]);
    assert_true(index >= m->state.promised);
    assert_int_equal(log_durable(m->l), index);
    m->state.promised = index;
    m->resetting = false;
}

static void failed(void *ctx, const char *why)
{
    struct logmodel *m = ctx;
    m->failures++;
    snprintf(m->error, sizeof m->error, "%s", why);
}

void logmodel_init(struct logmodel *m, uint64_t seed, uint64_t segment_bytes, unsigned spares, size_t memory_bytes)
{
    memset(m, 0, sizeof *m);
    m->random_state = mix(seed + 1);
    m->d = fakedisk_new(mix(seed + 2));
    m->options = (struct log_options){.cluster_id = "a test cluster.",
                                      .node_id = 3,
                                      .segment_bytes = segment_bytes,
                                      .memory_bytes = memory_bytes,
                                      .spares = spares,
                                      .on_durable = durable,
                                      .on_failed = failed,
                                      .ctx = m};
}

void logmodel_release(struct logmodel *m)
{
    if (m->l != NULL)
        logmodel_crash(m);
    fakedisk_free(m->d);
}

/* ---- Comparing ---- */

static void check_entry(struct logmodel *m, uint64_t index, const struct log_entry *e)
{
    size_t len = 0;
    const uint8_t *want = logmodel_payload(m, index, e->term, &len);
    assert_int_equal(e->len, len);
    assert_int_equal(e->type, LOG_COMMAND + e->term % 3);
    if (len > 0)
        assert_memory_equal(e->blob->bytes + e->offset, want, len);
    assert_int_equal(e->term, log_term_at(m->l, index));
}

static void check_read(struct logmodel *m, uint64_t index)
{
    struct log_entry e;
    const struct log_entry *held = log_get(m->l, index);
    if (held != NULL)
        check_entry(m, index, held);
    int rc = log_read(m->l, index, &e);
    if (rc != 0)
        print_error("index %llu: %s\n", (unsigned long long)index, fakedisk_io(m->d)->error);
    assert_int_equal(rc, 0);
    check_entry(m, index, &e);
    blob_unref(e.blob);
}

void logmodel_check(struct logmodel *m)
{
    const struct logmodel_state *s = &m->state;
    uint64_t first = log_first(m->l), last = log_last(m->l);
    assert_int_equal(last, s->last);
    assert_true(first > s->base && first <= m->cut + 1 + (m->cut < s->base ? s->base - m->cut : 0));
    for (uint64_t i = first - 1; i <= last; i++)
        assert_int_equal(log_term_at(m->l, i), s->terms[i]);
    assert_int_equal(log_term_at(m->l, last + 1), 0);
    for (uint64_t i = first; i <= last; i++) /* In order, and then anywhere. */
        check_read(m, i);
    for (uint64_t k = 0; first <= last && k < 20; k++)
        check_read(m, first + logmodel_roll(m, last - first + 1));
    struct log_entry e;
    assert_int_equal(log_read(m->l, last + 1, &e), LOG_ENOENT);
    assert_int_equal(log_read(m->l, first - 1, &e), LOG_ENOENT);
    assert_int_equal(log_term(m->l), m->term);
    assert_int_equal(log_vote(m->l), m->vote);
}

/* ---- Opening and closing ---- */

/* Does the log hold what this state promises, and nothing that was never written? */
static bool keeps(struct logmodel *m, const struct logmodel_state *s)
{
    uint64_t first = log_first(m->l), last = log_last(m->l);
    uint64_t cut = m->cut > s->base ? m->cut : s->base;
    if (last < s->promised || first < s->base + 1 || first > cut + 1)
        return false;
    for (uint64_t i = first - 1; i <= s->promised; i++)
        if (log_term_at(m->l, i) != s->terms[i])
            return false;
    return true;
}

static void follow_log(struct logmodel *m)
{
    struct logmodel_state *s = &m->state;
    if (m->resetting && !keeps(m, s))
        *s = m->before_reset; /* The crash came before. */
    m->resetting = false;
    if (!keeps(m, s))
        print_error("the log has %llu to %llu; base %llu, cut %llu, promised %llu\n",
                    (unsigned long long)log_first(m->l), (unsigned long long)log_last(m->l),
                    (unsigned long long)s->base, (unsigned long long)m->cut, (unsigned long long)s->promised);
    assert_true(keeps(m, s));
    s->last = s->promised = log_last(m->l);
    for (uint64_t i = log_first(m->l) - 1; i <= s->last; i++)
        s->terms[i] = log_term_at(m->l, i);
    assert_int_equal(log_durable(m->l), s->last);
    if (m->applied > s->last)
        m->applied = s->last;
}

static void follow_vote(struct logmodel *m)
{
    if (log_term(m->l) == m->term_tried && log_vote(m->l) == m->vote_tried) {
        m->term = m->term_tried;
        m->vote = m->vote_tried;
    }
    m->term_tried = m->term;
    m->vote_tried = m->vote;
}

int logmodel_open(struct logmodel *m)
{
    assert_null(m->l);
    int rc = log_open(fakedisk_io(m->d), &m->options, m->error, &m->l);
    if (rc != 0) {
        assert_true(m->error[0] != '\0');
        return rc;
    }
    if (!fakedisk_powered(m->d)) { /* The last calls do not matter to it. */
        log_close(m->l);
        m->l = NULL;
        return LOG_EIO;
    }
    m->failures = 0;
    assert_true(log_start(m->l) > m->start);
    m->start = log_start(m->l);
    follow_log(m);
    follow_vote(m);
    logmodel_check(m);
    return 0;
}

void logmodel_close(struct logmodel *m)
{
    fakedisk_run_all(m->d);
    log_close(m->l);
    fakedisk_run_all(m->d);
    m->l = NULL;
}

void logmodel_crash(struct logmodel *m)
{
    fakedisk_power_off(m->d);
    log_close(m->l);
    m->l = NULL;
    fakedisk_crash(m->d);
}

void logmodel_kill(struct logmodel *m)
{
    fakedisk_power_off(m->d);
    log_close(m->l);
    m->l = NULL;
    fakedisk_kill(m->d);
}

/* ---- Acting ---- */

static void append(struct logmodel *m, uint64_t index, uint64_t term, size_t n)
{
    struct logmodel_state *s = &m->state;
    if (index + n >= LOGMODEL_INDEX_MAX)
        return;
    struct log_entry *entries = calloc(n + 1, sizeof *entries);
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        const uint8_t *payload = logmodel_payload(m, index + i, term, &len);
        entries[i] = (struct log_entry){
            .term = term, .type = (uint8_t)(LOG_COMMAND + term % 3), .blob = blob_copy(payload, len), .len = len};
        s->terms[index + i] = term;
    }
    s->last = index + n - 1;
    if (s->promised >= index)
        s->promised = index - 1;
    assert_int_equal(log_append(m->l, index, entries, n), 0);
    for (size_t i = 0; i < n; i++)
        blob_unref(entries[i].blob);
    free(entries);
}

static uint64_t last_term(const struct logmodel *m)
{
    uint64_t term = m->state.terms[m->state.last];
    return term > 0 ? term : 1;
}

void logmodel_append(struct logmodel *m, size_t n)
{
    append(m, m->state.last + 1, last_term(m), n);
}

void logmodel_replace(struct logmodel *m, uint64_t index, size_t n)
{
    append(m, index, m->term + last_term(m) + 1 + logmodel_roll(m, 3), n);
}

void logmodel_apply(struct logmodel *m, uint64_t index)
{
    if (index > m->applied)
        m->applied = index;
    log_applied(m->l, index);
}

void logmodel_cut(struct logmodel *m, uint64_t index)
{
    if (index > m->cut)
        m->cut = index;
    log_cut(m->l, index);
}

void logmodel_reset(struct logmodel *m, uint64_t index)
{
    struct logmodel_state *s = &m->state;
    if (index + 1 >= LOGMODEL_INDEX_MAX)
        return;
    uint64_t term = last_term(m) + 1;
    if (!m->resetting)
        m->before_reset = *s;
    m->resetting = true;
    s->base = s->last = s->promised = m->applied = index;
    s->terms[index] = term;
    s->promised = 0;
    assert_int_equal(log_reset(m->l, index, term), 0);
}

int logmodel_vote(struct logmodel *m, uint64_t term, uint64_t vote)
{
    m->term_tried = term;
    m->vote_tried = vote;
    int rc = log_set_vote(m->l, term, vote);
    if (rc == 0) {
        m->term = term;
        m->vote = vote;
    }
    return rc;
}

static uint64_t somewhere(struct logmodel *m, uint64_t from, uint64_t to)
{
    return from + logmodel_roll(m, to - from + 1);
}

static void act_on_log(struct logmodel *m)
{
    struct logmodel_state *s = &m->state;
    uint64_t settled = s->promised > s->base ? s->promised : s->base;
    switch (logmodel_roll(m, 16)) {
    case 0:
    case 1:
        if (m->applied < s->last)
            logmodel_replace(m, somewhere(m, (m->applied > s->base ? m->applied : s->base) + 1, s->last),
                             (size_t)logmodel_roll(m, 8) + 1);
        break;
    case 2:
        if (!m->resetting && m->applied < settled)
            logmodel_apply(m, somewhere(m, m->applied, settled));
        break;
    case 3:
        if (!m->resetting && m->applied > s->base)
            logmodel_cut(m, somewhere(m, s->base, m->applied));
        break;
    case 4:
        if (!m->resetting && logmodel_roll(m, 10) == 0)
            logmodel_reset(m, s->last + logmodel_roll(m, 20));
        break;
    case 5:
        logmodel_vote(m, m->term + logmodel_roll(m, 2) + 1, logmodel_roll(m, 5));
        break;
    default:
        logmodel_append(m, (size_t)logmodel_roll(m, 12) + 1);
    }
}

void logmodel_act(struct logmodel *m)
{
    switch (logmodel_roll(m, 8)) {
    case 0:
    case 1:
        fakedisk_run_one(m->d, IO_LANE_LOG);
        break;
    case 2:
        fakedisk_run_one(m->d, IO_LANE_SPARE);
        break;
    case 3:
        fakedisk_work_one(m->d, IO_LANE_LOG); /* Written, but nobody knows yet. */
        break;
    case 4:
        fakedisk_deliver(m->d);
        fakedisk_advance(m->d, logmodel_roll(m, 500));
        break;
    default:
        act_on_log(m);
    }
}
