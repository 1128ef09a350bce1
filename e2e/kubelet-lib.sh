# Shell functions for tests with a real kubelet, sourced after lib.sh: e2e/kubelet, e2e/kubelet-unit.
#
#   kubelet_build               $KUBELET and $STREAM_CLIENT, from the modules pinned in e2e/kubelet-module
#   kubelet_directories         $STATIC, where manifests go, and $HOST, which pods mount to tell what they found
#   kubelet_start, kubelet_stop; kubelet_get PATH of its own server
#   manifest, unmanifest        static pods; pod_is, status_is, ... what became of them, asked of the kubelet
#   api_start, create, of, ...  pods from a server
#
# Before kubelet_start: $KUBELET_YAML, what the machine wants in its configuration, and $KUBELET_WRAP, what runs it.

KUBELET_PID='' KUBELET_PORT='' API_PID=''
NODE=e2e                        # static pods bear their node's name
NODE_IP=198.51.100.2

KUBELET_YAML='' KUBELET_WRAP=''
KUBELET_TRANSITION=1s           # how long the node is told to be under pressure at least

# ---- programs ------------------------------------------------------------------

# module_program NAME KEY PACKAGE: builds PACKAGE of e2e/kubelet-module; prints the program's path.
module_program() {
        local out=$E2E_CACHE/$1-$2/$1

        if [[ ! -x $out ]]; then
                (
                        exec 9>"$E2E_CACHE/kubelet.lock" >&2
                        flock 9
                        [[ ! -x $out ]] || exit 0
                        echo "# building $1"
                        go_ready
                        mkdir -p "${out%/*}"
                        cd "$E2E_DIR/kubelet-module"
                        GOTOOLCHAIN=local GOFLAGS='-mod=readonly -buildvcs=false' CGO_ENABLED=0 \
                                nice go build -trimpath -o "$out.new" "$3"
                        mv "$out.new" "$out"
                ) || return 1
        fi
        echo "$out"
}

checksum() {
        cat "$@" | sha256sum | cut -c1-16
}

kubelet_build() {
        local module=$E2E_DIR/kubelet-module

        KUBELET=$(module_program kubelet "$(checksum "$module"/go.{mod,sum})" k8s.io/kubernetes/cmd/kubelet)
        STREAM_CLIENT=$(module_program kubelet-client "$(checksum "$module"/{go.mod,go.sum,main.go})" .)
}

# ---- the kubelet -----------------------------------------------------------------

# kubelet_directories ROOT LOGS: the kubelet's own directory and that of pods' logs.
kubelet_directories() {
        KUBELET_ROOT=$1 POD_LOGS=$2 KUBELET_LOG=$E2E_TMP/kubelet.log STATIC=$E2E_TMP/manifests HOST=$E2E_TMP/host
        mkdir -p "$KUBELET_ROOT" "$STATIC" "$HOST" "$POD_LOGS"
        chmod 0777 "$HOST"
        echo 'nameserver 192.0.2.1' >"$E2E_TMP/resolv.conf"
}

# kubelet_start [YAML [FLAG...]]: YAML is added to its configuration, which is $KUBELET_YAML and what every test wants.
kubelet_start() {
        [[ -n $KUBELET_PORT ]] || KUBELET_PORT=$(free_port)
        cat >"$E2E_TMP/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$SOCKET
staticPodPath: $STATIC
podLogsDir: $POD_LOGS
volumePluginDir: $E2E_TMP/volume-plugins
address: 127.0.0.1
port: $KUBELET_PORT
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
failSwapOn: false
resolvConf: $E2E_TMP/resolv.conf
clusterDomain: cluster.test
clusterDNS: [192.0.2.53]
containerLogMaxSize: 20Ki
containerLogMaxFiles: 20
containerLogMonitorInterval: 3s
syncFrequency: 10s
volumeStatsAggPeriod: 5s
fileCheckFrequency: 5s
imageMinimumGCAge: 1s
evictionPressureTransitionPeriod: $KUBELET_TRANSITION
$KUBELET_YAML
${1-}
Y
        $KUBELET_WRAP "$KUBELET" --config "$E2E_TMP/kubelet.yaml" --root-dir "$KUBELET_ROOT" --cert-dir "$E2E_TMP/pki" \
                --hostname-override "$NODE" --node-ip "$NODE_IP" --v 4 "${@:2}" >>"$KUBELET_LOG" 2>&1 &
        KUBELET_PID=$!
        if ! within 60 kubelet_healthy || ! within 60 kubelet_knows_its_pods; then
                echo "# the kubelet is not healthy, or does not know its pods; its log ends:" >&2
                grep -E '^[EF]' "$KUBELET_LOG" | tail -n 20 >&2
                return 1
        fi
}

kubelet_healthy() {
        kill -0 "$KUBELET_PID" && [[ $(kubelet_get healthz) == ok ]]
}

# It is healthy, and answers, before it has read the manifests: of a pod that runs it says till then that there is none.
kubelet_knows_its_pods() {
        local names file

        names=$(kubelet_get pods | jq -r '.items[]?.metadata.name') || return
        for file in "$STATIC"/*.yaml; do
                [[ ! -e $file ]] || grep -qx "$(basename "$file" .yaml)-$NODE" <<<"$names" || {
                        echo "the kubelet does not know the pod of $file"
                        return 1
                }
        done
}

# kubelet_get PATH [CURL-OPTION...]: from its server.
kubelet_get() {
        curl --silent --show-error --fail --insecure --globoff --max-time $((20 * E2E_PATIENCE)) "https://127.0.0.1:$KUBELET_PORT/$1" "${@:2}"
}

# kubelet_stop [SIGNAL]
kubelet_stop() {
        [[ -z $KUBELET_PID ]] || stop_pid "$KUBELET_PID" "${1-TERM}"
        KUBELET_PID=''
}

# It leaves volumes of pods that still run; the agent's own clean-up ends those.
kubelet_sweep() {
        kubelet_stop KILL
        unmount_below "$KUBELET_ROOT"
}

# ---- an API server -----------------------------------------------------------------

# api_start: e2e/tools/kube-api, for the groups whose pods come from a server; kubelet_start --kubeconfig "$KUBECONFIG".
api_start() {
        API_PORT=$(free_port) KUBECONFIG=$E2E_TMP/kubeconfig
        "$E2E_DIR/tools/kube-api" "$API_PORT" >"$E2E_TMP/kube-api.log" 2>&1 &
        API_PID=$!
        at_exit api_stop
        cat >"$KUBECONFIG" <<Y
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: 'http://127.0.0.1:$API_PORT'}}]
contexts: [{name: e2e, context: {cluster: e2e, user: e2e}}]
current-context: e2e
users: [{name: e2e, user: {}}]
Y
        within 10 api GET api/v1/nodes
}

api_stop() {
        [[ -z $API_PID ]] || stop_pid "$API_PID"
        API_PID=''
}

# api METHOD PATH [JSON]
api() {
        curl --silent --show-error --fail --max-time 20 -X "$1" -H 'Content-Type: application/json' ${3+--data "$3"} \
                "http://127.0.0.1:$API_PORT/$2"
}

PODS=api/v1/namespaces/default/pods

# create NAME SPEC: a pod as a server with defaults would have it.
create() {
        api POST "$PODS" "$(jq -n --arg name "$1" --arg node "$NODE" --arg image "$E2E_IMAGE" --argjson spec "$2" '
                {metadata: {name: $name}, status: {phase: "Pending"},
                 spec: ({nodeName: $node, restartPolicy: "Always", terminationGracePeriodSeconds: 1, dnsPolicy: "Default",
                         securityContext: {}, schedulerName: "default-scheduler", enableServiceLinks: false,
                         automountServiceAccountToken: false} + $spec |
                        .containers[] |= {image: $image, imagePullPolicy: "IfNotPresent", resources: {},
                         terminationMessagePath: "/dev/termination-log", terminationMessagePolicy: "File"} + .)}')" >/dev/null
}

# of NAME CONDITION: of the pod as the server has it.
of() {
        [[ $(api GET "$PODS/$1" | jq "$2") == true ]] || {
                api GET "$PODS/$1" | jq .status
                return 1
        }
}

node_is() {
        [[ $(api GET "api/v1/nodes/$NODE" | jq "$1") == true ]] || {
                api GET "api/v1/nodes/$NODE" | jq .status
                return 1
        }
}

# node_condition TYPE STATUS
node_condition() {
        node_is "[.status.conditions[]? | select(.type == \"$1\").status] == [\"$2\"]"
}

is_ready='[.status.conditions[]? | select(.type == "Ready").status] == ["True"]'

# no_pods_there: the server has none.
no_pods_there() {
        same "$(api GET "$PODS" | jq '.items | length')" 0
}

# ---- pods ------------------------------------------------------------------------

# within SECONDS COMMAND...: like eventually, at a pace that leaves the machine to the pods.
within() {
        local deadline=$((SECONDS + $1 * E2E_PATIENCE))

        shift
        until "$@" >/dev/null 2>&1; do
                ((SECONDS < deadline)) || {
                        "$@"
                        return
                }
                sleep 0.3
        done
}

# manifest NAME: the pod's spec on stdin, as YAML.  What stands in braces of $ is the script's.
manifest() {
        {
                printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: default%s}\nspec:\n' "$1" "${2+, $2}"
                sed 's/^/  /'
        } >"$E2E_TMP/$1.yaml"
        mv "$E2E_TMP/$1.yaml" "$STATIC/$1.yaml"
}

# unmanifest NAME...
unmanifest() {
        local name

        for name; do
                rm -f "$STATIC/$name.yaml"
        done
}

# pod NAME FILTER: of the Pod as the kubelet tells it.
pod() {
        kubelet_get pods | jq -r --arg name "$1-$NODE" 'first(.items[] | select(.metadata.name == $name)) | '"$2"
}

# pod_is NAME CONDITION
pod_is() {
        [[ $(pod "$1" "$2") == true ]] || {
                pod "$1" '.status | {phase, reason, message, initContainerStatuses, containerStatuses}'
                return 1
        }
}

pod_is_ready() {
        pod_is "$1" '[.status.conditions[] | select(.type == "Ready").status] == ["True"]'
}

# pod_gone NAME...: the kubelet is done with it; the runtime has it until the kubelet's next collection, a minute apart.
pod_gone() {
        local name

        for name; do
                [[ -z $(kubelet_get pods | jq -r --arg name "$name-$NODE" '.items[] | select(.metadata.name == $name).metadata.uid') ]] &&
                        [[ -z $(crictl pods --quiet --state ready --name "^$name-$NODE\$") ]] || return
        done
}

# status NAME CONTAINER FILTER: of a container's status, also of an init container's.
status() {
        pod "$1" ".status | [.initContainerStatuses, .containerStatuses] | flatten | .[] | select(.name == \"$2\") | $3"
}

status_is() {
        [[ $(status "$1" "$2" "$3") == true ]] || {
                status "$1" "$2" .
                return 1
        }
}

# the_id NAME CONTAINER: without "cringle://".
the_id() {
        status "$1" "$2" '.containerID' | sed 's|.*://||'
}

# has FILE TEXT...: the lines of a file are these.
has() {
        local file=$1

        shift
        diff -u --label wanted --label "${file##*/}" <(printf '%s\n' "$@") "$file"
}

# cgroup_value CONTROLLER FILE PATH...: a file of the kubelet's cgroups, joined of the parts.
cgroup_value() {
        local controller=$1 file=$2 top IFS=/

        shift 2
        top=$(awk -v c="$controller" '$0 ~ / - cgroup / && ("," $NF ",") ~ ("," c ",") { print $5; exit }' /proc/self/mountinfo)
        cat "${top:-/sys/fs/cgroup}$KUBELET_CGROUP/kubepods/$*/$file"
}

# killed_and_back kubelet|agent: kill -9, and a new one.
killed_and_back() {
        case $1 in
        kubelet) kubelet_stop KILL && kubelet_start "${@:2}" ;;
        agent) agent_kill && agent_start ;;
        esac
}

kubelet_said() {
        grep -qE "$1" "$KUBELET_LOG" || {
                grep -E '^[EW]' "$KUBELET_LOG" | tail -n 5
                return 1
        }
}
