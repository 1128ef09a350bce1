/*
 * Plays CRIU for tests: MODE swrk FD
 *
 * ok: asks for leave as CRIU does, and says that it has dumped.  fails: writes a log, and says that it has not.  late: that
 * too, when the processes stand still already.  dies, babbles, hangs: what they say.  old: is of a version of long ago.  What it
 * was asked for goes into `asked`, in the directory for images, and when it stands still, runs and the like into `order` above it.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "criu.pb-c.h"

static uint8_t message[1 << 16];

static Criu__Request *hear(int fd)
{
        ssize_t n = recv(fd, message, sizeof message, 0);
        Criu__Request *r = n > 0 ? criu__request__unpack(NULL, (size_t) n, message) : NULL;

        if (!r)
                exit(3);
        return r;
}

static void say(int fd, Criu__Type type, bool success, const char *script)
{
        Criu__Response response = CRIU__RESPONSE__INIT;
        Criu__Notification notify = CRIU__NOTIFICATION__INIT;

        response.type = type;
        response.success = success;
        if (script) {
                notify.script = (char *) script;
                response.notify = &notify;
        }
        if (send(fd, message, criu__response__pack(&response, message), 0) < 0)
                exit(4);
}

static void must_be_allowed(int fd, const char *script)
{
        Criu__Request *answer;

        say(fd, CRIU__TYPE__NOTIFY, true, script);
        answer = hear(fd);
        if (answer->type != CRIU__TYPE__NOTIFY || !answer->notify_success)
                exit(5);
        criu__request__free_unpacked(answer, NULL);
}

static FILE *make(const Criu__Options *o, const char *name)
{
        char path[64];
        FILE *file;

        snprintf(path, sizeof path, "/proc/%d/fd/%d/%s", (int) getppid(), o->images_dir_fd, name);
        file = fopen(path, "w");
        if (!file)
                exit(6);
        return file;
}

static void note(const Criu__Options *o, const char *word)
{
        char path[64], line[64];
        int n = snprintf(line, sizeof line, "%s %d\n", word, o->pid), fd;

        snprintf(path, sizeof path, "/proc/%d/fd/%d/../order", (int) getppid(), o->images_dir_fd);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd < 0 || write(fd, line, (size_t) n) != n)
                exit(7);
        close(fd);
}

static void say_version(int fd, int minor)
{
        Criu__Response response = CRIU__RESPONSE__INIT;
        Criu__Version version = CRIU__VERSION__INIT;

        response.type = CRIU__TYPE__VERSION;
        response.success = true;
        version.major_number = 3;
        version.minor_number = minor;
        response.version = &version;
        if (send(fd, message, criu__response__pack(&response, message), 0) < 0)
                exit(4);
}

int main(int argc, char **argv)
{
        const char *mode = argc == 4 && strcmp(argv[2], "swrk") == 0 ? argv[1] : "";
        int fd = argc == 4 ? atoi(argv[3]) : -1;
        Criu__Request *request = hear(fd);
        FILE *file;

        if (request->type == CRIU__TYPE__VERSION) {
                say_version(fd, strcmp(mode, "old") == 0 ? 17 : 19);
                return 0;
        }
        file = make(request->opts, "asked");
        fprintf(file, "type %d pid %d running %d tty %d cgroups %d\n", request->type, request->opts->pid,
                request->opts->leave_running, request->opts->shell_job, request->opts->manage_cgroups_mode);
        for (size_t i = 0; i < request->opts->n_external; i++)
                fprintf(file, "%s\n", request->opts->external[i]);
        fclose(file);

        if (strcmp(mode, "ok") == 0) {
                must_be_allowed(fd, "pre-dump");
                note(request->opts, "still");
                must_be_allowed(fd, "query-ext-files");
                note(request->opts, "looked");
                note(request->opts, "written");
                must_be_allowed(fd, "post-dump");
                note(request->opts, "runs");
                say(fd, CRIU__TYPE__DUMP, true, NULL);
        } else if (strcmp(mode, "late") == 0 && request->opts->pid == 43) {
                must_be_allowed(fd, "query-ext-files");
                say(fd, CRIU__TYPE__DUMP, false, NULL);
        } else if (strcmp(mode, "late") == 0) {
                must_be_allowed(fd, "query-ext-files");
                must_be_allowed(fd, "post-dump");
                note(request->opts, "runs");
        } else if (strcmp(mode, "fails") == 0) {
                file = make(request->opts, "dump.log");
                fputs("(00.01) Error (criu/util.c:1534): rlimit: not permitted\n(00.02) mnt: looks\n"
                      "(00.03) Error (criu/files.c:1): no such mount\n(00.04) Error (criu/dump.c:2): Dump files failed\n"
                      "(00.05) Error (criu/cr-dump.c:2128): Dumping FAILED.\n", file);
                fclose(file);
                say(fd, CRIU__TYPE__DUMP, false, NULL);
        } else if (strcmp(mode, "babbles") == 0) {
                if (send(fd, "\xff\xff\xff", 3, 0) < 0)
                        exit(4);
        } else if (strcmp(mode, "hangs") == 0) {
                pause();
        }
        criu__request__free_unpacked(request, NULL);
        return 0;
}
