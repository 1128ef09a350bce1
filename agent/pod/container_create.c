/*
 * CreateContainer
 */

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/guard.h"
#include "agent/base/log.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/image/lookup.h"
#include "agent/image/reference.h"
#include "agent/pod/model.h"
#include "agent/pod/restored.h"

/*
 * What the steps make for one another.  It lives in the task (task_extra()) and is
 * gone after the last step; an undo, which may come after a restart, never needs it.
 */
struct making {
        struct image_config *image;
        struct oci_user *user;          /* borrowed from pods->users */
        struct json_object *spec;
        struct cringle_cgroup_dirs dirs;
        bool has_dirs;
        char *from;                     /* a checkpoint's part that it begins with; NULL: it begins anew */
};

static int record(void *object, const char *step, struct cringle_err *err)
{
        return store_container(object, "create", step, DB_FAST, err);
}

static int keep_record(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return 0;
}

static int drop_record(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return store_drop_container(object, DB_FAST, err);
}

static int hold_image(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct making *m = task_extra(t);

        if (images_hold(c->pods->images, c->image->id, c->id, err) < 0 || container_hold_volumes(c, err) < 0)
                return -1;
        return image_config_parse(c->image->config, strlen(c->image->config), &m->image, err);
}

static int release_image(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;

        images_release(c->pods->images, c->id);
        return 0;
}

static int prepare_rootfs(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        const struct making *m = task_extra(t);
        struct container *c = object;
        auto_free char *rootfs = str_printf(err, "%s/rootfs", c->bundle);
        struct cringle_user_ns user_ns = { .fd = -1 };
        int r;

        if (!rootfs || file_make_dirs(rootfs, 0700, err) < 0)
                return -1;
        r = pod_user_ns(c->pod, &user_ns, err);
        if (r >= 0)
                r = images_rootfs_prepare(c->pods->images, c->image, c->id, r ? &user_ns : NULL, err);
        fd_close(user_ns.fd);
        return r == 0 && m->from ? restored_take(c, m->from, call, err) : r;
}

int container_remove_files(struct container *c, struct cringle_err *err)
{
        if (images_rootfs_remove(c->pods->images, c->id, err) < 0)
                return -1;
        return file_remove_tree(c->bundle, err);
}

static int remove_rootfs(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return container_remove_files(object, err);
}

static struct oci_user *known_user(struct pods *pods, const char *key)
{
        struct oci_user *user;

        pthread_mutex_lock(&pods->tasks.lock);
        user = map_get(&pods->users, key);
        pthread_mutex_unlock(&pods->tasks.lock);
        return user;
}

/* An image's content never changes, so neither does an answer; two that looked at once agree. */
static int keep_user(struct pods *pods, const char *key, struct oci_user **user, struct cringle_err *err)
{
        int r = 0;

        pthread_mutex_lock(&pods->tasks.lock);
        if (map_get(&pods->users, key)) {
                oci_user_free(*user);
                *user = map_get(&pods->users, key);
        } else if (map_put(&pods->users, key, *user, err) < 0) {
                *user = oci_user_free(*user);
                r = -1;
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}

int container_look_up_user(struct container *c, const struct image_config *image, struct oci_user **ret,
                           const struct cringle_call *call, struct cringle_err *err)
{
        struct pods *pods = c->pods;
        auto_of(policy) policy = policy_hold(pods);
        auto_free char *who = NULL, *key = NULL;
        auto_fd int view = -1;

        if (spec_user_string(c->request->config, image, &who, err) < 0)
                return -1;
        key = str_printf(err, "%s %s", c->image->id, who);
        if (!key)
                return -1;
        *ret = known_user(pods, key);
        if (*ret)
                return 0;

        if (images_view(pods->images, c->image, NULL, NULL, &view, err) < 0)
                return -1;
        if (lookup_user(policy->pull_program, view, who, call, ret, err) < 0)
                return -1;
        return keep_user(pods, key, ret, err);
}

static int look_up_user(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct making *m = task_extra(t);

        return container_look_up_user(object, m->image, &m->user, call, err);
}

/* The container whose PID namespace is to be joined (kubectl debug --target), or NULL. */
static struct container *pid_target(const struct container *c)
{
        const Cri__LinuxContainerConfig *linux = c->request->config->linux;
        const Cri__NamespaceOption *o =
                linux && linux->security_context ? linux->security_context->namespace_options : NULL;
        struct container *target = NULL;

        if (!o || o->pid != CRI__NAMESPACE_MODE__TARGET)
                return NULL;
        pthread_mutex_lock(&c->pods->tasks.lock);
        if (containers_find(c->pods, o->target_id, &target, NULL) == 0 && target && target->pod != c->pod)
                target = NULL;
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return target;
}

#define N_PINS 5

/* Pins that the pod really has, or would have if it were @imagined; NULL: the node's namespace. */
static int fill_namespaces(const struct pod *pod, bool imagined, struct spec_input *in, char *paths[static N_PINS],
                           struct cringle_err *err)
{
        static const char *const names[N_PINS] = { "net", "ipc", "uts", "pid", "user" };
        const char **fields[N_PINS] = { &in->net_ns, &in->ipc_ns, &in->uts_ns, &in->pid_ns, &in->user_ns };
        const Cri__NamespaceOption *o = pod_namespaces(pod);
        struct cringle_id_map uids, gids;
        const bool wanted[N_PINS] = { o->network != CRI__NAMESPACE_MODE__NODE, o->ipc != CRI__NAMESPACE_MODE__NODE,
                                      o->network != CRI__NAMESPACE_MODE__NODE, o->pid == CRI__NAMESPACE_MODE__POD,
                                      spec_id_maps(pod->request->config, &uids, &gids, NULL) == 1 };

        for (int i = 0; i < N_PINS; i++) {
                paths[i] = str_printf(err, "%s/ns/%s", pod->run_dir, names[i]);
                if (!paths[i])
                        return -1;
                *fields[i] = (imagined ? wanted[i] : file_exists(paths[i])) ? paths[i] : NULL;
        }
        return 0;
}

int container_build_spec(struct container *c, const struct image_config *image, const struct oci_user *user,
                         const struct container_rehearsal *rehearsal, struct json_object **ret,
                         const struct cringle_call *call, struct cringle_err *err)
{
        struct pod *pod = c->pod;
        struct pods *pods = c->pods;
        struct spec_input in = pods->machine;
        auto_of(policy) policy = policy_hold(pods);
        struct hooks_subject subject = container_subject(c);
        struct cringle_cgroup_dirs dirs = { .size = sizeof dirs };
        auto_free char *resolv_conf = pod_file(pod, "resolv.conf", err), *hosts = pod_file(pod, "hosts", err);
        auto_free char *hostname = pod_file(pod, "hostname", err), *shm = pod_file(pod, "shm", err);
        auto_free char *images = str_printf(err, "%s/images", c->bundle), *host_name = NULL;
        auto_strv warnings = NULL;
        char *pins[N_PINS] = { NULL };
        int r = -1;

        if (!resolv_conf || !hosts || !hostname || !shm || !images || fill_namespaces(pod, rehearsal, &in, pins, err) < 0)
                goto end;
        if (pods->cgroup.ops->path(pods->cgroup.self, pod->cgroup_parent, c->id, &dirs, err) < 0)
                goto end;
        if (pod_on_host_network(pod) && file_read_line("/proc/sys/kernel/hostname", &host_name, err) < 0)
                goto end;

        in.pod = pod->request->config;
        in.container = c->request->config;
        in.image = image;
        in.user = user;
        if (rehearsal)
                in.machine = rehearsal->machine;
        in.pod_id = pod->id;
        in.container_id = c->id;
        in.hostname = host_name ? host_name : pod->request->config->hostname;
        in.resolv_conf = resolv_conf;
        in.hosts = hosts;
        in.hostname_file = hostname;
        in.shm = pod_namespaces(pod)->ipc == CRI__NAMESPACE_MODE__NODE ? "/dev/shm" : shm;
        in.images = pods->can.brought_mounts ? images : NULL;
        in.selinux_level = pod->level;
        in.cgroups_path = dirs.oci_path;
        in.seccomp_default = policy->seccomp_profile;

        if (spec_build(&in, ret, &warnings, err) < 0)
                goto end;
        for (size_t i = 0; warnings && warnings[i]; i++)
                log_warning("container %.12s: %s", c->id, warnings[i]);
        r = rehearsal ? hooks_explain(pods->hooks, &subject, *ret, rehearsal->watcher, call, err) :
                        hooks_adjust(pods->hooks, &subject, *ret, call, err);

end:
        pods->cgroup.ops->free_dirs(&dirs);
        for (int i = 0; i < N_PINS; i++)
                free(pins[i]);
        return r;
}

static int build_spec(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct making *m = task_extra(t);

        if (container_build_spec(c, m->image, m->user, NULL, &m->spec, call, err) < 0)
                return -1;
        strv_free(c->args);
        c->args = hooks_args(m->spec);
        return m->from ? restored_check(c, m->from, m->spec, err) : 0;
}

static int forget_hooks(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct hooks_subject subject = container_subject(c);

        hooks_forget(c->pods->hooks, &subject);
        return 0;
}

/* What files get that are the container's alone; *ret is borrowed from @spec, NULL: no label. */
static int mount_label(struct json_object *spec, const char **ret, struct cringle_err *err)
{
        struct json_object *linux_part;
        int there = json_get_object(spec, "linux", &linux_part, err);

        *ret = NULL;
        return there <= 0 ? there : json_get_string(linux_part, "mountLabel", ret, err);
}

static int label_volumes(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct making *m = task_extra(t);
        struct container *c = object;
        const char *label;

        if (mount_label(m->spec, &label, err) < 0)
                return -1;
        return label ? volumes_label(c->request->config, label, call, err) : 0;
}

static int make_cgroup(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        const struct host_cgroup *cgroup = &c->pods->cgroup;
        struct making *m = task_extra(t);
        auto_spec_limits limits = SPEC_LIMITS_INIT;

        if (spec_limits(m->spec, &limits, err) < 0)
                return -1;
        m->dirs.size = sizeof m->dirs;
        if (cgroup->ops->create(cgroup->self, call, c->pod->cgroup_parent, c->id, &limits.resources, &m->dirs,
                                err) < 0)
                return -1;
        m->has_dirs = true;
        return 0;
}

int container_remove_cgroup(struct container *c, const struct cringle_call *call, struct cringle_err *err)
{
        const struct host_cgroup *cgroup = &c->pods->cgroup;

        return cgroup->ops->destroy(cgroup->self, call, c->pod->cgroup_parent, c->id, err);
}

static int remove_cgroup(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return container_remove_cgroup(object, call, err);
}

static int write_bundle(struct container *c, struct json_object *spec, struct buf *text, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/config.json", c->bundle);

        if (!path || json_write(spec, text, err) < 0)
                return -1;
        return file_replace(path, text->data, text->len, 0600, false, err);
}

/* The container's log directory is the kubelet's to make; some tools leave it to us. */
static int make_log_dir(const struct container *c, struct cringle_err *err)
{
        auto_free char *dir = NULL;

        if (!c->log_path)
                return 0;
        if (GUARD(log_path) && !path_is_clean(c->log_path))
                return err_set(err, CRINGLE_E_INVALID, "log path '%.200s' is not clean", c->log_path);
        dir = strndup(c->log_path, (size_t) (strrchr(c->log_path, '/') - c->log_path));
        return dir ? file_make_dirs(dir, 0755, err) : err_oom(err);
}

int container_hold_volumes(struct container *c, struct cringle_err *err)
{
        for (size_t i = 0; i < c->status->n_mounts; i++)
                if (spec_is_image_mount(c->status->mounts[i]) &&
                    images_hold(c->pods->images, c->status->mounts[i]->image->image_ref, c->id, err) < 0)
                        return -1;
        return 0;
}

/* The mounts that the monitor is handed; gone when it has them. */
struct handed {
        struct cringle_user_ns user_ns;
        bool mapped;
        const char *label;              /* of files; NULL: none; borrowed */
        int rootfs;
        struct cringle_brought_mount images[CRINGLE_BROUGHT_MAX];
        char *sources[CRINGLE_BROUGHT_MAX];
        size_t n;
};

static void handed_done(struct handed *h)
{
        for (size_t i = 0; i < h->n; i++) {
                fd_close(h->images[i].fd);
                free(h->sources[i]);
        }
        fd_close(h->rootfs);
        fd_close(h->user_ns.fd);
}

static int open_image(struct container *c, size_t nth, struct handed *h, struct cringle_err *err)
{
        const Cri__Mount *m = c->status->mounts[nth];
        const struct cringle_user_ns *user_ns = h->mapped ? &h->user_ns : NULL;
        auto_of(image) image = images_get(c->pods->images, m->image->image_ref);
        auto_free char *source = str_printf(err, "%s/images/%zu", c->bundle, nth);
        int fd = -1, r;

        if (!source)
                return -1;
        if (!image)
                return err_set(err, CRINGLE_E_NOT_FOUND, "no image '%.200s'", m->image->image);
        if (h->n == CRINGLE_BROUGHT_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "more than %d mounts of images", CRINGLE_BROUGHT_MAX);
        r = str_empty(m->image_sub_path)
                    ? images_view(c->pods->images, image, user_ns, h->label, &fd, err)
                    : images_view_part(c->pods->images, image, m->image_sub_path, user_ns, h->label, &fd, err);
        if (r < 0)
                return -1;
        h->sources[h->n] = steal(&source);
        h->images[h->n] = (struct cringle_brought_mount) { h->sources[h->n], fd };
        h->n++;
        return 0;
}

static int open_handed(struct container *c, struct handed *h, struct cringle_err *err)
{
        int r = pod_user_ns(c->pod, &h->user_ns, err);

        if (r < 0)
                return -1;
        h->mapped = r == 1;
        if (images_rootfs_mount(c->pods->images, c->image, c->id, h->mapped ? &h->user_ns : NULL, h->label, &h->rootfs,
                                err) < 0)
                return -1;
        for (size_t i = 0; i < c->status->n_mounts; i++)
                if (spec_is_image_mount(c->status->mounts[i]) && open_image(c, i, h, err) < 0)
                        return err_wrap(err, "%s", c->status->mounts[i]->container_path);
        return 0;
}

static int create_process(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct pods *pods = c->pods;
        struct making *m = task_extra(t);
        auto_of(policy) policy = policy_hold(pods);
        const Cri__ContainerConfig *config = c->request->config;
        struct container *target = pid_target(c);
        struct cringle_container_state state = { .size = sizeof state };
        struct handed handed = { .rootfs = -1, .user_ns.fd = -1 };
        struct restored restored = { 0 };
        auto_buf text = BUF_INIT;
        struct cringle_container_launch launch = {
                .size = sizeof launch,
                .pod = c->pod->id,
                .id = c->id,
                .bundle = c->bundle,
                .log_path = c->log_path,
                .log_max_line = policy->max_line,
                .tty = config->tty,
                .stdin_open = config->stdin,
                .stdin_once = config->stdin_once,
                .cgroup_unified = m->dirs.unified,
                .cgroup_v1 = (const char *const *) m->dirs.v1,
                .share_pid_with = target ? target->id : NULL,
                .mounts = handed.images,
                .restore = m->from ? &restored.launch : NULL,
        };
        int r = -1;

        if ((!m->from || restored_init(&restored, c, err) == 0) && write_bundle(c, m->spec, &text, err) == 0 && make_log_dir(c, err) == 0 &&
            mount_label(m->spec, &handed.label, err) >= 0 && open_handed(c, &handed, err) == 0) {
                launch.config = text.data;
                launch.rootfs_fd = handed.rootfs;
                launch.n_mounts = handed.n;
                r = pods->executor.ops->create(pods->executor.self, call, &launch, &state, err);
        }
        handed_done(&handed);
        restored_done(&restored);
        if (r < 0)
                return -1;

        pthread_mutex_lock(&pods->tasks.lock);
        c->pid = state.pid;
        pthread_mutex_unlock(&pods->tasks.lock);
        return 0;
}

int container_destroy_process(struct container *c, const struct cringle_call *call, struct cringle_err *err)
{
        const struct host_executor *executor = &c->pods->executor;

        return executor->ops->destroy(executor->self, call, c->pod->id, c->id, c->bundle, err);
}

static int destroy_process(void *object, const struct cringle_call *call, struct cringle_err *err)
{
        return container_destroy_process(object, call, err);
}

static int run_hooks(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct hooks_subject subject = container_subject(c);

        return hooks_run(c->pods->hooks, CRINGLE_CONTAINER_CREATED, &subject, call, err);
}

/* Who it runs as, for the status. */
static int take_user(struct container *c, struct json_object *spec, struct cringle_err *err)
{
        auto_of(oci_user) user = NULL;
        Cri__ContainerUser whose = CRI__CONTAINER_USER__INIT;
        Cri__LinuxContainerUser own = CRI__LINUX_CONTAINER_USER__INIT;
        auto_free int64_t *groups = NULL;

        if (spec_user(spec, &user, err) < 0)
                return -1;
        groups = calloc(user->n_groups + 1, sizeof *groups);
        if (!groups)
                return err_oom(err);
        for (size_t i = 0; i < user->n_groups; i++)
                groups[i] = user->groups[i];
        own.uid = user->uid;
        own.gid = user->gid;
        own.n_supplemental_groups = user->n_groups;
        own.supplemental_groups = groups;
        whose.linux = &own;
        message_free(c->status->user);
        c->status->user = message_copy(&whose);
        return c->status->user ? 0 : err_oom(err);
}

static int mark_created(struct task *t, void *object, const struct cringle_call *call, struct cringle_err *err)
{
        struct container *c = object;
        struct making *m = task_extra(t);
        int signal = SIGTERM, r;

        if (task_cancelled(t))
                return err_set(err, CRINGLE_E_CANCELLED, "cancelled");
        if (spec_stop_signal(c->request->config, m->image, &signal, err) < 0)
                return -1;

        pthread_mutex_lock(&c->pods->tasks.lock);
        if (c->status->state == CRI__CONTAINER_STATE__CONTAINER_EXITED) {
                err_set(err, CRINGLE_E_ABORTED, "its process has died, with exit code %d", c->status->exit_code);
                pthread_mutex_unlock(&c->pods->tasks.lock);
                return -1;
        }
        c->stop_signal = signal;
        c->status->created_at = clock_realtime();
        c->status->stop_signal = signal_of(signal);
        r = take_user(c, m->spec, err);
        pthread_mutex_unlock(&c->pods->tasks.lock);
        if (r < 0 || store_container(c, NULL, NULL, DB_FAST, err) < 0)
                return -1;

        pthread_mutex_lock(&c->pods->tasks.lock);
        c->visible = true;
        container_emit(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT);
        pthread_mutex_unlock(&c->pods->tasks.lock);
        return 0;
}

static const struct step steps[] = {
        { "reserve name",    keep_record,    drop_record     },
        { "hold image",      hold_image,     release_image   },
        { "prepare rootfs",  prepare_rootfs, remove_rootfs   },
        { "look up user",    look_up_user,   NULL            },
        { "build spec",      build_spec,     forget_hooks    },        /* and let hooks adjust it */
        { "label volumes",   label_volumes,  NULL            },
        { "make cgroup",     make_cgroup,    remove_cgroup   },
        { "create process",  create_process, destroy_process },        /* up to the user's program, which waits */
        { "run hooks",       run_hooks,      NULL            },
        { "mark created",    mark_created,   NULL            },
        { 0 }
};

static void forget(struct task *t, struct container *c)
{
        struct making *m = task_extra(t);

        image_config_free(m->image);
        json_object_put(m->spec);
        free(m->from);
        if (m->has_dirs)
                c->pods->cgroup.ops->free_dirs(&m->dirs);
}

static void finish(struct task *t, void *object, const struct cringle_err *err)
{
        struct container *c = object;

        forget(t, c);
        if (!err)
                return;
        pthread_mutex_lock(&c->pods->tasks.lock);
        if (task_left_over(t))
                container_leave_over(c);
        else
                container_leave(c);
        pthread_mutex_unlock(&c->pods->tasks.lock);
}

const struct procedure container_create = {
        .name = "create container",
        .steps = steps,
        .record = record,
        .finish = finish,
};

static int check(const Cri__CreateContainerRequest *request, struct cringle_err *err)
{
        const Cri__ContainerConfig *config = request->config;
        int signal;

        if (!config || !config->metadata || str_empty(config->metadata->name))
                return err_set(err, CRINGLE_E_INVALID, "no container config, metadata or name");
        if (!config->image || str_empty(config->image->image))
                return err_set(err, CRINGLE_E_INVALID, "no image");
        if (!str_empty(config->image->runtime_handler))
                return err_set(err, CRINGLE_E_INVALID, "image: no runtime handler '%.64s' is configured",
                               config->image->runtime_handler);
        return spec_stop_signal(config, NULL, &signal, err);
}

/* A debug container joins the PID namespace of one of its own pod.  The lock is held. */
static int check_target(const struct pod *pod, const Cri__ContainerConfig *config, struct cringle_err *err)
{
        const Cri__LinuxContainerSecurityContext *security = config->linux ? config->linux->security_context : NULL;
        const Cri__NamespaceOption *o = security ? security->namespace_options : NULL;
        struct container *target;

        if (!o || o->pid != CRI__NAMESPACE_MODE__TARGET)
                return 0;
        if (containers_find(pod->pods, o->target_id, &target, err) < 0)
                return err_wrap(err, "target");
        if (!target || target->pod != pod)
                return err_set(err, CRINGLE_E_INVALID, "target '%.80s' is no container of this pod", o->target_id);
        return 0;
}

/* Which images its mounts are of: from here on the very same, whatever becomes of their names. */
static int find_volumes(struct container *c, struct cringle_err *err)
{
        for (size_t i = 0; i < c->status->n_mounts; i++) {
                Cri__Mount *m = c->status->mounts[i];
                auto_of(image) image = NULL;

                if (!spec_is_image_mount(m))
                        continue;
                image = images_find(c->pods->images, m->image->image);
                if (!image)
                        return err_set(err, CRINGLE_E_NOT_FOUND, "%s: no image '%.200s'", m->container_path, m->image->image);
                if (message_set(&m->image->image_ref, image->id, err) < 0)
                        return -1;
        }
        return 0;
}

/* The name by digest that @name is, or one of the same repository; else any; else the image's id. */
static int set_image_ref(struct container *c, const struct image *image, const char *name, struct cringle_err *err)
{
        const char *best = image->digests ? image->digests[0] : image->id;
        auto_reference asked = REFERENCE_INIT;
        auto_free char *of_asked = NULL;

        if (reference_parse(name, &asked, NULL) == 0) {
                of_asked = reference_text_digest(&asked, asked.digest ? asked.digest : "", err);
                if (!of_asked)
                        return -1;
        }
        for (size_t i = 0; of_asked && image->digests && image->digests[i]; i++)
                if (str_starts(image->digests[i], of_asked)) {
                        best = image->digests[i];
                        break;
                }
        return message_set(&c->status->image_ref, best, err);
}

/* A new container, in the maps; the lock is held. */
static int begin(struct pod *pod, const Cri__CreateContainerRequest *request, struct container **ret,
                 struct cringle_err *err)
{
        auto_of(image) image = images_find(pod->pods->images, request->config->image->image);
        Cri__CreateContainerRequest *copy;
        char id[ID_LEN + 1];
        struct container *c;

        if (!image)
                return err_set(err, CRINGLE_E_NOT_FOUND, "no image '%.200s'", request->config->image->image);
        copy = message_copy(request);
        if (!copy)
                return err_oom(err);
        id_make(id);
        c = container_new(pod, id, copy, err);
        if (!c) {
                message_free(copy);
                return -1;
        }
        if (message_set(&c->status->image_id, image->id, err) < 0 ||
            set_image_ref(c, image, c->status->image->image, err) < 0 || find_volumes(c, err) < 0 || container_enter(c, err) < 0) {
                container_unref(c);
                return -1;
        }
        c->image = steal(&image);
        *ret = c;
        return 0;
}

/* @from: what it begins with, or NULL. */
static void create(struct pods *pods, const Cri__CreateContainerRequest *request, const char *from, pods_done_fn done, void *data)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct making *making = NULL;
        auto_free char *key = NULL;
        char id[ID_LEN + 1] = "";
        struct container *c = NULL;
        struct pod *pod;
        int r = -1;

        if (check(request, &err) < 0) {
                done(data, NULL, &err);
                return;
        }

        pthread_mutex_lock(&pods->tasks.lock);
        if (find_pod(pods, request->pod_sandbox_id, &pod, &err) < 0)
                goto end;
        if (pod->closing || pod->status->state != CRI__POD_SANDBOX_STATE__SANDBOX_READY) {
                err_set(&err, CRINGLE_E_PRECONDITION, "pod sandbox %.12s is not ready", pod->id);
                goto end;
        }

        if (user_ns_check_container(pod, request->config, &err) < 0 || check_target(pod, request->config, &err) < 0)
                goto end;

        key = str_printf(&err, "%s/%s/%u", pod->id, request->config->metadata->name, request->config->metadata->attempt);
        c = key ? map_get(&pods->container_names, key) : NULL;
        if (c && (from || !message_equal(c->request->config, request->config))) {
                err_set(&err, CRINGLE_E_EXISTS, "container %s (attempt %u) of this pod is %s, with another configuration",
                        request->config->metadata->name, request->config->metadata->attempt, c->id);
        } else if (c && c->closing) {
                err_set(&err, CRINGLE_E_UNAVAILABLE, "container %s of this name is being removed", c->id);
        } else if (c && c->visible) {
                memcpy(id, c->id, sizeof id);
                r = 0;
        } else if (key && (c || begin(pod, request, &c, &err) == 0)) {
                making = calloc(1, sizeof *making);
                if (!making || (from && !(making->from = strdup(from))))
                        abort();
                pods_start_container_task(c, &container_create, true, making, done, data);
                pthread_mutex_unlock(&pods->tasks.lock);
                return;
        }

end:
        pthread_mutex_unlock(&pods->tasks.lock);
        done(data, id, r < 0 ? &err : NULL);
}

void pods_create_container(struct pods *pods, const Cri__CreateContainerRequest *request, pods_done_fn done, void *data)
{
        create(pods, request, NULL, done, data);
}

void pods_create_restored(struct pods *pods, const Cri__CreateContainerRequest *request, const char *from, pods_done_fn done,
                          void *data)
{
        create(pods, request, from, done, data);
}
