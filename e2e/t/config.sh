#!/usr/bin/env bash
# Configuration of a running agent, and what it does with nonsense: in its files, on its socket, among its plugins.
. "${BASH_SOURCE%/*}/../lib.sh"

drop_in() {
        printf '%s\n' "$1" >"$E2E_TMP/etc/conf.d/90-try.yaml"
}

log_says() {
        eventually 10 grep -qE "$1" "$E2E_TMP/agent.log"
}

# garbage COUNT: so many connections that say something else than HTTP/2, or leave in the middle of it.
garbage() {
        python3 - "$SOCKET" "$1" <<'P'
import os, random, socket, struct, sys
random.seed(7)
preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
tries = [
    lambda: os.urandom(4096),
    lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    lambda: preface + os.urandom(2000),
    lambda: preface[:random.randrange(1, 24)],
    lambda: preface + frame(4, 0, 0, b"") + frame(1, 4, 1, os.urandom(300)),
    lambda: preface + frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678") * 20000,
    lambda: preface + frame(4, 0, 0, b"") + frame(3, 0, 1, b"\0\0\0\x08") * 5000,
    lambda: preface + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
]
for i in range(int(sys.argv[2])):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sys.argv[1])
        s.settimeout(5)
        try:
            s.sendall(tries[i % len(tries)]())
            if i % 3 == 0:
                s.recv(100)
        except OSError:
            pass
P
}

fds() {
        find "/proc/$AGENT_PID/fd" -mindepth 1 | wc -l
}

# agent_refuses YAML PATTERN: it does not start with it, and says why.
agent_refuses() {
        drop_in "$1"
        ! timeout 20 "$AGENT_PROGRAM" --config "$E2E_TMP/etc/config.yaml" >"$E2E_TMP/refused.log" 2>&1 &&
                grep -qE "$2" "$E2E_TMP/refused.log"
}

# below_later: container $id has a cgroup there.
below_later() {
        local top

        for top in $(cgroup_mounts); do
                [[ -e $top$AGENT_CGROUP/later/$id ]] && return
        done
        return 1
}

e2e_begin config
registry_start small
agent_start

said=$(drop_in $'images:\n  max_paralel: 5' && cringle reload 2>&1) && status=0 || status=$?
check_not "a reload of a bad file fails" test "$status" -eq 0
check "and names file, line, column and the nearest key" \
        grep -qE "90-try\.yaml:2:3: .*max_paralel.*max_parallel" <<<"$said"
kill -HUP "$AGENT_PID"
check "so does SIGHUP, in the log" log_says 'max_paralel.*nothing has changed'
check "the agent goes on" cringle status
drop_in $'images:\n  max_parallel: 5\nserver:\n  workers: 7'
said=$(cringle reload)
check "a good one says what is in force" grep -q 'images.max_parallel' <<<"$said"
check "and what needs a restart" grep -q 'server.workers' <<<"$said"
said=$(cringle config show --origin)
check "config show tells where a value comes from" grep -qE 'max_parallel: 5.*90-try.yaml:2' <<<"$said"
said=$(cringle config explain images.max_parallel)
check "config explain tells what a key means" grep -qi 'layers' <<<"$said"
check "config check passes what the agent runs on" cringle config check

cringle status >/dev/null
before=$(fds)
check "nonsense on the socket is borne" garbage 200
check "by the same agent" kill -0 "$AGENT_PID"
check "which still answers" cringle status
check "and has let go of it" eventually 30 eval '(( $(fds) <= before + 2 ))'

# What a reload says is in force is.
drop_in $'programs:\n  pull: /nowhere/cringle-pull'
cringle reload >/dev/null
check_not "a reload changes the program that pulls" crictl pull "$E2E_IMAGE"
drop_in "cgroups: {default_parent: $AGENT_CGROUP/later}"
cringle reload >/dev/null
check "and gives it back" crictl pull "$E2E_IMAGE"
pod_run web >/dev/null
id=$(container_run web main 'exec sleep 1000')
check "new pods go below a new parent" below_later
rm "$E2E_TMP/etc/conf.d/90-try.yaml"
cringle reload >/dev/null

agent_stop
check "a driver that would look elsewhere for a pod's cgroups is refused" \
        agent_refuses 'cgroup: {settings: {name: other-}}' "web has its cgroups at .*/later/.*now it says .*other-"
rm "$E2E_TMP/etc/conf.d/90-try.yaml"
agent_start
check "with the one of before the container runs on" crictl exec --sync "$id" true
check "and goes with its pod" pod_remove web
check_not "and with its cgroup" below_later

agent_stop
mkdir -p "$E2E_TMP/plugins"
cp "$(dirname "$(find "$E2E_BUILD/plugins" -name cgroup-fs.so)")/cgroup-fs.so" "$E2E_TMP/plugins/"
chmod 0777 "$E2E_TMP/plugins/cgroup-fs.so"
first=$(sed -n "s|^plugins: {dirs: \[|plugins: {dirs: [$E2E_TMP/plugins, |p" "$E2E_TMP/etc/config.yaml")
check "a plugin that others can write is refused" agent_refuses "$first" 'cgroup-fs.*writ'
printf 'not an object' >"$E2E_TMP/plugins/cgroup-fs.so"
chmod 0755 "$E2E_TMP/plugins/cgroup-fs.so"
check "so is one that is none" agent_refuses "$first" 'cgroup-fs.so'
check "and one that is not there" agent_refuses 'cgroup: {plugin: cgroup-nowhere}' 'cgroup-nowhere'
check "and a setting that it does not know" \
        agent_refuses 'cgroup: {settings: {mount_pint: /x}}' 'mount_pint.*mount_point'
rm "$E2E_TMP/etc/conf.d/90-try.yaml"
agent_start
check "without them the agent starts again" cringle status
e2e_end
