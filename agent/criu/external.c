/*
 * External mounts; see external.h and proc(5), /proc/PID/mountinfo
 */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/criu/external.h"

/* A line of mountinfo; what it points to is in the text. */
struct mount {
        char *device;                   /* "254:0" */
        char *root;                     /* within its file system */
        char *point;
};

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime ..." */
static bool parse(char *line, struct mount *ret)
{
        char *save, *word = strtok_r(line, " ", &save);

        for (int i = 0; word && i < 5; i++, word = strtok_r(NULL, " ", &save)) {
                if (i == 2)
                        ret->device = word;
                else if (i == 3)
                        ret->root = word;
                else if (i == 4)
                        ret->point = word;
        }
        if (!word)
                return false;
        str_undo_octal(ret->root);
        str_undo_octal(ret->point);
        return true;
}

static int read_mounts(char *text, struct mount **ret, size_t *ret_n, struct cringle_err *err)
{
        auto_free struct mount *mounts = NULL;
        size_t n = 0, room = 1;
        char *save;

        for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
                room++;
        mounts = calloc(room, sizeof *mounts);
        if (!mounts)
                return err_oom(err);
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                if (!parse(line, &mounts[n++]))
                        return err_set(err, CRINGLE_E_INTERNAL, "line %zu of mountinfo cannot be read", n);
        *ret = steal(&mounts);
        *ret_n = n;
        return 0;
}

static bool is_whole(const struct mount *m)
{
        return strcmp(m->root, "/") == 0;
}

static bool has_whole(const struct mount *mounts, size_t n, const char *device)
{
        for (size_t i = 0; i < n; i++)
                if (is_whole(&mounts[i]) && strcmp(mounts[i].device, device) == 0)
                        return true;

        return false;
}

int criu_external_mounts(const char *mountinfo, const char *const *binds, char ***ret, struct cringle_err *err)
{
        auto_free char *text = strdup(mountinfo);
        auto_free struct mount *mounts = NULL;
        auto_strv list = NULL;
        size_t n;

        if (!text)
                return err_oom(err);
        if (read_mounts(text, &mounts, &n, err) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                const struct mount *m = &mounts[i];
                auto_free char *words = NULL;

                if (strcmp(m->point, "/") == 0)
                        continue;
                if (!strv_has(binds, m->point) && (is_whole(m) || has_whole(mounts, n, m->device)))
                        continue;
                words = str_printf(err, "mnt[%s]:%s", m->point, m->point);
                if (!words || strv_add(&list, words, err) < 0)
                        return -1;
        }
        *ret = steal(&list);
        return 0;
}
