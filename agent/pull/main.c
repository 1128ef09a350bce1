/*
 * cringle-pull: what touches bytes from outside, in processes that can do little else
 *
 * Started by the agent, never by hand; which half it is stands in its first argument.  It
 * speaks agent/wire/pull.h on fd 3.
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/pull/modes.h"

static const struct {
        const char *name;
        int (*main)(int argc, char **argv);
} modes[] = {
        { "fetch", fetch_main },        /* registries */
        { "unpack", unpack_main },      /* layers */
        { "lookup", lookup_main },      /* users in an image */
};

int main(int argc, char **argv)
{
        signal(SIGPIPE, SIG_IGN);       /* a reader that went away and a file too long are errors to report */
        signal(SIGXFSZ, SIG_IGN);

        for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
                if (strcmp(argv[1], modes[i].name) == 0)
                        return modes[i].main(argc - 1, argv + 1);

        fprintf(stderr, "cringle-pull: started by the agent as fetch, unpack or lookup\n");
        return 2;
}
