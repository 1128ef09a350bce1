# Restart policies, back-off, what is told of a container that ended, images that cannot be had.

# One pod for each policy and exit code.
for policy in Always OnFailure Never; do
        for code in 0 3; do
                manifest "$(tr '[:upper:]' '[:lower:]' <<<"$policy")-$code" <<Y
restartPolicy: $policy
terminationGracePeriodSeconds: 1
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'echo farewell >/dev/termination-log; exit $code']
Y
        done
done

manifest last-words <<Y
restartPolicy: Never
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  terminationMessagePolicy: FallbackToLogsOnError
  command: [sh, -c, 'echo it was the disk; exit 1']
Y

manifest no-image <<Y
containers:
- name: main
  image: registry.k8s.io/no-such-image:1
Y

manifest never-pulled <<Y
containers:
- name: main
  image: registry.k8s.io/never-pulled:1
  imagePullPolicy: Never
Y

manifest no-command <<Y
restartPolicy: Never
containers:
- name: main
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [/no/such/program]
Y

check "Never, exit 0: succeeded" within 60 pod_is never-0 '.status.phase == "Succeeded"'
check "Never, exit 3: failed" within 60 pod_is never-3 '.status.phase == "Failed"'
check "OnFailure, exit 0: succeeded" within 60 pod_is onfailure-0 '.status.phase == "Succeeded"'
check "what was written to the termination log is told" status_is never-3 main \
        '.state.terminated | .message == "farewell\n" and .exitCode == 3 and .reason == "Error"'
check "or else the end of the log" within 30 status_is last-words main '.state.terminated.message == "it was the disk\n"'
for name in onfailure-3 always-3 always-0; do
        check "$name: restarted, then held back" within 90 status_is "$name" main \
                '.restartCount >= 1 and .state.waiting.reason == "CrashLoopBackOff"'
done
check "the exit before is told" status_is always-3 main '.lastState.terminated | .exitCode == 3 and .message == "farewell\n"'
check "Never is never restarted" status_is never-3 main '.restartCount == 0'
check "an image that does not exist: ImagePullBackOff" within 60 status_is no-image main '.state.waiting.reason == "ImagePullBackOff"'
check "and before it, in the log, why" kubelet_said 'no-such-image.*(not found|404|unknown)'
check "an image that must not be pulled: ErrImageNeverPull" within 30 status_is never-pulled main \
        '.state.waiting.reason == "ErrImageNeverPull"'
check "a command that does not exist is told" within 60 pod_is no-command '
        .status.containerStatuses[0].state | (.terminated // .waiting).message | test("/no/such/program.*No such file")'

# A changed manifest is another pod.
before=$(pod last-words .metadata.uid)
sed 's/exit 1/exit 0/' "$STATIC/last-words.yaml" >"$E2E_TMP/changed.yaml"
mv "$E2E_TMP/changed.yaml" "$STATIC/last-words.yaml"
changed() {
        [[ $(pod last-words .metadata.uid) != "$before" ]] && pod_is last-words '.status.phase == "Succeeded"'
}
check "a changed manifest replaces the pod" within 60 changed

unmanifest {always,onfailure,never}-{0,3} last-words no-image never-pulled no-command
check "all of them go" within 60 pod_gone {always,onfailure,never}-{0,3} last-words no-image never-pulled no-command
