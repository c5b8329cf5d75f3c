/* history.h - the last changes of keys at this node, by revision: what HISTORY answers from. Every node that applies an
 * entry notes the same changes under the same revisions, so a reader goes on at any of them where it stopped at
 * another. Kept in memory and bounded: it begins with what the state held when the node started, which is where the
 * log's replay begins, too. In the state itself each write would cost a second row, and its flush. Loop thread. */
#pragma once
#include "store/feed.h"

#define HISTORY_COUNT_MAX 10000       /* Changes of one answer, */
#define HISTORY_PAGE_BYTES (4u << 20) /* the bytes of their keys, */
#define HISTORY_SCAN_MAX 100000       /* and changes looked at for one. */

struct history_chunk;

/* Zero: nothing is kept. */
struct history {
    struct history_chunk *first, *last;
    size_t bytes, bytes_max;
    uint64_t floor;    /* Changes up to this revision are not here, or not all of them. */
    uint64_t revision; /* Up to this one all that happened is told. */
};

/* Where a reader is; good until the next change of the history. */
struct history_cursor {
    const struct history_chunk *chunk;
    size_t at;
};

struct history_page {
    struct history_cursor start;
    size_t n;      /* Changes of keys that begin with the prefix. */
    uint64_t next; /* The revision to go on from. */
};

enum history_err { HISTORY_ECOMPACTED = -1 }; /* Changes from there on are not kept any more, or never were. */

/* Keep about bytes_max of changes after this revision; 0: none. */
void history_init(struct history *h, size_t bytes_max, uint64_t revision);
void history_release(struct history *h);
bool history_on(const struct history *h);
/* FEED_CHANGE or FEED_CLEARED, in the order of the log; without memory the history begins anew behind it. */
void history_add(struct history *h, const struct feed_item *item);
/* All up to this revision has been added. */
void history_told(struct history *h, uint64_t revision);
/* The state has jumped to this revision, or changes were missed: begin anew. */
void history_reset(struct history *h, uint64_t revision);

/* At most `count` changes from a revision on whose keys begin with prefix, or fewer; those of one revision are never
 * parted. HISTORY_ECOMPACTED: see there. */
int history_read(const struct history *h, struct bytes prefix, uint64_t from, size_t count, struct history_page *ret);
/* The next change that belongs to the page; a cleared state belongs to every page. */
bool history_next(struct history_cursor *c, struct bytes prefix, struct feed_item *ret);
