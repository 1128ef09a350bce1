/*
 * UpdateContainerResources
 *
 * The cgroup comes first: the driver takes all of it or nothing, so a refusal leaves
 * everything as it was.  What fails after it (a disk that is full) is told, too; the
 * same request again then brings config.json and the record in step.  Hooks are asked before anything changes.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

#define CONFIG_MAX (16 << 20)

/* The request as it came over the wire: one block of memory that the task frees. */
struct update {
        int64_t pids;                   /* as in struct hooks_limits */
        bool hooks;                     /* they are asked and told */
        size_t n;
        uint8_t bytes[];
};

static void auto_resources_(Cri__LinuxContainerResources **r)
{
        message_free((ProtobufCMessage *) *r);
}

#define auto_resources auto_cleanup(auto_resources_) Cri__LinuxContainerResources *

static bool has_page_size(const Cri__LinuxContainerResources *r, const char *size)
{
        for (size_t i = 0; i < r->n_hugepage_limits; i++)
                if (strcmp(r->hugepage_limits[i]->page_size, size) == 0)
                        return true;

        return false;
}

/* Drop what @update says anew from the lists of @r. */
static void drop_replaced(Cri__LinuxContainerResources *r, const Cri__LinuxContainerResources *update)
{
        size_t n = 0;

        for (size_t i = 0; i < r->n_hugepage_limits; i++)
                if (has_page_size(update, r->hugepage_limits[i]->page_size))
                        message_free((ProtobufCMessage *) r->hugepage_limits[i]);
                else
                        r->hugepage_limits[n++] = r->hugepage_limits[i];
        r->n_hugepage_limits = n;

        n = 0;
        for (size_t i = 0; i < r->n_unified; i++)
                if (message_pair(update->unified, update->n_unified, r->unified[i]->key))
                        message_free((ProtobufCMessage *) r->unified[i]);
                else
                        r->unified[n++] = r->unified[i];
        r->n_unified = n;
}

/* What holds after @update: what it does not name stays.  Packed one behind the other, the later one counts. */
static Cri__LinuxContainerResources *merge(const Cri__LinuxContainerResources *old,
                                           const Cri__LinuxContainerResources *update)
{
        auto_resources kept = message_copy(old);
        auto_free uint8_t *bytes = NULL;
        size_t n;

        if (!kept)
                return NULL;
        drop_replaced(kept, update);
        n = protobuf_c_message_get_packed_size(&kept->base);
        bytes = malloc(n + protobuf_c_message_get_packed_size(&update->base) + 1);
        if (!bytes)
                return NULL;
        protobuf_c_message_pack(&kept->base, bytes);
        n += protobuf_c_message_pack(&update->base, bytes + n);
        return (Cri__LinuxContainerResources *) protobuf_c_message_unpack(old->base.descriptor, NULL, n, bytes);
}

/*
 * The limit of swap is told as memory and swap together.  A new memory limit alone leaves as
 * much swap as there was; a new one of both needs the memory limit beside it.
 */
static void complete_memory(Cri__LinuxContainerResources *update, const Cri__LinuxContainerResources *old)
{
        int64_t memory = old->memory_limit_in_bytes, both = old->memory_swap_limit_in_bytes;

        if (update->memory_swap_limit_in_bytes && !update->memory_limit_in_bytes)
                update->memory_limit_in_bytes = memory;
        else if (!update->memory_swap_limit_in_bytes && update->memory_limit_in_bytes == -1)
                update->memory_swap_limit_in_bytes = -1;
        else if (!update->memory_swap_limit_in_bytes && update->memory_limit_in_bytes && both == -1)
                update->memory_swap_limit_in_bytes = -1;
        else if (!update->memory_swap_limit_in_bytes && update->memory_limit_in_bytes && memory > 0 && both >= memory &&
                 update->memory_limit_in_bytes <= INT64_MAX - (both - memory))
                update->memory_swap_limit_in_bytes = update->memory_limit_in_bytes + (both - memory);
}

/* Less than its processes hold would have the kernel kill them. */
static int check_memory(const struct container *c, const Cri__LinuxContainerResources *update, struct cringle_err *err)
{
        int64_t limit = update->memory_limit_in_bytes;
        struct cringle_cgroup_stats s;

        if (limit <= 0)
                return 0;
        if (container_stats(c, CRINGLE_CGROUP_STATS_USAGE, &s, err) < 0)
                return -1;
        if (s.memory_rss == CRINGLE_UNSET || s.memory_rss <= limit)
                return 0;
        return err_set(err, CRINGLE_E_PRECONDITION,
                       "the container's processes hold %lld bytes, more than the new memory limit of %lld",
                       (long long) s.memory_rss, (long long) limit);
}

static int set_limits(struct container *c, const Cri__LinuxContainerResources *update, int64_t pids,
                      const struct cringle_call *call, struct cringle_err *err)
{
        const struct host_cgroup *cgroup = &c->pods->cgroup;
        auto_spec_limits limits = SPEC_LIMITS_INIT;

        if (spec_resources(update, &limits, err) < 0 || check_memory(c, update, err) < 0)
                return -1;
        limits.resources.pids_limit = pids;
        return cgroup->ops->update(cgroup->self, call, c->pod->cgroup_parent, c->id, &limits.resources, err);
}

static int write_pids(struct json_object *spec, int64_t pids, struct cringle_err *err)
{
        struct json_object *linux_part = json_need_object(spec, "linux", err);
        struct json_object *resources = linux_part ? json_need_object(linux_part, "resources", err) : NULL;
        struct json_object *part = resources ? json_need_object(resources, "pids", err) : NULL;

        return part ? json_set_int(part, "limit", pids, err) : -1;
}

static int write_config(struct container *c, const Cri__LinuxContainerResources *update, int64_t pids,
                        struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/config.json", c->bundle);
        auto_json spec = NULL;
        auto_buf text = BUF_INIT;

        if (!path || json_read_bytes(path, CONFIG_MAX, &spec, err) < 0 || spec_set_resources(spec, update, err) < 0 ||
            (pids != CRINGLE_UNSET && write_pids(spec, pids, err) < 0) || json_write(spec, &text, err) < 0)
                return -1;
        return file_replace(path, text.data, text.len, 0600, false, err);
}

/* The status owns what it gets. */
static int set_status(struct container *c, Cri__LinuxContainerResources **resources, struct cringle_err *err)
{
        Cri__ContainerStatus *s = c->status;
        int r = 0;

        pthread_mutex_lock(&c->pods->tasks.lock);
        if (!s->resources) {
                s->resources = calloc(1, sizeof *s->resources);
                if (s->resources)
                        cri__container_resources__init(s->resources);
                else
                        r = err_oom(err);
        }
        if (s->resources) {
                message_free((ProtobufCMessage *) s->resources->linux);
                s->resources->linux = steal(resources);
        }
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return r;
}

/* A copy of what is in force, for a container that may still be changed; the caller's. */
static Cri__LinuxContainerResources *current(struct container *c, struct cringle_err *err)
{
        static const Cri__LinuxContainerResources none = CRI__LINUX_CONTAINER_RESOURCES__INIT;
        Cri__LinuxContainerResources *copy = NULL;

        pthread_mutex_lock(&c->pods->tasks.lock);
        if (c->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED) {
                err_set(err, CRINGLE_E_PRECONDITION, "container %.12s is exited", c->id);
        } else {
                copy = message_copy(c->status->resources && c->status->resources->linux ? c->status->resources->linux
                                                                                         : &none);
                if (!copy)
                        err_oom(err);
        }
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return copy;
}

/* Hooks may want them otherwise. */
static int ask_hooks(struct container *c, const struct update *u, struct hooks_limits *limits,
                     const struct cringle_call *call, struct cringle_err *err)
{
        struct hooks_subject subject = container_subject(c);

        return u->hooks ? hooks_update(c->pods->hooks, &subject, limits, call, err) : 0;
}

static int change_limits(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        const struct update *u = task_extra(t);
        struct hooks_limits limits = { NULL, u->pids };
        auto_resources update = NULL;
        auto_resources old = NULL;
        auto_resources merged = NULL;
        int r;

        limits.resources = (Cri__LinuxContainerResources *) protobuf_c_message_unpack(
                &cri__linux_container_resources__descriptor, NULL, u->n, u->bytes);
        if (!limits.resources)
                return err_oom(err);
        old = current(c, err);
        r = old ? ask_hooks(c, u, &limits, call, err) : -1;
        update = limits.resources;
        if (r < 0)
                return -1;
        update->oom_score_adj = 0;              /* not of a cgroup, and set once */
        complete_memory(update, old);
        merged = merge(old, update);
        if (!merged)
                return err_oom(err);

        if (set_limits(c, update, limits.pids, call, err) < 0)
                return -1;
        if (write_config(c, update, limits.pids, err) < 0 || set_status(c, &merged, err) < 0)
                return err_wrap(err, "the new limits are in force, but not recorded");
        return 0;
}

static int record_limits(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        if (store_container_state(object, DB_FAST, err) < 0)
                return err_wrap(err, "the new limits are in force, but not recorded");
        return 0;
}

static int tell_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        const struct update *u = task_extra(t);
        struct hooks_subject subject = container_subject(c);

        hooks_updated(c->pods->hooks, &subject, NULL, u->hooks);
        return 0;
}

static const struct step steps[] = {
        { "change limits", change_limits, NULL },
        { "record limits", record_limits, NULL },
        { "tell hooks", tell_hooks, NULL },
        { 0 }
};

/* Nothing of it outlives the agent but what is in force already. */
static const struct procedure container_update = {
        .name = "update container",
        .steps = steps,
};

void pods_update_container(struct pods *pods, const char *id, const struct hooks_limits *limits, bool hooks,
                           pods_done_fn done, void *data)
{
        const Cri__LinuxContainerResources *resources = limits->resources;
        struct cringle_err err = CRINGLE_ERR_INIT;
        size_t n = resources ? protobuf_c_message_get_packed_size(&resources->base) : 0;
        bool wanted = n > 0 || limits->pids != CRINGLE_UNSET;
        struct update *u = malloc(sizeof *u + n);
        struct container *c;
        int found;

        if (!u)
                abort();
        u->pids = limits->pids;
        u->hooks = hooks;
        u->n = n;
        if (resources)
                protobuf_c_message_pack(&resources->base, u->bytes);
        pthread_mutex_lock(&pods->tasks.lock);
        found = find_container(pods, id, &c, &err);
        if (found == 0 && wanted)
                pods_start_container_task(c, &container_update, false, u, done, data);
        pthread_mutex_unlock(&pods->tasks.lock);
        if (found == 0 && wanted)
                return;
        free(u);
        done(data, id, found < 0 ? &err : NULL);
}
