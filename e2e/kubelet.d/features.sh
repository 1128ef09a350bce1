# What newer pod specs ask of a runtime: stop signals, gRPC probes, limits of a whole pod, groups, images as volumes, sysctls,
# /proc as it is, restart rules. With the kubelet's lists streamed; over kill -9 of either side.

gates='featureGates: {ContainerStopSignals: true, CRIListStreaming: true}
allowedUnsafeSysctls: [net.core.somaxconn, "kernel.msg*"]'

# calls METHOD: how many the agent has answered.
calls() {
        curl --silent --fail --max-time 10 "http://127.0.0.1:$METRICS_PORT/metrics" |
                awk -v method="$1" '$0 ~ "^cringle_calls_total.*[/\"]" method "\"" { n += $NF } END { print n + 0 }'
}

check "without that it lists otherwise" within 20 eval '(($(calls ListContainers) > 0))'
kubelet_stop
: >"$KUBELET_LOG"
listed=$(calls ListContainers)
check "the kubelet starts, to list by streams" kubelet_start "$gates"

# A signal of the pod's choice; the kubelet wants to know whose signals they are.
manifest signals <<Y
os: {name: linux}
terminationGracePeriodSeconds: 30
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: chosen
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'trap "echo USR1 >/host/chosen; exit 0" USR1; trap "echo TERM >/host/chosen" TERM; touch /tmp/up; while :; do usleep 50000; done']
  readinessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1}
  lifecycle: {stopSignal: SIGUSR1}
  volumeMounts: [{name: host, mountPath: /host}]
- name: realtime
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'trap "echo 37 >/host/realtime; exit 0" 37; trap "echo TERM >/host/realtime" TERM; touch /tmp/up; while :; do usleep 50000; done']
  readinessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1}
  lifecycle: {stopSignal: SIGRTMIN+3}
  volumeMounts: [{name: host, mountPath: /host}]
- name: usual
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'trap "echo TERM >/host/usual; exit 0" TERM; touch /tmp/up; while :; do usleep 50000; done']
  readinessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1}
  volumeMounts: [{name: host, mountPath: /host}]
Y

cp "$STREAM_CLIENT" "$HOST/health"
for name in healthy unhealthy; do
        manifest "$name" <<Y
terminationGracePeriodSeconds: 1
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [/host/health, health, ':5000', /tmp/$name]
  lifecycle: {postStart: {exec: {command: [touch, /tmp/healthy]}}}
  readinessProbe: {grpc: {port: 5000, service: e2e}, periodSeconds: 1}
  volumeMounts: [{name: host, mountPath: /host}]
Y
done

# Limits of the pod that its containers share; who has none of its own takes what there is.
manifest whole <<Y
terminationGracePeriodSeconds: 1
resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 48Mi}}
containers:
- name: own
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sleep, '100000']
  resources: {limits: {cpu: 50m, memory: 16Mi}}
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sleep, '100000']
Y

for policy in Merge Strict; do
        manifest "groups-${policy,,}" <<Y
terminationGracePeriodSeconds: 1
securityContext: {runAsUser: 1000, runAsGroup: 1000, supplementalGroups: [6000], fsGroup: 7000, supplementalGroupsPolicy: $policy}
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: main
  image: registry.k8s.io/e2e/used:1
  command: [/bin/busybox, sh, -c, '/bin/busybox id -G >/host/groups-${policy,,}; exec /bin/busybox sleep 100000']
  volumeMounts: [{name: host, mountPath: /host}]
Y
done

manifest artifact <<Y
terminationGracePeriodSeconds: 1
volumes:
- {name: host, hostPath: {path: $HOST}}
- {name: image, image: {reference: 'registry.k8s.io/e2e/unused:1', pullPolicy: IfNotPresent}}
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command:
  - sh
  - -c
  - |
    (cat /image/name; ls /part; touch /image/x || echo read-only; /part/busybox echo runs) >/host/artifact 2>/dev/null
    exec sleep 100000
  volumeMounts:
  - {name: host, mountPath: /host}
  - {name: image, mountPath: /image}
  - {name: image, mountPath: /part, subPath: bin}
Y

manifest knobs <<Y
terminationGracePeriodSeconds: 1
hostnameOverride: another.name.test
securityContext:
  sysctls:
  - {name: net.ipv4.ip_local_port_range, value: '30000 40000'}
  - {name: kernel.shm_rmid_forced, value: '1'}
  - {name: net.core.somaxconn, value: '555'}
  - {name: kernel.msgmax, value: '9999'}
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command:
  - sh
  - -c
  - |
    cd /proc/sys
    (tr '\t' ' ' <net/ipv4/ip_local_port_range; cat kernel/shm_rmid_forced net/core/somaxconn kernel/msgmax; hostname) >/host/knobs
    exec sleep 100000
  volumeMounts: [{name: host, mountPath: /host}]
Y

manifest forbidden <<Y
securityContext: {sysctls: [{name: net.ipv4.ip_forward, value: '1'}]}
containers: [{name: main, image: $E2E_IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, '100000']}]
Y

manifest unmasked <<Y
terminationGracePeriodSeconds: 1
hostUsers: false
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  securityContext: {procMount: Unmasked}
  command: [sh, -c, 'grep -c " /proc/" /proc/self/mountinfo >/host/unmasked; exec sleep 100000']
  volumeMounts: [{name: host, mountPath: /host}]
- name: usual
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'grep -q " /proc/" /proc/self/mountinfo && echo masked >/host/masked; exec sleep 100000']
  volumeMounts: [{name: host, mountPath: /host}]
Y

# Exit 42 begins the whole pod anew, in its sandbox; exit 7 one container.
manifest rules <<Y
restartPolicy: Never
terminationGracePeriodSeconds: 1
volumes: [{name: host, hostPath: {path: $HOST}}]
initContainers:
- name: before
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'echo before >>/host/rules']
  volumeMounts: [{name: host, mountPath: /host}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'echo main >>/host/rules; [ \$(grep -c main /host/rules) -gt 1 ] || exit 42; exec sleep 100000']
  restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
  restartPolicy: Never
  volumeMounts: [{name: host, mountPath: /host}]
- name: single
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'echo >>/host/single; [ \$(wc -l </host/single) -gt 2 ] && exec sleep 100000; sleep 3; exit 7']
  restartPolicy: Never
  restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [7]}}]
  volumeMounts: [{name: host, mountPath: /host}]
Y

for name in signals healthy whole groups-merge groups-strict artifact knobs unmasked; do
        check "the pod $name is ready" within 90 pod_is_ready "$name"
done
check "one whose gRPC probe says NOT_SERVING is not" status_is unhealthy main '.ready == false and .started'
check "a stop signal is told" status_is signals chosen '.stopSignal == "SIGUSR1"'
check "a real-time one, too" status_is signals realtime '.stopSignal == "SIGRTMIN+3"'

# The file system's own group is one of each process.
check "groups of the image count with Merge" has "$HOST/groups-merge" '1000 5001 6000 7000'
check "and not with Strict" has "$HOST/groups-strict" '1000 6000 7000'
check "which the kubelet is told" status_is groups-strict main '.user.linux | .uid == 1000 and .gid == 1000 and
        (.supplementalGroups | sort) == [1000, 6000, 7000]'
check "an image is a volume, whole and in part, read-only" has "$HOST/artifact" unused busybox read-only runs
check "sysctls and a host name" has "$HOST/knobs" '30000 40000' 1 555 9999 another.name.test
check "a sysctl that the node does not allow is refused by the kubelet" within 30 pod_is forbidden '.status.reason == "SysctlForbidden"'
check "/proc is as it is" has "$HOST/unmasked" 0
check "and masked for its neighbour" has "$HOST/masked" masked

uid=$(pod whole .metadata.uid)
pod_cgroup() {
        cgroup_value "$1" "$2" burstable "pod$uid" ${3+"$3"}
}
check "a pod's own limit of memory" same "$(pod_cgroup memory memory.limit_in_bytes)" 50331648
check "and of CPU time" same "$(pod_cgroup cpu cpu.cfs_quota_us)" 20000
check "a container's limit in it" same "$(pod_cgroup memory memory.limit_in_bytes "$(the_id whole own)")" 16777216
check "which the other has not" eval '(($(pod_cgroup memory memory.limit_in_bytes "$(the_id whole main)") >= 50331648))'

rules_done() {
        has "$HOST/rules" before main before main && status_is rules main '.state.running != null'
}
check "an exit code that restarts the pod's containers does, from the first one on" within 60 rules_done
single_done() {
        (($(wc -l <"$HOST/single") > 2)) && status_is rules single '.state.running != null'
}
check "one that restarts its container does" within 90 single_done
check "in one sandbox" same "$(crictl pods --quiet --name "^rules-$NODE\$" | wc -l)" 1

check "the kubelet had its lists by streams" eval '(($(calls StreamContainers) > 0 && $(calls StreamPodSandboxes) > 0 && $(calls StreamImages) > 0))'
check "and none otherwise" same "$(calls ListContainers)" "$listed"

# ids NAME...: of containers, with restarts.
ids() {
        local name

        for name; do
                pod "$name" '.status.containerStatuses[] | .name + " " + .containerID + " " + (.restartCount | tostring)'
        done
}
before=$(ids signals healthy whole artifact knobs unmasked)
as_before() {
        same "$(ids signals healthy whole artifact knobs unmasked)" "$before" && pod_is_ready healthy && pod_is_ready unmasked
}
check "the agent is killed and starts" killed_and_back agent
check "and all is as it was" within 60 as_before
check "the kubelet is killed and starts" killed_and_back kubelet "$gates"
check "and all is as it was" within 60 as_before

unmanifest signals
check "a pod with stop signals goes" within 60 pod_gone signals
check "each container had its own" same "$(cat "$HOST"/{chosen,realtime,usual} | xargs)" 'USR1 37 TERM'
unmanifest healthy unhealthy whole groups-{merge,strict} artifact knobs forbidden unmasked rules
check "the others go" within 90 pod_gone healthy unhealthy whole groups-{merge,strict} artifact knobs forbidden unmasked rules
kubelet_stop
check "the kubelet starts as before" kubelet_start
