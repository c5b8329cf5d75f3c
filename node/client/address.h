/* address.h - where the nodes are: a list of host:port, as people write it. */
#pragma once
#include "node/client/client.h"

#define ADDRESS_HOST_MAX 255
#define ADDRESS_PORT_DEFAULT "7401"

struct address {
    char host[ADDRESS_HOST_MAX + 1];
    char port[6];
    char name[ADDRESS_HOST_MAX + 10]; /* host:port, an IPv6 host in brackets: the spelling to compare and to show. */
};

/* One "host:port", "host", ":port" (this machine) or "[IPv6]:port". False: malformed, *ret is undefined. */
bool address_parse(const char *text, size_t len, struct address *ret);
/* A list separated by commas or blanks. Returns how many, or -1 with a sentence in error. */
int addresses_parse(const char *text, struct address ret[CLIENT_NODES_MAX], char *error, size_t error_size);
