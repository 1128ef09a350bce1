/*
 * cringle logs [--tail N] POD CONTAINER, or POD/CONTAINER: a container's log, each
 * stream to its own.
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

#define TAIL_MAX 100000

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

/* The last @tail records of what @file still has. */
static int print_tail(FILE *file, size_t tail, struct cringle_err *err)
{
        struct line {
                char *text;
                size_t room;
                ssize_t n;
        } *ring = calloc(tail, sizeof *ring);
        size_t count = 0;

        if (!ring)
                return err_oom(err);
        for (;; count++) {
                struct line *l = &ring[count % tail];

                l->n = getline(&l->text, &l->room, file);
                if (l->n < 0)
                        break;
        }
        /* The reader's last, empty-handed turn took one line's place. */
        for (size_t i = count < tail ? 0 : count - tail + 1; i < count; i++)
                print_record(ring[i % tail].text, (size_t) ring[i % tail].n);
        for (size_t i = 0; i < tail; i++)
                free(ring[i].text);
        free(ring);
        return 0;
}

static void print_all(FILE *file)
{
        char *line = NULL;
        size_t room = 0;
        ssize_t n;

        while ((n = getline(&line, &room, file)) >= 0)
                print_record(line, (size_t) n);
        free(line);
}

/* @tail 0: all. */
static int print_log(const char *path, size_t tail, struct cringle_err *err)
{
        FILE *file = fopen(path, "re");
        int result = 0, sys;

        if (!file)
                return err_sys(err, "open %s", path);
        if (tail)
                result = print_tail(file, tail + 1, err);
        else
                print_all(file);
        sys = ferror(file) ? errno : 0;
        fclose(file);
        if (result == 0 && sys)
                return err_sysno(err, sys, "read %s", path);
        return result;
}

int verb_logs(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
        auto_reply(Cri__ContainerStatusResponse) reply = NULL;
        auto_free char *id = NULL;
        int64_t tail = 0;

        if (argc > 3 && strcmp(argv[1], "--tail") == 0) {
                if (str_int64(argv[2], 1, TAIL_MAX, &tail, err) < 0)
                        return err_wrap(err, "--tail");
                argc -= 2;
                argv += 2;
        }
        if (argc != 2 && argc != 3)
                return cli_usage("logs [--tail N] POD CONTAINER | logs [--tail N] POD/CONTAINER");
        if (cli_find_container(c, argv[1], argc == 3 ? argv[2] : NULL, &id, err) < 0)
                return -1;

        request.container_id = id;
        if (cli_runtime(c, "ContainerStatus", &request, CLI_PATIENCE, &reply, err) < 0)
                return -1;
        if (!reply->status || !*reply->status->log_path)
                return err_set(err, CRINGLE_E_NOT_FOUND, "container '%s' has no log", argv[argc - 1]);
        return print_log(reply->status->log_path, (size_t) tail, err);
}
