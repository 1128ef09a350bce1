/*
 * Which guard is taken away: never part of what is installed (see guard.h)
 *
 * It is read before main(), for most of our processes see no file later.  libc only.
 */

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/guard.h"
#include "unguarded.h"          /* made in the build directory; UNGUARDED is the file's path */

static char gone[64];

__attribute__((constructor)) static void learn(void)
{
        int fd = open(UNGUARDED, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return;
        if (read(fd, gone, sizeof gone - 1) < 0)
                gone[0] = '\0';
        close(fd);
}

bool guard_stands(const char *name)
{
        return strcmp(name, gone) != 0;
}
