/*
 * Seccomp; see seccomp.h.
 *
 * The filter is libseccomp's, with a few instructions of ours in front: the library
 * of a stable distribution knows no system call newer than itself, and gives those
 * the default action.  EPERM for a call that a program tries before an older one
 * breaks it (ENOSYS is what makes it go on), so calls that the profile names and the
 * library does not know are decided by us, and what is newer than anything the
 * profile names does not exist.
 */

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/oci/caps.h"
#include "agent/oci/seccomp.h"
#include "agent/oci/seccomp_private.h"

#if defined(__x86_64__)
#define GOARCH "amd64"
static const char *const native_archs[] = { "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", NULL };
#elif defined(__aarch64__)
#define GOARCH "arm64"
static const char *const native_archs[] = { "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", NULL };
#else
#error "say here what architectures this machine runs"
#endif

#define MAX_ERRNO 4095
#define PROGRAM_MAX (4096 * sizeof(struct sock_filter))        /* BPF_MAXINSNS */

/* Since 424 a system call has the same number everywhere; x32 sets this bit. */
#define FIRST_UNIFORM 424
#define X32_BIT 0x40000000

/* Numbers by name, for when the library is older. */
static const struct {
        const char *name;
        int number;
} newer[] = {
        { "cachestat", 451 },         { "fchmodat2", 452 },         { "map_shadow_stack", 453 },
        { "futex_wake", 454 },        { "futex_wait", 455 },        { "futex_requeue", 456 },
        { "statmount", 457 },         { "listmount", 458 },         { "lsm_get_self_attr", 459 },
        { "lsm_set_self_attr", 460 }, { "lsm_list_modules", 461 },  { "mseal", 462 },
        { "setxattrat", 463 },        { "getxattrat", 464 },        { "listxattrat", 465 },
        { "removexattrat", 466 },     { "open_tree_attr", 467 },    { "file_getattr", 468 },
        { "file_setattr", 469 },
};

#define N_NEWER (sizeof newer / sizeof newer[0])

/* --- the default profile --- */

static int add_names(struct json_object *entry, const char *names, struct cringle_err *err)
{
        struct json_object *list = json_need_array(entry, "names", err);

        if (!list)
                return -1;
        for (size_t n; *names; names += n) {
                names += strspn(names, " ");
                n = strcspn(names, " ");
                if (n && json_add(list, json_object_new_string_len(names, (int) n), err) < 0)
                        return -1;
        }
        return 0;
}

static int add_condition(struct json_object *entry, const struct seccomp_condition *c, struct cringle_err *err)
{
        struct json_object *list = json_need_array(entry, "args", err);
        auto_json arg = json_object_new_object();

        if (!list || json_set_int(arg, "index", c->index, err) < 0 ||
            json_set_int(arg, "value", (int64_t) c->value, err) < 0 ||
            (c->value_two || strcmp(c->op, "SCMP_CMP_MASKED_EQ") == 0 ?
                     json_set_int(arg, "valueTwo", (int64_t) c->value_two, err) :
                     0) < 0 ||
            json_set_string(arg, "op", c->op, err) < 0)
                return -1;
        return json_add(list, steal(&arg), err);
}

static int add_rule(struct json_object *list, const struct seccomp_rule *r, struct cringle_err *err)
{
        auto_json entry = json_object_new_object();

        if (!entry)
                return err_oom(err);
        if (add_names(entry, r->names, err) < 0 ||
            json_set_string(entry, "action", r->error ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW", err) < 0 ||
            (r->error && json_set_int(entry, "errnoRet", r->error, err) < 0) ||
            (r->condition && add_condition(entry, r->condition, err) < 0))
                return -1;
        return json_add(list, steal(&entry), err);
}

int seccomp_default(uint64_t caps, struct json_object **ret, struct cringle_err *err)
{
        auto_json profile = json_object_new_object();
        struct json_object *list;

        if (!profile)
                return err_oom(err);
        if (json_set_string(profile, "defaultAction", "SCMP_ACT_ERRNO", err) < 0 ||
            json_set_int(profile, "defaultErrnoRet", EPERM, err) < 0 ||
            json_set_strv(profile, "architectures", native_archs, err) < 0)
                return -1;

        list = json_need_array(profile, "syscalls", err);
        if (!list)
                return -1;
        for (const struct seccomp_rule *r = seccomp_rules; r->names; r++) {
                if (r->with != SECCOMP_ALWAYS && !(caps & UINT64_C(1) << r->with))
                        continue;
                if (r->without != SECCOMP_ALWAYS && caps & UINT64_C(1) << r->without)
                        continue;
                if (add_rule(list, r, err) < 0)
                        return -1;
        }

        *ret = steal(&profile);
        return 0;
}

/* --- files --- */

/* Is one of the strings of the member array @name of @o (may be absent) one for which @is holds? */
static int any_of(struct json_object *o, const char *name, bool (*is)(const char *, uint64_t), uint64_t data,
                  bool *ret_any, bool *ret_all, struct cringle_err *err)
{
        auto_strv list = NULL;

        *ret_any = false;
        *ret_all = true;
        if (json_get_strv(o, name, &list, err) < 0)
                return -1;
        for (size_t i = 0; list && list[i]; i++) {
                bool holds = is(list[i], data);

                *ret_any |= holds;
                *ret_all &= holds;
        }
        return list && list[0] ? 1 : 0;
}

static bool has_cap(const char *name, uint64_t caps)
{
        int bit = caps_bit(name);

        return bit >= 0 && caps & UINT64_C(1) << bit;
}

static bool is_this_arch(const char *name, uint64_t data)
{
        return strcmp(name, GOARCH) == 0;
}

/* "4.8" against the running kernel. */
static int kernel_is(const char *wanted, bool *ret, struct cringle_err *err)
{
        unsigned major, minor, have_major, have_minor;
        struct utsname u;
        int end = 0;

        if (sscanf(wanted, "%4u.%4u%n", &major, &minor, &end) != 2 || wanted[end])
                return err_set(err, CRINGLE_E_INVALID, "minKernel '%s' is no version", wanted);
        if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &have_major, &have_minor) != 2)
                return err_set(err, CRINGLE_E_INTERNAL, "kernel version not understood");
        *ret = have_major > major || (have_major == major && have_minor >= minor);
        return 0;
}

/* 1: the entry holds for this container on this machine. */
static int entry_applies(struct json_object *entry, uint64_t caps, struct cringle_err *err)
{
        struct json_object *part = NULL;
        bool any, all, enough;
        const char *kernel;
        int r;

        if (json_get_object(entry, "includes", &part, err) < 0)
                return -1;
        if (part) {
                if ((r = any_of(part, "arches", is_this_arch, 0, &any, &all, err)) < 0)
                        return -1;
                if (r && !any)
                        return 0;
                if ((r = any_of(part, "caps", has_cap, caps, &any, &all, err)) < 0)
                        return -1;
                if (r && !all)
                        return 0;
                if ((r = json_get_string(part, "minKernel", &kernel, err)) < 0)
                        return -1;
                if (r && *kernel) {
                        if (kernel_is(kernel, &enough, err) < 0)
                                return -1;
                        if (!enough)
                                return 0;
                }
        }

        part = NULL;
        if (json_get_object(entry, "excludes", &part, err) < 0)
                return -1;
        if (part) {
                if (any_of(part, "arches", is_this_arch, 0, &any, &all, err) < 0)
                        return -1;
                if (any)
                        return 0;
                if (any_of(part, "caps", has_cap, caps, &any, &all, err) < 0)
                        return -1;
                if (any)
                        return 0;
                if ((r = json_get_string(part, "minKernel", &kernel, err)) < 0)
                        return -1;
                if (r && *kernel) {
                        if (kernel_is(kernel, &enough, err) < 0)
                                return -1;
                        if (enough)
                                return 0;
                }
        }
        return 1;
}

/* Copy the plain members of a syscalls[] entry. */
static int copy_entry(struct json_object *entry, struct json_object *list, struct cringle_err *err)
{
        static const char *const plain[] = { "names", "action", "errnoRet", "args" };
        auto_json copy = json_object_new_object();
        struct json_object *value;

        if (!copy)
                return err_oom(err);
        for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
                if (json_object_object_get_ex(entry, plain[i], &value) && value &&
                    json_set(copy, plain[i], json_object_get(value), err) < 0)
                        return -1;

        /* Docker's older files have one name per entry. */
        if (json_object_object_get_ex(entry, "name", &value) && value) {
                struct json_object *names = json_need_array(copy, "names", err);

                if (!names || json_add(names, json_object_get(value), err) < 0)
                        return -1;
        }
        return json_add(list, steal(&copy), err);
}

/* Docker's archMap: the one that starts with this machine's, and what runs on it besides. */
static int copy_arch_map(struct json_object *map, struct json_object *profile, struct cringle_err *err)
{
        struct json_object *archs = json_need_array(profile, "architectures", err);

        if (!archs)
                return -1;
        for (size_t i = 0; i < json_object_array_length(map); i++) {
                struct json_object *m = json_object_array_get_idx(map, i);
                auto_strv sub = NULL;
                const char *name = "";

                if (json_get_string(m, "architecture", &name, err) < 0)
                        return -1;
                if (strcmp(name, native_archs[0]) != 0)
                        continue;
                if (json_add_string(archs, name, err) < 0 || json_get_strv(m, "subArchitectures", &sub, err) < 0)
                        return -1;
                for (size_t k = 0; sub && sub[k]; k++)
                        if (json_add_string(archs, sub[k], err) < 0)
                                return -1;
        }
        return 0;
}

static int load(struct json_object *top, uint64_t caps, struct json_object *profile, struct cringle_err *err)
{
        static const char *const plain[] = { "defaultAction", "defaultErrnoRet", "architectures", "flags" };
        struct json_object *value, *list, *out;
        const char *listener = "";
        int r;

        if (!json_object_is_type(top, json_type_object))
                return err_set(err, CRINGLE_E_INVALID, "not an object");
        if (json_get_string(top, "listenerPath", &listener, err) < 0)
                return -1;
        if (*listener)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "listenerPath is not supported");

        for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
                if (json_object_object_get_ex(top, plain[i], &value) && value &&
                    json_set(profile, plain[i], json_object_get(value), err) < 0)
                        return -1;
        if ((r = json_get_array(top, "archMap", &value, err)) < 0 || (r && copy_arch_map(value, profile, err) < 0))
                return -1;

        out = json_need_array(profile, "syscalls", err);
        if (!out || (r = json_get_array(top, "syscalls", &list, err)) < 0)
                return -1;
        for (size_t i = 0; r && i < json_object_array_length(list); i++) {
                struct json_object *entry = json_object_array_get_idx(list, i);
                int applies;

                if (!json_object_is_type(entry, json_type_object))
                        return err_set(err, CRINGLE_E_INVALID, "syscalls[%zu] is not an object", i);
                applies = entry_applies(entry, caps, err);
                if (applies < 0 || (applies && copy_entry(entry, out, err) < 0))
                        return err_wrap(err, "syscalls[%zu]", i);
        }
        return 0;
}

int seccomp_profile_load(const char *text, size_t n, uint64_t caps, struct json_object **ret, struct cringle_err *err)
{
        auto_json top = NULL;
        auto_json profile = json_object_new_object();
        auto_buf program = BUF_INIT;

        if (!profile)
                return err_oom(err);
        if (json_parse(text, n, &top, err) < 0 || load(top, caps, profile, err) < 0)
                return -1;
        /* Whoever names a profile learns now that it is none, not when the container starts. */
        if (seccomp_compile(profile, &program, err) < 0)
                return -1;

        *ret = steal(&profile);
        return 0;
}

/* --- compiling --- */

/* A call that the library does not know, decided in front of its program. */
struct decision {
        uint32_t number;
        uint32_t action;
};

struct compiler {
        scmp_filter_ctx ctx;
        uint32_t default_action;
        int highest;                            /* number named by the profile, on the native architecture */
        struct decision decisions[N_NEWER];
        size_t n_decisions;
};

static int action_of(struct json_object *o, const char *name, const char *error_name, uint32_t *ret,
                     struct cringle_err *err)
{
        static const struct {
                const char *name;
                uint32_t action;
        } table[] = {
                { "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
                { "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
                { "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
                { "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
                { "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
                { "SCMP_ACT_LOG", SCMP_ACT_LOG },
        };
        const char *text;
        int64_t value = EPERM;
        int r;

        r = json_get_string(o, name, &text, err);
        if (r < 0)
                return -1;
        if (r == 0)
                return err_set(err, CRINGLE_E_INVALID, "'%s' is missing", name);
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
                if (strcmp(text, table[i].name) == 0) {
                        *ret = table[i].action;
                        return 0;
                }
        if (strcmp(text, "SCMP_ACT_NOTIFY") == 0)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "SCMP_ACT_NOTIFY is not supported");
        if (strcmp(text, "SCMP_ACT_ERRNO") != 0 && strcmp(text, "SCMP_ACT_TRACE") != 0)
                return err_set(err, CRINGLE_E_INVALID, "'%s' is no action", text);

        if (json_get_int(o, error_name, &value, err) < 0)
                return -1;
        if (value < 0 || value > MAX_ERRNO)
                return err_set(err, CRINGLE_E_INVALID, "'%s' is out of range", error_name);
        *ret = text[9] == 'E' ? SCMP_ACT_ERRNO((uint32_t) value) : SCMP_ACT_TRACE((uint32_t) value);
        return 0;
}

static int op_of(const char *text, enum scmp_compare *ret, struct cringle_err *err)
{
        static const struct {
                const char *name;
                enum scmp_compare op;
        } table[] = {
                { "SCMP_CMP_NE", SCMP_CMP_NE }, { "SCMP_CMP_LT", SCMP_CMP_LT }, { "SCMP_CMP_LE", SCMP_CMP_LE },
                { "SCMP_CMP_EQ", SCMP_CMP_EQ }, { "SCMP_CMP_GE", SCMP_CMP_GE }, { "SCMP_CMP_GT", SCMP_CMP_GT },
                { "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
        };

        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
                if (strcmp(text, table[i].name) == 0) {
                        *ret = table[i].op;
                        return 0;
                }
        return err_set(err, CRINGLE_E_INVALID, "'%s' is no comparison", text);
}

/* Values are 64 bits without sign; what JSON says above INT64_MAX counts too. */
static int get_u64(struct json_object *o, const char *name, uint64_t *ret, struct cringle_err *err)
{
        struct json_object *m;

        if (!json_object_object_get_ex(o, name, &m) || !m)
                return 0;
        if (!json_object_is_type(m, json_type_int))
                return err_set(err, CRINGLE_E_INVALID, "'%s' is not a number", name);
        *ret = json_object_get_int64(m) < 0 ? (uint64_t) json_object_get_int64(m) : json_object_get_uint64(m);
        return 0;
}

/* The conditions of an entry; all must hold.  Two on one argument are refused: other runtimes take either for enough. */
static int conditions_of(struct json_object *entry, struct scmp_arg_cmp ret[6], unsigned *ret_n,
                         struct cringle_err *err)
{
        struct json_object *list;
        unsigned seen = 0, n = 0;
        int r = json_get_array(entry, "args", &list, err);

        if (r < 0)
                return -1;
        for (size_t i = 0; r && i < json_object_array_length(list); i++) {
                struct json_object *a = json_object_array_get_idx(list, i);
                int64_t index = -1;
                uint64_t value = 0, two = 0;
                enum scmp_compare op;
                const char *text = "";

                if (json_get_int(a, "index", &index, err) < 0 || json_get_string(a, "op", &text, err) < 0 ||
                    get_u64(a, "value", &value, err) < 0 || get_u64(a, "valueTwo", &two, err) < 0 ||
                    op_of(text, &op, err) < 0)
                        return -1;
                if (index < 0 || index > 5)
                        return err_set(err, CRINGLE_E_INVALID, "there is no argument %jd", (intmax_t) index);
                if (seen & 1u << index)
                        return err_set(err, CRINGLE_E_INVALID, "two conditions on argument %jd", (intmax_t) index);
                seen |= 1u << index;
                ret[n++] = (struct scmp_arg_cmp){ .arg = (unsigned) index, .op = op, .datum_a = value, .datum_b = two };
        }
        *ret_n = n;
        return 0;
}

static int decide(struct compiler *c, const char *name, uint32_t action, unsigned n_conditions, struct cringle_err *err)
{
        for (size_t i = 0; i < N_NEWER; i++) {
                if (strcmp(name, newer[i].name) != 0)
                        continue;
                if (n_conditions)
                        return err_set(err, CRINGLE_E_UNIMPLEMENTED, "conditions on %s need a newer libseccomp", name);
                if (newer[i].number > c->highest)
                        c->highest = newer[i].number;
                for (size_t k = 0; k < c->n_decisions; k++)
                        if (c->decisions[k].number == (uint32_t) newer[i].number)
                                return 0;
                c->decisions[c->n_decisions++] = (struct decision){ (uint32_t) newer[i].number, action };
                return 0;
        }
        return 0;       /* nobody knows it: not a call of this machine */
}

static int add_call(struct compiler *c, const char *name, uint32_t action, const struct scmp_arg_cmp *conditions,
                    unsigned n, struct cringle_err *err)
{
        int number = seccomp_syscall_resolve_name(name), r;

        if (number == __NR_SCMP_ERROR)
                return decide(c, name, action, n, err);
        if (number > c->highest)
                c->highest = number;
        if (action == c->default_action)
                return 0;

        r = seccomp_rule_add_array(c->ctx, action, number, n, conditions);
        /* EEXIST: said before. */
        if (r < 0 && r != -EEXIST)
                return err_sysno(err, -r, "rule for %s", name);
        return 0;
}

static int add_entry(struct compiler *c, struct json_object *entry, struct cringle_err *err)
{
        struct scmp_arg_cmp conditions[6];
        auto_strv names = NULL;
        unsigned n;
        uint32_t action;
        int r;

        if (action_of(entry, "action", "errnoRet", &action, err) < 0 ||
            conditions_of(entry, conditions, &n, err) < 0 || (r = json_get_strv(entry, "names", &names, err)) < 0)
                return -1;
        if (r == 0)
                return err_set(err, CRINGLE_E_INVALID, "'names' is missing");
        for (size_t i = 0; names[i]; i++)
                if (add_call(c, names[i], action, conditions, n, err) < 0)
                        return -1;
        return 0;
}

static int add_architectures(struct compiler *c, struct json_object *profile, struct cringle_err *err)
{
        auto_strv list = NULL;

        if (json_get_strv(profile, "architectures", &list, err) < 0)
                return -1;
        for (size_t i = 0; list && list[i]; i++) {
                char lower[32];
                uint32_t token = 0;
                size_t n = 0;

                if (str_starts(list[i], "SCMP_ARCH_")) {
                        const char *name = list[i] + strlen("SCMP_ARCH_");

                        for (; name[n] && n + 1 < sizeof lower; n++)
                                lower[n] = name[n] >= 'A' && name[n] <= 'Z' ? (char) (name[n] + 32) : name[n];
                        lower[n] = '\0';
                        token = name[n] ? 0 : seccomp_arch_resolve_name(lower);
                }
                if (!token)
                        return err_set(err, CRINGLE_E_INVALID, "'%s' is no architecture", list[i]);

                int r = seccomp_arch_add(c->ctx, token);

                /* EEXIST: the native one is there from the start.  EDOM: of other endianness, so never met here. */
                if (r < 0 && r != -EEXIST && r != -EDOM)
                        return err_sysno(err, -r, "architecture %s", list[i]);
        }
        return 0;
}

/*
 * Our part: on the architectures with uniform numbers, answer what we decide and
 * jump over the rest to the library's program.
 */
static int write_preamble(const struct compiler *c, struct buf *ret, struct cringle_err *err)
{
        struct sock_filter p[N_NEWER * 2 + 16];
        bool no_such_call = (c->default_action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO &&
                            c->highest >= FIRST_UNIFORM;
        size_t n = 0, to_end[4], n_to_end = 0;

        if (c->n_decisions == 0 && !no_such_call)
                return 0;

        p[n++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
#if defined(__x86_64__)
        p[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
        to_end[n_to_end++] = n;
        p[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 0, 0);
#else
        p[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_AARCH64, 1, 0);
        to_end[n_to_end++] = n;
        p[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_ARM, 0, 0);
#endif
        p[n++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        to_end[n_to_end++] = n;
        p[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_UNIFORM, 0, 0);
        for (size_t i = 0; i < c->n_decisions; i++) {
                p[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->decisions[i].number, 0, 1);
                p[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, c->decisions[i].action);
        }
        if (no_such_call) {
                to_end[n_to_end++] = n;
                p[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t) c->highest, 0, 0);
                p[n++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 1, 0);
                p[n++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
        }

        /* All of these jump on "no"; a jump is counted from the instruction after it. */
        for (size_t i = 0; i < n_to_end; i++)
                p[to_end[i]].jf = (uint8_t) (n - to_end[i] - 1);
        return buf_add(ret, p, n * sizeof p[0], err);
}

static int export_program(scmp_filter_ctx ctx, struct buf *ret, struct cringle_err *err)
{
        auto_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
        int r;

        if (fd < 0)
                return err_sys(err, "memfd");
        r = seccomp_export_bpf(ctx, fd);
        if (r < 0)
                return err_sysno(err, -r, "export seccomp program");
        if (lseek(fd, 0, SEEK_SET) < 0)
                return err_sys(err, "memfd");
        return file_read_fd(fd, PROGRAM_MAX, ret, err);
}

static int compile(struct compiler *c, struct json_object *profile, struct buf *ret, struct cringle_err *err)
{
        auto_buf program = BUF_INIT;
        struct json_object *list;
        int r;

        if (add_architectures(c, profile, err) < 0 || (r = json_get_array(profile, "syscalls", &list, err)) < 0)
                return -1;
        for (size_t i = 0; r && i < json_object_array_length(list); i++)
                if (add_entry(c, json_object_array_get_idx(list, i), err) < 0)
                        return err_wrap(err, "syscalls[%zu]", i);

        if (write_preamble(c, &program, err) < 0 || export_program(c->ctx, &program, err) < 0)
                return -1;
        if (program.len > PROGRAM_MAX)
                return err_set(err, CRINGLE_E_INVALID, "the filter is too long for the kernel");
        return buf_add(ret, program.data, program.len, err);
}

int seccomp_compile(struct json_object *profile, struct buf *ret, struct cringle_err *err)
{
        struct compiler c = { 0 };
        const char *listener = "";
        uint32_t flags;
        int r;

        if (json_get_string(profile, "listenerPath", &listener, err) < 0 || seccomp_flags(profile, &flags, err) < 0 ||
            action_of(profile, "defaultAction", "defaultErrnoRet", &c.default_action, err) < 0)
                return err_wrap(err, "seccomp profile");
        if (*listener)
                return err_set(err, CRINGLE_E_UNIMPLEMENTED, "seccomp profile: listenerPath is not supported");

        c.ctx = seccomp_init(c.default_action);
        if (!c.ctx)
                return err_set(err, CRINGLE_E_INVALID, "seccomp profile: libseccomp refuses the default action");
        r = compile(&c, profile, ret, err);
        seccomp_release(c.ctx);
        return r < 0 ? err_wrap(err, "seccomp profile") : 0;
}

int seccomp_flags(struct json_object *profile, uint32_t *ret, struct cringle_err *err)
{
        static const struct {
                const char *name;
                uint32_t flag;
        } table[] = {
                /* All threads: there is one when we install it. */
                { "SECCOMP_FILTER_FLAG_TSYNC", 0 },
                { "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
                { "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
                /* Means something with a listener only. */
                { "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 0 },
        };
        auto_strv list = NULL;
        uint32_t flags = 0;

        if (json_get_strv(profile, "flags", &list, err) < 0)
                return -1;
        for (size_t i = 0; list && list[i]; i++) {
                size_t k = 0;

                while (k < sizeof table / sizeof table[0] && strcmp(table[k].name, list[i]) != 0)
                        k++;
                if (k == sizeof table / sizeof table[0])
                        return err_set(err, CRINGLE_E_INVALID, "'%s' is no seccomp flag", list[i]);
                flags |= table[k].flag;
        }
        *ret = flags;
        return 0;
}

int seccomp_key(struct json_object *profile, struct buf *ret, struct cringle_err *err)
{
        const struct scmp_version *v = seccomp_version();

        if (buf_printf(ret, err, "%s %u.%u.%u ", GOARCH, v->major, v->minor, v->micro) < 0)
                return -1;
        return json_write(profile, ret, err);
}
