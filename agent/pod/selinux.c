/*
 * SELinux in the life of pods: levels that are theirs alone, files and volumes with their label
 *
 * A level is taken with the pod's name and kept in its row, so that no two pods have the same for as long as
 * both are there.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/guard.h"
#include "agent/base/label.h"
#include "agent/base/str.h"
#include "agent/oci/selinux.h"
#include "agent/pod/model.h"

static const Cri__SELinuxOption *options_of(const struct pod *pod)
{
        const Cri__LinuxPodSandboxConfig *linux = pod->request->config->linux;

        return linux && linux->security_context ? linux->security_context->selinux_options : NULL;
}

static bool is_taken(const struct pods *pods, const char *level)
{
        const char *id;
        void *object;

        for (size_t at = 0; map_next(&pods->by_id, &at, &id, &object);) {
                const struct pod *other = object;

                if (other->level && strcmp(other->level, level) == 0)
                        return true;
        }
        return false;
}

int pod_take_level(struct pod *pod, struct cringle_err *err)
{
        const char *asked;
        char level[SELINUX_LEVEL_MAX];

        if (!pod->pods->machine.has_selinux)
                return 0;
        if (selinux_level_asked(options_of(pod), &asked, err) < 0)
                return -1;
        if (!asked) {
                /* Half a million of them, and hundreds of pods. */
                do
                        selinux_random_level(level);
                while (is_taken(pod->pods, level));
                asked = level;
        }
        pod->level = strdup(asked);
        return pod->level ? 0 : err_oom(err);
}

int pod_labels(const struct pod *pod, char **ret_process, char **ret_files, struct cringle_err *err)
{
        const struct selinux_wish wish = { .pod = options_of(pod), .level = pod->level };

        *ret_files = NULL;
        if (ret_process)
                *ret_process = NULL;
        return pod->pods->machine.has_selinux ? selinux_labels(&wish, ret_process, ret_files, err) : 0;
}

/* A volume is below one of the node's directories, never one of those: a label of one pod's would lock out all others. */
static bool is_of_node(const char *path)
{
        static const char *const with_all_below[] = { "/usr", "/etc", "/proc", "/sys", "/dev", "/boot", NULL };
        static const char *const itself[] = {
                "/", "/bin", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt", "/root", "/run", "/sbin", "/srv",
                "/tmp", "/var", "/var/cache", "/var/lib", "/var/lib/kubelet", "/var/log", "/var/tmp", NULL,
        };

        for (size_t i = 0; with_all_below[i]; i++) {
                size_t n = strlen(with_all_below[i]);

                if (str_starts(path, with_all_below[i]) && (path[n] == '/' || path[n] == '\0'))
                        return true;
        }
        return strv_has(itself, path);
}

int volumes_label(const Cri__ContainerConfig *config, const char *label, const struct cringle_call *call, struct cringle_err *err)
{
        for (size_t i = 0; i < config->n_mounts; i++) {
                const Cri__Mount *m = config->mounts[i];
                auto_free char *real = NULL;

                if ((GUARD(relabel_asked) && !m->selinux_relabel) || spec_is_image_mount(m))
                        continue;
                real = realpath(m->host_path, NULL);
                if (!real)
                        return err_sys(err, "volume %s", m->host_path);
                if (is_of_node(real))
                        return err_set(err, CRINGLE_E_INVALID, "%s is the node's: it is not given the SELinux label of a pod", real);
                if (label_tree(real, label, call, err) < 0)
                        return err_wrap(err, "volume %s", real);
        }
        return 0;
}
