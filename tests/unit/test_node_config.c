/* test_node_config.c - where values come from, what is refused and with which words. */
#include "node/config.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGS_MAX 16

struct load {
    struct config config;
    enum config_action action;
    char error[CONFIG_ERROR_MAX];
    int rc;
};

static void write_file(char path[64], const char *text)
{
    strcpy(path, "/tmp/holdfast_conf_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* flags: NULL-terminated, without the program's name. */
static void load(struct load *l, const char *file_text, char *const *environment, const char *const *flags)
{
    char path[64], *argv[ARGS_MAX] = {"holdfastd"};
    int argc = 1;
    memset(l, 0, sizeof *l);
    if (file_text != NULL) {
        write_file(path, file_text);
        argv[argc++] = "--config";
        argv[argc++] = path;
    }
    for (; flags != NULL && *flags != NULL; flags++)
        argv[argc++] = (char *)*flags;
    l->rc = config_load(argc, argv, environment, &l->config, &l->action, l->error);
    if (file_text == NULL)
        return;
    unlink(path);
    char *at = strstr(l->error, path);
    if (at != NULL) { /* So that the words can be compared. */
        memcpy(at, "F", 1);
        memmove(at + 1, at + strlen(path), strlen(at + strlen(path)) + 1);
    }
}

#define FLAGS(...)                                                                                                     \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

static void defaults_are_whole(void **state)
{
    struct load l;
    (void)state;
    load(&l, NULL, NULL, NULL);
    assert_int_equal(l.rc, 0);
    assert_int_equal(l.action, CONFIG_RUN);
    assert_int_equal(l.config.node_id, 1);
    assert_string_equal(l.config.listen, "127.0.0.1:7401");
    assert_string_equal(l.config.advertise, "127.0.0.1:7401");
    assert_string_equal(l.config.peer_listen, "127.0.0.1:7501");
    assert_int_equal(l.config.n_members, 1);
    assert_int_equal(l.config.max_value_bytes, 8 << 20);
    assert_int_equal(l.config.request_timeout_ms, 1500);
    assert_int_equal(l.config.log_keep_entries, 100000);
}

static void flag_beats_environment_beats_file(void **state)
{
    struct load l;
    char *const environment[] = {"HOLDFAST_MAX_CLIENTS=20", "HOLDFAST_REQUEST_TIMEOUT_MS=2s", "HOLDFAST_NODES=x",
                                 "PATH=/", NULL};
    (void)state;
    load(&l,
         "# a comment\nmax_clients = 10\nrequest_timeout_ms = 1s\nmax_key_bytes = 1k ; inline\n\ncluster_name = blue\n",
         environment, FLAGS("--max-clients=30"));
    assert_int_equal(l.rc, 0);
    assert_int_equal(l.config.max_clients, 30);
    assert_int_equal(l.config.request_timeout_ms, 2000);
    assert_int_equal(l.config.max_key_bytes, 1024);
    assert_string_equal(l.config.cluster_name, "blue");
}

static void members_come_from_several_lines(void **state)
{
    struct load l;
    (void)state;
    load(&l, "node_id = 2\nmembers = 1=a:7501,\n          2=b:7501\nmembers = 3=[::1]:7501\n", NULL, NULL);
    assert_string_equal(l.error, "");
    assert_int_equal(l.config.n_members, 3);
    assert_int_equal(l.config.members[2].id, 3);
    assert_string_equal(l.config.members[2].address, "[::1]:7501");
    assert_string_equal(l.config.peer_listen, "b:7501");
    load(&l, "members = 1=a:1\n", NULL, FLAGS("--members", "1=x:1,2=y:2"));
    assert_int_equal(l.config.n_members, 2);
    assert_string_equal(l.config.members[0].address, "x:1");
}

static void mistakes_are_told_with_their_place(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"node_id = 1\nfoo = 2\n", "F:2: unknown setting 'foo'"},
        {"\n\nmax_clients = many\n", "F:3: max_clients: 'many' is not a number"},
        {"max_clients = 0\n", "F:1: max_clients: 0 is out of range: from 1 to 1000000"},
        {"max_key_bytes = 1x\n", "F:1: max_key_bytes: '1x' is not a size (such as 64k, 8m, 1g)"},
        {"max_key_bytes = 99999999999999999999g\n",
         "F:1: max_key_bytes: '99999999999999999999g' is not a size (such as 64k, 8m, 1g)"},
        {"request_timeout_ms = 5 minutes\n",
         "F:1: request_timeout_ms: '5 minutes' is not a duration (such as 500ms or 2s)"},
        {"listen = here\n", "F:1: listen: 'here' is not host:port"},
        {"listen = ::1:7401\n", "F:1: listen: '::1:7401' is not host:port"},
        {"log_level = loud\n", "F:1: log_level: 'loud' is not error, warning, info or debug"},
        {"cluster_name =\n", "F:1: cluster_name: must not be empty"},
        {"members = 1\n", "F:1: members: '1' is not id=host:port"},
        {"members = 1=a:1,1=b:1\n", "F:1: members: node 1 stands there twice"},
        {"members = 1=a:1,2=a:1\n", "F:1: members: address a:1 stands there twice"},
        {"[limits]\nmax_clients = 5\n", "F:2: there are no sections, but this stands in [limits]"},
        {"max_clients\n", "F:1: not a line of the form name = value"},
        {"node_id = 4\nmembers = 1=a:1\n", "members does not contain this node, node_id 4"},
        {"heartbeat_ms = 200\n", "heartbeat_ms (200) must be at most a fifth of election_timeout_ms (600), or one late "
                                 "message deposes a leader"},
        {"listen = 127.0.0.1:7501\n", "listen and peer_listen are the same address, 127.0.0.1:7501"},
        {"max_value_bytes = 16m\n",
         "max_request_bytes (16777216) must have room for the longest value and key (16777216 + 65536)"},
    };
    struct load l;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        load(&l, rows[i].text, NULL, NULL);
        assert_int_equal(l.rc, -1);
        assert_string_equal(l.error, rows[i].want);
    }
    char line[400];
    memset(line, 'a', sizeof line);
    memcpy(line, "members = ", 10);
    line[sizeof line - 1] = '\0';
    load(&l, line, NULL, NULL);
    assert_string_equal(l.error, "F:1: the line is longer than 190 bytes (members may stand on several lines)");
}

static void bad_flags_and_variables_are_told(void **state)
{
    struct load l;
    char *const environment[] = {"HOLDFAST_NODE_ID=x", NULL};
    (void)state;
    load(&l, NULL, environment, NULL);
    assert_string_equal(l.error, "HOLDFAST_NODE_ID: node_id: 'x' is not a number");
    load(&l, NULL, NULL, FLAGS("--node-id=x"));
    assert_string_equal(l.error, "--node-id: node_id: 'x' is not a number");
    load(&l, NULL, NULL, FLAGS("--node-id"));
    assert_string_equal(l.error, "--node-id needs a value");
    load(&l, NULL, NULL, FLAGS("--foo=1"));
    assert_string_equal(l.error, "unknown flag --foo=1; try --help");
    load(&l, NULL, NULL, FLAGS("foo"));
    assert_string_equal(l.error, "'foo' is not a flag; try --help");
    load(&l, NULL, NULL, FLAGS("--config", "/nonexistent"));
    assert_string_equal(l.error, "cannot read /nonexistent: No such file or directory");
    load(&l, NULL, NULL, FLAGS("--config", "/tmp"));
    assert_int_equal(l.rc, -1);
}

static void a_repeated_line_is_refused(void **state)
{
    struct load l;
    (void)state;
    load(&l, "max_clients = 5\n\nmax_clients = 6\n", NULL, NULL);
    assert_int_equal(l.rc, -1);
    assert_string_equal(l.error, "F:3: max_clients stands in line 1 already");
    load(&l, "members = 1=127.0.0.1:7501\nmembers = 2=127.0.0.1:7502\n", NULL, NULL);
    assert_int_equal(l.rc, 0);
    assert_int_equal(l.config.n_members, 2);
}

static void a_misspelt_variable_is_refused(void **state)
{
    static const struct {
        const char *entry, *error;
    } cases[] = {
        {"HOLDFAST_DATADIR=/x", "HOLDFAST_DATADIR: there is no such setting; is data_dir meant?"},
        {"HOLDFAST_max_cleints=/x", "HOLDFAST_max_cleints: there is no such setting; is max_clients meant?"},
        {"HOLDFAST_LISTN", "HOLDFAST_LISTN: there is no such setting; is listen meant?"},
        {"HOLDFAST_NODES=127.0.0.1:7401", ""}, /* The client's. */
        {"HOLDFAST_PASSWORD=x", ""},
        {"HOLDFAST_PORT_7401_TCP=tcp://10.0.0.1:7401", ""}, /* A container's. */
        {"HOLDFAST_=", ""},
        {"HOLDFAST_MAX_CLIENTS=7", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct load l;
        char *const environment[] = {(char *)cases[i].entry, NULL};
        load(&l, NULL, environment, NULL);
        assert_string_equal(l.error, cases[i].error);
        assert_int_equal(l.rc, *cases[i].error != '\0' ? -1 : 0);
    }
}

static void actions_are_seen(void **state)
{
    struct load l;
    (void)state;
    load(&l, NULL, NULL, FLAGS("--check"));
    assert_int_equal(l.action, CONFIG_CHECK);
    load(&l, NULL, NULL, FLAGS("--help"));
    assert_int_equal(l.action, CONFIG_HELP);
    load(&l, NULL, NULL, FLAGS("--version"));
    assert_int_equal(l.action, CONFIG_VERSION);
}

/* What a setting shows is what it takes. */
static void every_setting_reads_back(void **state)
{
    struct load l;
    const struct config_setting *setting;
    (void)state;
    load(&l, NULL, NULL, NULL);
    for (size_t i = 0; (setting = config_setting_at(i)) != NULL; i++) {
        char text[4096], again[4096], error[CONFIG_ERROR_MAX] = "";
        struct config copy = l.config;
        copy.n_members = 0;
        config_format(&l.config, setting, text, sizeof text);
        if (config_set(&copy, setting, text, error) != 0)
            assert_true(*text == '\0');
        config_format(&copy, setting, again, sizeof again);
        assert_string_equal(text, again);
        assert_ptr_equal(config_setting_find(config_setting_name(setting), strlen(config_setting_name(setting))),
                         setting);
    }
}

static void the_shipped_file_is_good(void **state)
{
    struct load l;
    (void)state;
    load(&l, NULL, NULL, FLAGS("--config", CONFIG_FILE));
    assert_string_equal(l.error, "");
    assert_int_equal(l.rc, 0);
}

static void addresses_are_split(void **state)
{
    char host[32], port[16];
    (void)state;
    assert_true(config_split_address("h:1", host, sizeof host, port, sizeof port));
    assert_string_equal(host, "h");
    assert_string_equal(port, "1");
    assert_true(config_split_address("[::1]:65535", host, sizeof host, port, sizeof port));
    assert_string_equal(host, "::1");
    assert_true(config_split_address(":7", host, sizeof host, port, sizeof port));
    assert_string_equal(host, "");
    assert_false(config_split_address("h", host, sizeof host, port, sizeof port));
    assert_false(config_split_address("h:", host, sizeof host, port, sizeof port));
    assert_false(config_split_address("h:65536", host, sizeof host, port, sizeof port));
    assert_false(config_split_address("[::1:1", host, sizeof host, port, sizeof port));
    assert_false(config_split_address("[:1", host, sizeof host, port, sizeof port));
    assert_false(config_split_address("an-address-that-is-too-long-for-it:1", host, sizeof host, port, sizeof port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_whole),
        cmocka_unit_test(flag_beats_environment_beats_file),
        cmocka_unit_test(members_come_from_several_lines),
        cmocka_unit_test(mistakes_are_told_with_their_place),
        cmocka_unit_test(bad_flags_and_variables_are_told),
        cmocka_unit_test(a_repeated_line_is_refused),
        cmocka_unit_test(a_misspelt_variable_is_refused),
        cmocka_unit_test(actions_are_seen),
        cmocka_unit_test(every_setting_reads_back),
        cmocka_unit_test(the_shipped_file_is_good),
        cmocka_unit_test(addresses_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
