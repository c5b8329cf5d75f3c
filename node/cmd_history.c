/* cmd_history.c - HISTORY prefix FROM revision [COUNT n] [BLOCK ms]: the changes of keys, from this node's memory of
 * them. It needs no look at the leader: a node that is behind answers fewer, and the reader goes on where that ended.
 */
#include "node/commands.h"
#include "node/listeners.h"
#include "node/node.h"
#include "node/reply.h"
#include <stdlib.h>
#include <string.h>

#define COUNT_DEFAULT 1000
#define BLOCK_MS_MAX ((int64_t)1 << 40)

/* What is asked; kept while it waits. */
struct watch {
    uint64_t from;
    size_t count;
    int64_t block_ms; /* -1: not at all; 0: for ever */
    size_t prefix_len;
    uint8_t prefix[];
};

static struct bytes prefix_of(const struct watch *w)
{
    return (struct bytes){.base = w->prefix, .len = w->prefix_len};
}

static void put_change(struct resp_buf *out, const struct feed_item *item)
{
    resp_array(out, 3);
    resp_int(out, (int64_t)item->revision);
    resp_text(out, item->kind == FEED_CLEARED ? "flushall" : item->event);
    resp_bulk(out, item->key.base, item->key.len);
}

static void put_page(struct resp_buf *out, const struct watch *w, const struct history_page *page)
{
    struct history_cursor at = page->start;
    struct feed_item item;
    resp_array(out, 2);
    resp_array(out, page->n);
    for (size_t i = 0; i < page->n && history_next(&at, prefix_of(w), &item); i++)
        put_change(out, &item);
    resp_int(out, (int64_t)page->next);
}

/* Answer if there is something to say, or it has to be said now. */
static bool answer(void *ctx, struct resp_buf *out, int proto, struct node *node, bool now)
{
    struct watch *w = ctx;
    const struct history *h = &node_listeners(node)->history;
    struct history_page page;
    (void)proto;
    if (!now && w->from > h->revision && w->from > h->floor)
        return false;
    if (history_read(h, prefix_of(w), w->from, w->count, &page) != 0) {
        resp_errorf(out, REPLY_COMPACTED, (unsigned long long)h->floor + 1);
        return true;
    }
    w->from = page.next;
    if (page.n == 0 && !now && page.next > h->revision)
        return false;
    put_page(out, w, &page);
    return true;
}

static const char *take_options(const struct call *call, struct watch *w)
{
    for (size_t i = 4; i < call->n; i += 2) {
        int64_t n;
        if (i + 1 == call->n || !arg_int(&call->args[i + 1], &n))
            return REPLY_SYNTAX;
        if (arg_is(&call->args[i], "COUNT") && n >= 1 && n <= HISTORY_COUNT_MAX)
            w->count = (size_t)n;
        else if (arg_is(&call->args[i], "BLOCK") && n >= 0 && n <= BLOCK_MS_MAX)
            w->block_ms = n;
        else
            return REPLY_HISTORY_OPTION;
    }
    return NULL;
}

/* FROM 0 is from now on. */
static const char *take_question(const struct call *call, struct watch *w)
{
    const struct history *h = &node_listeners(call->node)->history;
    int64_t from;
    if (!history_on(h))
        return REPLY_HISTORY_OFF;
    if (!arg_is(&call->args[2], "FROM"))
        return REPLY_SYNTAX;
    if (!arg_int(&call->args[3], &from) || from < 0)
        return REPLY_HISTORY_FROM;
    *w = (struct watch){.from = from > 0 ? (uint64_t)from : h->revision + 1,
                        .count = COUNT_DEFAULT,
                        .block_ms = -1,
                        .prefix_len = call->args[1].len};
    memcpy(w->prefix, call->args[1].base, w->prefix_len);
    return take_options(call, w);
}

void run_history(struct call *call)
{
    struct watch *w = malloc(sizeof *w + call->args[1].len);
    const char *wrong = w == NULL ? REPLY_NO_MEMORY : take_question(call, w);
    if (wrong != NULL)
        resp_error(call->out, wrong);
    else if (!answer(w, call->out, call->proto, call->node, w->block_ms < 0 || call->in_exec)) {
        conn_wait_for(call->conn, (uint64_t)w->block_ms, answer, w);
        return;
    }
    free(w);
}
