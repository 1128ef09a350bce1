/*
 * cringle-hold: the process that keeps a scope alive
 *
 * systemd starts a scope with a process in it and removes its cgroup, with the
 * counts that tell of an OOM kill, the moment the last one has ended.  A container's
 * cgroup has to be there before its first process, and until its end has been
 * looked into: this does nothing, in a cgroup beside it, for as long.
 *
 *      cringle-hold UNIT <GO >PID
 *
 * Prints the pid of the process that stays; the one that was called ends.  That
 * process ends as well unless a byte comes from GO: whoever called may die before
 * the scope is his to end.  UNIT is for who looks with ps.
 */

#include <sys/types.h>
#include <unistd.h>

static int say(pid_t pid)
{
        char text[16];
        size_t at = sizeof text;

        text[--at] = '\n';
        for (; pid > 0; pid /= 10)
                text[--at] = (char) ('0' + pid % 10);
        return write(1, text + at, sizeof text - at) == (ssize_t) (sizeof text - at) ? 0 : 1;
}

int main(void)
{
        pid_t pid = fork();
        char go;

        if (pid != 0)
                return pid < 0 ? 1 : say(pid);

        close(1);
        setsid();
        if (read(0, &go, 1) != 1)
                return 0;
        close(0);
        close(2);
        for (;;)
                pause();
}
