#pragma once

/*
 * CNI plugins that are shell scripts
 *
 * A fixture is a directory with conf/, bin/, cache/, state/.  A script notes that it ran
 * in `log` ("ADD first"), its environment and stdin in <name>.<COMMAND>.{env,in}, and
 * then does what <name>.<COMMAND>.do says, or succeeds with nothing.
 */

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/unit.h"

#include "agent/base/file.h"
#include "agent/base/json.h"
#include "agent/base/str.h"

#define RESULT "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"'$CNI_NETNS'\"}]," \
               "\"ips\":[{\"address\":\"10.9.0.5/24\",\"interface\":0}]}"
#define GIVES_RESULT "echo '" RESULT "'"

struct cni_fixture {
        char *dir;
        char *bin_dirs[2];
};

static inline char *fixture_path(const struct cni_fixture *f, const char *name)
{
        char *path = str_printf(NULL, "%s/%s", f->dir, name);

        assert_non_null(path);
        return path;
}

static inline void fixture_write(const struct cni_fixture *f, const char *name, const char *text)
{
        auto_free char *path = fixture_path(f, name);

        assert_ok(file_replace(path, text, strlen(text), 0755, false, unit_err()), unit_err());
}

/* What is in a file; "" when it is not there.  Good until the next call. */
static inline const char *fixture_read(const struct cni_fixture *f, const char *name)
{
        static struct buf b;
        auto_free char *path = fixture_path(f, name);

        buf_done(&b);
        b = (struct buf) BUF_INIT;
        return file_read(path, 1 << 20, &b, NULL) < 0 || !b.data ? "" : b.data;
}

static inline bool fixture_has(const struct cni_fixture *f, const char *name)
{
        auto_free char *path = fixture_path(f, name);

        return file_exists(path);
}

static inline void fixture_remove(const struct cni_fixture *f, const char *name)
{
        auto_free char *path = fixture_path(f, name);

        assert_ok(file_remove_tree(path, unit_err()), unit_err());
}

static inline void fixture_plugin(const struct cni_fixture *f, const char *name)
{
        auto_free char *file = str_printf(NULL, "bin/%s", name);
        auto_free char *text = str_printf(NULL,
                "#!/bin/sh\n"
                "at=%s/${0##*/}.$CNI_COMMAND\n"
                "echo $CNI_COMMAND ${0##*/} >>%s/log\n"
                "env >$at.env\n"
                "cat >$at.in\n"
                "if [ -e $at.do ]; then . $at.do; fi\n", f->dir, f->dir);

        fixture_write(f, file, text);
}

static inline void fixture_make(struct cni_fixture *f)
{
        signal(SIGPIPE, SIG_IGN);       /* as in the agent */
        f->dir = unit_make_dir();
        for (const char *const *name = (const char *const[]) { "conf", "bin", "cache", "state", "run", NULL }; *name; name++) {
                auto_free char *path = fixture_path(f, *name);

                assert_int_equal(mkdir(path, 0700), 0);
        }
        f->bin_dirs[0] = fixture_path(f, "bin");
        f->bin_dirs[1] = NULL;
        fixture_plugin(f, "first");
        fixture_plugin(f, "second");
}

static inline void fixture_drop(struct cni_fixture *f)
{
        file_remove_tree(f->dir, NULL);
        free(f->bin_dirs[0]);
        free(f->dir);
}
