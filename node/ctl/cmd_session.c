/* cmd_session.c - the sessions of clients, shown and ended. */
#include "node/ctl/json.h"
#include "node/ctl/show.h"
#include <stdio.h>

static enum ctl_exit session_list(struct ctl *ctl)
{
    static const char *const argv[] = {"SESSION", "LIST"};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, false, 2, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    status = show_maps(ctl, reply, "no sessions");
    resp_value_free(reply);
    return status;
}

static enum ctl_exit session_info(struct ctl *ctl)
{
    const char *const argv[] = {"SESSION", "INFO", ctl->argv[1]};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, false, 3, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    status = show_map(ctl, reply);
    resp_value_free(reply);
    return status;
}

static enum ctl_exit session_close(struct ctl *ctl)
{
    const char *const argv[] = {"SESSION", "CLOSE", ctl->argv[1]};
    struct resp_value *reply;
    enum ctl_exit status = ctl_ask(ctl, true, 3, argv, NULL, &reply);
    if (status != CTL_OK)
        return status;
    resp_value_free(reply);
    if (ctl->options->json)
        return ctl_print_json(json_pack("{s:b}", "closed", 1));
    puts("OK");
    return CTL_OK;
}

enum ctl_exit cmd_session(struct ctl *ctl)
{
    static const struct ctl_verb verbs[] = {
        {"list", "", 0, 0, session_list},
        {"info", "ID", 1, 1, session_info},
        {"close", "ID", 1, 1, session_close},
    };
    return ctl_run_verb(ctl, "session", verbs, sizeof verbs / sizeof *verbs);
}
