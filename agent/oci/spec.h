#pragma once

/*
 * From what the kubelet asked to an OCI runtime specification (1.3)
 *
 * spec_build() is a pure function of its input: what must be known of the machine
 * (where a link leads, which device nodes there are, a profile's text) it asks
 * through struct spec_machine, so tests bring a machine of their own and compare
 * text.  The specification is kept as a json-c tree: hooks edit it, config.json is
 * that tree written out, and the launch plan is compiled from it.
 *
 * Strings in the tree are bytes: an environment value need not be UTF-8.
 *
 * The image is heard for arguments, environment, user and directory only; nothing
 * in it, and no annotation, changes how a container is confined.
 */

#include <stdbool.h>
#include <stdint.h>

#include "cri.pb-c.h"

#include "agent/base/json.h"
#include "agent/oci/image_config.h"
#include "agent/oci/users.h"
#include "plugins/api/cgroup.h"
#include "plugins/api/executor.h"

/* A device node of the host. */
struct spec_device {
        char *path;                     /* on the host; owned */
        char type;                      /* 'c', 'b', 'p' */
        uint32_t major, minor;
        uint32_t mode;                  /* permission bits */
        uint32_t uid, gid;
};

/* How a host directory's mount passes events on. */
enum spec_propagation { SPEC_PRIVATE = 0, SPEC_SLAVE = 1, SPEC_SHARED = 2 };

/*
 * What the builder asks of the machine.  All return 0 or -1 with @err; results are
 * the caller's.
 */
struct spec_machine {
        void *data;

        /* @path without symbolic links; CRINGLE_E_NOT_FOUND when it is not there. */
        int (*resolve)(void *data, const char *path, char **ret, struct cringle_err *err);

        /* How the mount that holds @path (resolved) propagates. */
        int (*propagation)(void *data, const char *path, enum spec_propagation *ret, struct cringle_err *err);

        /* The device node @path, or all below it when it is a directory, sorted by path; malloced array. */
        int (*devices)(void *data, const char *path, struct spec_device **ret, size_t *ret_n,
                       struct cringle_err *err);

        /* The text of a seccomp profile: a regular file, no link, at most 1 MiB. */
        int (*profile)(void *data, const char *path, struct buf *ret, struct cringle_err *err);

        /* 0 when the AppArmor profile @name is loaded. */
        int (*apparmor)(void *data, const char *name, struct cringle_err *err);

        /* 0 when the SELinux policy knows @label. */
        int (*selinux)(void *data, const char *label, struct cringle_err *err);
};

/* This machine. */
extern const struct spec_machine spec_this_machine;

/* All borrowed for the call. */
struct spec_input {
        const Cri__PodSandboxConfig *pod;
        const Cri__ContainerConfig *container;
        const struct image_config *image;
        const struct oci_user *user;    /* spec_user_string() looked up in the image */
        const struct spec_machine *machine;

        const char *pod_id;
        const char *container_id;
        const char *hostname;           /* the pod's effective one: the node's when it shares the host's network */

        /* Host files that become mounts; NULL: no such mount.  shm NULL: a tmpfs of its own. */
        const char *resolv_conf, *hosts, *hostname_file, *shm;

        /*
         * An image that the container's nth mount asks for stands in the specification as a bind of
         * <images>/<n>; whoever launches brings it.  NULL: there are none.
         */
        const char *images;

        /* Pins to join; NULL: the host's namespace. */
        const char *net_ns, *ipc_ns, *uts_ns, *user_ns;

        /* For a shared PID namespace (pod or target); NULL: a "pid" entry without path. */
        const char *pid_ns;

        const char *cgroups_path;       /* linux.cgroupsPath; NULL: none */
        int cgroup_layout;              /* enum cringle_cgroup_layout */

        const char *seccomp_default;    /* profile file for RuntimeDefault; NULL: the built-in one */
        const char *apparmor_default;   /* loaded profile for RuntimeDefault; NULL: none */
        bool has_seccomp;               /* the kernel filters system calls */
        bool has_apparmor, has_selinux; /* the kernel enforces these */
        const char *selinux_level;      /* the pod's own; NULL: "s0" */

        uint64_t caps;                  /* the agent's bounding set: what it can hand on */
        bool may_lower_oom;             /* oom_score_adj below our own can be written */
        int64_t oom_score_adj;          /* our own */

        /* Keys of pod and container annotations that may go into the spec; a '*' at the end matches any rest.
         * NULL: none. */
        const char *const *annotations;
};

#define SPEC_INPUT_INIT                                                                         \
        { .machine = &spec_this_machine, .has_seccomp = true, .may_lower_oom = true,            \
          .cgroup_layout = CRINGLE_CGROUP_V2 }

/* Fill what this process can find out: has_*, caps, may_lower_oom, oom_score_adj. */
int spec_input_probe(struct spec_input *in, struct cringle_err *err);

/*
 * The specification, root.path being "rootfs".  *ret is the caller's.
 * *ret_warnings (may be NULL): what was asked and is granted only in part, for the
 * log; a list of the caller's, NULL when there is nothing to say.
 *
 * CRINGLE_E_INVALID: a request that cannot be honoured safely; CRINGLE_E_NOT_FOUND:
 * a host path, device or profile is missing; CRINGLE_E_UNIMPLEMENTED: an image as a mount, without `images`.
 */
int spec_build(const struct spec_input *in, struct json_object **ret, char ***ret_warnings, struct cringle_err *err);

/*
 * The "user[:group]" string to look up in the image, from the request or else the
 * image.  *ret is the caller's.  CRINGLE_E_INVALID for a group without user, and for
 * ids out of range.
 */
int spec_user_string(const Cri__ContainerConfig *container, const struct image_config *image, char **ret,
                     struct cringle_err *err);

/* Whether a mount is of an image, not of something of the host's. */
bool spec_is_image_mount(const Cri__Mount *m);

/*
 * The pod's user namespace: 1 with its two maps, 0 when it has none.
 * CRINGLE_E_INVALID: a mode other than POD and NODE, or not exactly one map each
 * that starts at 0 inside.
 */
int spec_id_maps(const Cri__PodSandboxConfig *pod, struct cringle_id_map *ret_uids, struct cringle_id_map *ret_gids,
                 struct cringle_err *err);

/* Who process.user of @spec is: for the container's status.  *ret is the caller's; home is "/". */
int spec_user(struct json_object *spec, struct oci_user **ret, struct cringle_err *err);

/*
 * Refuse sysctls that are not the pod's own: not namespaced, of a namespace that
 * is shared with the host, or spelled to mean something else.  CRINGLE_E_INVALID.
 */
int spec_check_sysctls(const Cri__PodSandboxConfig *pod, struct cringle_err *err);

/* The signal that asks the container to end: CRI's, else the image's, else SIGTERM.  CRINGLE_E_INVALID: no signal. */
int spec_stop_signal(const Cri__ContainerConfig *container, const struct image_config *image, int *ret,
                     struct cringle_err *err);

/* Limits in the form cgroup drivers take them. */
struct spec_limits {
        struct cringle_resources resources;     /* points into what follows */
        struct json_object *from;               /* holds the strings; referenced */
        struct cringle_hugepage_limit *hugepages;
        struct cringle_pair *unified;
        struct cringle_device_rule *devices;
};

#define SPEC_LIMITS_INIT { .resources = CRINGLE_RESOURCES_INIT }

void spec_limits_done(struct spec_limits *l);

static inline void auto_spec_limits_done_(struct spec_limits *l)
{
        spec_limits_done(l);
}

#define auto_spec_limits auto_cleanup(auto_spec_limits_done_) struct spec_limits

/*
 * linux.resources of @spec, devices included: what hooks made of it.  @ret is the
 * caller's (spec_limits_done); it keeps the tree alive, which must not change meanwhile.
 */
int spec_limits(struct json_object *spec, struct spec_limits *ret, struct cringle_err *err);

/*
 * What UpdateContainerResources asks: the same without devices.  @ret keeps nothing
 * of @resources.  CRINGLE_E_INVALID: out of range, or swap below memory.
 */
int spec_resources(const Cri__LinuxContainerResources *resources, struct spec_limits *ret, struct cringle_err *err);

/* Write the limits of @resources over those in @spec, after an update has been applied. */
int spec_set_resources(struct json_object *spec, const Cri__LinuxContainerResources *resources,
                       struct cringle_err *err);
