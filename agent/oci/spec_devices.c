/*
 * Device nodes, and which devices may be opened at all
 *
 * Everything is denied, then single devices are allowed.  Making nodes of character
 * devices is not forbidden (opening them is); of block devices it is.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/oci/spec.h"
#include "agent/oci/spec_private.h"

#define ANY (-1)

static int add_rule(struct json_object *list, bool allow, char type, int64_t major, int64_t minor, const char *access,
                    struct cringle_err *err)
{
        auto_json rule = json_object_new_object();

        if (!rule)
                return err_oom(err);
        if (json_set_bool(rule, "allow", allow, err) < 0 ||
            (type != 'a' && json_set_string(rule, "type", type == 'b' ? "b" : "c", err) < 0) ||
            (major != ANY && json_set_int(rule, "major", major, err) < 0) ||
            (minor != ANY && json_set_int(rule, "minor", minor, err) < 0) ||
            json_set_string(rule, "access", access, err) < 0)
                return -1;
        return json_add(list, steal(&rule), err);
}

/* null, zero, full, random, urandom, tty, console, ptmx, terminals: what a container always has. */
static int add_standard_rules(struct json_object *rules, struct cringle_err *err)
{
        static const struct {
                int major, minor;
        } standard[] = { { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 }, { 5, 0 }, { 5, 1 }, { 5, 2 }, { 136, ANY } };

        if (add_rule(rules, true, 'c', ANY, ANY, "m", err) < 0)
                return -1;
        for (size_t i = 0; i < sizeof standard / sizeof standard[0]; i++)
                if (add_rule(rules, true, 'c', standard[i].major, standard[i].minor, "rwm", err) < 0)
                        return -1;
        return 0;
}

/* "rwm" or some of it, in any order, none twice; "" is all.  @ret gets it in the usual order. */
static int access_of(const char *asked, char ret[static 4], struct cringle_err *err)
{
        size_t n = 0;

        if (str_empty(asked))
                asked = "rwm";
        if (strspn(asked, "rwm") != strlen(asked) || strlen(asked) > 3)
                return err_set(err, CRINGLE_E_INVALID, "permissions '%.16s' are not of \"rwm\"", asked);
        for (const char *p = "rwm"; *p; p++)
                if (strchr(asked, *p))
                        ret[n++] = *p;
        ret[n] = '\0';
        return 0;
}

static int add_node(struct json_object *nodes, const struct spec_device *d, const char *path, struct cringle_err *err)
{
        auto_json node = json_object_new_object();
        const char type[] = { d->type, '\0' };

        if (!node)
                return err_oom(err);
        if (json_set_string(node, "path", path, err) < 0 || json_set_string(node, "type", type, err) < 0 ||
            json_set_int(node, "major", d->major, err) < 0 || json_set_int(node, "minor", d->minor, err) < 0 ||
            json_set_int(node, "fileMode", d->mode, err) < 0 || json_set_int(node, "uid", d->uid, err) < 0 ||
            json_set_int(node, "gid", d->gid, err) < 0)
                return -1;
        return json_add(nodes, steal(&node), err);
}

static bool has_node(struct json_object *nodes, const char *path)
{
        for (size_t i = 0; i < json_object_array_length(nodes); i++) {
                const char *have;

                if (json_get_string(json_object_array_get_idx(nodes, i), "path", &have, NULL) == 1 &&
                    strcmp(have, path) == 0)
                        return true;
        }
        return false;
}

static void free_devices(struct spec_device *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(list[i].path);
        free(list);
}

/* The host's @from or all below it, as @to or below that; with rules when @access is given. */
static int add_devices(struct spec_builder *b, const char *from, const char *to, const char *access,
                       struct json_object *nodes, struct json_object *rules, struct cringle_err *err)
{
        const struct spec_machine *m = b->in->machine;
        struct spec_device *list = NULL;
        size_t n = 0, n_from = strlen(from);
        int r = 0;

        if (m->devices(m->data, from, &list, &n, err) < 0)
                return -1;
        if (n == 0)
                r = err_set(err, CRINGLE_E_INVALID, "there is no device in %s", from);
        for (size_t i = 0; i < n && r == 0; i++) {
                auto_free char *path = str_printf(err, "%s%s", to, list[i].path + n_from);

                r = !path || (nodes && !has_node(nodes, path) && add_node(nodes, &list[i], path, err) < 0) ? -1 : 0;
                if (r == 0 && access && list[i].type != 'p')
                        r = add_rule(rules, true, list[i].type, list[i].major, list[i].minor, access, err);
                /* Its node is made by a process that the rules hold for already. */
                if (r == 0 && access && list[i].type == 'b' && !strchr(access, 'm'))
                        r = add_rule(rules, true, list[i].type, list[i].major, list[i].minor, "m", err);
        }
        free_devices(list, n);
        return r;
}

static int add_requested(struct spec_builder *b, const Cri__Device *d, struct json_object *nodes,
                         struct json_object *rules, struct cringle_err *err)
{
        auto_free char *to = NULL, *asked = NULL, *from = NULL;
        char access[4];

        if (spec_clean_path("container_path", d->container_path, &to, err) < 0 ||
            spec_clean_path("host_path", d->host_path, &asked, err) < 0 ||
            b->in->machine->resolve(b->in->machine->data, asked, &from, err) < 0 ||
            access_of(d->permissions, access, err) < 0)
                return -1;
        if (spec_path_within(to, "/proc") || spec_path_within(to, "/sys") || strcmp(to, "/") == 0)
                return err_set(err, CRINGLE_E_INVALID, "no place for a device");
        return add_devices(b, from, to, b->privileged ? NULL : access, nodes, rules, err);
}

int spec_add_devices(struct spec_builder *b, struct cringle_err *err)
{
        const Cri__ContainerConfig *c = b->in->container;
        struct json_object *resources = json_need_object(b->linux_part, "resources", err);
        struct json_object *rules = resources ? json_need_array(resources, "devices", err) : NULL;
        struct json_object *nodes = NULL;

        if (!rules)
                return -1;
        /* Nodes would be made in the kubelet's directory, the host's /dev as like as not. */
        if (!spec_kubelet_mounts(b, "/dev")) {
                nodes = json_need_array(b->linux_part, "devices", err);
                if (!nodes)
                        return -1;
        }

        if (b->privileged ? add_rule(rules, true, 'a', ANY, ANY, "rwm", err) < 0 :
                            add_rule(rules, false, 'a', ANY, ANY, "rwm", err) < 0 || add_standard_rules(rules, err) < 0)
                return -1;
        for (size_t i = 0; i < c->n_devices; i++)
                if (add_requested(b, c->devices[i], nodes, rules, err) < 0)
                        return err_wrap(err, "%s", c->devices[i]->container_path);

        /* What was asked for by name has its place already. */
        if (b->privileged && nodes)
                return add_devices(b, "/dev", "/dev", NULL, nodes, rules, err);
        return 0;
}
