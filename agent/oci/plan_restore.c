/*
 * The part of a launch plan that has CRIU make the processes
 *
 * CRIU makes what it finds in its images: processes, mounts, memory.  What came from outside it is given anew: the root, the
 * streams, the pod's namespaces - network and PID as fds, IPC and UTS by path - and, by the worker, the sources of mounts.
 * The cgroup is the one it runs in.  Connections over TCP are closed, for the pod's address is another.
 */

#include <string.h>

#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/oci/plan_parts.h"

static const char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };

static int add(char ***argv, struct cringle_err *err, const char *option, const char *value)
{
        return strv_add(argv, option, err) < 0 || (value && strv_add(argv, value, err) < 0) ? -1 : 0;
}

static int add_fd(char ***argv, int fd, const char *key, struct cringle_err *err)
{
        auto_free char *words = str_printf(err, "fd[%d]:%s", fd, key);

        return words ? add(argv, err, "--inherit-fd", words) : -1;
}

static int add_shared(struct json_object *namespace, char ***argv, struct cringle_err *err)
{
        const char *type = "", *path = NULL;
        auto_free char *words = NULL;

        if (json_get_string(namespace, "type", &type, err) < 0 || json_get_string(namespace, "path", &path, err) < 0)
                return -1;
        if (str_empty(path))
                return 0;
        if (strcmp(type, "network") == 0)
                return add_fd(argv, PLAN_FD_NET, "extRootNetNS", err);
        if (strcmp(type, "pid") == 0)
                return add_fd(argv, PLAN_FD_PID, "extRootPidNS", err);
        if (strcmp(type, "ipc") != 0 && strcmp(type, "uts") != 0)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "processes cannot be restored into a %s namespace that is there", type);
        words = str_printf(err, "%s:%s", type, path);
        return words ? add(argv, err, "--join-ns", words) : -1;
}

static int add_namespaces(const struct compile *c, char ***argv)
{
        struct json_object *list = NULL;

        if (c->linux_ && json_get_array(c->linux_, "namespaces", &list, c->err) < 0)
                return -1;
        for (size_t i = 0; list && i < json_object_array_length(list); i++)
                if (add_shared(json_object_array_get_idx(list, i), argv, c->err) < 0)
                        return -1;
        return part_has_namespace(c, "user") ?
                       err_set(c->err, CRINGLE_E_UNIMPLEMENTED, "processes with a user namespace cannot be restored") : 0;
}

static int check(const struct compile *c)
{
        static const char *const stages[] = { "prestart", "createRuntime", "createContainer", "startContainer", NULL };
        struct json_object *hooks = NULL, *list;

        if (json_get_object(c->spec, "hooks", &hooks, c->err) < 0)
                return -1;
        for (size_t i = 0; hooks && stages[i]; i++)
                if (json_get_array(hooks, stages[i], &list, c->err) > 0 && json_object_array_length(list) > 0)
                        return err_set(c->err, CRINGLE_E_UNIMPLEMENTED, "hooks.%s: what is restored comes to no such stage", stages[i]);
        if (c->options->tty)
                return err_set(c->err, CRINGLE_E_UNIMPLEMENTED, "processes with a terminal cannot be restored");
        return 0;
}

int plan_add_restore(struct compile *c)
{
        static const char *const fixed[] = {
                "criu", "restore", "--log-file=restore.log", "-v4", "--restore-detached", "--restore-sibling", "--manage-cgroups=ignore",
                "--tcp-close", "--ext-unix-sk", "--file-locks", NULL,
        };
        const struct plan_restore *o = c->options->restore;
        auto_strv argv = strv_copy(fixed, c->err);
        auto_free char *pid_file = NULL, *mounts = NULL, *root = NULL;
        struct json_object *root_part = NULL;
        const char *path = "rootfs";

        if (!o)
                return 0;
        if (!argv || check(c) < 0 || json_get_object(c->spec, "root", &root_part, c->err) < 0 ||
            (root_part && json_get_string(root_part, "path", &path, c->err) < 0))
                return -1;
        pid_file = str_printf(c->err, "%s/pid", o->work);
        mounts = str_printf(c->err, "%s/mounts", o->work);
        root = *path == '/' ? str_printf(c->err, "%s", path) : str_printf(c->err, "%s/%s", c->options->bundle, path);
        if (!pid_file || !mounts || !root || add(&argv, c->err, "--images-dir", o->images) < 0 ||
            add(&argv, c->err, "--work-dir", o->work) < 0 || add(&argv, c->err, "--pidfile", pid_file) < 0 ||
            add(&argv, c->err, "--root", root) < 0 || add_namespaces(c, &argv) < 0)
                return -1;
        for (int i = 0; i < 3; i++)
                if (o->streams[i] && add_fd(&argv, PLAN_FD_STDIO + i, o->streams[i], c->err) < 0)
                        return -1;

        rec_begin(&c->w, PLAN_RESTORE);
        rec_put_str(&c->w, o->program);
        rec_put_strv(&c->w, (const char *const *) argv);
        rec_put_strv(&c->w, environment);
        rec_put_str(&c->w, mounts);
        rec_put_str(&c->w, pid_file);
        rec_end(&c->w);
        return 0;
}
