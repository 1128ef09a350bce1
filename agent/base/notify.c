/*
 * The service manager's socket; see notify.h.
 */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/notify.h"
#include "agent/base/own.h"
#include "agent/base/str.h"

static struct sockaddr_un manager;
static socklen_t manager_size;          /* 0: nobody asked */
static int64_t watchdog;

void notify_take(void)
{
        const char *path = getenv("NOTIFY_SOCKET"), *period = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
        int64_t usec, whose;

        manager_size = 0;
        watchdog = 0;
        if (path && (*path == '/' || *path == '@') && path[1] && strlen(path) < sizeof manager.sun_path) {
                manager = (struct sockaddr_un) { .sun_family = AF_UNIX };
                memcpy(manager.sun_path, path, strlen(path));
                manager_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path));
                if (*path == '@')
                        manager.sun_path[0] = '\0';
        }
        if (manager_size && period && str_int64(period, 1, INT64_MAX / 1000, &usec, NULL) == 0 &&
            (!pid || (str_int64(pid, 1, INT32_MAX, &whose, NULL) == 0 && whose == getpid())))
                watchdog = usec * 1000;
        unsetenv("NOTIFY_SOCKET");
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
}

void notify_say(const char *lines)
{
        auto_fd int fd = manager_size ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

        if (fd >= 0)
                (void) !sendto(fd, lines, strlen(lines), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *) &manager, manager_size);
}

int64_t notify_watchdog(void)
{
        return watchdog;
}
