/*
 * Which kernel settings are a pod's own
 */

#include <string.h>

#include "agent/base/guard.h"
#include "agent/base/str.h"
#include "agent/oci/spec.h"

#define ENTRIES_MAX 1024

/* A key is words between dots or between slashes, whichever comes first; the other is then part of a word. */
static int check_key(const char *key, struct cringle_err *err)
{
        const char *first = strpbrk(key, "./");
        size_t n = strlen(key);

        if (!first || n > 255 ||
            strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") != n)
                return err_set(err, CRINGLE_E_INVALID, "sysctl '%.255s' is no name", key);
        if (strstr(key, "..") || strstr(key, "//") || strstr(key, "./") || strstr(key, "/.") ||
            strchr("./", key[0]) || strchr("./", key[n - 1]))
                return err_set(err, CRINGLE_E_INVALID, "sysctl '%s' is malformed", key);
        return 0;
}

/* Does @key begin with @words ("fs.mqueue."), spelled with either separator? */
static bool begins(const char *key, const char *words)
{
        for (; *words; key++, words++)
                if (*words == '.' ? *key != '.' && *key != '/' : *key != *words)
                        return false;
        return true;
}

static bool is_net(const char *key)
{
        return begins(key, "net.");
}

static bool is_ipc(const char *key)
{
        return begins(key, "kernel.shm") || begins(key, "kernel.msg") || begins(key, "fs.mqueue.") ||
               (begins(key, "kernel.sem") && strlen(key) == strlen("kernel.sem"));
}

/* One value or some, never what could begin another setting. */
static int check_value(const char *key, const char *value, struct cringle_err *err)
{
        size_t n = strlen(value);

        if (GUARD(sysctl_values) &&
            (n > 4095 || strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \t._,:/-") != n))
                return err_set(err, CRINGLE_E_INVALID, "sysctl %s: its value has characters that are not allowed", key);
        return 0;
}

int spec_check_sysctls(const Cri__PodSandboxConfig *pod, struct cringle_err *err)
{
        const Cri__LinuxPodSandboxConfig *l = pod->linux;
        const Cri__NamespaceOption *options =
                l && l->security_context ? l->security_context->namespace_options : NULL;
        bool host_net = options && options->network == CRI__NAMESPACE_MODE__NODE;
        bool host_ipc = options && options->ipc == CRI__NAMESPACE_MODE__NODE;

        if (l && l->n_sysctls > ENTRIES_MAX)
                return err_set(err, CRINGLE_E_INVALID, "more than %d sysctls", ENTRIES_MAX);
        for (size_t i = 0; l && i < l->n_sysctls; i++) {
                const char *key = l->sysctls[i]->key;

                if ((GUARD(sysctl_words) && check_key(key, err) < 0) || check_value(key, l->sysctls[i]->value, err) < 0)
                        return -1;
                if (!is_net(key) && !is_ipc(key))
                        return err_set(err, CRINGLE_E_INVALID, "sysctl %s is the node's, not a pod's", key);
                if (GUARD(host_sysctls) && ((host_net && is_net(key)) || (host_ipc && is_ipc(key))))
                        return err_set(err, CRINGLE_E_INVALID, "sysctl %s: the pod shares the node's namespace", key);
        }
        return 0;
}
