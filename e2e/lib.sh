# Shell functions that the end-to-end scripts share; sourced, never run.
#
# A script sources this file, calls e2e_begin, starts what it needs and reports
# with check/pass/fail/skip; e2e_end prints the count and sets the exit status.
# Whatever it started or made ends with it: every start function registers its
# own clean-up, and clean-ups run in reverse order on any exit.
#
#   e2e_begin NAME              scratch directory $E2E_TMP, clean-up on exit
#   at_exit COMMAND...          one more clean-up
#   check "what" COMMAND...     run it; passed or failed by its exit status
#   eventually SECONDS CMD...   wait until it succeeds
#   registry_start small|conformance    $REGISTRY, HOST:PORT, serving the images
#   network_make                $NETWORK_CONF: a bridge network of this script's own
#   agent_start [YAML]          $SOCKET, $AGENT_PID; YAML is laid over the configuration
#   agent_stop, agent_kill      SIGTERM and wait, SIGKILL and wait; agent_start again restarts it
#   cringle ..., crictl ...     the command lines, on $SOCKET
#   unit_install                the agent as a unit of systemd instead, where e2e/vm has made a machine for it
#   pod_run, container_run, ... pods from one line, through crictl
#   leaks_begin, leaks_none     nothing may stay behind between the two
#
# Environment: CRINGLE_BUILD (default build/rel), the build tree whose programs are
# tested; CRINGLE_CACHE (default .cache), what is slow to make, kept between runs;
# E2E_CGROUP_DRIVER, cgroupfs (default) or systemd; E2E_KEEP=1, leave the scratch directory and
# logs in place; E2E_PATIENCE (default 1), what time limits are multiplied by, for a machine that
# is slow; E2E_SHARED=1, others use this machine at the same time: of leaks, only those that bear
# the script's own names are looked at.

set -euo pipefail

E2E_DIR=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
E2E_TOP=${E2E_DIR%/*}
E2E_CACHE=${CRINGLE_CACHE:-$E2E_TOP/.cache}
E2E_BUILD=${CRINGLE_BUILD:-$E2E_TOP/build/rel}
E2E_PATIENCE=${E2E_PATIENCE:-1}
mkdir -p "$E2E_CACHE"

# ---- scratch directory and clean-up ----------------------------------------------

E2E_CLEANUP=()
E2E_PASSED=0 E2E_FAILED=0 E2E_SKIPPED=0

# Set from here on: no function below leaves a variable unset on an error path.
E2E_NAME='' E2E_TMP='' E2E_STOPPED='' E2E_ENDED='' REGISTRY='' REGISTRY_PID='' AGENT_PID='' SOCKET=''
AGENT_UNITS=''    # under the systemd driver: how its units begin

e2e_begin() {
        E2E_NAME=$1
        E2E_TMP=$(mktemp -d "${TMPDIR:-/tmp}/cringle-$E2E_NAME.XXXXXX")
        set -o errtrace
        trap 'E2E_STOPPED="${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
        trap e2e_cleanup EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
}

at_exit() {
        E2E_CLEANUP+=("$(printf '%q ' "$@")")
}

e2e_cleanup() {
        local status=$? i

        trap - EXIT ERR
        trap '' INT TERM HUP
        set +e
        if ((status != 0 && status != 77)) && [[ -z $E2E_ENDED ]]; then
                echo "# stopped with status $status${E2E_STOPPED:+ at $E2E_STOPPED}" >&2
                agent_log_tail
        fi
        for ((i = ${#E2E_CLEANUP[@]} - 1; i >= 0; i--)); do
                eval "${E2E_CLEANUP[i]}"
        done
        if [[ ${E2E_KEEP-} == 1 ]]; then
                echo "# kept: $E2E_TMP"
        else
                unmount_below "$E2E_TMP"
                rm -rf --one-file-system "$E2E_TMP"
        fi
        exit $status
}

# unmount_below DIRECTORY: everything mounted in it, the latest first.
unmount_below() {
        local point

        while read -r point; do
                umount --lazy "$(printf '%b' "$point")"
        done < <(awk -v top="$1/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo | tac)
}

# stop_pid PID [SIGNAL]: end a child of this shell and reap it.  SIGKILL after ten seconds.
stop_pid() {
        local pid=$1 i

        kill -s "${2:-TERM}" "$pid" 2>/dev/null || true
        for ((i = 0; i < 100 * E2E_PATIENCE; i++)); do
                if ! kill -0 "$pid" 2>/dev/null || [[ $(process_state "$pid") == Z ]]; then
                        wait "$pid" 2>/dev/null || true
                        return 0
                fi
                sleep 0.1
        done
        echo "# process $pid ignored SIG${2:-TERM} for $((10 * E2E_PATIENCE)) s; killing it" >&2
        kill -s KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        return 1
}

process_state() {
        sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null || true
}

# refused_with WORDS COMMAND...: it fails, and says so in these words (a regular expression).
refused_with() {
        local words=$1 said

        shift
        if said=$("$@" 2>&1); then
                echo "succeeded, but must not: $said"
                return 1
        fi
        echo "$said"
        grep -q "$words" <<<"$said"
}

# ---- reporting -----------------------------------------------------------------

pass() {
        E2E_PASSED=$((E2E_PASSED + 1))
        echo "ok - $1"
}

# fail WHAT [FILE]: FILE is shown.
fail() {
        E2E_FAILED=$((E2E_FAILED + 1))
        echo "not ok - $1"
        if [[ -n ${2-} && -s $2 ]]; then
                tail -n 30 "$2" | sed 's/^/#   /'
        fi
}

skip() {
        E2E_SKIPPED=$((E2E_SKIPPED + 1))
        echo "ok - $1 # SKIP $2"
}

check() {
        local what=$1 out=$E2E_TMP/check.out

        shift
        if "$@" >"$out" 2>&1; then
                pass "$what"
        else
                fail "$what" "$out"
        fi
}

# check_not WHAT COMMAND...: the command must fail.
check_not() {
        local what=$1 out=$E2E_TMP/check.out

        shift
        if "$@" >"$out" 2>&1; then
                fail "$what: succeeded, but must not" "$out"
        else
                pass "$what"
        fi
}

# skip_all REASON: the whole script cannot run here; tests/run counts it as skipped.
skip_all() {
        echo "1..0 # SKIP $1"
        exit 77
}

e2e_end() {
        E2E_ENDED=1
        ((E2E_FAILED == 0)) || agent_log_tail
        echo "$E2E_PASSED passed, $E2E_FAILED failed, $E2E_SKIPPED skipped"
        ((E2E_FAILED == 0 && E2E_PASSED + E2E_SKIPPED > 0)) || exit 1
        exit 0
}

agent_log_tail() {
        if [[ -s $E2E_TMP/agent.log ]]; then
                echo "# the agent's log ends:"
                tail -n 30 "$E2E_TMP/agent.log" | sed 's/^/#   /'
        fi
}

eventually() {
        local deadline=$((SECONDS + $1 * E2E_PATIENCE))

        shift
        until "$@" >/dev/null 2>&1; do
                ((SECONDS < deadline)) || return 1
                sleep 0.05
        done
}

# ---- registry ------------------------------------------------------------------

# The kernel picks the port; ports near 12000 are critest's own host ports.
free_port() {
        python3 - <<'P'
import socket
while True:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    if not 11900 < port < 12100:
        print(port)
        break
P
}

# registry_serve STORAGE: serve it on a free port of loopback; sets $REGISTRY.
registry_serve() {
        local storage=$1 try

        for try in 1 2 3; do
                REGISTRY=127.0.0.1:$(free_port)
                cat >"$E2E_TMP/registry.yaml" <<Y
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $storage}
  delete: {enabled: true}
http: {addr: $REGISTRY}
Y
                docker-registry serve "$E2E_TMP/registry.yaml" >"$E2E_TMP/registry.log" 2>&1 &
                REGISTRY_PID=$!
                if eventually 5 http_answers "$REGISTRY" && kill -0 "$REGISTRY_PID"; then
                        at_exit registry_stop
                        return 0
                fi
                stop_pid "$REGISTRY_PID"
        done
        echo "# the registry did not start, try $try:" >&2
        tail -n 5 "$E2E_TMP/registry.log" >&2
        return 1
}

http_answers() {
        exec 8<>"/dev/tcp/${1/://}" || return 1
        exec 8>&-
}

registry_stop() {
        if [[ -n $REGISTRY_PID ]]; then
                stop_pid "$REGISTRY_PID"
                REGISTRY_PID=''
        fi
}

# registry_start small|conformance: the images of e2e/images, on a copy that tests may push to.
registry_start() {
        local storage

        storage=$("$E2E_DIR/images" "$1")
        mkdir -p "$E2E_TMP/registry"
        cp -a --reflink=auto "$storage/." "$E2E_TMP/registry/"
        registry_serve "$E2E_TMP/registry"
}

# ---- Go programs ---------------------------------------------------------------

# A Go that builds e2e/critest-module.  Where the installed one is too old, the one that
# go.mod names is fetched as a module: Debian 12's cannot switch by itself, and a
# toolchain's module comes without execute permissions.
go_ready() {
        local least wanted have arch got

        least=$(awk '$1 == "go" { print $2 }' "$E2E_DIR/critest-module/go.mod")
        wanted=$(awk '$1 == "toolchain" { print substr($2, 3) }' "$E2E_DIR/critest-module/go.mod")
        have=$(GOTOOLCHAIN=local go version | sed -E 's/.* go([0-9.]+).*/\1/')
        if [[ $(printf '%s\n' "$least" "$have" | sort -V | head -n 1) == "$least" ]]; then
                return 0
        fi
        if [[ ! -x $E2E_CACHE/go-$wanted/bin/go ]]; then
                arch=$(GOTOOLCHAIN=local go env GOARCH)
                got=$(cd / && GOTOOLCHAIN=local GOFLAGS=-mod=mod GO111MODULE=on \
                        go mod download -json "golang.org/toolchain@v0.0.1-go$wanted.linux-$arch") || {
                        echo "# go $have is older than $least, and a newer one could not be had: $got" >&2
                        return 1
                }
                got=$(sed -nE 's/^\s*"Dir": "(.*)",?$/\1/p' <<<"$got")
                rm -rf "$E2E_CACHE/go-$wanted.new"
                cp -r "$got" "$E2E_CACHE/go-$wanted.new"
                chmod -R u+w "$E2E_CACHE/go-$wanted.new"
                chmod +x "$E2E_CACHE/go-$wanted.new"/bin/* "$E2E_CACHE/go-$wanted.new"/pkg/tool/*/*
                mv "$E2E_CACHE/go-$wanted.new" "$E2E_CACHE/go-$wanted"
        fi
        unset GOROOT
        export PATH=$E2E_CACHE/go-$wanted/bin:$PATH
}

# cri_tool critest|crictl|ginkgo: prints the program's path; built at most once per go.sum.
cri_tool() {
        local sum out

        sum=$(cat "$E2E_DIR"/critest-module/go.{mod,sum} | sha256sum | cut -c1-16)
        out=$E2E_CACHE/cri-tools-$sum/$1
        if [[ ! -x $out ]]; then
                (
                        exec 9>"$E2E_CACHE/cri-tools.lock" >&2
                        flock 9
                        [[ ! -x $out ]] || exit 0
                        echo "# building $1"
                        go_ready
                        mkdir -p "${out%/*}"
                        cd "$E2E_DIR/critest-module"
                        export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0
                        case $1 in
                        critest) go test -c -o "$out.new" sigs.k8s.io/cri-tools/cmd/critest ;;
                        ginkgo) go build -o "$out.new" github.com/onsi/ginkgo/v2/ginkgo ;;
                        *) go build -o "$out.new" "sigs.k8s.io/cri-tools/cmd/$1" ;;
                        esac
                        mv "$out.new" "$out"
                ) || return 1
        fi
        echo "$out"
}

# nri_plugin: prints the path of the program of e2e/nri-module; built once per change of it.
nri_plugin() {
        local sum out

        sum=$(cat "$E2E_DIR"/nri-module/{go.mod,go.sum,main.go} | sha256sum | cut -c1-16)
        out=$E2E_CACHE/nri-plugin-$sum
        if [[ ! -x $out ]]; then
                (
                        exec >&2
                        go_ready
                        cd "$E2E_DIR/nri-module"
                        GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -o "$out.new" .
                        mv "$out.new" "$out"
                ) || return 1
        fi
        echo "$out"
}

# ---- network -------------------------------------------------------------------

# network_make: a bridge network of this script's own, removed at the end.  Sets
# $NETWORK_CONF (directory of the conflist), $NETWORK_DATA (address reservations)
# and $NETWORK_BRIDGE.
network_make() {
        local subnet

        NETWORK_CONF=$E2E_TMP/cni/net.d NETWORK_DATA=$E2E_TMP/cni/data
        NETWORK_BRIDGE=crg$(printf '%06x' $((BASHPID % 0x1000000)))
        subnet=$(free_subnet)
        mkdir -p "$NETWORK_CONF" "$NETWORK_DATA"
        cat >"$NETWORK_CONF/10-e2e.conflist" <<J
{
  "cniVersion": "1.0.0",
  "name": "$NETWORK_BRIDGE",
  "plugins": [
    {
      "type": "bridge", "bridge": "$NETWORK_BRIDGE", "isGateway": true, "ipMasq": true,
      "ipam": {
        "type": "host-local", "dataDir": "$NETWORK_DATA",
        "ranges": [[{"subnet": "$subnet"}]], "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
  ]
}
J
        at_exit network_remove
}

# The bridge plugin leaves its bridge behind by design.
network_remove() {
        ip link delete "$NETWORK_BRIDGE" 2>/dev/null || true
}

# A /24 that no address of this host is in.
free_subnet() {
        local n

        while :; do
                n=$((RANDOM % 250))
                if ! ip -4 -o address show | grep -q " 10\.213\.$n\."; then
                        echo "10.213.$n.0/24"
                        return 0
                fi
        done
}

# ---- agent ---------------------------------------------------------------------

# program NAME: its path in the build tree.
program() {
        local found

        found=$(find "$E2E_BUILD" -type f -name "$1" -perm -u+x -print -quit 2>/dev/null)
        if [[ -z $found ]]; then
                echo "# no $1 in $E2E_BUILD; build it first: tests/run build" >&2
                return 1
        fi
        echo "$found"
}

# agent_setup: directories and configuration below $E2E_TMP.  agent_start calls it once.
agent_setup() {
        local dir plugins='' registry registries=' {}' cgroups

        AGENT_PROGRAM=$(program cringled)
        CLI_PROGRAM=$(program cringle)
        AGENT_ROOT=$E2E_TMP/root AGENT_STATE=$E2E_TMP/run
        if [[ ${E2E_CGROUP_DRIVER-} == systemd ]]; then
                AGENT_UNITS=cringle_${E2E_NAME//-/_}_$$
                AGENT_CGROUP=/$AGENT_UNITS.slice AGENT_PODS=$AGENT_UNITS-pods.slice
                cgroups="cgroup: {plugin: cgroup-systemd, settings: {slice: $AGENT_UNITS.slice, prefix: $AGENT_UNITS}}"
                cgroups+=$'\n'"cgroups: {default_parent: $AGENT_PODS}"
        else
                AGENT_CGROUP=/cringle-$E2E_NAME-${E2E_TMP##*.}
                AGENT_PODS=$AGENT_CGROUP/pods
                cgroups="cgroup: {plugin: cgroup-fs}"
                cgroups+=$'\n'"cgroups: {monitor_parent: $AGENT_CGROUP/monitors, default_parent: $AGENT_PODS}"
        fi
        SOCKET=$AGENT_STATE/cringle.sock
        mkdir -p "$AGENT_ROOT" "$AGENT_STATE" "$E2E_TMP/etc/conf.d" "$E2E_TMP/hooks.d"
        chmod 0755 "$E2E_TMP"
        [[ -n ${NETWORK_CONF-} ]] || network_make

        while read -r dir; do
                plugins+="$dir, "
        done < <(find "$E2E_BUILD/plugins" "$E2E_BUILD/hooks" -name '*.so' -printf '%h\n' 2>/dev/null | sort -u)

        if [[ -n $REGISTRY ]]; then
                registries=$'\n'
                for registry in docker.io registry.k8s.io k8s.gcr.io gcr.io; do
                        registries+="  $registry: {mirrors: [{url: 'http://$REGISTRY', plain_http: true}]}"$'\n'
                done
        fi

        cat >"$E2E_TMP/etc/config.yaml" <<Y
root: $AGENT_ROOT
state: $AGENT_STATE
socket: $SOCKET
log_level: debug
programs:
  monitor: $(program cringle-monitor)
  hold: $(program cringle-hold)
  pull: $(program cringle-pull)
  stream: $(program cringle-stream)
plugins: {dirs: [${plugins%, }]}
cni:
  conf_dir: $NETWORK_CONF
  bin_dirs: [/usr/lib/cni]
  cache_dir: $E2E_TMP/cni/cache
$cgroups
hooks: {dirs: [$E2E_TMP/hooks.d]}
nri:
  socket: $AGENT_STATE/nri.sock
  plugin_dir: $E2E_TMP/nri/plugins
  config_dir: $E2E_TMP/nri/conf.d
registries:$registries
Y
        at_exit agent_sweep
}

# agent_start [YAML]: start or restart it; YAML becomes a drop-in of the configuration.
agent_start() {
        [[ -n ${AGENT_PROGRAM-} ]] || agent_setup
        if [[ -n ${1-} ]]; then
                printf '%s\n' "$1" >"$E2E_TMP/etc/conf.d/50-$E2E_NAME.yaml"
        fi
        "$AGENT_PROGRAM" --config "$E2E_TMP/etc/config.yaml" >>"$E2E_TMP/agent.log" 2>&1 &
        AGENT_PID=$!
        if ! agent_answers $((10 * E2E_PATIENCE)); then
                echo "# the agent does not answer on $SOCKET; its log ends:" >&2
                tail -n 20 "$E2E_TMP/agent.log" >&2
                return 1
        fi
}

# agent_answers SECONDS: a killed agent leaves its socket file, so connecting is what counts.
agent_answers() {
        python3 - "$1" "$SOCKET" "$AGENT_PID" <<'P'
import os, socket, sys, time
deadline = time.monotonic() + float(sys.argv[1])
while time.monotonic() < deadline and os.path.exists("/proc/" + sys.argv[3]):
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(sys.argv[2])
            sys.exit(0)
    except OSError:
        time.sleep(0.02)
sys.exit(1)
P
}

agent_stop() {
        [[ -z $AGENT_PID ]] || stop_pid "$AGENT_PID" TERM
        AGENT_PID=''
}

agent_kill() {
        [[ -z $AGENT_PID ]] || stop_pid "$AGENT_PID" KILL
        AGENT_PID=''
}

# Whatever a failed test left running: every process in the cgroups that only this
# script's agent uses, then the cgroups; mounts go with the scratch directory.
agent_sweep() {
        local top directory pid try

        agent_stop || true
        for top in $(cgroup_mounts); do
                [[ -d $top$AGENT_CGROUP ]] || continue
                for try in 1 2 3 4 5; do
                        while read -r directory; do
                                while read -r pid; do
                                        kill -s KILL "$pid" 2>/dev/null
                                done <"$directory/cgroup.procs"
                                rmdir "$directory" 2>/dev/null
                        done < <(find "$top$AGENT_CGROUP" -depth -type d)
                        [[ -d $top$AGENT_CGROUP ]] || break
                        sleep 0.$try
                done
        done 2>/dev/null
        if [[ -n $AGENT_UNITS && -d /run/systemd/system ]]; then
                systemctl stop "$AGENT_UNITS.slice" || true
        fi
}

# unit_possible: on a machine of its own, booted with systemd, with an installed tree beside e2e/.
unit_possible() {
        [[ -d /run/systemd/system && -d $E2E_TOP/installed ]] || skip_all "no machine with systemd and an installed tree"
}

# unit_install [YAML]: the installed tree goes to /, with the test's network and registry; `systemctl start cringle` starts it.
unit_install() {
        network_make
        cp -a "$E2E_TOP/installed/." /
        mkdir -p /etc/cni/net.d /etc/cringle/conf.d
        cp "$NETWORK_CONF"/*.conflist /etc/cni/net.d/
        cat >/etc/cringle/conf.d/50-unit.yaml <<Y
registries:
  docker.io: {mirrors: [{url: 'http://$REGISTRY', plain_http: true}]}
  registry.k8s.io: {mirrors: [{url: 'http://$REGISTRY', plain_http: true}]}
${1-}
Y
        # With the systemd driver nothing is said, for it is what such a machine gets.
        if [[ ${E2E_CGROUP_DRIVER-} != systemd ]]; then
                echo 'cgroup: {plugin: cgroup-fs}' >>/etc/cringle/conf.d/50-unit.yaml
        fi
        SOCKET=/run/cringle/cringle.sock
        systemctl daemon-reload
}

unit_pid() {
        systemctl show --property MainPID --value cringle
}

# unit_active: as systemd sees it, and answering.
unit_active() {
        systemctl is-active --quiet cringle && [[ $(unit_pid) != 0 ]] && crictl version
}

# unit_another PID: the unit runs, in another process.
unit_another() {
        unit_active && [[ $(unit_pid) != "$1" ]]
}

cgroup_mounts() {
        awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^cgroup2?$/) print $5 }' /proc/self/mountinfo
}

cringle() {
        "$CLI_PROGRAM" --config "$E2E_TMP/etc/config.yaml" --socket "$SOCKET" "$@"
}

crictl() {
        "$(cri_tool crictl)" --config /dev/null --timeout $((60 * E2E_PATIENCE))s \
                --runtime-endpoint "unix://$SOCKET" --image-endpoint "unix://$SOCKET" "$@"
}

# ---- pods and containers ---------------------------------------------------------

# The kubelet's view of a pod, kept in files: crictl wants the pod's again for each
# container.  A last argument, where one is taken, is a jq filter that changes it.

E2E_IMAGE=docker.io/library/busybox:latest

# pod_run NAME [FILTER]: prints the pod's id.
pod_run() {
        local config=$E2E_TMP/pods/$1.json

        mkdir -p "$E2E_TMP/pods" "$E2E_TMP/logs/$1"
        jq -n --arg name "$1" --arg logs "$E2E_TMP/logs/$1" \
                '{metadata: {name: $name, namespace: "e2e", uid: ("uid-" + $name), attempt: 0},
                  log_directory: $logs, linux: {}} | '"${2-.}" >"$config"
        crictl runp "$config" >"$E2E_TMP/pods/$1.id" || return
        cat "$E2E_TMP/pods/$1.id"
}

pod_id() {
        cat "$E2E_TMP/pods/$1.id"
}

# container_create POD NAME SCRIPT [FILTER]: prints the container's id; its log is
# $E2E_TMP/logs/POD/NAME.log.
container_create() {
        local config=$E2E_TMP/pods/$1-$2.json

        jq -n --arg name "$2" --arg script "$3" --arg image "$E2E_IMAGE" \
                '{metadata: {name: $name, attempt: 0}, image: {image: $image},
                  command: ["sh", "-c", $script], log_path: ($name + ".log"), linux: {}} | '"${4-.}" >"$config"
        crictl create "$(pod_id "$1")" "$config" "$E2E_TMP/pods/$1.json"
}

# container_run POD NAME SCRIPT [FILTER]: create and start; prints the id.
container_run() {
        local id

        id=$(container_create "$@") && crictl start "$id" >/dev/null && echo "$id"
}

# container_log POD NAME: what it wrote, without times and tags.
container_log() {
        cut -d' ' -f4- "$E2E_TMP/logs/$1/$2.log"
}

# container_field ID FILTER, pod_field ID FILTER: of the status.
container_field() {
        crictl inspect --output json "$1" | jq -r ".status$2"
}

pod_field() {
        crictl inspectp --output json "$1" | jq -r ".status$2"
}

# container_is ID STATE
container_is() {
        [[ $(container_field "$1" .state) == "CONTAINER_$2" ]]
}

# pod_remove NAME...: stop and remove.
pod_remove() {
        local name

        for name; do
                crictl stopp "$(pod_id "$name")" >/dev/null && crictl rmp "$(pod_id "$name")" >/dev/null || return
        done
}

# same LEFT RIGHT: equal, or both are shown.
same() {
        [[ $1 == "$2" ]] || {
                printf 'got:  %s\nwant: %s\n' "$1" "$2"
                return 1
        }
}

# ---- leaks ---------------------------------------------------------------------

# leaks_begin, and later leaks_none WHAT: a check that nothing stayed behind in between.
# The agent may run on; what host-wide things this script's own network leaves by design is allowed.
leaks_begin() {
        E2E_LEAKS=(--root "$AGENT_ROOT" --state "$AGENT_STATE" --agent "${AGENT_PID:-0}"
                --cni-data "$NETWORK_DATA" --cni-cache "$E2E_TMP/cni/cache" --allow "^link $NETWORK_BRIDGE\b"
                --allow "^process .*cringle-stream"
                --allow "^cgroup .*$AGENT_CGROUP(/monitors|/pods)?\$")
        [[ ${E2E_SHARED-} != 1 ]] || E2E_LEAKS+=(--only "$E2E_TMP|$AGENT_CGROUP/|$NETWORK_BRIDGE\b")
        if [[ -n $AGENT_UNITS ]]; then
                E2E_LEAKS+=(--allow "^cgroup .*$AGENT_CGROUP/($AGENT_PODS|$AGENT_UNITS.scope(/hold)?)\$"
                        --allow "^process .*cringle-hold $AGENT_UNITS.scope")
        fi
        "$E2E_DIR/leaks" snapshot "$E2E_TMP/leaks" "${E2E_LEAKS[@]}"
}

leaks_none() {
        E2E_LEAKS+=(--agent "${AGENT_PID:-0}")
        check "$1" "$E2E_DIR/leaks" diff "$E2E_TMP/leaks" --settle $((3 * E2E_PATIENCE)) "${E2E_LEAKS[@]}"
        if [[ -n $AGENT_UNITS ]]; then
                check "$1, no unit either" same "$(systemctl list-units --all --plain --no-legend "$AGENT_UNITS-*.scope")" ''
        fi
}
