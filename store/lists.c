/* lists.c - commands about lists. Indexes and counts are clamped before the list is touched. A key whose list has
 * become empty is gone. */
#include "store/families.h"
#include "store/list.h"
#include "store/wait.h"

static enum list_where where_of(int64_t n)
{
    return n == LIST_HEAD ? LIST_HEAD : LIST_TAIL;
}

/* ---- Pushing ---- */

void lists_push(struct family *f, const struct command *c)
{
    struct list l;
    const struct row *row = family_live_for_write(f, c->args[0]);
    if (row == NULL && (c->flags & CMD_XX) != 0) {
        outcome_int(f->out, 0);
        return;
    }
    list_open(f, c->args[0], row, &l);
    for (uint32_t i = 1; i < c->n_args; i++)
        list_push(&l, where_of(c->nums[0]), c->args[i]);
    outcome_int(f->out, (int64_t)list_n(&l));
    list_close(&l);
    wait_note(f, c->args[0]);
}

/* The index of the first equal element; n when there is none. */
static uint64_t find(struct list *l, struct bytes element)
{
    uint64_t i = 0;
    while (i < list_n(l) && !family_bytes_equal(list_at(l, i), element))
        i++;
    return i;
}

void lists_insert(struct family *f, const struct command *c)
{
    struct list l;
    const struct row *row = family_live_for_write(f, c->args[0]);
    if (row == NULL) {
        outcome_int(f->out, 0);
        return;
    }
    list_open(f, c->args[0], row, &l);
    uint64_t at = find(&l, c->args[1]);
    bool found = at < list_n(&l);
    if (found)
        list_insert(&l, c->nums[0] == 0 ? at : at + 1, c->args[2]);
    outcome_int(f->out, found ? (int64_t)list_n(&l) : -1);
    list_close(&l);
}

/* ---- Popping ---- */

static void pop_many(struct family *f, struct list *l, enum list_where where, uint64_t max)
{
    size_t at = f->out->len;
    outcome_array(f->out, 0);
    outcome_array_recount(f->out, at, (uint32_t)list_pop(l, where, max, f->out));
}

void lists_pop(struct family *f, const struct command *c)
{
    struct list l;
    bool one = c->nums[1] < 0;
    const struct row *row = family_live_for_write(f, c->args[0]);
    if (row == NULL) {
        if (one)
            outcome_nil(f->out);
        else
            outcome_nil_array(f->out);
        return;
    }
    list_open(f, c->args[0], row, &l);
    if (one)
        list_pop(&l, where_of(c->nums[0]), 1, f->out);
    else
        pop_many(f, &l, where_of(c->nums[0]), (uint64_t)c->nums[1]);
    list_close(&l);
}

static bool pop_first(struct family *f, const struct command *c, uint32_t n_keys, int64_t count, bool *ret_refused)
{
    struct list l;
    *ret_refused = false;
    for (uint32_t i = 0; i < n_keys; i++) {
        const struct row *row;
        if (!family_of_kind(f, c->args[i], KIND_LIST, &row)) {
            *ret_refused = true;
            return false;
        }
        if (row == NULL)
            continue;
        list_open(f, c->args[i], row, &l);
        outcome_array(f->out, 2);
        outcome_bulk(f->out, c->args[i].base, c->args[i].len);
        if (count < 0)
            list_pop(&l, where_of(c->nums[0]), 1, f->out);
        else
            pop_many(f, &l, where_of(c->nums[0]), (uint64_t)count);
        list_close(&l);
        return true;
    }
    return false;
}

void lists_mpop(struct family *f, const struct command *c)
{
    bool refused;
    int64_t count = c->nums[1] < 1 ? 1 : c->nums[1];
    if (!pop_first(f, c, c->n_args, count, &refused) && !refused)
        outcome_nil_array(f->out);
}

static void move_live(struct family *f, const struct command *c, const struct row *from)
{
    struct list l;
    const struct row *to;
    if (!family_of_kind(f, c->args[1], KIND_LIST, &to))
        return;
    from = family_live(f, c->args[0]);
    list_open(f, c->args[0], from, &l);
    enum list_where end = where_of(c->nums[0]);
    struct bytes e = family_kept_copy(f, KEEP_ELEMENT, list_at(&l, end == LIST_HEAD ? 0 : list_n(&l) - 1));
    list_cut(&l, end, 1);
    if (!family_bytes_equal(c->args[0], c->args[1])) {
        list_close(&l);
        list_open(f, c->args[1], family_live_for_write(f, c->args[1]), &l);
    }
    list_push(&l, where_of(c->nums[1]), e);
    list_close(&l);
    wait_note(f, c->args[1]);
    outcome_bulk(f->out, e.base, e.len);
}

void lists_move(struct family *f, const struct command *c)
{
    const struct row *from = family_live_for_write(f, c->args[0]);
    if (from == NULL)
        outcome_nil(f->out);
    else
        move_live(f, c, from);
}

/* ---- Popping, or waiting until there is something ---- */

/* nums of OP_BPOP and OP_BMOVE. */
enum { BPOP_TIMEOUT = 1, BPOP_COUNT = 2, BMOVE_TIMEOUT = 2 };

void lists_bpop(struct family *f, const struct command *c)
{
    bool refused;
    if (pop_first(f, c, c->n_args, c->nums[BPOP_COUNT], &refused) || refused)
        return;
    if (f->at_once) {
        outcome_nil_array(f->out);
        return;
    }
    const struct wait want = {
        .where = where_of(c->nums[0]), .count = c->nums[BPOP_COUNT], .keys = c->args, .n_keys = c->n_args};
    wait_begin(f, &want, c->nums[BPOP_TIMEOUT]);
}

void lists_bmove(struct family *f, const struct command *c)
{
    const struct row *from = family_live_for_write(f, c->args[0]);
    const struct wait want = {.moves = true,
                              .where = where_of(c->nums[0]),
                              .to_where = where_of(c->nums[1]),
                              .keys = c->args,
                              .n_keys = 1,
                              .to = c->args[1]};
    if (from != NULL)
        move_live(f, c, from);
    else if (f->at_once)
        outcome_nil(f->out);
    else
        wait_begin(f, &want, c->nums[BMOVE_TIMEOUT]);
}

/* ---- Changing ---- */

/* Counted from the tail where negative; false when there is no such element. */
static bool index_of(uint64_t n, int64_t index, uint64_t *ret)
{
    uint64_t from_tail = (uint64_t)0 - (uint64_t)index;
    *ret = index >= 0 ? (uint64_t)index : n - from_tail;
    return index >= 0 ? *ret < n : from_tail <= n;
}

void lists_set(struct family *f, const struct command *c)
{
    struct list l;
    uint64_t index;
    const struct row *row = family_live_for_write(f, c->args[0]);
    if (row == NULL) {
        family_refuse(f, REFUSAL_NO_SUCH_KEY);
        return;
    }
    list_open(f, c->args[0], row, &l);
    if (index_of(list_n(&l), c->nums[0], &index)) {
        list_replace(&l, index, c->args[1]);
        outcome_ok(f->out);
    } else {
        family_refuse(f, REFUSAL_INDEX);
    }
    list_close(&l);
}

void lists_rem(struct family *f, const struct command *c)
{
    struct list l;
    int64_t count = c->nums[0];
    uint64_t max = count == 0 ? UINT64_MAX : count > 0 ? (uint64_t)count : (uint64_t)0 - (uint64_t)count;
    const struct row *row = family_live_for_write(f, c->args[0]);
    if (row == NULL) {
        outcome_int(f->out, 0);
        return;
    }
    list_open(f, c->args[0], row, &l);
    outcome_int(f->out, (int64_t)list_remove(&l, count < 0 ? LIST_TAIL : LIST_HEAD, max, c->args[1]));
    list_close(&l);
}

/* The elements from start to end, both counted from the tail where negative. How many; 0 when there are none. */
static uint64_t clamp(uint64_t n, int64_t start, int64_t end, uint64_t *ret_first)
{
    int64_t len = (int64_t)n;
    if (start < 0)
        start = start < -len ? 0 : len + start;
    if (end < 0)
        end = end < -len ? -1 : len + end;
    if (end >= len)
        end = len - 1;
    *ret_first = (uint64_t)start;
    return start > end ? 0 : (uint64_t)(end - start) + 1;
}

void lists_trim(struct family *f, const struct command *c)
{
    struct list l;
    uint64_t first;
    const struct row *row = family_live_for_write(f, c->args[0]);
    outcome_ok(f->out);
    if (row == NULL)
        return;
    uint64_t n = clamp(parts_head_read(row->value).n, c->nums[0], c->nums[1], &first);
    if (n == 0) {
        family_delete(f, c->args[0], row);
        return;
    }
    list_open(f, c->args[0], row, &l);
    list_cut(&l, LIST_TAIL, list_n(&l) - first - n);
    list_cut(&l, LIST_HEAD, first);
    list_close(&l);
}

/* ---- Reading ---- */

void lists_len(struct family *f, const struct command *c)
{
    const struct row *row = family_live(f, c->args[0]);
    outcome_int(f->out, row == NULL ? 0 : (int64_t)parts_head_read(row->value).n);
}

void lists_range(struct family *f, const struct command *c)
{
    struct list l;
    uint64_t first, n;
    const struct row *row = family_live(f, c->args[0]);
    list_open(f, c->args[0], row, &l);
    n = clamp(list_n(&l), c->nums[0], c->nums[1], &first);
    outcome_array(f->out, (uint32_t)n);
    for (uint64_t i = first; i < first + n && !f->out->full && !f->out->failed; i++) {
        struct bytes e = list_at(&l, i);
        outcome_bulk(f->out, e.base, e.len);
    }
}

void lists_index(struct family *f, const struct command *c)
{
    struct list l;
    uint64_t index;
    const struct row *row = family_live(f, c->args[0]);
    list_open(f, c->args[0], row, &l);
    if (index_of(list_n(&l), c->nums[0], &index)) {
        struct bytes e = list_at(&l, index);
        outcome_bulk(f->out, e.base, e.len);
    } else {
        outcome_nil(f->out);
    }
}

struct search {
    struct bytes element;
    bool from_tail;
    uint64_t skip, max, look; /* Matches to pass by, matches wanted, elements looked at. */
};

static struct search search_of(const struct command *c, uint64_t n)
{
    int64_t rank = c->nums[0], count = c->nums[1], look = c->nums[2];
    uint64_t nth = rank < 0 ? (uint64_t)0 - (uint64_t)rank : (uint64_t)rank;
    return (struct search){.element = c->args[1],
                           .from_tail = rank<0, .skip = nth> 0 ? nth - 1 : 0,
                           .max = count < 0    ? 1
                                  : count == 0 ? UINT64_MAX
                                               : (uint64_t)count,
                           .look = look > 0 && (uint64_t)look < n ? (uint64_t)look : n};
}

/* The places of what is found, as outcomes. How many. */
static uint32_t search(struct family *f, struct list *l, struct search s)
{
    uint32_t n = 0;
    for (uint64_t i = 0; i < s.look && n < s.max && !f->out->full && !f->out->failed; i++) {
        uint64_t index = s.from_tail ? list_n(l) - 1 - i : i;
        if (!family_bytes_equal(list_at(l, index), s.element))
            continue;
        if (s.skip > 0) {
            s.skip--;
            continue;
        }
        outcome_int(f->out, (int64_t)index);
        n++;
    }
    return n;
}

void lists_pos(struct family *f, const struct command *c)
{
    struct list l;
    bool one = c->nums[1] < 0;
    size_t at = f->out->len;
    const struct row *row = family_live(f, c->args[0]);
    list_open(f, c->args[0], row, &l);
    if (!one)
        outcome_array(f->out, 0);
    uint32_t n = search(f, &l, search_of(c, list_n(&l)));
    if (!one)
        outcome_array_recount(f->out, at, n);
    else if (n == 0)
        outcome_nil(f->out);
}
