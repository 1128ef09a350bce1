/*
 * A pod as CNI plugins are told of it; see describe.h.
 */

#include <string.h>

#include "agent/base/str.h"
#include "plugins/network-cni/describe.h"

#define INGRESS "kubernetes.io/ingress-bandwidth"
#define EGRESS "kubernetes.io/egress-bandwidth"

/* Bits: no limit of its own, the most that the bandwidth plugin takes. */
#define BURST UINT32_MAX

/* --- quantities --- */

#define DIGITS_MAX 18           /* with the largest suffix it fits 128 bits */

/* What stands behind the number: a power of ten or of two. */
static int parse_suffix(const char *text, int *ret_tens, int *ret_twos)
{
        static const struct {
                const char *suffix;
                int tens, twos;
        } known[] = {
                { "", 0, 0 },   { "n", -9, 0 }, { "u", -6, 0 },  { "m", -3, 0 },  { "k", 3, 0 },
                { "M", 6, 0 },  { "G", 9, 0 },  { "T", 12, 0 },  { "P", 15, 0 },  { "E", 18, 0 },
                { "Ki", 0, 10 }, { "Mi", 0, 20 }, { "Gi", 0, 30 }, { "Ti", 0, 40 }, { "Pi", 0, 50 }, { "Ei", 0, 60 },
        };
        int64_t exponent;

        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                if (strcmp(known[i].suffix, text) == 0) {
                        *ret_tens = known[i].tens;
                        *ret_twos = known[i].twos;
                        return 0;
                }

        if (*text != 'e' && *text != 'E')
                return -1;
        text += text[1] == '+' ? 2 : 1;
        if (str_int64(text, -DIGITS_MAX, DIGITS_MAX, &exponent, NULL) < 0)
                return -1;
        *ret_tens = (int) exponent;
        *ret_twos = 0;
        return 0;
}

int describe_bandwidth(const char *text, int64_t *ret, struct cringle_err *err)
{
        static const int64_t least = 1000, most = INT64_C(1000000000000000);
        unsigned __int128 value = 0, divisor = 1;
        int n = 0, tens, twos;
        bool fraction = false;
        const char *c = text;

        for (; (*c >= '0' && *c <= '9') || (*c == '.' && !fraction); c++) {
                if (*c == '.') {
                        fraction = true;
                        continue;
                }
                if (++n > DIGITS_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "'%.64s' has too many digits", text);
                value = value * 10 + (unsigned) (*c - '0');
                if (fraction)
                        divisor *= 10;
        }
        if (n == 0 || parse_suffix(c, &tens, &twos) < 0)
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is no quantity", text);

        for (; tens > 0; tens--)
                value *= 10;
        for (; tens < 0; tens++)
                divisor *= 10;
        value <<= twos;
        value = value / divisor + (value % divisor != 0);
        if (value < (unsigned __int128) least || value > (unsigned __int128) most)
                return err_set(err, CRINGLE_E_INVALID, "'%.64s' is not between 1k and 1P", text);
        *ret = (int64_t) value;
        return 0;
}

/* --- capability arguments --- */

static const char *annotation(const struct cringle_network_pod *pod, const char *key)
{
        for (const struct cringle_pair *p = pod->annotations; p && p->key; p++)
                if (strcmp(p->key, key) == 0)
                        return p->value;

        return NULL;
}

static int add_ports(struct json_object *to, const struct cringle_network_pod *pod, struct cringle_err *err)
{
        for (size_t i = 0; i < pod->n_ports; i++) {
                const struct cringle_port_mapping *m = &pod->ports[i];
                struct json_object *array, *o;

                if (m->host_port <= 0)
                        continue;
                array = json_need_array(to, "portMappings", err);
                o = json_object_new_object();
                if (!array) {
                        json_object_put(o);
                        return -1;
                }
                if (json_add(array, o, err) < 0 || json_set_int(o, "hostPort", m->host_port, err) < 0 ||
                    json_set_int(o, "containerPort", m->container_port, err) < 0 ||
                    json_set_string(o, "protocol", m->protocol, err) < 0 ||
                    (!str_empty(m->host_ip) && json_set_string(o, "hostIP", m->host_ip, err) < 0))
                        return -1;
        }
        return 0;
}

static int add_list(struct json_object *to, const char *name, const char *const *list, struct cringle_err *err)
{
        struct json_object *dns;

        if (!list || !*list)
                return 0;
        dns = json_need_object(to, "dns", err);
        return dns ? json_set_strv(dns, name, list, err) : -1;
}

static int add_direction(struct json_object *to, const struct cringle_network_pod *pod, const char *key,
                         const char *rate, const char *burst, struct cringle_err *err)
{
        const char *text = annotation(pod, key);
        struct json_object *bandwidth;
        int64_t bits;

        if (!text)
                return 0;
        if (describe_bandwidth(text, &bits, err) < 0)
                return err_wrap(err, "annotation %s", key);
        bandwidth = json_need_object(to, "bandwidth", err);
        if (!bandwidth || json_set_int(bandwidth, rate, bits, err) < 0 || json_set_int(bandwidth, burst, BURST, err) < 0)
                return -1;
        return 0;
}

static int add_annotations(struct json_object *to, const struct cringle_network_pod *pod, struct cringle_err *err)
{
        struct json_object *o;

        if (!pod->annotations || !pod->annotations->key)
                return 0;
        o = json_need_object(to, "io.kubernetes.cri.pod-annotations", err);
        if (!o)
                return -1;
        for (const struct cringle_pair *p = pod->annotations; p->key; p++)
                if (json_set_string(o, p->key, p->value, err) < 0)
                        return -1;
        return 0;
}

static int add_capabilities(struct cni_attachment *a, const struct cringle_network_pod *pod, struct cringle_err *err)
{
        a->capabilities = json_object_new_object();
        if (!a->capabilities)
                return err_oom(err);
        if (add_ports(a->capabilities, pod, err) < 0 ||
            add_list(a->capabilities, "servers", pod->dns_servers, err) < 0 ||
            add_list(a->capabilities, "searches", pod->dns_searches, err) < 0 ||
            add_list(a->capabilities, "options", pod->dns_options, err) < 0 ||
            add_direction(a->capabilities, pod, INGRESS, "ingressRate", "ingressBurst", err) < 0 ||
            add_direction(a->capabilities, pod, EGRESS, "egressRate", "egressBurst", err) < 0 ||
            (!str_empty(pod->cgroup_parent) &&
             json_set_string(a->capabilities, "cgroupPath", pod->cgroup_parent, err) < 0) ||
            add_annotations(a->capabilities, pod, err) < 0)
                return -1;
        return 0;
}

/* --- CNI_ARGS --- */

/* A separator in a value would add arguments of its choice. */
static int add_arg(struct cni_attachment *a, const char *key, const char *value, struct cringle_err *err)
{
        struct json_object *pair = json_object_new_array();

        if (!value)
                value = "";
        if (json_add(a->args, pair, err) < 0)
                return -1;
        if (strpbrk(value, ";=\n"))
                return err_set(err, CRINGLE_E_INVALID, "'%.128s' is no value for %s", value, key);
        return json_add_string(pair, key, err) < 0 ? -1 : json_add_string(pair, value, err);
}

static int add_args(struct cni_attachment *a, const struct cringle_network_pod *pod, struct cringle_err *err)
{
        a->args = json_object_new_array();
        if (!a->args)
                return err_oom(err);
        if (add_arg(a, "IgnoreUnknown", "1", err) < 0 || add_arg(a, "K8S_POD_NAMESPACE", pod->space, err) < 0 ||
            add_arg(a, "K8S_POD_NAME", pod->name, err) < 0 ||
            add_arg(a, "K8S_POD_INFRA_CONTAINER_ID", pod->id, err) < 0 ||
            add_arg(a, "K8S_POD_UID", pod->uid, err) < 0)
                return -1;
        return 0;
}

int describe_pod(const struct cringle_network_pod *pod, const struct cni_network *net, const char *ifname,
                 struct cni_attachment **ret, struct cringle_err *err)
{
        auto_of(cni_attachment) a = NULL;

        if (cni_attachment_new(net, pod->id, ifname, pod->netns, &a, err) < 0 || add_args(a, pod, err) < 0 ||
            add_capabilities(a, pod, err) < 0)
                return -1;
        *ret = steal(&a);
        return 0;
}
