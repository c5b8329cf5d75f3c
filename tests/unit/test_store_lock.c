/* test_store_lock.c - locks exclude, in the order of arrival, whatever ends: a hold, a lease, a wait, a session. */
#include "tests/support/store_coord.h"
#include "store/lock.h"
#include "store/session.h"
#include <sqlite3.h>

#define STALE "!14 "

struct ask {
    const char *name;
    uint64_t session;
    uint16_t flags;
    int64_t lease, wait, longest, permits, of;
};

static struct coord_command acquire_command(const struct ask *a)
{
    return (struct coord_command){.op = OP_LOCK_ACQUIRE,
                                  .flags = a->flags,
                                  .n_nums = 6,
                                  .nums = {(int64_t)a->session, a->lease, a->wait, a->longest, a->permits, a->of},
                                  .args = {text(a->name)},
                                  .n_args = 1};
}

static const char *acquire(struct coord *f, const struct ask *a)
{
    const struct coord_command c = acquire_command(a);
    return coord_run(f, &c);
}

#define ACQUIRE(f, ...) acquire(f, &(const struct ask){__VA_ARGS__})

/* The token of "5" or "later 5"; 0 for nil and refusals. */
static uint64_t token_of(const char *answer)
{
    if (strncmp(answer, "later ", 6) == 0 || strncmp(answer, "kept ", 5) == 0)
        answer = strchr(answer, ' ') + 1;
    return strtoull(answer, NULL, 10);
}

static const char *release(struct coord *f, const char *name, uint64_t session, uint64_t token)
{
    const struct coord_command c = {OP_LOCK_RELEASE, .n_nums = 2, .nums = {(int64_t)session, (int64_t)token},
                                    .args = {text(name)}, .n_args = 1};
    return coord_run(f, &c);
}

static const char *leave(struct coord *f, const char *name, uint64_t session, uint64_t token)
{
    const struct coord_command c = {OP_LOCK_LEAVE, .n_nums = 2, .nums = {(int64_t)session, (int64_t)token},
                                    .args = {text(name)}, .n_args = 1};
    return coord_run(f, &c);
}

static const char *guard(struct coord *f, const char *name, uint64_t token, const struct coord_command *nested)
{
    struct command_buf b = {0};
    coord_encode(&b, nested);
    const struct coord_command c = {OP_GUARD, .n_nums = 1, .nums = {(int64_t)token},
                                    .args = {{b.base, b.len}, text(name)}, .n_args = 2};
    coord_run(f, &c);
    command_buf_release(&b);
    return f->text;
}

/* The events since the last call are these. */
static void assert_events(struct coord *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void assert_events(struct coord *f, const char *format, ...)
{
    char want[256];
    va_list args;
    va_start(args, format);
    vsnprintf(want, sizeof want, format, args);
    va_end(args);
    assert_string_equal(f->events, want);
    f->events[0] = '\0';
}

static void assert_no_events(struct coord *f)
{
    assert_string_equal(f->events, "");
}

#define GRANTED "granted %" PRIu64 ";"

static void one_holds_and_tokens_grow(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 60000), b = coord_open(f, "b", 60000);
    uint64_t first = token_of(ACQUIRE(f, "l", a));
    assert_true(first > b);
    assert_string_equal(ACQUIRE(f, "l", b), "nil");
    assert_string_equal(ACQUIRE(f, "l", a), "nil"); /* Not reentrant unless asked. */
    assert_string_equal(release(f, "l", b, 0), "0");
    assert_string_equal(release(f, "l", a, first + 1), "0");
    assert_string_equal(release(f, "l", a, first), "1");
    assert_string_equal(release(f, "l", a, 0), "0");
    uint64_t second = token_of(ACQUIRE(f, "l", b));
    assert_true(second > first);
    assert_string_equal(release(f, "l", b, 0), "1");
    assert_int_equal(store_locks(f->store), 0);
    assert_string_equal(ACQUIRE(f, "l", b + 1000), "!10");
    assert_no_events(f);
}

static void waiters_are_granted_in_order(void **state)
{
    struct coord *f = *state;
    uint64_t s[4], t[4];
    for (int i = 0; i < 4; i++) {
        s[i] = coord_open(f, "s", 60000);
        const char *answer = ACQUIRE(f, "l", s[i], .wait = 10000);
        assert_int_equal(strncmp(answer, "later ", 6) == 0, i > 0);
        t[i] = token_of(answer);
        assert_true(i == 0 || t[i] > t[i - 1]);
    }
    assert_string_equal(ACQUIRE(f, "l", s[0]), "nil"); /* Nobody overtakes. */
    coord_reopen(f);
    assert_string_equal(release(f, "l", s[0], 0), "1");
    assert_events(f, GRANTED, t[1]);
    assert_string_equal(leave(f, "l", s[2], t[2]), "1");
    assert_events(f, "withdrawn %" PRIu64 ";", t[2]);
    assert_string_equal(leave(f, "l", s[2], t[2]), "0");
    assert_string_equal(leave(f, "l", s[1], t[1]), "1"); /* Granted, but nobody there to hear it. */
    assert_events(f, GRANTED, t[3]);
    assert_string_equal(release(f, "l", s[3], 0), "1");
    assert_int_equal(store_locks(f->store), 0);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 60000), b = coord_open(f, "b", 60000), c = coord_open(f, "c", 60000);
    ACQUIRE(f, "l", a);
    uint64_t tb = token_of(ACQUIRE(f, "l", b, .wait = 500)), tc = token_of(ACQUIRE(f, "l", c, .wait = 5000));
    coord_pass(f, 499);
    assert_no_events(f);
    coord_pass(f, 1);
    assert_events(f, "timed-out %" PRIu64 ";", tb);
    release(f, "l", a, 0);
    assert_events(f, GRANTED, tc);
    coord_pass(f, 10000); /* The wait's deadline is not the hold's. */
    assert_string_equal(release(f, "l", c, tc), "1");
}

static void a_lease_ends_and_the_next_gets_it(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 60000), b = coord_open(f, "b", 60000);
    const struct coord_command incr = coord_incr("n", 1);
    uint64_t ta = token_of(ACQUIRE(f, "l", a, .lease = 1000));
    uint64_t tb = token_of(ACQUIRE(f, "l", b, .wait = 10000, .lease = 1000));
    coord_pass(f, 999);
    assert_string_equal(guard(f, "l", ta, &incr), "1");
    f->clock_ms += 1; /* No entry of the leader's is needed: whoever touches the lock finds that it is over. */
    assert_int_equal(strncmp(guard(f, "l", ta, &incr), STALE, 4), 0);
    assert_events(f, GRANTED, tb);
    assert_string_equal(guard(f, "l", tb, &incr), "2");
    coord_pass(f, 1000);
    assert_string_equal(release(f, "l", b, 0), "0");
    assert_int_equal(store_locks(f->store), 0);
}

static void a_hold_has_a_longest_time(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 60000);
    uint64_t t = token_of(ACQUIRE(f, "l", a, CMD_REENTRANT, .lease = 400, .longest = 1000));
    for (int i = 0; i < 3; i++) {
        coord_pass(f, 300);
        assert_int_equal(token_of(ACQUIRE(f, "l", a, CMD_REENTRANT, .lease = 400)), t); /* Renews the lease. */
    }
    coord_pass(f, 99);
    assert_string_equal(release(f, "l", a, t), "1"); /* One of four. */
    coord_pass(f, 1);
    assert_string_equal(release(f, "l", a, t), "0");
}

static void reentering_counts(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 60000), b = coord_open(f, "b", 60000);
    uint64_t t = token_of(ACQUIRE(f, "l", a, CMD_REENTRANT));
    assert_int_equal(token_of(ACQUIRE(f, "l", a, CMD_REENTRANT)), t);
    assert_string_equal(ACQUIRE(f, "l", b, CMD_REENTRANT), "nil");
    assert_string_equal(release(f, "l", a, 0), "1");
    assert_string_equal(ACQUIRE(f, "l", b), "nil");
    assert_string_equal(release(f, "l", a, 0), "1");
    assert_true(token_of(ACQUIRE(f, "l", b)) > t);
}

static void readers_share_and_do_not_starve_writers(void **state)
{
    struct coord *f = *state;
    uint64_t s = coord_open(f, "s", 60000), w = coord_open(f, "w", 60000);
    uint64_t r1 = token_of(ACQUIRE(f, "l", s, CMD_SHARED)), r2 = token_of(ACQUIRE(f, "l", s, CMD_SHARED));
    assert_true(r1 > 0 && r2 > r1);
    uint64_t tw = token_of(ACQUIRE(f, "l", w, .wait = 5000));
    assert_string_equal(ACQUIRE(f, "l", s, CMD_SHARED), "nil"); /* Behind the writer. */
    uint64_t r3 = token_of(ACQUIRE(f, "l", s, CMD_SHARED, .wait = 5000));
    uint64_t r4 = token_of(ACQUIRE(f, "l", w, CMD_SHARED, .wait = 5000));
    release(f, "l", s, r2);
    assert_no_events(f);
    release(f, "l", s, r1);
    assert_events(f, GRANTED, tw);
    release(f, "l", w, tw);
    assert_events(f, GRANTED GRANTED, r3, r4); /* Both readers at once. */
}

static void permits_are_counted(void **state)
{
    struct coord *f = *state;
    uint64_t s = coord_open(f, "s", 60000);
    uint64_t t1 = token_of(ACQUIRE(f, "l", s, .permits = 2, .of = 3));
    uint64_t t2 = token_of(ACQUIRE(f, "l", s, .permits = 1, .of = 3));
    assert_true(t2 > t1);
    assert_string_equal(ACQUIRE(f, "l", s, .permits = 1, .of = 3), "nil");
    assert_string_equal(ACQUIRE(f, "l", s, .permits = 1, .of = 4), "!15 3");
    assert_string_equal(ACQUIRE(f, "l", s), "!15 3");
    assert_string_equal(ACQUIRE(f, "l", s, .permits = 5, .of = 4), "!9");
    uint64_t big = token_of(ACQUIRE(f, "l", s, .permits = 3, .of = 3, .wait = 5000));
    release(f, "l", s, t2);
    assert_string_equal(ACQUIRE(f, "l", s, .permits = 1, .of = 3), "nil"); /* Large requests do not starve. */
    release(f, "l", s, t1);
    assert_events(f, GRANTED, big);
}

/* Its end, in one entry: what it held goes to the next, its own requests leave, and nobody is left behind. */
static void the_end_of_a_session_frees_its_locks(void **state)
{
    struct coord *f = *state;
    char name[16];
    uint64_t a = coord_open(f, "a", 1000), b = coord_open(f, "b", 60000), c = coord_open(f, "c", 60000);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "l%d", i);
        ACQUIRE(f, name, a);
    }
    ACQUIRE(f, "of-c", c);
    uint64_t tb = token_of(ACQUIRE(f, "l0", b, .wait = 50000));
    uint64_t ta = token_of(ACQUIRE(f, "of-c", a, .wait = 50000)), tc = token_of(ACQUIRE(f, "l1", c, .wait = 50000));
    coord_pass(f, 999);
    coord_session(f, OP_SESSION_KEEPALIVE, b);
    coord_reopen(f);
    f->events[0] = '\0';
    coord_pass(f, 1); /* a was renewed when it asked last. */
    assert_string_equal(coord_session(f, OP_SESSION_INFO, a), "!10");
    assert_events(f, GRANTED GRANTED "orphaned %" PRIu64 ";", tb, tc, ta);
    assert_int_equal(store_locks(f->store), 3);
    assert_string_equal(coord_session(f, OP_SESSION_CLOSE, c), "OK");
    assert_string_equal(coord_session(f, OP_SESSION_CLOSE, b), "OK");
    assert_int_equal(store_locks(f->store), 0);
    assert_file_whole(f->dir);
}

static void guards_refuse_all_but_the_present_token(void **state)
{
    struct coord *f = *state;
    const struct coord_command incr = coord_incr("n", 1);
    char want[64];
    uint64_t a = coord_open(f, "a", 60000);
    assert_string_equal(guard(f, "l", 5, &incr), STALE "l 0");
    uint64_t t1 = token_of(ACQUIRE(f, "l", a));
    assert_string_equal(guard(f, "l", t1, &incr), "1");
    release(f, "l", a, 0);
    assert_string_equal(guard(f, "l", t1, &incr), STALE "l 0");
    uint64_t t2 = token_of(ACQUIRE(f, "l", a));
    snprintf(want, sizeof want, STALE "l %" PRIu64, t2);
    assert_string_equal(guard(f, "l", t1, &incr), want);
    const struct coord_command break_it = {
        .op = OP_LOCK_BREAK, .args = {text("l"), text("stuck"), text("me")}, .n_args = 3};
    assert_string_equal(coord_run(f, &break_it), "1");
    assert_string_equal(f->events, "broken l: stuck, me;");
    assert_string_equal(coord_run(f, &break_it), "0");
    assert_string_equal(guard(f, "l", t2, &incr), STALE "l 0");
    assert_string_equal(coord_get(f, "n"), "'1'");
}

/* However deep somebody nests commands, nothing but the answer is the worse for it. */
static void nesting_is_bounded(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 60000), t = token_of(ACQUIRE(f, "l", a));
    struct command_buf inner = {0}, outer = {0};
    const struct coord_command incr = coord_incr("n", 1);
    int64_t token = (int64_t)t;
    coord_encode(&inner, &incr);
    for (int depth = 1; depth <= 2000; depth++) {
        struct bytes args[2] = {{inner.base, inner.len}, text("l")};
        outer.len = 0;
        command_add(&outer, OP_GUARD, 0, &token, 1, args, 2);
        coord_apply(f, &outer, 1);
        assert_string_equal(coord_text(f), depth == 1 ? "1" : depth == 2 ? "2" : "!9");
        struct command_buf swap = inner;
        inner = outer;
        outer = swap;
    }
    command_buf_release(&inner);
    command_buf_release(&outer);
}

/* A repeat gets the same token, or joins the same place in the queue. */
static void asking_once(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 60000), b = coord_open(f, "b", 60000);
    const struct ask ask_a = {"l", a}, ask_b = {"l", b, .wait = 5000};
    const struct coord_command of_a = acquire_command(&ask_a), of_b = acquire_command(&ask_b);
    uint64_t ta = token_of(coord_once(f, a, 1, 0, &of_a));
    assert_int_equal(token_of(coord_once(f, a, 1, 0, &of_a)), ta);
    char first[32];
    snprintf(first, sizeof first, "%.31s", coord_once(f, b, 1, 0, &of_b));
    assert_int_equal(strncmp(first, "kept ", 5), 0);
    assert_string_equal(coord_once(f, b, 1, 0, &of_b), first);
    enum store_standing standing;
    uint64_t left;
    assert_int_equal(store_lock_standing(f->store, "l", 1, token_of(first), &standing, &left), 0);
    assert_int_equal(standing, STORE_WAITING);
    assert_int_equal(left, 5000);
    release(f, "l", a, 0);
    assert_events(f, GRANTED, token_of(first));
    assert_string_equal(coord_once(f, b, 1, 0, &of_b), first);
    assert_int_equal(store_lock_standing(f->store, "l", 1, token_of(first), &standing, &left), 0);
    assert_int_equal(standing, STORE_HELD);
    assert_true(left == UINT64_MAX);
    release(f, "l", b, 0);
    assert_int_equal(store_lock_standing(f->store, "l", 1, token_of(first), &standing, &left), 0);
    assert_int_equal(standing, STORE_GONE);
}

/* Releasing without a token also gives up waiting. */
static void who_does_not_know_its_token_can_give_up(void **state)
{
    struct coord *f = *state;
    uint64_t a = coord_open(f, "a", 60000), b = coord_open(f, "b", 60000);
    ACQUIRE(f, "l", a);
    uint64_t t = token_of(ACQUIRE(f, "l", b, .wait = 5000));
    assert_string_equal(release(f, "l", b, 0), "0");
    assert_events(f, "withdrawn %" PRIu64 ";", t);
    release(f, "l", a, 0);
    assert_int_equal(store_locks(f->store), 0);
}

static void bounds_are_kept(void **state)
{
    struct coord *f = *state;
    char name[LOCK_NAME_BYTES_MAX + 2];
    uint64_t a = coord_open(f, "a", 60000);
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_string_equal(ACQUIRE(f, name, a), "!9");
    assert_string_equal(ACQUIRE(f, "", a), "!9");
    for (int i = 0; i < SESSION_LOCKS_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_true(token_of(ACQUIRE(f, name, a)) > 0);
    }
    assert_string_equal(ACQUIRE(f, "one more", a), "!16");
    assert_string_equal(release(f, "5", a, 0), "1");
    assert_true(token_of(ACQUIRE(f, "one more", a)) > 0);
    coord_session(f, OP_SESSION_CLOSE, a);
    assert_int_equal(store_locks(f->store), 0);
}

static void info_and_list_tell(void **state)
{
    struct coord *f = *state;
    char want[512];
    uint64_t a = coord_open(f, "alice", 60000), b = coord_open(f, "bob", 60000);
    const struct coord_command info = {.op = OP_LOCK_INFO, .args = {text("l")}, .n_args = 1};
    const struct coord_command list = {.op = OP_LOCK_LIST, .args = {text("l*")}, .n_args = 1};
    assert_string_equal(coord_read(f, &info), "nil");
    uint64_t t = token_of(ACQUIRE(f, "l", a, .lease = 5000)), w = token_of(ACQUIRE(f, "l", b, CMD_SHARED, .wait = 700));
    ACQUIRE(f, "other", a);
    f->clock_ms += 100;
    snprintf(want, sizeof want,
             "{name: 'l', permits: 0, holders: [{session: %" PRIu64 ", name: 'alice', token: %" PRIu64
             ", held: 100, left: 4900, mode: 'exclusive', permits: 0, depth: 1}], waiters: [{session: %" PRIu64
             ", name: 'bob', token: %" PRIu64 ", waiting: 100, left: 600, mode: 'shared', permits: 0, depth: 0}]}",
             a, t, b, w);
    assert_string_equal(coord_read(f, &info), want);
    snprintf(want, sizeof want, "[{name: 'l', session: %" PRIu64 ", token: %" PRIu64 ", holders: 1, waiters: 1}]", a,
             t);
    assert_string_equal(coord_read(f, &list), want);
    const char *told = coord_session(f, OP_SESSION_INFO, a);
    assert_non_null(strstr(told, "locks: ['l' 'other']"));
}

static void the_view_shows_locks(void **state)
{
    struct coord *f = *state;
    char path[FIXTURE_PATH], want[256];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    uint64_t a = coord_open(f, "a", 60000);
    uint64_t t = token_of(ACQUIRE(f, "the lock", a, .permits = 300, .of = 70000, .lease = 5000));
    ACQUIRE(f, "the lock", a, .permits = 70000, .of = 70000, .wait = 700);
    assert_int_equal(store_flush_now(f->store), 0);
    fixture_path(path, f->dir, STORE_FILE);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT name || '|' || holders || '|' || waiters || '|' || permits || '|' || holder_session "
                           "|| '|' || token || '|' || next_due_ms FROM locks",
                           -1, &stmt, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    snprintf(want, sizeof want, "the lock|1|1|70000|%" PRIu64 "|%" PRIu64 "|1000700", a, t);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), want);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

/* ---- Chance ---- */

#define SESSIONS 12
#define LOCKS 4
#define STEPS 4000

/* One step of chance, put into b. */
static void step(struct command_buf *b, struct chance *c, const uint64_t *sessions, uint64_t newest)
{
    static const char *const names[LOCKS] = {"x", "y", "z", "semaphore"};
    uint64_t which = chance_below(c, LOCKS), session = sessions[chance_below(c, SESSIONS)];
    bool permits = which == LOCKS - 1;
    struct bytes name[3] = {text(names[which]), text("reason"), text("who")};
    int64_t nums[6] = {(int64_t)session,
                       chance_below(c, 3) == 0 ? (int64_t)chance_below(c, 400) + 1 : 0,
                       chance_below(c, 3) > 0 ? (int64_t)chance_below(c, 600) : 0,
                       chance_below(c, 4) == 0 ? 500 : 0,
                       permits ? 1 + (int64_t)chance_below(c, 3) : 0,
                       permits ? 3 : 0};
    uint16_t flags =
        (uint16_t)((chance_below(c, 3) == 0 ? CMD_SHARED : 0) | (chance_below(c, 3) == 0 ? CMD_REENTRANT : 0));
    uint64_t what = chance_below(c, 100);
    if (what < 50)
        command_add(b, OP_LOCK_ACQUIRE, flags, nums, 6, name, 1);
    else if (what < 85)
        nums[1] = 0, command_add(b, OP_LOCK_RELEASE, 0, nums, 2, name, 1);
    else if (what < 92)
        nums[1] = (int64_t)(newest - chance_below(c, 40)), command_add(b, OP_LOCK_LEAVE, 0, nums, 2, name, 1);
    else if (what < 94)
        command_add(b, OP_LOCK_BREAK, 0, NULL, 0, name, 3);
    else if (what < 97)
        command_add(b, OP_SESSION_CLOSE, 0, nums, 1, NULL, 0);
    else
        command_add(b, OP_SESSION_KEEPALIVE, 0, nums, 1, NULL, 0);
}

/* The number after `key: ` in text, from *at on; moves *at. */
static bool next_number(const char **at, const char *key, uint64_t *ret)
{
    char pattern[32];
    snprintf(pattern, sizeof pattern, "%s: ", key);
    const char *found = strstr(*at, pattern);
    if (found == NULL)
        return false;
    *at = found + strlen(pattern);
    *ret = strtoull(*at, NULL, 10);
    return true;
}

#define HOLDERS_MAX 64

/* The holders seen last, and the highest token that ever held. */
struct seen {
    uint64_t holders[HOLDERS_MAX], highest;
    size_t n;
};

static bool held_before(const struct seen *seen, uint64_t token)
{
    for (size_t i = 0; i < seen->n; i++)
        if (seen->holders[i] == token)
            return true;
    return false;
}

/* What must hold of a lock at any time: holders do not exclude each other, tokens stand in order of arrival, and who
 * holds it newly has a higher token than anybody who ever did. */
static void assert_lock_sound(struct coord *f, const char *name, struct seen *seen)
{
    const struct coord_command info = {.op = OP_LOCK_INFO, .args = {text(name)}, .n_args = 1};
    const char *told = coord_read(f, &info);
    struct seen now = {.highest = seen->highest};
    if (strcmp(told, "nil") != 0) {
        char *waiters = strstr(f->text, "waiters: ");
        const char *at = f->text;
        uint64_t token, taken = 0, permits, exclusive = 0, newest = 0;
        *waiters = '\0';
        while (next_number(&at, "token", &token)) {
            const char *mode = strstr(at, "mode: ");
            exclusive += strncmp(mode, "mode: 'exclusive'", 17) == 0;
            assert_true(next_number(&at, "permits", &permits));
            taken += permits;
            assert_true(token > newest);
            assert_true(held_before(seen, token) || token > seen->highest);
            newest = token;
            now.highest = token > now.highest ? token : now.highest;
            assert_true(now.n < HOLDERS_MAX);
            now.holders[now.n++] = token;
        }
        assert_true(strcmp(name, "semaphore") == 0 ? taken <= 3 : exclusive == 0 || now.n == 1);
        at = waiters + 1;
        while (next_number(&at, "token", &token)) {
            assert_true(token > newest);
            newest = token;
        }
    }
    *seen = now;
}

/* One leads: what it names as due is applied by both. (Of deadlines in one millisecond two leaders may name another
 * first, and revisions tell.) */
static void expire_both(struct coord *leader, struct coord *follower)
{
    for (int idle = 0; idle < 2 && store_next_due_ms(leader->store) <= leader->clock_ms;) {
        struct command_buf due = {0};
        uint32_t n = store_due(leader->store, leader->clock_ms, 1000, &due);
        if (n > 0) {
            coord_apply(leader, &due, n);
            coord_apply(follower, &due, n);
        } else
            assert_int_equal(store_flush_now(leader->store), 0);
        idle = n > 0 ? 0 : idle + 1;
        command_buf_release(&due);
    }
}

/* Two stores, one of which is reopened and starved of cache, agree after each entry; and locks stay sound. */
static void chance_finds_nothing(void **state)
{
    static const char *const names[LOCKS] = {"x", "y", "z", "semaphore"};
    struct coord *f = *state, *other;
    coord_setup((void **)&other);
    struct chance c = {fixture_seed()};
    uint64_t sessions[SESSIONS];
    struct seen seen[LOCKS] = {0};
    struct command_buf b = {0};
    other->options.cache_bytes = 1;
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i] = coord_open(f, "s", 1000 + 300 * i);
        assert_true(coord_open(other, "s", 1000 + 300 * i) == sessions[i]);
    }
    for (int i = 0; i < STEPS; i++) {
        b.len = 0;
        step(&b, &c, sessions, store_revision(f->store));
        f->clock_ms += chance_below(&c, 60);
        other->clock_ms = f->clock_ms;
        if (chance_below(&c, 2) == 0)
            expire_both(f, other);
        else
            expire_both(other, f);
        f->events[0] = other->events[0] = '\0';
        coord_apply(f, &b, 1);
        coord_apply(other, &b, 1);
        assert_string_equal(f->events, other->events);
        assert_true(store_hash(f->store) == store_hash(other->store));
        for (int l = 0; l < LOCKS; l++)
            assert_lock_sound(f, names[l], &seen[l]);
        if (chance_below(&c, 100) == 0)
            coord_reopen(other);
        uint64_t dead = chance_below(&c, SESSIONS);
        if (strcmp(coord_session(f, OP_SESSION_INFO, sessions[dead]), "!10") == 0) {
            sessions[dead] = coord_open(f, "s", 2000);
            assert_true(coord_open(other, "s", 2000) == sessions[dead]);
        }
    }
    for (int i = 0; i < SESSIONS; i++)
        coord_session(f, OP_SESSION_CLOSE, sessions[i]);
    assert_int_equal(store_locks(f->store), 0);
    command_buf_release(&b);
    coord_teardown((void **)&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_holds_and_tokens_grow, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(waiters_are_granted_in_order, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_wait_ends_at_its_deadline, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_lease_ends_and_the_next_gets_it, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(a_hold_has_a_longest_time, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(reentering_counts, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(readers_share_and_do_not_starve_writers, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(permits_are_counted, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(the_end_of_a_session_frees_its_locks, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(guards_refuse_all_but_the_present_token, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(nesting_is_bounded, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(asking_once, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(who_does_not_know_its_token_can_give_up, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(bounds_are_kept, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(info_and_list_tell, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(the_view_shows_locks, coord_setup, coord_teardown),
        cmocka_unit_test_setup_teardown(chance_finds_nothing, coord_setup, coord_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
