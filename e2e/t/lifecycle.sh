#!/usr/bin/env bash
# A pod from its first request to its last: network, exec, log, exit codes, and nothing left behind.
. "${BASH_SOURCE%/*}/../lib.sh"

# crictl's own status is 1 whatever the command's was; its message tells.
exec_fails_with() {
        local said

        said=$(crictl exec --sync "$2" sh -c "exit $1" 2>&1) || true
        grep -q "exited with $1" <<<"$said"
}

e2e_begin lifecycle
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

pod=$(pod_run web '.hostname = "web-host"')
check "a pod is ready once RunPodSandbox answers" same "$(pod_field "$pod" .state)" SANDBOX_READY
address=$(pod_field "$pod" .network.ip)
check "it has an address of the network" grep -q '^10\.213\.' <<<"$address"

server=$(container_create web server 'mkdir /www; echo served > /www/index.html; echo listening; exec httpd -f -p 80 -h /www')
check "a created container runs nothing yet" same "$(container_field "$server" .state)" CONTAINER_CREATED
check "it starts" crictl start "$server"
check_not "a second start is refused" crictl start "$server"
check "its log has what it wrote" eventually 5 grep -q listening "$E2E_TMP/logs/web/server.log"
check "the host reaches it at the pod's address" eventually 5 curl -sf "http://$address/"
check "what it serves is its own" same "$(curl -s "http://$address/")" served

client=$(container_run web client 'wget -q -O - http://127.0.0.1/; exit 7')
check "a second container exits" eventually 10 container_is "$client" EXITED
check "it shared the pod's network" same "$(container_log web client)" served
check "its exit code is kept" same "$(container_field "$client" .exitCode)" 7
check "its reason says that it failed" same "$(container_field "$client" .reason)" Error

check "exec gives the command's output" same "$(crictl exec --sync "$server" cat /www/index.html)" served
check "exec gives the command's exit code" exec_fails_with 3 "$server"
check_not "exec of a missing program is an error" crictl exec --sync "$server" /no/such/program
check "containers see the pod's hostname" same "$(crictl exec --sync "$server" hostname)" web-host

check "listing shows both containers" same "$(crictl ps --all --quiet | wc -l)" 2
check "a container stops" crictl stop --timeout 1 "$server"
check "stopping it again is no error" crictl stop --timeout 1 "$server"
check "a container is removed" crictl rm "$client"

check "a pod stops" crictl stopp "$pod"
check "a stopped pod stays listed, not ready" same "$(pod_field "$pod" .state)" SANDBOX_NOTREADY
check_not "its address is given back" ls "$NETWORK_DATA/$NETWORK_BRIDGE/$address"
check "stopping it again is no error" crictl stopp "$pod"
check "a pod is removed with its containers" crictl rmp "$pod"
check "nothing is listed" same "$(crictl pods --quiet; crictl ps --all --quiet)" ''
leaks_none "nothing stayed behind"
e2e_end
