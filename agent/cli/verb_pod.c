/*
 * cringle pod run FILE | rm POD | list
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/id.h"
#include "agent/base/str.h"
#include "agent/cli/pod.h"
#include "agent/cli/volumes.h"

static const char usage[] =
        "pod run FILE [--detach] [--cgroup-parent PATH] [--log-dir DIR] | rm POD... | list";

/* A fresh uid in the usual form; the caller's. */
static char *make_uid(struct cringle_err *err)
{
        char id[ID_LEN + 1];

        id_make(id);
        return str_printf(err, "%.8s-%.4s-%.4s-%.4s-%.12s", id, id + 8, id + 12, id + 16, id + 20);
}

int pod_read_manifest(struct cli *c, const char *file, struct manifest_options options, struct manifest **ret,
                      struct cringle_err *err)
{
        const struct config *config = cli_config(c, err);
        auto_free char *dir = config ? volumes_dir(config->root, err) : NULL;
        auto_free char *uid = make_uid(err);
        auto_buf text = BUF_INIT, resolv_conf = BUF_INIT, complaints = BUF_INIT;
        int result;

        if (!dir || !uid)
                return -1;
        if (strcmp(file, "-") == 0 ? file_read_fd(STDIN_FILENO, YAML_SIZE_MAX, &text, err) < 0
                                   : file_read(file, YAML_SIZE_MAX, &text, err) < 0)
                return -1;
        if (file_exists("/etc/resolv.conf") && file_read("/etc/resolv.conf", 64 * 1024, &resolv_conf, err) < 0)
                return -1;

        options.volumes_dir = dir;
        options.uid = uid;
        options.seccomp_dir = "/var/lib/kubelet/seccomp";
        options.resolv_conf = resolv_conf.data;
        options.node_memory = (int64_t) sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
        result = manifest_parse(text.len ? text.data : "", text.len, file, &options, ret, &complaints, err);
        if (result == MANIFEST_REFUSED)
                fputs(complaints.data, stderr);
        return result == MANIFEST_READ ? 0 : result < 0 ? -1 : 1;
}

static int run(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        static const struct option words[] = {
                { "detach", no_argument, NULL, 'd' },
                { "cgroup-parent", required_argument, NULL, 'p' },
                { "log-dir", required_argument, NULL, 'l' },
                { 0 },
        };
        struct manifest_options options = { .log_dir = "/var/log/pods" };
        auto_of(manifest) m = NULL;
        bool detach = false;
        int option, result;

        optind = 0;     /* getopt(3): scan a new argv from its start */
        while ((option = getopt_long(argc, argv, "d", words, NULL)) != -1) {
                if (option == 'd')
                        detach = true;
                else if (option == 'p')
                        options.cgroup_parent = optarg;
                else if (option == 'l')
                        options.log_dir = optarg;
                else
                        return cli_usage(usage);
        }
        if (optind != argc - 1)
                return cli_usage(usage);
        if (options.log_dir[0] != '/')
                return err_set(err, CRINGLE_E_INVALID, "--log-dir: want an absolute path");
        result = pod_read_manifest(c, argv[optind], options, &m, err);
        return result ? result : pod_run(c, m, detach, err);
}

/* The grace period that `run` noted on the sandbox; NULL: it is not ours. */
static const char *grace_of(const Cri__PodSandbox *pod)
{
        for (size_t i = 0; i < pod->n_annotations; i++)
                if (strcmp(pod->annotations[i]->key, MANIFEST_ANNOTATION) == 0)
                        return pod->annotations[i]->value;

        return NULL;
}

/* The folder of a pod's logs, from that of one of its containers' ("<folder>/NAME/0.log"); NULL: not known. */
static int find_log_dir(struct cli *c, const Cri__PodSandbox *pod, char **ret, struct cringle_err *err)
{
        auto_reply(Cri__ListContainersResponse) list = NULL;
        auto_reply(Cri__ContainerStatusResponse) status = NULL;
        auto_free char *folder = str_printf(err, "/%s_%s_%s/", pod->metadata->namespace_, pod->metadata->name,
                                            pod->metadata->uid);
        const char *at;

        if (!folder || cli_list_containers(c, pod->id, &list, err) < 0)
                return -1;
        if (!list->n_containers)
                return 0;
        if (pod_container_status(c, list->containers[0]->id, &status, err) < 0)
                return -1;
        at = strstr(status->status->log_path, folder);
        if (!at || status->status->log_path[0] != '/')
                return 0;
        *ret = str_printf(err, "%.*s", (int) ((size_t) (at - status->status->log_path) + strlen(folder) - 1),
                          status->status->log_path);
        return *ret ? 0 : -1;
}

static int drop(struct cli *c, const char *name, struct cringle_err *err)
{
        auto_reply(Cri__ListPodSandboxResponse) pods = NULL;
        auto_free char *log_dir = NULL;
        const Cri__PodSandbox *pod;
        const char *text;
        int64_t grace;

        if (cli_list_pods(c, &pods, err) < 0 || cli_find_pod(pods, name, &pod, err) < 0)
                return -1;
        text = grace_of(pod);
        if (!text || !pod->metadata || !str_is_id(pod->metadata->uid, 64))
                return err_set(err, CRINGLE_E_PRECONDITION, "pod '%s' was not made by cringle pod run", name);
        if (str_int64(text, 0, INT32_MAX, &grace, err) < 0)
                return err_wrap(err, "pod '%s': grace period", name);
        if (find_log_dir(c, pod, &log_dir, err) < 0)
                return -1;
        if (pod_remove(c, pod->id, pod->metadata->uid, log_dir, grace, err) < 0)
                return err_wrap(err, "remove pod %s", name);
        return 0;
}

static int list(struct cli *c, struct cringle_err *err)
{
        auto_reply(Cri__ListPodSandboxResponse) pods = NULL;
        auto_table table = { 0 };

        if (cli_list_pods(c, &pods, err) < 0 ||
            table_row(&table, err, ROW("NAMESPACE", "NAME", "ID", "STATE", "AGE", "FROM")) < 0)
                return -1;
        for (size_t i = 0; i < pods->n_items; i++) {
                const Cri__PodSandbox *pod = pods->items[i];
                char id[CLI_TEXT_MAX], age[CLI_TEXT_MAX];

                if (!pod->metadata)
                        continue;
                if (table_row(&table, err, ROW(pod->metadata->namespace_, pod->metadata->name, cli_short_id(pod->id, id),
                                               pod->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY ? "ready" : "not ready",
                                               cli_age(pod->created_at, age), grace_of(pod) ? "manifest" : "kubelet")) < 0)
                        return -1;
        }
        table_print(&table);
        return 0;
}

int verb_pod(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        const char *word = argc > 1 ? argv[1] : "";

        if (strcmp(word, "run") == 0)
                return run(c, argc - 1, argv + 1, err);
        if (strcmp(word, "list") == 0 && argc == 2)
                return list(c, err);
        if (strcmp(word, "rm") != 0 || argc < 3)
                return cli_usage(usage);

        for (int i = 2; i < argc; i++)
                if (drop(c, argv[i], err) < 0)
                        return -1;
        return 0;
}
