/*
 * Places where a test may kill the process; see testpoint.h.
 */

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/base/testpoint.h"

#ifdef CRINGLE_TESTPOINTS
void test_point(const char *name)
{
        const char *file = getenv("CRINGLE_TESTPOINTS"), *victim = getenv("CRINGLE_KILL_AT");

        if (file) {
                int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
                struct iovec line[] = { { (void *) name, strlen(name) }, { (void *) "\n", 1 } };

                if (fd >= 0) {
                        (void) !writev(fd, line, 2);
                        close(fd);
                }
        }
        if (victim && strcmp(victim, name) == 0)
                kill(getpid(), SIGKILL);
}
#endif
