# The kubelet's own collection of images: by the use of their disk, and by age. It looks when it starts, when every image is
# too new to go, and then every five minutes, which nothing shortens: this group takes ten.

# images_left NAME...: of the test's own.
images_left() {
        same "$(crictl images --output json | jq -r '.images[].repoTags[]' | sed -n 's|.*/e2e/\(.*\):1|\1|p' | sort | xargs)" "$*"
}

# disk_use PERCENT: of the images' file system, by a file beside them.
disk_use() {
        local size used

        rm -f "$AGENT_ROOT/filler"
        read -r size used < <(df --output=size,used --block-size=1K "$AGENT_ROOT" | tail -n 1)
        head -c $(((size * $1 / 100 - used) * 1024)) /dev/zero >"$AGENT_ROOT/filler"
}

for name in user former; do
        manifest "$name" <<Y
terminationGracePeriodSeconds: 1
$(if [[ $name == user ]]; then
        echo "volumes: [{name: image, image: {reference: 'registry.k8s.io/e2e/unused:1', pullPolicy: IfNotPresent}}]"
fi)
containers:
- name: main
  image: registry.k8s.io/e2e/$([[ $name == user ]] && echo used || echo old):1
  $([[ $name != user ]] || echo "volumeMounts: [{name: image, mountPath: /image}]")
Y
done
for name in pinned large; do
        crictl pull "registry.k8s.io/e2e/$name:1" >/dev/null
done
check "a pod runs, with an image and another as a volume" within 60 pod_is_ready user
check "and one with an image that will be out of use" within 60 pod_is_ready former

kubelet_stop
: >"$KUBELET_LOG"
check "the kubelet starts, to keep a fifth of the images' disk free, and images for six minutes" kubelet_start \
        'evictionHard: {imagefs.available: 1%, nodefs.available: 1%}
imageGCHighThresholdPercent: 80
imageGCLowThresholdPercent: 78
imageMaximumGCAge: 6m'
began=$SECONDS
sleep 10                        # it looks what is in use
unmanifest former
check "the pod goes" within 90 pod_gone former
check "whole, so that nothing uses its image" within 150 eval '[[ -z $(crictl pods --quiet --name "^former-$NODE\$") ]]'
crictl rmi "$E2E_IMAGE" >/dev/null 2>&1 || true
disk_use 85
check "no image has gone" images_left large old pinned unused used

over() {
        kubelet_said 'Disk usage on image filesystem is over the high threshold'
}
check "the kubelet finds the disk too full" within $((330 - (SECONDS - began))) over
check "the image that nobody ever used goes, and no other: that was enough" within 30 images_left old pinned unused used
use() {
        (($(df --output=pcent "$AGENT_ROOT" | tail -n 1 | tr -d ' %') < $1))
}
check "its disk is less full" use 80
crictl pull registry.k8s.io/e2e/large:1 >/dev/null
rm "$AGENT_ROOT/filler"
check "the agent is killed meanwhile, and starts" killed_and_back agent
check "in another five minutes the one that is out of use goes by its age, and one pulled since, which was never used" \
        within 400 images_left pinned unused used
check "the pod was never touched" status_is user main '.restartCount == 0 and .state.running != null'

kubelet_stop
check "the kubelet starts as before" kubelet_start
unmanifest user
check "the pod goes" within 60 pod_gone user
crictl rmi registry.k8s.io/e2e/{pinned,unused,used}:1 >/dev/null
