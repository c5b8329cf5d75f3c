/* test_raft_crc32c.c - known vectors, and the instruction against the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "raft/crc32c.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(const void *bytes, size_t len, uint32_t want)
{
    assert_int_equal(crc32c(0, bytes, len), want);
    assert_int_equal(crc32c_table(0, bytes, len), want);
}

/* RFC 3720 appendix B.4, and the check value every catalogue gives. */
static void known_vectors(void **state)
{
    (void)state;
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    check(bytes, sizeof bytes, 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    check(bytes, sizeof bytes, 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    check(bytes, sizeof bytes, 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    check(bytes, sizeof bytes, 0x113fdb5c);
    check("123456789", 9, 0xe3069283);
    check("", 0, 0);
}

/* Every length and alignment: the instruction and the table agree, whole or in two pieces. */
static void ways_agree(void **state)
{
    (void)state;
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 167 + (i >> 3));
    for (size_t from = 0; from < 9; from++)
        for (size_t len = 0; from + len <= sizeof bytes; len++) {
            uint32_t whole = crc32c(7, bytes + from, len);
            assert_int_equal(whole, crc32c_table(7, bytes + from, len));
            size_t cut = len * 5 / 9;
            assert_int_equal(whole, crc32c(crc32c(7, bytes + from, cut), bytes + from + cut, len - cut));
        }
    print_message("crc32c uses %s\n", crc32c_name());
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_vectors), cmocka_unit_test(ways_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
