# Agent and kubelet die and come back, alone and together, and no container is any the wiser.

for name in stays leaves; do
        manifest "$name" <<Y
terminationGracePeriodSeconds: 1
volumes: [{name: host, hostPath: {path: $HOST}}]
initContainers:
- name: before
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: ['true']
- name: side
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  restartPolicy: Always
  command: [sleep, '100000']
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'i=0; while :; do i=\$((i + 1)); echo \$i >>/host/beats-$name; usleep 50000; done']
  readinessProbe: {exec: {command: ['true']}, periodSeconds: 1}
  livenessProbe: {exec: {command: ['true']}, periodSeconds: 1}
  volumeMounts: [{name: host, mountPath: /host}]
Y
done

# lives NAME: what must not change, of each container: its id, how often it was restarted.
lives() {
        pod "$1" '[.metadata.uid, .status.podIP] + [.status | .initContainerStatuses, .containerStatuses | .[] |
                .name, .containerID, (.restartCount | tostring)] | join(" ")'
}

unchanged() {
        same "$(lives stays)" "$stays" && same "$(status stays main .restartCount)" 0 && pod_is_ready stays
}

sandboxes() {
        crictl pods --quiet --name "^stays-$NODE\$" | wc -l
}

# beats_on: it has not started anew, nor paused for long.
beats_on() {
        awk '$1 != NR { print "line " NR " says " $1; exit 1 }' "$HOST/beats-stays"
}

check "two pods run" within 60 pod_is_ready stays
check "both of them" within 60 pod_is_ready leaves
stays=$(lives stays)

agent_kill
sleep 12                        # probes fail to run, and the kubelet finds the runtime gone
unmanifest leaves
check "the agent starts again" agent_start
check "a pod removed meanwhile goes" within 90 pod_gone leaves
check "the other is as it was" within 60 unchanged

kubelet_stop KILL
check "the kubelet starts again after kill -9" kubelet_start
check "the pod is as it was" within 60 unchanged

kubelet_stop KILL
agent_kill
check "the agent starts, both being dead" agent_start
check "and the kubelet" kubelet_start
check "the pod is as it was" within 60 unchanged
kubelet_stop
agent_stop
check "the agent starts, both having ended in order" agent_start
check "and the kubelet" kubelet_start
check "the pod is as it was" within 60 unchanged

# While a pod is being made.
manifest late <<Y
terminationGracePeriodSeconds: 1
initContainers:
- name: first
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sleep, '1']
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sleep, '100000']
Y
asked() {
        [[ -n $(crictl pods --quiet --name "^late-$NODE\$") ]]
}
within 30 asked || true
agent_kill
agent_start
check "a pod that was being made when the agent died comes up" within 90 pod_is_ready late
one_sandbox() {
        same "$(crictl pods --quiet --name "^late-$NODE\$" --state ready | wc -l)" 1
}
check "once" one_sandbox
check "there is still one sandbox of the first" same "$(sandboxes)" 1
check "and its process ran on through it all" beats_on

# A pod without its monitor is lost, and the kubelet makes it anew.
late=$(crictl pods --quiet --name "^late-$NODE\$" --state ready)
kill -s KILL "$(pgrep -f "^cringle-monitor $AGENT_STATE/pods/$late" | head -n 1)"
anew() {
        [[ $(crictl pods --quiet --name "^late-$NODE\$" --state ready) != "$late" ]] && pod_is_ready late
}
check "a pod whose monitor was killed is made anew" within 90 anew
check "and the other does not notice" unchanged
unmanifest stays late
check "the pods go" within 60 pod_gone stays late
