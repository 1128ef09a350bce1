/*
 * From files of cgroup v2 to properties of a unit; see properties.h.
 */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/err.h"
#include "agent/base/str.h"
#include "plugins/cgroup-systemd/properties.h"

#define BITS_MAX 8192                   /* of a cpuset: the most processors a kernel is built for */
#define USEC_PER_SEC UINT64_C(1000000)
#define QUOTA_STEP UINT64_C(10000)      /* systemd keeps a quota in hundredths of a processor */

void properties_done(struct properties *p)
{
        for (size_t i = 0; i < p->n; i++) {
                free(p->list[i].bytes);
                free(p->list[i].device);
        }
        for (size_t i = 0; i < p->n_allow; i++)
                free(p->allow[i].node);
        free(p->list);
        free(p->allow);
        *p = (struct properties) { 0 };
}

/* A property to fill: the one of that name and device, emptied, or a new one; NULL with @err. */
static struct property *have(struct properties *p, const char *name, char type, const char *device,
                             struct cringle_err *err)
{
        struct property *grown;

        for (size_t i = 0; i < p->n; i++)
                if (strcmp(p->list[i].name, name) == 0 && str_equal(p->list[i].device, device)) {
                        free(p->list[i].bytes);
                        p->list[i].bytes = NULL;
                        p->list[i].n_bytes = 0;
                        return &p->list[i];
                }

        grown = reallocarray(p->list, p->n + 1, sizeof *grown);
        if (!grown) {
                err_oom(err);
                return NULL;
        }
        p->list = grown;
        grown[p->n] = (struct property) { .name = name, .type = type, .device = device ? strdup(device) : NULL };
        if (device && !grown[p->n].device) {
                err_oom(err);
                return NULL;
        }
        return &grown[p->n++];
}

static int add_number(struct properties *p, const char *name, uint64_t number, struct cringle_err *err)
{
        struct property *property = have(p, name, 't', NULL, err);

        if (!property)
                return -1;
        property->number = number;
        return 0;
}

static int no_value(const char *file, const char *value, struct cringle_err *err)
{
        return err_set(err, CRINGLE_E_INVALID, "%s: '%.64s' is no value for it", file, value);
}

/* "max", or a number with the kernel's suffixes. */
static int parse_amount(const char *file, const char *value, uint64_t *ret, struct cringle_err *err)
{
        static const char suffixes[] = "KMGTPE";
        const char *suffix;
        unsigned long long number;
        char *end;

        if (strcmp(value, "max") == 0) {
                *ret = UINT64_MAX;
                return 0;
        }
        errno = 0;
        number = strtoull(value, &end, 10);
        if (!isdigit((unsigned char) value[0]) || errno)
                return no_value(file, value, err);
        suffix = *end ? strchr(suffixes, toupper((unsigned char) *end)) : NULL;
        if ((*end && !suffix) || (suffix && end[1]))
                return no_value(file, value, err);
        for (const char *s = suffixes; suffix && s <= suffix; s++)
                if (__builtin_mul_overflow(number, 1024ULL, &number))
                        return no_value(file, value, err);
        *ret = number;
        return 0;
}

/* --- one file each --- */

static int add_amount(struct properties *p, const char *name, const char *file, const char *value,
                      struct cringle_err *err)
{
        uint64_t amount;

        return parse_amount(file, value, &amount, err) < 0 ? -1 : add_number(p, name, amount, err);
}

/* One more, for the process in `hold`. */
static int add_tasks(struct properties *p, const char *name, const char *file, const char *value,
                     struct cringle_err *err)
{
        uint64_t tasks;

        if (parse_amount(file, value, &tasks, err) < 0)
                return -1;
        return add_number(p, name, tasks < UINT64_MAX ? tasks + 1 : tasks, err);
}

/* "QUOTA", "QUOTA PERIOD", "max PERIOD", in microseconds. */
static int add_quota(struct properties *p, const char *name, const char *file, const char *value,
                     struct cringle_err *err)
{
        size_t n = strcspn(value, " ");
        auto_free char *first = str_printf(err, "%.*s", (int) n, value);
        uint64_t quota, period = 100000, each;

        if (!first || parse_amount(file, first, &quota, err) < 0 ||
            (value[n] && parse_amount(file, value + n + 1, &period, err) < 0))
                return -1;
        if (period == 0 || period > USEC_PER_SEC || add_number(p, "CPUQuotaPeriodUSec", period, err) < 0)
                return no_value(file, value, err);
        if (quota == UINT64_MAX)
                return add_number(p, name, quota, err);
        if (__builtin_mul_overflow(quota, USEC_PER_SEC, &each))
                return no_value(file, value, err);
        each = (each / period + (each % period != 0) + QUOTA_STEP - 1) / QUOTA_STEP * QUOTA_STEP; /* never below the exact one */
        return add_number(p, name, each ? each : QUOTA_STEP, err);
}

/* cpu.idle is a weight to systemd, the one below all others; "0" leaves the weight that cpu.weight says. */
static int add_idle(struct properties *p, const char *name, const char *file, const char *value,
                    struct cringle_err *err)
{
        return strcmp(value, "1") == 0 ? add_number(p, name, 0, err) : 0;
}

static int refuse_nice(struct properties *p, const char *name, const char *file, const char *value,
                       struct cringle_err *err)
{
        return err_set(err, CRINGLE_E_INVALID, "%s: not with the systemd cgroup driver; use %s", file, name);
}

/* "200", "default 200", "8:0 200". */
static int add_io_weight(struct properties *p, const char *name, const char *file, const char *value,
                         struct cringle_err *err)
{
        size_t n = strcspn(value, " ");
        auto_free char *device = NULL;
        struct property *property;
        uint64_t weight;

        if (!value[n] || strncmp(value, "default ", n + 1) == 0)
                return add_amount(p, name, file, value[n] ? value + n + 1 : value, err);
        if (strspn(value, "0123456789:") != n || parse_amount(file, value + n + 1, &weight, err) < 0)
                return no_value(file, value, err);
        device = str_printf(err, "/dev/block/%.*s", (int) n, value);
        property = device ? have(p, "IODeviceWeight", 'd', device, err) : NULL;
        if (!property)
                return -1;
        property->number = weight;
        return 0;
}

/* "0-2,7" */
static int add_mask(struct properties *p, const char *name, const char *file, const char *value,
                    struct cringle_err *err)
{
        auto_free unsigned char *bytes = calloc(BITS_MAX / 8, 1);
        struct property *property;
        size_t n_bytes = 0;

        if (!bytes)
                return err_oom(err);
        for (const char *at = value; *at;) {
                unsigned long from, to;
                char *end;

                if (!isdigit((unsigned char) *at))
                        return no_value(file, value, err);
                from = to = strtoul(at, &end, 10);
                if (*end == '-') {
                        if (!isdigit((unsigned char) end[1]))
                                return no_value(file, value, err);
                        to = strtoul(end + 1, &end, 10);
                }
                if (to < from || to >= BITS_MAX || (*end && *end != ',') || (*end && !end[1]))
                        return no_value(file, value, err);
                for (unsigned long bit = from; bit <= to; bit++)
                        bytes[bit / 8] |= (unsigned char) (1 << bit % 8);
                if (to / 8 + 1 > n_bytes)
                        n_bytes = to / 8 + 1;
                at = *end ? end + 1 : end;
        }

        property = have(p, name, 'y', NULL, err);
        if (!property)
                return -1;
        property->bytes = steal(&bytes);
        property->n_bytes = n_bytes;
        return 0;
}

static const struct {
        const char *file;
        const char *name;
        int (*add)(struct properties *p, const char *name, const char *file, const char *value, struct cringle_err *err);
} known[] = {
        { "cpu.weight", "CPUWeight", add_amount },
        { "cpu.weight.nice", "cpu.weight", refuse_nice },
        { "cpu.idle", "CPUWeight", add_idle },
        { "cpu.max", "CPUQuotaPerSecUSec", add_quota },
        { "cpuset.cpus", "AllowedCPUs", add_mask },
        { "cpuset.mems", "AllowedMemoryNodes", add_mask },
        { "memory.min", "MemoryMin", add_amount },
        { "memory.low", "MemoryLow", add_amount },
        { "memory.high", "MemoryHigh", add_amount },
        { "memory.max", "MemoryMax", add_amount },
        { "memory.swap.max", "MemorySwapMax", add_amount },
        { "io.weight", "IOWeight", add_io_weight },
        { "pids.max", "TasksMax", add_tasks },
};

int properties_add(struct properties *p, const char *file, const char *value, struct cringle_err *err)
{
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                if (strcmp(known[i].file, file) == 0)
                        return known[i].add(p, known[i].name, file, value, err);

        return 0;
}

/* --- devices --- */

static char *node_of(const char *kind, const struct cringle_device_rule *r, struct cringle_err *err)
{
        if (r->major < 0)
                return str_printf(err, "%s-*", kind);
        if (r->minor < 0)
                return str_printf(err, "%s-%" PRId64, kind, r->major);
        return str_printf(err, "/dev/%s/%" PRId64 ":%" PRId64, kind, r->major, r->minor);
}

/* The one for @node, or a new one that allows nothing; NULL with @err. */
static struct device_allow *have_node(struct properties *p, char *node, struct cringle_err *err)
{
        struct device_allow *grown;

        for (size_t i = 0; i < p->n_allow; i++)
                if (strcmp(p->allow[i].node, node) == 0) {
                        free(node);
                        return &p->allow[i];
                }

        grown = reallocarray(p->allow, p->n_allow + 1, sizeof *grown);
        if (!grown) {
                free(node);
                err_oom(err);
                return NULL;
        }
        p->allow = grown;
        grown[p->n_allow] = (struct device_allow) { .node = node };
        return &grown[p->n_allow++];
}

/* Of two entries for a node systemd heeds the last alone: what rules allow is put together here. */
static int allow(struct properties *p, const char *kind, const struct cringle_device_rule *r, struct cringle_err *err)
{
        char *node = node_of(kind, r, err);
        struct device_allow *a = node ? have_node(p, node, err) : NULL;
        char former[4];
        size_t n = 0;

        if (!a)
                return -1;
        memcpy(former, a->access, sizeof former);
        for (const char *c = "rwm"; *c; c++)
                if (strchr(r->access, *c) || strchr(former, *c))
                        a->access[n++] = *c;
        return 0;
}

static bool is_all(const struct cringle_device_rule *r)
{
        return r->type == 'a' && r->major < 0 && strchr(r->access, 'r') && strchr(r->access, 'w') && strchr(r->access, 'm');
}

int properties_add_devices(struct properties *p, const struct cringle_device_rule *rules, size_t n,
                           struct cringle_err *err)
{
        p->devices = true;
        for (size_t i = 0; i < n; i++) {
                const struct cringle_device_rule *r = &rules[i];

                if (!r->allow)
                        continue;
                if (!r->access)
                        return err_set(err, CRINGLE_E_INVALID, "device rule: no access said");
                p->all_devices = p->all_devices || is_all(r);
                if (r->type != 'c' && allow(p, "block", r, err) < 0)
                        return -1;
                if (r->type != 'b' && allow(p, "char", r, err) < 0)
                        return -1;
        }
        return 0;
}
