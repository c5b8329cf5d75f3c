/* test_node_join.c - the file "join" and the tokens: what comes back, and what makes no sense. */
#include "node/join.h"
#include "node/tokens.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define CLUSTER "00112233445566778899aabbccddeeff"

static struct join sample(void)
{
    struct join j = {.cluster_id = CLUSTER, .node_id = 7, .wants_vote = true, .replaces = 3, .n_members = 2};
    j.members[0] = (struct config_member){1, "10.0.0.1:7501"};
    j.members[1] = (struct config_member){4, "[::1]:7504"};
    return j;
}

static void check_sample(const struct join *j)
{
    assert_string_equal(j->cluster_id, CLUSTER);
    assert_int_equal(j->node_id, 7);
    assert_true(j->wants_vote);
    assert_int_equal(j->replaces, 3);
    assert_int_equal(j->n_members, 2);
    assert_int_equal(j->members[1].id, 4);
    assert_string_equal(j->members[1].address, "[::1]:7504");
}

static void what_is_written_comes_back(void **state)
{
    (void)state;
    struct join in = sample(), out;
    char text[JOIN_TEXT_MAX];
    size_t len = join_format(&in, text);
    assert_true(join_parse(text, len, &out));
    check_sample(&out);
}

static void no_cut_of_it_is_taken_for_the_whole(void **state)
{
    (void)state;
    struct join in = sample(), out;
    char text[JOIN_TEXT_MAX];
    size_t len = join_format(&in, text), lines = 0;
    for (size_t cut = 0; cut < len; cut++)
        if (join_parse(text, cut, &out))
            lines++; /* Only where a line of a member ends. */
    assert_int_equal(lines, 1);
}

static void nonsense_is_no_join(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "cluster " CLUSTER "\nnode 4\n",
        "cluster 00\nnode 4\nmember 1 a:1\n",
        "cluster " CLUSTER "\nnode 0\nmember 1 a:1\n",
        "cluster " CLUSTER "\nnode 4\nmember 0 a:1\n",
        "cluster " CLUSTER "\nnode 4\nmember 1 nowhere\n",
        "cluster " CLUSTER "\nnode 4\nvote 2\nmember 1 a:1\n",
        "cluster " CLUSTER "\nnode 4\nmember 1 a:1\nsomething else\n",
        "node 4\nmember 1 a:1\n",
    };
    struct join out;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(join_parse(texts[i], strlen(texts[i]), &out));
    char many[JOIN_TEXT_MAX] = "cluster " CLUSTER "\nnode 4\n";
    for (int i = 0; i <= CONFIG_MEMBERS_MAX; i++)
        snprintf(many + strlen(many), 32, "member %d a:%d\n", i + 1, i + 1);
    assert_false(join_parse(many, strlen(many), &out));
}

static void the_file_is_there_or_not(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_node_join.XXXXXX", path[64], error[256] = "";
    struct join in = sample(), out;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(join_load(dir, &out, error), 0);
    assert_int_equal(join_store(dir, &in, error), 0);
    assert_int_equal(join_load(dir, &out, error), 1);
    check_sample(&out);
    snprintf(path, sizeof path, "%s/" JOIN_FILE, dir);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fputs("half a li", f);
    fclose(f);
    assert_int_equal(join_load(dir, &out, error), -1);
    assert_non_null(strstr(error, "damaged"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void a_token_is_good_for_its_time(void **state)
{
    (void)state;
    struct tokens t = {.next = 0};
    uint8_t chance[TOKEN_CHARS / 2] = {1, 2, 3};
    char token[TOKEN_CHARS + 1];
    assert_false(tokens_accept(&t, "", 0, 0));
    snprintf(token, sizeof token, "%s", tokens_make(&t, chance, 1000));
    assert_int_equal(strlen(token), TOKEN_CHARS);
    assert_true(tokens_accept(&t, token, TOKEN_CHARS, 999));
    assert_false(tokens_accept(&t, token, TOKEN_CHARS, 1000));
    assert_false(tokens_accept(&t, token, TOKEN_CHARS - 1, 999));
    token[0] ^= 1;
    assert_false(tokens_accept(&t, token, TOKEN_CHARS, 999));
    token[0] ^= 1;
    for (uint8_t i = 0; i < TOKENS_MAX; i++) {
        chance[0] = (uint8_t)(100 + i);
        tokens_make(&t, chance, 1000);
    }
    assert_false(tokens_accept(&t, token, TOKEN_CHARS, 999)); /* The oldest has gone. */
    assert_false(tokens_same("", 0, "", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_comes_back),   cmocka_unit_test(no_cut_of_it_is_taken_for_the_whole),
        cmocka_unit_test(nonsense_is_no_join),          cmocka_unit_test(the_file_is_there_or_not),
        cmocka_unit_test(a_token_is_good_for_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
