/*
 * Stopping, killing and removing; see ending.h.
 *
 * v2 has a file that kills a whole cgroup at once.  Without it (v1, and processes
 * that somebody moved within v1 only) the freezer holds everybody still while each
 * gets his SIGKILL, so that no fork escapes and no pid can be somebody else's by
 * the time it is used; the signals take effect when it thaws.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/str.h"
#include "cgroup/ending.h"

#define WAIT_FIRST NSEC_PER_MSEC
#define WAIT_MAX (20 * NSEC_PER_MSEC)

/* Wait a little, longer each time; -1 when @call ended. */
static int pause_for(const struct cringle_call *call, int64_t *wait, struct cringle_err *err)
{
        if (call_wait(call, -1, 0, *wait, err) < 0)
                return -1;
        *wait = *wait * 2 > WAIT_MAX ? WAIT_MAX : *wait * 2;
        return 0;
}

/* In which v1 tree processes are looked for: all of them have everybody, the freezer can also stop them. */
static const struct tree *v1_of(const struct trees *t)
{
        const struct tree *freezer = trees_with(t, "freezer");

        if (freezer && !freezer->v2)
                return freezer;
        for (size_t i = 0; i < t->n; i++)
                if (!t->list[i].v2)
                        return &t->list[i];

        return NULL;
}

/* The value of "@key 0|1" in cgroup.events; -1: no such file (the cgroup is gone). */
static int event_of(const struct tree *t, const char *path, const char *key)
{
        auto_buf text = BUF_INIT;
        const char *at;

        if (tree_read(t, path, "cgroup.events", &text, NULL) <= 0 || !text.len)
                return -1;
        at = strstr(text.data, key);
        return at ? at[strlen(key) + 1] == '1' : -1;
}

/* Send @signal (0: only look) to those in @dirs.  How many there were. */
static int signal_all(const struct tree *t, char *const *dirs, int signal, size_t *ret_n, struct cringle_err *err)
{
        size_t n = 0;

        for (size_t i = 0; dirs[i]; i++) {
                auto_buf text = BUF_INIT;
                char *rest;

                if (tree_read(t, dirs[i], "cgroup.procs", &text, err) < 0) {
                        if (err && err->sys == ENODEV)
                                continue;       /* removed between open and read */
                        return -1;
                }
                for (char *line = text.data ? strtok_r(text.data, "\n", &rest) : NULL; line;
                     line = strtok_r(NULL, "\n", &rest)) {
                        int64_t pid;

                        if (str_int64(line, 1, INT32_MAX, &pid, NULL) < 0)
                                continue;       /* 0: in a PID namespace we cannot see into */
                        n++;
                        if (signal)
                                kill((pid_t) pid, signal);
                }
        }
        *ret_n = n;
        return 0;
}

static void set_freezer(const struct tree *t, char *const *dirs, const char *state)
{
        /* Freezing the top holds all below; what a container froze itself must thaw one by one. */
        for (size_t i = 0; dirs[i]; i++)
                tree_write(t, dirs[i], "freezer.state", state, NULL);
}

/* One round: 1 while somebody is there, 0 when nobody is. */
static int kill_v1(const struct tree *t, const char *path, struct cringle_err *err)
{
        auto_strv dirs = NULL;
        size_t n;

        if (tree_walk(t, path, &dirs, err) < 0 || signal_all(t, dirs, 0, &n, err) < 0)
                return -1;
        if (n == 0)
                return 0;
        tree_write(t, path, "freezer.state", "FROZEN", NULL);
        if (signal_all(t, dirs, SIGKILL, &n, err) < 0) {
                set_freezer(t, dirs, "THAWED");
                return -1;
        }
        set_freezer(t, dirs, "THAWED");
        return 1;
}

/* The same without cgroup.kill (before Linux 5.14), or through it. */
static int kill_v2(const struct tree *t, const char *path, struct cringle_err *err)
{
        auto_strv dirs = NULL;
        size_t n;
        int written;

        if (event_of(t, path, "populated") != 1)
                return 0;
        written = tree_write(t, path, "cgroup.kill", "1", err);
        if (written != 0)
                return written;
        if (tree_walk(t, path, &dirs, err) < 0 || signal_all(t, dirs, SIGKILL, &n, err) < 0)
                return -1;
        return 1;
}

int ending_kill(const struct trees *t, const struct cringle_call *call, const char *path, struct cringle_err *err)
{
        const struct tree *v1 = v1_of(t);
        int64_t wait = WAIT_FIRST;

        for (;;) {
                int left = t->unified ? kill_v2(t->unified, path, err) : 0;
                int others = left >= 0 && v1 ? kill_v1(v1, path, err) : 0;

                if (left < 0 || others < 0)
                        return -1;
                if (!left && !others)
                        return 0;
                if (pause_for(call, &wait, err) < 0)
                        return err_wrap(err, "processes in cgroup %s do not end", path);
        }
}

/* --- freezing --- */

static int is_v1_frozen(const struct tree *t, const char *path, bool *ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;

        if (tree_read(t, path, "freezer.state", &text, err) < 0)
                return -1;
        *ret = text.len && str_starts(text.data, "FROZEN");
        return 0;
}

/* 1: it is as wanted, 0: not yet. */
static int freeze_step(const struct tree *t, const char *path, bool frozen, struct cringle_err *err)
{
        bool now = false;
        int r;

        if (t->v2) {
                if (event_of(t, path, "frozen") == frozen)
                        return 1;
                r = tree_write(t, path, "cgroup.freeze", frozen ? "1" : "0", err);
        } else {
                if (is_v1_frozen(t, path, &now, err) < 0)
                        return -1;
                if (now == frozen)
                        return 1;
                r = tree_write(t, path, "freezer.state", frozen ? "FROZEN" : "THAWED", err);
        }
        if (r == 0)
                return err_set(err, CRINGLE_E_NOT_FOUND, "no cgroup %s", path);
        return r < 0 ? -1 : 0;
}

int ending_freeze(const struct trees *t, const struct cringle_call *call, const char *path, bool frozen,
                  struct cringle_err *err)
{
        /* v2's can be killed while frozen, so it goes first. */
        const struct tree *tree = t->unified ? t->unified : v1_of(t);
        int64_t wait = WAIT_FIRST;

        for (;;) {
                int done = freeze_step(tree, path, frozen, err);

                if (done != 0)
                        return done < 0 ? -1 : 0;
                if (pause_for(call, &wait, err) < 0) {
                        if (frozen)
                                freeze_step(tree, path, false, NULL);
                        return err_wrap(err, "cgroup %s does not %s", path, frozen ? "freeze" : "thaw");
                }
        }
}

/* --- removing --- */

/* 1: gone from every tree, 0: somewhere still busy. */
static int remove_all(const struct trees *t, const char *path, struct cringle_err *err)
{
        int all = 1;

        for (size_t i = 0; i < t->n; i++) {
                int gone = tree_remove(&t->list[i], path, err);

                if (gone < 0)
                        return -1;
                all = all && gone;
        }
        return all;
}

/* Who is left in some v1 tree only gets his SIGKILL there. */
static int kill_stragglers(const struct trees *t, const char *path, struct cringle_err *err)
{
        for (size_t i = 0; i < t->n; i++)
                if (!t->list[i].v2 && kill_v1(&t->list[i], path, err) < 0)
                        return -1;
        return 0;
}

int ending_destroy(const struct trees *t, const struct cringle_call *call, const char *path, struct cringle_err *err)
{
        int64_t wait = WAIT_FIRST;

        kept_forget(t->kept, path);
        /* A monitor has usually seen to it that all are dead: then nothing needs killing. */
        for (;;) {
                int gone = remove_all(t, path, err);

                if (gone != 0)
                        return gone < 0 ? -1 : 0;
                if (ending_kill(t, call, path, err) < 0 || kill_stragglers(t, path, err) < 0)
                        return -1;
                if (pause_for(call, &wait, err) < 0)
                        return err_wrap(err, "cgroup %s cannot be removed", path);
        }
}
