/* join.h - becoming a member of a cluster that runs: asking for it, and the file "join" in the data directory, which
 * says from then on whose directory it is.
 *
 * The file, and the answer to MEMBER JOIN, are lines of text: "cluster HEX", "node ID", "vote 0|1" (does it still want
 * to be promoted), "replaces ID", and a "member ID host:port" for each whom it may ask for the log. */
#pragma once
#include "node/config.h"

#define JOIN_FILE "join"
#define JOIN_TEXT_MAX (128 + CONFIG_MEMBERS_MAX * 320)

struct join {
    char cluster_id[33]; /* hex */
    uint64_t node_id;
    bool wants_vote;
    uint64_t replaces; /* 0: nobody */
    struct config_member members[CONFIG_MEMBERS_MAX];
    size_t n_members;
};

/* Returns the length. */
size_t join_format(const struct join *join, char text[JOIN_TEXT_MAX]);
/* False: it makes no sense. */
bool join_parse(const char *text, size_t len, struct join *ret);
/* 1: read; 0: there is no such file; -1: with a sentence. */
int join_load(const char *data_dir, struct join *ret, char error[256]);
/* Durable when it returns. 0, or -1 with a sentence. */
int join_store(const char *data_dir, const struct join *join, char error[256]);
/* Ask the nodes of config->join until one takes us in. Blocking, at most JOIN_ASK_MS. 0, or -1 with a sentence. */
#define JOIN_ASK_MS 30000
int join_ask(const struct config *config, struct join *ret, char error[256]);
