/*
 * Statistics as CRI tells them
 *
 * A message and all it points to lie in one struct, so that a list of them is one
 * array.  Attributes belong to the container or pod, of which the asker has a
 * reference, and never change.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"
#include "agent/pod/stats.h"

struct shown_psi {
        Cri__PsiStats m;
        Cri__PsiData some, full;
};

/* What containers and pods have in common. */
struct shown_usage {
        Cri__CpuUsage cpu;
        Cri__MemoryUsage memory;
        Cri__SwapUsage swap;
        Cri__IoUsage io;
        struct shown_psi cpu_psi, memory_psi, io_psi;
        Cri__UInt64Value values[16];
        size_t n_values;
};

struct shown_container {
        Cri__ContainerStats m;
        Cri__ContainerAttributes attributes;
        struct shown_usage usage;
        Cri__FilesystemUsage layer;
        Cri__FilesystemIdentifier where;
        Cri__UInt64Value layer_bytes, layer_inodes;
};

struct shown_netdev {
        Cri__NetworkInterfaceUsage m;
        Cri__UInt64Value values[4];
};

struct shown_pod {
        Cri__PodSandboxStats m;
        Cri__PodSandboxAttributes attributes;
        Cri__LinuxPodSandboxStats linux;
        struct shown_usage usage;
        Cri__ProcessUsage process;
        Cri__UInt64Value process_count;
        Cri__NetworkUsage network;

        struct container **containers;  /* references */
        size_t n_containers;
        struct shown_container *shown;
        Cri__ContainerStats **list;
        struct shown_netdev *interfaces;
        Cri__NetworkInterfaceUsage **interface_list;
};

static void *must_calloc(size_t n, size_t each)
{
        void *p = calloc(n + 1, each);

        if (!p)
                abort();
        return p;
}

/* NULL: the kernel does not tell. */
static Cri__UInt64Value *value(struct shown_usage *u, int64_t number)
{
        Cri__UInt64Value *v = &u->values[u->n_values];

        if (number == CRINGLE_UNSET || u->n_values == sizeof u->values / sizeof *u->values)
                return NULL;
        u->n_values++;
        cri__uint64_value__init(v);
        v->value = (uint64_t) number;
        return v;
}

static void show_pressure(Cri__PsiData *m, const struct cringle_pressure *p)
{
        cri__psi_data__init(m);
        m->total = (uint64_t) p->total;
        m->avg10 = p->avg10 == CRINGLE_UNSET ? 0 : (double) p->avg10 / 100;
        m->avg60 = p->avg60 == CRINGLE_UNSET ? 0 : (double) p->avg60 / 100;
        m->avg300 = p->avg300 == CRINGLE_UNSET ? 0 : (double) p->avg300 / 100;
}

/* NULL: no pressure is told (cgroup v1, or a kernel that does not keep it). */
static Cri__PsiStats *show_psi(struct shown_psi *psi, const struct cringle_pressure *some,
                               const struct cringle_pressure *full)
{
        if (some->total == CRINGLE_UNSET && full->total == CRINGLE_UNSET)
                return NULL;
        cri__psi_stats__init(&psi->m);
        if (some->total != CRINGLE_UNSET) {
                show_pressure(&psi->some, some);
                psi->m.some = &psi->some;
        }
        if (full->total != CRINGLE_UNSET) {
                show_pressure(&psi->full, full);
                psi->m.full = &psi->full;
        }
        return &psi->m;
}

static int64_t left(int64_t limit, int64_t used)
{
        if (limit == CRINGLE_UNSET || used == CRINGLE_UNSET)
                return CRINGLE_UNSET;
        return limit > used ? limit - used : 0;
}

static void show_usage(struct shown_usage *u, const struct cringle_cgroup_stats *s, int64_t nano_cores)
{
        int64_t now = clock_realtime();

        cri__cpu_usage__init(&u->cpu);
        u->cpu.timestamp = now;
        u->cpu.usage_core_nano_seconds = value(u, s->cpu_usage);
        u->cpu.usage_nano_cores = value(u, nano_cores);
        u->cpu.psi = show_psi(&u->cpu_psi, &s->cpu_some, &s->cpu_full);

        cri__memory_usage__init(&u->memory);
        u->memory.timestamp = now;
        u->memory.working_set_bytes = value(u, s->memory_working_set);
        u->memory.available_bytes = value(u, left(s->memory_limit, s->memory_working_set));
        u->memory.usage_bytes = value(u, s->memory_usage);
        u->memory.rss_bytes = value(u, s->memory_rss);
        u->memory.page_faults = value(u, s->page_faults);
        u->memory.major_page_faults = value(u, s->major_page_faults);
        u->memory.psi = show_psi(&u->memory_psi, &s->memory_some, &s->memory_full);

        cri__swap_usage__init(&u->swap);
        u->swap.timestamp = now;
        u->swap.swap_usage_bytes = value(u, s->swap_usage);
        u->swap.swap_available_bytes = value(u, left(s->swap_limit, s->swap_usage));

        cri__io_usage__init(&u->io);
        u->io.timestamp = now;
        u->io.psi = show_psi(&u->io_psi, &s->io_some, &s->io_full);
}

static void show_layer(struct shown_container *shown, struct container *c)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct disk_sample disk;
        const char *path = images_writable_path(c->pods->images);

        if (!path)
                return;
        if (container_disk(c, &disk, &err) < 0) {
                log_debug("container %.12s: its writable layer: %s", c->id, err.text);
                return;
        }
        cri__filesystem_usage__init(&shown->layer);
        cri__filesystem_identifier__init(&shown->where);
        cri__uint64_value__init(&shown->layer_bytes);
        cri__uint64_value__init(&shown->layer_inodes);
        shown->where.mountpoint = message_text(path);
        shown->layer_bytes.value = disk.bytes;
        shown->layer_inodes.value = disk.inodes;
        shown->layer.timestamp = disk.at;
        shown->layer.fs_id = &shown->where;
        shown->layer.used_bytes = &shown->layer_bytes;
        shown->layer.inodes_used = &shown->layer_inodes;
        shown->m.writable_layer = &shown->layer;
}

/* Of a container without a cgroup only what it is: -1.  @ret_stats may be NULL. */
static int show_container(struct shown_container *shown, struct container *c, struct cringle_cgroup_stats *ret_stats,
                          struct cringle_err *err)
{
        const Cri__ContainerStatus *status = c->status;
        struct cringle_cgroup_stats s;
        int64_t nano_cores;

        cri__container_stats__init(&shown->m);
        cri__container_attributes__init(&shown->attributes);
        shown->attributes.id = c->id;
        shown->attributes.metadata = status->metadata;
        shown->attributes.n_labels = status->n_labels;
        shown->attributes.labels = status->labels;
        shown->attributes.n_annotations = status->n_annotations;
        shown->attributes.annotations = status->annotations;
        shown->m.attributes = &shown->attributes;
        if (container_stats(c, CRINGLE_CGROUP_STATS_USAGE, &s, err) < 0)
                return -1;

        pthread_mutex_lock(&c->pods->tasks.lock);
        nano_cores = rate_take(&c->rate, clock_monotonic(), s.cpu_usage);
        pthread_mutex_unlock(&c->pods->tasks.lock);
        show_usage(&shown->usage, &s, nano_cores);
        shown->m.cpu = &shown->usage.cpu;
        shown->m.memory = &shown->usage.memory;
        shown->m.swap = &shown->usage.swap;
        shown->m.io = &shown->usage.io;
        show_layer(shown, c);
        if (ret_stats)
                *ret_stats = s;
        return 0;
}

/*
 * Those of @from that have a cgroup, into @shown and @list; what they use together into @sum (may be NULL).
 * One that went meanwhile, or cannot be read, is left out: a list is for all the others, too.
 */
static size_t show_containers(struct shown_container *shown, Cri__ContainerStats **list, struct container **from,
                              size_t n_from, struct cringle_cgroup_stats *sum)
{
        size_t n = 0;

        for (size_t i = 0; i < n_from; i++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                struct cringle_cgroup_stats s;

                if (show_container(&shown[n], from[i], &s, &err) < 0) {
                        log_debug("container %.12s: no statistics: %s", from[i]->id, err.text);
                        memset(&shown[n], 0, sizeof shown[n]);
                        continue;
                }
                if (sum)
                        stats_add(sum, &s);
                list[n] = &shown[n].m;
                n++;
        }
        return n;
}

/* --- containers --- */

int pods_container_stats(struct pods *pods, const char *id, pods_message_fn fn, void *data, struct cringle_err *err)
{
        Cri__ContainerStatsResponse response = CRI__CONTAINER_STATS_RESPONSE__INIT;
        struct shown_container shown = { 0 };
        struct container *c;
        int found, r;

        pthread_mutex_lock(&pods->tasks.lock);
        found = find_container(pods, id, &c, err);
        if (found == 0)
                container_ref(c);
        pthread_mutex_unlock(&pods->tasks.lock);
        if (found < 0)
                return -1;

        r = show_container(&shown, c, NULL, err);
        if (r == 0) {
                response.stats = &shown.m;
                fn(data, &response.base);
        }
        pthread_mutex_lock(&pods->tasks.lock);
        container_unref(c);
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}

static bool container_wanted(const struct container *c, const void *data)
{
        const Cri__ContainerStatsFilter *f = data;
        const Cri__ContainerStatus *s = c->status;

        return !f || (id_fits(c->id, f->id) && id_fits(c->pod->id, f->pod_sandbox_id) &&
                      message_has_pairs(s->labels, s->n_labels, f->label_selector, f->n_label_selector));
}

void pods_list_container_stats(struct pods *pods, const Cri__ContainerStatsFilter *filter, pods_message_fn fn,
                               void *data)
{
        Cri__ListContainerStatsResponse response = CRI__LIST_CONTAINER_STATS_RESPONSE__INIT;
        size_t n;
        struct container **containers = containers_collect(pods, container_wanted, filter, &n);
        auto_free struct shown_container *shown = must_calloc(n, sizeof *shown);
        auto_free Cri__ContainerStats **list = must_calloc(n, sizeof *list);

        response.stats = list;
        response.n_stats = show_containers(shown, list, containers, n, NULL);
        fn(data, &response.base);
        containers_unref_all(pods, containers, n);
}

/* --- pods --- */

static Cri__UInt64Value *counter(Cri__UInt64Value *v, uint64_t number)
{
        cri__uint64_value__init(v);
        v->value = number;
        return v;
}

static void show_network(struct shown_pod *shown, const struct netdev_look *network)
{
        if (!network->n)
                return;
        shown->interfaces = must_calloc(network->n, sizeof *shown->interfaces);
        shown->interface_list = must_calloc(network->n, sizeof *shown->interface_list);
        for (size_t i = 0; i < network->n; i++) {
                struct shown_netdev *s = &shown->interfaces[i];
                struct netdev *d = &network->list[i];

                cri__network_interface_usage__init(&s->m);
                s->m.name = d->name;
                s->m.rx_bytes = counter(&s->values[0], d->rx_bytes);
                s->m.rx_errors = counter(&s->values[1], d->rx_errors);
                s->m.tx_bytes = counter(&s->values[2], d->tx_bytes);
                s->m.tx_errors = counter(&s->values[3], d->tx_errors);
                shown->interface_list[i] = &s->m;
        }
        cri__network_usage__init(&shown->network);
        shown->network.timestamp = clock_realtime();
        shown->network.default_interface = &shown->interfaces[0].m;
        shown->network.n_interfaces = network->n - 1;
        shown->network.interfaces = shown->interface_list + 1;
        shown->linux.network = &shown->network;
}

/* Filled even of a pod in which nothing runs (any more); shown_pod_done() afterwards, before @network goes. */
static void show_pod(struct shown_pod *shown, struct pod *pod, const struct netdev_look *network)
{
        struct pods *pods = pod->pods;
        const Cri__PodSandboxStatus *status = pod->status;
        struct cringle_cgroup_stats s, sum;
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t nano_cores;

        cri__pod_sandbox_stats__init(&shown->m);
        cri__pod_sandbox_attributes__init(&shown->attributes);
        cri__linux_pod_sandbox_stats__init(&shown->linux);
        shown->attributes.id = pod->id;
        shown->attributes.metadata = status->metadata;
        shown->attributes.n_labels = status->n_labels;
        shown->attributes.labels = status->labels;
        shown->attributes.n_annotations = status->n_annotations;
        shown->attributes.annotations = status->annotations;
        shown->m.attributes = &shown->attributes;
        shown->m.linux = &shown->linux;

        stats_unset(&sum, sizeof sum);
        shown->containers = pod_containers_collect(pod, &shown->n_containers);
        shown->shown = must_calloc(shown->n_containers, sizeof *shown->shown);
        shown->list = must_calloc(shown->n_containers, sizeof *shown->list);
        shown->linux.containers = shown->list;
        shown->linux.n_containers =
                show_containers(shown->shown, shown->list, shown->containers, shown->n_containers, &sum);

        switch (pod_stats(pod, CRINGLE_CGROUP_STATS_USAGE, &s, &err)) {
        case 0:
                s = sum;
                break;
        case -1:
                log_debug("pod %.12s: no statistics of its own: %s", pod->id, err.text);
                stats_unset(&s, sizeof s);
                break;
        }
        pthread_mutex_lock(&pods->tasks.lock);
        nano_cores = rate_take(&pod->rate, clock_monotonic(), s.cpu_usage);
        pthread_mutex_unlock(&pods->tasks.lock);
        show_usage(&shown->usage, &s, nano_cores);
        shown->linux.cpu = &shown->usage.cpu;
        shown->linux.memory = &shown->usage.memory;
        shown->linux.io = &shown->usage.io;
        if (s.pids != CRINGLE_UNSET) {
                cri__process_usage__init(&shown->process);
                shown->process.timestamp = clock_realtime();
                shown->process.process_count = counter(&shown->process_count, (uint64_t) s.pids);
                shown->linux.process = &shown->process;
        }
        show_network(shown, network);
}

static void shown_pod_done(struct shown_pod *shown, struct pods *pods)
{
        containers_unref_all(pods, shown->containers, shown->n_containers);
        free(shown->shown);
        free(shown->list);
        free(shown->interfaces);
        free(shown->interface_list);
}

int pods_sandbox_stats(struct pods *pods, const char *id, pods_message_fn fn, void *data, struct cringle_err *err)
{
        Cri__PodSandboxStatsResponse response = CRI__POD_SANDBOX_STATS_RESPONSE__INIT;
        struct shown_pod shown = { 0 };
        struct netdev_look *network;
        struct pod *pod;
        int found;

        pthread_mutex_lock(&pods->tasks.lock);
        found = find_pod(pods, id, &pod, err);
        if (found == 0 && pod->status->state != CRI__POD_SANDBOX_STATE__SANDBOX_READY)
                found = err_set(err, CRINGLE_E_PRECONDITION, "pod sandbox %.12s is not ready", pod->id);
        if (found == 0)
                pod_ref(pod);
        pthread_mutex_unlock(&pods->tasks.lock);
        if (found < 0)
                return -1;

        network = pods_netdevs(&pod, 1);
        show_pod(&shown, pod, network);
        response.stats = &shown.m;
        fn(data, &response.base);
        shown_pod_done(&shown, pods);
        netdev_looks_free(network, 1);
        pthread_mutex_lock(&pods->tasks.lock);
        pod_unref(pod);
        pthread_mutex_unlock(&pods->tasks.lock);
        return 0;
}

static bool pod_wanted(const struct pod *pod, const void *data)
{
        const Cri__PodSandboxStatsFilter *f = data;
        const Cri__PodSandboxStatus *s = pod->status;

        return !f || (id_fits(pod->id, f->id) &&
                      message_has_pairs(s->labels, s->n_labels, f->label_selector, f->n_label_selector));
}

void pods_list_sandbox_stats(struct pods *pods, const Cri__PodSandboxStatsFilter *filter, pods_message_fn fn,
                             void *data)
{
        Cri__ListPodSandboxStatsResponse response = CRI__LIST_POD_SANDBOX_STATS_RESPONSE__INIT;
        size_t n;
        struct pod **all = pods_collect(pods, pod_wanted, filter, &n);
        struct netdev_look *networks = pods_netdevs(all, n);
        auto_free struct shown_pod *shown = must_calloc(n, sizeof *shown);
        auto_free Cri__PodSandboxStats **list = must_calloc(n, sizeof *list);

        for (size_t i = 0; i < n; i++) {
                show_pod(&shown[i], all[i], &networks[i]);
                list[i] = &shown[i].m;
        }
        response.n_stats = n;
        response.stats = list;
        fn(data, &response.base);
        for (size_t i = 0; i < n; i++)
                shown_pod_done(&shown[i], pods);
        netdev_looks_free(networks, n);
        pods_unref_all(pods, all, n);
}
