/*
 * Mounts: what every container has, and what the kubelet asks for
 *
 * They are done in the order of the list, so it is sorted by depth: what lies
 * deeper is not covered by what lies above it.  Among equals the kubelet's come last,
 * and one of ours on the very same place is left out.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/oci/spec.h"
#include "agent/oci/spec_private.h"

#define REQUESTED_MAX 4096

#define OPTIONS(...) (const char *const[]) { __VA_ARGS__, NULL }

/* One mount under way, with what it is sorted by. */
struct place {
        char *destination;              /* clean; owned */
        struct json_object *mount;      /* owned */
};

struct places {
        struct place *list;
        size_t n;
};

static void places_done(struct places *p)
{
        for (size_t i = 0; i < p->n; i++) {
                free(p->list[i].destination);
                json_object_put(p->list[i].mount);
        }
        free(p->list);
}

/* *ret_mount is borrowed. */
static int places_add(struct places *p, const char *destination, const char *type, const char *source,
                      const char *const *options, struct json_object **ret_mount, struct cringle_err *err)
{
        auto_json mount = json_object_new_object();
        auto_free char *copy = strdup(destination);
        struct place *more;

        if (!mount || !copy)
                return err_oom(err);
        if (json_set_string(mount, "destination", destination, err) < 0 ||
            json_set_string(mount, "type", type, err) < 0 || json_set_string(mount, "source", source, err) < 0 ||
            json_set_strv(mount, "options", options, err) < 0)
                return -1;

        more = reallocarray(p->list, p->n + 1, sizeof *more);
        if (!more)
                return err_oom(err);
        p->list = more;
        if (ret_mount)
                *ret_mount = mount;
        p->list[p->n++] = (struct place){ steal(&copy), steal(&mount) };
        return 0;
}

/* --- ours --- */

bool spec_kubelet_mounts(const struct spec_builder *b, const char *path)
{
        const Cri__ContainerConfig *c = b->in->container;

        for (size_t i = 0; i < c->n_mounts; i++) {
                auto_free char *clean = NULL;

                if (spec_clean_path("mount", c->mounts[i]->container_path, &clean, NULL) == 0 &&
                    strcmp(clean, path) == 0)
                        return true;
        }
        return false;
}

static int add_own(struct spec_builder *b, struct places *p, const char *destination, const char *type,
                   const char *source, const char *const *options, struct cringle_err *err)
{
        if (spec_kubelet_mounts(b, destination))
                return 0;
        return places_add(p, destination, type, source, options, NULL, err);
}

/* The map of group ids may be too small for the group "tty" (5). */
static bool maps_tty(const struct spec_builder *b)
{
        struct cringle_id_map uids, gids = { 0 };

        return spec_id_maps(b->in->pod, &uids, &gids, NULL) <= 0 || gids.length > 5;
}

static int add_system(struct spec_builder *b, struct places *p, struct cringle_err *err)
{
        const struct spec_input *in = b->in;
        const char *ro = b->privileged ? "rw" : "ro";

        if (add_own(b, p, "/proc", "proc", "proc", OPTIONS("nosuid", "noexec", "nodev"), err) < 0 ||
            add_own(b, p, "/dev", "tmpfs", "tmpfs", OPTIONS("nosuid", "strictatime", "mode=755", "size=65536k"), err) <
                    0 ||
            add_own(b, p, "/dev/pts", "devpts", "devpts",
                    maps_tty(b) ? OPTIONS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5") :
                                  OPTIONS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
                    err) < 0)
                return -1;

        if (in->shm ? add_own(b, p, "/dev/shm", "bind", in->shm,
                              OPTIONS("bind", "rprivate", "nosuid", "noexec", "nodev", "rw"), err) < 0 :
                      add_own(b, p, "/dev/shm", "tmpfs", "shm",
                              OPTIONS("nosuid", "noexec", "nodev", "mode=1777", "size=65536k"), err) < 0)
                return -1;

        /* A user namespace may mount these only with the namespaces it owns. */
        if (in->user_ns && !in->ipc_ns ? add_own(b, p, "/dev/mqueue", "bind", "/dev/mqueue",
                                                 OPTIONS("rbind", "rprivate", "nosuid", "noexec", "nodev"), err) < 0 :
                                         add_own(b, p, "/dev/mqueue", "mqueue", "mqueue",
                                                 OPTIONS("nosuid", "noexec", "nodev"), err) < 0)
                return -1;
        if (in->user_ns && !in->net_ns ? add_own(b, p, "/sys", "bind", "/sys",
                                                 OPTIONS("rbind", "rprivate", "nosuid", "noexec", "nodev", ro), err) <
                                                 0 :
                                         add_own(b, p, "/sys", "sysfs", "sysfs",
                                                 OPTIONS("nosuid", "noexec", "nodev", ro), err) < 0)
                return -1;
        return add_own(b, p, "/sys/fs/cgroup", "cgroup", "cgroup",
                       OPTIONS("nosuid", "noexec", "nodev", "relatime", ro), err);
}

static int add_files(struct spec_builder *b, struct places *p, struct cringle_err *err)
{
        const struct {
                const char *destination, *source;
        } files[] = {
                { "/etc/hostname", b->in->hostname_file },
                { "/etc/hosts", b->in->hosts },
                { "/etc/resolv.conf", b->in->resolv_conf },
        };
        const char *ro = b->security->readonly_rootfs ? "ro" : "rw";

        for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
                if (files[i].source &&
                    add_own(b, p, files[i].destination, "bind", files[i].source,
                            OPTIONS("bind", "rprivate", "nosuid", "noexec", "nodev", ro), err) < 0)
                        return -1;
        return 0;
}

/* --- the kubelet's --- */

/*
 * What the kernel shows of itself below /proc and /sys is what confinement is
 * written to and read from: nothing else may stand there.  Single files of /proc are
 * what lxcfs replaces to show a container its own numbers.
 */
static int check_destination(const char *destination, const char *source, struct cringle_err *err)
{
        static const char *const proc_files[] = {
                "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo",
                "/proc/stat",    "/proc/swaps",     "/proc/uptime",  NULL,
        };
        static const char *const sys_dirs[] = {
                "/sys/kernel", "/sys/firmware", "/sys/devices", "/sys/module", "/sys/power", "/sys/class", NULL,
        };

        if (strcmp(destination, "/") == 0)
                return err_set(err, CRINGLE_E_INVALID, "a mount over the root of the container");
        if (spec_path_within(destination, "/proc")) {
                if (strv_has(proc_files, destination) || (strcmp(destination, "/proc") == 0 && strcmp(source, "/proc") == 0))
                        return 0;
                return err_set(err, CRINGLE_E_INVALID, "a mount over %s of what is no proc file system", destination);
        }
        if (strcmp(destination, "/sys") == 0 && strcmp(source, "/sys") != 0)
                return err_set(err, CRINGLE_E_INVALID, "a mount over /sys of what is no sysfs");
        for (size_t i = 0; sys_dirs[i]; i++)
                if (spec_path_within(destination, sys_dirs[i]) && !spec_path_within(source, "/sys"))
                        return err_set(err, CRINGLE_E_INVALID, "a mount over %s of what is not from the host's /sys",
                                       destination);
        return 0;
}

/* The word for the propagation asked for; the host's mount must be able to give it. */
static int propagation_of(struct spec_builder *b, const Cri__Mount *m, const char *source, const char **ret,
                          struct cringle_err *err)
{
        const struct spec_machine *machine = b->in->machine;
        enum spec_propagation have;

        switch (m->propagation) {
        case CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE:
                *ret = "rprivate";
                return 0;
        case CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER:
                if (machine->propagation(machine->data, source, &have, err) < 0)
                        return -1;
                if (have == SPEC_PRIVATE)
                        return err_set(err, CRINGLE_E_PRECONDITION, "%s is on a private mount of the host", source);
                *ret = "rslave";
                return 0;
        case CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL:
                if (machine->propagation(machine->data, source, &have, err) < 0)
                        return -1;
                if (have != SPEC_SHARED)
                        return err_set(err, CRINGLE_E_PRECONDITION, "%s is not on a shared mount of the host", source);
                *ret = "rshared";
                return 0;
        default:
                return err_set(err, CRINGLE_E_INVALID, "propagation %d is not known", (int) m->propagation);
        }
}

static int add_mount_options(const Cri__Mount *m, char ***options, struct cringle_err *err)
{
        static const char *const may[] = { "noexec", "nodev", "nosuid", NULL };

        for (size_t i = 0; i < m->n_mount_options; i++) {
                if (!strv_has(may, m->mount_options[i]))
                        return err_set(err, CRINGLE_E_INVALID, "mount option '%.64s' is not supported",
                                       m->mount_options[i]);
                if (!strv_has((const char *const *) *options, m->mount_options[i]) &&
                    strv_add(options, m->mount_options[i], err) < 0)
                        return -1;
        }
        return 0;
}

static int options_of(struct spec_builder *b, const Cri__Mount *m, const char *source, char ***ret,
                      struct cringle_err *err)
{
        auto_strv options = NULL;
        const char *propagation;

        if (propagation_of(b, m, source, &propagation, err) < 0 || strv_add(&options, "rbind", err) < 0 ||
            strv_add(&options, propagation, err) < 0)
                return -1;

        if (m->recursive_read_only && (!m->readonly || m->propagation != CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE))
                return err_set(err, CRINGLE_E_INVALID, "recursive_read_only needs readonly and private propagation");
        if (strv_add(&options, m->recursive_read_only ? "rro" : m->readonly ? "ro" : "rw", err) < 0 ||
            add_mount_options(m, &options, err) < 0)
                return -1;
        if (m->n_uidmappings && strv_add(&options, "ridmap", err) < 0)
                return -1;
        *ret = steal(&options);
        return 0;
}

static int add_maps(struct json_object *mount, const char *name, Cri__IDMapping **maps, size_t n,
                    struct cringle_err *err)
{
        for (size_t i = 0; i < n; i++) {
                struct cringle_id_map m = { maps[i]->container_id, maps[i]->host_id, maps[i]->length };

                if (m.length == 0 || (uint64_t) m.inside + m.length > UINT32_MAX ||
                    (uint64_t) m.outside + m.length > UINT32_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "%s is out of range", name);
                if (spec_set_id_maps(mount, name, &m, 1, err) < 0)
                        return -1;
        }
        return 0;
}

/* The container's root must let through what a mount in it passes on; the stronger wish counts. */
static int need_root_propagation(struct spec_builder *b, const Cri__Mount *m, struct cringle_err *err)
{
        const char *have = "";

        if (m->propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
                return 0;
        if (m->propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
                return json_set_string(b->linux_part, "rootfsPropagation", "rshared", err);
        if (json_get_string(b->linux_part, "rootfsPropagation", &have, err) < 0)
                return -1;
        return *have ? 0 : json_set_string(b->linux_part, "rootfsPropagation", "rslave", err);
}

bool spec_is_image_mount(const Cri__Mount *m)
{
        return m->image && !str_empty(m->image->image);
}

/* An image, as a place for the launch to put it.  Its ids are mapped, where they are, by whoever brings it. */
static int add_image(struct spec_builder *b, struct places *p, size_t nth, struct cringle_err *err)
{
        const Cri__Mount *m = b->in->container->mounts[nth];
        auto_free char *destination = NULL, *source = NULL;
        auto_strv options = strv_copy(OPTIONS("bind", "rprivate", "ro", "nosuid", "nodev"), err);

        if (!options)
                return -1;
        if (!b->in->images)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "the executor takes no images as volumes");
        if (!str_empty(m->host_path))
                return err_set(err, CRINGLE_E_INVALID, "a mount of an image and of a host_path");
        if (!m->readonly)
                return err_set(err, CRINGLE_E_INVALID, "an image can only be mounted readonly");
        if (m->propagation != CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
                return err_set(err, CRINGLE_E_INVALID, "an image cannot be mounted with propagation");
        source = str_printf(err, "%s/%zu", b->in->images, nth);
        if (!source || spec_clean_path("container_path", m->container_path, &destination, err) < 0 ||
            check_destination(destination, source, err) < 0 || add_mount_options(m, &options, err) < 0)
                return -1;
        return places_add(p, destination, "bind", source, (const char *const *) options, NULL, err);
}

static int add_requested(struct spec_builder *b, struct places *p, size_t nth, struct cringle_err *err)
{
        const Cri__Mount *m = b->in->container->mounts[nth];
        auto_free char *destination = NULL, *asked = NULL, *source = NULL;
        auto_strv options = NULL;
        struct json_object *mount;

        if (!spec_is_image_mount(m) && !str_empty(m->image_sub_path))
                return err_set(err, CRINGLE_E_INVALID, "image_sub_path without an image");
        if ((m->n_uidmappings || m->n_gidmappings) && (!b->in->user_ns || !m->n_uidmappings || !m->n_gidmappings))
                return err_set(err, CRINGLE_E_INVALID, "id maps need a user namespace, and users and groups both");
        if (spec_is_image_mount(m))
                return add_image(b, p, nth, err);

        if (spec_clean_path("container_path", m->container_path, &destination, err) < 0 ||
            spec_clean_path("host_path", m->host_path, &asked, err) < 0 ||
            b->in->machine->resolve(b->in->machine->data, asked, &source, err) < 0 ||
            check_destination(destination, source, err) < 0 || options_of(b, m, source, &options, err) < 0 ||
            need_root_propagation(b, m, err) < 0)
                return -1;
        if (places_add(p, destination, "bind", source, (const char *const *) options, &mount, err) < 0 ||
            add_maps(mount, "uidMappings", m->uidmappings, m->n_uidmappings, err) < 0 ||
            add_maps(mount, "gidMappings", m->gidmappings, m->n_gidmappings, err) < 0)
                return -1;
        return 0;
}

/* --- all --- */

static size_t depth_of(const char *path)
{
        size_t n = 0;

        for (; *path; path++)
                n += *path == '/';
        return n;
}

/* By insertion: stable, and the list is nearly sorted and short. */
static void sort(struct places *p)
{
        for (size_t i = 1; i < p->n; i++) {
                struct place one = p->list[i];
                size_t depth = depth_of(one.destination), k = i;

                for (; k > 0 && depth_of(p->list[k - 1].destination) > depth; k--)
                        p->list[k] = p->list[k - 1];
                p->list[k] = one;
        }
}

static int collect(struct spec_builder *b, struct places *p, struct cringle_err *err)
{
        struct json_object *list = json_need_array(b->spec, "mounts", err);

        if (b->in->container->n_mounts > REQUESTED_MAX)
                return err_set(err, CRINGLE_E_INVALID, "more than %d mounts", REQUESTED_MAX);
        if (!list || add_system(b, p, err) < 0 || add_files(b, p, err) < 0)
                return -1;
        for (size_t i = 0; i < b->in->container->n_mounts; i++)
                if (add_requested(b, p, i, err) < 0)
                        return err_wrap(err, "%s", b->in->container->mounts[i]->container_path);

        sort(p);
        for (size_t i = 0; i < p->n; i++)
                if (json_add(list, json_object_get(p->list[i].mount), err) < 0)
                        return -1;
        return 0;
}

int spec_add_mounts(struct spec_builder *b, struct cringle_err *err)
{
        struct places p = { 0 };
        int r = collect(b, &p, err);

        places_done(&p);
        return r;
}
