/* address.c - reading a node list. A list comes from people: every refusal quotes the entry it is about. */
#include "node/client/address.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_DEFAULT "127.0.0.1"
#define SEPARATORS ", \t\r\n"

static bool copy_part(char *to, size_t size, const char *from, size_t len)
{
    if (len >= size || memchr(from, '\0', len) != NULL)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

static bool port_ok(const char *port)
{
    size_t digits = strspn(port, "0123456789");
    long n = strtol(port, NULL, 10);
    return digits > 0 && port[digits] == '\0' && n >= 1 && n <= 65535;
}

/* The host's end; for a bracketed one text is moved inside the brackets. NULL: a bracket is never closed. */
static const char *host_end(const char **text, const char *end, const char **ret_rest)
{
    if (*text < end && **text == '[') {
        (*text)++;
        const char *close = memchr(*text, ']', (size_t)(end - *text));
        *ret_rest = close == NULL ? end : close + 1;
        return close;
    }
    const char *colon = memrchr(*text, ':', (size_t)(end - *text));
    *ret_rest = colon == NULL ? end : colon;
    return *ret_rest;
}

bool address_parse(const char *text, size_t len, struct address *ret)
{
    const char *end = text + len;
    const char *rest = end;
    const char *host = text;
    const char *stop = host_end(&host, end, &rest);
    if (stop == NULL || !copy_part(ret->host, sizeof ret->host, host, (size_t)(stop - host)))
        return false;
    bool bracketed = host != text;
    if (!bracketed && strchr(ret->host, ':') != NULL)
        return false; /* An IPv6 address without brackets: where its port begins is a guess. */
    if (ret->host[0] == '\0')
        strcpy(ret->host, HOST_DEFAULT);
    strcpy(ret->port, ADDRESS_PORT_DEFAULT);
    if (rest < end && (*rest != ':' || !copy_part(ret->port, sizeof ret->port, rest + 1, (size_t)(end - rest) - 1)))
        return false;
    snprintf(ret->name, sizeof ret->name, bracketed ? "[%s]:%s" : "%s:%s", ret->host, ret->port);
    return port_ok(ret->port);
}

int addresses_parse(const char *text, struct address ret[CLIENT_NODES_MAX], char *error, size_t error_size)
{
    int n = 0;
    for (text += strspn(text, SEPARATORS); *text != '\0'; text += strspn(text, SEPARATORS)) {
        size_t len = strcspn(text, SEPARATORS);
        if (n == CLIENT_NODES_MAX) {
            snprintf(error, error_size, "more than %d nodes are listed", CLIENT_NODES_MAX);
            return -1;
        }
        if (!address_parse(text, len, &ret[n])) {
            snprintf(error, error_size, "'%.*s' is not host:port", len > 80 ? 80 : (int)len, text);
            return -1;
        }
        n++;
        text += len;
    }
    if (n == 0)
        snprintf(error, error_size, "the list of nodes is empty");
    return n == 0 ? -1 : n;
}
