/*
 * Results of ADD; see result.h.
 *
 *      up to 0.2.0     ip4 and ip6: {ip, gateway, routes}
 *      0.3.0 on        interfaces, ips: {version, address, gateway, interface}, routes
 *      1.0.0           ips without version
 *      1.1.0           interfaces with mtu, socketPath, pciID; routes with mtu, advmss,
 *                      priority, table, scope
 */

#include <arpa/inet.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "agent/base/str.h"
#include "cni/result.h"

#define ITEMS_MAX 4096

/* --- checks --- */

/* AF_INET or AF_INET6 of "address/prefix", or -1. */
static int check_cidr(const char *text, struct cringle_err *err)
{
        const char *slash = strchr(text, '/');
        size_t n = slash ? (size_t) (slash - text) : 0;
        char address[INET6_ADDRSTRLEN] = "";
        unsigned char bytes[16];
        int64_t prefix;
        int family;

        if (n > 0 && n < sizeof address) {
                memcpy(address, text, n);
                family = strchr(address, ':') ? AF_INET6 : AF_INET;
                if (inet_pton(family, address, bytes) == 1 &&
                    str_int64(slash + 1, 0, family == AF_INET ? 32 : 128, &prefix, NULL) == 0)
                        return family;
        }
        return err_set(err, CRINGLE_E_INVALID, "'%.64s' is no address with a prefix length", text);
}

static int check_optional_address(struct json_object *o, const char *name, struct cringle_err *err)
{
        const char *text = "";
        unsigned char bytes[16];

        if (json_get_string(o, name, &text, err) < 0)
                return -1;
        if (*text && inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, bytes) != 1)
                return err_set(err, CRINGLE_E_INVALID, "%s '%.64s' is no address", name, text);
        return 0;
}

static int check_interface(struct json_object *o, size_t n_interfaces, struct cringle_err *err)
{
        const char *text;
        int r = json_get_string(o, "name", &text, err);

        if (r == 0)
                return err_set(err, CRINGLE_E_INVALID, "no 'name'");
        if (r < 0 || json_get_string(o, "mac", &text, err) < 0 || json_get_string(o, "sandbox", &text, err) < 0)
                return -1;
        return 0;
}

static int check_ip(struct json_object *o, size_t n_interfaces, struct cringle_err *err)
{
        const char *address;
        int64_t at = 0;
        int r = json_get_string(o, "address", &address, err);

        if (r == 0)
                return err_set(err, CRINGLE_E_INVALID, "no 'address'");
        if (r < 0 || check_cidr(address, err) < 0 || check_optional_address(o, "gateway", err) < 0)
                return -1;
        r = json_get_int(o, "interface", &at, err);
        if (r == 1 && (at < 0 || (uint64_t) at >= n_interfaces))
                return err_set(err, CRINGLE_E_INVALID, "there is no interface %jd", (intmax_t) at);
        return r < 0 ? -1 : 0;
}

static int check_route(struct json_object *o, size_t n_interfaces, struct cringle_err *err)
{
        const char *dst;
        int r = json_get_string(o, "dst", &dst, err);

        if (r == 0)
                return err_set(err, CRINGLE_E_INVALID, "no 'dst'");
        return r < 0 || check_cidr(dst, err) < 0 ? -1 : check_optional_address(o, "gw", err);
}

/* Check each of member @name; how many there are, or -1. */
static ssize_t check_each(struct json_object *o, const char *name, size_t n_interfaces,
                          int (*check)(struct json_object *o, size_t n_interfaces, struct cringle_err *err),
                          struct cringle_err *err)
{
        struct json_object *array = NULL;
        size_t n;

        if (json_get_array(o, name, &array, err) < 0)
                return -1;
        n = array ? json_object_array_length(array) : 0;
        if (n > ITEMS_MAX)
                return err_set(err, CRINGLE_E_INVALID, "more than %d %s", ITEMS_MAX, name);
        for (size_t i = 0; i < n; i++)
                if (check(json_object_array_get_idx(array, i), n_interfaces, err) < 0)
                        return err_wrap(err, "%s[%zu]", name, i);
        return (ssize_t) n;
}

static int check_result(struct json_object *o, struct cringle_err *err)
{
        struct json_object *dns;
        ssize_t n = check_each(o, "interfaces", 0, check_interface, err);

        if (n < 0 || check_each(o, "ips", (size_t) n, check_ip, err) < 0 ||
            check_each(o, "routes", 0, check_route, err) < 0 || json_get_object(o, "dns", &dns, err) < 0)
                return -1;
        return 0;
}

/* --- up --- */

/* ip4 or ip6 of the old form becomes an element of ips, its routes join the others. */
static int lift_family(struct json_object *from, struct json_object *to, const char *name, struct cringle_err *err)
{
        struct json_object *old = NULL, *routes = NULL, *ips, *all, *ip;
        const char *address, *gateway = "";
        int r = json_get_object(from, name, &old, err);

        if (r < 1)
                return r;
        if (json_get_string(old, "gateway", &gateway, err) < 0 || json_get_array(old, "routes", &routes, err) < 0)
                return err_wrap(err, "%s", name);
        r = json_get_string(old, "ip", &address, err);
        if (r < 1)
                return r < 0 ? err_wrap(err, "%s", name) : err_set(err, CRINGLE_E_INVALID, "%s: no 'ip'", name);

        ips = json_need_array(to, "ips", err);
        all = json_need_array(to, "routes", err);
        ip = json_object_new_object();
        if (!ips || !all || json_add(ips, ip, err) < 0 || json_set_string(ip, "address", address, err) < 0)
                return -1;
        if (*gateway && json_set_string(ip, "gateway", gateway, err) < 0)
                return -1;
        for (size_t i = 0; routes && i < json_object_array_length(routes); i++)
                if (json_add(all, json_object_get(json_object_array_get_idx(routes, i)), err) < 0)
                        return -1;
        return 0;
}

static int lift_old(struct json_object *from, struct json_object **ret, struct cringle_err *err)
{
        auto_json to = json_object_new_object();
        struct json_object *dns = NULL;

        if (!to)
                return err_oom(err);
        if (lift_family(from, to, "ip4", err) < 0 || lift_family(from, to, "ip6", err) < 0 ||
            json_get_object(from, "dns", &dns, err) < 0 ||
            (dns && json_set(to, "dns", json_object_get(dns), err) < 0))
                return -1;
        *ret = steal(&to);
        return 0;
}

static int copy(struct json_object *o, struct json_object **ret, struct cringle_err *err)
{
        *ret = NULL;
        return json_object_deep_copy(o, ret, NULL) < 0 ? err_oom(err) : 0;
}

/* Delete @names (ended by NULL) from each object in member @list. */
static void strip(struct json_object *o, const char *list, const char *const *names)
{
        struct json_object *array = NULL;

        json_get_array(o, list, &array, NULL);
        for (size_t i = 0; array && i < json_object_array_length(array); i++)
                for (const char *const *name = names; *name; name++)
                        json_object_object_del(json_object_array_get_idx(array, i), *name);
}

int cni_result_take(struct json_object *answer, int version, struct json_object **ret, struct cringle_err *err)
{
        auto_json result = NULL;
        const char *text = "";
        int r;

        if (json_get_string(answer, "cniVersion", &text, err) < 0)
                return -1;
        if (*text) {
                version = cni_version_of(text);
                if (version < 0)
                        return err_set(err, CRINGLE_E_INVALID, "it is of CNI version '%.32s', which is unknown", text);
        }

        if (version < CNI_0_3_0) {
                auto_json lifted = NULL;

                r = lift_old(answer, &lifted, err) < 0 ? -1 : copy(lifted, &result, err);
        } else {
                r = copy(answer, &result, err);
        }
        if (r < 0 || check_result(result, err) < 0)
                return -1;
        strip(result, "ips", (const char *const[]) { "version", NULL });
        if (json_set_string(result, "cniVersion", cni_version_text(CNI_1_1_0), err) < 0)
                return -1;
        *ret = steal(&result);
        return 0;
}

/* --- down --- */

static int family_of(struct json_object *o, const char *member)
{
        struct json_object *m;

        json_object_object_get_ex(o, member, &m);
        return strchr(json_object_get_string(m), ':') ? AF_INET6 : AF_INET;
}

static int add_version(struct json_object *result, struct cringle_err *err)
{
        struct json_object *ips = NULL;

        json_get_array(result, "ips", &ips, NULL);
        for (size_t i = 0; ips && i < json_object_array_length(ips); i++) {
                struct json_object *ip = json_object_array_get_idx(ips, i);

                if (json_set_string(ip, "version", family_of(ip, "address") == AF_INET ? "4" : "6", err) < 0)
                        return -1;
        }
        return 0;
}

/* The first address of @family and the routes of that family, as the old form has them. */
static int lower_family(struct json_object *from, struct json_object *to, int family, struct cringle_err *err)
{
        struct json_object *ips = NULL, *routes = NULL, *old = NULL, *array;
        const char *address, *gateway = "";

        json_get_array(from, "ips", &ips, NULL);
        json_get_array(from, "routes", &routes, NULL);
        for (size_t i = 0; !old && ips && i < json_object_array_length(ips); i++) {
                struct json_object *ip = json_object_array_get_idx(ips, i);

                if (family_of(ip, "address") != family)
                        continue;
                old = json_need_object(to, family == AF_INET ? "ip4" : "ip6", err);
                json_get_string(ip, "address", &address, NULL);
                json_get_string(ip, "gateway", &gateway, NULL);
                if (!old || json_set_string(old, "ip", address, err) < 0 ||
                    (*gateway && json_set_string(old, "gateway", gateway, err) < 0))
                        return -1;
        }
        for (size_t i = 0; old && routes && i < json_object_array_length(routes); i++) {
                struct json_object *route = json_object_array_get_idx(routes, i);

                if (family_of(route, "dst") != family)
                        continue;
                array = json_need_array(old, "routes", err);
                if (!array || json_add(array, json_object_get(route), err) < 0)
                        return -1;
        }
        return 0;
}

static int lower_old(struct json_object *from, struct json_object **ret, struct cringle_err *err)
{
        auto_json to = json_object_new_object();
        struct json_object *dns = NULL;

        if (!to)
                return err_oom(err);
        json_get_object(from, "dns", &dns, NULL);
        if (lower_family(from, to, AF_INET, err) < 0 || lower_family(from, to, AF_INET6, err) < 0 ||
            (dns && json_set(to, "dns", json_object_get(dns), err) < 0))
                return -1;
        *ret = steal(&to);
        return 0;
}

int cni_result_give(struct json_object *result, int version, struct json_object **ret, struct cringle_err *err)
{
        auto_json own = NULL, *old = NULL;

        if (copy(result, &own, err) < 0)
                return -1;
        if (version < CNI_1_1_0) {
                strip(own, "interfaces", (const char *const[]) { "mtu", "socketPath", "pciID", NULL });
                strip(own, "routes", (const char *const[]) { "mtu", "advmss", "priority", "table", "scope", NULL });
        }
        if (version < CNI_1_0_0 && add_version(own, err) < 0)
                return -1;
        if (version < CNI_0_3_0) {
                if (lower_old(own, &old, err) < 0)
                        return -1;
                json_object_put(own);
                own = steal(&old);
        }
        if (json_set_string(own, "cniVersion", cni_version_text(version), err) < 0)
                return -1;
        *ret = steal(&own);
        return 0;
}

/* --- addresses --- */

/* Plugins may write the same namespace another way than they were told it. */
static bool same_namespace(const char *a, const char *b)
{
        struct stat sa, sb;

        if (strcmp(a, b) == 0)
                return true;
        return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* The index of the pod's interface; -1 with *ret untouched: none is inside. */
static int find_interface(struct json_object *interfaces, const char *ifname, const char *netns, ssize_t *ret,
                          struct cringle_err *err)
{
        for (size_t i = 0; interfaces && i < json_object_array_length(interfaces); i++) {
                struct json_object *o = json_object_array_get_idx(interfaces, i);
                const char *name = "", *sandbox = "";

                json_get_string(o, "name", &name, NULL);
                json_get_string(o, "sandbox", &sandbox, NULL);
                if (!*sandbox)
                        continue;
                if (sandbox[0] == '/' && !same_namespace(sandbox, netns))
                        return err_set(err, CRINGLE_E_INVALID,
                                       "the result puts %.32s into '%.128s', which is not the pod's network namespace",
                                       name, sandbox);
                if (*ret < 0 || strcmp(name, ifname) == 0)
                        *ret = (ssize_t) i;
                if (strcmp(name, ifname) == 0)
                        ifname = "";    /* the first of that name */
        }
        return 0;
}

static int add_addresses(struct json_object *ips, ssize_t interface, int family, char ***list, struct cringle_err *err)
{
        for (size_t i = 0; ips && i < json_object_array_length(ips); i++) {
                struct json_object *ip = json_object_array_get_idx(ips, i);
                auto_free char *bare = NULL;
                const char *address;
                int64_t at = -1;

                json_get_string(ip, "address", &address, NULL);
                json_get_int(ip, "interface", &at, NULL);
                if (family_of(ip, "address") != family || (at >= 0 && at != interface))
                        continue;
                bare = strndup(address, strcspn(address, "/"));
                if (!bare)
                        return err_oom(err);
                if (strv_add(list, bare, err) < 0)
                        return -1;
        }
        return 0;
}

int cni_result_addresses(struct json_object *result, const char *ifname, const char *netns, char ***ret,
                         struct cringle_err *err)
{
        struct json_object *interfaces = NULL, *ips = NULL;
        ssize_t interface = -1;
        auto_strv list = NULL;

        if (json_get_array(result, "interfaces", &interfaces, err) < 0 || json_get_array(result, "ips", &ips, err) < 0)
                return -1;
        if (find_interface(interfaces, ifname, netns, &interface, err) < 0 ||
            add_addresses(ips, interface, AF_INET, &list, err) < 0 ||
            add_addresses(ips, interface, AF_INET6, &list, err) < 0)
                return -1;
        if (!list)
                return err_set(err, CRINGLE_E_INVALID, "the result has no address for %s", ifname);
        *ret = steal(&list);
        return 0;
}
