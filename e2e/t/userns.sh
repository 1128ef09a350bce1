#!/usr/bin/env bash
# Pods with user namespaces: who they are inside and outside, their files and volumes, and what is refused.
. "${BASH_SOURCE%/*}/../lib.sh"

MAP='[{container_id: 0, host_id: 700000, length: 65536}]'
OTHER='[{container_id: 0, host_id: 900000, length: 65536}]'

# userns [MAPS]: a filter that gives a pod or container a user namespace.
userns() {
        echo ".linux.security_context.namespace_options.userns_options = {mode: 0, uids: (${1-$MAP}), gids: (${1-$MAP})}"
}

# mount_of DIRECTORY [MORE]: a volume at /volume.
mount_of() {
        echo "{container_path: \"/volume\", host_path: \"$1\"${2+, $2}}"
}

host_ids() {
        stat -c %u:%g "$1"
}

owned() {
        same "$(host_ids "$2")" "$1"
}

first_pid() {
        crictl inspect --output json "$1" | jq -r .info.pid
}

refuses() {
        local want=$1

        shift
        ! "$@" >"$E2E_TMP/refused" 2>&1 && grep -q "$want" "$E2E_TMP/refused"
}

# seen POD NAME LINE: in the log of a container.
seen() {
        container_log "$1" "$2" | grep -qx "$3"
}

# Files of the writable part, as the sampler has counted them.
writes() {
        (($(crictl stats --output json "$1" | jq -r '.stats[0].writableLayer.inodesUsed.value // 0') > 2))
}

# below PARENT PID: three processes at least have the user namespace of PID, and each of them is below it wherever it is
# in a cgroup of ours.  The init of the pod's PID namespace is the monitor's, and is where monitors are.
below() {
        local ns other n=0

        ns=$(readlink "/proc/$2/ns/user")
        for other in /proc/[0-9]*; do
                [[ $(readlink "$other/ns/user" 2>/dev/null) == "$ns" && $(cat "$other/comm") != cringle-init ]] || continue
                n=$((n + 1))
                grep -H "$AGENT_CGROUP" "$other/cgroup"
                grep -q "$AGENT_CGROUP" "$other/cgroup" || return 1
                if grep "$AGENT_CGROUP" "$other/cgroup" | grep -v ":$1/"; then
                        return 1
                fi
        done
        ((n >= 3))
}

# limit_pids CGROUP NUMBER
limit_pids() {
        local top

        for top in $(cgroup_mounts); do
                [[ ! -e $top$1/pids.max ]] || echo "$2" >"$top$1/pids.max"
        done
}

killed_for_memory() {
        [[ $(container_field "$1" .reason) == OOMKilled ]]
}

# says POD NAME WANT: the log of a container.
says() {
        same "$(container_log "$1" "$2")" "$3"
}

e2e_begin userns
registry_start small
agent_start
[[ $(crictl info | jq '[.runtimeHandlers[].features.user_namespaces] | any') == true ]] ||
        skip_all "this kernel or file system does not map ids: $(grep -m 1 'no user namespaces' "$E2E_TMP/agent.log")"
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

pod=$(pod_run web "$(userns) | .hostname = \"mapped\" |
        .linux.sysctls = {\"net.ipv4.ip_unprivileged_port_start\": \"77\", \"kernel.shm_rmid_forced\": \"1\"}")
main=$(container_run web main 'echo to stdout >/dev/stdout; exec sleep 1000' \
        '.linux.resources.memory_limit_in_bytes = 67108864 | .linux.security_context.capabilities.add_capabilities = ["NET_ADMIN"]')
inside() {
        crictl exec --sync "$main" sh -c "$1"
}
check "root inside is mapped" same "$(inside 'cat /proc/self/uid_map' | tr -s ' ')" ' 0 700000 65536'
check "the host sees who it really is" same "$(host_ids "/proc/$(first_pid "$main")")" 700000:700000
check "stdout can be opened by its name" eventually 5 grep -q 'to stdout' "$E2E_TMP/logs/web/main.log"
check "the image's files are root's" same "$(inside 'stat -c %u:%g / /bin/busybox /etc/passwd | sort -u')" 0:0
check "so are the pod's" same "$(inside 'stat -c %u:%g /etc/hosts /etc/resolv.conf /etc/hostname /dev/shm | sort -u')" 0:0
check "root may change an image's file" inside 'chown 7:8 /etc/passwd && chmod 600 /etc/passwd && mkdir -p /a/b && echo x >/a/b/c'
check "what is copied up keeps its owner" same "$(inside 'stat -c %u:%g /etc/passwd /a/b/c | tr "\n" " "')" '7:8 0:0 '
check "an exec's stdout can be opened by its name" same "$(inside 'echo word >/dev/stdout')" word
check "a streamed exec has a terminal of its own" grep -q hello <<<"$(script -qec \
        "$(cri_tool crictl) --runtime-endpoint unix://$SOCKET exec -it $main echo hello" /dev/null </dev/null)"
check "sysctls of its network are set" same "$(inside 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start')" 77
check "sysctls of its IPC are set" same "$(inside 'cat /proc/sys/kernel/shm_rmid_forced')" 1
check "it owns its network" inside 'ip link set lo down && ip link set lo up'
check_not "it owns nothing of the host's" inside 'echo 1 >/proc/sys/kernel/panic_on_oops'
check "its hostname is its own" same "$(inside hostname)" mapped
check "its limit is set" same 67108864 \
        "$(inside 'cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes')"
check "its writable part is counted" eventually 20 writes "$main"

nobody=$(container_run web nobody 'echo to stdout >/dev/stdout; id -u; echo there >/dev/shm/note; exec sleep 1000' \
        '.linux.security_context.run_as_user.value = 1234')
check "another user's stdout can be opened, too" eventually 10 says web nobody $'to stdout\n1234'
check "that is another on the host" same "$(host_ids "/proc/$(first_pid "$nobody")")" 701234:700000
check "containers of the pod share /dev/shm" same "$(inside 'cat /dev/shm/note')" there
check "a container may name the pod's map" crictl rm -f "$(container_create web same true "$(userns)")"
check "a container of another map is refused" refuses 'another than its pod' container_create web other true "$(userns "$OTHER")"
check "a user that is not mapped is refused" refuses 'is not mapped' \
        container_create web far true '.linux.security_context.run_as_user.value = 70000'

mkdir "$E2E_TMP/volume" "$E2E_TMP/tmpfs"
echo five >"$E2E_TMP/volume/five"
chown 5:6 "$E2E_TMP/volume/five"
mount -t tmpfs volume "$E2E_TMP/tmpfs"
kinds=(volume)
if printf '%s\n' 6.3 "$(uname -r)" | sort -VC; then
        kinds+=(tmpfs)
else
        check "a tmpfs, which maps ids since Linux 6.3, is refused before" refuses '/tmpfs.* does not map ids' \
                container_create web tmpfs true ".mounts = [$(mount_of "$E2E_TMP/tmpfs" "uidMappings: $MAP, gidMappings: $MAP")]"
fi
for kind in "${kinds[@]}"; do
        container_run web $kind 'echo new >/volume/new; chown 9:9 /volume/new; stat -c %u:%g /volume/*; exec sleep 1000' \
                ".mounts = [$(mount_of "$E2E_TMP/$kind" "uidMappings: $MAP, gidMappings: $MAP")]" >/dev/null
        check "files of a mapped $kind keep their ids on the host" eventually 10 owned 9:9 "$E2E_TMP/$kind/new"
done
check "and inside" says web volume $'5:6\n9:9'
id=$(container_run web plain 'stat -c %u /volume/five; exec sleep 1000' ".mounts = [$(mount_of "$E2E_TMP/volume")]")
check "files of a volume without a map are nobody's" eventually 10 says web plain 65534
check "a map of another namespace is refused" refuses 'differ' \
        container_create web odd true ".mounts = [$(mount_of "$E2E_TMP/volume" "uidMappings: $OTHER, gidMappings: $OTHER")]"
check "a file system that cannot map ids is named" refuses '/sys/kernel.* does not map ids' \
        container_create web sys true ".mounts = [$(mount_of /sys/kernel "uidMappings: $MAP, gidMappings: $MAP")]"

agent_kill
agent_start
check "after a restart of the agent it runs on" same "$(inside 'id -u')" 0
id=$(container_run web late 'echo $(cat /proc/self/uid_map); exec sleep 1000')
check "a new container gets the same map" eventually 10 says web late '0 700000 65536'
check "the status tells the map" same \
        "$(pod_field "$pod" .linux.namespaces.options.usernsOptions | jq -c '.uids[0].hostId, .gids[0].length')" $'700000\n65536'
check "the pod goes" pod_remove web
umount "$E2E_TMP/tmpfs"

check "two maps are refused" refuses 'want one map' pod_run bad "$(userns "$MAP + $OTHER")"
check "a map that does not start at 0 is refused" refuses 'must start at 0' \
        pod_run bad "$(userns '[{container_id: 1, host_id: 700000, length: 65536}]')"
check "mode TARGET is refused" refuses 'not supported' \
        pod_run bad '.linux.security_context.namespace_options.userns_options.mode = 3'
for kind in pid ipc; do
        check "the node's $kind namespace is refused" refuses 'needs PID and IPC' \
                pod_run bad "$(userns) | .linux.security_context.namespace_options.$kind = 2"
done

pod_run host "$(userns) | .linux.security_context.namespace_options.network = 2" >/dev/null
id=$(container_run host main 'ls /sys/class/net; exec sleep 1000')
check "with the node's network it runs, and sees it" eventually 10 seen host main $NETWORK_BRIDGE
check_not "which it does not own" crictl exec --sync "$id" ip link set lo mtu 60000
check "that pod goes, too" pod_remove host

# Below the parent that the kubelet makes, and limits as a whole; on this driver that is a directory of every hierarchy.
if [[ ${E2E_CGROUP_DRIVER-} != systemd ]]; then
        held=$AGENT_PODS/held
        pod_run held "$(userns) | .linux.cgroup_parent = \"$held\"" >/dev/null
        id=$(container_run held main 'sleep 54320 & exec sleep 1000')
        crictl exec --sync "$id" sh -c 'sleep 54320 >/dev/null 2>&1 &'
        check "all of a pod's processes are below the cgroup that was asked for" below "$held" "$(first_pid "$id")"
        limit_pids "$held" 20
        check_not "whose limit of processes holds for them" crictl exec --sync "$id" sh -c \
                'for i in $(seq 40); do sleep 5 >/dev/null 2>&1 & done 2>&1; [ $(ls -d /proc/[0-9]* | wc -l) -gt 25 ]'
        limit_pids "$held" max
        id=$(container_run held hog 'tail /dev/zero' '.linux.resources.memory_limit_in_bytes = 33554432')
        check "so does a container's own, of memory" eventually 20 killed_for_memory "$id"
        check "it goes as well" pod_remove held
        for top in $(cgroup_mounts); do
                [[ ! -d $top$held ]] || rmdir "$top$held"
        done
fi

pod_run strong "$(userns) | .linux.security_context.privileged = true" >/dev/null
id=$(container_run strong main 'mkdir /mine && mount -t tmpfs mine /mine && id -u; exec sleep 1000' \
        '.linux.security_context.privileged = true')
check "a privileged one is root of its namespace" eventually 10 says strong main 0
check_not "and of nothing else" crictl exec --sync "$id" sh -c 'echo 1 >/proc/sys/kernel/panic_on_oops'
check "it goes" pod_remove strong

leaks_none "nothing stayed behind"
e2e_end
