#pragma once

/*
 * Log lines, one write(2) each, to stderr
 *
 * The level goes in front in sd-daemon(3) form ("<6>") when stderr is no
 * terminal, so that the journal files it right.  A thread that works on a request
 * sets its id, which then stands in each of its lines.
 */

#include <stdint.h>

enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_INFO = 6, LOG_DEBUG = 7 };

/* Lines less urgent than @level are dropped.  Default: LOG_INFO. */
void log_set_level(int level);

/* The level called @name ("error", "warning", "info", "debug"), or -1. */
int log_level_of(const char *name);

/* The request this thread works on; borrowed until changed; NULL: none. */
void log_set_request(const char *request);
const char *log_request(void);

__attribute__((format(printf, 2, 3)))
void log_line(int level, const char *format, ...);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
