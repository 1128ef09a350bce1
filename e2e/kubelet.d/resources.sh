# What a pod asks for arrives in the cgroups that the kubelet made for it; who breaks a limit is told.

for class in guaranteed burstable besteffort; do
        case $class in
        guaranteed) resources='{limits: {memory: 32Mi, cpu: 200m}}' ;;
        burstable) resources='{requests: {memory: 16Mi, cpu: 100m}, limits: {memory: 64Mi}}' ;;
        besteffort) resources='{}' ;;
        esac
        manifest "$class" <<Y
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'cat /proc/self/oom_score_adj >/host/oom-$class; exec sleep 100000']
  resources: $resources
  volumeMounts: [{name: host, mountPath: /host}]
Y
done

manifest hungry <<Y
restartPolicy: OnFailure
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'x=1234567890123456; while :; do x=\$x\$x; done']
  resources: {limits: {memory: 20Mi}}
Y

for class in guaranteed burstable besteffort; do
        check "a $class pod runs" within 60 pod_is_ready "$class"
        check "it is told to be that" pod_is "$class" ".status.qosClass | ascii_downcase == \"$class\""
done

# where POD: its cgroup below kubepods, as the kubelet makes it.
where() {
        local uid class

        uid=$(pod "$1" .metadata.uid)
        class=$1/
        echo "${class/#guaranteed\//}pod$uid"
}

at=$(where guaranteed)/$(the_id guaranteed main)
check "guaranteed: memory" same "$(cgroup_value memory memory.limit_in_bytes "$at")" 33554432
check "guaranteed: CPU quota" same "$(cgroup_value cpu cpu.cfs_quota_us "$at")" 20000
check "guaranteed: CPU shares" same "$(cgroup_value cpu cpu.shares "$at")" 204
check "guaranteed: the pod's memory" same "$(cgroup_value memory memory.limit_in_bytes "${at%/*}")" 33554432
at=$(where burstable)/$(the_id burstable main)
check "burstable: memory" same "$(cgroup_value memory memory.limit_in_bytes "$at")" 67108864
check "burstable: CPU shares" same "$(cgroup_value cpu cpu.shares "$at")" 102
check "burstable: no quota" same "$(cgroup_value cpu cpu.cfs_quota_us "$at")" -1
at=$(where besteffort)/$(the_id besteffort main)
check "besteffort: CPU shares" same "$(cgroup_value cpu cpu.shares "$at")" 2

# Lowering it takes CAP_SYS_RESOURCE, which this machine may not have: then nothing below our own.
own=$(</proc/self/oom_score_adj) least=-997
if ! setpriv --dump | grep -q '^Capability bounding set:.*sys_resource'; then
        least=$own
fi
check "guaranteed: oom_score_adj" same "$(cat "$HOST/oom-guaranteed")" "$((least > -997 ? least : -997))"
check "besteffort: oom_score_adj" same "$(cat "$HOST/oom-besteffort")" 1000
between() {
        (($1 > $2 && $1 < $3)) || {
                echo "$1 is not between $2 and $3"
                return 1
        }
}
check "burstable: oom_score_adj lies between" between "$(cat "$HOST/oom-burstable")" 2 1000

check "who takes more memory than it may is killed for it" within 60 status_is hungry main \
        '.lastState.terminated // .state.terminated | .reason == "OOMKilled" and .exitCode == 137'
unmanifest guaranteed burstable besteffort hungry
check "the pods go" within 60 pod_gone guaranteed burstable besteffort hungry
no_pod_cgroups() {
        local found

        found=$(find $(cgroup_mounts) -path "*$KUBELET_CGROUP/kubepods/*pod*" -prune)
        [[ -z $found ]] || {
                echo "$found"
                return 1
        }
}
check "and their cgroups" within 30 no_pod_cgroups
