/*
 * Limits: from CRI to linux.resources, and from there to what cgroup drivers take
 *
 * CRI says "unset" by 0; the specification by absence; drivers by CRINGLE_UNSET.
 * There is one way: CRI -> specification -> driver, so that what hooks change, what
 * an update asks and what was there from the start are read by the same code.
 */

#include <string.h>

#include "agent/base/str.h"
#include "agent/oci/spec.h"
#include "agent/oci/spec_private.h"

/* --- CRI to linux.resources --- */

static int set_number(struct json_object *o, const char *name, int64_t value, int64_t min, int64_t max,
                      struct cringle_err *err)
{
        if (value == 0)
                return 0;
        if (value < min || value > max)
                return err_set(err, CRINGLE_E_INVALID, "%s %jd is out of range", name, (intmax_t) value);
        return json_set_int(o, name, value, err);
}

/* "0-3,8": also keeps anything else from reaching a file of the kernel's. */
static int set_cpuset(struct json_object *o, const char *name, const char *value, struct cringle_err *err)
{
        if (str_empty(value))
                return 0;
        if (strspn(value, "0123456789,-") != strlen(value))
                return err_set(err, CRINGLE_E_INVALID, "%s '%.64s' is no list of numbers", name, value);
        return json_set_string(o, name, value, err);
}

static int set_cpu(struct json_object *resources, const Cri__LinuxContainerResources *r, struct cringle_err *err)
{
        struct json_object *cpu;

        if (!r->cpu_period && !r->cpu_quota && !r->cpu_shares && str_empty(r->cpuset_cpus) && str_empty(r->cpuset_mems))
                return 0;
        cpu = json_need_object(resources, "cpu", err);
        if (!cpu || set_number(cpu, "period", r->cpu_period, 1000, 1000000, err) < 0 ||
            set_number(cpu, "quota", r->cpu_quota, -1, INT64_MAX, err) < 0 ||
            set_number(cpu, "shares", r->cpu_shares, 1, 262144, err) < 0 ||
            set_cpuset(cpu, "cpus", r->cpuset_cpus, err) < 0 || set_cpuset(cpu, "mems", r->cpuset_mems, err) < 0)
                return -1;
        return 0;
}

/* Swap is memory and swap together; without a word about it there is none. */
static int set_memory(struct json_object *resources, const Cri__LinuxContainerResources *r, struct cringle_err *err)
{
        int64_t limit = r->memory_limit_in_bytes, swap = r->memory_swap_limit_in_bytes;
        struct json_object *memory;

        if (!limit && !swap)
                return 0;
        if (!swap)
                swap = limit;
        memory = json_need_object(resources, "memory", err);
        if (!memory || set_number(memory, "limit", limit, -1, INT64_MAX, err) < 0 ||
            set_number(memory, "swap", swap, -1, INT64_MAX, err) < 0)
                return -1;
        return 0;
}

/* "2MB": digits and a unit. */
static bool is_page_size(const char *s)
{
        size_t digits = strspn(s, "0123456789");

        return digits > 0 && digits < 10 &&
               (strcmp(s + digits, "KB") == 0 || strcmp(s + digits, "MB") == 0 || strcmp(s + digits, "GB") == 0);
}

static int set_hugepages(struct json_object *resources, const Cri__LinuxContainerResources *r, struct cringle_err *err)
{
        auto_json list = json_object_new_array();

        if (!r->n_hugepage_limits)
                return 0;
        if (!list)
                return err_oom(err);
        for (size_t i = 0; i < r->n_hugepage_limits; i++) {
                const Cri__HugepageLimit *h = r->hugepage_limits[i];
                auto_json o = json_object_new_object();

                if (!is_page_size(h->page_size))
                        return err_set(err, CRINGLE_E_INVALID, "'%.32s' is no page size", h->page_size);
                if (h->limit > INT64_MAX)
                        return err_set(err, CRINGLE_E_INVALID, "the limit of %s pages is out of range", h->page_size);
                if (!o || json_set_string(o, "pageSize", h->page_size, err) < 0 ||
                    json_set_int(o, "limit", (int64_t) h->limit, err) < 0 || json_add(list, steal(&o), err) < 0)
                        return -1;
        }
        return json_set(resources, "hugepageLimits", steal(&list), err);
}

/* Names of files of one cgroup: "memory.high". */
static int check_unified(const char *key, const char *value, struct cringle_err *err)
{
        if (strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._") != strlen(key) ||
            !strchr(key, '.') || strstr(key, "..") || key[0] == '.' || str_starts(key, "cgroup."))
                return err_set(err, CRINGLE_E_INVALID, "unified: '%.64s' is no limit's file", key);
        return spec_check_line("unified", value, err);
}

static int set_unified(struct json_object *resources, const Cri__LinuxContainerResources *r, struct cringle_err *err)
{
        struct json_object *o;

        if (!r->n_unified)
                return 0;
        o = json_need_object(resources, "unified", err);
        if (!o)
                return -1;
        for (size_t i = 0; i < r->n_unified; i++)
                if (check_unified(r->unified[i]->key, r->unified[i]->value, err) < 0 ||
                    json_set_string(o, r->unified[i]->key, r->unified[i]->value, err) < 0)
                        return -1;
        return 0;
}

static int check_swap(int64_t limit, int64_t swap, struct cringle_err *err)
{
        if (swap == CRINGLE_UNSET || swap == -1)
                return 0;
        if (limit == CRINGLE_UNSET || limit == -1)
                return err_set(err, CRINGLE_E_INVALID, "a swap limit needs a memory limit");
        if (swap < limit)
                return err_set(err, CRINGLE_E_INVALID,
                               "the limit of memory and swap (%jd) is below that of memory (%jd)", (intmax_t) swap,
                               (intmax_t) limit);
        return 0;
}

static int set_resources(struct json_object *resources, const Cri__LinuxContainerResources *r, struct cringle_err *err)
{
        if (check_swap(r->memory_limit_in_bytes ? r->memory_limit_in_bytes : CRINGLE_UNSET,
                       r->memory_swap_limit_in_bytes ? r->memory_swap_limit_in_bytes : CRINGLE_UNSET, err) < 0 ||
            set_cpu(resources, r, err) < 0 || set_memory(resources, r, err) < 0 ||
            set_hugepages(resources, r, err) < 0 || set_unified(resources, r, err) < 0)
                return -1;
        return 0;
}

int spec_add_resources(struct spec_builder *b, struct cringle_err *err)
{
        struct json_object *resources = json_need_object(b->linux_part, "resources", err);

        if (!resources)
                return -1;
        return b->resources ? set_resources(resources, b->resources, err) : 0;
}

int spec_set_resources(struct json_object *spec, const Cri__LinuxContainerResources *r, struct cringle_err *err)
{
        struct json_object *linux_part = json_need_object(spec, "linux", err);
        struct json_object *resources = linux_part ? json_need_object(linux_part, "resources", err) : NULL;

        return resources ? set_resources(resources, r, err) : -1;
}

/* --- linux.resources to a driver's limits --- */

void spec_limits_done(struct spec_limits *l)
{
        json_object_put(l->from);
        free(l->hugepages);
        free(l->unified);
        free(l->devices);
        *l = (struct spec_limits) SPEC_LIMITS_INIT;
}

/* A missing @part leaves all of its numbers unset. */
static int get_number(struct json_object *part, const char *name, int64_t *ret, struct cringle_err *err)
{
        return part ? json_get_int(part, name, ret, err) : 0;
}

static int get_cpu(struct json_object *from, struct cringle_resources *ret, struct cringle_err *err)
{
        struct json_object *cpu = NULL;

        if (json_get_object(from, "cpu", &cpu, err) < 0 || get_number(cpu, "period", &ret->cpu_period, err) < 0 ||
            get_number(cpu, "quota", &ret->cpu_quota, err) < 0 || get_number(cpu, "shares", &ret->cpu_shares, err) < 0)
                return -1;
        if (cpu && (json_get_string(cpu, "cpus", &ret->cpuset_cpus, err) < 0 ||
                    json_get_string(cpu, "mems", &ret->cpuset_mems, err) < 0))
                return -1;
        return 0;
}

static int get_memory(struct json_object *from, struct cringle_resources *ret, struct cringle_err *err)
{
        struct json_object *memory = NULL, *pids = NULL;

        if (json_get_object(from, "memory", &memory, err) < 0 ||
            get_number(memory, "limit", &ret->memory_limit, err) < 0 ||
            get_number(memory, "swap", &ret->memory_swap, err) < 0 || json_get_object(from, "pids", &pids, err) < 0 ||
            get_number(pids, "limit", &ret->pids_limit, err) < 0)
                return -1;
        return check_swap(ret->memory_limit, ret->memory_swap, err);
}

static int get_hugepages(struct json_object *from, struct spec_limits *ret, struct cringle_err *err)
{
        struct json_object *list;
        size_t n;
        int r = json_get_array(from, "hugepageLimits", &list, err);

        if (r < 1)
                return r;
        n = json_object_array_length(list);
        ret->hugepages = calloc(n + 1, sizeof *ret->hugepages);
        if (!ret->hugepages)
                return err_oom(err);
        for (size_t i = 0; i < n; i++) {
                struct json_object *o = json_object_array_get_idx(list, i);
                const char *size = "";
                int64_t bytes = 0;

                if (json_get_string(o, "pageSize", &size, err) < 0 || json_get_int(o, "limit", &bytes, err) < 0)
                        return -1;
                if (!is_page_size(size) || bytes < 0)
                        return err_set(err, CRINGLE_E_INVALID, "hugepageLimits[%zu] is out of range", i);
                ret->hugepages[i] = (struct cringle_hugepage_limit){ size, (uint64_t) bytes };
        }
        ret->resources.hugepages = ret->hugepages;
        ret->resources.n_hugepages = n;
        return 0;
}

static int get_unified(struct json_object *from, struct spec_limits *ret, struct cringle_err *err)
{
        struct json_object *o;
        size_t i = 0;
        int r = json_get_object(from, "unified", &o, err);

        if (r < 1)
                return r;
        ret->unified = calloc((size_t) json_object_object_length(o) + 1, sizeof *ret->unified);
        if (!ret->unified)
                return err_oom(err);
        json_object_object_foreach(o, key, value) {
                if (!json_object_is_type(value, json_type_string))
                        return err_set(err, CRINGLE_E_INVALID, "unified: '%s' is not a string", key);
                if (check_unified(key, json_object_get_string(value), err) < 0)
                        return -1;
                ret->unified[i++] = (struct cringle_pair){ key, json_object_get_string(value) };
        }
        ret->resources.unified = ret->unified;
        return 0;
}

static int get_device(struct json_object *o, struct cringle_device_rule *ret, struct cringle_err *err)
{
        const char *type = "a", *access = "rwm";
        bool allow = false;
        int64_t major = -1, minor = -1;

        if (json_get_bool(o, "allow", &allow, err) < 0 || json_get_string(o, "type", &type, err) < 0 ||
            json_get_int(o, "major", &major, err) < 0 || json_get_int(o, "minor", &minor, err) < 0 ||
            json_get_string(o, "access", &access, err) < 0)
                return -1;
        if (strcmp(type, "u") == 0)
                type = "c";
        if (!*access)
                access = "rwm";
        if (strlen(type) != 1 || !strchr("abc", type[0]) || strspn(access, "rwm") != strlen(access) || major < -1 ||
            major > UINT32_MAX || minor < -1 || minor > UINT32_MAX)
                return err_set(err, CRINGLE_E_INVALID, "not a device rule");
        *ret = (struct cringle_device_rule){ type[0], major, minor, access, allow };
        return 0;
}

static int get_devices(struct json_object *from, struct spec_limits *ret, struct cringle_err *err)
{
        struct json_object *list;
        size_t n;
        int r = json_get_array(from, "devices", &list, err);

        if (r < 1)
                return r;
        n = json_object_array_length(list);
        ret->devices = calloc(n + 1, sizeof *ret->devices);
        if (!ret->devices)
                return err_oom(err);
        for (size_t i = 0; i < n; i++)
                if (get_device(json_object_array_get_idx(list, i), &ret->devices[i], err) < 0)
                        return err_wrap(err, "devices[%zu]", i);
        ret->resources.devices = ret->devices;
        ret->resources.n_devices = n;
        return 0;
}

/* @ret is filled as far as this came; the caller drops it on failure. */
static int get_limits(struct json_object *from, struct spec_limits *ret, struct cringle_err *err)
{
        ret->from = json_object_get(from);
        if (get_cpu(from, &ret->resources, err) < 0 || get_memory(from, &ret->resources, err) < 0 ||
            get_hugepages(from, ret, err) < 0 || get_unified(from, ret, err) < 0 || get_devices(from, ret, err) < 0)
                return -1;
        return 0;
}

int spec_limits(struct json_object *spec, struct spec_limits *ret, struct cringle_err *err)
{
        struct json_object *linux_part = NULL, *resources = NULL;
        struct spec_limits l = SPEC_LIMITS_INIT;

        if (json_get_object(spec, "linux", &linux_part, err) < 0 ||
            (linux_part && json_get_object(linux_part, "resources", &resources, err) < 0))
                return -1;
        if (resources && get_limits(resources, &l, err) < 0) {
                spec_limits_done(&l);
                return err_wrap(err, "linux.resources");
        }
        *ret = l;
        return 0;
}

int spec_resources(const Cri__LinuxContainerResources *r, struct spec_limits *ret, struct cringle_err *err)
{
        auto_json resources = json_object_new_object();
        struct spec_limits l = SPEC_LIMITS_INIT;

        if (!resources)
                return err_oom(err);
        if (set_resources(resources, r, err) < 0)
                return -1;
        if (get_limits(resources, &l, err) < 0) {
                spec_limits_done(&l);
                return -1;
        }
        *ret = l;
        return 0;
}
