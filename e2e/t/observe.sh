#!/usr/bin/env bash
#
# The agent seen from outside: metrics for Prometheus, and what a kubelet's collector asks.
#
set -euo pipefail
. "${BASH_SOURCE%/*}/../lib.sh"

e2e_begin observe
registry_start small
inspect=$E2E_TMP/crio/crio.sock
port=$(free_port)
named='cgroup: {settings: {name: crio-}}'
served="metrics: {port: $port}
inspect_socket: $inspect
$named"
agent_start "$served"
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin

page() {
        curl -sS --max-time 20 "http://127.0.0.1:$port$1"
}
asked() {
        curl -sS --max-time 20 --unix-socket "$inspect" "http://crio$1"
}
code() {
        curl -sS --max-time 20 -o /dev/null -w '%{http_code}' "$@"
}
# value PATTERN: of the first line of the metrics that it fits.
value() {
        page /metrics | grep -E "$1" | head -n 1 | awk '{ print $NF }'
}
above() {
        awk -v least="$1" -v n="$2" 'BEGIN { print n; exit !(n + 0 > least + 0) }'
}

pod_run shown '.labels = {"io.kubernetes.pod.name": "shown"}' >/dev/null
id=$(container_run shown main 'while :; do :; done' \
        '.labels = {"io.kubernetes.container.name": "main", "odd": "a \"quoted\" \\ one"}')
sleep 1

check "metrics are served" same "$(code "http://127.0.0.1:$port/metrics")" 200
check "nothing else is" same "$(code "http://127.0.0.1:$port/")" 404
check "and not otherwise" same "$(code -X POST "http://127.0.0.1:$port/metrics")" 405
page /metrics >"$E2E_TMP/metrics"
check "they have the form that Prometheus reads" "$E2E_DIR/prometheus-check" "$E2E_TMP/metrics"
labels="{id=\"[^\"]*/crio-$id\",name=\"$id\",image=\"[^\"]+\",container=\"main\",pod=\"shown\",namespace=\"e2e\""
check "a container's are by the collectors' names, with its pod" \
        grep -qE "^container_memory_working_set_bytes$labels} [1-9]" "$E2E_TMP/metrics"
check "and its CPU time has fractions" above 0.2 "$(value "^container_cpu_usage_seconds_total$labels")"
check "calls are counted" above 0 \
        "$(value '^cringle_calls_total\{method="/runtime.v1.RuntimeService/RunPodSandbox",code="OK"\}')"
check "so are those of plugins" above 0 "$(value '^cringle_plugin_calls_total\{kind="executor",plugin="executor-native"\}')"
check "the agent tells what it needs" above 1000000 "$(value '^process_resident_memory_bytes ')"

check "a collector finds what it looks for" same "$(asked /info | jq -r .storage_driver)" cringle
asked "/containers/$id" >"$E2E_TMP/container"
check "and a container, with its labels" same "$(jq -r '.labels["io.kubernetes.container.name"]' "$E2E_TMP/container")" main
check "to the byte" same "$(jq -r '.labels.odd' "$E2E_TMP/container")" 'a "quoted" \ one'
pid=$(jq -r .pid "$E2E_TMP/container")
check "its process" grep -q "crio-$id" "/proc/$pid/cgroup"
check "and the log" same "$(jq -r .log_path "$E2E_TMP/container")" "$E2E_TMP/logs/shown/main.log"
check "one that is not there is not found" same "$(code --unix-socket "$inspect" http://crio/containers/nowhere)" 404
check "others than root cannot ask" same "$(stat -c %a "$inspect")" 600

server=$(pgrep -P "$AGENT_PID" cringle-stream | head -n 1)
check "who answers is not root" grep -qE '^Uid:\s65534\s65534\s65534' "/proc/$server/status"
kill -KILL "$server"
check "one that is killed is replaced" eventually 20 eval 'same "$(code "http://127.0.0.1:$port/metrics")" 200 &&
        same "$(code --unix-socket "$inspect" http://crio/info)" 200'
agent_kill
agent_start
check "an agent that starts again serves again" eventually 20 eval 'same "$(code "http://127.0.0.1:$port/metrics")" 200 &&
        same "$(asked "/containers/$id" | jq -r .pid)" "$pid"'

agent_stop
nowhere="metrics: {port: $port, address: nowhere}
$named"
check_not "an address that is none is refused" eval 'agent_start "$nowhere" 2>"$E2E_TMP/refused"'
check "and named" grep -q "metrics: 'nowhere' is no IP address" "$E2E_TMP/refused"
agent_start "$named"
check_not "by default nothing is served" eval 'code "http://127.0.0.1:$port/metrics" 2>&1'
pod_remove shown
leaks_none "nothing is left"
e2e_end
