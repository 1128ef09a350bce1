#pragma once

/*
 * Networks: how a pod gets interfaces and addresses
 *
 * The host makes the pod's network namespace (with loopback up) and pins it on a
 * path; the plugin fills it and empties it.  attach() records what it did before
 * it does it, so that detach() works after any crash, also without a namespace
 * (after a reboot), any number of times.
 */

#include "plugin.h"

#define CRINGLE_NETWORK_MAJOR 1
#define CRINGLE_NETWORK_MINOR 0

struct cringle_port_mapping {
        const char *protocol;           /* "tcp", "udp", "sctp" */
        int32_t container_port;
        int32_t host_port;              /* > 0 */
        const char *host_ip;            /* may be empty */
};

struct cringle_network_pod {
        size_t size;
        const char *id;
        const char *name;
        const char *space;              /* the Kubernetes namespace */
        const char *uid;
        const char *netns;              /* path; NULL when it is gone */
        const char *cgroup_parent;
        const struct cringle_port_mapping *ports;
        size_t n_ports;
        const struct cringle_pair *annotations; /* ended by a NULL key */
        const char *const *dns_servers;         /* lists ended by NULL; may be NULL */
        const char *const *dns_searches;
        const char *const *dns_options;
};

/* Made by attach(), freed by free_result(). */
struct cringle_network_result {
        size_t size;
        char **ips;                     /* without prefix length, PodIP first; ended by NULL */
        char *interface;                /* inside the pod, "eth0" */
};

struct cringle_network_ops {
        size_t size;

        /* Can pods be attached now?  The error's text becomes NetworkReady's message. */
        int (*status)(void *self, const struct cringle_call *call, struct cringle_err *err);

        /* On failure everything already done is undone. */
        int (*attach)(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                      struct cringle_network_result *ret, struct cringle_err *err);

        int (*detach)(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                      struct cringle_err *err);

        int (*check)(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                     struct cringle_err *err);

        /* Give back what belongs to no pod in @valid (ids, ended by NULL). */
        int (*gc)(void *self, const struct cringle_call *call, const char *const *valid, struct cringle_err *err);

        /* The node's pod CIDR, as told by UpdateRuntimeConfig; may be NULL when of no use. */
        int (*set_pod_cidr)(void *self, const char *cidr, struct cringle_err *err);

        void (*free_result)(struct cringle_network_result *result);
};
