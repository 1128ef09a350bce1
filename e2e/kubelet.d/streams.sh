# exec, attach and port-forward through the kubelet's server, with the library that kubectl is made of.
# The kubelet speaks SPDY to the runtime also for a client with WebSocket, unless its feature
# ExtendWebSocketsToKubelet is off, as in all before 1.36: then it passes the client's bytes on
# (but of a port-forward it wants the old WebSocket protocol, which that library never had).

head -c 3000000 /dev/urandom >"$HOST/big"

manifest streams <<Y
terminationGracePeriodSeconds: 1
volumes: [{name: host, hostPath: {path: $HOST}}]
containers:
- name: web
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  command: [httpd, -f, -p, '127.0.0.1:8080', -h, /host]
  volumeMounts: [{name: host, mountPath: /host}]
- name: echo
  image: $E2E_IMAGE
  imagePullPolicy: IfNotPresent
  stdin: true
  command: [sh, -c, 'while read -r line; do echo "got \$line"; done; exec sleep 100000']
Y

# url WHAT [PARAMETER...]: of the kubelet's server.
url() {
        local what=$1 IFS='&'

        shift
        echo "https://127.0.0.1:$KUBELET_PORT/${what/\//\/default\/streams-$NODE\/}?$*"
}

# shell SCRIPT: as parameters.
shell() {
        echo "command=sh&command=-c&command=$(jq -rn --arg script "$1" '$script | @uri')"
}

# client VERB [FLAG...] URL, over $PROTOCOL.
client() {
        timeout $((40 * E2E_PATIENCE)) "$STREAM_CLIENT" "$1" ${PROTOCOL:+"$PROTOCOL"} "${@:2}"
}

both_outputs() {
        local status=0

        client exec "$(url exec/web output=1 error=1 "$(shell 'echo out; echo err >&2')")" >"$E2E_TMP/out" 2>"$E2E_TMP/err" || status=$?
        same "$status $(cat "$E2E_TMP/out") $(cat "$E2E_TMP/err")" '0 out err'
}

# A kubelet that only passes bytes on hangs up as soon as one side does.
many() {
        local i url

        url=$(url exec/web output=1 error=1 command=echo command=out)
        for ((i = 0; i < 200; i++)); do
                echo "$url"
        done | timeout $((120 * E2E_PATIENCE)) "$STREAM_CLIENT" execs ${PROTOCOL:+"$PROTOCOL"} -wide 8 $'out\n'
}

exit_code() {
        local status=0

        client exec "$(url exec/web output=1 error=1 "$(shell 'exit 42')")" || status=$?
        same "$status" 42
}

there_and_back() {
        client exec -stdin "$(url exec/web input=1 output=1 error=1 command=cat)" <"$HOST/big" | cmp - "$HOST/big"
}

terminal() {
        client exec -stdin -tty 97x31 "$(url exec/web input=1 output=1 tty=1 "$(shell 'sleep 1; stty size')")" </dev/null |
                grep '31 97'
}

attached() {
        (sleep 1; echo "hello$PROTOCOL"; sleep 1) | timeout 5 "$STREAM_CLIENT" exec ${PROTOCOL:+"$PROTOCOL"} -stdin \
                "$(url attach/echo input=1 output=1 error=1)" >"$E2E_TMP/attached" || true
        grep -e "got hello$PROTOCOL" "$E2E_TMP/attached"
}

fetched() {
        local status=0 forward

        rm -f "$E2E_TMP/port"
        "$STREAM_CLIENT" forward ${PROTOCOL:+"$PROTOCOL"} "$(url portForward/)" 8080 >"$E2E_TMP/port" &
        forward=$!
        within 20 test -s "$E2E_TMP/port" &&
                curl -sS --max-time 60 "http://127.0.0.1:$(<"$E2E_TMP/port")/big" | cmp - "$HOST/big" &&
                curl -sS --max-time 60 "http://127.0.0.1:$(<"$E2E_TMP/port")/big" | cmp - "$HOST/big" || status=1
        stop_pid "$forward"
        return "$status"
}

streams() {
        check "$1: both outputs of an exec, apart" both_outputs
        check "$1: of 200, eight at a time, each has its output" many
        check "$1: its exit code" exit_code
        check "$1: 3 MB in and out, byte for byte" there_and_back
        check "$1: a terminal of the client's size" terminal
        check "$1: attach" attached
}

check "the pod runs" within 60 pod_is_ready streams
run_in() {
        curl --silent --fail --insecure --max-time 20 -X POST "https://127.0.0.1:$KUBELET_PORT/run/default/streams-$NODE/web?$1"
}
check "run: a command and its output at once" same "$(run_in cmd=echo%20hello)" hello
PROTOCOL='' streams SPDY
PROTOCOL='' check "SPDY: 3 MB through a port-forward, twice" fetched
PROTOCOL=-websocket streams WebSocket
PROTOCOL=-websocket check "WebSocket: 3 MB through a port-forward, twice" fetched
kubelet_stop
check "the kubelet starts without translating WebSocket" kubelet_start 'featureGates: {ExtendWebSocketsToKubelet: false}'
PROTOCOL=-websocket streams "WebSocket to the runtime"
kubelet_stop
check "the kubelet starts as before" kubelet_start
unmanifest streams
check "the pod goes" within 60 pod_gone streams
