/* family.h - what each command does to rows: the seam between store.c, which knows entries, and the
 * families of commands (keys.c, strings.c, counters.c, typed.c, lists.c, hashes.c, expiry.c), which know their rules.
 * A family's function reads and changes rows, and appends exactly one outcome. */
#pragma once
#include "store/event.h"
#include "store/outcome.h"
#include "store/rows.h"

struct due; /* due.h: what is due when */
struct feed;
struct script_host;
struct wait_ready; /* wait.h: lists that have got elements */

/* Memory kept from one command to the next for values so large that getting it anew each time would cost more than the
 * work: each call of family_kept() hands out the same again. */
enum family_keep {
    KEEP_RECORDS,
    KEEP_VALUE,
    KEEP_CHUNK,
    KEEP_OFFSETS,
    KEEP_ELEMENT,
    KEEP_WAITER,
    KEEP_QUEUE_NAME,
    KEEP_N
};
struct family_keeps {
    void *base[KEEP_N];
    size_t cap[KEEP_N];
};

/* What a command may see and use while it runs. */
struct family {
    struct rows *rows;
    struct due *due;
    uint64_t *revision; /* ++ for each change of a row; the new number is the row's version */
    uint64_t clock_ms;  /* the replicated clock; for reads, the last stamp applied */
    uint64_t now_ms;    /* reads: a guess of the clock now, for time left only; in apply == clock_ms */
    uint64_t *expired_total;
    size_t value_bytes_max;
    struct family_keeps *keeps;
    uint64_t node, start;               /* Whose batch it is; 0: the leader's own, or a read. */
    uint64_t once_session, once_serial; /* Inside ONCE; 0: not. */
    struct wait_ready *ready;           /* NULL: a read, which changes no list. */
    unsigned depth;                     /* How many commands this one is nested in. */
    bool at_once; /* Inside a transaction or a script nothing waits: what would is answered as if its time were over. */
    void (*changed)(void *ctx, const struct store_event *event); /* NULL: nobody listens */
    void *changed_ctx;
    struct feed *feed;              /* NULL: nobody listens */
    const struct command *command;  /* The one that runs, of those nested the innermost. */
    const struct script_host *host; /* What scripts need to be told; NULL: there are no scripts */
    struct outcome_buf *out; /* `failed` after a command: memory ran out in it, the state may be half changed: stop */
};

/* Reading costs a client nothing, so what it may ask for has bounds, the same on every node: one answer, and the
 * answers of one batch, past which those that carry values are refused. A small request could ask for any amount of
 * memory otherwise, and what is in the log would ask for it again at every start. */
#define FAMILY_REPLY_BYTES_MAX ((size_t)48 << 20)
#define FAMILY_BATCH_BYTES_MAX ((size_t)64 << 20)

/* Run one decoded command. Unknown opcodes answer REFUSAL_UNKNOWN_COMMAND; wrong numbers of args or nums (only a broken
 * encoder makes them) answer it too, and change nothing. */
void family_run(struct family *f, const struct command *c);

/* May the command stand inside another one? What ends or renews sessions, and what only the leader proposes, stands
 * alone. */
bool family_may_nest(uint8_t op);

/* Run the command nested in an argument, if it may run inside another one. Exactly one outcome either way; true when it
 * was run. Nesting is two deep at most (GUARD in ONCE): encoders keep to that, what comes over a link may not. */
bool family_run_nested(struct family *f, struct bytes nested);

/* Helpers for the families (family.c): the live row (not due), or NULL; a due row met by a write is removed first. */
const struct row *family_live(struct family *f, struct bytes key);
const struct row *family_live_for_write(struct family *f, struct bytes key);
/* The live row if it is of that kind, or NULL when there is none; false, with WRONGTYPE answered, for another kind. */
bool family_of_kind(struct family *f, struct bytes key, enum value_kind kind, const struct row **ret);
/* Is this row's time over? */
bool family_row_due(const struct family *f, const struct row *row);
/* Remove the row of this key if it is due; true when it was. */
bool family_drop_due(struct family *f, struct bytes key);

/* When a row ends. */
struct expiry {
    int64_t ms;      /* On the replicated clock; ROW_NO_EXPIRY: never. */
    int64_t wall_ms; /* 0 when it never ends: it counts in the state hash. */
};
#define EXPIRY_NEVER ((struct expiry){.ms = ROW_NO_EXPIRY, .wall_ms = 0})
/* left_ms from now; what lies too far ahead is the last millisecond there is, not never. */
struct expiry family_expiry(const struct family *f, int64_t left_ms, int64_t wall_ms);
struct expiry family_expiry_of(const struct row *row);
/* Whole ms until the row ends, never negative; -1 when it does not. */
int64_t family_left_ms(const struct family *f, const struct row *row);

/* Changes, each with a revision of its own. `old` is the live row of that key, or NULL when there is none; value may
 * point into it. The parts of a list or hash that is replaced or deleted go with it. */
void family_put(struct family *f, struct bytes key, const struct row *old, enum value_type type, struct bytes value,
                struct expiry expiry);
void family_set_expiry(struct family *f, struct bytes key, const struct row *old, struct expiry expiry);
void family_delete(struct family *f, struct bytes key, const struct row *old);
/* The row goes, its parts stay: they are another row's by now. */
void family_delete_moved(struct family *f, struct bytes key, const struct row *old);

/* The same in any space. */
void family_put_in(struct family *f, enum space space, struct bytes key, const struct row *old, enum value_type type,
                   struct bytes value, struct expiry expiry);
void family_set_expiry_in(struct family *f, enum space space, struct bytes key, const struct row *old,
                          struct expiry expiry);
void family_delete_in(struct family *f, enum space space, struct bytes key, const struct row *old);
/* A row that was named as due lives on: its entry in `due` has been taken out. */
void family_note_in(struct family *f, enum space space, struct bytes key, int64_t ms);

void family_tell(const struct family *f, const struct store_event *event);

struct bytes family_value(const struct row *row);
bool family_bytes_equal(struct bytes a, struct bytes b);
/* Memory for building a value; NULL (and out->failed) when there is none. The caller frees it. */
void *family_scratch(struct family *f, size_t bytes);
/* Not to be freed, and good until the next call for the same keep. NULL as above. */
void *family_kept(struct family *f, enum family_keep which, size_t bytes);
/* The same, with the first `used` bytes as they were. */
void *family_kept_more(struct family *f, enum family_keep which, size_t used, size_t bytes);
/* A copy that outlives the row it comes from, in kept memory. */
struct bytes family_kept_copy(struct family *f, enum family_keep which, struct bytes bytes);
void family_keeps_release(struct family_keeps *k);

/* Answers. */
void family_refuse(struct family *f, enum refusal code);
void family_refuse_too_long(struct family *f, size_t limit);
/* The row's value, or nil when row is NULL. */
void family_answer_value(struct family *f, const struct row *row);
/* As VGET answers, or nil when row is NULL. */
void family_answer_typed(struct family *f, const struct row *row);
