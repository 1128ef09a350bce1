/*
 * Testing a plugin; see plugin.h.
 *
 * The parent never loads the file.  Each check runs in a forked child, in a process
 * group of its own and with a time limit; it writes what it came to into a pipe, and
 * a child that ends without having done so has crashed, or was made to exit.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/child.h"
#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/cli/plugin.h"
#include "agent/host/judge.h"
#include "agent/host/load.h"
#include "agent/host/settings.h"

#define FACTORIES_MAX 16
#define SPAWN_OUTPUT_MAX (1024 * 1024)

/* What a child writes into the pipe, once. */
struct outcome {
        int32_t result;                 /* 0 or -1 */
        uint32_t n_factories;           /* of the first child alone */
        struct {
                int32_t kind;
                char name[64];
        } factories[FACTORIES_MAX];
        char note[256];
        struct cringle_err err;
};

/* --- in the child: services --- */

static void service_log(const struct cringle_host *host, int level, const char *text)
{
        printf("# log: %s\n", text);
}

static void service_count(const struct cringle_host *host, const char *name, int64_t delta)
{
}

static int service_spawn(const struct cringle_host *host, const struct cringle_call *call, char *const argv[],
                         char *const envp[], const char *input, int *ret_status, char **ret_output,
                         struct cringle_err *err)
{
        struct child_spec spec = { .path = argv[0], .argv = (const char *const *) argv, .envp = (const char *const *) envp };
        struct buf in = { .data = (char *) (uintptr_t) input, .len = input ? strlen(input) : 0 };
        auto_buf output = BUF_INIT;
        int status;

        if (child_run(&spec, call, input ? &in : NULL, &output, SPAWN_OUTPUT_MAX, NULL, &status, err) < 0)
                return -1;
        *ret_output = buf_steal(&output);
        if (!*ret_output)
                return err_oom(err);
        *ret_status = status;
        return status == 0 ? 0 : err_set(err, CRINGLE_E_INTERNAL, "%s failed", argv[0]);
}

/* --- in the child: a bench --- */

/* What it allocates lives as long as the child. */
static int bench_make(struct bench *b, const struct plugin_test *t, int kind, const char *name, const char *dir,
                      struct cringle_err *err)
{
        const struct cringle_plugin *p;

        *b = (struct bench) { .test = t, .kind = kind_of(kind) };
        if (load_open(t->file, &p, err) < 0 || judge_find(p, b->kind, name, &b->factory, err) < 0)
                return -1;
        b->ops = calloc(1, b->kind->ops_size);
        if (!b->ops)
                return err_oom(err);
        judge_copy_ops(b->kind, b->factory.ops, b->ops);
        b->services = (struct cringle_host) {
                .size = sizeof b->services,
                .version = CRINGLE_VERSION,
                .state_dir = str_printf(err, "%s/state", dir),
                .run_dir = str_printf(err, "%s/run", dir),
                .log = service_log,
                .count = service_count,
                .spawn = service_spawn,
        };
        if (!b->services.state_dir || !b->services.run_dir || file_make_dirs(b->services.state_dir, 0700, err) < 0 ||
            file_make_dirs(b->services.run_dir, 0700, err) < 0)
                return -1;
        return settings_check(b->factory.settings, t->settings, &b->settings, err);
}

int bench_up(struct bench *b, const struct cringle_pair *settings, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        b->self = NULL;
        if (b->factory.create && b->factory.create(&b->services, settings, &b->self, &why) < 0)
                return check_said_why("create", &why, err) < 0 ? -1 : err_set(err, why.code, "create: %s", why.text);
        b->created = true;
        if (b->factory.start && b->factory.start(b->self, &why) < 0)
                return check_said_why("start", &why, err) < 0 ? -1 : err_set(err, why.code, "start: %s", why.text);
        b->started = true;
        return 0;
}

void bench_down(struct bench *b)
{
        if (b->started && b->factory.quiesce)
                b->factory.quiesce(b->self);
        if (b->created && b->factory.destroy)
                b->factory.destroy(b->self);
        b->created = b->started = false;
        b->self = NULL;
}

int check_said_why(const char *what, const struct cringle_err *why, struct cringle_err *err)
{
        if (!memchr(why->text, '\0', sizeof why->text))
                return err_set(err, CRINGLE_E_INTERNAL, "%s failed with a text that has no end", what);
        if (!why->text[0])
                return err_set(err, CRINGLE_E_INTERNAL, "%s failed without a text: use cringle_fail()", what);
        if (why->code <= CRINGLE_OK || why->code > CRINGLE_E_UNAUTHENTICATED)
                return err_set(err, CRINGLE_E_INTERNAL, "%s failed with code %d, which is none of <cringle/err.h>", what,
                               why->code);
        if (strchr(why->text, '\n'))
                return err_set(err, CRINGLE_E_INTERNAL, "%s failed with a text of several lines", what);
        return 0;
}

/* --- checks for all kinds --- */

static int check_probe(struct bench *b, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (!b->factory.probe || b->factory.probe(&why) == 0)
                return 0;
        snprintf(b->note, sizeof b->note, "it cannot work on this machine: %s", why.text);
        return check_said_why("probe", &why, err);
}

static int check_schema(struct bench *b, struct cringle_err *err)
{
        auto_settings all = NULL;

        for (const struct cringle_setting *s = b->factory.settings; s && s->name; s++) {
                if (!s->name[0] || strspn(s->name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(s->name))
                        return err_set(err, CRINGLE_E_INVALID, "setting '%.64s': want a lower-case word", s->name);
                if (str_empty(s->help))
                        return err_set(err, CRINGLE_E_INVALID, "setting '%s' has no help", s->name);
                for (const struct cringle_setting *other = b->factory.settings; other < s; other++)
                        if (strcmp(other->name, s->name) == 0)
                                return err_set(err, CRINGLE_E_INVALID, "setting '%s' is there twice", s->name);
        }
        return settings_check(b->factory.settings, NULL, &all, err);
}

static int check_life(struct bench *b, struct cringle_err *err)
{
        for (int i = 0; i < 2; i++) {
                if (bench_up(b, b->settings, err) < 0)
                        return -1;
                bench_down(b);
        }
        return 0;
}

/* What the host does when start has failed, or the next plugin was refused. */
static int check_unstarted(struct bench *b, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (b->factory.create && b->factory.create(&b->services, b->settings, &b->self, &why) < 0)
                return err_set(err, why.code, "create: %s", why.text);
        if (b->factory.destroy)
                b->factory.destroy(b->self);
        return 0;
}

/* @settings may be refused, in words, or taken. */
static int take_or_refuse(struct bench *b, const struct cringle_pair *settings, const char *what, struct cringle_err *err)
{
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (b->factory.create && b->factory.create(&b->services, settings, &b->self, &why) < 0)
                return check_said_why(what, &why, err);
        if (b->factory.destroy)
                b->factory.destroy(b->self);
        b->self = NULL;
        return 0;
}

static int check_no_settings(struct bench *b, struct cringle_err *err)
{
        static const struct cringle_pair none[] = { { 0 } };

        return take_or_refuse(b, none, "create without settings", err);
}

/* What the host's own check lets through: odd values of strings; and a key it would not. */
static int check_odd_settings(struct bench *b, struct cringle_err *err)
{
        auto_free char *text = malloc(8193);
        const char *const values[] = { "", " ", "%s%n%s%n", "\xff\xfe", "-1", "/no/such/place", text };
        struct cringle_pair odd[] = { { "no-such-setting", "x" }, { 0 }, { 0 } };

        if (!text)
                return err_oom(err);
        memset(text, 'x', 8192);
        text[8192] = '\0';
        if (take_or_refuse(b, odd, "create with an unknown setting", err) < 0)
                return -1;
        for (const struct cringle_setting *s = b->factory.settings; s && s->name; s++) {
                for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
                        auto_settings checked = NULL;

                        odd[0] = (struct cringle_pair) { s->name, values[i] };
                        odd[1] = s->type == CRINGLE_STRING_LIST ? odd[0] : (struct cringle_pair) { 0 };
                        if (settings_check(b->factory.settings, odd, &checked, NULL) == 0 &&
                            take_or_refuse(b, checked, s->name, err) < 0)
                                return -1;
                }
        }
        return 0;
}

static int check_reload(struct bench *b, struct cringle_err *err)
{
        static const struct cringle_pair none[] = { { 0 } };
        struct cringle_err why = CRINGLE_ERR_INIT;

        if (!b->factory.reload) {
                snprintf(b->note, sizeof b->note, "it has none: new settings need a restart");
                return 0;
        }
        if (bench_up(b, b->settings, err) < 0)
                return -1;
        if (b->factory.reload(b->self, none, &why) < 0 && check_said_why("reload without settings", &why, err) < 0)
                return -1;
        for (int i = 0; i < 3; i++) {
                why = (struct cringle_err) CRINGLE_ERR_INIT;
                if (b->factory.reload(b->self, b->settings, &why) < 0)
                        return err_set(err, why.code, "reload with the settings it was created with: %s", why.text);
        }
        bench_down(b);
        return 0;
}

static int check_two(struct bench *b, struct cringle_err *err)
{
        struct bench other = *b;

        if (bench_up(b, b->settings, err) < 0 || bench_up(&other, b->settings, err) < 0)
                return err_wrap(err, "two at once");
        if (b->factory.create && b->self && b->self == other.self)
                return err_set(err, CRINGLE_E_INTERNAL, "two instances are one");
        bench_down(b);
        bench_down(&other);
        return 0;
}

static size_t open_fds(void)
{
        size_t n = 0;

        for (int fd = 0; fd < 4096; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static long threads_now(void)
{
        auto_buf text = BUF_INIT;
        const char *at;

        if (file_read("/proc/self/status", 65536, &text, NULL) < 0)
                return -1;
        at = strstr(text.data, "\nThreads:");
        return at ? strtol(at + strlen("\nThreads:"), NULL, 10) : -1;
}

/* The first life may open what stays for good; later ones may not add to it. */
static int check_leaks(struct bench *b, struct cringle_err *err)
{
        size_t fds;
        long threads;

        if (check_life(b, err) < 0)
                return -1;
        fds = open_fds();
        threads = threads_now();
        for (int i = 0; i < 20; i++) {
                if (bench_up(b, b->settings, err) < 0)
                        return -1;
                bench_down(b);
        }
        if (open_fds() > fds)
                return err_set(err, CRINGLE_E_INTERNAL, "%zu file descriptors were open before twenty lives, %zu are after",
                               fds, open_fds());
        /* A joined thread may be counted for a moment yet. */
        for (int i = 0; i < 50 && threads_now() > threads; i++)
                usleep(10000);
        if (threads_now() > threads)
                return err_set(err, CRINGLE_E_INTERNAL, "%ld threads ran before twenty lives, %ld do after", threads,
                               threads_now());
        return 0;
}

static int check_manners(struct bench *b, struct cringle_err *err)
{
        auto_free char *before = getcwd(NULL, 0), *after = NULL;
        mode_t mask = umask(0);
        struct sigaction actions[65], now;
        char **env = environ;

        umask(mask);
        for (int i = 1; i < 65; i++)
                sigaction(i, NULL, &actions[i]);
        if (bench_up(b, b->settings, err) < 0)
                return -1;
        bench_down(b);

        after = getcwd(NULL, 0);
        if (before && after && strcmp(before, after) != 0)
                return err_set(err, CRINGLE_E_INTERNAL, "it has changed the working directory");
        if (umask(mask) != mask)
                return err_set(err, CRINGLE_E_INTERNAL, "it has changed the umask");
        if (env != environ)
                return err_set(err, CRINGLE_E_INTERNAL, "it has changed the environment");
        for (int i = 1; i < 65; i++)
                if (sigaction(i, NULL, &now) == 0 && now.sa_handler != actions[i].sa_handler)
                        return err_set(err, CRINGLE_E_INTERNAL, "it has changed what signal %d does", i);
        return 0;
}

const struct check plugin_checks[] = {
        { "probe", check_probe, 0 },
        { "the settings it declares", check_schema, 0 },
        { "create, start, quiesce, destroy, twice", check_life, 0 },
        { "destroyed before it was started", check_unstarted, 0 },
        { "no settings at all", check_no_settings, 0 },
        { "unknown settings and odd values", check_odd_settings, 0 },
        { "reload", check_reload, 0 },
        { "two instances", check_two, 0 },
        { "nothing stays open or running", check_leaks, 0 },
        { "signals, umask, directory and environment are left alone", check_manners, 0 },
        { "events at each of its points", check_events, CRINGLE_HOOK },
        { "events of a pod that has next to nothing", check_bare_events, CRINGLE_HOOK },
        { "events whose time is over", check_late_events, CRINGLE_HOOK },
        { "events from many threads, with reloads", check_many_events, CRINGLE_HOOK },
        { 0 },
};

/* --- the child --- */

static int load_and_list(const struct plugin_test *t, struct outcome *o)
{
        const struct cringle_plugin *p;

        if (load_open(t->file, &p, &o->err) < 0 || judge_plugin(p, &o->err) < 0)
                return -1;
        for (size_t i = 0; p->factories[i] && o->n_factories < FACTORIES_MAX; i++) {
                const struct cringle_factory *f = p->factories[i];
                struct cringle_factory whole;

                if (judge_find(p, kind_of(f->kind), f->name ? f->name : p->name, &whole, &o->err) < 0)
                        return -1;
                o->factories[i].kind = f->kind;
                snprintf(o->factories[i].name, sizeof o->factories[i].name, "%s", whole.name);
                o->n_factories++;
        }
        snprintf(o->note, sizeof o->note, "%s %s, ABI %u", p->name, p->version, p->abi);
        return 0;
}

struct task {
        const struct plugin_test *test;
        const struct check *check;      /* NULL: load and list */
        int kind;
        const char *name;
        const char *dir;
};

static _Noreturn void child_main(const struct task *task, int fd)
{
        const struct rlimit no_core = { 0 };
        static struct bench b;
        static struct outcome o;

        setrlimit(RLIMIT_CORE, &no_core);       /* a crash here is an answer, not an accident */
        o.err = (struct cringle_err) CRINGLE_ERR_INIT;
        if (task->dir && chdir(task->dir) < 0)  /* what it makes by a relative path goes with the rest */
                o.result = err_sys(&o.err, "%s", task->dir);
        else if (!task->check)
                o.result = load_and_list(task->test, &o);
        else if (bench_make(&b, task->test, task->kind, task->name, task->dir, &o.err) < 0)
                o.result = -1;
        else
                o.result = task->check->run(&b, &o.err);
        if (b.note[0])
                memcpy(o.note, b.note, sizeof o.note);
        fflush(stdout);
        if (file_write_fd(fd, &o, sizeof o, NULL) < 0)
                _exit(1);
        _exit(0);
}

/* --- the parent --- */

/* All of an outcome from @fd within @timeout: 1; 0: the child ended without one; -1: it takes too long. */
static int read_outcome(int fd, int64_t timeout, struct outcome *ret)
{
        int64_t deadline = clock_monotonic() + timeout;
        size_t n = 0;

        while (n < sizeof *ret) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                int64_t left = deadline - clock_monotonic();
                ssize_t got;

                if (left <= 0 || poll(&p, 1, (int) (left / NSEC_PER_MSEC) + 1) == 0)
                        return -1;
                got = read(fd, (char *) ret + n, sizeof *ret - n);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        return 0;
                n += (size_t) got;
        }
        return 1;
}

static int run_in_child(const struct task *task, struct outcome *ret, struct cringle_err *err)
{
        int pipe_fds[2], got, status = 0;
        char end[128];
        pid_t pid;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return err_sys(err, "pipe");
        fflush(stdout);
        pid = fork();
        if (pid < 0) {
                close(pipe_fds[0]);
                close(pipe_fds[1]);
                return err_sys(err, "fork");
        }
        if (pid == 0) {
                setpgid(0, 0);
                close(pipe_fds[0]);
                child_main(task, pipe_fds[1]);
        }
        setpgid(pid, pid);
        close(pipe_fds[1]);
        got = read_outcome(pipe_fds[0], task->test->timeout, ret);
        close(pipe_fds[0]);
        if (got != 0)
                kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (got == 0)
                kill(-pid, SIGKILL);    /* what it has left behind */

        if (got == 1)
                return 0;
        child_status_text(status, end, sizeof end);
        *ret = (struct outcome) { .result = -1, .err = CRINGLE_ERR_INIT };
        if (got < 0)
                err_set(&ret->err, CRINGLE_E_DEADLINE, "it hangs: no end after %lld s",
                        (long long) (task->test->timeout / NSEC_PER_SEC));
        else
                err_set(&ret->err, CRINGLE_E_INTERNAL, "%s", WIFSIGNALED(status) ? end : "it has ended the process");
        return 0;
}

static void tell(const char *name, const struct outcome *o)
{
        if (o->result < 0)
                printf("not ok - %s: %.*s\n", name, (int) sizeof o->err.text, o->err.text);
        else
                printf("ok - %s%s%.*s\n", name, o->note[0] ? " # " : "", (int) sizeof o->note, o->note);
}

/* Where the agent would look at it: who may write the file, and whether its name is the plugin's. */
static void note_place(const struct plugin_test *t, const char *name)
{
        auto_free char *real = realpath(t->file, NULL), *found = NULL;
        struct cringle_err why = CRINGLE_ERR_INIT;
        const char *dirs[] = { real, NULL };
        char *slash = real ? strrchr(real, '/') : NULL;

        if (!slash)
                return;
        *slash = '\0';
        if (load_find(dirs, name, &found, &why) < 0)
                printf("# the agent would not take it from here: %s\n", why.text);
}

static int test_factory(const struct plugin_test *t, const struct outcome *loaded, size_t i, size_t *failed,
                        struct cringle_err *err)
{
        const char *name = loaded->factories[i].name;

        printf("# %s plugin %s\n", kind_of(loaded->factories[i].kind)->name, name);
        note_place(t, name);
        for (const struct check *c = plugin_checks; c->name; c++) {
                char dir[] = "/tmp/cringle-plugin-test.XXXXXX";
                struct task task = { .test = t, .check = c, .kind = loaded->factories[i].kind, .name = name, .dir = dir };
                struct outcome o;
                int r;

                if (c->kind && c->kind != loaded->factories[i].kind)
                        continue;
                if (!mkdtemp(dir))
                        return err_sys(err, "make %s", dir);
                r = run_in_child(&task, &o, err);
                file_remove_tree(dir, NULL);
                if (r < 0)
                        return -1;
                tell(c->name, &o);
                *failed += o.result < 0;
        }
        return 0;
}

int plugin_test(const struct plugin_test *t, size_t *ret_failed, struct cringle_err *err)
{
        struct task task = { .test = t };
        struct outcome loaded;
        size_t failed = 0;

        if (access(t->file, R_OK) < 0)
                return err_sys(err, "%s", t->file);
        if (run_in_child(&task, &loaded, err) < 0)
                return -1;
        tell("load", &loaded);
        failed += loaded.result < 0;
        for (size_t i = 0; loaded.result == 0 && i < loaded.n_factories; i++)
                if (test_factory(t, &loaded, i, &failed, err) < 0)
                        return -1;

        *ret_failed = failed;
        return 0;
}
