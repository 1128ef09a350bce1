/*
 * audit: write down who ran what, and how it ended
 *
 * One JSON object per line, each line one write(2) to a file opened for appending,
 * so that lines never mix.  "start" is written before the container's first process
 * runs: with the policy `fail` nothing runs that is not in the file.  The file is
 * made with mode 0600; one that was moved away (logrotate) or removed is made anew
 * at the next line, and a new setting `file` counts from the next line on.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "plugins/api/hook.h"

struct audit {
        pthread_mutex_t lock;           /* guards all below */
        char *path;
        int fd;
        int torn;                       /* the last line was cut short: begin with a line's end */
};

/* --- the file --- */

/* The fd, or -1.  O_NONBLOCK: opening must not wait should somebody have put a pipe there. */
static int open_file(const char *path, struct cringle_err *err)
{
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
        struct stat st;

        if (fd < 0)
                return cringle_fail(err, CRINGLE_E_INTERNAL, "open %s: %s", path, strerror(errno));
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
                return fd;
        close(fd);
        return cringle_fail(err, CRINGLE_E_INVALID, "%s is not a regular file", path);
}

/* Whether the open file is still the one at the path. */
static int is_there(const struct audit *a)
{
        struct stat here, there;

        return fstat(a->fd, &here) == 0 && lstat(a->path, &there) == 0 && here.st_dev == there.st_dev &&
               here.st_ino == there.st_ino;
}

/* The lock is held. */
static int write_line(struct audit *a, const char *line, size_t n, struct cringle_err *err)
{
        ssize_t written;

        if (!is_there(a)) {
                int fd = open_file(a->path, err);

                if (fd < 0)
                        return -1;
                close(a->fd);
                a->fd = fd;
                a->torn = 0;
        }
        if (a->torn && write(a->fd, "\n", 1) != 1)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "write %s: %s", a->path, strerror(errno));
        a->torn = 0;
        do
                written = write(a->fd, line, n);
        while (written < 0 && errno == EINTR);
        if (written < 0)
                return cringle_fail(err, errno == ENOSPC ? CRINGLE_E_EXHAUSTED : CRINGLE_E_INTERNAL, "write %s: %s",
                                    a->path, strerror(errno));
        if ((size_t) written < n) {
                a->torn = 1;
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "write %s: only %zd bytes of %zu", a->path, written, n);
        }
        return 0;
}

/* --- the line --- */

/* The length of the UTF-8 character at @s, 0: it is none. */
static size_t character(const unsigned char *s)
{
        static const struct {
                unsigned char lead, least, most;        /* the first byte, and what the second may be */
                unsigned char last_lead;
                size_t length;
        } forms[] = {
                { 0xc2, 0x80, 0xbf, 0xdf, 2 }, { 0xe0, 0xa0, 0xbf, 0xe0, 3 }, { 0xe1, 0x80, 0xbf, 0xec, 3 },
                { 0xed, 0x80, 0x9f, 0xed, 3 }, { 0xee, 0x80, 0xbf, 0xef, 3 }, { 0xf0, 0x90, 0xbf, 0xf0, 4 },
                { 0xf1, 0x80, 0xbf, 0xf3, 4 }, { 0xf4, 0x80, 0x8f, 0xf4, 4 },
        };

        if (*s < 0x80)
                return 1;
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
                if (*s < forms[i].lead || *s > forms[i].last_lead)
                        continue;
                if (s[1] < forms[i].least || s[1] > forms[i].most)
                        return 0;
                for (size_t k = 2; k < forms[i].length; k++)
                        if ((s[k] & 0xc0) != 0x80)
                                return 0;
                return forms[i].length;
        }
        return 0;
}

/* What is no UTF-8 becomes U+FFFD, for each reader to see the same. */
static void put_string(FILE *f, const char *text)
{
        const unsigned char *s = (const unsigned char *) text;

        fputc('"', f);
        while (*s) {
                size_t n = character(s);

                if (n == 0)
                        fputs("\\ufffd", f);
                else if (*s == '"' || *s == '\\')
                        fprintf(f, "\\%c", *s);
                else if (*s < 0x20 || *s == 0x7f)
                        fprintf(f, "\\u%04x", *s);
                else
                        fwrite(s, 1, n, f);
                s += n ? n : 1;
        }
        fputc('"', f);
}

static void put_member(FILE *f, const char *name, const char *value)
{
        if (!value)
                return;
        fprintf(f, ",\"%s\":", name);
        put_string(f, value);
}

static void put_args(FILE *f, const char *const *args)
{
        if (!args)
                return;
        fputs(",\"args\":[", f);
        for (size_t i = 0; args[i]; i++) {
                if (i > 0)
                        fputc(',', f);
                put_string(f, args[i]);
        }
        fputc(']', f);
}

static void put_event(FILE *f, const struct cringle_event *ev)
{
        struct timespec now;
        struct tm utc;
        char text[32];

        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &utc);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
        fprintf(f, "{\"time\":\"%s.%09ldZ\",\"event\":\"%s\"", text, now.tv_nsec,
                ev->point == CRINGLE_CONTAINER_START ? "start" : "exit");
        put_member(f, "namespace", ev->pod_space);
        put_member(f, "pod", ev->pod_name);
        put_member(f, "pod_uid", ev->pod_uid);
        put_member(f, "container", ev->container_name);
        put_member(f, "container_id", ev->container_id);
        put_member(f, "image", ev->image);
        put_args(f, ev->args);
        if (ev->point == CRINGLE_CONTAINER_STOPPED)
                fprintf(f, ",\"exit_code\":%d", ev->exit_code);
        fputs("}\n", f);
}

static int audit_run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        struct audit *a = self;
        char *line = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&line, &n);
        int r;

        if (f)
                put_event(f, ev);
        if (!f || fclose(f) != 0) {
                free(line);
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        }

        pthread_mutex_lock(&a->lock);
        r = write_line(a, line, n, err);
        pthread_mutex_unlock(&a->lock);
        free(line);
        return r;
}

/* --- life --- */

static void audit_destroy(void *self)
{
        struct audit *a = self;

        if (a->fd >= 0)
                close(a->fd);
        pthread_mutex_destroy(&a->lock);
        free(a->path);
        free(a);
}

/* Open what @settings name; *ret_path is the caller's.  The fd, or -1. */
static int open_named(const struct cringle_pair *settings, char **ret_path, struct cringle_err *err)
{
        const char *file = NULL;
        int fd;

        for (; settings->key; settings++)
                if (strcmp(settings->key, "file") == 0)
                        file = settings->value;
        if (!file)
                return cringle_fail(err, CRINGLE_E_INVALID, "no setting 'file'");
        fd = open_file(file, err);
        if (fd < 0)
                return -1;
        *ret_path = strdup(file);
        if (!*ret_path) {
                close(fd);
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        }
        return fd;
}

static int audit_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                        struct cringle_err *err)
{
        struct audit *a = calloc(1, sizeof *a);

        if (!a)
                return cringle_fail(err, CRINGLE_E_EXHAUSTED, "out of memory");
        pthread_mutex_init(&a->lock, NULL);
        a->fd = open_named(settings, &a->path, err);
        if (a->fd < 0) {
                audit_destroy(a);
                return -1;
        }

        *ret_self = a;
        return 0;
}

static int audit_reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct audit *a = self;
        char *path = NULL;
        int fd = open_named(settings, &path, err);

        if (fd < 0)
                return -1;
        pthread_mutex_lock(&a->lock);
        close(a->fd);
        free(a->path);
        a->fd = fd;
        a->path = path;
        a->torn = 0;
        pthread_mutex_unlock(&a->lock);
        return 0;
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_CONTAINER_START) | CRINGLE_AT(CRINGLE_CONTAINER_STOPPED),
        .run = audit_run,
};

static const struct cringle_setting schema[] = {
        { "file", CRINGLE_PATH, "/var/log/cringle-audit.jsonl", "where lines are appended; made with mode 0600" },
        { 0 },
};

CRINGLE_PLUGIN(audit,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "writes down who ran what, and how it ended",
        .settings = schema,
        .create = audit_create,
        .reload = audit_reload,
        .destroy = audit_destroy,
        .ops = &ops);
