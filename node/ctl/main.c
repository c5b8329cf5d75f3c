/* main.c - `holdfast`: the table of commands, help made from it, and the way from a command line to an exit status. */
#include "node/ctl/ctl.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define QUICK_TIMEOUT_MS 2000 /* Of commands that ask every node, one of which may be silent. */
#define ARGS_ANY INT_MAX
#define DRAIN_TIMEOUT_MS 15000 /* More than a node takes to finish what is in flight. */

static const struct command {
    const char *name, *usage, *help;
    const char *more; /* Shown by help NAME only. */
    unsigned options; /* Besides those of every command. */
    int args_min, args_max;
    unsigned timeout_ms; /* 0: the client's default */
    bool is_local;       /* Talks to no node. */
    enum ctl_exit (*run)(struct ctl *ctl);
} commands[] = {
    {"status", "", "What every node says of itself, and what is wrong",
     "The first line sums up; then what is wrong, in words; then a line for each node: those of --nodes and those\n"
     "that the cluster has besides.\n"
     "Exit status 0 while the cluster serves, 3 when it does not.",
     OPTION_OUTPUT, 0, 0, QUICK_TIMEOUT_MS, false, cmd_status},
    {"ping", "", "Whether every node answers, and how fast", "Exit status 3 when one does not.", OPTION_OUTPUT, 0, 0,
     QUICK_TIMEOUT_MS, false, cmd_ping},
    {"get", "KEY", "Print the value of KEY",
     "A newline follows the value unless --raw is given. A missing key is exit status 1 and prints nothing.",
     OPTION_OUTPUT | OPTION_RAW, 1, 1, 0, false, cmd_get},
    {"set", "KEY VALUE", "Store VALUE under KEY",
     "VALUE - is read from standard input, every byte of it. Without --ttl the key stays; a TTL it had is dropped.\n"
     "Exit status 1 when --nx or --xx forbids it.",
     OPTION_OUTPUT | OPTION_TTL | OPTION_NX | OPTION_XX, 2, 2, 0, false, cmd_set},
    {"incr", "KEY [BY]", "Add the integer BY (1) to the one under KEY and print it",
     "A missing key counts as 0. When the outcome is unknown (exit status 4) it may have been added once, never twice.",
     OPTION_OUTPUT, 1, 2, 0, false, cmd_incr},
    {"del", "KEY...", "Delete keys and print how many there were", "Exit status 1 when there was none of them.",
     OPTION_OUTPUT, 1, ARGS_ANY, 0, false, cmd_del},
    {"keys", "[PATTERN]", "Print the keys, or those that match a pattern of * ? [a-z]",
     "Keys are printed as they are found, one a line, in no order; control characters appear as \\xNN unless --raw is\n"
     "given. Keys written meanwhile may or may not appear.",
     OPTION_OUTPUT | OPTION_RAW, 0, 1, 0, false, cmd_keys},
    {"member", "VERB...", "List the members, change them",
     "  member list                       who they are\n"
     "  member token [SECONDS]            a secret for holdfastd --join ... --join-token\n"
     "  member add HOST:PORT              take a node in as a learner, by its peer address\n"
     "  member promote NODE               a learner that has caught up gets its vote\n"
     "  member demote NODE                and loses it\n"
     "  member remove NODE                it leaves for good and ends\n"
     "  member replace OLD [NEW]          the learner NEW, or the only one there is, takes the place of OLD\n"
     "  member update-address NODE HOST:PORT\n"
     "Shows the members before and after. A refusal is exit status 5, with the reason.",
     OPTION_OUTPUT | OPTION_DRY_RUN | OPTION_FORCE, 1, 3, 0, false, cmd_member},
    {"leader", "transfer [NODE]", "Hand leadership over, to NODE or to whoever is furthest along",
     "Shows the members before and after.", OPTION_OUTPUT | OPTION_DRY_RUN, 1, 2, 0, false, cmd_leader},
    {"drain", "NODE", "Let a node hand over, finish what is in flight, and end",
     "NODE is n1, 1 or HOST:PORT. Its clients go on at the others.", 0, 1, 1, DRAIN_TIMEOUT_MS, false, cmd_drain},
    {"lock", "NAME -- COMMAND...", "Run a command while holding a lock; list, show, break locks",
     "  lock NAME -- COMMAND [ARGUMENT...]  wait for the lock and run the command under it\n"
     "  lock list [PATTERN]                 the locks that are held\n"
     "  lock info NAME                      who holds it, and who waits\n"
     "  lock break NAME                     put out whoever holds it\n"
     "The command finds the lock's name in HOLDFAST_LOCK and its fencing token in HOLDFAST_TOKEN. Signals are passed "
     "on\n"
     "to it. Should the lock be lost, it gets TERM, and KILL before another can hold the lock: at the latest when the\n"
     "session's time (--ttl, 10s) since it was last renewed is over. Broken by hand, it has a quarter of that, 2s at\n"
     "most.\n"
     "Exit status: the command's own; 128 and the signal that ended it; 121 the lock was not free in time; 122 it was\n"
     "lost; 123 the cluster is unavailable or refuses; 126 the command cannot be run; 127 there is no such command.",
     OPTION_OUTPUT | OPTION_TTL | OPTION_WAIT | OPTION_SHARED | OPTION_PERMITS | OPTION_REASON, 1, ARGS_ANY, 0, true,
     cmd_lock},
    {"session", "VERB [ID]", "List, show and close the sessions of clients",
     "  session list       all of them\n"
     "  session info ID    what one owns\n"
     "  session close ID   end it: its locks become free",
     OPTION_OUTPUT, 1, 2, 0, false, cmd_session},
    {"limit", "KEY", "Count one more of KEY, unless that is too many",
     "Exit status 0 when it is allowed, 1 when it is not; then the output says how long to wait. The whole cluster "
     "counts\n"
     "together, and a limit nobody uses any more is gone by itself.",
     OPTION_OUTPUT | OPTION_RATE | OPTION_PER, 1, 1, 0, false, cmd_limit},
    {"wait", "KEY VALUE", "Wait until KEY holds VALUE",
     "Nothing polls: the cluster tells of the change. A value that stands for a moment only may be missed.\n"
     "Exit status 1 when KEY did not hold it within --timeout (30s).",
     0, 2, 2, 0, true, cmd_wait},
    {"watch", "PREFIX", "Print every change of keys that begin with PREFIX, as it comes",
     "One line each: revision, event and key; '' is every key. To go on where an earlier watch ended, give --from the\n"
     "revision after its last. Exit status 5 when the cluster does not know all changes since then any more.",
     OPTION_OUTPUT | OPTION_FROM, 1, 1, 0, false, cmd_watch},
    {"completion", "SHELL", "Print what lets bash or zsh complete this command line",
     "For example: holdfast completion bash > /etc/bash_completion.d/holdfast", 0, 1, 1, 0, true, cmd_completion},
    {"help", "[COMMAND]", "This help, or that of a command", NULL, 0, 0, 1, 0, true, cmd_help},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

/* ---- Help ---- */

static void print_exit_status(void)
{
    puts("Exit status:\n"
         "  0  done\n"
         "  1  no such key, or the condition was not met\n"
         "  2  the command line is wrong\n"
         "  3  the cluster is unavailable; nothing was done\n"
         "  4  the outcome is unknown: it may or may not have been done\n"
         "  5  refused by the cluster\n"
         "  6  what answered is not a Holdfast node\n"
         "  7  the output could not be written\n"
         "'holdfast help lock' has those of a command that runs under a lock.");
}

static void print_help(void)
{
    puts("Usage: holdfast [OPTION...] COMMAND [ARGUMENT...]\n"
         "The command line of a Holdfast cluster.\n\n"
         "Commands:");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        char left[40];
        snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].usage);
        printf("  %-18s  %s\n", left, commands[i].help);
    }
    puts("\nOptions of every command:");
    options_print(OPTION_EVERYWHERE);
    puts("");
    print_exit_status();
}

static void print_command_help(const struct command *command)
{
    printf("Usage: holdfast [OPTION...] %s%s%s\n%s.\n", command->name, command->usage[0] != '\0' ? " " : "",
           command->usage, command->help);
    if (command->more != NULL)
        printf("%s\n", command->more);
    puts("\nOptions:");
    options_print(command->options);
    options_print(OPTION_EVERYWHERE);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    fprintf(stderr, "holdfast: there is no command '%s'; 'holdfast help' lists them\n", name);
    return NULL;
}

enum ctl_exit cmd_help(struct ctl *ctl)
{
    if (ctl->argc == 0) {
        print_help();
        return CTL_OK;
    }
    const struct command *command = find_command(ctl->argv[0]);
    if (command == NULL)
        return CTL_USAGE;
    print_command_help(command);
    return CTL_OK;
}

/* ---- Completion ---- */

static void print_options_of(const struct command *command)
{
    char names[512];
    options_names(command->options | OPTION_EVERYWHERE, names, sizeof names);
    printf("    %s) words='%s' ;;\n", command->name, names);
}

/* Both shells run one function; zsh has bash's way of asking for one. */
enum ctl_exit cmd_completion(struct ctl *ctl)
{
    bool is_zsh = strcmp(ctl->argv[0], "zsh") == 0;
    if (!is_zsh && strcmp(ctl->argv[0], "bash") != 0) {
        fputs("Usage: holdfast completion bash|zsh\n", stderr);
        return CTL_USAGE;
    }
    if (is_zsh)
        puts("autoload -U +X bashcompinit && bashcompinit");
    puts("_holdfast() {\n  local words word=${COMP_WORDS[COMP_CWORD]}\n  case \"${COMP_WORDS[1]}\" in");
    for (size_t i = 0; i < N_COMMANDS; i++)
        print_options_of(&commands[i]);
    puts("  esac\n  if [ \"$COMP_CWORD\" -eq 1 ] || [ \"${COMP_WORDS[1]}\" = help ]; then\n    words='");
    for (size_t i = 0; i < N_COMMANDS; i++)
        puts(commands[i].name);
    puts("'\n  fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\ncomplete -o default -F _holdfast holdfast");
    return CTL_OK;
}

/* ---- What commands share ---- */

enum ctl_exit ctl_run_verb(struct ctl *ctl, const char *command, const struct ctl_verb *verbs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct ctl_verb *v = &verbs[i];
        if (strcmp(v->name, ctl->argv[0]) != 0)
            continue;
        if (ctl->argc - 1 >= v->args_min && ctl->argc - 1 <= v->args_max)
            return v->run(ctl);
        fprintf(stderr, "Usage: holdfast %s %s%s%s\n", command, v->name, v->usage[0] != '\0' ? " " : "", v->usage);
        return CTL_USAGE;
    }
    fprintf(stderr, "holdfast: there is no '%s %s'; 'holdfast help %s' lists them\n", command, ctl->argv[0], command);
    return CTL_USAGE;
}

enum ctl_exit ctl_failed(const struct ctl *ctl, int rc)
{
    fprintf(stderr, "holdfast: %s\n", rc == CLIENT_ENOMEM ? "out of memory" : client_message(ctl->client));
    switch (rc) {
    case CLIENT_EINVAL:
        return CTL_USAGE;
    case CLIENT_EUNKNOWN:
        return CTL_UNKNOWN;
    case CLIENT_EDENIED:
        return CTL_REFUSED;
    case CLIENT_EPROTOCOL:
        return CTL_PROTOCOL;
    default:
        return CTL_UNAVAILABLE;
    }
}

enum ctl_exit ctl_ask(const struct ctl *ctl, bool is_write, int argc, const char *const *argv, const size_t *lens,
                      struct resp_value **ret)
{
    struct resp_value *reply = NULL;
    int rc = client_call(ctl->client, is_write, argc, argv, lens, &reply);
    if (rc != 0)
        return ctl_failed(ctl, rc);
    if (reply->type == RESP_ERROR) {
        fprintf(stderr, "holdfast: %s\n", reply->bytes);
        resp_value_free(reply);
        return CTL_REFUSED;
    }
    *ret = reply;
    return CTL_OK;
}

enum ctl_exit ctl_surprised(void)
{
    fputs("holdfast: the node's answer makes no sense here\n", stderr);
    return CTL_PROTOCOL;
}

/* ---- From a command line to an exit status ---- */

static bool check_usage(const struct command *command, const struct options *o)
{
    unsigned foreign = o->given & ~(command->options | OPTION_EVERYWHERE);
    int n = o->argc - 1;
    if (foreign != 0) {
        fprintf(stderr, "holdfast: '%s' takes no --%s\n", command->name, options_name(foreign));
        return false;
    }
    if (n < command->args_min || n > command->args_max) {
        fprintf(stderr, "Usage: holdfast %s%s%s\n", command->name, command->usage[0] != '\0' ? " " : "",
                command->usage);
        return false;
    }
    return true;
}

/* timeout_ms: of the command, unless the command line has one; 0: the client's default. */
static int open_client(const struct options *o, unsigned timeout_ms, unsigned session_ttl_ms, struct client **ret)
{
    struct client_options client_options = {
        .nodes = o->nodes, .user = o->user, .timeout_ms = timeout_ms, .session_ttl_ms = session_ttl_ms};
    if (o->timeout_ms != 0)
        client_options.timeout_ms = o->timeout_ms < UINT_MAX ? (unsigned)o->timeout_ms : UINT_MAX;
    return client_open(&client_options, ret);
}

struct client *ctl_open(const struct ctl *ctl, unsigned session_ttl_ms, unsigned timeout_ms, enum ctl_exit *ret_status)
{
    struct ctl failing = *ctl;
    failing.client = NULL;
    int rc = open_client(ctl->options, timeout_ms, session_ttl_ms, &failing.client);
    if (rc == 0)
        return failing.client;
    *ret_status = ctl_failed(&failing, rc);
    client_close(failing.client);
    return NULL;
}

static enum ctl_exit run_with_client(const struct command *command, struct ctl *ctl)
{
    int rc = open_client(ctl->options, command->timeout_ms, 0, &ctl->client);
    enum ctl_exit status = rc == 0 ? command->run(ctl) : ctl_failed(ctl, rc);
    client_close(ctl->client);
    return status;
}

static enum ctl_exit run_command(const struct options *o)
{
    const struct command *command = find_command(o->argv[0]);
    if (command == NULL)
        return CTL_USAGE;
    if ((o->given & OPTION_HELP) != 0) {
        print_command_help(command);
        return CTL_OK;
    }
    if (!check_usage(command, o))
        return CTL_USAGE;
    struct ctl ctl = {.options = o, .argc = o->argc - 1, .argv = o->argv + 1};
    return command->is_local ? command->run(&ctl) : run_with_client(command, &ctl);
}

static enum ctl_exit run(const struct options *o)
{
    if ((o->given & OPTION_VERSION) != 0) {
        puts("holdfast " HOLDFAST_VERSION);
        return CTL_OK;
    }
    if (o->argc > 0)
        return run_command(o);
    if ((o->given & OPTION_HELP) == 0) {
        fputs("Usage: holdfast [OPTION...] COMMAND [ARGUMENT...]; 'holdfast help' says more\n", stderr);
        return CTL_USAGE;
    }
    print_help();
    return CTL_OK;
}

int main(int argc, char **argv)
{
    struct options options;
    if (!options_parse(argc, argv, &options))
        return CTL_USAGE;
    enum ctl_exit status = run(&options);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("holdfast: the output could not be written\n", stderr);
        return CTL_OUTPUT;
    }
    return status;
}
