# The kubelet hears of containers from the runtime (evented PLEG) instead of asking every second.

kubelet_stop
: >"$KUBELET_LOG"
check "the kubelet starts with its feature EventedPLEG" kubelet_start 'featureGates: {EventedPLEG: true}'
manifest eventful <<Y
terminationGracePeriodSeconds: 1
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'date +%s >>/host/eventful; while [ ! -e /host/eventful-ends ]; do usleep 20000; done; rm /host/eventful-ends; exit 4']
  volumeMounts: [{name: host, mountPath: /host}]
Y
check "a pod runs" within 60 pod_is_ready eventful
check "the kubelet heard of it" within 20 kubelet_said 'CONTAINER_STARTED_EVENT|ContainerStarted'
touch "$HOST/eventful-ends"
check "and of its end, which it answers with a new one" within 60 status_is eventful main \
        '.restartCount == 1 and .lastState.terminated.exitCode == 4'
check "the agent starts anew" killed_and_back agent
touch "$HOST/eventful-ends"
check "the kubelet hears it again" within 90 status_is eventful main '.restartCount == 2'
unmanifest eventful
check "the pod goes" within 60 pod_gone eventful
kubelet_stop
check "the kubelet starts as before" kubelet_start
