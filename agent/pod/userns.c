/*
 * User namespaces of pods
 *
 * A pod has one or none, made and pinned with its others; all its containers are in it.  What the node
 * cannot do is found out once, and told to whoever asks for one.
 */

#include <fcntl.h>

#include "agent/base/log.h"
#include "agent/base/ns.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

static int probe(struct pods *pods, struct cringle_err *err)
{
        auto_fd int sample = -1;

        if (!pods->can.user_namespaces)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "the executor has none");
        sample = ns_user_sample(err);
        return sample < 0 ? -1 : images_id_maps(pods->images, sample, err);
}

/* Tried when it is first asked for, since it takes longer than all else at start. */
static int available(struct pods *pods, struct cringle_err *err)
{
        int r = 0;

        pthread_mutex_lock(&pods->user_ns_lock);
        if (!pods->user_ns_probed) {
                pods->no_user_ns = (struct cringle_err) CRINGLE_ERR_INIT;
                if (probe(pods, &pods->no_user_ns) < 0)
                        log_info("no user namespaces for pods: %s", pods->no_user_ns.text);
                else
                        pods->no_user_ns.code = CRINGLE_OK;
                pods->user_ns_probed = true;
        }
        if (pods->no_user_ns.code != CRINGLE_OK)
                r = err_set(err, CRINGLE_E_UNIMPLEMENTED, "no user namespaces on this node: %s", pods->no_user_ns.text);
        pthread_mutex_unlock(&pods->user_ns_lock);
        return r;
}

bool pods_have_user_ns(struct pods *pods)
{
        return available(pods, NULL) == 0;
}

int pod_user_ns_available(const struct pod *pod, struct cringle_err *err)
{
        struct cringle_id_map uids, gids;
        int r = spec_id_maps(pod->request->config, &uids, &gids, err);

        return r == 1 ? available(pod->pods, err) : r;
}

int user_ns_check(const Cri__PodSandboxConfig *config, struct cringle_err *err)
{
        const Cri__LinuxSandboxSecurityContext *security = config->linux ? config->linux->security_context : NULL;
        const Cri__NamespaceOption *o = security ? security->namespace_options : NULL;
        struct cringle_id_map uids, gids;
        int r = spec_id_maps(config, &uids, &gids, err);

        if (r <= 0)
                return r;
        /* Their file systems could not be mounted: a user namespace has no say in the node's. */
        if (o->pid == CRI__NAMESPACE_MODE__NODE || o->ipc == CRI__NAMESPACE_MODE__NODE)
                return err_set(err, CRINGLE_E_INVALID, "a user namespace needs PID and IPC namespaces that are not the node's");
        return 0;
}

static bool same_maps(Cri__IDMapping **a, size_t n_a, Cri__IDMapping **b, size_t n_b)
{
        if (n_a != n_b)
                return false;
        for (size_t i = 0; i < n_a; i++)
                if (a[i]->host_id != b[i]->host_id || a[i]->container_id != b[i]->container_id || a[i]->length != b[i]->length)
                        return false;
        return true;
}

int user_ns_check_container(const struct pod *pod, const Cri__ContainerConfig *config, struct cringle_err *err)
{
        const Cri__LinuxContainerSecurityContext *security = config->linux ? config->linux->security_context : NULL;
        const Cri__UserNamespace *its = security && security->namespace_options ? security->namespace_options->userns_options : NULL;
        const Cri__UserNamespace *ours = pod_namespaces(pod)->userns_options;

        /* Nothing said: the pod's. */
        if (!its)
                return 0;
        if (!ours ? its->mode == CRI__NAMESPACE_MODE__NODE
                  : its->mode == ours->mode && same_maps(its->uids, its->n_uids, ours->uids, ours->n_uids) &&
                            same_maps(its->gids, its->n_gids, ours->gids, ours->n_gids))
                return 0;
        return err_set(err, CRINGLE_E_INVALID, "the container's user namespace is to be another than its pod's");
}

int pod_user_ns(const struct pod *pod, struct cringle_user_ns *ret, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/ns/user", pod->run_dir);
        struct cringle_id_map uids, gids;
        int r = path ? spec_id_maps(pod->request->config, &uids, &gids, err) : -1, fd;

        if (r <= 0)
                return r;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, "open %s", path);
        *ret = (struct cringle_user_ns) { .size = sizeof *ret, .fd = fd, .uids = uids, .gids = gids };
        return 1;
}
