/*
 * Seccomp, AppArmor, SELinux, and the paths that are hidden or read-only
 *
 * Whatever cannot be confined as asked is refused: there is no way from "this
 * profile" to "no profile".
 */

#include <string.h>

#include "agent/base/guard.h"
#include "agent/base/str.h"
#include "agent/oci/seccomp.h"
#include "agent/oci/selinux.h"
#include "agent/oci/spec.h"
#include "agent/oci/spec_private.h"

/* The fields of before are still what some kubelets fill. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* What is asked, from the field of today or the one of before. */
struct profile {
        int type;               /* Cri__SecurityProfile__ProfileType */
        const char *ref;        /* of Localhost */
};

/* @old is "", "unconfined", "runtime/default" (or "docker/default"), or "localhost/<ref>". */
static int profile_of(const Cri__SecurityProfile *p, const char *old, struct profile *ret, struct cringle_err *err)
{
        if (p) {
                *ret = (struct profile){ (int) p->profile_type, p->localhost_ref };
                return 0;
        }

        *ret = (struct profile){ CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined, "" };
        if (str_empty(old) || strcmp(old, "unconfined") == 0)
                return 0;
        if (strcmp(old, "runtime/default") == 0 || strcmp(old, "docker/default") == 0) {
                ret->type = CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault;
                return 0;
        }
        if (str_starts(old, "localhost/")) {
                *ret = (struct profile){ CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost, old + strlen("localhost/") };
                return 0;
        }
        return err_set(err, CRINGLE_E_INVALID, "profile '%s' is not known", old);
}

static int read_profile(struct spec_builder *b, const char *path, struct json_object **ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;

        if (GUARD(profile_path) && (str_empty(path) || path[0] != '/'))
                return err_set(err, CRINGLE_E_INVALID, "profile '%s' is not an absolute path", path ? path : "");
        if (b->in->machine->profile(b->in->machine->data, path, &text, err) < 0 ||
            seccomp_profile_load(text.data, text.len, b->caps, ret, err) < 0)
                return err_wrap(err, "profile %s", path);
        return 0;
}

static int add_seccomp(struct spec_builder *b, struct cringle_err *err)
{
        struct json_object *profile = NULL;
        struct profile p;

        if (profile_of(b->security->seccomp, b->security->seccomp_profile_path, &p, err) < 0)
                return -1;
        switch (p.type) {
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
                return 0;
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
                break;
        default:
                return err_set(err, CRINGLE_E_INVALID, "profile type %d is not known", p.type);
        }
        if (!b->in->has_seccomp)
                return err_set(err, CRINGLE_E_PRECONDITION, "this kernel has no seccomp");

        if (p.type == CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost) {
                if (read_profile(b, p.ref, &profile, err) < 0)
                        return GUARD(no_fallback) ? -1 : 0;
        } else if (b->in->seccomp_default) {
                if (read_profile(b, b->in->seccomp_default, &profile, err) < 0)
                        return -1;
        } else if (seccomp_default(b->caps, &profile, err) < 0) {
                return -1;
        }
        return json_set(b->linux_part, "seccomp", profile, err);
}

static int add_apparmor(struct spec_builder *b, struct cringle_err *err)
{
        const char *name = NULL;
        struct profile p;

        if (profile_of(b->security->apparmor, b->security->apparmor_profile, &p, err) < 0)
                return -1;
        switch (p.type) {
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
                return 0;
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
                name = b->in->has_apparmor ? b->in->apparmor_default : NULL;
                if (!name)
                        return 0;
                break;
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
                name = str_starts(p.ref, "localhost/") ? p.ref + strlen("localhost/") : p.ref;
                if (!b->in->has_apparmor)
                        return err_set(err, CRINGLE_E_PRECONDITION, "profile '%s': this kernel has no AppArmor", name);
                if (str_empty(name))
                        return err_set(err, CRINGLE_E_INVALID, "the profile has no name");
                break;
        default:
                return err_set(err, CRINGLE_E_INVALID, "profile type %d is not known", p.type);
        }

        if (spec_check_line("profile", name, err) < 0 ||
            b->in->machine->apparmor(b->in->machine->data, name, err) < 0)
                return err_wrap(err, "profile '%s'", name);
        return json_set_string(b->process, "apparmorProfile", name, err);
}

static bool shares_with_node(const struct spec_builder *b)
{
        const Cri__LinuxPodSandboxConfig *linux = b->in->pod->linux;
        const Cri__NamespaceOption *o = linux && linux->security_context ? linux->security_context->namespace_options : NULL;

        return o && (o->pid == CRI__NAMESPACE_MODE__NODE || o->ipc == CRI__NAMESPACE_MODE__NODE);
}

static int add_selinux(struct spec_builder *b, struct cringle_err *err)
{
        const Cri__LinuxPodSandboxConfig *linux = b->in->pod->linux;
        const struct selinux_wish wish = {
                .pod = linux && linux->security_context ? linux->security_context->selinux_options : NULL,
                .container = b->security->selinux_options,
                .level = b->in->selinux_level,
                .unconfined = b->privileged || shares_with_node(b),
        };
        auto_free char *process = NULL, *files = NULL;

        if (!b->in->has_selinux) {
                if (!b->privileged && (selinux_asked(wish.container) || selinux_asked(wish.pod)))
                        return err_set(err, CRINGLE_E_PRECONDITION,
                                       "SELinux options are asked for: this node gives no labels");
                return 0;
        }
        if (selinux_labels(&wish, &process, &files, err) < 0 ||
            b->in->machine->selinux(b->in->machine->data, process, err) < 0 ||
            b->in->machine->selinux(b->in->machine->data, files, err) < 0 ||
            json_set_string(b->process, "selinuxLabel", process, err) < 0)
                return -1;
        return json_set_string(b->linux_part, "mountLabel", files, err);
}

/* Exactly what the kubelet gives: an empty list is how it says "unmasked". */
static int add_paths(struct spec_builder *b, const char *name, char *const *paths, size_t n, struct cringle_err *err)
{
        struct json_object *list = json_need_array(b->linux_part, name, err);

        if (!list)
                return -1;
        for (size_t i = 0; i < n; i++) {
                auto_free char *clean = NULL;

                if (spec_clean_path(name, paths[i], &clean, err) < 0 || json_add_string(list, clean, err) < 0)
                        return -1;
        }
        return 0;
}

int spec_add_security(struct spec_builder *b, struct cringle_err *err)
{
        if (add_selinux(b, err) < 0)
                return -1;
        if (b->privileged)
                return 0;
        if (add_seccomp(b, err) < 0)
                return err_wrap(err, "seccomp");
        if (add_apparmor(b, err) < 0)
                return err_wrap(err, "apparmor");
        if (add_paths(b, "maskedPaths", b->security->masked_paths, b->security->n_masked_paths, err) < 0 ||
            add_paths(b, "readonlyPaths", b->security->readonly_paths, b->security->n_readonly_paths, err) < 0)
                return -1;
        return 0;
}
