#!/usr/bin/env bash
# Exec, attach and port-forward: every byte, every exit code, and nothing left of clients that just go.
. "${BASH_SOURCE%/*}/../lib.sh"

exec_status() {
        local status=0

        crictl exec "$1" sh -c "exit $2" >/dev/null 2>"$E2E_TMP/err" || status=$?
        [[ $status != 0 ]] && grep -q "exit code $2" "$E2E_TMP/err"
}

both_streams() {
        same "$(crictl exec "$1" sh -c 'echo out; echo err >&2' 2>"$E2E_TMP/err")" out && grep -q '^err' "$E2E_TMP/err"
}

there_and_back() {
        crictl exec -i "$1" cat <"$E2E_TMP/big" | cmp - "$E2E_TMP/big"
}

on_a_terminal() {
        script -qec "stty rows 31 cols 97; $(cri_tool crictl) --config /dev/null \
                --runtime-endpoint unix://$SOCKET exec -it $1 sh -c 'sleep 1; stty size'" /dev/null </dev/null |
                grep -q '31 97'
}

attach_echoes() {
        (sleep 0.5; echo hello; sleep 1) | crictl attach -i "$1" >"$E2E_TMP/attached" 2>&1
        grep -q 'got hello' "$E2E_TMP/attached" || {
                cat "$E2E_TMP/attached"
                return 1
        }
}

# fetch PORT: twice through one port-forward.
fetch() {
        local status=0 forward

        rm -f "$E2E_TMP/forward.log"
        "$(cri_tool crictl)" --config /dev/null --runtime-endpoint "unix://$SOCKET" \
                port-forward "$(pod_id web)" "$1:8080" >"$E2E_TMP/forward.log" 2>&1 &
        forward=$!
        eventually 10 grep -q 'Forwarding from' "$E2E_TMP/forward.log" &&
                curl -sS --max-time 60 "http://127.0.0.1:$1/big" | cmp - "$E2E_TMP/big" &&
                curl -sS --max-time 60 "http://127.0.0.1:$1/big" | cmp - "$E2E_TMP/big" || status=1
        kill "$forward" 2>/dev/null
        wait "$forward" 2>/dev/null
        return "$status"
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

not_found() {
        local url

        url=$(ss -Hltnp | awk -v pid="pid=$(stream_pid)," 'index($0, pid) { print $4 }')
        same "$(curl -s -o /dev/null -w '%{http_code}' "http://$url/exec/AAAAAAAAAAAAAAAAAAAAAA")" 404
}

unprivileged() {
        same "$(awk '/^Uid|^CapEff|^CapBnd|^NoNewPrivs|^Seccomp:/ { print $2 }' "/proc/$(stream_pid)/status" | xargs)" \
                "65534 0000000000000000 0000000000000000 1 2"
}

e2e_begin streaming
registry_start conformance
agent_start
crictl pull "$E2E_IMAGE" >/dev/null
head -c 50000000 /dev/urandom >"$E2E_TMP/big"

pod_run web >/dev/null
web=$(container_run web web 'mkdir /www; while [ ! -e /www/ready ]; do usleep 50000; done; exec httpd -f -p 127.0.0.1:8080 -h /www')
echoes=$(container_run web echoes 'while read -r line; do echo "got $line"; done' '.stdin = true | .stdin_once = true')

check "both outputs of an exec arrive, apart" both_streams "$web"
check "its exit code arrives" exec_status "$web" 42
check "50 MB go in and come out, byte for byte" there_and_back "$web"
check "a terminal has the client's size" on_a_terminal "$web"
check "attach reaches stdin and stdout" attach_echoes "$echoes"
crictl exec -i "$web" sh -c 'cat >/www/big; touch /www/ready' <"$E2E_TMP/big"
check "50 MB come through a port-forward, twice" fetch "$(free_port)"
check "an unknown token is not found" not_found
check "cringle-stream has no rights" unprivileged

fds_before=$(fds)
disconnect "$web"
check "of 100 clients that were killed no process is left" eventually 10 no_sleepers "$web"
check "and no fd" eventually 10 fds_are "$fds_before"

kill -s KILL "$(stream_pid)"
check "a cringle-stream that died is replaced" eventually 5 both_streams "$web"
agent_kill
check "the agent starts again" agent_start
check "exec works again" both_streams "$web"
check "and so does port-forward" fetch "$(free_port)"
pod_remove web
e2e_end
