#!/usr/bin/env bash
# Statistics of real load: what a burner, a hoarder and a talker use is what is told.
. "${BASH_SOURCE%/*}/../lib.sh"

# stat_of ID FILTER: of a container's statistics.
stat_of() {
        crictl stats --output json "$1" | jq -r ".stats[0]$2"
}

# within LEAST MOST NUMBER
within() {
        echo "$3"
        [[ $3 =~ ^[0-9]+$ ]] && (($3 >= $1 && $3 <= $2))
}

e2e_begin stats
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
leaks_begin
limits='.linux.resources = {cpu_period: 100000, cpu_quota: 50000, memory_limit_in_bytes: 134217728}'
# Not by the shell function: its own process is the one to end.
"$(cri_tool crictl)" --config /dev/null --runtime-endpoint "unix://$SOCKET" events --output json \
        >"$E2E_TMP/events" 2>&1 &
listener=$!
sleep 0.5
pod_run load '.linux.cgroup_parent = "'"$AGENT_PODS"'"' >/dev/null
burner=$(container_run load burner 'while :; do :; done' "$limits")
# So little that the busiest machine gives it more.
miser=$(container_run load miser 'while :; do :; done' '.linux.resources = {cpu_period: 100000, cpu_quota: 1000}')
hoarder=$(container_run load hoarder 'head -c 20000000 /dev/zero >/tmp/file; x=$(head -c 12000000 /dev/urandom | base64); echo up; sleep 1000; echo ${#x}' \
        "$limits")
eventually 20 grep -q up "$E2E_TMP/logs/load/hoarder.log"

before=$(stat_of "$burner" .cpu.usageCoreNanoSeconds.value)
sleep 3
after=$(stat_of "$burner" .cpu.usageCoreNanoSeconds.value)
check "half a processor's quota is what a burner uses" within 100000000 2400000000 $((after - before))
check "as a rate, too" within 20000000 700000000 "$(stat_of "$burner" .cpu.usageNanoCores.value)"
check "what a process holds counts as used" within 16000000 134217728 "$(stat_of "$hoarder" .memory.rssBytes.value)"
working=$(stat_of "$hoarder" .memory.workingSetBytes.value)
check "what is available is the rest of the limit" \
        within $((134217728 - working - 4000000)) $((134217728 - working + 4000000)) \
        "$(stat_of "$hoarder" .memory.availableBytes.value)"
check "a file in the writable layer is found" eventually 60 eval \
        'within 20000000 21000000 "$(stat_of "$hoarder" .writableLayer.usedBytes.value)"'
check "its file system is that of the images" same "$(stat_of "$hoarder" .writableLayer.fsId.mountpoint)" \
        "$(crictl imagefsinfo --output json | jq -r .status.imageFilesystems[0].fsId.mountpoint)"

pod_stat() {
        crictl statsp --output json --id "$(pod_id load)" | jq -r ".stats[0].linux$1"
}
check "a pod has all its containers" same "$(pod_stat '.containers | length')" 3
check "and its processes" within 2 20 "$(pod_stat .process.processCount.value)"
check "and their memory" within 16000000 268435456 "$(pod_stat .memory.workingSetBytes.value)"
check "its interface is eth0" same "$(pod_stat .network.defaultInterface.name)" eth0
sent=$(pod_stat .network.defaultInterface.txBytes.value)
crictl exec --sync "$hoarder" sh -c 'gate=$(ip route | sed -n "s/default via \([^ ]*\).*/\1/p"); ping -c 3 -i 0.2 -s 1000 "$gate"' >/dev/null
check "what went over it is counted" within 3000 1000000 $(($(pod_stat .network.defaultInterface.txBytes.value) - sent))

crictl metricsp --output json >"$E2E_TMP/metrics"
# metric ID NAME: of a container.
metric() {
        jq -r --arg id "$1" --arg name "container_$2" \
                '.podMetrics[].containerMetrics[] | select(.containerId == $id) | .metrics[] | select(.name == $name) | .value.value // "0"' \
                "$E2E_TMP/metrics" | head -n 1
}
check "metrics: CPU time in seconds" within 1 60 "$(metric "$burner" cpu_usage_seconds_total)"
check "metrics: the quota was used up" within 1 1000 "$(metric "$miser" cpu_cfs_throttled_periods_total)"
check "metrics: memory at most" within 16000000 134217728 "$(metric "$hoarder" memory_max_usage_bytes)"
check "metrics: processes" within 2 2 "$(metric "$hoarder" processes)"
check "metrics: open files" within 3 60 "$(metric "$hoarder" file_descriptors)"
check "metrics: the limit" same "$(metric "$burner" spec_memory_limit_bytes)" 134217728
check "metrics: when it was started" within $(($(date +%s) - 120)) "$(date +%s)" "$(metric "$burner" start_time_seconds)"
check "metrics: what went over the network" \
        within 3000 1000000 "$(jq -r '.podMetrics[].metrics[] | select(.name == "container_network_transmit_bytes_total") | .value.value' "$E2E_TMP/metrics" | head -n 1)"
# Of the names a kubelet knows, those of cgroup v2 and of hardware that is not everywhere may be without a value.
check "metrics: no name is without a value" same \
        "$(jq -r '.descriptors[].name' <(crictl metricdescs --output json) | sort -u | comm -23 - \
                <(jq -r '.podMetrics[] | (.metrics, .containerMetrics[].metrics)[].name' "$E2E_TMP/metrics" | sort -u) |
                grep -Ev '_(pressure|hugetlb|blkio|fs_(reads|writes))_' || true)" ""

# limit_is V1FILE V2FILE VALUE [V2VALUE]: as the kernel has it for the burner.
limit_is() {
        local top

        for top in $(cgroup_mounts); do
                if [[ -f $top$AGENT_CGROUP/pods/$burner/$1 ]]; then
                        same "$(cat "$top$AGENT_CGROUP/pods/$burner/$1")" "$3"
                        return
                elif [[ -f $top$AGENT_CGROUP/pods/$burner/$2 ]]; then
                        same "$(cat "$top$AGENT_CGROUP/pods/$burner/$2")" "${4-$3}"
                        return
                fi
        done
        echo "neither $1 nor $2"
        return 1
}
check "limits of what runs are changed" crictl update --cpu-quota 20000 --cpu-period 100000 --memory 67108864 "$burner"
check "the kernel has the new quota" limit_is cpu.cfs_quota_us cpu.max 20000 "20000 100000"
check "and the new memory limit" limit_is memory.limit_in_bytes memory.max 67108864
check "the status tells it" same "$(container_field "$burner" .resources.linux.memoryLimitInBytes)" 67108864
check_not "less memory than is held is refused" crictl update --memory 4194304 "$hoarder"
check "and nothing is killed for it" container_is "$hoarder" RUNNING
check_not "a container that is not there cannot be changed" crictl update --memory 67108864 0123456789abcdef

check "all go" pod_remove load
# told ID KIND: among the events heard so far.
told() {
        jq --arg id "$1" --arg type "CONTAINER_$2_EVENT" \
                'select(.containerId == $id and .containerEventType == $type) | .podSandboxStatus.metadata.name' \
                "$E2E_TMP/events" | grep -q load
}
for kind in CREATED STARTED STOPPED DELETED; do
        check "that the burner was $kind is told" eventually 5 told "$burner" "$kind"
        check "and of the pod" eventually 5 told "$(pod_id load)" "$kind"
done
stop_pid "$listener"
leaks_none "nothing is left"
e2e_end
