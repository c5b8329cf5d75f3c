/* link_address.c - "host:port" and what the kernel makes of it. */
#include "raft/link_internal.h"
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool link_address_split(const char *address, char host[LINKS_ADDRESS_MAX], char port[8])
{
    const char *colon = strrchr(address, ':');
    size_t host_len = colon != NULL ? (size_t)(colon - address) : 0;
    if (colon == NULL || host_len >= LINKS_ADDRESS_MAX || strlen(colon + 1) == 0 || strlen(colon + 1) > 5)
        return false;
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535)
        return false;
    bool bracketed = host_len >= 2 && address[0] == '[' && colon[-1] == ']';
    if (bracketed)
        address++, host_len -= 2;
    memcpy(host, address, host_len);
    host[host_len] = '\0';
    strcpy(port, colon + 1);
    return bracketed || strchr(host, ':') == NULL;
}

bool link_address_numeric(const char *host, int port, struct sockaddr_storage *ret)
{
    return uv_ip4_addr(host, port, (struct sockaddr_in *)ret) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)ret) == 0;
}

int link_address_listen(uv_loop_t *loop, const char *address, struct sockaddr_storage *ret)
{
    char host[LINKS_ADDRESS_MAX], port[8];
    if (!link_address_split(address, host, port))
        return UV_EINVAL;
    if (host[0] == '\0')
        return uv_ip6_addr("::", atoi(port), (struct sockaddr_in6 *)ret);
    if (link_address_numeric(host, atoi(port), ret))
        return 0;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t lookup;
    int rc = uv_getaddrinfo(loop, &lookup, NULL, host, port, &hints);
    if (rc != 0)
        return rc;
    memcpy(ret, lookup.addrinfo->ai_addr, lookup.addrinfo->ai_addrlen);
    uv_freeaddrinfo(lookup.addrinfo);
    return 0;
}

int link_address_port(const struct sockaddr_storage *a)
{
    return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                          : ((const struct sockaddr_in *)a)->sin_port);
}

void link_address_name(const struct sockaddr_storage *a, char name[LINK_NAME_MAX])
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (a->ss_family == AF_INET6)
        uv_ip6_name((const struct sockaddr_in6 *)a, ip, sizeof ip);
    else
        uv_ip4_name((const struct sockaddr_in *)a, ip, sizeof ip);
    snprintf(name, LINK_NAME_MAX, strchr(ip, ':') != NULL ? "[%s]:%d" : "%s:%d", ip, link_address_port(a));
}
