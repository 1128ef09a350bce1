/*
 * Seccomp, AppArmor, SELinux, and the paths that are hidden or read-only
 *
 * Whatever cannot be confined as asked is refused: there is no way from "this
 * profile" to "no profile".
 */

#include <stdlib.h>
#include <string.h>

#include "agent/base/guard.h"
#include "agent/base/str.h"
#include "agent/oci/seccomp.h"
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

/* One part of a label: what stands between its colons (only the last may contain some). */
static int check_label_part(const char *what, const char *text, bool last, struct cringle_err *err)
{
        if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-,:") != strlen(text) ||
            (!last && strchr(text, ':')))
                return err_set(err, CRINGLE_E_INVALID, "SELinux %s '%s' is malformed", what, text);
        return 0;
}

#define CATEGORIES 1024                 /* that every policy with categories has */
#define OWN_CATEGORIES 4

static int by_number(const void *a, const void *b)
{
        return *(const int *) a - *(const int *) b;
}

/*
 * Categories that are the pod's alone, by its id: no other pod's are among them unless all are the same, which takes
 * two ids out of 4 * 10^10.  So nobody needs to remember who has which.
 */
static char *own_level(const char *pod_id, struct cringle_err *err)
{
        int categories[OWN_CATEGORIES], n = 0;

        for (const char *p = pod_id; n < OWN_CATEGORIES && strlen(p) >= 3; p += 3) {
                char digits[4] = { p[0], p[1], p[2] };
                int category = (int) (strtoul(digits, NULL, 16) % CATEGORIES), k = 0;

                while (k < n && categories[k] != category)
                        k++;
                if (k == n)
                        categories[n++] = category;
        }
        if (n < OWN_CATEGORIES) {
                err_set(err, CRINGLE_E_INTERNAL, "'%.80s' is no pod id", pod_id);
                return NULL;
        }
        qsort(categories, OWN_CATEGORIES, sizeof categories[0], by_number);
        return str_printf(err, "s0:c%d,c%d,c%d,c%d", categories[0], categories[1], categories[2], categories[3]);
}

/* What a label is made of; level is owned where it had to be made. */
struct label {
        const char *user, *role, *type, *level;
        char *own;
};

static bool asks(const Cri__SELinuxOption *o)
{
        return o && !(str_empty(o->user) && str_empty(o->role) && str_empty(o->type) && str_empty(o->level));
}

/* The first that says something. */
static const char *one_of(const char *first, const char *second, const char *third)
{
        return !str_empty(first) ? first : !str_empty(second) ? second : third;
}

/* The container's word counts before the pod's.  0: there is nothing to label; 1: there is. */
static int make_label(const struct spec_input *in, const Cri__SELinuxOption *mine, struct label *ret, struct cringle_err *err)
{
        static const Cri__SELinuxOption none = CRI__SELINUX_OPTION__INIT;
        const Cri__LinuxPodSandboxConfig *pod = in->pod->linux;
        const Cri__SELinuxOption *o = mine ? mine : &none;
        const Cri__SELinuxOption *p = pod && pod->security_context && pod->security_context->selinux_options
                                              ? pod->security_context->selinux_options
                                              : &none;

        if (!asks(o) && !asks(p) && !in->labels_all)
                return 0;
        if (!in->has_selinux)
                return err_set(err, CRINGLE_E_PRECONDITION, "SELinux options are asked for: this kernel has no SELinux");
        ret->user = one_of(o->user, p->user, "system_u");
        ret->role = one_of(o->role, p->role, "system_r");
        ret->type = one_of(o->type, p->type, "container_t");
        ret->level = one_of(o->level, p->level, NULL);
        if (!ret->level) {
                ret->level = ret->own = own_level(in->pod_id, err);
                if (!ret->own)
                        return -1;
        }
        if (check_label_part("user", ret->user, false, err) < 0 || check_label_part("role", ret->role, false, err) < 0 ||
            check_label_part("type", ret->type, false, err) < 0 || check_label_part("level", ret->level, true, err) < 0)
                return -1;
        return 1;
}

static char *file_label(const struct spec_input *in, const struct label *l, struct cringle_err *err)
{
        auto_free char *text = str_printf(err, "%s:object_r:container_file_t:%s", l->user, l->level);

        if (!text || in->machine->selinux(in->machine->data, text, err) < 0)
                return NULL;
        return steal(&text);
}

int spec_pod_label(const struct spec_input *in, char **ret, struct cringle_err *err)
{
        struct label l = { 0 };
        char *text = NULL;
        int r = make_label(in, NULL, &l, err);

        if (r == 1) {
                text = file_label(in, &l, err);
                r = text ? 0 : -1;
        }
        free(l.own);
        if (r < 0)
                return -1;
        *ret = text;
        return 0;
}

static int add_selinux(struct spec_builder *b, struct cringle_err *err)
{
        const struct spec_machine *m = b->in->machine;
        auto_free char *process = NULL, *mount = NULL, *own = NULL;
        struct label l = { 0 };
        int r = make_label(b->in, b->security->selinux_options, &l, err);

        own = l.own;
        if (r < 1)
                return r;
        process = str_printf(err, "%s:%s:%s:%s", l.user, l.role, l.type, l.level);
        if (!process || m->selinux(m->data, process, err) < 0)
                return -1;
        mount = file_label(b->in, &l, err);
        if (!mount || json_set_string(b->process, "selinuxLabel", process, err) < 0)
                return -1;
        return json_set_string(b->linux_part, "mountLabel", mount, err);
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
        if (b->privileged)
                return 0;
        if (add_seccomp(b, err) < 0)
                return err_wrap(err, "seccomp");
        if (add_apparmor(b, err) < 0)
                return err_wrap(err, "apparmor");
        if (add_selinux(b, err) < 0)
                return err_wrap(err, "selinux");
        if (add_paths(b, "maskedPaths", b->security->masked_paths, b->security->n_masked_paths, err) < 0 ||
            add_paths(b, "readonlyPaths", b->security->readonly_paths, b->security->n_readonly_paths, err) < 0)
                return -1;
        return 0;
}
