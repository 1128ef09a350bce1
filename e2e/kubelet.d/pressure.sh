# Disks that fill up: the kubelet decides by the runtime's statistics what is to go.  Static pods count as
# critical and are not evicted; the group api shows evictions.

manifest modest <<Y
terminationGracePeriodSeconds: 1
containers:
- name: main
  image: registry.k8s.io/e2e/used:1
  resources: {requests: {ephemeral-storage: 8Mi}, limits: {ephemeral-storage: 8Mi}}
Y

check "a pod that requests disk runs" within 60 pod_is_ready modest

# fill DIRECTORY: until a tenth of its file system is available.
fill() {
        local size left

        read -r size left < <(df --output=size,avail --block-size=1K "$1" | tail -n 1)
        head -c $(((left - size / 10) * 1024)) /dev/zero >"$1/filler"
}

images_are() {
        same "$(crictl images --output json | jq -r '.images[].repoTags[]' | grep '/e2e/' | sort | xargs)" "$*"
}

crictl pull registry.k8s.io/e2e/pinned:1 >/dev/null
crictl pull registry.k8s.io/e2e/unused:1 >/dev/null
check "there are three images" images_are registry.k8s.io/e2e/{pinned,unused,used}:1
kubelet_stop
: >"$KUBELET_LOG"
check "the kubelet starts, to keep a fifth of each disk free" kubelet_start \
        'evictionHard: {nodefs.available: 20%, imagefs.available: 20%}'
fill "$E2E_TMP/disk"
check "the pods' disk fills up, and the kubelet wants to reclaim it" within 60 kubelet_said \
        'attempting to reclaim.*ephemeral-storage'
rm "$E2E_TMP/disk/filler"
fill "$AGENT_ROOT"
check "the images' disk fills up: the image that nobody uses goes, not the pinned one" within 60 \
        images_are registry.k8s.io/e2e/{pinned,used}:1
rm "$AGENT_ROOT/filler"
kubelet_stop
check "the kubelet starts as before" kubelet_start
check "the pod with a request was never touched" within 60 status_is modest main '.restartCount == 0 and .state.running != null'
unmanifest modest
check "the pods go" within 60 pod_gone modest
crictl rmi registry.k8s.io/e2e/pinned:1 >/dev/null
