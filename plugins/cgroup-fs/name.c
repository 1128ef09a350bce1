/*
 * Names of cgroups; see name.h.
 *
 * What comes in here decides which directories root makes, kills in and removes:
 * nothing but plain components gets through.
 */

#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/str.h"
#include "plugins/cgroup-fs/name.h"

#define COMPONENT_MAX 255
#define PATH_LENGTH_MAX 2048
#define CONTAINER_LEN 64

static int check_component(const char *c, size_t n, struct cringle_err *err)
{
        if (n > COMPONENT_MAX)
                return err_set(err, CRINGLE_E_INVALID, "cgroup parent: a component of %zu bytes is too long", n);
        if (c[0] == '.' && (n == 1 || (n == 2 && c[1] == '.')))
                return err_set(err, CRINGLE_E_INVALID, "cgroup parent: '.' and '..' are not allowed");
        for (size_t i = 0; i < n; i++)
                if (c[i] <= ' ' || c[i] >= 0x7f)
                        return err_set(err, CRINGLE_E_INVALID, "cgroup parent: byte 0x%02x is not allowed",
                                       (unsigned char) c[i]);
        if (n > 6 && memcmp(c + n - 6, ".slice", 6) == 0)
                return err_set(err, CRINGLE_E_INVALID,
                               "cgroup parent: '%.*s' is a systemd slice, but this is the cgroupfs driver: set "
                               "cgroupDriver of the kubelet to cgroupfs, or the plugin of section cgroup to cgroup-systemd",
                               (int) n, c);
        return 0;
}

char *name_parent(const char *parent, struct cringle_err *err)
{
        auto_buf path = BUF_INIT;

        if (strlen(parent) > PATH_LENGTH_MAX) {
                err_set(err, CRINGLE_E_INVALID, "cgroup parent: %zu bytes are too long", strlen(parent));
                return NULL;
        }
        for (const char *at = parent; *at;) {
                size_t n = strcspn(at, "/");

                if (n > 0 && (check_component(at, n, err) < 0 || (path.len && buf_add(&path, "/", 1, err) < 0) ||
                              buf_add(&path, at, n, err) < 0))
                        return NULL;
                at += n + (at[n] == '/');
        }
        if (!path.len) {
                err_set(err, CRINGLE_E_INVALID, "cgroup parent: the root itself is not for containers");
                return NULL;
        }
        return buf_steal(&path);
}

static bool is_of_container(const char *id)
{
        return strlen(id) == CONTAINER_LEN && strspn(id, "0123456789abcdef") == CONTAINER_LEN;
}

char *name_path(const char *prefix, const char *name, const char *parent, const char *id, struct cringle_err *err)
{
        auto_free char *above = NULL;

        if (!str_is_id(id, COMPONENT_MAX)) {
                err_set(err, CRINGLE_E_INVALID, "cgroup id: want letters, digits, '_', '.', '-', found '%.64s'",
                        id ? id : "");
                return NULL;
        }
        above = name_parent(str_empty(parent) ? prefix : parent, err);
        return above ? str_printf(err, "%s/%s%s", above, is_of_container(id) ? name : "", id) : NULL;
}
