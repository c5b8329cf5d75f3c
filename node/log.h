/* log.h - what the daemon tells its operator: one line an event, to standard error or a file.
 *
 *     2026-01-31T12:00:00.123Z info   listening for clients on 127.0.0.1:7401
 *
 * (raft/log.h, the replicated log, has log_open() and log_close(): hence begin and end here.)
 * Process-wide, since there is one operator. Loop thread; log_write() may be called on any thread. */
#pragma once
#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* The level for a word ("error", "warning", "info", "debug"), or -1. */
int log_level_from_name(const char *name);
const char *log_level_name(enum log_level level);

/* path "" is standard error; a file is appended to. 0, or -errno (then the log stays where it was). */
int log_begin(const char *path, enum log_level level);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Open the same path anew, for a log rotator that has moved the file (SIGHUP). */
void log_reopen(void);
void log_end(void);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
/* The arguments are evaluated only when the level is on. */
#define log_debug(...) ((void)(log_get_level() >= LOG_DEBUG && (log_write(LOG_DEBUG, __VA_ARGS__), true)))
