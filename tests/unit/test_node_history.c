/* test_node_history.c - what the history keeps, and how it is read piece by piece. */
#include "node/history.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BYTES_MAX (1u << 20)

static struct bytes text(const char *s)
{
    return (struct bytes){.base = (const uint8_t *)s, .len = strlen(s)};
}

static void add(struct history *h, uint64_t revision, const char *event, const char *key)
{
    const struct feed_item item = {.kind = FEED_CHANGE, .revision = revision, .event = event, .key = text(key)};
    history_add(h, &item);
    history_told(h, revision);
}

/* "revision event key" of each change of the page, one after the other. */
static void spell(const struct history_page *page, const char *prefix, char *ret, size_t size)
{
    struct history_cursor at = page->start;
    struct feed_item item;
    size_t len = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < page->n; i++) {
        assert_true(history_next(&at, text(prefix), &item));
        len += (size_t)snprintf(ret + len, size - len, "%llu %s %.*s;", (unsigned long long)item.revision,
                                item.kind == FEED_CLEARED ? "flushall" : item.event, (int)item.key.len,
                                (const char *)item.key.base);
    }
}

static void reads(const struct history *h, const char *prefix, uint64_t from, size_t count, const char *want,
                  uint64_t next)
{
    struct history_page page;
    char got[512];
    assert_int_equal(history_read(h, text(prefix), from, count, &page), 0);
    spell(&page, prefix, got, sizeof got);
    assert_string_equal(got, want);
    assert_int_equal(page.next, next);
}

static void changes_come_by_revision_and_prefix(void **state)
{
    struct history h;
    struct history_page page;
    (void)state;
    history_init(&h, BYTES_MAX, 10);
    reads(&h, "", 11, 5, "", 11);
    add(&h, 11, "set", "a:1");
    add(&h, 12, "set", "b:1");
    add(&h, 13, "rename_from", "a:1");
    add(&h, 13, "rename_to", "a:2");
    add(&h, 14, "del", "a:2");
    reads(&h, "", 11, 9, "11 set a:1;12 set b:1;13 rename_from a:1;13 rename_to a:2;14 del a:2;", 15);
    reads(&h, "a:", 12, 9, "13 rename_from a:1;13 rename_to a:2;14 del a:2;", 15);
    reads(&h, "", 12, 2, "12 set b:1;13 rename_from a:1;13 rename_to a:2;", 14);
    reads(&h, "none", 11, 1, "", 15);
    reads(&h, "", 15, 9, "", 15);
    reads(&h, "", 99, 9, "", 99);
    assert_int_equal(history_read(&h, text(""), 10, 9, &page), HISTORY_ECOMPACTED);
    history_release(&h);
}

static void a_cleared_state_belongs_to_every_prefix(void **state)
{
    const struct feed_item cleared = {.kind = FEED_CLEARED, .revision = 2};
    struct history h;
    (void)state;
    history_init(&h, BYTES_MAX, 0);
    add(&h, 1, "set", "a");
    history_add(&h, &cleared);
    history_told(&h, 2);
    reads(&h, "b", 1, 9, "2 flushall ;", 3);
    history_release(&h);
}

/* However much was added, what is read from the floor on is whole, in order, and ends with the newest. */
static void the_oldest_go_first(void **state)
{
    struct history h;
    struct history_page page;
    struct feed_item item;
    char key[64];
    uint64_t revision = 0, want;
    (void)state;
    history_init(&h, BYTES_MAX, 0);
    for (; revision < 100000; revision++) {
        snprintf(key, sizeof key, "key:%llu", (unsigned long long)revision + 1);
        add(&h, revision + 1, "set", key);
        assert_true(h.bytes <= BYTES_MAX);
    }
    assert_true(h.floor > 0 && h.floor < revision);
    assert_int_equal(history_read(&h, text(""), h.floor, 1, &page), HISTORY_ECOMPACTED);
    for (want = h.floor + 1; want <= revision;) {
        assert_int_equal(history_read(&h, text("key:"), want, 999, &page), 0);
        struct history_cursor at = page.start;
        for (size_t i = 0; i < page.n; i++) {
            assert_true(history_next(&at, text("key:"), &item));
            assert_int_equal(item.revision, want++);
        }
        assert_int_equal(page.next, want);
    }
    history_release(&h);
}

static void it_begins_anew_behind_a_jump(void **state)
{
    struct history h;
    struct history_page page;
    (void)state;
    history_init(&h, BYTES_MAX, 0);
    add(&h, 1, "set", "a");
    history_reset(&h, 50);
    assert_int_equal(history_read(&h, text(""), 50, 9, &page), HISTORY_ECOMPACTED);
    add(&h, 51, "set", "b");
    reads(&h, "", 51, 9, "51 set b;", 52);
    history_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_come_by_revision_and_prefix),
        cmocka_unit_test(a_cleared_state_belongs_to_every_prefix),
        cmocka_unit_test(the_oldest_go_first),
        cmocka_unit_test(it_begins_anew_behind_a_jump),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
