/* fuzz_config.c - settings of a file, as somebody types them. What is taken can be written down and read again.
 * Input: the file. */
#include "node/config.h"
#include "tests/fuzz/fuzz_store.h"

static void write_file(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    fuzz_must(f != NULL && fwrite(bytes, 1, len, f) == len && fclose(f) == 0, "a file can be written");
}

static void check_settings(const struct config *c)
{
    char text[8192], again[8192], error[CONFIG_ERROR_MAX];
    for (size_t i = 0; config_setting_at(i) != NULL; i++) {
        const struct config_setting *setting = config_setting_at(i);
        struct config other = *c;
        other.n_members = 0; /* Members are added to those there are. */
        int len = config_format(c, setting, text, sizeof text);
        fuzz_must(len >= 0 && (size_t)len < sizeof text, "a setting can be written down");
        if (text[0] == '\0')
            continue; /* Not set. */
        if (config_set(&other, setting, text, error) != 0) {
            fprintf(stderr, "%s = %s: %s\n", config_setting_name(setting), text, error);
            fuzz_must(false, "and read again");
        }
        config_format(&other, setting, again, sizeof again);
        fuzz_must(strcmp(text, again) == 0, "and says the same");
    }
}

static void check_address(const uint8_t *bytes, size_t len)
{
    char host[32], port[6], *text = malloc(len + 1);
    fuzz_must(text != NULL, "memory suffices");
    memcpy(text, bytes, len);
    text[len] = '\0';
    if (config_split_address(text, host, sizeof host, port, sizeof port))
        fuzz_must(strlen(host) < sizeof host && strlen(port) < sizeof port, "host and port fit");
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct config c;
    char path[128], error[CONFIG_ERROR_MAX] = "", flag[] = "--config";
    char *argv[] = {"holdfastd", flag, path, NULL};
    enum config_action action;
    snprintf(path, sizeof path, "%s", fuzz_file("made.db"));
    write_file(path, bytes, len);
    int rc = config_load(3, argv, NULL, &c, &action, error);
    fuzz_must(rc == 0 || error[0] != '\0', "a refusal has words");
    if (rc == 0)
        check_settings(&c);
    check_address(bytes, len);
    return 0;
}
