/*
 * The files a pod's containers share: resolv.conf, hosts, hostname
 *
 * Every value comes from outside and ends up in a line of a file, so none may bring
 * a line of its own.  Containers may write to them; what bounds that is where they are (sandbox_run.c).  A
 * termination message is a file of the kubelet's, which mounts it and reads so much of it.
 */

#include <string.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/guard.h"
#include "agent/base/label.h"
#include "agent/base/str.h"
#include "agent/pod/model.h"

#define NODE_RESOLV_CONF "/etc/resolv.conf"
#define FILE_MAX (1 << 20)      /* of the node's files; a pod's are not larger when they come from there */

char *pod_file(const struct pod *pod, const char *name, struct cringle_err *err)
{
        return str_printf(err, "%s/files%s%s", pod->run_dir, *name ? "/" : "", name);
}

static int check_word(const char *what, const char *value, struct cringle_err *err)
{
        for (const unsigned char *p = (const unsigned char *) value; *p; p++)
                if (GUARD(single_words) && (*p <= ' ' || *p == 0x7f))
                        return err_set(err, CRINGLE_E_INVALID, "%s '%.64s' has a space or control character", what, value);

        return *value ? 0 : err_set(err, CRINGLE_E_INVALID, "empty %s", what);
}

/* "word a b c\n", unless the list is empty. */
static int add_line(struct buf *b, const char *word, char **values, size_t n, struct cringle_err *err)
{
        if (n == 0)
                return 0;
        if (buf_add_str(b, word, err) < 0)
                return -1;
        for (size_t i = 0; i < n; i++)
                if (check_word(word, values[i], err) < 0 || buf_printf(b, err, " %s", values[i]) < 0)
                        return -1;
        return buf_add_str(b, "\n", err);
}

static int make_resolv_conf(const Cri__DNSConfig *dns, struct buf *b, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (!dns || (dns->n_servers == 0 && dns->n_searches == 0 && dns->n_options == 0)) {
                if (file_read(NODE_RESOLV_CONF, FILE_MAX, b, &why) < 0)
                        buf_clear(b);           /* a node without one: its pods have none either */
                return 0;
        }

        if (add_line(b, "search", dns->searches, dns->n_searches, err) < 0)
                return -1;
        for (size_t i = 0; i < dns->n_servers; i++)
                if (add_line(b, "nameserver", &dns->servers[i], 1, err) < 0)
                        return -1;
        return add_line(b, "options", dns->options, dns->n_options, err);
}

static int make_hosts(const struct pod *pod, struct buf *b, struct cringle_err *err)
{
        const Cri__PodSandboxNetworkStatus *network = pod->status->network;
        const char *name = pod->request->config->hostname;

        if (pod_on_host_network(pod))
                return file_read("/etc/hosts", FILE_MAX, b, NULL) < 0 ? buf_add_str(b, "127.0.0.1\tlocalhost\n", err) : 0;

        if (buf_add_str(b,
                        "127.0.0.1\tlocalhost\n"
                        "::1\tlocalhost ip6-localhost ip6-loopback\n"
                        "fe00::0\tip6-localnet\n"
                        "ff00::0\tip6-mcastprefix\n"
                        "ff02::1\tip6-allnodes\n"
                        "ff02::2\tip6-allrouters\n",
                        err) < 0)
                return -1;
        if (network && !str_empty(network->ip) && !str_empty(name))
                return buf_printf(b, err, "%s\t%s\n", network->ip, name);
        return 0;
}

/* They belong to the root of the pod: containers may write them. */
static int put(const struct pod *pod, const char *name, const struct buf *b, struct cringle_err *err)
{
        auto_free char *path = pod_file(pod, name, err), *label = NULL;
        struct cringle_id_map uids = { 0 }, gids = { 0 };

        if (!path || file_replace(path, b->data ? b->data : "", b->len, 0644, false, err) < 0 ||
            spec_id_maps(pod->request->config, &uids, &gids, err) < 0 || pod_labels(pod, NULL, &label, err) < 0 ||
            (label && label_file(path, label, err) < 0))
                return -1;
        if (lchown(path, uids.outside, gids.outside) < 0)
                return err_sys(err, "change owner of %s", path);
        return 0;
}

int pod_write_files(const struct pod *pod, struct cringle_err *err)
{
        const Cri__PodSandboxConfig *config = pod->request->config;
        auto_buf resolv_conf = BUF_INIT, hosts = BUF_INIT, hostname = BUF_INIT;

        if (!str_empty(config->hostname) && check_word("hostname", config->hostname, err) < 0)
                return -1;
        if (make_resolv_conf(config->dns_config, &resolv_conf, err) < 0 || make_hosts(pod, &hosts, err) < 0)
                return -1;
        if (pod_on_host_network(pod)) {
                if (file_read("/proc/sys/kernel/hostname", 256, &hostname, err) < 0)
                        return -1;
        } else if (!str_empty(config->hostname) && buf_printf(&hostname, err, "%s\n", config->hostname) < 0) {
                return -1;
        }

        if (put(pod, "resolv.conf", &resolv_conf, err) < 0 || put(pod, "hosts", &hosts, err) < 0 ||
            put(pod, "hostname", &hostname, err) < 0)
                return -1;
        return 0;
}
