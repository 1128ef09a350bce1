#!/usr/bin/env bash
# The agent is killed and comes back: containers run on, their logs have no gap, exit codes are kept.
. "${BASH_SOURCE%/*}/../lib.sh"

# no_gap FILE: the numbers in it follow each other from 1 on.
no_gap() {
        awk '{ if ($NF != NR) { print "line " NR " says " $NF; exit 1 } } END { if (NR < 5) { print NR " lines"; exit 1 } }' "$1"
}

lines() {
        wc -l <"$E2E_TMP/logs/job/counter.log"
}

more_than() {
        (($(lines) > $1))
}

exited_with() {
        [[ $(container_field "$2" '| .state + " " + (.exitCode | tostring)') == "CONTAINER_EXITED $1" ]]
}

e2e_begin restart
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

pod=$(pod_run job)
counter=$(container_run job counter 'i=0; while :; do i=$((i + 1)); echo $i; usleep 20000; done')
ends=$(container_run job ends 'while [ ! -e /tmp/go ]; do usleep 50000; done; exit 42')
flood=$(container_run job flood 'while [ ! -e /tmp/go ]; do usleep 50000; done; yes 0123456789abcdef | head -n 100000; touch /tmp/done')
created=$(container_create job later 'echo late; exec sleep 1000')
pid=$(crictl inspect --output json "$counter" | jq .info.pid)
check "the counter writes" eventually 5 more_than 5

crictl exec --sync "$ends" sh -c '(sleep 1; touch /tmp/go) >/dev/null 2>&1 &' >/dev/null
crictl exec --sync "$flood" sh -c '(sleep 1; touch /tmp/go) >/dev/null 2>&1 &' >/dev/null
agent_kill
before=$(lines)
check "a container writes its log while no agent runs" eventually 5 more_than $((before + 20))
sleep 1.5                       # both others meet their mark, and end without an agent

check "the agent starts again" agent_start
check "the pod is still ready" same "$(pod_field "$pod" .state)" SANDBOX_READY
check "the container is still running" container_is "$counter" RUNNING
check "it is the same process" same "$(crictl inspect --output json "$counter" | jq .info.pid)" "$pid"
check "exec works in it" same "$(crictl exec --sync "$counter" echo hello)" hello
check "what ended meanwhile has its exit code" eventually 5 exited_with 42 "$ends"
check "what wrote much meanwhile did not freeze" eventually 10 container_is "$flood" EXITED
check "and nothing of it is lost" same "$(wc -l <"$E2E_TMP/logs/job/flood.log")" 100000
check "a container created before starts now" crictl start "$created"
check "and writes its log" eventually 5 grep -q late "$E2E_TMP/logs/job/later.log"

agent_stop
check "the agent starts again after a clean end" agent_start
check "the container still runs" container_is "$counter" RUNNING
check "its log has no gap over both restarts" no_gap "$E2E_TMP/logs/job/counter.log"

agent_kill
check "with the agent dead, the container's process is killed" kill -s KILL "$pid"
agent_start
check "the new agent tells how it ended" eventually 5 exited_with 137 "$counter"

check "the pod goes" pod_remove job
leaks_none "nothing stayed behind"
e2e_end
