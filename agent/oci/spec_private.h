#pragma once

/*
 * What the parts of the builder share; see spec.h
 */

#include "agent/oci/spec.h"

struct spec_builder {
        const struct spec_input *in;
        const Cri__LinuxContainerSecurityContext *security;     /* never NULL */
        const Cri__LinuxContainerResources *resources;          /* may be NULL */
        bool privileged;
        uint64_t caps;                  /* what the container gets */
        struct json_object *spec, *process, *linux_part;        /* the latter two are members of the first */
        char **warnings;
};

__attribute__((format(printf, 3, 4)))
int spec_warn(struct spec_builder *b, struct cringle_err *err, const char *format, ...);

/* The parts, each in the file of its name. */
int spec_add_process(struct spec_builder *b, struct cringle_err *err);          /* capabilities first */
int spec_add_security(struct spec_builder *b, struct cringle_err *err);
int spec_add_mounts(struct spec_builder *b, struct cringle_err *err);
int spec_add_resources(struct spec_builder *b, struct cringle_err *err);
int spec_add_devices(struct spec_builder *b, struct cringle_err *err);          /* after mounts and resources */

/* True when the container's first mount on @path is one the kubelet asked for. */
bool spec_kubelet_mounts(const struct spec_builder *b, const char *path);

/* An absolute @path without empty, "." and ".." components ("/.." is "/"); *ret is the caller's. */
int spec_clean_path(const char *what, const char *path, char **ret, struct cringle_err *err);

/* Is @path @dir or below it?  Both clean. */
bool spec_path_within(const char *path, const char *dir);

/* Refuse bytes that would begin another line or field somewhere. */
int spec_check_line(const char *what, const char *text, struct cringle_err *err);

/* [{containerID, hostID, size}] as @name of @o. */
int spec_set_id_maps(struct json_object *o, const char *name, const struct cringle_id_map *maps, size_t n,
                     struct cringle_err *err);
