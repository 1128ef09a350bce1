#!/usr/bin/env bash
# Attacks on daemons that others were hit by (docs/SECURITY.md), tried on the whole of it.
. "${BASH_SOURCE%/*}/../lib.sh"

# refuses WORD COMMAND...: it fails, and says the word.
refuses() {
        local want=$1

        shift
        if "$@" >"$E2E_TMP/refused" 2>&1 || ! grep -q "$want" "$E2E_TMP/refused"; then
                cat "$E2E_TMP/refused"
                return 1
        fi
}

# ours: the agent and all that it started, by pid.
ours() {
        echo "$AGENT_PID"
        pgrep -f "^cringle-[a-z]+ .*$E2E_TMP" || true
        pgrep -P "$AGENT_PID" || true
}

# The kernel's list of listening sockets, with whose they are.
no_abstract_sockets() {
        local pid

        ss -Hxlp >"$E2E_TMP/sockets"
        for pid in $(ours); do
                if grep "pid=$pid," "$E2E_TMP/sockets" | grep ' @'; then
                        return 1
                fi
        done
}

# The scratch directory is opened for this, so that only modes of our own keep the stranger out.
strangers_see_nothing() {
        chmod 711 "$E2E_TMP"
        setpriv --reuid 65534 --regid 65534 --clear-groups \
                find "$AGENT_ROOT" "$AGENT_STATE" -mindepth 1 >"$E2E_TMP/seen" 2>/dev/null || true
        chmod 700 "$E2E_TMP"
        same "$(head -n 3 "$E2E_TMP/seen")" ''
}

no_canary() {
        local pid

        for pid in $(ours); do
                if [[ $pid != "$AGENT_PID" ]] && tr '\0' '\n' <"/proc/$pid/environ" | grep -a CANARY; then
                        return 1
                fi
        done
        same "$(crictl exec --sync "$web" sh -c 'env; cat /proc/1/environ' | grep -a CANARY)" ''
}

# VmHWM is what the agent ever held: it is set back first.
exec_is_bounded() {
        local before after n

        echo 5 >"/proc/$AGENT_PID/clear_refs"
        before=$(awk '/^VmHWM/ { print $2 }' "/proc/$AGENT_PID/status")
        n=$(crictl exec --sync "$web" head -c 300000000 /dev/zero | wc -c)
        after=$(awk '/^VmHWM/ { print $2 }' "/proc/$AGENT_PID/status")
        ((n >= 1048576 && n < 1050000)) && ((after - before < 65536))
}

grandchild_is_not_waited_for() {
        local start=$SECONDS

        same "$(crictl exec --sync "$web" sh -c 'sleep 54325 & echo done')" done && ((SECONDS - start < 10 * E2E_PATIENCE))
}

files_are_bounded() {
        local n

        n=$(crictl exec --sync "$web" sh -c 'for f in hosts resolv.conf hostname; do
                dd if=/dev/zero of=/etc/$f bs=1M count=16 2>/dev/null; done
                stat -c %s /etc/hosts /etc/resolv.conf /etc/hostname' | awk '{ n += $1 } END { print n }')
        ((n > 1048576 && n <= 4194304))
}

# What the kernel held each execve() of a file of the container's up for: who did it was in the container, and no more
# than it.  The image brings programs of the names that network plugins and helpers have.
nobody_runs_what_is_in_there() {
        local pid url port forward out=$E2E_TMP/execs

        pid=$(crictl inspect --output json "$web" | jq .info.pid)
        crictl exec --sync "$web" sh -c 'mkdir -p /opt/cni/bin /usr/lib/cni; for f in iptables nft ip bridge portmap loopback nsenter socat
                conntrack cringle-stream cringle-monitor; do for d in /bin /sbin /usr/bin /usr/sbin /opt/cni/bin /usr/lib/cni; do
                mkdir -p $d; [ -e $d/$f ] || cp /bin/busybox $d/$f; done; done'
        "$E2E_DIR/tools/exec-watch" "$pid" >"$out" &
        watcher=$!
        at_exit stop_pid $watcher
        eventually 10 grep -q . "$out"
        grep -qx ready "$out" || return 77

        crictl exec --sync "$web" true
        crictl exec "$web" sh -c 'exit 0'
        script -qec "$(cri_tool crictl) --runtime-endpoint unix://$SOCKET exec -it $web true" /dev/null </dev/null
        crictl exec --sync "$web" no-such-program
        url=$("$URL" "$SOCKET" attach "$web" o)
        echo "$url" | "$E2E_DIR/tools/websocket-client" reset
        port=$(free_port)
        "$(cri_tool crictl)" --config /dev/null --runtime-endpoint "unix://$SOCKET" \
                port-forward "$(pod_id web)" "$port:9000" >"$E2E_TMP/forward.log" 2>&1 &
        forward=$!
        eventually 10 grep -q 'Forwarding from' "$E2E_TMP/forward.log"
        echo through | timeout 5 "$E2E_DIR/tools/websocket-client" tcp "$port"
        kill $forward
        crictl stats; crictl statsp; crictl metricsp
        crictl inspect "$web"
        crictl update --cpu-quota 50000 "$web"
        crictl logs "$web"
        container_run web beside true
        crictl stop --timeout 0 "$web"
        stop_pid $watcher
        cat "$out"
        (($(grep -c ^inside "$out") >= 3)) && ! grep OUTSIDE "$out"
} 2>&1

# A file that its group may not read, unlike all others: the primary group has to be among those that count.
groups_count() {
        local id

        mkdir "$E2E_TMP/groups"
        echo secret >"$E2E_TMP/groups/file"
        chown 0:3000 "$E2E_TMP/groups/file"
        chmod 0604 "$E2E_TMP/groups/file"
        id=$(container_run web groups 'cat /groups/file; grep Groups /proc/self/status' ".mounts = [{container_path: \"/groups\", host_path: \"$E2E_TMP/groups\"}] |
                .linux.security_context = {run_as_user: {value: 1000}, run_as_group: {value: 3000}, supplemental_groups: [4000]}")
        eventually 10 grep -q Groups "$E2E_TMP/logs/web/groups.log"
        cat "$E2E_TMP/logs/web/groups.log"
        container_log web groups | grep -q 'Groups:.*3000' && ! container_log web groups | grep -q secret
}

# status URL: what an upgrade request to it is answered.
status() {
        curl -s -o /dev/null -w '%{http_code} %{redirect_url}' --max-time 5 -H 'Connection: Upgrade' \
                -H 'Upgrade: SPDY/3.1' -H 'X-Stream-Protocol-Version: v4.channel.k8s.io' "$1" || true
}

token_is_good_once() {
        local url

        url=$("$URL" "$SOCKET" exec "$web" o echo once)
        same "$("$E2E_DIR/tools/websocket-client" run "$url" --protocol v5.channel.k8s.io)" once && same "$(status "$url")" '404 '
}

token_is_good_for_its_kind() {
        local url

        url=$("$URL" "$SOCKET" exec "$web" o echo once)
        same "$(status "${url/\/exec\//\/attach\/}")" '404 '
}

mount_stays() {
        mountpoint -q "$E2E_TMP/canary"
}

e2e_begin security
registry_start conformance
URL=$(program cringle-url)
export CANARY=of-the-agent
agent_start 'containers: {exec_limit: 1MiB}'
crictl pull "$E2E_IMAGE" >/dev/null
mkdir "$E2E_TMP/canary"
mount -t tmpfs canary "$E2E_TMP/canary"
at_exit umount "$E2E_TMP/canary"
core_pattern=$(cat /proc/sys/kernel/core_pattern)
forward=$(cat /proc/sys/net/ipv4/ip_forward)

pod_run web >/dev/null
web=$(container_run web web 'exec nc -lk -p 9000 -e cat')

check "nobody listens on an abstract socket" no_abstract_sockets
check "who is not root sees nothing of ours" strangers_see_nothing
check "no variable of the agent's reaches helpers or containers" no_canary
check "300 MB of an exec's output cost less than 64 MB" exec_is_bounded
check "an exec does not wait for a grandchild" grandchild_is_not_waited_for
check "a token is good once" token_is_good_once
check "and for what it was made for" token_is_good_for_its_kind

check "a log outside its directory is refused" refuses 'not clean' \
        container_create web log true '.log_path = "../../canary/log"'
check "a log directory with dots, too" refuses 'not a clean' \
        pod_run dots ".log_directory = \"$E2E_TMP/logs/../canary\""
check "and what is mounted there stays" mount_stays
check "a pod on the node's network sets none of its sysctls" refuses 'shares the node' \
        pod_run host '.linux = {sysctls: {"net.ipv4.ip_forward": "0"}, security_context: {namespace_options: {network: 2}}}'
check "a sysctl's value carries no other" refuses 'not allowed' \
        pod_run smuggler '.linux.sysctls = {"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/bin/true"}'
check "nor does its name lead elsewhere" refuses 'malformed' \
        pod_run traveller '.linux.sysctls = {"net/../kernel/core_pattern": "x"}'
check "the node's settings are what they were" same "$(cat /proc/sys/kernel/core_pattern) $(cat /proc/sys/net/ipv4/ip_forward)" \
        "$core_pattern $forward"
check "a profile without a name is none" refuses 'absolute path' \
        container_create web profile true '.linux.security_context.seccomp = {profile_type: 2, localhost_ref: ""}'
check "a HOME of two lines is refused" refuses 'HOME' \
        container_create web home true '.envs = [{key: "HOME", value: "/root\nevil:x:0:0::/:/bin/sh"}]'
check "a user out of range is refused" refuses 'out of range' \
        container_create web far true '.linux.security_context.run_as_user = {value: 4294967296}'
check "a working directory that is a file descriptor is refused" refuses 'leads out' \
        container_create web cwd true '.working_dir = "/proc/self/fd/7"'
# Written to in a container, /etc/hosts and its like are full before the node's memory is.
check "/etc/hosts of a pod takes no more than a few MiB" files_are_bounded
check "a group that may not read does not, though others may" groups_count
status=0
nobody_runs_what_is_in_there >"$E2E_TMP/watch.out" || status=$?
case $status in
0) pass "whoever executes a file of a container's is in it" ;;
77) skip "whoever executes a file of a container's is in it" "$(cat "$E2E_TMP/execs")" ;;
*) fail "whoever executes a file of a container's is in it" "$E2E_TMP/watch.out" ;;
esac
check "the same agent runs on" kill -0 "$AGENT_PID"
check "the pod goes" pod_remove web
e2e_end
