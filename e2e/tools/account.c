/*
 * What a runtime costs; see account.h.
 *
 * A process or a cgroup that goes away while it is looked at is left out.
 */

#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "e2e/tools/account.h"

#define FILE_MAX (1 << 20)

typedef int (*process_fn)(int64_t pid, void *data, struct cringle_err *err);

/* The file @name in @dir; 1: read, 0: there is none. */
static int read_in(const char *dir, const char *name, struct buf *ret, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/%s", dir, name);
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (!path)
                return -1;
        buf_clear(ret);
        if (file_read(path, FILE_MAX, ret, &why) == 0)
                return 1;
        if (why.sys == ENOENT || why.sys == ESRCH || why.sys == ENODEV)
                return 0;
        *err = why;
        return -1;
}

/* The number behind "@key " at a line's start; 0 when there is no such line. */
static int64_t number_of(const struct buf *text, const char *key)
{
        size_t n = strlen(key);

        for (const char *line = text->data; line && *line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, key, n) == 0)
                        return strtoll(line + n, NULL, 10);
        }
        return 0;
}

int account_cpu(const char *const *dirs, int64_t *ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        int64_t sum = 0;

        for (; dirs && *dirs; dirs++) {
                int found = read_in(*dirs, "cpuacct.usage", &text, err);

                if (found > 0) {
                        sum += strtoll(text.data, NULL, 10);
                        continue;
                }
                if (found == 0)
                        found = read_in(*dirs, "cpu.stat", &text, err);
                if (found < 0)
                        return -1;
                if (found == 0)
                        return err_set(err, CRINGLE_E_NOT_FOUND, "%s: neither cpuacct.usage nor cpu.stat", *dirs);
                sum += number_of(&text, "usage_usec ") * 1000;
        }
        *ret = sum;
        return 0;
}

static int each_process_of(const char *dir, process_fn fn, void *data, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        char *at, *end;

        if (read_in(dir, "cgroup.procs", &text, err) < 0)
                return -1;
        for (at = text.data; at && *at; at = end) {
                int64_t pid = strtoll(at, &end, 10);

                if (end == at)
                        break;
                if (fn(pid, data, err) < 0)
                        return -1;
        }
        return 0;
}

static int each_process(const char *const *dirs, process_fn fn, void *data, struct cringle_err *err)
{
        for (; dirs && *dirs; dirs++) {
                char *const paths[] = { (char *) *dirs, NULL };
                FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
                int result = 0;

                if (!tree)
                        return err_sys(err, "look into %s", *dirs);
                for (FTSENT *e = fts_read(tree); e && result == 0; e = fts_read(tree))
                        if (e->fts_info == FTS_D)
                                result = each_process_of(e->fts_path, fn, data, err);
                fts_close(tree);
                if (result < 0)
                        return -1;
        }
        return 0;
}

static int add_rss(int64_t pid, void *data, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        char dir[32];
        char *end;
        int found;

        snprintf(dir, sizeof dir, "/proc/%" PRId64, pid);
        found = read_in(dir, "statm", &text, err);
        if (found <= 0)
                return found;
        strtoll(text.data, &end, 10);
        *(int64_t *) data += strtoll(end, NULL, 10) * sysconf(_SC_PAGESIZE);
        return 0;
}

int account_rss(const char *const *dirs, int64_t *ret, struct cringle_err *err)
{
        int64_t sum = 0;

        if (each_process(dirs, add_rss, &sum, err) < 0)
                return -1;
        *ret = sum;
        return 0;
}

struct kinds {
        struct account_kind *list;
        size_t n;
};

static struct account_kind *find_kind(struct kinds *k, const char *name, struct cringle_err *err)
{
        struct account_kind *grown;

        for (size_t i = 0; i < k->n; i++)
                if (strcmp(k->list[i].name, name) == 0)
                        return &k->list[i];

        grown = reallocarray(k->list, k->n + 1, sizeof *grown);
        if (!grown) {
                err_oom(err);
                return NULL;
        }
        k->list = grown;
        grown[k->n] = (struct account_kind) { 0 };
        snprintf(grown[k->n].name, sizeof grown->name, "%s", name);
        return &grown[k->n++];
}

static int add_memory(int64_t pid, void *data, struct cringle_err *err)
{
        auto_buf name = BUF_INIT, text = BUF_INIT;
        struct account_kind *kind;
        char dir[32];
        int found;

        snprintf(dir, sizeof dir, "/proc/%" PRId64, pid);
        found = read_in(dir, "comm", &name, err);
        if (found > 0)
                found = read_in(dir, "smaps_rollup", &text, err);
        if (found <= 0 || name.len == 0 || text.len == 0)
                return found < 0 ? -1 : 0;

        name.data[strcspn(name.data, "\n")] = '\0';
        kind = find_kind(data, name.data, err);
        if (!kind)
                return -1;
        kind->n++;
        kind->rss += number_of(&text, "Rss:");
        kind->pss += number_of(&text, "Pss:");
        kind->anon += number_of(&text, "Pss_Anon:");
        return 0;
}

int account_memory(const char *const *dirs, struct account_kind **ret, size_t *ret_n, struct cringle_err *err)
{
        struct kinds kinds = { 0 };

        if (each_process(dirs, add_memory, &kinds, err) < 0) {
                free(kinds.list);
                return -1;
        }
        *ret = kinds.list;
        *ret_n = kinds.n;
        return 0;
}
