#!/usr/bin/env bash
# SELinux: pods have labels that keep them apart, volumes get them when the kubelet wants it, and what cannot be is refused.
. "${BASH_SOURCE%/*}/../lib.sh"

[[ -e /sys/fs/selinux/enforce && $(tr -d '\0' </proc/self/attr/current) != kernel ]] ||
        skip_all "this kernel has no SELinux policy (e2e/vm selinux/selinux is a machine with one)"

# label_of ID: of a container's first process.
label_of() {
        tr -d '\0' <"/proc/$(crictl inspect --output json "$1" | jq .info.pid)/attr/current"
}

# matches TEXT EXPRESSION
matches() {
        echo "got:  $1"
        grep -qxE "$2" <<<"$1"
}

file_label() {
        python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], "security.selinux", follow_symlinks=False).rstrip(b"\0").decode())' "$1"
}

inside() {
        crictl exec --sync "$@"
}

options() {
        echo ".linux.security_context.selinux_options = $1"
}

# relabelled PATH INTO: a mount with the kubelet's wish for the pod's label.
relabelled() {
        echo ".mounts = [{host_path: \"$1\", container_path: \"$2\", selinux_relabel: true}]"
}

e2e_begin selinux
registry_start small
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
level='s0:c[0-9]+,c[0-9]+'
sleeper='exec sleep 1000'

pod_run one >/dev/null
pod_run two '.linux.security_context.namespace_options.pid = 1' >/dev/null
a=$(container_run one a "$sleeper") b=$(container_run one b "$sleeper") c=$(container_run two c "$sleeper")
check "a container has the label of containers" matches "$(label_of "$a")" "system_u:system_r:container_t:$level"
check "its neighbour in the pod has the same" same "$(label_of "$b")" "$(label_of "$a")"
check_not "another pod's has another" same "$(label_of "$c")" "$(label_of "$a")"
check "so has what is executed in it" same "$(inside "$a" cat /proc/self/attr/current | tr -d '\0')" "$(label_of "$a")"
files=$(sed 's/:system_r:container_t:/:object_r:container_file_t:/' <<<"$(label_of "$a")")
check "its root, /dev and /dev/shm have the label of its files" \
        same "$(inside "$a" cat /proc/self/mountinfo | grep -cF "context=\"$files\"")" \
        "$(inside "$a" cat /proc/self/mountinfo | grep -cE ' (/|/dev|/dev/pts|/dev/shm) [^-]* - (overlay|tmpfs|devpts) ')"
check "the pod's init is one of its containers" same "$(inside "$a" cat /proc/1/attr/current | tr -d '\0')" "$(label_of "$a")"
check "it writes to its root, /dev/shm and /etc/hosts" inside "$a" sh -c 'echo x >/f && echo x >/dev/shm/f && echo "#" >>/etc/hosts'
check "and hands its neighbour a file in /dev/shm" same "$(inside "$b" cat /dev/shm/f)" x
masked=$(container_run one masked "$sleeper" '.linux.security_context.masked_paths = ["/sys/kernel"]')
check "a directory that is masked is empty, not closed" same "$(inside "$masked" sh -c 'ls -A /sys/kernel && echo looked')" looked

mkdir -p "$E2E_TMP/volume/deep" "$E2E_TMP/volume/mounted" "$E2E_TMP/other"
echo secret >"$E2E_TMP/volume/deep/file"
ln -s "$E2E_TMP/other" "$E2E_TMP/volume/link"
mkfifo "$E2E_TMP/volume/pipe"
mount -t tmpfs none "$E2E_TMP/volume/mounted"
before=$(file_label "$E2E_TMP/other")
plain=$(container_run one plain "$sleeper" ".mounts = [{host_path: \"$E2E_TMP/volume\", container_path: \"/v\"}]")
check_not "a volume that keeps its label cannot be read" inside "$plain" cat /v/deep/file
check "and kept it" same "$(file_label "$E2E_TMP/volume/deep/file" 2>/dev/null || echo "$before")" "$before"
owner=$(container_run one owner "$sleeper" "$(relabelled "$E2E_TMP/volume" /v)")
check "one that the kubelet wants labelled can" same "$(inside "$owner" cat /v/deep/file)" secret
check "all of it has the pod's label" same \
        "$(for f in . deep deep/file link pipe; do file_label "$E2E_TMP/volume/$f"; done | sort -u)" "$files"
check "what a link in it leads to has not" same "$(file_label "$E2E_TMP/other")" "$before"
check_not "another pod's container cannot read it" inside \
        "$(container_run two thief "$sleeper" ".mounts = [{host_path: \"$E2E_TMP/volume\", container_path: \"/v\"}]")" cat /v/deep/file
check_not "what is mounted in it neither" same "$(file_label "$E2E_TMP/volume/mounted")" "$files"
umount "$E2E_TMP/volume/mounted"
check "the node's directories are not given away" refused_with "is the node's" container_create one greedy "$sleeper" "$(relabelled /etc /v)"

echo "127.0.0.1 mine" >"$E2E_TMP/hosts"
before=$(file_label "$E2E_TMP/hosts")
container_run one hosts "$sleeper" ".mounts = [{host_path: \"$E2E_TMP/hosts\", container_path: \"/etc/hosts\"}]" >/dev/null
check "a file of the node's on /etc/hosts keeps its label" same "$(file_label "$E2E_TMP/hosts")" "$before"

check "a container may have a level of its own" matches \
        "$(label_of "$(container_run one level "$sleeper" "$(options '{level: "s0:c4,c5"}')")")" 'system_u:system_r:container_t:s0:c4,c5'
check "and a type" matches \
        "$(label_of "$(container_run one type "$sleeper" "$(options '{type: "svirt_lxc_net_t"}')")")" "system_u:system_r:svirt_lxc_net_t:$level"
pod_run big '.linux.security_context.privileged = true' >/dev/null
check "a privileged one is confined by nothing" matches \
        "$(label_of "$(container_run big big "$sleeper" '.linux.security_context.privileged = true')")" 'system_u:system_r:spc_t:s0'
check "a malformed level is refused" refused_with "malformed" container_create one bad "$sleeper" "$(options '{level: "s0,c4"}')"
check "a type that the policy does not know, too" refused_with "does not know the label" container_create one bad "$sleeper" "$(options '{type: "no_t"}')"
check "a pod's malformed level, too" refused_with "malformed" pod_run bad "$(options '{level: "c1"}')"
pod_run three "$(options '{level: "s0:c10,c11"}')" >/dev/null
check "a pod may have a level of its own" matches "$(label_of "$(container_run three a "$sleeper")")" \
        'system_u:system_r:container_t:s0:c10,c11'
pod_run node '.linux.security_context.namespace_options.pid = 2' >/dev/null
check "a container among the node's processes is confined by nothing" matches "$(label_of "$(container_run node a "$sleeper")")" \
        'system_u:system_r:spc_t:s0'

agent_kill
agent_start
check "after a crash of the agent the pod has its label still" same "$(label_of "$(container_run one late "$sleeper")")" "$(label_of "$a")"
agent_stop
mkdir "$E2E_TMP/writable"
agent_start "image: {settings: {writable: $E2E_TMP/writable}}"
pod_run apart >/dev/null
check "where writable layers are apart, too, a program that a container wrote runs" \
        inside "$(container_run apart writer "$sleeper")" sh -c 'cp /bin/busybox /busybox && exec /busybox true'
check "this pod goes" pod_remove apart
agent_stop
agent_start 'selinux: false'
pod_run plain >/dev/null
check "with selinux off nothing has a label of its own" same "$(label_of "$(container_run plain a "$sleeper")")" "$(tr -d '\0' </proc/self/attr/current)"
check "and who asks for one is refused" refused_with "gives no labels" container_create plain b "$sleeper" "$(options '{level: "s0"}')"

check "the pods go" pod_remove one two three big node plain
leaks_none "nothing stayed behind"
e2e_end
