# A node that runs out of something: who took most of it goes, told why, in good order, and nothing of it stays. Static pods are
# critical to a kubelet and never go, so these come from an API server. Each resource is one that a pod of the test takes
# from file systems of the test's own; of processes and memory it is the threshold that lies where the node's use is. Who took most
# is what the runtime's statistics tell.

kubelet_stop
check "the server answers" api_start

node_stat() {
        kubelet_get stats/summary | jq -e ".node | $1"
}
inodes=$(df --output=iavail "$E2E_TMP/disk" | tail -n 1)
KUBELET_TRANSITION=25s          # it tells its node's condition every ten
: >"$KUBELET_LOG"
check "the kubelet starts, with thresholds for disks and inodes" kubelet_start "contentType: application/json
featureGates: {PodAndContainerStatsFromCRI: true}
evictionHard:
  nodefs.available: 30%
  imagefs.available: 30%
  nodefs.inodesFree: '$((inodes - 5000))'" --kubeconfig "$KUBECONFIG"
check "its node is ready" within 60 node_condition Ready True

# evicted NAME MESSAGE
evicted() {
        of "$1" '.status | .phase == "Failed" and .reason == "Evicted" and (.message | test("'"$2"'"))'
}

# evicted_for_others NAME MESSAGE: of which a condition tells, too.
evicted_for_others() {
        evicted "$@" && of "$1" '[.status.conditions[] | select(.type == "DisruptionTarget") | .reason] == ["TerminationByKubelet"]'
}

# unhurt: the pod that takes nothing.
unhurt() {
        of modest '.status | .phase == "Running" and .containerStatuses[0].restartCount == 0'
}

remains() {
        same "$(crictl pods --quiet --name "^$1\$" | wc -l)" 0
}

# goes WHAT NAME CONDITION MESSAGE: it brings the node under pressure, is evicted, and once it is deleted all is well.
goes() {
        check "$1: the node is under pressure" within 90 node_condition "$3" True
        check "$1: who took most of it is evicted, and told why" within 90 evicted_for_others "$2" "$4"
        check "$1: nothing of it runs" same "$(crictl pods --quiet --state ready --name "^$2\$")" ''
        api DELETE "$PODS/$2" '{}' >/dev/null
        check "$1: the pod goes whole" within 120 remains "$2"
        check "$1: then the node is well" within 90 node_condition "$3" False
        check "$1: the pod beside it was not touched" unhurt
}

create modest '{"containers": [{"name": "main", "command": ["sleep", "100000"],
        "resources": {"requests": {"ephemeral-storage": "4Mi", "memory": "32Mi"}}}]}'
check "a pod that takes little runs" within 60 of modest "$is_ready"

create volume '{"volumes": [{"name": "scratch", "emptyDir": {}}], "containers": [{"name": "main",
        "command": ["sh", "-c", "sleep 2; head -c 230000000 /dev/zero >/scratch/file; exec sleep 100000"],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}]}'
goes "the pods' disk" volume DiskPressure 'low on resource: ephemeral-storage'

create layer '{"containers": [{"name": "main", "command": ["sh", "-c", "sleep 2; head -c 130000000 /dev/zero >/file; exec sleep 100000"]}]}'
goes "the images' disk, by a writable layer" layer DiskPressure 'low on resource: ephemeral-storage.*Container main was using'

create files '{"volumes": [{"name": "scratch", "emptyDir": {}}], "containers": [{"name": "main",
        "command": ["sh", "-c", "cd /scratch; seq 12000 | xargs touch; exec sleep 100000"],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}]}'
goes "inodes" files DiskPressure 'low on resource: inodes'

# Of processes all of the machine has its part: the threshold is by the figure of now, and for no longer than this.
processes=$(node_stat '.rlimit | .maxpid - .curproc')
kubelet_stop
check "the kubelet starts, with a threshold for processes" kubelet_start "contentType: application/json
featureGates: {PodAndContainerStatsFromCRI: true}
evictionHard: {pid.available: '$((processes - 400))'}" --kubeconfig "$KUBECONFIG"
create forks '{"containers": [{"name": "main", "command": ["sh", "-c", "for i in $(seq 900); do sleep 100000 & done; wait"]}]}'
goes processes forks PIDPressure 'low on resource: pids'

# A log is of a pod's own, too.
create writer '{"containers": [{"name": "main", "command": ["sh", "-c", "yes a line of a certain length that is written again and again | head -c 3000000; exec sleep 100000"],
        "resources": {"limits": {"ephemeral-storage": "2Mi"}, "requests": {"ephemeral-storage": "1Mi"}}}]}'
check "who writes more to its log than it may store is evicted" within 120 evicted writer 'usage exceeds the total limit of containers 2Mi'
api DELETE "$PODS/writer" '{}' >/dev/null
check "the pod goes whole" within 120 remains writer

# Memory, softly: the node is told to want more than it has free, and the pod may end as it likes. When memory is short,
# those go first that use more than they requested, of these first those of lower priority, then who is furthest above
# its request; whom the kubelet knows no figures of goes before all others. Hence one pod that requested none (any use is
# more), one that did not either but is critical, and one that uses a hundredth of its request. All are there before the
# kubelet that wants memory: it sees the shortage at its first look and acts upon it 25 seconds later, with figures of all
# three. From that look on it refuses what requests no memory, also what has run for long, unless that tolerates it.
create polite '{"terminationGracePeriodSeconds": 20, "volumes": [{"name": "host", "hostPath": {"path": "'"$HOST"'", "type": ""}}],
        "tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [{"name": "main", "volumeMounts": [{"name": "host", "mountPath": "/host"}],
        "command": ["sh", "-c", "trap '\''sleep 2; echo in peace >/host/polite; exit 0'\'' TERM; touch /host/polite-up; while :; do usleep 50000; done"]}]}'
create critical '{"priority": 2000001000, "priorityClassName": "system-node-critical", "containers": [{"name": "main", "command": ["sleep", "100000"]}]}'
check "a pod runs" within 60 of polite "$is_ready"
check "and a critical one" within 60 of critical "$is_ready"
check "it is set to end as it likes" within 10 test -e "$HOST/polite-up"
kubelet_stop
free=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
: >"$KUBELET_LOG"
check "the kubelet starts, to want memory that others have" kubelet_start "contentType: application/json
featureGates: {PodAndContainerStatsFromCRI: true}
evictionSoft: {memory.available: '$((free + 4000000))Ki'}
evictionSoftGracePeriod: {memory.available: 25s}
evictionMaxPodGracePeriod: 15" --kubeconfig "$KUBECONFIG"
check "memory: the node is under pressure" within 90 node_condition MemoryPressure True
check "memory: who requested none goes first, and is told what it used" within 120 evicted_for_others polite \
        'low on resource: memory.*Container main was using [0-9]+Ki, request is 0'
check "memory: the runtime's figures decided it" kubelet_said 'ranked for eviction" pods=\["default/polite","default/critical","default/modest"\]'
check "having ended as it likes" has "$HOST/polite" 'in peace'
check "memory: what is critical stays" of critical '.status.phase == "Running" and .status.containerStatuses[0].restartCount == 0'
create late '{"containers": [{"name": "main", "command": ["sleep", "100000"]}]}'
check "memory: another such pod is not let in" within 60 of late '.status | .phase == "Failed" and .reason == "Evicted"'
check "and has no sandbox" remains late

check "the agent is killed under pressure, and starts" killed_and_back agent
check "the critical pod did not notice" within 30 of critical '.status.containerStatuses[0] | .restartCount == 0 and .ready'

for name in modest polite critical late; do
        api DELETE "$PODS/$name" '{}' >/dev/null
done
check "deleted pods go, and the server is told" within 90 no_pods_there
kubelet_stop
api_stop
KUBELET_TRANSITION=1s
check "the kubelet starts without a server" kubelet_start
