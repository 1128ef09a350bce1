/*
 * Namespaces; see ns.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/ns.h"
#include "agent/base/own.h"
#include "agent/base/path.h"

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

/* --- a mount namespace for a moment --- */

struct apart {
        int (*fn)(void *data, struct cringle_err *err);
        void *data;
        struct cringle_err *err;
        int result;
};

static int part_mounts(struct cringle_err *err)
{
        if (unshare(CLONE_NEWNS) < 0)
                return err_sys(err, "unshare mount namespace");
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return err_sys(err, "make mounts private");
        return 0;
}

static void *apart_main(void *data)
{
        struct apart *a = data;

        a->result = part_mounts(a->err) < 0 ? -1 : a->fn(a->data, a->err);
        return NULL;
}

int ns_apart(int (*fn)(void *data, struct cringle_err *err), void *data, struct cringle_err *err)
{
        struct apart a = { .fn = fn, .data = data, .err = err, .result = -1 };
        sigset_t all, before;
        pthread_t thread;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);    /* signals are for the agent's own threads */
        r = pthread_create(&thread, NULL, apart_main, &a);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r != 0)
                return err_sysno(err, r, "start thread");
        pthread_join(thread, NULL);
        return a.result;
}

/* --- a user namespace to try things with --- */

#define SAMPLE_STACK (64u << 10)

struct sample {
        char uids[32], gids[32];
        int fd;
        int sys;        /* errno, or 0 */
};

static int put(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC), r = -1;

        if (fd < 0)
                return -1;
        if (write(fd, text, strlen(text)) == (ssize_t) strlen(text))
                r = 0;
        close(fd);
        return r;
}

/* Shares memory and fds with us, who wait: it may do nothing but make system calls. */
static int sample_main(void *data)
{
        struct sample *s = data;

        if (put("/proc/self/setgroups", "deny") == 0 && put("/proc/self/uid_map", s->uids) == 0 &&
            put("/proc/self/gid_map", s->gids) == 0)
                s->fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
        s->sys = s->fd < 0 ? errno : 0;
        return 0;
}

int ns_user_sample(struct cringle_err *err)
{
        auto_free char *stack = malloc(SAMPLE_STACK);
        struct sample s = { .fd = -1 };
        sigset_t all, before;
        int sys;
        pid_t pid;

        if (!stack)
                return err_oom(err);
        snprintf(s.uids, sizeof s.uids, "0 %u 1", geteuid());
        snprintf(s.gids, sizeof s.gids, "0 %u 1", getegid());

        /* A handler of ours must not run in the child, on our memory. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pid = clone(sample_main, stack + SAMPLE_STACK, CLONE_NEWUSER | CLONE_VM | CLONE_FILES | CLONE_VFORK | SIGCHLD, &s);
        sys = errno;
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (pid < 0)
                return err_sysno(err, sys, "make a user namespace");
        if (s.fd < 0)
                return err_sysno(err, s.sys, "map ids of a user namespace");
        return s.fd;
}
