/*
 * localtime: give a container the node's time zone
 *
 * A pod with the annotation below set to "true" sees the node's zone file as a
 * read-only mount; one container of it can say otherwise with an annotation of its own.
 * The plugin has no settings and keeps no state.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/api/hook.h"

#define ANNOTATION "localtime.cringle.io/mount"
#define ZONE_FILE "/etc/localtime"

static int localtime_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        const char *wanted = ev->annotation(ev, ANNOTATION);
        char *file;
        int r;

        if (!wanted || strcmp(wanted, "false") == 0)
                return 0;
        if (strcmp(wanted, "true") != 0)
                return cringle_fail(err, CRINGLE_E_INVALID, "annotation %s: want true or false, not '%.64s'", ANNOTATION,
                                    wanted);

        /* It is a link into the zone database, and may be another one tomorrow: a container keeps what it began with. */
        file = realpath(ZONE_FILE, NULL);
        if (!file)
                return cringle_fail(err, errno == ENOENT ? CRINGLE_E_NOT_FOUND : CRINGLE_E_INTERNAL, "%s: %s", ZONE_FILE,
                                    strerror(errno));
        r = ev->add_mount(ev, file, ZONE_FILE, "bind,ro,nosuid,nodev,noexec", err);
        free(file);
        return r;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_CONTAINER_CREATE),
        .run = localtime_run,
};

CRINGLE_PLUGIN(localtime,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "the node's time zone, for pods that ask for it",
        .ops = &ops);
