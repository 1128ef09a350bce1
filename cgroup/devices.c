/*
 * Device access of a cgroup; see devices.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/err.h"
#include "agent/base/str.h"
#include "cgroup/devices.h"

#define PROGRAMS_MAX 64

static int check_rule(const struct cringle_device_rule *r, struct cringle_err *err)
{
        if (!strchr("abc", r->type) || !r->type)
                return err_set(err, CRINGLE_E_INVALID, "device rule: type: want a, b or c, found 0x%02x",
                               (unsigned char) r->type);
        if (!r->access || !*r->access || strspn(r->access, "rwm") != strlen(r->access))
                return err_set(err, CRINGLE_E_INVALID, "device rule: access: want some of rwm, found '%.16s'",
                               r->access ? r->access : "");
        if (r->major < -1 || r->major > INT32_MAX || r->minor < -1 || r->minor > INT32_MAX)
                return err_set(err, CRINGLE_E_INVALID, "device rule: no device has the number %" PRId64 ":%" PRId64,
                               r->major, r->minor);
        return 0;
}

/* --- v1 --- */

static int v1_write(const struct tree *t, const char *path, bool allow, const char *text, struct cringle_err *err)
{
        const char *file = allow ? "devices.allow" : "devices.deny";
        int r = tree_write(t, path, file, text, err);

        if (r == 0)
                return err_set(err, CRINGLE_E_PRECONDITION, "%s/%s: no file %s there", t->mount, path, file);
        return r < 0 ? -1 : 0;
}

static bool is_all(const struct cringle_device_rule *r)
{
        return r->type == 'a' && r->major < 0 && r->minor < 0 && strchr(r->access, 'r') && strchr(r->access, 'w') &&
               strchr(r->access, 'm');
}

static int v1_rule(const struct tree *t, const char *path, char type, const struct cringle_device_rule *r,
                   struct cringle_err *err)
{
        auto_free char *text = NULL;
        char major[24] = "*", minor[24] = "*";

        if (r->major >= 0)
                snprintf(major, sizeof major, "%" PRId64, r->major);
        if (r->minor >= 0)
                snprintf(minor, sizeof minor, "%" PRId64, r->minor);
        text = str_printf(err, "%c %s:%s %s", type, major, minor, r->access);
        return text ? v1_write(t, path, r->allow, text, err) : -1;
}

/* To the kernel "a" means everything, whatever comes after it: what is narrower is said for both types. */
static int v1_rules(const struct tree *t, const char *path, const struct cringle_device_rule *r,
                    struct cringle_err *err)
{
        if (is_all(r))
                return v1_write(t, path, r->allow, "a", err);
        if (r->type != 'a')
                return v1_rule(t, path, r->type, r, err);
        return v1_rule(t, path, 'b', r, err) < 0 || v1_rule(t, path, 'c', r, err) < 0 ? -1 : 0;
}

static int v1_set(const struct tree *t, const char *path, const struct cringle_device_rule *rules, size_t n,
                  struct cringle_err *err)
{
        if (v1_write(t, path, false, "a", err) < 0)
                return -1;
        for (size_t i = 0; i < n; i++)
                if (v1_rules(t, path, &rules[i], err) < 0)
                        return -1;
        return 0;
}

/* @list is what devices.list said: exceptions to deny-all, or "a *:* rwm". */
static void v1_restore(const struct tree *t, const char *path, char *list)
{
        char *rest;

        tree_write(t, path, "devices.deny", "a", NULL);
        for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                tree_write(t, path, "devices.allow", line[0] == 'a' ? "a" : line, NULL);
}

static int v1_apply(const struct tree *t, const char *path, const struct cringle_device_rule *rules, size_t n,
                    struct cringle_err *err)
{
        auto_buf former = BUF_INIT;

        if (tree_read(t, path, "devices.list", &former, err) < 0)
                return -1;
        if (v1_set(t, path, rules, n, err) < 0) {
                if (former.data)
                        v1_restore(t, path, former.data);
                return -1;
        }
        return 0;
}

/* --- v2: the program --- */

/*
 * Registers: r1 context, then scratch; r2 type (block 1, char 2); r3 those of the
 * wanted accesses (mknod 1, read 2, write 4) that no rule has decided yet; r4 major;
 * r5 minor.  The last matching rule decides each access, so rules are tried from
 * the last to the first: an allowing one takes its accesses out of r3, and when
 * none is left access is granted; a denying one refuses if it names one of r3.
 */
struct program {
        struct bpf_insn *at;
        size_t n, room;
};

#define INSN(code_, dst_, src_, off_, imm_)                                                     \
        (struct bpf_insn) { .code = code_, .dst_reg = dst_, .src_reg = src_, .off = off_, .imm = imm_ }

#define LOAD(dst_, src_, off_) INSN(BPF_LDX | BPF_MEM | BPF_W, dst_, src_, off_, 0)
#define MOVE(dst_, src_) INSN(BPF_ALU | BPF_MOV | BPF_X, dst_, src_, 0, 0)
#define MOVE_IMM(dst_, imm_) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst_, 0, 0, imm_)
#define AND_IMM(dst_, imm_) INSN(BPF_ALU | BPF_AND | BPF_K, dst_, 0, 0, imm_)
#define SHIFT_RIGHT(dst_, imm_) INSN(BPF_ALU | BPF_RSH | BPF_K, dst_, 0, 0, imm_)
#define SKIP_UNLESS(reg_, imm_, n_) INSN(BPF_JMP | BPF_JNE | BPF_K, reg_, 0, n_, imm_)
#define SKIP_IF(reg_, imm_, n_) INSN(BPF_JMP | BPF_JEQ | BPF_K, reg_, 0, n_, imm_)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

#define RULE_MAX 8                      /* instructions that one rule can take */

static void emit(struct program *p, struct bpf_insn insn)
{
        p->at[p->n++] = insn;
}

static int access_mask(const char *access)
{
        return (strchr(access, 'm') ? BPF_DEVCG_ACC_MKNOD : 0) | (strchr(access, 'r') ? BPF_DEVCG_ACC_READ : 0) |
               (strchr(access, 'w') ? BPF_DEVCG_ACC_WRITE : 0);
}

static void emit_rule(struct program *p, const struct cringle_device_rule *r)
{
        bool typed = r->type != 'a', major = r->major >= 0, minor = r->minor >= 0;
        int mask = access_mask(r->access);
        int16_t rest = (int16_t) ((typed ? 1 : 0) + (major ? 1 : 0) + (minor ? 1 : 0) + (r->allow ? 4 : 5));

        if (typed)
                emit(p, SKIP_UNLESS(BPF_REG_2, r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, --rest));
        if (major)
                emit(p, SKIP_UNLESS(BPF_REG_4, (int32_t) r->major, --rest));
        if (minor)
                emit(p, SKIP_UNLESS(BPF_REG_5, (int32_t) r->minor, --rest));

        if (r->allow) {
                emit(p, AND_IMM(BPF_REG_3, ~mask));
                emit(p, SKIP_UNLESS(BPF_REG_3, 0, 2));
                emit(p, MOVE_IMM(BPF_REG_0, 1));
                emit(p, EXIT());
        } else {
                emit(p, MOVE(BPF_REG_1, BPF_REG_3));
                emit(p, AND_IMM(BPF_REG_1, mask));
                emit(p, SKIP_IF(BPF_REG_1, 0, 2));
                emit(p, MOVE_IMM(BPF_REG_0, 0));
                emit(p, EXIT());
        }
}

int devices_program(const struct cringle_device_rule *rules, size_t n, struct bpf_insn **ret, size_t *ret_n,
                    struct cringle_err *err)
{
        struct program p = { 0 };

        if (n > 10000)
                return err_set(err, CRINGLE_E_EXHAUSTED, "%zu device rules are too many", n);
        for (size_t i = 0; i < n; i++)
                if (check_rule(&rules[i], err) < 0)
                        return -1;
        p.room = 8 + n * RULE_MAX;
        p.at = calloc(p.room, sizeof *p.at);
        if (!p.at)
                return err_oom(err);

        emit(&p, LOAD(BPF_REG_2, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, access_type)));
        emit(&p, MOVE(BPF_REG_3, BPF_REG_2));
        emit(&p, AND_IMM(BPF_REG_2, 0xffff));
        emit(&p, SHIFT_RIGHT(BPF_REG_3, 16));
        emit(&p, LOAD(BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major)));
        emit(&p, LOAD(BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor)));
        for (size_t i = n; i-- > 0;)
                emit_rule(&p, &rules[i]);
        emit(&p, MOVE_IMM(BPF_REG_0, 0));
        emit(&p, EXIT());

        *ret = p.at;
        *ret_n = p.n;
        return 0;
}

/* --- v2: attaching --- */

static int bpf(int command, union bpf_attr *attr)
{
        return (int) syscall(SYS_bpf, command, attr, sizeof *attr);
}

static int load(const struct bpf_insn *program, size_t n, struct cringle_err *err)
{
        union bpf_attr attr = {
                .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
                .insns = (uintptr_t) program,
                .insn_cnt = (uint32_t) n,
                .license = (uintptr_t) "Apache-2.0",
        };
        int fd = bpf(BPF_PROG_LOAD, &attr);

        return fd < 0 ? err_sys(err, "load the device program (%zu instructions)", n) : fd;
}

static int attach(int cgroup, int program, struct cringle_err *err)
{
        union bpf_attr attr = {
                .target_fd = (uint32_t) cgroup,
                .attach_bpf_fd = (uint32_t) program,
                .attach_type = BPF_CGROUP_DEVICE,
                .attach_flags = BPF_F_ALLOW_MULTI,
        };

        return bpf(BPF_PROG_ATTACH, &attr) < 0 ? err_sys(err, "attach the device program") : 0;
}

static int detach(int cgroup, int program, struct cringle_err *err)
{
        union bpf_attr attr = {
                .target_fd = (uint32_t) cgroup,
                .attach_bpf_fd = (uint32_t) program,
                .attach_type = BPF_CGROUP_DEVICE,
        };

        return bpf(BPF_PROG_DETACH, &attr) < 0 ? err_sys(err, "detach the former device program") : 0;
}

/* The programs attached to @cgroup itself. */
static int attached(int cgroup, uint32_t ids[static PROGRAMS_MAX], size_t *ret_n, struct cringle_err *err)
{
        union bpf_attr attr = {
                .query = {
                        .target_fd = (uint32_t) cgroup,
                        .attach_type = BPF_CGROUP_DEVICE,
                        .prog_ids = (uintptr_t) ids,
                        .prog_cnt = PROGRAMS_MAX,
                },
        };

        if (bpf(BPF_PROG_QUERY, &attr) < 0)
                return err_sys(err, "ask for attached device programs");
        *ret_n = attr.query.prog_cnt;
        return 0;
}

static int detach_id(int cgroup, uint32_t id, struct cringle_err *err)
{
        union bpf_attr attr = { .prog_id = id };
        auto_fd int program = bpf(BPF_PROG_GET_FD_BY_ID, &attr);

        if (program < 0 && errno == ENOENT)
                return 0;
        return program < 0 ? err_sys(err, "open device program %u", id) : detach(cgroup, program, err);
}

/*
 * With several programs attached all of them must grant.  So the new one comes
 * first and the former ones go after it: in between there is less access, never more.
 */
static int v2_apply(const struct tree *t, const char *path, const struct cringle_device_rule *rules, size_t n,
                    struct cringle_err *err)
{
        auto_fd int cgroup = openat(t->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        auto_free struct bpf_insn *program = NULL;
        auto_fd int fresh = -1;
        uint32_t former[PROGRAMS_MAX];
        size_t n_program, n_former = 0;

        if (cgroup < 0)
                return err_sys(err, "open %s/%s", t->mount, path);
        if (devices_program(rules, n, &program, &n_program, err) < 0 || attached(cgroup, former, &n_former, err) < 0)
                return -1;
        fresh = load(program, n_program, err);
        if (fresh < 0 || attach(cgroup, fresh, err) < 0)
                return -1;
        for (size_t i = 0; i < n_former; i++) {
                if (detach_id(cgroup, former[i], err) == 0)
                        continue;
                if (i == 0)
                        detach(cgroup, fresh, NULL);    /* nothing has changed yet: leave it so */
                return -1;
        }
        return 0;
}

int devices_apply(const struct trees *t, const char *path, const struct cringle_device_rule *rules, size_t n,
                  struct cringle_err *err)
{
        const struct tree *v1 = trees_with(t, "devices");

        for (size_t i = 0; i < n; i++)
                if (check_rule(&rules[i], err) < 0)
                        return -1;
        if (v1)
                return v1_apply(v1, path, rules, n, err);
        if (t->unified && v2_apply(t->unified, path, rules, n, err) < 0)
                return err_wrap(err, "%s/%s", t->unified->mount, path);
        if (t->unified)
                return 0;
        return err_set(err, CRINGLE_E_PRECONDITION, "this machine offers no way to limit access to devices");
}
