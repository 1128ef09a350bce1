/* A manifest becomes what a kubelet would say, or is refused whole, each mistake by name and position. */

#include "tests/support/unit.h"

#include "agent/base/str.h"
#include "agent/cli/expand.h"
#include "agent/cli/manifest.h"
#include "agent/cli/quantity.h"

static const struct manifest_options options = {
        .log_dir = "/var/log/pods",
        .volumes_dir = "/v",
        .seccomp_dir = "/seccomp",
        .uid = "uid-1",
        .resolv_conf = "# a comment\nnameserver 10.0.0.1\nsearch a.example b.example\noptions ndots:2 timeout:1\n",
        .node_memory = INT64_C(8) << 30,
};

#define HEAD "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\n"
#define ONE(fields) HEAD "spec: {containers: [{name: a, image: busybox:1, " fields "}]}\n"
#define POD(fields) HEAD "spec: {containers: [{name: a, image: busybox:1}], " fields "}\n"

static struct manifest *parse(const char *text)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf complaints = BUF_INIT;
        struct manifest *m = NULL;
        int result = manifest_parse(text, strlen(text), "pod.yaml", &options, &m, &complaints, &err);

        if (result < 0)
                fail_msg("%s", err.text);
        if (result == MANIFEST_REFUSED)
                fail_msg("%s", complaints.data);
        return m;
}

/* That @text is refused with @complaint among its complaints. */
static void refused(const char *text, const char *complaint)
{
        struct cringle_err err = CRINGLE_ERR_INIT;
        auto_buf complaints = BUF_INIT;
        struct manifest *m = NULL;

        assert_int_equal(manifest_parse(text, strlen(text), "pod.yaml", &options, &m, &complaints, &err), MANIFEST_REFUSED);
        assert_null(m);
        assert_contains(complaints.data, complaint);
}

static const Cri__LinuxContainerSecurityContext *security_of(const struct manifest *m, size_t i)
{
        return m->containers[i].config->linux->security_context;
}

static void a_small_pod_gets_a_kubelets_defaults(void **state)
{
        auto_of(manifest) m = parse(HEAD "spec: {containers: [{name: a, image: busybox}]}\n");
        const Cri__PodSandboxConfig *s = m->sandbox;
        const Cri__ContainerConfig *c = m->containers[0].config;

        assert_string_equal(s->metadata->name, "web");
        assert_string_equal(s->metadata->namespace_, "shop");
        assert_string_equal(s->metadata->uid, "uid-1");
        assert_string_equal(s->hostname, "web");
        assert_string_equal(s->log_directory, "/var/log/pods/shop_web_uid-1");
        assert_null(s->dns_config);
        assert_int_equal(s->linux->security_context->namespace_options->pid, CRI__NAMESPACE_MODE__CONTAINER);
        assert_int_equal(s->linux->security_context->seccomp->profile_type,
                         CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault);
        assert_string_equal(s->annotations[0]->key, MANIFEST_ANNOTATION);
        assert_string_equal(s->annotations[0]->value, "30");
        assert_int_equal(m->restart, RESTART_ALWAYS);
        assert_int_equal(m->containers[0].pull, PULL_ALWAYS);

        assert_string_equal(c->log_path, "a/0.log");
        assert_string_equal(c->labels[0]->value, "a");
        assert_int_equal(c->linux->resources->cpu_shares, 2);
        assert_int_equal(c->linux->resources->cpu_quota, 0);
        assert_int_equal(c->linux->resources->memory_limit_in_bytes, 0);
        assert_int_equal(c->linux->resources->oom_score_adj, 1000);
        assert_null(security_of(m, 0)->run_as_user);
        assert_false(security_of(m, 0)->no_new_privs);
        assert_int_equal(security_of(m, 0)->n_masked_paths, 12);
        assert_int_equal(security_of(m, 0)->n_readonly_paths, 5);
        assert_int_equal(security_of(m, 0)->seccomp->profile_type, CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault);

        /* What was built is what goes over the wire. */
        assert_true(protobuf_c_message_check(&s->base));
        assert_true(protobuf_c_message_check(&c->base));
}

static void a_restart_has_a_log_of_its_own(void **state)
{
        auto_of(manifest) m = parse(ONE(""));

        assert_ok(manifest_set_attempt(m, &m->containers[0], 3, unit_err()), unit_err());
        assert_string_equal(m->containers[0].config->log_path, "a/3.log");
        assert_int_equal(m->containers[0].config->metadata->attempt, 3);
}

static void the_tag_decides_when_to_pull(void **state)
{
        static const struct {
                const char *image;
                int pull;
        } cases[] = {
                { "busybox", PULL_ALWAYS },
                { "busybox:latest", PULL_ALWAYS },
                { "r:5000/busybox", PULL_ALWAYS },
                { "r:5000/busybox:1", PULL_IF_NOT_PRESENT },
                { "busybox@sha256:00", PULL_IF_NOT_PRESENT },
                { "a, imagePullPolicy: Never", PULL_NEVER },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                auto_free char *text = str_printf(NULL, HEAD "spec: {containers: [{name: a, image: %s}]}", cases[i].image);
                auto_of(manifest) m = parse(text);

                assert_int_equal(m->containers[0].pull, cases[i].pull);
        }
}

static void resources_are_computed_as_a_kubelet_does(void **state)
{
        auto_of(manifest) burstable = parse(ONE("resources: {limits: {cpu: 1500m, memory: 1Gi}, "
                                                "requests: {cpu: 0.25, memory: 512Mi}}"));
        auto_of(manifest) guaranteed = parse(ONE("resources: {limits: {cpu: 2, memory: 100M}}"));
        auto_of(manifest) tiny = parse(ONE("resources: {limits: {cpu: 1m}}"));
        const Cri__LinuxContainerResources *r = burstable->containers[0].config->linux->resources;

        assert_int_equal(r->cpu_period, 100000);
        assert_int_equal(r->cpu_quota, 150000);
        assert_int_equal(r->cpu_shares, 256);
        assert_int_equal(r->memory_limit_in_bytes, 1 << 30);
        assert_int_equal(r->oom_score_adj, 1000 - 1000 / 16);

        r = guaranteed->containers[0].config->linux->resources;
        assert_int_equal(r->cpu_shares, 2048);
        assert_int_equal(r->memory_limit_in_bytes, 100000000);
        assert_int_equal(r->oom_score_adj, -997);

        r = tiny->containers[0].config->linux->resources;
        assert_int_equal(r->cpu_quota, 1000);
        assert_int_equal(r->cpu_shares, 2);
        assert_int_equal(r->oom_score_adj, 999);
}

static void variables_are_expanded_in_order(void **state)
{
        auto_of(manifest) m = parse(ONE("env: [{name: A, value: x}, {name: B, value: $(A)-$(C)}, {name: C, value: $(B)y}, "
                                        "{name: A, value: $(A)2}, {name: E}], "
                                        "command: [$(C), $$(A), '$(nope)', '$'], args: [$(A)$(B, '$(E)', '$x$(A)']"));
        const Cri__ContainerConfig *c = m->containers[0].config;

        assert_string_equal((char *) c->envs[1]->value.data, "x-$(C)");
        assert_string_equal((char *) c->envs[2]->value.data, "x-$(C)y");
        assert_string_equal((char *) c->envs[3]->value.data, "x2");
        assert_int_equal(c->envs[4]->value.len, 0);
        assert_string_equal(c->command[0], "x-$(C)y");
        assert_string_equal(c->command[1], "$(A)");
        assert_string_equal(c->command[2], "$(nope)");
        assert_string_equal(c->command[3], "$");
        assert_string_equal(c->args[0], "x2$(B");
        assert_string_equal(c->args[1], "");
        assert_string_equal(c->args[2], "$xx2");
}

static void expansion_cannot_explode(void **state)
{
        auto_buf text = BUF_INIT;

        assert_ok(buf_add_str(&text, HEAD "spec: {containers: [{name: a, image: b, env: [{name: V0, value: xxxxxxxx}",
                              unit_err()), unit_err());
        for (int i = 1; i < 60; i++)
                assert_ok(buf_printf(&text, unit_err(), ", {name: V%d, value: $(V%d)$(V%d)}", i, i - 1, i - 1), unit_err());
        assert_ok(buf_add_str(&text, "]}]}", unit_err()), unit_err());
        refused(text.data, "expands to more than 131071 bytes");
}

static void security_of_the_pod_holds_where_the_container_says_nothing(void **state)
{
        auto_of(manifest) m = parse(HEAD "spec:\n"
                                         "  securityContext: {runAsUser: 5, runAsGroup: 6, supplementalGroups: [7, 8],\n"
                                         "    seccompProfile: {type: Localhost, localhostProfile: p/q.json},\n"
                                         "    sysctls: [{name: kernel.shm_rmid_forced, value: '1'}]}\n"
                                         "  containers:\n"
                                         "  - {name: a, image: b:1}\n"
                                         "  - name: c\n"
                                         "    image: d:1\n"
                                         "    securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, procMount: Unmasked,\n"
                                         "      readOnlyRootFilesystem: true, seccompProfile: {type: Unconfined},\n"
                                         "      capabilities: {add: [NET_ADMIN], drop: [ALL]}}\n"
                                         "  - {name: e, image: f:1, securityContext: {privileged: true}}\n");

        assert_int_equal(security_of(m, 0)->run_as_user->value, 5);
        assert_int_equal(security_of(m, 0)->run_as_group->value, 6);
        assert_int_equal(security_of(m, 0)->supplemental_groups[1], 8);
        assert_string_equal(security_of(m, 0)->seccomp->localhost_ref, "/seccomp/p/q.json");
        assert_int_equal(security_of(m, 1)->run_as_user->value, 0);
        assert_true(security_of(m, 1)->no_new_privs);
        assert_true(security_of(m, 1)->readonly_rootfs);
        assert_int_equal(security_of(m, 1)->n_masked_paths, 0);
        assert_int_equal(security_of(m, 1)->seccomp->profile_type, CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined);
        assert_string_equal(security_of(m, 1)->capabilities->drop_capabilities[0], "ALL");
        assert_true(security_of(m, 2)->privileged);
        assert_int_equal(security_of(m, 2)->n_masked_paths, 0);
        assert_true(m->sandbox->linux->security_context->privileged);
        assert_string_equal(m->sandbox->linux->sysctls[0]->value, "1");
}

static void volumes_are_mounted_from_where_they_are(void **state)
{
        auto_of(manifest) m = parse(HEAD "spec:\n"
                                         "  volumes:\n"
                                         "  - {name: h, hostPath: {path: /srv, type: DirectoryOrCreate}}\n"
                                         "  - {name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}\n"
                                         "  - {name: n, emptyDir: {}}\n"
                                         "  containers: [{name: a, image: b:1, volumeMounts: [\n"
                                         "    {name: e, mountPath: /e, readOnly: true},\n"
                                         "    {name: h, mountPath: /h, mountPropagation: HostToContainer}]}]\n");
        const Cri__ContainerConfig *c = m->containers[0].config;

        assert_string_equal(c->mounts[0]->host_path, "/v/uid-1/volumes/e");
        assert_true(c->mounts[0]->readonly);
        assert_string_equal(c->mounts[1]->host_path, "/srv");
        assert_int_equal(c->mounts[1]->propagation, CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER);
        assert_int_equal(m->volumes[0].host_type, HOST_DIRECTORY_OR_CREATE);
        assert_true(m->volumes[1].memory);
        assert_int_equal(m->volumes[1].size.value, 1 << 20);
        assert_false(m->volumes[2].memory);
}

static void init_containers_come_first_wherever_they_stand(void **state)
{
        auto_of(manifest) m = parse(HEAD "spec: {containers: [{name: a, image: x:1}, {name: b, image: x:1}],\n"
                                         "       initContainers: [{name: i, image: x:1}, {name: j, image: x:1}]}\n");

        assert_int_equal(m->n_containers, 4);
        assert_int_equal(m->n_init, 2);
        assert_string_equal(m->containers[0].name, "i");
        assert_string_equal(m->containers[1].config->metadata->name, "j");
        assert_true(m->containers[1].init);
        assert_string_equal(m->containers[2].name, "a");
        assert_false(m->containers[3].init);
}

static void a_pod_on_the_nodes_network_maps_no_ports(void **state)
{
        auto_of(manifest) own = parse(ONE("ports: [{name: www, containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1, protocol: UDP}, "
                                          "{containerPort: 81}]"));
        auto_of(manifest) host = parse(HEAD "spec: {hostNetwork: true, hostPID: true, hostIPC: true, "
                                            "containers: [{name: a, image: b:1, ports: [{containerPort: 80, hostPort: 80}]}]}");

        assert_int_equal(own->sandbox->n_port_mappings, 1);
        assert_int_equal(own->sandbox->port_mappings[0]->host_port, 8080);
        assert_int_equal(own->sandbox->port_mappings[0]->protocol, CRI__PROTOCOL__UDP);
        assert_string_equal(own->sandbox->port_mappings[0]->host_ip, "127.0.0.1");
        assert_int_equal(host->sandbox->n_port_mappings, 0);
        assert_string_equal(host->sandbox->hostname, "");
        assert_int_equal(host->sandbox->linux->security_context->namespace_options->network, CRI__NAMESPACE_MODE__NODE);
        assert_int_equal(security_of(host, 0)->namespace_options->pid, CRI__NAMESPACE_MODE__NODE);
}

static void dns_is_the_nodes_and_the_pods(void **state)
{
        auto_of(manifest) both = parse(POD("dnsPolicy: Default, dnsConfig: {nameservers: [1.1.1.1], searches: [c.example], "
                                           "options: [{name: edns0}, {name: ndots, value: '5'}]}"));
        auto_of(manifest) none = parse(POD("dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1]}"));
        const Cri__DNSConfig *d = both->sandbox->dns_config;

        assert_int_equal(d->n_servers, 2);
        assert_string_equal(d->servers[0], "10.0.0.1");
        assert_string_equal(d->servers[1], "1.1.1.1");
        assert_int_equal(d->n_searches, 3);
        assert_string_equal(d->searches[1], "b.example");
        assert_int_equal(d->n_options, 4);
        assert_string_equal(d->options[0], "ndots:2");
        assert_string_equal(d->options[3], "ndots:5");
        assert_int_equal(none->sandbox->dns_config->n_servers, 1);
        assert_int_equal(none->sandbox->dns_config->n_searches, 0);
}

static void what_is_not_honoured_is_refused_by_name_and_position(void **state)
{
        refused(ONE("livenessProbe: {exec: {command: [x]}}"),
                "pod.yaml:4:49: spec.containers[0].livenessProbe: not honoured by cringle pod run\n");
        refused(ONE("comand: [x]"), "spec.containers[0].comand: not honoured by cringle pod run, did you mean 'command'?");
        refused(ONE("env: [{name: A, valueFrom: {}}]"), "spec.containers[0].env[0].valueFrom: not honoured");
        refused(ONE("volumeMounts: [{name: v, mountPath: /v, subPath: x}]"), "volumeMounts[0].subPath: not honoured");
        refused(ONE("resources: {limits: {ephemeral-storage: 1Gi}}"), "resources.limits.ephemeral-storage: not honoured");
        refused(POD("nodeSelector: {a: b}"), "spec.nodeSelector: not honoured");
        refused(POD("securityContext: {fsGroup: 1}"), "spec.securityContext.fsGroup: not honoured");
        refused(POD("volumes: [{name: v, configMap: {}}]"), "spec.volumes[0].configMap: not honoured");
        refused(HEAD "status: {}\nspec: {containers: [{name: a, image: b}]}", "pod.yaml:4:1: status: not honoured");
}

static void all_mistakes_are_told_at_once(void **state)
{
        static const char text[] = ONE("tty: true, stdin: true");

        refused(text, "containers[0].tty: not honoured");
        refused(text, "containers[0].stdin: not honoured");
}

static void values_of_the_wrong_type_or_range_are_refused(void **state)
{
        refused(ONE("command: x"), "pod.yaml:4:58: spec.containers[0].command: want a list of strings");
        refused(ONE("args: [1]"), "spec.containers[0].args: want a string; write \"1\" in quotes");
        refused(ONE("env: [{name: A, value: yes}]"), "env[0].value: want a string; write \"yes\" in quotes");
        refused(ONE("resources: {limits: {cpu: 1X}}"), "limits.cpu: '1X' is no quantity");
        refused(ONE("resources: {limits: {cpu: 1}, requests: {cpu: 2}}"), "requests more cpu than its limit");
        refused(ONE("ports: [{containerPort: 65536}]"), "containerPort is not within 1 and 65535");
        refused(ONE("ports: [{containerPort: 1, protocol: tcp}]"), "protocol: want one of TCP, UDP, SCTP");
        refused(ONE("ports: [{containerPort: 1, hostIP: x}]"), "hostIP 'x' is no address");
        refused(ONE("securityContext: {privileged: yes}"), "privileged: want true or false");
        refused(ONE("securityContext: {runAsUser: 4294967295}"), "runAsUser: 4294967295 is not within 0 and 2147483647");
        refused(ONE("securityContext: {runAsUser: 0, runAsNonRoot: true}"), "runAsNonRoot, but runAsUser is 0");
        refused(ONE("securityContext: {privileged: true, allowPrivilegeEscalation: false}"), "cannot be false where privileged");
        refused(ONE("securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../x}}"), "must be relative");
        refused(ONE("volumeMounts: [{name: v, mountPath: /v}]"), "there is no volume 'v'");
        refused(POD("volumes: [{name: v}]"), "want one of hostPath and emptyDir");
        refused(POD("volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}]"), "want one of hostPath and emptyDir");
        refused(POD("volumes: [{name: v, hostPath: {path: /a/../b}}]"), "hostPath needs an absolute path");
        refused(POD("volumes: [{name: ../x, emptyDir: {}}]"), "'../x' is no DNS name");
        refused(POD("volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]"), "sizeLimit is honoured for medium Memory only");
        refused(POD("hostPID: true, shareProcessNamespace: true"), "exclude each other");
        refused(POD("dnsPolicy: None"), "dnsPolicy None needs dnsConfig.nameservers");
        refused(POD("terminationGracePeriodSeconds: -1"), "terminationGracePeriodSeconds is not within");
        refused(POD("hostNetwork: true, securityContext: {sysctls: [{name: net.core.somaxconn, value: '1'}]}"),
                "not with hostNetwork");
        refused(HEAD "spec: {containers: []}", "no containers");
        refused(HEAD "spec: {initContainers: [{name: a, image: b}]}", "no containers");
        refused(HEAD "spec: {containers: [{name: a, image: b}, {name: a, image: b}]}", "there is a 'a' already");
        refused(HEAD "spec: {containers: [{name: a}]}", "no image");
        refused(HEAD "spec: [a]", "spec: want a map");
        refused(HEAD, "no spec");
        refused("apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: ../../etc}\nspec: {containers: [{name: a, image: b}]}",
                "uid '../../etc' is no word");
        refused("apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}\nspec: {containers: [{name: a, image: b}]}",
                "'a/b' is no DNS name");
        refused("apiVersion: v2\nkind: Deployment\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b}]}",
                "kind: want Pod");
        refused("- a\n", "the manifest: want a map");
        refused("x", "the manifest: want a map");
}

static void amounts_round_up_and_never_overflow(void **state)
{
        static const struct {
                const char *text;
                int milli;
                int64_t value;
        } cases[] = {
                { "1", 0, 1 },        { "0.5", 1, 500 },    { "100m", 1, 100 },     { "1u", 1, 1 },      { "1.5Gi", 0, 1610612736 },
                { "1e3", 0, 1000 },   { "1E3", 0, 1000 },   { "1E", 0, INT64_C(1000000000000000000) },   { "1e-1", 0, 1 },
                { "+2", 0, 2 },       { ".5", 1, 500 },     { "5.", 0, 5 },         { "0", 0, 0 },       { "100k", 0, 100000 },
                { "7Ei", 0, INT64_C(7) << 60 },             { "0.0000001", 1, 1 },  { "000", 0, 0 },     { "0e99", 0, 0 },
                { "", 0, -1 },        { "-1", 0, -1 },      { "m", 0, -1 },         { "1 ", 0, -1 },     { "1mi", 0, -1 },
                { "8Ei", 0, -1 },     { "1e99", 0, -1 },    { "1.1.1", 0, -1 },     { "1e", 0, -1 },     { "1e999", 0, -1 },
                { "9999999999999999999", 0, -1 },           { "999999999999999999Ei", 1, -1 },           { ".", 0, -1 },
                { "0x10", 0, -1 },    { "1e-99", 0, 1 },    { "nan", 0, -1 },       { "9223372036854775808", 0, -1 },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                if (quantity_parse(cases[i].text, cases[i].milli) != cases[i].value)
                        fail_msg("'%s' became %lld", cases[i].text, (long long) quantity_parse(cases[i].text, cases[i].milli));
}

/* Any cut of a manifest and any wrong byte in it ends in an answer; the sanitizers watch. */
static void damaged_manifests_get_an_answer(void **state)
{
        static const char text[] =
                "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {b: c}}\nspec:\n  volumes: [{name: v, emptyDir: {}}]\n"
                "  initContainers: [{name: i, image: x}]\n"
                "  containers:\n  - {name: a, image: b, env: [{name: A, value: $(A)}], args: [$(A)],\n"
                "     volumeMounts: [{name: v, mountPath: /v}], resources: {limits: {cpu: 1}}, ports: [{containerPort: 1}]}\n";
        static const char wrong[] = { '\0', '\n', '[', ']', '{', '}', ':', ',', '-', '~', '\'', '"', '|', '*', '&', '\xff', '9' };
        char copy[sizeof text];

        for (size_t n = 0; n < sizeof text - 1; n++) {
                for (size_t w = 0; w < sizeof wrong; w++) {
                        auto_buf complaints = BUF_INIT;
                        auto_of(manifest) m = NULL;
                        struct cringle_err err = CRINGLE_ERR_INIT;
                        int result;

                        memcpy(copy, text, sizeof text);
                        copy[n] = wrong[w];
                        result = manifest_parse(copy, wrong[w] ? sizeof text - 1 : n, "f", &options, &m, &complaints, &err);
                        assert_true(result == MANIFEST_READ ? m != NULL : m == NULL);
                        assert_true(result >= 0 || *err.text);
                        assert_true(result != MANIFEST_REFUSED || complaints.len);
                }
        }
}

UNIT_MAIN(
        cmocka_unit_test(a_small_pod_gets_a_kubelets_defaults),
        cmocka_unit_test(a_restart_has_a_log_of_its_own),
        cmocka_unit_test(the_tag_decides_when_to_pull),
        cmocka_unit_test(resources_are_computed_as_a_kubelet_does),
        cmocka_unit_test(variables_are_expanded_in_order),
        cmocka_unit_test(expansion_cannot_explode),
        cmocka_unit_test(security_of_the_pod_holds_where_the_container_says_nothing),
        cmocka_unit_test(volumes_are_mounted_from_where_they_are),
        cmocka_unit_test(init_containers_come_first_wherever_they_stand),
        cmocka_unit_test(a_pod_on_the_nodes_network_maps_no_ports),
        cmocka_unit_test(dns_is_the_nodes_and_the_pods),
        cmocka_unit_test(what_is_not_honoured_is_refused_by_name_and_position),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(values_of_the_wrong_type_or_range_are_refused),
        cmocka_unit_test(amounts_round_up_and_never_overflow),
        cmocka_unit_test(damaged_manifests_get_an_answer))
