/*
 * What a container's process, or one beside it, is to be, as records of its launch plan; see plan_parts.h.
 */

#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>

#include "agent/base/str.h"
#include "agent/oci/caps.h"
#include "agent/oci/plan_parts.h"
#include "agent/oci/seccomp_cache.h"

static const struct {
        const char *name;
        uint32_t resource;
} rlimits[] = {
        { "RLIMIT_AS", RLIMIT_AS },           { "RLIMIT_CORE", RLIMIT_CORE },     { "RLIMIT_CPU", RLIMIT_CPU },
        { "RLIMIT_DATA", RLIMIT_DATA },       { "RLIMIT_FSIZE", RLIMIT_FSIZE },   { "RLIMIT_LOCKS", RLIMIT_LOCKS },
        { "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK }, { "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE }, { "RLIMIT_NICE", RLIMIT_NICE },
        { "RLIMIT_NOFILE", RLIMIT_NOFILE },   { "RLIMIT_NPROC", RLIMIT_NPROC },   { "RLIMIT_RSS", RLIMIT_RSS },
        { "RLIMIT_RTPRIO", RLIMIT_RTPRIO },   { "RLIMIT_RTTIME", RLIMIT_RTTIME }, { "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
        { "RLIMIT_STACK", RLIMIT_STACK },
};

/* A limit is an unsigned 64-bit number; json-c gives those past INT64_MAX by another getter. */
static int need_limit(struct json_object *o, const char *name, uint64_t *ret, struct cringle_err *err)
{
        struct json_object *value;

        if (!json_object_object_get_ex(o, name, &value) || !json_object_is_type(value, json_type_int))
                return err_set(err, CRINGLE_E_INVALID, "%s is missing or no number", name);
        *ret = json_object_get_int64(value) < 0 ? UINT64_MAX : json_object_get_uint64(value);
        return 0;
}

static int add_rlimit(struct compile *c, struct json_object *at)
{
        const char *type;
        uint64_t soft, hard;

        if (part_need_string(at, "type", &type, c->err) < 0 || need_limit(at, "soft", &soft, c->err) < 0 ||
            need_limit(at, "hard", &hard, c->err) < 0)
                return -1;
        for (size_t i = 0; i < sizeof rlimits / sizeof rlimits[0]; i++)
                if (strcmp(type, rlimits[i].name) == 0) {
                        rec_begin(&c->w, PLAN_RLIMIT);
                        rec_put_u32(&c->w, rlimits[i].resource);
                        rec_put_u64(&c->w, soft);
                        rec_put_u64(&c->w, hard);
                        rec_end(&c->w);
                        return 0;
                }
        return err_set(c->err, CRINGLE_E_INVALID, "there is no limit '%s'", type);
}

static int add_limits(struct compile *c)
{
        int64_t score;
        int there;

        if (part_each(c, c->process, "rlimits", add_rlimit) < 0)
                return -1;
        there = json_get_int(c->process, "oomScoreAdj", &score, c->err);
        if (there > 0 && (score < -1000 || score > 1000))
                return err_set(c->err, CRINGLE_E_INVALID, "process.oomScoreAdj: %lld is out of range", (long long) score);
        if (there > 0)
                rec_add_u32(&c->w, PLAN_OOM_SCORE, (uint32_t) score);
        return there < 0 ? -1 : 0;
}

static int add_user(struct compile *c)
{
        struct json_object *user = NULL, *groups = NULL;
        uint32_t uid = 0, gid = 0, mask = PLAN_NO_UMASK;
        size_t n = 0;

        if (json_get_object(c->process, "user", &user, c->err) < 0)
                return -1;
        if (user && (part_get_u32(user, "uid", UINT32_MAX - 1, &uid, c->err) < 0 ||
                     part_get_u32(user, "gid", UINT32_MAX - 1, &gid, c->err) < 0 ||
                     part_get_u32(user, "umask", 0777, &mask, c->err) < 0 ||
                     json_get_array(user, "additionalGids", &groups, c->err) < 0))
                return err_wrap(c->err, "process.user");
        if (groups)
                n = json_object_array_length(groups);
        if (n > 65536)
                return err_set(c->err, CRINGLE_E_INVALID, "process.user.additionalGids has %zu elements", n);

        rec_begin(&c->w, PLAN_USER);
        rec_put_u32(&c->w, uid);
        rec_put_u32(&c->w, gid);
        rec_put_u32(&c->w, mask);
        rec_put_u32(&c->w, (uint32_t) n);
        for (size_t i = 0; i < n; i++) {
                struct json_object *value = json_object_array_get_idx(groups, i);
                int64_t group = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;

                if (group < 0 || group >= UINT32_MAX)
                        return err_set(c->err, CRINGLE_E_INVALID, "process.user.additionalGids[%zu] is no group", i);
                rec_put_u32(&c->w, (uint32_t) group);
        }
        rec_end(&c->w);
        return 0;
}

static int capability_set(struct compile *c, struct json_object *caps, const char *name, uint64_t *ret)
{
        auto_strv list = NULL;

        if (json_get_strv(caps, name, &list, c->err) < 0)
                return -1;
        for (size_t i = 0; list && list[i]; i++) {
                int bit = caps_bit(list[i]);

                if (bit < 0)
                        return err_set(c->err, CRINGLE_E_INVALID, "process.capabilities.%s: there is no '%s'", name, list[i]);
                *ret |= UINT64_C(1) << bit;
        }
        return 0;
}

/* None named: none given. */
static int add_capabilities(struct compile *c)
{
        static const char *const names[] = { "bounding", "permitted", "effective", "inheritable", "ambient" };
        struct json_object *caps = NULL;
        uint64_t sets[5] = { 0 };

        if (json_get_object(c->process, "capabilities", &caps, c->err) < 0)
                return -1;
        for (int i = 0; caps && i < 5; i++)
                if (capability_set(c, caps, names[i], &sets[i]) < 0)
                        return -1;
        if (sets[2] & ~sets[1])
                return err_set(c->err, CRINGLE_E_INVALID, "process.capabilities: effective holds what permitted does not");
        if (sets[4] & ~(sets[1] & sets[3]))
                return err_set(c->err, CRINGLE_E_INVALID,
                               "process.capabilities: ambient holds what permitted and inheritable do not");
        rec_begin(&c->w, PLAN_CAPS);
        for (int i = 0; i < 5; i++)
                rec_put_u64(&c->w, sets[i]);
        rec_end(&c->w);
        return 0;
}

static int add_seccomp(struct compile *c)
{
        struct json_object *profile;
        auto_buf filter = BUF_INIT;
        uint32_t flags;
        int there = c->linux_ ? json_get_object(c->linux_, "seccomp", &profile, c->err) : 0;

        if (there <= 0)
                return there;
        if (seccomp_compile_cached(profile, &filter, c->err) < 0 || seccomp_flags(profile, &flags, c->err) < 0)
                return err_wrap(c->err, "linux.seccomp");
        rec_begin(&c->w, PLAN_SECCOMP);
        rec_put_u32(&c->w, flags);
        rec_put_bytes(&c->w, filter.data, filter.len);
        rec_end(&c->w);
        return 0;
}

static int add_confinement(struct compile *c)
{
        const char *label = NULL;
        bool sealed = false;

        if (add_capabilities(c) < 0 || json_get_bool(c->process, "noNewPrivileges", &sealed, c->err) < 0)
                return -1;
        if (sealed) {
                rec_begin(&c->w, PLAN_NO_NEW_PRIVS);
                rec_end(&c->w);
        }
        if (json_get_string(c->process, "apparmorProfile", &label, c->err) < 0)
                return -1;
        if (!str_empty(label))
                rec_add_str(&c->w, PLAN_APPARMOR, label);
        label = NULL;
        if (json_get_string(c->process, "selinuxLabel", &label, c->err) < 0)
                return -1;
        if (!str_empty(label))
                rec_add_str(&c->w, PLAN_SELINUX, label);
        label = NULL;
        if (c->linux_ && json_get_string(c->linux_, "mountLabel", &label, c->err) < 0)
                return -1;
        if (!str_empty(label))
                rec_add_str(&c->w, PLAN_MOUNT_LABEL, label);
        return add_seccomp(c);
}

static int add_tty(struct compile *c)
{
        struct json_object *size = NULL;
        uint32_t columns = 0, rows = 0;
        bool terminal = false;

        if (!c->caller_decides_tty && json_get_bool(c->process, "terminal", &terminal, c->err) < 0)
                return -1;
        if (!terminal && !c->options->tty)
                return 0;
        if (json_get_object(c->process, "consoleSize", &size, c->err) < 0 ||
            (size && (part_get_u32(size, "width", UINT16_MAX, &columns, c->err) < 0 ||
                      part_get_u32(size, "height", UINT16_MAX, &rows, c->err) < 0)))
                return -1;
        rec_begin(&c->w, PLAN_TTY);
        rec_put_u32(&c->w, columns);
        rec_put_u32(&c->w, rows);
        rec_end(&c->w);
        return 0;
}

static int add_io_priority(struct compile *c)
{
        static const char *const classes[] = { "IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE" };
        struct json_object *priority;
        const char *class;
        uint32_t level = 0;
        int there = json_get_object(c->process, "ioPriority", &priority, c->err);

        if (there <= 0)
                return there;
        if (part_need_string(priority, "class", &class, c->err) < 0 || part_get_u32(priority, "priority", 7, &level, c->err) < 0)
                return err_wrap(c->err, "process.ioPriority");
        for (uint32_t i = 0; i < 4; i++)
                if (strcmp(class, classes[i]) == 0) {
                        rec_add_u32(&c->w, PLAN_IO_PRIORITY, i << 13 | level);
                        return 0;
                }
        return err_set(c->err, CRINGLE_E_INVALID, "process.ioPriority.class: there is no '%s'", class);
}

/* A flag as the specification spells it. */
struct flag {
        const char *name;
        uint64_t bits;
};

/* What the member `flags` names, of @known, which ends without a name. */
static int add_flags(struct json_object *o, const struct flag *known, uint64_t *flags, struct cringle_err *err)
{
        auto_strv names = NULL;

        if (json_get_strv(o, "flags", &names, err) < 0)
                return -1;
        for (size_t i = 0; names && names[i]; i++) {
                const struct flag *f = known;

                while (f->name && strcmp(f->name, names[i]) != 0)
                        f++;
                if (!f->name)
                        return err_set(err, CRINGLE_E_INVALID, "flags: there is no '%.64s'", names[i]);
                *flags |= f->bits;
        }
        return 0;
}

static int get_u64(struct json_object *o, const char *name, uint64_t *ret, struct cringle_err *err)
{
        int64_t value = 0;

        if (json_get_int(o, name, &value, err) < 0)
                return -1;
        if (value < 0)
                return err_set(err, CRINGLE_E_INVALID, "%s: %lld is out of range", name, (long long) value);
        *ret = (uint64_t) value;
        return 0;
}

/* What the kernel makes of the combination is for the kernel to say. */
static int read_scheduler(struct json_object *o, uint32_t policy, uint64_t flags, struct rec_writer *w, struct cringle_err *err)
{
        uint64_t runtime = 0, deadline = 0, period = 0;
        uint32_t priority = 0;
        int64_t nice = 0;

        if (json_get_int(o, "nice", &nice, err) < 0 || part_get_u32(o, "priority", 99, &priority, err) < 0 ||
            get_u64(o, "runtime", &runtime, err) < 0 || get_u64(o, "deadline", &deadline, err) < 0 ||
            get_u64(o, "period", &period, err) < 0)
                return -1;
        if (nice < -20 || nice > 19)
                return err_set(err, CRINGLE_E_INVALID, "nice: %lld is out of range", (long long) nice);
        rec_begin(w, PLAN_SCHEDULER);
        rec_put_u32(w, policy);
        rec_put_u64(w, flags);
        rec_put_u32(w, (uint32_t) (int32_t) nice);
        rec_put_u32(w, priority);
        rec_put_u64(w, runtime);
        rec_put_u64(w, deadline);
        rec_put_u64(w, period);
        rec_end(w);
        return 0;
}

static int add_scheduler(struct compile *c)
{
        static const char *const policies[] = { "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE",
                                                "SCHED_DEADLINE" };
        static const struct flag known[] = {
                { "SCHED_FLAG_RESET_ON_FORK", 0x01 },   { "SCHED_FLAG_RECLAIM", 0x02 },
                { "SCHED_FLAG_DL_OVERRUN", 0x04 },      { "SCHED_FLAG_KEEP_POLICY", 0x08 },
                { "SCHED_FLAG_KEEP_PARAMS", 0x10 },     { "SCHED_FLAG_UTIL_CLAMP_MIN", 0x20 },
                { "SCHED_FLAG_UTIL_CLAMP_MAX", 0x40 },  { 0 },
        };
        struct json_object *scheduler;
        const char *policy;
        uint64_t flags = 0;
        int there = json_get_object(c->process, "scheduler", &scheduler, c->err);

        if (there <= 0)
                return there;
        if (part_need_string(scheduler, "policy", &policy, c->err) < 0 || add_flags(scheduler, known, &flags, c->err) < 0)
                return err_wrap(c->err, "process.scheduler");
        for (uint32_t i = 0; i < sizeof policies / sizeof policies[0]; i++)
                if (strcmp(policy, policies[i]) == 0)
                        return read_scheduler(scheduler, i, flags, &c->w, c->err) < 0 ? err_wrap(c->err, "process.scheduler") : 0;
        return err_set(c->err, CRINGLE_E_INVALID, "process.scheduler.policy: there is no '%.64s'", policy);
}

/* Nodes of a machine, as the kernel counts them at most. */
#define NODES_MAX 1024

/* "0-3,8" as bits; *ret_words: of these 64 each, up to the highest that is set. */
static int read_nodes(const char *text, uint64_t nodes[NODES_MAX / 64], uint32_t *ret_words, struct cringle_err *err)
{
        for (const char *p = text; *p;) {
                char *end = NULL;
                unsigned long first = *p >= '0' && *p <= '9' ? strtoul(p, &end, 10) : NODES_MAX, last = first;

                if (end && *end == '-')
                        last = end[1] >= '0' && end[1] <= '9' ? strtoul(end + 1, &end, 10) : NODES_MAX;
                if (!end || first > last || last >= NODES_MAX || (*end && (*end != ',' || !end[1])))
                        return err_set(err, CRINGLE_E_INVALID, "nodes: '%.64s' is no list of numbers below %d", text, NODES_MAX);
                for (; first <= last; first++)
                        nodes[first / 64] |= UINT64_C(1) << first % 64;
                if (*ret_words < last / 64 + 1)
                        *ret_words = (uint32_t) last / 64 + 1;
                p = *end ? end + 1 : end;
        }
        return 0;
}

static int add_memory_policy(struct compile *c)
{
        static const char *const modes[] = { "MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL",
                                             "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE" };
        static const struct flag known[] = { { "MPOL_F_STATIC_NODES", 1 << 15 }, { "MPOL_F_RELATIVE_NODES", 1 << 14 },
                                             { "MPOL_F_NUMA_BALANCING", 1 << 13 }, { 0 } };
        uint64_t nodes[NODES_MAX / 64] = { 0 }, flags = 0;
        struct json_object *policy;
        const char *mode, *list = "";
        uint32_t words = 0;
        int there = c->linux_ ? json_get_object(c->linux_, "memoryPolicy", &policy, c->err) : 0;

        if (there <= 0)
                return there;
        if (part_need_string(policy, "mode", &mode, c->err) < 0 || json_get_string(policy, "nodes", &list, c->err) < 0 ||
            add_flags(policy, known, &flags, c->err) < 0 || read_nodes(list, nodes, &words, c->err) < 0)
                return err_wrap(c->err, "linux.memoryPolicy");
        for (uint32_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
                if (strcmp(mode, modes[i]) != 0)
                        continue;
                rec_begin(&c->w, PLAN_MEMORY_POLICY);
                rec_put_u32(&c->w, i | (uint32_t) flags);
                rec_put_u32(&c->w, words);
                for (uint32_t k = 0; k < words; k++)
                        rec_put_u64(&c->w, nodes[k]);
                rec_end(&c->w);
                return 0;
        }
        return err_set(c->err, CRINGLE_E_INVALID, "linux.memoryPolicy.mode: there is no '%.64s'", mode);
}

static int add_personality(struct compile *c)
{
        struct json_object *personality;
        const char *domain;
        int there = c->linux_ ? json_get_object(c->linux_, "personality", &personality, c->err) : 0;

        if (there <= 0)
                return there;
        if (part_need_string(personality, "domain", &domain, c->err) < 0)
                return err_wrap(c->err, "linux.personality");
        if (strcmp(domain, "LINUX") != 0 && strcmp(domain, "LINUX32") != 0)
                return err_set(c->err, CRINGLE_E_INVALID, "linux.personality.domain: there is no '%s'", domain);
        rec_add_u32(&c->w, PLAN_PERSONALITY, domain[5] ? PER_LINUX32 : PER_LINUX);
        return 0;
}

static int add_command(struct compile *c, const char *const *argv)
{
        auto_strv args = NULL;
        auto_strv env = NULL;
        const char *cwd = NULL;

        if (!argv) {
                if (json_get_strv(c->process, "args", &args, c->err) < 0)
                        return -1;
                argv = (const char *const *) args;
        }
        if (!argv || !argv[0] || !*argv[0])
                return err_set(c->err, CRINGLE_E_INVALID, "process.args: there is nothing to run");
        if (part_need_string(c->process, "cwd", &cwd, c->err) < 0 || json_get_strv(c->process, "env", &env, c->err) < 0)
                return err_wrap(c->err, "process");
        if (*cwd != '/')
                return err_set(c->err, CRINGLE_E_INVALID, "process.cwd: '%s' is not absolute", cwd);

        rec_add_str(&c->w, PLAN_CWD, cwd);
        rec_begin(&c->w, PLAN_ARGV);
        rec_put_strv(&c->w, argv);
        rec_end(&c->w);
        rec_begin(&c->w, PLAN_ENV);
        rec_put_strv(&c->w, (const char *const *) env);
        rec_end(&c->w);
        return 0;
}

int plan_add_process(struct compile *c, const char *const *argv)
{
        if (add_command(c, argv) < 0 || add_user(c) < 0 || add_limits(c) < 0 || add_confinement(c) < 0 ||
            add_tty(c) < 0 || add_io_priority(c) < 0 || add_scheduler(c) < 0 || add_memory_policy(c) < 0)
                return -1;
        return add_personality(c);
}
