/* join.c - the file is written anew and renamed: a crash leaves all of it or nothing, and then the cluster is asked
 * once more; it knows the address again, and gives the learner that never came another id. */
#include "node/join.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

size_t join_format(const struct join *join, char text[JOIN_TEXT_MAX])
{
    size_t len = (size_t)snprintf(text, JOIN_TEXT_MAX, "cluster %s\nnode %" PRIu64 "\nvote %d\nreplaces %" PRIu64 "\n",
                                  join->cluster_id, join->node_id, join->wants_vote, join->replaces);
    for (size_t i = 0; i < join->n_members; i++)
        len += (size_t)snprintf(text + len, JOIN_TEXT_MAX - len, "member %" PRIu64 " %s\n", join->members[i].id,
                                join->members[i].address);
    return len;
}

static bool parse_member(const char *value, struct join *ret)
{
    struct config_member *m = &ret->members[ret->n_members];
    char host[256], port[16];
    if (ret->n_members == CONFIG_MEMBERS_MAX || sscanf(value, "%" SCNu64 " %255s", &m->id, m->address) != 2 ||
        m->id == 0 || !config_split_address(m->address, host, sizeof host, port, sizeof port))
        return false;
    ret->n_members++;
    return true;
}

static bool parse_line(const char *line, struct join *ret)
{
    unsigned flag;
    if (strncmp(line, "member ", 7) == 0)
        return parse_member(line + 7, ret);
    if (sscanf(line, "cluster %32[0-9a-f]", ret->cluster_id) == 1)
        return strlen(ret->cluster_id) == 32;
    if (sscanf(line, "vote %u", &flag) == 1) {
        ret->wants_vote = flag != 0;
        return flag <= 1;
    }
    return sscanf(line, "node %" SCNu64, &ret->node_id) == 1 || sscanf(line, "replaces %" SCNu64, &ret->replaces) == 1;
}

bool join_parse(const char *text, size_t len, struct join *ret)
{
    struct join join = {.node_id = 0};
    while (len > 0) {
        char line[320];
        const char *end = memchr(text, '\n', len);
        size_t n = end != NULL ? (size_t)(end - text) : len;
        if (end == NULL || n >= sizeof line)
            return false;
        memcpy(line, text, n);
        line[n] = '\0';
        if (!parse_line(line, &join))
            return false;
        text += n + 1;
        len -= n + 1;
    }
    if (join.node_id == 0 || join.cluster_id[0] == '\0' || join.n_members == 0)
        return false;
    *ret = join;
    return true;
}

/* ---- The file ---- */

static int say(char error[256], const char *what, const char *path)
{
    snprintf(error, 256, "%s %.160s: %s", what, path, strerror(errno));
    return -1;
}

int join_load(const char *data_dir, struct join *ret, char error[256])
{
    char path[4200], text[JOIN_TEXT_MAX + 1];
    snprintf(path, sizeof path, "%s/" JOIN_FILE, data_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : say(error, "cannot read", path);
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    if (n < 0)
        return say(error, "cannot read", path);
    if (join_parse(text, (size_t)n, ret))
        return 1;
    snprintf(error, 256, "the file %.160s is damaged: it says which node of which cluster this directory is", path);
    return -1;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR)
            return -1;
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return fsync(fd);
}

static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0)
        close(fd);
    return rc;
}

int join_store(const char *data_dir, const struct join *join, char error[256])
{
    char path[4200], fresh[4210], text[JOIN_TEXT_MAX];
    size_t len = join_format(join, text);
    snprintf(path, sizeof path, "%s/" JOIN_FILE, data_dir);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    if (mkdir(data_dir, 0755) != 0 && errno != EEXIST)
        return say(error, "cannot make", data_dir);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return say(error, "cannot write", fresh);
    int rc = write_all(fd, text, len);
    close(fd);
    if (rc != 0 || rename(fresh, path) != 0 || sync_directory(data_dir) != 0)
        return say(error, "cannot write", path);
    return 0;
}
