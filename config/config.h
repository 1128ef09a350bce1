#pragma once

/*
 * The configuration: one YAML file, drop-ins beside it, one struct
 *
 * config_load() reads FILE and the *.yaml files of DIR (in the order of their names), merges them
 * deeply by key (lists are replaced, unless tagged !append), checks everything
 * and fills a struct config.  With no file at all the defaults stand.  What a
 * plugin's own settings mean only the plugin knows: they stay pairs here and are
 * checked against its schema by the plugin host (agent/host).
 *
 * Errors name file:line:column and, for an unknown key, the nearest known one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/own.h"
#include "plugins/api/plugin.h"

#define CONFIG_FILE "/etc/cringle/config.yaml"
#define CONFIG_DIR "/etc/cringle/conf.d"

/* One place images may come from in a registry's stead, tried in order before it. */
struct config_mirror {
        char *url;                      /* "http://127.0.0.1:5000" or "https://mirror.example/prefix" */
        bool plain_http;                /* http:// urls are refused without it */
        bool skip_verify;
        char *ca_file;                  /* NULL: the system's */
};

struct config_registry {
        char *host;                     /* "docker.io", "registry.k8s.io:443", or "_default" */
        struct config_mirror *mirrors;
        size_t n_mirrors;
        bool plain_http;                /* for the registry itself */
        bool skip_verify;
        char *ca_file;
        char *username, *password;      /* used when the kubelet brings none; NULL: none */
};

/* An instance of a plugin: which factory, and its settings. */
struct config_plugin {
        char *name;                     /* the factory */
        struct cringle_pair *settings;  /* ended by a NULL key; owned */
};

/* A native hook plugin that is switched on. */
struct config_hook_plugin {
        struct config_plugin plugin;
        bool fail;                      /* its refusal or failure fails the operation */
        int64_t timeout;                /* nanoseconds */
        char *isolation;                /* "agent", "process": where it runs */
};

/* A hook declared in the YAML itself. */
struct config_hook {
        char *name;
        char *stage;                    /* "prestart" ... "poststop" */
        char *path;                     /* absolute */
        char **args;                    /* argv after argv[0], which is path; with places, see config/template.h */
        char **env;                     /* the same in values */
        int64_t timeout;                /* nanoseconds; 0: the default */
        bool fail;
        /* Conditions, and-ed; POSIX extended regular expressions; absent ones hold. */
        struct cringle_pair *when_annotations;  /* regex of key, regex of value */
        char **when_namespaces;
        char **when_images;
        char **when_commands;
        struct cringle_pair *when_labels;
        char **when_pods, **when_containers, **when_handlers, **when_devices;
        bool when_bind_mounts;
        char *origin;                   /* file:line, for messages */
};

/* What the failure of one NRI plugin does; without it: its refusal fails the operation, its silence does not. */
struct config_nri_plugin {
        char *name;                     /* as it registers, with its index ("10-name") or without */
        bool fail;                      /* true: nothing is created without it; false: nothing fails by it */
};

struct config {
        char *root;                     /* /var/lib/cringle: survives a reboot */
        char *state;                    /* /run/cringle: does not */
        char *socket;                   /* <state>/cringle.sock */
        char *log_level;

        struct {
                char *monitor, *hold, *pull, *stream, *oci;     /* program files; default: beside cringled's libexec */
                char *criu;                                     /* /usr/sbin/criu */
        } programs;

        struct {
                char **dirs;            /* searched for <name>.so; default: the installed directory */
        } plugins;

        struct config_plugin image;     /* image-overlay */
        struct config_plugin cgroup;    /* cgroup-systemd or cgroup-fs, as the machine is */
        struct config_plugin network;   /* network-cni */
        struct config_plugin executor;  /* executor-native */

        struct {
                char *conf_dir;         /* /etc/cni/net.d */
                char **bin_dirs;        /* /opt/cni/bin, /usr/lib/cni */
                char *cache_dir;        /* /var/lib/cni */
        } cni;                          /* handed to network-cni as settings too */

        struct {
                char *monitor_parent;   /* cgroup of the monitors; empty: the cgroup driver knows */
                char *default_parent;   /* for pods whose kubelet names none: "" */
        } cgroups;

        struct {
                int64_t max_parallel;   /* layers at once, per pull: 3 */
                int64_t progress_timeout;       /* nanoseconds without a byte: 5m */
                int64_t max_layer_size; /* bytes unpacked: 32 GiB */
                uint32_t uid, gid;      /* of the fetch half: 65534 */
                char **pinned;          /* references (exact, or with a * at the end) never to be garbage-collected */
        } images;
        struct config_registry *registries;
        size_t n_registries;

        struct {
                char **dirs;            /* hooks.d: later directories win */
                struct config_hook *yaml;
                size_t n_yaml;
                struct config_hook_plugin *plugins;
                size_t n_plugins;
                int64_t timeout;        /* nanoseconds for a hook that names none: 10s */
        } hooks;

        struct {
                char **dirs;            /* of CDI files: later directories win */
                bool pod_annotations;   /* cdi.k8s.io/... of pods are heard, too */
        } cdi;

        struct {
                bool enabled;
                char *socket;           /* where plugins connect */
                char *plugin_dir;       /* plugins to be launched: NN-name */
                char *config_dir;       /* their configurations */
                int64_t registration_timeout, request_timeout, sync_timeout;    /* nanoseconds */
                int64_t misses;         /* so many requests in a row without an answer end a plugin's connection */
                int64_t restart_delay;  /* nanoseconds until a launched plugin that ended is launched again; 0: never */
                struct config_nri_plugin *plugins;
                size_t n_plugins;
        } nri;

        struct {
                int64_t max_line;       /* bytes of a container's log record: 16384 */
                int64_t exec_limit;     /* bytes kept of each ExecSync stream: 16 MiB */
        } containers;

        struct {
                int64_t max_message;    /* bytes of one gRPC message: 16 MiB */
                int64_t max_streams;    /* per connection: 256 */
                int64_t workers;        /* threads for blocking work: 32 */
        } server;

        struct {
                char *address;          /* 127.0.0.1 */
                int64_t port;           /* 0: any */
                char *tls_cert, *tls_key;       /* PEM files; NULL: plain HTTP */
                int64_t idle_timeout;   /* nanoseconds: 4h */
                int64_t creation_timeout;       /* 30s */
                int64_t token_timeout;          /* 1m */
                uint32_t uid, gid;      /* of cringle-stream: 65534 */
        } streaming;

        struct {
                char *address;          /* 127.0.0.1 */
                int64_t port;           /* 0: not served */
        } metrics;

        char *inspect_socket;           /* NULL: not served */
        char *seccomp_profile;          /* JSON file for RuntimeDefault; NULL: the built-in one */
        bool selinux;
};

/*
 * Load @file (NULL: CONFIG_FILE, which need not exist; a named one must) and the
 * drop-ins of @dir (NULL: CONFIG_DIR when @file is NULL, else the folder "conf.d"
 * beside @file).  *ret is the caller's.
 */
int config_load(const char *file, const char *dir, struct config **ret, struct cringle_err *err);
struct config *config_free(struct config *c);

AUTO_DEFINE(config, config_free)

/*
 * Everything that is wrong, appended to @ret as lines "file:line:column: text";
 * nothing, when nothing is.  -1: a file cannot be read, or is no YAML at all.
 */
int config_check(const char *file, const char *dir, struct buf *ret, struct cringle_err *err);

/* All keys with values as YAML; with @origin each line says where its value comes from. */
int config_show(const char *file, const char *dir, bool origin, struct buf *ret, struct cringle_err *err);

/* The defaults as a commented YAML file. */
int config_defaults(struct buf *ret, struct cringle_err *err);

/* What the dotted @key means, its type and default; CRINGLE_E_NOT_FOUND names the nearest. */
int config_explain(const char *key, struct buf *ret, struct cringle_err *err);

/* docs/CONFIG.md, generated from the schema. */
int config_document(struct buf *ret, struct cringle_err *err);

/*
 * What changed from @old to @fresh: dotted keys, one per line, into @live (can be
 * applied to a running agent) and @restart (cannot).
 */
int config_diff(const struct config *old, const struct config *fresh, struct buf *live, struct buf *restart,
                struct cringle_err *err);
