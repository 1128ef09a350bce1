/* What the executor promises, tried on the real plugin, monitor and kernel.  Needs root. */

#include "tests/flow/executor/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/clock.h"
#include "agent/base/file.h"
#include "agent/base/own.h"
#include "agent/wire/monitor.h"

#define POD (CRINGLE_NS_NET | CRINGLE_NS_IPC | CRINGLE_NS_UTS)

static int setup(void **state)
{
        struct world *w = world_new();

        *state = w;
        assert_ok(world_open_pod(w, POD, 0, unit_err()), unit_err());
        return 0;
}

static int teardown(void **state)
{
        *state = world_free(*state);
        return 0;
}

static pid_t monitor_of(struct world *w)
{
        auto_free char *command = world_path("exec 2>/dev/null; for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline | grep -q '^cringle-monitor %s ' && "
                                             "grep -q '^PPid:.*' $p/status && basename $p; done 2>/dev/null | sort -n | head -1", w->run_dir);
        FILE *p = popen(command, "r");
        int pid = 0;

        if (!p || fscanf(p, "%d", &pid) != 1)
                fail_msg("no monitor");
        pclose(p);
        return pid;
}

static void output_goes_to_the_log_and_the_exit_is_told(void **state)
{
        const char *id = world_run(*state, &(struct wish) { .args = "[\"sh\",\"-c\",\"echo hello; echo oops >&2; exit 7\"]" });
        struct cringle_container_state exited = world_exit(id);
        auto_free char *log = world_log(*state, id);

        assert_int_equal(exited.exit_code, 7);
        assert_int_equal(exited.signal, 0);
        assert_true(exited.finished_at >= exited.started_at && exited.started_at > 0);
        assert_contains(log, "stdout F hello\n");
        assert_contains(log, "stderr F oops\n");
        world_destroy(*state, id);
}

static void what_cannot_be_run_says_why(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct cringle_container_state now = { .size = sizeof now };
        struct world *w = *state;
        const char *id;

        assert_ok(world_create(w, &(struct wish) { .args = "[\"/bin/nope\"]" }, &id, &err), &err);
        assert_int_equal(world_start(w, id, &err), -1);
        assert_contains(err.text, "exec /bin/nope: No such file or directory");
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
        assert_ok(w->ops->state(w->self, "pod", id, &now, &err), &err);
        assert_int_equal(now.state, CRINGLE_RUN_EXITED);
        assert_int_equal(now.exit_code, 128);
        world_destroy(w, id);
        assert_ok(w->ops->state(w->self, "pod", id, &now, &err), &err);
        assert_int_equal(now.state, CRINGLE_RUN_NONE);
}

static void what_the_kernel_can_do_is_told(void **state)
{
        struct world *w = *state;
        struct cringle_executor_features can = { .size = sizeof can };
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
        auto_fd int tree = open_tree(AT_FDCWD, w->run_dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

        assert_return_code(tree, errno);
        assert_ok(w->ops->features(w->self, &can, &err), &err);
        assert_int_equal(can.recursive_readonly != 0,
                         mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &readonly, sizeof readonly) == 0);
}

static void create_runs_nothing_of_the_container(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *log = NULL;
        const char *id;

        assert_ok(world_create(*state, &(struct wish) { .args = "[\"echo\",\"ran\"]" }, &id, &err), &err);
        usleep(50000);
        log = world_log(*state, id);
        assert_string_equal(log, "");
        assert_ok(world_start(*state, id, &err), &err);
        assert_int_equal(world_exit(id).exit_code, 0);
        world_destroy(*state, id);
}

static void containers_share_the_pods_namespaces(void **state)
{
        struct world *w = *state;
        const char *id = world_run(w, &(struct wish) {
                .args = "[\"sh\",\"-c\",\"hostname; readlink /proc/self/ns/net; cat /proc/sys/net/ipv4/ip_forward; "
                        "ip link show lo | grep -c LOWER_UP; readlink /proc/self | grep -c ^[2-9]$; ls -d /proc/[0-9]* | head -1\"]" });
        auto_free char *log = NULL, *pin = world_path("%s/ns/net", w->run_dir), *want = NULL;
        struct stat st;

        world_exit(id);
        log = world_log(w, id);
        assert_int_equal(stat(pin, &st), 0);
        want = world_path("stdout F podname\nstdout F net:[%lu]\nstdout F 1\nstdout F 1\nstdout F 1\nstdout F /proc/1\n", (unsigned long) st.st_ino);
        assert_string_equal(log, want);
        world_destroy(w, id);
}

static void long_lines_are_split_and_a_last_one_is_partial(void **state)
{
        const char *id = world_run(*state, &(struct wish) { .max_line = 8, .args =
                "[\"sh\",\"-c\",\"printf 'abcdefgh\\n'; printf 'abcdefghij\\n\\n'; printf end\"]" });
        auto_free char *log = NULL;

        world_exit(id);
        log = world_log(*state, id);
        assert_string_equal(log, "stdout F abcdefgh\nstdout P abcdefgh\nstdout F ij\nstdout F \nstdout P end\n");
        world_destroy(*state, id);
}

static void a_partial_line_is_logged_before_the_exit_is_told(void **state)
{
        /* The child still has the pipe when its parent ends. */
        const char *id = world_run(*state, &(struct wish) { .pod_pid = true, .args =
                "[\"sh\",\"-c\",\"sleep 100 & printf end\"]" });
        auto_free char *log = NULL;

        world_exit(id);
        log = world_log(*state, id);
        assert_string_equal(log, "stdout P end\n");
        world_destroy(*state, id);
}

static void a_reopened_log_is_a_new_file(void **state)
{
        struct world *w = *state;
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        const char *id = world_run(w, &(struct wish) { .args = "[\"sh\",\"-c\",\"echo one; read x; echo two\"]",
                                                       .stdin_open = true });
        auto_free char *log = world_path("%s/%s.log", w->dir, id), *old = world_path("%s.old", log), *text = NULL;
        auto_free char *before = NULL;
        int pair[2];

        for (int i = 0; i < 500 && access(log, F_OK) == 0; i++) {
                free(before);
                before = world_log(w, id);
                if (*before)
                        break;
                usleep(2000);
        }
        assert_int_equal(rename(log, old), 0);
        assert_ok(w->ops->reopen_log(w->self, &call, "pod", id, unit_err()), unit_err());
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_ok(w->ops->attach(w->self, &call, "pod", id, pair[1], -1, -1, unit_err()), unit_err());
        close(pair[1]);
        assert_int_equal(write(pair[0], "\n", 1), 1);
        world_exit(id);
        close(pair[0]);
        text = world_log(w, id);
        assert_string_equal(text, "stdout F two\n");
        text = (free(text), world_file("%s", old));
        assert_contains(text, "stdout F one\n");
        world_destroy(w, id);
}

static void an_exec_has_the_containers_view_and_its_own_exit(void **state)
{
        struct world *w = *state;
        const char *id = world_run(w, &(struct wish) { .args = "[\"sleep\",\"60\"]", .cwd = "/tmp" });
        struct cringle_executor_event event;
        auto_free char *out = world_exec(w, id, (const char *const[]) { "sh", "-c", "hostname; pwd; echo $A; ls /proc/self/fd; exit 3", NULL },
                                         0, &event);

        assert_contains(out, "podname\n/tmp\n1\n0\n1\n2\n3\n");    /* 3 is ls reading the directory */
        assert_int_equal(event.state.exit_code, 3);
        assert_false(event.timed_out);
        free(steal(&out));
        out = world_exec(w, id, (const char *const[]) { "/bin/nope", NULL }, 0, &event);
        assert_contains(out, "exec /bin/nope: No such file or directory");
        world_destroy(w, id);
}

static void an_exec_ends_at_its_time_limit_with_all_it_started(void **state)
{
        struct world *w = *state;
        const char *id = world_run(w, &(struct wish) { .args = "[\"sleep\",\"60\"]" });
        struct cringle_executor_event event;
        auto_free char *left = NULL;
        auto_free char *out = NULL;

        out = world_exec(w, id, (const char *const[]) { "sh", "-c", "setsid sleep 1234 & setsid sleep 1234 & sleep 1234", NULL },
                         SECOND / 5, &event);
        assert_string_equal(out, "");
        assert_true(event.timed_out);
        assert_int_equal(event.state.exit_code, 137);
        left = world_exec(w, id, (const char *const[]) { "sh", "-c", "ps | grep -c '[s]leep 1234'", NULL }, 0, &event);
        assert_string_equal(left, "0\n");
        world_destroy(w, id);
}

static void an_exec_does_not_wait_for_those_who_keep_its_pipes(void **state)
{
        struct world *w = *state;
        const char *id = world_run(w, &(struct wish) { .args = "[\"sleep\",\"60\"]" });
        struct cringle_executor_event event;
        int64_t begun = clock_monotonic();
        auto_free char *out = world_exec(w, id, (const char *const[]) { "sh", "-c", "sleep 50 & echo done", NULL }, 0, &event);

        assert_string_equal(out, "done\n");
        assert_int_equal(event.state.exit_code, 0);
        assert_true(clock_monotonic() - begun < 40 * SECOND);
        world_destroy(w, id);
}

static void a_process_has_the_privileges_it_was_given_and_no_more(void **state)
{
        const char *id = world_run(*state, &(struct wish) {
                .user = "{\"uid\":1000,\"gid\":1001,\"additionalGids\":[1001,5]}",
                .process = ",\"noNewPrivileges\":true",
                .linux_ = ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\",\"mkdirat\"],\"action\":\"SCMP_ACT_ERRNO\"}]}",
                .args = "[\"sh\",\"-c\",\"id; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; mkdir /tmp/x; ls /proc/self/fd | wc -l; umask\"]" });
        auto_free char *log = NULL;

        world_exit(id);
        log = world_log(*state, id);
        assert_contains(log, "uid=1000 gid=1001 groups=5,1001\n");
        assert_contains(log, "CapInh:\t0000000000000000\n");
        assert_contains(log, "CapPrm:\t0000000000000000\n");
        assert_contains(log, "CapEff:\t0000000000000000\n");
        assert_contains(log, "CapBnd:\t0000000000000021\n");
        assert_contains(log, "CapAmb:\t0000000000000000\n");
        assert_contains(log, "NoNewPrivs:\t1\n");
        assert_contains(log, "Seccomp:\t2\n");
        assert_contains(log, "Operation not permitted");
        assert_contains(log, "stdout F 4\n");
        assert_contains(log, "stdout F 0022\n");
        world_destroy(*state, id);
}

static void paths_are_masked_and_read_only(void **state)
{
        const char *id = world_run(*state, &(struct wish) { .readonly = true, .args =
                "[\"sh\",\"-c\",\"cat /etc/secret; ls -A /dir; touch /x; touch /dir/x; echo 1 > /proc/sys/net/ipv4/ip_forward; touch /sys/fs/cgroup/x; mount | grep -c host; echo end\"]" });
        auto_free char *log = NULL;

        world_exit(id);
        log = world_log(*state, id);
        assert_null(strstr(log, "secret\n"));
        assert_null(strstr(log, "stdout F file"));
        assert_contains(log, "/x: Read-only file system");
        assert_contains(log, "/dir/x: Read-only file system");
        assert_contains(log, "ip_forward: Read-only file system");
        assert_contains(log, "stdout F end");
        world_destroy(*state, id);
}

static void an_image_cannot_send_proc_elsewhere(void **state)
{
        struct world *w = *state;
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *proc = world_path("%s/proc", w->rootfs);
        const char *id;

        assert_int_equal(rmdir(proc), 0);
        assert_int_equal(symlink("tmp", proc), 0);
        assert_int_equal(world_create(w, &(struct wish) { 0 }, &id, &err), -1);
        assert_contains(err.text, "/proc");
        world_destroy(w, id);
        unlink(proc);
        mkdir(proc, 0755);
}

static void a_working_directory_outside_is_refused(void **state)
{
        struct world *w = *state;

        for (int fd = 3; fd < 24; fd++) {
                struct cringle_err err = CRINGLE_ERR_INIT;
                auto_free char *cwd = world_path("/proc/self/fd/%d", fd);
                const char *id;

                if (world_create(w, &(struct wish) { .cwd = cwd }, &id, &err) == 0)
                        assert_int_equal(world_start(w, id, &err), -1);
                world_destroy(w, id);
        }
}

static void nothing_of_the_image_is_mounted_over_proc(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        const char *id;

        assert_int_equal(world_create(*state, &(struct wish) { .mounts =
                ",{\"destination\":\"/proc/self\",\"source\":\"/tmp\",\"type\":\"bind\",\"options\":[\"rbind\"]}" }, &id, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_INVALID);
        assert_int_equal(world_create(*state, &(struct wish) { .mounts =
                ",{\"destination\":\"/proc\",\"source\":\"/tmp\",\"type\":\"bind\",\"options\":[\"rbind\"]}" }, &id, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_INVALID);
}

static void bind_mounts_are_what_they_were_asked_to_be(void **state)
{
        struct world *w = *state;
        auto_free char *dir = world_path("%s/vol", w->dir), *file = world_path("%s/vol/f", w->dir);
        auto_free char *mounts = world_path(
                ",{\"destination\":\"/vol\",\"source\":\"%s\",\"type\":\"bind\",\"options\":[\"rbind\",\"rprivate\",\"rw\"]}"
                ",{\"destination\":\"/ro\",\"source\":\"%s\",\"type\":\"bind\",\"options\":[\"rbind\",\"rprivate\",\"rro\"]}"
                ",{\"destination\":\"/new/dir/file\",\"source\":\"%s\",\"type\":\"bind\",\"options\":[\"rbind\",\"ro\"]}", dir, dir, file);
        auto_free char *log = NULL;
        const char *id;

        mkdir(dir, 0755);
        assert_ok(file_replace(file, "text\n", 5, 0644, false, unit_err()), unit_err());
        id = world_run(w, &(struct wish) { .mounts = mounts, .args =
                "[\"sh\",\"-c\",\"cat /new/dir/file; touch /vol/a && echo rw; touch /ro/b; echo x > /new/dir/file\"]" });
        world_exit(id);
        log = world_log(w, id);
        assert_contains(log, "stdout F text\nstdout F rw\n");
        assert_contains(log, "/ro/b: Read-only file system");
        assert_contains(log, "/new/dir/file: Read-only file system");
        world_destroy(w, id);
}

static void hooks_run_in_their_order_and_see_the_state(void **state)
{
        struct world *w = *state;
        static const char *const stages[] = { "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop" };
        auto_buf hooks = BUF_INIT;
        auto_free char *out = NULL, *record = world_path("%s/hooks", w->dir);
        const char *id;
        char *at;

        buf_add_str(&hooks, "{", NULL);
        for (size_t i = 0; i < 6; i++)
                buf_printf(&hooks, NULL, "%s\"%s\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"(echo %s $X; cat; echo) %s%s\"],\"env\":[\"X=y\",\"PATH=/bin\"],\"timeout\":10}]",
                           i ? "," : "", stages[i], stages[i], i == 3 ? ">> /tmp/hook" : ">> ", i == 3 ? "" : record);
        buf_add_str(&hooks, "}", NULL);
        id = world_run(w, &(struct wish) { .hooks = hooks.data, .args = "[\"sh\",\"-c\",\"cat /tmp/hook\"]" });
        world_exit(id);
        world_destroy(w, id);
        out = world_file("%s", record);
        at = out;
        for (size_t i = 0; i < 6; i++) {
                auto_free char *line = world_path("%s y\n{\"ociVersion\":\"1.3.0\",\"id\":\"%s\"", stages[i], id);

                if (i == 3)
                        continue;
                at = strstr(at, line);
                if (!at)
                        fail_msg("%s is not where it should be in: %s", stages[i], out);
        }
        assert_contains(out, "\"annotations\":{\"a\":\"b\"}");
        free(steal(&out));
        out = world_log(w, id);
        assert_contains(out, "startContainer y");
        assert_contains(out, "\"pid\":1");
}

static void a_failing_hook_says_all_about_it(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        const char *id;

        assert_int_equal(world_create(*state, &(struct wish) { .hooks =
                "{\"createRuntime\":[{\"path\":\"/bin/true\"},{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"echo no such luck >&2; exit 4\"]}]}" }, &id, &err), -1);
        assert_contains(err.text, "createRuntime hook 2, /bin/sh: exit status 4: no such luck");
        world_destroy(*state, id);
        assert_int_equal(world_create(*state, &(struct wish) { .hooks =
                "{\"createContainer\":[{\"path\":\"/bin/nope\"}]}" }, &id, &err), -1);
        assert_contains(err.text, "createContainer hook 1, /bin/nope: exit status 127: exec /bin/nope: No such file or directory");
        world_destroy(*state, id);
}

#define FROM(name) "\"from\":{\"source\":\"yaml\",\"name\":\"" name "\",\"origin\":\"/etc/c.yaml:3\"}"

static void each_run_of_a_hook_is_told(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *told = NULL, *want = NULL, *failed = NULL;
        struct world *w = *state;
        const char *id;

        free(world_hooks(""));          /* of the tests before */
        id = world_run(w, &(struct wish) { .args = "[\"sleep\",\"60\"]", .hooks =
                "{\"prestart\":[{\"path\":\"/bin/true\"}],"
                "\"createRuntime\":[{\"path\":\"/bin/true\"," FROM("a") "},{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"sleep 9\"],"
                "\"timeout\":1,\"failure\":\"ignore\"," FROM("slow") "}],"
                "\"createContainer\":[{\"path\":\"/bin/false\",\"failure\":\"ignore\"," FROM("b") "}],"
                "\"startContainer\":[{\"path\":\"/bin/false\",\"failure\":\"ignore\"," FROM("c") "},{\"path\":\"/bin/true\"," FROM("d") "}],"
                "\"poststart\":[{\"path\":\"/bin/true\"," FROM("e") "}],"
                "\"poststop\":[{\"path\":\"/bin/false\"," FROM("f") "},{\"path\":\"/bin/true\"," FROM("g") "}]}" });
        world_destroy(w, id);
        told = world_hooks("poststop 2");
        want = world_path("%s prestart 1 0 :\n%s createRuntime 1 0 yaml:a\n"
                          "%s createRuntime 2 137 yaml:slow timed out ignored: yaml:slow (/etc/c.yaml:3): createRuntime hook 2, /bin/sh: "
                          "killed at its time limit\n"
                          "%s createContainer 1 1 yaml:b ignored: yaml:b (/etc/c.yaml:3): createContainer hook 1, /bin/false: exit status 1\n"
                          "%s startContainer 1 1 yaml:c ignored: yaml:c (/etc/c.yaml:3): startContainer hook 1, /bin/false: exit status 1\n"
                          "%s startContainer 2 0 yaml:d\n%s poststart 1 0 yaml:e\n"
                          "%s poststop 1 1 yaml:f ignored: yaml:f (/etc/c.yaml:3): poststop hook 1, /bin/false: exit status 1\n"
                          "%s poststop 2 0 yaml:g\n", id, id, id, id, id, id, id, id, id);
        assert_string_equal(told, want);

        /* One that fails the creation is told, too, and the error says whose it is. */
        assert_int_equal(world_create(w, &(struct wish) { .hooks =
                "{\"createContainer\":[{\"path\":\"/bin/false\"," FROM("h") "}]}" }, &id, &err), -1);
        assert_contains(err.text, "yaml:h (/etc/c.yaml:3): createContainer hook 1, /bin/false: exit status 1");
        failed = world_hooks("yaml:h");
        assert_contains(failed, "createContainer 1 1 yaml:h: yaml:h (/etc/c.yaml:3): createContainer hook 1, /bin/false: exit status 1");
        world_destroy(w, id);
}

static void what_ran_while_nobody_listened_is_told_later(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct cringle_call call = call_within(NULL, SECOND / 5);
        struct cringle_container_state now = { .size = sizeof now };
        auto_free char *told = NULL, *line = NULL;
        struct world *w = *state;
        const char *id;

        assert_ok(world_create(w, &(struct wish) { .args = "[\"sleep\",\"60\"]", .hooks =
                "{\"poststart\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"sleep 1\"],\"env\":[\"PATH=/bin\"]," FROM("late") "}]}" },
                &id, &err), &err);
        assert_int_equal(w->ops->start(w->self, &call, "pod", id, &now, &err), -1);      /* it is not waited for */
        world_restart(w);
        sleep(2);
        assert_ok(world_open_pod(w, POD, 1, unit_err()), unit_err());
        told = world_hooks("poststart 1");
        line = world_path("%s poststart 1 0 yaml:late\n", id);
        assert_contains(told, line);
        world_destroy(w, id);
}

static void of_too_many_runs_while_nobody_listens_the_oldest_are_counted(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct cringle_call call = call_within(NULL, SECOND / 5);
        struct cringle_container_state now = { .size = sizeof now };
        auto_free char *told = NULL;
        struct world *w = *state;
        auto_buf hooks = BUF_INIT;
        size_t lines = 0;
        const char *id;

        buf_add_str(&hooks, "{\"poststart\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"sleep 1\"],\"env\":[\"PATH=/bin\"]}", NULL);
        for (int i = 0; i < 70; i++)
                buf_add_str(&hooks, ",{\"path\":\"/bin/true\"," FROM("many") "}", NULL);
        buf_add_str(&hooks, "]}", NULL);
        assert_ok(world_create(w, &(struct wish) { .args = "[\"sleep\",\"60\"]", .hooks = hooks.data }, &id, &err), &err);
        assert_int_equal(w->ops->start(w->self, &call, "pod", id, &now, &err), -1);
        world_restart(w);
        sleep(4);
        free(world_hooks(""));
        assert_ok(world_open_pod(w, POD, 1, unit_err()), unit_err());
        told = world_hooks("poststart 71 ");
        assert_int_equal(strncmp(told, "lost 7\n", 7), 0);
        for (const char *at = told; (at = strstr(at, " poststart ")); at++)
                lines++;
        assert_int_equal(lines, 64);
        assert_null(strstr(told, "poststart 7 "));
        assert_non_null(strstr(told, "poststart 8 "));
        world_destroy(w, id);
}

static void a_hook_that_hangs_is_killed_with_its_children(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t begun = clock_monotonic();
        const char *id;

        assert_int_equal(world_create(*state, &(struct wish) { .hooks =
                "{\"createRuntime\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"sleep 77 & sleep 77\"],\"timeout\":1}]}" }, &id, &err), -1);
        assert_contains(err.text, "createRuntime hook 1, /bin/sh: killed at its time limit");
        assert_int_equal(err.code, CRINGLE_E_DEADLINE);
        assert_true(clock_monotonic() - begun < 60 * SECOND);
        world_destroy(*state, id);
}

/* Not at its time limit, and as a failure that nobody has to look into. */
static void a_hook_that_is_killed_with_its_container_says_so(void **state)
{
        struct world *w = *state;
        struct cringle_container_state now = { .size = sizeof now };
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct cringle_call call = call_within(NULL, SECOND);
        auto_free char *told = NULL;
        const char *id;

        free(world_hooks(""));          /* of the tests before */
        assert_ok(world_create(w, &(struct wish) { .args = "[\"sleep\",\"60\"]", .hooks =
                "{\"poststart\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"sleep 77\"],\"timeout\":70}]}" }, &id, &err), &err);
        assert_int_equal(w->ops->start(w->self, &call, "pod", id, &now, &err), -1);
        world_destroy(w, id);
        told = world_hooks("poststart 1");
        assert_contains(told, "poststart 1 137 :: poststart hook 1, /bin/sh: killed with its container\n");
}

static void a_poststart_hook_that_fails_ends_the_container(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct world *w = *state;
        struct cringle_container_state now = { .size = sizeof now };
        const char *id;

        assert_ok(world_create(w, &(struct wish) { .args = "[\"sleep\",\"60\"]", .hooks =
                "{\"poststart\":[{\"path\":\"/bin/false\"}]}" }, &id, &err), &err);
        assert_int_equal(world_start(w, id, &err), -1);
        assert_contains(err.text, "poststart hook 1, /bin/false: exit status 1");
        for (int i = 0; i < 500 && now.state != CRINGLE_RUN_EXITED; i++) {
                assert_ok(w->ops->state(w->self, "pod", id, &now, &err), &err);
                usleep(2000);
        }
        assert_int_equal(now.state, CRINGLE_RUN_EXITED);
        world_destroy(w, id);
}

static char *read_until(int fd, const char *word)
{
        auto_buf text = BUF_INIT;
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char chunk[512];

        while ((!text.data || !strstr(text.data, word)) && poll(&p, 1, 5000) > 0) {
                ssize_t n = read(fd, chunk, sizeof chunk);

                if (n <= 0)
                        break;
                buf_add(&text, chunk, (size_t) n, NULL);
        }
        return text.data ? buf_steal(&text) : strdup("");
}

static void a_terminal_is_one_and_can_be_resized(void **state)
{
        struct world *w = *state;
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        const char *id = world_run(w, &(struct wish) { .tty = true, .stdin_open = true,
                .args = "[\"sh\",\"-c\",\"tty; ls -l /dev/console; read x; stty size; echo got $x\"]" });
        auto_free char *out = NULL, *log = NULL;
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_ok(w->ops->attach(w->self, &call, "pod", id, pair[1], pair[1], -1, unit_err()), unit_err());
        close(pair[1]);
        assert_ok(w->ops->resize(w->self, &call, "pod", id, NULL, 93, 27, unit_err()), unit_err());
        assert_int_equal(write(pair[0], "word\n", 5), 5);
        out = read_until(pair[0], "got word");
        assert_contains(out, "27 93");
        assert_contains(out, "got word");
        assert_int_equal(world_exit(id).exit_code, 0);
        log = world_log(w, id);
        assert_contains(log, "stdout F /dev/pts/0");
        close(pair[0]);
        world_destroy(w, id);
}

static void an_exec_can_have_a_terminal(void **state)
{
        struct world *w = *state;
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        const char *id = world_run(w, &(struct wish) { .args = "[\"sleep\",\"60\"]" });
        struct cringle_executor_event event;
        auto_free char *out = NULL;
        int pair[2];
        struct cringle_exec exec = {
                .size = sizeof exec, .pod = "pod", .container = id, .id = "t1", .tty = 1, .stdout_fd = -1, .stderr_fd = -1,
                .argv = (const char *const[]) { "sh", "-c", "tty; read x; echo got $x; exit 5", NULL },
        };

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        exec.stdin_fd = pair[1];
        assert_ok(w->ops->exec(w->self, &call, &exec, unit_err()), unit_err());
        close(pair[1]);
        assert_int_equal(write(pair[0], "word\n", 5), 5);
        out = read_until(pair[0], "got word");
        assert_contains(out, "/dev/pts/0");
        assert_contains(out, "got word");
        assert_true(world_wait(CRINGLE_EVENT_EXEC_EXITED, "t1", &event));
        assert_int_equal(event.state.exit_code, 5);
        close(pair[0]);
        world_destroy(w, id);
}

static void stdin_once_ends_with_its_client(void **state)
{
        struct world *w = *state;
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        const char *id = world_run(w, &(struct wish) { .args = "[\"cat\"]", .stdin_open = true, .stdin_once = true });
        auto_free char *log = NULL;
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_ok(w->ops->attach(w->self, &call, "pod", id, pair[1], -1, -1, unit_err()), unit_err());
        close(pair[1]);
        assert_int_equal(write(pair[0], "words\n", 6), 6);
        close(pair[0]);
        assert_int_equal(world_exit(id).exit_code, 0);
        log = world_log(w, id);
        assert_string_equal(log, "stdout F words\n");
        world_destroy(w, id);
}

static size_t fds_of(pid_t pid)
{
        auto_free char *path = world_path("/proc/%d/fd", pid);
        DIR *d = opendir(path);
        size_t n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

/* The first fills the pipe; what the others sent waits behind it. */
static void clients_that_left_are_not_kept_without_end(void **state)
{
        static char many[80000];
        struct world *w = *state;
        struct cringle_call call = call_within(NULL, 60 * SECOND);
        const char *id = world_run(w, &(struct wish) { .stdin_open = true, .args = "[\"sleep\",\"60\"]" });
        pid_t monitor = monitor_of(w);
        size_t before = fds_of(monitor), n = 0;

        for (int i = 0; i < 100; i++) {
                int pair[2];

                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
                assert_ok(w->ops->attach(w->self, &call, "pod", id, pair[1], -1, -1, unit_err()), unit_err());
                close(pair[1]);
                assert_int_equal(write(pair[0], many, sizeof many), sizeof many);
                close(pair[0]);
        }
        for (int i = 0; i < 500 && (n = fds_of(monitor)) > before + 20; i++)
                usleep(10000);
        assert_in_range(n, before + 1, before + 20);
        world_destroy(w, id);
}

/* What @fd has until its end; *ret_open: there is somebody at the other end still. */
static size_t read_all(int fd, bool *ret_open)
{
        struct pollfd p = { .fd = fd };
        char chunk[4096];
        size_t all = 0;
        ssize_t n;

        while ((n = read(fd, chunk, sizeof chunk)) > 0)
                all += (size_t) n;
        assert_int_equal(n, 0);
        *ret_open = poll(&p, 1, 0) == 0;
        return all;
}

static void *read_patiently(void *data)
{
        int *fd = data;
        bool open;
        size_t n = read_all(*fd, &open);

        *fd = open ? -1 : (int) n;
        return NULL;
}

/* And it can tell that from the end of the output, also after that has come. */
static void a_client_that_does_not_read_holds_nobody_up(void **state)
{
        struct world *w = *state;
        struct cringle_call call = call_within(NULL, 60 * SECOND);
        const char *id = world_run(w, &(struct wish) { .stdin_open = true,
                .args = "[\"sh\",\"-c\",\"read x; head -c 8000000 /dev/zero | tr '\\\\0' 'a' | fold -w 1000; echo; echo end\"]" });
        pid_t monitor = monitor_of(w);
        size_t before = fds_of(monitor), n;
        auto_free char *log = NULL;
        int pair[2], patient[2], got;
        pthread_t reader;
        bool open;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_ok(w->ops->attach(w->self, &call, "pod", id, pair[1], pair[1], -1, unit_err()), unit_err());
        close(pair[1]);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, patient), 0);
        assert_ok(w->ops->attach(w->self, &call, "pod", id, -1, -1, patient[1], unit_err()), unit_err());
        close(patient[1]);
        got = patient[0];
        pthread_create(&reader, NULL, read_patiently, &got);
        assert_int_equal(write(pair[0], "\n", 1), 1);
        assert_int_equal(world_exit(id).exit_code, 0);
        log = world_log(w, id);
        assert_true(strlen(log) > 8000000);
        assert_contains(log + strlen(log) - 20, "stdout F end\n");

        pthread_join(reader, NULL);
        assert_int_equal(got, 0);
        close(patient[0]);
        world_destroy(w, id);
        n = read_all(pair[0], &open);
        assert_true(n > 0 && n < 8000000);
        assert_true(open);
        close(pair[0]);
        for (int i = 0; fds_of(monitor) >= before && i < 5000; i++)
                usleep(2000);
        assert_true(fds_of(monitor) < before);
}

static void running_out_of_memory_is_told(void **state)
{
        struct world *w = *state;
        auto_free char *limit = world_path("%s/memory.limit_in_bytes", w->memory ? w->memory : "");
        struct cringle_container_state exited;
        const char *id;

        if (!w->memory || file_poke(limit, "16000000", NULL) < 0)
                skip();
        id = world_run(w, &(struct wish) { .args = "[\"sh\",\"-c\",\"exec dd if=/dev/zero of=/dev/null bs=60M\"]" });
        exited = world_exit(id);
        assert_int_equal(exited.exit_code, 137);
        assert_true(exited.oom);
        world_destroy(w, id);
}

static void who_outlived_an_earlier_kill_did_not_run_out_of_memory(void **state)
{
        struct world *w = *state;
        auto_free char *limit = world_path("%s/memory.limit_in_bytes", w->memory ? w->memory : "");
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        struct cringle_container_state exited;
        auto_free char *log = NULL;
        const char *id;

        if (!w->memory || file_poke(limit, "16000000", NULL) < 0)
                skip();
        id = world_run(w, &(struct wish) {
                .args = "[\"sh\",\"-c\",\"exec 2>/dev/null; (dd if=/dev/zero of=/dev/null bs=60M); echo $?; exec sleep 60\"]" });
        for (int i = 0; i < 1000 && !strstr(log ? log : "", "\n"); i++) {
                usleep(10000);
                free(log);
                log = world_log(w, id);
        }
        assert_string_equal(log, "stdout F 137\n");
        assert_ok(w->ops->kill(w->self, &call, "pod", id, SIGKILL, 1, unit_err()), unit_err());
        exited = world_exit(id);
        assert_int_equal(exited.exit_code, 137);
        assert_false(exited.oom);
        world_destroy(w, id);
}

static void a_killed_container_tells_the_signal(void **state)
{
        struct world *w = *state;
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        const char *id = world_run(w, &(struct wish) { .args = "[\"sh\",\"-c\",\"sleep 60\"]" });
        struct cringle_container_state exited;

        assert_ok(w->ops->kill(w->self, &call, "pod", id, SIGKILL, 0, unit_err()), unit_err());
        exited = world_exit(id);
        assert_int_equal(exited.signal, SIGKILL);
        assert_int_equal(exited.exit_code, 137);
        assert_false(exited.oom);
        assert_ok(w->ops->kill(w->self, &call, "pod", id, SIGKILL, 1, unit_err()), unit_err());
        world_destroy(w, id);
        world_destroy(w, id);
}

static void containers_outlive_the_agent(void **state)
{
        struct world *w = *state;
        const char *gone = world_run(w, &(struct wish) { .args = "[\"sh\",\"-c\",\"sleep 0.1; exit 9\"]" });
        const char *stays = world_run(w, &(struct wish) {
                .args = "[\"sleep\",\"60\"]", .process = ",\"env\":[\"PATH=/bin\",\"A=any byte: \xff\"]",
        });
        struct cringle_call call = call_within(NULL, 10 * SECOND);
        struct cringle_container_state now = { .size = sizeof now };
        struct cringle_executor_event event;
        auto_free char *out = NULL;

        world_restart(w);
        usleep(200000);
        assert_ok(world_open_pod(w, POD, 1, unit_err()), unit_err());
        assert_ok(w->ops->state(w->self, "pod", gone, &now, unit_err()), unit_err());
        assert_int_equal(now.state, CRINGLE_RUN_EXITED);
        assert_int_equal(now.exit_code, 9);
        assert_ok(w->ops->state(w->self, "pod", stays, &now, unit_err()), unit_err());
        assert_int_equal(now.state, CRINGLE_RUN_RUNNING);
        out = world_exec(w, stays, (const char *const[]) { "sh", "-c", "echo still here, $A", NULL }, 0, &event);
        assert_string_equal(out, "still here, any byte: \xff\n");
        assert_ok(w->ops->kill(w->self, &call, "pod", stays, SIGKILL, 0, unit_err()), unit_err());
        assert_int_equal(world_exit(stays).exit_code, 137);
        world_destroy(w, gone);
        world_destroy(w, stays);
}

/* --- ends that are known before what led to them ------------------------------------------------------------------ */

/* The newest child of the monitor @parent; *ret_n: how many it has, zombies included. */
static pid_t newest_child(pid_t parent, size_t *ret_n)
{
        auto_free char *text = world_file("/proc/%d/task/%d/children", parent, parent);
        pid_t newest = 0;
        char *end;

        *ret_n = 0;
        for (char *at = text;; at = end) {
                pid_t pid = (pid_t) strtol(at, &end, 10);

                if (end == at)
                        return newest;
                newest = pid;
                (*ret_n)++;
        }
}

static pid_t child_number(pid_t parent, size_t n)
{
        size_t have;
        pid_t pid;

        for (int i = 0; i < 10000; i++) {
                pid = newest_child(parent, &have);
                if (have == n)
                        return pid;
                usleep(2000);
        }
        fail_msg("monitor %d has %zu children, want %zu", parent, have, n);
        return 0;
}

static void wait_for_zombie(pid_t pid)
{
        for (int i = 0; i < 10000; i++) {
                auto_free char *text = world_file("/proc/%d/stat", pid);

                if (strstr(text, ") Z "))
                        return;
                usleep(2000);
        }
        fail_msg("%d is no zombie", pid);
}

static void end_unreaped(pid_t pid)
{
        kill(pid, SIGKILL);
        wait_for_zombie(pid);
}

/* A request of another thread. */
struct asking {
        struct world *w;
        struct wish wish;
        const char *id;
        struct cringle_err err;
        pthread_t thread;
        int result;
};

static void *ask_create(void *data)
{
        struct asking *a = data;

        a->result = world_create(a->w, &a->wish, &a->id, &a->err);
        return NULL;
}

static void *ask_start(void *data)
{
        struct asking *a = data;

        a->result = world_start(a->w, a->id, &a->err);
        return NULL;
}

static pid_t process_of(struct world *w, const char *id)
{
        struct cringle_container_state now = { .size = sizeof now };

        assert_ok(w->ops->state(w->self, "pod", id, &now, unit_err()), unit_err());
        return now.pid;
}

/* It stands still, and hears of the end of its child @victim before anything else when it goes on. */
static void hold_monitor(pid_t monitor, pid_t victim)
{
        kill(monitor, SIGSTOP);
        end_unreaped(victim);
}

/* Its worker is frozen before it bears the process. */
static void a_process_that_ends_before_its_pid_is_told_fails_its_creation(void **state)
{
        struct world *w = *state;
        struct asking a = { .w = w };
        auto_free char *frozen = NULL, *state_file = NULL;
        char *freezer = w->freezer;
        const char *victim;
        pid_t monitor, its;
        size_t n;

        if (!freezer)
                skip();
        victim = world_run(w, &(struct wish) { .args = "[\"sleep\",\"60\"]" });
        its = process_of(w, victim);
        monitor = monitor_of(w);
        newest_child(monitor, &n);
        frozen = world_path("%s/frozen", freezer);
        state_file = world_path("%s/freezer.state", frozen);
        assert_int_equal(mkdir(frozen, 0755), 0);
        assert_ok(file_poke(state_file, "FROZEN", unit_err()), unit_err());
        w->freezer = frozen;
        pthread_create(&a.thread, NULL, ask_create, &a);
        child_number(monitor, n + 1);
        hold_monitor(monitor, its);
        assert_ok(file_poke(state_file, "THAWED", unit_err()), unit_err());
        end_unreaped(child_number(monitor, n + 2));
        kill(monitor, SIGCONT);
        pthread_join(a.thread, NULL);

        assert_int_equal(a.result, -1);
        assert_contains(a.err.text, "the process died while its container was made");
        world_destroy(w, a.id);
        w->freezer = freezer;
        world_destroy(w, victim);
        assert_int_equal(rmdir(frozen), 0);
}

static void a_process_that_ends_in_its_hooks_has_not_started(void **state)
{
        struct world *w = *state;
        struct asking a = { .w = w };
        struct cringle_container_state now = { .size = sizeof now };
        pid_t pid;

        assert_ok(world_create(w, &(struct wish) { .args = "[\"true\"]", .hooks =
                "{\"startContainer\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"sleep 60\"]}]}" }, &a.id, &a.err), &a.err);
        pid = process_of(w, a.id);
        pthread_create(&a.thread, NULL, ask_start, &a);
        child_number(pid, 1);
        kill(pid, SIGKILL);
        pthread_join(a.thread, NULL);

        assert_int_equal(a.result, -1);
        assert_contains(a.err.text, "the process died before it could run its program");
        assert_ok(w->ops->state(w->self, "pod", a.id, &now, unit_err()), unit_err());
        assert_int_equal(now.state, CRINGLE_RUN_EXITED);
        assert_int_equal(now.exit_code, 128);
        world_destroy(w, a.id);
}

static void a_program_that_ends_before_its_start_is_told_has_started(void **state)
{
        struct world *w = *state;
        const char *victim = world_run(w, &(struct wish) { .args = "[\"sleep\",\"60\"]" });
        auto_free char *go = world_path("%s/rootfs/go", w->dir);
        struct asking a = { .w = w };
        pid_t monitor = monitor_of(w), its = process_of(w, victim), pid;

        assert_ok(world_create(w, &(struct wish) { .args = "[\"sh\",\"-c\",\"exit 9\"]", .hooks =
                "{\"startContainer\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"until test -e /go; do usleep 1000; done\"]}]}" },
                &a.id, &a.err), &a.err);
        pid = process_of(w, a.id);
        pthread_create(&a.thread, NULL, ask_start, &a);
        child_number(pid, 1);
        hold_monitor(monitor, its);
        assert_ok(file_replace(go, "", 0, 0644, false, unit_err()), unit_err());
        wait_for_zombie(pid);
        kill(monitor, SIGCONT);
        pthread_join(a.thread, NULL);
        unlink(go);

        assert_ok(a.result, &a.err);
        assert_int_equal(world_exit(a.id).exit_code, 9);
        world_destroy(w, a.id);
        world_destroy(w, victim);
}

static void a_lost_monitor_takes_its_containers_along_and_is_told(void **state)
{
        struct world *w = *state;
        const char *gone = world_run(w, &(struct wish) { .args = "[\"sh\",\"-c\",\"exit 6\"]" });
        const char *id = world_run(w, &(struct wish) { .args = "[\"sleep\",\"60\"]", .hooks =
                "{\"poststop\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"cat > poststop\"]}]}" });
        struct cringle_container_state now = { .size = sizeof now };
        auto_free char *said = NULL;
        pid_t pid;

        world_exit(gone);
        assert_ok(w->ops->state(w->self, "pod", id, &now, unit_err()), unit_err());
        pid = now.pid;
        if (kill(monitor_of(w), SIGKILL) < 0)
                fail_msg("kill: %m");
        assert_true(world_wait(CRINGLE_EVENT_POD_LOST, "", NULL));
        for (int i = 0; i < 500 && kill(pid, 0) == 0; i++) {
                auto_free char *stat_text = world_file("/proc/%d/stat", pid);

                if (strstr(stat_text, ") Z "))
                        break;
                usleep(2000);
                assert_int_not_equal(i, 499);
        }
        assert_ok(w->ops->state(w->self, "pod", gone, &now, unit_err()), unit_err());
        assert_int_equal(now.state, CRINGLE_RUN_EXITED);
        assert_int_equal(now.exit_code, 6);
        assert_ok(w->ops->state(w->self, "pod", id, &now, unit_err()), unit_err());
        assert_int_equal(now.state, CRINGLE_RUN_NONE);
        world_destroy(w, id);
        said = world_file("%s/%s/poststop", w->dir, id);
        assert_contains(said, "\"status\":\"stopped\"");
        assert_int_equal(world_open_pod(w, POD, 1, unit_err()), -1);
}

/* What is its own: the program's pages are one sealed copy that all monitors share. */
static long own_memory_of(pid_t pid)
{
        auto_free char *text = world_file("/proc/%d/smaps_rollup", pid);
        const char *at = strstr(text, "\nPss_Anon:");

        return at ? strtol(at + strlen("\nPss_Anon:"), NULL, 10) : -1;
}

/* With a sanitizer the monitor is a dynamic program, and a large one. */
static bool is_real_monitor(void)
{
#ifdef __SANITIZE_ADDRESS__
        return false;
#else
        return true;
#endif
}

static void a_monitor_stays_small(void **state)
{
        struct world *w = *state;
        int64_t begun = clock_monotonic(), took;
        long own;

        if (!is_real_monitor())
                skip();
        for (int i = 0; i < 20; i++)
                world_run(w, &(struct wish) { .args = "[\"true\"]" });
        took = (clock_monotonic() - begun) / 20;
        for (int i = 0; i < 20; i++) {
                char id[16];

                snprintf(id, sizeof id, "c%d", i + 1);
                world_exit(id);
                world_destroy(w, id);
        }
        own = own_memory_of(monitor_of(w));
        print_message("create and start: %ld us; of its own the monitor has %ld kB\n", (long) (took / 1000), own);
        assert_in_range(own, 1, 192);
}

static int setup_shared_pid(void **state)
{
        *state = world_new();
        assert_ok(world_open_pod(*state, POD | CRINGLE_NS_PID, 0, unit_err()), unit_err());
        return 0;
}

static void a_shared_pid_namespace_has_an_init_that_shows_nothing(void **state)
{
        struct world *w = *state;
        const char *first = world_run(w, &(struct wish) { .pod_pid = true, .args = "[\"sleep\",\"4321\"]" });
        const char *id = world_run(w, &(struct wish) { .pod_pid = true,
                .caps = "{\"bounding\":[\"CAP_SYS_PTRACE\"],\"permitted\":[\"CAP_SYS_PTRACE\"],\"effective\":[\"CAP_SYS_PTRACE\"]}",
                .args = "[\"sh\",\"-c\",\"cat /proc/1/comm; ls -A /proc/1/root/ | wc -l; ls /proc/1/fd | wc -l; ps | grep -c '[s]leep 4321'\"]" });
        auto_free char *log = NULL;

        world_exit(id);
        log = world_log(w, id);
        assert_contains(log, "stdout F cringle-init\nstdout F 0\n");
        assert_contains(log, "stdout F 1\n");
        world_destroy(w, id);
        world_destroy(w, first);
}

/* Neither the init nor a container that waits for its start tells where on the node it lives. */
static void a_shared_pid_namespace_says_nothing_of_the_node(void **state)
{
        struct world *w = *state;
        auto_free char *log = NULL;
        const char *waits, *id;

        assert_ok(world_create(w, &(struct wish) { .pod_pid = true, .args = "[\"sleep\",\"1\"]" }, &waits, unit_err()), unit_err());
        id = world_run(w, &(struct wish) { .pod_pid = true,
                .args = "[\"sh\",\"-c\",\"for p in /proc/[0-9]*; do test $p = /proc/$$ || tr '\\\\0' '|' <$p/cmdline 2>/dev/null; done; echo; "
                        "for f in environ maps mem auxv stack; do cat /proc/1/$f; done; readlink /proc/1/exe; "
                        "readlink /proc/1/fd/0 /proc/1/cwd /proc/1/root; echo end\"]" });
        world_exit(id);
        log = world_log(w, id);
        assert_contains(log, "stdout F cringle-init|cringle-start|");
        assert_null(strstr(log, w->run_dir));
        assert_null(strstr(log, "memfd:"));
        assert_contains(log, "stdout F end\n");
        for (const char *line = log; (line = strstr(line, "stdout ")); line++)
                if (strncmp(line, "stdout F cringle-init|", 22) != 0 && strncmp(line, "stdout F end", 12) != 0)
                        fail_msg("%s", log);
        world_destroy(w, id);
        world_destroy(w, waits);
}

static int setup_user(void **state)
{
        *state = world_new();
        assert_ok(world_open_pod(*state, POD | CRINGLE_NS_USER, 0, unit_err()), unit_err());
        return 0;
}

static void a_user_namespace_maps_ids_and_devices_work(void **state)
{
        struct world *w = *state;
        const char *id = world_run(w, &(struct wish) { .userns = true, .args =
                "[\"sh\",\"-c\",\"id -u; cat /proc/self/uid_map; echo x > /dev/null && echo null; head -c 4 /dev/zero | wc -c; hostname\"]" });
        struct cringle_executor_event event;
        auto_free char *log = NULL, *out = NULL;
        const char *second;

        world_exit(id);
        log = world_log(w, id);
        assert_contains(log, "stdout F 0\n");
        assert_contains(log, "100000      65536");
        assert_contains(log, "stdout F null\nstdout F 4\nstdout F podname\n");
        world_destroy(w, id);
        second = world_run(w, &(struct wish) { .userns = true, .args = "[\"sleep\",\"60\"]" });
        out = world_exec(w, second, (const char *const[]) { "id", "-u", NULL }, 0, &event);
        assert_string_equal(out, "0\n");
        world_destroy(w, second);
}

static void a_debug_container_can_join_anothers_pid_namespace(void **state)
{
        struct world *w = *state;
        const char *target = world_run(w, &(struct wish) { .args = "[\"sleep\",\"4321\"]" });
        const char *id = world_run(w, &(struct wish) { .share_pid_with = target, .args = "[\"sh\",\"-c\",\"tr '\\\\0' ' ' < /proc/1/cmdline\"]" });
        auto_free char *log = NULL;

        world_exit(id);
        log = world_log(w, id);
        assert_contains(log, "sleep 4321");
        world_destroy(w, id);
        world_destroy(w, target);
}

static void the_first_process_cannot_be_reached_to_change_the_monitor(void **state)
{
        struct cringle_container_state exited;
        const char *id;

        if (!is_real_monitor())
                skip();
        id = world_run(*state, &(struct wish) {
                .caps = "{\"bounding\":[\"CAP_DAC_OVERRIDE\"],\"permitted\":[\"CAP_DAC_OVERRIDE\"],\"effective\":[\"CAP_DAC_OVERRIDE\"]}",
                .args = "[\"/proc/self/exe\"]" });
        exited = world_exit(id);
        assert_int_not_equal(exited.exit_code, 0);      /* it is the monitor, which wants arguments */
        world_destroy(*state, id);
}

/* The modes of socket and directory keep others away; even if they did not, nobody would listen. */
static void the_monitor_hears_nobody_but_root(void **state)
{
        struct world *w = *state;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct rec_writer writer;
        auto_buf hello = BUF_INIT;
        struct stat st;
        pid_t pid;
        int status;

        snprintf(address.sun_path, sizeof address.sun_path, "%s/" WIRE_SOCKET, w->run_dir);
        assert_int_equal(stat(address.sun_path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(stat(w->run_dir, &st), 0);
        assert_int_equal(st.st_mode & 077, 0);
        assert_ok(wire_begin(&writer, &hello, WIRE_WATCH, 1, unit_err()), unit_err());

        assert_true(chmod(address.sun_path, 0666) == 0 && chmod(w->run_dir, 0711) == 0);
        pid = fork();
        if (pid == 0) {
                int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                struct pollfd answer = { fd, POLLIN, 0 };
                char byte;

                if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
                    connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
                        _exit(2);
                send(fd, hello.data, hello.len, MSG_NOSIGNAL);
                _exit(poll(&answer, 1, 5000) == 1 && recv(fd, &byte, 1, 0) <= 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

#define POD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        POD_TEST(output_goes_to_the_log_and_the_exit_is_told),
        POD_TEST(what_cannot_be_run_says_why),
        POD_TEST(what_the_kernel_can_do_is_told),
        POD_TEST(create_runs_nothing_of_the_container),
        POD_TEST(containers_share_the_pods_namespaces),
        POD_TEST(long_lines_are_split_and_a_last_one_is_partial),
        POD_TEST(a_reopened_log_is_a_new_file),
        POD_TEST(an_exec_has_the_containers_view_and_its_own_exit),
        POD_TEST(an_exec_ends_at_its_time_limit_with_all_it_started),
        POD_TEST(an_exec_does_not_wait_for_those_who_keep_its_pipes),
        POD_TEST(a_process_has_the_privileges_it_was_given_and_no_more),
        POD_TEST(paths_are_masked_and_read_only),
        POD_TEST(an_image_cannot_send_proc_elsewhere),
        POD_TEST(a_working_directory_outside_is_refused),
        POD_TEST(nothing_of_the_image_is_mounted_over_proc),
        POD_TEST(bind_mounts_are_what_they_were_asked_to_be),
        POD_TEST(hooks_run_in_their_order_and_see_the_state),
        POD_TEST(a_failing_hook_says_all_about_it),
        POD_TEST(each_run_of_a_hook_is_told),
        POD_TEST(what_ran_while_nobody_listened_is_told_later),
        POD_TEST(of_too_many_runs_while_nobody_listens_the_oldest_are_counted),
        POD_TEST(a_hook_that_hangs_is_killed_with_its_children),
        POD_TEST(a_hook_that_is_killed_with_its_container_says_so),
        POD_TEST(a_poststart_hook_that_fails_ends_the_container),
        POD_TEST(a_terminal_is_one_and_can_be_resized),
        POD_TEST(an_exec_can_have_a_terminal),
        POD_TEST(stdin_once_ends_with_its_client),
        POD_TEST(clients_that_left_are_not_kept_without_end),
        POD_TEST(a_client_that_does_not_read_holds_nobody_up),
        POD_TEST(running_out_of_memory_is_told),
        POD_TEST(who_outlived_an_earlier_kill_did_not_run_out_of_memory),
        POD_TEST(a_killed_container_tells_the_signal),
        POD_TEST(containers_outlive_the_agent),
        POD_TEST(a_process_that_ends_before_its_pid_is_told_fails_its_creation),
        POD_TEST(a_process_that_ends_in_its_hooks_has_not_started),
        POD_TEST(a_program_that_ends_before_its_start_is_told_has_started),
        POD_TEST(a_lost_monitor_takes_its_containers_along_and_is_told),
        POD_TEST(a_monitor_stays_small),
        POD_TEST(a_debug_container_can_join_anothers_pid_namespace),
        POD_TEST(the_first_process_cannot_be_reached_to_change_the_monitor),
        POD_TEST(the_monitor_hears_nobody_but_root),
        cmocka_unit_test_setup_teardown(a_partial_line_is_logged_before_the_exit_is_told, setup_shared_pid, teardown),
        cmocka_unit_test_setup_teardown(a_shared_pid_namespace_has_an_init_that_shows_nothing, setup_shared_pid, teardown),
        cmocka_unit_test_setup_teardown(a_shared_pid_namespace_says_nothing_of_the_node, setup_shared_pid, teardown),
        cmocka_unit_test_setup_teardown(a_user_namespace_maps_ids_and_devices_work, setup_user, teardown))
