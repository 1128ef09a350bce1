/*
 * The plugin host: what it loads, what it refuses and in which words, and what its
 * callers see of a plugin.  SAMPLES is where tests/plugins/sample.c was built, once
 * for each fault.
 */

#include "tests/support/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/str.h"
#include "agent/host/host.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

struct fixture {
        char *dir;                      /* holds the plugins' directories, root/, state/ */
        char *plugins;
        char *dirs[2];
        struct config config;
        struct config_hook_plugin hook;
        struct host_options options;
        struct host *host;
};

static void use_dir(struct fixture *f, const char *name)
{
        free(f->plugins);
        f->plugins = str_printf(NULL, "%s/%s", f->dir, name);
        f->dirs[0] = f->plugins;
        assert_int_equal(mkdir(f->plugins, 0755), 0);
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        f->dir = unit_make_dir();
        f->config.root = str_printf(NULL, "%s/root", f->dir);
        f->config.state = str_printf(NULL, "%s/state", f->dir);
        f->config.plugins.dirs = f->dirs;
        f->hook.plugin.name = (char *) "sample";
        f->hook.fail = true;
        f->hook.timeout = 5 * NSEC_PER_SEC;
        f->config.hooks.plugins = &f->hook;
        f->config.hooks.n_plugins = 1;
        f->options.prober = PROBER;
        f->options.probe_timeout = 20 * NSEC_PER_SEC;
        *state = f;
        use_dir(f, "empty");
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        host_free(f->host);
        file_remove_tree(f->dir, NULL);
        free(f->config.root);
        free(f->config.state);
        free(f->plugins);
        free(f->dir);
        free(f);
        return 0;
}

/* Put the sample with @fault where the host looks for it: a fresh directory, since a loaded path stays what it was. */
static char *install(struct fixture *f, const char *fault)
{
        auto_free char *from = str_printf(NULL, "%s/sample-%s.so", SAMPLES, fault);
        auto_buf content = BUF_INIT;
        char *to;

        use_dir(f, fault);
        to = str_printf(NULL, "%s/sample.so", f->plugins);
        assert_int_equal(file_read(from, 1 << 24, &content, unit_err()), 0);
        assert_int_equal(file_replace(to, content.data, content.len, 0755, false, unit_err()), 0);
        return to;
}

static void assert_refused(struct fixture *f, const char *const *words)
{
        struct cringle_err *err = unit_err();

        assert_int_equal(host_new(&f->config, &f->options, &f->host, err), -1);
        assert_contains(err->text, "hook plugin: sample: ");
        for (; *words; words++)
                assert_contains(err->text, *words);
}

#define REFUSED(f, ...) assert_refused(f, (const char *const[]) { __VA_ARGS__, NULL })

/* --- what is refused --- */

static void each_fault_is_refused_by_its_name(void **state)
{
        static const struct {
                const char *fault, *words[3];
        } cases[] = {
                { "symbol", { "symbol: want cringle_plugin, found none" } },
                { "plugin-size", { "cringle_plugin.size: want at least 40, found 8" } },
                { "magic", { "cringle_plugin.magic: want 0x636e676c, found 0x12345678" } },
                { "abi", { "cringle_plugin.abi: want 1, found 2" } },
                { "major", { "cringle_factory.major: want 1, found 2" } },
                { "minor", { "cringle_factory.minor: want at most " TEXT(CRINGLE_HOOK_MINOR) ", found 9" } },
                { "name", { "cringle_plugin.factories: want hook sample, found hook other" } },
                { "ops-size", { "cringle_hook_ops.size: want at least 24 for 'run', found 16" } },
                { "run", { "cringle_hook_ops.run: missing" } },
                { "points", { "cringle_hook_ops.points: want some of 0x7fe, found 0x0" } },
                { "unresolved", { "undefined symbol: somebody_elses_function" } },
                { "exits", { "its probe ended without a verdict: exit status 0" } },
                { "crash", { "its probe ended without a verdict: killed by signal 9" } },
                { "unfit", { "probe: no such hardware" } },
                { "create", { "create: not today" } },
                { "start", { "start: not now" } },
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                free(install(f, cases[i].fault));
                assert_refused(f, cases[i].words);
        }
}

static void a_plugin_that_hangs_in_its_probe_is_given_up(void **state)
{
        struct fixture *f = *state;
        int64_t begun = clock_monotonic();

        free(install(f, "hang"));
        f->options.probe_timeout = 300 * NSEC_PER_MSEC;
        REFUSED(f, "its probe did not end within 300 ms");
        assert_true(clock_monotonic() - begun < 60 * NSEC_PER_SEC);
}

static void only_roots_files_are_loaded(void **state)
{
        struct fixture *f = *state;
        auto_free char *file = install(f, "sound");
        auto_free char *outside = str_printf(NULL, "%s/outside.so", f->dir);
        auto_free char *inside = str_printf(NULL, "%s/sample-1.so", f->plugins);

        assert_int_equal(chmod(file, 0775), 0);
        REFUSED(f, "sample.so: mode: want no write access for group and others, found 0775");
        assert_int_equal(chmod(file, 0755), 0);

        assert_int_equal(chown(file, 1234, 0), 0);
        REFUSED(f, "sample.so: owner: want root, found uid 1234");
        assert_int_equal(chown(file, 0, 0), 0);

        assert_int_equal(chmod(f->plugins, 0757), 0);
        REFUSED(f, "/sound: mode: want no write access for group and others, found 0757");
        assert_int_equal(chmod(f->plugins, 0755), 0);

        assert_int_equal(chown(f->dir, 1234, 0), 0);
        REFUSED(f, ": owner: want root, found uid 1234");
        assert_int_equal(chown(f->dir, 0, 0), 0);

        assert_int_equal(rename(file, outside), 0);
        assert_int_equal(symlink(outside, file), 0);
        REFUSED(f, "a symbolic link leads out of the directory");
        assert_int_equal(rename(outside, inside), 0);
        assert_int_equal(unlink(file), 0);
        assert_int_equal(symlink("sample-1.so", file), 0);
        assert_ok(host_new(&f->config, &f->options, &f->host, unit_err()), unit_err());
}

static void what_is_no_file_is_refused(void **state)
{
        struct fixture *f = *state;
        auto_free char *file = str_printf(NULL, "%s/sample.so", f->plugins);

        REFUSED(f, "no built-in plugin of that name, and no sample.so in", f->plugins);
        assert_int_equal(mkfifo(file, 0600), 0);
        REFUSED(f, "sample.so: type: want a regular file");
        f->hook.plugin.name = (char *) "../sample";
        assert_int_equal(host_new(&f->config, &f->options, &f->host, unit_err()), -1);
}

static void settings_are_checked_against_the_schema(void **state)
{
        static const struct {
                struct cringle_pair settings[3];
                const char *words;
        } cases[] = {
                { { { "greetin", "x" } }, "setting 'greetin': unknown; did you mean 'greeting'?" },
                { { { "zzzzzzzz", "x" } }, "setting 'zzzzzzzz': unknown" },
                { { { "count", "many" } }, "setting 'count': want an integer, found 'many'" },
                { { { "loud", "yes" } }, "setting 'loud': want true or false, found 'yes'" },
                { { { "where", "etc" } }, "setting 'where': want an absolute path, found 'etc'" },
                { { { "greeting", "a" }, { "greeting", "b" } }, "setting 'greeting': want one value, found several" },
        };
        struct fixture *f = *state;

        free(install(f, "sound"));
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                f->hook.plugin.settings = (struct cringle_pair *) (uintptr_t) cases[i].settings;
                REFUSED(f, cases[i].words);
        }
}

static size_t count_hooks(struct fixture *f)
{
        auto_of(host_hooks) set = host_hooks_hold(f->host);

        return host_hooks_count(set);
}

/* It stays, since the tests change nothing while they use it. */
static struct host_hook first_hook(struct fixture *f)
{
        auto_of(host_hooks) set = host_hooks_hold(f->host);

        return host_hook(set, 0);
}

static void a_hook_that_may_be_ignored_is_left_out(void **state)
{
        struct fixture *f = *state;

        free(install(f, "major"));
        f->hook.fail = false;
        assert_ok(host_new(&f->config, &f->options, &f->host, unit_err()), unit_err());
        assert_int_equal(count_hooks(f), 0);
}

/* --- what is used --- */

static void keep(void *data, const struct host_info *info)
{
        struct buf *line = data;

        buf_printf(line, NULL, "%s %s %s %u.%u %s calls=%llu failures=%llu %s", info->kind, info->name,
                   info->version ? info->version : "-", info->major, info->minor, info->in_use ? "in use" : "refused",
                   (unsigned long long) info->calls, (unsigned long long) info->failures,
                   info->slowest_call ? info->slowest_call : "-");
        for (const struct cringle_pair *p = info->settings; p->key; p++)
                buf_printf(line, NULL, " %s=%s", p->key, p->value);
        for (size_t i = 0; i < info->n_counters; i++)
                buf_printf(line, NULL, " %s:%lld", info->counters[i].name, (long long) info->counters[i].value);
        if (info->message)
                buf_printf(line, NULL, " (%s)", info->message);
        buf_add_str(line, "\n", NULL);
}

static void a_sound_plugin_gets_its_settings_and_is_counted(void **state)
{
        struct cringle_pair settings[] = { { "token", "pssst" }, { "words", "a" }, { "count", "3" }, { "words", "b" },
                                           { 0 } };
        struct cringle_event ev = { .size = sizeof ev };
        struct fixture *f = *state;
        struct cringle_err *err = unit_err();
        struct host_hook hook;
        auto_buf listed = BUF_INIT;

        free(install(f, "sound"));
        f->hook.plugin.settings = settings;
        assert_ok(host_new(&f->config, &f->options, &f->host, err), err);
        assert_int_equal(count_hooks(f), 1);
        hook = first_hook(f);
        assert_string_equal(hook.name, "sample");
        assert_true(hook.fail);
        assert_int_equal(hook.timeout, 5 * NSEC_PER_SEC);
        assert_int_equal(hook.ops->points, CRINGLE_AT(CRINGLE_CONTAINER_CREATE));

        assert_int_equal(hook.ops->run(hook.self, &ev, err), -1);
        assert_int_equal(err->code, CRINGLE_E_DENIED);
        assert_string_equal(err->text, "sample: greeting=hello count=3 loud=false words=a words=b token=pssst ");

        host_list(f->host, keep, &listed);
        assert_string_equal(listed.data,
                            "hook sample 7 1." TEXT(CRINGLE_HOOK_MINOR) " in use calls=1 failures=1 hook.run greeting=hello count=3 loud=false "
                            "words=a words=b token=*** runs:1\n");
}

static void a_refused_plugin_is_listed_with_the_reason(void **state)
{
        struct fixture *f = *state;
        auto_buf listed = BUF_INIT;

        free(install(f, "run"));
        f->hook.fail = false;
        assert_ok(host_new(&f->config, &f->options, &f->host, unit_err()), unit_err());
        host_list(f->host, keep, &listed);
        assert_contains(listed.data, "hook sample - 0.0 refused");
        assert_contains(listed.data, "cringle_hook_ops.run: missing");
}

static void it_has_directories_of_its_own(void **state)
{
        struct fixture *f = *state;
        auto_free char *kept = str_printf(NULL, "%s/plugins/sample", f->config.root);
        auto_free char *run = str_printf(NULL, "%s/plugins/sample", f->config.state);
        struct stat st;

        free(install(f, "sound"));
        assert_int_equal(file_make_dirs(kept, 0755, unit_err()), 0);
        assert_ok(host_new(&f->config, &f->options, &f->host, unit_err()), unit_err());
        assert_int_equal(stat(kept, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        assert_int_equal(stat(run, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
}

/* --- built in --- */

static struct {
        const struct cringle_host *host;
        int refuse_reload, quiesced, destroyed;
        char value[64];
} net;

static int net_create(const struct cringle_host *host, const struct cringle_pair *settings, void **ret_self,
                      struct cringle_err *err)
{
        net.host = host;
        snprintf(net.value, sizeof net.value, "%s", settings[0].value);
        *ret_self = &net;
        return 0;
}

static int net_reload(void *self, const struct cringle_pair *settings, struct cringle_err *err)
{
        if (net.refuse_reload)
                return cringle_fail(err, CRINGLE_E_INVALID, "I like it as it is");
        snprintf(net.value, sizeof net.value, "%s", settings[0].value);
        return 0;
}

static void net_quiesce(void *self)
{
        net.quiesced++;
}

static void net_destroy(void *self)
{
        net.destroyed++;
}

static int net_status(void *self, const struct cringle_call *call, struct cringle_err *err)
{
        usleep(20000);
        return self == &net ? 0 : -1;
}

static int net_pods(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                    struct cringle_err *err)
{
        return -1;                      /* and says nothing about it */
}

static int net_attach(void *self, const struct cringle_call *call, const struct cringle_network_pod *pod,
                      struct cringle_network_result *ret, struct cringle_err *err)
{
        return 0;
}

static int net_gc(void *self, const struct cringle_call *call, const char *const *valid, struct cringle_err *err)
{
        char *echo[] = { (char *) "/bin/cat", NULL }, *fail[] = { (char *) "/bin/sh", (char *) "-c", NULL, NULL };
        char *none[] = { NULL }, *output = NULL;
        int status = -1;

        fail[2] = (char *) "echo out; echo told >&2; exit 3";
        assert_int_equal(net.host->spawn(net.host, call, echo, none, "in\n", &status, &output, err), 0);
        assert_int_equal(status, 0);
        assert_string_equal(output, "in\n");
        free(output);
        assert_int_equal(net.host->spawn(net.host, call, fail, none, NULL, &status, &output, err), -1);
        assert_string_equal(output, "out\n");
        free(output);
        return -1;
}

static void net_free_result(struct cringle_network_result *result)
{
}

/* As an older plugin would bring it: it ends before set_pod_cidr. */
static const struct {
        size_t size;
        int (*status)(void *, const struct cringle_call *, struct cringle_err *);
        int (*attach)(void *, const struct cringle_call *, const struct cringle_network_pod *,
                      struct cringle_network_result *, struct cringle_err *);
        int (*detach)(void *, const struct cringle_call *, const struct cringle_network_pod *, struct cringle_err *);
        int (*check)(void *, const struct cringle_call *, const struct cringle_network_pod *, struct cringle_err *);
        int (*gc)(void *, const struct cringle_call *, const char *const *, struct cringle_err *);
        void *no_set_pod_cidr;
        void (*free_result)(struct cringle_network_result *);
} net_ops = { sizeof net_ops, net_status, net_attach, net_pods, net_pods, net_gc, NULL, net_free_result };

static const struct cringle_setting net_settings[] = {
        { "value", CRINGLE_STRING, "one", "any" },
        { "conf_dir", CRINGLE_PATH, NULL, "from the section cni" },
        { "bin_dirs", CRINGLE_STRING_LIST, NULL, "likewise" },
        { 0 },
};

static const struct cringle_factory net_factory = {
        .size = sizeof net_factory,
        .kind = CRINGLE_NETWORK,
        .name = "net",
        .major = CRINGLE_NETWORK_MAJOR,
        .settings = net_settings,
        .create = net_create,
        .reload = net_reload,
        .quiesce = net_quiesce,
        .destroy = net_destroy,
        .ops = &net_ops,
};

static const struct cringle_factory *const net_factories[] = { &net_factory, NULL };

static const struct cringle_plugin net_plugin = {
        .size = sizeof net_plugin,
        .magic = CRINGLE_PLUGIN_MAGIC,
        .abi = CRINGLE_PLUGIN_ABI,
        .name = "nets",
        .version = "1",
        .factories = net_factories,
};

static const struct cringle_plugin *net_builtin(void)
{
        return &net_plugin;
}

static struct host_network start_net(struct fixture *f)
{
        static const cringle_plugin_fn builtins[] = { net_builtin, NULL };
        struct cringle_err *err = unit_err();

        memset(&net, 0, sizeof net);
        f->config.hooks.n_plugins = 0;
        f->config.network.name = (char *) "net";
        f->options.builtins = builtins;
        f->options.slow_call = 10 * NSEC_PER_MSEC;
        assert_ok(host_new(&f->config, &f->options, &f->host, err), err);
        return host_network(f->host);
}

static void slow(void *data, const struct host_info *info)
{
        assert_int_equal(info->slow, 1);
        assert_int_equal(info->running, 0);
        assert_string_equal(info->slowest_call, "network.status");
        assert_true(info->slowest >= 20 * NSEC_PER_MSEC && info->busy >= info->slowest);
        ++*(int *) data;
}

static void calls_reach_the_plugin_and_are_timed(void **state)
{
        struct host_network n = start_net(*state);
        struct fixture *f = *state;
        struct cringle_err *err = unit_err();
        int told = 0;

        assert_null(n.ops->set_pod_cidr);       /* a member that it does not have */
        assert_null(host_image(f->host).ops);   /* a kind that is not configured */
        assert_ok(n.ops->status(n.self, NULL, err), err);
        assert_int_equal(n.ops->detach(n.self, NULL, NULL, err), -1);
        assert_string_equal(err->text, "net: failed without saying why");
        assert_int_equal(err->code, CRINGLE_E_UNKNOWN);
        assert_int_equal(n.ops->detach(n.self, NULL, NULL, NULL), -1);
        host_list(f->host, slow, &told);
        assert_int_equal(told, 1);
}

static void a_network_is_told_what_the_section_cni_says(void **state)
{
        struct cringle_pair own[] = { { "conf_dir", "/own" }, { 0 } };
        char *bin_dirs[] = { (char *) "/bin1", (char *) "/bin2", NULL };
        struct fixture *f = *state;
        auto_buf listed = BUF_INIT;

        f->config.cni.conf_dir = (char *) "/conf";
        f->config.cni.cache_dir = (char *) "/not/asked/for";
        f->config.cni.bin_dirs = bin_dirs;
        start_net(f);
        host_list(f->host, keep, &listed);
        assert_contains(listed.data, "value=one conf_dir=/conf bin_dirs=/bin1 bin_dirs=/bin2\n");

        host_free(f->host);
        buf_clear(&listed);
        f->config.network.settings = own;
        start_net(f);
        host_list(f->host, keep, &listed);
        assert_contains(listed.data, "conf_dir=/own");
}

static void programs_are_run_for_a_plugin(void **state)
{
        struct host_network n = start_net(*state);
        struct cringle_err *err = unit_err();

        assert_int_equal(n.ops->gc(n.self, NULL, NULL, err), -1);
        assert_string_equal(err->text, "net: /bin/sh: exit status 3: told\n");
}

static void an_end_is_quiesced_and_destroyed_once(void **state)
{
        struct fixture *f = *state;

        start_net(f);
        f->host = host_free(f->host);
        assert_int_equal(net.quiesced, 1);
        assert_int_equal(net.destroyed, 1);
}

/* --- reload --- */

static int reload(struct fixture *f, const struct config *fresh, struct buf *live, struct buf *restart,
                  struct cringle_err *err)
{
        buf_clear(live);
        buf_clear(restart);
        return host_reload(f->host, fresh, live, restart, err);
}

static void a_reload_is_all_or_nothing(void **state)
{
        struct cringle_pair two[] = { { "value", "two" }, { 0 } }, bad[] = { { "valu", "x" }, { 0 } };
        struct fixture *f = *state;
        struct cringle_err *err = unit_err();
        auto_buf live = BUF_INIT;
        auto_buf restart = BUF_INIT;
        struct config fresh;

        start_net(f);
        fresh = f->config;
        assert_int_equal(reload(f, &fresh, &live, &restart, err), 0);
        assert_int_equal(live.len + restart.len, 0);

        fresh.network.settings = bad;
        assert_int_equal(reload(f, &fresh, &live, &restart, err), -1);
        assert_contains(err->text, "did you mean 'value'?");
        assert_string_equal(net.value, "one");

        fresh.network.settings = two;
        net.refuse_reload = 1;
        assert_int_equal(reload(f, &fresh, &live, &restart, err), -1);
        assert_contains(err->text, "net: I like it as it is");
        assert_string_equal(net.value, "one");

        net.refuse_reload = 0;
        assert_ok(reload(f, &fresh, &live, &restart, err), err);
        assert_string_equal(net.value, "two");
        assert_string_equal(live.data, "network plugin net: new settings\n");

        fresh.network.name = (char *) "other";
        assert_ok(reload(f, &fresh, &live, &restart, err), err);
        assert_string_equal(restart.data, "network plugin other: another plugin is configured\n");
}

static void a_hooks_policy_changes_live_but_not_its_settings(void **state)
{
        struct cringle_pair settings[] = { { "greeting", "moin" }, { 0 } };
        struct fixture *f = *state;
        struct config_hook_plugin hook;
        struct config fresh;
        struct cringle_err *err = unit_err();
        auto_buf live = BUF_INIT;
        auto_buf restart = BUF_INIT;

        free(install(f, "sound"));
        assert_ok(host_new(&f->config, &f->options, &f->host, err), err);
        hook = f->hook;
        hook.fail = false;
        hook.timeout = 7;
        hook.plugin.settings = settings;
        fresh = f->config;
        fresh.hooks.plugins = &hook;
        assert_ok(reload(f, &fresh, &live, &restart, err), err);
        assert_string_equal(live.data, "hook plugin sample: new policy\n");
        assert_string_equal(restart.data, "hook plugin sample: its settings cannot change live\n");
        assert_false(first_hook(f).fail);
        assert_int_equal(first_hook(f).timeout, 7);
}

static void hooks_come_and_go_live(void **state)
{
        struct fixture *f = *state;
        struct config none = f->config;
        struct cringle_event ev = { .size = sizeof ev };
        struct cringle_err *err = unit_err();
        auto_buf live = BUF_INIT, restart = BUF_INIT, listed = BUF_INIT;
        struct host_hooks *held;

        free(install(f, "sound"));
        none.hooks.n_plugins = 0;
        assert_ok(host_new(&none, &f->options, &f->host, err), err);
        assert_int_equal(count_hooks(f), 0);

        assert_ok(reload(f, &f->config, &live, &restart, err), err);
        assert_string_equal(live.data, "hook plugin sample: loaded\n");
        assert_int_equal(restart.len, 0);
        assert_int_equal(count_hooks(f), 1);

        /* Who is in it when it is left out stays in it. */
        held = host_hooks_hold(f->host);
        assert_ok(reload(f, &none, &live, &restart, err), err);
        assert_string_equal(live.data, "hook plugin sample: left out\n");
        assert_int_equal(count_hooks(f), 0);
        assert_int_equal(host_hook(held, 0).ops->run(host_hook(held, 0).self, &ev, err), -1);
        assert_contains(err->text, "sample: greeting=hello");
        host_list(f->host, keep, &listed);
        assert_contains(listed.data, "hook sample");
        host_hooks_release(held);
        buf_clear(&listed);
        host_list(f->host, keep, &listed);
        assert_int_equal(listed.len, 0);

        assert_ok(reload(f, &f->config, &live, &restart, err), err);
        assert_int_equal(count_hooks(f), 1);
}

static void a_hook_that_cannot_be_loaded_refuses_the_reload(void **state)
{
        struct fixture *f = *state;
        struct config_hook_plugin hooks[2] = { f->hook, f->hook };
        struct config fresh = f->config;
        struct cringle_err *err = unit_err();
        auto_buf live = BUF_INIT, restart = BUF_INIT, listed = BUF_INIT;

        free(install(f, "sound"));
        assert_ok(host_new(&f->config, &f->options, &f->host, err), err);
        fresh.hooks.plugins = hooks;
        fresh.hooks.n_plugins = 2;
        assert_int_equal(reload(f, &fresh, &live, &restart, err), -1);
        assert_contains(err->text, "hook plugin sample: named twice");

        hooks[0].plugin.name = (char *) "another";
        assert_int_equal(reload(f, &fresh, &live, &restart, err), -1);
        assert_contains(err->text, "another");
        assert_int_equal(count_hooks(f), 1);
        assert_string_equal(first_hook(f).name, "sample");

        hooks[0].fail = false;          /* it may be left out, and is told of */
        for (int i = 0; i < 2; i++) {
                assert_ok(reload(f, &fresh, &live, &restart, err), err);
                assert_int_equal(count_hooks(f), 1);
        }
        host_list(f->host, keep, &listed);
        assert_contains(listed.data, "hook another - 0.0 refused");
        assert_non_null(strstr(listed.data, "hook another"));
        assert_null(strstr(strstr(listed.data, "hook another") + 1, "hook another"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(each_fault_is_refused_by_its_name),
        TEST(a_plugin_that_hangs_in_its_probe_is_given_up),
        TEST(only_roots_files_are_loaded),
        TEST(what_is_no_file_is_refused),
        TEST(settings_are_checked_against_the_schema),
        TEST(a_hook_that_may_be_ignored_is_left_out),
        TEST(a_sound_plugin_gets_its_settings_and_is_counted),
        TEST(a_refused_plugin_is_listed_with_the_reason),
        TEST(it_has_directories_of_its_own),
        TEST(calls_reach_the_plugin_and_are_timed),
        TEST(a_network_is_told_what_the_section_cni_says),
        TEST(programs_are_run_for_a_plugin),
        TEST(an_end_is_quiesced_and_destroyed_once),
        TEST(a_reload_is_all_or_nothing),
        TEST(a_hooks_policy_changes_live_but_not_its_settings),
        TEST(hooks_come_and_go_live),
        TEST(a_hook_that_cannot_be_loaded_refuses_the_reload))
