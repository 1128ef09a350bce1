#!/usr/bin/env bash
# The systemd cgroup driver: scopes in a kubelet's slices, limits and devices that systemd's and the agent's restarts leave alone.
. "${BASH_SOURCE%/*}/../lib.sh"

export E2E_CGROUP_DRIVER=systemd

# unit_of ID, and what systemd says of it: show ID PROPERTY
unit_of() {
        echo "$AGENT_UNITS-$1.scope"
}

show() {
        systemctl show --property "$2" --value "$(unit_of "$1")"
}

# file ID NAME: of the cgroup that the container's process is in.
file() {
        cat "/sys/fs/cgroup$(cgroup_of "$1")/$2"
}

cgroup_of() {
        sed -n 's/^0:://p' "/proc/$(container_pid "$1")/cgroup"
}

container_pid() {
        crictl inspect --output json "$1" | jq .info.pid
}

within() {
        crictl exec --sync "$id" sh -c "$1"
}

exited() {
        [[ $(container_field "$1" '| .state + " " + .reason + " " + (.exitCode | tostring)') == "CONTAINER_EXITED $2" ]]
}

# What has to hold before and after systemd does something to its units.
limits_hold() {
        local when=$1

        check "$when: memory is limited" same "$(file "$id" memory.max) $(show "$id" MemoryMax)" "67108864 67108864"
        check "$when: so is CPU time" same "$(file "$id" cpu.max) $(show "$id" CPUQuotaPerSecUSec)" "50000 100000 500ms"
        check "$when: the disk it was given is open to it" within 'exec 3</dev/given'
        check_not "$when: another, whose node it can make, is not" within "exec 3</tmp/other"
}

e2e_begin systemd
if [[ ! -d /run/systemd/system ]]; then
        agent_setup
        check "without systemd the agent does not start, and says what to do" \
                refused_with 'not booted with systemd.*use plugin cgroup-fs' timeout 20 "$AGENT_PROGRAM" --config "$E2E_TMP/etc/config.yaml"
        e2e_end
        exit
fi
[[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]] || skip_all "this machine has cgroup v1"

disk=/dev/$(lsblk --noheadings --nodeps --output NAME | head -n 1)
# Who may open this one is a matter of the node's mode and of the cgroup alone.
denied=/dev/cpu_dma_latency
[[ -b $disk && -c $denied ]] || skip_all "this machine has no disk or no $denied"
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
check "the bus restarts under the agent, and nothing below fails for it" systemctl restart dbus.service
leaks_begin

check "the plugin stands its test" cringle plugin test --timeout $((10 * E2E_PATIENCE)) "$(find "$E2E_BUILD/plugins" -name cgroup-systemd.so)"
check "the kubelet is told the driver" eval "crictl runtime-config | grep -qi systemd"

# A pod as a kubelet makes it: its slice first, with limits of its own.
burstable=$AGENT_UNITS-burstable
slice=$burstable-pod0a_1b.slice
parent=/$AGENT_UNITS.slice/$burstable.slice/$slice
systemctl start "$slice"
systemctl set-property --runtime "$slice" MemoryMax=200M
pod_run web ".linux.cgroup_parent = \"$parent\"" >/dev/null

id=$(container_run web main 'exec sleep 1000' '.linux.resources = {memory_limit_in_bytes: 67108864, cpu_quota: 50000,
        cpu_period: 100000, cpu_shares: 512, cpuset_cpus: "0", unified: {"memory.low": "8388608"}}
        | .devices = [{container_path: "/dev/given", host_path: "'"$disk"'", permissions: "r"}]')
within "mknod /tmp/other c $(stat --format '%Hr %Lr' "$denied")"
unit=$(unit_of "$id")
check "a container is in a scope of its pod's slice" same "$(cgroup_of "$id")" "$parent/$unit/container"
check "which systemd knows as such" same "$(show "$id" ControlGroup) $(show "$id" Slice) $(show "$id" ActiveState)" \
        "$parent/$unit $slice active"
check "it is handed over" same "$(show "$id" Delegate)" yes
check "the pod's own limit is the kubelet's" same "$(cat "/sys/fs/cgroup$parent/memory.max")" 209715200
check "the container sees its limit at the root of what it sees" same "$(within 'cat /sys/fs/cgroup/memory.max')" 67108864
limits_hold "at first"
check "its weight counts among the pod's" same "$(show "$id" CPUWeight) $(file "$id" ../cpu.weight) $(file "$id" cpu.weight)" "59 59 59"
check "so does its protection" same "$(show "$id" MemoryLow) $(file "$id" ../memory.low)" "8388608 8388608"
check "its processor is the one named" same "$(show "$id" AllowedCPUs) $(file "$id" cpuset.cpus)" "0 0"
check "systemd has the list of its devices" eval 'show "$id" DeviceAllow | grep -q "/dev/block/$(stat --format %Hr:%Lr "$disk") rm" && same "$(show "$id" DevicePolicy)" strict'
check "tasks are not limited by systemd's default" same "$(show "$id" TasksMax)" infinity
check "its usage is its own" eval '(($(crictl stats --output json "$id" | jq -r .stats[0].memory.usageBytes.value) > 0))'

systemctl daemon-reload
limits_hold "after daemon-reload"
systemctl daemon-reexec
limits_hold "after daemon-reexec"

check "limits change while it runs" crictl update --memory 134217728 --cpu-quota 20000 --cpu-period 100000 "$id"
check "for the kernel" same "$(file "$id" memory.max) $(file "$id" cpu.max) $(file "$id" ../memory.max)" "134217728 20000 100000 134217728"
check "and for systemd" same "$(show "$id" MemoryMax) $(show "$id" CPUQuotaPerSecUSec)" "134217728 200ms"
check_not "what is no limit is refused" crictl update --memory 134217728 --cpuset-cpus 0-9999 "$id"
check "and changes nothing" same "$(file "$id" memory.max) $(show "$id" MemoryMax) $(show "$id" AllowedCPUs)" "134217728 134217728 0"

hungry=$(container_run web hungry 'x=1234567890123456; while :; do x=$x$x; done' '.linux.resources = {memory_limit_in_bytes: 20971520}')
check "who takes more memory than allowed is killed, and it is told why" eventually 10 exited "$hungry" "OOMKilled 137"
check "its scope stays as long as the container" same "$(show "$hungry" ActiveState)" active

other=$(container_run web other 'exec sleep 1000')
agent_kill
agent_start
check "a new agent finds the container running" container_is "$id" RUNNING
check "exec works in it" same "$(within 'echo hello')" hello
check "limits change as before" crictl update --memory 67108864 "$id"
check "for systemd, too" same "$(show "$id" MemoryMax) $(file "$id" memory.max)" "67108864 67108864"

check "an administrator stops a scope" systemctl stop "$(unit_of "$other")"
check "the container's end is noticed" eventually 10 container_is "$other" EXITED

check "a parent that is no slice is refused, with what to change" \
        refused_with 'cgroupDriver of the kubelet to systemd' pod_run wrong '.linux.cgroup_parent = "/kubepods/burstable/pod1"'
check "a slice that is elsewhere to systemd, too" \
        refused_with 'systemd has slice' pod_run wrong '.linux.cgroup_parent = "/x.slice/y-z.slice"'
check "the pod goes" pod_remove web

# Without a parent: the configured one.
pod_run plain >/dev/null
plain=$(container_run plain main 'exec sleep 1000')
check "a pod without a parent goes where the configuration says" same "$(show "$plain" Slice)" "$AGENT_PODS"
monitor=$(pgrep -n -f "$AGENT_STATE/pods/.*" || pgrep -n cringle-monitor)
check "monitors share a scope, apart from pods" eval 'grep -q "^0::/$AGENT_UNITS.slice/$AGENT_UNITS.scope/monitor-" /proc/$monitor/cgroup'
check "the pod goes" pod_remove plain

systemctl stop "$burstable.slice"
leaks_none "nothing stayed behind"
check "no unit has failed" same "$(systemctl list-units --failed --plain --no-legend "$AGENT_UNITS*")" ''
e2e_end
