/* notify.c - what a change of a key is called, by the command that makes it; and messages, which change nothing. */
#include "store/families.h"
#include "store/feed.h"

static const char *end_name(int64_t where, const char *head, const char *tail)
{
    return where == 0 ? head : tail;
}

/* What lists call it: LMOVE pops from its first key and pushes to its second. */
static const char *list_name(const struct command *c, struct bytes key)
{
    switch (c->op) {
    case OP_PUSH:
        return end_name(c->nums[0], "lpush", "rpush");
    case OP_LSET:
        return "lset";
    case OP_LREM:
        return "lrem";
    case OP_LTRIM:
        return "ltrim";
    case OP_LINSERT:
        return "linsert";
    case OP_LMOVE:
    case OP_BMOVE:
        return family_bytes_equal(key, c->args[1]) ? end_name(c->nums[1], "lpush", "rpush")
                                                   : end_name(c->nums[0], "lpop", "rpop");
    case OP_POP:
    case OP_LMPOP:
    case OP_BPOP:
        return end_name(c->nums[0], "lpop", "rpop");
    case OP_WAIT_TAKE:
        return "lpop";
    default:
        return NULL;
    }
}

static const char *hash_name(const struct command *c)
{
    switch (c->op) {
    case OP_HSET:
        return "hset";
    case OP_HDEL:
        return "hdel";
    case OP_HINCRBY:
        return "hincrby";
    case OP_HINCRBYFLOAT:
        return "hincrbyfloat";
    default:
        return NULL;
    }
}

static const char *string_name(const struct command *c)
{
    switch (c->op) {
    case OP_APPEND:
    case OP_VAPPEND:
        return "append";
    case OP_SETRANGE:
        return "setrange";
    case OP_INCRBY:
    case OP_VINCR:
        return "incrby";
    case OP_INCRBYFLOAT:
        return "incrbyfloat";
    case OP_COPY:
        return "copy_to";
    case OP_RENAME:
        return "rename_to";
    default:
        return "set";
    }
}

static const char *part_name(const struct command *c, struct bytes key)
{
    const char *name = list_name(c, key);
    return name != NULL ? name : hash_name(c);
}

static void note(struct family *f, const char *event, struct bytes key)
{
    const struct feed_item item = {.kind = FEED_CHANGE, .revision = *f->revision, .event = event, .key = key};
    feed_put(f->feed, &item);
}

void notify_put(struct family *f, struct bytes key, bool ends)
{
    const struct command *c = f->command;
    if (f->feed == NULL || c == NULL)
        return;
    const char *name = part_name(c, key);
    if (c->op == OP_RENAME)
        note(f, "rename_from", c->args[0]);
    note(f, name != NULL ? name : string_name(c), key);
    if (ends && (c->flags & CMD_EXPIRE) != 0)
        note(f, "expire", key);
}

void notify_expiry(struct family *f, struct bytes key, bool ends)
{
    if (f->feed != NULL && f->command != NULL)
        note(f, ends ? "expire" : "persist", key);
}

/* A list or hash that has lost its last element goes, and that is told, too. RENAME has told it already. */
void notify_delete(struct family *f, struct bytes key, bool expired)
{
    const struct command *c = f->command;
    if (f->feed == NULL || c == NULL || (c->op == OP_RENAME && !expired))
        return;
    const char *name = expired ? NULL : part_name(c, key);
    if (name != NULL)
        note(f, name, key);
    note(f, expired ? "expired" : "del", key);
}

void notify_cleared(struct family *f)
{
    const struct feed_item item = {.kind = FEED_CLEARED, .revision = *f->revision};
    if (f->feed != NULL)
        feed_put(f->feed, &item);
}

/* How many hear it is no part of the state: where the answer could become one, inside ONCE or a script, it is 0. */
void notify_publish(struct family *f, const struct command *c)
{
    const struct feed_item item = {
        .kind = FEED_MESSAGE, .revision = *f->revision, .key = c->args[0], .message = c->args[1]};
    bool counts = f->feed != NULL && f->feed->receivers != NULL && f->depth == 0;
    if (f->feed != NULL)
        feed_put(f->feed, &item);
    outcome_int(f->out, counts ? f->feed->receivers(f->feed->ctx, c->args[0]) : 0);
}
