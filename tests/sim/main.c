/* main.c - the simulator's command line; docs/SIMULATOR.md has what it is and how to use it. */
#include "tests/sim/disks.h"
#include "tests/sim/run.h"
#include "tests/sim/shrink.h"
#include "tests/sim/world.h"
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#ifdef HOLDFAST_PLANT /* sim_planted: see plants.txt. */
#include "planted.h"
enum plant planted = PLANT_NONE;
#endif

#define SEED_SECONDS_MAX 120 /* A run that takes longer is taken to be stuck. */
#define REPLAY_BYTES 2048

static const char usage[] = "usage: sim [options] [SEED [COUNT]]\n"
                            "  SEED          the first seed (1); \"fresh\": a new one, printed\n"
                            "  COUNT         how many seeds from there on (1)\n"
                            "  -v            tell everything that happens\n"
                            "  --seeds FILE  run the seeds of a file, one at the start of a line, before\n"
                            "  --fault-ms N  faults begin in the first N ms only (15000)\n"
                            "  --skip LIST   leave faults out, by their numbers: 0,3,7\n"
                            "  --print       print the schedule of faults of SEED, and do not run it\n"
                            "  --twice       run every seed twice: both must go the same way\n"
                            "  --lose-disks  nodes lose their disks, too (which is not survived by design yet)\n"
                            "  --shrink      SEED fails: look for the fewest faults with which it still does\n"
                            "  --plant NAME  (sim_planted) with this bug of plants.txt\n";

static struct run_options options = {.fault_ms = RUN_FAULT_MS};
static bool skip[FAULTS_MAX];
static char replay[REPLAY_BYTES];
static bool twice;
static volatile uint64_t running;

/* A crash or a run without end is a failure with a seed, too. */
static void crashed(int sig)
{
    static char text[REPLAY_BYTES + 200];
    int n = snprintf(text, sizeof text, "FAILED, seed %" PRIu64 ": signal %d (%s)\nreplay: sim %" PRIu64 " 1 -v%s\n",
                     running, sig, sig == SIGALRM ? "it does not end" : strsignal(sig), running, replay);
    if (write(STDOUT_FILENO, text, (size_t)n) != n)
        _exit(1);
    signal(sig, SIG_DFL);
    if (sig == SIGALRM)
        _exit(1);
    raise(sig);
}

static void run_one(uint64_t seed)
{
    running = seed;
    alarm(SEED_SECONDS_MAX);
    uint64_t first = run_seed(seed, &options);
    if (twice && run_seed(seed, &options) != first)
        fail("two runs of seed %" PRIu64 " differ", seed);
    alarm(0);
}

static uint64_t run_file(const char *path)
{
    char line[200];
    uint64_t n = 0;
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        perror(path);
        exit(2);
    }
    for (uint64_t seed; fgets(line, sizeof line, f) != NULL;) {
        if (sscanf(line, "%" SCNu64, &seed) != 1)
            continue;
        run_one(seed);
        n++;
    }
    fclose(f);
    return n;
}

static void take_skip(const char *list)
{
    for (char *at = (char *)list; *at != '\0'; at += *at == ',') {
        char *end;
        unsigned long i = strtoul(at, &end, 10);
        if (end == at || i >= FAULTS_MAX) {
            fputs(usage, stderr);
            exit(2);
        }
        skip[i] = true;
        at = end;
    }
    options.skip = skip;
}

static uint64_t fresh_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        abort();
    seed = seed % 1000000000 + 1000000;
    printf("seeds from %" PRIu64 " on\n", seed);
    return seed;
}

/* What shapes a run is part of its replay. */
static void remember(const char *option, const char *value)
{
    size_t len = strlen(replay);
    snprintf(replay + len, sizeof replay - len, " %s%s%s", option, value[0] != '\0' ? " " : "", value);
}

/* Wake one of the planted bugs. False: there is none of that name here. */
static bool wake(const char *name)
{
#ifdef HOLDFAST_PLANT
    static const char *const names[] = PLANT_NAMES;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) != 0)
            continue;
        planted = (enum plant)i;
        return true;
    }
#endif
    fprintf(stderr, "sim: no bug %s is planted in this program\n", name);
    return false;
}

enum { OPT_SEEDS = 1000, OPT_FAULT_MS, OPT_SKIP, OPT_PRINT, OPT_TWICE, OPT_LOSE, OPT_SHRINK, OPT_PLANT };

static const struct option long_options[] = {{"seeds", required_argument, NULL, OPT_SEEDS},
                                             {"fault-ms", required_argument, NULL, OPT_FAULT_MS},
                                             {"skip", required_argument, NULL, OPT_SKIP},
                                             {"print", no_argument, NULL, OPT_PRINT},
                                             {"twice", no_argument, NULL, OPT_TWICE},
                                             {"lose-disks", no_argument, NULL, OPT_LOSE},
                                             {"shrink", no_argument, NULL, OPT_SHRINK},
                                             {"plant", required_argument, NULL, OPT_PLANT},
                                             {0}};

struct wishes {
    const char *seeds;
    bool print, shrink;
};

static void take_option(int opt, struct wishes *w)
{
    switch (opt) {
    case 'v':
        world.verbose = true;
        break;
    case OPT_SEEDS:
        w->seeds = optarg;
        break;
    case OPT_FAULT_MS:
        options.fault_ms = strtoull(optarg, NULL, 10);
        remember("--fault-ms", optarg);
        break;
    case OPT_SKIP:
        take_skip(optarg);
        remember("--skip", optarg);
        break;
    case OPT_PRINT:
        w->print = true;
        break;
    case OPT_TWICE:
        twice = true;
        break;
    case OPT_LOSE:
        options.lose_disks = true;
        remember("--lose-disks", "");
        break;
    case OPT_SHRINK:
        w->shrink = true;
        break;
    case OPT_PLANT:
        if (!wake(optarg))
            exit(2);
        remember("--plant", optarg);
        break;
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct wishes w = {0};
    for (int opt; (opt = getopt_long(argc, argv, "v", long_options, NULL)) != -1;)
        take_option(opt, &w);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGABRT, crashed);
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    signal(SIGALRM, crashed);
    world.options = replay;
    disks_init();
    const char *seed = optind < argc ? argv[optind] : w.seeds != NULL ? NULL : "1";
    uint64_t first = seed == NULL ? 0 : strcmp(seed, "fresh") == 0 ? fresh_seed() : strtoull(seed, NULL, 10);
    uint64_t count = seed == NULL ? 0 : optind + 1 < argc ? strtoull(argv[optind + 1], NULL, 10) : 1;
    if (w.print || w.shrink)
        return w.print ? print_seed(first, &options) : shrink_seed(first, &options, replay);
    uint64_t ran = w.seeds != NULL ? run_file(w.seeds) : 0;
    for (uint64_t s = first; s < first + count; s++)
        run_one(s);
    printf("%" PRIu64 " passed, 0 failed\n", ran + count);
    return 0;
}
