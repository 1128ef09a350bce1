/*
 * Scopes; see scope.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/str.h"
#include "agent/base/testpoint.h"
#include "cgroup/ending.h"
#include "plugins/cgroup-systemd/scope.h"

#define UNDO_TIME (10 * NSEC_PER_SEC)
#define TRIES 3

/* --- the process that holds it --- */

/* Waits for a byte at `go`, and ends when there is none: closing that is enough to be rid of it. */
struct holder {
        pid_t pid;
        int go;
};

static inline void auto_holder_(struct holder *h)
{
        fd_close(h->go);
}

#define auto_holder auto_cleanup(auto_holder_) struct holder

static int read_pid(int fd, const struct cringle_call *call, pid_t *ret, struct cringle_err *err)
{
        char text[16] = "";
        int64_t pid;
        ssize_t n;

        if (call_wait(call, fd, POLLIN, -1, err) < 0)
                return -1;
        n = read(fd, text, sizeof text - 1);
        if (n < 0)
                return err_sys(err, "read");
        text[strcspn(text, "\n")] = '\0';
        if (str_int64(text, 2, INT32_MAX, &pid, NULL) < 0)
                return err_set(err, CRINGLE_E_INTERNAL, "it tells no pid");
        *ret = (pid_t) pid;
        return 0;
}

static int start_holder(const struct scopes *s, const struct cringle_call *call, const char *unit, struct holder *ret,
                        struct cringle_err *err)
{
        const char *const argv[] = { "cringle-hold", unit, NULL };
        auto_fd int go_read = -1, go_write = -1, pid_read = -1, pid_write = -1;
        struct child child = CHILD_INIT;
        int go[2], pid[2], status;

        if (pipe2(go, O_CLOEXEC) < 0)
                return err_sys(err, "pipe");
        go_read = go[0], go_write = go[1];
        if (pipe2(pid, O_CLOEXEC) < 0)
                return err_sys(err, "pipe");
        pid_read = pid[0], pid_write = pid[1];

        const struct child_fd fds[] = { { go_read, 0 }, { pid_write, 1 } };
        const struct child_spec spec = { .path = s->hold, .argv = argv, .fds = fds, .n_fds = 2 };

        if (child_spawn(&spec, &child, err) < 0)
                return -1;
        if (child_wait(&child, call, &status, err) < 0)
                return err_wrap(err, "%s", s->hold);
        pid_write = fd_close(pid_write);
        if (read_pid(pid_read, call, &ret->pid, err) < 0)
                return err_wrap(err, "%s", s->hold);
        ret->go = steal_fd(&go_write);
        return 0;
}

/* --- what there is --- */

static bool populated(const struct tree *t, const char *path)
{
        auto_buf events = BUF_INIT;

        return tree_read(t, path, "cgroup.events", &events, NULL) > 0 && events.data && strstr(events.data, "populated 1");
}

/* --- making --- */

/* @h out of the scope's own directory: as long as one is there, none below may have limits. */
static int settle_holder(const struct scopes *s, const struct place *p, const struct holder *h, struct cringle_err *err)
{
        char pid[16];
        int r;

        if (mkdirat(s->tree->fd, p->hold, 0755) < 0 && errno != EEXIST)
                return err_sys(err, "make %s/%s", s->tree->mount, p->hold);
        snprintf(pid, sizeof pid, "%d", h->pid);
        r = tree_write(s->tree, p->hold, "cgroup.procs", pid, err);
        if (r == 0)
                return err_set(err, CRINGLE_E_INTERNAL, "%s/%s went away", s->tree->mount, p->hold);
        if (r < 0)
                return -1;
        return write(h->go, "", 1) == 1 ? 0 : err_sys(err, "tell the process of %s", p->unit);
}

static int start(const struct scopes *s, const struct cringle_call *call, const struct place *p,
                 const struct properties *properties, struct cringle_err *err)
{
        auto_holder h = { .go = -1 };
        auto_free char *description = str_printf(err, "cringle: %s", p->shared ? "monitors, and pods without a parent"
                                                                                : p->unit);
        int r;

        if (!description || start_holder(s, call, p->unit, &h, err) < 0)
                return -1;
        test_point("scope:held");
        r = bus_start_scope(s->bus, call, p->unit, p->slice, description, h.pid, properties, err);
        if (r != BUS_STARTED)
                return r;
        test_point("scope:started");
        if (!tree_has(s->tree, p->scope))
                return err_set(err, CRINGLE_E_INTERNAL, "systemd has started %s, but there is no %s/%s", p->unit,
                               s->tree->mount, p->scope);
        return settle_holder(s, p, &h, err);
}

/*
 * What is left of one that nobody holds: its process was killed, or an agent died
 * between two steps.  In a shared one others may be by now: then it is no leftover.
 */
static int clear(const struct scopes *s, const struct cringle_call *call, const struct place *p, struct cringle_err *err)
{
        if (!p->shared)
                return scope_end(s, call, p, err);
        return populated(s->tree, p->scope) ? 0 : bus_stop(s->bus, call, p->unit, err);
}

int scope_make(const struct scopes *s, const struct cringle_call *call, const struct place *p,
               const struct properties *properties, struct cringle_err *err)
{
        for (int i = 0; i < TRIES; i++) {
                int r;

                if (populated(s->tree, p->shared ? p->scope : p->hold))
                        return 0;
                r = start(s, call, p, properties, err);
                if (r == BUS_STARTED)
                        return 1;
                if (r < 0) {
                        struct cringle_call undo = call_within(NULL, UNDO_TIME);

                        clear(s, &undo, p, NULL);
                        return -1;
                }
                if (clear(s, call, p, err) < 0)
                        return -1;
        }
        return err_set(err, CRINGLE_E_UNAVAILABLE, "systemd has a unit %s that does not go away", p->unit);
}

/* --- ending --- */

int scope_end(const struct scopes *s, const struct cringle_call *call, const struct place *p, struct cringle_err *err)
{
        /* Those in there first: systemd would ask them to end, and wait for them. */
        if (ending_destroy(s->trees, call, p->group, err) < 0 || bus_stop(s->bus, call, p->unit, err) < 0)
                return -1;
        return ending_destroy(s->trees, call, p->scope, err);
}
