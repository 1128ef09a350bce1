/*
 * Skeletons of plugins; see plugin.h.
 *
 * The texts are files of agent/cli/skeleton, built in.  In them `skeleton-name` is the
 * plugin's name and `skeleton` the same as an identifier of C; nothing else is filled in.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/cli/plugin.h"
#include "skeleton.h"

#define NAME "skeleton-name"
#define IDENTIFIER "skeleton"
#define NAME_MAX_LENGTH 48

/* The files of a plugin: their names there, and of which text they are made; NULL: the kind's. */
static const struct {
        const char *file, *text;
        mode_t mode;
} files[] = {
        { "plugin.c", NULL, 0644 },
        { "Makefile", "Makefile", 0644 },
        { "meson.build", "meson.build.in", 0644 },
        { "test", "test", 0755 },
};

static const char *text_of(const char *name)
{
        for (size_t i = 0; i < sizeof skeletons / sizeof *skeletons; i++)
                if (strcmp(skeletons[i].name, name) == 0)
                        return skeletons[i].text;
        return NULL;
}

/* Lower-case words and dashes, beginning with a letter: so that it is a file name and nearly an identifier. */
static int check_name(const char *name, struct cringle_err *err)
{
        if (!*name || strlen(name) > NAME_MAX_LENGTH || name[0] < 'a' || name[0] > 'z' ||
            strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(name))
                return err_set(err, CRINGLE_E_INVALID, "'%.64s': want lower-case words and dashes, at most %d characters", name,
                               NAME_MAX_LENGTH);
        return 0;
}

static int fill_in(const char *text, const char *name, const char *identifier, struct buf *ret, struct cringle_err *err)
{
        for (;;) {
                const char *found = strstr(text, IDENTIFIER);
                bool is_name = found && str_starts(found, NAME);

                if (buf_add(ret, text, found ? (size_t) (found - text) : strlen(text), err) < 0)
                        return -1;
                if (!found)
                        return 0;
                if (buf_add_str(ret, is_name ? name : identifier, err) < 0)
                        return -1;
                text = found + strlen(is_name ? NAME : IDENTIFIER);
        }
}

/* What is there stays: O_EXCL. */
static int write_file(const char *dir, const char *file, mode_t mode, const struct buf *text, struct cringle_err *err)
{
        auto_free char *path = str_printf(err, "%s/%s", dir, file);
        auto_fd int fd = -1;

        if (!path)
                return -1;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0)
                return err_sys(err, "make %s", path);
        if (file_write_fd(fd, text->data, text->len, err) < 0)
                return err_wrap(err, "write %s", path);
        printf("%s\n", path);
        return 0;
}

int plugin_new(const char *kind, const char *name, const char *dir, struct cringle_err *err)
{
        auto_free char *source = str_printf(err, "%s.c", kind), *test = str_printf(err, "%s.test", kind);
        auto_free char *identifier = strdup(name);

        if (!source || !test || !identifier)
                return err_oom(err);
        if (!kind_named(kind))
                return err_set(err, CRINGLE_E_INVALID, "kind '%.64s': want image, cgroup, network, executor or hook", kind);
        if (check_name(name, err) < 0)
                return -1;
        for (char *at = identifier; *at; at++)
                if (*at == '-')
                        *at = '_';
        if (mkdir(dir, 0755) < 0)
                return err_sys(err, "make %s", dir);

        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                const char *text = text_of(files[i].text ? files[i].text : source);
                auto_buf filled = BUF_INIT;

                if (strcmp(files[i].file, "test") == 0 && text_of(test))
                        text = text_of(test);
                if (fill_in(text, name, identifier, &filled, err) < 0 ||
                    write_file(dir, files[i].file, files[i].mode, &filled, err) < 0)
                        return -1;
        }
        return 0;
}
