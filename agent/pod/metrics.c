/*
 * Metrics by the names that a kubelet's own collector gives them
 *
 * CRI's values are whole numbers, so seconds are whole seconds there.  What the kernel does
 * not tell has no value.  Label values are in the order of the descriptor's keys.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"
#include "agent/pod/stats.h"

#define COUNTER CRI__METRIC_TYPE__COUNTER
#define GAUGE CRI__METRIC_TYPE__GAUGE
#define N_BASE 6
#define LABELS_MAX 10
#define FILE_MAX (1 << 20)
#define SHARES_DEFAULT 1024
#define PERIOD_DEFAULT 100000

/* Of every metric. */
static const char *const base_labels[N_BASE] = { "id", "name", "image", "container", "pod", "namespace" };

enum metric {
        BLKIO, CFS_PERIODS, CFS_THROTTLED, CFS_THROTTLED_TIME, CPU_SYSTEM, CPU_USAGE, CPU_USER, FILES, INODES_FREE,
        INODES_TOTAL, FS_LIMIT, FS_READ_BYTES, FS_READS, FS_USAGE, FS_WRITE_BYTES, FS_WRITES, HUGE_MAX, HUGE_USAGE,
        LAST_SEEN, ACTIVE_FILE, INACTIVE_FILE, CACHE, FAILCNT, FAILURES, KERNEL, MAPPED, MEMORY_MAX, RSS, SWAP, MEMORY,
        WORKING_SET, RX_BYTES, RX_ERRORS, RX_DROPPED, RX_PACKETS, TX_BYTES, TX_ERRORS, TX_DROPPED, TX_PACKETS, OOM,
        CPU_STALLED, CPU_WAITING, IO_STALLED, IO_WAITING, MEMORY_STALLED, MEMORY_WAITING, PROCESSES, SOCKETS, SPEC_PERIOD,
        SPEC_QUOTA, SPEC_SHARES, SPEC_MEMORY, SPEC_RESERVATION, SPEC_SWAP, START_TIME, THREADS, THREADS_MAX, ULIMITS,
        N_METRICS
};

static const struct {
        const char *name, *help;
        Cri__MetricType type;
        const char *labels[LABELS_MAX - N_BASE];        /* beside those that all have */
} table[N_METRICS] = {
        [BLKIO] = { "container_blkio_device_usage_total", "Bytes read from and written to block devices",
                COUNTER, { "device", "major", "minor", "operation" } },
        [CFS_PERIODS] = { "container_cpu_cfs_periods_total", "Periods of the CPU quota that have passed",
                COUNTER },
        [CFS_THROTTLED] = { "container_cpu_cfs_throttled_periods_total", "Periods in which the CPU quota was used up",
                COUNTER },
        [CFS_THROTTLED_TIME] = { "container_cpu_cfs_throttled_seconds_total", "Seconds for which it was held back by the CPU quota",
                COUNTER },
        [CPU_SYSTEM] = { "container_cpu_system_seconds_total", "Seconds of CPU time spent in the kernel",
                COUNTER },
        [CPU_USAGE] = { "container_cpu_usage_seconds_total", "Seconds of CPU time",
                COUNTER, { "cpu" } },
        [CPU_USER] = { "container_cpu_user_seconds_total", "Seconds of CPU time spent outside the kernel",
                COUNTER },
        [FILES] = { "container_file_descriptors", "Open file descriptors of its processes",
                GAUGE },
        [INODES_FREE] = { "container_fs_inodes_free", "Free inodes of the file system",
                GAUGE, { "device" } },
        [INODES_TOTAL] = { "container_fs_inodes_total", "Inodes of the file system",
                GAUGE, { "device" } },
        [FS_LIMIT] = { "container_fs_limit_bytes", "Bytes of the file system",
                GAUGE, { "device" } },
        [FS_READ_BYTES] = { "container_fs_reads_bytes_total", "Bytes read",
                COUNTER, { "device" } },
        [FS_READS] = { "container_fs_reads_total", "Reads completed",
                COUNTER, { "device" } },
        [FS_USAGE] = { "container_fs_usage_bytes", "Bytes of the writable layer",
                GAUGE, { "device" } },
        [FS_WRITE_BYTES] = { "container_fs_writes_bytes_total", "Bytes written",
                COUNTER, { "device" } },
        [FS_WRITES] = { "container_fs_writes_total", "Writes completed",
                COUNTER, { "device" } },
        [HUGE_MAX] = { "container_hugetlb_max_usage_bytes", "Bytes of huge pages at most used so far",
                GAUGE, { "pagesize" } },
        [HUGE_USAGE] = { "container_hugetlb_usage_bytes", "Bytes of huge pages",
                GAUGE, { "pagesize" } },
        [LAST_SEEN] = { "container_last_seen", "When it was seen last, in seconds since 1970",
                GAUGE },
        [ACTIVE_FILE] = { "container_memory_total_active_file_bytes", "Bytes of files' pages that were used of late",
                GAUGE },
        [INACTIVE_FILE] = { "container_memory_total_inactive_file_bytes", "Bytes of files' pages that were not used of late",
                GAUGE },
        [CACHE] = { "container_memory_cache", "Bytes of page cache",
                GAUGE },
        [FAILCNT] = { "container_memory_failcnt", "How often the memory limit was hit",
                COUNTER },
        [FAILURES] = { "container_memory_failures_total", "Page faults",
                COUNTER, { "failure_type", "scope" } },
        [KERNEL] = { "container_memory_kernel_usage", "Bytes of the kernel's memory",
                GAUGE },
        [MAPPED] = { "container_memory_mapped_file", "Bytes of mapped files",
                GAUGE },
        [MEMORY_MAX] = { "container_memory_max_usage_bytes", "Bytes of memory at most used so far",
                GAUGE },
        [RSS] = { "container_memory_rss", "Bytes of anonymous memory",
                GAUGE },
        [SWAP] = { "container_memory_swap", "Bytes of swap",
                GAUGE },
        [MEMORY] = { "container_memory_usage_bytes", "Bytes of memory, caches included",
                GAUGE },
        [WORKING_SET] = { "container_memory_working_set_bytes", "Bytes of memory that cannot be had back easily",
                GAUGE },
        [RX_BYTES] = { "container_network_receive_bytes_total", "Bytes received",
                COUNTER, { "interface" } },
        [RX_ERRORS] = { "container_network_receive_errors_total", "Errors while receiving",
                COUNTER, { "interface" } },
        [RX_DROPPED] = { "container_network_receive_packets_dropped_total", "Packets dropped while receiving",
                COUNTER, { "interface" } },
        [RX_PACKETS] = { "container_network_receive_packets_total", "Packets received",
                COUNTER, { "interface" } },
        [TX_BYTES] = { "container_network_transmit_bytes_total", "Bytes sent",
                COUNTER, { "interface" } },
        [TX_ERRORS] = { "container_network_transmit_errors_total", "Errors while sending",
                COUNTER, { "interface" } },
        [TX_DROPPED] = { "container_network_transmit_packets_dropped_total", "Packets dropped while sending",
                COUNTER, { "interface" } },
        [TX_PACKETS] = { "container_network_transmit_packets_total", "Packets sent",
                COUNTER, { "interface" } },
        [OOM] = { "container_oom_events_total", "Processes killed for want of memory",
                COUNTER },
        [CPU_STALLED] = { "container_pressure_cpu_stalled_seconds_total", "Seconds in which all its tasks waited for a CPU",
                COUNTER },
        [CPU_WAITING] = { "container_pressure_cpu_waiting_seconds_total", "Seconds in which some of its tasks waited for a CPU",
                COUNTER },
        [IO_STALLED] = { "container_pressure_io_stalled_seconds_total", "Seconds in which all its tasks waited for I/O",
                COUNTER },
        [IO_WAITING] = { "container_pressure_io_waiting_seconds_total", "Seconds in which some of its tasks waited for I/O",
                COUNTER },
        [MEMORY_STALLED] = { "container_pressure_memory_stalled_seconds_total", "Seconds in which all its tasks waited for memory",
                COUNTER },
        [MEMORY_WAITING] = { "container_pressure_memory_waiting_seconds_total", "Seconds in which some of its tasks waited for memory",
                COUNTER },
        [PROCESSES] = { "container_processes", "Processes",
                GAUGE },
        [SOCKETS] = { "container_sockets", "Open sockets of its processes",
                GAUGE },
        [SPEC_PERIOD] = { "container_spec_cpu_period", "Period of the CPU quota, microseconds",
                GAUGE },
        [SPEC_QUOTA] = { "container_spec_cpu_quota", "CPU quota for each period, microseconds; 0: none",
                GAUGE },
        [SPEC_SHARES] = { "container_spec_cpu_shares", "CPU shares",
                GAUGE },
        [SPEC_MEMORY] = { "container_spec_memory_limit_bytes", "Memory limit; 0: none",
                GAUGE },
        [SPEC_RESERVATION] = { "container_spec_memory_reservation_limit_bytes", "Soft memory limit; 0: none",
                GAUGE },
        [SPEC_SWAP] = { "container_spec_memory_swap_limit_bytes", "Limit of memory and swap together; 0: none",
                GAUGE },
        [START_TIME] = { "container_start_time_seconds", "When it was started, in seconds since 1970",
                GAUGE },
        [THREADS] = { "container_threads", "Threads of its processes",
                GAUGE },
        [THREADS_MAX] = { "container_threads_max", "Limit of threads; 0: none",
                GAUGE },
        [ULIMITS] = { "container_ulimits_soft", "Soft limits of its first process",
                GAUGE, { "ulimit" } },
};

static void *must(void *p)
{
        if (!p)
                abort();
        return p;
}

static size_t n_labels(enum metric m)
{
        size_t n = N_BASE;

        while (n < LABELS_MAX && table[m].labels[n - N_BASE])
                n++;
        return n;
}

void pods_metric_descriptors(pods_message_fn fn, void *data)
{
        Cri__ListMetricDescriptorsResponse response = CRI__LIST_METRIC_DESCRIPTORS_RESPONSE__INIT;
        Cri__MetricDescriptor items[N_METRICS], *list[N_METRICS];
        char *keys[N_METRICS][LABELS_MAX];

        for (int i = 0; i < N_METRICS; i++) {
                cri__metric_descriptor__init(&items[i]);
                items[i].name = message_text(table[i].name);
                items[i].help = message_text(table[i].help);
                items[i].n_label_keys = n_labels((enum metric) i);
                items[i].label_keys = keys[i];
                for (size_t k = 0; k < items[i].n_label_keys; k++)
                        keys[i][k] = message_text(k < N_BASE ? base_labels[k] : table[i].labels[k - N_BASE]);
                list[i] = &items[i];
        }
        response.n_descriptors = N_METRICS;
        response.descriptors = list;
        fn(data, &response.base);
}

/* --- values --- */

struct shown_metric {
        Cri__Metric m;
        Cri__UInt64Value value;
        double exact;
        char *labels[LABELS_MAX];       /* borrowed */
};

/* Of one container or pod. */
struct shown_metrics {
        Cri__Metric **list;
        size_t n;
        int64_t now;
        char *base[N_BASE];             /* borrowed, but the first */
};

static void metrics_done(struct shown_metrics *s)
{
        for (size_t i = 0; i < s->n; i++)
                free(s->list[i]);       /* the first member of a shown_metric */
        free(s->list);
        free(s->base[0]);
}

/* @extra: values of the labels that this one has besides; as many as it has are looked at. */
static struct shown_metric *add_with(struct shown_metrics *s, enum metric which, int64_t value, const char *const *extra)
{
        struct shown_metric *m;

        if (value == CRINGLE_UNSET)
                return NULL;
        m = must(calloc(1, sizeof *m));
        cri__metric__init(&m->m);
        cri__uint64_value__init(&m->value);
        m->value.value = (uint64_t) value;
        m->exact = (double) value;
        m->m.name = message_text(table[which].name);
        m->m.timestamp = s->now;
        m->m.metric_type = table[which].type;
        m->m.value = &m->value;
        m->m.n_label_values = n_labels(which);
        m->m.label_values = m->labels;
        for (size_t i = 0; i < m->m.n_label_values; i++)
                m->labels[i] = i < N_BASE ? s->base[i] : message_text(extra[i - N_BASE]);
        s->list = must(realloc(s->list, (s->n + 1) * sizeof(Cri__Metric *)));
        s->list[s->n++] = &m->m;
        return m;
}

static const char *const no_extra[LABELS_MAX - N_BASE] = { "", "", "", "" };

static void add(struct shown_metrics *s, enum metric which, int64_t value)
{
        add_with(s, which, value, no_extra);
}

static void add_1(struct shown_metrics *s, enum metric which, int64_t value, const char *label)
{
        add_with(s, which, value, (const char *const[]) { label, "", "", "" });
}

static void add_seconds_with(struct shown_metrics *s, enum metric which, int64_t nsec, const char *const *extra)
{
        struct shown_metric *m = nsec == CRINGLE_UNSET ? NULL : add_with(s, which, nsec / NSEC_PER_SEC, extra);

        if (m)
                m->exact = (double) nsec / NSEC_PER_SEC;
}

static void add_seconds(struct shown_metrics *s, enum metric which, int64_t nsec)
{
        add_seconds_with(s, which, nsec, no_extra);
}

static void add_cgroup(struct shown_metrics *s, const struct cringle_cgroup_stats *c, const char *device)
{
        static const struct {
                int64_t size;
                const char *name;
        } pages[] = { { 64 << 10, "64KB" }, { 2 << 20, "2MB" }, { 512 << 20, "512MB" }, { 1 << 30, "1GB" } };

        add(s, CFS_PERIODS, c->cpu_periods);
        add(s, CFS_THROTTLED, c->cpu_throttled);
        add_seconds(s, CFS_THROTTLED_TIME, c->cpu_throttled_time);
        add_seconds(s, CPU_SYSTEM, c->cpu_system);
        add_seconds_with(s, CPU_USAGE, c->cpu_usage, (const char *const[]) { "total", "", "", "" });
        add_seconds(s, CPU_USER, c->cpu_user);
        add(s, ACTIVE_FILE, c->memory_active_file);
        add(s, INACTIVE_FILE, c->memory_inactive_file);
        add(s, CACHE, c->memory_cache);
        add(s, FAILCNT, c->memory_failures);
        add_with(s, FAILURES, c->page_faults, (const char *const[]) { "pgfault", "hierarchy", "", "" });
        add_with(s, FAILURES, c->major_page_faults, (const char *const[]) { "pgmajfault", "hierarchy", "", "" });
        add(s, KERNEL, c->memory_kernel);
        add(s, MAPPED, c->memory_mapped);
        add(s, MEMORY_MAX, c->memory_max_usage);
        add(s, RSS, c->memory_rss);
        add(s, SWAP, c->swap_usage);
        add(s, MEMORY, c->memory_usage);
        add(s, WORKING_SET, c->memory_working_set);
        add(s, OOM, c->oom_kills);
        add_seconds(s, CPU_STALLED, c->cpu_full.total);
        add_seconds(s, CPU_WAITING, c->cpu_some.total);
        add_seconds(s, IO_STALLED, c->io_full.total);
        add_seconds(s, IO_WAITING, c->io_some.total);
        add_seconds(s, MEMORY_STALLED, c->memory_full.total);
        add_seconds(s, MEMORY_WAITING, c->memory_some.total);
        add(s, THREADS, c->pids);
        add_with(s, BLKIO, c->io_read_bytes, (const char *const[]) { "", "", "", "Read" });
        add_with(s, BLKIO, c->io_write_bytes, (const char *const[]) { "", "", "", "Write" });
        add_1(s, FS_READ_BYTES, c->io_read_bytes, device);
        add_1(s, FS_READS, c->io_reads, device);
        add_1(s, FS_WRITE_BYTES, c->io_write_bytes, device);
        add_1(s, FS_WRITES, c->io_writes, device);
        for (int i = 0; i < CRINGLE_PAGE_SIZES; i++)
                for (size_t k = 0; k < sizeof pages / sizeof *pages; k++)
                        if (c->hugepages[i].page_size == pages[k].size) {
                                add_1(s, HUGE_USAGE, c->hugepages[i].usage, pages[k].name);
                                add_1(s, HUGE_MAX, c->hugepages[i].max_usage, pages[k].name);
                        }
}

/* The open files of the process @pid, sockets apart; one that has ended has none. */
static void count_files(int64_t pid, int64_t *files, int64_t *sockets)
{
        auto_free char *path = str_printf(NULL, "/proc/%lld/fd", (long long) pid);
        DIR *dir = path ? opendir(path) : NULL;
        struct dirent *e;
        char target[8];

        while (dir && (e = readdir(dir)))
                if (e->d_name[0] != '.') {
                        ++*files;
                        if (readlinkat(dirfd(dir), e->d_name, target, sizeof target) == sizeof target &&
                            memcmp(target, "socket:[", sizeof target) == 0)
                                ++*sockets;
                }
        if (dir)
                closedir(dir);
}

static void add_processes(struct shown_metrics *s, const char *cgroup)
{
        auto_free char *path = str_printf(NULL, "%s/cgroup.procs", cgroup);
        auto_buf text = BUF_INIT;
        int64_t processes = 0, files = 0, sockets = 0;
        char *rest, *line;

        if (!path || file_read(path, FILE_MAX, &text, NULL) < 0)
                return;
        for (line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                processes++;
                count_files(strtoll(line, NULL, 10), &files, &sockets);
        }
        add(s, PROCESSES, processes);
        add(s, FILES, files);
        add(s, SOCKETS, sockets);
}

/* True when @cgroup is of the hierarchy that limits threads. */
static bool add_threads_max(struct shown_metrics *s, const char *cgroup)
{
        auto_free char *path = str_printf(NULL, "%s/pids.max", cgroup);
        auto_buf text = BUF_INIT;

        if (!path || file_read(path, FILE_MAX, &text, NULL) < 0)
                return false;
        add(s, THREADS_MAX, strtoll(text.data, NULL, 10));
        return true;
}

static void add_dirs(struct shown_metrics *s, const struct cringle_cgroup_dirs *dirs)
{
        bool done = dirs->unified && add_threads_max(s, dirs->unified);

        for (char **v1 = dirs->v1; v1 && *v1 && !done; v1++)
                done = add_threads_max(s, *v1);
        if (dirs->unified)
                add_processes(s, dirs->unified);
        else if (dirs->v1)
                add_processes(s, dirs->v1[0]);
}

static void add_disk(struct shown_metrics *s, struct container *c, const char *device)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct disk_sample disk;
        struct statvfs fs;

        if (container_disk(c, &disk, &err) == 0)
                add_1(s, FS_USAGE, (int64_t) disk.bytes, device);
        if (statvfs(device, &fs) < 0)
                return;
        add_1(s, INODES_FREE, (int64_t) fs.f_ffree, device);
        add_1(s, INODES_TOTAL, (int64_t) fs.f_files, device);
        add_1(s, FS_LIMIT, (int64_t) (fs.f_blocks * fs.f_frsize), device);
}

static int64_t limit(int64_t value)
{
        return value > 0 ? value : 0;
}

static void add_status(struct shown_metrics *s, struct container *c)
{
        static const Cri__LinuxContainerResources none = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        const Cri__LinuxContainerResources *r;
        struct rlimit files;
        pid_t pid;

        pthread_mutex_lock(&c->pods->tasks.lock);
        r = c->status->resources && c->status->resources->linux ? c->status->resources->linux : &none;
        add(s, SPEC_PERIOD, r->cpu_period ? r->cpu_period : PERIOD_DEFAULT);
        add(s, SPEC_QUOTA, limit(r->cpu_quota));
        add(s, SPEC_SHARES, r->cpu_shares ? r->cpu_shares : SHARES_DEFAULT);
        add(s, SPEC_MEMORY, limit(r->memory_limit_in_bytes));
        add(s, SPEC_RESERVATION, 0);
        add(s, SPEC_SWAP, limit(r->memory_swap_limit_in_bytes));
        add(s, START_TIME, c->status->started_at / NSEC_PER_SEC);
        pid = c->pid;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        add(s, LAST_SEEN, s->now / NSEC_PER_SEC);
        if (pid > 0 && prlimit(pid, RLIMIT_NOFILE, NULL, &files) == 0)
                add_1(s, ULIMITS, files.rlim_cur > INT64_MAX ? 0 : (int64_t) files.rlim_cur, "max_open_files");
}

/* -1: it has gone meanwhile. */
static int show_container(struct shown_metrics *s, struct container *c)
{
        const struct host_cgroup *cgroup = &c->pods->cgroup;
        const Cri__PodSandboxMetadata *pod = c->pod->status->metadata;
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };
        struct cringle_cgroup_stats stats;
        struct cringle_err err = CRINGLE_ERR_INIT;
        const char *path = images_writable_path(c->pods->images), *device = path ? path : "";

        if (container_stats(c, sizeof stats, &stats, &err) < 0 ||
            cgroup->ops->path(cgroup->self, c->pod->cgroup_parent, c->id, &dirs, &err) < 0) {
                log_debug("container %.12s: no metrics: %s", c->id, err.text);
                return -1;
        }
        s->now = clock_realtime();
        s->base[0] = must(strdup(dirs.oci_path));
        s->base[1] = c->id;
        s->base[2] = c->status->image ? c->status->image->image : message_text("");
        s->base[3] = c->status->metadata->name;
        s->base[4] = pod->name;
        s->base[5] = pod->namespace_;
        if (path)
                add_disk(s, c, path);
        add_cgroup(s, &stats, device);
        add_dirs(s, &dirs);
        add_status(s, c);
        cgroup->ops->free_dirs(&dirs);
        return 0;
}

static void add_netdev(struct shown_metrics *s, const struct netdev *d)
{
        add_1(s, RX_BYTES, (int64_t) d->rx_bytes, d->name);
        add_1(s, RX_ERRORS, (int64_t) d->rx_errors, d->name);
        add_1(s, RX_DROPPED, (int64_t) d->rx_dropped, d->name);
        add_1(s, RX_PACKETS, (int64_t) d->rx_packets, d->name);
        add_1(s, TX_BYTES, (int64_t) d->tx_bytes, d->name);
        add_1(s, TX_ERRORS, (int64_t) d->tx_errors, d->name);
        add_1(s, TX_DROPPED, (int64_t) d->tx_dropped, d->name);
        add_1(s, TX_PACKETS, (int64_t) d->tx_packets, d->name);
}

struct shown_pod {
        Cri__PodSandboxMetrics m;
        struct shown_metrics own;
        struct container **containers;  /* references */
        size_t n_containers;
        Cri__ContainerMetrics *items, **list;
        struct shown_metrics *metrics;
};

static void show_pod(struct shown_pod *s, struct pod *pod, const struct netdev_look *network)
{
        const Cri__PodSandboxMetadata *metadata = pod->status->metadata;
        size_t n = 0;

        cri__pod_sandbox_metrics__init(&s->m);
        s->m.pod_sandbox_id = pod->id;
        s->own.now = clock_realtime();
        s->own.base[0] = must(strdup(pod->cgroup_parent));
        s->own.base[1] = pod->id;
        s->own.base[2] = message_text("");
        s->own.base[3] = message_text("POD");   /* what collectors call the sandbox */
        s->own.base[4] = metadata->name;
        s->own.base[5] = metadata->namespace_;
        for (size_t i = 0; i < network->n; i++)
                add_netdev(&s->own, &network->list[i]);
        s->m.n_metrics = s->own.n;
        s->m.metrics = s->own.list;

        s->containers = pod_containers_collect(pod, &s->n_containers);
        s->items = must(calloc(s->n_containers + 1, sizeof *s->items));
        s->list = must(calloc(s->n_containers + 1, sizeof *s->list));
        s->metrics = must(calloc(s->n_containers + 1, sizeof *s->metrics));
        for (size_t i = 0; i < s->n_containers; i++) {
                if (show_container(&s->metrics[i], s->containers[i]) < 0)
                        continue;
                cri__container_metrics__init(&s->items[n]);
                s->items[n].container_id = s->containers[i]->id;
                s->items[n].n_metrics = s->metrics[i].n;
                s->items[n].metrics = s->metrics[i].list;
                s->list[n] = &s->items[n];
                n++;
        }
        s->m.n_container_metrics = n;
        s->m.container_metrics = s->list;
}

static void shown_pod_done(struct shown_pod *s, struct pods *pods)
{
        for (size_t i = 0; i < s->n_containers; i++)
                metrics_done(&s->metrics[i]);
        metrics_done(&s->own);
        containers_unref_all(pods, s->containers, s->n_containers);
        free(s->metrics);
        free(s->items);
        free(s->list);
}

static bool any_pod(const struct pod *pod, const void *data)
{
        return true;
}

/* Ready pods, and what their networks say. */
struct subjects {
        struct pods *pods;
        struct pod **all;
        struct netdev_look *networks;
        size_t n;
};

static struct subjects subjects_of(struct pods *pods)
{
        struct subjects s = { .pods = pods };

        s.all = pods_collect(pods, any_pod, NULL, &s.n);
        s.networks = pods_netdevs(s.all, s.n);
        return s;
}

static void subjects_done(struct subjects *s)
{
        netdev_looks_free(s->networks, s->n);
        pods_unref_all(s->pods, s->all, s->n);
}

/* A pod's metrics are fifty kilobytes and more, in hundreds of pieces: never those of more than one are there but packed. */
void pods_list_metrics(struct pods *pods, pods_items_fn fn, void *data)
{
        struct subjects subjects = subjects_of(pods);
        auto_free struct iovec *items = must(calloc(subjects.n + 1, sizeof *items));
        auto_buf bytes = BUF_INIT;
        size_t at = 0;

        for (size_t i = 0; i < subjects.n; i++) {
                struct shown_pod shown = { 0 };
                auto_free uint8_t *item = NULL;

                show_pod(&shown, subjects.all[i], &subjects.networks[i]);
                item = must(message_item(&shown.m, &items[i].iov_len));
                shown_pod_done(&shown, pods);
                if (buf_add(&bytes, item, items[i].iov_len, NULL) < 0)
                        abort();
        }
        for (size_t i = 0; i < subjects.n; i++) {
                items[i].iov_base = bytes.data + at;
                at += items[i].iov_len;
        }
        fn(data, items, subjects.n);
        subjects_done(&subjects);
}

static void walk(const struct shown_metrics *s, pods_metric_fn fn, void *data)
{
        for (size_t i = 0; i < s->n; i++) {
                const struct shown_metric *m = (const struct shown_metric *) s->list[i];

                fn(data, &(struct pods_metric) {
                        .name = m->m.name, .counter = m->m.metric_type == COUNTER,
                        .labels = (const char *const *) m->m.label_values, .n_labels = m->m.n_label_values,
                        .value = m->exact,
                });
        }
}

void pods_walk_metrics(struct pods *pods, pods_metric_fn fn, void *data)
{
        struct subjects subjects = subjects_of(pods);

        for (size_t i = 0; i < subjects.n; i++) {
                struct shown_pod shown = { 0 };

                show_pod(&shown, subjects.all[i], &subjects.networks[i]);
                walk(&shown.own, fn, data);
                for (size_t k = 0; k < shown.n_containers; k++)
                        walk(&shown.metrics[k], fn, data);
                shown_pod_done(&shown, pods);
        }
        subjects_done(&subjects);
}
