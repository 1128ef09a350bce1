/*
 * What the monitor itself does with cgroups: count OOM kills, kill, give execs a
 * place of their own
 *
 * Limits and lifetime are the cgroup driver's.  Paths here are the agent's; all of
 * them lie in cgroup file systems, which only root can change.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/monitor/monitor.h"

#define PROCS_MAX (1u << 20)    /* bytes of a cgroup.procs that are looked at, at a time */
#define DEPTH_MAX 16            /* of cgroups below a container's */
#define ROUNDS 100              /* of killing what keeps forking */

static bool has(const char *dir, const char *name)
{
        auto_free char *path = str_printf(NULL, "%s/%s", dir, name);

        return path && file_exists(path);
}

/* The number after "@key " in the file; 0 when there is none. */
static uint64_t number_of(const char *dir, const char *name, const char *key)
{
        auto_free char *path = str_printf(NULL, "%s/%s", dir, name);
        auto_buf text = BUF_INIT;
        size_t n = strlen(key);

        if (!path || file_read(path, 65536, &text, NULL) < 0)
                return 0;
        for (const char *line = text.data; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0)
                if (strncmp(line, key, n) == 0 && line[n] == ' ')
                        return strtoull(line + n + 1, NULL, 10);
        return 0;
}

uint64_t cgroup_oom_kills(const char *unified, const char *const *v1)
{
        uint64_t kills = 0;

        if (unified)
                kills += number_of(unified, "memory.events", "oom_kill");
        for (size_t i = 0; v1 && v1[i]; i++)
                kills += number_of(v1[i], "memory.oom_control", "oom_kill");
        return kills;
}

/* The v1 directory with a freezer; NULL: none. */
static const char *freezer_of(const char *const *v1)
{
        for (size_t i = 0; v1 && v1[i]; i++)
                if (has(v1[i], "freezer.state"))
                        return v1[i];
        return NULL;
}

static int poke(const char *dir, const char *name, const char *text, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/%s", dir, name);

        return path ? file_poke(path, text, err) : -1;
}

/* Signal who is in @dir and below; how many that were. */
static size_t signal_tree(const char *dir, int signal, int depth)
{
        auto_free char *procs = str_printf(NULL, "%s/cgroup.procs", dir);
        auto_buf text = BUF_INIT;
        size_t seen = 0;
        DIR *list;

        if (!procs || depth > DEPTH_MAX)
                return 0;
        if (file_read(procs, PROCS_MAX, &text, NULL) == 0)
                for (char *at = text.data; at && *at;) {
                        char *end;
                        long pid = strtol(at, &end, 10);

                        if (end == at)
                                break;
                        if (pid > 1 && pid != getpid() && kill((pid_t) pid, signal) == 0)
                                seen++;
                        at = end + strspn(end, "\n");
                }
        list = opendir(dir);
        for (struct dirent *e; list && (e = readdir(list));) {
                auto_free char *below = NULL;

                if (e->d_type != DT_DIR || e->d_name[0] == '.')
                        continue;
                below = str_printf(NULL, "%s/%s", dir, e->d_name);
                if (below)
                        seen += signal_tree(below, signal, depth + 1);
        }
        if (list)
                closedir(list);
        return seen;
}

/*
 * Frozen, nobody can fork while the list is read; SIGKILL takes effect on thawing.
 * Without a freezer it is repeated until a round finds nobody new.
 */
static void kill_tree(const char *dir, bool freeze)
{
        size_t before = 0;

        if (freeze)
                poke(dir, "freezer.state", "FROZEN", NULL);
        for (int i = 0; i < ROUNDS; i++) {
                size_t seen = signal_tree(dir, SIGKILL, 0);

                if (seen == 0 || seen == before)
                        break;
                before = seen;
        }
        if (freeze)
                poke(dir, "freezer.state", "THAWED", NULL);
}

void cgroup_kill_dir(const char *dir)
{
        if (poke(dir, "cgroup.kill", "1", NULL) < 0)
                kill_tree(dir, has(dir, "freezer.state"));
}

int cgroup_kill(const char *unified, const char *const *v1, struct cringle_err *err)
{
        const char *freezer = freezer_of(v1);

        if (unified && poke(unified, "cgroup.kill", "1", NULL) == 0)
                return 0;
        if (freezer) {
                kill_tree(freezer, true);
                return 0;
        }
        if (unified || (v1 && v1[0])) {
                kill_tree(unified ? unified : v1[0], false);
                return 0;
        }
        return err_set(err, CRINGLE_E_PRECONDITION, "it has no cgroup");
}

int cgroup_signal(const char *unified, const char *const *v1, int signal, struct cringle_err *err)
{
        const char *dir = unified ? unified : freezer_of(v1);

        if (!dir && v1)
                dir = v1[0];
        if (!dir)
                return err_set(err, CRINGLE_E_PRECONDITION, "it has no cgroup");
        signal_tree(dir, signal, 0);
        return 0;
}

char *cgroup_make_exec(const char *unified, const char *const *v1, const char *id, bool *ret_unified,
                       struct cringle_err *err)
{
        const char *parent = unified ? unified : freezer_of(v1);
        auto_free char *dir = NULL;

        if (!parent) {
                err_set(err, CRINGLE_E_PRECONDITION, "the container has neither a v2 cgroup nor a freezer");
                return NULL;
        }
        dir = str_printf(err, "%s/exec-%s", parent, id);
        if (!dir)
                return NULL;
        if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
                err_sys(err, "make cgroup %s", dir);
                return NULL;
        }
        *ret_unified = unified != NULL;
        return steal(&dir);
}
