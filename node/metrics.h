/* metrics.h - what this node counts and how it fares, for machines: the numbers of INFO in Prometheus's text format,
 * and whether clients should be sent here. Loop thread. */
#pragma once
#include "node/node.h"
#include "node/resp/resp.h"
#include "raft/histogram.h"

struct server;

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_WHY_MAX 200

/* Everything, appended to text; text->failed when memory ran out. */
void metrics_write(struct server *s, struct resp_buf *text);
/* The samples of one histogram in seconds. labels: none "", else name="value" with its quotes. */
void metrics_histogram(struct resp_buf *text, const char *name, const char *labels, const struct histogram *h);
/* Can this node do what a client wants of it? why: a sentence either way. */
bool metrics_ready(const struct node_status *status, bool draining, char why[METRICS_WHY_MAX]);
