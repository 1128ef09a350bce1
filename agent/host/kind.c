/*
 * Kinds of plugins, and the timed stand-ins for their operations; see kind.h.
 *
 * C cannot forward arguments it does not know, so each operation has its stand-in
 * spelled out: one TIMED() line with its parameters and what to hand on.
 */

#include <string.h>

#include "agent/host/instance.h"
#include "agent/host/kind.h"
#include "plugins/api/cgroup.h"
#include "plugins/api/executor.h"
#include "plugins/api/hook.h"
#include "plugins/api/image.h"
#include "plugins/api/network.h"

#define PARAMS(...) (void *self, ##__VA_ARGS__)
#define ARGS(...) (in->self, ##__VA_ARGS__)

/* An operation that returns a value below zero when it fails, with @error_ filled if it has one. */
#define TIMED(kind_, member_, error_, params_, args_)                                           \
        static int kind_##_##member_ params_                                                    \
        {                                                                                       \
                struct instance *in = self;                                                     \
                const struct cringle_##kind_##_ops *ops = in->ops;                              \
                int64_t begun = instance_enter(in);                                             \
                                                                                                \
                return instance_leave(in, #kind_ "." #member_, begun, ops->member_ args_, error_); \
        }

/* One that cannot fail, with the type of its value. */
#define TIMED_PLAIN(type_, kind_, member_, params_, args_)                                      \
        static type_ kind_##_##member_ params_                                                  \
        {                                                                                       \
                struct instance *in = self;                                                     \
                const struct cringle_##kind_##_ops *ops = in->ops;                              \
                int64_t begun = instance_enter(in);                                             \
                type_ value = ops->member_ args_;                                               \
                                                                                                \
                instance_leave(in, #kind_ "." #member_, begun, 0, NULL);                        \
                return value;                                                                   \
        }

#define MEMBER(kind_, member_) { #member_, offsetof(struct cringle_##kind_##_ops, member_), false }
#define OPTIONAL(kind_, member_) { #member_, offsetof(struct cringle_##kind_##_ops, member_), true }
#define END { NULL, 0, false }

/* image */

TIMED_PLAIN(int, image, format, PARAMS(), ARGS())
TIMED_PLAIN(const char *, image, store_path, PARAMS(), ARGS())
TIMED(image, layer_exists, err, PARAMS(const char *chain_id, struct cringle_err *err), ARGS(chain_id, err))
TIMED(image, layer_begin, err, PARAMS(const char *chain_id, struct cringle_layer *ret, struct cringle_err *err),
      ARGS(chain_id, ret, err))
TIMED(image, layer_commit, err, PARAMS(const char *chain_id, struct cringle_layer *layer, struct cringle_err *err),
      ARGS(chain_id, layer, err))
TIMED(image, layer_remove, err, PARAMS(const char *chain_id, struct cringle_err *err), ARGS(chain_id, err))
TIMED(image, layer_usage, err, PARAMS(const char *chain_id, struct cringle_usage *ret, struct cringle_err *err),
      ARGS(chain_id, ret, err))
TIMED(image, rootfs_prepare, err,
      PARAMS(const char *id, const struct cringle_rootfs_options *options, struct cringle_err *err),
      ARGS(id, options, err))
TIMED(image, rootfs_mount, err,
      PARAMS(const char *id, const struct cringle_rootfs_options *options, int *ret_fd, struct cringle_err *err),
      ARGS(id, options, ret_fd, err))
TIMED(image, rootfs_remove, err, PARAMS(const char *id, struct cringle_err *err), ARGS(id, err))
TIMED(image, rootfs_usage, err, PARAMS(const char *id, struct cringle_usage *ret, struct cringle_err *err),
      ARGS(id, ret, err))
TIMED(image, view_mount, err,
      PARAMS(const struct cringle_rootfs_options *options, int *ret_fd, struct cringle_err *err),
      ARGS(options, ret_fd, err))
TIMED(image, sweep, err,
      PARAMS(const char *const *chain_ids, const char *const *ids, struct cringle_err *err), ARGS(chain_ids, ids, err))

TIMED(image, id_maps, err, PARAMS(int user_ns_fd, struct cringle_err *err), ARGS(user_ns_fd, err))
TIMED_PLAIN(const char *, image, writable_path, PARAMS(), ARGS())
TIMED(image, rootfs_changes, err, PARAMS(const char *id, int *ret_fd, struct cringle_err *err), ARGS(id, ret_fd, err))

static void image_layer_abort(void *self, const char *chain_id, struct cringle_layer *layer)
{
        struct instance *in = self;
        const struct cringle_image_ops *ops = in->ops;
        int64_t begun = instance_enter(in);

        ops->layer_abort(in->self, chain_id, layer);
        instance_leave(in, "image.layer_abort", begun, 0, NULL);
}

static const struct cringle_image_ops image_timed = {
        .size = sizeof image_timed,
        .format = image_format,
        .store_path = image_store_path,
        .layer_exists = image_layer_exists,
        .layer_begin = image_layer_begin,
        .layer_commit = image_layer_commit,
        .layer_abort = image_layer_abort,
        .layer_remove = image_layer_remove,
        .layer_usage = image_layer_usage,
        .rootfs_prepare = image_rootfs_prepare,
        .rootfs_mount = image_rootfs_mount,
        .rootfs_remove = image_rootfs_remove,
        .rootfs_usage = image_rootfs_usage,
        .view_mount = image_view_mount,
        .sweep = image_sweep,
        .id_maps = image_id_maps,
        .writable_path = image_writable_path,
        .rootfs_changes = image_rootfs_changes,
};

static const struct kind_member image_members[] = {
        MEMBER(image, format),          MEMBER(image, store_path),     MEMBER(image, layer_exists),
        MEMBER(image, layer_begin),     MEMBER(image, layer_commit),   MEMBER(image, layer_abort),
        MEMBER(image, layer_remove),    MEMBER(image, layer_usage),    MEMBER(image, rootfs_prepare),
        MEMBER(image, rootfs_mount),    MEMBER(image, rootfs_remove),  MEMBER(image, rootfs_usage),
        MEMBER(image, view_mount),      MEMBER(image, sweep),          OPTIONAL(image, id_maps),
        OPTIONAL(image, writable_path), OPTIONAL(image, rootfs_changes),
        END,
};

/* cgroup */

TIMED_PLAIN(int, cgroup, layout, PARAMS(), ARGS())
TIMED_PLAIN(const char *, cgroup, driver, PARAMS(), ARGS())
TIMED(cgroup, path, err,
      PARAMS(const char *parent, const char *id, struct cringle_cgroup_dirs *ret, struct cringle_err *err),
      ARGS(parent, id, ret, err))
TIMED(cgroup, create, err,
      PARAMS(const struct cringle_call *call, const char *parent, const char *id,
             const struct cringle_resources *resources, struct cringle_cgroup_dirs *ret, struct cringle_err *err),
      ARGS(call, parent, id, resources, ret, err))
TIMED(cgroup, update, err,
      PARAMS(const struct cringle_call *call, const char *parent, const char *id,
             const struct cringle_resources *resources, struct cringle_err *err),
      ARGS(call, parent, id, resources, err))
TIMED(cgroup, stats, err,
      PARAMS(const char *parent, const char *id, struct cringle_cgroup_stats *ret, struct cringle_err *err),
      ARGS(parent, id, ret, err))
TIMED(cgroup, kill, err,
      PARAMS(const struct cringle_call *call, const char *parent, const char *id, struct cringle_err *err),
      ARGS(call, parent, id, err))
TIMED(cgroup, freeze, err,
      PARAMS(const struct cringle_call *call, const char *parent, const char *id, int frozen, struct cringle_err *err),
      ARGS(call, parent, id, frozen, err))
TIMED(cgroup, destroy, err,
      PARAMS(const struct cringle_call *call, const char *parent, const char *id, struct cringle_err *err),
      ARGS(call, parent, id, err))

static const struct cringle_cgroup_ops cgroup_timed = {
        .size = sizeof cgroup_timed,
        .layout = cgroup_layout,
        .driver = cgroup_driver,
        .path = cgroup_path,
        .create = cgroup_create,
        .update = cgroup_update,
        .stats = cgroup_stats,
        .kill = cgroup_kill,
        .freeze = cgroup_freeze,
        .destroy = cgroup_destroy,
};

static const struct kind_member cgroup_members[] = {
        MEMBER(cgroup, layout), MEMBER(cgroup, driver), MEMBER(cgroup, path),      MEMBER(cgroup, create),
        MEMBER(cgroup, update), MEMBER(cgroup, stats),  MEMBER(cgroup, kill),      MEMBER(cgroup, freeze),
        MEMBER(cgroup, destroy), MEMBER(cgroup, free_dirs), END,
};

/* network */

TIMED(network, status, err, PARAMS(const struct cringle_call *call, struct cringle_err *err), ARGS(call, err))
TIMED(network, attach, err,
      PARAMS(const struct cringle_call *call, const struct cringle_network_pod *pod,
             struct cringle_network_result *ret, struct cringle_err *err),
      ARGS(call, pod, ret, err))
TIMED(network, detach, err,
      PARAMS(const struct cringle_call *call, const struct cringle_network_pod *pod, struct cringle_err *err),
      ARGS(call, pod, err))
TIMED(network, check, err,
      PARAMS(const struct cringle_call *call, const struct cringle_network_pod *pod, struct cringle_err *err),
      ARGS(call, pod, err))
TIMED(network, gc, err,
      PARAMS(const struct cringle_call *call, const char *const *valid, struct cringle_err *err),
      ARGS(call, valid, err))
TIMED(network, set_pod_cidr, err, PARAMS(const char *cidr, struct cringle_err *err), ARGS(cidr, err))

static const struct cringle_network_ops network_timed = {
        .size = sizeof network_timed,
        .status = network_status,
        .attach = network_attach,
        .detach = network_detach,
        .check = network_check,
        .gc = network_gc,
        .set_pod_cidr = network_set_pod_cidr,
};

static const struct kind_member network_members[] = {
        MEMBER(network, status), MEMBER(network, attach), MEMBER(network, detach), MEMBER(network, check),
        MEMBER(network, gc), OPTIONAL(network, set_pod_cidr), MEMBER(network, free_result), END,
};

/* executor */

TIMED(executor, features, err, PARAMS(struct cringle_executor_features *ret, struct cringle_err *err), ARGS(ret, err))
TIMED(executor, open_pod, err,
      PARAMS(const struct cringle_call *call, const struct cringle_pod_launch *pod, int adopt,
             struct cringle_err *err),
      ARGS(call, pod, adopt, err))
TIMED(executor, close_pod, err,
      PARAMS(const struct cringle_call *call, const char *pod, const char *run_dir, struct cringle_err *err),
      ARGS(call, pod, run_dir, err))
TIMED(executor, create, err,
      PARAMS(const struct cringle_call *call, const struct cringle_container_launch *launch,
             struct cringle_container_state *ret, struct cringle_err *err),
      ARGS(call, launch, ret, err))
TIMED(executor, start, err,
      PARAMS(const struct cringle_call *call, const char *pod, const char *id, struct cringle_container_state *ret,
             struct cringle_err *err),
      ARGS(call, pod, id, ret, err))
TIMED(executor, kill, err,
      PARAMS(const struct cringle_call *call, const char *pod, const char *id, int signal, int all,
             struct cringle_err *err),
      ARGS(call, pod, id, signal, all, err))
TIMED(executor, state, err,
      PARAMS(const char *pod, const char *id, struct cringle_container_state *ret, struct cringle_err *err),
      ARGS(pod, id, ret, err))
TIMED(executor, destroy, err,
      PARAMS(const struct cringle_call *call, const char *pod, const char *id, const char *bundle,
             struct cringle_err *err),
      ARGS(call, pod, id, bundle, err))
TIMED(executor, reopen_log, err,
      PARAMS(const struct cringle_call *call, const char *pod, const char *id, struct cringle_err *err),
      ARGS(call, pod, id, err))
TIMED(executor, exec, err,
      PARAMS(const struct cringle_call *call, const struct cringle_exec *exec, struct cringle_err *err),
      ARGS(call, exec, err))
TIMED(executor, kill_exec, err,
      PARAMS(const struct cringle_call *call, const char *pod, const char *exec, struct cringle_err *err),
      ARGS(call, pod, exec, err))
TIMED(executor, resize, err,
      PARAMS(const struct cringle_call *call, const char *pod, const char *container, const char *exec,
             uint16_t columns, uint16_t rows, struct cringle_err *err),
      ARGS(call, pod, container, exec, columns, rows, err))
TIMED(executor, attach, err,
      PARAMS(const struct cringle_call *call, const char *pod, const char *container, int stdin_fd, int stdout_fd,
             int stderr_fd, struct cringle_err *err),
      ARGS(call, pod, container, stdin_fd, stdout_fd, stderr_fd, err))

static void executor_listen(void *self, cringle_executor_event_fn fn, void *data)
{
        struct instance *in = self;
        const struct cringle_executor_ops *ops = in->ops;
        int64_t begun = instance_enter(in);

        ops->listen(in->self, fn, data);
        instance_leave(in, "executor.listen", begun, 0, NULL);
}

static const struct cringle_executor_ops executor_timed = {
        .size = sizeof executor_timed,
        .features = executor_features,
        .listen = executor_listen,
        .open_pod = executor_open_pod,
        .close_pod = executor_close_pod,
        .create = executor_create,
        .start = executor_start,
        .kill = executor_kill,
        .state = executor_state,
        .destroy = executor_destroy,
        .reopen_log = executor_reopen_log,
        .exec = executor_exec,
        .kill_exec = executor_kill_exec,
        .resize = executor_resize,
        .attach = executor_attach,
};

static const struct kind_member executor_members[] = {
        MEMBER(executor, features),   MEMBER(executor, listen),    MEMBER(executor, open_pod),
        MEMBER(executor, close_pod),  MEMBER(executor, create),    MEMBER(executor, start),
        MEMBER(executor, kill),       MEMBER(executor, state),     MEMBER(executor, destroy),
        MEMBER(executor, reopen_log), MEMBER(executor, exec),      MEMBER(executor, kill_exec),
        MEMBER(executor, resize),     MEMBER(executor, attach),    END,
};

/* hook */

TIMED(hook, run, err, PARAMS(const struct cringle_event *ev, struct cringle_err *err), ARGS(ev, err))

static const struct cringle_hook_ops hook_timed = {
        .size = sizeof hook_timed,
        .run = hook_run,
};

static const struct kind_member hook_members[] = { MEMBER(hook, run), END };

#define KIND(number_, name_)                                                                    \
        {                                                                                       \
                .number = number_,                                                              \
                .name = #name_,                                                                 \
                .ops_name = "cringle_" #name_ "_ops",                                           \
                .major = number_##_MAJOR,                                                       \
                .minor = number_##_MINOR,                                                       \
                .ops_size = sizeof(struct cringle_##name_##_ops),                               \
                .members = name_##_members,                                                     \
                .timed = &name_##_timed,                                                        \
        }

static const struct kind kinds[] = {
        KIND(CRINGLE_IMAGE, image),       KIND(CRINGLE_CGROUP, cgroup), KIND(CRINGLE_NETWORK, network),
        KIND(CRINGLE_EXECUTOR, executor), KIND(CRINGLE_HOOK, hook),
};

const struct kind *kind_of(int number)
{
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
                if (kinds[i].number == number)
                        return &kinds[i];

        return NULL;
}

const struct kind *kind_named(const char *name)
{
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
                if (strcmp(kinds[i].name, name) == 0)
                        return &kinds[i];

        return NULL;
}

kind_fn kind_member_of(const void *ops, const struct kind_member *m)
{
        kind_fn fn;

        memcpy(&fn, (const char *) ops + m->offset, sizeof fn);
        return fn;
}

void kind_bind(const struct kind *k, const void *ops, void *table)
{
        memcpy(table, ops, k->ops_size);        /* data members (a hook's points) and what is called directly */
        memcpy(table, &k->ops_size, sizeof k->ops_size);
        for (const struct kind_member *m = k->members; m->name; m++) {
                kind_fn timed = kind_member_of(k->timed, m);

                if (timed && kind_member_of(ops, m))
                        memcpy((char *) table + m->offset, &timed, sizeof timed);
        }
}
