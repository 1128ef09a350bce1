# What the kubelet tells of pods' use: most from the runtime's statistics, some from its own look at cgroups.

manifest stats <<Y
terminationGracePeriodSeconds: 1
volumes: [{name: scratch, emptyDir: {}}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'head -c 3000000 /dev/zero >/layer; head -c 2000000 /dev/zero >/scratch/file; echo written; while :; do :; done']
  resources: {limits: {cpu: 100m, memory: 64Mi}}
  volumeMounts: [{name: scratch, mountPath: /scratch}]
Y

# summary FILTER: of the pod in /stats/summary.
summary() {
        kubelet_get stats/summary | jq -e --arg name "stats-$NODE" '(.pods[] | select(.podRef.name == $name)) as $pod |
                $pod | '"$1" || {
                kubelet_get stats/summary | jq -c --arg name "stats-$NODE" '.pods[] | select(.podRef.name == $name)'
                return 1
        }
}

# metric WHAT SAMPLE CONDITION: a line of /metrics/WHAT whose name and labels match, and what awk thinks of $NF.
metric() {
        kubelet_get "metrics/$1" >"$E2E_TMP/metrics" || return
        grep -E "$2" "$E2E_TMP/metrics" | awk "BEGIN { bad = 1 } { v = \$2 } $3 { bad = 0 } END { exit bad }" || {
                grep -E "${2%%[^a-z_]*}" "$E2E_TMP/metrics" | head -n 5
                return 1
        }
}

# fields: the names of all that is told of the pod, each with its place.  Without the pod's swap, for which the runtime has no
# field, and which the kubelet makes up from its containers' in one case but not in the other.
fields() {
        kubelet_get stats/summary | jq -r --arg name "stats-$NODE" '.pods[] | select(.podRef.name == $name) |
                paths(scalars) | map(if type == "number" then "*" else . end) | join(".")' | grep -v '^swap\.' | sort -u
}

# nothing_missing FILE COMMAND...: each line of FILE is one that the command prints.
nothing_missing() {
        local missing

        missing=$(comm -23 "$1" <("${@:2}"))
        [[ -z $missing ]] || {
                echo "missing: $missing"
                return 1
        }
}

# families POD: the names of cAdvisor metrics that bear its name as a label.  Without those that cAdvisor has from a reader
# that no kubelet turns on, and so are 0, and from Docker.
families() {
        kubelet_get metrics/cadvisor | grep -E "[{,]pod=\"$1-$NODE\"" | sed 's/{.*//' | sort -u |
                grep -vE '^container_(cpu_load_(d_)?average_10s|tasks_state|health_state)$'
}

own='namespace="default",pod="stats-'$NODE'"'
check "the pod runs" within 60 pod_is_ready stats
check "summary: CPU time of the container" within 40 summary '.containers[0].cpu.usageCoreNanoSeconds > 0'
check "summary: its rate, near its limit" within 60 summary '.containers[0].cpu.usageNanoCores | . > 30000000 and . < 200000000'
check "summary: memory" summary '.containers[0].memory | .workingSetBytes > 0 and .workingSetBytes < 67108864'
check "summary: its writable layer" within 90 summary '.containers[0].rootfs | .usedBytes >= 3000000 and .usedBytes < 4000000'
check "summary: its log" summary '.containers[0].logs.usedBytes > 0'
check "summary: the volume" within 90 summary '[.volume[] | select(.name == "scratch")][0].usedBytes >= 2000000'
check "summary: what counts as ephemeral storage" within 60 summary '."ephemeral-storage".usedBytes >= 5000000'
check "summary: the pod's CPU and memory" within 60 summary '.cpu.usageCoreNanoSeconds > 0 and .memory.workingSetBytes > 0'
imagefs() {
        kubelet_get stats/summary | jq -e '.node.runtime.imageFs | .capacityBytes > 0 and .usedBytes > 0 and .availableBytes > 0'
}
check "summary: the images' file system" imagefs
fields >"$E2E_TMP/fields"
used=$(kubelet_get stats/summary | jq --arg name "stats-$NODE" '.pods[] | select(.podRef.name == $name) | .containers[0].memory.workingSetBytes')

check "resource metrics: the container's CPU" within 60 metric resource "^container_cpu_usage_seconds_total\{container=\"main\",$own\}" 'v > 0'
check "resource metrics: its memory" metric resource "^container_memory_working_set_bytes\{container=\"main\",$own\}" 'v > 0'
check "resource metrics: the pod's" within 60 metric resource "^pod_cpu_usage_seconds_total\{$own\}" 'v > 0'
check "resource metrics: when it started" metric resource "^container_start_time_seconds\{container=\"main\",$own\}" 'v > 1e9'
check "resource metrics: no error" metric resource '^(resource_)?scrape_error' 'v == 0'
check "cAdvisor metrics: the container's cgroup" within 60 metric cadvisor "^container_memory_working_set_bytes\{.*$(the_id stats main)" 'v > 0'

# All of it from the runtime.
kubelet_stop
check "the kubelet starts, with all statistics from the runtime" kubelet_start 'featureGates: {PodAndContainerStatsFromCRI: true}'
check "summary: CPU" within 60 summary '.containers[0].cpu.usageNanoCores | . > 30000000 and . < 200000000'
check "summary: memory" summary '.containers[0].memory.workingSetBytes > 0 and .memory.workingSetBytes > 0'
check "summary: the pod's network" summary '.network | .name == "eth0" and .rxBytes >= 0 and .txBytes > 0'
check "summary: its writable layer" summary '.containers[0].rootfs.usedBytes >= 3000000'
check "summary: processes" summary '.process_stats.process_count >= 1'
check "summary: nothing is missing that cAdvisor tells" within 30 nothing_missing "$E2E_TMP/fields" fields
check "summary: memory is what it is for cAdvisor" summary ".containers[0].memory.workingSetBytes - $used | fabs < 2000000"
check "cAdvisor metrics, labelled: memory" within 30 metric cadvisor \
        "^container_memory_working_set_bytes\{container=\"main\",.*$own\}" 'v > 0'
check "cAdvisor metrics, labelled: CPU" within 60 metric cadvisor "^container_cpu_usage_seconds_total\{container=\"main\",.*$own\}" 'v > 0'
check "cAdvisor metrics, labelled: the pod's network" metric cadvisor \
        "^container_network_receive_bytes_total\{.*$own\}" 'v >= 0'
families stats >"$E2E_TMP/families"
unmanifest stats
check "the pod goes" within 60 pod_gone stats

# With the agent where cAdvisor looks for CRI-O, it finds out by itself whose cgroup is whose.  Cgroups change their names
# when there is no pod any more, not even one that has ended and waits for the kubelet to collect it.
kubelet_stop
check "the pods that have ended are removed" within 10 crictl rmp --all
agent_stop
mkdir -p /run/crio
check "the agent starts, to be asked for labels" agent_start "$AGENT_YAML
inspect_socket: /var/run/crio/crio.sock
cgroup: {settings: {name: crio-}}"
check "the kubelet starts as before" kubelet_start
manifest labelled <<Y
terminationGracePeriodSeconds: 1
containers: [{name: main, image: $E2E_IMAGE, imagePullPolicy: IfNotPresent, command: [sh, -c, 'while :; do :; done']}]
Y
own='namespace="default",pod="labelled-'$NODE'"'
check "the pod runs" within 60 pod_is_ready labelled
for name in memory_working_set_bytes cpu_usage_seconds_total; do
        check "cAdvisor's own look, labelled: container_$name" within 60 metric cadvisor \
                "^container_$name\{container=\"main\",.*$own\}" 'v > 0'
done
check "with the image as the user wrote it" metric cadvisor \
        "^container_memory_working_set_bytes\{container=\"main\",.*image=\"$E2E_IMAGE\"" 'v > 0'
families labelled >"$E2E_TMP/families.own"
check "and with no family that the runtime did not tell of a pod" nothing_missing "$E2E_TMP/families.own" cat "$E2E_TMP/families"
unmanifest labelled
check "the pod goes" within 60 pod_gone labelled
check "the pods that have ended are removed" within 10 crictl rmp --all
agent_stop
check "the agent starts as before" agent_start "$AGENT_YAML"
