/* log.c - how a line gets out: formatted into one buffer and given to the kernel in one write(), so that lines
 * of several threads, or of several daemons with one file, never mix. A line that cannot be written is lost:
 * there is nobody else to tell. */
#include "node/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

static struct {
    int fd;
    enum log_level level;
    char path[4096];
} out = {.fd = STDERR_FILENO, .level = LOG_INFO};

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

int log_level_from_name(const char *name)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (strcasecmp(name, level_names[i]) == 0)
            return (int)i;
    return -1;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

static int open_path(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    return fd >= 0 ? fd : -errno;
}

int log_begin(const char *path, enum log_level level)
{
    out.level = level;
    if (*path == '\0')
        return 0;
    if (strlen(path) >= sizeof out.path)
        return -ENAMETOOLONG;
    int fd = open_path(path);
    if (fd < 0)
        return fd;
    log_end();
    strcpy(out.path, path);
    out.fd = fd;
    return 0;
}

void log_set_level(enum log_level level)
{
    out.level = level;
}

enum log_level log_get_level(void)
{
    return out.level;
}

void log_reopen(void)
{
    if (out.path[0] == '\0')
        return;
    int fd = open_path(out.path);
    if (fd < 0) {
        log_error("cannot open the log file %s again: %s; writing on to the old one", out.path, strerror(-fd));
        return;
    }
    /* dup2 keeps the number, so a thread in the middle of a write() is not surprised. */
    dup2(fd, out.fd);
    close(fd);
}

void log_end(void)
{
    if (out.fd != STDERR_FILENO)
        close(out.fd);
    out.fd = STDERR_FILENO;
    out.path[0] = '\0';
}

static size_t put_head(char *line, size_t cap, enum log_level level)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(line, cap, "%Y-%m-%dT%H:%M:%S", &utc);
    return n + (size_t)snprintf(line + n, cap - n, ".%03ldZ %-7s ", now.tv_nsec / 1000000, level_names[level]);
}

/* Text from outside (names, error words of peers) must not forge a line of its own. */
static void blank_controls(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

void log_write(enum log_level level, const char *format, ...)
{
    if (level > out.level)
        return;
    char line[LOG_LINE_MAX];
    size_t n = put_head(line, sizeof line, level);
    va_list args;
    va_start(args, format);
    vsnprintf(line + n, sizeof line - n - 1, format, args);
    va_end(args);
    blank_controls(line + n);
    n += strlen(line + n);
    line[n++] = '\n';
    ssize_t written = write(out.fd, line, n);
    (void)written;
}
