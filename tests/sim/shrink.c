/* shrink.c - each attempt is a process of its own, since a failing run does not come back. First the time is halved as
 * long as the run fails, then faults are left out: half of them, a quarter, ... one by one, again and again until none
 * can be spared. Any failure counts as the same one. */
#include "tests/sim/shrink.h"
#include "tests/sim/world.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct attempt {
    uint64_t seed;
    struct run_options options;
    bool skip[FAULTS_MAX];
    unsigned runs;
};

static bool fails(struct attempt *a)
{
    int status = 0;
    fflush(stdout);
    a->runs++;
    a->options.skip = a->skip;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (null == -1 || dup2(null, STDOUT_FILENO) == -1)
            _exit(0);
        world.verbose = false;
        alarm(60);
        run_seed(a->seed, &a->options);
        _exit(0);
    }
    if (child == -1 || waitpid(child, &status, 0) == -1)
        abort();
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void shorten(struct attempt *a)
{
    uint64_t step = a->options.fault_ms / 2;
    for (; step >= 100; step /= 2) {
        a->options.fault_ms -= step;
        if (!fails(a))
            a->options.fault_ms += step;
    }
}

/* Leave out those from..end that are still in; put them back if the run passes then. */
static bool leave_out(struct attempt *a, size_t from, size_t end)
{
    bool before[FAULTS_MAX], any = false;
    memcpy(before, a->skip, sizeof before);
    for (size_t i = from; i < end; i++) {
        any = any || !a->skip[i];
        a->skip[i] = true;
    }
    if (any && fails(a))
        return true;
    memcpy(a->skip, before, sizeof before);
    return false;
}

static bool thin_out(struct attempt *a, size_t n)
{
    bool less = false;
    for (size_t piece = (n + 1) / 2; piece > 0; piece = piece > 1 ? (piece + 1) / 2 : 0)
        for (size_t at = 0; at < n; at += piece)
            less = leave_out(a, at, at + piece < n ? at + piece : n) || less;
    return less;
}

/* The schedule is drawn up, and nothing runs. */
static void draw_up(uint64_t seed, const struct run_options *o)
{
    struct fault_options faults = {o->fault_ms * 1000, o->lose_disks, NULL};
    world_begin(seed);
    faults_begin(&faults);
    world_end();
}

int print_seed(uint64_t seed, const struct run_options *o)
{
    draw_up(seed, o);
    printf("seed %" PRIu64 ": %zu faults\n", seed, faults_n());
    faults_print(o->skip);
    return 0;
}

static void print_smallest(struct attempt *a, const char *more)
{
    const char *before = " --skip ";
    draw_up(a->seed, &a->options);
    printf("after %u runs, the smallest failing one has these faults:\n", a->runs);
    faults_print(a->skip);
    printf("replay: sim %" PRIu64 " 1 -v%s --fault-ms %" PRIu64, a->seed, more, a->options.fault_ms);
    for (size_t i = 0; i < faults_n(); i++) {
        if (!a->skip[i])
            continue;
        printf("%s%zu", before, i);
        before = ",";
    }
    printf("\n");
}

int shrink_seed(uint64_t seed, const struct run_options *o, const char *more)
{
    struct attempt *a = must(calloc(1, sizeof *a));
    a->seed = seed;
    a->options = *o;
    if (o->skip != NULL)
        memcpy(a->skip, o->skip, sizeof a->skip);
    bool failing = fails(a);
    if (failing) {
        shorten(a);
        draw_up(seed, &a->options);
        while (thin_out(a, faults_n()))
            continue;
        print_smallest(a, more);
    } else {
        printf("seed %" PRIu64 " passes\n", seed);
    }
    free(a);
    return failing ? 0 : 1;
}
