#!/usr/bin/env bash
#
# Every verb and every output of crictl.
#
set -euo pipefail
. "${BASH_SOURCE%/*}/../lib.sh"

e2e_begin crictl
registry_start conformance
agent_start 'programs: {criu: /no/such/criu}'         # what it does with one is checkpoint.sh's
leaks_begin

# What crictl itself is told with each call, for where it must be a process of its own.
CRICTL=("$(cri_tool crictl)" --config /dev/null --timeout 60s --runtime-endpoint "unix://$SOCKET")

# json VERB... : valid, and not empty.
json() {
        crictl "$1" --output json "${@:2}" | jq -e 'length > 0' >/dev/null
}
# yaml VERB...: what JSON has, too.
yaml() {
        crictl "$1" --output yaml "${@:2}" >"$E2E_TMP/yaml" && python3 - "$E2E_TMP/yaml" <<'P'
import re, sys
lines = open(sys.argv[1]).read().splitlines()
sys.exit(not any(re.match(r"^[- ]*[A-Za-z.]+:( |$)", line) for line in lines))
P
}
# table HEADING VERB...: with a heading and a row.
table() {
        crictl "${@:2}" | sed 's/\x1b\[[0-9]*[A-Z]//g' >"$E2E_TMP/table" && head -n 1 "$E2E_TMP/table" | has "^$1" && (($(wc -l <"$E2E_TMP/table") > 1)) || {
                cat "$E2E_TMP/table"
                return 1
        }
}
# has PATTERN: somewhere in all of stdin; grep -q would leave crictl without a reader.
has() {
        grep -cE -- "$1" >/dev/null
}
# lines N VERB...: so many.
lines() {
        same "$(crictl "${@:2}" | grep -c .)" "$1"
}

# ---- the runtime -----------------------------------------------------------------

check "version" eval 'crictl version | has "RuntimeName:  *cringle"'
check "info" json info
check "info, as YAML" yaml info
check "info, by a template" same "$(crictl info --quiet --output go-template --template '{{(index .status.conditions 0).type}}')" RuntimeReady
check "runtime-config" eval 'crictl runtime-config | has "(cgroupDriver|driver).*(CGROUPFS|SYSTEMD)"'
check "update-runtime-config" crictl update-runtime-config --pod-cidr 10.99.0.0/24

# ---- images ----------------------------------------------------------------------

busybox=$E2E_IMAGE
check "pull" eval 'crictl pull "$busybox" | has "Image is up to date for"'
check "pull what is not there" eval '! crictl pull docker.io/library/nothing:here 2>"$E2E_TMP/err" && grep -qi "manifest unknown" "$E2E_TMP/err"'
check "images" table 'IMAGE +TAG +IMAGE ID +SIZE' images
check "images, with digests" table 'IMAGE +TAG +DIGEST +IMAGE ID +SIZE' images --digests
check "images, with what is pinned" table 'IMAGE +TAG +IMAGE ID +SIZE +PINNED' images --pinned
check "images, all of the ids" eval 'crictl images --no-trunc | has "sha256:[0-9a-f]{64}"'
check "images, quiet" eval 'crictl images --quiet | has "^sha256:[0-9a-f]{64}$"'
check "images, verbose" eval 'crictl images --verbose | has "^RepoTags: "'
check "images, as JSON" json images
check "images, as YAML" yaml images
check "images, by name" lines 1 images --quiet "$busybox"
check "images, by a filter" lines 0 images --quiet --filter reference=nothing
check "inspecti" eval 'crictl inspecti "$busybox" | jq -e ".status.id and .info.imageSpec.config" >/dev/null'
check "inspecti, as YAML" yaml inspecti "$busybox"
check "inspecti, as a table" eval 'crictl inspecti --output table "$busybox" | has "^ID: "'
check "inspecti, by a template" same "$(crictl inspecti --output go-template --template '{{index .status.repoTags 0}}' "$busybox")" "$busybox"
check "inspecti, of what is not there" eval '! crictl inspecti nothing 2>/dev/null'
check "imagefsinfo" eval 'crictl imagefsinfo | jq -e ".status.imageFilesystems[0].fsId.mountpoint" >/dev/null'
check "imagefsinfo, as YAML" yaml imagefsinfo
check "imagefsinfo, as a table" eval 'crictl imagefsinfo --output table | has "^Mountpoint"'
check "imagefsinfo, by a template" eval 'crictl imagefsinfo --output go-template --template "{{len .status.imageFilesystems}}" | has 1'

# ---- pods ------------------------------------------------------------------------

"${CRICTL[@]}" events >"$E2E_TMP/events" 2>/dev/null &
listener=$!
sleep 0.3
with_cgroup='.linux.cgroup_parent = "'"$AGENT_CGROUP"'/pods"'
check "runp" pod_run one "$with_cgroup"' | .labels = {tier: "front"}'
pod_run two "$with_cgroup" >/dev/null
one=$(pod_id one) two=$(pod_id two)
check "pods" table 'POD ID +CREATED +STATE +NAME +NAMESPACE +ATTEMPT +RUNTIME' pods
check "pods, quiet" lines 2 pods --quiet
check "pods, by id" lines 1 pods --quiet --id "${one:0:13}"
check "pods, by label" same "$(crictl pods --quiet --label tier=front)" "$one"
check "pods, by name" same "$(crictl pods --quiet --name '^two$')" "$two"
check "pods, by namespace" lines 0 pods --quiet --namespace elsewhere
check "pods, by state" lines 2 pods --quiet --state ready
check "pods, the latest" same "$(crictl pods --quiet --latest)" "$two"
check "pods, the last so many" lines 1 pods --quiet --last 1
check "pods, verbose" eval 'crictl pods --verbose --no-trunc | has "^ID: $one"'
check "pods, as JSON" json pods
check "pods, as YAML" yaml pods
check "inspectp" eval 'crictl inspectp "$one" | jq -e ".status.state == \"SANDBOX_READY\" and .info.pid != null" >/dev/null ||
        crictl inspectp "$one" | jq -e ".status.state == \"SANDBOX_READY\" and (.info | length > 0)" >/dev/null'
check "inspectp, as YAML" yaml inspectp "$one"
check "inspectp, as a table" eval 'crictl inspectp --output table "$one" | has "^ID: $one"'
check "inspectp, by a template" same "$(crictl inspectp --output go-template --template '{{.status.metadata.name}}' "$one")" one
check "inspectp, quiet" eval 'crictl inspectp --quiet "$one" | jq -e ".info == null" >/dev/null'

# ---- containers ------------------------------------------------------------------

check "create" container_create one main 'echo out; echo err >&2; trap "exit 3" TERM; while :; do sleep 0.1; done' '.labels = {kind: "loop", "io.kubernetes.pod.namespace": "e2e"}'
main=$(cat "$E2E_TMP/pods/one-main.id" 2>/dev/null || crictl ps --all --quiet --name main)
check "ps --all" table 'CONTAINER +IMAGE +CREATED +STATE +NAME +ATTEMPT +POD ID +POD' ps --all
check "start" same "$(crictl start "$main")" "$main"
container_run two side 'httpd -f -p 8080' >/dev/null
side=$(crictl ps --quiet --name side)
check "ps" lines 2 ps --quiet
check "ps, by id" lines 1 ps --quiet --id "${main:0:13}"
check "ps, by image" lines 2 ps --quiet --image "$busybox"
check "ps, by label" same "$(crictl ps --quiet --label kind=loop)" "$main"
check "ps, by name" same "$(crictl ps --quiet --name '^side$')" "$side"
check "ps, by namespace" lines 1 ps --quiet --namespace e2e
check "ps, by pod" same "$(crictl ps --quiet --pod "$two")" "$side"
check "ps, by state" lines 0 ps --quiet --state exited
check "ps, the latest" same "$(crictl ps --quiet --latest)" "$side"
check "ps, the last so many" lines 1 ps --quiet --last 1
check "ps, verbose" eval 'crictl ps --verbose --no-trunc | has "^ID: $main"'
check "ps, with the image's name" eval 'crictl ps --resolve-image-path | has "$busybox"'
check "ps, as JSON" json ps
check "ps, as YAML" yaml ps
check "inspect" eval 'crictl inspect "$main" | jq -e ".status.state == \"CONTAINER_RUNNING\" and .info.pid > 0" >/dev/null'
check "inspect, as YAML" yaml inspect "$main"
check "inspect, as a table" eval 'crictl inspect --output table "$main" | has "^ID: $main"'
check "inspect, by a template" same "$(crictl inspect --output go-template --template '{{.status.metadata.name}}' "$main")" main
check "inspect, by label" eval 'crictl inspect --label kind=loop | has "$main"'
check "inspect, quiet" eval 'crictl inspect --quiet "$main" | jq -e ".info == null" >/dev/null'

check "logs" same "$(crictl logs "$main" 2>/dev/null)" out
check "logs, the other stream" same "$(crictl logs "$main" 2>&1 >/dev/null | grep -v level=)" err
check "logs, of one stream" same "$(crictl logs --stream stderr "$main" 2>&1 | grep -v level=)" err
check "logs, with times" eval 'crictl logs --timestamps "$main" 2>/dev/null | has "^[0-9]{4}-[0-9-]+T[0-9:.]+.* out$"'
check "logs, the last lines" same "$(crictl logs --tail 1 "$main" 2>&1 | grep -v level= | grep -c .)" 1
check "logs, from a time on" lines 0 logs --since 2099-01-02T03:04:05Z "$main"
check "logs, so many bytes" same "$(crictl logs --limit-bytes 2 --stream stdout "$main" 2>/dev/null)" ou
mv "$E2E_TMP/logs/one/main.log" "$E2E_TMP/logs/one/main.log.1"
check "logs, reopened" eval 'crictl logs --reopen "$main" && [[ -f $E2E_TMP/logs/one/main.log ]]'
"${CRICTL[@]}" logs --follow "$side" >"$E2E_TMP/followed" 2>&1 &
follower=$!

check "exec, in one call" same "$(crictl exec --sync "$main" echo hello)" hello
check "exec" same "$(crictl exec "$main" echo hello)" hello
check "exec, over WebSocket" same "$(crictl exec --transport websocket "$main" echo hello)" hello
check "exec, with input" same "$(echo typed | crictl exec -i "$main" cat)" typed
check "exec, on a terminal" eval 'script -qec "${CRICTL[*]} exec -it $main tty" /dev/null </dev/null | has /dev/pts/'
check "exec, in all of a name" eval 'crictl exec --name main echo hello 2>&1 | has hello'
check_not "exec tells the status" crictl exec --sync "$main" false
check_not "exec, with a time limit" crictl exec --sync --timeout 1 "$main" sleep 30
"${CRICTL[@]}" attach "$main" >"$E2E_TMP/attached" 2>&1 &
attached=$!
port=$(free_port)
for transport in spdy websocket; do
        rm -f "$E2E_TMP/forward"                # what the one before said is no answer
        "${CRICTL[@]}" port-forward --transport "$transport" "$two" "$port:8080" >"$E2E_TMP/forward" 2>&1 &
        forward=$!
        check "port-forward, by $transport" eval 'eventually 10 grep -q "Forwarding from" "$E2E_TMP/forward" &&
                curl -s -o /dev/null -w "%{http_code}" --max-time 20 "http://127.0.0.1:$port/" | has 404'
        kill "$forward"
        wait "$forward" 2>/dev/null || true
done

check "stats" table 'CONTAINER +NAME +CPU % +MEM +DISK +INODES' stats --seconds 1
check "stats, of one" table 'CONTAINER' stats "${main:0:13}"
check "stats, by pod" eval 'crictl stats --pod "$one" --output json | jq -e ".stats | length == 1" >/dev/null'
check "stats, as JSON" json stats
check "stats, as YAML" yaml stats
check "statsp" table 'POD +POD ID +CPU % +MEM' statsp
check "statsp, as JSON" json statsp
check "statsp, as YAML" yaml statsp
check "metricdescs" json metricdescs
check "metricdescs, as YAML" yaml metricdescs
check "metricsp" json metricsp
check "metricsp, as YAML" yaml metricsp
check "update" crictl update --cpu-share 512 --cpu-quota 50000 --cpu-period 100000 --memory 67108864 "$main"
check "and it is told" same "$(crictl inspect "$main" | jq -r .status.resources.linux.memoryLimitInBytes)" 67108864
check_not "checkpoint without CRIU" eval 'crictl checkpoint --export="$E2E_TMP/c.tar" "$main" 2>"$E2E_TMP/err"'
check "says what it lacks" grep -qi 'unimplemented.*/no/such/criu' "$E2E_TMP/err"

check "stop" same "$(crictl stop --timeout 10 "$main")" "$main"
check "its exit code is told" same "$(crictl inspect "$main" | jq -r .status.exitCode)" 3
check "who had attached is let go" eventually 10 eval '! kill -0 "$attached" 2>/dev/null'
check_not "rm, of what runs" crictl rm "$side"
check "rm" same "$(crictl rm --keep-logs "$main")" "$main"
check "rm, by force" crictl rm --force "$side"
kill "$follower" 2>/dev/null || true

# ---- all in one, and the end -----------------------------------------------------

mkdir -p "$E2E_TMP/logs/three"
jq '.metadata.name = "three" | .metadata.uid = "uid-three" | .log_directory = "'"$E2E_TMP/logs/three"'"' "$E2E_TMP/pods/one.json" >"$E2E_TMP/pods/three.json"
jq '.metadata.name = "all"' "$E2E_TMP/pods/one-main.json" >"$E2E_TMP/pods/three-all.json"
check "run" crictl run --with-pull "$E2E_TMP/pods/three-all.json" "$E2E_TMP/pods/three.json"
three=$(crictl pods --quiet --name three)
check "rm --all --force" eval 'crictl rm --all --force && lines 0 ps --all --quiet'
check "stopp" same "$(crictl stopp "$three")" "Stopped sandbox $three"
check "pods, by the other state" same "$(crictl pods --quiet --state notready)" "$three"
check "rmp" same "$(crictl rmp "$three")" "Removed sandbox $three"
check_not "rmp, of what is ready" crictl rmp "$one"
check "rmp, by force" crictl rmp --force "$one"
check "rmp --all --force" eval 'crictl rmp --all --force && lines 0 pods --quiet'
kill "$listener"
wait "$listener" 2>/dev/null || true
for event in CONTAINER_CREATED_EVENT CONTAINER_STARTED_EVENT CONTAINER_STOPPED_EVENT CONTAINER_DELETED_EVENT; do
        check "events have $event" grep -q "$event" "$E2E_TMP/events"
done

pod_run user "$with_cgroup" >/dev/null
container_run user holder 'sleep 1000' >/dev/null
crictl pull "gcr.io/k8s-staging-cri-tools/test-image-1" >/dev/null
check "rmi --prune leaves what is in use" eval 'crictl rmi --prune >/dev/null && same "$(crictl images --quiet | grep -c .)" 1'
pod_remove user
check "rmi" eval 'crictl rmi "$busybox" | has Deleted'
check "rmi --all" eval 'crictl rmi --all; lines 0 images --quiet'

leaks_none "nothing is left"
e2e_end
