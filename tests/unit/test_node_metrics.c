/* test_node_metrics.c - the text that scrapers read, and the reasons for which a node is not ready. */
#include "node/metrics.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static int render(void **state)
{
    static struct resp_buf text;
    *state = &text;
    return 0;
}

static int forget(void **state)
{
    struct resp_buf *text = *state;
    resp_buf_release(text);
    *text = (struct resp_buf){0};
    return 0;
}

static bool holds(struct resp_buf *text, const char *line)
{
    resp_raw(text, "", 1);
    text->len--;
    const char *at = strstr(text->base, line);
    return at != NULL && (at == text->base || at[-1] == '\n');
}

static void histogram_counts_up_to_each_end(void **state)
{
    struct resp_buf *text = *state;
    struct histogram h = {0};
    histogram_record(&h, 16);
    histogram_record(&h, 17);
    histogram_record(&h, 1500000);
    metrics_histogram(text, "x_seconds", "family=\"string\"", &h);
    assert_true(holds(text, "x_seconds_bucket{family=\"string\",le=\"0.000016\"} 1\n"));
    assert_true(holds(text, "x_seconds_bucket{family=\"string\",le=\"0.000032\"} 2\n"));
    assert_true(holds(text, "x_seconds_bucket{family=\"string\",le=\"1.048576\"} 2\n"));
    assert_true(holds(text, "x_seconds_bucket{family=\"string\",le=\"2.097152\"} 3\n"));
    assert_true(holds(text, "x_seconds_bucket{family=\"string\",le=\"+Inf\"} 3\n"));
    assert_true(holds(text, "x_seconds_sum{family=\"string\"} 1.500033\n"));
    assert_true(holds(text, "x_seconds_count{family=\"string\"} 3\n"));
}

static void histogram_without_labels(void **state)
{
    struct resp_buf *text = *state;
    const struct histogram none = {0};
    metrics_histogram(text, "x_seconds", "", &none);
    assert_true(holds(text, "x_seconds_bucket{le=\"0.000016\"} 0\n"));
    assert_true(holds(text, "x_seconds_sum 0.000000\n"));
    assert_true(holds(text, "x_seconds_count 0\n"));
}

static void expect_ready(const struct node_status *s, bool draining, bool ready, const char *word)
{
    char why[METRICS_WHY_MAX];
    assert_int_equal(metrics_ready(s, draining, why), ready);
    if (strstr(why, word) == NULL)
        fail_msg("'%s' does not say '%s'", why, word);
}

static void ready_says_why(void **state)
{
    struct node_status s = {.id = 1, .leader = 2, .n_members = 2, .has_disk_reserve = true};
    (void)state;
    s.members[0] = (struct node_member){.id = 1, .voter = true, .linked = true};
    s.members[1] = (struct node_member){.id = 2, .voter = true, .linked = true};
    expect_ready(&s, false, true, "ready");
    expect_ready(&s, true, false, "draining");
    s.members[1].linked = false;
    expect_ready(&s, false, false, "no link to node 2");
    s.leader = 1;
    expect_ready(&s, false, false, "elected a moment ago");
    s.ready = true;
    s.has_disk_reserve = false;
    expect_ready(&s, false, true, "disk space");
    s.commit_index = 1000000;
    expect_ready(&s, false, false, "1000000 entries behind");
    s.leader = 0;
    expect_ready(&s, false, false, "no leader");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(histogram_counts_up_to_each_end, render, forget),
        cmocka_unit_test_setup_teardown(histogram_without_labels, render, forget),
        cmocka_unit_test(ready_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
