/*
 * A hook that does what the annotation `do` says, trouble included; for tests of hooks in
 * processes of their own.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <api/hook.h>

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

static int run(void *self, const struct cringle_event *ev, struct cringle_err *err)
{
        const char *what = ev->annotation(ev, "do");

        if (!what)
                return 0;
        if (strcmp(what, "crash") == 0)
                raise(SIGABRT);
        if (strcmp(what, "exit") == 0)
                exit(3);
        while (strcmp(what, "hang") == 0)
                pause();
        if (strcmp(what, "refuse") == 0)
                return cringle_fail(err, CRINGLE_E_DENIED, "not this one");
        if (strcmp(what, "nonsense") == 0)
                return ev->set_env(ev, NULL, "", err);
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

CRINGLE_PLUGIN(troubled,
        .kind = CRINGLE_HOOK,
        .major = CRINGLE_HOOK_MAJOR,
        .minor = CRINGLE_HOOK_MINOR,
        .help = "does what it is told",
        .settings = settings,
        .create = create,
        .reload = reload,
        .destroy = destroy,
        .ops = &ops);
