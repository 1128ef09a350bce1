/*
 * Names of slices and scopes; see name.h.
 *
 * What comes in here becomes names of units and directories that root makes and
 * ends: nothing but slices as the kubelet writes them gets through.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/str.h"
#include "plugins/cgroup-systemd/name.h"

#define UNIT_MAX 255                    /* systemd's limit for a unit's name, and the kernel's for a directory's */
#define PARENT_MAX 4096
#define SUFFIX ".slice"
#define SUFFIX_LEN (sizeof SUFFIX - 1)

static int not_a_slice(const char *parent, struct cringle_err *err)
{
        return err_set(err, CRINGLE_E_INVALID,
                       "cgroup parent: '%.200s' is no systemd slice, but this is the systemd cgroup driver: set "
                       "cgroupDriver of the kubelet to systemd, or the plugin of section cgroup to cgroup-fs",
                       parent);
}

/* "a-b.slice": words of letters, digits, ':', '_', '.', '\', joined by single dashes. */
static int check_slice(const char *name, struct cringle_err *err)
{
        size_t n = strlen(name) - SUFFIX_LEN;

        if (strlen(name) > UNIT_MAX)
                return err_set(err, CRINGLE_E_INVALID, "cgroup parent: a slice's name of %zu bytes is too long", strlen(name));
        if (n == 0)
                return not_a_slice(name, err);
        if (n == 1 && name[0] == '-')
                return err_set(err, CRINGLE_E_INVALID, "cgroup parent: the root itself is not for containers");
        for (size_t i = 0; i < n; i++) {
                if (!isalnum((unsigned char) name[i]) && !strchr(":_.\\-", name[i]))
                        return err_set(err, CRINGLE_E_INVALID, "cgroup parent: byte 0x%02x is not allowed in a slice's name",
                                       (unsigned char) name[i]);
                if (name[i] == '-' && (i == 0 || i == n - 1 || name[i - 1] == '-'))
                        return err_set(err, CRINGLE_E_INVALID, "cgroup parent: slice '%s' has an empty part between dashes",
                                       name);
        }
        if (name[0] == '.')
                return not_a_slice(name, err);
        return 0;
}

char *name_slice_dir(const char *slice, struct cringle_err *err)
{
        auto_buf path = BUF_INIT;

        for (const char *dash = strchr(slice, '-'); dash; dash = strchr(dash + 1, '-'))
                if (buf_printf(&path, err, "%.*s" SUFFIX "/", (int) (dash - slice), slice) < 0)
                        return NULL;
        if (buf_printf(&path, err, "%s", slice) < 0)
                return NULL;
        return buf_steal(&path);
}

/* Is @parent, slashes at its ends aside, @dir? */
static bool is_dir(const char *parent, const char *dir)
{
        size_t n;

        parent += strspn(parent, "/");
        n = strlen(dir);
        return strncmp(parent, dir, n) == 0 && strspn(parent + n, "/") == strlen(parent + n);
}

char *name_slice(const char *parent, struct cringle_err *err)
{
        size_t n = strlen(parent);
        auto_free char *trimmed = NULL;
        auto_free char *dir = NULL;
        const char *name;

        if (n > PARENT_MAX) {
                err_set(err, CRINGLE_E_INVALID, "cgroup parent: %zu bytes are too long", n);
                return NULL;
        }
        while (n > 0 && parent[n - 1] == '/')
                n--;
        trimmed = str_printf(err, "%.*s", (int) n, parent);
        if (!trimmed)
                return NULL;
        name = strrchr(trimmed, '/') ? strrchr(trimmed, '/') + 1 : trimmed;
        if (!str_ends(name, SUFFIX)) {
                not_a_slice(parent, err);
                return NULL;
        }
        if (check_slice(name, err) < 0)
                return NULL;

        dir = name_slice_dir(name, err);
        if (!dir)
                return NULL;
        if (strchr(trimmed, '/') && !is_dir(trimmed, dir) && strcmp(trimmed + 1, name) != 0) {
                err_set(err, CRINGLE_E_INVALID, "cgroup parent: systemd has slice %s at /%s, not at %.200s", name, dir, parent);
                return NULL;
        }
        return strdup(name) ?: (err_oom(err), NULL);
}

void place_done(struct place *p)
{
        free(p->slice);
        free(p->unit);
        free(p->slice_dir);
        free(p->scope);
        free(p->hold);
        free(p->group);
        free(p->oci_path);
        *p = (struct place) { 0 };
}

int place_find(const struct naming *n, const char *parent, const char *id, struct place *ret, struct cringle_err *err)
{
        auto_place p = { .shared = str_empty(parent) };

        if (!str_is_id(id, UNIT_MAX) || strlen(id) + strlen(n->prefix) + sizeof "-.scope" > UNIT_MAX)
                return err_set(err, CRINGLE_E_INVALID, "cgroup id: want letters, digits, '_', '.', '-', found '%.64s'",
                               id ? id : "");
        if (p.shared && strcmp(id, "hold") == 0)
                return err_set(err, CRINGLE_E_INVALID, "cgroup id: 'hold' is taken");

        p.slice = name_slice(p.shared ? n->slice : parent, err);
        if (!p.slice)
                return -1;
        p.unit = p.shared ? str_printf(err, "%s.scope", n->prefix) : str_printf(err, "%s-%s.scope", n->prefix, id);
        p.slice_dir = name_slice_dir(p.slice, err);
        if (!p.unit || !p.slice_dir)
                return -1;
        p.scope = str_printf(err, "%s/%s", p.slice_dir, p.unit);
        if (!p.scope)
                return -1;
        p.hold = str_printf(err, "%s/hold", p.scope);
        p.group = str_printf(err, "%s/%s", p.scope, p.shared ? id : "container");
        if (!p.hold || !p.group)
                return -1;
        p.oci_path = p.shared ? str_printf(err, "/%s", p.group) : str_printf(err, "%s:%s:%s", p.slice, n->prefix, id);
        if (!p.oci_path)
                return -1;

        *ret = p;
        p = (struct place) { 0 };
        return 0;
}
