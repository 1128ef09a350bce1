#pragma once

/*
 * A Kubernetes Pod manifest, as CRI messages
 *
 * Pure: text and circumstances in, messages out; nothing is made, asked or looked
 * up.  Only the fields of the tables in manifest.c are honoured.  Any other field is
 * refused by name and position, since a field that is silently left out (a probe,
 * a security setting) is a pod that is not what its author wrote.  All complaints
 * are told at once.
 *
 *      manifest.c              YAML to the model below
 *      manifest_check.c        what must hold between fields
 *      manifest_cri.c          the model to messages, as a kubelet would
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/own.h"
#include "agent/cli/pool.h"
#include "config/tree.h"
#include "cri.pb-c.h"

/* On sandboxes made from a manifest; its value is the grace period in seconds. */
#define MANIFEST_ANNOTATION "cringle.io/manifest-grace-seconds"

/* What the pod's messages depend on beside the manifest. */
struct manifest_options {
        const char *log_dir;            /* pods' folders go below it */
        const char *volumes_dir;        /* emptyDir volumes go to volumes_dir/UID/volumes/NAME */
        const char *seccomp_dir;        /* where localhostProfile starts */
        const char *cgroup_parent;      /* "": the agent's default */
        const char *uid;                /* for a manifest that has none */
        const char *resolv_conf;        /* the node's, as text; for dnsConfig beside dnsPolicy Default */
        int64_t node_memory;            /* bytes; oom_score_adj follows from it */
};

enum manifest_restart { RESTART_ALWAYS = 0, RESTART_ON_FAILURE, RESTART_NEVER };
enum manifest_pull { PULL_DEFAULT = 0, PULL_ALWAYS, PULL_IF_NOT_PRESENT, PULL_NEVER };
enum manifest_dns { DNS_CLUSTER_FIRST = 0, DNS_CLUSTER_FIRST_HOST, DNS_DEFAULT, DNS_NONE };
enum manifest_proc { PROC_DEFAULT = 0, PROC_UNMASKED };
enum manifest_protocol { PROTOCOL_TCP = 0, PROTOCOL_UDP, PROTOCOL_SCTP };
enum manifest_seccomp { SECCOMP_UNSET = 0, SECCOMP_DEFAULT, SECCOMP_UNCONFINED, SECCOMP_LOCALHOST };
enum manifest_propagation { PROPAGATE_NONE = 0, PROPAGATE_FROM_HOST, PROPAGATE_BOTH };

/* hostPath's types, in the order of manifest.c's words. */
enum manifest_host_type {
        HOST_UNCHECKED = 0, HOST_DIRECTORY_OR_CREATE, HOST_DIRECTORY, HOST_FILE_OR_CREATE, HOST_FILE, HOST_SOCKET,
        HOST_CHAR_DEVICE, HOST_BLOCK_DEVICE,
};

enum manifest_truth { TRUTH_UNSET = 0, TRUTH_NO, TRUTH_YES };

struct manifest_number {
        bool set;
        int64_t value;
};

struct manifest_list {
        char **items;
        size_t n;
};

struct manifest_pairs {
        Cri__Pair **items;
        size_t n;
};

struct manifest_numbers {
        int64_t *items;
        size_t n;
};

/* A securityContext: of the pod, or of a container. */
struct manifest_security {
        struct manifest_number user, group;
        int non_root;                   /* enum manifest_truth, as all that follow */
        int privileged, readonly_rootfs, escalation;
        struct manifest_numbers groups;
        struct manifest_list add, drop;
        int seccomp;
        char *seccomp_file;
        int proc_mount;
        struct manifest_pairs sysctls;
};

struct manifest_env {
        const struct yaml_node *node;
        char *name, *value;
};

struct manifest_port {
        const struct yaml_node *node;
        char *name;
        struct manifest_number container, host;
        char *host_ip;
        int protocol;
};

struct manifest_mount {
        const struct yaml_node *node;
        char *name, *path;
        int readonly;
        int propagation;
};

struct manifest_container {
        const struct yaml_node *node;
        bool init;                      /* runs to its end before what follows */
        char *name, *image;
        int pull;                       /* enum manifest_pull; never PULL_DEFAULT in a parsed manifest */
        struct manifest_list command, args;
        char *working_dir;
        struct manifest_env *envs;
        size_t n_envs;
        struct manifest_port *ports;
        size_t n_ports;
        struct manifest_mount *mounts;
        size_t n_mounts;
        struct manifest_number cpu_limit, cpu_request;          /* thousandths */
        struct manifest_number memory_limit, memory_request;    /* bytes */
        struct manifest_security security;

        bool must_not_be_root;          /* the image's user must be looked at when none is set */
        Cri__ContainerConfig *config;   /* for attempt 0 */
};

struct manifest_volume {
        const struct yaml_node *node;
        char *name;
        bool is_host, is_empty;
        char *host_path;
        int host_type;
        bool memory;                    /* an emptyDir in memory */
        struct manifest_number size;    /* bytes, of one in memory */

        char *path;                     /* on the node */
        bool made;                      /* a hostPath that was not there before */
};

struct manifest {
        char *name, *space, *uid;
        struct manifest_pairs labels, annotations;
        int host_network, host_pid, host_ipc, share_pid;
        int restart;                    /* enum manifest_restart */
        struct manifest_number grace;   /* seconds; always set in a parsed manifest */
        char *hostname;
        int dns_policy;
        struct manifest_list dns_servers, dns_searches, dns_options;
        struct manifest_security security;
        struct manifest_container *containers;  /* those with `init` first */
        size_t n_containers, n_init;
        struct manifest_volume *volumes;
        size_t n_volumes;

        Cri__PodSandboxConfig *sandbox;

        struct yaml_doc *doc;
        struct pool pool;
};

/* What manifest_parse() comes to, failures aside. */
enum { MANIFEST_READ = 0, MANIFEST_REFUSED = 1 };

/*
 * Read @n bytes at @text; @file is what complaints call it.  MANIFEST_REFUSED:
 * @complaints has the lines.  -1 when it is no YAML, or memory is out.
 */
int manifest_parse(const char *text, size_t n, const char *file, const struct manifest_options *options,
                   struct manifest **ret, struct buf *complaints, struct cringle_err *err);
struct manifest *manifest_free(struct manifest *m);

AUTO_DEFINE(manifest, manifest_free)

/* Make @c's message that of its restart number @attempt (log file and name follow). */
int manifest_set_attempt(struct manifest *m, struct manifest_container *c, uint32_t attempt, struct cringle_err *err);
