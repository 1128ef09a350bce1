/*
 * What the builder asks of the machine, answered by this one
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/base/file.h"
#include "agent/base/guard.h"
#include "agent/base/label.h"
#include "agent/base/str.h"
#include "agent/oci/caps.h"
#include "agent/oci/spec.h"

#define PROFILE_MAX (1 << 20)
#define MOUNTINFO_MAX (64 << 20)
#define DEVICES_MAX 65536

static int resolve(void *data, const char *path, char **ret, struct cringle_err *err)
{
        char *real = realpath(path, NULL);

        if (!real)
                return err_sys(err, "host path %s", path);
        *ret = real;
        return 0;
}

/* --- propagation --- */

/* "36 35 98:0 /root /mount/point options [tags...] - type source options" */
static int propagation_of_line(char *line, const char *path, size_t *longest, enum spec_propagation *ret)
{
        char *save, *word = strtok_r(line, " ", &save), *point = NULL;
        enum spec_propagation found = SPEC_PRIVATE;
        size_t n;

        for (int i = 0; word && strcmp(word, "-") != 0; i++, word = strtok_r(NULL, " ", &save)) {
                if (i == 4)
                        point = word;
                if (i > 5 && str_starts(word, "shared:"))
                        found = SPEC_SHARED;
                if (i > 5 && str_starts(word, "master:") && found == SPEC_PRIVATE)
                        found = SPEC_SLAVE;
        }
        if (!point)
                return 0;
        str_undo_octal(point);
        n = strcmp(point, "/") == 0 ? 0 : strlen(point);
        if (strncmp(path, point, n) != 0 || (path[n] != '\0' && path[n] != '/') || n < *longest)
                return 0;

        /* Of several on one place the last is on top. */
        *longest = n;
        *ret = found;
        return 1;
}

static int propagation(void *data, const char *path, enum spec_propagation *ret, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        char *save, *line;
        size_t longest = 0;
        int found = 0;

        if (file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &text, err) < 0)
                return -1;
        for (line = text.data ? strtok_r(text.data, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
                found |= propagation_of_line(line, path, &longest, ret);
        return found ? 0 : err_set(err, CRINGLE_E_NOT_FOUND, "no mount holds %s", path);
}

/* --- devices --- */

struct device_list {
        struct spec_device *list;
        size_t n;
};

static int add_device(struct device_list *d, const char *path, const struct stat *st, struct cringle_err *err)
{
        struct spec_device *more;

        if (d->n >= DEVICES_MAX)
                return err_set(err, CRINGLE_E_EXHAUSTED, "more than %d devices", DEVICES_MAX);
        more = reallocarray(d->list, d->n + 1, sizeof *more);
        if (!more)
                return err_oom(err);
        d->list = more;
        more[d->n] = (struct spec_device){
                .path = strdup(path),
                .type = S_ISBLK(st->st_mode) ? 'b' : S_ISCHR(st->st_mode) ? 'c' : 'p',
                .major = major(st->st_rdev),
                .minor = minor(st->st_rdev),
                .mode = st->st_mode & 0777,
                .uid = st->st_uid,
                .gid = st->st_gid,
        };
        return more[d->n++].path ? 0 : err_oom(err);
}

/* Directories of /dev that belong to a namespace or hold links, not devices; and the terminal of whoever started us. */
static bool is_skipped(const char *path)
{
        static const char *const skipped[] = { "/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.lxc",
                                               "/dev/.lxd-mounts", "/dev/.udev", "/dev/console", NULL };

        return strv_has(skipped, path);
}

/* Add the devices of one directory; its subdirectories are put on @todo. */
static int scan(const char *dir, struct device_list *d, char ***todo, struct cringle_err *err)
{
        DIR *at = opendir(dir);
        struct dirent *entry;
        int r = 0;

        if (!at)
                return errno == ENOENT ? 0 : err_sys(err, "%s", dir);
        while (r == 0 && (entry = readdir(at))) {
                auto_free char *path = NULL;
                struct stat st;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                path = str_printf(err, "%s/%s", dir, entry->d_name);
                if (!path) {
                        r = -1;
                } else if (is_skipped(path) || lstat(path, &st) < 0) {
                        continue;       /* gone meanwhile: hardware comes and goes */
                } else if (S_ISDIR(st.st_mode)) {
                        r = strv_add(todo, path, err);
                } else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
                        /* 0:0 is a whiteout of overlayfs, no device. */
                        r = st.st_rdev ? add_device(d, path, &st, err) : 0;
                }
        }
        closedir(at);
        return r;
}

static int by_path(const void *a, const void *b)
{
        return strcmp(((const struct spec_device *) a)->path, ((const struct spec_device *) b)->path);
}

static int find_devices(const char *path, struct device_list *d, struct cringle_err *err)
{
        auto_strv todo = NULL;
        struct stat st;

        if (lstat(path, &st) < 0)
                return err_sys(err, "device %s", path);
        if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) || S_ISFIFO(st.st_mode))
                return add_device(d, path, &st, err);
        if (!S_ISDIR(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "%s is no device", path);

        if (strv_add(&todo, path, err) < 0)
                return -1;
        for (size_t i = 0; todo[i]; i++)
                if (scan(todo[i], d, &todo, err) < 0)
                        return -1;
        return 0;
}

static int devices(void *data, const char *path, struct spec_device **ret, size_t *ret_n, struct cringle_err *err)
{
        struct device_list d = { 0 };

        if (find_devices(path, &d, err) < 0) {
                for (size_t i = 0; i < d.n; i++)
                        free(d.list[i].path);
                free(d.list);
                return -1;
        }
        if (d.n)
                qsort(d.list, d.n, sizeof d.list[0], by_path);
        *ret = d.list;
        *ret_n = d.n;
        return 0;
}

/* --- profiles --- */

static int profile(void *data, const char *path, struct buf *ret, struct cringle_err *err)
{
        auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        struct stat st;

        if (fd < 0)
                return err_sys(err, "open");
        if (fstat(fd, &st) < 0)
                return err_sys(err, "stat");
        if (GUARD(profile_regular) && !S_ISREG(st.st_mode))
                return err_set(err, CRINGLE_E_INVALID, "not a regular file");
        return file_read_fd(fd, PROFILE_MAX, ret, err);
}

/* One line of the list is "name (mode)". */
static int apparmor(void *data, const char *name, struct cringle_err *err)
{
        auto_buf text = BUF_INIT;
        char *save, *line;
        size_t n = strlen(name);

        if (file_read("/sys/kernel/security/apparmor/profiles", 4 << 20, &text, err) < 0)
                return -1;
        for (line = text.data ? strtok_r(text.data, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
                if (strncmp(line, name, n) == 0 && str_starts(line + n, " ("))
                        return 0;
        return err_set(err, CRINGLE_E_NOT_FOUND, "the profile is not loaded");
}

static int selinux(void *data, const char *label, struct cringle_err *err)
{
        return label_check(label, err);
}

const struct spec_machine spec_this_machine = {
        .resolve = resolve,
        .propagation = propagation,
        .devices = devices,
        .profile = profile,
        .apparmor = apparmor,
        .selinux = selinux,
};

/* --- what is true of the whole process --- */

static uint64_t bounding_set(void)
{
        uint64_t set = 0;

        for (int bit = 0; bit < CAPS_COUNT; bit++)
                if (prctl(PR_CAPBSET_READ, bit) == 1)
                        set |= UINT64_C(1) << bit;
        return set;
}

int spec_input_probe(struct spec_input *in, struct cringle_err *err)
{
        auto_free char *score = NULL, *apparmor_on = NULL;

        if (file_read_line("/proc/self/oom_score_adj", &score, err) < 0 ||
            str_int64(score, -1000, 1000, &in->oom_score_adj, err) < 0)
                return err_wrap(err, "own oom_score_adj");

        in->caps = bounding_set();
        in->may_lower_oom = in->caps & UINT64_C(1) << caps_bit("SYS_RESOURCE");
        in->has_seccomp = prctl(PR_GET_SECCOMP) >= 0;
        in->has_apparmor = file_read_line("/sys/module/apparmor/parameters/enabled", &apparmor_on, NULL) == 0 &&
                           apparmor_on[0] == 'Y' && file_exists("/sys/kernel/security/apparmor/profiles");
        in->has_selinux = label_active();
        return 0;
}
