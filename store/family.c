/* family.c - from opcode to function, and what all families do alike.
 * The rules that hold for every command live here: a due row is no row; each change of a row takes the next revision; a
 * change of expiry is told to `due`. When memory runs out in the middle of a command, out->failed is set, and the store
 * stops the node before anything of it is answered. */
#include "store/families.h"
#include "store/due.h"
#include "store/number.h"
#include "store/parts.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_ANY UINT32_MAX
#define FAMILY_DEPTH_MAX 2

/* What a command must bring; `run` is NULL for opcodes there are none of. */
struct family_rule {
    void (*run)(struct family *f, const struct command *c);
    uint32_t args_min, args_max;
    uint8_t nums_min;
    uint8_t of; /* What args[0] must hold, if anything; ANY: the function looks itself. */
};
enum { ANY = 0, OF_STRING, OF_LIST, OF_HASH, OF_LIMIT, OF_BREAKER };
static const enum value_kind rule_kinds[] = {[OF_STRING] = KIND_STRING,
                                             [OF_LIST] = KIND_LIST,
                                             [OF_HASH] = KIND_HASH,
                                             [OF_LIMIT] = KIND_LIMIT,
                                             [OF_BREAKER] = KIND_BREAKER};

static void family_nop(struct family *f, const struct command *c)
{
    (void)c;
    outcome_nil(f->out);
}

static const struct family_rule rules[256] = {
    [OP_NOP] = {family_nop, 0, ARGS_ANY, 0}, /* A cancelled command keeps its args. */
    [OP_SET] = {strings_set, 2, 3, 0},
    [OP_MSET] = {strings_mset, 2, ARGS_ANY, 0},
    [OP_APPEND] = {strings_append, 2, 2, 0, OF_STRING},
    [OP_SETRANGE] = {strings_setrange, 2, 2, 1, OF_STRING},
    [OP_GETDEL] = {strings_getdel, 1, 1, 0, OF_STRING},
    [OP_GETEX] = {strings_getex, 1, 1, 0, OF_STRING},
    [OP_INCRBY] = {counters_incrby, 1, 1, 1, OF_STRING},
    [OP_INCRBYFLOAT] = {counters_incrbyfloat, 2, 2, 0, OF_STRING},
    [OP_DEL] = {keys_del, 1, ARGS_ANY, 0},
    [OP_EXPIRE] = {expiry_expire, 1, 1, 2},
    [OP_PERSIST] = {expiry_persist, 1, 1, 0},
    [OP_RENAME] = {keys_rename, 2, 2, 0},
    [OP_COPY] = {keys_copy, 2, 2, 0},
    [OP_FLUSHALL] = {keys_flushall, 0, 0, 0},
    [OP_VSET] = {typed_vset, 2, 3, 4},
    [OP_CAS] = {typed_cas, 3, 3, 2, OF_STRING},
    [OP_DELIF] = {strings_delif, 2, 2, 0, OF_STRING},
    [OP_EXPIRED] = {expiry_expired, 0, ARGS_ANY, 0},
    [OP_TICK] = {expiry_tick, 0, 0, 0},
    [OP_VINCR] = {counters_vincr, 2, 2, 1, OF_STRING},
    [OP_VAPPEND] = {typed_vappend, 3, 3, 0, OF_STRING},
    [OP_SESSION_OPEN] = {session_open, 1, 1, 1},
    [OP_SESSION_KEEPALIVE] = {session_keepalive, 0, 0, 1},
    [OP_SESSION_CLOSE] = {session_close, 0, 0, 1},
    [OP_SESSION_EXPIRED] = {session_expired, 2, ARGS_ANY, 0},
    [OP_ONCE] = {session_once, 1, 1, 3},
    [OP_LOCK_ACQUIRE] = {lock_acquire, 1, 1, 6},
    [OP_LOCK_RELEASE] = {lock_release, 1, 1, 2},
    [OP_LOCK_BREAK] = {lock_break, 3, 3, 0},
    [OP_LOCK_LEAVE] = {lock_leave, 1, 1, 2},
    [OP_GUARD] = {lock_guard, 2, 2, 1},
    [OP_LOCK_DUE] = {lock_due, 1, ARGS_ANY, 0},
    [OP_LOCK_INFO] = {lock_info, 1, 1, 0},
    [OP_LOCK_LIST] = {lock_list, 1, 1, 0},
    [OP_SESSION_INFO] = {session_info, 0, 0, 1},
    [OP_SESSION_LIST] = {session_list, 0, 0, 0},
    [OP_GET] = {strings_get, 1, 1, 0, OF_STRING},
    [OP_MGET] = {strings_mget, 1, ARGS_ANY, 0},
    [OP_STRLEN] = {strings_strlen, 1, 1, 0, OF_STRING},
    [OP_GETRANGE] = {strings_getrange, 1, 1, 2, OF_STRING},
    [OP_EXISTS] = {keys_exists, 1, ARGS_ANY, 0},
    [OP_TYPE] = {keys_type, 1, 1, 0},
    [OP_TTL] = {keys_ttl, 1, 1, 1},
    [OP_KEYS] = {keys_keys, 1, 1, 0},
    [OP_SCAN] = {keys_scan, 1, 1, 3},
    [OP_RANDOMKEY] = {keys_randomkey, 0, 0, 0},
    [OP_DBSIZE] = {keys_dbsize, 0, 0, 0},
    [OP_OBJECT] = {keys_object, 1, 1, 1},
    [OP_MEMORY_USAGE] = {keys_memory_usage, 1, 1, 0},
    [OP_VGET] = {typed_vget, 1, 1, 0, OF_STRING},
    [OP_SORT] = {keys_sort, 1, 1, 0},
    [OP_VMGET] = {typed_vmget, 1, ARGS_ANY, 0},
    [OP_LCS] = {strings_lcs, 2, 2, 1},
    [OP_LIMIT] = {limit_take, 1, 1, 5, OF_LIMIT},
    [OP_BREAKER] = {breaker_run, 1, 1, 5, OF_BREAKER},
    [OP_EXEC] = {exec_run, 0, ARGS_ANY, 1},
    [OP_EXEC_READ] = {exec_run, 0, ARGS_ANY, 1},
    [OP_VERSIONS] = {exec_versions, 1, ARGS_ANY, 0},
    [OP_EVAL] = {script_eval, 2, ARGS_ANY, 2},
    [OP_EVAL_RO] = {script_eval, 2, ARGS_ANY, 2},
    [OP_SCRIPT_LOAD] = {script_load_command, 1, 1, 0},
    [OP_SCRIPT_FLUSH] = {script_flush, 0, 0, 0},
    [OP_PUBLISH] = {notify_publish, 2, 2, 0},
    [OP_AWAIT] = {await_look, 1, 2, 3},
    [OP_SCRIPT_EXISTS] = {script_exists, 1, ARGS_ANY, 0},
    [OP_PUSH] = {lists_push, 2, ARGS_ANY, 1, OF_LIST},
    [OP_POP] = {lists_pop, 1, 1, 2, OF_LIST},
    [OP_LSET] = {lists_set, 2, 2, 1, OF_LIST},
    [OP_LREM] = {lists_rem, 2, 2, 1, OF_LIST},
    [OP_LTRIM] = {lists_trim, 1, 1, 2, OF_LIST},
    [OP_LINSERT] = {lists_insert, 3, 3, 1, OF_LIST},
    [OP_LMOVE] = {lists_move, 2, 2, 2, OF_LIST},
    [OP_LMPOP] = {lists_mpop, 1, ARGS_ANY, 2},
    [OP_LLEN] = {lists_len, 1, 1, 0, OF_LIST},
    [OP_LRANGE] = {lists_range, 1, 1, 2, OF_LIST},
    [OP_LINDEX] = {lists_index, 1, 1, 1, OF_LIST},
    [OP_LPOS] = {lists_pos, 2, 2, 3, OF_LIST},
    [OP_BPOP] = {lists_bpop, 1, ARGS_ANY, 3},
    [OP_BMOVE] = {lists_bmove, 2, 2, 3, OF_LIST},
    [OP_WAIT_TAKE] = {wait_take, 0, 1, 1},
    [OP_WAIT_LEAVE] = {wait_leave, 0, 1, 1},
    [OP_WAIT_DUE] = {wait_due, 1, ARGS_ANY, 0},
    [OP_HSET] = {hashes_set, 3, ARGS_ANY, 1, OF_HASH},
    [OP_HDEL] = {hashes_del, 2, ARGS_ANY, 0, OF_HASH},
    [OP_HINCRBY] = {hashes_incrby, 2, 2, 1, OF_HASH},
    [OP_HINCRBYFLOAT] = {hashes_incrbyfloat, 3, 3, 0, OF_HASH},
    [OP_HGET] = {hashes_get, 2, 2, 0, OF_HASH},
    [OP_HMGET] = {hashes_mget, 2, ARGS_ANY, 0, OF_HASH},
    [OP_HGETALL] = {hashes_getall, 1, 1, 1, OF_HASH},
    [OP_HEXISTS] = {hashes_exists, 2, 2, 0, OF_HASH},
    [OP_HLEN] = {hashes_len, 1, 1, 0, OF_HASH},
    [OP_HSTRLEN] = {hashes_strlen, 2, 2, 0, OF_HASH},
    [OP_HSCAN] = {hashes_scan, 2, 2, 2, OF_HASH},
    [OP_HRANDFIELD] = {hashes_randfield, 1, 1, 3, OF_HASH},
    [OP_TRASH_DUE] = {parts_trash_due, 1, ARGS_ANY, 0},
};

/* CMD_EXPIRE promises left and wall where the opcode keeps them; without it they may be missing. */
static bool family_expiry_given(const struct command *c)
{
    if ((c->flags & CMD_EXPIRE) == 0)
        return true;
    switch (c->op) {
    case OP_SET:
    case OP_GETEX:
        return c->n_nums >= 2;
    case OP_CAS:
        return c->n_nums >= 4;
    default:
        return true;
    }
}

/* The limit is the detail. */
static void family_refuse_past(struct family *f, enum refusal code, size_t limit)
{
    char detail[NUMBER_INT_BYTES_MAX];
    outcome_refusal(f->out, code, detail, number_write_int(detail, (int64_t)limit));
}

static void family_run_bounded(struct family *f, const struct command *c,
                               void (*run)(struct family *f, const struct command *c))
{
    size_t at = f->out->len;
    f->out->bound = at + FAMILY_REPLY_BYTES_MAX;
    run(f, c);
    f->out->bound = 0;
    if (!f->out->full)
        return;
    f->out->full = false;
    f->out->len = at;
    family_refuse_past(f, REFUSAL_REPLY_TOO_LARGE, FAMILY_REPLY_BYTES_MAX);
}

bool family_may_nest(uint8_t op)
{
    switch (op) {
    case OP_NOP:
    case OP_EXPIRED:
    case OP_TICK:
    case OP_SESSION_OPEN:
    case OP_SESSION_KEEPALIVE:
    case OP_SESSION_CLOSE:
    case OP_SESSION_EXPIRED:
    case OP_ONCE:
    case OP_LOCK_LEAVE:
    case OP_LOCK_DUE:
    case OP_TRASH_DUE:
    case OP_WAIT_TAKE:
    case OP_WAIT_LEAVE:
    case OP_WAIT_DUE:
        return false;
    default:
        return true;
    }
}

static bool family_kind_fits(struct family *f, const struct family_rule *rule, const struct command *c)
{
    const struct row *row;
    return rule->of == ANY || family_of_kind(f, c->args[0], rule_kinds[rule->of], &row);
}

static void family_run_checked(struct family *f, const struct command *c)
{
    const struct family_rule *rule = &rules[c->op];
    if (rule->run == NULL || c->n_args < rule->args_min || c->n_args > rule->args_max || c->n_nums < rule->nums_min ||
        !family_expiry_given(c))
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
    else if (!family_kind_fits(f, rule, c))
        return;
    else if (!command_answers_values(c->op, c->flags))
        rule->run(f, c);
    else if (f->out->len > FAMILY_BATCH_BYTES_MAX)
        family_refuse(f, REFUSAL_BATCH_TOO_LARGE);
    else if (command_is_write(c->op)) /* One value at most. */
        rule->run(f, c);
    else
        family_run_bounded(f, c, rule->run);
}

void family_run(struct family *f, const struct command *c)
{
    const struct command *outer = f->command;
    f->command = c;
    family_run_checked(f, c);
    f->command = outer;
}

bool family_run_nested(struct family *f, struct bytes nested)
{
    size_t used = 0;
    struct command c = {0};
    int rc = command_decode(nested.base, nested.len, &c, &used);
    bool sound = rc == 0 && used == nested.len && family_may_nest(c.op) && f->depth < FAMILY_DEPTH_MAX;
    f->out->failed = f->out->failed || rc == COMMAND_ENOMEM;
    if (sound) {
        f->depth++;
        family_run(f, &c);
        f->depth--;
    } else {
        family_refuse(f, REFUSAL_UNKNOWN_COMMAND);
    }
    command_release(&c);
    return sound;
}

bool family_row_due(const struct family *f, const struct row *row)
{
    return row->expire_ms != ROW_NO_EXPIRY && (row->expire_ms < 0 || (uint64_t)row->expire_ms <= f->clock_ms);
}

const struct row *family_live(struct family *f, struct bytes key)
{
    const struct row *row = rows_get(f->rows, key.base, key.len);
    return row == NULL || family_row_due(f, row) ? NULL : row;
}

bool family_of_kind(struct family *f, struct bytes key, enum value_kind kind, const struct row **ret)
{
    *ret = family_live(f, key);
    if (*ret == NULL || value_kind((*ret)->type) == kind)
        return true;
    family_refuse(f, REFUSAL_WRONGTYPE);
    return false;
}

/* What `due` knows of a row that ends or loses its expiry. */
static void family_forget(struct family *f, enum space space, struct bytes key, const struct row *old)
{
    if (old != NULL && old->expire_ms != ROW_NO_EXPIRY)
        due_forget(f->due, space, key.base, key.len);
}

static void family_take_row(struct family *f, enum space space, struct bytes key, const struct row *old)
{
    family_forget(f, space, key, old);
    ++*f->revision;
    rows_delete_in(f->rows, space, key.base, key.len);
}

static void family_remove_due(struct family *f, struct bytes key, const struct row *row)
{
    struct parts gone = parts_of(row);
    family_take_row(f, SPACE_KEYS, key, row);
    notify_delete(f, key, true);
    parts_discard(f, &gone);
    ++*f->expired_total;
}

const struct row *family_live_for_write(struct family *f, struct bytes key)
{
    const struct row *row = rows_get(f->rows, key.base, key.len);
    if (row == NULL || !family_row_due(f, row))
        return row;
    family_remove_due(f, key, row);
    return NULL;
}

void family_note_in(struct family *f, enum space space, struct bytes key, int64_t ms)
{
    if (ms != ROW_NO_EXPIRY && due_note(f->due, space, key.base, key.len, ms) != 0)
        f->out->failed = true;
}

bool family_drop_due(struct family *f, struct bytes key)
{
    const struct row *row = rows_get(f->rows, key.base, key.len);
    if (row == NULL)
        return false;
    if (family_row_due(f, row)) {
        family_remove_due(f, key, row);
        return true;
    }
    family_note_in(f, SPACE_KEYS, key, row->expire_ms); /* Put off since it was named. */
    return false;
}

struct expiry family_expiry(const struct family *f, int64_t left_ms, int64_t wall_ms)
{
    const int64_t last = ROW_NO_EXPIRY - 1;
    int64_t clock_ms = f->clock_ms > (uint64_t)last ? last : (int64_t)f->clock_ms;
    int64_t ms;
    if (__builtin_add_overflow(clock_ms, left_ms, &ms) || ms > last)
        ms = last; /* Only a positive left_ms can overflow: the clock is not negative. */
    return (struct expiry){.ms = ms, .wall_ms = wall_ms};
}

struct expiry family_expiry_of(const struct row *row)
{
    return (struct expiry){.ms = row->expire_ms, .wall_ms = row->wall_ms};
}

int64_t family_left_ms(const struct family *f, const struct row *row)
{
    if (row->expire_ms == ROW_NO_EXPIRY)
        return -1;
    if (row->expire_ms < 0 || (uint64_t)row->expire_ms <= f->now_ms)
        return 0;
    return row->expire_ms - (int64_t)f->now_ms;
}

static void family_change_due(struct family *f, enum space space, struct bytes key, const struct row *old, int64_t ms)
{
    if (ms == ROW_NO_EXPIRY)
        family_forget(f, space, key, old);
    else if (old == NULL || old->expire_ms != ms)
        family_note_in(f, space, key, ms);
}

void family_put_in(struct family *f, enum space space, struct bytes key, const struct row *old, enum value_type type,
                   struct bytes value, struct expiry expiry)
{
    assert(expiry.ms != ROW_NO_EXPIRY || expiry.wall_ms == 0);
    family_change_due(f, space, key, old, expiry.ms);
    ++*f->revision;
    rows_put_in(f->rows, space, key.base, key.len, (uint8_t)type, value.base, value.len, *f->revision, expiry.ms,
                expiry.wall_ms);
    if (space == SPACE_KEYS)
        notify_put(f, key, expiry.ms != ROW_NO_EXPIRY);
}

void family_set_expiry_in(struct family *f, enum space space, struct bytes key, const struct row *old,
                          struct expiry expiry)
{
    assert(expiry.ms != ROW_NO_EXPIRY || expiry.wall_ms == 0);
    family_change_due(f, space, key, old, expiry.ms);
    ++*f->revision;
    rows_set_expiry_in(f->rows, space, key.base, key.len, *f->revision, expiry.ms, expiry.wall_ms);
    if (space == SPACE_KEYS)
        notify_expiry(f, key, expiry.ms != ROW_NO_EXPIRY);
}

void family_delete_in(struct family *f, enum space space, struct bytes key, const struct row *old)
{
    family_take_row(f, space, key, old);
    if (space == SPACE_KEYS)
        notify_delete(f, key, false);
}

void family_put(struct family *f, struct bytes key, const struct row *old, enum value_type type, struct bytes value,
                struct expiry expiry)
{
    struct parts gone = parts_of(old);
    bool kept = value_has_parts(type) && parts_id(value) == gone.id;
    family_put_in(f, SPACE_KEYS, key, old, type, value, expiry);
    if (!kept)
        parts_discard(f, &gone);
}

void family_set_expiry(struct family *f, struct bytes key, const struct row *old, struct expiry expiry)
{
    family_set_expiry_in(f, SPACE_KEYS, key, old, expiry);
}

void family_delete(struct family *f, struct bytes key, const struct row *old)
{
    struct parts gone = parts_of(old);
    family_delete_in(f, SPACE_KEYS, key, old);
    parts_discard(f, &gone);
}

void family_delete_moved(struct family *f, struct bytes key, const struct row *old)
{
    family_delete_in(f, SPACE_KEYS, key, old);
}

void family_tell(const struct family *f, const struct store_event *event)
{
    if (f->changed != NULL)
        f->changed(f->changed_ctx, event);
}

struct bytes family_value(const struct row *row)
{
    return (struct bytes){.base = row->value, .len = row->value_len};
}

bool family_bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

void *family_scratch(struct family *f, size_t bytes)
{
    void *scratch = malloc(bytes > 0 ? bytes : 1);
    if (scratch == NULL)
        f->out->failed = true;
    return scratch;
}

void *family_kept(struct family *f, enum family_keep which, size_t bytes)
{
    struct family_keeps *k = f->keeps;
    if (bytes <= k->cap[which] && k->base[which] != NULL)
        return k->base[which];
    size_t cap = bytes + bytes / 2 + 1; /* Never NULL for nothing: that means out of memory. */
    free(k->base[which]);
    k->base[which] = malloc(cap);
    k->cap[which] = k->base[which] == NULL ? 0 : cap;
    f->out->failed = f->out->failed || k->base[which] == NULL;
    return k->base[which];
}

void *family_kept_more(struct family *f, enum family_keep which, size_t used, size_t bytes)
{
    struct family_keeps *k = f->keeps;
    if (bytes <= k->cap[which] && k->base[which] != NULL)
        return k->base[which];
    size_t cap = bytes + bytes / 2 + 1; /* Never NULL for nothing: that means out of memory. */
    void *base = malloc(cap);
    f->out->failed = f->out->failed || base == NULL;
    if (base == NULL)
        return NULL;
    if (used > 0)
        memcpy(base, k->base[which], used);
    free(k->base[which]);
    k->base[which] = base;
    k->cap[which] = cap;
    return base;
}

struct bytes family_kept_copy(struct family *f, enum family_keep which, struct bytes bytes)
{
    uint8_t *copy = family_kept(f, which, bytes.len);
    if (copy == NULL)
        return (struct bytes){.len = 0};
    if (bytes.len > 0)
        memcpy(copy, bytes.base, bytes.len);
    return (struct bytes){.base = copy, .len = bytes.len};
}

void family_keeps_release(struct family_keeps *k)
{
    for (size_t i = 0; i < KEEP_N; i++)
        free(k->base[i]);
    *k = (struct family_keeps){0};
}

void family_refuse(struct family *f, enum refusal code)
{
    outcome_refusal(f->out, code, NULL, 0);
}

void family_refuse_too_long(struct family *f, size_t limit)
{
    family_refuse_past(f, REFUSAL_VALUE_TOO_LONG, limit);
}

void family_answer_value(struct family *f, const struct row *row)
{
    if (row == NULL)
        outcome_nil(f->out);
    else
        outcome_bulk(f->out, row->value, row->value_len);
}

void family_answer_typed(struct family *f, const struct row *row)
{
    if (row == NULL) {
        outcome_nil(f->out);
        return;
    }
    const char *type = value_type_name(row->type);
    outcome_array(f->out, 4);
    outcome_bulk(f->out, row->value, row->value_len);
    outcome_simple(f->out, type != NULL ? type : "raw");
    outcome_int(f->out, (int64_t)row->version);
    outcome_int(f->out, family_left_ms(f, row));
}
