/* pod run does what a manifest says against an agent that is a script, and leaves nothing behind. */

#include "tests/support/unit.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/sock.h"
#include "agent/base/str.h"
#include "agent/cli/pod.h"
#include "agent/rpc/server.h"

#define CONTAINERS_MAX 16

/*
 * The agent.  A container's command says how it ends: "exit CODE...", a code per
 * attempt, or "stay".  Handlers run on the loop's thread; the test looks only when
 * no call is under way.
 */
static struct fake {
        struct loop *loop;
        struct rpc_server *server;
        pthread_t thread;

        bool fail_sandbox;
        const char *fail_start;         /* a container's name */
        bool interrupt;                 /* the user presses Ctrl-C once a container stays */
        bool root_image;

        bool pulled, sandbox;
        char *uid, *grace;
        int64_t stop_timeout;
        size_t n_pulls;
        char log_path[256];
        char started[256];              /* "name/attempt " of each start */
        struct {
                char *name;
                uint32_t attempt;
                Cri__ContainerState state;
                int exit_code;
                bool removed;
        } containers[CONTAINERS_MAX];
        size_t n_containers;
} fake;

static char *dir;

static void refuse(struct rpc_call *call, int code, const char *text)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        err_set(&err, code, "%s", text);
        rpc_call_fail(call, &err);
}

static void list_pods(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        Cri__ListPodSandboxResponse reply = CRI__LIST_POD_SANDBOX_RESPONSE__INIT;
        Cri__PodSandbox pod = CRI__POD_SANDBOX__INIT, *pods[] = { &pod };
        Cri__PodSandboxMetadata metadata = CRI__POD_SANDBOX_METADATA__INIT;
        Cri__Pair pair = CRI__PAIR__INIT, *pairs[] = { &pair };

        pod.id = (char *) "sandbox";
        pod.metadata = &metadata;
        metadata.name = (char *) "web";
        metadata.namespace_ = (char *) "default";
        metadata.uid = fake.uid;
        pair.key = (char *) MANIFEST_ANNOTATION;
        pair.value = fake.grace;
        pod.annotations = pairs;
        pod.n_annotations = 1;
        reply.items = pods;
        reply.n_items = fake.sandbox;
        rpc_call_reply(call, &reply.base);
}

static void image_status(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        Cri__ImageStatusResponse reply = CRI__IMAGE_STATUS_RESPONSE__INIT;
        Cri__Image image = CRI__IMAGE__INIT;
        Cri__Int64Value uid = CRI__INT64_VALUE__INIT;

        image.id = (char *) "sha256:1234";
        uid.value = fake.root_image ? 0 : 1000;
        image.uid = &uid;
        if (fake.pulled)
                reply.image = &image;
        rpc_call_reply(call, &reply.base);
}

static void pull_image(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        const Cri__PullImageRequest *request = (const Cri__PullImageRequest *) message;
        Cri__PullImageResponse reply = CRI__PULL_IMAGE_RESPONSE__INIT;

        if (strcmp(request->image->image, "missing:1") == 0) {
                refuse(call, CRINGLE_E_NOT_FOUND, "no such image");
                return;
        }
        fake.pulled = true;
        fake.n_pulls++;
        rpc_call_reply(call, &reply.base);
}

static void run_sandbox(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        const Cri__RunPodSandboxRequest *request = (const Cri__RunPodSandboxRequest *) message;
        Cri__RunPodSandboxResponse reply = CRI__RUN_POD_SANDBOX_RESPONSE__INIT;

        if (fake.fail_sandbox) {
                refuse(call, CRINGLE_E_INTERNAL, "attach network: no addresses left");
                return;
        }
        fake.sandbox = true;
        fake.uid = strdup(request->config->metadata->uid);
        fake.grace = strdup(request->config->annotations[request->config->n_annotations - 1]->value);
        reply.pod_sandbox_id = (char *) "sandbox";
        rpc_call_reply(call, &reply.base);
}

/* Containers' ids are their places. */
static size_t place_of(const char *id)
{
        size_t i = strtoul(id, NULL, 10);

        return i < fake.n_containers ? i : 0;
}

static void create_container(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        const Cri__CreateContainerRequest *request = (const Cri__CreateContainerRequest *) message;
        const Cri__ContainerConfig *config = request->config;
        Cri__CreateContainerResponse reply = CRI__CREATE_CONTAINER_RESPONSE__INIT;
        char id[24];
        size_t i = fake.n_containers;

        if (i == CONTAINERS_MAX || !fake.sandbox) {
                refuse(call, CRINGLE_E_PRECONDITION, "no sandbox");
                return;
        }
        fake.n_containers++;
        fake.containers[i].name = strdup(config->metadata->name);
        fake.containers[i].attempt = config->metadata->attempt;
        fake.containers[i].exit_code = -1;
        if (strcmp(config->command[0], "exit") == 0) {
                size_t at = config->metadata->attempt + 1;

                fake.containers[i].exit_code = atoi(config->command[at < config->n_command ? at : config->n_command - 1]);
        }
        snprintf(id, sizeof id, "%zu", i);
        reply.container_id = id;
        rpc_call_reply(call, &reply.base);
}

static void start_container(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        const Cri__StartContainerRequest *request = (const Cri__StartContainerRequest *) message;
        Cri__StartContainerResponse reply = CRI__START_CONTAINER_RESPONSE__INIT;
        size_t i = place_of(request->container_id), used = strlen(fake.started);

        if (fake.fail_start && strcmp(fake.fail_start, fake.containers[i].name) == 0) {
                refuse(call, CRINGLE_E_INTERNAL, "exec: no such file");
                return;
        }
        snprintf(fake.started + used, sizeof fake.started - used, "%s/%u ", fake.containers[i].name,
                 fake.containers[i].attempt);
        fake.containers[i].state = fake.containers[i].exit_code < 0 ? CRI__CONTAINER_STATE__CONTAINER_RUNNING
                                                                    : CRI__CONTAINER_STATE__CONTAINER_EXITED;
        rpc_call_reply(call, &reply.base);
        if (fake.interrupt && fake.containers[i].exit_code < 0)
                kill(getpid(), SIGINT);
}

static void container_status(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        const Cri__ContainerStatusRequest *request = (const Cri__ContainerStatusRequest *) message;
        Cri__ContainerStatusResponse reply = CRI__CONTAINER_STATUS_RESPONSE__INIT;
        Cri__ContainerStatus status = CRI__CONTAINER_STATUS__INIT;
        size_t i = place_of(request->container_id);

        status.state = fake.containers[i].state;
        status.exit_code = fake.containers[i].exit_code;
        status.log_path = fake.log_path;
        reply.status = &status;
        rpc_call_reply(call, &reply.base);
}

static void list_containers(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        Cri__ListContainersResponse reply = CRI__LIST_CONTAINERS_RESPONSE__INIT;
        Cri__Container items[CONTAINERS_MAX], *list[CONTAINERS_MAX];
        Cri__ContainerMetadata metadata[CONTAINERS_MAX];
        char ids[CONTAINERS_MAX][24];

        for (size_t i = 0; fake.sandbox && i < fake.n_containers; i++) {
                if (fake.containers[i].removed)
                        continue;
                cri__container__init(&items[i]);
                snprintf(ids[i], sizeof ids[i], "%zu", i);
                cri__container_metadata__init(&metadata[i]);
                metadata[i].name = fake.containers[i].name;
                items[i].metadata = &metadata[i];
                items[i].id = ids[i];
                items[i].state = fake.containers[i].state;
                list[reply.n_containers++] = &items[i];
        }
        reply.containers = list;
        rpc_call_reply(call, &reply.base);
}

static void stop_container(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        const Cri__StopContainerRequest *request = (const Cri__StopContainerRequest *) message;
        Cri__StopContainerResponse reply = CRI__STOP_CONTAINER_RESPONSE__INIT;
        size_t i = place_of(request->container_id);

        fake.containers[i].state = CRI__CONTAINER_STATE__CONTAINER_EXITED;
        fake.stop_timeout = request->timeout;
        rpc_call_reply(call, &reply.base);
}

static void remove_container(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        const Cri__RemoveContainerRequest *request = (const Cri__RemoveContainerRequest *) message;
        Cri__RemoveContainerResponse reply = CRI__REMOVE_CONTAINER_RESPONSE__INIT;

        fake.containers[place_of(request->container_id)].removed = true;
        rpc_call_reply(call, &reply.base);
}

static void stop_sandbox(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        Cri__StopPodSandboxResponse reply = CRI__STOP_POD_SANDBOX_RESPONSE__INIT;

        for (size_t i = 0; i < fake.n_containers; i++)
                if (fake.containers[i].state == CRI__CONTAINER_STATE__CONTAINER_RUNNING) {
                        refuse(call, CRINGLE_E_PRECONDITION, "containers were not stopped first");
                        return;
                }
        rpc_call_reply(call, &reply.base);
}

static void remove_sandbox(struct rpc_call *call, const ProtobufCMessage *message, void *data)
{
        Cri__RemovePodSandboxResponse reply = CRI__REMOVE_POD_SANDBOX_RESPONSE__INIT;

        fake.sandbox = false;
        rpc_call_reply(call, &reply.base);
}

static const struct rpc_handler runtime[] = {
        { "ListPodSandbox", list_pods },
        { "RunPodSandbox", run_sandbox },
        { "StopPodSandbox", stop_sandbox },
        { "RemovePodSandbox", remove_sandbox },
        { "CreateContainer", create_container },
        { "StartContainer", start_container },
        { "StopContainer", stop_container },
        { "RemoveContainer", remove_container },
        { "ListContainers", list_containers },
        { "ContainerStatus", container_status },
        { 0 },
};

static const struct rpc_handler images[] = {
        { "ImageStatus", image_status },
        { "PullImage", pull_image },
        { 0 },
};

static void *serve(void *data)
{
        loop_run(fake.loop);
        return NULL;
}

static const char *file(const char *name)
{
        static char path[256];

        snprintf(path, sizeof path, "%s/%s", dir, name);
        return path;
}

static int setup(void **state)
{
        auto_free char *config = NULL;
        sigset_t interrupt;

        /* Blocked in every thread: pod run reads it from a signalfd. */
        sigemptyset(&interrupt);
        sigaddset(&interrupt, SIGINT);
        pthread_sigmask(SIG_BLOCK, &interrupt, NULL);

        memset(&fake, 0, sizeof fake);
        dir = unit_make_dir();
        config = str_printf(NULL, "root: %s/root\n", dir);
        if (file_replace(file("config.yaml"), config, strlen(config), 0644, false, unit_err()) < 0 ||
            loop_new(&fake.loop, unit_err()) < 0 || rpc_server_new(fake.loop, NULL, &fake.server, unit_err()) < 0 ||
            rpc_server_add(fake.server, &cri__runtime_service__descriptor, runtime, NULL, unit_err()) < 0 ||
            rpc_server_add(fake.server, &cri__image_service__descriptor, images, NULL, unit_err()) < 0 ||
            rpc_server_listen(fake.server, sock_listen(file("socket"), SOCK_STREAM, 0600, unit_err()), unit_err()) < 0)
                return -1;
        return pthread_create(&fake.thread, NULL, serve, NULL);
}

static int teardown(void **state)
{
        int result;

        loop_stop(fake.loop);
        pthread_join(fake.thread, NULL);
        rpc_server_free(fake.server);
        loop_free(fake.loop);
        for (size_t i = 0; i < fake.n_containers; i++)
                free(fake.containers[i].name);
        free(fake.uid);
        free(fake.grace);
        result = file_remove_tree(dir, unit_err());
        free(dir);
        return result;
}

/* Run the pod with this spec, as the command would. */
static int run(const char *spec, bool detach, struct cringle_err *err)
{
        auto_free char *config = str_printf(NULL, "%s/config.yaml", dir), *socket = str_printf(NULL, "%s/socket", dir);
        auto_free char *logs = str_printf(NULL, "%s/logs", dir), *volumes = str_printf(NULL, "%s/root/manifest-pods", dir);
        auto_free char *text = str_printf(NULL, "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {%s}\n", spec);
        struct manifest_options options = { .log_dir = logs, .volumes_dir = volumes, .seccomp_dir = "/s", .uid = "uid-1" };
        struct cli cli = { .config_file = config, .socket = socket, .cancel_fd = -1 };
        auto_buf complaints = BUF_INIT;
        auto_of(manifest) m = NULL;
        int result;

        assert_ok(manifest_parse(text, strlen(text), "f", &options, &m, &complaints, err), err);
        if (!m)
                fail_msg("%s", complaints.data);
        result = pod_run(&cli, m, detach, err);
        rpc_client_free(cli.client);
        config_free(cli.config);
        return result;
}

static void nothing_is_left(void)
{
        assert_false(fake.sandbox);
        assert_false(file_exists(file("root/manifest-pods")));
        assert_false(file_exists(file("logs/default_web_uid-1")));
}

#define VOLUMES "volumes: [{name: e, emptyDir: {}}, {name: m, emptyDir: {medium: Memory, sizeLimit: 64Ki}}], "
#define ENDS(name, codes) "{name: " name ", image: 'x:1', command: [exit, " codes "]}"
#define STAYS(name) "{name: " name ", image: 'x:1', command: [stay]}"

static void a_pod_that_ends_well_is_removed_with_all_it_had(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(run(VOLUMES "restartPolicy: Never, initContainers: [" ENDS("i", "'0'") "], containers: ["
                      ENDS("a", "'0'") ", " ENDS("b", "'0'") "]", false, &err), &err);
        assert_string_equal(fake.started, "i/0 a/0 b/0 ");
        assert_int_equal(fake.n_pulls, 1);
        nothing_is_left();
}

static void a_container_that_fails_is_the_exit_status(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(run("restartPolicy: Never, containers: [" ENDS("a", "'0'") ", " ENDS("b", "'7'") "]", false, &err), 1);
        nothing_is_left();
}

static void a_failure_is_started_again_on_failure_only(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(run("restartPolicy: OnFailure, containers: [" ENDS("a", "'0'") ", " ENDS("b", "'1', '0'") "]", false,
                             &err), 0);
        assert_string_equal(fake.started, "a/0 b/0 b/1 ");
        assert_true(fake.containers[1].removed);
        nothing_is_left();
}

static void an_init_container_that_fails_ends_it(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(run("restartPolicy: Never, initContainers: [" ENDS("i", "'3'") "], containers: [" ENDS("a", "'0'") "]",
                             false, &err), -1);
        assert_contains(err.text, "init container i failed: exit code 3");
        assert_string_equal(fake.started, "i/0 ");
        nothing_is_left();
}

static void a_sandbox_that_fails_leaves_nothing(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *spec = str_printf(NULL, "volumes: [{name: e, emptyDir: {medium: Memory}}, {name: h, hostPath: "
                                                "{path: %s/host, type: DirectoryOrCreate}}], containers: [%s]", dir, STAYS("a"));

        fake.fail_sandbox = true;
        assert_int_equal(run(spec, false, &err), -1);
        assert_contains(err.text, "no addresses left");
        nothing_is_left();
        assert_false(file_exists(file("host")));
}

static void a_start_that_fails_takes_the_others_down(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        fake.fail_start = "b";
        assert_int_equal(run("terminationGracePeriodSeconds: 3, containers: [" STAYS("a") ", " STAYS("b") "]", true, &err), -1);
        assert_contains(err.text, "start container b: exec: no such file");
        assert_int_equal(fake.stop_timeout, 3);
        nothing_is_left();
}

static void an_image_that_is_not_there_makes_nothing(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_int_equal(run("containers: [{name: a, image: 'missing:1'}]", false, &err), -1);
        assert_contains(err.text, "pull missing:1: no such image");
        assert_int_equal(run("containers: [{name: a, image: 'x:1', imagePullPolicy: Never}]", false, &err), -1);
        assert_contains(err.text, "imagePullPolicy is Never");
        fake.root_image = true;
        assert_int_equal(run("securityContext: {runAsNonRoot: true}, containers: [" STAYS("a") "]", false, &err), -1);
        assert_contains(err.text, "the image runs as root");
        nothing_is_left();
        assert_false(file_exists(file("root")));
}

static void a_host_path_of_another_kind_is_refused(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_free char *spec = str_printf(NULL, "volumes: [{name: e, emptyDir: {}}, {name: h, hostPath: {path: %s, type: File}}], "
                                                "containers: [%s]", dir, STAYS("a"));

        assert_int_equal(run(spec, false, &err), -1);
        assert_contains(err.text, "is no file");
        nothing_is_left();
}

static void ctrl_c_stops_and_removes_the_pod(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        fake.interrupt = true;
        assert_int_equal(run(VOLUMES "terminationGracePeriodSeconds: 5, containers: [" STAYS("a") "]", false, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_CANCELLED);
        assert_int_equal(fake.stop_timeout, 5);
        nothing_is_left();

        /* Take the signal that is still pending. */
        sigset_t interrupt;
        int number;

        sigemptyset(&interrupt);
        sigaddset(&interrupt, SIGINT);
        assert_int_equal(sigwait(&interrupt, &number), 0);
}

static void a_detached_pod_stays_until_it_is_removed(void **state)
{
        auto_free char *config = str_printf(NULL, "%s/config.yaml", dir), *socket = str_printf(NULL, "%s/socket", dir);
        struct cli cli = { .config_file = config, .socket = socket, .cancel_fd = -1 };
        char *rm[] = { (char *) "pod", (char *) "rm", (char *) "default/web", NULL };
        struct cringle_err err = CRINGLE_ERR_INIT;
        struct stat here, above;

        assert_ok(run(VOLUMES "containers: [" STAYS("a") "]", true, &err), &err);
        assert_true(fake.sandbox);
        assert_int_equal(stat(file("root/manifest-pods/uid-1/volumes/m"), &here), 0);
        assert_int_equal(here.st_mode & 07777, 0777);
        assert_int_equal(stat(file("root/manifest-pods/uid-1/volumes"), &above), 0);
        assert_int_not_equal(here.st_dev, above.st_dev);

        assert_int_equal(run("containers: [" STAYS("a") "]", true, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_EXISTS);
        assert_true(file_exists(file("root/manifest-pods/uid-1/volumes/m")));

        assert_ok(verb_pod(&cli, 3, rm, &err), &err);
        assert_int_equal(fake.stop_timeout, 30);
        assert_false(fake.sandbox);
        assert_false(file_exists(file("root/manifest-pods/uid-1")));
        assert_int_equal(verb_pod(&cli, 3, rm, &err), -1);
        assert_int_equal(err.code, CRINGLE_E_NOT_FOUND);
        rpc_client_free(cli.client);
        config_free(cli.config);
}

/* What `cringle logs` with these words puts on stdout. */
static void logs_are(const char *expected, int argc, char **argv)
{
        auto_free char *config = str_printf(NULL, "%s/config.yaml", dir), *socket = str_printf(NULL, "%s/socket", dir);
        struct cli cli = { .config_file = config, .socket = socket, .cancel_fd = -1 };
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf text = BUF_INIT;
        auto_fd int kept = -1;
        int result;

        fflush(stdout);
        kept = dup(STDOUT_FILENO);
        assert_non_null(freopen(file("stdout"), "w", stdout));
        result = verb_logs(&cli, argc, argv, &err);
        fflush(stdout);
        dup2(kept, STDOUT_FILENO);
        rpc_client_free(cli.client);
        config_free(cli.config);

        assert_ok(result, &err);
        assert_ok(file_read(file("stdout"), 4096, &text, &err), &err);
        assert_string_equal(text.data, expected);
}

static void logs_are_lines_again_and_tail_counts_records(void **state)
{
        static const char records[] = "2026-11-21T00:00:00Z stdout F one\n2026-11-21T00:00:00Z stdout P tw\n"
                                      "2026-11-21T00:00:00Z stdout F o\n2026-11-21T00:00:00Z stderr F not this\n"
                                      "2026-11-21T00:00:00Z stdout F three\nno record\n";
        char *all[] = { (char *) "logs", (char *) "web", (char *) "a", NULL };
        char *tail[] = { (char *) "logs", (char *) "--tail", (char *) "2", (char *) "web/a", NULL };
        char *more[] = { (char *) "logs", (char *) "--tail", (char *) "6", (char *) "default/web/a", NULL };
        struct cringle_err err = CRINGLE_ERR_INIT;

        assert_ok(file_replace(file("log"), records, strlen(records), 0644, false, &err), &err);
        snprintf(fake.log_path, sizeof fake.log_path, "%s", file("log"));
        assert_ok(run("containers: [" STAYS("a") "]", true, &err), &err);
        logs_are("one\ntwo\nthree\nno record\n", 3, all);
        logs_are("three\nno record\n", 4, tail);
        logs_are("one\ntwo\nthree\nno record\n", 4, more);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

UNIT_MAIN(
        TEST(a_pod_that_ends_well_is_removed_with_all_it_had),
        TEST(a_container_that_fails_is_the_exit_status),
        TEST(a_failure_is_started_again_on_failure_only),
        TEST(an_init_container_that_fails_ends_it),
        TEST(a_sandbox_that_fails_leaves_nothing),
        TEST(a_start_that_fails_takes_the_others_down),
        TEST(an_image_that_is_not_there_makes_nothing),
        TEST(a_host_path_of_another_kind_is_refused),
        TEST(ctrl_c_stops_and_removes_the_pod),
        TEST(a_detached_pod_stays_until_it_is_removed),
        TEST(logs_are_lines_again_and_tail_counts_records))
