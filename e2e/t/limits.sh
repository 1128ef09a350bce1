#!/usr/bin/env bash
# Limits of a container, as it and the kernel see them: memory, CPU time, devices; and changes while it runs.
. "${BASH_SOURCE%/*}/../lib.sh"

# limit V1-CONTROLLER V1-FILE V2-FILE: what is set for the container $id, seen from the host.
limit() {
        local pid path

        pid=$(crictl inspect --output json "$id" | jq .info.pid)
        path=$(awk -F: -v c="$1" '{ n = split($2, a, ","); for (i = 1; i <= n; i++) if (a[i] == c) print $3 }' "/proc/$pid/cgroup")
        if [[ -n $path ]]; then
                cat "$(mount_with "$1")$path/$2"
        else
                cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")/$3"
        fi
}

# mount_with CONTROLLER: where that v1 hierarchy is mounted.
mount_with() {
        awk -v c="$1" '$0 ~ / - cgroup / && ("," $NF ",") ~ ("," c ",") { print $5; exit }' /proc/self/mountinfo
}

on_v2() {
        [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]
}

reason() {
        container_field "$1" '| .reason + " " + (.exitCode | tostring)'
}

within() {
        crictl exec --sync "$id" sh -c "$1"
}

e2e_begin limits
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
pod_run web >/dev/null
if [[ ${E2E_CGROUP_DRIVER-} != systemd ]]; then
        check "a pod in a systemd slice is refused, with what to change" refused_with 'cgroupDriver of the kubelet to cgroupfs' \
                pod_run wrong '.linux.cgroup_parent = "/kubepods.slice/kubepods-pod1.slice"'
fi

id=$(container_run web main 'cat /proc/self/cgroup; exec sleep 1000' '.linux.resources = {memory_limit_in_bytes: 67108864, cpu_quota: 50000,
        cpu_period: 100000, cpu_shares: 512}')
check "memory is limited" same "$(limit memory memory.limit_in_bytes memory.max)" 67108864
if on_v2; then
        check "CPU time is limited" same "$(limit cpu - cpu.max)" '50000 100000'
        check "the container sees its own cgroup as the root" same "$(container_log web main)" 0::/
        check "and its limit there" same "$(within 'cat /sys/fs/cgroup/memory.max')" 67108864
        check_not "which it cannot change" within 'echo max >/sys/fs/cgroup/memory.max'
else
        check "CPU time is limited" same "$(limit cpu cpu.cfs_quota_us -)" 50000
        check "the container sees its limit" same "$(within 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes')" 67108864
        check_not "which it cannot change" within 'echo 1000000000 >/sys/fs/cgroup/memory/memory.limit_in_bytes'
fi

check "a device of its own is open to it" within 'echo x >/dev/null && head -c 1 /dev/zero'
check "another's can be made" within 'mknod /tmp/kmsg c 1 11'
check_not "but not opened" within 'exec 3</tmp/kmsg'

check "limits change while it runs" crictl update --memory 134217728 --cpu-quota 20000 --cpu-period 100000 "$id"
check "memory's, too" same "$(limit memory memory.limit_in_bytes memory.max)" 134217728

hungry=$(container_run web hungry 'x=1234567890123456; while :; do x=$x$x; done' '.linux.resources = {memory_limit_in_bytes: 20971520}')
check "who takes more memory than allowed is killed, and it is told why" \
        eventually 10 eval 'same "$(reason "$hungry")" "OOMKilled 137"'

check "the pod goes" pod_remove web
leaks_none "nothing stayed behind"
e2e_end
