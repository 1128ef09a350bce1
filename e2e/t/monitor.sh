#!/usr/bin/env bash
# A pod's monitor is killed: the pod is told as lost, its neighbours do not notice, and it can be removed.
. "${BASH_SOURCE%/*}/../lib.sh"

monitor_of() {
        pgrep -f "^cringle-monitor $AGENT_STATE/pods/$1" | head -n 1
}

pod_is() {
        [[ $(pod_field "$1" .state) == "SANDBOX_$2" ]]
}

dead() {
        [[ -z $(process_state "$1") || $(process_state "$1") == Z ]]
}

e2e_begin monitor
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

lost=$(pod_run lost)
other=$(pod_run other)
gone=$(container_run lost gone 'sleep 1000')
stays=$(container_run other stays 'while :; do echo tick; sleep 0.2; done')
process=$(crictl inspect --output json "$gone" | jq -r .info.pid)

kill -s KILL "$(monitor_of "$lost")"
check "its pod is not ready any more" eventually 10 pod_is "$lost" NOTREADY
check "its container has ended" eventually 10 container_is "$gone" EXITED
check "for a reason that says so" same "$(container_field "$gone" .message)" "the pod's monitor is gone"
check "the process is gone, too" eventually 10 dead "$process"
check "the other pod is ready" pod_is "$other" READY
lines=$(container_log other stays | wc -l)
check "and its container runs on" eventually 10 eval '(( $(container_log other stays | wc -l) > lines ))'
check_not "nothing starts in a lost pod" container_create lost late 'true'
check "a new pod of the same name starts beside it" pod_run lost '.metadata.attempt = 1'
again=$(pod_id lost)
check "with a monitor of its own" test -n "$(monitor_of "$again")"

# The agent is away while the next one goes.
kept=$(container_run lost kept 'sleep 1000')
agent_kill
kill -s KILL "$(monitor_of "$again")"
agent_start
check "an agent that comes back finds out" eventually 10 pod_is "$again" NOTREADY
check "and what was in it has ended" container_is "$kept" EXITED
check "the other pod is still ready" pod_is "$other" READY
check "and running" container_is "$stays" RUNNING

for pod in "$lost" "$again" "$other"; do
        check "a pod is stopped" crictl stopp "$pod"
        check "and removed" crictl rmp "$pod"
done
# A hook whose stderr ends while somebody has a copy of the monitor's end of it: a process just born, or, so that it is there for
# certain, one that took it.  epoll then goes on to tell of an fd that the monitor has closed.
cat >"$E2E_TMP/hook.py" <<'P'
import ctypes, os, subprocess, time
monitor, pipe, call = os.getppid(), os.fstat(2).st_ino, ctypes.CDLL(None).syscall
held = call(434, monitor, 0)                            # pidfd_open
for fd in os.listdir(f"/proc/{monitor}/fd"):
    if os.stat(f"/proc/{monitor}/fd/{fd}").st_ino == pipe:
        copy = call(438, held, int(fd), 0)              # pidfd_getfd
        os.set_inheritable(copy, True)
        null = os.open("/dev/null", os.O_WRONLY)
        subprocess.Popen(["sleep", "2"], stderr=null, stdout=null, pass_fds=[copy])
        os.dup2(null, 2)
        time.sleep(0.3)
        os._exit(0)
os._exit(1)
P
agent_stop
agent_start "hooks:
  declared:
    - {name: holds, stage: prestart, path: $(type -P python3), args: ['$E2E_TMP/hook.py'], env: ['PATH=/usr/bin:/bin'], when: {containers: [^held\$]}}
    - {name: next, stage: createRuntime, path: /bin/sh, args: [-c, 'sleep 0.3'], env: ['PATH=/usr/bin:/bin'], when: {containers: [^held\$]}}"
pod_run held >/dev/null
check "a hook's stderr that somebody else has, too, does no harm" container_run held held 'sleep 1000'
check "its pod stays ready" pod_is "$(pod_id held)" READY
check "and goes" pod_remove held

leaks_none "nothing stayed behind"
e2e_end
