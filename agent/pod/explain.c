/*
 * A rehearsal of CreateContainer: what hooks would make of a container, without making it
 *
 * The pod and the container are objects that enter no map and no store, so nobody else sees them and nothing
 * is to be undone.  Volumes that would be made first need not be there.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/pod/model.h"

/* This machine, but a path that is not there is taken as it is written. */
static int resolve(void *data, const char *path, char **ret, struct cringle_err *err)
{
        if (spec_this_machine.resolve(data, path, ret, NULL) == 0)
                return 0;
        *ret = strdup(path);
        return *ret ? 0 : err_oom(err);
}

static int propagation(void *data, const char *path, enum spec_propagation *ret, struct cringle_err *err)
{
        if (spec_this_machine.propagation(data, path, ret, NULL) < 0)
                *ret = SPEC_PRIVATE;
        return 0;
}

static int check(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *container, struct cringle_err *err)
{
        if (!pod->metadata || !container->metadata || !container->image || str_empty(container->image->image))
                return err_set(err, CRINGLE_E_INVALID, "no metadata, or no image");
        return 0;
}

/* Both messages, as requests that are kept; *ret is to be unreferenced under the lock. */
static int imagine(struct pods *pods, const Cri__PodSandboxConfig *pod_config, const Cri__ContainerConfig *config,
                   const char *handler, struct container **ret, struct cringle_err *err)
{
        Cri__RunPodSandboxRequest run = CRI__RUN_POD_SANDBOX_REQUEST__INIT, *run_copy;
        Cri__CreateContainerRequest create = CRI__CREATE_CONTAINER_REQUEST__INIT, *create_copy;
        char id[ID_LEN + 1];
        struct pod *pod;

        run.config = (Cri__PodSandboxConfig *) pod_config;
        run.runtime_handler = (char *) handler;
        create.config = (Cri__ContainerConfig *) config;
        create.pod_sandbox_id = (char *) "";
        run_copy = message_copy(&run);
        id_make(id);
        pod = run_copy ? pod_new(pods, id, run_copy, err) : NULL;
        if (!pod) {
                message_free(run_copy);
                return run_copy ? -1 : err_oom(err);
        }
        create_copy = message_copy(&create);
        id_make(id);
        *ret = create_copy ? container_new(pod, id, create_copy, err) : NULL;
        pod_unref(pod);
        if (!*ret) {
                message_free(create_copy);
                return create_copy ? -1 : err_oom(err);
        }
        return 0;
}

int pods_explain(struct pods *pods, const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *config,
                 const char *handler, const struct hooks_watcher *watcher, const struct cringle_call *call,
                 struct json_object **ret, struct cringle_err *err)
{
        struct spec_machine machine = spec_this_machine;
        struct container_rehearsal rehearsal = { .machine = &machine, .watcher = watcher };
        struct image_config *image = NULL;
        struct container *c = NULL;
        struct oci_user *user;
        int r;

        machine.resolve = resolve;
        machine.propagation = propagation;
        if (check(pod, config, err) < 0)
                return -1;
        pthread_mutex_lock(&pods->tasks.lock);
        r = imagine(pods, pod, config, handler, &c, err);
        pthread_mutex_unlock(&pods->tasks.lock);
        if (r < 0)
                return -1;

        c->image = images_find(pods->images, config->image->image);
        if (!c->image)
                r = err_set(err, CRINGLE_E_NOT_FOUND, "no image '%.200s'; pull it first", config->image->image);
        if (r == 0)
                r = image_config_parse(c->image->config, strlen(c->image->config), &image, err);
        if (r == 0)
                r = container_look_up_user(c, image, &user, call, err);
        if (r == 0)
                r = container_build_spec(c, image, user, &rehearsal, ret, call, err);
        image_config_free(image);
        pthread_mutex_lock(&pods->tasks.lock);
        container_unref(c);
        pthread_mutex_unlock(&pods->tasks.lock);
        return r;
}
