/*
 * Limits; see limits.h.
 *
 * Some files constrain each other, so order matters: v1's memory+swap limit may
 * never be below the memory limit, not even between two writes, and a CFS quota is
 * checked against the period of that moment.  limits_apply() therefore tries what
 * the kernel refused a second time, after everything else has been written: the
 * order that works for growth and the one that works for shrinkage are both found.
 */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/err.h"
#include "agent/base/str.h"
#include "cgroup/limits.h"

void limits_done(struct limits *l)
{
        for (size_t i = 0; i < l->n; i++) {
                free(l->list[i].file);
                free(l->list[i].value);
                free(l->list[i].former);
        }
        free(l->list);
        *l = (struct limits) { 0 };
}

uint64_t limits_weight(int64_t shares)
{
        double l;

        if (shares <= 2)
                return 1;
        if (shares >= 262144)
                return 10000;
        l = log2((double) shares);
        return (uint64_t) ceil(pow(10, (l * l + 125 * l) / 612.0 - 7.0 / 34.0));
}

/* --- planning --- */

struct planning {
        const struct trees *trees;
        struct limits *limits;
        struct cringle_err *err;
};

static int add(struct planning *p, const struct tree *tree, bool optional, const char *file, const char *value)
{
        struct limits *l = p->limits;

        if (l->n == l->room) {
                struct limit *grown = reallocarray(l->list, l->room + 16, sizeof *grown);

                if (!grown)
                        return err_oom(p->err);
                l->list = grown;
                l->room += 16;
        }
        l->list[l->n] = (struct limit) {
                .tree = tree,
                .file = strdup(file),
                .value = strdup(value),
                .optional = optional,
        };
        l->n++;
        return l->list[l->n - 1].file && l->list[l->n - 1].value ? 0 : err_oom(p->err);
}

static const struct tree *need(struct planning *p, const char *controller)
{
        const struct tree *tree = trees_with(p->trees, controller);

        if (!tree)
                err_set(p->err, CRINGLE_E_PRECONDITION, "this machine offers no cgroup controller '%s'", controller);
        return tree;
}

/* A number, or @none for what is below zero. */
static int add_number(struct planning *p, const struct tree *tree, const char *file, int64_t value, const char *none)
{
        char text[32];

        if (value < 0)
                return add(p, tree, false, file, none);
        snprintf(text, sizeof text, "%" PRId64, value);
        return add(p, tree, false, file, text);
}

static int plan_shares(struct planning *p, const struct cringle_resources *r)
{
        const struct tree *cpu;

        if (r->cpu_shares == CRINGLE_UNSET)
                return 0;
        cpu = need(p, "cpu");
        if (!cpu)
                return -1;
        if (cpu->v2)
                return add_number(p, cpu, "cpu.weight", (int64_t) limits_weight(r->cpu_shares), "1");
        return add_number(p, cpu, "cpu.shares", r->cpu_shares < 2 ? 2 : r->cpu_shares, "2");
}

/* cpu.max takes "QUOTA PERIOD" or QUOTA alone, which leaves the period. */
static int plan_cpu_max(struct planning *p, const struct tree *cpu, const struct cringle_resources *r)
{
        char text[64];

        if (r->cpu_quota == CRINGLE_UNSET) {
                if (add_number(p, cpu, "cpu.max", r->cpu_period, "100000") < 0)
                        return -1;
                p->limits->list[p->limits->n - 1].period = true;
                return 0;
        }
        if (r->cpu_quota < 0)
                snprintf(text, sizeof text, "max");
        else
                snprintf(text, sizeof text, "%" PRId64, r->cpu_quota);
        if (r->cpu_period != CRINGLE_UNSET)
                snprintf(text + strlen(text), sizeof text - strlen(text), " %" PRId64, r->cpu_period);
        return add(p, cpu, false, "cpu.max", text);
}

static int plan_quota(struct planning *p, const struct cringle_resources *r)
{
        const struct tree *cpu;

        if (r->cpu_quota == CRINGLE_UNSET && r->cpu_period == CRINGLE_UNSET)
                return 0;
        cpu = need(p, "cpu");
        if (!cpu)
                return -1;
        if (cpu->v2)
                return plan_cpu_max(p, cpu, r);
        if (r->cpu_period != CRINGLE_UNSET && add_number(p, cpu, "cpu.cfs_period_us", r->cpu_period, "100000") < 0)
                return -1;
        return r->cpu_quota == CRINGLE_UNSET ? 0 : add_number(p, cpu, "cpu.cfs_quota_us", r->cpu_quota, "-1");
}

static int plan_cpuset(struct planning *p, const struct cringle_resources *r)
{
        const struct tree *cpuset;

        if (str_empty(r->cpuset_cpus) && str_empty(r->cpuset_mems))
                return 0;
        cpuset = need(p, "cpuset");
        if (!cpuset)
                return -1;
        if (!str_empty(r->cpuset_cpus) && add(p, cpuset, false, "cpuset.cpus", r->cpuset_cpus) < 0)
                return -1;
        return str_empty(r->cpuset_mems) ? 0 : add(p, cpuset, false, "cpuset.mems", r->cpuset_mems);
}

/* Without swap accounting the swap files are not there: then there is nothing to limit. */
static int plan_memory_v1(struct planning *p, const struct tree *memory, const struct cringle_resources *r)
{
        if (r->memory_limit != CRINGLE_UNSET && add_number(p, memory, "memory.limit_in_bytes", r->memory_limit, "-1") < 0)
                return -1;
        if (r->memory_swap == CRINGLE_UNSET)
                return 0;
        if (add_number(p, memory, "memory.memsw.limit_in_bytes", r->memory_swap, "-1") < 0)
                return -1;
        p->limits->list[p->limits->n - 1].optional = true;
        return 0;
}

static int plan_memory_v2(struct planning *p, const struct tree *memory, const struct cringle_resources *r)
{
        int64_t swap = r->memory_swap;

        if (r->memory_limit != CRINGLE_UNSET && add_number(p, memory, "memory.max", r->memory_limit, "max") < 0)
                return -1;
        if (swap == CRINGLE_UNSET)
                return 0;
        if (swap >= 0) {
                if (r->memory_limit == CRINGLE_UNSET || r->memory_limit < 0)
                        return err_set(p->err, CRINGLE_E_INVALID,
                                       "a limit on memory and swap together needs a limit on memory");
                swap -= r->memory_limit;
        }
        if (add_number(p, memory, "memory.swap.max", swap, "max") < 0)
                return -1;
        p->limits->list[p->limits->n - 1].optional = true;
        return 0;
}

static int plan_memory(struct planning *p, const struct cringle_resources *r)
{
        const struct tree *memory;

        if (r->memory_limit == CRINGLE_UNSET && r->memory_swap == CRINGLE_UNSET)
                return 0;
        if (r->memory_swap >= 0 && r->memory_limit >= 0 && r->memory_swap < r->memory_limit)
                return err_set(p->err, CRINGLE_E_INVALID,
                               "the limit on memory and swap together (%" PRId64 ") is below that on memory (%" PRId64 ")",
                               r->memory_swap, r->memory_limit);
        memory = need(p, "memory");
        if (!memory)
                return -1;
        return memory->v2 ? plan_memory_v2(p, memory, r) : plan_memory_v1(p, memory, r);
}

static int plan_pids(struct planning *p, const struct cringle_resources *r)
{
        const struct tree *pids;

        if (r->pids_limit == CRINGLE_UNSET)
                return 0;
        pids = need(p, "pids");
        return pids ? add_number(p, pids, "pids.max", r->pids_limit, "max") : -1;
}

/* "2MB", "1GB": as the kernel writes them. */
static bool page_size_ok(const char *s)
{
        size_t digits = s ? strspn(s, "0123456789") : 0;

        return digits > 0 && digits < 8 &&
               (strcmp(s + digits, "KB") == 0 || strcmp(s + digits, "MB") == 0 || strcmp(s + digits, "GB") == 0);
}

/* The kubelet sends 0 for each page size it knows; where there are no such pages at all, that is so already. */
static int plan_hugepages(struct planning *p, const struct cringle_resources *r)
{
        const struct tree *hugetlb = trees_with(p->trees, "hugetlb");

        for (size_t i = 0; i < r->n_hugepages; i++) {
                const struct cringle_hugepage_limit *h = &r->hugepages[i];
                auto_free char *file = NULL;
                char text[32];

                if (!page_size_ok(h->page_size))
                        return err_set(p->err, CRINGLE_E_INVALID, "'%.32s' is no size of huge pages",
                                       h->page_size ? h->page_size : "");
                if (!hugetlb && h->bytes == 0)
                        continue;
                if (!hugetlb)
                        return need(p, "hugetlb") ? 0 : -1;

                file = str_printf(p->err, hugetlb->v2 ? "hugetlb.%s.max" : "hugetlb.%s.limit_in_bytes", h->page_size);
                if (!file)
                        return -1;
                snprintf(text, sizeof text, "%" PRIu64, h->bytes);
                if (add(p, hugetlb, h->bytes == 0, file, text) < 0)
                        return -1;
        }
        return 0;
}

/* A limit's file, and none of those that move, kill or freeze processes. */
static bool unified_key_ok(const char *key)
{
        if (!strchr(key, '.') || !isalpha((unsigned char) key[0]) || strlen(key) > 200)
                return false;
        for (const char *c = key; *c; c++)
                if (!isalnum((unsigned char) *c) && !strchr("._-", *c))
                        return false;
        return !str_starts(key, "cgroup.") || str_starts(key, "cgroup.max.");
}

static int plan_unified(struct planning *p, const struct cringle_resources *r)
{
        for (const struct cringle_pair *u = r->unified; u && u->key; u++) {
                auto_free char *lines = NULL;
                char *rest;

                if (!unified_key_ok(u->key))
                        return err_set(p->err, CRINGLE_E_INVALID, "'%.64s' is no cgroup v2 file for a limit", u->key);
                if (!p->trees->unified)
                        return err_set(p->err, CRINGLE_E_PRECONDITION, "%s: this machine has no cgroup v2", u->key);
                lines = strdup(u->value ? u->value : "");
                if (!lines)
                        return err_oom(p->err);
                /* The kernel takes one line with each write (io.max has one for each device). */
                for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                        if (add(p, p->trees->unified, false, u->key, line) < 0)
                                return -1;
        }
        return 0;
}

int limits_plan(const struct trees *t, const struct cringle_resources *r, struct limits *ret, struct cringle_err *err)
{
        auto_limits limits = { 0 };
        struct planning p = { t, &limits, err };

        if (plan_cpuset(&p, r) < 0 || plan_shares(&p, r) < 0 || plan_quota(&p, r) < 0 || plan_memory(&p, r) < 0 ||
            plan_pids(&p, r) < 0 || plan_hugepages(&p, r) < 0 || plan_unified(&p, r) < 0)
                return -1;

        *ret = limits;
        limits = (struct limits) { 0 };
        return 0;
}

/* --- applying --- */

static void trim(struct buf *b)
{
        while (b->len > 0 && isspace((unsigned char) b->data[b->len - 1]))
                b->data[--b->len] = '\0';
}

/* cpu.max for a new period alone: the quota it has now goes before it. */
static int with_quota(struct limit *l, const char *former, struct cringle_err *err)
{
        char *value = str_printf(err, "%.*s %s", (int) strcspn(former, " "), former, l->value);

        if (!value)
                return -1;
        free(l->value);
        l->value = value;
        l->period = false;
        return 0;
}

enum { APPLIED = 0, REFUSED = 1 };

/* REFUSED: the kernel did not take the value, which may change when others are written; @err says what it said. */
static int apply_one(struct limit *l, const char *path, struct cringle_err *err)
{
        auto_buf former = BUF_INIT;
        int there = tree_read(l->tree, path, l->file, &former, err);

        if (there < 0)
                return -1;
        if (!there && l->optional)
                return APPLIED;
        if (!there)
                return err_set(err, CRINGLE_E_PRECONDITION, "%s/%s: no file %s there", l->tree->mount, path, l->file);
        trim(&former);
        if (l->period && with_quota(l, former.len ? former.data : "max", err) < 0)
                return -1;
        if (former.data && strcmp(former.data, l->value) == 0)
                return APPLIED;

        there = tree_write(l->tree, path, l->file, l->value, err);
        if (there < 0)
                return err && err->sys ? REFUSED : -1;
        l->former = former.data ? buf_steal(&former) : strdup("");
        return l->former ? APPLIED : err_oom(err);
}

static void revert_one(const struct limit *l, const char *path)
{
        auto_free char *former = l->former ? strdup(l->former) : NULL;
        char *line, *rest;

        if (!former)
                return;
        line = strtok_r(former, "\n", &rest);
        if (!line)
                tree_write(l->tree, path, l->file, "\n", NULL); /* an empty cpuset: what the parent has */
        for (; line; line = strtok_r(NULL, "\n", &rest))
                tree_write(l->tree, path, l->file, line, NULL);
}

void limits_revert(struct limits *l, const char *path)
{
        /* Twice, for the same reason that applying takes two rounds. */
        for (int round = 0; round < 2; round++)
                for (size_t i = l->n; i-- > 0;)
                        revert_one(&l->list[i], path);
}

int limits_apply(struct limits *l, const char *path, struct cringle_err *err)
{
        auto_free bool *refused = calloc(l->n + 1, sizeof *refused);
        struct cringle_err local = CRINGLE_ERR_INIT;
        struct cringle_err *e = err ? err : &local;
        int r = 0;

        if (!refused)
                return err_oom(err);
        for (size_t i = 0; i < l->n && r >= 0; i++) {
                r = apply_one(&l->list[i], path, e);
                refused[i] = r == REFUSED;
        }
        /* From the end: what was written last is what an earlier one waited for. */
        for (size_t i = l->n; i-- > 0 && r >= 0;)
                if (refused[i] && apply_one(&l->list[i], path, e) != APPLIED)
                        r = -1;
        if (r < 0) {
                limits_revert(l, path);
                return -1;
        }
        return 0;
}
