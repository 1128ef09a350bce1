/*
 * What a cgroup uses; see stats.h.
 *
 * A kubelet asks for this every few seconds for every container: one read of each
 * file, no parsing beyond the keys that are wanted.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/err.h"
#include "plugins/cgroup-fs/stats.h"

/* v1 says "none" with the largest multiple of a page. */
#define V1_NONE (INT64_MAX - 65536)

static int64_t number(const char *text)
{
        char *end;
        uint64_t value = strtoull(text, &end, 10);

        return end == text || value > INT64_MAX ? CRINGLE_UNSET : (int64_t) value;
}

/* The value of the line "@key VALUE" in @text. */
static int64_t value_of(const struct buf *text, const char *key)
{
        size_t n = strlen(key);

        for (const char *line = text->data; line && *line;) {
                const char *end = strchr(line, '\n');

                if (strncmp(line, key, n) == 0 && line[n] == ' ')
                        return number(line + n + 1);
                line = end ? end + 1 : NULL;
        }
        return CRINGLE_UNSET;
}

/* The number that is all of @file; "max", or no such file: CRINGLE_UNSET. */
static int read_number(const struct tree *t, const char *path, const char *file, int64_t *ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;

        if (tree_read(t, path, file, &text, err) < 0)
                return -1;
        *ret = text.len ? number(text.data) : CRINGLE_UNSET;
        return 0;
}

static int64_t difference(int64_t whole, int64_t part)
{
        if (whole == CRINGLE_UNSET || part == CRINGLE_UNSET)
                return CRINGLE_UNSET;
        return whole > part ? whole - part : 0;
}

static int memory_v2(const struct tree *t, const char *path, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        auto_buf stat = BUF_INIT;
        auto_buf events = BUF_INIT;

        if (read_number(t, path, "memory.current", &s->memory_usage, err) < 0 ||
            read_number(t, path, "memory.max", &s->memory_limit, err) < 0 ||
            read_number(t, path, "memory.swap.current", &s->swap_usage, err) < 0 ||
            read_number(t, path, "memory.swap.max", &s->swap_limit, err) < 0 ||
            tree_read(t, path, "memory.stat", &stat, err) < 0 || tree_read(t, path, "memory.events", &events, err) < 0)
                return -1;

        s->memory_working_set = difference(s->memory_usage, value_of(&stat, "inactive_file"));
        s->memory_rss = value_of(&stat, "anon");
        s->page_faults = value_of(&stat, "pgfault");
        s->major_page_faults = value_of(&stat, "pgmajfault");
        s->oom_kills = value_of(&events, "oom_kill");
        return 0;
}

static int memory_v1(const struct tree *t, const char *path, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        auto_buf stat = BUF_INIT;
        auto_buf oom = BUF_INIT;
        int64_t both;

        if (read_number(t, path, "memory.usage_in_bytes", &s->memory_usage, err) < 0 ||
            read_number(t, path, "memory.limit_in_bytes", &s->memory_limit, err) < 0 ||
            read_number(t, path, "memory.memsw.limit_in_bytes", &both, err) < 0 ||
            tree_read(t, path, "memory.stat", &stat, err) < 0 || tree_read(t, path, "memory.oom_control", &oom, err) < 0)
                return -1;

        s->memory_working_set = difference(s->memory_usage, value_of(&stat, "total_inactive_file"));
        s->memory_rss = value_of(&stat, "total_rss");
        s->page_faults = value_of(&stat, "total_pgfault");
        s->major_page_faults = value_of(&stat, "total_pgmajfault");
        s->swap_usage = value_of(&stat, "total_swap");
        s->swap_limit = both >= V1_NONE ? CRINGLE_UNSET : difference(both, s->memory_limit);
        if (s->memory_limit >= V1_NONE)
                s->memory_limit = CRINGLE_UNSET;
        s->oom_kills = value_of(&oom, "oom_kill");
        return 0;
}

/* cpu.stat is there on v2 also without the controller. */
static int cpu(const struct trees *t, const char *path, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        const struct tree *v1 = trees_with(t, "cpuacct");
        auto_buf text = BUF_INIT;
        int64_t usec;

        if (v1)
                return read_number(v1, path, "cpuacct.usage", &s->cpu_usage, err);
        if (!t->unified)
                return 0;
        if (tree_read(t->unified, path, "cpu.stat", &text, err) < 0)
                return -1;
        usec = value_of(&text, "usage_usec");
        if (usec != CRINGLE_UNSET && usec < INT64_MAX / 1000)
                s->cpu_usage = usec * 1000;
        return 0;
}

int stats_read(const struct trees *t, const char *path, struct cringle_cgroup_stats *ret, struct cringle_err *err)
{
        const struct tree *memory = trees_with(t, "memory"), *pids = trees_with(t, "pids");
        struct cringle_cgroup_stats s = {
                .size = sizeof s,
                .cpu_usage = CRINGLE_UNSET,
                .memory_usage = CRINGLE_UNSET,
                .memory_working_set = CRINGLE_UNSET,
                .memory_rss = CRINGLE_UNSET,
                .memory_limit = CRINGLE_UNSET,
                .page_faults = CRINGLE_UNSET,
                .major_page_faults = CRINGLE_UNSET,
                .swap_usage = CRINGLE_UNSET,
                .swap_limit = CRINGLE_UNSET,
                .pids = CRINGLE_UNSET,
                .oom_kills = CRINGLE_UNSET,
        };

        if (!tree_has(memory ? memory : &t->list[0], path))
                return err_set(err, CRINGLE_E_NOT_FOUND, "no cgroup %s", path);
        if (cpu(t, path, &s, err) < 0)
                return -1;
        if (memory && (memory->v2 ? memory_v2 : memory_v1)(memory, path, &s, err) < 0)
                return -1;
        if (pids && read_number(pids, path, "pids.current", &s.pids, err) < 0)
                return -1;

        *ret = s;
        return 0;
}
