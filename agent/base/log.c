/*
 * Log lines; see log.h.  A line that does not fit is cut, never split: two
 * threads' lines must not mix, and one write is the only lock there is.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/log.h"

static atomic_int threshold = LOG_INFO;
static _Thread_local const char *current_request;

static const struct {
        int level;
        const char *name;
} levels[] = {
        { LOG_ERROR, "error" },
        { LOG_WARNING, "warning" },
        { LOG_INFO, "info" },
        { LOG_DEBUG, "debug" },
};

void log_set_level(int level)
{
        threshold = level;
}

int log_level_of(const char *name)
{
        for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
                if (strcmp(levels[i].name, name) == 0)
                        return levels[i].level;

        return -1;
}

void log_set_request(const char *request)
{
        current_request = request;
}

const char *log_request(void)
{
        return current_request;
}

static const char *name_of(int level)
{
        for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
                if (levels[i].level == level)
                        return levels[i].name;

        return "?";
}

void log_line(int level, const char *format, ...)
{
        static _Thread_local int terminal = -1;
        char line[4096];
        int saved = errno;
        va_list args;
        size_t n;

        if (level > threshold)
                return;
        if (terminal < 0)
                terminal = isatty(STDERR_FILENO);

        n = (size_t) (terminal ? snprintf(line, sizeof line, "%s: ", name_of(level))
                               : snprintf(line, sizeof line, "<%d>", level));
        if (current_request)
                n += (size_t) snprintf(line + n, sizeof line - n, "[%.64s] ", current_request);

        errno = saved;
        va_start(args, format);
        n += (size_t) vsnprintf(line + n, sizeof line - n, format, args);
        va_end(args);

        if (n > sizeof line - 2)
                n = sizeof line - 2;
        for (size_t i = 0; i < n; i++)          /* what others wrote must not forge lines of ours */
                if ((unsigned char) line[i] < ' ')
                        line[i] = ' ';
        line[n++] = '\n';
        (void) !write(STDERR_FILENO, line, n);  /* when it fails there is nobody left to tell */
        errno = saved;
}
