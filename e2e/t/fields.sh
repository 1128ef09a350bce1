#!/usr/bin/env bash
# Fields of requests that no other script asks for: each is honoured, or refused by name (docs/CRI.md).
. "${BASH_SOURCE%/*}/../lib.sh"

QUITS=docker.io/library/quits:1         # an image with a stop signal of its own

refuses() {
        local want=$1

        shift
        ! "$@" >"$E2E_TMP/refused" 2>&1 && grep -q "$want" "$E2E_TMP/refused"
}

says() {
        same "$(container_log "$1" "$2")" "$3"
}

# asks METHOD JSON: what crictl has no words for.
asks() {
        "$(program cringle-call)" "$SOCKET" "$@"
}

invalid() {
        refused_with "InvalidArgument.*$1" "${@:2}"
}

# ended ID: "REASON CODE"
ended() {
        container_field "$1" '| "\(.reason) \(.exitCode)"'
}

# in_spec ID FILTER: of the runtime specification that the container has.
in_spec() {
        crictl inspect --output json "$1" | jq -c ".info.runtimeSpec$2"
}

# cgroup_file ID V1-CONTROLLER V1-FILE V2-FILE: in the container's cgroup, as the host sees it.
cgroup_file() {
        local pid path mount

        pid=$(crictl inspect --output json "$1" | jq .info.pid)
        mount=$(awk -v c="$2" '$0 ~ / - cgroup / && ("," $NF ",") ~ ("," c ",") { print $5; exit }' /proc/self/mountinfo)
        path=$(awk -F: -v c="$2" '("," $2 ",") ~ ("," c ",") { print $3 }' "/proc/$pid/cgroup")
        if [[ -n $mount && -n $path ]]; then
                cat "$mount$path/$3"
        else
                mount=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
                cat "$mount$(sed -n 's/^0:://p' "/proc/$pid/cgroup")/$4"
        fi
}

on_v2() {
        [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]
}

e2e_begin fields
registry_start small
mkdir -p "$E2E_TMP/trees/quits/bin" "$E2E_TMP/real"
cp "$(command -v busybox)" "$E2E_TMP/trees/quits/bin/busybox"
ln -s busybox "$E2E_TMP/trees/quits/bin/sh"
"$E2E_DIR/push-images" "$REGISTRY" "$E2E_TMP/trees" <<<'library/quits:1 quits {"StopSignal": "SIGRTMIN+3"}' >/dev/null
agent_start 'images: {pinned: [docker.io/library/busybox:latest]}'
crictl pull "$E2E_IMAGE" >/dev/null
check "a pinned image says so" same "$(crictl images --output json | jq -c '[.images[].pinned]')" '[true]'
leaks_begin


# --- pods ---

pod=$(pod_run web '.linux.sysctls = {"net.core.somaxconn": "777"} | .linux.overhead = {memory_limit_in_bytes: 1048576, cpu_shares: 10}
        | .linux.resources = {memory_limit_in_bytes: 134217728, memory_swap_limit_in_bytes: 268435456, cpuset_cpus: "0",
                unified: {"memory.high": "1000"}, hugepage_limits: [{page_size: "2MB", limit: 4194304}]}
        | .port_mappings = [{protocol: 2, container_port: 5001, host_port: '"$(free_port)"', host_ip: "127.0.0.1"},
                {protocol: 1, container_port: 5002, host_port: 0}]')
pod_info() {
        crictl inspectp --output json "$pod" | jq -c ".info$1"
}
check "a pod's overhead is kept" same "$(pod_info '.overhead | [.memoryLimitInBytes, .cpuShares]')" '[1048576,10]'
check "and its limits" same "$(pod_info '.resources | [.memorySwapLimitInBytes, .cpusetCpus, .unified, .hugepageLimits]')" \
        '[268435456,"0",{"memory.high":"1000"},{"2MB":4194304}]'
check "what the kubelet changes of it is taken over" asks UpdatePodSandboxResources \
        "{\"pod_sandbox_id\": \"$pod\", \"resources\": {\"memory_limit_in_bytes\": 67108864}}"
check "and told" same "$(pod_info '| [.resources.memoryLimitInBytes, .overhead.memoryLimitInBytes]')" '[67108864,1048576]'
check "an unknown pod has no limits" refused_with 'no pod sandbox' asks UpdatePodSandboxResources '{"pod_sandbox_id": "0123456789ab"}'
check "the network is asked for SCTP, and not for what is no port of the host's" same \
        "$(jq -c '[.capabilityArgs.portMappings[] | [.protocol, .containerPort, .hostIP]]' "$E2E_TMP"/cni/cache/results/*"$pod"*)" \
        '[["sctp",5001,"127.0.0.1"]]'
check "a port that is none is refused" invalid '70000:80' pod_run port '.port_mappings = [{container_port: 80, host_port: 70000}]'
check "so is a protocol" invalid 'protocol 3' pod_run port '.port_mappings = [{protocol: 3, container_port: 80, host_port: 8080}]'
check "and an address" invalid "'here' is no address" pod_run port '.port_mappings = [{container_port: 80, host_port: 8080, host_ip: "here"}]'
check "a node's sysctl is refused" invalid "kernel.panic is the node's" pod_run sysctl '.linux.sysctls = {"kernel.panic": "1"}'
check "so is one there is not" invalid 'net/none' pod_run sysctl '.linux.sysctls = {"net.none": "1"}'
check "and a value the kernel does not take" invalid "'many'" pod_run sysctl '.linux.sysctls = {"net.core.somaxconn": "many"}'
check "and one of a namespace that is shared" invalid "shares the node's" pod_run sysctl \
        '.linux = {sysctls: {"net.core.somaxconn": "1"}, security_context: {namespace_options: {network: 2}}}'

# --- images ---

id=$(container_run web main 'cat /proc/sys/net/core/somaxconn; exec sleep 1000')
check "a sysctl is set" eventually 10 says web main 777
check "the status tells the image by its digest" same "$(container_field "$id" .imageRef)" \
        "$(crictl inspecti --output json "$E2E_IMAGE" | jq -r '.status.repoDigests[0]')"
check "and its id" same "$(container_field "$id" .imageId)" "$(crictl inspecti --output json "$E2E_IMAGE" | jq -r .status.id)"
check "a handler that is not there has no images" asks ListImages '{"filter": {"image": {"runtime_handler": "other"}}}'
check "and pulls none" refused_with "no runtime handler 'other'" asks PullImage "{\"image\": {\"image\": \"$E2E_IMAGE\", \"runtime_handler\": \"other\"}}"
check "and removes none" asks RemoveImage "{\"image\": {\"image\": \"$E2E_IMAGE\", \"runtime_handler\": \"other\"}}"
check "and runs none" invalid "no runtime handler 'other'" container_create web other true '.image.runtime_handler = "other"'
check "the images of the default one are still there" crictl inspecti "$E2E_IMAGE"
id=$(container_create web named true '.image.user_specified_image = "busybox"')
check "an image is told as the user wrote it" same "$(container_field "$id" '.image | [.image, .userSpecifiedImage] | join(" ")')" 'busybox busybox'

# --- processes ---

id=$(asks CreateContainer "{\"pod_sandbox_id\": \"$pod\", \"sandbox_config\": $(cat "$E2E_TMP/pods/web.json"), \"config\": {
        \"metadata\": {\"name\": \"bytes\"}, \"image\": {\"image\": \"$E2E_IMAGE\"}, \"log_path\": \"bytes.log\", \"linux\": {},
        \"command\": [\"sh\", \"-c\", \"printf %s \\\"\$RAW\\\" | od -An -tx1; exec sleep 1000\"],
        \"envs\": [{\"key\": \"RAW\", \"value\": \"a"$'\xff\xfe'"z\"}]}}")
crictl start "$id" >/dev/null
check "a variable's bytes need be no UTF-8" eventually 10 says web bytes ' 61 ff fe 7a'
check "nor does who looks at it" crictl inspect "$id"

id=$(container_run web ambient 'sed -n "s/^CapAmb:\t*//p" /proc/self/status; cat /proc/self/oom_score_adj; id' '.linux = {
        security_context: {run_as_user: {value: 1000}, capabilities: {add_ambient_capabilities: ["NET_ADMIN"]}},
        resources: {oom_score_adj: 321}}')
check "ambient capabilities reach who is not root, and the OOM score is as asked" \
        eventually 10 says web ambient $'0000000000001000\n321\nuid=1000 gid=0(root) groups=0(root)'
check "who it runs as is told" same "$(container_field "$id" '.user.linux | [.uid, .gid] | join(" ")')" '1000 0'
check "an unknown capability is refused" invalid NOPE container_create web cap true \
        '.linux.security_context.capabilities.add_ambient_capabilities = ["NOPE"]'
check "an OOM score out of range is refused" invalid 'oom_score_adj 1001' container_create web score true '.linux.resources.oom_score_adj = 1001'
check "a group needs a user" invalid 'without a user' container_create web group true '.linux.security_context.run_as_group = {value: 5}'
check "a user must be in the image" invalid "no user 'who'" container_create web who true '.linux.security_context.run_as_username = "who"'

check "a program that is not there does not start" refused_with 'No such file' container_run web missing true '.command = ["/no/such"]'
check "which the status tells" same "$(ended "$(crictl ps --all --quiet --name missing)")" 'StartError 128'
check "with the reason" same "$(container_field "$(crictl ps --all --quiet --name missing)" '.message | contains("exec /no/such")')" true

check "an unknown signal is refused" invalid 'stop_signal 99' container_create web sig true '.stop_signal = 99'
crictl pull "$QUITS" >/dev/null
id=$(container_run web quits 'trap "echo quit; exit 3" 37; echo ready; while :; do busybox sleep 0.05; done' ".image.image = \"$QUITS\"")
check "an image has its say how it is stopped" same "$(container_field "$id" .stopSignal)" SIGRTMINPLUS3
eventually 10 says web quits ready
check "and is stopped so" eval 'crictl stop --timeout 20 "$id" && says web quits "ready
quit" && same "$(ended "$id")" "Error 3"'

id=$(container_run web signal 'trap "echo usr1; exit 0" USR1; echo ready; while :; do sleep 0.05; done' '.stop_signal = 29')
check "a stop signal of the request is told" same "$(container_field "$id" .stopSignal)" SIGUSR1
eventually 10 says web signal ready
check "it stops" crictl stop --timeout 20 "$id"
check "and by that signal" says web signal $'ready\nusr1'
check "which is no failure" same "$(ended "$id")" 'Completed 0'

id=$(container_run web killed 'kill -9 $$')
check "who is killed has failed" eventually 10 container_is "$id" EXITED
check "with the signal in its code" same "$(ended "$id")" 'Error 137'
id=$(container_run web greedy 'exec tail -n 1 /dev/zero' '.linux.resources.memory_limit_in_bytes = 16777216')
check "who takes too much memory ends" eventually 20 container_is "$id" EXITED
check "and is told why" same "$(ended "$id")" 'OOMKilled 137'

target=$(container_run web target 'exec sleep 1001' '.linux.security_context.namespace_options.pid = 1')
container_run web debug 'tr "\0" " " </proc/1/cmdline; echo; exec sleep 1000' \
        ".linux.security_context.namespace_options = {pid: 3, target_id: \"$target\"}" >/dev/null
check "a debug container is in its target's PID namespace" eventually 10 says web debug 'sleep 1001 '
check "a target that is not there is refused" refuses 'no container of this pod' \
        container_create web lost true '.linux.security_context.namespace_options = {pid: 3, target_id: "none"}'

id=$(container_run web strict 'id -G' '.linux.security_context |= {run_as_user: {value: 0}, supplemental_groups: [77],
        supplemental_groups_policy: 1}')
check "strict groups are those that are named" eventually 10 says web strict '0 77'
check "and told" same "$(container_field "$id" '.user.linux.supplementalGroups | join(" ")')" '0 77'

if [[ ! -e /sys/module/apparmor/parameters/enabled || $(cat /sys/module/apparmor/parameters/enabled) != Y ]]; then
        check "a profile is refused where there is no AppArmor" refuses 'no AppArmor' \
                container_create web armored true '.linux.security_context.apparmor = {profile_type: 2, localhost_ref: "x"}'
fi
check "swap below memory is refused" refuses 'swap' container_create web swap true \
        '.linux.resources = {memory_limit_in_bytes: 33554432, memory_swap_limit_in_bytes: 16777216}'

id=$(container_run web parent '(tail -n 1 /dev/zero); echo on; exec sleep 1000' '.linux.resources.memory_limit_in_bytes = 16777216')
check "whose child was killed for memory runs on" eventually 20 grep -q ' on$' "$E2E_TMP/logs/web/parent.log"
crictl stop --timeout 0 "$id" >/dev/null
check "and is not told to have been killed for it" same "$(ended "$id")" 'Error 137'

# --- confinement ---

check "a seccomp profile has an absolute path" invalid 'not an absolute path' \
        container_create web sec true '.linux.security_context.seccomp = {profile_type: 2, localhost_ref: "profile.json"}'
check "and is there" refused_with 'No such file' \
        container_create web sec true '.linux.security_context.seccomp = {profile_type: 2, localhost_ref: "/no/such"}'
echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 7}' >"$E2E_TMP/bad.json"
check "and is one" refused_with 'bad.json' \
        container_create web sec true ".linux.security_context.seccomp = {profile_type: 2, localhost_ref: \"$E2E_TMP/bad.json\"}"
check "of a type there is" invalid 'profile type 7' container_create web sec true '.linux.security_context.seccomp = {profile_type: 7}'
echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}' >"$E2E_TMP/profile.json"
container_run web seccomp 'mkdir /x 2>/dev/null || echo no; sed -n "s/^Seccomp:.//p" /proc/self/status' \
        ".linux.security_context.seccomp = {profile_type: 2, localhost_ref: \"$E2E_TMP/profile.json\"}" >/dev/null
check "it holds" eventually 10 says web seccomp $'no\n2'
container_run web before 'mkdir /x 2>/dev/null || echo no' ".linux.security_context.seccomp_profile_path = \"localhost/$E2E_TMP/profile.json\"" >/dev/null
check "so does one in the field of before" eventually 10 says web before no
container_run web unfiltered 'sed -n "s/^Seccomp:.//p" /proc/self/status' '.linux.security_context = {seccomp: {profile_type: 1},
        seccomp_profile_path: "runtime/default"}' >/dev/null
check "the field of today counts more" eventually 10 says web unfiltered 0

masks='grep -c " /proc/" /proc/self/mountinfo; exec sleep 1000'
container_run web masked "$masks" '.linux.security_context = {masked_paths: ["/proc/version", "/proc/none"], readonly_paths: ["/proc/sys"]}' >/dev/null
check "paths are hidden and read-only as listed" eventually 10 says web masked 2
container_run web bare "$masks" '.linux.security_context = {masked_paths: [], readonly_paths: []}' >/dev/null
check "and none when none is" eventually 10 says web bare 0

if [[ ! -e /sys/fs/selinux/enforce ]]; then
        check "SELinux options are refused where there is no SELinux" refused_with 'gives no labels' \
                container_create web labelled true '.linux.security_context.selinux_options = {type: "container_t"}'
        check "a relabelled mount is a mount" container_run web relabelled true \
                ".mounts = [{container_path: \"/volume\", host_path: \"$E2E_TMP/real\", selinux_relabel: true}]"
fi

# --- mounts and devices ---

echo content >"$E2E_TMP/real/file"
ln -s real "$E2E_TMP/link"
container_run web link 'cat /volume/file' ".mounts = [{container_path: \"/volume\", host_path: \"$E2E_TMP/link\"}]" >/dev/null
check "a volume may be a link" eventually 10 says web link content
check "a propagation there is not is refused" invalid 'propagation 7' container_create web propagation true \
        ".mounts = [{container_path: \"/volume\", host_path: \"$E2E_TMP\", propagation: 7}]"

id=$(container_run web device 'head -c 3 /dev/nothing/zero | od -An -tx1; echo x >/dev/nothing/zero || echo denied; exec sleep 1000' \
        '.devices = [{container_path: "/dev/nothing/zero", host_path: "/dev/zero", permissions: "r"}]')
check "a device has its place" eventually 10 grep -q ' 00 00 00$' "$E2E_TMP/logs/web/device.log"
check "and its rule" same "$(in_spec "$id" '.linux.resources.devices[-1] | [.allow, .major, .minor, .access]')" '[true,1,5,"r"]'
check "one that is not there is refused" refused_with 'No such file' container_create web dev true \
        '.devices = [{container_path: "/dev/x", host_path: "/dev/no/such", permissions: "r"}]'
check "so is what is no device" invalid 'is no device' container_create web dev true \
        '.devices = [{container_path: "/dev/x", host_path: "/etc/passwd", permissions: "r"}]'
check "and what is no permission" invalid "'rx'" container_create web dev true \
        '.devices = [{container_path: "/dev/x", host_path: "/dev/zero", permissions: "rx"}]'

# --- limits ---

id=$(container_run web limited 'exec sleep 1000' '.linux.resources = {memory_limit_in_bytes: 33554432, memory_swap_limit_in_bytes: 67108864,
        cpu_shares: 256, cpuset_cpus: "0", hugepage_limits: [{page_size: "2MB", limit: 4194304}, {page_size: "64KB", limit: 0}]}')
check "pages of a size there is are limited, and there are none of others" \
        same "$(cgroup_file "$id" hugetlb hugetlb.2MB.limit_in_bytes hugetlb.2MB.max)" 4194304
if on_v2; then
        check "swap is what memory and swap have over memory" same "$(cgroup_file "$id" - - memory.swap.max)" 33554432
        check "it is told what is left of it" same "$(crictl stats --output json "$id" | jq -r '.stats[0].swap.swapAvailableBytes.value')" 33554432
        check "shares are a weight" same "$(cgroup_file "$id" - - cpu.weight)" 35
        id2=$(container_run web unified 'exec sleep 1000' '.linux.resources.unified = {"memory.high": "20971520", "memory.low": "4194304"}')
        check "keys of cgroup v2 are set" same "$(cgroup_file "$id2" - - memory.high) $(cgroup_file "$id2" - - memory.low)" '20971520 4194304'
        check "one there is not is refused" refused_with 'memory.none' container_create web key true '.linux.resources.unified = {"memory.none": "1"}'
else
        check "keys of cgroup v2 are refused" refused_with 'memory.high' container_create web key true '.linux.resources.unified = {"memory.high": "1"}'
fi
check "so are files that are no limit" invalid 'cgroup.procs' container_create web key true '.linux.resources.unified = {"cgroup.procs": "1"}'
check "and what is no size of pages" invalid "'two'" container_create web pages true \
        '.linux.resources.hugepage_limits = [{page_size: "two", limit: 1}]'
check "and pages there are not" refused_with 64KB container_create web pages true \
        '.linux.resources.hugepage_limits = [{page_size: "64KB", limit: 65536}]'
check "a swap limit needs a memory limit" invalid 'needs a memory limit' container_create web swap true \
        '.linux.resources = {memory_swap_limit_in_bytes: 16777216}'

all_limits() {
        cgroup_file "$1" memory memory.limit_in_bytes memory.max
        cgroup_file "$1" cpuset cpuset.cpus cpuset.cpus
        in_spec "$1" '.linux.resources | [.cpu.cpus, .cpu.shares, .memory.limit]'
        container_field "$1" '.resources.linux | [.cpusetCpus, .cpuShares, .memoryLimitInBytes]'
}
before=$(all_limits "$id")
check_not "an update that cannot be whole is refused" asks UpdateContainerResources "{\"container_id\": \"$id\", \"linux\":
        {\"memory_limit_in_bytes\": 50331648, \"cpu_shares\": 512, \"cpuset_cpus\": \"0-4000\"}}"
check "and changes nothing: no file, no specification, no status" same "$(all_limits "$id")" "$before"
check "one that can is done" asks UpdateContainerResources "{\"container_id\": \"$id\", \"linux\":
        {\"memory_limit_in_bytes\": 50331648, \"cpu_shares\": 512}}"
check "and all of them have it" same "$(all_limits "$id" | tr -d ' \n')" '503316480["0",512,50331648]["0","512","50331648"]'
if [[ -e /proc/pressure/cpu ]]; then
        check "pressure is told" same "$(crictl stats --output json "$id" | jq -c '.stats[0] | [.cpu, .memory, .io] | map(.psi.Full.Total != null)')" \
                '[true,true,true]'
fi

check "the pod goes" pod_remove web
leaks_none "nothing stayed behind"

# --- writable layers on a file system of their own ---

agent_stop
mkdir "$E2E_TMP/writable"
mount -t tmpfs tmpfs "$E2E_TMP/writable"
agent_start "image: {settings: {writable: $E2E_TMP/writable}}"
leaks_begin
images_use() {
        crictl imagefsinfo --output json | jq -r '.status.imageFilesystems[0].usedBytes.value'
}
before=$(images_use)
pod_run apart >/dev/null
id=$(container_run apart main 'head -c 1000000 /dev/zero >/file; exec sleep 1000')
check "two file systems are told" same "$(crictl imagefsinfo --output json |
        jq -r '.status | [.imageFilesystems, .containerFilesystems] | map(.[0].fsId.mountpoint) | join(" ")')" \
        "$AGENT_ROOT/images $E2E_TMP/writable"
check "what is written is in the second" eventually 10 eval '[[ $(stat -c %s "$E2E_TMP/writable/containers/$id/upper/file") == 1000000 ]]'
check "and counted there" eventually 60 eval \
        '(($(crictl imagefsinfo --output json | jq -r ".status.containerFilesystems[0].usedBytes.value") >= 1000000))'
check "and not in the first" same "$(images_use)" "$before"
check "the container's statistics name the second, too" same \
        "$(crictl stats --output json "$id" | jq -r '.stats[0].writableLayer.fsId.mountpoint')" "$E2E_TMP/writable"
check "this pod goes, too" pod_remove apart
check "and nothing of it is left there" same "$(find "$E2E_TMP/writable" -mindepth 2)" ''
leaks_none "nothing stayed behind then, either"
e2e_end
