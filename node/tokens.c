/* tokens.c - see tokens.h. They live in memory only: a restart forgets them, and another one is easily made. */
#include "node/tokens.h"
#include <openssl/crypto.h>
#include <stdio.h>

const char *tokens_make(struct tokens *t, const uint8_t chance[TOKEN_CHARS / 2], uint64_t until_ms)
{
    size_t i = t->next++ % TOKENS_MAX;
    for (size_t k = 0; k < TOKEN_CHARS / 2; k++)
        snprintf(t->list[i].text + 2 * k, 3, "%02x", chance[k]);
    t->list[i].until_ms = until_ms;
    return t->list[i].text;
}

bool tokens_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && a_len > 0 && CRYPTO_memcmp(a, b, a_len) == 0;
}

bool tokens_accept(const struct tokens *t, const char *text, size_t len, uint64_t now_ms)
{
    bool ok = false;
    for (size_t i = 0; i < TOKENS_MAX; i++)
        ok |= t->list[i].text[0] != '\0' && now_ms < t->list[i].until_ms &&
              tokens_same(t->list[i].text, TOKEN_CHARS, text, len);
    return ok;
}
