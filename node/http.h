/* http.h - HTTP for scrapers and orchestrators: GET /metrics, /livez, /readyz. Loop thread. */
#pragma once
#include <uv.h>

struct http;
struct node;
struct server;

/* Listen on address; an empty one: nothing is opened and *ret is NULL. Until http_serve() /readyz says no.
 * Failure: an error sentence, and an enum node_exit. */
int http_open(uv_loop_t *loop, struct node *node, const char *address, char error[256], struct http **ret);
/* The client side is there. It must outlive http_close(). */
void http_serve(struct http *h, struct server *server);
/* Ends connections at once; freed by the loop. NULL is fine. */
void http_close(struct http *h);
