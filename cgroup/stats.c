/*
 * What a cgroup uses; see stats.h.
 *
 * A kubelet asks for this every few seconds for every container: each file is read
 * once, by one pread(2) of a file that was kept open (kept.h) into memory that is there
 * already, and files that only metrics need are left alone unless these are wanted.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/err.h"
#include "cgroup/stats.h"

/* v1 says "none" with the largest multiple of a page. */
#define V1_NONE (INT64_MAX - 65536)

#define TEXT_MAX 16384                  /* memory.stat has about 4000 bytes */

/* A cgroup, the tree that is looked at, and the file read last. */
struct source {
        const struct trees *trees;
        const char *path;
        struct kept_cgroup *cgroup;
        const struct tree *tree;        /* NULL: there is none, its files are empty */
        char text[TEXT_MAX];
};

/* All of @file into s->text; no such file, or one of a cgroup that has just gone: empty. */
static int source_read(struct source *s, const char *file, struct cringle_err *err)
{
        ssize_t n = s->tree ? kept_read(s->cgroup, s->tree->fd, file, s->text, sizeof s->text - 1) : 0;

        s->text[n < 0 ? 0 : n] = '\0';
        /* EOPNOTSUPP: pressure files of a kernel that was told not to keep them */
        if (n < 0 && errno != ENOENT && errno != ENODEV && errno != EOPNOTSUPP)
                return err_sys(err, "read %s/%s/%s", s->tree->mount, s->path, file);
        return 0;
}

static int64_t number(const char *text)
{
        char *end;
        uint64_t value = strtoull(text, &end, 10);

        return end == text || value > INT64_MAX ? CRINGLE_UNSET : (int64_t) value;
}

/* The value of the line "@key VALUE". */
static int64_t value_of(const struct source *s, const char *key)
{
        size_t n = strlen(key);

        for (const char *line = s->text; line && *line;) {
                const char *end = strchr(line, '\n');

                if (strncmp(line, key, n) == 0 && line[n] == ' ')
                        return number(line + n + 1);
                line = end ? end + 1 : NULL;
        }
        return CRINGLE_UNSET;
}

/* The number that is all of @file; "max", or no such file: CRINGLE_UNSET. */
static int read_number(struct source *s, const char *file, int64_t *ret, struct cringle_err *err)
{
        if (source_read(s, file, err) < 0)
                return -1;
        *ret = number(s->text);
        return 0;
}

static int64_t difference(int64_t whole, int64_t part)
{
        if (whole == CRINGLE_UNSET || part == CRINGLE_UNSET)
                return CRINGLE_UNSET;
        return whole > part ? whole - part : 0;
}

static int64_t nsec_of_usec(int64_t usec)
{
        return usec == CRINGLE_UNSET || usec > INT64_MAX / 1000 ? CRINGLE_UNSET : usec * 1000;
}

/* --- memory --- */

static int memory_v2(struct source *m, bool all, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        if (read_number(m, "memory.current", &s->memory_usage, err) < 0 ||
            read_number(m, "memory.max", &s->memory_limit, err) < 0 ||
            read_number(m, "memory.swap.current", &s->swap_usage, err) < 0 ||
            read_number(m, "memory.swap.max", &s->swap_limit, err) < 0 || source_read(m, "memory.stat", err) < 0)
                return -1;

        s->memory_working_set = difference(s->memory_usage, value_of(m, "inactive_file"));
        s->memory_rss = value_of(m, "anon");
        s->page_faults = value_of(m, "pgfault");
        s->major_page_faults = value_of(m, "pgmajfault");
        s->memory_cache = value_of(m, "file");
        s->memory_mapped = value_of(m, "file_mapped");
        s->memory_active_file = value_of(m, "active_file");
        s->memory_inactive_file = value_of(m, "inactive_file");
        s->memory_kernel = value_of(m, "kernel");
        if (s->memory_kernel == CRINGLE_UNSET)          /* before Linux 5.18 */
                s->memory_kernel = value_of(m, "slab");

        if (!all)
                return 0;
        if (source_read(m, "memory.events", err) < 0)
                return -1;
        s->oom_kills = value_of(m, "oom_kill");
        s->memory_failures = value_of(m, "max");
        return read_number(m, "memory.peak", &s->memory_max_usage, err);
}

static int memory_v1(struct source *m, bool all, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        int64_t both;

        if (read_number(m, "memory.usage_in_bytes", &s->memory_usage, err) < 0 ||
            read_number(m, "memory.limit_in_bytes", &s->memory_limit, err) < 0 ||
            read_number(m, "memory.memsw.limit_in_bytes", &both, err) < 0 || source_read(m, "memory.stat", err) < 0)
                return -1;

        s->memory_working_set = difference(s->memory_usage, value_of(m, "total_inactive_file"));
        s->memory_rss = value_of(m, "total_rss");
        s->page_faults = value_of(m, "total_pgfault");
        s->major_page_faults = value_of(m, "total_pgmajfault");
        s->swap_usage = value_of(m, "total_swap");
        s->memory_cache = value_of(m, "total_cache");
        s->memory_mapped = value_of(m, "total_mapped_file");
        s->memory_active_file = value_of(m, "total_active_file");
        s->memory_inactive_file = value_of(m, "total_inactive_file");
        s->swap_limit = both >= V1_NONE ? CRINGLE_UNSET : difference(both, s->memory_limit);
        if (s->memory_limit >= V1_NONE)
                s->memory_limit = CRINGLE_UNSET;

        if (!all)
                return 0;
        if (source_read(m, "memory.oom_control", err) < 0)
                return -1;
        s->oom_kills = value_of(m, "oom_kill");
        return read_number(m, "memory.kmem.usage_in_bytes", &s->memory_kernel, err) < 0 ||
               read_number(m, "memory.max_usage_in_bytes", &s->memory_max_usage, err) < 0 ||
               read_number(m, "memory.failcnt", &s->memory_failures, err) < 0
               ? -1
               : 0;
}

static int memory(struct source *m, bool all, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        m->tree = trees_with(m->trees, "memory");
        if (!m->tree)
                return 0;
        return m->tree->v2 ? memory_v2(m, all, s, err) : memory_v1(m, all, s, err);
}

/* --- cpu --- */

/* cpu.stat is there on v2 also without the controller. */
static int cpu_v2(struct source *c, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        if (source_read(c, "cpu.stat", err) < 0)
                return -1;
        s->cpu_usage = nsec_of_usec(value_of(c, "usage_usec"));
        s->cpu_user = nsec_of_usec(value_of(c, "user_usec"));
        s->cpu_system = nsec_of_usec(value_of(c, "system_usec"));
        s->cpu_periods = value_of(c, "nr_periods");
        s->cpu_throttled = value_of(c, "nr_throttled");
        s->cpu_throttled_time = nsec_of_usec(value_of(c, "throttled_usec"));
        return 0;
}

static int cpu(struct source *c, bool all, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        const struct tree *accounting = trees_with(c->trees, "cpuacct");

        c->tree = accounting ? accounting : c->trees->unified;
        if (!accounting)
                return cpu_v2(c, s, err);
        if (read_number(c, "cpuacct.usage", &s->cpu_usage, err) < 0)
                return -1;
        if (!all)
                return 0;
        if (read_number(c, "cpuacct.usage_user", &s->cpu_user, err) < 0 ||
            read_number(c, "cpuacct.usage_sys", &s->cpu_system, err) < 0)
                return -1;
        c->tree = trees_with(c->trees, "cpu");
        if (source_read(c, "cpu.stat", err) < 0)
                return -1;
        s->cpu_periods = value_of(c, "nr_periods");
        s->cpu_throttled = value_of(c, "nr_throttled");
        s->cpu_throttled_time = value_of(c, "throttled_time");
        return 0;
}

/* --- pressure (v2) --- */

/* "12.34" after "@key=" as 1234. */
static int64_t hundredths(const char *line, const char *key)
{
        const char *at = strstr(line, key);
        char *end;
        int64_t whole;

        if (!at)
                return CRINGLE_UNSET;
        whole = number(at + strlen(key));
        strtoull(at + strlen(key), &end, 10);
        if (whole == CRINGLE_UNSET || whole > 100 || *end != '.' || strspn(end + 1, "0123456789") < 2)
                return CRINGLE_UNSET;
        return whole * 100 + (end[1] - '0') * 10 + (end[2] - '0');
}

static void pressure_line(struct source *p, const char *name, struct cringle_pressure *ret)
{
        char *line = strstr(p->text, name), *end;
        const char *total;
        char kept;

        if (!line)
                return;
        end = line + strcspn(line, "\n");
        kept = *end;
        *end = '\0';
        total = strstr(line, "total=");
        ret->total = total ? nsec_of_usec(number(total + 6)) : CRINGLE_UNSET;
        ret->avg10 = hundredths(line, "avg10=");
        ret->avg60 = hundredths(line, "avg60=");
        ret->avg300 = hundredths(line, "avg300=");
        *end = kept;
}

static int pressure(struct source *p, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        const struct {
                const char *file;
                struct cringle_pressure *some, *full;
        } files[] = {
                { "cpu.pressure", &s->cpu_some, &s->cpu_full },
                { "memory.pressure", &s->memory_some, &s->memory_full },
                { "io.pressure", &s->io_some, &s->io_full },
        };

        p->tree = p->trees->unified;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                if (source_read(p, files[i].file, err) < 0)
                        return -1;
                pressure_line(p, "some ", files[i].some);
                pressure_line(p, "full ", files[i].full);
        }
        return 0;
}

/* --- io --- */

static void add(int64_t *sum, int64_t value)
{
        if (value == CRINGLE_UNSET)
                return;
        if (*sum == CRINGLE_UNSET)
                *sum = 0;
        if (__builtin_add_overflow(*sum, value, sum))
                *sum = INT64_MAX;
}

/* The sum of the numbers behind every @key, whatever the device. */
static int64_t sum_of(const struct source *s, const char *key)
{
        int64_t sum = CRINGLE_UNSET;
        size_t n = strlen(key);

        for (const char *at = strstr(s->text, key); at; at = strstr(at, key)) {
                at += n;
                add(&sum, number(at));
        }
        return sum;
}

static int io(struct source *i, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        const struct tree *v1 = trees_with(i->trees, "blkio");

        i->tree = v1 ? v1 : i->trees->unified;
        if (!v1) {
                if (source_read(i, "io.stat", err) < 0)
                        return -1;
                s->io_read_bytes = sum_of(i, " rbytes=");
                s->io_write_bytes = sum_of(i, " wbytes=");
                s->io_reads = sum_of(i, " rios=");
                s->io_writes = sum_of(i, " wios=");
                return 0;
        }
        if (source_read(i, "blkio.throttle.io_service_bytes_recursive", err) < 0)
                return -1;
        s->io_read_bytes = sum_of(i, " Read ");
        s->io_write_bytes = sum_of(i, " Write ");
        if (source_read(i, "blkio.throttle.io_serviced_recursive", err) < 0)
                return -1;
        s->io_reads = sum_of(i, " Read ");
        s->io_writes = sum_of(i, " Write ");
        return 0;
}

/* --- huge pages --- */

static int hugepages(struct source *h, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        static const struct {
                int64_t bytes;
                const char *v1_usage, *v1_max, *v2_usage;
        } sizes[CRINGLE_PAGE_SIZES] = {
                { 64 << 10, "hugetlb.64KB.usage_in_bytes", "hugetlb.64KB.max_usage_in_bytes", "hugetlb.64KB.current" },
                { 2 << 20, "hugetlb.2MB.usage_in_bytes", "hugetlb.2MB.max_usage_in_bytes", "hugetlb.2MB.current" },
                { 512 << 20, "hugetlb.512MB.usage_in_bytes", "hugetlb.512MB.max_usage_in_bytes", "hugetlb.512MB.current" },
                { 1 << 30, "hugetlb.1GB.usage_in_bytes", "hugetlb.1GB.max_usage_in_bytes", "hugetlb.1GB.current" },
        };
        const struct tree *tree = trees_with(h->trees, "hugetlb");
        struct cringle_hugepage_usage *to = s->hugepages;

        h->tree = tree;
        for (int i = 0; tree && i < CRINGLE_PAGE_SIZES; i++) {
                if (read_number(h, tree->v2 ? sizes[i].v2_usage : sizes[i].v1_usage, &to->usage, err) < 0)
                        return -1;
                if (to->usage == CRINGLE_UNSET)
                        continue;
                if (!tree->v2 && read_number(h, sizes[i].v1_max, &to->max_usage, err) < 0)
                        return -1;
                to->page_size = sizes[i].bytes;
                to++;
        }
        return 0;
}

/* --- all of it --- */

static int pids(struct source *p, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        p->tree = trees_with(p->trees, "pids");
        return read_number(p, "pids.current", &s->pids, err);
}

/* Every member is an int64_t, or made of them; the size comes later. */
static void unset(struct cringle_cgroup_stats *s)
{
        int64_t *at = (int64_t *) s;

        for (size_t i = 0; i < sizeof *s / sizeof *at; i++)
                at[i] = CRINGLE_UNSET;
}

static int read_all(struct source *from, size_t size, struct cringle_cgroup_stats *s, struct cringle_err *err)
{
        bool all = size > CRINGLE_CGROUP_STATS_USAGE;

        unset(s);
        if (cpu(from, all, s, err) < 0)
                return -1;
        if (size > offsetof(struct cringle_cgroup_stats, memory_usage) &&
            (memory(from, all, s, err) < 0 || pids(from, s, err) < 0 || pressure(from, s, err) < 0))
                return -1;
        return all && (io(from, s, err) < 0 || hugepages(from, s, err) < 0) ? -1 : 0;
}

static bool trees_have(const struct trees *t, const char *path)
{
        const struct tree *memory_tree = trees_with(t, "memory");

        return tree_has(memory_tree ? memory_tree : &t->list[0], path);
}

int stats_read(const struct trees *t, const char *path, struct cringle_cgroup_stats *ret, struct cringle_err *err)
{
        struct source from = { .trees = t, .path = path };
        struct cringle_cgroup_stats s;
        bool gone;
        int r;

        do {
                from.cgroup = kept_take(t->kept, path, err);
                if (!from.cgroup)
                        return -1;
                r = read_all(&from, ret->size, &s, err);
                gone = kept_give(t->kept, from.cgroup);
        } while (r == 0 && gone);
        if (r < 0)
                return -1;
        if (s.cpu_usage == CRINGLE_UNSET && s.memory_usage == CRINGLE_UNSET && !trees_have(t, path))
                return err_set(err, CRINGLE_E_NOT_FOUND, "no cgroup %s", path);

        s.size = ret->size < sizeof s ? ret->size : sizeof s;
        memcpy(ret, &s, s.size);
        return 0;
}
