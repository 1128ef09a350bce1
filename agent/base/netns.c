/*
 * Network namespaces; see netns.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/netns.h"
#include "agent/base/own.h"
#include "agent/base/path.h"

struct up {
        int netns_fd;
        int sys;        /* errno, or 0 */
};

/*
 * A socket belongs to the namespace its thread was in when it was made, and so
 * does the ioctl.  The thread ends there: nothing needs to be put back.
 */
static void *loopback_up(void *data)
{
        struct up *up = data;
        struct ifreq request = { .ifr_name = "lo" };
        auto_fd int fd = -1;

        if (setns(up->netns_fd, CLONE_NEWNET) < 0) {
                up->sys = errno;
                return NULL;
        }
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
                up->sys = errno;
                return NULL;
        }
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
                up->sys = errno;
        return NULL;
}

int netns_loopback_up(int netns_fd, struct cringle_err *err)
{
        struct up up = { .netns_fd = netns_fd };
        pthread_t thread;
        int r = pthread_create(&thread, NULL, loopback_up, &up);

        if (r)
                return err_sysno(err, r, "start a thread");
        pthread_join(thread, NULL);
        if (up.sys)
                return err_sysno(err, up.sys, "bring loopback up");
        return 0;
}

int ns_pin(int fd, const char *path, struct cringle_err *err)
{
        char source[PATH_OF_FD_MAX];
        auto_fd int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (file < 0)
                return err_sys(err, "create %s", path);

        path_of_fd(fd, source);
        if (mount(source, path, NULL, MS_BIND, NULL) < 0) {
                err_sys(err, "pin namespace at %s", path);
                unlink(path);
                return -1;
        }
        return 0;
}

int ns_unpin(const char *path, struct cringle_err *err)
{
        /* EINVAL: a file, but nothing mounted on it */
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
                return err_sys(err, "unpin %s", path);
        if (unlink(path) < 0 && errno != ENOENT)
                return err_sys(err, "remove %s", path);
        return 0;
}
