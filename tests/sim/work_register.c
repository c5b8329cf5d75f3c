/* work_register.c - registers that several clients read, write, swap by version or by value, and delete. Each
 * register's history is short, and judged by linear.c when it is complete. Values are numbers of operations, so an
 * answer tells whose write was seen. Besides, the versions told agree with one another. */
#include "tests/sim/clients.h"
#include "tests/sim/linear.h"
#include "tests/sim/profile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGISTERS 2
#define UNKNOWN_MAX 8 /* Operations without an answer multiply the orders to be searched. */

enum { GET, VGET, SET, VSET, SWAP_VERSION, SWAP_VALUE, DELETE };

/* One register, under a name of its own, from its first operation to its verdict. */
struct history {
    char name[24];
    struct linear_op ops[LINEAR_OPS_MAX];
    size_t n, unanswered, unknown;
    uint64_t version[LINEAR_OPS_MAX + 1]; /* By number; 0: not told yet. */
    bool retired;
};
static struct history *registers[REGISTERS];
static unsigned generation;
static uint64_t judged, too_hard;

static struct history *begin_history(int i)
{
    struct history *h = must(calloc(1, sizeof *h));
    snprintf(h->name, sizeof h->name, "r%d.%u", i, generation++);
    return h;
}

static void begin(void)
{
    generation = 0;
    judged = too_hard = 0;
    for (int i = 0; i < REGISTERS; i++) {
        free(registers[i]);
        registers[i] = begin_history(i);
    }
}

static void print_history(const struct history *h)
{
    static const char *const words[] = {"read", "write", "swap", "clear"};
    for (size_t i = 0; i < h->n; i++) {
        const struct linear_op *o = &h->ops[i];
        printf("  %s %-5s asked %llu answered %lld", h->name, words[o->kind], (unsigned long long)o->asked,
               (long long)o->answered);
        if (o->kind == LINEAR_READ || o->kind == LINEAR_CLEAR)
            printf(" got %d\n", (int)o->got);
        else if (o->kind == LINEAR_SWAP)
            printf(" %u for %u: %s\n", o->number, o->expected, o->done ? "done" : "not done");
        else
            printf(" %u\n", o->number);
    }
}

static void judge(struct history *h)
{
    enum linear verdict = linear_check(h->ops, h->n);
    judged++;
    too_hard += verdict == LINEAR_TOO_HARD;
    if (verdict != LINEAR_NO)
        return;
    print_history(h);
    fail("the history of register %s is not linearizable", h->name);
}

/* Take an operation out that certainly was not done: it explains nothing and needs no explanation. */
static void withdraw(struct history *h, struct op *op)
{
    struct linear_op *o = &h->ops[op->value];
    *o = (struct linear_op){.kind = LINEAR_READ, .asked = o->asked, .answered = UINT64_MAX};
}

static void settle(struct history *h)
{
    h->unanswered--;
    if (!h->retired || h->unanswered > 0)
        return;
    judge(h);
    free(h);
}

static void retire(int i)
{
    struct history *h = registers[i];
    h->retired = true;
    registers[i] = begin_history(i);
    if (h->unanswered > 0)
        return;
    judge(h);
    free(h);
}

/* A number whose version is known, mostly the last one. */
static uint32_t known_version(const struct history *h)
{
    for (size_t i = h->n; i > 0; i--)
        if (h->version[i] != 0 && percent(CHANCE_CLIENTS, 70))
            return (uint32_t)i;
    return 0;
}

static int choose_kind(void)
{
    static const struct {
        unsigned percent;
        int kind;
    } mix[] = {{20, GET}, {20, VGET}, {15, SET}, {15, VSET}, {15, SWAP_VERSION}, {10, SWAP_VALUE}, {5, DELETE}};
    unsigned at = (unsigned)below(CHANCE_CLIENTS, 100);
    size_t i = 0;
    while (at >= mix[i].percent)
        at -= mix[i++].percent;
    return mix[i].kind;
}

static void choose(struct op *op)
{
    static const enum linear_kind kinds[] = {
        [GET] = LINEAR_READ,          [VGET] = LINEAR_READ,       [SET] = LINEAR_WRITE,   [VSET] = LINEAR_WRITE,
        [SWAP_VERSION] = LINEAR_SWAP, [SWAP_VALUE] = LINEAR_SWAP, [DELETE] = LINEAR_CLEAR};
    int i = (int)below(CHANCE_CLIENTS, REGISTERS);
    if (registers[i]->n == LINEAR_OPS_MAX || registers[i]->unknown >= UNKNOWN_MAX)
        retire(i);
    struct history *h = registers[i];
    op->more = h;
    op->kind = choose_kind();
    op->is_write = op->kind >= SET;
    op->value = h->n;
    struct linear_op *o = &h->ops[h->n++];
    *o = (struct linear_op){.kind = kinds[op->kind], .asked = op->ask_order, .answered = UINT64_MAX};
    o->number = (uint32_t)h->n;
    o->got = LINEAR_ANY;
    if (o->kind == LINEAR_SWAP)
        o->expected = op->kind == SWAP_VERSION ? known_version(h) : 1 + (uint32_t)below(CHANCE_CLIENTS, h->n);
    h->unanswered++;
}

static long encode_vset(const struct history *h, const struct linear_op *o, int kind, struct command_buf *buf)
{
    char old[16];
    int64_t nums[4] = {VALUE_RAW, 0, 0, (int64_t)h->version[o->expected]};
    snprintf(old, sizeof old, "%u", o->expected);
    char text[16];
    snprintf(text, sizeof text, "%u", o->number);
    struct bytes args[3] = {text_of(h->name), text_of(text), text_of(old)};
    uint16_t flags = kind == SWAP_VERSION ? CMD_IFVER : kind == SWAP_VALUE ? CMD_IFEQ : 0;
    return command_add(buf, OP_VSET, flags, nums, 4, args, kind == SWAP_VALUE ? 3 : 2);
}

static long encode(const struct op *op, struct command_buf *buf)
{
    const struct history *h = op->more;
    const struct linear_op *o = &h->ops[op->value];
    char text[16];
    snprintf(text, sizeof text, "%u", o->number);
    struct bytes args[2] = {text_of(h->name), text_of(text)};
    switch (op->kind) {
    case GET:
        return command_add(buf, OP_GET, 0, NULL, 0, args, 1);
    case VGET:
        return command_add(buf, OP_VGET, 0, NULL, 0, args, 1);
    case SET:
        return command_add(buf, OP_SET, 0, NULL, 0, args, 2);
    case DELETE:
        return command_add(buf, OP_GETDEL, 0, NULL, 0, args, 1);
    default:
        return encode_vset(h, o, op->kind, buf);
    }
}

static void told_version(struct history *h, uint64_t number, uint64_t version)
{
    if (number > h->n || number == 0)
        fail("register %s holds %llu, which nobody wrote", h->name, (unsigned long long)number);
    if (h->version[number] != 0 && h->version[number] != version)
        fail("register %s: the write of %llu has two versions, %llu and %llu", h->name, (unsigned long long)number,
             (unsigned long long)h->version[number], (unsigned long long)version);
    for (size_t i = 1; i <= h->n; i++)
        if (i != number && h->version[i] == version)
            fail("register %s: two writes have the version %llu", h->name, (unsigned long long)version);
    h->version[number] = version;
}

/* VGET's answer: value, type, version, time left. */
static uint64_t take_vget(struct op *op, struct history *h, const uint8_t *outcome, size_t len)
{
    struct outcome o;
    size_t at = outcome_next(outcome, len, &o);
    if (o.tag == OUTCOME_NIL)
        return 0;
    if (o.tag != OUTCOME_ARRAY || o.n != 4)
        fail("a VGET was answered with '%c'", (int)o.tag);
    uint64_t number = number_in(op, outcome + at, len - at);
    at += outcome_next(outcome + at, len - at, &o);
    at += outcome_next(outcome + at, len - at, &o);
    outcome_next(outcome + at, len - at, &o);
    told_version(h, number, (uint64_t)o.n);
    return number;
}

static void answered(struct op *op, const uint8_t *outcome, size_t len)
{
    struct history *h = op->more;
    struct linear_op *l = &h->ops[op->value];
    struct outcome o;
    outcome_next(outcome, len, &o);
    l->answered = clients_order();
    switch (op->kind) {
    case GET:
    case DELETE:
        l->got = (uint32_t)number_in(op, outcome, len);
        break;
    case VGET:
        l->got = (uint32_t)take_vget(op, h, outcome, len);
        break;
    case SET:
        if (o.tag != OUTCOME_OK)
            fail("a SET was answered with '%c'", (int)o.tag);
        break;
    default:
        l->done = o.tag == OUTCOME_INT;
        if (!l->done && (o.tag != OUTCOME_NIL || op->kind == VSET))
            fail("a VSET was answered with '%c'", (int)o.tag);
        if (l->done)
            told_version(h, l->number, (uint64_t)o.n);
    }
    settle(h);
}

static void ended(struct op *op, enum op_end how)
{
    struct history *h = op->more;
    if (how == OP_REFUSED || !op->is_write)
        withdraw(h, op);
    else
        h->unknown++;
    settle(h);
}

static void finish(void)
{
    for (int i = 0; i < REGISTERS; i++)
        judge(registers[i]);
}

static void describe(char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu histories linearizable, %llu too hard to judge",
             (unsigned long long)(judged - too_hard), (unsigned long long)too_hard);
}

const struct workload work_register = {"register", 1, begin, choose, encode, answered, ended, finish, describe};
