/*
 * What containers and pods use; see stats.h.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"
#include "agent/pod/stats.h"

#define SAMPLE_EVERY (10 * NSEC_PER_SEC)
#define RATE_SPAN NSEC_PER_SEC          /* a rate over less says little */
#define TRIM_EVERY 6                    /* samples */
#define DISK_EVERY (30 * NSEC_PER_SEC)
#define DISK_SHARE 20                   /* of the time, at most one part in so many goes into walks of one layer */

int64_t rate_take(struct rate *r, int64_t now, int64_t usage)
{
        int64_t span = now - r->at;

        if (usage == CRINGLE_UNSET)
                return CRINGLE_UNSET;
        if (r->at && span < RATE_SPAN)
                return r->known ? r->nano_cores : CRINGLE_UNSET;

        r->known = r->at != 0;
        if (r->known)
                r->nano_cores = usage > r->usage ? (int64_t) ((double) (usage - r->usage) * NSEC_PER_SEC / (double) span) : 0;
        r->at = now;
        r->usage = usage;
        return r->known ? r->nano_cores : CRINGLE_UNSET;
}

/* Every member is an int64_t, or made of them. */
void stats_unset(struct cringle_cgroup_stats *s, size_t size)
{
        int64_t *at = (int64_t *) s;

        for (size_t i = 0; i < sizeof *s / sizeof *at; i++)
                at[i] = CRINGLE_UNSET;
        s->size = size;
}

int container_stats(const struct container *c, size_t size, struct cringle_cgroup_stats *ret, struct cringle_err *err)
{
        const struct host_cgroup *cgroup = &c->pods->cgroup;

        stats_unset(ret, size);
        return cgroup->ops->stats(cgroup->self, c->pod->cgroup_parent, c->id, ret, err);
}

int pod_stats(const struct pod *pod, size_t size, struct cringle_cgroup_stats *ret, struct cringle_err *err)
{
        const struct host_cgroup *cgroup = &pod->pods->cgroup;
        const Cri__LinuxPodSandboxConfig *linux = pod->request->config->linux;

        stats_unset(ret, size);
        if (!linux || str_empty(linux->cgroup_parent))
                return 0;
        return cgroup->ops->stats(cgroup->self, linux->cgroup_parent, NULL, ret, err) < 0 ? -1 : 1;
}

static void add(int64_t *sum, int64_t value)
{
        if (value == CRINGLE_UNSET)
                return;
        if (*sum == CRINGLE_UNSET)
                *sum = 0;
        if (__builtin_add_overflow(*sum, value, sum))
                *sum = INT64_MAX;
}

void stats_add(struct cringle_cgroup_stats *sum, const struct cringle_cgroup_stats *s)
{
        add(&sum->cpu_usage, s->cpu_usage);
        add(&sum->memory_usage, s->memory_usage);
        add(&sum->memory_working_set, s->memory_working_set);
        add(&sum->memory_rss, s->memory_rss);
        add(&sum->page_faults, s->page_faults);
        add(&sum->major_page_faults, s->major_page_faults);
        add(&sum->swap_usage, s->swap_usage);
        add(&sum->pids, s->pids);
}

static int walk_disk(struct container *c, struct disk_sample *ret, struct cringle_err *err)
{
        struct disk_sample d = { .at = clock_realtime() };
        int64_t began = clock_monotonic();

        if (images_rootfs_usage(c->pods->images, c->id, &d.bytes, &d.inodes, err) < 0)
                return -1;
        d.cost = clock_monotonic() - began;
        pthread_mutex_lock(&c->pods->tasks.lock);
        c->disk = d;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        *ret = d;
        return 0;
}

int container_disk(struct container *c, struct disk_sample *ret, struct cringle_err *err)
{
        pthread_mutex_lock(&c->pods->tasks.lock);
        *ret = c->disk;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return ret->at ? 0 : walk_disk(c, ret, err);
}

void pods_writable_usage(struct pods *pods, uint64_t *ret_bytes, uint64_t *ret_inodes)
{
        uint64_t bytes = 0, inodes = 0;
        const char *id;
        size_t at = 0;
        void *data;

        pthread_mutex_lock(&pods->tasks.lock);
        while (map_next(&pods->containers, &at, &id, &data)) {
                const struct container *c = data;

                bytes += c->disk.bytes;
                inodes += c->disk.inodes;
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        *ret_bytes = bytes;
        *ret_inodes = inodes;
}

static void default_first(struct netdev_look *l)
{
        struct netdev first;

        for (size_t i = 1; i < l->n; i++)
                if (strcmp(l->list[i].name, "eth0") == 0) {
                        first = l->list[0];
                        l->list[0] = l->list[i];
                        l->list[i] = first;
                }
}

struct netdev_look *pods_netdevs(struct pod *const *pods, size_t n)
{
        struct netdev_look *looks = calloc(n + 1, sizeof *looks);
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (!looks)
                abort();
        for (size_t i = 0; i < n; i++)
                if (!pod_on_host_network(pods[i]))
                        looks[i].path = str_printf(&looks[i].err, "%s/ns/net", pods[i]->run_dir);
        if (netdev_read(looks, n, &err) < 0)
                log_warning("network statistics: %s", err.text);
        for (size_t i = 0; i < n; i++) {
                default_first(&looks[i]);
                if (looks[i].err.code)
                        log_debug("pod %.12s: no network statistics: %s", pods[i]->id, looks[i].err.text);
        }
        return looks;
}

/* --- whom to ask --- */

static void *list_for(size_t n)
{
        void *list = calloc(n + 1, sizeof(void *));

        if (!list)
                abort();
        return list;
}

static bool lives(const struct container *c)
{
        return c->visible && c->status->state != CRI__CONTAINER_STATE__CONTAINER_EXITED;
}

struct container **containers_collect(struct pods *pods, bool (*fits)(const struct container *c, const void *data),
                                      const void *data, size_t *ret_n)
{
        struct container **list;
        size_t at = 0, n = 0;
        const char *id;
        void *object;

        pthread_mutex_lock(&pods->tasks.lock);
        list = list_for(pods->containers.count);
        while (map_next(&pods->containers, &at, &id, &object)) {
                struct container *c = object;

                if (!lives(c) || !fits(c, data))
                        continue;
                container_ref(c);
                list[n++] = c;
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        *ret_n = n;
        return list;
}

struct container **pod_containers_collect(struct pod *pod, size_t *ret_n)
{
        struct container **list;
        size_t n = 0;

        pthread_mutex_lock(&pod->pods->tasks.lock);
        for (struct container *c = pod->containers; c; c = c->next)
                n += lives(c);
        list = list_for(n);
        n = 0;
        for (struct container *c = pod->containers; c; c = c->next)
                if (lives(c)) {
                        container_ref(c);
                        list[n++] = c;
                }
        pthread_mutex_unlock(&pod->pods->tasks.lock);
        *ret_n = n;
        return list;
}

void containers_unref_all(struct pods *pods, struct container **list, size_t n)
{
        pthread_mutex_lock(&pods->tasks.lock);
        for (size_t i = 0; i < n; i++)
                container_unref(list[i]);
        pthread_mutex_unlock(&pods->tasks.lock);
        free(list);
}

struct pod **pods_collect(struct pods *pods, bool (*fits)(const struct pod *pod, const void *data), const void *data,
                          size_t *ret_n)
{
        struct pod **list;
        size_t at = 0, n = 0;
        const char *id;
        void *object;

        pthread_mutex_lock(&pods->tasks.lock);
        list = list_for(pods->by_id.count);
        while (map_next(&pods->by_id, &at, &id, &object)) {
                struct pod *pod = object;

                if (!pod->visible || pod->status->state != CRI__POD_SANDBOX_STATE__SANDBOX_READY || !fits(pod, data))
                        continue;
                pod_ref(pod);
                list[n++] = pod;
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        *ret_n = n;
        return list;
}

void pods_unref_all(struct pods *pods, struct pod **list, size_t n)
{
        pthread_mutex_lock(&pods->tasks.lock);
        for (size_t i = 0; i < n; i++)
                pod_unref(list[i]);
        pthread_mutex_unlock(&pods->tasks.lock);
        free(list);
}

/* --- the sampler --- */

struct sampler {
        struct pods *pods;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool ends;
};

static bool any_container(const struct container *c, const void *data)
{
        return true;
}

static bool any_pod(const struct pod *pod, const void *data)
{
        return true;
}

static bool must_end(struct sampler *s)
{
        bool ends;

        pthread_mutex_lock(&s->lock);
        ends = s->ends;
        pthread_mutex_unlock(&s->lock);
        return ends;
}

/* A container or pod that has gone meanwhile is no news. */
static void sample_container(struct container *c)
{
        struct cringle_cgroup_stats s;
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct disk_sample disk;

        if (container_stats(c, offsetof(struct cringle_cgroup_stats, memory_usage), &s, &err) < 0)
                return;
        pthread_mutex_lock(&c->pods->tasks.lock);
        rate_take(&c->rate, clock_monotonic(), s.cpu_usage);
        disk = c->disk;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        if (clock_realtime() - disk.at >= DISK_EVERY + disk.cost * DISK_SHARE && walk_disk(c, &disk, &err) < 0)
                log_debug("container %.12s: its writable layer: %s", c->id, err.text);
}

static void sample_pod(struct pod *pod)
{
        struct cringle_cgroup_stats s;
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (pod_stats(pod, offsetof(struct cringle_cgroup_stats, memory_usage), &s, &err) < 1)
                return;
        pthread_mutex_lock(&pod->pods->tasks.lock);
        rate_take(&pod->rate, clock_monotonic(), s.cpu_usage);
        pthread_mutex_unlock(&pod->pods->tasks.lock);
}

static void sample_all(struct sampler *s)
{
        struct pods *pods = s->pods;
        struct container **containers;
        struct pod **list;
        size_t n;

        containers = containers_collect(pods, any_container, NULL, &n);
        for (size_t i = 0; i < n && !must_end(s); i++)
                sample_container(containers[i]);
        containers_unref_all(pods, containers, n);
        list = pods_collect(pods, any_pod, NULL, &n);
        for (size_t i = 0; i < n && !must_end(s); i++)
                sample_pod(list[i]);
        pods_unref_all(pods, list, n);
}

static void *run_sampler(void *data)
{
        struct sampler *s = data;
        struct timespec until;
        unsigned n = 0;

        pthread_mutex_lock(&s->lock);
        while (!s->ends) {
                pthread_mutex_unlock(&s->lock);
                sample_all(s);
                if (++n % TRIM_EVERY == 0)
                        malloc_trim(0);         /* what pods left that are gone */
                pthread_mutex_lock(&s->lock);
                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_sec += SAMPLE_EVERY / NSEC_PER_SEC;
                while (!s->ends && pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT)
                        continue;
        }
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

int sampler_new(struct pods *pods, struct sampler **ret, struct cringle_err *err)
{
        struct sampler *s = calloc(1, sizeof *s);
        pthread_condattr_t attr;
        int r;

        if (!s)
                return err_oom(err);
        s->pods = pods;
        pthread_mutex_init(&s->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&s->wake, &attr);
        pthread_condattr_destroy(&attr);
        r = pthread_create(&s->thread, NULL, run_sampler, s);
        if (r) {
                pthread_cond_destroy(&s->wake);
                pthread_mutex_destroy(&s->lock);
                free(s);
                return err_sysno(err, r, "start the sampler");
        }
        *ret = s;
        return 0;
}

struct sampler *sampler_free(struct sampler *s)
{
        if (!s)
                return NULL;
        pthread_mutex_lock(&s->lock);
        s->ends = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
}
