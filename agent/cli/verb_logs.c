/*
 * cringle logs POD CONTAINER: a container's log, each stream to its own.
 *
 * The file has a record per line: time, stream, "F" (or "P": the line goes on in
 * the next record), text.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/str.h"
#include "agent/cli/cli.h"

/* Prints one record; what is none is printed as it is. */
static void print_record(const char *line, size_t n)
{
        const char *end = line + n, *stream, *tag = NULL, *text = NULL;

        stream = memchr(line, ' ', n);
        if (stream)
                tag = memchr(stream + 1, ' ', (size_t) (end - stream - 1));
        if (tag)
                text = memchr(tag + 1, ' ', (size_t) (end - tag - 1));
        if (!text) {
                fwrite(line, 1, n, stdout);
                return;
        }

        text++;
        if (tag[1] == 'P' && end > text && end[-1] == '\n')
                end--;
        fwrite(text, 1, (size_t) (end - text), str_starts(stream, " stderr ") ? stderr : stdout);
}

static int print_log(const char *path, struct cringle_err *err)
{
        FILE *file = fopen(path, "re");
        char *line = NULL;
        size_t room = 0;
        ssize_t n;
        int sys;

        if (!file)
                return err_sys(err, "open %s", path);
        while ((n = getline(&line, &room, file)) >= 0)
                print_record(line, (size_t) n);
        sys = ferror(file) ? errno : 0;
        free(line);
        fclose(file);
        return sys ? err_sysno(err, sys, "read %s", path) : 0;
}

int verb_logs(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
        auto_reply(Cri__ContainerStatusResponse) reply = NULL;
        auto_free char *id = NULL;

        if (argc != 3)
                return cli_usage("logs POD CONTAINER");
        if (cli_find_container(c, argv[1], argv[2], &id, err) < 0)
                return -1;

        request.container_id = id;
        if (cli_runtime(c, "ContainerStatus", &request, CLI_PATIENCE, &reply, err) < 0)
                return -1;
        if (!reply->status || !*reply->status->log_path)
                return err_set(err, CRINGLE_E_NOT_FOUND, "container '%s' has no log", argv[2]);
        return print_log(reply->status->log_path, err);
}
