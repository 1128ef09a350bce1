# The order in which a pod's containers start and end; probes; handlers; graceful deletion.

manifest order <<Y
restartPolicy: Never
volumes: [{name: host, hostPath: {path: $HOST}}]
initContainers:
- name: first
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'echo first >/host/order']
  volumeMounts: [{name: host, mountPath: /host}]
- name: side
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  restartPolicy: Always
  command: [sh, -c, 'trap "echo side ends >>/host/order; exit 0" TERM; sleep 1; echo side >>/host/order; touch /tmp/up;
             while :; do usleep 50000; done']
  startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 60}
  volumeMounts: [{name: host, mountPath: /host}]
- name: second
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'echo second >>/host/order']
  volumeMounts: [{name: host, mountPath: /host}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'echo main >>/host/order; sleep 1; echo main ends >>/host/order']
  volumeMounts: [{name: host, mountPath: /host}]
Y

manifest probes <<Y
containers:
- name: exec
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'sleep 2; touch /tmp/ok; exec sleep 100000']
  readinessProbe: {exec: {command: [test, -e, /tmp/ok]}, periodSeconds: 1}
- name: http
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'mkdir /www; (sleep 2; echo yes >/www/ready) & exec httpd -f -p 8080 -h /www']
  readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
- name: tcp
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'sleep 2; exec httpd -f -p 9090']
  readinessProbe: {tcpSocket: {port: 9090}, periodSeconds: 1}
- name: dying
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'touch /tmp/alive; sleep 3; rm /tmp/alive; exec sleep 100000']
  livenessProbe: {exec: {command: [test, -e, /tmp/alive]}, periodSeconds: 1, failureThreshold: 1,
    initialDelaySeconds: 1, terminationGracePeriodSeconds: 1}
- name: slow
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sleep, '100000']
  readinessProbe: {exec: {command: [sleep, '30']}, periodSeconds: 1, timeoutSeconds: 1}
Y

manifest handlers <<Y
terminationGracePeriodSeconds: 20
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'trap "echo term >>/host/handlers; exit 0" TERM; mkdir /www; echo yes >/www/index.html;
             httpd -f -p 8080 -h /www & while :; do usleep 50000; done']
  lifecycle:
    postStart: {exec: {command: [sh, -c, 'echo post >>/host/handlers']}}
    preStop: {exec: {command: [sh, -c, 'echo pre >>/host/handlers; sleep 1; echo pre ends >>/host/handlers']}}
  volumeMounts: [{name: host, mountPath: /host}]
- name: deaf
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'trap "" TERM; while :; do date +%s >/host/deaf.new; mv /host/deaf.new /host/deaf; usleep 100000; done']
  lifecycle: {preStop: {sleep: {seconds: 1}}}
  volumeMounts: [{name: host, mountPath: /host}]
Y

manifest badhandler <<Y
restartPolicy: Never
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sleep, '100000']
  lifecycle: {postStart: {exec: {command: [sh, -c, 'exit 5']}}}
Y

check "init containers, a sidecar and the container run to the end" within 90 pod_is order '.status.phase == "Succeeded"'
check "in their order, the sidecar last" has "$HOST/order" first side second main 'main ends' 'side ends'
check "each init container is told to have completed" pod_is order '
        [.status.initContainerStatuses[] | .state.terminated.reason + " " + (.state.terminated.exitCode | tostring)] ==
        ["Completed 0", "Completed 0", "Completed 0"]'

for probed in exec http tcp; do
        check "a container is ready once its $probed probe succeeds" within 60 status_is probes "$probed" .ready
done
check "one whose probe hangs is not" status_is probes slow '.ready == false and .started'
check "a container that fails its liveness probe is restarted" within 60 status_is probes dying '.restartCount >= 1'
check "and what it ended with is told" status_is probes dying '.lastState.terminated | .exitCode == 137 and .reason == "Error"'

check "a container runs once its postStart handler is done" within 60 status_is handlers main '.state.running != null'
check "a failing postStart handler ends the container" within 60 status_is badhandler main '.state.terminated.exitCode == 137'
check "it and its neighbour are up" within 30 test -e "$HOST/deaf"

began=$(date +%s)
unmanifest handlers
check "a pod without its manifest is deleted" within 90 pod_gone handlers
check "preStop ran before SIGTERM" has "$HOST/handlers" post pre 'pre ends' term
took=$(($(<"$HOST/deaf") - began))
check "who ignores SIGTERM has its grace period and no more ($took s of 20)" test "$took" -ge 19 -a "$took" -le 30
unmanifest order probes badhandler
