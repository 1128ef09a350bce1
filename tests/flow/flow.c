/*
 * The whole agent but its main(), on fake plugins; see flow.h.
 */

#include "tests/flow/flow.h"

#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/call.h"
#include "agent/base/file.h"
#include "agent/base/sock.h"
#include "agent/cri/service.h"
#include "agent/host/host.h"
#include "agent/image/lookup.h"
#include "agent/image/store.h"
#include "agent/rpc/client.h"
#include "agent/rpc/server.h"
#include "hooks/hooks.h"

_Thread_local struct cringle_err flow_err = CRINGLE_ERR_INIT;
_Thread_local int64_t flow_patience = 30 * NSEC_PER_SEC;

static const char image_config[] =
        "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/bin/flow\"],\"User\":\"7\"},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";

/* In the place of agent/image/lookup.c, whose program has nothing to look into here. */
int lookup_user(const char *pull_program, int rootfs_fd, const char *who, const struct cringle_call *call,
                struct oci_user **ret, struct cringle_err *err)
{
        return users_resolve(who, NULL, 0, NULL, 0, ret, err);
}

/* --- the agent --- */

/* What a pull would leave: an image without layers. */
static int put_image(struct db *db, struct cringle_err *err)
{
        if (db_write(db, DB_FAST, err, "INSERT OR REPLACE INTO images (id, config, removed) VALUES (?, ?, 0)", "ss",
                     FLOW_IMAGE_ID, image_config) < 0)
                return -1;
        return db_write(db, DB_FAST, err,
                        "INSERT OR REPLACE INTO image_names (name, digest, image) VALUES (?, 0, ?), (?, 1, ?), (?, 1, ?)",
                        "ssssss", FLOW_IMAGE, FLOW_IMAGE_ID, FLOW_IMAGE_MIRROR, FLOW_IMAGE_ID, FLOW_IMAGE_DIGEST,
                        FLOW_IMAGE_ID);
}

static void *run_loop(void *data)
{
        loop_run(((struct flow *) data)->loop);
        return NULL;
}

static int open_images(struct flow *f, struct cringle_err *err)
{
        struct host_image backend = host_image(f->host);
        struct images_options options = {
                .db = f->db,
                .ops = backend.ops,
                .self = backend.self,
                .config = &f->config,
        };

        return images_new(&options, &f->images, err);
}

static int open_pods(struct flow *f, const char *boot_id, struct cringle_err *err)
{
        struct pods_options options = {
                .config = &f->config,
                .db = f->db,
                .host = f->host,
                .hooks = f->hooks,
                .images = f->images,
                .loop = f->loop,
                .workers = f->workers,
                .boot_id = boot_id ? boot_id : "the first boot",
        };

        return pods_new(&options, &f->pods, err);
}

static int serve(struct flow *f, struct cringle_err *err)
{
        struct cri_options cri = { f->pods, f->images, f->host, f->hooks, f->workers, f->pullers, f->loop };
        int fd;

        if (rpc_server_new(f->loop, NULL, &f->server, err) < 0 || cri_new(&cri, f->server, &f->cri, err) < 0)
                return -1;
        fd = sock_listen(f->config.socket, SOCK_STREAM, 0600, err);
        return fd < 0 ? -1 : rpc_server_listen(f->server, fd, err);
}

static int bring_up(struct flow *f, const char *boot_id, struct cringle_err *err)
{
        struct host_options options = { .builtins = fake_builtins };

        if (loop_new(&f->loop, err) < 0 || workers_new(16, &f->workers, err) < 0 ||
            workers_new(2, &f->pullers, err) < 0 || host_new(&f->config, &options, &f->host, err) < 0 ||
            hooks_new(&f->config, f->host, &f->hooks, err) < 0 || store_open(f->config.root, &f->db, err) < 0 ||
            put_image(f->db, err) < 0 || open_images(f, err) < 0 || open_pods(f, boot_id, err) < 0 || serve(f, err) < 0)
                return -1;
        return pthread_create(&f->thread, NULL, run_loop, f) == 0 ? 0 : err_sys(err, "thread");
}

/* From the top down; nobody works any more. */
static void take_down(struct flow *f)
{
        f->cri = cri_free(f->cri);
        f->pods = pods_free(f->pods);
        f->images = images_free(f->images);
        f->hooks = hooks_free(f->hooks);
        f->host = host_free(f->host);
        f->db = db_close(f->db);
        f->loop = loop_free(f->loop);
}

int flow_start(struct flow *f, const char *boot_id, struct cringle_err *err)
{
        if (bring_up(f, boot_id, err) == 0)
                return 0;
        fake_mute();
        f->workers = workers_free(f->workers);
        f->pullers = workers_free(f->pullers);
        take_down(f);
        return -1;
}

static void stop_serving(void *data)
{
        struct flow *f = data;

        f->server = rpc_server_free(f->server);
}

/*
 * Nothing new comes (server, events); then what is under way ends (workers), and
 * what it had for the loop; then everything goes.
 */
void flow_stop(struct flow *f)
{
        flow_settle(f);
        loop_post(f->loop, stop_serving, f);
        fake_mute();
        f->workers = workers_free(f->workers);
        f->pullers = workers_free(f->pullers);
        loop_stop(f->loop);
        pthread_join(f->thread, NULL);
        take_down(f);
}

static void count(void *data, const char *name, const char *id, const char *step, int64_t age)
{
        ++*(int *) data;
}

void flow_settle(struct flow *f)
{
        int left = 1;

        for (int i = 0; left > 0 && i < 10000; i++) {
                left = 0;
                pods_operations(f->pods, count, &left);
                if (left > 0)
                        usleep(1000);
        }
        assert_int_equal(left, 0);
}

static struct config_hook_plugin hook_plugins[] = {
        { .plugin = { .name = (char *) "fake-hook" }, .fail = true, .timeout = 10 * NSEC_PER_SEC },
};

int flow_setup_stopped(void **state)
{
        struct flow *f = calloc(1, sizeof *f);
        struct config *c = &f->config;

        fake_reset();
        f->dir = unit_make_dir();
        c->root = str_printf(NULL, "%s/root", f->dir);
        c->state = str_printf(NULL, "%s/state", f->dir);
        c->socket = str_printf(NULL, "%s/cri.sock", f->dir);
        c->programs.pull = (char *) "/no/such/program";
        c->image.name = (char *) "fake-image";
        c->cgroup.name = (char *) "fake-cgroup";
        c->network.name = (char *) "fake-network";
        c->executor.name = (char *) "fake-executor";
        c->cgroups.monitor_parent = (char *) "/cringle";
        c->cgroups.default_parent = (char *) "";
        c->images.max_parallel = 1;
        c->hooks.plugins = hook_plugins;
        c->hooks.n_plugins = 1;
        c->hooks.timeout = 10 * NSEC_PER_SEC;
        c->containers.max_line = 16384;
        c->containers.exec_limit = FLOW_EXEC_LIMIT;
        *state = f;
        return file_make_dirs(c->root, 0700, unit_err()) < 0 ? -1 : file_make_dirs(c->state, 0700, unit_err());
}

int flow_setup(void **state)
{
        struct cringle_err err = CRINGLE_ERR_INIT;

        if (flow_setup_stopped(state) < 0)
                return -1;
        if (flow_start(*state, NULL, &err) < 0) {
                print_error("%s\n", err.text);
                return -1;
        }
        return 0;
}

int flow_teardown(void **state)
{
        struct flow *f = *state;
        int r;

        fake_hang(NULL);                /* of a test that failed meanwhile */
        if (f->loop)
                flow_stop(f);
        r = file_remove_tree(f->dir, unit_err());
        free(f->config.root);
        free(f->config.state);
        free(f->config.socket);
        free(f->dir);
        free(f);
        return r;
}

/* --- requests --- */

void pod_ask(struct pod_ask *a, const char *name)
{
        cri__run_pod_sandbox_request__init(&a->request);
        cri__pod_sandbox_config__init(&a->config);
        cri__pod_sandbox_metadata__init(&a->metadata);
        cri__linux_pod_sandbox_config__init(&a->linux);
        cri__linux_sandbox_security_context__init(&a->security);
        cri__namespace_option__init(&a->spaces);
        for (int i = 0; i < 4; i++)
                cri__pair__init(&a->pairs[i]);
        a->request.config = &a->config;
        a->config.metadata = &a->metadata;
        a->metadata.name = (char *) name;
        a->metadata.namespace_ = (char *) "default";
        a->metadata.uid = (char *) "11111111-2222-3333-4444-555555555555";
        a->config.hostname = (char *) name;
        a->config.linux = &a->linux;
        a->linux.cgroup_parent = (char *) "/flow";
        a->linux.security_context = &a->security;
        a->security.namespace_options = &a->spaces;
        a->spaces.network = CRI__NAMESPACE_MODE__POD;
        a->spaces.pid = CRI__NAMESPACE_MODE__CONTAINER;
        a->spaces.ipc = CRI__NAMESPACE_MODE__NODE;
}

void container_ask(struct container_ask *a, const char *pod, const char *name)
{
        cri__create_container_request__init(&a->request);
        cri__container_config__init(&a->config);
        cri__container_metadata__init(&a->metadata);
        cri__image_spec__init(&a->image);
        for (int i = 0; i < 4; i++)
                cri__pair__init(&a->pairs[i]);
        a->request.pod_sandbox_id = (char *) pod;
        a->request.config = &a->config;
        a->config.metadata = &a->metadata;
        a->metadata.name = (char *) name;
        a->config.image = &a->image;
        a->image.image = (char *) FLOW_IMAGE;
}

void reply_free(void *message)
{
        protobuf_c_message_free_unpacked(message, NULL);
}

int ask(struct flow *f, const char *method, const void *request, void *ret)
{
        struct cringle_call call = call_within(NULL, flow_patience);
        auto_of(rpc_client) client = NULL;
        ProtobufCMessage *reply;

        flow_err = (struct cringle_err) CRINGLE_ERR_INIT;
        if (rpc_client_connect(f->config.socket, &client, &flow_err) < 0 ||
            rpc_client_call(client, &cri__runtime_service__descriptor, method, request, &call, &reply, &flow_err) < 0)
                return flow_err.code;
        if (ret)
                *(ProtobufCMessage **) ret = reply;
        else
                reply_free(reply);
        return 0;
}

int ask_run(struct flow *f, const struct pod_ask *a, id_text ret)
{
        Cri__RunPodSandboxResponse *reply;
        int code = ask(f, "RunPodSandbox", &a->request, &reply);

        if (code == 0) {
                snprintf(ret, sizeof(id_text), "%s", reply->pod_sandbox_id);
                reply_free(reply);
        }
        return code;
}

int ask_create(struct flow *f, const struct container_ask *a, id_text ret)
{
        Cri__CreateContainerResponse *reply;
        int code = ask(f, "CreateContainer", &a->request, &reply);

        if (code == 0) {
                snprintf(ret, sizeof(id_text), "%s", reply->container_id);
                reply_free(reply);
        }
        return code;
}

int ask_stop_pod(struct flow *f, const char *id)
{
        Cri__StopPodSandboxRequest request = CRI__STOP_POD_SANDBOX_REQUEST__INIT;

        request.pod_sandbox_id = (char *) id;
        return ask(f, "StopPodSandbox", &request, NULL);
}

int ask_remove_pod(struct flow *f, const char *id)
{
        Cri__RemovePodSandboxRequest request = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;

        request.pod_sandbox_id = (char *) id;
        return ask(f, "RemovePodSandbox", &request, NULL);
}

int ask_start(struct flow *f, const char *id)
{
        Cri__StartContainerRequest request = CRI__START_CONTAINER_REQUEST__INIT;

        request.container_id = (char *) id;
        return ask(f, "StartContainer", &request, NULL);
}

int ask_stop(struct flow *f, const char *id, int64_t grace)
{
        Cri__StopContainerRequest request = CRI__STOP_CONTAINER_REQUEST__INIT;

        request.container_id = (char *) id;
        request.timeout = grace;
        return ask(f, "StopContainer", &request, NULL);
}

int ask_remove(struct flow *f, const char *id)
{
        Cri__RemoveContainerRequest request = CRI__REMOVE_CONTAINER_REQUEST__INIT;

        request.container_id = (char *) id;
        return ask(f, "RemoveContainer", &request, NULL);
}

int ask_reopen_log(struct flow *f, const char *id)
{
        Cri__ReopenContainerLogRequest request = CRI__REOPEN_CONTAINER_LOG_REQUEST__INIT;

        request.container_id = (char *) id;
        return ask(f, "ReopenContainerLog", &request, NULL);
}

int ask_exec(struct flow *f, const char *id, const char *const *argv, int64_t timeout, Cri__ExecSyncResponse **ret)
{
        Cri__ExecSyncRequest request = CRI__EXEC_SYNC_REQUEST__INIT;

        request.container_id = (char *) id;
        request.cmd = (char **) argv;
        request.n_cmd = strv_count(argv);
        request.timeout = timeout;
        return ask(f, "ExecSync", &request, ret);
}

int ask_pod_status(struct flow *f, const char *id, bool verbose, Cri__PodSandboxStatusResponse **ret)
{
        Cri__PodSandboxStatusRequest request = CRI__POD_SANDBOX_STATUS_REQUEST__INIT;

        request.pod_sandbox_id = (char *) id;
        request.verbose = verbose;
        return ask(f, "PodSandboxStatus", &request, ret);
}

int ask_container_status(struct flow *f, const char *id, bool verbose, Cri__ContainerStatusResponse **ret)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;

        request.container_id = (char *) id;
        request.verbose = verbose;
        return ask(f, "ContainerStatus", &request, ret);
}

int ask_pods(struct flow *f, Cri__PodSandboxFilter *filter, Cri__ListPodSandboxResponse **ret)
{
        Cri__ListPodSandboxRequest request = CRI__LIST_POD_SANDBOX_REQUEST__INIT;

        request.filter = filter;
        return ask(f, "ListPodSandbox", &request, ret);
}

int ask_containers(struct flow *f, Cri__ContainerFilter *filter, Cri__ListContainersResponse **ret)
{
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;

        request.filter = filter;
        return ask(f, "ListContainers", &request, ret);
}

void must_run(struct flow *f, const char *name, id_text ret)
{
        struct pod_ask a;

        pod_ask(&a, name);
        assert_code(0, ask_run(f, &a, ret));
}

void must_create(struct flow *f, const char *pod, const char *name, id_text ret)
{
        struct container_ask a;

        container_ask(&a, pod, name);
        assert_code(0, ask_create(f, &a, ret));
}

void must_start(struct flow *f, const char *pod, const char *name, id_text ret)
{
        must_create(f, pod, name, ret);
        assert_code(0, ask_start(f, ret));
}

/* --- what is there --- */

static void *run_main(void *data)
{
        struct run_thread *t = data;

        t->code = t->pod ? ask_run(t->f, t->pod, t->id) : ask_create(t->f, t->container, t->id);
        t->err = flow_err;
        return NULL;
}

void run_begin(struct run_thread *t)
{
        pthread_create(&t->thread, NULL, run_main, t);
}

void run_end(struct run_thread *t)
{
        pthread_join(t->thread, NULL);
}

void wait_for_call(const char *text)
{
        for (int i = 0; i < 5000; i++) {
                auto_free char *calls = fake_calls();

                if (strstr(calls, text))
                        return;
                usleep(1000);
        }
        fail_msg("no call '%s'", text);
}

void id_of_call(const char *call, int nth, id_text ret)
{
        auto_free char *calls = fake_calls();
        char *at = NULL, *last = NULL;

        for (at = strstr(calls, call); at; at = strstr(at + 1, call))
                last = at;
        assert_non_null(last);
        last[strcspn(last, "\n")] = '\0';
        for (int i = 0; i < nth; i++) {
                last = strpbrk(last, " /");
                assert_non_null(last);
                last++;
        }
        snprintf(ret, sizeof(id_text), "%.*s", ID_LEN, last);
        assert_true(id_valid(ret));
}

int container_state(struct flow *f, const char *id)
{
        Cri__ContainerStatusResponse *reply;
        int state;

        if (ask_container_status(f, id, false, &reply) != 0)
                return -1;
        state = (int) reply->status->state;
        reply_free(reply);
        return state;
}

int container_exit_code(struct flow *f, const char *id)
{
        Cri__ContainerStatusResponse *reply;
        int code;

        assert_code(0, ask_container_status(f, id, false, &reply));
        code = reply->status->exit_code;
        reply_free(reply);
        return code;
}

int pod_state(struct flow *f, const char *id)
{
        Cri__PodSandboxStatusResponse *reply;
        int state;

        if (ask_pod_status(f, id, false, &reply) != 0)
                return -1;
        state = (int) reply->status->state;
        reply_free(reply);
        return state;
}

void wait_for_state(struct flow *f, const char *id, int state)
{
        for (int i = 0; i < 5000 && container_state(f, id) != state; i++)
                usleep(1000);
        assert_int_equal(container_state(f, id), state);
}

static int take_number(void *data, sqlite3_stmt *at)
{
        *(int64_t *) data = sqlite3_column_int64(at, 0);
        return 0;
}

int64_t rows(struct flow *f, const char *table)
{
        auto_free char *sql = str_printf(NULL, "SELECT count(*) FROM %s", table);
        struct cringle_err err = CRINGLE_ERR_INIT;
        int64_t n = -1;

        assert_ok(db_begin(f->db, &err), &err);
        assert_ok(db_query(f->db, &err, take_number, &n, sql, ""), &err);
        db_abort(f->db);
        return n;
}

void remove_all(struct flow *f)
{
        Cri__ListPodSandboxResponse *list;

        assert_code(0, ask_pods(f, NULL, &list));
        for (size_t i = 0; i < list->n_items; i++) {
                assert_code(0, ask_stop_pod(f, list->items[i]->id));
                assert_code(0, ask_remove_pod(f, list->items[i]->id));
        }
        reply_free(list);
}

static void assert_empty_dir(const char *above, const char *name)
{
        auto_free char *path = str_printf(NULL, "%s/%s", above, name);
        DIR *dir = opendir(path);
        struct dirent *e;

        if (!dir)
                return;         /* nothing was ever in it */
        while ((e = readdir(dir)))
                if (e->d_name[0] != '.')
                        fail_msg("%s/%s is left", path, e->d_name);
        closedir(dir);
}

void assert_nothing_left(struct flow *f)
{
        auto_free char *left = NULL;

        flow_settle(f);
        left = fake_left();
        assert_string_equal(left, "");
        assert_int_equal(rows(f, "pods"), 0);
        assert_int_equal(rows(f, "containers"), 0);
        assert_empty_dir(f->config.root, "pods");
        assert_empty_dir(f->config.state, "pods");
        assert_int_equal(pods_count(f->pods).pods, 0);
        assert_int_equal(pods_count(f->pods).containers, 0);
}

void assert_consistent(struct flow *f)
{
        Cri__ListPodSandboxResponse *pods;
        Cri__ListContainersResponse *containers;
        auto_free char *left = NULL;
        size_t ready = 0;

        flow_settle(f);
        left = fake_left();
        assert_code(0, ask_pods(f, NULL, &pods));
        assert_code(0, ask_containers(f, NULL, &containers));
        for (size_t i = 0; i < pods->n_items; i++)
                ready += pods->items[i]->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY;
        if (fake_alive("pod") != ready || fake_alive("attachment") != ready ||
            fake_alive("rootfs") != containers->n_containers || fake_alive("container") > containers->n_containers ||
            fake_alive("cgroup") != ready + containers->n_containers)
                fail_msg("%zu pods (%zu ready), %zu containers, but there are:\n%s", pods->n_items, ready,
                         containers->n_containers, left);
        assert_int_equal(rows(f, "pods"), pods->n_items);
        assert_int_equal(rows(f, "containers"), containers->n_containers);
        reply_free(pods);
        reply_free(containers);
}
