/*
 * The event that a native hook is called with; see event.h.
 */

#include <string.h>

#include "agent/base/str.h"
#include "hooks/event.h"

static const char *pair_value(Cri__Pair *const *pairs, size_t n, const char *key)
{
        for (size_t i = 0; key && i < n; i++)
                if (strcmp(pairs[i]->key, key) == 0)
                        return pairs[i]->value;

        return NULL;
}

static const struct event_host *host_of(const struct cringle_event *ev)
{
        return ev->host;
}

static const char *event_annotation(const struct cringle_event *ev, const char *key)
{
        const struct hooks_subject *s = host_of(ev)->subject;
        const char *value = NULL;

        if (s->container)
                value = pair_value(s->container->annotations, s->container->n_annotations, key);
        return value ? value : pair_value(s->pod->annotations, s->pod->n_annotations, key);
}

static const char *event_label(const struct cringle_event *ev, const char *key)
{
        const struct hooks_subject *s = host_of(ev)->subject;
        const char *value = NULL;

        if (s->container)
                value = pair_value(s->container->labels, s->container->n_labels, key);
        return value ? value : pair_value(s->pod->labels, s->pod->n_labels, key);
}

static const char *event_env(const struct cringle_event *ev, const char *name)
{
        struct adjust *a = host_of(ev)->adjust;

        return a && name ? spec_env(a->spec, name) : NULL;
}

static struct adjust *may_adjust(const struct cringle_event *ev, struct cringle_err *err)
{
        struct adjust *a = host_of(ev)->adjust;

        if (!a)
                err_set(err, CRINGLE_E_PRECONDITION, "a container can be adjusted at CRINGLE_CONTAINER_CREATE only");
        return a;
}

static int event_set_env(const struct cringle_event *ev, const char *name, const char *value, struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_env(a, name, value, err) : -1;
}

static int event_add_mount(const struct cringle_event *ev, const char *source, const char *target,
                           const char *options, struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_mount(a, source, target, options, err) : -1;
}

static int event_drop_mount(const struct cringle_event *ev, const char *target, struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_drop_mount(a, target, err) : -1;
}

static int event_add_device(const struct cringle_event *ev, const char *host_path, const char *container_path,
                            const char *access, struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_device(a, host_path, container_path, access, err) : -1;
}

static int event_set_annotation(const struct cringle_event *ev, const char *key, const char *value,
                                struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_annotation(a, key, value, err) : -1;
}

static int event_set_args(const struct cringle_event *ev, const char *const *args, struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_args(a, args, err) : -1;
}

static int event_set_rlimit(const struct cringle_event *ev, const char *type, uint64_t soft, uint64_t hard,
                            struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_rlimit(a, type, soft, hard, err) : -1;
}

static int event_add_oci_hook(const struct cringle_event *ev, const char *stage, const char *path,
                              const char *const *args, const char *const *env, int timeout, struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_oci_hook(a, stage, path, args, env, timeout, err) : -1;
}

static int event_add_cdi_device(const struct cringle_event *ev, const char *name, struct cringle_err *err)
{
        struct adjust *a = may_adjust(ev, err);

        return a ? adjust_cdi_device(a, name, err) : -1;
}

const char *event_image(const Cri__ContainerConfig *c)
{
        if (!c->image)
                return NULL;
        return str_empty(c->image->user_specified_image) ? c->image->image : c->image->user_specified_image;
}

struct cringle_event event_make(int point, const struct event_host *host, const char *const *args,
                                const struct cringle_call *call)
{
        const struct hooks_subject *s = host->subject;

        return (struct cringle_event) {
                .size = sizeof(struct cringle_event),
                .point = point,
                .call = call,
                .pod_id = s->pod_id,
                .pod_name = s->pod->metadata->name,
                .pod_space = s->pod->metadata->namespace_,
                .pod_uid = s->pod->metadata->uid,
                .container_id = s->container_id,
                .container_name = s->container ? s->container->metadata->name : NULL,
                .image = s->container ? event_image(s->container) : NULL,
                .handler = s->handler ? s->handler : "",
                .args = args,
                .pid = s->pid,
                .exit_code = s->exit_code,
                .bundle = s->bundle,
                .annotation = event_annotation,
                .label = event_label,
                .env = event_env,
                .set_env = event_set_env,
                .add_mount = event_add_mount,
                .drop_mount = event_drop_mount,
                .add_device = event_add_device,
                .set_annotation = event_set_annotation,
                .set_args = event_set_args,
                .set_rlimit = event_set_rlimit,
                .add_oci_hook = event_add_oci_hook,
                .host = host,
                .add_cdi_device = event_add_cdi_device,
        };
}
