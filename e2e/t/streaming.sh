#!/usr/bin/env bash
# Exec, attach and port-forward, over SPDY and WebSocket: every byte, every exit code, and nothing left of clients that just go.
. "${BASH_SOURCE%/*}/../lib.sh"

# Of the functions below those that take CRICTL's way there get "spdy" or "websocket" first.
exec_by() {
        local way=$1

        shift
        crictl exec --transport "$way" "$@"
}

exec_status() {
        local status=0

        exec_by "$1" "$2" sh -c "exit $3" >/dev/null 2>"$E2E_TMP/err" || status=$?
        [[ $status != 0 ]] && grep -q "exit code $3" "$E2E_TMP/err"
}

both_streams() {
        same "$(exec_by "$1" "$2" sh -c 'echo out; echo err >&2' 2>"$E2E_TMP/err")" out && grep -q '^err' "$E2E_TMP/err"
}

there_and_back() {
        exec_by "$1" -i "$2" cat <"$E2E_TMP/big" | cmp - "$E2E_TMP/big"
}

on_a_terminal() {
        script -qec "stty rows 31 cols 97; $(cri_tool crictl) --config /dev/null \
                --runtime-endpoint unix://$SOCKET exec --transport $1 -it $2 sh -c 'sleep 1; stty size'" /dev/null </dev/null |
                grep -q '31 97'
}

attach_echoes() {
        (sleep 0.5; echo "hello $1"; sleep 1) | crictl attach --transport "$1" -i "$2" >"$E2E_TMP/attached" 2>&1
        grep -q "got hello $1" "$E2E_TMP/attached" || {
                cat "$E2E_TMP/attached"
                return 1
        }
}

# A container that reads late gets all that a client sent that has gone meanwhile.
attach_sends_all() {
        same "$(websocket run "$(url attach "$1" io)" <"$E2E_TMP/some" | tr -d ' ')" 3000000
}

# fetch WAY PORT: twice through one port-forward.
fetch() {
        forwarding "$1" "$2:8080" fetch_twice "http://127.0.0.1:$2/big"
}

fetch_twice() {
        curl -sS --max-time 60 "$1" | cmp - "$E2E_TMP/big" && curl -sS --max-time 60 "$1" | cmp - "$E2E_TMP/big"
}

forward_there_and_back() {
        forwarding "$1" "$2:9000" forward_echoes "$2"
}

forward_echoes() {
        timeout 120 "$E2E_DIR/tools/websocket-client" tcp "$1" <"$E2E_TMP/big" | cmp - "$E2E_TMP/big"
}

# forwarding WAY PORTS COMMAND...: while crictl forwards
forwarding() {
        local status=0 forward

        rm -f "$E2E_TMP/forward.log"
        "$(cri_tool crictl)" --config /dev/null --runtime-endpoint "unix://$SOCKET" \
                port-forward --transport "$1" "$(pod_id web)" "$2" >"$E2E_TMP/forward.log" 2>&1 &
        forward=$!
        eventually 10 grep -q 'Forwarding from' "$E2E_TMP/forward.log" && "${@:3}" || status=1
        kill "$forward" 2>/dev/null
        wait "$forward" 2>/dev/null
        return "$status"
}

# ---- a WebSocket client of our own -------------------------------------------------

url() {
        "$URL" "$SOCKET" "$@"
}

websocket() {
        "$E2E_DIR/tools/websocket-client" "$@"
}

# In a protocol without half-close the program ends by itself.
speaks() {
        local status=0

        websocket run "$(url exec "$2" ioe sh -c 'head -c 3000000; echo err >&2; exit 7')" --protocol "$1" \
                <"$E2E_TMP/some" >"$E2E_TMP/out" 2>"$E2E_TMP/err" || status=$?
        cmp "$E2E_TMP/out" "$E2E_TMP/some" && grep -q '^err' "$E2E_TMP/err" &&
                if [[ $1 == v* ]]; then same "$status" 7; else grep -q 'exit code 7' "$E2E_TMP/err"; fi
}

forwards() {
        printf 'GET /big HTTP/1.0\r\n\r\n' | websocket forward "$(url forward "$(pod_id web)" 8080 81)" --protocol "$1" |
                tail -c 50000000 | cmp - "$E2E_TMP/big"
}

forward_fails() {
        if printf x | websocket forward "$(url forward "$(pod_id web)" 81)" >"$E2E_TMP/out" 2>&1; then
                return 1
        fi
        grep -q refused "$E2E_TMP/out"
}

# breaks CASE CODE...
breaks() {
        local case

        for case in "${@:3}"; do
                same "$case $(websocket break "$(url exec "$1" io cat)" "$case")" "$case $2" || return 1
        done
}

refused_with() {
        same "$(websocket ask "$(url exec "$1" io cat)" "${@:3}")" "$2"
}

# A client that reads nothing while the process writes, and then all.
# It reads when all has been written, and before that lets more wait than is kept for it.
too_slow() {
        local got

        ! echo go | timeout 120 "$E2E_DIR/tools/websocket-client" run "$(url attach "$1" io)" --wait $((8 * E2E_PATIENCE)) \
                >"$E2E_TMP/slow" 2>"$E2E_TMP/err" || return 1
        cat "$E2E_TMP/err"
        grep -q 'read too slowly and was dropped' "$E2E_TMP/err" || return 1
        got=$(stat -c %s "$E2E_TMP/slow")
        cmp -n "$got" "$E2E_TMP/slow" <(seq 1 4000000) && ((got > 0))
}

# A client that does not read for longer than one is given to hang up, of a program that has ended. What the kernel holds for a
# connection is measured on another: a little more than that, and the end of the output is still cringle-stream's.
late_reader() {
        local port client held more pids=() pid status=0

        port=$(stream_address)
        port=${port##*:}
        "$E2E_DIR/tools/websocket-client" run "$(url exec "$1" o yes 54326)" --wait 1000 </dev/null >/dev/null &
        client=$!
        sleep 3
        held=$(ss -Htn "sport = :$port or dport = :$port" | awk '{ n += $2 + $3 } END { print n + 0 }')
        kill -s KILL "$client"
        wait "$client" 2>/dev/null || true
        for more in 60000 130000 200000; do
                reads_late "$1" $((held + more)) &
                pids+=($!)
        done
        for pid in "${pids[@]}"; do
                wait "$pid" || status=1
        done
        return $status
}

reads_late() {
        same "$(websocket run "$(url exec "$1" o head -c "$2" /dev/zero)" --wait 14 </dev/null | wc -c)" "$2"
}

slow_terminal() {
        websocket run "$(url exec "$1" ot sh -c 'seq 1 400000')" --wait 2 </dev/null | tr -d '\r' | cmp - <(seq 1 400000)
}

# The process waits meanwhile, in its write.
terminal_waits() {
        local client

        "$E2E_DIR/tools/websocket-client" run "$(url exec "$1" ot sh -c 'yes 54322')" --wait 1000 </dev/null >/dev/null &
        client=$!
        sleep 2
        memory_below "$2" 8000 && memory_below "$(stream_pid)" 12000 || return 1
        kill -s KILL "$client"
        wait "$client" 2>/dev/null || true
        eventually 5 none_running "$1" '[y]es 54322'
}

# memory_below PID KIB
memory_below() {
        awk -v limit="$2" '/^Private_Dirty|^Private_Clean/ { n += $2 } END { print n; exit !(n < limit) }' \
                "/proc/$1/smaps_rollup"
}

monitor_of() {
        pgrep -f "^cringle-monitor $AGENT_STATE/pods/$(pod_id "$1") " | head -n 1
}

none_running() {
        crictl exec --sync "$1" sh -c "! ps | grep -q '$2'"
}

resets() {
        local i

        for ((i = 0; i < 60; i++)); do
                case $((i % 3)) in
                0) url exec "$1" ioe sh -c 'cat; sleep 54323' ;;
                1) url exec "$1" iot sh -c 'yes 54323' ;;
                2) url attach "$2" ioe ;;
                esac
        done >"$E2E_TMP/urls"
        websocket reset <"$E2E_TMP/urls"
}

# ---- time-outs, certificates, and what is wrong with a configuration ---------------------

# ends_after SECONDS COMMAND...: not before, and not much later
ends_after() {
        local start=$SECONDS seconds=$1 pid

        shift
        "$@" >/dev/null 2>&1 &
        pid=$!
        eventually $((seconds + 15)) gone $pid && ((SECONDS - start >= seconds - 1))
}

gone() {
        ! kill -0 "$1" 2>/dev/null
}

# A connection that asks for nothing.
silent() {
        local address

        address=$(stream_address)
        exec 7<>"/dev/tcp/${address/://}"
        cat <&7
        exec 7>&-
}

# An upgrade to SPDY, and no stream after it.
without_streams() {
        curl -s --max-time 60 -H 'Connection: Upgrade' -H 'Upgrade: SPDY/3.1' \
                -H 'X-Stream-Protocol-Version: v4.channel.k8s.io' "$(url exec "$1" o sleep 54324)"
}

certificate() {
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$E2E_TMP/$1.key" -out "$E2E_TMP/$1.crt" \
                -days 2 -subj "/CN=$1" -addext subjectAltName=IP:127.0.0.1 2>/dev/null
}

# install_pair CERTIFICATE KEY, in place of what is there
install_pair() {
        cp "$E2E_TMP/$1.crt" "$E2E_TMP/new.crt"
        cp "$E2E_TMP/$2.key" "$E2E_TMP/new.key"
        mv "$E2E_TMP/new.crt" "$E2E_TMP/tls.crt"
        mv "$E2E_TMP/new.key" "$E2E_TMP/tls.key"
}

# trusting NAME COMMAND...: with a crictl that knows this certificate alone
trusting() {
        local -x SSL_CERT_FILE=$E2E_TMP/$1.crt

        shift
        "$@"
}

status_warns() {
        cringle status | grep "warning: exec, attach and port-forward: .*$1"
}

status_is_clean() {
        ! cringle status | grep 'warning: exec'
}

exec_says() {
        ! crictl exec "$1" true 2>"$E2E_TMP/err" && grep "$2" "$E2E_TMP/err"
}

check_says() {
        ! cringle config check 2>"$E2E_TMP/err" && grep "$1" "$E2E_TMP/err"
}

stream_pid() {
        pgrep -P "$AGENT_PID" -x cringle-stream
}

fds() {
        echo "$(find "/proc/$AGENT_PID/fd" | wc -l) $(find "/proc/$(stream_pid)/fd" | wc -l)"
}

fds_are() {
        same "$(fds)" "$1"
}

sleepers() {
        crictl exec --sync "$1" sh -c 'ps | grep -c "[s]leep 54321"'
}

no_sleepers() {
        [[ $(sleepers "$1" 2>/dev/null) != [1-9]* ]]
}

# Clients that are killed while their process runs.
disconnect() {
        local i batch pids=()

        for batch in 1 2 3 4 5 6 7 8 9 10; do
                pids=()
                for i in 1 2 3 4 5 6 7 8 9 10; do
                        "$(cri_tool crictl)" --config /dev/null --runtime-endpoint "unix://$SOCKET" \
                                exec "$1" sleep 54321 >/dev/null 2>&1 &
                        pids+=($!)
                done
                sleep 0.5
                kill -s KILL "${pids[@]}"
                wait "${pids[@]}" 2>/dev/null || true
        done
}

stream_address() {
        ss -Hltnp | awk -v pid="pid=$(stream_pid)," 'index($0, pid) { print $4 }'
}

not_found() {
        same "$(curl -s -o /dev/null -w '%{http_code}' "http://$(stream_address)/exec/AAAAAAAAAAAAAAAAAAAAAA")" 404
}

unprivileged() {
        same "$(awk '/^Uid|^CapEff|^CapBnd|^NoNewPrivs|^Seccomp:/ { print $2 }' "/proc/$(stream_pid)/status" | xargs)" \
                "65534 0000000000000000 0000000000000000 1 2"
}

e2e_begin streaming
registry_start conformance
URL=$(program cringle-url)
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
head -c 50000000 /dev/urandom >"$E2E_TMP/big"
head -c 3000000 "$E2E_TMP/big" >"$E2E_TMP/some"

pod_run web >/dev/null
web=$(container_run web web 'mkdir /www; while [ ! -e /www/ready ]; do usleep 50000; done; exec httpd -f -p 127.0.0.1:8080 -h /www')
echoing='while read -r line; do echo "got $line"; done'
echoes=$(container_run web echoes "$echoing" '.stdin = true')
container_run web mirror 'exec nc -lk -p 9000 -e cat' >/dev/null

for way in spdy websocket; do
        check "both outputs of an exec arrive, apart ($way)" both_streams $way "$web"
        check "its exit code arrives ($way)" exec_status $way "$web" 42
        check "50 MB go in and come out, byte for byte ($way)" there_and_back $way "$web"
        check "a terminal has the client's size ($way)" on_a_terminal $way "$web"
        check "attach reaches stdin and stdout ($way)" attach_echoes $way \
                "$(container_run web "echoes-$way" "$echoing" '.stdin = true | .stdin_once = true')"
done
crictl exec -i "$web" sh -c 'cat >/www/big; touch /www/ready' <"$E2E_TMP/big"
for way in spdy websocket; do
        check "50 MB come through a port-forward, twice ($way)" fetch $way "$(free_port)"
        check "50 MB go there and back through one ($way)" forward_there_and_back $way "$(free_port)"
done
check "an unknown token is not found" not_found
check "cringle-stream has no rights" unprivileged

for protocol in v5.channel.k8s.io v4.channel.k8s.io v4.base64.channel.k8s.io channel.k8s.io base64.channel.k8s.io ''; do
        check "3 MB, both outputs and the exit code by WebSocket's '$protocol'" speaks "$protocol" "$web"
done
for protocol in v4.channel.k8s.io v4.base64.channel.k8s.io ''; do
        check "50 MB through the channels of a forwarded port by '$protocol'" forwards "$protocol"
done
check "3 MB get to a container that reads late" attach_sends_all "$(container_run web late 'sleep 2; wc -c' \
        '.stdin = true | .stdin_once = true')"
check "a port that nobody listens on is told" forward_fails
check "a broken frame ends with 1002" breaks "$web" 1002 unmasked reserved opcode continuation nested long-ping cut-ping \
        overflow close-code channel
check "a message without end, with 1009" breaks "$web" 1009 huge
check "a text that is not UTF-8, with 1007" breaks "$web" 1007 text
check "a close is answered with its code" breaks "$web" 4000 good-close
check "another version of WebSocket is refused" refused_with "$web" 426 Sec-WebSocket-Version=8
check "a key that is none" refused_with "$web" 400 Sec-WebSocket-Key=abc
check "a protocol that nobody knows" refused_with "$web" 403 Sec-WebSocket-Protocol=none
check "POST is no WebSocket, an upgrade to nothing no upgrade" refused_with "$web" 400 Upgrade=
check "a client of an attach that does not read is told, and what it got is in order" too_slow \
        "$(container_run web talks 'read x; seq 1 4000000; sleep 1000' '.stdin = true')"
check "a client that reads 14 seconds after a program has ended gets all that it wrote" late_reader "$web"
check "what a terminal wrote waits for a slow client, to the last byte" slow_terminal "$web"
check "and the process waits, not memory" terminal_waits "$web" "$(monitor_of web)"

fds_before=$(fds)
disconnect "$web"
check "of 100 clients that were killed no process is left" eventually 10 no_sleepers "$web"
check "and no fd" eventually 10 fds_are "$fds_before"
check "one is reset whose input nobody takes" websocket stall "$(url exec "$web" io sleep 54327)"
check "what it ran ends with it" eventually 5 none_running "$web" '5432[7]'
check "and no fd is left" eventually 10 fds_are "$fds_before"
check "60 WebSockets are reset at any moment" resets "$web" "$echoes"
check "of them no process is left" eventually 10 none_running "$web" '5432[3]'
check "and no fd" eventually 10 fds_are "$fds_before"

kill -s KILL "$(stream_pid)"
check "a cringle-stream that died is replaced" eventually 5 both_streams spdy "$web"
agent_kill
check "the agent starts again" agent_start
check "exec works again" both_streams websocket "$web"
check "and so does port-forward" fetch spdy "$(free_port)"
agent_stop

port=$(free_port)
agent_start "streaming: {port: $port, idle_timeout: 3s, creation_timeout: 2s}"
check "exec works" both_streams spdy "$web"
check "a client that says nothing is sent away" ends_after 2 silent
check "and one that opens no stream" ends_after 2 without_streams "$web"
check "a session in which nothing moves ends" ends_after 3 websocket run "$(url exec "$web" io sleep 54325)"
check "and what it ran" eventually 5 none_running "$web" '5432[45]'
agent_stop
python3 -m http.server --bind 127.0.0.1 "$port" >/dev/null 2>&1 &
server=$!
at_exit stop_pid $server
check "somebody else takes the port" eventually 10 http_answers "127.0.0.1:$port"
agent_start "streaming: {port: $port}"
check "the agent starts all the same, and its status says so" status_warns 'in use'
check "exec says so, too" exec_says "$web" 'in use'
stop_pid $server || true
check "exec works when the port is free" eventually 10 both_streams spdy "$web"
check "and the warning goes" status_is_clean
agent_stop

certificate one
certificate two
install_pair one two
agent_start "streaming: {tls_cert: $E2E_TMP/tls.crt, tls_key: $E2E_TMP/tls.key}"
check "a key that does not fit is seen at the start" status_warns 'no key that can be read, or that fits'
check "by config check" check_says 'no key that can be read, or that fits'
check "and by exec" exec_says "$web" 'no key that can be read, or that fits'
install_pair one one
check "mended files are enough" trusting one both_streams spdy "$web"
check "and the warning goes" status_is_clean
for way in spdy websocket; do
        check "50 MB by TLS ($way)" trusting one there_and_back $way "$web"
        check "and through a forwarded port ($way)" trusting one forward_there_and_back $way "$(free_port)"
done
before=$(stream_pid)
install_pair two two
check "a new certificate is served" trusting two both_streams spdy "$web"
check "by the same process" same "$(stream_pid)" "$before"
echo nonsense >"$E2E_TMP/tls.crt"
check "one that is broken leaves the old one" trusting two both_streams spdy "$web"
check "and a warning" status_warns 'no certificate that can be read'
pod_remove web
e2e_end
