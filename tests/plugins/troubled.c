/*
 * A hook that does what the annotation `do.NAME`, else `do`, says, trouble included; for tests of
 * what a plugin's faults cost.  NAME is its own, so that one node can have several of them.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <api/hook.h>

#ifndef NAME
#define NAME troubled
#endif
#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x)
#define PLUGIN(...) CRINGLE_PLUGIN(__VA_ARGS__)         /* expands NAME first */

static char word[64];
static const struct cringle_host *services;

static int take(const struct cringle_pair *settings, struct cringle_err *err)
{
        for (; settings->key; settings++) {
                if (strcmp(settings->value, "bad") == 0)
                        return cringle_fail(err, CRINGLE_E_INVALID, "a bad word");
                snprintf(word, sizeof word, "%s", settings->value);
        }
        return 0;
}

static int create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                  struct cringle_err *err)
{
        services = host;
        *ret_self = word;
        return take(settings, err);
}

static int reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        return take(settings, err);
}

static void destroy(void *self)
{
}

static int adjust(const struct cringle_event *ev, struct cringle_err *err)
{
        static const char *const args[] = { "/bin/other", "an argument", NULL };
        char text[256], pid[32];

        snprintf(text, sizeof text, "%s %s/%s %s %s %s", word, ev->pod_space, ev->pod_name, ev->container_name, ev->image,
                 ev->args ? ev->args[0] : "none");
        snprintf(pid, sizeof pid, "%d", getpid());
        services->log(services, CRINGLE_INFO, "adjusting");
        services->count(services, "adjustments", 1);
        if (ev->annotation(ev, "nothing") || ev->env(ev, "NOTHING") || !ev->env(ev, "PATH"))
                return cringle_fail(err, CRINGLE_E_INTERNAL, "the event is not as it should be");
        if (ev->set_env(ev, "SEEN", text, err) < 0 || ev->set_env(ev, "PID", pid, err) < 0 ||
            ev->add_mount(ev, "/dev", "/added", "ro", err) < 0 || ev->drop_mount(ev, "/added", err) < 0 ||
            ev->add_device(ev, "/dev/null", "/dev/nothing", "r", err) < 0 ||
            ev->set_annotation(ev, "key", "value", err) < 0 || ev->set_args(ev, args, err) < 0 ||
            ev->set_rlimit(ev, "RLIMIT_NOFILE", 5, UINT64_MAX, err) < 0)
                return -1;
        return ev->add_oci_hook(ev, "poststop", "/bin/true", NULL, NULL, 7, err);
}

/*
 * A variable of its own and one with what it has seen of the hook `first`, and an OCI hook that
 * writes its name into the container's file of the annotation `file`.
 */
static int tell(const struct cringle_event *ev, struct cringle_err *err)
{
        const char *seen = ev->env(ev, "TOLD_first"), *file = ev->annotation(ev, "file");
        const char *args[] = { "sh", "-c", "echo $1 >>$2", "sh", QUOTE(NAME), file, NULL };

        if (ev->set_env(ev, "TOLD_" QUOTE(NAME), word, err) < 0)
                return -1;
        if (seen && ev->set_env(ev, "SEEN_" QUOTE(NAME), seen, err) < 0)
                return -1;
        return file ? ev->add_oci_hook(ev, "startContainer", "/bin/sh", args, NULL, 0, err) : 0;
}

/* One adjustment each that makes no sense; the number picks it. */
static int nonsense(const struct cringle_event *ev, int number, struct cringle_err *err)
{
        static const char *const no_args[] = { NULL }, *const args[] = { "sh", NULL }, *const bad_env[] = { "=x", NULL };

        switch (number) {
        case 0:
                return ev->set_env(ev, NULL, "", err);
        case 1:
                return ev->set_env(ev, "A=B", "", err);
        case 2:
                return ev->add_mount(ev, "etc/../..", "//x/./y", "\377\001", err);
        case 3:
                return ev->add_device(ev, "/etc", "/dev/x", "rw", err);
        case 4:
                return ev->set_args(ev, no_args, err);
        case 5:
                return ev->set_rlimit(ev, "RLIMIT_NOFILE", 9, 1, err);
        case 6:
                return ev->add_oci_hook(ev, "sometime", "/bin/true", args, NULL, 1, err);
        case 7:
                return ev->add_oci_hook(ev, "poststop", "/bin/true", args, bad_env, -1, err);
        case 8:
                return ev->drop_mount(ev, "/nowhere", err);
        default:
                return ev->add_cdi_device(ev, "no device\n", err);
        }
}

/* Past the interface: into the socket of a process of its own. */
static void talk_wildly(bool sense)
{
        /* A question for a variable, asked for ever, whose answers are not read; else bytes of no meaning. */
        static const char question[] = "\3\0\15\0\0\0\3\0\0\0\5\0\0\0PATH";

        while (write(3, sense ? question : "\xff\xff\0garbage", sense ? sizeof question : 10) > 0)
                ;
}

static int run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        const char *what = ev->annotation(ev, "do." QUOTE(NAME));

        if (!what)
                what = ev->annotation(ev, "do");
        if (!what)
                return 0;
        if (strcmp(what, "crash") == 0)
                raise(SIGABRT);
        if (strcmp(what, "segv") == 0)
                raise(SIGSEGV);
        if (strcmp(what, "exit") == 0)
                exit(3);
        while (strcmp(what, "hang") == 0)
                pause();
        for (volatile int turns = 0; strcmp(what, "spin") == 0; turns++)
                ;
        while (strcmp(what, "leak") == 0)
                memset(malloc(1 << 20), 1, 1 << 20);
        while (strcmp(what, "flood") == 0)
                services->count(services, "floods", 1);
        if (strcmp(what, "garbage") == 0 || strcmp(what, "deaf") == 0)
                talk_wildly(strcmp(what, "deaf") == 0);
        if (strcmp(what, "refuse") == 0)
                return cringle_fail(err, CRINGLE_E_DENIED, "not this one");
        if (strncmp(what, "nonsense", 8) == 0)
                return nonsense(ev, atoi(what + 8), err);
        if (strcmp(what, "tell") == 0)
                return tell(ev, err);
        return adjust(ev, err);
}

static const struct cringle_hook_ops ops = {
        .size = sizeof ops,
        .points = CRINGLE_AT(CRINGLE_CONTAINER_CREATE),
        .run = run,
};

static const struct cringle_setting settings[] = {
        { "word", CRINGLE_STRING, "first", "a word" },
        { 0 },
};

PLUGIN(NAME,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "does what it is told",
        .settings = settings,
        .create = create,
        .reload = reload,
        .destroy = destroy,
        .ops = &ops);
