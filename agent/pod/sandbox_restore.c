/*
 * RestorePod: a pod made of a checkpoint, up to where its containers are started
 *
 * The sandbox is made as RunPodSandbox makes it, and each container as CreateContainer does, but for what it begins with
 * (restored.h).  Whatever fails, and whoever does not wait for it any more, the pod is removed as RemovePodSandbox would,
 * before that is answered.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/file.h"
#include "agent/base/log.h"
#include "agent/base/path.h"
#include "agent/base/str.h"
#include "agent/criu/contents.h"
#include "agent/pod/model.h"
#include "agent/pod/restored.h"

/* One request, from its first step to its answer. */
struct job {
        struct pods *pods;
        const Cri__RestorePodRequest *request;  /* borrowed until @done is called; so is @call */
        const struct cringle_call *call;
        pods_restored_fn done;
        void *data;
        char pod[ID_LEN + 1];
        struct pods_restored *list;     /* one for each of container_configs; the first @n are made */
        char **ids;
        size_t n;
        struct cringle_err err;
};

/* --- the mark of one that is not whole --- */

static char *mark_of(const struct pod *pod, struct cringle_err *err)
{
        return str_printf(err, "%s/restoring", pod->dir);
}

int pod_mark_restoring(const struct pod *pod, struct cringle_err *err)
{
        auto_free char *mark = mark_of(pod, err);

        return mark ? file_replace(mark, "", 0, 0600, false, err) : -1;
}

bool pod_is_restoring(const struct pod *pod)
{
        auto_free char *mark = mark_of(pod, NULL);

        return mark && file_exists(mark);
}

static int take_mark_away(struct pods *pods, const char *id, struct cringle_err *err)
{
        auto_free char *mark = NULL;
        struct pod *pod;
        int r;

        pthread_mutex_lock(&pods->tasks.lock);
        r = find_pod(pods, id, &pod, err);
        if (r == 0) {
                mark = mark_of(pod, err);
                pod->restoring = false;
        }
        pthread_mutex_unlock(&pods->tasks.lock);
        return r == 0 && mark ? file_remove_tree(mark, err) : -1;
}

/* --- the steps, each begun by the end of the one before --- */

static void job_free(struct job *j)
{
        for (size_t i = 0; i < j->n; i++)
                free(j->ids[i]);
        free(j->ids);
        free(j->list);
        free(j);
}

static void answer(struct job *j, const struct cringle_err *err)
{
        if (err)
                log_warning("restore pod %.12s: %s", j->pod, err->text);
        else
                log_info("pod %.12s is restored, to where its %zu containers can be started", j->pod, j->n);
        j->done(j->data, j->pod, j->list, j->n, err);
        job_free(j);
}

static void removed(void *data, const char *id, const struct cringle_err *err)
{
        struct job *j = data;

        if (err)
                log_warning("restore pod %.12s: its remains: %s", id, err->text);
        answer(j, &j->err);
}

/* With @j->err. */
static void give_up(struct job *j)
{
        pods_remove_sandbox(j->pods, j->pod, removed, j);
}

static void next_container(struct job *j);

static void created(void *data, const char *id, const struct cringle_err *err)
{
        struct job *j = data;
        const char *name = j->request->container_configs[j->n]->metadata->name;

        if (err) {
                j->err = *err;
                err_wrap(&j->err, "container %s", name);
                give_up(j);
                return;
        }
        if (str_copy(&j->ids[j->n], id, &j->err) < 0) {
                give_up(j);
                return;
        }
        j->list[j->n] = (struct pods_restored) { .name = name, .id = j->ids[j->n] };
        j->n++;
        next_container(j);
}

static void next_container(struct job *j)
{
        Cri__CreateContainerRequest request = CRI__CREATE_CONTAINER_REQUEST__INIT;
        auto_free char *from = NULL;

        if (call_check(j->call, &j->err) < 0) {
                give_up(j);
                return;
        }
        if (j->n == j->request->n_container_configs) {
                if (take_mark_away(j->pods, j->pod, &j->err) < 0)
                        give_up(j);
                else
                        answer(j, NULL);
                return;
        }
        request.pod_sandbox_id = j->pod;
        request.config = j->request->container_configs[j->n];
        request.sandbox_config = j->request->config;
        from = str_printf(&j->err, "%s/containers/%s", j->request->checkpoint_path, request.config->metadata->name);
        if (!from)
                give_up(j);
        else
                pods_create_restored(j->pods, &request, from, created, j);
}

static void sandbox_runs(void *data, const char *id, const struct cringle_err *err)
{
        struct job *j = data;

        if (err) {
                j->err = *err;
                answer(j, &j->err);
                return;
        }
        memcpy(j->pod, id, sizeof j->pod);
        next_container(j);
}

/* --- before anything is made --- */

static int check_configs(const Cri__RestorePodRequest *request, struct cringle_err *err)
{
        if (request->n_container_configs == 0)
                return err_set(err, CRINGLE_E_INVALID, "no container is named");
        for (size_t i = 0; i < request->n_container_configs; i++) {
                const Cri__ContainerConfig *config = request->container_configs[i];

                if (!config->metadata || str_empty(config->metadata->name))
                        return err_set(err, CRINGLE_E_INVALID, "container %zu has no name", i);
                if (config->linux && config->linux->security_context && config->linux->security_context->namespace_options &&
                    config->linux->security_context->namespace_options->pid == CRI__NAMESPACE_MODE__TARGET)
                        return err_set(err, CRINGLE_E_UNIMPLEMENTED, "container %s: processes in another container's PID namespace cannot be restored",
                                       config->metadata->name);
                if (config->tty)
                        return err_set(err, CRINGLE_E_UNIMPLEMENTED, "container %s: processes with a terminal cannot be restored",
                                       config->metadata->name);
                for (size_t j = 0; j < i; j++)
                        if (strcmp(request->container_configs[j]->metadata->name, config->metadata->name) == 0)
                                return err_set(err, CRINGLE_E_INVALID, "two of the containers are called %s", config->metadata->name);
        }
        return 0;
}

static bool has_config(const Cri__RestorePodRequest *request, const char *name)
{
        for (size_t i = 0; i < request->n_container_configs; i++)
                if (strcmp(request->container_configs[i]->metadata->name, name) == 0)
                        return true;
        return false;
}

static int check_names(const Cri__RestorePodRequest *request, const struct contents *contents, struct cringle_err *err)
{
        for (char **name = contents->containers; *name; name++)
                if (!has_config(request, *name))
                        return err_set(err, CRINGLE_E_INVALID, "container %s of the checkpoint is not asked for", *name);
        for (size_t i = 0; i < request->n_container_configs; i++) {
                const char *name = request->container_configs[i]->metadata->name;

                if (!strv_has((const char *const *) contents->containers, name))
                        return err_set(err, CRINGLE_E_INVALID, "container %s is not in the checkpoint", name);
        }
        return 0;
}

static int check_mode(const char *what, const char *was, Cri__NamespaceMode is, struct cringle_err *err)
{
        const ProtobufCEnumValue *mode = protobuf_c_enum_descriptor_get_value(&cri__namespace_mode__descriptor, (int) is);

        return str_equal(was, mode ? mode->name : NULL) ?
                       0 : err_set(err, CRINGLE_E_INVALID, "the %s namespace is %.20s in the checkpoint", what, was);
}

static int check_namespaces(const Cri__RestorePodRequest *request, const struct contents *contents, struct cringle_err *err)
{
        static const Cri__NamespaceOption usual = CRI__NAMESPACE_OPTION__INIT;
        const Cri__LinuxPodSandboxConfig *linux = request->config && request->config->linux ? request->config->linux : NULL;
        const Cri__NamespaceOption *o =
                linux && linux->security_context && linux->security_context->namespace_options ?
                        linux->security_context->namespace_options : &usual;
        struct cringle_id_map uids, gids;
        int mapped = request->config ? spec_id_maps(request->config, &uids, &gids, err) : 0;

        if (mapped != 0)
                return mapped < 0 ? -1 : err_set(err, CRINGLE_E_UNIMPLEMENTED, "pods with a user namespace cannot be restored");
        if (o->pid == CRI__NAMESPACE_MODE__NODE)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "pods with the node's PID namespace cannot be restored");
        return check_mode("network", contents->network, o->network, err) < 0 || check_mode("pid", contents->pid, o->pid, err) < 0 ||
                               check_mode("ipc", contents->ipc, o->ipc, err) < 0 ?
                       -1 : 0;
}

static int check_checkpoint(const Cri__RestorePodRequest *request, struct cringle_err *err)
{
        const char *path = request->checkpoint_path;
        auto_fd int dir = -1, containers = -1, file = -1;
        auto_contents contents = { 0 };
        auto_buf text = BUF_INIT;

        if (!path_is_clean(path) || !path[1])
                return err_set(err, CRINGLE_E_INVALID, "checkpoint path '%.200s' is no absolute path of a directory", path);
        dir = restored_open(AT_FDCWD, path, O_DIRECTORY, err);
        if (dir < 0)
                return -1;
        containers = restored_open(dir, "containers", O_DIRECTORY, err);
        file = restored_open(dir, "pod.json", 0, err);
        if (containers < 0 || file < 0)
                return err_wrap(err, "%.200s is no checkpoint", path);
        return file_read_fd(file, CONTENTS_POD_MAX, &text, err) < 0 || contents_parse(text.data, text.len, &contents, err) < 0 ||
                               check_names(request, &contents, err) < 0 || check_namespaces(request, &contents, err) < 0 ?
                       -1 : 0;
}

static int check_node(struct pods *pods, struct cringle_err *err)
{
        auto_of(policy) policy = policy_hold(pods);

        if (!pods->can.restore)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "the executor cannot restore");
        return file_exists(policy->criu_program) ?
                       0 : err_set(err, CRINGLE_E_UNIMPLEMENTED, "this takes CRIU, and there is no %s (programs.criu)", policy->criu_program);
}

static int check(struct pods *pods, const Cri__RestorePodRequest *request, struct cringle_err *err)
{
        if (request->n_options > 0)
                return err_set(err, CRINGLE_E_INVALID, "there is no option '%.80s'", request->options[0]->key);
        return check_configs(request, err) < 0 || check_checkpoint(request, err) < 0 || check_node(pods, err) < 0 ? -1 : 0;
}

void pods_restore_sandbox(struct pods *pods, const Cri__RestorePodRequest *request, const struct cringle_call *call,
                          pods_restored_fn done, void *data)
{
        Cri__RunPodSandboxRequest sandbox = CRI__RUN_POD_SANDBOX_REQUEST__INIT;
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct job *j;

        if (check(pods, request, &err) < 0) {
                done(data, "", NULL, 0, &err);
                return;
        }
        j = calloc(1, sizeof *j);
        if (!j)
                abort();
        *j = (struct job) {
                .pods = pods,
                .request = request,
                .call = call,
                .done = done,
                .data = data,
                .list = calloc(request->n_container_configs, sizeof *j->list),
                .ids = calloc(request->n_container_configs, sizeof *j->ids),
                .err = CRINGLE_ERR_INIT,
        };
        if (!j->list || !j->ids)
                abort();
        sandbox.config = request->config;
        sandbox.runtime_handler = request->runtime_handler;
        pods_run_restoring(pods, &sandbox, sandbox_runs, j);
}
