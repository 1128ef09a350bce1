# Pods from an API server: what static pods cannot have.  The server is e2e/tools/kube-api, as small as one kubelet needs.

kubelet_stop
check "the server answers" api_start
check "the kubelet starts with it" kubelet_start 'contentType: application/json' --kubeconfig "$KUBECONFIG"
check "its node is ready" within 60 node_is "$is_ready"
check "and names the runtime" node_is '.status.nodeInfo.containerRuntimeVersion | startswith("cringle://")'
check "and says what it can do" node_is '.status.runtimeHandlers | map(select(.name == "")) | .[0].features.recursiveReadOnlyMounts'

api POST api/v1/namespaces/default/configmaps '{"metadata": {"name": "words"}, "data": {"hello": "hallo"}}' >/dev/null
api POST api/v1/namespaces/default/secrets '{"metadata": {"name": "key"}, "type": "Opaque", "data": {"key": "b3Blbg=="}}' >/dev/null
mkdir -p "$HOST/tree/below"
mount -t tmpfs tmpfs "$HOST/tree/below"
create sources '{
        "volumes": [{"name": "words", "configMap": {"name": "words", "defaultMode": 420}},
                    {"name": "key", "secret": {"secretName": "key", "defaultMode": 256}},
                    {"name": "all", "projected": {"defaultMode": 420, "sources": [{"configMap": {"name": "words"}}, {"secret": {"name": "key"}}]}},
                    {"name": "host", "hostPath": {"path": "'"$HOST"'", "type": ""}},
                    {"name": "tree", "hostPath": {"path": "'"$HOST/tree"'", "type": ""}}],
        "containers": [{"name": "main",
                "env": [{"name": "WORD", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "hello"}}}],
                "command": ["sh", "-c", "(cat /words/hello; echo; cat /key/key; echo; cat /all/hello /all/key; echo; echo $WORD; touch /tree/below/x || echo read-only) >/host/sources 2>/dev/null; exec sleep 100000"],
                "volumeMounts": [{"name": "words", "mountPath": "/words"}, {"name": "key", "mountPath": "/key"},
                                 {"name": "all", "mountPath": "/all"}, {"name": "host", "mountPath": "/host"},
                                 {"name": "tree", "mountPath": "/tree", "readOnly": true, "recursiveReadOnly": "Enabled"}],
                "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}}]}'
create layer '{"containers": [{"name": "main", "command": ["sh", "-c", "head -c 6000000 /dev/zero >/layer; exec sleep 100000"],
        "resources": {"limits": {"ephemeral-storage": "4Mi"}, "requests": {"ephemeral-storage": "4Mi"}}}]}'
create volume '{"volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "4Mi"}}],
        "containers": [{"name": "main", "command": ["sh", "-c", "head -c 6000000 /dev/zero >/scratch/file; exec sleep 100000"],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}]}'

check "a pod from the server runs" within 60 of sources "$is_ready"
check "with config maps, secrets, a projection, a tree that is read-only to the bottom" within 20 \
        has "$HOST/sources" hallo open halloopen hallo read-only
umount "$HOST/tree/below" || umount --lazy "$HOST/tree/below"

# Users of its own: root in there is nobody out here, and what it writes to a volume is the node's root's all the same.
create users '{"hostUsers": false, "volumes": [{"name": "host", "hostPath": {"path": "'"$HOST"'", "type": ""}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}],
        "containers": [{"name": "main",
                "command": ["sh", "-c", "touch /memory/x; (id -u; stat -c %u /memory/x; awk '\''{ print ($2 >= 65536), $3 }'\'' /proc/self/uid_map) >/host/users; exec sleep 100000"],
                "volumeMounts": [{"name": "host", "mountPath": "/host"}, {"name": "memory", "mountPath": "/memory"}]}]}'
check "a pod with users of its own runs" within 60 of users "$is_ready"
check "mapped to ids that are nobody's" within 20 has "$HOST/users" 0 0 '1 65536'
check "its files are the node's root's" same "$(stat -c %u "$HOST/users")" 0

# A container that is added to look into another.
api PATCH "$PODS/sources/ephemeralcontainers" '{"spec": {"ephemeralContainers": [{"name": "debug", "image": "'"$E2E_IMAGE"'",
        "imagePullPolicy": "IfNotPresent", "targetContainerName": "main", "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File", "resources": {}, "command": ["sh", "-c", "ps | grep -c \"[s]leep 100000\" >/dev/termination-log"]}]}}' >/dev/null
check "an ephemeral container sees its target's processes" within 60 of sources \
        '.status.ephemeralContainerStatuses[0].state.terminated.message == "1\n"'

# Limits that change in place.
id=$(api GET "$PODS/sources" | jq -r '.status.containerStatuses[0].containerID')
api PATCH "$PODS/sources/resize" '{"spec": {"containers": [{"name": "main",
        "resources": {"requests": {"cpu": "200m", "memory": "48Mi"}, "limits": {"cpu": "200m", "memory": "48Mi"}}}]}}' >/dev/null
check "a container's limits change in place" within 60 of sources '.status.containerStatuses[0] |
        .resources.limits == {cpu: "200m", memory: "48Mi"} and .restartCount == 0 and .containerID == "'"$id"'"'
check "in its cgroup, too" same "$(cat "$(awk '$0 ~ / - cgroup .*memory/ { print $5; exit }' /proc/self/mountinfo
        )$KUBELET_CGROUP/kubepods/pod$(api GET "$PODS/sources" | jq -r .metadata.uid)/${id##*/}/memory.limit_in_bytes")" 50331648

check "a pod whose writable layer outgrows its limit is evicted" within 90 of layer \
        '.status | .phase == "Failed" and .reason == "Evicted"'
check "one whose volume does, too" within 90 of volume '.status | .phase == "Failed" and .reason == "Evicted"'
nothing_runs() {
        [[ -z $(crictl pods --quiet --state ready --name '^(layer|volume)$') ]]
}
check "nothing of them runs on" within 60 nothing_runs

for name in sources users layer volume; do
        api DELETE "$PODS/$name" '{}' >/dev/null
done
check "deleted pods go, and the server is told" within 60 no_pods_there
kubelet_stop
api_stop
check "the kubelet starts without a server" kubelet_start
